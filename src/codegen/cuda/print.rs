//! The kernel IR as CUDA C.

use super::ir::{Across, Builtin, Call, Expr, Function, Infix, Kind, Role, Stmt, Ty, Var};
use crate::graph::{Binary, DType, Dist, Unary};
use std::fmt::Write;

/// The type of an element in device memory.
pub fn storage(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float",
        DType::F16 | DType::Bf16 => "unsigned short",
        DType::U32 => "unsigned",
        DType::Bool => "unsigned char",
    }
}

/// A register type's name.
pub fn register(ty: Ty, wide: bool) -> &'static str {
    match (ty, wide) {
        (Ty::F32, _) => "float",
        (Ty::U32, _) => "unsigned",
        (Ty::Bool, _) => "bool",
        (Ty::Index, false) => "int",
        (Ty::Index, true) => "long long",
        (Ty::Best, _) => "ganc_best<float>",
        (Ty::BestU, _) => "ganc_best<unsigned>",
        (Ty::Moments, _) => "ganc_moments",
    }
}

/// An f32 as a literal.
pub fn literal(bits: u32) -> String {
    let v = f32::from_bits(bits);
    if v.is_finite() { format!("{v:?}f") } else { format!("__uint_as_float({bits:#x}u)") }
}

/// What a load from memory of this type looks like.
pub(super) fn loaded(dtype: DType, element: &str) -> String {
    match dtype {
        DType::F32 | DType::U32 => element.to_string(),
        DType::F16 => format!("ganc_from_f16({element})"),
        DType::Bf16 => format!("ganc_from_bf16({element})"),
        DType::Bool => format!("({element} != 0)"),
    }
}

/// What is stored to memory of this type.
pub(super) fn stored(dtype: DType, value: &str) -> String {
    match dtype {
        DType::F32 | DType::U32 | DType::Bool => value.to_string(),
        DType::F16 => format!("ganc_to_f16({value})"),
        DType::Bf16 => format!("ganc_to_bf16({value})"),
    }
}

/// First parameters of a stage: its block, and counters of its own.
pub const STAGE: &str = "const int stage_block, unsigned* const stage_counts";

struct Printer<'a> {
    f: &'a Function,
    /// Blocks along x that a stage counts with.
    stage: Option<u32>,
    out: String,
    depth: usize,
}

/// The parameters of a function as C has them, each ending in a blank and its name.
pub fn parameters(f: &Function) -> Vec<String> {
    let p = Printer { f, stage: None, out: String::new(), depth: 1 };
    f.params.iter().map(|&v| p.parameter(v)).collect()
}

/// The text of a function.
pub fn print(f: &Function) -> String {
    text(f, None)
}

/// The text of a kernel as a [stage](super::emit::Stage) of another one, which would be launched with this many blocks
/// along x.
pub fn print_stage(f: &Function, across: u32) -> String {
    text(f, Some(across))
}

fn text(f: &Function, stage: Option<u32>) -> String {
    let mut p = Printer { f, stage, out: String::new(), depth: 1 };
    let mut params: Vec<String> = f.params.iter().map(|&v| p.parameter(v)).collect();
    let head = match f.role {
        Role::Kernel { .. } if stage.is_some() => {
            params.insert(0, STAGE.to_string());
            format!("GANC_DEVICE void {}", f.name)
        }
        Role::Kernel { threads } => format!("extern \"C\" __global__ void __launch_bounds__({threads}) {}", f.name),
        Role::Device(ty) => {
            let ty = ty.map_or("void", |t| register(t, f.wide));
            format!("__device__ __forceinline__ {ty} {}", f.name)
        }
    };
    let mut lines: Vec<String> = vec![];
    for part in params {
        match lines.last_mut() {
            Some(l) if l.len() + part.len() < 110 => {
                l.push_str(", ");
                l.push_str(&part);
            }
            _ => lines.push(part),
        }
    }
    let _ = writeln!(p.out, "{head}(\n    {}) {{", lines.join(",\n    "));
    if matches!(f.role, Role::Kernel { .. }) && stage.is_none() {
        p.line("ganc_begin();");
    }
    if f.shared > 0 {
        p.line("extern __shared__ __align__(128) unsigned char ganc_shared[];");
    }
    p.block(&f.body);
    p.out.push_str("}\n");
    p.out
}

impl Printer<'_> {
    fn line(&mut self, s: &str) {
        let _ = writeln!(self.out, "{:1$}{s}", "", self.depth * 2);
    }

    fn name(&self, v: Var) -> &str {
        self.f.name_of(v)
    }

    fn pointer(&self, v: Var) -> String {
        let Kind::Pointer { dtype, write, alone } = self.f.kind(v) else { return self.name(v).to_string() };
        let (c, r) = (if write { "" } else { "const " }, if alone { "__restrict__ " } else { "" });
        format!("{c}{}* {r}{}", storage(dtype), self.name(v))
    }

    fn parameter(&self, v: Var) -> String {
        match self.f.kind(v) {
            Kind::Scalar { ty, .. } | Kind::Local { ty, .. } | Kind::Shared { ty, .. } => {
                format!("{} {}", register(ty, self.f.wide), self.name(v))
            }
            Kind::Out { ty } => format!("{}& {}", register(ty, self.f.wide), self.name(v)),
            Kind::Pointer { .. } => self.pointer(v),
        }
    }

    fn block(&mut self, body: &[Stmt]) {
        for s in body {
            self.stmt(s);
        }
    }

    fn inner(&mut self, body: &[Stmt]) {
        self.depth += 1;
        self.block(body);
        self.depth -= 1;
    }

    fn stmt(&mut self, s: &Stmt) {
        let wide = self.f.wide;
        match s {
            Stmt::Let(v, e) => {
                let Kind::Scalar { ty, mutable } = self.f.kind(*v) else { return };
                let c = if mutable { "" } else { "const " };
                let text = format!("{c}{} {} = {};", register(ty, wide), self.name(*v), self.expr(e, 0));
                self.line(&text);
            }
            Stmt::Array(v) => match self.f.kind(*v) {
                Kind::Local { ty, len } => {
                    self.line(&format!("{} {}[{len}];", register(ty, wide), self.name(*v)));
                }
                Kind::Shared { ty, offset, .. } => {
                    let t = register(ty, wide);
                    self.line(&format!("{t}* {} = ({t}*)(ganc_shared + {offset});", self.name(*v)));
                }
                Kind::Scalar { .. } | Kind::Pointer { .. } | Kind::Out { .. } => {}
            },
            Stmt::Pointer(v) => self.line(&format!("{};", self.pointer(*v))),
            Stmt::Point(v, to) => self.line(&format!("{} = {};", self.name(*v), self.name(*to))),
            Stmt::Assign(v, e) => self.line(&format!("{} = {};", self.name(*v), self.expr(e, 0))),
            Stmt::Put(v, at, e) => {
                self.line(&format!("{}[{}] = {};", self.name(*v), self.expr(at, 0), self.expr(e, 0)));
            }
            Stmt::LoadVector(to, from, at) => {
                let kind = self.f.kind(*from);
                let text = format!(
                    "{}({}, {} + {});",
                    vector("load", kind),
                    self.name(*to),
                    self.name(*from),
                    self.expr(at, 5)
                );
                self.line(&text);
            }
            Stmt::Noise(v, dist, args) => {
                let list: Vec<String> = args.iter().map(|a| self.expr(a, 1)).collect();
                self.line(&format!("{}({}, {});", noise(*dist), self.name(*v), list.join(", ")));
            }
            Stmt::StoreVector(to, at, from) => {
                let kind = self.f.kind(*to);
                let text = format!(
                    "{}({} + {}, {});",
                    vector("store", kind),
                    self.name(*to),
                    self.expr(at, 5),
                    self.name(*from)
                );
                self.line(&text);
            }
            Stmt::Store(to, at, e) => {
                let Kind::Pointer { dtype, .. } = self.f.kind(*to) else { return };
                let value = stored(dtype, &self.expr(e, 0));
                self.line(&format!("{}[{}] = {value};", self.name(*to), self.expr(at, 0)));
            }
            Stmt::For { var, from, to, step, unroll, body } => {
                match unroll {
                    0 => {}
                    &u32::MAX => self.line("#pragma unroll"),
                    n => self.line(&format!("#pragma unroll {n}")),
                }
                let (v, t) = (self.name(*var).to_string(), register(Ty::Index, wide));
                let (from, to) = (self.expr(from, 0), self.expr(to, 2));
                let step = if *step == Expr::Index(1) {
                    format!("++{v}")
                } else {
                    format!("{v} += {}", self.expr(step, 0))
                };
                self.line(&format!("for ({t} {v} = {from}; {v} < {to}; {step}) {{"));
                self.inner(body);
                self.line("}");
            }
            Stmt::If(cond, then, other) => {
                self.line(&format!("if ({}) {{", self.expr(cond, 0)));
                self.inner(then);
                self.otherwise(other);
            }
            Stmt::Barrier => self.line("__syncthreads();"),
            Stmt::BlockReduce { var, sum, across, shared } => {
                let how = if *sum { "ganc_sum" } else { "ganc_max" };
                let (name, of) = match across {
                    Across::Rows { lanes } => ("ganc_fold_rows", format!("{lanes}, {how}")),
                    Across::Columns { lanes, width } => ("ganc_fold_columns", format!("{lanes}, {width}, {how}")),
                };
                let (v, s) = (self.name(*var), self.name(*shared));
                let text = format!("{v} = {name}<{of}>({v}, {s});");
                self.line(&text);
            }
            Stmt::Last(of) => {
                let count = match self.stage {
                    None => "ganc_counts + blockIdx.x".to_string(),
                    Some(across) => format!("stage_counts + stage_block % {across}"),
                };
                self.line(&format!("if (!ganc_last({count}, {of}u)) return;"));
            }
            Stmt::Return(e) => self.line(&format!("return {};", self.expr(e, 0))),
        }
    }

    /// The rest of a conditional; chains stay flat.
    fn otherwise(&mut self, other: &[Stmt]) {
        match other {
            [] => self.line("}"),
            [Stmt::If(cond, then, rest)] => {
                self.line(&format!("}} else if ({}) {{", self.expr(cond, 0)));
                self.inner(then);
                self.otherwise(rest);
            }
            _ => {
                self.line("} else {");
                self.inner(other);
                self.line("}");
            }
        }
    }

    /// An expression, in parentheses if its operator binds less than `least`.
    fn expr(&self, e: &Expr, least: u8) -> String {
        let wrap = |level: u8, s: String| if level < least { format!("({s})") } else { s };
        match e {
            Expr::Var(v) => self.name(*v).to_string(),
            Expr::F32(bits) => {
                let s = literal(*bits);
                if s.starts_with('-') { wrap(7, s) } else { s }
            }
            Expr::U32(v) => format!("{v}u"),
            Expr::Bool(v) => v.to_string(),
            Expr::Index(v) if *v < 0 => wrap(7, self.index(*v)),
            Expr::Index(v) => self.index(*v),
            Expr::Builtin(b) => {
                let t = register(Ty::Index, self.f.wide);
                match (b, self.stage) {
                    (Builtin::Thread, _) => format!("({t})threadIdx.x"),
                    (Builtin::BlockX, None) => format!("({t})blockIdx.x"),
                    (Builtin::BlockY, None) => format!("({t})blockIdx.y"),
                    (Builtin::BlockX, Some(across)) => format!("({t})(stage_block % {across})"),
                    (Builtin::BlockY, Some(across)) => format!("({t})(stage_block / {across})"),
                }
            }
            Expr::Infix(op, a, b) => {
                let (sign, level) = match op {
                    Infix::Or => ("||", 1),
                    Infix::And => ("&&", 2),
                    Infix::Xor => ("^", 3),
                    Infix::Eq => ("==", 3),
                    Infix::Lt => ("<", 4),
                    Infix::Le => ("<=", 4),
                    Infix::Add => ("+", 5),
                    Infix::Sub => ("-", 5),
                    Infix::Mul => ("*", 6),
                    Infix::Div => ("/", 6),
                    Infix::Rem => ("%", 6),
                };
                // Every operator but + and * of indices keeps its operands' order of evaluation.
                let left = self.expr(a, if matches!(op, Infix::Xor | Infix::Eq) { level + 1 } else { level });
                wrap(level, format!("{left} {sign} {}", self.expr(b, level + 1)))
            }
            Expr::Call(c, args) => self.call(*c, args, least),
            Expr::Select(c, a, b) => {
                wrap(0, format!("{} ? {} : {}", self.expr(c, 1), self.expr(a, 1), self.expr(b, 1)))
            }
            Expr::Inside(at, extent) => {
                let t = if self.f.wide { "unsigned long long" } else { "unsigned" };
                let u = if self.f.wide { "ull" } else { "u" };
                wrap(4, format!("({t}){} < {extent}{u}", self.expr(at, 8)))
            }
            Expr::Load(p, at) => {
                let Kind::Pointer { dtype, .. } = self.f.kind(*p) else { return String::new() };
                loaded(dtype, &format!("{}[{}]", self.name(*p), self.expr(at, 0)))
            }
            Expr::Element(a, at) => format!("{}[{}]", self.name(*a), self.expr(at, 0)),
        }
    }

    fn index(&self, v: i64) -> String {
        if self.f.wide { format!("{v}ll") } else { v.to_string() }
    }

    fn call(&self, c: Call, args: &[Expr], least: u8) -> String {
        let wrap = |level: u8, s: String| if level < least { format!("({s})") } else { s };
        let list = || args.iter().map(|a| self.expr(a, 1)).collect::<Vec<_>>().join(", ");
        let named = |name: &str| format!("{name}({})", list());
        match c {
            Call::Unary(u) => match u {
                Unary::Neg => wrap(7, format!("-{}", self.expr(&args[0], 8))),
                Unary::Not => wrap(7, format!("!{}", self.expr(&args[0], 7))),
                Unary::Recip => wrap(6, format!("1.0f / {}", self.expr(&args[0], 7))),
                Unary::Sqrt => named("sqrtf"),
                Unary::Exp => named("expf"),
                Unary::Log => named("logf"),
                Unary::Log1p => named("log1pf"),
                Unary::Tanh => named("tanhf"),
                Unary::Erf => named("erff"),
                Unary::Sin => named("sinf"),
                Unary::Cos => named("cosf"),
                Unary::Abs => named("fabsf"),
                Unary::Sign => named("ganc_sign"),
                Unary::Floor => named("floorf"),
                Unary::Tf32 => named("ganc_as_tf32"),
            },
            Call::Extreme(b) => named(if b == Binary::Min { "ganc_smaller" } else { "ganc_larger" }),
            Call::Convert(to) => named(match to {
                DType::F32 => "ganc_float",
                DType::F16 => "ganc_as_f16",
                DType::Bf16 => "ganc_as_bf16",
                DType::U32 => "ganc_word",
                DType::Bool => "ganc_truth",
            }),
            Call::Random(d) => named(noise(d)),
            Call::AsIndex => format!("({}){}", register(Ty::Index, self.f.wide), self.expr(&args[0], 8)),
            Call::AsWord => format!("(unsigned){}", self.expr(&args[0], 8)),
            Call::Best => named("ganc_at"),
            Call::Better => named("ganc_max::of"),
            Call::Position => format!("{}.at", self.expr(&args[0], 9)),
            Call::Nothing => named("ganc_nothing"),
            Call::Collect => named("ganc_collect"),
            Call::Settled => named("ganc_settled"),
            Call::Moments => named("ganc_moments_of"),
            Call::Moment(0) => format!("{}.n", self.expr(&args[0], 9)),
            Call::Moment(1) => named("ganc_mean"),
            Call::Moment(_) => named("ganc_deviation"),
            Call::Fma => named("fmaf"),
        }
    }
}

fn noise(dist: Dist) -> &'static str {
    match dist {
        Dist::Bits => "ganc_bits",
        Dist::Uniform => "ganc_uniform",
        Dist::Normal => "ganc_normal",
    }
}

fn vector(what: &str, kind: Kind) -> String {
    let Kind::Pointer { dtype, .. } = kind else { return String::new() };
    let of = match dtype {
        DType::F16 => "_f16",
        DType::Bf16 => "_bf16",
        DType::F32 | DType::U32 | DType::Bool => "",
    };
    format!("ganc_{what}{of}")
}
