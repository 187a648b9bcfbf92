//! Graph to clusters: which nodes are computed together, and which get memory.
//!
//! Always holds after [`fuse`]: every node that an output or a cluster reads is a leaf or written by exactly one
//! cluster; a cluster reads only what earlier clusters (in the partial order of reads) write; reshapes and stops share
//! their argument's memory; every view that stayed out of a body has a reason in [`Clusters::refusals`].

mod alike;
pub mod body;
mod decide;
mod epilogue;
mod group;
pub mod index;
mod moments;
mod print;
mod reach;
pub use epilogue::rows_of;
pub use print::label;

pub use body::{Body, Code, Combine, Inst, Lower, Reg, Sink, base, first_uses};
pub use index::{Affine, Guard, IndexMap};

use crate::graph::{Const, ContractDims, ConvGeom, Graph, NodeId, Op, Window};
use std::sync::Arc;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FuseOptions {
    /// False: one node a kernel.
    pub fuse: bool,
    /// Whether products compute cheap operands as they load them. That spares a tensor in memory, but a value is
    /// computed for each of its uses: a gain where arithmetic is free and memory is not.
    pub prologues: bool,
    /// Whether reductions may be [`Combine::Deviation`]: one pass over what is normalised, in the kernel that makes it.
    pub moments: bool,
}

impl FuseOptions {
    /// One node a kernel.
    pub const OFF: FuseOptions = FuseOptions { fuse: false, prologues: false, moments: false };
    /// For processors whose caches hold what a kernel leaves to the next one.
    pub const CPU: FuseOptions = FuseOptions { fuse: true, prologues: false, moments: false };
    /// For devices. Operands are stored: to read them is cheaper than to compute them for each tap and tile (on an H200
    /// iterations in f32 got 3 to 7 % faster by it).
    pub const GPU: FuseOptions = FuseOptions { fuse: true, prologues: false, moments: true };
    /// For devices whose memory is slow beside their arithmetic.
    pub const PROLOGUES: FuseOptions = FuseOptions { fuse: true, prologues: true, moments: false };
}

/// Kind of a cluster, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Elementwise over one loop nest.
    Map,
    /// Loops that end in reductions, perhaps beside elementwise results.
    Reduce,
    /// Elementwise, all results are next values of persistent tensors.
    Update,
    /// A product or convolution.
    Contract,
    /// Rows read from or written to a table, windows summed.
    Rows,
}

/// An argument of a product, as the product's kernel reads it: the *prologue*.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operand {
    /// The argument's shape.
    pub shape: Vec<usize>,
    /// Straight-line code for one element; the loops are the axes of `shape`, the last instruction's result is the
    /// element, there are no sinks.
    pub body: Body,
}

impl Operand {
    /// The stored tensor that is read in place, and where its elements are, if nothing is computed on the way.
    pub fn stored(&self) -> Option<(NodeId, &Affine)> {
        match self.body.insts.as_slice() {
            [Inst { code: Code::Load { from, at, guards }, .. }] if guards.is_empty() => Some((*from, at)),
            _ => None,
        }
    }
}

/// A product.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Product {
    /// General contraction.
    Dot(ContractDims),
    /// `(x, w) -> y`
    ConvFwd(Arc<ConvGeom>),
    /// `(g, w) -> x`
    ConvDataGrad(Arc<ConvGeom>),
    /// `(x, g) -> w`
    ConvWeightGrad(Arc<ConvGeom>),
}

impl Product {
    /// Whether an op is a product.
    pub fn is(op: &Op) -> bool {
        matches!(op, Op::Contract(_) | Op::ConvFwd(_) | Op::ConvDataGrad(_) | Op::ConvWeightGrad(_))
    }
}

/// What a cluster does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// A loop nest.
    Loops(Body),
    /// A product.
    Contract {
        /// The product's node.
        node: NodeId,
        /// Which product.
        product: Product,
        /// Left argument (for convolutions a whole stored tensor, in order).
        lhs: Operand,
        /// Right argument (for convolutions likewise).
        rhs: Operand,
        /// What is computed from the elements of the result while they are at hand: two loops, over the rows and
        /// the columns of the result as a matrix ([`rows_of`]), in which a load of `node` at the element itself
        /// stands for the product's element. All stores are to the element itself, all reductions are sums or
        /// maxima over all rows (and perhaps columns). `None`: the result goes to memory as it is.
        epilogue: Option<Body>,
    },
    /// Rows of a table.
    Gather {
        /// Result.
        node: NodeId,
        /// Table and row numbers.
        args: [NodeId; 2],
    },
    /// A table with rows replaced.
    Scatter {
        /// Result.
        node: NodeId,
        /// Table, row numbers, values.
        args: [NodeId; 3],
    },
    /// Windows summed back.
    Fold {
        /// Result.
        node: NodeId,
        /// The windows.
        arg: NodeId,
        /// Their geometry.
        window: Arc<Window>,
    },
}

/// Nodes that are computed by one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// For people.
    pub kind: Kind,
    /// What it does.
    pub work: Work,
    /// The stored nodes that it writes, ascending.
    pub writes: Vec<NodeId>,
    /// The stored nodes that it reads, ascending.
    pub reads: Vec<NodeId>,
}

/// Why something was not fused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The node that got memory.
    pub node: NodeId,
    /// Why.
    pub reason: Reason,
}

/// Why a node got memory of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Fusion is off.
    Unfused,
    /// It is an output.
    Output,
    /// A product, table or window kernel reads it.
    Operand,
    /// A reshape reads it that no index map can express.
    Reshape,
    /// It is dearer to compute again for each reader than to store.
    Shared,
    /// A broadcast or overlapping view would compute it many times.
    Repeated,
    /// The body would get too long.
    Long,
    /// It is what a product makes, in half as many bits.
    Half,
}

impl Reason {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Reason::Unfused => "fusion is off",
            Reason::Output => "it is an output",
            Reason::Operand => "a product, table or window kernel reads it from memory",
            Reason::Reshape => "its reshape cannot be expressed as an index map",
            Reason::Shared => "several clusters read it and computing it again costs more than memory",
            Reason::Repeated => "a view would compute it several times for each element",
            Reason::Long => "the loop body would get too long",
            Reason::Half => "it is half of what a product makes, and is kept in its place",
        }
    }
}

/// The result of fusion.
#[derive(Clone, Debug)]
pub struct Clusters {
    /// False: one node a kernel.
    pub fused: bool,
    /// In an order in which each reads only what earlier ones or leaves hold.
    pub clusters: Vec<Cluster>,
    /// For each node: whether it has memory.
    pub stored: Vec<bool>,
    /// Why nodes that could have been part of a body have memory, by node.
    pub refusals: Vec<Refusal>,
}

/// Whether a node's value exists without a cluster.
pub fn is_leaf(op: &Op) -> bool {
    matches!(op, Op::Input(_) | Op::Param(_) | Op::State(_) | Op::Const(Const::Dense(_)))
}

/// Groups the nodes of a graph that its outputs need.
pub fn fuse(g: &Graph, options: FuseOptions) -> Clusters {
    let decision = decide::decide(g, options);
    group::group(g, options, decision)
}

/// The loops over a tensor: its extents but 1.
pub fn domain_of(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().filter(|&d| d != 1).collect()
}

/// The map of a tensor of this shape over [`domain_of`] it.
pub fn map_of(shape: &[usize]) -> IndexMap {
    let rank = shape.iter().filter(|&&d| d != 1).count();
    let mut next = 0;
    let coords = shape.iter().map(|&d| {
        if d == 1 {
            Affine::constant(rank, 0)
        } else {
            next += 1;
            Affine::axis(rank, next - 1)
        }
    });
    IndexMap { coords: coords.collect(), guards: vec![] }
}
