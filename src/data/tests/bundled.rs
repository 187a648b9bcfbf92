//! The data of the examples are what their README says.

use super::*;

fn bundled(source: Call, transforms: Vec<Call>) -> Dataset {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data");
    let p = pipeline(&base, source, transforms);
    let d = open(&p).unwrap();
    assert_eq!(d.schema(), &schema(&p).unwrap());
    d
}

#[test]
fn digits_of_the_examples() {
    for (part, rows) in [("", 10_000), ("-test", 2_000)] {
        let (x, y) = (format!("mnist{part}-images.idx3.gz"), format!("mnist{part}-labels.idx1.gz"));
        let d = bundled(call("idx", vec![(None, s(&x)), (Some("labels"), s(&y))]), vec![]);
        assert_eq!(d.len(), Some(rows));
        assert_eq!(d.schema().fields[0].ty, FieldType::Real(vec![1, 28, 28]));
        assert_eq!(d.schema().fields[1].ty, FieldType::Class(10));
        // Bytes stay bytes in memory.
        assert!(d.bytes() < rows * (28 * 28 + 16));
    }
}

#[test]
fn pictures_of_the_examples() {
    let only = |split: &str| vec![call("only", vec![(Some("split"), s(split))])];
    let labels = |file: &str| Arg::Call(call("csv", vec![(None, s(file))]));
    let faces = call("images", vec![(None, s("avatars32.zip")), (Some("labels"), labels("avatars32.csv"))]);
    let d = bundled(faces, only("test"));
    assert_eq!((d.len(), &d.schema().fields[0].ty), (Some(300), &FieldType::Real(vec![3, 32, 32])));
    let lines = call("pairs", vec![(None, s("lines64.zip")), (Some("labels"), labels("lines64.csv"))]);
    let d = bundled(lines, only("train"));
    assert_eq!((d.len(), &d.schema().fields[1].ty), (Some(408), &FieldType::Real(vec![3, 64, 64])));
}
