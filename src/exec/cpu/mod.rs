//! The CPU executor: clusters as native loops, products as packed register tiles, one arena, one pool of threads.
//!
//! A program is compiled once; a step allocates nothing but the small tensors that it returns. Results depend on the
//! instruction set, never on the number of threads: work is cut by its shape, and partial sums are added in order.
//! The floating-point unit stays in its default mode (subnormal numbers are kept), so that every thread agrees.

pub mod contract;
mod free;
pub mod kernel;
pub mod lanes;
mod launch;
mod memory;
pub mod pool;
mod profile;
mod program;

pub use contract::Isa;
pub use free::free_bytes;
pub use memory::{bytes, return_freed_memory};
pub use program::Program;

use super::{ExecError, Executor};
use crate::fuse::{self, FuseOptions};
use crate::graph::{Graph, HostTensor, Name, Op, Type, persistent_name};
use crate::passes::{self, layout::layout};
use crate::plan::{self, Plan, PlanOptions};
use kernel::ThreadCell;
use launch::Machine;
use memory::Words;
use pool::Pool;
use program::{Action, Compiler, Spot};
use std::collections::BTreeMap;
use std::time::Instant;

/// How to compile and run.
#[derive(Clone, Copy, Debug)]
pub struct CpuOptions {
    /// Number of threads.
    pub threads: usize,
    /// False: one node a kernel.
    pub fuse: bool,
    /// Instruction set; `None`: the best one here.
    pub isa: Option<Isa>,
    /// Whether to measure each launch.
    pub profile: bool,
    /// Most bytes that persistent tensors and arena may take.
    pub memory: Option<u64>,
}

impl Default for CpuOptions {
    fn default() -> Self {
        Self { threads: 1, fuse: true, isa: None, profile: false, memory: None }
    }
}

/// A tensor that outlives runs.
struct Persistent {
    ty: Type,
    words: Words,
    set: bool,
}

/// The CPU executor.
pub struct CpuExecutor {
    options: CpuOptions,
    /// How it fuses where it does.
    fusion: FuseOptions,
    isa: Isa,
    lanes: lanes::Lanes,
    pool: Pool,
    names: BTreeMap<String, usize>,
    tensors: Vec<Persistent>,
    arena: Words,
    shared: Words,
    scratch: Words,
    operands: Words,
    threads: Vec<ThreadCell>,
    /// Addresses of the running program's buffers.
    table: Vec<*mut u32>,
    /// Words of inputs that are not held as the caller has them.
    converted: Vec<Words>,
    /// Launches of products with an epilogue so far.
    launches: u64,
}

// SAFETY: the addresses in `table` are set anew by each run.
unsafe impl Send for CpuExecutor {}

impl CpuExecutor {
    /// An executor with its threads.
    pub fn new(options: CpuOptions) -> Self {
        let isa = options.isa.unwrap_or_else(Isa::detect);
        let pool = Pool::new(options.threads.max(1));
        let threads = (0..pool.threads()).map(|_| ThreadCell::default()).collect();
        Self {
            options,
            fusion: FuseOptions::CPU,
            isa,
            lanes: lanes::lanes(isa),
            pool,
            names: BTreeMap::new(),
            tensors: vec![],
            arena: Words::default(),
            shared: Words::default(),
            scratch: Words::default(),
            operands: Words::default(),
            threads,
            table: vec![],
            converted: vec![],
            launches: 0,
        }
    }

    /// Fuses as another device would, to check that device's clusters.
    pub fn fuse_like(&mut self, fusion: FuseOptions) {
        self.fusion = fusion;
    }

    /// How plans for this executor are made.
    pub fn plan_options(&self) -> PlanOptions {
        PlanOptions { bytes: memory::bytes, align: 64, in_place: true, follow: false, share: false }
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Bytes that it holds now: persistent tensors, arena, scratch.
    pub fn held(&self) -> usize {
        let words: usize = self.tensors.iter().map(|t| t.words.len()).sum();
        let scratch = self.arena.len() + self.shared.len() + self.scratch.len() + self.operands.len();
        4 * (words + scratch)
    }

    fn persistent(&mut self, name: &str, ty: &Type) -> usize {
        if let Some(&i) = self.names.get(name) {
            return i;
        }
        self.tensors.push(Persistent { ty: ty.clone(), words: Words::zeros(ty.elements()), set: false });
        self.names.insert(name.to_string(), self.tensors.len() - 1);
        self.tensors.len() - 1
    }

    fn planned(
        &self,
        graph: &Graph,
        fuse: bool,
        simplify: bool,
        plan_options: PlanOptions,
    ) -> Result<(Graph, Plan), ExecError> {
        // Simplified first: what is never computed needs no layout.
        let graph = if simplify { passes::run(graph.clone(), &passes::Options::default()) } else { graph.clone() };
        let graph = layout(&graph);
        let clusters = fuse::fuse(&graph, if fuse { self.fusion } else { FuseOptions::OFF });
        let plan = plan::plan(&graph, clusters, plan_options);
        if cfg!(debug_assertions) {
            plan.verify().map_err(ExecError::Bug)?;
        }
        Ok((graph, plan))
    }

    /// Bytes that runs of a graph need, by its plan alone: nothing is allocated.
    pub fn need(&self, graph: &Graph) -> Result<u64, ExecError> {
        let plan = self.planned(graph, self.options.fuse, true, self.plan_options())?.1;
        Ok((plan.arena + plan.persistent + plan.constant) as u64)
    }

    fn build(
        &mut self,
        graph: &Graph,
        fuse: bool,
        simplify: bool,
        plan_options: PlanOptions,
    ) -> Result<Program, ExecError> {
        let (graph, plan) = self.planned(graph, fuse, simplify, plan_options)?;
        if let Some(limit) = self.options.memory {
            let need = (plan.arena + plan.persistent + plan.constant) as u64;
            if need > limit {
                return Err(ExecError::Memory { need, limit });
            }
        }
        let mut inputs: Vec<(Name, Type)> = vec![];
        let mut needs = vec![];
        for n in graph.ids() {
            match &graph.node(n).op {
                Op::Input(name) => inputs.push((name.clone(), graph.ty(n).clone())),
                Op::Param(name) | Op::State(name) if plan.places.contains_key(&n) => {
                    needs.push((self.persistent(name, graph.ty(n)), graph.ty(n).clone()));
                }
                _ => {}
            }
        }
        let input_names: Vec<Name> = inputs.iter().map(|i| i.0.clone()).collect();
        let mut c = Compiler {
            graph: &graph,
            isa: self.isa,
            threads: self.pool.threads(),
            bufs: BTreeMap::new(),
            spots: vec![],
            lens: vec![],
            operand_words: 0,
            taken: 0,
            scratch_words: 0,
            shared_words: 0,
        };
        c.number(&plan, &input_names, &mut |name, ty| self.persistent(name, ty));
        let launches = c.launches(&plan);
        let Compiler { bufs, spots, lens, operand_words, scratch_words, shared_words, .. } = c;
        let mut constants = vec![];
        for (n, values) in &plan.constants {
            let dtype = graph.ty(*n).dtype;
            let mut w = Words::zeros(values.len());
            for (t, v) in w.as_mut_slice().iter_mut().zip(values.iter()) {
                *t = kernel::constant_word(v.0, dtype);
            }
            constants.push(w);
        }
        let mut commits = vec![];
        for commit in &plan.commits {
            let slot = self.persistent(&commit.to, graph.ty(commit.from));
            commits.push((bufs[&commit.from], commit.via.map(|v| v / 4), slot));
        }
        let results = plan.results.iter().map(|(name, n)| {
            // A result that is a reshape has its own shape.
            let out = graph.outputs.iter().find(|o| o.0 == *name).map_or(*n, |o| o.1);
            (name.clone(), bufs[n], graph.ty(out).clone())
        });
        let results: Vec<_> = results.collect();
        let mut written = vec![];
        for (name, n) in &graph.outputs {
            if let Some(target) = persistent_name(name) {
                let ty = graph.ty(*n).clone();
                let slot = self.persistent(target, &ty);
                let t = &mut self.tensors[slot];
                if t.ty.elements() != ty.elements() {
                    return Err(ExecError::Bug(format!("`{target}` is {} but its next value is {ty}", t.ty)));
                }
                written.push(slot);
            }
        }
        for l in &launches {
            let kernel = match &l.action {
                Action::Kernel(k) => Some(k),
                Action::MatMul { then, .. } | Action::Conv { then, .. } => then.as_ref().map(|t| &t.kernel),
                Action::Zero { .. } | Action::Gather { .. } | Action::Scatter { .. } | Action::Fold { .. } => None,
            };
            if let Some(k) = kernel {
                self.threads.iter_mut().for_each(|t| t.get_mut().grow(k));
            }
        }
        self.arena.grow(plan.arena / 4);
        self.shared.grow(shared_words);
        self.scratch.grow(scratch_words);
        self.operands.grow(operand_words);
        let spent = vec![(0, u64::MAX); launches.len()];
        Ok(Program {
            launches,
            spots,
            lens,
            needs,
            inputs,
            constants,
            commits,
            results,
            bufs,
            written,
            operand_words,
            shared_words,
            scratch_words,
            plan,
            graph,
            spent,
            runs: 0,
        })
    }

    /// Checks what the caller gives and sets up the table of addresses.
    fn bind(&mut self, p: &mut Program, inputs: &[(&str, &HostTensor)]) -> Result<(), ExecError> {
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
        self.converted.resize_with(self.converted.len().max(p.inputs.len()), Words::default);
        let mut addresses = vec![std::ptr::null_mut(); p.inputs.len()];
        for (i, (name, ty)) in p.inputs.iter().enumerate() {
            let given = inputs.iter().find(|v| v.0 == &**name);
            let error =
                |found: String| ExecError::Input { name: name.to_string(), expected: ty.to_string(), found };
            let Some((_, host)) = given else { return Err(error("missing".into())) };
            let found = host.ty();
            if found.shape != ty.shape || !memory::same_words(found.dtype, ty.dtype) {
                return Err(error(found.to_string()));
            }
            addresses[i] = match &host.data {
                crate::graph::HostData::F32(v) => v.as_ptr().cast::<u32>().cast_mut(),
                crate::graph::HostData::U32(v) => v.as_ptr().cast_mut(),
                crate::graph::HostData::Bool(_) => {
                    self.converted[i].grow(ty.elements());
                    memory::put(host, &mut self.converted[i].as_mut_slice()[..ty.elements()]);
                    self.converted[i].as_mut_ptr()
                }
            };
        }
        self.table.clear();
        for spot in &p.spots {
            self.table.push(match spot {
                Spot::Arena(at) => self.arena.as_mut_ptr().wrapping_add(*at),
                Spot::Persistent(i) => self.tensors[*i].words.as_mut_ptr(),
                Spot::Input(i) => addresses[*i],
                Spot::Constant(i) => p.constants[*i].as_mut_ptr(),
                Spot::Operand(at) => self.operands.as_mut_ptr().wrapping_add(*at),
            });
        }
        Ok(())
    }

    /// Runs the launches of a bound program; `after` sees each launch when it is done, with the table.
    fn launch(&mut self, p: &mut Program, mut after: impl FnMut(usize, &Program, &[*mut u32]) -> bool) {
        let words = self.scratch.len();
        // SAFETY: scratch is words of memory of its own; any bits are an f32.
        let scratch = unsafe { std::slice::from_raw_parts_mut(self.scratch.as_mut_ptr().cast::<f32>(), words) };
        let mut machine = Machine {
            bufs: &self.table,
            lens: &p.lens,
            lanes: &self.lanes,
            pool: &self.pool,
            threads: &self.threads,
            shared: self.shared.as_mut_ptr(),
            scratch,
            launches: &mut self.launches,
        };
        for i in 0..p.launches.len() {
            let start = self.options.profile.then(Instant::now);
            // SAFETY: `bind` put live addresses into the table; the plan was verified not to overlap.
            unsafe { machine.run(&p.launches[i].action) };
            if let Some(start) = start {
                let nanos = start.elapsed().as_nanos() as u64;
                p.spent[i] = (p.spent[i].0 + nanos, p.spent[i].1.min(nanos));
            }
            if !after(i, p, machine.bufs) {
                return;
            }
        }
        p.runs += 1;
    }
}

impl Executor for CpuExecutor {
    type Program = Program;
    type Pending = Vec<(Name, HostTensor)>;

    fn compile(&mut self, graph: &Graph) -> Result<Program, ExecError> {
        self.build(graph, self.options.fuse, true, self.plan_options())
    }

    fn store(&mut self, name: &str, value: &HostTensor) -> Result<(), ExecError> {
        let ty = value.ty();
        let slot = self.persistent(name, &ty);
        let t = &mut self.tensors[slot];
        if t.ty.shape != ty.shape || !memory::same_words(ty.dtype, t.ty.dtype) {
            t.ty = ty.clone();
            t.words = Words::zeros(ty.elements());
        }
        memory::put(value, t.words.as_mut_slice());
        t.set = true;
        Ok(())
    }

    fn fetch(&self, name: &str) -> Result<Option<HostTensor>, ExecError> {
        let t = self.names.get(name).map(|&i| &self.tensors[i]).filter(|t| t.set);
        Ok(t.map(|t| memory::get(&t.ty, t.words.as_slice())))
    }

    fn finish(&mut self, done: Self::Pending) -> Result<Vec<(Name, HostTensor)>, ExecError> {
        Ok(done)
    }

    fn start(
        &mut self,
        p: &mut Program,
        inputs: &[(&str, &HostTensor)],
    ) -> Result<Vec<(Name, HostTensor)>, ExecError> {
        self.bind(p, inputs)?;
        self.launch(p, |_, _, _| true);
        // All values that wait are read before any persistent tensor changes.
        for (from, via, _) in &p.commits {
            if let Some(at) = via {
                let (from, n) = (self.table[*from as usize], p.lens[*from as usize]);
                // SAFETY: the plan keeps room for the waiting value in the arena.
                unsafe { std::ptr::copy_nonoverlapping(from, self.arena.as_mut_ptr().add(*at), n) };
            }
        }
        for (from, via, slot) in &p.commits {
            let n = p.lens[*from as usize];
            let from = match via {
                Some(at) => self.arena.as_mut_ptr().wrapping_add(*at),
                None => self.table[*from as usize],
            };
            // SAFETY: the value is in the arena, an input or a constant, and as long as the tensor.
            unsafe { std::ptr::copy_nonoverlapping(from, self.tensors[*slot].words.as_mut_ptr(), n) };
        }
        p.written.iter().for_each(|&slot| self.tensors[slot].set = true);
        let result = |(name, buf, ty): &(Name, u32, Type)| {
            // SAFETY: results live to the end of the run.
            let words = unsafe { std::slice::from_raw_parts(self.table[*buf as usize], ty.elements()) };
            (name.clone(), memory::get(ty, words))
        };
        Ok(p.results.iter().map(result).collect())
    }

    fn locate_nonfinite(
        &mut self,
        graph: &Graph,
        inputs: &[(&str, &HostTensor)],
    ) -> Result<Option<String>, ExecError> {
        let options = PlanOptions { in_place: false, ..self.plan_options() };
        let mut p = self.build(graph, false, false, options)?;
        self.bind(&mut p, inputs)?;
        profile::locate(self, p)
    }
}
