//! Normalisation layers. Statistics are biased; only moving variances are unbiased.

use super::args::Bound;
use super::linear::{dense, label};
use super::value::{Fallible, batched, need_fits, need_real, unbatched};
use super::{Init, JointStatistics, Kind, LayerError, ParamRole, Scope, Tensor};
use crate::graph::{Graph, NodeId, Type, Unary};

/// Mean and biased variance over axes (kept), and the centred value.
pub fn moments(g: &mut Graph, x: NodeId, axes: &[usize]) -> (NodeId, NodeId, NodeId) {
    let mean = g.mean(x, axes);
    let centred = g.sub(x, mean);
    let square = g.mul(centred, centred);
    let var = g.mean(square, axes);
    (mean, var, centred)
}

/// `1 / sqrt(var + eps)`
pub fn inverse_root(g: &mut Graph, var: NodeId, eps: f64) -> NodeId {
    let v = g.offset(var, eps);
    let r = g.unary(Unary::Sqrt, v);
    g.unary(Unary::Recip, r)
}

/// A vector spread along `axis` of a tensor of `rank` axes.
pub(super) fn along(g: &mut Graph, v: NodeId, axis: usize, rank: usize) -> NodeId {
    let n = g.shape(v).iter().product();
    let mut shape = vec![1; rank];
    shape[axis] = n;
    g.reshape(v, &shape)
}

/// `centred * (inverse * scale) + shift`, so that only one product and one sum run over all elements.
pub(super) fn affine(
    g: &mut Graph,
    centred: NodeId,
    inverse: NodeId,
    scale: Option<NodeId>,
    shift: Option<NodeId>,
) -> NodeId {
    let factor = scale.map_or(inverse, |f| g.mul(inverse, f));
    let y = g.mul(centred, factor);
    shift.map_or(y, |b| g.add(y, b))
}

/// `scale` and `shift` of a norm.
pub(super) fn scale_shift(s: &mut dyn Scope, shape: &[usize]) -> (NodeId, NodeId) {
    let scale = s.param("scale", shape, ParamRole::Scale, Init::Constant(1.0));
    let shift = s.param("shift", shape, ParamRole::Shift, Init::Constant(0.0));
    (scale, shift)
}

/// Number of channels of `[c, …]`.
pub(super) fn channels(x: &Tensor, who: &str) -> Fallible<usize> {
    need_real(x, who)?;
    x.shape.first().copied().ok_or_else(|| {
        LayerError::new("E0301", format!("{who} takes channels [c, …]; found a single number []"))
            .help("put `reshape(1)` before it")
    })
}

/// Normalises by batch statistics (train) or moving ones (eval); gives the centred value and `1 / std`.
fn batch_statistics(s: &mut dyn Scope, x: &Tensor, a: &Bound, who: &str) -> Fallible<(NodeId, NodeId)> {
    let c = channels(x, who)?;
    if !x.sample {
        return Err(LayerError::new(
            "E0304",
            format!("{who} needs a value for each sample; {:?} is the same for the whole batch", x.shape),
        ));
    }
    let (eps, momentum) = (a.positive("eps")?, a.number_in("momentum", 0.0, 1.0)?);
    let rank = x.shape.len() + 1;
    let moving = a.word("eval")? == "moving";
    let mut states = None;
    if moving {
        let mean = s.state("mean", Type::f32([c]), Init::Constant(0.0));
        let var = s.state("var", Type::f32([c]), Init::Constant(1.0));
        if !s.training() {
            let g = s.graph();
            let mean = along(g, mean, 1, rank);
            let centred = g.sub(x.node, mean);
            let inverse = inverse_root(g, var, eps);
            return Ok((centred, along(g, inverse, 1, rank)));
        }
        states = Some((mean, var));
    }
    let axes: Vec<usize> = (0..rank).filter(|&i| i != 1).collect();
    let source = statistics_source(s, x, who)?;
    let count: usize = axes.iter().map(|&i| s.graph().shape(source)[i]).product();
    if count < 2 {
        return Err(LayerError::new(
            "E0304",
            format!("{who} has one number a channel to normalise ({:?}, batch 1)", x.shape),
        )
        .help("use a larger batch, or `layer_norm`"));
    }
    let (mean, var, mut centred) = moments(s.graph(), source, &axes);
    if source != x.node {
        centred = s.graph().sub(x.node, mean);
    }
    if let Some((old_mean, old_var)) = states {
        let mut blend = |old: NodeId, new: NodeId, factor: f64| {
            let g = s.graph();
            let new = g.reshape(new, &[c]);
            let kept = g.scale(old, 1.0 - momentum);
            let taken = g.scale(new, momentum * factor);
            g.add(kept, taken)
        };
        let next_mean = blend(old_mean, mean, 1.0);
        let next_var = blend(old_var, var, count as f64 / (count - 1) as f64);
        s.set_state("mean", next_mean);
        s.set_state("var", next_var);
    }
    let inverse = inverse_root(s.graph(), var, eps);
    Ok((centred, inverse))
}

/// The samples whose statistics normalise all: the batch, or parts of it where it is two batches.
fn statistics_source(s: &mut dyn Scope, x: &Tensor, who: &str) -> Fallible<NodeId> {
    let statistics = s.statistics();
    let g = s.graph();
    let (all, c) = (g.shape(x.node)[0], x.shape[0]);
    let (first, second) = (0..all / 2, all / 2..all);
    Ok(match statistics {
        JointStatistics::Joint => x.node,
        JointStatistics::Real => g.slice_axis(x.node, 0, first),
        JointStatistics::Fake => g.slice_axis(x.node, 0, second),
        JointStatistics::Cross if c < 2 => {
            return Err(LayerError::new(
                "E0467",
                format!("{who} has one channel; `stats: cross` splits the channels in two halves"),
            ));
        }
        JointStatistics::Cross => {
            let a = g.slice_axis(x.node, 0, first);
            let a = g.slice_axis(a, 1, 0..c / 2);
            let b = g.slice_axis(x.node, 0, second);
            let b = g.slice_axis(b, 1, c / 2..c);
            g.concat(&[a, b], 1)
        }
    })
}

pub(super) fn batch_norm(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let (centred, inverse) = batch_statistics(s, x, a, "`batch_norm`")?;
    let (mut scale, mut shift) = (None, None);
    if a.bool("affine")? {
        let (p, q) = scale_shift(s, &x.shape[..1]);
        let rank = x.shape.len() + 1;
        scale = Some(along(s.graph(), p, 1, rank));
        shift = Some(along(s.graph(), q, 1, rank));
    }
    let node = affine(s.graph(), centred, inverse, scale, shift);
    Ok(x.with(node))
}

/// Scale (around 1) and shift of `c` channels from a vector, as `[rows, c, 1…]` of `rank` axes.
fn from_vector(s: &mut dyn Scope, w: &Tensor, c: usize, rank: usize, who: &str) -> Fallible<(NodeId, NodeId)> {
    need_real(w, who)?;
    if w.shape.len() != 1 {
        return Err(LayerError::new(
            "E0301",
            format!("{who} takes its style as a vector [k]; found {:?}", w.shape),
        )
        .help("put `flatten` before it"));
    }
    need_fits(&[2 * c, w.shape[0]], who)?;
    let node = batched(s, w);
    let both = dense(s, node, 2 * c, true, "");
    let g = s.graph();
    let rows = g.shape(both)[0];
    let mut shape = vec![1; rank];
    (shape[0], shape[1]) = (rows, c);
    let scale = g.slice_axis(both, 1, 0..c);
    let scale = g.offset(scale, 1.0);
    let scale = g.reshape(scale, &shape);
    let shift = g.slice_axis(both, 1, c..2 * c);
    let shift = g.reshape(shift, &shape);
    Ok((scale, shift))
}

pub(super) fn conditional_batch_norm(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let who = "`conditional_batch_norm`";
    let (centred, inverse) = batch_statistics(s, x, a, who)?;
    let (c, rank) = (x.shape[0], x.shape.len() + 1);
    let y = a.tensor("y")?.clone();
    let (scale, shift) = match y.kind {
        Kind::Class(k) => {
            need_fits(&[k, c], who)?;
            let (rows, _) = label(s, &y, who)?;
            let (p, q) = scale_shift(s, &[k, c]);
            let g = s.graph();
            let mut shape = vec![1; rank];
            (shape[0], shape[1]) = (g.shape(rows)[0], c);
            let (p, q) = (g.gather_rows(p, rows), g.gather_rows(q, rows));
            (g.reshape(p, &shape), g.reshape(q, &shape))
        }
        Kind::Real => from_vector(s, &y, c, rank, who)?,
        Kind::Bool => return Err(a.refuse("y", "a label or a vector")),
    };
    let node = affine(s.graph(), centred, inverse, Some(scale), Some(shift));
    Ok(x.with(node))
}

/// Refuses statistics over a single number.
fn need_many(count: usize, x: &Tensor, who: &str) -> Fallible<()> {
    if count > 1 {
        return Ok(());
    }
    Err(LayerError::new(
        "E0301",
        format!("{who} has one number to normalise at a time in {:?}; it would be 0", x.shape),
    ))
}

pub(super) fn instance_norm(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let who = "`instance_norm`";
    let c = channels(x, who)?;
    need_many(x.elements() / c, x, who)?;
    let node = batched(s, x);
    let rank = s.graph().shape(node).len();
    let axes: Vec<usize> = (2..rank).collect();
    let eps = a.positive("eps")?;
    let (_, var, centred) = moments(s.graph(), node, &axes);
    let inverse = inverse_root(s.graph(), var, eps);
    let (mut scale, mut shift) = (None, None);
    if a.bool("affine")? {
        let (p, q) = scale_shift(s, &[c]);
        scale = Some(along(s.graph(), p, 1, rank));
        shift = Some(along(s.graph(), q, 1, rank));
    }
    let y = affine(s.graph(), centred, inverse, scale, shift);
    Ok(unbatched(s, y, x))
}

pub(super) fn adain(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let who = "`adain`";
    let c = channels(x, who)?;
    need_many(x.elements() / c, x, who)?;
    let w = a.tensor("w")?.clone();
    let node = batched(s, x);
    let rank = s.graph().shape(node).len();
    let (scale, shift) = from_vector(s, &w, c, rank, who)?;
    let axes: Vec<usize> = (2..rank).collect();
    let (_, var, centred) = moments(s.graph(), node, &axes);
    let inverse = inverse_root(s.graph(), var, a.positive("eps")?);
    let y = affine(s.graph(), centred, inverse, Some(scale), Some(shift));
    let like = Tensor { sample: x.sample || w.sample, ..x.clone() };
    Ok(unbatched(s, y, &like))
}

pub(super) fn layer_norm(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    need_real(x, "`layer_norm`")?;
    need_many(x.elements(), x, "`layer_norm`")?;
    let node = batched(s, x);
    let rank = s.graph().shape(node).len();
    let axes: Vec<usize> = (1..rank).collect();
    let (_, var, centred) = moments(s.graph(), node, &axes);
    let inverse = inverse_root(s.graph(), var, a.positive("eps")?);
    let g = s.graph();
    let mut y = g.mul(centred, inverse);
    if a.bool("affine")? {
        let (p, q) = scale_shift(s, &x.shape);
        let g = s.graph();
        let shape = [&[1], &x.shape[..]].concat();
        let (p, q) = (g.reshape(p, &shape), g.reshape(q, &shape));
        y = g.mul(y, p);
        y = g.add(y, q);
    }
    Ok(unbatched(s, y, x))
}

pub(super) fn group_norm(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let who = "`group_norm`";
    let (c, groups) = (channels(x, who)?, a.size("g")?);
    if !c.is_multiple_of(groups) {
        return Err(a.refuse("g", &format!("a divisor of the {c} channels of {:?}", x.shape)));
    }
    need_many(x.elements() / groups, x, who)?;
    let node = batched(s, x);
    let full = s.graph().shape(node).to_vec();
    let grouped = [full[0], groups, x.elements() / groups];
    let g = s.graph();
    let parts = g.reshape(node, &grouped);
    let (_, var, centred) = moments(g, parts, &[2]);
    let inverse = inverse_root(g, var, a.positive("eps")?);
    let y = g.mul(centred, inverse);
    let mut y = g.reshape(y, &full);
    if a.bool("affine")? {
        let (p, q) = scale_shift(s, &[c]);
        let g = s.graph();
        let (p, q) = (along(g, p, 1, full.len()), along(g, q, 1, full.len()));
        y = g.mul(y, p);
        y = g.add(y, q);
    }
    Ok(unbatched(s, y, x))
}

pub(super) fn pixel_norm(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    channels(x, "`pixel_norm`")?;
    let eps = a.positive("eps")?;
    let g = s.graph();
    let square = g.mul(x.node, x.node);
    let mean = g.mean(square, &[x.lead()]);
    let inverse = inverse_root(g, mean, eps);
    Ok(x.with(g.mul(x.node, inverse)))
}

pub(super) fn minibatch_stddev(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let who = "`minibatch_stddev`";
    let c = channels(x, who)?;
    if !x.sample {
        return Err(LayerError::new("E0304", format!("{who} needs a value for each sample")));
    }
    let batch = s.graph().shape(x.node)[0];
    let group = a.size("group")?.min(batch);
    if !batch.is_multiple_of(group) {
        return Err(a.refuse("group", &format!("a divisor of the batch of {batch}")));
    }
    // Samples i, i + M, i + 2M, … form group i of M (as in the authors' program).
    let groups = batch / group;
    let g = s.graph();
    let split = g.reshape(x.node, &[group, groups, x.elements()]);
    let (_, var, _) = moments(g, split, &[0]);
    let var = g.offset(var, 1e-8);
    let std = g.unary(Unary::Sqrt, var);
    let mean = g.mean(std, &[2]);
    let mut one = vec![1, groups];
    one.extend(vec![1; x.shape.len()]);
    let mean = g.reshape(mean, &one);
    let mut all = vec![group, groups, 1];
    all.extend(&x.shape[1..]);
    let plane = g.broadcast(mean, &all);
    let mut flat = vec![batch, 1];
    flat.extend(&x.shape[1..]);
    let plane = g.reshape(plane, &flat);
    let node = g.concat(&[x.node, plane], 1);
    let mut shape = x.shape.clone();
    shape[0] = c + 1;
    Ok(x.shaped(node, shape))
}
