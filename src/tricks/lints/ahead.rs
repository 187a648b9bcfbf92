//! Judges that are seen some updates ahead.

use super::super::work::Work;
use super::{argument, called, layers_of, lines};
use crate::diag::{Diagnostic, Diagnostics};
use crate::layers::Value;
use crate::model::walk;
use crate::syntax::ast::{Expr, ExprKind, LayerCall};
use std::collections::BTreeSet;

/// Noise layers in a judge that is unrolled. The updates ahead share the calling update's draws and noise, so what is
/// seen ahead is a judge that learns with one mask. Batch norms are no trouble: they normalise by the batch at hand in
/// every one of the updates, and moving statistics are left as they were.
pub fn noise(work: &Work<'_>, out: &mut Diagnostics) {
    let number = |e: &Expr| match work.consts.eval(e) {
        Ok(Value::Number(v)) => Some(v),
        _ => None,
    };
    let mut seen = BTreeSet::new();
    for p in work.players() {
        for e in lines(p) {
            walk::expr(e, &mut |e| {
                let Some(("unroll", [net, ..])) = called(e) else { return true };
                let ExprKind::Name(judge) = &net.value.kind else { return true };
                let ExprKind::Call(_, args) = &e.kind else { return true };
                let steps = args.args.iter().find(|a| a.name.as_ref().is_some_and(|n| n.name == "steps"));
                let steps = steps.or(args.args.get(1)).and_then(|a| number(&a.value));
                let silent = |c: &LayerCall| {
                    let word = if c.name.name == "dropout" { "p" } else { "std" };
                    argument(c, word).and_then(number) == Some(0.0)
                };
                let noisy = |c: &&LayerCall| ["dropout", "noise"].contains(&c.name.name.as_str()) && !silent(c);
                let all = layers_of(work, judge);
                let Some(layer) = all.into_iter().find(noisy).filter(|_| steps != Some(0.0)) else { return true };
                if seen.insert(judge.clone()) {
                    let name = &layer.name.name;
                    out.push(
                        Diagnostic::warning("W0410", format!("`{judge}` is seen ahead with one draw of its `{name}`"))
                            .at(layer.name.span, "the same in all of the updates ahead, and in the score after them")
                            .label(e.span, "this looks ahead")
                            .note("the judge itself draws anew in each of its updates, so what is seen ahead is another judge")
                            .help(format!("leave `{name}` out of a judge that is unrolled; batch norms are no trouble")),
                    );
                }
                true
            });
        }
    }
}
