//! Convolutions as products of gathered pixel rows with packed weights: the forward direction, and each phase of a
//! data gradient.
//!
//! Both compute, for each position `i` of a grid, `dst[i · dstep + offset] = sum over taps of
//! src[i · step + tap] · w[tap]`, with zeros outside the source.

mod stream;

use super::lanes::{Isa, KC, LDA, Lanes, MAX_ROWS};
use super::pack::{Panels, Shared, copy, part, transpose, zero};
use super::{Block, Epilogue};
use crate::exec::cpu::pool::Pool;
use crate::graph::op::{ConvGeom, Layout};

/// Three spatial extents; lower ranks have ones in front.
pub(super) type Dims = [usize; 3];

/// A [`crate::graph::op::ConvGeom`] with three spatial axes.
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    pub n: usize,
    pub c: usize,
    pub o: usize,
    pub groups: usize,
    pub input: Dims,
    pub kernel: Dims,
    pub output: Dims,
    pub stride: Dims,
    pub pad: Dims,
    pub dilation: Dims,
}

impl Geometry {
    /// Lower ranks get axes of extent 1 in front.
    pub fn of(g: &ConvGeom) -> Geometry {
        assert!(g.input.len() <= 3, "at most three spatial axes");
        let spatial: usize = g.input.iter().product();
        assert!(g.layout == Layout::ChannelsLast || spatial == 1, "the layout pass made images channels last");
        let dims = |v: &[usize], fill: usize| -> Dims {
            let mut d = [fill; 3];
            d[3 - v.len()..].copy_from_slice(v);
            d
        };
        Geometry {
            n: g.n,
            c: g.c,
            o: g.o,
            groups: g.groups,
            input: dims(&g.input, 1),
            kernel: dims(&g.kernel, 1),
            output: dims(&g.output, 1),
            stride: dims(&g.stride, 1),
            pad: dims(&g.pad, 0),
            dilation: dims(&g.dilation, 1),
        }
    }

    /// Kernel positions.
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Channels of x and of y in a group.
    pub fn group(&self) -> (usize, usize) {
        (self.c / self.groups, self.o / self.groups)
    }
}

/// Most row panels that a block packs at once.
const BLOCK_PANELS: usize = 16;
/// Shortest run that is a k block by itself (with its padding left out).
const LONG_RUN: usize = 64;

/// Some of the k axis: several whole runs, or values `lo..hi` of one.
struct KBlock {
    run: usize,
    runs: usize,
    lo: usize,
    hi: usize,
}

/// The positions of the result with the same taps.
struct Phase {
    /// Of the result, in each direction.
    offset: Dims,
    /// Positions in each direction.
    grid: Dims,
    /// Source offsets of the first pixel of each run; a run is `pix` neighbours on a line.
    runs: Vec<[isize; 3]>,
    pix: usize,
    /// Kernel position of each tap, in k order.
    taps: Vec<usize>,
    blocks: Vec<KBlock>,
    /// Start of each run in memory, seen from its position, and the positions that see no padding.
    jumps: Vec<isize>,
    inner: [(isize, isize); 3],
    /// Where its packed weights start.
    start: usize,
}

/// A row panel: one position of several images, or neighbouring positions of one image.
#[derive(Clone, Copy)]
struct RowPanel {
    rows: usize,
    /// Grid position (one position), or first number of the flattened positions of the block.
    at: [usize; 2],
    started: bool,
    /// k range that was packed, relative to the k block.
    lo: usize,
    len: usize,
    to: [*mut f32; MAX_ROWS],
}

/// A planned gathering convolution.
pub(super) struct Gather {
    lanes: &'static Lanes,
    n: usize,
    groups: usize,
    src: Dims,
    /// Channels of a source pixel, and of one group of it.
    src_c: usize,
    src_g: usize,
    dst: Dims,
    dst_c: usize,
    dst_g: usize,
    step: Dims,
    dstep: Dims,
    /// The largest grid of a phase.
    grid: Dims,
    phases: Vec<Phase>,
    panels: Panels,
    /// Rows of a tile are images, not neighbours.
    by_image: bool,
    /// Parts of images, lines and columns of the grid that make the blocks.
    cuts: [usize; 3],
    /// Packed weights of one group.
    packed_group: usize,
    /// Strides of w (o, c/groups, taps) seen from (dst channel, src channel).
    forward: bool,
    taps: usize,
    /// Phase and place in its k order of each tap.
    tap_at: Vec<Option<(usize, usize)>>,
}

impl Gather {
    /// The forward convolution.
    pub fn forward(g: &Geometry, isa: Isa) -> Gather {
        let offsets = |d: usize| -> Vec<(usize, isize)> {
            (0..g.kernel[d]).map(|k| (k, (k * g.dilation[d]) as isize - g.pad[d] as isize)).collect()
        };
        let (cg, og) = g.group();
        let taps = [offsets(0), offsets(1), offsets(2)];
        let phase = Phase::new(g, cg, [0; 3], g.output, &taps);
        Gather::new(g, isa, true, g.input, (g.c, cg), g.output, (g.o, og), g.stride, [1; 3], vec![phase])
    }

    /// The gradient with respect to x.
    pub fn data_grad(g: &Geometry, isa: Isa) -> Gather {
        let (cg, og) = g.group();
        let mut phases = vec![];
        for z in 0..g.stride[0].min(g.input[0]) {
            for y in 0..g.stride[1].min(g.input[1]) {
                for x in 0..g.stride[2].min(g.input[2]) {
                    let at = [z, y, x];
                    let grid = [0, 1, 2].map(|d| (g.input[d] - at[d]).div_ceil(g.stride[d]));
                    let taps = [Self::grad_taps(g, 0, z), Self::grad_taps(g, 1, y), Self::grad_taps(g, 2, x)];
                    phases.push(Phase::new(g, og, at, grid, &taps));
                }
            }
        }
        Gather::new(g, isa, false, g.output, (g.o, og), g.input, (g.c, cg), [1; 3], g.stride, phases)
    }

    /// The gradient with respect to x where a pixel of x is a group of neighbours of a line: `g.input` and `g.c` count
    /// groups, and w is `[c, o, kernel…]`. `stride` is that of the two outer axes; on a line, group i reads `g.kernel`
    /// pixels of y from `i · step + first` on.
    pub fn data_grad_of_groups(g: &Geometry, step: usize, first: isize, isa: Isa) -> Gather {
        let stride = [g.stride[0], g.stride[1], 1];
        let line: Vec<_> = (0..g.kernel[2]).map(|k| (k, first + k as isize)).collect();
        let mut phases = vec![];
        for z in 0..stride[0].min(g.input[0]) {
            for y in 0..stride[1].min(g.input[1]) {
                let at = [z, y, 0];
                let grid = [0, 1, 2].map(|d| (g.input[d] - at[d]).div_ceil(stride[d]));
                let taps = [Self::grad_taps(g, 0, z), Self::grad_taps(g, 1, y), line.clone()];
                phases.push(Phase::new(g, g.o, at, grid, &taps));
            }
        }
        Gather::new(g, isa, true, g.output, (g.o, g.o), g.input, (g.c, g.c), [1, 1, step], stride, phases)
    }

    /// Taps of a data gradient along axis `d` in one of its phases: kernel position, source offset.
    fn grad_taps(g: &Geometry, d: usize, phase: usize) -> Vec<(usize, isize)> {
        let s = g.stride[d] as isize;
        let mut all: Vec<_> = (0..g.kernel[d])
            .filter_map(|k| {
                let v = (phase + g.pad[d]) as isize - (k * g.dilation[d]) as isize;
                (v.rem_euclid(s) == 0).then(|| (k, v.div_euclid(s)))
            })
            .collect();
        all.sort_by_key(|&(_, off)| off);
        all
    }

    fn new(
        g: &Geometry,
        isa: Isa,
        forward: bool,
        src: Dims,
        (src_c, src_g): (usize, usize),
        dst: Dims,
        (dst_c, dst_g): (usize, usize),
        step: Dims,
        dstep: Dims,
        mut phases: Vec<Phase>,
    ) -> Gather {
        let lanes = isa.lanes();
        let panels = Panels { n: dst_g, nr: lanes.cols(), width: lanes.width };
        let mut packed_group = 0;
        for p in &mut phases {
            p.start = packed_group;
            packed_group += p.taps.len() * src_g * panels.row();
        }
        let mut tap_at = vec![None; g.taps()];
        for (i, p) in phases.iter_mut().enumerate() {
            p.taps.iter().enumerate().for_each(|(at, &tap)| tap_at[tap] = Some((i, at)));
            p.reach(src, src_c);
        }
        let grid = [0, 1, 2].map(|d| dst[d].div_ceil(dstep[d]));
        let long = phases.iter().any(|p| p.pix * src_g >= LONG_RUN) || dst.iter().product::<usize>() < 8;
        let by_image = g.n >= 6 && long;
        let cuts = if by_image {
            // Positions of a block are panels: at most BLOCK_PANELS of them.
            let columns = grid[2].div_ceil(BLOCK_PANELS);
            let lines = if columns > 1 { 1 } else { (BLOCK_PANELS / grid[2].max(1)).max(1) };
            [g.n.div_ceil(lanes.rows), grid[1].div_ceil(lines), columns]
        } else {
            let most = lanes.rows * 8;
            let columns = grid[2].div_ceil(most);
            let lines = if columns > 1 { 1 } else { (most / grid[2].max(1)).max(1) };
            [g.n, grid[1].div_ceil(lines), columns]
        };
        Gather {
            lanes,
            n: g.n,
            groups: g.groups,
            src,
            src_c,
            src_g,
            dst,
            dst_c,
            dst_g,
            step,
            dstep,
            grid,
            phases,
            panels,
            by_image,
            cuts,
            packed_group,
            forward,
            taps: g.taps(),
            tap_at,
        }
    }

    fn thread_len(&self) -> usize {
        BLOCK_PANELS * self.lanes.rows * LDA
    }

    /// Values of scratch needed on a pool of `threads`.
    pub fn scratch_len(&self, threads: usize) -> usize {
        if self.streams() {
            return self.stream_len(threads);
        }
        self.groups * self.packed_group + threads * self.thread_len()
    }

    /// Number of tasks that [`Gather::run`] cuts the work into.
    pub fn tasks(&self) -> usize {
        if self.streams() {
            return self.panels.count();
        }
        let [images, lines, columns] = self.cuts;
        self.groups * images * self.grid[0] * lines * columns
    }

    /// Computes the result; the caller has checked the extents.
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
        if self.streams() {
            // SAFETY: as the caller vouches.
            return unsafe { self.stream(pool, src, w, dst, scratch, epilogue) };
        }
        let (packed, threads) = scratch.split_at_mut(self.groups * self.packed_group);
        let (dst, packed, threads) =
            (Shared(dst.as_mut_ptr()), Shared(packed.as_mut_ptr()), Shared(threads.as_mut_ptr()));
        pool.run_on(self.groups * self.panels.count(), &|task, thread| {
            let (g, j) = (task / self.panels.count(), task % self.panels.count());
            // SAFETY: w was checked; each task packs one column panel of one group.
            unsafe {
                let spare = threads.get().add(thread * self.thread_len());
                self.pack(w.as_ptr(), g, j, packed.get().add(g * self.packed_group), spare);
            }
        });
        let [images, lines, columns] = self.cuts;
        pool.run_on(self.tasks(), &|task, thread| {
            let (rest, x) = (task / columns, task % columns);
            let (rest, y) = (rest / lines, rest % lines);
            let (rest, z) = (rest / self.grid[0], rest % self.grid[0]);
            let (g, i) = (rest / images, rest % images);
            // SAFETY: extents were checked; each task has its block of the result and its thread's scratch.
            unsafe {
                let packed = packed.get().add(g * self.packed_group);
                let own = threads.get().add(thread * self.thread_len());
                self.block([g, i, z, y, x], src.as_ptr(), packed, dst.get(), own, (task, thread), epilogue);
            }
        });
    }

    /// Packs column panel `j` of group `g` for all phases; `spare` takes what no phase reads.
    unsafe fn pack(&self, w: *const f32, g: usize, j: usize, to: *mut f32, spare: *mut f32) {
        let (cols, stored, t) = (self.panels.cols(j), self.panels.stored(j), self.taps);
        let line = |tap: usize, channel: usize| {
            let Some((phase, at)) = self.tap_at[tap] else { return spare };
            let p = &self.phases[phase];
            let k = p.taps.len() * self.src_g;
            to.wrapping_add(p.start + j * self.panels.nr * k + (at * self.src_g + channel) * stored)
        };
        // SAFETY: the caller vouches for w; `to` has room for `packed_group` values.
        unsafe {
            if self.forward {
                // Each result channel is a row of (source channel, tap).
                let from = w.add((g * self.dst_g + j * self.panels.nr) * self.src_g * t);
                transpose(self.lanes, from, self.src_g * t, cols, self.src_g * t, stored, |i| line(i % t, i / t));
            } else {
                for o in 0..self.src_g {
                    let from = w.add(((g * self.src_g + o) * self.dst_g + j * self.panels.nr) * t);
                    transpose(self.lanes, from, t, cols, t, stored, |tap| line(tap, o));
                }
            }
        }
    }

    /// All phases of one block, then its epilogue.
    unsafe fn block(
        &self,
        [g, i, z, y, x]: [usize; 5],
        src: *const f32,
        packed: *const f32,
        dst: *mut f32,
        own: *mut f32,
        who: (usize, usize),
        epilogue: Option<&Epilogue>,
    ) {
        let images = part(self.n, self.cuts[0], i)..part(self.n, self.cuts[0], i + 1);
        let lines = part(self.grid[1], self.cuts[1], y)..part(self.grid[1], self.cuts[1], y + 1);
        let columns = part(self.grid[2], self.cuts[2], x)..part(self.grid[2], self.cuts[2], x + 1);
        // SAFETY: the caller vouches for all three tensors; positions stay inside the grid and `own` has room for
        // BLOCK_PANELS panels.
        unsafe {
            let src = src.add(g * self.src_g);
            for p in &self.phases {
                if z < p.grid[0] {
                    let lines = lines.start..lines.end.min(p.grid[1]);
                    let columns = columns.start..columns.end.min(p.grid[2]);
                    if !lines.is_empty() && !columns.is_empty() {
                        self.phase(p, g, z, &images, lines, columns, src, packed.add(p.start), dst, own);
                    }
                }
            }
            let Some(epilogue) = epilogue else { return };
            let [d, h, w] = self.dst;
            let rows = lines.start * self.dstep[1]..(lines.end * self.dstep[1]).min(h);
            let cols = columns.start * self.dstep[2]..(columns.end * self.dstep[2]).min(w);
            for image in images {
                for plane in z * self.dstep[0]..((z + 1) * self.dstep[0]).min(d) {
                    let line = |l| ((image * d + plane) * h + l) * w + cols.start;
                    let call = |first: usize, count: usize| {
                        let data = dst.add(first * self.dst_c + g * self.dst_g);
                        let at = [first, g * self.dst_g];
                        epilogue(&mut Block::new(at, count, self.dst_g, data, self.dst_c, who));
                    };
                    if cols.len() == w {
                        call(line(rows.start), rows.len() * w);
                    } else {
                        rows.clone().for_each(|l| call(line(l), cols.len()));
                    }
                }
            }
        }
    }

    /// One phase of one block.
    unsafe fn phase(
        &self,
        p: &Phase,
        g: usize,
        z: usize,
        images: &std::ops::Range<usize>,
        lines: std::ops::Range<usize>,
        columns: std::ops::Range<usize>,
        src: *const f32,
        packed: *const f32,
        dst: *mut f32,
        own: *mut f32,
    ) {
        let [d, h, w] = self.dst;
        let to = |image: usize, line: usize, column: usize| {
            let at = [z, line, column];
            let [z, y, x] = [0, 1, 2].map(|i| at[i] * self.dstep[i] + p.offset[i]);
            // SAFETY: a grid position of an existing image lies inside the result.
            unsafe { dst.add((((image * d + z) * h + y) * w + x) * self.dst_c + g * self.dst_g) }
        };
        let none = RowPanel { rows: 0, at: [0; 2], started: false, lo: 0, len: 0, to: [dst; MAX_ROWS] };
        let mut list = [none; BLOCK_PANELS];
        let positions = lines.len() * columns.len();
        let count = if self.by_image { positions } else { positions.div_ceil(self.lanes.rows) };
        let position = |i: usize| [lines.start + i / columns.len(), columns.start + i % columns.len()];
        for (i, panel) in list[..count].iter_mut().enumerate() {
            if self.by_image {
                panel.at = position(i);
                panel.rows = images.len();
                for r in 0..panel.rows {
                    panel.to[r] = to(images.start + r, panel.at[0], panel.at[1]);
                }
            } else {
                let first = part(positions, count, i);
                panel.at = [first, 0];
                panel.rows = part(positions, count, i + 1) - first;
                for r in 0..panel.rows {
                    let [l, c] = position(first + r);
                    panel.to[r] = to(images.start, l, c);
                }
            }
        }
        let list = &mut list[..count];
        let run_len = p.pix * self.src_g;
        // SAFETY: the caller vouches for the source and packed weights; see `block`.
        unsafe {
            for b in &p.blocks {
                for (i, panel) in list.iter_mut().enumerate() {
                    let a = own.add(i * self.lanes.rows * LDA);
                    (panel.lo, panel.len) = (0, b.runs * run_len);
                    if self.by_image && b.runs == 1 {
                        self.pack_trimmed(p, b, panel, z, images.start, src, a);
                        continue;
                    }
                    for r in 0..panel.rows {
                        let (image, [l, c]) = if self.by_image {
                            (images.start + r, panel.at)
                        } else {
                            (images.start, position(panel.at[0] + r))
                        };
                        self.pack_row(p, b, [z, l, c], image, src, a.add(r * LDA));
                    }
                    if b.runs == 1 {
                        panel.len = b.hi - b.lo;
                    }
                }
                let k0 = b.run * run_len + b.lo;
                for j in 0..self.panels.count() {
                    let stored = self.panels.stored(j);
                    let b = packed.add(j * self.panels.nr * p.taps.len() * self.src_g + k0 * stored);
                    for (i, panel) in list.iter().enumerate().filter(|(_, p)| p.len > 0) {
                        let a = own.add(i * self.lanes.rows * LDA);
                        let tile = self.lanes.tile(panel.rows, stored, false);
                        let (b, offset) = (b.add(panel.lo * stored), j * self.panels.nr);
                        let add = panel.started;
                        tile(panel.len, a, 0, b, stored, panel.to.as_ptr(), offset, self.panels.cols(j), add);
                    }
                }
                list.iter_mut().for_each(|panel| panel.started |= panel.len > 0);
            }
            // Positions that no tap reaches.
            for panel in list.iter().filter(|panel| !panel.started) {
                for to in &panel.to[..panel.rows] {
                    zero(*to, self.dst_g);
                }
            }
        }
    }

    /// Packs one position of several images, only the part of the run that lies inside the source.
    unsafe fn pack_trimmed(
        &self,
        p: &Phase,
        b: &KBlock,
        panel: &mut RowPanel,
        z: usize,
        image: usize,
        src: *const f32,
        a: *mut f32,
    ) {
        let Some((lo, hi, from)) = self.inside(p, b.run, [z, panel.at[0], panel.at[1]]) else {
            panel.len = 0;
            return;
        };
        let (lo, hi) = ((lo * self.src_g).max(b.lo), (hi * self.src_g).min(b.hi));
        panel.lo = lo.saturating_sub(b.lo);
        panel.len = hi.saturating_sub(lo);
        let image_len = self.src.iter().product::<usize>() * self.src_c;
        // SAFETY: `inside` keeps to the source. Runs of several pixels occur only without groups, so that `lo` counts
        // memory.
        unsafe {
            for r in 0..panel.rows {
                let from =
                    src.offset(((image + r) * image_len) as isize + from * self.src_c as isize + lo as isize);
                copy(from, a.add(r * LDA), panel.len);
            }
        }
    }

    /// Packs one row, with zeros for what lies outside the source.
    unsafe fn pack_row(&self, p: &Phase, b: &KBlock, at: Dims, image: usize, src: *const f32, a: *mut f32) {
        let run_len = p.pix * self.src_g;
        let image_len = self.src.iter().product::<usize>() * self.src_c;
        let pos: [isize; 3] = [0, 1, 2].map(|d| (at[d] * self.step[d]) as isize);
        if b.runs > 1 && pos.iter().zip(&p.inner).all(|(p, (lo, hi))| p >= lo && p < hi) {
            let [_, h, w] = self.src.map(|e| e as isize);
            let pixel = (pos[0] * h + pos[1]) * w + pos[2];
            // SAFETY: the position sees no padding.
            unsafe {
                let from = src.offset((image * image_len) as isize + pixel * self.src_c as isize);
                for (i, jump) in p.jumps[b.run..b.run + b.runs].iter().enumerate() {
                    copy(from.offset(*jump), a.add(i * run_len), run_len);
                }
            }
            return;
        }
        // SAFETY: `inside` keeps to the source.
        unsafe {
            for i in 0..b.runs {
                let a = a.add(i * run_len);
                let (b_lo, b_hi) = if b.runs == 1 { (b.lo, b.hi) } else { (0, run_len) };
                let Some((lo, hi, from)) = self.inside(p, b.run + i, at) else {
                    zero(a, b_hi - b_lo);
                    continue;
                };
                let lo = (lo * self.src_g).clamp(b_lo, b_hi);
                let hi = (hi * self.src_g).clamp(lo, b_hi);
                if lo > b_lo {
                    zero(a, lo - b_lo);
                }
                let from = src.offset((image * image_len) as isize + from * self.src_c as isize + lo as isize);
                copy(from, a.add(lo - b_lo), hi - lo);
                if hi < b_hi {
                    zero(a.add(hi - b_lo), b_hi - hi);
                }
            }
        }
    }

    /// Pixels `lo..hi` of a run that lie inside the source, seen from a grid position, and where the run starts
    /// (in pixels of the image, perhaps before its first).
    fn inside(&self, p: &Phase, run: usize, at: Dims) -> Option<(usize, usize, isize)> {
        let pos: [isize; 3] = [0, 1, 2].map(|d| (at[d] * self.step[d]) as isize + p.runs[run][d]);
        let [d, h, w] = self.src.map(|e| e as isize);
        if pos[0] < 0 || pos[0] >= d || pos[1] < 0 || pos[1] >= h {
            return None;
        }
        let lo = (-pos[2]).max(0);
        let hi = (w - pos[2]).min(p.pix as isize);
        (lo < hi).then(|| (lo as usize, hi as usize, (pos[0] * h + pos[1]) * w + pos[2]))
    }
}

impl Phase {
    /// `src_g`: source channels; `taps`: kernel position and source offset in each direction.
    fn new(g: &Geometry, src_g: usize, offset: Dims, grid: Dims, taps: &[Vec<(usize, isize)>; 3]) -> Phase {
        let adjacent = taps[2].windows(2).all(|t| t[1].1 == t[0].1 + 1);
        let pix = if adjacent && g.groups == 1 { taps[2].len().max(1) } else { 1 };
        let (mut runs, mut order) = (vec![], vec![]);
        for &(kz, z) in &taps[0] {
            for &(ky, y) in &taps[1] {
                for line in taps[2].chunks(pix) {
                    runs.push([z, y, line[0].1]);
                    order.extend(line.iter().map(|&(kx, _)| (kz * g.kernel[1] + ky) * g.kernel[2] + kx));
                }
            }
        }
        let len = pix * src_g;
        let mut blocks = vec![];
        if len >= LONG_RUN {
            let parts = len.div_ceil(KC);
            for run in 0..runs.len() {
                for i in 0..parts {
                    blocks.push(KBlock { run, runs: 1, lo: part(len, parts, i), hi: part(len, parts, i + 1) });
                }
            }
        } else {
            let most = (KC / len.max(1)).max(1);
            for run in (0..runs.len()).step_by(most) {
                blocks.push(KBlock { run, runs: most.min(runs.len() - run), lo: 0, hi: len });
            }
        }
        Phase { offset, grid, runs, pix, taps: order, blocks, jumps: vec![], inner: [(0, 0); 3], start: 0 }
    }

    /// Fills in what depends on the source's extents.
    fn reach(&mut self, src: Dims, src_c: usize) {
        let [d, h, w] = src.map(|e| e as isize);
        self.jumps = self.runs.iter().map(|r| ((r[0] * h + r[1]) * w + r[2]) * src_c as isize).collect();
        for (i, (extent, pix)) in [(d, 1), (h, 1), (w, self.pix as isize)].into_iter().enumerate() {
            let offsets = || self.runs.iter().map(|r| r[i]);
            self.inner[i] = (-offsets().min().unwrap_or(0), extent - pix + 1 - offsets().max().unwrap_or(0));
        }
    }
}
