//! Slopes of rectifiers told by their results.
//!
//! The gradient of `max(x, 0)` asks whether `x <= 0`, that of a leaky one whether `0 < x`. Of the result both are true where
//! they are of `x`, so that a layer that is a product and a rectifier need not keep both: only the result, which the next
//! product reads, reaches memory (what PyTorch users write as `inplace=True`). Where `x` is made of more than a product of
//! its own (a normalisation, whose gradient reads the product anyway; a sum that others read), nothing would be saved.
//!
//! Results lie in memory as the next product reads them, perhaps in fewer bits. Rounding keeps the sign of a number, but for
//! those below the least of f16, which become 0 there: such an element has the slope of the 0 that the product reads.

use super::{dce, emit, rewrite};
use crate::graph::{Binary, DType, Graph, Node, NodeId, Op, Unary};
use std::collections::BTreeMap;

/// Whom a test of a rectifier's argument may ask instead.
struct Instead {
    /// The rectifier, which goes on to ask its argument.
    rectifier: NodeId,
    /// Its result, as a product reads it.
    result: NodeId,
}

/// Asks results of rectifiers in place of their arguments.
pub fn slopes(g: &Graph) -> Graph {
    let instead = instead(g);
    if instead.is_empty() {
        return g.clone();
    }
    let needed = super::rebuild::needed(g);
    let mut old = g.ids().filter(|id| needed[id.index()]);
    let mut map: BTreeMap<NodeId, NodeId> = BTreeMap::new();
    let next = rewrite(g, |new, node, mut args| {
        let id = old.next().unwrap_or(NodeId(0));
        for (arg, was) in args.iter_mut().zip(&node.args) {
            if let Some(t) = instead.get(was)
                && t.rectifier != id
                && let Some(&result) = map.get(&t.result)
            {
                *arg = asked(new, g.node(*was), result);
            }
        }
        let made = emit(new, node, &args);
        map.insert(id, made);
        made
    });
    dce(&next)
}

/// The test of another value.
fn asked(g: &mut Graph, test: &Node, of: NodeId) -> NodeId {
    let of = g.cast(of, DType::F32);
    let zero = g.zeros_like(of);
    if test.op == Op::Binary(Binary::Le) { g.binary(Binary::Le, of, zero) } else { g.lt(zero, of) }
}

/// Tests to be changed.
fn instead(g: &Graph) -> BTreeMap<NodeId, Instead> {
    let needed = super::rebuild::needed(g);
    let mut users: Vec<Vec<NodeId>> = vec![vec![]; g.nodes().len()];
    for id in g.ids().filter(|id| needed[id.index()]) {
        for a in &g.node(id).args {
            users[a.index()].push(id);
        }
    }
    // An output is a reader without a name.
    g.outputs.iter().for_each(|o| users[o.1.index()].push(o.1));
    let mut all = BTreeMap::new();
    for y in g.ids().filter(|id| needed[id.index()]) {
        let Some(x) = rectified(g, y) else { continue };
        let Some(result) = operand(g, y, &users) else { continue };
        let test = |&&u: &&NodeId| is_test(g, u, x);
        let others = users[x.index()].iter().filter(|u| !test(u) && **u != y);
        let scaled_for_y = |&u: &NodeId| users[u.index()] == [y] && matches!(g.node(u).op, Op::Binary(Binary::Mul));
        if !others.copied().all(|u| scaled_for_y(&u)) || !made_for(g, x, &users) {
            continue;
        }
        for &t in users[x.index()].iter().filter(test) {
            all.insert(t, Instead { rectifier: y, result });
        }
    }
    all
}

/// The argument of a rectifier.
fn rectified(g: &Graph, y: NodeId) -> Option<NodeId> {
    let zero = |n: NodeId| g.as_splat(n) == Some(0.0);
    let node = g.node(y);
    if node.ty.dtype != DType::F32 {
        return None;
    }
    match (&node.op, &node.args[..]) {
        (Op::Binary(Binary::Max), &[a, b]) => match (zero(a), zero(b)) {
            (true, false) => Some(b),
            (false, true) => Some(a),
            _ => None,
        },
        (Op::Select, &[test, x, low]) => {
            let up = g.node(test).op == Op::Binary(Binary::Lt);
            let [p, q] = g.node(low).args[..] else { return None };
            let slope = if p == x { q } else { p };
            let scaled = g.node(low).op == Op::Binary(Binary::Mul) && (p == x || q == x);
            (up && is_test(g, test, x) && scaled && g.as_splat(slope).is_some_and(|s| s > 0.0)).then_some(x)
        }
        _ => None,
    }
}

/// Whether a node asks for the sign of `x`.
fn is_test(g: &Graph, n: NodeId, x: NodeId) -> bool {
    let zero = |n: NodeId| g.as_splat(n) == Some(0.0);
    match (&g.node(n).op, &g.node(n).args[..]) {
        (Op::Binary(Binary::Lt), &[a, b]) => zero(a) && b == x,
        (Op::Binary(Binary::Le), &[a, b]) => a == x && zero(b),
        _ => false,
    }
}

fn is_product(g: &Graph, n: NodeId) -> bool {
    matches!(g.node(n).op, Op::Contract(_) | Op::ConvFwd(_) | Op::ConvDataGrad(_) | Op::ConvWeightGrad(_))
}

/// The form of `y` that products read, itself or itself in fewer bits. Not where they read it in another shape: a gradient
/// that comes out of such a product has no other loops for the sum of a bias's gradient to join.
fn operand(g: &Graph, y: NodeId, users: &[Vec<NodeId>]) -> Option<NodeId> {
    let read = |n: NodeId| users[n.index()].iter().any(|&u| is_product(g, u));
    let fewer = |&u: &NodeId| matches!(g.node(u).op, Op::Cast | Op::Unary(Unary::Tf32)) && read(u);
    users[y.index()].iter().copied().find(fewer).or_else(|| read(y).then_some(y))
}

/// Whether a product's result, and nothing else of the size of `x`, becomes `x` and nothing else.
fn made_for(g: &Graph, x: NodeId, users: &[Vec<NodeId>]) -> bool {
    let mut n = x;
    loop {
        let node = g.node(n);
        let small = |a: NodeId| matches!(g.node(a).op, Op::Broadcast) || g.as_splat(a).is_some();
        n = match (&node.op, &node.args[..]) {
            _ if is_product(g, n) => return true,
            (Op::Cast, &[a]) => a,
            (Op::Binary(Binary::Add | Binary::Mul), &[a, b]) if small(a) != small(b) => {
                if small(a) {
                    b
                } else {
                    a
                }
            }
            _ => return false,
        };
        if users[n.index()].len() != 1 {
            return false;
        }
    }
}
