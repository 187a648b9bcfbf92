//! From spec to graphs: all specs of `tests/specs`, small graphs as snapshots, whole iterations against references.

use crate::golden_util::{Case, cases, error, host};
use ganc::build::program::{Action, Compiled};
use ganc::build::{build, sample_chunk};
use ganc::data::{Arg, Field, FieldType, Modes, Pipeline, Schema};
use ganc::diag::{Diagnostics, render};
use ganc::exec::Executor;
use ganc::exec::cpu::{CpuExecutor, CpuOptions};
use ganc::graph::eval::{Env, Tensor, eval_outputs};
use ganc::graph::{Graph, HostTensor, NodeId, Op, philox, text, verify};
use ganc::model::{Options, load};
use ganc::source::SourceMap;
use ganc::tricks::expand;
use std::collections::BTreeMap;
use std::path::Path;

/// A schema as the specs' data has it, without reading any.
pub fn fake_schema(p: &Pipeline) -> Result<Schema, Diagnostics> {
    let strings: Vec<&str> =
        p.source.args.iter().filter_map(|a| if let Arg::Str(s) = &a.1 { Some(s.as_str()) } else { None }).collect();
    let real = |name: &str, shape: &[usize]| Field { name: name.into(), ty: FieldType::Real(shape.to_vec()) };
    let class = |name: &str, k: usize| Field { name: name.into(), ty: FieldType::Class(k) };
    let side = if strings.iter().any(|s| s.contains("64")) { 64 } else { 32 };
    let mut rows = Some(60_000);
    let mut modes = None;
    let mut fields = match p.source.name.as_str() {
        "idx" => vec![real("image", &[1, 28, 28]), class("label", 10)],
        "images" if strings.iter().any(|s| s.contains("small")) => {
            vec![real("image", &[3, 32, 32]), class("label", 5)]
        }
        "images" if strings.contains(&"tiny") => vec![real("image", &[2, 8, 8])],
        "images" => vec![real("image", &[3, side, side]), class("label", 5)],
        "pairs" => vec![real("line", &[3, 64, 64]), real("color", &[3, 64, 64])],
        _ => {
            rows = None;
            let centres = (0..8).map(|i| vec![f64::from(i), 0.0]).collect();
            modes = Some(Modes { centres, std: 0.02 });
            vec![real("point", &[2]), class("mode", 8)]
        }
    };
    for (name, arg, _) in &p.source.args {
        if let (Some("vector"), Arg::List(columns)) = (name.as_deref(), arg) {
            fields.push(real("vector", &[columns.len()]));
        }
    }
    let scale = p.transforms.iter().rev().find(|t| t.name == "scale");
    let range = match scale.map(|t| &t.args[..]) {
        Some([(_, Arg::Number(lo), _), (_, Arg::Number(hi), _)]) => Some((*lo, *hi)),
        _ => Some((0.0, 1.0)),
    };
    Ok(Schema { rows, fields, range, modes })
}

/// Compiles a text; `batch` replaces larger ones.
pub fn compile(name: &str, source: &str, batch: usize) -> Result<(Compiled, String), String> {
    let mut sources = SourceMap::default();
    let reader = |path: &Path| -> std::io::Result<String> {
        let text = if path == Path::new(name) {
            source.to_string()
        } else {
            std::fs::read_to_string(Path::new("tests/specs").join(path))?
        };
        Ok(smaller(&text, batch))
    };
    let model = load(Path::new(name), &mut sources, &reader, &Options::default());
    let result = model.and_then(|m| expand(&m)).and_then(|m| build(&m, &sources, &fake_schema));
    match result {
        Ok((c, w)) => Ok((c, render(&sources, &w, false))),
        Err(d) => Err(render(&sources, &d, false)),
    }
}

fn smaller(text: &str, batch: usize) -> String {
    let lines = text.lines().map(|l| match l.trim().strip_prefix("batch ") {
        Some(n) if n.trim().parse::<usize>().is_ok_and(|n| n > batch) => format!("    batch {batch}"),
        _ => l.to_string(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn verify_all(c: &Compiled) {
    for t in &c.trains {
        for i in &t.iterations {
            verify::verify(&i.graph).unwrap();
        }
        for a in t.every.iter().flat_map(|e| &e.actions) {
            match a {
                Action::Checkpoint => {}
                Action::Samples(s) => verify::verify(&s.chunk.graph).unwrap(),
                Action::Evaluate(e) => {
                    e.chunks.iter().for_each(|c| verify::verify(&c.graph).unwrap());
                    verify::verify(&e.finish).unwrap();
                }
            }
        }
        t.expects.iter().for_each(|e| verify::verify(&e.graph).unwrap());
    }
}

#[test]
fn specs_build() {
    let mut report = String::new();
    let mut paths: Vec<_> = std::fs::read_dir("tests/specs").unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        match compile(&name, &text, 4) {
            Ok((c, warnings)) => {
                verify_all(&c);
                let nodes: Vec<usize> =
                    c.trains.iter().flat_map(|t| &t.iterations).map(|i| i.graph.nodes().len()).collect();
                report.push_str(&format!("{name}: {} tensors, nodes {nodes:?}\n{warnings}", c.tensors.len()));
            }
            Err(e) => report.push_str(&format!("{name}:\n{e}")),
        }
        report.push('\n');
    }
    insta::assert_snapshot!(report);
}

/// The graph with the noise of these streams given as inputs.
pub fn with_noise_given(g: &Graph, streams: &BTreeMap<u64, String>) -> Graph {
    let mut out = Graph::new();
    let mut map: Vec<NodeId> = Vec::new();
    for node in g.nodes() {
        let args = node.args.iter().map(|a| map[a.index()]).collect();
        map.push(match &node.op {
            Op::Random { stream, .. } => {
                let name = streams.get(stream).unwrap_or_else(|| panic!("noise of an unknown stream: {}", node.ty));
                out.input(name.as_str(), node.ty.clone())
            }
            op => out.intern(op.clone(), args, node.ty.clone()),
        });
    }
    for (name, id) in &g.outputs {
        out.output(name.clone(), map[id.index()]);
    }
    out
}

/// Runs the iterations of a golden case; `names` pairs its tensors with ours.
fn train_golden(file: &str, spec: &str, streams: &[(&str, &str)], names: &[(&str, &str)], critic: usize) {
    let all = cases("train");
    let case: &Case = all.iter().find(|c| c.file == file).expect("the case");
    let (c, _) = compile("golden.gan", spec, 64).unwrap_or_else(|e| panic!("{e}"));
    let streams: BTreeMap<u64, String> =
        streams.iter().map(|(name, input)| (philox::stream(name), input.to_string())).collect();
    let g = with_noise_given(&c.trains[0].iterations[0].graph, &streams);
    let mut env = Env::new().input("seed", Tensor::u32(&[2], &[0, 0]));
    for d in &c.tensors {
        let zeros = Tensor::new(d.ty.clone(), vec![0.0; d.ty.elements()]);
        env.states.insert(d.name.clone(), zeros);
    }
    for (theirs, ours) in names {
        env = env.param(*ours, case.tensors[&format!("in.{theirs}")].clone());
    }
    let slice = |name: &str, at: &[usize]| -> Tensor {
        let t = &case.tensors[name];
        let shape = &t.ty.shape;
        let n: usize = shape[at.len()..].iter().product();
        let index = at.iter().zip(shape).fold(0, |i, (a, d)| i * d + a);
        Tensor::f32(&shape[at.len()..], t.data[index * n..(index + 1) * n].to_vec())
    };
    let mut cpu = CpuExecutor::new(CpuOptions::default());
    for d in &c.tensors {
        let t = env.states.get(&d.name).filter(|_| !env.params.contains_key(&d.name)).or(env.params.get(&d.name));
        cpu.store(&d.name, &host(t.expect("every tensor has a start"))).unwrap();
    }
    let mut program = cpu.compile(&g).unwrap();
    for i in 0..3 {
        env = env.input("iteration", Tensor::u32(&[], &[i as u32 + 1]));
        env = env.input("z_g", slice("in.z_g", &[i]));
        for r in 0..critic {
            env = env.input(format!("z_d{r}"), slice("in.z_d", &[i, r]));
            env = env.input(format!("batch:0.image#{r}"), slice("in.x", &[i, r]));
            if case.tensors.contains_key("in.eps") {
                env = env.input(format!("eps{r}"), slice("in.eps", &[i, r]));
            }
        }
        let given: Vec<(String, HostTensor)> = env.inputs.iter().map(|(n, t)| (n.to_string(), host(t))).collect();
        let given: Vec<(&str, &HostTensor)> = given.iter().map(|(n, t)| (n.as_str(), t)).collect();
        let on_cpu = cpu.run(&mut program, &given).unwrap();
        for (name, t) in eval_outputs(&g, &env).unwrap() {
            if name.starts_with("loss:") {
                let got = on_cpu.iter().find(|o| o.0 == name).expect("each loss").1.to_f64()[0];
                assert!((got - t.item()).abs() < 1e-5 * t.item().abs().max(1.0), "{name} on the CPU: {got}");
            }
            match name.split_once(':') {
                Some(("param", n)) => {
                    env.params.insert(n.into(), t);
                }
                Some(("state", n)) => {
                    env.states.insert(n.into(), t);
                }
                Some(("loss", p)) => {
                    let want = &case.tensors[&format!("out.loss_{}", p.to_lowercase())].data;
                    let want = want[if p == "D" { i * critic + critic - 1 } else { i }];
                    assert!(
                        (t.item() - want).abs() < 1e-10 * want.abs().max(1.0),
                        "loss of {p} in {i}: {} {want}",
                        t.item()
                    );
                }
                _ => {}
            }
        }
    }
    for (theirs, ours) in names {
        let want = &case.tensors[&format!("out.{theirs}")];
        let e = error(&env.params[*ours].data, &want.data, 1e-3);
        assert!(e < 1e-10, "{ours} is off by {e:e}");
        // Adam's first steps divide by moments that are rounding noise for some weights: lr = 0.01 of a step each.
        let e = error(&cpu.fetch(ours).unwrap().expect("it was stored").to_f64(), &want.data, 1.0);
        assert!(e < 1e-4, "{ours} is off by {e:e} on the CPU");
    }
}

const MINI_G: &str = "
generator G(z: [5]) -> [2, 8, 8] {
    linear(32, bias: false)
    reshape(8, 2, 2)
    batch_norm
    relu
    conv_transpose(6, kernel: 4, stride: 2, pad: 1, bias: false)
    batch_norm
    relu
    conv_transpose(2, kernel: 4, stride: 2, pad: 1)
    tanh
}
data tiny = images(\"tiny\")
";

const MINI_G_NAMES: &[(&str, &str)] = &[
    ("g_fc", "G.linear1.weight"),
    ("g_gamma0", "G.batch_norm1.scale"),
    ("g_beta0", "G.batch_norm1.shift"),
    ("g_w1", "G.conv_transpose1.weight"),
    ("g_gamma1", "G.batch_norm2.scale"),
    ("g_beta1", "G.batch_norm2.shift"),
    ("g_w2", "G.conv_transpose2.weight"),
    ("g_b2", "G.conv_transpose2.bias"),
    ("d_w1", "D.conv1.weight"),
    ("d_b1", "D.conv1.bias"),
    ("d_w2", "D.conv2.weight"),
    ("d_fc", "D.linear1.weight"),
    ("d_bfc", "D.linear1.bias"),
];

#[test]
fn golden_mini_dcgan() {
    let spec = format!(
        "{MINI_G}
discriminator D(x: [2, 8, 8]) -> [1] {{
    conv(6, kernel: 4, stride: 2, pad: 1)
    leaky_relu(0.2)
    conv(8, kernel: 4, stride: 2, pad: 1, bias: false)
    batch_norm
    leaky_relu(0.2)
    flatten
    linear(1)
}}
train {{
    batch 6
    steps 3
    draw z: [5] ~ normal
    draw real ~ tiny.image
    loss non_saturating
    player D {{ using adam(lr: 0.01, beta1: 0.5) }}
    player G {{ using adam(lr: 0.01, beta1: 0.5) }}
    trick one_sided_label_smoothing(real: 0.9)
}}"
    );
    let mut names = MINI_G_NAMES.to_vec();
    names.extend([("d_gamma", "D.batch_norm1.scale"), ("d_beta", "D.batch_norm1.shift")]);
    let streams = [("draw z@D.0", "z_d0"), ("draw z@G.0", "z_g")];
    train_golden("train__mini_dcgan.safetensors", &spec, &streams, &names, 1);
}

#[test]
fn golden_mini_wgan_gp() {
    let spec = format!(
        "{MINI_G}
discriminator D(x: [2, 8, 8]) -> [1] {{
    conv(6, kernel: 4, stride: 2, pad: 1)
    leaky_relu(0.2)
    conv(8, kernel: 4, stride: 2, pad: 1, bias: false)
    leaky_relu(0.2)
    flatten
    linear(1)
}}
train {{
    batch 6
    steps 3
    draw z: [5] ~ normal
    draw real ~ tiny.image
    player D {{
        let fake = G(z)
        let t = uniform(0, 1)
        let mix = t * real + (1 - t) * fake
        minimize mean(D(fake)) - mean(D(real)) + 10 * mean((norm(grad(D(mix), mix)) - 1) ^ 2)
        using adam(lr: 0.01, beta1: 0, beta2: 0.9)
        repeat 2
    }}
    player G {{
        minimize -mean(D(G(z)))
        using adam(lr: 0.01, beta1: 0, beta2: 0.9)
    }}
}}"
    );
    let streams = [
        ("draw z@D.0", "z_d0"),
        ("draw z@D.1", "z_d1"),
        ("draw z@G.0", "z_g"),
        ("noise t.uniform1.1@D.0", "eps0"),
        ("noise t.uniform1.1@D.1", "eps1"),
    ];
    train_golden("train__mini_wgan_gp.safetensors", &spec, &streams, MINI_G_NAMES, 2);
}

#[test]
fn graphs() {
    insta::glob!("cases/graph/*.gan", |path| {
        let source = std::fs::read_to_string(path).expect("a case");
        let (c, warnings) = compile("case.gan", &source, 64).unwrap_or_else(|e| panic!("{e}"));
        verify_all(&c);
        let mut out = warnings;
        for t in &c.tensors {
            out.push_str(&format!("{}: {} {:?}\n", t.name, t.ty, t.init));
        }
        for t in &c.trains {
            for i in &t.iterations {
                out.push_str(&format!(
                    "\niteration {:b}, minibatches {:?}\n{}",
                    i.mask,
                    i.fresh,
                    text::print(&i.graph)
                ));
            }
            for a in t.every.iter().flat_map(|e| &e.actions) {
                match a {
                    Action::Checkpoint => {}
                    Action::Samples(s) => {
                        out.push_str(&format!(
                            "\n{} {:?} {:?}\n{}",
                            s.name,
                            s.grid,
                            s.range,
                            text::print(&s.chunk.graph)
                        ));
                    }
                    Action::Evaluate(e) => {
                        out.push_str(&format!("\n{} of {} samples\n", e.name, e.samples));
                        for c in &e.chunks {
                            out.push_str(&text::print(&c.graph));
                        }
                        out.push_str(&format!("finish\n{}", text::print(&e.finish)));
                    }
                }
            }
        }
        insta::assert_snapshot!(out);
    });
}

#[test]
fn errors_of_building() {
    insta::glob!("errors/build/*.gan", |path| {
        let source = std::fs::read_to_string(path).expect("a case");
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (Ok((_, said)) | Err(said)) = compile(&name, &source, 1_000_000);
        assert!(!said.is_empty(), "{name} has no error");
        for code in said.split('[').filter_map(|s| s.split(']').next()) {
            let is_code = code.len() == 5 && code.starts_with(['E', 'W']) && code[1..].parse::<u32>().is_ok();
            assert!(!is_code || ganc::diag::codes::lookup(code).is_some(), "{code} has no long explanation");
        }
        insta::assert_snapshot!(format!("{}\n----------\n{said}", source.trim_end()));
    });
}

#[test]
fn samples_of_a_network() {
    let source = std::fs::read_to_string("tests/specs/cgan.gan").unwrap();
    let mut sources = SourceMap::default();
    let reader = |_: &Path| Ok(source.clone());
    let model = load(Path::new("cgan.gan"), &mut sources, &reader, &Options::default()).unwrap();
    let model = expand(&model).unwrap();
    let (chunk, data) = sample_chunk(&model, &sources, &fake_schema, "G", 6).unwrap();
    verify::verify(&chunk.graph).unwrap();
    assert_eq!((chunk.batch, chunk.rows.len(), data.len()), (6, 1, 1));
    assert_eq!(chunk.graph.shape(chunk.graph.outputs[0].1), [6, 1, 28, 28]);
    assert!(sample_chunk(&model, &sources, &fake_schema, "H", 6).is_err());
}

/// Warnings that a spec which is meant to be right does not have: all that know the field.
#[test]
fn no_false_alarms() {
    let lints = |code: &str| (code.starts_with("W04") && code < "W0450") || code >= "W0455";
    for path in ["examples", "tests/bench", "tests/train", "tests/specs"].into_iter().flat_map(specs) {
        let mut sources = SourceMap::default();
        let reader = |p: &Path| std::fs::read_to_string(p);
        let model = load(&path, &mut sources, &reader, &Options::default());
        // What this version does not compile yet is refused, whatever it would warn about.
        let Ok(model) = model.and_then(|m| expand(&m)) else { continue };
        let mut found = model.warnings.clone();
        if let Ok((_, w)) = build(&model, &sources, &fake_schema) {
            found.extend(w);
        }
        let alarms: Vec<_> = found.items().iter().filter(|d| lints(d.code)).collect();
        assert!(alarms.is_empty(), "{}\n{}", path.display(), render(&sources, &found, false));
    }
}

/// Specs of a folder.
fn specs(folder: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(crate::support::repo(folder)).expect("a folder");
    let mut all: Vec<_> = entries.map(|e| e.expect("an entry").path()).collect();
    all.retain(|p| p.extension().is_some_and(|e| e == "gan"));
    all.sort();
    all
}
