//! Golden vectors of layers, norms, activations, pools, losses and optimisers, through the built-ins themselves.

use crate::golden_util::{Case, cases, check};
use crate::layer_scope::{TestScope, list, num, sample, word};
use ganc::graph::{Graph, NodeId};
use ganc::layers::args::Bound;
use ganc::layers::optimiser::{OptimiserSpec, step};
use ganc::layers::table::lookup;
use ganc::layers::value::{Operator, arithmetic};
use ganc::layers::virtual_norm::statistics;
use ganc::layers::{Class, Kind, Reference, Tensor, Value, modifiers};
use std::collections::BTreeMap;

type Named = BTreeMap<String, NodeId>;

fn out(name: &str, id: NodeId) -> (String, NodeId) {
    (name.to_string(), id)
}

/// Applies one built-in to `in.x`, with parameters renamed from the case's.
fn layer(
    g: &mut Graph,
    ins: &Named,
    name: &str,
    params: &[(&str, &str)],
    positional: &[Value],
    named: &[(&str, Value)],
) -> Vec<(String, NodeId)> {
    let x = sample(g, ins["x"]);
    let mut s = TestScope::new(g, 0);
    s.batch = s.graph.shape(x.node)[0];
    for (ours, theirs) in params {
        if let Some(&id) = ins.get(*theirs) {
            s.given.insert(ours.to_string(), id);
        }
    }
    let y = s.apply(name, &x, positional, named);
    vec![out("y", y.node)]
}

const DENSE: &[(&str, &str)] = &[("weight", "w"), ("bias", "b")];
const NORM: &[(&str, &str)] =
    &[("scale", "gamma"), ("shift", "beta"), ("mean", "running_mean"), ("var", "running_var")];

#[test]
fn linear() {
    for case in cases("linear") {
        let bias = case.attrs["bias"].as_bool().unwrap();
        let n = case.tensors["out.y"].ty.shape[1];
        check(&case, |g, ins| layer(g, ins, "linear", DENSE, &[num(n as f64)], &[("bias", Value::Bool(bias))]));
    }
}

fn convolution(case: &Case) -> Vec<(&'static str, Value)> {
    vec![
        ("kernel", list(&case.extents("kernel"))),
        ("stride", list(&case.extents("stride"))),
        ("pad", list(&case.extents("padding"))),
        ("dilation", list(&case.extents("dilation"))),
        ("groups", num(case.number("groups"))),
    ]
}

#[test]
fn conv() {
    for case in cases("conv2d") {
        let n = case.tensors["out.y"].ty.shape[1] as f64;
        check(&case, |g, ins| layer(g, ins, "conv", DENSE, &[num(n)], &convolution(&case)));
    }
}

#[test]
fn conv_transpose() {
    for case in cases("conv_transpose2d") {
        let n = case.tensors["out.y"].ty.shape[1] as f64;
        let mut named = convolution(&case);
        named.push(("out_pad", list(&case.extents("output_padding"))));
        check(&case, |g, ins| layer(g, ins, "conv_transpose", DENSE, &[num(n)], &named));
    }
}

#[test]
fn batch_norm() {
    for case in cases("batchnorm_train") {
        check(&case, |g, ins| {
            let x = sample(g, ins["x"]);
            let mut s = TestScope::new(g, case.tensors["in.x"].ty.shape[0]);
            s.given = NORM.iter().map(|(a, b)| (a.to_string(), ins[*b])).collect();
            let y = s.apply("batch_norm", &x, &[], &[("momentum", num(case.number("momentum")))]);
            vec![out("y", y.node), out("new_running_mean", s.next["mean"]), out("new_running_var", s.next["var"])]
        });
    }
    for case in cases("batchnorm_eval") {
        check(&case, |g, ins| {
            let x = sample(g, ins["x"]);
            let mut s = TestScope::new(g, case.tensors["in.x"].ty.shape[0]);
            s.training = false;
            s.given = NORM.iter().map(|(a, b)| (a.to_string(), ins[*b])).collect();
            let y = s.apply("batch_norm", &x, &[], &[]);
            assert!(s.next.is_empty());
            vec![out("y", y.node)]
        });
    }
}

#[test]
fn norms_within_a_sample() {
    for case in cases("instancenorm") {
        let affine = Value::Bool(case.attrs["affine"].as_bool().unwrap());
        check(&case, |g, ins| layer(g, ins, "instance_norm", NORM, &[], &[("affine", affine.clone())]));
    }
    for case in cases("layernorm") {
        check(&case, |g, ins| layer(g, ins, "layer_norm", NORM, &[], &[]));
    }
    for case in cases("groupnorm") {
        check(&case, |g, ins| layer(g, ins, "group_norm", NORM, &[num(case.number("groups"))], &[]));
    }
    for case in cases("pixel_norm") {
        check(&case, |g, ins| layer(g, ins, "pixel_norm", &[], &[], &[]));
    }
    for case in cases("minibatch_stddev") {
        check(&case, |g, ins| layer(g, ins, "minibatch_stddev", &[], &[], &[]));
    }
}

#[test]
fn virtual_batch_norm() {
    let mut seen = 0;
    for case in cases("virtual_batchnorm") {
        seen += 1;
        let eps = [("eps", num(case.number("eps")))];
        check(&case, |g, ins| {
            let (reference, x) = (sample(g, ins["ref"]), sample(g, ins["x"]));
            let size = g.shape(reference.node)[0];
            let mut s = TestScope::new(g, size);
            s.given = NORM.iter().filter_map(|(a, b)| Some((a.to_string(), *ins.get(*b)?))).collect();
            let own = s.apply("virtual_batch_norm", &reference, &[], &eps);
            let (mean, var) = (s.next["reference mean"], s.next["reference var"]);
            s.reference = Reference::Beside { mean, var, size };
            s.batch = g_batch(&case);
            let y = s.apply("virtual_batch_norm", &x, &[], &eps);
            let (mean, var, _) = statistics(s.graph, x.node, mean, var, size);
            let flat = [s.batch, x.shape[0]];
            let (mean, var) = (s.graph.reshape(mean, &flat), s.graph.reshape(var, &flat));
            vec![out("y", y.node), out("yref", own.node), out("mean", mean), out("var", var)]
        });
    }
    assert_eq!(seen, 2);
}

#[test]
fn minibatch_discrimination() {
    let mut seen = 0;
    for case in cases("minibatch_discrimination") {
        seen += 1;
        check(&case, |g, ins| {
            let [k, kernels, dim] = g.shape(ins["T"]) else { panic!("T is no tensor of three axes") };
            let (k, kernels, dim) = (*k, *kernels, *dim);
            let w = g.reshape(ins["T"], &[k, kernels * dim]);
            let w = g.permute(w, &[1, 0]);
            let x = sample(g, ins["x"]);
            let mut s = TestScope::new(g, g_batch(&case));
            s.given.insert("weight".to_string(), w);
            let own = Value::Bool(case.attrs["include_self"] == true);
            let y =
                s.apply("minibatch_discrimination", &x, &[num(kernels as f64), num(dim as f64)], &[("self", own)]);
            vec![out("y", y.node), out("o", s.graph.slice_axis(y.node, 1, k..k + kernels))]
        });
    }
    assert_eq!(seen, 2);
}

fn g_batch(case: &Case) -> usize {
    case.tensors["in.x"].ty.shape[0]
}

#[test]
fn modifiers_of_weights() {
    for case in cases("spectral_norm") {
        check(&case, |g, ins| {
            // Not a bare input, so that the stop within is a node (it would be dropped on a leaf).
            let twice = g.scale(ins["w"], 2.0);
            let w = g.scale(twice, 0.5);
            let r = modifiers::spectral_norm(g, w, ins["u"], 0, 1);
            vec![out("w_bar", r.weight), out("u_new", r.u), out("v", r.v), out("sigma", r.sigma)]
        });
    }
    for case in cases("weight_norm") {
        check(&case, |g, ins| vec![out("w", modifiers::weight_norm(g, ins["v"], ins["g"], 0))]);
    }
}

#[test]
fn activations() {
    for case in cases("activation") {
        check(&case, |g, ins| {
            let x = sample(g, ins["x"]);
            match case.string("kind") {
                "leaky_relu" => layer(g, ins, "leaky_relu", &[], &[num(case.number("alpha"))], &[]),
                "elu" => layer(g, ins, "elu", &[], &[num(case.number("alpha"))], &[]),
                "gelu_tanh" => layer(g, ins, "gelu", &[], &[word("tanh")], &[]),
                "softmax" => {
                    let mut s = TestScope::new(g, 4);
                    let y = s.apply("softmax", &x, &[], &[]);
                    let log = s.apply("log_softmax", &x, &[], &[]);
                    vec![out("y", y.node), out("log", log.node)]
                }
                "maxout" => {
                    let mut s = TestScope::new(g, 4);
                    let flat = s.apply("flatten", &x, &[], &[]);
                    vec![out("y", s.apply("maxout", &flat, &[num(3.0)], &[]).node)]
                }
                name => layer(g, ins, name, &[], &[], &[]),
            }
        });
    }
}

#[test]
fn pools_and_resampling() {
    for (kind, name) in [("avg_pool", "avg_pool"), ("max_pool", "max_pool")] {
        for case in cases(kind) {
            if case.attrs["count_include_pad"] == true {
                continue;
            }
            let args = ["kernel", "stride"].map(|n| num(case.number(n)));
            let pad = [("pad", num(case.number("padding")))];
            check(&case, |g, ins| layer(g, ins, name, &[], &args, &pad));
        }
    }
    for name in ["global_avg_pool", "global_sum_pool"] {
        cases(name).iter().for_each(|case| check(case, |g, ins| layer(g, ins, name, &[], &[], &[])));
    }
    for case in cases("upsample_nearest") {
        check(&case, |g, ins| layer(g, ins, "upsample", &[], &[num(case.number("scale"))], &[]));
    }
    for case in cases("upsample_bilinear") {
        if case.attrs["align_corners"] == false && case.attrs["scale"].is_number() {
            let args = [num(case.number("scale")), word("bilinear")];
            check(&case, |g, ins| layer(g, ins, "upsample", &[], &args, &[]));
        }
    }
    for case in cases("pixel_shuffle") {
        check(&case, |g, ins| layer(g, ins, "pixel_shuffle", &[], &[num(case.number("r"))], &[]));
    }
}

/// `mean(f(x, args…))` as a node.
fn mean_of(s: &mut TestScope, name: &str, x: Tensor, args: &[Value]) -> NodeId {
    let y = s.apply(name, &x, args, &[]);
    s.apply("mean", &y, &[], &[]).node
}

/// `a + k x` of a sample.
fn affine(s: &mut TestScope, x: &Tensor, k: f64, a: f64) -> Tensor {
    let kx = arithmetic(s, Operator::Mul, &num(k), &Value::Tensor(x.clone())).unwrap();
    match arithmetic(s, Operator::Add, &kx, &num(a)).unwrap() {
        Value::Tensor(t) => t,
        other => panic!("{other:?}"),
    }
}

#[test]
fn losses() {
    for case in cases("loss") {
        check(&case, |g, ins| {
            let tensor = |g: &Graph, n: &str| ins.get(n).map(|&id| sample(g, id));
            let (real, fake) = (tensor(g, "real"), tensor(g, "fake"));
            let (a, b, logits) = (tensor(g, "a"), tensor(g, "b"), tensor(g, "logits"));
            let batch = case.tensors.iter().find(|t| t.0.starts_with("in.")).unwrap().1.ty.shape[0];
            let mut s = TestScope::new(g, batch);
            let mut d = |f: &mut dyn FnMut(&mut TestScope, &Tensor, &Tensor) -> (NodeId, NodeId)| {
                let (p, q) = f(&mut s, real.as_ref().unwrap(), fake.as_ref().unwrap());
                vec![out("loss", s.graph.add(p, q))]
            };
            let kind = case.file.trim_start_matches("loss__").trim_end_matches(".safetensors");
            match kind {
                "bce_logits_d" | "bce_logits_d_hard" => d(&mut |s, r, f| {
                    let (p, q) = (num(case.number("real_label")), num(case.number("fake_label")));
                    (mean_of(s, "bce", r.clone(), &[p]), mean_of(s, "bce", f.clone(), &[q]))
                }),
                "hinge_d" => d(&mut |s, r, f| {
                    let (r, f) = (affine(s, r, -1.0, 1.0), affine(s, f, 1.0, 1.0));
                    (mean_of(s, "relu", r, &[]), mean_of(s, "relu", f, &[]))
                }),
                "lsgan_d" => d(&mut |s, r, f| {
                    let p = mean_of(s, "mse", r.clone(), &[num(1.0)]);
                    let q = mean_of(s, "mse", f.clone(), &[num(0.0)]);
                    (s.graph.scale(p, 0.5), s.graph.scale(q, 0.5))
                }),
                "wgan_d" => d(&mut |s, r, f| {
                    let r = affine(s, r, -1.0, 0.0);
                    (s.apply("mean", &r, &[], &[]).node, s.apply("mean", f, &[], &[]).node)
                }),
                "rpgan_d" => {
                    let (r, f) = (Value::Tensor(real.unwrap()), Value::Tensor(fake.unwrap()));
                    let Value::Tensor(t) = arithmetic(&mut s, Operator::Sub, &f, &r).unwrap() else { panic!() };
                    vec![out("loss", mean_of(&mut s, "softplus", t, &[]))]
                }
                "ns_g" => vec![out("loss", mean_of(&mut s, "bce", fake.unwrap(), &[num(1.0)]))],
                "minimax_g" => {
                    let m = mean_of(&mut s, "bce", fake.unwrap(), &[num(0.0)]);
                    vec![out("loss", s.graph.neg(m))]
                }
                "hinge_g" => {
                    let f = affine(&mut s, &fake.unwrap(), -1.0, 0.0);
                    vec![out("loss", s.apply("mean", &f, &[], &[]).node)]
                }
                "lsgan_g" => {
                    let m = mean_of(&mut s, "mse", fake.unwrap(), &[num(1.0)]);
                    vec![out("loss", s.graph.scale(m, 0.5))]
                }
                "cross_entropy" => {
                    let y = Tensor { node: ins["target"], kind: Kind::Class(5), sample: true, shape: vec![] };
                    vec![out("loss", mean_of(&mut s, "cross_entropy", logits.unwrap(), &[Value::Tensor(y)]))]
                }
                "l1_mse" => {
                    let (a, b) = (a.unwrap(), Value::Tensor(b.unwrap()));
                    vec![
                        out("l1", mean_of(&mut s, "l1", a.clone(), std::slice::from_ref(&b))),
                        out("mse", mean_of(&mut s, "mse", a, &[b])),
                    ]
                }
                other => panic!("a new loss case: {other}"),
            }
        });
    }
}

#[test]
fn information_terms() {
    for case in cases("infogan") {
        check(&case, |g, ins| {
            let mut s = TestScope::new(g, 0);
            if let Some(&logits) = ins.get("logits") {
                let x = sample(s.graph, logits);
                s.batch = 6;
                let c = Tensor { node: ins["c"], kind: Kind::Class(10), sample: true, shape: vec![] };
                let loss = mean_of(&mut s, "cross_entropy", x, &[Value::Tensor(c)]);
                let minus = s.graph.neg(loss);
                return vec![out("loss", loss), out("bound", s.graph.offset(minus, 10f64.ln()))];
            }
            let (c, mu) = (sample(s.graph, ins["c"]), sample(s.graph, ins["mu"]));
            s.batch = s.graph.shape(ins["c"])[0];
            let logvar = match ins.get("logvar") {
                Some(&id) => Value::Tensor(sample(s.graph, id)),
                None => num(0.0),
            };
            let log = s.apply("log_normal", &c, &[Value::Tensor(mu), logvar], &[]);
            let mean = mean_of(&mut s, "sum", log, &[]);
            vec![out("loss", s.graph.neg(mean))]
        });
    }
}

#[test]
fn autoencoder_bound() {
    for kind in ["vae_elbo", "vae_elbo_parts"] {
        for case in cases(kind) {
            check(&case, |g, ins| {
                let x = sample(g, ins["x"]);
                let mut s = TestScope::new(g, 5);
                let dense = |s: &mut TestScope, x: &Tensor, w: &str, b: &str| {
                    s.given = [("weight".to_string(), ins[w]), ("bias".to_string(), ins[b])].into();
                    let n = s.graph.shape(ins[w])[0];
                    s.apply("linear", x, &[num(n as f64)], &[])
                };
                let h = dense(&mut s, &x, "ew", "eb");
                let h = s.apply("tanh", &h, &[], &[]);
                let (mu, logvar) = (dense(&mut s, &h, "mw", "mb"), dense(&mut s, &h, "vw", "vb"));
                s.noise.push(ins["eps"]);
                let z = s.apply("sample_normal", &mu, &[Value::Tensor(logvar.clone())], &[]);
                let h = dense(&mut s, &z, "dw1", "db1");
                let h = s.apply("tanh", &h, &[], &[]);
                let y = dense(&mut s, &h, "dw2", "db2");
                let x = Value::Tensor(x);
                let rec = if case.string("reconstruction") == "bernoulli" {
                    let e = s.apply("bce", &y, &[x], &[]);
                    mean_of(&mut s, "sum", e, &[])
                } else {
                    // Minus the log density of x under N(y, 1); the density is symmetric in the two.
                    let e = s.apply("log_normal", &y, &[x, num(0.0)], &[]);
                    let sum = mean_of(&mut s, "sum", e, &[]);
                    s.graph.neg(sum)
                };
                let kl = s.apply("kl_normal", &mu, &[Value::Tensor(logvar.clone())], &[]);
                let kl = mean_of(&mut s, "sum", kl, &[]);
                let loss = s.graph.add(rec, kl);
                vec![
                    out("loss", loss),
                    out("rec", rec),
                    out("kl", kl),
                    out("mu", mu.node),
                    out("logvar", logvar.node),
                ]
            });
        }
    }
}

#[test]
fn optimisers() {
    let mut seen = 0;
    for case in cases("optimizer") {
        let has = |n: &str| case.attrs.get(n).is_some_and(|v| v != &serde_json::json!(false));
        let name = case.string("algorithm").to_string();
        if has("amsgrad") || has("centered") || (name == "rmsprop" && has("momentum")) {
            continue;
        }
        seen += 1;
        let mut named = vec![("lr", num(case.number("lr")))];
        if let Some(betas) = case.attrs["betas"].as_array() {
            named.push(("beta1", num(betas[0].as_f64().unwrap())));
            named.push(("beta2", num(betas[1].as_f64().unwrap())));
        }
        for (theirs, ours) in [("alpha", "decay"), ("momentum", "momentum"), ("weight_decay", "weight_decay")] {
            if has(theirs) {
                named.push((ours, num(case.number(theirs))));
            }
        }
        if has("nesterov") {
            named.push(("nesterov", Value::Bool(true)));
        }
        check(&case, |g, ins| {
            let bound = Bound::of(lookup(Class::Optimiser, &name).unwrap(), &[], &named).unwrap();
            let spec = OptimiserSpec::parse(&bound).unwrap();
            let lr = spec.lr_node(g);
            let mut p = ins["p0"];
            let zero = g.zeros_like(p);
            let mut states = vec![zero; spec.state_names().len()];
            let mut outs = Vec::new();
            for k in 1..=3 {
                let t = g.scalar(f64::from(k));
                (p, states) = step(g, &spec, p, ins[&format!("g{k}")], &states, t, lr);
                outs.push(out(&format!("p{k}"), p));
            }
            let names: &[&str] = match &name[..] {
                "adam" | "adamw" => &["state_exp_avg", "state_exp_avg_sq"],
                "sgd" => &["state_momentum_buffer"],
                "rmsprop" => &["state_square_avg"],
                _ => &["state_sum"],
            };
            outs.extend(names.iter().zip(states).map(|(n, id)| out(n, id)));
            outs
        });
    }
    assert!(seen >= 10, "{seen}");
}
