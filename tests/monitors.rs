//! Monitors: values that are known, and that watching a run changes nothing.

use crate::support::compile_text;
use ganc::build::program::Compiled;
use ganc::exec::Executor;
use ganc::exec::cpu::{CpuExecutor, CpuOptions};
use ganc::graph::HostTensor;
use ganc::train::{driver, feed};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Readings of the first iteration, and the spec's tensors after it.
struct First {
    readings: BTreeMap<String, Vec<f64>>,
    before: BTreeMap<String, Vec<f64>>,
    after: BTreeMap<String, Vec<f64>>,
}

fn first(text: &str) -> First {
    let c: Compiled = compile_text(text).unwrap_or_else(|e| panic!("{e}"));
    let train = &c.trains[0];
    let mut exec = CpuExecutor::new(CpuOptions { threads: 1, ..CpuOptions::default() });
    driver::initialise(&c, &mut exec, 1, None).expect("stored");
    driver::initialise(&c, &mut exec, 1, Some(0)).expect("stored");
    let data: Vec<_> = c.data.iter().map(|p| Arc::new(ganc::data::open(p).expect("generated"))).collect();
    let loaders = driver::loaders(train, &data).expect("loaders");
    let it = &train.iterations[0];
    let batches = feed::batches(it, &loaders, &vec![0; train.lines.len()]);
    let (seed, count) = (HostTensor::u32([2], vec![1, 0]), HostTensor::u32([], vec![1]));
    let mut inputs: Vec<(&str, &HostTensor)> = vec![("seed", &seed), ("iteration", &count)];
    inputs.extend(it.inputs.iter().zip(&batches).map(|(i, t)| (&*i.input, t)));
    let all = |exec: &CpuExecutor| -> BTreeMap<String, Vec<f64>> {
        let value = |n: &str| exec.fetch(n).expect("readable").expect("it is stored").to_f64();
        c.tensors.iter().map(|d| (d.name.to_string(), value(&d.name))).collect()
    };
    let before = all(&exec);
    let mut watch = exec.compile(&it.watch.graph).expect("it compiles");
    let outputs = exec.run(&mut watch, &inputs).expect("it runs");
    let readings = outputs.into_iter().map(|(n, t)| (n.to_string(), t.to_f64())).collect();
    assert_eq!(all(&exec), before, "a reading changed a tensor");
    let mut program = exec.compile(&it.graph).expect("it compiles");
    exec.run(&mut program, &inputs).expect("it runs");
    First { readings, before, after: all(&exec) }
}

impl First {
    fn get(&self, name: &str) -> f64 {
        self.readings.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.readings.keys()))[0]
    }

    /// Length of the step that a network's parameters took.
    fn moved(&self, network: &str) -> f64 {
        let own = self.before.iter().filter(|(n, _)| n.starts_with(&format!("{network}.")));
        let square =
            |(n, b): (&String, &Vec<f64>)| b.iter().zip(&self.after[n]).map(|(x, y)| (x - y).powi(2)).sum::<f64>();
        own.map(square).sum::<f64>().sqrt()
    }
}

/// Reals are at x = ±1, half each; the judge's score is x.
const FIXED: &str = "
data corners = grid(side: 2, spacing: 2, std: 0.001)
generator G(z: [2]) -> [2] { GENERATOR }
discriminator D(x: [2]) -> [1] { param w: [1] = 1; it = x[0..1] * w }
train {
    batch 64
    steps 1
    draw z: [2] ~ uniform(0, 1)
    draw real ~ corners.point
    LOSS
    player D { using sgd(lr: 1) }
    player G { using sgd(lr: 1) }
}
";

fn fixed(generator: &str, loss: &str) -> First {
    first(&FIXED.replace("GENERATOR", generator).replace("LOSS", loss))
}

#[test]
fn accuracies_and_their_cuts() {
    // Fakes at 3; then at 0.25, between the cuts of logits and of squares.
    let three = "param p: [1] = 3; it = 0 * z + p";
    let quarter = "param p: [1] = 0.25; it = 0 * z + p";
    let near = |v: f64, want: f64| (v - want).abs() < 0.2;
    let r = fixed(three, "loss non_saturating");
    assert!(near(r.get("real.D"), 0.5) && r.get("fake.D") == 0.0, "{:?}", r.readings);
    let r = fixed(quarter, "loss hinge");
    assert!(near(r.get("real.D"), 0.5) && r.get("fake.D") == 0.0, "{:?}", r.readings);
    // Targets 1 and 0: cut at 0.5.
    let r = fixed(quarter, "loss least_squares");
    assert!(near(r.get("real.D"), 0.5) && r.get("fake.D") == 1.0, "{:?}", r.readings);
    // A critic: halfway between the means, 0 and 3.
    let r = fixed(three, "loss wasserstein");
    assert!(r.get("real.D") == 0.0 && r.get("fake.D") == 0.0, "{:?}", r.readings);
    // Smoothed and penalised: points between the two are neither.
    let r = fixed(
        three,
        "loss non_saturating
    trick one_sided_label_smoothing(real: 0.9)
    trick gradient_penalty(lambda: 1)",
    );
    assert!(near(r.get("real.D"), 0.5) && r.get("fake.D") == 0.0, "{:?}", r.readings);
}

#[test]
fn gradients_are_what_sgd_moves_by() {
    for loss in ["loss non_saturating", "loss least_squares"] {
        let r = fixed("linear(2)", loss);
        for player in ["D", "G"] {
            let (norm, moved) = (r.get(&format!("gradient.{player}")), r.moved(player));
            assert!(norm > 1e-4 && (norm - moved).abs() < 1e-5 * norm.max(1.0), "{player}: {norm} {moved}");
        }
    }
}

#[test]
fn likeness_of_samples() {
    // All the same; samples of the data's shape; half in one corner.
    let same = fixed("param p: [1] = 3; it = 0 * z + p", "loss hinge");
    assert!((same.get("correlation.G") - 1.0).abs() < 1e-5, "{:?}", same.readings);
    let data = fixed("param p: [1] = 1; it = sign(z - 0.5) * p", "loss hinge");
    assert!(data.get("correlation.G").abs() < 0.1, "{:?}", data.readings);
    // Points of data with known modes come along.
    assert_eq!(data.readings["modes.G"].len(), 128);
}

#[test]
fn coupling_of_samples() {
    let alone = fixed("linear(8); relu; linear(2)", "loss hinge");
    assert!(!alone.readings.contains_key("coupling.G"));
    let norm = fixed("linear(8); batch_norm; relu; linear(2)", "loss hinge").get("coupling.G");
    assert!(norm > 0.005 && norm < 0.5, "{norm}");
    // Two samples a batch would couple more; below four nothing is said.
    let few = FIXED.replace("batch 64", "batch 4").replace("GENERATOR", "linear(8); batch_norm; relu; linear(2)");
    let few = first(&few.replace("LOSS", "loss hinge")).get("coupling.G");
    assert!(few > norm, "{few} {norm}");
    // What a dropout mask does is no coupling.
    let masked = fixed("linear(8); batch_norm; dropout(0.5); linear(2)", "loss hinge");
    assert!(!masked.readings.contains_key("coupling.G"));
}

#[test]
fn conditions_and_pairs() {
    // A judge of pairs: the first argument is data in both, the second is what is judged. No adversary at all: gradients.
    let r = first(
        "data corners = grid(side: 2, spacing: 2, std: 0.001)
generator G(x: [2]) -> [2] { linear(2) }
discriminator D(x: [2], y: [2]) -> [1] { it = concat(x, y); linear(1) }
train {
    batch 16
    steps 1
    draw a ~ corners.point
    draw b ~ corners.point
    loss hinge(D(a, b), D(a, G(a)))
    player D { using sgd(lr: 1) }
    player G { using sgd(lr: 1) }
}",
    );
    assert!(r.readings.contains_key("real.D") && r.readings.contains_key("fake.D"), "{:?}", r.readings);
    let plain = first(
        "network P() -> [1] { param p: [1] = 3; it = p }
train { batch 1; steps 1; player P { minimize sum(P() ^ 2); using sgd(lr: 0.1) } }",
    );
    assert_eq!(plain.readings.keys().collect::<Vec<_>>(), ["gradient.P"]);
    assert_eq!(plain.get("gradient.P"), 6.0);
}
