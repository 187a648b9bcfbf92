//! Pictures, archives, tables and arrays.

use super::*;
use std::io::Cursor;

/// A PNG whose pixels are its seed, plus the column.
fn png(w: u32, h: u32, seed: u8, colour: bool) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    let v = |x: u32| seed.wrapping_add(x as u8);
    let picture: image::DynamicImage = if colour {
        image::RgbImage::from_fn(w, h, |x, _| image::Rgb([v(x), 0, 255])).into()
    } else {
        image::GrayImage::from_fn(w, h, |x, _| image::Luma([v(x)])).into()
    };
    picture.write_to(&mut out, image::ImageFormat::Png).unwrap();
    out.into_inner()
}

fn zip_file(path: &Path, entries: &[(&str, Vec<u8>)]) {
    let mut z = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    for (name, bytes) in entries {
        z.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        z.write_all(bytes).unwrap();
    }
    z.finish().unwrap();
}

fn csv_call(args: Vec<(Option<&str>, Arg)>) -> Arg {
    Arg::Call(call("csv", args))
}

#[test]
fn folders_are_labels() {
    let dir = tempfile::tempdir().unwrap();
    for (name, seed) in [("b/2.png", 30), ("a/1.png", 10), ("a/0.png", 0), ("b/.hidden.png", 9), ("b/notes.txt", 9)]
    {
        std::fs::create_dir_all(dir.path().join("set").join(name).parent().unwrap()).unwrap();
        std::fs::write(dir.path().join("set").join(name), png(4, 2, seed, true)).unwrap();
    }
    let p = pipeline(dir.path(), call("images", vec![(None, s("set"))]), vec![]);
    let d = open(&p).unwrap();
    assert_eq!(d.schema(), &schema(&p).unwrap());
    assert_eq!(d.rows(0, 0..3).shape, [3, 3, 2, 4]);
    assert_eq!(u(&d.rows(1, 0..3)), [0, 0, 1]);
    assert_eq!(d.class_names(1).unwrap(), ["a", "b"]);
    let x = d.rows(0, 2..3);
    assert_eq!(f(&x)[..4], [30., 31., 32., 33.].map(|v| (v / 255.0f64) as f32));
    assert_eq!(f(&x)[8..12], [0.0; 4]);
    assert_eq!(f(&x)[16], 1.0);
    let gray = open(&Pipeline { transforms: vec![call("gray", vec![])], ..p.clone() }).unwrap();
    assert_eq!(gray.rows(0, 0..1).shape, [1, 1, 2, 4]);
    std::fs::write(dir.path().join("set/top.png"), png(4, 2, 0, true)).unwrap();
    assert_eq!(code(&p), "E0505");
}

#[test]
fn archives_with_columns() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["x/a.png", "x/c.png", "x/b.png"];
    zip_file(&dir.path().join("p.zip"), &[0, 1, 2].map(|i| (names[i], png(4, 4, 20 * i as u8, false))));
    // Matched by file, in another order.
    let text = "file,kind,size,half\nb.png,dog,2,0.5\na.png,cat,0,-1\nc.png,dog,1,7\n";
    std::fs::write(dir.path().join("p.csv"), text).unwrap();
    let source = call(
        "images",
        vec![
            (None, s("p.zip")),
            (Some("labels"), csv_call(vec![(None, s("p.csv"))])),
            (Some("vector"), Arg::List(vec![s("half"), s("size")])),
        ],
    );
    let p = pipeline(dir.path(), source, vec![]);
    let d = open(&p).unwrap();
    let names: Vec<_> = d.schema().fields.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["image", "kind", "size", "half", "vector"]);
    assert_eq!(u(&d.rows(1, 0..3)), [0, 1, 1]);
    assert_eq!(u(&d.rows(2, 0..3)), [0, 1, 2]);
    assert_eq!(f(&d.rows(3, 0..3)), [-1.0, 7.0, 0.5]);
    assert_eq!(f(&d.rows(4, 0..3)), [-1.0, 0.0, 7.0, 1.0, 0.5, 2.0]);
    let dogs = Pipeline { transforms: vec![call("only", vec![(Some("kind"), s("dog"))])], ..p.clone() };
    let d = open(&dogs).unwrap();
    assert_eq!((d.len(), f(&d.rows(0, 0..2))[16]), (Some(2), 40.0 / 255.0));
    assert_eq!(u(&d.rows(2, 0..2)), [1, 2]);
    let one = csv_call(vec![(None, s("p.csv")), (Some("column"), s("kind"))]);
    let p = pipeline(dir.path(), call("images", vec![(None, s("p.zip")), (Some("labels"), one)]), vec![]);
    assert_eq!(schema(&p).unwrap().field("label").unwrap().1.ty, FieldType::Class(2));
    for (text, expected) in [
        ("file,k\na.png,0\nb.png,0\n", "E0505"),
        ("file,k\na.png,0\nb.png,0\nd.png,0\n", "E0505"),
        ("file,k\na.png,0\nb.png,0\nb.png,0\n", "E0505"),
        ("k\n1\n2\n", "E0505"),
        ("k\n", "E0506"),
        ("kind,kind\n1,1\n", "E0502"),
        ("kind,b\n1\n", "E0502"),
        ("other\n1\n1\n1\n", "E0512"),
        ("kind\n1\n1\n1\n", "none"),
    ] {
        std::fs::write(dir.path().join("p.csv"), text).unwrap();
        assert_eq!(code(&p), expected, "{text}");
    }
}

#[test]
fn hostile_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.zip");
    let p = pipeline(dir.path(), call("images", vec![(None, s("p.zip"))]), vec![]);
    let check = |entries: &[(&str, Vec<u8>)], expected: &str| {
        zip_file(&path, entries);
        assert_eq!(code(&p), expected);
    };
    let good = png(4, 4, 0, true);
    check(&[("a.png", good.clone())], "none");
    check(&[("a.png", good.clone()), ("b.png", png(5, 4, 0, true))], "E0504");
    check(&[("a.png", png(4, 4, 0, false)), ("b.png", good.clone())], "E0504");
    check(&[("a.png", good.clone()), ("b.png", png(4, 4, 0, false))], "none");
    check(&[("a.png", good[..good.len() / 2].to_vec())], "E0502");
    check(&[("a.png", b"GIF89a".to_vec())], "E0502");
    check(&[("../a.png", good.clone())], "E0511");
    check(&[("/a.png", good.clone())], "E0511");
    check(&[("x/..\\a.png", good.clone())], "E0511");
    check(&[("a.txt", good.clone())], "E0506");
    check(&[], "E0506");
    // A picture that says it is large: its header alone must not reserve memory.
    let mut large = good.clone();
    large[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    check(&[("a.png", large)], "E0502");
    // Deflate bomb: 80 MiB of zeros in an entry.
    check(&[("a.png", vec![0; 80 << 20])], "E0502");
    std::fs::write(&path, b"PK\x05\x06 nothing").unwrap();
    assert_eq!(code(&p), "E0502");
    zip_file(&path, &[("a.png", good.clone()), ("b.png", png(9, 5, 0, true))]);
    let resized = Pipeline { transforms: vec![call("resize", vec![(None, n(4.0))])], ..p.clone() };
    assert_eq!(open(&resized).unwrap().rows(0, 0..2).shape, [2, 3, 4, 4]);
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(code(&pipeline(empty.path(), call("images", vec![(None, s("."))]), vec![])), "E0506");
    assert_eq!(code(&pipeline(empty.path(), call("images", vec![(None, s("x"))]), vec![])), "E0501");
}

#[test]
fn pairs_of_pictures() {
    let dir = tempfile::tempdir().unwrap();
    zip_file(&dir.path().join("p.zip"), &[("0.png", png(6, 2, 10, false)), ("1.png", png(6, 2, 50, false))]);
    let fields = Arg::List(vec![s("line"), s("color")]);
    let p = pipeline(dir.path(), call("pairs", vec![(None, s("p.zip")), (Some("fields"), fields)]), vec![]);
    let d = open(&p).unwrap();
    assert_eq!((&*d.schema().fields[0].name, &*d.schema().fields[1].name), ("line", "color"));
    assert_eq!(f(&d.rows(0, 1..2))[..3], [50., 51., 52.].map(|v| (v / 255.0f64) as f32));
    assert_eq!(f(&d.rows(1, 1..2))[..3], [53., 54., 55.].map(|v| (v / 255.0f64) as f32));
    // Both halves are mirrored together.
    let flip = call("flip", vec![(None, Arg::Word("horizontal".into()))]);
    let d = Arc::new(open(&Pipeline { transforms: vec![flip], ..p }).unwrap());
    let mut turned = 0;
    for k in 0..20 {
        let b = Loader::new(d.clone(), vec![0, 1], 2, [1, 2], 3).batch(k);
        for i in 0..2 {
            let up = |t: &HostTensor| f(t)[6 * i] < f(t)[6 * i + 1];
            assert_eq!(up(&b[0]), up(&b[1]));
            turned += usize::from(up(&b[0]));
        }
    }
    assert!((8..33).contains(&turned), "{turned}");
    zip_file(&dir.path().join("odd.zip"), &[("0.png", png(5, 2, 10, false))]);
    assert_eq!(code(&pipeline(dir.path(), call("pairs", vec![(None, s("odd.zip"))]), vec![])), "E0504");
    for (folder, name) in [("a", "0.png"), ("b", "0.png"), ("c", "1.png")] {
        std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        std::fs::write(dir.path().join(folder).join(name), png(2, 2, 7, false)).unwrap();
    }
    let two = |b: &str| code(&pipeline(dir.path(), call("pairs", vec![(None, s("a")), (None, s(b))]), vec![]));
    assert_eq!((two("b"), two("c"), two("d")), ("none", "E0505", "E0501"));
}

#[test]
fn arrays() {
    let dir = tempfile::tempdir().unwrap();
    let write =
        |name: &str, t: &HostTensor| std::fs::write(dir.path().join(name), crate::report::npy::encode(t)).unwrap();
    write("x.npy", &HostTensor::f32(vec![3, 2], vec![1., 2., 3., 4., 5., 6.]));
    write("y.npy", &HostTensor::u32(vec![3], vec![1, 0, 2]));
    let p = pipeline(dir.path(), call("npy", vec![(None, s("x.npy")), (Some("labels"), s("y.npy"))]), vec![]);
    let d = open(&p).unwrap();
    assert_eq!(f(&d.rows(0, 1..3)), [3., 4., 5., 6.]);
    assert_eq!((&d.schema().fields[1].ty, u(&d.rows(1, 0..3))), (&FieldType::Class(3), &[1, 0, 2][..]));
    let mut bytes = crate::report::npy::encode(&HostTensor::u32(vec![4, 1, 1], vec![0; 4]));
    let at = bytes.windows(3).position(|w| w == b"<u4").unwrap();
    bytes[at..at + 3].copy_from_slice(b"|u1");
    bytes.truncate(bytes.len() - 12);
    bytes.iter_mut().rev().take(2).for_each(|b| *b = 255);
    zip_file(&dir.path().join("z.npz"), &[("pic.npy", bytes.clone())]);
    let d = open(&pipeline(dir.path(), call("npz", vec![(None, s("z.npz"))]), vec![])).unwrap();
    assert_eq!((f(&d.rows(0, 0..4)), d.schema().range), (&[0., 0., 1., 1.][..], Some((0.0, 1.0))));
    assert_eq!(d.schema().fields[0].ty, FieldType::Real(vec![1, 1, 1]));
    bytes.pop();
    std::fs::write(dir.path().join("x.npy"), &bytes).unwrap();
    assert_eq!(code(&p), "E0502");
    let big = b"\x93NUMPY\x01\x00\x50\x00{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 9999999999), }    ";
    std::fs::write(dir.path().join("x.npy"), big).unwrap();
    assert_eq!(code(&p), "E0503");
    let st = safetensors::tensor::TensorView::new(safetensors::Dtype::I8, vec![4], &[255, 0, 1, 5]).unwrap();
    let bytes = safetensors::serialize([("t", st)], None).unwrap();
    std::fs::write(dir.path().join("t.safetensors"), &bytes).unwrap();
    let p = pipeline(dir.path(), call("safetensors", vec![(None, s("t.safetensors"))]), vec![]);
    assert_eq!(f(&open(&p).unwrap().rows(0, 0..4)), [-1., 0., 1., 5.]);
    std::fs::write(dir.path().join("t.safetensors"), &bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(code(&p), "E0502");
}

#[test]
fn cifar() {
    let dir = tempfile::tempdir().unwrap();
    let record = |label: u8| [vec![label], vec![7; 3072]].concat();
    std::fs::write(dir.path().join("test_batch.bin"), [record(3), record(9)].concat()).unwrap();
    let source = call("cifar10", vec![(None, s(".")), (Some("test"), Arg::Bool(true))]);
    let p = pipeline(dir.path(), source, vec![]);
    let d = open(&p).unwrap();
    assert_eq!((d.rows(0, 0..2).shape, u(&d.rows(1, 0..2))), (vec![2, 3, 32, 32], &[3, 9][..]));
    std::fs::write(dir.path().join("test_batch.bin"), [record(3), record(10)].concat()).unwrap();
    assert_eq!(code(&p), "E0502");
    std::fs::write(dir.path().join("test_batch.bin"), &record(3)[1..]).unwrap();
    assert_eq!(code(&p), "E0502");
}
