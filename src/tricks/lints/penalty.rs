//! Critics: penalties on gradients, and bounds.

use super::super::work::Work;
use super::{called, definition, layers_of, lines};
use crate::diag::{Diagnostic, Diagnostics};
use crate::model::walk;
use crate::source::Span;
use crate::syntax::ast::{BinOp, Expr, ExprKind, Input, Modifier, Player, PlayerLineKind, TypeExpr};
use std::collections::BTreeSet;

/// Batch norms in a network whose gradient an objective takes.
pub fn batch_norms(work: &Work<'_>, out: &mut Diagnostics) {
    let mut found: Vec<(String, Span)> = Vec::new();
    for p in work.players() {
        for e in lines(p) {
            walk::expr(e, &mut |e| {
                if let Some(("grad", [y, ..])) = called(e) {
                    found.extend(work.reach(&y.value).into_iter().map(|n| (n, e.span)));
                }
                true
            });
        }
    }
    let mut seen = BTreeSet::new();
    for (name, span) in found {
        if !seen.insert(name.clone()) {
            continue;
        }
        let norms = ["batch_norm", "conditional_batch_norm"];
        if let Some(at) = layers_of(work, &name).into_iter().find(|l| norms.contains(&l.name.name.as_str())) {
            out.push(
                Diagnostic::warning("W0403", format!("`{name}` has a batch norm and a penalty on its gradient"))
                    .at(at.name.span, "mixes the samples of a batch")
                    .label(span, "this takes one gradient a sample")
                    .note("with batch norm the score of a sample depends on the others, so the penalty is not that of the paper (Gulrajani et al. 2017, section 4)")
                    .help("use layer_norm or instance_norm, or none"),
            );
        }
    }
}

/// Penalties at points between real and fake that are mixed with one number an element.
pub fn per_element(work: &Work<'_>, out: &mut Diagnostics) {
    for p in work.players() {
        let mut found = Vec::new();
        for e in lines(p) {
            walk::expr(e, &mut |e| {
                if let Some(("grad", [y, x, ..])) = called(e)
                    && !work.reach(&y.value).is_empty()
                {
                    found.push((x.value.clone(), e.span));
                }
                true
            });
        }
        for (x, span) in found {
            let mix = match &x.kind {
                ExprKind::Name(n) => definition(work, p, n).cloned().unwrap_or(x),
                _ => x,
            };
            let Some(at) = weights(&mix).into_iter().find_map(|w| noise_an_element(work, p, &w)) else { continue };
            out.push(
                Diagnostic::warning("W0407", "the points of this gradient penalty are mixed element by element")
                    .at(at, "this is one number an element")
                    .label(span, "the penalty is taken here")
                    .note("points on the lines between real and fake samples have one number a sample (Gulrajani et al. 2017, algorithm 1)")
                    .help("write `uniform(0, 1)`: one number a sample"),
            );
        }
    }
}

/// Norms of gradients over a part of a sample's axes: many small norms, each pulled to 1, instead of the sample's.
pub fn part_of_axes(work: &Work<'_>, out: &mut Diagnostics) {
    for p in work.players() {
        for e in lines(p) {
            walk::expr(e, &mut |e| {
                let Some(("sum", [of, rest @ ..])) = called(e) else { return true };
                let axes = rest.iter().find(|a| a.name.as_ref().is_some_and(|n| n.name == "axes"));
                let (Some(axes), Some(rank)) = (axes, gradient(work, p, &of.value)) else { return true };
                let ExprKind::List(given) = &axes.value.kind else { return true };
                if given.len() < rank {
                    out.push(
                        Diagnostic::warning("W0411", "this sum over a gradient leaves out some of its axes")
                            .at(axes.value.span, format!("{} of a sample's {rank} axes", given.len()))
                            .label(e.span, "gives several numbers a sample")
                            .note("a gradient penalty takes one norm a sample, over all of its elements (Gulrajani et al. 2017, algorithm 1)")
                            .help("write `norm(…)`, or leave `axes` out: the batch is never among them"),
                    );
                }
                true
            });
        }
    }
}

/// The rank of what a network's gradient is taken by, if an expression is such a gradient (squared or not).
fn gradient(work: &Work<'_>, p: &Player, e: &Expr) -> Option<usize> {
    match &e.kind {
        ExprKind::Paren(inner) => gradient(work, p, inner),
        ExprKind::Binary(BinOp::Pow, base, _) => gradient(work, p, base),
        ExprKind::Name(n) => {
            let of = definition(work, p, n)?;
            matches!(called(of), Some(("grad", _))).then(|| gradient(work, p, of))?
        }
        _ => {
            let Some(("grad", [y, _, ..])) = called(e) else { return None };
            let network = work.model.network(work.reach(&y.value).first()?)?;
            let rank = |i: &Input| match &i.ty {
                TypeExpr::Shape(dims, _) => Some(dims.len()),
                _ => None,
            };
            network.inputs.iter().find_map(rank)
        }
    }
}

/// The weights of a mixture: `t` of `t * a + (1 - t) * b`, and of `a + t * (b - a)`.
fn weights(mix: &Expr) -> Vec<Expr> {
    fn inner(e: &Expr) -> &Expr {
        if let ExprKind::Paren(i) = &e.kind { inner(i) } else { e }
    }
    let mut found = Vec::new();
    walk::expr(mix, &mut |e| {
        match &e.kind {
            ExprKind::Binary(BinOp::Sub, one, t) if matches!(&inner(one).kind, ExprKind::Number(n) if n == "1") => {
                found.push((**t).clone());
            }
            ExprKind::Binary(BinOp::Mul, a, b) => {
                for (t, other) in [(a, b), (b, a)] {
                    if matches!(&inner(other).kind, ExprKind::Binary(BinOp::Sub, ..)) {
                        found.push((**t).clone());
                    }
                }
            }
            _ => {}
        }
        true
    });
    found
}

/// Where a weight is uniform noise with a shape of its own.
fn noise_an_element(work: &Work<'_>, p: &Player, weight: &Expr) -> Option<Span> {
    let e = match &weight.kind {
        ExprKind::Paren(inner) => return noise_an_element(work, p, inner),
        ExprKind::Name(n) => definition(work, p, n)?,
        _ => weight,
    };
    let (name, args) = called(e)?;
    let shaped = args.iter().any(|a| match a.name.as_ref().map(|n| n.name.as_str()) {
        Some("like") => true,
        Some("shape") => matches!(&a.value.kind, ExprKind::List(dims) if !dims.is_empty()),
        _ => false,
    });
    (name == "uniform" && shaped).then_some(e.span)
}

/// Wasserstein critics that nothing keeps from growing.
pub fn unbounded(work: &Work<'_>, out: &mut Diagnostics) {
    let spectral = |with: &[Modifier]| with.iter().any(|m| m.name.name == "spectral_norm");
    for l in work.losses.iter().filter(|l| l.prelude && l.def.name.name == "wasserstein" && !l.judges.is_empty()) {
        let bounded = work.model.network(&l.judge).is_some_and(|n| spectral(&n.with))
            || layers_of(work, &l.judge).iter().any(|c| spectral(&c.with))
            || work.players().filter(|p| l.judges.contains(&p.name.name)).any(bounds);
        if !bounded {
            out.push(
                Diagnostic::warning("W0405", format!("nothing bounds the critic `{}`", l.judge))
                    .at(l.span, "its scores can grow without end")
                    .note("the difference of scores is a distance only for a critic with a Lipschitz bound (Arjovsky et al. 2017)")
                    .help("add `trick gradient_penalty(lambda: 10)` or `trick weight_clip(0.01)`, or `with spectral_norm` to the network"),
            );
        }
    }
}

/// Whether a player clips weights or penalises a gradient.
fn bounds(p: &Player) -> bool {
    let clips = p.lines.iter().any(|l| match &l.kind {
        PlayerLineKind::Using(e) => called(e).is_some_and(|(_, args)| {
            args.iter().any(|a| a.name.as_ref().is_some_and(|n| n.name == "clip_weights"))
        }),
        _ => false,
    });
    let mut penalises = false;
    for e in lines(p) {
        walk::expr(e, &mut |e| {
            penalises |= matches!(called(e), Some(("grad", _)));
            true
        });
    }
    clips || penalises
}
