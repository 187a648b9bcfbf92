//! Loop bodies to statements, and to device functions that templates call.

use super::ir::{Call, Expr, Function, Infix, Kind, Role, Stmt, Ty, Var};
use super::print::print;
use crate::fuse::{Affine, Body, Code, Combine, Guard, Inst, Reg, Sink};
use crate::graph::{Binary, DType, Graph, NodeId};
use std::collections::BTreeMap;

/// The code of a body within a function.
pub(super) struct Lowering<'a> {
    pub body: &'a Body,
    /// The index of each loop.
    pub loops: Vec<Expr>,
    /// Where tensors are.
    pub pointers: BTreeMap<NodeId, Var>,
    /// Elements that are in registers already.
    pub held: Vec<(NodeId, Affine, Expr)>,
    /// First letter of what it names.
    pub prefix: &'static str,
}

/// Whether positions and indices of a body need 64 bits.
pub fn is_wide(body: &Body) -> bool {
    let limit = i64::from(i32::MAX);
    let mut body = body.clone();
    let domain = body.domain.clone();
    let elements = domain.iter().fold(1i64, |n, &d| n.saturating_mul(d as i64));
    let far = |a: &Affine| {
        let (lo, hi) = a.range(&domain);
        lo < -limit || hi > limit || a.coef.iter().any(|c| c.abs() > limit)
    };
    // Room for an index to go past the end by a block of a grid.
    elements > limit - (1 << 20) || body.forms_mut().iter().any(|a| far(a))
}

/// The registers that these sinks need.
pub(super) fn needed(body: &Body, sinks: &[usize]) -> Vec<bool> {
    let mut needed = vec![false; body.insts.len()];
    sinks.iter().for_each(|&s| needed[body.sinks[s].reg() as usize] = true);
    mark(&body.insts, &mut needed);
    needed
}

/// Marks the arguments of what is marked; arguments come before their users.
pub(super) fn mark(insts: &[Inst], needed: &mut [bool]) {
    for i in (0..insts.len()).rev() {
        if needed[i] {
            insts[i].args.iter().for_each(|&a| needed[a as usize] = true);
        }
    }
}

fn constant(bits: u64, dtype: DType) -> Expr {
    let v = f64::from_bits(bits);
    match dtype {
        DType::F32 => Expr::F32((v as f32).to_bits()),
        DType::F16 => Expr::F32(half::f16::from_f64(v).to_f32().to_bits()),
        DType::Bf16 => Expr::F32(half::bf16::from_f64(v).to_f32().to_bits()),
        DType::U32 => Expr::U32(v as u32),
        DType::Bool => Expr::Bool(v != 0.0),
    }
}

/// A zero in registers of an element type.
pub(super) fn zero(dtype: DType) -> Expr {
    constant(0, dtype)
}

/// What holds the result of each instruction, if it was needed.
pub(super) type Regs = Vec<Option<Expr>>;

/// The result of an instruction.
pub(super) fn value(regs: &[Option<Expr>], reg: Reg) -> Expr {
    regs[reg as usize].clone().unwrap_or(Expr::Bool(false))
}

impl Lowering<'_> {
    /// The value of an affine form.
    pub fn affine(&self, a: &Affine) -> Expr {
        let mut e = Expr::Index(0);
        for (i, &c) in self.loops.iter().zip(&a.coef) {
            e = match c {
                0 => e,
                c if c < 0 && e != Expr::Index(0) => e.infix(Infix::Sub, i.clone().times(-c)),
                c => e.plus(i.clone().times(c)),
            };
        }
        e.plus(Expr::Index(a.offset))
    }

    fn holds(&self, guards: &[Guard]) -> Option<Expr> {
        let one = |g: &Guard| Expr::Inside(Box::new(self.affine(&g.at)), g.extent);
        guards.iter().map(one).reduce(Expr::and)
    }

    /// Adds the needed instructions that are not known yet; gives what holds the result of each.
    pub fn emit(&self, f: &mut Function, needed: &[bool], known: &[Option<Expr>], out: &mut Vec<Stmt>) -> Regs {
        let mut regs: Regs = vec![];
        for (n, inst) in self.body.insts.iter().enumerate() {
            if let Some(Some(e)) = known.get(n) {
                regs.push(Some(e.clone()));
                continue;
            }
            if !needed[n] {
                regs.push(None);
                continue;
            }
            let what = self.inst(inst, &regs);
            // What is already a name or a constant needs no other.
            if matches!(what, Expr::Var(_) | Expr::F32(_) | Expr::U32(_) | Expr::Bool(_)) {
                regs.push(Some(what));
                continue;
            }
            let v = f.scalar(format!("{}{n}", self.prefix), Ty::of(inst.dtype));
            out.push(Stmt::Let(v, what));
            regs.push(Some(Expr::Var(v)));
        }
        regs
    }

    fn inst(&self, inst: &Inst, regs: &[Option<Expr>]) -> Expr {
        let arg = |i: usize| value(regs, inst.args[i]);
        let dtype_of = |i: usize| self.body.insts[inst.args[i] as usize].dtype;
        match &inst.code {
            Code::Const(bits) => constant(*bits, inst.dtype),
            Code::Load { from, at, guards } => {
                let here = self.held.iter().find(|h| h.0 == *from && h.1 == *at && guards.is_empty());
                let element = match here {
                    Some(h) => h.2.clone(),
                    None => Expr::Load(self.pointers[from], Box::new(self.affine(at))),
                };
                match self.holds(guards) {
                    None => element,
                    Some(g) => Expr::Select(Box::new(g), Box::new(element), Box::new(zero(inst.dtype))),
                }
            }
            Code::Iota(at) => Expr::Call(Call::AsWord, vec![self.affine(at)]),
            Code::Random { dist, .. } => {
                self.random(inst, regs).map_or(Expr::Bool(false), |args| Expr::Call(Call::Random(*dist), args))
            }
            Code::Unary(u) => Expr::Call(Call::Unary(*u), vec![arg(0)]),
            Code::Binary(b) => {
                let op = match b {
                    Binary::Add => Infix::Add,
                    Binary::Mul => Infix::Mul,
                    Binary::Lt => Infix::Lt,
                    Binary::Le => Infix::Le,
                    Binary::Eq => Infix::Eq,
                    Binary::And => Infix::And,
                    Binary::Or => Infix::Or,
                    Binary::Max | Binary::Min => return Expr::Call(Call::Extreme(*b), vec![arg(0), arg(1)]),
                };
                arg(0).infix(op, arg(1))
            }
            Code::Select => Expr::Select(Box::new(arg(0)), Box::new(arg(1)), Box::new(arg(2))),
            Code::Cast(from) => {
                debug_assert_eq!(*from, dtype_of(0), "a cast from what its argument is");
                // Registers hold halves as f32, and bf16 to f16 rounds as f32 does.
                let stays = *from == inst.dtype || (from.is_float() && inst.dtype == DType::F32);
                if stays { arg(0) } else { Expr::Call(Call::Convert(inst.dtype), vec![arg(0)]) }
            }
            Code::Merge(guards) => match self.holds(guards) {
                None => arg(0),
                Some(g) => Expr::Select(Box::new(g), Box::new(arg(0)), Box::new(arg(1))),
            },
        }
    }

    /// The arguments of noise.
    pub fn random(&self, inst: &Inst, regs: &[Option<Expr>]) -> Option<Vec<Expr>> {
        let Code::Random { stream, sample, element, .. } = &inst.code else { return None };
        let arg = |i: usize| value(regs, inst.args[i]);
        let key = |k: Expr, part: u32| k.infix(Infix::Xor, Expr::U32(part));
        let (high, low) = ((stream >> 32) as u32, *stream as u32);
        Some(vec![key(arg(0), high), key(arg(1), low), arg(2), self.affine(sample), self.affine(element)])
    }

    /// The store of a sink at the element itself.
    pub fn store(&self, sink: &Sink, regs: &[Option<Expr>]) -> Option<Stmt> {
        match sink {
            Sink::Store { node, reg, at, .. } => {
                Some(Stmt::Store(self.pointers[node], self.affine(at), value(regs, *reg)))
            }
            Sink::Reduce { .. } => None,
        }
    }
}

/// A body as a device function for a kernel that is written as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spliced {
    /// Name of the function.
    pub name: String,
    /// Its text; it needs [`super::PRELUDE`] before it.
    pub text: String,
    /// The tensors whose addresses are its first parameters, and whether it writes them.
    pub tensors: Vec<(NodeId, bool)>,
    /// Whether indices are `long long`, else `int`.
    pub wide: bool,
}

impl Spliced {
    /// The type of its indices.
    pub fn index(&self) -> &'static str {
        if self.wide { "long long" } else { "int" }
    }
}

fn pointer(f: &mut Function, graph: &Graph, n: NodeId, write: bool, count: usize) -> Var {
    let dtype = graph.ty(n).dtype;
    f.param(format!("p{count}"), Kind::Pointer { dtype, write, alone: false })
}

fn indices(f: &mut Function, body: &Body) -> Vec<Expr> {
    let loops = 0..body.domain.len();
    loops.map(|i| Expr::Var(f.param(format!("i{i}"), Kind::Scalar { ty: Ty::Index, mutable: false }))).collect()
}

/// The element of an operand (a *prologue*): `float NAME(const T* p0, …, int i0, int i1, …)`, the addresses of
/// [`Spliced::tensors`] first, then the operand's coordinates, which must be inside its shape. The result is in
/// registers: f32 for all real types.
pub fn element(graph: &Graph, name: &str, body: &Body) -> Spliced {
    let last = body.insts.len().saturating_sub(1);
    let mut wanted = vec![false; body.insts.len()];
    wanted[last] = true;
    mark(&body.insts, &mut wanted);
    let ty = Ty::of(body.insts[last].dtype);
    let mut f = Function::new(name, Role::Device(Some(ty)), is_wide(body));
    let mut pointers = BTreeMap::new();
    let tensors: Vec<(NodeId, bool)> = body.reads().into_iter().map(|n| (n, false)).collect();
    for &(n, write) in &tensors {
        pointers.insert(n, pointer(&mut f, graph, n, write, pointers.len()));
    }
    let loops = indices(&mut f, body);
    let lowering = Lowering { body, loops, pointers, held: vec![], prefix: "r" };
    let mut stmts = vec![];
    let regs = lowering.emit(&mut f, &wanted, &[], &mut stmts);
    stmts.push(Stmt::Return(value(&regs, last as Reg)));
    f.body = stmts;
    debug_assert_eq!(super::verify::verify(&f), Ok(()));
    Spliced { name: name.into(), text: print(&f), tensors, wide: f.wide }
}

/// One element of a map: `void NAME(T* p0, …, int t)`, the addresses of [`Spliced::tensors`] first, then its number.
pub fn map(graph: &Graph, name: &str, body: &Body) -> Spliced {
    let mut f = Function::new(name, Role::Device(None), is_wide(body));
    let writes: Vec<NodeId> = body.sinks.iter().map(Sink::node).collect();
    let mut tensors: Vec<(NodeId, bool)> =
        body.reads().into_iter().filter(|n| !writes.contains(n)).map(|n| (n, false)).collect();
    tensors.extend(writes.into_iter().map(|n| (n, true)));
    let mut pointers = BTreeMap::new();
    for &(n, write) in &tensors {
        pointers.insert(n, pointer(&mut f, graph, n, write, pointers.len()));
    }
    let t = f.param("t", Kind::Scalar { ty: Ty::Index, mutable: false });
    let extents: Vec<(usize, usize)> = body.domain.iter().copied().enumerate().collect();
    let mut stmts = vec![];
    let loops = super::nest::indices(&mut f, Expr::Var(t), &extents, "i", &mut stmts);
    let lowering = Lowering { body, loops, pointers, held: vec![], prefix: "r" };
    let all: Vec<usize> = (0..body.sinks.len()).collect();
    let regs = lowering.emit(&mut f, &needed(body, &all), &[], &mut stmts);
    stmts.extend(body.sinks.iter().filter_map(|s| lowering.store(s, &regs)));
    f.body = stmts;
    debug_assert_eq!(super::verify::verify(&f), Ok(()));
    Spliced { name: name.into(), text: print(&f), tensors, wide: f.wide }
}

/// What is made of an element of a product (an *epilogue*):
/// `void NAME(const T* p0, …, float product, float x0, …, int i0, …, float& w0, …, float& s0, …)`. The indices are those
/// of the body's loops; `product` is the finished element, `x0, …` what `held` names, read already, and `w0, …` become
/// the values of the body's stores in their order. Whoever calls it stores them, so that many elements can be read
/// before any is written: a load that might read what a store before it wrote would wait for it. Its reductions take
/// the element into `s0, …`: sums are added to, maxima raised.
pub fn epilogue(graph: &Graph, name: &str, body: &Body, product: NodeId, held: &[(NodeId, Affine)]) -> Spliced {
    let mut f = Function::new(name, Role::Device(None), is_wide(body));
    let mut pointers = BTreeMap::new();
    let mut tensors = vec![];
    let written: Vec<NodeId> =
        body.sinks.iter().filter(|s| matches!(s, Sink::Store { .. })).map(Sink::node).collect();
    for n in body.reads().into_iter().filter(|&n| n != product && !written.contains(&n)) {
        tensors.push((n, false));
    }
    written.iter().for_each(|&n| tensors.push((n, true)));
    for &(n, write) in &tensors {
        pointers.insert(n, pointer(&mut f, graph, n, write, pointers.len()));
    }
    let given = |f: &mut Function, name: String, n: NodeId| {
        Expr::Var(f.param(name, Kind::Scalar { ty: Ty::of(graph.ty(n).dtype), mutable: false }))
    };
    let finished = given(&mut f, "product".into(), product);
    let mut known = vec![(product, Affine::row_major(&body.domain), finished)];
    for (k, (n, at)) in held.iter().enumerate() {
        known.push((*n, at.clone(), given(&mut f, format!("x{k}"), *n)));
    }
    let loops = indices(&mut f, body);
    let lowering = Lowering { body, loops, pointers, held: known, prefix: "r" };
    let all: Vec<usize> = (0..body.sinks.len()).collect();
    let mut stmts = vec![];
    let regs = lowering.emit(&mut f, &needed(body, &all), &[], &mut stmts);
    let (stores, sums): (Vec<&Sink>, Vec<&Sink>) = body.sinks.iter().partition(|s| matches!(s, Sink::Store { .. }));
    for (k, s) in stores.into_iter().enumerate() {
        let to = f.param(format!("w{k}"), Kind::Out { ty: Ty::of(body.insts[s.reg() as usize].dtype) });
        stmts.push(Stmt::Assign(to, value(&regs, s.reg())));
    }
    for (k, s) in sums.into_iter().enumerate() {
        let Sink::Reduce { combine, reg, .. } = s else { continue };
        let ty = match combine {
            Combine::Deviation => Ty::Moments,
            Combine::Sum | Combine::Max | Combine::ArgMax => Ty::of(body.insts[*reg as usize].dtype),
        };
        let to = f.param(format!("s{k}"), Kind::Out { ty });
        let (so_far, x) = (Expr::Var(to), value(&regs, *reg));
        let both = match combine {
            Combine::Sum => so_far.infix(Infix::Add, x),
            Combine::Max | Combine::ArgMax => Expr::Call(Call::Extreme(Binary::Max), vec![so_far, x]),
            Combine::Deviation => Expr::Call(Call::Collect, vec![so_far, x]),
        };
        stmts.push(Stmt::Assign(to, both));
    }
    f.body = stmts;
    debug_assert_eq!(super::verify::verify(&f), Ok(()));
    Spliced { name: name.into(), text: print(&f), tensors, wide: f.wide }
}
