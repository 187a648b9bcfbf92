//! Weight gradients: products over pixels.
//!
//! With enough input channels, each kernel position is a product of its own, `[o, pixels] · [pixels, c]`, over only
//! those pixels whose tap lies inside the image. With few of them, all positions together make one,
//! `[taps · c, pixels] · [pixels, o]`. Either is cut into parts by kernel position, channels and pixels; the parts
//! over pixels are added in order at the end.

use super::gather::Geometry;
use super::lanes::{Isa, KC, Lanes, MAX_ROWS};
use super::matmul::copy_row;
use super::pack::{Panels, Shared, copy, part, transpose, zero};
use super::{Block, Epilogue};
use crate::exec::cpu::pool::Pool;
use std::ops::Range;

/// A planned weight gradient.
pub(super) struct WeightGrad {
    g: Geometry,
    lanes: &'static Lanes,
    /// All kernel positions in one product, with output channels along the vectors.
    joint: bool,
    /// Columns of the product: input channels, or output channels if joint; of one group.
    panels: Panels,
    /// Rows of the product, and the panels they are cut into.
    rows: usize,
    row_panels: usize,
    col_blocks: usize,
    splits: usize,
    /// Pixels of one tile call (joint).
    chunk: usize,
    /// Leave out positions along the line whose tap lies in the padding.
    trim: bool,
}

impl WeightGrad {
    pub fn new(g: Geometry, isa: Isa) -> WeightGrad {
        let lanes = isa.lanes();
        let (cg, og) = g.group();
        let t = g.taps();
        let joint = cg < lanes.width || cg * t <= 64;
        let (rows, cols) = if joint { (t * cg, og) } else { (og, cg) };
        let panels = Panels { n: cols, nr: lanes.cols(), width: lanes.width };
        let positions: usize = g.output.iter().product();
        let flops = 2 * g.n * positions * t * cg * og * g.groups;
        let (mut col_blocks, splits);
        if joint {
            col_blocks = 1;
            splits = (flops / 1_000_000).min(32).min(g.n * positions / 128).max(1);
        } else {
            let count = panels.count();
            let products = t * g.groups;
            col_blocks = 32_usize.div_ceil(products).min(count / 2).max(count.div_ceil(8)).max(1);
            col_blocks = col_blocks.min(count.max(1));
            let tasks = products * col_blocks;
            let most = (flops / tasks.max(1) / 4_000_000).min(g.output[0] * g.output[1]);
            splits = 32_usize.div_ceil(tasks.max(1)).min(most).max(1);
        }
        WeightGrad {
            lanes,
            joint,
            panels,
            rows,
            row_panels: rows.div_ceil(lanes.rows),
            col_blocks,
            splits,
            chunk: (8192 / rows.max(1)).clamp(16, KC),
            trim: g.n * g.output[2] >= 64,
            g,
        }
    }

    fn pixels(&self) -> usize {
        self.g.n * self.g.output.iter().product::<usize>()
    }

    /// Elements of the result.
    fn result_len(&self) -> usize {
        let (cg, _) = self.g.group();
        self.g.o * cg * self.g.taps()
    }

    fn packed_len(&self) -> usize {
        if self.joint { 0 } else { self.pixels() * self.g.o }
    }

    fn thread_len(&self) -> usize {
        if self.joint {
            self.chunk * (self.rows + self.panels.nr)
        } else {
            KC * self.panels.nr * self.panels.count().div_ceil(self.col_blocks)
        }
    }

    /// Values of scratch needed on a pool of `threads`.
    pub fn scratch_len(&self, threads: usize) -> usize {
        self.packed_len() + self.splits * self.result_len() + threads * self.thread_len()
    }

    fn row(&self, panel: usize) -> Range<usize> {
        part(self.rows, self.row_panels, panel)..part(self.rows, self.row_panels, panel + 1)
    }

    /// Computes `w` from x and y's gradient.
    ///
    /// # Safety
    /// `x`, `y` and `w` have the elements that the geometry says.
    pub unsafe fn run(
        &self,
        pool: &Pool,
        x: &[f32],
        y: &[f32],
        w: &mut [f32],
        scratch: &mut [f32],
        epilogue: Option<&Epilogue>,
    ) {
        assert!(scratch.len() >= self.scratch_len(pool.threads()));
        let (packed, rest) = scratch.split_at_mut(self.packed_len());
        let (parts, threads) = rest.split_at_mut(self.splits * self.result_len());
        let (packed, parts) = (Shared(packed.as_mut_ptr()), Shared(parts.as_mut_ptr()));
        let (threads, w) = (Shared(threads.as_mut_ptr()), Shared(w.as_mut_ptr()));
        let own = |thread: usize| threads.get().wrapping_add(thread * self.thread_len());
        // SAFETY (all blocks): extents were checked; tasks write disjoint parts, threads have their own scratch.
        if self.joint {
            pool.run_on(self.g.groups * self.splits, &|task, thread| {
                // SAFETY: see above.
                unsafe {
                    let (group, split) = (task / self.splits, task % self.splits);
                    self.joint_part(group, split, x.as_ptr(), y.as_ptr(), parts.get(), own(thread));
                }
            });
        } else {
            let chunks = self.pixels().div_ceil(256);
            pool.run(chunks, &|i| {
                // SAFETY: see above.
                unsafe {
                    self.pack(
                        y.as_ptr(),
                        part(self.pixels(), chunks, i)..part(self.pixels(), chunks, i + 1),
                        packed.get(),
                    )
                }
            });
            let taps = self.g.taps();
            pool.run_on(self.g.groups * taps * self.col_blocks * self.splits, &|task, thread| {
                let (rest, block) = (task / self.col_blocks, task % self.col_blocks);
                let (rest, split) = (rest / self.splits, rest % self.splits);
                let at = [rest / taps, rest % taps, block, split];
                // SAFETY: see above.
                unsafe { self.tap_part(at, x.as_ptr(), packed.get(), parts.get(), own(thread)) }
            });
        }
        // The second stage: add the parts, and put the kernel positions innermost.
        let (cg, og) = self.g.group();
        let line = cg * self.g.taps();
        let step = (8192 / line.max(1)).clamp(1, 16);
        let blocks = og.div_ceil(step);
        pool.run_on(self.g.groups * blocks, &|task, thread| {
            let (group, block) = (task / blocks, task % blocks);
            let channels = block * step..((block + 1) * step).min(og);
            // SAFETY: see above.
            unsafe {
                self.finish(group, channels.clone(), parts.get(), w.get());
                if let Some(epilogue) = epilogue {
                    let first = group * og + channels.start;
                    let data = w.get().add(first * line);
                    epilogue(&mut Block::new([first, 0], channels.len(), line, data, line, thread));
                }
            }
        });
    }

    /// Packs pixels of y's gradient into k-major panels; k runs over positions, then images.
    unsafe fn pack(&self, y: *const f32, pixels: Range<usize>, packed: *mut f32) {
        let (n, total) = (self.g.n, self.pixels());
        let positions = total / n;
        // SAFETY: by the caller; panel `p` of a group starts at `total · (its first channel)`.
        unsafe {
            for k in pixels {
                let from = y.add(((k % n) * positions + k / n) * self.g.o);
                for group in 0..self.g.groups {
                    for p in 0..self.row_panels {
                        let rows = self.row(p);
                        let channel = group * self.rows + rows.start;
                        copy_row(from.add(channel), packed.add(channel * total + k * rows.len()), rows.len());
                    }
                }
            }
        }
    }

    /// One kernel position, a block of input channels, some lines of y.
    unsafe fn tap_part(
        &self,
        [group, tap, block, split]: [usize; 4],
        x: *const f32,
        packed: *const f32,
        parts: *mut f32,
        own: *mut f32,
    ) {
        let g = &self.g;
        let (cg, og) = g.group();
        let kernel = [tap / (g.kernel[1] * g.kernel[2]), tap / g.kernel[2] % g.kernel[1], tap % g.kernel[2]];
        let js = part(self.panels.count(), self.col_blocks, block)
            ..part(self.panels.count(), self.col_blocks, block + 1);
        // SAFETY: by the caller.
        unsafe {
            let to = parts.add(((split * g.groups + group) * og * g.taps() + tap) * cg);
            let mut started = false;
            let mut pending = 0..0;
            let mut flush = |range: Range<usize>| {
                let pieces = range.len().div_ceil(KC);
                for i in 0..pieces {
                    let ks =
                        range.start + part(range.len(), pieces, i)..range.start + part(range.len(), pieces, i + 1);
                    self.tap_chunk(group, kernel, &js, ks, x, packed, to, own, started);
                    started = true;
                }
            };
            let lines = g.output[0] * g.output[1];
            for line in part(lines, self.splits, split)..part(lines, self.splits, split + 1) {
                let inside = |d: usize, at: usize| self.source(d, at, kernel[d]).is_some();
                if !inside(0, line / g.output[1]) || !inside(1, line % g.output[1]) {
                    continue;
                }
                let (mut lo, mut hi) = (0, g.output[2]);
                if self.trim {
                    while lo < hi && !inside(2, lo) {
                        lo += 1;
                    }
                    while lo < hi && !inside(2, hi - 1) {
                        hi -= 1;
                    }
                }
                let range = (line * g.output[2] + lo) * g.n..(line * g.output[2] + hi) * g.n;
                if range.start == pending.end {
                    pending.end = range.end;
                } else {
                    flush(std::mem::replace(&mut pending, range));
                }
            }
            flush(pending);
            if !started {
                for o in 0..og {
                    let cols = js.start * self.panels.nr..(js.end * self.panels.nr).min(cg);
                    zero(to.add(o * g.taps() * cg + cols.start), cols.len());
                }
            }
        }
    }

    /// Where a tap reads, in one direction.
    fn source(&self, d: usize, at: usize, tap: usize) -> Option<usize> {
        let g = &self.g;
        (at * g.stride[d] + tap * g.dilation[d]).checked_sub(g.pad[d]).filter(|&p| p < g.input[d])
    }

    /// At most KC pixels of one kernel position.
    unsafe fn tap_chunk(
        &self,
        group: usize,
        kernel: [usize; 3],
        js: &Range<usize>,
        ks: Range<usize>,
        x: *const f32,
        packed: *const f32,
        to: *mut f32,
        own: *mut f32,
        add: bool,
    ) {
        let g = &self.g;
        let (cg, og) = g.group();
        let [d, h, w] = g.input;
        let (first, end) = (js.start * self.panels.nr, (js.end * self.panels.nr).min(cg));
        // SAFETY: by the caller; `own` has room for KC rows of the panels of a block.
        unsafe {
            let (mut position, mut image) = (ks.start / g.n, ks.start % g.n);
            let mut k = 0;
            while k < ks.len() {
                // All images of one position.
                let count = (g.n - image).min(ks.len() - k);
                let (line, column) = (position / g.output[2], position % g.output[2]);
                let z = self.source(0, line / g.output[1], kernel[0]).unwrap_or(0);
                let y = self.source(1, line % g.output[1], kernel[1]).unwrap_or(0);
                let column = self.source(2, column, kernel[2]);
                let pixel = (z * h + y) * w + column.unwrap_or(0);
                for i in 0..count {
                    let from = x.add(((image + i) * d * h * w + pixel) * g.c + group * cg);
                    for j in js.clone() {
                        let (cols, stored) = (self.panels.cols(j), self.panels.stored(j));
                        let to = own.add((j - js.start) * self.panels.nr * KC + (k + i) * stored);
                        if column.is_none() {
                            zero(to, stored);
                        } else {
                            copy(from.add(j * self.panels.nr), to, cols);
                            zero(to.add(cols), stored - cols);
                        }
                    }
                }
                k += count;
                position += 1;
                image = 0;
            }
            debug_assert!(first < end);
            for j in js.clone() {
                let stored = self.panels.stored(j);
                let b = own.add((j - js.start) * self.panels.nr * KC);
                for p in 0..self.row_panels {
                    let rows = self.row(p);
                    let mut c = [to; MAX_ROWS];
                    for (r, c) in rows.clone().zip(&mut c) {
                        *c = to.add(r * g.taps() * cg);
                    }
                    let a = packed.add((group * og + rows.start) * self.pixels() + ks.start * rows.len());
                    let tile = self.lanes.tile(rows.len(), stored, true);
                    let (offset, cols) = (j * self.panels.nr, self.panels.cols(j));
                    tile(ks.len(), a, rows.len(), b, stored, c.as_ptr(), offset, cols, add);
                }
            }
        }
    }

    /// All kernel positions over some pixels.
    unsafe fn joint_part(
        &self,
        group: usize,
        split: usize,
        x: *const f32,
        y: *const f32,
        parts: *mut f32,
        own: *mut f32,
    ) {
        let g = &self.g;
        let (_, og) = g.group();
        let pixels = part(self.pixels(), self.splits, split)..part(self.pixels(), self.splits, split + 1);
        let chunks = pixels.len().div_ceil(self.chunk).max(1);
        // SAFETY: by the caller; `own` has room for `chunk` rows of taps and one panel.
        unsafe {
            let to = parts.add((split * g.groups + group) * self.rows * og);
            let b_own = own.add(self.chunk * self.rows);
            for i in 0..chunks {
                let first = pixels.start + part(pixels.len(), chunks, i);
                let kc = pixels.start + part(pixels.len(), chunks, i + 1) - first;
                for k in 0..kc {
                    self.window(group, first + k, x, own.add(k * self.rows));
                }
                let y = y.add(first * g.o + group * og);
                for j in 0..self.panels.count() {
                    let (cols, stored) = (self.panels.cols(j), self.panels.stored(j));
                    let (mut b, mut ldb) = (y.add(j * self.panels.nr), g.o);
                    if cols < stored {
                        for k in 0..kc {
                            copy(b.add(k * g.o), b_own.add(k * stored), cols);
                            zero(b_own.add(k * stored + cols), stored - cols);
                        }
                        (b, ldb) = (b_own, stored);
                    }
                    for p in 0..self.row_panels {
                        let rows = self.row(p);
                        let mut c = [to; MAX_ROWS];
                        for (r, c) in rows.clone().zip(&mut c) {
                            *c = to.add(r * og);
                        }
                        let tile = self.lanes.tile(rows.len(), stored, true);
                        let (a, offset) = (own.add(rows.start), j * self.panels.nr);
                        tile(kc, a, self.rows, b, ldb, c.as_ptr(), offset, cols, i > 0);
                    }
                }
            }
        }
    }

    /// The window of x that pixel `pixel` of y sees, `[taps, c/groups]`.
    unsafe fn window(&self, group: usize, pixel: usize, x: *const f32, to: *mut f32) {
        let g = &self.g;
        let (cg, _) = g.group();
        let [d, h, w] = g.input;
        let (rest, column) = (pixel / g.output[2], pixel % g.output[2]);
        let (rest, line) = (rest / g.output[1], rest % g.output[1]);
        let (image, plane) = (rest / g.output[0], rest % g.output[0]);
        let run = g.kernel[2] * cg;
        let start = (column * g.stride[2]) as isize - g.pad[2] as isize;
        let whole = g.groups == 1 && g.dilation[2] == 1 && start >= 0 && start as usize + g.kernel[2] <= w;
        // SAFETY: positions are checked against the image.
        unsafe {
            for kz in 0..g.kernel[0] {
                for ky in 0..g.kernel[1] {
                    let to = to.add((kz * g.kernel[1] + ky) * run);
                    let (Some(z), Some(y)) = (self.source(0, plane, kz), self.source(1, line, ky)) else {
                        zero(to, run);
                        continue;
                    };
                    let from = x.add(((image * d + z) * h + y) * w * g.c + group * cg);
                    if whole {
                        copy(from.add(start as usize * g.c), to, run);
                        continue;
                    }
                    for kx in 0..g.kernel[2] {
                        let to = to.add(kx * cg);
                        match self.source(2, column, kx) {
                            Some(x) => copy(from.add(x * g.c), to, cg),
                            None => zero(to, cg),
                        }
                    }
                }
            }
        }
    }

    /// Adds the parts of some output channels of a group and writes them in w's order.
    unsafe fn finish(&self, group: usize, channels: Range<usize>, parts: *mut f32, w: *mut f32) {
        let (cg, og) = self.g.group();
        let (t, len) = (self.g.taps(), self.result_len());
        let line = cg * t;
        // SAFETY: by the caller; each channel belongs to one task.
        unsafe {
            if self.joint {
                let from = parts.add(group * line * og);
                let to = w.add(group * og * line);
                for r in 0..line {
                    let (tap, c) = (r / cg, r % cg);
                    let mut sum = [0f32; 16];
                    for s in 0..self.splits {
                        for (sum, o) in sum.iter_mut().zip(channels.clone()) {
                            *sum += *from.add(s * len + r * og + o);
                        }
                    }
                    for (sum, o) in sum.iter().zip(channels.clone()) {
                        *to.add(o * line + c * t + tap) = *sum;
                    }
                }
                return;
            }
            for o in channels {
                let at = (group * og + o) * line;
                let from = parts.add(at);
                for s in 1..self.splits {
                    let other = parts.add(s * len + at);
                    for i in 0..line {
                        *from.add(i) += *other.add(i);
                    }
                }
                let to = w.add(at);
                if t == 1 {
                    copy(from, to, line);
                } else {
                    transpose(from, cg, t, cg, t, |c| to.add(c * t));
                }
            }
        }
    }
}
