//! The IR by itself: what is printed, and what the verifier refuses. `tests/cuda_text.rs` compiles and runs it.

use super::body::{element, epilogue};
use super::ir::{Across, Expr, Function, Infix, Kind, Role, Stmt, Ty};
use super::verify::verify;
use crate::fuse::{Affine, Body, Code, Guard, Inst, Sink};
use crate::graph::{Binary, DType, Graph, Type, Unary};

fn inst(code: Code, args: &[u32], dtype: DType) -> Inst {
    Inst { code, args: args.to_vec(), dtype }
}

#[test]
fn a_prologue_is_a_function_of_coordinates() {
    let mut g = Graph::new();
    let x = g.input("x", Type::new(DType::Bf16, [4, 6]));
    let at = Affine { coef: vec![6, 1], offset: -1 };
    let guards = vec![Guard { at: Affine { coef: vec![0, 1], offset: -1 }, extent: 6 }];
    let body = Body {
        domain: vec![4, 8],
        insts: vec![
            inst(Code::Load { from: x, at, guards }, &[], DType::Bf16),
            inst(Code::Cast(DType::Bf16), &[0], DType::F32),
            inst(Code::Const(0.2f64.to_bits()), &[], DType::F32),
            inst(Code::Const(7.0f64.to_bits()), &[], DType::F32),
            inst(Code::Binary(Binary::Mul), &[1, 2], DType::F32),
        ],
        sinks: vec![],
    };
    let f = element(&g, "left", &body);
    assert_eq!(f.tensors, [(x, false)]);
    assert_eq!(
        f.text,
        "__device__ __forceinline__ float left(
    const unsigned short* p0, int i0, int i1) {
  const float r0 = (unsigned)(i1 - 1) < 6u ? ganc_from_bf16(p0[i0 * 6 + i1 - 1]) : 0.0f;
  const float r4 = r0 * 0.2f;
  return r4;
}
"
    );
}

#[test]
fn an_epilogue_gives_what_is_stored() {
    let mut g = Graph::new();
    let (x, b) = (g.input("x", Type::f32([5, 3])), g.input("b", Type::f32([3])));
    let y = g.unary(Unary::Tanh, x);
    let load =
        |from, coef: [i64; 2]| Code::Load { from, at: Affine { coef: coef.into(), offset: 0 }, guards: vec![] };
    let body = Body {
        domain: vec![5, 3],
        insts: vec![
            inst(load(x, [3, 1]), &[], DType::F32),
            inst(load(b, [0, 1]), &[], DType::F32),
            inst(Code::Binary(Binary::Add), &[0, 1], DType::F32),
        ],
        sinks: vec![Sink::Store { node: y, reg: 2, at: Affine { coef: vec![3, 1], offset: 0 }, prefill: None }],
    };
    let held = [(b, Affine { coef: vec![0, 1], offset: 0 })];
    let f = epilogue(&g, "done", &body, x, &held);
    assert_eq!(f.tensors, vec![(b, false), (y, true)]);
    assert_eq!(
        f.text,
        "__device__ __forceinline__ void done(
    const float* p0, float* p1, float product, float x0, int i0, int i1, float& w0) {
  const float r2 = product + x0;
  w0 = r2;
}
"
    );
}

#[test]
fn huge_tensors_have_wide_indices() {
    let mut g = Graph::new();
    let x = g.input("x", Type::f32([1 << 16, 1 << 16]));
    let at = Affine::row_major(&[1 << 16, 1 << 16]);
    let load = Code::Load { from: x, at, guards: vec![] };
    let body = Body { domain: vec![1 << 16, 1 << 16], insts: vec![inst(load, &[], DType::F32)], sinks: vec![] };
    let f = element(&g, "far", &body);
    assert!(f.wide && f.text.contains("p0[i0 * 65536ll + i1]") && f.text.contains("long long i0"), "{}", f.text);
}

/// A kernel of 64 threads with a pointer to read, one to write, and a word of each type.
fn kernel(build: impl FnOnce(&mut Function) -> Vec<Stmt>) -> Result<(), String> {
    let mut f = Function::new("k", Role::Kernel { threads: 64 }, false);
    let at = |write| Kind::Pointer { dtype: DType::F32, write, alone: true };
    f.param("from", at(false));
    f.param("to", at(true));
    f.body = build(&mut f);
    verify(&f)
}

#[test]
fn the_verifier_refuses() {
    use super::ir::Var;
    let (from, to) = (Var(0), Var(1));
    let load = || Expr::Load(from, Box::new(Expr::Index(0)));
    let wrong: Vec<(&str, Result<(), String>)> = vec![
        ("only read", kernel(|_| vec![Stmt::Store(from, Expr::Index(0), load())])),
        ("expected F32", kernel(|_| vec![Stmt::Store(to, Expr::Index(0), Expr::U32(1))])),
        ("expected Index", kernel(|_| vec![Stmt::Store(to, Expr::U32(0), load())])),
        (
            "not in scope",
            kernel(|f| {
                let v = f.scalar("v", Ty::F32);
                vec![
                    Stmt::If(Expr::Bool(true), vec![Stmt::Let(v, load())], vec![]),
                    Stmt::Store(to, Expr::Index(0), Expr::Var(v)),
                ]
            }),
        ),
        (
            "declared twice",
            kernel(|f| {
                let (a, b) = (f.scalar("v", Ty::F32), f.scalar("v", Ty::F32));
                vec![Stmt::Let(a, load()), Stmt::Let(b, load())]
            }),
        ),
        (
            "cannot be assigned",
            kernel(|f| {
                let v = f.scalar("v", Ty::F32);
                vec![Stmt::Let(v, load()), Stmt::Assign(v, load())]
            }),
        ),
        ("not all threads", kernel(|_| vec![Stmt::If(Expr::Bool(true), vec![Stmt::Barrier], vec![])])),
        (
            "no place for each",
            kernel(|f| {
                let (v, s) = (f.mutable("v", Ty::F32), f.shared_array("s", Ty::F32, 32));
                let across = Across::Rows { lanes: 32 };
                let reduce = Stmt::BlockReduce { var: v, sum: true, across, shared: s };
                vec![Stmt::Array(s), Stmt::Let(v, load()), reduce]
            }),
        ),
        (
            "outside shared memory",
            kernel(|f| {
                let s = f.shared_array("s", Ty::F32, 64);
                f.shared = 128;
                vec![Stmt::Array(s)]
            }),
        ),
        ("Rem of F32", kernel(|_| vec![Stmt::Store(to, Expr::Index(0), load().infix(Infix::Rem, load()))])),
        ("without result", kernel(|_| vec![Stmt::Return(load())])),
    ];
    for (what, result) in wrong {
        let said = result.expect_err(what);
        assert!(said.contains(what), "{said}, expected {what}");
    }
    assert_eq!(kernel(|_| vec![Stmt::Store(to, Expr::Index(0), load()), Stmt::Barrier]), Ok(()));
}
