//! Random, differentiable changes of pictures (Zhao et al. 2020, DiffAugment): one draw a sample, nothing in them
//! stops a gradient.

use super::args::Bound;
use super::noise::draw;
use super::value::{Fallible, batched, need_real};
use super::{LayerError, Scope, Tensor};
use crate::graph::{Binary, ContractDims, DType, Dist, NodeId, Unary};

/// Height and width of pictures, one a sample.
fn picture(x: &Tensor, who: &str) -> Fallible<(usize, usize)> {
    need_real(x, who)?;
    match x.shape[..] {
        [_, h, w] if x.sample => Ok((h, w)),
        [_, _, _] => Err(LayerError::new(
            "E0304",
            format!("{who} draws anew for each sample; this value is the same for all"),
        )),
        _ => Err(LayerError::new("E0301", format!("{who} takes pictures [c, h, w]; found {:?}", x.shape))),
    }
}

/// A uniform number a sample in `[lo, hi)`, as `[batch, 1, 1, 1]`.
fn uniform(s: &mut dyn Scope, lo: f64, hi: f64, who: &str) -> Fallible<NodeId> {
    let u = draw(s, Dist::Uniform, true, &[1, 1, 1], who)?;
    let g = s.graph();
    let u = g.scale(u.node, hi - lo);
    Ok(g.offset(u, lo))
}

/// A whole number a sample from `0..count`, as reals `[batch, 1, 1, 1]`.
fn whole(s: &mut dyn Scope, count: usize, who: &str) -> Fallible<NodeId> {
    let u = uniform(s, 0.0, count as f64, who)?;
    let g = s.graph();
    let k = g.unary(Unary::Floor, u);
    // The product of a number just below 1 may round up.
    let last = g.scalar(count as f64 - 1.0);
    Ok(g.binary(Binary::Min, k, last))
}

/// Positions along one of four axes, as reals.
fn positions(s: &mut dyn Scope, extent: usize, axis: usize) -> NodeId {
    let mut shape = [1; 4];
    shape[axis] = extent;
    let g = s.graph();
    let i = g.iota(&shape, axis);
    g.cast(i, DType::F32)
}

/// `color_jitter`: adds U(-0.5, 0.5), scales the distance of each channel from the grey value by U(0, 2), and that of
/// each number from the picture's mean by U(0.5, 1.5). The first is meant for pictures in [-1, 1].
pub(super) fn color_jitter(s: &mut dyn Scope, x: &Tensor) -> Fallible<Tensor> {
    let who = "`color_jitter`";
    picture(x, who)?;
    let brightness = uniform(s, -0.5, 0.5, who)?;
    let mut node = s.graph().add(x.node, brightness);
    for (axes, lo, hi) in [(&[1][..], 0.0, 2.0), (&[1, 2, 3][..], 0.5, 1.5)] {
        let factor = uniform(s, lo, hi, who)?;
        let g = s.graph();
        let mean = g.mean(node, axes);
        let away = g.sub(node, mean);
        let away = g.mul(away, factor);
        node = g.add(away, mean);
    }
    Ok(x.with(node))
}

/// `translate`: moves each picture by up to `ratio` of its height and width, zeros come in. A move along an axis is a
/// product with the matrix that has ones on one diagonal.
pub(super) fn translate(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let who = "`translate`";
    let (h, w) = picture(x, who)?;
    let ratio = a.number_in("ratio", 0.0, 1.0)?;
    let mut node = batched(s, x);
    for (extent, axis) in [(h, 2), (w, 3)] {
        let far = (extent as f64 * ratio + 0.5) as usize;
        if far == 0 {
            continue;
        }
        let shift = whole(s, 2 * far + 1, who)?;
        let (to, from) = (positions(s, extent, 2), positions(s, extent, 3));
        let g = s.graph();
        let n = g.shape(node)[0];
        let apart = g.sub(to, from);
        let apart = g.sub(apart, shift);
        let apart = g.offset(apart, far as f64);
        let apart = g.unary(Unary::Abs, apart);
        let half = g.scalar(0.5);
        let hit = g.lt(apart, half);
        let matrix = g.cast(hit, DType::F32);
        let matrix = g.reshape(matrix, &[n, extent, extent]);
        // [n, c, h, w] and [n, to, from] give [n, c, the other axis, to].
        let dims = ContractDims { batch: vec![(0, 0)], contracted: vec![(axis, 2)] };
        node = g.contract(node, matrix, dims);
        if axis == 2 {
            node = g.permute(node, &[0, 1, 3, 2]);
        }
    }
    Ok(x.with(node))
}

/// `cutout`: a rectangle of `ratio` of height and width around a random place is 0 (DeVries & Taylor 2017).
pub(super) fn cutout(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let who = "`cutout`";
    let (h, w) = picture(x, who)?;
    let ratio = a.number_in("ratio", 0.0, 1.0)?;
    let mut inside: Option<NodeId> = None;
    for (extent, axis) in [(h, 2), (w, 3)] {
        let size = (extent as f64 * ratio + 0.5) as usize;
        if size == 0 {
            return Ok(x.clone());
        }
        // First row that is cut, plus half a size so that it is not negative.
        let place = whole(s, extent + 1 - size % 2, who)?;
        let at = positions(s, extent, axis);
        let g = s.graph();
        let from = g.offset(place, -((size / 2) as f64) - 0.5);
        let to = g.offset(from, size as f64);
        let (after, before) = (g.lt(from, at), g.lt(at, to));
        let here = g.binary(Binary::And, after, before);
        inside = Some(match inside {
            Some(other) => g.binary(Binary::And, other, here),
            None => here,
        });
    }
    let g = s.graph();
    let zero = g.scalar(0.0);
    Ok(match inside {
        Some(cut) => x.with(g.select(cut, zero, x.node)),
        None => x.clone(),
    })
}
