//! Virtual batch normalisation (Salimans et al. 2016, section 3.5).
//!
//! A reference batch R is drawn once and kept; it runs through the network with every application, normalised by its
//! own statistics. A sample x is normalised by those of R ∪ {x}: with c = 1 / (|R| + 1), the mean is
//! `c m(x) + (1 - c) m(R)`, the mean square likewise. No sample depends on the others of its batch.

use super::args::Bound;
use super::norm::{affine, along, channels, inverse_root, moments, scale_shift};
use super::value::Fallible;
use super::{LayerError, Reference, Scope, Tensor};
use crate::graph::{Graph, NodeId};

/// Mean, biased variance, and the centred value, of R ∪ {x} for each sample x of `[n, c, …]`; `mean` and `var` of R are
/// `[c]`. The variance is `c v(x) + (1 - c) v(R) + c (1 - c) (m(x) - m(R))^2`: what the mean of squares less the square
/// of the mean is, without its cancellation.
pub fn statistics(g: &mut Graph, x: NodeId, mean: NodeId, var: NodeId, size: usize) -> (NodeId, NodeId, NodeId) {
    let rank = g.shape(x).len();
    let c = 1.0 / (size as f64 + 1.0);
    let (mean, var) = (along(g, mean, 1, rank), along(g, var, 1, rank));
    let axes: Vec<usize> = (2..rank).collect();
    let (own, spread, _) = moments(g, x, &axes);
    let apart = g.sub(own, mean);
    let step = g.scale(apart, c);
    let both = g.add(mean, step);
    let square = g.mul(apart, apart);
    let between = g.scale(square, c * (1.0 - c));
    let within = g.scale(var, 1.0 - c);
    let mut total = g.add(within, between);
    // One number a channel has no variance of its own.
    if g.shape(x)[2..].iter().any(|&d| d > 1) {
        let spread = g.scale(spread, c);
        total = g.add(total, spread);
    }
    let centred = g.sub(x, both);
    (both, total, centred)
}

pub(super) fn virtual_batch_norm(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let who = "`virtual_batch_norm`";
    let c = channels(x, who)?;
    if !x.sample {
        return Err(LayerError::new(
            "E0304",
            format!("{who} needs a value for each sample; {:?} is the same for the whole batch", x.shape),
        ));
    }
    let eps = a.positive("eps")?;
    let size = a.int_or_none("size", 2)?.map(|n| n as usize);
    let rank = x.shape.len() + 1;
    let (centred, var) = match s.reference(size)? {
        Reference::Itself => {
            let axes: Vec<usize> = (0..rank).filter(|&i| i != 1).collect();
            let g = s.graph();
            let (mean, var, centred) = moments(g, x.node, &axes);
            let (mean, kept) = (g.reshape(mean, &[c]), g.reshape(var, &[c]));
            s.set_reference(mean, kept);
            (centred, var)
        }
        Reference::Beside { mean, var, size } => {
            let (_, var, centred) = statistics(s.graph(), x.node, mean, var, size);
            (centred, var)
        }
    };
    let inverse = inverse_root(s.graph(), var, eps);
    let (mut scale, mut shift) = (None, None);
    if a.bool("affine")? {
        let (p, q) = scale_shift(s, &[c]);
        scale = Some(along(s.graph(), p, 1, rank));
        shift = Some(along(s.graph(), q, 1, rank));
    }
    Ok(x.with(affine(s.graph(), centred, inverse, scale, shift)))
}
