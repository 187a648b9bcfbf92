//! Views of views.

use super::broadcast_of;
use crate::graph::{Binary, ContractDims, Graph, NodeId, Op};
use crate::passes::emit;
use std::ops::Range;

/// Runs of axes of two shapes with the same number of elements, as short as possible. `None` if one is empty.
pub(super) fn groups(from: &[usize], to: &[usize]) -> Option<Vec<(Range<usize>, Range<usize>)>> {
    if from.contains(&0) {
        return None;
    }
    let (mut i, mut j, mut all) = (0, 0, vec![]);
    while i < from.len() || j < to.len() {
        let begin = (i, j);
        let (mut p, mut q) = (1, 1);
        if i < from.len() {
            p = from[i];
            i += 1;
        }
        if j < to.len() {
            q = to[j];
            j += 1;
        }
        while p != q {
            if p < q {
                p *= from[i];
                i += 1;
            } else {
                q *= to[j];
                j += 1;
            }
        }
        all.push((begin.0..i, begin.1..j));
    }
    Some(all)
}

/// A reshaped broadcast is a broadcast of the reshaped source, if no run of axes is only partly grown.
pub(super) fn reshape(g: &mut Graph, id: NodeId, x: NodeId) -> Option<NodeId> {
    let source = broadcast_of(g, x)?;
    let (small, wide, to) = (g.shape(source).to_vec(), g.shape(x).to_vec(), g.shape(id).to_vec());
    let mut shape = to.clone();
    for (i, o) in groups(&wide, &to)? {
        let mut axes = i.filter(|&a| wide[a] > 1).peekable();
        if axes.peek().is_none() {
            continue;
        }
        let axes: Vec<usize> = axes.collect();
        if axes.iter().all(|&a| small[a] == 1) {
            o.for_each(|a| shape[a] = 1);
        } else if axes.iter().any(|&a| small[a] == 1) {
            return None;
        }
    }
    let r = g.reshape(source, &shape);
    Some(g.broadcast(r, &to))
}

pub(super) fn permute(g: &mut Graph, perm: &[usize], x: NodeId, shared: &dyn Fn(NodeId) -> bool) -> Option<NodeId> {
    if let Some(source) = broadcast_of(g, x) {
        let to: Vec<usize> = perm.iter().map(|&p| g.shape(x)[p]).collect();
        let r = g.permute(source, perm);
        return Some(g.broadcast(r, &to));
    }
    // The transposition of a product is the product of the factors the other way round; nobody else may need it.
    if let Op::Contract(dims) = g.node(x).op.clone()
        && !shared(x)
    {
        let (a, b) = (g.node(x).args[0], g.node(x).args[1]);
        let nb = dims.batch.len();
        let na = g.shape(a).len() - nb - dims.contracted.len();
        let swapped: Vec<usize> = (0..nb).chain(nb + na..perm.len()).chain(nb..nb + na).collect();
        if perm == swapped {
            let flip = |p: &[(usize, usize)]| p.iter().map(|&(i, j)| (j, i)).collect();
            let dims = ContractDims { batch: flip(&dims.batch), contracted: flip(&dims.contracted) };
            return Some(g.contract(b, a, dims));
        }
    }
    None
}

/// A contraction reads through a permutation that leaves the order of the free axes.
pub(super) fn contract(g: &mut Graph, dims: &ContractDims, a: NodeId, b: NodeId) -> Option<NodeId> {
    let absorb = |g: &Graph, x: NodeId, used: Vec<usize>| {
        let Op::Permute(perm) = &g.node(x).op else { return None };
        let free: Vec<usize> = (0..perm.len()).filter(|i| !used.contains(i)).map(|i| perm[i]).collect();
        free.windows(2).all(|w| w[0] < w[1]).then(|| (g.node(x).args[0], perm.clone()))
    };
    let used = |pick: fn(&(usize, usize)) -> usize| dims.batch.iter().chain(&dims.contracted).map(pick).collect();
    let map = |pairs: &[(usize, usize)], f: &dyn Fn((usize, usize)) -> (usize, usize)| {
        pairs.iter().map(|&p| f(p)).collect::<Vec<_>>()
    };
    if let Some((a, perm)) = absorb(g, a, used(|p| p.0)) {
        let f = |(i, j): (usize, usize)| (perm[i], j);
        let dims = ContractDims { batch: map(&dims.batch, &f), contracted: map(&dims.contracted, &f) };
        return Some(g.contract(a, b, dims));
    }
    if let Some((b, perm)) = absorb(g, b, used(|p| p.1)) {
        let f = |(i, j): (usize, usize)| (i, perm[j]);
        let dims = ContractDims { batch: map(&dims.batch, &f), contracted: map(&dims.contracted, &f) };
        return Some(g.contract(a, b, dims));
    }
    None
}

pub(super) fn slice(g: &mut Graph, x: NodeId, start: &[usize], limit: &[usize], step: &[usize]) -> Option<NodeId> {
    let node = g.node(x).clone();
    let rank = start.len();
    let taken: Vec<usize> = (0..rank).map(|i| (limit[i] - start[i]).div_ceil(step[i])).collect();
    if taken.contains(&0) {
        let ty = crate::graph::Type::new(node.ty.dtype, taken);
        return Some(g.splat(0.0, ty));
    }
    match node.op {
        Op::Broadcast => {
            let small = g.shape(node.args[0]).to_vec();
            let grown = |i: usize| small[i] == 1;
            let pick = |list: &[usize], default: usize| -> Vec<usize> {
                (0..rank).map(|i| if grown(i) { default } else { list[i] }).collect()
            };
            let s = g.slice(node.args[0], &pick(start, 0), &pick(limit, 1), &pick(step, 1));
            Some(g.broadcast(s, &taken))
        }
        Op::Slice { start: s0, step: k0, .. } => {
            let begin: Vec<usize> = (0..rank).map(|i| s0[i] + start[i] * k0[i]).collect();
            let by: Vec<usize> = (0..rank).map(|i| step[i] * k0[i]).collect();
            let end: Vec<usize> = (0..rank).map(|i| begin[i] + (taken[i] - 1) * by[i] + 1).collect();
            Some(g.slice(node.args[0], &begin, &end, &by))
        }
        Op::Concat { axis } => {
            let (mut at, mut touched) = (0, vec![]);
            for &p in &node.args {
                let (n, first) = (g.shape(p)[axis], at);
                at += n;
                if start[axis] < at && limit[axis] > first {
                    touched.push((p, start[axis].max(first) - first, limit[axis].min(at) - first));
                }
            }
            if touched.len() == node.args.len() || (touched.len() > 1 && step[axis] > 1) {
                return None;
            }
            let parts: Vec<NodeId> = touched
                .into_iter()
                .map(|(p, first, last)| {
                    let (mut start, mut limit) = (start.to_vec(), limit.to_vec());
                    (start[axis], limit[axis]) = (first, last);
                    g.slice(p, &start, &limit, step)
                })
                .collect();
            Some(g.concat(&parts, axis))
        }
        Op::Pad { lo, interior, value, .. } if interior.iter().all(|&k| k == 0) && step.iter().all(|&k| k == 1) => {
            let inner = g.shape(node.args[0]).to_vec();
            let first: Vec<usize> = (0..rank).map(|i| start[i].max(lo[i])).collect();
            let last: Vec<usize> = (0..rank).map(|i| limit[i].min(lo[i] + inner[i])).collect();
            if (0..rank).any(|i| first[i] >= last[i]) {
                let ty = crate::graph::Type::new(node.ty.dtype, taken);
                return Some(g.splat(value.0, ty));
            }
            let minus = |a: &[usize], b: &[usize]| -> Vec<usize> { a.iter().zip(b).map(|(a, b)| a - b).collect() };
            let s = g.slice(node.args[0], &minus(&first, &lo), &minus(&last, &lo), step);
            Some(g.pad(s, &minus(&first, start), &minus(limit, &last), &interior, value.0))
        }
        _ => None,
    }
}

/// Padding around padding of the same value.
pub(super) fn pad(
    g: &mut Graph,
    x: NodeId,
    lo: &[usize],
    hi: &[usize],
    interior: &[usize],
    value: f64,
) -> Option<NodeId> {
    let node = g.node(x).clone();
    let Op::Pad { lo: l, hi: h, interior: inner, value: v } = node.op else { return None };
    if v.0.to_bits() != value.to_bits() || interior.iter().any(|&k| k > 0) {
        return None;
    }
    let plus = |a: &[usize], b: &[usize]| -> Vec<usize> { a.iter().zip(b).map(|(a, b)| a + b).collect() };
    Some(g.pad(node.args[0], &plus(lo, &l), &plus(hi, &h), &inner, value))
}

pub(super) fn reverse(g: &mut Graph, axes: &[usize], x: NodeId) -> Option<NodeId> {
    let node = g.node(x).clone();
    match node.op {
        Op::Reverse(inner) => {
            let once = |a: &&usize| axes.contains(a) != inner.contains(a);
            let left: Vec<usize> = axes.iter().chain(&inner).filter(once).copied().collect();
            Some(g.reverse(node.args[0], &left))
        }
        Op::Broadcast => {
            let r = g.reverse(node.args[0], axes);
            Some(g.broadcast(r, &node.ty.shape))
        }
        _ => None,
    }
}

/// Nested concatenations become one, neighbouring slices of one source become one slice.
pub(super) fn concat(g: &mut Graph, axis: usize, parts: &[NodeId]) -> Option<NodeId> {
    let mut flat: Vec<NodeId> = vec![];
    for &p in parts {
        match &g.node(p).op {
            Op::Concat { axis: a } if *a == axis => flat.extend(&g.node(p).args),
            _ if g.shape(p)[axis] == 0 => {}
            _ => flat.push(p),
        }
    }
    let mut merged: Vec<NodeId> = vec![];
    for p in flat.iter().copied() {
        match merged.last().and_then(|&last| neighbours(g, axis, last, p)) {
            Some(both) => *merged.last_mut()? = both,
            None => merged.push(p),
        }
    }
    (!merged.is_empty() && merged != parts).then(|| g.concat(&merged, axis))
}

fn neighbours(g: &mut Graph, axis: usize, a: NodeId, b: NodeId) -> Option<NodeId> {
    if let (Some(v), Some(w)) = (g.as_splat(a), g.as_splat(b)) {
        let mut ty = g.ty(a).clone();
        ty.shape[axis] += g.shape(b)[axis];
        return (v.to_bits() == w.to_bits()).then(|| g.splat(v, ty));
    }
    let (na, nb) = (g.node(a), g.node(b));
    let (Op::Slice { start, limit, step }, Op::Slice { start: next, limit: mut end, step: by }) =
        (na.op.clone(), nb.op.clone())
    else {
        return None;
    };
    let source = na.args[0];
    let others = (0..start.len()).all(|i| i == axis || (start[i] == next[i] && limit[i] == end[i]));
    if source != nb.args[0] || !others || step != by || step[axis] != 1 || limit[axis] != next[axis] {
        return None;
    }
    end[axis] = end[axis].max(limit[axis]);
    Some(g.slice(source, &start, &end, &step))
}

/// Gradients of neighbouring slices: zero-padded pieces that meet are one piece.
pub(super) fn disjoint_pads(g: &mut Graph, f: Binary, a: NodeId, b: NodeId) -> Option<NodeId> {
    if f != Binary::Add {
        return None;
    }
    for (a, b) in [(a, b), (b, a)] {
        let (na, nb) = (g.node(a), g.node(b));
        let (Op::Pad { lo, hi, interior, value }, Op::Pad { lo: l, hi: h, interior: inner, value: v }) =
            (&na.op, &nb.op)
        else {
            return None;
        };
        if value.0 != 0.0 || v.0 != 0.0 || interior.iter().chain(inner).any(|&k| k > 0) {
            return None;
        }
        let (x, y) = (na.args[0], nb.args[0]);
        let differ: Vec<usize> = (0..lo.len()).filter(|&i| lo[i] != l[i] || hi[i] != h[i]).collect();
        let [axis] = differ[..] else { return None };
        if lo[axis] + g.shape(x)[axis] == l[axis] {
            let (lo, hi, none) = (lo.clone(), h.clone(), interior.clone());
            let both = g.concat(&[x, y], axis);
            return Some(g.pad(both, &lo, &hi, &none, 0.0));
        }
    }
    None
}

/// An elementwise op of arguments that are all the same view (constants fit any) of equal shapes.
pub(super) fn same_view(g: &mut Graph, id: NodeId, args: &[NodeId]) -> Option<NodeId> {
    let view = |x: NodeId| matches!(g.node(x).op, Op::Reshape | Op::Permute(_) | Op::Reverse(_));
    let first = args[0];
    let alike = |&x: &NodeId| {
        let (p, q) = (g.node(first), g.node(x));
        view(x) && p.op == q.op && g.shape(p.args[0]) == g.shape(q.args[0])
    };
    if !args.iter().all(alike) {
        return None;
    }
    let sources: Vec<NodeId> = args.iter().map(|&a| g.node(a).args[0]).collect();
    let (node, mut view) = (g.node(id).clone(), g.node(first).clone());
    let r = emit(g, &node, &sources);
    view.ty = node.ty;
    Some(emit(g, &view, &[r]))
}
