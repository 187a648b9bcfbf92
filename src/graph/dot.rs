//! The graph for Graphviz, layers as boxes.

use super::{Graph, Op, text};
use std::collections::BTreeMap;
use std::fmt::Write;

/// `digraph` source: one box a node, one cluster a layer path and order of gradient. Constants are left out.
pub fn dot(g: &Graph) -> String {
    let mut clusters: BTreeMap<(&str, u8), Vec<_>> = BTreeMap::new();
    for id in g.ids().filter(|&id| !matches!(g.node(id).op, Op::Const(_))) {
        let o = g.origin(id);
        clusters.entry((&o.path, o.order)).or_default().push(id);
    }
    let mut out = String::from("digraph g {\n  node [shape=box, fontname=monospace];\n");
    for (i, ((path, order), ids)) in clusters.iter().enumerate() {
        let _ = writeln!(out, "  subgraph cluster_{i} {{");
        let _ = writeln!(out, "    label={:?};", format!("{path}{}", "'".repeat(*order as usize)));
        for &id in ids {
            let label = format!("%{} {}\n{}", id.0, text::op_name(&g.node(id).op), g.ty(id));
            let _ = writeln!(out, "    n{} [label={label:?}];", id.0);
        }
        out.push_str("  }\n");
    }
    for id in g.ids() {
        for &a in g.node(id).args.iter().filter(|&&a| !matches!(g.node(a).op, Op::Const(_))) {
            let _ = writeln!(out, "  n{} -> n{};", a.0, id.0);
        }
    }
    for (i, (name, id)) in g.outputs.iter().enumerate() {
        let _ = writeln!(out, "  o{i} [label={:?}, shape=oval];\n  n{} -> o{i};", &**name, id.0);
    }
    out.push_str("}\n");
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn nodes_edges_and_outputs() {
        let g = crate::graph::text::parse(
            "%0: f32[2] = input \"x\"\n%1: f32[2] = mul %0, 2.0 ; D.act ^1\noutput \"y\" %1",
        );
        insta::assert_snapshot!(super::dot(&g.unwrap()), @r#"
        digraph g {
          node [shape=box, fontname=monospace];
          subgraph cluster_0 {
            label="";
            n0 [label="%0 input\nf32[2]"];
          }
          subgraph cluster_1 {
            label="D.act'";
            n2 [label="%2 mul\nf32[2]"];
          }
          n0 -> n2;
          o0 [label="y", shape=oval];
          n2 -> o0;
        }
        "#);
    }
}
