//! Deviations from a mean add up to nothing: the gradient of a normalisation sums them, with factors, over the whole
//! tensor, for which it would be read and written once more (Ioffe and Szegedy 2015 leave the sum out by hand).

use super::{binary_of, broadcast_of, factor_of};
use crate::graph::{Binary, DType, Graph, NodeId, Op};

/// Terms that are looked at in a sum.
const TERMS: usize = 16;

/// The terms of a nest of additions, of which those that are `whole` stay as they are; none if they are too many.
fn terms(g: &Graph, x: NodeId, whole: &dyn Fn(NodeId) -> bool) -> Option<Vec<NodeId>> {
    let (mut open, mut found) = (vec![x], vec![]);
    while let Some(id) = open.pop() {
        match binary_of(g, id, Binary::Add).filter(|_| !whole(id)) {
            Some((a, b)) if open.len() + found.len() < TERMS => open.extend([b, a]),
            Some(_) => return None,
            None => found.push(id),
        }
    }
    Some(found)
}

/// `x` without factors that are constant along the axes.
fn stripped(g: &Graph, axes: &[usize], x: NodeId) -> NodeId {
    let mut x = factor_of(g, x).0;
    while let Some((a, b)) = binary_of(g, x, Binary::Mul) {
        let constant = |f: NodeId| broadcast_of(g, f).is_some_and(|s| axes.iter().all(|&i| g.shape(s)[i] == 1));
        x = match (constant(a), constant(b)) {
            (true, _) => b,
            (_, true) => a,
            _ => return x,
        };
        x = factor_of(g, x).0;
    }
    x
}

/// Whether these are the deviations of something from its mean along the axes: `u - mean(u)`, where `u` may be a tensor
/// and something broadcast, which is in one broadcast with the mean then.
fn is_centred(g: &Graph, axes: &[usize], x: NodeId) -> bool {
    let Some((a, b)) = binary_of(g, x, Binary::Add) else { return false };
    let count: usize = axes.iter().map(|&i| g.shape(x)[i]).product();
    [(a, b), (b, a)].into_iter().any(|(v, w)| {
        let Some(parts) = broadcast_of(g, w).and_then(|w| terms(g, w, &|_| false)) else { return false };
        (0..parts.len()).any(|i| {
            let (sum, c) = factor_of(g, parts[i]);
            let of_mean = (c * count as f64 + 1.0).abs() < 1e-9;
            let (Op::Sum(over), true) = (&g.node(sum).op, of_mean) else { return false };
            let rest: Vec<NodeId> = parts.iter().enumerate().filter(|p| p.0 != i).map(|p| *p.1).collect();
            let of = g.node(sum).args[0];
            let same = match rest.as_slice() {
                [] => of == v,
                [r] => binary_of(g, of, Binary::Add).is_some_and(|(p, q)| {
                    let with = |t: NodeId| broadcast_of(g, t) == Some(*r);
                    (p == v && with(q)) || (q == v && with(p))
                }),
                _ => false,
            };
            **over == *axes && same
        })
    })
}

/// A sum some of whose terms are deviations from a mean along the same axes.
pub(super) fn sum(g: &mut Graph, axes: &[usize], x: NodeId) -> Option<NodeId> {
    if g.ty(x).dtype != DType::F32 || axes.is_empty() {
        return None;
    }
    let nothing = |t: NodeId| is_centred(g, axes, stripped(g, axes, t));
    let all = terms(g, x, &nothing)?;
    let left: Vec<NodeId> = all.iter().copied().filter(|&t| !nothing(t)).collect();
    if left.len() == all.len() {
        return None;
    }
    let Some(rest) = left.into_iter().reduce(|a, b| g.add(a, b)) else {
        let zero = g.sum(x, axes);
        return Some(g.zeros_like(zero));
    };
    Some(g.sum(rest, axes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Type, text};
    use crate::passes::simplify::simplify;

    /// The sum of `f(u, u - mean(u))` along the first axis of an input, simplified.
    fn summed(f: impl Fn(&mut Graph, NodeId, NodeId) -> NodeId) -> String {
        let mut g = Graph::new();
        let u = g.input("u", Type::f32([6, 4]));
        let mean = g.mean(u, &[0]);
        let d = g.sub(u, mean);
        let y = f(&mut g, u, d);
        let s = g.sum(y, &[0]);
        g.output("s", s);
        text::print(&simplify(&g))
    }

    #[test]
    fn deviations_add_up_to_nothing() {
        let zero = summed(|_, _, d| d);
        assert!(!zero.contains("sum") && zero.contains("const"), "{zero}");
        // With factors that are constant along the sum, beside something else, more than once.
        let factors = summed(|g, u, d| {
            let k = g.param("k", &[1, 4]);
            let x = g.mul(d, k);
            let x = g.scale(x, -3.0);
            let square = g.mul(u, u);
            let y = g.add(x, square);
            g.add(x, y)
        });
        assert_eq!(factors.matches("sum").count(), 1, "{factors}");
        assert!(!factors.contains("param"), "{factors}");
    }

    #[test]
    fn other_sums_stay() {
        // Of squares, with a factor that is not constant, of deviations from a mean along another axis.
        let squares = summed(|g, _, d| g.mul(d, d));
        assert_eq!(squares.matches("sum").count(), 2, "{squares}");
        let weighted = summed(|g, u, d| g.mul(d, u));
        assert_eq!(weighted.matches("sum").count(), 2, "{weighted}");
        let mut g = Graph::new();
        let u = g.input("u", Type::f32([6, 4]));
        let mean = g.mean(u, &[1]);
        let d = g.sub(u, mean);
        let s = g.sum(d, &[0]);
        g.output("s", s);
        let other = text::print(&simplify(&g));
        assert_eq!(other.matches("sum").count(), 2, "{other}");
    }
}
