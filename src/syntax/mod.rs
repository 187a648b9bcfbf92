//! The language's syntax: text to tree and back.
//!
//! [`parse`] gives the tree of a file or all of its syntax errors; [`format`](fn@format) prints a parsed file
//! canonically with its comments; [`print`](fn@print) prints a tree that the compiler built; [`dump`] shows a tree
//! without spans for snapshots.
//!
//! Always holds: `format` changes no meaning (the dump of a formatted file is the dump of the file) and is
//! idempotent.

pub mod ast;
mod dump;
mod format;
mod format_expr;
mod format_nodes;
mod layout;
pub mod parser;
pub mod scan;
mod slips;
pub mod words;

pub use dump::{dump, dump_with};
pub use format::{format, print, print_expr};
pub use parser::parse;
