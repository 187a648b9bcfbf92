//! What kernels are gathered in while a plan is walked: texts, launches, scratch.

use super::contract::tiles::Choice;
use super::contract::tuning::{Shape, Tuning};
use super::ir::{Function, Kind, Var};
use super::packs::Asked;
use super::print::{parameters, print, print_stage};
use super::room::Need;
use super::tails::Tails;
use super::{Arch, Arg, Cut, KERNEL, Launch, Module, PLAN, PRELUDE, verify};
use crate::fuse::{Cluster, label};
use crate::graph::{Graph, NodeId};
use crate::plan::{Place, Plan};
use std::collections::{BTreeMap, BTreeSet};

/// Stands for a kernel's name in its text, until it has one.
pub const NAME: &str = "$NAME";

/// Threads of a block of a launch that several clusters share.
pub const SHARED_THREADS: usize = 256;

/// A kernel that is part of another one: a device function that does what one block would do.
#[derive(Clone)]
pub(super) struct Stage {
    /// Index of the cluster in the plan.
    pub cluster: usize,
    /// The text, in which [`NAME`] stands for the function's name.
    pub text: String,
    /// Types of its pointers, and what stands for them.
    pub types: Vec<String>,
    pub args: Vec<Arg>,
    /// Blocks that it would be launched with, their threads, and bytes of shared memory.
    pub blocks: usize,
    pub threads: usize,
    pub shared: usize,
    /// Blocks that must fit on a multiprocessor, if that was said.
    pub least: Option<usize>,
    /// Counters of each sort that it uses.
    pub counters: usize,
}

/// Where stages are collected.
struct Capture {
    /// The first cluster, to which the launches belong, and the last.
    lead: usize,
    last: usize,
    makes: BTreeSet<NodeId>,
    rows: Option<usize>,
    /// See [`Emit::twins`], if stages are what they would be alone.
    twins: Option<usize>,
    pending: Option<(String, Vec<String>)>,
    least: Option<usize>,
    counters: usize,
    stages: Vec<Stage>,
}

/// A module that is being made.
pub struct Emit<'a> {
    /// The graph (after layout) that the plan is of.
    pub graph: &'a Graph,
    /// The plan.
    pub plan: &'a Plan,
    /// What the text is for.
    pub arch: Arch,
    /// What is known of tiles.
    pub tuning: &'a Tuning,
    /// Index of the cluster that is worked on.
    pub cluster: usize,
    products: Vec<Cut>,
    pack_places: usize,
    names: BTreeMap<String, usize>,
    known: BTreeMap<String, String>,
    preludes: Vec<&'static str>,
    pub(super) texts: Vec<String>,
    pub(super) tails: Tails,
    launches: Vec<Launch>,
    /// Operands that are to be packed.
    pub(super) asked: Vec<Asked>,
    /// What becomes part of another kernel.
    capture: Option<Capture>,
    used: usize,
    /// What clusters need for themselves, by the one to which their launches belong.
    pub(super) needs: BTreeMap<usize, Need>,
    /// Bytes of the arena and of what does not fit into it.
    pub(super) workspace: usize,
}

impl<'a> Emit<'a> {
    pub(super) fn new(graph: &'a Graph, plan: &'a Plan, arch: Arch, tuning: &'a Tuning) -> Self {
        Self {
            graph,
            plan,
            arch,
            tuning,
            cluster: 0,
            products: vec![],
            pack_places: 0,
            names: BTreeMap::new(),
            known: BTreeMap::new(),
            preludes: vec![PRELUDE],
            texts: vec![],
            tails: Tails::default(),
            launches: vec![],
            asked: vec![],
            capture: None,
            used: 0,
            needs: BTreeMap::new(),
            workspace: plan.arena,
        }
    }

    /// Work on another cluster begins; scratch of the one before may be used again, unless they share a launch.
    pub(super) fn begin(&mut self, cluster: usize) {
        self.cluster = cluster;
        if self.capture.is_none() {
            self.used = 0;
        }
    }

    /// From now on kernels become stages of the launches of `count` clusters from `lead` on, to which they belong.
    /// `twins`: see [`Emit::twins`].
    pub(super) fn capture(&mut self, lead: usize, count: usize, twins: Option<usize>) {
        self.used = 0;
        let clusters = &self.plan.clusters.clusters[lead..lead + count];
        let makes = clusters.iter().flat_map(|c| c.writes.iter().copied()).collect();
        self.capture = Some(Capture {
            lead,
            last: lead + count - 1,
            makes,
            rows: None,
            twins,
            pending: None,
            least: None,
            counters: 0,
            stages: vec![],
        });
    }

    /// The stages since the last call; each block of those that follow does `rows` rows, or as it likes.
    pub(super) fn stages(&mut self, rows: Option<usize>) -> Vec<Stage> {
        let Some(c) = &mut self.capture else { return vec![] };
        c.rows = rows;
        std::mem::take(&mut c.stages)
    }

    /// Kernels are launched by themselves again.
    pub(super) fn release(&mut self) {
        if let Some(c) = self.capture.take() {
            self.cluster = c.lead;
        }
    }

    /// Whether kernels become stages.
    pub(super) fn stages_only(&self) -> bool {
        self.capture.is_some()
    }

    /// Whether they become stages of launches that do other work too, with as many threads.
    pub(super) fn shares(&self) -> bool {
        self.capture.as_ref().is_some_and(|c| c.twins.is_none())
    }

    /// How many times launches like the present ones do what they do as a rule, each time with other tensors; none if
    /// they are not such launches.
    pub(super) fn twins(&self) -> Option<usize> {
        self.capture.as_ref().and_then(|c| c.twins)
    }

    /// Whether a node is made by the clusters of the present launches: nothing can be done with it before them.
    pub(super) fn makes(&self, node: NodeId) -> bool {
        self.capture.as_ref().is_some_and(|c| c.makes.contains(&node))
    }

    /// Rows of each block of a stage.
    pub(super) fn rows(&self) -> Option<usize> {
        self.capture.as_ref().and_then(|c| c.rows)
    }

    /// The cluster to which the present launch belongs.
    pub(super) fn lead(&self) -> usize {
        self.capture.as_ref().map_or(self.cluster, |c| c.lead)
    }

    /// Words of a kernel's text for the number of its block, and for the counters of blocks.
    pub(super) fn words(&self) -> [&'static str; 2] {
        if self.stages_only() { ["stage_block", "stage_counts"] } else { ["blockIdx.x", "ganc_counts"] }
    }

    /// Threads of a block that would have `otherwise` by itself.
    pub(super) fn threads(&self, otherwise: usize) -> usize {
        if self.shares() { SHARED_THREADS } else { otherwise }
    }

    /// Notes how many of each sort of counters the next kernel uses.
    pub(super) fn counters(&mut self, count: usize) {
        if let Some(c) = &mut self.capture {
            c.counters = c.counters.max(count);
        }
    }

    /// Notes how many blocks of the next kernel must fit on a multiprocessor.
    pub(super) fn least(&mut self, blocks: usize) {
        if let Some(c) = &mut self.capture {
            c.least = Some(blocks);
        }
    }

    /// The cluster that is worked on.
    pub fn current(&self) -> &'a Cluster {
        &self.plan.clusters.clusters[self.cluster]
    }

    /// Adds a kernel, in whose text [`NAME`] stands for its name and begins the names of its device functions; equal
    /// texts become one kernel. The name is made of the cluster's layer path and `what`.
    ///
    /// While stages are collected the text is that of a stage, with `parameters` after [`super::print::STAGE`].
    pub fn kernel(&mut self, what: &str, text: String, parameters: &[String]) -> String {
        if let Some(c) = &mut self.capture {
            let ty = |p: &String| p.rsplit_once(' ').map_or("", |x| x.0).replace(" __restrict__", "");
            let text = if c.twins.is_some() { text } else { text.replace(" __restrict__", "") };
            c.pending = Some((text, parameters.iter().map(ty).collect()));
            return String::new();
        }
        if let Some(name) = self.known.get(&text) {
            return name.clone();
        }
        let stem = format!("{}_{what}", identifier(&label(self.graph, self.current())));
        let count = self.names.entry(stem.clone()).or_insert(0);
        *count += 1;
        let name = if *count == 1 { stem } else { format!("{stem}_{count}") };
        self.texts.push(format!("{KERNEL}{name}\n{}", text.replace(NAME, &name)));
        self.known.insert(text, name.clone());
        name
    }

    /// Adds a kernel of the IR, which bears the name [`NAME`], for a launch of `across` blocks along x.
    pub(super) fn function(&mut self, what: &str, f: &Function, across: usize) -> String {
        debug_assert_eq!(verify::verify(f), Ok(()));
        let text = if self.stages_only() { print_stage(f, across as u32) } else { print(f) };
        self.kernel(what, text, &parameters(f))
    }

    /// Text that kernels need before them, once.
    pub fn require(&mut self, prelude: &'static str) {
        if !self.preludes.contains(&prelude) {
            self.preludes.push(prelude);
        }
    }

    /// Stands for the place of a pack until all packs have one.
    pub fn pack_place(&mut self) -> Arg {
        self.pack_places += 1;
        Arg::Scratch(usize::MAX - self.pack_places)
    }

    /// Notes how the present cluster's product is cut.
    pub fn cut(&mut self, shape: Shape, choice: Choice) {
        self.products.push(Cut { cluster: self.cluster, shape, choice });
    }

    /// Adds a launch.
    pub fn launch(&mut self, kernel: String, grid: [u32; 3], threads: usize, shared: usize, args: Vec<Arg>) {
        let block = [threads as u32, 1, 1];
        if let Some(c) = &mut self.capture {
            let Some((text, types)) = c.pending.take() else { return };
            let (blocks, counters) = (grid.iter().map(|&n| n as usize).product(), std::mem::take(&mut c.counters));
            let (cluster, least) = (self.cluster, c.least.take());
            c.stages.push(Stage { cluster, text, types, args, blocks, threads, shared, least, counters });
            return;
        }
        self.launches.push(Launch {
            kernel,
            cluster: self.cluster,
            grid,
            block,
            shared: shared as u32,
            args,
            stages: 1,
        });
    }

    pub(super) fn launches(&self) -> &[Launch] {
        &self.launches
    }

    pub(super) fn launch_count(&self) -> usize {
        self.launches.len()
    }

    pub(super) fn take_launches(&mut self) -> Vec<Launch> {
        std::mem::take(&mut self.launches)
    }

    pub(super) fn push_launch(&mut self, launch: Launch) {
        self.launches.push(launch);
    }

    /// Room that no cluster uses, once all have theirs; its first byte.
    pub(super) fn reserve(&mut self, bytes: usize) -> usize {
        let at = self.workspace.next_multiple_of(PLAN.align);
        self.workspace = at + bytes;
        at
    }

    /// Room for the present cluster while it runs; its first byte within that, a multiple of what places are aligned to.
    pub fn scratch(&mut self, bytes: usize) -> usize {
        let at = self.used;
        self.used += bytes.next_multiple_of(PLAN.align);
        let (first, mut last) = (self.lead(), self.cluster);
        match &self.capture {
            Some(c) => last = c.last,
            // The map behind it may be done in the same launches.
            None if self.plan.followed.contains(&last) => last += 1,
            None => {}
        }
        let need = self.needs.entry(first).or_insert(Need { last, bytes: 0 });
        need.bytes = need.bytes.max(self.used);
        at
    }

    /// Whether two stored nodes lie in the same memory.
    pub(super) fn same_memory(&self, a: NodeId, b: NodeId) -> bool {
        match (self.plan.places.get(&a), self.plan.places.get(&b)) {
            (Some(Place::Persistent(x)), Some(Place::Persistent(y))) => x == y,
            (Some(Place::Arena { offset, bytes }), Some(Place::Arena { offset: other, bytes: more })) => {
                *offset < other + more && *other < offset + bytes
            }
            (Some(x), Some(y)) => x == y,
            (None, _) | (_, None) => false,
        }
    }

    pub(super) fn finish(self) -> Module {
        let text = self.preludes.concat() + &self.texts.concat();
        Module { text, launches: self.launches, workspace: self.workspace, products: self.products }
    }
}

/// A layer path as part of a C identifier: `G.up2.conv''` is `G_up2_conv_d2`.
pub(super) fn identifier(label: &str) -> String {
    let order = label.chars().rev().take_while(|&c| c == '\'').count();
    let path = label.trim_end_matches('\'');
    let mut name: String = path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(48).collect();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        name = format!("graph{}", if name.trim_matches('_').is_empty() { "" } else { &name });
    }
    if order > 0 { format!("{name}_d{order}") } else { name }
}

/// A kernel's parameters for tensors, and what a launch passes for them.
pub(super) struct Tensors {
    pub pointers: BTreeMap<NodeId, Var>,
    pub args: Vec<Arg>,
}

impl Tensors {
    /// Parameters for these tensors; `instead` gives what stands for a node that has no memory of its own.
    pub fn declare(
        emit: &Emit,
        f: &mut Function,
        reads: &[NodeId],
        writes: &[NodeId],
        instead: &dyn Fn(NodeId) -> Option<Arg>,
    ) -> Self {
        let mut t = Self { pointers: BTreeMap::new(), args: vec![] };
        let all = reads.iter().filter(|n| !writes.contains(n)).map(|&n| (n, false));
        let both: Vec<(NodeId, bool)> = all.chain(writes.iter().map(|&n| (n, true))).collect();
        for &(n, write) in &both {
            if t.pointers.contains_key(&n) {
                continue;
            }
            // What is updated in place is read and written by the same thread.
            let alone = !both.iter().any(|&(m, w)| m != n && (w || write) && emit.same_memory(n, m));
            let alone = alone && !(write && reads.contains(&n)) && !emit.shares();
            let kind = Kind::Pointer { dtype: emit.graph.ty(n).dtype, write, alone };
            let v = f.param(format!("p{}", t.args.len()), kind);
            t.pointers.insert(n, v);
            t.args.push(instead(n).unwrap_or(Arg::Node(n)));
        }
        t
    }
}

#[cfg(test)]
mod tests {
    use super::identifier;

    #[test]
    fn paths_become_identifiers() {
        let names = ["G.up2.conv''", "-", "-'", "D.a[1]", ""].map(identifier);
        assert_eq!(names, ["G_up2_conv_d2", "graph", "graph_d1", "D_a_1_", "graph"]);
    }
}
