//! The oracle: evaluates a graph in f64, one node at a time, as plainly as the definitions of the ops.
//!
//! Every executor is checked against it. Reals are f64 whatever their element type; only a cast to `f16` or `bf16`
//! rounds. `u32` values are exact and wrap; truth values are 0 and 1.

mod bilinear;

use super::builder::{binary_f64, unary_f64};
use super::op::{Binary, Const, Dist, Name, Op, Window};
use super::ty::{DType, Type, strides};
use super::{Graph, Node, NodeId, philox};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A tensor of the oracle: its type and row-major values.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Element type and extents.
    pub ty: Type,
    /// Row-major values, `ty.elements()` of them.
    pub data: Arc<Vec<f64>>,
}

impl Tensor {
    /// A tensor; `data` has `ty.elements()` values.
    pub fn new(ty: Type, data: Vec<f64>) -> Self {
        assert_eq!(data.len(), ty.elements(), "values of {ty}");
        Self { ty, data: Arc::new(data) }
    }

    /// An `f32` tensor.
    pub fn f32(shape: &[usize], data: Vec<f64>) -> Self {
        Self::new(Type::f32(shape), data)
    }

    /// A `u32` tensor.
    pub fn u32(shape: &[usize], data: &[u32]) -> Self {
        Self::new(Type::u32(shape), data.iter().map(|&v| f64::from(v)).collect())
    }

    /// The first value; that of a rank-0 tensor.
    pub fn item(&self) -> f64 {
        self.data[0]
    }
}

/// Values of the leaves.
#[derive(Clone, Debug, Default)]
pub struct Env {
    /// By name of [`Op::Input`].
    pub inputs: BTreeMap<Name, Tensor>,
    /// By name of [`Op::Param`].
    pub params: BTreeMap<Name, Tensor>,
    /// By name of [`Op::State`].
    pub states: BTreeMap<Name, Tensor>,
}

impl Env {
    /// No values.
    pub fn new() -> Self {
        Self::default()
    }

    /// With an input.
    pub fn input(mut self, name: impl Into<Name>, t: Tensor) -> Self {
        self.inputs.insert(name.into(), t);
        self
    }

    /// With a parameter.
    pub fn param(mut self, name: impl Into<Name>, t: Tensor) -> Self {
        self.params.insert(name.into(), t);
        self
    }

    /// With a state.
    pub fn state(mut self, name: impl Into<Name>, t: Tensor) -> Self {
        self.states.insert(name.into(), t);
        self
    }
}

/// What can be wrong with an environment.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EvalError {
    /// A leaf that the wanted nodes need has no value.
    #[error("no value for {kind} \"{name}\"")]
    Missing {
        /// `input`, `param` or `state`.
        kind: &'static str,
        /// Its name.
        name: Name,
    },
    /// A value has another type than its leaf.
    #[error("{kind} \"{name}\" is {want} but its value is {got}")]
    WrongType {
        /// `input`, `param` or `state`.
        kind: &'static str,
        /// Its name.
        name: Name,
        /// The leaf's type.
        want: Type,
        /// The value's type.
        got: Type,
    },
}

/// Values of the `wanted` nodes. Intermediate tensors are dropped after their last use.
pub fn eval(g: &Graph, env: &Env, wanted: &[NodeId]) -> Result<Vec<Tensor>, EvalError> {
    let count = wanted.iter().map(|w| w.index() + 1).max().unwrap_or(0);
    let mut uses = vec![0usize; count];
    wanted.iter().for_each(|w| uses[w.index()] += 1);
    for i in (0..count).rev() {
        if uses[i] > 0 {
            g.nodes()[i].args.iter().for_each(|a| uses[a.index()] += 1);
        }
    }
    let mut values: Vec<Option<Tensor>> = vec![None; count];
    for i in 0..count {
        if uses[i] == 0 {
            continue;
        }
        let node = &g.nodes()[i];
        let args: Vec<Tensor> =
            node.args.iter().map(|a| values[a.index()].clone().expect("an argument comes first")).collect();
        let value = match &node.op {
            Op::Input(name) => leaf("input", &env.inputs, name, &node.ty)?,
            Op::Param(name) => leaf("param", &env.params, name, &node.ty)?,
            Op::State(name) => leaf("state", &env.states, name, &node.ty)?,
            _ => apply(node, &args),
        };
        values[i] = Some(value);
        for a in &node.args {
            uses[a.index()] -= 1;
            if uses[a.index()] == 0 {
                values[a.index()] = None;
            }
        }
    }
    Ok(wanted.iter().map(|w| values[w.index()].clone().expect("wanted nodes are kept")).collect())
}

/// Values of all outputs, in their order.
pub fn eval_outputs(g: &Graph, env: &Env) -> Result<Vec<(Name, Tensor)>, EvalError> {
    let ids: Vec<NodeId> = g.outputs.iter().map(|o| o.1).collect();
    let values = eval(g, env, &ids)?;
    Ok(g.outputs.iter().map(|o| o.0.clone()).zip(values).collect())
}

fn leaf(kind: &'static str, values: &BTreeMap<Name, Tensor>, name: &Name, ty: &Type) -> Result<Tensor, EvalError> {
    match values.get(name) {
        None => Err(EvalError::Missing { kind, name: name.clone() }),
        Some(t) if t.ty != *ty => {
            Err(EvalError::WrongType { kind, name: name.clone(), want: ty.clone(), got: t.ty.clone() })
        }
        Some(t) => Ok(t.clone()),
    }
}

/// One node from the values of its arguments; constant folding uses it too. Leaves with a name have no value here.
pub fn apply(node: &Node, args: &[Tensor]) -> Tensor {
    let ty = &node.ty;
    let out = |data: Vec<f64>| Tensor::new(ty.clone(), data);
    let same = || Tensor { ty: ty.clone(), data: Arc::clone(&args[0].data) };
    match &node.op {
        Op::Input(name) | Op::Param(name) | Op::State(name) => panic!("no value for \"{name}\""),
        Op::Const(Const::Splat(v)) => out(vec![v.0; ty.elements()]),
        Op::Const(Const::Dense(v)) => out(v.iter().map(|v| v.0).collect()),
        Op::Iota { axis } => {
            let (stride, n) = (strides(&ty.shape)[*axis], ty.shape[*axis]);
            out((0..ty.elements()).map(|i| (i / stride % n) as f64).collect())
        }
        Op::Random { stream, dist } => out(random(ty, *stream, *dist, &args[0].data, args[1].item() as u32)),
        Op::Unary(f) => out(args[0].data.iter().map(|&x| unary_f64(*f, x)).collect()),
        Op::Binary(f) => {
            let dtype = args[0].ty.dtype;
            out(zip(&args[0], &args[1]).map(|(a, b)| binary_f64(*f, a, b, dtype)).collect())
        }
        Op::Select => {
            let branches = zip(&args[1], &args[2]);
            out(args[0].data.iter().zip(branches).map(|(&c, (a, b))| if c != 0.0 { a } else { b }).collect())
        }
        Op::Cast => out(args[0].data.iter().map(|&x| round(x, ty.dtype)).collect()),
        Op::Reshape => same(),
        Op::Stop => same(),
        Op::Permute(perm) => {
            let s = strides(&args[0].ty.shape);
            out(gather(&args[0].data, &ty.shape, &perm.iter().map(|&p| s[p] as isize).collect::<Vec<_>>(), 0))
        }
        Op::Broadcast => {
            let from = &args[0].ty.shape;
            let s: Vec<isize> = strides(from)
                .iter()
                .zip(from)
                .zip(&ty.shape)
                .map(|((&s, &d), &o)| if d == o { s as isize } else { 0 })
                .collect();
            out(gather(&args[0].data, &ty.shape, &s, 0))
        }
        Op::Slice { start, step, .. } => {
            let s = strides(&args[0].ty.shape);
            let base: usize = start.iter().zip(&s).map(|(i, s)| i * s).sum();
            let by: Vec<isize> = step.iter().zip(&s).map(|(k, s)| (k * s) as isize).collect();
            out(gather(&args[0].data, &ty.shape, &by, base as isize))
        }
        Op::Reverse(axes) => {
            let mut s: Vec<isize> = strides(&ty.shape).iter().map(|&s| s as isize).collect();
            let mut base = 0;
            for &a in axes {
                base += (ty.shape[a] as isize - 1) * s[a];
                s[a] = -s[a];
            }
            out(gather(&args[0].data, &ty.shape, &s, base))
        }
        Op::Pad { lo, interior, value, .. } => {
            let s = strides(&ty.shape);
            let base: usize = lo.iter().zip(&s).map(|(i, s)| i * s).sum();
            let by: Vec<isize> = interior.iter().zip(&s).map(|(k, s)| ((k + 1) * s) as isize).collect();
            let mut data = vec![value.0; ty.elements()];
            let mut values = args[0].data.iter();
            each_offset(&args[0].ty.shape, &by, base as isize, |at| {
                data[at] = *values.next().expect("as many offsets as values");
            });
            out(data)
        }
        Op::Concat { axis } => {
            let outer: usize = ty.shape[..*axis].iter().product();
            let mut data = Vec::with_capacity(ty.elements());
            for i in 0..outer {
                for a in args {
                    let block = a.data.len() / outer;
                    data.extend_from_slice(&a.data[i * block..(i + 1) * block]);
                }
            }
            out(data)
        }
        Op::Unfold(w) => {
            let map = window_map(w);
            let plane: usize = w.size.iter().product();
            let lead = args[0].data.len().checked_div(plane).unwrap_or(0);
            let mut data = Vec::with_capacity(ty.elements());
            for i in 0..lead {
                data.extend(map.iter().map(|m| m.map_or(w.value.0, |at| args[0].data[i * plane + at])));
            }
            out(data)
        }
        Op::Fold(w) => {
            let map = window_map(w);
            let plane: usize = w.size.iter().product();
            let mut data = vec![0.0; ty.elements()];
            for (k, v) in args[0].data.iter().enumerate() {
                if let Some(at) = map[k % map.len()] {
                    data[k / map.len() * plane + at] += v;
                }
            }
            out(data)
        }
        Op::Sum(_) => {
            let dtype = ty.dtype;
            out(reduce(&args[0], ty, 0.0, |acc, _, x| *acc = binary_f64(Binary::Add, *acc, x, dtype)))
        }
        Op::Max(_) => {
            let dtype = ty.dtype;
            out(reduce(&args[0], ty, f64::NEG_INFINITY, |acc, _, x| {
                *acc = binary_f64(Binary::Max, *acc, x, dtype);
            }))
        }
        Op::ArgMax(axes) => {
            // A NaN counts as larger than everything, as in the maximum itself.
            let best = reduce(&args[0], ty, (f64::NEG_INFINITY, None), |acc, i, x| {
                if acc.1.is_none() || x > acc.0 || (x.is_nan() && !acc.0.is_nan()) {
                    *acc = (x, Some(i));
                }
            });
            let (shape, s) = (&args[0].ty.shape, strides(&args[0].ty.shape));
            let within = |i: usize| axes.iter().fold(0, |at, &a| at * shape[a] + i / s[a] % shape[a]);
            out(best.iter().map(|b| b.1.map_or(0, within) as f64).collect())
        }
        Op::Contract(dims) => out(bilinear::contract(&args[0], &args[1], dims)),
        Op::ConvFwd(g) => out(bilinear::conv(g, bilinear::Missing::Y, &args[0].data, &args[1].data)),
        Op::ConvDataGrad(g) => out(bilinear::conv(g, bilinear::Missing::X, &args[1].data, &args[0].data)),
        Op::ConvWeightGrad(g) => out(bilinear::conv(g, bilinear::Missing::W, &args[0].data, &args[1].data)),
        Op::GatherRows => {
            let rows = args[0].ty.shape[0];
            let width = ty.elements() / ty.shape[0].max(1);
            let mut data = Vec::with_capacity(ty.elements());
            for &r in args[1].data.iter() {
                let r = row(r, rows);
                data.extend_from_slice(&args[0].data[r * width..(r + 1) * width]);
            }
            out(data)
        }
        Op::ScatterRows => {
            let rows = ty.shape[0];
            let width = ty.elements() / rows.max(1);
            let mut data = args[0].data.to_vec();
            for (k, &r) in args[1].data.iter().enumerate() {
                let r = row(r, rows);
                data[r * width..(r + 1) * width].copy_from_slice(&args[2].data[k * width..(k + 1) * width]);
            }
            out(data)
        }
    }
}

fn zip<'a>(a: &'a Tensor, b: &'a Tensor) -> impl Iterator<Item = (f64, f64)> + 'a {
    a.data.iter().copied().zip(b.data.iter().copied())
}

/// Rows beyond the table read its last one, so that no value of an index is undefined.
fn row(r: f64, rows: usize) -> usize {
    (r as usize).min(rows.saturating_sub(1))
}

/// Conversion to an element type, as [`Op::Cast`] does it: reals to `u32` truncate and saturate.
pub fn round(x: f64, dtype: DType) -> f64 {
    match dtype {
        DType::F32 => x,
        DType::F16 => half::f16::from_f64(x).to_f64(),
        DType::Bf16 => half::bf16::from_f64(x).to_f64(),
        DType::U32 => f64::from(x as u32),
        DType::Bool => f64::from(x != 0.0),
    }
}

fn random(ty: &Type, stream: u64, dist: Dist, key: &[f64], counter: u32) -> Vec<f64> {
    let key = philox::stream_key([key[0] as u32, key[1] as u32], stream);
    let per_sample: usize = ty.shape.iter().skip(1).product();
    (0..ty.elements())
        .map(|i| {
            let (s, e) = (i / per_sample, i % per_sample);
            match dist {
                Dist::Bits => f64::from(philox::word(key, counter, s, e)),
                Dist::Uniform => philox::uniform(philox::word(key, counter, s, e)),
                Dist::Normal => philox::normal(key, counter, s, e),
            }
        })
        .collect()
}

/// Calls `f` with `base + sum(index * by)` for each index of `shape`, row-major.
fn each_offset(shape: &[usize], by: &[isize], base: isize, mut f: impl FnMut(usize)) {
    if shape.contains(&0) {
        return;
    }
    let mut index = vec![0; shape.len()];
    let mut at = base;
    loop {
        f(at as usize);
        let mut axis = shape.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            at += by[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= by[axis] * shape[axis] as isize;
            index[axis] = 0;
        }
    }
}

/// The elements of `src` that a strided view of `shape` reads.
fn gather(src: &[f64], shape: &[usize], by: &[isize], base: isize) -> Vec<f64> {
    let mut out = Vec::with_capacity(shape.iter().product());
    each_offset(shape, by, base, |at| out.push(src[at]));
    out
}

/// Folds each element (with its index) into its place in a result with extents 1 where axes are reduced.
fn reduce<T: Clone>(x: &Tensor, out: &Type, init: T, mut f: impl FnMut(&mut T, usize, f64)) -> Vec<T> {
    let mut acc = vec![init; out.elements()];
    let by: Vec<isize> =
        strides(&out.shape).iter().zip(&out.shape).map(|(&s, &d)| if d == 1 { 0 } else { s as isize }).collect();
    let mut i = 0;
    each_offset(&x.ty.shape, &by, 0, |at| {
        f(&mut acc[at], i, x.data[i]);
        i += 1;
    });
    acc
}

/// For each `[out…, kernel…]` the position in the plane that it reads, if inside.
fn window_map(w: &Window) -> Vec<Option<usize>> {
    let (n, s) = (w.size.len(), strides(&w.size));
    let shape: Vec<usize> = w.out().into_iter().chain(w.kernel.iter().copied()).collect();
    let st = strides(&shape);
    (0..shape.iter().product())
        .map(|i: usize| {
            (0..n).try_fold(0, |at, a| {
                let (o, k) = (i / st[a] % shape[a], i / st[n + a] % shape[n + a]);
                let p = (o * w.stride[a] + k * w.dilation[a]).checked_sub(w.pad_lo[a])?;
                (p < w.size[a]).then_some(at + p * s[a])
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(n: usize) -> Vec<f64> {
        (0..n).map(|i| i as f64).collect()
    }

    #[test]
    fn views() {
        let mut g = Graph::new();
        let x = g.input("x", Type::f32([2, 3]));
        let p = g.permute(x, &[1, 0]);
        let s = g.slice(x, &[0, 0], &[2, 3], &[1, 2]);
        let d = g.pad(s, &[1, 0], &[0, 1], &[0, 1], 9.0);
        let r = g.reverse(x, &[1]);
        let c = g.concat(&[x, r], 1);
        let env = Env::new().input("x", Tensor::f32(&[2, 3], seq(6)));
        let v = eval(&g, &env, &[p, s, d, c]).unwrap();
        assert_eq!(*v[0].data, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(*v[1].data, [0.0, 2.0, 3.0, 5.0]);
        assert_eq!(*v[2].data, [9.0, 9.0, 9.0, 9.0, 0.0, 9.0, 2.0, 9.0, 3.0, 9.0, 5.0, 9.0]);
        assert_eq!(*v[3].data, [0.0, 1.0, 2.0, 2.0, 1.0, 0.0, 3.0, 4.0, 5.0, 5.0, 4.0, 3.0]);
    }

    #[test]
    fn reductions_and_windows() {
        let mut g = Graph::new();
        let x = g.input("x", Type::f32([2, 3]));
        let s = g.sum(x, &[0]);
        let m = g.max_reduce(x, &[0, 1]);
        let a = g.argmax(x, &[0, 1]);
        let w = Window {
            size: vec![3],
            kernel: vec![2],
            stride: vec![1],
            dilation: vec![1],
            pad_lo: vec![1],
            pad_hi: vec![0],
            value: super::super::F64(-1.0),
        };
        let u = g.unfold(x, w.clone());
        let f = g.fold(u, w);
        let env = Env::new().input("x", Tensor::f32(&[2, 3], vec![1.0, 2.0, 7.0, 4.0, 7.0, 6.0]));
        let v = eval(&g, &env, &[s, m, a, u, f]).unwrap();
        assert_eq!(*v[0].data, [5.0, 9.0, 13.0]);
        assert_eq!((v[1].item(), v[2].item()), (7.0, 2.0));
        assert_eq!(*v[3].data, [-1.0, 1.0, 1.0, 2.0, 2.0, 7.0, -1.0, 4.0, 4.0, 7.0, 7.0, 6.0]);
        assert_eq!(*v[4].data, [2.0, 4.0, 7.0, 8.0, 14.0, 6.0]);
    }

    #[test]
    fn integers_wrap_and_casts_round() {
        let mut g = Graph::new();
        let x = g.input("x", Type::u32([2]));
        let y = g.mul(x, x);
        let f = g.input("f", Type::f32([]));
        let h = g.cast(f, DType::F16);
        let t = g.cast(f, DType::U32);
        let env = Env::new()
            .input("x", Tensor::u32(&[2], &[0xffff_ffff, 0x0001_0001]))
            .input("f", Tensor::f32(&[], vec![2.7001]));
        let v = eval(&g, &env, &[y, h, t]).unwrap();
        assert_eq!(*v[0].data, [1.0, f64::from(0x0002_0001)]);
        assert_eq!((v[1].item(), v[2].item()), (2.699_218_75, 2.0));
    }

    #[test]
    fn missing_and_mistyped_leaves_are_errors() {
        let mut g = Graph::new();
        let x = g.input("x", Type::f32([2]));
        let e = eval(&g, &Env::new(), &[x]).unwrap_err();
        assert_eq!(e.to_string(), "no value for input \"x\"");
        let env = Env::new().input("x", Tensor::f32(&[1], vec![0.0]));
        let e = eval(&g, &env, &[x]).unwrap_err();
        assert_eq!(e.to_string(), "input \"x\" is f32[2] but its value is f32[1]");
    }
}
