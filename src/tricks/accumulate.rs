//! `accumulate(n)`: an update's gradient is the mean over n microbatches, each with draws of its own; a norm sees one
//! microbatch at a time. Draws `per iteration` are the same in all of them.

use super::copies::Copies;
use super::make;
use super::work::{TrickUse, Work};
use crate::diag::Diagnostic;
use crate::layers::Value;
use crate::model::walk;
use crate::syntax::ast::{BinOp, Expr, PlayerLineKind};

/// Writes each objective n times, its draws replaced, and takes the mean.
pub fn apply(work: &mut Work<'_>, t: &TrickUse) -> Result<(), Diagnostic> {
    let Some(given) = t.args.get("n") else { return Ok(()) };
    let n = match work.consts.eval(given)? {
        Value::Number(x) if x.fract() == 0.0 && (1.0..=1024.0).contains(&x) => x as usize,
        _ => {
            return Err(Diagnostic::error(
                "E0441",
                "`n` is a number of microbatches: a whole number from 1 to 1024",
            )
            .at(given.span, "not one"));
        }
    };
    let players: Vec<String> = match t.of.is_empty() {
        true => work.players().map(|p| p.name.name.clone()).collect(),
        false => {
            let meant = t.of.iter().flat_map(|o| work.players_of(&o.name)).collect();
            work.in_text_order(meant)
        }
    };
    if players.is_empty() {
        return Err(Diagnostic::error("E0441", format!("trick `{}` finds no player", t.name.name))
            .at(t.span, "nobody updates what `of:` names"));
    }
    for p in &players {
        work.claim(format!("the number of microbatches of player `{p}`"), t)?;
    }
    if n == 1 {
        return Ok(());
    }
    let mut copies = Copies::new(work, false);
    for name in players {
        let Some(mut lines) = copies.work.player_mut(&name).map(|p| p.lines.clone()) else { continue };
        copies.enter(&lines);
        for l in &mut lines {
            let PlayerLineKind::Minimize(e, _) = &mut l.kind else { continue };
            let others: Option<Vec<Expr>> = (2..=n).map(|k| copies.copy(e, k)).collect();
            let Some(others) = others else { continue };
            let Some(sum) = make::sum(std::iter::once(e.clone()).chain(others).collect()) else { continue };
            *e = make::binary(BinOp::Div, sum, make::number(n as f64, t.span));
            walk::restore_parens(e);
        }
        let lines = copies.leave(lines);
        if let Some(p) = copies.work.player_mut(&name) {
            p.lines = lines;
        }
    }
    copies.finish();
    Ok(())
}
