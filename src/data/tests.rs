//! Small files made on the fly, whole and broken.

use super::*;
use crate::graph::host::HostTensor;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

pub(super) fn call(name: &str, args: Vec<(Option<&str>, Arg)>) -> Call {
    let args = args.into_iter().map(|(n, a)| (n.map(str::to_owned), a, Span::default())).collect();
    Call { name: name.to_owned(), args, span: Span::default() }
}

pub(super) fn s(text: &str) -> Arg {
    Arg::Str(text.to_owned())
}

pub(super) fn n(v: f64) -> Arg {
    Arg::Number(v)
}

pub(super) fn pipeline(base: &Path, source: Call, transforms: Vec<Call>) -> Pipeline {
    Pipeline { name: "set".to_owned(), span: Span::default(), base: base.to_owned(), source, transforms }
}

/// The code of the first error.
pub(super) fn code(p: &Pipeline) -> &'static str {
    open(p).map(|_| "none").unwrap_or_else(|d| d.items()[0].code)
}

pub(super) fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut e = GzEncoder::new(Vec::new(), Compression::fast());
    e.write_all(bytes).unwrap();
    e.finish().unwrap()
}

/// An IDX file.
pub(super) fn idx_bytes(extents: &[u32], data: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 0, 8, extents.len() as u8];
    extents.iter().for_each(|e| out.extend(e.to_be_bytes()));
    out.extend(data);
    out
}

/// 20 pictures of 2 x 3, the first byte of each is its number; label = number mod 4.
fn digits(dir: &Path) -> Call {
    let pixels: Vec<u8> = (0..20u8).flat_map(|i| [i, 0, 51, 102, 204, 255]).collect();
    std::fs::write(dir.join("x"), gz(&idx_bytes(&[20, 2, 3], &pixels))).unwrap();
    let labels: Vec<u8> = (0..20).map(|i| i % 4).collect();
    std::fs::write(dir.join("y"), idx_bytes(&[20], &labels)).unwrap();
    call("idx", vec![(None, s("x")), (Some("labels"), s("y"))])
}

fn f(t: &HostTensor) -> &[f32] {
    t.as_f32().unwrap()
}

fn u(t: &HostTensor) -> &[u32] {
    t.as_u32().unwrap()
}

#[test]
fn idx_with_labels() {
    let dir = tempfile::tempdir().unwrap();
    let p = pipeline(dir.path(), digits(dir.path()), vec![call("scale", vec![(None, n(-1.0)), (None, n(1.0))])]);
    let schema = schema(&p).unwrap();
    assert_eq!(schema.rows, Some(20));
    assert_eq!(schema.field("image").unwrap().1.ty, FieldType::Real(vec![1, 2, 3]));
    assert_eq!(schema.field("label").unwrap().1.ty, FieldType::Class(4));
    assert_eq!(schema.range, Some((-1.0, 1.0)));
    let d = open(&p).unwrap();
    assert_eq!(d.schema(), &schema);
    let x = d.rows(0, 5..7);
    assert_eq!(x.shape, [2, 1, 2, 3]);
    let at = |b: f64| (-1.0 + 2.0 * b / 255.0) as f32;
    assert_eq!(f(&x), [5., 0., 51., 102., 204., 255., 6., 0., 51., 102., 204., 255.].map(at));
    assert_eq!(u(&d.rows(1, 5..9)), [1, 2, 3, 0]);
}

#[test]
fn hostile_idx() {
    let dir = tempfile::tempdir().unwrap();
    let check = |bytes: Vec<u8>, code_: &str| {
        std::fs::write(dir.path().join("x"), bytes).unwrap();
        let p = pipeline(dir.path(), call("idx", vec![(None, s("x"))]), vec![]);
        assert_eq!(code(&p), code_);
    };
    let good = idx_bytes(&[2, 2, 2], &[1; 8]);
    check(good.clone(), "none");
    check(good[..20].to_vec(), "E0502");
    check(good[..9].to_vec(), "E0502");
    check(vec![], "E0502");
    check(gz(&good)[..20].to_vec(), "E0502");
    check([good.clone(), vec![0]].concat(), "E0502");
    check(gz(&[good.clone(), vec![0; 100_000]].concat()), "E0502");
    check(idx_bytes(&[u32::MAX, u32::MAX, u32::MAX], &[]), "E0503");
    check(idx_bytes(&[u32::MAX, u32::MAX, u32::MAX, u32::MAX], &[]), "E0503");
    check(idx_bytes(&[60000, 28, 28], &[0; 50]), "E0502");
    check(gz(&idx_bytes(&[60000, 28, 28], &[0; 50])), "E0502");
    check(idx_bytes(&[0, 28, 28], &[]), "E0506");
    check(idx_bytes(&[8], &[0; 8]), "E0502");
    check([vec![1], good[1..].to_vec()].concat(), "E0502");
    check([vec![0, 0, 13], good[3..].to_vec()].concat(), "E0502");
    let mut sum = gz(&good);
    let at = sum.len() - 6;
    sum[at] ^= 1;
    check(sum, "E0502");
    let p = pipeline(dir.path(), call("idx", vec![(None, s("nothing"))]), vec![]);
    assert_eq!(code(&p), "E0501");
    let p = pipeline(dir.path(), call("idx", vec![]), vec![]);
    assert_eq!(code(&p), "E0508");
    std::fs::write(dir.path().join("x"), &good).unwrap();
    std::fs::write(dir.path().join("y"), idx_bytes(&[3], &[0; 3])).unwrap();
    let p = pipeline(dir.path(), call("idx", vec![(None, s("x")), (Some("labels"), s("y"))]), vec![]);
    assert_eq!(code(&p), "E0505");
}

#[test]
fn selections() {
    let dir = tempfile::tempdir().unwrap();
    let source = digits(dir.path());
    let first = |transforms: Vec<Call>| -> Vec<f32> {
        let d = open(&pipeline(dir.path(), source.clone(), transforms)).unwrap();
        let rows = d.len().unwrap();
        f(&d.rows(0, 0..rows)).chunks(6).map(|p| (p[0] * 255.0).round()).collect()
    };
    assert_eq!(first(vec![call("take", vec![(None, n(3.0))])]), [0., 1., 2.]);
    assert_eq!(first(vec![call("skip", vec![(None, n(18.0))])]), [18., 19.]);
    assert_eq!(first(vec![call("only", vec![(Some("label"), n(3.0))])]), [3., 7., 11., 15., 19.]);
    let per = call("take", vec![(None, n(1.0)), (Some("per"), Arg::Word("label".into()))]);
    assert_eq!(first(vec![call("skip", vec![(None, n(2.0))]), per]), [2., 3., 4., 5.]);
    let mut mixed = first(vec![call("shuffle", vec![(None, n(7.0))])]);
    assert_ne!(mixed[..4], [0., 1., 2., 3.]);
    mixed.sort_by(f32::total_cmp);
    assert!(mixed.iter().enumerate().all(|(i, &v)| v == i as f32));
    let bad = |t: Call| code(&pipeline(dir.path(), source.clone(), vec![t]));
    assert_eq!(bad(call("take", vec![(None, n(21.0))])), "E0506");
    assert_eq!(bad(call("skip", vec![(None, n(20.0))])), "E0506");
    assert_eq!(bad(call("only", vec![(Some("label"), n(4.0))])), "E0512");
    assert_eq!(bad(call("only", vec![(Some("lable"), n(4.0))])), "E0512");
    assert_eq!(bad(call("take", vec![(None, n(9.0)), (Some("per"), s("label"))])), "E0506");
    assert_eq!(bad(call("crop", vec![(None, n(3.0))])), "E0509");
    assert_eq!(bad(call("blur", vec![])), "E0507");
    assert_eq!(bad(call("scale", vec![(None, n(3.0))])), "E0508");
    assert_eq!(bad(call("gray", vec![(None, n(3.0))])), "E0508");
}

#[test]
fn pictures_change() {
    let dir = tempfile::tempdir().unwrap();
    let source = digits(dir.path());
    let set = |t: Vec<Call>| open(&pipeline(dir.path(), source.clone(), t)).unwrap();
    let cropped = set(vec![call("crop", vec![(None, Arg::List(vec![n(1.0), n(1.0)]))])]);
    assert_eq!(cropped.rows(0, 0..1).shape, [1, 1, 1, 1]);
    let resized = set(vec![call("resize", vec![(None, n(4.0))])]);
    assert_eq!(resized.rows(0, 0..2).shape, [2, 1, 4, 4]);
    let cut = set(vec![call("binarize", vec![])]);
    assert_eq!(f(&cut.rows(0, 0..1)), [0., 0., 0., 0., 1., 1.]);
    let drawn = set(vec![call("binarize", vec![(Some("stochastic"), Arg::Bool(true))])]);
    let mean: f32 = (0..20).map(|i| f(&drawn.rows(0, i..i + 1))[4]).sum::<f32>() / 20.0;
    assert!((mean - 0.8).abs() < 0.3, "{mean}");
    let scale = |a, b| call("scale", vec![(None, n(a)), (None, n(b))]);
    let twice = set(vec![call("binarize", vec![]), scale(-1.0, 1.0), scale(0.0, 3.0)]);
    assert_eq!(f(&twice.rows(0, 0..1)), [0., 0., 0., 0., 3., 3.]);
    let flipped = set(vec![call("flip", vec![(None, Arg::Word("horizontal".into()))])]);
    let firsts: Vec<f32> = (0..20).map(|i| f(&flipped.rows(0, i..i + 1))[3]).collect();
    assert!(firsts.contains(&0.4) && firsts.contains(&1.0));
    let noisy = set(vec![call("noise", vec![(None, n(0.5))])]);
    let clean = set(vec![]);
    let (a, b) = (noisy.rows(0, 0..20), clean.rows(0, 0..20));
    let e: Vec<f32> = f(&a).iter().zip(f(&b)).map(|(x, y)| x - y).collect();
    let var = e.iter().map(|v| v * v).sum::<f32>() / e.len() as f32;
    assert!((var - 0.25).abs() < 0.12, "{var}");
    assert_eq!(a, noisy.rows(0, 0..20));
}

#[test]
fn stacked() {
    let dir = tempfile::tempdir().unwrap();
    let p = pipeline(dir.path(), digits(dir.path()), vec![call("stack", vec![(None, n(3.0))])]);
    let d = open(&p).unwrap();
    assert_eq!(d.schema().field("label").unwrap().1.ty, FieldType::Class(64));
    let x = d.rows(0, 0..20);
    assert_eq!(x.shape, [20, 3, 2, 3]);
    let y = d.rows(1, 0..20);
    for (planes, &label) in f(&x).chunks(18).zip(u(&y)) {
        let digit = |p: usize| (planes[p * 6] * 255.0).round() as u32 % 4;
        assert_eq!(label, 16 * digit(0) + 4 * digit(1) + digit(2));
    }
}

#[test]
fn generated() {
    let dir = Path::new("");
    let ring = call("ring", vec![(Some("modes"), n(8.0)), (Some("radius"), n(2.0)), (Some("std"), n(0.02))]);
    let d = Arc::new(open(&pipeline(dir, ring.clone(), vec![])).unwrap());
    let modes = d.schema().modes.clone().unwrap();
    assert_eq!((d.len(), modes.centres.len(), modes.std), (None, 8, 0.02));
    for (i, a) in modes.centres.iter().enumerate() {
        for b in &modes.centres[..i] {
            assert!((a[0] - b[0]).hypot(a[1] - b[1]) > 1.0);
        }
    }
    let l = Loader::new(d.clone(), vec![0, 1], 2000, [3, 4], 5);
    let batch = l.batch(9);
    assert_ne!(batch, l.batch(10));
    let mut counts = [0; 8];
    for (p, &m) in f(&batch[0]).chunks(2).zip(u(&batch[1])) {
        let c = &modes.centres[m as usize];
        assert!((f64::from(p[0]) - c[0]).hypot(f64::from(p[1]) - c[1]) < 0.12);
        counts[m as usize] += 1;
    }
    assert!(counts.iter().all(|&c| (c - 250i32).abs() < 75), "{counts:?}");
    let fixed = open(&pipeline(dir, ring, vec![call("take", vec![(None, n(50.0))])])).unwrap();
    assert_eq!((fixed.len(), fixed.schema().modes.is_some()), (Some(50), true));
    for name in ["grid", "swiss_roll", "two_moons"] {
        let d = open(&pipeline(dir, call(name, vec![]), vec![])).unwrap();
        assert!(f(&d.rows(0, 0..100)).iter().all(|v| v.is_finite()));
    }
    assert_eq!(code(&pipeline(dir, call("ring", vec![(Some("modes"), n(0.5))]), vec![])), "E0508");
    assert_eq!(code(&pipeline(dir, call("grid", vec![]), vec![call("skip", vec![(None, n(1.0))])])), "E0509");
    assert_eq!(code(&pipeline(dir, call("parquet", vec![(None, s("x"))]), vec![])), "E0510");
    assert_eq!(code(&pipeline(dir, call("lmdb", vec![]), vec![])), "E0507");
}

#[test]
fn minibatches_are_pure() {
    let dir = tempfile::tempdir().unwrap();
    let noise = call("noise", vec![(None, n(0.1))]);
    let flip = call("flip", vec![(None, Arg::Word("horizontal".into()))]);
    let d = Arc::new(open(&pipeline(dir.path(), digits(dir.path()), vec![flip, noise])).unwrap());
    let l = Arc::new(Loader::new(d.clone(), vec![0, 1], 6, [1, 2], 3));
    let again = Loader::new(d.clone(), vec![0, 1], 6, [1, 2], 3);
    let forward: Vec<_> = (0..7).map(|k| l.batch(k)).collect();
    for k in (0..7).rev() {
        assert_eq!(again.batch(k), forward[k as usize]);
    }
    // An epoch is 3 minibatches of different rows; the next has another order.
    let mut rows: Vec<u32> = (0..3).flat_map(|k| l.rows(k)).collect();
    rows.sort_unstable();
    rows.dedup();
    assert_eq!(rows.len(), 18);
    assert_ne!(l.rows(0), l.rows(3));
    assert_ne!(l.rows(0), Loader::new(d, vec![0], 6, [1, 2], 4).rows(0));
    let mut ahead = Prefetch::new(vec![l.clone()], 2).unwrap();
    assert!(ahead.take().is_err());
    (0..7).for_each(|k| ahead.request(vec![(0, k), (0, k + 1)]));
    for k in 0..5 {
        assert_eq!(ahead.take().unwrap(), [l.batch(k), l.batch(k + 1)]);
    }
    drop(ahead);
}

mod bundled;
mod files;
mod fuzz;
