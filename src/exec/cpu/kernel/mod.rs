//! Loop nests made ready to run: cut into chunks (for threads) and tiles (for L1), each tile a short list of steps.
//!
//! How work is cut depends on shapes alone; threads only decide who runs a chunk. Reductions over the loop that is cut
//! go to one partial result a chunk, which are then combined in order.

mod block;
mod compile;
mod nest;
mod run;
mod select;

pub use block::BlockKernel;
pub use compile::Tensors;
pub use run::{Tables, Thread, ThreadCell};

/// The word of a constant of an element type.
pub fn constant_word(v: f64, dtype: crate::graph::DType) -> u32 {
    select::word(v.to_bits(), dtype)
}

use super::lanes::LaneInst;
use crate::fuse::{Affine, Combine};
use crate::graph::Dist;
use nest::Nest;

/// Index into a program's table of tensors.
pub type Buf = u32;

/// A loop nest ready to run.
#[derive(Debug)]
pub struct Kernel {
    /// Loop that is cut into chunks, and the extent of a chunk (the last may be shorter).
    split: usize,
    chunk: usize,
    /// Number of chunks.
    pub chunks: usize,
    extent: usize,
    main: Variant,
    last: Option<Variant>,
    /// Reductions that are combined after the chunks.
    reductions: Vec<Reduction>,
    /// Tensors that are filled before: all of it with a word.
    prefill: Vec<(Buf, usize, u32)>,
    /// Words of shared scratch: partial results and values of argmax.
    pub shared_words: usize,
    /// Words of scratch for each thread.
    pub thread_words: usize,
    /// Pointers that each thread keeps.
    pub pointers: usize,
    /// Loops of the domain.
    pub rank: usize,
    /// Most affine forms of a step.
    pub forms: usize,
    /// Elements of the whole nest.
    pub elements: usize,
}

/// A reduction's result.
#[derive(Debug)]
struct Reduction {
    combine: Combine,
    /// Element type u32.
    integer: bool,
    to: Buf,
    /// Elements of the result.
    words: usize,
    /// Where partial results lie in the shared scratch, if each chunk has its own.
    partial: Option<usize>,
    /// Where argmax keeps its values in the shared scratch.
    values: usize,
}

/// The steps of one chunk size.
#[derive(Debug)]
struct Variant {
    /// Extents with the split loop cut.
    extents: Vec<usize>,
    /// Loop that is cut into tiles; outer ones are walked, inner ones are whole.
    tiled: usize,
    /// Indices of that loop in a tile, and elements for each of them.
    step: usize,
    inner: usize,
    /// Once a chunk.
    setup: Vec<Step>,
    /// For each tile.
    body: Vec<Step>,
    /// Pointers to constants: pointer, word.
    constants: Vec<u32>,
    /// Pointers to places in the thread's scratch: pointer, first word.
    slots: Vec<(u16, usize)>,
}

/// Part of the work on a tile.
#[derive(Debug)]
enum Step {
    /// The tile lies in a tensor as it is.
    Point { to: u16, buf: Buf, at: Affine },
    /// The tile is gathered.
    Fill { to: u16, buf: Buf, nest: Nest },
    /// Indices.
    Iota { to: u16, nest: Nest },
    /// Noise; forms sample and element.
    Noise { to: u16, args: [u16; 3], stream: u64, dist: Dist, nest: Nest },
    /// Lane code.
    Lanes(Vec<LaneInst>),
    /// The first where guards hold, else the second.
    Merge { to: u16, args: [u16; 2], uniform: [bool; 2], nest: Nest },
    /// The tile goes to a tensor.
    Store { from: u16, uniform: bool, buf: Buf, nest: Nest },
    /// The tile is combined into a result; for argmax the second form is the index.
    Reduce { from: u16, reduction: usize, nest: Nest },
}
