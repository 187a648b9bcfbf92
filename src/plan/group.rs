//! Clusters that one launch does: small ones that are ready at the same time, each with blocks of its own, and chains of
//! clusters that work row by row ([`super::rows`]), in which a block does its rows of all of them. A launch and the wait
//! for the one before take longer than most of such clusters. Larger ones that are alike are put together by
//! [`super::twins`].

use super::follow::follows;
use super::rows;
use crate::fuse::{Cluster, Kind, Work};
use crate::graph::{Graph, NodeId};
use crate::plan::cost;
use std::collections::{BTreeMap, BTreeSet};

/// Clusters that blocks of their own do one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strand {
    /// A block does this many rows of all clusters, one after the other; `None`: the strand is one cluster, perhaps a
    /// reduction with the map that follows it.
    pub rows: Option<usize>,
    /// Places in the launch order, ascending.
    pub clusters: Vec<usize>,
}

/// Neighbours in the launch order that are done together: strands know nothing of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Place of the first cluster in the launch order.
    pub first: usize,
    /// How many there are.
    pub count: usize,
    /// The strands: each of the clusters is in one of them.
    pub strands: Vec<Strand>,
    /// Whether strands do the same with other tensors, each as it would be done alone; there may be one strand only, of
    /// which other groups have several.
    pub twins: Option<Alike>,
}

/// Groups whose strands are all alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alike {
    /// The most strands of one.
    pub most: usize,
    /// The mean, rounded.
    pub usual: usize,
}

impl Group {
    /// Place of the last cluster.
    pub fn last(&self) -> usize {
        self.first + self.count - 1
    }

    /// Clusters of the longest strand.
    pub fn stages(&self) -> usize {
        self.strands.iter().map(|s| s.clusters.len()).max().unwrap_or(0)
    }
}

/// Bytes that a small cluster reads and writes at most. Its results may wait in memory for their readers.
pub const LITTLE: usize = 2 << 20;
/// Arithmetic of a small product: more of it keeps a device busy by itself.
const SHORT: u64 = 80 << 20;

/// Clusters of a chain: a kernel's text is compiled as a whole, and what a chain touches stays in memory until it ends.
pub const LONGEST: usize = 24;

/// What of an order is known while it is made.
pub(super) struct Ready<'a> {
    pub graph: &'a Graph,
    pub list: &'a [Cluster],
    /// For each cluster those that wait for it, and those that it waits for.
    pub next: &'a [BTreeSet<usize>],
    pub waits: &'a [Vec<usize>],
    /// Clusters that are done.
    pub done: &'a [bool],
    /// Rows of clusters that work row by row.
    pub rows: &'a [Option<usize>],
}

/// Whether a cluster is small enough to share a launch.
pub(super) fn little(g: &Graph, c: &Cluster) -> bool {
    let bytes: usize = c.reads.iter().chain(&c.writes).map(|&n| g.ty(n).bytes()).sum();
    let short = || cost(g, &c.work, &[], &[], |d| d.bytes()).flops <= SHORT;
    bytes <= LITTLE && (!matches!(c.work, Work::Contract { .. }) || short())
}

/// Rows of each cluster that may be part of a chain: `kept` are nodes that are written over what others read.
pub(super) fn all_rows(g: &Graph, list: &[Cluster], kept: &dyn Fn(NodeId) -> bool) -> Vec<Option<usize>> {
    let one = |c: &Cluster| match c.writes.iter().any(|&n| kept(n)) {
        true => None,
        false => rows::rows_of(g, c).filter(|_| c.kind != Kind::Update),
    };
    list.iter().map(one).collect()
}

impl Ready<'_> {
    /// All clusters that chains of rows may have by now, from those that are ready on.
    fn grown(&self, ready: &[usize]) -> BTreeSet<usize> {
        let mut chain: BTreeSet<usize> = ready.iter().copied().filter(|&i| self.rows[i].is_some()).collect();
        let mut open: Vec<usize> = chain.iter().copied().collect();
        while let Some(i) = open.pop() {
            for &j in &self.next[i] {
                if !chain.contains(&j) && self.joins(&chain, j) {
                    chain.insert(j);
                    open.push(j);
                }
            }
        }
        chain
    }

    /// Whether all that a cluster waits for is done or in the chain, there with the same rows.
    fn joins(&self, chain: &BTreeSet<usize>, j: usize) -> bool {
        let Some(rows) = self.rows[j] else { return false };
        self.waits[j].iter().all(|&w| {
            self.done[w]
                || (chain.contains(&w)
                    && self.rows[w] == Some(rows)
                    && rows::in_step(self.graph, &self.list[w], &self.list[j], rows))
        })
    }

    /// The strands of one launch, by clusters in an order in which they can be done; none if there is nothing to share.
    pub fn strands(&self, ready: &[usize]) -> Vec<Strand> {
        let chain = self.grown(ready);
        let mut strands: Vec<Strand> = vec![];
        let mut taken: BTreeSet<usize> = BTreeSet::new();
        for mut part in self.parts(&chain) {
            // The rest is ready afterwards.
            part.truncate(LONGEST);
            if part.len() > 1 {
                taken.extend(&part);
                strands.push(Strand { rows: self.rows[part[0]], clusters: part });
            }
        }
        let alone = |&&i: &&usize| {
            !taken.contains(&i) && self.list[i].kind != Kind::Rows && little(self.graph, &self.list[i])
        };
        let (riders, others): (Vec<usize>, Vec<usize>) =
            ready.iter().filter(alone).partition(|&&i| self.list[i].kind == Kind::Update);
        for i in others {
            let follower = self.next[i].iter().find(|&&j| {
                !taken.contains(&j)
                    && self.waits[j].iter().all(|&w| w == i || self.done[w])
                    && follows(self.graph, &self.list[i], &self.list[j])
            });
            let clusters: Vec<usize> = std::iter::once(i).chain(follower.copied()).collect();
            taken.extend(&clusters);
            strands.push(Strand { rows: None, clusters });
        }
        // Updates wait for each other, to be one launch; where there is one anyway they go with it.
        if !strands.is_empty() {
            strands.extend(riders.into_iter().map(|i| Strand { rows: None, clusters: vec![i] }));
        }
        let shared = strands.len() > 1 || strands.iter().any(|s| s.rows.is_some());
        if shared { strands } else { vec![] }
    }

    /// Parts of chains that know nothing of each other, each in an order in which it can be done.
    fn parts(&self, chain: &BTreeSet<usize>) -> Vec<Vec<usize>> {
        let mut part: BTreeMap<usize, usize> = chain.iter().map(|&i| (i, i)).collect();
        fn root(part: &BTreeMap<usize, usize>, mut i: usize) -> usize {
            while part[&i] != i {
                i = part[&i];
            }
            i
        }
        for &i in chain {
            for j in self.next[i].iter().filter(|j| chain.contains(j)) {
                let (a, b) = (root(&part, i), root(&part, *j));
                part.insert(a.max(b), a.min(b));
            }
        }
        let mut waiting: BTreeMap<usize, usize> = chain.iter().map(|&i| (i, 0)).collect();
        for &i in chain {
            for j in self.next[i].iter().filter(|j| chain.contains(j)) {
                waiting.entry(*j).and_modify(|n| *n += 1);
            }
        }
        let mut open: BTreeSet<usize> = waiting.iter().filter(|w| *w.1 == 0).map(|w| *w.0).collect();
        let mut parts: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        while let Some(i) = open.pop_first() {
            parts.entry(root(&part, i)).or_default().push(i);
            for j in self.next[i].iter().filter(|j| chain.contains(j)) {
                if let Some(n) = waiting.get_mut(j) {
                    *n -= 1;
                    if *n == 0 {
                        open.insert(*j);
                    }
                }
            }
        }
        parts.into_values().collect()
    }
}
