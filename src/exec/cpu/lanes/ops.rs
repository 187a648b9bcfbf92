//! The operations of lane code.

use super::math;

/// An operation on tiles. Values are f32, u32 or truth values (u32 0 or 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum LaneOp {
    Neg,
    Recip,
    Sqrt,
    Exp,
    Log,
    Log1p,
    Tanh,
    Erf,
    Sin,
    Cos,
    Abs,
    Sign,
    Floor,
    Tf32,
    Not,
    Square,
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    Lt,
    Le,
    Eq,
    AddU,
    MulU,
    MaxU,
    MinU,
    LtU,
    LeU,
    EqU,
    And,
    Or,
    /// `a != 0 ? b : c`
    Select,
    /// `a < b ? c : d`
    SelectLt,
    /// `a <= b ? c : d`
    SelectLe,
    /// `a * b + c`
    MulAdd,
    /// `c - a * b`
    NegMulAdd,
    F32ToU32,
    F32ToBool,
    F32ToF16,
    F32ToBf16,
    U32ToF32,
    U32ToBool,
    Copy,
}

/// An operation with operands, indices into a table of pointers to tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneInst {
    /// What is done.
    pub op: LaneOp,
    /// Where the result goes.
    pub to: u16,
    /// Up to four operands.
    pub args: [u16; 4],
    /// Bit i: operand i points at one value for the whole tile.
    pub uniform: u8,
    /// Whether the result is a tile (else one value).
    pub wide: bool,
}

#[derive(Clone, Copy)]
struct Arg<T> {
    at: *const T,
    uniform: bool,
}

/// # Safety
/// Ranges of `n` values that do not overlap `d`.
#[inline(always)]
unsafe fn map1<T: Copy, R>(n: usize, d: *mut R, a: Arg<T>, f: impl Fn(T) -> R) {
    // SAFETY: as the caller vouches.
    unsafe {
        let d = std::slice::from_raw_parts_mut(d, n);
        if a.uniform {
            let x = *a.at;
            for d in d {
                *d = f(x);
            }
        } else {
            let a = std::slice::from_raw_parts(a.at, n);
            for (d, &a) in d.iter_mut().zip(a) {
                *d = f(a);
            }
        }
    }
}

/// # Safety
/// As [`map1`].
#[inline(always)]
unsafe fn map2<T: Copy, U: Copy, R>(n: usize, d: *mut R, a: Arg<T>, b: Arg<U>, f: impl Fn(T, U) -> R) {
    // SAFETY: as the caller vouches.
    unsafe {
        if b.uniform {
            let y = *b.at;
            map1(n, d, a, |x| f(x, y));
        } else if a.uniform {
            let x = *a.at;
            map1(n, d, b, |y| f(x, y));
        } else {
            let d = std::slice::from_raw_parts_mut(d, n);
            let a = std::slice::from_raw_parts(a.at, n);
            let b = std::slice::from_raw_parts(b.at, n);
            for ((d, &a), &b) in d.iter_mut().zip(a).zip(b) {
                *d = f(a, b);
            }
        }
    }
}

/// # Safety
/// As [`map1`].
#[inline(always)]
unsafe fn map3<T: Copy, U: Copy, V: Copy, R>(
    n: usize,
    d: *mut R,
    a: Arg<T>,
    b: Arg<U>,
    c: Arg<V>,
    f: impl Fn(T, U, V) -> R,
) {
    // SAFETY: as the caller vouches.
    unsafe {
        if a.uniform {
            let x = *a.at;
            map2(n, d, b, c, |y, z| f(x, y, z));
        } else if b.uniform {
            let y = *b.at;
            map2(n, d, a, c, |x, z| f(x, y, z));
        } else if c.uniform {
            let z = *c.at;
            map2(n, d, a, b, |x, y| f(x, y, z));
        } else {
            let d = std::slice::from_raw_parts_mut(d, n);
            let a = std::slice::from_raw_parts(a.at, n);
            let b = std::slice::from_raw_parts(b.at, n);
            let c = std::slice::from_raw_parts(c.at, n);
            for (((d, &a), &b), &c) in d.iter_mut().zip(a).zip(b).zip(c) {
                *d = f(a, b, c);
            }
        }
    }
}

/// # Safety
/// As [`map1`].
#[inline(always)]
unsafe fn map4<T: Copy, U: Copy, R>(
    n: usize,
    d: *mut R,
    a: Arg<T>,
    b: Arg<T>,
    c: Arg<U>,
    e: Arg<U>,
    f: impl Fn(T, T, U, U) -> R,
) {
    // SAFETY: as the caller vouches.
    unsafe {
        if a.uniform {
            let x = *a.at;
            map3(n, d, b, c, e, |y, z, w| f(x, y, z, w));
        } else if b.uniform {
            let y = *b.at;
            map3(n, d, a, c, e, |x, z, w| f(x, y, z, w));
        } else if c.uniform {
            let z = *c.at;
            map3(n, d, a, b, e, |x, y, w| f(x, y, z, w));
        } else if e.uniform {
            let w = *e.at;
            map3(n, d, a, b, c, |x, y, z| f(x, y, z, w));
        } else {
            let d = std::slice::from_raw_parts_mut(d, n);
            let a = std::slice::from_raw_parts(a.at, n);
            let b = std::slice::from_raw_parts(b.at, n);
            let c = std::slice::from_raw_parts(c.at, n);
            let e = std::slice::from_raw_parts(e.at, n);
            for ((((d, &a), &b), &c), &e) in d.iter_mut().zip(a).zip(b).zip(c).zip(e) {
                *d = f(a, b, c, e);
            }
        }
    }
}

/// Angles beyond the vectorised range go through f64.
#[inline(always)]
unsafe fn angles<const F: bool>(n: usize, d: *mut f32, a: Arg<f32>, cos: bool) {
    // SAFETY: as the caller vouches.
    unsafe {
        let count = if a.uniform { 1 } else { n };
        let xs = std::slice::from_raw_parts(a.at, count);
        let far = xs.iter().fold(false, |far, x| far | (x.abs() > math::ANGLE));
        match (far, cos) {
            (true, true) => map1(n, d, a, |x: f32| f64::from(x).cos() as f32),
            (true, false) => map1(n, d, a, |x: f32| f64::from(x).sin() as f32),
            (false, true) => map1(n, d, a, |x| math::sin_cos::<F>(x).1),
            (false, false) => map1(n, d, a, |x| math::sin_cos::<F>(x).0),
        }
    }
}

/// Runs instructions over `n` elements.
///
/// # Safety
/// Each pointer that an instruction names is valid for `n` values (one, if uniform, or for the result if it is not
/// wide), and the result's range does not overlap its operands'.
#[inline(always)]
pub(super) unsafe fn exec<const FMA: bool>(insts: &[LaneInst], ptrs: &[*mut u32], n: usize) {
    for i in insts {
        let n = if i.wide { n } else { 1 };
        let to = ptrs[i.to as usize];
        let at = |k: usize| (ptrs[i.args[k] as usize], i.uniform >> k & 1 != 0);
        let f = |k: usize| {
            let (at, uniform) = at(k);
            Arg { at: at.cast::<f32>().cast_const(), uniform }
        };
        let u = |k: usize| {
            let (at, uniform) = at(k);
            Arg { at: at.cast_const(), uniform }
        };
        let tf = to.cast::<f32>();
        // SAFETY: as the caller vouches.
        unsafe {
            match i.op {
                LaneOp::Neg => map1(n, tf, f(0), |x: f32| -x),
                LaneOp::Recip => map1(n, tf, f(0), |x: f32| 1.0 / x),
                LaneOp::Sqrt => map1(n, tf, f(0), f32::sqrt),
                LaneOp::Exp => map1(n, tf, f(0), math::exp::<FMA>),
                LaneOp::Log => map1(n, tf, f(0), math::log::<FMA>),
                LaneOp::Log1p => map1(n, tf, f(0), math::log1p::<FMA>),
                LaneOp::Tanh => map1(n, tf, f(0), math::tanh::<FMA>),
                LaneOp::Erf => map1(n, tf, f(0), math::erf::<FMA>),
                LaneOp::Sin => angles::<FMA>(n, tf, f(0), false),
                LaneOp::Cos => angles::<FMA>(n, tf, f(0), true),
                LaneOp::Abs => map1(n, tf, f(0), f32::abs),
                LaneOp::Sign => map1(n, tf, f(0), math::sign),
                LaneOp::Floor => map1(n, tf, f(0), f32::floor),
                LaneOp::Tf32 => map1(n, tf, f(0), math::tf32),
                LaneOp::Not => map1(n, to, u(0), |x: u32| u32::from(x == 0)),
                LaneOp::Square => map1(n, tf, f(0), |x: f32| x * x),
                LaneOp::Add => map2(n, tf, f(0), f(1), |x: f32, y: f32| x + y),
                LaneOp::Sub => map2(n, tf, f(0), f(1), |x: f32, y: f32| x - y),
                LaneOp::Mul => map2(n, tf, f(0), f(1), |x: f32, y: f32| x * y),
                LaneOp::Div => map2(n, tf, f(0), f(1), |x: f32, y: f32| x / y),
                LaneOp::Max => map2(n, tf, f(0), f(1), math::max),
                LaneOp::Min => map2(n, tf, f(0), f(1), math::min),
                LaneOp::Lt => map2(n, to, f(0), f(1), |x: f32, y: f32| u32::from(x < y)),
                LaneOp::Le => map2(n, to, f(0), f(1), |x: f32, y: f32| u32::from(x <= y)),
                LaneOp::Eq => map2(n, to, f(0), f(1), |x: f32, y: f32| u32::from(x == y)),
                LaneOp::AddU => map2(n, to, u(0), u(1), |x: u32, y: u32| x.wrapping_add(y)),
                LaneOp::MulU => map2(n, to, u(0), u(1), |x: u32, y: u32| x.wrapping_mul(y)),
                LaneOp::MaxU => map2(n, to, u(0), u(1), |x: u32, y: u32| x.max(y)),
                LaneOp::MinU => map2(n, to, u(0), u(1), |x: u32, y: u32| x.min(y)),
                LaneOp::LtU => map2(n, to, u(0), u(1), |x: u32, y: u32| u32::from(x < y)),
                LaneOp::LeU => map2(n, to, u(0), u(1), |x: u32, y: u32| u32::from(x <= y)),
                LaneOp::EqU => map2(n, to, u(0), u(1), |x: u32, y: u32| u32::from(x == y)),
                LaneOp::And => map2(n, to, u(0), u(1), |x: u32, y: u32| x & y),
                LaneOp::Or => map2(n, to, u(0), u(1), |x: u32, y: u32| x | y),
                LaneOp::Select => {
                    map3(n, to, u(0), u(1), u(2), |c: u32, x: u32, y: u32| if c != 0 { x } else { y });
                }
                LaneOp::SelectLt => {
                    map4(n, to, f(0), f(1), u(2), u(3), |a: f32, b: f32, x: u32, y: u32| if a < b { x } else { y })
                }
                LaneOp::SelectLe => {
                    map4(n, to, f(0), f(1), u(2), u(3), |a: f32, b: f32, x: u32, y: u32| if a <= b { x } else { y })
                }
                LaneOp::MulAdd => map3(n, tf, f(0), f(1), f(2), math::fma::<FMA>),
                LaneOp::NegMulAdd => {
                    map3(n, tf, f(0), f(1), f(2), |x: f32, y, z| math::fma::<FMA>(-x, y, z));
                }
                LaneOp::F32ToU32 => map1(n, to, f(0), |x: f32| x as u32),
                LaneOp::F32ToBool => map1(n, to, f(0), |x: f32| u32::from(x != 0.0)),
                LaneOp::F32ToF16 => map1(n, tf, f(0), math::to_f16),
                LaneOp::F32ToBf16 => map1(n, tf, f(0), math::to_bf16),
                LaneOp::U32ToF32 => map1(n, tf, u(0), |x: u32| x as f32),
                LaneOp::U32ToBool => map1(n, to, u(0), |x: u32| u32::from(x != 0)),
                LaneOp::Copy => map1(n, to, u(0), |x: u32| x),
            }
        }
    }
}
