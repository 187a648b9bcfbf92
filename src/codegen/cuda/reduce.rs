//! Loop nests that end in reductions: threads of a block share the elements of a result; where results are few,
//! several blocks do, and a second launch adds up what they found. The order of additions depends on shapes alone.

use super::Arg;
use super::body::{Lowering, Regs, is_wide, needed, value};
use super::emit::{Emit, NAME, Tensors};
use super::ir::{Across, Builtin, Call, Expr, Function, Infix, Kind, Role, Stmt, Ty, Var};
use super::map::reads_of;
use super::nest::{Grouping, group, indices};
use crate::fuse::{Body, Combine, Sink};
use crate::graph::{Binary, DType, NodeId};

/// Threads of a block.
const THREADS: usize = 256;
/// Blocks that keep all processors of a large GPU busy.
const ENOUGH: usize = 528;
/// Steps of a thread from which on a result is worth several blocks and another launch, and steps left to each then.
const LONG: usize = 32;
const SHORT: usize = 8;

/// How the work of one set of reduced loops is laid out.
struct Layout {
    /// Loops that are kept, and those that are reduced: number and extent.
    kept: Vec<(usize, usize)>,
    reduced: Vec<(usize, usize)>,
    /// Results, and elements of each.
    results: usize,
    count: usize,
    /// Threads that share a result; results of a block.
    lanes: usize,
    side: usize,
    /// Whether threads that share a result are neighbours.
    rows: bool,
    /// Blocks that share a result, and elements for each of them.
    parts: usize,
    chunk: usize,
}

impl Layout {
    fn new(body: &Body, axes: &[usize], width: usize, split: bool) -> Self {
        let all = body.domain.iter().copied().enumerate();
        let (reduced, kept): (Vec<_>, Vec<_>) = all.partition(|l| axes.contains(&l.0));
        let size = |l: &[(usize, usize)]| l.iter().map(|x| x.1).product::<usize>();
        let (results, count) = (size(&kept), size(&reduced));
        let rows = axes.contains(&(body.domain.len() - 1));
        let steps = count.div_ceil(width);
        // Each thread has about four steps at least.
        let wanted = steps.div_ceil(4).next_power_of_two();
        let most = match kept.last() {
            Some(&(_, inner)) if !rows => THREADS / inner.next_power_of_two().min(32),
            _ => THREADS,
        };
        let lanes = wanted.clamp(1, most.max(1));
        let side = THREADS / lanes;
        let tiles = results.div_ceil(side).max(1);
        let steps = count.div_ceil(lanes * width);
        let parts = if split && tiles < ENOUGH / 2 && steps >= LONG {
            ENOUGH.div_ceil(tiles).min(steps / SHORT).clamp(1, 1024)
        } else {
            1
        };
        let chunk = count.div_ceil(parts).next_multiple_of(lanes * width);
        let parts = count.div_ceil(chunk.max(1)).max(1);
        Self { kept, reduced, results, count, lanes, side, rows, parts, chunk }
    }

    fn across(&self) -> Across {
        match self.rows {
            true => Across::Rows { lanes: self.lanes },
            false => Across::Columns { lanes: self.lanes, width: self.side },
        }
    }
}

/// The axes of a reduction.
fn axes_of(s: &Sink) -> Option<&[usize]> {
    match s {
        Sink::Reduce { axes, .. } => Some(axes),
        Sink::Store { .. } => None,
    }
}

/// The launches of a simplified body with reductions. `instead` gives what stands for a node without memory.
pub(super) fn reduce(emit: &mut Emit, body: &Body, instead: &dyn Fn(NodeId) -> Option<Arg>) {
    // Reductions over the same loops share a launch; stores go with the last one, since they may overwrite in place
    // what the others read.
    let mut sets: Vec<(Vec<usize>, Vec<usize>)> = vec![];
    for (i, s) in body.sinks.iter().enumerate() {
        if let Some(axes) = axes_of(s) {
            match sets.iter_mut().find(|x| x.0 == axes) {
                Some(x) => x.1.push(i),
                None => sets.push((axes.to_vec(), vec![i])),
            }
        }
    }
    let stores: Vec<usize> = (0..body.sinks.len()).filter(|&i| axes_of(&body.sinks[i]).is_none()).collect();
    let last = sets.len().saturating_sub(1);
    for (k, (axes, sums)) in sets.iter().enumerate() {
        let stores: &[usize] = if k == last { &stores } else { &[] };
        one(emit, body, axes, sums, stores, instead);
    }
}

/// What a reduction starts from.
fn start(combine: Combine, ty: Ty) -> (Ty, Expr) {
    let low = Expr::F32(f32::NEG_INFINITY.to_bits());
    match (combine, ty) {
        (Combine::Sum, Ty::F32) => (Ty::F32, Expr::F32(0)),
        (Combine::Max, Ty::F32) => (Ty::F32, low),
        (Combine::Sum | Combine::Max, _) => (Ty::U32, Expr::U32(0)),
        (Combine::ArgMax, Ty::F32) => (Ty::Best, Expr::Call(Call::Best, vec![low, Expr::U32(u32::MAX)])),
        (Combine::ArgMax, _) => (Ty::BestU, Expr::Call(Call::Best, vec![Expr::U32(0), Expr::U32(u32::MAX)])),
    }
}

/// The reduced value with another element.
fn with(combine: Combine, so_far: Var, x: Expr, position: Expr) -> Expr {
    let a = Expr::Var(so_far);
    match combine {
        Combine::Sum => a.infix(Infix::Add, x),
        Combine::Max => Expr::Call(Call::Extreme(Binary::Max), vec![a, x]),
        Combine::ArgMax => {
            let at = Expr::Call(Call::AsWord, vec![position]);
            Expr::Call(Call::Better, vec![a, Expr::Call(Call::Best, vec![x, at])])
        }
    }
}

/// A truth value counts as a word.
fn number(x: Expr, dtype: DType) -> Expr {
    if dtype == DType::Bool { Expr::Call(Call::Convert(DType::U32), vec![x]) } else { x }
}

struct Reduction {
    node: NodeId,
    combine: Combine,
    reg: u32,
    var: Var,
    ty: Ty,
}

fn one(
    emit: &mut Emit,
    body: &Body,
    axes: &[usize],
    sums: &[usize],
    stores: &[usize],
    instead: &dyn Fn(NodeId) -> Option<Arg>,
) {
    let sinks = [sums, stores].concat();
    let wanted = needed(body, &sinks);
    let inner_reduced = axes.contains(&(body.domain.len() - 1));
    let grouping = match inner_reduced {
        true => Grouping::choose(emit.graph, body, &wanted, stores, false),
        false => Grouping::single(body),
    };
    let width = grouping.width;
    let search = sums.iter().any(|&s| matches!(body.sinks[s], Sink::Reduce { combine: Combine::ArgMax, .. }));
    let l = Layout::new(body, axes, width, !search);
    if l.results == 0 {
        return;
    }
    let mut f = Function::new(NAME, Role::Kernel { threads: THREADS }, is_wide(body));
    let split = l.parts > 1;
    // What a part finds waits in scratch.
    let direct: Vec<NodeId> = if split { vec![] } else { sums.iter().map(|&s| body.sinks[s].node()).collect() };
    let stored = stores.iter().map(|&s| body.sinks[s].node());
    let writes: Vec<NodeId> = direct.iter().copied().chain(stored).collect();
    let tensors = Tensors::declare(emit, &mut f, &reads_of(body, &wanted), &writes, instead);
    let (pointers, mut args) = (tensors.pointers, tensors.args);
    let mut reductions = vec![];
    for (k, &s) in sums.iter().enumerate() {
        let Sink::Reduce { node, reg, combine, .. } = &body.sinks[s] else { continue };
        let (ty, _) = start(*combine, Ty::of(body.insts[*reg as usize].dtype));
        let var = f.mutable(format!("a{k}"), ty);
        reductions.push(Reduction { node: *node, combine: *combine, reg: *reg, var, ty });
    }
    let mut waiting = vec![];
    if split {
        for r in &reductions {
            let dtype = if r.ty == Ty::F32 { DType::F32 } else { DType::U32 };
            let at = emit.scratch(l.parts * l.results * 4);
            let p = f.param(format!("p{}", args.len()), Kind::Pointer { dtype, write: true, alone: true });
            args.push(Arg::Scratch(at));
            waiting.push((p, at));
        }
    }
    let arrays: Vec<Option<Var>> = reductions
        .iter()
        .enumerate()
        .map(|(k, r)| (l.lanes > 1).then(|| f.shared_array(format!("s{k}"), r.ty, THREADS)))
        .collect();

    // Which result, and which of its elements are this thread's.
    let tid = Expr::Builtin(Builtin::Thread);
    let (o, first) = (f.scalar("o", Ty::Index), f.scalar("first", Ty::Index));
    let (mine, lane) = match l.rows {
        true => (tid.clone().over(l.lanes as i64), tid.modulo(l.lanes as i64)),
        false => (tid.clone().modulo(l.side as i64), tid.over(l.side as i64)),
    };
    let mut code: Vec<Stmt> = arrays.iter().flatten().map(|&a| Stmt::Array(a)).collect();
    for r in &reductions {
        let begin = start(r.combine, Ty::of(body.insts[r.reg as usize].dtype)).1;
        code.push(Stmt::Let(r.var, begin));
    }
    code.push(Stmt::Let(o, Expr::Builtin(Builtin::BlockX).times(l.side as i64).plus(mine)));
    code.push(Stmt::Let(first, lane));
    let mut lowering =
        Lowering { body, loops: vec![Expr::Index(0); body.domain.len()], pointers, held: vec![], prefix: "r" };
    let mut inside = vec![];
    let kept = indices(&mut f, Expr::Var(o), &l.kept, "i", &mut inside);
    for (&(i, _), e) in l.kept.iter().zip(kept) {
        lowering.loops[i] = e;
    }
    let r = f.scalar("r", Ty::Index);
    let mut each = vec![];
    let position = Expr::Var(r).times(width as i64);
    let mut loops = l.reduced.clone();
    if width > 1
        && let Some(inner) = loops.last_mut()
    {
        inner.1 /= width;
    }
    let found = indices(&mut f, Expr::Var(r), &loops, "i", &mut each);
    for (k, (&(i, _), e)) in loops.iter().zip(found).enumerate() {
        lowering.loops[i] = if width > 1 && k + 1 == loops.len() {
            let last = f.scalar("e", Ty::Index);
            each.push(Stmt::Let(last, e.times(width as i64)));
            Expr::Var(last)
        } else {
            e
        };
    }
    let base = lowering.loops.last().cloned();
    let mut add = |_: &mut Function, low: &Lowering, regs: &Regs, out: &mut Vec<Stmt>| {
        // Within a group the last index runs.
        let at = match (width, &base, low.loops.last()) {
            (1, ..) => position.clone(),
            (_, Some(b), Some(now)) => position.clone().plus(now.clone().infix(Infix::Sub, b.clone())),
            _ => position.clone(),
        };
        for r in &reductions {
            let x = number(value(regs, r.reg), body.insts[r.reg as usize].dtype);
            out.push(Stmt::Assign(r.var, with(r.combine, r.var, x, at.clone())));
        }
    };
    // Sums are kept by `add`; what is stored goes by the groups.
    group(&mut f, &mut lowering, &grouping, &sinks, &mut add, &mut each);
    let steps = |n: usize| Expr::Index((n / width) as i64);
    let (from, to) = match split {
        false => (Expr::Var(first), steps(l.count)),
        true => {
            let begin = f.scalar("begin", Ty::Index);
            let end = f.scalar("end", Ty::Index);
            code.push(Stmt::Let(begin, Expr::Builtin(Builtin::BlockY).times((l.chunk / width) as i64)));
            let next = Expr::Var(begin).plus(steps(l.chunk));
            let past = next.clone().infix(Infix::Lt, steps(l.count));
            let stop = Expr::Select(Box::new(past), Box::new(next), Box::new(steps(l.count)));
            code.push(Stmt::Let(end, stop));
            (Expr::Var(begin).plus(Expr::Var(first)), Expr::Var(end))
        }
    };
    let unroll = match body.insts.len() * width {
        0..=16 => 4,
        17..=48 => 2,
        _ => 1,
    };
    inside.push(Stmt::For { var: r, from, to, step: Expr::Index(l.lanes as i64), unroll, body: each });
    let there = Expr::Var(o).infix(Infix::Lt, Expr::Index(l.results as i64));
    code.push(Stmt::If(there.clone(), inside, vec![]));
    for (r, array) in reductions.iter().zip(&arrays) {
        if let Some(shared) = *array {
            let sum = r.combine == Combine::Sum;
            code.push(Stmt::BlockReduce { var: r.var, sum, across: l.across(), shared });
        }
    }
    let mut end = vec![];
    for (k, r) in reductions.iter().enumerate() {
        match waiting.get(k) {
            Some(&(p, _)) => {
                let at = Expr::Builtin(Builtin::BlockY).times(l.results as i64).plus(Expr::Var(o));
                end.push(Stmt::Store(p, at, Expr::Var(r.var)));
            }
            None => {
                let result = finished(r.combine, r.var, emit.graph.ty(r.node).dtype);
                end.push(Stmt::Store(lowering.pointers[&r.node], Expr::Var(o), result));
            }
        }
    }
    let leader = Expr::Var(first).infix(Infix::Eq, Expr::Index(0)).and(there);
    code.push(Stmt::If(leader, end, vec![]));
    f.body = code;
    let shared = f.shared;
    let name = emit.function("reduce", &f);
    let grid = [l.results.div_ceil(l.side) as u32, l.parts as u32, 1];
    emit.launch(name, grid, THREADS, shared, args);
    if split {
        let parts: Vec<(NodeId, Combine, Ty, usize)> =
            reductions.iter().zip(&waiting).map(|(r, w)| (r.node, r.combine, r.ty, w.1)).collect();
        finish(emit, &parts, l.parts, l.results, instead);
    }
}

/// The element that is stored for a reduced value.
fn finished(combine: Combine, var: Var, dtype: DType) -> Expr {
    let v = Expr::Var(var);
    match combine {
        Combine::ArgMax => Expr::Call(Call::Position, vec![v]),
        Combine::Sum | Combine::Max if dtype == DType::Bool => Expr::Call(Call::Convert(DType::Bool), vec![v]),
        Combine::Sum | Combine::Max => v,
    }
}

/// Adds up (or takes the maxima of) `parts` rows of `results` values in scratch, for each of several nodes:
/// `(node, how, Ty::F32 or Ty::U32, first byte of scratch)`.
pub(super) fn finish(
    emit: &mut Emit,
    nodes: &[(NodeId, Combine, Ty, usize)],
    parts: usize,
    results: usize,
    instead: &dyn Fn(NodeId) -> Option<Arg>,
) {
    let most = THREADS / results.next_power_of_two().min(32);
    let lanes = parts.div_ceil(2).next_power_of_two().clamp(1, most.max(1));
    let side = THREADS / lanes;
    let mut f = Function::new(NAME, Role::Kernel { threads: THREADS }, parts * results > 1 << 30);
    let writes: Vec<NodeId> = nodes.iter().map(|n| n.0).collect();
    let Tensors { pointers, mut args } = Tensors::declare(emit, &mut f, &[], &writes, instead);
    let tid = Expr::Builtin(Builtin::Thread);
    let (o, first) = (f.scalar("o", Ty::Index), f.scalar("first", Ty::Index));
    let mut code = vec![];
    let mut inside = vec![];
    let mut vars = vec![];
    for (k, &(_, combine, ty, at)) in nodes.iter().enumerate() {
        let dtype = if ty == Ty::F32 { DType::F32 } else { DType::U32 };
        let p = f.param(format!("p{}", args.len()), Kind::Pointer { dtype, write: false, alone: true });
        args.push(Arg::Scratch(at));
        let shared = f.shared_array(format!("s{k}"), ty, THREADS);
        let var = f.mutable(format!("a{k}"), ty);
        code.push(Stmt::Array(shared));
        code.push(Stmt::Let(var, start(combine, ty).1));
        let part = f.scalar("part", Ty::Index);
        let at = Expr::Var(part).times(results as i64).plus(Expr::Var(o));
        let add = Stmt::Assign(var, with(combine, var, Expr::Load(p, Box::new(at)), Expr::Index(0)));
        let (to, step) = (Expr::Index(parts as i64), Expr::Index(lanes as i64));
        inside.push(Stmt::For { var: part, from: Expr::Var(first), to, step, unroll: 4, body: vec![add] });
        vars.push((var, shared));
    }
    let mine = tid.clone().modulo(side as i64);
    code.push(Stmt::Let(o, Expr::Builtin(Builtin::BlockX).times(side as i64).plus(mine)));
    code.push(Stmt::Let(first, tid.over(side as i64)));
    let there = Expr::Var(o).infix(Infix::Lt, Expr::Index(results as i64));
    code.push(Stmt::If(there.clone(), inside, vec![]));
    let mut end = vec![];
    for (&(node, combine, ..), &(var, shared)) in nodes.iter().zip(&vars) {
        let across = Across::Columns { lanes, width: side };
        code.push(Stmt::BlockReduce { var, sum: combine == Combine::Sum, across, shared });
        let result = finished(combine, var, emit.graph.ty(node).dtype);
        end.push(Stmt::Store(pointers[&node], Expr::Var(o), result));
    }
    let leader = Expr::Var(first).infix(Infix::Eq, Expr::Index(0)).and(there);
    code.push(Stmt::If(leader, end, vec![]));
    f.body = code;
    let shared = f.shared;
    let name = emit.function("finish", &f);
    emit.launch(name, [results.div_ceil(side) as u32, 1, 1], THREADS, shared, args);
}
