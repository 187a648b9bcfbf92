//! The text form of a graph: prints here and parses in [`parse`].
//!
//! ```text
//! %0: f32[8,3,4,4] = input "x"
//! %1: f32[6,3,3,3] = param "D.conv.weight"
//! %2: f32[8,6,2,2] = conv_fwd %0, %1 stride=[2,2] pad=[1,1]      ; D.conv
//! %4: bool[8,6,2,2] = lt 0.0, %2                                 ; D.act ^1
//! output "mask" %4
//! ```
//!
//! A line is a node: its number, type, op, arguments and attributes; attributes at their default are left out, and
//! so is everything that the types say. After `;` stands the origin: the layer path and, after `^`, the order of
//! gradient. Splat constants that only elementwise ops use are written where they are used and have no line; their
//! numbers are skipped. `parse` finds every number again: `print(parse(print(g))) == print(g)`.

use super::op::{Binary, Const, ContractDims, ConvGeom, Dist, Layout, Op, Unary, Window};
use super::ty::DType;
use super::{Graph, NodeId};
use std::fmt::{self, Write};

pub use parse::{ParseError, parse};

#[path = "text_parse.rs"]
mod parse;

const COMMENT_COLUMN: usize = 64;

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print(self))
    }
}

/// The whole graph with its outputs.
pub fn print(g: &Graph) -> String {
    let hidden = hidden_constants(g);
    let mut out = String::new();
    for id in g.ids().filter(|id| !hidden[id.index()]) {
        line(&mut out, g, id, &|a| hidden[a.index()]);
        out.push('\n');
    }
    for (name, id) in &g.outputs {
        let _ = writeln!(out, "output {name:?} %{}", id.0);
    }
    out
}

/// One node as its line would be, with its arguments' numbers.
pub fn node_line(g: &Graph, id: NodeId) -> String {
    let mut out = String::new();
    line(&mut out, g, id, &|_| false);
    out
}

/// Splat constants that are written in place: all their uses are arguments of elementwise ops whose type says theirs.
fn hidden_constants(g: &Graph) -> Vec<bool> {
    let mut hidden = vec![false; g.nodes().len()];
    for node in g.nodes() {
        node.args.iter().for_each(|a| hidden[a.index()] = g.as_splat(*a).is_some());
    }
    for node in g.nodes() {
        for (k, a) in node.args.iter().enumerate() {
            hidden[a.index()] &= match &node.op {
                Op::Binary(f) => match f {
                    Binary::Add | Binary::Mul | Binary::Max | Binary::Min | Binary::And | Binary::Or => true,
                    Binary::Lt | Binary::Le | Binary::Eq => g.as_splat(node.args[1 - k]).is_none(),
                },
                Op::Select => k > 0,
                _ => false,
            };
        }
    }
    g.outputs.iter().for_each(|o| hidden[o.1.index()] = false);
    hidden
}

fn line(out: &mut String, g: &Graph, id: NodeId, inline: &dyn Fn(NodeId) -> bool) {
    let node = g.node(id);
    let begin = out.len();
    let _ = write!(out, "%{}: {} = {}", id.0, node.ty, op_name(&node.op));
    for (i, &a) in node.args.iter().enumerate() {
        out.push_str(if i == 0 { " " } else { ", " });
        match g.as_splat(a).filter(|_| inline(a)) {
            Some(v) => number(out, v, g.ty(a).dtype),
            None => {
                let _ = write!(out, "%{}", a.0);
            }
        }
    }
    attributes(out, g, id);
    let origin = g.origin(id);
    if !origin.path.is_empty() || origin.order > 0 {
        let width = out.len() - begin;
        let _ = write!(out, "{:1$}; ", "", COMMENT_COLUMN.saturating_sub(width).max(2));
        out.push_str(&origin.path);
        if origin.order > 0 {
            let _ = write!(out, "{}^{}", if origin.path.is_empty() { "" } else { " " }, origin.order);
        }
    }
}

fn number(out: &mut String, v: f64, dtype: DType) {
    let _ = match dtype {
        DType::F32 | DType::F16 | DType::Bf16 => write!(out, "{v:?}"),
        DType::U32 => write!(out, "{v}"),
        DType::Bool => write!(out, "{}", v != 0.0),
    };
}

/// An op's name in the text form.
pub fn op_name(op: &Op) -> &'static str {
    match op {
        Op::Input(_) => "input",
        Op::Param(_) => "param",
        Op::State(_) => "state",
        Op::Const(_) => "const",
        Op::Iota { .. } => "iota",
        Op::Random { .. } => "random",
        Op::Unary(f) => unary_name(*f),
        Op::Binary(f) => binary_name(*f),
        Op::Select => "select",
        Op::Cast => "cast",
        Op::Reshape => "reshape",
        Op::Permute(_) => "permute",
        Op::Broadcast => "broadcast",
        Op::Slice { .. } => "slice",
        Op::Pad { .. } => "pad",
        Op::Reverse(_) => "reverse",
        Op::Concat { .. } => "concat",
        Op::Unfold(_) => "unfold",
        Op::Fold(_) => "fold",
        Op::Sum(_) => "sum",
        Op::Max(_) => "max_reduce",
        Op::ArgMax(_) => "argmax",
        Op::Contract(_) => "contract",
        Op::ConvFwd(_) => "conv_fwd",
        Op::ConvDataGrad(_) => "conv_data_grad",
        Op::ConvWeightGrad(_) => "conv_weight_grad",
        Op::GatherRows => "gather_rows",
        Op::ScatterRows => "scatter_rows",
        Op::Stop => "stop",
    }
}

/// A unary function's name in the text form.
pub fn unary_name(f: Unary) -> &'static str {
    match f {
        Unary::Neg => "neg",
        Unary::Recip => "recip",
        Unary::Sqrt => "sqrt",
        Unary::Exp => "exp",
        Unary::Log => "log",
        Unary::Log1p => "log1p",
        Unary::Tanh => "tanh",
        Unary::Erf => "erf",
        Unary::Sin => "sin",
        Unary::Cos => "cos",
        Unary::Abs => "abs",
        Unary::Sign => "sign",
        Unary::Floor => "floor",
        Unary::Tf32 => "tf32",
        Unary::Not => "not",
    }
}

/// A binary function's name in the text form.
pub fn binary_name(f: Binary) -> &'static str {
    match f {
        Binary::Add => "add",
        Binary::Mul => "mul",
        Binary::Max => "max",
        Binary::Min => "min",
        Binary::Lt => "lt",
        Binary::Le => "le",
        Binary::Eq => "eq",
        Binary::And => "and",
        Binary::Or => "or",
    }
}

/// A distribution's name in the text form.
pub fn dist_name(d: Dist) -> &'static str {
    match d {
        Dist::Bits => "bits",
        Dist::Uniform => "uniform",
        Dist::Normal => "normal",
    }
}

fn list(out: &mut String, name: &str, values: &[usize]) {
    let _ = write!(out, " {name}=[");
    for (i, v) in values.iter().enumerate() {
        let _ = write!(out, "{}{v}", if i > 0 { "," } else { "" });
    }
    out.push(']');
}

/// A list, unless all of it is `default`.
fn list_unless(out: &mut String, name: &str, values: &[usize], default: usize) {
    if values.iter().any(|&v| v != default) {
        list(out, name, values);
    }
}

fn pairs(out: &mut String, name: &str, values: &[(usize, usize)]) {
    if !values.is_empty() {
        let _ = write!(out, " {name}=[");
        for (i, (a, b)) in values.iter().enumerate() {
            let _ = write!(out, "{}{a}:{b}", if i > 0 { "," } else { "" });
        }
        out.push(']');
    }
}

fn attributes(out: &mut String, g: &Graph, id: NodeId) {
    let node = g.node(id);
    let _ = match &node.op {
        Op::Input(name) | Op::Param(name) | Op::State(name) => write!(out, " {name:?}"),
        Op::Const(Const::Splat(v)) => {
            out.push(' ');
            number(out, v.0, node.ty.dtype);
            Ok(())
        }
        Op::Const(Const::Dense(values)) => {
            for (i, v) in values.iter().enumerate() {
                out.push_str(if i == 0 { " [" } else { ", " });
                number(out, v.0, node.ty.dtype);
            }
            write!(out, "{}", if values.is_empty() { " []" } else { "]" })
        }
        Op::Iota { axis } | Op::Concat { axis } => write!(out, " axis={axis}"),
        Op::Random { stream, dist } => write!(out, " stream={stream:#x} dist={}", dist_name(*dist)),
        Op::Permute(perm) => {
            list(out, "perm", perm);
            Ok(())
        }
        Op::Slice { start, limit, step } => {
            list_unless(out, "start", start, 0);
            if *limit != g.ty(node.args[0]).shape {
                list(out, "limit", limit);
            }
            list_unless(out, "step", step, 1);
            Ok(())
        }
        Op::Pad { lo, hi, interior, value } => {
            list_unless(out, "lo", lo, 0);
            list_unless(out, "hi", hi, 0);
            list_unless(out, "interior", interior, 0);
            if value.0.to_bits() == 0 { Ok(()) } else { write!(out, " value={:?}", value.0) }
        }
        Op::Reverse(axes) | Op::Sum(axes) | Op::Max(axes) | Op::ArgMax(axes) => {
            list(out, "axes", axes);
            Ok(())
        }
        Op::Unfold(w) | Op::Fold(w) => window(out, w),
        Op::Contract(ContractDims { batch, contracted }) => {
            pairs(out, "batch", batch);
            pairs(out, "contracted", contracted);
            Ok(())
        }
        Op::ConvFwd(c) | Op::ConvDataGrad(c) | Op::ConvWeightGrad(c) => geometry(out, c),
        Op::Unary(_)
        | Op::Binary(_)
        | Op::Select
        | Op::Cast
        | Op::Reshape
        | Op::Broadcast
        | Op::GatherRows
        | Op::ScatterRows
        | Op::Stop => Ok(()),
    };
}

fn window(out: &mut String, w: &Window) -> fmt::Result {
    list(out, "kernel", &w.kernel);
    list_unless(out, "stride", &w.stride, 1);
    list_unless(out, "dilation", &w.dilation, 1);
    list_unless(out, "pad_lo", &w.pad_lo, 0);
    list_unless(out, "pad_hi", &w.pad_hi, 0);
    if w.value.0.to_bits() == 0 { Ok(()) } else { write!(out, " value={:?}", w.value.0) }
}

fn geometry(out: &mut String, c: &ConvGeom) -> fmt::Result {
    list_unless(out, "stride", &c.stride, 1);
    list_unless(out, "pad", &c.pad, 0);
    list_unless(out, "dilation", &c.dilation, 1);
    if c.groups != 1 {
        let _ = write!(out, " groups={}", c.groups);
    }
    match c.layout {
        Layout::ChannelsFirst => Ok(()),
        Layout::ChannelsLast => write!(out, " layout=channels_last"),
        Layout::AllLast => write!(out, " layout=all_last"),
    }
}
