//! Pooling: reductions over windows.

use super::args::Bound;
use super::shape::spatial;
use super::value::{Fallible, batched, unbatched};
use super::{LayerError, Scope, Tensor};
use crate::graph::{F64, Type, Window};

/// `avg_pool` and `max_pool`.
pub(super) fn pool(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let who = format!("`{}`", a.sig.name);
    let size = spatial(x, &who)?.to_vec();
    let dims = size.len();
    let average = a.sig.name == "avg_pool";
    let kernel = a.ints("kernel", dims, 1)?;
    let stride = if a.get("stride").is_some() { a.ints("stride", dims, 1)? } else { kernel.clone() };
    let pad = a.ints("pad", dims, 0)?;
    for i in 0..dims {
        if pad[i] >= kernel[i] {
            return Err(a.refuse("pad", "smaller than the kernel"));
        }
        if size[i] + 2 * pad[i] < kernel[i] {
            return Err(LayerError::new(
                "E0301",
                format!("{who}: a window of {kernel:?} does not fit {:?} with pad {}", x.shape, pad[i]),
            ));
        }
    }
    let node = batched(s, x);
    let lead = s.graph().shape(node)[..2].to_vec();
    let g = s.graph();
    let exact = kernel == stride && (0..dims).all(|i| pad[i] == 0 && size[i].is_multiple_of(kernel[i]));
    if exact {
        let (parts, axes) = g.split_windows(node, &kernel);
        let y = if average { g.mean(parts, &axes) } else { g.max_reduce(parts, &axes) };
        let y = g.join_windows(y);
        return Ok(unbatched(s, y, x));
    }
    let value = F64(if average { 0.0 } else { f64::NEG_INFINITY });
    let window = Window {
        size: size.clone(),
        kernel: kernel.clone(),
        stride: stride.clone(),
        dilation: vec![1; dims],
        pad_lo: pad.clone(),
        pad_hi: pad.clone(),
        value,
    };
    let out = window.out();
    let parts = g.unfold(node, window);
    let axes: Vec<usize> = (2 + dims..2 + 2 * dims).collect();
    let y = if average { g.sum(parts, &axes) } else { g.max_reduce(parts, &axes) };
    let mut y = g.reshape(y, &[&lead[..], &out[..]].concat());
    if average {
        // One over the number of cells of each window that are not padding.
        let mut shares = vec![1.0];
        for i in 0..dims {
            let along = |o: usize| {
                let first = o * stride[i];
                let last = (first + kernel[i]).min(size[i] + pad[i]);
                1.0 / (last - first.max(pad[i])) as f64
            };
            shares =
                shares.iter().flat_map(|&v| (0..out[i]).map(move |o| (v, o))).map(|(v, o)| v * along(o)).collect();
        }
        let shares = g.dense(shares, Type::f32([&[1, 1], &out[..]].concat()));
        y = if let Some(v) = g.as_splat(shares) { g.scale(y, v) } else { g.mul(y, shares) };
    }
    Ok(unbatched(s, y, x))
}

/// `global_avg_pool` and `global_sum_pool`.
pub(super) fn global(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let who = format!("`{}`", a.sig.name);
    let dims = spatial(x, &who)?.len();
    let node = batched(s, x);
    let lead = s.graph().shape(node)[..2].to_vec();
    let axes: Vec<usize> = (2..2 + dims).collect();
    let g = s.graph();
    let y = if a.sig.name == "global_avg_pool" { g.mean(node, &axes) } else { g.sum(node, &axes) };
    let y = g.reshape(y, &lead);
    Ok(unbatched(s, y, x))
}
