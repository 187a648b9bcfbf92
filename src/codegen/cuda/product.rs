//! Products and convolutions as they are defined, a thread for each element: what no template covers, and what the
//! templates are checked against.

use super::body::{Lowering, is_wide, needed, value};
use super::emit::{Emit, NAME, Tensors};
use super::ir::{Builtin, Call, Expr, Function, Infix, Role, Stmt, Ty, Var};
use super::map::{block_of, nest, prefill, simplified};
use super::nest::indices;
use super::reduce::reduce;
use super::{Arg, contract};
use crate::fuse::{Affine, Body, Operand, Product, Reg, Sink};
use crate::graph::op::axes;
use crate::graph::{ContractDims, ConvGeom, NodeId};

/// A product with its operands as bodies and what follows it.
pub(super) struct Job<'a> {
    pub node: NodeId,
    pub product: &'a Product,
    pub lhs: &'a Operand,
    pub rhs: &'a Operand,
    pub epilogue: Option<&'a Body>,
}

/// The launches of a product.
pub(super) fn product(emit: &mut Emit, job: &Job) {
    let ends = |b: &Body| b.sinks.iter().any(|s| matches!(s, Sink::Reduce { .. }));
    match job.epilogue {
        None => tiled(emit, job, Follow::Store(Arg::Node(job.node))),
        Some(body) => {
            prefill(emit, body);
            if !contract::scattered(emit.graph, job, body) {
                if !ends(body) {
                    tiled(emit, job, Follow::Body(body, None));
                    return;
                }
                if contract::product(emit, job, &Follow::Body(body, None)) {
                    return;
                }
            }
            // The result waits for loops of their own, in its memory if it has any.
            let own = |s: &Sink| matches!(s, Sink::Store { node, .. } if *node == job.node);
            let ty = emit.graph.ty(job.node).clone();
            let at = match body.sinks.iter().any(own) {
                true => Arg::Node(job.node),
                false => Arg::Scratch(emit.scratch(ty.bytes())),
            };
            tiled(emit, job, Follow::Store(at));
            let mut body = body.clone();
            body.sinks.retain(|s| !own(s));
            after(emit, job.node, &body, at);
        }
    }
}

/// The kernel of a product that has whole sums and all of its epilogue; false, and nothing added, if there is none.
pub(super) fn whole(emit: &mut Emit, job: &Job) -> bool {
    match job.epilogue {
        None => contract::product(emit, job, &Follow::Store(Arg::Node(job.node))),
        Some(body) => {
            let fills = body.sinks.iter().any(|s| matches!(s, Sink::Store { prefill: Some(_), .. }));
            !fills && contract::product(emit, job, &Follow::Body(body, None))
        }
    }
}

/// The kernel of a product with reductions and a map over their results; false, and nothing added, if there is none.
pub(super) fn followed(emit: &mut Emit, job: &Job, then: &Body) -> bool {
    let Some(body) = job.epilogue else { return false };
    let fills = body.sinks.iter().any(|s| matches!(s, Sink::Store { prefill: Some(_), .. }));
    !fills
        && !contract::scattered(emit.graph, job, body)
        && contract::product(emit, job, &Follow::Body(body, Some(then)))
}

/// By the templates, where they can count that far.
fn tiled(emit: &mut Emit, job: &Job, follow: Follow) {
    if !contract::product(emit, job, &follow) {
        element_wise(emit, job, follow);
    }
}

/// What becomes of an element.
pub(super) enum Follow<'a> {
    /// Stored here as it is.
    Store(Arg),
    /// An epilogue, with reductions if the templates have a place for them; and a map over their results, which those
    /// reductions must have then.
    Body(&'a Body, Option<&'a Body>),
}

/// The sum that one thread makes.
struct Sum<'a> {
    f: Function,
    lhs: Lowering<'a>,
    rhs: Lowering<'a>,
    acc: Var,
}

impl Sum<'_> {
    /// `acc += lhs[left] * rhs[right]`
    fn add(&mut self, left: Vec<Expr>, right: Vec<Expr>, out: &mut Vec<Stmt>) {
        let mut factors = vec![];
        for (side, at) in [(&mut self.lhs, left), (&mut self.rhs, right)] {
            side.loops = at;
            let last = side.body.insts.len().saturating_sub(1);
            let mut wanted = vec![false; side.body.insts.len()];
            wanted[last] = true;
            super::body::mark(&side.body.insts, &mut wanted);
            let regs = side.emit(&mut self.f, &wanted, &[], out);
            factors.push(value(&regs, last as Reg));
        }
        factors.push(Expr::Var(self.acc));
        out.push(Stmt::Assign(self.acc, Expr::Call(Call::Fma, factors)));
    }

    fn loop_over(&mut self, name: &str, extent: usize) -> (Var, Expr, usize) {
        let v = self.f.scalar(name, Ty::Index);
        (v, Expr::Var(v), extent)
    }
}

fn repeat(var: Var, extent: usize, body: Vec<Stmt>) -> Vec<Stmt> {
    let (from, to, step) = (Expr::Index(0), Expr::Index(extent as i64), Expr::Index(1));
    vec![Stmt::For { var, from, to, step, unroll: 1, body }]
}

fn element_wise(emit: &mut Emit, job: &Job, follow: Follow) {
    let graph = emit.graph;
    let ty = graph.ty(job.node).clone();
    let count = ty.elements();
    if count == 0 {
        return;
    }
    let threads = emit.threads(block_of(count));
    let far = matches!(follow, Follow::Body(b, _) if is_wide(b));
    let wide = far || is_wide(&job.lhs.body) || is_wide(&job.rhs.body) || count > i32::MAX as usize - (1 << 20);
    let mut f = Function::new(NAME, Role::Kernel { threads }, wide);
    let mut reads = [job.lhs.body.reads(), job.rhs.body.reads()].concat();
    let mut writes = vec![];
    let mut place = None;
    match &follow {
        Follow::Store(arg) => {
            writes.push(job.node);
            place = Some(*arg);
        }
        Follow::Body(b, _) => {
            reads.extend(b.reads().into_iter().filter(|&n| n != job.node));
            writes.extend(b.sinks.iter().map(Sink::node));
        }
    }
    reads.sort_unstable();
    reads.dedup();
    let node = job.node;
    let Tensors { pointers, args } =
        Tensors::declare(emit, &mut f, &reads, &writes, &|n| if n == node { place } else { None });
    let (t, acc) = (f.scalar("t", Ty::Index), f.mutable("sum", Ty::F32));
    let pointers_of = || pointers.clone();
    let lhs = Lowering { body: &job.lhs.body, loops: vec![], pointers: pointers_of(), held: vec![], prefix: "a" };
    let rhs = Lowering { body: &job.rhs.body, loops: vec![], pointers: pointers_of(), held: vec![], prefix: "b" };
    let mut sum = Sum { f, lhs, rhs, acc };
    let mut code = vec![];
    let axes: Vec<(usize, usize)> = ty.shape.iter().copied().enumerate().collect();
    let at = indices(&mut sum.f, Expr::Var(t), &axes, "i", &mut code);
    code.push(Stmt::Let(acc, Expr::F32(0)));
    let empty = job.lhs.shape.contains(&0) || job.rhs.shape.contains(&0);
    if !empty {
        let more = match job.product {
            Product::Dot(d) => dot(&mut sum, d, job, &at),
            Product::ConvFwd(c) => forward(&mut sum, c, &at),
            Product::ConvDataGrad(c) => data_grad(&mut sum, c, &at),
            Product::ConvWeightGrad(c) => weight_grad(&mut sum, c, &at),
        };
        code.extend(more);
    }
    let mut f = sum.f;
    match follow {
        Follow::Store(_) => code.push(Stmt::Store(pointers[&node], Expr::Var(t), Expr::Var(acc))),
        Follow::Body(body, _) => {
            // Its loops go over the result in order, however many they are.
            let extents: Vec<(usize, usize)> = body.domain.iter().copied().enumerate().collect();
            let loops = indices(&mut f, Expr::Var(t), &extents, "m", &mut code);
            let here = Affine::row_major(&body.domain);
            let held = vec![(node, here, Expr::Var(acc))];
            let after = Lowering { body, loops, pointers, held, prefix: "r" };
            let all: Vec<usize> = (0..body.sinks.len()).collect();
            let regs = after.emit(&mut f, &needed(body, &all), &[], &mut code);
            code.extend(body.sinks.iter().filter_map(|s| after.store(s, &regs)));
        }
    }
    let number = Expr::Builtin(Builtin::BlockX).times(threads as i64).plus(Expr::Builtin(Builtin::Thread));
    let inside = Expr::Var(t).infix(Infix::Lt, Expr::Index(count as i64));
    f.body = vec![Stmt::Let(t, number), Stmt::If(inside, code, vec![])];
    let blocks = count.div_ceil(threads);
    let name = emit.function("product", &f, blocks);
    emit.launch(name, [blocks as u32, 1, 1], threads, 0, args);
}

/// Coordinates of both operands from those of the result, `[batch…, free axes of lhs…, free axes of rhs…]`.
fn dot(sum: &mut Sum, d: &ContractDims, job: &Job, at: &[Expr]) -> Vec<Stmt> {
    let zero = || Expr::Index(0);
    let mut left = vec![zero(); job.lhs.shape.len()];
    let mut right = vec![zero(); job.rhs.shape.len()];
    let mut next = at.iter().cloned();
    for &(l, r) in &d.batch {
        let e = next.next().unwrap_or_else(zero);
        left[l] = e.clone();
        right[r] = e;
    }
    let used =
        |i: usize, of: &dyn Fn(&(usize, usize)) -> usize| d.batch.iter().chain(&d.contracted).any(|p| of(p) == i);
    for (_, e) in left.iter_mut().enumerate().filter(|x| !used(x.0, &|p| p.0)) {
        *e = next.next().unwrap_or_else(zero);
    }
    for (_, e) in right.iter_mut().enumerate().filter(|x| !used(x.0, &|p| p.1)) {
        *e = next.next().unwrap_or_else(zero);
    }
    let mut loops = vec![];
    for (k, &(l, r)) in d.contracted.iter().enumerate() {
        let (v, e, extent) = sum.loop_over(&format!("k{k}"), job.lhs.shape[l]);
        left[l] = e.clone();
        right[r] = e;
        loops.push((v, extent));
    }
    let mut code = vec![];
    sum.add(left, right, &mut code);
    for (v, extent) in loops.into_iter().rev() {
        code = repeat(v, extent, code);
    }
    code
}

/// Coordinates of an image tensor.
fn image(c: &ConvGeom, n: Expr, channel: Expr, spatial: Vec<Expr>) -> Vec<Expr> {
    axes(c.layout.images_last(), n, channel, spatial)
}

/// Coordinates of the weights.
fn kernel(c: &ConvGeom, o: Expr, channel: Expr, taps: &[(Var, Expr, usize)]) -> Vec<Expr> {
    axes(c.layout.weights_last(), o, channel, taps.iter().map(|t| t.1.clone()).collect())
}

/// Sample (or output channel), channel and position of coordinates.
fn parts(channels_last: bool, at: &[Expr]) -> (Expr, Expr, Vec<Expr>) {
    let last = at.len() - 1;
    if channels_last {
        (at[0].clone(), at[last].clone(), at[1..last].to_vec())
    } else {
        (at[0].clone(), at[1].clone(), at[2..].to_vec())
    }
}

/// Where tap `k` of an output position reads the input.
fn reach(c: &ConvGeom, i: usize, out: Expr, tap: Expr) -> Expr {
    let at = out.times(c.stride[i] as i64).plus(tap.times(c.dilation[i] as i64));
    at.plus(Expr::Index(-(c.pad[i] as i64)))
}

/// All of them hold.
fn all(tests: Vec<Expr>) -> Expr {
    tests.into_iter().reduce(Expr::and).unwrap_or(Expr::Bool(true))
}

fn forward(sum: &mut Sum, c: &ConvGeom, at: &[Expr]) -> Vec<Stmt> {
    let (n, o, out) = parts(c.layout.images_last(), at);
    let (per, each) = (c.c / c.groups, (c.o / c.groups).max(1));
    let (cv, ci, _) = sum.loop_over("c", per);
    let taps: Vec<_> = (0..c.kernel.len()).map(|i| sum.loop_over(&format!("k{i}"), c.kernel[i])).collect();
    let mut inner = vec![];
    let mut spatial = vec![];
    let mut inside = vec![];
    for (i, tap) in taps.iter().enumerate() {
        let v = sum.f.scalar(format!("x{i}"), Ty::Index);
        inner.push(Stmt::Let(v, reach(c, i, out[i].clone(), tap.1.clone())));
        inside.push(Expr::Inside(Box::new(Expr::Var(v)), c.input[i] as i64));
        spatial.push(Expr::Var(v));
    }
    let channel =
        if c.groups == 1 { ci.clone() } else { o.clone().over(each as i64).times(per as i64).plus(ci.clone()) };
    let weight = kernel(c, o, ci, &taps);
    let mut add = vec![];
    sum.add(image(c, n, channel, spatial), weight, &mut add);
    inner.push(Stmt::If(all(inside), add, vec![]));
    for tap in taps.iter().rev() {
        inner = repeat(tap.0, tap.2, inner);
    }
    repeat(cv, per, inner)
}

fn data_grad(sum: &mut Sum, c: &ConvGeom, at: &[Expr]) -> Vec<Stmt> {
    let (n, channel, x) = parts(c.layout.images_last(), at);
    let (per, each) = ((c.c / c.groups).max(1), c.o / c.groups);
    let (ov, oi, _) = sum.loop_over("o", each);
    let taps: Vec<_> = (0..c.kernel.len()).map(|i| sum.loop_over(&format!("k{i}"), c.kernel[i])).collect();
    let mut inner = vec![];
    let mut spatial = vec![];
    let mut inside = vec![];
    for (i, tap) in taps.iter().enumerate() {
        // The output position times its stride, if this tap of it reads here.
        let v = sum.f.scalar(format!("y{i}"), Ty::Index);
        let here = x[i].clone().plus(Expr::Index(c.pad[i] as i64));
        inner.push(Stmt::Let(v, here.infix(Infix::Sub, tap.1.clone().times(c.dilation[i] as i64))));
        let stride = c.stride[i] as i64;
        inside.push(Expr::Inside(Box::new(Expr::Var(v)), c.output[i] as i64 * stride));
        if stride > 1 {
            inside.push(Expr::Var(v).modulo(stride).infix(Infix::Eq, Expr::Index(0)));
        }
        spatial.push(Expr::Var(v).over(stride));
    }
    let (group, within) = match c.groups {
        1 => (Expr::Index(0), channel),
        _ => (channel.clone().over(per as i64), channel.modulo(per as i64)),
    };
    let o = group.times(each as i64).plus(oi);
    let weight = kernel(c, o.clone(), within, &taps);
    let mut add = vec![];
    sum.add(image(c, n, o, spatial), weight, &mut add);
    inner.push(Stmt::If(all(inside), add, vec![]));
    for tap in taps.iter().rev() {
        inner = repeat(tap.0, tap.2, inner);
    }
    repeat(ov, each, inner)
}

fn weight_grad(sum: &mut Sum, c: &ConvGeom, at: &[Expr]) -> Vec<Stmt> {
    let (per, each) = (c.c / c.groups, (c.o / c.groups).max(1));
    let (o, ci, taps) = parts(c.layout.weights_last(), at);
    let (nv, n, _) = sum.loop_over("n", c.n);
    let outs: Vec<_> = (0..c.output.len()).map(|i| sum.loop_over(&format!("y{i}"), c.output[i])).collect();
    let mut inner = vec![];
    let mut spatial = vec![];
    let mut inside = vec![];
    for (i, out) in outs.iter().enumerate() {
        let v = sum.f.scalar(format!("x{i}"), Ty::Index);
        inner.push(Stmt::Let(v, reach(c, i, out.1.clone(), taps[i].clone())));
        inside.push(Expr::Inside(Box::new(Expr::Var(v)), c.input[i] as i64));
        spatial.push(Expr::Var(v));
    }
    let channel = if c.groups == 1 { ci } else { o.clone().over(each as i64).times(per as i64).plus(ci) };
    let position = outs.iter().map(|x| x.1.clone()).collect();
    let mut add = vec![];
    let left = image(c, n.clone(), channel, spatial);
    sum.add(left, image(c, n, o, position), &mut add);
    inner.push(Stmt::If(all(inside), add, vec![]));
    for out in outs.iter().rev() {
        inner = repeat(out.0, out.2, inner);
    }
    repeat(nv, c.n, inner)
}

/// The launches of an epilogue as loops of its own, over a result that waits in `from`.
fn after(emit: &mut Emit, node: NodeId, body: &Body, from: Arg) {
    let (body, waits) = (simplified(body), |n| (n == node).then_some(from));
    if body.sinks.iter().any(|s| matches!(s, Sink::Reduce { .. })) {
        reduce(emit, &body, None, &waits);
    } else {
        let all: Vec<usize> = (0..body.sinks.len()).collect();
        nest(emit, "after", &body, &all, &waits);
    }
}
