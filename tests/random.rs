//! Random well-typed graphs of all ops with awkward extents; `properties.rs` has what holds for each.
//!
//! A graph is made from a list of numbers ([`build`]), each a decision, so that proptest shrinks failures by
//! shortening the list and lowering its numbers. Values stay within a few tens, arguments of `log`, `sqrt` and
//! `recip` well above 0.

mod products;

use ganc::grad::grad_or_zeros;
use ganc::graph::eval::{Env, Tensor, eval};
use ganc::graph::{Binary, DType, Dist, F64, Graph, NodeId, Type, Unary, Window, philox};
use proptest::prelude::*;
use std::sync::Arc;

/// A graph and values for its leaves. Outputs: `loss` (rank 0) and a few inner values `v0`, `v1`, ….
pub struct RandomGraph {
    /// The graph.
    pub graph: Graph,
    /// Values of all leaves.
    pub env: Env,
    /// The real leaves, which can be differentiated by.
    pub leaves: Vec<NodeId>,
}

/// What may occur in a graph.
#[derive(Clone, Copy)]
pub struct Allow {
    /// `stop`: right in value, but no finite difference agrees with its gradient.
    pub stop: bool,
    /// Casts to `f16` and `bf16`: no finite difference agrees, and any rounding may be seen in a later `floor`.
    pub halves: bool,
    /// Convolutions in the layout that only the layout pass makes.
    pub channels_last: bool,
}

/// Everything.
pub const ALL: Allow = Allow { stop: true, halves: true, channels_last: true };
/// All that finite differences can check.
pub const SMOOTH: Allow = Allow { stop: false, halves: false, channels_last: true };

/// Lists of decisions.
pub fn decisions() -> impl Strategy<Value = Vec<u32>> {
    proptest::collection::vec(0..10_000u32, 8..160)
}

/// A configuration with this many cases, or as many as `PROPTEST_CASES` says.
pub fn config(cases: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|v| v.parse().ok()).unwrap_or(cases);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

const LIMIT: usize = 3000;
const EXTENTS: [usize; 10] = [2, 1, 3, 7, 4, 5, 1, 8, 31, 33];

struct Maker<'a> {
    g: Graph,
    env: Env,
    left: std::slice::Iter<'a, u32>,
    leaves: Vec<NodeId>,
    names: u32,
    /// Real values and a bound of their magnitude.
    pool: Vec<(NodeId, f64)>,
    allow: Allow,
}

/// A graph from decisions.
pub fn build(decisions: &[u32], allow: Allow) -> RandomGraph {
    let mut m = Maker {
        g: Graph::new(),
        env: Env::new(),
        left: decisions.iter(),
        leaves: vec![],
        names: 0,
        pool: vec![],
        allow,
    };
    for _ in 0..1 + m.pick(3) {
        let shape = m.shape();
        m.leaf(&shape);
    }
    while m.left.len() > 0 {
        m.step();
    }
    let (mut loss, mut g) = (m.g.scalar(0.0), m.g);
    let last: Vec<NodeId> = m.pool.iter().rev().take(4).map(|p| p.0).collect();
    for (i, &v) in last.iter().enumerate() {
        let s = g.sum_all(v);
        let s = g.scale(s, 1.0 / (g.ty(v).elements() as f64).sqrt());
        loss = g.add(loss, s);
        g.output(format!("v{i}"), v);
    }
    g.output("loss", loss);
    RandomGraph { graph: g, env: m.env, leaves: m.leaves }
}

impl Maker<'_> {
    fn pick(&mut self, n: usize) -> usize {
        self.left.next().map_or(0, |&v| v as usize % n.max(1))
    }

    fn choose<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.pick(of.len())]
    }

    fn shape(&mut self) -> Vec<usize> {
        let rank = 1 + self.pick(4);
        let mut s: Vec<usize> = (0..rank).map(|_| self.choose(&EXTENTS)).collect();
        while s.iter().product::<usize>() > LIMIT / 4 {
            *s.iter_mut().max().unwrap() = 2;
        }
        s
    }

    fn values(&mut self, n: usize) -> Vec<f64> {
        self.names += 1;
        (0..n).map(|i| philox::uniform(philox::word([3, 5], self.names, 0, i)) * 3.0 - 1.5).collect()
    }

    fn leaf(&mut self, shape: &[usize]) -> NodeId {
        let data = self.values(shape.iter().product());
        let (name, t) = (format!("t{}", self.names), Tensor::f32(shape, data));
        let env = std::mem::take(&mut self.env);
        let id;
        (id, self.env) = match self.names % 3 {
            0 => (self.g.state(name.as_str(), t.ty.clone()), env.state(name, t)),
            1 => (self.g.input(name.as_str(), t.ty.clone()), env.input(name, t)),
            _ => (self.g.param(name.as_str(), shape), env.param(name, t)),
        };
        self.leaves.push(id);
        self.pool.push((id, 1.5));
        id
    }

    /// A recent value.
    fn value(&mut self) -> (NodeId, f64) {
        let n = self.pool.len();
        let back = self.pick(n.min(8));
        self.pool[n - 1 - back]
    }

    /// A value that goes with `x`: a fitting one, or a total.
    fn partner(&mut self, x: NodeId) -> (NodeId, f64) {
        let shape = self.g.shape(x).to_vec();
        let fits = |s: &[usize]| {
            s.len() == shape.len()
                && s.iter().zip(&shape).all(|(&a, &b)| a == b || a == 1 || b == 1)
                && s.iter().zip(&shape).map(|(&a, &b)| a.max(b)).product::<usize>() <= LIMIT
        };
        let all: Vec<(NodeId, f64)> = self.pool.iter().copied().filter(|p| fits(self.g.shape(p.0))).collect();
        match self.pick(6) {
            0 => {
                let v = self.choose(&[0.0, 1.0, -1.0, 0.5, 2.0]);
                (self.g.scalar(v), 2.0)
            }
            1 => {
                let (v, m) = self.value();
                let n = self.g.ty(v).elements() as f64;
                let s = self.g.sum_all(v);
                (self.g.scale(s, 1.0 / n), m)
            }
            _ if all.is_empty() => (self.g.scalar(1.0), 1.0),
            _ => all[all.len() - 1 - self.pick(all.len().min(6))],
        }
    }

    fn push(&mut self, id: NodeId, bound: f64) {
        if self.g.ty(id).elements() == 0 {
            return;
        }
        let id = if self.g.shape(id).is_empty() { self.g.reshape(id, &[1]) } else { id };
        let bound = bound.max(0.1);
        if bound > 30.0 {
            let id = self.g.scale(id, 3.0 / bound);
            self.pool.push((id, 3.0));
        } else {
            self.pool.push((id, bound));
        }
    }

    /// `|x| + low`
    fn positive(&mut self, x: NodeId, low: f64) -> NodeId {
        let a = self.g.unary(Unary::Abs, x);
        self.g.offset(a, low)
    }

    fn mask(&mut self, x: NodeId) -> NodeId {
        let (y, _) = self.partner(x);
        let f = self.choose(&[Binary::Lt, Binary::Le]);
        let m = self.g.binary(f, x, y);
        let shape = self.g.shape(m).to_vec();
        match self.pick(5) {
            0 => self.g.unary(Unary::Not, m),
            1 => {
                let axis = self.pick(shape.len());
                let i = self.g.iota(&shape, axis);
                let k = self.g.splat((shape[axis] / 2) as f64, Type::u32([]));
                let (test, join) =
                    (self.choose(&[Binary::Lt, Binary::Eq]), self.choose(&[Binary::And, Binary::Or]));
                let other = self.g.binary(test, i, k);
                self.g.binary(join, m, other)
            }
            _ => m,
        }
    }

    fn step(&mut self) {
        let (x, b) = self.value();
        let shape = self.g.shape(x).to_vec();
        let n = self.g.ty(x).elements();
        let axis = self.pick(shape.len());
        match self.pick(47) {
            0 => {
                let y = self.g.neg(x);
                self.push(y, b);
            }
            1 => {
                let p = self.positive(x, 0.5);
                let y = self.g.unary(Unary::Recip, p);
                self.push(y, 2.0);
            }
            2 => {
                let p = self.positive(x, 0.3);
                let y = self.g.unary(Unary::Sqrt, p);
                self.push(y, (b + 0.3).sqrt());
            }
            3 => {
                let s = self.g.scale(x, 1.0 / b.max(1.0));
                let y = self.g.unary(Unary::Exp, s);
                self.push(y, 2.8);
            }
            4 => {
                let p = self.positive(x, 0.5);
                let y = self.g.unary(Unary::Log, p);
                self.push(y, b.max(1.0));
            }
            5 => {
                let p = self.g.unary(Unary::Abs, x);
                let y = self.g.unary(Unary::Log1p, p);
                self.push(y, b);
            }
            k @ 6..=12 => {
                let f =
                    [Unary::Tanh, Unary::Erf, Unary::Sin, Unary::Cos, Unary::Abs, Unary::Sign, Unary::Floor][k - 6];
                let y = self.g.unary(f, x);
                self.push(y, if k >= 11 { b + 1.0 } else { b.max(1.0) });
            }
            k @ 13..=18 => {
                let f = [Binary::Add, Binary::Mul, Binary::Max, Binary::Min, Binary::Add, Binary::Mul][k - 13];
                let (z, c) = self.partner(x);
                let y = if self.pick(2) == 0 { self.g.binary(f, x, z) } else { self.g.binary(f, z, x) };
                self.push(y, if f == Binary::Mul { b * c } else { b + c });
            }
            19 => {
                let (z, c) = self.partner(x);
                let y = if self.pick(2) == 0 { self.g.sub(x, z) } else { self.g.sub(z, x) };
                self.push(y, b + c);
            }
            20 | 21 => {
                let m = self.mask(x);
                let (z, c) = self.partner(m);
                if self.g.shape(m).iter().product::<usize>() <= LIMIT {
                    let y = self.g.select(m, x, z);
                    self.push(y, b.max(c));
                }
            }
            22 => {
                let m = self.mask(x);
                let y = self.g.cast(m, DType::F32);
                self.push(y, 1.0);
            }
            23 => {
                let p = self.positive(x, 0.25);
                let u = self.g.cast(p, DType::U32);
                let y = self.g.cast(u, DType::F32);
                self.push(y, b + 1.0);
            }
            24 if self.allow.halves && self.pick(2) == 0 => {
                let half = self.choose(&[DType::F16, DType::Bf16]);
                let h = self.g.cast(x, half);
                let h = self.g.mul(h, h);
                let y = self.g.cast(h, DType::F32);
                self.push(y, b * b);
            }
            24 if self.allow.stop => {
                let y = self.g.stop(x);
                self.push(y, b);
            }
            24 | 25 => {
                let to = match self.pick(4) {
                    0 => vec![n],
                    1 => [&shape[..axis], &[1], &shape[axis..]].concat(),
                    2 => shape.iter().copied().filter(|&d| d != 1).chain([1]).collect(),
                    _ => {
                        let d = shape[axis];
                        let k = (2..=d).find(|k| d.is_multiple_of(*k)).unwrap_or(1);
                        [&shape[..axis], &[k, d / k], &shape[axis + 1..]].concat()
                    }
                };
                if to.len() <= 5 {
                    let y = self.g.reshape(x, &to);
                    self.push(y, b);
                }
            }
            26 => {
                let mut perm: Vec<usize> = (0..shape.len()).collect();
                perm.swap(axis, 0);
                let other = self.pick(shape.len());
                perm.swap(other, shape.len() - 1);
                let y = self.g.permute(x, &perm);
                self.push(y, b);
            }
            27 => {
                let to = self.choose(&EXTENTS);
                let wide: Vec<usize> = shape.iter().map(|&d| if d == 1 { to } else { d }).collect();
                if wide.iter().product::<usize>() <= LIMIT {
                    let y = self.g.broadcast(x, &wide);
                    self.push(y, b);
                }
            }
            28 | 29 => {
                let (mut start, mut limit, mut step) = (vec![], vec![], vec![]);
                for &d in &shape {
                    let s = self.pick(d.min(4));
                    start.push(s);
                    limit.push(d - self.pick((d - s).min(3)));
                    step.push(1 + self.pick(3));
                }
                let y = self.g.slice(x, &start, &limit, &step);
                self.push(y, b);
            }
            30 | 31 => {
                let mut some = |k: usize| -> Vec<usize> { shape.iter().map(|_| self.pick(k)).collect() };
                let (lo, hi, interior) = (some(3), some(3), some(2));
                let value = self.choose(&[0.0, 0.5]);
                let y = self.g.pad(x, &lo, &hi, &interior, value);
                if self.g.ty(y).elements() <= LIMIT {
                    self.push(y, b);
                }
            }
            32 => {
                let y = self.g.reverse(x, &[axis]);
                self.push(y, b);
            }
            33 => {
                let like =
                    |s: &[usize]| s.len() == shape.len() && (0..s.len()).all(|i| i == axis || s[i] == shape[i]);
                let all: Vec<(NodeId, f64)> =
                    self.pool.iter().copied().filter(|p| like(self.g.shape(p.0))).collect();
                let parts = [(x, b), all[self.pick(all.len())], all[self.pick(all.len())]];
                let parts = &parts[..2 + self.pick(2)];
                let y = self.g.concat(&parts.iter().map(|p| p.0).collect::<Vec<_>>(), axis);
                if self.g.ty(y).elements() <= LIMIT {
                    self.push(y, parts.iter().fold(0.0, |m, p| p.1.max(m)));
                }
            }
            34 | 35 => self.windows(x, b),
            36 => {
                let axes: Vec<usize> = if self.pick(3) == 0 { (0..=axis).collect() } else { vec![axis] };
                let y = self.g.sum(x, &axes);
                let count = n / self.g.ty(y).elements();
                self.push(y, b * count as f64);
            }
            37 => {
                let axes: Vec<usize> = if self.pick(3) == 0 { (0..=axis).collect() } else { vec![axis] };
                let y = self.g.max_reduce(x, &axes);
                self.push(y, b);
                let i = self.g.argmax(x, &axes);
                let y = self.g.cast(i, DType::F32);
                self.push(y, n as f64);
            }
            38 | 39 => self.contraction(x, b),
            40 | 41 => self.convolution(x, b),
            42 => self.rows(x, b),
            43 | 44 => self.sampled(x, b),
            45 => self.rectified(x, b),
            _ => self.noise(),
        }
    }

    fn windows(&mut self, x: NodeId, b: f64) {
        let shape = self.g.shape(x).to_vec();
        let n = 1 + self.pick(shape.len().min(2));
        let mut w = Window {
            size: shape[shape.len() - n..].to_vec(),
            kernel: vec![],
            stride: vec![],
            dilation: vec![],
            pad_lo: vec![],
            pad_hi: vec![],
            value: F64(self.choose(&[0.0, -1.0])),
        };
        for i in 0..n {
            let (lo, hi) = (self.pick(2), self.pick(3));
            let kernel = 1 + self.pick(3.min(w.size[i] + lo + hi));
            let most = (w.size[i] + lo + hi - 1).checked_div(kernel - 1).unwrap_or(1);
            w.kernel.push(kernel);
            w.dilation.push(1 + self.pick(most.clamp(1, 2)));
            w.stride.push(1 + self.pick(3));
            w.pad_lo.push(lo);
            w.pad_hi.push(hi);
        }
        let taps: usize = w.kernel.iter().product();
        let u = self.g.unfold(x, w.clone());
        if self.g.ty(u).elements() > 2 * LIMIT {
            return;
        }
        let rank = self.g.shape(u).len();
        let last: Vec<usize> = (rank - n..rank).collect();
        let y = match self.pick(3) {
            0 => {
                let t = self.g.unary(Unary::Sin, u);
                self.g.fold(t, w)
            }
            1 => self.g.sum(u, &last),
            _ => self.g.max_reduce(u, &last),
        };
        self.push(y, b * taps as f64);
    }

    fn rows(&mut self, x: NodeId, b: f64) {
        let shape = self.g.shape(x).to_vec();
        let r = shape[0];
        let count = 1 + self.pick(5);
        let rows: Vec<u32> = (0..count).map(|_| self.pick(r) as u32).collect();
        let mut unique = rows.clone();
        unique.sort_unstable();
        unique.dedup();
        unique.reverse();
        let scatter = self.pick(2) == 0;
        let rows = if scatter { unique } else { rows };
        if r * shape[1..].iter().product::<usize>() > LIMIT {
            return;
        }
        self.names += 1;
        let name = format!("rows{}", self.names);
        let t = Tensor::u32(&[rows.len()], &rows);
        let at = self.g.input(name.as_str(), t.ty.clone());
        self.env = std::mem::take(&mut self.env).input(name, t);
        let y = if scatter {
            let v = self.leaf(&[&[rows.len()], &shape[1..]].concat());
            self.g.scatter_rows(x, at, v)
        } else {
            self.g.gather_rows(x, at)
        };
        self.push(y, b.max(1.5));
    }

    fn noise(&mut self) {
        let shape = self.shape();
        let key = self.g.state("key", Type::u32([2]));
        let counter = self.g.input("step", Type::u32([]));
        self.env = std::mem::take(&mut self.env)
            .state("key", Tensor::u32(&[2], &[17, 4_000_000_000]))
            .input("step", Tensor::u32(&[], &[12]));
        let stream = philox::stream(self.choose(&["a", "b", "c"]));
        let y = match self.pick(3) {
            0 => self.g.random(stream, Dist::Uniform, key, counter, &shape),
            1 => self.g.random(stream, Dist::Normal, key, counter, &shape),
            _ => {
                let words = self.g.random(stream, Dist::Bits, key, counter, &shape);
                let twice = self.g.add(words, words);
                let f = self.g.cast(twice, DType::F32);
                self.g.scale(f, 1.0 / 4_294_967_296.0)
            }
        };
        self.push(y, 5.0);
    }
}

/// Values of `f64` leaves moved by `h` along a direction that depends on nothing but the leaf's name and element.
pub fn moved(g: &Graph, env: &Env, leaves: &[NodeId], h: f64) -> Env {
    let mut env = env.clone();
    for (k, &leaf) in leaves.iter().enumerate() {
        let (name, values) = match &g.node(leaf).op {
            ganc::graph::Op::Input(n) => (n, &mut env.inputs),
            ganc::graph::Op::Param(n) => (n, &mut env.params),
            ganc::graph::Op::State(n) => (n, &mut env.states),
            other => panic!("{other:?} is no leaf"),
        };
        let t = values.get_mut(name).unwrap();
        let d = direction(k, t.data.len());
        t.data = Arc::new(t.data.iter().zip(d).map(|(x, d)| x + h * d).collect());
    }
    env
}

/// The direction of leaf `k`.
pub fn direction(k: usize, n: usize) -> Vec<f64> {
    (0..n).map(|i| philox::uniform(philox::word([11, 13], k as u32, 1, i)) * 2.0 - 1.0).collect()
}

/// The rank-0 value `y`'s derivative along the direction of all leaves: (from its gradient, by differences). `None`
/// where differences of two widths disagree: a kink is near.
pub fn slopes(g: &Graph, env: &Env, leaves: &[NodeId], y: NodeId) -> Option<(f64, f64)> {
    let mut g = g.clone();
    let grads = grad_or_zeros(&mut g, y, None, leaves);
    let ours = eval(&g, env, &grads)
        .unwrap()
        .iter()
        .enumerate()
        .map(|(k, t)| t.data.iter().zip(direction(k, t.data.len())).map(|(a, b)| a * b).sum::<f64>())
        .sum();
    let at = |h: f64| eval(&g, &moved(&g, env, leaves, h), &[y]).unwrap()[0].item();
    let h = 2e-4;
    let central = |h: f64| (at(h) - at(-h)) / (2.0 * h);
    let (wide, mid, narrow) = (central(h), central(h / 2.0), central(h / 4.0));
    let (a, b) = ((4.0 * mid - wide) / 3.0, (4.0 * narrow - mid) / 3.0);
    let left = (at(0.0) - at(-h / 4.0)) / (h / 4.0);
    let right = (at(h / 4.0) - at(0.0)) / (h / 4.0);
    let scale = 1.0 + a.abs();
    ((a - b).abs() < 1e-6 * scale && (left - right).abs() < 0.05 * scale).then_some((ours, b))
}

/// A list of decisions that needs no proptest.
pub fn fixed_decisions(seed: u32, n: usize) -> Vec<u32> {
    (0..n).map(|i| philox::word([seed, 77], 0, 0, i) % 10_000).collect()
}
