//! Work that is done several times with other tensors, one time knowing nothing of the other: a discriminator's layers at
//! a real and at a fake batch. One launch does all of it, with blocks of its own for each. Layers that leave most of a
//! device idle should take little longer for two batches than for one.
//!
//! What is *alike* is found by a hash of clusters in which tensors are numbered as they come; a backend that generates
//! different code for two of them after all launches them one by one.

use super::group::{Alike, Strand};
use crate::fuse::{Body, Cluster, Code, Kind, Operand, Sink, Work};
use crate::graph::{Graph, NodeId};
use rustc_hash::{FxHashMap, FxHasher};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

/// Bytes that work reads and writes at most to be done several times by one launch: more of it keeps a device busy by
/// itself, and all that is done together is in memory together.
const MIDDLING: usize = 16 << 20;
/// Units of one launch.
const MOST: usize = 8;
/// How far behind the first of a launch the last may be in the order: what waits for it takes memory meanwhile.
const SPAN: usize = 100;
/// Units of a plan that are compared: each keeps a bit for each other one.
const MOST_UNITS: usize = 1 << 12;

/// Neighbours of a launch order that stay together.
pub(super) enum Unit {
    /// A cluster, perhaps with the map that follows it.
    Own(Vec<usize>),
    /// Strands of one launch.
    Shared(Vec<Strand>),
}

impl Unit {
    /// Its clusters, in order.
    pub fn clusters(&self) -> Vec<usize> {
        match self {
            Unit::Own(clusters) => clusters.clone(),
            Unit::Shared(strands) => strands.iter().flat_map(|s| s.clusters.clone()).collect(),
        }
    }
}

/// The units of an order; `pairs`: a cluster and the map right behind it.
pub(super) fn units(order: &[usize], pairs: &[(usize, usize)], together: Vec<Vec<Strand>>) -> Vec<Unit> {
    let follower: BTreeMap<usize, usize> = pairs.iter().copied().collect();
    let mut shared: BTreeMap<usize, Vec<Strand>> =
        together.into_iter().filter_map(|t| Some((t.first()?.clusters[0], t))).collect();
    let mut units = vec![];
    let mut at = 0;
    while let Some(&i) = order.get(at) {
        let unit = match (shared.remove(&i), follower.get(&i)) {
            (Some(strands), _) => Unit::Shared(strands),
            (None, Some(&j)) => Unit::Own(vec![i, j]),
            (None, None) => Unit::Own(vec![i]),
        };
        at += unit.clusters().len();
        units.push(unit);
    }
    debug_assert!(shared.is_empty(), "the clusters of a group are not neighbours");
    units
}

/// Sets of numbers.
#[derive(Clone)]
struct Bits(Vec<u64>);

impl Bits {
    fn new(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)])
    }

    fn has(&self, i: usize) -> bool {
        self.0[i / 64] >> (i % 64) & 1 != 0
    }

    fn insert(&mut self, i: usize) {
        self.0[i / 64] |= 1 << (i % 64);
    }

    fn add(&mut self, other: &Bits) {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a |= b);
    }
}

/// What one launch does: one unit, or several that are alike; then, and where it is one of several such launches,
/// how many there are.
pub(super) type Set = (Vec<Unit>, Option<Alike>);

/// Units in launch order, those that are alike and know nothing of each other together; `next`: for each cluster those
/// that wait for it.
pub(super) fn join(g: &Graph, list: &[Cluster], next: &[BTreeSet<usize>], units: Vec<Unit>) -> Vec<Set> {
    let count = units.len();
    if count > MOST_UNITS {
        return units.into_iter().map(|u| (vec![u], None)).collect();
    }
    let mut unit_of = vec![0; list.len()];
    units.iter().enumerate().for_each(|(u, unit)| unit.clusters().iter().for_each(|&i| unit_of[i] = u));
    let waits = |u: usize| {
        let all = units[u].clusters().into_iter().flat_map(|i| &next[i]).map(|&j| unit_of[j]);
        all.filter(|&v| v != u).collect::<BTreeSet<usize>>()
    };
    let next: Vec<BTreeSet<usize>> = (0..count).map(waits).collect();
    let keys: Vec<Option<u64>> = units.iter().map(|unit| likeness(g, list, unit)).collect();
    let sets = sets(&keys, &next);
    let alike = alike(&keys, &sets);
    // Kahn's algorithm over the sets; the first in the old order is the first.
    let mut set_of = vec![0; count];
    sets.iter().enumerate().for_each(|(s, members)| members.iter().for_each(|&u| set_of[u] = s));
    let after = |s: usize| sets[s].iter().flat_map(|&u| &next[u]).map(|&v| set_of[v]).collect::<BTreeSet<usize>>();
    let next: Vec<BTreeSet<usize>> = (0..sets.len()).map(after).collect();
    let mut waiting = vec![0; sets.len()];
    next.iter().flatten().for_each(|&s| waiting[s] += 1);
    let mut ready: BTreeSet<(usize, usize)> =
        (0..sets.len()).filter(|&s| waiting[s] == 0).map(|s| (sets[s][0], s)).collect();
    let mut slots: Vec<Option<Unit>> = units.into_iter().map(Some).collect();
    let mut order = vec![];
    while let Some((_, s)) = ready.pop_first() {
        let members: Vec<Unit> = sets[s].iter().filter_map(|&u| slots[u].take()).collect();
        // Code for several is worth it for one where it spares a product's.
        let product = |unit: &Unit| unit.clusters().iter().any(|&i| list[i].kind == Kind::Contract);
        let alike = keys[sets[s][0]].and_then(|key| alike.get(&key)).copied();
        let alike = alike.filter(|_| members.len() > 1 || members.iter().any(product));
        order.push((members, alike));
        for &t in &next[s] {
            waiting[t] -= 1;
            if waiting[t] == 0 {
                ready.insert((sets[t][0], t));
            }
        }
    }
    assert!(slots.iter().all(Option::is_none), "launches wait for each other");
    order
}

/// What is known of the launches of each key, if one of them does several units.
fn alike(keys: &[Option<u64>], sets: &[Vec<usize>]) -> FxHashMap<u64, Alike> {
    let mut counts: FxHashMap<u64, (usize, usize, usize)> = FxHashMap::default();
    for set in sets {
        if let Some(key) = keys[set[0]] {
            let (most, launches, units) = counts.entry(key).or_default();
            *most = set.len().max(*most);
            *launches += 1;
            *units += set.len();
        }
    }
    let several = counts.into_iter().filter(|(_, (most, ..))| *most > 1);
    several
        .map(|(key, (most, launches, units))| (key, Alike { most, usual: (units + launches / 2) / launches }))
        .collect()
}

/// Units that one launch does, by number; each is in one of the sets. Units with one key are alike.
fn sets(keys: &[Option<u64>], next: &[BTreeSet<usize>]) -> Vec<Vec<usize>> {
    let count = keys.len();
    // What comes after each unit, however far behind, if sets are units.
    let mut after: Vec<Bits> = vec![Bits::new(count); count];
    for u in (0..count).rev() {
        let mut all = Bits::new(count);
        for &v in &next[u] {
            all.insert(v);
            all.add(&after[v]);
        }
        after[u] = all;
    }
    let mut sets: Vec<Vec<usize>> = vec![];
    let mut known: FxHashMap<u64, Vec<usize>> = FxHashMap::default();
    for (u, key) in keys.iter().enumerate() {
        let &Some(key) = key else {
            sets.push(vec![u]);
            continue;
        };
        let same = known.entry(key).or_default();
        // Members of a set have the same before and behind them.
        let fits = |s: &&usize| {
            let member = sets[**s][0];
            let near = u - member <= SPAN && sets[**s].len() < MOST;
            near && !after[u].has(member) && !after[member].has(u)
        };
        let Some(&s) = same.iter().find(fits) else {
            same.push(sets.len());
            sets.push(vec![u]);
            continue;
        };
        let mut behind = after[u].clone();
        behind.add(&after[sets[s][0]]);
        sets[s].push(u);
        let mut all = behind.clone();
        sets[s].iter().for_each(|&m| all.insert(m));
        for (x, bits) in after.iter_mut().enumerate() {
            if sets[s].contains(&x) {
                *bits = behind.clone();
            } else if sets[s].iter().any(|&m| bits.has(m)) {
                bits.add(&all);
            }
        }
    }
    sets
}

/// A hash of what a unit does, if it may be done together with others that are alike.
fn likeness(g: &Graph, list: &[Cluster], unit: &Unit) -> Option<u64> {
    let Unit::Own(clusters) = unit else { return None };
    let clusters: Vec<&Cluster> = clusters.iter().map(|&i| &list[i]).collect();
    let fits = clusters.iter().all(|c| matches!(c.kind, Kind::Map | Kind::Reduce | Kind::Contract));
    let touched = clusters.iter().flat_map(|c| c.reads.iter().chain(&c.writes));
    let bytes: usize = touched.map(|&n| g.ty(n).bytes()).sum();
    if !fits || bytes > MIDDLING {
        return None;
    }
    let mut like = Likeness { g, numbers: FxHashMap::default(), hash: FxHasher::default() };
    clusters.iter().for_each(|c| like.work(&c.work));
    Some(like.hash.finish())
}

/// A hash in which tensors are numbered as they come.
struct Likeness<'a> {
    g: &'a Graph,
    numbers: FxHashMap<NodeId, usize>,
    hash: FxHasher,
}

impl Likeness<'_> {
    fn put(&mut self, value: impl Hash) {
        value.hash(&mut self.hash);
    }

    fn tensor(&mut self, n: NodeId) {
        let next = self.numbers.len();
        let number = *self.numbers.entry(n).or_insert(next);
        if number == next {
            self.put(self.g.ty(n).dtype);
        }
        self.put(number);
    }

    fn work(&mut self, work: &Work) {
        match work {
            Work::Loops(body) => self.body(body),
            Work::Contract { node, product, lhs, rhs, epilogue } => {
                self.put(product);
                self.operand(lhs);
                self.operand(rhs);
                self.tensor(*node);
                self.put(epilogue.is_some());
                epilogue.iter().for_each(|body| self.body(body));
            }
            Work::Gather { .. } | Work::Scatter { .. } | Work::Fold { .. } => {}
        }
    }

    fn operand(&mut self, operand: &Operand) {
        self.put(&operand.shape);
        self.body(&operand.body);
    }

    fn body(&mut self, body: &Body) {
        self.put(&body.domain);
        for inst in &body.insts {
            match &inst.code {
                Code::Load { from, at, guards } => {
                    self.tensor(*from);
                    self.put((at, guards));
                }
                other => self.put(other),
            }
            self.put((&inst.args, inst.dtype));
        }
        for sink in &body.sinks {
            self.tensor(sink.node());
            self.put(sink.reg());
            match sink {
                Sink::Store { at, prefill, .. } => self.put((at, prefill)),
                Sink::Reduce { combine, axes, at, .. } => self.put((combine, axes, at)),
            }
        }
    }
}
