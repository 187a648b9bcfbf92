//! A compiled graph on a device: what lies where, and what is issued for a run.

use super::device::{Address, Captured, Extents, Kernel, Param};
use super::held::Sets;
use crate::codegen::cuda::{Arg, Module, PLAN};
use crate::exec::{ExecError, Held};
use crate::graph::{Graph, Name, NodeId, Op, Type};
use crate::plan::{Place, Plan};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Alignment of everything that is placed in device memory.
pub(super) const ALIGN: usize = PLAN.align;

/// One thing that a run issues.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// A kernel, for the cluster of this index.
    Launch { cluster: usize, kernel: Kernel, extents: Extents, params: Vec<Param> },
    /// A kernel that makes the batch of the input of this index of rows that the device holds.
    Gather { input: usize, kernel: Kernel, extents: Extents, params: Vec<Param> },
    /// A copy within the device.
    Copy { from: Address, to: Address, bytes: usize },
}

/// An input of a program.
#[derive(Clone, Debug)]
pub(super) struct Input {
    pub name: Name,
    pub ty: Type,
    /// Its first byte in the block of inputs.
    pub at: usize,
    /// If it is made of rows of a set that the device holds.
    pub fed: Option<Fed>,
}

/// What an input is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fed {
    /// The set.
    pub from: Held,
    /// First byte of the numbers of its rows in the block of inputs.
    pub rows: usize,
}

impl Input {
    /// Where what is sent for it lies in the block of inputs, and its size.
    pub fn sent(&self) -> (usize, usize) {
        match self.fed {
            Some(f) => (f.rows, 4 * self.ty.shape.first().copied().unwrap_or(0)),
            None => (self.at, self.ty.bytes()),
        }
    }
}

/// The inputs of a graph, all of them sent whole: one block, and its size.
pub(super) fn inputs(graph: &Graph) -> (Vec<Input>, usize) {
    let mut inputs = vec![];
    for n in graph.ids() {
        if let Op::Input(name) = &graph.node(n).op {
            inputs.push(Input { name: name.clone(), ty: graph.ty(n).clone(), at: 0, fed: None });
        }
    }
    let (_, bytes) = arrange(&mut inputs);
    (inputs, bytes)
}

/// Places inputs in one block: first what is sent, whole inputs or numbers of rows, then what the device makes of the
/// latter. The size of the first part, and that of the block.
pub(super) fn arrange(inputs: &mut [Input]) -> (usize, usize) {
    let mut bytes = 0;
    for i in inputs.iter_mut() {
        let place = match &mut i.fed {
            Some(f) => &mut f.rows,
            None => &mut i.at,
        };
        *place = bytes;
        bytes += i.sent().1.next_multiple_of(ALIGN);
    }
    let sent = bytes;
    for i in inputs.iter_mut().filter(|i| i.fed.is_some()) {
        i.at = bytes;
        bytes += i.ty.bytes().next_multiple_of(ALIGN);
    }
    (sent, bytes)
}

/// What a run gives back.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub name: Name,
    pub node: NodeId,
    pub ty: Type,
    /// Its first byte in the block of results.
    pub at: usize,
}

/// Regions of the workspace that a program needs, which all programs share: one runs at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    /// Bytes of the inputs, which lie first.
    pub inputs: usize,
    /// First byte of the arena.
    pub arena: usize,
    /// First byte behind the arena: of scratch that has no room in it.
    pub scratch: usize,
    /// Bytes in all.
    pub bytes: usize,
}

impl Layout {
    /// For so many bytes of inputs, a plan's arena, and all that launches need with it.
    pub fn new(inputs: usize, arena: usize, workspace: usize) -> Self {
        let inputs = inputs.next_multiple_of(ALIGN);
        let scratch = inputs + arena.next_multiple_of(ALIGN);
        Self { inputs, arena: inputs, scratch, bytes: scratch.max(inputs + workspace.next_multiple_of(ALIGN)) }
    }
}

/// How far a program has come on its way to one replayed graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Never run: the first run issues every step, so that the driver loads the kernels outside of a capture.
    New,
    /// Run once; the next run captures.
    Warm,
    /// Captured.
    Captured(Captured),
}

/// A compiled graph.
pub struct Program {
    /// The plan, for printing and checks.
    pub plan: Plan,
    /// The graph as it was compiled (after layout).
    pub graph: Graph,
    pub(super) module: Module,
    /// Kernel of each launch.
    pub(super) kernels: Vec<Kernel>,
    pub(super) layout: Layout,
    pub(super) inputs: Vec<Input>,
    /// Bytes of the block of inputs that a run sends.
    pub(super) sent: usize,
    pub(super) constants: Address,
    /// First byte of each constant within `constants`.
    pub(super) constant_at: Vec<usize>,
    /// Persistent tensors that must have a value, with type.
    pub(super) needs: Vec<(usize, Type)>,
    /// Persistent tensors that have a value after a run.
    pub(super) written: Vec<usize>,
    pub(super) results: Arc<Vec<Outcome>>,
    /// Bytes of the results together.
    pub(super) result_bytes: usize,
    /// What is issued, for the addresses of this generation.
    pub(super) steps: Vec<Step>,
    pub(super) generation: u64,
    pub(super) stage: Stage,
    /// Time of each cluster so far in nanoseconds, in all and the least, when profiling.
    pub(super) spent: Vec<(f64, f64)>,
    /// Likewise of making each input of held rows.
    pub(super) gathered: Vec<(f64, f64)>,
    pub(super) runs: u64,
}

/// Where things are now.
pub(super) struct Places<'a> {
    pub workspace: Address,
    /// Address of a persistent tensor.
    pub persistent: &'a dyn Fn(&str) -> Option<Address>,
    /// Data sets on the device.
    pub held: &'a Sets,
}

impl Program {
    /// Address of a stored node.
    pub(super) fn address(&self, places: &Places<'_>, n: NodeId) -> Result<Address, ExecError> {
        let missing = || ExecError::Bug(format!("%{} has no place on the device", n.0));
        let inside = match self.plan.places.get(&n).ok_or_else(missing)? {
            Place::Arena { offset, .. } => self.layout.arena + offset,
            Place::Input(name) => self.inputs.iter().find(|i| i.name == *name).ok_or_else(missing)?.at,
            Place::Constant(i) => {
                let at = self.constant_at.get(*i).ok_or_else(missing)?;
                return Ok(self.constants + *at as Address);
            }
            Place::Persistent(name) => return (places.persistent)(name).ok_or_else(missing),
        };
        Ok(places.workspace + inside as Address)
    }

    /// Everything that a run issues: batches of held rows, the launches, then the copies to persistent tensors, all of which are read
    /// before any is written.
    pub(super) fn bind(&self, places: &Places<'_>) -> Result<Vec<Step>, ExecError> {
        let mut steps = vec![];
        for (i, input) in self.inputs.iter().enumerate() {
            if let Some(f) = input.fed {
                let at = |byte: usize| places.workspace + byte as Address;
                let step = places.held.step(i, input, at(f.rows), at(input.at));
                steps.push(step.ok_or_else(|| ExecError::Bug(format!("the rows of `{}` are gone", input.name)))?);
            }
        }
        for (launch, &kernel) in self.module.launches.iter().zip(&self.kernels) {
            let mut params = Vec::with_capacity(launch.args.len());
            for arg in &launch.args {
                params.push(match *arg {
                    Arg::Node(n) => Param::Address(self.address(places, n)?),
                    Arg::Scratch(at) => Param::Address(places.workspace + (self.layout.arena + at) as Address),
                    Arg::U32(v) => Param::U32(v),
                });
            }
            let extents = Extents { grid: launch.grid, block: launch.block, shared: launch.shared };
            steps.push(Step::Launch { cluster: launch.cluster, kernel, extents, params });
        }
        let mut copy = |from, to, bytes| {
            if bytes > 0 && from != to {
                steps.push(Step::Copy { from, to, bytes });
            }
        };
        let waiting = |via: usize| places.workspace + (self.layout.arena + via) as Address;
        for c in &self.plan.commits {
            if let Some(via) = c.via {
                copy(self.address(places, c.from)?, waiting(via), self.graph.ty(c.from).bytes());
            }
        }
        for c in &self.plan.commits {
            let from = match c.via {
                Some(via) => waiting(via),
                None => self.address(places, c.from)?,
            };
            let to = (places.persistent)(&c.to)
                .ok_or_else(|| ExecError::Bug(format!("`{}` has no place on the device", c.to)))?;
            copy(from, to, self.graph.ty(c.from).bytes());
        }
        Ok(steps)
    }

    /// Bytes of device memory that runs need: persistent tensors, constants, inputs, arena, scratch.
    pub fn memory(&self) -> usize {
        self.plan.persistent + self.plan.constant + self.layout.bytes
    }

    /// Number of kernel launches of a run.
    pub fn launch_count(&self) -> usize {
        self.module.launches.len()
    }
}

/// What always holds of a module that fits its plan.
pub(super) fn verify(module: &Module, plan: &Plan) -> Result<(), String> {
    for (i, l) in module.launches.iter().enumerate() {
        let at = format!("launch {i} ({})", l.kernel);
        if l.cluster >= plan.clusters.clusters.len() {
            return Err(format!("{at} is for cluster {}, which is not in the plan", l.cluster));
        }
        if l.grid.contains(&0) || l.block.contains(&0) {
            return Err(format!("{at} has no threads"));
        }
        for arg in &l.args {
            match arg {
                Arg::Node(n) if !plan.places.contains_key(n) => {
                    return Err(format!("{at} takes %{}, which has no place", n.0));
                }
                Arg::Scratch(b) if *b >= module.workspace => {
                    return Err(format!("{at} takes byte {b} of {} bytes of the workspace", module.workspace));
                }
                Arg::Node(_) | Arg::Scratch(_) | Arg::U32(_) => {}
            }
        }
    }
    Ok(())
}

/// Launches of a module by kernel: names in order of first use with the most dynamic shared memory, and for each
/// launch the index of its kernel.
pub(super) fn kernels(module: &Module) -> (Vec<(String, u32)>, Vec<usize>) {
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    let mut list: Vec<(String, u32)> = vec![];
    let mut of = vec![];
    for l in &module.launches {
        let at = *known.entry(&l.kernel).or_insert_with(|| {
            list.push((l.kernel.clone(), 0));
            list.len() - 1
        });
        list[at].1 = list[at].1.max(l.shared);
        of.push(at);
    }
    (list, of)
}
