//! Executors: run compiled graphs. They know plans and clusters, nothing of GANs.

pub mod cpu;
pub mod oracle;

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
    #[error("the plan needs {need} bytes, {limit} are allowed")]
    Memory {
        /// Bytes that the plan needs.
        need: u64,
        /// Bytes that there are.
        limit: u64,
    },
    /// An inconsistency that is a bug in ganc.
    #[error("bug in ganc: {0}")]
    Bug(String),
}

/// Runs graphs over a store of persistent tensors.
///
/// Outputs named `param:X` and `state:X` replace the persistent tensor `X` after the run (all at once: the graph is a
/// pure function of the old values); the other outputs are returned. `Param(X)` and `State(X)` leaves read `X`.
pub trait Executor {
    /// A compiled graph.
    type Program;
    /// Compiles a verified graph.
    fn compile(&mut self, graph: &Graph) -> Result<Self::Program, ExecError>;
    /// Sets a persistent tensor.
    fn store(&mut self, name: &str, value: &HostTensor);
    /// Reads a persistent tensor.
    fn fetch(&self, name: &str) -> Option<HostTensor>;
    /// Runs a program; `inputs` are its `Input` leaves by name.
    fn run(
        &mut self,
        program: &mut Self::Program,
        inputs: &[(&str, &HostTensor)],
    ) -> Result<Vec<(Name, HostTensor)>, ExecError>;
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
