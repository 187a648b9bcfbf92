//! Names, rules over the whole program, and the expansion into the core.

use ganc::diag::{Diagnostics, render};
use ganc::model::{Model, Options, load};
use ganc::source::SourceMap;
use ganc::tricks::{expand, is_core};
use std::path::{Path, PathBuf};

/// Loads a file of the repository; relative `use`s read beside it.
pub fn load_file(path: &Path, sources: &mut SourceMap, options: &Options) -> Result<Model, Diagnostics> {
    let folder = path.parent().expect("a folder").to_path_buf();
    let name = PathBuf::from(path.file_name().expect("a name"));
    load(&name, sources, &|p| std::fs::read_to_string(folder.join(p)).map(|t| t.replace("\r\n", "\n")), options)
}

fn load_text(text: &str, options: &Options) -> (Result<Model, Diagnostics>, SourceMap) {
    let mut sources = SourceMap::default();
    let model = load(Path::new("spec.gan"), &mut sources, &|_| Ok(text.to_string()), options);
    (model, sources)
}

fn specs() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/specs");
    let mut all: Vec<_> =
        std::fs::read_dir(folder).expect("tests/specs").map(|e| e.expect("entry").path()).collect();
    all.sort();
    all
}

#[test]
fn every_spec_resolves_and_expands_or_lacks_a_trick() {
    let mut wrong = String::new();
    for path in specs() {
        let mut sources = SourceMap::default();
        let result = load_file(&path, &mut sources, &Options::default()).and_then(|m| expand(&m));
        match result {
            Ok(m) => {
                assert!(m.trains.iter().flat_map(|t| &t.stmts).all(is_core), "{}", path.display());
                if !m.warnings.is_empty() {
                    wrong += &format!("{}\n{}", path.display(), render(&sources, &m.warnings, false));
                }
            }
            Err(d) => {
                if d.items().iter().any(|d| d.code != "E0490") {
                    wrong += &format!("{}\n{}", path.display(), render(&sources, &d, false));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
