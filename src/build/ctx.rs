//! The builder's state: what is declared for the whole spec, and the graph under construction.

use super::net::Statistics;
use super::program::{BatchInput, DrawLine, LayerRow, TensorDecl};
use super::train::PlayerCx;
use super::value::{NetRef, Record, Value};
use crate::data::{Pipeline, Schema};
use crate::diag::{Diagnostic, Diagnostics};
use crate::graph::{Graph, Name, NodeId, Op, Type};
use crate::layers::optimiser::OptimiserSpec;
use crate::layers::{Init, ParamRole};
use crate::model::Model;
use crate::model::consts::Consts;
use crate::passes::Rounded;
use crate::source::{SourceMap, Span};
use crate::syntax::ast::{self, Expr, Ident, Per};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

/// Most nodes that a graph may have.
pub(super) const MAX_NODES: usize = 200_000;
/// Most statements that one graph runs through, repeats and blocks written out.
pub(super) const MAX_WORK: usize = 400_000;
/// Most elements of a tensor.
pub(super) const MAX_ELEMENTS: usize = 1 << 31;
/// Most bytes of all persistent tensors together.
pub(super) const MAX_BYTES: usize = 64 << 30;
/// Most rounds of a `repeat`.
pub(super) const MAX_ROUNDS: usize = 10_000;
/// Most blocks within blocks.
pub(super) const MAX_DEPTH: usize = 64;

/// How schemas are read.
pub type Schemas<'m> = dyn Fn(&Pipeline) -> Result<Schema, Diagnostics> + 'm;

/// What is known of a network after its check.
#[derive(Clone, Debug, Default)]
pub(super) struct NetMeta {
    /// Its check failed: applications are silent errors.
    pub broken: bool,
    /// Its check is done.
    pub checked: bool,
    /// Paths of its parameters, in order of declaration.
    pub params: Vec<Name>,
    /// Table of its layers.
    pub rows: Vec<LayerRow>,
    /// Results of its check: name and shape.
    pub outputs: Vec<(String, Vec<usize>)>,
    /// Inputs: name, kind, shape.
    pub inputs: Vec<(String, crate::layers::Kind, Vec<usize>)>,
    /// Samples of its reference batch, if it has a virtual batch norm.
    pub reference: Option<usize>,
    /// First layer that crosses the batch.
    pub crosses: Option<String>,
    /// Networks that it applies.
    pub applies: BTreeSet<usize>,
}

/// An averaged network of a `train`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Average {
    /// Which network.
    pub network: usize,
    /// Weight of the old average.
    pub decay: f64,
    /// Iterations before it starts.
    pub start: usize,
    /// Prefix of its state tensors.
    pub prefix: String,
}

/// Snapshots of a network of a `train`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Past {
    /// Which network.
    pub network: usize,
    /// How many are kept.
    pub keep: usize,
    /// Iterations between them.
    pub every: usize,
    /// Period of swaps and how many iterations of each: `None` if it always stands in.
    pub swap: Option<(usize, usize)>,
    /// Prefix of its snapshots.
    pub prefix: String,
    /// Prefix of its counters.
    pub counters: String,
}

impl Past {
    /// State that holds all snapshots of a parameter: `[keep, …]`.
    pub fn table(&self, param: &Name) -> Name {
        format!("{}{param}", self.prefix).into()
    }

    /// State that counts: `age` since the last snapshot, the `next` slot, slots `held`, and for swaps the place in
    /// the period (`turn`) and the slot that stands in (`pick`).
    pub fn counter(&self, word: &str) -> Name {
        format!("{}.{word}", self.counters).into()
    }
}

/// What `unroll` was asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ahead {
    /// Player whose updates are made.
    pub player: usize,
    /// How many.
    pub steps: usize,
    /// Its optimiser, unless its own.
    pub using: Option<OptimiserSpec>,
    /// No path through the updates.
    pub first: bool,
}

/// A drawn name.
#[derive(Clone, Debug)]
pub(super) struct Draw<'m> {
    /// The name.
    pub name: &'m Ident,
    /// Declared type, of noise.
    pub ty: Option<&'m ast::TypeExpr>,
    /// Where its values come from.
    pub from: &'m Expr,
    /// How often it is fresh.
    pub per: Per,
    /// Index of its statement (one statement is one minibatch).
    pub stmt: usize,
    /// Data set and field.
    pub field: Option<(usize, usize)>,
    /// Its statement.
    pub span: Span,
}

/// What a `train` defines.
#[derive(Clone, Debug, Default)]
pub(super) struct TrainCx<'m> {
    /// Its position.
    pub index: usize,
    /// Its name, or `train`.
    pub name: String,
    /// Samples in a minibatch.
    pub batch: usize,
    /// Drawn names.
    pub draws: Vec<Draw<'m>>,
    /// Drawn names that were refused.
    pub refused: HashSet<String>,
    /// `let a, b = expr`.
    pub lets: Vec<(&'m [Ident], &'m Expr)>,
    /// Minibatch streams, with the statement they belong to, and the network whose reference batch they are for.
    pub lines: Vec<(usize, Option<usize>, DrawLine)>,
    /// Networks whose reference batches it needs.
    pub references: BTreeSet<usize>,
    /// Its players.
    pub players: Rc<[PlayerCx<'m>]>,
    /// Averaged networks.
    pub averages: Vec<Average>,
    /// Networks whose drift is taken.
    pub drifts: BTreeSet<usize>,
    /// Networks of which snapshots are kept.
    pub pasts: Vec<Past>,
    /// Names that `grad` differentiates by.
    pub wrt: HashSet<String>,
    /// What operands of products are rounded to; `None`: not at all.
    pub precision: Option<Rounded>,
}

impl TrainCx<'_> {
    /// How much is kept of networks beside their parameters.
    pub fn kept(&self) -> usize {
        self.averages.len() + self.drifts.len() + self.pasts.len()
    }
}

/// What has one value while an update, or an action, is evaluated.
#[derive(Clone, Debug, Default)]
pub(super) struct Moment<'m> {
    /// Distinguishes its noise: `D.0`, `samples1`.
    pub tag: String,
    /// Players whose objectives are under evaluation: the one that updates, then those that it looks ahead at.
    pub chain: Vec<usize>,
    /// Networks some steps ahead, as found so far: what was asked, and its place in [`Gx::ahead`].
    pub ahead: Vec<(Ahead, usize)>,
    /// A player's update (train mode), else an action.
    pub update: bool,
    /// `mean` and metrics run over many chunks.
    pub evaluate: bool,
    /// Samples in the batch.
    pub batch: usize,
    /// The player's own lets.
    pub lets: Vec<(&'m [Ident], &'m Expr)>,
    /// Values of names evaluated so far.
    pub memo: HashMap<String, Value>,
    /// The network whose reference batch is being drawn.
    pub reference: Option<usize>,
    /// Names under evaluation.
    pub open: Vec<String>,
    /// Rows that an action reads: input name, data, field.
    pub rows: Vec<(Name, usize, usize)>,
    /// Averages over the evaluation set: placeholder, values (one a sample), where.
    pub means: Vec<(NodeId, NodeId)>,
    /// Metrics of an evaluation: placeholders' prefix, output, metric.
    pub metrics: Vec<super::program::Accumulator>,
    /// Their values by output name.
    pub metric_values: Vec<(Name, NodeId)>,
    /// `samples:` of the metrics.
    pub samples: Option<usize>,
    /// Names that stand for evaluated numbers (expectations).
    pub numbers: Option<Vec<String>>,
    /// Draws vary along this many rows or columns of a picture only: (rows, columns, what varies).
    pub grid: Option<super::samples::Grid>,
}

impl<'m> Moment<'m> {
    /// Round `r` of the update of a player.
    pub fn of_update(index: usize, p: &PlayerCx<'m>, r: usize) -> Self {
        Self {
            tag: format!("{}.{r}", p.name.name),
            chain: vec![index],
            update: true,
            batch: p.batch,
            lets: p.lets.clone(),
            ..Self::default()
        }
    }

    /// What noise functions of `train` are named after: virtual updates have noise of their own, the same in each.
    pub fn place(&self) -> String {
        match self.chain.get(1..) {
            Some(ahead @ [_, ..]) => format!("{}>{ahead:?}", self.tag),
            _ => self.tag.clone(),
        }
    }
}

/// Identity of an application.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct AppKey {
    /// Network and mode.
    pub net: NetRef,
    /// Values of its parameters.
    pub version: u32,
    /// Values of its arguments.
    pub args: Vec<NodeId>,
    /// Players' mode.
    pub training: bool,
    /// Samples.
    pub batch: usize,
}

/// The graph under construction.
#[derive(Default)]
pub(super) struct Gx {
    /// The graph.
    pub graph: Graph,
    /// Values of parameters after updates.
    pub params: BTreeMap<Name, NodeId>,
    /// Values of states after updates.
    pub states: BTreeMap<Name, NodeId>,
    /// Applications so far.
    pub apps: HashMap<AppKey, Option<Rc<Record>>>,
    /// Applications whose statistics were taken.
    pub counted: HashSet<AppKey>,
    /// Statistics over reference batches.
    pub references: HashMap<AppKey, Rc<Statistics>>,
    /// Those of the pass at hand.
    pub recorded: Statistics,
    /// Interned parameter values.
    pub versions: HashMap<Vec<NodeId>, u32>,
    /// Normalised weights: (parameter, update, view) to value.
    pub normed: HashMap<(Name, String, NodeId, bool), NodeId>,
    /// `per iteration` draws and their batch.
    pub draws: HashMap<(String, usize), Value>,
    /// Minibatch inputs.
    pub inputs: Vec<BatchInput>,
    /// The `every` lines that count: one bit each.
    pub mask: u64,
    /// Updates that each player has made.
    pub done: BTreeMap<usize, usize>,
    /// The longest `unroll` so far: its place and steps.
    pub longest: Option<(Span, usize)>,
    /// Parameters some updates ahead.
    pub ahead: Vec<BTreeMap<Name, NodeId>>,
    /// Exchanges with buffers: place and samples, and what came back.
    pub replays: HashMap<(Name, Vec<NodeId>), Vec<NodeId>>,
    /// Minibatches that each line used.
    pub fresh: Vec<usize>,
    /// Class of each node where `stop` does not count.
    pub canon: Vec<NodeId>,
    /// Statements run through so far.
    pub work: usize,
    canon_index: rustc_hash::FxHashMap<(Op, Vec<NodeId>, Type), NodeId>,
    /// Structural hashes of nodes, for noise.
    pub hashes: HashMap<NodeId, u64>,
    /// Updated values that hash like the tensor they replace.
    pub stands_for: HashMap<NodeId, Name>,
}

impl Gx {
    /// An empty graph.
    pub fn new() -> Self {
        Self { graph: Graph::new(), ..Self::default() }
    }

    /// The key of all noise.
    pub fn seed(&mut self) -> NodeId {
        self.graph.input("seed", Type::u32([2]))
    }

    /// The iteration, 1 in the first.
    pub fn iteration(&mut self) -> NodeId {
        self.graph.input("iteration", Type::u32([]))
    }

    /// The node's value without regard to `stop`.
    pub fn canonical(&mut self, id: NodeId) -> NodeId {
        for i in self.canon.len()..=id.index() {
            let node = self.graph.node(NodeId(i as u32));
            let args: Vec<NodeId> = node.args.iter().map(|a| self.canon[a.index()]).collect();
            let class = match node.op {
                Op::Stop => args[0],
                _ => *self.canon_index.entry((node.op.clone(), args, node.ty.clone())).or_insert(NodeId(i as u32)),
            };
            self.canon.push(class);
        }
        self.canon[id.index()]
    }

    /// A hash of how a value comes about that knows nothing of node order, of `stop`, or of how far training is.
    pub fn structural(&mut self, id: NodeId) -> u64 {
        let mut stack = vec![id];
        while let Some(&top) = stack.last() {
            if self.hashes.contains_key(&top) {
                stack.pop();
                continue;
            }
            let node = self.graph.node(top);
            if let Some(name) = self.stands_for.get(&top) {
                self.hashes.insert(top, crate::graph::philox::stream(&format!("value of {name}")));
                continue;
            }
            let open: Vec<NodeId> = node.args.iter().copied().filter(|a| !self.hashes.contains_key(a)).collect();
            if !open.is_empty() {
                stack.extend(open);
                continue;
            }
            let text = match &node.op {
                Op::Stop => {
                    let h = self.hashes[&node.args[0]];
                    self.hashes.insert(top, h);
                    continue;
                }
                Op::Param(name) | Op::State(name) => format!("value of {name}"),
                op => {
                    let args: Vec<u64> = node.args.iter().map(|a| self.hashes[a]).collect();
                    format!("{op:?} {args:x?} {}", node.ty)
                }
            };
            self.hashes.insert(top, crate::graph::philox::stream(&text));
        }
        self.hashes[&id]
    }
}

/// Builds the graphs of one model.
pub(super) struct Builder<'m> {
    /// The model, core only.
    pub model: &'m Model,
    /// Its constants.
    pub consts: Consts,
    /// Where texts and paths come from.
    pub sources: &'m SourceMap,
    /// Reads schemas.
    pub read_schema: &'m Schemas<'m>,
    /// Data sets in use: index into the model's, pipeline, schema.
    pub data: Vec<(usize, Pipeline, Schema)>,
    /// Data sets whose schema could not be read.
    pub bad_data: BTreeSet<usize>,
    /// Everything found so far.
    pub diags: Diagnostics,
    reported: HashSet<(&'static str, Span)>,
    /// Persistent tensors.
    pub decls: Vec<TensorDecl>,
    decl_index: HashMap<Name, usize>,
    /// Networks.
    pub nets: Vec<NetMeta>,
    /// The graph under construction.
    pub gx: Gx,
    /// The `train` at hand.
    pub train: TrainCx<'m>,
    /// The update or action at hand.
    pub moment: Moment<'m>,
    /// A limit was reached: nothing more is built.
    pub fatal: bool,
    /// Networks whose bodies are being built, outermost first.
    pub inside: Vec<usize>,
    /// The network under its check, whose declarations are collected.
    pub checking: Option<usize>,
    /// Samples of a reference batch whose layers say nothing else: the first `train`'s minibatch.
    pub reference_batch: usize,
    /// Networks whose reference batch a `train` so far draws.
    pub drawn: BTreeSet<usize>,
    /// Those that are still to be drawn.
    pub pending: BTreeSet<usize>,
    /// Parameters that an objective of a player that updates them reaches.
    pub reached: HashSet<Name>,
    /// Networks that players update, each with the first such player.
    pub updated: BTreeMap<usize, Span>,
    /// The same of layers that say so themselves, by path.
    pub precisions: BTreeMap<String, Option<Rounded>>,
    /// Names of pictures.
    pub pictures: BTreeSet<String>,
    /// Names of evaluations, by `train`.
    pub numbers: BTreeSet<(usize, String)>,
}

impl<'m> Builder<'m> {
    /// A builder with nothing built.
    pub fn new(model: &'m Model, sources: &'m SourceMap, read_schema: &'m Schemas<'m>, consts: Consts) -> Self {
        Self {
            model,
            consts,
            sources,
            read_schema,
            data: Vec::new(),
            bad_data: BTreeSet::new(),
            diags: Diagnostics::default(),
            reported: HashSet::new(),
            decls: Vec::new(),
            decl_index: HashMap::new(),
            nets: vec![NetMeta::default(); model.networks.len()],
            gx: Gx::new(),
            train: TrainCx::default(),
            moment: Moment::default(),
            fatal: false,
            inside: Vec::new(),
            checking: None,
            reference_batch: 2,
            drawn: BTreeSet::new(),
            pending: BTreeSet::new(),
            reached: HashSet::new(),
            updated: BTreeMap::new(),
            precisions: BTreeMap::new(),
            pictures: BTreeSet::new(),
            numbers: BTreeSet::new(),
        }
    }

    /// Reports, once a place and code; the value that stands for the error.
    pub fn report(&mut self, d: Diagnostic) -> Value {
        let span = d.labels.first().map(|l| l.span).unwrap_or_default();
        if self.reported.insert((d.code, span)) {
            self.diags.push(d);
        }
        Value::Error
    }

    /// An error at a place.
    pub fn error(
        &mut self,
        code: &'static str,
        span: Span,
        title: impl Into<String>,
        label: impl Into<String>,
    ) -> Value {
        self.report(Diagnostic::error(code, title).at(span, label))
    }

    /// Whether an error was reported.
    pub fn failed(&self) -> bool {
        self.diags.has_errors()
    }

    /// Declares a persistent tensor, or checks that it is declared alike.
    pub fn declare(&mut self, decl: TensorDecl) {
        if let Some(&i) = self.decl_index.get(&decl.name) {
            debug_assert_eq!(self.decls[i].ty, decl.ty, "{}", decl.name);
            return;
        }
        self.decl_index.insert(decl.name.clone(), self.decls.len());
        if let Some(n) = self.checking
            && decl.trained
        {
            self.nets[n].params.push(decl.name.clone());
        }
        self.decls.push(decl);
    }

    /// A declaration by name.
    pub fn decl(&self, name: &str) -> Option<&TensorDecl> {
        self.decl_index.get(name).map(|&i| &self.decls[i])
    }

    /// A parameter's value now.
    pub fn param_value(&mut self, name: &Name) -> NodeId {
        if let Some(&v) = self.gx.params.get(name) {
            return v;
        }
        let shape = self.decl(name).map(|d| d.ty.shape.clone()).unwrap_or_default();
        self.gx.graph.param(name.clone(), &shape)
    }

    /// A state's value now.
    pub fn state_value(&mut self, name: &Name, ty: &Type) -> NodeId {
        match self.gx.states.get(name) {
            Some(&v) => v,
            None => self.gx.graph.state(name.clone(), ty.clone()),
        }
    }

    /// Declares a state that is set anew at the start of the `train` at hand (optimisers).
    pub fn declare_state(&mut self, name: &Name, ty: Type, init: Init, reset: Option<usize>) {
        self.declare(TensorDecl { name: name.clone(), ty, trained: false, init, role: ParamRole::Plain, reset });
    }

    /// A number for the present values of the parameters of a network and of those that it applies: equal if all are
    /// the same nodes.
    pub fn version(&mut self, net: usize) -> u32 {
        let mut all = vec![net];
        let mut next = 0;
        while let Some(&n) = all.get(next) {
            let inner: Vec<usize> = self.nets[n].applies.iter().copied().filter(|i| !all.contains(i)).collect();
            all.extend(inner);
            next += 1;
        }
        let names: Vec<Name> = all.iter().flat_map(|&n| self.nets[n].params.clone()).collect();
        let nodes: Vec<NodeId> = names.iter().map(|n| self.param_value(n)).collect();
        let next = self.gx.versions.len() as u32;
        *self.gx.versions.entry(nodes).or_insert(next)
    }

    /// Counts a statement: blocks that use the next one twice, or repeats in repeats, double the work with every line
    /// and need not leave a single node.
    pub fn work(&mut self, span: Span) {
        self.gx.work += 1;
        if self.gx.work > MAX_WORK && !self.fatal {
            self.fatal = true;
            self.report(
                Diagnostic::error("E0455", "the program is too large")
                    .at(span, format!("with this, one graph runs through more than {MAX_WORK} statements"))
                    .help("lower the counts of `repeat`, or use fewer blocks within blocks"),
            );
        }
    }

    /// Checks that the graph stays within limits; reports once and stops everything if not.
    pub fn within_limits(&mut self, from: usize, span: Span) -> bool {
        if self.fatal {
            return false;
        }
        let count = self.gx.graph.nodes().len();
        if count > MAX_NODES {
            self.fatal = true;
            let d = Diagnostic::error("E0455", "the program is too large");
            let text = format!("with this, one graph has more than {MAX_NODES} operations");
            self.report(match self.gx.longest {
                // The gradient through updates ahead comes later than they do, and is larger.
                Some((at, steps)) => d
                    .at(at, format!("{steps} updates ahead, and the gradient through them, are a part of it"))
                    .label(span, text)
                    .help("lower these `steps`: the operations of an iteration grow with them"),
                None => d.at(span, text).help("lower the counts of `repeat`, or the number of layers"),
            });
            return false;
        }
        for i in from..count {
            let ty = &self.gx.graph.nodes()[i].ty;
            if elements(&ty.shape).is_none_or(|n| n > MAX_ELEMENTS) {
                let text = format!("it makes a tensor {}", ty);
                self.fatal = true;
                self.report(
                    Diagnostic::error("E0307", "a tensor is too large")
                        .at(span, text)
                        .help("a tensor has at most 2^31 elements, the batch included"),
                );
                return false;
            }
        }
        true
    }
}

/// Number of elements, if it can be written.
pub(super) fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}
