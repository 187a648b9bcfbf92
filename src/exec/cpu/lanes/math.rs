//! Elementary functions in f32, written so that a loop over them vectorises: no branches, no tables, no libm.
//!
//! `F` says whether a multiply-add is one instruction; without it the two are separate (a libm call would be far
//! slower). Coefficients are least-maximum-error fits of our own. Errors against f64, in units in the last place, are
//! bounded by the tests below. Subnormal numbers are kept: nothing changes the mode of the floating-point unit, so that
//! all threads agree.

const LOG2E: f32 = std::f32::consts::LOG2_E;
const LN2_HI: f32 = 0.693_359_4;
const LN2_LO: f32 = -2.121_944_4e-4;
/// Adding it rounds to an integer, which is then in the low bits.
const ROUND: f32 = 12_582_912.0;

/// `a * b + c`
#[inline(always)]
pub fn fma<const F: bool>(a: f32, b: f32, c: f32) -> f32 {
    if F { a.mul_add(b, c) } else { a * b + c }
}

/// Horner's scheme, constant term first in the list.
#[inline(always)]
fn poly<const F: bool, const N: usize>(x: f32, c: [f32; N]) -> f32 {
    let mut y = c[N - 1];
    let mut i = N - 1;
    while i > 0 {
        i -= 1;
        y = fma::<F>(y, x, c[i]);
    }
    y
}

/// `e^x`
#[inline(always)]
pub fn exp<const F: bool>(x: f32) -> f32 {
    let t = fma::<F>(x, LOG2E, ROUND);
    let n = t - ROUND;
    let r = fma::<F>(n, -LN2_LO, fma::<F>(n, -LN2_HI, x));
    let p = poly::<F, 5>(r, [0.499_999_94, 0.166_665_15, 0.041_668_456, 0.008_369_419, 0.001_381_314_2]);
    let y = fma::<F>(p * r, r, r) + 1.0;
    // 2^n in two factors, so that every n from -150 to 128 has them.
    let n = t.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = n >> 1;
    let scale = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    let y = y * scale(half) * scale(n.wrapping_sub(half));
    let y = if x < -104.0 { 0.0 } else { y };
    if x > 88.722_84 { f32::INFINITY } else { y }
}

/// Mantissa in [sqrt(1/2), sqrt(2)) less 1, and exponent, of a positive normal number.
#[inline(always)]
fn split(x: f32) -> (f32, f32) {
    let bits = x.to_bits().wrapping_sub(0x3f35_04f3);
    let e = (bits as i32 >> 23) as f32;
    let m = f32::from_bits((bits & 0x007f_ffff).wrapping_add(0x3f35_04f3));
    (m - 1.0, e)
}

/// Natural logarithm.
#[inline(always)]
pub fn log<const F: bool>(x: f32) -> f32 {
    let tiny = x < f32::MIN_POSITIVE;
    let (f, e) = split(if tiny { x * 8_388_608.0 } else { x });
    let e = if tiny { e - 23.0 } else { e };
    let p = poly::<F, 9>(
        f,
        [
            0.333_333_13,
            -0.250_000_1,
            0.200_021_34,
            -0.166_680_07,
            0.142_192_23,
            -0.124_051_38,
            0.118_903_36,
            -0.116_796_434,
            0.067_465_596,
        ],
    );
    let f2 = f * f;
    let y = fma::<F>(f2 * f, p, e * LN2_LO);
    let y = fma::<F>(f2, -0.5, y) + f;
    let y = fma::<F>(e, LN2_HI, y);
    let y = if x == f32::INFINITY { x } else { y };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    if x >= 0.0 { y } else { f32::NAN }
}

/// `log(1 + x)`, relatively accurate near 0.
#[inline(always)]
pub fn log1p<const F: bool>(x: f32) -> f32 {
    let u = 1.0 + x;
    // What rounding took from 1 + x, to first order.
    let lost = if x.abs() < 1.0 { x - (u - 1.0) } else { 1.0 - (u - x) };
    let y = log::<F>(u);
    let z = y + lost / u;
    let ok = u > 0.0 && u < f32::INFINITY;
    let z = if ok { z } else { y };
    if x.abs() < 1e-7 { x } else { z }
}

/// Hyperbolic tangent, relatively accurate near 0.
#[inline(always)]
pub fn tanh<const F: bool>(x: f32) -> f32 {
    let a = x.abs();
    let s = x * x;
    let p =
        poly::<F, 6>(s, [-0.333_333_3, 0.133_331_8, -0.053_943_4, 0.021_681_642, -0.008_128_997, 0.002_097_718_2]);
    let small = fma::<F>(p * s, x, x);
    let e = exp::<F>(-2.0 * a);
    let large = ((1.0 - e) / (1.0 + e)).copysign(x);
    if a < 0.625 { small } else { large }
}

/// Error function.
#[inline(always)]
pub fn erf<const F: bool>(x: f32) -> f32 {
    let a = x.abs();
    let s = x * x;
    let p = poly::<F, 7>(
        s,
        [0.128_379_17, -0.376_126_35, 0.112_836_94, -0.026_859_27, 0.005_200_634, -8.137_437_4e-4, 8.345_225e-5],
    );
    let small = fma::<F>(p, x, x);
    let t = if a < 4.0 { a } else { 4.0 };
    let q = poly::<F, 9>(
        t,
        [
            -1.128_455_8,
            -0.636_145_83,
            -0.104_053_15,
            0.021_101_762,
            -0.001_680_307,
            -5.720_857e-4,
            2.344_452_4e-4,
            -3.696_671_4e-5,
            2.320_739e-6,
        ],
    );
    let large = (1.0 - exp::<F>(q * t)).copysign(x);
    let y = if a < 0.9275 { small } else { large };
    if x.is_nan() { x } else { y }
}

/// Sine and cosine of an angle within a quarter turn, less `quarters` quarter turns.
#[inline(always)]
fn quadrant<const F: bool>(r: f32, quarters: u32) -> (f32, f32) {
    let s = r * r;
    let sin = poly::<F, 4>(s, [-0.166_666_67, 0.008_333_329, -1.983_925_6e-4, 2.717_564_5e-6]);
    let sin = fma::<F>(sin * s, r, r);
    let cos = poly::<F, 4>(s, [0.041_666_67, -0.001_388_888_3, 2.479_943_6e-5, -2.720_330_2e-7]);
    let cos = fma::<F>(cos * s, s, fma::<F>(s, -0.5, 1.0));
    let (a, b) = if quarters & 1 == 0 { (sin, cos) } else { (cos, sin) };
    let sign_sin = (quarters & 2) << 30;
    let sign_cos = (quarters.wrapping_add(1) & 2) << 30;
    (f32::from_bits(a.to_bits() ^ sign_sin), f32::from_bits(b.to_bits() ^ sign_cos))
}

/// Largest angle for which [`sin_cos`] reduces the argument accurately.
pub const ANGLE: f32 = 30_000.0;

/// Sine and cosine for angles up to [`ANGLE`].
#[inline(always)]
pub fn sin_cos<const F: bool>(x: f32) -> (f32, f32) {
    let t = fma::<F>(x, std::f32::consts::FRAC_2_PI, ROUND);
    let n = t - ROUND;
    // Pi/2 in three parts, the first two short enough that their products with n are exact.
    let r = x - n * 1.570_312_5;
    let r = r - n * 4.837_513e-4;
    let r = fma::<F>(n, -7.549_789_4e-8, r);
    quadrant::<F>(r, t.to_bits())
}

/// Sine and cosine of `turns` whole turns, `turns` in [0, 1).
#[inline(always)]
pub fn sin_cos_turns<const F: bool>(turns: f32) -> (f32, f32) {
    let t = fma::<F>(turns, 4.0, ROUND);
    let r = turns - (t - ROUND) * 0.25;
    quadrant::<F>(r * std::f32::consts::TAU, t.to_bits())
}

/// Maximum; NaN wins.
#[inline(always)]
pub fn max(a: f32, b: f32) -> f32 {
    if a > b || a.is_nan() { a } else { b }
}

/// Minimum; NaN wins.
#[inline(always)]
pub fn min(a: f32, b: f32) -> f32 {
    if a < b || a.is_nan() { a } else { b }
}

/// -1, 0 or 1; zeros and NaN stay.
#[inline(always)]
pub fn sign(x: f32) -> f32 {
    let y = if x > 0.0 { 1.0 } else { x };
    if x < 0.0 { -1.0 } else { y }
}

/// Ten fraction bits, ties away from zero; infinities and NaN stay.
#[inline(always)]
pub fn tf32(x: f32) -> f32 {
    let bits = x.to_bits();
    let rounded = f32::from_bits(bits.wrapping_add(0x1000) & 0xffff_e000);
    if bits & 0x7f80_0000 == 0x7f80_0000 { x } else { rounded }
}

/// Rounded to half precision.
#[inline(always)]
pub fn to_f16(x: f32) -> f32 {
    half::f16::from_f32(x).to_f32()
}

/// Rounded to bfloat16.
#[inline(always)]
pub fn to_bf16(x: f32) -> f32 {
    let b = x.to_bits();
    let r = b.wrapping_add(0x7fff + ((b >> 16) & 1)) & 0xffff_0000;
    f32::from_bits(if x.is_nan() { b | 0x0040_0000 } else { r })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::builder::erf as erf64;

    /// Largest error in units in the last place of the result.
    fn ulps(f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64, xs: impl Iterator<Item = f32>) -> (f64, f32) {
        let mut worst = (0.0, 0.0);
        for x in xs {
            let y = exact(f64::from(x));
            let unit = {
                let a = (y.abs() as f32).max(f32::MIN_POSITIVE);
                f64::from(f32::from_bits(a.to_bits() + 1)) - f64::from(a)
            };
            let e = (f64::from(f(x)) - y).abs() / unit;
            if e.is_nan() || e > worst.0 {
                worst = (e, x);
            }
        }
        worst
    }

    fn range(lo: f32, hi: f32) -> impl Iterator<Item = f32> {
        (0..=40_000).map(move |i| lo + (hi - lo) * (i as f32 / 40_000.0))
    }

    fn log_range(lo: f32, hi: f32) -> impl Iterator<Item = f32> {
        (0..=40_000).map(move |i| (lo.ln() + (hi.ln() - lo.ln()) * (i as f32 / 40_000.0)).exp())
    }

    fn both(check: impl Fn(bool) -> (f64, f32), limit: f64) {
        for fused in [true, false] {
            let (e, at) = check(fused);
            assert!(e <= limit, "{e} ulp at {at} (fma {fused})");
        }
    }

    macro_rules! pick {
        ($f:ident, $fused:expr) => {
            if $fused { $f::<true> } else { $f::<false> }
        };
    }

    #[test]
    fn errors_are_small() {
        both(|f| ulps(pick!(exp, f), f64::exp, range(-103.0, 88.7)), 2.0);
        both(|f| ulps(pick!(exp, f), f64::exp, range(-1.0, 1.0)), 2.0);
        both(|f| ulps(pick!(log, f), f64::ln, log_range(1e-38, 3e38)), 2.0);
        both(|f| ulps(pick!(log, f), f64::ln, range(0.5, 2.0)), 2.5);
        both(|f| ulps(pick!(log1p, f), f64::ln_1p, log_range(1e-30, 1e30)), 3.0);
        both(|f| ulps(pick!(log1p, f), f64::ln_1p, range(-0.999, 2.0)), 3.0);
        both(|f| ulps(pick!(tanh, f), f64::tanh, range(-10.0, 10.0)), 3.0);
        both(|f| ulps(pick!(tanh, f), f64::tanh, log_range(1e-30, 1.0)), 3.0);
        both(|f| ulps(pick!(erf, f), erf64, range(-5.0, 5.0)), 3.0);
        both(|f| ulps(pick!(erf, f), erf64, log_range(1e-30, 1.0)), 3.0);
    }

    #[test]
    fn angles() {
        for fused in [true, false] {
            let f = pick!(sin_cos, fused);
            for x in range(-100.0, 100.0).chain(range(-3.0, 3.0)) {
                let (s, c) = f(x);
                let (es, ec) = f64::from(x).sin_cos();
                assert!((f64::from(s) - es).abs() < 2e-7 && (f64::from(c) - ec).abs() < 2e-7, "{x}");
            }
            let f = pick!(sin_cos_turns, fused);
            for x in range(0.0, 1.0) {
                let (s, c) = f(x);
                let (es, ec) = (f64::from(x) * std::f64::consts::TAU).sin_cos();
                assert!((f64::from(s) - es).abs() < 3e-7 && (f64::from(c) - ec).abs() < 3e-7, "{x} turns");
            }
        }
    }

    #[test]
    fn special_values() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        assert_eq!(exp::<true>(inf), inf);
        assert_eq!(exp::<true>(-inf), 0.0);
        assert_eq!(exp::<true>(89.0), inf);
        assert_eq!(exp::<true>(0.0), 1.0);
        assert!(exp::<true>(nan).is_nan());
        assert_eq!(log::<true>(0.0), -inf);
        assert_eq!(log::<true>(inf), inf);
        assert!(log::<true>(-1.0).is_nan() && log::<true>(nan).is_nan());
        assert!((log::<true>(1e-40) - 1e-40f64.ln() as f32).abs() < 1e-4);
        assert_eq!(log1p::<true>(0.0), 0.0);
        assert_eq!(log1p::<true>(-1.0), -inf);
        assert_eq!(log1p::<true>(inf), inf);
        assert!(log1p::<true>(-2.0).is_nan() && log1p::<true>(nan).is_nan());
        assert_eq!((tanh::<true>(inf), tanh::<true>(-inf)), (1.0, -1.0));
        assert_eq!((erf::<true>(inf), erf::<true>(-inf)), (1.0, -1.0));
        assert!(tanh::<true>(nan).is_nan() && erf::<true>(nan).is_nan());
        assert!(
            max(nan, 1.0).is_nan() && max(1.0, nan).is_nan() && min(nan, 1.0).is_nan() && min(1.0, nan).is_nan()
        );
        assert_eq!((sign(-3.0), sign(0.0), sign(2.0)), (-1.0, 0.0, 1.0));
        assert_eq!(to_bf16(1.003_906_3), half::bf16::from_f32(1.003_906_3).to_f32());
    }
}
