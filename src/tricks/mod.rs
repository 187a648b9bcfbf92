//! Losses and tricks: every one of them is sugar, rewritten here into the core of the language.
//!
//! [`expand`] takes a model and gives one whose `train`s hold only draws, lets, players with objectives, actions,
//! expectations and settings. Tricks act by [`Phase`], not by textual order; within a phase in textual order. One file
//! a trick; [`TRICKS`] is the list. Always holds: an expanded model prints as a spec that expands to itself.

mod accumulate;
mod batch_statistics;
mod bodies;
mod copies;
mod diff_augment;
pub mod edits;
mod ema;
mod experience_replay;
mod feature_matching;
mod gradient_clip;
mod gradient_penalty;
mod historical_averaging;
mod instance_noise;
mod label_flip;
mod label_smoothing;
mod lints;
mod losses;
mod make;
mod pack;
pub mod pages;
mod past_players;
mod r1;
mod seen;
mod top_k;
mod two_time_scale;
mod unrolled;
mod virtual_batch_norm;
mod weight_clip;
pub mod work;

use crate::diag::{Diagnostic, Diagnostics};
use crate::model::Model;
use crate::model::consts::Consts;
use crate::source::Span;
use crate::syntax::ast::{PlayerLineKind, Train, TrainStmt, TrainStmtKind};
use edits::Edits;
use work::{TrickUse, Work};

/// When a trick acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Targets of losses.
    Targets,
    /// What the judge sees.
    Inputs,
    /// Who the opponent is.
    Opponents,
    /// Statistics of norms.
    Statistics,
    /// Further terms of objectives.
    Terms,
    /// A judge some steps ahead.
    Unrolling,
    /// Settings of optimisers.
    Optimisers,
    /// What actions apply.
    Actions,
}

/// How a trick rewrites a `train`.
pub type Apply = fn(&mut Work<'_>, &TrickUse) -> Result<(), Diagnostic>;

/// A trick: its name (arguments are in the table of built-ins), its phase, and how it rewrites a `train`.
pub struct Trick {
    /// Its name.
    pub name: &'static str,
    /// When it acts.
    pub phase: Phase,
    /// The rewriting.
    pub apply: Apply,
}

const fn trick(name: &'static str, phase: Phase, apply: Apply) -> Trick {
    Trick { name, phase, apply }
}

/// All tricks by phase.
pub const TRICKS: [Trick; 21] = [
    trick("one_sided_label_smoothing", Phase::Targets, label_smoothing::apply),
    trick("label_flip", Phase::Targets, label_flip::apply),
    trick("instance_noise", Phase::Inputs, instance_noise::apply),
    trick("diff_augment", Phase::Inputs, diff_augment::apply),
    trick("pack", Phase::Inputs, pack::apply),
    // Before the replay: what the buffer takes is then made by whoever plays.
    trick("past_players", Phase::Opponents, past_players::apply),
    trick("experience_replay", Phase::Opponents, experience_replay::apply),
    trick("batch_statistics", Phase::Statistics, batch_statistics::apply),
    trick("virtual_batch_norm", Phase::Statistics, virtual_batch_norm::apply),
    trick("gradient_penalty", Phase::Terms, gradient_penalty::apply),
    trick("r1", Phase::Terms, r1::r1),
    trick("r2", Phase::Terms, r1::r2),
    trick("historical_averaging", Phase::Terms, historical_averaging::apply),
    trick("feature_matching", Phase::Terms, feature_matching::apply),
    trick("top_k", Phase::Terms, top_k::apply),
    trick("unrolled", Phase::Unrolling, unrolled::apply),
    trick("two_time_scale", Phase::Optimisers, two_time_scale::apply),
    trick("weight_clip", Phase::Optimisers, weight_clip::apply),
    trick("gradient_clip", Phase::Optimisers, gradient_clip::apply),
    trick("accumulate", Phase::Optimisers, accumulate::apply),
    trick("ema", Phase::Actions, ema::apply),
];

/// Rewrites all losses and tricks of a model into the core; the result has no losses any more.
///
/// # Errors
/// E04xx: losses that cannot be given to players, tricks that do not fit or are not available, players without an
/// objective. All are reported together.
pub fn expand(model: &Model) -> Result<Model, Diagnostics> {
    let consts = Consts::new(model)?;
    let mut errors = Diagnostics::default();
    let mut out = model.clone();
    let mut edits = Edits::default();
    for (i, train) in model.trains.iter().enumerate() {
        let (stmts, warnings) = expand_train(model, &consts, &train.item, train.span, &mut edits, &mut errors);
        out.trains[i].item.stmts = stmts;
        // Two `train`s that use one network have its warnings once.
        for w in warnings.items() {
            if !out.warnings.items().contains(w) {
                out.warnings.push(w.clone());
            }
        }
    }
    edits.apply(&mut out);
    out.losses.clear();
    if errors.has_errors() { Err(errors) } else { Ok(out) }
}

fn expand_train(
    model: &Model,
    consts: &Consts,
    train: &Train,
    span: Span,
    edits: &mut Edits,
    errors: &mut Diagnostics,
) -> (Vec<TrainStmt>, Diagnostics) {
    // An error in one `train` does not hide those of the next.
    let before = errors.items().len();
    let (mut work, sugar) = Work::new(model, consts, train, errors);
    work.edits = std::mem::take(edits);
    losses::read(&mut work, &sugar, errors);
    let read_all = errors.items().len() == before;
    let uses = work.tricks.clone();
    for t in &TRICKS {
        if t.phase == Phase::Optimisers && t.name == "two_time_scale" && read_all {
            losses::write(&mut work);
        }
        for u in uses.iter().filter(|u| u.name.name == t.name) {
            // A loss that could not be read would make the tricks on it look wrong too.
            if read_all && let Err(d) = (t.apply)(&mut work, u) {
                errors.push(d);
            }
        }
    }
    if read_all {
        objectives(&work, errors);
    }
    let warnings = if errors.has_errors() { Diagnostics::default() } else { lints::check(&work, span) };
    *edits = work.edits;
    (work.stmts, warnings)
}

/// Every player minimises something.
fn objectives(work: &Work<'_>, errors: &mut Diagnostics) {
    for p in work.players() {
        if p.lines.iter().any(|l| matches!(l.kind, PlayerLineKind::Minimize(..))) {
            continue;
        }
        let mut d = Diagnostic::error("E0403", format!("player `{}` has no objective", p.name.name))
            .at(p.name.span, "nothing to minimise");
        d = match work.losses.first() {
            Some(l) => d
                .label(l.span, format!("this loss gives parts to those who update `{}` or what it judges", l.judge))
                .help("write `minimize …` in the player"),
            None => d.help("write `minimize …` in the player, or a `loss` in the train"),
        };
        errors.push(d);
    }
}

/// Whether a statement is part of the core.
pub fn is_core(s: &TrainStmt) -> bool {
    match &s.kind {
        TrainStmtKind::Loss(..) | TrainStmtKind::Trick(..) | TrainStmtKind::If(..) => false,
        TrainStmtKind::Let(..)
        | TrainStmtKind::Draw { .. }
        | TrainStmtKind::Player(_)
        | TrainStmtKind::Every(..)
        | TrainStmtKind::Expect(..)
        | TrainStmtKind::Setting(..)
        | TrainStmtKind::Epochs(..) => true,
    }
}
