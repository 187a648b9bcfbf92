//! Oracle = unfused = fused, on random graphs of all ops; any number of threads gives the same bits.

use crate::random::{ALL, Allow, build, fixed_decisions};
use ganc::exec::Executor;
use ganc::exec::cpu::{CpuExecutor, CpuOptions, Isa};
use ganc::fuse::FuseOptions;
use ganc::grad::grad_or_zeros;
use ganc::graph::eval::{Env, Tensor, eval_outputs};
use ganc::graph::{DType, Graph, HostTensor, Name, text};

/// A tensor as executors take it.
pub fn host(t: &Tensor) -> HostTensor {
    match t.ty.dtype {
        DType::U32 => HostTensor::u32(t.ty.shape.clone(), t.data.iter().map(|&v| v as u32).collect()),
        DType::Bool => HostTensor {
            shape: t.ty.shape.clone(),
            data: ganc::graph::HostData::Bool(t.data.iter().map(|&v| v as u8).collect()),
        },
        _ => HostTensor::f32(t.ty.shape.clone(), t.data.iter().map(|&v| v as f32).collect()),
    }
}

/// The environment as an executor sees it: rounded to f32, and moved by about `by`.
pub fn rounded(env: &Env, by: f64) -> Env {
    let mut env = env.clone();
    let all = env.inputs.values_mut().chain(env.params.values_mut()).chain(env.states.values_mut());
    for t in all.filter(|t| t.ty.dtype == DType::F32) {
        let moved = |(i, v): (usize, &f64)| {
            let sign = if (i * 7 + 3) % 11 < 6 { 1.0 } else { -1.0 };
            f64::from(*v as f32) * (1.0 + sign * by)
        };
        *t = Tensor::new(t.ty.clone(), t.data.iter().enumerate().map(moved).collect());
    }
    env
}

/// All outputs of one run.
pub fn run(g: &Graph, env: &Env, options: CpuOptions) -> Vec<(Name, HostTensor)> {
    run_like(g, env, options, FuseOptions::CPU)
}

/// All outputs of one run with another device's clusters.
fn run_like(g: &Graph, env: &Env, options: CpuOptions, fusion: FuseOptions) -> Vec<(Name, HostTensor)> {
    let mut exec = CpuExecutor::new(options);
    exec.fuse_like(fusion);
    for (name, t) in env.params.iter().chain(&env.states) {
        exec.store(name, &host(t)).unwrap();
    }
    let inputs: Vec<(Name, HostTensor)> = env.inputs.iter().map(|(n, t)| (n.clone(), host(t))).collect();
    let refs: Vec<(&str, &HostTensor)> = inputs.iter().map(|(n, t)| (&**n, t)).collect();
    let mut p = exec.compile(g).unwrap();
    p.plan.verify().unwrap();
    let first = exec.run(&mut p, &refs).unwrap();
    if g.outputs.iter().all(|o| !o.0.contains(':')) {
        assert_eq!(exec.run(&mut p, &refs).unwrap(), first, "a second run differs");
    }
    first
}

/// Compares an executor with the oracle.
pub fn check(g: &Graph, env: &Env, options: CpuOptions, tolerance: f64) {
    check_like(g, env, options, FuseOptions::CPU, tolerance);
}

/// The same with another device's clusters.
pub fn check_like(g: &Graph, env: &Env, options: CpuOptions, fusion: FuseOptions, tolerance: f64) {
    let got = run_like(g, env, options, fusion);
    compare(g, env, &got, tolerance, &|| format!("{options:?}"));
}

/// Compares what an executor gave with the oracle. What moving the inputs by a rounding error moves is allowed
/// manifold.
pub fn compare(g: &Graph, env: &Env, got: &[(Name, HostTensor)], tolerance: f64, what: &dyn Fn() -> String) {
    let want = eval_outputs(g, &rounded(env, 0.0)).unwrap();
    let near = eval_outputs(g, &rounded(env, 3e-7)).unwrap();
    let returned = |o: &&(Name, Tensor)| !o.0.starts_with("param:") && !o.0.starts_with("state:");
    let (want, near) = (want.iter().filter(returned), near.iter().filter(returned));
    for ((name, got), ((_, want), (_, near))) in got.iter().zip(want.zip(near)) {
        assert_eq!(got.shape, want.ty.shape, "{name}");
        let scale = want.data.iter().fold(1.0f64, |m, v| m.max(v.abs()));
        for (i, ((g, w), n)) in got.to_f64().iter().zip(want.data.iter()).zip(near.data.iter()).enumerate() {
            let allowed = tolerance * scale + 30.0 * (w - n).abs();
            assert!(g == w || (g - w).abs() <= allowed, "{name}[{i}] is {g}, the oracle says {w} ({})", what());
        }
    }
}

fn report(g: &Graph, f: impl FnOnce() + std::panic::UnwindSafe) {
    if let Err(e) = std::panic::catch_unwind(f) {
        let last = ganc::passes::layout::layout(g);
        let fused = ganc::fuse::fuse(&last, FuseOptions::CPU);
        eprintln!("{}\nafter layout\n{}\n{}", text::print(g), text::print(&last), fused.text(&last));
        std::panic::resume_unwind(e);
    }
}

const UNFUSED: CpuOptions = CpuOptions { threads: 1, fuse: false, isa: None, profile: false, memory: None };
const FUSED: CpuOptions = CpuOptions { fuse: true, ..UNFUSED };

const EXACT: Allow = Allow { halves: false, ..ALL };

#[test]
fn unfused_is_the_oracle() {
    for seed in 0..60 {
        let r = build(&fixed_decisions(seed, 20 + seed as usize), EXACT);
        report(&r.graph, || check(&r.graph, &r.env, UNFUSED, 2e-5));
    }
}

#[test]
fn fused_is_the_oracle() {
    for seed in 0..80 {
        let r = build(&fixed_decisions(seed, 20 + seed as usize), EXACT);
        report(&r.graph, || check(&r.graph, &r.env, FUSED, 2e-5));
    }
}

#[test]
fn a_devices_clusters_are_the_oracles() {
    for seed in 0..60 {
        // Not from 300 on: seed 325 asks whether sin(t) < t for a t so small that both are one number in f32.
        let r = build(&fixed_decisions(seed + 400, 20 + seed as usize), EXACT);
        report(&r.graph, || check_like(&r.graph, &r.env, FUSED, FuseOptions::PROLOGUES, 2e-5));
    }
}

#[test]
fn gradients_are_the_oracles() {
    for seed in 100..140 {
        let mut r = build(&fixed_decisions(seed, seed as usize - 60), EXACT);
        let g = &mut r.graph;
        let loss = g.outputs.last().unwrap().1;
        for (k, d) in grad_or_zeros(g, loss, None, &r.leaves).into_iter().enumerate() {
            g.output(format!("d{k}"), d);
        }
        let simple =
            ganc::passes::run(ganc::passes::resample_worth(&r.graph, 0), &ganc::passes::Options::default());
        report(&r.graph, || check(&r.graph, &r.env, FUSED, 2e-5));
        report(&simple, || check(&simple, &r.env, FUSED, 2e-5));
        report(&simple, || check(&simple, &r.env, UNFUSED, 2e-5));
    }
}

#[test]
fn threads_change_no_bit() {
    for seed in 0..20 {
        let r = build(&fixed_decisions(seed + 500, 60), ALL);
        let one = run(&r.graph, &r.env, FUSED);
        for threads in [2, 3] {
            assert_eq!(run(&r.graph, &r.env, CpuOptions { threads, ..FUSED }), one, "{threads} threads");
        }
    }
}

#[test]
fn every_instruction_set_agrees() {
    for isa in Isa::available() {
        for seed in 0..15 {
            let r = build(&fixed_decisions(seed + 900, 50), EXACT);
            report(&r.graph, || check(&r.graph, &r.env, CpuOptions { isa: Some(isa), ..FUSED }, 2e-5));
        }
    }
}

#[test]
fn persistent_tensors_change_all_at_once() {
    let mut g = Graph::new();
    let (a, b) = (g.param("a", &[5]), g.param("b", &[5]));
    let s = g.add(a, b);
    let n = g.scale(a, 2.0);
    let t = g.state("t", ganc::graph::Type::f32([5]));
    let u = g.add(t, n);
    // A swap, a use of the old value after its update, an update in place, and a new tensor.
    g.output("param:a", b);
    g.output("param:b", a);
    g.output("state:t", u);
    g.output("state:new", s);
    g.output("sum", s);
    for options in [UNFUSED, FUSED] {
        let mut exec = CpuExecutor::new(options);
        exec.store("a", &HostTensor::f32([5], vec![1.0; 5])).unwrap();
        exec.store("b", &HostTensor::f32([5], vec![2.0; 5])).unwrap();
        let mut p = exec.compile(&g).unwrap();
        assert!(exec.run(&mut p, &[]).is_err(), "t has no value");
        exec.store("t", &HostTensor::f32([5], vec![0.5; 5])).unwrap();
        assert_eq!(exec.run(&mut p, &[]).unwrap()[0].1, HostTensor::f32([5], vec![3.0; 5]));
        let get = |exec: &CpuExecutor, n: &str| exec.fetch(n).unwrap().unwrap().as_f32().unwrap()[4];
        assert_eq!((get(&exec, "a"), get(&exec, "b"), get(&exec, "t")), (2.0, 1.0, 2.5));
        assert_eq!(get(&exec, "new"), 3.0);
        exec.run(&mut p, &[]).unwrap();
        assert_eq!((get(&exec, "a"), get(&exec, "b"), get(&exec, "t")), (1.0, 2.0, 6.5));
    }
}

#[test]
fn the_first_nan_is_found() {
    let mut g = Graph::new();
    let x = g.input("x", ganc::graph::Type::f32([3]));
    let origin = |path: &str, order| ganc::graph::Origin { path: path.into(), order, ..Default::default() };
    g.set_origin(origin("G.fc", 0));
    let y = g.offset(x, -1.0);
    g.set_origin(origin("D.norm", 1));
    let l = g.unary(ganc::graph::Unary::Log, y);
    g.set_origin(origin("D.out", 1));
    let s = g.sum_all(l);
    g.output("loss", s);
    let mut exec = CpuExecutor::new(FUSED);
    let good = HostTensor::f32([3], vec![2.0; 3]);
    let bad = HostTensor::f32([3], vec![2.0, 0.5, 3.0]);
    assert_eq!(exec.locate_nonfinite(&g, &[("x", &good)]).unwrap(), None);
    let found = exec.locate_nonfinite(&g, &[("x", &bad)]).unwrap();
    assert_eq!(found.as_deref(), Some("D.norm (log, gradient of order 1, f32[3])"));
}

#[test]
fn wrong_inputs_are_named() {
    let mut g = Graph::new();
    let x = g.input("x", ganc::graph::Type::f32([3]));
    let y = g.scale(x, 2.0);
    g.output("y", y);
    let mut exec = CpuExecutor::new(FUSED);
    let mut p = exec.compile(&g).unwrap();
    let four = HostTensor::f32([4], vec![0.0; 4]);
    let text = exec.run(&mut p, &[("x", &four)]).unwrap_err().to_string();
    assert_eq!(text, "`x` is f32[4], the graph takes f32[3]");
    assert!(exec.run(&mut p, &[]).is_err());
}

/// Values that differ from element to element.
pub fn leaf(g: &mut Graph, env: &mut Env, name: &str, shape: &[usize]) -> ganc::graph::NodeId {
    let n = shape.iter().product();
    let at = |i: usize| ((i * 37 + name.len() * 11) % 1009) as f64 / 500.0 - 1.0;
    let t = Tensor::f32(shape, (0..n).map(at).collect());
    *env = std::mem::take(env).param(name, t);
    g.param(name, shape)
}

/// Reductions over each set of axes of a tensor, beside elementwise results.
pub fn reductions(shape: &[usize]) -> (Graph, Env) {
    let rank = shape.len();
    let (mut g, mut env) = (Graph::new(), Env::new());
    let x = leaf(&mut g, &mut env, "x", shape);
    let y = leaf(&mut g, &mut env, "yy", shape);
    let p = g.mul(x, y);
    for mask in 1..1u32 << rank {
        let axes: Vec<usize> = (0..rank).filter(|a| mask >> a & 1 != 0).collect();
        let s = g.sum(p, &axes);
        g.output(format!("sum {axes:?}"), s);
        let m = g.max_reduce(p, &axes);
        g.output(format!("max {axes:?}"), m);
        let a = g.argmax(p, &axes);
        g.output(format!("argmax {axes:?}"), a);
        let c = g.sub(x, s);
        let c = g.mul(c, c);
        let v = g.sum(c, &axes);
        let v = g.scale(v, 1e-6);
        g.output(format!("spread {axes:?}"), v);
    }
    g.output("p", p);
    (g, env)
}

/// Reductions over each set of axes of tensors large enough for several chunks, beside elementwise results.
#[test]
fn large_reductions() {
    for shape in
        [vec![70_001], vec![150, 257], vec![3, 20_000], vec![20_000, 3], vec![5, 40, 50], vec![5, 13, 11, 7]]
    {
        let (g, env) = reductions(&shape);
        let one = run(&g, &env, FUSED);
        for (options, tolerance) in [(FUSED, 2e-6), (UNFUSED, 2e-6)] {
            check(&g, &env, options, tolerance);
        }
        for threads in [2, 3] {
            assert_eq!(run(&g, &env, CpuOptions { threads, ..FUSED }), one, "{threads} threads");
        }
    }
}

/// Noise of several shapes.
pub fn noises() -> (Graph, Env) {
    let (mut g, mut env) = (Graph::new(), Env::new());
    let key = g.input("seed", ganc::graph::Type::u32([2]));
    let step = g.input("iteration", ganc::graph::Type::u32([]));
    env = env.input("seed", Tensor::u32(&[2], &[7, 9])).input("iteration", Tensor::u32(&[], &[3]));
    for (i, shape) in [vec![513, 70], vec![3, 5, 7, 33], vec![40_000], vec![2, 50_001]].into_iter().enumerate() {
        for dist in [ganc::graph::Dist::Normal, ganc::graph::Dist::Uniform] {
            let z = g.random(i as u64 + 5, dist, key, step, &shape);
            let z = g.scale(z, 0.5);
            g.output(format!("{dist:?}{shape:?}"), z);
        }
    }
    (g, env)
}

/// Noise is the same whichever way it is cut, and the oracle's.
#[test]
fn large_noise() {
    let (g, env) = noises();
    check(&g, &env, FUSED, 2e-6);
    check(&g, &env, UNFUSED, 2e-6);
    assert_eq!(run(&g, &env, CpuOptions { threads: 3, ..FUSED }), run(&g, &env, FUSED));
}

/// Two layers with batch normalisation, a loss, and an Adam-like update in place, against the oracle.
#[test]
fn a_small_network_trains_like_the_oracle() {
    let (mut g, mut env) = (Graph::new(), Env::new());
    let x = leaf(&mut g, &mut env, "image", &[6, 2, 9, 7]);
    let w = leaf(&mut g, &mut env, "w", &[5, 2, 3, 3]);
    let v = leaf(&mut g, &mut env, "vv", &[5 * 5 * 4, 3]);
    let geometry = ganc::graph::ConvGeom {
        n: 6,
        c: 2,
        o: 5,
        groups: 1,
        input: vec![9, 7],
        kernel: vec![3, 3],
        output: vec![5, 4],
        stride: vec![2, 2],
        pad: vec![1, 1],
        dilation: vec![1, 1],
        layout: ganc::graph::Layout::ChannelsFirst,
    };
    let h = g.conv_fwd(x, w, geometry.into());
    let m = g.mean(h, &[0, 2, 3]);
    let c = g.sub(h, m);
    let c2 = g.mul(c, c);
    let s = g.mean(c2, &[0, 2, 3]);
    let s = g.offset(s, 1e-5);
    let s = g.unary(ganc::graph::Unary::Sqrt, s);
    let h = g.div(c, s);
    let zero = g.zeros_like(h);
    let h = g.binary(ganc::graph::Binary::Max, h, zero);
    let h = g.reshape(h, &[6, 100]);
    let y = g.matmul(h, v);
    let y = g.unary(ganc::graph::Unary::Tanh, y);
    let loss = g.sum_all(y);
    let grads = grad_or_zeros(&mut g, loss, None, &[w, v, x]);
    // Double backward: the penalty on the image's gradient.
    let p = g.mul(grads[2], grads[2]);
    let p = g.sum(p, &[1, 2, 3]);
    let p = g.offset(p, 1e-6);
    let p = g.unary(ganc::graph::Unary::Sqrt, p);
    let p = g.sum_all(p);
    let total = g.add(loss, p);
    let grads = grad_or_zeros(&mut g, total, None, &[w, v]);
    for (name, old, d) in [("w", w, grads[0]), ("vv", v, grads[1])] {
        let shape = g.shape(old).to_vec();
        let first = leaf(&mut g, &mut env, &format!("{name}.m"), &shape);
        let a = g.scale(first, 0.9);
        let b = g.scale(d, 0.1);
        let m = g.add(a, b);
        let step = g.scale(m, -0.01);
        let new = g.add(old, step);
        g.output(format!("param:{name}.m"), m);
        g.output(format!("param:{name}"), new);
        g.output(format!("seen {name}"), new);
    }
    g.output("total", total);
    let simple = ganc::passes::run(g.clone(), &ganc::passes::Options::default());
    for g in [&g, &simple] {
        // Only the outputs that are returned are compared here.
        let mut seen = g.clone();
        seen.outputs.retain(|o| !o.0.starts_with("param:"));
        for options in [FUSED, UNFUSED, CpuOptions { threads: 2, ..FUSED }] {
            check(&seen, &env, options, 1e-5);
        }
        let want = eval_outputs(g, &rounded(&env, 0.0)).unwrap();
        for options in [FUSED, UNFUSED] {
            let mut exec = CpuExecutor::new(options);
            env.params.iter().for_each(|(n, t)| exec.store(n, &host(t)).unwrap());
            let mut p = exec.compile(g).unwrap();
            exec.run(&mut p, &[]).unwrap();
            for (name, t) in want.iter().filter(|w| w.0.starts_with("param:")) {
                let got = exec.fetch(name.strip_prefix("param:").unwrap()).unwrap().unwrap().to_f64();
                for (a, b) in got.iter().zip(t.data.iter()) {
                    assert!((a - b).abs() < 1e-4, "{name}: {a} {b} {options:?}");
                }
            }
        }
    }
}

/// Products before and after images, whose flat forms the layout pass turns.
#[test]
fn flattened_images() {
    for transposed in [false, true] {
        let (mut g, mut env) = (Graph::new(), Env::new());
        let z = leaf(&mut g, &mut env, "z", &[6, 4]);
        let shape: &[usize] = if transposed { &[40, 4] } else { &[4, 40] };
        let u = leaf(&mut g, &mut env, "uu", shape);
        let w = leaf(&mut g, &mut env, "www", &[3, 2, 3, 3]);
        let v = leaf(&mut g, &mut env, "vvvv", if transposed { &[7, 60] } else { &[60, 7] });
        let dims = |j| ganc::graph::ContractDims { batch: vec![], contracted: vec![(1, j)] };
        let h = g.contract(z, u, dims(usize::from(transposed)));
        let x = g.reshape(h, &[6, 2, 5, 4]);
        let x = g.unary(ganc::graph::Unary::Tanh, x);
        let geometry = ganc::graph::ConvGeom {
            n: 6,
            c: 2,
            o: 3,
            groups: 1,
            input: vec![5, 4],
            kernel: vec![3, 3],
            output: vec![5, 4],
            stride: vec![1, 1],
            pad: vec![1, 1],
            dilation: vec![1, 1],
            layout: ganc::graph::Layout::ChannelsFirst,
        };
        let y = g.conv_fwd(x, w, geometry.into());
        let y = g.unary(ganc::graph::Unary::Tanh, y);
        let y = g.reshape(y, &[6, 60]);
        let y = g.contract(y, v, dims(usize::from(transposed)));
        let y2 = g.mul(y, y);
        let loss = g.sum_all(y2);
        for (k, d) in grad_or_zeros(&mut g, loss, None, &[z, u, w, v]).into_iter().enumerate() {
            g.output(format!("d{k}"), d);
        }
        g.output("loss", loss);
        let turned = ganc::passes::layout::layout(&g);
        assert!(ganc::graph::verify::verify(&turned).is_ok());
        for options in [FUSED, UNFUSED] {
            report(&g, || check(&g, &env, options, 1e-5));
        }
    }
}
