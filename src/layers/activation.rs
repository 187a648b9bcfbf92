//! Activations. Kinks are order tests of the argument, so that derivatives of any order are those of the piece.

use super::args::Bound;
use super::value::{Fallible, axis_of, need_real};
use super::{Init, LayerError, ParamRole, Scope, Tensor};
use crate::graph::{Binary, Graph, NodeId, Unary};

/// `0 < x`
fn positive(g: &mut Graph, x: NodeId) -> NodeId {
    let zero = g.scalar(0.0);
    g.lt(zero, x)
}

/// `max(x, 0)`; at a tie with a constant the constant takes the gradient, so the derivative at 0 is 0.
pub fn relu(g: &mut Graph, x: NodeId) -> NodeId {
    let zero = g.scalar(0.0);
    g.binary(Binary::Max, x, zero)
}

/// `x` where positive, else `slope * x`.
pub fn leaky_relu(g: &mut Graph, x: NodeId, slope: f64) -> NodeId {
    let cond = positive(g, x);
    let low = g.scale(x, slope);
    g.select(cond, x, low)
}

/// `exp(x) - 1` without cancellation: `2t / (1 - t)`, `t = tanh(x / 2)`; for x up to about 15 in f32.
pub fn expm1(g: &mut Graph, x: NodeId) -> NodeId {
    let half = g.scale(x, 0.5);
    let t = g.unary(Unary::Tanh, half);
    let minus = g.neg(t);
    let below = g.offset(minus, 1.0);
    let above = g.scale(t, 2.0);
    g.div(above, below)
}

/// `exp(-|x|)` whose derivative at 0 is that of `exp(x)`, and the test `0 < x`.
fn decay(g: &mut Graph, x: NodeId) -> (NodeId, NodeId) {
    let cond = positive(g, x);
    let minus = g.neg(x);
    let down = g.select(cond, minus, x);
    (g.unary(Unary::Exp, down), cond)
}

/// `max(x, 0)` and `log(1 + exp(-|x|))`, which add up to softplus.
pub fn softplus_parts(g: &mut Graph, x: NodeId) -> (NodeId, NodeId) {
    let (u, cond) = decay(g, x);
    let zero = g.scalar(0.0);
    let ramp = g.select(cond, x, zero);
    (ramp, g.unary(Unary::Log1p, u))
}

/// `log(1 + exp(x))`
pub fn softplus(g: &mut Graph, x: NodeId) -> NodeId {
    let (a, b) = softplus_parts(g, x);
    g.add(a, b)
}

/// `1 / (1 + exp(-x))`, relatively accurate on both sides.
pub fn sigmoid(g: &mut Graph, x: NodeId) -> NodeId {
    let (u, cond) = decay(g, x);
    let one = g.scalar(1.0);
    let top = g.select(cond, one, u);
    let bottom = g.offset(u, 1.0);
    g.div(top, bottom)
}

/// `alpha * (exp(x) - 1)` below 0, times `scale` everywhere.
fn elu(g: &mut Graph, x: NodeId, alpha: f64, scale: f64) -> NodeId {
    let cond = positive(g, x);
    let zero = g.scalar(0.0);
    let low = g.select(cond, zero, x);
    let low = expm1(g, low);
    let low = g.scale(low, alpha * scale);
    let high = g.scale(x, scale);
    g.select(cond, high, low)
}

/// `x / 2 * (1 + erf(x / sqrt 2))` (Hendrycks & Gimpel 2016).
fn gelu(g: &mut Graph, x: NodeId) -> NodeId {
    let r = g.scale(x, std::f64::consts::FRAC_1_SQRT_2);
    let e = g.unary(Unary::Erf, r);
    let e = g.offset(e, 1.0);
    let half = g.scale(x, 0.5);
    g.mul(half, e)
}

/// Its approximation by tanh.
fn gelu_tanh(g: &mut Graph, x: NodeId) -> NodeId {
    let square = g.mul(x, x);
    let inner = g.scale(square, 0.044_715);
    let inner = g.offset(inner, 1.0);
    let inner = g.mul(inner, x);
    let inner = g.scale(inner, (2.0 / std::f64::consts::PI).sqrt());
    let t = g.unary(Unary::Tanh, inner);
    let t = g.offset(t, 1.0);
    let half = g.scale(x, 0.5);
    g.mul(half, t)
}

/// `x - max`, and `sum exp` of that, along graph axes (kept).
pub fn shifted_exp(g: &mut Graph, x: NodeId, axes: &[usize]) -> (NodeId, NodeId, NodeId) {
    let m = g.max_reduce(x, axes);
    let m = g.stop(m);
    let shifted = g.sub(x, m);
    let e = g.unary(Unary::Exp, shifted);
    (shifted, e, g.sum(e, axes))
}

/// Softmax along a graph axis.
pub fn softmax(g: &mut Graph, x: NodeId, axis: usize) -> NodeId {
    let (_, e, sum) = shifted_exp(g, x, &[axis]);
    g.div(e, sum)
}

/// Its logarithm.
pub fn log_softmax(g: &mut Graph, x: NodeId, axis: usize) -> NodeId {
    let (shifted, _, sum) = shifted_exp(g, x, &[axis]);
    let log = g.unary(Unary::Log, sum);
    g.sub(shifted, log)
}

pub(super) fn activation(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let who = format!("`{}`", a.sig.name);
    need_real(x, &who)?;
    let n = x.node;
    let node = match a.sig.name {
        "relu" => relu(s.graph(), n),
        "leaky_relu" => {
            let slope = a.number("slope")?;
            leaky_relu(s.graph(), n, slope)
        }
        "elu" => {
            let alpha = a.number("alpha")?;
            elu(s.graph(), n, alpha, 1.0)
        }
        "selu" => elu(s.graph(), n, 1.673_263_242_354_377_2, 1.050_700_987_355_480_5),
        "gelu" if a.word("approximate")? == "tanh" => gelu_tanh(s.graph(), n),
        "gelu" => gelu(s.graph(), n),
        "silu" => {
            let g = s.graph();
            let gate = sigmoid(g, n);
            g.mul(n, gate)
        }
        "tanh" => s.graph().unary(Unary::Tanh, n),
        "sigmoid" => sigmoid(s.graph(), n),
        "softplus" => softplus(s.graph(), n),
        "softmax" | "log_softmax" => {
            let axis = axis_of(&x.shape, a.int("axis", -8)?, &who)? + x.lead();
            if a.sig.name == "softmax" { softmax(s.graph(), n, axis) } else { log_softmax(s.graph(), n, axis) }
        }
        "maxout" => return maxout(s, x, a),
        "glu" => return glu(s, x),
        "prelu" => return prelu(s, x),
        _ => return Err(super::emit::unknown(a.sig)),
    };
    Ok(x.with(node))
}

fn maxout(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let pieces = a.size("pieces")?;
    let c = x.shape.first().copied().unwrap_or(1);
    if x.shape.is_empty() || !c.is_multiple_of(pieces) {
        return Err(LayerError::new(
            "E0301",
            format!("`maxout({pieces})` needs a multiple of {pieces} along the first axis; found {:?}", x.shape),
        ));
    }
    let lead = s.graph().shape(x.node)[..x.lead()].to_vec();
    let rest = &x.shape[1..];
    let split = [&lead[..], &[c / pieces, pieces], rest].concat();
    let node = s.graph().reshape(x.node, &split);
    let node = s.graph().max_reduce(node, &[lead.len() + 1]);
    let shape = [&[c / pieces], rest].concat();
    let node = s.graph().reshape(node, &[&lead[..], &shape[..]].concat());
    Ok(x.shaped(node, shape))
}

fn glu(s: &mut dyn Scope, x: &Tensor) -> Fallible<Tensor> {
    let c = x.shape.first().copied().unwrap_or(1);
    if !c.is_multiple_of(2) {
        return Err(LayerError::new("E0301", format!("`glu` halves the first axis; found {:?}", x.shape)));
    }
    let g = s.graph();
    let value = g.slice_axis(x.node, x.lead(), 0..c / 2);
    let gate = g.slice_axis(x.node, x.lead(), c / 2..c);
    let gate = sigmoid(g, gate);
    let node = g.mul(value, gate);
    let mut shape = x.shape.clone();
    shape[0] = c / 2;
    Ok(x.shaped(node, shape))
}

fn prelu(s: &mut dyn Scope, x: &Tensor) -> Fallible<Tensor> {
    let c = x.shape.first().copied().unwrap_or(1);
    let slope = s.param("slope", &[c], ParamRole::Plain, Init::Constant(0.25));
    let g = s.graph();
    let mut shape = vec![1; g.shape(x.node).len()];
    if let Some(axis) = shape.get_mut(x.lead()) {
        *axis = c;
    }
    let slope = if x.shape.is_empty() { g.reshape(slope, &[]) } else { g.reshape(slope, &shape) };
    let cond = positive(g, x.node);
    let low = g.mul(x.node, slope);
    Ok(x.with(g.select(cond, x.node, low)))
}
