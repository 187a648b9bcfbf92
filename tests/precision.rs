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
        self.losses()[0]
    }

    /// One iteration; its losses.
    fn losses(&mut self) -> Vec<f64> {
        self.iteration += 1;
        let seed = HostTensor::u32([2], vec![7, 0]);
        let iteration = HostTensor::u32([], vec![self.iteration]);
        let inputs = [("seed", &seed), ("iteration", &iteration)];
        let out = self.exec.run(&mut self.program, &inputs).expect("it runs");
        out.iter().filter(|o| o.0.starts_with("loss:")).map(|o| o.1.to_f64()[0]).collect()
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

/// A judge seen three updates ahead, in some precision; `rate` is large where gradients should overflow.
fn ahead(precision: &str, order: &str) -> Compiled {
    let text = format!(
        "generator G(z: [4]) -> [2] {{ linear(16); tanh; linear(2) }}
discriminator D(x: [2]) -> [1] {{ linear(16); tanh; linear(1) }}
train {{
    batch 16
    steps 20
    precision {precision}
    draw z: [4] ~ normal
    draw u: [2] ~ normal
    let real = u / 4 + 1
    loss non_saturating(D(real), D(G(z)))
    player D {{ using adam(lr: 1e-2, beta1: 0.5) }}
    player G {{ using adam(lr: 1e-2, beta1: 0.5) }}
    trick unrolled(steps: 3, order: {order})
}}
"
    );
    compile_text(&text).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn halves_look_ahead_as_f32_does_within_their_rounding() {
    for order in ["full", "first"] {
        let run = |precision: &str| {
            let c = ahead(precision, order);
            let (mut cpu, mut oracle) = (Run::new(&c, cpu()), Run::new(&c, Oracle::default()));
            let losses: Vec<f64> = (0..20).map(|_| cpu.step()).collect();
            let exact: Vec<f64> = (0..20).map(|_| oracle.step()).collect();
            for t in &c.tensors {
                assert!(cpu.get(&t.name).iter().all(|v| v.is_finite()), "{precision} {order}: {}", t.name);
            }
            // Roundings at the border between two halves differ, so whole runs agree less than one step does.
            for (a, b) in losses.iter().zip(&exact) {
                assert!((a - b).abs() <= 0.01 * b.abs(), "{precision} {order}: {losses:?}, oracle {exact:?}");
            }
            let scale = (precision == "f16").then(|| cpu.get("opt:G.scale")[0]);
            (losses, cpu.get("G.linear2.weight"), scale)
        };
        let (full, weights, _) = run("f32");
        for (precision, tolerance) in [("bf16", 0.05), ("f16", 0.01)] {
            let (losses, halves, scale) = run(precision);
            assert_ne!(losses, full, "{precision} rounds");
            for (l, f) in losses.iter().zip(&full) {
                assert!((l - f).abs() <= tolerance * f.abs(), "{precision} {order}: {losses:?}, f32 {full:?}");
            }
            let far = halves.iter().zip(&weights).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(far <= 0.05, "{precision} {order}: weights differ by {far}");
            // Twenty updates without overflow, or with few: the scale has not collapsed.
            assert!(scale.is_none_or(|s| s >= 256.0), "{order}: the scale is {scale:?}");
        }
    }
}

/// The judge's gradients overflow at the first scales: also those of the updates that the generator sees ahead.
#[test]
fn an_overflow_ahead_skips_what_would_be_skipped() {
    let text = "generator G(z: [4]) -> [2] { linear(2) }
discriminator D(x: [2]) -> [1] { linear(1) }
train {
    batch 4
    steps 20
    precision f16
    draw z: [4] ~ normal
    draw real: [2] ~ normal
    player D { minimize 8 * mean(D(G(z)) - D(real)); using adam(lr: 1e-2) }
    player G { minimize -mean(unroll(D, steps: 3)(G(z))); using adam(lr: 1e-2) }
}
";
    let c = compile_text(text).unwrap_or_else(|e| panic!("{e}"));
    let mut run = Run::new(&c, cpu());
    let start = run.get("G.linear1.weight");
    for _ in 0..20 {
        let losses = run.losses();
        assert!(losses.iter().all(|l| l.is_finite()), "{losses:?} after {}", run.iteration);
    }
    assert!(run.get("opt:D.scale")[0] < 65536.0, "nothing has overflowed, so nothing was tested");
    assert_ne!(run.get("G.linear1.weight"), start, "the generator learns once scales fit");
    assert!(c.tensors.iter().all(|t| run.get(&t.name).iter().all(|v| v.is_finite())));
}
