//! Building syntax: what tricks and losses write into a spec.

use crate::source::Span;
use crate::syntax::ast::{Arg, Args, BinOp, Expr, ExprKind, Ident, PlayerLine, PlayerLineKind};

/// A name.
pub fn name(text: &str, span: Span) -> Expr {
    Expr { kind: ExprKind::Name(text.to_string()), span }
}

/// A word with a place.
pub fn ident(text: &str, span: Span) -> Ident {
    Ident { name: text.to_string(), span }
}

/// A number.
pub fn number(value: f64, span: Span) -> Expr {
    if value < 0.0 {
        return neg(number(-value, span));
    }
    Expr { kind: ExprKind::Number(format!("{value}")), span }
}

/// `-e`
pub fn neg(e: Expr) -> Expr {
    let span = e.span;
    Expr { kind: ExprKind::Neg(Box::new(e)), span }
}

/// `a op b`; parentheses are put in by [`crate::model::walk::restore_parens`].
pub fn binary(op: BinOp, a: Expr, b: Expr) -> Expr {
    let span = a.span;
    Expr { kind: ExprKind::Binary(op, Box::new(a), Box::new(b)), span }
}

/// The sum of some terms, if there are any.
pub fn sum(terms: Vec<Expr>) -> Option<Expr> {
    terms.into_iter().reduce(|a, b| binary(BinOp::Add, a, b))
}

/// `e ^ 2`
pub fn square(e: Expr) -> Expr {
    let span = e.span;
    binary(BinOp::Pow, e, number(2.0, span))
}

/// `callee(args)` by position.
pub fn apply(callee: Expr, args: Vec<Expr>, span: Span) -> Expr {
    let args = args.into_iter().map(|value| Arg { name: None, value }).collect();
    Expr { kind: ExprKind::Call(Box::new(callee), Args { args, span }), span }
}

/// `f(args)` by position.
pub fn call(f: &str, args: Vec<Expr>, span: Span) -> Expr {
    apply(name(f, span), args, span)
}

/// A named argument.
pub fn named(word: &str, value: Expr) -> Arg {
    Arg { name: Some(ident(word, value.span)), value }
}

/// `let word = value` of a player.
pub fn let_line(word: &str, value: Expr) -> PlayerLine {
    let_all(&[word], value)
}

/// `let a, b = value` of a player.
pub fn let_all(words: &[&str], value: Expr) -> PlayerLine {
    let span = value.span;
    line(PlayerLineKind::Let(words.iter().map(|w| ident(w, span)).collect(), value), span)
}

/// `f(first, word: value, …)`
pub fn call_named(f: &str, first: Vec<Expr>, named_args: Vec<(&str, Expr)>, span: Span) -> Expr {
    let mut e = call(f, first, span);
    if let ExprKind::Call(_, args) = &mut e.kind {
        args.args.extend(named_args.into_iter().map(|(word, value)| named(word, value)));
    }
    e
}

/// `minimize value every k` of a player.
pub fn minimize(value: Expr, every: Option<Expr>) -> PlayerLine {
    let span = value.span;
    line(PlayerLineKind::Minimize(value, every), span)
}

fn line(kind: PlayerLineKind, span: Span) -> PlayerLine {
    let mut line = PlayerLine { kind, span };
    if let PlayerLineKind::Let(_, e) | PlayerLineKind::Minimize(e, _) = &mut line.kind {
        crate::model::walk::restore_parens(e);
    }
    line
}
