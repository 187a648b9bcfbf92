//! What tricks work on: one `train` taken apart into losses and core statements.

use super::edits::Edits;
use crate::diag::{Diagnostic, Diagnostics};
use crate::model::consts::Consts;
use crate::model::{Model, walk};
use crate::source::Span;
use crate::syntax::ast::{
    Arg, Args, Expr, ExprKind, Ident, Loss, Network, Player, PlayerLine, PlayerLineKind, ResultType, Role, Train,
    TrainStmt, TrainStmtKind, TypeExpr,
};
use std::collections::{BTreeMap, BTreeSet};

/// The scores of real and of fake samples, as one part of a loss sees them.
#[derive(Clone, Debug)]
pub struct Scores {
    /// Of real samples.
    pub real: Expr,
    /// Of fake ones.
    pub fake: Expr,
}

/// One `loss` line, completed.
#[derive(Clone, Debug)]
pub struct LossUse {
    /// As written in the line.
    pub name: Ident,
    /// The line.
    pub span: Span,
    /// Its definition.
    pub def: Loss,
    /// Whether the definition is the prelude's.
    pub prelude: bool,
    /// The network that judges.
    pub judge: String,
    /// What the discriminator part sees.
    pub discriminator: Scores,
    /// What the generator part sees.
    pub generator: Scores,
    /// Options that were given, by name.
    pub options: BTreeMap<String, Expr>,
    /// Options of the discriminator part only, before those above.
    pub judge_options: BTreeMap<String, Expr>,
    /// Both scores come from one application, with these statistics (a word of `joint`).
    pub statistics: Option<Expr>,
    /// Players that minimise the discriminator part.
    pub judges: Vec<String>,
    /// Players that minimise the generator part.
    pub makers: Vec<String>,
    /// Further lines of the judge's players.
    pub judge_terms: Vec<PlayerLine>,
    /// Further lines of the other players.
    pub maker_terms: Vec<PlayerLine>,
}

/// One `trick` line, or the trick half of a loss such as `wasserstein_gp`.
#[derive(Clone, Debug)]
pub struct TrickUse {
    /// As written.
    pub name: Ident,
    /// The line.
    pub span: Span,
    /// Arguments by parameter name, as written; those left out are missing.
    pub args: BTreeMap<String, Expr>,
    /// Names after `of:`.
    pub of: Vec<Ident>,
    /// The only loss it acts on, if it came with one.
    pub loss: Option<usize>,
}

impl TrickUse {
    /// An argument, or the default.
    pub fn arg_or(&self, name: &str, default: f64) -> Expr {
        self.args.get(name).cloned().unwrap_or_else(|| super::make::number(default, self.span))
    }
}

/// An application of a network.
#[derive(Clone, Debug)]
pub struct Application {
    /// The network, whatever functions are around it.
    pub network: String,
    /// What is called: `D`, or `eval(D)`.
    pub callee: Expr,
    /// One argument an input, in order.
    pub args: Vec<Expr>,
    /// The output that is read.
    pub field: Option<Ident>,
    /// Where it is.
    pub span: Span,
}

impl Application {
    /// As an expression, with these arguments instead.
    pub fn with_args(&self, args: Vec<Expr>) -> Expr {
        let e = super::make::apply(self.callee.clone(), args, self.span);
        match &self.field {
            Some(f) => Expr { kind: ExprKind::Field(Box::new(e), f.clone()), span: self.span },
            None => e,
        }
    }
}

/// One `train` under expansion.
pub struct Work<'a> {
    /// The program.
    pub model: &'a Model,
    /// Values of its constants.
    pub consts: &'a Consts,
    /// Core statements, `if`s decided.
    pub stmts: Vec<TrainStmt>,
    /// Its losses.
    pub losses: Vec<LossUse>,
    /// Its tricks.
    pub tricks: Vec<TrickUse>,
    /// Networks and blocks as tricks have rewritten them.
    pub edits: Edits,
    /// Lets of players that stand for a network, such as `unroll(D, …)`: name and network.
    pub aliases: BTreeMap<String, String>,
    names: BTreeSet<String>,
    claims: BTreeMap<String, Span>,
}

impl<'a> Work<'a> {
    /// Takes a `train` apart; its `loss` and `trick` statements come back beside it.
    pub fn new(
        model: &'a Model,
        consts: &'a Consts,
        train: &Train,
        errors: &mut Diagnostics,
    ) -> (Self, Vec<TrainStmt>) {
        let mut flat = Vec::new();
        flatten(consts, &train.stmts, &mut flat, errors);
        let (sugar, stmts): (Vec<_>, Vec<_>) =
            flat.into_iter().partition(|s| matches!(s.kind, TrainStmtKind::Loss(..) | TrainStmtKind::Trick(..)));
        let mut names: BTreeSet<String> = BTreeSet::new();
        names.extend(model.consts.iter().map(|c| c.name.name.clone()));
        names.extend(model.data.iter().map(|d| d.name.name.clone()));
        names.extend(model.blocks.iter().map(|b| b.name.name.clone()));
        names.extend(model.networks.iter().map(|n| n.name.name.clone()));
        for s in &stmts {
            match &s.kind {
                TrainStmtKind::Let(all, _) => names.extend(all.iter().map(|n| n.name.clone())),
                TrainStmtKind::Draw { names: all, .. } => names.extend(all.iter().map(|n| n.0.name.clone())),
                TrainStmtKind::Player(p) => {
                    for l in &p.lines {
                        if let PlayerLineKind::Let(all, _) = &l.kind {
                            names.extend(all.iter().map(|n| n.name.clone()));
                        }
                    }
                }
                _ => {}
            }
        }
        let work = Self {
            model,
            consts,
            stmts,
            losses: Vec::new(),
            tricks: Vec::new(),
            edits: Edits::default(),
            aliases: BTreeMap::new(),
            names,
            claims: BTreeMap::new(),
        };
        (work, sugar)
    }

    /// A name that nothing has yet: `want`, or with a number behind it.
    pub fn fresh(&mut self, want: &str) -> String {
        let mut name = want.to_string();
        let mut k = 2;
        while self.names.contains(&name) || crate::layers::table::lookup_call(&name).is_some() {
            name = format!("{want}_{k}");
            k += 1;
        }
        self.names.insert(name.clone());
        name
    }

    /// Adds a train-level `let` behind the draws and lets that there are.
    pub fn add_let(&mut self, name: &str, mut value: Expr) {
        walk::restore_parens(&mut value);
        let is_value = |s: &TrainStmt| matches!(s.kind, TrainStmtKind::Let(..) | TrainStmtKind::Draw { .. });
        let at = self.stmts.iter().rposition(is_value).map_or(0, |i| i + 1);
        let span = value.span;
        let kind = TrainStmtKind::Let(vec![super::make::ident(name, span)], value);
        self.stmts.insert(at, TrainStmt { doc: None, kind, span });
    }

    /// Notes that a trick sets `what`; an error if another one did.
    pub fn claim(&mut self, what: String, by: &TrickUse) -> Result<(), Diagnostic> {
        if let Some(first) = self.claims.get(&what) {
            return Err(Diagnostic::error("E0440", format!("two lines set {what}"))
                .at(by.span, "the second one")
                .label(*first, "the first one")
                .help("leave one of them out"));
        }
        self.claims.insert(what, by.span);
        Ok(())
    }

    /// Players, in order.
    pub fn players(&self) -> impl Iterator<Item = &Player> {
        self.stmts.iter().filter_map(|s| if let TrainStmtKind::Player(p) = &s.kind { Some(p) } else { None })
    }

    /// A player to change.
    pub fn player_mut(&mut self, name: &str) -> Option<&mut Player> {
        self.stmts.iter_mut().find_map(|s| match &mut s.kind {
            TrainStmtKind::Player(p) if p.name.name == name => Some(p),
            _ => None,
        })
    }

    /// Names of the players that update a network.
    pub fn players_of(&self, network: &str) -> Vec<String> {
        self.players().filter(|p| updates(p).contains(&network)).map(|p| p.name.name.clone()).collect()
    }

    /// The right side of a train-level `let` of one name.
    pub fn definition(&self, name: &str) -> Option<&Expr> {
        self.stmts.iter().find_map(|s| match &s.kind {
            TrainStmtKind::Let(names, e) if names.len() == 1 && names[0].name == name => Some(e),
            _ => None,
        })
    }

    /// Whether a draw or train-level `let` has this name.
    pub fn is_value(&self, name: &str) -> bool {
        self.stmts.iter().any(|s| match &s.kind {
            TrainStmtKind::Let(names, _) => names.iter().any(|n| n.name == name),
            TrainStmtKind::Draw { names, .. } => names.iter().any(|n| n.0.name == name),
            _ => false,
        })
    }

    /// Networks that an expression applies, through train-level `let`s.
    pub fn reach(&self, e: &Expr) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut todo = walk::names(e);
        while let Some(n) = todo.pop() {
            if !seen.insert(n.clone()) {
                continue;
            }
            if self.model.network(&n).is_some() {
                found.insert(n);
                continue;
            }
            for s in &self.stmts {
                if let TrainStmtKind::Let(names, e) = &s.kind
                    && names.iter().any(|x| x.name == n)
                {
                    todo.extend(walk::names(e));
                }
            }
        }
        found
    }

    /// The application that an expression is, through parentheses and train-level `let`s.
    pub fn application(&self, e: &Expr) -> Option<Application> {
        match &e.kind {
            ExprKind::Paren(inner) => self.application(inner),
            ExprKind::Name(n) => self.application(self.definition(n)?),
            ExprKind::Field(base, field) => {
                let a = self.application(base)?;
                a.field.is_none().then(|| Application { field: Some(field.clone()), ..a })
            }
            ExprKind::Call(callee, args) => {
                let alias = match &callee.kind {
                    ExprKind::Name(n) => self.aliases.get(n).and_then(|n| self.model.network(n)).map(|n| &n.item),
                    _ => None,
                };
                let network = alias.or_else(|| self.model.network_of(callee))?;
                let args = in_order(network, args)?;
                let network = network.name.name.clone();
                Some(Application { network, callee: (**callee).clone(), args, field: None, span: e.span })
            }
            _ => None,
        }
    }

    /// The application with the train-level lets in its arguments written out where they apply one of `networks`.
    pub fn written_out(&self, a: Application, networks: &[String]) -> Application {
        let args = a.args.iter().map(|e| self.spelled(e, networks, 0)).collect();
        Application { args, ..a }
    }

    fn spelled(&self, e: &Expr, networks: &[String], depth: usize) -> Expr {
        let mut e = e.clone();
        walk::expr_mut(&mut e, &mut |e| {
            if let ExprKind::Name(n) = &e.kind
                && depth < 64
                && let Some(value) = self.definition(n)
                && self.reach(value).iter().any(|r| networks.contains(r))
            {
                *e = self.spelled(value, networks, depth + 1);
                return false;
            }
            true
        });
        walk::restore_parens(&mut e);
        e
    }

    /// Adds a `let` to a player, after those that it has.
    pub fn add_player_let(&mut self, player: &str, line: PlayerLine) {
        if let Some(p) = self.player_mut(player) {
            let first = p.lines.iter().position(|l| !matches!(l.kind, PlayerLineKind::Let(..)));
            p.lines.insert(first.unwrap_or(p.lines.len()), line);
        }
    }

    /// Losses that a trick acts on.
    pub fn covered(&self, trick: &TrickUse) -> Vec<usize> {
        (0..self.losses.len())
            .filter(|&i| match trick.loss {
                Some(only) => only == i,
                None => {
                    let l = &self.losses[i];
                    trick.of.is_empty() || trick.of.iter().any(|o| o.name == l.name.name || o.name == l.judge)
                }
            })
            .collect()
    }

    /// Losses that a trick acts on, at least one.
    pub fn covered_or_refuse(&self, trick: &TrickUse) -> Result<Vec<usize>, Diagnostic> {
        let all = self.covered(trick);
        if !all.is_empty() {
            return Ok(all);
        }
        let text =
            if trick.of.is_empty() { "this train has no `loss` line" } else { "no `loss` line is meant by `of:`" };
        Err(Diagnostic::error("E0441", format!("trick `{}` has nothing to act on", trick.name.name))
            .at(trick.span, text)
            .help("it changes the scores that a `loss` line compares; write the term into the players instead"))
    }

    /// Players on the judging side, for tricks of optimisers: those of `of:`, or of the losses, or that update a
    /// network with the role of a discriminator.
    pub fn judges(&self, trick: &TrickUse) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for o in &trick.of {
            all.extend(self.players_of(&o.name));
        }
        if all.is_empty() {
            all = self.covered(trick).into_iter().flat_map(|i| self.losses[i].judges.clone()).collect();
        }
        if all.is_empty() && trick.of.is_empty() {
            all = self.by_role(Role::Discriminator);
        }
        self.in_text_order(all)
    }

    /// Players that update a network of this role.
    pub fn by_role(&self, role: Role) -> Vec<String> {
        self.players()
            .filter(|p| updates(p).iter().any(|n| self.model.network(n).is_some_and(|n| n.role == role)))
            .map(|p| p.name.name.clone())
            .collect()
    }

    /// Each name once, in the order of the players.
    pub fn in_text_order(&self, names: Vec<String>) -> Vec<String> {
        self.players().map(|p| p.name.name.clone()).filter(|n| names.contains(n)).collect()
    }

    /// Sets a named argument of a player's optimiser. `replace`: one that is already written gives way.
    pub fn set_optimiser(
        &mut self,
        player: &str,
        word: &str,
        value: Expr,
        trick: &TrickUse,
        replace: bool,
    ) -> Result<(), Diagnostic> {
        self.claim(format!("`{word}` of player `{player}`"), trick)?;
        let Some(p) = self.player_mut(player) else { return Ok(()) };
        let Some(using) = p.lines.iter_mut().find_map(|l| match &mut l.kind {
            PlayerLineKind::Using(e) => Some(e),
            _ => None,
        }) else {
            return Ok(());
        };
        if matches!(using.kind, ExprKind::Name(_)) {
            let args = Args { args: Vec::new(), span: using.span };
            *using = Expr { span: using.span, kind: ExprKind::Call(Box::new(using.clone()), args) };
        }
        let ExprKind::Call(_, args) = &mut using.kind else { return Ok(()) };
        let first = word == "lr" && args.args.first().is_some_and(|a| a.name.is_none());
        let old = match first {
            true => args.args.first_mut(),
            false => args.args.iter_mut().find(|a| a.name.as_ref().is_some_and(|n| n.name == word)),
        };
        match old {
            Some(old) if replace => old.value = value,
            Some(old) => {
                return Err(Diagnostic::error("E0440", format!("two lines set `{word}` of player `{player}`"))
                    .at(trick.span, "this trick sets it")
                    .label(old.value.span, "it is already given here")
                    .help("leave one of them out"));
            }
            None => args.args.push(super::make::named(word, value)),
        }
        Ok(())
    }

    /// A score as one number a sample, for `grad`: itself if the judge gives one, else its sum.
    pub fn one_score(&self, a: &Application, e: Expr) -> Expr {
        let one = |ty: &TypeExpr| match ty {
            TypeExpr::Shape(dims, _) => {
                dims.is_empty() || matches!(&dims[..], [Expr { kind: ExprKind::Number(n), .. }] if n == "1")
            }
            _ => false,
        };
        let single = self.model.network(&a.network).is_some_and(|n| match &n.result {
            ResultType::Single(ty) => one(ty),
            ResultType::Named(outs, _) => match &a.field {
                Some(f) => outs.iter().any(|o| o.name.name == f.name && one(&o.ty)),
                None => outs.first().is_some_and(|o| one(&o.ty)),
            },
        });
        let span = e.span;
        if single { e } else { super::make::call("sum", vec![e], span) }
    }
}

/// The networks that a player updates.
pub fn updates(p: &Player) -> Vec<&str> {
    if p.updates.is_empty() {
        vec![p.name.name.as_str()]
    } else {
        p.updates.iter().map(|n| n.name.as_str()).collect()
    }
}

/// Arguments of an application in the order of the inputs; `None` if they do not fit.
pub fn in_order(network: &Network, args: &Args) -> Option<Vec<Expr>> {
    let mut slots: Vec<Option<Expr>> = vec![None; network.inputs.len()];
    for (i, Arg { name, value }) in args.args.iter().enumerate() {
        let at = match name {
            None => i,
            Some(n) => network.inputs.iter().position(|x| x.name.name == n.name)?,
        };
        *slots.get_mut(at)? = Some(value.clone());
    }
    slots.into_iter().collect()
}

/// Decides the `if`s of a `train`.
pub fn flatten(consts: &Consts, stmts: &[TrainStmt], out: &mut Vec<TrainStmt>, errors: &mut Diagnostics) {
    use crate::layers::Value;
    for s in stmts {
        let TrainStmtKind::If(cond, inner) = &s.kind else {
            out.push(s.clone());
            continue;
        };
        match consts.eval(cond) {
            Ok(Value::Bool(true)) => flatten(consts, inner, out, errors),
            Ok(Value::Bool(false)) => {}
            Ok(v) => errors.push(
                Diagnostic::error("E0431", "the condition of an `if` in `train` is true or false")
                    .at(cond.span, format!("this is {}", crate::model::consts::describe(&v))),
            ),
            Err(d) => errors.push(d.note("an `if` in `train` is decided before the run, from consts")),
        }
    }
}
