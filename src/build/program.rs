//! What `build` makes of a model: graphs with everything that the training loop needs to feed and read them.

use crate::data::Pipeline;
use crate::graph::{Graph, HostTensor, Name, Type};
use crate::layers::{Init, ParamRole};
use crate::source::Span;
use std::path::PathBuf;
use std::sync::Arc;

/// A whole spec, ready to train.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    /// Every persistent tensor of every `train`, in a stable order (optimiser states are per train and player).
    pub tensors: Vec<TensorDecl>,
    /// Data sets that draw lines and actions use.
    pub data: Vec<Pipeline>,
    /// The `train`s in textual order.
    pub trains: Vec<TrainProgram>,
    /// Networks, for `describe` and `sample`.
    pub networks: Vec<NetworkInfo>,
    /// Networks that start from the tensors of another run.
    pub pretrained: Vec<Pretrained>,
}

/// `with pretrained("path")` of a network.
#[derive(Clone, Debug)]
pub struct Pretrained {
    /// A run folder or a `.safetensors` file.
    pub path: PathBuf,
    /// Place of the modifier.
    pub span: Span,
    /// Indices into [`Compiled::tensors`].
    pub tensors: Vec<usize>,
    /// Their values, once they are read.
    pub values: Vec<HostTensor>,
}

/// A persistent tensor.
#[derive(Clone, Debug)]
pub struct TensorDecl {
    /// Its path: checkpoint key and random stream.
    pub name: Name,
    /// Its type.
    pub ty: Type,
    /// Trained or other.
    pub trained: bool,
    /// How it starts; random ones draw from stream `init:NAME` of the seed, the whole tensor as sample 0.
    pub init: Init,
    /// Its role, which fixes the fans.
    pub role: ParamRole,
    /// Index of the `train` at whose start it is set anew (optimiser states); `None`: at the start of the run.
    pub reset: Option<usize>,
}

/// A line `draw a, b ~ S.x, S.y`: one minibatch stream.
#[derive(Clone, Debug)]
pub struct DrawLine {
    /// Index into [`Compiled::data`].
    pub data: usize,
    /// Field indices of the schema.
    pub fields: Vec<usize>,
    /// Stream of its shuffles.
    pub stream: u64,
    /// Samples in a minibatch.
    pub batch: usize,
}

/// An input of an iteration's graph that a minibatch feeds.
#[derive(Clone, Debug)]
pub struct BatchInput {
    /// Name of the graph's `Input`.
    pub input: Name,
    /// Index into [`TrainProgram::lines`].
    pub line: usize,
    /// Which of the line's fields.
    pub field: usize,
    /// Which minibatch of this iteration (0 the first).
    pub fresh: usize,
}

/// The iteration as one pure function. Further inputs: `seed: u32[2]`, `iteration: u32[]` (1 in the first).
/// Outputs besides `param:…` and `state:…`: `loss:PLAYER` (rank 0, of its last update).
#[derive(Clone, Debug)]
pub struct Iteration {
    /// Bit i: the lines `minimize … every k_i` count.
    pub mask: u64,
    /// Its graph.
    pub graph: Graph,
    /// What minibatches feed it.
    pub inputs: Vec<BatchInput>,
    /// Minibatches that each line uses up.
    pub fresh: Vec<usize>,
    /// What monitors show of it.
    pub watch: Watch,
}

/// What monitors show of an iteration: a graph over the same inputs and the values before it. Outputs, rank 0 but for
/// those in `modes`:
///
/// - `gradient.PLAYER`: norm of all gradients of its last update, before clipping
/// - `real.JUDGE`, `fake.JUDGE`: share of scores of reals and of fakes on the right side
/// - `correlation.NET`: mean correlation of two samples of a batch, as deviations from the data's mean
/// - `coupling.NET`: how far samples move when others of their batch change, as a share of their spread
/// - `modes.NET`: `[batch, d]`, samples
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Its graph.
    pub graph: Graph,
    /// Outputs that are samples of data with known modes, and the index of that data.
    pub modes: Vec<(Name, usize)>,
}

/// One `train`.
#[derive(Clone, Debug)]
pub struct TrainProgram {
    /// Its name, or `train`.
    pub name: String,
    /// Where it is.
    pub span: Span,
    /// Samples in a minibatch.
    pub batch: usize,
    /// Number of iterations.
    pub steps: u64,
    /// Seed.
    pub seed: u64,
    /// Data draws.
    pub lines: Vec<DrawLine>,
    /// Run once before the first iteration, with iteration 0; its outputs are `state:…` that nothing else sets.
    pub start: Option<Iteration>,
    /// Periods k_i of `minimize … every k_i`.
    pub periods: Vec<u64>,
    /// One for each mask that occurs.
    pub iterations: Vec<Iteration>,
    /// Players in order, for losses.
    pub players: Vec<String>,
    /// `every n steps`.
    pub every: Vec<Every>,
    /// `expect`.
    pub expects: Vec<Expect>,
}

/// `every n steps { … }`
#[derive(Clone, Debug)]
pub struct Every {
    /// Period.
    pub steps: u64,
    /// Actions in order.
    pub actions: Vec<Action>,
}

/// An action.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "a spec has a handful of them")]
pub enum Action {
    /// Saves all.
    Checkpoint,
    /// Draws pictures.
    Samples(Samples),
    /// Computes a number.
    Evaluate(Evaluate),
}

/// Where an eval graph's input rows come from.
#[derive(Clone, Debug)]
pub struct RowInput {
    /// Name of the graph's `Input`.
    pub input: Name,
    /// Index into [`Compiled::data`].
    pub data: usize,
    /// Field index of the schema.
    pub field: usize,
}

/// A graph over one chunk of samples. Inputs: `seed`, `iteration` (for pictures always 0, so that draws are fixed;
/// for evaluations the chunk number), and the rows.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Samples in it.
    pub batch: usize,
    /// Its graph.
    pub graph: Graph,
    /// Rows in order: chunk c takes rows `c * batch ..`.
    pub rows: Vec<RowInput>,
}

/// `samples(…)`: outputs `panel0`, `panel1`, … of shape `[batch, c, h, w]`.
#[derive(Clone, Debug)]
pub struct Samples {
    /// File name stem, unique in the spec.
    pub name: String,
    /// Its graph; the batch is the number of cells (grid rows × columns) or samples drawn.
    pub chunk: Chunk,
    /// Number of panels.
    pub panels: usize,
    /// Rows and columns of the picture, in samples.
    pub grid: (usize, usize),
    /// Values drawn black and white.
    pub range: (f64, f64),
    /// Panels are points `[2]`: a scatter plot, over these data points (data, field) if any.
    pub scatter: Option<Option<(usize, usize)>>,
}

/// A host-side metric over samples collected from a chunk graph's outputs.
#[derive(Clone, Debug)]
pub enum Metric {
    /// Mean over all samples of output `out` (weighted by chunk sizes).
    Mean,
    /// Sliced Wasserstein distance to a field of data.
    Swd {
        /// Data index.
        data: usize,
        /// Field index.
        field: usize,
    },
    /// Fréchet distance of features of the samples and of data, which output `real` holds.
    Frechet {
        /// Output with the data's features.
        real: Name,
    },
    /// Mode coverage of a set with known modes.
    Modes {
        /// Data index.
        data: usize,
    },
    /// Coverage of combinations of classes; the output is the number of each sample's combination.
    StackedModes {
        /// How many there are.
        count: usize,
    },
    /// Peak signal-to-noise ratio against output `other`.
    Psnr {
        /// Output with the other pictures.
        other: Name,
        /// White minus black.
        span: f64,
    },
    /// Structural similarity with output `other`.
    Ssim {
        /// Output with the other pictures.
        other: Name,
        /// White minus black.
        span: f64,
    },
}

impl Metric {
    /// Whether all samples are held until the last chunk.
    pub fn holds(&self) -> bool {
        match self {
            Metric::Swd { .. } | Metric::Frechet { .. } | Metric::Modes { .. } | Metric::StackedModes { .. } => {
                true
            }
            Metric::Mean | Metric::Psnr { .. } | Metric::Ssim { .. } => false,
        }
    }
}

/// One accumulator of an evaluation.
#[derive(Clone, Debug)]
pub struct Accumulator {
    /// Output of the chunk graph.
    pub output: Name,
    /// What is made of it.
    pub metric: Metric,
    /// Names of its numbers as inputs of `finish` (`modes` has three).
    pub results: Vec<Name>,
}

/// `evaluate name = E`.
#[derive(Clone, Debug)]
pub struct Evaluate {
    /// Its name.
    pub name: String,
    /// Number of samples in all.
    pub samples: usize,
    /// Full chunks, then perhaps one smaller one.
    pub chunks: Vec<Chunk>,
    /// What is collected.
    pub accumulators: Vec<Accumulator>,
    /// Inputs: the accumulators' results (f32[]); outputs: one a number (`name`, or `name.modes`, …).
    pub finish: Arc<Graph>,
}

/// `expect COND after n steps`; the graph's inputs are evaluated names (f32[]), output `holds` (bool[]).
#[derive(Clone, Debug)]
pub struct Expect {
    /// As written.
    pub text: String,
    /// Where it is.
    pub span: Span,
    /// Decided by the first evaluation at or after this iteration; `None`: by the last.
    pub after: Option<u64>,
    /// Its condition.
    pub graph: Arc<Graph>,
}

/// What `describe` and `sample` know of a network.
#[derive(Clone, Debug)]
pub struct NetworkInfo {
    /// Its name.
    pub name: String,
    /// Role keyword.
    pub role: crate::syntax::ast::Role,
    /// Inputs: name, kind and shape without batch.
    pub inputs: Vec<(String, crate::layers::Kind, Vec<usize>)>,
    /// Outputs likewise.
    pub outputs: Vec<(String, Vec<usize>)>,
    /// The shape story: one row a layer.
    pub layers: Vec<LayerRow>,
}

/// A row of a network's table.
#[derive(Clone, Debug)]
pub struct LayerRow {
    /// Path such as `G.up2.conv1`.
    pub path: String,
    /// As written.
    pub text: String,
    /// Output shape without batch.
    pub shape: Vec<usize>,
    /// Trained numbers it holds.
    pub params: usize,
    /// FLOPs of its products for one sample, forward.
    pub flops: u64,
}
