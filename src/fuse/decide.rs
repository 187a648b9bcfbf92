//! Which nodes get memory.

use super::moments::{Deviations, Stored};
use super::{FuseOptions, Product, Reason, Refusal, base, is_leaf};
use crate::graph::{Const, DType, Graph, NodeId, Op, Unary};

/// Arithmetic that may be repeated rather than stored and loaded again.
const CHEAP: u32 = 6;
/// Arithmetic that is not done at other than the node's own indices.
const DEAR: u32 = 24;
/// Tensors that a repeated value may load, not counting those that are so many times smaller than it: a factor for each
/// channel is read again from where it was read last, and not from memory.
const FEW_LOADS: usize = 3;
const SMALLER: usize = 16;
/// Tensors that it may load in all.
const ALL_LOADS: usize = 8;
/// Longest chain that is computed in one body.
const LONG: u32 = 64;

/// The decision.
pub(super) struct Decision {
    /// Nodes that outputs need.
    pub live: Vec<bool>,
    /// Nodes with memory, leaves included.
    pub stored: Stored,
    /// Why.
    pub refusals: Vec<Refusal>,
}

/// How a node is read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Read {
    /// Element by element.
    Same,
    /// At other indices, each element at most once.
    Moved,
    /// Each element several times, or behind a guard.
    Repeated,
    /// Through a reshape.
    Reshaped,
    /// By a kernel that wants memory.
    Operand,
    /// By a product, which reads through affine views.
    Strided,
}

/// Weight of a node's own arithmetic.
fn weight(op: &Op) -> u32 {
    match op {
        Op::Unary(f) => match f {
            Unary::Neg | Unary::Abs | Unary::Not | Unary::Sign | Unary::Floor | Unary::Tf32 => 1,
            Unary::Recip | Unary::Sqrt => 3,
            Unary::Exp | Unary::Log | Unary::Log1p | Unary::Tanh | Unary::Erf | Unary::Sin | Unary::Cos => 8,
        },
        Op::Binary(_) | Op::Select | Op::Cast | Op::Iota { .. } => 1,
        Op::Random { .. } => 40,
        Op::Pad { .. } | Op::Unfold(_) | Op::Concat { .. } => 2,
        Op::Reshape | Op::Permute(_) | Op::Broadcast | Op::Slice { .. } | Op::Reverse(_) | Op::Stop => 0,
        Op::Input(_) | Op::Param(_) | Op::State(_) | Op::Const(_) => 0,
        Op::Fold(_)
        | Op::Sum(_)
        | Op::Max(_)
        | Op::ArgMax(_)
        | Op::Contract(_)
        | Op::ConvFwd(_)
        | Op::ConvDataGrad(_)
        | Op::ConvWeightGrad(_)
        | Op::GatherRows
        | Op::ScatterRows => 0,
    }
}

/// How each argument is read; `grows` tells whether a broadcast makes anything larger.
fn read_of(g: &Graph, n: NodeId) -> Read {
    let node = g.node(n);
    match &node.op {
        Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Cast | Op::Stop => Read::Same,
        Op::Sum(_) | Op::Max(_) | Op::ArgMax(_) => Read::Same,
        Op::Reshape => {
            if node.ty.elements() == 1 {
                Read::Same
            } else {
                Read::Reshaped
            }
        }
        Op::Permute(_) | Op::Slice { .. } | Op::Reverse(_) => Read::Moved,
        Op::Pad { interior, .. } if interior.iter().all(|&i| i == 0) => Read::Repeated,
        Op::Broadcast if node.ty.elements() == g.ty(node.args[0]).elements() => Read::Same,
        Op::Broadcast | Op::Concat { .. } | Op::Unfold(_) | Op::Random { .. } => Read::Repeated,
        Op::Contract(_) => Read::Strided,
        Op::Pad { .. }
        | Op::Fold(_)
        | Op::ConvFwd(_)
        | Op::ConvDataGrad(_)
        | Op::ConvWeightGrad(_)
        | Op::GatherRows
        | Op::ScatterRows => Read::Operand,
        Op::Input(_) | Op::Param(_) | Op::State(_) | Op::Const(_) | Op::Iota { .. } => Read::Same,
    }
}

/// Whether a node can only be computed by a cluster that writes it.
fn own_kernel(op: &Op) -> bool {
    match op {
        Op::Pad { interior, .. } => interior.iter().any(|&i| i != 0),
        Op::Fold(_)
        | Op::Sum(_)
        | Op::Max(_)
        | Op::ArgMax(_)
        | Op::Contract(_)
        | Op::ConvFwd(_)
        | Op::ConvDataGrad(_)
        | Op::ConvWeightGrad(_)
        | Op::GatherRows
        | Op::ScatterRows => true,
        Op::Input(_)
        | Op::Param(_)
        | Op::State(_)
        | Op::Const(_)
        | Op::Iota { .. }
        | Op::Random { .. }
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Select
        | Op::Cast
        | Op::Reshape
        | Op::Permute(_)
        | Op::Broadcast
        | Op::Slice { .. }
        | Op::Reverse(_)
        | Op::Concat { .. }
        | Op::Unfold(_)
        | Op::Stop => false,
    }
}

/// Whether a product can read the result of this view in place.
fn affine_view(op: &Op) -> bool {
    matches!(op, Op::Permute(_) | Op::Broadcast | Op::Slice { .. } | Op::Reverse(_))
}

/// Whether a node is elementwise and read by nothing but products, as it is. Operands of tensor cores are not: they
/// go to shared memory by asynchronous copies of what is stored, which is several times as fast as computing them
/// again for each tap (97 against 186 TFLOP/s for the same tile on an H200).
fn prologue(g: &Graph, n: NodeId, users: &[NodeId]) -> bool {
    let elementwise = matches!(g.node(n).op, Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Cast);
    let full = g.ty(n).dtype == DType::F32;
    elementwise && full && users.iter().all(|&u| Product::is(&g.node(u).op))
}

/// Whether a node is a product's result in fewer bytes, and nothing else reads the product.
fn half(g: &Graph, n: NodeId, users: &[Vec<NodeId>]) -> bool {
    let node = g.node(n);
    let Some(product) = node.args.first().copied().filter(|_| matches!(node.op, Op::Cast)) else { return false };
    let narrow = node.ty.dtype.bytes() < g.ty(product).dtype.bytes();
    narrow && Product::is(&g.node(product).op) && users[product.index()].len() == 1
}

fn past_stops(g: &Graph, mut n: NodeId) -> NodeId {
    while matches!(g.node(n).op, Op::Stop) {
        n = g.node(n).args[0];
    }
    n
}

/// The nodes that outputs need.
pub(super) fn live_nodes(g: &Graph, deviations: &Deviations) -> Vec<bool> {
    let mut live = vec![false; g.nodes().len()];
    g.outputs.iter().for_each(|o| live[o.1.index()] = true);
    for i in (0..live.len()).rev() {
        if live[i] {
            deviations.args(g, NodeId(i as u32)).iter().for_each(|a| live[a.index()] = true);
        }
    }
    live
}

/// Whether a node is made of too many tensors to read them again for each reader.
fn many(g: &Graph, n: NodeId, loads: &[NodeId]) -> bool {
    let size = g.ty(n).elements();
    let large = loads.iter().filter(|&&x| g.ty(x).elements().saturating_mul(SMALLER) > size).count();
    large > FEW_LOADS || loads.len() > ALL_LOADS
}

pub(super) fn decide(g: &Graph, options: FuseOptions) -> Decision {
    let deviations = if options.moments { Deviations::find(g) } else { Deviations::default() };
    let live = live_nodes(g, &deviations);
    let count = live.len();
    let mut users: Vec<Vec<NodeId>> = vec![vec![]; count];
    for n in g.ids().filter(|n| live[n.index()]) {
        if matches!(g.node(n).op, Op::Stop) {
            continue;
        }
        for &a in deviations.args(g, n) {
            let a = past_stops(g, a);
            if users[a.index()].last() != Some(&n) {
                users[a.index()].push(n);
            }
        }
    }
    let mut reason: Vec<Option<Reason>> = vec![None; count];
    for o in &g.outputs {
        reason[base(g, o.1).index()] = Some(Reason::Output);
    }
    // What kernels read in place.
    for n in g.ids().filter(|n| live[n.index()]) {
        for &a in deviations.args(g, n) {
            let mut b = base(g, a);
            match read_of(g, n) {
                Read::Operand => {}
                Read::Strided => {
                    while affine_view(&g.node(b).op) && options.fuse {
                        let a = g.node(b).args[0];
                        b = base(g, a);
                        if b != a {
                            break;
                        }
                    }
                }
                Read::Same | Read::Moved | Read::Repeated | Read::Reshaped => continue,
            }
            reason[b.index()].get_or_insert(Reason::Operand);
        }
    }
    let mut stored = vec![false; count];
    // Arithmetic and loads of the expression that computes a node from stored ones.
    let mut cost = vec![0u32; count];
    let mut loads: Vec<Vec<NodeId>> = vec![vec![]; count];
    let mut refusals = vec![];
    for n in g.ids().filter(|n| live[n.index()]) {
        let (i, node) = (n.index(), g.node(n));
        if is_leaf(&node.op) || own_kernel(&node.op) {
            stored[i] = true;
            loads[i] = vec![n];
            continue;
        }
        let alias = matches!(node.op, Op::Reshape | Op::Stop);
        if alias && stored[base(g, n).index()] {
            loads[i] = vec![base(g, n)];
            continue;
        }
        let mut c = weight(&node.op);
        let mut l: Vec<NodeId> = vec![];
        for &a in deviations.args(g, n) {
            c = c.saturating_add(cost[a.index()]);
            for &x in &loads[a.index()] {
                if !l.contains(&x) {
                    l.push(x);
                }
            }
        }
        let splat = matches!(node.op, Op::Const(Const::Splat(_)));
        let computed = c > 0;
        let mut why = reason[i];
        if alias {
            why = None;
        } else if !options.fuse && !splat {
            why = Some(Reason::Unfused);
        } else if why == Some(Reason::Operand)
            && options.prologues
            && (1..=CHEAP).contains(&c)
            && l.len() <= FEW_LOADS
            && prologue(g, n, &users[i])
        {
            why = None;
        } else if why.is_none() && !splat {
            let read = |u: &NodeId| read_of(g, *u);
            let reads = users[i].iter().map(read);
            if reads.clone().any(|r| r == Read::Reshaped) {
                why = Some(Reason::Reshape);
            } else if (computed && reads.clone().any(|r| r == Read::Repeated))
                || (c > DEAR && reads.clone().any(|r| r == Read::Moved))
            {
                why = Some(Reason::Repeated);
            } else if users[i].len() > 1 && (c > CHEAP || many(g, n, &l)) {
                why = Some(Reason::Shared);
            } else if half(g, n, &users) {
                why = Some(Reason::Half);
            } else if c > LONG || l.len() > 16 {
                why = Some(Reason::Long);
            }
        }
        if let Some(reason) = why {
            stored[i] = true;
            refusals.push(Refusal { node: n, reason });
            cost[i] = 0;
            loads[i] = vec![n];
        } else {
            cost[i] = c;
            loads[i] = l;
        }
    }
    Decision { live, stored: Stored { flags: stored, deviations }, refusals }
}
