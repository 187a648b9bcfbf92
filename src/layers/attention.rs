//! Self-attention over the positions of an image (Zhang et al. 2019).

use super::activation::softmax;
use super::args::Bound;
use super::shape::spatial;
use super::value::{Fallible, batched, need_fits, unbatched};
use super::{Init, ParamRole, Scope, Tensor};
use crate::graph::ContractDims;

pub(super) fn self_attention(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let size = spatial(x, "`self_attention`")?;
    let (c, positions) = (x.shape[0], size.iter().product::<usize>());
    let heads = a.size("heads")?;
    let width = |name: &str, default: usize| -> Fallible<usize> {
        let n = a.int_or_none(name, 1)?.map_or(default.max(1), |v| v as usize);
        if n.is_multiple_of(heads) {
            Ok(n)
        } else {
            Err(a.refuse(name, &format!("a multiple of the {heads} heads (it would be {n} of {c} channels)")))
        }
    };
    let (key, value) = (width("key", c / 8)?, width("value", c / 2)?);
    let node = batched(s, x);
    let full = s.graph().shape(node).to_vec();
    let batch = full[0];
    need_fits(&[batch, heads, positions, positions], "`self_attention`")?;
    let flat = s.graph().reshape(node, &[batch, c, positions]);
    // [batch, positions, heads, n / heads]
    let mut project = |name: &str, n: usize| {
        let role = ParamRole::Weight { out_axis: 0, fan_in: c, fan_out: n };
        let w = s.param(name, &[n, c], role, Init::FanIn);
        let g = s.graph();
        let p = g.contract(flat, w, ContractDims { batch: vec![], contracted: vec![(1, 1)] });
        g.reshape(p, &[batch, positions, heads, n / heads])
    };
    let (q, k, v) = (project("query", key), project("key", key), project("value", value));
    let g = s.graph();
    let scores = g.contract(q, k, ContractDims { batch: vec![(0, 0), (2, 2)], contracted: vec![(3, 3)] });
    let weights = softmax(g, scores, 3);
    let mixed = g.contract(weights, v, ContractDims { batch: vec![(0, 0), (1, 2)], contracted: vec![(3, 1)] });
    let mixed = g.permute(mixed, &[0, 2, 1, 3]);
    let mixed = g.reshape(mixed, &[batch, positions, value]);
    let role = ParamRole::Weight { out_axis: 0, fan_in: value, fan_out: c };
    let w = s.param("out", &[c, value], role, Init::FanIn);
    let gain = s.param("gain", &[1], ParamRole::Plain, Init::Constant(0.0));
    let g = s.graph();
    let y = g.contract(mixed, w, ContractDims { batch: vec![], contracted: vec![(2, 1)] });
    let y = g.permute(y, &[0, 2, 1]);
    let y = g.reshape(y, &full);
    let gain = g.reshape(gain, &[]);
    let y = g.mul(y, gain);
    let y = g.add(node, y);
    Ok(unbatched(s, y, x))
}
