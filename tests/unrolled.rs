//! `unroll`: values and gradients against references and differences, and what it leaves alone.

use crate::build::{compile, with_noise_given};
use crate::golden_util::{Case, cases, error, host};
use crate::random::direction;
use ganc::build::program::Compiled;
use ganc::exec::Executor;
use ganc::exec::cpu::{CpuExecutor, CpuOptions};
use ganc::graph::eval::{Env, Tensor, eval_outputs};
use ganc::graph::{Graph, HostTensor, philox};
use std::collections::BTreeMap;

const NETS: &str = "
data ring8 = ring(modes: 8)
generator G(z: [4]) -> [2] {
    linear(5)
    tanh
    linear(2)
}
discriminator D(x: [2]) -> [1] {
    linear(6)
    tanh
    linear(1)
}
";

/// The only iteration of a spec whose draw `z` is `per iteration`, with `z` as an input.
fn iteration(spec: &str) -> (Compiled, Graph) {
    let (c, _) = compile("unrolled.gan", spec, 64).unwrap_or_else(|e| panic!("{e}"));
    let streams = BTreeMap::from([(philox::stream("draw z"), "z".to_string())]);
    let g = with_noise_given(&c.trains[0].iterations[0].graph, &streams);
    (c, g)
}

/// A small number for each element of each persistent tensor, the same in every test; squares for second moments.
fn start(c: &Compiled, iteration: u32) -> Env {
    let mut env =
        Env::new().input("seed", Tensor::u32(&[2], &[0, 0])).input("iteration", Tensor::u32(&[], &[iteration]));
    for d in &c.tensors {
        let stream = philox::stream(&d.name) as u32;
        let value = |i: usize| philox::uniform(philox::word([3, 4], stream, 0, i)) - 0.5;
        let values: Vec<f64> = match () {
            () if d.name.ends_with(".v") => (0..d.ty.elements()).map(|i| 0.1 * value(i).powi(2)).collect(),
            () if d.name.starts_with("opt:") => (0..d.ty.elements()).map(|i| 0.1 * value(i)).collect(),
            () => (0..d.ty.elements()).map(value).collect(),
        };
        let t = Tensor::new(d.ty.clone(), values);
        env = if d.trained { env.param(&*d.name, t) } else { env.state(&*d.name, t) };
    }
    let point =
        |k: u32, n: usize| (0..n).map(|i| philox::uniform(philox::word([5, k], 0, 0, i)) * 2.0 - 1.0).collect();
    env.input("z", Tensor::f32(&[8, 4], point(0, 32))).input("batch:0.point#0", Tensor::f32(&[8, 2], point(1, 16)))
}

fn outputs(g: &Graph, env: &Env) -> BTreeMap<String, Tensor> {
    eval_outputs(g, env).unwrap().into_iter().map(|(n, t)| (n.to_string(), t)).collect()
}

/// What G's step of size 1 says of its gradient.
fn gradient(env: &Env, out: &BTreeMap<String, Tensor>, name: &str) -> Vec<f64> {
    let (old, new) = (&env.params[name], &out[&format!("param:{name}")]);
    old.data.iter().zip(new.data.iter()).map(|(a, b)| a - b).collect()
}

const GENERATOR: [(&str, &str); 4] = [
    ("gw1", "G.linear1.weight"),
    ("gb1", "G.linear1.bias"),
    ("gw2", "G.linear2.weight"),
    ("gb2", "G.linear2.bias"),
];
const JUDGE: [(&str, &str); 4] = [
    ("dw1", "D.linear1.weight"),
    ("db1", "D.linear1.bias"),
    ("dw2", "D.linear2.weight"),
    ("db2", "D.linear2.bias"),
];

/// A golden case's tensors where the spec has them.
fn given(case: &Case, c: &Compiled) -> Env {
    let mut env = start(c, 1);
    for (theirs, ours) in GENERATOR.iter().chain(&JUDGE) {
        env = env.param(*ours, case.tensors[&format!("in.{theirs}")].clone());
    }
    env.input("z", case.tensors["in.z"].clone()).input("batch:0.point#0", case.tensors["in.x"].clone())
}

/// The same run on the CPU, fused and one node a kernel.
fn on_cpu(c: &Compiled, g: &Graph, env: &Env) -> Vec<BTreeMap<String, Vec<f64>>> {
    let inputs: Vec<(String, HostTensor)> = env.inputs.iter().map(|(n, t)| (n.to_string(), host(t))).collect();
    let inputs: Vec<(&str, &HostTensor)> = inputs.iter().map(|(n, t)| (n.as_str(), t)).collect();
    let mut all = Vec::new();
    for fuse in [true, false] {
        let mut exec = CpuExecutor::new(CpuOptions { fuse, ..CpuOptions::default() });
        for (name, t) in env.params.iter().chain(&env.states) {
            exec.store(name, &host(t)).unwrap();
        }
        let mut program = exec.compile(g).unwrap();
        let mut out: BTreeMap<String, Vec<f64>> = exec
            .run(&mut program, &inputs)
            .unwrap()
            .into_iter()
            .map(|(n, t)| (n.to_string(), t.to_f64()))
            .collect();
        for d in &c.tensors {
            out.insert(format!("value:{}", d.name), exec.fetch(&d.name).unwrap().unwrap().to_f64());
        }
        all.push(out);
    }
    all
}

#[test]
fn golden_gradients_through_the_updates() {
    for case in cases("unrolled") {
        let spec = format!(
            "{NETS}
train {{
    batch 8
    steps 1
    draw z: [4] ~ normal per iteration
    draw real ~ ring8.point per iteration
    player G {{
        let ahead = unroll(D, steps: {})
        minimize mean(softplus(-ahead(G(z))))
        using sgd(lr: 1)
    }}
    player D {{
        minimize mean(softplus(-D(real))) + mean(softplus(D(G(z))))
        using sgd(lr: {})
    }}
}}",
            case.number("K"),
            case.number("lr")
        );
        let (c, g) = iteration(&spec);
        let env = given(&case, &c);
        let out = outputs(&g, &env);
        let loss = case.tensors["out.loss"].item();
        assert!((out["loss:G"].item() - loss).abs() < 1e-12, "{}", case.file);
        for (theirs, ours) in GENERATOR {
            let want = &case.tensors[&format!("grad.{theirs}")].data;
            let e = error(&gradient(&env, &out, ours), want, 1e-3);
            assert!(e < 1e-10, "{}: {ours} is off by {e:e}", case.file);
        }
        for (fused, cpu) in on_cpu(&c, &g, &env).iter().enumerate() {
            assert!((cpu["loss:G"][0] - loss).abs() < 1e-5, "{}", case.file);
            for (theirs, ours) in GENERATOR {
                let want = &case.tensors[&format!("grad.{theirs}")].data;
                let got: Vec<f64> =
                    env.params[ours].data.iter().zip(&cpu[&format!("value:{ours}")]).map(|(a, b)| a - b).collect();
                let e = error(&got, want, 1e-2);
                assert!(e < 1e-4, "{}: {ours} is off by {e:e} on the CPU, {fused}", case.file);
            }
        }
    }
}

/// A network whose step of size 1 from 0 shows the parameters of the judge some updates ahead.
fn mirror(steps: usize, using: &str) -> String {
    format!(
        "{NETS}
network Mirror() -> [25] {{
    param p: [25] = 0
    it = p
}}
train {{
    batch 8
    steps 1
    draw z: [4] ~ normal per iteration
    draw real ~ ring8.point per iteration
    player Mirror {{
        minimize -dot(Mirror(), params(unroll(D, steps: {steps})))
        using sgd(lr: 1)
    }}
    player D {{
        minimize mean(softplus(-D(real))) + mean(softplus(D(G(z))))
        using {using}
    }}
}}"
    )
}

#[test]
fn golden_parameters_after_three_updates() {
    let all = cases("unrolled_params");
    let [case] = &all[..] else { panic!("one case") };
    let (c, g) = iteration(&mirror(3, "sgd(lr: 0.3)"));
    let mut env = given(case, &c);
    env = env.param("Mirror.p", Tensor::f32(&[25], vec![0.0; 25]));
    let want: Vec<f64> =
        JUDGE.iter().flat_map(|(n, _)| case.tensors[&format!("out.{n}_K")].data.to_vec()).collect();
    let e = error(&outputs(&g, &env)["param:Mirror.p"].data, &want, 1e-3);
    assert!(e < 1e-10, "off by {e:e}");
    for cpu in on_cpu(&c, &g, &env) {
        let e = error(&cpu["value:Mirror.p"], &want, 1e-2);
        assert!(e < 1e-5, "off by {e:e} on the CPU");
    }
}

/// Virtual updates are the updates that the player would really make, one after the other, moments included.
#[test]
fn virtual_updates_are_real_ones() {
    for using in ["adam(lr: 0.05, beta1: 0.5)", "sgd(lr: 0.1, momentum: 0.9)", "rmsprop(lr: 0.01, clip_norm: 0.1)"]
    {
        let (c, g) = iteration(&mirror(3, using));
        let mut env = start(&c, 7);
        env = env.param("Mirror.p", Tensor::f32(&[25], vec![0.0; 25]));
        let ahead = outputs(&g, &env)["param:Mirror.p"].data.to_vec();
        for step in 0..3 {
            env = env.input("iteration", Tensor::u32(&[], &[7 + step]));
            for (name, t) in outputs(&g, &env) {
                match name.split_once(':') {
                    Some(("param", n)) if n != "Mirror.p" => drop(env.params.insert(n.into(), t)),
                    Some(("state", n)) => drop(env.states.insert(n.into(), t)),
                    _ => {}
                }
            }
        }
        let real: Vec<f64> = JUDGE.iter().flat_map(|(_, n)| env.params[*n].data.to_vec()).collect();
        assert!(error(&ahead, &real, 1e-3) < 1e-12, "{using}");
    }
}

fn adam(steps: usize, more: &str) -> String {
    format!(
        "{NETS}
train {{
    batch 8
    steps 1
    draw z: [4] ~ normal per iteration
    draw real ~ ring8.point per iteration
    player G {{
        let ahead = unroll(D, steps: {steps}{more})
        minimize mean(softplus(-ahead(G(z))))
        using sgd(lr: 1)
    }}
    player D {{
        minimize mean(softplus(-D(real))) + mean(softplus(D(G(z))))
        using adam(lr: 0.05, beta1: 0.5)
    }}
}}"
    )
}

#[test]
fn gradients_through_adam_are_differences() {
    for steps in [1, 3] {
        let (c, g) = iteration(&adam(steps, ""));
        let env = start(&c, 5);
        let out = outputs(&g, &env);
        let at = |h: f64| {
            let mut env = env.clone();
            for (k, (_, name)) in GENERATOR.iter().enumerate() {
                let t = env.params[*name].clone();
                let v = direction(k, t.data.len());
                let data = t.data.iter().zip(v).map(|(x, d)| x + h * d).collect();
                env = env.param(*name, Tensor::new(t.ty, data));
            }
            outputs(&g, &env)["loss:G"].item()
        };
        let ours: f64 = (GENERATOR.iter().enumerate())
            .map(|(k, (_, name))| {
                let d = gradient(&env, &out, name);
                let n = d.len();
                d.iter().zip(direction(k, n)).map(|(a, b)| a * b).sum::<f64>()
            })
            .sum();
        let central = |h: f64| (at(h) - at(-h)) / (2.0 * h);
        let theirs = (4.0 * central(5e-5) - central(1e-4)) / 3.0;
        assert!((ours - theirs).abs() < 1e-8 * (1.0 + theirs.abs()), "{steps} steps: {ours}, differences {theirs}");
    }
}

/// `order: first`: the same value, and the gradient of a judge whose later parameters are constants.
#[test]
fn first_order_drops_the_path() {
    let (c, full) = iteration(&adam(3, ""));
    let (_, first) = iteration(&adam(3, ", order: first"));
    let env = start(&c, 5);
    let (full, first) = (outputs(&full, &env), outputs(&first, &env));
    assert_eq!(full["loss:G"].item(), first["loss:G"].item());

    let (with_mirror, g) = iteration(&mirror(3, "adam(lr: 0.05, beta1: 0.5)"));
    let shown = start(&with_mirror, 5).param("Mirror.p", Tensor::f32(&[25], vec![0.0; 25]));
    let ahead = outputs(&g, &shown)["param:Mirror.p"].data.to_vec();
    let (_, plain) = iteration(&adam(0, ""));
    let mut moved = env.clone();
    let mut at = 0;
    for (_, name) in JUDGE {
        let ty = env.params[name].ty.clone();
        let n = ty.elements();
        moved = moved.param(name, Tensor::new(ty, ahead[at..at + n].to_vec()));
        at += n;
    }
    let constant = outputs(&plain, &moved);
    for (_, name) in GENERATOR {
        let dropped = gradient(&env, &first, name);
        let want = gradient(&moved, &constant, name);
        assert!(error(&dropped, &want, 1e-3) < 1e-11, "{name}");
        assert!(error(&gradient(&env, &full, name), &want, 1e-3) > 1e-2, "{name}: the path makes no difference");
    }
}

/// Statistics, vectors and moments are those of an iteration in which nothing is unrolled.
#[test]
fn virtual_updates_leave_no_trace() {
    let spec = |objective: &str| {
        format!(
            "data ring8 = ring(modes: 8)
generator G(z: [4]) -> [2] {{
    linear(5) with spectral_norm
    batch_norm
    relu
    linear(2)
}}
discriminator D(x: [2]) -> [1] {{
    linear(6) with spectral_norm
    batch_norm
    dropout(0.3)
    leaky_relu
    linear(1)
}}
train {{
    batch 8
    steps 1
    draw z: [4] ~ normal per iteration
    draw real ~ ring8.point per iteration
    player D {{
        minimize mean(softplus(-D(real))) + mean(softplus(D(G(z))))
        using adam(lr: 0.05)
        repeat 2
    }}
    player G {{
        minimize {objective}
        using adam(lr: 0.05)
    }}
}}"
        )
    };
    let (c, plain) = iteration_with_noise(&spec("mean(G(z))"));
    let (_, ahead) = iteration_with_noise(&spec("-mean(unroll(D, steps: 3)(G(z)))"));
    let env = start(&c, 4);
    let (plain, ahead) = (outputs(&plain, &env), outputs(&ahead, &env));
    let mut compared = 0;
    for (name, t) in plain {
        if !name.starts_with("param:G") && !name.starts_with("state:opt:G") && !name.starts_with("loss:G") {
            assert_eq!(ahead[&name].data, t.data, "{name}");
            compared += 1;
        }
    }
    // D: 6 parameters with two moments each, 2 moving statistics and u; G: 2 and u; the loss of D.
    assert_eq!(compared, 18 + 3 + 3 + 1);
}

/// The same with all noise as it is drawn.
fn iteration_with_noise(spec: &str) -> (Compiled, Graph) {
    let (c, _) = compile("unrolled.gan", spec, 64).unwrap_or_else(|e| panic!("{e}"));
    let g = c.trains[0].iterations[0].graph.clone();
    (c, g)
}
