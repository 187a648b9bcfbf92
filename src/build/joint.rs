//! `joint(D)`: one application to several batches that are normalised together; `fresh(D)`: noise of its own.

use super::ctx::Builder;
use super::expr::Env;
use super::net::signature;
use super::value::{NetRef, Record, Value};
use crate::diag::Diagnostic;
use crate::layers::{JointStatistics, Tensor};
use crate::source::Span;
use crate::syntax::ast::{Arg, ExprKind, Network};
use std::rc::Rc;

impl<'m> Builder<'m> {
    /// `fresh(D)`: each place in the text, and each update, has noise that no other application shares.
    pub fn fresh(&mut self, env: &mut Env<'m>, net: NetRef, span: Span) -> Value {
        if env.net.is_some() {
            return self.report(
                Diagnostic::error("E0464", "`fresh` stands in `train`")
                    .at(span, "used within a network")
                    .help("within a network each layer has noise of its own already"),
            );
        }
        env.noises += 1;
        let place = format!("{}.fresh{}@{}", env.line, env.noises, self.moment.place());
        Value::Net(NetRef { fresh: Some(place.into()), ..net })
    }

    /// `joint(D, stats: joint|real|fake|cross)`
    pub fn joint(&mut self, net: NetRef, args: &'m [Arg], span: Span) -> Value {
        let Some(given) = self.given("joint", args, span) else { return Value::Error };
        let word = match given.get("stats").map(|e| &e.kind) {
            Some(ExprKind::Name(w)) => w.as_str(),
            _ => "joint",
        };
        let joint = match word {
            "real" => JointStatistics::Real,
            "fake" => JointStatistics::Fake,
            "cross" => JointStatistics::Cross,
            _ => JointStatistics::Joint,
        };
        Value::Net(NetRef { joint: Some(joint), ..net })
    }

    /// Applies a network once to all batches, one after the other; a list of one result for each comes back.
    pub fn apply_joint(
        &mut self,
        env: &mut Env<'m>,
        net: &NetRef,
        input: Option<(Value, Span)>,
        args: &'m [Arg],
        span: Span,
    ) -> Value {
        let decl: &'m Network = &self.model.networks[net.index];
        let name = &decl.name.name;
        let mut given: Vec<(Value, Span)> = input.into_iter().collect();
        for a in args {
            if let Some(word) = &a.name {
                let title = format!("`joint({name})` takes its inputs by position");
                return self.error("E0467", word.span, title, "all inputs for the first batch, then for the next");
            }
            given.push((self.eval(env, &a.value), a.value.span));
        }
        self.check_network(net.index);
        if given.iter().any(|g| g.0.is_error()) || self.nets[net.index].broken || self.fatal {
            return Value::Error;
        }
        let inputs = decl.inputs.len();
        let parts = given.len().checked_div(inputs).unwrap_or(0);
        let two_only = net.joint != Some(JointStatistics::Joint);
        if parts < 2 || parts * inputs != given.len() || two_only && parts != 2 {
            let many = if two_only { "two batches" } else { "two batches or more" };
            return self.report(
                Diagnostic::error("E0467", format!("`joint({name})` is applied to {many}"))
                    .at(span, format!("the network has {inputs} input{}, {} given", plural(inputs), given.len()))
                    .label(decl.name.span, signature(decl))
                    .help("give all inputs for the first batch, then all for the next: `joint(D)(real, fake)`"),
            );
        }
        let mut batches: Vec<Vec<Tensor>> = Vec::new();
        for part in given.chunks(inputs) {
            let Some(part) = self.inputs(decl, net.index, part) else { return Value::Error };
            batches.push(part);
        }
        let mut all = Vec::new();
        for i in 0..inputs {
            let nodes: Vec<_> = batches.iter().map(|b| b[i].node).collect();
            let node = self.gx.graph.concat(&nodes, 0);
            all.push(Tensor { node, ..batches[0][i].clone() });
        }
        let batch = self.moment.batch;
        self.moment.batch = batch * parts;
        let result = self.apply(net, all);
        self.moment.batch = batch;
        let Some(result) = result else {
            debug_assert!(self.failed(), "an application failed without a word");
            return Value::Error;
        };
        let mut list = Vec::new();
        for i in 0..parts {
            let mut part = |(name, t): &(String, Tensor)| {
                let node = match t.sample {
                    true => self.gx.graph.slice_axis(t.node, 0, i * batch..(i + 1) * batch),
                    false => t.node,
                };
                (name.clone(), Tensor { node, ..t.clone() })
            };
            let outputs = result.outputs.iter().map(&mut part).collect();
            let taps = result.taps.iter().map(&mut part).collect();
            list.push(Value::Record(Rc::new(Record { outputs, taps })));
        }
        Value::List(Rc::new(list))
    }
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}
