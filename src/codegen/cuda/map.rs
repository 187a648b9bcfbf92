//! Loop nests without reductions: one group of neighbours a thread. Updates of many parameters are one launch.

use super::Arg;
use super::body::{Lowering, is_wide};
use super::emit::{Emit, NAME, Tensors};
use super::ir::{Builtin, Expr, Function, Infix, Kind, Role, Stmt, Ty, Var};
use super::nest::{Each, Grouping, group, indices};
use crate::fuse::{Affine, Body, Code, Sink, Work, first_uses};
use crate::graph::{DType, NodeId};
use std::collections::BTreeMap;

/// Pointers of one launch: parameters may have 4096 bytes.
const MOST_POINTERS: usize = 480;

/// A body with at least one loop, the fewest that do the same.
pub(super) fn simplified(body: &Body) -> Body {
    let mut body = body.clone();
    body.simplify();
    if body.domain.is_empty() {
        body.domain.push(1);
        body.forms_mut().into_iter().for_each(|f| f.coef.push(0));
    }
    body
}

/// Tensors that these sinks' needed instructions read.
pub(super) fn reads_of(body: &Body, needed: &[bool]) -> Vec<NodeId> {
    first_uses(body.insts.iter().zip(needed).filter(|i| *i.1).filter_map(|i| i.0.code.tensor()))
}

/// Threads of a block for this many threads in all: small launches are spread over many processors.
pub(super) fn block_of(threads: usize) -> usize {
    match threads {
        0..=8192 => 64,
        8193..=32768 => 128,
        _ => 256,
    }
}

/// Number of the first element of a thread's group; the number of the thread is over the whole grid.
fn thread(block: Expr, threads: usize) -> Expr {
    block.times(threads as i64).plus(Expr::Builtin(Builtin::Thread))
}

/// Fills tensors that a body writes only in part.
pub(super) fn prefill(emit: &mut Emit, body: &Body) {
    for s in &body.sinks {
        let Sink::Store { node, prefill: Some(bits), .. } = s else { continue };
        let ty = emit.graph.ty(*node).clone();
        fill(emit, *node, ty.elements(), f64::from_bits(*bits), ty.dtype);
    }
}

/// Fills a tensor.
pub(super) fn fill(emit: &mut Emit, node: NodeId, elements: usize, value: f64, dtype: DType) {
    if elements == 0 {
        return;
    }
    let body = Body {
        domain: vec![elements],
        insts: vec![crate::fuse::Inst { code: Code::Const(value.to_bits()), args: vec![], dtype }],
        sinks: vec![Sink::Store { node, reg: 0, at: Affine::axis(1, 0), prefill: None }],
    };
    nest(emit, "fill", &body, &[0], &|_| None);
}

/// One launch for the stores among the sinks of a simplified body.
pub(super) fn nest(
    emit: &mut Emit,
    what: &str,
    body: &Body,
    sinks: &[usize],
    instead: &dyn Fn(NodeId) -> Option<Arg>,
) {
    let elements = body.elements();
    if elements == 0 || sinks.is_empty() {
        return;
    }
    let needed = super::body::needed(body, sinks);
    let grouping = Grouping::choose(emit.graph, body, &needed, sinks, true);
    let groups = elements.div_ceil(grouping.width);
    let threads = emit.threads(block_of(groups));
    let mut f = Function::new(NAME, Role::Kernel { threads }, is_wide(body));
    let writes: Vec<NodeId> = sinks.iter().map(|&s| body.sinks[s].node()).collect();
    let tensors = Tensors::declare(emit, &mut f, &reads_of(body, &needed), &writes, instead);
    let t = f.scalar("t", Ty::Index);
    let mut lowering = Lowering { body, loops: vec![], pointers: tensors.pointers, held: vec![], prefix: "r" };
    let count = Expr::Index(elements as i64);
    let code = elements_of(&mut f, &mut lowering, &grouping, sinks, Expr::Var(t), count);
    f.body = vec![Stmt::Let(t, thread(Expr::Builtin(Builtin::BlockX), threads))];
    f.body.extend(code);
    let blocks = groups.div_ceil(threads);
    let name = emit.function(what, &f, blocks);
    emit.launch(name, [blocks as u32, 1, 1], threads, 0, tensors.args);
}

/// One stage for the stores of a body whose first loop goes over rows, `rows` of them a block.
pub(super) fn rows_nest(emit: &mut Emit, body: &Body, rows: usize) {
    let all: Vec<usize> = (0..body.sinks.len()).collect();
    let needed = super::body::needed(body, &all);
    let grouping = match body.domain.len() {
        1 => Grouping::single(body),
        _ => Grouping::choose(emit.graph, body, &needed, &all, false),
    };
    let (threads, width) = (emit.threads(block_of(body.elements())), grouping.width);
    let mut f = Function::new(NAME, Role::Kernel { threads }, is_wide(body));
    let writes: Vec<NodeId> = body.sinks.iter().map(Sink::node).collect();
    let tensors = Tensors::declare(emit, &mut f, &reads_of(body, &needed), &writes, &|_| None);
    let mut lowering = Lowering { body, loops: vec![], pointers: tensors.pointers, held: vec![], prefix: "r" };
    let mut loops: Vec<(usize, usize)> = body.domain.iter().copied().enumerate().collect();
    loops[0].1 = rows;
    let last = loops.len() - 1;
    loops[last].1 /= width;
    let groups: usize = loops.iter().map(|l| l.1).product();
    let t = f.scalar("t", Ty::Index);
    let mut code = vec![];
    lowering.loops = indices(&mut f, Expr::Var(t), &loops, "i", &mut code);
    let row = f.scalar("row", Ty::Index);
    let first = Expr::Builtin(Builtin::BlockX).times(rows as i64);
    code.push(Stmt::Let(row, first.plus(lowering.loops[0].clone())));
    lowering.loops[0] = Expr::Var(row);
    if width > 1 {
        let e = f.scalar("e", Ty::Index);
        code.push(Stmt::Let(e, lowering.loops[last].clone().times(width as i64)));
        lowering.loops[last] = Expr::Var(e);
    }
    let nothing: &mut Each = &mut |_, _, _, _| {};
    let mut inner = vec![];
    group(&mut f, &mut lowering, &grouping, &all, nothing, &mut inner);
    match body.domain[0].is_multiple_of(rows) {
        true => code.extend(inner),
        false => {
            let there = Expr::Var(row).infix(Infix::Lt, Expr::Index(body.domain[0] as i64));
            code.push(Stmt::If(there, inner, vec![]));
        }
    }
    let (from, to) = (Expr::Builtin(Builtin::Thread), Expr::Index(groups as i64));
    f.body = vec![Stmt::For { var: t, from, to, step: Expr::Index(threads as i64), unroll: 0, body: code }];
    let blocks = body.domain[0].div_ceil(rows);
    let name = emit.function("rows", &f, blocks);
    emit.launch(name, [blocks as u32, 1, 1], threads, 0, tensors.args);
}

/// What thread `t` does of a nest of `count` elements.
fn elements_of(
    f: &mut Function,
    lowering: &mut Lowering,
    grouping: &Grouping,
    sinks: &[usize],
    t: Expr,
    count: Expr,
) -> Vec<Stmt> {
    let (body, width) = (lowering.body, grouping.width);
    let nothing: &mut Each = &mut |_, _, _, _| {};
    let rank = body.domain.len();
    if rank == 1 {
        // A single loop; its last group may be cut off.
        let mut code = vec![];
        let first = if width == 1 {
            t
        } else {
            let e = f.scalar("e", Ty::Index);
            code.push(Stmt::Let(e, t.times(width as i64)));
            Expr::Var(e)
        };
        lowering.loops = vec![first.clone()];
        let mut whole = vec![];
        group(f, lowering, grouping, sinks, nothing, &mut whole);
        let fits = match width {
            1 => first.clone().infix(Infix::Lt, count.clone()),
            _ => first.clone().plus(Expr::Index(width as i64)).infix(Infix::Le, count.clone()),
        };
        let ragged = width > 1 && !matches!(count, Expr::Index(n) if n % width as i64 == 0);
        let mut rest = vec![];
        if ragged {
            let i = f.scalar("i", Ty::Index);
            lowering.loops = vec![Expr::Var(i)];
            let mut one = vec![];
            group(f, lowering, &Grouping::single(body), sinks, nothing, &mut one);
            let (from, step) = (first, Expr::Index(1));
            rest.push(Stmt::For { var: i, from, to: count, step, unroll: 1, body: one });
        }
        code.push(Stmt::If(fits, whole, rest));
        return code;
    }
    let mut loops: Vec<(usize, usize)> = body.domain.iter().copied().enumerate().collect();
    loops[rank - 1].1 /= width;
    let groups = (body.elements() / width) as i64;
    let mut inner = vec![];
    lowering.loops = indices(f, t.clone(), &loops, "i", &mut inner);
    if width > 1 {
        let last = f.scalar("e", Ty::Index);
        inner.push(Stmt::Let(last, lowering.loops[rank - 1].clone().times(width as i64)));
        lowering.loops[rank - 1] = Expr::Var(last);
    }
    group(f, lowering, grouping, sinks, nothing, &mut inner);
    vec![Stmt::If(t.infix(Infix::Lt, Expr::Index(groups)), inner, vec![])]
}

/// What of a body is the same for all parameters that are updated alike: tensors are numbered, a single loop has no
/// length.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Likeness(String);

/// The tensors of a body in the order in which its code first names them, with whether they are written.
fn tensors(body: &Body) -> Vec<(NodeId, bool)> {
    let mut list: Vec<(NodeId, bool)> = vec![];
    let loads = body.insts.iter().filter_map(|i| match &i.code {
        Code::Load { from, .. } => Some((*from, false)),
        _ => None,
    });
    for (n, write) in loads.chain(body.sinks.iter().map(|s| (s.node(), true))) {
        match list.iter_mut().find(|t| t.0 == n) {
            Some(t) => t.1 |= write,
            None => list.push((n, write)),
        }
    }
    list
}

fn likeness(emit: &Emit, body: &Body) -> Likeness {
    let list = tensors(body);
    let mut own = body.clone();
    let number = |n: &mut NodeId| {
        let at = list.iter().position(|t| t.0 == *n);
        *n = NodeId(at.unwrap_or(0) as u32);
    };
    for i in &mut own.insts {
        if let Code::Load { from, .. } = &mut i.code {
            number(from);
        }
    }
    for s in &mut own.sinks {
        match s {
            Sink::Store { node, .. } | Sink::Reduce { node, .. } => number(node),
        }
    }
    if own.domain.len() == 1 && !own.insts.iter().any(|i| matches!(&i.code, Code::Random { .. })) {
        own.domain[0] = 0;
    }
    let types: Vec<DType> = list.iter().map(|t| emit.graph.ty(t.0).dtype).collect();
    Likeness(format!("{own:?}{types:?}{}", is_wide(body)))
}

/// The body of a cluster that only stores, each element once.
fn plain(work: &Work) -> Option<Body> {
    let Work::Loops(body) = work else { return None };
    let stores = body.sinks.iter().all(|s| matches!(s, Sink::Store { prefill: None, .. }));
    (stores && body.elements() > 0).then(|| simplified(body))
}

/// The body of the map right behind a cluster with reductions, for whose results it waits, if one launch may do both: no
/// block overwrites what another one may still read.
pub(super) fn follower(emit: &Emit, first: usize) -> Option<Body> {
    let clusters = &emit.plan.clusters.clusters;
    let (a, b) = (clusters.get(first)?, clusters.get(first + 1)?);
    let then = plain(&b.work)?;
    let touched = a.reads.iter().chain(&a.writes);
    let clash = touched.clone().any(|&x| b.writes.iter().any(|&y| x == y || emit.same_memory(x, y)));
    (!clash).then_some(then)
}

/// Number of clusters from `first` on, before `end`, that can be launched together: none reads or overwrites what another
/// one writes.
pub(super) fn independent(emit: &Emit, first: usize, end: usize) -> usize {
    let clusters = &emit.plan.clusters.clusters[..end];
    let mut count = 0;
    while let Some(c) = clusters.get(first + count) {
        if plain(&c.work).is_none() {
            break;
        }
        let clash = clusters[first..first + count].iter().any(|o| {
            let crosses =
                |a: &[NodeId], b: &[NodeId]| a.iter().any(|&x| b.iter().any(|&y| x == y || emit.same_memory(x, y)));
            crosses(&o.writes, &c.writes) || crosses(&o.writes, &c.reads) || crosses(&o.reads, &c.writes)
        });
        if clash {
            break;
        }
        count += 1;
    }
    count
}

/// Whether a cluster is a map that one launch may do with others that are alike.
pub(super) fn is_plain(work: &Work) -> bool {
    plain(work).is_some()
}

/// The launches of independent clusters: those that are alike are one.
pub(super) fn together(emit: &mut Emit, clusters: &[usize]) {
    let mut alike: Vec<(Likeness, Vec<(usize, Body)>)> = vec![];
    for &i in clusters {
        let Some(body) = plain(&emit.plan.clusters.clusters[i].work) else { continue };
        let like = likeness(emit, &body);
        let room = |members: &[(usize, Body)]| (members.len() + 1) * tensors(&body).len() <= MOST_POINTERS;
        match alike.iter_mut().find(|a| a.0 == like && room(&a.1)) {
            Some(a) => a.1.push((i, body)),
            None => alike.push((like, vec![(i, body)])),
        }
    }
    for (_, members) in alike {
        emit.begin(members[0].0);
        let all: Vec<usize> = (0..members[0].1.sinks.len()).collect();
        match members.as_slice() {
            [(_, body)] => nest(emit, "map", body, &all, &|_| None),
            _ => many(emit, &members.into_iter().map(|m| m.1).collect::<Vec<_>>(), &all),
        }
    }
}

/// One launch for bodies that are alike: blocks of one after those of the other, the code once.
fn many(emit: &mut Emit, bodies: &[Body], sinks: &[usize]) {
    let largest = bodies.iter().max_by_key(|b| b.elements());
    let Some(sample) = largest else { return };
    let flat = sample.domain.len() == 1;
    let needed = super::body::needed(sample, sinks);
    let grouping = Grouping::choose(emit.graph, sample, &needed, sinks, true);
    let groups = |b: &Body| b.elements().div_ceil(grouping.width);
    let threads = emit.threads(block_of(bodies.iter().map(groups).sum()));
    let mut f = Function::new(NAME, Role::Kernel { threads }, is_wide(sample));
    let list = tensors(sample);
    // Parameters for all, then the variables that one of them is chosen for.
    let mut args = vec![];
    let mut params: Vec<Vec<Var>> = vec![];
    for b in bodies {
        let own = tensors(b);
        let mut vars = vec![];
        for &(n, write) in &own {
            let kind = Kind::Pointer { dtype: emit.graph.ty(n).dtype, write, alone: false };
            vars.push(f.param(format!("p{}", args.len()), kind));
            args.push(Arg::Node(n));
        }
        params.push(vars);
    }
    let chosen: Vec<Var> = list
        .iter()
        .enumerate()
        .map(|(k, &(n, write))| {
            f.var(format!("q{k}"), Kind::Pointer { dtype: emit.graph.ty(n).dtype, write, alone: false })
        })
        .collect();
    let (block, count) = (f.mutable("block", Ty::Index), f.mutable("n", Ty::Index));
    let mut starts = vec![0usize];
    for b in bodies {
        starts.push(starts[starts.len() - 1] + groups(b).div_ceil(threads));
    }
    let mut chain: Vec<Stmt> = vec![];
    for (k, b) in bodies.iter().enumerate().rev() {
        let mut set = vec![];
        if starts[k] > 0 {
            set.push(Stmt::Assign(block, Expr::Var(block).plus(Expr::Index(-(starts[k] as i64)))));
        }
        if flat {
            set.push(Stmt::Assign(count, Expr::Index(b.elements() as i64)));
        }
        set.extend(chosen.iter().zip(&params[k]).map(|(&q, &p)| Stmt::Point(q, p)));
        chain = if k + 1 == bodies.len() {
            set
        } else {
            let mine = Expr::Var(block).infix(Infix::Lt, Expr::Index(starts[k + 1] as i64));
            vec![Stmt::If(mine, set, chain)]
        };
    }
    let pointers: BTreeMap<NodeId, Var> = list.iter().map(|t| t.0).zip(chosen.iter().copied()).collect();
    let mut lowering = Lowering { body: sample, loops: vec![], pointers, held: vec![], prefix: "r" };
    let t = f.scalar("t", Ty::Index);
    let total = if flat { Expr::Var(count) } else { Expr::Index(sample.elements() as i64) };
    let code = elements_of(&mut f, &mut lowering, &grouping, sinks, Expr::Var(t), total);
    f.body = chosen.iter().map(|&q| Stmt::Pointer(q)).collect();
    f.body.push(Stmt::Let(block, Expr::Builtin(Builtin::BlockX)));
    if flat {
        f.body.push(Stmt::Let(count, Expr::Index(0)));
    }
    f.body.extend(chain);
    f.body.push(Stmt::Let(t, thread(Expr::Var(block), threads)));
    f.body.extend(code);
    let blocks = starts[bodies.len()];
    let name = emit.function("update", &f, blocks);
    emit.launch(name, [blocks as u32, 1, 1], threads, 0, args);
}
