//! Noise: functions and layers.

use super::args::Bound;
use super::value::{Fallible, elementwise, need_fits, need_real, real_of};
use super::{LayerError, Scope, Tensor};
use crate::graph::{Binary, DType, Dist, NodeId, Unary};

/// Shape of a noise function's result: `shape`, that of `like`, or one `[]` a sample.
fn extent(s: &mut dyn Scope, a: &Bound) -> Fallible<(bool, Vec<usize>)> {
    let written = a.sig.param("shape").is_some() && a.get("shape").is_some();
    match a.get("like") {
        Some(_) if written => {
            Err(LayerError::new("E0310", format!("`{}` takes `shape` or `like`, not both", a.sig.name)))
        }
        Some(v) => {
            let v = v.clone();
            let t = super::value::tensor_of(s, &v, &format!("`like` of `{}`", a.sig.name))?;
            Ok((t.sample, t.shape))
        }
        None if written => {
            let shape: Vec<usize> = a.int_list("shape", 1)?.into_iter().map(|v| v as usize).collect();
            Ok((true, shape))
        }
        None => Ok((true, vec![])),
    }
}

/// Noise of a shape, one a sample or common.
pub(super) fn draw(s: &mut dyn Scope, dist: Dist, sample: bool, shape: &[usize], who: &str) -> Fallible<Tensor> {
    let mut full = if sample { vec![s.batch()] } else { vec![] };
    full.extend(shape);
    need_fits(&full, who)?;
    Ok(Tensor::real(s.noise(dist, &full), sample, shape))
}

/// `normal uniform gumbel`
pub(super) fn function(s: &mut dyn Scope, a: &Bound) -> Fallible<Tensor> {
    let who = format!("`{}`", a.sig.name);
    let (sample, shape) = extent(s, a)?;
    if a.sig.name == "gumbel" {
        let u = draw(s, Dist::Uniform, sample, &shape, &who)?;
        let node = gumbel(s, u.node);
        return Ok(u.with(node));
    }
    let mut arg = |name: &str| match a.get(name) {
        Some(v) => real_of(s, v, &who),
        None => Err(a.refuse(name, "a number")),
    };
    if a.sig.name == "normal" {
        let (mean, std) = (arg("mean")?, arg("std")?);
        let noise = draw(s, Dist::Normal, sample, &shape, &who)?;
        let scaled = elementwise(s, Binary::Mul, &noise, &std, &who)?;
        return elementwise(s, Binary::Add, &scaled, &mean, &who);
    }
    let (lo, hi) = (arg("lo")?, arg("hi")?);
    let width = super::value::subtract(s, &hi, &lo, &who)?;
    let noise = draw(s, Dist::Uniform, sample, &shape, &who)?;
    let scaled = elementwise(s, Binary::Mul, &noise, &width, &who)?;
    elementwise(s, Binary::Add, &scaled, &lo, &who)
}

/// `-log(-log u)`; u = 0 is moved up by half of the distance to the next value.
fn gumbel(s: &mut dyn Scope, u: NodeId) -> NodeId {
    let g = s.graph();
    let least = g.scalar(2f64.powi(-25));
    let u = g.binary(Binary::Max, u, least);
    let inner = g.unary(Unary::Log, u);
    let inner = g.neg(inner);
    let outer = g.unary(Unary::Log, inner);
    g.neg(outer)
}

/// 1 with probability p, else 0; of p's shape, or of `like`.
pub(super) fn bernoulli(s: &mut dyn Scope, p: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let who = "`bernoulli`";
    need_real(p, who)?;
    if let Some(v) = s.graph().as_splat(p.node)
        && !(0.0..=1.0).contains(&v)
    {
        return Err(LayerError::new("E0310", format!("{who} takes a probability from 0 to 1; found {v}")));
    }
    let (sample, shape) = if a.get("like").is_some() {
        extent(s, a)?
    } else if p.shape.is_empty() && !p.sample {
        (true, vec![])
    } else {
        (p.sample, p.shape.clone())
    };
    let u = draw(s, Dist::Uniform, sample, &shape, who)?;
    let t = elementwise(s, Binary::Lt, &u, p, who)?;
    Ok(t.with(s.graph().cast(t.node, DType::F32)))
}

/// `mu + exp(logvar / 2) * noise`
pub(super) fn sample_normal(s: &mut dyn Scope, mu: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let who = "`sample_normal`";
    need_real(mu, who)?;
    let logvar = match a.get("logvar") {
        Some(v) => real_of(s, v, who)?,
        None => return Err(a.refuse("logvar", "a tensor or a number")),
    };
    let g = s.graph();
    let half = g.scale(logvar.node, 0.5);
    let std = logvar.with(g.unary(Unary::Exp, half));
    let zero = elementwise(s, Binary::Add, mu, &logvar, who)?;
    let noise = draw(s, Dist::Normal, true, &zero.shape, who)?;
    let scaled = elementwise(s, Binary::Mul, &noise, &std, who)?;
    elementwise(s, Binary::Add, &scaled, mu, who)
}

/// The layers `dropout` and `noise`.
pub(super) fn layer(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let who = format!("`{}`", a.sig.name);
    need_real(x, &who)?;
    let full = s.graph().shape(x.node).to_vec();
    if a.sig.name == "noise" {
        let std = a.number_in("std", 0.0, f64::INFINITY)?;
        if !s.training() || std == 0.0 {
            return Ok(x.clone());
        }
        let noise = s.noise(Dist::Normal, &full);
        let g = s.graph();
        let noise = g.scale(noise, std);
        return Ok(x.with(g.add(x.node, noise)));
    }
    let p = a.number_in("p", 0.0, 1.0)?;
    if p == 1.0 {
        return Err(a.refuse("p", "a probability below 1"));
    }
    let active = s.training() || a.word("eval")? == "on";
    if !active || p == 0.0 {
        return Ok(x.clone());
    }
    let u = s.noise(Dist::Uniform, &full);
    let g = s.graph();
    let limit = g.scalar(p);
    let keep = g.binary(Binary::Le, limit, u);
    let scaled = g.scale(x.node, 1.0 / (1.0 - p));
    let zero = g.scalar(0.0);
    Ok(x.with(g.select(keep, scaled, zero)))
}
