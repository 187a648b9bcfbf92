//! Integration tests, one binary.

mod build;
mod errors;
mod filetests;
mod golden_ops;
mod golden_util;
mod gradcheck;
mod model;
mod random;
mod stages;
mod syntax;
