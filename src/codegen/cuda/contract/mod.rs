//! Products as CUDA kernels: matrix products and the three convolutions, all as *implicit* matrix products (no image
//! is ever unfolded in memory).
//!
//! A product becomes a sum over index spaces ([`space`]), in which operands and result are affine functions of a
//! block's coordinates, rows, columns and the sum ([`view`]). A tile shape is chosen from a table ([`tiles`]). The
//! kernel itself is a C++ template (`product.cuh`, over the PTX of `tensor.cuh`), for which [`emit`] writes the
//! operands and the result as structs: where an element is, whether it is inside, what is computed of it.
//!
//! - Operands that lie in 16-byte pieces go to shared memory by `cp.async`, several stages ahead; all others (a
//!   conversion, a prologue, odd strides) through registers, one stage ahead of the multiplication.
//! - An operand whose neighbours lie far apart (a convolution's weights) and that many tiles read is laid out for the
//!   product by a small kernel before; so is one that lies across the sum where tf32 is multiplied by `wgmma`.
//! - A product with too few tiles for the device cuts its sum into parts, which the last block of a tile adds in order
//!   (a second kernel where they are many): the same bits in every run. Reductions of the result ([`sums`]) likewise.
//! - Sums are in f32. f32 operands are multiplied in f32, 16-bit ones by `mma.sync` (m16n8k16), tf32 ones by m16n8k8;
//!   on Hopper large products on tensor cores by `wgmma` (groups of four warps) from swizzled tiles, which of tf32 must lie
//!   along the sum: what does not is turned in registers. TMA is not used: a convolution's operand is gathered, 16 bytes at
//!   a time.
//! - Which tile suits a product is decided by clocks that were read off an H200 and an H100 ([`tiles`]), or by what was
//!   measured on the device at hand ([`tuning`]).

mod emit;
pub mod space;
mod sums;
pub mod tiles;
pub mod tuning;
pub mod view;

use super::emit::{Emit, SHARED_THREADS};
use super::product::{Follow, Job};
use crate::fuse::{Affine, Body, Code, Operand, Sink, Work};
use crate::graph::ty::strides;
use crate::graph::{DType, Graph, Unary};
use emit::Writer;
use space::{Group, Problem};
use sums::Sums;
use tiles::{Math, Size};
use tuning::Shape;
use view::View;

/// What kernels of products use; it stands before all of them, after [`super::PRELUDE`].
pub const PRELUDE: &str =
    concat!(include_str!("tensor.cuh"), include_str!("product.cuh"), include_str!("finish.cuh"));

/// Elements of a result from which on it is worth a kernel that its epilogue goes over memory in order.
const LARGE: usize = 1 << 18;

/// Whether an epilogue would go over several large tensors with strides, as the update of a convolution's weights
/// does: a tile's columns are channels, and in memory taps are neighbours.
pub(super) fn scattered(graph: &Graph, job: &Job, body: &Body) -> bool {
    let stores = body.sinks.iter().filter(|s| matches!(s, Sink::Store { .. })).count();
    if graph.ty(job.node).elements() < LARGE || stores + body.reads().len() < 4 {
        return false;
    }
    let problem = Problem::new(job.product, job.lhs, job.rhs);
    let (space, shape) = (&problem.space, graph.shape(job.node));
    let mut at = Affine::constant(space.domain().len(), 0);
    for (c, &stride) in problem.result.iter().zip(&strides(shape)) {
        at = at.plus(c, stride as i64);
    }
    let view = View::new(space, [Group::Rows, Group::Cols], &[at], &problem.inside);
    view.extent(1) > 1 && view.step(0, 1) != 1
}

/// How the operands of a cluster's product are multiplied.
pub(super) fn math_of(graph: &Graph, work: &Work) -> Option<Math> {
    let Work::Contract { node, product, lhs, rhs, epilogue } = work else { return None };
    Some(math(graph, &Job { node: *node, product, lhs, rhs, epilogue: epilogue.as_ref() }))
}

/// How operands are multiplied.
fn math(graph: &Graph, job: &Job) -> Math {
    let tf32 = |o: &Operand| match o.body.insts.last().map(|i| &i.code) {
        Some(Code::Load { from, .. }) => graph.is_tf32(*from),
        Some(Code::Unary(Unary::Tf32)) => true,
        _ => false,
    };
    match Math::of(job.lhs.body.insts.last().map_or(DType::F32, |i| i.dtype)) {
        Math::F32 if tf32(job.lhs) && tf32(job.rhs) => Math::Tf32,
        other => other,
    }
}

/// Adds the launches of a product; false, and nothing added, if its extents are beyond what the kernels count with or
/// the reductions that follow are none that a block's tile can have a share of.
pub(super) fn product(emit: &mut Emit, job: &Job, follow: &Follow) -> bool {
    let math = math(emit.graph, job);
    let problem = Problem::new(job.product, job.lhs, job.rhs);
    let space = &problem.space;
    let count = |g: Group| space.extents(g).iter().product::<usize>();
    let size = Size { blocks: space.blocks(), m: count(Group::Rows), n: count(Group::Cols), k: count(Group::Sum) };
    let elements = |shape: &[usize]| shape.iter().fold(1usize, |n, &d| n.saturating_mul(d));
    let results = elements(&[size.blocks, size.m, size.n]);
    if [results, size.k, elements(&job.lhs.shape), elements(&job.rhs.shape)].iter().any(|&n| n >= FAR) {
        return false;
    }
    let sums = match follow {
        Follow::Store(_) => Some(Sums::default()),
        Follow::Body(body, _) => Sums::new(emit.graph, &problem, job.node, body),
    };
    let Some(sums) = sums else { return false };
    if results == 0 {
        // Sums of nothing are for loops of their own.
        return sums.is_empty();
    }
    let shape = Shape { math, size, access: Writer { emit, math }.accesses(&problem) };
    let Some(choice) = (match emit.rows() {
        Some(rows) => tiles::of_rows(math, size, rows),
        None if emit.shares() => tiles::shared(&shape, emit.arch, SHARED_THREADS),
        None => Some(match emit.twins() {
            Some(twins) => emit.tuning.choice_of_twins(&shape, emit.arch, twins),
            None => emit.tuning.choice(&shape, emit.arch),
        }),
    }) else {
        return false;
    };
    let suits = choice.whole() && sums.suits(&choice.tile, choice.tiles(size), size.blocks);
    let then = matches!(follow, Follow::Body(_, Some(_)));
    if (!sums.is_empty() && !suits) || (then && sums.is_empty()) {
        return false;
    }
    emit.require(PRELUDE);
    if !emit.shares() {
        emit.cut(shape, choice);
    }
    Writer { emit, math }.product(&problem, (&shape, choice), job.node, follow, &sums);
    true
}

/// Elements of operands and results are counted in `int`, with room for padding.
const FAR: usize = 1 << 30;
