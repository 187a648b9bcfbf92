//! Elementwise losses; the two of class distributions remove the class axis.

use super::activation::{log_softmax, softplus, softplus_parts};
use super::args::Bound;
use super::function::found;
use super::linear::class_mask;
use super::value::{Fallible, broadcast_pair, elementwise, need_real, real_of, settle, subtract};
use super::{Kind, LayerError, Scope, Tensor, Value};
use crate::graph::{Binary, Type, Unary};

fn other(s: &mut dyn Scope, a: &Bound, name: &str, who: &str) -> Fallible<Tensor> {
    match a.get(name) {
        Some(v) => real_of(s, v, who),
        None => Err(a.refuse(name, "a tensor or a number")),
    }
}

/// Cross-entropy of a logit with a target in [0, 1]: `max(x, 0) - x t + log(1 + exp(-|x|))`.
pub(super) fn bce(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let who = "`bce`";
    need_real(x, who)?;
    match a.get("target") {
        // One of the two terms alone.
        Some(Value::Number(0.0)) => return Ok(x.with(softplus(s.graph(), x.node))),
        Some(Value::Number(1.0)) => {
            let g = s.graph();
            let minus = g.neg(x.node);
            return Ok(x.with(softplus(g, minus)));
        }
        Some(Value::Number(t)) if !(0.0..=1.0).contains(t) => {
            return Err(a.refuse("target", "a probability from 0 to 1"));
        }
        _ => {}
    }
    let target = other(s, a, "target", who)?;
    let (ramp, log) = softplus_parts(s.graph(), x.node);
    let product = elementwise(s, Binary::Mul, x, &target, who)?;
    // The two large terms first: they cancel exactly where the target is right.
    let linear = subtract(s, &x.with(ramp), &product, who)?;
    elementwise(s, Binary::Add, &linear, &x.with(log), who)
}

/// `mse l1 huber`
pub(super) fn distance(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let who = format!("`{}`", a.sig.name);
    need_real(x, &who)?;
    let y = other(s, a, "b", &who)?;
    let d = subtract(s, x, &y, &who)?;
    let delta = if a.sig.name == "huber" { a.positive("delta")? } else { 1.0 };
    let g = s.graph();
    let node = match a.sig.name {
        "mse" => g.mul(d.node, d.node),
        "l1" => g.unary(Unary::Abs, d.node),
        _ => {
            let size = g.unary(Unary::Abs, d.node);
            let limit = g.scalar(delta);
            let near = g.binary(Binary::Le, size, limit);
            let square = g.mul(d.node, d.node);
            let square = g.scale(square, 0.5);
            let line = g.offset(size, -0.5 * delta);
            let line = g.scale(line, delta);
            g.select(near, square, line)
        }
    };
    Ok(d.with(node))
}

/// `(mu^2 + exp(logvar) - 1 - logvar) / 2`
pub(super) fn kl_normal(s: &mut dyn Scope, mu: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let who = "`kl_normal`";
    need_real(mu, who)?;
    let logvar = other(s, a, "logvar", who)?;
    let g = s.graph();
    let square = g.mul(mu.node, mu.node);
    let var = g.unary(Unary::Exp, logvar.node);
    let minus = g.neg(logvar.node);
    let rest = g.add(var, minus);
    let rest = g.offset(rest, -1.0);
    let t = elementwise(s, Binary::Add, &mu.with(square), &logvar.with(rest), who)?;
    Ok(t.with(s.graph().scale(t.node, 0.5)))
}

/// `-(log 2 pi + logvar + (x - mu)^2 exp(-logvar)) / 2`
pub(super) fn log_normal(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let who = "`log_normal`";
    need_real(x, who)?;
    let (mu, logvar) = (other(s, a, "mu", who)?, other(s, a, "logvar", who)?);
    let d = subtract(s, x, &mu, who)?;
    let square = d.with(s.graph().mul(d.node, d.node));
    let minus = s.graph().neg(logvar.node);
    let precision = logvar.with(s.graph().unary(Unary::Exp, minus));
    let scaled = elementwise(s, Binary::Mul, &square, &precision, who)?;
    let sum = elementwise(s, Binary::Add, &scaled, &logvar, who)?;
    let g = s.graph();
    let sum_node = g.offset(sum.node, (2.0 * std::f64::consts::PI).ln());
    Ok(sum.with(g.scale(sum_node, -0.5)))
}

fn class_axis(x: &Tensor, who: &str) -> Fallible<usize> {
    need_real(x, who)?;
    x.shape
        .first()
        .copied()
        .ok_or_else(|| LayerError::new("E0301", format!("{who} needs logits [classes]; found []")))
}

/// Sum over the first axis, which goes.
fn over_classes(s: &mut dyn Scope, t: &Tensor) -> Tensor {
    let g = s.graph();
    let sum = g.sum(t.node, &[t.lead()]);
    let mut shape = g.shape(t.node).to_vec();
    shape.remove(t.lead());
    let node = g.reshape(sum, &shape);
    t.shaped(node, t.shape[1..].to_vec())
}

/// Of logits `[k, …]` with a class or a distribution `[k, …]`.
pub(super) fn cross_entropy(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let who = "`cross_entropy`";
    let k = class_axis(x, who)?;
    let target = match a.get("target") {
        Some(Value::Number(i)) if i.fract() == 0.0 && *i >= 0.0 && *i < k as f64 => {
            let node = s.graph().splat(*i, Type::u32([]));
            Tensor { node, kind: Kind::Class(k), sample: false, shape: vec![] }
        }
        Some(Value::Tensor(t)) => t.clone(),
        _ => return Err(a.refuse("target", &format!("a class below {k} or a distribution [{k}]"))),
    };
    let axis = x.lead();
    let logp = x.with(log_softmax(s.graph(), x.node, axis));
    let product = match target.kind {
        Kind::Class(n) if n == k && target.shape == x.shape[1..] => {
            let mask = class_mask(s, &target, k);
            let shape = [&[k], &target.shape[..]].concat();
            let mask = Tensor { node: mask, kind: Kind::Bool, sample: target.sample, shape };
            let (mask, value, out) = broadcast_pair(s, &mask, &logp, who)?;
            let zero = s.graph().scalar(0.0);
            let node = s.graph().select(mask, value, zero);
            settle(s, node, Tensor { kind: Kind::Real, ..out })
        }
        Kind::Real if target.shape == x.shape => elementwise(s, Binary::Mul, &logp, &target, who)?,
        Kind::Class(_) | Kind::Real | Kind::Bool => {
            let mut want = format!("class({k})");
            if x.shape.len() > 1 {
                want = format!("class({k}) {:?}", &x.shape[1..]);
            }
            return Err(LayerError::new(
                "E0301",
                format!(
                    "{who} of logits {:?} needs a target {want} or a distribution {:?}; found {}",
                    x.shape,
                    x.shape,
                    found(&Value::Tensor(target))
                ),
            ));
        }
    };
    let sum = over_classes(s, &product);
    Ok(sum.with(s.graph().neg(sum.node)))
}

/// Of the distribution that logits `[k, …]` give.
pub(super) fn entropy(s: &mut dyn Scope, x: &Tensor) -> Fallible<Tensor> {
    class_axis(x, "`entropy`")?;
    let axis = x.lead();
    let g = s.graph();
    let logp = log_softmax(g, x.node, axis);
    let p = g.unary(Unary::Exp, logp);
    let product = g.mul(p, logp);
    let sum = over_classes(s, &x.with(product));
    Ok(sum.with(s.graph().neg(sum.node)))
}
