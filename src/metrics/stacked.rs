//! Modes of stacked pictures.

use super::MetricError;

/// Coverage of the modes of stacked pictures (the protocol of VEEGAN, Srivastava et al. 2017).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StackedCoverage {
    /// Different combinations of classes among the samples.
    pub modes: usize,
    /// KL(share of samples a combination || uniform) in nats.
    pub kl: f64,
}

/// Coverage of `count` combinations by samples, each given as the number of its combination.
///
/// Of n samples of a perfect sampler the divergence is about (count - 1) / (2 n), not 0.
///
/// # Errors
/// If there are no samples, or one is not below `count`.
pub fn stacked_modes(cells: &[f32], count: usize) -> Result<StackedCoverage, MetricError> {
    let mut counts = vec![0usize; count];
    for &c in cells {
        match counts.get_mut(c as usize) {
            Some(n) if c >= 0.0 && c.fract() == 0.0 => *n += 1,
            _ => return Err(MetricError(format!("{c} is not one of {count} combinations of classes"))),
        }
    }
    if cells.is_empty() {
        return Err(MetricError("stacked modes of no samples".to_owned()));
    }
    let (n, k) = (cells.len() as f64, count as f64);
    let term = |&c: &usize| if c == 0 { 0.0 } else { c as f64 / n * (c as f64 * k / n).ln() };
    Ok(StackedCoverage {
        modes: counts.iter().filter(|&&c| c > 0).count(),
        kl: counts.iter().map(term).sum::<f64>().max(0.0),
    })
}
