//! Metrics within `evaluate`: what each collects of the samples, its arguments checked.

use super::ctx::Builder;
use super::expr::Env;
use super::program::{Accumulator, Metric};
use super::value::{Record, Value, common, describe, sample, shape_text};
use crate::data::FieldType;
use crate::diag::Diagnostic;
use crate::graph::{DType, Name, NodeId, Type};
use crate::layers::args::{Slot, bind_names};
use crate::layers::{Kind, Signature, Tensor};
use crate::source::Span;
use crate::syntax::ast::{Arg, Expr, ExprKind};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Most samples of one evaluation.
const MAX_SAMPLES: usize = 1 << 24;
/// Most features of a Fréchet distance: its work grows with their cube.
const MAX_FEATURES: usize = 1024;
/// Most combinations of classes of stacked pictures: each has a number that f32 holds exactly.
const MAX_COMBINATIONS: usize = 1 << 24;
/// Fewest samples of a sliced Wasserstein distance that is more than noise: two sets of n samples of the same data are
/// of the order of 1 / sqrt(n) apart in every direction.
const FEW_FOR_SWD: usize = 100;
/// Fewest samples a feature of a Fréchet distance: with fewer than one, covariances have no full rank.
const FEW_A_FEATURE: usize = 2;

/// A metric as it is called.
struct Call<'m> {
    sig: &'static Signature,
    x: Tensor,
    at: Span,
    args: BTreeMap<&'static str, &'m Expr>,
    span: Span,
}

impl<'m> Builder<'m> {
    /// A metric within `evaluate`.
    pub fn metric(
        &mut self,
        env: &mut Env<'m>,
        sig: &'static Signature,
        input: (Value, Span),
        args: &'m [Arg],
        span: Span,
    ) -> Value {
        if !sig.available {
            return self.unavailable(sig.name, span);
        }
        let positional: Vec<&'m Arg> = args.iter().filter(|a| a.name.is_none()).collect();
        let named: Vec<&'m Arg> = args.iter().filter(|a| a.name.is_some()).collect();
        let names: Vec<&str> = named.iter().filter_map(|a| a.name.as_ref()).map(|n| n.name.as_str()).collect();
        let slots = match bind_names(sig, positional.len(), &names) {
            Ok(s) => s,
            Err(errors) => {
                for e in errors {
                    let (message, help) = e.message(sig, &names);
                    self.report(Diagnostic::error("E0206", message).at(span, "in this metric").help(help));
                }
                return Value::Error;
            }
        };
        let mut args = BTreeMap::new();
        for (slot, p) in slots.iter().zip(sig.params) {
            match slot {
                Slot::Positional(k) => args.insert(p.name, &positional[*k].value),
                Slot::Named(k) => args.insert(p.name, &named[*k].value),
                Slot::Default | Slot::Many(_) | Slot::Columns(_) => None,
            };
        }
        if let Some(e) = args.get("samples")
            && self.sample_count(env, e).is_none()
        {
            return Value::Error;
        }
        let Some(x) = self.tensor(&input.0, input.1) else { return Value::Error };
        let call = Call { sig, x, at: input.1, args, span };
        let value = match sig.name {
            "accuracy" => self.accuracy(env, &call),
            "swd" => self.swd(&call),
            "frechet" => self.frechet(env, &call),
            "modes" => self.modes(&call),
            "stacked_modes" => self.stacked_modes(env, &call),
            "psnr" | "ssim" => self.likeness(env, &call),
            other => Some(self.unavailable(other, span)),
        };
        value.unwrap_or(Value::Error)
    }

    /// `samples:` of a metric, the same in all metrics of an evaluation.
    fn sample_count(&mut self, env: &mut Env<'m>, e: &'m Expr) -> Option<()> {
        let n = match self.eval(env, e) {
            Value::Error => return None,
            Value::Num(v) if v.fract() == 0.0 && v >= 1.0 && v <= MAX_SAMPLES as f64 => v as usize,
            other => {
                let found = other.describe();
                let title = format!("`samples` is a whole number from 1 to {MAX_SAMPLES}");
                self.error("E0458", e.span, title, format!("this is {found}"));
                return None;
            }
        };
        if self.moment.samples.is_some_and(|m| m != n) {
            self.error("E0458", e.span, "two numbers of samples in one evaluation", "another one before");
            return None;
        }
        self.moment.samples = Some(n);
        Some(())
    }

    /// The samples that a metric takes: real, one a sample.
    fn real_samples(&mut self, call: &Call<'m>) -> Option<()> {
        if call.x.kind == Kind::Real && call.x.sample {
            return Some(());
        }
        let found = describe(&call.x);
        let title = format!("`{}` takes real samples", call.sig.name);
        self.error("E0458", call.at, title, format!("this is {found}"));
        None
    }

    /// A name for what the next metric collects.
    fn output(&self) -> Name {
        format!("metric{}", self.moment.metrics.len()).into()
    }

    /// Collects values for a metric of one number, or of several with names.
    fn collect(&mut self, values: Vec<(Name, NodeId)>, metric: Metric, names: &[&str]) -> Option<Value> {
        let output = values.first()?.0.clone();
        let results: Vec<Name> = match names {
            [] => vec![output.clone()],
            _ => names.iter().map(|n| format!("{output}.{n}").into()).collect(),
        };
        let placeholders: Vec<Tensor> =
            results.iter().map(|r| common(self.gx.graph.input(r.clone(), Type::f32([])), vec![])).collect();
        self.moment.metrics.push(Accumulator { output, metric, results });
        self.moment.metric_values.extend(values);
        Some(match (names, &placeholders[..]) {
            ([], [only]) => Value::Tensor(only.clone()),
            _ => {
                let outputs = names.iter().map(|n| n.to_string()).zip(placeholders).collect();
                Value::Record(Rc::new(Record { outputs, taps: vec![] }))
            }
        })
    }

    fn swd(&mut self, call: &Call<'m>) -> Option<Value> {
        self.real_samples(call)?;
        let (data, field) = self.data_of(call.args.get("data")?, true)?;
        let field = field?;
        let have = match &self.data[data].2.fields[field].ty {
            FieldType::Real(s) => shape_text(s),
            FieldType::Class(k) => format!("class({k})"),
        };
        if have != shape_text(&call.x.shape) {
            let found = describe(&call.x);
            self.report(
                Diagnostic::error("E0458", "`swd` compares samples of one shape")
                    .at(call.at, format!("this is {found}"))
                    .label(call.span, format!("the data has {have}")),
            );
            return None;
        }
        let output = self.output();
        self.collect(vec![(output, call.x.node)], Metric::Swd { data, field }, &[])
    }

    fn modes(&mut self, call: &Call<'m>) -> Option<Value> {
        self.real_samples(call)?;
        let at = call.args.get("data")?;
        let (set, _) = self.data_of(at, false)?;
        let Some(modes) = self.data[set].2.modes.as_ref() else {
            let name = self.data[set].1.name.clone();
            self.report(
                Diagnostic::error("E0458", format!("the modes of `{name}` are not known"))
                    .at(at.span, "not a set with known modes")
                    .help("`modes` is for ring, grid and the like; for pictures use `swd` or `frechet`"),
            );
            return None;
        };
        let dims = modes.centres.first().map_or(0, Vec::len);
        if call.x.shape != [dims] {
            let found = describe(&call.x);
            self.error("E0458", call.at, format!("`modes` takes points [{dims}]"), format!("this is {found}"));
            return None;
        }
        let output = self.output();
        let metric = Metric::Modes { data: set };
        self.collect(vec![(output, call.x.node)], metric, &["modes", "hq", "reverse_kl"])
    }

    /// Features of `x` and of as many rows of the data, by one network.
    fn frechet(&mut self, env: &mut Env<'m>, call: &Call<'m>) -> Option<Value> {
        self.real_samples(call)?;
        let (data, field) = self.data_of(call.args.get("data")?, true)?;
        let real = self.row_input(data, field?);
        let net = *call.args.get("net")?;
        let fake = self.features(env, net, &call.x, call.at)?;
        let real = self.features(env, net, &real, call.args.get("data")?.span)?;
        let width = fake.shape.iter().product::<usize>();
        if !(1..=MAX_FEATURES).contains(&width) {
            self.report(
                Diagnostic::error("E0458", format!("`frechet` of {width} features: from 1 to {MAX_FEATURES}"))
                    .at(net.span, format!("this gives {}", describe(&fake)))
                    .help(
                        "take a later layer, such as `net: C.features` with `tap features` behind a pooling layer",
                    ),
            );
            return None;
        }
        let output = self.output();
        let other: Name = format!("{output}.real").into();
        let values = vec![(output, fake.node), (other.clone(), real.node)];
        self.collect(values, Metric::Frechet { real: other }, &[])
    }

    /// Each colour plane's class by one network; together they are the number of a combination.
    fn stacked_modes(&mut self, env: &mut Env<'m>, call: &Call<'m>) -> Option<Value> {
        self.real_samples(call)?;
        let [planes, height, width] = call.x.shape[..] else {
            let found = describe(&call.x);
            let title = "`stacked_modes` takes pictures [planes, height, width]";
            self.error("E0458", call.at, title, format!("this is {found}"));
            return None;
        };
        let net = *call.args.get("net")?;
        let batch = self.moment.batch;
        let (mut count, mut cell) = (1usize, None);
        for i in 0..planes {
            let plane = self.gx.graph.slice_axis(call.x.node, 1, i..i + 1);
            let logits = self.features(env, net, &sample(plane, vec![1, height, width]), call.at)?;
            let [classes] = logits.shape[..] else {
                let found = describe(&logits);
                let title = "the network of `stacked_modes` gives logits [k]";
                self.error("E0458", net.span, title, format!("this gives {found}"));
                return None;
            };
            count = count.saturating_mul(classes);
            if count > MAX_COMBINATIONS {
                let found = format!("{classes} classes in {planes} planes");
                let title = format!("more than {MAX_COMBINATIONS} combinations of classes");
                self.error("E0458", net.span, title, found);
                return None;
            }
            let g = &mut self.gx.graph;
            let class = g.argmax(logits.node, &[1]);
            let class = g.reshape(class, &[batch]);
            let class = g.cast(class, DType::F32);
            cell = Some(match cell {
                None => class,
                Some(before) => {
                    let before = g.scale(before, classes as f64);
                    g.add(before, class)
                }
            });
        }
        let output = self.output();
        self.collect(vec![(output, cell?)], Metric::StackedModes { count }, &["modes", "kl"])
    }

    /// `psnr` and `ssim`: pictures against pictures.
    fn likeness(&mut self, env: &mut Env<'m>, call: &Call<'m>) -> Option<Value> {
        self.real_samples(call)?;
        let e = *call.args.get("b")?;
        let v = self.eval(env, e);
        let b = self.tensor(&v, e.span)?;
        if b.kind != Kind::Real || !b.sample || b.shape != call.x.shape || b.shape.len() != 3 {
            let (x, b) = (describe(&call.x), describe(&b));
            self.report(
                Diagnostic::error("E0458", format!("`{}` compares pictures of one shape", call.sig.name))
                    .at(call.at, format!("this is {x}"))
                    .label(e.span, format!("this is {b}"))
                    .help("both are [channels, height, width], one a sample"),
            );
            return None;
        }
        let span = match call.args.get("range") {
            None => self.range_of_data().map_or(1.0, |(lo, hi)| hi - lo),
            Some(e) => match self.eval(env, e) {
                Value::Error => return None,
                Value::Num(v) if v > 0.0 && v.is_finite() => v,
                other => {
                    let found = other.describe();
                    let title = "`range` is white minus black, a number above 0";
                    self.error("E0458", e.span, title, format!("this is {found}"));
                    return None;
                }
            },
        };
        let output = self.output();
        let other: Name = format!("{output}.other").into();
        let metric = match call.sig.name {
            "psnr" => Metric::Psnr { other: other.clone(), span },
            _ => Metric::Ssim { other: other.clone(), span },
        };
        self.collect(vec![(output, call.x.node), (other, b.node)], metric, &[])
    }

    fn accuracy(&mut self, env: &mut Env<'m>, call: &Call<'m>) -> Option<Value> {
        let (x, y) = (&call.x, *call.args.get("y")?);
        let v = self.eval(env, y);
        let label = self.tensor(&v, y.span)?;
        let classes = match (label.kind, &x.shape[..]) {
            (Kind::Class(k), [n]) if k <= *n => Some(*n),
            _ => None,
        };
        if classes.is_none() || !x.sample || !label.sample || x.kind != Kind::Real {
            let (a, b) = (describe(x), describe(&label));
            self.report(
                Diagnostic::error("E0458", "`accuracy` takes logits [k] and a label class(k)")
                    .at(call.at, format!("this is {a}"))
                    .label(y.span, format!("this is {b}")),
            );
            return None;
        }
        let batch = self.moment.batch;
        let g = &mut self.gx.graph;
        let best = g.argmax(x.node, &[1]);
        let best = g.reshape(best, &[batch]);
        let hit = g.eq(best, label.node);
        let node = g.cast(hit, DType::F32);
        Some(self.mean_of_set(&Value::Tensor(sample(node, vec![])), call.at, call.span))
    }

    /// `net:` of a metric, applied to pictures: a network of one input, or a tap or output of one (`C.features`).
    fn features(&mut self, env: &mut Env<'m>, net: &'m Expr, x: &Tensor, at: Span) -> Option<Tensor> {
        let (e, part) = match &net.kind {
            ExprKind::Paren(inner) => return self.features(env, inner, x, at),
            ExprKind::Field(base, part) => (&**base, Some(part)),
            _ => (net, None),
        };
        let Value::Net(net) = self.eval(env, e) else {
            self.error("E0458", e.span, "a network is needed", "not a network");
            return None;
        };
        let decl = &self.model.networks[net.index];
        let name = &decl.name.name;
        if decl.inputs.len() != 1 {
            let title = format!("`{name}` has {} inputs, a metric gives it one", decl.inputs.len());
            self.error("E0458", e.span, title, "not a network of one input");
            return None;
        }
        self.check_network(net.index);
        if self.nets[net.index].broken {
            return None;
        }
        let args = self.inputs(decl, net.index, &[(Value::Tensor(x.clone()), at)])?;
        let record = self.apply(&net, args)?;
        let found = match part {
            None => record.outputs.first().map(|o| &o.1),
            Some(p) => record.get(&p.name),
        };
        let Some(t) = found else {
            let part = part.map_or("", |p| &p.name);
            self.error("E0458", e.span, format!("`{name}` has no output or tap `{part}`"), "of this network");
            return None;
        };
        Some(self.per_sample(t))
    }

    /// Says when a metric has too few samples to mean much.
    pub fn few_samples(&mut self, found: &Metric, width: usize, samples: usize, span: Span) {
        let (name, enough, why) = match found {
            Metric::Swd { .. } => {
                let why = "two sets of n samples of the same data are of the order of 1 / sqrt(n) apart in every direction";
                ("swd", FEW_FOR_SWD, why.to_string())
            }
            Metric::Frechet { .. } => {
                let why = format!(
                    "covariances of {width} features need more samples than that; the distance comes out too large"
                );
                ("frechet", FEW_A_FEATURE.saturating_mul(width).max(FEW_FOR_SWD), why)
            }
            Metric::Mean
            | Metric::Modes { .. }
            | Metric::StackedModes { .. }
            | Metric::Psnr { .. }
            | Metric::Ssim { .. } => {
                return;
            }
        };
        if samples < enough {
            self.report(
                Diagnostic::warning("W0455", format!("`{name}` of {samples} samples is mostly noise"))
                    .at(span, format!("at least {enough} are worth comparing"))
                    .note(why)
                    .help(format!("write `samples: {}` or more", enough.max(1000))),
            );
        }
    }

    /// A data set, or one of its fields, as written.
    fn data_of(&mut self, e: &'m Expr, with_field: bool) -> Option<(usize, Option<usize>)> {
        let set = |b: &Self, n: &str| b.model.data.iter().position(|d| d.name.name == n);
        match &e.kind {
            ExprKind::Paren(inner) => self.data_of(inner, with_field),
            ExprKind::Field(base, f) if with_field => {
                if let ExprKind::Name(n) = &base.kind
                    && let Some(i) = set(self, n)
                {
                    return self.data_field(i, f).map(|(d, f)| (d, Some(f)));
                }
                self.error("E0458", e.span, "a field of a data set is needed", "such as `test.image`");
                None
            }
            ExprKind::Name(n) if !with_field => match set(self, n) {
                Some(i) => self.use_data(i).map(|d| (d, None)),
                None => {
                    self.error("E0458", e.span, "a data set is needed", "not a data set");
                    None
                }
            },
            // A drawn name stands for the field it is drawn from.
            ExprKind::Name(n) => match self.train.draws.iter().find(|d| d.name.name == *n).and_then(|d| d.field) {
                Some((d, f)) => Some((d, Some(f))),
                None => {
                    self.error("E0458", e.span, "a field of a data set is needed", "such as `test.image`");
                    None
                }
            },
            _ => {
                self.error("E0458", e.span, "a data set is needed", "not a data set");
                None
            }
        }
    }
}
