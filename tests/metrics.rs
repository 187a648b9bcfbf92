//! Metrics as a spec asks for them, on samplers whose values are known; networks that start from another run.

use crate::support::compile_text;
use ganc::build::program::{Action, Compiled};
use ganc::exec::Executor;
use ganc::exec::cpu::{CpuExecutor, CpuOptions};
use ganc::graph::HostTensor;
use ganc::train::actions::{Programs, evaluate};
use ganc::train::{RunError, driver, pretrained};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Points at the corners of a square; classifiers without parameters; a player that the language asks for.
const COMMON: &str = "
data corners = grid(side: 2, spacing: 2, std: 0.05)
data rows = corners |> take(4_000)

network Sign(x: [1, 1, 1]) -> [2] { reshape(1); tap same; it = concat(-it, it) }
network Half(x: [2]) -> [2] { it = it / 2 }
network P() -> [1] { param p: [1] = 1; it = p }

train {
    batch 64
    steps 1
    draw z: [2] ~ uniform(1, 2)
    player P { minimize sum(P() ^ 2); using sgd(lr: 0.1) }
    every 1 steps {
        ACTIONS
    }
}
";

/// Values of all evaluations of a spec with these actions.
fn values(actions: &str) -> BTreeMap<String, f64> {
    let c = compile_text(&COMMON.replace("ACTIONS", actions)).unwrap_or_else(|e| panic!("{e}"));
    let mut exec = CpuExecutor::new(CpuOptions::default());
    driver::initialise(&c, &mut exec, 1, None).unwrap();
    let data: Vec<_> = c.data.iter().map(|p| Arc::new(ganc::data::open(p).expect("generated"))).collect();
    let mut programs = Programs::default();
    let mut all = BTreeMap::new();
    for a in c.trains[0].every.iter().flat_map(|e| &e.actions) {
        if let Action::Evaluate(e) = a {
            all.extend(evaluate(&mut exec, &mut programs, e, &data, [1, 0]).expect("it runs"));
        }
    }
    all
}

#[test]
fn stacked_modes() {
    let v = values(
        "evaluate all = stacked_modes(rows.point |> reshape(2, 1, 1), net: Sign)
        evaluate one = stacked_modes(z |> reshape(2, 1, 1), net: Sign, samples: 100)
        evaluate logits = stacked_modes(z |> reshape(2, 1, 1), net: Sign.same, samples: 100)",
    );
    // All four corners alike, up to the (4 - 1) / (2 * 4000) that 4000 samples are expected to show.
    assert_eq!(v["all.modes"], 4.0);
    assert!(v["all.kl"] < 3e-3, "{v:?}");
    assert_eq!(v["one.modes"], 1.0);
    assert!((v["one.kl"] - 4f64.ln()).abs() < 1e-6);
    // One class: one combination.
    assert_eq!((v["logits.modes"], v["logits.kl"]), (1.0, 0.0));
}

#[test]
fn frechet() {
    let v = values(
        "evaluate same = frechet(rows.point, rows.point, net: Half)
        evaluate far = frechet(rows.point + 3, rows.point, net: Half)
        evaluate wide = frechet(3 * rows.point, rows.point, net: Half)",
    );
    assert!(v["same"] < 1e-6, "{v:?}");
    // Both features move by 3/2.
    assert!((v["far"] - 4.5).abs() < 1e-3, "{v:?}");
    // Standard deviations of each coordinate: sqrt(1 + 0.05²) / 2, and three times that; the means stay near 0.
    let std = (1.0f64 + 0.0025).sqrt() / 2.0;
    assert!((v["wide"] - 2.0 * (2.0 * std).powi(2)).abs() < 0.02, "{v:?}");
}

#[test]
fn likeness() {
    let v = values(
        "evaluate noise = psnr(rows.point |> reshape(1, 1, 2), (rows.point + 0.1) |> reshape(1, 1, 2), range: 1)
        evaluate wide = psnr(rows.point |> reshape(1, 1, 2), (rows.point + 0.1) |> reshape(1, 1, 2), range: 10)
        evaluate alike = ssim(rows.point |> reshape(1, 1, 2), rows.point |> reshape(1, 1, 2), range: 2)",
    );
    assert!((v["noise"] - 20.0).abs() < 1e-3, "{v:?}");
    assert!((v["wide"] - 40.0).abs() < 1e-3, "{v:?}");
    assert!((v["alike"] - 1.0).abs() < 1e-6, "{v:?}");
}

const CLASSIFIER: &str = "
network C(x: [2]) -> [2] MODIFIER {
    linear(3)
    batch_norm
    linear(2)
}
network P() -> [1] { param p: [1] = 1; it = p }
data corners = grid(side: 2, spacing: 2, std: 0.05) |> take(100)
train {
    batch 10
    steps 1
    player P { minimize sum(P() ^ 2); using sgd(lr: 0.1) }
    every 1 steps { evaluate level = mean(C(corners.point)) }
}
";

/// Parameters and moving statistics of `C`, in order.
const OF_C: [&str; 8] = [
    "C.linear1.weight",
    "C.linear1.bias",
    "C.batch_norm1.scale",
    "C.batch_norm1.shift",
    "C.batch_norm1.mean",
    "C.batch_norm1.var",
    "C.linear2.weight",
    "C.linear2.bias",
];

fn classifier(with: &str) -> Compiled {
    compile_text(&CLASSIFIER.replace("MODIFIER", with)).unwrap_or_else(|e| panic!("{e}"))
}

/// Writes tensors as another run's checkpoint has them.
fn write(path: &std::path::Path, tensors: &[(&str, Vec<usize>)]) {
    let raw: Vec<(String, Vec<u8>, Vec<usize>)> = tensors
        .iter()
        .enumerate()
        .map(|(i, (n, s))| {
            let count = s.iter().product::<usize>();
            let bytes = (0..count).flat_map(|k| (i as f32 + k as f32 / 10.0 + 0.5).to_le_bytes()).collect();
            (n.to_string(), bytes, s.clone())
        })
        .collect();
    let view = |b, s: &Vec<usize>| {
        safetensors::tensor::TensorView::new(safetensors::Dtype::F32, s.clone(), b).expect("a tensor")
    };
    let views = raw.iter().map(|(n, b, s)| (n.clone(), view(b, s)));
    std::fs::write(path, safetensors::serialize(views, None).expect("bytes")).expect("a file");
}

#[test]
fn pretrained_networks() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("c.safetensors");
    let with = format!("with pretrained({:?})", path.to_str().expect("UTF-8"));
    let mut c = classifier(&with);
    let shapes: Vec<(&str, Vec<usize>)> = OF_C
        .iter()
        .map(|n| (*n, c.tensors.iter().find(|d| &*d.name == *n).expect("a tensor of C").ty.shape.clone()))
        .collect();
    // Not there, without a tensor, with one of another shape.
    let fails = |c: &mut Compiled| match pretrained::load(c) {
        Err(e @ RunError::Pretrained { .. }) => {
            let text = e.to_string();
            assert_eq!(e.diagnostics(None).items()[0].code, "E0557");
            text
        }
        other => panic!("{other:?}"),
    };
    assert!(fails(&mut c).contains("cannot read"));
    write(&path, &shapes[..7]);
    assert!(fails(&mut c).contains("it has no `C.linear2.bias`"));
    let mut other = shapes.clone();
    other[0].1 = vec![2, 3];
    write(&path, &other);
    assert!(fails(&mut c).contains("`C.linear1.weight` is f32[2,3] in it"), "{}", fails(&mut c));
    std::fs::write(&path, b"no tensors").expect("a file");
    fails(&mut c);

    write(&path, &shapes);
    pretrained::load(&mut c).expect("it fits");
    let mut exec = CpuExecutor::new(CpuOptions::default());
    driver::initialise(&c, &mut exec, 1, None).unwrap();
    for (i, n) in OF_C.iter().enumerate() {
        let t: HostTensor = exec.fetch(n).unwrap().expect("it is stored");
        assert_eq!(t.to_f64()[0], i as f64 + 0.5, "{n}");
    }
    // Without the modifier it starts as its initialisers say.
    let plain = classifier("");
    assert!(plain.pretrained.is_empty());
    driver::initialise(&plain, &mut exec, 1, None).unwrap();
    assert_ne!(exec.fetch(OF_C[0]).unwrap().expect("it is stored").to_f64()[0], 0.5);
}

#[test]
fn pretrained_is_for_networks() {
    let on_layer = CLASSIFIER.replace("MODIFIER", "").replace("linear(3)", "linear(3) with pretrained(\"x\")");
    let e = compile_text(&on_layer).expect_err("not on a layer");
    assert!(e.contains("E0461") && e.contains("whole networks"), "{e}");
    let no_path = CLASSIFIER.replace("MODIFIER", "with pretrained(3)");
    let e = compile_text(&no_path).expect_err("not a path");
    assert!(e.contains("E0461"), "{e}");
}
