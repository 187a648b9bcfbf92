//! Source and message side by side for each file of `tests/errors/`, which is how messages are reviewed.

use std::fmt::Write;

use ganc::diag::{Diagnostics, codes, render};
use ganc::source::SourceMap;

/// All that the compiler has to say about a file that needs no data. Later stages are added here.
fn check(path: &std::path::Path, sources: &mut SourceMap) -> Diagnostics {
    match super::model::load_file(path, sources, &ganc::model::Options::default()) {
        Ok(model) => match ganc::tricks::expand(&model) {
            Ok(core) => core.warnings,
            Err(d) => d,
        },
        Err(d) => d,
    }
}

#[test]
fn errors() {
    insta::glob!("errors/*.gan", |path| {
        let text = std::fs::read_to_string(path).expect("a case").replace("\r\n", "\n");
        let mut sources = SourceMap::default();
        let diagnostics = check(path, &mut sources);
        assert!(!diagnostics.is_empty(), "{} has no error", path.display());
        for d in diagnostics.items() {
            assert!(codes::lookup(d.code).is_some(), "{} has no long explanation", d.code);
        }
        let mut out = String::new();
        writeln!(out, "{}\n----------\n{}", text.trim_end(), render(&sources, &diagnostics, false)).expect("write");
        insta::assert_snapshot!(out);
    });
}
