//! `gradient_clip(1)`: the gradient of an update is scaled down to this norm over all of the player's parameters
//! (Pascanu et al. 2013). Acts on every player, or on those that update what `of:` names.

use super::work::{TrickUse, Work};
use crate::diag::Diagnostic;

/// Sets `clip_norm` of optimisers.
pub fn apply(work: &mut Work<'_>, t: &TrickUse) -> Result<(), Diagnostic> {
    let players: Vec<String> = match t.of.is_empty() {
        true => work.players().map(|p| p.name.name.clone()).collect(),
        false => work.judges(t),
    };
    if players.is_empty() {
        return Err(Diagnostic::error("E0441", format!("trick `{}` finds no player", t.name.name))
            .at(t.span, "nobody updates what `of:` names"));
    }
    let c = t.arg_or("c", 1.0);
    for p in players {
        work.set_optimiser(&p, "clip_norm", c.clone(), t, false)?;
    }
    Ok(())
}
