//! Checks on a real device. Without one each says so and passes: `tests/gpu.sh` is the command that needs one.

use crate::cuda_runtime::{check, folder, train};
use crate::examples;
use crate::random::{ALL, Allow, build, fixed_decisions};
use crate::support::{compile_as, repo};
use ganc::codegen::cuda::generate_tuned;
use ganc::exec::cpu::{CpuExecutor, CpuOptions};
use ganc::exec::cuda::{Cache, CudaExecutor, CudaOptions, Search, probe};
use ganc::exec::oracle::Oracle;
use ganc::exec::{ExecError, Executor};
use std::fs;

/// An executor on the first device; `None`, with a line that says why, where there is none.
fn device(test: &str, options: CudaOptions) -> Option<CudaExecutor> {
    let cache = Cache::from_environment(|t| println!("gpu: {t}"));
    match probe(0, &Search::from_environment(), cache) {
        Ok(found) => Some(CudaExecutor::new(Box::new(found.gpu), generate_tuned, options)),
        Err(e) => {
            println!("gpu: {test}: skipped, {e}");
            None
        }
    }
}

const FUSED: CudaOptions = CudaOptions { fuse: true, profile: false, capture: true, overlap: true, share: true };
const UNFUSED: CudaOptions = CudaOptions { fuse: false, ..FUSED };
const APART: CudaOptions = CudaOptions { share: false, ..FUSED };

#[test]
fn random_graphs_are_the_oracles() {
    for options in [FUSED, APART, UNFUSED] {
        let Some(mut exec) = device("random graphs", options) else { return };
        for seed in 0..40 {
            let r = build(&fixed_decisions(seed + 900, 20 + seed as usize), Allow { halves: false, ..ALL });
            let joined = ganc::passes::resample_worth(&r.graph, 0);
            check(&mut exec, &joined, &r.env, 2e-5);
        }
        println!("gpu: random graphs: 40 agree with the oracle ({options:?})");
    }
}

#[test]
fn random_graphs_with_halves_are_the_oracles_but_for_rounding() {
    let Some(mut exec) = device("halves", FUSED) else { return };
    for seed in 0..20 {
        let r = build(&fixed_decisions(seed + 2000, 25), ALL);
        check(&mut exec, &r.graph, &r.env, 5e-2);
    }
    println!("gpu: halves: 20 graphs agree with the oracle");
}

#[test]
fn examples_are_the_oracles() {
    let mut specs: Vec<_> = fs::read_dir(repo("examples")).unwrap().flatten().map(|e| e.path()).collect();
    specs.retain(|p| p.extension().is_some_and(|e| e == "gan"));
    specs.sort();
    for path in specs {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let Some(mut exec) = device(&name, FUSED) else { return };
        let text = fs::read_to_string(&path).unwrap();
        let cut = |l: &str| if l.trim_start().starts_with("batch ") { "batch 3".into() } else { l.to_string() };
        let text: Vec<String> = text.lines().map(cut).collect();
        let c = compile_as(&path, &text.join("\n")).unwrap_or_else(|e| panic!("{name}\n{e}"));
        let want = examples::run(&c, &mut Oracle::default(), None).expect("the oracle runs");
        let got = examples::run(&c, &mut exec, Some(&want)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut worst = (0.0, String::new());
        for ((tensor, want), (_, got)) in want.found.iter().zip(&got.found) {
            let e = crate::golden_util::error(got, want, 1.0) / examples::most(tensor);
            if e > worst.0 {
                worst = (e, tensor.clone());
            }
        }
        println!("gpu: {name}: two iterations, worst {:.2} of what it may be off, in {}", worst.0, worst.1);
        assert!(worst.0 < 1.0, "{name}: {} is off by {} times what it may be", worst.1, worst.0);
    }
}

#[test]
fn training_is_repeatable_and_follows_the_cpu() {
    let dir = tempfile::tempdir().unwrap();
    for (spec, steps) in [("tests/train/ring.gan", 60), ("tests/train/digits.gan", 10)] {
        let run = |exec: Option<CudaExecutor>, name: &str| {
            let folder = folder(&dir.path().join(format!("{steps}-{name}")));
            let (end, notes) = match exec {
                Some(mut exec) => train(&mut exec, spec, &folder, steps, false),
                None => train(&mut CpuExecutor::new(CpuOptions::default()), spec, &folder, steps, false),
            };
            end.unwrap();
            let file = folder.checkpoints().join(format!("0-{steps:08}.safetensors"));
            (notes.losses, fs::read(file).unwrap())
        };
        let Some(first) = device(spec, FUSED) else { return };
        let first = run(Some(first), "first");
        let again = run(device(spec, FUSED), "again");
        assert!(first.1 == again.1, "{spec}: two runs end in different bytes");
        let issued = run(device(spec, CudaOptions { capture: false, ..FUSED }), "issued");
        assert!(first.1 == issued.1, "{spec}: a captured run ends in other bytes than an issued one");
        let cpu = run(None, "cpu");
        let mut worst = 0.0f64;
        for ((step, ours), (_, theirs)) in first.0.iter().zip(&cpu.0) {
            for ((player, a), (_, b)) in ours.iter().zip(theirs) {
                worst = worst.max((a - b).abs());
                assert!((a - b).abs() < 2e-2 * b.abs().max(1.0), "{spec}: {player} at {step}: {a}, on the CPU {b}");
            }
        }
        println!("gpu: {spec}: {steps} steps, repeatable; losses within {worst:.1e} of the CPU's");
    }
}

#[test]
fn a_plan_that_does_not_fit_is_refused() {
    let Some(mut exec) = device("memory", FUSED) else { return };
    let mut g = ganc::graph::Graph::new();
    let x = g.param("x", &[1 << 20, 1 << 18]);
    let y = g.sum_all(x);
    g.output("y", y);
    let e = exec.compile(&g).err().expect("a tensor of 1 TiB");
    assert!(matches!(e, ExecError::Cuda(_)), "{e}");
    println!("gpu: memory: {e}");
}
