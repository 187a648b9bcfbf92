//! Checks that a graph is what [`crate::graph`] says it always is.
//!
//! The rules are written a second time here, from the definitions of the ops and not from the builder, so that a
//! mistake in the builder or in a pass does not go unnoticed. A failure is a bug in ganc, never the user's.

use super::op::{Binary, Const, ConvGeom, Dist, Op, Unary, Window};
use super::ty::{DType, Type};
use super::{Graph, NodeId, text};
use std::collections::{HashMap, HashSet};

/// A graph that breaks a rule.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("this is a bug in ganc: the graph is malformed{}: {problem}\n  {node}", after.as_ref().map(|p| format!(" after `{p}`")).unwrap_or_default())]
pub struct VerifyError {
    /// What is wrong.
    pub problem: String,
    /// The node or output, in text form.
    pub node: String,
    /// The pass that left it so.
    pub after: Option<String>,
}

/// Re-checks every node and the outputs.
pub fn verify(g: &Graph) -> Result<(), VerifyError> {
    let mut seen: HashMap<(&Op, &[NodeId], &Type), NodeId> = HashMap::with_capacity(g.nodes().len());
    for id in g.ids() {
        let node = g.node(id);
        let fail = |problem: String| VerifyError { problem, node: text::node_line(g, id), after: None };
        if let Some(a) = node.args.iter().find(|&&a| a >= id) {
            return Err(fail(format!("argument %{} does not come before it", a.0)));
        }
        if node.origin as usize >= g.origins().len() {
            return Err(fail("its origin is not in the table".into()));
        }
        let bytes = node.ty.shape.iter().try_fold(node.ty.dtype.bytes(), |n, &d| n.checked_mul(d));
        if bytes.is_none() {
            return Err(fail("its size overflows".into()));
        }
        let args: Vec<&Type> = node.args.iter().map(|&a| g.ty(a)).collect();
        check(&node.op, &args, &node.ty).map_err(fail)?;
        if let Some(first) = seen.insert((&node.op, &node.args, &node.ty), id) {
            return Err(fail(format!("it repeats %{}", first.0)));
        }
    }
    let mut names = HashSet::new();
    for (name, id) in &g.outputs {
        let node = format!("output {name:?} %{}", id.0);
        if id.index() >= g.nodes().len() {
            return Err(VerifyError { problem: "no such node".into(), node, after: None });
        }
        if !names.insert(name) {
            return Err(VerifyError { problem: "two outputs of one name".into(), node, after: None });
        }
    }
    Ok(())
}

/// Panics with the message if a pass left a malformed graph.
pub fn assert_verified(g: &Graph, pass: &str) {
    if let Err(e) = verify(g) {
        panic!("{}", VerifyError { after: Some(pass.to_string()), ..e });
    }
}

type Check = Result<(), String>;

fn ensure(ok: bool, problem: impl FnOnce() -> String) -> Check {
    if ok { Ok(()) } else { Err(problem()) }
}

fn arity(args: &[&Type], n: usize) -> Check {
    ensure(args.len() == n, || format!("it has {} arguments and takes {n}", args.len()))
}

fn is(what: &str, got: &Type, want: &Type) -> Check {
    ensure(got == want, || format!("{what} is {got} and should be {want}"))
}

fn real(t: &Type) -> Check {
    ensure(t.dtype.is_float(), || format!("{t} is not real"))
}

/// Sorted, without repetition, in range.
fn axes_ok(axes: &[usize], rank: usize) -> Check {
    let ok = axes.windows(2).all(|w| w[0] < w[1]) && axes.iter().all(|&a| a < rank);
    ensure(ok, || format!("axes {axes:?} of rank {rank}"))
}

fn shape(ty: &Type, dtype: DType, want: &[usize]) -> Check {
    is("the result", ty, &Type::new(dtype, want))
}

fn check(op: &Op, args: &[&Type], ty: &Type) -> Check {
    match op {
        Op::Input(_) | Op::State(_) => arity(args, 0),
        Op::Param(_) => {
            arity(args, 0)?;
            real(ty)
        }
        Op::Const(c) => {
            arity(args, 0)?;
            let values = match c {
                Const::Splat(v) => std::slice::from_ref(v),
                Const::Dense(v) => {
                    ensure(v.len() == ty.elements(), || format!("{} values", v.len()))?;
                    v.as_slice()
                }
            };
            let fits = |v: f64| match ty.dtype {
                DType::F32 | DType::F16 | DType::Bf16 => true,
                DType::U32 => v == f64::from(v as u32),
                DType::Bool => v == 0.0 || v == 1.0,
            };
            match values.iter().find(|v| !fits(v.0)) {
                Some(v) => Err(format!("{} is no {}", v.0, ty.dtype.name())),
                None => Ok(()),
            }
        }
        Op::Iota { axis } => {
            arity(args, 0)?;
            ensure(*axis < ty.rank() && ty.dtype == DType::U32, || format!("axis {axis} of {ty}"))
        }
        Op::Random { stream: _, dist } => {
            arity(args, 2)?;
            is("the key", args[0], &Type::u32([2]))?;
            is("the counter", args[1], &Type::u32([]))?;
            let dtype = match dist {
                Dist::Bits => DType::U32,
                Dist::Uniform | Dist::Normal => DType::F32,
            };
            shape(ty, dtype, &ty.shape)
        }
        Op::Unary(f) => {
            arity(args, 1)?;
            match f {
                Unary::Not => is("the argument", args[0], &Type::new(DType::Bool, ty.shape.clone()))?,
                _ => real(args[0])?,
            }
            is("the result", ty, args[0])
        }
        Op::Binary(f) => {
            arity(args, 2)?;
            is("the second argument", args[1], args[0])?;
            match f {
                Binary::Add | Binary::Mul | Binary::Max | Binary::Min => {
                    ensure(ty.dtype != DType::Bool, || format!("arithmetic of {ty}"))?;
                    is("the result", ty, args[0])
                }
                Binary::Lt | Binary::Le | Binary::Eq => shape(ty, DType::Bool, &args[0].shape),
                Binary::And | Binary::Or => {
                    shape(args[0], DType::Bool, &args[0].shape)?;
                    is("the result", ty, args[0])
                }
            }
        }
        Op::Select => {
            arity(args, 3)?;
            is("the condition", args[0], &Type::new(DType::Bool, ty.shape.clone()))?;
            is("the first branch", args[1], ty)?;
            is("the second branch", args[2], ty)
        }
        Op::Cast => {
            arity(args, 1)?;
            shape(ty, ty.dtype, &args[0].shape)
        }
        Op::Stop => {
            arity(args, 1)?;
            is("the result", ty, args[0])
        }
        Op::Sum(axes) | Op::Max(axes) | Op::ArgMax(axes) => {
            arity(args, 1)?;
            axes_ok(axes, args[0].rank())?;
            ensure(args[0].dtype != DType::Bool, || "reduction of bool".into())?;
            let want: Vec<usize> =
                args[0].shape.iter().enumerate().map(|(i, &d)| if axes.contains(&i) { 1 } else { d }).collect();
            shape(ty, if matches!(op, Op::ArgMax(_)) { DType::U32 } else { args[0].dtype }, &want)
        }
        Op::Reshape
        | Op::Permute(_)
        | Op::Broadcast
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Reverse(_)
        | Op::Concat { .. }
        | Op::Unfold(_)
        | Op::Fold(_) => check_view(op, args, ty),
        Op::Contract(dims) => {
            arity(args, 2)?;
            real(args[0])?;
            let (a, b) = (args[0], args[1]);
            let (mut ua, mut ub) = (vec![false; a.rank()], vec![false; b.rank()]);
            for &(i, j) in dims.batch.iter().chain(&dims.contracted) {
                let ok = i < a.rank() && j < b.rank() && a.shape[i] == b.shape[j] && !ua[i] && !ub[j];
                ensure(ok, || format!("axes {i} of {a} and {j} of {b}"))?;
                (ua[i], ub[j]) = (true, true);
            }
            let free = |t: &Type, used: Vec<bool>| -> Vec<usize> {
                t.shape.iter().zip(used).filter(|u| !u.1).map(|u| *u.0).collect()
            };
            let batch: Vec<usize> = dims.batch.iter().map(|p| a.shape[p.0]).collect();
            ensure(b.dtype == a.dtype, || format!("factors {a} and {b}"))?;
            shape(ty, DType::F32, &[batch, free(a, ua), free(b, ub)].concat())
        }
        Op::ConvFwd(g) => check_conv(g, args, ty, [g.x_shape(), g.w_shape(), g.y_shape()]),
        Op::ConvDataGrad(g) => check_conv(g, args, ty, [g.y_shape(), g.w_shape(), g.x_shape()]),
        Op::ConvWeightGrad(g) => check_conv(g, args, ty, [g.x_shape(), g.y_shape(), g.w_shape()]),
        Op::GatherRows | Op::ScatterRows => {
            arity(args, if matches!(op, Op::GatherRows) { 2 } else { 3 })?;
            let (table, rows) = (args[0], args[1]);
            ensure(table.rank() > 0 && rows.rank() == 1 && rows.dtype == DType::U32, || {
                format!("rows {rows} of {table}")
            })?;
            let some = Type::new(table.dtype, [&rows.shape[..], &table.shape[1..]].concat());
            match op {
                Op::ScatterRows => {
                    is("the rows' values", args[2], &some)?;
                    is("the result", ty, table)
                }
                _ => is("the result", ty, &some),
            }
        }
    }
}

fn check_view(op: &Op, args: &[&Type], ty: &Type) -> Check {
    if let Op::Concat { axis } = op {
        ensure(!args.is_empty() && *axis < ty.rank(), || format!("concat of {} parts", args.len()))?;
        let mut total = 0;
        for a in args {
            let mut like = ty.clone();
            ensure(a.rank() == ty.rank(), || format!("part {a}"))?;
            like.shape[*axis] = a.shape[*axis];
            is("a part", a, &like)?;
            total += a.shape[*axis];
        }
        return ensure(total == ty.shape[*axis], || format!("the parts make {total}"));
    }
    arity(args, 1)?;
    let x = args[0];
    let rank = x.rank();
    let lengths = |lists: [&[usize]; 3]| {
        ensure(lists.iter().all(|l| l.len() == rank), || format!("attributes of another rank than {x}"))
    };
    match op {
        Op::Reshape => {
            ensure(x.elements() == ty.elements(), || format!("{x} has other elements"))?;
            shape(ty, x.dtype, &ty.shape)
        }
        Op::Permute(perm) => {
            let mut sorted = perm.clone();
            sorted.sort_unstable();
            ensure(sorted.iter().copied().eq(0..rank), || format!("{perm:?} of rank {rank}"))?;
            shape(ty, x.dtype, &perm.iter().map(|&p| x.shape[p]).collect::<Vec<_>>())
        }
        Op::Broadcast => {
            let ok = rank == ty.rank() && x.shape.iter().zip(&ty.shape).all(|(&a, &b)| a == b || a == 1);
            ensure(ok && x.dtype == ty.dtype, || format!("broadcast of {x}"))
        }
        Op::Slice { start, limit, step } => {
            lengths([start, limit, step])?;
            let mut want = Vec::new();
            for i in 0..rank {
                ensure(start[i] <= limit[i] && limit[i] <= x.shape[i] && step[i] > 0, || {
                    format!("axis {i} of {x}")
                })?;
                want.push((start[i]..limit[i]).step_by(step[i]).count());
            }
            shape(ty, x.dtype, &want)
        }
        Op::Pad { lo, hi, interior, .. } => {
            lengths([lo, hi, interior])?;
            let gaps = |i: usize| if x.shape[i] == 0 { 0 } else { interior[i] * (x.shape[i] - 1) };
            let want: Vec<usize> = (0..rank).map(|i| lo[i] + x.shape[i] + gaps(i) + hi[i]).collect();
            shape(ty, x.dtype, &want)
        }
        Op::Reverse(axes) => {
            axes_ok(axes, rank)?;
            is("the result", ty, x)
        }
        Op::Unfold(w) => {
            let (lead, out) = check_window(w, rank)?;
            ensure(x.shape[lead..] == w.size[..], || format!("windows over {:?} of {x}", w.size))?;
            shape(ty, x.dtype, &[&x.shape[..lead], &out[..], &w.kernel[..]].concat())
        }
        Op::Fold(w) => {
            let (lead, out) = check_window(w, ty.rank())?;
            shape(ty, x.dtype, &[&ty.shape[..lead], &w.size[..]].concat())?;
            shape(x, x.dtype, &[&ty.shape[..lead], &out[..], &w.kernel[..]].concat())
        }
        _ => Err("it is no view".into()),
    }
}

/// Rank of the leading axes and the number of windows along each axis.
fn check_window(w: &Window, rank: usize) -> Result<(usize, Vec<usize>), String> {
    let n = w.size.len();
    let same = [&w.kernel, &w.stride, &w.dilation, &w.pad_lo, &w.pad_hi].iter().all(|l| l.len() == n);
    ensure(same && n <= rank, || "attributes of windows of another rank".into())?;
    let mut out = Vec::new();
    for i in 0..n {
        ensure(w.kernel[i] > 0 && w.stride[i] > 0 && w.dilation[i] > 0, || format!("windows of axis {i}"))?;
        let (room, span) = (w.size[i] + w.pad_lo[i] + w.pad_hi[i], w.dilation[i] * (w.kernel[i] - 1) + 1);
        ensure(span <= room, || format!("a window of {span} in {room}"))?;
        out.push((0..=room - span).step_by(w.stride[i]).count());
    }
    Ok((rank - n, out))
}

fn check_conv(g: &ConvGeom, args: &[&Type], ty: &Type, shapes: [Vec<usize>; 3]) -> Check {
    arity(args, 2)?;
    real(args[0])?;
    let n = g.input.len();
    let lists = [&g.kernel, &g.output, &g.stride, &g.pad, &g.dilation];
    ensure(lists.iter().all(|l| l.len() == n), || "attributes of another rank than the image".into())?;
    ensure(g.groups > 0 && g.c.is_multiple_of(g.groups) && g.o.is_multiple_of(g.groups), || {
        format!("{} and {} channels in {} groups", g.c, g.o, g.groups)
    })?;
    ensure(g.stride.iter().chain(&g.dilation).chain(&g.kernel).all(|&v| v > 0), || "an extent of 0".into())?;
    let [a, b, y] = shapes;
    shape(args[0], args[0].dtype, &a)?;
    shape(args[1], args[0].dtype, &b)?;
    shape(ty, DType::F32, &y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_node_and_the_pass() {
        let mut g = Graph::new();
        let x = g.input("x", Type::f32([2, 3]));
        let bad = g.intern(Op::Sum(vec![1]), vec![x], Type::f32([2, 2]));
        g.output("y", bad);
        let mut e = verify(&g).unwrap_err();
        e.after = Some("simplify".into());
        insta::assert_snapshot!(e.to_string(), @r"
        this is a bug in ganc: the graph is malformed after `simplify`: the result is f32[2,2] and should be f32[2,1]
          %1: f32[2,2] = sum %0 axes=[1]
        ");
    }

    #[test]
    fn outputs_have_names_of_their_own() {
        let mut g = Graph::new();
        let x = g.input("x", Type::f32([2]));
        g.output("y", x);
        assert_eq!(verify(&g), Ok(()));
        g.output("y", x);
        assert_eq!(verify(&g).unwrap_err().problem, "two outputs of one name");
    }
}
