//! Executors: run compiled graphs. They know plans and clusters, nothing of GANs.

pub mod any;
pub mod cpu;
pub mod cuda;
mod nonfinite;
pub mod oracle;
pub mod profile;

use crate::graph::rows::Rows;
use crate::graph::{Graph, HostTensor, Name};
use thiserror::Error;

/// What can go wrong while compiling or running a graph.
#[derive(Debug, Error)]
pub enum ExecError {
    /// A persistent tensor that the graph reads was never stored.
    #[error("the graph reads `{0}`, which has no value yet")]
    Missing(String),
    /// An input has another type than the graph says.
    #[error("`{name}` is {found}, the graph takes {expected}")]
    Input {
        /// Its name.
        name: String,
        /// What the graph takes.
        expected: String,
        /// What was given.
        found: String,
    },
    /// The plan needs more memory than is allowed.
    #[error("the plan needs {need} bytes of memory, and {limit} are free")]
    Memory {
        /// Bytes that the plan needs.
        need: u64,
        /// Bytes that there are.
        limit: u64,
    },
    /// A device, its driver or its compiler.
    #[error(transparent)]
    Cuda(#[from] cuda::CudaError),
    /// An inconsistency that is a bug in ganc.
    #[error("bug in ganc: {0}")]
    Bug(String),
}

/// Rows that an executor's device holds: its number for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held(pub usize);

/// Runs graphs over a store of persistent tensors.
///
/// Outputs named `param:X` and `state:X` replace the persistent tensor `X` after the run (all at once: the graph is a
/// pure function of the old values); the other outputs are returned. `Param(X)` and `State(X)` leaves read `X`.
pub trait Executor {
    /// A compiled graph.
    type Program;
    /// A started run.
    type Pending;
    /// Compiles a verified graph.
    fn compile(&mut self, graph: &Graph) -> Result<Self::Program, ExecError>;
    /// Sets a persistent tensor.
    fn store(&mut self, name: &str, value: &HostTensor) -> Result<(), ExecError>;
    /// Whether it runs where rows can be kept: if not, [`Executor::hold`] need not be asked.
    fn may_hold(&self) -> bool {
        false
    }
    /// Whether held rows are still there.
    fn holds(&self, held: Held) -> bool {
        let _ = held;
        false
    }
    /// Whether a program has this input.
    fn reads(&self, program: &Self::Program, input: &str) -> bool {
        let _ = (program, input);
        true
    }
    /// Keeps rows where it runs, beside what was compiled so far, if that is a memory of its own and they fit. It may give
    /// them up later, for a program that needs the room.
    fn hold(&mut self, rows: &Rows<'_>) -> Result<Option<Held>, ExecError> {
        let _ = rows;
        Ok(None)
    }
    /// From now on an input of a program is made of held rows, if they are its element type and shape.
    fn feed(&mut self, program: &mut Self::Program, input: &str, from: Held) -> Result<(), ExecError> {
        let _ = (program, input, from);
        Ok(())
    }
    /// Whether the next run of a program takes for this input the numbers of held rows, `u32[batch]` (with
    /// [`MIRRORED`](crate::graph::rows::MIRRORED)), and not their elements.
    fn takes_rows(&self, program: &Self::Program, input: &str) -> bool {
        let _ = (program, input);
        false
    }
    /// Reads a persistent tensor, as the runs that were started leave it; `None` if it has no value.
    fn fetch(&self, name: &str) -> Result<Option<HostTensor>, ExecError>;
    /// Starts a run; `inputs` are its `Input` leaves by name. Runs happen in the order in which they are started.
    fn start(
        &mut self,
        program: &mut Self::Program,
        inputs: &[(&str, &HostTensor)],
    ) -> Result<Self::Pending, ExecError>;
    /// Waits for a started run; what it returns.
    fn finish(&mut self, pending: Self::Pending) -> Result<Vec<(Name, HostTensor)>, ExecError>;
    /// How many runs may well be started before the first of them is finished, so that a device need not wait for
    /// its host.
    fn ahead(&self) -> usize {
        0
    }
    /// Runs a program to its end.
    fn run(
        &mut self,
        program: &mut Self::Program,
        inputs: &[(&str, &HostTensor)],
    ) -> Result<Vec<(Name, HostTensor)>, ExecError> {
        let pending = self.start(program, inputs)?;
        self.finish(pending)
    }
    /// Runs a graph node by node over the present persistent tensors, changes none of them, and says which node first
    /// gave a NaN or an infinity from finite arguments: its layer path, op, order of gradient and shape, as a person
    /// reads it (`D.conv2 (conv_fwd, gradient of order 1, f32[8,6,2,2])`). `None`: every node is finite.
    fn locate_nonfinite(
        &mut self,
        graph: &Graph,
        inputs: &[(&str, &HostTensor)],
    ) -> Result<Option<String>, ExecError>;
}

/// A node as a person reads it: layer path, op, order of gradient, type.
pub fn place(graph: &Graph, id: crate::graph::NodeId) -> String {
    let (node, origin) = (graph.node(id), graph.origin(id));
    let op = format!("{:?}", node.op);
    let op = op.split(['(', ' ', '{']).next().unwrap_or_default().to_string();
    let path = if origin.path.is_empty() { "the objective" } else { &*origin.path };
    let order = match origin.order {
        0 => String::new(),
        n => format!(", gradient of order {n}"),
    };
    format!("{path} ({op}{order}, {})", node.ty)
}
