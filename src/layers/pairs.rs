//! What compares the samples of a batch with each other, pair by pair.

use super::args::Bound;
use super::linear::dense;
use super::value::{Fallible, need_fits, need_real, real_of};
use super::{LayerError, Scope, Tensor};
use crate::graph::{Binary, DType, NodeId, Unary};

fn need_samples(x: &Tensor, who: &str) -> Fallible<()> {
    need_real(x, who)?;
    if x.sample {
        return Ok(());
    }
    Err(LayerError::new("E0304", format!("{who} compares the samples of a batch; this value is the same for all")))
}

/// `bool [n, n]`: whether the first index is that of a later sample than the second, or of the same one.
fn index_test(s: &mut dyn Scope, n: usize, test: Binary) -> NodeId {
    let g = s.graph();
    let (mine, theirs) = (g.iota(&[n, 1], 0), g.iota(&[1, n], 1));
    g.binary(test, theirs, mine)
}

/// Minibatch discrimination (Salimans et al. 2016, section 3.2): `M = x T` in `[kernels, dim]` for each sample, and
/// `o_b = sum over j of exp(-|M_b - M_jb|_1)` appended to x. The sample itself counts only with `self`; it is left out
/// by a mask, since `1 + o - 1` would lose what distant samples add. `weight` is `T`, `[kernels * dim, k]`.
pub(super) fn minibatch_discrimination(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let who = "`minibatch_discrimination`";
    need_samples(x, who)?;
    let [k] = x.shape[..] else {
        return Err(LayerError::new("E0301", format!("{who} takes a vector [k]; found {:?}", x.shape))
            .help("put `flatten` before it"));
    };
    let (kernels, dim) = (a.size("kernels")?, a.size("dim")?);
    let n = s.graph().shape(x.node)[0];
    need_fits(&[kernels, dim, k], who)?;
    need_fits(&[n, n, kernels, dim], who)?;
    let m = dense(s, x.node, kernels * dim, false, "");
    let others = if a.bool("self")? { None } else { Some(index_test(s, n, Binary::Eq)) };
    let g = s.graph();
    let (mine, theirs) = (g.reshape(m, &[n, 1, kernels, dim]), g.reshape(m, &[1, n, kernels, dim]));
    let apart = g.sub(mine, theirs);
    let apart = g.unary(Unary::Abs, apart);
    let distance = g.sum(apart, &[3]);
    let minus = g.neg(distance);
    let mut near = g.unary(Unary::Exp, minus);
    if let Some(same) = others {
        let same = g.reshape(same, &[n, n, 1, 1]);
        let zero = g.scalar(0.0);
        near = g.select(same, zero, near);
    }
    let near = g.sum(near, &[1]);
    let near = g.reshape(near, &[n, kernels]);
    let node = g.concat(&[x.node, near], 1);
    Ok(x.shaped(node, [k + kernels]))
}

/// `x`, with a gradient from the `k` largest samples of the batch only, times `batch / k`: so the gradient of a mean over
/// the batch is that of the mean over those samples (Sinha et al. 2020). `k` is `fraction * batch` rounded, at least 1;
/// a sample counts as its sum; of equal ones the earlier is the larger. No sorting: a sample's rank is the number of
/// samples that are larger.
pub(super) fn top_k(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let who = "`top_k`";
    need_samples(x, who)?;
    let share = match a.get("fraction") {
        Some(v) => real_of(s, v, who)?,
        None => return Err(a.refuse("fraction", "a number above 0, at most 1")),
    };
    let known = s.graph().as_splat(share.node);
    if share.sample || !share.shape.is_empty() || known.is_some_and(|f| !(f > 0.0 && f <= 1.0)) {
        return Err(a.refuse("fraction", "a number above 0 and at most 1, or a schedule of such numbers"));
    }
    let n = s.graph().shape(x.node)[0];
    let earlier = index_test(s, n, Binary::Lt);
    let g = s.graph();
    let constant = g.stop(x.node);
    let axes: Vec<usize> = (1..g.shape(constant).len()).collect();
    let value = g.sum(constant, &axes);
    let (mine, theirs) = (g.reshape(value, &[n, 1]), g.reshape(value, &[1, n]));
    let (above, below) = (g.lt(mine, theirs), g.lt(theirs, mine));
    let level = g.unary(Unary::Not, below);
    let first = g.binary(Binary::And, level, earlier);
    let before = g.binary(Binary::Or, above, first);
    let before = g.cast(before, DType::F32);
    let rank = g.sum(before, &[1]);
    let k = g.scale(share.node, n as f64);
    let k = g.offset(k, 0.5);
    let k = g.unary(Unary::Floor, k);
    let (least, most) = (g.scalar(1.0), g.scalar(n as f64));
    let k = g.binary(Binary::Max, k, least);
    let k = g.binary(Binary::Min, k, most);
    let chosen = g.lt(rank, k);
    let inverse = g.unary(Unary::Recip, k);
    let factor = g.scale(inverse, n as f64);
    let zero = g.scalar(0.0);
    let factor = g.select(chosen, factor, zero);
    let mut wide = vec![1; axes.len() + 1];
    wide[0] = n;
    let factor = g.reshape(factor, &wide);
    let path = g.sub(x.node, constant);
    let path = g.mul(path, factor);
    Ok(x.with(g.add(constant, path)))
}
