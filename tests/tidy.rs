//! Rules of the project that no compiler checks.

use crate::support::repo;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// All files below a folder with one of these endings, sorted.
fn files(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![repo(folder)];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).expect("a folder of the repository") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| endings.iter().any(|x| e == *x)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn short(path: &Path) -> String {
    let root = repo("");
    path.strip_prefix(&root).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

/// Who may import whom: each module with those that it uses, in an order in which nothing uses what comes later.
const IMPORTS: [(&str, &[&str]); 19] = [
    ("source", &[]),
    ("diag", &["source"]),
    ("syntax", &["diag", "source"]),
    ("graph", &["source"]),
    ("layers", &["graph", "source"]),
    ("model", &["diag", "layers", "source", "syntax"]),
    ("tricks", &["diag", "layers", "model", "source", "syntax"]),
    ("grad", &["graph"]),
    ("passes", &["graph"]),
    ("fuse", &["graph"]),
    ("plan", &["fuse", "graph"]),
    ("codegen", &["fuse", "graph", "plan"]),
    ("report", &["graph"]),
    ("data", &["diag", "graph", "source"]),
    ("metrics", &["data", "graph"]),
    ("build", &["data", "diag", "grad", "graph", "layers", "model", "passes", "source", "syntax"]),
    ("exec", &["codegen", "fuse", "graph", "passes", "plan"]),
    ("train", &["build", "data", "diag", "exec", "graph", "layers", "metrics", "report", "source"]),
    (
        "cli",
        &[
            "build", "codegen", "data", "diag", "exec", "fuse", "grad", "graph", "layers", "model", "passes",
            "plan", "report", "source", "syntax", "train", "tricks",
        ],
    ),
];

/// What of `data` the compiler may know: what a set is made of, never how it is read.
const DATA_FOR_BUILD: [&str; 7] = ["Arg", "Call", "Field", "FieldType", "Modes", "Pipeline", "Schema"];

/// Modules of this crate that a line of code names, each with what follows `crate::module::`.
fn named(line: &str) -> Vec<(String, String)> {
    let code = line.split("//").next().unwrap_or_default();
    let ident = |s: &str| s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        // `use crate::{a, b::C};` or `crate::a::B`.
        let list = rest.strip_prefix('{').map_or(rest, |r| r.split('}').next().unwrap_or(r));
        let items: Vec<&str> = if rest.starts_with('{') { list.split(',').collect() } else { vec![list] };
        for item in items {
            let item = item.trim_start();
            let module = ident(item);
            let after = item[module.len()..].strip_prefix("::").unwrap_or_default();
            found.push((module, after.to_string()));
        }
    }
    found
}

#[test]
fn imports_go_one_way() {
    let table: BTreeMap<&str, &[&str]> = IMPORTS.into_iter().collect();
    for (i, (module, uses)) in IMPORTS.iter().enumerate() {
        for used in *uses {
            let at = IMPORTS.iter().position(|m| m.0 == *used).expect("a module of the table");
            assert!(at < i, "{module} uses {used}, which comes later");
        }
    }
    let lib = read(&repo("src/lib.rs"));
    let declared: Vec<&str> =
        lib.lines().filter_map(|l| l.strip_prefix("pub mod ")).map(|l| l.trim_end_matches(';')).collect();
    assert!(declared.is_sorted(), "modules in src/lib.rs are listed by name");
    assert_eq!(declared.iter().copied().collect::<BTreeSet<_>>(), table.keys().copied().collect());

    let mut wrong = Vec::new();
    let mut seen: BTreeSet<(String, String)> = BTreeSet::new();
    for path in files("src", &["rs"]) {
        let name = short(&path);
        let module = name.trim_start_matches("src/").split(['/', '.']).next().unwrap_or_default().to_string();
        let Some(allowed) = table.get(module.as_str()) else { continue };
        // Tests write their files with the report's encoders.
        let test = name.contains("/tests/") || name.ends_with("/tests.rs");
        for (i, line) in read(&path).lines().enumerate() {
            for (used, after) in named(line) {
                if used == module || !table.contains_key(used.as_str()) {
                    continue;
                }
                let by_test = test && module == "data" && used == "report";
                if !by_test && !allowed.contains(&used.as_str()) {
                    wrong.push(format!("{name}:{}: {module} must not use {used}", i + 1));
                }
                let listed = |what: &str| {
                    let what = what.split([',', '}', ';']).map(|w| w.trim().trim_start_matches('{'));
                    what.filter(|w| !w.is_empty()).all(|w| DATA_FOR_BUILD.iter().any(|d| w.starts_with(d)))
                };
                if module == "build" && used == "data" && !listed(&after) {
                    wrong.push(format!("{name}:{}: of data, build uses schemas and calls only", i + 1));
                }
                seen.insert((module.clone(), used));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The table says what is, not what might be; the command line may use all that is below it.
    for (module, uses) in IMPORTS.iter().filter(|m| m.0 != "cli") {
        for used in *uses {
            let edge = (module.to_string(), used.to_string());
            assert!(seen.contains(&edge), "{module} does not use {used} (any more)");
        }
    }
}

/// Codes such as `E0301` between two given characters.
fn codes(text: &str, open: char, close: char) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for part in text.split(open).skip(1) {
        let Some(code) = part.split(close).next() else { continue };
        if code.len() == 5 && code.starts_with(['E', 'W']) && code[1..].chars().all(|c| c.is_ascii_digit()) {
            found.insert(code.to_string());
        }
    }
    found
}

/// What is in the first set and not in the second.
fn missing<'a>(a: &'a BTreeSet<String>, b: &'a BTreeSet<String>) -> Vec<&'a str> {
    a.difference(b).map(String::as_str).collect()
}

/// Codes E01–E04 and W without a case under `tests/errors`, and why.
const NO_CASE: [(&str, &str); 6] = [
    ("E0111", "needs a file of more than 1 MiB; tests/syntax.rs makes one"),
    ("E0212", "about `--set`, not the file; tests/model.rs"),
    ("E0214", "about `--only`, not the file; tests/model.rs"),
    ("E0311", "from `layers` to callers other than `build`, which says E0451 before; src/layers"),
    ("E0312", "likewise; `build` says E0207 before"),
    (
        "E0451",
        "for what is in the tables before it is compiled; at present that is one data source, which says E0510",
    ),
];

/// E0500 stands for diagnostics of `data` that keep their own codes.
const NOT_EXPLAINED: [&str; 1] = ["E0500"];

#[test]
fn each_code_is_explained_used_and_has_a_case() {
    let mut used = BTreeSet::new();
    for path in files("src", &["rs"]) {
        if !short(&path).starts_with("src/diag/codes") {
            used.extend(codes(&read(&path), '"', '"'));
        }
    }
    let explained: BTreeSet<String> = ganc::diag::codes::all().map(|e| e.code.to_string()).collect();
    NOT_EXPLAINED.iter().for_each(|c| assert!(used.remove(*c), "{c}"));
    // Tests of the renderer invent a code.
    used.remove("E9999");
    assert_eq!(missing(&used, &explained), Vec::<&str>::new(), "used and not explained");
    assert_eq!(missing(&explained, &used), Vec::<&str>::new(), "explained and not used");

    let mut cases = BTreeSet::new();
    for path in files("tests/snapshots", &["snap"]) {
        let name = short(&path);
        if name.contains("it__errors__") || name.contains("errors_of_building") {
            cases.extend(codes(&read(&path), '[', ']'));
        }
    }
    let late = |c: &str| c.starts_with("E05");
    let without: Vec<&String> = explained.iter().filter(|c| !cases.contains(*c) && !late(c)).collect();
    assert_eq!(without, NO_CASE.iter().map(|n| n.0).collect::<Vec<_>>(), "codes without a case under tests/errors");
    // E05 is about data, checkpoints and runs, for which there are files to make: unit tests and tests/cli*.rs.
    let mut mentioned = String::new();
    files("src", &["rs"]).iter().filter(|p| short(p).contains("/tests")).for_each(|p| mentioned += &read(p));
    ["data", "train"].iter().for_each(|m| {
        files(&format!("src/{m}"), &["rs"]).iter().for_each(|p| mentioned += &read(p));
    });
    mentioned += &read(&repo("tests/cli_latents.rs"));
    assert!(explained.iter().filter(|c| late(c)).all(|c| mentioned.contains(c.as_str())));
}

#[test]
fn each_op_has_a_file_test() {
    // The names in the text form are the arms of three exhaustive matches.
    let text = read(&repo("src/graph/text.rs"));
    let mut names = BTreeSet::new();
    for function in ["op_name", "unary_name", "binary_name"] {
        let from = text.find(&format!("pub fn {function}(")).expect("the function of names");
        let body = text[from..].split("\n}\n").next().unwrap_or_default();
        names.extend(body.split("=> \"").skip(1).filter_map(|s| s.split('"').next()));
    }
    assert!(names.len() >= 50);
    let mut seen = BTreeSet::new();
    for (_, source) in crate::filetests::files() {
        let graph = crate::filetests::parse(&source).graph;
        seen.extend(graph.nodes().iter().map(|n| ganc::graph::text::op_name(&n.op)));
    }
    assert_eq!(names.difference(&seen).collect::<Vec<_>>(), [&""; 0], "ops without a file test");
}

#[test]
fn each_trick_is_documented_and_expanded_by_a_case() {
    use ganc::layers::{Class, table};
    let cases: String =
        files("tests/cases", &["gan"]).iter().filter(|p| short(p).contains("expand_")).map(|p| read(p)).collect();
    let mut names = BTreeSet::new();
    for t in &ganc::tricks::TRICKS {
        let s = table::lookup(Class::Trick, t.name).unwrap_or_else(|| panic!("{} has no signature", t.name));
        assert!(s.available, "{}: table and list of tricks do not agree", t.name);
        let written = format!("trick {}", t.name);
        let mut uses = cases.match_indices(&written);
        let whole =
            |at: usize| !cases[at + 6 + t.name.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
        assert!(uses.any(|u| whole(u.0)), "{} has no case tests/cases/expand_*.gan", t.name);
        names.insert(t.name);
    }
    assert_eq!(names, table::names(Class::Trick).collect());
}

#[test]
fn data_takes_what_its_tables_say() {
    use ganc::data::{Arg, Call, Pipeline, schema};
    use ganc::layers::{Class, table};
    use ganc::source::Span;
    let call = |name: &str, args: Vec<(Option<String>, Arg, Span)>| Call {
        name: name.into(),
        args,
        span: Span::default(),
    };
    let check = |name: &str, param: &str, source: Call, transforms: Vec<Call>| {
        let p =
            Pipeline { name: "d".into(), span: Span::default(), base: repo("examples/data"), source, transforms };
        if let Err(d) = schema(&p) {
            let said: Vec<&str> = d.items().iter().map(|d| d.title.as_str()).collect();
            let refused = said.iter().any(|t| t.contains("does not take"));
            assert!(!refused, "`{param}` of `{name}` is in the table, and refused: {said:?}");
        }
    };
    for s in table::all(Class::Source).iter().filter(|s| s.available) {
        for p in s.params {
            let path = s.params.iter().find(|p| ["path", "images"].contains(&p.name));
            let mut args = vec![(Some(p.name.to_string()), Arg::List(vec![]), Span::default())];
            if let Some(path) = path.filter(|path| path.name != p.name) {
                args.push((Some(path.name.to_string()), Arg::Str("avatars32.zip".into()), Span::default()));
            }
            // `csv` within `labels:` takes a column, as a source it does not.
            if (s.name, p.name) != ("csv", "column") {
                check(s.name, p.name, call(s.name, args), vec![]);
            }
        }
    }
    for s in table::all(Class::Transform).iter().filter(|s| s.available) {
        for p in s.params.iter().filter(|p| p.name != "*") {
            let args = vec![(Some(p.name.to_string()), Arg::List(vec![]), Span::default())];
            check(s.name, p.name, call("ring", vec![]), vec![call(s.name, args)]);
        }
    }
    let known: BTreeSet<&str> = ganc::data::SOURCES.into_iter().chain(ganc::data::TRANSFORMS).collect();
    assert_eq!(known, table::names(Class::Source).chain(table::names(Class::Transform)).collect());
}

/// Longer files are tables, and are listed here.
const LONG: [&str; 0] = [];

#[test]
fn no_file_is_too_long_and_none_has_stubs() {
    let mut all = files("src", &["rs"]);
    all.extend(files("tests", &["rs"]));
    let stubs = ["todo", "unimplemented"].map(|w| format!("{w}!"));
    let notes = [concat!("FIX", "ME"), concat!("XX", "X:"), concat!("TO", "DO")];
    for path in all {
        let (name, text) = (short(&path), read(&path));
        let lines = text.lines().count();
        assert!(lines <= 700 || LONG.contains(&name.as_str()), "{name} has {lines} lines");
        for (i, line) in text.lines().enumerate() {
            assert!(!stubs.iter().any(|s| line.contains(s.as_str())), "{name}:{}: a stub", i + 1);
            assert!(!notes.iter().any(|n| line.contains(n)), "{name}:{}: an open note", i + 1);
        }
        if name.starts_with("src/") && !name.starts_with("src/exec/") {
            let code = text.lines().map(|l| l.split("//").next().unwrap_or_default());
            assert!(!code.into_iter().any(|l| l.contains("unsafe ")), "{name}: `unsafe` is for src/exec");
        }
    }
}

#[test]
fn commands_of_the_readme_exist() {
    let readme = read(&repo("README.md"));
    let help = |args: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_ganc")).args(args).output().expect("the binary starts");
        assert!(out.status.success(), "ganc {args:?}");
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let top = help(&["--help"]);
    let mut commands = BTreeSet::new();
    for part in readme.split("ganc ").skip(1) {
        let word: String = part.chars().take_while(|c| c.is_ascii_lowercase()).collect();
        let before_code = part.split('`').next().is_some_and(|c| c.len() < 60);
        if before_code
            && part.starts_with(|c: char| c.is_ascii_lowercase())
            && part[word.len()..].starts_with([' ', '`'])
        {
            commands.insert(word);
        }
    }
    let listed = |c: &str| top.lines().any(|l| l.split_whitespace().next() == Some(c) && l.starts_with("  "));
    let rows: Vec<&str> = readme.lines().filter(|l| l.starts_with("| `ganc ")).collect();
    assert!(rows.len() >= 5);
    for row in rows {
        let command = row["| `ganc ".len()..].split([' ', '`']).next().unwrap_or_default();
        assert!(listed(command), "the README has `ganc {command}`, the binary has not");
        let said = help(&[command, "--help"]);
        for flag in row.split("--").skip(1) {
            let flag: String = flag.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
            assert!(said.contains(&format!("--{flag}")), "`ganc {command}` has no --{flag}");
        }
        commands.insert(command.to_string());
    }
    for l in top.lines().skip_while(|l| !l.starts_with("Commands:")).skip(1).take_while(|l| !l.is_empty()) {
        let command = l.split_whitespace().next().unwrap_or_default();
        assert!(command == "help" || commands.contains(command), "the README does not name `ganc {command}`");
    }
    for cargo in readme.lines().filter(|l| l.starts_with("cargo run ")) {
        let args: Vec<&str> = cargo.split(" -- ").nth(1).unwrap_or_default().split(' ').collect();
        assert!(listed(args[0]), "{cargo}");
        let spec = args.iter().find(|a| a.ends_with(".gan"));
        assert!(spec.is_none_or(|s| repo(s).is_file()), "{cargo}");
    }
}

#[test]
fn the_readme_says_how_to_run_the_tests_and_ci_does_that() {
    let readme = read(&repo("README.md"));
    let lines: Vec<&str> = readme.lines().filter(|l| l.starts_with("cargo test")).collect();
    assert_eq!(lines.len(), 1, "one test command");
    // The script reads the command from the README, so the two cannot differ; this is that line.
    let run = read(&repo(".ci/run"));
    assert!(
        run.contains(r"sed -n 's/^\(cargo test.*\)$/\1/p' README.md"),
        ".ci/run takes its command from the README"
    );
    for link in readme.split("](").skip(1).filter_map(|l| l.split(')').next()).filter(|l| !l.contains("://")) {
        assert!(repo(link).exists(), "README links to {link}");
    }
}

#[test]
fn the_top_of_the_repository_is_as_agreed() {
    let agreed = [
        ".cargo",
        ".ci",
        ".config",
        ".gitattributes",
        ".gitignore",
        ".rustfmt.toml",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "README.md",
        "examples",
        "grammar",
        "src",
        "tests",
    ];
    let out = Command::new("git").args(["ls-tree", "--name-only", "HEAD"]).current_dir(repo("")).output();
    let Some(out) = out.ok().filter(|o| o.status.success()) else {
        eprintln!("skipped: not a git checkout");
        return;
    };
    for name in String::from_utf8_lossy(&out.stdout).lines() {
        assert!(agreed.contains(&name), "{name} at the top of the repository");
    }
}
