//! What monitors show of an iteration: a graph of its own over the same inputs, so that an iteration that nobody watches
//! does nothing for it, and one that somebody does gives the same bits.
//!
//! Nothing here knows losses or tricks. A judge's applications are told apart by what they are applied to: samples that
//! another network made are fakes, minibatches of data are reals, and what is both (points between them) is neither.

use super::ctx::{AppKey, Builder};
use super::program::Watch;
use super::value::NetRef;
use crate::graph::{Binary, DType, Graph, Name, NodeId, Op, Unary};
use crate::layers::{Kind, Tensor, Value as Constant};
use crate::model::walk;
use crate::syntax::ast::{BinOp, Expr, ExprKind, Role};
use std::collections::{BTreeMap, BTreeSet};

/// Functions that networks may draw noise by: two applications of such a network differ anyway.
const NOISE: [&str; 7] = ["dropout", "noise", "normal", "uniform", "gumbel", "bernoulli", "sample_normal"];

/// Where a judge's scores are cut into "real" and "fake".
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    /// At a number: 0 for logits and margins, between the targets for squares.
    At(f64),
    /// Halfway between the mean scores of the two batches: critics have no zero.
    Between,
}

/// A player's last update in an iteration.
pub(super) struct Seen {
    player: String,
    grads: Vec<NodeId>,
    cut: Cut,
    real: Vec<NodeId>,
    fake: Vec<NodeId>,
    /// The network that judges.
    judge: usize,
    /// Applications of generators whose samples are judged.
    made: Vec<AppKey>,
    /// Minibatches among the reals.
    minibatches: Vec<NodeId>,
    /// Values of all parameters at that time, and the moment's tag and batch, to apply a generator once more.
    params: BTreeMap<Name, NodeId>,
    tag: String,
    batch: usize,
}

/// What a judge is applied to.
#[derive(Default)]
struct Traced {
    made: Vec<AppKey>,
    minibatches: Vec<NodeId>,
}

impl<'m> Builder<'m> {
    /// Notes what a player's update shows, while it is at hand.
    pub fn see(&mut self, player: &str, nets: &[usize], terms: &[&'m Expr], grads: &[NodeId]) -> Seen {
        let mut seen = Seen {
            player: player.to_string(),
            grads: grads.to_vec(),
            cut: Cut::Between,
            real: Vec::new(),
            fake: Vec::new(),
            judge: 0,
            made: Vec::new(),
            minibatches: Vec::new(),
            params: self.gx.params.clone(),
            tag: self.moment.tag.clone(),
            batch: self.moment.batch,
        };
        let judge = nets.iter().find(|&&n| self.model.networks[n].role == Role::Discriminator);
        let Some(&judge) = judge else { return seen };
        seen.judge = judge;
        seen.cut = self.cut(judge, terms);
        let version = self.version(judge);
        let mut own: Vec<(&AppKey, NodeId)> = Vec::new();
        for (key, record) in &self.gx.apps {
            let Some(score) = record.as_ref().and_then(|r| r.outputs.first()) else { continue };
            let one =
                score.1.shape.iter().product::<usize>() == 1 || score.1.shape.len() == 3 && score.1.shape[0] == 1;
            if key.net.index == judge && key.version == version && key.training && key.batch == seen.batch && one {
                own.push((key, score.1.node));
            }
        }
        // The table has no order of its own.
        own.sort_by_key(|o| o.1);
        own.dedup_by_key(|o| o.1);
        let makers = self.makers(judge);
        for (key, score) in own {
            let traced: Vec<Traced> = key.args.iter().map(|&a| self.trace(a, &makers)).collect();
            let both = traced.iter().any(|t| !t.made.is_empty() && !t.minibatches.is_empty());
            let fake = traced.iter().any(|t| !t.made.is_empty());
            let real = traced.iter().any(|t| !t.minibatches.is_empty());
            match (both, fake, real) {
                (false, true, _) => {
                    seen.fake.push(score);
                    seen.made.extend(traced.into_iter().flat_map(|t| t.made));
                }
                (false, false, true) => {
                    seen.real.push(score);
                    seen.minibatches.extend(traced.into_iter().flat_map(|t| t.minibatches));
                }
                _ => {}
            }
        }
        seen
    }

    /// Results of applications of other networks, by node.
    fn makers(&self, judge: usize) -> BTreeMap<NodeId, AppKey> {
        let mut found = BTreeMap::new();
        for (key, record) in &self.gx.apps {
            if key.net.index != judge
                && let Some(r) = record
            {
                for (_, t) in &r.outputs {
                    found.insert(t.node, key.clone());
                }
            }
        }
        found
    }

    /// What a value is made of: samples of other networks, or pictures and points of minibatches (labels are neither).
    fn trace(&self, value: NodeId, makers: &BTreeMap<NodeId, AppKey>) -> Traced {
        let mut out = Traced::default();
        let (mut todo, mut seen) = (vec![value], BTreeSet::new());
        while let Some(id) = todo.pop() {
            if !seen.insert(id) {
                continue;
            }
            if let Some(key) = makers.get(&id) {
                out.made.push(key.clone());
                continue;
            }
            let node = self.gx.graph.node(id);
            if let Op::Input(name) = &node.op
                && node.ty.dtype == DType::F32
                && self.gx.inputs.iter().any(|i| i.input == *name)
            {
                out.minibatches.push(id);
            }
            todo.extend(node.args.iter().copied());
        }
        out
    }

    /// Where the objectives of a judge's player cut its scores.
    fn cut(&self, judge: usize, terms: &[&'m Expr]) -> Cut {
        let name = &self.model.networks[judge].name.name;
        let lets = || self.moment.lets.iter().chain(&self.train.lets);
        let is_score = |e: &Expr| {
            let mut e = e;
            for _ in 0..16 {
                e = match &e.kind {
                    ExprKind::Paren(inner) | ExprKind::Neg(inner) | ExprKind::Field(inner, _) => inner,
                    ExprKind::Binary(BinOp::Add | BinOp::Sub, one, x)
                        if matches!(&one.kind, ExprKind::Number(_)) =>
                    {
                        x
                    }
                    ExprKind::Name(n) => match lets().find(|(ids, _)| ids.iter().any(|i| i.name == *n)) {
                        Some((_, e)) => e,
                        None => return false,
                    },
                    ExprKind::Call(f, _) => return self.model.network_of(f).is_some_and(|n| n.name.name == *name),
                    _ => return false,
                };
            }
            false
        };
        let number = |e: &Expr| match self.consts.eval(e) {
            Ok(Constant::Number(v)) => Some(v),
            _ => None,
        };
        let (mut zero, mut targets): (bool, Vec<f64>) = (false, Vec::new());
        let mut visit = |e: &Expr| {
            match &e.kind {
                ExprKind::Call(f, args) => {
                    let f = if let ExprKind::Name(f) = &f.kind { f.as_str() } else { "" };
                    match (f, &args.args[..]) {
                        ("bce" | "softplus" | "relu", [a, ..]) => zero |= is_score(&a.value),
                        ("mse", [a, b]) if is_score(&a.value) => targets.extend(number(&b.value)),
                        _ => {}
                    }
                }
                ExprKind::Binary(BinOp::Pow, base, _) => {
                    let base = if let ExprKind::Paren(inner) = &base.kind { inner } else { base };
                    match &base.kind {
                        ExprKind::Binary(BinOp::Sub, a, b) if is_score(a) => targets.extend(number(b)),
                        _ if is_score(base) => targets.push(0.0),
                        _ => {}
                    }
                }
                _ => {}
            }
            true
        };
        let exprs = terms.iter().copied().chain(self.moment.lets.iter().map(|l| l.1));
        exprs.for_each(|e| walk::expr(e, &mut visit));
        let (lo, hi) = targets.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |m, &t| (m.0.min(t), m.1.max(t)));
        match (zero, lo < hi) {
            (true, _) => Cut::At(0.0),
            (false, true) => Cut::At((lo + hi) / 2.0),
            (false, false) => Cut::Between,
        }
    }

    /// The graph of what was seen. Uses up the graph under construction, whose own outputs are taken by then.
    pub fn watch(&mut self, all: &[Seen]) -> Watch {
        let mut outputs: Vec<(Name, NodeId)> = Vec::new();
        let mut modes = Vec::new();
        for s in all {
            let norm = gradient_norm(&mut self.gx.graph, &s.grads);
            outputs.push((format!("gradient.{}", s.player).into(), norm));
            let judge = &self.model.networks[s.judge].name.name;
            if !s.real.is_empty() && !s.fake.is_empty() {
                let g = &mut self.gx.graph;
                let cut = match s.cut {
                    Cut::At(v) => g.scalar(v),
                    Cut::Between => {
                        let (a, b) = (mean_of(g, &s.real), mean_of(g, &s.fake));
                        let sum = g.add(a, b);
                        g.scale(sum, 0.5)
                    }
                };
                let right =
                    [("real", share_above(g, &s.real, cut, false)), ("fake", share_above(g, &s.fake, cut, true))];
                outputs.extend(right.map(|(kind, v)| (format!("{kind}.{judge}").into(), v)));
            }
            let mut seen = BTreeSet::new();
            for key in &s.made {
                let name = self.model.networks[key.net.index].name.name.clone();
                if !seen.insert(name.clone()) {
                    continue;
                }
                let Some(x) =
                    self.gx.apps.get(key).cloned().flatten().and_then(|r| r.outputs.first().map(|o| o.1.node))
                else {
                    continue;
                };
                let ty = self.gx.graph.ty(x).clone();
                if ty.dtype != DType::F32 || ty.shape.first().is_none_or(|&n| n < 4) {
                    continue;
                }
                let like = s.minibatches.iter().copied().find(|&r| *self.gx.graph.ty(r) == ty);
                if let Some(real) = like {
                    let value = correlation(&mut self.gx.graph, x, real);
                    outputs.push((format!("correlation.{name}").into(), value));
                    if let Some(data) = self.data_with_modes(real) {
                        let output: Name = format!("modes.{name}").into();
                        modes.push((output.clone(), data));
                        outputs.push((output, x));
                    }
                }
                if let Some(value) = self.coupling(s, key, x) {
                    outputs.push((format!("coupling.{name}").into(), value));
                }
            }
        }
        // Two judges of one generator show the same of it.
        let mut names = BTreeSet::new();
        outputs.retain(|o| names.insert(o.0.clone()));
        modes.retain(|m: &(Name, usize)| names.remove(&m.0));
        Watch { graph: super::extract::extract(&self.gx.graph, &outputs), modes }
    }

    /// The data set of a minibatch, if its modes are known.
    fn data_with_modes(&self, minibatch: NodeId) -> Option<usize> {
        let Op::Input(name) = &self.gx.graph.node(minibatch).op else { return None };
        let input = self.gx.inputs.iter().find(|i| i.input == *name)?;
        let data = self.train.lines[input.line].2.data;
        let centre = self.data[data].2.modes.as_ref()?.centres.first()?;
        (self.gx.graph.shape(minibatch)[1..] == [centre.len()]).then_some(data)
    }

    /// How far a generator's samples move when the other samples of their batch are others, as a share of their spread:
    /// the root of E|G(z) - G(z')|^2 / E|G(z) - E G(z)|^2 over the first half of the batch, where in z' the second half is
    /// replaced by the first. Only batch norms and their like couple samples (Salimans et al. 2016, section 3.5).
    fn coupling(&mut self, s: &Seen, key: &AppKey, x: NodeId) -> Option<NodeId> {
        let meta = &self.nets[key.net.index];
        meta.crosses.as_ref()?;
        if meta.rows.iter().any(|r| NOISE.iter().any(|n| r.text.split('(').next() == Some(n))) {
            return None;
        }
        let inputs = meta.inputs.clone();
        let (n, half) = (key.batch, key.batch / 2);
        // Batches that are put together, as `joint` does, have no companions to exchange.
        let whole = |&a: &NodeId| self.gx.graph.shape(a).first() == Some(&n);
        if !key.args.iter().chain([&x]).all(whole) || key.args.len() != inputs.len() {
            return None;
        }
        let mut args = Vec::new();
        for (&node, (_, kind, shape)) in key.args.iter().zip(inputs) {
            let g = &mut self.gx.graph;
            let first = g.slice_axis(node, 0, 0..half);
            let rest = g.slice_axis(node, 0, 0..n - half);
            let node = g.concat(&[first, rest], 0);
            args.push(Tensor { node, kind, sample: true, shape });
        }
        if args.iter().all(|a| a.kind != Kind::Real) {
            return None;
        }
        let params = std::mem::replace(&mut self.gx.params, s.params.clone());
        self.moment.tag = s.tag.clone();
        self.moment.batch = n;
        let net = NetRef { stop: false, ..key.net.clone() };
        let record = self.apply(&net, args);
        self.gx.params = params;
        let y = record?.outputs.first()?.1.node;
        let g = &mut self.gx.graph;
        let (a, b) = (g.slice_axis(x, 0, 0..half), g.slice_axis(y, 0, 0..half));
        let moved = g.sub(a, b);
        let moved = sum_of_squares(g, moved);
        let moved = g.scale(moved, 1.0 / half as f64);
        let centred = centre(g, x, x);
        let spread = sum_of_squares(g, centred);
        let spread = g.scale(spread, 1.0 / n as f64);
        let ratio = quotient(g, moved, spread);
        Some(g.unary(Unary::Sqrt, ratio))
    }
}

fn sum_of_squares(g: &mut Graph, x: NodeId) -> NodeId {
    let square = g.mul(x, x);
    g.sum_all(square)
}

/// `a / b`, 0 where both are 0.
fn quotient(g: &mut Graph, a: NodeId, b: NodeId) -> NodeId {
    let tiny = g.scalar(1e-30);
    let b = g.binary(Binary::Max, b, tiny);
    g.div(a, b)
}

/// Norm of all gradients of a player together, before any clipping.
fn gradient_norm(g: &mut Graph, grads: &[NodeId]) -> NodeId {
    let mut total = g.scalar(0.0);
    for &d in grads {
        let own = sum_of_squares(g, d);
        total = g.add(total, own);
    }
    g.unary(Unary::Sqrt, total)
}

/// Mean of all elements of some values.
fn mean_of(g: &mut Graph, all: &[NodeId]) -> NodeId {
    let mut total = g.scalar(0.0);
    for &x in all {
        let count = g.ty(x).elements();
        let sum = g.sum_all(x);
        let mean = g.scale(sum, 1.0 / count as f64);
        total = g.add(total, mean);
    }
    g.scale(total, 1.0 / all.len() as f64)
}

/// Share of elements above a cut, or below it.
fn share_above(g: &mut Graph, all: &[NodeId], cut: NodeId, below: bool) -> NodeId {
    let hits: Vec<NodeId> = all
        .iter()
        .map(|&x| {
            let shape = g.shape(x).to_vec();
            let cut = g.broadcast(cut, &shape);
            let hit = if below { g.lt(x, cut) } else { g.lt(cut, x) };
            g.cast(hit, DType::F32)
        })
        .collect();
    mean_of(g, &hits)
}

/// `x` minus the mean of `by` over the batch.
fn centre(g: &mut Graph, x: NodeId, by: NodeId) -> NodeId {
    let mean = g.mean(by, &[0]);
    let shape = g.shape(x).to_vec();
    let mean = g.broadcast(mean, &shape);
    g.sub(x, mean)
}

/// Mean correlation of two samples of a batch: of their deviations from the mean of the data, the products of all pairs
/// over the squares. 0 for independent samples of the data, 1 if all samples are the same.
fn correlation(g: &mut Graph, x: NodeId, real: NodeId) -> NodeId {
    let n = g.shape(x)[0] as f64;
    let deviation = centre(g, x, real);
    let own = sum_of_squares(g, deviation);
    let sum = g.sum(deviation, &[0]);
    let all = sum_of_squares(g, sum);
    let pairs = g.sub(all, own);
    let pairs = g.scale(pairs, 1.0 / (n - 1.0));
    quotient(g, pairs, own)
}
