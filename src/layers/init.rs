//! Start values of tensors, made on the host: functions of the seed and the tensor's stream only.

use super::args::Bound;
use super::value::Fallible;
use super::{Init, ParamRole};
use crate::graph::philox::{philox, stream_key, uniform};
use crate::graph::{HostData, HostTensor, Type};
use std::num::NonZero;
use std::sync::Mutex;

/// An initialiser from bound arguments.
pub fn parse(a: &Bound) -> Fallible<Init> {
    Ok(match a.sig.name {
        "normal" => Init::Normal { mean: a.number("mean")?, std: a.number_in("std", 0.0, f64::INFINITY)? },
        "uniform" => {
            let (lo, hi) = (a.number("lo")?, a.number("hi")?);
            if lo > hi {
                return Err(a.refuse("hi", &format!("at least `lo` ({lo})")));
            }
            Init::Uniform { lo, hi }
        }
        "orthogonal" => Init::Orthogonal { gain: a.number("gain")? },
        "xavier" => Init::Xavier,
        "he" => Init::He,
        "identity" => Init::Identity,
        _ => return Err(super::emit::unknown(a.sig)),
    })
}

/// The value that a tensor starts with. Random ones draw from `stream` under `key`, counter 0, the whole tensor as
/// sample 0.
pub fn materialise(init: Init, role: ParamRole, ty: &Type, key: [u32; 2], stream: u64) -> HostTensor {
    let n = ty.elements();
    let mut out = HostTensor::zeros(ty);
    let (fan_in, fan_out) = fans(role, &ty.shape);
    let key = stream_key(key, stream);
    let flat = |lo: f64, hi: f64| uniforms(key, n).into_iter().map(|u| lo + (hi - lo) * u).collect::<Vec<f64>>();
    let gauss = |mean: f64, std: f64| normals(key, n).into_iter().map(|z| mean + std * z).collect::<Vec<f64>>();
    let values = match init {
        Init::Constant(c) => vec![c; n],
        Init::Normal { mean, std } => gauss(mean, std),
        Init::Uniform { lo, hi } => flat(lo, hi),
        Init::Xavier => {
            let a = (6.0 / (fan_in + fan_out)).sqrt();
            flat(-a, a)
        }
        Init::He => gauss(0.0, (2.0 / fan_in).sqrt()),
        Init::FanIn => {
            let a = 1.0 / fan_in.sqrt();
            flat(-a, a)
        }
        Init::Orthogonal { gain } => {
            let (rows, cols, order) = matrix(role, &ty.shape);
            let m = orthogonal(normals(key, n), rows, cols);
            let mut values = vec![0.0; n];
            m.iter().zip(order).for_each(|(v, at)| values[at] = gain * v);
            values
        }
        Init::Identity => {
            let (_, cols, order) = matrix(role, &ty.shape);
            let mut values = vec![0.0; n];
            order
                .iter()
                .enumerate()
                .filter(|(i, _)| i / cols.max(1) == i % cols.max(1))
                .for_each(|(_, &at)| values[at] = 1.0);
            values
        }
    };
    match &mut out.data {
        HostData::F32(data) => data.iter_mut().zip(values).for_each(|(d, v)| *d = v as f32),
        HostData::U32(data) => data.iter_mut().zip(values).for_each(|(d, v)| *d = v as u32),
        HostData::Bool(data) => data.iter_mut().zip(values).for_each(|(d, v)| *d = u8::from(v != 0.0)),
    }
    out
}

fn fans(role: ParamRole, shape: &[usize]) -> (f64, f64) {
    let (i, o) = match role {
        ParamRole::Weight { fan_in, fan_out, .. } => (fan_in, fan_out),
        ParamRole::Bias { fan_in } => (fan_in, shape.iter().product()),
        ParamRole::Scale | ParamRole::Shift | ParamRole::Plain => match shape {
            [] => (1, 1),
            [n] => (*n, *n),
            [out, rest @ ..] => (rest.iter().product(), *out),
        },
    };
    (i.max(1) as f64, o.max(1) as f64)
}

/// Values that a thread makes at a time.
const SHARE: usize = 1 << 16;

/// `n` values, four for each block of noise, on all cores: each block is a function of its number alone.
fn blocks(key: [u32; 2], n: usize, four: impl Fn([u32; 4]) -> [f64; 4] + Sync) -> Vec<f64> {
    let mut out = vec![0.0; n];
    let parts = Mutex::new(out.chunks_mut(SHARE).enumerate());
    let next = || parts.lock().ok().and_then(|mut parts| parts.next());
    let work = || {
        while let Some((part, out)) = next() {
            for (i, to) in out.chunks_mut(4).enumerate() {
                let made = four(philox([0, 0, (part * (SHARE / 4) + i) as u32, 0], key));
                to.copy_from_slice(&made[..to.len()]);
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|s| {
        for _ in 1..cores.min(n.div_ceil(SHARE)) {
            // Where the system gives no thread, the others do its work.
            let _ = std::thread::Builder::new().name("init".into()).spawn_scoped(s, work);
        }
        work();
    });
    out
}

fn uniforms(key: [u32; 2], n: usize) -> Vec<f64> {
    blocks(key, n, |w| w.map(uniform))
}

/// As `graph::philox::normal` of elements 0..n of sample 0, four at a time.
fn normals(key: [u32; 2], n: usize) -> Vec<f64> {
    let pair = |a: u32, b: u32| {
        let u1 = (f64::from(a >> 8) + 1.0) / f64::from(1 << 24);
        let r = (-2.0 * u1.ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * uniform(b)).sin_cos();
        [r * cos, r * sin]
    };
    blocks(key, n, |w| {
        let ([a, b], [c, d]) = (pair(w[0], w[1]), pair(w[2], w[3]));
        [a, b, c, d]
    })
}

/// `[out, rest]` of a tensor: rows, columns, and where each element of the matrix lies in the tensor.
fn matrix(role: ParamRole, shape: &[usize]) -> (usize, usize, Vec<usize>) {
    let n: usize = shape.iter().product();
    let axis = match role {
        ParamRole::Weight { out_axis, .. } => out_axis,
        ParamRole::Bias { .. } | ParamRole::Scale | ParamRole::Shift | ParamRole::Plain => 0,
    };
    if shape.len() < 2 {
        return (1, n, (0..n).collect());
    }
    let rows = shape[axis];
    let inner: usize = shape[axis + 1..].iter().product();
    let outer: usize = shape[..axis].iter().product();
    let mut order = Vec::with_capacity(n);
    for r in 0..rows {
        for o in 0..outer {
            order.extend((0..inner).map(|i| (o * rows + r) * inner + i));
        }
    }
    (rows, n / rows.max(1), order)
}

/// Orthonormal rows (or columns, where there are fewer) from Gaussian ones: Gram–Schmidt, twice against rounding.
fn orthogonal(m: Vec<f64>, rows: usize, cols: usize) -> Vec<f64> {
    let wide = rows <= cols;
    let (count, len) = if wide { (rows, cols) } else { (cols, rows) };
    let mut vectors: Vec<Vec<f64>> = (0..count).map(|i| m[i * len..(i + 1) * len].to_vec()).collect();
    for i in 0..count {
        let (done, rest) = vectors.split_at_mut(i);
        let v = &mut rest[0];
        for _ in 0..2 {
            for d in done.iter() {
                let dot: f64 = d.iter().zip(v.iter()).map(|(a, b)| a * b).sum();
                v.iter_mut().zip(d).for_each(|(x, y)| *x -= dot * y);
            }
        }
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-300);
        v.iter_mut().for_each(|x| *x /= norm);
    }
    if wide {
        return vectors.concat();
    }
    (0..rows * cols).map(|i| vectors[i % cols][i / cols]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::philox::normal;

    #[test]
    fn noise_is_the_graphs() {
        // One thread's share, several, and a last one that is short.
        for n in [0, 1, 11, SHARE, 3 * SHARE + 7] {
            let (z, u) = (normals([3, 4], n), uniforms([3, 4], n));
            assert_eq!((z.len(), u.len()), (n, n));
            for e in 0..n {
                assert!((z[e] - normal([3, 4], 0, 0, e)).abs() < 1e-14, "{e} of {n}");
                assert_eq!(u[e], uniform(philox([0, 0, (e / 4) as u32, 0], [3, 4])[e % 4]), "{e} of {n}");
            }
        }
    }

    #[test]
    fn orthogonal_both_ways_and_by_axis() {
        for (shape, axis) in [(vec![3, 2, 4], 0), (vec![7, 3], 0), (vec![4, 3, 2, 2], 1)] {
            let role = ParamRole::Weight { out_axis: axis, fan_in: 1, fan_out: 1 };
            let ty = Type::f32(shape.clone());
            let t = materialise(Init::Orthogonal { gain: 2.0 }, role, &ty, [1, 2], 3);
            let v = t.to_f64();
            let (rows, cols, order) = matrix(role, &shape);
            let at = |r: usize, c: usize| v[order[r * cols + c]];
            let small = rows.min(cols);
            for i in 0..small {
                for j in 0..small {
                    let dot: f64 = if rows <= cols {
                        (0..cols).map(|c| at(i, c) * at(j, c)).sum()
                    } else {
                        (0..rows).map(|r| at(r, i) * at(r, j)).sum()
                    };
                    assert!((dot - if i == j { 4.0 } else { 0.0 }).abs() < 1e-5, "{shape:?} {i} {j} {dot}");
                }
            }
        }
    }

    #[test]
    fn scales_follow_the_fans() {
        let role = ParamRole::Weight { out_axis: 0, fan_in: 50, fan_out: 200 };
        let ty = Type::f32([200, 50]);
        let spread = |init| {
            let v = materialise(init, role, &ty, [9, 9], 1).to_f64();
            (v.iter().map(|x| x * x).sum::<f64>() / v.len() as f64).sqrt()
        };
        assert!((spread(Init::He) - (2.0f64 / 50.0).sqrt()).abs() < 0.005);
        assert!((spread(Init::FanIn) - (1.0f64 / 150.0).sqrt()).abs() < 0.002);
        assert!((spread(Init::Xavier) - (2.0f64 / 250.0).sqrt()).abs() < 0.002);
        let eye = materialise(Init::Identity, role, &Type::f32([2, 3]), [0, 0], 0);
        assert_eq!(eye.to_f64(), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    }
}
