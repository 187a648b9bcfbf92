//! Reference batches of virtual batch norms: drawn once before the first iteration, kept as states, and run through
//! their network with every application.

use super::ctx::{AppKey, Builder, Gx, Moment};
use super::expr::Env;
use super::net::{App, Statistics};
use super::program::{Iteration, Watch};
use super::value::NetRef;
use crate::diag::Diagnostic;
use crate::graph::{Name, Type};
use crate::layers::{Init, Tensor};
use crate::model::Model;
use crate::source::Span;
use crate::syntax::ast::{
    ActionKind, Arg, Expr, ExprKind, Ident, PipeStage, PlayerLineKind, TrainStmt, TrainStmtKind,
};
use std::rc::Rc;

/// States that hold reference batches begin with this.
const PREFIX: &str = "reference:";

/// An application as written: what is piped in, arguments, place, and the lets of the player around it.
struct Call<'m> {
    input: Option<&'m Expr>,
    args: &'m [Arg],
    span: Span,
    lets: Vec<(&'m [Ident], &'m Expr)>,
}

impl<'m> Builder<'m> {
    /// Statistics of a network's virtual batch norms over its reference batch of `size` samples, as it is at the
    /// moment; one pass serves all applications with the same parameters.
    pub fn reference_pass(&mut self, net: &NetRef, size: usize) -> Option<Rc<Statistics>> {
        let name = &self.model.networks[net.index].name;
        if !self.inside.is_empty() {
            self.report(
                Diagnostic::error("E0465", format!("`{}` has a virtual batch norm", name.name))
                    .at(name.span, "applied within another network")
                    .note("its reference batch is drawn from what the `train` applies it to")
                    .help("write its layers as a block, or use another norm"),
            );
            return None;
        }
        self.train.references.insert(net.index);
        let mut args = Vec::new();
        for (input, kind, shape) in self.nets[net.index].inputs.clone() {
            let full = reference_name(&name.name, &input);
            let ty = Type::new(Self::dtype(kind), [&[size], &shape[..]].concat());
            self.declare_state(&full, ty.clone(), Init::Constant(0.0), None);
            let node = self.state_value(&full, &ty);
            args.push(Tensor { node, kind, sample: true, shape });
        }
        let key = AppKey {
            net: net.clone(),
            version: self.version(net.index),
            args: args.iter().map(|a| a.node).collect(),
            training: self.moment.update && !net.eval,
            batch: size,
        };
        if let Some(known) = self.gx.references.get(&key) {
            return Some(known.clone());
        }
        let batch = std::mem::replace(&mut self.moment.batch, size);
        let outer = std::mem::take(&mut self.gx.recorded);
        let before = self.gx.graph.current_origin().clone();
        let app = App { net: net.clone(), args: key.args.clone(), count: false, reference: None };
        let result = self.instantiate(app, args);
        self.gx.graph.set_origin(before);
        let found = Rc::new(std::mem::replace(&mut self.gx.recorded, outer));
        self.moment.batch = batch;
        result?;
        self.gx.references.insert(key, found.clone());
        Some(found)
    }

    /// The graph that draws the reference batches which this `train` is the first to need: the first samples of the
    /// arguments of each network's first application in the text, from streams of their own.
    pub fn start(&mut self, stmts: &'m [TrainStmt]) -> Option<Iteration> {
        let wanted: Vec<usize> = self.train.references.difference(&self.drawn).copied().collect();
        if wanted.is_empty() || self.fatal {
            return None;
        }
        self.gx = Gx::new();
        self.pending = wanted.iter().copied().collect();
        while let Some(net) = self.pending.pop_first() {
            self.draw_reference(net, stmts);
        }
        self.drawn.extend(&wanted);
        let outputs: Vec<(Name, _)> = self
            .gx
            .states
            .iter()
            .filter(|(n, _)| n.starts_with(PREFIX))
            .map(|(n, &v)| (format!("state:{n}").into(), v))
            .collect();
        let gx = std::mem::replace(&mut self.gx, Gx::new());
        let graph = super::extract::extract(&gx.graph, &outputs);
        Some(Iteration { mask: 0, graph, inputs: gx.inputs, fresh: gx.fresh, watch: Watch::default() })
    }

    fn draw_reference(&mut self, net: usize, stmts: &'m [TrainStmt]) {
        let name = &self.model.networks[net].name;
        let Some(size) = self.nets[net].reference else { return };
        let Some(call) = first_application(self.model, stmts, &name.name) else {
            self.report(
                Diagnostic::error("E0465", format!("nothing says what the reference batch of `{}` is", name.name))
                    .at(name.span, "has a virtual batch norm, but the `train` applies it under another name only")
                    .help(format!("apply it once by its name: `{}(…)`", name.name)),
            );
            return;
        };
        // Networks that its arguments apply need their own reference first.
        for inner in self.pending.clone() {
            let other = &self.model.networks[inner].name.name;
            if self.mentions(&call, other, stmts) && self.pending.remove(&inner) {
                self.draw_reference(inner, stmts);
            }
        }
        let tag = format!("reference {}", name.name);
        self.moment = Moment {
            tag: tag.clone(),
            update: true,
            reference: Some(net),
            batch: size,
            lets: call.lets.clone(),
            ..Moment::default()
        };
        let mut env = Env::line(tag);
        let input = call.input.map(|e| (self.eval(&mut env, e), e.span));
        let Some(args) = self.arguments(&mut env, net, input, call.args, call.span) else { return };
        for ((input, _, _), t) in self.nets[net].inputs.clone().into_iter().zip(args) {
            let node = self.gx.graph.stop(t.node);
            self.gx.states.insert(reference_name(&name.name, &input), node);
        }
    }

    /// Whether the arguments of a call name a network, through lets.
    fn mentions(&self, call: &Call<'m>, network: &str, stmts: &'m [TrainStmt]) -> bool {
        let mut todo: Vec<String> = call.args.iter().flat_map(|a| crate::model::walk::names(&a.value)).collect();
        todo.extend(call.input.map(crate::model::walk::names).unwrap_or_default());
        let mut seen = std::collections::BTreeSet::new();
        while let Some(n) = todo.pop() {
            if n == network {
                return true;
            }
            if !seen.insert(n.clone()) {
                continue;
            }
            let of_train = stmts.iter().filter_map(|s| match &s.kind {
                TrainStmtKind::Let(ids, e) => Some((&ids[..], e)),
                _ => None,
            });
            for (ids, e) in call.lets.iter().copied().chain(of_train) {
                if ids.iter().any(|i| i.name == n) {
                    todo.extend(crate::model::walk::names(e));
                }
            }
        }
        false
    }
}

fn reference_name(network: &str, input: &str) -> Name {
    format!("{PREFIX}{network}.{input}").into()
}

/// A network's first application: in lets and players in the order of the text, else in actions.
fn first_application<'m>(model: &Model, stmts: &'m [TrainStmt], network: &str) -> Option<Call<'m>> {
    let in_players = stmts.iter().find_map(|s| match &s.kind {
        TrainStmtKind::Let(_, e) => find(model, e, network),
        TrainStmtKind::Player(p) => {
            let found = p.lines.iter().find_map(|l| match &l.kind {
                PlayerLineKind::Let(_, e) | PlayerLineKind::Minimize(e, _) => find(model, e, network),
                PlayerLineKind::Using(_) | PlayerLineKind::Repeat(_) | PlayerLineKind::Batch(_) => None,
            })?;
            let lets = p.lines.iter().filter_map(|l| match &l.kind {
                PlayerLineKind::Let(ids, e) => Some((&ids[..], e)),
                _ => None,
            });
            Some(Call { lets: lets.collect(), ..found })
        }
        _ => None,
    });
    in_players.or_else(|| {
        stmts.iter().find_map(|s| {
            let TrainStmtKind::Every(_, actions) = &s.kind else { return None };
            actions.iter().find_map(|a| match &a.kind {
                ActionKind::Evaluate(_, e) => find(model, e, network),
                ActionKind::Call(_, args) => {
                    args.as_ref()?.args.iter().find_map(|a| find(model, &a.value, network))
                }
            })
        })
    })
}

fn find<'m>(model: &Model, e: &'m Expr, network: &str) -> Option<Call<'m>> {
    let here = |input, args, span| Some(Call { input, args, span, lets: Vec::new() });
    match &e.kind {
        ExprKind::Number(_) | ExprKind::Str(_) | ExprKind::Bool(_) | ExprKind::It | ExprKind::Name(_) => None,
        ExprKind::List(items) => items.iter().find_map(|i| find(model, i, network)),
        ExprKind::Paren(inner) | ExprKind::Neg(inner) | ExprKind::Field(inner, _) | ExprKind::Index(inner, _) => {
            find(model, inner, network)
        }
        ExprKind::Binary(_, a, b) => find(model, a, network).or_else(|| find(model, b, network)),
        ExprKind::Call(callee, args) => match model.network_of(callee) {
            Some(n) if n.name.name == network => here(None, &args.args[..], e.span),
            _ => args.args.iter().find_map(|a| find(model, &a.value, network)),
        },
        ExprKind::Pipe(left, PipeStage::Layer(call)) => find(model, left, network).or_else(|| {
            let args = call.args.as_ref().map_or(&[][..], |a| &a.args[..]);
            if call.name.name == network {
                return here(Some(left), args, e.span);
            }
            args.iter().find_map(|a| find(model, &a.value, network))
        }),
        ExprKind::Pipe(left, PipeStage::Body(_)) => find(model, left, network),
    }
}
