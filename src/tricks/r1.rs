//! `r1(gamma: 10)` and `r2`: gamma / 2 times the squared norm of the judge's gradient at real (fake) samples
//! (Mescheder et al. 2018). `every: k` makes it lazy: it counts in each k-th iteration, times k (Karras et al. 2020).

use super::gradient_penalty::differing;
use super::make;
use super::work::{TrickUse, Work};
use crate::diag::Diagnostic;
use crate::syntax::ast::{BinOp, Expr, ExprKind};

/// At real samples.
pub fn r1(work: &mut Work<'_>, t: &TrickUse) -> Result<(), Diagnostic> {
    apply(work, t, true)
}

/// At fake samples.
pub fn r2(work: &mut Work<'_>, t: &TrickUse) -> Result<(), Diagnostic> {
    apply(work, t, false)
}

fn apply(work: &mut Work<'_>, t: &TrickUse, real: bool) -> Result<(), Diagnostic> {
    let gamma = t.arg_or("gamma", 10.0);
    for i in work.covered_or_refuse(t)? {
        work.claim(format!("{} of loss {} (`{}`)", t.name.name, i + 1, work.losses[i].name.name), t)?;
        let differing = differing(work, i, t)?;
        let scores = &work.losses[i].discriminator;
        let Some(a) = work.application(if real { &scores.real } else { &scores.fake }) else { continue };
        let span = t.span;
        let mut lines = Vec::new();
        let mut args = a.args.clone();
        let mut points = Vec::new();
        for k in differing {
            if !matches!(args[k].kind, ExprKind::Name(_)) {
                let point = work.fresh(if real { "at_real" } else { "at_fake" });
                lines.push(make::let_line(&point, args[k].clone()));
                args[k] = make::name(&point, span);
            }
            points.push(args[k].clone());
        }
        let score = work.one_score(&a, a.with_args(args));
        let squares = points
            .into_iter()
            .map(|x| make::call("sum", vec![make::square(make::call("grad", vec![score.clone(), x], span))], span));
        let Some(total) = make::sum(squares.collect()) else { continue };
        let mean = make::call("mean", vec![total], span);
        let weight = match &gamma.kind {
            ExprKind::Number(text) if crate::model::consts::number(text).is_some() => {
                make::number(0.5 * crate::model::consts::number(text).unwrap_or_default(), span)
            }
            _ => make::binary(BinOp::Mul, make::number(0.5, span), gamma.clone()),
        };
        let value = match &weight.kind {
            ExprKind::Number(one) if one == "1" => mean,
            _ => make::binary(BinOp::Mul, Expr { span, ..weight }, mean),
        };
        lines.push(make::minimize(value, t.args.get("every").cloned()));
        work.losses[i].judge_terms.extend(lines);
    }
    Ok(())
}
