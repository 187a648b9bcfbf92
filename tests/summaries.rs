//! All specs that people run compile; what the examples cost: networks, parameters, launches, FLOPs, bytes, memory.

use crate::support::{compile_file, repo};
use ganc::exec::cpu::{CpuExecutor, CpuOptions};
use ganc::fuse::{FuseOptions, Kind, fuse};
use ganc::passes;
use ganc::plan::{cost, plan};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

fn summary(path: &Path) -> String {
    let compiled = compile_file(path).unwrap_or_else(|e| panic!("{e}"));
    let mut out = String::new();
    for n in &compiled.networks {
        let params: usize = n.layers.iter().map(|l| l.params).sum();
        let flops: u64 = n.layers.iter().map(|l| l.flops).sum();
        let shapes = |s: Vec<String>| s.join(", ");
        let inputs = shapes(n.inputs.iter().map(|(i, kind, s)| format!("{i}: {kind:?} {s:?}")).collect());
        let outputs = shapes(n.outputs.iter().map(|(_, s)| format!("{s:?}")).collect());
        let _ = writeln!(out, "{}({inputs}) -> {outputs}: {params} parameters, {flops} FLOPs a sample", n.name);
    }
    // Of the plan alone: nothing here depends on the machine.
    let options = CpuExecutor::new(CpuOptions::default()).plan_options();
    for t in &compiled.trains {
        for it in &t.iterations {
            let g = passes::layout::layout(&passes::run(it.graph.clone(), &passes::Options::default()));
            let plan = plan(&g, fuse(&g, FuseOptions::CPU), options);
            plan.verify().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let mut kinds: BTreeMap<Kind, usize> = BTreeMap::new();
            let (mut flops, mut bytes) = (0, 0);
            for c in &plan.clusters.clusters {
                *kinds.entry(c.kind).or_default() += 1;
                let cost = cost(&g, &c.work, &c.reads, &c.writes, options.bytes);
                flops += cost.flops;
                bytes += cost.bytes;
            }
            let kinds: Vec<String> = kinds.iter().map(|(k, n)| format!("{k:?} {n}")).collect();
            let _ = writeln!(
                out,
                "{} mask {}: batch {}, {} nodes built, {} after passes\n  {} clusters: {}\n  {flops} FLOPs, {bytes} bytes moved\n  \
                 arena {} bytes, parameters and state {}, constants {}",
                t.name,
                it.mask,
                t.batch,
                it.graph.nodes().len(),
                g.nodes().len(),
                plan.clusters.clusters.len(),
                kinds.join(", "),
                plan.arena,
                plan.persistent,
                plan.constant,
            );
        }
    }
    out
}

fn specs(folder: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(repo(folder)).expect("a folder of specs");
    let mut all: Vec<_> = entries.map(|e| e.expect("an entry").path()).collect();
    all.retain(|p| p.extension().is_some_and(|e| e == "gan"));
    all.sort();
    assert!(!all.is_empty());
    all
}

#[test]
fn examples() {
    for path in specs("examples") {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        insta::assert_snapshot!(stem, summary(&path));
    }
}

#[test]
fn bench_specs_compile() {
    for path in specs("tests/bench") {
        compile_file(&path).unwrap_or_else(|e| panic!("{e}"));
    }
}

#[test]
fn specs_that_people_read_are_formatted() {
    for path in specs("examples").into_iter().chain(specs("tests/bench")) {
        let text = std::fs::read_to_string(&path).expect("a spec");
        let file = ganc::syntax::parse(ganc::source::FileId(0), &text).expect("it parses");
        assert_eq!(ganc::syntax::format(&file, &text), text, "{}", path.display());
    }
}
