//! Runs a kernel's chunks.

use super::super::lanes::{Lanes, SHORT, noise};
use super::{Buf, Kernel, Step, Variant};
use crate::exec::cpu::pool::Pool;
use crate::fuse::Combine;
use crate::graph::philox;

/// What one thread needs to run chunks: scratch for tiles, pointers, indices. Allocated once for a program.
#[derive(Debug, Default)]
pub struct Thread {
    pub(super) words: Vec<u32>,
    pub(super) pointers: Vec<*mut u32>,
    pub(super) index: Vec<i64>,
    pub(super) at: Vec<i64>,
    /// Launch and variant that blocks are set up for.
    pub(super) ready: (u64, usize),
}

// SAFETY: the pointers are set anew for each chunk and not used outside of it.
unsafe impl Send for Thread {}

impl Thread {
    /// Makes room for a kernel.
    pub fn grow(&mut self, k: &Kernel) {
        let longer = |have: usize, want: usize| have.max(want);
        self.words.resize(longer(self.words.len(), k.thread_words + 32), 0);
        self.pointers.resize(longer(self.pointers.len(), k.pointers), std::ptr::null_mut());
        self.index.resize(longer(self.index.len(), k.rank), 0);
        self.at.resize(longer(self.at.len(), 2 * k.forms), 0);
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        4 * self.words.len() + 8 * (self.pointers.len() + self.index.len() + self.at.len())
    }
}

/// The table of tensors.
#[derive(Clone, Copy)]
pub struct Tables<'a> {
    /// First word of each tensor.
    pub bufs: &'a [*mut u32],
    /// Shared scratch.
    pub shared: *mut u32,
}

// SAFETY: kernels of one launch write disjoint words, and what a chunk writes no other chunk reads.
unsafe impl Sync for Tables<'_> {}
// SAFETY: as above.
unsafe impl Send for Tables<'_> {}

impl Tables<'_> {
    fn at(&self, buf: Buf, offset: i64) -> *mut u32 {
        // Out of range only for a tile that is not walked.
        self.bufs[buf as usize].wrapping_offset(offset as isize)
    }
}

impl Kernel {
    /// Runs all of it.
    ///
    /// # Safety
    /// The table's tensors are as large as the kernel was compiled for, nobody else touches them, the scratch is
    /// `shared_words` long, and `threads` (one for each thread of the pool) have grown for this kernel.
    pub unsafe fn run(&self, lanes: &Lanes, pool: &Pool, tables: Tables, threads: &[ThreadCell]) {
        // SAFETY: as the caller vouches.
        unsafe {
            self.prepare(tables);
            if self.chunks == 1 {
                self.chunk(lanes, tables, &mut *threads[0].get(), 0);
            } else {
                pool.run_on(self.chunks, &|c, t| self.chunk(lanes, tables, &mut *threads[t].get(), c));
            }
            self.finish(lanes, tables);
        }
    }

    /// Fills what chunks add to.
    ///
    /// # Safety
    /// As [`Kernel::run`].
    pub unsafe fn prepare(&self, tables: Tables) {
        let fill = |to: *mut u32, n: usize, w: u32| {
            // SAFETY: as the caller vouches.
            unsafe { std::slice::from_raw_parts_mut(to, n) }.fill(w);
        };
        for &(buf, n, w) in &self.prefill {
            fill(tables.at(buf, 0), n, w);
        }
        for r in &self.reductions {
            let start = neutral(r.combine, r.integer);
            match r.partial {
                None => fill(tables.at(r.to, 0), r.words, if r.combine == Combine::ArgMax { 0 } else { start }),
                Some(at) => fill(tables.shared.wrapping_add(at), r.words * self.chunks, start),
            }
            if r.combine == Combine::ArgMax {
                fill(tables.shared.wrapping_add(r.values), r.words, start);
            }
        }
    }

    /// Combines partial results in the order of chunks.
    ///
    /// # Safety
    /// As [`Kernel::run`].
    pub unsafe fn finish(&self, lanes: &Lanes, tables: Tables) {
        for r in &self.reductions {
            let Some(at) = r.partial else { continue };
            let (to, from) = (tables.at(r.to, 0), tables.shared.wrapping_add(at));
            // SAFETY: as the caller vouches; results and scratch do not overlap.
            unsafe {
                if self.chunks == 0 {
                    std::slice::from_raw_parts_mut(to, r.words).fill(neutral(r.combine, r.integer));
                    continue;
                }
                std::ptr::copy_nonoverlapping(from, to, r.words);
                for c in 1..self.chunks {
                    accumulate(lanes, r.combine, r.integer, to, from.add(c * r.words), r.words);
                }
            }
        }
    }

    /// Runs one chunk.
    ///
    /// # Safety
    /// As [`Kernel::run`]; no two calls with one `thread` at a time.
    pub unsafe fn chunk(&self, lanes: &Lanes, tables: Tables, thread: &mut Thread, chunk: usize) {
        let start = chunk * self.chunk;
        let v = match &self.last {
            Some(last) if start + self.chunk > self.extent => last,
            _ => &self.main,
        };
        if v.extents.contains(&0) {
            return;
        }
        let Thread { words, pointers, index, at, .. } = thread;
        place(v, words, pointers);
        let rank = self.rank;
        let index = &mut index[..rank];
        index.fill(0);
        index[self.split] = start as i64;
        let walk = Walk { kernel: self, v, lanes, tables, chunk };
        // SAFETY: as the caller vouches.
        unsafe {
            walk.steps(&v.setup, pointers, index, at, v.step.min(v.extents[v.tiled]));
            let first = index[v.tiled];
            'all: loop {
                let mut done = 0;
                while done < v.extents[v.tiled] {
                    let count = v.step.min(v.extents[v.tiled] - done);
                    index[v.tiled] = first + done as i64;
                    walk.steps(&v.body, pointers, index, at, count);
                    done += count;
                }
                index[v.tiled] = first;
                for l in (0..v.tiled).rev() {
                    let origin = if l == self.split { start as i64 } else { 0 };
                    index[l] += 1;
                    if index[l] - origin < v.extents[l] as i64 {
                        continue 'all;
                    }
                    index[l] = origin;
                }
                break;
            }
        }
    }
}

/// Points values at their homes in a thread's scratch.
pub(super) fn place(v: &Variant, words: &mut [u32], pointers: &mut [*mut u32]) {
    // Tiles start at a cache line.
    let skip = words.as_ptr().align_offset(64).min(16);
    let scratch = words.as_mut_ptr().wrapping_add(skip);
    for &(p, word) in &v.slots {
        let constant = usize::MAX - word;
        pointers[p as usize] = match v.constants.get(constant) {
            Some(c) => std::ptr::from_ref(c).cast_mut(),
            None => scratch.wrapping_add(word),
        };
    }
}

/// A [`Thread`] that the pool's thread of the same number uses alone.
#[derive(Debug, Default)]
pub struct ThreadCell(std::cell::UnsafeCell<Thread>);

// SAFETY: the pool never runs two tasks at once on one thread number.
unsafe impl Sync for ThreadCell {}

impl ThreadCell {
    /// Its content; see the type for who may use it.
    pub fn get(&self) -> *mut Thread {
        self.0.get()
    }

    /// Its content, while nothing runs.
    pub fn get_mut(&mut self) -> &mut Thread {
        self.0.get_mut()
    }
}

/// Why no kernel here has such a reduction.
const DEVICES: &str = "reductions that keep means are for devices";

/// What combining starts from.
fn neutral(combine: Combine, integer: bool) -> u32 {
    match (combine, integer) {
        (Combine::Sum, _) | (Combine::Max | Combine::ArgMax, true) => 0,
        (Combine::Max | Combine::ArgMax, false) => f32::NEG_INFINITY.to_bits(),
        (Combine::Deviation, _) => unreachable!("{DEVICES}"),
    }
}

/// # Safety
/// Two ranges of `n` words that do not overlap.
unsafe fn accumulate(lanes: &Lanes, combine: Combine, integer: bool, to: *mut u32, from: *const u32, n: usize) {
    // SAFETY: as the caller vouches.
    unsafe {
        match (combine, integer) {
            (Combine::Sum, false) => (lanes.add_to)(to.cast(), from.cast(), n),
            (Combine::Max, false) => (lanes.max_to)(to.cast(), from.cast(), n),
            (Combine::Sum, true) => (0..n).for_each(|i| *to.add(i) = (*to.add(i)).wrapping_add(*from.add(i))),
            (Combine::Max, true) => (0..n).for_each(|i| *to.add(i) = (*to.add(i)).max(*from.add(i))),
            (Combine::ArgMax, _) => unreachable!("argmax has no partial results"),
            (Combine::Deviation, _) => unreachable!("{DEVICES}"),
        }
    }
}

/// Longest row that is added up on the stack.
const STACK: usize = 512;

pub(super) struct Walk<'a> {
    pub kernel: &'a Kernel,
    pub v: &'a Variant,
    pub lanes: &'a Lanes,
    pub tables: Tables<'a>,
    pub chunk: usize,
}

/// # Safety
/// `run` words at `to`; `from + i * step` readable for each i below `run`.
#[inline(always)]
unsafe fn copy_run(to: *mut u32, from: *const u32, step: i64, run: usize) {
    // SAFETY: as the caller vouches.
    unsafe {
        match step {
            1 if run >= 32 => std::ptr::copy_nonoverlapping(from, to, run),
            0 => std::slice::from_raw_parts_mut(to, run).fill(*from),
            _ => (0..run).for_each(|i| *to.add(i) = *from.offset(i as isize * step as isize)),
        }
    }
}

impl Walk<'_> {
    /// # Safety
    /// As [`Kernel::run`].
    pub unsafe fn steps(
        &self,
        steps: &[Step],
        pointers: &mut [*mut u32],
        index: &[i64],
        at: &mut [i64],
        count: usize,
    ) {
        let n = count * self.v.inner;
        for step in steps {
            // SAFETY: as the caller vouches; forms stay inside their tensors wherever guards hold.
            unsafe {
                match step {
                    Step::Point { to, buf, at: form } => {
                        let offset = form.offset + form.coef.iter().zip(index).map(|(c, i)| c * i).sum::<i64>();
                        pointers[*to as usize] = self.tables.at(*buf, offset);
                    }
                    Step::Lanes(insts) => (self.lanes.exec)(insts, pointers, n),
                    Step::Fill { to, buf, nest } if nest.forms.len() == 1 => {
                        let to = pointers[*to as usize];
                        let steps = [nest.row_step(0) as isize, nest.steps[0] as isize];
                        nest.blocks(count, index, at, |e, rows, run, at| {
                            let (to, from) = (to.add(e), self.tables.at(*buf, at[0]));
                            if run <= SHORT && rows > 1 {
                                (self.lanes.gather)(to, from, steps, rows, run);
                                return;
                            }
                            for i in 0..rows {
                                copy_run(to.add(i * run), from.offset(i as isize * steps[0]), nest.steps[0], run);
                            }
                        });
                    }
                    Step::Fill { to, buf, nest } => {
                        let to = pointers[*to as usize];
                        let step = nest.steps[0];
                        nest.walk(count, index, at, |e, run, at| {
                            let to = to.add(e);
                            let (lo, hi) = nest.inside(1, run, at);
                            std::slice::from_raw_parts_mut(to, lo).fill(0);
                            std::slice::from_raw_parts_mut(to.add(hi), run - hi).fill(0);
                            if hi > lo {
                                let from = self.tables.at(*buf, at[0] + lo as i64 * step);
                                copy_run(to.add(lo), from, step, hi - lo);
                            }
                        });
                    }
                    Step::Iota { to, nest } => {
                        let to = pointers[*to as usize];
                        let step = nest.steps[0];
                        nest.walk(count, index, at, |e, run, at| {
                            for i in 0..run {
                                *to.add(e + i) = (at[0] + i as i64 * step) as u32;
                            }
                        });
                    }
                    Step::Noise { to, args, stream, dist, nest } => {
                        let [k0, k1, c] = args.map(|a| *pointers[a as usize]);
                        let key = philox::stream_key([k0, k1], *stream);
                        let to = pointers[*to as usize];
                        nest.walk(count, index, at, |e, run, at| {
                            if nest.steps[0] == 0 && nest.steps[1] == 1 {
                                (self.lanes.noise)(*dist, key, c, at[0] as u32, at[1] as usize, to.add(e), run);
                                return;
                            }
                            for i in 0..run {
                                let s = at[0] + i as i64 * nest.steps[0];
                                let k = at[1] + i as i64 * nest.steps[1];
                                *to.add(e + i) = noise::element::<false>(*dist, key, c, s as u32, k as usize);
                            }
                        });
                    }
                    Step::Merge { to, args, uniform, nest } => {
                        let to = pointers[*to as usize];
                        let from = args.map(|a| pointers[a as usize].cast_const());
                        nest.walk(count, index, at, |e, run, at| {
                            let (lo, hi) = nest.inside(0, run, at);
                            let put = |k: usize, lo: usize, hi: usize| {
                                let step = i64::from(!uniform[k]);
                                let from = from[k].add(if uniform[k] { 0 } else { e + lo });
                                copy_run(to.add(e + lo), from, step, hi - lo);
                            };
                            put(1, 0, lo);
                            put(0, lo, hi);
                            put(1, hi, run);
                        });
                    }
                    Step::Store { from, uniform, buf, nest } => {
                        let from = pointers[*from as usize].cast_const();
                        let steps = [nest.row_step(0) as isize, nest.steps[0] as isize];
                        nest.blocks(count, index, at, |e, rows, run, at| {
                            let to = self.tables.at(*buf, at[0]);
                            if !uniform && run <= SHORT && rows > 1 {
                                (self.lanes.scatter)(to, steps, from.add(e), rows, run);
                                return;
                            }
                            for i in 0..rows {
                                let to = to.offset(i as isize * steps[0]);
                                let from = from.add(if *uniform { 0 } else { e + i * run });
                                if steps[1] == 1 {
                                    copy_run(to, from, i64::from(!uniform), run);
                                } else {
                                    for k in 0..run {
                                        *to.offset(k as isize * steps[1]) = *from.add(if *uniform { 0 } else { k });
                                    }
                                }
                            }
                        });
                    }
                    Step::Reduce { from, reduction, nest, .. } => {
                        self.reduce(*reduction, pointers[*from as usize], nest, index, at, count);
                    }
                }
            }
        }
    }

    /// # Safety
    /// As [`Kernel::run`].
    unsafe fn reduce(
        &self,
        reduction: usize,
        from: *const u32,
        nest: &super::Nest,
        index: &[i64],
        at: &mut [i64],
        count: usize,
    ) {
        let r = &self.kernel.reductions[reduction];
        let base = match r.partial {
            Some(p) => self.tables.shared.wrapping_add(p + self.chunk * r.words),
            None => self.tables.at(r.to, 0),
        };
        let step = nest.steps[0];
        // SAFETY: as the caller vouches.
        unsafe {
            if r.combine == Combine::ArgMax {
                let values = self.tables.shared.wrapping_add(r.values);
                nest.walk(count, index, at, |e, run, at| {
                    for i in 0..run {
                        let (o, k) = (at[0] + i as i64 * step, at[1] + i as i64 * nest.steps[1]);
                        let (x, best) = (*from.add(e + i), values.offset(o as isize));
                        let better = if r.integer {
                            x > *best
                        } else {
                            let (x, b) = (f32::from_bits(x), f32::from_bits(*best));
                            x > b || (x.is_nan() && !b.is_nan())
                        };
                        if better {
                            *best = x;
                            *base.offset(o as isize) = k as u32;
                        }
                    }
                });
                return;
            }
            if let Some((run, rows, offset)) = nest.stacked(count, index)
                && r.combine == Combine::Sum
                && !r.integer
                && run <= STACK
            {
                // Rows of a tile are added up by themselves first: two levels lose less than one long sum.
                let from = from.cast::<f32>();
                let to = base.offset(offset as isize).cast::<f32>();
                if run <= SHORT {
                    (self.lanes.stack)(to, from, rows, run);
                    return;
                }
                let mut sums = [0.0f32; STACK];
                let sums = &mut sums[..run];
                for i in 0..rows {
                    (self.lanes.add_to)(sums.as_mut_ptr(), from.add(i * run), run);
                }
                (self.lanes.add_to)(to, sums.as_ptr(), run);
                return;
            }
            if step == 0 && r.combine == Combine::Sum && !r.integer {
                let row_step = nest.row_step(0) as isize;
                nest.blocks(count, index, at, |e, rows, run, at| {
                    let to = base.offset(at[0] as isize).cast::<f32>();
                    let from = from.add(e).cast::<f32>();
                    if run <= SHORT {
                        (self.lanes.sum_rows)(to, row_step, from, rows, run);
                        return;
                    }
                    for i in 0..rows {
                        *to.offset(i as isize * row_step) += (self.lanes.sum)(from.add(i * run), run);
                    }
                });
                return;
            }
            nest.walk(count, index, at, |e, run, at| {
                let (to, from) = (base.offset(at[0] as isize), from.add(e));
                match (step, r.integer) {
                    (0, false) if run > 1 => {
                        // Sums were done above.
                        let to = to.cast::<f32>();
                        *to = super::super::lanes::math::max(*to, (self.lanes.max)(from.cast(), run));
                    }
                    (1, _) if run > 4 => accumulate(self.lanes, r.combine, r.integer, to, from, run),
                    _ => {
                        for i in 0..run {
                            let to = to.offset(i as isize * step as isize);
                            accumulate_one(r.combine, r.integer, to, *from.add(i));
                        }
                    }
                }
            });
        }
    }
}

/// # Safety
/// `to` is valid.
#[inline(always)]
unsafe fn accumulate_one(combine: Combine, integer: bool, to: *mut u32, x: u32) {
    // SAFETY: as the caller vouches.
    unsafe {
        let (a, b) = (f32::from_bits(*to), f32::from_bits(x));
        *to = match (combine, integer) {
            (Combine::Sum, false) => (a + b).to_bits(),
            (Combine::Sum, true) => (*to).wrapping_add(x),
            (Combine::Max | Combine::ArgMax, false) => super::super::lanes::math::max(a, b).to_bits(),
            (Combine::Max | Combine::ArgMax, true) => (*to).max(x),
            (Combine::Deviation, _) => unreachable!("{DEVICES}"),
        };
    }
}
