//! The part of a graph that given outputs need.

use crate::graph::{Graph, NodeId, Output};

/// A graph with these outputs and nothing that they do not need, in the order of the original.
pub(super) fn extract(graph: &Graph, outputs: &[Output]) -> Graph {
    let mut needed = vec![false; graph.nodes().len()];
    for (_, id) in outputs {
        needed[id.index()] = true;
    }
    for i in (0..needed.len()).rev() {
        if needed[i] {
            for a in &graph.nodes()[i].args {
                needed[a.index()] = true;
            }
        }
    }
    let mut out = Graph::new();
    let mut map: Vec<Option<NodeId>> = vec![None; needed.len()];
    for (i, node) in graph.nodes().iter().enumerate() {
        if !needed[i] {
            continue;
        }
        out.set_origin(graph.origin(NodeId(i as u32)).clone());
        let args = node.args.iter().filter_map(|a| map[a.index()]).collect();
        map[i] = Some(out.intern(node.op.clone(), args, node.ty.clone()));
    }
    out.set_origin(crate::graph::Origin::default());
    for (name, id) in outputs {
        if let Some(id) = map[id.index()] {
            out.output(name.clone(), id);
        }
    }
    out
}
