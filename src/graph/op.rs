//! The closed set of primitive operations.
//!
//! The set is closed under differentiation: the gradient of each op is a graph of these ops. Nothing matches on `Op`
//! with a wildcard arm, so that a new op is noticed wherever it matters.

use super::ty::F64;
use std::sync::Arc;

/// A name of an input, parameter or state tensor.
pub type Name = Arc<str>;

/// A constant's values, kept in f64 so that the oracle sees literals exactly.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Const {
    /// Every element the same.
    Splat(F64),
    /// Row-major values.
    Dense(Arc<Vec<F64>>),
}

/// Distribution of a random leaf; see [`crate::graph::philox`] for the exact words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dist {
    /// Raw 32-bit words (u32).
    Bits,
    /// `(word >> 8) * 2^-24`, in [0, 1).
    Uniform,
    /// Box–Muller on pairs of words.
    Normal,
}

/// Elementwise functions of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unary {
    /// `-x`
    Neg,
    /// `1 / x`
    Recip,
    /// Square root.
    Sqrt,
    /// `e^x`
    Exp,
    /// Natural logarithm.
    Log,
    /// `log(1 + x)`
    Log1p,
    /// Hyperbolic tangent (relatively accurate near zero).
    Tanh,
    /// Gauss error function (exact GELU needs it).
    Erf,
    /// Sine.
    Sin,
    /// Cosine.
    Cos,
    /// Absolute value.
    Abs,
    /// -1, 0 or 1.
    Sign,
    /// Largest integer not above.
    Floor,
    /// The nearest number of ten fraction bits, ties away from zero: what tensor cores multiply as tf32.
    Tf32,
    /// Logical negation (bool).
    Not,
}

/// Elementwise functions of two arguments of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// `a + b` (real or u32, wrapping)
    Add,
    /// `a * b` (real or u32, wrapping)
    Mul,
    /// The larger one; a NaN in either gives NaN.
    Max,
    /// The smaller one; a NaN in either gives NaN.
    Min,
    /// `a < b` (bool)
    Lt,
    /// `a <= b` (bool)
    Le,
    /// `a == b` (bool); of reals only where the language asks for it, never in a gradient.
    Eq,
    /// Conjunction (bool).
    And,
    /// Disjunction (bool).
    Or,
}

impl Binary {
    /// Whether the arguments may change places: the same value to the last bit, but for which of two zeros or NaNs it is.
    /// Where both arguments of a sum are products, their order also says which of them a backend fuses with the sum,
    /// unrounded.
    pub fn commutes(self) -> bool {
        match self {
            Binary::Add | Binary::Mul | Binary::Max | Binary::Min | Binary::Eq | Binary::And | Binary::Or => true,
            Binary::Lt | Binary::Le => false,
        }
    }
}

/// Sliding windows over trailing axes: `[lead…, d…] -> [lead…, out…, kernel…]`, read at
/// `out * stride + k * dilation - pad_lo`; positions outside read `value`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Extents of the source's trailing axes.
    pub size: Vec<usize>,
    /// Window extents.
    pub kernel: Vec<usize>,
    /// Steps between windows.
    pub stride: Vec<usize>,
    /// Steps within a window.
    pub dilation: Vec<usize>,
    /// Cells before the first element.
    pub pad_lo: Vec<usize>,
    /// Cells after the last element.
    pub pad_hi: Vec<usize>,
    /// What cells outside hold (unfold only).
    pub value: F64,
}

impl Window {
    /// Number of windows along each axis.
    pub fn out(&self) -> Vec<usize> {
        (0..self.size.len())
            .map(|i| {
                let span = self.dilation[i] * (self.kernel[i] - 1) + 1;
                (self.size[i] + self.pad_lo[i] + self.pad_hi[i] - span) / self.stride[i] + 1
            })
            .collect()
    }
}

/// How a convolution's axes are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Images `[n, c, spatial…]`, as in the language.
    ChannelsFirst,
    /// Images `[n, spatial…, c]`, set by the layout pass.
    ChannelsLast,
    /// The same, and weights `[o, kernel…, c/groups]`.
    AllLast,
}

impl Layout {
    /// Whether channels are the last axis of images.
    pub fn images_last(self) -> bool {
        self != Layout::ChannelsFirst
    }

    /// Whether input channels are the last axis of weights.
    pub fn weights_last(self) -> bool {
        self == Layout::AllLast
    }
}

/// A tensor's axes in their order: samples (or output channels), channels, positions.
pub fn axes<T>(last: bool, outer: T, channel: T, spatial: Vec<T>) -> Vec<T> {
    let mut all = vec![outer];
    all.extend(spatial);
    all.insert(if last { all.len() } else { 1 }, channel);
    all
}

/// The one geometry that the three convolution ops share.
///
/// `x: [n, c, in…]`, `w: [o, c/groups, kernel…]`, `y: [n, o, out…]`, in other orders under other [`Layout`]s. All sizes are
/// stored, so there is no output-padding puzzle.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConvGeom {
    /// Batch.
    pub n: usize,
    /// Channels of x.
    pub c: usize,
    /// Channels of y.
    pub o: usize,
    /// Channel groups.
    pub groups: usize,
    /// Spatial extents of x.
    pub input: Vec<usize>,
    /// Spatial extents of w.
    pub kernel: Vec<usize>,
    /// Spatial extents of y.
    pub output: Vec<usize>,
    /// Steps between output positions.
    pub stride: Vec<usize>,
    /// Zeros before the first input element.
    pub pad: Vec<usize>,
    /// Steps between kernel taps.
    pub dilation: Vec<usize>,
    /// Axis order.
    pub layout: Layout,
}

impl ConvGeom {
    fn image(&self, channels: usize, spatial: &[usize]) -> Vec<usize> {
        axes(self.layout.images_last(), self.n, channels, spatial.to_vec())
    }

    /// Shape of x.
    pub fn x_shape(&self) -> Vec<usize> {
        self.image(self.c, &self.input)
    }

    /// Shape of y.
    pub fn y_shape(&self) -> Vec<usize> {
        self.image(self.o, &self.output)
    }

    /// Shape of w.
    pub fn w_shape(&self) -> Vec<usize> {
        axes(self.layout.weights_last(), self.o, self.c / self.groups, self.kernel.clone())
    }

    /// Multiply-adds counted as 2, padding counted as work.
    pub fn flops(&self) -> u64 {
        let taps: usize = self.kernel.iter().product();
        let out: usize = self.output.iter().product();
        2 * (self.n * self.o * (self.c / self.groups) * taps * out) as u64
    }
}

/// Axes of a contraction; the result is `[batch…, free axes of lhs…, free axes of rhs…]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContractDims {
    /// Pairs of axes (of lhs, of rhs) that run together and are kept.
    pub batch: Vec<(usize, usize)>,
    /// Pairs of axes (of lhs, of rhs) that are summed over.
    pub contracted: Vec<(usize, usize)>,
}

/// A primitive operation; its arguments are in the node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Given anew for each run: batches, counters.
    Input(Name),
    /// A trained tensor.
    Param(Name),
    /// Any other tensor that outlives a run: moments, moving statistics, buffers.
    State(Name),
    /// Values known at compile time.
    Const(Const),
    /// `u32`: the index along `axis`.
    Iota {
        /// Which axis counts.
        axis: usize,
    },
    /// `(key: u32[2], counter: u32[])`: Philox4x32-10 noise; the first axis is the sample.
    Random {
        /// Stream, from the origin path.
        stream: u64,
        /// What is made of the words.
        dist: Dist,
    },
    /// Elementwise function.
    Unary(Unary),
    /// Elementwise function of two equal shapes.
    Binary(Binary),
    /// `(cond: bool, a, b)`: elementwise choice.
    Select,
    /// Conversion to the node's element type (bool to real: 0 or 1; real to u32: truncation).
    Cast,
    /// The same elements in row-major order.
    Reshape,
    /// Result axis i is argument axis `perm[i]`.
    Permute(Vec<usize>),
    /// Extents 1 grow to the node's shape; equal rank.
    Broadcast,
    /// `start..limit` by `step` along each axis.
    Slice {
        /// First index.
        start: Vec<usize>,
        /// One past the last index.
        limit: Vec<usize>,
        /// Distance (at least 1).
        step: Vec<usize>,
    },
    /// `value` before, after and between the elements of each axis.
    Pad {
        /// Cells before.
        lo: Vec<usize>,
        /// Cells after.
        hi: Vec<usize>,
        /// Cells between neighbours.
        interior: Vec<usize>,
        /// What they hold.
        value: F64,
    },
    /// Reverses axes.
    Reverse(Vec<usize>),
    /// All arguments one after the other along an axis.
    Concat {
        /// Which axis.
        axis: usize,
    },
    /// Windows over the trailing axes.
    Unfold(Arc<Window>),
    /// The transpose of unfold (with value 0): sums windows back.
    Fold(Arc<Window>),
    /// Sum over axes, which stay with extent 1.
    Sum(Vec<usize>),
    /// Maximum over axes, which stay with extent 1.
    Max(Vec<usize>),
    /// `u32`: row-major index within `axes` of the first maximum; they stay with extent 1.
    ArgMax(Vec<usize>),
    /// Products summed over pairs of axes. The factors of this and of the convolutions have one real type; the result
    /// is f32: sums of products of halves are not halves.
    Contract(ContractDims),
    /// `(x, w) -> y`, cross-correlation.
    ConvFwd(Arc<ConvGeom>),
    /// `(g: like y, w) -> like x`: gradient with respect to x; a transposed convolution.
    ConvDataGrad(Arc<ConvGeom>),
    /// `(x, g: like y) -> like w`: gradient with respect to w.
    ConvWeightGrad(Arc<ConvGeom>),
    /// `(table: [r, …], rows: u32[b]) -> [b, …]`
    GatherRows,
    /// `(table: [r, …], rows: u32[b] all different, values: [b, …])`: the table with these rows replaced.
    ScatterRows,
    /// The value, with no gradient through it.
    Stop,
}
