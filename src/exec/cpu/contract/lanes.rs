//! Register tiles of a matrix product for each instruction set, chosen at run time.
//!
//! A tile is `rows × (vecs · width)` sums that stay in registers while `k` runs: each step broadcasts one value of A
//! for each row and multiplies it with one or two vectors of B. The same text is compiled once for each instruction
//! set with its own vector type; rows and vectors are const parameters, so that awkward extents lose little.

use std::sync::OnceLock;

/// Most rows of a tile of any instruction set.
pub(super) const MAX_ROWS: usize = 14;
/// Distance between the rows of a row-major packed A panel: not a power of two, so that rows do not share cache sets.
pub(super) const LDA: usize = 272;
/// Longest `k` range of one tile call on row-major panels.
pub(super) const KC: usize = 256;

/// `(kc, a, lda, b, ldb, c, offset, cols, add)`: `c[r][offset + j] (+)= sum over k of A(r, k) · b[k·ldb + j]`.
///
/// A(r, k) is `a[r·LDA + k]` in a row-major tile and `a[k·lda + r]` in a k-major one. `c` points at one pointer for
/// each row. Of each row of b, `vecs · width` values are read whatever `cols` says.
pub(super) type Tile = unsafe fn(
    kc: usize,
    a: *const f32,
    lda: usize,
    b: *const f32,
    ldb: usize,
    c: *const *mut f32,
    offset: usize,
    cols: usize,
    add: bool,
);

/// `(count, from, stride, to, vecs)`: copies `count` rows of `vecs` vectors, `stride` apart, to adjacent rows.
pub(super) type CopyRows = unsafe fn(count: usize, from: *const f32, stride: usize, to: *mut f32, vecs: usize);

/// `(from, stride, rows, cols, to)`: writes column `c` of `rows × cols` values (at most 16 each) to `to[c][0..rows]`.
pub(super) type Turn = unsafe fn(from: *const f32, stride: usize, rows: usize, cols: usize, to: *const *mut f32);

/// An instruction set that this machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// x86-64 with AVX-512F.
    Avx512,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// Whatever the compiler makes of plain code (NEON on aarch64).
    Portable,
}

impl Isa {
    /// The best one here.
    pub fn detect() -> Isa {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| Isa::available()[0])
    }

    /// All that this machine can run, best first.
    pub fn available() -> Vec<Isa> {
        let mut all = vec![];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                all.push(Isa::Avx512);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                all.push(Isa::Avx2);
            }
        }
        all.push(Isa::Portable);
        all
    }

    /// Its tiles, or the portable ones where this machine lacks it.
    pub(super) fn lanes(self) -> &'static Lanes {
        #[cfg(target_arch = "x86_64")]
        match self {
            Isa::Avx512 if Isa::available().contains(&self) => return &avx512::LANES,
            Isa::Avx2 if Isa::available().contains(&self) => return &avx2::LANES,
            Isa::Avx512 | Isa::Avx2 | Isa::Portable => {}
        }
        &portable::LANES
    }
}

/// The tiles of one instruction set.
pub(super) struct Lanes {
    /// f32 in a vector.
    pub width: usize,
    /// Most rows of a tile.
    pub rows: usize,
    /// Packs a column panel whose rows are whole vectors.
    pub copy_rows: CopyRows,
    /// Transposes blocks of up to 16 × 16.
    pub turn: Option<Turn>,
    row_major: [[Tile; MAX_ROWS]; 2],
    k_major: [[Tile; MAX_ROWS]; 2],
}

impl Lanes {
    /// Columns of the widest tile.
    pub fn cols(&self) -> usize {
        2 * self.width
    }

    /// The tile for `rows` (1 to [`Lanes::rows`]) and `cols` (1 to [`Lanes::cols`]).
    pub fn tile(&self, rows: usize, cols: usize, k_major: bool) -> Tile {
        let table = if k_major { &self.k_major } else { &self.row_major };
        table[usize::from(cols > self.width)][rows - 1]
    }
}

/// Repeats a block with a constant row number below `n`; spelled out so that the sums live in registers even where
/// the optimiser would not unroll a loop.
macro_rules! for_rows {
    ($r:ident < $n:ident, $body:block) => {
        for_rows!(@ $r $n $body 0 1 2 3 4 5 6 7 8 9 10 11 12 13)
    };
    (@ $r:ident $n:ident $body:block $($i:literal)*) => {
        $({ const $r: usize = $i; if $r < $n $body })*
    };
}

macro_rules! lanes {
    (
        mod $isa:ident, $v:ty, width $width:literal, rows $rows:literal, tiles [$($mr:literal)*], $(#[$feature:meta])?
        zero $zero:expr, splat $splat:path, load $load:path, store $store:path, fma $fma:path, add $add:path,
        turn $turn:expr,
    ) => {
        mod $isa {
            use super::{LDA, Lanes, MAX_ROWS, Tile};
            #[allow(unused_imports)]
            use super::arch::*;

            /// See [`Tile`].
            ///
            /// # Safety
            /// The features are there; a, b and c reach as far as [`Tile`] says.
            $(#[$feature])?
            unsafe fn tile<const MR: usize, const NV: usize, const KMAJOR: bool>(
                kc: usize,
                a: *const f32,
                lda: usize,
                b: *const f32,
                ldb: usize,
                c: *const *mut f32,
                offset: usize,
                cols: usize,
                add: bool,
            ) {
                // SAFETY: all accesses are those that the caller vouches for.
                unsafe {
                    let mut sums: [[$v; 2]; MAX_ROWS] = [[$zero; 2]; MAX_ROWS];
                    let (mut a, mut b) = (a, b);
                    for _ in 0..kc {
                        let b0 = $load(b);
                        let b1 = if NV > 1 { $load(b.add($width)) } else { b0 };
                        for_rows!(R < MR, {
                            let x = $splat(*a.add(if KMAJOR { R } else { R * LDA }));
                            sums[R][0] = $fma(x, b0, sums[R][0]);
                            if NV > 1 {
                                sums[R][1] = $fma(x, b1, sums[R][1]);
                            }
                        });
                        a = a.add(if KMAJOR { lda } else { 1 });
                        b = b.add(ldb);
                    }
                    if cols == NV * $width {
                        for_rows!(R < MR, {
                            let p = (*c.add(R)).add(offset);
                            let mut s = sums[R];
                            if add {
                                s[0] = $add($load(p), s[0]);
                                if NV > 1 {
                                    s[1] = $add($load(p.add($width)), s[1]);
                                }
                            }
                            $store(p, s[0]);
                            if NV > 1 {
                                $store(p.add($width), s[1]);
                            }
                        });
                    } else {
                        let mut row = [0f32; 2 * $width];
                        for_rows!(R < MR, {
                            let p = (*c.add(R)).add(offset);
                            $store(row.as_mut_ptr(), sums[R][0]);
                            if NV > 1 {
                                $store(row.as_mut_ptr().add($width), sums[R][1]);
                            }
                            for j in 0..cols {
                                let q = p.add(j);
                                *q = if add { *q + row[j] } else { row[j] };
                            }
                        });
                    }
                }
            }

            /// See [`super::CopyRows`].
            ///
            /// # Safety
            /// The features are there; both sides reach as far as said.
            $(#[$feature])?
            unsafe fn copy_rows(count: usize, from: *const f32, stride: usize, to: *mut f32, vecs: usize) {
                // SAFETY: by the contract.
                unsafe {
                    if vecs == 2 {
                        for i in 0..count {
                            let (from, to) = (from.add(i * stride), to.add(i * 2 * $width));
                            $store(to, $load(from));
                            $store(to.add($width), $load(from.add($width)));
                        }
                        return;
                    }
                    for i in 0..count {
                        for v in 0..vecs {
                            $store(to.add((i * vecs + v) * $width), $load(from.add(i * stride + v * $width)));
                        }
                    }
                }
            }

            const fn table<const KMAJOR: bool>() -> [[Tile; MAX_ROWS]; 2] {
                let mut t: [[Tile; MAX_ROWS]; 2] = [[tile::<1, 1, KMAJOR>; MAX_ROWS], [tile::<1, 2, KMAJOR>; MAX_ROWS]];
                $(
                    t[0][$mr - 1] = tile::<$mr, 1, KMAJOR>;
                    t[1][$mr - 1] = tile::<$mr, 2, KMAJOR>;
                )*
                t
            }

            pub(super) static LANES: Lanes =
                Lanes { width: $width, rows: $rows, copy_rows, turn: $turn, row_major: table::<false>(), k_major: table::<true>() };
        }
    };
}

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64 as arch;
#[cfg(not(target_arch = "x86_64"))]
mod arch {}

#[cfg(target_arch = "x86_64")]
lanes! {
    mod avx512, __m512, width 16, rows 14, tiles [1 2 3 4 5 6 7 8 9 10 11 12 13 14],
    #[target_feature(enable = "avx512f")]
    zero _mm512_setzero_ps(), splat _mm512_set1_ps, load _mm512_loadu_ps, store _mm512_storeu_ps,
    fma _mm512_fmadd_ps, add _mm512_add_ps,
    turn Some(super::turn16),
}

/// See [`Turn`].
///
/// # Safety
/// AVX-512F is there; both sides reach as far as said.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn turn16(from: *const f32, stride: usize, rows: usize, cols: usize, to: *const *mut f32) {
    use arch::*;
    // SAFETY: masks keep to the extents.
    unsafe {
        let mask = ((1u32 << cols) - 1) as u16;
        // Spelled out for the same reason as `for_rows`.
        macro_rules! each {
            ($i:ident in [$($n:literal)*] $body:block) => { $({ const $i: usize = $n; $body })* };
        }
        let mut r = [_mm512_setzero_ps(); 16];
        if rows == 16 && cols == 16 {
            each!(I in [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15] { r[I] = _mm512_loadu_ps(from.add(I * stride)); });
        } else {
            each!(I in [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15] {
                if I < rows {
                    r[I] = _mm512_maskz_loadu_ps(mask, from.add(I * stride));
                }
            });
        }
        let mut t = r;
        each!(I in [0 1 2 3 4 5 6 7] {
            t[2 * I] = _mm512_unpacklo_ps(r[2 * I], r[2 * I + 1]);
            t[2 * I + 1] = _mm512_unpackhi_ps(r[2 * I], r[2 * I + 1]);
        });
        // u[4 i + j] holds, in lane l, column 4 l + j of rows 4 i to 4 i + 3.
        let mut u = t;
        each!(I in [0 1 2 3] {
            let t = [t[4 * I], t[4 * I + 1], t[4 * I + 2], t[4 * I + 3]];
            let t = [_mm512_castps_pd(t[0]), _mm512_castps_pd(t[1]), _mm512_castps_pd(t[2]), _mm512_castps_pd(t[3])];
            u[4 * I] = _mm512_castpd_ps(_mm512_unpacklo_pd(t[0], t[2]));
            u[4 * I + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(t[0], t[2]));
            u[4 * I + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(t[1], t[3]));
            u[4 * I + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(t[1], t[3]));
        });
        let mut out = u;
        each!(J in [0 1 2 3] {
            let v = _mm512_shuffle_f32x4::<0x88>(u[J], u[4 + J]);
            let w = _mm512_shuffle_f32x4::<0x88>(u[8 + J], u[12 + J]);
            out[J] = _mm512_shuffle_f32x4::<0x88>(v, w);
            out[8 + J] = _mm512_shuffle_f32x4::<0xdd>(v, w);
            let v = _mm512_shuffle_f32x4::<0xdd>(u[J], u[4 + J]);
            let w = _mm512_shuffle_f32x4::<0xdd>(u[8 + J], u[12 + J]);
            out[4 + J] = _mm512_shuffle_f32x4::<0x88>(v, w);
            out[12 + J] = _mm512_shuffle_f32x4::<0xdd>(v, w);
        });
        if rows == 16 && cols == 16 {
            each!(I in [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15] { _mm512_storeu_ps(*to.add(I), out[I]); });
            return;
        }
        let mask = ((1u32 << rows) - 1) as u16;
        each!(I in [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15] {
            if I < cols {
                _mm512_mask_storeu_ps(*to.add(I), mask, out[I]);
            }
        });
    }
}

#[cfg(target_arch = "x86_64")]
lanes! {
    mod avx2, __m256, width 8, rows 6, tiles [1 2 3 4 5 6],
    #[target_feature(enable = "avx2,fma")]
    zero _mm256_setzero_ps(), splat _mm256_set1_ps, load _mm256_loadu_ps, store _mm256_storeu_ps,
    fma _mm256_fmadd_ps, add _mm256_add_ps,
    turn None,
}

lanes! {
    mod portable, [f32; 4], width 4, rows 6, tiles [1 2 3 4 5 6],
    zero [0.0; 4], splat super::plain::splat, load super::plain::load, store super::plain::store,
    fma super::plain::fma, add super::plain::add,
    turn None,
}

/// Four lanes in plain code.
mod plain {
    #[inline(always)]
    pub(super) fn splat(x: f32) -> [f32; 4] {
        [x; 4]
    }

    /// # Safety
    /// `p` points at four values.
    #[inline(always)]
    pub(super) unsafe fn load(p: *const f32) -> [f32; 4] {
        // SAFETY: by the contract; an array of f32 has the alignment of f32.
        unsafe { *p.cast() }
    }

    /// # Safety
    /// `p` points at room for four values.
    #[inline(always)]
    pub(super) unsafe fn store(p: *mut f32, v: [f32; 4]) {
        // SAFETY: by the contract.
        unsafe { *p.cast() = v }
    }

    #[inline(always)]
    pub(super) fn add(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| a[i] + b[i])
    }

    /// A fused multiply-add only where it is one instruction: elsewhere `mul_add` is a call to libm.
    #[inline(always)]
    pub(super) fn fma(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| {
            if cfg!(target_arch = "aarch64") { a[i].mul_add(b[i], c[i]) } else { a[i] * b[i] + c[i] }
        })
    }
}
