//! Integration tests, one binary.

mod errors;
mod golden_ops;
mod golden_util;
mod stages;
mod syntax;
