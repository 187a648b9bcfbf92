//! Values as built-ins take them, and operators on them.

use super::ctx::Builder;
use super::expr::Env;
use super::value::Value;
use crate::diag::Diagnostic;
use crate::graph::{DType, NodeId};
use crate::layers::value::{Operator, arithmetic, negate};
use crate::layers::{self, Kind, LayerError, Tensor};
use crate::source::Span;
use crate::syntax::ast::{BinOp, Expr};

impl<'m> Builder<'m> {
    /// A value as built-ins take it; `None` after a report.
    pub fn lower(&mut self, v: &Value, span: Span) -> Option<layers::Value> {
        Some(match v {
            Value::Error => return None,
            Value::Num(x) => layers::Value::Number(*x),
            Value::Bool(b) => layers::Value::Bool(*b),
            Value::Str(s) => layers::Value::Str(s.clone()),
            Value::Word(w) => layers::Value::Word(w.clone()),
            Value::List(items) => {
                let all: Option<Vec<_>> = items.iter().map(|i| self.lower(i, span)).collect();
                layers::Value::List(all?)
            }
            Value::Tensor(t) => layers::Value::Tensor(t.clone()),
            Value::Record(r) => match r.outputs.first() {
                Some((_, t)) => layers::Value::Tensor(t.clone()),
                None => {
                    self.error("E0303", span, "this application has no results", "a network without results");
                    return None;
                }
            },
            Value::Init(i) => layers::Value::Init(*i),
            Value::Net(n) => {
                let name = self.model.networks[n.index].name.name.clone();
                self.report(
                    Diagnostic::error("E0303", format!("`{name}` is a network, a tensor is needed"))
                        .at(span, "a network that is not applied")
                        .help(format!("apply it: `{name}(…)`")),
                );
                return None;
            }
            Value::Data(_) => {
                self.error("E0303", span, "a data set is no tensor", "name one of its fields, such as `.image`");
                return None;
            }
        })
    }

    /// What a built-in gave, as a value.
    pub fn lift(&self, v: layers::Value) -> Value {
        match v {
            layers::Value::Number(x) => Value::Num(x),
            layers::Value::Bool(b) => Value::Bool(b),
            layers::Value::Str(s) => Value::Str(s),
            layers::Value::Word(w) => Value::Word(w),
            layers::Value::List(items) => {
                Value::List(std::rc::Rc::new(items.into_iter().map(|i| self.lift(i)).collect()))
            }
            layers::Value::Tensor(t) => Value::Tensor(t),
            layers::Value::Init(i) => Value::Init(i),
        }
    }

    /// The value as a tensor: numbers become common `[]`, records their first output.
    pub fn tensor(&mut self, v: &Value, span: Span) -> Option<Tensor> {
        match v {
            Value::Tensor(t) => Some(t.clone()),
            Value::Num(x) => {
                let node = self.gx.graph.scalar(*x);
                Some(super::value::common(node, vec![]))
            }
            Value::Record(r) if !r.outputs.is_empty() => Some(r.outputs[0].1.clone()),
            Value::Error => None,
            other => {
                if let Value::Net(_) | Value::Data(_) | Value::Record(_) = other {
                    self.lower(other, span);
                    return None;
                }
                let text = other.describe();
                self.error("E0303", span, "a tensor is needed", format!("this is {text}"));
                None
            }
        }
    }

    /// `a op b`.
    pub fn binary(&mut self, env: &mut Env<'m>, op: BinOp, a: &'m Expr, b: &'m Expr, span: Span) -> Value {
        let (x, y) = (self.eval(env, a), self.eval(env, b));
        let (Some(x), Some(y)) = (self.lower(&x, a.span), self.lower(&y, b.span)) else { return Value::Error };
        let op = match op {
            BinOp::Add => Operator::Add,
            BinOp::Sub => Operator::Sub,
            BinOp::Mul => Operator::Mul,
            BinOp::Div => Operator::Div,
            BinOp::Pow => Operator::Pow,
            BinOp::Lt => Operator::Lt,
            BinOp::Le => Operator::Le,
            BinOp::Gt => Operator::Gt,
            BinOp::Ge => Operator::Ge,
            BinOp::Eq => Operator::Eq,
            BinOp::Ne => Operator::Ne,
        };
        self.op(env, span, |s| arithmetic(s, op, &x, &y))
    }

    /// `-e`.
    pub fn minus(&mut self, env: &mut Env<'m>, e: &'m Expr, span: Span) -> Value {
        let v = self.eval(env, e);
        let Some(v) = self.lower(&v, e.span) else { return Value::Error };
        self.op(env, span, |s| negate(s, &v))
    }

    /// Runs a piece of graph building that may refuse.
    pub fn op(
        &mut self,
        env: &mut Env<'m>,
        span: Span,
        f: impl FnOnce(&mut dyn layers::Scope) -> Result<layers::Value, LayerError>,
    ) -> Value {
        let from = self.gx.graph.nodes().len();
        let result = f(&mut self.scope(env, String::new(), span));
        match result {
            Ok(v) if self.within_limits(from, span) => self.lift(v),
            Ok(_) => Value::Error,
            Err(e) => self.refused(env, e, span),
        }
    }

    /// A refusal of a built-in as a diagnostic, with the shapes so far.
    pub fn refused(&mut self, env: &Env<'m>, e: LayerError, span: Span) -> Value {
        let mut d = Diagnostic::error(e.code, e.message).at(e.arg.unwrap_or(span), "here");
        if e.arg.is_some_and(|a| a != span && !(a.file == span.file && a.start >= span.start && a.end <= span.end))
        {
            d = d.label(span, "in this");
        }
        if let Some(help) = e.help {
            d = d.help(help);
        }
        if let Some(net) = &env.net {
            if !net.story.is_empty() {
                d = d.note(super::net::tell(&net.story));
            }
            for (name, at) in net.uses.iter().rev() {
                d = d.label(*at, format!("in `{name}`, used here"));
            }
        }
        self.report(d)
    }

    /// The node of a tensor with a batch axis (extent 1 for a common one) if `sample`.
    pub fn align(&mut self, t: &Tensor, sample: bool) -> NodeId {
        let mut inner = t.shape.clone();
        if sample {
            let batch = if t.sample { self.gx.graph.shape(t.node)[0] } else { 1 };
            inner.insert(0, batch);
        }
        self.gx.graph.reshape(t.node, &inner)
    }

    /// Makes a tensor one a sample by repeating it.
    pub fn per_sample(&mut self, t: &Tensor) -> Tensor {
        if t.sample {
            return t.clone();
        }
        let node = self.align(t, true);
        let mut shape = self.gx.graph.shape(node).to_vec();
        shape[0] = self.moment.batch;
        let node = self.gx.graph.broadcast(node, &shape);
        Tensor { node, sample: true, ..t.clone() }
    }

    /// Element type of a kind.
    pub fn dtype(kind: Kind) -> DType {
        match kind {
            Kind::Real => DType::F32,
            Kind::Class(_) => DType::U32,
            Kind::Bool => DType::Bool,
        }
    }
}
