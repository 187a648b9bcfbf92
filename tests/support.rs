//! What several test modules share.

use ganc::build::program::Compiled;
use ganc::diag::{Diagnostics, render};
use ganc::model::{self, Options};
use ganc::source::SourceMap;
use std::path::Path;

/// A file of this repository.
pub fn repo(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Compiles a spec on disk down to graphs; the error is what a user reads.
pub fn compile_file(path: &Path) -> Result<Compiled, String> {
    compile(path, &|p| std::fs::read_to_string(p))
}

/// Compiles a text as if it were a file in the repository's root; the error is what a user reads.
pub fn compile_text(text: &str) -> Result<Compiled, String> {
    compile_as(&repo("text.gan"), text)
}

/// Compiles a text in the place of the file of this name.
pub fn compile_as(path: &Path, text: &str) -> Result<Compiled, String> {
    compile(path, &|p| if p == path { Ok(text.to_string()) } else { std::fs::read_to_string(p) })
}

fn compile(path: &Path, reader: &dyn Fn(&Path) -> std::io::Result<String>) -> Result<Compiled, String> {
    let mut sources = SourceMap::default();
    let options = Options::default();
    let steps = |sources: &mut SourceMap| -> Result<Compiled, Diagnostics> {
        let model = model::load(path, sources, reader, &options)?;
        let core = ganc::tricks::expand(&model)?;
        Ok(ganc::build::build(&core, sources, &ganc::data::schema)?.0)
    };
    steps(&mut sources).map_err(|d| render(&sources, &d, false))
}
