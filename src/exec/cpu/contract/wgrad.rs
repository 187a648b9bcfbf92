//! Weight gradients: products over pixels.
//!
//! With enough input channels, each kernel position is a product of its own, `[o, pixels] · [pixels, c]`, over only
//! those pixels whose tap lies inside the image. With few of them, all positions together make one,
//! `[taps · c, pixels] · [pixels, o]`. Either is cut into parts by kernel position, channels and pixels; the parts
//! over pixels are added in order at the end.

use super::gather::Geometry;
use super::lanes::{Isa, Lanes, MAX_ROWS};
use super::matmul::copy_row;
use super::pack::{Panels, Shared, copy, part, transpose, zero};
use super::{Block, Epilogue};
use crate::exec::cpu::pool::Pool;
use std::ops::Range;

/// Most pixels of one tile call: both panels are k-major and stream well from the second cache.
const KC: usize = 512;
/// Weights of a group whose sums fit the second cache.
const SMALL: usize = 160 << 10;

/// Most pieces of a group.
const GROUP: usize = 64;

/// Pixels on one line of y that see the same line of x: neighbouring positions of some images.
#[derive(Clone, Copy)]
struct Piece {
    /// Place of the first one in the packed gradient.
    k: usize,
    positions: [usize; 2],
    images: [usize; 2],
    /// The line of x in the first image.
    x: *const f32,
}

impl Piece {
    fn len(&self) -> usize {
        (self.positions[1] - self.positions[0]) * (self.images[1] - self.images[0])
    }
}

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
    /// Parts of the kernel's lines.
    line_blocks: usize,
    splits: usize,
    /// Pixels of one tile call (joint).
    chunk: usize,
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
        let kernel_lines = g.kernel[0] * g.kernel[1];
        let mut line_blocks = kernel_lines;
        let (mut col_blocks, splits);
        if joint {
            col_blocks = 1;
            splits = (flops / 1_000_000).min(32).min(g.n * positions / 128).max(1);
        } else {
            let count = panels.count();
            col_blocks = count.div_ceil(4).max(1);
            if t * cg * og <= SMALL {
                // The sums of all kernel positions stay near while the pixels stream by once.
                line_blocks = 1;
            }
            let target = if line_blocks == 1 { 8 } else { 16 };
            let products = line_blocks * g.groups;
            col_blocks = 32_usize.div_ceil(products).min(count / 4).max(col_blocks);
            let tasks = (products * col_blocks).max(1);
            let most = (flops / tasks / 4_000_000).min(positions * g.n / KC);
            splits = usize::div_ceil(target, tasks).min(most).max(1);
        }
        WeightGrad {
            lanes,
            joint,
            panels,
            rows,
            row_panels: rows.div_ceil(lanes.rows),
            col_blocks,
            line_blocks,
            splits,
            chunk: (8192 / rows.max(1)).clamp(16, 256),
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
        if self.joint { self.chunk * (self.rows + self.panels.nr) } else { self.group_len() * self.panels.nr }
    }

    /// Values of scratch needed on a pool of `threads`.
    pub fn scratch_len(&self, threads: usize) -> usize {
        self.packed_len() + self.splits * self.result_len() + threads * self.thread_len()
    }

    /// Output channels whose parts one task of the second stage adds.
    fn sum_step(&self) -> usize {
        let line = self.g.group().0 * self.g.taps();
        (8192 / line.max(1)).clamp(1, 16)
    }

    /// Number of tasks of the second stage.
    pub fn tasks(&self) -> usize {
        self.g.groups * self.g.group().1.div_ceil(self.sum_step())
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
            let lines = self.line_blocks;
            pool.run_on(self.g.groups * lines * self.col_blocks * self.splits, &|task, thread| {
                let (rest, block) = (task / self.col_blocks, task % self.col_blocks);
                let (rest, split) = (rest / self.splits, rest % self.splits);
                let at = [rest / lines, rest % lines, block, split];
                // SAFETY: see above.
                unsafe { self.line_part(at, x.as_ptr(), packed.get(), parts.get(), own(thread)) }
            });
        }
        // The second stage: add the parts, and put the kernel positions innermost.
        let (cg, og) = self.g.group();
        let line = cg * self.g.taps();
        let step = self.sum_step();
        let blocks = og.div_ceil(step);
        pool.run_on(self.tasks(), &|task, thread| {
            let (group, block) = (task / blocks, task % blocks);
            let channels = block * step..((block + 1) * step).min(og);
            // SAFETY: see above.
            unsafe {
                self.finish(group, channels.clone(), parts.get(), w.get());
                if let Some(epilogue) = epilogue {
                    let first = group * og + channels.start;
                    let data = w.get().add(first * line);
                    epilogue(&mut Block::new([first, 0], channels.len(), line, data, line, (task, thread)));
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

    /// One line of the kernel, a block of input channels, some lines of y.
    unsafe fn line_part(
        &self,
        [group, line_block, block, split]: [usize; 4],
        x: *const f32,
        packed: *const f32,
        parts: *mut f32,
        own: *mut f32,
    ) {
        let g = &self.g;
        let (cg, og) = g.group();
        let all = g.kernel[0] * g.kernel[1];
        let kernel_lines = part(all, self.line_blocks, line_block)..part(all, self.line_blocks, line_block + 1);
        let js = part(self.panels.count(), self.col_blocks, block)
            ..part(self.panels.count(), self.col_blocks, block + 1);
        let channels = js.start * self.panels.nr..(js.end * self.panels.nr).min(cg);
        // SAFETY: by the caller.
        unsafe {
            // A part is [taps, o, c]: rows of a tile lie close together, whatever the number of taps.
            let to = parts.add((split * g.groups + group) * g.taps() * og * cg);
            // Pixels of a piece: neighbouring positions of all images, or some images of one position.
            let (columns, images) =
                if g.n < KC { (g.output[2].div_ceil(KC / g.n), 1) } else { (g.output[2], g.n.div_ceil(KC)) };
            let lines = g.output[0] * g.output[1];
            let pieces = lines * columns * images;
            let pieces = part(pieces, self.splits, split)..part(pieces, self.splits, split + 1);
            // Sums that are far are visited once for several pieces.
            let most = (self.group_len() / self.piece_len()).clamp(1, GROUP);
            for first in pieces.clone().step_by(most) {
                let group_pieces = first..(first + most).min(pieces.end);
                for tap in kernel_lines.start * g.kernel[2]..kernel_lines.end * g.kernel[2] {
                    let (kernel_line, kx) = (tap / g.kernel[2], tap % g.kernel[2]);
                    let mut list = [Piece { k: 0, positions: [0; 2], images: [0; 2], x }; GROUP];
                    let mut count = 0;
                    for piece in group_pieces.clone() {
                        let (line, piece) = (piece / (columns * images), piece % (columns * images));
                        let (i, j) = (piece / images, piece % images);
                        let z = self.source(0, line / g.output[1], kernel_line / g.kernel[1]);
                        let y = self.source(1, line % g.output[1], kernel_line % g.kernel[1]);
                        let (Some(z), Some(y)) = (z, y) else { continue };
                        // Only positions whose tap lies inside the image.
                        let mut inner = part(g.output[2], columns, i)..part(g.output[2], columns, i + 1);
                        while !inner.is_empty() && self.source(2, inner.start, kx).is_none() {
                            inner.start += 1;
                        }
                        while !inner.is_empty() && self.source(2, inner.end - 1, kx).is_none() {
                            inner.end -= 1;
                        }
                        if !inner.is_empty() {
                            let images = [part(g.n, images, j), part(g.n, images, j + 1)];
                            list[count] = Piece {
                                k: (line * g.output[2] + inner.start) * g.n + images[0],
                                positions: [inner.start, inner.end],
                                images,
                                x: x.add((z * g.input[1] + y) * g.input[2] * g.c + group * cg),
                            };
                            count += 1;
                        }
                    }
                    let to = to.add(tap * og * cg);
                    let fresh = first == pieces.start;
                    if fresh && count == 0 {
                        (0..og).for_each(|o| zero(to.add(o * cg + channels.start), channels.len()));
                    }
                    self.pieces(group, &js, kx, &list[..count], packed, to, own, fresh);
                }
            }
            if pieces.is_empty() {
                for i in kernel_lines.start * g.kernel[2] * og..kernel_lines.end * g.kernel[2] * og {
                    zero(to.add(i * cg + channels.start), channels.len());
                }
            }
        }
    }

    /// Most pixels of a piece.
    fn piece_len(&self) -> usize {
        let g = &self.g;
        if g.n < KC { g.output[2].div_ceil(g.output[2].div_ceil(KC / g.n)) * g.n } else { KC }
    }

    /// Most pixels that are packed together.
    fn group_len(&self) -> usize {
        if self.line_blocks == 1 { KC } else { 2 * KC }
    }

    /// Where a tap reads, in one direction.
    fn source(&self, d: usize, at: usize, tap: usize) -> Option<usize> {
        let g = &self.g;
        (at * g.stride[d] + tap * g.dilation[d]).checked_sub(g.pad[d]).filter(|&p| p < g.input[d])
    }

    /// Some pieces of one kernel position.
    unsafe fn pieces(
        &self,
        group: usize,
        js: &Range<usize>,
        kx: usize,
        list: &[Piece],
        packed: *const f32,
        to: *mut f32,
        own: *mut f32,
        fresh: bool,
    ) {
        let g = &self.g;
        let (cg, og) = g.group();
        let image_len = g.input.iter().product::<usize>() * g.c;
        // SAFETY: by the caller; `own` has room for the pixels of all pieces in one panel.
        unsafe {
            for j in js.clone() {
                let (cols, stored) = (self.panels.cols(j), self.panels.stored(j));
                let mut row = own;
                for piece in list {
                    let images = piece.images[1] - piece.images[0];
                    for position in piece.positions[0]..piece.positions[1] {
                        let Some(column) = self.source(2, position, kx) else { continue };
                        let from = piece.x.add(piece.images[0] * image_len + column * g.c + j * self.panels.nr);
                        if cols == stored {
                            (self.lanes.copy_rows)(images, from, image_len, row, stored / self.panels.width);
                        } else {
                            for i in 0..images {
                                copy(from.add(i * image_len), row.add(i * stored), cols);
                                zero(row.add(i * stored + cols), stored - cols);
                            }
                        }
                        row = row.add(images * stored);
                    }
                }
                for p in 0..self.row_panels {
                    let rows = self.row(p);
                    let mut c = [to; MAX_ROWS];
                    for (r, c) in rows.clone().zip(&mut c) {
                        *c = to.add(r * cg);
                    }
                    let a = packed.add((group * og + rows.start) * self.pixels());
                    let tile = self.lanes.tile(rows.len(), stored, true);
                    let mut b = own.cast_const();
                    for (i, piece) in list.iter().enumerate() {
                        let k = piece.len();
                        let (a, add) = (a.add(piece.k * rows.len()), !fresh || i > 0);
                        tile(k, a, rows.len(), b, stored, c.as_ptr(), j * self.panels.nr, cols, add);
                        b = b.add(k * stored);
                    }
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
            let from = parts.add(group * line * og);
            for o in channels {
                for tap in 0..t {
                    let at = (tap * og + o) * cg;
                    for s in 1..self.splits {
                        let other = from.add(s * len + at);
                        for c in 0..cg {
                            *from.add(at + c) += *other.add(c);
                        }
                    }
                }
                let to = w.add((group * og + o) * line);
                if t == 1 {
                    copy(from.add(o * cg), to, cg);
                } else {
                    transpose(self.lanes, from.add(o * cg), og * cg, t, cg, t, |c| to.add(c * t));
                }
            }
        }
    }
}
