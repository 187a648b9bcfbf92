//! Elementwise identities.

use super::{binary_of, factor_of, unary_of};
use crate::graph::{Binary, DType, Graph, NodeId, Op, Type, Unary};

pub(super) fn unary(g: &mut Graph, f: Unary, x: NodeId) -> Option<NodeId> {
    // A choice between two constants.
    if let Op::Select = g.node(x).op {
        let [c, a, b] = g.node(x).args[..] else { return None };
        if g.as_splat(a).is_some() && g.as_splat(b).is_some() {
            let (a, b) = (g.unary(f, a), g.unary(f, b));
            return Some(g.select(c, a, b));
        }
    }
    let negated = unary_of(g, x, Unary::Neg);
    match f {
        Unary::Neg => {
            let (y, c) = factor_of(g, x);
            (c != 1.0 && y != x).then(|| g.scale_like(y, -c))
        }
        // Odd functions let the sign out, an even one drops it.
        Unary::Recip | Unary::Tanh | Unary::Erf | Unary::Sin | Unary::Sign if negated.is_some() => {
            let y = g.unary(f, negated?);
            Some(g.neg(y))
        }
        Unary::Cos => negated.map(|y| g.unary(f, y)),
        Unary::Recip => {
            if let Some(y) = unary_of(g, x, Unary::Recip) {
                return Some(y);
            }
            let y = unary_of(g, x, Unary::Exp)?;
            let n = g.neg(y);
            Some(g.unary(Unary::Exp, n))
        }
        Unary::Log => unary_of(g, x, Unary::Exp),
        Unary::Sqrt
        | Unary::Exp
        | Unary::Log1p
        | Unary::Tanh
        | Unary::Erf
        | Unary::Sin
        | Unary::Abs
        | Unary::Sign
        | Unary::Floor
        | Unary::Tf32
        | Unary::Not => None,
    }
}

pub(super) fn binary(g: &mut Graph, f: Binary, a: NodeId, b: NodeId) -> Option<NodeId> {
    let ty = g.ty(a).clone();
    match f {
        Binary::Add if ty.dtype.is_float() => add(g, a, b).or_else(|| constants_meet(g, f, a, b)),
        Binary::Mul if ty.dtype.is_float() => mul(g, a, b).or_else(|| constants_meet(g, f, a, b)),
        Binary::Add | Binary::Mul => constants_meet(g, f, a, b),
        Binary::Max | Binary::Min | Binary::And | Binary::Or => {
            if a == b {
                return Some(a);
            }
            constants_meet(g, f, a, b)
        }
        Binary::Lt => (a == b).then(|| truth(g, &ty, false)),
        // A NaN is not equal to itself.
        Binary::Le | Binary::Eq => (a == b && !ty.dtype.is_float()).then(|| truth(g, &ty, true)),
    }
}

fn truth(g: &mut Graph, like: &Type, v: bool) -> NodeId {
    g.splat(f64::from(v), Type::new(DType::Bool, like.shape.clone()))
}

/// `c op (d op x)` with constants `c`, `d` is `(c op d) op x`.
fn constants_meet(g: &mut Graph, f: Binary, a: NodeId, b: NodeId) -> Option<NodeId> {
    let (c, rest) = match (g.as_splat(a), g.as_splat(b)) {
        (Some(_), None) => (a, b),
        (None, Some(_)) => (b, a),
        _ => return None,
    };
    let (p, q) = binary_of(g, rest, f)?;
    let (d, x) = match (g.as_splat(p), g.as_splat(q)) {
        (Some(_), None) => (p, q),
        (None, Some(_)) => (q, p),
        _ => return None,
    };
    let c = g.binary(f, c, d);
    Some(g.binary(f, c, x))
}

fn add(g: &mut Graph, a: NodeId, b: NodeId) -> Option<NodeId> {
    // c x + d x, with -x and x itself among the multiples of x.
    let ((x, c), (y, d)) = (factor_of(g, a), factor_of(g, b));
    if x == y {
        return Some(g.scale_like(x, c + d));
    }
    if let (Some(x), Some(y)) = (unary_of(g, a, Unary::Neg), unary_of(g, b, Unary::Neg)) {
        let s = g.add(x, y);
        return Some(g.neg(s));
    }
    // The two sides of one choice, as the gradient of a leaky ReLU leaves them.
    let sides = |g: &Graph, x: NodeId| match (&g.node(x).op, &g.node(x).args[..]) {
        (Op::Select, &[m, p, q]) => Some((m, p, q)),
        _ => None,
    };
    if let (Some((m, p, q)), Some((n, r, s))) = (sides(g, x), sides(g, y)) {
        let zero = |v: NodeId| g.as_splat(v) == Some(0.0);
        if m == n && (zero(p) || zero(r)) && (zero(q) || zero(s)) {
            let (p, q) = (g.scale_like(p, c), g.scale_like(q, c));
            let (r, s) = (g.scale_like(r, d), g.scale_like(s, d));
            let (above, below) = (g.add(p, r), g.add(q, s));
            return Some(g.select(m, above, below));
        }
    }
    None
}

fn mul(g: &mut Graph, a: NodeId, b: NodeId) -> Option<NodeId> {
    if unary_of(g, a, Unary::Recip) == Some(b) || unary_of(g, b, Unary::Recip) == Some(a) {
        let ty = g.ty(a).clone();
        return Some(g.splat(1.0, ty));
    }
    for (p, q) in [(a, b), (b, a)] {
        if let Some(x) = unary_of(g, p, Unary::Neg) {
            if let Some(c) = g.as_splat(q) {
                return Some(g.scale_like(x, -c));
            }
            let r = g.mul(x, q);
            return Some(g.neg(r));
        }
        // A constant times a choice between two constants.
        if let (Some(_), Op::Select) = (g.as_splat(p), &g.node(q).op) {
            let [c, u, v] = g.node(q).args[..] else { return None };
            if g.as_splat(u).is_some() && g.as_splat(v).is_some() {
                let (u, v) = (g.mul(p, u), g.mul(p, v));
                return Some(g.select(c, u, v));
            }
        }
    }
    None
}

pub(super) fn select(g: &mut Graph, c: NodeId, a: NodeId, b: NodeId) -> Option<NodeId> {
    if let Some(d) = unary_of(g, c, Unary::Not) {
        return Some(g.select(d, b, a));
    }
    let branch = |g: &Graph, x: NodeId, k: usize| {
        let n = g.node(x);
        (n.op == Op::Select && n.args[0] == c).then(|| n.args[k])
    };
    if let Some(a) = branch(g, a, 1) {
        return Some(g.select(c, a, b));
    }
    if let Some(b) = branch(g, b, 2) {
        return Some(g.select(c, a, b));
    }
    if g.ty(a).dtype == DType::Bool {
        match (g.as_splat(a), g.as_splat(b)) {
            (Some(a), Some(_)) if a != 0.0 => return Some(c),
            (Some(_), Some(_)) => return Some(g.unary(Unary::Not, c)),
            _ => {}
        }
    }
    None
}

pub(super) fn cast(g: &mut Graph, id: NodeId, x: NodeId) -> Option<NodeId> {
    let (to, middle) = (g.ty(id).dtype, g.ty(x).dtype);
    if g.node(x).op != Op::Cast {
        return None;
    }
    let source = g.node(x).args[0];
    let exact = match g.ty(source).dtype {
        DType::F16 | DType::Bf16 => middle == DType::F32,
        DType::Bool => middle != DType::Bool,
        DType::F32 | DType::U32 => false,
    };
    exact.then(|| g.cast(source, to))
}

/// A sign in either factor of a bilinear op leaves it.
pub(super) fn sign_of_product(g: &mut Graph, id: NodeId, args: &[NodeId]) -> Option<NodeId> {
    let mut unsigned = args.to_vec();
    let mut signs = 0;
    for a in &mut unsigned {
        if let Some(x) = unary_of(g, *a, Unary::Neg) {
            *a = x;
            signs += 1;
        }
    }
    if signs == 0 {
        return None;
    }
    let node = g.node(id).clone();
    let r = super::emit(g, &node, &unsigned);
    Some(if signs == 1 { g.neg(r) } else { r })
}

impl Graph {
    /// `x * c` with the constant in `x`'s own element type.
    pub(super) fn scale_like(&mut self, x: NodeId, c: f64) -> NodeId {
        let ty = self.ty(x).clone();
        let c = self.splat(c, ty);
        self.mul(x, c)
    }
}
