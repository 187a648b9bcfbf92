//! One rule an op: the cotangents of a node's arguments, given the node's.
//!
//! Conventions at points without a derivative (they are PyTorch's where it has one):
//!
//! - `max(a, b)` and `min(a, b)` with `a == b`: a constant operand takes the whole gradient (so `max(x, 0)` has
//!   slope 0 at 0); of two variable operands the second takes it. Arguments stand in the order of their ids, so that
//!   is the one computed later: `max(x, 0.2 * x)` has slope 0.2 at 0. Where `x` is NaN, `max(x, 0)` passes the gradient.
//! - `abs` has slope 0 at 0; `sign` and `floor` have slope 0 everywhere.
//! - a maximum over axes gives everything to the first largest element.

use crate::graph::{Binary, ContractDims, DType, Graph, NodeId, Op, Unary, Window};
use std::sync::Arc;

/// Whether a rule of [`vjp`] can give anything for this op; `false` stops the search for paths early.
pub(super) fn has_derivative(op: &Op) -> bool {
    match op {
        Op::Input(_) | Op::Param(_) | Op::State(_) | Op::Const(_) | Op::Iota { .. } | Op::Random { .. } => false,
        Op::Unary(f) => match f {
            Unary::Sign | Unary::Floor | Unary::Not => false,
            Unary::Neg
            | Unary::Recip
            | Unary::Sqrt
            | Unary::Exp
            | Unary::Log
            | Unary::Log1p
            | Unary::Tanh
            | Unary::Erf
            | Unary::Sin
            | Unary::Cos
            | Unary::Abs
            | Unary::Tf32 => true,
        },
        Op::Binary(f) => match f {
            Binary::Add | Binary::Mul | Binary::Max | Binary::Min => true,
            Binary::Lt | Binary::Le | Binary::Eq | Binary::And | Binary::Or => false,
        },
        Op::ArgMax(_) | Op::Stop => false,
        Op::Select
        | Op::Cast
        | Op::Reshape
        | Op::Permute(_)
        | Op::Broadcast
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Reverse(_)
        | Op::Concat { .. }
        | Op::Unfold(_)
        | Op::Fold(_)
        | Op::Sum(_)
        | Op::Max(_)
        | Op::Contract(_)
        | Op::ConvFwd(_)
        | Op::ConvDataGrad(_)
        | Op::ConvWeightGrad(_)
        | Op::GatherRows
        | Op::ScatterRows => true,
    }
}

/// Cotangents of the arguments of `id` for the cotangent `ct` of its result (same type). Arguments that are not
/// `wanted` may be left out; so are those whose gradient is zero.
pub(super) fn vjp(g: &mut Graph, id: NodeId, ct: NodeId, wanted: &[bool]) -> Vec<Option<NodeId>> {
    let node = g.node(id).clone();
    let mut args = node.args;
    // Products are f32 whatever their factors are; so are those of cotangents, which are rounded at the end.
    let types: Vec<DType> = args.iter().map(|&a| g.ty(a).dtype).collect();
    if matches!(node.op, Op::Contract(_) | Op::ConvFwd(_) | Op::ConvDataGrad(_) | Op::ConvWeightGrad(_)) {
        args.iter_mut().for_each(|a| *a = g.cast(*a, DType::F32));
    }
    let none = || vec![None; args.len()];
    let found = match node.op {
        Op::Input(_) | Op::Param(_) | Op::State(_) | Op::Const(_) | Op::Iota { .. } | Op::Random { .. } => none(),
        Op::Unary(f) => vec![unary(g, f, args[0], id, ct)],
        Op::Binary(f) => binary(g, f, &args, ct, wanted),
        Op::Select => {
            let zero = g.zeros_like(ct);
            let a = wanted[1].then(|| g.select(args[0], ct, zero));
            let b = wanted[2].then(|| g.select(args[0], zero, ct));
            vec![None, a, b]
        }
        Op::Cast => {
            let from = g.ty(args[0]).dtype;
            vec![(from.is_float() && node.ty.dtype.is_float()).then(|| g.cast(ct, from))]
        }
        Op::Reshape => {
            let shape = g.shape(args[0]).to_vec();
            vec![Some(g.reshape(ct, &shape))]
        }
        Op::Permute(perm) => {
            let mut inverse = vec![0; perm.len()];
            perm.iter().enumerate().for_each(|(i, &p)| inverse[p] = i);
            vec![Some(g.permute(ct, &inverse))]
        }
        Op::Broadcast => {
            let axes: Vec<usize> =
                (0..node.ty.rank()).filter(|&i| g.shape(args[0])[i] != node.ty.shape[i]).collect();
            vec![Some(sum_to(g, ct, &axes))]
        }
        Op::Slice { start, step, .. } => {
            let full = g.shape(args[0]).to_vec();
            let taken = &node.ty.shape;
            let hi: Vec<usize> = (0..full.len())
                .map(|i| full[i] - start[i] - taken[i] - taken[i].saturating_sub(1) * (step[i] - 1))
                .collect();
            let interior: Vec<usize> = step.iter().map(|s| s - 1).collect();
            vec![Some(g.pad(ct, &start, &hi, &interior, 0.0))]
        }
        Op::Pad { lo, interior, .. } => {
            let inner = g.shape(args[0]).to_vec();
            let step: Vec<usize> = interior.iter().map(|k| k + 1).collect();
            let limit: Vec<usize> = (0..inner.len())
                .map(|i| lo[i] + if inner[i] == 0 { 0 } else { (inner[i] - 1) * step[i] + 1 })
                .collect();
            vec![Some(g.slice(ct, &lo, &limit, &step))]
        }
        Op::Reverse(axes) => vec![Some(g.reverse(ct, &axes))],
        Op::Concat { axis } => {
            let mut at = 0;
            args.iter()
                .zip(wanted)
                .map(|(&a, &w)| {
                    let start = at;
                    at += g.shape(a)[axis];
                    w.then(|| g.slice_axis(ct, axis, start..at))
                })
                .collect()
        }
        Op::Unfold(w) => {
            let w = zero_valued(&w);
            vec![Some(g.fold(ct, w))]
        }
        Op::Fold(w) => {
            let w = zero_valued(&w);
            vec![Some(g.unfold(ct, w))]
        }
        Op::Sum(_) => {
            let shape = g.shape(args[0]).to_vec();
            vec![Some(g.broadcast(ct, &shape))]
        }
        Op::Max(axes) => vec![Some(max_reduce(g, args[0], &axes, ct))],
        Op::ArgMax(_) | Op::Stop => none(),
        Op::Contract(dims) => contract(g, args[0], args[1], &dims, ct, wanted),
        Op::ConvFwd(geom) => vec![
            wanted[0].then(|| g.conv_data_grad(ct, args[1], Arc::clone(&geom))),
            wanted[1].then(|| g.conv_weight_grad(args[0], ct, Arc::clone(&geom))),
        ],
        // All three are partial derivatives of <dy, conv(x, w)>; the cotangent stands where the result stood.
        Op::ConvDataGrad(geom) => vec![
            wanted[0].then(|| g.conv_fwd(ct, args[1], Arc::clone(&geom))),
            wanted[1].then(|| g.conv_weight_grad(ct, args[0], Arc::clone(&geom))),
        ],
        Op::ConvWeightGrad(geom) => vec![
            wanted[0].then(|| g.conv_data_grad(args[1], ct, Arc::clone(&geom))),
            wanted[1].then(|| g.conv_fwd(args[0], ct, Arc::clone(&geom))),
        ],
        Op::GatherRows => vec![wanted[0].then(|| gather_rows(g, args[0], args[1], ct)), None],
        Op::ScatterRows => {
            let table = wanted[0].then(|| {
                let zero = g.zeros_like(args[2]);
                g.scatter_rows(ct, args[1], zero)
            });
            vec![table, None, wanted[2].then(|| g.gather_rows(ct, args[1]))]
        }
    };
    found.into_iter().zip(types).map(|(c, ty)| c.map(|c| if ty.is_float() { g.cast(c, ty) } else { c })).collect()
}

fn unary(g: &mut Graph, f: Unary, x: NodeId, y: NodeId, ct: NodeId) -> Option<NodeId> {
    Some(match f {
        Unary::Neg => g.neg(ct),
        Unary::Recip => {
            let y2 = g.mul(y, y);
            let d = g.mul(ct, y2);
            g.neg(d)
        }
        Unary::Sqrt => {
            let half = g.scale(ct, 0.5);
            g.div(half, y)
        }
        Unary::Exp => g.mul(ct, y),
        Unary::Log => g.div(ct, x),
        Unary::Log1p => {
            let d = g.offset(x, 1.0);
            g.div(ct, d)
        }
        Unary::Tanh => {
            let y2 = g.mul(y, y);
            let n = g.neg(y2);
            let d = g.offset(n, 1.0);
            g.mul(ct, d)
        }
        Unary::Erf => {
            let x2 = g.mul(x, x);
            let n = g.neg(x2);
            let e = g.unary(Unary::Exp, n);
            let d = g.scale(e, std::f64::consts::FRAC_2_SQRT_PI);
            g.mul(ct, d)
        }
        Unary::Sin => {
            let d = g.unary(Unary::Cos, x);
            g.mul(ct, d)
        }
        Unary::Cos => {
            let s = g.unary(Unary::Sin, x);
            let d = g.mul(ct, s);
            g.neg(d)
        }
        Unary::Abs => {
            let zero = g.zeros_like(x);
            let (above, below) = (g.lt(zero, x), g.lt(x, zero));
            let down = g.neg(ct);
            let rest = g.select(below, down, zero);
            g.select(above, ct, rest)
        }
        // As through a cast: rounding is the identity but for noise.
        Unary::Tf32 => ct,
        Unary::Sign | Unary::Floor | Unary::Not => return None,
    })
}

fn binary(g: &mut Graph, f: Binary, args: &[NodeId], ct: NodeId, wanted: &[bool]) -> Vec<Option<NodeId>> {
    let (a, b) = (args[0], args[1]);
    match f {
        Binary::Add => vec![Some(ct), Some(ct)],
        Binary::Mul => vec![wanted[0].then(|| g.mul(ct, b)), wanted[1].then(|| g.mul(ct, a))],
        Binary::Max | Binary::Min => {
            // `first`: where `one` takes the gradient; see the module documentation for ties. That is a constant wherever it
            // stands, so that layers that are alike have gradients that are.
            let constant = |n: NodeId| matches!(g.node(n).op, Op::Const(_));
            let turned = constant(b) && !constant(a);
            let (one, other) = if turned { (b, a) } else { (a, b) };
            let le = if constant(one) { Binary::Le } else { Binary::Lt };
            let first = if f == Binary::Max { g.binary(le, other, one) } else { g.binary(le, one, other) };
            let zero = g.zeros_like(ct);
            let mut take = |one: bool| if one { g.select(first, ct, zero) } else { g.select(first, zero, ct) };
            vec![wanted[0].then(|| take(!turned)), wanted[1].then(|| take(turned))]
        }
        Binary::Lt | Binary::Le | Binary::Eq | Binary::And | Binary::Or => vec![None, None],
    }
}

fn sum_to(g: &mut Graph, x: NodeId, axes: &[usize]) -> NodeId {
    if axes.is_empty() { x } else { g.sum(x, axes) }
}

fn zero_valued(w: &Window) -> Window {
    Window { value: crate::graph::F64(0.0), ..w.clone() }
}

/// The cotangent goes to the element whose row-major index within `axes` is the argmax: an integer test, so that
/// equal values cannot share it.
fn max_reduce(g: &mut Graph, x: NodeId, axes: &[usize], ct: NodeId) -> NodeId {
    let shape = g.shape(x).to_vec();
    let winner = g.argmax(x, axes);
    let index = linear_index(g, &shape, axes);
    let here = g.eq(index, winner);
    let spread = g.broadcast(ct, &shape);
    let zero = g.zeros_like(spread);
    g.select(here, spread, zero)
}

/// `u32`: row-major index within `axes`; extents of the other axes are 1.
fn linear_index(g: &mut Graph, shape: &[usize], axes: &[usize]) -> NodeId {
    let mut ones = vec![1; shape.len()];
    let mut sum = g.splat(0.0, crate::graph::Type::u32(ones.clone()));
    let mut stride = 1;
    for &axis in axes.iter().rev() {
        ones[axis] = shape[axis];
        let i = g.iota(&ones, axis);
        ones[axis] = 1;
        let s = g.splat(stride as f64, crate::graph::Type::u32([]));
        let term = g.mul(i, s);
        sum = g.add(sum, term);
        stride *= shape[axis];
    }
    sum
}

/// Labels may repeat, so the rows of `ct` are summed by a contraction with their one-hot matrix.
fn gather_rows(g: &mut Graph, table: NodeId, rows: NodeId, ct: NodeId) -> NodeId {
    let (r, b) = (g.shape(table)[0], g.shape(rows)[0]);
    let index = g.iota(&[b, r], 1);
    let rows = g.reshape(rows, &[b, 1]);
    let hit = g.eq(index, rows);
    let dtype = g.ty(ct).dtype;
    let one_hot = g.cast(hit, dtype);
    g.contract(one_hot, ct, ContractDims { batch: vec![], contracted: vec![(0, 0)] })
}

fn contract(
    g: &mut Graph,
    a: NodeId,
    b: NodeId,
    dims: &ContractDims,
    ct: NodeId,
    wanted: &[bool],
) -> Vec<Option<NodeId>> {
    let (ra, rb, nb) = (g.shape(a).len(), g.shape(b).len(), dims.batch.len());
    let flipped = ContractDims {
        batch: dims.batch.iter().map(|&(i, j)| (j, i)).collect(),
        contracted: dims.contracted.iter().map(|&(i, j)| (j, i)).collect(),
    };
    let free_a = ra - nb - dims.contracted.len();
    let free_b = rb - nb - dims.contracted.len();
    let da = wanted[0].then(|| contract_side(g, ra, b, dims, ct, nb, nb + free_a..nb + free_a + free_b));
    let db = wanted[1].then(|| contract_side(g, rb, a, &flipped, ct, nb + free_a, nb..nb + free_a));
    vec![da, db]
}

/// The cotangent of one factor ("mine", of rank `rank`): `ct` contracted with the `other` factor over the other's
/// free axes, which are the axes `theirs` of `ct`; mine start at `mine_at`. `dims` has my axes first.
fn contract_side(
    g: &mut Graph,
    rank: usize,
    other: NodeId,
    dims: &ContractDims,
    ct: NodeId,
    mine_at: usize,
    theirs: std::ops::Range<usize>,
) -> NodeId {
    let other_rank = g.shape(other).len();
    let other_used: Vec<usize> = dims.batch.iter().chain(&dims.contracted).map(|p| p.1).collect();
    let other_free: Vec<usize> = (0..other_rank).filter(|i| !other_used.contains(i)).collect();
    let mine_used: Vec<usize> = dims.batch.iter().chain(&dims.contracted).map(|p| p.0).collect();
    let mine_free: Vec<usize> = (0..rank).filter(|i| !mine_used.contains(i)).collect();
    debug_assert_eq!(theirs.len(), other_free.len());
    debug_assert!(mine_at + mine_free.len() <= g.shape(ct).len());

    // My axes in the order in which the contraction leaves them: batch, then my free ones (from ct) and the ones
    // that were contracted (in the other's order), in one order or the other.
    let mut summed: Vec<(usize, usize)> = dims.contracted.iter().map(|&(i, j)| (j, i)).collect();
    summed.sort_unstable();
    let batch: Vec<usize> = dims.batch.iter().map(|p| p.0).collect();
    let summed: Vec<usize> = summed.into_iter().map(|p| p.1).collect();
    let ct_first = [batch.clone(), mine_free.clone(), summed.clone()].concat();
    let other_first = [batch, summed, mine_free].concat();

    let batch_pairs: Vec<(usize, usize)> = dims.batch.iter().enumerate().map(|(k, p)| (k, p.1)).collect();
    let pairs: Vec<(usize, usize)> = theirs.zip(other_free).collect();
    let flip = |p: &[(usize, usize)]| p.iter().map(|&(i, j)| (j, i)).collect::<Vec<_>>();
    let sorted = |v: &[usize]| v.windows(2).all(|w| w[0] < w[1]);
    // Prefer the order that needs no permutation afterwards.
    let (r, order) = if sorted(&other_first) && !sorted(&ct_first) {
        let dims = ContractDims { batch: flip(&batch_pairs), contracted: flip(&pairs) };
        (g.contract(other, ct, dims), other_first)
    } else {
        (g.contract(ct, other, ContractDims { batch: batch_pairs, contracted: pairs }), ct_first)
    };
    let mut perm = vec![0; rank];
    order.iter().enumerate().for_each(|(at, &axis)| perm[axis] = at);
    g.permute(r, &perm)
}
