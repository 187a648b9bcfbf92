//! Runs launches.

use super::contract::{Block, Epilogue};
use super::kernel::{BlockKernel, Buf, Tables, ThreadCell};
use super::lanes::Lanes;
use super::pool::Pool;
use super::program::Action;
use crate::graph::Window;

/// What launches run with.
pub(super) struct Machine<'a> {
    pub bufs: &'a [*mut u32],
    pub lens: &'a [usize],
    pub lanes: &'a Lanes,
    pub pool: &'a Pool,
    pub threads: &'a [ThreadCell],
    pub shared: *mut u32,
    pub scratch: &'a mut [f32],
    pub launches: &'a mut u64,
}

impl Machine<'_> {
    /// # Safety
    /// The buffer is alive and nobody writes it.
    unsafe fn read<T>(&self, buf: Buf, from: usize) -> &'static [T] {
        let (p, n) = (self.bufs[buf as usize], self.lens[buf as usize]);
        // SAFETY: as the caller vouches; words and T have four bytes.
        unsafe { std::slice::from_raw_parts(p.add(from).cast(), n.saturating_sub(from)) }
    }

    /// # Safety
    /// The buffer is alive and nobody else touches it.
    unsafe fn write<T>(&self, buf: Buf) -> &'static mut [T] {
        let (p, n) = (self.bufs[buf as usize], self.lens[buf as usize]);
        // SAFETY: as the caller vouches; words and T have four bytes.
        unsafe { std::slice::from_raw_parts_mut(p.cast(), n) }
    }

    /// Runs a product whose blocks go through a kernel as they are finished.
    ///
    /// # Safety
    /// As [`Machine::run`].
    unsafe fn with_epilogue(
        &mut self,
        then: Option<&BlockKernel>,
        product: impl FnOnce(&mut Self, Option<&Epilogue>),
    ) {
        let Some(then) = then else { return product(self, None) };
        *self.launches += 1;
        let (lanes, threads, launch) = (self.lanes, self.threads, *self.launches);
        let tables = Tables { bufs: self.bufs, shared: self.shared };
        let hook = |block: &mut Block| {
            // SAFETY: as the caller vouches; blocks are disjoint, and a thread has one at a time.
            unsafe { then.run(lanes, tables, &mut *threads[block.thread].get(), block, launch) }
        };
        // SAFETY: as the caller vouches.
        unsafe {
            then.kernel.prepare(tables);
            product(self, Some(&hook));
            then.kernel.finish(lanes, tables);
        }
    }

    /// Runs a launch.
    ///
    /// # Safety
    /// The table holds the addresses of live buffers of the lengths given, which the plan keeps apart.
    pub unsafe fn run(&mut self, action: &Action) {
        // SAFETY: as the caller vouches: the plan gave what a launch reads and writes places that do not overlap,
        // except for a table that is scattered into in place.
        unsafe {
            match action {
                Action::Kernel(k) => {
                    let tables = Tables { bufs: self.bufs, shared: self.shared };
                    k.run(self.lanes, self.pool, tables, self.threads);
                }
                Action::MatMul { plan, a, b, to, then } => {
                    let (a, b, to) = (self.read(a.0, a.1), self.read(b.0, b.1), self.write(*to));
                    self.with_epilogue(then.as_ref(), |m, hook| plan.run(m.pool, a, b, to, m.scratch, hook));
                }
                Action::Conv { plan, a, b, to, then } => {
                    let (a, b, to) = (self.read(*a, 0), self.read(*b, 0), self.write(*to));
                    self.with_epilogue(then.as_ref(), |m, hook| plan.run(m.pool, a, b, to, m.scratch, hook));
                }
                Action::Zero { to } => self.write::<u32>(*to).fill(0),
                Action::Gather { table, rows, to, count, limit, width } => {
                    let (table, rows) = (self.read::<u32>(*table, 0), self.read::<u32>(*rows, 0));
                    let to = self.write::<u32>(*to);
                    for i in 0..*count {
                        let r = (rows[i] as usize).min(limit.saturating_sub(1));
                        to[i * width..(i + 1) * width].copy_from_slice(&table[r * width..(r + 1) * width]);
                    }
                }
                Action::Scatter { table, rows, values, to, count, limit, width } => {
                    let (rows, values) = (self.read::<u32>(*rows, 0), self.read::<u32>(*values, 0));
                    if self.bufs[*table as usize] != self.bufs[*to as usize] {
                        self.write::<u32>(*to).copy_from_slice(self.read(*table, 0));
                    }
                    let to = self.write::<u32>(*to);
                    for i in 0..*count {
                        let r = (rows[i] as usize).min(limit.saturating_sub(1));
                        to[r * width..(r + 1) * width].copy_from_slice(&values[i * width..(i + 1) * width]);
                    }
                }
                Action::Fold { from, to, lead, window } => {
                    let (from, to) = (self.read::<f32>(*from, 0), self.write::<f32>(*to));
                    let plane: usize = window.size.iter().product();
                    let windows = from.len().checked_div(*lead).unwrap_or(0);
                    let to_at = SendPtr(to.as_mut_ptr());
                    let tasks = (*lead).min(64);
                    self.pool.run(tasks, &|t| {
                        for l in t * lead / tasks..(t + 1) * lead / tasks {
                            // SAFETY: each plane is written by one task.
                            let to = std::slice::from_raw_parts_mut(to_at.get().add(l * plane), plane);
                            fold(window, &from[l * windows..(l + 1) * windows], to);
                        }
                    });
                }
            }
        }
    }
}

struct SendPtr(*mut f32);
// SAFETY: tasks write disjoint planes.
unsafe impl Sync for SendPtr {}
impl SendPtr {
    fn get(&self) -> *mut f32 {
        self.0
    }
}

/// One plane's windows summed.
fn fold(w: &Window, from: &[f32], to: &mut [f32]) {
    to.fill(0.0);
    let rank = w.size.len();
    let out = w.out();
    let mut o = [0usize; 8];
    let mut k = [0usize; 8];
    for &v in from {
        let mut at = Some(0);
        for i in 0..rank {
            let p = (o[i] * w.stride[i] + k[i] * w.dilation[i]).checked_sub(w.pad_lo[i]);
            at = match (at, p) {
                (Some(a), Some(p)) if p < w.size[i] => Some(a * w.size[i] + p),
                _ => None,
            };
        }
        if let Some(at) = at {
            to[at] += v;
        }
        // Kernel indices run fastest, then windows.
        let mut carry = true;
        for i in (0..rank).rev() {
            if carry {
                k[i] += 1;
                carry = k[i] == w.kernel[i];
                if carry {
                    k[i] = 0;
                }
            }
        }
        for i in (0..rank).rev() {
            if carry {
                o[i] += 1;
                carry = o[i] == out[i];
                if carry {
                    o[i] = 0;
                }
            }
        }
    }
}
