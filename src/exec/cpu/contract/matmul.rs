//! Batched matrix products with any strides.

use super::lanes::{Isa, KC, LDA, Lanes, MAX_ROWS};
use super::pack::{Panels, Shared, copy, part, transpose, zero};
use super::{Block, Epilogue};
use crate::exec::cpu::pool::Pool;

/// Distances in elements between neighbours of an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strides {
    /// From one matrix of the batch to the next (0: the same matrix for all).
    pub batch: usize,
    /// From row to row.
    pub row: usize,
    /// From column to column.
    pub col: usize,
}

/// `c[i, m, n] = sum over k of a[i, m, k] · b[i, k, n]`; the columns of c are adjacent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatMulShape {
    /// Number of products.
    pub batch: usize,
    /// Rows of a and c.
    pub m: usize,
    /// Columns of b and c.
    pub n: usize,
    /// Columns of a, rows of b.
    pub k: usize,
    /// Where a's elements are (rows m, columns k).
    pub a: Strides,
    /// Where b's elements are (rows k, columns n).
    pub b: Strides,
    /// From row to row of c, at least n.
    pub c_row: usize,
    /// From matrix to matrix of c.
    pub c_batch: usize,
}

impl MatMulShape {
    /// All three operands row-major and dense.
    pub fn dense(batch: usize, m: usize, n: usize, k: usize) -> Self {
        let a = Strides { batch: m * k, row: k, col: 1 };
        let b = Strides { batch: k * n, row: n, col: 1 };
        MatMulShape { batch, m, n, k, a, b, c_row: n, c_batch: m * n }
    }

    fn extent(&self, s: Strides, rows: usize, cols: usize) -> usize {
        if self.batch == 0 || rows == 0 || cols == 0 {
            return 0;
        }
        (self.batch - 1) * s.batch + (rows - 1) * s.row + (cols - 1) * s.col + 1
    }

    /// Multiply-adds counted as 2.
    pub fn flops(&self) -> u64 {
        2 * (self.batch * self.m * self.n * self.k) as u64
    }
}

/// A planned matrix product.
pub struct MatMul {
    s: MatMulShape,
    lanes: &'static Lanes,
    panels: Panels,
    /// Row panels of a, and the blocks that rows and column panels are cut into.
    row_panels: usize,
    row_blocks: usize,
    col_blocks: usize,
    k_blocks: usize,
    /// All of b is packed first (it serves several row blocks).
    prepack: bool,
    /// b is read where it is (it serves too few rows for packing to pay).
    direct: bool,
    k_major: bool,
    /// a is read where it is.
    direct_a: bool,
}

impl MatMul {
    /// Plans for the best instruction set here.
    pub fn new(shape: MatMulShape) -> Self {
        Self::with_isa(shape, Isa::detect())
    }

    /// Plans for a given instruction set.
    pub fn with_isa(s: MatMulShape, isa: Isa) -> Self {
        let lanes = isa.lanes();
        let panels = Panels { n: s.n, nr: lanes.cols(), width: lanes.width };
        let row_panels = s.m.div_ceil(lanes.rows).max(1);
        let target = (s.flops() / 1_000_000).clamp(1, 32) as usize;
        let target = target.div_ceil(s.batch.max(1));
        let mut row_blocks = row_panels.div_ceil(10);
        let mut col_blocks = 1;
        // Packed a is read once for each column panel, so that narrow products are cut by rows alone.
        if row_blocks < target && s.n > 256 {
            col_blocks = target.div_ceil(row_blocks).min(panels.count() / 2).max(1);
        }
        if row_blocks * col_blocks < target {
            row_blocks = target.div_ceil(col_blocks).min(row_panels).max(row_blocks);
        }
        let direct = row_panels <= 2 && s.b.col == 1;
        MatMul {
            s,
            lanes,
            panels,
            row_panels,
            row_blocks,
            col_blocks,
            k_blocks: s.k.div_ceil(KC).max(1),
            prepack: row_blocks > 1 && !direct,
            direct,
            k_major: s.a.row == 1 && s.a.col != 1,
            direct_a: s.a.row == 1 && s.a.col != 1 && s.a.col <= 1024,
        }
    }

    /// The shape it was planned for.
    pub fn shape(&self) -> &MatMulShape {
        &self.s
    }

    /// Tiles of its instruction set.
    pub(super) fn lanes(&self) -> &'static Lanes {
        self.lanes
    }

    fn a_len(&self) -> usize {
        self.row_panels.div_ceil(self.row_blocks) * self.lanes.rows * LDA
    }

    fn thread_len(&self) -> usize {
        self.a_len() + KC * self.panels.nr
    }

    fn packed_len(&self) -> usize {
        if self.prepack { self.s.batch * self.s.k * self.panels.row() } else { 0 }
    }

    /// Values of scratch that [`MatMul::run`] needs on a pool of `threads`.
    pub fn scratch_len(&self, threads: usize) -> usize {
        self.packed_len() + threads * self.thread_len()
    }

    /// Number of tasks that [`MatMul::run`] cuts the work into.
    pub fn tasks(&self) -> usize {
        self.s.batch * self.row_blocks * self.col_blocks
    }

    /// Computes c. `epilogue` gets rows counted as `batch · m + row`.
    pub fn run(
        &self,
        pool: &Pool,
        a: &[f32],
        b: &[f32],
        c: &mut [f32],
        scratch: &mut [f32],
        epilogue: Option<&Epilogue>,
    ) {
        let s = &self.s;
        let c_strides = Strides { batch: s.c_batch, row: s.c_row, col: 1 };
        assert!(a.len() >= s.extent(s.a, s.m, s.k) && b.len() >= s.extent(s.b, s.k, s.n));
        assert!(c.len() >= s.extent(c_strides, s.m, s.n) && s.c_row >= s.n);
        assert!(s.batch < 2 || s.c_batch >= s.extent(Strides { batch: 0, ..c_strides }, s.m, s.n));
        assert!(scratch.len() >= self.scratch_len(pool.threads()));
        if s.batch * s.m * s.n == 0 {
            return;
        }
        let (packed, threads) = scratch.split_at_mut(self.packed_len());
        let (c, packed, threads) =
            (Shared(c.as_mut_ptr()), Shared(packed.as_mut_ptr()), Shared(threads.as_mut_ptr()));
        if self.prepack {
            pool.run(s.batch * self.panels.count(), &|task| {
                let (i, j) = (task / self.panels.count(), task % self.panels.count());
                // SAFETY: b was checked; each task packs one panel of one matrix.
                unsafe {
                    let to = packed.get().add(i * s.k * self.panels.row() + j * self.panels.nr * s.k);
                    self.pack_b(b.as_ptr().add(i * s.b.batch), j, 0, s.k, to);
                }
            });
        }
        pool.run_on(self.tasks(), &|task, thread| {
            let (i, block) =
                (task / (self.row_blocks * self.col_blocks), task % (self.row_blocks * self.col_blocks));
            // SAFETY: extents were checked; each task has its block of c and its thread's scratch for itself.
            unsafe {
                let b_packed = packed.get().add(if self.prepack { i * s.k * self.panels.row() } else { 0 });
                let (a, b) = (a.as_ptr().add(i * s.a.batch), b.as_ptr().add(i * s.b.batch));
                let own = threads.get().add(thread * self.thread_len());
                let c = c.get().add(i * s.c_batch);
                let at = (block / self.col_blocks, block % self.col_blocks);
                let (rows, cols) = self.block(at, a, b, b_packed, c, own);
                if let Some(epilogue) = epilogue {
                    let data = c.add(rows.start * s.c_row + cols.start);
                    let at = [i * s.m + rows.start, cols.start];
                    epilogue(&mut Block::new(at, rows.len(), cols.len(), data, s.c_row, (task, thread)));
                }
            }
        });
    }

    /// One block of c; returns its rows and columns.
    unsafe fn block(
        &self,
        at: (usize, usize),
        a: *const f32,
        b: *const f32,
        b_packed: *const f32,
        c: *mut f32,
        own: *mut f32,
    ) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
        let s = &self.s;
        let panels = part(self.row_panels, self.row_blocks, at.0)..part(self.row_panels, self.row_blocks, at.0 + 1);
        let row = |p| part(s.m, self.row_panels, p);
        let js =
            part(self.panels.count(), self.col_blocks, at.1)..part(self.panels.count(), self.col_blocks, at.1 + 1);
        let panel_len = self.lanes.rows * LDA;
        // SAFETY: the caller checked a, b, c and the scratch against the shape.
        unsafe {
            let b_own = own.add(self.a_len());
            for kb in 0..self.k_blocks {
                let (k0, k1) = (part(s.k, self.k_blocks, kb), part(s.k, self.k_blocks, kb + 1));
                let kc = k1 - k0;
                for (i, p) in panels.clone().enumerate().filter(|_| !self.direct_a) {
                    self.pack_a(a, row(p), row(p + 1) - row(p), k0, kc, own.add(i * panel_len));
                }
                for j in js.clone() {
                    let (cols, stored) = (self.panels.cols(j), self.panels.stored(j));
                    let (panel, ldb) = if self.prepack {
                        (b_packed.add(j * self.panels.nr * s.k + k0 * stored), stored)
                    } else if self.direct && cols == stored {
                        (b.add(k0 * s.b.row + j * self.panels.nr), s.b.row)
                    } else {
                        self.pack_b(b, j, k0, kc, b_own);
                        (b_own.cast_const(), stored)
                    };
                    for (i, p) in panels.clone().enumerate() {
                        let rows = row(p + 1) - row(p);
                        let mut to = [c; MAX_ROWS];
                        for (r, to) in to.iter_mut().enumerate().take(rows) {
                            *to = c.add((row(p) + r) * s.c_row);
                        }
                        let tile = self.lanes.tile(rows, stored, self.k_major);
                        let (a, lda) = if self.direct_a {
                            (a.add(k0 * s.a.col + row(p)), s.a.col)
                        } else {
                            (own.add(i * panel_len).cast_const(), rows)
                        };
                        tile(kc, a, lda, panel, ldb, to.as_ptr(), j * self.panels.nr, cols, kb > 0);
                    }
                }
            }
        }
        let cols = js.start * self.panels.nr..(js.end * self.panels.nr).min(s.n);
        (row(panels.start)..row(panels.end), cols)
    }

    /// Packs rows `row..row + rows`, columns `k0..k0 + kc` of a.
    unsafe fn pack_a(&self, a: *const f32, row: usize, rows: usize, k0: usize, kc: usize, to: *mut f32) {
        let s = self.s.a;
        // SAFETY: the caller vouches for a's extent; `to` has room for `lanes.rows · LDA ≥ rows · kc` values.
        unsafe {
            if self.k_major {
                for k in 0..kc {
                    copy_row(a.add(row + (k0 + k) * s.col), to.add(k * rows), rows);
                }
                return;
            }
            for r in 0..rows {
                let (from, to) = (a.add((row + r) * s.row + k0 * s.col), to.add(r * LDA));
                if s.col == 1 {
                    copy(from, to, kc);
                } else {
                    for k in 0..kc {
                        *to.add(k) = *from.add(k * s.col);
                    }
                }
            }
        }
    }

    /// Packs rows `k0..k0 + kc` of column panel `j` of b.
    unsafe fn pack_b(&self, b: *const f32, j: usize, k0: usize, kc: usize, to: *mut f32) {
        let s = self.s.b;
        let (cols, stored) = (self.panels.cols(j), self.panels.stored(j));
        // SAFETY: the caller vouches for b's extent; `to` has room for `kc · stored` values.
        unsafe {
            let b = b.add(k0 * s.row + j * self.panels.nr * s.col);
            if s.col == 1 {
                for k in 0..kc {
                    let (from, to) = (b.add(k * s.row), to.add(k * stored));
                    copy(from, to, cols);
                    zero(to.add(cols), stored - cols);
                }
            } else if s.row == 1 {
                transpose(self.lanes, b, s.col, cols, kc, stored, |k| to.add(k * stored));
            } else {
                for k in 0..kc {
                    for x in 0..stored {
                        *to.add(k * stored + x) = if x < cols { *b.add(k * s.row + x * s.col) } else { 0.0 };
                    }
                }
            }
        }
    }
}

/// Copies the few values of one k of a k-major panel, by two pieces that may overlap.
///
/// # Safety
/// Both reach `len` values and do not overlap each other.
#[inline(always)]
pub(super) unsafe fn copy_row(from: *const f32, to: *mut f32, len: usize) {
    // SAFETY: each piece lies within `len`.
    unsafe {
        if (8..=16).contains(&len) {
            std::ptr::copy_nonoverlapping(from, to, 8);
            std::ptr::copy_nonoverlapping(from.add(len - 8), to.add(len - 8), 8);
        } else {
            copy(from, to, len);
        }
    }
}
