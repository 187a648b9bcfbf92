//! Kernels that do several things with their sums, as CUDA text.

use crate::cuda::text::{lower, parts};
use crate::cuda_text::check_on;
use crate::executors::leaf;
use ganc::codegen::cuda::{Arch, Arg, Launch};
use ganc::graph::eval::Env;
use ganc::graph::{ConvGeom, Graph, Layout, NodeId, Unary};
use ganc::passes::{Options, Rounded, precision, run};

/// Convolutions of `channels` in a row, each normalised over its batch; of the second the mean's running average is
/// wanted too, of the third the variance's besides, of the fourth the sums as they are: no tail.
fn layers([n, channels, size]: [usize; 3], rounded: Option<Rounded>) -> (Graph, Env) {
    let geometry = ConvGeom {
        n,
        c: channels,
        o: channels,
        groups: 1,
        input: vec![size; 2],
        kernel: vec![3; 2],
        output: vec![size; 2],
        stride: vec![1; 2],
        pad: vec![1; 2],
        dilation: vec![1; 2],
        layout: Layout::ChannelsFirst,
    };
    let axes = [0, 2, 3];
    let (mut g, mut env) = (Graph::new(), Env::new());
    let mut x = leaf(&mut g, &mut env, "x", &geometry.x_shape());
    let average = |g: &mut Graph, env: &mut Env, name: &str, of: NodeId| {
        let old = leaf(g, env, name, &[1, channels, 1, 1]);
        let (old, new) = (g.scale(old, 0.9), g.scale(of, 0.1));
        let sum = g.add(old, new);
        g.output(format!("{name}.new"), sum);
    };
    for k in 0..4 {
        let w = leaf(&mut g, &mut env, &format!("w{k}"), &geometry.w_shape());
        let y = g.conv_fwd(x, w, geometry.clone().into());
        let mean = g.mean(y, &axes);
        let d = g.sub(y, mean);
        let square = g.mul(d, d);
        if k == 3 {
            let sums = [g.sum(y, &axes), g.sum(square, &axes)];
            g.output("y", y);
            g.output("sum", sums[0]);
            g.output("squares", sums[1]);
            break;
        }
        let variance = g.mean(square, &axes);
        if k >= 1 {
            average(&mut g, &mut env, &format!("mean{k}"), mean);
        }
        if k >= 2 {
            average(&mut g, &mut env, &format!("variance{k}"), variance);
        }
        let least = g.scalar(1e-2);
        let shifted = g.add(variance, least);
        let root = g.unary(Unary::Sqrt, shifted);
        let by = g.unary(Unary::Recip, root);
        let normal = g.mul(d, by);
        x = g.unary(Unary::Tanh, normal);
    }
    let g = if rounded.is_some() { precision(&g, &|_| rounded) } else { g };
    (run(g, &Options::default()), env)
}

/// Launches of kernels that have several tails.
fn tailed(g: &Graph, arch: Arch) -> Vec<Launch> {
    let module = lower(g, true, arch).2;
    let (_, kernels) = parts(&module);
    let several = |l: &&Launch| kernels.iter().any(|(name, k)| *name == l.kernel && k.contains("unsigned tail"));
    module.launches.iter().filter(several).cloned().collect()
}

#[test]
fn layers_that_differ_in_their_tails_have_one_kernel() {
    for (extents, rounded) in [([7, 33, 9], None), ([7, 64, 9], Some(Rounded::Bf16)), ([1, 31, 4], None)] {
        for arch in [Arch::Sm80, Arch::Sm90a] {
            let (g, env) = layers(extents, rounded);
            let launches = tailed(&g, arch);
            let report = format!("{extents:?} {arch:?}: {launches:?}");
            assert!(launches.len() == 4 && launches.iter().all(|l| l.kernel == launches[0].kernel), "{report}");
            let which = |l: &Launch| l.args.iter().find_map(|a| if let Arg::U32(n) = a { Some(*n) } else { None });
            let mut tails: Vec<Option<u32>> = launches.iter().map(which).collect();
            tails.sort_unstable();
            tails.dedup();
            assert!(tails.len() == 4 && !tails.contains(&None), "{report}");
            assert!(launches.iter().all(|l| l.args.len() == launches[0].args.len()), "{report}");
            check_on(arch, &[(g, env)], true, if rounded.is_some() { 6e-2 } else { 5e-5 });
        }
    }
}
