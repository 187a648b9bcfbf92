//! Convolutions with few result channels: one product gives the contributions of a source pixel to all taps, which
//! are then added to the result where they fall.
//!
//! A tile is as wide as a vector or two, so that one result channel by itself would waste most of it; all taps of it
//! side by side do not.

use super::gather::{Dims, Geometry};
use super::lanes::{Isa, KC, LDA, Lanes, MAX_ROWS};
use super::pack::{Panels, Shared, copy, part, zero};
use super::{Block, Epilogue};
use crate::exec::cpu::pool::Pool;

/// Row panels of one product.
const BAND: usize = 8;

/// Taps on one line whose targets are neighbours.
struct Run {
    off: [isize; 3],
    pix: usize,
    /// First column of the product.
    col: usize,
}

/// A planned folding convolution (no groups).
pub(super) struct Fold {
    lanes: &'static Lanes,
    n: usize,
    src: Dims,
    src_c: usize,
    dst: Dims,
    dst_c: usize,
    step: Dims,
    runs: Vec<Run>,
    /// Kernel position of each tap, in column order.
    taps: Vec<usize>,
    panels: Panels,
    forward: bool,
}

impl Fold {
    /// Whether this beats gathering.
    pub fn pays(g: &Geometry, forward: bool, isa: Isa) -> bool {
        let width = isa.lanes().width;
        let (src, dst) = if forward { (g.c, g.o) } else { (g.o, g.c) };
        let wide = (g.taps() * dst).next_multiple_of(width);
        g.groups == 1
            && src >= 8
            && (!forward || g.stride == [1; 3])
            && 4 * wide < 3 * g.taps() * dst.next_multiple_of(width)
    }

    /// The forward convolution (stride 1), or the gradient with respect to x.
    pub fn new(g: &Geometry, forward: bool, isa: Isa) -> Fold {
        let lanes = isa.lanes();
        let offsets = |d: usize| -> Vec<(usize, isize)> {
            let at = |k: usize| (k * g.dilation[d]) as isize - g.pad[d] as isize;
            let mut all: Vec<_> = (0..g.kernel[d]).map(|k| (k, if forward { -at(k) } else { at(k) })).collect();
            all.sort_by_key(|&(_, off)| off);
            all
        };
        let ((src, src_c), (dst, dst_c)) =
            if forward { ((g.input, g.c), (g.output, g.o)) } else { ((g.output, g.o), (g.input, g.c)) };
        let (mut runs, mut taps): (Vec<Run>, Vec<usize>) = (vec![], vec![]);
        for (kz, z) in offsets(0) {
            for (ky, y) in offsets(1) {
                let mut open = false;
                for (kx, x) in offsets(2) {
                    match runs.last_mut() {
                        Some(run) if open && run.off[2] + run.pix as isize == x => run.pix += 1,
                        _ => runs.push(Run { off: [z, y, x], pix: 1, col: taps.len() * dst_c }),
                    }
                    open = true;
                    taps.push((kz * g.kernel[1] + ky) * g.kernel[2] + kx);
                }
            }
        }
        let panels = Panels { n: taps.len() * dst_c, nr: lanes.cols(), width: lanes.width };
        let step = if forward { [1; 3] } else { g.stride };
        Fold { lanes, n: g.n, src, src_c, dst, dst_c, step, runs, taps, panels, forward }
    }

    fn band(&self) -> usize {
        BAND * self.lanes.rows
    }

    fn thread_len(&self) -> usize {
        self.band() * (LDA + self.panels.row())
    }

    /// Values of scratch needed on a pool of `threads`.
    pub fn scratch_len(&self, threads: usize) -> usize {
        self.src_c * self.panels.row() + threads * self.thread_len()
    }

    /// Number of tasks that [`Fold::run`] cuts the work into.
    pub fn tasks(&self) -> usize {
        self.n
    }

    /// Computes the result; see [`super::gather::Gather::run`].
    ///
    /// # Safety
    /// `src`, `w` and `dst` have the elements that the geometry says.
    pub unsafe fn run(
        &self,
        pool: &Pool,
        src: &[f32],
        w: &[f32],
        dst: &mut [f32],
        scratch: &mut [f32],
        epilogue: Option<&Epilogue>,
    ) {
        assert!(scratch.len() >= self.scratch_len(pool.threads()));
        let (packed, threads) = scratch.split_at_mut(self.src_c * self.panels.row());
        let t = self.taps.len();
        for j in 0..self.panels.count() {
            let stored = self.panels.stored(j);
            let to = &mut packed[j * self.panels.nr * self.src_c..];
            for k in 0..self.src_c {
                for x in 0..stored {
                    let col = j * self.panels.nr + x;
                    let (tap, c) = (col / self.dst_c, col % self.dst_c);
                    to[k * stored + x] = match tap {
                        tap if tap >= t => 0.0,
                        tap if self.forward => w[(c * self.src_c + k) * t + self.taps[tap]],
                        tap => w[(k * self.dst_c + c) * t + self.taps[tap]],
                    };
                }
            }
        }
        let packed = &*packed;
        let (dst, threads) = (Shared(dst.as_mut_ptr()), Shared(threads.as_mut_ptr()));
        let (src_pixels, dst_pixels) = (self.src.iter().product::<usize>(), self.dst.iter().product::<usize>());
        pool.run_on(self.tasks(), &|image, thread| {
            // SAFETY: extents were checked; each task has its image of the result and its thread's scratch.
            unsafe {
                let src = src.as_ptr().add(image * src_pixels * self.src_c);
                let dst = dst.get().add(image * dst_pixels * self.dst_c);
                let own = threads.get().add(thread * self.thread_len());
                zero(dst, dst_pixels * self.dst_c);
                let bands = src_pixels.div_ceil(self.band());
                for band in 0..bands {
                    let (first, end) = (part(src_pixels, bands, band), part(src_pixels, bands, band + 1));
                    self.product(src.add(first * self.src_c), end - first, packed.as_ptr(), own);
                    self.add(first, end, own.add(self.band() * LDA), dst);
                }
                if let Some(epilogue) = epilogue {
                    let at = [image * dst_pixels, 0];
                    epilogue(&mut Block::new(at, dst_pixels, self.dst_c, dst, self.dst_c, (image, thread)));
                }
            }
        });
    }

    /// All taps of `rows` source pixels.
    unsafe fn product(&self, src: *const f32, rows: usize, packed: *const f32, own: *mut f32) {
        let panels = rows.div_ceil(self.lanes.rows);
        let k_blocks = self.src_c.div_ceil(KC);
        // SAFETY: the caller vouches for `rows` pixels; `own` holds a band of packed rows and its product.
        unsafe {
            let to = own.add(self.band() * LDA);
            for kb in 0..k_blocks {
                let (k0, k1) = (part(self.src_c, k_blocks, kb), part(self.src_c, k_blocks, kb + 1));
                for r in 0..rows {
                    copy(src.add(r * self.src_c + k0), own.add(r * LDA), k1 - k0);
                }
                for j in 0..self.panels.count() {
                    let stored = self.panels.stored(j);
                    let b = packed.add(j * self.panels.nr * self.src_c + k0 * stored);
                    for p in 0..panels {
                        let (row, end) = (part(rows, panels, p), part(rows, panels, p + 1));
                        let mut c = [to; MAX_ROWS];
                        for (r, c) in c.iter_mut().enumerate().take(end - row) {
                            *c = to.add((row + r) * self.panels.row());
                        }
                        let tile = self.lanes.tile(end - row, stored, false);
                        let (a, offset) = (own.add(row * LDA), j * self.panels.nr);
                        tile(k1 - k0, a, 0, b, stored, c.as_ptr(), offset, stored, kb > 0);
                    }
                }
            }
        }
    }

    /// Adds the taps of source pixels `first..end` to the result.
    unsafe fn add(&self, first: usize, end: usize, product: *const f32, dst: *mut f32) {
        let [d, h, w] = self.dst.map(|e| e as isize);
        for pixel in first..end {
            let (rest, x) = (pixel / self.src[2], pixel % self.src[2]);
            let at = [rest / self.src[1], rest % self.src[1], x];
            for run in &self.runs {
                let [z, y, x] = [0, 1, 2].map(|i| (at[i] * self.step[i]) as isize + run.off[i]);
                if z < 0 || z >= d || y < 0 || y >= h {
                    continue;
                }
                let (lo, hi) = ((-x).max(0), (w - x).min(run.pix as isize));
                if lo >= hi {
                    continue;
                }
                let (lo, len) = (lo as usize, (hi - lo) as usize * self.dst_c);
                // SAFETY: clipped to the result; the product has a row for each pixel of the band.
                unsafe {
                    let from = product.add((pixel - first) * self.panels.row() + run.col + lo * self.dst_c);
                    let to = dst.add((((z * h + y) * w + x) as usize).wrapping_add(lo) * self.dst_c);
                    let mut i = 0;
                    while i + 4 <= len {
                        let (p, q) = (to.add(i).cast::<[f32; 4]>(), from.add(i).cast::<[f32; 4]>());
                        *p = std::array::from_fn(|j| (*p)[j] + (*q)[j]);
                        i += 4;
                    }
                    for i in i..len {
                        *to.add(i) += *from.add(i);
                    }
                }
            }
        }
    }
}
