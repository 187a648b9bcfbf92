//! What `draw name: type ~ D(…)` draws.

use super::args::Bound;
use super::value::{Fallible, need_fits};
use super::{Kind, LayerError, Scope, Tensor};
use crate::graph::{Binary, DType, Dist, NodeId, Type, Unary};

/// One draw of a type, a value for each sample of the batch.
pub fn draw(s: &mut dyn Scope, a: &Bound, kind: Kind, shape: &[usize]) -> Fallible<Tensor> {
    let who = format!("`{}`", a.sig.name);
    let mut full = vec![s.batch()];
    full.extend(shape);
    need_fits(&full, &who)?;
    let written = a.sig.params.iter().any(|p| a.written(p.name));
    let classes = match kind {
        Kind::Class(0) => return Err(LayerError::new("E0303", "class(0) has no values to draw")),
        Kind::Class(k) => Some(k),
        Kind::Real => None,
        Kind::Bool => return Err(LayerError::new("E0303", format!("{who} does not draw truth values"))),
    };
    let node = match (a.sig.name, classes) {
        ("uniform", Some(_)) if written => {
            return Err(LayerError::new(
                "E0310",
                "`uniform` of a class type takes no arguments: all classes alike",
            ));
        }
        ("uniform", Some(k)) => {
            let u = s.noise(Dist::Uniform, &full);
            let g = s.graph();
            let scaled = g.scale(u, k as f64);
            let last = g.scalar((k - 1) as f64);
            // Truncation of a product that rounding may have brought up to k.
            let whole = g.unary(Unary::Floor, scaled);
            let whole = g.binary(Binary::Min, whole, last);
            g.cast(whole, DType::U32)
        }
        ("categorical", Some(k)) => categorical(s, a, k, &full)?,
        ("constant", Some(k)) => {
            let v = a.int("v", 0)?;
            if v as usize >= k {
                return Err(a.refuse("v", &format!("a class below {k}")));
            }
            s.graph().splat(v as f64, Type::u32(full))
        }
        (_, Some(k)) => {
            return Err(LayerError::new("E0303", format!("{who} draws real numbers; the type is class({k})"))
                .help("for labels write `~ uniform` or `~ categorical([…])`"));
        }
        ("categorical", None) => {
            return Err(LayerError::new("E0303", format!("`categorical` draws labels; the type is {shape:?}"))
                .help("give the draw the type `class(k)`"));
        }
        ("normal", None) => {
            let (mean, std) = (a.number("mean")?, a.number_in("std", 0.0, f64::INFINITY)?);
            let z = s.noise(Dist::Normal, &full);
            let g = s.graph();
            let z = g.scale(z, std);
            g.offset(z, mean)
        }
        ("uniform", None) => {
            let (lo, hi) = (a.number("lo")?, a.number("hi")?);
            if lo > hi {
                return Err(a.refuse("hi", &format!("at least `lo` ({lo})")));
            }
            let u = s.noise(Dist::Uniform, &full);
            let g = s.graph();
            let u = g.scale(u, hi - lo);
            g.offset(u, lo)
        }
        ("bernoulli", None) => {
            let p = a.number_in("p", 0.0, 1.0)?;
            let u = s.noise(Dist::Uniform, &full);
            let g = s.graph();
            let p = g.scalar(p);
            let hit = g.lt(u, p);
            g.cast(hit, DType::F32)
        }
        ("sphere", None) => {
            if shape.is_empty() {
                return Err(LayerError::new("E0301", "`sphere` draws vectors; the type is a single number []"));
            }
            let z = s.noise(Dist::Normal, &full);
            let axes: Vec<usize> = (1..full.len()).collect();
            let g = s.graph();
            let square = g.mul(z, z);
            let sum = g.sum(square, &axes);
            let sum = g.offset(sum, 1e-30);
            let norm = g.unary(Unary::Sqrt, sum);
            g.div(z, norm)
        }
        ("constant", None) => {
            let v = a.number("v")?;
            s.graph().splat(v, Type::f32(full))
        }
        _ => return Err(super::emit::unknown(a.sig)),
    };
    Ok(Tensor { node, kind, sample: true, shape: shape.to_vec() })
}

/// The number of cumulative probabilities that a uniform number has passed.
fn categorical(s: &mut dyn Scope, a: &Bound, k: usize, full: &[usize]) -> Fallible<NodeId> {
    let p = a.numbers("p")?;
    let total: f64 = p.iter().sum();
    if p.len() != k || p.iter().any(|&v| v < 0.0) || (total - 1.0).abs() > 1e-6 {
        return Err(a
            .refuse("p", &format!("{k} probabilities (the type is class({k})) that add up to 1"))
            .help(format!("{} numbers that add up to {total}", p.len())));
    }
    let mut sum = 0.0;
    let limits: Vec<f64> = p[..k - 1]
        .iter()
        .map(|v| {
            sum += v;
            sum
        })
        .collect();
    if limits.is_empty() {
        return Ok(s.graph().splat(0.0, Type::u32(full)));
    }
    let u = s.noise(Dist::Uniform, full);
    let g = s.graph();
    let mut column = full.to_vec();
    column.push(1);
    let mut row = vec![1; full.len()];
    row.push(k - 1);
    let u = g.reshape(u, &column);
    let limits = g.dense(limits, Type::f32(row));
    let passed = g.binary(Binary::Le, limits, u);
    let passed = g.cast(passed, DType::F32);
    let count = g.sum(passed, &[full.len()]);
    let count = g.reshape(count, full);
    Ok(g.cast(count, DType::U32))
}
