//! Launches that several clusters share: each strand of a group has blocks of its own, and a block of a chain does its
//! rows of one cluster after the other, with a barrier between them. Strands that are alike (twins) have one code, in which
//! a block chooses its tensors.
//!
//! Every kernel can be a [stage](super::emit::Stage): a device function of a block's number. What a stage writes is read
//! by later stages of the same block only, so that a barrier of the block is enough.

use super::contract::{self, tiles};
use super::emit::{Emit, NAME, SHARED_THREADS, Stage, identifier};
use super::product::Job;
use super::{Arg, Launch};
use crate::fuse::{Cluster, Work, label};
use crate::plan::group::{Alike, Group, LONGEST, Strand};
use std::fmt::Write;

/// Pointers of a launch: parameters may have 4096 bytes.
const MOST_POINTERS: usize = 400;
/// Stages of a kernel.
const MOST_STAGES: usize = LONGEST;
/// Counters of each sort; as in the prelude.
const COUNTERS: usize = 1024;

/// What neighbouring blocks of a launch do, stage by stage.
#[derive(Clone)]
struct Part {
    blocks: usize,
    stages: Vec<Stage>,
}

impl Part {
    fn threads(&self) -> usize {
        self.stages[0].threads
    }

    /// Whether it is one stage, and the same as another one but for its tensors.
    fn is_like(&self, other: &Part) -> bool {
        match (self.stages.as_slice(), other.stages.as_slice()) {
            ([a], [b]) if self.blocks == other.blocks => {
                let same = |a: &Stage| (a.blocks, a.threads, a.shared, a.least, a.counters);
                same(a) == same(b) && a.types == b.types && a.text == b.text
            }
            _ => false,
        }
    }
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

    fn times(self, n: usize) -> Self {
        Self { stages: self.stages * n, pointers: self.pointers * n, counters: self.counters * n }
    }

    fn fits(self) -> bool {
        self.stages <= MOST_STAGES && self.pointers <= MOST_POINTERS && self.counters <= COUNTERS
    }
}

/// The launches of a group.
pub(super) fn group(emit: &mut Emit, group: &Group) {
    emit.capture(group.first, group.count, group.twins.map(|t| t.usual));
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
            (None, &[one])
                if group.twins.is_none() && super::map::is_plain(&emit.plan.clusters.clusters[one].work) =>
            {
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
        launch(emit, group, round);
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
fn launch(emit: &mut Emit, group: &Group, mut parts: Vec<Part>) {
    // What takes longest begins first; what is alike comes together.
    parts.sort_by_key(|p| std::cmp::Reverse(p.stages.len()));
    let mut kernels: Vec<Vec<Part>> = vec![];
    for part in parts {
        let fits = |k: &&mut Vec<Part>| {
            let all = Load::of(k.iter().chain([&part]).flat_map(|p| &p.stages));
            // Twins have the bounds that they have alone.
            match group.twins {
                Some(_) => k[0].is_like(&part),
                None => k[0].threads() == part.threads() && all.fits(),
            }
        };
        match kernels.iter_mut().find(fits) {
            Some(k) => {
                let at = k.iter().rposition(|p| p.is_like(&part)).map_or(k.len(), |i| i + 1);
                k.insert(at, part);
            }
            None => kernels.push(vec![part]),
        }
    }
    for parts in kernels {
        match group.twins {
            None => one(emit, group, &parts, parts.len()),
            Some(alike) => twins(emit, group, parts, alike),
        }
    }
}

/// Launches of parts that are alike, by a kernel that has room for the most of them: one text for all groups of their
/// kind, however many parts they have.
fn twins(emit: &mut Emit, group: &Group, mut parts: Vec<Part>, alike: Alike) {
    let each = Load::of(&parts[0].stages);
    let most = (1..=alike.most).rev().find(|&n| each.times(n).fits()).unwrap_or(1);
    while !parts.is_empty() {
        let rest = parts.split_off(most.min(parts.len()));
        let count = parts.len();
        // What nobody has blocks for.
        let spare = parts[0].clone();
        parts.resize(most, spare);
        one(emit, group, &parts, count);
        parts = rest;
    }
}

/// Parameters of a kernel.
struct Parameters {
    list: Vec<(String, Arg)>,
    /// Whether the same pointer is one parameter, however often it is used.
    once: bool,
}

impl Parameters {
    /// The number of a pointer.
    fn number(&mut self, pointer: (String, Arg)) -> usize {
        let at = self.list.iter().position(|p| self.once && *p == pointer);
        at.unwrap_or_else(|| {
            self.list.push(pointer);
            self.list.len() - 1
        })
    }

    /// What stands for each pointer of stages that are alike, of which `twin` is the number of one.
    fn given(&mut self, stages: &[&Stage]) -> String {
        let mut text = String::new();
        for (k, ty) in stages[0].types.iter().enumerate() {
            let numbers: Vec<usize> = stages.iter().map(|s| self.number((ty.clone(), s.args[k]))).collect();
            text.push_str(", ");
            match numbers.iter().all(|&n| n == numbers[0]) {
                true => {
                    let _ = write!(text, "p{}", numbers[0]);
                }
                false => {
                    let (last, others) = (numbers[numbers.len() - 1], &numbers[..numbers.len() - 1]);
                    others.iter().enumerate().for_each(|(twin, n)| {
                        let _ = write!(text, "twin == {twin} ? p{n} : ");
                    });
                    let _ = write!(text, "p{last}");
                }
            }
        }
        text
    }
}

/// One launch, of the first `count` of a kernel's parts.
fn one(emit: &mut Emit, group: &Group, parts: &[Part], count: usize) {
    let mut bodies: Vec<&str> = vec![];
    let (mut text, mut code) = (String::new(), String::new());
    // Which twins share a tensor is no matter of their kernel's text.
    let mut parameters = Parameters { list: vec![], once: group.twins.is_none() };
    let (mut end, mut counters) = (0, 0);
    let runs: Vec<&[Part]> = parts.chunk_by(|a, b| a.is_like(b)).collect();
    for (k, run) in runs.iter().enumerate() {
        let part = &run[0];
        let mut block = if end == 0 { "block".to_string() } else { format!("block - {end}") };
        end += run.len() * part.blocks;
        let when = if k + 1 < runs.len() { format!("if (block < {end}) ") } else { String::new() };
        let _ = writeln!(code, "  {}{when}{{", if k > 0 { "} else " } else { "" });
        if run.len() > 1 {
            let _ = writeln!(code, "    const int twin = ({block}) / {};", part.blocks);
            block = format!("({block}) % {}", part.blocks);
        }
        for (i, stage) in part.stages.iter().enumerate() {
            let own = bodies.iter().position(|b| *b == stage.text).unwrap_or_else(|| {
                bodies.push(&stage.text);
                text.push_str(&stage.text.replace(NAME, &format!("{NAME}_s{}", bodies.len() - 1)));
                bodies.len() - 1
            });
            let mut given = format!("ganc_counts + {counters}");
            if run.len() > 1 && stage.counters > 0 {
                let _ = write!(given, " + twin * {}", stage.counters);
            }
            counters += run.len() * stage.counters;
            let same: Vec<&Stage> = run.iter().map(|p| &p.stages[i]).collect();
            given.push_str(&parameters.given(&same));
            if i > 0 {
                code.push_str("    __syncthreads();\n");
            }
            // Twins of other layers may have the same kernel.
            for stage in same.iter().filter(|_| group.twins.is_none()) {
                let layer = identifier(&label(emit.graph, &emit.plan.clusters.clusters[stage.cluster]));
                let _ = writeln!(code, "    // {layer}");
            }
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
    let threads = parts[0].threads();
    // Bounds a thread's registers: a product among other work needs more than it does alone.
    let multiplies = |s: &Stage| matches!(emit.plan.clusters.clusters[s.cluster].work, Work::Contract { .. });
    let least = match parts.iter().flat_map(|p| &p.stages).any(multiplies) {
        _ if group.twins.is_some() => parts[0].stages[0].least,
        true => Some(1),
        false => Some(2),
    };
    let bounds = least.map_or(threads.to_string(), |least| format!("{threads}, {least}"));
    let declared: Vec<String> = parameters.list.iter().enumerate().map(|(i, p)| format!("{} p{i}", p.0)).collect();
    let _ = write!(
        text,
        "extern \"C\" __global__ void __launch_bounds__({bounds}) {NAME}(\n    {}) {{\n  ganc_begin();\n  \
         const int block = blockIdx.x;\n{code}}}\n",
        declared.join(",\n    ")
    );
    let stages = parts.iter().map(|p| p.stages.len()).max().unwrap_or(1);
    let what = match stages {
        1 if group.twins.is_some() => "twins",
        1 => "shared",
        _ => "chain",
    };
    emit.begin(group.first);
    let kernel = emit.kernel(what, text, &[]);
    let blocks: usize = parts[..count].iter().map(|p| p.blocks).sum();
    let shared = parts.iter().flat_map(|p| &p.stages).map(|s| s.shared).max().unwrap_or(0);
    let args = parameters.list.into_iter().map(|p| p.1).collect();
    emit.push_launch(Launch {
        kernel,
        cluster: group.first,
        grid: [blocks as u32, 1, 1],
        block: [threads as u32, 1, 1],
        shared: shared as u32,
        args,
        stages,
    });
}
