//! `instance_noise(sigma: 0.1, until: 10_000)`: Gaussian noise on what the judge sees, reals and fakes alike, in both
//! players' objectives (Sønderby et al. 2017; Arjovsky & Bottou 2017). With `until` its size falls linearly to 0.

use super::work::{TrickUse, Work};
use super::{make, seen};
use crate::diag::Diagnostic;
use crate::layers::Value;
use crate::syntax::ast::{Args, BinOp, Expr, ExprKind};

/// Adds the noise.
pub fn apply(work: &mut Work<'_>, t: &TrickUse) -> Result<(), Diagnostic> {
    let Some(sigma) = t.args.get("sigma").cloned() else { return Ok(()) };
    // What is no constant may be a schedule, which `build` checks.
    let known = work.consts.eval(&sigma).ok();
    if matches!(known, Some(Value::Number(s)) if s <= 0.0 || !s.is_finite()) {
        return Err(Diagnostic::error("E0441", "`sigma` is a standard deviation: a number above 0")
            .at(sigma.span, "not one"));
    }
    let std = match t.args.get("until") {
        None => sigma,
        Some(until) if matches!(known, Some(Value::Number(_))) => {
            let args = vec![sigma.clone(), make::number(0.0, sigma.span)];
            let mut call = make::call("ramp", args, t.span);
            if let ExprKind::Call(_, args) = &mut call.kind {
                args.args.push(make::named("to", until.clone()));
            }
            call
        }
        Some(until) => {
            return Err(Diagnostic::error("E0441", "two lines say how the noise changes")
                .at(until.span, "the iteration at which it ends")
                .label(sigma.span, "this is a schedule itself")
                .help("give a number and `until`, or a schedule alone"));
        }
    };
    seen::change(work, t, "noisy", &|_, _, _| Ok(()), &|x| {
        let args = vec![make::named("std", std.clone()), make::named("like", x.clone())];
        let span = x.span;
        let noise = Expr { kind: ExprKind::Call(Box::new(make::name("normal", span)), Args { args, span }), span };
        make::binary(BinOp::Add, x, noise)
    })
}
