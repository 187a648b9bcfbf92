//! Optimisers as graphs: one update is a pure function of parameter, gradient and moments, so that it unrolls.
//!
//! Semantics are those of the papers as the common frameworks agree on them: bias-corrected Adam with eps outside the
//! root, momentum that starts with the first gradient.

use super::activation::expm1;
use super::args::Bound;
use super::value::Fallible;
use super::{LayerError, Value};
use crate::graph::{Binary, Graph, NodeId, Unary};

/// An algorithm with its constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Algorithm {
    /// Gradient descent with (Nesterov) momentum.
    Sgd {
        /// Share of the last step that is kept.
        momentum: f64,
        /// Look ahead along it.
        nesterov: bool,
    },
    /// Kingma & Ba 2015.
    Adam {
        /// Decay of the mean gradient.
        beta1: f64,
        /// Decay of the mean squared gradient.
        beta2: f64,
        /// Added to the root.
        eps: f64,
        /// Weight decay outside the gradient (Loshchilov & Hutter 2019).
        decoupled: bool,
    },
    /// Tieleman & Hinton 2012.
    Rmsprop {
        /// Decay of the mean squared gradient.
        decay: f64,
        /// Added to the root.
        eps: f64,
    },
    /// Duchi et al. 2011.
    Adagrad,
    /// Chen et al. 2023.
    Lion {
        /// Weight of the old mean in the step.
        beta1: f64,
        /// Decay of the mean gradient.
        beta2: f64,
    },
}

/// An optimiser as a spec names it.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimiserSpec {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Step size: a number or a schedule (common `[]`).
    pub lr: Value,
    /// L2 term in the gradient; decoupled for adamw and lion.
    pub weight_decay: f64,
    /// Largest norm of all gradients of the player together.
    pub clip_norm: Option<f64>,
    /// Largest magnitude of a parameter after the update.
    pub clip_weights: Option<f64>,
}

impl OptimiserSpec {
    /// From bound arguments.
    pub fn parse(a: &Bound) -> Fallible<Self> {
        let share = |name: &str| -> Fallible<f64> {
            let v = a.number_in(name, 0.0, 1.0)?;
            if v < 1.0 { Ok(v) } else { Err(a.refuse(name, "a number from 0 to below 1")) }
        };
        let algorithm = match a.sig.name {
            "sgd" => {
                let (momentum, nesterov) = (share("momentum")?, a.bool("nesterov")?);
                if nesterov && momentum == 0.0 {
                    return Err(LayerError::new("E0310", "`nesterov` of `sgd` needs a `momentum` above 0"));
                }
                Algorithm::Sgd { momentum, nesterov }
            }
            "adam" | "adamw" => Algorithm::Adam {
                beta1: share("beta1")?,
                beta2: share("beta2")?,
                eps: a.number_in("eps", 0.0, f64::INFINITY)?,
                decoupled: a.sig.name == "adamw",
            },
            "rmsprop" => {
                Algorithm::Rmsprop { decay: share("decay")?, eps: a.number_in("eps", 0.0, f64::INFINITY)? }
            }
            "adagrad" => Algorithm::Adagrad,
            "lion" => Algorithm::Lion { beta1: share("beta1")?, beta2: share("beta2")? },
            _ => return Err(super::emit::unknown(a.sig)),
        };
        let lr = match a.get("lr") {
            Some(Value::Number(_)) => Value::Number(a.number_in("lr", 0.0, f64::INFINITY)?),
            Some(Value::Tensor(t)) if !t.sample && t.shape.is_empty() => Value::Tensor(t.clone()),
            _ => return Err(a.refuse("lr", "a number or a schedule such as `ramp(2e-4, 0, to: 100_000)`")),
        };
        Ok(Self {
            algorithm,
            lr,
            weight_decay: a.number_in("weight_decay", 0.0, f64::INFINITY)?,
            clip_norm: a.positive_or_none("clip_norm")?,
            clip_weights: a.positive_or_none("clip_weights")?,
        })
    }

    /// The step size as a rank-0 node.
    pub fn lr_node(&self, g: &mut Graph) -> NodeId {
        match &self.lr {
            Value::Tensor(t) => t.node,
            Value::Number(v) => g.scalar(*v),
            _ => unreachable!("`parse` lets only numbers and tensors through"),
        }
    }

    /// Names of the moments of each parameter; all have its shape and start at 0.
    pub fn state_names(&self) -> &'static [&'static str] {
        match self.algorithm {
            Algorithm::Sgd { momentum: 0.0, .. } => &[],
            Algorithm::Sgd { .. } => &["momentum"],
            Algorithm::Adam { .. } => &["m", "v"],
            Algorithm::Rmsprop { .. } => &["v"],
            Algorithm::Adagrad => &["sum"],
            Algorithm::Lion { .. } => &["m"],
        }
    }
}

/// `old * decay + new * (1 - decay)`
fn blend(g: &mut Graph, old: NodeId, new: NodeId, decay: f64) -> NodeId {
    let kept = g.scale(old, decay);
    let taken = g.scale(new, 1.0 - decay);
    g.add(kept, taken)
}

/// `1 - beta^t`, accurate in f32 for beta near 1; `t`: rank 0.
fn correction(g: &mut Graph, beta: f64, t: NodeId) -> NodeId {
    if beta == 0.0 {
        return g.scalar(1.0);
    }
    let x = g.scale(t, beta.ln());
    let e = expm1(g, x);
    g.neg(e)
}

/// `1 / (sqrt(v) * factor + eps)`; the root is kept off 0, where its derivative would be infinite (unrolling).
fn damped(g: &mut Graph, v: NodeId, factor: Option<NodeId>, eps: f64) -> NodeId {
    let tiny = g.scalar(1e-36);
    let v = g.binary(Binary::Max, v, tiny);
    let mut root = g.unary(Unary::Sqrt, v);
    if let Some(f) = factor {
        root = g.mul(root, f);
    }
    let root = g.offset(root, eps);
    g.unary(Unary::Recip, root)
}

/// One update of one parameter: its next value and next moments (in the order of
/// [`OptimiserSpec::state_names`]). `t` counts the player's updates, 1 in the first (f32, rank 0); `lr`: rank 0.
/// Gradients are as [`clip_norm`] left them.
pub fn step(
    g: &mut Graph,
    spec: &OptimiserSpec,
    param: NodeId,
    grad: NodeId,
    states: &[NodeId],
    t: NodeId,
    lr: NodeId,
) -> (NodeId, Vec<NodeId>) {
    let decoupled = matches!(spec.algorithm, Algorithm::Adam { decoupled: true, .. } | Algorithm::Lion { .. });
    let mut grad = grad;
    let mut start = param;
    if spec.weight_decay > 0.0 {
        if decoupled {
            let shrink = g.scale(lr, -spec.weight_decay);
            let shrink = g.offset(shrink, 1.0);
            start = g.mul(param, shrink);
        } else {
            let pull = g.scale(param, spec.weight_decay);
            grad = g.add(grad, pull);
        }
    }
    let mut next = Vec::new();
    let (direction, rate) = match spec.algorithm {
        Algorithm::Sgd { momentum, nesterov } => {
            if momentum == 0.0 {
                (grad, lr)
            } else {
                let kept = g.scale(states[0], momentum);
                let m = g.add(kept, grad);
                next.push(m);
                if nesterov {
                    let ahead = g.scale(m, momentum);
                    (g.add(grad, ahead), lr)
                } else {
                    (m, lr)
                }
            }
        }
        Algorithm::Adam { beta1, beta2, eps, .. } => {
            let m = blend(g, states[0], grad, beta1);
            let square = g.mul(grad, grad);
            let v = blend(g, states[1], square, beta2);
            next.extend([m, v]);
            // All that depends on t is rank 0: lr / (1 - beta1^t) and 1 / sqrt(1 - beta2^t).
            let c1 = correction(g, beta1, t);
            let rate = g.div(lr, c1);
            let c2 = correction(g, beta2, t);
            let c2 = g.unary(Unary::Sqrt, c2);
            let c2 = g.unary(Unary::Recip, c2);
            let inverse = damped(g, v, Some(c2), eps);
            (g.mul(m, inverse), rate)
        }
        Algorithm::Rmsprop { decay, eps } => {
            let square = g.mul(grad, grad);
            let v = blend(g, states[0], square, decay);
            next.push(v);
            let inverse = damped(g, v, None, eps);
            (g.mul(grad, inverse), lr)
        }
        Algorithm::Adagrad => {
            let square = g.mul(grad, grad);
            let sum = g.add(states[0], square);
            next.push(sum);
            let inverse = damped(g, sum, None, 1e-10);
            (g.mul(grad, inverse), lr)
        }
        Algorithm::Lion { beta1, beta2 } => {
            let mix = blend(g, states[0], grad, beta1);
            next.push(blend(g, states[0], grad, beta2));
            (g.unary(Unary::Sign, mix), lr)
        }
    };
    let down = g.neg(rate);
    let move_by = g.mul(direction, down);
    let mut value = g.add(start, move_by);
    if let Some(c) = spec.clip_weights {
        let (lo, hi) = (g.scalar(-c), g.scalar(c));
        value = g.binary(Binary::Max, value, lo);
        value = g.binary(Binary::Min, value, hi);
    }
    (value, next)
}

/// All gradients of a player scaled so that their common norm is at most `c`.
pub fn clip_norm(g: &mut Graph, grads: &[NodeId], c: f64) -> Vec<NodeId> {
    let Some(norm) = global_norm(g, grads) else {
        return Vec::new();
    };
    let norm = g.offset(norm, 1e-6);
    let inverse = g.unary(Unary::Recip, norm);
    let factor = g.scale(inverse, c);
    let one = g.scalar(1.0);
    let factor = g.binary(Binary::Min, factor, one);
    grads.iter().map(|&d| g.mul(d, factor)).collect()
}

/// The norm of several tensors together (rank 0); `None` of none.
pub fn global_norm(g: &mut Graph, parts: &[NodeId]) -> Option<NodeId> {
    let mut total = None;
    for &p in parts {
        let square = g.mul(p, p);
        let sum = g.sum_all(square);
        total = Some(total.map_or(sum, |t| g.add(t, sum)));
    }
    total.map(|t| g.unary(Unary::Sqrt, t))
}
