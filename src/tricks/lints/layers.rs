//! Layers with settings that look like slips.

use super::super::work::Work;
use super::{argument, layers_of, lines};
use crate::diag::{Diagnostic, Diagnostics};
use crate::layers::{Class, Value, table};
use crate::source::Span;
use crate::syntax::ast::{Expr, LayerCall, PlayerLineKind, Setting, TrainStmtKind};
use std::collections::BTreeSet;

/// An eps at least this large changes what a norm does.
const LARGE_EPS: f64 = 0.05;

/// Networks that the players apply, by name.
fn applied(work: &Work<'_>) -> BTreeSet<String> {
    work.players().flat_map(|p| lines(p).flat_map(|e| work.reach(e)).collect::<Vec<_>>()).collect()
}

/// Norms whose `eps` or `momentum` are those of something else.
pub fn norms(work: &Work<'_>, out: &mut Diagnostics) {
    for name in applied(work) {
        for call in layers_of(work, &name) {
            if table::lookup(Class::Layer, &call.name.name).is_none_or(|s| s.param("eps").is_none()) {
                continue;
            }
            let number = |arg: &str| {
                let e = argument(call, arg)?;
                match work.consts.eval(e) {
                    Ok(Value::Number(v)) => Some((v, e.span)),
                    _ => None,
                }
            };
            let layer = &call.name.name;
            if let Some((v, span)) = number("eps").filter(|e| e.0 >= LARGE_EPS) {
                let has_momentum = table::lookup_call(layer).is_some_and(|s| s.param("momentum").is_some());
                let help = if has_momentum {
                    "write `momentum:` if that is meant, or leave it out"
                } else {
                    "leave it out"
                };
                out.push(
                    Diagnostic::warning("W0406", format!("`{layer}` with eps {v} hardly normalises"))
                        .at(span, "added to the variance; usual are 1e-5 and less")
                        .note("0.8 as eps, meant as momentum, is copied from one implementation to the next")
                        .help(help),
                );
            }
            if let Some((v, span)) = number("momentum").filter(|m| m.0 > 0.5) {
                out.push(
                    Diagnostic::warning(
                        "W0406",
                        format!("`{layer}` with momentum {v} keeps little but the last batch"),
                    )
                    .at(span, "the weight of the new batch in the moving statistics")
                    .note("some systems give the weight of the old value instead: their 0.9 is 0.1 here")
                    .help(format!("write `momentum: {}` if that is meant", ((1.0 - v) * 1e6).round() / 1e6)),
                );
            }
        }
    }
}

/// Layers that compare the samples of a batch, in batches of one.
pub fn batch_of_one(work: &Work<'_>, out: &mut Diagnostics) {
    let one = |e: &Expr| matches!(work.consts.eval(e), Ok(Value::Number(1.0)));
    let mut places: Vec<(Span, BTreeSet<String>)> = Vec::new();
    for s in &work.stmts {
        if let TrainStmtKind::Setting(Setting::Batch, e) = &s.kind
            && one(e)
        {
            places.push((s.span, applied(work)));
        }
    }
    for p in work.players() {
        for l in &p.lines {
            if let PlayerLineKind::Batch(e) = &l.kind
                && one(e)
            {
                places.push((l.span, lines(p).flat_map(|e| work.reach(e)).collect()));
            }
        }
    }
    let crosses = |c: &&LayerCall| table::lookup_call(&c.name.name).is_some_and(|s| s.batch && s.name != "mean");
    let mut seen = BTreeSet::new();
    for (span, networks) in places {
        for name in networks {
            let Some(call) = layers_of(work, &name).into_iter().find(crosses).filter(|_| seen.insert(name.clone()))
            else {
                continue;
            };
            let layer = &call.name.name;
            out.push(
                Diagnostic::warning(
                    "W0409",
                    format!("`{layer}` of `{name}` compares samples, and a batch has one"),
                )
                .at(call.name.span, "sees no other sample")
                .label(span, "one sample a batch")
                .help("raise `batch`, or use `instance_norm` instead of a batch norm"),
            );
        }
    }
}
