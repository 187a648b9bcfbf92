//! Mixed precision: what it changes of a training on the CPU, and the scale of objectives in f16.

use crate::support::compile_text;
use ganc::build::program::Compiled;
use ganc::exec::Executor;
use ganc::exec::cpu::{CpuExecutor, CpuOptions};
use ganc::exec::oracle::Oracle;
use ganc::graph::HostTensor;
use ganc::train::driver::initialise;

/// A run of iterations on fixed seeds.
struct Run<E: Executor> {
    exec: E,
    program: E::Program,
    iteration: u32,
}

impl<E: Executor> Run<E> {
    fn new(c: &Compiled, mut exec: E) -> Self {
        initialise(c, &mut exec, 7, None).expect("starts");
        initialise(c, &mut exec, 7, Some(0)).expect("starts");
        let program = exec.compile(&c.trains[0].iterations[0].graph).expect("it compiles");
        Run { exec, program, iteration: 0 }
    }

    /// One iteration; its first loss.
    fn step(&mut self) -> f64 {
        self.iteration += 1;
        let seed = HostTensor::u32([2], vec![7, 0]);
        let iteration = HostTensor::u32([], vec![self.iteration]);
        let inputs = [("seed", &seed), ("iteration", &iteration)];
        let out = self.exec.run(&mut self.program, &inputs).expect("it runs");
        out.iter().find(|o| o.0.starts_with("loss:")).expect("a loss").1.to_f64()[0]
    }

    fn get(&self, name: &str) -> Vec<f64> {
        let t = self.exec.fetch(name).expect("it is there");
        t.unwrap_or_else(|| panic!("no `{name}`")).to_f64()
    }
}

fn cpu() -> CpuExecutor {
    CpuExecutor::new(CpuOptions::default())
}

/// A network with a convolution and batch norm that learns a fixed function.
fn spec(precision: &str) -> Compiled {
    let text = format!(
        "generator G(z: [16]) -> [2, 8, 8] {{
    linear(8 * 4 * 4)
    reshape(8, 4, 4)
    batch_norm
    relu
    conv_transpose(4, kernel: 4, stride: 2, pad: 1)
    relu
    conv(2, kernel: 3, pad: 1)
}}
train {{
    batch 16
    steps 40
    precision {precision}
    draw z: [16] ~ normal
    let wanted = reshape(concat(z, -z, z * z, abs(z), z, -z, z * z, abs(z)), 2, 8, 8)
    player G {{ minimize mean((G(z) - wanted) ^ 2); using adam(lr: 1e-2) }}
}}
"
    );
    compile_text(&text).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn halves_train_as_f32_does_within_their_rounding() {
    let run = |precision: &str| {
        let mut run = Run::new(&spec(precision), cpu());
        (0..40).map(|_| run.step()).collect::<Vec<f64>>()
    };
    let full = run("f32");
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    assert!(mean(&full[30..]) < 0.9 * mean(&full[..10]), "f32 learns: {full:?}");
    for (precision, tolerance) in [("bf16", 0.03), ("f16", 0.004)] {
        let losses = run(precision);
        assert_ne!(losses, full, "{precision} rounds");
        let far = losses.iter().zip(&full).map(|(l, f)| (l - f).abs() / f).fold(0.0, f64::max);
        assert!(far <= tolerance, "{precision}: losses are up to {far} from those of f32");
    }
}

#[test]
fn the_cpu_rounds_as_the_oracle_does() {
    for (precision, tolerance) in [("bf16", 2e-4), ("f16", 2e-4)] {
        let c = spec(precision);
        let (mut a, mut b) = (Run::new(&c, cpu()), Run::new(&c, Oracle::default()));
        let (a, b) = (a.step(), b.step());
        assert!((a - b).abs() <= tolerance * b, "{precision}: {a}, oracle {b}");
    }
}

/// A linear map whose cotangent is twice the scale: 131072 at first, beyond f16.
fn steep() -> Compiled {
    let text = "generator G(z: [4]) -> [1] { linear(1) }
train {
    batch 4
    steps 10
    precision f16
    draw z: [4] ~ normal
    player G { minimize 8 * mean(G(z)); using adam(lr: 0.1) }
}
";
    compile_text(text).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn an_overflow_skips_the_update_and_halves_the_scale() {
    let c = steep();
    let trained: Vec<String> = c.tensors.iter().filter(|t| t.trained).map(|t| t.name.to_string()).collect();
    let moments: Vec<String> =
        c.tensors.iter().map(|t| t.name.to_string()).filter(|n| n.starts_with("opt:G.G.")).collect();
    assert!(!trained.is_empty() && !moments.is_empty());
    let mut run = Run::new(&c, cpu());
    let values =
        |run: &Run<CpuExecutor>, names: &[String]| names.iter().flat_map(|n| run.get(n)).collect::<Vec<_>>();
    let (start, still) = (values(&run, &trained), values(&run, &moments));
    for scale in [32768.0, 16384.0] {
        run.step();
        assert_eq!(run.get("opt:G.scale"), [scale]);
        assert_eq!((values(&run, &trained), values(&run, &moments)), (start.clone(), still.clone()));
        assert_eq!((run.get("opt:G.good"), run.get("opt:G.updates")), (vec![0.0], vec![0.0]));
    }
    run.step();
    assert_eq!((run.get("opt:G.scale"), run.get("opt:G.good")), (vec![16384.0], vec![1.0]));
    // Adam's first step is of the size of the rate, whatever the scale: its time counts updates that took place.
    for (a, b) in start.iter().zip(values(&run, &trained)) {
        assert!(((a - b).abs() - 0.1).abs() < 1e-4, "{a} to {b}");
    }
    assert_eq!(run.get("opt:G.updates"), [1.0]);
}

#[test]
fn the_scale_doubles_after_2000_updates() {
    let c = steep();
    let mut run = Run::new(&c, cpu());
    let set = |run: &mut Run<CpuExecutor>, name: &str, v: f32| {
        run.exec.store(name, &HostTensor::f32([], vec![v])).expect("it is kept");
    };
    set(&mut run, "opt:G.scale", 1024.0);
    set(&mut run, "opt:G.good", 1998.0);
    run.step();
    assert_eq!((run.get("opt:G.scale"), run.get("opt:G.good")), (vec![1024.0], vec![1999.0]));
    run.step();
    assert_eq!((run.get("opt:G.scale"), run.get("opt:G.good")), (vec![2048.0], vec![0.0]));
}
