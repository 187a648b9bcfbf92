//! Fréchet distance of features.

use super::MetricError;
use crate::graph::host::HostTensor;

/// Most features that are compared: their covariances are matrices of this many rows.
pub const MAX_FEATURES: usize = 1024;

/// Fréchet distance of two Gaussians with the moments of two sets of features `[n, …]` and `[m, …]`:
/// |mu1 - mu2|^2 + Tr(C1 + C2 - 2 (C1 C2)^(1/2)), with unbiased covariances (Heusel et al. 2017, there on features of
/// an Inception network; here on those of any network, so values of different networks are not comparable).
///
/// The trace of the root is the sum of the singular values of L1ᵀ L2 for any factors C = L Lᵀ, which needs no root of
/// a matrix and no eigenvalues of one that is not symmetric. With few samples the value is too large, by about the
/// number of features over that of samples.
///
/// # Errors
/// If the features differ in number, there are more than [`MAX_FEATURES`], a set has fewer than 2 rows or is not real.
pub fn frechet(a: &HostTensor, b: &HostTensor) -> Result<f64, MetricError> {
    let wrong = || MetricError(format!("the Fréchet distance of features {:?} and {:?}", a.shape, b.shape));
    let (Some(x), Some(y)) = (a.as_f32(), b.as_f32()) else { return Err(wrong()) };
    if a.shape.get(1..) != b.shape.get(1..) || a.shape.is_empty() || a.shape[0] < 2 || b.shape[0] < 2 {
        return Err(wrong());
    }
    let d = a.shape[1..].iter().product::<usize>();
    if d == 0 || d > MAX_FEATURES {
        return Err(wrong());
    }
    if x.iter().chain(y).any(|v| !v.is_finite()) {
        return Ok(f64::NAN);
    }
    let ((mean1, c1), (mean2, c2)) = (moments(x, d), moments(y, d));
    let apart: f64 = mean1.iter().zip(&mean2).map(|(p, q)| (p - q).powi(2)).sum();
    let trace = |c: &[f64]| (0..d).map(|i| c[i * d + i]).sum::<f64>();
    let (l1, l2) = (factor(&c1, d), factor(&c2, d));
    // Columns of L1ᵀ L2, one after the other.
    let mut product = vec![0.0; d * d];
    for j in 0..d {
        for i in 0..d {
            // Both factors are lower triangular: rows above the later diagonal are 0.
            product[j * d + i] = (i.max(j)..d).map(|k| l1[k * d + i] * l2[k * d + j]).sum();
        }
    }
    // Rounding may leave a distance of equal sets just below 0.
    Ok((apart + trace(&c1) + trace(&c2) - 2.0 * nuclear_norm(&mut product, d)).max(0.0))
}

/// Mean and unbiased covariance of rows of `d` numbers.
fn moments(rows: &[f32], d: usize) -> (Vec<f64>, Vec<f64>) {
    let n = (rows.len() / d) as f64;
    let mut mean = vec![0.0; d];
    for row in rows.chunks_exact(d) {
        mean.iter_mut().zip(row).for_each(|(m, &v)| *m += f64::from(v));
    }
    mean.iter_mut().for_each(|m| *m /= n);
    let mut cov = vec![0.0; d * d];
    let mut centred = vec![0.0; d];
    for row in rows.chunks_exact(d) {
        for ((c, &v), m) in centred.iter_mut().zip(row).zip(&mean) {
            *c = f64::from(v) - m;
        }
        for (i, &p) in centred.iter().enumerate() {
            cov[i * d..=i * d + i].iter_mut().zip(&centred).for_each(|(c, q)| *c += p * q);
        }
    }
    for i in 0..d {
        for j in 0..=i {
            cov[i * d + j] /= n - 1.0;
            cov[j * d + i] = cov[i * d + j];
        }
    }
    (mean, cov)
}

/// Lower triangular L with C = L Lᵀ (Cholesky). A pivot that is rounding noise, as covariances of fewer samples than
/// features and features that never change have, leaves its column 0.
fn factor(c: &[f64], d: usize) -> Vec<f64> {
    let largest = (0..d).map(|i| c[i * d + i]).fold(0.0, f64::max);
    let mut l = vec![0.0; d * d];
    for j in 0..d {
        let dot = |l: &[f64], i: usize| (0..j).map(|k| l[i * d + k] * l[j * d + k]).sum::<f64>();
        let pivot = c[j * d + j] - dot(&l, j);
        if pivot <= 1e-12 * largest {
            continue;
        }
        let root = pivot.sqrt();
        l[j * d + j] = root;
        for i in j + 1..d {
            l[i * d + j] = (c[i * d + j] - dot(&l, i)) / root;
        }
    }
    l
}

/// Sum of the singular values of a square matrix, given by its columns: they are turned in pairs until all are at
/// right angles, and are then as long as the singular values (one-sided Jacobi, Hestenes 1958).
fn nuclear_norm(columns: &mut [f64], d: usize) -> f64 {
    let scale = columns.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    for _ in 0..60 {
        let mut turned = false;
        for i in 0..d {
            for j in i + 1..d {
                let (head, tail) = columns.split_at_mut(j * d);
                let (p, q) = (&mut head[i * d..(i + 1) * d], &mut tail[..d]);
                let (mut pp, mut qq, mut pq) = (0.0, 0.0, 0.0);
                for (a, b) in p.iter().zip(q.iter()) {
                    (pp, qq, pq) = (pp + a * a, qq + b * b, pq + a * b);
                }
                if pq.abs() <= 1e-13 * (pp * qq).sqrt() || pq.abs() <= 1e-26 * scale * scale {
                    continue;
                }
                turned = true;
                let zeta = (qq - pp) / (2.0 * pq);
                let t = zeta.signum() / (zeta.abs() + zeta.hypot(1.0));
                let cos = 1.0 / t.hypot(1.0);
                let sin = cos * t;
                for (a, b) in p.iter_mut().zip(q.iter_mut()) {
                    (*a, *b) = (cos * *a - sin * *b, sin * *a + cos * *b);
                }
            }
        }
        if !turned {
            break;
        }
    }
    columns.chunks_exact(d).map(|c| c.iter().map(|v| v * v).sum::<f64>().sqrt()).sum()
}
