//! `unrolled(steps: 5)`: the generator side sees its judge as it will be after some of the judge's own updates, and
//! learns through them (Metz et al. 2017). The judge itself takes its ordinary step from where it is.

use super::make;
use super::work::{TrickUse, Work};
use crate::diag::Diagnostic;
use crate::layers::Value;
use crate::model::walk;
use crate::source::Span;
use crate::syntax::ast::{Expr, ExprKind};

/// The judge of the generator parts becomes `unroll(D, …)`.
pub fn apply(work: &mut Work<'_>, t: &TrickUse) -> Result<(), Diagnostic> {
    let Some(steps) = t.args.get("steps") else { return Ok(()) };
    match work.consts.eval(steps)? {
        Value::Number(n) if n >= 0.0 && n.fract() == 0.0 => {}
        _ => {
            return Err(Diagnostic::error("E0441", "`steps` of `unrolled` is a whole number, 0 or more")
                .at(steps.span, "how many updates of the judge the generator looks ahead"));
        }
    }
    for i in work.covered_or_refuse(t)? {
        let l = &work.losses[i];
        let (judge, makers, at) = (l.judge.clone(), l.makers.clone(), l.span);
        if makers.is_empty() {
            return Err(nobody(t, at, "no player minimises its generator part"));
        }
        match &work.players_of(&judge)[..] {
            [_] => {}
            [] => return Err(nobody(t, at, &format!("no player updates the judge `{judge}`"))),
            all => {
                let text = format!("`{judge}` is updated by {}: whose updates are meant?", all.join(" and "));
                return Err(nobody(t, at, &text));
            }
        }
        work.claim(super::past_players::opponent(&work.losses[i], i), t)?;
        let name = work.fresh(&format!("{judge}_ahead"));
        work.aliases.insert(name.clone(), judge.clone());
        let ahead = unrolled(t, &judge);
        for m in makers {
            work.add_player_let(&m, make::let_line(&name, ahead.clone()));
        }
        // Through lets of the train, which other players read as well.
        let seen = |e: &Expr| match work.application(e) {
            Some(mut a) => {
                replace(&mut a.callee, &judge, &name);
                a.with_args(a.args.clone())
            }
            // Within the function of another trick: `top_k(D(…), …)`.
            None => {
                let mut e = e.clone();
                replace(&mut e, &judge, &name);
                e
            }
        };
        let (real, fake) = (seen(&work.losses[i].generator.real), seen(&work.losses[i].generator.fake));
        let l = &mut work.losses[i];
        (l.generator.real, l.generator.fake) = (real, fake);
        for line in &mut l.maker_terms {
            walk::line_mut(line, &mut |e| {
                replace(e, &judge, &name);
                false
            });
        }
    }
    Ok(())
}

fn nobody(t: &TrickUse, loss: Span, text: &str) -> Diagnostic {
    Diagnostic::error("E0441", "trick `unrolled` has nothing to look ahead at")
        .at(loss, text)
        .label(t.span, "this trick lets the generator side see the judge some updates ahead")
        .help("limit it to another loss with `of:`, or leave it out")
}

/// `unroll(D, steps: 5, …)` with the trick's arguments.
fn unrolled(t: &TrickUse, judge: &str) -> Expr {
    let given = ["steps", "using", "order"].iter().filter_map(|w| t.args.get(*w).map(|e| (*w, e.clone())));
    make::call_named("unroll", vec![make::name(judge, t.span)], given.collect(), t.span)
}

/// Applications of the judge become those of the network `name`.
fn replace(e: &mut Expr, judge: &str, name: &str) {
    walk::expr_mut(e, &mut |e| {
        if let ExprKind::Name(n) = &mut e.kind
            && n == judge
        {
            *n = name.to_string();
        }
        true
    });
}
