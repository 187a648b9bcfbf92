//! Products take in the loops over their result: what is computed from an element while it is at hand.
//!
//! The body of an epilogue runs over the product's result as a matrix, `[rows, columns]` ([`rows_of`]), because that
//! is how every kernel of a product makes it: block by block. So each of its affine forms has to walk through the
//! rows, and through the columns, as one loop; and what it sums goes over all rows (batch-norm statistics, gradients
//! of biases, losses), so that each block has one partial result of a few numbers.

use super::group::{Seed, body_of, ends_loops, reads_in_step};
use super::moments::Stored;
use super::reach::Reach;
use super::{Affine, Body, Code, Combine, Product, Sink, domain_of};
use crate::graph::{Graph, NodeId, Op};
use std::collections::BTreeMap;

/// Longest epilogue, and most tensors that it reads and writes.
const MAX_INSTS: usize = 64;
const MAX_TENSORS: usize = 20;
/// Most numbers that one sum of an epilogue gives.
const MAX_SUMS: usize = 8192;

/// Axes of a product's result that are rows of its matrix; the others are columns.
pub fn rows_of(g: &Graph, node: NodeId) -> usize {
    let rank = g.shape(node).len();
    match &g.node(node).op {
        // Batch, then the free axes of the left argument, then those of the right one.
        Op::Contract(d) => g.shape(g.node(node).args[0]).len() - d.contracted.len(),
        Op::ConvFwd(c) | Op::ConvDataGrad(c) => {
            if c.layout.images_last() {
                rank - 1
            } else {
                1
            }
        }
        Op::ConvWeightGrad(_) => 1,
        other => unreachable!("{other:?} is no product"),
    }
}

/// A body over the loops of `shape` as one over `[rows, columns]`, if all its forms allow it.
fn as_matrix(mut body: Body, shape: &[usize], rows: usize) -> Option<Body> {
    let split = shape[..rows].iter().filter(|&&d| d != 1).count();
    let domain = body.domain.clone();
    let parts = [(0..split), (split..domain.len())];
    for s in &body.sinks {
        if let Sink::Reduce { axes, .. } = s {
            for part in &parts {
                let inside = part.clone().filter(|l| axes.contains(l)).count();
                if inside != 0 && inside != part.len() {
                    return None;
                }
            }
        }
    }
    let merged = |coef: &[i64]| -> Option<Vec<i64>> {
        let mut two = vec![];
        for part in &parts {
            let loops: Vec<usize> = part.clone().collect();
            let regular = loops.windows(2).all(|w| coef[w[0]] == coef[w[1]] * domain[w[1]] as i64);
            if !regular {
                return None;
            }
            two.push(loops.last().map_or(0, |&l| coef[l]));
        }
        Some(two)
    };
    let matrix: Vec<usize> = parts.iter().map(|part| domain[part.clone()].iter().product()).collect();
    let here = Affine::row_major(&matrix);
    for form in body.forms_mut() {
        form.coef = merged(&form.coef)?;
        // A loop of extent 1 has any coefficient: that of the element itself, where the rest is the element itself.
        let same = |i: usize| matrix[i] == 1 || form.coef[i] == here.coef[i];
        if form.offset == 0 && (0..2).all(same) {
            *form = here.clone();
        }
    }
    for s in &mut body.sinks {
        if let Sink::Reduce { axes, .. } = s {
            let over = |part: &std::ops::Range<usize>| part.clone().any(|l| axes.contains(&l));
            *axes = (0..2).filter(|&i| over(&parts[i])).collect();
        }
    }
    body.domain = matrix;
    Some(body)
}

/// The epilogue of product `p` that computes `roots`; `None`: it is none.
pub(super) fn epilogue_of(g: &Graph, stored: &Stored, p: NodeId, roots: &[NodeId]) -> Option<Body> {
    let shape = g.shape(p);
    let body = body_of(g, stored, roots, &domain_of(shape), Some(p));
    let mut body = as_matrix(body, shape, rows_of(g, p))?;
    let here = Affine::row_major(&body.domain);
    for s in &body.sinks {
        match s {
            Sink::Store { prefill, at, .. } => {
                if prefill.is_some() || *at != here {
                    return None;
                }
            }
            Sink::Reduce { combine, axes, node, .. } => {
                // A loop of extent 1 counts as reduced.
                let rows = axes.contains(&0) || body.domain[0] == 1;
                if *combine == Combine::ArgMax || !rows || g.ty(*node).elements() > MAX_SUMS {
                    return None;
                }
            }
        }
    }
    // The element itself goes to memory if somebody else reads it.
    if stored[p.index()]
        && let Some(reg) = element_of(&body, p)
    {
        body.sinks.push(Sink::Store { node: p, reg, at: here, prefill: None });
    }
    Some(body)
}

/// The instruction that stands for the product's element.
fn element_of(body: &Body, p: NodeId) -> Option<u32> {
    let own = |code: &Code| matches!(code, Code::Load { from, .. } if *from == p);
    body.insts.iter().position(|i| own(&i.code)).map(|i| i as u32)
}

/// Whether products may take this body in: it reads the product, and what it computes itself, only in step.
fn in_step(g: &Graph, body: &Body, p: NodeId, roots: &[NodeId]) -> bool {
    let read = body.reads();
    reads_in_step(body, p)
        && roots.iter().all(|&r| if ends_loops(g, r) { !read.contains(&r) } else { reads_in_step(body, r) })
}

/// Gives each product the loops that read its result in step, and those that read theirs.
pub(super) fn absorb(
    g: &Graph,
    stored: &Stored,
    seeds: &mut [Seed],
    owner: &mut BTreeMap<NodeId, usize>,
    reach: &mut Reach,
) {
    let mut readers: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
    for (i, s) in seeds.iter().enumerate().filter(|(_, s)| s.domain.is_some()) {
        s.reads.iter().for_each(|&r| readers.entry(r).or_default().push(i));
    }
    // The last product first: where loops read several, the others are done before.
    for i in (0..seeds.len()).rev() {
        let p = seeds[i].roots[0];
        if seeds[i].domain.is_some() || !Product::is(&g.node(p).op) {
            continue;
        }
        let domain = domain_of(g.shape(p));
        let mut next = 0;
        let mut open: Vec<usize> = readers.get(&p).cloned().unwrap_or_default();
        while next < open.len() {
            let s = open[next];
            next += 1;
            if seeds[s].roots.is_empty() || seeds[s].domain.as_ref() != Some(&domain) {
                continue;
            }
            if reach.around(i, s) || reach.around(s, i) {
                continue;
            }
            let mut roots = [seeds[i].epilogue.clone(), seeds[s].roots.clone()].concat();
            roots.sort_unstable();
            let Some(body) = epilogue_of(g, stored, p, &roots) else { continue };
            let tensors = body.reads().len() + body.sinks.len();
            if body.insts.len() > MAX_INSTS || tensors > MAX_TENSORS || !in_step(g, &body, p, &roots) {
                continue;
            }
            let gone = std::mem::take(&mut seeds[s].roots);
            for &r in &gone {
                owner.insert(r, i);
                open.extend(readers.get(&r).into_iter().flatten());
            }
            reach.merge(s, i);
            seeds[i].epilogue = roots;
        }
    }
}
