//! The CUDA runtime against a device of thin air: addresses, order, copies, waits, memory, messages.

use crate::cuda_device::{Fake, lower};
use crate::epilogues::geometry;
use crate::executors::{host, rounded};
use crate::random::{ALL, Allow, build, fixed_decisions};
use crate::support::{compile_file, repo};
use ganc::build::program::Compiled;
use ganc::codegen::cuda::contract::tuning::{Tuning, search};
use ganc::exec::Executor;
use ganc::exec::cpu::{CpuExecutor, CpuOptions};
use ganc::exec::cuda::{CudaExecutor, CudaOptions};
use ganc::graph::eval::{Env, eval_outputs};
use ganc::graph::{Graph, HostTensor, Type};
use ganc::train::folder::{FORMAT, RunFolder, RunRecord};
use ganc::train::{Summary, Trainer, Ui, checkpoint};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

const RING: &str = "tests/train/ring.gan";

/// More than any test needs.
const PLENTY: u64 = 1 << 30;

fn executor(device: &Fake, options: CudaOptions) -> CudaExecutor {
    CudaExecutor::new(Box::new(device.clone()), lower, options)
}

/// Runs a graph four times and compares with the oracle. What moving the inputs by a rounding error moves is allowed
/// manifold.
pub fn check<E: Executor>(exec: &mut E, g: &Graph, env: &Env, tolerance: f64) {
    let want = eval_outputs(g, &rounded(env, 0.0)).unwrap();
    let near = eval_outputs(g, &rounded(env, 3e-7)).unwrap();
    for (name, t) in env.params.iter().chain(&env.states) {
        exec.store(name, &host(t)).unwrap();
    }
    let inputs: Vec<_> = env.inputs.iter().map(|(n, t)| (n.clone(), host(t))).collect();
    let refs: Vec<(&str, &HostTensor)> = inputs.iter().map(|(n, t)| (&**n, t)).collect();
    let mut p = exec.compile(g).unwrap();
    let got = exec.run(&mut p, &refs).unwrap();
    for _ in 0..3 {
        // The first run is issued, the second captured, the third replayed.
        assert_eq!(exec.run(&mut p, &refs).unwrap(), got);
    }
    assert_eq!(got.len(), want.len());
    for ((name, got), ((_, want), (_, near))) in got.iter().zip(want.iter().zip(&near)) {
        assert_eq!(got.shape, want.ty.shape, "{name}");
        let scale = want.data.iter().fold(1.0f64, |m, v| m.max(v.abs()));
        for (i, ((g, w), n)) in got.to_f64().iter().zip(want.data.iter()).zip(near.data.iter()).enumerate() {
            let allowed = tolerance * scale + 30.0 * (w - n).abs();
            assert!(g == w || (g - w).abs() <= allowed, "{name}[{i}] is {g}, the oracle says {w}");
        }
    }
}

#[test]
fn random_graphs_are_the_oracles() {
    for seed in 0..60 {
        let r = build(&fixed_decisions(seed + 900, 20 + seed as usize), Allow { halves: false, ..ALL });
        for fuse in [true, false] {
            let options = CudaOptions { fuse, ..CudaOptions::default() };
            check(&mut executor(&Fake::new(PLENTY), options), &r.graph, &r.env, 2e-5);
        }
    }
}

#[test]
fn halves_and_truths_travel_as_they_are() {
    let mut g = Graph::new();
    let x = g.input("x", Type::f32([3]));
    let h = g.input("h", Type::new(ganc::graph::DType::Bf16, [3]));
    let b = g.input("b", Type::new(ganc::graph::DType::Bool, [3]));
    let wide = g.cast(h, ganc::graph::DType::F32);
    let y = g.select(b, x, wide);
    g.output("y", y);
    g.output("h", h);
    g.output("b", b);
    let mut exec = executor(&Fake::new(PLENTY), CudaOptions::default());
    let mut p = exec.compile(&g).unwrap();
    let x = HostTensor::f32([3], vec![1.0, 2.0, 3.0]);
    // 1/3 is no bfloat16; this is the nearest.
    let third = 171.0 / 512.0;
    let h = HostTensor::f32([3], vec![1.0 / 3.0, -4.0, 0.5]);
    let b = HostTensor { shape: vec![3], data: ganc::graph::HostData::Bool(vec![0, 1, 0]) };
    let out = exec.run(&mut p, &[("x", &x), ("h", &h), ("b", &b)]).unwrap();
    assert_eq!(out[0].1, HostTensor::f32([3], vec![third, 2.0, 0.5]));
    assert_eq!(out[1].1, HostTensor::f32([3], vec![third, -4.0, 0.5]));
    assert_eq!(out[2].1, b);
}

/// Programs are compiled with the tiles that the executor was given, and what they took is known of each product.
#[test]
fn tiles_come_from_the_table_and_their_times_go_to_the_search() {
    let mut g = Graph::new();
    let (x, y) = (g.input("x", Type::f32([33, 40])), g.input("y", Type::f32([40, 31])));
    let z = g.matmul(x, y);
    let v = g.input("w", Type::f32([31, 7]));
    let w = g.matmul(z, v);
    g.output("z", z);
    g.output("w", w);
    let values = |r: usize, c: usize| HostTensor::f32([r, c], (0..r * c).map(|i| (i % 5) as f32 - 2.0).collect());
    let inputs = [("x", values(33, 40)), ("y", values(40, 31)), ("w", values(31, 7))];
    let refs: Vec<(&str, &HostTensor)> = inputs.iter().map(|(n, t)| (*n, t)).collect();
    let mut exec = executor(&Fake::new(PLENTY), CudaOptions { profile: true, ..CudaOptions::default() });
    let mut results = vec![];
    let mut rounds = 0;
    let found = search(&Tuning::default(), exec.about().arch, 3, false, |tuning| {
        rounds += 1;
        exec.tune(tuning.clone());
        let mut p = exec.compile(&g)?;
        for _ in 0..2 {
            results.push(exec.run(&mut p, &refs)?);
        }
        for (shape, choice, nanos) in p.products() {
            assert_eq!(choice, tuning.choice(&shape, exec.about().arch));
            assert!(nanos > 0.0);
        }
        Ok::<_, ganc::exec::ExecError>(p.products())
    })
    .unwrap();
    assert_eq!((found.len(), rounds), (2, 4), "{found:?}");
    assert!(found.iter().all(|f| f.tried == 3), "{found:?}");
    assert!(results.iter().all(|r| *r == results[0]));
    // What is known is not measured again.
    let mut known = Tuning::default();
    found.iter().for_each(|f| known.set(&f.shape, &f.best.0));
    exec.tune(known.clone());
    let products = exec.compile(&g).unwrap().products();
    let again = search(&known, exec.about().arch, 3, false, |_| Ok::<_, ()>(products.clone()));
    assert_eq!(again, Ok(vec![]));
}

/// A swap, a use of the old value after its update, an update in place, and a new tensor.
fn updates() -> Graph {
    let mut g = Graph::new();
    let (a, b, t) = (g.param("a", &[5]), g.param("b", &[5]), g.state("t", Type::f32([5])));
    let s = g.add(a, b);
    let u = g.add(t, a);
    g.output("param:a", b);
    g.output("param:b", a);
    g.output("state:t", u);
    g.output("state:new", s);
    g.output("sum", s);
    g
}

#[test]
fn persistent_tensors_change_all_at_once() {
    for options in [
        CudaOptions::default(),
        CudaOptions { capture: false, ..CudaOptions::default() },
        CudaOptions { profile: true, ..CudaOptions::default() },
    ] {
        let mut exec = executor(&Fake::new(PLENTY), options);
        let five = |v: f32| HostTensor::f32([5], vec![v; 5]);
        exec.store("a", &five(1.0)).unwrap();
        exec.store("b", &five(2.0)).unwrap();
        let mut p = exec.compile(&updates()).unwrap();
        let e = exec.run(&mut p, &[]).unwrap_err().to_string();
        assert!(e.contains("`t`, which has no value yet"), "{e}");
        exec.store("t", &five(0.5)).unwrap();
        let mut t = 0.5;
        for i in 0..5 {
            let (a, b) = if i % 2 == 0 { (1.0, 2.0) } else { (2.0, 1.0) };
            assert_eq!(exec.run(&mut p, &[]).unwrap()[0].1, five(3.0));
            t += a;
            let get = |n: &str| exec.fetch(n).unwrap().unwrap();
            assert_eq!(
                (get("a"), get("b"), get("t"), get("new")),
                (five(b), five(a), five(t), five(3.0)),
                "run {i}"
            );
        }
        assert!(exec.fetch("nobody").unwrap().is_none());
    }
}

/// Weights of convolutions lie channels last on a device, whether they came before or after the program that wants them so;
/// nobody outside sees it. Extents are all the same: their order cannot be told from the shape.
#[test]
fn weights_go_in_and_come_out_as_they_are_in_the_language() {
    let geometry = geometry(3, 3, 3, 5, 3, 1, 1);
    let mut g = Graph::new();
    let (x, w) = (g.input("x", Type::f32(geometry.x_shape())), g.param("w", &geometry.w_shape()));
    let y = g.conv_fwd(x, w, geometry.clone().into());
    let d = g.conv_weight_grad(x, y, geometry.clone().into());
    let step = g.scale(d, -0.01);
    let next = g.add(w, step);
    g.output("y", y);
    g.output("param:w", next);
    // A program that only looks at them takes them as they lie.
    let mut look = Graph::new();
    let w = look.param("w", &geometry.w_shape());
    let (sum, flat) = (look.sum(w, &[1]), look.reshape(w, &[9, 9]));
    look.output("sum", sum);
    look.output("flat", flat);

    let values = |n: usize, by: f32| (0..n).map(|i| ((i * 7 + 3) % 11) as f32 * by - 0.4).collect::<Vec<_>>();
    let x = HostTensor::f32(geometry.x_shape(), values(225, 0.1));
    let start = HostTensor::f32(geometry.w_shape(), values(81, 0.05));
    let mut ends = vec![];
    for early in [true, false] {
        let mut exec = executor(&Fake::new(PLENTY), CudaOptions::default());
        if early {
            exec.store("w", &start).unwrap();
        }
        let mut p = exec.compile(&g).unwrap();
        if early {
            assert_eq!(exec.fetch("w").unwrap(), Some(start.clone()), "it was turned where it lay");
        } else {
            exec.store("w", &start).unwrap();
        }
        let mut q = exec.compile(&look).unwrap();
        let mut all = vec![];
        for _ in 0..2 {
            all.extend(exec.run(&mut p, &[("x", &x)]).unwrap());
            all.extend(exec.run(&mut q, &[]).unwrap());
        }
        all.push(("w".into(), exec.fetch("w").unwrap().unwrap()));
        ends.push(all);
    }
    let mut cpu = CpuExecutor::new(CpuOptions::default());
    cpu.store("w", &start).unwrap();
    let (mut p, mut q) = (cpu.compile(&g).unwrap(), cpu.compile(&look).unwrap());
    let mut want = vec![];
    for _ in 0..2 {
        want.extend(cpu.run(&mut p, &[("x", &x)]).unwrap());
        want.extend(cpu.run(&mut q, &[]).unwrap());
    }
    want.push(("w".into(), cpu.fetch("w").unwrap().unwrap()));
    assert_eq!(ends[0], ends[1]);
    for ((name, got), (_, want)) in ends[0].iter().zip(&want) {
        assert_eq!(got.shape, want.shape, "{name}");
        for (g, w) in got.to_f64().iter().zip(want.to_f64()) {
            assert!((g - w).abs() < 1e-4, "{name}: {g}, not {w}");
        }
    }
}

#[test]
fn a_captured_program_is_issued_once_and_replayed() {
    let device = Fake::new(PLENTY);
    let mut exec = executor(&device, CudaOptions::default());
    for n in ["a", "b", "t"] {
        exec.store(n, &HostTensor::f32([5], vec![1.0; 5])).unwrap();
    }
    let mut p = exec.compile(&updates()).unwrap();
    for _ in 0..6 {
        exec.run(&mut p, &[]).unwrap();
    }
    let launches = p.launch_count();
    assert_eq!(device.count("launch"), 2 * launches, "the first run, and the capture");
    assert_eq!((device.count("capture"), device.count("replay")), (1, 5));
    // A program that needs a larger workspace moves it: what was captured is stale, and captured again.
    let mut g = Graph::new();
    let x = g.input("x", Type::f32([5000]));
    let s = g.sum(x, &[0]);
    let y = g.mul(x, x);
    g.output("s", s);
    g.output("y", y);
    let mut large = exec.compile(&g).unwrap();
    let ones = HostTensor::f32([5000], vec![1.0; 5000]);
    assert_eq!(exec.run(&mut large, &[("x", &ones)]).unwrap()[1].1, ones);
    let before = exec.fetch("t").unwrap();
    exec.run(&mut p, &[]).unwrap();
    assert_eq!(device.count("capture"), 2);
    assert_ne!(exec.fetch("t").unwrap(), before);
}

#[test]
fn inputs_travel_ahead_and_arrive_in_order() {
    // Beyond what goes along with the work, and within it.
    for n in [100_000usize, 10] {
        let device = Fake::new(PLENTY);
        let mut exec = executor(&device, CudaOptions::default());
        let mut g = Graph::new();
        let x = g.input("x", Type::f32([n]));
        let total = g.param("total", &[n]);
        let ten = g.splat(10.0, Type::f32([n]));
        let shifted = g.mul(total, ten);
        let next = g.add(shifted, x);
        g.output("param:total", next);
        let max = g.max_reduce(next, &[0]);
        g.output("last", max);
        exec.store("total", &HostTensor::f32([n], vec![0.0; n])).unwrap();
        let mut p = exec.compile(&g).unwrap();
        let mut waiting = std::collections::VecDeque::new();
        let mut found = vec![];
        for i in 1..=7 {
            let x = HostTensor::f32([n], vec![i as f32; n]);
            waiting.push_back(exec.start(&mut p, &[("x", &x)]).unwrap());
            while waiting.len() > exec.ahead() {
                found.push(exec.finish(waiting.pop_front().unwrap()).unwrap()[0].1.to_f64()[0]);
            }
        }
        for p in waiting {
            found.push(exec.finish(p).unwrap()[0].1.to_f64()[0]);
        }
        assert_eq!(found, [1.0, 12.0, 123.0, 1234.0, 12345.0, 123456.0, 1234567.0], "{n}");
        let ahead = device.count("upload ahead");
        assert_eq!((ahead, device.count("upload")), if n > 10 { (7, 0) } else { (0, 7) });
        assert!(device.pinned() <= 6, "slots are used again");
    }
}

#[test]
fn a_plan_that_does_not_fit_is_refused_with_the_figures() {
    let mut g = Graph::new();
    let w = g.param("w", &[100_000]);
    let x = g.input("x", Type::f32([100_000]));
    let y = g.mul(w, x);
    let z = g.sum(y, &[0]);
    g.output("z", z);
    g.output("param:w", y);
    let device = Fake::new(1_000_000);
    let mut exec = executor(&device, CudaOptions::default());
    exec.store("w", &HostTensor::f32([100_000], vec![1.0; 100_000])).unwrap();
    let before = device.taken();
    let e = exec.compile(&g).err().expect("no room").to_string();
    assert!(e.contains("NVIDIA Fake, which has 600.0 kB free"), "{e}");
    assert!(e.contains("parameters and state 400.0 kB") && e.contains("inputs 400.1 kB"), "{e}");
    assert_eq!(device.taken(), before, "nothing was taken");
    // Just enough: exactly what was said is taken.
    let device = Fake::new(PLENTY);
    let mut exec = executor(&device, CudaOptions::default());
    exec.store("w", &HostTensor::f32([100_000], vec![1.0; 100_000])).unwrap();
    let mut p = exec.compile(&g).unwrap();
    let x = HostTensor::f32([100_000], vec![1.0; 100_000]);
    (0..4).for_each(|_| drop(exec.run(&mut p, &[("x", &x)]).unwrap()));
    // Three slots for inputs on their way, beside what the program itself says.
    assert_eq!(device.taken(), p.memory() as u64 + 3 * 400_128);
    assert_eq!(exec.most_bytes(), device.taken());
}

#[test]
fn wrong_inputs_and_failed_launches_are_errors() {
    let mut g = Graph::new();
    let x = g.input("x", Type::f32([2]));
    let y = g.mul(x, x);
    g.output("y", y);
    let device = Fake::new(PLENTY);
    let mut exec = executor(&device, CudaOptions::default());
    let mut p = exec.compile(&g).unwrap();
    let three = HostTensor::f32([3], vec![0.0; 3]);
    for (given, part) in [(vec![], "missing"), (vec![("x", &three)], "f32[3]")] {
        let e = exec.run(&mut p, &given).unwrap_err().to_string();
        assert!(e.contains(part) && e.contains("f32[2]"), "{e}");
    }
    device.fail_after(0);
    let two = HostTensor::f32([2], vec![0.0; 2]);
    let e = exec.run(&mut p, &[("x", &two)]).unwrap_err().to_string();
    assert_eq!(
        e,
        "NVIDIA Fake fails in cuLaunchKernel: an illegal memory access was encountered (CUDA_ERROR_ILLEGAL_ADDRESS)"
    );
}

#[test]
fn the_first_nan_is_found() {
    let mut g = Graph::new();
    g.set_origin(ganc::graph::Origin { path: "D.conv2".into(), order: 1, ..Default::default() });
    let x = g.param("x", &[4]);
    let zero = g.input("zero", Type::f32([4]));
    let fine = g.mul(x, x);
    let bad = g.unary(ganc::graph::Unary::Log, zero);
    let after = g.add(bad, fine);
    g.output("y", after);
    g.output("param:x", fine);
    let mut exec = executor(&Fake::new(PLENTY), CudaOptions::default());
    let ones = HostTensor::f32([4], vec![2.0; 4]);
    exec.store("x", &ones).unwrap();
    let found = exec.locate_nonfinite(&g, &[("zero", &HostTensor::f32([4], vec![0.0; 4]))]).unwrap();
    assert_eq!(found.as_deref(), Some("D.conv2 (log, gradient of order 1, f32[4])"));
    assert_eq!(exec.fetch("x").unwrap(), Some(ones.clone()), "nothing changes");
    assert_eq!(exec.locate_nonfinite(&g, &[("zero", &ones)]).unwrap(), None);
}

#[test]
fn a_profile_adds_up_launches_by_cluster() {
    let mut exec = executor(&Fake::new(PLENTY), CudaOptions { profile: true, ..CudaOptions::default() });
    for n in ["a", "b", "t"] {
        exec.store(n, &HostTensor::f32([5], vec![1.0; 5])).unwrap();
    }
    let mut p = exec.compile(&updates()).unwrap();
    for _ in 0..4 {
        exec.run(&mut p, &[]).unwrap();
    }
    // The device's clock ticks a millisecond a step; the first run, which loads kernels, does not count.
    let profile = p.profile("NVIDIA H200");
    assert_eq!(profile.runs, 3);
    let spent: f64 = profile.lines.iter().map(|l| l.nanos).sum();
    assert_eq!(spent, 1e6 * p.launch_count() as f64);
    assert!(profile.lines.iter().all(|l| l.bound.is_some_and(|b| b > 0.0 && b < l.least)));
    assert!(profile.to_string().contains("roof"));
    assert!(p.profile("another").lines.iter().all(|l| l.bound.is_none()));
}

/// What a run tells, noted.
#[derive(Default)]
pub struct Notes {
    /// Step and losses by player.
    pub losses: Vec<(u64, Vec<(String, f64)>)>,
    /// Other lines.
    pub notes: Vec<String>,
}

impl Ui for Notes {
    fn begin(&mut self, _: &ganc::build::program::TrainProgram, _: u64) {}
    fn step(&mut self, _: &ganc::build::program::TrainProgram, step: u64, losses: &[(String, f64)]) {
        self.losses.push((step, losses.to_vec()));
    }
    fn evaluated(&mut self, _: &ganc::build::program::TrainProgram, _: u64, _: &[(String, f64)]) {}
    fn note(&mut self, text: &str) {
        self.notes.push(text.to_string());
    }
    fn end(&mut self, _: &ganc::build::program::TrainProgram) {}
}

/// Trains a spec for some steps, from the newest checkpoint of the folder if `resume`.
pub fn train<E: Executor>(
    exec: &mut E,
    spec: &str,
    folder: &RunFolder,
    steps: u64,
    resume: bool,
) -> (Result<Summary, String>, Notes) {
    let mut compiled = compile_file(&repo(spec)).unwrap_or_else(|e| panic!("{e}"));
    compiled.trains[0].steps = steps;
    train_all(exec, &compiled, folder, resume, 0)
}

/// Trains all that a spec says, and reads monitors every so many steps.
pub fn train_all<E: Executor>(
    exec: &mut E,
    compiled: &Compiled,
    folder: &RunFolder,
    resume: bool,
    monitors: u64,
) -> (Result<Summary, String>, Notes) {
    let data: Vec<_> = compiled.data.iter().map(|p| Arc::new(ganc::data::open(p).expect("readable"))).collect();
    let stop = AtomicBool::new(false);
    let mut trainer = Trainer {
        compiled,
        exec,
        data: &data,
        folder,
        spec: "spec".into(),
        stop: &stop,
        monitors,
        autosave: Duration::MAX,
    };
    let loaded = checkpoint::newest(&folder.checkpoints(), Some("spec")).unwrap().0;
    let mut ui = Notes::default();
    let end = trainer.run(if resume { loaded.as_ref() } else { None }, &mut ui);
    (end.map_err(|e| e.to_string()), ui)
}

/// A run folder.
pub fn folder(at: &Path) -> RunFolder {
    let record = RunRecord {
        format: FORMAT,
        ganc: String::new(),
        sources: vec![],
        set: vec![],
        steps: None,
        seed: None,
        only: None,
        precision: None,
        tiles: None,
    };
    RunFolder::create(Some(at), "ring", &record).unwrap()
}

#[test]
fn runs_go_on_where_the_other_device_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let cpu = || CpuExecutor::new(CpuOptions::default());
    let cuda = || executor(&Fake::new(PLENTY), CudaOptions::default());
    let (plain, mixed) = (folder(&dir.path().join("plain")), folder(&dir.path().join("mixed")));
    let whole = train(&mut cpu(), RING, &plain, 60, false);
    whole.0.unwrap();
    // Twenty steps here, twenty there, twenty here again.
    let mut losses = vec![];
    for (steps, on_cuda) in [(20, true), (40, false), (60, true)] {
        let (end, notes) = match on_cuda {
            true => train(&mut cuda(), RING, &mixed, steps, steps > 20),
            false => train(&mut cpu(), RING, &mixed, steps, true),
        };
        end.unwrap();
        losses.extend(notes.losses);
    }
    assert_eq!(losses.len(), 60);
    for (i, ((step, a), (_, b))) in losses.iter().zip(&whole.1.losses).enumerate() {
        assert_eq!(*step, i as u64 + 1, "steps are told in order");
        for ((player, a), (_, b)) in a.iter().zip(b) {
            assert!((a - b).abs() < 1e-3, "{player} at {step}: {a} {b}");
        }
    }
    let last = |f: &RunFolder| checkpoint::newest(&f.checkpoints(), None).unwrap().0.unwrap();
    let (a, b) = (last(&plain), last(&mixed));
    assert_eq!(a.manifest.position.minibatches, b.manifest.position.minibatches);
    for (name, t) in &a.tensors {
        let (t, u) = (t.to_f64(), b.tensors[name].to_f64());
        let off = t.iter().zip(&u).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
        assert!(off < 2e-3, "{name} is off by {off}");
    }
}

#[test]
fn a_device_that_fails_ends_the_run_and_leaves_the_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(&dir.path().join("run"));
    let device = Fake::new(PLENTY);
    let mut exec = executor(&device, CudaOptions { capture: false, ..CudaOptions::default() });
    let compiled = compile_file(&repo(RING)).unwrap();
    let launches = executor(&Fake::new(PLENTY), CudaOptions::default())
        .compile(&compiled.trains[0].iterations[0].graph)
        .unwrap()
        .launch_count();
    // In the thirtieth iteration or so: the checkpoint of the twentieth is there.
    device.fail_after(30 * launches);
    let (end, _) = train(&mut exec, RING, &folder, 60, false);
    let e = end.unwrap_err();
    assert!(e.contains("NVIDIA Fake fails in cuLaunchKernel"), "{e}");
    let newest = checkpoint::newest(&folder.checkpoints(), Some("spec")).unwrap().0.unwrap();
    assert_eq!(newest.manifest.position.step, 20);
}
