//! Compile-time values of expressions over constants.

use super::Model;
use crate::diag::names::suggest as nearest;
use crate::diag::{Diagnostic, Diagnostics};
use crate::layers::Value;
use crate::source::Span;
use crate::syntax::ast::{BinOp, Expr, ExprKind, Index};
use std::collections::{BTreeMap, BTreeSet};

/// The values of all constants of a model.
#[derive(Clone, Debug, Default)]
pub struct Consts {
    values: BTreeMap<String, Value>,
}

impl Consts {
    /// Evaluates every constant; they may be written in any order.
    ///
    /// # Errors
    /// E0215 for what has no compile-time value, and for constants that need each other.
    pub fn new(model: &Model) -> Result<Self, Diagnostics> {
        let mut found = Self::default();
        let mut errors = Diagnostics::default();
        let (mut open, mut failed) = (Vec::new(), BTreeSet::new());
        for c in &model.consts {
            found.define(model, &c.name.name, &mut open, &mut failed, &mut errors);
        }
        if errors.has_errors() { Err(errors) } else { Ok(found) }
    }

    /// Evaluates one constant and what it needs; each failure is reported once, at its origin.
    fn define(
        &mut self,
        model: &Model,
        name: &str,
        open: &mut Vec<String>,
        failed: &mut BTreeSet<String>,
        errors: &mut Diagnostics,
    ) {
        if self.values.contains_key(name) || failed.contains(name) {
            return;
        }
        let Some(c) = model.constant(name) else { return };
        if let Some(at) = open.iter().position(|o| o == name) {
            let chain = open[at..].join(" -> ");
            failed.extend(open[at..].iter().cloned());
            errors.push(
                Diagnostic::error("E0215", format!("the value of const `{name}` needs itself"))
                    .at(c.name.span, format!("{chain} -> {name}")),
            );
            return;
        }
        if open.len() >= 500 {
            failed.insert(name.to_string());
            errors.push(
                Diagnostic::error("E0215", "too many consts need each other in a row")
                    .at(c.name.span, "write them in the order in which they are needed"),
            );
            return;
        }
        open.push(name.to_string());
        let needed = super::walk::names(&c.value);
        for n in &needed {
            self.define(model, n, open, failed, errors);
        }
        open.pop();
        if needed.iter().any(|n| failed.contains(n)) {
            failed.insert(name.to_string());
        }
        if failed.contains(name) {
            return;
        }
        match self.eval(&c.value) {
            Ok(v) => {
                self.values.insert(name.to_string(), v);
            }
            Err(d) => {
                failed.insert(name.to_string());
                errors.push(d);
            }
        }
    }

    /// The value of a constant.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// The value of an expression over constants.
    ///
    /// # Errors
    /// E0215 if it has none at compile time.
    pub fn eval(&self, e: &Expr) -> Result<Value, Diagnostic> {
        match &e.kind {
            ExprKind::Number(text) => number(text).map(Value::Number).ok_or_else(|| cannot(e.span, "not a number")),
            ExprKind::Str(s) => Ok(Value::Str(s.clone())),
            ExprKind::Bool(b) => Ok(Value::Bool(*b)),
            ExprKind::Paren(inner) => self.eval(inner),
            ExprKind::Name(n) => self.values.get(n).cloned().ok_or_else(|| {
                let d = cannot(e.span, format!("`{n}` is not a const"));
                match nearest(n, self.values.keys().map(String::as_str)) {
                    Some(near) => d.help(format!("did you mean `{near}`?")),
                    None => d,
                }
            }),
            ExprKind::List(items) => {
                let (mut values, mut size) = (Vec::new(), 0);
                for i in items {
                    let v = self.eval(i)?;
                    size += extent(&v);
                    if size > LONGEST_LIST {
                        return Err(cannot(e.span, format!("a list holds at most {LONGEST_LIST} values")));
                    }
                    values.push(v);
                }
                Ok(Value::List(values))
            }
            ExprKind::Neg(inner) => match self.eval(inner)? {
                Value::Number(x) => Ok(Value::Number(-x)),
                v => Err(cannot(e.span, format!("`-` takes a number, this is {}", describe(&v)))),
            },
            ExprKind::Binary(op, a, b) => binary(*op, &self.eval(a)?, &self.eval(b)?, e.span),
            ExprKind::Call(f, args) => {
                let ExprKind::Name(f) = &f.kind else {
                    return Err(cannot(e.span, "only functions are called here"));
                };
                let values: Vec<Value> = args.args.iter().map(|a| self.eval(&a.value)).collect::<Result<_, _>>()?;
                call(f, &values, e.span)
            }
            ExprKind::Index(base, indices) => self.index(e.span, base, indices),
            ExprKind::It | ExprKind::Field(..) | ExprKind::Pipe(..) => {
                Err(cannot(e.span, "this has no value at compile time"))
            }
        }
    }

    fn index(&self, span: Span, base: &Expr, indices: &[Index]) -> Result<Value, Diagnostic> {
        let (Value::List(items), [Index::At(at)]) = (self.eval(base)?, indices) else {
            return Err(cannot(span, "a compile-time list takes one whole number as index"));
        };
        match self.eval(at)? {
            Value::Number(i) if i.fract() == 0.0 && i >= 0.0 && (i as usize) < items.len() => {
                Ok(items[i as usize].clone())
            }
            v => Err(cannot(at.span, format!("the list has {} items, this is {}", items.len(), describe(&v)))),
        }
    }
}

/// Most values in a list, those of inner lists included: lists of a list of a list double with every line.
const LONGEST_LIST: usize = 1 << 16;

fn extent(v: &Value) -> usize {
    match v {
        Value::List(items) => 1 + items.iter().map(extent).sum::<usize>(),
        _ => 1,
    }
}

/// The value of a number literal, underscores included.
pub fn number(text: &str) -> Option<f64> {
    text.replace('_', "").parse().ok()
}

/// A binary operator on compile-time values. Whole numbers divide exactly or not at all.
///
/// # Errors
/// E0215 for operands it has no meaning for.
pub fn binary(op: BinOp, a: &Value, b: &Value, span: Span) -> Result<Value, Diagnostic> {
    use Value::{Bool, List, Number, Str};
    let value = match (a, b) {
        (Number(x), Number(y)) => match op {
            BinOp::Add => Number(x + y),
            BinOp::Sub => Number(x - y),
            BinOp::Mul => Number(x * y),
            BinOp::Div => Number(divide(*x, *y, span)?),
            BinOp::Pow => Number(x.powf(*y)),
            BinOp::Lt => Bool(x < y),
            BinOp::Le => Bool(x <= y),
            BinOp::Gt => Bool(x > y),
            BinOp::Ge => Bool(x >= y),
            BinOp::Eq => Bool(x == y),
            BinOp::Ne => Bool(x != y),
        },
        (Bool(_), Bool(_)) | (Str(_), Str(_)) | (List(_), List(_)) if op == BinOp::Eq => Bool(a == b),
        (Bool(_), Bool(_)) | (Str(_), Str(_)) | (List(_), List(_)) if op == BinOp::Ne => Bool(a != b),
        _ => {
            let text = format!("this operator does not take {} and {}", describe(a), describe(b));
            return Err(cannot(span, text));
        }
    };
    match value {
        Number(x) if !x.is_finite() => Err(cannot(span, "the result is not a finite number")),
        v => Ok(v),
    }
}

fn divide(x: f64, y: f64, span: Span) -> Result<f64, Diagnostic> {
    if y == 0.0 {
        return Err(cannot(span, "division by zero"));
    }
    if x.fract() == 0.0 && y.fract() == 0.0 && (x / y).fract() != 0.0 {
        return Err(Diagnostic::error("E0215", format!("{x} / {y} is not a whole number"))
            .at(span, "whole numbers known at compile time divide exactly or not at all")
            .help(format!("write the decimal, such as {:.4}, if a fraction is meant", x / y)));
    }
    Ok(x / y)
}

fn call(f: &str, args: &[Value], span: Span) -> Result<Value, Diagnostic> {
    let numbers: Option<Vec<f64>> =
        args.iter().map(|v| if let Value::Number(x) = v { Some(*x) } else { None }).collect();
    let value = match (f, numbers.as_deref()) {
        ("abs", Some([x])) => x.abs(),
        ("exp", Some([x])) => x.exp(),
        ("log", Some([x])) => x.ln(),
        ("sqrt", Some([x])) => x.sqrt(),
        ("min", Some([x, y])) => x.min(*y),
        ("max", Some([x, y])) => x.max(*y),
        _ => return Err(cannot(span, format!("`{f}` of these arguments has no value at compile time"))),
    };
    if value.is_finite() {
        Ok(Value::Number(value))
    } else {
        Err(cannot(span, "the result is not a finite number"))
    }
}

/// A value in words, for messages.
pub fn describe(v: &Value) -> String {
    match v {
        Value::Number(x) => format!("the number {x}"),
        Value::Bool(b) => b.to_string(),
        Value::Str(s) => format!("the string \"{s}\""),
        Value::Word(w) => format!("the word `{w}`"),
        Value::List(items) => format!("a list of {}", items.len()),
        Value::Tensor(_) => "a tensor".to_string(),
        Value::Init(_) => "an initialiser".to_string(),
    }
}

fn cannot(span: Span, text: impl Into<String>) -> Diagnostic {
    Diagnostic::error("E0215", "this must have a value at compile time").at(span, text)
}
