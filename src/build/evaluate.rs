//! Actions: numbers over an evaluation set, and expectations about them.
//!
//! `mean` and metrics run over many chunks. Each becomes a placeholder input; what is computed from placeholders is
//! the `finish` graph, what they stand for the chunk graph.

use super::ctx::{Builder, Gx, Moment};
use super::expr::Env;
use super::program::{Accumulator, Action, Chunk, Evaluate, Every, Expect, Metric};
use super::text;
use super::train::Plan;
use super::value::{Value, common, describe};
use crate::diag::Diagnostic;
use crate::graph::{DType, Graph, Name, NodeId, Op, Type};
use crate::layers::{Kind, Tensor};
use crate::source::Span;
use crate::syntax::ast::{Expr, ExprKind, Ident};
use std::collections::HashMap;
use std::sync::Arc;

/// Most numbers that a metric holds in memory.
const MAX_HELD: usize = 1 << 30;
/// Samples of an evaluation that says nothing else.
const DEFAULT_SAMPLES: usize = 1024;

/// One pass over an evaluation's expression.
struct Pass {
    chunk: Chunk,
    accumulators: Vec<Accumulator>,
    finish: Graph,
    samples: Option<usize>,
    rows: Option<usize>,
    /// Nothing in it is one a sample.
    constant: bool,
}

impl<'m> Builder<'m> {
    /// `evaluate name = E`.
    pub fn evaluate(&mut self, name: Option<&'m Ident>, e: &'m Expr, span: Span) -> Option<Evaluate> {
        let stem = match name {
            Some(n) => n.name.clone(),
            None => default_name(e),
        };
        let mut unique = stem.clone();
        let mut n = 1;
        while !self.numbers.insert((self.train.index, unique.clone())) {
            n += 1;
            unique = format!("{stem}{n}");
        }
        let first = self.pass(&unique, e, self.train.batch.max(1))?;
        let samples = match (first.samples, first.rows) {
            _ if first.constant => 1,
            (Some(n), Some(rows)) if n > rows => {
                self.error(
                    "E0458",
                    span,
                    format!("{n} samples of data that has {rows} rows"),
                    "in this evaluation",
                );
                return None;
            }
            (Some(n), _) => n,
            (None, Some(rows)) => rows,
            (None, None) => DEFAULT_SAMPLES,
        };
        for acc in first.accumulators.iter().filter(|a| a.metric.holds()) {
            let graph = &first.chunk.graph;
            let of = |o: &&(Name, NodeId)| o.0 == acc.output;
            let shape = graph.outputs.iter().find(of).map(|o| graph.shape(o.1)).unwrap_or_default();
            let width: usize = shape.iter().skip(1).product();
            if width.saturating_mul(samples) > MAX_HELD {
                let title = format!("{samples} samples of {width} numbers are more than a metric holds in memory");
                self.error(
                    "E0458",
                    span,
                    title,
                    format!("at most {} samples here; say `samples:`", MAX_HELD / width),
                );
                return None;
            }
            self.few_samples(&acc.metric, width, samples, span);
        }
        let full = self.train.batch.min(samples);
        let rest = samples % full;
        let mut chunks = Vec::new();
        let first = if first.chunk.batch == full { first } else { self.pass(&unique, e, full)? };
        chunks.push(first.chunk);
        if rest > 0 {
            chunks.push(self.pass(&unique, e, rest)?.chunk);
        }
        Some(Evaluate {
            name: unique,
            samples,
            chunks,
            accumulators: first.accumulators,
            finish: Arc::new(first.finish),
        })
    }

    fn pass(&mut self, name: &str, e: &'m Expr, batch: usize) -> Option<Pass> {
        self.gx = Gx::new();
        self.moment = Moment { tag: "evaluate".into(), evaluate: true, batch, ..Moment::default() };
        let mut env = Env::line(format!("evaluate {name}"));
        let v = self.eval(&mut env, e);
        if v.is_error() || self.fatal {
            return None;
        }
        let mut results: Vec<(Name, NodeId)> = Vec::new();
        match &v {
            Value::Record(r) if r.outputs.len() > 1 => {
                for (part, t) in &r.outputs {
                    results.push((format!("{name}.{part}").into(), self.number_of(t, e)?));
                }
            }
            other => {
                let t = self.tensor(other, e.span)?;
                results.push((name.into(), self.number_of(&t, e)?));
            }
        }
        let mut accumulators = std::mem::take(&mut self.moment.metrics);
        let mut outputs = std::mem::take(&mut self.moment.metric_values);
        let constant = self.moment.means.is_empty() && accumulators.is_empty();
        for (i, (_, node)) in self.moment.means.clone().into_iter().enumerate() {
            let output: Name = format!("mean{i}").into();
            let results = vec![output.clone()];
            accumulators.push(Accumulator { output: output.clone(), metric: Metric::Mean, results });
            outputs.push((output, node));
        }
        let finish = self.split(&results, &mut accumulators, &mut outputs, e.span)?;
        let set = |n: &&(Name, usize, usize)| self.data[n.1].2.rows;
        let rows = self.moment.rows.iter().filter_map(|r| set(&r)).min();
        let samples = self.moment.samples;
        let chunk = self.chunk(outputs);
        Some(Pass { chunk, accumulators, finish, samples, rows, constant })
    }

    fn number_of(&mut self, t: &Tensor, e: &'m Expr) -> Option<NodeId> {
        if t.kind == Kind::Real && !t.sample && t.shape.is_empty() {
            return Some(t.node);
        }
        let found = describe(t);
        let source = self.sources.text(e.span);
        let source = if source.is_empty() { text::expr(e) } else { source.to_string() };
        self.report(
            Diagnostic::error("E0458", "an evaluation is one number")
                .at(e.span, format!("this is {found}"))
                .help("write `mean(…)`: the average over the evaluation set")
                .patch(e.span, format!("mean({source})")),
        );
        None
    }

    /// Splits what is computed from placeholders off into a graph of its own.
    fn split(
        &mut self,
        results: &[(Name, NodeId)],
        accumulators: &mut Vec<Accumulator>,
        outputs: &mut Vec<(Name, NodeId)>,
        span: Span,
    ) -> Option<Graph> {
        let g = &self.gx.graph;
        let is_placeholder =
            |op: &Op| matches!(op, Op::Input(n) if accumulators.iter().any(|a| a.results.contains(n)));
        let mut late = vec![false; g.nodes().len()];
        for (i, n) in g.nodes().iter().enumerate() {
            late[i] = is_placeholder(&n.op) || n.args.iter().any(|a| late[a.index()]);
        }
        if outputs.iter().any(|(_, id)| late[id.index()]) {
            self.report(
                Diagnostic::error("E0458", "an average of the evaluation set within another one")
                    .at(span, "this would need two passes over the set")
                    .help(
                        "average within the sample by `mean(x, axes: […])`, or over the chunk by `batch_mean(x)`",
                    ),
            );
            return None;
        }
        let mut finish = Graph::new();
        let mut map: HashMap<NodeId, NodeId> = HashMap::new();
        let mut taken: Vec<(NodeId, Name)> = Vec::new();
        let mut stack: Vec<NodeId> = results.iter().map(|r| r.1).rev().collect();
        while let Some(&top) = stack.last() {
            if map.contains_key(&top) {
                stack.pop();
                continue;
            }
            let node = &g.nodes()[top.index()];
            if !late[top.index()] && !matches!(node.op, Op::Const(_)) {
                // One number that all chunks share, or each chunk has: its average goes in.
                if node.ty != Type::f32([]) {
                    self.error(
                        "E0458",
                        span,
                        "this evaluation cannot be split into chunks",
                        "a tensor beside an average",
                    );
                    return None;
                }
                let name: Name = format!("common{}", taken.len()).into();
                map.insert(top, finish.input(name.clone(), Type::f32([])));
                taken.push((top, name));
                continue;
            }
            let open: Vec<NodeId> = node.args.iter().copied().filter(|a| !map.contains_key(a)).collect();
            if open.is_empty() {
                let args = node.args.iter().map(|a| map[a]).collect();
                let id = finish.intern(node.op.clone(), args, node.ty.clone());
                map.insert(top, id);
            } else {
                stack.extend(open);
            }
        }
        for (name, id) in results {
            finish.output(name.clone(), map[id]);
        }
        for (id, name) in taken {
            outputs.push((name.clone(), id));
            accumulators.push(Accumulator { output: name.clone(), metric: Metric::Mean, results: vec![name] });
        }
        Some(finish)
    }

    fn placeholder(&mut self, name: &str) -> Tensor {
        let node = self.gx.graph.input(name, Type::f32([]));
        common(node, vec![])
    }

    /// `mean(x)` over the evaluation set.
    pub fn mean_of_set(&mut self, v: &Value, at: Span, span: Span) -> Value {
        let Some(t) = self.tensor(v, at) else { return Value::Error };
        if t.kind != Kind::Real {
            let found = describe(&t);
            return self.error("E0303", span, "`mean` averages real numbers", found);
        }
        let axes: Vec<usize> = (0..self.gx.graph.shape(t.node).len()).collect();
        let mean = self.gx.graph.mean(t.node, &axes);
        let mean = self.gx.graph.reshape(mean, &[]);
        if !t.sample {
            return Value::Tensor(common(mean, vec![]));
        }
        let known = self.moment.means.iter().position(|m| m.1 == mean);
        let i = known.unwrap_or(self.moment.means.len());
        let t = self.placeholder(&format!("mean{i}"));
        if known.is_none() {
            self.moment.means.push((t.node, mean));
        }
        Value::Tensor(t)
    }

    /// `expect` lines.
    pub(super) fn expects(&mut self, plan: &Plan<'m>, every: &[Every]) -> Vec<Expect> {
        let mut names = Vec::new();
        for e in every {
            for a in &e.actions {
                if let Action::Evaluate(v) = a {
                    names.extend(v.finish.outputs.iter().map(|o| o.0.to_string()));
                }
            }
        }
        let mut out = Vec::new();
        for &(e, after, span) in &plan.expects {
            self.gx = Gx::new();
            self.moment =
                Moment { tag: "expect".into(), batch: 1, numbers: Some(names.clone()), ..Moment::default() };
            let after = match after.map(|a| (self.eval(&mut Env::default(), a), a.span)) {
                None => None,
                Some((Value::Num(v), _)) if v >= 0.0 && v.fract() == 0.0 && v <= f64::from(u32::MAX) => {
                    Some(v as u64)
                }
                Some((Value::Error, _)) => continue,
                Some((other, at)) => {
                    let found = other.describe();
                    let title = format!("`after` is a whole number of steps, at most {}", u32::MAX);
                    self.error("E0463", at, title, format!("this is {found}"));
                    continue;
                }
            };
            let v = self.eval(&mut Env::line("expect"), e);
            let node = match v {
                Value::Error => continue,
                Value::Bool(b) => self.gx.graph.splat(f64::from(u8::from(b)), Type::new(DType::Bool, [])),
                other => {
                    let Some(t) = self.tensor(&other, e.span) else { continue };
                    if t.kind != Kind::Bool || t.sample || !t.shape.is_empty() {
                        let found = describe(&t);
                        self.error(
                            "E0458",
                            e.span,
                            "`expect` takes a condition on evaluated numbers",
                            format!("this is {found}"),
                        );
                        continue;
                    }
                    t.node
                }
            };
            let gx = std::mem::replace(&mut self.gx, Gx::new());
            let graph = super::extract::extract(&gx.graph, &[("holds".into(), node)]);
            out.push(Expect { text: text::expr(e), span, after, graph: Arc::new(graph) });
        }
        out
    }
}

/// A name for an evaluation without one: its outermost function.
fn default_name(e: &Expr) -> String {
    match &e.kind {
        ExprKind::Call(f, _) => match &f.kind {
            ExprKind::Name(n) => n.clone(),
            _ => "value".into(),
        },
        ExprKind::Paren(inner) | ExprKind::Neg(inner) => default_name(inner),
        ExprKind::Binary(_, a, _) => default_name(a),
        ExprKind::Name(n) => n.clone(),
        _ => "value".into(),
    }
}
