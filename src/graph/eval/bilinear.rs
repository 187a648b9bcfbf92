//! Contractions and the convolution triple of the oracle.

use super::{Tensor, gather};
use crate::graph::op::{ContractDims, ConvGeom};
use crate::graph::ty::strides;

/// `[batch…, free of a…, free of b…]`: both factors are brought to `[batch, free, contracted]` and multiplied.
pub(super) fn contract(a: &Tensor, b: &Tensor, dims: &ContractDims) -> Vec<f64> {
    let order = |t: &Tensor, batch: Vec<usize>, summed: Vec<usize>| {
        let free = (0..t.ty.rank()).filter(|i| !batch.contains(i) && !summed.contains(i));
        let axes: Vec<usize> = batch.iter().copied().chain(free).chain(summed.iter().copied()).collect();
        let s = strides(&t.ty.shape);
        let shape: Vec<usize> = axes.iter().map(|&i| t.ty.shape[i]).collect();
        let by: Vec<isize> = axes.iter().map(|&i| s[i] as isize).collect();
        let count = |axes: &[usize]| axes.iter().map(|&i| t.ty.shape[i]).product::<usize>();
        (gather(&t.data, &shape, &by, 0), count(&batch), count(&summed))
    };
    let pick = |p: &[(usize, usize)], left: bool| -> Vec<usize> {
        p.iter().map(|&(i, j)| if left { i } else { j }).collect()
    };
    let (va, batch, k) = order(a, pick(&dims.batch, true), pick(&dims.contracted, true));
    let (vb, ..) = order(b, pick(&dims.batch, false), pick(&dims.contracted, false));
    let per = |t: &Tensor| t.ty.elements().checked_div(batch * k);
    // An empty batch or sum: the free extents cannot be told from the element counts.
    let free = |t: &Tensor, left: bool| -> usize {
        per(t).unwrap_or_else(|| {
            let used = [pick(&dims.batch, left), pick(&dims.contracted, left)].concat();
            (0..t.ty.rank()).filter(|i| !used.contains(i)).map(|i| t.ty.shape[i]).product()
        })
    };
    let (m, n) = (free(a, true), free(b, false));
    let mut out = Vec::with_capacity(batch * m * n);
    for s in 0..batch {
        for i in 0..m {
            let ra = &va[(s * m + i) * k..][..k];
            for j in 0..n {
                let rb = &vb[(s * n + j) * k..][..k];
                out.push(ra.iter().zip(rb).map(|(x, y)| x * y).sum());
            }
        }
    }
    out
}

/// Which of the three tensors of `<y, conv(x, w)>` is computed from the other two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    X,
    W,
    Y,
}

/// One of the three partial derivatives of the trilinear form: `p` and `q` are the other two in the order x, w, y.
pub(super) fn conv(g: &ConvGeom, missing: Missing, p: &[f64], q: &[f64]) -> Vec<f64> {
    let (xs, ys): (usize, usize) = (g.input.iter().product(), g.output.iter().product());
    let taps: usize = g.kernel.iter().product();
    let triples = positions(g);
    // Address of (sample, channel, position): base + position * step.
    let address = |last: bool, channels: usize, plane: usize, n: usize, c: usize| {
        if last { (n * plane * channels + c, channels) } else { ((n * channels + c) * plane, 1) }
    };
    let image = |channels, plane, n, c| address(g.layout.images_last(), channels, plane, n, c);
    let shape = match missing {
        Missing::X => g.x_shape(),
        Missing::W => g.w_shape(),
        Missing::Y => g.y_shape(),
    };
    let mut out = vec![0.0; shape.iter().product()];
    let (cg, og) = (g.c / g.groups, g.o / g.groups);
    for n in 0..g.n {
        for o in 0..g.o {
            let (yb, yk) = image(g.o, ys, n, o);
            for c in 0..cg {
                let (xb, xk) = image(g.c, xs, n, o / og * cg + c);
                let (wb, wk) = address(g.layout.weights_last(), cg, taps, o, c);
                for &(x, w, y) in &triples {
                    let (x, w, y) = (xb + x * xk, wb + w * wk, yb + y * yk);
                    match missing {
                        Missing::X => out[x] += p[w] * q[y],
                        Missing::W => out[w] += p[x] * q[y],
                        Missing::Y => out[y] += p[x] * q[w],
                    }
                }
            }
        }
    }
    out
}

/// All (position in x, tap, position in y) that meet.
fn positions(g: &ConvGeom) -> Vec<(usize, usize, usize)> {
    let (si, sk, so) = (strides(&g.input), strides(&g.kernel), strides(&g.output));
    let mut all = Vec::new();
    for y in 0..g.output.iter().product() {
        for w in 0..g.kernel.iter().product() {
            let x = (0..g.input.len()).try_fold(0, |at, a| {
                let (o, k) = (y / so[a] % g.output[a], w / sk[a] % g.kernel[a]);
                let p = (o * g.stride[a] + k * g.dilation[a]).checked_sub(g.pad[a])?;
                (p < g.input[a]).then_some(at + p * si[a])
            });
            if let Some(x) = x {
                all.push((x, w, y));
            }
        }
    }
    all
}
