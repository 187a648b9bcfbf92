//! `top_k(fraction: 0.5)`: the generator learns from those fakes only that the judge scores highest (Sinha et al. 2020).
//! The fraction may be a schedule: the paper's falls from 1.

use super::make;
use super::work::{TrickUse, Work};
use crate::diag::Diagnostic;
use crate::layers::Value;

/// Wraps the fakes' scores in the generator's part.
pub fn apply(work: &mut Work<'_>, t: &TrickUse) -> Result<(), Diagnostic> {
    let Some(fraction) = t.args.get("fraction").cloned() else { return Ok(()) };
    // What is no constant may be a schedule, which `build` checks.
    if let Ok(Value::Number(f)) = work.consts.eval(&fraction)
        && !(f > 0.0 && f <= 1.0)
    {
        return Err(Diagnostic::error("E0441", "`fraction` is a share of the batch: above 0, at most 1")
            .at(fraction.span, format!("this is {f}")));
    }
    for i in work.covered_or_refuse(t)? {
        work.claim(format!("the best samples of loss {} (`{}`)", i + 1, work.losses[i].name.name), t)?;
        if work.losses[i].makers.is_empty() {
            return Err(Diagnostic::error("E0441", "no player makes what this loss calls fake")
                .at(
                    work.losses[i].span,
                    format!("nobody but the judge `{}` is trained by it", work.losses[i].judge),
                )
                .label(t.span, "this trick is for the generator"));
        }
        // Written out even if it is a let: a later trick may change the judge in here, and players share lets.
        let fake = &work.losses[i].generator.fake;
        let fake = work.application(fake).map_or_else(|| fake.clone(), |a| a.with_args(a.args.clone()));
        work.losses[i].generator.fake = make::call("top_k", vec![fake, fraction.clone()], t.span);
    }
    Ok(())
}
