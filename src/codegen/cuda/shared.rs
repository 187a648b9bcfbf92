//! Launches that several clusters share: each strand of a group has blocks of its own, and a block of a chain does its
//! rows of one cluster after the other, with a barrier between them.
//!
//! Every kernel can be a [stage](super::emit::Stage): a device function of a block's number. What a stage writes is read
//! by later stages of the same block only, so that a barrier of the block is enough.

use super::contract::{self, tiles};
use super::emit::{Emit, NAME, SHARED_THREADS, Stage, identifier};
use super::product::Job;
use super::{Arg, Launch};
use crate::fuse::{Cluster, Work, label};
use crate::plan::group::{Group, LONGEST, Strand};
use std::fmt::Write;

/// Pointers of a launch: parameters may have 4096 bytes.
const MOST_POINTERS: usize = 400;
/// Stages of a kernel.
const MOST_STAGES: usize = LONGEST;
/// Counters of each sort; as in the prelude.
const COUNTERS: usize = 1024;

/// What neighbouring blocks of a launch do, stage by stage.
struct Part {
    blocks: usize,
    stages: Vec<Stage>,
}

/// What stages take of a kernel.
#[derive(Clone, Copy, Default)]
struct Load {
    stages: usize,
    pointers: usize,
    counters: usize,
}

impl Load {
    fn of<'a>(stages: impl IntoIterator<Item = &'a Stage>) -> Self {
        let one = |l: Self, s: &Stage| l.plus(Self { stages: 1, pointers: s.args.len(), counters: s.counters });
        stages.into_iter().fold(Self::default(), one)
    }

    fn plus(self, other: Self) -> Self {
        Self {
            stages: self.stages + other.stages,
            pointers: self.pointers + other.pointers,
            counters: self.counters + other.counters,
        }
    }

    fn fits(self) -> bool {
        self.stages <= MOST_STAGES && self.pointers <= MOST_POINTERS && self.counters <= COUNTERS
    }
}

/// The launches of a group.
pub(super) fn group(emit: &mut Emit, group: &Group) {
    emit.capture(group.first, group.count);
    // What one launch each could do: those of a strand wait for each other.
    let mut rounds: Vec<Vec<Part>> = vec![];
    let mut add = |round: usize, part: Part| {
        if rounds.len() <= round {
            rounds.resize_with(round + 1, Vec::new);
        }
        rounds[round].push(part);
    };
    let mut maps: Vec<usize> = vec![];
    for strand in &group.strands {
        let parts = match (strand.rows, strand.clusters.as_slice()) {
            (Some(rows), _) => chain(emit, strand, rows),
            (None, &[one]) if super::map::is_plain(&emit.plan.clusters.clusters[one].work) => {
                maps.push(one);
                continue;
            }
            (None, clusters) => apart(emit, clusters),
        };
        parts.into_iter().enumerate().for_each(|(round, part)| add(round, part));
    }
    super::map::together(emit, &maps);
    alone(emit).into_iter().for_each(|part| add(0, part));
    emit.release();
    for round in rounds {
        launch(emit, group.first, round);
    }
}

/// The stages since the last call as parts of their own.
fn alone(emit: &mut Emit) -> Vec<Part> {
    let part = |stage: Stage| Part { blocks: stage.blocks, stages: vec![stage] };
    emit.stages(None).into_iter().map(part).collect()
}

/// The parts of a cluster, or of a reduction and the map that follows it; each waits for the one before.
fn apart(emit: &mut Emit, clusters: &[usize]) -> Vec<Part> {
    if clusters.len() != 2 || !super::followed(emit, clusters[0]) {
        clusters.iter().for_each(|&i| super::one(emit, i));
    }
    alone(emit)
}

/// The parts of a chain, each of which waits for the one before: several if a cluster has no kernel that goes by rows, or
/// one kernel cannot take them all.
fn chain(emit: &mut Emit, strand: &Strand, rows: usize) -> Vec<Part> {
    let clusters = &emit.plan.clusters.clusters;
    let least = strand.clusters.iter().filter_map(|&i| contract::math_of(emit.graph, &clusters[i].work));
    let each = least.map(tiles::least_rows).max().unwrap_or(16);
    let blocks = rows.div_ceil(each);
    let mut parts: Vec<Part> = vec![];
    let mut stages: Vec<Stage> = vec![];
    let full = |stages: &mut Vec<Stage>| {
        let stages = std::mem::take(stages);
        (!stages.is_empty()).then_some(Part { blocks, stages })
    };
    for &i in &strand.clusters {
        let packs = emit.asked.len();
        emit.stages(Some(each));
        emit.begin(i);
        by_rows(emit, &clusters[i], each);
        let mut made = emit.stages(None);
        // Each block has its rows, in one tile or several side by side.
        let fits = |s: &Stage| s.threads == SHARED_THREADS && s.blocks.is_multiple_of(blocks);
        match (made.pop(), made.is_empty()) {
            (Some(stage), true) if fits(&stage) => {
                if !Load::of(stages.iter().chain([&stage])).fits() {
                    parts.extend(full(&mut stages));
                }
                stages.push(stage);
            }
            _ => {
                emit.asked.truncate(packs);
                parts.extend(full(&mut stages));
                parts.extend(apart(emit, &[i]));
            }
        }
    }
    parts.extend(full(&mut stages));
    parts
}

/// The stage of a cluster in a chain whose blocks have `rows` rows; none if there is no such kernel.
fn by_rows(emit: &mut Emit, cluster: &Cluster, rows: usize) {
    match &cluster.work {
        Work::Loops(body) => super::map::rows_nest(emit, body, rows),
        Work::Contract { node, product, lhs, rhs, epilogue } => {
            let job = Job { node: *node, product, lhs, rhs, epilogue: epilogue.as_ref() };
            super::product::whole(emit, &job);
        }
        Work::Gather { .. } | Work::Scatter { .. } | Work::Fold { .. } => {}
    }
}

/// The launches of parts that know nothing of each other.
fn launch(emit: &mut Emit, lead: usize, mut parts: Vec<Part>) {
    // What takes longest begins first.
    parts.sort_by_key(|p| std::cmp::Reverse(p.stages.len()));
    let mut kernels: Vec<Vec<Part>> = vec![];
    for part in parts {
        let fits = |k: &&mut Vec<Part>| {
            let all = Load::of(k.iter().chain([&part]).flat_map(|p| &p.stages));
            k[0].stages[0].threads == part.stages[0].threads && all.fits()
        };
        match kernels.iter_mut().find(fits) {
            Some(k) => k.push(part),
            None => kernels.push(vec![part]),
        }
    }
    for parts in kernels {
        one(emit, lead, &parts);
    }
}

/// One launch.
fn one(emit: &mut Emit, lead: usize, parts: &[Part]) {
    let mut bodies: Vec<&str> = vec![];
    let (mut text, mut code) = (String::new(), String::new());
    let mut parameters: Vec<(String, Arg)> = vec![];
    let (mut end, mut counters) = (0, 0);
    for (k, part) in parts.iter().enumerate() {
        let block = if end == 0 { "block".to_string() } else { format!("block - {end}") };
        end += part.blocks;
        let when = if k + 1 < parts.len() { format!("if (block < {end}) ") } else { String::new() };
        let _ = writeln!(code, "  {}{when}{{", if k > 0 { "} else " } else { "" });
        for (i, stage) in part.stages.iter().enumerate() {
            let own = bodies.iter().position(|b| *b == stage.text).unwrap_or_else(|| {
                bodies.push(&stage.text);
                text.push_str(&stage.text.replace(NAME, &format!("{NAME}_s{}", bodies.len() - 1)));
                bodies.len() - 1
            });
            let mut given = format!("ganc_counts + {counters}");
            counters += stage.counters;
            for pointer in stage.types.iter().cloned().zip(stage.args.iter().copied()) {
                let at = parameters.iter().position(|p| *p == pointer).unwrap_or(parameters.len());
                if at == parameters.len() {
                    parameters.push(pointer);
                }
                let _ = write!(given, ", p{at}");
            }
            if i > 0 {
                code.push_str("    __syncthreads();\n");
            }
            let layer = identifier(&label(emit.graph, &emit.plan.clusters.clusters[stage.cluster]));
            let _ = writeln!(code, "    // {layer}");
            let across = stage.blocks / part.blocks;
            if across == 1 {
                let _ = writeln!(code, "    {NAME}_s{own}({block}, {given});");
                continue;
            }
            let _ = writeln!(code, "    for (int i = 0; i < {across}; ++i) {{\n      if (i > 0) __syncthreads();");
            let _ = writeln!(code, "      {NAME}_s{own}(({block}) * {across} + i, {given});\n    }}");
        }
    }
    let _ = writeln!(code, "  }}");
    // Bounds a thread's registers: a product among other work needs more than it does alone.
    let multiplies = |s: &Stage| matches!(emit.plan.clusters.clusters[s.cluster].work, Work::Contract { .. });
    let least = if parts.iter().flat_map(|p| &p.stages).any(multiplies) { 1 } else { 2 };
    let threads = parts[0].stages[0].threads;
    let declared: Vec<String> = parameters.iter().enumerate().map(|(i, p)| format!("{} p{i}", p.0)).collect();
    let _ = write!(
        text,
        "extern \"C\" __global__ void __launch_bounds__({threads}, {least}) {NAME}(\n    {}) {{\n  ganc_begin();\n  \
         const int block = blockIdx.x;\n{code}}}\n",
        declared.join(",\n    ")
    );
    let stages = parts.iter().map(|p| p.stages.len()).max().unwrap_or(1);
    let what = if stages > 1 { "chain" } else { "shared" };
    emit.begin(lead);
    let kernel = emit.kernel(what, text, &[]);
    let shared = parts.iter().flat_map(|p| &p.stages).map(|s| s.shared).max().unwrap_or(0);
    let args = parameters.into_iter().map(|p| p.1).collect();
    emit.push_launch(Launch {
        kernel,
        cluster: lead,
        grid: [end as u32, 1, 1],
        block: [threads as u32, 1, 1],
        shared: shared as u32,
        args,
        stages,
    });
}
