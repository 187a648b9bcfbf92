//! Rows of tables, and windows summed back.

use super::Arg;
use super::emit::{Emit, NAME};
use super::ir::{Builtin, Call, Expr, Function, Infix, Kind, Role, Stmt, Ty, Var};
use super::map::block_of;
use super::nest::indices;
use crate::graph::{Binary, DType, NodeId, Window};

/// A kernel with a thread for each of `count` elements, whose number is `t`.
struct Threads {
    f: Function,
    args: Vec<Arg>,
    t: Var,
    count: usize,
    threads: usize,
}

impl Threads {
    fn new(count: usize, wide: bool) -> Self {
        let threads = block_of(count);
        let mut f = Function::new(NAME, Role::Kernel { threads }, wide);
        let t = f.scalar("t", Ty::Index);
        Self { f, args: vec![], t, count, threads }
    }

    fn pointer(&mut self, arg: Arg, dtype: DType, write: bool, alone: bool) -> Var {
        self.args.push(arg);
        self.f.param(format!("p{}", self.args.len() - 1), Kind::Pointer { dtype, write, alone })
    }

    fn launch(mut self, emit: &mut Emit, what: &str, code: Vec<Stmt>) {
        if self.count == 0 {
            return;
        }
        let block = Expr::Builtin(Builtin::BlockX).times(self.threads as i64);
        let inside = Expr::Var(self.t).infix(Infix::Lt, Expr::Index(self.count as i64));
        self.f.body =
            vec![Stmt::Let(self.t, block.plus(Expr::Builtin(Builtin::Thread))), Stmt::If(inside, code, vec![])];
        let blocks = self.count.div_ceil(self.threads);
        let name = emit.function(what, &self.f, blocks);
        emit.launch(name, [blocks as u32, 1, 1], self.threads, 0, self.args);
    }
}

/// Whether positions up to the sizes of these tensors need 64 bits.
fn wide(emit: &Emit, nodes: &[NodeId]) -> bool {
    nodes.iter().any(|&n| emit.graph.ty(n).elements() > (i32::MAX as usize) - (1 << 20))
}

/// Elements that are moved together: 16 bytes' worth of whole rows, or one.
fn width(dtype: DType, row: usize) -> usize {
    let most = if dtype.bytes() == 2 { 8 } else { 4 };
    if row.is_multiple_of(most) { most } else { 1 }
}

/// Copies `width` elements.
fn copy(f: &mut Function, from: (Var, Expr), to: (Var, Expr), width: usize, dtype: DType) -> Vec<Stmt> {
    if width == 1 {
        return vec![Stmt::Store(to.0, to.1, Expr::Load(from.0, Box::new(from.1)))];
    }
    let x = f.var("x", Kind::Local { ty: Ty::of(dtype), len: width });
    vec![Stmt::Array(x), Stmt::LoadVector(x, from.0, from.1), Stmt::StoreVector(to.0, to.1, x)]
}

/// A row number from memory, held inside a table of `limit` rows as on every device.
fn row(f: &mut Function, rows: Var, at: Expr, limit: usize, out: &mut Vec<Stmt>) -> Expr {
    let r = f.scalar("row", Ty::Index);
    let word = Expr::Load(rows, Box::new(at));
    let last = Expr::U32(limit.saturating_sub(1).min(u32::MAX as usize) as u32);
    let inside = Expr::Call(Call::Extreme(Binary::Min), vec![word, last]);
    out.push(Stmt::Let(r, Expr::Call(Call::AsIndex, vec![inside])));
    Expr::Var(r)
}

/// `[b, …]` from a table `[r, …]` and row numbers `[b]`.
pub(super) fn gather(emit: &mut Emit, node: NodeId, args: [NodeId; 2]) {
    let (table, ty) = (emit.graph.ty(args[0]).clone(), emit.graph.ty(node).clone());
    let long = ty.elements() / ty.shape[0].max(1);
    let (dtype, w) = (ty.dtype, width(ty.dtype, long));
    let mut k = Threads::new(ty.elements() / w, wide(emit, &[args[0], node]));
    let from = k.pointer(Arg::Node(args[0]), dtype, false, true);
    let rows = k.pointer(Arg::Node(args[1]), DType::U32, false, true);
    let to = k.pointer(Arg::Node(node), dtype, true, true);
    let mut code = vec![];
    let (e, groups) = (Expr::Var(k.t), (long / w).max(1) as i64);
    // The table may be stored under another shape.
    let limit = table.elements() / long.max(1);
    let r = row(&mut k.f, rows, e.clone().over(groups), limit, &mut code);
    let at = r.times(long as i64).plus(e.clone().modulo(groups).times(w as i64));
    code.extend(copy(&mut k.f, (from, at), (to, e.times(w as i64)), w, dtype));
    k.launch(emit, "gather", code);
}

/// A table `[r, …]` with the rows that are numbered replaced by values `[b, …]`; copied first where it is not changed
/// in place.
pub(super) fn scatter(emit: &mut Emit, node: NodeId, args: [NodeId; 3]) {
    let ty = emit.graph.ty(node).clone();
    let long = ty.elements() / ty.shape[0].max(1);
    let (dtype, w) = (ty.dtype, width(ty.dtype, long));
    let size = wide(emit, &[node, args[2]]);
    if !emit.same_memory(args[0], node) {
        let mut k = Threads::new(ty.elements().div_ceil(w), size);
        let from = k.pointer(Arg::Node(args[0]), dtype, false, true);
        let to = k.pointer(Arg::Node(node), dtype, true, true);
        let at = Expr::Var(k.t).times(w as i64);
        let code = copy(&mut k.f, (from, at.clone()), (to, at), w, dtype);
        k.launch(emit, "copy", code);
    }
    let count = emit.graph.ty(args[1]).elements();
    let mut k = Threads::new(count * long / w, size);
    let rows = k.pointer(Arg::Node(args[1]), DType::U32, false, true);
    let from = k.pointer(Arg::Node(args[2]), dtype, false, true);
    let to = k.pointer(Arg::Node(node), dtype, true, true);
    let mut code = vec![];
    let (e, groups) = (Expr::Var(k.t), (long / w).max(1) as i64);
    let r = row(&mut k.f, rows, e.clone().over(groups), ty.shape[0], &mut code);
    let at = r.times(long as i64).plus(e.clone().modulo(groups).times(w as i64));
    code.extend(copy(&mut k.f, (from, e.times(w as i64)), (to, at), w, dtype));
    k.launch(emit, "scatter", code);
}

/// Windows summed back: each element of the result looks for the windows that cover it.
pub(super) fn fold(emit: &mut Emit, node: NodeId, arg: NodeId, window: &Window) {
    let (ty, rank, out) = (emit.graph.ty(node).clone(), window.size.len(), window.out());
    let lead = ty.shape.len() - rank;
    let count = ty.elements();
    let mut k = Threads::new(count, wide(emit, &[arg, node]));
    let from = k.pointer(Arg::Node(arg), emit.graph.ty(arg).dtype, false, true);
    let to = k.pointer(Arg::Node(node), ty.dtype, true, true);
    let f = &mut k.f;
    let mut code = vec![];
    let planes: usize = ty.shape[..lead].iter().product();
    let mut loops = vec![(0, planes)];
    loops.extend(window.size.iter().copied().enumerate().map(|(i, d)| (i + 1, d)));
    let at = indices(f, Expr::Var(k.t), &loops, "i", &mut code);
    let word = Ty::of(ty.dtype);
    let sum = f.mutable("sum", word);
    code.push(Stmt::Let(sum, if word == Ty::F32 { Expr::F32(0) } else { Expr::U32(0) }));
    // Within the loops over the window: which one reaches here with this tap, if any does.
    let taps: Vec<Var> = (0..rank).map(|i| f.scalar(format!("k{i}"), Ty::Index)).collect();
    let mut inner = vec![];
    let mut hits: Option<Expr> = None;
    let mut position = at[0].clone();
    for i in 0..rank {
        let reach = f.scalar(format!("d{i}"), Ty::Index);
        let tap = Expr::Var(taps[i]).times(window.dilation[i] as i64);
        let here = at[i + 1].clone().plus(Expr::Index(window.pad_lo[i] as i64));
        inner.push(Stmt::Let(reach, here.infix(Infix::Sub, tap)));
        let span = (out[i] * window.stride[i]) as i64;
        let mut hit = Expr::Inside(Box::new(Expr::Var(reach)), span);
        if window.stride[i] > 1 {
            let whole = Expr::Var(reach).modulo(window.stride[i] as i64).infix(Infix::Eq, Expr::Index(0));
            hit = hit.and(whole);
        }
        hits = Some(match hits {
            Some(h) => h.and(hit),
            None => hit,
        });
        position = position.times(out[i] as i64).plus(Expr::Var(reach).over(window.stride[i] as i64));
    }
    for i in 0..rank {
        position = position.times(window.kernel[i] as i64).plus(Expr::Var(taps[i]));
    }
    let add = Stmt::Assign(sum, Expr::Var(sum).infix(Infix::Add, Expr::Load(from, Box::new(position))));
    inner.push(Stmt::If(hits.unwrap_or(Expr::Bool(true)), vec![add], vec![]));
    for i in (0..rank).rev() {
        let (to, step) = (Expr::Index(window.kernel[i] as i64), Expr::Index(1));
        inner = vec![Stmt::For { var: taps[i], from: Expr::Index(0), to, step, unroll: 1, body: inner }];
    }
    code.extend(inner);
    code.push(Stmt::Store(to, Expr::Var(k.t), Expr::Var(sum)));
    k.launch(emit, "fold", code);
}
