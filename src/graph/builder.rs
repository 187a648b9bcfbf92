//! The builder: one method an op, each with its shape rule, and the simplifications that are always right.
//!
//! A violated shape rule is a bug of the caller (layers check their preconditions in their own words first), so
//! methods assert. Binary methods broadcast: a rank-0 argument goes with anything, equal ranks where extents are
//! equal or 1.

use super::op::{Binary, Const, ContractDims, ConvGeom, Dist, Name, Op, Unary, Window};
use super::ty::{DType, F64, Type};
use super::{Graph, NodeId};
use std::sync::Arc;

impl Graph {
    // ---- leaves

    /// A value given anew for each run.
    pub fn input(&mut self, name: impl Into<Name>, ty: Type) -> NodeId {
        self.intern(Op::Input(name.into()), vec![], ty)
    }

    /// A trained tensor.
    pub fn param(&mut self, name: impl Into<Name>, shape: &[usize]) -> NodeId {
        self.intern(Op::Param(name.into()), vec![], Type::f32(shape))
    }

    /// Another tensor that outlives a run.
    pub fn state(&mut self, name: impl Into<Name>, ty: Type) -> NodeId {
        self.intern(Op::State(name.into()), vec![], ty)
    }

    /// A rank-0 real constant.
    pub fn scalar(&mut self, v: f64) -> NodeId {
        self.splat(v, Type::f32([]))
    }

    /// The same value everywhere.
    pub fn splat(&mut self, v: f64, ty: Type) -> NodeId {
        self.intern(Op::Const(Const::Splat(F64(v))), vec![], ty)
    }

    /// Zeros of a node's type.
    pub fn zeros_like(&mut self, x: NodeId) -> NodeId {
        let ty = self.ty(x).clone();
        self.splat(0.0, ty)
    }

    /// Row-major constant values.
    pub fn dense(&mut self, values: Vec<f64>, ty: Type) -> NodeId {
        assert_eq!(values.len(), ty.elements(), "dense constant of {ty}");
        if let Some(&first) = values.first()
            && values.iter().all(|v| v.to_bits() == first.to_bits())
        {
            return self.splat(first, ty);
        }
        let values = values.into_iter().map(F64).collect();
        self.intern(Op::Const(Const::Dense(Arc::new(values))), vec![], ty)
    }

    /// `u32` index along `axis`.
    pub fn iota(&mut self, shape: &[usize], axis: usize) -> NodeId {
        assert!(axis < shape.len());
        self.intern(Op::Iota { axis }, vec![], Type::u32(shape))
    }

    /// Noise; `key: u32[2]`, `counter: u32[]`.
    pub fn random(&mut self, stream: u64, dist: Dist, key: NodeId, counter: NodeId, shape: &[usize]) -> NodeId {
        assert_eq!(*self.ty(key), Type::u32([2]));
        assert_eq!(*self.ty(counter), Type::u32([]));
        let dtype = if dist == Dist::Bits { DType::U32 } else { DType::F32 };
        self.intern(Op::Random { stream, dist }, vec![key, counter], Type::new(dtype, shape))
    }

    /// The value of a splat constant.
    pub fn as_splat(&self, x: NodeId) -> Option<f64> {
        match &self.node(x).op {
            Op::Const(Const::Splat(v)) => Some(v.0),
            _ => None,
        }
    }

    // ---- elementwise

    /// Elementwise function.
    pub fn unary(&mut self, f: Unary, x: NodeId) -> NodeId {
        let ty = self.ty(x).clone();
        match f {
            Unary::Not => assert_eq!(ty.dtype, DType::Bool),
            _ => assert!(ty.dtype.is_float(), "{f:?} of {ty}"),
        }
        if let Some(v) = self.as_splat(x) {
            return self.splat(unary_f64(f, v), ty);
        }
        if let Op::Unary(inner) = self.node(x).op {
            let arg = self.node(x).args[0];
            match (f, inner) {
                (Unary::Neg, Unary::Neg) | (Unary::Not, Unary::Not) => return arg,
                (Unary::Abs, Unary::Neg | Unary::Abs) => return self.unary(Unary::Abs, arg),
                _ => {}
            }
        }
        self.intern(Op::Unary(f), vec![x], ty)
    }

    /// Brings two arguments to one shape; see the module documentation.
    pub fn broadcast_pair(&mut self, a: NodeId, b: NodeId) -> (NodeId, NodeId) {
        if self.shape(a) == self.shape(b) {
            return (a, b);
        }
        let (sa, sb) = (self.shape(a).to_vec(), self.shape(b).to_vec());
        let shape: Vec<usize> = if sa.is_empty() {
            sb.clone()
        } else if sb.is_empty() {
            sa.clone()
        } else {
            assert_eq!(sa.len(), sb.len(), "ranks of {sa:?} and {sb:?}");
            sa.iter()
                .zip(&sb)
                .map(|(&p, &q)| {
                    assert!(p == q || p == 1 || q == 1, "{sa:?} does not go with {sb:?}");
                    if p == 1 { q } else { p }
                })
                .collect()
        };
        (self.broadcast(a, &shape), self.broadcast(b, &shape))
    }

    /// Elementwise function of two arguments, broadcast.
    pub fn binary(&mut self, f: Binary, a: NodeId, b: NodeId) -> NodeId {
        let (a, b) = self.broadcast_pair(a, b);
        let ty = self.ty(a).clone();
        assert_eq!(ty.dtype, self.ty(b).dtype, "{f:?} of two element types");
        let out = match f {
            Binary::Lt | Binary::Le | Binary::Eq => Type::new(DType::Bool, ty.shape.clone()),
            Binary::And | Binary::Or => {
                assert_eq!(ty.dtype, DType::Bool);
                ty.clone()
            }
            Binary::Add | Binary::Mul | Binary::Max | Binary::Min => {
                assert_ne!(ty.dtype, DType::Bool);
                ty.clone()
            }
        };
        let (va, vb) = (self.as_splat(a), self.as_splat(b));
        if let (Some(x), Some(y)) = (va, vb) {
            return self.splat(binary_f64(f, x, y, ty.dtype), out);
        }
        match (f, va, vb) {
            (Binary::Add, Some(0.0), _) | (Binary::Mul, Some(1.0), _) => return b,
            (Binary::Add, _, Some(0.0)) | (Binary::Mul, _, Some(1.0)) => return a,
            // An exact zero: a gradient that is switched off. (NaN * 0 is not kept: a mask would have used select.)
            (Binary::Mul, Some(0.0), _) | (Binary::Mul, _, Some(0.0)) => return self.splat(0.0, out),
            (Binary::Mul, Some(-1.0), _) if ty.dtype.is_float() => return self.unary(Unary::Neg, b),
            (Binary::Mul, _, Some(-1.0)) if ty.dtype.is_float() => return self.unary(Unary::Neg, a),
            (Binary::And, Some(v), _) => return if v != 0.0 { b } else { a },
            (Binary::And, _, Some(v)) => return if v != 0.0 { a } else { b },
            (Binary::Or, Some(v), _) => return if v != 0.0 { a } else { b },
            (Binary::Or, _, Some(v)) => return if v != 0.0 { b } else { a },
            _ => {}
        }
        // Commutative ops take their arguments in id order, so that a + b and b + a are one node.
        let (a, b) = match f {
            Binary::Add | Binary::Mul | Binary::Max | Binary::Min | Binary::Eq | Binary::And | Binary::Or
                if b < a =>
            {
                (b, a)
            }
            _ => (a, b),
        };
        self.intern(Op::Binary(f), vec![a, b], out)
    }

    /// Elementwise choice; all three broadcast.
    pub fn select(&mut self, cond: NodeId, a: NodeId, b: NodeId) -> NodeId {
        let (a, b) = self.broadcast_pair(a, b);
        let (cond, a) = self.broadcast_pair(cond, a);
        let (a, b) = self.broadcast_pair(a, b);
        assert_eq!(self.ty(cond).dtype, DType::Bool);
        let ty = self.ty(a).clone();
        assert_eq!(ty, *self.ty(b), "branches of select");
        if a == b {
            return a;
        }
        match self.as_splat(cond) {
            Some(v) if v != 0.0 => a,
            Some(_) => b,
            None => self.intern(Op::Select, vec![cond, a, b], ty),
        }
    }

    /// Conversion of elements.
    pub fn cast(&mut self, x: NodeId, dtype: DType) -> NodeId {
        let ty = self.ty(x).clone();
        if ty.dtype == dtype {
            return x;
        }
        let out = Type::new(dtype, ty.shape);
        match self.as_splat(x) {
            Some(v) if matches!(dtype, DType::F32) => self.splat(v, out),
            _ => self.intern(Op::Cast, vec![x], out),
        }
    }

    // ---- views

    /// The same elements in another shape.
    pub fn reshape(&mut self, x: NodeId, shape: &[usize]) -> NodeId {
        let ty = self.ty(x).clone();
        assert_eq!(ty.elements(), shape.iter().product::<usize>(), "reshape of {ty} to {shape:?}");
        if ty.shape == shape {
            return x;
        }
        let out = Type::new(ty.dtype, shape);
        match &self.node(x).op {
            Op::Const(c) => {
                let c = c.clone();
                self.intern(Op::Const(c), vec![], out)
            }
            Op::Reshape => {
                let inner = self.node(x).args[0];
                self.reshape(inner, shape)
            }
            _ => self.intern(Op::Reshape, vec![x], out),
        }
    }

    /// Reorders axes: result axis i is argument axis `perm[i]`.
    pub fn permute(&mut self, x: NodeId, perm: &[usize]) -> NodeId {
        let ty = self.ty(x).clone();
        assert_eq!(perm.len(), ty.rank());
        let mut seen = vec![false; perm.len()];
        perm.iter().for_each(|&p| seen[p] = true);
        assert!(seen.iter().all(|&s| s), "{perm:?} is no permutation");
        if perm.iter().enumerate().all(|(i, &p)| i == p) {
            return x;
        }
        let shape: Vec<usize> = perm.iter().map(|&p| ty.shape[p]).collect();
        if let Some(v) = self.as_splat(x) {
            return self.splat(v, Type::new(ty.dtype, shape));
        }
        if let Op::Permute(inner) = &self.node(x).op {
            let composed: Vec<usize> = perm.iter().map(|&p| inner[p]).collect();
            let arg = self.node(x).args[0];
            return self.permute(arg, &composed);
        }
        // Moving only axes of extent 1 does not move elements.
        let moved: Vec<usize> = perm.iter().copied().filter(|&p| ty.shape[p] != 1).collect();
        if moved.windows(2).all(|w| w[0] < w[1]) {
            return self.reshape(x, &shape);
        }
        self.intern(Op::Permute(perm.to_vec()), vec![x], Type::new(ty.dtype, shape))
    }

    /// Grows extents 1 to `shape`; a rank-0 argument grows to any shape.
    pub fn broadcast(&mut self, x: NodeId, shape: &[usize]) -> NodeId {
        let ty = self.ty(x).clone();
        if ty.shape == shape {
            return x;
        }
        if let Some(v) = self.as_splat(x) {
            return self.splat(v, Type::new(ty.dtype, shape));
        }
        if ty.rank() == 0 {
            let ones = self.reshape(x, &vec![1; shape.len()]);
            return self.broadcast(ones, shape);
        }
        assert_eq!(ty.rank(), shape.len(), "broadcast of {ty} to {shape:?}");
        assert!(ty.shape.iter().zip(shape).all(|(&a, &b)| a == b || a == 1), "broadcast of {ty} to {shape:?}");
        if let Op::Broadcast = self.node(x).op {
            let inner = self.node(x).args[0];
            return self.broadcast(inner, shape);
        }
        self.intern(Op::Broadcast, vec![x], Type::new(ty.dtype, shape))
    }

    /// `start..limit` by `step`.
    pub fn slice(&mut self, x: NodeId, start: &[usize], limit: &[usize], step: &[usize]) -> NodeId {
        let ty = self.ty(x).clone();
        assert!(start.len() == ty.rank() && limit.len() == ty.rank() && step.len() == ty.rank());
        let shape: Vec<usize> = (0..ty.rank())
            .map(|i| {
                assert!(start[i] <= limit[i] && limit[i] <= ty.shape[i] && step[i] >= 1, "slice of {ty}");
                (limit[i] - start[i]).div_ceil(step[i])
            })
            .collect();
        if shape == ty.shape {
            return x;
        }
        let out = Type::new(ty.dtype, shape);
        if let Some(v) = self.as_splat(x) {
            return self.splat(v, out);
        }
        let op = Op::Slice { start: start.to_vec(), limit: limit.to_vec(), step: step.to_vec() };
        self.intern(op, vec![x], out)
    }

    /// Slice of one axis, step 1.
    pub fn slice_axis(&mut self, x: NodeId, axis: usize, range: std::ops::Range<usize>) -> NodeId {
        let shape = self.shape(x).to_vec();
        let mut start = vec![0; shape.len()];
        let mut limit = shape.clone();
        start[axis] = range.start;
        limit[axis] = range.end;
        self.slice(x, &start, &limit, &vec![1; shape.len()])
    }

    /// `value` before, after and between elements.
    pub fn pad(&mut self, x: NodeId, lo: &[usize], hi: &[usize], interior: &[usize], value: f64) -> NodeId {
        let ty = self.ty(x).clone();
        assert!(lo.len() == ty.rank() && hi.len() == ty.rank() && interior.len() == ty.rank());
        let shape: Vec<usize> = (0..ty.rank())
            .map(|i| lo[i] + hi[i] + ty.shape[i] + interior[i] * ty.shape[i].saturating_sub(1))
            .collect();
        if shape == ty.shape {
            return x;
        }
        let out = Type::new(ty.dtype, shape);
        if self.as_splat(x) == Some(value) {
            return self.splat(value, out);
        }
        let op = Op::Pad { lo: lo.to_vec(), hi: hi.to_vec(), interior: interior.to_vec(), value: F64(value) };
        self.intern(op, vec![x], out)
    }

    /// Reverses axes.
    pub fn reverse(&mut self, x: NodeId, axes: &[usize]) -> NodeId {
        let ty = self.ty(x).clone();
        let mut axes: Vec<usize> = axes.iter().copied().filter(|&a| ty.shape[a] > 1).collect();
        axes.sort_unstable();
        if axes.is_empty() || self.as_splat(x).is_some() {
            return x;
        }
        self.intern(Op::Reverse(axes), vec![x], ty)
    }

    /// All arguments one after the other along an axis.
    pub fn concat(&mut self, parts: &[NodeId], axis: usize) -> NodeId {
        assert!(!parts.is_empty());
        if parts.len() == 1 {
            return parts[0];
        }
        let mut ty = self.ty(parts[0]).clone();
        assert!(axis < ty.rank());
        ty.shape[axis] = 0;
        for &p in parts {
            let mut t = self.ty(p).clone();
            let d = std::mem::replace(&mut t.shape[axis], 0);
            let total = std::mem::replace(&mut ty.shape[axis], 0);
            assert_eq!(t, ty, "parts of concat");
            ty.shape[axis] = total + d;
        }
        self.intern(Op::Concat { axis }, parts.to_vec(), ty)
    }

    // ---- windows

    /// Windows over the trailing axes.
    pub fn unfold(&mut self, x: NodeId, w: Window) -> NodeId {
        let ty = self.ty(x).clone();
        let lead = ty.rank() - w.size.len();
        assert_eq!(&ty.shape[lead..], &w.size[..], "unfold of {ty}");
        let mut shape = ty.shape[..lead].to_vec();
        shape.extend(w.out());
        shape.extend(&w.kernel);
        self.intern(Op::Unfold(Arc::new(w)), vec![x], Type::new(ty.dtype, shape))
    }

    /// Sums windows back.
    pub fn fold(&mut self, x: NodeId, w: Window) -> NodeId {
        let ty = self.ty(x).clone();
        let n = w.size.len();
        let lead = ty.rank() - 2 * n;
        assert_eq!(&ty.shape[lead..lead + n], &w.out()[..], "fold of {ty}");
        assert_eq!(&ty.shape[lead + n..], &w.kernel[..], "fold of {ty}");
        let mut shape = ty.shape[..lead].to_vec();
        shape.extend(&w.size);
        self.intern(Op::Fold(Arc::new(w)), vec![x], Type::new(ty.dtype, shape))
    }

    // ---- reductions

    fn reduced(&self, x: NodeId, axes: &[usize]) -> (Vec<usize>, Type) {
        let mut ty = self.ty(x).clone();
        let mut axes = axes.to_vec();
        axes.sort_unstable();
        axes.dedup();
        for &a in &axes {
            assert!(a < ty.rank(), "axis {a} of {ty}");
            ty.shape[a] = 1;
        }
        (axes, ty)
    }

    /// Sum over axes, which stay with extent 1.
    pub fn sum(&mut self, x: NodeId, axes: &[usize]) -> NodeId {
        assert!(self.ty(x).dtype != DType::Bool);
        let (mut axes, ty) = self.reduced(x, axes);
        axes.retain(|&a| self.shape(x)[a] != 1);
        if axes.is_empty() {
            return x;
        }
        let count: usize = axes.iter().map(|&a| self.shape(x)[a]).product();
        if let Some(v) = self.as_splat(x) {
            return self.splat(v * count as f64, ty);
        }
        if let Op::Sum(inner) = &self.node(x).op {
            let mut all = inner.clone();
            all.extend(&axes);
            let arg = self.node(x).args[0];
            return self.sum(arg, &all);
        }
        self.intern(Op::Sum(axes), vec![x], ty)
    }

    /// Maximum over axes, which stay with extent 1.
    pub fn max_reduce(&mut self, x: NodeId, axes: &[usize]) -> NodeId {
        let (axes, ty) = self.reduced(x, axes);
        if let Some(v) = self.as_splat(x) {
            return self.splat(v, ty);
        }
        if ty == *self.ty(x) {
            return x;
        }
        self.intern(Op::Max(axes), vec![x], ty)
    }

    /// Row-major index within `axes` of the first maximum.
    pub fn argmax(&mut self, x: NodeId, axes: &[usize]) -> NodeId {
        let (axes, ty) = self.reduced(x, axes);
        self.intern(Op::ArgMax(axes), vec![x], Type::u32(ty.shape))
    }

    // ---- products

    /// Products summed over pairs of axes; result `[batch…, free lhs…, free rhs…]`, f32 whatever the factors are.
    pub fn contract(&mut self, a: NodeId, b: NodeId, dims: ContractDims) -> NodeId {
        let (ta, tb) = (self.ty(a).clone(), self.ty(b).clone());
        assert!(ta.dtype.is_float() && ta.dtype == tb.dtype, "contract of {ta} and {tb}");
        for &(i, j) in dims.batch.iter().chain(&dims.contracted) {
            assert_eq!(ta.shape[i], tb.shape[j], "contract of {ta} and {tb} over {dims:?}");
        }
        let used = |pick: fn(&(usize, usize)) -> usize| -> Vec<usize> {
            dims.batch.iter().chain(&dims.contracted).map(pick).collect()
        };
        let (ua, ub) = (used(|p| p.0), used(|p| p.1));
        let mut shape: Vec<usize> = dims.batch.iter().map(|p| ta.shape[p.0]).collect();
        shape.extend((0..ta.rank()).filter(|i| !ua.contains(i)).map(|i| ta.shape[i]));
        shape.extend((0..tb.rank()).filter(|i| !ub.contains(i)).map(|i| tb.shape[i]));
        let ty = Type::f32(shape);
        if self.as_splat(a) == Some(0.0) || self.as_splat(b) == Some(0.0) {
            return self.splat(0.0, ty);
        }
        self.intern(Op::Contract(dims), vec![a, b], ty)
    }

    /// `a[m, k] b[k, n]`.
    pub fn matmul(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.contract(a, b, ContractDims { batch: vec![], contracted: vec![(1, 0)] })
    }

    fn conv_node(
        &mut self,
        op: Op,
        a: NodeId,
        b: NodeId,
        sa: Vec<usize>,
        sb: Vec<usize>,
        out: Vec<usize>,
    ) -> NodeId {
        assert_eq!(self.shape(a), &sa[..], "first argument of {op:?}");
        assert_eq!(self.shape(b), &sb[..], "second argument of {op:?}");
        let (da, db) = (self.ty(a).dtype, self.ty(b).dtype);
        assert!(da.is_float() && da == db, "{op:?} of {} and {}", self.ty(a), self.ty(b));
        let ty = Type::f32(out);
        if self.as_splat(a) == Some(0.0) || self.as_splat(b) == Some(0.0) {
            return self.splat(0.0, ty);
        }
        self.intern(op, vec![a, b], ty)
    }

    /// Cross-correlation.
    pub fn conv_fwd(&mut self, x: NodeId, w: NodeId, g: Arc<ConvGeom>) -> NodeId {
        let (a, b, y) = (g.x_shape(), g.w_shape(), g.y_shape());
        self.conv_node(Op::ConvFwd(g), x, w, a, b, y)
    }

    /// Its gradient with respect to x.
    pub fn conv_data_grad(&mut self, dy: NodeId, w: NodeId, g: Arc<ConvGeom>) -> NodeId {
        let (a, b, y) = (g.y_shape(), g.w_shape(), g.x_shape());
        self.conv_node(Op::ConvDataGrad(g), dy, w, a, b, y)
    }

    /// Its gradient with respect to w.
    pub fn conv_weight_grad(&mut self, x: NodeId, dy: NodeId, g: Arc<ConvGeom>) -> NodeId {
        let (a, b, y) = (g.x_shape(), g.y_shape(), g.w_shape());
        self.conv_node(Op::ConvWeightGrad(g), x, dy, a, b, y)
    }

    // ---- rows, stop

    /// Rows of a table.
    pub fn gather_rows(&mut self, table: NodeId, rows: NodeId) -> NodeId {
        let mut ty = self.ty(table).clone();
        let r = self.ty(rows).clone();
        assert!(r.dtype == DType::U32 && r.rank() == 1 && ty.rank() >= 1);
        ty.shape[0] = r.shape[0];
        self.intern(Op::GatherRows, vec![table, rows], ty)
    }

    /// The table with some rows replaced.
    pub fn scatter_rows(&mut self, table: NodeId, rows: NodeId, values: NodeId) -> NodeId {
        let ty = self.ty(table).clone();
        let (r, v) = (self.ty(rows).clone(), self.ty(values).clone());
        assert!(r.dtype == DType::U32 && r.rank() == 1 && v.dtype == ty.dtype);
        assert!(v.shape[0] == r.shape[0] && v.shape[1..] == ty.shape[1..]);
        self.intern(Op::ScatterRows, vec![table, rows, values], ty)
    }

    /// The value without its gradient.
    pub fn stop(&mut self, x: NodeId) -> NodeId {
        match self.node(x).op {
            Op::Stop | Op::Const(_) | Op::Input(_) | Op::Iota { .. } => x,
            _ => {
                let ty = self.ty(x).clone();
                self.intern(Op::Stop, vec![x], ty)
            }
        }
    }

    // ---- short forms

    /// `a + b`
    pub fn add(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.binary(Binary::Add, a, b)
    }

    /// `a - b`
    pub fn sub(&mut self, a: NodeId, b: NodeId) -> NodeId {
        let b = self.unary(Unary::Neg, b);
        self.binary(Binary::Add, a, b)
    }

    /// `a * b`
    pub fn mul(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.binary(Binary::Mul, a, b)
    }

    /// `a / b`
    pub fn div(&mut self, a: NodeId, b: NodeId) -> NodeId {
        let b = self.unary(Unary::Recip, b);
        self.binary(Binary::Mul, a, b)
    }

    /// `x * v`
    pub fn scale(&mut self, x: NodeId, v: f64) -> NodeId {
        let v = self.scalar(v);
        self.mul(x, v)
    }

    /// `x + v`
    pub fn offset(&mut self, x: NodeId, v: f64) -> NodeId {
        let v = self.scalar(v);
        self.add(x, v)
    }

    /// `-x`
    pub fn neg(&mut self, x: NodeId) -> NodeId {
        self.unary(Unary::Neg, x)
    }

    /// `a < b`
    pub fn lt(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.binary(Binary::Lt, a, b)
    }

    /// `a == b`
    pub fn eq(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.binary(Binary::Eq, a, b)
    }

    /// Mean over axes, which stay with extent 1.
    pub fn mean(&mut self, x: NodeId, axes: &[usize]) -> NodeId {
        let count: usize = axes.iter().map(|&a| self.shape(x)[a]).product();
        let s = self.sum(x, axes);
        self.scale(s, 1.0 / count as f64)
    }

    /// Sum of everything, rank 0.
    pub fn sum_all(&mut self, x: NodeId) -> NodeId {
        let axes: Vec<usize> = (0..self.shape(x).len()).collect();
        let s = self.sum(x, &axes);
        self.reshape(s, &[])
    }
}

/// A unary function in f64, as constants are folded and as the oracle computes it.
pub fn unary_f64(f: Unary, x: f64) -> f64 {
    match f {
        Unary::Neg => -x,
        Unary::Recip => 1.0 / x,
        Unary::Sqrt => x.sqrt(),
        Unary::Exp => x.exp(),
        Unary::Log => x.ln(),
        Unary::Log1p => x.ln_1p(),
        Unary::Tanh => x.tanh(),
        Unary::Erf => erf(x),
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Abs => x.abs(),
        Unary::Sign => {
            if x > 0.0 {
                1.0
            } else if x < 0.0 {
                -1.0
            } else {
                x
            }
        }
        Unary::Floor => x.floor(),
        // 42 of the 52 fraction bits go.
        Unary::Tf32 if x.is_finite() => f64::from_bits((x.to_bits() + (1 << 41)) & !((1 << 42) - 1)),
        Unary::Tf32 => x,
        Unary::Not => f64::from(x == 0.0),
    }
}

/// A binary function in f64 (u32 arithmetic wraps).
pub fn binary_f64(f: Binary, a: f64, b: f64, dtype: DType) -> f64 {
    let wrap = |x: f64| if dtype == DType::U32 { x.rem_euclid(4_294_967_296.0) } else { x };
    match f {
        Binary::Add => wrap(a + b),
        Binary::Mul if dtype == DType::U32 => f64::from((a as u32).wrapping_mul(b as u32)),
        Binary::Mul => a * b,
        Binary::Max => {
            if a.is_nan() || b.is_nan() {
                f64::NAN
            } else {
                a.max(b)
            }
        }
        Binary::Min => {
            if a.is_nan() || b.is_nan() {
                f64::NAN
            } else {
                a.min(b)
            }
        }
        Binary::Lt => f64::from(a < b),
        Binary::Le => f64::from(a <= b),
        Binary::Eq => f64::from(a == b),
        Binary::And => f64::from(a != 0.0 && b != 0.0),
        Binary::Or => f64::from(a != 0.0 || b != 0.0),
    }
}

/// Error function to about 1e-15: Maclaurin series for |x| < 3, continued fraction beyond (Abramowitz & Stegun 7.1.5, 7.1.14).
pub fn erf(x: f64) -> f64 {
    let a = x.abs();
    let value = if a < 3.0 {
        let (mut term, mut sum, mut n) = (a, a, 0.0);
        while term.abs() > 1e-17 * sum.abs() && n < 200.0 {
            n += 1.0;
            term *= -a * a / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        let mut f = 0.0;
        for k in (1..=60).rev() {
            f = f64::from(k) / 2.0 / (a + f);
        }
        1.0 - (-a * a).exp() / (std::f64::consts::PI.sqrt() * (a + f))
    };
    value.copysign(x)
}
