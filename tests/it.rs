//! Integration tests, one binary.

mod build;
mod errors;
mod filetests;
mod golden_layers;
mod executors;
mod golden_ops;
mod golden_util;
mod gradcheck;
mod layer_scope;
mod layers;
mod model;
mod random;
mod stages;
mod syntax;
