//! Products with epilogues: what is fused, and that it changes no result.

use crate::executors::{check, check_like, leaf, run};
use ganc::exec::cpu::{CpuOptions, Isa};
use ganc::fuse::{Body, FuseOptions, Sink, Work, fuse};
use ganc::graph::eval::Env;
use ganc::graph::{Binary, ContractDims, ConvGeom, Graph, Layout, NodeId};
use ganc::passes::layout::layout;

const UNFUSED: CpuOptions = CpuOptions { threads: 1, fuse: false, isa: None, profile: false, memory: None };
const FUSED: CpuOptions = CpuOptions { fuse: true, ..UNFUSED };

/// The epilogues of a graph's products, `None` for products without one.
fn epilogues(g: &Graph) -> Vec<Option<Body>> {
    let g = layout(g);
    let clusters = fuse(&g, FuseOptions::CPU);
    let one = |w: &Work| match w {
        Work::Contract { epilogue, .. } => Some(epilogue.clone()),
        Work::Loops(_) | Work::Gather { .. } | Work::Scatter { .. } | Work::Fold { .. } => None,
    };
    clusters.clusters.iter().filter_map(|c| one(&c.work)).collect()
}

fn agrees(g: &Graph, env: &Env) {
    for isa in Isa::available() {
        check(g, env, CpuOptions { isa: Some(isa), ..FUSED }, 5e-6);
    }
    check(g, env, UNFUSED, 5e-6);
    let one = run(g, env, FUSED);
    for threads in [2, 3] {
        assert_eq!(run(g, env, CpuOptions { threads, ..FUSED }), one, "{threads} threads");
    }
}

/// What networks do with a product: a bias along `axis`, a leaky ReLU, a tensor that is added, the mean and the
/// squares of each channel, and a number for the whole batch.
fn dress(g: &mut Graph, env: &mut Env, y: NodeId, axis: usize) {
    let shape = g.shape(y).to_vec();
    let mut along = vec![1; shape.len()];
    along[axis] = shape[axis];
    let bias = leaf(g, env, "bias", &along);
    let other = leaf(g, env, "skip", &shape);
    let z = g.add(y, bias);
    let low = g.scale(z, 0.2);
    let act = g.binary(Binary::Max, z, low);
    let sum = g.add(act, other);
    g.output("activated", sum);
    let axes: Vec<usize> = (0..shape.len()).filter(|&a| a != axis).collect();
    let mean = g.mean(z, &axes);
    g.output("mean", mean);
    let square = g.mul(sum, sum);
    let squares = g.sum(square, &axes);
    g.output("squares", squares);
    let most = g.max_reduce(sum, &axes);
    g.output("most", most);
    let all = g.sum_all(sum);
    g.output("all", all);
}

const EXTENTS: [usize; 4] = [1, 7, 31, 33];

#[test]
fn matrix_products_with_what_follows() {
    for m in EXTENTS {
        for n in EXTENTS {
            let (mut g, mut env) = (Graph::new(), Env::new());
            let a = leaf(&mut g, &mut env, "a", &[m, 33]);
            let b = leaf(&mut g, &mut env, "bb", &[33, n]);
            let y = g.matmul(a, b);
            dress(&mut g, &mut env, y, 1);
            if m > 1 && n > 1 {
                let all = epilogues(&g);
                assert_eq!(all.len(), 1);
                let body = all[0].as_ref().expect("an epilogue");
                assert_eq!(body.domain, [m, n]);
                let sums = body.sinks.iter().filter(|s| matches!(s, Sink::Reduce { .. })).count();
                assert_eq!((body.sinks.len(), sums), (5, 4), "the product itself needs no memory:\n{body}");
            }
            agrees(&g, &env);
        }
    }
}

/// Wide enough for several columns of blocks and rows longer than a tile; batches.
#[test]
fn large_and_batched_products() {
    for (batch, m, k, n) in [(1, 40, 70, 1500), (1, 300, 64, 300), (5, 33, 31, 7), (3, 70, 20, 290)] {
        let (mut g, mut env) = (Graph::new(), Env::new());
        let a = leaf(&mut g, &mut env, "a", &[batch, m, k]);
        let b = leaf(&mut g, &mut env, "bb", &[batch, k, n]);
        let dims = ContractDims { batch: vec![(0, 0)], contracted: vec![(2, 1)] };
        let y = g.contract(a, b, dims);
        dress(&mut g, &mut env, y, 2);
        assert!(epilogues(&g)[0].is_some());
        agrees(&g, &env);
    }
}

/// A square convolution that keeps the image's size but for its stride.
pub fn geometry(
    n: usize,
    c: usize,
    o: usize,
    size: usize,
    kernel: usize,
    stride: usize,
    groups: usize,
) -> ConvGeom {
    let pad = kernel / 2;
    let output = (size + 2 * pad - kernel) / stride + 1;
    ConvGeom {
        n,
        c,
        o,
        groups,
        input: vec![size; 2],
        kernel: vec![kernel; 2],
        output: vec![output; 2],
        stride: vec![stride; 2],
        pad: vec![pad; 2],
        dilation: vec![1; 2],
        layout: Layout::ChannelsFirst,
    }
}

/// All ways in which a convolution is computed: gathered rows of images and of pixels, folds (few channels), streamed
/// weights (few images), flat (a kernel as large as its input), groups, strides.
#[test]
fn convolutions_with_what_follows() {
    let mut cases = vec![];
    for (n, c, o) in [(1, 1, 7), (7, 3, 31), (7, 33, 31), (2, 31, 1), (33, 7, 33), (2, 128, 130)] {
        for (size, kernel, stride) in [(7, 4, 2), (9, 3, 1), (5, 1, 1), (4, 4, 4)] {
            cases.push(geometry(n, c, o, size, kernel, stride, 1));
        }
    }
    cases.push(geometry(7, 6, 10, 9, 3, 2, 2));
    cases.push(geometry(3, 8, 8, 9, 3, 1, 8));
    for whole in [(3, 40, 5), (9, 31, 33)] {
        let c = ConvGeom { pad: vec![0; 2], output: vec![1; 2], ..geometry(whole.0, whole.1, whole.2, 4, 4, 1, 1) };
        cases.push(c);
    }
    for geometry in cases {
        for role in ["forward", "data", "weight"] {
            let (mut g, mut env) = (Graph::new(), Env::new());
            let shapes = [geometry.x_shape(), geometry.w_shape(), geometry.y_shape()];
            let mut tensor = |name: &str, i: usize| leaf(&mut g, &mut env, name, &shapes[i]);
            let (y, axis) = match role {
                "forward" => {
                    let (x, w) = (tensor("x", 0), tensor("ww", 1));
                    (g.conv_fwd(x, w, geometry.clone().into()), 1)
                }
                "data" => {
                    let (d, w) = (tensor("x", 2), tensor("ww", 1));
                    (g.conv_data_grad(d, w, geometry.clone().into()), 1)
                }
                _ => {
                    let (x, d) = (tensor("x", 0), tensor("ww", 2));
                    (g.conv_weight_grad(x, d, geometry.clone().into()), 0)
                }
            };
            if role == "weight" {
                // An update in place: nothing but the new value and a norm leave the kernel.
                let w = leaf(&mut g, &mut env, "w", &shapes[1]);
                let step = g.scale(y, -0.1);
                let new = g.add(w, step);
                g.output("new", new);
                let square = g.mul(y, y);
                let norm = g.sum_all(square);
                g.output("norm", norm);
            } else {
                dress(&mut g, &mut env, y, axis);
            }
            if g.ty(y).elements() > 1 {
                assert!(epilogues(&g)[0].is_some(), "{role} of {geometry:?}");
            }
            agrees(&g, &env);
        }
    }
}

/// What a product must not take in: results that it would have to wait for, and values of single samples of an image.
#[test]
fn what_stays_outside() {
    let (mut g, mut env) = (Graph::new(), Env::new());
    let a = leaf(&mut g, &mut env, "a", &[33, 31]);
    let b = leaf(&mut g, &mut env, "bb", &[31, 33]);
    let y = g.matmul(a, b);
    let mean = g.mean(y, &[0]);
    let centred = g.sub(y, mean);
    g.output("centred", centred);
    let turned = g.permute(y, &[1, 0]);
    let symmetric = g.add(y, turned);
    g.output("symmetric", symmetric);
    let sums = g.sum(y, &[1]);
    g.output("sums", sums);
    let all = epilogues(&g);
    let body = all[0].as_ref().expect("the mean over rows");
    let sums = body.sinks.iter().filter(|s| matches!(s, Sink::Reduce { axes, .. } if *axes == [0])).count();
    assert_eq!((body.sinks.len(), sums), (2, 1), "the mean, and the product itself:\n{body}");
    agrees(&g, &env);

    // One number a sample is no form of (pixel, channel) as rows and columns.
    let (mut g, mut env) = (Graph::new(), Env::new());
    let geometry = geometry(7, 3, 5, 9, 3, 1, 1);
    let x = leaf(&mut g, &mut env, "x", &geometry.x_shape());
    let w = leaf(&mut g, &mut env, "ww", &geometry.w_shape());
    let s = leaf(&mut g, &mut env, "s", &[7, 1, 1, 1]);
    let y = g.conv_fwd(x, w, geometry.into());
    let scaled = g.mul(y, s);
    g.output("scaled", scaled);
    assert_eq!(epilogues(&g), [None]);
    agrees(&g, &env);
}

/// A product over nothing is zero, and its epilogue runs all the same.
#[test]
fn products_over_nothing() {
    let (mut g, mut env) = (Graph::new(), Env::new());
    let a = leaf(&mut g, &mut env, "a", &[7, 0]);
    let b = leaf(&mut g, &mut env, "bb", &[0, 5]);
    let y = g.matmul(a, b);
    dress(&mut g, &mut env, y, 1);
    agrees(&g, &env);
}

/// What a device's products compute as they load: the same numbers, and no memory for the operand.
#[test]
fn operands_computed_on_the_way() {
    for n in EXTENTS {
        let (mut g, mut env) = (Graph::new(), Env::new());
        let x = leaf(&mut g, &mut env, "x", &[n, 3, 9, 9]);
        let scale = leaf(&mut g, &mut env, "scale", &[1, 3, 1, 1]);
        let w = leaf(&mut g, &mut env, "ww", &[7, 3, 3, 3]);
        let zero = g.zeros_like(x);
        let h = g.mul(x, scale);
        let h = g.binary(Binary::Max, h, zero);
        let y = g.conv_fwd(h, w, geometry(n, 3, 7, 9, 3, 2, 1).into());
        let d = g.conv_weight_grad(h, y, geometry(n, 3, 7, 9, 3, 2, 1).into());
        g.output("d", d);
        let a = leaf(&mut g, &mut env, "a", &[n, 31]);
        let half = g.scale(a, 0.5);
        let turned = g.permute(half, &[1, 0]);
        let gram = g.matmul(turned, half);
        let plain = leaf(&mut g, &mut env, "p", &[31, 5]);
        let double = g.offset(plain, 2.0);
        let z = g.matmul(gram, double);
        g.output("z", z);
        let last = layout(&g);
        let fused = fuse(&last, FuseOptions::PROLOGUES);
        let computed = |w: &Work| match w {
            Work::Contract { lhs, rhs, .. } => [lhs, rhs].iter().filter(|o| o.stored().is_none()).count(),
            Work::Loops(_) | Work::Gather { .. } | Work::Scatter { .. } | Work::Fold { .. } => 0,
        };
        let all: usize = fused.clusters.iter().map(|c| computed(&c.work)).sum();
        assert!(all >= 3, "{}", fused.text(&last));
        check_like(&g, &env, FUSED, FuseOptions::PROLOGUES, 5e-6);
        check(&g, &env, FUSED, 5e-6);
    }
}

/// A sum of the product itself, beside a value that takes its place in memory.
#[test]
fn the_element_is_read_before_it_is_replaced() {
    for m in [1, 7] {
        let (mut g, mut env) = (Graph::new(), Env::new());
        let a = leaf(&mut g, &mut env, "a", &[m, 5]);
        let b = leaf(&mut g, &mut env, "bb", &[5, 3]);
        let y = g.matmul(a, b);
        let double = g.add(y, y);
        g.output("double", double);
        let sum = g.sum_all(y);
        g.output("sum", sum);
        let body = epilogues(&g)[0].clone().expect("an epilogue");
        assert_eq!(body.sinks.len(), 2);
        agrees(&g, &env);
    }
}
