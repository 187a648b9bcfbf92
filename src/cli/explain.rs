//! `ganc explain E0301`

use super::Failure;
use crate::diag::codes;
use clap::Args;

#[derive(Args)]
pub(super) struct ExplainArgs {
    /// The code; without one, all codes are listed
    code: Option<String>,
}

pub(super) fn explain(args: &ExplainArgs) -> Result<(), Failure> {
    let Some(code) = &args.code else {
        for c in codes::all() {
            super::print(&format!("{}  {}\n", c.code, c.title));
        }
        return Ok(());
    };
    match codes::lookup(&code.to_uppercase()) {
        Some(c) => {
            super::print(&format!("{}: {}\n\n{}\n", c.code, c.title, c.text.trim_end()));
            Ok(())
        }
        None => Err(Failure::Message(format!("there is no code `{code}`; `ganc explain` lists them all"))),
    }
}
