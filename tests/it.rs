//! Integration tests, one binary.

mod build;
mod cli;
mod cli_bad;
mod epilogues;
mod errors;
mod examples;
mod executors;
mod filetests;
mod golden_layers;
mod golden_ops;
mod golden_util;
mod gradcheck;
mod language;
mod layer_scope;
mod layers;
mod lowered;
mod model;
mod pairs;
mod properties;
mod random;
mod stages;
mod summaries;
mod support;
mod syntax;
mod tidy;
mod tricks;
