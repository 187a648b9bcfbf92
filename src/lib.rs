//! ganc: a language and a compiler for adversarial training.

pub mod build;
pub mod cli;
pub mod data;
pub mod diag;
pub mod exec;
pub mod fuse;
pub mod grad;
pub mod graph;
pub mod layers;
pub mod metrics;
pub mod model;
pub mod passes;
pub mod plan;
pub mod report;
pub mod source;
pub mod syntax;
pub mod train;
pub mod tricks;
