//! What a `train` keeps of its networks beside their parameters: running means for `drift`, snapshots for `past`; and
//! what the functions with state have in common.
//!
//! Everything kept is a state tensor, so that checkpoints have it. Counters are u32 and count by adding 1: exact for
//! any number of iterations.

use super::ctx::{Builder, Past};
use super::expr::Env;
use super::program::TensorDecl;
use super::value::{NetRef, Value, View, common};
use crate::diag::Diagnostic;
use crate::graph::{Binary, DType, Dist, Name, NodeId, Type, philox};
use crate::layers::args::{Slot, bind_names};
use crate::layers::{Class, Init, table};
use crate::source::Span;
use crate::syntax::ast::{Arg, Expr};
use std::collections::BTreeMap;

/// Most snapshots of a network.
const MAX_KEEP: f64 = 1000.0;

impl<'m> Builder<'m> {
    /// Reports a function that belongs to the players where none updates.
    pub fn in_player(&mut self, env: &Env<'m>, name: &str, span: Span) -> bool {
        let text = match (&env.net, self.moment.update) {
            (Some(_), _) => "used within a network",
            (None, false) => "used by an action",
            (None, true) => return true,
        };
        self.report(
            Diagnostic::error("E0464", format!("`{name}` stands in the objectives of players"))
                .at(span, text)
                .help("write it in a player, or in a `let` of the `train` that only players read"),
        );
        false
    }

    /// Arguments of a function of networks by parameter, as written; the network is not among them.
    pub fn given(&mut self, name: &str, rest: &'m [Arg], span: Span) -> Option<BTreeMap<&'static str, &'m Expr>> {
        let sig = table::lookup(Class::Function, name)?;
        let positional: Vec<&'m Arg> = rest.iter().filter(|a| a.name.is_none()).collect();
        let named: Vec<&'m Arg> = rest.iter().filter(|a| a.name.is_some()).collect();
        let names: Vec<&str> = named.iter().filter_map(|a| a.name.as_ref()).map(|n| n.name.as_str()).collect();
        let input = usize::from(!sig.takes_input);
        let slots = match bind_names(sig, positional.len() + input, &names) {
            Ok(slots) => slots,
            Err(errors) => {
                for e in errors {
                    let (message, help) = e.message(sig, &names);
                    self.report(Diagnostic::error("E0206", message).at(span, "in this call").help(help));
                }
                return None;
            }
        };
        let mut out = BTreeMap::new();
        for (slot, p) in slots.iter().zip(sig.params) {
            match slot {
                Slot::Positional(i) if *i >= input => out.insert(p.name, &positional[*i - input].value),
                Slot::Named(k) => out.insert(p.name, &named[*k].value),
                Slot::Positional(_) | Slot::Default | Slot::Many(_) | Slot::Columns(_) => None,
            };
        }
        Some(out)
    }

    /// A whole number among the arguments of a function with state; `None` after a report, or if it is left out.
    pub fn whole_of(
        &mut self,
        env: &mut Env<'m>,
        given: &BTreeMap<&'static str, &'m Expr>,
        word: &str,
        (min, max): (f64, f64),
    ) -> Option<usize> {
        let &e = given.get(word)?;
        match self.eval(env, e) {
            Value::Num(v) if v.fract() == 0.0 && (min..=max).contains(&v) => Some(v as usize),
            Value::Error => None,
            other => {
                let found = other.describe();
                let title = format!("`{word}` is a whole number from {min} to {max}");
                self.error("E0466", e.span, title, format!("this is {found}"));
                None
            }
        }
    }

    /// A network that is updated, not an average or snapshot of one.
    pub fn present(&mut self, net: &NetRef, name: &str, span: Span) -> bool {
        self.check_network(net.index);
        if net.view != View::Present {
            self.report(
                Diagnostic::error("E0464", format!("`{name}` takes a network as it is now"))
                    .at(span, "this is an average, a snapshot or an unrolled network")
                    .help("give it the network itself"),
            );
            return false;
        }
        !self.nets[net.index].broken
    }

    /// `drift(G)`: the squared distance of the parameters from the mean of all values that they have had at the ends
    /// of iterations, the first one included (Salimans et al. 2016, section 3.3).
    pub fn drift(&mut self, net: &NetRef, span: Span) -> Value {
        if !self.present(net, "drift", span) {
            return Value::Error;
        }
        for name in self.nets[net.index].params.clone() {
            if let Some(d) = self.decl(&name).cloned() {
                // Its first value is the parameter's, taken in the first iteration.
                let name = mean_name(&name);
                self.declare(TensorDecl { name, trained: false, init: Init::Constant(0.0), ..d });
            }
        }
        self.train.drifts.insert(net.index);
        let mut total = self.gx.graph.scalar(0.0);
        for name in self.nets[net.index].params.clone() {
            let mut value = self.param_value(&name);
            if net.stop {
                value = self.gx.graph.stop(value);
            }
            let mean = self.mean_before(&name);
            let g = &mut self.gx.graph;
            let mean = g.stop(mean);
            let away = g.sub(value, mean);
            let square = g.mul(away, away);
            let sum = g.sum_all(square);
            total = g.add(total, sum);
        }
        Value::Tensor(common(total, vec![]))
    }

    /// The mean of a parameter's values before this iteration; in the first, its value.
    fn mean_before(&mut self, name: &Name) -> NodeId {
        let ty = self.decl(name).map(|d| d.ty.clone()).unwrap_or_else(|| Type::f32([]));
        let mean = self.gx.graph.state(mean_name(name), ty.clone());
        if self.moment.evaluate || !self.moment.update {
            return mean;
        }
        let first = self.gx.graph.param(name.clone(), &ty.shape);
        let begins = self.first_iteration();
        self.gx.graph.select(begins, first, mean)
    }

    fn first_iteration(&mut self) -> NodeId {
        let iteration = self.gx.iteration();
        let one = self.gx.graph.splat(1.0, Type::u32([]));
        self.gx.graph.eq(iteration, one)
    }

    /// Running means take the iteration's new parameters: `mean + (value - mean) / (t + 1)`.
    pub fn advance_means(&mut self) {
        for net in self.train.drifts.clone() {
            for name in self.nets[net].params.clone() {
                let new = self.param_value(&name);
                let mean = self.mean_before(&name);
                let iteration = self.gx.iteration();
                let g = &mut self.gx.graph;
                let t = g.cast(iteration, DType::F32);
                let count = g.offset(t, 1.0);
                let away = g.sub(new, mean);
                let part = g.div(away, count);
                let next = g.add(mean, part);
                self.gx.states.insert(mean_name(&name), next);
            }
        }
    }

    /// `past(G, keep: n, every: m)`: the network with one of its last snapshots.
    pub fn past(&mut self, env: &mut Env<'m>, net: NetRef, args: &'m [Arg], span: Span) -> Value {
        let Some(given) = self.given("past", args, span) else { return Value::Error };
        let most = f64::from(u32::MAX);
        let keep = self.whole_of(env, &given, "keep", (1.0, MAX_KEEP));
        let every = self.whole_of(env, &given, "every", (1.0, most));
        let each = self.whole_of(env, &given, "swap_each", (1.0, most));
        let last = self.whole_of(env, &given, "for", (1.0, most));
        let (Some(keep), Some(every)) = (keep, every) else { return Value::Error };
        let wanted = given.contains_key("swap_each");
        if wanted != each.is_some() || given.contains_key("for") != last.is_some() {
            return Value::Error;
        }
        let swap = each.map(|each| (each, last.unwrap_or(1)));
        let fits = swap.is_none_or(|(each, last)| last <= each) && (wanted || last.is_none());
        if !fits {
            return self.report(
                Diagnostic::error("E0466", "`for` counts the last iterations of each `swap_each`")
                    .at(span, "more than there are, or of none")
                    .help("write for example `swap_each: 100, for: 5`"),
            );
        }
        if !self.present(&net, "past", span) {
            return Value::Error;
        }
        let train = self.train.index;
        let same = |p: &Past| (p.network, p.keep, p.every, p.swap) == (net.index, keep, every, swap);
        let at = match self.train.pasts.iter().position(same) {
            Some(i) => i,
            None => {
                let others = self.train.pasts.iter().filter(|p| p.network == net.index).count();
                let mut prefix = "past".to_string();
                if train > 0 {
                    prefix.push_str(&format!("{}", train + 1));
                }
                if others > 0 {
                    prefix.push_str(&format!(".{}", others + 1));
                }
                let network = self.model.networks[net.index].name.name.clone();
                self.train.pasts.push(Past {
                    network: net.index,
                    keep,
                    every,
                    swap,
                    counters: format!("{prefix}:{network}"),
                    prefix: format!("{prefix}:"),
                });
                let at = self.train.pasts.len() - 1;
                self.declare_past(at);
                at
            }
        };
        Value::Net(NetRef { view: View::Past(at), ..net })
    }

    fn declare_past(&mut self, at: usize) {
        let p = self.train.pasts[at].clone();
        let reset = Some(self.train.index);
        for name in self.nets[p.network].params.clone() {
            let Some(d) = self.decl(&name).cloned() else { continue };
            let shape = [&[p.keep], &d.ty.shape[..]].concat();
            self.declare_state(&p.table(&name), Type::new(d.ty.dtype, shape), Init::Constant(0.0), reset);
        }
        let mut words = vec!["age", "next", "held"];
        if p.swap.is_some() {
            words.extend(["turn", "pick"]);
        }
        for w in words {
            self.declare_state(&p.counter(w), Type::u32([]), Init::Constant(0.0), reset);
        }
    }

    /// A counter's value at the start of the iteration.
    fn counter(&mut self, p: &Past, word: &str) -> NodeId {
        self.gx.graph.state(p.counter(word), Type::u32([]))
    }

    /// A slot among the first `held`, drawn anew each iteration (u32, rank 0).
    fn drawn_slot(&mut self, p: &Past, held: NodeId) -> NodeId {
        let (seed, iteration) = (self.gx.seed(), self.gx.iteration());
        let g = &mut self.gx.graph;
        let stream = philox::stream(&format!("pick {}", p.counters));
        let u = g.random(stream, Dist::Uniform, seed, iteration, &[1]);
        let u = g.reshape(u, &[]);
        let held = g.cast(held, DType::F32);
        let scaled = g.mul(u, held);
        g.cast(scaled, DType::U32)
    }

    /// A parameter as a snapshot has it, or as it is where no snapshot stands in.
    pub fn snapshot(&mut self, at: usize, name: &Name) -> NodeId {
        let p = self.train.pasts[at].clone();
        let now = self.param_value(name);
        let ty = self.gx.graph.ty(now).clone();
        let held = self.counter(&p, "held");
        let slot = match p.swap {
            Some(_) => self.counter(&p, "pick"),
            None => self.drawn_slot(&p, held),
        };
        let g = &mut self.gx.graph;
        let zero = g.splat(0.0, Type::u32([]));
        let mut stands_in = g.lt(zero, held);
        if let Some((each, last)) = p.swap {
            let turn = g.state(p.counter("turn"), Type::u32([]));
            let first = g.splat((each - last) as f64, Type::u32([]));
            let swapped = g.binary(Binary::Le, first, turn);
            stands_in = g.binary(Binary::And, stands_in, swapped);
        }
        let table = g.state(p.table(name), Type::new(ty.dtype, [&[p.keep], &ty.shape[..]].concat()));
        let row = g.reshape(slot, &[1]);
        let kept = g.gather_rows(table, row);
        let kept = g.reshape(kept, &ty.shape);
        let value = g.select(stands_in, kept, now);
        g.stop(value)
    }

    /// Snapshots take the iteration's new parameters where one is due.
    pub fn advance_pasts(&mut self) {
        for p in self.train.pasts.clone() {
            let (age, next, held) = (self.counter(&p, "age"), self.counter(&p, "next"), self.counter(&p, "held"));
            let g = &mut self.gx.graph;
            let (zero, one) = (g.splat(0.0, Type::u32([])), g.splat(1.0, Type::u32([])));
            let older = g.add(age, one);
            let period = g.splat(p.every as f64, Type::u32([]));
            let due = g.eq(older, period);
            let age = g.select(due, zero, older);
            let row = g.reshape(next, &[1]);
            let keep = g.splat(p.keep as f64, Type::u32([]));
            let after = g.add(next, one);
            let full_circle = g.eq(after, keep);
            let after = g.select(full_circle, zero, after);
            let after = g.select(due, after, next);
            let room = g.lt(held, keep);
            let more = g.binary(Binary::And, due, room);
            let one_more = g.add(held, one);
            let held = g.select(more, one_more, held);
            self.gx.states.insert(p.counter("age"), age);
            self.gx.states.insert(p.counter("next"), after);
            self.gx.states.insert(p.counter("held"), held);
            for name in self.nets[p.network].params.clone() {
                let new = self.param_value(&name);
                let g = &mut self.gx.graph;
                let ty = g.ty(new).clone();
                let rows = [&[1], &ty.shape[..]].concat();
                let table = g.state(p.table(&name), Type::new(ty.dtype, [&[p.keep], &ty.shape[..]].concat()));
                // Where none is due the row is written as it is, so that no iteration copies the whole table.
                let old = g.gather_rows(table, row);
                let new = g.reshape(new, &rows);
                let written = g.select(due, new, old);
                let table = g.scatter_rows(table, row, written);
                self.gx.states.insert(p.table(&name), table);
            }
            if let Some((each, last)) = p.swap {
                let (turn, pick) = (self.counter(&p, "turn"), self.counter(&p, "pick"));
                let drawn = self.drawn_slot(&p, held);
                let g = &mut self.gx.graph;
                let on = g.add(turn, one);
                let each_node = g.splat(each as f64, Type::u32([]));
                let round = g.eq(on, each_node);
                let turn = g.select(round, zero, on);
                let first = g.splat((each - last) as f64, Type::u32([]));
                // One snapshot for the whole swap that begins with the next iteration.
                let begins = g.eq(turn, first);
                let pick = g.select(begins, drawn, pick);
                self.gx.states.insert(p.counter("turn"), turn);
                self.gx.states.insert(p.counter("pick"), pick);
            }
        }
    }
}

/// State of a parameter's running mean.
fn mean_name(param: &Name) -> Name {
    format!("drift:{param}").into()
}
