//! Walks over syntax trees: visiting, substituting, comparing.

use crate::source::Span;
use crate::syntax::ast::{
    Action, ActionKind, Args, BinOp, Body, Else, Expr, ExprKind, If, Index, LayerCall, Modifier, PipeStage,
    PlayerLine, PlayerLineKind, RepeatHead, Stmt, StmtKind, TypeExpr,
};
use std::collections::BTreeMap;

/// Visits expressions, outermost first; `f` says whether to go inside.
pub fn expr(e: &Expr, f: &mut dyn FnMut(&Expr) -> bool) {
    // One walk serves both kinds of visitors: a clone keeps the mutable one from being written twice.
    expr_mut(&mut e.clone(), &mut |e| f(e));
}

/// Visits the expressions of a body.
pub fn body(b: &Body, f: &mut dyn FnMut(&Expr) -> bool) {
    body_mut(&mut b.clone(), &mut |e| f(e));
}

/// Visits expressions and may replace them; `f` says whether to go inside what is there afterwards.
pub fn expr_mut(e: &mut Expr, f: &mut dyn FnMut(&mut Expr) -> bool) {
    if !f(e) {
        return;
    }
    match &mut e.kind {
        ExprKind::Number(_) | ExprKind::Str(_) | ExprKind::Bool(_) | ExprKind::It | ExprKind::Name(_) => {}
        ExprKind::List(items) => items.iter_mut().for_each(|i| expr_mut(i, f)),
        ExprKind::Paren(inner) | ExprKind::Neg(inner) | ExprKind::Field(inner, _) => expr_mut(inner, f),
        ExprKind::Binary(_, a, b) => {
            expr_mut(a, f);
            expr_mut(b, f);
        }
        ExprKind::Call(callee, args) => {
            expr_mut(callee, f);
            args_mut(args, f);
        }
        ExprKind::Index(base, indices) => {
            expr_mut(base, f);
            for i in indices {
                match i {
                    Index::At(e) => expr_mut(e, f),
                    Index::Range(a, b) => {
                        expr_mut(a, f);
                        expr_mut(b, f);
                    }
                    Index::All(_) => {}
                }
            }
        }
        ExprKind::Pipe(left, stage) => {
            expr_mut(left, f);
            match stage {
                PipeStage::Layer(call) => layer_mut(call, f),
                PipeStage::Body(b) => body_mut(b, f),
            }
        }
    }
}

fn args_mut(args: &mut Args, f: &mut dyn FnMut(&mut Expr) -> bool) {
    args.args.iter_mut().for_each(|a| expr_mut(&mut a.value, f));
}

fn layer_mut(call: &mut LayerCall, f: &mut dyn FnMut(&mut Expr) -> bool) {
    if let Some(args) = &mut call.args {
        args_mut(args, f);
    }
    with_mut(&mut call.with, f);
}

fn with_mut(with: &mut [Modifier], f: &mut dyn FnMut(&mut Expr) -> bool) {
    with.iter_mut().filter_map(|m| m.args.as_mut()).for_each(|a| args_mut(a, f));
}

/// Visits the expressions of a type and may replace them.
pub fn type_mut(ty: &mut TypeExpr, f: &mut dyn FnMut(&mut Expr) -> bool) {
    match ty {
        TypeExpr::Shape(dims, _) => dims.iter_mut().for_each(|d| expr_mut(d, f)),
        TypeExpr::Class(k, _) => expr_mut(k, f),
        TypeExpr::Named(_) => {}
    }
}

/// Visits the expressions of a body and may replace them.
pub fn body_mut(b: &mut Body, f: &mut dyn FnMut(&mut Expr) -> bool) {
    b.stmts.iter_mut().for_each(|s| stmt_mut(s, f));
}

fn stmt_mut(s: &mut Stmt, f: &mut dyn FnMut(&mut Expr) -> bool) {
    match &mut s.kind {
        StmtKind::Let(_, e) | StmtKind::Out(_, e) | StmtKind::Assign(e) => expr_mut(e, f),
        StmtKind::Param { ty, init, with, .. } => {
            type_mut(ty, f);
            expr_mut(init, f);
            with_mut(with, f);
        }
        StmtKind::Tap(_) => {}
        StmtKind::Residual(main, shortcut) => {
            body_mut(main, f);
            if let Some(s) = shortcut {
                body_mut(s, f);
            }
        }
        StmtKind::Repeat(head, b) => {
            match head {
                RepeatHead::Times(n) => expr_mut(n, f),
                RepeatHead::Range(_, lo, hi) => {
                    expr_mut(lo, f);
                    expr_mut(hi, f);
                }
            }
            body_mut(b, f);
        }
        StmtKind::If(i) => if_mut(i, f),
        StmtKind::Layer(call) => layer_mut(call, f),
    }
}

fn if_mut(i: &mut If, f: &mut dyn FnMut(&mut Expr) -> bool) {
    expr_mut(&mut i.cond, f);
    body_mut(&mut i.then, f);
    match &mut i.otherwise {
        Some(Else::Body(b)) => body_mut(b, f),
        Some(Else::If(i)) => if_mut(i, f),
        None => {}
    }
}

/// Visits the expressions of a player's line and may replace them.
pub fn line_mut(line: &mut PlayerLine, f: &mut dyn FnMut(&mut Expr) -> bool) {
    match &mut line.kind {
        PlayerLineKind::Let(_, e)
        | PlayerLineKind::Using(e)
        | PlayerLineKind::Repeat(e)
        | PlayerLineKind::Batch(e) => expr_mut(e, f),
        PlayerLineKind::Minimize(e, every) => {
            expr_mut(e, f);
            if let Some(k) = every {
                expr_mut(k, f);
            }
        }
    }
}

/// Visits the expressions of an action and may replace them.
pub fn action_mut(action: &mut Action, f: &mut dyn FnMut(&mut Expr) -> bool) {
    match &mut action.kind {
        ActionKind::Evaluate(_, e) => expr_mut(e, f),
        ActionKind::Call(_, Some(args)) => args_mut(args, f),
        ActionKind::Call(_, None) => {}
    }
}

/// Names of all layers, blocks, functions and networks that a body calls.
pub fn calls(b: &Body) -> Vec<String> {
    let mut found = Vec::new();
    calls_in(b, &mut found);
    found
}

fn calls_in(b: &Body, found: &mut Vec<String>) {
    for s in &b.stmts {
        match &s.kind {
            StmtKind::Layer(call) => found.push(call.name.name.clone()),
            StmtKind::Residual(main, shortcut) => {
                calls_in(main, found);
                shortcut.iter().for_each(|s| calls_in(s, found));
            }
            StmtKind::Repeat(_, inner) => calls_in(inner, found),
            StmtKind::If(i) => calls_in_if(i, found),
            StmtKind::Let(_, e) | StmtKind::Out(_, e) | StmtKind::Assign(e) => expr(e, &mut |e| {
                match &e.kind {
                    ExprKind::Call(f, _) => found.extend(names(f)),
                    ExprKind::Pipe(_, PipeStage::Layer(call)) => found.push(call.name.name.clone()),
                    ExprKind::Pipe(_, PipeStage::Body(b)) => calls_in(b, found),
                    _ => {}
                }
                true
            }),
            StmtKind::Param { .. } | StmtKind::Tap(_) => {}
        }
    }
}

fn calls_in_if(i: &If, found: &mut Vec<String>) {
    calls_in(&i.then, found);
    match &i.otherwise {
        Some(Else::Body(b)) => calls_in(b, found),
        Some(Else::If(i)) => calls_in_if(i, found),
        None => {}
    }
}

/// All names that an expression reads.
pub fn names(e: &Expr) -> Vec<String> {
    let mut found = Vec::new();
    expr(e, &mut |e| {
        if let ExprKind::Name(n) = &e.kind {
            found.push(n.clone());
        }
        true
    });
    found
}

/// Replaces names by expressions, with parentheses where the place needs them.
pub fn substitute(e: &mut Expr, map: &BTreeMap<String, Expr>) {
    expr_mut(e, &mut |e| match &e.kind {
        ExprKind::Name(n) => {
            if let Some(value) = map.get(n) {
                *e = value.clone();
            }
            false
        }
        _ => true,
    });
    restore_parens(e);
}

/// Puts parentheses where the tree's shape needs them in text; those already there stay.
pub fn restore_parens(e: &mut Expr) {
    expr_mut(e, &mut |e| {
        match &mut e.kind {
            ExprKind::Binary(op, a, b) => {
                let (left, right) = match op {
                    BinOp::Add | BinOp::Sub => (2, 3),
                    BinOp::Mul | BinOp::Div => (3, 4),
                    BinOp::Pow => (6, 4),
                    _ => (2, 2),
                };
                at_least(a, left);
                at_least(b, right);
            }
            ExprKind::Neg(inner) => at_least(inner, 4),
            ExprKind::Field(base, _) | ExprKind::Index(base, _) | ExprKind::Call(base, _) => at_least(base, 6),
            // `(x)` around something that substitution has made an atom reads better bare.
            _ => {}
        }
        true
    });
}

fn at_least(e: &mut Expr, level: u8) {
    if precedence(e) < level {
        *e = Expr { span: e.span, kind: ExprKind::Paren(Box::new(e.clone())) };
    }
}

fn precedence(e: &Expr) -> u8 {
    match &e.kind {
        ExprKind::Pipe(..) => 0,
        ExprKind::Binary(op, ..) => match op {
            BinOp::Add | BinOp::Sub => 2,
            BinOp::Mul | BinOp::Div => 3,
            BinOp::Pow => 5,
            _ => 1,
        },
        ExprKind::Neg(_) => 4,
        _ => 6,
    }
}

/// Gives an expression and everything in it one span.
pub fn respan(e: &mut Expr, span: Span) {
    expr_mut(e, &mut |e| {
        e.span = span;
        if let ExprKind::Call(_, args) = &mut e.kind {
            args.span = span;
        }
        true
    });
}

/// Whether two expressions are the same text, spans and parentheses aside. Anonymous blocks count as different.
pub fn same(a: &Expr, b: &Expr) -> bool {
    use ExprKind as K;
    match (&a.kind, &b.kind) {
        (K::Paren(a), _) => same(a, b),
        (_, K::Paren(b)) => same(a, b),
        (K::Number(a), K::Number(b)) => a == b,
        (K::Str(a), K::Str(b)) | (K::Name(a), K::Name(b)) => a == b,
        (K::Bool(a), K::Bool(b)) => a == b,
        (K::It, K::It) => true,
        (K::List(a), K::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (K::Neg(a), K::Neg(b)) => same(a, b),
        (K::Binary(o, a, c), K::Binary(p, b, d)) => o == p && same(a, b) && same(c, d),
        (K::Field(a, f), K::Field(b, g)) => f.name == g.name && same(a, b),
        (K::Call(a, x), K::Call(b, y)) => same(a, b) && same_args(x, y),
        (K::Index(a, x), K::Index(b, y)) => {
            same(a, b)
                && x.len() == y.len()
                && x.iter().zip(y).all(|p| match p {
                    (Index::At(a), Index::At(b)) => same(a, b),
                    (Index::Range(a, c), Index::Range(b, d)) => same(a, b) && same(c, d),
                    (Index::All(_), Index::All(_)) => true,
                    _ => false,
                })
        }
        (K::Pipe(a, PipeStage::Layer(f)), K::Pipe(b, PipeStage::Layer(g))) => {
            same(a, b)
                && f.name.name == g.name.name
                && f.with.is_empty()
                && g.with.is_empty()
                && match (&f.args, &g.args) {
                    (None, None) => true,
                    (Some(x), Some(y)) => same_args(x, y),
                    _ => false,
                }
        }
        _ => false,
    }
}

fn same_args(a: &Args, b: &Args) -> bool {
    a.args.len() == b.args.len()
        && a.args.iter().zip(&b.args).all(|(x, y)| {
            x.name.as_ref().map(|n| &n.name) == y.name.as_ref().map(|n| &n.name) && same(&x.value, &y.value)
        })
}
