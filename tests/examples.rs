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

/// Losses of the iterations and the persistent tensors after them.
pub fn run<E: Executor>(c: &Compiled, exec: &mut E) -> Result<Vec<(String, Vec<f64>)>, ExecError> {
    driver::initialise(c, exec, 1, None).unwrap();
    let data: Vec<_> = c.data.iter().map(|p| Arc::new(ganc::data::open(p).expect("bundled data"))).collect();
    let mut found = Vec::new();
    for (t, train) in c.trains.iter().enumerate() {
        driver::initialise(c, exec, 1, Some(t)).unwrap();
        iterate(train, &data, exec, &mut found)?;
    }
    for d in &c.tensors {
        found.push((d.name.to_string(), exec.fetch(&d.name).unwrap().expect("it is stored").to_f64()));
    }
    Ok(found)
}

fn iterate<E: Executor>(
    train: &TrainProgram,
    data: &[Arc<Dataset>],
    exec: &mut E,
    found: &mut Vec<(String, Vec<f64>)>,
) -> Result<(), ExecError> {
    let loaders = driver::loaders(train, data).expect("loaders");
    let mut counters = vec![0; train.lines.len()];
    for step in 1..=STEPS {
        let it = &train.iterations[feed::variant(train, step).expect("a variant")];
        let batches = feed::batches(it, &loaders, &counters);
        counters.iter_mut().zip(&it.fresh).for_each(|(c, f)| *c += *f as u64);
        let seed = HostTensor::u32([2], vec![1, 0]);
        let count = HostTensor::u32([], vec![step as u32]);
        let mut inputs: Vec<(&str, &HostTensor)> = vec![("seed", &seed), ("iteration", &count)];
        inputs.extend(it.inputs.iter().zip(&batches).map(|(i, t)| (&*i.input, t)));
        let mut program = exec.compile(&it.graph)?;
        for (name, t) in exec.run(&mut program, &inputs)? {
            found.push((format!("{name} of step {step} of {}", train.name), t.to_f64()));
        }
    }
    Ok(())
}

/// The oracle is slow: the batch is cut down to an awkward size in a copy beside the spec's data.
fn agree(spec: &str) {
    let path = repo(spec);
    let text = std::fs::read_to_string(&path).expect("a spec");
    let cut = |l: &str| if l.trim_start().starts_with("batch ") { "batch 3".into() } else { l.to_string() };
    let text: Vec<String> = text.lines().map(cut).collect();
    let c = compile_as(&path, &text.join("\n")).unwrap_or_else(|e| panic!("{spec}\n{e}"));
    let oracle = run(&c, &mut Oracle::default()).expect("the oracle runs");
    for fuse in [true, false] {
        let mut exec = CpuExecutor::new(CpuOptions { fuse, threads: 2, ..CpuOptions::default() });
        let cpu = run(&c, &mut exec).expect("the CPU runs");
        assert_eq!(oracle.len(), cpu.len());
        for ((name, want), (_, got)) in oracle.iter().zip(&cpu) {
            // Adam makes a step of the learning rate of any gradient, rounding noise included, so tensors are compared
            // to an absolute 2.5e-3 (learning rates are 1e-3 and less, two steps) where they are small.
            let e = error(got, want, 1.0);
            assert!(e < 2.5e-3, "{spec}: {name} is off by {e:e}, fused: {fuse}");
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
