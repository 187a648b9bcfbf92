//! One executor of those that a command line can ask for.

use super::cpu::{self, CpuExecutor};
use super::cuda::{self, CudaExecutor};
use super::profile::Profile;
use super::{ExecError, Executor};
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

    /// What was measured of a program.
    pub fn profile(&self, program: &AnyProgram) -> Profile {
        match program {
            AnyProgram::Cpu(p) => p.profile(),
            AnyProgram::Cuda(p) => p.profile(self.place()),
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
