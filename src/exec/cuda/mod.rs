//! The CUDA executor: the text of [`crate::codegen::cuda`], compiled, launched in the order of the plan.
//!
//! Always holds: everything that decides a number lives in device memory (parameters, seed and step number too), so a
//! captured iteration can be replayed; all work is in the order of one queue, inputs and results travel beside it; a
//! program's memory is known and there before it runs. The device is behind [`device::Device`], and no call panics: a
//! missing library, a full memory or a failed launch is a [`CudaError`].

mod cache;
pub mod chunks;
mod convert;
pub mod device;
mod devices;
pub mod error;
mod gpu;
mod held;
mod libraries;
pub mod nvrtc;
mod probe;
mod profile;
mod program;
pub mod roofline;
mod staging;

pub use cache::Cache;
pub use error::{CudaError, Version};
pub use gpu::Gpu;
pub use libraries::{Search, Where};
pub use probe::{Found, probe};
pub use program::Program;

use super::{ExecError, Executor, Held};
use crate::codegen::cuda::contract::tuning::Tuning;
use crate::codegen::cuda::{Arch, Module, PLAN};
use crate::fuse::{self, FuseOptions};
use crate::graph::rows::Rows;
use crate::graph::{DType, Graph, HostTensor, Name, Op, Type, persistent_name};
use crate::passes::{self, layout};
use crate::plan::{self, Plan, PlanOptions};
use device::{Address, Device};
use program::{ALIGN, Layout, Outcome, Places, Stage, Step};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How plans become text: [`crate::codegen::cuda::generate_tuned`], but for tests.
pub type Lower = fn(&Graph, &Plan, Arch, &Tuning) -> Module;

/// How to compile and run.
#[derive(Clone, Copy, Debug)]
pub struct CudaOptions {
    /// False: one node a kernel.
    pub fuse: bool,
    /// Whether to measure each cluster; runs are not captured then.
    pub profile: bool,
    /// False: every run issues every launch, which names the launch that fails.
    pub capture: bool,
    /// Whether kernels may begin before the results of the ones before them are seen, where the device can.
    pub overlap: bool,
    /// Whether small clusters may share launches.
    pub share: bool,
}

impl Default for CudaOptions {
    fn default() -> Self {
        Self { fuse: true, profile: false, capture: true, overlap: true, share: true }
    }
}

/// Runs that may be started before the first of them is finished.
const AHEAD: usize = 2;

/// A tensor that outlives runs.
struct Persistent {
    ty: Type,
    at: Address,
    set: bool,
}

/// A started run.
#[derive(Debug)]
pub struct Pending {
    slot: usize,
    results: Arc<Vec<Outcome>>,
}

/// The CUDA executor.
pub struct CudaExecutor {
    device: Box<dyn Device>,
    options: CudaOptions,
    lower: Lower,
    tuning: Tuning,
    names: BTreeMap<String, usize>,
    tensors: Vec<Persistent>,
    /// Whether the channels of persistent tensors are the last axis in memory, as the first program that had them wanted
    /// it.
    turned: BTreeMap<String, bool>,
    /// Memory that all programs share, and its size.
    workspace: (Address, usize),
    /// Counts changes of addresses that steps hold.
    generation: u64,
    inputs: staging::Inputs,
    /// Data sets on the device.
    held: held::Sets,
    /// Bytes that the slots of inputs on their way may take at most, for the programs so far.
    widest: usize,
    results: staging::Results,
    clock: Vec<device::Event>,
}

/// A graph as it is compiled, and its plan. `lay` puts axes into the order in which they are computed; before that the
/// graph is simplified: what is never computed needs no layout.
fn planned(
    graph: &Graph,
    lay: impl FnOnce(&Graph) -> Graph,
    fuse: bool,
    simplify: bool,
    options: PlanOptions,
) -> Result<(Graph, Plan), ExecError> {
    let graph = if simplify { passes::run(graph.clone(), &passes::Options::default()) } else { graph.clone() };
    let graph = lay(&graph);
    let clusters = fuse::fuse(&graph, if fuse { FuseOptions::GPU } else { FuseOptions::OFF });
    let plan = plan::plan(&graph, clusters, options);
    if cfg!(debug_assertions) {
        plan.verify().map_err(ExecError::Bug)?;
    }
    Ok((graph, plan))
}

/// What is known of a graph's program before there is a device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outline {
    /// Different kernels.
    pub kernels: usize,
    /// Kernel launches of a run.
    pub launches: usize,
    /// Bytes of persistent tensors.
    pub persistent: usize,
    /// Bytes of the arena.
    pub values: usize,
    /// Bytes of device memory in all.
    pub memory: usize,
    /// Time on the device that stands for the instruction set, at its peak figures.
    pub prediction: roofline::Prediction,
}

/// Plans a graph for a device of the table and writes its program, as the executor would.
pub fn outline(graph: &Graph, lower: Lower, device: &roofline::Peaks) -> Result<Outline, ExecError> {
    let (graph, plan) = planned(graph, layout::for_new_device, true, true, PLAN)?;
    let module = lower(&graph, &plan, device.arch, &Tuning::default());
    program::verify(&module, &plan).map_err(ExecError::Bug)?;
    let layout = Layout::new(program::inputs(&graph).1, plan.arena, module.workspace);
    Ok(Outline {
        kernels: program::kernels(&module).0.len(),
        launches: module.launches.len(),
        persistent: plan.persistent,
        values: plan.arena,
        memory: plan.persistent + plan.constant + layout.bytes,
        prediction: roofline::predict(&graph, &plan, &module.launches, device),
    })
}

impl CudaExecutor {
    /// An executor on this device.
    pub fn new(device: Box<dyn Device>, lower: Lower, options: CudaOptions) -> Self {
        Self {
            device,
            options,
            lower,
            tuning: Tuning::default(),
            names: BTreeMap::new(),
            tensors: vec![],
            turned: BTreeMap::new(),
            workspace: (0, 0),
            generation: 0,
            inputs: staging::Inputs::default(),
            held: held::Sets::default(),
            widest: 0,
            results: staging::Results::default(),
            clock: vec![],
        }
    }

    /// What is known of its device.
    pub fn about(&self) -> &device::About {
        self.device.about()
    }

    /// What is known of tiles, for programs that are compiled from now on.
    pub fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    /// Compiles with these tiles from now on.
    pub fn tune(&mut self, tuning: Tuning) {
        self.tuning = tuning;
    }

    /// Memory for a tensor; the caller waits for work that uses the old one.
    fn place(&self, ty: &Type) -> Result<Address, CudaError> {
        self.device.alloc(ty.bytes().max(1))
    }

    fn persistent(&mut self, name: &str, ty: &Type) -> Result<usize, CudaError> {
        if let Some(&i) = self.names.get(name) {
            return Ok(i);
        }
        self.tensors.push(Persistent { ty: ty.clone(), at: self.place(ty)?, set: false });
        self.names.insert(name.to_string(), self.tensors.len() - 1);
        Ok(self.tensors.len() - 1)
    }

    fn is_turned(&self, name: &str) -> bool {
        self.turned.get(name) == Some(&true)
    }

    /// Decides in which order new persistent tensors lie, and puts those that are there into it.
    fn decide(&mut self, wanted: BTreeMap<String, bool>) -> Result<(), CudaError> {
        for (name, last) in wanted {
            if self.turned.contains_key(&name) {
                continue;
            }
            if let Some(t) = self.names.get(&name).map(|&i| &mut self.tensors[i]).filter(|_| last) {
                if t.set {
                    let mut bytes = vec![0; t.ty.bytes()];
                    self.device.read(t.at, &mut bytes)?;
                    let bytes = layout::reordered(&bytes, &t.ty.shape, t.ty.dtype.bytes(), true);
                    self.device.write(t.at, &bytes)?;
                }
                t.ty.shape = layout::turned(&t.ty.shape);
            }
            self.turned.insert(name, last);
        }
        Ok(())
    }

    fn plans(&self) -> PlanOptions {
        PlanOptions { share: self.options.share, ..PLAN }
    }

    /// Bytes that runs of a graph need, by its plan alone: nothing is compiled, so scratch of its kernels is left out.
    pub fn need(&self, graph: &Graph) -> Result<u64, ExecError> {
        let (graph, plan) = planned(graph, layout::for_new_device, self.options.fuse, true, self.plans())?;
        let layout = Layout::new(program::inputs(&graph).1, plan.arena, plan.arena);
        Ok((plan.persistent + plan.constant + layout.bytes) as u64)
    }

    /// Bytes that are free on the device.
    pub fn free(&self) -> Result<u64, ExecError> {
        Ok(self.device.free_bytes()?)
    }

    /// Most bytes of the device that it had at once: tensors and data, without what the driver keeps for itself.
    pub fn most_bytes(&self) -> u64 {
        self.device.most_bytes()
    }

    /// Refuses a program whose memory is not there, with the figures.
    fn afford(&self, p: &Plan, layout: &Layout, new: usize) -> Result<(), CudaError> {
        // A workspace that is too small is given back before a larger one is taken.
        let grows = layout.bytes > self.workspace.1;
        let (taken, given) = if grows { (layout.bytes, self.workspace.1) } else { (0, 0) };
        let need = (taken + new + p.constant + self.inputs.growth(layout.inputs)) as u64;
        let free = self.device.free_bytes()? + given as u64;
        if need <= free {
            return Ok(());
        }
        let size = |n: usize| error::bytes(n as u64);
        Err(CudaError::Memory {
            device: self.about().name.clone(),
            need,
            free,
            parts: format!(
                "values {}, parameters and state {}, constants {}, inputs {}, scratch {}",
                size(p.arena),
                size(p.persistent),
                size(p.constant),
                size(layout.inputs),
                size(layout.bytes - layout.scratch)
            ),
        })
    }

    fn build(
        &mut self,
        graph: &Graph,
        fuse: bool,
        simplify: bool,
        options: PlanOptions,
    ) -> Result<Program, ExecError> {
        let mut order = Ok(());
        let lay = |g: &Graph| {
            order = self.decide(layout::wanted(g));
            layout::for_device(g, &|name| self.is_turned(name))
        };
        let planned = planned(graph, lay, fuse, simplify, options);
        order?;
        let (graph, plan) = planned?;
        let module = (self.lower)(&graph, &plan, self.about().arch, &self.tuning);
        program::verify(&module, &plan).map_err(ExecError::Bug)?;

        let (inputs, input_bytes) = program::inputs(&graph);
        let mut wanted: BTreeMap<String, Type> = BTreeMap::new();
        let mut needs: Vec<String> = vec![];
        for n in graph.ids() {
            match &graph.node(n).op {
                Op::Param(name) | Op::State(name) if plan.places.contains_key(&n) => {
                    wanted.insert(name.to_string(), graph.ty(n).clone());
                    needs.push(name.to_string());
                }
                _ => {}
            }
        }
        let mut written: Vec<(String, Type)> = vec![];
        for (name, n) in &graph.outputs {
            if let Some(target) = persistent_name(name) {
                written.push((target.to_string(), graph.ty(*n).clone()));
                wanted.entry(target.to_string()).or_insert_with(|| graph.ty(*n).clone());
            }
        }
        let layout = Layout::new(input_bytes, plan.arena, module.workspace);
        let new = wanted.iter().filter(|w| !self.names.contains_key(w.0)).map(|w| w.1.bytes()).sum();
        // What is computed has more right to memory than data, which can be sent.
        if self.afford(&plan, &layout, new).is_err() {
            self.release_sets()?;
            self.afford(&plan, &layout, new)?;
        }
        self.widest = self.widest.max(self.inputs.growth(layout.inputs));

        for (name, ty) in &wanted {
            let slot = self.persistent(name, ty)?;
            let has = &self.tensors[slot].ty;
            if has.elements() != ty.elements() {
                return Err(ExecError::Bug(format!("`{name}` is {has} but its next value is {ty}")));
            }
        }
        let needs = needs.iter().map(|n| (self.names[n], wanted[n].clone())).collect();
        let written = written.iter().map(|w| self.names[&w.0]).collect();
        self.grow(layout.bytes)?;
        let (constants, constant_at) = self.constants(&graph, &plan)?;
        let (list, of) = program::kernels(&module);
        let loaded = if list.is_empty() { vec![] } else { self.device.load(&module.text, &list)? };
        let kernels: Option<Vec<device::Kernel>> = of.iter().map(|&i| loaded.get(i).copied()).collect();
        let kernels = kernels.ok_or_else(|| ExecError::Bug("a kernel was not loaded".into()))?;
        let mut results = vec![];
        let mut result_bytes = 0;
        for (name, n) in &plan.results {
            // A result that is a reshape has its own shape.
            let out = graph.outputs.iter().find(|o| o.0 == *name).map_or(*n, |o| o.1);
            let ty = graph.ty(out).clone();
            let bytes = ty.bytes();
            results.push(Outcome { name: name.clone(), node: *n, ty, at: result_bytes });
            result_bytes += bytes.next_multiple_of(16);
        }
        Ok(Program {
            spent: vec![(0.0, f64::INFINITY); plan.clusters.clusters.len()],
            gathered: vec![(0.0, f64::INFINITY); inputs.len()],
            sent: input_bytes,
            runs: 0,
            module,
            kernels,
            layout,
            inputs,
            constants,
            constant_at,
            needs,
            written,
            results: Arc::new(results),
            result_bytes,
            steps: vec![],
            generation: u64::MAX,
            stage: Stage::New,
            plan,
            graph,
        })
    }

    fn grow(&mut self, bytes: usize) -> Result<(), CudaError> {
        if bytes <= self.workspace.1 {
            return Ok(());
        }
        if self.workspace.1 > 0 {
            self.device.synchronise()?;
            self.device.release(self.workspace.0);
            self.workspace = (0, 0);
        }
        self.generation += 1;
        let memory = match self.device.alloc(bytes) {
            // Data sets are kept as long as nothing else needs the room.
            Err(CudaError::Memory { .. }) if self.release_sets()? => self.device.alloc(bytes)?,
            other => other?,
        };
        self.workspace = (memory, bytes);
        Ok(())
    }

    /// Puts a plan's constants into device memory; the address of all, and the place of each within it.
    fn constants(&self, graph: &Graph, plan: &Plan) -> Result<(Address, Vec<usize>), CudaError> {
        let mut at = vec![];
        let mut all: Vec<u8> = vec![];
        for (n, values) in &plan.constants {
            let start = all.len().next_multiple_of(ALIGN);
            at.push(start);
            all.resize(start + graph.ty(*n).bytes(), 0);
            convert::constant(values, graph.ty(*n).dtype, &mut all[start..]);
        }
        if all.is_empty() {
            return Ok((0, at));
        }
        let address = self.device.alloc(all.len())?;
        self.device.write(address, &all)?;
        Ok((address, at))
    }

    /// Checks what the caller gives, and sends it.
    fn send(&mut self, p: &Program, inputs: &[(&str, &HostTensor)]) -> Result<(), ExecError> {
        for (slot, ty) in &p.needs {
            let t = &self.tensors[*slot];
            let name = || self.names.iter().find(|n| n.1 == slot).map_or(String::new(), |n| n.0.clone());
            if !t.set {
                return Err(ExecError::Missing(name()));
            }
            if t.ty != *ty {
                let (expected, found) = (ty.to_string(), t.ty.to_string());
                return Err(ExecError::Input { name: name(), expected, found });
            }
        }
        let mut given = vec![];
        for i in &p.inputs {
            let error =
                |found: String| ExecError::Input { name: i.name.to_string(), expected: i.ty.to_string(), found };
            let (_, host) = inputs.iter().find(|v| v.0 == &*i.name).ok_or_else(|| error("missing".into()))?;
            if i.fed.is_some() {
                self.held.check(i, host)?;
                given.push((i, *host));
                continue;
            }
            let found = host.ty();
            if found.shape != i.ty.shape || !convert::fits(found.dtype, i.ty.dtype) {
                return Err(error(found.to_string()));
            }
            given.push((i, *host));
        }
        let fill = |to: &mut [u8]| {
            for (i, host) in &given {
                let (at, bytes) = i.sent();
                let dtype = if i.fed.is_some() { DType::U32 } else { i.ty.dtype };
                convert::put(host, dtype, &mut to[at..at + bytes]);
            }
        };
        Ok(self.inputs.send(&*self.device, p.sent, self.workspace.0, fill)?)
    }

    /// Makes a program's steps fit the addresses of now.
    fn bind(&self, p: &mut Program) -> Result<(), ExecError> {
        if p.generation == self.generation {
            return Ok(());
        }
        if let Stage::Captured(old) = p.stage {
            self.device.synchronise()?;
            self.device.discard(old);
            p.stage = Stage::Warm;
        }
        let persistent = |name: &str| self.names.get(name).map(|&i| self.tensors[i].at);
        p.steps = p.bind(&Places { workspace: self.workspace.0, persistent: &persistent, held: &self.held })?;
        p.generation = self.generation;
        Ok(())
    }

    fn issue(&self, step: &Step) -> Result<(), CudaError> {
        match step {
            Step::Launch { kernel, extents, params, .. } | Step::Gather { kernel, extents, params, .. } => {
                self.device.launch(*kernel, *extents, params, self.options.overlap)
            }
            Step::Copy { from, to, bytes } => self.device.copy(*from, *to, *bytes),
        }
    }

    fn issue_all(&self, p: &Program) -> Result<(), CudaError> {
        p.steps.iter().try_for_each(|s| self.issue(s))
    }

    /// Issues a bound program, captured from its second run on.
    fn launch(&mut self, p: &mut Program) -> Result<(), CudaError> {
        if self.options.profile {
            return profile::timed(self, p);
        }
        match p.stage {
            Stage::New => {
                self.issue_all(p)?;
                p.stage = Stage::Warm;
            }
            Stage::Warm if !self.options.capture => self.issue_all(p)?,
            Stage::Warm => {
                self.device.begin_capture()?;
                let issued = self.issue_all(p);
                // A capture that has begun is ended whatever happened within it.
                let captured = self.device.end_capture();
                issued?;
                let captured = captured?;
                p.stage = Stage::Captured(captured);
                self.device.replay(captured)?;
            }
            Stage::Captured(captured) => self.device.replay(captured)?,
        }
        p.runs += 1;
        Ok(())
    }
}

impl Executor for CudaExecutor {
    type Program = Program;
    type Pending = Pending;

    fn compile(&mut self, graph: &Graph) -> Result<Program, ExecError> {
        self.build(graph, self.options.fuse, true, self.plans())
    }

    fn store(&mut self, name: &str, value: &HostTensor) -> Result<(), ExecError> {
        let mut ty = value.ty();
        let turned = self.is_turned(name) && ty.rank() >= 3;
        if turned {
            ty.shape = layout::turned(&ty.shape);
        }
        let slot = self.persistent(name, &ty)?;
        let held = &self.tensors[slot].ty;
        if held.shape != ty.shape || !convert::fits(ty.dtype, held.dtype) {
            self.device.synchronise()?;
            self.device.release(self.tensors[slot].at);
            self.tensors[slot].at = self.place(&ty)?;
            self.tensors[slot].ty = ty;
            self.generation += 1;
        }
        let t = &mut self.tensors[slot];
        let mut bytes = vec![0; t.ty.bytes()];
        convert::put(value, t.ty.dtype, &mut bytes);
        if turned {
            bytes = layout::reordered(&bytes, &value.shape, t.ty.dtype.bytes(), true);
        }
        self.device.write(t.at, &bytes)?;
        t.set = true;
        Ok(())
    }

    fn may_hold(&self) -> bool {
        true
    }

    fn holds(&self, held: Held) -> bool {
        self.held.has(held)
    }

    fn reads(&self, p: &Program, input: &str) -> bool {
        p.inputs.iter().any(|i| *i.name == *input)
    }

    fn hold(&mut self, rows: &Rows<'_>) -> Result<Option<Held>, ExecError> {
        self.hold_rows(rows)
    }

    fn feed(&mut self, p: &mut Program, input: &str, from: Held) -> Result<(), ExecError> {
        self.feed_rows(p, input, from)
    }

    fn takes_rows(&self, p: &Program, input: &str) -> bool {
        p.inputs.iter().any(|i| *i.name == *input && self.held.feeds(i))
    }

    fn fetch(&self, name: &str) -> Result<Option<HostTensor>, ExecError> {
        let Some(t) = self.names.get(name).map(|&i| &self.tensors[i]).filter(|t| t.set) else { return Ok(None) };
        let mut bytes = vec![0; t.ty.bytes()];
        self.device.read(t.at, &mut bytes)?;
        let mut ty = t.ty.clone();
        if self.is_turned(name) {
            ty.shape = layout::turned_back(&ty.shape);
            bytes = layout::reordered(&bytes, &ty.shape, ty.dtype.bytes(), false);
        }
        Ok(Some(convert::get(&ty, &bytes)))
    }

    fn start(&mut self, p: &mut Program, inputs: &[(&str, &HostTensor)]) -> Result<Pending, ExecError> {
        self.settle_inputs(p)?;
        self.send(p, inputs)?;
        self.bind(p)?;
        self.launch(p)?;
        p.written.iter().for_each(|&slot| self.tensors[slot].set = true);
        let persistent = |name: &str| self.names.get(name).map(|&i| self.tensors[i].at);
        let places = Places { workspace: self.workspace.0, persistent: &persistent, held: &self.held };
        let mut pieces = vec![];
        for r in p.results.iter().filter(|r| r.ty.bytes() > 0) {
            pieces.push((p.address(&places, r.node)?, r.ty.bytes(), r.at));
        }
        let slot = self.results.fetch(&*self.device, p.result_bytes, &pieces)?;
        Ok(Pending { slot, results: p.results.clone() })
    }

    fn finish(&mut self, pending: Pending) -> Result<Vec<(Name, HostTensor)>, ExecError> {
        let read = |bytes: &[u8]| {
            let one = |r: &Outcome| (r.name.clone(), convert::get(&r.ty, &bytes[r.at..r.at + r.ty.bytes()]));
            pending.results.iter().map(one).collect()
        };
        Ok(self.results.take(&*self.device, pending.slot, read)?)
    }

    fn ahead(&self) -> usize {
        AHEAD
    }

    fn locate_nonfinite(
        &mut self,
        graph: &Graph,
        inputs: &[(&str, &HostTensor)],
    ) -> Result<Option<String>, ExecError> {
        let options = PlanOptions { in_place: false, ..PLAN };
        let mut p = self.build(graph, false, false, options)?;
        self.send(&p, inputs)?;
        self.bind(&mut p)?;
        profile::locate(self, &p)
    }
}

impl Drop for CudaExecutor {
    fn drop(&mut self) {
        // Memory goes with the device; work must not outlive it. Nobody is left to hear of a failure.
        let _ = self.device.synchronise();
    }
}
