//! Launch order, and which persistent tensors are overwritten in place.

use super::group::{Group, LITTLE, Ready, Strand, all_rows};
use super::twins::{self, Unit};
use crate::fuse::{Affine, Body, Cluster, Clusters, Code, Kind, Sink, Work, base};
use crate::graph::{Graph, Name, NodeId, Op};
use std::collections::{BTreeMap, BTreeSet};

struct Dag {
    next: Vec<BTreeSet<usize>>,
}

impl Dag {
    fn reaches(&self, from: usize, to: usize) -> bool {
        let mut seen = vec![false; self.next.len()];
        let mut stack = vec![from];
        while let Some(i) = stack.pop() {
            if i == to {
                return true;
            }
            if !std::mem::replace(&mut seen[i], true) {
                stack.extend(&self.next[i]);
            }
        }
        false
    }
}

/// What an order is made by and for.
#[derive(Default)]
pub(super) struct Order {
    /// The nodes that are written over a persistent tensor, with its name.
    pub in_place: BTreeMap<NodeId, Name>,
    /// The places of reductions with a map right behind that only waits for them.
    pub followed: BTreeSet<usize>,
    /// Neighbours that one launch does.
    pub groups: Vec<Group>,
}

/// Puts clusters into launch order. `follow`: whether the launch of a reduction may do the map behind it; `share`: whether
/// small clusters may share launches.
pub(super) fn order(g: &Graph, clusters: &mut Clusters, in_place: bool, follow: bool, share: bool) -> Order {
    let list = &clusters.clusters;
    let mut writer: BTreeMap<NodeId, usize> = BTreeMap::new();
    for (i, c) in list.iter().enumerate() {
        c.writes.iter().for_each(|&n| {
            writer.insert(n, i);
        });
    }
    let mut dag = Dag { next: vec![BTreeSet::new(); list.len()] };
    let mut readers: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
    for (i, c) in list.iter().enumerate() {
        for &r in &c.reads {
            readers.entry(r).or_default().push(i);
            if let Some(&w) = writer.get(&r)
                && w != i
            {
                dag.next[w].insert(i);
            }
        }
    }
    // Leaves by name, and what outputs need after the last launch.
    let mut leaf: BTreeMap<&str, NodeId> = BTreeMap::new();
    for n in g.ids() {
        if let Op::Param(name) | Op::State(name) = &g.node(n).op {
            leaf.insert(name, n);
        }
    }
    let mut kept: BTreeSet<NodeId> = BTreeSet::new();
    for (name, n) in &g.outputs {
        let n = base(g, *n);
        let same = matches!(&g.node(n).op, Op::Param(p) | Op::State(p)
            if super::persistent_name(name) == Some(p));
        if !same {
            kept.insert(n);
        }
    }
    let mut chosen: BTreeMap<NodeId, Name> = BTreeMap::new();
    let mut targets: BTreeSet<&str> = BTreeSet::new();
    for (name, n) in g.outputs.iter().filter(|_| in_place) {
        let Some(target) = super::persistent_name(name) else { continue };
        let n = base(g, *n);
        let Some(&w) = writer.get(&n) else { continue };
        if chosen.contains_key(&n) || !targets.insert(target) {
            continue;
        }
        if let Some(&old) = leaf.get(target) {
            if kept.contains(&old) || g.ty(old).elements() != g.ty(n).elements() {
                continue;
            }
            let others: Vec<usize> = readers.get(&old).into_iter().flatten().copied().filter(|&r| r != w).collect();
            if !in_step(&list[w].work, old, n) || others.iter().any(|&r| dag.reaches(w, r)) {
                continue;
            }
            others.iter().for_each(|&r| {
                dag.next[r].insert(w);
            });
        }
        chosen.insert(n, target.into());
    }
    // Kahn's algorithm; among the ready ones the first in the graph, or what is small before it.
    let sizes: Vec<Turn> = list.iter().map(|c| if follow { turn(g, c) } else { Turn::Own }).collect();
    let written_over = |n: NodeId| chosen.contains_key(&n);
    let rows = if share { all_rows(g, list, &written_over) } else { vec![None; list.len()] };
    let mut waits: Vec<Vec<usize>> = vec![vec![]; list.len()];
    dag.next.iter().enumerate().for_each(|(i, to)| to.iter().for_each(|&j| waits[j].push(i)));
    let mut waiting: Vec<usize> = waits.iter().map(Vec::len).collect();
    let mut ready: BTreeSet<(Turn, usize)> =
        (0..list.len()).filter(|&i| waiting[i] == 0).map(|i| (sizes[i], i)).collect();
    let mut order: Vec<usize> = vec![];
    let mut together: Vec<Vec<Strand>> = vec![];
    let mut done = vec![false; list.len()];
    while let Some(&first) = ready.first() {
        let mut now = vec![first.1];
        if share {
            let all: Vec<usize> = ready.iter().map(|r| r.1).collect();
            let state = Ready { graph: g, list, next: &dag.next, waits: &waits, done: &done, rows: &rows };
            let strands = state.strands(&all);
            if !strands.is_empty() {
                now = strands.iter().flat_map(|s| s.clusters.clone()).collect();
                together.push(strands);
            }
        }
        for &i in &now {
            ready.remove(&(sizes[i], i));
            done[i] = true;
            order.push(i);
        }
        for &i in &now {
            for &u in &dag.next[i] {
                waiting[u] -= 1;
                if waiting[u] == 0 && !done[u] {
                    ready.insert((sizes[u], u));
                }
            }
        }
    }
    assert_eq!(order.len(), list.len(), "launches wait for each other");
    let grouped: BTreeSet<usize> = together.iter().flatten().flat_map(|s| s.clusters.clone()).collect();
    let pairs = if follow { super::follow::pair(g, list, &dag.next, &grouped, &mut order) } else { vec![] };
    let units = twins::units(&order, &pairs, together);
    let sets = match share {
        true => twins::join(g, list, &dag.next, units),
        false => units.into_iter().map(|u| (vec![u], None)).collect(),
    };
    let mut slots: Vec<_> = std::mem::take(&mut clusters.clusters).into_iter().map(Some).collect();
    let mut found = Order { in_place: chosen, ..Order::default() };
    for (set, twins) in sets {
        let first = clusters.clusters.len();
        // Where each cluster comes to be.
        let mut take = |own: Vec<usize>| -> Vec<usize> {
            let from = clusters.clusters.len();
            clusters.clusters.extend(own.into_iter().filter_map(|i| slots[i].take()));
            (from..clusters.clusters.len()).collect()
        };
        let mut strands = vec![];
        for unit in set {
            match unit {
                Unit::Own(own) if twins.is_some() => strands.push(Strand { rows: None, clusters: take(own) }),
                Unit::Own(own) => {
                    if let [lead, _] = take(own)[..] {
                        found.followed.insert(lead);
                    }
                }
                Unit::Shared(shared) => {
                    strands.extend(shared.into_iter().map(|s| Strand { rows: s.rows, clusters: take(s.clusters) }));
                }
            }
        }
        if !strands.is_empty() {
            found.groups.push(Group { first, count: clusters.clusters.len() - first, strands, twins });
        }
    }
    found
}

/// Whose turn it is first among clusters that are ready.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// Little work that others may wait for.
    Little,
    /// A small map: after the little work that is ready, so that maps that are alike come together.
    Map,
    /// In the order of the graph.
    Own,
}

fn turn(g: &Graph, c: &Cluster) -> Turn {
    let bytes: usize = c.reads.iter().chain(&c.writes).map(|&n| g.ty(n).bytes()).sum();
    match c.kind {
        // Updates wait for the gradients of all parameters, to be done together.
        Kind::Update => Turn::Own,
        _ if bytes > LITTLE => Turn::Own,
        Kind::Map => Turn::Map,
        Kind::Reduce | Kind::Contract | Kind::Rows => Turn::Little,
    }
}

/// Runs of small maps, as places of an order: none reads what another one writes.
pub(super) fn runs(g: &Graph, clusters: &[Cluster]) -> Vec<(usize, usize)> {
    let mut runs = vec![];
    let mut first = 0;
    while first < clusters.len() {
        let mut end = first;
        while let Some(c) = clusters.get(end).filter(|c| turn(g, c) == Turn::Map) {
            if clusters[first..end].iter().any(|o| o.writes.iter().any(|n| c.reads.contains(n))) {
                break;
            }
            end += 1;
        }
        if end > first + 1 {
            runs.push((first, end - 1));
        }
        first = end.max(first + 1);
    }
    runs
}

fn body_in_step(body: &Body, old: NodeId, new: NodeId) -> bool {
    let here = Affine::row_major(&body.domain);
    let stored =
        body.sinks.iter().any(|s| matches!(s, Sink::Store { node, at, .. } if *node == new && *at == here));
    let mut loads = body.insts.iter().filter_map(|i| match &i.code {
        Code::Load { from, at, guards } if *from == old => Some((at, guards)),
        _ => None,
    });
    let mut any = false;
    let all = loads.all(|(at, guards)| {
        any = true;
        *at == here && guards.is_empty()
    });
    !any || (stored && all)
}

/// Whether a cluster that writes `new` over `old` reads each element of `old` no later than it writes it.
fn in_step(work: &Work, old: NodeId, new: NodeId) -> bool {
    match work {
        Work::Loops(body) => body_in_step(body, old, new),
        // Elements are written while others' operands are still read.
        Work::Contract { lhs, rhs, epilogue, .. } => {
            let read = [lhs, rhs].iter().any(|o| o.body.reads().contains(&old));
            !read && epilogue.as_ref().is_none_or(|body| body_in_step(body, old, new))
        }
        Work::Gather { args, .. } => !args.contains(&old),
        // The executor copies the table only if it is another one.
        Work::Scatter { args, .. } => !args[1..].contains(&old),
        Work::Fold { arg, .. } => *arg != old,
    }
}
