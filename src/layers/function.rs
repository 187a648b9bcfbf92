//! Elementwise functions, products and reductions.

use super::activation::shifted_exp;
use super::args::{Bound, describe};
use super::value::{Fallible, axis_of, elementwise, joined, lift, need_real, real_of, settle, tensor_of};
use super::{Kind, LayerError, Scope, Tensor, Value};
use crate::graph::{Binary, ContractDims, NodeId, Unary};

/// `abs exp log sqrt sin cos sign`
pub(super) fn unary(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    need_real(x, &format!("`{}`", a.sig.name))?;
    let f = match a.sig.name {
        "abs" => Unary::Abs,
        "exp" => Unary::Exp,
        "log" => Unary::Log,
        "sqrt" => Unary::Sqrt,
        "sin" => Unary::Sin,
        "cos" => Unary::Cos,
        "sign" => Unary::Sign,
        _ => return Err(super::emit::unknown(a.sig)),
    };
    Ok(x.with(s.graph().unary(f, x.node)))
}

pub(super) fn clamp(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let who = "`clamp`";
    need_real(x, who)?;
    let mut out = x.clone();
    for (name, f) in [("lo", Binary::Max), ("hi", Binary::Min)] {
        let bound = match a.get(name) {
            Some(v) => real_of(s, v, who)?,
            None => return Err(a.refuse(name, "a number")),
        };
        out = elementwise(s, f, &out, &bound, who)?;
    }
    Ok(out)
}

pub(super) fn choose(s: &mut dyn Scope, c: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let who = "`where`";
    if c.kind != Kind::Bool {
        return Err(LayerError::new("E0303", format!("{who} takes truth values first; found {}", c.type_text()))
            .help("such as `where(x > 0, a, b)`"));
    }
    let mut branch = |name: &str| match a.get(name) {
        Some(v) => tensor_of(s, v, who),
        None => Err(a.refuse(name, "a tensor or a number")),
    };
    let (p, q) = (branch("a")?, branch("b")?);
    if p.kind != q.kind {
        return Err(LayerError::new(
            "E0303",
            format!("{who} chooses between {} and {}: they must be of one kind", p.type_text(), q.type_text()),
        ));
    }
    let out = Tensor { kind: p.kind, ..joined(c, &joined(&p, &q, who)?, who)? };
    let rank = out.shape.len();
    let (c, p, q) = (lift(s, c, rank, out.sample), lift(s, &p, rank, out.sample), lift(s, &q, rank, out.sample));
    let node = s.graph().select(c, p, q);
    Ok(settle(s, node, out))
}

/// Products of matrices in the last two axes; a vector on the left counts as a row.
pub(super) fn matmul(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let who = "`matmul`";
    need_real(x, who)?;
    let y = match a.get("b") {
        Some(v) => real_of(s, v, who)?,
        None => return Err(a.refuse("b", "a tensor")),
    };
    let refuse = || LayerError::new("E0301", format!("{who} of {:?} and {:?}", x.shape, y.shape));
    if y.shape.len() < 2 {
        return Err(refuse().help("the right side must be a matrix; `reshape(k, 1)` makes a column of a vector"));
    }
    if x.shape.is_empty() {
        return Err(refuse().help("the left side must be a matrix, or a vector (a row)"));
    }
    let row = x.shape.len() == 1;
    let (mut xs, ys) = (x.shape.clone(), y.shape.clone());
    if row {
        xs.insert(0, 1);
    }
    let (k, n) = (ys[ys.len() - 2], ys[ys.len() - 1]);
    if xs[xs.len() - 1] != k {
        return Err(refuse().help(format!(
            "the last axis on the left ({}) must equal the last but one on the right ({k})",
            xs[xs.len() - 1]
        )));
    }
    let m = xs[xs.len() - 2];
    let (lead_x, lead_y) = (xs[..xs.len() - 2].to_vec(), ys[..ys.len() - 2].to_vec());
    let sample = x.sample || y.sample;
    let mut shape = if lead_x.is_empty() { lead_y.clone() } else { lead_x.clone() };
    shape.extend(if row { vec![n] } else { vec![m, n] });
    let last = s.graph().shape(x.node).len() - 1;
    if lead_y.is_empty() && !y.sample {
        // The usual case: weights on the right.
        let node = s.graph().contract(x.node, y.node, ContractDims { batch: vec![], contracted: vec![(last, 0)] });
        return Ok(Tensor::real(node, sample, shape));
    }
    if !lead_x.is_empty() && !lead_y.is_empty() && lead_x != lead_y {
        return Err(refuse().help("the axes before the last two must be equal, or absent on one side"));
    }
    // Both sides with the same leading axes, which run together.
    let lead = if lead_x.is_empty() { lead_y } else { lead_x };
    let batch = if x.sample { s.graph().shape(x.node)[0] } else { s.graph().shape(y.node)[0] };
    let mut full = |t: &Tensor, tail: &[usize]| {
        let own = t.shape.len() > 2;
        let mut ones = if sample { vec![if t.sample { batch } else { 1 }] } else { vec![] };
        let mut all = if sample { vec![batch] } else { vec![] };
        ones.extend(if own { lead.clone() } else { vec![1; lead.len()] });
        all.extend(&lead);
        ones.extend(tail);
        all.extend(tail);
        let node = s.graph().reshape(t.node, &ones);
        s.graph().broadcast(node, &all)
    };
    let (p, q) = (full(x, &[m, k]), full(&y, &[k, n]));
    let axes = lead.len() + usize::from(sample);
    let dims = ContractDims { batch: (0..axes).map(|i| (i, i)).collect(), contracted: vec![(axes + 1, axes)] };
    let node = s.graph().contract(p, q, dims);
    let mut graph_shape = if sample { vec![batch] } else { vec![] };
    graph_shape.extend(&shape);
    let node = s.graph().reshape(node, &graph_shape);
    Ok(Tensor::real(node, sample, shape))
}

/// Tensors of a value: one, or the list that `params(G)` is.
fn parts(s: &mut dyn Scope, v: &Value, who: &str) -> Fallible<Vec<Tensor>> {
    match v {
        Value::List(list) if list.iter().any(|v| matches!(v, Value::Tensor(_))) => {
            list.iter().map(|v| real_of(s, v, who)).collect()
        }
        _ => Ok(vec![real_of(s, v, who)?]),
    }
}

/// Sum over all axes of the sample.
fn sum_within(s: &mut dyn Scope, t: &Tensor) -> Tensor {
    let g = s.graph();
    let axes: Vec<usize> = (t.lead()..g.shape(t.node).len()).collect();
    let sum = g.sum(t.node, &axes);
    let shape = g.shape(t.node)[..t.lead()].to_vec();
    let node = g.reshape(sum, &shape);
    Tensor::real(node, t.sample, [])
}

fn total(s: &mut dyn Scope, parts: Vec<Tensor>, who: &str) -> Fallible<Tensor> {
    let mut sum: Option<Tensor> = None;
    for t in &parts {
        let part = sum_within(s, t);
        sum = Some(match sum {
            Some(t) => elementwise(s, Binary::Add, &t, &part, who)?,
            None => part,
        });
    }
    sum.ok_or_else(|| LayerError::new("E0303", format!("{who} of an empty list")))
}

/// `dot(a, b)`, `norm(x)`, `sum(x)` of tensors and of lists of parameters.
pub(super) fn whole(s: &mut dyn Scope, input: &Value, a: &Bound) -> Fallible<Tensor> {
    let who = format!("`{}`", a.sig.name);
    let xs = parts(s, input, &who)?;
    match a.sig.name {
        "dot" => {
            let ys = match a.get("b") {
                Some(v) => parts(s, v, &who)?,
                None => return Err(a.refuse("b", "a tensor")),
            };
            if xs.len() != ys.len() {
                return Err(LayerError::new(
                    "E0301",
                    format!("{who} of lists of {} and {} tensors", xs.len(), ys.len()),
                ));
            }
            let mut products = Vec::new();
            for (x, y) in xs.iter().zip(&ys) {
                if x.shape != y.shape {
                    return Err(LayerError::new(
                        "E0302",
                        format!("{who} needs two equal shapes; found {:?} and {:?}", x.shape, y.shape),
                    ));
                }
                products.push(elementwise(s, Binary::Mul, x, y, &who)?);
            }
            total(s, products, &who)
        }
        "norm" => {
            let eps = a.number_in("eps", 0.0, f64::INFINITY)?;
            let squares = xs.iter().map(|x| x.with(s.graph().mul(x.node, x.node))).collect();
            let t = total(s, squares, &who)?;
            let g = s.graph();
            let inside = g.offset(t.node, eps);
            Ok(t.with(g.unary(Unary::Sqrt, inside)))
        }
        _ => total(s, xs, &who),
    }
}

/// Graph axes of a reduction (`axes:`, else all of the sample), and the shape that remains.
fn reduction(x: &Tensor, a: &Bound, who: &str) -> Fallible<(Vec<usize>, Vec<usize>)> {
    need_real(x, who)?;
    let mut axes = Vec::new();
    if a.get("axes").is_some() {
        for v in a.int_list("axes", -8)? {
            axes.push(axis_of(&x.shape, v, who)?);
        }
    } else {
        axes = (0..x.shape.len()).collect();
    }
    let rest = (0..x.shape.len()).filter(|i| !axes.contains(i)).map(|i| x.shape[i]).collect();
    Ok((axes.into_iter().map(|i| i + x.lead()).collect(), rest))
}

fn dropped(s: &mut dyn Scope, node: NodeId, x: &Tensor, rest: Vec<usize>) -> Tensor {
    let mut shape = s.graph().shape(x.node)[..x.lead()].to_vec();
    shape.extend(&rest);
    let node = s.graph().reshape(node, &shape);
    x.shaped(node, rest)
}

/// `sum max min logsumexp`, and `mean` with axes: within the sample.
pub(super) fn reduce(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let who = format!("`{}`", a.sig.name);
    let (axes, rest) = reduction(x, a, &who)?;
    let g = s.graph();
    let node = match a.sig.name {
        "sum" => g.sum(x.node, &axes),
        "mean" => g.mean(x.node, &axes),
        "max" => g.max_reduce(x.node, &axes),
        "min" => {
            let minus = g.neg(x.node);
            let max = g.max_reduce(minus, &axes);
            g.neg(max)
        }
        "logsumexp" => log_sum_exp(s, x.node, &axes),
        _ => return Err(super::emit::unknown(a.sig)),
    };
    Ok(dropped(s, node, x, rest))
}

/// Stable `log sum exp` along graph axes, which stay.
pub(super) fn log_sum_exp(s: &mut dyn Scope, x: NodeId, axes: &[usize]) -> NodeId {
    let g = s.graph();
    let (_, _, sum) = shifted_exp(g, x, axes);
    let log = g.unary(Unary::Log, sum);
    let m = g.max_reduce(x, axes);
    let m = g.stop(m);
    g.add(log, m)
}

/// `max(a, b)` and `min(a, b)`.
pub(super) fn extremum(s: &mut dyn Scope, x: &Tensor, b: &Value, a: &Bound) -> Fallible<Tensor> {
    let who = format!("`{}`", a.sig.name);
    if a.get("axes").is_some() {
        return Err(LayerError::new("E0310", format!("{who} takes a second value or `axes`, not both")));
    }
    need_real(x, &who)?;
    let y = real_of(s, b, &who)?;
    let f = if a.sig.name == "max" { Binary::Max } else { Binary::Min };
    elementwise(s, f, x, &y, &who)
}

/// `mean(x)` without axes: the average over batch and elements, common `[]`.
pub(super) fn mean_all(s: &mut dyn Scope, x: &Tensor) -> Fallible<Tensor> {
    need_real(x, "`mean`")?;
    let g = s.graph();
    let count: usize = g.shape(x.node).iter().product();
    let sum = g.sum_all(x.node);
    Ok(Tensor::real(g.scale(sum, 1.0 / count as f64), false, []))
}

/// `batch_mean batch_sum batch_max logmeanexp_batch`: common, of the sample's shape.
pub(super) fn over_batch(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let who = format!("`{}`", a.sig.name);
    need_real(x, &who)?;
    if !x.sample {
        return Err(LayerError::new(
            "E0304",
            format!("{who} needs a value for each sample; this one is the same for all"),
        )
        .help("`sum`, `mean` and `max` with `axes` reduce within a value"));
    }
    let g = s.graph();
    let batch = g.shape(x.node)[0];
    let node = match a.sig.name {
        "batch_mean" => g.mean(x.node, &[0]),
        "batch_sum" => g.sum(x.node, &[0]),
        "batch_max" => g.max_reduce(x.node, &[0]),
        "logmeanexp_batch" => {
            let log = log_sum_exp(s, x.node, &[0]);
            s.graph().offset(log, -(batch as f64).ln())
        }
        _ => return Err(super::emit::unknown(a.sig)),
    };
    let node = s.graph().reshape(node, &x.shape);
    Ok(Tensor::real(node, false, x.shape.clone()))
}

/// Index of the largest along the first axis, as a class.
pub(super) fn argmax(s: &mut dyn Scope, x: &Tensor) -> Fallible<Tensor> {
    need_real(x, "`argmax`")?;
    let Some(&k) = x.shape.first() else {
        return Err(LayerError::new("E0301", "`argmax` needs an axis of classes; found []"));
    };
    let node = s.graph().argmax(x.node, &[x.lead()]);
    let t = dropped(s, node, x, x.shape[1..].to_vec());
    Ok(Tensor { kind: Kind::Class(k), ..t })
}

/// Another sample's value: the batch shifted by one, so that no sample keeps its own.
pub(super) fn shuffle(s: &mut dyn Scope, x: &Tensor) -> Fallible<Tensor> {
    let batch = if x.sample { s.graph().shape(x.node)[0] } else { 1 };
    if batch < 2 {
        return Err(LayerError::new("E0304", "`shuffle` needs a value for each of at least two samples"));
    }
    let g = s.graph();
    let rest = g.slice_axis(x.node, 0, 1..batch);
    let first = g.slice_axis(x.node, 0, 0..1);
    Ok(x.with(g.concat(&[rest, first], 0)))
}

/// `stop(x)`
pub(super) fn stop(s: &mut dyn Scope, x: &Tensor) -> Fallible<Tensor> {
    Ok(x.with(s.graph().stop(x.node)))
}

/// A value for an error: its shape, or itself.
pub(super) fn found(v: &Value) -> String {
    match v {
        Value::Tensor(t) => t.type_text(),
        _ => describe(v),
    }
}
