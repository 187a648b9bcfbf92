//! Which clusters depend on which, while clusters are merged.
//!
//! Always holds: the links make no circle, and [`Reach::place`] is an order in which no cluster depends on a later one.
//! So a search from one cluster to another looks only at what lies between their places: neighbours in a long graph
//! (many unrolled steps) cost as little as in a short one.

use std::collections::BTreeSet;

/// Clusters that another one depends on, or that depend on it.
pub(super) struct Reach {
    next: Vec<BTreeSet<usize>>,
    prev: Vec<BTreeSet<usize>>,
    place: Vec<usize>,
    /// For each cluster, the search that saw it last; cheaper than a set anew for each of many searches.
    seen: Vec<u64>,
    search: u64,
}

impl Reach {
    /// Clusters without links; those to come lead from a smaller number to a greater one.
    pub fn new(len: usize) -> Self {
        let links = || vec![BTreeSet::new(); len];
        Self { next: links(), prev: links(), place: (0..len).collect(), seen: vec![0; len], search: 0 }
    }

    /// Says that `to` depends on `from`, which comes before it.
    pub fn link(&mut self, from: usize, to: usize) {
        debug_assert!(self.place[from] < self.place[to], "links go forwards");
        self.next[from].insert(to);
        self.prev[to].insert(from);
    }

    /// Whether a path of at least two steps leads from `a` to `b`.
    pub fn around(&mut self, a: usize, b: usize) -> bool {
        let end = self.place[b];
        if self.place[a] >= end {
            return false;
        }
        self.search += 1;
        let mut stack: Vec<usize> = self.next[a].iter().copied().filter(|&x| x != b).collect();
        while let Some(x) = stack.pop() {
            if x == b {
                return true;
            }
            if self.place[x] < end && self.seen[x] != self.search {
                self.seen[x] = self.search;
                stack.extend(&self.next[x]);
            }
        }
        false
    }

    /// What stands between two clusters and depends on the first (`forwards`), or is what the last depends on; in
    /// order.
    fn between(&mut self, first: usize, last: usize, forwards: bool) -> Vec<usize> {
        let (low, high) = (self.place[first], self.place[last]);
        let (start, links) = if forwards { (first, &self.next) } else { (last, &self.prev) };
        self.search += 1;
        let mut found = vec![];
        let mut stack: Vec<usize> = links[start].iter().copied().collect();
        while let Some(x) = stack.pop() {
            if self.place[x] > low && self.place[x] < high && self.seen[x] != self.search {
                self.seen[x] = self.search;
                found.push(x);
                stack.extend(&links[x]);
            }
        }
        found.sort_unstable_by_key(|&x| self.place[x]);
        found
    }

    /// Makes one cluster of two that no path leads [around](Self::around). Of what stands between them, what the later
    /// one depends on comes before the new cluster and what depends on the earlier one after it, in the places that all
    /// of these had (Pearce & Kelly 2006, with a link from the later to the earlier one); the rest stays.
    pub fn merge(&mut self, from: usize, into: usize) {
        let (first, last) = if self.place[from] < self.place[into] { (from, into) } else { (into, from) };
        let mut order = self.between(first, last, false);
        order.extend([into, from]);
        order.extend(self.between(first, last, true));
        let mut places: Vec<usize> = order.iter().map(|&x| self.place[x]).collect();
        places.sort_unstable();
        order.into_iter().zip(places).for_each(|(x, p)| self.place[x] = p);
        for to in std::mem::take(&mut self.next[from]) {
            self.prev[to].remove(&from);
            if to != into {
                self.link(into, to);
            }
        }
        for of in std::mem::take(&mut self.prev[from]) {
            self.next[of].remove(&from);
            if of != into {
                self.link(of, into);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Reach;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The same by definition: links and nothing else.
    struct Plain(BTreeSet<(usize, usize)>);

    impl Plain {
        fn path(&self, a: usize, b: usize) -> bool {
            self.0.iter().filter(|l| l.0 == a).any(|l| l.1 == b || self.path(l.1, b))
        }

        fn around(&self, a: usize, b: usize) -> bool {
            self.0.iter().filter(|l| l.0 == a && l.1 != b).any(|l| self.path(l.1, b))
        }

        fn merge(&mut self, from: usize, into: usize) {
            let name = |x: usize| if x == from { into } else { x };
            self.0 = self.0.iter().map(|&(a, b)| (name(a), name(b))).filter(|l| l.0 != l.1).collect();
        }
    }

    proptest! {
        /// On any graph, after any merges, searches find what a plain search finds, and the order is one.
        #[test]
        fn as_a_plain_search(
            links in prop::collection::vec((0usize..14, 0usize..14), 0..30),
            pairs in prop::collection::vec((0usize..14, 0usize..14), 0..40),
        ) {
            let links: BTreeSet<_> = links.into_iter().filter(|l| l.0 < l.1).collect();
            let mut reach = Reach::new(14);
            links.iter().for_each(|l| reach.link(l.0, l.1));
            let (mut plain, mut gone) = (Plain(links), BTreeSet::new());
            for (a, b) in pairs {
                if a == b || gone.contains(&a) || gone.contains(&b) {
                    continue;
                }
                let around = [plain.around(a, b), plain.around(b, a)];
                prop_assert_eq!(around, [reach.around(a, b), reach.around(b, a)]);
                if around == [false, false] {
                    reach.merge(a, b);
                    plain.merge(a, b);
                    gone.insert(a);
                }
                let kept: BTreeSet<_> =
                    (0..14).flat_map(|a| reach.next[a].iter().map(move |&b| (a, b))).collect();
                prop_assert_eq!(&kept, &plain.0);
                prop_assert!(kept.iter().all(|l| reach.place[l.0] < reach.place[l.1]));
                prop_assert!(kept.iter().all(|l| reach.prev[l.1].contains(&l.0)));
                let places: BTreeSet<usize> = reach.place.iter().copied().collect();
                prop_assert_eq!(places.len(), 14);
            }
        }
    }
}
