//! Fully connected layers, labels as vectors.

use super::args::Bound;
use super::value::{Fallible, need_fits, need_real};
use super::{Init, Kind, LayerError, ParamRole, Scope, Tensor};
use crate::graph::{ContractDims, DType, NodeId};

/// A dense layer along the last axis of a node: `x w^T + b`; parameters `PREFIXweight`, `PREFIXbias`.
pub(super) fn dense(s: &mut dyn Scope, x: NodeId, n: usize, bias: bool, prefix: &str) -> NodeId {
    let rank = s.graph().shape(x).len();
    let k = s.graph().shape(x)[rank - 1];
    let role = ParamRole::Weight { out_axis: 0, fan_in: k, fan_out: n };
    let w = s.param(&format!("{prefix}weight"), &[n, k], role, Init::FanIn);
    let y = s.graph().contract(x, w, ContractDims { batch: vec![], contracted: vec![(rank - 1, 1)] });
    if !bias {
        return y;
    }
    let b = s.param(&format!("{prefix}bias"), &[n], ParamRole::Bias { fan_in: k }, Init::FanIn);
    let mut shape = vec![1; rank - 1];
    shape.push(n);
    let b = s.graph().reshape(b, &shape);
    s.graph().add(y, b)
}

pub(super) fn linear(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    need_real(x, "`linear`")?;
    let n = a.size("n")?;
    let axis = a.int_or_none("axis", -1)?;
    let last = axis.is_some_and(|v| v == -1 || v + 1 == x.shape.len() as i64);
    if axis.is_some() && !last {
        return Err(a.refuse("axis", "-1 (the last axis)"));
    }
    match x.shape.len() {
        0 => {
            return Err(LayerError::new("E0301", "`linear` takes a vector [k]; found a single number []")
                .help("put `reshape(1)` before it"));
        }
        1 => {}
        _ if last => {}
        _ => {
            let e = LayerError::new("E0301", format!("`linear` takes a vector [k]; found {:?}", x.shape));
            return Err(e.help(format!(
                "put `flatten` before it ({} numbers), or write `axis: -1` to apply it along the last axis",
                x.elements()
            )));
        }
    }
    let k = x.shape[x.shape.len() - 1];
    need_fits(&[n, k], "`linear`")?;
    let mut shape = x.shape.clone();
    *shape.last_mut().unwrap_or(&mut 0) = n;
    let node = dense(s, x.node, n, a.bool("bias")?, "");
    Ok(x.shaped(node, shape))
}

/// The label of a class value, one a sample or common, as `u32[rows]`.
pub(super) fn label(s: &mut dyn Scope, y: &Tensor, who: &str) -> Fallible<(NodeId, usize)> {
    match y.kind {
        Kind::Class(k) if y.shape.is_empty() || y.shape == [1] => {
            let rows = if y.sample { s.graph().shape(y.node)[0] } else { 1 };
            Ok((s.graph().reshape(y.node, &[rows]), k))
        }
        Kind::Class(_) | Kind::Real | Kind::Bool => {
            Err(LayerError::new("E0303", format!("{who} takes a label, class(k); found {}", y.type_text())))
        }
    }
}

pub(super) fn embed(s: &mut dyn Scope, y: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let n = a.size("n")?;
    let (rows, k) = label(s, y, "`embed`")?;
    need_fits(&[k, n], "`embed`")?;
    let role = ParamRole::Weight { out_axis: 1, fan_in: k, fan_out: n };
    let table = s.param("weight", &[k, n], role, Init::Normal { mean: 0.0, std: 1.0 });
    let node = s.graph().gather_rows(table, rows);
    let node = if y.sample { node } else { s.graph().reshape(node, &[n]) };
    Ok(Tensor::real(node, y.sample, [n]))
}

pub(super) fn one_hot(s: &mut dyn Scope, y: &Tensor) -> Fallible<Tensor> {
    let Kind::Class(k) = y.kind else {
        return Err(LayerError::new(
            "E0303",
            format!("`one_hot` takes a label, class(k); found {}", y.type_text()),
        ));
    };
    let mut shape = vec![k];
    shape.extend(&y.shape);
    need_fits(&shape, "`one_hot`")?;
    let mask = class_mask(s, y, k);
    let node = s.graph().cast(mask, DType::F32);
    Ok(Tensor::real(node, y.sample, shape))
}

/// `bool [batch?, k, y's shape…]`: true at the class.
pub(super) fn class_mask(s: &mut dyn Scope, y: &Tensor, k: usize) -> NodeId {
    let lead = y.lead();
    let mut with_axis = s.graph().shape(y.node).to_vec();
    with_axis.insert(lead, 1);
    let mut counts = vec![1; with_axis.len()];
    counts[lead] = k;
    let label = s.graph().reshape(y.node, &with_axis);
    let index = s.graph().iota(&counts, lead);
    s.graph().eq(index, label)
}
