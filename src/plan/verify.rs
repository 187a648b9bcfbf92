//! Checks what always holds of a plan.

use super::{Place, Plan};
use crate::graph::NodeId;
use std::collections::BTreeMap;

impl Plan {
    /// The first broken rule, in words.
    pub fn verify(&self) -> Result<(), String> {
        let mut written: BTreeMap<NodeId, usize> = BTreeMap::new();
        for (i, c) in self.clusters.clusters.iter().enumerate() {
            for n in &c.reads {
                match self.places.get(n) {
                    None => return Err(format!("launch {i} reads %{}, which has no place", n.0)),
                    Some(Place::Arena { .. }) if !written.contains_key(n) => {
                        return Err(format!("launch {i} reads %{} before it is written", n.0));
                    }
                    Some(_) => {}
                }
            }
            for n in &c.writes {
                if !self.places.contains_key(n) {
                    return Err(format!("launch {i} writes %{}, which has no place", n.0));
                }
                if written.insert(*n, i).is_some() {
                    return Err(format!("%{} is written twice", n.0));
                }
            }
        }
        self.verify_in_place(&written)?;
        self.verify_groups(&written)?;
        self.verify_arena(&written)
    }

    /// Launches that clusters share: strands know nothing of each other, and a strand's clusters are in order.
    fn verify_groups(&self, written: &BTreeMap<NodeId, usize>) -> Result<(), String> {
        let mut end = 0;
        for group in &self.groups {
            let at = group.first;
            let mut strand_of: BTreeMap<usize, usize> = BTreeMap::new();
            for (s, strand) in group.strands.iter().enumerate() {
                if !strand.clusters.is_sorted() || (strand.rows.is_none() && strand.clusters.len() > 2) {
                    return Err(format!("a strand of the group at launch {at} is out of order or too long"));
                }
                strand_of.extend(strand.clusters.iter().map(|&i| (i, s)));
            }
            let members: usize = group.strands.iter().map(|s| s.clusters.len()).sum();
            if at < end || members != group.count || !strand_of.keys().copied().eq(at..at + group.count) {
                return Err(format!("the group at launch {at} is not {} neighbours", group.count));
            }
            end = group.last() + 1;
            for (&i, s) in &strand_of {
                let c = &self.clusters.clusters[i];
                for n in &c.reads {
                    let from = written.get(n).filter(|w| strand_of.contains_key(w));
                    if from.is_some_and(|w| strand_of[w] != *s || *w >= i) {
                        return Err(format!("launch {i} reads %{}, which another block of its launch writes", n.0));
                    }
                }
                for n in &c.writes {
                    let Some(place @ Place::Persistent(name)) = self.places.get(n) else { continue };
                    let same = |m: &&NodeId| *m != n && self.places.get(m) == Some(place);
                    // A map that overwrites what the reduction before it reads gets a launch of its own.
                    let apart = |j: usize| group.strands[*s].rows.is_none() && strand_of[&j] == *s;
                    let others = strand_of.keys().filter(|&&j| j != i && !apart(j));
                    let others = others.map(|&j| &self.clusters.clusters[j]);
                    if others.flat_map(|c| c.reads.iter().chain(&c.writes)).any(|m| same(&m)) {
                        return Err(format!(
                            "launch {i} overwrites `{name}`, which another block of its launch reads"
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    fn verify_in_place(&self, written: &BTreeMap<NodeId, usize>) -> Result<(), String> {
        for (n, place) in &self.places {
            let (Place::Persistent(name), Some(&w)) = (place, written.get(n)) else { continue };
            // Other nodes in the same place hold the old value.
            for (old, _) in self.places.iter().filter(|(m, p)| *m != n && *p == place) {
                if written.contains_key(old) {
                    return Err(format!("two nodes write `{name}`"));
                }
                let late = self.clusters.clusters[w + 1..].iter().any(|c| c.reads.contains(old));
                if late || self.commits.iter().any(|c| c.from == *old) {
                    return Err(format!("the old `{name}` is read after launch {w} overwrites it"));
                }
            }
        }
        Ok(())
    }

    fn verify_arena(&self, written: &BTreeMap<NodeId, usize>) -> Result<(), String> {
        let mut list: Vec<(usize, usize, NodeId)> = vec![];
        for (n, place) in &self.places {
            if let Place::Arena { offset, bytes } = place {
                if offset + bytes > self.arena {
                    return Err(format!("%{} ends outside the arena", n.0));
                }
                if *bytes > 0 {
                    list.push((*offset, *offset + *bytes, *n));
                }
            }
        }
        let end = self.clusters.clusters.len();
        let mut live: BTreeMap<NodeId, (usize, usize)> = BTreeMap::new();
        for (i, c) in self.clusters.clusters.iter().enumerate() {
            for n in c.reads.iter().chain(&c.writes) {
                let first = written.get(n).copied().unwrap_or(0);
                let l = live.entry(*n).or_insert((first, i));
                l.1 = l.1.max(i);
            }
        }
        // What a launch of several clusters reads and writes is there from its first one to its last.
        for group in &self.groups {
            let last = group.last();
            for l in live.values_mut().filter(|l| l.0 <= last && l.1 >= group.first) {
                *l = (l.0.min(group.first), l.1.max(last));
            }
        }
        for n in self.commits.iter().map(|c| c.from).chain(self.results.iter().map(|r| r.1)) {
            if let Some(l) = live.get_mut(&n) {
                l.1 = end;
            }
        }
        list.sort_unstable();
        for (i, a) in list.iter().enumerate() {
            for b in list[i + 1..].iter().take_while(|b| b.0 < a.1) {
                let (x, y) = (live[&a.2], live[&b.2]);
                if x.0 <= y.1 && y.0 <= x.1 {
                    return Err(format!("%{} and %{} overlap", a.2.0, b.2.0));
                }
            }
        }
        Ok(())
    }
}
