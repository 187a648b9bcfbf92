//! Names, rules over the whole program, and the expansion into the core.

use ganc::diag::{Diagnostics, codes, render};
use ganc::model::{Model, Options, load};
use ganc::source::SourceMap;
use ganc::syntax::print;
use ganc::tricks::{expand, is_core};
use std::path::{Path, PathBuf};

/// Loads a file of the repository; relative `use`s read beside it.
pub fn load_file(path: &Path, sources: &mut SourceMap, options: &Options) -> Result<Model, Diagnostics> {
    let folder = path.parent().expect("a folder").to_path_buf();
    let name = PathBuf::from(path.file_name().expect("a name"));
    load(&name, sources, &|p| std::fs::read_to_string(folder.join(p)).map(|t| t.replace("\r\n", "\n")), options)
}

fn load_text(text: &str, options: &Options) -> (Result<Model, Diagnostics>, SourceMap) {
    let mut sources = SourceMap::default();
    let model = load(Path::new("spec.gan"), &mut sources, &|_| Ok(text.to_string()), options);
    (model, sources)
}

/// The expanded text of a file, which must parse, resolve, and expand to itself.
pub fn expanded_text(path: &Path) -> String {
    let mut sources = SourceMap::default();
    let show =
        |sources: &SourceMap, d: Diagnostics| -> ! { panic!("{}\n{}", path.display(), render(sources, &d, false)) };
    let core = load_file(path, &mut sources, &Options::default()).and_then(|m| expand(&m));
    let core = core.unwrap_or_else(|d| show(&sources, d));
    let text = print(&core.to_file());
    let (again, sources) = load_text(&text, &Options::default());
    let again = again.and_then(|m| expand(&m)).unwrap_or_else(|d| {
        println!("{text}");
        show(&sources, d)
    });
    assert_eq!(print(&again.to_file()), text, "{} does not expand to itself", path.display());
    text
}

fn specs() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/specs");
    let mut all: Vec<_> =
        std::fs::read_dir(folder).expect("tests/specs").map(|e| e.expect("entry").path()).collect();
    all.sort();
    all
}

#[test]
fn every_spec_resolves_and_expands() {
    let mut wrong = String::new();
    for path in specs() {
        let mut sources = SourceMap::default();
        let result = load_file(&path, &mut sources, &Options::default()).and_then(|m| expand(&m));
        match result {
            Ok(m) => {
                expanded_text(&path);
                assert!(m.trains.iter().flat_map(|t| &t.stmts).all(is_core), "{}", path.display());
                if !m.warnings.is_empty() {
                    wrong += &format!("{}\n{}", path.display(), render(&sources, &m.warnings, false));
                }
            }
            Err(d) => {
                wrong += &format!("{}\n{}", path.display(), render(&sources, &d, false));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

const TINY: &str = "
const nz = 8
const flag = true
data digits = idx(\"images.gz\") |> scale(-1, 1)
generator G(z: [nz]) -> [1, 28, 28] { linear(784); reshape(1, 28, 28) }
discriminator D(x: [1, 28, 28]) -> [1] { flatten; linear(1) }
train one {
    batch 16
    steps 100
    draw z: [nz] ~ normal
    draw real ~ digits.image
    if flag { trick weight_clip(0.1) }
    loss wasserstein
    player D { using adam(lr: 2e-4) }
    player G { using adam(lr: 2e-4) }
}
";

fn set(name: &str, value: &str) -> Options {
    Options { set: vec![(name.to_string(), value.to_string())], ..Options::default() }
}

fn codes_of(d: &Diagnostics) -> Vec<&'static str> {
    d.items().iter().map(|d| d.code).collect()
}

#[test]
fn consts_can_be_set() {
    let text = |options: &Options| {
        let (model, _) = load_text(TINY, options);
        print(&expand(&model.expect("loads")).expect("expands").to_file())
    };
    assert!(text(&Options::default()).contains("clip_weights: 0.1"));
    let without = text(&set("flag", "false"));
    assert!(without.contains("const flag = false") && !without.contains("clip_weights"), "{without}");
    assert!(text(&set("nz", "4 * 4")).contains("const nz = 4 * 4"));
}

#[test]
fn wrong_options_are_refused() {
    for (options, code, help) in [
        (set("nzz", "3"), "E0212", "did you mean `nz`?"),
        (set("nz", "3 const a = 4"), "E0212", ""),
        (set("nz", "(3"), "E0102", ""),
        (Options { only: Some("on".to_string()), ..Options::default() }, "E0214", "did you mean `one`?"),
    ] {
        let (result, _) = load_text(TINY, &options);
        let d = result.expect_err("refused");
        assert_eq!(codes_of(&d), [code]);
        assert!(help.is_empty() || d.items()[0].help.as_deref() == Some(help), "{:?}", d.items()[0].help);
    }
}

#[test]
fn every_code_of_names_and_training_has_a_case() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/errors");
    let mut found = std::collections::BTreeSet::from(["E0212", "E0214"]);
    for path in std::fs::read_dir(folder).expect("tests/errors").map(|e| e.expect("entry").path()) {
        if path.extension().is_some_and(|e| e == "gan") {
            let mut sources = SourceMap::default();
            let d = load_file(&path, &mut sources, &Options::default()).and_then(|m| expand(&m));
            found.extend(codes_of(&match d {
                Ok(m) => m.warnings,
                Err(d) => d,
            }));
        }
    }
    // E045x and W045x belong to `build`.
    let mine = |c: &str| {
        (c.starts_with("E02") || c.starts_with("E04") || c.starts_with('W')) && !matches!(&c[3..4], "5" | "6")
    };
    let missing: Vec<_> = codes::all().map(|e| e.code).filter(|c| mine(c) && !found.contains(c)).collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
}

#[test]
fn every_trick_of_the_table_has_a_phase() {
    use ganc::layers::{Class, table};
    let listed: Vec<_> = ganc::tricks::TRICKS.iter().map(|t| t.name).collect();
    for name in table::names(Class::Trick) {
        assert!(listed.contains(&name), "{name}");
    }
    assert!(ganc::tricks::TRICKS.is_sorted_by_key(|t| t.phase));
}

/// Long chains end in a diagnostic, not in an overflowing stack.
#[test]
fn hostile_chains_end_in_a_diagnostic() {
    let n = 2_000;
    let consts: String =
        (0..n).map(|i| format!("const a{i} = a{}\n", i + 1)).collect::<String>() + &format!("const a{n} = 1\n");
    let blocks: String = (0..300).map(|i| format!("block B{i}() {{ B{}() }}\n", i + 1)).collect::<String>()
        + "block B300() { relu }\n";
    for (text, code) in [(consts, "E0215"), (blocks, "E0217")] {
        let (result, _) = load_text(&text, &Options::default());
        assert!(codes_of(&result.expect_err("refused")).contains(&code));
    }
}
