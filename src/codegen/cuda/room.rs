//! Room that clusters need for themselves while they run: parts of sums, what blocks hand to each other.
//!
//! The arena is as large as the widest moment of a run makes it, and most of it is free while most clusters run. What a
//! cluster needs for itself lies there, in the lowest gap that is wide enough, and only what fits nowhere makes the
//! workspace larger.

use super::emit::Emit;
use super::{Arg, PLAN};
use crate::plan::{Place, Plan};
use std::collections::BTreeMap;

/// What the launches of a cluster, or of those that share its launches, need.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    /// The last cluster that they work for.
    pub last: usize,
    /// Bytes.
    pub bytes: usize,
}

impl Emit<'_> {
    /// Gives all clusters their room, before packs get theirs behind it.
    pub(super) fn settle(&mut self) {
        let mut places: BTreeMap<usize, usize> = BTreeMap::new();
        for (&first, need) in &self.needs {
            let at = gap(self.plan, (first, need.last), need.bytes);
            self.workspace = self.workspace.max(at + need.bytes);
            places.insert(first, at);
        }
        for mut launch in self.take_launches() {
            let room = self.needs.get(&launch.cluster).zip(places.get(&launch.cluster));
            for arg in &mut launch.args {
                match (arg, room) {
                    // Places of packs, which are not known yet, are beyond all others.
                    (Arg::Scratch(byte), Some((need, at))) if *byte < need.bytes => *byte += at,
                    (Arg::Scratch(_) | Arg::Node(_) | Arg::U32(_), _) => {}
                }
            }
            self.push_launch(launch);
        }
    }
}

/// The lowest place of so many bytes of the arena, or beyond it, where nothing lives while these clusters run.
fn gap(plan: &Plan, (first, last): (usize, usize), bytes: usize) -> usize {
    let lives = |n| plan.lives.get(n).is_none_or(|l| l.0 <= last && first <= l.1);
    let one = |(n, place)| match place {
        &Place::Arena { offset, bytes } if lives(n) => Some((offset, offset + bytes)),
        Place::Arena { .. } | Place::Persistent(_) | Place::Input(_) | Place::Constant(_) => None,
    };
    let mut taken: Vec<(usize, usize)> = plan.places.iter().filter_map(one).collect();
    taken.sort_unstable();
    let mut at = 0;
    for (start, end) in taken {
        if start >= at + bytes {
            break;
        }
        at = at.max(end.next_multiple_of(PLAN.align));
    }
    at
}
