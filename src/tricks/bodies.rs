//! Looking into bodies of networks and blocks, and rewriting their layers.

use crate::model::{Model, walk};
use crate::syntax::ast::{Arg, Body, Else, Expr, ExprKind, If, LayerCall, PipeStage, Stmt, StmtKind};
use std::collections::BTreeSet;

/// A call of a layer, block, network or function in a body: its name, its arguments and how many of those by position
/// are its input (`batch_norm(x, 0.1)`: one; `batch_norm(0.1)` as a statement or after `|>`: none).
pub struct Site<'a> {
    /// The name.
    pub name: &'a mut String,
    /// What is in the parentheses.
    pub args: Vec<Arg>,
    /// Arguments that are the input.
    pub inputs: usize,
}

/// Visits all calls of a body, not those of the blocks it uses; what `f` leaves in a site is what the call becomes.
pub fn calls_mut(body: &mut Body, f: &mut dyn FnMut(&mut Site<'_>)) {
    body.stmts.iter_mut().for_each(|s| stmt(s, f));
}

fn stmt(s: &mut Stmt, f: &mut dyn FnMut(&mut Site<'_>)) {
    match &mut s.kind {
        StmtKind::Let(_, e) | StmtKind::Out(_, e) | StmtKind::Assign(e) => expr(e, f),
        StmtKind::Param { init, .. } => expr(init, f),
        StmtKind::Tap(_) => {}
        StmtKind::Residual(main, shortcut) => {
            calls_mut(main, f);
            if let Some(s) = shortcut {
                calls_mut(s, f);
            }
        }
        StmtKind::Repeat(_, b) => calls_mut(b, f),
        StmtKind::If(i) => branch(i, f),
        StmtKind::Layer(call) => layer(call, f),
    }
}

fn branch(i: &mut If, f: &mut dyn FnMut(&mut Site<'_>)) {
    calls_mut(&mut i.then, f);
    match &mut i.otherwise {
        Some(Else::Body(b)) => calls_mut(b, f),
        Some(Else::If(i)) => branch(i, f),
        None => {}
    }
}

fn layer(call: &mut LayerCall, f: &mut dyn FnMut(&mut Site<'_>)) {
    let written = call.args.take();
    let span = written.as_ref().map_or(call.name.span, |a| a.span);
    let args = written.map(|a| a.args).unwrap_or_default();
    let mut site = Site { name: &mut call.name.name, args, inputs: 0 };
    f(&mut site);
    let mut args = site.args;
    args.iter_mut().for_each(|a| expr(&mut a.value, f));
    if !args.is_empty() {
        call.args = Some(crate::syntax::ast::Args { args, span });
    }
}

fn expr(e: &mut Expr, f: &mut dyn FnMut(&mut Site<'_>)) {
    walk::expr_mut(e, &mut |e| match &mut e.kind {
        ExprKind::Pipe(left, stage) => {
            expr(left, f);
            match stage {
                PipeStage::Layer(call) => layer(call, f),
                PipeStage::Body(b) => calls_mut(b, f),
            }
            false
        }
        ExprKind::Call(callee, args) => {
            let ExprKind::Name(name) = &mut callee.kind else { return true };
            let mut site = Site { name, args: std::mem::take(&mut args.args), inputs: 1 };
            f(&mut site);
            args.args = site.args;
            true
        }
        _ => true,
    });
}

/// Names of a body's calls, each once.
pub fn callees(body: &Body) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    calls_mut(&mut body.clone(), &mut |site| {
        found.insert(site.name.clone());
    });
    found
}

/// Blocks that a body uses, those within blocks included.
pub fn blocks(model: &Model, body: &Body) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    let mut todo: Vec<String> = callees(body).into_iter().collect();
    while let Some(name) = todo.pop() {
        if let Some(b) = model.block(&name)
            && found.insert(name)
        {
            todo.extend(callees(&b.body));
        }
    }
    found
}

/// Names that can be read off an application of a network: its taps, those of its blocks, its named results.
pub fn taps(model: &Model, network: &str) -> Vec<String> {
    let Some(n) = model.network(network) else { return Vec::new() };
    let mut found = Vec::new();
    let used = blocks(model, &n.body);
    let bodies = used.iter().filter_map(|b| model.block(b)).map(|b| &b.body);
    for b in std::iter::once(&n.body).chain(bodies) {
        named(b, &mut found);
    }
    found
}

fn named(body: &Body, found: &mut Vec<String>) {
    for s in &body.stmts {
        match &s.kind {
            StmtKind::Tap(n) | StmtKind::Out(n, _) => found.push(n.name.clone()),
            StmtKind::Residual(main, shortcut) => {
                named(main, found);
                if let Some(s) = shortcut {
                    named(s, found);
                }
            }
            StmtKind::Repeat(_, b) => named(b, found),
            StmtKind::If(i) => {
                named(&i.then, found);
                let mut rest = &i.otherwise;
                while let Some(other) = rest {
                    rest = match other {
                        Else::Body(b) => {
                            named(b, found);
                            break;
                        }
                        Else::If(i) => {
                            named(&i.then, found);
                            &i.otherwise
                        }
                    };
                }
            }
            StmtKind::Let(..) | StmtKind::Param { .. } | StmtKind::Assign(_) | StmtKind::Layer(_) => {}
        }
    }
}
