//! The front end: all specs parse, nothing hostile hurts, formatting keeps meaning.

use ganc::source::FileId;
use ganc::syntax::{dump, format, parse, print};

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
    let n = 20_000;
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
        "/**/".repeat(5 * n) + "!",
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
    let long = format!("const a = [{}]", "1, ".repeat(10_000));
    assert!(parse(FileId(0), &long).is_ok());
}

/// Formats, checks that meaning and comments stay and that a second time changes nothing; returns the result.
fn formatted(name: &str, text: &str) -> String {
    let file = parse(FileId(0), text).unwrap_or_else(|d| panic!("{name}: {:#?}\n{text}", d.items()));
    let once = format(&file, text);
    let again = parse(FileId(0), &once).unwrap_or_else(|d| panic!("{name}: {:#?}\n{once}", d.items()));
    assert_eq!(dump(&file), dump(&again), "{name}: the meaning changed\n{text}\n---\n{once}");
    assert_eq!(words(&file), words(&again), "{name}: a comment changed\n{text}\n---\n{once}");
    let twice = format(&again, &once);
    assert_eq!(once, twice, "{name}: not idempotent");
    assert!(once.lines().all(|l| l == l.trim_end()), "{name}: white space at the end of a line\n{once}");
    once
}

/// The comments, without white space.
fn words(file: &ganc::syntax::ast::File) -> Vec<String> {
    file.comments.iter().map(|c| c.text.split_whitespace().collect()).collect()
}

#[test]
fn every_spec_formats_to_a_fixed_point() {
    for (name, text) in specs() {
        let once = formatted(&name, &text);
        let printed = print(&parse(FileId(0), &text).expect("spec"));
        let again = parse(FileId(0), &printed).unwrap_or_else(|d| panic!("{name}: {:#?}\n{printed}", d.items()));
        assert_eq!(dump(&parse(FileId(0), &once).expect("formatted")), dump(&again), "{name}");
    }
}

#[test]
fn formatting_keeps_what_the_author_laid_out() {
    let text = "\
const  a=1 // one
// about b


const b = [ 1,2 , ]

/// A network.
network N ( x:[4] )->[4] with ( init( normal(0,1) ),spectral_norm ) { // open
    linear( 4,bias : false );relu
    residual{linear(4);relu} shortcut {  linear(4)  }   // both on one line
    let y,z=it|>{linear(3);relu}   |> f( - 2^ - x.y[0..3,..] )
    let w = a + // why
        b
    repeat i in 1 .. 3 {
        linear(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa + bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb * ccccccccccccccccccccccccccccccc, kernel: 4)

        // last
    }
    if a==1 { } else if b<2{relu}else{
        tanh }
}
// the end
";
    insta::assert_snapshot!(formatted("layout", text));
}

mod random {
    use super::formatted;
    use ganc::source::{FileId, Span};
    use ganc::syntax::ast::*;
    use ganc::syntax::{dump_with, parse, print, print_expr, words::KEYWORDS};
    use proptest::prelude::*;

    fn soup() -> impl Strategy<Value = String> {
        let marks = [
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            ",",
            ":",
            ";",
            "=",
            "==",
            "+",
            "-",
            "*",
            "/",
            "^",
            "<",
            ">=",
            "|>",
            "->",
            "..",
            ".",
            "~",
            "\n",
            "\"s\"",
            "\"",
            "//",
            "/*",
            "*/",
            "1",
            "2.5e-3",
            ".5",
            "5.",
            "x",
            "G",
            "batch",
            "steps",
            "of",
            "class",
            "iteration",
            "é",
            "#",
            "&&",
            "\\",
        ];
        let token = prop_oneof![
            prop::sample::select(KEYWORDS).prop_map(str::to_string),
            prop::sample::select(marks.to_vec()).prop_map(str::to_string),
        ];
        prop::collection::vec(token, 0..60).prop_map(|t| t.join(" "))
    }

    fn e(kind: ExprKind) -> Expr {
        Expr { kind, span: Span::default() }
    }

    fn ident(name: &str) -> Ident {
        Ident { name: name.into(), span: Span::default() }
    }

    fn args(values: Vec<Expr>) -> Args {
        let n = values.len();
        let arg = |(i, value)| Arg { name: (i > 0 && i + 1 == n).then(|| ident("using")), value };
        Args { args: values.into_iter().enumerate().map(arg).collect(), span: Span::default() }
    }

    fn layer(name: &str, values: Option<Vec<Expr>>) -> LayerCall {
        LayerCall { name: ident(name), args: values.map(args), with: Vec::new() }
    }

    /// Trees without `Paren`: the printer has to put them in.
    fn expr() -> impl Strategy<Value = Expr> {
        let leaf = prop_oneof![
            Just(e(ExprKind::Number("1_000.5e-3".into()))),
            Just(e(ExprKind::Number("7".into()))),
            Just(e(ExprKind::Name("x".into()))),
            Just(e(ExprKind::It)),
            Just(e(ExprKind::Bool(true))),
            "[ -~\n]{0,6}".prop_map(|s| e(ExprKind::Str(s))),
        ];
        leaf.prop_recursive(5, 40, 3, |inner| {
            let ops = vec![BinOp::Add, BinOp::Sub, BinOp::Mul, BinOp::Div, BinOp::Pow, BinOp::Lt, BinOp::Eq];
            let many = prop::collection::vec(inner.clone(), 0..4);
            let b = |e: Expr| Box::new(e);
            prop_oneof![
                (prop::sample::select(ops), inner.clone(), inner.clone())
                    .prop_map(move |(op, x, y)| e(ExprKind::Binary(op, b(x), b(y)))),
                inner.clone().prop_map(move |x| e(ExprKind::Neg(b(x)))),
                inner.clone().prop_map(move |x| e(ExprKind::Field(b(x), ident("data")))),
                many.clone().prop_map(|v| e(ExprKind::List(v))),
                (inner.clone(), many.clone()).prop_map(move |(f, v)| e(ExprKind::Call(b(f), args(v)))),
                (inner.clone(), inner.clone(), inner.clone()).prop_map(move |(x, i, j)| {
                    let all = Index::All(Span::default());
                    e(ExprKind::Index(b(x), vec![Index::At(i.clone()), Index::Range(i, j), all]))
                }),
                (inner.clone(), prop::option::of(many.clone()))
                    .prop_map(move |(x, v)| e(ExprKind::Pipe(b(x), PipeStage::Layer(layer("f", v))))),
                (inner.clone(), inner, prop::option::of(many)).prop_map(move |(x, y, v)| {
                    let stmt = |kind| Stmt { doc: None, kind, span: Span::default() };
                    let stmts =
                        vec![stmt(StmtKind::Let(vec![ident("a")], y)), stmt(StmtKind::Layer(layer("g", v)))];
                    e(ExprKind::Pipe(b(x), PipeStage::Body(Body { stmts, span: Span::default() })))
                }),
            ]
        })
    }

    fn file(value: Expr) -> File {
        let item = Item { doc: None, kind: ItemKind::Const { name: ident("c"), value }, span: Span::default() };
        File { items: vec![item], comments: Vec::new() }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn token_soup_never_panics(text in soup()) {
            let _ = parse(FileId(0), &text);
            let inside = format!("train {{ {text} }}");
            let _ = parse(FileId(0), &inside);
            let inside = format!("network N(x: [1]) -> [1] {{ {text}");
            let _ = parse(FileId(0), &inside);
        }

        #[test]
        fn any_text_never_panics(text in "\\PC{0,80}") {
            let _ = parse(FileId(0), &text);
        }

        #[test]
        fn printed_trees_parse_to_themselves(value in expr()) {
            let tree = file(value.clone());
            let text = print(&tree);
            let again = parse(FileId(0), &text).unwrap_or_else(|d| panic!("{:#?}\n{text}", d.items()));
            prop_assert_eq!(dump_with(&tree, false), dump_with(&again, false), "{}", text);
            formatted("random", &text);
            let line = print_expr(&value);
            prop_assert!(!line.contains('\n'));
            let text = format!("const c = {line}");
            prop_assert!(parse(FileId(0), &text).is_ok(), "{}", text);
        }

        /// Comments and line breaks put between the tokens of real specs.
        #[test]
        fn comments_anywhere_survive(
            which in 0usize..22,
            marks in prop::collection::vec((0usize..2000, 0usize..6), 1..8),
        ) {
            let (name, text) = super::specs().swap_remove(which);
            let scan = ganc::syntax::scan::scan(FileId(0), &text).expect("scans");
            let ends: Vec<usize> = scan.tokens.iter().map(|t| t.end as usize).collect();
            let mut out = text.clone();
            let mut places: Vec<(usize, usize)> = marks.iter().map(|&(at, what)| (ends[at % ends.len()], what)).collect();
            places.sort_unstable();
            for (at, what) in places.into_iter().rev() {
                out.insert_str(at, ["\n", " // note\n", " /* a */ ", "\n/// doc\n", "\n\n\n  // own\n", " /* two\n    lines */ "][what]);
            }
            // Only texts that are still specs: a break may end a line comment early.
            if parse(FileId(0), &out).is_ok() {
                formatted(&name, &out);
            }
        }
    }
}

#[test]
fn line_ends_and_byte_order_mark_do_not_matter() {
    let text = "// one\nconst a = 1 // two\n\n/// doc\nconst b = 2\n";
    let windows = format!("\u{feff}{}", text.replace('\n', "\r\n"));
    assert_eq!(formatted("unix", text), text);
    assert_eq!(formatted("windows", &windows), text);
    assert_eq!(formatted("empty", ""), "");
    assert_eq!(formatted("comments only", "\n\n// a\n\n\n// b"), "// a\n\n// b\n");
}
