//! Renumbering.

use super::rebuild::needed;
use crate::graph::{Graph, NodeId, Op};

/// Named leaves first, then all other needed nodes, both in the order they had: that order is the one in which
/// gradients were taken, which frees an activation as soon as its layer's gradients are done. Arguments of
/// commutative ops stand in the order of their new numbers.
pub fn renumber(g: &Graph) -> Graph {
    let needed = needed(g);
    let leaf = |id: &NodeId| matches!(g.node(*id).op, Op::Input(_) | Op::Param(_) | Op::State(_));
    let all = || g.ids().filter(|id| needed[id.index()]);
    let mut new = Graph::new();
    let mut map = vec![NodeId(0); g.nodes().len()];
    for id in all().filter(leaf).chain(all().filter(|id| !leaf(id))) {
        let node = g.node(id);
        new.set_origin(g.origin(id).clone());
        let mut args: Vec<NodeId> = node.args.iter().map(|a| map[a.index()]).collect();
        if matches!(node.op, Op::Binary(f) if f.commutes()) {
            args.sort_unstable();
        }
        map[id.index()] = new.intern(node.op.clone(), args, node.ty.clone());
    }
    for (name, id) in &g.outputs {
        new.output(name.clone(), map[id.index()]);
    }
    new.set_origin(g.current_origin().clone());
    new
}

#[cfg(test)]
mod tests {
    use crate::graph::text::{parse, print};

    #[test]
    fn leaves_first_without_gaps() {
        let g = parse(
            r#"
            %3: f32[2] = param "a"
            %5: f32[2] = exp %3
            %6: f32[2] = input "x"
            %9: f32[2] = mul %5, %6
            output "y" %9
            "#,
        );
        insta::assert_snapshot!(print(&super::renumber(&g.unwrap())), @r#"
        %0: f32[2] = param "a"
        %1: f32[2] = input "x"
        %2: f32[2] = exp %0
        %3: f32[2] = mul %1, %2
        output "y" %3
        "#);
    }
}
