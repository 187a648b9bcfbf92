//! Codes about the training program (E04xx).

use super::Entry;

pub(super) const TABLE: &[Entry] = &[];
