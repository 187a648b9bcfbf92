//! Stored nodes to clusters: one each at first, then neighbours over the same loops are merged.

use super::decide::{Decision, live_nodes};
use super::epilogue::{absorb, epilogue_of};
use super::moments::Stored;
use super::reach::Reach;
use super::{
    Affine, Body, Cluster, Clusters, Code, Combine, FuseOptions, Kind, Lower, Operand, Product, Sink, Work, base,
    domain_of, is_leaf, map_of,
};
use crate::graph::{Graph, NodeId, Op};
use std::collections::{BTreeMap, BTreeSet};

/// Longest merged body.
const MAX_INSTS: usize = 96;
/// Most tensors that a merged body may read and write.
const MAX_TENSORS: usize = 28;
/// Loop nests smaller than this are merged even if they share no tensor: a launch costs more.
const SMALL: usize = 4096;

/// A cluster while merging goes on.
pub(super) struct Seed {
    /// Stored nodes, ascending; none once another seed has taken them.
    pub roots: Vec<NodeId>,
    /// Loops; `None` for kernels of their own.
    pub domain: Option<Vec<usize>>,
    /// Of a product: the nodes that its epilogue computes, ascending.
    pub epilogue: Vec<NodeId>,
    pub reads: BTreeSet<NodeId>,
    insts: usize,
}

impl Seed {
    /// The loops of the seed, if it has any.
    fn body(&self, g: &Graph, stored: &Stored) -> Option<Body> {
        match &self.domain {
            Some(d) => Some(body_of(g, stored, &self.roots, d, None)),
            None if self.epilogue.is_empty() => None,
            None => epilogue_of(g, stored, self.roots[0], &self.epilogue),
        }
    }

    /// Nodes that the seed computes.
    fn made(&self) -> impl Iterator<Item = NodeId> {
        self.roots.iter().chain(&self.epilogue).copied()
    }
}

/// Loops and index map of the body that computes a stored node.
fn loops_of(g: &Graph, n: NodeId) -> Option<Vec<usize>> {
    let node = g.node(n);
    match &node.op {
        Op::Sum(_) | Op::Max(_) | Op::ArgMax(_) => Some(domain_of(g.shape(node.args[0]))),
        Op::Pad { interior, .. } if interior.iter().any(|&i| i != 0) => Some(domain_of(g.shape(node.args[0]))),
        Op::Contract(_) | Op::ConvFwd(_) | Op::ConvDataGrad(_) | Op::ConvWeightGrad(_) => None,
        Op::GatherRows | Op::ScatterRows | Op::Fold(_) => None,
        Op::Input(_)
        | Op::Param(_)
        | Op::State(_)
        | Op::Const(_)
        | Op::Iota { .. }
        | Op::Random { .. }
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Select
        | Op::Cast
        | Op::Reshape
        | Op::Permute(_)
        | Op::Broadcast
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Reverse(_)
        | Op::Concat { .. }
        | Op::Unfold(_)
        | Op::Stop => Some(domain_of(&node.ty.shape)),
    }
}

/// Whether a node ends its loops: its value is complete only after them.
pub(super) fn ends_loops(g: &Graph, n: NodeId) -> bool {
    matches!(&g.node(n).op, Op::Sum(_) | Op::Max(_) | Op::ArgMax(_))
        || matches!(&g.node(n).op, Op::Pad { interior, .. } if interior.iter().any(|&i| i != 0))
}

/// The body that computes `roots` (ascending) over one domain; `given` is there to be loaded whether it is stored or not.
pub(super) fn body_of(
    g: &Graph,
    stored: &Stored,
    roots: &[NodeId],
    domain: &[usize],
    given: Option<NodeId>,
) -> Body {
    let is_stored = |n: NodeId| stored[n.index()] || given == Some(n);
    let mut lower = Lower::new(g, &is_stored, domain);
    for &n in roots {
        let node = g.node(n);
        let full = |x: NodeId, axes: &[usize], low: &mut Lower| {
            // Loops are the argument's axes but those of extent 1.
            let shape = g.shape(node.args[0]);
            let loops: Vec<usize> = (0..shape.len()).filter(|&a| shape[a] != 1).collect();
            let reduced = (0..loops.len()).filter(|&i| axes.contains(&loops[i])).collect::<Vec<_>>();
            let kept: Vec<usize> =
                domain.iter().enumerate().map(|(i, &d)| if reduced.contains(&i) { 1 } else { d }).collect();
            let mut at = Affine::row_major(&kept);
            reduced.iter().for_each(|&i| at.coef[i] = 0);
            let reg = low.value(x, &map_of(shape), None);
            (reg, reduced, at)
        };
        let reduce = |combine, x, axes: &[usize], low: &mut Lower| {
            let (reg, axes, at) = full(x, axes, low);
            low.body.sinks.push(Sink::Reduce { node: n, reg, combine, axes, at });
        };
        match &node.op {
            Op::Sum(axes) => match stored.deviations.of(n) {
                Some(x) => reduce(Combine::Deviation, x, axes, &mut lower),
                None => reduce(Combine::Sum, node.args[0], axes, &mut lower),
            },
            Op::Max(axes) => reduce(Combine::Max, node.args[0], axes, &mut lower),
            Op::ArgMax(axes) => reduce(Combine::ArgMax, node.args[0], axes, &mut lower),
            Op::Pad { lo, interior, value, .. } if interior.iter().any(|&i| i != 0) => {
                let mut map = map_of(g.shape(node.args[0]));
                let reg = lower.value(node.args[0], &map, None);
                for (i, c) in map.coords.iter_mut().enumerate() {
                    *c = c.scaled(interior[i] as i64 + 1, lo[i] as i64);
                }
                // Extents 1 of the argument need not be extents 1 of the result: position by all axes.
                let strides = crate::graph::ty::strides(&node.ty.shape);
                let mut at = Affine::constant(domain.len(), 0);
                for (c, &s) in map.coords.iter().zip(&strides) {
                    at = at.plus(c, s as i64);
                }
                let prefill = Some(value.0.to_bits());
                lower.body.sinks.push(Sink::Store { node: n, reg, at, prefill });
            }
            _ => {
                let reg = lower.value(n, &map_of(&node.ty.shape), Some(n));
                lower.here(n, reg);
                let at = Affine::row_major(domain);
                lower.body.sinks.push(Sink::Store { node: n, reg, at, prefill: None });
            }
        }
    }
    lower.body
}

/// How a product reads its argument.
fn operand(g: &Graph, stored: &Stored, n: NodeId) -> Operand {
    let is_stored = |n: NodeId| stored[n.index()];
    let shape = g.shape(n).to_vec();
    let mut lower = Lower::new(g, &is_stored, &shape);
    let map = super::IndexMap::identity(shape.len());
    let r = lower.value(n, &map, None);
    debug_assert_eq!(r as usize + 1, lower.body.insts.len(), "the element is the last result");
    Operand { shape, body: lower.body }
}

fn special(g: &Graph, stored: &Stored, n: NodeId) -> (Kind, Work, Vec<NodeId>) {
    let node = g.node(n);
    let product = |p: Product| {
        let (lhs, rhs) = (operand(g, stored, node.args[0]), operand(g, stored, node.args[1]));
        let reads = [lhs.body.reads(), rhs.body.reads()].concat();
        (Kind::Contract, Work::Contract { node: n, product: p, lhs, rhs, epilogue: None }, reads)
    };
    let arg = |i: usize| base(g, node.args[i]);
    match &node.op {
        Op::Contract(d) => product(Product::Dot(d.clone())),
        Op::ConvFwd(d) => product(Product::ConvFwd(d.clone())),
        Op::ConvDataGrad(d) => product(Product::ConvDataGrad(d.clone())),
        Op::ConvWeightGrad(d) => product(Product::ConvWeightGrad(d.clone())),
        Op::GatherRows => {
            let args = [arg(0), arg(1)];
            (Kind::Rows, Work::Gather { node: n, args }, args.to_vec())
        }
        Op::ScatterRows => {
            let args = [arg(0), arg(1), arg(2)];
            (Kind::Rows, Work::Scatter { node: n, args }, args.to_vec())
        }
        Op::Fold(w) => (Kind::Rows, Work::Fold { node: n, arg: arg(0), window: w.clone() }, vec![arg(0)]),
        other => unreachable!("{other:?} is no kernel of its own"),
    }
}

/// Whether a body reads `n` only at the element that it computes.
pub(super) fn reads_in_step(body: &Body, n: NodeId) -> bool {
    let here = Affine::row_major(&body.domain);
    body.insts.iter().all(|i| match &i.code {
        Code::Load { from, at, guards } if *from == n => *at == here && guards.is_empty(),
        _ => true,
    })
}

pub(super) fn group(g: &Graph, options: FuseOptions, decision: Decision) -> Clusters {
    let Decision { live, mut stored, refusals } = decision;
    let roots: Vec<NodeId> =
        g.ids().filter(|n| live[n.index()] && stored[n.index()] && !is_leaf(&g.node(*n).op)).collect();
    let mut owner: BTreeMap<NodeId, usize> = BTreeMap::new();
    let mut seeds: Vec<Seed> = vec![];
    for &n in &roots {
        let domain = loops_of(g, n);
        let (reads, insts) = match &domain {
            Some(d) => {
                let body = body_of(g, &stored, &[n], d, None);
                (body.reads().into_iter().collect(), body.insts.len())
            }
            None => (special(g, &stored, n).2.into_iter().collect(), 0),
        };
        owner.insert(n, seeds.len());
        seeds.push(Seed { roots: vec![n], domain, epilogue: vec![], reads, insts });
    }
    if options.fuse {
        let mut reach = Reach::new(seeds.len());
        for (i, s) in seeds.iter().enumerate() {
            // Seeds stand in the order of their nodes, which read earlier ones only.
            s.reads.iter().filter_map(|r| owner.get(r)).for_each(|&p| reach.link(p, i));
        }
        absorb(g, &stored, &mut seeds, &mut owner, &mut reach);
        merge(g, &stored, &mut seeds, &mut owner, &mut reach);
        forget(g, &mut stored, &mut seeds);
    }
    let mut clusters: Vec<Cluster> = vec![];
    for s in seeds.iter().filter(|s| !s.roots.is_empty()) {
        let body = s.body(g, &stored);
        let (kind, work, mut reads) = match (&s.domain, body) {
            (Some(_), Some(body)) => {
                let reads = body.reads();
                let kind = if body.sinks.iter().any(|s| matches!(s, Sink::Reduce { .. })) {
                    Kind::Reduce
                } else if s.roots.iter().all(|&n| persistent(g, n)) {
                    Kind::Update
                } else {
                    Kind::Map
                };
                (kind, Work::Loops(body), reads)
            }
            (_, body) => {
                let (kind, mut work, mut reads) = special(g, &stored, s.roots[0]);
                if let Work::Contract { epilogue, .. } = &mut work {
                    reads.extend(body.iter().flat_map(Body::reads));
                    *epilogue = body;
                }
                (kind, work, reads)
            }
        };
        reads.retain(|&n| s.domain.is_some() || s.made().all(|m| m != n));
        reads.sort_unstable();
        reads.dedup();
        let mut writes: Vec<NodeId> = s.made().filter(|n| stored[n.index()]).collect();
        writes.sort_unstable();
        clusters.push(Cluster { kind, work, writes, reads });
    }
    let live = live_nodes(g, &stored.deviations);
    let refusals = refusals.into_iter().filter(|r| live[r.node.index()] && stored[r.node.index()]).collect();
    Clusters { fused: options.fuse, clusters: sorted(clusters), stored: stored.flags, refusals }
}

/// What only its own cluster reads needs no memory.
fn forget(g: &Graph, stored: &mut Stored, seeds: &mut [Seed]) {
    let mut needed: BTreeSet<NodeId> = g.outputs.iter().map(|o| base(g, o.1)).collect();
    for s in seeds.iter().filter(|s| !s.roots.is_empty()) {
        if s.domain.is_none() {
            needed.extend(special(g, stored, s.roots[0]).2);
        }
        let own: BTreeSet<NodeId> = if s.domain.is_none() { s.made().collect() } else { BTreeSet::new() };
        needed.extend(s.body(g, stored).iter().flat_map(Body::reads).filter(|r| !own.contains(r)));
    }
    for s in seeds.iter_mut().filter(|s| s.made().count() > 1) {
        let mut keep = |n: &NodeId| {
            stored.flags[n.index()] = needed.contains(n);
            stored[n.index()]
        };
        if s.domain.is_some() {
            s.roots.retain(keep);
        } else {
            // The product names the seed, whether it has memory or not.
            keep(&s.roots[0]);
            s.epilogue.retain(keep);
        }
    }
}

fn persistent(g: &Graph, n: NodeId) -> bool {
    let mut outputs = g.outputs.iter().filter(|o| base(g, o.1) == n).peekable();
    outputs.peek().is_some() && outputs.all(|o| o.0.starts_with("param:") || o.0.starts_with("state:"))
}

/// Merges loop nests over the same domain where no other cluster lies between.
fn merge(g: &Graph, stored: &Stored, seeds: &mut [Seed], owner: &mut BTreeMap<NodeId, usize>, reach: &mut Reach) {
    // Clusters by domain, so that candidates are found at once.
    let mut by_domain: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
    for i in 0..seeds.len() {
        let Some(domain) = seeds[i].domain.clone().filter(|_| !seeds[i].roots.is_empty()) else { continue };
        let elements: usize = domain.iter().product();
        let peers = by_domain.entry(domain.clone()).or_default();
        let mut current = i;
        // Latest first: neighbours in the graph are neighbours in time.
        let latest: Vec<usize> = peers.iter().rev().take(32).copied().collect();
        for c in latest {
            if seeds[c].roots.is_empty() || c == current {
                continue;
            }
            let related = elements < SMALL
                || seeds[c]
                    .reads
                    .iter()
                    .any(|r| seeds[current].reads.contains(r) && g.ty(*r).elements() * 4 >= elements)
                || seeds[c].roots.iter().any(|r| seeds[current].reads.contains(r))
                || seeds[current].roots.iter().any(|r| seeds[c].reads.contains(r));
            if !related
                || seeds[c].insts + seeds[current].insts > MAX_INSTS
                || reach.around(c, current)
                || reach.around(current, c)
            {
                continue;
            }
            let mut roots = [seeds[c].roots.clone(), seeds[current].roots.clone()].concat();
            roots.sort_unstable();
            let body = body_of(g, stored, &roots, &domain, None);
            let tensors = body.reads().len() + roots.len();
            let in_step = roots.iter().all(|&r| reads_in_step(&body, r) && (!ends_loops(g, r) || !reads(&body, r)));
            if !in_step || body.insts.len() > MAX_INSTS || tensors > MAX_TENSORS {
                continue;
            }
            // Into the older one, whose number stays.
            let reads = body.reads().into_iter().filter(|r| !roots.contains(r)).collect();
            let insts = body.insts.len();
            roots.iter().for_each(|&r| {
                owner.insert(r, c);
            });
            reach.merge(current, c);
            seeds[current].roots.clear();
            seeds[c] = Seed { roots, domain: Some(domain.clone()), epilogue: vec![], reads, insts };
            current = c;
        }
        if current == i {
            by_domain.entry(domain).or_default().push(i);
        }
    }
}

fn reads(body: &Body, n: NodeId) -> bool {
    body.reads().contains(&n)
}

/// Clusters in an order of reads, those with small node numbers first.
fn sorted(clusters: Vec<Cluster>) -> Vec<Cluster> {
    let mut writer: BTreeMap<NodeId, usize> = BTreeMap::new();
    for (i, c) in clusters.iter().enumerate() {
        c.writes.iter().for_each(|&n| {
            writer.insert(n, i);
        });
    }
    let mut waiting: Vec<usize> = vec![0; clusters.len()];
    let mut next: Vec<Vec<usize>> = vec![vec![]; clusters.len()];
    for (i, c) in clusters.iter().enumerate() {
        let before: BTreeSet<usize> =
            c.reads.iter().filter_map(|r| writer.get(r).copied()).filter(|&p| p != i).collect();
        waiting[i] = before.len();
        before.iter().for_each(|&p| next[p].push(i));
    }
    let key = |i: usize| (clusters[i].writes[0], i);
    let mut ready: BTreeSet<(NodeId, usize)> = (0..clusters.len()).filter(|&i| waiting[i] == 0).map(key).collect();
    let mut order = vec![];
    while let Some((_, i)) = ready.pop_first() {
        order.push(i);
        for &u in &next[i] {
            waiting[u] -= 1;
            if waiting[u] == 0 {
                ready.insert(key(u));
            }
        }
    }
    assert_eq!(order.len(), clusters.len(), "clusters wait for each other");
    let mut slots: Vec<Option<Cluster>> = clusters.into_iter().map(Some).collect();
    order.into_iter().map(|i| slots[i].take().expect("each cluster once")).collect()
}
