//! Programs that need more memory than there is: what makes them so large, and how much of it would fit.
//!
//! What an iteration needs is known from its plan. What smaller settings would need is not guessed from that: the spec
//! is built anew with them, so that a number in a message is one that was tried.

use super::program::Compiled;
use super::{Schemas, build};
use crate::diag::Diagnostic;
use crate::graph::Graph;
use crate::layers::Value;
use crate::model::consts::Consts;
use crate::model::{Model, walk};
use crate::source::{SourceMap, Span};
use crate::syntax::ast::{Arg, Args, Expr, ExprKind, Setting, TrainStmtKind};

/// Trials of other settings: each builds and plans a program that may be large.
const TRIALS: usize = 6;

/// The memory that a run has.
pub struct Room<'a> {
    /// Bytes.
    pub free: u64,
    /// Where they are, as in "free on this machine".
    pub place: &'a str,
    /// Bytes that runs of a graph need there; `None` if it cannot be compiled.
    pub need: &'a dyn Fn(&Graph) -> Option<u64>,
}

/// An `unroll` of a `train`.
struct Unrolled {
    span: Span,
    steps: u64,
}

/// Most bytes that a graph can possibly need; far quicker found than what it needs.
fn bound(g: &Graph) -> u64 {
    let size = |elements: usize| 4 * elements as u64 + 64;
    // Twice, for what changes of layout add.
    2 * g.nodes().iter().map(|n| size(n.ty.elements())).fold(0, u64::saturating_add)
}

/// `1.25 GiB`
pub fn bytes(n: u64) -> String {
    let n = n as f64;
    const KIB: f64 = 1024.0;
    match n {
        _ if n >= KIB * KIB * KIB => format!("{:.2} GiB", n / KIB / KIB / KIB),
        _ if n >= KIB * KIB => format!("{:.1} MiB", n / KIB / KIB),
        _ => format!("{:.1} KiB", n / KIB),
    }
}

/// The first `train` whose iterations need more than there is, with what would fit.
pub fn afford(
    model: &Model,
    sources: &SourceMap,
    schemas: &Schemas<'_>,
    compiled: &Compiled,
    room: &Room<'_>,
) -> Option<Diagnostic> {
    for (index, train) in compiled.trains.iter().enumerate() {
        let need = train_need(compiled, index, room)?;
        if need <= room.free {
            continue;
        }
        let trial = Trial { model, sources, schemas, room, index };
        return Some(refusal(&trial, compiled, train.span, need, train.batch as u64));
    }
    None
}

/// What the largest iteration of a `train` needs; 0 if it certainly fits.
fn train_need(compiled: &Compiled, index: usize, room: &Room<'_>) -> Option<u64> {
    let mut most = 0;
    for it in &compiled.trains.get(index)?.iterations {
        if bound(&it.graph) > room.free {
            most = most.max((room.need)(&it.graph)?);
        }
    }
    Some(most)
}

fn refusal(trial: &Trial<'_, '_>, compiled: &Compiled, train: Span, need: u64, batch: u64) -> Diagnostic {
    let room = trial.room;
    let name = &compiled.trains[trial.index].name;
    let d = Diagnostic::error(
        "E0553",
        format!(
            "an iteration of `{name}` needs {} of memory; {} are {}",
            bytes(need),
            bytes(room.free),
            room.place
        ),
    );
    let batch_line = trial.batch_line().unwrap_or(train);
    let unrolled = trial.unrolled();
    let ahead = unrolled.iter().max_by_key(|u| u.steps).filter(|u| u.steps > 0);
    if let Some(u) = ahead {
        let none = trial.need(&|m, i| set_steps(m, i, 0));
        if let Some(without) = none.filter(|n| *n <= room.free) {
            let fits = trial.largest(u.steps, without, need, &|m, i, k| set_steps(m, i, k));
            let fewer = trial.largest(batch, 0, need, &set_batch);
            let mut ways = vec![];
            match fits {
                (0, _) => {}
                (k, sharp) => ways.push(format!("{}`steps: {k}`", if sharp { "at most " } else { "" })),
            }
            if fewer.0 > 0 {
                let sharp = if fewer.1 { "at most " } else { "" };
                ways.push(format!("{sharp}`batch {}` with all {} updates", fewer.0, u.steps));
            }
            let help = match ways.is_empty() {
                true => "leave the unrolled updates out: not even one fits".to_string(),
                false => format!("what fits: {}", ways.join(", or ")),
            };
            let d = d
                .at(u.span, format!("{} updates ahead, all kept for the gradient through them", u.steps))
                .label(batch_line, format!("each for a batch of {batch}"));
            // What certainly fits was not planned.
            let d = match without {
                0 => d.note("without updates ahead it fits"),
                n => d.note(format!("without updates ahead it needs {}", bytes(n))),
            };
            return d.help(help);
        }
    }
    let kept: u64 = compiled.tensors.iter().map(|t| 4 * t.ty.elements() as u64).fold(0, u64::saturating_add);
    let d = d
        .at(batch_line, format!("values for a batch of {batch}"))
        .note(format!("parameters and states alone are {}", bytes(kept)));
    let d = ahead.map_or(d.clone(), |u| d.label(u.span, "unrolled updates are part of it, but not all"));
    match trial.largest(batch, kept, need, &set_batch) {
        (0, true) => d.help("not even one sample fits: narrower networks, or a machine with more memory"),
        (0, false) => d.help("a smaller batch, narrower networks, or a machine with more memory"),
        (n, sharp) => d.help(format!("what fits: {}`batch {n}`", if sharp { "at most " } else { "" })),
    }
}

/// Other settings of one `train`.
struct Trial<'a, 'm> {
    model: &'m Model,
    sources: &'a SourceMap,
    schemas: &'a Schemas<'a>,
    room: &'a Room<'a>,
    index: usize,
}

impl Trial<'_, '_> {
    /// What the `train` needs after a change; `None`: it does not compile.
    fn need(&self, change: &dyn Fn(&mut Model, usize)) -> Option<u64> {
        let mut model = self.model.clone();
        change(&mut model, self.index);
        let (compiled, _) = build(&model, self.sources, self.schemas).ok()?;
        train_need(&compiled, self.index, self.room)
    }

    /// The largest value below `top` that was found to fit (0: none), and whether the next one was found not to. What
    /// is needed grows about evenly from `least` at 0 to `most` at `top`, so each trial is where it would meet the room.
    fn largest(&self, top: u64, least: u64, most: u64, change: &dyn Fn(&mut Model, usize, u64)) -> (u64, bool) {
        let (mut low, mut high) = ((0, least), (top, most));
        for _ in 0..TRIALS {
            if high.0 - low.0 <= 1 {
                break;
            }
            let share = self.room.free.saturating_sub(low.1) as f64 / (high.1.saturating_sub(low.1)).max(1) as f64;
            let at = low.0 + (share * (high.0 - low.0) as f64) as u64;
            let at = at.clamp(low.0 + 1, high.0 - 1);
            match self.need(&|m, i| change(m, i, at)) {
                // What certainly fits was not planned.
                Some(0) => low = (at, low.1),
                Some(n) if n <= self.room.free => low = (at, n),
                Some(n) => high = (at, n),
                None => return (low.0, false),
            }
        }
        (low.0, high.0 - low.0 <= 1)
    }

    fn batch_line(&self) -> Option<Span> {
        let is = |k: &TrainStmtKind| matches!(k, TrainStmtKind::Setting(Setting::Batch, _));
        self.model.trains.get(self.index)?.stmts.iter().find(|s| is(&s.kind)).map(|s| s.span)
    }

    fn unrolled(&self) -> Vec<Unrolled> {
        let Ok(consts) = Consts::new(self.model) else { return vec![] };
        let mut found = vec![];
        each_unroll(&mut self.model.clone(), self.index, &mut |span, steps| {
            if let Ok(Value::Number(k)) = consts.eval(steps) {
                found.push(Unrolled { span, steps: k as u64 });
            }
        });
        found
    }
}

/// Visits the `steps` of all `unroll(…)` of a `train`, with the place of the call: that of the trick, if it is one's.
fn each_unroll(model: &mut Model, index: usize, f: &mut dyn FnMut(Span, &mut Expr)) {
    let Some(train) = model.trains.get_mut(index) else { return };
    for s in &mut train.item.stmts {
        match &mut s.kind {
            TrainStmtKind::Player(p) => p.lines.iter_mut().for_each(|l| walk::line_mut(l, &mut |e| in_calls(e, f))),
            TrainStmtKind::Let(_, e) => walk::expr_mut(e, &mut |e| in_calls(e, f)),
            _ => {}
        }
    }
}

fn in_calls(e: &mut Expr, f: &mut dyn FnMut(Span, &mut Expr)) -> bool {
    let span = e.span;
    if let ExprKind::Call(callee, args) = &mut e.kind
        && matches!(&callee.kind, ExprKind::Name(n) if n == "unroll")
        && let Some(steps) = steps_of(args)
    {
        f(span, steps);
    }
    true
}

fn steps_of(args: &mut Args) -> Option<&mut Expr> {
    let named = |a: &Arg| a.name.as_ref().is_some_and(|n| n.name == "steps");
    let all = args.args.iter_mut().enumerate();
    all.filter(|(i, a)| named(a) || (*i == 1 && a.name.is_none())).map(|(_, a)| &mut a.value).next()
}

fn number(e: &mut Expr, value: u64) {
    e.kind = ExprKind::Number(value.to_string());
}

fn set_steps(model: &mut Model, index: usize, most: u64) {
    let Ok(consts) = Consts::new(model) else { return };
    each_unroll(model, index, &mut |_, steps| {
        if let Ok(Value::Number(k)) = consts.eval(steps)
            && k > most as f64
        {
            number(steps, most);
        }
    });
}

fn set_batch(model: &mut Model, index: usize, batch: u64) {
    let Some(train) = model.trains.get_mut(index) else { return };
    for s in &mut train.item.stmts {
        if let TrainStmtKind::Setting(Setting::Batch, e) = &mut s.kind {
            number(e, batch);
        }
    }
}
