//! `ganc fmt`

use super::Failure;
use crate::diag::render;
use crate::source::SourceMap;
use crate::syntax;
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct FmtArgs {
    /// Specs to format
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Change nothing; exit with 1 if a file is not formatted
    #[arg(long)]
    check: bool,
}

pub(super) fn fmt(args: &FmtArgs) -> Result<(), Failure> {
    let mut failed = false;
    for path in &args.files {
        let text = match super::compile::read_text(path) {
            Ok(text) => text,
            Err(e) => {
                super::tell(&format!("error: cannot read `{}`: {e}\n", path.display()));
                failed = true;
                continue;
            }
        };
        let mut sources = SourceMap::default();
        let id = sources.add(path, text.as_str());
        match syntax::parse(id, &text) {
            Err(diagnostics) => {
                super::tell(&render::render(&sources, &diagnostics, super::color()));
                failed = true;
            }
            Ok(file) => {
                let formatted = syntax::format(&file, &text);
                if formatted == text {
                    continue;
                }
                if args.check {
                    super::print(&format!("{} is not formatted\n", path.display()));
                    failed = true;
                } else if let Err(e) = crate::train::folder::write_atomic(path, formatted.as_bytes(), "write") {
                    super::tell(&format!("error: {e}\n"));
                    failed = true;
                }
            }
        }
    }
    if failed { Err(Failure::Refused) } else { Ok(()) }
}
