//! The CUDA text of plans, checked without a GPU: run on the CPU against the oracle, compiled by NVRTC, and read.

use crate::cuda::emulate::{
    Binary, Call, Emulated, Options, PLAIN, Program, Region, STRICT, compile_all, encode, prefix,
};
use crate::cuda::text::{lower, parts};
use crate::executors::{compare, leaf, noises, reductions};
use crate::random::{ALL, Allow, build, fixed_decisions};
use ganc::codegen::cuda::{Arch, KERNEL, Module, PRELUDE};
use ganc::grad::grad_or_zeros;
use ganc::graph::eval::Env;
use ganc::graph::{Binary as Op2, ConvGeom, DType, Dist, Graph, HostTensor, Layout, Name, Unary, philox, text};
use std::collections::BTreeMap;

/// Rounding to halves is seen in any later `floor`; the oracle rounds elsewhere.
const EXACT: Allow = Allow { halves: false, ..ALL };

/// One run of a graph with these leaves.
fn run(p: &Program, env: &Env, options: Options) -> Vec<(Name, HostTensor)> {
    let mut device = Emulated::new(options);
    for (name, t) in env.params.iter().chain(&env.states) {
        device.put(name, t.ty.clone(), &t.data);
    }
    let inputs: Vec<(Name, HostTensor)> =
        env.inputs.iter().map(|(n, t)| (n.clone(), crate::executors::host(t))).collect();
    let refs: Vec<(&str, &HostTensor)> = inputs.iter().map(|(n, t)| (&**n, t)).collect();
    device.step(p, &refs).unwrap_or_else(|e| panic!("{e}"))
}

/// Runs graphs in the plan's arena with threads in order, and apart in random order: the same bits, the oracle's
/// values.
pub fn check(cases: &[(Graph, Env)], fuse: bool, tolerance: f64) {
    check_on(Arch::Sm80, cases, fuse, tolerance);
}

/// The same with the kernels of an architecture.
pub fn check_on(arch: Arch, cases: &[(Graph, Env)], fuse: bool, tolerance: f64) {
    let graphs: Vec<&Graph> = cases.iter().map(|c| &c.0).collect();
    let programs = compile_all(&graphs, Options { fuse, arch, ..PLAIN });
    for (p, (g, env)) in programs.iter().zip(cases) {
        let report = |what: &str| format!("{what}, fused: {fuse}\n{}", text::print(g));
        let plain = run(p, env, Options { fuse, arch, ..PLAIN });
        compare(g, env, &plain, tolerance, &|| report("in the arena"));
        let strict = run(p, env, Options { fuse, arch, ..STRICT });
        assert_eq!(plain, strict, "{}", report("another order of threads gives other bits"));
    }
}

#[test]
fn random_graphs_are_the_oracles() {
    let case = |seed: u32| {
        let r = build(&fixed_decisions(seed, 20 + seed as usize % 60), EXACT);
        (r.graph, r.env)
    };
    check(&(0..40).map(case).collect::<Vec<_>>(), true, 2e-5);
    check(&(40..60).map(case).collect::<Vec<_>>(), false, 2e-5);
}

#[test]
fn gradients_of_random_graphs_are_the_oracles() {
    let case = |seed: u32| {
        let mut r = build(&fixed_decisions(seed, seed as usize - 60), EXACT);
        let g = &mut r.graph;
        let loss = g.outputs.last().expect("a loss").1;
        for (k, d) in grad_or_zeros(g, loss, None, &r.leaves).into_iter().enumerate() {
            g.output(format!("d{k}"), d);
        }
        let joined = ganc::passes::resample_worth(&r.graph, 0);
        (ganc::passes::run(joined, &ganc::passes::Options::default()), r.env)
    };
    check(&(100..124).map(case).collect::<Vec<_>>(), true, 2e-5);
}

#[test]
fn file_tests_run() {
    let mut graphs = vec![];
    for (file, source) in crate::filetests::files() {
        let case = crate::filetests::parse(&source);
        graphs.push((file, case));
    }
    let programs = compile_all(&graphs.iter().map(|c| &c.1.graph).collect::<Vec<_>>(), PLAIN);
    for (p, (file, case)) in programs.iter().zip(&graphs) {
        for (env, want) in &case.runs {
            for options in [PLAIN, STRICT] {
                let got: BTreeMap<String, Vec<f64>> =
                    run(p, env, options).into_iter().map(|(n, t)| (n.to_string(), t.to_f64())).collect();
                crate::filetests::check(&format!("{file} as CUDA text"), &got, want, 1e-6);
            }
        }
    }
}

/// Reductions over each set of axes of tensors large enough for several blocks, beside elementwise results.
#[test]
fn large_reductions() {
    let shapes =
        [vec![70_001], vec![150, 257], vec![20_000, 3], vec![5, 40, 52], vec![5, 13, 11, 7], vec![33, 31, 8]];
    check(&shapes.map(|s| reductions(&s)), true, 2e-6);
    check(&[reductions(&[31, 33]), reductions(&[7, 1, 130])], false, 2e-6);
}

/// Bias, leaky ReLU, sums of the result over all axes but `kept`, and a map over them: one kernel, whose last blocks add
/// up.
#[test]
fn reductions_of_products_need_no_other_kernel() {
    let mut cases = vec![];
    let strided = ConvGeom {
        n: 3,
        c: 5,
        o: 20,
        groups: 1,
        input: vec![9; 2],
        kernel: vec![4; 2],
        output: vec![4; 2],
        stride: vec![2; 2],
        pad: vec![1; 2],
        dilation: vec![1; 2],
        layout: Layout::ChannelsLast,
    };
    for (m, k, n) in [(70, 33, 20), (40, 6000, 36), (300, 128, 2), (1, 200, 128), (600, 1, 130)] {
        for kept in [Some(1), None] {
            let (mut g, mut env) = (Graph::new(), Env::new());
            let (a, b) = (leaf(&mut g, &mut env, "a", &[m, k]), leaf(&mut g, &mut env, "bb", &[k, n]));
            let y = g.matmul(a, b);
            cases.push((g, env, y, kept));
        }
    }
    for kept in [Some(3), None] {
        let (mut g, mut env) = (Graph::new(), Env::new());
        let d = leaf(&mut g, &mut env, "d", &strided.y_shape());
        let w = leaf(&mut g, &mut env, "ww", &strided.w_shape());
        let y = g.conv_data_grad(d, w, strided.clone().into());
        cases.push((g, env, y, kept));
    }
    let mut all = vec![];
    for (mut g, mut env, y, kept) in cases {
        let shape = g.shape(y).to_vec();
        let mut along = vec![1; shape.len()];
        along[shape.len() - 1] = shape[shape.len() - 1];
        let bias = leaf(&mut g, &mut env, "bias", &along);
        let z = g.add(y, bias);
        let low = g.scale(z, 0.2);
        let act = g.binary(Op2::Max, z, low);
        g.output("act", act);
        let axes: Vec<usize> = (0..shape.len()).filter(|&a| Some(a) != kept).collect();
        let sum = g.sum(z, &axes);
        g.output("sum", sum);
        let most = g.max_reduce(act, &axes);
        g.output("most", most);
        // A map over both, which the block that ends them does, and what reads it.
        let scaled = g.scale(sum, 0.5);
        let wave = g.unary(Unary::Sin, scaled);
        let both = g.add(wave, most);
        let extents = g.shape(both).to_vec();
        let mine = leaf(&mut g, &mut env, "mine", &extents);
        let both = g.mul(both, mine);
        g.output("both", both);
        let launches = lower(&g, true, Arch::Sm80).2.launches;
        let names: Vec<&str> = launches.iter().map(|l| l.kernel.as_str()).collect();
        let packed = names.iter().filter(|n| n.ends_with("pack")).count();
        assert_eq!(names.len(), 1 + packed, "{shape:?} {kept:?}: {names:?}");
        all.push((g, env));
    }
    check(&all, true, 1e-4);
}

/// Weights that three products read, one of them after they were replaced in their own memory: operands are packed once
/// for each value and far from where they are read, and each product sees the value that is its own.
#[test]
fn packed_operands_are_those_of_their_own_value() {
    let geometry = ConvGeom {
        n: 16,
        c: 16,
        o: 48,
        groups: 1,
        input: vec![20; 2],
        kernel: vec![3; 2],
        output: vec![20; 2],
        stride: vec![1; 2],
        pad: vec![1; 2],
        dilation: vec![1; 2],
        // Not the layout pass has turned the images: weights stay as they are.
        layout: Layout::ChannelsLast,
    };
    let (mut g, mut env) = (Graph::new(), Env::new());
    let w = leaf(&mut g, &mut env, "w", &geometry.w_shape());
    let x = leaf(&mut g, &mut env, "x", &geometry.x_shape());
    let y = g.conv_fwd(x, w, geometry.clone().into());
    // What the new weights are made of reads the old ones after a product has: they are replaced late, and in place.
    let half = g.scale(y, 0.5);
    let d = g.conv_weight_grad(x, half, geometry.clone().into());
    let step = g.scale(d, -1e-4);
    let next = g.add(w, step);
    let back = g.conv_data_grad(half, w, geometry.clone().into());
    let z = g.conv_fwd(x, next, geometry.clone().into());
    let again = g.conv_fwd(back, w, geometry.clone().into());
    g.output("z", z);
    g.output("again", again);
    g.output("param:w", next);
    for arch in [Arch::Sm80, Arch::Sm90a] {
        let launches = lower(&g, true, arch).2.launches;
        let packs: Vec<_> = launches.iter().filter(|l| l.kernel.ends_with("pack")).collect();
        assert!(!packs.is_empty() && packs.len() < 4, "{packs:?}");
    }
    check(&[(g, env)], true, 1e-4);
}

#[test]
fn noise_is_the_graphs() {
    let (g, env) = noises();
    check(&[(g.clone(), env.clone())], true, 2e-6);
    // Words and uniform numbers to the bit, alone and four at a time.
    let mut g = Graph::new();
    let key = g.input("seed", ganc::graph::Type::u32([2]));
    let step = g.input("iteration", ganc::graph::Type::u32([]));
    let shapes = [vec![5, 7], vec![3, 31, 33], vec![64, 128], vec![2, 4098], vec![5000]];
    for (i, shape) in shapes.iter().enumerate() {
        for dist in [Dist::Bits, Dist::Uniform, Dist::Normal] {
            let z = g.random(i as u64 * 77 + 0x1_0000_0001, dist, key, step, shape);
            g.output(format!("{dist:?}{i}"), z);
        }
    }
    let p = &compile_all(&[&g], PLAIN)[0];
    for (name, got) in run(p, &env, PLAIN) {
        let (dist, i) = name.split_at(name.len() - 1);
        let i: usize = i.parse().expect("a number");
        let key = philox::stream_key([7, 9], i as u64 * 77 + 0x1_0000_0001);
        let each: usize = shapes[i].iter().skip(1).product();
        for (k, v) in got.to_f64().into_iter().enumerate() {
            let (s, e) = (k / each, k % each);
            let word = philox::word(key, 3, s, e);
            match dist {
                "Bits" => assert_eq!(v, f64::from(word), "{name}[{k}]"),
                "Uniform" => assert_eq!(v, philox::uniform(word), "{name}[{k}]"),
                _ => assert!((v - philox::normal(key, 3, s, e)).abs() < 2e-6, "{name}[{k}]"),
            }
        }
    }
}

/// Storage of every element type, one by one and in vectors; values are exact in all of them.
#[test]
fn element_types_keep_their_values() {
    let mut g = Graph::new();
    let mut env = Env::new();
    for n in [33usize, 4800, 4801] {
        let x = g.input(format!("x{n}"), ganc::graph::Type::f32([n]));
        let values: Vec<f64> = (0..n).map(|i| (i % 97) as f64 / 8.0 - 5.0).collect();
        env = env.input(format!("x{n}"), ganc::graph::eval::Tensor::f32(&[n], values));
        let mask = g.splat(1.0, ganc::graph::Type::f32([]));
        let mask = g.binary(ganc::graph::Binary::Lt, x, mask);
        g.output(format!("mask {n}"), mask);
        for dtype in [DType::F16, DType::Bf16, DType::U32] {
            let h = g.cast(x, dtype);
            g.output(format!("{} {n}", dtype.name()), h);
            let twice = g.add(h, h);
            let back = g.cast(twice, DType::F32);
            let chosen = g.select(mask, back, x);
            g.output(format!("chosen {} {n}", dtype.name()), chosen);
        }
    }
    check(&[(g, env)], false, 1e-7);
}

/// A module of one kernel that is wrong.
fn broken(text: &str) -> Result<Vec<Vec<u8>>, String> {
    broken_in(text, 1)
}

/// The same in a launch of some blocks.
fn broken_in(text: &str, blocks: u32) -> Result<Vec<Vec<u8>>, String> {
    let text = format!("{PRELUDE}{KERNEL}bad\nextern \"C\" __global__ void __launch_bounds__(64) bad({text}}}\n");
    let module = Module { text, launches: vec![], workspace: 0, products: vec![] };
    let binary = Binary::new(&[&module]);
    let x: Vec<f64> = (0..64).map(f64::from).collect();
    let regions = [Region { bytes: 256, data: encode(&x, DType::F32) }, Region { bytes: 256, data: vec![] }];
    let call = Call {
        kernel: prefix(0) + "bad",
        grid: [blocks, 1, 1],
        block: [64, 1, 1],
        shared: 256,
        args: vec![(0, 0), (1, 0)],
    };
    binary.run(5, &regions, &[call])
}

#[test]
fn the_shim_finds_what_is_wrong() {
    const ARRAY: &str = "extern __shared__ float ganc_shared[]; const int t = threadIdx.x;";
    let right = broken(&format!(
        "const float* x, float* y) {{ {ARRAY} ganc_shared[t] = x[t]; __syncthreads(); y[t] = ganc_shared[63 - t]; "
    ));
    let y = right.expect("nothing is wrong");
    assert_eq!(crate::cuda::emulate::decode(&y[1], DType::F32)[0], 63.0);
    // Without the barrier some thread reads what is not there yet.
    let race = broken(&format!(
        "const float* x, float* y) {{ {ARRAY} ganc_shared[t] = x[t]; y[t] = ganc_shared[63 - t]; "
    ));
    let seen = crate::cuda::emulate::decode(&race.expect("it ends")[1], DType::F32);
    assert!(seen.iter().any(|v| v.is_nan()), "{seen:?}");
    let said = |text: &str| broken(text).expect_err(text);
    let divergent = format!(
        "const float* x, float* y) {{ {ARRAY} if (t < 32) __syncthreads(); y[t] = x[t]; if (t >= 32)\n __syncthreads(); "
    );
    assert!(said(&divergent).contains("divergent"));
    let far = said("const float* x, float* y) { y[threadIdx.x] = x[threadIdx.x + 1]; ");
    assert!(far.contains("outside its tensors"), "{far}");
    let far = said("const float* x, float* y) { y[threadIdx.x + 8] = x[threadIdx.x]; ");
    assert!(far.contains("outside its tensors"), "{far}");
    let low = said("const float* x, float* y) { y[(int)threadIdx.x - 1] = x[threadIdx.x]; ");
    assert!(low.contains("wrote beside region 1"), "{low}");
    let past = said(&format!("const float* x, float* y) {{ {ARRAY} ganc_shared[t + 1] = x[t]; y[t] = x[t]; "));
    assert!(past.contains("past the 256 bytes"), "{past}");
    // One block writes what another one reads.
    let other = broken_in(
        "const float* x, float* y) { if (threadIdx.x < 32) y[threadIdx.x + 32 * blockIdx.x] = blockIdx.x ? y[threadIdx.x] : x[threadIdx.x]; ",
        2,
    );
    let seen = crate::cuda::emulate::decode(&other.expect("it ends")[1], DType::F32);
    assert!(seen[..32].iter().all(|v| !v.is_nan()) && seen[32..].iter().all(|v| v.is_nan()), "{seen:?}");
    let unwritten = broken("const float* x, float* y) { if (threadIdx.x != 9) y[threadIdx.x] = x[threadIdx.x]; ");
    assert!(crate::cuda::emulate::decode(&unwritten.expect("it ends")[1], DType::F32)[9].is_nan());
}

/// The kernels' text and the launches of a graph, as it is snapshot.
pub fn shown(g: &Graph, arch: Arch) -> String {
    let (graph, plan, module) = lower(g, true, arch);
    assert_eq!(module, lower(g, true, arch).2, "the same plan gives the same text");
    let kernels: String = parts(&module).1.into_iter().map(|k| k.1 + "\n").collect();
    format!("{kernels}{}", module.table(&graph, &plan))
}

#[test]
fn snapshots() {
    use ganc::graph::{Binary, ConvGeom, F64, Layout, Type, Window};
    let snapshot = |name: &str, g: &Graph| {
        insta::with_settings!({snapshot_path => "snapshots/cuda", prepend_module_to_snapshot => false, omit_expression => true}, {
            insta::assert_snapshot!(name, shown(g, Arch::Sm80));
        });
    };
    // A bias by channel and a leaky ReLU: four neighbours a thread, two results.
    let mut g = Graph::new();
    let (x, b) = (g.input("x", Type::f32([128, 48])), g.param("b", &[1, 48]));
    let b = g.broadcast(b, &[128, 48]);
    let y = g.add(x, b);
    let low = g.scale(y, 0.2);
    let z = g.binary(Binary::Max, y, low);
    g.output("y", y);
    g.output("z", z);
    snapshot("map", &g);
    // The same where rows are no multiples of four; a gradient's mask.
    let mut g = Graph::new();
    let (x, b) = (g.input("x", Type::f32([31, 33])), g.param("b", &[31, 1]));
    let b = g.broadcast(b, &[31, 33]);
    let y = g.mul(x, b);
    let zero = g.zeros_like(y);
    let mask = g.binary(Binary::Lt, zero, y);
    g.output("y", y);
    g.output("mask", mask);
    snapshot("map_odd", &g);
    // Sums by channel, over many pixels: blocks share them, a second launch adds.
    let mut g = Graph::new();
    let x = g.input("x", Type::f32([40_000, 24]));
    let s = g.sum(x, &[0]);
    let q = g.mul(x, x);
    let q = g.sum(q, &[0]);
    g.output("sum", s);
    g.output("squares", q);
    snapshot("reduce_columns", &g);
    // Rows, with what is computed of them on the way.
    let mut g = Graph::new();
    let x = g.input("x", Type::f32([70, 96]));
    let e = g.unary(ganc::graph::Unary::Exp, x);
    let s = g.sum(e, &[1]);
    let m = g.argmax(x, &[1]);
    g.output("e", e);
    g.output("s", s);
    g.output("m", m);
    snapshot("reduce_rows", &g);
    // Two parameters with momentum: one launch.
    let mut g = Graph::new();
    for (name, n) in [("w", 5000), ("bias", 33)] {
        let (p, m) = (g.param(name, &[n]), g.state(format!("m.{name}"), Type::f32([n])));
        let d = g.input(format!("d.{name}"), Type::f32([n]));
        let m = g.scale(m, 0.9);
        let m = g.add(m, d);
        let step = g.scale(m, -0.01);
        let p = g.add(p, step);
        g.output(format!("param:{name}"), p);
        g.output(format!("state:m.{name}"), m);
    }
    snapshot("update", &g);
    // A convolution as it is defined.
    let mut g = Graph::new();
    let geometry = ConvGeom {
        n: 2,
        c: 3,
        o: 4,
        groups: 1,
        input: vec![7, 5],
        kernel: vec![3, 3],
        output: vec![4, 3],
        stride: vec![2, 2],
        pad: vec![1, 1],
        dilation: vec![1, 1],
        layout: Layout::ChannelsFirst,
    };
    let (x, w) = (g.input("x", Type::f32([2, 3, 7, 5])), g.param("w", &[4, 3, 3, 3]));
    let y = g.conv_fwd(x, w, geometry.into());
    g.output("y", y);
    snapshot("conv_fwd", &g);
    // Rows of a table, read and replaced in place; windows summed back; cells between elements.
    let mut g = Graph::new();
    let (table, rows) = (g.state("buffer", Type::f32([9, 6])), g.input("rows", Type::u32([3])));
    let read = g.gather_rows(table, rows);
    let values = g.neg(read);
    let new = g.scatter_rows(table, rows, values);
    g.output("state:buffer", new);
    let u = g.input("u", Type::f32([2, 3, 2]));
    let window = Window {
        size: vec![5],
        kernel: vec![2],
        stride: vec![2],
        dilation: vec![1],
        pad_lo: vec![0],
        pad_hi: vec![1],
        value: F64(0.0),
    };
    let f = g.fold(u, window);
    g.output("f", f);
    let p = g.pad(f, &[1, 0], &[0, 2], &[0, 1], 0.5);
    g.output("p", p);
    snapshot("rows", &g);
}
