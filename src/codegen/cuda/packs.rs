//! Operands that are laid out anew for products: as a rule once for each value, layout and side, and several in one
//! launch.
//!
//! A product that would read an operand with strides has it packed into scratch first. Which packs are the same, and
//! which may go together, is seen when all launches are known: a pack moves up to the first of its kind, and joins an
//! earlier one whose launch finds its source written. What is read by a later cluster lives from where it is written
//! until then, so that the source still holds its value there. What is shared lives from its launch to its last reader: if
//! all of that together would take more memory than the plan's values, each product has its operands packed for itself.

use super::emit::{Emit, NAME};
use super::{Arg, Launch};
use crate::fuse::is_leaf;
use crate::graph::NodeId;
use crate::plan::arena::{Request, assign};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Threads of a block.
pub(super) const THREADS: usize = 256;
/// Packs of one launch, and pointers of them.
const MOST: usize = 32;
const MOST_POINTERS: usize = 240;
/// Bytes that one launch packs at most: what is packed long before its use takes memory meanwhile.
const MOST_BYTES: usize = 64 << 20;
/// Bytes of a pack that may move away from its first use.
const FAR_BYTES: usize = 32 << 20;
/// Bytes of all packs together that are always granted.
const LITTLE: usize = 64 << 20;

/// An operand that is to be packed.
pub struct Pack {
    /// The text of a function `NAME_pack(int unit, …)` that packs one unit, and what it needs.
    pub text: String,
    /// Types of its pointers; the first is what it writes.
    pub types: Vec<String>,
    /// What stands for them; the first is in scratch.
    pub args: Vec<Arg>,
    /// Units.
    pub units: usize,
    /// Bytes that it writes.
    pub bytes: usize,
}

/// A pack and the launch that waits for it.
pub(super) struct Asked {
    pub pack: Pack,
    /// Number of launches before.
    pub launch: usize,
    pub cluster: usize,
}

/// Packs that are the same.
struct Same {
    /// Index of the first.
    first: usize,
    /// Clusters that use it, with the place in scratch that each gave it.
    uses: Vec<(usize, Arg)>,
    /// The launch before which it can be done, and that before which it must.
    ready: usize,
    due: usize,
    /// The last launch that reads it.
    last: usize,
}

/// Packs of one launch, which comes before the launch of this number.
struct Group {
    at: usize,
    cluster: usize,
    bytes: usize,
    pointers: usize,
    members: Vec<Same>,
}

impl Emit<'_> {
    /// Packs an operand before the next launch.
    pub(super) fn pack(&mut self, pack: Pack) {
        let (launch, cluster) = (self.launch_count(), self.lead());
        self.asked.push(Asked { pack, launch, cluster });
    }

    /// Emits all packs.
    pub(super) fn emit_packs(&mut self) {
        let asked = std::mem::take(&mut self.asked);
        if asked.is_empty() {
            return;
        }
        // Places beyond the scratch that clusters share.
        let placed = |groups: &[Group]| {
            let of_all = groups.iter().flat_map(|g| g.members.iter().map(move |m| (g.at, m)));
            let requests: Vec<Request> =
                of_all.map(|(at, m)| Request { bytes: asked[m.first].pack.bytes, live: (at, m.last) }).collect();
            assign(&requests, 256)
        };
        let mut groups = self.groups(&asked, self.tuning.is_apart());
        let (mut places, mut size) = placed(&groups);
        if size > self.plan.arena.max(LITTLE) {
            groups = self.groups(&asked, true);
            (places, size) = placed(&groups);
        }
        let base = self.reserve(size);
        let mut place = places.into_iter().map(|at| Arg::Scratch(base + at));
        let mut moved: BTreeMap<usize, Vec<(Arg, Arg)>> = BTreeMap::new();
        let mut made: Vec<(usize, Launch)> = vec![];
        for g in &groups {
            self.cluster = g.cluster;
            let to: Vec<Arg> = place.by_ref().take(g.members.len()).collect();
            for (m, &to) in g.members.iter().zip(&to) {
                m.uses.iter().for_each(|&(cluster, from)| moved.entry(cluster).or_default().push((from, to)));
            }
            let packs: Vec<(&Pack, Arg)> =
                g.members.iter().zip(&to).map(|(m, &to)| (&asked[m.first].pack, to)).collect();
            made.push((g.at, self.pack_launch(&packs)));
        }
        let old = self.take_launches();
        let mut made = made.into_iter().peekable();
        for (i, mut launch) in old.into_iter().enumerate() {
            while let Some((_, first)) = made.next_if(|m| m.0 <= i) {
                self.push_launch(first);
            }
            for (from, to) in moved.get(&launch.cluster).into_iter().flatten() {
                launch.args.iter_mut().filter(|a| *a == from).for_each(|a| *a = *to);
            }
            self.push_launch(launch);
        }
    }

    /// The launches of packs, by the launch that each precedes; `apart`: each product's for itself.
    fn groups(&self, asked: &[Asked], apart: bool) -> Vec<Group> {
        let clusters = &self.plan.clusters.clusters;
        let mut writer: BTreeMap<NodeId, usize> = BTreeMap::new();
        for (i, c) in clusters.iter().enumerate() {
            writer.extend(c.writes.iter().map(|&n| (n, i)));
        }
        // The launches of each cluster: its first, and one past its last.
        let mut spans: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        for (i, l) in self.launches().iter().enumerate() {
            spans.entry(l.cluster).or_insert((i, i)).1 = i + 1;
        }
        // Clusters that share another's launches have none of their own: those of the cluster after are later.
        let after = |cluster: usize| spans.range(cluster + 1..).next().map_or(self.launch_count(), |s| s.1.0);
        let mut all: Vec<Same> = vec![];
        let mut known: BTreeMap<(&str, &[Arg], usize), usize> = BTreeMap::new();
        for (i, a) in asked.iter().enumerate() {
            let last = spans.get(&a.cluster).map_or(a.launch, |s| s.1 - 1);
            let key = (a.pack.text.as_str(), &a.pack.args[1..], if apart { a.cluster } else { 0 });
            let same = *known.entry(key).or_insert_with(|| {
                let source = |arg: &Arg| match arg {
                    Arg::Node(n) if is_leaf(&self.graph.node(*n).op) => 0,
                    Arg::Node(n) => writer.get(n).map_or(a.launch, |&c| after(c)),
                    Arg::Scratch(_) | Arg::U32(_) => a.launch,
                };
                let ready = key.1.iter().map(source).max().unwrap_or(0).min(a.launch);
                let ready = if apart || a.pack.bytes > FAR_BYTES { a.launch } else { ready };
                all.push(Same { first: i, uses: vec![], ready, due: a.launch, last });
                all.len() - 1
            });
            all[same].last = all[same].last.max(last);
            all[same].uses.push((a.cluster, a.pack.args[0]));
        }
        let mut groups: Vec<Group> = vec![];
        for same in all {
            let pack = &asked[same.first].pack;
            let (bytes, pointers) = (pack.bytes, pack.args.len());
            let joins = |g: &&mut Group| {
                (!apart || g.cluster == asked[same.first].cluster)
                    && same.ready <= g.at
                    && g.at <= same.due
                    && g.members.len() < MOST
                    && g.bytes + bytes <= MOST_BYTES
                    && g.pointers + pointers <= MOST_POINTERS
            };
            match groups.iter_mut().rev().find(joins) {
                Some(g) => {
                    g.bytes += bytes;
                    g.pointers += pointers;
                    g.members.push(same);
                }
                None => {
                    let cluster = asked[same.first].cluster;
                    groups.push(Group { at: same.due, cluster, bytes, pointers, members: vec![same] });
                }
            }
        }
        groups
    }

    /// One launch: a range of blocks for each pack.
    fn pack_launch(&mut self, packs: &[(&Pack, Arg)]) -> Launch {
        let mut bodies: Vec<&str> = vec![];
        let (mut text, mut parameters, mut args) = (String::new(), vec![], vec![]);
        let (mut code, mut blocks) = (String::new(), 0);
        for (k, &(pack, to)) in packs.iter().enumerate() {
            let own = bodies.iter().position(|b| *b == pack.text).unwrap_or_else(|| {
                bodies.push(&pack.text);
                text.push_str(&pack.text.replace(NAME, &format!("{NAME}_{}", bodies.len() - 1)));
                bodies.len() - 1
            });
            let mut given = String::new();
            for (ty, arg) in pack.types.iter().zip(std::iter::once(&to).chain(&pack.args[1..])) {
                let _ = write!(given, ", p{}", args.len());
                parameters.push(format!("{ty} p{}", args.len()));
                args.push(*arg);
            }
            let end = blocks + pack.units.div_ceil(THREADS);
            let unit = format!("(int)(blockIdx.x - {blocks}u) * {THREADS} + (int)threadIdx.x");
            let when = if k + 1 < packs.len() { format!("if (blockIdx.x < {end}u) ") } else { String::new() };
            let or = if k > 0 { "else " } else { "" };
            let _ = writeln!(code, "  {or}{when}{NAME}_{own}_pack({unit}{given});");
            blocks = end;
        }
        let _ = write!(
            text,
            "extern \"C\" __global__ void __launch_bounds__({THREADS}) {NAME}(\n    {}) {{\n  ganc_begin();\n{code}}}\n",
            parameters.join(",\n    ")
        );
        let kernel = self.kernel("pack", text, &parameters);
        Launch {
            kernel,
            cluster: self.cluster,
            grid: [blocks as u32, 1, 1],
            block: [THREADS as u32, 1, 1],
            shared: 0,
            args,
            stages: 1,
        }
    }
}
