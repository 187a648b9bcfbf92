//! Metrics over samples in host memory, in f64, with fixed random directions: the same samples give the same number.

mod frechet;
mod pictures;
mod stacked;
mod wasserstein;

pub use frechet::{MAX_FEATURES, frechet};
pub use pictures::{psnr, ssim};
pub use stacked::{StackedCoverage, stacked_modes};
pub use wasserstein::{PROJECTIONS, sliced_wasserstein};

use crate::data::Modes;
use crate::graph::host::HostTensor;
use thiserror::Error;

/// Why a metric has no value.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct MetricError(pub String);

/// Mode coverage of points (the protocol of VEEGAN, Srivastava et al. 2017, and PacGAN, Lin et al. 2018).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModeCoverage {
    /// Modes with at least one high-quality sample.
    pub modes: usize,
    /// Modes that are the nearest of at least one sample, however far.
    pub nearest: usize,
    /// Share of samples of high quality: within 3 standard deviations of the nearest centre.
    pub hq: f64,
    /// KL(share of high-quality samples a mode || uniform) in nats; the largest possible, ln(modes), if there are none.
    pub reverse_kl: f64,
}

/// Mode coverage of points `[n, d]`.
///
/// # Errors
/// If the points and centres differ in dimension, or there are none.
pub fn mode_coverage(points: &HostTensor, modes: &Modes) -> Result<ModeCoverage, MetricError> {
    let d = modes.centres.first().map_or(0, Vec::len);
    let (n, values) = match (&points.shape[..], points.as_f32()) {
        ([n, k], Some(v)) if *k == d && *n > 0 && d > 0 => (*n, v),
        _ => return Err(MetricError(format!("mode coverage of {:?} with centres of {d} numbers", points.shape))),
    };
    let mut counts = vec![0usize; modes.centres.len()];
    let mut near = vec![false; modes.centres.len()];
    for p in values.chunks(d) {
        let squared = |c: &Vec<f64>| c.iter().zip(p).map(|(c, &x)| (f64::from(x) - c).powi(2)).sum::<f64>();
        let nearest = modes.centres.iter().map(squared).enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((mode, _)) = nearest {
            near[mode] = true;
        }
        if let Some((mode, _)) = nearest.filter(|(_, s)| s.sqrt() < 3.0 * modes.std) {
            counts[mode] += 1;
        }
    }
    let good: usize = counts.iter().sum();
    let k = counts.len() as f64;
    let term = |&c: &usize| match c {
        0 => 0.0,
        c => c as f64 / good as f64 * (c as f64 * k / good as f64).ln(),
    };
    let reverse_kl = if good == 0 { k.ln() } else { counts.iter().map(term).sum::<f64>().max(0.0) };
    Ok(ModeCoverage {
        modes: counts.iter().filter(|&&c| c > 0).count(),
        nearest: near.iter().filter(|&&n| n).count(),
        hq: good as f64 / n as f64,
        reverse_kl,
    })
}

/// Share of rows of logits `[n, k]` whose largest entry (the first of equals) is the label's.
///
/// # Errors
/// If the numbers of rows differ or are zero.
pub fn accuracy(logits: &HostTensor, labels: &[u32]) -> Result<f64, MetricError> {
    match (&logits.shape[..], logits.as_f32()) {
        ([n, k], Some(v)) if *n == labels.len() && *n > 0 && *k > 0 => {
            let hit = |(row, &y): (&[f32], &u32)| {
                let best = (1..row.len()).fold(0, |b, i| if row[i] > row[b] { i } else { b });
                best == y as usize
            };
            Ok(v.chunks(*k).zip(labels).map(hit).filter(|&h| h).count() as f64 / *n as f64)
        }
        _ => Err(MetricError(format!("accuracy of {:?} with {} labels", logits.shape, labels.len()))),
    }
}

#[cfg(test)]
mod tests;
