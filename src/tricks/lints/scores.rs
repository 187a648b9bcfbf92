//! Scores of judges and what losses make of them.

use super::super::work::{Work, updates};
use super::{called, definition, lines};
use crate::diag::{Diagnostic, Diagnostics};
use crate::layers::Value;
use crate::model::walk;
use crate::source::Span;
use crate::syntax::ast::{BinOp, Expr, ExprKind, Player, ResultType, Role, TrainStmtKind};
use std::collections::BTreeSet;

/// Losses of the prelude whose scores are logits or unbounded.
const UNBOUNDED: [&str; 6] =
    ["minimax", "non_saturating", "hinge", "wasserstein", "relativistic", "relativistic_average"];

/// Sigmoids at the end of a judge whose scores are used as they are.
pub fn sigmoids(work: &Work<'_>, out: &mut Diagnostics) {
    let mut judges: Vec<(String, Span, String)> = Vec::new();
    for l in &work.losses {
        if l.prelude && UNBOUNDED.contains(&l.def.name.name.as_str()) {
            judges.push((l.judge.clone(), l.span, format!("`{}` takes scores without bounds", l.name.name)));
        }
    }
    let mut visit = |e: &Expr| {
        let Some((f, [first, ..])) = called(e) else { return true };
        let text = match f {
            "bce" => "`bce` takes a logit and applies the sigmoid itself",
            "softplus" => "this takes a logit",
            "relu" => "hinge losses take scores without bounds",
            "mean" => "this takes scores without bounds",
            _ => return true,
        };
        // `bce` is for logits whoever gives them; the other functions also have other uses.
        let judge = |n: &str| work.model.network(n).is_some_and(|n| n.role == Role::Discriminator);
        if let Some(a) = work.application(bare(&first.value)).filter(|a| f == "bce" || judge(&a.network)) {
            judges.push((a.network, e.span, text.to_string()));
        }
        true
    };
    for p in work.players() {
        lines(p).for_each(|e| walk::expr(e, &mut visit));
    }
    let mut seen = BTreeSet::new();
    for (judge, span, text) in judges {
        let Some(network) = work.model.network(&judge).filter(|_| seen.insert(judge.clone())) else { continue };
        if !matches!(network.result, ResultType::Single(_)) {
            continue;
        }
        if let Some(at) = work.model.last_layer(&network.body).filter(|l| l.name.name == "sigmoid") {
            out.push(
                Diagnostic::warning(
                    "W0402",
                    format!("`{judge}` ends in a sigmoid, but its scores are used as logits"),
                )
                .at(at.name.span, "this squashes the scores a first time")
                .label(span, text)
                .help("leave the `sigmoid` out"),
            );
        }
    }
}

/// A score without its sign and margin: `D(x)` of `1 - D(x)`.
fn bare(e: &Expr) -> &Expr {
    match &e.kind {
        ExprKind::Paren(inner) | ExprKind::Neg(inner) => bare(inner),
        ExprKind::Binary(BinOp::Add | BinOp::Sub, one, x) if matches!(&one.kind, ExprKind::Number(_)) => bare(x),
        _ => e,
    }
}

/// Smoothed targets of fakes.
pub fn smoothed_fakes(work: &Work<'_>, out: &mut Diagnostics) {
    for l in &work.losses {
        let Some(given) = l.options.get("fake_label") else { continue };
        if l.def.name.name == "least_squares" || matches!(work.consts.eval(given), Ok(Value::Number(0.0))) {
            continue;
        }
        out.push(
            Diagnostic::warning("W0404", "the target of fake samples is smoothed")
                .at(given.span, "should stay 0")
                .note("a judge with such targets prefers regions where fakes already are (Salimans et al. 2016, section 3.4)")
                .help("smooth the reals only: `trick one_sided_label_smoothing(real: 0.9)`"),
        );
    }
}

/// Targets of reals that are nearer to those of fakes: an amount of smoothing given for the target itself.
pub fn low_real_targets(work: &Work<'_>, out: &mut Diagnostics) {
    let logits = ["minimax", "non_saturating", "relativistic_average"];
    for l in work.losses.iter().filter(|l| l.prelude && logits.contains(&l.def.name.name.as_str())) {
        let Some(given) = l.options.get("real_label") else { continue };
        let Ok(Value::Number(v)) = work.consts.eval(given) else { continue };
        if v < 0.5 {
            out.push(
                Diagnostic::warning("W0412", format!("the target of real samples is {v}"))
                    .at(given.span, "asks the judge to call reals fake")
                    .note(
                        "some systems take the amount of smoothing here; in this language it is the target itself",
                    )
                    .help(format!("write `real_label: {}` if the targets are to be smoothed by {v}", 1.0 - v)),
            );
        }
    }
}

/// Feature matching that compares samples that have nothing to do with each other, instead of means.
pub fn paired_features(work: &Work<'_>, out: &mut Diagnostics) {
    for p in work.players() {
        let mut found: Vec<(Expr, Expr, Span)> = Vec::new();
        for e in lines(p) {
            walk::expr(e, &mut |e| {
                match &e.kind {
                    ExprKind::Binary(BinOp::Pow, base, _) => {
                        let mut base = base;
                        while let ExprKind::Paren(inner) = &base.kind {
                            base = inner;
                        }
                        if let ExprKind::Binary(BinOp::Sub, a, b) = &base.kind {
                            found.push(((**a).clone(), (**b).clone(), e.span));
                        }
                    }
                    _ => {
                        if let Some(("mse" | "l1" | "huber", [a, b, ..])) = called(e) {
                            found.push((a.value.clone(), b.value.clone(), e.span));
                        }
                    }
                }
                true
            });
        }
        for (a, b, span) in found {
            let (Some(x), Some(y)) = (features(work, p, &a), features(work, p, &b)) else { continue };
            let judge = work.model.network(&x.0).is_some_and(|n| n.role == Role::Discriminator);
            if x.0 != y.0 || !judge || updates(p).contains(&x.0.as_str()) {
                continue;
            }
            if draws(work, p, &x.1).is_disjoint(&draws(work, p, &y.1)) {
                out.push(
                    Diagnostic::warning(
                        "W0408",
                        "features of samples that do not belong together are compared one by one",
                    )
                    .at(span, "the n-th real and the n-th fake sample have nothing to do with each other")
                    .note("feature matching compares means over the batch (Salimans et al. 2016, section 3.1)")
                    .help(format!("write `mean((batch_mean({0}(real).t) - batch_mean({0}(fake).t)) ^ 2)`", x.0)),
                );
            }
        }
    }
}

/// An output or tap of an application: the network, and its arguments.
fn features(work: &Work<'_>, p: &Player, e: &Expr) -> Option<(String, Vec<Expr>)> {
    match &e.kind {
        ExprKind::Paren(inner) => features(work, p, inner),
        ExprKind::Call(f, args) if matches!(&f.kind, ExprKind::Name(n) if n == "stop") => {
            features(work, p, &args.args.first()?.value)
        }
        ExprKind::Name(n) => features(work, p, definition(work, p, n)?),
        ExprKind::Field(base, _) => {
            let base = match &base.kind {
                ExprKind::Name(n) => definition(work, p, n)?,
                _ => base,
            };
            let a = work.application(base)?;
            Some((a.network, a.args))
        }
        _ => None,
    }
}

/// Draws that expressions depend on.
fn draws(work: &Work<'_>, p: &Player, all: &[Expr]) -> BTreeSet<String> {
    let (mut found, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let mut todo: Vec<String> = all.iter().flat_map(walk::names).collect();
    let is_draw = |n: &str| {
        work.stmts.iter().any(|s| match &s.kind {
            // Fields of one line belong to the same rows.
            TrainStmtKind::Draw { names, .. } => names.iter().any(|d| d.0.name == n),
            _ => false,
        })
    };
    while let Some(n) = todo.pop() {
        if !seen.insert(n.clone()) {
            continue;
        }
        if is_draw(&n) {
            let line = work.stmts.iter().position(
                |s| matches!(&s.kind, TrainStmtKind::Draw { names, .. } if names.iter().any(|d| d.0.name == n)),
            );
            found.insert(format!("{line:?}"));
        } else if let Some(e) = definition(work, p, &n) {
            todo.extend(walk::names(e));
        }
    }
    found
}
