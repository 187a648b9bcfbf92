//! Checks what always holds of a function of the kernel IR.

use super::ir::{Call, Expr, Function, Infix, Kind, Role, Stmt, Ty, Var};
use crate::graph::{DType, Unary};
use std::collections::BTreeSet;

/// The first broken rule, in words.
pub fn verify(f: &Function) -> Result<(), String> {
    let scope: BTreeSet<Var> = f.params.iter().copied().collect();
    let mut names = BTreeSet::new();
    for p in &f.params {
        if !names.insert(f.name_of(*p)) {
            return Err(format!("{}: two parameters `{}`", f.name, f.name_of(*p)));
        }
    }
    let checker = Checker { f };
    checker.block(&f.body, scope, true).map_err(|e| format!("{}: {e}", f.name))
}

struct Checker<'a> {
    f: &'a Function,
}

type Scope = BTreeSet<Var>;

impl Checker<'_> {
    /// `together`: whether all threads of the block come here.
    fn block(&self, body: &[Stmt], mut scope: Scope, together: bool) -> Result<(), String> {
        for s in body {
            self.stmt(s, &mut scope, together)?;
        }
        Ok(())
    }

    fn declare(&self, v: Var, scope: &mut Scope) -> Result<(), String> {
        let name = self.f.name_of(v);
        if scope.iter().any(|&s| self.f.name_of(s) == name) {
            return Err(format!("`{name}` is declared twice"));
        }
        scope.insert(v);
        Ok(())
    }

    fn typed(&self, e: &Expr, want: Ty, scope: &Scope) -> Result<(), String> {
        let found = self.ty(e, scope)?;
        if found == want { Ok(()) } else { Err(format!("{e:?} is {found:?}, expected {want:?}")) }
    }

    fn stmt(&self, s: &Stmt, scope: &mut Scope, together: bool) -> Result<(), String> {
        let f = self.f;
        match s {
            Stmt::Let(v, e) => {
                let Kind::Scalar { ty, .. } = f.kind(*v) else { return Err("let of no scalar".into()) };
                self.typed(e, ty, scope)?;
                self.declare(*v, scope)
            }
            Stmt::Array(v) => {
                match f.kind(*v) {
                    Kind::Local { .. } => {}
                    Kind::Shared { ty, len, offset } => {
                        let size = ty.shared_bytes();
                        if offset + len * size > f.shared || offset % size != 0 {
                            return Err(format!("`{}` lies outside shared memory", f.name_of(*v)));
                        }
                        if matches!(f.role, Role::Device(_)) {
                            return Err("a device function has no shared memory of its own".into());
                        }
                    }
                    Kind::Scalar { .. } | Kind::Pointer { .. } | Kind::Out { .. } => {
                        return Err(format!("`{}` is no array", f.name_of(*v)));
                    }
                }
                self.declare(*v, scope)
            }
            Stmt::Pointer(v) => {
                self.pointer(*v)?;
                self.declare(*v, scope)
            }
            Stmt::Point(v, to) => {
                let ((a, write), (b, from)) = (self.pointer(*v)?, self.pointer(*to)?);
                self.seen(*v, scope)?;
                self.seen(*to, scope)?;
                if a == b && (from || !write) { Ok(()) } else { Err("a pointer of another type".into()) }
            }
            Stmt::Assign(v, e) => {
                self.seen(*v, scope)?;
                match f.kind(*v) {
                    Kind::Scalar { ty, mutable: true } | Kind::Out { ty } => self.typed(e, ty, scope),
                    Kind::Scalar { .. } | Kind::Local { .. } | Kind::Shared { .. } | Kind::Pointer { .. } => {
                        Err(format!("`{}` cannot be assigned", f.name_of(*v)))
                    }
                }
            }
            Stmt::Put(v, at, e) => {
                let (ty, len) = self.array(*v, scope)?;
                self.position(at, len, scope)?;
                self.typed(e, ty, scope)
            }
            Stmt::LoadVector(to, from, at) => {
                self.seen(*from, scope)?;
                self.vector(*to, self.pointer(*from)?.0, scope)?;
                self.typed(at, Ty::Index, scope)
            }
            Stmt::Noise(v, dist, args) => {
                let (ty, len) = self.array(*v, scope)?;
                let given = self.call(Call::Random(*dist), args, scope)?;
                let local = matches!(self.f.kind(*v), Kind::Local { .. });
                if given == ty && len % 4 == 0 && local { Ok(()) } else { Err(format!("noise of {ty:?} {len}")) }
            }
            Stmt::StoreVector(to, at, from) => {
                self.seen(*to, scope)?;
                let (dtype, write) = self.pointer(*to)?;
                if !write {
                    return Err(format!("`{}` is only read", f.name_of(*to)));
                }
                self.vector(*from, dtype, scope)?;
                self.typed(at, Ty::Index, scope)
            }
            Stmt::Store(to, at, e) => {
                self.seen(*to, scope)?;
                let (dtype, write) = self.pointer(*to)?;
                if !write {
                    return Err(format!("`{}` is only read", f.name_of(*to)));
                }
                self.typed(at, Ty::Index, scope)?;
                self.typed(e, Ty::of(dtype), scope)
            }
            Stmt::For { var, from, to, step, body, .. } => {
                for e in [from, to, step] {
                    self.typed(e, Ty::Index, scope)?;
                }
                if f.kind(*var) != (Kind::Scalar { ty: Ty::Index, mutable: false }) {
                    return Err("a loop's index is an index".into());
                }
                let mut inner = scope.clone();
                self.declare(*var, &mut inner)?;
                self.block(body, inner, false)
            }
            Stmt::If(cond, then, other) => {
                self.typed(cond, Ty::Bool, scope)?;
                self.block(then, scope.clone(), false)?;
                self.block(other, scope.clone(), false)
            }
            Stmt::Barrier | Stmt::Last(_) => {
                if together {
                    Ok(())
                } else {
                    Err("a barrier that not all threads come to".into())
                }
            }
            Stmt::BlockReduce { var, shared, .. } => {
                if !together {
                    return Err("a reduction that not all threads come to".into());
                }
                self.seen(*var, scope)?;
                let Kind::Scalar { ty, mutable: true } = f.kind(*var) else {
                    return Err(format!("`{}` cannot be assigned", f.name_of(*var)));
                };
                let Role::Kernel { threads } = f.role else { return Err("only kernels reduce over blocks".into()) };
                let (element, len) = self.array(*shared, scope)?;
                let is_shared = matches!(f.kind(*shared), Kind::Shared { .. });
                if element == ty && len >= threads && is_shared {
                    Ok(())
                } else {
                    Err(format!("`{}` has no place for each thread", f.name_of(*shared)))
                }
            }
            Stmt::Return(e) => match f.role {
                Role::Device(Some(ty)) => self.typed(e, ty, scope),
                Role::Device(None) | Role::Kernel { .. } => Err("a return from a function without result".into()),
            },
        }
    }

    fn seen(&self, v: Var, scope: &Scope) -> Result<(), String> {
        if scope.contains(&v) { Ok(()) } else { Err(format!("`{}` is not in scope", self.f.name_of(v))) }
    }

    fn pointer(&self, v: Var) -> Result<(DType, bool), String> {
        match self.f.kind(v) {
            Kind::Pointer { dtype, write, .. } => Ok((dtype, write)),
            Kind::Scalar { .. } | Kind::Local { .. } | Kind::Shared { .. } | Kind::Out { .. } => {
                Err(format!("`{}` is no address", self.f.name_of(v)))
            }
        }
    }

    fn array(&self, v: Var, scope: &Scope) -> Result<(Ty, usize), String> {
        self.seen(v, scope)?;
        match self.f.kind(v) {
            Kind::Local { ty, len } | Kind::Shared { ty, len, .. } => Ok((ty, len)),
            Kind::Scalar { .. } | Kind::Pointer { .. } | Kind::Out { .. } => {
                Err(format!("`{}` is no array", self.f.name_of(v)))
            }
        }
    }

    fn position(&self, at: &Expr, len: usize, scope: &Scope) -> Result<(), String> {
        match at {
            Expr::Index(i) if *i < 0 || *i >= len as i64 => Err(format!("element {i} of {len}")),
            _ => self.typed(at, Ty::Index, scope),
        }
    }

    fn vector(&self, array: Var, dtype: DType, scope: &Scope) -> Result<(), String> {
        let (ty, len) = self.array(array, scope)?;
        if ty == Ty::of(dtype) && (len == 4 || len == 8) && matches!(self.f.kind(array), Kind::Local { .. }) {
            Ok(())
        } else {
            Err(format!("`{}` is no vector of {}", self.f.name_of(array), dtype.name()))
        }
    }

    fn ty(&self, e: &Expr, scope: &Scope) -> Result<Ty, String> {
        match e {
            Expr::Var(v) => {
                self.seen(*v, scope)?;
                match self.f.kind(*v) {
                    Kind::Scalar { ty, .. } | Kind::Out { ty } => Ok(ty),
                    Kind::Local { .. } | Kind::Shared { .. } | Kind::Pointer { .. } => {
                        Err(format!("`{}` is no value", self.f.name_of(*v)))
                    }
                }
            }
            Expr::F32(_) => Ok(Ty::F32),
            Expr::U32(_) => Ok(Ty::U32),
            Expr::Bool(_) => Ok(Ty::Bool),
            Expr::Index(_) | Expr::Builtin(_) => Ok(Ty::Index),
            Expr::Infix(op, a, b) => {
                let t = self.ty(a, scope)?;
                self.typed(b, t, scope)?;
                let number = matches!(t, Ty::F32 | Ty::U32 | Ty::Index);
                match op {
                    Infix::Add if t == Ty::Moments => Ok(t),
                    Infix::Add | Infix::Sub | Infix::Mul if number => Ok(t),
                    Infix::Div if number => Ok(t),
                    Infix::Rem if matches!(t, Ty::U32 | Ty::Index) => Ok(t),
                    Infix::Xor if t == Ty::U32 => Ok(t),
                    Infix::Lt | Infix::Le if number => Ok(Ty::Bool),
                    Infix::Eq if number || t == Ty::Bool => Ok(Ty::Bool),
                    Infix::And | Infix::Or if t == Ty::Bool => Ok(t),
                    _ => Err(format!("{op:?} of {t:?}")),
                }
            }
            Expr::Call(c, args) => self.call(*c, args, scope),
            Expr::Select(c, a, b) => {
                self.typed(c, Ty::Bool, scope)?;
                let t = self.ty(a, scope)?;
                self.typed(b, t, scope)?;
                Ok(t)
            }
            Expr::Inside(at, extent) => {
                self.typed(at, Ty::Index, scope)?;
                if *extent < 0 { Err("a negative extent".into()) } else { Ok(Ty::Bool) }
            }
            Expr::Load(p, at) => {
                self.seen(*p, scope)?;
                self.typed(at, Ty::Index, scope)?;
                Ok(Ty::of(self.pointer(*p)?.0))
            }
            Expr::Element(a, at) => {
                let (ty, len) = self.array(*a, scope)?;
                self.position(at, len, scope)?;
                Ok(ty)
            }
        }
    }

    fn call(&self, c: Call, args: &[Expr], scope: &Scope) -> Result<Ty, String> {
        let types: Vec<Ty> = args.iter().map(|a| self.ty(a, scope)).collect::<Result<_, _>>()?;
        let wrong = || Err(format!("{c:?} of {types:?}"));
        match (c, types.as_slice()) {
            (Call::Unary(Unary::Not), [Ty::Bool]) => Ok(Ty::Bool),
            (Call::Unary(u), [Ty::F32]) if u != Unary::Not => Ok(Ty::F32),
            (Call::Extreme(_), [a, b]) if a == b && matches!(a, Ty::F32 | Ty::U32) => Ok(*a),
            (Call::Convert(to), [Ty::F32 | Ty::U32 | Ty::Bool]) => Ok(Ty::of(to)),
            (Call::Random(dist), [Ty::U32, Ty::U32, Ty::U32, Ty::Index, Ty::Index]) => {
                Ok(if dist == crate::graph::Dist::Bits { Ty::U32 } else { Ty::F32 })
            }
            (Call::AsIndex, [Ty::U32]) => Ok(Ty::Index),
            (Call::AsWord, [Ty::Index]) => Ok(Ty::U32),
            (Call::Best, [Ty::F32, Ty::U32]) => Ok(Ty::Best),
            (Call::Best, [Ty::U32, Ty::U32]) => Ok(Ty::BestU),
            (Call::Better, [a, b]) if a == b && matches!(a, Ty::Best | Ty::BestU) => Ok(*a),
            (Call::Position, [Ty::Best | Ty::BestU]) => Ok(Ty::U32),
            (Call::Nothing, []) => Ok(Ty::Moments),
            (Call::Collect, [Ty::Moments, Ty::F32]) => Ok(Ty::Moments),
            (Call::Settled, [Ty::Moments]) => Ok(Ty::Moments),
            (Call::Moments, [Ty::F32, Ty::F32, Ty::F32]) => Ok(Ty::Moments),
            (Call::Moment(0..=2), [Ty::Moments]) => Ok(Ty::F32),
            (Call::Fma, [Ty::F32, Ty::F32, Ty::F32]) => Ok(Ty::F32),
            _ => wrong(),
        }
    }
}
