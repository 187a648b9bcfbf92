//! Golden vectors that need only graph ops: the convolution triple, gradient penalties, unrolled steps.

use crate::golden_util::{Case, cases, check};
use ganc::grad::grad_or_zeros;
use ganc::graph::{Binary, ContractDims, ConvGeom, Graph, Layout, NodeId, Unary};
use std::collections::BTreeMap;
use std::sync::Arc;

type Named = BTreeMap<String, NodeId>;

fn out(name: &str, id: NodeId) -> (String, NodeId) {
    (name.to_string(), id)
}

fn conv(g: &mut Graph, x: NodeId, w: NodeId, stride: &[usize], pad: &[usize]) -> NodeId {
    let (xs, ws) = (g.shape(x).to_vec(), g.shape(w).to_vec());
    let output = (0..2).map(|i| (xs[2 + i] + 2 * pad[i] - ws[2 + i]) / stride[i] + 1).collect();
    let geom = ConvGeom {
        n: xs[0],
        c: xs[1],
        o: ws[0],
        groups: 1,
        input: xs[2..].to_vec(),
        kernel: ws[2..].to_vec(),
        output,
        stride: stride.to_vec(),
        pad: pad.to_vec(),
        dilation: vec![1, 1],
        layout: Layout::ChannelsFirst,
    };
    g.conv_fwd(x, w, Arc::new(geom))
}

fn bias(g: &mut Graph, y: NodeId, b: NodeId) -> NodeId {
    let c = g.shape(b)[0];
    let shape = if g.shape(y).len() == 4 { vec![1, c, 1, 1] } else { vec![1, c] };
    let b = g.reshape(b, &shape);
    g.add(y, b)
}

fn geometry(case: &Case, g: &Graph, x: NodeId, w: NodeId, y: &[usize]) -> Arc<ConvGeom> {
    let (xs, ws) = (g.shape(x).to_vec(), g.shape(w).to_vec());
    Arc::new(ConvGeom {
        n: xs[0],
        c: xs[1],
        o: y[1],
        groups: case.number("groups") as usize,
        input: xs[2..].to_vec(),
        kernel: ws[2..].to_vec(),
        output: y[2..].to_vec(),
        stride: case.extents("stride"),
        pad: case.extents("padding"),
        dilation: case.extents("dilation"),
        layout: Layout::ChannelsFirst,
    })
}

#[test]
fn conv2d() {
    for case in cases("conv2d") {
        check(&case, |g, ins| {
            let y = case.tensors["out.y"].ty.shape.clone();
            let geom = geometry(&case, g, ins["x"], ins["w"], &y);
            let y = g.conv_fwd(ins["x"], ins["w"], geom);
            vec![out("y", bias(g, y, ins["b"]))]
        });
    }
}

#[test]
fn conv2d_channels_last() {
    for case in cases("conv2d") {
        check(&case, |g, ins| {
            let y = case.tensors["out.y"].ty.shape.clone();
            let geom = geometry(&case, g, ins["x"], ins["w"], &y);
            let geom = ConvGeom { layout: Layout::ChannelsLast, ..(*geom).clone() };
            let x = g.permute(ins["x"], &[0, 2, 3, 1]);
            let y = g.conv_fwd(x, ins["w"], Arc::new(geom));
            let y = g.permute(y, &[0, 3, 1, 2]);
            vec![out("y", bias(g, y, ins["b"]))]
        });
    }
}

#[test]
fn conv2d_with_weights_channels_last() {
    for case in cases("conv2d") {
        check(&case, |g, ins| {
            let y = case.tensors["out.y"].ty.shape.clone();
            let geom = geometry(&case, g, ins["x"], ins["w"], &y);
            let geom = ConvGeom { layout: Layout::AllLast, ..(*geom).clone() };
            let (x, w) = (g.permute(ins["x"], &[0, 2, 3, 1]), g.permute(ins["w"], &[0, 2, 3, 1]));
            let y = g.conv_fwd(x, w, Arc::new(geom));
            let y = g.permute(y, &[0, 3, 1, 2]);
            vec![out("y", bias(g, y, ins["b"]))]
        });
    }
}

#[test]
fn conv_transpose2d() {
    for case in cases("conv_transpose2d") {
        check(&case, |g, ins| {
            // The transposed layer's result is the convolution's x, its argument the convolution's y.
            let (x, y) = (&case.tensors["out.y"].ty.shape, g.shape(ins["x"]).to_vec());
            let like_x = g.splat(1.0, ganc::graph::Type::f32(x.clone()));
            let geom = geometry(&case, g, like_x, ins["w"], &y);
            let r = g.conv_data_grad(ins["x"], ins["w"], geom);
            vec![out("y", bias(g, r, ins["b"]))]
        });
    }
}

fn softplus(g: &mut Graph, x: NodeId) -> NodeId {
    let a = g.unary(Unary::Abs, x);
    let n = g.neg(a);
    let e = g.unary(Unary::Exp, n);
    let l = g.unary(Unary::Log1p, e);
    let zero = g.scalar(0.0);
    let m = g.binary(Binary::Max, x, zero);
    g.add(m, l)
}

/// The critic of the gradient-penalty cases: scores `[n, 1, 1, 1]`.
fn critic(g: &mut Graph, act: &str, ins: &Named, x: NodeId) -> NodeId {
    let h = conv(g, x, ins["w1"], &[2, 2], &[1, 1]);
    let h = bias(g, h, ins["b1"]);
    let h = match act {
        "tanh" => g.unary(Unary::Tanh, h),
        "softplus" => softplus(g, h),
        _ => {
            let low = g.scale(h, 0.2);
            g.binary(Binary::Max, h, low)
        }
    };
    let y = conv(g, h, ins["w2"], &[1, 1], &[0, 0]);
    let y = bias(g, y, ins["b2"]);
    g.sum(y, &[1, 2, 3])
}

fn squared_norm(g: &mut Graph, d: NodeId) -> NodeId {
    let d2 = g.mul(d, d);
    let axes: Vec<usize> = (1..g.shape(d2).len()).collect();
    g.sum(d2, &axes)
}

fn gradient_penalty(g: &mut Graph, act: &str, ins: &Named) -> Vec<(String, NodeId)> {
    let n = g.shape(ins["real"])[0];
    let eps = g.reshape(ins["eps"], &[n, 1, 1, 1]);
    let neg = g.neg(eps);
    let rest = g.offset(neg, 1.0);
    let (a, b) = (g.mul(eps, ins["real"]), g.mul(rest, ins["fake"]));
    let xh = g.add(a, b);
    let score = critic(g, act, ins, xh);
    let d = grad_or_zeros(g, score, None, &[xh])[0];
    let sq = squared_norm(g, d);
    let sq = g.offset(sq, 1e-12);
    let norm = g.unary(Unary::Sqrt, sq);
    let off = g.offset(norm, -1.0);
    let sq = g.mul(off, off);
    let gp = g.mean(sq, &[0]);
    let gp = g.reshape(gp, &[]);
    let (norm, score) = (g.reshape(norm, &[n]), g.reshape(score, &[n]));
    vec![out("gp", gp), out("norm", norm), out("score", score), out("input_grad", d)]
}

#[test]
fn wgan_gp() {
    for kind in ["wgan_gp", "wgan_gp_parts"] {
        for case in cases(kind) {
            check(&case, |g, ins| gradient_penalty(g, case.string("act"), ins));
        }
    }
}

#[test]
fn wgan_gp_critic_loss() {
    for case in cases("wgan_gp_critic_loss") {
        check(&case, |g, ins| {
            let act = case.string("act");
            let gp = gradient_penalty(g, act, ins)[0].1;
            let mut mean = |x: &str| {
                let s = critic(g, act, ins, ins[x]);
                let m = g.mean(s, &[0]);
                g.reshape(m, &[])
            };
            let (fake, real) = (mean("fake"), mean("real"));
            let w = g.sub(fake, real);
            let gp = g.scale(gp, case.number("lam"));
            vec![out("loss", g.add(w, gp))]
        });
    }
}

#[test]
fn r1() {
    for case in cases("r1") {
        check(&case, |g, ins| {
            let score = critic(g, case.string("act"), ins, ins["real"]);
            let d = grad_or_zeros(g, score, None, &[ins["real"]])[0];
            let sq = squared_norm(g, d);
            let m = g.mean(sq, &[0]);
            let r = g.scale(m, case.number("gamma") / 2.0);
            vec![out("r1", g.reshape(r, &[]))]
        });
    }
}

#[test]
fn r1_batchnorm() {
    for case in cases("r1_batchnorm") {
        check(&case, |g, ins| {
            let x = ins["x"];
            let h = conv(g, x, ins["w1"], &[2, 2], &[1, 1]);
            let axes = [0, 2, 3];
            let mean = g.mean(h, &axes);
            let c = g.sub(h, mean);
            let c2 = g.mul(c, c);
            let var = g.mean(c2, &axes);
            let var = g.offset(var, 1e-5);
            let sd = g.unary(Unary::Sqrt, var);
            let y = g.div(c, sd);
            let gamma = g.reshape(ins["gamma"], &[1, 4, 1, 1]);
            let y = g.mul(y, gamma);
            let y = bias(g, y, ins["beta"]);
            let y = g.unary(Unary::Tanh, y);
            let (n, k) = (g.shape(y)[0], g.shape(ins["w2"])[1]);
            let y = g.reshape(y, &[n, k]);
            let y = g.contract(y, ins["w2"], ContractDims { batch: vec![], contracted: vec![(1, 1)] });
            let d = grad_or_zeros(g, y, None, &[x])[0];
            let sq = squared_norm(g, d);
            let m = g.mean(sq, &[0]);
            let r = g.scale(m, case.number("gamma") / 2.0);
            vec![out("r1", g.reshape(r, &[]))]
        });
    }
}

/// linear-tanh-linear with parameters `[w1, b1, w2, b2]`.
fn two_layers(g: &mut Graph, x: NodeId, p: &[NodeId]) -> NodeId {
    let dims = ContractDims { batch: vec![], contracted: vec![(1, 1)] };
    let h = g.contract(x, p[0], dims.clone());
    let h = bias(g, h, p[1]);
    let h = g.unary(Unary::Tanh, h);
    let y = g.contract(h, p[2], dims);
    bias(g, y, p[3])
}

fn mean_all(g: &mut Graph, x: NodeId) -> NodeId {
    let count = g.ty(x).elements();
    let s = g.sum_all(x);
    g.scale(s, 1.0 / count as f64)
}

#[test]
fn unrolled() {
    for case in cases("unrolled").into_iter().chain(cases("unrolled_params")) {
        check(&case, |g, ins| {
            let gen_params = ["gw1", "gb1", "gw2", "gb2"].map(|n| ins[n]);
            let mut d = ["dw1", "db1", "dw2", "db2"].map(|n| ins[n]);
            let fake = two_layers(g, ins["z"], &gen_params);
            for _ in 0..case.number("K") as usize {
                let (real, generated) = (two_layers(g, ins["x"], &d), two_layers(g, fake, &d));
                let n = g.neg(real);
                let (a, b) = (softplus(g, n), softplus(g, generated));
                let (a, b) = (mean_all(g, a), mean_all(g, b));
                let loss = g.add(a, b);
                let grads = grad_or_zeros(g, loss, None, &d);
                for (p, dp) in d.iter_mut().zip(grads) {
                    let step = g.scale(dp, -case.number("lr"));
                    *p = g.add(*p, step);
                }
            }
            let s = two_layers(g, fake, &d);
            let n = g.neg(s);
            let l = softplus(g, n);
            let loss = mean_all(g, l);
            let names = ["dw1_K", "db1_K", "dw2_K", "db2_K"];
            names.iter().zip(d).map(|(n, p)| out(n, p)).chain([out("loss", loss)]).collect()
        });
    }
}
