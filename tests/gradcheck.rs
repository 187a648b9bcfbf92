//! Gradients of each op, orders 1 to 3, against differences in f64.
//!
//! Each case's result `y` goes into `sum(c * (y + y³ / 3))`, so that cotangents depend on the values and linear ops
//! too are exercised at each order.

use crate::random::{direction, moved};
use ganc::grad::grad_or_zeros;
use ganc::graph::eval::{Env, Tensor, eval};
use ganc::graph::{
    Binary, ContractDims, ConvGeom, DType, F64, Graph, Layout, NodeId, Type, Unary, Window, philox, verify,
};
use std::sync::Arc;

fn total(g: &mut Graph, terms: &[NodeId], seed: usize) -> NodeId {
    let mut sum = g.scalar(0.0);
    for (k, &t) in terms.iter().enumerate() {
        let ty = g.ty(t).clone();
        let c = g.dense(direction(seed + k, ty.elements()), ty);
        let p = g.mul(c, t);
        let s = g.sum_all(p);
        sum = g.add(sum, s);
    }
    sum
}

/// Checks `build` with leaves of these shapes and values in `low..high`.
#[track_caller]
fn check(shapes: &[&[usize]], (low, high): (f64, f64), build: impl Fn(&mut Graph, &[NodeId]) -> NodeId) {
    let mut g = Graph::new();
    let mut env = Env::new();
    let mut leaves = vec![];
    for (k, shape) in shapes.iter().enumerate() {
        let n: usize = shape.iter().product();
        let u = |i| philox::uniform(philox::word([1, 2], k as u32, 0, i));
        let name = format!("x{k}");
        leaves.push(g.input(name.as_str(), Type::f32(*shape)));
        env = env.input(name, Tensor::f32(shape, (0..n).map(|i| low + (high - low) * u(i)).collect()));
    }
    let y = build(&mut g, &leaves);
    let cube = g.mul(y, y);
    let cube = g.mul(cube, y);
    let third = g.scale(cube, 1.0 / 3.0);
    let y = g.add(y, third);
    let mut scalar = total(&mut g, &[y], 100);
    for order in 1..=3 {
        let grads = grad_or_zeros(&mut g, scalar, None, &leaves);
        verify::verify(&g).unwrap();
        let values = eval(&g, &env, &grads).unwrap();
        let ours: f64 = values
            .iter()
            .enumerate()
            .map(|(k, t)| t.data.iter().zip(direction(k, t.data.len())).map(|(a, b)| a * b).sum::<f64>())
            .sum();
        let at = |h: f64| eval(&g, &moved(&g, &env, &leaves, h), &[scalar]).unwrap()[0].item();
        let central = |h: f64| (at(h) - at(-h)) / (2.0 * h);
        let h = 1e-4;
        let theirs = (4.0 * central(h / 2.0) - central(h)) / 3.0;
        let e = (ours - theirs).abs() / (1.0 + theirs.abs());
        assert!(e < 1e-7, "order {order}: {ours} but {theirs} by differences");
        scalar = total(&mut g, &grads, 200 * order);
    }
}

const ANY: (f64, f64) = (-1.5, 1.5);
const POSITIVE: (f64, f64) = (0.6, 2.0);

#[test]
fn smooth_unary() {
    for f in [Unary::Neg, Unary::Exp, Unary::Tanh, Unary::Erf, Unary::Sin, Unary::Cos] {
        check(&[&[7, 3]], ANY, |g, x| g.unary(f, x[0]));
    }
    for f in [Unary::Recip, Unary::Sqrt, Unary::Log, Unary::Log1p] {
        check(&[&[31]], POSITIVE, |g, x| g.unary(f, x[0]));
    }
}

#[test]
fn kinked_unary() {
    for f in [Unary::Abs, Unary::Sign, Unary::Floor] {
        check(&[&[33]], ANY, |g, x| {
            let y = g.unary(f, x[0]);
            g.add(y, x[0])
        });
    }
}

#[test]
fn binary() {
    for f in [Binary::Add, Binary::Mul, Binary::Max, Binary::Min] {
        check(&[&[7, 3], &[7, 3]], ANY, |g, x| g.binary(f, x[0], x[1]));
        check(&[&[7, 1], &[1, 5]], ANY, |g, x| g.binary(f, x[0], x[1]));
        check(&[&[5]], ANY, |g, x| g.binary(f, x[0], x[0]));
    }
    check(&[&[4, 3], &[1, 3]], POSITIVE, |g, x| g.div(x[0], x[1]));
}

#[test]
fn select_and_masks() {
    check(&[&[7, 3], &[7, 3], &[7, 3]], ANY, |g, x| {
        let (a, b) = (g.lt(x[0], x[1]), g.binary(Binary::Le, x[2], x[1]));
        let (and, or) = (g.binary(Binary::And, a, b), g.binary(Binary::Or, a, b));
        let not = g.unary(Unary::Not, or);
        let p = g.select(and, x[0], x[1]);
        g.select(not, x[2], p)
    });
}

#[test]
fn casts() {
    // Through bf16 and back: the oracle rounds, so only the type of the cotangent can be looked at.
    let mut g = Graph::new();
    let x = g.input("x", Type::f32([3]));
    let h = g.cast(x, DType::Bf16);
    let y = g.mul(h, h);
    let d = grad_or_zeros(&mut g, y, None, &[x])[0];
    verify::verify(&g).unwrap();
    let env = Env::new().input("x", Tensor::f32(&[3], vec![0.5, -2.0, 1.0]));
    assert_eq!(*eval(&g, &env, &[d]).unwrap()[0].data, [1.0, -4.0, 2.0]);
    check(&[&[7]], ANY, |g, x| {
        let zero = g.scalar(0.0);
        let m = g.lt(zero, x[0]);
        let m = g.cast(m, DType::F32);
        g.mul(m, x[0])
    });
}

#[test]
fn views() {
    check(&[&[4, 3]], ANY, |g, x| g.reshape(x[0], &[2, 6]));
    check(&[&[2, 3, 5]], ANY, |g, x| g.permute(x[0], &[2, 0, 1]));
    check(&[&[1, 3, 1]], ANY, |g, x| g.broadcast(x[0], &[7, 3, 5]));
    check(&[&[7, 9]], ANY, |g, x| g.slice(x[0], &[1, 0], &[6, 8], &[2, 3]));
    check(&[&[3, 4]], ANY, |g, x| g.pad(x[0], &[1, 0], &[0, 2], &[2, 1], 0.5));
    check(&[&[1, 1]], ANY, |g, x| g.pad(x[0], &[1, 0], &[0, 2], &[2, 1], 0.0));
    check(&[&[3, 4]], ANY, |g, x| g.reverse(x[0], &[0, 1]));
    check(&[&[3, 1], &[3, 4], &[3, 2]], ANY, |g, x| g.concat(x, 1));
    check(&[&[3, 2]], ANY, |g, x| g.concat(&[x[0], x[0]], 0));
}

fn window(size: &[usize], kernel: usize, stride: usize, dilation: usize, pad: (usize, usize)) -> Window {
    let n = size.len();
    Window {
        size: size.to_vec(),
        kernel: vec![kernel; n],
        stride: vec![stride; n],
        dilation: vec![dilation; n],
        pad_lo: vec![pad.0; n],
        pad_hi: vec![pad.1; n],
        value: F64(-0.25),
    }
}

#[test]
fn windows() {
    for w in [window(&[7, 5], 3, 2, 1, (1, 0)), window(&[7, 7], 2, 3, 2, (0, 2)), window(&[1], 1, 1, 1, (0, 0))] {
        let shape = [&[2], &w.size[..]].concat();
        check(&[&shape], ANY, |g, x| g.unfold(x[0], w.clone()));
        let windows = [&[2], &w.out()[..], &w.kernel[..]].concat();
        check(&[&windows], ANY, |g, x| g.fold(x[0], w.clone()));
    }
}

#[test]
fn reductions() {
    check(&[&[7, 3, 2]], ANY, |g, x| g.sum(x[0], &[0, 2]));
    check(&[&[7, 3, 2]], ANY, |g, x| g.max_reduce(x[0], &[0, 2]));
    check(&[&[33]], ANY, |g, x| g.max_reduce(x[0], &[0]));
    check(&[&[5, 4]], ANY, |g, x| {
        let i = g.argmax(x[0], &[1]);
        let i = g.cast(i, DType::F32);
        g.mul(i, x[0])
    });
}

#[test]
fn contractions() {
    let dims = |batch: &[(usize, usize)], contracted: &[(usize, usize)]| ContractDims {
        batch: batch.to_vec(),
        contracted: contracted.to_vec(),
    };
    check(&[&[5, 7], &[7, 3]], ANY, |g, x| g.matmul(x[0], x[1]));
    check(&[&[5, 7], &[3, 7]], ANY, |g, x| g.contract(x[0], x[1], dims(&[], &[(1, 1)])));
    check(&[&[7, 5], &[3, 7]], ANY, |g, x| g.contract(x[0], x[1], dims(&[], &[(0, 1)])));
    check(&[&[4]], ANY, |g, x| g.contract(x[0], x[0], dims(&[], &[])));
    check(&[&[2, 5, 3], &[3, 2, 4]], ANY, |g, x| g.contract(x[0], x[1], dims(&[(2, 0)], &[(0, 1)])));
    check(&[&[2, 3, 4, 2], &[4, 2, 3]], ANY, |g, x| g.contract(x[0], x[1], dims(&[(0, 1)], &[(2, 0), (1, 2)])));
    check(&[&[2, 3], &[3, 2]], ANY, |g, x| g.contract(x[0], x[1], dims(&[(1, 0), (0, 1)], &[])));
}

#[test]
fn convolutions() {
    let geom = |layout, groups, n: usize, stride: usize, dilation: usize, extra: usize| {
        let (kernel, output, pad) = (2, 2, 1);
        ConvGeom {
            n: 2,
            c: 2,
            o: 4,
            groups,
            input: vec![(output - 1) * stride + dilation * (kernel - 1) + 1 + extra - 2 * pad; n],
            kernel: vec![kernel; n],
            output: vec![output; n],
            stride: vec![stride; n],
            pad: vec![pad; n],
            dilation: vec![dilation; n],
            layout,
        }
    };
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        for g in [geom(layout, 1, 2, 2, 1, 1), geom(layout, 2, 1, 3, 2, 0), geom(layout, 1, 3, 2, 1, 0)] {
            let g = Arc::new(g);
            let (x, w, y) = (g.x_shape(), g.w_shape(), g.y_shape());
            check(&[&x, &w], ANY, |b, a| b.conv_fwd(a[0], a[1], Arc::clone(&g)));
            check(&[&y, &w], ANY, |b, a| b.conv_data_grad(a[0], a[1], Arc::clone(&g)));
            check(&[&x, &y], ANY, |b, a| b.conv_weight_grad(a[0], a[1], Arc::clone(&g)));
        }
    }
}

#[test]
fn rows() {
    let list = |g: &mut Graph, rows: &[f64]| g.dense(rows.to_vec(), Type::u32([rows.len()]));
    check(&[&[5, 3]], ANY, |g, x| {
        let rows = list(g, &[4.0, 0.0, 4.0, 2.0]);
        g.gather_rows(x[0], rows)
    });
    check(&[&[5, 3], &[2, 3]], ANY, |g, x| {
        let rows = list(g, &[3.0, 1.0]);
        g.scatter_rows(x[0], rows, x[1])
    });
}

#[test]
fn composites() {
    // Normalisation over an axis, and the norm of a gradient: what gradient penalties differentiate.
    check(&[&[7, 4], &[1, 4]], ANY, |g, x| {
        let m = g.mean(x[0], &[0]);
        let c = g.sub(x[0], m);
        let c2 = g.mul(c, c);
        let v = g.mean(c2, &[0]);
        let v = g.offset(v, 1e-2);
        let s = g.unary(Unary::Sqrt, v);
        let n = g.div(c, s);
        g.mul(n, x[1])
    });
    check(&[&[3, 4], &[4, 2]], ANY, |g, x| {
        let h = g.matmul(x[0], x[1]);
        let h = g.unary(Unary::Tanh, h);
        let d = grad_or_zeros(g, h, None, &[x[0]])[0];
        let d2 = g.mul(d, d);
        let s = g.sum(d2, &[1]);
        let s = g.offset(s, 1e-2);
        g.unary(Unary::Sqrt, s)
    });
}

#[test]
fn ties() {
    let mut g = Graph::new();
    let zero = g.scalar(0.0);
    let x = g.input("x", Type::f32([3]));
    let relu = g.binary(Binary::Max, x, zero);
    let low = g.scale(x, 0.2);
    let leaky = g.binary(Binary::Max, x, low);
    let cap = g.binary(Binary::Min, x, zero);
    let abs = g.unary(Unary::Abs, x);
    let env = Env::new().input("x", Tensor::f32(&[3], vec![-1.0, 0.0, 1.0]));
    for (y, want) in
        [(relu, [0.0, 0.0, 1.0]), (leaky, [0.2, 0.2, 1.0]), (cap, [1.0, 0.0, 0.0]), (abs, [-1.0, 0.0, 1.0])]
    {
        let d = grad_or_zeros(&mut g, y, None, &[x])[0];
        assert_eq!(*eval(&g, &env, &[d]).unwrap()[0].data, want);
    }
    let t = g.input("t", Type::f32([4]));
    let m = g.max_reduce(t, &[0]);
    let d = grad_or_zeros(&mut g, m, None, &[t])[0];
    let env = Env::new().input("t", Tensor::f32(&[4], vec![1.0, 2.0, 2.0, 2.0]));
    assert_eq!(*eval(&g, &env, &[d]).unwrap()[0].data, [0.0, 1.0, 0.0, 0.0]);
}
