//! Instruction selection: body instructions to lane operations, pairs to one where there is one.

use super::super::lanes::LaneOp;
use crate::fuse::{Affine, Body, Code, Guard, Reg};
use crate::graph::{Binary, DType, Dist, NodeId, Unary};

/// What a value is made by.
#[derive(Clone, Debug)]
pub(super) enum Make {
    /// Not needed, or the same as another value.
    Nothing,
    /// A word.
    Const(u32),
    /// From memory.
    Load { from: NodeId, at: Affine, guards: Vec<Guard> },
    /// An index.
    Iota(Affine),
    /// Noise.
    Noise { stream: u64, dist: Dist, sample: Affine, element: Affine },
    /// Lane code.
    Lane(LaneOp),
    /// Choice by guards.
    Merge(Vec<Guard>),
}

/// A value.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub make: Make,
    pub args: Vec<Reg>,
}

/// The word of a constant.
pub(super) fn word(bits: u64, dtype: DType) -> u32 {
    let v = f64::from_bits(bits);
    match dtype {
        DType::F32 => (v as f32).to_bits(),
        DType::F16 => half::f16::from_f64(v).to_f32().to_bits(),
        DType::Bf16 => half::bf16::from_f64(v).to_f32().to_bits(),
        DType::U32 => v as u32,
        DType::Bool => u32::from(v != 0.0),
    }
}

fn unary(f: Unary) -> LaneOp {
    match f {
        Unary::Neg => LaneOp::Neg,
        Unary::Recip => LaneOp::Recip,
        Unary::Sqrt => LaneOp::Sqrt,
        Unary::Exp => LaneOp::Exp,
        Unary::Log => LaneOp::Log,
        Unary::Log1p => LaneOp::Log1p,
        Unary::Tanh => LaneOp::Tanh,
        Unary::Erf => LaneOp::Erf,
        Unary::Sin => LaneOp::Sin,
        Unary::Cos => LaneOp::Cos,
        Unary::Abs => LaneOp::Abs,
        Unary::Sign => LaneOp::Sign,
        Unary::Floor => LaneOp::Floor,
        Unary::Tf32 => LaneOp::Tf32,
        Unary::Not => LaneOp::Not,
    }
}

fn binary(f: Binary, float: bool) -> LaneOp {
    match (f, float) {
        (Binary::Add, true) => LaneOp::Add,
        (Binary::Mul, true) => LaneOp::Mul,
        (Binary::Max, true) => LaneOp::Max,
        (Binary::Min, true) => LaneOp::Min,
        (Binary::Lt, true) => LaneOp::Lt,
        (Binary::Le, true) => LaneOp::Le,
        (Binary::Eq, true) => LaneOp::Eq,
        (Binary::Add, false) => LaneOp::AddU,
        (Binary::Mul, false) => LaneOp::MulU,
        (Binary::Max, false) => LaneOp::MaxU,
        (Binary::Min, false) => LaneOp::MinU,
        (Binary::Lt, false) => LaneOp::LtU,
        (Binary::Le, false) => LaneOp::LeU,
        (Binary::Eq, false) => LaneOp::EqU,
        (Binary::And, _) => LaneOp::And,
        (Binary::Or, _) => LaneOp::Or,
    }
}

/// A conversion; `None` where the words stay.
fn cast(from: DType, to: DType) -> Option<LaneOp> {
    match (from.is_float(), to) {
        (true, DType::F32) => None,
        (true, DType::F16) => (from != DType::F16).then_some(LaneOp::F32ToF16),
        (true, DType::Bf16) => (from != DType::Bf16).then_some(LaneOp::F32ToBf16),
        (true, DType::U32) => Some(LaneOp::F32ToU32),
        (true, DType::Bool) => Some(LaneOp::F32ToBool),
        // Large integers are not exact in half precision: round twice, as from f32.
        (false, DType::F32 | DType::F16 | DType::Bf16) => Some(LaneOp::U32ToF32),
        (false, DType::U32) => None,
        (false, DType::Bool) => (from == DType::U32).then_some(LaneOp::U32ToBool),
    }
}

/// Values for a body's registers, and for each register the one that holds its value.
pub(super) fn select(body: &Body) -> (Vec<Value>, Vec<Reg>) {
    let n = body.insts.len();
    let mut same: Vec<Reg> = (0..n as Reg).collect();
    let mut uses = vec![0u32; n];
    for i in 0..n {
        let inst = &body.insts[i];
        if let Code::Cast(from) = inst.code
            && cast(from, inst.dtype).is_none()
        {
            same[i] = same[inst.args[0] as usize];
        } else {
            inst.args.iter().for_each(|&a| uses[same[a as usize] as usize] += 1);
        }
    }
    body.sinks.iter().for_each(|s| uses[same[s.reg() as usize] as usize] += 1);
    let mut needed = vec![false; n];
    body.sinks.iter().for_each(|s| needed[same[s.reg() as usize] as usize] = true);
    let mut values = vec![Value { make: Make::Nothing, args: vec![] }; n];
    for i in (0..n).rev().filter(|&i| same[i] as usize == i) {
        if !needed[i] {
            continue;
        }
        let inst = &body.insts[i];
        let args: Vec<Reg> = inst.args.iter().map(|&a| same[a as usize]).collect();
        let simple = |make| Value { make, args: args.clone() };
        let value = match &inst.code {
            Code::Const(v) => simple(Make::Const(word(*v, inst.dtype))),
            Code::Load { from, at, guards } => {
                simple(Make::Load { from: *from, at: at.clone(), guards: guards.clone() })
            }
            Code::Iota(at) => simple(Make::Iota(at.clone())),
            Code::Random { stream, dist, sample, element } => simple(Make::Noise {
                stream: *stream,
                dist: *dist,
                sample: sample.clone(),
                element: element.clone(),
            }),
            Code::Merge(g) => simple(Make::Merge(g.clone())),
            Code::Unary(f) => simple(Make::Lane(unary(*f))),
            Code::Cast(from) => simple(Make::Lane(cast(*from, inst.dtype).unwrap_or(LaneOp::Copy))),
            Code::Binary(f) => pair(body, &same, &uses, *f, &args),
            Code::Select => choose(body, &same, &uses, &args),
        };
        value.args.iter().for_each(|&a| needed[a as usize] = true);
        values[i] = value;
    }
    (values, same)
}

/// The arguments of `r` if it is this function and has one use (or `shared` is allowed).
fn unary_of(body: &Body, same: &[Reg], r: Reg, f: Unary) -> Option<Reg> {
    let i = &body.insts[r as usize];
    (i.code == Code::Unary(f)).then(|| same[i.args[0] as usize])
}

fn pair(body: &Body, same: &[Reg], uses: &[u32], f: Binary, args: &[Reg]) -> Value {
    let (a, b) = (args[0], args[1]);
    let float = body.insts[a as usize].dtype.is_float();
    let lane = |op, args: &[Reg]| Value { make: Make::Lane(op), args: args.to_vec() };
    let once = |r: Reg| uses[r as usize] == 1;
    let product = |r: Reg| -> Option<(Reg, Reg)> {
        let i = &body.insts[r as usize];
        (i.code == Code::Binary(Binary::Mul) && once(r) && i.dtype.is_float())
            .then(|| (same[i.args[0] as usize], same[i.args[1] as usize]))
    };
    if float && f == Binary::Add {
        for (x, y) in [(a, b), (b, a)] {
            if let Some(z) = unary_of(body, same, y, Unary::Neg) {
                if once(y)
                    && let Some((p, q)) = product(z)
                {
                    return lane(LaneOp::NegMulAdd, &[p, q, x]);
                }
                return lane(LaneOp::Sub, &[x, z]);
            }
        }
        for (x, y) in [(a, b), (b, a)] {
            if let Some((p, q)) = product(x) {
                if let Some(p) = unary_of(body, same, p, Unary::Neg) {
                    return lane(LaneOp::NegMulAdd, &[p, q, y]);
                }
                if let Some(q) = unary_of(body, same, q, Unary::Neg) {
                    return lane(LaneOp::NegMulAdd, &[p, q, y]);
                }
                return lane(LaneOp::MulAdd, &[p, q, y]);
            }
        }
    }
    if float && f == Binary::Mul {
        if a == b {
            return lane(LaneOp::Square, &[a]);
        }
        for (x, y) in [(a, b), (b, a)] {
            if let Some(z) = unary_of(body, same, y, Unary::Recip)
                && once(y)
            {
                return lane(LaneOp::Div, &[x, z]);
            }
        }
    }
    lane(binary(f, float), args)
}

fn choose(body: &Body, same: &[Reg], uses: &[u32], args: &[Reg]) -> Value {
    let (mut cond, mut x, mut y) = (args[0], args[1], args[2]);
    while let Some(c) = unary_of(body, same, cond, Unary::Not) {
        cond = c;
        (x, y) = (y, x);
    }
    let test = &body.insts[cond as usize];
    if let Code::Binary(f @ (Binary::Lt | Binary::Le)) = test.code
        && uses[cond as usize] == 1
        && body.insts[test.args[0] as usize].dtype.is_float()
    {
        let op = if f == Binary::Lt { LaneOp::SelectLt } else { LaneOp::SelectLe };
        let (a, b) = (same[test.args[0] as usize], same[test.args[1] as usize]);
        return Value { make: Make::Lane(op), args: vec![a, b, x, y] };
    }
    Value { make: Make::Lane(LaneOp::Select), args: vec![cond, x, y] }
}
