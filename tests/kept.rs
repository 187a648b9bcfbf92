//! Functions with state against plain programs of their definitions: `replay`, `drift`, `past`; `joint` and `fresh`.

use crate::build::compile;
use crate::golden_util::host;
use ganc::build::program::Compiled;
use ganc::exec::Executor;
use ganc::exec::cpu::{CpuExecutor, CpuOptions};
use ganc::graph::HostTensor;
use ganc::graph::eval::{Env, Tensor, eval_outputs};
use std::collections::{BTreeMap, VecDeque};

/// The state of a run on the oracle, and the same run on the CPU beside it.
struct Run {
    c: Compiled,
    env: Env,
    step: u32,
    losses: BTreeMap<String, f64>,
    cpu: CpuExecutor,
    program: <CpuExecutor as Executor>::Program,
}

impl Run {
    fn new(spec: &str) -> Self {
        let (c, _) = compile("kept.gan", spec, 64).unwrap_or_else(|e| panic!("{e}"));
        let mut env = Env::new().input("seed", Tensor::u32(&[2], &[7, 1]));
        let mut cpu = CpuExecutor::new(CpuOptions::default());
        for d in &c.tensors {
            let start = match d.init {
                ganc::layers::Init::Constant(v) => v,
                _ => 0.5,
            };
            let t = Tensor::new(d.ty.clone(), vec![start; d.ty.elements()]);
            cpu.store(&d.name, &host(&t)).unwrap();
            env = if d.trained { env.param(&*d.name, t) } else { env.state(&*d.name, t) };
        }
        let program = cpu.compile(&c.trains[0].iterations[0].graph).unwrap();
        Self { c, env, step: 0, losses: BTreeMap::new(), cpu, program }
    }

    /// One iteration with these minibatches, on both executors.
    fn step(&mut self, inputs: &[(&str, Tensor)]) {
        self.step += 1;
        let mut env = std::mem::take(&mut self.env).input("iteration", Tensor::u32(&[], &[self.step]));
        for (name, t) in inputs {
            env = env.input(*name, t.clone());
        }
        let g = &self.c.trains[0].iterations[0].graph;
        let given: Vec<(String, HostTensor)> = env.inputs.iter().map(|(n, t)| (n.to_string(), host(t))).collect();
        let given: Vec<(&str, &HostTensor)> = given.iter().map(|(n, t)| (n.as_str(), t)).collect();
        self.cpu.run(&mut self.program, &given).unwrap();
        for (name, t) in eval_outputs(g, &env).unwrap() {
            match name.split_once(':') {
                Some(("param", n)) => drop(env.params.insert(n.into(), t)),
                Some(("state", n)) => drop(env.states.insert(n.into(), t)),
                Some(("loss", n)) => drop(self.losses.insert(n.into(), t.item())),
                _ => {}
            }
        }
        self.env = env;
    }

    /// A state; the CPU must have the same.
    fn state(&self, name: &str) -> Vec<f64> {
        let ours = self.env.states.get(name).unwrap_or_else(|| panic!("no state {name}")).data.to_vec();
        let cpu = self.cpu.fetch(name).unwrap().unwrap().to_f64();
        let far = ours.iter().zip(&cpu).any(|(a, b)| (a - b).abs() > 1e-5 * a.abs().max(1.0));
        assert!(!far, "{name}: {ours:?} on the oracle, {cpu:?} on the CPU");
        ours
    }
}

const BATCH: usize = 4;
const CAPACITY: usize = 10;
const STEPS: usize = 120;

/// A player that keeps what `replay` gives in a second buffer, which never fills: the record of all results.
fn recorder(rule: &str, share: f64) -> Run {
    Run::new(&format!(
        "data ring8 = ring(modes: 8)
network W() -> [] {{
    param w: [] = 0
    it = w
}}
train {{
    batch {BATCH}
    steps 1
    draw x, m ~ ring8.point, ring8.mode
    player W {{
        let old, mark = replay(x, m, capacity: {CAPACITY}, share: {share}, rule: {rule})
        let seen, marks = replay(old, mark, capacity: 4_000)
        minimize W() * mean(seen)
        using sgd(lr: 0)
    }}
}}"
    ))
}

/// Buffer and results of a plain program of the rule, told which slots were drawn.
struct Model {
    buffer: Vec<f64>,
}

impl Model {
    fn step(&mut self, x: &[f64], out: &[f64], after: &[f64], pop: bool) -> Vec<usize> {
        if self.buffer.len() < CAPACITY {
            assert_eq!(out, x, "a buffer that fills passes samples on");
            let room = CAPACITY - self.buffer.len();
            self.buffer.extend(x.iter().take(room));
            assert_eq!(after[..self.buffer.len()], self.buffer);
            return Vec::new();
        }
        let mut slots = Vec::new();
        for (&new, &got) in x.iter().zip(out) {
            // Every sample is one of a kind, so that its slot is seen from what changed.
            let given_back = self.buffer.iter().position(|&v| v == got);
            let put = after.iter().position(|&v| v == new);
            match (given_back, put) {
                (Some(i), Some(j)) => assert_eq!(i, j, "given back and put into different slots"),
                (None, None) => assert!(!pop && got == new, "`pop` always stores"),
                (None, Some(_)) => assert!(pop && got == new, "stored, and passed on as well"),
                (Some(_), None) => panic!("given back, and nothing put there"),
            }
            if let Some(j) = put {
                assert!(!slots.contains(&j), "slot {j} twice in one batch");
                slots.push(j);
            }
        }
        for (k, &new) in x.iter().enumerate() {
            if let Some(j) = after.iter().position(|&v| v == new) {
                self.buffer[j] = new;
                assert!(pop || out[k] != new);
            }
        }
        assert_eq!(after, self.buffer, "other slots stay");
        slots
    }
}

#[test]
fn replay_follows_its_rules() {
    for (rule, share) in [("exchange", 0.5), ("pop", 0.5), ("exchange", 1.0), ("exchange", 0.0)] {
        let mut run = recorder(rule, share);
        let mut model = Model { buffer: Vec::new() };
        let mut uses = vec![0; CAPACITY];
        let mut returned = 0;
        for k in 0..STEPS {
            let ids: Vec<f64> = (0..BATCH).map(|i| (k * BATCH + i + 1) as f64).collect();
            let points = ids.iter().flat_map(|&v| [v, -v]).collect();
            let labels: Vec<u32> = ids.iter().map(|&v| v as u32 % 8).collect();
            run.step(&[
                ("batch:0.point#0", Tensor::f32(&[BATCH, 2], points)),
                ("batch:0.mode#0", Tensor::u32(&[BATCH], &labels)),
            ]);
            let first = |name: &str, from: usize, n: usize| -> Vec<f64> {
                run.state(name).chunks(2).skip(from).take(n).map(|p| p[0]).collect()
            };
            let out = first("replay:W.seen.1.0", k * BATCH, BATCH);
            let after = first("replay:W.old.1.0", 0, CAPACITY);
            let slots = model.step(&ids, &out, &after, rule == "pop");
            slots.iter().for_each(|&j| uses[j] += 1);
            returned += out.iter().zip(&ids).filter(|(a, b)| a != b).count();
            let marks = &run.state("replay:W.seen.1.1")[k * BATCH..][..BATCH];
            assert!(marks.iter().zip(&out).all(|(m, v)| *m == *v % 8.0), "labels belong to their samples");
        }
        // 117 batches meet a full buffer; a share of 0.5 is 234 of 468 with a standard deviation of 11.
        let met = (STEPS - 3) * BATCH;
        assert!((returned as f64 - met as f64 * share).abs() < 45.0, "{rule} {share}: {returned}");
        let stored: usize = uses.iter().sum();
        let want = stored as f64 / CAPACITY as f64;
        assert!(uses.iter().all(|&n| (n as f64 - want).abs() <= 5.0 * want.sqrt()), "{rule}: {uses:?}");
    }
}

#[test]
fn drift_is_from_the_exact_mean() {
    let mut run = Run::new(
        "network X() -> [] {
    param x: [] = 2
    it = x
}
train {
    batch 1
    steps 1
    player X {
        minimize (X() - 1) ^ 2
        using sgd(lr: 0.1)
    }
    trick historical_averaging(weight: 0.25)
}",
    );
    // x_0 = 2; one step of 2 (x - 1) + 0.25 * 2 (x - mean of all values so far).
    let mut values = vec![2.0f64];
    for _ in 0..30 {
        let (x, mean) = (values[values.len() - 1], values.iter().sum::<f64>() / values.len() as f64);
        run.step(&[]);
        assert!((run.losses["X"] - (x - 1.0).powi(2) - 0.25 * (x - mean).powi(2)).abs() < 1e-12);
        values.push(x - 0.1 * (2.0 * (x - 1.0) + 0.5 * (x - mean)));
        assert!((run.env.params["X.x"].item() - values[values.len() - 1]).abs() < 1e-12);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        assert!((run.state("drift:X.x")[0] - mean).abs() < 1e-12);
    }
}

/// X counts iterations; what a snapshot of it says is seen in W's loss.
fn snapshots(arguments: &str) -> Run {
    Run::new(&format!(
        "network X() -> [] {{
    param x: [] = 0
    it = x
}}
network W() -> [] {{
    param w: [] = 0
    it = w
}}
train {{
    batch 1
    steps 1
    player W {{
        minimize past(X, {arguments})() + 0 * W()
        using sgd(lr: 0)
    }}
    player X {{
        minimize -X()
        using sgd(lr: 1)
    }}
}}"
    ))
}

#[test]
fn past_is_one_of_the_last_snapshots() {
    let mut run = snapshots("keep: 2, every: 3");
    let mut kept: VecDeque<f64> = VecDeque::new();
    let mut seen = BTreeMap::new();
    for t in 1..=90 {
        run.step(&[]);
        let value = run.losses["W"];
        match kept.is_empty() {
            true => assert_eq!(value, f64::from(t) - 1.0, "as it is until there is a snapshot"),
            false => {
                let at = kept.iter().position(|&v| v == value);
                *seen.entry(at.unwrap_or_else(|| panic!("{value} is none of {kept:?}"))).or_insert(0) += 1;
            }
        }
        if t % 3 == 0 {
            kept.push_back(f64::from(t));
            if kept.len() > 2 {
                kept.pop_front();
            }
        }
        let mut table = run.state("past:X.x");
        table.retain(|&v| v != 0.0);
        table.sort_by(f64::total_cmp);
        assert_eq!(table, Vec::from(kept.clone()));
    }
    assert!(seen[&0] > 20 && seen[&1] > 20, "each is picked: {seen:?}");
}

#[test]
fn past_swaps_for_the_end_of_each_period() {
    let mut run = snapshots("keep: 3, every: 1, swap_each: 5, for: 2");
    let mut within = Vec::new();
    let mut picked = std::collections::BTreeSet::new();
    for t in 1..=100 {
        let held: Vec<f64> = (1..t).rev().take(3).map(f64::from).collect();
        run.step(&[]);
        let value = run.losses["W"];
        if (t - 1) % 5 < 3 {
            assert_eq!(value, f64::from(t) - 1.0, "iteration {t} plays against the present");
            within.clear();
        } else {
            assert!(held.contains(&value), "iteration {t}: {value} is none of {held:?}");
            within.push(run.state("past:X.pick")[0]);
            assert_eq!(within[0], within[within.len() - 1], "one slot for the whole swap");
            picked.insert(within[0] as u32);
        }
    }
    assert_eq!(picked.len(), 3);
}

/// What `joint` gives for a norm without parameters, recorded by a buffer.
fn joint(stats: &str) -> (Vec<f64>, Vec<f64>) {
    let mut run = Run::new(&format!(
        "data ring8 = ring(modes: 8)
discriminator D(x: [2]) -> [2] {{
    batch_norm(affine: false)
}}
network W() -> [] {{
    param w: [] = 0
    it = w
}}
train {{
    batch 4
    steps 1
    draw a ~ ring8.point
    draw b ~ ring8.point
    player W {{
        let r, f = joint(D, stats: {stats})(a, b)
        let x, y = replay(r, f, capacity: 4)
        minimize W() * mean(x + y)
        using sgd(lr: 0)
    }}
}}"
    ));
    run.step(&[
        ("batch:0.point#0", Tensor::f32(&[4, 2], A.to_vec())),
        ("batch:1.point#0", Tensor::f32(&[4, 2], B.to_vec())),
    ]);
    (run.state("replay:W.x.1.0"), run.state("replay:W.x.1.1"))
}

const A: [f64; 8] = [1.0, 2.0, 3.0, -1.0, 0.5, 0.0, 2.5, 4.0];
const B: [f64; 8] = [-3.0, 1.0, 5.0, 2.0, 7.0, -2.0, 0.0, 0.5];

/// A channel of some batches: mean and biased variance.
fn moments(batches: &[&[f64; 8]], channel: usize) -> (f64, f64) {
    let all: Vec<f64> = batches.iter().flat_map(|b| b.chunks(2).map(|p| p[channel])).collect();
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    (mean, all.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / all.len() as f64)
}

#[test]
fn joint_batches_are_normalised_together() {
    for (stats, of) in [
        ("joint", [&[&A, &B][..], &[&A, &B][..]]),
        ("real", [&[&A][..], &[&A][..]]),
        ("fake", [&[&B][..], &[&B][..]]),
        ("cross", [&[&A][..], &[&B][..]]),
    ] {
        let (r, f) = joint(stats);
        for (got, x) in [(&r, &A), (&f, &B)] {
            for (i, v) in x.iter().enumerate() {
                let (mean, var) = moments(of[i % 2], i % 2);
                let want = (v - mean) / (var + 1e-5).sqrt();
                assert!((got[i] - want).abs() < 1e-9, "{stats}: {} but {want}", got[i]);
            }
        }
    }
}

#[test]
fn fresh_has_noise_of_its_own() {
    let mut run = Run::new(
        "data ring8 = ring(modes: 8)
network N(x: [2]) -> [2] { dropout(0.5) }
network W() -> [] {
    param w: [] = 0
    it = w
}
train {
    batch 4
    steps 1
    draw x ~ ring8.point
    player same updates W {
        minimize W() + mean(abs(N(x) - N(x)))
        using sgd(lr: 0)
    }
    player other updates W {
        minimize W() + mean(abs(fresh(N)(x) - N(x)))
        using sgd(lr: 0)
    }
    player both updates W {
        minimize W() + mean(abs(fresh(N)(x) - fresh(N)(x)))
        using sgd(lr: 0)
    }
}",
    );
    let batch = || Tensor::f32(&[4, 2], vec![1.0; 8]);
    let (one, two, three) = ("batch:0.point#0", "batch:0.point#1", "batch:0.point#2");
    run.step(&[(one, batch()), (two, batch()), (three, batch())]);
    assert_eq!(run.losses["same"], 0.0);
    assert!(run.losses["other"] > 0.0 && run.losses["both"] > 0.0, "{:?}", run.losses);
}
