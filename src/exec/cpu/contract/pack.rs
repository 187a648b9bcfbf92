//! Moving operands into the order that the tiles read.

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
    src: *const f32,
    stride: usize,
    rows: usize,
    cols: usize,
    width: usize,
    dst: impl Fn(usize) -> *mut f32,
) {
    // SAFETY: r < rows ≤ width and c < cols throughout.
    unsafe {
        let mut c = 0;
        while c + 4 <= cols {
            let to = [dst(c), dst(c + 1), dst(c + 2), dst(c + 3)];
            let mut r = 0;
            while r + 4 <= rows {
                let p = src.add(r * stride + c);
                transpose4(p, stride, to.map(|d| d.add(r)));
                r += 4;
            }
            for r in r..width {
                for (j, d) in to.iter().enumerate() {
                    *d.add(r) = if r < rows { *src.add(r * stride + c + j) } else { 0.0 };
                }
            }
            c += 4;
        }
        for c in c..cols {
            let d = dst(c);
            for r in 0..width {
                *d.add(r) = if r < rows { *src.add(r * stride + c) } else { 0.0 };
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
