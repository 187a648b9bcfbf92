//! Text graphs in `tests/filetests/*.ganir`, each op in at least one of them, with commands in comments:
//!
//! ```text
//! ; pass: simplify                           a snapshot of the graph after a pass of that name (or `run`: all; `resample`:
//!                                            whatever it is worth)
//! ; run: x = 1 2 3, k = 4 => y = 5 6 7       leaves and outputs, row-major, to a relative 1e-9
//! ```
//!
//! Every `run` line is evaluated by the oracle on the graph as written and after all passes.

use crate::golden_util::error;
use ganc::graph::eval::{Env, Tensor, eval_outputs};
use ganc::graph::{Graph, Op, text};
use ganc::passes;
use std::collections::{BTreeMap, BTreeSet};

/// A file's graph and commands.
pub struct Case {
    /// The graph.
    pub graph: Graph,
    /// Names of passes to take snapshots of.
    pub passes: Vec<String>,
    /// Leaves and expected outputs.
    pub runs: Vec<(Env, BTreeMap<String, Vec<f64>>)>,
}

/// Parses a file; see the module documentation.
pub fn parse(source: &str) -> Case {
    let graph = text::parse(source).unwrap();
    let commands = |name: &str| {
        let prefix = format!("; {name}: ");
        source.lines().filter_map(|l| l.strip_prefix(prefix.as_str())).map(str::to_string).collect::<Vec<_>>()
    };
    let runs = commands("run").into_iter().map(|line| {
        let (ins, outs) = line.split_once("=>").expect("`=>` in a `run` line");
        (environment(&graph, &bindings(ins)), bindings(outs))
    });
    Case { runs: runs.collect(), passes: commands("pass"), graph }
}

fn bindings(text: &str) -> BTreeMap<String, Vec<f64>> {
    text.split(',')
        .filter_map(|b| b.split_once('='))
        .map(|(name, values)| {
            let values = values.split_whitespace().map(|v| v.parse().unwrap()).collect();
            (name.trim().to_string(), values)
        })
        .collect()
}

fn environment(g: &Graph, values: &BTreeMap<String, Vec<f64>>) -> Env {
    let mut env = Env::new();
    for node in g.nodes() {
        let tensor = |name: &str| Tensor::new(node.ty.clone(), values[name].clone());
        match &node.op {
            Op::Input(n) => env = env.input(n.clone(), tensor(n)),
            Op::Param(n) => env = env.param(n.clone(), tensor(n)),
            Op::State(n) => env = env.state(n.clone(), tensor(n)),
            _ => {}
        }
    }
    env
}

/// All files: name and text.
pub fn files() -> Vec<(String, String)> {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filetests");
    let mut paths: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "ganir"));
    paths.sort();
    let name = |p: &std::path::Path| p.file_stem().unwrap().to_string_lossy().into_owned();
    paths.iter().map(|p| (name(p), std::fs::read_to_string(p).unwrap())).collect()
}

/// Checks outputs of one `run` line, wherever they were computed.
pub fn check(what: &str, got: &BTreeMap<String, Vec<f64>>, want: &BTreeMap<String, Vec<f64>>, tolerance: f64) {
    for (name, want) in want {
        let got = got.get(name).unwrap_or_else(|| panic!("{what}: no output {name}"));
        assert_eq!(got.len(), want.len(), "{what}: extent of {name}");
        let e = error(got, want, 1.0);
        assert!(e <= tolerance, "{what}: {name} is {got:?} and should be {want:?}");
    }
}

#[test]
fn oracle() {
    for (file, source) in files() {
        let case = parse(&source);
        let after = passes::run(case.graph.clone(), &passes::Options::default());
        let joined = passes::resample_worth(&case.graph, 0);
        for (env, want) in &case.runs {
            for (g, stage) in [(&case.graph, "as written"), (&after, "after the passes"), (&joined, "resampled")] {
                let values = eval_outputs(g, env).unwrap();
                let got = values.into_iter().map(|(n, t)| (n.to_string(), t.data.to_vec())).collect();
                check(&format!("{file} {stage}"), &got, want, 1e-9);
            }
        }
    }
}

#[test]
fn snapshots_of_passes() {
    for (file, source) in files() {
        let case = parse(&source);
        for name in &case.passes {
            let after = match passes::PASSES.iter().find(|p| p.name == name) {
                Some(p) if p.name == "resample" => passes::resample_worth(&case.graph, 0),
                Some(p) => (p.run)(&case.graph),
                None => passes::run(case.graph.clone(), &passes::Options::default()),
            };
            insta::with_settings!({snapshot_path => "filetests/snapshots", prepend_module_to_snapshot => false, omit_expression => true}, {
                insta::assert_snapshot!(format!("{file}.{name}"), text::print(&after));
            });
        }
    }
}

#[test]
fn every_op_has_one() {
    let mut seen = BTreeSet::new();
    for (_, source) in files() {
        seen.extend(parse(&source).graph.nodes().iter().map(|n| text::op_name(&n.op)));
    }
    assert_eq!(seen.len(), 51, "{seen:?}");
}
