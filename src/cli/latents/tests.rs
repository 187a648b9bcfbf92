use super::formula::{Operand, parse};
use super::{Latent, Part, combine, interp::between};
use crate::diag::render;
use crate::source::{FileId, SourceMap};

/// Factors and operands as text.
fn read(text: &str) -> Result<Vec<String>, String> {
    let mut sources = SourceMap::default();
    let file = sources.add("expression", text);
    let terms = parse(file, text).map_err(|d| {
        assert_eq!(d.code, "E0560");
        render(&sources, &d.into(), false)
    })?;
    let one = |o: &Operand| match o {
        Operand::Numbers(n) => n.iter().map(|n| n.0.to_string()).collect::<Vec<_>>().join(" "),
        Operand::Judged(c) => c.iter().map(|c| format!("{}={}", c.name, c.value)).collect::<Vec<_>>().join(" "),
    };
    Ok(terms.iter().map(|t| format!("{} [{}]", t.factor, one(&t.operand))).collect())
}

#[test]
fn expressions_are_linear() {
    let cases: [(&str, &[&str]); 8] = [
        ("7", &["1 [7]"]),
        ("avg(3,14,27) - avg(5,9,40) + avg(8,11,12)", &["1 [3 14 27]", "-1 [5 9 40]", "1 [8 11 12]"]),
        ("4 \u{2212} 2", &["1 [4]", "-1 [2]"]),
        ("-(1 - 2 * 3) / 4", &["-0.25 [1]", "0.5 [3]"]),
        ("0.5 * -3 * avg(0..3)", &["-1.5 [0 1 2]"]),
        ("avg(glasses=yes, hat = no)", &["1 [glasses=yes hat=no]"]),
        ("1 - (2 - (3 - 4))", &["1 [1]", "-1 [2]", "1 [3]", "-1 [4]"]),
        ("avg(1_0)", &["1 [10]"]),
    ];
    for (text, wanted) in cases {
        // `0.5 * -3 * …` multiplies factors only where a `*` follows.
        assert_eq!(
            read(text).as_deref(),
            Ok(&wanted.iter().map(|s| s.to_string()).collect::<Vec<_>>()[..]),
            "{text}"
        );
    }
}

#[test]
fn what_does_not_fit_is_pointed_at() {
    let deep = format!("{}1{}", "(".repeat(100), ")".repeat(100));
    let cases = [
        ("", "`avg(…)` or `(` was expected"),
        ("avg(1,", "averages samples"),
        ("avg(1 2)", "`)` was expected"),
        ("avg()", "averages samples"),
        ("avg(1, glasses=yes)", "not of both"),
        ("avg(glasses=)", "a value was expected"),
        ("glasses=yes", "within an average"),
        ("mean(1, 2)", "no function `mean`"),
        ("1 + ", "the expression ends here"),
        ("1 2", "an operator was expected"),
        ("1 * ", "was expected"),
        ("avg(1, 2) * 3", "a factor stands before"),
        ("1 / 0", "divided by 0"),
        ("1 / 2 / x", "an operator was expected"),
        ("1.5", "is whole"),
        ("avg(3..3)", "half open"),
        ("avg(0..99999999999)", "too many samples"),
        ("99999999999999999999999", "no sheet has so many"),
        ("1 + \u{1f576}", "means nothing"),
        (&deep, "within each other"),
    ];
    for (text, word) in cases {
        let said = read(text).expect_err(text);
        assert!(said.contains(word) && said.contains("expression:1:"), "{text}: {word}\n{said}");
    }
    let said = read("avg(3, 14) - avg(5 9)").unwrap_err();
    assert!(said.contains("expression:1:20") && said.contains("found this"), "{said}");
    assert!(parse(FileId(0), &"1+".repeat(100_000)).is_err(), "long input ends");
}

fn real(v: &[f64]) -> Latent {
    Latent { parts: vec![Part::Real(v.to_vec()), Part::Class(1)] }
}

#[test]
fn latents_add_up_and_labels_do_not() {
    let sum = combine(&[(1.0, real(&[1.0, 2.0])), (-0.5, real(&[2.0, 2.0]))]);
    assert_eq!(sum, Ok(real(&[0.0, 1.0])));
    let other = Latent { parts: vec![Part::Real(vec![0.0, 0.0]), Part::Class(2)] };
    assert_eq!(combine(&[(1.0, real(&[1.0, 2.0])), (1.0, other.clone())]), Err(1));
    assert_eq!(between(&real(&[1.0, 0.0]), &other, 0.5, false), Err(1));
}

#[test]
fn the_great_circle_keeps_its_distance() {
    let (a, b) = (real(&[2.0, 0.0]), real(&[0.0, 2.0]));
    let half = 2f64.sqrt();
    for (spherical, x) in [(false, 1.0), (true, half)] {
        let Ok(middle) = between(&a, &b, 0.5, spherical) else { panic!("labels are alike") };
        let Part::Real(v) = &middle.parts[0] else { panic!("a real input") };
        assert!(v.iter().all(|c| (c - x).abs() < 1e-12), "{v:?}");
    }
    // Parallel ends have no circle.
    assert_eq!(between(&a, &a, 0.3, true), Ok(a.clone()));
    assert_eq!(between(&real(&[0.0, 0.0]), &b, 1.0, true), Ok(b));
}
