//! Where time goes on a device, and where the first NaN was born.

use super::device::Event;
use super::program::{Places, Step};
use super::{CudaError, CudaExecutor, Program, convert, roofline};
use crate::codegen::cuda::contract::tiles::Choice;
use crate::codegen::cuda::contract::tuning::Shape;
use crate::codegen::cuda::{Arg, PLAN};
use crate::exec::nonfinite::Search;
use crate::exec::profile::{Line, Profile};
use crate::exec::{ExecError, Executor};
use crate::fuse::{is_leaf, label};
use crate::graph::{HostData, HostTensor, NodeId};
use crate::plan::{Place, cost};
use std::collections::BTreeMap;

/// Issues a bound program with an event between any two steps, and adds up the time of each cluster.
pub(super) fn timed(exec: &mut CudaExecutor, p: &mut Program) -> Result<(), CudaError> {
    while exec.clock.len() <= p.steps.len() {
        let event = exec.device.event()?;
        exec.clock.push(event);
    }
    let mark = |i: usize| exec.device.record(exec.clock[i], super::device::Queue::Work);
    mark(0)?;
    for (i, step) in p.steps.iter().enumerate() {
        exec.issue(step)?;
        mark(i + 1)?;
    }
    exec.device.synchronise()?;
    let between = |a: Event, b: Event| exec.device.elapsed(a, b);
    let mut now = vec![0.0f64; p.spent.len()];
    let mut gathers = vec![0.0f64; p.gathered.len()];
    for (i, step) in p.steps.iter().enumerate() {
        let took = || Ok::<f64, CudaError>(between(exec.clock[i], exec.clock[i + 1])? * 1e6);
        match step {
            Step::Launch { cluster, .. } => now[*cluster] += took()?,
            Step::Gather { input, .. } => gathers[*input] += took()?,
            Step::Copy { .. } => {}
        }
    }
    // The first run loads the kernels.
    if p.runs > 0 {
        for (total, t) in p.spent.iter_mut().zip(&now).chain(p.gathered.iter_mut().zip(&gathers)) {
            *total = (total.0 + t, total.1.min(*t));
        }
    }
    p.runs += 1;
    Ok(())
}

impl CudaExecutor {
    /// How each input of a program comes to the device, with the time of the kernel that makes it, if there is one and it
    /// was measured.
    pub fn tell_inputs(&self, p: &Program) -> Vec<String> {
        let one = |(i, least): (&super::program::Input, f64)| {
            let took = if least.is_finite() { format!(", {:.1}us", least / 1e3) } else { String::new() };
            self.held.tell(i) + &took
        };
        p.inputs.iter().zip(p.gathered.iter().map(|g| g.1)).map(one).collect()
    }
}

impl Program {
    /// What was measured, a line a cluster; empty times unless the executor profiles.
    pub fn profile(&self, device: &str) -> Profile {
        let runs = self.runs.saturating_sub(1).max(1);
        let known = roofline::named(device);
        let clusters = &self.plan.clusters.clusters;
        let with: Vec<usize> = (0..clusters.len()).map(|c| self.runs_with(c)).collect();
        let mut lines: BTreeMap<usize, Line> = BTreeMap::new();
        for (i, c) in clusters.iter().enumerate() {
            let cost = cost(&self.graph, &c.work, &c.reads, &c.writes, PLAN.bytes);
            let bound = known.map(|d| 1e9 * roofline::bound(&self.graph, c, cost, d));
            let at = with[i];
            let line = lines.entry(at).or_insert_with(|| {
                let first = &clusters[at];
                let (total, least) = self.spent[at];
                Line {
                    kind: first.kind,
                    label: label(&self.graph, first),
                    nanos: total / runs as f64,
                    least: if least.is_finite() { least } else { 0.0 },
                    flops: 0,
                    bytes: 0,
                    bound: known.map(|_| 0.0),
                }
            });
            line.flops += cost.flops;
            line.bytes += cost.bytes;
            line.bound = line.bound.zip(bound).map(|(a, b)| a + b);
        }
        for (i, line) in &mut lines {
            let launches = self.module.launches.iter().filter(|l| l.cluster == *i).count();
            let together = with.iter().filter(|c| *c == i).count();
            match (launches, together) {
                (1, 1) => {}
                (n, 1) => line.label += &format!(" ({n} launches)"),
                (n, c) => line.label += &format!(" and {} more clusters together with it ({n} launches)", c - 1),
            }
        }
        Profile { lines: lines.into_values().collect(), runs, inputs: vec![] }
    }

    /// The cluster whose launches do the work of this one: itself, or one that shares launches with it.
    fn runs_with(&self, cluster: usize) -> usize {
        let launches = &self.module.launches;
        if launches.iter().any(|l| l.cluster == cluster) {
            return cluster;
        }
        let Some(&n) = self.plan.clusters.clusters[cluster].writes.first() else { return cluster };
        launches.iter().find(|l| l.args.contains(&Arg::Node(n))).map_or(cluster, |l| l.cluster)
    }

    /// Products, how they are cut, and the shortest time of each in nanoseconds, with what surrounds it (packing, parts);
    /// 0 unless the executor profiles.
    pub fn products(&self) -> Vec<(Shape, Choice, f64)> {
        let time = |c: usize| self.spent.get(c).map(|s| s.1).filter(|t| t.is_finite()).unwrap_or(0.0);
        self.module.products.iter().map(|p| (p.shape, p.choice, time(p.cluster))).collect()
    }

    /// Forgets what was measured.
    pub fn reset_profile(&mut self) {
        self.spent.fill((0.0, f64::INFINITY));
        self.gathered.fill((0.0, f64::INFINITY));
        // A run is still counted: kernels are loaded.
        self.runs = self.runs.min(1);
    }
}

fn finite(t: &HostTensor) -> bool {
    match &t.data {
        HostData::F32(v) => v.iter().all(|x| x.is_finite()),
        HostData::U32(_) | HostData::Bool(_) => true,
    }
}

/// Runs a bound, unfused program cluster by cluster and looks at each result.
pub(super) fn locate(exec: &CudaExecutor, p: &Program) -> Result<Option<String>, ExecError> {
    let persistent = |name: &str| exec.names.get(name).map(|&i| exec.tensors[i].at);
    let places = Places { workspace: exec.workspace.0, persistent: &persistent, held: &exec.held };
    let read = |n: NodeId| -> Result<HostTensor, ExecError> {
        let ty = p.graph.ty(n);
        let mut bytes = vec![0; ty.bytes()];
        exec.device.read(p.address(&places, n)?, &mut bytes)?;
        Ok(convert::get(ty, &bytes))
    };
    let mut search = Search::new(&p.graph);
    for (&n, place) in &p.plan.places {
        if let Place::Persistent(name) = place
            && is_leaf(&p.graph.node(n).op)
            && let Some(t) = exec.fetch(name)?
        {
            search.leaf(n, finite(&t));
        }
    }
    for (i, c) in p.plan.clusters.clusters.iter().enumerate() {
        for step in p.steps.iter().filter(|s| matches!(s, Step::Launch { cluster, .. } if *cluster == i)) {
            exec.issue(step)?;
        }
        for &n in &c.writes {
            if search.wanted(n)
                && let Some(place) = search.written(n, finite(&read(n)?))
            {
                return Ok(Some(place));
            }
        }
    }
    Ok(search.end())
}
