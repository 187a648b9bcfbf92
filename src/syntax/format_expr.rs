//! Expressions, types and argument lists as layout documents.

use super::ast::*;
use super::dump::op_text;
use super::format::Formatter;
use super::layout::Doc;

// How strongly what an expression is made of binds, from `x |> f` to `x.f`.
const PIPE: u8 = 0;
const COMPARE: u8 = 1;
const SUM: u8 = 2;
const PRODUCT: u8 = 3;
const UNARY: u8 = 4;
const POWER: u8 = 5;
const POSTFIX: u8 = 6;
const PRIMARY: u8 = 7;

/// Width of what usually stands before an expression: `data faces = `.
const PREFIX: usize = 14;

fn op_level(op: BinOp) -> u8 {
    match op {
        BinOp::Add | BinOp::Sub => SUM,
        BinOp::Mul | BinOp::Div => PRODUCT,
        BinOp::Pow => POWER,
        BinOp::Lt | BinOp::Le | BinOp::Gt | BinOp::Ge | BinOp::Eq | BinOp::Ne => COMPARE,
    }
}

fn level(e: &Expr) -> u8 {
    match &e.kind {
        ExprKind::Pipe(..) => PIPE,
        ExprKind::Binary(op, ..) => op_level(*op),
        ExprKind::Neg(_) => UNARY,
        // The compiler may hand over a negative number as one.
        ExprKind::Number(n) if n.starts_with('-') => UNARY,
        ExprKind::Field(..) | ExprKind::Call(..) | ExprKind::Index(..) => POSTFIX,
        _ => PRIMARY,
    }
}

/// A string literal.
pub(super) fn quote(s: &str) -> String {
    format!("\"{}\"", s.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

impl Formatter<'_> {
    /// An expression where nothing binds it.
    pub(super) fn expr(&mut self, e: &Expr) -> Doc {
        self.bound(e, PIPE)
    }

    /// An expression where only what binds at least as strongly as `min` may stand without parentheses.
    fn bound(&mut self, e: &Expr, min: u8) -> Doc {
        if level(e) < min {
            return self.parens(e);
        }
        match &e.kind {
            ExprKind::Number(n) => Doc::text(n.as_str()),
            ExprKind::Str(s) => Doc::text(quote(s)),
            ExprKind::Bool(b) => Doc::text(b.to_string()),
            ExprKind::It => Doc::text("it"),
            ExprKind::Name(n) => Doc::text(n.as_str()),
            ExprKind::List(es) => {
                let parts = es.iter().map(|e| self.expr(e)).collect();
                Doc::list("[", parts, "]")
            }
            ExprKind::Paren(e) => self.parens(e),
            ExprKind::Neg(e) => Doc::Cat(vec![Doc::text("-"), self.bound(e, UNARY)]),
            ExprKind::Binary(BinOp::Pow, a, b) => {
                Doc::Cat(vec![self.bound(a, POSTFIX), Doc::text(" ^ "), self.bound(b, UNARY)])
            }
            ExprKind::Binary(op, ..) => self.chain(e, op_level(*op)),
            ExprKind::Field(e, f) => {
                // `2.x` would be an incomplete number.
                let min = if matches!(e.kind, ExprKind::Number(_)) { PRIMARY + 1 } else { POSTFIX };
                Doc::Cat(vec![self.bound(e, min), Doc::text(format!(".{}", f.name))])
            }
            ExprKind::Call(f, args) => Doc::Cat(vec![self.bound(f, POSTFIX), self.args(args)]),
            ExprKind::Index(e, is) => {
                let base = self.bound(e, POSTFIX);
                let parts = is
                    .iter()
                    .map(|i| match i {
                        Index::At(e) => self.expr(e),
                        Index::Range(a, b) => Doc::Cat(vec![self.expr(a), Doc::text(".."), self.expr(b)]),
                        Index::All(_) => Doc::text(".."),
                    })
                    .collect();
                Doc::Cat(vec![base, Doc::list("[", parts, "]")])
            }
            ExprKind::Pipe(..) => self.pipe(e),
        }
    }

    fn parens(&mut self, e: &Expr) -> Doc {
        Doc::Cat(vec![Doc::text("("), Doc::Cat(vec![Doc::Soft, self.expr(e)]).nest(), Doc::Soft, Doc::text(")")])
            .group()
    }

    /// Operators of one level in a row: the lines break before operators.
    fn chain(&mut self, e: &Expr, level: u8) -> Doc {
        let mut parts = Vec::new();
        let mut at = e;
        while let ExprKind::Binary(op, a, b) = &at.kind {
            if op_level(*op) != level {
                break;
            }
            parts.push((*op, &**b));
            at = a;
            if level == COMPARE {
                break;
            }
        }
        let first = self.bound(at, if level == COMPARE { SUM } else { level });
        let mut rest = Vec::new();
        for (op, b) in parts.into_iter().rev() {
            rest.extend([Doc::Line, Doc::text(format!("{} ", op_text(op))), self.bound(b, level + 1)]);
        }
        Doc::Cat(vec![first, Doc::Cat(rest).nest()]).group()
    }

    /// `x |> f |> g`: the lines break before pipes, unless a block among them breaks anyway.
    fn pipe(&mut self, e: &Expr) -> Doc {
        let mut stages = Vec::new();
        let mut at = e;
        while let ExprKind::Pipe(x, stage) = &at.kind {
            stages.push(stage);
            at = x;
        }
        let first = self.bound(at, COMPARE);
        let stages: Vec<Doc> = stages
            .into_iter()
            .rev()
            .map(|s| match s {
                PipeStage::Layer(l) => self.layer(l),
                PipeStage::Body(b) => self.embedded(b),
            })
            .collect();
        if stages.iter().any(Doc::has_hard) {
            let mut all = vec![first];
            for s in stages {
                all.extend([Doc::text(" |> "), s]);
            }
            return Doc::Cat(all);
        }
        let rest = stages.into_iter().flat_map(|s| [Doc::Line, Doc::text("|> "), s]).collect();
        let rest = Doc::Cat(rest).nest();
        // A first part that breaks by itself keeps the pipes on its last line.
        match first.flat_width() + PREFIX > self.room() {
            true => Doc::Cat(vec![first, rest.group()]),
            false => Doc::Cat(vec![first, rest]).group(),
        }
    }

    pub(super) fn layer(&mut self, l: &LayerCall) -> Doc {
        let mut parts = vec![Doc::text(l.name.name.as_str())];
        parts.extend(l.args.as_ref().map(|a| self.args(a)));
        parts.push(self.with(&l.with));
        Doc::Cat(parts)
    }

    pub(super) fn args(&mut self, args: &Args) -> Doc {
        let parts = args
            .args
            .iter()
            .map(|a| match &a.name {
                Some(n) => Doc::Cat(vec![Doc::text(format!("{}: ", n.name)), self.expr(&a.value)]),
                None => self.expr(&a.value),
            })
            .collect();
        Doc::list("(", parts, ")")
    }

    /// ` with …`, or nothing.
    pub(super) fn with(&mut self, with: &[Modifier]) -> Doc {
        let mut parts: Vec<Doc> = with
            .iter()
            .map(|m| {
                let args = m.args.as_ref().map(|a| self.args(a));
                Doc::Cat([Doc::text(m.name.name.as_str())].into_iter().chain(args).collect())
            })
            .collect();
        match parts.len() {
            0 => Doc::Cat(Vec::new()),
            1 => Doc::Cat(vec![Doc::text(" with "), parts.remove(0)]),
            _ => Doc::Cat(vec![Doc::text(" with "), Doc::list("(", parts, ")")]),
        }
    }

    pub(super) fn type_expr(&mut self, ty: &TypeExpr) -> Doc {
        match ty {
            TypeExpr::Shape(dims, _) => {
                let parts = dims.iter().map(|d| self.expr(d)).collect();
                Doc::list("[", parts, "]")
            }
            TypeExpr::Class(k, _) => Doc::Cat(vec![Doc::text("class("), self.expr(k), Doc::text(")")]),
            TypeExpr::Named(n) => Doc::text(n.name.as_str()),
        }
    }

    pub(super) fn inputs(&mut self, inputs: &[Input]) -> Doc {
        let parts = inputs
            .iter()
            .map(|i| Doc::Cat(vec![Doc::text(format!("{}: ", i.name.name)), self.type_expr(&i.ty)]))
            .collect();
        Doc::list("(", parts, ")")
    }

    pub(super) fn params(&mut self, params: &[Param]) -> Doc {
        let parts = params
            .iter()
            .map(|p| match &p.default {
                Some(e) => Doc::Cat(vec![Doc::text(format!("{} = ", p.name.name)), self.expr(e)]),
                None => Doc::text(p.name.name.as_str()),
            })
            .collect();
        Doc::list("(", parts, ")")
    }
}
