//! Kernels that run over blocks of a matrix as a product finishes them.
//!
//! A block is whole rows, or a part of some; the body is made ready for both. Values that do not change from row to
//! row (or, for parts of rows, at all) are set up once for each thread and launch.

use super::super::contract::Block;
use super::super::lanes::Lanes;
use super::compile::{Tensors, Tiling, reductions, variant};
use super::run::{Tables, Thread, Walk, place};
use super::select::select;
use super::{Kernel, Variant};
use crate::fuse::Body;

/// A body over `[rows, columns]` that runs block by block.
#[derive(Debug)]
pub struct BlockKernel {
    /// Reductions, with one partial result for each task of the product; its variant takes whole rows.
    pub kernel: Kernel,
    /// Parts of rows.
    part: Variant,
}

impl BlockKernel {
    /// Makes an epilogue ready for a product of `tasks` tasks.
    pub fn new(body: &Body, tensors: &Tensors, tasks: usize) -> BlockKernel {
        let [rows, cols] = [body.domain[0], body.domain[1]];
        let (values, same) = select(body);
        let extents = [rows, cols];
        let build = |least: usize| {
            variant(body, &values, &same, tensors, &|words| Tiling::of_blocks(&extents, words, least))
        };
        let (main, p, w) = build(0);
        let (part, q, v) = build(1);
        // Every task has its own partial result, whatever is summed: which of them come first depends on threads.
        let (reductions, prefill, shared_words) = reductions(body, tensors, tasks, |_| true);
        let forms = main.widths().chain(part.widths()).max().unwrap_or(1);
        let kernel = Kernel {
            split: 0,
            chunk: rows,
            chunks: tasks,
            extent: rows,
            main,
            last: None,
            reductions,
            prefill,
            shared_words,
            thread_words: w.max(v),
            pointers: p.max(q),
            rank: 2,
            forms,
            elements: rows * cols,
        };
        BlockKernel { kernel, part }
    }

    /// Runs the body over a block. `launch` numbers launches, so that a thread knows what it has set up.
    ///
    /// # Safety
    /// As [`Kernel::run`], for the elements of the block; [`Kernel::prepare`] has run.
    pub unsafe fn run(&self, lanes: &Lanes, tables: Tables, thread: &mut Thread, block: &Block, launch: u64) {
        let whole = block.col == 0 && block.cols == self.part.extents[1];
        let v = if whole { &self.kernel.main } else { &self.part };
        let walk = Walk { kernel: &self.kernel, v, lanes, tables, chunk: block.task };
        let Thread { words, pointers, index, at, ready } = thread;
        // Whole rows may be too long for a tile, too.
        let whole = v.tiled == 0;
        let set_up = (launch, std::ptr::from_ref(v) as usize);
        // SAFETY: as the caller vouches.
        unsafe {
            if *ready != set_up {
                *ready = set_up;
                place(v, words, pointers);
                index[..2].fill(0);
                walk.steps(&v.setup, pointers, &index[..2], at, v.step);
            }
            let mut done = 0;
            while whole && done < block.rows {
                let count = v.step.min(block.rows - done);
                index[0] = (block.row + done) as i64;
                index[1] = 0;
                walk.steps(&v.body, pointers, &index[..2], at, count);
                done += count;
            }
            for row in block.row..block.row + if whole { 0 } else { block.rows } {
                let mut done = 0;
                while done < block.cols {
                    let count = v.step.min(block.cols - done);
                    index[0] = row as i64;
                    index[1] = (block.col + done) as i64;
                    walk.steps(&v.body, pointers, &index[..2], at, count);
                    done += count;
                }
            }
        }
    }
}
