//! Prints layers as they are written, for shape stories and tables.

use crate::syntax::ast::{Arg, Args, BinOp, Expr, ExprKind, Index, LayerCall, PipeStage};

/// `conv(64, kernel: 4)`
pub(super) fn layer(call: &LayerCall) -> String {
    match &call.args {
        Some(a) => format!("{}{}", call.name.name, args(a)),
        None => call.name.name.clone(),
    }
}

/// `(64, kernel: 4)`
pub(super) fn args(a: &Args) -> String {
    list(&a.args)
}

/// `(64, kernel: 4)`
pub(super) fn list(args: &[Arg]) -> String {
    let parts: Vec<String> = args
        .iter()
        .map(|a| match &a.name {
            Some(n) => format!("{}: {}", n.name, expr(&a.value)),
            None => expr(&a.value),
        })
        .collect();
    format!("({})", parts.join(", "))
}

fn exprs(items: &[Expr]) -> String {
    let parts: Vec<String> = items.iter().map(expr).collect();
    parts.join(", ")
}

/// The operator as written.
pub(super) fn operator(op: BinOp) -> &'static str {
    match op {
        BinOp::Add => "+",
        BinOp::Sub => "-",
        BinOp::Mul => "*",
        BinOp::Div => "/",
        BinOp::Pow => "^",
        BinOp::Lt => "<",
        BinOp::Le => "<=",
        BinOp::Gt => ">",
        BinOp::Ge => ">=",
        BinOp::Eq => "==",
        BinOp::Ne => "!=",
    }
}

/// An expression on one line.
pub(super) fn expr(e: &Expr) -> String {
    match &e.kind {
        ExprKind::Number(n) => n.clone(),
        ExprKind::Str(s) => format!("{s:?}"),
        ExprKind::Bool(b) => b.to_string(),
        ExprKind::It => "it".into(),
        ExprKind::Name(n) => n.clone(),
        ExprKind::List(items) => format!("[{}]", exprs(items)),
        ExprKind::Paren(e) => format!("({})", expr(e)),
        ExprKind::Neg(e) => format!("-{}", expr(e)),
        ExprKind::Binary(op, a, b) => format!("{} {} {}", expr(a), operator(*op), expr(b)),
        ExprKind::Field(e, f) => format!("{}.{}", expr(e), f.name),
        ExprKind::Call(f, a) => format!("{}{}", expr(f), args(a)),
        ExprKind::Index(e, ix) => {
            let parts: Vec<String> = ix
                .iter()
                .map(|i| match i {
                    Index::At(e) => expr(e),
                    Index::Range(a, b) => format!("{}..{}", expr(a), expr(b)),
                    Index::All(_) => "..".into(),
                })
                .collect();
            format!("{}[{}]", expr(e), parts.join(", "))
        }
        ExprKind::Pipe(e, PipeStage::Layer(l)) => format!("{} |> {}", expr(e), layer(l)),
        ExprKind::Pipe(e, PipeStage::Body(_)) => format!("{} |> {{ … }}", expr(e)),
    }
}
