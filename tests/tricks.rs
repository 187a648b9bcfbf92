//! Trick layers and tricks against their definitions, and against mistakes that other systems make with them.

use crate::golden_util::error;
use crate::layer_scope::{TestScope, num, sample};
use crate::support::{Steps, compile_as, compile_text, repo};
use ganc::exec::Executor;
use ganc::exec::cpu::{CpuExecutor, CpuOptions};
use ganc::graph::eval::{Env, Tensor as Values, eval_outputs};
use ganc::graph::{Graph, NodeId, Op, Type};
use ganc::layers::args::Bound;
use ganc::layers::table::lookup;
use ganc::layers::{Class, Init, Kind, Reference, Tensor, Value};

/// A real input `[batch, shape…]`, and values for it that differ from element to element.
fn input(g: &mut Graph, name: &str, shape: &[usize]) -> (Tensor, Values) {
    let node = g.input(name, Type::f32(shape));
    let at = |i: usize| ((i * 37 + shape.len() * 11) % 101) as f64 / 50.0 - 1.0;
    (sample(g, node), Values::f32(shape, (0..shape.iter().product()).map(at).collect()))
}

/// Values of nodes on the oracle.
fn values(g: &Graph, env: &Env, nodes: &[NodeId]) -> Vec<Vec<f64>> {
    let mut g = g.clone();
    nodes.iter().enumerate().for_each(|(i, &n)| g.output(format!("{i}"), n));
    eval_outputs(&g, env).expect("it evaluates").into_iter().map(|(_, t)| t.data.to_vec()).collect()
}

fn noise(env: Env) -> Env {
    env.input("seed", Values::u32(&[2], &[7, 9])).input("iteration", Values::u32(&[], &[3]))
}

// ---- virtual batch norm

/// A sample's own values count, the other samples of its batch do not, and a second application gives the same.
#[test]
fn a_virtual_norm_mixes_a_sample_with_the_reference_only() {
    let mut g = Graph::new();
    let (x, xs) = input(&mut g, "x", &[3, 2, 2, 2]);
    let (r, rs) = input(&mut g, "r", &[5, 2, 2, 2]);
    let mut s = TestScope::new(&mut g, 5);
    let ones = s.graph.splat(1.0, Type::f32([2]));
    let zeros = s.graph.splat(0.0, Type::f32([2]));
    s.given = [("scale".to_string(), ones), ("shift".to_string(), zeros)].into();
    let own = s.apply("virtual_batch_norm", &r, &[], &[]);
    let (mean, var) = (s.next["reference mean"], s.next["reference var"]);
    s.reference = Reference::Beside { mean, var, size: 5 };
    s.batch = 3;
    let all = s.apply("virtual_batch_norm", &x, &[], &[]);
    s.batch = 1;
    let alone = s.graph.slice_axis(x.node, 0, 1..2);
    let alone = sample(s.graph, alone);
    let alone = s.apply("virtual_batch_norm", &alone, &[], &[]);
    let env = Env::new().input("x", xs.clone()).input("r", rs.clone());
    let found = values(&g, &env, &[all.node, alone.node, own.node]);
    assert!(error(&found[1], &found[0][8..16], 1.0) < 1e-12, "the other samples change it");

    // The definition in plain words, for sample 1 and channel 0: mean and mean square of R and x, over space too.
    let channel = |v: &[f64], n: usize| v[n * 8..n * 8 + 4].to_vec();
    let reference: Vec<f64> = (0..5).flat_map(|n| channel(&rs.data, n)).collect();
    let x1 = channel(&xs.data, 1);
    let moment = |v: &[f64], k: i32| v.iter().map(|x| x.powi(k)).sum::<f64>() / v.len() as f64;
    let both = |k| moment(&x1, k) / 6.0 + moment(&reference, k) * 5.0 / 6.0;
    let (m, q) = (both(1), both(2));
    let want: Vec<f64> = x1.iter().map(|x| (x - m) / (q - m * m + 1e-5).sqrt()).collect();
    assert!(error(&found[1][..4], &want, 1.0) < 1e-12);
    let by_reference_alone: Vec<f64> = {
        let (m, q) = (moment(&reference, 1), moment(&reference, 2));
        x1.iter().map(|x| (x - m) / (q - m * m + 1e-5).sqrt()).collect()
    };
    assert!(error(&found[1][..4], &by_reference_alone, 1.0) > 1e-3, "the sample itself is left out");
    // The reference is normalised by its own statistics.
    let (m, q) = (moment(&reference, 1), moment(&reference, 2));
    let want: Vec<f64> = channel(&rs.data, 2).iter().map(|x| (x - m) / (q - m * m + 1e-5).sqrt()).collect();
    assert!(error(&found[2][16..20], &want, 1.0) < 1e-12);
}

const VIRTUAL: &str = "
data digits = idx(\"digits8x8-images.gz\", labels: \"digits8x8-labels.gz\") |> scale(-1, 1)
generator G(z: [3]) -> [1, 8, 8] { linear(8); virtual_batch_norm; relu; linear(64); tanh; reshape(1, 8, 8) }
discriminator D(x: [1, 8, 8], y: class(10)) -> [1] {
    conv(3, kernel: 4, stride: 4)
    virtual_batch_norm
    leaky_relu
    dropout(0.2)
    flatten
    concat(one_hot(y))
    linear(1)
}
train {
    batch 5
    steps 8
    seed 3
    draw z: [3] ~ normal per iteration
    draw real, y ~ digits.image, digits.label
    loss hinge
    player D { using adam(lr: 1e-2); repeat 2 }
    player G { using adam(lr: 1e-2) }
    every 4 steps { samples(G(z), grid: [2, 3]); evaluate size = mean(G(z) ^ 2) }
}
";

#[test]
fn reference_batches_are_drawn_once_and_kept() {
    let path = repo("tests/train/virtual.gan");
    let c = compile_as(&path, VIRTUAL).unwrap_or_else(|e| panic!("{e}"));
    let names: Vec<&str> = c.tensors.iter().map(|d| &*d.name).filter(|n| n.starts_with("reference:")).collect();
    assert_eq!(names, ["reference:G.z", "reference:D.x", "reference:D.y"]);
    let mut run = Steps::bundled(&c);
    let drawn: Vec<Vec<f64>> = names.iter().map(|n| run.tensor(n).to_f64()).collect();
    assert_eq!(drawn.iter().map(Vec::len).collect::<Vec<_>>(), [5 * 3, 5 * 64, 5]);
    // Real rows with their labels, not those of the first minibatch; latents that no iteration draws.
    let data = std::sync::Arc::new(ganc::data::open(&c.data[0]).expect("bundled data"));
    let train = &c.trains[0];
    let loaders = ganc::train::driver::loaders(train, std::slice::from_ref(&data)).expect("loaders");
    let start = train.start.as_ref().expect("something is drawn");
    let line = start.inputs[0].line;
    assert!(train.iterations[0].inputs.iter().all(|i| i.line != line), "a stream of its own");
    let own = loaders[line].batch(0);
    assert_eq!((own[0].to_f64(), own[1].to_f64()), (drawn[1].clone(), drawn[2].clone()));
    assert!(drawn[0].iter().all(|v| v.abs() > 0.0 && v.abs() < 6.0));

    let first = run.step();
    assert!(first.iter().all(|l| l.1.is_finite()));
    for _ in 0..5 {
        run.step();
        let now: Vec<Vec<f64>> = names.iter().map(|n| run.tensor(n).to_f64()).collect();
        assert_eq!(now, drawn, "the reference moves");
    }
}

#[test]
fn a_run_with_references_resumes_to_the_same_bits() {
    let path = repo("tests/train/virtual.gan");
    let c = compile_as(&path, VIRTUAL).unwrap_or_else(|e| panic!("{e}"));
    let mut whole = Steps::bundled(&c);
    let mut second = Steps::bundled(&c);
    for step in 0..6 {
        if step == 3 {
            second.resume(&whole);
        }
        whole.step();
        if step >= 3 {
            second.step();
        }
    }
    assert_eq!(whole.tensors(), second.tensors());
}

/// D's two applications and G's share one pass of the reference an update: no network runs more often than that.
#[test]
fn one_reference_pass_serves_all_applications_of_an_update() {
    let c = compile_as(&repo("tests/train/virtual.gan"), VIRTUAL).unwrap_or_else(|e| panic!("{e}"));
    let products = |c: &ganc::build::program::Compiled| {
        let g = &c.trains[0].iterations[0].graph;
        g.nodes().iter().filter(|n| matches!(n.op, Op::ConvFwd(_))).count()
    };
    // Two updates of D with real, fake and reference each, one of G with fake and reference.
    assert_eq!(products(&c), 2 * 3 + 2);
    let plain =
        compile_as(&repo("tests/train/virtual.gan"), &VIRTUAL.replace("virtual_batch_norm", "instance_norm"));
    // Without, the same but for the references (a vector has no space to normalise over).
    assert!(plain.is_err());
    let plain = VIRTUAL
        .replace("linear(8); virtual_batch_norm", "linear(8)")
        .replace("virtual_batch_norm", "instance_norm");
    let plain = compile_as(&repo("tests/train/virtual.gan"), &plain).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(products(&plain), 2 * 2 + 1);
}

#[test]
fn samples_of_any_number_go_by_the_same_reference() {
    let mut sources = ganc::source::SourceMap::default();
    let path = repo("tests/train/virtual.gan");
    let read = |_: &std::path::Path| Ok(VIRTUAL.to_string());
    let model = ganc::model::load(&path, &mut sources, &read, &Default::default()).expect("it loads");
    let core = ganc::tricks::expand(&model).expect("it expands");
    let sampled = ganc::build::sample_chunk(&core, &sources, &ganc::data::schema, "G", 17);
    let (chunk, _) = sampled.unwrap_or_else(|d| panic!("{d:?}"));
    let states: Vec<(&str, &Type)> = chunk
        .graph
        .nodes()
        .iter()
        .filter_map(|n| if let Op::State(name) = &n.op { Some((&**name, &n.ty)) } else { None })
        .collect();
    assert_eq!(states, [("reference:G.z", &Type::f32([5, 3]))]);
}

#[test]
fn references_that_cannot_be_drawn_are_refused() {
    let head = "generator E(x: [4]) -> [4] { linear(4); virtual_batch_norm }\n\
        generator G(z: [4]) -> [4] { BODY }\n\
        train { batch 4\n steps 2\n draw z: [4] ~ normal\n player G updates G, E { MINIMIZE using sgd(lr: 0.1) } }\n";
    let with = |body: &str, minimize: &str| {
        compile_text(&head.replace("BODY", body).replace("MINIMIZE", minimize)).map(|_| ()).unwrap_or_else(|e| {
            panic!("{e}");
        })
    };
    let refused = |body: &str, minimize: &str| {
        compile_text(&head.replace("BODY", body).replace("MINIMIZE", minimize)).expect_err("refused")
    };
    with("linear(4)", "minimize mean(G(z) + E(z));");
    let within = refused("linear(4); E", "minimize mean(G(z));");
    assert!(within.contains("E0465") && within.contains("within another network"), "{within}");
    let sizes = refused(
        "linear(4); virtual_batch_norm(size: 3); relu; virtual_batch_norm(size: 4)",
        "minimize mean(G(z) + E(z));",
    );
    assert!(sizes.contains("this norm asks for 4 samples, one before it for 3"), "{sizes}");
}

// ---- minibatch discrimination

#[test]
fn minibatch_discrimination_never_holds_all_differences() {
    let (n, kernels, dim) = (64usize, 24usize, 16usize);
    let text = format!(
        "discriminator D(x: [12]) -> [1] {{ minibatch_discrimination({kernels}, {dim}); linear(1) }}\n\
         generator G(z: [4]) -> [12] {{ linear(12) }}\n\
         train {{\n batch {n}\n steps 2\n draw z: [4] ~ normal\n draw real: [12] ~ normal\n loss hinge\n\
         player D {{ using sgd(lr: 0.1) }}\n player G {{ using sgd(lr: 0.1) }} }}\n"
    );
    let c = compile_text(&text).unwrap_or_else(|e| panic!("{e}"));
    let all = n * n * kernels * dim;
    let program =
        CpuExecutor::new(CpuOptions::default()).compile(&c.trains[0].iterations[0].graph).expect("it compiles");
    // D's update differentiates two applications, G's one through D: gradients are in here.
    let largest = program.plan.places.keys().map(|&id| program.graph.ty(id).elements()).max().expect("tensors");
    assert!(largest < all / 8, "a tensor of {largest} elements; all differences are {all}");
    assert!(
        program.plan.arena < all * 4,
        "an arena of {} bytes for {} of differences",
        program.plan.arena,
        all * 4
    );
    // Real and fake batches are told apart: nothing compares the samples of two applications.
    let pairs = |k: usize| move |s: &[usize]| s.len() >= 2 && s[..2] == [k, k];
    let shapes: Vec<&[usize]> = program.graph.nodes().iter().map(|x| &x.ty.shape[..]).collect();
    assert!(shapes.iter().any(|s| pairs(n)(s)) && !shapes.iter().any(|s| pairs(2 * n)(s)));
}

/// Distant samples add little to an o of next to nothing; `1 + o - 1` would round it away.
#[test]
fn distant_samples_are_not_rounded_away() {
    let mut g = Graph::new();
    let x = g.dense(vec![0.0, 20.0], Type::f32([2, 1]));
    let x = sample(&g, x);
    let mut s = TestScope::new(&mut g, 2);
    let one = s.graph.splat(1.0, Type::f32([1, 1]));
    s.given.insert("weight".to_string(), one);
    let y = s.apply("minibatch_discrimination", &x, &[num(1.0), num(1.0)], &[]);
    g.output("y", y.node);
    let mut exec = CpuExecutor::new(CpuOptions::default());
    let mut program = exec.compile(&g).expect("it compiles");
    let got = exec.run(&mut program, &[]).expect("it runs")[0].1.to_f64();
    let want = (-20f64).exp();
    assert!((got[1] - want).abs() < 1e-4 * want && (got[3] - want).abs() < 1e-4 * want, "{got:?}");
}

// ---- what is built from pairs and from noise

#[test]
fn top_k_takes_the_gradient_of_the_mean_of_the_best() {
    let mut g = Graph::new();
    let node = g.input("x", Type::f32([5, 1]));
    // Not a bare input, on which the `stop` within would be no node.
    let half = g.scale(node, 0.5);
    let score = g.offset(half, 0.0);
    let x = sample(&g, score);
    let mut s = TestScope::new(&mut g, 5);
    // Two equal ones: the earlier counts as the larger.
    let y = s.apply("top_k", &x, &[num(0.4)], &[]);
    let sq = g.mul(y.node, y.node);
    let mean = g.mean(sq, &[0, 1]);
    let mean = g.sum_all(mean);
    let d = ganc::grad::grad_or_zeros(&mut g, mean, None, &[node])[0];
    let env = Env::new().input("x", Values::f32(&[5, 1], vec![2.0, 6.0, 4.0, -8.0, 4.0]));
    let found = values(&g, &env, &[y.node, d]);
    assert_eq!(found[0], [1.0, 3.0, 2.0, -4.0, 2.0], "its value is that of x");
    // The gradient of the mean of squares of the best two, by what is twice the score.
    assert!(error(&found[1], &[0.0, 1.5, 1.0, 0.0, 0.0], 1.0) < 1e-12, "{:?}", found[1]);
}

#[test]
fn translation_moves_whole_pictures_by_up_to_an_eighth() {
    let mut g = Graph::new();
    let (x, xs) = input(&mut g, "x", &[40, 2, 16, 8]);
    let mut s = TestScope::new(&mut g, 40);
    let y = s.apply("translate", &x, &[], &[]);
    let env = noise(Env::new().input("x", xs.clone()));
    let got = &values(&g, &env, &[y.node])[0];
    let at = |v: &[f64], n: usize, c: usize, i: i64, j: i64| {
        let inside = (0..16).contains(&i) && (0..8).contains(&j);
        if inside { v[((n * 2 + c) * 16 + i as usize) * 8 + j as usize] } else { 0.0 }
    };
    let mut seen = std::collections::BTreeSet::new();
    for n in 0..40 {
        let fits = |(di, dj): &(i64, i64)| {
            (0..2).all(|c| {
                (0..16).all(|i| {
                    (0..8).all(|j| (at(got, n, c, i, j) - at(&xs.data, n, c, i - di, j - dj)).abs() < 1e-12)
                })
            })
        };
        let all: Vec<(i64, i64)> = (-2..=2).flat_map(|a| (-1..=1).map(move |b| (a, b))).collect();
        let found: Vec<&(i64, i64)> = all.iter().filter(|d| fits(d)).collect();
        assert_eq!(found.len(), 1, "sample {n} is moved by {found:?}");
        seen.insert(*found[0]);
    }
    assert!(seen.len() > 8 && seen.iter().any(|d| d.0 == 2) && seen.iter().any(|d| d.0 == -2), "{seen:?}");
}

#[test]
fn a_cutout_is_one_rectangle() {
    let mut g = Graph::new();
    let x = g.splat(1.0, Type::f32([30, 1, 8, 6]));
    let x = sample(&g, x);
    let mut s = TestScope::new(&mut g, 30);
    let y = s.apply("cutout", &x, &[], &[]);
    let got = &values(&g, &noise(Env::new()), &[y.node])[0];
    let mut whole = 0;
    for n in 0..30 {
        let zero = |i: usize, j: usize| got[n * 48 + i * 6 + j] == 0.0;
        let rows: Vec<usize> = (0..8).filter(|&i| (0..6).any(|j| zero(i, j))).collect();
        let columns: Vec<usize> = (0..6).filter(|&j| (0..8).any(|i| zero(i, j))).collect();
        let count = (0..8).map(|i| (0..6).filter(|&j| zero(i, j)).count()).sum::<usize>();
        assert_eq!(count, rows.len() * columns.len(), "sample {n}");
        assert!(rows.windows(2).chain(columns.windows(2)).all(|w| w[1] == w[0] + 1));
        assert!((1..=4).contains(&rows.len()) && (1..=3).contains(&columns.len()));
        whole += usize::from(rows.len() == 4 && columns.len() == 3);
    }
    assert!(whole > 5, "most lie within the picture");
}

#[test]
fn jittered_pictures_keep_what_the_draws_leave() {
    let mut g = Graph::new();
    let (x, xs) = input(&mut g, "x", &[50, 3, 4, 4]);
    let mut s = TestScope::new(&mut g, 50);
    let y = s.apply("color_jitter", &x, &[], &[]);
    let sum = g.sum_all(y.node);
    let d = ganc::grad::grad_or_zeros(&mut g, sum, None, &[x.node])[0];
    let found = values(&g, &noise(Env::new().input("x", xs.clone())), &[y.node, d]);
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let mut shifts = Vec::new();
    for n in 0..50 {
        let (a, b) = (&xs.data[n * 48..(n + 1) * 48], &found[0][n * 48..(n + 1) * 48]);
        // Saturation and contrast leave the picture's mean, so that only the brightness moves it.
        shifts.push(mean(b) - mean(a));
    }
    assert!(shifts.iter().all(|s| s.abs() <= 0.5 + 1e-9), "{shifts:?}");
    assert!(shifts.iter().any(|s| *s > 0.2) && shifts.iter().any(|s| *s < -0.2));
    assert!(error(&found[1], &[1.0; 50 * 48], 1.0) < 1e-9, "a mean has a gradient of one");
}

// ---- what the reference section of mistakes asks of the rest

/// The first number of a batch norm is the momentum; the epsilon of a statistic is written by its name.
#[test]
fn the_first_number_of_a_batch_norm_is_its_momentum() {
    let bound =
        Bound::of(lookup(Class::Layer, "batch_norm").expect("a layer"), &[num(0.8)], &[]).expect("it binds");
    assert_eq!((bound.number("momentum"), bound.number("eps")), (Ok(0.8), Ok(1e-5)));
}

/// A conditional scale starts at 1, for a label as well as for a vector.
#[test]
fn conditional_scales_start_at_one() {
    let mut g = Graph::new();
    let (x, _) = input(&mut g, "x", &[4, 2, 3, 3]);
    let label = g.input("y", Type::u32([4]));
    let label = Tensor { node: label, kind: Kind::Class(3), sample: true, shape: vec![] };
    let mut s = TestScope::new(&mut g, 4);
    s.apply("conditional_batch_norm", &x, &[Value::Tensor(label)], &[]);
    let start = |s: &TestScope, name: &str| s.asked.iter().find(|a| a.0 == name).map(|a| a.3);
    assert_eq!(start(&s, "scale"), Some(Init::Constant(1.0)));
    assert_eq!(start(&s, "shift"), Some(Init::Constant(0.0)));
    // With weights of nothing the vector gives the plain norm: its scale is 1 plus what the weights say.
    let mut h = Graph::new();
    let (x, xs) = input(&mut h, "x", &[4, 2, 3, 3]);
    let (w2, ws) = input(&mut h, "w", &[4, 5]);
    let mut s = TestScope::new(&mut h, 4);
    let (zero, none) = (s.graph.splat(0.0, Type::f32([4, 5])), s.graph.splat(0.0, Type::f32([4])));
    s.given = [("weight".to_string(), zero), ("bias".to_string(), none)].into();
    let y = s.apply("conditional_batch_norm", &x, &[Value::Tensor(w2)], &[]);
    let plain = s.apply("batch_norm", &x, &[], &[("affine", Value::Bool(false))]);
    let names: Vec<(String, Type)> = h
        .nodes()
        .iter()
        .filter_map(|n| if let Op::State(name) = &n.op { Some((name.to_string(), n.ty.clone())) } else { None })
        .collect();
    let mut env = Env::new().input("x", xs).input("w", ws);
    for (name, ty) in names {
        env = env.state(name.as_str(), Values::new(ty.clone(), vec![0.5; ty.elements()]));
    }
    let found = values(&h, &env, &[y.node, plain.node]);
    assert!(error(&found[0], &found[1], 1.0) < 1e-12);
}

/// Means are matched: the order of the fakes does not matter, as it would for a distance from pair to pair.
#[test]
fn feature_matching_does_not_pair_samples() {
    let mut g = Graph::new();
    let (real, rs) = input(&mut g, "real", &[6, 3]);
    let (fake, fs) = input(&mut g, "fake", &[6, 3]);
    let mut s = TestScope::new(&mut g, 6);
    let term = |s: &mut TestScope, fake: &Tensor| {
        let (a, b) = (s.apply("batch_mean", &real, &[], &[]), s.apply("batch_mean", fake, &[], &[]));
        let apart = s.graph.sub(a.node, b.node);
        let square = s.graph.mul(apart, apart);
        s.graph.sum_all(square)
    };
    let straight = term(&mut s, &fake);
    let other = s.apply("shuffle", &fake, &[], &[]);
    let mixed = term(&mut s, &other);
    let env = Env::new().input("real", rs).input("fake", fs.clone());
    let found = values(&g, &env, &[straight, mixed]);
    assert!((found[0][0] - found[1][0]).abs() < 1e-12 && found[0][0] >= 0.0);
    // And it is what the trick writes.
    let text = ganc_expanded(
        "discriminator D(x: [3]) -> [1] { linear(4); tap features; linear(1) }",
        "trick feature_matching(tap: D.features)",
    );
    let written = "minimize sum((batch_mean(D(real).features) - batch_mean(D(G(z)).features)) ^ 2)";
    assert!(text.contains(written), "{text}");
}

/// A judge some steps ahead scores the samples that `top_k` ranks.
#[test]
fn the_best_samples_are_those_of_the_unrolled_judge() {
    let text =
        ganc_expanded("discriminator D(x: [3]) -> [1] { linear(1) }", "trick top_k(0.5)\ntrick unrolled(steps: 1)");
    assert!(text.contains("minimize -mean(top_k(D_ahead(G(z)), 0.5))"), "{text}");
}

fn ganc_expanded(judge: &str, trick: &str) -> String {
    let text = format!(
        "generator G(z: [2]) -> [3] {{ linear(3) }}\n{judge}\ntrain {{\n batch 4\n steps 2\n draw z: [2] ~ normal\n\
         draw real: [3] ~ normal\n loss hinge\n player D {{ using sgd(lr: 0.1) }}\n player G {{ using sgd(lr: 0.1) }}\n\
         {trick}\n}}\n"
    );
    let mut sources = ganc::source::SourceMap::default();
    let read = |_: &std::path::Path| Ok(text.clone());
    let model = ganc::model::load(&repo("t.gan"), &mut sources, &read, &Default::default());
    let core = model.and_then(|m| ganc::tricks::expand(&m));
    let core = core.unwrap_or_else(|d| panic!("{}", ganc::diag::render(&sources, &d, false)));
    ganc::syntax::print(&core.to_file())
}

/// Of a linear judge of the sum of its numbers, whose gradient is that of its weights: the penalty is
/// `lambda * (|w| - 1)^2` however many numbers a sample has, with one weight a sample.
#[test]
fn a_gradient_penalty_is_taken_over_the_whole_sample() {
    let text = "
generator G(z: [2]) -> [2, 3, 3] { linear(18); reshape(2, 3, 3) }
discriminator D(x: [2, 3, 3]) -> [1] with init(WEIGHT, bias: 0) { flatten; linear(1) }
loss nothing(real, fake) { discriminator 0 * mean(real) generator 0 * mean(fake) }
train {
    batch 4
    steps 1
    draw z: [2] ~ normal
    draw real: [2, 3, 3] ~ normal
    loss nothing
    trick gradient_penalty(lambda: 3, one_sided: SIDE)
    player D { using sgd(lr: 1e-9) }
    player G { using sgd(lr: 1e-9) }
}
";
    for (weight, one_sided) in [(0.5, false), (0.5, true), (0.1, false), (0.1, true)] {
        let text = text.replace("WEIGHT", &weight.to_string()).replace("SIDE", &one_sided.to_string());
        let c = compile_text(&text).unwrap_or_else(|e| panic!("{e}"));
        let losses = Steps::bundled(&c).step();
        let off = 18f64.sqrt() * weight - 1.0;
        let want = if one_sided && off < 0.0 { 0.0 } else { 3.0 * off * off };
        assert!((losses[0].1 - want).abs() < 1e-4, "{losses:?} should be {want}");
    }
}

/// A microbatch is normalised by itself and moves the statistics itself, and one draw serves `per iteration`.
#[test]
fn accumulated_gradients_are_means_over_microbatches() {
    let spec = |trick: &str| {
        format!(
            "generator G(z: [2]) -> [3] {{ linear(3); batch_norm }}\n\
             train {{\n batch 4\n steps 2\n draw z: [2] ~ normal\n draw c: [3] ~ normal per iteration\n\
             player G {{ minimize mean((G(z) - c) ^ 2); using sgd(lr: 0.1) }}\n{trick}\n}}\n"
        )
    };
    let inputs = |text: &str| {
        let c = compile_text(text).unwrap_or_else(|e| panic!("{e}"));
        let g = c.trains[0].iterations[0].graph.clone();
        let noise = g.nodes().iter().filter(|n| matches!(n.op, Op::Random { .. })).count();
        (noise, g)
    };
    assert_eq!(inputs(&spec("")).0, 2);
    let (noise, g) = inputs(&spec("trick accumulate(3)"));
    assert_eq!(noise, 4, "three draws of z, one of c");
    // The statistics of three microbatches of four go in one after the other: no batch of twelve anywhere.
    assert!(g.nodes().iter().all(|n| n.ty.shape.first() != Some(&12)));
    let c = compile_text(&spec("trick accumulate(3)")).unwrap_or_else(|e| panic!("{e}"));
    let mut run = Steps::bundled(&c);
    run.step();
    let var = run.tensor("G.batch_norm1.var").to_f64();
    let once = compile_text(&spec("")).unwrap_or_else(|e| panic!("{e}"));
    let mut plain = Steps::bundled(&once);
    plain.step();
    let before = plain.tensor("G.batch_norm1.var").to_f64();
    // 1 -> 0.9 + …, against 1 -> 0.729 + …: less is left of the start.
    assert!(var.iter().zip(&before).all(|(a, b)| a != b), "{var:?} {before:?}");
}
