//! `diff_augment(color, translation, cutout)`: random changes of what the judge sees, reals and fakes alike, in both
//! players' objectives, differentiable so that the generator is not taught to make changed pictures (Zhao et al. 2020).
//! Without words: all three.

use super::work::{TrickUse, Work};
use super::{make, seen};
use crate::diag::Diagnostic;
use crate::layers::Value;
use crate::syntax::ast::{Expr, ExprKind, TypeExpr};

/// The function behind each word.
const STEPS: [(&str, &str); 3] = [("color", "color_jitter"), ("translation", "translate"), ("cutout", "cutout")];

/// Wraps the arguments.
pub fn apply(work: &mut Work<'_>, t: &TrickUse) -> Result<(), Diagnostic> {
    let words: Vec<&Expr> = match t.args.get("augmentations").map(|e| &e.kind) {
        Some(ExprKind::List(items)) => items.iter().collect(),
        _ => Vec::new(),
    };
    let mut steps: Vec<&str> = Vec::new();
    for e in words {
        let found = STEPS.iter().find(|(word, _)| matches!(&e.kind, ExprKind::Name(n) if n == word));
        // Other words were refused by the resolver.
        let Some(&(word, step)) = found else { continue };
        if steps.contains(&step) {
            return Err(
                Diagnostic::error("E0440", format!("`{word}` is named twice")).at(e.span, "the second time")
            );
        }
        steps.push(step);
    }
    if steps.is_empty() {
        steps = STEPS.iter().map(|s| s.1).collect();
    }
    let fits = |work: &Work<'_>, judge: &str, ty: &TypeExpr| {
        let rank = match ty {
            TypeExpr::Shape(dims, _) => dims.len(),
            TypeExpr::Named(n) => match work.consts.get(&n.name) {
                Some(Value::List(items)) => items.len(),
                _ => 3,
            },
            TypeExpr::Class(..) => 0,
        };
        if rank == 3 {
            return Ok(());
        }
        Err(Diagnostic::error("E0441", "`diff_augment` changes pictures [c, h, w]")
            .at(t.span, format!("`{judge}` judges values of {rank} ax{}", if rank == 1 { "is" } else { "es" }))
            .help("`instance_noise` is for values of any shape"))
    };
    seen::change(work, t, "changed", &fits, &|x| {
        steps.iter().fold(x, |x, step| {
            let span = x.span;
            make::call(step, vec![x], span)
        })
    })
}
