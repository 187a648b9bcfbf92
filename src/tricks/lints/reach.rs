//! Networks that no objective reaches.

use super::super::work::{Work, updates};
use crate::diag::{Diagnostic, Diagnostics};
use crate::model::walk;
use crate::source::Span;
use crate::syntax::ast::{PlayerLineKind, TrainStmtKind};
use std::collections::BTreeSet;

/// Networks that a player updates although its objective does not reach them, and networks that nothing uses.
pub fn unreached(work: &Work<'_>, span: Span, out: &mut Diagnostics) {
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
    let pretrained = |n: &crate::syntax::ast::Network| n.with.iter().any(|m| m.name.name == "pretrained");
    work.model.trains.iter().any(|t| any(&t.stmts, network))
        || work.model.network(network).is_some_and(|n| pretrained(n))
}
