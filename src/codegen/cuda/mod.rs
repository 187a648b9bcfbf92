//! Plans to CUDA C.
//!
//! Always holds of a [`Module`]: the text is the same for the same plan and target, needs no header, and every kernel
//! that a launch names is in it; launches run in order on one stream, each kernel waiting by itself for the one before
//! it (`ganc_begin`); what a launch reads was written by an earlier one, an upload, the run before, or by the same block
//! where it does several clusters one after the other (`shared.rs`). Addresses that a launch passes are divisible by 16.

pub mod body;
pub mod contract;
pub mod emit;
pub mod held;
pub mod ir;
mod map;
mod nest;
mod packs;
pub mod print;
mod product;
mod reduce;
mod room;
mod rows;
mod shared;
mod show;
mod tails;
#[cfg(test)]
mod tests;
pub mod verify;

use crate::fuse::{Sink, Work};
use crate::graph::{DType, Graph, NodeId};
use crate::plan::{Plan, PlanOptions};
use contract::tiles::Choice;
use contract::tuning::{Shape, Tuning};
use emit::Emit;

/// What the text of every kernel may use; it stands before all of them.
pub const PRELUDE: &str = include_str!("prelude.cuh");

/// Begins the line before each kernel of a text, which ends in the kernel's name; what it needs comes before, what
/// belongs to it follows.
pub const KERNEL: &str = "\n// kernel ";

/// How plans for these programs are made.
pub const PLAN: PlanOptions =
    PlanOptions { bytes: DType::bytes, align: 256, in_place: true, follow: true, share: true };

/// Instruction set that the text is generated for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// Ampere and later: `mma.sync`, `cp.async`.
    Sm80,
    /// Hopper's own instructions besides: `wgmma`, bulk copies.
    Sm90a,
    /// Blackwell: the text of [`Arch::Sm80`], compiled for sm_100a.
    Sm100a,
}

/// What a launch passes to its kernel, in the order of the kernel's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arg {
    /// Address of a stored node (its place in the plan).
    Node(NodeId),
    /// Address of this byte of the workspace, which begins with the arena.
    Scratch(usize),
    /// A number.
    U32(u32),
}

/// One kernel launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Name of an `extern "C"` kernel of the text.
    pub kernel: String,
    /// Index of the cluster in the plan that it works for.
    pub cluster: usize,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    /// Arguments.
    pub args: Vec<Arg>,
    /// Clusters that a block does one after the other, at most.
    pub stages: usize,
}

/// How a cluster's product is cut into tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Index of the cluster in the plan.
    pub cluster: usize,
    /// What is computed.
    pub shape: Shape,
    /// By which tile, in how many parts.
    pub choice: Choice,
}

/// All that a runtime needs beside the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// CUDA C++ for NVRTC.
    pub text: String,
    /// In order.
    pub launches: Vec<Launch>,
    /// Bytes of the workspace (256-byte aligned) that launches share: the plan's arena, and what they need beyond it.
    pub workspace: usize,
    /// Products that are cut into tiles.
    pub products: Vec<Cut>,
}

/// The text and launches of a plan; `graph` is the one (after layout) that the plan was made of.
pub fn generate(graph: &Graph, plan: &Plan, arch: Arch) -> Module {
    generate_tuned(graph, plan, arch, &Tuning::default())
}

/// As [`generate`], with tiles that were measured.
pub fn generate_tuned(graph: &Graph, plan: &Plan, arch: Arch, tuning: &Tuning) -> Module {
    let mut emit = Emit::new(graph, plan, arch, tuning);
    let clusters = plan.clusters.clusters.len();
    // Each launch is for one cluster where products are measured.
    let mut groups = plan.groups.iter().filter(|_| !tuning.is_apart()).peekable();
    let mut i = 0;
    while i < clusters {
        if let Some(group) = groups.next_if(|g| g.first == i) {
            shared::group(&mut emit, group);
            i += group.count;
            continue;
        }
        let end = groups.peek().map_or(clusters, |g| g.first);
        let count = map::independent(&emit, i, end);
        if plan.followed.contains(&i) && followed(&mut emit, i) {
            i += 2;
        } else if count > 1 {
            map::together(&mut emit, &(i..i + count).collect::<Vec<_>>());
            i += count;
        } else {
            one(&mut emit, i);
            i += 1;
        }
    }
    emit.settle();
    emit.emit_packs();
    emit.close_tails();
    emit.finish()
}

/// The launches of a cluster with reductions and the map that follows them; false, and nothing done, if they cannot be
/// one.
fn followed(emit: &mut Emit, i: usize) -> bool {
    let Some(then) = map::follower(emit, i) else { return false };
    emit.begin(i);
    match &emit.plan.clusters.clusters[i].work {
        Work::Loops(body) => {
            map::prefill(emit, body);
            reduce::reduce(emit, &map::simplified(body), Some(&then), &|_| None);
            true
        }
        Work::Contract { node, product, lhs, rhs, epilogue } => {
            let job = product::Job { node: *node, product, lhs, rhs, epilogue: epilogue.as_ref() };
            product::followed(emit, &job, &then)
        }
        Work::Gather { .. } | Work::Scatter { .. } | Work::Fold { .. } => false,
    }
}

/// The launches of a cluster.
fn one(emit: &mut Emit, i: usize) {
    emit.begin(i);
    match &emit.plan.clusters.clusters[i].work {
        Work::Loops(body) => {
            map::prefill(emit, body);
            let body = map::simplified(body);
            if body.sinks.iter().any(|s| matches!(s, Sink::Reduce { .. })) {
                reduce::reduce(emit, &body, None, &|_| None);
            } else {
                let all: Vec<usize> = (0..body.sinks.len()).collect();
                map::nest(emit, "map", &body, &all, &|_| None);
            }
        }
        Work::Contract { node, product, lhs, rhs, epilogue } => {
            let job = product::Job { node: *node, product, lhs, rhs, epilogue: epilogue.as_ref() };
            product::product(emit, &job);
        }
        Work::Gather { node, args } => rows::gather(emit, *node, *args),
        Work::Scatter { node, args } => rows::scatter(emit, *node, *args),
        Work::Fold { node, arg, window } => rows::fold(emit, *node, *arg, window),
    }
}
