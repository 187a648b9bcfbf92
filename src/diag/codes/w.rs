//! Codes about warnings (W…).

use super::Entry;

pub(super) const TABLE: &[Entry] = &[];
