//! `ema(G, decay: 0.999)`: actions show and measure an average of G's parameters over the run, kept beside the trained
//! ones (Yazıcı et al. 2019). Applications of G in actions become `ema(G, decay: …)(…)`; train-level `let`s that
//! actions read are doubled, since players read them too.

use super::make;
use super::work::{TrickUse, Work};
use crate::diag::Diagnostic;
use crate::model::walk;
use crate::syntax::ast::{Action, Args, Expr, ExprKind, TrainStmt, TrainStmtKind};
use std::collections::{BTreeMap, BTreeSet};

/// Rewrites the actions.
pub fn apply(work: &mut Work<'_>, t: &TrickUse) -> Result<(), Diagnostic> {
    let Some(ExprKind::Name(net)) = t.args.get("net").map(|e| &e.kind) else {
        return Err(Diagnostic::error("E0441", "trick `ema` takes the name of a network").at(t.span, "not here"));
    };
    let net = net.clone();
    work.claim(format!("the average of `{net}`"), t)?;
    let mut args = Args { args: Vec::new(), span: t.span };
    args.args.push(crate::syntax::ast::Arg { name: None, value: make::name(&net, t.span) });
    args.args.push(make::named("decay", t.arg_or("decay", 0.999)));
    if let Some(start) = t.args.get("start") {
        args.args.push(make::named("start", start.clone()));
    }
    let averaged = Expr { kind: ExprKind::Call(Box::new(make::name("ema", t.span)), args), span: t.span };

    // Train-level lets that apply G, themselves or through others, and that actions read.
    let mut tainted: Vec<usize> = Vec::new();
    let mut names: BTreeSet<String> = BTreeSet::new();
    for (i, s) in work.stmts.iter().enumerate() {
        if let TrainStmtKind::Let(all, e) = &s.kind
            && (applies(e, &net) || walk::names(e).iter().any(|n| names.contains(n)))
        {
            names.extend(all.iter().map(|n| n.name.clone()));
            tainted.push(i);
        }
    }
    let mut read: BTreeSet<String> = BTreeSet::new();
    for s in &mut work.stmts {
        if let TrainStmtKind::Every(_, actions) = &mut s.kind {
            for a in actions {
                walk::action_mut(a, &mut |e| {
                    if let ExprKind::Name(n) = &e.kind {
                        read.insert(n.clone());
                    }
                    true
                });
            }
        }
    }
    for &i in tainted.iter().rev() {
        if let TrainStmtKind::Let(all, e) = &work.stmts[i].kind
            && all.iter().any(|n| read.contains(&n.name))
        {
            read.extend(walk::names(e));
        }
    }
    let mut renamed: BTreeMap<String, Expr> = BTreeMap::new();
    let mut doubles: Vec<(usize, TrainStmt)> = Vec::new();
    for i in tainted {
        let TrainStmtKind::Let(all, e) = work.stmts[i].kind.clone() else { continue };
        if !all.iter().any(|n| read.contains(&n.name)) {
            continue;
        }
        let mut e = e;
        average(&mut e, &net, &averaged);
        walk::substitute(&mut e, &renamed);
        let mut doubled = Vec::new();
        for n in &all {
            let fresh = work.fresh(&format!("{}_ema", n.name));
            renamed.insert(n.name.clone(), make::name(&fresh, n.span));
            doubled.push(make::ident(&fresh, n.span));
        }
        let stmt = TrainStmt { doc: None, kind: TrainStmtKind::Let(doubled, e), span: work.stmts[i].span };
        doubles.push((i, stmt));
    }
    for s in &mut work.stmts {
        if let TrainStmtKind::Every(_, actions) = &mut s.kind {
            actions.iter_mut().for_each(|a| rewrite(a, &net, &averaged, &renamed));
        }
    }
    for (i, s) in doubles.into_iter().rev() {
        work.stmts.insert(i + 1, s);
    }
    Ok(())
}

fn rewrite(a: &mut Action, net: &str, averaged: &Expr, renamed: &BTreeMap<String, Expr>) {
    walk::action_mut(a, &mut |e| {
        average(e, net, averaged);
        walk::substitute(e, renamed);
        false
    });
}

fn applies(e: &Expr, net: &str) -> bool {
    let mut found = false;
    walk::expr(e, &mut |e| {
        if let ExprKind::Call(f, _) = &e.kind {
            found |= matches!(&f.kind, ExprKind::Name(n) if n == net);
        }
        true
    });
    found
}

/// `G(…)` becomes `ema(G)(…)`; other uses of the name (such as `past(G)`) stay.
fn average(e: &mut Expr, net: &str, averaged: &Expr) {
    walk::expr_mut(e, &mut |e| {
        if let ExprKind::Call(f, _) = &mut e.kind
            && matches!(&f.kind, ExprKind::Name(n) if n == net)
        {
            **f = averaged.clone();
        }
        true
    });
}
