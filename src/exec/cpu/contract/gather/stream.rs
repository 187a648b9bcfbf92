//! Few pixels and many weights: the weights stream by once.
//!
//! Source pixels are turned into k-major row panels first, `[images, channel block, pixel, channel, image]`, where
//! neighbours on a line are one run of k. Then each column panel packs its weights block by block of source channels
//! and uses each block, still in a near cache, for all pixels.

use super::super::lanes::MAX_ROWS;
use super::super::pack::{Shared, part, transpose, zero};
use super::super::{Block, Epilogue};
use super::{Dims, Gather, Phase};
use crate::exec::cpu::pool::Pool;

/// Longest k of a tile call.
const K: usize = 512;
/// Most source values: they pass by once for each column panel.
const SOURCE: usize = 320 << 10;

impl Gather {
    /// Whether the weights stream.
    pub(in super::super) fn streams(&self) -> bool {
        let source = self.n * self.src.iter().product::<usize>() * self.src_c;
        self.groups == 1
            && self.n >= 6
            && self.src_c >= 16
            && self.panels.count() >= 4
            && source <= SOURCE
            && 2 * source <= self.src_c * self.dst_c * self.taps
    }

    /// Number of blocks of source channels.
    fn channel_blocks(&self) -> usize {
        let pix = self.phases.iter().map(|p| p.pix).max().unwrap_or(1);
        self.src_c.div_ceil((K / pix).max(16))
    }

    fn source_len(&self) -> usize {
        self.n * self.src.iter().product::<usize>() * self.src_c
    }

    fn block_len(&self) -> usize {
        self.taps * self.src_c.div_ceil(self.channel_blocks()) * self.panels.nr
    }

    /// Values of scratch needed on a pool of `threads`.
    pub(super) fn stream_len(&self, threads: usize) -> usize {
        self.source_len() + threads * (self.block_len() + self.panels.nr)
    }

    /// See [`Gather::run`].
    ///
    /// # Safety
    /// `src`, `w` and `dst` have the elements that the geometry says.
    pub(super) unsafe fn stream(
        &self,
        pool: &Pool,
        src: &[f32],
        w: &[f32],
        dst: &mut [f32],
        scratch: &mut [f32],
        epilogue: Option<&Epilogue>,
    ) {
        let (turned, threads) = scratch.split_at_mut(self.source_len());
        let (turned, threads, dst) =
            (Shared(turned.as_mut_ptr()), Shared(threads.as_mut_ptr()), Shared(dst.as_mut_ptr()));
        let pixels = self.src.iter().product::<usize>();
        let sets = self.n.div_ceil(self.lanes.rows);
        let step = (4096 / self.src_c).clamp(1, 16);
        pool.run(sets * pixels.div_ceil(step), &|task| {
            let (set, first) = (task % sets, task / sets * step);
            // SAFETY: extents were checked; each task turns its own pixels.
            unsafe { self.turn(set, first..(first + step).min(pixels), src.as_ptr(), turned.get()) }
        });
        pool.run_on(self.panels.count(), &|j, thread| {
            // SAFETY: extents were checked; each task has its columns of the result and its thread's scratch.
            unsafe {
                let own = threads.get().add(thread * (self.block_len() + self.panels.nr));
                self.column(j, turned.get(), w.as_ptr(), dst.get(), own);
                if let Some(epilogue) = epilogue {
                    let (rows, col) = (self.n * self.dst.iter().product::<usize>(), j * self.panels.nr);
                    let data = dst.get().add(col);
                    epilogue(&mut Block::new([0, col], rows, self.panels.cols(j), data, self.dst_c, (j, thread)));
                }
            }
        });
    }

    fn images(&self, set: usize) -> std::ops::Range<usize> {
        let sets = self.n.div_ceil(self.lanes.rows);
        part(self.n, sets, set)..part(self.n, sets, set + 1)
    }

    /// Some pixels of a set of images.
    unsafe fn turn(&self, set: usize, pixels: std::ops::Range<usize>, src: *const f32, turned: *mut f32) {
        let (images, blocks) = (self.images(set), self.channel_blocks());
        let all = self.src.iter().product::<usize>();
        let rows = images.len();
        // SAFETY: the caller vouches for the source; a set has `rows · pixels · channels` values of `turned`.
        unsafe {
            for pixel in pixels {
                for b in 0..blocks {
                    let (lo, hi) = (part(self.src_c, blocks, b), part(self.src_c, blocks, b + 1));
                    let from = src.add((images.start * all + pixel) * self.src_c + lo);
                    let to = turned.add(images.start * all * self.src_c + (lo * all + pixel * (hi - lo)) * rows);
                    transpose(self.lanes, from, all * self.src_c, rows, hi - lo, rows, |c| to.add(c * rows));
                }
            }
        }
    }

    /// One column panel of the result.
    unsafe fn column(&self, j: usize, turned: *const f32, w: *const f32, dst: *mut f32, own: *mut f32) {
        let (blocks, stored) = (self.channel_blocks(), self.panels.stored(j));
        let all = self.src.iter().product::<usize>();
        // SAFETY: the caller vouches for the operands.
        unsafe {
            for b in 0..blocks {
                let channels = part(self.src_c, blocks, b)..part(self.src_c, blocks, b + 1);
                self.pack_block(j, channels.clone(), w, own);
                let mut panel = own.cast_const();
                for p in &self.phases {
                    for run in 0..p.runs.len() {
                        for set in 0..self.n.div_ceil(self.lanes.rows) {
                            let images = self.images(set);
                            let at = images.start * self.src_c + channels.start * images.len();
                            let a = turned.add(at * all);
                            self.line(p, run, j, images, channels.len(), b == 0, a, panel, dst);
                        }
                        panel = panel.add(p.pix * channels.len() * stored);
                    }
                    if p.runs.is_empty() && b == 0 {
                        self.clear(p, j, dst);
                    }
                }
            }
        }
    }

    /// Packs some source channels of one column panel: phase, tap, channel.
    unsafe fn pack_block(&self, j: usize, channels: std::ops::Range<usize>, w: *const f32, own: *mut f32) {
        let (t, cols, stored, count) = (self.taps, self.panels.cols(j), self.panels.stored(j), channels.len());
        let spare = own.wrapping_add(self.block_len());
        let line = |tap: usize, channel: usize| {
            let Some((phase, at)) = self.tap_at[tap] else { return spare };
            let before: usize = self.phases[..phase].iter().map(|p| p.taps.len()).sum();
            own.wrapping_add(((before + at) * count + channel) * stored)
        };
        // SAFETY: the caller vouches for w; `own` has room for a block and a spare row.
        unsafe {
            if self.forward {
                let from = w.add((j * self.panels.nr * self.src_c + channels.start) * t);
                transpose(self.lanes, from, self.src_c * t, cols, count * t, stored, |i| line(i % t, i / t));
                return;
            }
            for (i, o) in channels.enumerate() {
                let from = w.add((o * self.dst_c + j * self.panels.nr) * t);
                transpose(self.lanes, from, t, cols, t, stored, |tap| line(tap, i));
            }
        }
    }

    /// One run of taps for all positions of a set of images.
    unsafe fn line(
        &self,
        p: &Phase,
        run: usize,
        j: usize,
        images: std::ops::Range<usize>,
        channels: usize,
        first: bool,
        a: *const f32,
        b: *const f32,
        dst: *mut f32,
    ) {
        let (stored, rows) = (self.panels.stored(j), images.len());
        let tile = self.lanes.tile(rows, stored, true);
        let image_len = self.dst.iter().product::<usize>() * self.dst_c;
        for z in 0..p.grid[0] {
            for y in 0..p.grid[1] {
                for x in 0..p.grid[2] {
                    let at = [z, y, x];
                    let fresh = first && (0..run).all(|r| self.inside(p, r, at).is_none());
                    // SAFETY: a position lies inside the result, `inside` keeps to the source.
                    unsafe {
                        let to = dst.add(images.start * image_len + self.target(p, at) * self.dst_c);
                        let Some((lo, hi, from)) = self.inside(p, run, at) else {
                            if fresh && run + 1 == p.runs.len() {
                                for r in 0..rows {
                                    zero(to.add(r * image_len + j * self.panels.nr), self.panels.cols(j));
                                }
                            }
                            continue;
                        };
                        let mut c = [to; MAX_ROWS];
                        for (r, c) in c.iter_mut().enumerate().take(rows) {
                            *c = to.add(r * image_len);
                        }
                        let a = a.add((from + lo as isize) as usize * channels * rows);
                        let (b, k) = (b.add(lo * channels * stored), (hi - lo) * channels);
                        let (offset, cols) = (j * self.panels.nr, self.panels.cols(j));
                        tile(k, a, rows, b, stored, c.as_ptr(), offset, cols, !fresh);
                    }
                }
            }
        }
    }

    /// The pixel of the result that a grid position of a phase is.
    fn target(&self, p: &Phase, at: Dims) -> usize {
        let [z, y, x] = [0, 1, 2].map(|d| at[d] * self.dstep[d] + p.offset[d]);
        (z * self.dst[1] + y) * self.dst[2] + x
    }

    /// Zeros for a phase without taps.
    unsafe fn clear(&self, p: &Phase, j: usize, dst: *mut f32) {
        let pixels = self.dst.iter().product::<usize>();
        for image in 0..self.n {
            for i in 0..p.grid.iter().product() {
                let at = [i / (p.grid[1] * p.grid[2]), i / p.grid[2] % p.grid[1], i % p.grid[2]];
                // SAFETY: a position of an existing image.
                unsafe {
                    let to = dst.add((image * pixels + self.target(p, at)) * self.dst_c + j * self.panels.nr);
                    zero(to, self.panels.cols(j));
                }
            }
        }
    }
}
