//! A `train`: its settings, players and actions read, and one graph built for each variant of its iteration.

use super::ctx::{Builder, Moment, TrainCx};
use super::expr::Env;
use super::program::{Every, TrainProgram};
use super::value::Value;
use crate::diag::Diagnostic;
use crate::model::walk;
use crate::source::Span;
use crate::syntax::ast::{self, Expr, ExprKind, Ident, Player, PlayerLineKind, Setting, TrainStmt, TrainStmtKind};
use std::collections::{BTreeMap, BTreeSet};

/// Most variants of an iteration's graph.
const MAX_VARIANTS: usize = 16;

/// Most samples in a minibatch.
const MAX_BATCH: u64 = 1 << 24;
/// Most iterations: they are counted in 32 bits.
const MAX_STEPS: u64 = u32::MAX as u64;

/// A player as it is written.
#[derive(Clone, Debug)]
pub(super) struct PlayerCx<'m> {
    /// Its name.
    pub name: &'m Ident,
    /// Networks that it updates.
    pub nets: Vec<usize>,
    /// Its lets.
    pub lets: Vec<(&'m [Ident], &'m Expr)>,
    /// Objective, its period's bit and period.
    pub terms: Vec<(&'m Expr, Option<(usize, u64)>)>,
    /// Its optimiser.
    pub using: Option<&'m Expr>,
    /// Updates in an iteration.
    pub repeat: usize,
    /// Samples in a minibatch.
    pub batch: usize,
}

/// A `train`'s statements, sorted.
#[derive(Default)]
pub(super) struct Plan<'m> {
    settings: BTreeMap<u8, (&'m Expr, Span)>,
    epochs: Option<(&'m Expr, Option<&'m Ident>, Span)>,
    players: Vec<&'m Player>,
    /// `every`.
    pub every: Vec<(&'m Expr, &'m [ast::Action], Span)>,
    /// `expect`.
    pub expects: Vec<(&'m Expr, Option<&'m Expr>, Span)>,
    draws: usize,
}

impl<'m> Builder<'m> {
    fn sort(&mut self, stmts: &'m [TrainStmt], plan: &mut Plan<'m>) {
        for s in stmts {
            match &s.kind {
                TrainStmtKind::Let(ids, e) => self.train.lets.push((ids, e)),
                TrainStmtKind::Draw { names, from, per } => {
                    plan.draws += 1;
                    self.read_draw(names, from, *per, s.span, plan.draws - 1);
                }
                TrainStmtKind::Player(p) => plan.players.push(p),
                TrainStmtKind::Every(n, actions) => plan.every.push((n, actions, s.span)),
                TrainStmtKind::Expect(e, after) => plan.expects.push((e, after.as_ref(), s.span)),
                TrainStmtKind::Setting(k, e) => {
                    plan.settings.insert(*k as u8, (e, s.span));
                }
                TrainStmtKind::Epochs(e, of) => plan.epochs = Some((e, of.as_ref(), s.span)),
                TrainStmtKind::If(cond, inner) => match self.eval(&mut Env::default(), cond) {
                    Value::Bool(true) => self.sort(inner, plan),
                    Value::Bool(false) | Value::Error => {}
                    other => {
                        let found = other.describe();
                        self.error(
                            "E0303",
                            cond.span,
                            "`if` takes a condition known when compiling",
                            format!("this is {found}"),
                        );
                    }
                },
                TrainStmtKind::Loss(name, _) | TrainStmtKind::Trick(name, _) => {
                    let name = name.name.clone();
                    self.unavailable(&name, s.span);
                }
            }
        }
    }

    fn setting(
        &mut self,
        plan: &Plan<'m>,
        which: Setting,
        (min, max): (u64, u64),
        what: &str,
    ) -> Option<(u64, Span)> {
        let &(e, span) = plan.settings.get(&(which as u8))?;
        match self.eval(&mut Env::default(), e) {
            Value::Num(v) if v.fract() == 0.0 && v >= min as f64 && v <= max as f64 => Some((v as u64, span)),
            Value::Error => None,
            other => {
                let found = other.describe();
                self.error(
                    "E0463",
                    e.span,
                    format!("`{what}` is a whole number from {min} to {max}"),
                    format!("this is {found}"),
                );
                None
            }
        }
    }

    pub fn word(&mut self, plan: &Plan<'m>, which: Setting, words: &[&str]) -> Option<(String, Span)> {
        let &(e, _) = plan.settings.get(&(which as u8))?;
        match &e.kind {
            ExprKind::Name(n) if words.contains(&n.as_str()) => Some((n.clone(), e.span)),
            _ => {
                let list = words.join(", ");
                self.error("E0463", e.span, format!("one of {list}"), "not one of them");
                None
            }
        }
    }

    /// Number of samples in a minibatch of a `train`, for the checks that come before it.
    pub fn batch_of(&mut self, stmts: &'m [TrainStmt]) -> usize {
        let batch = stmts.iter().find_map(|s| match &s.kind {
            TrainStmtKind::Setting(Setting::Batch, e) => Some(e),
            _ => None,
        });
        match batch.map(|e| self.eval(&mut Env::default(), e)) {
            Some(Value::Num(v)) if v >= 1.0 && v <= 2f64.powi(24) => v as usize,
            _ => 2,
        }
    }

    /// Builds a `train`.
    pub fn build_train(&mut self, index: usize) -> Option<TrainProgram> {
        let entry = &self.model.trains[index];
        let train: &'m ast::Train = &entry.item;
        let name = match &train.name {
            Some(n) => n.name.clone(),
            // The log tells trains apart by their names.
            None if index == 0 => "train".to_string(),
            None => format!("train{}", index + 1),
        };
        self.train = TrainCx { index, name: name.clone(), ..TrainCx::default() };
        self.moment = Moment::default();
        let mut plan = Plan::default();
        self.sort(&train.stmts, &mut plan);
        self.find_wrt(train);
        let head = train.name.as_ref().map_or(Span { end: entry.span.start + 5, ..entry.span }, |n| n.span);
        let batch = match self.setting(&plan, Setting::Batch, (1, MAX_BATCH), "batch") {
            Some((b, _)) => b as usize,
            None => {
                if !plan.settings.contains_key(&(Setting::Batch as u8)) {
                    self.error("E0463", head, "`batch` is missing", "write, say, `batch 64` in this `train`");
                }
                // Goes on, to find what else is wrong.
                1
            }
        };
        self.train.batch = batch;
        let seed = self.setting(&plan, Setting::Seed, (0, 1 << 53), "seed").map_or(0, |s| s.0);
        let steps = self.steps(&plan, batch, head).unwrap_or(1);
        self.read_precision(&plan);
        let simultaneous = self
            .word(&plan, Setting::Order, &["sequential", "simultaneous"])
            .is_some_and(|(w, _)| w == "simultaneous");
        let mut periods = Vec::new();
        let mut players = Vec::new();
        for p in plan.players.clone() {
            if let Some(p) = self.player(p, batch, simultaneous, &mut periods) {
                players.push(p);
            }
        }
        self.train.players = players.into();
        let every = self.every(&plan);
        let masks = self.masks(&periods, steps)?;
        let mut iterations = Vec::new();
        for _ in 0..2 {
            let kept = self.train.kept();
            iterations = masks.iter().filter_map(|&m| self.iteration(m, simultaneous)).collect();
            // What a player itself wants to be kept (an average, say) is known only now.
            if kept == self.train.kept() || self.fatal {
                break;
            }
        }
        let start = self.start(&train.stmts);
        let players = self.train.players.clone();
        self.output_ranges(players.iter().flat_map(|p| p.nets.clone()));
        let lines = self.train.lines.len();
        for i in &mut iterations {
            i.fresh.resize(lines, 0);
        }
        // An evaluation that failed would be an unknown name here.
        if self.failed() {
            return None;
        }
        let expects = self.expects(&plan, &every);
        if self.failed() {
            return None;
        }
        Some(TrainProgram {
            name,
            span: entry.span,
            batch,
            steps,
            seed,
            lines: self.train.lines.iter().map(|l| l.2.clone()).collect(),
            start,
            periods,
            iterations,
            players: self.train.players.iter().map(|p| p.name.name.clone()).collect(),
            every,
            expects,
        })
    }

    fn every(&mut self, plan: &Plan<'m>) -> Vec<Every> {
        let mut out = Vec::new();
        for &(n, actions, _) in &plan.every {
            let steps = match self.eval(&mut Env::default(), n) {
                Value::Num(v) if v.fract() == 0.0 && v >= 1.0 && v <= MAX_STEPS as f64 => v as u64,
                Value::Error => continue,
                other => {
                    let found = other.describe();
                    self.error(
                        "E0463",
                        n.span,
                        format!("a period is a whole number from 1 to {MAX_STEPS}"),
                        format!("this is {found}"),
                    );
                    continue;
                }
            };
            let actions = actions.iter().filter_map(|a| self.action(a)).collect();
            out.push(Every { steps, actions });
        }
        out
    }

    fn steps(&mut self, plan: &Plan<'m>, batch: usize, head: Span) -> Option<u64> {
        if let Some((e, of, span)) = plan.epochs {
            let epochs = match self.eval(&mut Env::default(), e) {
                Value::Num(v) if v > 0.0 && v < 2f64.powi(53) => v,
                Value::Error => return None,
                other => {
                    let found = other.describe();
                    self.error("E0463", e.span, "`epochs` is a number above 0", format!("this is {found}"));
                    return None;
                }
            };
            let set = match of {
                Some(id) => {
                    let index = self.model.data.iter().position(|d| d.name.name == id.name);
                    index.and_then(|i| self.use_data(i))?
                }
                None => {
                    let sets: BTreeSet<usize> =
                        self.train.draws.iter().filter_map(|d| d.field).map(|f| f.0).collect();
                    match sets.into_iter().collect::<Vec<_>>()[..] {
                        [one] => one,
                        _ => {
                            self.report(
                                Diagnostic::error("E0463", "`epochs` of which data set?")
                                    .at(span, "the draws use none, or several")
                                    .help("write `epochs n of S`"),
                            );
                            return None;
                        }
                    }
                }
            };
            let Some(rows) = self.data[set].2.rows else {
                self.error("E0463", span, "`epochs` of endless data", "write `steps n`");
                return None;
            };
            let steps = epochs * (rows / batch) as f64;
            // A set smaller than the batch is refused where it is drawn.
            if rows >= batch && !(1.0..=MAX_STEPS as f64).contains(&steps) {
                let found =
                    format!("{epochs} × {rows} rows in minibatches of {batch} are {} iterations", steps.floor());
                self.error("E0463", span, format!("a `train` has 1 to {MAX_STEPS} iterations"), found);
                return None;
            }
            return Some(steps as u64);
        }
        match self.setting(plan, Setting::Steps, (1, MAX_STEPS), "steps") {
            Some((n, _)) => Some(n),
            None => {
                if !plan.settings.contains_key(&(Setting::Steps as u8)) {
                    self.error("E0463", head, "`steps` or `epochs` is missing", "how long does this `train` run?");
                }
                None
            }
        }
    }

    /// Names that `grad` differentiates by, anywhere in the `train`.
    fn find_wrt(&mut self, train: &'m ast::Train) {
        let mut found = Vec::new();
        for_exprs(&train.stmts, &mut |e| {
            walk::expr(e, &mut |e| {
                if let ExprKind::Call(f, args) = &e.kind
                    && matches!(&f.kind, ExprKind::Name(n) if n == "grad")
                    && let Some(a) = args.args.get(1)
                    && let ExprKind::Name(n) = &a.value.kind
                {
                    found.push(n.clone());
                }
                true
            });
        });
        self.train.wrt.extend(found);
    }

    fn player(
        &mut self,
        p: &'m Player,
        batch: usize,
        simultaneous: bool,
        periods: &mut Vec<u64>,
    ) -> Option<PlayerCx<'m>> {
        let own = [p.name.clone()];
        let updates = if p.updates.is_empty() { &own[..] } else { &p.updates[..] };
        let mut nets = Vec::new();
        for u in updates {
            match self.model.networks.iter().position(|n| n.name.name == u.name) {
                Some(i) => nets.push(i),
                None => {
                    self.report(
                        Diagnostic::error("E0201", format!("there is no network `{}` to update", u.name))
                            .at(u.span, "not a network")
                            .help("a player updates the network of its name, or those after `updates`"),
                    );
                }
            }
        }
        let mut cx = PlayerCx { name: &p.name, nets, lets: vec![], terms: vec![], using: None, repeat: 1, batch };
        for line in &p.lines {
            match &line.kind {
                PlayerLineKind::Let(ids, e) => cx.lets.push((ids, e)),
                PlayerLineKind::Minimize(e, None) => cx.terms.push((e, None)),
                PlayerLineKind::Minimize(e, Some(k)) => {
                    let k = self.player_count(k, "a period")?;
                    if periods.len() >= 64 {
                        self.error("E0454", line.span, "too many `every` lines", "at most 64");
                        return None;
                    }
                    cx.terms.push((e, Some((periods.len(), k as u64))));
                    periods.push(k as u64);
                }
                PlayerLineKind::Using(e) => cx.using = Some(e),
                PlayerLineKind::Repeat(e) => cx.repeat = self.player_count(e, "`repeat`")?,
                PlayerLineKind::Batch(e) => cx.batch = self.player_count(e, "`batch`")?,
            }
        }
        if simultaneous && cx.repeat != 1 {
            self.error("E0423", p.name.span, "`order simultaneous` needs `repeat 1`", "this player repeats");
        }
        if cx.using.is_none() {
            self.report(
                Diagnostic::error("E0402", format!("player `{}` has no optimiser", p.name.name))
                    .at(p.name.span, "nothing says how it learns")
                    .help("write `using adam(lr: 2e-4)` in it"),
            );
        }
        if cx.terms.is_empty() {
            self.report(
                Diagnostic::error("E0450", format!("player `{}` has no objective", p.name.name))
                    .at(p.name.span, "nothing to minimise")
                    .help("write `minimize …` in it, or a `loss` in the `train`"),
            );
            return None;
        }
        Some(cx)
    }

    fn player_count(&mut self, e: &'m Expr, what: &str) -> Option<usize> {
        match self.eval(&mut Env::default(), e) {
            Value::Num(v) if v.fract() == 0.0 && v >= 1.0 && v <= 2f64.powi(24) => Some(v as usize),
            Value::Error => None,
            other => {
                let found = other.describe();
                self.error(
                    "E0463",
                    e.span,
                    format!("{what} is a whole number from 1 to {MAX_BATCH}"),
                    format!("this is {found}"),
                );
                None
            }
        }
    }

    /// Which combinations of `every` lines occur.
    fn masks(&mut self, periods: &[u64], steps: u64) -> Option<Vec<u64>> {
        let mut masks = BTreeSet::new();
        let gcd = |a: u64, b: u64| {
            let (mut a, mut b) = (a, b);
            while b > 0 {
                (a, b) = (b, a % b);
            }
            a
        };
        let cycle = periods.iter().fold(1u64, |l, &k| (l / gcd(l, k)).saturating_mul(k));
        // Any combination that occurs does so within the first products of the periods; far ones are never met.
        for t in 1..=cycle.min(steps.max(1)).min(2_000_000) {
            let mask = periods.iter().enumerate().filter(|(_, k)| t.is_multiple_of(**k)).map(|(i, _)| 1 << i).sum();
            masks.insert(mask);
            if masks.len() > MAX_VARIANTS {
                let mut terms = self.train.players.iter().flat_map(|p| &p.terms);
                let span = terms.find(|t| t.1.is_some()).map(|t| t.0.span);
                self.error(
                    "E0454",
                    span.unwrap_or_default(),
                    format!("`every` lines of players meet in more than {MAX_VARIANTS} ways"),
                    "choose periods that divide each other",
                );
                return None;
            }
        }
        Some(masks.into_iter().collect())
    }
}

/// All expressions of statements of `train`.
fn for_exprs<'m>(stmts: &'m [TrainStmt], f: &mut dyn FnMut(&'m Expr)) {
    for s in stmts {
        match &s.kind {
            TrainStmtKind::Let(_, e) => f(e),
            TrainStmtKind::Player(p) => {
                for l in &p.lines {
                    match &l.kind {
                        PlayerLineKind::Let(_, e) | PlayerLineKind::Minimize(e, _) => f(e),
                        PlayerLineKind::Using(_) | PlayerLineKind::Repeat(_) | PlayerLineKind::Batch(_) => {}
                    }
                }
            }
            TrainStmtKind::If(_, inner) => for_exprs(inner, f),
            TrainStmtKind::Every(..)
            | TrainStmtKind::Draw { .. }
            | TrainStmtKind::Loss(..)
            | TrainStmtKind::Trick(..)
            | TrainStmtKind::Expect(..)
            | TrainStmtKind::Setting(..)
            | TrainStmtKind::Epochs(..) => {}
        }
    }
}
