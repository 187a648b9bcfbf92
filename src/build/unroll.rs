//! `unroll(D, steps: k)`: a network as it will be after k updates of its player (Metz et al. 2017).
//!
//! The updates are virtual: the player's own objective and optimiser, evaluated k times on values of the parameters
//! that only this graph knows, so that the gradient of what follows runs through them as through anything else. What
//! the real evaluation keeps (statistics, buffers, moments, applications) is put back afterwards.

use super::ctx::{Ahead, Builder, MAX_NODES, Moment};
use super::expr::Env;
use super::train::PlayerCx;
use super::value::{NetRef, Value, View};
use crate::diag::Diagnostic;
use crate::graph::{DType, Name, NodeId};
use crate::layers::optimiser::OptimiserSpec;
use crate::source::Span;
use crate::syntax::ast::{Arg, Expr, ExprKind};
use std::collections::BTreeMap;

/// Most virtual updates of one `unroll`.
const MAX_STEPS: f64 = 1000.0;

impl<'m> Builder<'m> {
    /// `unroll(D, steps: k, using: OPT, order: full|first)`
    pub fn unroll(&mut self, env: &mut Env<'m>, net: NetRef, args: &'m [Arg], span: Span) -> Value {
        if !self.in_player(env, "unroll", span) {
            return Value::Error;
        }
        let Some(given) = self.given("unroll", args, span) else { return Value::Error };
        let Some(steps) = self.whole_of(env, &given, "steps", (0.0, MAX_STEPS)) else { return Value::Error };
        let first = given.get("order").is_some_and(|e| matches!(&e.kind, ExprKind::Name(w) if w == "first"));
        if !self.present(&net, "unroll", span) {
            return Value::Error;
        }
        let Some(player) = self.player_to_unroll(net.index, span) else { return Value::Error };
        let players = self.train.players.clone();
        let p = &players[player];
        let using = match given.get("using") {
            Some(&e) => match self.optimiser(p, e) {
                Some(spec) => Some((spec, e)),
                None => return Value::Error,
            },
            None => None,
        };
        if steps == 0 {
            return Value::Net(NetRef { stop: true, ..net });
        }
        if self.gx.longest.is_none_or(|l| l.1 < steps) {
            self.gx.longest = Some((span, steps));
        }
        let asked = Ahead { player, steps, using: using.as_ref().map(|u| u.0.clone()), first };
        if let Some((_, at)) = self.moment.ahead.iter().find(|a| a.0 == asked) {
            return Value::Net(NetRef { view: View::Ahead(*at), ..net });
        }
        let Some(values) = self.look_ahead(p, &asked, using.map(|u| u.1), span) else {
            debug_assert!(self.failed() || self.fatal, "unrolling failed without a word");
            return Value::Error;
        };
        self.gx.ahead.push(values);
        let at = self.gx.ahead.len() - 1;
        self.moment.ahead.push((asked, at));
        if !self.within_limits(self.gx.graph.nodes().len(), span) {
            return Value::Error;
        }
        Value::Net(NetRef { view: View::Ahead(at), ..net })
    }

    /// The one player that updates a network, if its objective may be evaluated here.
    fn player_to_unroll(&mut self, net: usize, span: Span) -> Option<usize> {
        let name = self.model.networks[net].name.name.clone();
        let players = self.train.players.clone();
        let all: Vec<usize> = (0..players.len()).filter(|&i| players[i].nets.contains(&net)).collect();
        let [player] = all[..] else {
            let text = match all.len() {
                0 => "no player updates it".to_string(),
                _ => {
                    let names: Vec<&str> = all.iter().map(|&i| players[i].name.name.as_str()).collect();
                    format!("it is updated by {}", names.join(" and "))
                }
            };
            self.report(
                Diagnostic::error("E0468", format!("whose updates of `{name}` are to be unrolled?"))
                    .at(span, text)
                    .help("a network is unrolled by the updates of the one player that updates it"),
            );
            return None;
        };
        let chain = self.moment.chain.clone();
        if let Some(at) = chain.iter().position(|&c| c == player) {
            let mut names: Vec<&str> = chain[at..].iter().map(|&i| players[i].name.name.as_str()).collect();
            names.push(&players[player].name.name);
            let circle = names.join(" looks ahead at ");
            self.report(
                Diagnostic::error("E0468", "objectives unroll each other")
                    .at(span, circle)
                    .help("one side looks ahead, the other takes its opponent as it is"),
            );
            return None;
        }
        for &c in &chain {
            if let Some(&both) = players[c].nets.iter().find(|n| players[player].nets.contains(n)) {
                let both = &self.model.networks[both].name.name;
                let title =
                    format!("`{both}` is updated by the player that looks ahead and by the one it looks at");
                let text = format!("`{}` updates it as well", players[player].name.name);
                self.error("E0468", span, title, text);
                return None;
            }
        }
        Some(player)
    }

    /// Parameters of a player's networks after its virtual updates.
    fn look_ahead(
        &mut self,
        p: &PlayerCx<'m>,
        asked: &Ahead,
        using: Option<&'m Expr>,
        span: Span,
    ) -> Option<BTreeMap<Name, NodeId>> {
        let kept = (
            self.gx.params.clone(),
            self.gx.states.clone(),
            self.gx.apps.clone(),
            self.gx.counted.clone(),
            self.gx.normed.clone(),
            self.gx.replays.clone(),
        );
        let mut chain = self.moment.chain.clone();
        chain.push(asked.player);
        let ahead = Moment {
            tag: self.moment.tag.clone(),
            chain,
            update: true,
            batch: self.moment.batch,
            lets: p.lets.clone(),
            ..Moment::default()
        };
        let caller = std::mem::replace(&mut self.moment, ahead);
        self.moment.memo = self.draws_of(&caller);
        let values = self.virtual_updates(p, asked, using, span);
        let draws = self.draws_of(&self.moment);
        self.moment = caller;
        // A draw that only the virtual updates have read so far has its value for the whole update.
        self.moment.memo.extend(draws);
        let gx = &mut self.gx;
        (gx.params, gx.states, gx.apps, gx.counted, gx.normed, gx.replays) = kept;
        values
    }

    /// Values of draws, and which minibatches they are.
    fn draws_of(&self, m: &Moment<'m>) -> std::collections::HashMap<String, Value> {
        let is_draw = |n: &str| n.starts_with('#') || self.train.draws.iter().any(|d| d.name.name == n);
        m.memo.iter().filter(|(n, _)| is_draw(n)).map(|(n, v)| (n.clone(), v.clone())).collect()
    }

    fn virtual_updates(
        &mut self,
        p: &PlayerCx<'m>,
        asked: &Ahead,
        using: Option<&'m Expr>,
        span: Span,
    ) -> Option<BTreeMap<Name, NodeId>> {
        let mut names: Vec<Name> = Vec::new();
        for &n in &p.nets {
            self.check_network(n);
            names.extend(self.nets[n].params.iter().filter(|x| !names.contains(*x)).cloned().collect::<Vec<_>>());
        }
        for name in &names {
            let start = self.param_value(name);
            let start = self.gx.graph.stop(start);
            self.replace(name, start);
        }
        let spec = self.optimiser(p, using.or(p.using)?)?;
        let mut moments = self.first_moments(p, &spec, &names, using.is_none());
        for k in 1..=asked.steps {
            // Lets depend on the parameters; draws do not.
            self.moment.memo = self.draws_of(&self.moment);
            let (_, names, grads) = self.gradients(p)?;
            let t = self.time_ahead(p, asked.player, k, using.is_none());
            let scaled = self.scaled_ahead(&grads, t);
            let next = self.step(p, &spec, &names, &grads, Some(&moments), t, (asked.first, scaled.as_ref()));
            moments.clear();
            for (name, (value, states)) in names.iter().zip(next) {
                self.replace(name, value);
                moments.push(states);
            }
            if self.too_long(k, asked, span) {
                return None;
            }
        }
        Some(names.into_iter().map(|n| (n.clone(), self.param_value(&n))).collect())
    }

    /// Stops where virtual updates alone fill a graph: whoever wrote their number learns how far it went.
    fn too_long(&mut self, k: usize, asked: &Ahead, span: Span) -> bool {
        if !self.fatal && self.gx.graph.nodes().len() > MAX_NODES {
            self.fatal = true;
            let text = format!("{k} of its {} updates ahead are more than {MAX_NODES} operations", asked.steps);
            self.report(
                Diagnostic::error("E0455", "the program is too large")
                    .at(span, text)
                    .help("lower `steps`: the gradient through them takes several times as many operations again"),
            );
        }
        self.fatal
    }

    fn replace(&mut self, name: &Name, value: NodeId) {
        self.gx.params.insert(name.clone(), value);
        self.gx.stands_for.insert(value, name.clone());
    }

    /// Moments before the first virtual update: the player's present ones as constants, or zeros of another optimiser.
    fn first_moments(
        &mut self,
        p: &PlayerCx<'m>,
        spec: &OptimiserSpec,
        names: &[Name],
        own: bool,
    ) -> Vec<Vec<NodeId>> {
        let mut all = Vec::new();
        for name in names {
            let param = self.param_value(name);
            let moments = match own {
                true => self.present_moments(p, spec, name, param),
                false => vec![self.gx.graph.zeros_like(param); spec.state_names().len()],
            };
            all.push(moments.into_iter().map(|m| self.gx.graph.stop(m)).collect());
        }
        all
    }

    /// Count of the k-th virtual update: it follows those that the player has made, or starts at 1 with another
    /// optimiser.
    fn time_ahead(&mut self, p: &PlayerCx<'m>, player: usize, k: usize, own: bool) -> NodeId {
        if !own {
            return self.gx.graph.scalar(k as f64);
        }
        if self.needs_scale() {
            let made = self.updates_made(&p.name.name);
            return self.gx.graph.offset(made, k as f64);
        }
        let done = self.gx.done.get(&player).copied().unwrap_or(0);
        let iteration = self.gx.iteration();
        let g = &mut self.gx.graph;
        let t = g.cast(iteration, DType::F32);
        let t = g.scale(t, p.repeat as f64);
        g.offset(t, done as f64 + k as f64 - p.repeat as f64)
    }
}
