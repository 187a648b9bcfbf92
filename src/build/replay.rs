//! `replay(x, …, capacity: n, share: p)`: a buffer of earlier samples, exchanged with new ones (Shrivastava et al.
//! 2017 show half of each batch from history).
//!
//! Two published rules differ in what the buffer forgets. `exchange`: with probability p a sample is given back from a
//! random slot and the new one takes its place, else the new one passes and the buffer stays. `pop`: the new one takes
//! the slot's place always, and what was there is given back with probability p, else lost.
//!
//! A batch uses different slots: one out of each of `batch` equal parts of the ring of slots, which is turned by a
//! random number of slots, so that every slot is equally likely for every sample. Slot numbers are whole floats below
//! 2^24, where all of this is exact.

use super::ctx::{Builder, elements};
use super::expr::Env;
use super::value::{Value, describe};
use crate::diag::Diagnostic;
use crate::graph::{Binary, DType, Dist, Name, NodeId, Type, philox};
use crate::layers::{Init, Kind, Tensor};
use crate::source::Span;
use crate::syntax::ast::{Arg, ExprKind};

/// Most samples of a buffer.
const MAX_CAPACITY: usize = 1 << 22;

/// What one update does to a buffer.
struct Exchange {
    /// Slot of each sample, all different: u32 `[batch]`.
    rows: NodeId,
    /// Samples that are given back from their slots: bool `[batch]`.
    take: NodeId,
    /// Samples that are put into their slots: bool `[batch]`.
    store: NodeId,
    /// Slots in use afterwards: u32, rank 0.
    held: NodeId,
}

impl<'m> Builder<'m> {
    /// `replay(x, …, capacity: n, share: p, rule: exchange|pop)`
    pub fn replay(&mut self, env: &mut Env<'m>, input: (Value, Span), args: &'m [Arg], span: Span) -> Value {
        if !self.in_player(env, "replay", span) {
            return Value::Error;
        }
        let mut values = vec![input];
        for a in args.iter().filter(|a| a.name.is_none()) {
            values.push((self.eval(env, &a.value), a.value.span));
        }
        let Some(given) = self.given("replay", args, span) else { return Value::Error };
        let batch = self.moment.batch;
        let Some(capacity) = self.whole_of(env, &given, "capacity", (1.0, MAX_CAPACITY as f64)) else {
            return Value::Error;
        };
        if capacity < batch {
            let at = given.get("capacity").map_or(span, |e| e.span);
            return self.report(
                Diagnostic::error("E0466", "a buffer holds at least one batch")
                    .at(at, format!("{capacity} samples, the batch has {batch}"))
                    .help(format!(
                        "write `capacity: {batch}` or more: each sample of a batch has a slot of its own"
                    )),
            );
        }
        let share = match given.get("share").map(|&e| (self.eval(env, e), e.span)) {
            None => 0.5,
            Some((Value::Num(p), _)) if (0.0..=1.0).contains(&p) => p,
            Some((Value::Error, _)) => return Value::Error,
            Some((other, at)) => {
                let found = other.describe();
                let title = "`share` is a probability from 0 to 1";
                return self.error("E0466", at, title, format!("this is {found}"));
            }
        };
        let pop = given.get("rule").is_some_and(|e| matches!(&e.kind, ExprKind::Name(w) if w == "pop"));
        let mut samples = Vec::new();
        for (v, at) in &values {
            let Some(t) = self.tensor(v, *at) else { return Value::Error };
            if !t.sample || t.kind == Kind::Bool {
                return self.report(
                    Diagnostic::error("E0466", "`replay` keeps samples")
                        .at(*at, format!("this is {}", describe(&t)))
                        .help("give it what a network makes of each sample, and labels"),
                );
            }
            let full = [&[capacity], &t.shape[..]].concat();
            if elements(&full).is_none_or(|n| n > super::ctx::MAX_ELEMENTS) {
                let text = format!("{capacity} samples of {}", super::value::shape_text(&t.shape));
                return self.error("E0307", *at, "a buffer is too large: at most 2^31 elements", text);
            }
            samples.push(t);
        }
        let place = self.place_of_buffer(env);
        let nodes: Vec<NodeId> = samples.iter().map(|t| t.node).collect();
        let key = (place.clone(), nodes);
        let out = match self.gx.replays.get(&key) {
            Some(out) => out.clone(),
            None => {
                let exchange = self.exchange(&place, capacity, share, pop);
                let out: Vec<NodeId> = (0..samples.len())
                    .map(|k| self.exchanged(&place, k, capacity, &samples[k], &exchange))
                    .collect();
                self.gx.states.insert(held_name(&place), exchange.held);
                self.gx.replays.insert(key, out.clone());
                out
            }
        };
        let mut all: Vec<Value> =
            samples.into_iter().zip(out).map(|(t, node)| Value::Tensor(Tensor { node, ..t })).collect();
        match all.len() {
            1 => all.remove(0),
            _ => Value::List(all.into()),
        }
    }

    /// Name of the buffer of this place in the text: `replay:D.old.1`; the rounds of a player share it.
    fn place_of_buffer(&mut self, env: &mut Env<'m>) -> Name {
        env.noises += 1;
        let train = self.train.index;
        let train = if train == 0 { String::new() } else { format!("{}", train + 1) };
        let own = self.moment.lets.iter().any(|(ids, _)| ids.first().is_some_and(|i| i.name == env.line));
        let player = match (own, self.moment.chain.last()) {
            (true, Some(&p)) => format!("{}.", self.train.players[p].name.name),
            _ => String::new(),
        };
        format!("replay{train}:{player}{}.{}", env.line, env.noises).into()
    }

    /// Slots and choices of this update.
    fn exchange(&mut self, place: &Name, capacity: usize, share: f64, pop: bool) -> Exchange {
        let b = self.moment.batch;
        let held_ty = Type::u32([]);
        self.declare_state(&held_name(place), held_ty.clone(), Init::Constant(0.0), Some(self.train.index));
        let held = self.state_value(&held_name(place), &held_ty);
        let (seed, iteration) = (self.gx.seed(), self.gx.iteration());
        let at = self.moment.place();
        let g = &mut self.gx.graph;
        let mut uniform = |what: &str, n: usize| {
            let stream = philox::stream(&format!("{place} {what}@{at}"));
            g.random(stream, Dist::Uniform, seed, iteration, &[n])
        };
        let (turn, within, coin) = (uniform("turn", 1), uniform("slot", b), uniform("share", b));

        // While the buffer fills: the next free slots; samples without one wrap to the start and are not stored.
        let held = g.cast(held, DType::F32);
        let n = g.scalar(capacity as f64);
        let index = g.iota(&[b], 0);
        let index = g.cast(index, DType::F32);
        let index = g.add(index, held);
        let room = g.lt(index, n);
        let wrapped = g.offset(index, -(capacity as f64));
        let filling = g.select(room, index, wrapped);

        // Once it is full: part s of the turned ring for sample s.
        let bound = |s: usize| s * capacity / b;
        let starts: Vec<f64> = (0..b).map(|s| bound(s) as f64).collect();
        let sizes: Vec<f64> = (0..b).map(|s| (bound(s + 1) - bound(s)) as f64).collect();
        let (starts, sizes) = (g.dense(starts, Type::f32([b])), g.dense(sizes, Type::f32([b])));
        let whole = |g: &mut crate::graph::Graph, x: NodeId| g.unary(crate::graph::Unary::Floor, x);
        let offset = g.mul(within, sizes);
        let offset = whole(g, offset);
        let slot = g.add(starts, offset);
        let turn = g.reshape(turn, &[]);
        let turn = g.scale(turn, capacity as f64);
        let turn = whole(g, turn);
        let slot = g.add(slot, turn);
        let inside = g.lt(slot, n);
        let around = g.offset(slot, -(capacity as f64));
        let slot = g.select(inside, slot, around);

        let full = g.binary(Binary::Le, n, held);
        let rows = g.select(full, slot, filling);
        let rows = g.cast(rows, DType::U32);
        let p = g.scalar(share);
        let heads = g.lt(coin, p);
        let take = g.binary(Binary::And, heads, full);
        // A full buffer has no room left, so each rule adds what it puts in then.
        let store = match pop {
            true => g.binary(Binary::Or, room, full),
            false => g.binary(Binary::Or, room, take),
        };
        let more = g.offset(held, b as f64);
        let more = g.binary(Binary::Min, more, n);
        let held = g.cast(more, DType::U32);
        Exchange { rows, take, store, held }
    }

    /// One tensor's samples exchanged with its buffer.
    fn exchanged(&mut self, place: &Name, k: usize, capacity: usize, t: &Tensor, e: &Exchange) -> NodeId {
        let table: Name = format!("{place}.{k}").into();
        let dtype = Self::dtype(t.kind);
        let ty = Type::new(dtype, [&[capacity], &t.shape[..]].concat());
        self.declare_state(&table, ty.clone(), Init::Constant(0.0), Some(self.train.index));
        let stored = self.state_value(&table, &ty);
        let b = self.moment.batch;
        let g = &mut self.gx.graph;
        let new = g.stop(t.node);
        let old = g.gather_rows(stored, e.rows);
        let along: Vec<usize> = [b].into_iter().chain(t.shape.iter().map(|_| 1)).collect();
        let (take, store) = (g.reshape(e.take, &along), g.reshape(e.store, &along));
        let result = g.select(take, old, new);
        let written = g.select(store, new, old);
        let next = g.scatter_rows(stored, e.rows, written);
        let result = g.stop(result);
        self.gx.states.insert(table, next);
        result
    }
}

fn held_name(place: &Name) -> Name {
    format!("{place}.held").into()
}
