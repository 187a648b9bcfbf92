//! `pack(m)`: the judge sees m samples together, all real or all made, so that it notices when they resemble each other
//! (Lin et al. 2018, PacGAN). Its inputs become `[m * C, …]`; what it is applied to is drawn m times.

use super::copies::{Copies, reads_rows};
use super::make;
use super::work::{TrickUse, Work, in_order};
use crate::diag::Diagnostic;
use crate::layers::Value;
use crate::model::walk;
use crate::syntax::ast::{
    ActionKind, Args, BinOp, Expr, ExprKind, Network, PlayerLineKind, TrainStmtKind, TypeExpr,
};
use std::collections::BTreeSet;

/// Widens the judge and all that it is applied to.
pub fn apply(work: &mut Work<'_>, t: &TrickUse) -> Result<(), Diagnostic> {
    let Some(given) = t.args.get("m").cloned() else { return Ok(()) };
    let m = match work.consts.eval(&given)? {
        Value::Number(x) if x.fract() == 0.0 && (1.0..=64.0).contains(&x) => x as usize,
        _ => {
            return Err(Diagnostic::error("E0441", "`m` is a number of samples: a whole number from 1 to 64")
                .at(given.span, "not one"));
        }
    };
    let losses = work.covered_or_refuse(t)?;
    let judges: BTreeSet<String> = losses.iter().map(|&i| work.losses[i].judge.clone()).collect();
    for judge in judges {
        work.claim(format!("how many samples `{judge}` sees together"), t)?;
        let Some(network) = work.model.network(&judge).map(|n| n.item.clone()) else { continue };
        if let Some(label) = network.inputs.iter().find(|i| matches!(i.ty, TypeExpr::Class(..))) {
            return Err(Diagnostic::error("E0441", format!("`{judge}` judges a sample with its label"))
                .at(label.name.span, "one label, but m samples with labels of their own")
                .label(t.span, "this trick puts m samples together")
                .help("feed the label as numbers of the sample, for example planes of `one_hot(y)`, or leave the trick out"));
        }
        if m == 1 {
            continue;
        }
        widen(work, t, &network, &given, m)?;
        everywhere(work, t, &network, m)?;
    }
    Ok(())
}

/// The judge's declaration with m times the channels.
fn widen(work: &mut Work<'_>, t: &TrickUse, network: &Network, given: &Expr, m: usize) -> Result<(), Diagnostic> {
    let mut wide = network.clone();
    for input in &mut wide.inputs {
        let (dims, span) = match &input.ty {
            TypeExpr::Shape(dims, span) => (dims.clone(), *span),
            TypeExpr::Named(n) => match work.consts.get(&n.name) {
                Some(Value::List(items)) => {
                    let number = |v: &Value| if let Value::Number(x) = v { *x } else { 1.0 };
                    (items.iter().map(|v| make::number(number(v), n.span)).collect(), n.span)
                }
                _ => continue,
            },
            TypeExpr::Class(..) => continue,
        };
        let mut dims = dims;
        let Some(first) = dims.first_mut() else {
            return Err(Diagnostic::error("E0441", format!("`{}` judges single numbers []", network.name.name))
                .at(input.name.span, "no axis along which samples could be put")
                .label(t.span, "this trick puts m samples together")
                .help("declare it [1] and reshape what it is applied to"));
        };
        *first = match (&first.kind, &given.kind) {
            (ExprKind::Number(n), ExprKind::Number(_)) => {
                make::number(crate::model::consts::number(n).unwrap_or(1.0) * m as f64, first.span)
            }
            _ => make::binary(BinOp::Mul, given.clone(), first.clone()),
        };
        walk::restore_parens(first);
        input.ty = TypeExpr::Shape(dims, span);
    }
    work.edits.network(wide, "pack", &format!("{m}"), t)
}

/// All applications of the judge in the train.
fn everywhere(work: &mut Work<'_>, t: &TrickUse, network: &Network, m: usize) -> Result<(), Diagnostic> {
    let mut stmts = work.stmts.clone();
    let mut losses = work.losses.clone();
    let mut copies = Copies::new(work, true);
    for s in &mut stmts {
        match &mut s.kind {
            TrainStmtKind::Let(_, e) => packed(&mut copies, t, network, m, e)?,
            TrainStmtKind::Player(p) => {
                copies.enter(&p.lines);
                for l in &mut p.lines {
                    if let PlayerLineKind::Let(_, e) | PlayerLineKind::Minimize(e, _) = &mut l.kind {
                        packed(&mut copies, t, network, m, e)?;
                    }
                }
                p.lines = copies.leave(std::mem::take(&mut p.lines));
            }
            TrainStmtKind::Every(_, actions) => {
                for a in actions {
                    match &mut a.kind {
                        ActionKind::Evaluate(_, e) => packed(&mut copies, t, network, m, e)?,
                        ActionKind::Call(_, Some(args)) => {
                            for a in &mut args.args {
                                packed(&mut copies, t, network, m, &mut a.value)?;
                            }
                        }
                        ActionKind::Call(_, None) => {}
                    }
                }
            }
            TrainStmtKind::Draw { .. }
            | TrainStmtKind::Loss(..)
            | TrainStmtKind::Trick(..)
            | TrainStmtKind::Expect(..)
            | TrainStmtKind::If(..)
            | TrainStmtKind::Setting(..)
            | TrainStmtKind::Epochs(..) => {}
        }
    }
    for l in &mut losses {
        for scores in [&mut l.discriminator, &mut l.generator] {
            packed(&mut copies, t, network, m, &mut scores.real)?;
            packed(&mut copies, t, network, m, &mut scores.fake)?;
        }
    }
    copies.work.stmts = stmts;
    copies.work.losses = losses;
    copies.finish();
    Ok(())
}

/// `D(x)` becomes `D(concat(x, x_2, …))` in an expression.
fn packed(
    copies: &mut Copies<'_, '_>,
    t: &TrickUse,
    network: &Network,
    m: usize,
    e: &mut Expr,
) -> Result<(), Diagnostic> {
    let judge = &network.name.name;
    let mut failed = None;
    walk::expr_mut(e, &mut |e| {
        let span = e.span;
        let ExprKind::Call(callee, args) = &mut e.kind else { return failed.is_none() };
        if matches!(&callee.kind, ExprKind::Name(n) if n == "grad")
            && args.args.iter().flat_map(|a| walk::names(&a.value)).any(|n| n == *judge)
        {
            failed = Some(
                Diagnostic::error("E0441", format!("a player takes a gradient of `{judge}` by one sample"))
                    .at(span, "with several samples together this would be another gradient")
                    .label(t.span, format!("with this, `{judge}` sees several samples together"))
                    .help("use the trick `gradient_penalty`, `r1` or `r2`, which know of it"),
            );
        }
        let is_judge = copies.work.model.network_of(callee).is_some_and(|n| n.name.name == *judge);
        if failed.is_some() || !is_judge {
            return failed.is_none();
        }
        let Some(own) = in_order(network, args) else { return false };
        if own.iter().any(|a| reads_rows(copies.work, a)) {
            failed = Some(
                Diagnostic::error("E0441", format!("`{judge}` is applied to rows of a data set"))
                    .at(span, "rows come one by one")
                    .label(t.span, format!("with this, `{judge}` sees several samples together"))
                    .help("measure it on draws, or without this trick"),
            );
            return false;
        }
        let wide = own.into_iter().map(|a| {
            let more: Vec<Expr> = (2..=m).map(|k| copies.copy(&a, k).unwrap_or_else(|| a.clone())).collect();
            let all = std::iter::once(a).chain(more).collect();
            crate::syntax::ast::Arg { name: None, value: make::call("concat", all, span) }
        });
        *args = Args { args: wide.collect(), span: args.span };
        false
    });
    failed.map_or(Ok(()), Err)
}
