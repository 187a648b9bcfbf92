//! Launches that do the same several times, with other tensors: layers at several batches.

use crate::cuda::nvrtc;
use crate::cuda::text::{lower, parts};
use crate::cuda_text::{check_on, shown};
use crate::executors::leaf;
use ganc::codegen::cuda::{Arch, Arg, Launch, PLAN};
use ganc::grad::grad_or_zeros;
use ganc::graph::eval::Env;
use ganc::graph::{ConvGeom, Graph, Layout, Unary};
use ganc::passes::{Options, Rounded, precision, run};

const TARGETS: [(Arch, &str); 2] = [(Arch::Sm80, "sm_80"), (Arch::Sm90a, "sm_90a")];

fn finished(g: Graph, rounded: Option<Rounded>) -> Graph {
    let g = if rounded.is_some() { precision(&g, &|_| rounded) } else { g };
    run(g, &Options::default())
}

/// A hidden layer and an output at several batches, each with gradients of its own.
fn layers(rows: usize, widths: [usize; 3], batches: usize, rounded: Option<Rounded>) -> (Graph, Env) {
    let (mut g, mut env) = (Graph::new(), Env::new());
    let w = leaf(&mut g, &mut env, "w", &[widths[0], widths[1]]);
    let bias = leaf(&mut g, &mut env, "bias", &[1, widths[1]]);
    let v = leaf(&mut g, &mut env, "last", &[widths[1], widths[2]]);
    for k in 0..batches {
        let x = leaf(&mut g, &mut env, &format!("{}x", "_".repeat(k)), &[rows, widths[0]]);
        let h = g.matmul(x, w);
        let h = g.scale(h, 1.0 / widths[0] as f64);
        let h = g.add(h, bias);
        let h = g.unary(Unary::Tanh, h);
        let y = g.matmul(h, v);
        let y = g.scale(y, 1.0 / widths[1] as f64);
        let square = g.mul(y, y);
        let loss = g.mean(square, &[0, 1]);
        let loss = g.reshape(loss, &[]);
        g.output(format!("y{k}"), y);
        for (i, d) in grad_or_zeros(&mut g, loss, None, &[x, w, bias, v]).into_iter().enumerate() {
            // Of the size of the others.
            let d = g.scale(d, rows as f64);
            g.output(format!("d{k}.{i}"), d);
        }
    }
    (finished(g, rounded), env)
}

/// A convolution at several batches, with sums over all but channels of its result and of what it reads, and gradients.
fn convolutions(geometry: &ConvGeom, batches: usize, rounded: Option<Rounded>) -> (Graph, Env) {
    let (mut g, mut env) = (Graph::new(), Env::new());
    let w = leaf(&mut g, &mut env, "w", &geometry.w_shape());
    for k in 0..batches {
        let x = leaf(&mut g, &mut env, &format!("{}x", "_".repeat(k)), &geometry.x_shape());
        let y = g.conv_fwd(x, w, geometry.clone().into());
        let act = g.unary(Unary::Tanh, y);
        g.output(format!("act{k}"), act);
        let sum = g.sum(y, &[0, 2, 3]);
        g.output(format!("sum{k}"), sum);
        let both = g.mul(act, y);
        let sum = g.sum(both, &[0, 2, 3]);
        g.output(format!("both{k}"), sum);
        let loss = g.mean(act, &[0, 1, 2, 3]);
        let loss = g.reshape(loss, &[]);
        for (i, d) in grad_or_zeros(&mut g, loss, None, &[x, w]).into_iter().enumerate() {
            let d = g.scale(d, 100.0);
            g.output(format!("d{k}.{i}"), d);
        }
    }
    (finished(g, rounded), env)
}

fn geometry(n: usize, [c, o]: [usize; 2], size: usize, stride: usize) -> ConvGeom {
    let output = (size - 1) / stride + 1;
    ConvGeom {
        n,
        c,
        o,
        groups: 1,
        input: vec![size; 2],
        kernel: vec![3; 2],
        output: vec![output; 2],
        stride: vec![stride; 2],
        pad: vec![1; 2],
        dilation: vec![1; 2],
        layout: Layout::ChannelsFirst,
    }
}

/// Launches that are for several clusters which are alike.
fn twins(g: &Graph, arch: Arch) -> Vec<Launch> {
    let (_, plan, module) = lower(g, true, arch);
    assert!(plan.groups.iter().any(|t| t.twins.is_some()), "none are alike");
    module.launches.into_iter().filter(|l| l.kernel.contains("_twins")).collect()
}

/// Products, their gradients with sums in parts, and maps, of two and three batches and of odd extents.
#[test]
fn layers_at_several_batches_are_the_oracles() {
    let all = [layers(2100, [16, 256, 1], 2, None), layers(2100, [7, 251, 31], 3, None)];
    for arch in [Arch::Sm80, Arch::Sm90a] {
        for (g, _) in &all {
            let launches = twins(g, arch);
            assert!(launches.len() >= 3, "{launches:?}");
        }
        check_on(arch, &all, true, 2e-5);
    }
}

#[test]
fn layers_on_tensor_cores_are_the_oracles_but_for_rounding() {
    for (rounded, tolerance) in [(Rounded::Tf32, 2e-3), (Rounded::Bf16, 3e-2), (Rounded::F16, 5e-3)] {
        let all = [layers(2100, [32, 512, 8], 2, Some(rounded)), layers(4100, [7, 264, 1], 3, Some(rounded))];
        for arch in [Arch::Sm80, Arch::Sm90a] {
            assert!(all.iter().all(|(g, _)| !twins(g, arch).is_empty()), "{rounded:?}");
            check_on(arch, &all, true, tolerance);
        }
    }
}

/// Sums of columns in the kernels of products and in kernels of their own, whose last blocks add up: each batch has
/// counters of its own.
#[test]
fn statistics_of_several_batches_are_their_own() {
    for (rounded, tolerance) in [(None, 5e-5), (Some(Rounded::Bf16), 6e-2)] {
        let all = [
            convolutions(&geometry(31, [8, 9], 33, 1), 2, rounded),
            convolutions(&geometry(33, [7, 16], 41, 2), 3, rounded),
        ];
        for arch in [Arch::Sm80, Arch::Sm90a] {
            for (g, _) in &all {
                let counted = |l: &Launch| l.args.iter().any(|a| matches!(a, Arg::Scratch(_)));
                let launches = twins(g, arch);
                assert!(launches.iter().any(counted), "{rounded:?} {arch:?} {launches:?}");
            }
            check_on(arch, &all, true, tolerance);
        }
    }
}

/// What one batch's layer makes the other's reads: nothing to do at once.
#[test]
fn what_waits_for_another_is_no_twin_of_it() {
    let (mut g, mut env) = (Graph::new(), Env::new());
    let (x, w) = (leaf(&mut g, &mut env, "x", &[2100, 256]), leaf(&mut g, &mut env, "w", &[256, 256]));
    let mut at = x;
    for _ in 0..3 {
        let y = g.matmul(at, w);
        at = g.unary(Unary::Tanh, y);
    }
    g.output("y", at);
    assert!(lower(&g, true, Arch::Sm80).1.groups.iter().all(|t| t.twins.is_none()));
}

#[test]
fn twins_spill_no_registers() {
    let Some(nvrtc) = nvrtc::find() else { return };
    for (arch, target) in TARGETS {
        for rounded in [None, Some(Rounded::Tf32), Some(Rounded::Bf16)] {
            for g in [
                layers(2100, [64, 512, 40], 3, rounded).0,
                convolutions(&geometry(31, [8, 9], 33, 1), 2, rounded).0,
            ] {
                let (mut text, kernels) = parts(&lower(&g, true, arch).2);
                kernels.iter().for_each(|k| text.push_str(&k.1));
                let usage = nvrtc.compile(&text, target).unwrap_or_else(|e| panic!("{target}: {e}")).1;
                for u in usage {
                    assert_eq!(u.spilled, 0, "{target} {rounded:?}: {u:?}");
                }
            }
        }
    }
}

#[test]
fn twins_as_text() {
    let (mut g, mut env) = (Graph::new(), Env::new());
    let w = leaf(&mut g, &mut env, "w", &[1, 300]);
    for k in 0..2 {
        let x = leaf(&mut g, &mut env, &format!("{}x", "_".repeat(k)), &[2000, 300]);
        let y = g.mul(x, w);
        let sum = g.sum(y, &[1]);
        g.output(format!("sum{k}"), sum);
    }
    let (graph, plan, _) = lower(&g, true, Arch::Sm80);
    insta::with_settings!({snapshot_path => "snapshots/cuda", prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!("twins", format!("{}\n{}", plan.text(&graph, PLAN), shown(&g, Arch::Sm80)));
    });
}
