//! Views: reshaping, padding, joining, resampling. Nothing here computes but bilinear upsampling.

use super::args::Bound;
use super::value::{Fallible, axis_of, batched, grow, need_fits, need_real, unbatched};
use super::{Kind, LayerError, Scope, Tensor, Value};
use crate::graph::{ContractDims, NodeId, Type};

fn reshape_to(s: &mut dyn Scope, x: &Tensor, shape: Vec<usize>) -> Tensor {
    let mut graph_shape = s.graph().shape(x.node)[..x.lead()].to_vec();
    graph_shape.extend(&shape);
    let node = s.graph().reshape(x.node, &graph_shape);
    x.shaped(node, shape)
}

pub(super) fn flatten(s: &mut dyn Scope, x: &Tensor) -> Fallible<Tensor> {
    Ok(reshape_to(s, x, vec![x.elements()]))
}

pub(super) fn reshape(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let mut d = a.int_list("d", -1)?;
    let (open, zeros) = (d.iter().filter(|&&v| v == -1).count(), d.contains(&0));
    if open > 1 || zeros {
        return Err(a.refuse("d", "extents of at least 1, at most one of them -1"));
    }
    let known = d.iter().filter(|&&v| v > 0).try_fold(1i64, |p, &v| p.checked_mul(v));
    let total = x.elements();
    if let (1, Some(known)) = (open, known)
        && total.is_multiple_of(known as usize)
    {
        d.iter_mut().filter(|v| **v == -1).for_each(|v| *v = total as i64 / known);
    }
    let product = d.iter().try_fold(1i64, |p, &v| p.checked_mul(v));
    if product != Some(total as i64) {
        let to: Vec<String> = d.iter().map(i64::to_string).collect();
        let e = LayerError::new(
            "E0301",
            format!("`reshape({})` cannot hold the {total} numbers of {:?}", to.join(", "), x.shape),
        );
        return Err(match product {
            Some(p) if open == 0 => e.help(format!("the new shape holds {p}")),
            _ => e.help("the product of the extents must stay the same"),
        });
    }
    let shape = d.into_iter().map(|v| v as usize).collect();
    Ok(reshape_to(s, x, shape))
}

fn permuted(s: &mut dyn Scope, x: &Tensor, axes: &[usize]) -> Tensor {
    let lead = x.lead();
    let perm: Vec<usize> = (0..lead).chain(axes.iter().map(|a| a + lead)).collect();
    let node = s.graph().permute(x.node, &perm);
    x.shaped(node, axes.iter().map(|&a| x.shape[a]).collect::<Vec<_>>())
}

pub(super) fn permute(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let axes: Vec<usize> = a.int_list("axes", 0)?.into_iter().map(|v| v as usize).collect();
    let mut sorted = axes.clone();
    sorted.sort_unstable();
    if sorted != (0..x.shape.len()).collect::<Vec<_>>() {
        return Err(a.refuse("axes", &format!("each axis of {:?} once, counted from 0", x.shape)));
    }
    Ok(permuted(s, x, &axes))
}

pub(super) fn transpose(s: &mut dyn Scope, x: &Tensor) -> Fallible<Tensor> {
    let r = x.shape.len();
    if r < 2 {
        return Err(LayerError::new("E0301", format!("`transpose` needs two axes; found {:?}", x.shape)));
    }
    let mut axes: Vec<usize> = (0..r).collect();
    axes.swap(r - 1, r - 2);
    Ok(permuted(s, x, &axes))
}

pub(super) fn expand(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let d: Vec<usize> = a.int_list("d", 1)?.into_iter().map(|v| v as usize).collect();
    let fits = d.len() == x.shape.len() && d.iter().zip(&x.shape).all(|(&n, &o)| n == o || o == 1);
    if !fits {
        return Err(LayerError::new("E0301", format!("`expand` cannot repeat {:?} to {d:?}", x.shape))
            .help("only axes of extent 1 are repeated; `reshape` adds such axes"));
    }
    let mut shape = s.graph().shape(x.node)[..x.lead()].to_vec();
    shape.extend(&d);
    need_fits(&shape, "`expand`")?;
    let node = s.graph().broadcast(x.node, &shape);
    Ok(x.shaped(node, d))
}

/// What lies beyond the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PadMode {
    Zero,
    Reflect,
    Replicate,
}

impl PadMode {
    pub(super) fn parse(a: &Bound, name: &str) -> Fallible<Self> {
        Ok(match a.word(name)? {
            "reflect" => PadMode::Reflect,
            "replicate" => PadMode::Replicate,
            _ => PadMode::Zero,
        })
    }
}

/// Pads the trailing axes (one of `lo`, `hi` each) of a node.
pub(super) fn pad_node(
    s: &mut dyn Scope,
    x: NodeId,
    lo: &[usize],
    hi: &[usize],
    mode: PadMode,
    who: &str,
) -> Fallible<NodeId> {
    let rank = s.graph().shape(x).len();
    let first = rank - lo.len();
    let mut padded = s.graph().shape(x).to_vec();
    (0..lo.len()).for_each(|i| padded[first + i] += lo[i] + hi[i]);
    need_fits(&padded, who)?;
    if mode == PadMode::Zero {
        let widen = |p: &[usize]| [vec![0; first], p.to_vec()].concat();
        return Ok(s.graph().pad(x, &widen(lo), &widen(hi), &vec![0; rank], 0.0));
    }
    let mut x = x;
    for i in 0..lo.len() {
        let axis = first + i;
        let d = s.graph().shape(x)[axis];
        if mode == PadMode::Reflect && (lo[i] >= d || hi[i] >= d) {
            return Err(LayerError::new(
                "E0301",
                format!("{who}: reflecting {} cells needs an axis longer than that; found {d}", lo[i].max(hi[i])),
            ));
        }
        let g = s.graph();
        let mut parts = Vec::new();
        let edge = |g: &mut crate::graph::Graph, at: usize, n: usize| {
            let one = g.slice_axis(x, axis, at..at + 1);
            let mut shape = g.shape(one).to_vec();
            shape[axis] = n;
            g.broadcast(one, &shape)
        };
        if lo[i] > 0 {
            parts.push(if mode == PadMode::Reflect {
                let part = g.slice_axis(x, axis, 1..lo[i] + 1);
                g.reverse(part, &[axis])
            } else {
                edge(g, 0, lo[i])
            });
        }
        parts.push(x);
        if hi[i] > 0 {
            parts.push(if mode == PadMode::Reflect {
                let part = g.slice_axis(x, axis, d - 1 - hi[i]..d - 1);
                g.reverse(part, &[axis])
            } else {
                edge(g, d - 1, hi[i])
            });
        }
        x = g.concat(&parts, axis);
    }
    Ok(x)
}

/// Spatial extents of `[c, d…]`.
pub(super) fn spatial<'a>(x: &'a Tensor, who: &str) -> Fallible<&'a [usize]> {
    need_real(x, who)?;
    if x.shape.len() < 2 {
        return Err(LayerError::new(
            "E0301",
            format!("{who} takes [channels, height, width]; found {:?}", x.shape),
        )
        .help("one axis of channels, then the spatial axes"));
    }
    Ok(&x.shape[1..])
}

pub(super) fn pad(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let dims = spatial(x, "`pad`")?.len();
    let lo = a.ints("lo", dims, 0)?;
    let hi = if a.get("hi").is_some() { a.ints("hi", dims, 0)? } else { lo.clone() };
    let node = batched(s, x);
    let node = pad_node(s, node, &lo, &hi, PadMode::parse(a, "mode")?, "`pad`")?;
    Ok(unbatched(s, node, x))
}

pub(super) fn crop(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let size = spatial(x, "`crop`")?;
    let n: Vec<usize> = a.int_list("n", 1)?.into_iter().map(|v| v as usize).collect();
    let n = if n.len() == 1 { vec![n[0]; size.len()] } else { n };
    if n.len() != size.len() || n.iter().zip(size).any(|(n, d)| n > d) {
        return Err(a.refuse(
            "n",
            &format!("one extent, or one for each spatial axis of {:?}, no larger than it", x.shape),
        ));
    }
    let mut node = x.node;
    for (i, (&n, &d)) in n.iter().zip(size).enumerate() {
        let start = (d - n) / 2;
        node = s.graph().slice_axis(node, x.lead() + 1 + i, start..start + n);
    }
    let shape = [&x.shape[..1], &n[..]].concat();
    Ok(x.shaped(node, shape))
}

/// Tensors one after the other along `axis`; common ones are repeated if another is a sample.
pub(super) fn concat(s: &mut dyn Scope, parts: &[Tensor], axis: i64) -> Fallible<Tensor> {
    let mut parts = parts.to_vec();
    for p in &mut parts {
        need_real(p, "`concat`")?;
        if p.shape.is_empty() {
            *p = reshape_to(s, p, vec![1]);
        }
    }
    let first = parts[0].clone();
    let axis = axis_of(&first.shape, axis, "`concat`")?;
    let sample = parts.iter().any(|p| p.sample);
    let batch = parts.iter().find(|p| p.sample).map_or(1, |p| s.graph().shape(p.node)[0]);
    let (mut nodes, mut shape) = (Vec::new(), first.shape.clone());
    shape[axis] = 0;
    for p in &parts {
        let fits = p.shape.len() == shape.len() && (0..shape.len()).all(|i| i == axis || p.shape[i] == shape[i]);
        if !fits {
            return Err(LayerError::new(
                "E0301",
                format!(
                    "`concat` of {:?} and {:?} along axis {axis}: the other axes must agree",
                    first.shape, p.shape
                ),
            )
            .help("`expand` repeats axes of extent 1; `upsample`, `crop` and `pad` change spatial ones"));
        }
        shape[axis] += p.shape[axis];
        let like = Tensor { sample, ..p.clone() };
        nodes.push(if p.sample == sample { p.node } else { grow(s, p, &like, batch) });
    }
    let node = s.graph().concat(&nodes, axis + usize::from(sample));
    Ok(Tensor::real(node, sample, shape))
}

pub(super) fn upsample(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let size = spatial(x, "`upsample`")?.to_vec();
    let f = a.size("factor")?;
    let mut whole = vec![x.shape[0]];
    for &d in &size {
        whole.push(d.saturating_mul(f));
    }
    let mut node = batched(s, x);
    let batch = s.graph().shape(node)[0];
    need_fits(&[&[batch], &whole[..]].concat(), "`upsample`")?;
    if a.word("mode")? == "bilinear" {
        for &d in &size {
            let out = d * f;
            let matrix = bilinear_matrix(d, out);
            let m = s.graph().dense(matrix, Type::f32([out, d]));
            // The contracted axis goes from the front of the spatial axes to the end; all of them once restores order.
            node = s.graph().contract(node, m, ContractDims { batch: vec![], contracted: vec![(2, 1)] });
        }
        return Ok(unbatched(s, node, x));
    }
    let node = s.graph().repeat_elements(node, &vec![f; size.len()]);
    Ok(unbatched(s, node, x))
}

/// `[out, d]` weights of linear interpolation with half-pixel centres, edges held.
pub(super) fn bilinear_matrix(d: usize, out: usize) -> Vec<f64> {
    let mut m = vec![0.0; out * d];
    for i in 0..out {
        let at = ((i as f64 + 0.5) * d as f64 / out as f64 - 0.5).clamp(0.0, (d - 1) as f64);
        let low = at.floor() as usize;
        let share = at - low as f64;
        m[i * d + low] += 1.0 - share;
        m[i * d + (low + 1).min(d - 1)] += share;
    }
    m
}

pub(super) fn pixel_shuffle(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    need_real(x, "`pixel_shuffle`")?;
    let r = a.size("r")?;
    let [c, h, w] = x.shape[..] else {
        return Err(LayerError::new(
            "E0301",
            format!("`pixel_shuffle` takes [channels, height, width]; found {:?}", x.shape),
        ));
    };
    if r.checked_mul(r).is_none_or(|rr| c % rr != 0) {
        return Err(LayerError::new(
            "E0301",
            format!("`pixel_shuffle({r})` needs a multiple of {r} * {r} channels; found {c} in {:?}", x.shape),
        ));
    }
    let node = batched(s, x);
    let batch = s.graph().shape(node)[0];
    let n = c / (r * r);
    let node = s.graph().reshape(node, &[batch, n, r, r, h, w]);
    let node = s.graph().permute(node, &[0, 1, 4, 2, 5, 3]);
    let node = s.graph().reshape(node, &[batch, n, h * r, w * r]);
    Ok(unbatched(s, node, x))
}

pub(super) fn dim(x: &Tensor, a: &Bound) -> Fallible<Value> {
    let axis = axis_of(&x.shape, a.int("i", -8)?, "`dim`")?;
    Ok(Value::Number(x.shape[axis] as f64))
}

/// Row `y` of the first axis: a compile-time index, or a label for each sample.
pub(super) fn select(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let Some(&k) = x.shape.first() else {
        return Err(LayerError::new("E0301", "`select` needs a first axis to select from; found []"));
    };
    let y = match a.get("y") {
        Some(Value::Number(i)) => {
            return super::value::index(s, x, &[super::value::Index::At(*i)]);
        }
        Some(Value::Tensor(t)) => t.clone(),
        _ => return Err(a.refuse("y", "a label or a whole number")),
    };
    match y.kind {
        Kind::Class(n) if n == k => {}
        _ => {
            return Err(LayerError::new(
                "E0303",
                format!("`select` from {:?} needs a label class({k}); found {}", x.shape, y.type_text()),
            ));
        }
    }
    let rest = x.shape[1..].to_vec();
    if y.sample && !x.sample {
        let (rows, _) = super::linear::label(s, &y, "`select`")?;
        let node = s.graph().gather_rows(x.node, rows);
        return Ok(Tensor { node, kind: x.kind, sample: true, shape: rest });
    }
    need_real(x, "`select`")?;
    if !y.shape.is_empty() && y.shape != [1] {
        return Err(a.refuse("y", "one label a sample"));
    }
    // Of a sample's own rows: a masked sum, whose derivative is a mask again.
    let flat = reshape_to(s, &y, vec![]);
    let mask = super::linear::class_mask(s, &flat, k);
    let mut shape = s.graph().shape(mask).to_vec();
    if x.sample && !y.sample {
        shape.insert(0, 1);
    }
    shape.extend(vec![1; rest.len()]);
    let mask = s.graph().reshape(mask, &shape);
    let zero = s.graph().scalar(0.0);
    let kept = s.graph().select(mask, x.node, zero);
    let sum = s.graph().sum(kept, &[x.lead()]);
    let mut out = s.graph().shape(sum)[..x.lead()].to_vec();
    out.extend(&rest);
    let node = s.graph().reshape(sum, &out);
    Ok(x.shaped(node, rest))
}
