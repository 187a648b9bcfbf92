//! The order of arguments where it does not matter.
//!
//! Numbers of nodes say where in a graph a value is computed. Loop bodies that went by them would write `a + b` for a
//! layer at its real batch and `b + a` for the same layer at its fake one, and kernels that do the same would be
//! compiled twice. Here values are ordered by what they are.

use crate::graph::text::op_name;
use crate::graph::{Binary, Graph, NodeId, Op};
use std::cmp::{Ordering, Reverse};

/// How far [`alike`] looks.
const DEPTH: usize = 4;

/// What a view shows: reading through one is no instruction.
fn seen(g: &Graph, mut n: NodeId, stored: &dyn Fn(NodeId) -> bool) -> NodeId {
    while !stored(n) && matches!(g.node(n).op, Op::Reshape | Op::Stop | Op::Permute(_) | Op::Broadcast) {
        n = g.node(n).args[0];
    }
    n
}

/// The order of two values by how they are computed from what is `stored`, whatever their numbers: computed ones, then
/// those in memory, larger ones first, then constants.
fn alike(g: &Graph, a: NodeId, b: NodeId, stored: &dyn Fn(NodeId) -> bool, depth: usize) -> Ordering {
    let (a, b) = (seen(g, a, stored), seen(g, b, stored));
    if a == b || depth == 0 {
        return Ordering::Equal;
    }
    let what = |n: NodeId| {
        let (op, ty) = (&g.node(n).op, g.ty(n));
        let (constant, held) = (matches!(op, Op::Const(_)), stored(n));
        (constant, held, Reverse(ty.elements()), if held { "" } else { op_name(op) }, ty.dtype.bytes())
    };
    what(a).cmp(&what(b)).then_with(|| {
        if stored(a) {
            return Ordering::Equal;
        }
        let pairs = g.node(a).args.iter().zip(&g.node(b).args);
        let mut orders = pairs.map(|(&p, &q)| alike(g, p, q, stored, depth - 1));
        orders.find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    })
}

/// The arguments of an elementwise function in the order in which they are computed and written.
pub(super) fn ordered(g: &Graph, f: Binary, args: &[NodeId], stored: &dyn Fn(NodeId) -> bool) -> [NodeId; 2] {
    let [a, b] = [args[0], args[1]];
    if f.commutes() && alike(g, a, b, stored, DEPTH).is_gt() { [b, a] } else { [a, b] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::text::parse;

    #[test]
    fn the_same_is_written_in_the_same_order() {
        let text = r#"
            %0: f32[2,2] = input "x"
            %1: f32[2] = param "b"
            %2: f32[1,2] = reshape %1
            %3: f32[2,2] = const 0.5
            %4: f32[2,2] = broadcast %2
            %5: f32[2,2] = exp %0
            %6: f32[2,2] = add %4, %5
            %7: f32[2,2] = mul %3, %6
            %8: bool[2,2] = lt %3, %6
            output "y" %7
            output "z" %8
        "#;
        let g = parse(text).expect("it parses");
        let stored = |n: NodeId| matches!(g.node(n).op, Op::Input(_) | Op::Param(_));
        let (computed, bias, half) = (NodeId(5), NodeId(4), NodeId(3));
        let both = |a, b| [ordered(&g, Binary::Add, &[a, b], &stored), ordered(&g, Binary::Add, &[b, a], &stored)];
        assert_eq!(both(bias, computed), [[computed, bias]; 2]);
        assert_eq!(both(half, bias), [[bias, half]; 2]);
        assert_eq!(both(NodeId(0), bias), [[NodeId(0), bias]; 2], "the larger one first");
        // What does not commute stays, and equals keep their places.
        assert_eq!(ordered(&g, Binary::Lt, &[half, bias], &stored), [half, bias]);
        assert_eq!(both(NodeId(5), NodeId(5)), [[NodeId(5); 2]; 2]);
    }
}
