//! What `with` does to the weights of a layer: functions from stored to used tensors, called where a parameter is made.

use super::{Init, ParamRole};
use crate::graph::{ContractDims, Graph, NodeId, Unary};

/// `[out, rest]` view of weights.
fn matrix(g: &mut Graph, w: NodeId, out_axis: usize) -> NodeId {
    let shape = g.shape(w).to_vec();
    let mut perm: Vec<usize> = (0..shape.len()).filter(|&i| i != out_axis).collect();
    perm.insert(0, out_axis);
    let moved = g.permute(w, &perm);
    let rest = shape.iter().product::<usize>() / shape[out_axis];
    g.reshape(moved, &[shape[out_axis], rest])
}

/// `x / max(|x|, eps)`
fn unit(g: &mut Graph, x: NodeId) -> NodeId {
    let square = g.mul(x, x);
    let sum = g.sum(square, &[0]);
    let norm = g.unary(Unary::Sqrt, sum);
    let eps = g.scalar(1e-12);
    let norm = g.binary(crate::graph::Binary::Max, norm, eps);
    g.div(x, norm)
}

/// What spectral normalisation gives.
#[derive(Clone, Copy, Debug)]
pub struct Spectral {
    /// The weights divided by sigma.
    pub weight: NodeId,
    /// Next value of u: `[out]`.
    pub u: NodeId,
    /// Right vector: `[rest]`, constant.
    pub v: NodeId,
    /// Largest singular value as u and v see it, rank 0.
    pub sigma: NodeId,
}

/// Spectral normalisation (Miyato et al. 2018) of `w` as `[out, rest]` with the stored vector `u: [out]`
/// (start: normal). With `iterations: 0` (eval mode) u stays. u and v are constants of the gradient.
pub fn spectral_norm(g: &mut Graph, w: NodeId, u: NodeId, out_axis: usize, iterations: usize) -> Spectral {
    let m = matrix(g, w, out_axis);
    let fixed = g.stop(m);
    let over = |axis: usize| ContractDims { batch: vec![], contracted: vec![(axis, 0)] };
    let mut u = g.stop(u);
    let mut v = g.contract(fixed, u, over(0));
    v = unit(g, v);
    for i in 0..iterations {
        let next = g.contract(fixed, v, over(1));
        u = unit(g, next);
        if i + 1 < iterations {
            v = g.contract(fixed, u, over(0));
            v = unit(g, v);
        }
    }
    if iterations == 0 {
        u = unit(g, u);
    }
    // The vectors are functions of a stopped matrix and a stopped state: constants of the gradient already.
    let wv = g.contract(m, v, over(1));
    let product = g.mul(u, wv);
    let sigma = g.sum_all(product);
    let weight = g.div(w, sigma);
    Spectral { weight, u, v, sigma }
}

/// Weight normalisation (Salimans & Kingma 2016): `gain v / |v|` for each output channel; `gain: [out]`.
pub fn weight_norm(g: &mut Graph, v: NodeId, gain: NodeId, out_axis: usize) -> NodeId {
    let shape = g.shape(v).to_vec();
    let others: Vec<usize> = (0..shape.len()).filter(|&i| i != out_axis).collect();
    let square = g.mul(v, v);
    let sum = g.sum(square, &others);
    let norm = g.unary(Unary::Sqrt, sum);
    let mut along = vec![1; shape.len()];
    along[out_axis] = shape[out_axis];
    let gain = g.reshape(gain, &along);
    let factor = g.div(gain, norm);
    g.mul(v, factor)
}

/// Start of the gain of weight normalisation: the norm that an output channel of `rest` weights is expected to have,
/// so that the layer starts as it would without.
pub fn weight_norm_gain(init: Init, role: ParamRole, rest: usize) -> Init {
    let (fan_in, fan_out) = match role {
        ParamRole::Weight { fan_in, fan_out, .. } => (fan_in as f64, fan_out as f64),
        ParamRole::Bias { .. } | ParamRole::Scale | ParamRole::Shift | ParamRole::Plain => {
            (rest as f64, rest as f64)
        }
    };
    let n = rest as f64;
    let mean_square = |lo: f64, hi: f64| (lo * lo + lo * hi + hi * hi) / 3.0;
    Init::Constant(match init {
        Init::Constant(c) => c.abs() * n.sqrt(),
        Init::Normal { mean, std } => (n * (mean * mean + std * std)).sqrt(),
        Init::Uniform { lo, hi } => (n * mean_square(lo, hi)).sqrt(),
        Init::Orthogonal { gain } => gain.abs(),
        Init::Xavier => (n * 2.0 / (fan_in + fan_out)).sqrt(),
        Init::He => (n * 2.0 / fan_in).sqrt(),
        Init::Identity => 1.0,
        Init::FanIn => (n / (3.0 * fan_in)).sqrt(),
    })
}

/// Equalised learning rate (Karras et al. 2018): stored weights start at N(0, 1) / lr and are used times
/// `lr * gain / sqrt(fan_in)`; `gain` is sqrt 2, or 1 for linear outputs. Gives the start and the factor.
pub fn equalized(lr: f64, gain: f64, fan_in: usize) -> (Init, f64) {
    (Init::Normal { mean: 0.0, std: 1.0 / lr }, lr * gain / (fan_in.max(1) as f64).sqrt())
}
