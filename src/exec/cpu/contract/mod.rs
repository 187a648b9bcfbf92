//! Contractions on the CPU: matrix products and the three convolutions, in f32.
//!
//! A plan ([`MatMul`], [`Conv`]) is made once for a shape; it knows its scratch and how its work is cut. Running one
//! allocates nothing. All of them end in the register tiles of `lanes`:
//!
//! - a forward convolution is a product of gathered pixel rows with packed weights; A panels are copied straight from
//!   the image (channels last: the taps of one kernel line are one run of memory), there is no im2col buffer. With a
//!   batch of six or more, the rows of a tile are the same pixel of several images, so that taps that fall into the
//!   padding are left out instead of multiplied by zeros;
//! - a data gradient of stride s is s² such convolutions, one for each residue of the position (a phase);
//! - few result channels (an image's one or three): one product gives all taps of a pixel at once, which are then
//!   folded (added) into the result, or some neighbouring pixels are computed as one with more channels, where that
//!   should take far fewer cycles (weight gradients likewise);
//! - a weight gradient is a product over pixels, cut into a number of parts that the shape decides, whose results are
//!   added in order.
//!
//! Results depend on the instruction set but never on the number of threads.
//!
//! Matrices have any strides; images are channels last (`[n, spatial…, c]`), weights `[o, c/groups, kernel…]`.

mod bench;
mod conv;
mod fold;
mod gather;
mod grouped;
mod lanes;
mod matmul;
mod pack;
#[cfg(test)]
mod tests;
mod wgrad;

pub use bench::{report, report_by};
pub use conv::{Conv, Role};
pub use lanes::Isa;
pub use matmul::{MatMul, MatMulShape, Strides};

/// A finished part of a result: `rows × cols` values, on its way out and still in a near cache.
///
/// `row` counts pixels (or rows of a matrix, batch included), `col` channels; for a weight gradient a row is one
/// output channel. A part that spans the whole width of the result is one contiguous run (see [`Block::flat`]).
pub struct Block {
    /// First row.
    pub row: usize,
    /// Number of rows.
    pub rows: usize,
    /// First column.
    pub col: usize,
    /// Number of columns.
    pub cols: usize,
    /// Which of the pool's threads calls: no two calls with the same number overlap.
    pub thread: usize,
    /// Which of the product's tasks made it: a task's blocks come in one order, on one thread. Tasks are cut by the
    /// shape alone.
    pub task: usize,
    data: *mut f32,
    stride: usize,
}

impl Block {
    /// # Safety
    /// `data` points at `rows` rows of `cols` values, `stride` apart, which nobody else touches while this lives.
    unsafe fn new(
        at: [usize; 2],
        rows: usize,
        cols: usize,
        data: *mut f32,
        stride: usize,
        (task, thread): (usize, usize),
    ) -> Block {
        Block { row: at[0], rows, col: at[1], cols, thread, task, data, stride }
    }

    /// Values of row `i` (below `rows`).
    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        assert!(i < self.rows);
        // SAFETY: by `new`; the borrow of self keeps two rows from being held at once.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(i * self.stride), self.cols) }
    }

    /// All values in order, if the rows are adjacent.
    pub fn flat(&mut self) -> Option<&mut [f32]> {
        if self.rows > 1 && self.stride != self.cols {
            return None;
        }
        // SAFETY: by `new`; the rows are adjacent, or there is only one.
        Some(unsafe { std::slice::from_raw_parts_mut(self.data, self.rows * self.cols) })
    }

    /// First value and the distance between rows.
    pub fn raw(&mut self) -> (*mut f32, usize) {
        (self.data, self.stride)
    }
}

/// Called with each part of the result when it is final; parts cover every element exactly once.
pub type Epilogue<'a> = dyn Fn(&mut Block) + Sync + 'a;
