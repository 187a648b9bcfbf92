//! Networks: applications, their check, results against declarations, the shape story.

use super::ctx::{AppKey, Builder};
use super::expr::Env;
use super::params::Mods;
use super::text;
use super::value::{NetRef, Record, Value, View, shape_text};
use crate::diag::Diagnostic;
use crate::graph::{NodeId, Type};
use crate::layers::{Kind, Tensor};
use crate::source::Span;
use crate::syntax::ast::{Arg, Network, ResultType, TypeExpr};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Mean and variance of the virtual batch norms of a network over its reference batch, by path.
pub(super) type Statistics = BTreeMap<String, (NodeId, NodeId)>;

/// An application under way.
#[derive(Clone, Debug, Default)]
pub(super) struct App {
    /// The network and its mode.
    pub net: NetRef,
    /// Argument nodes: noise is as fresh as they are.
    pub args: Vec<NodeId>,
    /// Statistics of this application are to be taken.
    pub count: bool,
    /// Those of the reference batch; `None` also for the reference batch itself.
    pub reference: Option<Rc<Statistics>>,
}

/// A step of a shape story.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// The layer as written.
    pub text: String,
    /// What came out.
    pub shape: String,
    /// Where it stands.
    pub span: Span,
}

/// The place of a statement within a network.
#[derive(Clone, Debug, Default)]
pub(super) struct NetEnv<'m> {
    /// The application.
    pub app: Rc<App>,
    /// Path of the body at hand.
    pub path: String,
    /// Layers of each kind in this body so far.
    pub counters: BTreeMap<String, usize>,
    /// Modifiers in force.
    pub mods: Mods,
    /// Shapes so far.
    pub story: Vec<Step>,
    /// Taps so far.
    pub taps: Vec<(String, Tensor)>,
    /// Named results so far.
    pub outs: Vec<(&'m str, Tensor)>,
    /// Name that a `let` gives to the next layer with parameters.
    pub naming: Option<String>,
    /// Blocks around, innermost last: name and place of use.
    pub uses: Vec<(&'m str, Span)>,
}

impl NetEnv<'_> {
    /// A path for the next layer of this kind.
    pub fn next_path(&mut self, kind: &str) -> String {
        if let Some(name) = self.naming.take() {
            let n = self.counters.entry(format!("{name}!")).or_insert(0);
            *n += 1;
            return if *n == 1 { format!("{}.{name}", self.path) } else { format!("{}.{name}_{n}", self.path) };
        }
        let kind = snake(kind);
        let n = self.counters.entry(kind.clone()).or_insert(0);
        *n += 1;
        format!("{}.{kind}{n}", self.path)
    }
}

/// `ResBlock` as a kind: `res_block`.
fn snake(name: &str) -> String {
    let mut out = String::new();
    let mut before = '_';
    for c in name.chars() {
        if c.is_ascii_uppercase() && !before.is_ascii_uppercase() && before != '_' {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
        before = c;
    }
    out
}

impl<'m> Builder<'m> {
    /// Applies a network to written arguments; `input` stands before them.
    pub fn apply_args(
        &mut self,
        env: &mut Env<'m>,
        net: &NetRef,
        input: Option<(Value, Span)>,
        args: &'m [Arg],
        span: Span,
    ) -> Value {
        if net.joint.is_some() && env.net.is_none() {
            return self.apply_joint(env, net, input, args, span);
        }
        let Some(args) = self.arguments(env, net.index, input, args, span) else { return Value::Error };
        match self.apply(net, args) {
            Some(r) => Value::Record(r),
            None => {
                debug_assert!(self.failed(), "an application failed without a word");
                Value::Error
            }
        }
    }

    /// Written arguments of a network in the order of its inputs; `None` after a report.
    pub fn arguments(
        &mut self,
        env: &mut Env<'m>,
        index: usize,
        input: Option<(Value, Span)>,
        args: &'m [Arg],
        span: Span,
    ) -> Option<Vec<Tensor>> {
        let decl: &'m Network = &self.model.networks[index];
        let name = &decl.name.name;
        let mut given: Vec<Option<(Value, Span)>> = vec![None; decl.inputs.len()];
        let mut next = 0;
        let mut ok = true;
        let first = input.into_iter().map(|i| (None, i.0, i.1));
        let values: Vec<_> = first
            .chain(
                args.iter().map(|a| (a.name.as_ref(), self.eval(env, &a.value), a.value.span)).collect::<Vec<_>>(),
            )
            .collect();
        for (word, v, at) in values {
            ok &= !v.is_error();
            let slot = match word {
                None => {
                    next += 1;
                    next - 1
                }
                Some(w) => match decl.inputs.iter().position(|i| i.name.name == w.name) {
                    Some(i) => i,
                    None => {
                        self.report(
                            Diagnostic::error("E0323", format!("`{name}` has no input `{}`", w.name))
                                .at(w.span, "not among its inputs")
                                .label(decl.name.span, signature(decl)),
                        );
                        ok = false;
                        continue;
                    }
                },
            };
            match given.get_mut(slot) {
                Some(place @ None) => *place = Some((v, at)),
                Some(_) => {
                    self.error("E0323", at, format!("an input of `{name}` is given twice"), "the second time");
                    ok = false;
                }
                None => {
                    if slot == decl.inputs.len() {
                        self.report(
                            Diagnostic::error("E0323", format!("too many arguments for `{name}`"))
                                .at(at, format!("it takes {}", decl.inputs.len()))
                                .label(decl.name.span, signature(decl)),
                        );
                    }
                    ok = false;
                }
            }
        }
        let missing: Vec<&str> = decl
            .inputs
            .iter()
            .zip(&given)
            .filter(|(_, g)| g.is_none())
            .map(|(i, _)| i.name.name.as_str())
            .collect();
        if ok && !missing.is_empty() {
            self.report(
                Diagnostic::error("E0323", format!("`{name}` needs {}", missing.join(", ")))
                    .at(span, "not given here")
                    .label(decl.name.span, signature(decl)),
            );
            ok = false;
        }
        self.check_network(index);
        if !ok || self.nets[index].broken || self.fatal {
            return None;
        }
        let given: Vec<(Value, Span)> = given.into_iter().flatten().collect();
        self.inputs(decl, index, &given)
    }

    /// Checks arguments against the declared inputs.
    pub fn inputs(&mut self, decl: &'m Network, index: usize, given: &[(Value, Span)]) -> Option<Vec<Tensor>> {
        let types = self.nets[index].inputs.clone();
        let mut all = Vec::new();
        for (((v, at), (name, kind, shape)), input) in given.iter().zip(&types).zip(&decl.inputs) {
            let Some(mut t) = self.tensor(v, *at) else { continue };
            if let (Kind::Class(_), Value::Num(x)) = (*kind, v)
                && x.fract() == 0.0
                && *x >= 0.0
            {
                let node = self.gx.graph.splat(*x, Type::u32([]));
                t = Tensor { node, kind: *kind, sample: false, shape: vec![] };
            }
            let same = match (t.kind, *kind) {
                (Kind::Class(a), Kind::Class(b)) => a <= b,
                (a, b) => a == b,
            };
            if t.shape != *shape || !same {
                let want = match kind {
                    Kind::Class(k) => format!("class({k})"),
                    _ => shape_text(shape),
                };
                let found = match t.kind {
                    Kind::Class(k) => format!("class({k})"),
                    Kind::Bool => "a truth value".into(),
                    Kind::Real => shape_text(&t.shape),
                };
                let mut d = Diagnostic::error(
                    "E0323",
                    format!("input `{name}` of `{}` is {want}, this is {found}", decl.name.name),
                )
                .at(*at, found)
                .label(input.name.span, format!("declared {want}"));
                if matches!((t.kind, kind), (Kind::Real, Kind::Real))
                    && t.shape.iter().product::<usize>() == shape.iter().product::<usize>()
                {
                    let dims: Vec<String> = shape.iter().map(usize::to_string).collect();
                    let fix =
                        if shape.len() == 1 { "flatten".into() } else { format!("reshape({})", dims.join(", ")) };
                    d = d.help(format!("as many elements: `|> {fix}`"));
                }
                self.report(d);
                continue;
            }
            all.push(self.per_sample(&t));
        }
        (all.len() == given.len()).then_some(all)
    }

    /// Applies a checked network to checked arguments, or finds the equal application.
    pub fn apply(&mut self, net: &NetRef, args: Vec<Tensor>) -> Option<Rc<Record>> {
        if let (Some(outer), true) = (self.checking, self.inside.last().is_some_and(|&i| i != net.index)) {
            self.nets[outer].applies.insert(net.index);
        }
        let training = self.moment.update && !net.eval;
        let key = AppKey {
            net: net.clone(),
            version: self.version(net.index),
            args: args.iter().map(|a| a.node).collect(),
            training,
            batch: self.moment.batch,
        };
        if let Some(found) = self.gx.apps.get(&key) {
            return found.clone();
        }
        let canonical = AppKey {
            net: NetRef { stop: false, ..net.clone() },
            args: key.args.iter().map(|&a| self.gx.canonical(a)).collect(),
            ..key.clone()
        };
        // Other views of a network leave the statistics as they are.
        let count = training && net.view == View::Present && self.gx.counted.insert(canonical);
        let before = self.gx.graph.current_origin().clone();
        // Statistics of the reference batch come first; a network's check is its own reference.
        let reference = match self.nets[net.index].reference {
            Some(size) => self.reference_pass(net, size).map(Some),
            None => Some(None),
        };
        let result = reference.and_then(|reference| {
            let app = App { net: net.clone(), args: key.args.clone(), count, reference };
            self.instantiate(app, args).map(Rc::new)
        });
        self.gx.graph.set_origin(before);
        self.gx.apps.insert(key, result.clone());
        result
    }

    /// Builds a network's body.
    pub fn instantiate(&mut self, app: App, args: Vec<Tensor>) -> Option<Record> {
        let index = app.net.index;
        let decl: &'m Network = &self.model.networks[index];
        let mut env =
            Env { net: Some(NetEnv { path: decl.name.name.clone(), ..NetEnv::default() }), ..Env::default() };
        let mods = self.modifiers(&mut env, &Mods::default(), &decl.with);
        if let Some(net) = &mut env.net {
            net.app = Rc::new(app);
            net.mods = mods;
        }
        let tensors: Vec<&Tensor> = args.iter().filter(|a| a.kind == Kind::Real).collect();
        if let [only] = tensors[..] {
            env.it = Some(Value::Tensor(only.clone()));
            let step = Step { text: "input".into(), shape: shape_text(&only.shape), span: decl.name.span };
            env.net.as_mut()?.story.push(step);
        }
        for (input, t) in decl.inputs.iter().zip(&args) {
            env.vars.push((&input.name.name, Value::Tensor(t.clone())));
        }
        if self.inside.contains(&index) {
            self.fatal = true;
            let chain: Vec<&str> =
                self.inside.iter().chain([&index]).map(|i| self.model.networks[*i].name.name.as_str()).collect();
            self.report(
                Diagnostic::error("E0217", format!("network `{}` uses itself", decl.name.name))
                    .at(decl.name.span, chain.join(" -> "))
                    .help("networks are written out where they are used; `repeat` makes towers"),
            );
            return None;
        }
        self.inside.push(index);
        self.body(&mut env, &decl.body);
        self.inside.pop();
        if self.fatal {
            return None;
        }
        match &decl.result {
            ResultType::Single(ty) => {
                let declared = self.type_of(&mut env, ty);
                let it = env.it.clone();
                let taps = env.net.as_ref()?.taps.clone();
                if let Some((name, _)) = env.net.as_ref()?.outs.first() {
                    self.error(
                        "E0211",
                        type_span(ty),
                        format!("`out {name}` in a network with one unnamed result"),
                        "declare named results, such as `-> (score: [1])`",
                    );
                    return None;
                }
                let it = match it {
                    None => {
                        self.error("E0322", decl.body.span, "the network gives no value", "`it` is never set");
                        return None;
                    }
                    Some(v) if v.is_error() => return None,
                    Some(v) => self.tensor(&v, decl.body.span)?,
                };
                self.check_result(&env, decl, &it, declared?, type_span(ty), None)?;
                Some(Record { outputs: vec![(String::new(), it)], taps })
            }
            ResultType::Named(results, span) => {
                let mut outputs = Vec::new();
                let mut ok = true;
                let outs = env.net.as_ref()?.outs.clone();
                for r in results {
                    let declared = self.type_of(&mut env, &r.ty);
                    match outs.iter().find(|(n, _)| *n == r.name.name) {
                        Some((n, t)) => {
                            let right = match declared {
                                Some(d) => self.check_result(&env, decl, t, d, type_span(&r.ty), Some(n)),
                                None => None,
                            };
                            ok &= right.is_some();
                            outputs.push((r.name.name.clone(), t.clone()));
                        }
                        None => {
                            ok = false;
                            let broken = matches!(&env.it, Some(v) if v.is_error());
                            if !broken && !self.failed() {
                                self.report(
                                    Diagnostic::error("E0211", format!("result `{}` is never given", r.name.name))
                                        .at(r.name.span, "declared here")
                                        .help(format!("write `out {} = …` in the body", r.name.name)),
                                );
                            }
                        }
                    }
                }
                for (n, _) in &outs {
                    if !results.iter().any(|r| r.name.name == *n) {
                        ok = false;
                        self.error(
                            "E0211",
                            *span,
                            format!("`out {n}` is not among the declared results"),
                            "declared here",
                        );
                    }
                }
                ok.then(|| Record { outputs, taps: env.net.map(|n| n.taps).unwrap_or_default() })
            }
        }
    }

    /// The declared type of a result against what the body gives.
    fn check_result(
        &mut self,
        env: &Env<'m>,
        decl: &Network,
        t: &Tensor,
        (kind, shape): (Kind, Vec<usize>),
        declared: Span,
        out: Option<&str>,
    ) -> Option<()> {
        if t.shape == shape && (t.kind == kind || kind == Kind::Real && t.kind == Kind::Real) {
            return Some(());
        }
        let story = env.net.as_ref().map(|n| n.story.clone()).unwrap_or_default();
        let name = &decl.name.name;
        let what = match out {
            Some(o) => format!("result `{o}` of `{name}`"),
            None => format!("`{name}`"),
        };
        let found = match t.kind {
            Kind::Real => shape_text(&t.shape),
            Kind::Class(k) => format!("class({k})"),
            Kind::Bool => "truth values".into(),
        };
        let want = match kind {
            Kind::Class(k) => format!("class({k})"),
            _ => shape_text(&shape),
        };
        let last = story.last().map_or(decl.body.span, |s| s.span);
        let mut d = Diagnostic::error("E0320", format!("{what} is declared {want} and gives {found}"))
            .at(last, format!("here it is {found}"))
            .label(declared, format!("declared {want}"))
            .note(tell(&story));
        if t.shape.iter().product::<usize>() == shape.iter().product::<usize>() && t.kind == kind {
            let dims: Vec<String> = shape.iter().map(usize::to_string).collect();
            let fix = format!("reshape({})", dims.join(", "));
            d = d.help(format!("as many elements: end with `{fix}`"));
            if out.is_none() {
                let at = Span { start: last.end, ..last };
                let same_file = last.file == decl.body.span.file && decl.body.span.end >= last.end;
                if same_file && decl.body.span.start <= last.start {
                    d = d.patch(at, format!("\n    {fix}"));
                }
            }
        }
        self.report(d);
        None
    }

    /// Checks a network by itself, once: declares its tensors and fills its table.
    pub fn check_network(&mut self, index: usize) {
        if self.nets[index].checked || self.fatal {
            return;
        }
        self.nets[index].checked = true;
        let decl: &'m Network = &self.model.networks[index];
        let gx = std::mem::replace(&mut self.gx, super::ctx::Gx::new());
        let moment = std::mem::take(&mut self.moment);
        let checking = self.checking.replace(index);
        self.moment.update = true;
        self.moment.tag = "check".into();
        self.moment.batch = if moment.batch > 0 { moment.batch } else { self.train.batch.max(1) };
        let mut env = Env { net: Some(NetEnv::default()), ..Env::default() };
        let mut args = Vec::new();
        for input in &decl.inputs {
            let Some((kind, shape)) = self.type_of(&mut env, &input.ty) else { continue };
            let mut full = shape.clone();
            full.insert(0, self.moment.batch);
            if super::ctx::elements(&full).is_none_or(|n| n > super::ctx::MAX_ELEMENTS) {
                self.error("E0307", input.name.span, "an input is too large", "at most 2^31 elements a batch");
                continue;
            }
            let node = self.gx.graph.input(&*input.name.name, Type::new(Self::dtype(kind), full));
            self.nets[index].inputs.push((input.name.name.clone(), kind, shape.clone()));
            args.push(Tensor { node, kind, sample: true, shape });
        }
        let mut result = None;
        if args.len() == decl.inputs.len() {
            let net = NetRef { index, ..NetRef::default() };
            result = self.apply(&net, args);
        }
        if let Some(r) = &result {
            self.nets[index].outputs = r.outputs.iter().map(|(n, t)| (n.clone(), t.shape.clone())).collect();
        }
        self.nets[index].broken = result.is_none();
        self.gx = gx;
        self.moment = moment;
        self.checking = checking;
    }
}

/// `G(z: [100]) …`
pub(super) fn signature(decl: &Network) -> String {
    let parts: Vec<String> = decl
        .inputs
        .iter()
        .map(|i| {
            let ty = match &i.ty {
                TypeExpr::Shape(dims, _) => {
                    format!("[{}]", dims.iter().map(text::expr).collect::<Vec<_>>().join(", "))
                }
                TypeExpr::Class(k, _) => format!("class({})", text::expr(k)),
                TypeExpr::Named(n) => n.name.clone(),
            };
            format!("{}: {ty}", i.name.name)
        })
        .collect();
    format!("takes ({})", parts.join(", "))
}

/// Where a type stands.
pub(super) fn type_span(ty: &TypeExpr) -> Span {
    match ty {
        TypeExpr::Shape(_, s) | TypeExpr::Class(_, s) => *s,
        TypeExpr::Named(n) => n.span,
    }
}

/// A shape story on one line; long ones keep their ends.
pub(super) fn tell(story: &[Step]) -> String {
    let parts: Vec<String> = story.iter().map(|s| format!("{} → {}", s.text, s.shape)).collect();
    let parts = if parts.len() > 24 {
        let mut short = parts[..4].to_vec();
        short.push(format!("… {} layers …", parts.len() - 20));
        short.extend_from_slice(&parts[parts.len() - 16..]);
        short
    } else {
        parts
    };
    format!("shapes: {}", parts.join(", "))
}
