//! Loop nests on threads: which accesses are vectors, how a number becomes loop indices, the code of a group of
//! neighbours.

use super::body::{Lowering, Regs, needed, value};
use super::ir::{Expr, Function, Kind, Stmt, Ty, Var};
use crate::fuse::{Affine, Body, Code, Sink};
use crate::graph::{DType, Graph};

/// Smaller loop nests are not worth vectors: they would leave processors without work.
const VECTOR_FROM: usize = 4096;

/// How the innermost loop is cut into groups of neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grouping {
    /// Elements of a group: 1, 4 or 8.
    pub width: usize,
    /// Instructions that are vector loads.
    loads: Vec<bool>,
    /// Instructions that are noise of neighbours.
    noise: Vec<bool>,
    /// Sinks that are vector stores.
    stores: Vec<bool>,
}

/// Whether a form walks through neighbours with the innermost loop, from multiples of `width` on.
fn neighbours(a: &Affine, width: usize) -> bool {
    let Some((last, rest)) = a.coef.split_last() else { return false };
    let whole = |c: &i64| c % width as i64 == 0;
    *last == 1 && rest.iter().all(whole) && whole(&a.offset)
}

fn moves(a: &Affine) -> bool {
    a.coef.last().is_some_and(|&c| c != 0)
}

impl Grouping {
    /// One element at a time.
    pub fn single(body: &Body) -> Self {
        let n = body.insts.len();
        Self { width: 1, loads: vec![false; n], noise: vec![false; n], stores: vec![false; body.sinks.len()] }
    }

    /// The best one for the needed part of a body; `ragged`: the last group of a single loop may be cut off.
    pub fn choose(graph: &Graph, body: &Body, needed: &[bool], sinks: &[usize], ragged: bool) -> Self {
        let single = Self::single(body);
        let Some(&inner) = body.domain.last() else { return single };
        if body.elements() < VECTOR_FROM {
            return single;
        }
        let half = |d: DType| matches!(d, DType::F16 | DType::Bf16);
        let moving = moving(body, &|l| l + 1 == body.domain.len());
        for width in [8, 4] {
            if inner % width != 0 && !(ragged && body.domain.len() == 1) {
                continue;
            }
            let mut g = Self { width, ..single.clone() };
            let mut halves = false;
            for (i, inst) in body.insts.iter().enumerate().filter(|i| needed[i.0]) {
                match &inst.code {
                    Code::Load { from, at, guards } if guards.is_empty() && neighbours(at, width) => {
                        g.loads[i] = true;
                        halves |= half(graph.ty(*from).dtype);
                    }
                    Code::Random { sample, element, .. } => {
                        g.noise[i] = !moves(sample)
                            && neighbours(element, width)
                            && !inst.args.iter().any(|&a| moving[a as usize]);
                    }
                    _ => {}
                }
            }
            for &s in sinks {
                if let Sink::Store { node, at, .. } = &body.sinks[s]
                    && neighbours(at, width)
                {
                    g.stores[s] = true;
                    halves |= half(graph.ty(*node).dtype);
                }
            }
            let any = g.loads.iter().chain(&g.noise).chain(&g.stores).any(|&v| v);
            if any && (halves || width == 4) {
                return g;
            }
        }
        single
    }
}

/// For each instruction whether its result changes with a loop that `loops` says yes of.
pub(super) fn moving(body: &Body, loops: &dyn Fn(usize) -> bool) -> Vec<bool> {
    let moves = |a: &Affine| a.coef.iter().enumerate().any(|(i, &c)| c != 0 && loops(i));
    let mut result: Vec<bool> = vec![];
    for inst in &body.insts {
        let own = match &inst.code {
            Code::Load { at, guards, .. } => moves(at) || guards.iter().any(|g| moves(&g.at)),
            Code::Iota(at) => moves(at),
            Code::Random { sample, element, .. } => moves(sample) || moves(element),
            Code::Merge(guards) => guards.iter().any(|g| moves(&g.at)),
            Code::Const(_) | Code::Unary(_) | Code::Binary(_) | Code::Select | Code::Cast(_) => false,
        };
        result.push(own || inst.args.iter().any(|&a| result[a as usize]));
    }
    result
}

/// Declares the indices of these loops, given the number of an element of their nest in row-major order.
pub(super) fn indices(
    f: &mut Function,
    number: Expr,
    loops: &[(usize, usize)],
    names: &str,
    out: &mut Vec<Stmt>,
) -> Vec<Expr> {
    let mut rest = number;
    let mut found = vec![];
    for (k, &(i, extent)) in loops.iter().enumerate().rev() {
        let index = if k == 0 { rest.clone() } else { rest.clone().modulo(extent as i64) };
        let e = match index {
            Expr::Index(_) | Expr::Var(_) => index,
            e => {
                let v = f.scalar(format!("{names}{i}"), Ty::Index);
                out.push(Stmt::Let(v, e));
                Expr::Var(v)
            }
        };
        found.push(e);
        if k > 0 {
            rest = rest.over(extent as i64);
            // A name for the quotient keeps the expressions short.
            if k > 1 && !matches!(rest, Expr::Var(_) | Expr::Index(_)) {
                let v = f.scalar(format!("{names}{i}_"), Ty::Index);
                out.push(Stmt::Let(v, rest));
                rest = Expr::Var(v);
            }
        }
    }
    found.reverse();
    found
}

/// What is done with an element besides the vector stores: function, lowering, results of instructions, statements.
pub(super) type Each<'a> = dyn FnMut(&mut Function, &Lowering, &Regs, &mut Vec<Stmt>) + 'a;

/// Adds the code of one group: `lowering.loops` are the indices of its first element; `each` adds what is done with
/// an element besides the vector stores.
pub(super) fn group(
    f: &mut Function,
    lowering: &mut Lowering,
    grouping: &Grouping,
    sinks: &[usize],
    each: &mut Each,
    out: &mut Vec<Stmt>,
) {
    let body = lowering.body;
    let wanted = needed(body, sinks);
    if grouping.width == 1 {
        let regs = lowering.emit(f, &wanted, &[], out);
        for &s in sinks {
            out.extend(lowering.store(&body.sinks[s], &regs));
        }
        each(f, lowering, &regs, out);
        return;
    }
    let width = grouping.width;
    let first = lowering.loops.clone();
    let lane = f.scalar("v", Ty::Index);
    let element = |array: Var| Expr::Element(array, Box::new(Expr::Var(lane)));
    let local = |f: &mut Function, name: String, ty: Ty| f.var(name, Kind::Local { ty, len: width });
    // What is the same for all of the group comes first.
    let moving = moving(body, &|l| l + 1 == body.domain.len());
    let fixed: Vec<bool> = (0..body.insts.len()).map(|i| wanted[i] && !moving[i]).collect();
    let mut known = lowering.emit(f, &fixed, &[], out);
    let mut held = vec![];
    for (i, inst) in body.insts.iter().enumerate() {
        match &inst.code {
            Code::Load { from, at, .. } if grouping.loads[i] => {
                let array = local(f, format!("x{i}"), Ty::of(inst.dtype));
                out.push(Stmt::Array(array));
                out.push(Stmt::LoadVector(array, lowering.pointers[from], lowering.affine(at)));
                held.push((*from, at.clone(), element(array)));
            }
            Code::Random { dist, .. } if grouping.noise[i] => {
                let array = local(f, format!("x{i}"), Ty::of(inst.dtype));
                out.push(Stmt::Array(array));
                if let Some(args) = lowering.random(inst, &known) {
                    out.push(Stmt::Noise(array, *dist, args));
                }
                known[i] = Some(element(array));
            }
            _ => {}
        }
    }
    let mut results = vec![];
    for &s in sinks.iter().filter(|&&s| grouping.stores[s]) {
        let ty = Ty::of(body.insts[body.sinks[s].reg() as usize].dtype);
        let array = local(f, format!("y{s}"), ty);
        out.push(Stmt::Array(array));
        results.push((s, array));
    }
    // Positions of vector stores are those of the first element.
    let places: Vec<Expr> = results
        .iter()
        .map(|&(s, _)| match &body.sinks[s] {
            Sink::Store { at, .. } | Sink::Reduce { at, .. } => lowering.affine(at),
        })
        .collect();
    let mut inner = vec![];
    let at = f.scalar("j", Ty::Index);
    let last = first.last().cloned().unwrap_or(Expr::Index(0));
    inner.push(Stmt::Let(at, last.plus(Expr::Var(lane))));
    if let Some(l) = lowering.loops.last_mut() {
        *l = Expr::Var(at);
    }
    lowering.held.extend(held);
    let regs = lowering.emit(f, &wanted, &known, &mut inner);
    for &s in sinks {
        match results.iter().find(|r| r.0 == s) {
            Some(&(_, array)) => {
                let v = value(&regs, body.sinks[s].reg());
                inner.push(Stmt::Put(array, Expr::Var(lane), v));
            }
            None => inner.extend(lowering.store(&body.sinks[s], &regs)),
        }
    }
    each(f, lowering, &regs, &mut inner);
    let (from, to, step) = (Expr::Index(0), Expr::Index(width as i64), Expr::Index(1));
    out.push(Stmt::For { var: lane, from, to, step, unroll: u32::MAX, body: inner });
    for ((s, array), at) in results.into_iter().zip(places) {
        out.push(Stmt::StoreVector(lowering.pointers[&body.sinks[s].node()], at, array));
    }
    lowering.held.clear();
    lowering.loops = first;
}
