//! Statements of networks and blocks.

use super::ctx::{Builder, MAX_DEPTH, MAX_ROUNDS};
use super::expr::Env;
use super::net::{NetEnv, Step};
use super::value::{Value, shape_text};
use crate::diag::Diagnostic;
use crate::layers::{Class, Kind, ParamRole, table};
use crate::source::Span;
use crate::syntax::ast::{
    Arg, Block, Body, Else, Expr, ExprKind, If, LayerCall, Modifier, PipeStage, RepeatHead, Stmt, StmtKind,
};

impl<'m> Builder<'m> {
    /// Runs the statements of a body in the surroundings given; names defined in it end with it.
    pub fn body(&mut self, env: &mut Env<'m>, body: &'m Body) {
        let names = env.vars.len();
        self.work(body.span);
        for stmt in &body.stmts {
            if self.fatal {
                break;
            }
            self.work(stmt.span);
            self.stmt(env, stmt);
        }
        env.vars.truncate(names);
    }

    fn stmt(&mut self, env: &mut Env<'m>, stmt: &'m Stmt) {
        match &stmt.kind {
            StmtKind::Let(ids, e) => {
                if let (Some(net), [id]) = (&mut env.net, &ids[..])
                    && names_layer(e)
                {
                    net.naming = Some(id.name.clone());
                }
                let v = self.eval(env, e);
                if let Some(net) = &mut env.net {
                    net.naming = None;
                }
                for (id, v) in ids.iter().zip(self.spread(ids, v, e.span)) {
                    env.vars.push((&id.name, v));
                }
            }
            StmtKind::Param { name, ty, init, with } => {
                let v = self.named_param(env, &name.name, ty, init, with, stmt.span);
                env.vars.push((&name.name, v));
            }
            StmtKind::Out(name, e) => {
                if let Some(net) = &mut env.net
                    && names_layer(e)
                {
                    net.naming = Some(name.name.clone());
                }
                let v = self.eval(env, e);
                if let Some(net) = &mut env.net {
                    net.naming = None;
                }
                if v.is_error() {
                    return;
                }
                let Some(t) = self.tensor(&v, e.span) else { return };
                let Some(net) = &mut env.net else { return };
                net.story.push(Step {
                    text: format!("out {}", name.name),
                    shape: shape_text(&t.shape),
                    span: stmt.span,
                });
                if net.outs.iter().any(|(n, _)| *n == name.name) {
                    self.error(
                        "E0211",
                        name.span,
                        format!("result `{}` is given twice", name.name),
                        "the second time",
                    );
                } else {
                    net.outs.push((&name.name, t));
                    env.vars.push((&name.name, v));
                }
            }
            StmtKind::Tap(name) => {
                let it = self.it(env, name.span);
                if it.is_error() {
                    return;
                }
                let Some(t) = self.tensor(&it, name.span) else { return };
                let Some(net) = &mut env.net else { return };
                if net.taps.iter().any(|(n, _)| *n == name.name) {
                    self.error(
                        "E0211",
                        name.span,
                        format!("tap `{}` is given twice", name.name),
                        "the second time",
                    );
                } else {
                    net.taps.push((name.name.clone(), t));
                }
            }
            StmtKind::Residual(body, shortcut) => self.residual(env, body, shortcut.as_ref(), stmt.span),
            StmtKind::Repeat(head, body) => self.repeat(env, head, body),
            StmtKind::If(branch) => self.branch(env, branch),
            StmtKind::Assign(e) => {
                let v = self.eval(env, e);
                if let (Value::Tensor(t), Some(net)) = (&v, &mut env.net) {
                    net.story.push(Step { text: "it = …".into(), shape: shape_text(&t.shape), span: stmt.span });
                }
                env.it = Some(v);
            }
            StmtKind::Layer(call) => self.layer(env, call, stmt.span),
        }
    }

    fn it(&mut self, env: &mut Env<'m>, span: Span) -> Value {
        match &env.it {
            Some(v) => v.clone(),
            None => self.report(
                Diagnostic::error("E0322", "`it` has no value yet")
                    .at(span, "a layer needs a value before it")
                    .help(
                        "a body starts with `it` only if exactly one input is a tensor; else write `it = …` first",
                    ),
            ),
        }
    }

    fn layer(&mut self, env: &mut Env<'m>, call: &'m LayerCall, span: Span) {
        let it = self.it(env, call.name.span);
        let args = call.args.as_ref().map_or(&[][..], |a| &a.args[..]);
        if it.is_error() {
            env.it = Some(Value::Error);
            return;
        }
        let v = self.invoke(env, &call.name.name, call.name.span, Some((it, span)), args, &call.with, span);
        env.it = Some(v);
    }

    fn repeat(&mut self, env: &mut Env<'m>, head: &'m RepeatHead, body: &'m Body) {
        let (id, from, to, span) = match head {
            RepeatHead::Times(n) => (None, 0, self.count(env, n), n.span),
            RepeatHead::Range(id, a, b) => {
                let Some(from) = self.count(env, a) else { return self.broken(env) };
                (Some(id), from, self.count(env, b), a.span.to(b.span))
            }
        };
        let Some(to) = to else { return self.broken(env) };
        if to.saturating_sub(from) > MAX_ROUNDS {
            self.error("E0455", span, "too many rounds", format!("at most {MAX_ROUNDS}"));
            return self.broken(env);
        }
        let before = self.diags.items().len();
        for i in from..to {
            let names = env.vars.len();
            if let Some(id) = id {
                env.vars.push((&id.name, Value::Num(i as f64)));
            }
            self.body(env, body);
            env.vars.truncate(names);
            // One round's errors are enough.
            if self.fatal || self.diags.items().len() > before && matches!(&env.it, Some(v) if v.is_error()) {
                break;
            }
        }
    }

    fn count(&mut self, env: &mut Env<'m>, e: &'m Expr) -> Option<usize> {
        match self.eval(env, e) {
            Value::Error => None,
            Value::Num(v) if v.fract() == 0.0 && (0.0..=2f64.powi(31)).contains(&v) => Some(v as usize),
            other => {
                let text = other.describe();
                self.error(
                    "E0303",
                    e.span,
                    "a count is a whole number known when compiling",
                    format!("this is {text}"),
                );
                None
            }
        }
    }

    fn broken(&mut self, env: &mut Env<'m>) {
        env.it = Some(Value::Error);
    }

    fn branch(&mut self, env: &mut Env<'m>, branch: &'m If) {
        match self.eval(env, &branch.cond) {
            Value::Bool(true) => self.body(env, &branch.then),
            Value::Bool(false) => match &branch.otherwise {
                Some(Else::Body(b)) => self.body(env, b),
                Some(Else::If(b)) => self.branch(env, b),
                None => {}
            },
            Value::Error => self.broken(env),
            other => {
                let text = other.describe();
                self.report(
                    Diagnostic::error("E0303", "`if` takes a condition known when compiling")
                        .at(branch.cond.span, format!("this is {text}"))
                        .help("between tensors choose with `where(c, a, b)`"),
                );
                self.broken(env);
            }
        }
    }

    /// A body on its own `it`, its layers under `path`.
    fn inner(&mut self, env: &mut Env<'m>, it: Value, body: &'m Body, path: String) -> Value {
        let outer = env.it.replace(it);
        let mut saved = (String::new(), Default::default(), None);
        if let Some(net) = &mut env.net {
            saved = (std::mem::replace(&mut net.path, path), std::mem::take(&mut net.counters), net.naming.take());
        }
        self.body(env, body);
        if let Some(net) = &mut env.net {
            (net.path, net.counters, net.naming) = saved;
        }
        let result = env.it.take().unwrap_or(Value::Error);
        env.it = outer;
        result
    }

    /// `x |> { … }`
    pub fn anonymous(&mut self, env: &mut Env<'m>, it: Value, body: &'m Body) -> Value {
        let path = env.net.as_mut().map(|n| n.next_path("block")).unwrap_or_default();
        self.inner(env, it, body, path)
    }

    fn residual(&mut self, env: &mut Env<'m>, body: &'m Body, shortcut: Option<&'m Body>, span: Span) {
        let it = self.it(env, span);
        if it.is_error() {
            return self.broken(env);
        }
        let path = env.net.as_mut().map(|n| n.next_path("residual")).unwrap_or_default();
        let main = self.inner(env, it.clone(), body, path.clone());
        let side = match shortcut {
            Some(s) => self.inner(env, it, s, format!("{path}.shortcut")),
            None => it,
        };
        if main.is_error() || side.is_error() {
            return self.broken(env);
        }
        let (Some(a), Some(b)) = (self.tensor(&main, span), self.tensor(&side, span)) else {
            return self.broken(env);
        };
        if a.shape != b.shape || a.kind != Kind::Real || b.kind != Kind::Real {
            let (x, y) = (shape_text(&a.shape), shape_text(&b.shape));
            let mut d = Diagnostic::error("E0321", format!("the residual gives {x}, what it is added to is {y}"))
                .at(body.span, format!("this gives {x}"));
            d = match shortcut {
                Some(s) => d.label(s.span, format!("this gives {y}")),
                None => d.help("both must be equal; write `shortcut { … }` with layers that give the same shape"),
            };
            if let Some(net) = &env.net {
                d = d.note(super::net::tell(&net.story));
            }
            self.report(d);
            return self.broken(env);
        }
        let sample = a.sample || b.sample;
        let (x, y) = (self.align(&a, sample), self.align(&b, sample));
        let node = self.gx.graph.add(x, y);
        if let Some(net) = &mut env.net {
            net.story.push(Step { text: "residual".into(), shape: shape_text(&a.shape), span });
        }
        env.it = Some(Value::Tensor(crate::layers::Tensor { node, sample, ..a }));
    }

    /// A use of a user's block.
    pub fn use_block(
        &mut self,
        env: &mut Env<'m>,
        block: &'m Block,
        input: (Value, Span),
        args: &'m [Arg],
        with: &'m [Modifier],
        span: Span,
    ) -> Value {
        let name = &block.name.name;
        let mut inner = Env::default();
        let mut values: Vec<Option<Value>> = vec![None; block.params.len()];
        let mut ok = true;
        for (i, a) in args.iter().enumerate() {
            let v = self.eval(env, &a.value);
            ok &= !v.is_error();
            let slot = match &a.name {
                None => Some(i),
                Some(w) => block.params.iter().position(|p| p.name.name == w.name),
            };
            match slot.and_then(|s| values.get_mut(s)) {
                Some(place @ None) => *place = Some(v),
                _ => {
                    let at = a.name.as_ref().map_or(a.value.span, |n| n.span);
                    self.report(
                        Diagnostic::error("E0206", format!("block `{name}` does not take this argument"))
                            .at(at, "unknown, or given twice")
                            .label(block.name.span, "defined here"),
                    );
                    ok = false;
                }
            }
        }
        for (p, v) in block.params.iter().zip(values) {
            let v = match (v, &p.default) {
                (Some(v), _) => v,
                (None, Some(d)) => self.eval(&mut inner, d),
                (None, None) => {
                    self.report(
                        Diagnostic::error("E0206", format!("block `{name}` needs `{}`", p.name.name))
                            .at(span, "not given here")
                            .label(p.name.span, "has no default"),
                    );
                    Value::Error
                }
            };
            ok &= !v.is_error();
            inner.vars.push((&p.name.name, v));
        }
        let Some(outer) = &mut env.net else {
            return self.error("E0207", span, "blocks are for networks", "not in `train`");
        };
        if outer.uses.len() >= MAX_DEPTH {
            return self.error("E0455", span, "blocks within blocks without end", format!("`{name}` uses itself"));
        }
        if !ok {
            return Value::Error;
        }
        let path = outer.next_path(name);
        let mut net = NetEnv {
            app: outer.app.clone(),
            path,
            mods: outer.mods.clone(),
            story: std::mem::take(&mut outer.story),
            taps: std::mem::take(&mut outer.taps),
            outs: std::mem::take(&mut outer.outs),
            uses: std::mem::take(&mut outer.uses),
            ..NetEnv::default()
        };
        net.uses.push((name, span));
        net.mods = self.modifiers(env, &net.mods, with);
        inner.it = Some(input.0);
        inner.net = Some(net);
        self.body(&mut inner, &block.body);
        if let (Some(mut net), Some(outer)) = (inner.net, &mut env.net) {
            net.uses.pop();
            outer.story = net.story;
            outer.taps = net.taps;
            outer.outs = net.outs;
            outer.uses = net.uses;
        }
        inner.it.unwrap_or(Value::Error)
    }

    fn named_param(
        &mut self,
        env: &mut Env<'m>,
        name: &'m str,
        ty: &'m crate::syntax::ast::TypeExpr,
        init: &'m Expr,
        with: &'m [Modifier],
        span: Span,
    ) -> Value {
        let Some((kind, shape)) = self.type_of(env, ty) else { return Value::Error };
        if kind != Kind::Real {
            return self.error("E0303", super::net::type_span(ty), "a param is a real tensor", "write a shape");
        }
        let Some(init) = self.initialiser(env, init) else { return Value::Error };
        let Some(mut net) = env.net.clone() else { return Value::Error };
        let mods = self.modifiers(env, &super::params::Mods::default(), with);
        net.naming = Some(name.to_string());
        let path = net.next_path(name);
        if let Some(outer) = &mut env.net {
            outer.counters = net.counters;
        }
        let role = match shape[..] {
            [] | [_] => ParamRole::Plain,
            [out, ref rest @ ..] => ParamRole::Weight { out_axis: 0, fan_in: rest.iter().product(), fan_out: out },
        };
        let node = self.parameter(&net.app, &mods, &path, None, &shape, role, init, span);
        Value::Tensor(super::value::common(node, shape))
    }
}

/// Whether a `let` gives its name to a layer: a pipe with exactly one place that makes parameters.
fn names_layer(e: &Expr) -> bool {
    fn count(e: &Expr) -> usize {
        match &e.kind {
            ExprKind::Pipe(x, stage) => {
                count(x)
                    + match stage {
                        PipeStage::Layer(l) => usize::from(makes_parameters(&l.name.name)),
                        PipeStage::Body(_) => 1,
                    }
            }
            ExprKind::Paren(x) => count(x),
            _ => 0,
        }
    }
    count(e) == 1
}

fn makes_parameters(name: &str) -> bool {
    table::lookup(Class::Layer, name).is_some() || table::lookup_call(name).is_none()
}
