//! Calls: built-in layers and functions, blocks, networks, and the functions that only the builder knows.

use super::ctx::{Average, Builder};
use super::expr::Env;
use super::net::Step;
use super::program::LayerRow;
use super::text;
use super::value::{NetRef, Value, View, common, shape_text};
use crate::diag::Diagnostic;
use crate::graph::{Op, Origin};
use crate::layers::args::{Bound, Slot, bind_names};
use crate::layers::{self, ArgKind, Class, Kind, Signature, Tensor, table};
use crate::source::Span;
use crate::syntax::ast::{Arg, Expr, ExprKind, Modifier};

impl<'m> Builder<'m> {
    /// Evaluates and binds arguments; `None` after a report.
    pub fn bind(
        &mut self,
        env: &mut Env<'m>,
        sig: &'static Signature,
        args: &'m [Arg],
        span: Span,
    ) -> Option<Bound> {
        let positional: Vec<&'m Arg> = args.iter().filter(|a| a.name.is_none()).collect();
        let named: Vec<&'m Arg> = args.iter().filter(|a| a.name.is_some()).collect();
        let names: Vec<&str> = named.iter().filter_map(|a| a.name.as_ref()).map(|n| n.name.as_str()).collect();
        let slots = match bind_names(sig, positional.len(), &names) {
            Ok(s) => s,
            Err(errors) => {
                for e in errors {
                    let (message, help) = e.message(sig, &names);
                    let mut d = Diagnostic::error("E0206", message).at(span, "in this call").help(help);
                    if env.net.is_some() && sig.class == Class::Layer && sig.takes_input {
                        d = d.note(format!(
                            "a layer in an expression takes its input first: `it |> {}(…)`",
                            sig.name
                        ));
                    }
                    self.report(d);
                }
                return None;
            }
        };
        let mut kinds_p = vec![ArgKind::Any; positional.len()];
        let mut kinds_n = vec![ArgKind::Any; named.len()];
        for (slot, p) in slots.iter().zip(sig.params) {
            match slot {
                Slot::Default => {}
                Slot::Positional(i) => kinds_p[*i] = p.kind,
                Slot::Named(i) => kinds_n[*i] = p.kind,
                Slot::Many(list) => list.iter().for_each(|&i| kinds_p[i] = p.kind),
                Slot::Columns(list) => list.iter().for_each(|&i| kinds_n[i] = p.kind),
            }
        }
        let p: Vec<_> = positional.iter().zip(&kinds_p).map(|(a, &k)| self.argument(env, k, &a.value)).collect();
        let n: Vec<_> = named.iter().zip(&kinds_n).map(|(a, &k)| self.argument(env, k, &a.value)).collect();
        let p: Vec<_> = p.into_iter().collect::<Option<_>>()?;
        let n: Vec<_> = n.into_iter().collect::<Option<_>>()?;
        Some(Bound::new(sig, &slots, &p, &n))
    }

    /// One argument: a bare word where an enumeration is declared, an initialiser where one is, else a value.
    fn argument(&mut self, env: &mut Env<'m>, kind: ArgKind, e: &'m Expr) -> Option<(layers::Value, Span)> {
        let word = |e: &Expr| match &e.kind {
            ExprKind::Name(n) => Some(n.clone()),
            _ => None,
        };
        let v = match kind {
            ArgKind::Enum(_) | ArgKind::Column if word(e).is_some() => layers::Value::Word(word(e)?),
            ArgKind::IntsOr(words) if word(e).is_some_and(|w| words.contains(&&w[..])) => {
                layers::Value::Word(word(e)?)
            }
            ArgKind::Init => layers::Value::Init(self.initialiser(env, e)?),
            _ => {
                let v = self.eval(env, e);
                self.lower(&v, e.span)?
            }
        };
        Some((v, e.span))
    }

    /// A call `name(args)` or `input |> name(args) with …`.
    pub fn invoke(
        &mut self,
        env: &mut Env<'m>,
        name: &'m str,
        name_span: Span,
        input: Option<(Value, Span)>,
        args: &'m [Arg],
        with: &'m [Modifier],
        span: Span,
    ) -> Value {
        if let Some(index) = self.model.networks.iter().position(|n| n.name.name == name) {
            let net = match &env.net {
                Some(outer) => outer.app.net.inner(index),
                None => NetRef { index, ..NetRef::default() },
            };
            return self.apply_args(env, &net, input, args, span);
        }
        if let Some(Value::Net(net)) = input.is_some().then(|| self.local(env, name)).flatten() {
            return self.apply_args(env, &net, input, args, span);
        }
        if let Some(block) = self.model.blocks.iter().find(|b| b.name.name == name) {
            let Some((input, rest)) = self.take_input(env, name, input, args, span) else { return Value::Error };
            return self.use_block(env, block, input, rest, with, span);
        }
        if self.moment.evaluate
            && let Some(sig) = table::lookup(Class::Metric, name)
        {
            let Some((input, rest)) = self.take_input(env, name, input, args, span) else { return Value::Error };
            return self.metric(env, sig, input, rest, span);
        }
        let Some(sig) = table::lookup_call(name) else {
            let mut all: Vec<&str> = table::names(Class::Layer).chain(table::names(Class::Function)).collect();
            all.extend(self.model.blocks.iter().map(|b| b.name.name.as_str()));
            let d = Diagnostic::error("E0201", format!("there is no layer or function `{name}`"))
                .at(name_span, "not known");
            return self.report(match table::nearest(name, all) {
                Some(n) => d.help(format!("did you mean `{n}`?")),
                None if table::lookup(Class::Metric, name).is_some() => d.help("metrics are for `evaluate`"),
                None => d,
            });
        };
        if !sig.available {
            return self.unavailable(name, name_span);
        }
        match name {
            "stop" | "grad" | "eval" | "ema" | "params" | "unroll" | "drift" | "past" | "fresh" | "joint" => {
                return self.special(env, name, input, args, span);
            }
            "overlay" if self.moment.tag == "samples" => {
                let Some((input, rest)) = self.take_input(env, name, input, args, span) else {
                    return Value::Error;
                };
                return self.overlay(env, input, rest, span);
            }
            "replay" => {
                let Some((input, rest)) = self.take_input(env, name, input, args, span) else {
                    return Value::Error;
                };
                return self.replay(env, input, rest, span);
            }
            "sweep" | "overlay" => {
                return self.error("E0207", name_span, format!("`{name}` stands in `samples` only"), "not here");
            }
            _ => {}
        }
        if env.net.is_none() && sig.class == Class::Layer {
            return self.report(
                Diagnostic::error("E0207", format!("`{name}` has parameters, statistics or noise of its own"))
                    .at(name_span, "used in `train`")
                    .help("put it in a network or block"),
            );
        }
        let (input, rest) = if sig.takes_input {
            let Some((v, rest)) = self.take_input(env, name, input, args, span) else { return Value::Error };
            (Some(v), rest)
        } else if let Some((_, at)) = input {
            return self.error("E0206", at, format!("`{name}` takes no input"), "given by `|>`");
        } else {
            (None, args)
        };
        if name == "mean"
            && rest.is_empty()
            && let Some((v, at)) = &input
        {
            if env.net.is_some() {
                return self.report(
                    Diagnostic::error("E0303", "inside a network `mean` needs axes")
                        .at(name_span, "this would average over the batch")
                        .help("write `mean(x, axes: [0, 1, 2])`, or `batch_mean(x)` if that is meant"),
                );
            }
            if self.moment.evaluate {
                let (v, at) = (v.clone(), *at);
                return self.mean_of_set(&v, at, span);
            }
        }
        self.emit(env, sig, input, rest, with, span)
    }

    /// The value of a local or train name, if it has one already.
    fn local(&mut self, env: &mut Env<'m>, name: &str) -> Option<Value> {
        if let Some((_, v)) = env.vars.iter().rev().find(|(n, _)| *n == name) {
            return Some(v.clone());
        }
        let is_let = env.net.is_none()
            && self.moment.lets.iter().chain(&self.train.lets).any(|(ids, _)| ids.iter().any(|i| i.name == name));
        is_let.then(|| self.name(env, name, Span::default()))
    }

    /// The input of a function: what was piped in, or the first argument.
    fn take_input(
        &mut self,
        env: &mut Env<'m>,
        name: &str,
        input: Option<(Value, Span)>,
        args: &'m [Arg],
        span: Span,
    ) -> Option<((Value, Span), &'m [Arg])> {
        if let Some(i) = input {
            return Some((i, args));
        }
        match args {
            [first, rest @ ..] if first.name.is_none() => {
                let v = self.eval(env, &first.value);
                if v.is_error() {
                    // The other arguments may hold errors of their own.
                    return None;
                }
                Some(((v, first.value.span), rest))
            }
            _ => {
                let mut d = Diagnostic::error("E0206", format!("`{name}` needs its input"))
                    .at(span, "nothing to apply it to");
                if env.net.is_some() {
                    d = d.help(format!("write `it |> {name}`"));
                }
                self.report(d);
                None
            }
        }
    }

    /// What this version does not compile.
    pub fn unavailable(&mut self, name: &str, span: Span) -> Value {
        self.report(
            Diagnostic::error("E0451", format!("`{name}` is not available in this version of ganc"))
                .at(span, "part of the language, but not compiled yet"),
        )
    }

    /// Emits a built-in.
    fn emit(
        &mut self,
        env: &mut Env<'m>,
        sig: &'static Signature,
        input: Option<(Value, Span)>,
        args: &'m [Arg],
        with: &'m [Modifier],
        span: Span,
    ) -> Value {
        let joint = env.net.as_ref().is_some_and(|n| n.app.net.joint.is_some());
        if joint && sig.batch && !matches!(sig.name, "batch_norm" | "conditional_batch_norm") {
            return self.report(
                Diagnostic::error(
                    "E0467",
                    format!("`{}` would compare the batches of `joint` with each other", sig.name),
                )
                .at(span, "it crosses the batch")
                .help("only batch norms share statistics; apply the network to each batch by itself"),
            );
        }
        let naming = env.net.as_mut().and_then(|n| if sig.class == Class::Layer { None } else { n.naming.take() });
        let bound = self.bind(env, sig, args, span);
        let input = match input {
            Some((v, at)) => match self.lower(&v, at) {
                Some(v) => Some(v),
                None => return Value::Error,
            },
            None => None,
        };
        let Some(bound) = bound else { return Value::Error };
        if let Some(net) = &mut env.net
            && naming.is_some()
        {
            net.naming = naming.clone();
        }
        let path = match &mut env.net {
            Some(net) if sig.class == Class::Layer => net.next_path(sig.name),
            Some(net) => {
                // Functions never take the name of a `let`.
                let kept = net.naming.take();
                let path = net.next_path(sig.name);
                net.naming = kept;
                path
            }
            None => {
                env.noises += 1;
                format!("{}.{}{}", env.line, sig.name, env.noises)
            }
        };
        let mods = match &env.net {
            Some(net) if !with.is_empty() => {
                let outer = net.mods.clone();
                Some(self.modifiers(env, &outer, with))
            }
            _ => None,
        };
        let from = self.gx.graph.nodes().len();
        let declared = self.decls.len();
        let origin = Origin { span, path: path.as_str().into(), order: 0 };
        let before = self.gx.graph.set_origin(origin);
        let mut scope = self.scope(env, path.clone(), span);
        if let Some(mods) = mods {
            scope.mods = mods;
        }
        if let Some(dtype) = scope.mods.precision {
            scope.b.precisions.insert(path.clone(), dtype);
        }
        let all_numbers = matches!(input, Some(layers::Value::Number(_)))
            && args
                .iter()
                .all(|a| matches!(a.value.kind, ExprKind::Number(_) | ExprKind::Neg(_) | ExprKind::Name(_)));
        let result = layers::emit(&mut scope, sig, input, &bound);
        self.gx.graph.set_origin(before);
        if !self.within_limits(from, span) {
            return Value::Error;
        }
        let v = match result {
            Ok(v) => v,
            Err(e) => return self.refused(env, e, span),
        };
        if let (layers::Value::Tensor(t), true) = (&v, all_numbers)
            && let (Some(x), true) = (self.gx.graph.as_splat(t.node), t.shape.is_empty() && t.kind == Kind::Real)
        {
            return Value::Num(x);
        }
        if let (Some(net), layers::Value::Tensor(t)) = (&mut env.net, &v) {
            let shape = match t.kind {
                Kind::Class(k) => format!("class({k})"),
                _ => shape_text(&t.shape),
            };
            let text = format!("{}{}", sig.name, if args.is_empty() { String::new() } else { text::list(args) });
            net.story.push(Step { text: text.clone(), shape, span });
            if let Some(n) = self.checking.filter(|&n| n == net.app.net.index) {
                let params = self.decls[declared..].iter().filter(|d| d.trained).map(|d| d.ty.elements()).sum();
                let flops = self.flops(from) / self.moment.batch.max(1) as u64;
                if sig.batch && sig.class == Class::Layer || sig.name == "minibatch_stddev" {
                    self.nets[n].crosses.get_or_insert(path.clone());
                }
                self.nets[n].rows.push(LayerRow { path, text, shape: t.shape.clone(), params, flops });
            }
        }
        self.lift(v)
    }

    /// FLOPs of products among the nodes from `from` on.
    fn flops(&self, from: usize) -> u64 {
        let g = &self.gx.graph;
        g.nodes()[from..]
            .iter()
            .map(|n| match &n.op {
                Op::Contract(dims) => {
                    let lhs = g.shape(n.args[0]);
                    let inner: usize = dims.contracted.iter().map(|p| lhs[p.0]).product();
                    2 * (n.ty.elements() as u64).saturating_mul(inner as u64)
                }
                Op::ConvFwd(geom) | Op::ConvDataGrad(geom) | Op::ConvWeightGrad(geom) => geom.flops(),
                _ => 0,
            })
            .fold(0, u64::saturating_add)
    }

    /// Functions of networks and of graphs.
    fn special(
        &mut self,
        env: &mut Env<'m>,
        name: &str,
        input: Option<(Value, Span)>,
        args: &'m [Arg],
        span: Span,
    ) -> Value {
        let Some(((v, at), rest)) = self.take_input(env, name, input, args, span) else { return Value::Error };
        if v.is_error() {
            return Value::Error;
        }
        if name == "grad" {
            return self.grad(env, v, at, rest, span);
        }
        if name == "stop" {
            if let Some(extra) = rest.first() {
                return self.error("E0206", extra.value.span, "`stop` takes one argument", "one too many");
            }
            return match v {
                Value::Net(n) => Value::Net(NetRef { stop: true, ..n }),
                other => {
                    let Some(t) = self.tensor(&other, at) else { return Value::Error };
                    let node = self.gx.graph.stop(t.node);
                    Value::Tensor(Tensor { node, ..t })
                }
            };
        }
        let Value::Net(net) = v else {
            let text = v.describe();
            return self.error("E0303", at, format!("`{name}` takes a network"), format!("this is {text}"));
        };
        match name {
            "eval" => Value::Net(NetRef { eval: true, ..net }),
            "ema" => self.average(env, net, rest, span),
            "unroll" => self.unroll(env, net, rest, span),
            "past" => self.past(env, net, rest, span),
            "drift" => self.drift(&net, span),
            "fresh" => self.fresh(env, net, span),
            "joint" => self.joint(net, rest, span),
            _ => self.params_of(&net, span),
        }
    }

    /// `ema(G, decay: d)`: the averaged network; its averages are kept from now on.
    fn average(&mut self, env: &mut Env<'m>, net: NetRef, args: &'m [Arg], span: Span) -> Value {
        let (mut decay, mut start) = (0.999, 0);
        for (i, a) in args.iter().enumerate() {
            let word = a.name.as_ref().map_or(["decay", "start"][i.min(1)], |n| &n.name);
            match (word, self.eval(env, &a.value)) {
                (_, Value::Error) => return Value::Error,
                ("decay", Value::Num(v)) if (0.0..1.0).contains(&v) => decay = v,
                ("start", Value::Num(v)) if v >= 0.0 && v.fract() == 0.0 && v < 2f64.powi(31) => start = v as usize,
                ("decay", _) => {
                    return self.error("E0303", a.value.span, "`decay` is a number from 0 to below 1", "not this");
                }
                ("start", _) => {
                    return self.error(
                        "E0303",
                        a.value.span,
                        "`start` is a whole number of iterations",
                        "not this",
                    );
                }
                _ => {
                    return self.error(
                        "E0206",
                        a.value.span,
                        "`ema` takes `decay` and `start`",
                        "unknown argument",
                    );
                }
            }
        }
        self.check_network(net.index);
        if self.nets[net.index].broken {
            return Value::Error;
        }
        let same = |a: &Average| a.network == net.index && a.decay == decay && a.start == start;
        let at = match self.train.averages.iter().position(same) {
            Some(i) => i,
            None => {
                let others = self.train.averages.iter().filter(|a| a.network == net.index).count();
                let prefix = if others == 0 { "ema:".to_string() } else { format!("ema{}:", others + 1) };
                for name in self.nets[net.index].params.clone() {
                    if let Some(d) = self.decl(&name).cloned() {
                        // Its first value is the parameter's, taken in the first iteration.
                        let name = format!("{prefix}{name}").into();
                        self.declare(super::program::TensorDecl {
                            name,
                            trained: false,
                            init: layers::Init::Constant(0.0),
                            ..d
                        });
                    }
                }
                self.train.averages.push(Average { network: net.index, decay, start, prefix });
                self.train.averages.len() - 1
            }
        };
        let _ = span;
        Value::Net(NetRef { view: View::Average(at), ..net })
    }

    /// `params(G)`: all parameters as this view of the network has them, one after the other.
    fn params_of(&mut self, net: &NetRef, span: Span) -> Value {
        self.check_network(net.index);
        let names = self.nets[net.index].params.clone();
        if names.is_empty() && !self.nets[net.index].broken {
            let name = &self.model.networks[net.index].name.name;
            return self.error("E0303", span, format!("`{name}` has no parameters"), "nothing to take");
        }
        let mut parts = Vec::new();
        for n in &names {
            let mut v = self.viewed(net, n);
            if net.is_fixed() {
                v = self.gx.graph.stop(v);
            }
            let count = self.gx.graph.ty(v).elements();
            parts.push(self.gx.graph.reshape(v, &[count]));
        }
        if parts.is_empty() {
            return Value::Error;
        }
        let node = self.gx.graph.concat(&parts, 0);
        let n = self.gx.graph.shape(node)[0];
        Value::Tensor(common(node, vec![n]))
    }

    /// `grad(y, x)`: of the sum of y, which for one number a sample is each sample's own gradient.
    fn grad(&mut self, env: &mut Env<'m>, y: Value, y_span: Span, rest: &'m [Arg], span: Span) -> Value {
        let [only] = rest else {
            return self.error(
                "E0206",
                span,
                "`grad` takes a value and what to differentiate by",
                "written `grad(y, x)`",
            );
        };
        let x = self.eval(env, &only.value);
        let (Some(y), Some(x)) = (self.tensor(&y, y_span), self.tensor(&x, only.value.span)) else {
            return Value::Error;
        };
        if y.kind != Kind::Real || y.shape.iter().product::<usize>() != 1 || y.shape.len() > 1 {
            let label = super::value::describe(&y);
            return self.report(
                Diagnostic::error("E0303", "`grad` differentiates one number: [] or [1]")
                    .at(y_span, label)
                    .help("reduce it first, for example with `sum(…)`"),
            );
        }
        if x.kind != Kind::Real {
            let label = super::value::describe(&x);
            return self.error("E0303", only.value.span, "`grad` differentiates by reals", label);
        }
        let from = self.gx.graph.nodes().len();
        let d = crate::grad::grad(&mut self.gx.graph, y.node, None, &[x.node])[0];
        let node = match d {
            Some(d) => d,
            None => {
                self.report(
                    Diagnostic::warning("W0453", "this gradient is zero everywhere")
                        .at(span, "the first value does not depend on the second"),
                );
                self.gx.graph.zeros_like(x.node)
            }
        };
        if !self.within_limits(from, span) {
            return Value::Error;
        }
        Value::Tensor(Tensor { node, ..x })
    }
}
