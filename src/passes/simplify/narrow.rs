//! Work moved to smaller tensors: before broadcasts, after sums.

use super::{binary_of, broadcast_of, factor_of};
use crate::graph::{Binary, Graph, NodeId, Op};
use crate::passes::emit;

/// The smallest shape from which all of these can be broadcast, if it is smaller than theirs. Constants fit any.
fn joint(g: &Graph, args: &[NodeId]) -> Option<Vec<usize>> {
    let full = g.shape(args[0]);
    let mut small = vec![1; full.len()];
    for &a in args.iter().filter(|&&a| g.as_splat(a).is_none()) {
        let source = broadcast_of(g, a)?;
        small.iter_mut().zip(g.shape(source)).for_each(|(s, &d)| *s = d.max(*s));
    }
    (small.iter().product::<usize>() < full.iter().product()).then_some(small)
}

fn at(g: &mut Graph, x: NodeId, shape: &[usize]) -> NodeId {
    match (g.as_splat(x), broadcast_of(g, x)) {
        (Some(v), _) => {
            let dtype = g.ty(x).dtype;
            g.splat(v, crate::graph::Type::new(dtype, shape))
        }
        (None, Some(source)) => g.broadcast(source, shape),
        (None, None) => x,
    }
}

/// An elementwise op of broadcast arguments.
pub(super) fn elementwise(g: &mut Graph, id: NodeId, args: &[NodeId]) -> Option<NodeId> {
    let small = joint(g, args)?;
    let narrowed: Vec<NodeId> = args.iter().map(|&a| at(g, a, &small)).collect();
    let node = g.node(id).clone();
    let r = emit(g, &node, &narrowed);
    Some(g.broadcast(r, &node.ty.shape))
}

/// `s op (t op x)` with `s` and `t` broadcast (or constant) from less than the whole is `(s op t) op x`.
pub(super) fn small_first(g: &mut Graph, f: Binary, a: NodeId, b: NodeId) -> Option<NodeId> {
    match f {
        Binary::Add | Binary::Mul | Binary::Max | Binary::Min | Binary::And | Binary::Or => {}
        Binary::Lt | Binary::Le | Binary::Eq => return None,
    }
    let small = |g: &Graph, x: NodeId| g.as_splat(x).is_some() || broadcast_of(g, x).is_some();
    for (s, rest) in [(a, b), (b, a)] {
        if !small(g, s) || small(g, rest) {
            continue;
        }
        let Some((p, q)) = binary_of(g, rest, f) else { continue };
        for (t, x) in [(p, q), (q, p)] {
            if !small(g, t) || small(g, x) {
                continue;
            }
            if let Some(shape) = joint(g, &[s, t]) {
                let full = g.shape(x).to_vec();
                let (s, t) = (at(g, s, &shape), at(g, t, &shape));
                let st = g.binary(f, s, t);
                let st = g.broadcast(st, &full);
                return Some(g.binary(f, st, x));
            }
        }
    }
    None
}

/// A sum of something that is a product of a smaller sum and something constant along it.
pub(super) fn sum(g: &mut Graph, axes: &[usize], x: NodeId) -> Option<NodeId> {
    let mut out = g.shape(x).to_vec();
    axes.iter().for_each(|&a| out[a] = 1);
    if let Some(source) = broadcast_of(g, x) {
        let from = g.shape(source).to_vec();
        let (grown, kept): (Vec<usize>, Vec<usize>) = axes.iter().copied().partition(|&a| from[a] == 1);
        let count: usize = grown.iter().map(|&a| g.shape(x)[a]).product();
        let s = g.sum(source, &kept);
        let s = g.scale_like(s, count as f64);
        return Some(g.broadcast(s, &out));
    }
    if g.ty(x).dtype.is_float() {
        let (y, c) = factor_of(g, x);
        if y != x {
            let s = g.sum(y, axes);
            return Some(g.scale_like(s, c));
        }
        if let Some((p, q)) = binary_of(g, x, Binary::Mul) {
            for (factor, rest) in [(p, q), (q, p)] {
                let Some(source) = broadcast_of(g, factor) else { continue };
                if axes.iter().all(|&a| g.shape(source)[a] == 1) {
                    let s = g.sum(rest, axes);
                    let f = g.broadcast(source, &out);
                    return Some(g.mul(s, f));
                }
            }
        }
    }
    let node = g.node(x).clone();
    match node.op {
        Op::Permute(perm) => {
            let inner: Vec<usize> = axes.iter().map(|&a| perm[a]).collect();
            let s = g.sum(node.args[0], &inner);
            Some(g.permute(s, &perm))
        }
        Op::Reshape => {
            let (from, to) = (g.shape(node.args[0]).to_vec(), node.ty.shape);
            let mut inner = vec![];
            for (i, o) in super::views::groups(&from, &to)? {
                let wide: Vec<usize> = o.filter(|&a| to[a] > 1).collect();
                match wide.iter().filter(|a| axes.contains(a)).count() {
                    0 => {}
                    n if n == wide.len() => inner.extend(i),
                    _ => return None,
                }
            }
            let s = g.sum(node.args[0], &inner);
            Some(g.reshape(s, &out))
        }
        Op::Pad { mut lo, mut hi, mut interior, value } if value.0 == 0.0 => {
            for list in [&mut lo, &mut hi, &mut interior] {
                axes.iter().for_each(|&a| list[a] = 0);
            }
            // An axis that is empty before it is padded has no sum of extent 1.
            if g.shape(node.args[0]).contains(&0) {
                return None;
            }
            let s = g.sum(node.args[0], axes);
            Some(g.pad(s, &lo, &hi, &interior, 0.0))
        }
        _ => None,
    }
}

/// A maximum of a broadcast needs only the source.
pub(super) fn max_reduce(g: &mut Graph, axes: &[usize], x: NodeId) -> Option<NodeId> {
    let mut out = g.shape(x).to_vec();
    axes.iter().for_each(|&a| out[a] = 1);
    if let Some(source) = broadcast_of(g, x) {
        let m = g.max_reduce(source, axes);
        return Some(g.broadcast(m, &out));
    }
    if let Op::Permute(perm) = g.node(x).op.clone() {
        let source = g.node(x).args[0];
        let inner: Vec<usize> = axes.iter().map(|&a| perm[a]).collect();
        let m = g.max_reduce(source, &inner);
        return Some(g.permute(m, &perm));
    }
    None
}
