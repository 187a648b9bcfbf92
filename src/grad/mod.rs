//! Reverse-mode differentiation: the gradient of a graph is more of the same graph, to any order.
//!
//! [`grad`] walks from `y` down to `wrt` and asks `vjp` for one rule an op. Always holds:
//!
//! - only nodes on a path from `wrt` to `y` are visited, so a branch that cannot matter costs nothing;
//! - a cotangent that is zero is absent (`None`), never a dense tensor of zeros: the second derivative of a ReLU is
//!   no node at all;
//! - contributions are added in decreasing order of the consumers' ids: the same graph gives the same gradient;
//! - a new node carries the origin of the forward node that it belongs to; its order is one more than the highest
//!   order on the way from `y` to that node, so that the gradient of a gradient penalty says 2 in forward layers too.

mod vjp;

use crate::graph::{Graph, NodeId, Origin};

/// Gradients of `y` with respect to each node of `wrt`, each of the node's own type.
///
/// `seed` is the cotangent of `y` (same type); `None` means ones, so that the result is the gradient of the sum of
/// `y`. `None` in the result: the gradient is zero, or `y` does not depend on the node. Nodes of `wrt` may be inner
/// nodes; a path through one of them to another counts as usual (partial derivatives are taken of `y` as a function
/// of each node alone).
pub fn grad(g: &mut Graph, y: NodeId, seed: Option<NodeId>, wrt: &[NodeId]) -> Vec<Option<NodeId>> {
    assert!(g.ty(y).dtype.is_float(), "gradient of {}", g.ty(y));
    let before = g.current_origin().clone();
    let count = y.index() + 1;

    // Which nodes depend on one of `wrt` in a way that can have a derivative.
    let mut needed = vec![false; count];
    for &x in wrt {
        if x.index() < count && g.ty(x).dtype.is_float() {
            needed[x.index()] = true;
        }
    }
    for i in 0..count {
        let node = &g.nodes()[i];
        needed[i] |= vjp::has_derivative(&node.op)
            && node.ty.dtype.is_float()
            && node.args.iter().any(|a| needed[a.index()]);
    }

    let mut adjoint: Vec<Option<NodeId>> = vec![None; count];
    let seed = seed.unwrap_or_else(|| {
        let ty = g.ty(y).clone();
        g.splat(1.0, ty)
    });
    assert_eq!(g.ty(seed), g.ty(y), "cotangent of a result of another type");
    let mut level = vec![0u8; count];
    adjoint[y.index()] = Some(seed).filter(|&s| needed[y.index()] && g.as_splat(s) != Some(0.0));

    for i in (0..count).rev() {
        let id = NodeId(i as u32);
        let Some(ct) = adjoint[i] else { continue };
        let args = g.node(id).args.clone();
        let wanted: Vec<bool> = args.iter().map(|a| needed[a.index()]).collect();
        if !wanted.contains(&true) {
            continue;
        }
        let origin = g.origin(id).clone();
        let order = level[i].max(origin.order);
        g.set_origin(Origin { order: order.saturating_add(1), ..origin });
        for (k, part) in vjp::vjp(g, id, ct, &wanted).into_iter().enumerate() {
            let Some(part) = part.filter(|&p| wanted[k] && g.as_splat(p) != Some(0.0)) else { continue };
            debug_assert_eq!(g.ty(part), g.ty(args[k]), "cotangent of argument {k} of {:?}", g.node(id).op);
            level[args[k].index()] = level[args[k].index()].max(order);
            let slot = &mut adjoint[args[k].index()];
            *slot = Some(match *slot {
                Some(sum) => g.add(sum, part),
                None => part,
            });
        }
    }
    g.set_origin(before);
    wrt.iter().map(|x| adjoint.get(x.index()).copied().flatten()).collect()
}

/// [`grad`] with zeros where there is no gradient.
pub fn grad_or_zeros(g: &mut Graph, y: NodeId, seed: Option<NodeId>, wrt: &[NodeId]) -> Vec<NodeId> {
    let grads = grad(g, y, seed, wrt);
    grads.into_iter().zip(wrt).map(|(d, &x)| d.unwrap_or_else(|| g.zeros_like(x))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Op, Type};

    #[test]
    fn second_derivative_of_relu_is_no_node() {
        let mut g = Graph::new();
        let x = g.input("x", Type::f32([3]));
        let zero = g.scalar(0.0);
        let y = g.binary(crate::graph::Binary::Max, x, zero);
        let d = grad(&mut g, y, None, &[x])[0].unwrap();
        assert!(matches!(g.node(d).op, Op::Select));
        assert_eq!(grad(&mut g, d, None, &[x]), [None]);
    }

    /// Arguments stand in the order of their ids: of the layers of a network the first may have been built before its zero.
    #[test]
    fn where_a_constant_stands_is_no_matter_to_a_gradient() {
        let of = |zero_first: bool, f| {
            let mut g = Graph::new();
            let zero = zero_first.then(|| g.scalar(0.0));
            let x = g.input("x", Type::f32([3]));
            let zero = zero.unwrap_or_else(|| g.scalar(0.0));
            let y = g.binary(f, x, zero);
            let d = grad(&mut g, y, None, &[x])[0].unwrap();
            let test = g.node(d).args[0];
            let place = |n| if n == x { "x" } else { "0" };
            (g.node(test).op.clone(), g.node(test).args.clone().iter().map(|&n| place(n)).collect::<Vec<_>>())
        };
        for f in [crate::graph::Binary::Max, crate::graph::Binary::Min] {
            assert_eq!(of(true, f), of(false, f));
        }
    }

    #[test]
    fn unreached_and_stopped_nodes_have_none() {
        let mut g = Graph::new();
        let x = g.input("x", Type::f32([2]));
        let other = g.input("other", Type::f32([2]));
        let t = g.unary(crate::graph::Unary::Tanh, x);
        let s = g.stop(t);
        let y = g.mul(s, x);
        let before = g.nodes().len();
        let d = grad(&mut g, y, None, &[x, other, t]);
        assert_eq!(d, [Some(s), None, None]);
        assert!(g.nodes().len() <= before + 2, "nothing but the seed is new");
        let zeros = grad_or_zeros(&mut g, y, None, &[other])[0];
        assert_eq!(g.as_splat(zeros), Some(0.0));
    }

    #[test]
    fn origin_counts_the_order() {
        let mut g = Graph::new();
        g.set_origin(Origin { path: "D.act".into(), ..Origin::default() });
        let x = g.input("x", Type::f32([2]));
        let y = g.unary(crate::graph::Unary::Tanh, x);
        g.set_origin(Origin::default());
        let d = grad(&mut g, y, None, &[x])[0].unwrap();
        assert_eq!((g.origin(d).order, &*g.origin(d).path), (1, "D.act"));
        let dd = grad(&mut g, d, None, &[x])[0].unwrap();
        assert_eq!(g.origin(dd).order, 2);
        assert_eq!(*g.current_origin(), Origin::default());
    }
}
