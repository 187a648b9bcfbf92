//! Codes about shapes (E03xx).

use super::Entry;

pub(super) const TABLE: &[Entry] = &[];
