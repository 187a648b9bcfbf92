//! Sliced Wasserstein distance.

use super::MetricError;
use crate::graph::host::HostTensor;
use crate::graph::philox::{normal, stream, stream_key};

/// Directions that are averaged.
pub const PROJECTIONS: usize = 256;

/// Sliced 2-Wasserstein distance (Rabin et al. 2011; Bonneel et al. 2015) of two sets of samples `[n, …]` and `[m, …]`:
/// the root mean, over [`PROJECTIONS`] fixed random unit directions, of the squared 2-Wasserstein distance of the
/// projected samples, which in one dimension compares sorted values (quantiles, when n and m differ).
///
/// It is taken on the flattened samples as they are (raw pixels, not patches of a Laplacian pyramid). A set that is
/// the other shifted by `s` in every element is at distance about `s`, whatever the number of elements.
///
/// # Errors
/// If the samples differ in shape, or a set is empty or not real.
pub fn sliced_wasserstein(a: &HostTensor, b: &HostTensor) -> Result<f64, MetricError> {
    let (Some(x), Some(y)) = (a.as_f32(), b.as_f32()) else {
        return Err(MetricError("the sliced Wasserstein distance needs real samples".to_owned()));
    };
    if a.shape.is_empty() || a.shape.get(1..) != b.shape.get(1..) || x.is_empty() || y.is_empty() {
        return Err(MetricError(format!("the sliced Wasserstein distance of {:?} and {:?}", a.shape, b.shape)));
    }
    if x.iter().chain(y).any(|v| !v.is_finite()) {
        return Ok(f64::NAN);
    }
    let d = a.shape[1..].iter().product::<usize>();
    let key = stream_key([0; 2], stream("metric:swd"));
    let one = |p: usize| {
        let mut direction: Vec<f64> = (0..d).map(|e| normal(key, 0, p, e)).collect();
        let length = direction.iter().map(|v| v * v).sum::<f64>().sqrt().max(1e-300);
        direction.iter_mut().for_each(|v| *v /= length);
        squared_distance(project(x, &direction), project(y, &direction))
    };
    // Every direction is computed alone and they are added in order: the number of threads changes nothing.
    let mut parts = vec![0.0; PROJECTIONS];
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(PROJECTIONS);
    let share = PROJECTIONS.div_ceil(threads);
    std::thread::scope(|scope| {
        for (t, part) in parts.chunks_mut(share).enumerate() {
            scope.spawn(move || part.iter_mut().enumerate().for_each(|(i, v)| *v = one(t * share + i)));
        }
    });
    // A direction sees 1/d of a shift in all elements (in the mean of squares).
    Ok((parts.iter().sum::<f64>() / PROJECTIONS as f64).sqrt())
}

/// Sorted products with a direction.
fn project(samples: &[f32], direction: &[f64]) -> Vec<f64> {
    let dot = |row: &[f32]| {
        let mut lanes = [0.0; 8];
        let (chunks, rest) = (row.chunks_exact(8), row.len() / 8 * 8);
        for (r, w) in chunks.zip(direction.chunks_exact(8)) {
            for i in 0..8 {
                lanes[i] += f64::from(r[i]) * w[i];
            }
        }
        let tail: f64 = row[rest..].iter().zip(&direction[rest..]).map(|(&r, w)| f64::from(r) * w).sum();
        lanes.iter().sum::<f64>() + tail
    };
    let mut out: Vec<f64> = samples.chunks_exact(direction.len()).map(dot).collect();
    out.sort_by(f64::total_cmp);
    out
}

/// Integral over q of the squared difference of the two step functions of quantiles.
fn squared_distance(a: Vec<f64>, b: Vec<f64>) -> f64 {
    let (n, m) = (a.len(), b.len());
    let (mut i, mut j, mut at, mut sum) = (0, 0, 0usize, 0.0);
    // In units of 1 / (n m).
    while i < n && j < m {
        let next = ((i + 1) * m).min((j + 1) * n);
        sum += (next - at) as f64 * (a[i] - b[j]).powi(2);
        at = next;
        i += usize::from(at == (i + 1) * m);
        j += usize::from(at == (j + 1) * n);
    }
    sum / (n as f64 * m as f64)
}
