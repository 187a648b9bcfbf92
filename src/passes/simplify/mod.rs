//! Simplification: local rules, applied to each node as it is copied, until none applies.
//!
//! A rule looks at a node and its arguments in the new graph and gives a node of the same type and value (up to
//! rounding) that costs less, or costs the same and lets other rules apply:
//!
//! - [`algebra`]: elementwise identities; negations and constant factors move outward, where sums and other
//!   factors absorb them, so `add(a, neg(b))` stays the one form of a difference;
//! - [`narrow`]: an elementwise op of broadcast arguments is computed before the broadcast; reductions of
//!   broadcasts become products; factors that are constant along a sum leave it;
//! - [`centred`]: deviations from a mean add up to nothing;
//! - [`views`]: views of views become one view or none, and contractions absorb transpositions.

mod algebra;
mod centred;
mod narrow;
mod views;

use super::{emit, rewrite};
use crate::graph::{Binary, Graph, NodeId, Op, Unary};

/// More rounds than any graph has been seen to need; each is linear in the graph.
const ROUNDS: usize = 12;
/// Rules applied to one node in one round.
const STEPS: usize = 32;

/// Applies all rules until none applies.
pub fn simplify(g: &Graph) -> Graph {
    let mut g = g.clone();
    for _ in 0..ROUNDS {
        let (next, fired) = round(&g);
        g = next;
        if fired == 0 {
            break;
        }
    }
    g
}

/// One round, and how many rules applied.
fn round(g: &Graph) -> (Graph, usize) {
    // How often each new node is used, as far as it is known while it is copied: by the old graph's uses.
    let mut uses = vec![0usize; g.nodes().len()];
    g.outputs.iter().for_each(|o| uses[o.1.index()] += 1);
    g.nodes().iter().flat_map(|n| &n.args).for_each(|a| uses[a.index()] += 1);
    let mut uses_of_new: Vec<usize> = vec![];
    let mut fired = 0;
    let mut old = super::rebuild::needed(g).into_iter().zip(uses).filter(|n| n.0).map(|n| n.1);
    let next = rewrite(g, |new, node, args| {
        let mut id = emit(new, node, &args);
        for _ in 0..STEPS {
            let shared = |x: NodeId| uses_of_new.get(x.index()).is_none_or(|&n| n > 1);
            match rule(new, id, &shared) {
                Some(better) if better != id => {
                    debug_assert_eq!(new.ty(better), new.ty(id), "{:?}", new.node(id).op);
                    fired += 1;
                    id = better;
                }
                _ => break,
            }
        }
        uses_of_new.resize(new.nodes().len(), 0);
        uses_of_new[id.index()] += old.next().unwrap_or(0);
        id
    });
    (next, fired)
}

/// A better node for this one, if a rule knows one.
fn rule(g: &mut Graph, id: NodeId, shared: &dyn Fn(NodeId) -> bool) -> Option<NodeId> {
    let args = g.node(id).args.clone();
    match g.node(id).op.clone() {
        Op::Input(_) | Op::Param(_) | Op::State(_) | Op::Const(_) | Op::Iota { .. } | Op::Random { .. } => None,
        Op::Unary(f) => algebra::unary(g, f, args[0]).or_else(|| narrow::elementwise(g, id, &args)),
        Op::Binary(f) => algebra::binary(g, f, args[0], args[1])
            .or_else(|| views::disjoint_pads(g, f, args[0], args[1]))
            .or_else(|| narrow::elementwise(g, id, &args))
            .or_else(|| narrow::small_first(g, f, args[0], args[1]))
            .or_else(|| views::same_view(g, id, &args)),
        Op::Select => algebra::select(g, args[0], args[1], args[2]).or_else(|| narrow::elementwise(g, id, &args)),
        Op::Cast => algebra::cast(g, id, args[0]).or_else(|| narrow::elementwise(g, id, &args)),
        Op::Reshape => views::reshape(g, id, args[0]),
        Op::Permute(perm) => views::permute(g, &perm, args[0], shared),
        Op::Slice { start, limit, step } => views::slice(g, args[0], &start, &limit, &step),
        Op::Pad { lo, hi, interior, value } => views::pad(g, args[0], &lo, &hi, &interior, value.0),
        Op::Reverse(axes) => views::reverse(g, &axes, args[0]),
        Op::Concat { axis } => views::concat(g, axis, &args),
        Op::Sum(axes) => narrow::sum(g, &axes, args[0]).or_else(|| centred::sum(g, &axes, args[0])),
        Op::Max(axes) => narrow::max_reduce(g, &axes, args[0]),
        Op::Contract(dims) => {
            views::contract(g, &dims, args[0], args[1]).or_else(|| algebra::sign_of_product(g, id, &args))
        }
        Op::ConvFwd(_) | Op::ConvDataGrad(_) | Op::ConvWeightGrad(_) => algebra::sign_of_product(g, id, &args),
        Op::Unfold(w) => (g.as_splat(args[0]) == Some(w.value.0)).then(|| {
            let ty = g.ty(id).clone();
            g.splat(w.value.0, ty)
        }),
        Op::Fold(_) => (g.as_splat(args[0]) == Some(0.0)).then(|| g.zeros_like(id)),
        Op::GatherRows => g.as_splat(args[0]).map(|v| {
            let ty = g.ty(id).clone();
            g.splat(v, ty)
        }),
        // All gradients have been taken.
        Op::Stop => Some(args[0]),
        Op::Broadcast | Op::ArgMax(_) | Op::ScatterRows => None,
    }
}

/// The argument, if `id` is this unary function.
fn unary_of(g: &Graph, id: NodeId, f: Unary) -> Option<NodeId> {
    let n = g.node(id);
    (n.op == Op::Unary(f)).then(|| n.args[0])
}

/// The arguments, if `id` is this binary function.
fn binary_of(g: &Graph, id: NodeId, f: Binary) -> Option<(NodeId, NodeId)> {
    let n = g.node(id);
    (n.op == Op::Binary(f)).then(|| (n.args[0], n.args[1]))
}

/// The source, if `id` is a broadcast.
fn broadcast_of(g: &Graph, id: NodeId) -> Option<NodeId> {
    let n = g.node(id);
    (n.op == Op::Broadcast).then(|| n.args[0])
}

/// `x` and `c` where `id` is `x * c` (or `-x`, or anything with factor 1).
pub(super) fn factor_of(g: &Graph, id: NodeId) -> (NodeId, f64) {
    if let Some(x) = unary_of(g, id, Unary::Neg) {
        return (x, -1.0);
    }
    match binary_of(g, id, Binary::Mul) {
        Some((a, b)) => match (g.as_splat(a), g.as_splat(b)) {
            (Some(c), _) => (b, c),
            (_, Some(c)) => (a, c),
            _ => (id, 1.0),
        },
        None => (id, 1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Type, text};

    #[test]
    fn few_rounds_do() {
        // A chain on which rules apply all along: what one round makes possible, the next node sees in that round.
        let mut g = Graph::new();
        let mut y = g.input("x", Type::f32([4, 8]));
        let b = g.param("b", &[1, 8]);
        for i in 0..1000 {
            let n = g.neg(y);
            let s = g.scale(n, 1.0 + f64::from(i % 7));
            let t = g.add(s, b);
            y = g.unary(Unary::Tanh, t);
        }
        g.output("y", y);
        let (once, _) = round(&g);
        let (twice, _) = round(&once);
        let (thrice, fired) = round(&twice);
        assert_eq!((fired, text::print(&thrice)), (0, text::print(&simplify(&g))));
        assert!(thrice.nodes().len() < g.nodes().len());
    }

    #[test]
    fn shared_products_are_not_computed_twice() {
        let mut g = Graph::new();
        let (a, b) = (g.input("a", Type::f32([3, 4])), g.input("b", Type::f32([4, 5])));
        let p = g.matmul(a, b);
        let t = g.permute(p, &[1, 0]);
        g.output("p", p);
        g.output("t", t);
        assert_eq!(text::print(&simplify(&g)), text::print(&g));
    }
}
