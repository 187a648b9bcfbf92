//! Warnings that know the field: what compiles but is known not to work.

use super::work::{Work, updates};
use crate::diag::{Diagnostic, Diagnostics};
use crate::layers::Value;
use crate::model::walk;
use crate::source::Span;
use crate::syntax::ast::{
    Body, Else, Expr, ExprKind, If, LayerCall, PipeStage, PlayerLineKind, ResultType, StmtKind, TrainStmtKind,
};
use std::collections::BTreeSet;

/// Losses of the prelude whose scores are logits or unbounded.
const UNBOUNDED: [&str; 6] =
    ["minimax", "non_saturating", "hinge", "wasserstein", "relativistic", "relativistic_average"];

/// All warnings of an expanded `train`.
pub fn check(work: &Work<'_>, span: Span) -> Diagnostics {
    let mut out = Diagnostics::default();
    sigmoids(work, &mut out);
    penalised(work, &mut out);
    smoothed_fakes(work, &mut out);
    unreached(work, span, &mut out);
    out
}

fn sigmoids(work: &Work<'_>, out: &mut Diagnostics) {
    let mut judges: Vec<(String, Span, String)> = Vec::new();
    for l in &work.losses {
        if l.prelude && UNBOUNDED.contains(&l.def.name.name.as_str()) {
            judges.push((l.judge.clone(), l.span, format!("`{}` takes scores without bounds", l.name.name)));
        }
    }
    let mut visit = |e: &Expr| {
        if let ExprKind::Call(f, args) = &e.kind
            && matches!(&f.kind, ExprKind::Name(n) if n == "bce")
            && let Some(a) = args.args.first().and_then(|a| work.application(&a.value))
        {
            judges.push((a.network, e.span, "`bce` takes a logit and applies the sigmoid itself".to_string()));
        }
        true
    };
    for p in work.players() {
        for l in &p.lines {
            if let PlayerLineKind::Let(_, e) | PlayerLineKind::Minimize(e, _) = &l.kind {
                walk::expr(e, &mut visit);
            }
        }
    }
    let mut seen = BTreeSet::new();
    for (judge, span, text) in judges {
        let Some(network) = work.model.network(&judge).filter(|_| seen.insert(judge.clone())) else { continue };
        if !matches!(network.result, ResultType::Single(_)) {
            continue;
        }
        if let Some(at) = last_layer(work, &network.body).filter(|l| l.name.name == "sigmoid") {
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

/// The last layer that a body applies, through blocks.
fn last_layer<'a>(work: &'a Work<'_>, body: &'a Body) -> Option<&'a LayerCall> {
    match &body.stmts.last()?.kind {
        StmtKind::Layer(call) => match work.model.block(&call.name.name) {
            Some(block) => last_layer(work, &block.body),
            None => Some(call),
        },
        StmtKind::Assign(Expr { kind: ExprKind::Pipe(_, PipeStage::Layer(call)), .. }) => Some(call),
        _ => None,
    }
}

fn penalised(work: &Work<'_>, out: &mut Diagnostics) {
    let mut found: Vec<(String, Span)> = Vec::new();
    for p in work.players() {
        for l in &p.lines {
            let (PlayerLineKind::Let(_, e) | PlayerLineKind::Minimize(e, _)) = &l.kind else { continue };
            walk::expr(e, &mut |e| {
                if let ExprKind::Call(f, args) = &e.kind
                    && matches!(&f.kind, ExprKind::Name(n) if n == "grad")
                    && let Some(y) = args.args.first()
                {
                    found.extend(work.reach(&y.value).into_iter().map(|n| (n, e.span)));
                }
                true
            });
        }
    }
    let mut seen = BTreeSet::new();
    for (name, span) in found {
        let Some(network) = work.model.network(&name).filter(|_| seen.insert(name.clone())) else { continue };
        let mut layers = Vec::new();
        collect(work, &network.body, &mut BTreeSet::new(), &mut layers);
        if let Some(at) = layers.iter().find(|l| l.name.name == "batch_norm") {
            out.push(
                Diagnostic::warning("W0403", format!("`{name}` has a batch norm and a penalty on its gradient"))
                    .at(at.name.span, "mixes the samples of a batch")
                    .label(span, "this takes one gradient a sample")
                    .note("with batch norm the score of a sample depends on the others, so the penalty is not that of the paper (Gulrajani et al. 2017, section 4)")
                    .help("use layer_norm or instance_norm, or none"),
            );
        }
    }
}

/// All layers of a body, those of its blocks included.
fn collect<'a>(work: &'a Work<'_>, body: &'a Body, open: &mut BTreeSet<String>, out: &mut Vec<&'a LayerCall>) {
    for s in &body.stmts {
        match &s.kind {
            StmtKind::Layer(call) => match work.model.block(&call.name.name) {
                Some(block) => {
                    if open.insert(call.name.name.clone()) {
                        collect(work, &block.body, open, out);
                    }
                }
                None => out.push(call),
            },
            StmtKind::Residual(main, shortcut) => {
                collect(work, main, open, out);
                if let Some(s) = shortcut {
                    collect(work, s, open, out);
                }
            }
            StmtKind::Repeat(_, b) => collect(work, b, open, out),
            StmtKind::If(i) => collect_if(work, i, open, out),
            StmtKind::Let(_, e) | StmtKind::Out(_, e) | StmtKind::Assign(e) => collect_expr(work, e, open, out),
            StmtKind::Param { .. } | StmtKind::Tap(_) => {}
        }
    }
}

fn collect_if<'a>(work: &'a Work<'_>, i: &'a If, open: &mut BTreeSet<String>, out: &mut Vec<&'a LayerCall>) {
    collect(work, &i.then, open, out);
    match &i.otherwise {
        Some(Else::Body(b)) => collect(work, b, open, out),
        Some(Else::If(i)) => collect_if(work, i, open, out),
        None => {}
    }
}

/// Layers at the end of pipes; what stands inside arguments is left aside.
fn collect_expr<'a>(work: &'a Work<'_>, e: &'a Expr, open: &mut BTreeSet<String>, out: &mut Vec<&'a LayerCall>) {
    if let ExprKind::Pipe(left, stage) = &e.kind {
        collect_expr(work, left, open, out);
        match stage {
            PipeStage::Layer(call) => match work.model.block(&call.name.name) {
                Some(block) => {
                    if open.insert(call.name.name.clone()) {
                        collect(work, &block.body, open, out);
                    }
                }
                None => out.push(call),
            },
            PipeStage::Body(b) => collect(work, b, open, out),
        }
    }
}

fn smoothed_fakes(work: &Work<'_>, out: &mut Diagnostics) {
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

/// Networks that a player updates although its objective does not reach them, and networks that nothing uses.
fn unreached(work: &Work<'_>, span: Span, out: &mut Diagnostics) {
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut updated: BTreeSet<&str> = BTreeSet::new();
    for p in work.players() {
        let mut own: BTreeSet<String> = BTreeSet::new();
        for l in &p.lines {
            if let PlayerLineKind::Let(_, e) | PlayerLineKind::Minimize(e, _) = &l.kind {
                own.extend(work.reach(e));
            }
        }
        for n in updates(p) {
            updated.insert(n);
            if !own.contains(n) && work.model.network(n).is_some() {
                let at = p.updates.iter().find(|u| u.name == n).map_or(p.name.span, |u| u.span);
                out.push(
                    Diagnostic::warning("W0401", format!("no objective of player `{}` reaches `{n}`", p.name.name))
                        .at(at, "its parameters will not move")
                        .help("apply the network in what the player minimises, or leave it out"),
                );
            }
        }
        reached.extend(own);
    }
    let mut shown: BTreeSet<String> = BTreeSet::new();
    for s in &work.stmts {
        if let TrainStmtKind::Every(_, actions) = &s.kind {
            for a in actions {
                walk::action_mut(&mut a.clone(), &mut |e| {
                    shown.extend(work.reach(e));
                    false
                });
            }
        }
    }
    for n in shown {
        if !reached.contains(&n) && !updated.contains(n.as_str()) && !trained_elsewhere(work, &n) {
            out.push(
                Diagnostic::warning("W0401", format!("`{n}` is shown or measured, but no player trains it"))
                    .at(span, format!("no objective here reaches `{n}`"))
                    .help(format!("add a player that updates `{n}`")),
            );
        }
    }
}

fn trained_elsewhere(work: &Work<'_>, network: &str) -> bool {
    fn any(stmts: &[crate::syntax::ast::TrainStmt], network: &str) -> bool {
        stmts.iter().any(|s| match &s.kind {
            TrainStmtKind::Player(p) => updates(p).contains(&network),
            TrainStmtKind::If(_, inner) => any(inner, network),
            _ => false,
        })
    }
    work.model.trains.iter().any(|t| any(&t.stmts, network))
}
