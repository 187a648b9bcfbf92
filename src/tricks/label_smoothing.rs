//! `one_sided_label_smoothing(real: 0.9)`: the target of real samples becomes 0.9, that of fakes stays 0
//! (Salimans et al. 2016, section 3.4). A smoothed fake target would teach the judge to prefer what the generator
//! already makes, so there is no argument for it.

use super::work::{TrickUse, Work};
use crate::diag::Diagnostic;
use crate::layers::Value;

/// Sets `real_label` of the losses.
pub fn apply(work: &mut Work<'_>, t: &TrickUse) -> Result<(), Diagnostic> {
    let target = t.arg_or("real", 0.9);
    match work.consts.eval(&target)? {
        Value::Number(x) if x > 0.5 && x <= 1.0 => {}
        Value::Number(x) if (0.0..=0.5).contains(&x) => {
            return Err(Diagnostic::error("E0441", format!("{x} is not a target for real samples"))
                .at(target.span, "this is the target itself, not the amount of smoothing")
                .help(format!("write `real: {}` if the targets are to be smoothed by {x}", 1.0 - x)));
        }
        _ => {
            return Err(Diagnostic::error(
                "E0441",
                "the target of real samples is a number above 0.5 and at most 1",
            )
            .at(target.span, "this is not"));
        }
    }
    for i in work.covered_or_refuse(t)? {
        let l = &work.losses[i];
        if !l.def.params.iter().any(|p| p.name.name == "real_label") {
            return Err(Diagnostic::error(
                "E0441",
                format!("loss `{}` has no target for real samples", l.name.name),
            )
            .at(t.span, "this trick sets `real_label`")
            .label(l.span, "this loss does not compare with a target")
            .help("leave the trick out, or use non_saturating, minimax or least_squares"));
        }
        if let Some(given) = l.options.get("real_label") {
            return Err(Diagnostic::error("E0440", "two lines set `real_label`")
                .at(t.span, "this trick sets it")
                .label(given.span, "it is already given here")
                .help("leave one of them out"));
        }
        work.claim(format!("`real_label` of loss {} (`{}`)", i + 1, work.losses[i].name.name), t)?;
        work.losses[i].options.insert("real_label".to_string(), target.clone());
    }
    Ok(())
}
