//! Data sets in device memory: minibatches that a device makes of rows are those of the host, bit for bit; what is
//! sent in an iteration; what happens where they do not fit.

use crate::cuda::emulate::{Binary, Call as Launch, Region, prefix};
use crate::cuda::nvrtc;
use crate::cuda_device::{Fake, lower};
use crate::cuda_runtime::{Notes, folder, train, train_all};
use crate::support::{compile_as, repo};
use ganc::codegen::cuda::held::{self, Held as Way};
use ganc::codegen::cuda::{Arch, Module};
use ganc::data::{Arg, Call, Dataset, Loader, Pipeline};
use ganc::exec::Executor;
use ganc::exec::cuda::{CudaExecutor, CudaOptions};
use ganc::graph::rows::{Elements, Rows};
use ganc::graph::{Graph, HostData, HostTensor, Type};
use ganc::source::Span;
use ganc::train::checkpoint;
use std::path::Path;
use std::sync::Arc;

const DIGITS: &str = "tests/train/digits.gan";

fn call(name: &str, args: Vec<(Option<&str>, Arg)>) -> Call {
    let args = args.into_iter().map(|(n, a)| (n.map(str::to_owned), a, Span::default())).collect();
    Call { name: name.to_owned(), args, span: Span::default() }
}

fn open(base: &Path, source: Call, transforms: Vec<Call>) -> Arc<Dataset> {
    let p = Pipeline { name: "set".into(), span: Span::default(), base: base.to_owned(), source, transforms };
    let ways = ganc::data::ways(&p).expect("readable");
    let set = ganc::data::open(&p).expect("readable");
    // What is predicted is what is there.
    for (i, way) in ways.iter().enumerate() {
        let bytes = set.held(i, String::new()).map(|r| r.bytes());
        match way {
            ganc::data::Way::Held(n) => assert_eq!(bytes, Some(*n), "field {i}"),
            ganc::data::Way::Streamed(_) => assert_eq!(bytes, None, "field {i}"),
        }
    }
    Arc::new(set)
}

fn words(t: &HostTensor) -> Vec<u8> {
    match &t.data {
        HostData::F32(v) => v.iter().flat_map(|x| x.to_bits().to_le_bytes()).collect(),
        HostData::U32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        HostData::Bool(v) => v.clone(),
    }
}

/// A field's batch as the text of the kernel makes it, run on the CPU.
fn made(binary: &Binary, rows: &Rows<'_>, picks: &HostTensor, bytes: usize) -> Vec<u8> {
    let four = |v: &[u32]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let real = |v: &[f32]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let (stored, values) = match &rows.elements {
        Elements::Bytes(v, values) => (v.to_vec(), Some(real(&values[..]))),
        Elements::Real(v) => (real(v), None),
        Elements::Class(v) => (four(v), None),
    };
    let way = match (&values, rows.width()) {
        (Some(_), _) => Way::Bytes,
        (None, 1) => Way::Numbers,
        (None, _) => Way::Words,
    };
    let mut regions = vec![];
    let mut add = |data: Vec<u8>| {
        regions.push(Region { bytes: data.len(), data });
        (regions.len() - 1, 0)
    };
    let mut args = vec![add(stored)];
    args.extend(values.map(&mut add));
    // No index is address zero, which a number is too.
    args.push(rows.index.as_ref().map_or((usize::MAX, 0), |i| add(four(i))));
    args.push(add(words(picks)));
    regions.push(Region { bytes, data: vec![] });
    let at = regions.len() - 1;
    args.push((at, 0));
    let samples = picks.shape[0];
    let numbers = way.numbers(samples, rows.planes, rows.part(), &rows.shape);
    args.extend(numbers.iter().map(|&n| (usize::MAX, n as usize)));
    let kernel = prefix(0) + way.name();
    let grid = way.grid(samples, rows.planes, rows.part());
    let launch = Launch { kernel, grid, block: [held::THREADS, 1, 1], shared: 0, args };
    let after = binary.run(7, &regions, &[launch]).unwrap_or_else(|e| panic!("{e}"));
    after[at].clone()
}

fn module() -> Module {
    Module { text: held::text(), launches: vec![], workspace: 0, products: vec![] }
}

#[test]
fn batches_of_cuda_text_are_the_loaders() {
    let dir = tempfile::tempdir().unwrap();
    // 37 rows of 5 x 3 numbers, with labels; 11 numbers.
    let npy = |name: &str, descr: &str, shape: &str, data: Vec<u8>| {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        std::fs::write(dir.path().join(name), bytes).unwrap();
    };
    let reals = (0..37 * 15).flat_map(|i| (i as f32 * 0.37 - 9.0).to_le_bytes()).collect();
    npy("reals.npy", "<f4", "(37, 5, 3)", reals);
    npy("labels.npy", "<i4", "(37,)", (0..37i32).flat_map(|i| (i % 4).to_le_bytes()).collect());
    let s = |t: &str| Arg::Str(t.into());
    let n = Arg::Number;
    let digits = || {
        let labels = (Some("labels"), s("digits8x8-labels.gz"));
        call("idx", vec![(None, s("digits8x8-images.gz")), labels])
    };
    let scale = |lo, hi| call("scale", vec![(None, n(lo)), (None, n(hi))]);
    let one = |name, v| call(name, vec![(None, n(v))]);
    let flip = || call("flip", vec![(None, s("horizontal"))]);
    let bundled = repo("tests/train");
    let stacked = vec![scale(-1.0, 1.0), one("stack", 3.0), flip()];
    let sets = [
        open(&bundled, digits(), vec![scale(-1.0, 1.0)]),
        open(&bundled, digits(), vec![scale(0.1, 0.7), flip(), call("binarize", vec![]), one("skip", 5.0)]),
        open(&bundled, digits(), vec![call("shuffle", vec![]), one("take", 100.0), flip()]),
        open(&bundled, digits(), stacked),
        open(dir.path(), call("npy", vec![(None, s("reals.npy")), (Some("labels"), s("labels.npy"))]), vec![]),
        open(
            dir.path(),
            call("npy", vec![(None, s("reals.npy")), (Some("range"), Arg::List(vec![n(-9.0), n(200.0)]))]),
            vec![scale(-1.0, 1.0), call("shuffle", vec![])],
        ),
        open(&bundled, call("ring", vec![]), vec![one("take", 40.0)]),
    ];
    let binary = Binary::new(&[&module()]);
    let mut seen = [0; 3];
    for (i, set) in sets.iter().enumerate() {
        let fields: Vec<usize> = (0..set.schema().fields.len()).collect();
        let loader = Loader::new(set.clone(), fields.clone(), 9, [5, 6], 77);
        for &f in &fields {
            let rows = set.held(f, "x".into()).unwrap_or_else(|| panic!("set {i}, field {f} can be held"));
            seen[match (&rows.elements, rows.width()) {
                (Elements::Bytes(..), _) => 0,
                (_, 1) => 1,
                _ => 2,
            }] += 1;
            for k in [0, 3, 1000] {
                let want = loader.one(f, k);
                assert_eq!(want, loader.batch(k)[f]);
                let got = made(&binary, &rows, &loader.picks(f, k), want.ty().bytes());
                assert!(got == words(&want), "set {i}, field {f}, batch {k}");
            }
        }
    }
    assert!(seen.iter().all(|n| *n > 1), "{seen:?}");
    // What is drawn anew for each minibatch is no choice of rows.
    let noisy = [
        open(&bundled, digits(), vec![one("noise", 0.1)]),
        open(&bundled, digits(), vec![call("binarize", vec![(Some("stochastic"), Arg::Bool(true))])]),
        open(&bundled, call("ring", vec![]), vec![]),
    ];
    assert!(noisy.iter().all(|set| set.held(0, String::new()).is_none()));
    assert!(noisy[0].held(1, String::new()).is_some(), "its labels are");
}

#[test]
fn nvrtc_compiles_the_kernels_that_cuda_batches_are_made_by() {
    let Some(nvrtc) = nvrtc::find() else { return };
    for arch in [Arch::Sm80, Arch::Sm90a, Arch::Sm100a] {
        let (_, usage) = nvrtc.compile(&held::text(), arch.target()).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(usage.len(), Way::ALL.len());
        assert!(usage.iter().all(|u| u.spilled == 0 && u.registers <= 64), "{usage:?}");
    }
}

fn executor(device: &Fake) -> CudaExecutor {
    CudaExecutor::new(Box::new(device.clone()), lower, CudaOptions::default())
}

/// Losses and the last checkpoint's tensors of nine steps (two variants of the iteration, two minibatches each) on a
/// device with so much memory, then of nine more after a resume.
fn run(memory: u64, at: &Path) -> (Notes, Vec<(String, HostTensor)>, [Fake; 2]) {
    let folder = folder(at);
    let devices = [Fake::new(memory), Fake::new(memory)];
    let (end, mut notes) = train(&mut executor(&devices[0]), DIGITS, &folder, 9, false);
    end.unwrap();
    let (end, more) = train(&mut executor(&devices[1]), DIGITS, &folder, 18, true);
    end.unwrap();
    notes.losses.extend(more.losses);
    let last = checkpoint::newest(&folder.checkpoints(), None).unwrap().0.unwrap();
    (notes, last.tensors.into_iter().collect(), devices)
}

#[test]
fn a_run_sends_numbers_of_rows_and_ends_in_the_same_cuda_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (held, a, [device, _]) = run(1 << 30, &dir.path().join("held"));
    // Without room for half of the data.
    let (streamed, b, [small, _]) = run(device.taken() - 57_000, &dir.path().join("streamed"));
    assert_eq!(held.losses, streamed.losses);
    assert_eq!(held.losses.len(), 18);
    assert!(a == b);
    let said = |n: &Notes| n.notes.iter().filter(|n| n.contains("stays in device memory")).count();
    assert_eq!((said(&held), said(&streamed)), (1, 0), "{:?}", held.notes);
    // Seed, iteration and two minibatches of 31 rows, each in 256 bytes; or two of 31 * 64 numbers.
    let of = |d: &Fake| d.sent().iter().copied().filter(|b| *b >= 1024).min();
    assert_eq!(device.sent().iter().filter(|b| **b == 1024).count(), 9);
    assert!(of(&small).unwrap() >= 2 * 31 * 64 * 4);
}

#[test]
fn held_data_makes_room_for_a_larger_cuda_program() {
    let device = Fake::new(4_000_000);
    let mut exec = executor(&device);
    let mut g = Graph::new();
    let x = g.input("x", Type::f32([4, 3]));
    let y = g.mul(x, x);
    g.output("y", y);
    let mut p = exec.compile(&g).unwrap();
    let stored: Vec<f32> = (0..600_000).map(|i| i as f32).collect();
    let rows = Rows {
        name: "set.x".into(),
        shape: vec![3],
        planes: 1,
        index: None,
        elements: Elements::Real(stored.into()),
    };
    let held = exec.hold(&rows).unwrap().expect("it fits");
    assert_eq!(exec.hold(&rows).unwrap(), None, "once");
    exec.feed(&mut p, "x", held).unwrap();
    assert!(exec.takes_rows(&p, "x"));
    let picks = HostTensor::u32([4], vec![0, 199_999, 7, 1 << 31 | 7]);
    let whole = HostTensor::f32(
        [4, 3],
        [0, 1, 2, 599_997, 599_998, 599_999, 21, 22, 23, 23, 22, 21].map(|i| i as f32).to_vec(),
    );
    let squares: Vec<f32> = whole.as_f32().unwrap().iter().map(|v| v * v).collect();
    let want = HostTensor::f32([4, 3], squares);
    for _ in 0..3 {
        assert_eq!(exec.run(&mut p, &[("x", &picks)]).unwrap()[0].1, want);
    }
    for (wrong, part) in [
        (HostTensor::u32([4], vec![0, 1, 2, 200_000]), "the number 200000"),
        (HostTensor::u32([3], vec![0; 3]), "u32[3]"),
        (whole.clone(), "f32[4,3]"),
    ] {
        let e = exec.run(&mut p, &[("x", &wrong)]).unwrap_err().to_string();
        assert!(e.contains(part) && e.contains("numbers of 200000 rows"), "{e}");
    }
    assert!(exec.tell_inputs(&p)[0].starts_with("x: of 200000 rows of set.x in device memory"));
    // Another program that needs 2.4 MB takes the room; then the first one is sent whole batches again.
    let mut large = Graph::new();
    let z = large.input("z", Type::f32([100_000]));
    let zz = large.mul(z, z);
    large.output("zz", zz);
    let mut q = exec.compile(&large).unwrap();
    let ones = HostTensor::f32([100_000], vec![1.0; 100_000]);
    assert_eq!(exec.run(&mut q, &[("z", &ones)]).unwrap()[0].1, ones);
    assert!(!exec.takes_rows(&p, "x"));
    for _ in 0..3 {
        assert_eq!(exec.run(&mut p, &[("x", &whole)]).unwrap()[0].1, want);
    }
    assert!(exec.tell_inputs(&p)[0].starts_with("x: 48 bytes copied"));
}

/// Two trains; minibatches that an update reads only for a loss that nobody sees, held and streamed fields of one line,
/// a program of monitors that reads less than an iteration, and one of samples that is larger than both.
const MIXED: &str = "
    data digits = idx(\"digits8x8-images.gz\", labels: \"digits8x8-labels.gz\") |> scale(-1, 1)
    data noisy = idx(\"digits8x8-images.gz\", labels: \"digits8x8-labels.gz\") |> scale(-1, 1) |> noise(0.1)
    generator G(z: [4]) -> [1, 8, 8] { linear(64); reshape(1, 8, 8); tanh }
    discriminator D(x: [1, 8, 8]) -> [1] { flatten; linear(8); leaky_relu(0.2); linear(1) }
    network C(x: [1, 8, 8]) -> [10] { flatten; linear(10) }
    train first {
        batch 7
        steps 6
        draw z: [4] ~ normal
        draw real ~ digits.image
        player D { minimize mean(softplus(-D(real))) + mean(softplus(D(G(z)))); using adam(lr: 1e-3); repeat 2 }
        player G { minimize mean(softplus(-D(G(z)))) - mean(D(real)); using adam(lr: 1e-3); repeat 2 }
        every 3 steps { samples(G(z), grid: [30, 30]) }
    }
    train second {
        batch 9
        steps 5
        draw x, y ~ noisy.image, noisy.label
        draw other ~ digits.image
        player C { minimize mean(cross_entropy(C(x), y)) + mean(C(other)^2); using adam(lr: 1e-3) }
    }";

#[test]
fn cuda_runs_are_the_same_whatever_the_device_can_hold() {
    let dir = tempfile::tempdir().unwrap();
    let spec = MIXED.replace("; ", "\n").replace("\n    data", "\ndata");
    let compiled = compile_as(&repo("tests/train/mixed.gan"), &spec).unwrap_or_else(|e| panic!("{e}"));
    let run = |name: &str, memory: u64| {
        let device = Fake::new(memory);
        let folder = folder(&dir.path().join(name));
        let (end, notes) = train_all(&mut executor(&device), &compiled, &folder, false, 1);
        (end, notes, device)
    };
    let said = |n: &Notes, what: &str| n.notes.iter().filter(|n| n.contains(what)).count();
    let (end, all, device) = run("all", 1 << 30);
    end.unwrap();
    assert_eq!((said(&all, " stays in"), said(&all, "no longer")), (2, 0), "{:?}", all.notes);
    assert_eq!(all.losses.len(), 11);
    let (mut gone, mut refused) = (0, 0);
    for i in 0..16 {
        let (end, notes, _) = run(&format!("less{i}"), device.taken() + 100_000 - i * 20_000);
        match end {
            Ok(_) => assert_eq!(notes.losses, all.losses, "{i}: {:?}", notes.notes),
            Err(e) => {
                assert!(e.contains("the plan needs"), "{i}: {e}");
                refused += 1;
            }
        }
        gone += usize::from(said(&notes, "no longer") > 0);
    }
    assert!(gone > 0 && refused > 0, "{gone} {refused}");
}
