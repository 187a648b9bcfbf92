//! Variances in one pass, as CUDA text.

use crate::cuda::text::lower;
use crate::cuda_text::{check_on, shown};
use crate::executors::leaf;
use ganc::codegen::cuda::Arch;
use ganc::fuse::{Combine, Sink, Work};
use ganc::graph::eval::Env;
use ganc::graph::{ConvGeom, Graph, Layout, NodeId, Unary};
use ganc::passes::{Options, Rounded, precision, run};

/// What batch normalisation makes of a value over these axes.
fn normalised(g: &mut Graph, x: NodeId, axes: &[usize]) -> NodeId {
    let mean = g.mean(x, axes);
    let d = g.sub(x, mean);
    let square = g.mul(d, d);
    let variance = g.mean(square, axes);
    let least = g.scalar(1e-3);
    let shifted = g.add(variance, least);
    let root = g.unary(Unary::Sqrt, shifted);
    let by = g.unary(Unary::Recip, root);
    g.output("mean", mean);
    g.output("variance", variance);
    g.mul(d, by)
}

/// Reductions that keep means, in a plan.
fn deviations(g: &Graph) -> usize {
    let plan = lower(g, true, Arch::Sm80).1;
    let sinks = |w: &Work| match w {
        Work::Loops(body) | Work::Contract { epilogue: Some(body), .. } => body.sinks.clone(),
        Work::Contract { .. } | Work::Gather { .. } | Work::Scatter { .. } | Work::Fold { .. } => vec![],
    };
    let all = plan.clusters.clusters.iter().flat_map(|c| sinks(&c.work));
    all.filter(|s| matches!(s, Sink::Reduce { combine: Combine::Deviation, .. })).count()
}

/// Numbers about `about`, normalised over axes.
fn loops(shape: &[usize], axes: &[usize], about: f64) -> (Graph, Env) {
    let (mut g, mut env) = (Graph::new(), Env::new());
    let x = leaf(&mut g, &mut env, "x", shape);
    let at = g.scalar(about);
    let x = g.add(x, at);
    let y = normalised(&mut g, x, axes);
    g.output("y", y);
    (run(g, &Options::default()), env)
}

/// Whole tensors, rows, columns and what lies between; several blocks for one result; counts of 1, and of a power of two
/// less one; means many times as large as distances from them.
#[test]
fn variances_of_tensors_are_the_oracles() {
    let cases: [(&[usize], &[usize]); 8] = [
        (&[5, 7, 31, 33], &[0, 2, 3]),
        (&[70_001], &[0]),
        (&[150, 257], &[1]),
        (&[20_000, 3], &[0]),
        (&[2, 40, 52], &[2]),
        (&[3, 4], &[0]),
        (&[2, 3, 7], &[0, 1, 2]),
        (&[4, 1, 5], &[1]),
    ];
    for about in [0.0, 30.0] {
        let all: Vec<(Graph, Env)> = cases.iter().map(|(shape, axes)| loops(shape, axes, about)).collect();
        assert!(all[..7].iter().all(|(g, _)| deviations(g) == 1));
        // What is added loses as many digits.
        check_on(Arch::Sm80, &all, true, if about > 0.0 { 2e-4 } else { 2e-5 });
    }
}

/// A convolution with a bias, normalised: its kernel has both sums.
fn convolution(geometry: &ConvGeom, rounded: Option<Rounded>, bias: bool) -> (Graph, Env) {
    let (mut g, mut env) = (Graph::new(), Env::new());
    let (x, w) =
        (leaf(&mut g, &mut env, "x", &geometry.x_shape()), leaf(&mut g, &mut env, "ww", &geometry.w_shape()));
    let mut y = g.conv_fwd(x, w, geometry.clone().into());
    if bias {
        let bias = leaf(&mut g, &mut env, "bias", &[1, geometry.o, 1, 1]);
        y = g.add(y, bias);
    }
    let n = normalised(&mut g, y, &[0, 2, 3]);
    let act = g.unary(Unary::Tanh, n);
    g.output("act", act);
    let g = if rounded.is_some() { precision(&g, &|_| rounded) } else { g };
    (run(g, &Options::default()), env)
}

#[test]
fn variances_of_products_are_made_by_their_kernels() {
    let geometry = |n, [c, o]: [usize; 2], size: usize, kernel: usize| ConvGeom {
        n,
        c,
        o,
        groups: 1,
        input: vec![size; 2],
        kernel: vec![kernel; 2],
        output: vec![size; 2],
        stride: vec![1; 2],
        pad: vec![kernel / 2; 2],
        dilation: vec![1; 2],
        layout: Layout::ChannelsFirst,
    };
    let all = [geometry(7, [5, 33], 9, 3), geometry(31, [16, 70], 7, 1), geometry(1, [3, 130], 4, 3)];
    for (rounded, tolerance) in [(None, 5e-5), (Some(Rounded::Tf32), 5e-3), (Some(Rounded::Bf16), 6e-2)] {
        for arch in [Arch::Sm80, Arch::Sm90a] {
            let cases: Vec<(Graph, Env)> =
                all.iter().flat_map(|c| [true, false].map(|bias| convolution(c, rounded, bias))).collect();
            for (g, _) in &cases {
                assert_eq!(deviations(g), 1, "{rounded:?}");
                // The product, what stands before it, and the map that normalises.
                let launches = lower(g, true, arch).2.launches;
                let reductions = launches.iter().filter(|l| l.kernel.contains("reduce")).count();
                assert_eq!(reductions, 0, "{rounded:?}: {launches:?}");
            }
            check_on(arch, &cases, true, tolerance);
        }
    }
}

#[test]
fn a_variance_as_text() {
    let g = loops(&[40, 6], &[0], 0.0).0;
    insta::with_settings!({snapshot_path => "snapshots/cuda", prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!("variance", shown(&g, Arch::Sm80));
    });
}
