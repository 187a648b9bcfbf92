//! One executor of those that a command line can ask for.

use super::cpu::{self, CpuExecutor};
use super::cuda::{self, CudaExecutor};
use super::profile::Profile;
use super::{ExecError, Executor, Held};
use crate::codegen::cuda::contract::tiles::Choice;
use crate::codegen::cuda::contract::tuning::{Shape, Tuning};
use crate::graph::rows::Rows;
use crate::graph::{Graph, HostTensor, Name};
use crate::plan::Plan;

/// An executor.
#[allow(clippy::large_enum_variant, reason = "a process has one")]
pub enum AnyExecutor {
    /// The processor.
    Cpu(CpuExecutor),
    /// An NVIDIA device.
    Cuda(CudaExecutor),
}

/// A program of an [`AnyExecutor`].
#[allow(clippy::large_enum_variant, reason = "a process has a handful")]
pub enum AnyProgram {
    /// The processor's.
    Cpu(cpu::Program),
    /// A device's.
    Cuda(cuda::Program),
}

/// A started run of an [`AnyExecutor`].
pub enum AnyPending {
    /// The processor's: already done.
    Cpu(Vec<(Name, HostTensor)>),
    /// A device's.
    Cuda(cuda::Pending),
}

fn foreign() -> ExecError {
    ExecError::Bug("a program was given to another executor than the one that compiled it".into())
}

impl AnyExecutor {
    /// Where it runs, for people.
    pub fn place(&self) -> &str {
        match self {
            AnyExecutor::Cpu(_) => "the processor",
            AnyExecutor::Cuda(e) => &e.about().name,
        }
    }

    /// The NVIDIA device, if that is where it runs.
    pub fn cuda(&mut self) -> Option<&mut CudaExecutor> {
        match self {
            AnyExecutor::Cpu(_) => None,
            AnyExecutor::Cuda(e) => Some(e),
        }
    }

    /// The measured tiles that programs are compiled with, if there are any.
    pub fn tiles(&self) -> Option<String> {
        match self {
            AnyExecutor::Cpu(_) => None,
            AnyExecutor::Cuda(e) => Some(e.tuning().to_string()).filter(|t| !t.is_empty()),
        }
    }

    /// Compiles with these tiles from now on, or with none that were measured.
    pub fn use_tiles(&mut self, tiles: Option<&str>) {
        if let AnyExecutor::Cuda(e) = self {
            e.tune(tiles.map_or_else(Tuning::default, Tuning::parse));
        }
    }

    /// Bytes that runs of a graph need, by its plan alone.
    pub fn need(&self, graph: &Graph) -> Result<u64, ExecError> {
        match self {
            AnyExecutor::Cpu(e) => e.need(graph),
            AnyExecutor::Cuda(e) => e.need(graph),
        }
    }

    /// Bytes that are free where it runs; `None` if that is not known.
    pub fn free(&self) -> Option<u64> {
        match self {
            AnyExecutor::Cpu(_) => cpu::free_bytes(),
            AnyExecutor::Cuda(e) => e.free().ok(),
        }
    }

    /// Most bytes of a device of its own that it had at once; `None` if it computes in the memory of this process.
    pub fn most_bytes(&self) -> Option<u64> {
        match self {
            AnyExecutor::Cpu(_) => None,
            AnyExecutor::Cuda(e) => Some(e.most_bytes()),
        }
    }

    /// What was measured of a program.
    pub fn profile(&self, program: &AnyProgram) -> Profile {
        match program {
            AnyProgram::Cpu(p) => p.profile(),
            AnyProgram::Cuda(p) => {
                let mut profile = p.profile(self.place());
                if let AnyExecutor::Cuda(e) = self {
                    profile.inputs = e.tell_inputs(p);
                }
                profile
            }
        }
    }
}

impl AnyProgram {
    /// Forgets what was measured.
    pub fn reset_profile(&mut self) {
        match self {
            AnyProgram::Cpu(p) => p.reset_profile(),
            AnyProgram::Cuda(p) => p.reset_profile(),
        }
    }

    /// Products that are cut into tiles, and what was measured of each; see [`cuda::Program::products`].
    pub fn products(&self) -> Vec<(Shape, Choice, f64)> {
        match self {
            AnyProgram::Cpu(_) => vec![],
            AnyProgram::Cuda(p) => p.products(),
        }
    }

    /// Bytes of memory that runs need.
    pub fn memory(&self) -> usize {
        match self {
            AnyProgram::Cpu(p) => p.memory(),
            AnyProgram::Cuda(p) => p.memory(),
        }
    }

    /// Number of launches of a run.
    pub fn launch_count(&self) -> usize {
        match self {
            AnyProgram::Cpu(p) => p.launch_count(),
            AnyProgram::Cuda(p) => p.launch_count(),
        }
    }

    /// The graph as it was compiled.
    pub fn graph(&self) -> &Graph {
        match self {
            AnyProgram::Cpu(p) => &p.graph,
            AnyProgram::Cuda(p) => &p.graph,
        }
    }

    /// Its plan.
    pub fn plan(&self) -> &Plan {
        match self {
            AnyProgram::Cpu(p) => &p.plan,
            AnyProgram::Cuda(p) => &p.plan,
        }
    }
}

impl Executor for AnyExecutor {
    type Program = AnyProgram;
    type Pending = AnyPending;

    fn compile(&mut self, graph: &Graph) -> Result<AnyProgram, ExecError> {
        match self {
            AnyExecutor::Cpu(e) => e.compile(graph).map(AnyProgram::Cpu),
            AnyExecutor::Cuda(e) => e.compile(graph).map(AnyProgram::Cuda),
        }
    }

    fn store(&mut self, name: &str, value: &HostTensor) -> Result<(), ExecError> {
        match self {
            AnyExecutor::Cpu(e) => e.store(name, value),
            AnyExecutor::Cuda(e) => e.store(name, value),
        }
    }

    fn fetch(&self, name: &str) -> Result<Option<HostTensor>, ExecError> {
        match self {
            AnyExecutor::Cpu(e) => e.fetch(name),
            AnyExecutor::Cuda(e) => e.fetch(name),
        }
    }

    fn may_hold(&self) -> bool {
        match self {
            AnyExecutor::Cpu(e) => e.may_hold(),
            AnyExecutor::Cuda(e) => e.may_hold(),
        }
    }

    fn holds(&self, held: Held) -> bool {
        match self {
            AnyExecutor::Cpu(e) => e.holds(held),
            AnyExecutor::Cuda(e) => e.holds(held),
        }
    }

    fn reads(&self, program: &AnyProgram, input: &str) -> bool {
        match (self, program) {
            (AnyExecutor::Cpu(e), AnyProgram::Cpu(p)) => e.reads(p, input),
            (AnyExecutor::Cuda(e), AnyProgram::Cuda(p)) => e.reads(p, input),
            (AnyExecutor::Cpu(_) | AnyExecutor::Cuda(_), _) => false,
        }
    }

    fn hold(&mut self, rows: &Rows<'_>) -> Result<Option<Held>, ExecError> {
        match self {
            AnyExecutor::Cpu(e) => e.hold(rows),
            AnyExecutor::Cuda(e) => e.hold(rows),
        }
    }

    fn feed(&mut self, program: &mut AnyProgram, input: &str, from: Held) -> Result<(), ExecError> {
        match (self, program) {
            (AnyExecutor::Cpu(e), AnyProgram::Cpu(p)) => e.feed(p, input, from),
            (AnyExecutor::Cuda(e), AnyProgram::Cuda(p)) => e.feed(p, input, from),
            (AnyExecutor::Cpu(_) | AnyExecutor::Cuda(_), _) => Err(foreign()),
        }
    }

    fn takes_rows(&self, program: &AnyProgram, input: &str) -> bool {
        match (self, program) {
            (AnyExecutor::Cpu(e), AnyProgram::Cpu(p)) => e.takes_rows(p, input),
            (AnyExecutor::Cuda(e), AnyProgram::Cuda(p)) => e.takes_rows(p, input),
            (AnyExecutor::Cpu(_) | AnyExecutor::Cuda(_), _) => false,
        }
    }

    fn start(&mut self, program: &mut AnyProgram, inputs: &[(&str, &HostTensor)]) -> Result<AnyPending, ExecError> {
        match (self, program) {
            (AnyExecutor::Cpu(e), AnyProgram::Cpu(p)) => e.start(p, inputs).map(AnyPending::Cpu),
            (AnyExecutor::Cuda(e), AnyProgram::Cuda(p)) => e.start(p, inputs).map(AnyPending::Cuda),
            (AnyExecutor::Cpu(_) | AnyExecutor::Cuda(_), _) => Err(foreign()),
        }
    }

    fn finish(&mut self, pending: AnyPending) -> Result<Vec<(Name, HostTensor)>, ExecError> {
        match (self, pending) {
            (AnyExecutor::Cpu(e), AnyPending::Cpu(p)) => e.finish(p),
            (AnyExecutor::Cuda(e), AnyPending::Cuda(p)) => e.finish(p),
            (AnyExecutor::Cpu(_) | AnyExecutor::Cuda(_), _) => Err(foreign()),
        }
    }

    fn ahead(&self) -> usize {
        match self {
            AnyExecutor::Cpu(e) => e.ahead(),
            AnyExecutor::Cuda(e) => e.ahead(),
        }
    }

    fn locate_nonfinite(
        &mut self,
        graph: &Graph,
        inputs: &[(&str, &HostTensor)],
    ) -> Result<Option<String>, ExecError> {
        match self {
            AnyExecutor::Cpu(e) => e.locate_nonfinite(graph, inputs),
            AnyExecutor::Cuda(e) => e.locate_nonfinite(graph, inputs),
        }
    }
}
