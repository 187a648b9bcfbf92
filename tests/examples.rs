//! Whole specs, cut down: the oracle, the unfused and the fused executor agree on an iteration of every example.

use crate::golden_util::error;
use crate::support::{compile_as, repo};
use ganc::build::program::{Compiled, TrainProgram};
use ganc::data::Dataset;
use ganc::exec::cpu::{CpuExecutor, CpuOptions};
use ganc::exec::oracle::Oracle;
use ganc::exec::{ExecError, Executor};
use ganc::graph::HostTensor;
use ganc::train::{driver, feed};
use std::sync::Arc;

/// Iterations that are compared: in the second one moments, statistics and counters are no longer at their start.
const STEPS: u64 = 2;

/// What iterations did: losses, and the persistent tensors after each.
#[derive(Default)]
pub struct Trace {
    /// By names that tell the iteration.
    pub found: Vec<(String, Vec<f64>)>,
    /// The persistent tensors after each iteration.
    states: Vec<Vec<(String, HostTensor)>>,
}

/// Runs the first iterations of each `train`. Later ones begin where those of `lead` did: Adam makes a step of the
/// learning rate of any gradient, rounding noise included, and the next gradient would show it many times over.
pub fn run<E: Executor>(c: &Compiled, exec: &mut E, lead: Option<&Trace>) -> Result<Trace, ExecError> {
    driver::initialise(c, exec, 1, None).unwrap();
    let data: Vec<_> = c.data.iter().map(|p| Arc::new(ganc::data::open(p).expect("bundled data"))).collect();
    let mut trace = Trace::default();
    for (t, train) in c.trains.iter().enumerate() {
        driver::initialise(c, exec, 1, Some(t)).unwrap();
        iterate(c, train, &data, exec, lead, &mut trace)?;
    }
    Ok(trace)
}

fn iterate<E: Executor>(
    c: &Compiled,
    train: &TrainProgram,
    data: &[Arc<Dataset>],
    exec: &mut E,
    lead: Option<&Trace>,
    trace: &mut Trace,
) -> Result<(), ExecError> {
    let loaders = driver::loaders(train, data).expect("loaders");
    let mut counters = vec![0; train.lines.len()];
    for step in 1..=STEPS {
        if let Some(states) = lead.filter(|_| step > 1).map(|l| &l.states) {
            for (name, value) in &states[trace.states.len() - 1] {
                exec.store(name, value)?;
            }
        }
        let it = &train.iterations[feed::variant(train, step).expect("a variant")];
        let batches = feed::batches(it, &loaders, &counters);
        counters.iter_mut().zip(&it.fresh).for_each(|(c, f)| *c += *f as u64);
        let seed = HostTensor::u32([2], vec![1, 0]);
        let count = HostTensor::u32([], vec![step as u32]);
        let mut inputs: Vec<(&str, &HostTensor)> = vec![("seed", &seed), ("iteration", &count)];
        inputs.extend(it.inputs.iter().zip(&batches).map(|(i, t)| (&*i.input, t)));
        let mut program = exec.compile(&it.graph)?;
        let of = format!("step {step} of {}", train.name);
        for (name, t) in exec.run(&mut program, &inputs)? {
            trace.found.push((format!("{name} of {of}"), t.to_f64()));
        }
        let mut state = vec![];
        for d in &c.tensors {
            // Those of a later `train` have no value yet.
            let Some(value) = exec.fetch(&d.name)? else { continue };
            trace.found.push((format!("{} after {of}", d.name), value.to_f64()));
            state.push((d.name.to_string(), value));
        }
        trace.states.push(state);
    }
    Ok(())
}

/// How far a value may be off, of the largest of its tensor, or absolutely where that is less than 1: parameters by a
/// step of the learning rate (1e-3 and less) either way, which Adam makes of rounding noise; moments are gradients.
pub fn most(name: &str) -> f64 {
    if name.starts_with("opt") { 2e-4 } else { 2.5e-3 }
}

/// The oracle is slow: the batch is cut down to an awkward size in a copy beside the spec's data.
fn agree(spec: &str) {
    let path = repo(spec);
    let text = std::fs::read_to_string(&path).expect("a spec");
    let cut = |l: &str| if l.trim_start().starts_with("batch ") { "batch 3".into() } else { l.to_string() };
    let text: Vec<String> = text.lines().map(cut).collect();
    let c = compile_as(&path, &text.join("\n")).unwrap_or_else(|e| panic!("{spec}\n{e}"));
    let oracle = run(&c, &mut Oracle::default(), None).expect("the oracle runs");
    for fuse in [true, false] {
        let mut exec = CpuExecutor::new(CpuOptions { fuse, threads: 2, ..CpuOptions::default() });
        let cpu = run(&c, &mut exec, Some(&oracle)).expect("the CPU runs");
        assert_eq!(oracle.found.len(), cpu.found.len());
        for ((name, want), (_, got)) in oracle.found.iter().zip(&cpu.found) {
            let e = error(got, want, 1.0);
            let most = most(name);
            assert!(e < most, "{spec}: {name} is off by {e:e}, fused: {fuse}");
        }
    }
}

macro_rules! executors_agree {
    ($($name:ident $spec:literal)*) => {
        $(#[test] fn $name() { agree($spec); })*
        const COVERED: &[&str] = &[$($spec),*];
    };
}

executors_agree! {
    avatars "examples/avatars.gan"
    dcgan "examples/dcgan.gan"
    lsgan "examples/lsgan.gan"
    mnist_classifier "examples/mnist_classifier.gan"
    norms "examples/norms.gan"
    ring "examples/ring.gan"
    ring_tricks "examples/ring_tricks.gan"
    saddle_game "examples/saddle_game.gan"
    sngan "examples/sngan.gan"
    stacked_mnist "examples/stacked_mnist.gan"
    unrolled_ring "examples/unrolled_ring.gan"
    wgan_gp "examples/wgan_gp.gan"
    small_ring "tests/train/ring.gan"
    small_digits "tests/train/digits.gan"
    state_of_tricks "tests/train/kept.gan"
}

#[test]
fn every_example_is_covered() {
    for entry in std::fs::read_dir(repo("examples")).expect("a folder") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        assert!(!name.ends_with(".gan") || COVERED.contains(&format!("examples/{name}").as_str()), "{name}");
    }
}
