//! Codes about data and run (E05xx).

use super::Entry;

pub(super) const TABLE: &[Entry] = &[];
