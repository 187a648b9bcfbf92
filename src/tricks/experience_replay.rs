//! `experience_replay(capacity: 50, share: 0.5)`: the judge sees fakes of earlier iterations among the present ones
//! (Shrivastava et al. 2017), so that it does not forget what the generator used to make. `rule: pop` is the other
//! published way to keep the buffer; `replay` defines both.

use super::make;
use super::work::{TrickUse, Work};
use crate::diag::Diagnostic;
use crate::syntax::ast::Expr;

/// Wraps what the discriminator parts see of fakes; labels that are judged with them are kept beside them.
pub fn apply(work: &mut Work<'_>, t: &TrickUse) -> Result<(), Diagnostic> {
    for i in work.covered_or_refuse(t)? {
        let l = &work.losses[i];
        if l.judges.is_empty() {
            return Err(Diagnostic::error("E0441", "trick `experience_replay` has nobody to show older fakes to")
                .at(l.span, format!("no player updates the judge `{}`", l.judge))
                .label(t.span, "it changes what the discriminator part sees"));
        }
        let judges = l.judges.clone();
        work.claim(format!("the replay of loss {} (`{}`)", i + 1, l.name.name), t)?;
        let Some(fake) = work.application(&work.losses[i].discriminator.fake) else { continue };
        let names: Vec<String> = match work.model.network(&fake.network) {
            Some(n) => n.inputs.iter().map(|x| x.name.name.clone()).collect(),
            None => continue,
        };
        let mut words = vec![work.fresh("old")];
        for n in names.iter().skip(1) {
            words.push(work.fresh(&format!("old_{n}")));
        }
        let given = ["capacity", "share", "rule"];
        let named = given.iter().filter_map(|w| t.args.get(*w).map(|e| (*w, e.clone()))).collect();
        let replay = make::call_named("replay", fake.args.clone(), named, t.span);
        let line = make::let_all(&words.iter().map(String::as_str).collect::<Vec<_>>(), replay);
        for j in judges {
            work.add_player_let(&j, line.clone());
        }
        let old: Vec<Expr> = words.iter().map(|w| make::name(w, t.span)).collect();
        work.losses[i].discriminator.fake = fake.with_args(old);
    }
    Ok(())
}
