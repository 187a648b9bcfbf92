//! The front end: all specs parse, nothing hostile hurts, formatting keeps meaning.

use ganc::source::FileId;
use ganc::syntax::parse;

fn specs() -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/specs");
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .expect("tests/specs")
        .map(|e| e.expect("entry").path())
        .map(|p| (p.display().to_string(), std::fs::read_to_string(&p).expect("spec")))
        .collect();
    all.sort();
    all
}

#[test]
fn every_spec_parses() {
    assert!(specs().len() >= 22);
    for (name, text) in specs() {
        if let Err(d) = parse(FileId(0), &text) {
            panic!("{name}: {:#?}", d.items());
        }
    }
}

/// Deep or long inputs end in a diagnostic, in the stack of a test thread, and quickly.
#[test]
fn hostile_nesting_ends_in_a_diagnostic() {
    let n = 200_000;
    let wrap = |e: &str| format!("const a = {e}");
    let cases = [
        wrap(&"(".repeat(n)),
        wrap(&"[".repeat(n)),
        wrap(&format!("{}1", "-".repeat(n))),
        wrap(&format!("1{}", "^1".repeat(n))),
        wrap(&format!("1{}", "+1".repeat(n))),
        wrap(&format!("1{}", "<1".repeat(n))),
        wrap(&format!("f{}", "()".repeat(n))),
        wrap(&format!("f{}", ".x".repeat(n))),
        wrap(&format!("f{}", "[0]".repeat(n))),
        wrap(&format!("f{}", "|>f".repeat(n))),
        wrap(&format!("f{}", "(-".repeat(n))),
        wrap(&format!("{}1{}", "(".repeat(n), ")".repeat(n))),
        wrap(&format!("x{}", "|>{let a = b".repeat(n / 10))),
        format!("block B {{ {} }}", "residual { ".repeat(n / 10)),
        format!("block B {{ {} }}", "if true { ".repeat(n / 10)),
        format!("block B {{ if a {{ }} {} }}", "else if a { }\n".repeat(n / 10)),
        "/*".repeat(n),
        "\"".repeat(n),
        "}".repeat(n),
        "a".repeat(n),
        "const a = 1".repeat(n / 20) + "!",
        " ".repeat(2 << 20),
    ];
    for text in cases {
        let start = std::time::Instant::now();
        assert!(parse(FileId(0), &text).is_err(), "{}", &text[..40]);
        assert!(start.elapsed().as_secs() < 20, "{} took {:?}", &text[..40], start.elapsed());
    }
}

/// Nesting just below the limit works, also in the smallest stack, and long flat texts are fine.
#[test]
fn nesting_below_the_limit_parses() {
    for open in ["(", "[", "f(", "-(", "1+(", "x |> f(", "x[", "x |> { let a = ("] {
        let closers: String = open
            .chars()
            .rev()
            .filter_map(|c| match c {
                '(' => Some(')'),
                '[' => Some(']'),
                '{' => Some('}'),
                _ => None,
            })
            .collect();
        let n = 190 / (open.len().min(5) + closers.len());
        let text = format!("const a = {}1{}", open.repeat(n), closers.repeat(n));
        let d = parse(FileId(0), &text);
        assert!(d.is_ok(), "{open}: {d:#?}");
    }
    let n = 195;
    let text = format!("const a = {}1{}", "(".repeat(n / 2), ")".repeat(n / 2));
    assert!(parse(FileId(0), &text).is_ok());
    let long = format!("const a = [{}]", "1, ".repeat(50_000));
    assert!(parse(FileId(0), &long).is_ok());
}
