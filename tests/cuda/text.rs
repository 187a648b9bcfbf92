//! Modules taken apart and put together.

use ganc::codegen::cuda::{self, Arch, KERNEL, Module};
use ganc::fuse::{FuseOptions, fuse};
use ganc::graph::Graph;
use ganc::passes::layout::for_new_device;
use ganc::plan::{Plan, plan};

/// A graph lowered as for a GPU: the graph after layout, its plan, its text.
pub fn lower(graph: &Graph, fused: bool, arch: Arch) -> (Graph, Plan, Module) {
    let graph = for_new_device(graph);
    let p = plan(&graph, fuse(&graph, if fused { FuseOptions::GPU } else { FuseOptions::OFF }), cuda::PLAN);
    p.verify().expect("a sound plan");
    let module = cuda::generate(&graph, &p, arch);
    (graph, p, module)
}

/// What stands before the kernels, and the kernels: name (of which those of a product's several kernels are made) and
/// text.
pub fn parts(module: &Module) -> (String, Vec<(String, String)>) {
    let mut pieces = module.text.split(KERNEL);
    let prelude = pieces.next().unwrap_or_default().to_string();
    let kernels = pieces.map(|p| {
        let (name, text) = p.split_once('\n').expect("a line with the name");
        (name.to_string(), text.to_string())
    });
    (prelude, kernels.collect())
}

/// The names of the kernels in a text.
pub fn kernels(text: &str) -> Vec<String> {
    let after = text.split("__global__").skip(1).filter_map(|p| p.split_once("__launch_bounds__("));
    let name = |(_, p): (&str, &str)| {
        let rest = p.split_once(')').map_or("", |r| r.1).trim_start();
        rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default().to_string()
    };
    after.map(name).collect()
}

/// The text with all words that are, or begin with, one of these names given a prefix.
pub fn renamed(text: &str, names: &[String], prefix: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let word: usize = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        if word == 0 {
            let other = rest.find(|c: char| c.is_ascii_alphanumeric() || c == '_').unwrap_or(rest.len());
            out.push_str(&rest[..other]);
            rest = &rest[other..];
            continue;
        }
        let own =
            |n: &String| rest[..word].strip_prefix(n.as_str()).is_some_and(|r| r.is_empty() || r.starts_with('_'));
        if names.iter().any(own) {
            out.push_str(prefix);
        }
        out.push_str(&rest[..word]);
        rest = &rest[word..];
    }
    out
}
