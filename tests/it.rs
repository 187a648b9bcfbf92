//! Integration tests, one binary.

mod errors;
mod golden_ops;
mod golden_util;
mod gradcheck;
mod random;
mod stages;
mod syntax;
