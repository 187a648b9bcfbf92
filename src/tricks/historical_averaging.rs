//! `historical_averaging(weight: 1, of: [G, D])`: a network's player pays for the squared distance of its parameters
//! from the mean of all their past values (Salimans et al. 2016, section 3.3). Not the average of weights for
//! sampling that is sometimes called so: that is `ema`.

use super::make;
use super::work::{TrickUse, Work, updates};
use crate::diag::Diagnostic;
use crate::layers::Value;
use crate::syntax::ast::{BinOp, Expr, PlayerLineKind};

/// Adds `weight * drift(net)` to each player that updates one of the networks, all networks that are updated if
/// none is named.
pub fn apply(work: &mut Work<'_>, t: &TrickUse) -> Result<(), Diagnostic> {
    let Some(weight) = t.args.get("weight") else { return Ok(()) };
    if !matches!(work.consts.eval(weight)?, Value::Number(w) if w >= 0.0 && w.is_finite()) {
        return Err(Diagnostic::error("E0441", "`weight` of `historical_averaging` is a number, 0 or more")
            .at(weight.span, "how much the distance from the mean costs"));
    }
    let mut nets: Vec<String> = Vec::new();
    for o in &t.of {
        if work.model.network(&o.name).is_none() {
            return Err(Diagnostic::error("E0441", format!("`{}` has no parameters to average", o.name))
                .at(o.span, "not a network")
                .help("name networks, such as `of: [G, D]`"));
        }
        if work.players_of(&o.name).is_empty() {
            return Err(Diagnostic::error("E0441", format!("no player updates `{}`", o.name))
                .at(o.span, "its parameters are their own mean")
                .label(t.span, "this trick keeps parameters near the mean of their past values"));
        }
        nets.push(o.name.clone());
    }
    if t.of.is_empty() {
        for n in work.players().flat_map(|p| updates(p)) {
            if !nets.iter().any(|m| m == n) {
                nets.push(n.to_string());
            }
        }
    }
    for net in nets {
        work.claim(format!("the historical averaging of `{net}`"), t)?;
        for player in work.players_of(&net) {
            let drift = make::call("drift", vec![make::name(&net, t.span)], t.span);
            let value = make::binary(BinOp::Mul, Expr { span: t.span, ..weight.clone() }, drift);
            let Some(p) = work.player_mut(&player) else { continue };
            let last = p
                .lines
                .iter()
                .rposition(|l| matches!(l.kind, PlayerLineKind::Minimize(..) | PlayerLineKind::Let(..)));
            p.lines.insert(last.map_or(0, |i| i + 1), make::minimize(value, None));
        }
    }
    Ok(())
}
