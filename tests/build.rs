//! From spec to graphs: all specs of `tests/specs`, small graphs as snapshots, whole iterations against references.

use ganc::build::build;
use ganc::build::program::Compiled;
use ganc::data::{Arg, Field, FieldType, Modes, Pipeline, Schema};
use ganc::diag::{Diagnostics, render};
use ganc::graph::verify;
use ganc::model::{Options, load};
use ganc::source::SourceMap;
use ganc::tricks::expand;
use std::path::Path;

/// A schema as the specs' data has it, without reading any.
pub fn fake_schema(p: &Pipeline) -> Result<Schema, Diagnostics> {
    let strings: Vec<&str> =
        p.source.args.iter().filter_map(|a| if let Arg::Str(s) = &a.1 { Some(s.as_str()) } else { None }).collect();
    let real = |name: &str, shape: &[usize]| Field { name: name.into(), ty: FieldType::Real(shape.to_vec()) };
    let class = |name: &str, k: usize| Field { name: name.into(), ty: FieldType::Class(k) };
    let side = if strings.iter().any(|s| s.contains("64")) { 64 } else { 32 };
    let mut rows = Some(60_000);
    let mut modes = None;
    let mut fields = match p.source.name.as_str() {
        "idx" => vec![real("image", &[1, 28, 28]), class("label", 10)],
        "images" => vec![real("image", &[3, side, side]), class("label", 5)],
        "pairs" => vec![real("line", &[3, 64, 64]), real("color", &[3, 64, 64])],
        _ => {
            rows = None;
            let centres = (0..8).map(|i| vec![f64::from(i), 0.0]).collect();
            modes = Some(Modes { centres, std: 0.02 });
            vec![real("point", &[2]), class("mode", 8)]
        }
    };
    for (name, arg, _) in &p.source.args {
        if let (Some("vector"), Arg::List(columns)) = (name.as_deref(), arg) {
            fields.push(real("vector", &[columns.len()]));
        }
    }
    let scale = p.transforms.iter().rev().find(|t| t.name == "scale");
    let range = match scale.map(|t| &t.args[..]) {
        Some([(_, Arg::Number(lo), _), (_, Arg::Number(hi), _)]) => Some((*lo, *hi)),
        _ => Some((0.0, 1.0)),
    };
    Ok(Schema { rows, fields, range, modes })
}

/// Compiles a text; `batch` replaces larger ones.
pub fn compile(name: &str, source: &str, batch: usize) -> Result<(Compiled, String), String> {
    let mut sources = SourceMap::default();
    let reader = |path: &Path| -> std::io::Result<String> {
        let text = if path == Path::new(name) {
            source.to_string()
        } else {
            std::fs::read_to_string(Path::new("tests/specs").join(path))?
        };
        Ok(smaller(&text, batch))
    };
    let model = load(Path::new(name), &mut sources, &reader, &Options::default());
    let result = model.and_then(|m| expand(&m)).and_then(|m| build(&m, &sources, &fake_schema));
    match result {
        Ok((c, w)) => Ok((c, render(&sources, &w, false))),
        Err(d) => Err(render(&sources, &d, false)),
    }
}

fn smaller(text: &str, batch: usize) -> String {
    let lines = text.lines().map(|l| match l.trim().strip_prefix("batch ") {
        Some(n) if n.trim().parse::<usize>().is_ok_and(|n| n > batch) => format!("    batch {batch}"),
        _ => l.to_string(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn verify_all(c: &Compiled) {
    for t in &c.trains {
        for i in &t.iterations {
            verify::verify(&i.graph).unwrap();
        }
    }
}

#[test]
fn specs_build() {
    let mut report = String::new();
    let mut paths: Vec<_> = std::fs::read_dir("tests/specs").unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        match compile(&name, &text, 4) {
            Ok((c, warnings)) => {
                verify_all(&c);
                let nodes: Vec<usize> =
                    c.trains.iter().flat_map(|t| &t.iterations).map(|i| i.graph.nodes().len()).collect();
                report.push_str(&format!("{name}: {} tensors, nodes {nodes:?}\n{warnings}", c.tensors.len()));
            }
            Err(e) => report.push_str(&format!("{name}:\n{e}")),
        }
        report.push('\n');
    }
    insta::assert_snapshot!(report);
}
