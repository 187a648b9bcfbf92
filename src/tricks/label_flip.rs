//! `label_flip(p: 0.05)`: for the judge, each sample's target is with probability p that of the other kind
//! (Chintala et al. 2016, "How to train a GAN", item 6). Acts on the targets as they are, smoothed ones included, and
//! on the judge only: the generator's target is not noise.

use super::make;
use super::work::{TrickUse, Work};
use crate::diag::Diagnostic;
use crate::layers::Value;
use crate::syntax::ast::{BinOp, Expr};

/// Sets `real_label` and `fake_label` of the judge's part.
pub fn apply(work: &mut Work<'_>, t: &TrickUse) -> Result<(), Diagnostic> {
    let Some(p) = t.args.get("p").cloned() else { return Ok(()) };
    match work.consts.eval(&p)? {
        Value::Number(x) if x > 0.0 && x < 0.5 => {}
        Value::Number(x) if (0.5..=1.0).contains(&x) => {
            return Err(Diagnostic::error(
                "E0441",
                format!("with p = {x} the judge would learn nothing, or the reverse"),
            )
            .at(p.span, "at least every second target is wrong")
            .help("write a probability below 0.5, such as 0.05"));
        }
        _ => {
            return Err(
                Diagnostic::error("E0441", "`p` is a probability above 0 and below 0.5").at(p.span, "this is not")
            );
        }
    }
    for i in work.covered_or_refuse(t)? {
        let l = &work.losses[i];
        let target = |word: &str| {
            let default = l.def.params.iter().find(|q| q.name.name == word)?.default.clone()?;
            Some(l.options.get(word).cloned().unwrap_or(default))
        };
        let (Some(real), Some(fake)) = (target("real_label"), target("fake_label")) else {
            return Err(Diagnostic::error("E0441", format!("loss `{}` has no targets to exchange", l.name.name))
                .at(t.span, "this trick exchanges `real_label` and `fake_label`")
                .label(l.span, "this loss does not compare with targets")
                .help("leave the trick out, or use non_saturating, minimax or least_squares"));
        };
        work.claim(format!("flipped targets of loss {} (`{}`)", i + 1, work.losses[i].name.name), t)?;
        let span = t.span;
        let flipped = |own: &Expr, other: &Expr| {
            let drawn = make::binary(BinOp::Lt, make::call("uniform", Vec::new(), span), p.clone());
            make::call("where", vec![drawn, other.clone(), own.clone()], span)
        };
        let (for_real, for_fake) = (flipped(&real, &fake), flipped(&fake, &real));
        work.losses[i].judge_options.insert("real_label".to_string(), for_real);
        work.losses[i].judge_options.insert("fake_label".to_string(), for_fake);
    }
    Ok(())
}
