//! Variances in one pass: the sum of squared distances from a mean, written as it is defined (a sum, its part of the
//! count, differences, squares, another sum), needs the mean before it begins. A reduction that keeps count, mean and
//! squares together (Chan, Golub and LeVeque, 1983) reads its elements once and needs nothing, so that it goes with the
//! kernel that makes them, as the sum does.

use crate::graph::{Binary, Const, DType, Graph, NodeId, Op, Unary};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::ops::Index;

/// Which nodes have memory, and which sums are of squared distances from a mean.
pub(super) struct Stored {
    /// For each node.
    pub flags: Vec<bool>,
    /// None where reductions cannot keep means.
    pub deviations: Deviations,
}

/// Sums of squared distances from a mean, with what the distances are of: a value that may differ from it by what is the
/// same along the axes of the sum.
#[derive(Default)]
pub(super) struct Deviations(FxHashMap<NodeId, [NodeId; 1]>);

impl Deviations {
    /// All of a graph.
    pub fn find(g: &Graph) -> Self {
        Self(g.ids().filter_map(|n| Some((n, [deviation(g, n)?]))).collect())
    }

    /// What the distances of a sum are of, if it is one.
    pub fn of(&self, n: NodeId) -> Option<NodeId> {
        self.0.get(&n).map(|x| x[0])
    }

    /// What a node is computed from.
    pub fn args<'a>(&'a self, g: &'a Graph, n: NodeId) -> &'a [NodeId] {
        self.0.get(&n).map_or(&g.node(n).args, |x| x)
    }
}

impl Index<usize> for Stored {
    type Output = bool;

    fn index(&self, i: usize) -> &bool {
        &self.flags[i]
    }
}

fn deviation(g: &Graph, n: NodeId) -> Option<NodeId> {
    let Op::Sum(axes) = &g.node(n).op else { return None };
    let square = g.node(n).args[0];
    let [d, _] = both(g, square, Binary::Mul).filter(|[a, b]| a == b)?;
    let parts = both(g, d, Binary::Add).filter(|_| g.ty(d).dtype == DType::F32)?;
    let along = Along { g, axes };
    let [x] = parts.into_iter().filter(|&p| !along.same(p)).collect::<Vec<_>>().try_into().ok()?;
    let mut sum = Terms::default();
    along.add(d, 1.0, DEPTH, &mut sum);
    // Of each value what is minus its mean, and nothing else.
    let count = axes.iter().map(|&i| g.shape(square)[i]).product::<usize>() as f64;
    let of = |term: Term, times: f64| sum.get(&term).copied().unwrap_or_default().times(times);
    let varies = |v: NodeId| !along.same(v);
    let rest = |(&term, &by): (&Term, &Factor)| match term {
        Term::Value(v) if varies(v) => by.plus(of(Term::Sum(v), count)),
        Term::Sum(v) => by.times(count).plus(of(Term::Value(v), 1.0)),
        Term::Value(_) | Term::One => by,
    };
    let any = sum.iter().any(|(t, by)| matches!(t, Term::Value(v) if varies(*v)) && !by.is_nothing());
    (any && sum.iter().all(|t| rest(t).is_nothing())).then_some(x)
}

fn both(g: &Graph, n: NodeId, f: Binary) -> Option<[NodeId; 2]> {
    match (&g.node(n).op, g.node(n).args.as_slice()) {
        (Op::Binary(own), &[a, b]) if *own == f => Some([a, b]),
        _ => None,
    }
}

/// How far a sum is followed.
const DEPTH: usize = 8;

/// Part of a sum: 1, a value, or its sum along the axes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Term {
    One,
    Value(NodeId),
    Sum(NodeId),
}

/// A factor that is added up, beside the sum of the absolute values.
#[derive(Clone, Copy, Default)]
struct Factor(f64, f64);

impl Factor {
    fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0, self.1 + other.1)
    }

    fn times(self, by: f64) -> Self {
        Self(self.0 * by, self.1 * by.abs())
    }

    /// Whether its parts cancel each other; they were rounded to f32 at most.
    fn is_nothing(self) -> bool {
        self.0.abs() <= 1e-6 * self.1
    }
}

/// Parts and their factors.
type Terms = BTreeMap<Term, Factor>;

fn put(to: &mut Terms, term: Term, by: f64) {
    let all = to.entry(term).or_default();
    *all = all.plus(Factor(by, by.abs()));
}

/// Values and their sums along some axes.
struct Along<'a> {
    g: &'a Graph,
    axes: &'a [usize],
}

impl Along<'_> {
    /// Whether a value is the same all along the axes: one there, or broadcast from that.
    fn same(&self, n: NodeId) -> bool {
        let shape = self.g.shape(self.stripped(n));
        self.axes.iter().all(|&a| shape.get(a) == Some(&1))
    }

    /// What is broadcast along the axes; a value that differs along them is itself.
    fn stripped(&self, n: NodeId) -> NodeId {
        let mut small = n;
        while let Op::Broadcast | Op::Stop = self.g.node(small).op {
            small = self.g.node(small).args[0];
        }
        let shape = self.g.shape(small);
        if self.axes.iter().all(|&a| shape.get(a) == Some(&1)) { small } else { n }
    }

    /// The factor and the value of a product with a constant.
    fn factor(&self, n: NodeId) -> Option<(f64, NodeId)> {
        if let Op::Unary(Unary::Neg) = self.g.node(n).op {
            return Some((-1.0, self.g.node(n).args[0]));
        }
        let [a, b] = both(self.g, n, Binary::Mul)?;
        match (&self.g.node(a).op, &self.g.node(b).op) {
            (Op::Const(Const::Splat(v)), _) => Some((v.0, b)),
            (_, Op::Const(Const::Splat(v))) => Some((v.0, a)),
            _ => None,
        }
    }

    /// Adds a multiple of a value.
    fn add(&self, n: NodeId, by: f64, depth: usize, to: &mut Terms) {
        let n = self.stripped(n);
        if let Op::Const(Const::Splat(v)) = self.g.node(n).op {
            put(to, Term::One, by * v.0);
        } else if let Some([a, b]) = both(self.g, n, Binary::Add).filter(|_| depth > 0) {
            [a, b].into_iter().for_each(|x| self.add(x, by, depth - 1, to));
        } else if let Some((f, x)) = self.factor(n).filter(|_| depth > 0) {
            self.add(x, by * f, depth - 1, to);
        } else if matches!(&self.g.node(n).op, Op::Sum(axes) if axes == self.axes) {
            self.add_sum(self.g.node(n).args[0], by, depth, to);
        } else {
            put(to, Term::Value(n), by);
        }
    }

    /// Adds a multiple of a value's sum along the axes.
    fn add_sum(&self, n: NodeId, by: f64, depth: usize, to: &mut Terms) {
        if let Some([a, b]) = both(self.g, n, Binary::Add).filter(|_| depth > 0) {
            [a, b].into_iter().for_each(|x| self.add_sum(x, by, depth - 1, to));
        } else if (self.same(n) || matches!(self.g.node(n).op, Op::Const(Const::Splat(_)))) && depth > 0 {
            let count: usize = self.axes.iter().map(|&a| self.g.shape(n)[a]).product();
            self.add(n, by * count as f64, depth - 1, to);
        } else {
            put(to, Term::Sum(self.stripped(n)), by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::text::parse;

    /// As `passes` leave a batch normalisation, and what only looks like one.
    #[test]
    fn variances_are_found() {
        let text = r#"
            %0: f32[4,3] = input "x"
            %1: f32[1,3] = param "bias"
            %2: f32[4,3] = broadcast %1
            %3: f32[4,3] = add %0, %2
            %4: f32[1,3] = sum %3 axes=[0]
            %5: f32[1,3] = mul %4, -0.25
            %6: f32[1,3] = add %1, %5
            %7: f32[4,3] = broadcast %6
            %8: f32[4,3] = add %0, %7
            %9: f32[4,3] = mul %8, %8
            %10: f32[1,3] = sum %9 axes=[0]
            %11: f32[1,3] = sum %0 axes=[0]
            %12: f32[1,3] = mul 0.25, %11
            %13: f32[1,3] = neg %12
            %14: f32[4,3] = broadcast %13
            %15: f32[4,3] = add %14, %0
            %16: f32[4,3] = mul %15, %15
            %17: f32[1,3] = sum %16 axes=[0]
            %18: f32[1,1] = sum %16 axes=[0,1]
            %19: f32[4,3] = mul %15, %8
            %20: f32[1,3] = sum %19 axes=[0]
            %21: f32[1,3] = mul %11, -0.5
            %22: f32[4,3] = broadcast %21
            %23: f32[4,3] = add %0, %22
            %24: f32[4,3] = mul %23, %23
            %25: f32[1,3] = sum %24 axes=[0]
            %26: f32[4,3] = add %3, %14
            %27: f32[4,3] = mul %26, %26
            %28: f32[1,3] = sum %27 axes=[0]
            %29: f32[4,1] = input "rows"
            %30: f32[4,3] = broadcast %29
            %31: f32[1,1] = sum %29 axes=[0,1]
            %32: f32[1,1] = mul %31, -0.08333333333333333
            %33: f32[4,3] = broadcast %32
            %34: f32[4,3] = add %30, %33
            %35: f32[4,3] = mul %34, %34
            %36: f32[1,1] = sum %35 axes=[0,1]
            %37: f32[4,3] = mul %0, 1e-7
            %38: f32[1,3] = mul %1, 1e-7
            %39: f32[4,3] = broadcast %38
            %40: f32[4,3] = add %37, %39
            %41: f32[4,3] = mul %40, %40
            %42: f32[1,3] = sum %41 axes=[0]
            %43: f32[4,3] = add %37, 1e-8
            %44: f32[4,3] = mul %43, %43
            %45: f32[1,3] = sum %44 axes=[0]
            %46: f32[4,3] = broadcast %38
            %47: f32[4,3] = add %15, %46
            %48: f32[4,3] = mul %47, %47
            %49: f32[1,3] = sum %48 axes=[0]
            output "and little" %49
            output "of rows that count thrice" %36
            output "small" %42
            output "beside little" %45
            output "a" %10
            output "b" %17
            output "others" %18
            output "products" %20
            output "half" %25
            output "of another" %28
        "#;
        let g = parse(text).expect("it parses");
        let all = Deviations::find(&g);
        let found: Vec<(NodeId, NodeId)> = g.ids().filter_map(|n| Some((n, all.of(n)?))).collect();
        let named = |name: &str| g.outputs.iter().find(|o| &*o.0 == name).map(|o| o.1).expect("an output");
        assert_eq!(found, [(named("a"), NodeId(0)), (named("b"), NodeId(0))]);
    }
}
