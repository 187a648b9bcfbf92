//! Source and message side by side for each file of `tests/errors/`, which is how messages are reviewed.

use std::fmt::Write;

use ganc::diag::{Diagnostics, codes, render};
use ganc::source::{FileId, SourceMap};

/// All that the compiler has to say about a file. Later stages are added here.
fn check(_sources: &SourceMap, file: FileId, text: &str) -> Diagnostics {
    match ganc::syntax::parse(file, text) {
        Ok(_) => Diagnostics::default(),
        Err(d) => d,
    }
}

#[test]
fn errors() {
    insta::glob!("errors/*.gan", |path| {
        let text = std::fs::read_to_string(path).expect("a case").replace("\r\n", "\n");
        let mut sources = SourceMap::default();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = sources.add(name, text.as_str());
        let diagnostics = check(&sources, file, &text);
        assert!(!diagnostics.is_empty(), "{} has no error", path.display());
        for d in diagnostics.items() {
            assert!(codes::lookup(d.code).is_some(), "{} has no long explanation", d.code);
        }
        let mut out = String::new();
        writeln!(out, "{}\n----------\n{}", text.trim_end(), render(&sources, &diagnostics, false)).expect("write");
        insta::assert_snapshot!(out);
    });
}
