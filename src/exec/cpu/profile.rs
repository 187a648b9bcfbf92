//! Where time goes, and where the first NaN was born.

use super::{CpuExecutor, Program};
use crate::exec::ExecError;
use crate::fuse::{Kind, base};
use crate::graph::{Graph, NodeId, Op};
use std::fmt;

/// One launch of a program, over all runs so far.
#[derive(Clone, Debug)]
pub struct Line {
    /// Kind of its cluster.
    pub kind: Kind,
    /// Layer path and order of gradient.
    pub label: String,
    /// Mean time in nanoseconds.
    pub nanos: f64,
    /// Least time in nanoseconds: what it takes when nothing else disturbs.
    pub least: f64,
    /// Arithmetic operations of a run.
    pub flops: u64,
    /// Bytes that a run has to move at least.
    pub bytes: u64,
}

/// Time, arithmetic and traffic of each launch.
#[derive(Clone, Debug)]
pub struct Profile {
    /// In launch order.
    pub lines: Vec<Line>,
    /// Number of runs.
    pub runs: u64,
}

impl Program {
    /// What was measured; empty times unless the executor profiles.
    pub fn profile(&self) -> Profile {
        let runs = self.runs.max(1);
        let line = |(l, &(spent, least)): (&super::program::Launch, &(u64, u64))| Line {
            kind: l.kind,
            label: l.label.clone(),
            nanos: spent as f64 / runs as f64,
            least: if least == u64::MAX { 0.0 } else { least as f64 },
            flops: l.cost.flops,
            bytes: l.cost.bytes,
        };
        Profile { lines: self.launches.iter().zip(&self.spent).map(line).collect(), runs: self.runs }
    }

    /// Forgets what was measured.
    pub fn reset_profile(&mut self) {
        self.spent.fill((0, u64::MAX));
        self.runs = 0;
    }

    /// Bytes of memory that runs need: arena, constants, persistent tensors, scratch.
    pub fn memory(&self) -> usize {
        let scratch = self.operand_words + self.shared_words + self.scratch_words;
        self.plan.arena + self.plan.constant + self.plan.persistent + 4 * scratch
    }

    /// Number of launches.
    pub fn launch_count(&self) -> usize {
        self.launches.len()
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: f64 = self.lines.iter().map(|l| l.least).sum();
        let mean: f64 = self.lines.iter().map(|l| l.nanos).sum();
        writeln!(f, "{:>10} {:>6} {:>10} {:>9} {:>8}  cluster", "least", "share", "mean", "GFLOP/s", "GB/s")?;
        let mut lines: Vec<(usize, &Line)> = self.lines.iter().enumerate().collect();
        lines.sort_by(|a, b| b.1.least.total_cmp(&a.1.least).then(a.0.cmp(&b.0)));
        for (i, l) in lines {
            let per = |x: u64| if l.least > 0.0 { x as f64 / l.least } else { 0.0 };
            let kind = format!("{:?}", l.kind).to_lowercase();
            writeln!(
                f,
                "{:>8.1}us {:>5.1}% {:>8.1}us {:>9.1} {:>8.1}  #{i} {kind} {}",
                l.least / 1e3,
                100.0 * l.least / total.max(1.0),
                l.nanos / 1e3,
                per(l.flops),
                per(l.bytes),
                l.label
            )?;
        }
        writeln!(f, "{:>8.1}us in all, {:.1}us in the mean of {} runs", total / 1e3, mean / 1e3, self.runs)
    }
}

/// Whether a node may hold infinities on purpose: padding before a maximum.
fn allowed(op: &Op) -> bool {
    match op {
        Op::Pad { value, .. } => !value.0.is_finite(),
        Op::Unfold(w) => !w.value.0.is_finite(),
        _ => false,
    }
}

fn describe(g: &Graph, n: NodeId) -> String {
    let (node, origin) = (g.node(n), g.origin(n));
    let op = match &node.op {
        Op::Input(name) => format!("input {name}"),
        Op::Param(name) => format!("parameter {name}"),
        Op::State(name) => format!("state {name}"),
        Op::Unary(f) => format!("{f:?}").to_lowercase(),
        Op::Binary(f) => format!("{f:?}").to_lowercase(),
        other => {
            let all = format!("{other:?}");
            let name: String = all.chars().take_while(char::is_ascii_alphanumeric).collect();
            let mut snake = String::new();
            for (i, c) in name.char_indices() {
                if c.is_ascii_uppercase() && i > 0 {
                    snake.push('_');
                }
                snake.push(c.to_ascii_lowercase());
            }
            snake
        }
    };
    let path: &str = if origin.path.is_empty() { "outside layers" } else { &origin.path };
    let order = match origin.order {
        0 => String::new(),
        k => format!("gradient of order {k}, "),
    };
    format!("{path} ({op}, {order}{})", node.ty)
}

/// Runs a bound, unfused program and looks at each result.
pub(super) fn locate(exec: &mut CpuExecutor, mut p: Program) -> Result<Option<String>, ExecError> {
    let mut bad: Vec<bool> = vec![false; p.graph.nodes().len()];
    let finite = |words: &[u32]| words.iter().all(|&w| f32::from_bits(w).is_finite());
    let mut leaf = None;
    for (n, place) in &p.plan.places {
        let is_leaf = crate::fuse::is_leaf(&p.graph.node(*n).op);
        if !is_leaf || !p.graph.ty(*n).dtype.is_float() {
            continue;
        }
        let spot = match place {
            crate::plan::Place::Persistent(name) => {
                exec.names.get(&**name).map(|&i| exec.tensors[i].words.as_slice())
            }
            _ => None,
        };
        if spot.is_some_and(|w| !finite(w)) {
            bad[n.index()] = true;
            leaf.get_or_insert(*n);
        }
    }
    let mut found = None;
    exec.launch(&mut p, |i, p, table| {
        let g = &p.graph;
        for &n in &p.launches[i].writes {
            let node = g.node(n);
            if !node.ty.dtype.is_float() || allowed(&node.op) {
                continue;
            }
            let from_bad = node.args.iter().any(|a| bad[base(g, *a).index()]);
            let at = p.buf_of(n);
            // SAFETY: the launch has just written this many words there.
            let words = unsafe { std::slice::from_raw_parts(table[at as usize], node.ty.elements()) };
            if !finite(words) {
                bad[n.index()] = true;
                if !from_bad {
                    found = Some(describe(g, n));
                    return false;
                }
            }
        }
        true
    });
    Ok(found.or_else(|| leaf.map(|n| describe(&p.graph, n))))
}
