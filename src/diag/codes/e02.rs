//! Codes about names (E02xx).

use super::Entry;

pub(super) const TABLE: &[Entry] = &[];
