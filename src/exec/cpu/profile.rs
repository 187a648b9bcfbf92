//! Where time goes, and where the first NaN was born.

use super::{CpuExecutor, Program};
use crate::exec::ExecError;
use crate::exec::nonfinite::Search;
use crate::exec::profile::{Line, Profile};

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
            bound: None,
        };
        Profile {
            lines: self.launches.iter().zip(&self.spent).map(line).collect(),
            runs: self.runs,
            inputs: vec![],
        }
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

/// Runs a bound, unfused program and looks at each result.
pub(super) fn locate(exec: &mut CpuExecutor, mut p: Program) -> Result<Option<String>, ExecError> {
    let graph = p.graph.clone();
    let mut search = Search::new(&graph);
    let finite = |words: &[u32]| words.iter().all(|&w| f32::from_bits(w).is_finite());
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
        search.leaf(*n, spot.is_none_or(finite));
    }
    let mut found = None;
    exec.launch(&mut p, |i, p, table| {
        for &n in &p.launches[i].writes {
            if !search.wanted(n) {
                continue;
            }
            let at = p.buf_of(n);
            // SAFETY: the launch has just written this many words there.
            let words = unsafe { std::slice::from_raw_parts(table[at as usize], p.graph.ty(n).elements()) };
            found = search.written(n, finite(words));
            if found.is_some() {
                return false;
            }
        }
        true
    });
    Ok(found.or_else(|| search.end()))
}
