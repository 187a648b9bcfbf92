//! `weight_clip(0.01)`: after each update the judge's weights are clipped to [-c, c] (Arjovsky et al. 2017, WGAN).

use super::work::{TrickUse, Work};
use crate::diag::Diagnostic;

/// Sets `clip_weights` of the judges' optimisers.
pub fn apply(work: &mut Work<'_>, t: &TrickUse) -> Result<(), Diagnostic> {
    let players = work.judges(t);
    if players.is_empty() {
        return Err(Diagnostic::error("E0441", format!("trick `{}` finds no player", t.name.name))
            .at(t.span, "no player updates a discriminator or a network named by `of:`")
            .help("write `clip_weights: …` into the optimiser of the player"));
    }
    let c = t.arg_or("c", 0.01);
    for p in players {
        work.set_optimiser(&p, "clip_weights", c.clone(), t, false)?;
    }
    Ok(())
}
