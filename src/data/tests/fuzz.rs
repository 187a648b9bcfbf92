//! Readers on mutated files: an error or a set, never a panic.

use super::*;
use proptest::prelude::*;
use std::sync::LazyLock;

/// Whole files of each kind: how they are named and called.
static SEEDS: LazyLock<Vec<(&'static str, Vec<u8>)>> = LazyLock::new(|| {
    let idx = idx_bytes(&[3, 2, 2], &[9; 12]);
    let npy = crate::report::npy::encode(&HostTensor::f32(vec![3, 2], vec![0.5; 6]));
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(3, 2, image::Rgb([1, 2, 3])).write_to(&mut png, image::ImageFormat::Png).unwrap();
    let zip = |name: &str, bytes: &[u8]| {
        let mut z = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        z.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        z.write_all(bytes).unwrap();
        z.finish().unwrap().into_inner()
    };
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::U8, vec![4], &[0, 1, 2, 3]).unwrap();
    vec![
        ("idx", idx.clone()),
        ("idx", gz(&idx)),
        ("npz", zip("a.npy", &npy)),
        ("npy", npy),
        ("csv", b"a,b,c\n1,x,0.5\n0,y,-3e4\n".to_vec()),
        ("images", zip("a/b.png", png.get_ref())),
        ("pairs", zip("b.png", png.get_ref())),
        ("safetensors", safetensors::serialize([("t", view)], None).unwrap()),
    ]
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_files(
        which in 0..8usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        tail in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let (name, bytes) = &SEEDS[which];
        let mut bytes = bytes.clone();
        for (at, value) in changes {
            let i = at.index(bytes.len());
            bytes[i] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        bytes.extend(tail);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), &bytes).unwrap();
        let p = pipeline(dir.path(), call(name, vec![(None, s("f"))]), vec![]);
        match (schema(&p), open(&p)) {
            (Ok(schema), Ok(d)) => {
                prop_assert_eq!(d.schema(), &schema);
                for field in 0..schema.fields.len() {
                    d.rows(field, 0..d.len().unwrap());
                }
            }
            (_, Err(e)) => prop_assert!(e.has_errors()),
            (Err(_), Ok(_)) => prop_assert!(false, "open read what schema refused"),
        }
    }
}
