//! Value rules of LANGUAGE.md section 4: what goes with what, and arithmetic of values.

use super::args::describe;
use super::{Kind, LayerError, Scope, Tensor, Value};
use crate::graph::{Binary, DType, NodeId, Type, Unary};

/// What a built-in gives, or why it refuses.
pub type Fallible<T> = Result<T, LayerError>;

impl Tensor {
    /// A real tensor.
    pub fn real(node: NodeId, sample: bool, shape: impl Into<Vec<usize>>) -> Self {
        Self { node, kind: Kind::Real, sample, shape: shape.into() }
    }

    /// Another node of the same type.
    pub fn with(&self, node: NodeId) -> Self {
        Self { node, ..self.clone() }
    }

    /// Another node and shape, equal otherwise.
    pub fn shaped(&self, node: NodeId, shape: impl Into<Vec<usize>>) -> Self {
        Self { node, shape: shape.into(), ..self.clone() }
    }

    /// Graph axis of the language's axis 0.
    pub fn lead(&self) -> usize {
        usize::from(self.sample)
    }

    /// Number of elements a sample.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Its type as it is written: `[3, 32, 32]`, `class(10)`, `bool []`.
    pub fn type_text(&self) -> String {
        match self.kind {
            Kind::Real => format!("{:?}", self.shape),
            Kind::Class(k) if self.shape.is_empty() => format!("class({k})"),
            Kind::Class(k) => format!("class({k}) {:?}", self.shape),
            Kind::Bool => format!("bool {:?}", self.shape),
        }
    }
}

/// An operator of expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `^`
    Pow,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `==`
    Eq,
    /// `!=`
    Ne,
}

impl Operator {
    /// As it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Operator::Add => "+",
            Operator::Sub => "-",
            Operator::Mul => "*",
            Operator::Div => "/",
            Operator::Pow => "^",
            Operator::Lt => "<",
            Operator::Le => "<=",
            Operator::Gt => ">",
            Operator::Ge => ">=",
            Operator::Eq => "==",
            Operator::Ne => "!=",
        }
    }

    /// Whether it gives a truth value.
    pub fn compares(self) -> bool {
        matches!(self, Operator::Lt | Operator::Le | Operator::Gt | Operator::Ge | Operator::Eq | Operator::Ne)
    }
}

/// A value as a tensor: numbers and lists of numbers become common constants.
pub fn tensor_of(s: &mut dyn Scope, v: &Value, who: &str) -> Fallible<Tensor> {
    match v {
        Value::Tensor(t) => Ok(t.clone()),
        Value::Number(x) => Ok(Tensor::real(s.graph().scalar(*x), false, [])),
        Value::Bool(b) => {
            let node = s.graph().splat(f64::from(u8::from(*b)), Type::new(DType::Bool, []));
            Ok(Tensor { node, kind: Kind::Bool, sample: false, shape: vec![] })
        }
        Value::List(list) => {
            let mut values = Vec::new();
            let shape = flatten_list(list, &mut values).ok_or_else(|| {
                LayerError::new("E0303", format!("{who} needs a tensor; found {}", describe(v)))
                    .help("a list is a tensor only if it holds numbers, all rows alike")
            })?;
            let node = s.graph().dense(values, Type::f32(shape.clone()));
            Ok(Tensor::real(node, false, shape))
        }
        Value::Str(_) | Value::Word(_) | Value::Init(_) => {
            Err(LayerError::new("E0303", format!("{who} needs a tensor; found {}", describe(v))))
        }
    }
}

fn flatten_list(list: &[Value], out: &mut Vec<f64>) -> Option<Vec<usize>> {
    let mut inner: Option<Vec<usize>> = None;
    for v in list {
        let shape = match v {
            Value::Number(x) => {
                out.push(*x);
                vec![]
            }
            Value::List(l) => flatten_list(l, out)?,
            _ => return None,
        };
        if *inner.get_or_insert_with(|| shape.clone()) != shape {
            return None;
        }
    }
    let mut shape = vec![list.len()];
    shape.extend(inner?);
    Some(shape)
}

/// Refuses labels and truth values where reals are needed.
pub fn need_real(t: &Tensor, who: &str) -> Fallible<()> {
    match t.kind {
        Kind::Real => Ok(()),
        Kind::Class(k) => Err(LayerError::new("E0303", format!("{who} needs real numbers; found class({k})"))
            .help("a label becomes numbers by `one_hot` or `embed(n)`")),
        Kind::Bool => Err(LayerError::new("E0303", format!("{who} needs real numbers; found truth values"))
            .help("truth values become numbers by `where(c, 1, 0)`")),
    }
}

/// A real tensor from a value.
pub fn real_of(s: &mut dyn Scope, v: &Value, who: &str) -> Fallible<Tensor> {
    let t = tensor_of(s, v, who)?;
    need_real(&t, who)?;
    Ok(t)
}

fn is_scalar(shape: &[usize]) -> bool {
    shape.is_empty() || shape == [1]
}

/// Shape that two shapes broadcast to: `[]` and `[1]` go with anything, equal ranks where extents are equal or 1.
pub fn broadcast_shape(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    if is_scalar(a) && (b.len() >= a.len()) {
        return Some(b.to_vec());
    }
    if is_scalar(b) {
        return Some(a.to_vec());
    }
    if a.len() != b.len() {
        return None;
    }
    a.iter().zip(b).map(|(&p, &q)| if p == q || q == 1 { Some(p) } else { (p == 1).then_some(q) }).collect()
}

/// Graph node of `t` with `rank` axes behind the batch axis (if any operand is a sample): scalars get extents 1.
/// Common scalars stay rank 0, which goes with anything.
pub(super) fn lift(s: &mut dyn Scope, t: &Tensor, rank: usize, sample: bool) -> NodeId {
    if is_scalar(&t.shape) {
        if !t.sample {
            return s.graph().reshape(t.node, &[]);
        }
        let mut shape = vec![s.graph().shape(t.node)[0]];
        shape.extend(vec![1; rank]);
        return s.graph().reshape(t.node, &shape);
    }
    if t.sample || !sample {
        return t.node;
    }
    let mut shape = vec![1];
    shape.extend(&t.shape);
    s.graph().reshape(t.node, &shape)
}

/// Type of what two tensors together make: the first one's node and kind, the shape that both broadcast to.
pub(super) fn joined(a: &Tensor, b: &Tensor, who: &str) -> Fallible<Tensor> {
    match broadcast_shape(&a.shape, &b.shape) {
        Some(shape) => Ok(Tensor { node: a.node, kind: a.kind, sample: a.sample || b.sample, shape }),
        None => Err(mismatch(a, b, who)),
    }
}

/// Two tensors ready for a binary graph op: their nodes, and the type of the result (its node is to be set).
pub fn broadcast_pair(s: &mut dyn Scope, a: &Tensor, b: &Tensor, who: &str) -> Fallible<(NodeId, NodeId, Tensor)> {
    let out = joined(a, b, who)?;
    let rank = out.shape.len();
    Ok((lift(s, a, rank, out.sample), lift(s, b, rank, out.sample), out))
}

fn mismatch(a: &Tensor, b: &Tensor, who: &str) -> LayerError {
    let e = LayerError::new("E0302", format!("{who}: shapes {:?} and {:?} do not go together", a.shape, b.shape));
    let (short, long) = if a.shape.len() < b.shape.len() { (a, b) } else { (b, a) };
    if short.shape.len() == 1 && long.shape.len() > 1 && long.shape[0] == short.shape[0] {
        let mut d = vec![short.shape[0]];
        d.extend(vec![1; long.shape.len() - 1]);
        let d: Vec<String> = d.iter().map(usize::to_string).collect();
        return e
            .help(format!("write `reshape({})` to spread one number a channel over the other axes", d.join(", ")));
    }
    if short.shape.len() < long.shape.len() {
        return e.help("ranks must be equal; write `reshape(…)` with extents 1 where an axis is to be repeated");
    }
    e.help("extents must be equal, or 1 where an axis is to be repeated")
}

/// The node of `t` grown to exactly the graph shape of `like` (whose shape it broadcasts to).
pub fn grow(s: &mut dyn Scope, t: &Tensor, like: &Tensor, batch: usize) -> NodeId {
    let node = lift(s, t, like.shape.len(), like.sample);
    let mut shape = if like.sample { vec![batch] } else { vec![] };
    shape.extend(&like.shape);
    s.graph().broadcast(node, &shape)
}

/// An elementwise graph op of two real tensors, with the language's broadcasting.
pub fn elementwise(s: &mut dyn Scope, f: Binary, a: &Tensor, b: &Tensor, who: &str) -> Fallible<Tensor> {
    let (x, y, out) = broadcast_pair(s, a, b, who)?;
    let node = s.graph().binary(f, x, y);
    Ok(settle(s, node, out))
}

/// Gives `node` the graph shape that its language shape promises (rank-0 operands may have left it smaller).
pub fn settle(s: &mut dyn Scope, node: NodeId, out: Tensor) -> Tensor {
    let mut node = node;
    if !out.sample && s.graph().shape(node) != &out.shape[..] {
        node = if s.graph().shape(node).is_empty() {
            s.graph().broadcast(node, &out.shape)
        } else {
            s.graph().reshape(node, &out.shape)
        };
    }
    Tensor { node, ..out }
}

/// `a - b`, broadcast.
pub fn subtract(s: &mut dyn Scope, a: &Tensor, b: &Tensor, who: &str) -> Fallible<Tensor> {
    let minus = s.graph().neg(b.node);
    elementwise(s, Binary::Add, a, &b.with(minus), who)
}

/// An operator applied to two values; compile-time numbers stay numbers.
pub fn arithmetic(s: &mut dyn Scope, op: Operator, a: &Value, b: &Value) -> Fallible<Value> {
    if let (Value::Number(x), Value::Number(y)) = (a, b) {
        return numbers(op, *x, *y);
    }
    let who = format!("`{}`", op.symbol());
    if matches!(op, Operator::Eq | Operator::Ne) {
        match (a, b) {
            (Value::Bool(p), Value::Bool(q)) => return Ok(Value::Bool((p == q) == (op == Operator::Eq))),
            (Value::Str(p), Value::Str(q)) | (Value::Word(p), Value::Word(q)) => {
                return Ok(Value::Bool((p == q) == (op == Operator::Eq)));
            }
            _ => {}
        }
    }
    let (ta, tb) = (tensor_of(s, a, &who)?, tensor_of(s, b, &who)?);
    if let (Kind::Class(_), _) | (_, Kind::Class(_)) = (ta.kind, tb.kind) {
        return class_equality(s, op, a, b, &ta, &tb).map(Value::Tensor);
    }
    need_real(&ta, &who)?;
    need_real(&tb, &who)?;
    let out = match op {
        Operator::Add => elementwise(s, Binary::Add, &ta, &tb, &who)?,
        Operator::Sub => subtract(s, &ta, &tb, &who)?,
        Operator::Mul => elementwise(s, Binary::Mul, &ta, &tb, &who)?,
        Operator::Div => {
            let inverse = s.graph().unary(Unary::Recip, tb.node);
            elementwise(s, Binary::Mul, &ta, &tb.with(inverse), &who)?
        }
        Operator::Pow => return power(s, a, b, &ta, &tb).map(Value::Tensor),
        Operator::Lt => compare(s, Binary::Lt, &ta, &tb, &who)?,
        Operator::Le => compare(s, Binary::Le, &ta, &tb, &who)?,
        Operator::Gt => compare(s, Binary::Lt, &tb, &ta, &who)?,
        Operator::Ge => compare(s, Binary::Le, &tb, &ta, &who)?,
        Operator::Eq => compare(s, Binary::Eq, &ta, &tb, &who)?,
        Operator::Ne => {
            let t = compare(s, Binary::Eq, &ta, &tb, &who)?;
            let node = s.graph().unary(Unary::Not, t.node);
            t.with(node)
        }
    };
    Ok(Value::Tensor(out))
}

fn numbers(op: Operator, x: f64, y: f64) -> Fallible<Value> {
    let whole = |v: f64| v.fract() == 0.0;
    let value = match op {
        Operator::Add => x + y,
        Operator::Sub => x - y,
        Operator::Mul => x * y,
        Operator::Div => {
            if y == 0.0 {
                return Err(LayerError::new("E0305", format!("{x} / 0 has no value")));
            }
            if whole(x) && whole(y) && !whole(x / y) {
                return Err(LayerError::new("E0305", format!("{x} / {y} of whole numbers leaves a remainder"))
                    .help(format!("if a fraction is meant, write it as a decimal number ({})", x / y)));
            }
            x / y
        }
        Operator::Pow => x.powf(y),
        Operator::Lt => return Ok(Value::Bool(x < y)),
        Operator::Le => return Ok(Value::Bool(x <= y)),
        Operator::Gt => return Ok(Value::Bool(x > y)),
        Operator::Ge => return Ok(Value::Bool(x >= y)),
        Operator::Eq => return Ok(Value::Bool(x == y)),
        Operator::Ne => return Ok(Value::Bool(x != y)),
    };
    if value.is_finite() {
        Ok(Value::Number(value))
    } else {
        Err(LayerError::new("E0305", format!("{x} {} {y} is not a finite number", op.symbol())))
    }
}

fn compare(s: &mut dyn Scope, f: Binary, a: &Tensor, b: &Tensor, who: &str) -> Fallible<Tensor> {
    let t = elementwise(s, f, a, b, who)?;
    Ok(Tensor { kind: Kind::Bool, ..t })
}

fn class_equality(
    s: &mut dyn Scope,
    op: Operator,
    a: &Value,
    b: &Value,
    ta: &Tensor,
    tb: &Tensor,
) -> Fallible<Tensor> {
    let who = format!("`{}`", op.symbol());
    if !matches!(op, Operator::Eq | Operator::Ne) {
        return Err(LayerError::new("E0303", format!("{who} does not go with labels (class values)"))
            .help("labels allow `==` and `!=`; `one_hot` or `embed(n)` makes numbers of them"));
    }
    let mut label = |v: &Value, t: &Tensor, other: Kind| -> Fallible<Tensor> {
        match (t.kind, v, other) {
            (Kind::Class(_), _, _) => Ok(t.clone()),
            (_, Value::Number(x), Kind::Class(k)) if x.fract() == 0.0 && *x >= 0.0 && *x < k as f64 => {
                let node = s.graph().splat(*x, Type::u32([]));
                Ok(Tensor { node, kind: other, sample: false, shape: vec![] })
            }
            _ => Err(LayerError::new(
                "E0303",
                format!(
                    "{who} compares a label with a label or a whole number below its count; found {}",
                    describe(v)
                ),
            )),
        }
    };
    let (x, y) = (label(a, ta, tb.kind)?, label(b, tb, ta.kind)?);
    if x.kind != y.kind {
        return Err(LayerError::new(
            "E0303",
            format!("{who} of {} and {}: the labels count different things", x.type_text(), y.type_text()),
        ));
    }
    let t = compare(s, Binary::Eq, &x, &y, &who)?;
    if op == Operator::Ne {
        let node = s.graph().unary(Unary::Not, t.node);
        return Ok(t.with(node));
    }
    Ok(t)
}

/// `-v`
pub fn negate(s: &mut dyn Scope, v: &Value) -> Fallible<Value> {
    if let Value::Number(x) = v {
        return Ok(Value::Number(-x));
    }
    let t = real_of(s, v, "`-`")?;
    let node = s.graph().neg(t.node);
    Ok(Value::Tensor(t.with(node)))
}

fn power(s: &mut dyn Scope, a: &Value, b: &Value, ta: &Tensor, tb: &Tensor) -> Fallible<Tensor> {
    if tb.sample {
        return Err(LayerError::new("E0303", "`^` needs an exponent that is the same for all samples")
            .help("write `exp(b * log(a))`"));
    }
    if let Value::Number(n) = b {
        return Ok(ta.with(power_node(s, ta.node, *n)));
    }
    let log = match a {
        Value::Number(x) if *x > 0.0 => Tensor::real(s.graph().scalar(x.ln()), false, []),
        _ => {
            let node = s.graph().unary(Unary::Log, ta.node);
            ta.with(node)
        }
    };
    let t = elementwise(s, Binary::Mul, &log, tb, "`^`")?;
    let node = s.graph().unary(Unary::Exp, t.node);
    Ok(t.with(node))
}

/// `x^n` with a constant exponent: small whole ones as products, a half as a root.
pub fn power_node(s: &mut dyn Scope, x: NodeId, n: f64) -> NodeId {
    let g = s.graph();
    if n.fract() == 0.0 && n.abs() <= 32.0 {
        if n == 0.0 {
            let ty = g.ty(x).clone();
            return g.splat(1.0, ty);
        }
        let mut left = n.abs() as u32;
        let (mut square, mut product) = (x, None);
        while left > 0 {
            if left & 1 == 1 {
                product = Some(product.map_or(square, |p| g.mul(p, square)));
            }
            left >>= 1;
            if left > 0 {
                square = g.mul(square, square);
            }
        }
        let p = product.unwrap_or(x);
        return if n < 0.0 { g.unary(Unary::Recip, p) } else { p };
    }
    if n == 0.5 {
        return g.unary(Unary::Sqrt, x);
    }
    let log = g.unary(Unary::Log, x);
    let scaled = g.scale(log, n);
    g.unary(Unary::Exp, scaled)
}

/// One index of `a[…]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Index {
    /// One position: the axis goes.
    At(f64),
    /// Half-open: the axis stays.
    Range(f64, f64),
    /// The whole axis.
    All,
}

/// `a[i, …]`; axes without an index stay whole.
pub fn index(s: &mut dyn Scope, t: &Tensor, indices: &[Index]) -> Fallible<Tensor> {
    if indices.len() > t.shape.len() {
        return Err(LayerError::new(
            "E0306",
            format!("{} indices for a value of shape {:?}", indices.len(), t.shape),
        ));
    }
    let whole = |v: f64| v.fract() == 0.0 && v >= 0.0;
    let (mut node, mut shape) = (t.node, Vec::new());
    for (axis, &extent) in t.shape.iter().enumerate() {
        let range = match indices.get(axis) {
            None | Some(Index::All) => {
                shape.push(extent);
                continue;
            }
            Some(&Index::At(i)) if whole(i) && i < extent as f64 => i as usize..i as usize + 1,
            Some(&Index::Range(lo, hi)) if whole(lo) && whole(hi) && lo < hi && hi <= extent as f64 => {
                shape.push((hi - lo) as usize);
                lo as usize..hi as usize
            }
            Some(&Index::At(i)) => {
                return Err(LayerError::new(
                    "E0306",
                    format!("index {i} is not within axis {axis} of {:?} (0 to {})", t.shape, extent as i64 - 1),
                ));
            }
            Some(&Index::Range(lo, hi)) => {
                return Err(LayerError::new(
                    "E0306",
                    format!("{lo}..{hi} is not a range within axis {axis} of {:?} (0..{extent})", t.shape),
                ));
            }
        };
        node = s.graph().slice_axis(node, axis + t.lead(), range);
    }
    let mut graph_shape = s.graph().shape(t.node)[..t.lead()].to_vec();
    graph_shape.extend(&shape);
    let node = s.graph().reshape(node, &graph_shape);
    Ok(t.shaped(node, shape))
}

/// The node with a batch axis, of extent 1 for a common tensor.
pub(super) fn batched(s: &mut dyn Scope, t: &Tensor) -> NodeId {
    if t.sample {
        return t.node;
    }
    let mut shape = vec![1];
    shape.extend(&t.shape);
    s.graph().reshape(t.node, &shape)
}

/// A real result `[batch, shape…]` for an input that [`batched`] made ready.
pub(super) fn unbatched(s: &mut dyn Scope, node: NodeId, input: &Tensor) -> Tensor {
    let shape = s.graph().shape(node)[1..].to_vec();
    let node = if input.sample { node } else { s.graph().reshape(node, &shape) };
    Tensor::real(node, input.sample, shape)
}

/// The axis that `axis` (negative: from the end) means, of a value's shape.
pub(super) fn axis_of(shape: &[usize], axis: i64, who: &str) -> Fallible<usize> {
    let rank = shape.len() as i64;
    let a = if axis < 0 { axis + rank } else { axis };
    if (0..rank).contains(&a) {
        Ok(a as usize)
    } else {
        Err(LayerError::new("E0306", format!("{who}: {shape:?} has no axis {axis}")))
    }
}

/// Refuses tensors of more than 2^31 elements (dimensions that overflow end here).
pub(super) fn need_fits(shape: &[usize], who: &str) -> Fallible<()> {
    let total = shape.iter().try_fold(1usize, |a, &d| a.checked_mul(d));
    match total {
        Some(n) if n <= 1 << 31 => Ok(()),
        _ => {
            Err(LayerError::new("E0307", format!("{who} would make a tensor {shape:?} of more than 2^31 numbers")))
        }
    }
}
