//! Launches that several clusters share, as CUDA text: chains of rows, small work side by side.

use crate::cuda::nvrtc;
use crate::cuda::text::{lower, parts};
use crate::cuda_text::{check, shown};
use crate::executors::leaf;
use ganc::codegen::cuda::{Arch, PLAN};
use ganc::grad::grad_or_zeros;
use ganc::graph::eval::Env;
use ganc::graph::{Graph, Type, Unary};
use ganc::passes::{Options, Rounded, precision, run};
use ganc::plan::group::{LONGEST, Strand};

/// A multi-layer perceptron of these widths with all its gradients; weights lie either way round.
fn network(rows: usize, widths: &[usize], rounded: Option<Rounded>) -> (Graph, Env) {
    let (mut g, mut env) = (Graph::new(), Env::new());
    let x = leaf(&mut g, &mut env, "x", &[rows, widths[0]]);
    let (mut at, mut leaves) = (x, vec![x]);
    for (i, pair) in widths.windows(2).enumerate() {
        let turned = i % 2 == 0;
        let shape = if turned { [pair[1], pair[0]] } else { [pair[0], pair[1]] };
        let w = leaf(&mut g, &mut env, &format!("w{i}"), &shape);
        let bias = leaf(&mut g, &mut env, &format!("bias{i}"), &[1, pair[1]]);
        let by = if turned { g.permute(w, &[1, 0]) } else { w };
        let y = g.matmul(at, by);
        let y = g.scale(y, 1.0 / pair[0] as f64);
        let y = g.add(y, bias);
        at = g.unary(Unary::Tanh, y);
        leaves.extend([w, bias]);
    }
    let square = g.mul(at, at);
    let loss = g.mean(square, &[0, 1]);
    let loss = g.reshape(loss, &[]);
    g.output("y", at);
    g.output("loss", loss);
    for (k, d) in grad_or_zeros(&mut g, loss, None, &leaves).into_iter().enumerate() {
        // Of the size of the others.
        let d = g.scale(d, rows as f64);
        g.output(format!("d{k}"), d);
    }
    let g = if rounded.is_some() { precision(&g, &|_| rounded) } else { g };
    (run(g, &Options::default()), env)
}

const NETWORKS: [(usize, &[usize]); 5] = [
    (8, &[2, 33, 7, 1]),
    (9, &[5, 128, 130, 1]),
    (31, &[256, 64, 1]),
    (33, &[1, 7, 31, 200, 4]),
    (130, &[16, 64, 64, 1]),
];

/// The most clusters that a block of a launch does one after the other.
fn stages(g: &Graph, arch: Arch) -> usize {
    let (_, plan, module) = lower(g, true, arch);
    assert!(!plan.groups.is_empty());
    module.launches.iter().map(|l| l.stages).max().unwrap_or(0)
}

#[test]
fn chains_of_rows_are_the_oracles() {
    let all: Vec<(Graph, Env)> = NETWORKS.iter().map(|n| network(n.0, n.1, None)).collect();
    for (g, (rows, widths)) in all.iter().map(|a| &a.0).zip(NETWORKS) {
        // Forward and backward, each layer a product at least; or in two parts, where an epilogue has sums of columns and
        // of everything, which no kernel by rows has.
        let (stages, layers) = (stages(g, Arch::Sm80), widths.len() - 1);
        let least = if widths[layers] == 1 { 2 * layers } else { layers };
        assert!(stages >= least, "{rows} rows of {widths:?}: {stages} stages");
    }
    check(&all, true, 2e-5);
}

#[test]
fn chains_on_tensor_cores_are_the_oracles_but_for_rounding() {
    for (rounded, tolerance) in [(Rounded::Tf32, 2e-3), (Rounded::Bf16, 3e-2), (Rounded::F16, 5e-3)] {
        let all: Vec<(Graph, Env)> = NETWORKS[1..4].iter().map(|n| network(n.0, n.1, Some(rounded))).collect();
        assert!(all.iter().all(|a| stages(&a.0, Arch::Sm80) > 3), "{rounded:?}");
        check(&all, true, tolerance);
    }
}

/// A chain that is cut where a product reads an operand of odd width many times, which is worth laying out anew: but it is
/// not there before the launch.
#[test]
fn what_a_launch_makes_is_not_packed_before_it() {
    check(&[network(600, &[1, 7, 201, 140], None)], true, 2e-5);
}

/// Layers enough for several kernels' parameters: no chain is longer than a kernel can be.
#[test]
fn long_chains_are_cut() {
    let widths = [8; 61];
    let (g, env) = network(16, &widths, None);
    let launches = lower(&g, true, Arch::Sm80).2.launches;
    assert!(launches.iter().all(|l| l.stages <= LONGEST && l.args.len() <= 512), "{launches:?}");
    assert!(launches.iter().any(|l| l.stages == LONGEST) && launches.len() < 20, "{} launches", launches.len());
    check(&[(g, env)], true, 2e-5);
}

/// Extents of nothing are planned as everything else.
#[test]
fn no_rows_are_no_chain() {
    let mut g = Graph::new();
    let (x, w) = (g.input("x", Type::f32([0, 5])), g.param("w", &[5, 3]));
    let y = g.unary(Unary::Tanh, x);
    let z = g.matmul(y, w);
    let z = g.unary(Unary::Tanh, z);
    g.output("y", y);
    g.output("z", z);
    lower(&g, true, Arch::Sm80);
}

/// Each tile of chains and of shared launches, with registers as they come out among other stages.
#[test]
fn shared_kernels_spill_no_registers() {
    let Some(nvrtc) = nvrtc::find() else { return };
    for (arch, target) in [(Arch::Sm80, "sm_80"), (Arch::Sm90a, "sm_90a")] {
        for rounded in [None, Some(Rounded::Tf32), Some(Rounded::Bf16)] {
            let (_, _, module) = lower(&network(512, &[256, 128, 128, 2], rounded).0, true, arch);
            let (mut text, kernels) = parts(&module);
            kernels.iter().for_each(|k| text.push_str(&k.1));
            let usage = nvrtc.compile(&text, target).unwrap_or_else(|e| panic!("{target}: {e}")).1;
            for u in usage {
                assert_eq!(u.spilled, 0, "{target} {rounded:?}: {u:?}");
            }
        }
    }
}

/// Two layers forward, with another sum beside them.
fn small() -> Graph {
    let mut g = Graph::new();
    let x = g.input("x", Type::f32([9, 2]));
    let mut y = x;
    for (i, shape) in [[2, 4], [4, 1]].into_iter().enumerate() {
        let (w, bias) = (g.param(format!("w{i}"), &shape), g.param(format!("bias{i}"), &[1, shape[1]]));
        let product = g.matmul(y, w);
        let sum = g.add(product, bias);
        y = g.unary(Unary::Tanh, sum);
    }
    g.output("y", y);
    let sum = g.sum(x, &[0]);
    g.output("sum", sum);
    g
}

#[test]
fn a_chain_as_text() {
    let g = small();
    let (graph, plan, _) = lower(&g, true, Arch::Sm80);
    insta::with_settings!({snapshot_path => "snapshots/cuda", prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!("chain", format!("{}\n{}", plan.text(&graph, PLAN), shown(&g, Arch::Sm80)));
    });
}

#[test]
fn plans_whose_strands_know_of_each_other_are_refused() {
    let (_, plan, _) = lower(&small(), true, Arch::Sm80);
    assert_eq!(plan.verify(), Ok(()));
    let refused = |change: &dyn Fn(&mut Vec<Strand>)| {
        let mut plan = plan.clone();
        change(&mut plan.groups[0].strands);
        plan.verify().expect_err("a broken plan")
    };
    let chain = plan.groups[0].strands.iter().position(|s| s.rows.is_some()).expect("a chain");
    // A layer in blocks of its own reads what other blocks write.
    let e = refused(&|strands| {
        let last = strands[chain].clusters.pop().expect("two layers");
        strands.push(Strand { rows: None, clusters: vec![last] });
    });
    assert!(e.contains("which another block of its launch writes"), "{e}");
    let e = refused(&|strands| strands[chain].clusters.reverse());
    assert!(e.contains("out of order"), "{e}");
    let e = refused(&|strands| strands.truncate(1));
    assert!(e.contains("neighbours"), "{e}");
}
