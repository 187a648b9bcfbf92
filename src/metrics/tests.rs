//! Values known from theory.

use super::*;
use crate::graph::philox;

fn normals(n: usize, d: usize, shift: f32) -> HostTensor {
    let data = (0..n * d).map(|i| philox::normal([5, 6], 0, i / d, i % d) as f32 + shift).collect();
    HostTensor::f32(vec![n, d], data)
}

fn ring(std: f64) -> Modes {
    let centre = |i: usize| vec![(i as f64).cos() * 10.0, (i as f64).sin() * 10.0];
    Modes { centres: (0..4).map(centre).collect(), std }
}

#[test]
fn coverage() {
    let modes = ring(1.0);
    // A perfect sampler of all modes: 1 - exp(-4.5) of the samples are of high quality.
    let mut t = normals(8000, 2, 0.0);
    if let crate::graph::host::HostData::F32(v) = &mut t.data {
        for (i, p) in v.chunks_mut(2).enumerate() {
            p[0] += modes.centres[i % 4][0] as f32;
            p[1] += modes.centres[i % 4][1] as f32;
        }
    }
    let c = mode_coverage(&t, &modes).unwrap();
    assert_eq!(c.modes, 4);
    assert!((c.hq - 0.98889).abs() < 0.004, "{c:?}");
    assert!(c.reverse_kl < 1e-4);
    let one = HostTensor::f32(vec![2, 2], vec![10.0, 0.0, 10.0, 0.5]);
    let c = mode_coverage(&one, &modes).unwrap();
    assert_eq!((c.modes, c.hq), (1, 1.0));
    assert!((c.reverse_kl - 4f64.ln()).abs() < 1e-12);
    let none = HostTensor::f32(vec![1, 2], vec![f32::NAN, 0.5]);
    assert_eq!(mode_coverage(&none, &modes).unwrap().modes, 0);
    assert!(mode_coverage(&HostTensor::f32(vec![1, 3], vec![0.0; 3]), &modes).is_err());
}

#[test]
fn sliced_distance() {
    let (a, b) = (normals(500, 10, 0.0), normals(500, 10, 0.7));
    assert_eq!(sliced_wasserstein(&a, &a).unwrap(), 0.0);
    let d = sliced_wasserstein(&a, &b).unwrap();
    // A shift v gives |v| / sqrt(d) = 0.7, up to the finite number of directions.
    assert!((d - 0.7).abs() < 0.06, "{d}");
    assert_eq!(d, sliced_wasserstein(&b, &a).unwrap());
    // Each sample twice is the same distribution.
    let twice: Vec<f32> = a.as_f32().unwrap().iter().chain(a.as_f32().unwrap()).copied().collect();
    assert!(sliced_wasserstein(&a, &HostTensor::f32(vec![1000, 10], twice)).unwrap() < 1e-7);
    assert!(sliced_wasserstein(&a, &normals(5, 9, 0.0)).is_err());
    let bad = HostTensor::f32(vec![1, 10], vec![f32::NAN; 10]);
    assert!(sliced_wasserstein(&a, &bad).unwrap().is_nan());
}

#[test]
fn hits() {
    let logits = HostTensor::f32(vec![3, 2], vec![1.0, 2.0, 3.0, 0.0, 5.0, 5.0]);
    assert_eq!(accuracy(&logits, &[1, 0, 1]).unwrap(), 2.0 / 3.0);
    assert!(accuracy(&logits, &[1]).is_err());
}

#[test]
fn likeness() {
    let a = normals(2, 2 * 16 * 16, 0.0);
    let a = HostTensor::f32(vec![2, 2, 16, 16], a.as_f32().unwrap().to_vec());
    let b = HostTensor::f32(a.shape.clone(), a.as_f32().unwrap().iter().map(|v| v + 0.1).collect());
    assert!((psnr(&a, &b, 2.0).unwrap() - 10.0 * (4.0f64 / 0.01).log10()).abs() < 1e-4);
    assert_eq!(psnr(&a, &a, 2.0).unwrap(), 100.0);
    assert!((ssim(&a, &a, 2.0).unwrap() - 1.0).abs() < 1e-12);
    // Of constants only the first factor is left.
    let flat = |v: f32| HostTensor::f32(vec![1, 1, 12, 13], vec![v; 156]);
    let expected = (2.0 * 0.25 * 0.75 + 1e-4) / (0.0625 + 0.5625 + 1e-4);
    assert!((ssim(&flat(0.25), &flat(0.75), 1.0).unwrap() - expected).abs() < 1e-9);
}

#[test]
fn frechet_of_known_moments() {
    let set = |rows: &[[f32; 2]]| HostTensor::f32(vec![rows.len(), 2], rows.concat());
    let line = |v: &[f32]| HostTensor::f32(vec![v.len(), 1], v.to_vec());
    // Means 0 and 4, variances 2 and 8: 16 + 2 + 8 - 2 sqrt(16).
    assert!((frechet(&line(&[-1.0, 1.0]), &line(&[2.0, 6.0])).unwrap() - 18.0).abs() < 1e-9);
    // Covariances diag(1, 4) and [[2, 1], [1, 2]] do not commute: of 2x2 matrices the root's trace is
    // sqrt(tr + 2 sqrt(det)), here of their product [[2, 1], [4, 8]].
    let (a, b) = (1.5f32.sqrt(), 6f32.sqrt());
    let straight = set(&[[a, 0.0], [-a, 0.0], [0.0, b], [0.0, -b]]);
    let (p, q) = (1.5, 0.75f32.sqrt());
    let turned = set(&[[p, p], [-p, -p], [q, -q], [-q, q]]);
    let want = 5.0 + 4.0 - 2.0 * (10.0 + 2.0 * 12f64.sqrt()).sqrt();
    assert!((frechet(&straight, &turned).unwrap() - want).abs() < 1e-5);
    assert!((frechet(&turned, &straight).unwrap() - want).abs() < 1e-5);
    // A collapsed sampler has no covariance.
    let one = set(&[[3.0, 4.0]; 5]);
    assert!((frechet(&one, &turned).unwrap() - (25.0 + 4.0)).abs() < 1e-5);
    // Fewer samples than features, and a feature that never changes.
    let few = normals(3, 5, 0.0);
    assert!(frechet(&few, &few).unwrap() < 1e-6);
    let many = normals(4000, 30, 0.0);
    let shifted = normals(4000, 30, 0.5);
    assert!((frechet(&many, &shifted).unwrap() - 30.0 * 0.25).abs() < 1e-3);
    assert!(frechet(&many, &few).is_err());
    assert!(frechet(&line(&[1.0]), &line(&[1.0, 2.0])).is_err());
    assert!(frechet(&line(&[f32::NAN, 1.0]), &line(&[1.0, 2.0])).unwrap().is_nan());
}

#[test]
fn stacked() {
    let perfect: Vec<f32> = (0..3000).map(|i| (i % 1000) as f32).collect();
    assert_eq!(stacked_modes(&perfect, 1000).unwrap(), StackedCoverage { modes: 1000, kl: 0.0 });
    let collapsed = stacked_modes(&[7.0; 50], 1000).unwrap();
    assert_eq!(collapsed.modes, 1);
    assert!((collapsed.kl - 1000f64.ln()).abs() < 1e-12);
    // Shares 3/4 and 1/4 of 4: 3/4 ln 3 + 1/4 ln 1.
    let some = stacked_modes(&[0.0, 3.0, 0.0, 0.0], 4).unwrap();
    assert_eq!(some.modes, 2);
    assert!((some.kl - 0.75 * 3f64.ln()).abs() < 1e-12);
    for bad in [&[4.0][..], &[-1.0], &[0.5], &[f32::NAN], &[]] {
        assert!(stacked_modes(bad, 4).is_err(), "{bad:?}");
    }
}
