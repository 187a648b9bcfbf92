//! Values that expressions have while a graph is built.

use crate::graph::{Name, NodeId};
use crate::layers::{Init, JointStatistics, Kind, Tensor};
use std::rc::Rc;

/// A value of an expression.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Stands for a value after an error was reported; silences what follows from it.
    Error,
    /// A compile-time number.
    Num(f64),
    /// A compile-time truth value.
    Bool(bool),
    /// A string.
    Str(String),
    /// A bare word given to an enumeration.
    Word(String),
    /// A compile-time list.
    List(Rc<Vec<Value>>),
    /// A tensor.
    Tensor(Tensor),
    /// A network, perhaps in another mode.
    Net(NetRef),
    /// A data set (index into the model's).
    Data(usize),
    /// An application's results.
    Record(Rc<Record>),
    /// An initialiser.
    Init(Init),
}

/// A network as it is to be applied.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct NetRef {
    /// Index into the model's networks.
    pub index: usize,
    /// Eval mode though the surroundings train.
    pub eval: bool,
    /// Constant parameters.
    pub stop: bool,
    /// Which values of its parameters it has.
    pub view: View,
    /// The place that asked for noise of its own.
    pub fresh: Option<Name>,
    /// Applied to several batches at once, with these statistics.
    pub joint: Option<JointStatistics>,
}

/// Which values of its parameters a network is applied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(super) enum View {
    /// Those of the moment.
    #[default]
    Present,
    /// Averaged ones: index into the train's averages.
    Average(usize),
    /// Those after some updates: index into the graph's.
    Ahead(usize),
    /// Those of a snapshot: index into the train's.
    Past(usize),
}

impl NetRef {
    /// Whether no gradient reaches its parameters.
    pub fn is_fixed(&self) -> bool {
        self.stop
            || match self.view {
                View::Present | View::Ahead(_) => false,
                View::Average(_) | View::Past(_) => true,
            }
    }

    /// A network that this one applies within itself: in the same mode.
    pub fn inner(&self, index: usize) -> Self {
        let (view, fixed) = match self.view {
            View::Present | View::Ahead(_) => (self.view, false),
            // Averages and snapshots are of the network's own parameters; what it applies is as it is, and constant.
            View::Average(_) | View::Past(_) => (View::Present, true),
        };
        Self { index, view, stop: self.stop || fixed, ..self.clone() }
    }
}

/// Results of an application: a network's outputs (one unnamed, or all named) and its taps.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    /// Outputs in order; the first is the record's value as a tensor.
    pub outputs: Vec<(String, Tensor)>,
    /// Taps in order.
    pub taps: Vec<(String, Tensor)>,
}

impl Record {
    /// An output or tap by name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.outputs.iter().chain(&self.taps).find(|(n, _)| n == name).map(|(_, t)| t)
    }

    /// Names that can be read.
    pub fn names(&self) -> Vec<&str> {
        self.outputs.iter().chain(&self.taps).map(|(n, _)| n.as_str()).filter(|n| !n.is_empty()).collect()
    }
}

impl Value {
    /// Whether it stands for a reported error.
    pub fn is_error(&self) -> bool {
        match self {
            Value::Error => true,
            Value::List(items) => items.iter().any(Value::is_error),
            _ => false,
        }
    }

    /// In words, for messages.
    pub fn describe(&self) -> String {
        match self {
            Value::Error => "an error".into(),
            Value::Num(v) => format!("the number {v}"),
            Value::Bool(b) => format!("`{b}`"),
            Value::Str(s) => format!("the string \"{s}\""),
            Value::Word(w) => format!("the word `{w}`"),
            Value::List(_) => "a list".into(),
            Value::Tensor(t) => describe(t),
            Value::Net(_) => "a network".into(),
            Value::Data(_) => "a data set".into(),
            Value::Record(r) => match r.outputs.first() {
                Some((_, t)) => describe(t),
                None => "a network without results".into(),
            },
            Value::Init(_) => "an initialiser".into(),
        }
    }
}

/// A tensor in words: `[3, 4], one a sample`.
pub(super) fn describe(t: &Tensor) -> String {
    let each = if t.sample { "one a sample" } else { "one for all samples" };
    match t.kind {
        Kind::Real => format!("{}, {each}", shape_text(&t.shape)),
        Kind::Class(k) if t.shape.is_empty() => format!("a class({k}), {each}"),
        Kind::Class(k) => format!("class({k}) {}, {each}", shape_text(&t.shape)),
        Kind::Bool => format!("a truth value {}, {each}", shape_text(&t.shape)),
    }
}

/// A shape as the language writes it.
pub(super) fn shape_text(shape: &[usize]) -> String {
    let parts: Vec<String> = shape.iter().map(usize::to_string).collect();
    format!("[{}]", parts.join(", "))
}

/// A common real tensor.
pub(super) fn common(node: NodeId, shape: Vec<usize>) -> Tensor {
    Tensor { node, kind: Kind::Real, sample: false, shape }
}

/// A real tensor, one a sample.
pub(super) fn sample(node: NodeId, shape: Vec<usize>) -> Tensor {
    Tensor { node, kind: Kind::Real, sample: true, shape }
}
