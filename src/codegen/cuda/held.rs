//! Kernels that make minibatches of rows which lie in device memory: the same text for all sets.

use super::PRELUDE;
use crate::graph::Shape;

/// What they are after the prelude.
const TEXT: &str = include_str!("held.cuh");

/// Threads of a block of any of them.
pub const THREADS: u32 = 256;

/// Elements that a block writes of a stored row.
const PIECE: usize = 2048;

/// Which kernel makes a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Of bytes, each of which stands for a number: `held, values, index, rows, batch, planes, part, line`.
    Bytes,
    /// Of 32-bit words: `held, index, rows, batch, planes, part, line`.
    Words,
    /// Of rows that are one 32-bit word: `held, index, rows, batch, samples`.
    Numbers,
}

impl Held {
    /// In the order of [`Held::place`].
    pub const ALL: [Held; 3] = [Held::Bytes, Held::Words, Held::Numbers];

    /// Its place in [`Held::ALL`].
    pub fn place(self) -> usize {
        match self {
            Held::Bytes => 0,
            Held::Words => 1,
            Held::Numbers => 2,
        }
    }

    /// The kernel's name.
    pub fn name(self) -> &'static str {
        match self {
            Held::Bytes => "ganc_held_bytes",
            Held::Words => "ganc_held_words",
            Held::Numbers => "ganc_held_numbers",
        }
    }

    /// Blocks for a batch of this many samples, whose rows are `planes` stored rows of `part` elements each.
    pub fn grid(self, batch: usize, planes: usize, part: usize) -> [u32; 3] {
        match self {
            Held::Bytes | Held::Words => [(batch * planes) as u32, part.div_ceil(PIECE).max(1) as u32, 1],
            Held::Numbers => [batch.div_ceil(THREADS as usize).max(1) as u32, 1, 1],
        }
    }

    /// The last numbers that it takes, for rows of this shape.
    pub fn numbers(self, batch: usize, planes: usize, part: usize, shape: &Shape) -> Vec<u32> {
        match self {
            Held::Bytes | Held::Words => {
                let line = shape.last().copied().unwrap_or(1).max(1);
                vec![planes as u32, part as u32, line as u32]
            }
            Held::Numbers => vec![batch as u32],
        }
    }
}

/// The program of all of them.
pub fn text() -> String {
    format!("{PRELUDE}\n{TEXT}")
}
