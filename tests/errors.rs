//! Source and message side by side for each file of `tests/errors/`, which is how messages are reviewed.

use std::fmt::Write;

use ganc::build::{Room, afford};
use ganc::diag::{Diagnostics, codes, render};
use ganc::exec::cpu::{CpuExecutor, CpuOptions};
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

/// What a run says that does not fit, with the memory that the first line of a case allows.
#[test]
fn too_little_memory() {
    insta::glob!("errors/memory/*.gan", |path| {
        let text = std::fs::read_to_string(path).expect("a case").replace("\r\n", "\n");
        let mut sources = SourceMap::default();
        let model = super::model::load_file(path, &mut sources, &ganc::model::Options::default());
        let core = model.and_then(|m| ganc::tricks::expand(&m)).expect("it is right otherwise");
        let schemas = &ganc::data::schema;
        let (compiled, _) = ganc::build::build(&core, &sources, schemas).expect("it compiles");
        let allowed = text.split_once("memory: ").and_then(|t| t.1.split_once(" MiB")).expect("the limit").0;
        let free = (allowed.parse::<f64>().expect("a number") * 1048576.0) as u64;
        let exec = CpuExecutor::new(CpuOptions::default());
        let need = |g: &ganc::graph::Graph| exec.need(g).ok();
        let room = |free| Room { free, place: "free on this machine", need: &need };
        let d = afford(&core, &sources, schemas, &compiled, &room(free)).expect("it does not fit");
        assert!(afford(&core, &sources, schemas, &compiled, &room(1 << 30)).is_none(), "it fits into a gibibyte");
        let said = render(&sources, &d.into(), false);
        insta::assert_snapshot!(format!("{}\n----------\n{said}", text.trim_end()));
    });
}
