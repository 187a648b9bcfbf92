//! One iteration as a graph: each player's objective and gradients, its update, what advances at the end.

use super::ctx::{Builder, Gx, Moment};
use super::expr::Env;
use super::precision::Scaled;
use super::program::Iteration;
use super::text;
use super::train::PlayerCx;
use super::value::{Value, describe};
use crate::diag::Diagnostic;
use crate::graph::{Binary, DType, Name, NodeId};
use crate::layers::optimiser::{self, OptimiserSpec};
use crate::layers::{Class, Init, Kind, table};
use crate::model::walk;
use crate::syntax::ast::{Expr, ExprKind};
use std::collections::BTreeSet;

impl<'m> Builder<'m> {
    /// One iteration with the `every` lines of `mask`.
    pub fn iteration(&mut self, mask: u64, simultaneous: bool) -> Option<Iteration> {
        self.gx = Gx::new();
        self.gx.mask = mask;
        let mut outputs: Vec<(Name, NodeId)> = Vec::new();
        let mut waiting = Vec::new();
        let mut seen = Vec::new();
        let players = self.train.players.clone();
        for (index, p) in players.iter().enumerate() {
            let mut last = None;
            for r in 0..p.repeat {
                self.moment = Moment::of_update(index, p, r);
                let (loss, names, grads) = self.gradients(p)?;
                last = Some(loss);
                if r + 1 == p.repeat {
                    let terms: Vec<&'m Expr> = p.terms.iter().map(|t| t.0).collect();
                    seen.push(self.see(&p.name.name, &p.nets, &terms, &grads));
                }
                if simultaneous {
                    waiting.push((index, r, names, grads));
                } else {
                    self.update(index, r, &names, &grads)?;
                }
                if !self.within_limits(self.gx.graph.nodes().len(), p.name.span) {
                    return None;
                }
            }
            if let Some(loss) = last {
                outputs.push((format!("loss:{}", p.name.name).into(), loss));
            }
        }
        for (index, r, names, grads) in waiting {
            self.moment = Moment::of_update(index, &players[index], r);
            self.update(index, r, &names, &grads)?;
        }
        self.advance_averages();
        self.advance_means();
        self.advance_pasts();
        let params: Vec<_> = self.gx.params.iter().map(|(n, &v)| (format!("param:{n}").into(), v)).collect();
        let states: Vec<_> = self.gx.states.iter().map(|(n, &v)| (format!("state:{n}").into(), v)).collect();
        let watch = self.watch(&seen);
        let gx = std::mem::replace(&mut self.gx, Gx::new());
        let outputs: Vec<_> = params.into_iter().chain(states).chain(outputs).collect();
        let graph = self.in_precision(super::extract::extract(&gx.graph, &outputs));
        Some(Iteration { mask, graph, inputs: gx.inputs, fresh: gx.fresh, watch })
    }

    /// A player's objective and its gradients by all parameters it updates.
    pub fn gradients(&mut self, p: &PlayerCx<'m>) -> Option<(NodeId, Vec<Name>, Vec<NodeId>)> {
        let mask = self.gx.mask;
        let counts = |t: &Option<(usize, u64)>| t.is_none_or(|(bit, _)| mask >> bit & 1 == 1);
        // Lets that an objective needs, in the order of the text: the order in which statistics are taken.
        let mut needed: BTreeSet<String> = BTreeSet::new();
        for (e, period) in &p.terms {
            if counts(period) {
                needed.extend(walk::names(e));
            }
        }
        for (ids, e) in p.lets.iter().rev() {
            if ids.iter().any(|i| needed.contains(&i.name)) {
                needed.extend(walk::names(e));
            }
        }
        for &(ids, e) in &p.lets {
            if ids.iter().any(|i| needed.contains(&i.name)) {
                self.define(ids, e);
            }
        }
        let mut total: Option<NodeId> = None;
        let mut ok = true;
        for (i, (e, period)) in p.terms.iter().enumerate() {
            if !counts(period) {
                continue;
            }
            let mut env = Env::line(format!("{}.minimize{}", p.name.name, i + 1));
            let v = self.eval(&mut env, e);
            let Some(mut node) = self.objective(&v, e) else {
                ok = false;
                continue;
            };
            if let Some((_, k)) = period {
                node = self.gx.graph.scale(node, *k as f64);
            }
            total = Some(match total {
                Some(t) => self.gx.graph.add(t, node),
                None => node,
            });
        }
        if !ok || self.fatal {
            return None;
        }
        let loss = match total {
            Some(t) => t,
            None => self.gx.graph.scalar(0.0),
        };
        let mut names = Vec::new();
        for &n in &p.nets {
            self.check_network(n);
            names.extend(self.nets[n].params.iter().filter(|x| !names.contains(*x)).cloned().collect::<Vec<_>>());
        }
        let wrt: Vec<NodeId> = names.iter().map(|n| self.param_value(n)).collect();
        let scale = self.needs_scale().then(|| self.loss_scale(&p.name.name));
        let found = crate::grad::grad(&mut self.gx.graph, loss, scale, &wrt);
        if total.is_some() {
            self.warn_unreached(p, &names, &found);
        }
        self.reached.extend(names.iter().zip(&found).filter(|(_, d)| d.is_some()).map(|(n, _)| n.clone()));
        for &n in &p.nets {
            self.updated.entry(n).or_insert(p.name.span);
        }
        let grads = self.unscaled(&found, &wrt, scale);
        Some((loss, names, grads))
    }

    fn warn_unreached(&mut self, p: &PlayerCx<'m>, names: &[Name], found: &[Option<NodeId>]) {
        // A network that the objective does not even name was found before.
        if self.model.warnings.items().iter().any(|d| d.code == "W0401") {
            return;
        }
        for &n in &p.nets {
            let own = &self.nets[n].params;
            let reached = names.iter().zip(found).any(|(x, d)| d.is_some() && own.contains(x));
            if !reached && !own.is_empty() && !self.nets[n].broken {
                let net = self.model.networks[n].name.name.clone();
                self.report(
                    Diagnostic::warning(
                        "W0451",
                        format!("the objective of `{}` does not reach `{net}`", p.name.name),
                    )
                    .at(p.name.span, format!("`{net}` stays as it is")),
                );
            }
        }
    }

    /// An objective must be one number for all samples.
    fn objective(&mut self, v: &Value, e: &'m Expr) -> Option<NodeId> {
        let t = self.tensor(v, e.span)?;
        if t.kind == Kind::Real && !t.sample && t.shape.is_empty() {
            return Some(t.node);
        }
        let d = Diagnostic::error("E0450", "an objective is one number for the whole batch")
            .at(e.span, format!("this is {}", describe(&t)));
        let source = self.sources.text(e.span);
        let source = if source.is_empty() { text::expr(e) } else { source.to_string() };
        self.report(d.help("write `mean(…)`: the average over the batch").patch(e.span, format!("mean({source})")));
        None
    }

    /// Applies the optimiser of player `index` in its round `r`.
    fn update(&mut self, index: usize, r: usize, names: &[Name], grads: &[NodeId]) -> Option<()> {
        let players = self.train.players.clone();
        let p = &players[index];
        let spec = self.optimiser(p, p.using?)?;
        let scaled = self.needs_scale().then(|| self.move_scale(&p.name.name, grads));
        let iteration = self.gx.iteration();
        let g = &mut self.gx.graph;
        let mut t = g.cast(iteration, DType::F32);
        t = g.scale(t, p.repeat as f64);
        t = g.offset(t, r as f64 + 1.0 - p.repeat as f64);
        t = scaled.as_ref().map_or(t, |s| s.t);
        // What comes later sees the new values as constants: only their own player differentiates by them.
        let next = self.step(p, &spec, names, grads, None, t, (true, scaled.as_ref()));
        for (name, (value, states)) in names.iter().zip(next) {
            self.gx.params.insert(name.clone(), value);
            self.gx.stands_for.insert(value, name.clone());
            let moments = self.moment_names(p, &spec, name);
            self.gx.states.extend(moments.into_iter().zip(states));
        }
        *self.gx.done.entry(index).or_default() += 1;
        Some(())
    }

    /// Names of the moments of a parameter.
    pub fn moment_names(&self, p: &PlayerCx<'m>, spec: &OptimiserSpec, param: &Name) -> Vec<Name> {
        let train = self.train.index;
        let prefix = if train == 0 { "opt:".to_string() } else { format!("opt{}:", train + 1) };
        let name = |s: &&str| format!("{prefix}{}.{param}.{s}", p.name.name).into();
        spec.state_names().iter().map(name).collect()
    }

    /// What an optimiser makes of the present parameters: next value and next moments of each. Without `moments` it
    /// starts from those that the player has now. `t` counts updates, 1 in the first (f32, rank 0). `fixed`: no
    /// gradient runs back through the new values; `scaled`: nothing changes where a gradient is not finite.
    pub fn step(
        &mut self,
        p: &PlayerCx<'m>,
        spec: &OptimiserSpec,
        names: &[Name],
        grads: &[NodeId],
        moments: Option<&[Vec<NodeId>]>,
        t: NodeId,
        (fixed, scaled): (bool, Option<&Scaled>),
    ) -> Vec<(NodeId, Vec<NodeId>)> {
        let mut grads = grads.to_vec();
        if let Some(c) = spec.clip_norm {
            grads = optimiser::clip_norm(&mut self.gx.graph, &grads, c);
        }
        let lr = spec.lr_node(&mut self.gx.graph);
        let span = p.using.map_or(p.name.span, |e| e.span);
        let mut next = Vec::new();
        for (i, (name, grad)) in names.iter().zip(grads).enumerate() {
            let param = self.param_value(name);
            let old = match moments {
                Some(all) => all[i].clone(),
                None => self.present_moments(p, spec, name, param),
            };
            let origin = crate::graph::Origin { span, path: (&**name).into(), order: 0 };
            let before = self.gx.graph.set_origin(origin);
            let (mut value, mut moments) = optimiser::step(&mut self.gx.graph, spec, param, grad, &old, t, lr);
            if let Some(s) = scaled {
                s.or_stay(&mut self.gx.graph, (&mut value, param), (&mut moments, &old));
            }
            if fixed {
                value = self.gx.graph.stop(value);
            }
            next.push((value, moments));
            self.gx.graph.set_origin(before);
        }
        next
    }

    /// Moments of a parameter as its player has them now.
    pub fn present_moments(
        &mut self,
        p: &PlayerCx<'m>,
        spec: &OptimiserSpec,
        name: &Name,
        param: NodeId,
    ) -> Vec<NodeId> {
        let ty = self.gx.graph.ty(param).clone();
        let mut values = Vec::new();
        for s in self.moment_names(p, spec, name) {
            self.declare_state(&s, ty.clone(), Init::Constant(0.0), Some(self.train.index));
            values.push(self.state_value(&s, &ty));
        }
        values
    }

    /// An optimiser as a player's line writes it.
    pub fn optimiser(&mut self, p: &PlayerCx<'m>, e: &'m Expr) -> Option<OptimiserSpec> {
        let mut env = Env::line(format!("{}.using", p.name.name));
        let (name, args, at) = match &e.kind {
            ExprKind::Name(n) => (n.as_str(), &[][..], e.span),
            ExprKind::Call(f, a) => match &f.kind {
                ExprKind::Name(n) => (n.as_str(), &a.args[..], f.span),
                _ => ("", &[][..], f.span),
            },
            _ => ("", &[][..], e.span),
        };
        let Some(sig) = table::lookup(Class::Optimiser, name) else {
            let d =
                Diagnostic::error("E0202", format!("there is no optimiser `{name}`")).at(at, "not an optimiser");
            self.report(match table::nearest(name, table::names(Class::Optimiser)) {
                Some(n) => d.help(format!("did you mean `{n}`?")),
                None => d.help("one of sgd, adam, adamw, rmsprop, adagrad, lion"),
            });
            return None;
        };
        let bound = self.bind(&mut env, sig, args, e.span)?;
        match OptimiserSpec::parse(&bound) {
            Ok(s) => Some(s),
            Err(err) => {
                self.refused(&env, err, e.span);
                None
            }
        }
    }

    /// Averages take the iteration's new parameters.
    fn advance_averages(&mut self) {
        for a in self.train.averages.clone() {
            for name in self.nets[a.network].params.clone() {
                let full: Name = format!("{}{name}", a.prefix).into();
                let ty = self.decl(&name).map(|d| d.ty.clone()).unwrap_or_else(|| crate::graph::Type::f32([]));
                let iteration = self.gx.iteration();
                let new = self.param_value(&name);
                let g = &mut self.gx.graph;
                let first = g.param(name.clone(), &ty.shape);
                let old = g.state(full.clone(), ty.clone());
                let one = g.splat(1.0, crate::graph::Type::u32([]));
                let begins = g.eq(iteration, one);
                let old = g.select(begins, first, old);
                let kept = g.scale(old, a.decay);
                let taken = g.scale(new, 1.0 - a.decay);
                let mut next = g.add(kept, taken);
                if a.start > 0 {
                    let start = g.splat(a.start as f64, crate::graph::Type::u32([]));
                    let before = g.binary(Binary::Le, iteration, start);
                    next = g.select(before, new, next);
                }
                self.gx.states.insert(full, next);
            }
        }
    }
}
