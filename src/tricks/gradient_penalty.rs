//! `gradient_penalty(lambda: 10)`: the judge's gradient is to have norm 1 on lines between real and fake samples
//! (Gulrajani et al. 2017, WGAN-GP). One interpolation weight a sample, not one a pixel; the norm is over the whole
//! sample. `one_sided: true`: at most 1, smaller ones cost nothing (Petzka et al. 2018, WGAN-LP).

use super::make;
use super::work::{TrickUse, Work};
use crate::diag::Diagnostic;
use crate::layers::Value;
use crate::model::walk;
use crate::syntax::ast::{BinOp, Expr, TypeExpr};

/// Adds the penalty to the players that update the judge.
pub fn apply(work: &mut Work<'_>, t: &TrickUse) -> Result<(), Diagnostic> {
    let lambda = t.arg_or("lambda", 10.0);
    let one_sided = match t.args.get("one_sided") {
        None => false,
        Some(e) => match work.consts.eval(e)? {
            Value::Bool(b) => b,
            _ => {
                return Err(
                    Diagnostic::error("E0441", "`one_sided` is true or false").at(e.span, "this is neither")
                );
            }
        },
    };
    for i in work.covered_or_refuse(t)? {
        work.claim(format!("the gradient penalty of loss {} (`{}`)", i + 1, work.losses[i].name.name), t)?;
        let differing = differing(work, i, t)?;
        let scores = work.losses[i].discriminator.clone();
        let (Some(a), Some(b)) = (work.application(&scores.real), work.application(&scores.fake)) else { continue };
        let inputs: Vec<String> = match work.model.network(&a.network) {
            Some(n) => n.inputs.iter().map(|i| i.name.name.clone()).collect(),
            None => continue,
        };
        let span = t.span;
        let weight = work.fresh("t");
        let uniform = make::call("uniform", vec![make::number(0.0, span), make::number(1.0, span)], span);
        let mut lines = vec![make::let_line(&weight, uniform)];
        let mut args = a.args.clone();
        let mut mixes = Vec::new();
        for k in differing {
            let want = if mixes.is_empty() { "mix".to_string() } else { format!("mix_{}", inputs[k]) };
            let mix = work.fresh(&want);
            let w = || make::name(&weight, span);
            let rest = make::binary(BinOp::Sub, make::number(1.0, span), w());
            let value = make::binary(
                BinOp::Add,
                make::binary(BinOp::Mul, w(), a.args[k].clone()),
                make::binary(BinOp::Mul, rest, b.args[k].clone()),
            );
            lines.push(make::let_line(&mix, Expr { span, ..value }));
            args[k] = make::name(&mix, span);
            mixes.push(mix);
        }
        let score = work.one_score(&a, a.with_args(args));
        let grad = |mix: &String| make::call("grad", vec![score.clone(), make::name(mix, span)], span);
        let norm = match &mixes[..] {
            [one] => make::call("norm", vec![grad(one)], span),
            all => {
                let squares =
                    all.iter().map(|m| make::call("sum", vec![make::square(grad(m))], span)).collect::<Vec<_>>();
                let eps = make::number(1e-12, span);
                let terms: Vec<Expr> = squares.into_iter().chain([eps]).collect();
                match make::sum(terms) {
                    Some(s) => make::call("sqrt", vec![s], span),
                    None => continue,
                }
            }
        };
        let mut off = make::binary(BinOp::Sub, norm, make::number(1.0, span));
        if one_sided {
            off = make::call("max", vec![off, make::number(0.0, span)], span);
        }
        let mean = make::call("mean", vec![make::square(off)], span);
        let value = make::binary(BinOp::Mul, Expr { span, ..lambda.clone() }, mean);
        lines.push(make::minimize(value, t.args.get("every").cloned()));
        work.losses[i].judge_terms.extend(lines);
    }
    Ok(())
}

/// Inputs of the judge in which the two scores of a loss differ; an error if there are none to interpolate.
pub fn differing(work: &Work<'_>, loss: usize, t: &TrickUse) -> Result<Vec<usize>, Diagnostic> {
    let l = &work.losses[loss];
    let (Some(a), Some(b)) = (work.application(&l.discriminator.real), work.application(&l.discriminator.fake))
    else {
        return Ok(Vec::new());
    };
    let Some(network) = work.model.network(&a.network) else { return Ok(Vec::new()) };
    let all: Vec<usize> =
        (0..a.args.len().min(b.args.len())).filter(|&k| !walk::same(&a.args[k], &b.args[k])).collect();
    if let Some(&k) = all.iter().find(|&&k| matches!(network.inputs[k].ty, TypeExpr::Class(..))) {
        return Err(Diagnostic::error(
            "E0441",
            format!("trick `{}` needs a gradient with respect to a label", t.name.name),
        )
        .at(t.span, format!("input `{}` of `{}` is a class", network.inputs[k].name.name, a.network))
        .label(l.span, "the two scores differ in it"));
    }
    if all.is_empty() {
        return Err(Diagnostic::error("E0441", "the two scores of this loss see the same samples")
            .at(l.span, "no argument differs")
            .label(t.span, "this trick acts where they differ"));
    }
    Ok(all)
}
