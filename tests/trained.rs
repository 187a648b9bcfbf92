//! Specs that are too large to train in a test, at tiny extents: every line of theirs runs.

use crate::support::{Steps, compile_as, repo};

/// A spec of `tests/specs` with some of its text replaced, in a place from which it finds the small data.
fn shrunk(name: &str, replaced: &[(&str, &str)]) -> ganc::build::program::Compiled {
    let mut text = std::fs::read_to_string(repo("tests/specs").join(name)).expect("a spec");
    for (from, to) in replaced {
        assert!(text.contains(from), "{name} has no `{from}` any more");
        text = text.replace(from, to);
    }
    compile_as(&repo("tests/train/shrunk.gan"), &text).unwrap_or_else(|e| panic!("{e}"))
}

/// Two translators, two judges of patches, cycles and histories (Zhu et al. 2017).
#[test]
fn cyclegan_translates_back_better_and_better() {
    let digits = "idx(\"digits8x8-images.gz\", labels: \"digits8x8-labels.gz\") |> resize(16)";
    let others = format!("{digits} |> skip(64)");
    let c = shrunk(
        "cyclegan.gan",
        &[
            ("images(\"data/emoji/emoji64-noto.zip\")", digits),
            ("images(\"data/emoji/emoji64-twemoji.zip\")", &others),
            ("[3, 64, 64]", "[1, 16, 16]"),
            ("[1, 8, 8]", "[1, 2, 2]"),
            ("conv(3, kernel: 7", "conv(1, kernel: 7"),
            ("Translator(32)", "Translator(3)"),
            ("Patch(64)", "Patch(3)"),
            ("repeat 6 {", "repeat 1 {"),
            ("2e-4", "2e-3"),
            // Full after a few iterations, so that samples are exchanged.
            ("capacity: 50", "capacity: 8"),
        ],
    );
    let mut run = Steps::bundled(&c);
    let mut objectives = Vec::new();
    for _ in 0..40 {
        let losses = run.step();
        assert!(losses.iter().all(|l| l.1.is_finite()), "{losses:?}");
        objectives.extend(losses.iter().filter(|l| l.0 == "G").map(|l| l.1));
    }
    for (name, t) in run.tensors() {
        assert!(t.to_f64().iter().all(|v| v.is_finite()), "{name}");
    }
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    assert!(mean(&objectives[30..]) < 0.8 * mean(&objectives[..5]), "{objectives:?}");
}
