//! `batch_statistics(cross)`: whose statistics the judge's batch norms use when it sees real and fake samples: each
//! minibatch its own (the default of the language; Radford et al. 2016), those of both together, of the reals, of the
//! fakes, or half of the channels each (Salimans et al. 2016, whose ImageNet model has all of them).

use super::make;
use super::work::{LossUse, Scores, TrickUse, Work};
use crate::diag::Diagnostic;
use crate::model::{Model, walk};
use crate::syntax::ast::{Expr, ExprKind, Network, PlayerLine};
use std::collections::BTreeSet;

/// Notes the word in each loss; [`scores`] writes it out, after all tricks that look at the scores.
pub fn apply(work: &mut Work<'_>, t: &TrickUse) -> Result<(), Diagnostic> {
    let Some(word) = t.args.get("stats") else { return Ok(()) };
    let own = matches!(&word.kind, ExprKind::Name(w) if w == "own");
    for i in work.covered_or_refuse(t)? {
        let l = &work.losses[i];
        let normalised = work.model.network(&l.judge).is_some_and(|n| has_batch_norm(work.model, n));
        if !normalised && !own {
            return Err(Diagnostic::error("E0441", format!("judge `{}` has no batch norms", l.judge))
                .at(t.span, "this trick says whose statistics they use")
                .help("leave the trick out"));
        }
        work.claim(format!("the statistics of loss {} (`{}`)", i + 1, l.name.name), t)?;
        if !own {
            work.losses[i].statistics = Some(word.clone());
        }
    }
    Ok(())
}

/// Whether a network, or a block that it uses, names a batch norm.
fn has_batch_norm(model: &Model, network: &Network) -> bool {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut bodies = vec![&network.body];
    while let Some(body) = bodies.pop() {
        for name in walk::calls(body) {
            if matches!(&name[..], "batch_norm" | "conditional_batch_norm") {
                return true;
            }
            if let Some(b) = model.block(&name).filter(|_| seen.insert(name)) {
                bodies.push(&b.body);
            }
        }
    }
    false
}

/// The scores as a part of a loss sees them, and the lines that they need before them.
pub fn scores(work: &mut Work<'_>, loss: &LossUse, judge: bool) -> (Scores, Vec<PlayerLine>) {
    let scores = if judge { loss.discriminator.clone() } else { loss.generator.clone() };
    let (Some(word), Some(a), Some(b)) =
        (&loss.statistics, work.application(&scores.real), work.application(&scores.fake))
    else {
        return (scores, Vec::new());
    };
    let (real, fake) = (work.fresh("on_real"), work.fresh("on_fake"));
    let span = word.span;
    let joint = make::call_named("joint", vec![a.callee.clone()], vec![("stats", word.clone())], span);
    let args = a.args.iter().chain(&b.args).cloned().collect();
    let line = make::let_all(&[&real, &fake], make::apply(joint, args, span));
    let read = |name: &str, field: &Option<crate::syntax::ast::Ident>| {
        let e = make::name(name, span);
        match field {
            Some(f) => Expr { kind: ExprKind::Field(Box::new(e), f.clone()), span },
            None => e,
        }
    };
    (Scores { real: read(&real, &a.field), fake: read(&fake, &b.field) }, vec![line])
}
