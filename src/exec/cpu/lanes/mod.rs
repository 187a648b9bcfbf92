//! Lane code: what loop bodies are executed with. Each operation is a vectorised loop over a tile that stays in L1,
//! compiled once for each instruction set and chosen when a program starts.

pub mod math;
pub mod noise;
mod ops;
mod rows;

pub use ops::{LaneInst, LaneOp};
pub use rows::SHORT;

use super::contract::Isa;
use crate::graph::Dist;

/// Vectorised loops of one instruction set.
///
/// All functions are unsafe because they take pointers; see `ops::exec` for what they ask.
#[derive(Clone, Copy)]
pub struct Lanes {
    /// Runs instructions over `n` elements; operands are indices into the table of pointers.
    pub exec: unsafe fn(&[LaneInst], &[*mut u32], usize),
    /// Sum of `n` values in a fixed order.
    pub sum: unsafe fn(*const f32, usize) -> f32,
    /// Maximum of `n` values; NaN wins.
    pub max: unsafe fn(*const f32, usize) -> f32,
    /// `to[i] += from[i]`
    pub add_to: unsafe fn(*mut f32, *const f32, usize),
    /// `to[i] = max(to[i], from[i])`
    pub max_to: unsafe fn(*mut f32, *const f32, usize),
    /// Elements `e .. e + n` of a sample: `(dist, key, counter, sample, e, to, n)`.
    pub noise: unsafe fn(Dist, [u32; 2], u32, u32, usize, *mut u32, usize),
    /// Many short rows from anywhere to one tile: `(to, from, [row step, step], rows, run)`; see `rows::gather`.
    pub gather: unsafe fn(*mut u32, *const u32, [isize; 2], usize, usize),
    /// The reverse: `(to, [row step, step], from, rows, run)`; see `rows::scatter`.
    pub scatter: unsafe fn(*mut u32, [isize; 2], *const u32, usize, usize),
    /// Adds the sum of each short row to a value of its own: `(to, row step, from, rows, run)`; see `rows::sum_rows`.
    pub sum_rows: unsafe fn(*mut f32, isize, *const f32, usize, usize),
    /// Adds short rows to one row: `(to, from, rows, run)`; see `rows::stack`.
    pub stack: unsafe fn(*mut f32, *const f32, usize, usize),
}

#[inline(always)]
unsafe fn sum_loop(x: *const f32, n: usize) -> f32 {
    const L: usize = 64;
    let mut acc = [0.0f32; L];
    // SAFETY: the caller vouches for `n` values.
    let x = unsafe { std::slice::from_raw_parts(x, n) };
    let blocks = x.chunks_exact(L);
    let rest = blocks.remainder();
    for b in blocks {
        for k in 0..L {
            acc[k] += b[k];
        }
    }
    let mut tail = 0.0;
    for &v in rest {
        tail += v;
    }
    let mut width = L;
    while width > 1 {
        width /= 2;
        for k in 0..width {
            acc[k] += acc[k + width];
        }
    }
    acc[0] + tail
}

#[inline(always)]
unsafe fn max_loop(x: *const f32, n: usize) -> f32 {
    const L: usize = 16;
    let mut acc = [f32::NEG_INFINITY; L];
    // SAFETY: the caller vouches for `n` values.
    let x = unsafe { std::slice::from_raw_parts(x, n) };
    let blocks = x.chunks_exact(L);
    let rest = blocks.remainder();
    for b in blocks {
        for k in 0..L {
            acc[k] = math::max(acc[k], b[k]);
        }
    }
    let mut m = f32::NEG_INFINITY;
    for v in acc.iter().chain(rest) {
        m = math::max(m, *v);
    }
    m
}

#[inline(always)]
unsafe fn add_loop(to: *mut f32, from: *const f32, n: usize) {
    // SAFETY: the caller vouches for two ranges of `n` values that do not overlap.
    let (to, from) = unsafe { (std::slice::from_raw_parts_mut(to, n), std::slice::from_raw_parts(from, n)) };
    for (a, b) in to.iter_mut().zip(from) {
        *a += b;
    }
}

#[inline(always)]
unsafe fn max_to_loop(to: *mut f32, from: *const f32, n: usize) {
    // SAFETY: the caller vouches for two ranges of `n` values that do not overlap.
    let (to, from) = unsafe { (std::slice::from_raw_parts_mut(to, n), std::slice::from_raw_parts(from, n)) };
    for (a, b) in to.iter_mut().zip(from) {
        *a = math::max(*a, *b);
    }
}

macro_rules! lanes {
    ($name:ident, $fma:literal $(, $feature:literal)?) => {
        mod $name {
            use super::*;
            $(#[target_feature(enable = $feature)])?
            unsafe fn exec(insts: &[LaneInst], ptrs: &[*mut u32], n: usize) {
                // SAFETY: passed on to the caller.
                unsafe { ops::exec::<$fma>(insts, ptrs, n) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn sum(x: *const f32, n: usize) -> f32 {
                // SAFETY: passed on to the caller.
                unsafe { sum_loop(x, n) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn max(x: *const f32, n: usize) -> f32 {
                // SAFETY: passed on to the caller.
                unsafe { max_loop(x, n) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn add_to(to: *mut f32, from: *const f32, n: usize) {
                // SAFETY: passed on to the caller.
                unsafe { add_loop(to, from, n) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn max_to(to: *mut f32, from: *const f32, n: usize) {
                // SAFETY: passed on to the caller.
                unsafe { max_to_loop(to, from, n) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn noise(d: Dist, key: [u32; 2], counter: u32, s: u32, e: usize, to: *mut u32, n: usize) {
                // SAFETY: passed on to the caller.
                unsafe { super::noise::fill::<$fma>(d, key, counter, s, e, to, n) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn gather(to: *mut u32, from: *const u32, steps: [isize; 2], rows: usize, run: usize) {
                // SAFETY: passed on to the caller.
                unsafe { super::rows::gather(to, from, steps, rows, run) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn scatter(to: *mut u32, steps: [isize; 2], from: *const u32, rows: usize, run: usize) {
                // SAFETY: passed on to the caller.
                unsafe { super::rows::scatter(to, steps, from, rows, run) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn sum_rows(to: *mut f32, row_step: isize, from: *const f32, rows: usize, run: usize) {
                // SAFETY: passed on to the caller.
                unsafe { super::rows::sum_rows(to, row_step, from, rows, run) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn stack(to: *mut f32, from: *const f32, rows: usize, run: usize) {
                // SAFETY: passed on to the caller.
                unsafe { super::rows::stack(to, from, rows, run) }
            }
            pub(super) const LANES: Lanes =
                Lanes { exec, sum, max, add_to, max_to, noise, gather, scatter, sum_rows, stack };
        }
    };
}

#[cfg(target_arch = "x86_64")]
lanes!(avx512, true, "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi2");
#[cfg(target_arch = "x86_64")]
lanes!(avx2, true, "avx2,fma,bmi2");
#[cfg(target_arch = "x86_64")]
lanes!(portable, false);
#[cfg(not(target_arch = "x86_64"))]
lanes!(portable, true);

/// Lane code for an instruction set, or the best below it that this machine has.
pub fn lanes(isa: Isa) -> Lanes {
    #[cfg(target_arch = "x86_64")]
    {
        let wide = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl");
        let fused =
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("bmi2");
        match isa {
            Isa::Avx512 if wide && fused => return avx512::LANES,
            Isa::Avx512 | Isa::Avx2 if fused => return avx2::LANES,
            Isa::Avx512 | Isa::Avx2 | Isa::Portable => {}
        }
    }
    let _ = isa;
    portable::LANES
}
