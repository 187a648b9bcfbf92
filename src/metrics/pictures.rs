//! Likeness of pictures, pair by pair.

use super::MetricError;
use crate::graph::host::HostTensor;

/// Elements of both and their shape.
type Both<'a> = (&'a [f32], &'a [f32], [usize; 4]);

/// Two batches `[n, c, h, w]` of one shape.
fn both<'a>(a: &'a HostTensor, b: &'a HostTensor) -> Result<Both<'a>, MetricError> {
    match (a.as_f32(), b.as_f32(), &a.shape[..]) {
        (Some(x), Some(y), &[n, c, h, w]) if a.shape == b.shape && !x.is_empty() => Ok((x, y, [n, c, h, w])),
        _ => Err(MetricError(format!("{:?} and {:?} are not batches of pictures of one size", a.shape, b.shape))),
    }
}

/// Peak signal-to-noise ratio in dB, the mean over pictures `[n, c, h, w]`; `span` is white minus black. Equal pictures
/// count as 100 dB.
///
/// # Errors
/// If the shapes differ.
pub fn psnr(a: &HostTensor, b: &HostTensor, span: f64) -> Result<f64, MetricError> {
    let (x, y, [n, c, h, w]) = both(a, b)?;
    let one = |(p, q): (&[f32], &[f32])| {
        let mse =
            p.iter().zip(q).map(|(&p, &q)| (f64::from(p) - f64::from(q)).powi(2)).sum::<f64>() / (c * h * w) as f64;
        (10.0 * (span * span / mse).log10()).min(100.0)
    };
    Ok(x.chunks(c * h * w).zip(y.chunks(c * h * w)).map(one).sum::<f64>() / n as f64)
}

/// Structural similarity (Wang et al. 2004), the mean over windows, channels and pictures `[n, c, h, w]`: Gaussian windows
/// of 11 pixels (or what the picture allows) and deviation 1.5 that lie within the picture, K1 = 0.01, K2 = 0.03.
///
/// # Errors
/// If the shapes differ.
pub fn ssim(a: &HostTensor, b: &HostTensor, span: f64) -> Result<f64, MetricError> {
    let (x, y, [n, c, h, w]) = both(a, b)?;
    let size = 11.min(h).min(w);
    let weight = |i: usize| (-(i as f64 - (size as f64 - 1.0) / 2.0).powi(2) / (2.0 * 1.5 * 1.5)).exp();
    let total: f64 = (0..size).map(weight).sum();
    let window: Vec<f64> = (0..size).map(|i| weight(i) / total).collect();
    let (c1, c2) = ((0.01 * span).powi(2), (0.03 * span).powi(2));
    let mut sum = 0.0;
    for (p, q) in x.chunks(h * w).zip(y.chunks(h * w)) {
        let means = |f: &dyn Fn(f64, f64) -> f64| {
            let v: Vec<f64> = p.iter().zip(q).map(|(&p, &q)| f(f64::from(p), f64::from(q))).collect();
            blur(&v, h, w, &window)
        };
        let (mp, mq) = (means(&|p, _| p), means(&|_, q| q));
        let (pp, qq, pq) = (means(&|p, _| p * p), means(&|_, q| q * q), means(&|p, q| p * q));
        let at = |i: usize| {
            let (u, v) = (mp[i], mq[i]);
            (2.0 * u * v + c1) * (2.0 * (pq[i] - u * v) + c2)
                / ((u * u + v * v + c1) * (pp[i] - u * u + qq[i] - v * v + c2))
        };
        sum += (0..mp.len()).map(at).sum::<f64>() / mp.len() as f64;
    }
    Ok(sum / (n * c) as f64)
}

/// Windowed means at the places where the window lies within the picture.
fn blur(v: &[f64], h: usize, w: usize, window: &[f64]) -> Vec<f64> {
    let (nh, nw) = (h + 1 - window.len(), w + 1 - window.len());
    let mut rows = Vec::with_capacity(h * nw);
    for y in 0..h {
        rows.extend((0..nw).map(|x| window.iter().zip(&v[y * w + x..]).map(|(a, b)| a * b).sum::<f64>()));
    }
    let at = |i: usize| window.iter().enumerate().map(|(k, a)| a * rows[(i / nw + k) * nw + i % nw]).sum();
    (0..nh * nw).map(at).collect()
}
