//! Changes of what a judge sees: of the real-valued arguments in which the two scores of a loss differ.

use super::make;
use super::work::{Scores, TrickUse, Work};
use crate::diag::Diagnostic;
use crate::model::walk;
use crate::syntax::ast::{Expr, ExprKind, TypeExpr};

/// Positions of the arguments that a loss's scores differ in and that are no labels.
///
/// # Errors
/// E0441 if there are none.
fn samples(work: &Work<'_>, loss: usize, t: &TrickUse) -> Result<Vec<usize>, Diagnostic> {
    let l = &work.losses[loss];
    let scores = &l.discriminator;
    let (Some(a), Some(b), Some(network)) =
        (work.application(&scores.real), work.application(&scores.fake), work.model.network(&l.judge))
    else {
        return Ok(Vec::new());
    };
    let differ = |k: &usize| !walk::same(&a.args[*k], &b.args[*k]);
    let real = |k: &usize| !matches!(network.inputs[*k].ty, TypeExpr::Class(..));
    let all: Vec<usize> = (0..a.args.len().min(b.args.len())).filter(differ).filter(real).collect();
    if all.is_empty() {
        return Err(Diagnostic::error("E0441", "the two scores of this loss see the same samples")
            .at(l.span, "no argument differs but labels")
            .label(t.span, "this trick acts where they differ"));
    }
    Ok(all)
}

/// Replaces each of those arguments by `let NAME_WORD = change(argument)`, in both parts of each loss that the trick
/// acts on. `fits` may refuse an input of the judge, given its type.
pub fn change(
    work: &mut Work<'_>,
    t: &TrickUse,
    word: &str,
    fits: &dyn Fn(&Work<'_>, &str, &TypeExpr) -> Result<(), Diagnostic>,
    change: &dyn Fn(Expr) -> Expr,
) -> Result<(), Diagnostic> {
    for i in work.covered_or_refuse(t)? {
        work.claim(format!("`{}` of loss {} (`{}`)", t.name.name, i + 1, work.losses[i].name.name), t)?;
        let places = samples(work, i, t)?;
        let judge = work.losses[i].judge.clone();
        if let Some(network) = work.model.network(&judge) {
            for &k in &places {
                fits(work, &judge, &network.inputs[k].ty)?;
            }
        }
        let mut known: Vec<(Expr, Expr)> = Vec::new();
        let parts = [work.losses[i].discriminator.clone(), work.losses[i].generator.clone()].map(|scores| {
            let mut changed = |e: &Expr, want: &str| {
                let Some(a) = work.application(e) else { return e.clone() };
                let mut args = a.args.clone();
                for &k in &places {
                    let name = match known.iter().find(|(from, _)| walk::same(from, &args[k])) {
                        Some((_, name)) => name.clone(),
                        None => {
                            let stem = if let ExprKind::Name(n) = &args[k].kind { n.as_str() } else { want };
                            let fresh = work.fresh(&format!("{stem}_{word}"));
                            work.add_let(&fresh, change(args[k].clone()));
                            known.push((args[k].clone(), make::name(&fresh, args[k].span)));
                            make::name(&fresh, args[k].span)
                        }
                    };
                    args[k] = name;
                }
                a.with_args(args)
            };
            Scores { real: changed(&scores.real, "real"), fake: changed(&scores.fake, "fake") }
        });
        let [discriminator, generator] = parts;
        work.losses[i].discriminator = discriminator;
        work.losses[i].generator = generator;
    }
    Ok(())
}
