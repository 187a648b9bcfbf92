//! Clusters to a plan: launch order, where every tensor lies, what is copied when a run ends.
//!
//! Always holds (checked by [`Plan::verify`]): each cluster runs after those that write what it reads; two tensors in
//! the arena that are alive at one time do not overlap; a persistent tensor is overwritten in place only by a cluster
//! after which nobody reads the old value; clusters of a [group](group::Group) are neighbours in launch order, and what one
//! of its strands reads or overwrites is nothing that another one makes or reads.

pub mod arena;
mod follow;
pub mod group;
mod order;
mod print;
mod rows;
mod twins;
mod verify;

use crate::fuse::{Body, Clusters, Code, Product, Sink, Work, base, is_leaf};
use crate::graph::{Const, DType, F64, Graph, Name, NodeId, Op, persistent_name};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a device needs of a plan.
#[derive(Clone, Copy, Debug)]
pub struct PlanOptions {
    /// Bytes of an element in device memory.
    pub bytes: fn(DType) -> usize,
    /// Alignment of tensors in the arena, in bytes.
    pub align: usize,
    /// Whether parameters may be overwritten in place.
    pub in_place: bool,
    /// Whether maps may be done by the launch of the reduction that they follow, and small ones by one launch.
    pub follow: bool,
    /// Whether clusters may share launches: small ones, chains of rows, and what is alike.
    pub share: bool,
}

/// Where a tensor lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the arena, from this byte on.
    Arena {
        /// First byte.
        offset: usize,
        /// Its size.
        bytes: usize,
    },
    /// The persistent tensor of this name.
    Persistent(Name),
    /// The input of this name.
    Input(Name),
    /// Constant data of this index in [`Plan::constants`].
    Constant(usize),
}

/// A copy to a persistent tensor at the end of a run; all of them are read before any is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Where the value is.
    pub from: NodeId,
    /// The persistent tensor.
    pub to: Name,
    /// Arena bytes in which the value waits, when `from` is itself a persistent tensor that another commit may
    /// overwrite.
    pub via: Option<usize>,
}

/// Everything that an executor needs.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Clusters in launch order.
    pub clusters: Clusters,
    /// Places in the launch order of clusters with reductions with which the map right behind them may be done: nothing that either
    /// reads or writes lies in the same part of the arena.
    pub followed: BTreeSet<usize>,
    /// Clusters that one launch may do, in order.
    pub groups: Vec<group::Group>,
    /// Where each stored node lies.
    pub places: BTreeMap<NodeId, Place>,
    /// For each node in the arena, the first and last launch at which it is alive.
    pub lives: BTreeMap<NodeId, (usize, usize)>,
    /// Dense constants.
    pub constants: Vec<(NodeId, Arc<Vec<F64>>)>,
    /// Copies at the end.
    pub commits: Vec<Commit>,
    /// What the caller gets: name and stored node.
    pub results: Vec<(Name, NodeId)>,
    /// Bytes of the arena.
    pub arena: usize,
    /// Bytes of persistent tensors that this graph reads or writes.
    pub persistent: usize,
    /// Bytes of dense constants.
    pub constant: usize,
}

/// Work of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Arithmetic operations; a multiply-add counts 2.
    pub flops: u64,
    /// Bytes that have to be read or written at least once.
    pub bytes: u64,
}

/// Plans the launch of clusters.
pub fn plan(g: &Graph, mut clusters: Clusters, options: PlanOptions) -> Plan {
    let mut places: BTreeMap<NodeId, Place> = BTreeMap::new();
    let mut constants: Vec<(NodeId, Arc<Vec<F64>>)> = vec![];
    let mut leaves: Vec<NodeId> = clusters.clusters.iter().flat_map(|c| c.reads.clone()).collect();
    leaves.extend(g.outputs.iter().map(|o| base(g, o.1)));
    leaves.sort_unstable();
    leaves.dedup();
    for &n in leaves.iter().filter(|n| is_leaf(&g.node(**n).op)) {
        let place = match &g.node(n).op {
            Op::Input(name) => Place::Input(name.clone()),
            Op::Const(Const::Dense(v)) => {
                constants.push((n, v.clone()));
                Place::Constant(constants.len() - 1)
            }
            Op::Param(name) | Op::State(name) => Place::Persistent(name.clone()),
            other => unreachable!("{other:?} is no leaf"),
        };
        places.insert(n, place);
    }
    let follow = options.follow && clusters.fused;
    let share = options.share && clusters.fused;
    let order::Order { in_place, followed, groups } =
        order::order(g, &mut clusters, options.in_place, follow, share);
    let mut commits = vec![];
    let mut results = vec![];
    for (name, n) in &g.outputs {
        let n = base(g, *n);
        let Some(target) = persistent_name(name) else {
            results.push((name.clone(), n));
            continue;
        };
        let itself = matches!(places.get(&n), Some(Place::Persistent(p)) if &**p == target);
        if in_place.get(&n).is_some_and(|t| &**t == target) {
            places.insert(n, Place::Persistent(target.into()));
        } else if !itself {
            commits.push(Commit { from: n, to: target.into(), via: None });
        }
    }
    let mut lives = lifetimes(g, &clusters, &places);
    let mut together: Vec<(usize, usize)> = followed.iter().map(|&i| (i, i + 1)).collect();
    together.extend(groups.iter().map(|group| (group.first, group.last())));
    if follow {
        together.extend(order::runs(g, &clusters.clusters));
    }
    for (first, last) in together {
        // One launch may do all: what it reads is alive to its end, what it writes from its beginning.
        for c in &clusters.clusters[first..=last] {
            for n in &c.reads {
                if let Some(l) = lives.get_mut(n) {
                    l.1 = l.1.max(last);
                }
            }
            for n in &c.writes {
                if let Some(l) = lives.get_mut(n) {
                    l.0 = l.0.min(first);
                }
            }
        }
    }
    let mut sizes: BTreeMap<NodeId, usize> = BTreeMap::new();
    for &n in lives.keys() {
        let ty = g.ty(n);
        sizes.insert(n, ty.elements() * (options.bytes)(ty.dtype));
    }
    // A value that is a persistent tensor now waits in the arena while others are overwritten.
    let end = clusters.clusters.len();
    let mut waiting = vec![];
    for (i, c) in commits.iter().enumerate() {
        if matches!(places.get(&c.from), Some(Place::Persistent(_))) {
            let ty = g.ty(c.from);
            waiting.push((i, ty.elements() * (options.bytes)(ty.dtype)));
        }
    }
    let mut requests: Vec<arena::Request> =
        lives.iter().map(|(n, l)| arena::Request { bytes: sizes[n], live: *l }).collect();
    requests.extend(waiting.iter().map(|w| arena::Request { bytes: w.1, live: (end, end) }));
    let (offsets, arena) = arena::assign(&requests, options.align);
    for ((n, _), &offset) in lives.iter().zip(&offsets) {
        places.insert(*n, Place::Arena { offset, bytes: sizes[n] });
    }
    for ((i, _), &offset) in waiting.iter().zip(&offsets[lives.len()..]) {
        commits[*i].via = Some(offset);
    }
    lives.retain(|n, _| sizes[n] > 0);
    let mut names: BTreeMap<Name, usize> = BTreeMap::new();
    let mut persist = |name: &Name, n: NodeId| {
        let ty = g.ty(n);
        names.insert(name.clone(), ty.elements() * (options.bytes)(ty.dtype));
    };
    for (n, p) in &places {
        if let Place::Persistent(name) = p {
            persist(name, *n);
        }
    }
    commits.iter().for_each(|c| persist(&c.to, c.from));
    let constant = constants.iter().map(|(n, v)| v.len() * (options.bytes)(g.ty(*n).dtype)).sum();
    let persistent = names.values().sum();
    Plan { clusters, followed, groups, places, lives, constants, commits, results, arena, persistent, constant }
}

/// First and last launch of each node that belongs in the arena; results live past the last launch.
fn lifetimes(g: &Graph, clusters: &Clusters, places: &BTreeMap<NodeId, Place>) -> BTreeMap<NodeId, (usize, usize)> {
    let mut lives: BTreeMap<NodeId, (usize, usize)> = BTreeMap::new();
    for (i, c) in clusters.clusters.iter().enumerate() {
        for n in c.writes.iter().filter(|n| !places.contains_key(n)) {
            lives.insert(*n, (i, i));
        }
        for n in &c.reads {
            if let Some(l) = lives.get_mut(n) {
                l.1 = i;
            }
        }
    }
    for (_, n) in &g.outputs {
        if let Some(l) = lives.get_mut(&base(g, *n)) {
            l.1 = clusters.clusters.len();
        }
    }
    lives
}

/// Arithmetic and least memory traffic of a cluster.
pub fn cost(g: &Graph, work: &Work, reads: &[NodeId], writes: &[NodeId], bytes: fn(DType) -> usize) -> Cost {
    let size = |n: &NodeId| (g.ty(*n).elements() * bytes(g.ty(*n).dtype)) as u64;
    let traffic = reads.iter().chain(writes).map(size).sum();
    let body = |b: &Body| {
        let reduces = b.sinks.iter().filter(|s| matches!(s, Sink::Reduce { .. })).count();
        let ops: u64 = b
            .insts
            .iter()
            .map(|i| match &i.code {
                Code::Unary(_) | Code::Binary(_) | Code::Select | Code::Cast(_) => 1,
                Code::Random { .. } => 24,
                Code::Const(_) | Code::Load { .. } | Code::Iota(_) | Code::Merge(_) => 0,
            })
            .sum();
        b.elements() as u64 * (ops + reduces as u64)
    };
    let flops = match work {
        Work::Loops(b) => body(b),
        Work::Contract { node, product, lhs, rhs, epilogue } => {
            let product = match product {
                Product::Dot(d) => {
                    let k: usize = d.contracted.iter().map(|p| lhs.shape[p.0]).product();
                    2 * (g.ty(*node).elements() * k) as u64
                }
                Product::ConvFwd(c) | Product::ConvDataGrad(c) | Product::ConvWeightGrad(c) => c.flops(),
            };
            product + body(&lhs.body) + body(&rhs.body) + epilogue.as_ref().map_or(0, body)
        }
        Work::Gather { .. } | Work::Scatter { .. } => 0,
        Work::Fold { arg, .. } => g.ty(*arg).elements() as u64,
    };
    Cost { flops, bytes: traffic }
}
