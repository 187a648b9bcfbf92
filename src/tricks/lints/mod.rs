//! Warnings that know the field: what compiles but is known not to work.
//!
//! Most come from mistakes that published implementations share. Whether one is meant is seen from the spec alone; what
//! needs shapes or the ranges of data is in [`crate::build`].

mod ahead;
mod layers;
mod penalty;
mod reach;
mod scores;

use super::work::Work;
use crate::diag::Diagnostics;
use crate::layers::{Value, table};
use crate::source::Span;
use crate::syntax::ast::{Body, Else, Expr, ExprKind, If, LayerCall, PipeStage, Player, PlayerLineKind, StmtKind};
use std::collections::BTreeSet;

/// All warnings of an expanded `train`.
pub fn check(work: &Work<'_>, span: Span) -> Diagnostics {
    let mut out = Diagnostics::default();
    scores::sigmoids(work, &mut out);
    penalty::batch_norms(work, &mut out);
    penalty::per_element(work, &mut out);
    penalty::part_of_axes(work, &mut out);
    penalty::unbounded(work, &mut out);
    ahead::noise(work, &mut out);
    scores::smoothed_fakes(work, &mut out);
    scores::low_real_targets(work, &mut out);
    scores::paired_features(work, &mut out);
    layers::norms(work, &mut out);
    layers::batch_of_one(work, &mut out);
    reach::unreached(work, span, &mut out);
    out
}

/// What a player's lets and objectives say.
fn lines(p: &Player) -> impl Iterator<Item = &Expr> {
    p.lines.iter().filter_map(|l| match &l.kind {
        PlayerLineKind::Let(_, e) | PlayerLineKind::Minimize(e, _) => Some(e),
        PlayerLineKind::Using(_) | PlayerLineKind::Repeat(_) | PlayerLineKind::Batch(_) => None,
    })
}

/// The right side of a `let` of one name that a player sees.
fn definition<'a>(work: &'a Work<'_>, p: &'a Player, name: &str) -> Option<&'a Expr> {
    let own = p.lines.iter().find_map(|l| match &l.kind {
        PlayerLineKind::Let(names, e) if names.len() == 1 && names[0].name == name => Some(e),
        _ => None,
    });
    own.or_else(|| work.definition(name))
}

/// The word that a call or a bare name begins with, and its arguments.
fn called(e: &Expr) -> Option<(&str, &[crate::syntax::ast::Arg])> {
    match &e.kind {
        ExprKind::Call(f, args) => match &f.kind {
            ExprKind::Name(n) => Some((n, &args.args)),
            _ => None,
        },
        _ => None,
    }
}

/// An argument of a layer by its name in the table, wherever it stands.
fn argument<'a>(call: &'a LayerCall, name: &str) -> Option<&'a Expr> {
    let sig = table::lookup_call(&call.name.name)?;
    let args = &call.args.as_ref()?.args;
    let named = args.iter().find(|a| a.name.as_ref().is_some_and(|n| n.name == name));
    let place = sig.params.iter().position(|p| p.name == name);
    let by_place = || args.get(place?).filter(|a| a.name.is_none());
    named.or_else(by_place).map(|a| &a.value)
}

/// All layers of the networks of this name.
fn layers_of<'a>(work: &'a Work<'_>, network: &str) -> Vec<&'a LayerCall> {
    let mut layers = Vec::new();
    if let Some(n) = work.model.network(network) {
        collect(work, &n.body, &mut BTreeSet::new(), &mut layers);
    }
    layers
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
    // A branch that is not taken makes no mistakes.
    let holds = match work.consts.eval(&i.cond) {
        Ok(Value::Bool(b)) => Some(b),
        _ => None,
    };
    if holds != Some(false) {
        collect(work, &i.then, open, out);
    }
    match &i.otherwise {
        _ if holds == Some(true) => {}
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
