//! `two_time_scale(generator: 1e-4, discriminator: 3e-4)`: a learning rate for each side (Heusel et al. 2017).

use super::work::{TrickUse, Work};
use crate::diag::Diagnostic;
use crate::syntax::ast::Role;

/// Replaces `lr` of the players' optimisers.
pub fn apply(work: &mut Work<'_>, t: &TrickUse) -> Result<(), Diagnostic> {
    let judges = work.judges(t);
    let mut makers: Vec<String> = work.covered(t).into_iter().flat_map(|i| work.losses[i].makers.clone()).collect();
    if makers.is_empty() {
        makers = work.by_role(Role::Generator);
    }
    let makers = work.in_text_order(makers);
    if let Some(both) = makers.iter().find(|m| judges.contains(m)) {
        return Err(Diagnostic::error("E0441", format!("player `{both}` is on both sides"))
            .at(t.span, "one learning rate a side"));
    }
    for (players, side) in [(makers, "generator"), (judges, "discriminator")] {
        let Some(rate) = t.args.get(side) else { continue };
        if players.is_empty() {
            return Err(Diagnostic::error(
                "E0441",
                format!("trick `{}` finds no player for `{side}`", t.name.name),
            )
            .at(t.span, format!("no player updates a {side}"))
            .help("write the learning rates into the players"));
        }
        for p in players {
            work.set_optimiser(&p, "lr", rate.clone(), t, true)?;
        }
    }
    Ok(())
}
