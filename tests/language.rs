//! grammar/LANGUAGE.md is true: its examples compile, its tables are the compiler's.

use ganc::layers::{Class, Signature, table};
use std::fmt::Write;
use std::path::Path;

fn reference() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("grammar/LANGUAGE.md"))
        .expect("the reference")
}

/// Blocks of code marked `gan`, with the line they begin on.
fn blocks(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (i, line) in text.lines().enumerate() {
        match &mut open {
            None if line == "```gan" => open = Some((i + 2, String::new())),
            None => {}
            Some(_) if line == "```" => found.extend(open.take()),
            Some((_, code)) => {
                code.push_str(line);
                code.push('\n');
            }
        }
    }
    found
}

#[test]
fn every_example_compiles() {
    let found = blocks(&reference());
    assert!(found.len() >= 7);
    for (line, code) in found {
        if let Err(message) = crate::support::compile_text(&code) {
            panic!("grammar/LANGUAGE.md line {line}:\n{message}");
        }
        let file = ganc::syntax::parse(ganc::source::FileId(0), &code).expect("what compiles parses");
        assert_eq!(ganc::syntax::format(&file, &code), code, "grammar/LANGUAGE.md line {line}: not formatted");
    }
}

fn row(s: &Signature) -> String {
    let mark = if s.available { "" } else { "† " };
    let batch = if s.batch { " (crosses the batch)" } else { "" };
    format!("| {mark}`{}` | {}{batch} |", s.usage().replace('|', "\\|"), s.doc.replace('|', "\\|"))
}

fn tables() -> String {
    let mut out = String::new();
    for (class, title) in [
        (Class::Layer, "Layers"),
        (Class::Function, "Functions"),
        (Class::Modifier, "Modifiers (after `with`)"),
        (Class::Initialiser, "Initialisers"),
        (Class::Distribution, "Distributions (after `~`)"),
        (Class::Optimiser, "Optimisers (after `using`)"),
        (Class::Source, "Data sources"),
        (Class::Transform, "Data transforms"),
        (Class::Metric, "Metrics (in `evaluate`)"),
        (Class::Action, "Actions (in `every`)"),
        (Class::Trick, "Tricks"),
    ] {
        let _ = write!(out, "### {title}\n\n| name | |\n| --- | --- |\n");
        for name in table::names(class) {
            let s = table::lookup(class, name).expect("a listed name is found");
            out.push_str(&row(s));
            out.push('\n');
        }
        out.push('\n');
    }
    out
}

#[test]
fn the_tables_of_built_ins_are_the_compilers() {
    let text = reference();
    let (begin, end) = ("<!-- built-ins: generated -->\n", "<!-- end -->");
    let from = text.find(begin).expect("the mark") + begin.len();
    let to = text.find(end).expect("the end mark");
    let expected = format!("\n{}", tables());
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("grammar/LANGUAGE.md");
        std::fs::write(path, format!("{}{expected}{}", &text[..from], &text[to..])).expect("write");
        return;
    }
    assert!(
        text[from..to] == expected,
        "run with UPDATE_REFERENCE=1 to write the tables anew, and read what changed"
    );
}
