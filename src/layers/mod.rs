//! Built-in layers, functions, initialisers, distributions and optimisers as graph builders.
//!
//! [`Signature`]s say what each built-in takes; [`args`] binds what was written to them; `emit` functions build
//! graph. Nothing here knows names of users, files or players: what a layer needs of its surroundings it asks of a
//! [`Scope`].

pub mod activation;
pub mod args;
mod attention;
mod augment;
mod conv;
pub mod distributions;
pub mod emit;
mod function;
pub mod init;
mod linear;
mod loss;
pub mod modifiers;
mod noise;
pub mod norm;
pub mod optimiser;
mod pairs;
mod pool;
mod schedule;
mod shape;
pub mod table;
pub mod value;
pub mod virtual_norm;

pub use emit::emit;

use crate::graph::{Dist, Graph, NodeId, Shape, Type};
use crate::source::Span;

/// Element kind of a value of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Real numbers.
    Real,
    /// An integer label below the count.
    Class(usize),
    /// A truth value.
    Bool,
}

/// A tensor value of the language: a node with what the language knows of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its node; graph shape `[batch, shape…]` if `sample`, else `shape`. Reals are f32, labels u32.
    pub node: NodeId,
    /// Element kind.
    pub kind: Kind,
    /// One for each sample of the batch, or one for all ("common").
    pub sample: bool,
    /// Shape without the batch axis.
    pub shape: Shape,
}

/// A value of the language, as built-ins take and give it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A compile-time number; integers are exact below 2^53.
    Number(f64),
    /// A compile-time truth value.
    Bool(bool),
    /// A string.
    Str(String),
    /// A bare word given to an enumeration.
    Word(String),
    /// A compile-time list.
    List(Vec<Value>),
    /// A tensor.
    Tensor(Tensor),
    /// An initialiser.
    Init(Init),
}

/// How a tensor starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// The same number everywhere.
    Constant(f64),
    /// Gaussian.
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        std: f64,
    },
    /// Uniform in `[lo, hi)`.
    Uniform {
        /// Lower bound.
        lo: f64,
        /// Upper bound.
        hi: f64,
    },
    /// Orthogonal rows or columns of `[out, rest]` (Saxe et al. 2014).
    Orthogonal {
        /// Factor.
        gain: f64,
    },
    /// Uniform in ±sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010).
    Xavier,
    /// Normal with variance 2 / fan_in (He et al. 2015).
    He,
    /// Ones on the diagonal of `[out, rest]`.
    Identity,
    /// Uniform in ±1/sqrt(fan_in): the default of weights and biases.
    FanIn,
}

/// What a parameter is to its layer: decides default initialisation and which modifiers apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamRole {
    /// A matrix or kernel; `out_axis` is the axis of output channels (0; 1 for transposed convolutions).
    Weight {
        /// Axis of output channels.
        out_axis: usize,
        /// Number of inputs that one output sums over.
        fan_in: usize,
        /// Number of outputs that one input reaches.
        fan_out: usize,
    },
    /// An offset of a layer with weights (`bias:` of `init`).
    Bias {
        /// Of the weights beside it.
        fan_in: usize,
    },
    /// Scale of a norm (`scale:` of `init`), starts at 1.
    Scale,
    /// Shift of a norm, starts at 0.
    Shift,
    /// Anything else; starts as it says and takes no modifiers.
    Plain,
}

/// What a virtual batch norm goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// This is the reference batch itself: it has its own statistics, which go to [`Scope::set_reference`].
    Itself,
    /// Beside a reference batch.
    Beside {
        /// Mean of this layer's channels over it, `[c]`.
        mean: NodeId,
        /// Biased variance, `[c]`.
        var: NodeId,
        /// Its number of samples.
        size: usize,
    },
}

/// Whose statistics normalise a batch that is two batches one after the other (Salimans et al. 2016).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JointStatistics {
    /// All samples'; of a single batch its own.
    Joint,
    /// The first half's.
    Real,
    /// The second half's.
    Fake,
    /// The first half's for the first half of the channels, the second half's for the others.
    Cross,
}

/// What a layer may ask of its surroundings. `build` implements it; tests have a small one.
pub trait Scope {
    /// The graph under construction.
    fn graph(&mut self) -> &mut Graph;
    /// Samples in the batch that runs through.
    fn batch(&self) -> usize;
    /// Train mode (players) or eval mode (actions).
    fn training(&self) -> bool;
    /// A parameter of this layer, with the modifiers in force applied (spectral norm, weight norm, …), so that
    /// what comes back is the value to use. `name` is `weight`, `bias`, `scale`, `shift`, …
    fn param(&mut self, name: &str, shape: &[usize], role: ParamRole, init: Init) -> NodeId;
    /// A state tensor of this layer as it is now (after earlier updates of the same iteration).
    fn state(&mut self, name: &str, ty: Type, init: Init) -> NodeId;
    /// Its next value.
    fn set_state(&mut self, name: &str, value: NodeId);
    /// Noise of this application; graph shape as given (batch included where per sample).
    fn noise(&mut self, dist: Dist, shape: &[usize]) -> NodeId;
    /// The reference batch of this layer's network; `size` as the layer says, else as many samples as a minibatch has.
    ///
    /// # Errors
    /// Another layer of the network asks for another size.
    fn reference(&mut self, size: Option<usize>) -> Result<Reference, LayerError>;
    /// This layer's mean and variance over the reference batch, `[c]` each.
    fn set_reference(&mut self, mean: NodeId, var: NodeId);
    /// The iteration, `u32[]`, 1 in the first: what schedules read.
    fn iteration(&mut self) -> NodeId {
        self.graph().input("iteration", Type::u32([]))
    }
    /// Whose statistics batch norms use.
    fn statistics(&self) -> JointStatistics {
        JointStatistics::Joint
    }
}

/// A broken precondition, in the layer's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerError {
    /// Code, usually `E03xx`.
    pub code: &'static str,
    /// One line.
    pub message: String,
    /// How to mend it.
    pub help: Option<String>,
    /// Argument that it is about, if one is.
    pub arg: Option<Span>,
}

impl LayerError {
    /// An error with a code and a line.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: None, arg: None }
    }

    /// Adds how to mend it.
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }
}

/// Position of a built-in; it picks the class (LANGUAGE.md section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// May have parameters or statistics; networks and blocks only.
    Layer,
    /// No parameters; anywhere.
    Function,
    /// After `with`.
    Modifier,
    /// After `using`.
    Optimiser,
    /// After `~`.
    Distribution,
    /// Right of `param`, in `init`.
    Initialiser,
    /// At the start of `data`.
    Source,
    /// After `|>` of `data`.
    Transform,
    /// In `evaluate`.
    Metric,
    /// After `trick`.
    Trick,
    /// In `every`.
    Action,
}

/// Declared type of a parameter of a built-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArgKind {
    /// A whole number.
    Int,
    /// A compile-time real.
    Number,
    /// A whole number or a list of them, one an axis.
    Ints,
    /// A list of numbers.
    Numbers,
    /// True or false.
    Bool,
    /// A string.
    Str,
    /// One of these words, written bare.
    Enum(&'static [&'static str]),
    /// A whole number or one of these words (`pad: same`).
    IntsOr(&'static [&'static str]),
    /// A tensor (numbers count as common []).
    Tensor,
    /// A real that may be a schedule: a common `[]` tensor or number.
    Schedule,
    /// An initialiser or a number.
    Init,
    /// The name of a network.
    Network,
    /// A data set or one of its fields.
    Data,
    /// A bare column name of a data set.
    Column,
    /// An optimiser call.
    Optimiser,
    /// Anything; the built-in checks it.
    Any,
}

/// One parameter of a built-in.
#[derive(Clone, Copy, Debug)]
pub struct ParamSpec {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub kind: ArgKind,
    /// Default as `.gan` text; `None`: required; `Some("")`: optional without a value.
    pub default: Option<&'static str>,
}

/// What a built-in takes and says of itself; all are in [`table`].
#[derive(Clone, Copy, Debug)]
pub struct Signature {
    /// Its name.
    pub name: &'static str,
    /// Its class.
    pub class: Class,
    /// Takes a tensor before its arguments (`it`, or the left of `|>`).
    pub takes_input: bool,
    /// Parameters in order, the input not among them.
    pub params: &'static [ParamSpec],
    /// All arguments given by position go to the last parameter, any number of them; the others are given by name.
    pub variadic: bool,
    /// Crosses the batch.
    pub batch: bool,
    /// Part of the language that this version does not compile yet: `build` refuses it in so many words.
    pub available: bool,
    /// One line for `ganc` listings and LANGUAGE.md.
    pub doc: &'static str,
}
