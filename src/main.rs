//! The `ganc` command.

fn main() {}
