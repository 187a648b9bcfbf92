//! Loop nests that end in reductions: threads of a block share the elements of a result; where results are few,
//! several blocks do, and the last of them to end adds up what all of them found. The order of additions depends on
//! shapes alone.

use super::Arg;
use super::body::{Lowering, Regs, is_wide, needed, value};
use super::emit::{Emit, NAME, Tensors};
use super::ir::{Across, Builtin, Call, Expr, Function, Infix, Kind, Role, Stmt, Ty, Var};
use super::map::reads_of;
use super::nest::{Grouping, group, indices};
use crate::fuse::{Affine, Body, Combine, Sink};
use crate::graph::{Binary, DType, NodeId};
use std::collections::BTreeMap;

/// Threads of a block.
const THREADS: usize = 256;
/// Blocks that keep all processors of a large GPU busy.
const ENOUGH: usize = 528;
/// Steps of a thread from which on a result is worth several blocks, and steps left to each then.
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

/// The launches of a simplified body with reductions, and of a map over their results, which reads them in step.
/// `instead` gives what stands for a node without memory.
pub(super) fn reduce(emit: &mut Emit, body: &Body, then: Option<&Body>, instead: &dyn Fn(NodeId) -> Option<Arg>) {
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
        one(emit, body, axes, sums, stores, then, instead);
    }
}

/// What a reduction starts from.
fn start(combine: Combine, ty: Ty) -> (Ty, Expr) {
    let low = Expr::F32(f32::NEG_INFINITY.to_bits());
    match (combine, ty) {
        (Combine::Sum, Ty::F32) => (Ty::F32, Expr::F32(0)),
        (Combine::Max, Ty::F32) => (Ty::F32, low),
        (Combine::Sum | Combine::Max, _) => (Ty::U32, Expr::U32(0)),
        (Combine::Deviation, _) => (Ty::Moments, Expr::Call(Call::Nothing, vec![])),
        (Combine::ArgMax, Ty::F32) => (Ty::Best, Expr::Call(Call::Best, vec![low, Expr::U32(u32::MAX)])),
        (Combine::ArgMax, _) => (Ty::BestU, Expr::Call(Call::Best, vec![Expr::U32(0), Expr::U32(u32::MAX)])),
    }
}

/// Numbers that a part's result is kept in.
fn planes(ty: Ty) -> usize {
    if ty == Ty::Moments { 3 } else { 1 }
}

/// The reduced value with another element.
fn with(combine: Combine, so_far: Var, x: Expr, position: Expr) -> Expr {
    let a = Expr::Var(so_far);
    match combine {
        Combine::Sum => a.infix(Infix::Add, x),
        Combine::Max => Expr::Call(Call::Extreme(Binary::Max), vec![a, x]),
        Combine::Deviation => Expr::Call(Call::Collect, vec![a, x]),
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
    then: Option<&Body>,
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
    let wide = is_wide(body) || then.is_some_and(is_wide);
    let mut f = Function::new(NAME, Role::Kernel { threads: THREADS }, wide);
    let split = l.parts > 1;
    // What a part finds waits in scratch.
    let direct: Vec<NodeId> = sums.iter().map(|&s| body.sinks[s].node()).collect();
    let stored = stores.iter().map(|&s| body.sinks[s].node());
    let writes: Vec<NodeId> = direct.iter().copied().chain(stored).chain(writes_of(then)).collect();
    let reads = [reads_of(body, &wanted), others_of(then, &direct)].concat();
    let tensors = Tensors::declare(emit, &mut f, &reads, &writes, instead);
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
            let dtype = if matches!(r.ty, Ty::F32 | Ty::Moments) { DType::F32 } else { DType::U32 };
            let at = emit.scratch(planes(r.ty) * l.parts * l.results * 4);
            let p = f.param(format!("p{}", args.len()), Kind::Pointer { dtype, write: true, alone: false });
            args.push(Arg::Scratch(at));
            waiting.push(p);
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
    for r in reductions.iter().filter(|r| r.ty == Ty::Moments) {
        code.push(Stmt::Assign(r.var, Expr::Call(Call::Settled, vec![Expr::Var(r.var)])));
    }
    code.extend(fold(&l, &reductions, &arrays));
    let leader = Expr::Var(first).infix(Infix::Eq, Expr::Index(0)).and(there.clone());
    if split {
        let at = Expr::Builtin(Builtin::BlockY).times(l.results as i64).plus(Expr::Var(o));
        let plane = (l.parts * l.results) as i64;
        let found = reductions.iter().zip(&waiting).flat_map(|(r, &p)| {
            let value = |k: usize| match r.ty {
                Ty::Moments => Expr::Call(Call::Moment(k as u8), vec![Expr::Var(r.var)]),
                _ => Expr::Var(r.var),
            };
            let at = at.clone();
            (0..planes(r.ty)).map(move |k| Stmt::Store(p, at.clone().plus(Expr::Index(k as i64 * plane)), value(k)))
        });
        let found = found.collect();
        code.push(Stmt::If(leader.clone(), found, vec![]));
        code.push(Stmt::Last(l.parts));
        let mut add = vec![];
        for (r, &p) in reductions.iter().zip(&waiting) {
            let part = f.scalar("part", Ty::Index);
            let at = Expr::Var(part).times(l.results as i64).plus(Expr::Var(o));
            let load = |k: i64| Expr::Load(p, Box::new(at.clone().plus(Expr::Index(k * plane))));
            let both = match r.ty {
                Ty::Moments => {
                    let of = Expr::Call(Call::Moments, (0..3).map(load).collect());
                    Expr::Var(r.var).infix(Infix::Add, of)
                }
                _ => with(r.combine, r.var, load(0), Expr::Index(0)),
            };
            let body = vec![Stmt::Assign(r.var, both)];
            let (to, step) = (Expr::Index(l.parts as i64), Expr::Index(l.lanes as i64));
            code.push(Stmt::Assign(r.var, start(r.combine, r.ty).1));
            add.push(Stmt::For { var: part, from: Expr::Var(first), to, step, unroll: 4, body });
        }
        code.push(Stmt::If(there, add, vec![]));
        code.extend(fold(&l, &reductions, &arrays));
    }
    let mut end = vec![];
    for r in &reductions {
        let result = finished(r.combine, r.var, emit.graph.ty(r.node).dtype);
        end.push(Stmt::Store(lowering.pointers[&r.node], Expr::Var(o), result));
    }
    if let Some(then) = then {
        let mut of = |r: &Reduction| match r.ty {
            Ty::Moments => {
                let v = f.scalar("v", Ty::F32);
                end.push(Stmt::Let(v, finished(r.combine, r.var, DType::F32)));
                v
            }
            _ => r.var,
        };
        let results: Vec<(NodeId, Var)> = reductions.iter().map(|r| (r.node, of(r))).collect();
        after(&mut f, then, lowering.pointers.clone(), &results, o, &mut end);
    }
    code.push(Stmt::If(leader, end, vec![]));
    f.body = code;
    let shared = f.shared;
    let across = l.results.div_ceil(l.side);
    if split {
        emit.counters(across);
    }
    let name = emit.function("reduce", &f, across);
    let grid = [across as u32, l.parts as u32, 1];
    emit.launch(name, grid, THREADS, shared, args);
}

/// Combines what the threads of a block have found.
fn fold(l: &Layout, reductions: &[Reduction], arrays: &[Option<Var>]) -> Vec<Stmt> {
    let one = |(r, array): (&Reduction, &Option<Var>)| {
        let sum = matches!(r.combine, Combine::Sum | Combine::Deviation);
        array.map(|shared| Stmt::BlockReduce { var: r.var, sum, across: l.across(), shared })
    };
    reductions.iter().zip(arrays).filter_map(one).collect()
}

/// What a map writes.
fn writes_of(then: Option<&Body>) -> Vec<NodeId> {
    then.map_or(vec![], |b| b.sinks.iter().map(Sink::node).collect())
}

/// What a map reads beside these results.
fn others_of(then: Option<&Body>, results: &[NodeId]) -> Vec<NodeId> {
    then.map_or(vec![], |b| b.reads().into_iter().filter(|n| !results.contains(n)).collect())
}

/// What a map does with the results of this number, which are at hand.
fn after(
    f: &mut Function,
    then: &Body,
    pointers: BTreeMap<NodeId, Var>,
    results: &[(NodeId, Var)],
    number: Var,
    code: &mut Vec<Stmt>,
) {
    let extents: Vec<(usize, usize)> = then.domain.iter().copied().enumerate().collect();
    let loops = indices(f, Expr::Var(number), &extents, "m", code);
    let here = Affine::row_major(&then.domain);
    let held = results.iter().map(|&(n, v)| (n, here.clone(), Expr::Var(v))).collect();
    let lowering = Lowering { body: then, loops, pointers, held, prefix: "t" };
    let all: Vec<usize> = (0..then.sinks.len()).collect();
    let regs = lowering.emit(f, &needed(then, &all), &[], code);
    code.extend(then.sinks.iter().filter_map(|s| lowering.store(s, &regs)));
}

/// The element that is stored for a reduced value.
fn finished(combine: Combine, var: Var, dtype: DType) -> Expr {
    let v = Expr::Var(var);
    match combine {
        Combine::ArgMax => Expr::Call(Call::Position, vec![v]),
        Combine::Deviation => Expr::Call(Call::Moment(2), vec![v]),
        Combine::Sum | Combine::Max if dtype == DType::Bool => Expr::Call(Call::Convert(DType::Bool), vec![v]),
        Combine::Sum | Combine::Max => v,
    }
}
