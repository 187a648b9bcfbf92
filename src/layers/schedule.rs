//! Schedules: common `[]` values that depend on the iteration (1 in the first).

use super::args::Bound;
use super::value::Fallible;
use super::{LayerError, Scope, Tensor};
use crate::graph::{Binary, DType, NodeId, Type, Unary};

/// The iteration as f32.
fn now(s: &mut dyn Scope) -> NodeId {
    let t = s.iteration();
    s.graph().cast(t, DType::F32)
}

/// Share of the way from iteration `from` to `to`, within [0, 1].
fn share(s: &mut dyn Scope, from: f64, to: f64) -> NodeId {
    let t = now(s);
    let g = s.graph();
    let t = g.offset(t, -from);
    let t = g.scale(t, 1.0 / (to - from));
    let (zero, one) = (g.scalar(0.0), g.scalar(1.0));
    let t = g.binary(Binary::Max, t, zero);
    g.binary(Binary::Min, t, one)
}

fn span(a: &Bound) -> Fallible<(f64, f64)> {
    let from = a.int("from", 0)? as f64;
    let Some(to) = a.int_or_none("to", 1)? else {
        return Err(LayerError::new(
            "E0206",
            format!("`{}` needs `to`, the iteration at which it ends", a.sig.name),
        )
        .help(format!("written as `{}`", a.sig.usage())));
    };
    if to as f64 <= from {
        return Err(a.refuse("to", &format!("after `from` ({from})")));
    }
    Ok((from, to as f64))
}

/// `ramp cosine warmup piecewise`
pub(super) fn schedule(s: &mut dyn Scope, a: &Bound) -> Fallible<Tensor> {
    let node = match a.sig.name {
        "ramp" => {
            let (from, to) = span(a)?;
            let (v0, v1) = (a.number("a")?, a.number("b")?);
            let t = share(s, from, to);
            between(s, v0, v1, t)
        }
        "cosine" => {
            let (from, to) = span(a)?;
            let (v0, v1) = (a.number("a")?, a.number("b")?);
            let t = share(s, from, to);
            let g = s.graph();
            let angle = g.scale(t, std::f64::consts::PI);
            let c = g.unary(Unary::Cos, angle);
            let c = g.scale(c, -0.5);
            let t = g.offset(c, 0.5);
            between(s, v0, v1, t)
        }
        "warmup" => {
            let value = a.number("a")?;
            let t = share(s, 0.0, a.size("steps")? as f64);
            s.graph().scale(t, value)
        }
        "piecewise" => piecewise(s, a)?,
        _ => return Err(super::emit::unknown(a.sig)),
    };
    Ok(Tensor::real(node, false, []))
}

/// `a (1 - t) + b t`: exactly a and b at the ends.
fn between(s: &mut dyn Scope, a: f64, b: f64, t: NodeId) -> NodeId {
    let g = s.graph();
    let minus = g.neg(t);
    let rest = g.offset(minus, 1.0);
    let (p, q) = (g.scale(rest, a), g.scale(t, b));
    g.add(p, q)
}

fn piecewise(s: &mut dyn Scope, a: &Bound) -> Fallible<NodeId> {
    let (times, values) = (a.numbers("t")?, a.numbers("v")?);
    if values.len() != times.len() + 1 {
        return Err(a
            .refuse("v", &format!("one value more than the {} times", times.len()))
            .help("the first value holds until the first time, the last one from the last time on"));
    }
    let rising = times.windows(2).all(|w| w[0] < w[1]);
    if !rising || times.iter().any(|t| t.fract() != 0.0 || *t < 0.0 || *t > 4_294_967_295.0) {
        return Err(a.refuse("t", "whole iterations in rising order"));
    }
    let t = s.iteration();
    let g = s.graph();
    let mut node = g.scalar(values[values.len() - 1]);
    for (limit, value) in times.iter().zip(&values).rev() {
        let limit = g.splat(*limit, Type::u32([]));
        let before = g.lt(t, limit);
        let value = g.scalar(*value);
        node = g.select(before, value, node);
    }
    Ok(node)
}
