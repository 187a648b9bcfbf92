//! Moving operands into the order that the tiles read.

use super::lanes::Lanes;

/// A pointer that tasks share; each writes a part of its own.
#[derive(Clone, Copy)]
pub(super) struct Shared(pub *mut f32);

// SAFETY: only a pointer; who dereferences it vouches for disjoint parts.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// The pointer (a method, so that closures capture the whole).
    pub fn get(self) -> *mut f32 {
        self.0
    }
}

/// Copies `len` values; short runs without a call.
///
/// # Safety
/// Both reach `len` values and do not overlap.
#[inline(always)]
pub(super) unsafe fn copy(src: *const f32, dst: *mut f32, len: usize) {
    // SAFETY: by the contract; each piece lies within `len`.
    unsafe {
        if len >= 128 {
            std::ptr::copy_nonoverlapping(src, dst, len);
            return;
        }
        let mut i = 0;
        while i + 16 <= len {
            std::ptr::copy_nonoverlapping(src.add(i), dst.add(i), 16);
            i += 16;
        }
        while i + 4 <= len {
            std::ptr::copy_nonoverlapping(src.add(i), dst.add(i), 4);
            i += 4;
        }
        while i < len {
            *dst.add(i) = *src.add(i);
            i += 1;
        }
    }
}

/// Sets `len` values to zero.
///
/// # Safety
/// `dst` reaches `len` values.
#[inline(always)]
pub(super) unsafe fn zero(dst: *mut f32, len: usize) {
    // SAFETY: by the contract.
    unsafe { std::ptr::write_bytes(dst, 0, len) }
}

/// Writes column `c` of a `rows × cols` matrix (row stride `stride`, columns adjacent) to `dst(c)[0..rows]`, followed
/// by zeros up to `width`.
///
/// # Safety
/// The source reaches that far and each `dst(c)` has room for `width` values.
#[inline(always)]
pub(super) unsafe fn transpose(
    lanes: &Lanes,
    src: *const f32,
    stride: usize,
    rows: usize,
    cols: usize,
    width: usize,
    dst: impl Fn(usize) -> *mut f32,
) {
    // SAFETY: r < rows ≤ width and c < cols throughout.
    unsafe {
        let mut first = 0;
        while first < cols {
            // Sixteen columns are a cache line of each source row.
            let count = (cols - first).min(16);
            let mut to = [std::ptr::null_mut(); 16];
            for (i, to) in to.iter_mut().enumerate().take(count) {
                *to = dst(first + i);
            }
            let (even_rows, even_cols) = (rows / 4 * 4, count / 4 * 4);
            let src = src.add(first);
            first += count;
            if let Some(turn) = lanes.turn {
                for r in (0..rows).step_by(16) {
                    let to = to.map(|t| t.wrapping_add(r));
                    turn(src.add(r * stride), stride, (rows - r).min(16), count, to.as_ptr());
                }
                for to in &to[..count] {
                    zero(to.add(rows), width - rows);
                }
                continue;
            }
            for r in (0..even_rows).step_by(4) {
                for c in (0..even_cols).step_by(4) {
                    let d = [to[c], to[c + 1], to[c + 2], to[c + 3]].map(|d: *mut f32| d.add(r));
                    transpose4(src.add(r * stride + c), stride, d);
                }
            }
            for (c, d) in to.iter().enumerate().take(count) {
                for r in (if c < even_cols { even_rows } else { 0 })..rows {
                    *d.add(r) = *src.add(r * stride + c);
                }
                for r in rows..width {
                    *d.add(r) = 0.0;
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn transpose4(src: *const f32, stride: usize, dst: [*mut f32; 4]) {
    use std::arch::x86_64::*;
    // SAFETY: SSE is part of x86-64; the caller vouches for the 4 × 4 values on both sides.
    unsafe {
        let r = [0, 1, 2, 3].map(|i| _mm_loadu_ps(src.add(i * stride)));
        let (ab_lo, ab_hi) = (_mm_unpacklo_ps(r[0], r[1]), _mm_unpackhi_ps(r[0], r[1]));
        let (cd_lo, cd_hi) = (_mm_unpacklo_ps(r[2], r[3]), _mm_unpackhi_ps(r[2], r[3]));
        _mm_storeu_ps(dst[0], _mm_movelh_ps(ab_lo, cd_lo));
        _mm_storeu_ps(dst[1], _mm_movehl_ps(cd_lo, ab_lo));
        _mm_storeu_ps(dst[2], _mm_movelh_ps(ab_hi, cd_hi));
        _mm_storeu_ps(dst[3], _mm_movehl_ps(cd_hi, ab_hi));
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
unsafe fn transpose4(src: *const f32, stride: usize, dst: [*mut f32; 4]) {
    // SAFETY: the caller vouches for the 4 × 4 values on both sides.
    unsafe {
        let r: [[f32; 4]; 4] = std::array::from_fn(|i| *src.add(i * stride).cast::<[f32; 4]>());
        for (j, d) in dst.into_iter().enumerate() {
            *d.cast::<[f32; 4]>() = std::array::from_fn(|i| r[i][j]);
        }
    }
}

/// The column panels of a B operand: `lanes.cols()` wide, the last one rounded up to whole vectors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panels {
    /// Columns in all.
    pub n: usize,
    /// Columns of a full panel.
    pub nr: usize,
    /// f32 in a vector.
    pub width: usize,
}

impl Panels {
    /// How many.
    pub fn count(&self) -> usize {
        self.n.div_ceil(self.nr)
    }

    /// Columns of panel `j` that exist.
    pub fn cols(&self, j: usize) -> usize {
        (self.n - j * self.nr).min(self.nr)
    }

    /// Columns of panel `j` that are stored.
    pub fn stored(&self, j: usize) -> usize {
        self.cols(j).next_multiple_of(self.width)
    }

    /// Values of one k over all panels; panel `j` of `k` rows starts at `j · nr · k`.
    pub fn row(&self) -> usize {
        self.n.next_multiple_of(self.width)
    }
}

/// Start of part `i` of `n` things cut into `parts` equal parts (sizes differ by at most one).
pub(super) fn part(n: usize, parts: usize, i: usize) -> usize {
    n * i / parts
}
