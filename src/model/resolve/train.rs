//! `train`: draws, players, losses, tricks, actions, expectations, settings.

use super::args::{class_words, written};
use super::scope::{Kind, Scope};
use super::{Place, Resolver, did_you_mean};
use crate::diag::Diagnostic;
use crate::diag::names::suggest;
use crate::layers::{Class, Value, table};
use crate::model::{PAIRS, walk};
use crate::source::Span;
use crate::syntax::ast::{
    Action, ActionKind, Arg, Args, Expr, ExprKind, Ident, Player, PlayerLineKind, Role, Setting, Train, TrainStmt,
    TrainStmtKind, TypeExpr,
};

/// What one `train` has shown so far.
#[derive(Default)]
struct Seen {
    settings: Vec<(&'static str, Span)>,
    players: Vec<Ident>,
    simultaneous: bool,
    /// Data sets of draws.
    sets: Vec<String>,
    /// Names of evaluations.
    evaluated: Vec<Ident>,
}

impl Resolver<'_> {
    pub(super) fn train(&mut self, t: &Train, span: Span) {
        let mut stmts: Vec<&TrainStmt> = Vec::new();
        self.live(&t.stmts, &mut stmts);
        let mut scope = Scope::default();
        let mut seen = Seen::default();
        for s in &stmts {
            match &s.kind {
                TrainStmtKind::Let(names, _) => scope.later.extend(names.iter().cloned()),
                TrainStmtKind::Draw { names, .. } => scope.later.extend(names.iter().map(|n| n.0.clone())),
                _ => {}
            }
        }
        // Draws and lets first: all players and actions see them, wherever they stand.
        for s in &stmts {
            match &s.kind {
                TrainStmtKind::Let(names, e) => self.train_let(names, e, &mut scope),
                TrainStmtKind::Draw { names, from, .. } => self.draw(names, from, s.span, &mut scope, &mut seen),
                TrainStmtKind::Setting(Setting::Order, e) => {
                    seen.simultaneous = matches!(&e.kind, ExprKind::Name(n) if n == "simultaneous");
                }
                _ => {}
            }
        }
        for s in &stmts {
            self.train_stmt(s, &mut scope, &mut seen);
        }
        let mut evaluated = Scope::default();
        for n in &seen.evaluated {
            evaluated.push(n, Kind::Evaluated);
        }
        for s in &stmts {
            if let TrainStmtKind::Expect(cond, after) = &s.kind {
                self.in_place(Place::Expect, |r| r.expr(cond, &mut evaluated));
                if let Some(n) = after {
                    self.constant(n, &mut Scope::default());
                }
            }
        }
        self.required(t, span, &seen);
        for l in scope.locals() {
            if !l.used && l.kind == Kind::Draw {
                let d = Diagnostic::warning("W0202", format!("draw `{}` is never used", l.name))
                    .at(l.span, "drawn here");
                self.warnings.push(d);
            }
        }
    }

    /// Statements with `if`s decided; what is not taken is checked by itself.
    fn live<'t>(&mut self, stmts: &'t [TrainStmt], out: &mut Vec<&'t TrainStmt>) {
        for s in stmts {
            let TrainStmtKind::If(cond, inner) = &s.kind else {
                out.push(s);
                continue;
            };
            self.constant(cond, &mut Scope::default());
            match self.consts.eval(cond) {
                Ok(Value::Bool(false)) => {
                    // What is left out still counts as used, so that ablations do not warn.
                    let mut names = Vec::new();
                    inner.iter().for_each(|s| stmt_names(s, &mut names));
                    self.used.extend(names);
                }
                // An error of the condition is reported by the constant's check or at expansion.
                _ => self.live(inner, out),
            }
        }
    }

    fn train_let(&mut self, names: &[Ident], e: &Expr, scope: &mut Scope) {
        self.in_place(Place::TrainLet, |r| r.right_side(e, scope));
        let mut kind = if names.len() == 1 { self.kind_of(e, scope) } else { Kind::Value };
        let mut rows = false;
        walk::expr(e, &mut |e| {
            match &e.kind {
                ExprKind::Field(base, _) => {
                    rows |= matches!(&base.kind, ExprKind::Name(n) if scope.find(n).is_none() && self.model.data_set(n).is_some());
                }
                ExprKind::Name(n) => rows |= scope.find(n).is_some_and(|l| l.kind == Kind::Rows),
                _ => {}
            }
            true
        });
        if rows {
            kind = Kind::Rows;
        }
        for n in names {
            self.define(scope, n, kind.clone());
        }
    }

    fn draw(
        &mut self,
        names: &[(Ident, Option<TypeExpr>)],
        from: &[Expr],
        span: Span,
        scope: &mut Scope,
        seen: &mut Seen,
    ) {
        if names.len() != from.len() {
            self.error(
                Diagnostic::error("E0421", "a draw needs one source for each name")
                    .at(span, format!("{} names, {} sources", names.len(), from.len()))
                    .help("write `draw a, b ~ SET.a, SET.b`"),
            );
        }
        let mut line: Option<(String, Span)> = None;
        let mut noise: Option<Span> = None;
        for (i, e) in from.iter().enumerate() {
            let ty = names.get(i).and_then(|n| n.1.as_ref());
            let name = names.get(i).map_or("", |n| n.0.name.as_str());
            let set = match &e.kind {
                ExprKind::Field(base, _) => match &base.kind {
                    ExprKind::Name(n) => Some((n, base.span)),
                    _ => None,
                },
                ExprKind::Name(n) if self.model.data_set(n).is_some() => {
                    self.used.insert(n.clone());
                    self.error(
                        Diagnostic::error("E0421", format!("`{n}` is a whole data set"))
                            .at(e.span, "name a field of it")
                            .help(format!("write for example `{n}.image`")),
                    );
                    continue;
                }
                _ => None,
            };
            let Some((n, at)) = set else {
                noise = Some(e.span);
                if ty.is_none() {
                    let mut d = Diagnostic::error("E0420", format!("draw `{name}` of noise needs a type"))
                        .help(format!("write `draw {name}: [100] ~ …`; the type gives the shape"));
                    d = match names.get(i) {
                        Some(n) => d.at(n.0.span, "no type here"),
                        None => d.at(e.span, "no name for this"),
                    };
                    self.error(d);
                }
                self.in_place(Place::Constant, |r| r.special(Class::Distribution, e, &mut Scope::default()));
                continue;
            };
            if let Some(ty) = ty {
                let at = match ty {
                    TypeExpr::Shape(_, s) | TypeExpr::Class(_, s) => *s,
                    TypeExpr::Named(i) => i.span,
                };
                self.error(
                    Diagnostic::error("E0420", format!("draw `{name}` of data takes no type"))
                        .at(at, "the data set knows it")
                        .help("leave the type out"),
                );
            }
            if self.model.data_set(n).is_none() {
                let near = suggest(n, self.model.data.iter().map(|d| d.name.name.as_str())).map(str::to_string);
                let d = match self.global(n) {
                    Some((what, _)) => Diagnostic::error("E0205", format!("`{n}` is {what}, not a data set")),
                    None => Diagnostic::error("E0202", format!("there is no data set `{n}`")),
                };
                self.error(did_you_mean(d.at(at, "drawn from here"), at, near));
                continue;
            }
            self.used.insert(n.clone());
            seen.sets.push(n.clone());
            match &line {
                Some((first, first_at)) if first != n => {
                    self.error(
                        Diagnostic::error("E0421", "the fields of one line belong to the same rows")
                            .at(at, format!("a field of `{n}`"))
                            .label(*first_at, format!("a field of `{first}`"))
                            .help("write two draws: they are independent"),
                    );
                }
                Some(_) => {}
                None => line = Some((n.clone(), at)),
            }
        }
        if let (Some((_, data)), Some(noise)) = (line, noise) {
            self.error(
                Diagnostic::error("E0421", "one line draws either data or noise")
                    .at(noise, "this is noise")
                    .label(data, "this is data")
                    .help("write two draws"),
            );
        }
        for (n, ty) in names {
            if let Some(ty) = ty {
                self.type_expr(ty, &mut Scope::default());
            }
            self.define(scope, n, Kind::Draw);
        }
    }

    fn train_stmt(&mut self, s: &TrainStmt, scope: &mut Scope, seen: &mut Seen) {
        match &s.kind {
            TrainStmtKind::Let(..)
            | TrainStmtKind::Draw { .. }
            | TrainStmtKind::Expect(..)
            | TrainStmtKind::If(..) => {}
            TrainStmtKind::Loss(name, args) => self.loss_line(name, args.as_ref(), scope),
            TrainStmtKind::Player(p) => self.player(p, scope, seen),
            TrainStmtKind::Trick(name, args) => match table::lookup(Class::Trick, &name.name) {
                Some(sig) => {
                    let args = written(args.as_ref());
                    if !self.smoothed_fakes(name, args) {
                        self.in_place(Place::Player, |r| r.bind(sig, name.span, args, scope));
                    }
                }
                None => {
                    let near = suggest(&name.name, table::names(Class::Trick)).map(str::to_string);
                    let d =
                        Diagnostic::error("E0202", format!("there is no trick `{}`", name.name)).at(name.span, "");
                    self.error(did_you_mean(d, name.span, near));
                }
            },
            TrainStmtKind::Every(n, actions) => {
                self.constant(n, &mut Scope::default());
                for a in actions {
                    self.in_place(Place::Action, |r| r.action(a, scope, seen));
                }
            }
            TrainStmtKind::Setting(what, e) => self.setting(*what, e, s.span, seen),
            TrainStmtKind::Epochs(n, of) => {
                self.constant(n, &mut Scope::default());
                self.once("steps", s.span, seen);
                match of {
                    Some(of) if self.model.data_set(&of.name).is_some() => {
                        self.used.insert(of.name.clone());
                    }
                    Some(of) => {
                        let near = suggest(&of.name, self.model.data.iter().map(|d| d.name.name.as_str()));
                        let near = near.map(str::to_string);
                        let d = Diagnostic::error("E0202", format!("there is no data set `{}`", of.name))
                            .at(of.span, "epochs of this");
                        self.error(did_you_mean(d, of.span, near));
                    }
                    None => {
                        let mut sets = seen.sets.clone();
                        sets.sort();
                        sets.dedup();
                        if sets.len() != 1 {
                            let text = match sets.len() {
                                0 => "no draw takes data".to_string(),
                                _ => format!("draws take from {}", sets.join(", ")),
                            };
                            self.error(
                                Diagnostic::error("E0422", "epochs of which data set?")
                                    .at(s.span, text)
                                    .help("write `epochs n of SET`, or `steps n`"),
                            );
                        }
                    }
                }
            }
        }
    }

    /// Refuses a target of fake samples with the reason, since many systems have one.
    fn smoothed_fakes(&mut self, name: &Ident, args: &[Arg]) -> bool {
        let Some(fake) = args.iter().filter_map(|a| a.name.as_ref()).find(|n| n.name.starts_with("fake")) else {
            return false;
        };
        if name.name != "one_sided_label_smoothing" {
            return false;
        }
        self.error(
            Diagnostic::error("E0441", "only the target of real samples is smoothed")
                .at(fake.span, "the target of fakes stays 0")
                .note("a judge with smoothed fakes prefers regions where fakes already are (Salimans et al. 2016, section 3.4)")
                .help("leave this argument out"),
        );
        true
    }

    fn once(&mut self, what: &'static str, span: Span, seen: &mut Seen) {
        if let Some((_, first)) = seen.settings.iter().find(|(w, _)| *w == what) {
            let first = *first;
            let title = match what {
                "steps" => "the length of the run is given twice".to_string(),
                _ => format!("`{what}` is given twice"),
            };
            self.error(
                Diagnostic::error("E0422", title).at(span, "the second time").label(first, "the first time"),
            );
        } else {
            seen.settings.push((what, span));
        }
    }

    fn setting(&mut self, what: Setting, e: &Expr, span: Span, seen: &mut Seen) {
        let (name, words): (&'static str, &[&str]) = match what {
            Setting::Batch => ("batch", &[]),
            Setting::Steps => ("steps", &[]),
            Setting::Seed => ("seed", &[]),
            Setting::Precision => ("precision", &["f32", "tf32", "bf16", "f16"]),
            Setting::Order => ("order", &["sequential", "simultaneous"]),
        };
        self.once(name, span, seen);
        if words.is_empty() {
            return self.constant(e, &mut Scope::default());
        }
        let word = if let ExprKind::Name(w) = &e.kind { w.as_str() } else { "" };
        if !words.contains(&word) {
            let near = suggest(word, words.iter().copied()).map(str::to_string);
            let d = Diagnostic::error("E0209", format!("`{name}` takes a word"))
                .at(e.span, format!("expected one of {}", words.join(", ")));
            self.error(did_you_mean(d, e.span, near));
        }
    }

    fn required(&mut self, t: &Train, span: Span, seen: &Seen) {
        let at = t.name.as_ref().map_or(Span { end: span.start + 5, ..span }, |n| n.span);
        for (what, help) in [("batch", "write `batch 64`"), ("steps", "write `steps 10_000` or `epochs 20`")] {
            if !seen.settings.iter().any(|(w, _)| *w == what) {
                self.error(
                    Diagnostic::error("E0422", format!("this train does not say its `{what}`"))
                        .at(at, "in here")
                        .help(help),
                );
            }
        }
        if seen.players.is_empty() {
            self.error(
                Diagnostic::error("E0401", "this train has no player")
                    .at(at, "nothing is trained")
                    .help("write `player D { minimize …; using adam(lr: 2e-4) }`"),
            );
        }
    }

    fn player(&mut self, p: &Player, scope: &mut Scope, seen: &mut Seen) {
        if let Some(first) = seen.players.iter().find(|q| q.name == p.name.name) {
            let first = first.span;
            self.error(
                Diagnostic::error("E0404", format!("two players are named `{}`", p.name.name))
                    .at(p.name.span, "the second one")
                    .label(first, "the first one")
                    .help("rename one and say what it updates: `player critic updates D { … }`"),
            );
        }
        seen.players.push(p.name.clone());
        let networks = |r: &Self| r.model.networks.iter().map(|n| n.name.name.clone()).collect::<Vec<_>>();
        let named: Vec<&Ident> = if p.updates.is_empty() { vec![&p.name] } else { p.updates.iter().collect() };
        for (i, u) in named.iter().enumerate() {
            if self.model.network(&u.name).is_some() {
                self.used.insert(u.name.clone());
                if named[..i].iter().any(|x| x.name == u.name) {
                    self.error(
                        Diagnostic::error("E0401", format!("player `{}` lists `{}` twice", p.name.name, u.name))
                            .at(u.span, "the second time"),
                    );
                }
                continue;
            }
            let all = networks(self);
            let near = suggest(&u.name, all.iter().map(String::as_str)).map(str::to_string);
            let d = match self.global(&u.name) {
                Some((what, _)) => Diagnostic::error("E0401", format!("`{}` is {what}, not a network", u.name)),
                None => Diagnostic::error("E0401", format!("there is no network `{}`", u.name)),
            };
            let text = match p.updates.is_empty() {
                true => "a player without `updates` updates the network of its name",
                false => "updated here",
            };
            let d = d.at(u.span, text);
            let d = match near.is_none() && p.updates.is_empty() && !all.is_empty() {
                true => d.help(format!("say what it updates: `player {} updates {}`", p.name.name, all.join(", "))),
                false => d,
            };
            self.error(did_you_mean(d, u.span, near));
        }
        let depth = scope.depth();
        let later = scope.later.clone();
        for l in &p.lines {
            if let PlayerLineKind::Let(names, _) = &l.kind {
                scope.later.extend(names.iter().cloned());
            }
        }
        let mut using: Option<Span> = None;
        let mut once: Vec<(&str, Span)> = Vec::new();
        self.in_place(Place::Player, |r| {
            for l in &p.lines {
                match &l.kind {
                    PlayerLineKind::Let(names, e) => {
                        r.right_side(e, scope);
                        let kind = if names.len() == 1 { r.kind_of(e, scope) } else { Kind::Value };
                        for n in names {
                            r.define(scope, n, kind.clone());
                        }
                    }
                    PlayerLineKind::Minimize(e, every) => {
                        r.expr(e, scope);
                        if let Some(k) = every {
                            r.constant(k, &mut Scope::default());
                        }
                    }
                    PlayerLineKind::Using(e) => {
                        r.special(Class::Optimiser, e, scope);
                        if let Some(first) = using.replace(l.span) {
                            r.error(
                                Diagnostic::error("E0402", format!("player `{}` has two optimisers", p.name.name))
                                    .at(l.span, "the second one")
                                    .label(first, "the first one"),
                            );
                        }
                    }
                    PlayerLineKind::Repeat(e) | PlayerLineKind::Batch(e) => {
                        let what = if matches!(l.kind, PlayerLineKind::Repeat(_)) { "repeat" } else { "batch" };
                        r.constant(e, &mut Scope::default());
                        if let Some((_, first)) = once.iter().find(|(w, _)| *w == what) {
                            r.error(
                                Diagnostic::error("E0422", format!("`{what}` is given twice"))
                                    .at(l.span, "the second time")
                                    .label(*first, "the first time"),
                            );
                        }
                        once.push((what, l.span));
                        let one = matches!(r.consts.eval(e), Ok(Value::Number(n)) if n == 1.0);
                        if what == "repeat" && seen.simultaneous && !one {
                            r.error(
                                Diagnostic::error("E0423", "with `order simultaneous` each player updates once")
                                    .at(l.span, "more than one update")
                                    .help("leave `repeat` out, or the order"),
                            );
                        }
                    }
                }
            }
        });
        if using.is_none() {
            self.error(
                Diagnostic::error("E0402", format!("player `{}` has no optimiser", p.name.name))
                    .at(p.name.span, "in here")
                    .help("write `using adam(lr: 2e-4)`"),
            );
        }
        scope.leave(depth);
        scope.later = later;
    }

    fn loss_line(&mut self, name: &Ident, args: Option<&Args>, scope: &mut Scope) {
        let pair = PAIRS.iter().find(|p| p.name == name.name && self.model.loss(p.name).is_none());
        let Some(def) = self.model.loss(pair.map_or(name.name.as_str(), |p| p.loss)) else {
            let all = self.model.losses.iter().map(|l| l.name.name.as_str()).chain(PAIRS.iter().map(|p| p.name));
            let all: Vec<String> = all.map(str::to_string).collect();
            let near = suggest(&name.name, all.iter().map(String::as_str)).map(str::to_string);
            let d = Diagnostic::error("E0202", format!("there is no loss `{}`", name.name))
                .at(name.span, format!("the losses are {}", all.join(", ")));
            self.error(did_you_mean(d, name.span, near));
            return;
        };
        self.used.insert(name.name.clone());
        let what = format!("loss `{}`", name.name);
        let extra = pair.map(|p| p.options).unwrap_or_default();
        let args = written(args);
        let given = self.in_place(Place::Player, |r| r.bind_params(&what, &def.params, args, extra, scope));
        let scores = given.iter().take(2).filter(|g| **g).count();
        if scores > 0 {
            self.missing(&what, &def.params, &given, name.span);
            return;
        }
        if def.params.len() > 2 {
            self.missing(&what, &def.params[2..], &given[2..], name.span);
        }
        // The bare form reads draws by the names of inputs.
        scope.mark("real");
        for n in self.model.networks.iter().filter(|n| n.role != Role::Network) {
            self.used.insert(n.name.name.clone());
            for i in &n.inputs {
                scope.mark(&i.name.name);
            }
        }
    }

    fn action(&mut self, a: &Action, scope: &mut Scope, seen: &mut Seen) {
        match &a.kind {
            ActionKind::Evaluate(name, e) => {
                self.expr(e, scope);
                let name = name.clone().or_else(|| match &e.kind {
                    ExprKind::Call(f, _) => match &f.kind {
                        ExprKind::Name(n) => Some(Ident { name: n.clone(), span: f.span }),
                        _ => None,
                    },
                    _ => None,
                });
                let Some(name) = name else {
                    self.error(
                        Diagnostic::error("E0426", "this evaluation needs a name")
                            .at(e.span, "only a metric has one of its own")
                            .help("write `evaluate name = …`"),
                    );
                    return;
                };
                if let Some(first) = seen.evaluated.iter().find(|n| n.name == name.name) {
                    let first = first.span;
                    self.error(
                        Diagnostic::error("E0426", format!("`{}` is evaluated twice", name.name))
                            .at(name.span, "the second time")
                            .label(first, "the first time")
                            .help("give one of them another name: `evaluate name = …`"),
                    );
                }
                seen.evaluated.push(name);
            }
            ActionKind::Call(name, args) => match table::lookup(Class::Action, &name.name) {
                Some(sig) => self.bind(sig, name.span, written(args.as_ref()), scope),
                None => {
                    let near = suggest(&name.name, table::names(Class::Action)).map(str::to_string);
                    let metric = table::lookup(Class::Metric, &name.name).is_some();
                    let what = class_words(Class::Action);
                    let mut d = Diagnostic::error("E0202", format!("there is no {what} `{}`", name.name))
                        .at(name.span, "the actions are evaluate, samples and checkpoint");
                    if metric {
                        d = d.help(format!("write `evaluate {}(…)`", name.name));
                    }
                    self.error(did_you_mean(d, name.span, near));
                }
            },
        }
    }
}

/// All names in a statement, for what an `if` leaves out.
fn stmt_names(s: &TrainStmt, out: &mut Vec<String>) {
    match &s.kind {
        TrainStmtKind::Let(_, e) | TrainStmtKind::Setting(_, e) => out.extend(walk::names(e)),
        TrainStmtKind::Draw { from, .. } => from.iter().for_each(|e| out.extend(walk::names(e))),
        TrainStmtKind::Loss(name, args) | TrainStmtKind::Trick(name, args) => {
            out.push(name.name.clone());
            args.iter().flat_map(|a| &a.args).for_each(|a| out.extend(walk::names(&a.value)));
        }
        TrainStmtKind::Player(p) => {
            out.push(p.name.name.clone());
            out.extend(p.updates.iter().map(|u| u.name.clone()));
            for l in &p.lines {
                walk::line_mut(&mut l.clone(), &mut |e| {
                    out.extend(walk::names(e));
                    false
                });
            }
        }
        TrainStmtKind::Every(_, actions) => {
            for a in actions {
                walk::action_mut(&mut a.clone(), &mut |e| {
                    out.extend(walk::names(e));
                    false
                });
            }
        }
        TrainStmtKind::Expect(e, _) | TrainStmtKind::Epochs(e, _) => out.extend(walk::names(e)),
        TrainStmtKind::If(_, inner) => inner.iter().for_each(|s| stmt_names(s, out)),
    }
}
