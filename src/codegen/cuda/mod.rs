//! Plans to CUDA C.
//!
//! Always holds of a [`Module`]: the text is the same for the same plan and target, needs no header, and every kernel
//! that a launch names is in it; launches run in order on one stream; what a launch reads was written by an earlier
//! one, an upload, or the run before.

use crate::graph::NodeId;

/// Instruction set that the text is generated for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// Ampere and later: `mma.sync`, `cp.async`.
    Sm80,
    /// Hopper's own instructions besides: `wgmma`, bulk copies.
    Sm90a,
    /// Blackwell: the text of [`Arch::Sm80`], compiled for sm_100a.
    Sm100a,
}

/// What a launch passes to its kernel, in the order of the kernel's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// Address of a stored node (its place in the plan).
    Node(NodeId),
    /// Address of this byte of the module's scratch.
    Scratch(usize),
    /// A number.
    U32(u32),
}

/// One kernel launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Name of an `extern "C"` kernel of the text.
    pub kernel: String,
    /// Index of the cluster in the plan that it works for.
    pub cluster: usize,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    /// Arguments.
    pub args: Vec<Arg>,
}

/// All that a runtime needs beside the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// CUDA C++ for NVRTC.
    pub text: String,
    /// In order.
    pub launches: Vec<Launch>,
    /// Bytes of scratch (256-byte aligned) that launches share.
    pub scratch: usize,
}
