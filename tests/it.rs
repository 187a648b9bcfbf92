//! Integration tests, one binary.

mod golden_ops;
mod golden_util;
