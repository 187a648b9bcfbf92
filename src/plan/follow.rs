//! Maps that go with the reductions whose results they read, alone or behind a product: a thread that has a result computes what follows from it,
//! and no launch waits for another to read a few numbers again.

use crate::fuse::{Affine, Body, Cluster, Code, Combine, Sink, Work};
use crate::graph::{DType, Graph, NodeId};
use std::collections::BTreeSet;

/// The sums (or maxima) of a cluster, if that is all it makes by reductions, over the same loops.
fn reduced(g: &Graph, body: &Body) -> Option<Vec<NodeId>> {
    let mut nodes = vec![];
    let mut over: Option<&Vec<usize>> = None;
    for s in &body.sinks {
        if let Sink::Reduce { node, axes, combine, .. } = s {
            if *combine == Combine::ArgMax || over.is_some_and(|o| o != axes) || g.ty(*node).dtype != DType::F32 {
                return None;
            }
            over = Some(axes);
            nodes.push(*node);
        }
    }
    (!nodes.is_empty()).then_some(nodes)
}

/// Whether the second cluster is a map over the results of the first one's reductions, each of which it reads in step,
/// and nothing else that the first writes.
pub fn follows(g: &Graph, first: &Cluster, second: &Cluster) -> bool {
    let a = match &first.work {
        Work::Loops(body) | Work::Contract { epilogue: Some(body), .. } => body,
        Work::Contract { .. } | Work::Gather { .. } | Work::Scatter { .. } | Work::Fold { .. } => return false,
    };
    let Work::Loops(b) = &second.work else { return false };
    let Some(results) = reduced(g, a) else { return false };
    if !b.sinks.iter().all(|s| matches!(s, Sink::Store { prefill: None, .. })) {
        return false;
    }
    let here = Affine::row_major(&b.domain);
    let mut any = false;
    let fits = b.insts.iter().all(|i| match &i.code {
        Code::Load { from, at, guards } if first.writes.contains(from) || results.contains(from) => {
            any = true;
            results.contains(from) && *at == here && guards.is_empty()
        }
        _ => true,
    });
    fits && any && results.iter().all(|&n| g.ty(n).elements() == b.elements())
}

/// For each cluster of an order (`next[i]`: those that wait for i) the map that goes with it, moved right behind it.
/// Those that are `grouped` stay where they are.
pub(super) fn pair(
    g: &Graph,
    list: &[Cluster],
    next: &[BTreeSet<usize>],
    grouped: &BTreeSet<usize>,
    order: &mut Vec<usize>,
) -> Vec<(usize, usize)> {
    let mut waits: Vec<Vec<usize>> = vec![vec![]; list.len()];
    for (i, to) in next.iter().enumerate() {
        to.iter().for_each(|&j| waits[j].push(i));
    }
    let mut pairs: Vec<(usize, usize)> = vec![];
    let mut taken: Vec<bool> = (0..list.len()).map(|i| grouped.contains(&i)).collect();
    let mut at = 0;
    while at < order.len() {
        let i = order[at];
        at += 1;
        if taken[i] {
            continue;
        }
        let mut place = vec![usize::MAX; list.len()];
        order.iter().enumerate().for_each(|(p, &c)| place[c] = p);
        let fits =
            |&&j: &&usize| !taken[j] && waits[j].iter().all(|&w| place[w] < at) && follows(g, &list[i], &list[j]);
        if let Some(&j) = next[i].iter().find(fits) {
            order.remove(place[j]);
            order.insert(at, j);
            (taken[i], taken[j]) = (true, true);
            pairs.push((i, j));
            at += 1;
        }
    }
    pairs
}
