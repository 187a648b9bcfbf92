//! Clusters that work row by row: what they make of a row of their first operand needs of tensors with as many rows no
//! other row. A block that keeps some rows can do a chain of them without a word from other blocks (multi-layer
//! perceptrons and their gradients; Müller et al. 2021 fuse such networks by hand).

use crate::fuse::{Affine, Body, Cluster, Code, Operand, Product, Sink, Work};
use crate::graph::{Graph, NodeId};

/// Fewest and most rows: below them blocks idle, above them large tiles share operands better.
const ROWS: std::ops::RangeInclusive<usize> = 8..=2048;
/// Elements of a product's right operand, which each block reads, and of a row.
const OPERAND: usize = 40 << 10;
const WIDEST: usize = 1024;

/// Elements of a row of a tensor with this many rows.
fn width(g: &Graph, node: NodeId, rows: usize) -> Option<usize> {
    let elements = g.ty(node).elements();
    // Of no rows nothing is a row.
    (elements > 0 && elements.is_multiple_of(rows)).then(|| elements / rows)
}

/// Whether a form over loops, the first of which goes over rows of `width` elements, stays in its row.
fn keeps(at: &Affine, domain: &[usize], width: usize) -> bool {
    let Some(&step) = at.coef.first() else { return false };
    let mut within = at.clone();
    within.coef[0] = 0;
    let (lo, hi) = within.range(domain);
    step == width as i64 && lo >= 0 && hi < width as i64
}

/// Whether all loads of a tensor with `rows` rows stay in the row of the first loop.
fn loads_keep(g: &Graph, body: &Body, domain: &[usize], node: NodeId, rows: usize) -> bool {
    let Some(width) = width(g, node, rows) else { return false };
    body.insts.iter().all(|i| match &i.code {
        Code::Load { from, at, .. } if *from == node => keeps(at, domain, width),
        _ => true,
    })
}

/// Whether all that a body stores stays in the row of the first loop.
fn stores_keep(g: &Graph, body: &Body, rows: usize) -> bool {
    body.sinks.iter().all(|s| match s {
        Sink::Store { node, at, prefill, .. } => {
            prefill.is_none() && width(g, *node, rows).is_some_and(|w| keeps(at, &body.domain, w))
        }
        Sink::Reduce { .. } => true,
    })
}

/// The rows of a cluster that works row by row, if it has little to do for each.
pub fn rows_of(g: &Graph, c: &Cluster) -> Option<usize> {
    let rows = match &c.work {
        Work::Loops(body) => *body.domain.first()?,
        Work::Contract { product: Product::Dot(d), lhs, rhs, node, .. } => {
            let plain = d.batch.is_empty() && d.contracted.iter().all(|p| p.0 == 1) && d.contracted.len() == 1;
            let (&[m, k], [_, _], 2) = (&*lhs.shape, &*rhs.shape, g.shape(*node).len()) else { return None };
            let n = g.ty(*node).elements() / m.max(1);
            let stored = |o: &Operand| o.stored().is_some();
            if !plain || !stored(lhs) || !stored(rhs) || k * n > OPERAND || k.max(n) > WIDEST {
                return None;
            }
            m
        }
        Work::Contract { .. } | Work::Gather { .. } | Work::Scatter { .. } | Work::Fold { .. } => return None,
    };
    if !ROWS.contains(&rows) {
        return None;
    }
    let fits = match &c.work {
        Work::Loops(body) => {
            let stores = body.sinks.iter().all(|s| matches!(s, Sink::Store { .. }));
            stores && body.elements() <= rows * WIDEST && stores_keep(g, body, rows)
        }
        Work::Contract { epilogue, .. } => epilogue.as_ref().is_none_or(|body| stores_keep(g, body, rows)),
        Work::Gather { .. } | Work::Scatter { .. } | Work::Fold { .. } => false,
    };
    fits.then_some(rows)
}

/// Whether a cluster that works row by row reads, of all that another one with as many rows writes, only the row that
/// it is at. What is summed over rows is nobody's row.
pub fn in_step(g: &Graph, writer: &Cluster, reader: &Cluster, rows: usize) -> bool {
    let sums =
        |body: &Body, n: NodeId| body.sinks.iter().any(|s| s.node() == n && matches!(s, Sink::Reduce { .. }));
    let summed = |n: NodeId| match &writer.work {
        Work::Loops(body) => sums(body, n),
        Work::Contract { epilogue, .. } => epilogue.as_ref().is_some_and(|body| sums(body, n)),
        Work::Gather { .. } | Work::Scatter { .. } | Work::Fold { .. } => true,
    };
    let mut read = writer.writes.iter().filter(|n| reader.reads.contains(n)).peekable();
    read.peek().is_some()
        && read.all(|&n| {
            !summed(n)
                && match &reader.work {
                    Work::Loops(body) => loads_keep(g, body, &body.domain, n, rows),
                    Work::Contract { lhs, rhs, epilogue, .. } => {
                        loads_keep(g, &lhs.body, &lhs.shape, n, rows)
                            && !rhs.body.reads().contains(&n)
                            && epilogue.as_ref().is_none_or(|b| loads_keep(g, b, &b.domain, n, rows))
                    }
                    Work::Gather { .. } | Work::Scatter { .. } | Work::Fold { .. } => false,
                }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(coef: &[i64], offset: i64) -> Affine {
        Affine { coef: coef.to_vec(), offset }
    }

    #[test]
    fn forms_stay_in_their_row_or_leave_it() {
        let domain = [16, 4];
        assert!(keeps(&form(&[4, 1], 0), &domain, 4));
        // Backwards, and a part of a longer row.
        assert!(keeps(&form(&[4, -1], 3), &domain, 4));
        assert!(keeps(&form(&[8, 1], 4), &domain, 8));
        // Of the row after, across rows, of one row for all.
        assert!(!keeps(&form(&[4, 1], 4), &domain, 4));
        assert!(!keeps(&form(&[1, 16], 0), &domain, 4));
        assert!(!keeps(&form(&[0, 1], 0), &domain, 4));
        assert!(!keeps(&form(&[], 0), &[], 1));
    }
}
