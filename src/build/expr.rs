//! Expressions: names, fields, indices, pipes.

use super::ctx::Builder;
use super::net::NetEnv;
use super::value::{NetRef, Value};
use crate::diag::Diagnostic;
use crate::graph::Op;
use crate::layers::{self, Tensor};
use crate::source::Span;
use crate::syntax::ast::{Expr, ExprKind, Ident, Index, PipeStage, TypeExpr};
use std::rc::Rc;

/// What an expression sees.
#[derive(Default)]
pub(super) struct Env<'m> {
    /// Local names, the innermost last.
    pub vars: Vec<(&'m str, Value)>,
    /// `it`, once it is set.
    pub it: Option<Value>,
    /// The network or block that it stands in; `None` in `train`.
    pub net: Option<NetEnv<'m>>,
    /// Name of the let or line of `train` that it stands in, for noise.
    pub line: String,
    /// Noise functions so far in that line.
    pub noises: usize,
}

impl<'m> Env<'m> {
    /// The surroundings of a line of `train`.
    pub fn line(name: impl Into<String>) -> Self {
        Self { line: name.into(), ..Self::default() }
    }
}

impl<'m> Builder<'m> {
    /// Evaluates an expression; errors are reported and give [`Value::Error`].
    pub fn eval(&mut self, env: &mut Env<'m>, e: &'m Expr) -> Value {
        if self.fatal {
            return Value::Error;
        }
        match &e.kind {
            ExprKind::Number(text) => match crate::model::consts::number(text) {
                Some(v) => Value::Num(v),
                None => self.error("E0215", e.span, "not a number", "cannot be read as a number"),
            },
            ExprKind::Str(s) => Value::Str(s.clone()),
            ExprKind::Bool(b) => Value::Bool(*b),
            ExprKind::It => match &env.it {
                Some(v) => v.clone(),
                None => self.report(
                    Diagnostic::error("E0322", "`it` has no value yet").at(e.span, "nothing came before").help(
                        "a body starts with `it` only if exactly one input is a tensor; else write `it = …` first",
                    ),
                ),
            },
            ExprKind::Name(name) => self.name(env, name, e.span),
            ExprKind::List(items) => {
                let all: Vec<Value> = items.iter().map(|i| self.eval(env, i)).collect();
                if all.iter().any(Value::is_error) { Value::Error } else { Value::List(Rc::new(all)) }
            }
            ExprKind::Paren(inner) => self.eval(env, inner),
            ExprKind::Neg(inner) => self.minus(env, inner, e.span),
            ExprKind::Binary(op, a, b) => self.binary(env, *op, a, b, e.span),
            ExprKind::Field(base, field) => self.field(env, base, field, e.span),
            ExprKind::Call(callee, args) => match &callee.kind {
                ExprKind::Name(name) if !self.is_value(env, name) => {
                    self.invoke(env, name, callee.span, None, &args.args, &[], e.span)
                }
                _ => {
                    let f = self.eval(env, callee);
                    match f {
                        Value::Net(net) => self.apply_args(env, &net, None, &args.args, e.span),
                        Value::Error => Value::Error,
                        other => {
                            let text = other.describe();
                            self.error(
                                "E0303",
                                callee.span,
                                "only functions and networks are called",
                                format!("this is {text}"),
                            )
                        }
                    }
                }
            },
            ExprKind::Index(base, indices) => self.index(env, base, indices, e.span),
            ExprKind::Pipe(x, stage) => {
                let v = self.eval(env, x);
                if v.is_error() {
                    return Value::Error;
                }
                match stage {
                    PipeStage::Layer(call) => {
                        let args = call.args.as_ref().map_or(&[][..], |a| &a.args[..]);
                        let span = call.args.as_ref().map_or(call.name.span, |a| call.name.span.to(a.span));
                        self.invoke(env, &call.name.name, call.name.span, Some((v, x.span)), args, &call.with, span)
                    }
                    PipeStage::Body(body) => self.anonymous(env, v, body),
                }
            }
        }
    }

    /// Whether a name stands for a value (else it can only be called as a function).
    fn is_value(&self, env: &Env<'m>, name: &str) -> bool {
        env.vars.iter().any(|(n, _)| *n == name)
            || (env.net.is_none() && self.is_train_name(name))
            || self.model.networks.iter().any(|n| n.name.name == name)
            // A const is never called, but a trick that becomes core text calls functions by their names.
            || (self.consts.get(name).is_some() && crate::layers::table::lookup_call(name).is_none())
    }

    fn is_train_name(&self, name: &str) -> bool {
        self.moment.memo.contains_key(name)
            || self.moment.lets.iter().chain(&self.train.lets).any(|(ids, _)| ids.iter().any(|i| i.name == name))
            || self.train.draws.iter().any(|d| d.name.name == name)
    }

    /// The value of a name.
    pub fn name(&mut self, env: &mut Env<'m>, name: &str, span: Span) -> Value {
        if let Some((_, v)) = env.vars.iter().rev().find(|(n, _)| *n == name) {
            return v.clone();
        }
        if env.net.is_none()
            && let Some(v) = self.train_name(name, span)
        {
            return v;
        }
        if let Some(v) = self.consts.get(name) {
            let v = v.clone();
            return self.lift(v);
        }
        if let Some(index) = self.model.networks.iter().position(|n| n.name.name == name) {
            return Value::Net(NetRef { index, ..NetRef::default() });
        }
        if let Some(index) = self.model.data.iter().position(|d| d.name.name == name) {
            return Value::Data(index);
        }
        if crate::layers::table::lookup_call(name).is_some() || self.model.block(name).is_some() {
            return self.report(
                Diagnostic::error("E0303", format!("`{name}` is a function, a value is needed"))
                    .at(span, "not applied to anything")
                    .help(format!("apply it: `{name}(x)` or `x |> {name}`")),
            );
        }
        self.error("E0201", span, format!("`{name}` is not defined here"), "no such name")
    }

    fn train_name(&mut self, name: &str, span: Span) -> Option<Value> {
        if let Some(numbers) = &self.moment.numbers
            && numbers.iter().any(|n| n == name)
        {
            let node = self.gx.graph.input(name, crate::graph::Type::f32([]));
            return Some(Value::Tensor(super::value::common(node, vec![])));
        }
        if let Some(v) = self.moment.memo.get(name) {
            return Some(v.clone());
        }
        let found = self
            .moment
            .lets
            .iter()
            .chain(&self.train.lets)
            .find(|(ids, _)| ids.iter().any(|i| i.name == name))
            .copied();
        if let Some((ids, e)) = found {
            if self.moment.open.iter().any(|o| o == name) {
                return Some(self.error(
                    "E0453",
                    span,
                    format!("`{name}` needs itself"),
                    "a let cannot use itself",
                ));
            }
            self.define(ids, e);
            return Some(self.moment.memo.get(name).cloned().unwrap_or(Value::Error));
        }
        if self.train.refused.contains(name) {
            return Some(Value::Error);
        }
        let draw = self.train.draws.iter().find(|d| d.name.name == name)?.clone();
        Some(self.draw(&draw))
    }

    /// Evaluates a let of `train` or of a player for the moment at hand.
    pub fn define(&mut self, ids: &'m [Ident], e: &'m Expr) {
        let Some(first) = ids.first() else { return };
        if self.moment.memo.contains_key(&first.name) {
            return;
        }
        self.moment.open.push(first.name.clone());
        let mut env = Env::line(first.name.clone());
        let v = self.eval(&mut env, e);
        self.moment.open.pop();
        for (id, v) in ids.iter().zip(self.spread(ids, v, e.span)) {
            let v = if self.train.wrt.contains(&id.name) { self.barrier(v) } else { v };
            self.moment.memo.insert(id.name.clone(), v);
        }
    }

    /// One value for each name of a `let`.
    pub fn spread(&mut self, ids: &[Ident], v: Value, span: Span) -> Vec<Value> {
        if ids.len() == 1 {
            return vec![v];
        }
        let parts: Vec<Value> = match &v {
            Value::Error => return vec![Value::Error; ids.len()],
            Value::List(items) => items.to_vec(),
            Value::Record(r) => r.outputs.iter().map(|(_, t)| Value::Tensor(t.clone())).collect(),
            _ => vec![v],
        };
        if parts.len() != ids.len() {
            let text = format!("this gives {} value{}", parts.len(), if parts.len() == 1 { "" } else { "s" });
            self.error("E0303", span, format!("{} names, but not as many values", ids.len()), text);
            return vec![Value::Error; ids.len()];
        }
        parts
    }

    /// Keeps a value that `grad` differentiates by as a node of its own: the builder would look through a view
    /// (a reshape of a reshape, say) to what is behind it.
    pub fn barrier(&mut self, v: Value) -> Value {
        let Value::Tensor(t) = v else { return v };
        let view = matches!(
            self.gx.graph.node(t.node).op,
            Op::Reshape | Op::Permute(_) | Op::Broadcast | Op::Unary(_) | Op::Sum(_) | Op::Stop | Op::Const(_)
        );
        if !view || !self.gx.graph.ty(t.node).dtype.is_float() {
            return Value::Tensor(t);
        }
        let ty = self.gx.graph.ty(t.node).clone();
        let op = Op::Slice { start: vec![0; ty.rank()], limit: ty.shape.clone(), step: vec![1; ty.rank()] };
        let node = self.gx.graph.intern(op, vec![t.node], ty);
        Value::Tensor(Tensor { node, ..t })
    }

    fn field(&mut self, env: &mut Env<'m>, base: &'m Expr, field: &'m Ident, span: Span) -> Value {
        if let (ExprKind::Name(name), Some(numbers)) = (&base.kind, &self.moment.numbers) {
            let full = format!("{name}.{}", field.name);
            if numbers.contains(&full) {
                let node = self.gx.graph.input(full, crate::graph::Type::f32([]));
                return Value::Tensor(super::value::common(node, vec![]));
            }
        }
        match self.eval(env, base) {
            Value::Error => Value::Error,
            Value::Record(r) => match r.get(&field.name) {
                Some(t) => Value::Tensor(t.clone()),
                None if field.name == "output" && !r.outputs.is_empty() => Value::Tensor(r.outputs[0].1.clone()),
                None => {
                    let names = r.names();
                    let d =
                        Diagnostic::error("E0210", format!("the network has no output or tap `{}`", field.name))
                            .at(field.span, "not among its results");
                    let d = match crate::layers::table::nearest(&field.name, names.iter().copied()) {
                        Some(near) => d.help(format!("did you mean `.{near}`?")),
                        None if names.is_empty() => {
                            d.help("its only result has no name; `tap` names values within it")
                        }
                        None => d.help(format!("it has {}", names.join(", "))),
                    };
                    self.report(d)
                }
            },
            Value::Data(d) => self.rows(d, field, span),
            other => {
                let text = other.describe();
                self.error("E0210", field.span, format!("no field `{}`", field.name), format!("this is {text}"))
            }
        }
    }

    fn whole(&mut self, env: &mut Env<'m>, e: &'m Expr) -> Option<i64> {
        match self.eval(env, e) {
            Value::Error => None,
            Value::Num(v) if v.fract() == 0.0 && v.abs() < 2f64.powi(31) => Some(v as i64),
            other => {
                let text = other.describe();
                self.error(
                    "E0303",
                    e.span,
                    "an index is a whole number known when compiling",
                    format!("this is {text}"),
                );
                None
            }
        }
    }

    fn index(&mut self, env: &mut Env<'m>, base: &'m Expr, indices: &'m [Index], span: Span) -> Value {
        let v = self.eval(env, base);
        if v.is_error() {
            return Value::Error;
        }
        if let (Value::List(items), [Index::At(at)]) = (&v, indices) {
            let Some(i) = self.whole(env, at) else { return Value::Error };
            let n = items.len();
            return match usize::try_from(i).ok().and_then(|i| items.get(i)) {
                Some(v) => v.clone(),
                None => self.error("E0306", at.span, format!("index {i} of a list of {n}"), "out of range"),
            };
        }
        let Some(t) = self.tensor(&v, base.span) else { return Value::Error };
        let mut list = Vec::new();
        for i in indices {
            list.push(match i {
                Index::All(_) => layers::value::Index::All,
                Index::At(e) => match self.whole(env, e) {
                    Some(i) => layers::value::Index::At(i as f64),
                    None => return Value::Error,
                },
                Index::Range(a, b) => match (self.whole(env, a), self.whole(env, b)) {
                    (Some(i), Some(j)) => layers::value::Index::Range(i as f64, j as f64),
                    _ => return Value::Error,
                },
            });
        }
        self.op(env, span, |s| layers::value::index(s, &t, &list).map(layers::Value::Tensor))
    }

    /// A compile-time extent.
    pub fn extent(&mut self, env: &mut Env<'m>, e: &'m Expr) -> Option<usize> {
        match self.eval(env, e) {
            Value::Error => None,
            Value::Num(v) if v.fract() == 0.0 && v >= 1.0 && v <= 2f64.powi(31) => Some(v as usize),
            other => {
                let text = other.describe();
                self.error(
                    "E0307",
                    e.span,
                    "an extent is a whole number from 1 to 2^31",
                    format!("this is {text}"),
                );
                None
            }
        }
    }

    /// A written type.
    pub fn type_of(&mut self, env: &mut Env<'m>, ty: &'m TypeExpr) -> Option<(crate::layers::Kind, Vec<usize>)> {
        use crate::layers::Kind;
        match ty {
            TypeExpr::Shape(dims, _) => {
                // All extents are looked at, so that all errors are seen.
                let dims: Vec<Option<usize>> = dims.iter().map(|d| self.extent(env, d)).collect();
                Some((Kind::Real, dims.into_iter().collect::<Option<Vec<_>>>()?))
            }
            TypeExpr::Class(k, _) => Some((Kind::Class(self.extent(env, k)?), vec![])),
            TypeExpr::Named(id) => {
                let v = self.name(env, &id.name, id.span);
                let dims: Option<Vec<usize>> = match &v {
                    Value::Error => return None,
                    Value::List(items) => items
                        .iter()
                        .map(|i| match i {
                            Value::Num(v) if v.fract() == 0.0 && *v >= 1.0 && *v <= 2f64.powi(31) => {
                                Some(*v as usize)
                            }
                            _ => None,
                        })
                        .collect(),
                    _ => None,
                };
                if dims.is_none() {
                    let text = format!("this is {}", v.describe());
                    self.error("E0307", id.span, "a type is a const that is a list of extents", text);
                }
                Some((Kind::Real, dims?))
            }
        }
    }
}
