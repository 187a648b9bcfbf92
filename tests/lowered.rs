//! The later stages over the small cases of `tests/cases/graph`: after the passes, as clusters, as a plan.

use crate::support::{compile_as, repo};
use ganc::exec::Executor;
use ganc::exec::cpu::{CpuExecutor, CpuOptions};
use ganc::graph::{Graph, text};
use ganc::passes;

/// Every iteration of a case through `stage`.
fn snapshot(name: &str, stage: impl Fn(&Graph) -> String) {
    insta::glob!("cases/graph/*.gan", |path| {
        let source = std::fs::read_to_string(path).expect("a case");
        // The cases read data by names that are relative to the examples.
        let c = compile_as(&repo("examples/case.gan"), &source).unwrap_or_else(|e| panic!("{e}"));
        let parts: Vec<String> = c
            .trains
            .iter()
            .flat_map(|t| &t.iterations)
            .map(|i| format!("; mask {:b}\n{}", i.mask, stage(&i.graph)))
            .collect();
        insta::assert_snapshot!(name, parts.join("\n"));
    });
}

#[test]
fn passes() {
    snapshot("passes", |g| text::print(&passes::run(g.clone(), &passes::Options::default())));
}

#[test]
fn fuse() {
    snapshot("fuse", |g| {
        let p = CpuExecutor::new(CpuOptions::default()).compile(g).expect("it compiles");
        p.plan.clusters.text(&p.graph)
    });
}

#[test]
fn plan() {
    snapshot("plan", |g| {
        let mut exec = CpuExecutor::new(CpuOptions::default());
        let p = exec.compile(g).expect("it compiles");
        p.plan.verify().expect("a sound plan");
        p.plan.text(&p.graph, exec.plan_options())
    });
}
