//! `past_players(keep: 5, every: 500, swap_each: 100, for: 5)`: for the last 5 of each 100 iterations a player plays
//! against one of the opponent's last 5 snapshots, which are taken each 500 iterations (Pfau & Vinyals 2016 suggest
//! the swap; no ablation of it is known to us). Which one is drawn from the seed when the swap begins.

use super::make;
use super::work::{LossUse, TrickUse, Work};
use crate::diag::Diagnostic;
use crate::model::walk;
use crate::syntax::ast::{Expr, ExprKind};

/// What two tricks cannot both decide: the judge that the generator side of a loss sees.
pub fn opponent(l: &LossUse, index: usize) -> String {
    format!("the judge that the generator side of loss {} (`{}`) sees", index + 1, l.name.name)
}

/// Each side of the losses sees `past(opponent, …)`.
pub fn apply(work: &mut Work<'_>, t: &TrickUse) -> Result<(), Diagnostic> {
    let mut used = false;
    for i in 0..work.losses.len() {
        let l = work.losses[i].clone();
        let whole = t.of.is_empty() || t.of.iter().any(|o| o.name == l.name.name);
        let wanted = |net: &str| whole || t.of.iter().any(|o| o.name == net);

        // The discriminator side: the networks of the generator side within the fakes.
        let mut nets: Vec<String> = Vec::new();
        for n in work.reach(&l.discriminator.fake) {
            let played = work.players_of(&n).iter().any(|p| l.makers.contains(p));
            if n != l.judge && played && wanted(&n) {
                nets.push(n);
            }
        }
        if !nets.is_empty() && !l.judges.is_empty() {
            let Some(fake) = work.application(&l.discriminator.fake) else { continue };
            let mut fake = work.written_out(fake, &nets);
            work.claim(format!("the fakes that the judge of loss {} (`{}`) sees", i + 1, l.name.name), t)?;
            fake.args.iter_mut().for_each(|e| replace(e, &nets, t));
            work.losses[i].discriminator.fake = fake.with_args(fake.args.clone());
            used = true;
        }
        // The generator side: the judge.
        let judged = !work.players_of(&l.judge).is_empty();
        if wanted(&l.judge) && judged && !l.makers.is_empty() {
            work.claim(opponent(&l, i), t)?;
            let seen = |e: &Expr| {
                work.application(e).map(|mut a| {
                    wrap(&mut a.callee, &l.judge, t);
                    a.with_args(a.args.clone())
                })
            };
            let (real, fake) = (seen(&l.generator.real), seen(&l.generator.fake));
            let scores = &mut work.losses[i].generator;
            scores.real = real.unwrap_or_else(|| scores.real.clone());
            scores.fake = fake.unwrap_or_else(|| scores.fake.clone());
            used = true;
        }
    }
    if used {
        return Ok(());
    }
    Err(Diagnostic::error("E0441", "trick `past_players` has no opponents to exchange")
        .at(t.span, "no `loss` here has two players, or none of them is meant by `of:`")
        .help("it exchanges the networks that a `loss` line compares; in other objectives write `past(G, keep: …, every: …)`"))
}

/// `past(net, keep: …, every: …, swap_each: …, for: …)`; the period of swaps is that of snapshots unless given.
fn past(net: &str, t: &TrickUse) -> Expr {
    let each = t.args.get("swap_each").or_else(|| t.args.get("every")).cloned();
    let last = t.args.get("for").cloned().unwrap_or_else(|| make::number(1.0, t.span));
    let mut named = Vec::new();
    for word in ["keep", "every"] {
        if let Some(e) = t.args.get(word) {
            named.push((word, e.clone()));
        }
    }
    named.extend(each.map(|e| ("swap_each", e)));
    named.push(("for", last));
    make::call_named("past", vec![make::name(net, t.span)], named, t.span)
}

/// Applications of the networks become those of their snapshots.
fn replace(e: &mut Expr, nets: &[String], t: &TrickUse) {
    walk::expr_mut(e, &mut |e| {
        if let ExprKind::Call(callee, _) = &mut e.kind
            && let ExprKind::Name(n) = &callee.kind
            && nets.contains(n)
        {
            **callee = past(n, t);
        }
        true
    });
}

/// The network within a function of it, such as `eval(D)`, becomes its snapshot.
fn wrap(callee: &mut Expr, net: &str, t: &TrickUse) {
    walk::expr_mut(callee, &mut |e| match &e.kind {
        ExprKind::Name(n) if n == net => {
            *e = past(net, t);
            false
        }
        _ => true,
    });
}
