//! `loss` and `trick` lines read into [`LossUse`] and [`TrickUse`]; losses written out into their players.

use super::make;
use super::work::{Application, LossUse, Scores, TrickUse, Work};
use crate::diag::{Diagnostic, Diagnostics};
use crate::layers::{Class, args, table};
use crate::model::{PAIRS, walk};
use crate::source::Span;
use crate::syntax::ast::{
    Args, Expr, ExprKind, Ident, LossLine, Network, PlayerLine, PlayerLineKind, Role, TrainStmt, TrainStmtKind,
};
use std::collections::{BTreeMap, BTreeSet};

/// Reads the `loss` and `trick` lines of a `train`.
pub fn read(work: &mut Work<'_>, sugar: &[TrainStmt], errors: &mut Diagnostics) {
    for s in sugar {
        match &s.kind {
            TrainStmtKind::Loss(name, args) => match read_loss(work, name, args.as_ref(), s.span) {
                Ok((l, trick)) => {
                    let index = work.losses.len();
                    work.losses.push(l);
                    if let Some(mut t) = trick {
                        t.loss = Some(index);
                        work.tricks.push(t);
                    }
                }
                Err(d) => errors.push(d),
            },
            TrainStmtKind::Trick(name, args) => {
                if let Some(t) = read_trick(name, args.as_ref(), s.span) {
                    work.tricks.push(t);
                }
            }
            _ => {}
        }
    }
}

/// Arguments were checked by the resolver: what does not bind here has been reported there.
fn read_trick(name: &Ident, written: Option<&Args>, span: Span) -> Option<TrickUse> {
    let sig = table::lookup(Class::Trick, &name.name)?;
    let all = written.map(|a| a.args.as_slice()).unwrap_or_default();
    let positional: Vec<&Expr> = all.iter().filter(|a| a.name.is_none()).map(|a| &a.value).collect();
    let named: Vec<(&str, &Expr)> =
        all.iter().filter_map(|a| a.name.as_ref().map(|n| (n.name.as_str(), &a.value))).collect();
    let names: Vec<&str> = named.iter().map(|n| n.0).collect();
    let slots = args::bind_names(sig, positional.len(), &names).ok()?;
    let mut args = BTreeMap::new();
    for (slot, p) in slots.iter().zip(sig.params) {
        let value = match slot {
            args::Slot::Positional(i) => positional[*i],
            args::Slot::Named(i) => named[*i].1,
            args::Slot::Many(all) => {
                let items = all.iter().map(|&i| positional[i].clone()).collect();
                args.insert(p.name.to_string(), Expr { kind: ExprKind::List(items), span });
                continue;
            }
            args::Slot::Default | args::Slot::Columns(_) => continue,
        };
        args.insert(p.name.to_string(), value.clone());
    }
    let of = match args.get("of").map(|e| &e.kind) {
        Some(ExprKind::List(items)) => items.iter().filter_map(word).collect(),
        Some(_) => args.get("of").and_then(word).into_iter().collect(),
        None => Vec::new(),
    };
    Some(TrickUse { name: name.clone(), span, args, of, loss: None })
}

fn word(e: &Expr) -> Option<Ident> {
    match &e.kind {
        ExprKind::Name(n) => Some(Ident { name: n.clone(), span: e.span }),
        _ => None,
    }
}

fn read_loss(
    work: &Work<'_>,
    name: &Ident,
    written: Option<&Args>,
    span: Span,
) -> Result<(LossUse, Option<TrickUse>), Diagnostic> {
    let pair = PAIRS.iter().find(|p| p.name == name.name && work.model.loss(p.name).is_none());
    let base = pair.map_or(name.name.as_str(), |p| p.loss);
    let Some(def) = work.model.loss(base) else {
        return Err(Diagnostic::error("E0202", format!("there is no loss `{}`", name.name)).at(name.span, ""));
    };
    let params: Vec<&str> = def.params.iter().map(|p| p.name.name.as_str()).collect();
    let extra = pair.map(|p| p.options).unwrap_or_default();
    let mut bound: BTreeMap<String, Expr> = BTreeMap::new();
    let mut trick = BTreeMap::new();
    for (i, a) in written.map(|a| a.args.as_slice()).unwrap_or_default().iter().enumerate() {
        match &a.name {
            None if i < params.len() => {
                bound.insert(params[i].to_string(), a.value.clone());
            }
            Some(n) if extra.contains(&n.name.as_str()) => {
                trick.insert(n.name.clone(), a.value.clone());
            }
            Some(n) => {
                bound.insert(n.name.clone(), a.value.clone());
            }
            None => {}
        }
    }
    let [real_param, fake_param, ..] = params[..] else {
        return Err(Diagnostic::error("E0430", format!("loss `{base}` has no parameters for scores"))
            .at(def.name.span, "the first two are the scores of real and of fake samples"));
    };
    let (real, fake) = match (bound.remove(real_param), bound.remove(fake_param)) {
        (Some(a), Some(b)) => (a, b),
        (None, None) => complete(work, name, span)?,
        _ => {
            return Err(Diagnostic::error("E0427", format!("loss `{}` needs both scores, or none", name.name))
                .at(span, "one of them is missing")
                .help(format!("write `{}(D(real), D(G(z)))`, or leave both out", name.name)));
        }
    };
    let (a, b) = (judged(work, &real)?, judged(work, &fake)?);
    if a.network != b.network {
        return Err(Diagnostic::error("E0427", "the two scores of a loss must come from one network")
            .at(fake.span, format!("this is judged by `{}`", b.network))
            .label(real.span, format!("this is judged by `{}`", a.network)));
    }
    let judge = a.network;
    let judges = work.players_of(&judge);
    let mut makers = Vec::new();
    for n in work.reach(&fake) {
        if n != judge {
            makers.extend(work.players_of(&n));
        }
    }
    let makers = work.in_text_order(makers);
    if let Some(both) = makers.iter().find(|m| judges.contains(m)) {
        let at = work.players().find(|p| p.name.name == *both).map_or(span, |p| p.name.span);
        return Err(Diagnostic::error(
            "E0429",
            format!("player `{both}` would play both sides of `{}`", name.name),
        )
        .at(at, format!("updates the judge `{judge}` and a network whose output it judges"))
        .label(span, "this loss has two sides")
        .help("give the two networks to two players"));
    }
    if judges.is_empty() && makers.is_empty() {
        return Err(Diagnostic::error("E0429", format!("no player minimises a part of `{}`", name.name))
            .at(span, format!("nothing updates `{judge}` or a network inside the second score")));
    }
    let scores = Scores { real, fake };
    let loss = LossUse {
        name: name.clone(),
        span,
        def: def.item.clone(),
        prelude: work.model.is_prelude(def),
        judge,
        discriminator: scores.clone(),
        generator: scores,
        options: bound,
        judge_options: BTreeMap::new(),
        statistics: None,
        judges,
        makers,
        judge_terms: Vec::new(),
        maker_terms: Vec::new(),
    };
    let trick = pair.map(|p| TrickUse {
        name: make::ident(p.trick, name.span),
        span,
        args: trick,
        of: Vec::new(),
        loss: None,
    });
    Ok((loss, trick))
}

fn judged(work: &Work<'_>, e: &Expr) -> Result<Application, Diagnostic> {
    work.application(e).ok_or_else(|| {
        Diagnostic::error("E0427", "the scores of a loss must be applications of one network")
            .at(e.span, "this is not a network applied to something")
            .help("write for example `D(real)`; an objective of another form goes into the players: `minimize …`")
    })
}

/// The bare form: `L(D(real, s…), D(G(i…), s…))`.
fn complete(work: &Work<'_>, name: &Ident, span: Span) -> Result<(Expr, Expr), Diagnostic> {
    let fail = |text: String| {
        Diagnostic::error("E0428", format!("loss `{}` cannot be completed: {text}", name.name))
            .at(span, "the bare form takes the only discriminator, the only generator and draws by their names")
            .help(format!("write the scores: `{}(D(real), D(G(z)))`", name.name))
    };
    let only = |role: Role, what: &str| -> Result<&Network, Diagnostic> {
        let all: Vec<&Network> = work.model.networks.iter().map(|n| &n.item).filter(|n| n.role == role).collect();
        match all[..] {
            [one] => Ok(one),
            [] => Err(fail(format!("there is no {what}"))),
            _ => {
                let names: Vec<String> = all.iter().map(|n| format!("`{}`", n.name.name)).collect();
                Err(fail(format!("there are several {what}s: {}", names.join(", "))))
            }
        }
    };
    let d = only(Role::Discriminator, "discriminator")?;
    let g = only(Role::Generator, "generator")?;
    let mut missing: Vec<String> = Vec::new();
    let mut value = |n: &str, of: String| {
        if !work.is_value(n) && !missing.iter().any(|m| m.starts_with(&format!("`{n}` "))) {
            missing.push(format!("`{n}` ({of})"));
        }
        make::name(n, span)
    };
    let real = value("real", "the real samples".to_string());
    let inputs = g.inputs.iter().map(|i| value(&i.name.name, format!("an input of {}", g.name.name))).collect();
    let side: Vec<Expr> =
        d.inputs.iter().skip(1).map(|i| value(&i.name.name, format!("an input of {}", d.name.name))).collect();
    if !missing.is_empty() {
        return Err(fail(format!("no draw is named {}", missing.join(", "))));
    }
    let judge = |first: Expr| {
        let args = [first].into_iter().chain(side.iter().cloned()).collect();
        make::call(&d.name.name, args, span)
    };
    let fake = make::call(&g.name.name, inputs, span);
    Ok((judge(real), judge(fake)))
}

/// Writes the parts of all losses into their players, before the players' own objectives.
pub fn write(work: &mut Work<'_>) {
    let mut added: BTreeMap<String, Vec<PlayerLine>> = BTreeMap::new();
    for loss in work.losses.clone() {
        for (players, judge) in [(&loss.judges, true), (&loss.makers, false)] {
            if players.is_empty() {
                continue;
            }
            let mut lines = part(work, &loss, judge);
            lines.extend(if judge { loss.judge_terms.clone() } else { loss.maker_terms.clone() });
            for p in players {
                added.entry(p.clone()).or_default().extend(lines.clone());
            }
        }
    }
    for (player, lines) in added {
        if let Some(p) = work.player_mut(&player) {
            let at =
                p.lines.iter().position(|l| !matches!(l.kind, PlayerLineKind::Let(..))).unwrap_or(p.lines.len());
            p.lines.splice(at..at, lines);
        }
    }
}

/// One part of a loss as lines of a player: its lets under fresh names, then what it minimises.
fn part(work: &mut Work<'_>, loss: &LossUse, judge: bool) -> Vec<PlayerLine> {
    let (scores, mut lines) = super::batch_statistics::scores(work, loss, judge);
    let mut map: BTreeMap<String, Expr> = BTreeMap::new();
    for (i, p) in loss.def.params.iter().enumerate() {
        let own = loss.judge_options.get(&p.name.name).filter(|_| judge);
        let value = match (i, own.or(loss.options.get(&p.name.name)), &p.default) {
            (0, ..) => scores.real.clone(),
            (1, ..) => scores.fake.clone(),
            (_, Some(given), _) => given.clone(),
            (_, None, Some(default)) => {
                let mut e = default.clone();
                walk::substitute(&mut e, &map);
                e
            }
            (_, None, None) => continue,
        };
        map.insert(p.name.name.clone(), value);
    }
    let mut wanted: Vec<Expr> = Vec::new();
    for l in &loss.def.lines {
        match l {
            LossLine::Discriminator(e, _) if judge => wanted.push(e.clone()),
            LossLine::Generator(e, _) if !judge => wanted.push(e.clone()),
            _ => {}
        }
    }
    // Only the lets that this part needs, found from its end backwards.
    let mut needed: BTreeSet<String> = wanted.iter().flat_map(walk::names).collect();
    let mut lets = Vec::new();
    for l in loss.def.lines.iter().rev() {
        if let LossLine::Let(name, e) = l
            && needed.contains(&name.name)
        {
            needed.extend(walk::names(e));
            lets.push((name, e.clone()));
        }
    }
    let place = |e: &mut Expr| {
        if loss.prelude {
            walk::respan(e, loss.span);
        }
    };
    for (name, mut e) in lets.into_iter().rev() {
        place(&mut e);
        walk::substitute(&mut e, &map);
        let fresh = work.fresh(&name.name);
        map.insert(name.name.clone(), make::name(&fresh, e.span));
        lines.push(make::let_line(&fresh, e));
    }
    for mut e in wanted {
        place(&mut e);
        walk::substitute(&mut e, &map);
        lines.push(make::minimize(e, None));
    }
    lines
}
