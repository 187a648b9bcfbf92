//! `feature_matching(tap: features, weight: 1)`: the generator also matches the *batch means* of an intermediate value
//! of the judge, `weight * |E f(x) - E f(G(z))|^2` (Salimans et al. 2016, section 3.1). Not a distance between a real
//! sample and a fake one that happen to have the same place in their batches.

use super::bodies;
use super::make;
use super::work::{TrickUse, Work};
use crate::diag::Diagnostic;
use crate::layers::table::nearest;
use crate::syntax::ast::{BinOp, Expr, ExprKind, Ident};

/// Adds the term to the generator's players.
pub fn apply(work: &mut Work<'_>, t: &TrickUse) -> Result<(), Diagnostic> {
    let Some(given) = t.args.get("tap") else { return Ok(()) };
    // `features`, or `D.features`.
    let (network, tap) = match &given.kind {
        ExprKind::Name(n) => (None, Ident { name: n.clone(), span: given.span }),
        ExprKind::Field(base, f) => match &base.kind {
            ExprKind::Name(n) => (Some(n.clone()), f.clone()),
            _ => return Err(not_a_tap(given)),
        },
        _ => return Err(not_a_tap(given)),
    };
    let mut losses = work.covered_or_refuse(t)?;
    if let Some(n) = &network {
        losses.retain(|&i| work.losses[i].judge == *n);
        if losses.is_empty() {
            return Err(Diagnostic::error("E0441", format!("no `loss` line is judged by `{n}`"))
                .at(given.span, "a tap of the judge is meant"));
        }
    }
    for i in losses {
        let l = &work.losses[i];
        let names = bodies::taps(work.model, &l.judge);
        if !names.contains(&tap.name) {
            let d = Diagnostic::error("E0441", format!("`{}` has no tap `{}`", l.judge, tap.name))
                .at(tap.span, "not among its taps");
            return Err(match nearest(&tap.name, names.iter().map(String::as_str)) {
                Some(n) => d.help(format!("did you mean `{n}`?")),
                None if names.is_empty() => d.help(format!("write `tap {}` after a layer of it", tap.name)),
                None => d.help(format!("it has {}", names.join(", "))),
            });
        }
        if l.makers.is_empty() {
            return Err(Diagnostic::error("E0441", "no player makes what this loss calls fake")
                .at(l.span, format!("nobody but the judge `{}` is trained by it", l.judge))
                .label(t.span, "this trick is for the generator"));
        }
        let (Some(real), Some(fake)) = (work.application(&l.generator.real), work.application(&l.generator.fake))
        else {
            continue;
        };
        work.claim(format!("matching of `{}` of loss {} (`{}`)", tap.name, i + 1, work.losses[i].name.name), t)?;
        let span = t.span;
        let mean = |a: super::work::Application| {
            let a = super::work::Application { field: Some(Ident { name: tap.name.clone(), span }), ..a };
            let args = a.args.clone();
            make::call("batch_mean", vec![a.with_args(args)], span)
        };
        let apart = make::binary(BinOp::Sub, mean(real), mean(fake));
        let mut value = make::call("sum", vec![make::square(apart)], span);
        if let Some(weight) = t.args.get("weight") {
            value = make::binary(BinOp::Mul, Expr { span, ..weight.clone() }, value);
        }
        work.losses[i].maker_terms.push(make::minimize(value, None));
    }
    Ok(())
}

fn not_a_tap(e: &Expr) -> Diagnostic {
    Diagnostic::error("E0441", "`tap` names a tap of the judge")
        .at(e.span, "this is something else")
        .help("write `tap: features` where the judge says `tap features`")
}
