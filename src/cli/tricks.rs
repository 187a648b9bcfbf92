//! `ganc tricks`: all tricks, and a page on each. What a page says of expansion and cost is computed when it is asked
//! for, by the compiler itself, on a small spec with and without the trick.

use super::Failure;
use super::check::{Cost, cost};
use super::progress::number;
use crate::build::{self, program::Compiled};
use crate::data::{self, Field, FieldType, Pipeline, Schema};
use crate::diag::Diagnostics;
use crate::diag::names::suggest;
use crate::layers::{Class, Signature, table};
use crate::model::{self, Options};
use crate::source::SourceMap;
use crate::syntax::{self, ast::ItemKind};
use crate::tricks::pages::{self, Page};
use crate::tricks::{self, Phase, TRICKS};
use clap::Args;
use std::fmt::Write;
use std::path::Path;

#[derive(Args)]
pub(super) struct TricksArgs {
    /// The trick or layer; without one, all are listed
    name: Option<String>,
}

pub(super) fn tricks(args: &TricksArgs) -> Result<(), Failure> {
    let Some(name) = &args.name else {
        super::print(&list());
        return Ok(());
    };
    match pages::find(name) {
        Some(page) => {
            super::print(&text(&page));
            Ok(())
        }
        None => {
            let names: Vec<&str> = pages::all().map(|p| p.name).collect();
            let near = suggest(name, names.iter().copied()).map(|n| format!("; did you mean `{n}`?"));
            Err(Failure::Message(format!(
                "there is no trick `{name}`{}; `ganc tricks` lists them all",
                near.unwrap_or_default()
            )))
        }
    }
}

fn phase(p: Phase) -> &'static str {
    match p {
        Phase::Targets => "targets of losses",
        Phase::Inputs => "what the judge sees",
        Phase::Opponents => "who the opponent is",
        Phase::Statistics => "statistics of norms",
        Phase::Terms => "terms of objectives",
        Phase::Unrolling => "a judge some steps ahead",
        Phase::Optimisers => "settings of optimisers",
        Phase::Actions => "what actions apply",
    }
}

fn list() -> String {
    let width = pages::all().map(|p| p.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    let mut line = |s: &Signature| {
        let later = if s.available { "" } else { " (not in this version)" };
        format!("  {:width$}  {}{later}\n", s.name, s.doc)
    };
    let mut last = None;
    for t in &TRICKS {
        if last != Some(t.phase) {
            let _ = writeln!(out, "{}{}", if last.is_some() { "\n" } else { "" }, phase(t.phase));
            last = Some(t.phase);
        }
        out.extend(table::lookup(Class::Trick, t.name).map(&mut line));
    }
    out.push_str("\nlayers and modifiers of layers\n");
    for (class, name) in pages::LAYERS {
        out.extend(table::lookup(class, name).map(&mut line));
    }
    out.push_str(
        "\n`ganc tricks NAME` is a page on one of them; `ganc ablate SPEC` says whether those of a spec help.\n",
    );
    out
}

/// `gradient_penalty(lambda = 10, every?, one_sided = false, of?)`
fn usage(s: &Signature) -> String {
    let one = |p: &crate::layers::ParamSpec| match p.default {
        None => p.name.to_string(),
        Some("") => format!("{}?", p.name),
        Some(d) => format!("{} = {d}", p.name),
    };
    let all: Vec<String> = s.params.iter().map(one).collect();
    if all.is_empty() { s.name.to_string() } else { format!("{}({})", s.name, all.join(", ")) }
}

fn indented(out: &mut String, text: &str) {
    for line in text.lines() {
        let _ = writeln!(out, "{}", if line.is_empty() { String::new() } else { format!("  {line}") });
    }
}

fn title(out: &mut String, text: &str) {
    let _ = writeln!(out, "\n{}\n", text.to_uppercase());
}

/// The page as it is printed.
fn text(page: &Page) -> String {
    let mut out = String::new();
    let trick = TRICKS.iter().find(|t| t.name == page.name);
    let own = trick.and_then(|t| Some((table::lookup(Class::Trick, t.name)?, phase(t.phase))));
    let _ = writeln!(out, "{}", page.name);
    if let Some((s, phase)) = own {
        let _ = writeln!(out, "\n  trick {}   acts on {phase}\n    {}", usage(s), s.doc);
    }
    if let Some(s) = pages::layer(page.name) {
        let what = if s.class == Class::Modifier { "with " } else { "" };
        let kind = if s.class == Class::Modifier { "a modifier of layers" } else { "a layer" };
        let _ = writeln!(out, "\n  {what}{}   {kind}\n    {}", usage(s), s.doc);
    }
    for (name, text) in &page.sections {
        title(&mut out, name);
        indented(&mut out, text);
        if *name == "definition" {
            title(&mut out, "paper");
            indented(&mut out, page.paper);
        }
    }
    title(&mut out, "an example");
    indented(&mut out, &changes(&page.spec(false), &page.spec(true), Some(1)));
    let (with, without) = (compiled(&page.spec(true)), compiled(&page.spec(false)));
    if trick.is_some() {
        title(&mut out, "in the core language");
        match (&without, &with) {
            (Ok(a), Ok(b)) => {
                indented(&mut out, "What `ganc expand` makes of the example; + and - are the trick's doing.\n\n");
                // Networks are shown where the trick changes them.
                if a.networks != b.networks {
                    indented(&mut out, &changes(&a.networks, &b.networks, Some(2)));
                    out.push_str("    …\n\n");
                }
                indented(&mut out, &changes(&a.core, &b.core, None));
            }
            (Ok(_), Err(why)) => indented(&mut out, &format!("This version cannot expand it yet: {why}.")),
            (Err(why), _) => indented(&mut out, &format!("The example is refused: {why}.")),
        }
    }
    title(&mut out, "what it costs");
    match (&without, &with) {
        (Ok(a), Ok(b)) => indented(&mut out, &costs(&a.cost, &b.cost)),
        (_, Err(why)) => indented(&mut out, &format!("Not known before this version compiles it: {why}.")),
        (Err(why), _) => indented(&mut out, &format!("Not known: {why}.")),
    }
    out
}

fn costs(without: &Cost, with: &Cost) -> String {
    let mut out = String::from("An iteration of the example, from its plans (batch 64):\n\n");
    let _ = writeln!(out, "{:16}{:>12}{:>12}{:>10}", "", "without", "with", "factor");
    let mut row = |name: &str, a: f64, b: f64| {
        let factor = if a > 0.0 { format!("{:.2}", b / a) } else { "-".into() };
        let _ = writeln!(out, "{name:16}{:>12}{:>12}{factor:>10}", number(a), number(b));
    };
    row("MFLOP", without.flops as f64 / 1e6, with.flops as f64 / 1e6);
    row("memory, KiB", without.memory as f64 / 1024.0, with.memory as f64 / 1024.0);
    row("kept, KiB", without.persistent as f64 / 1024.0, with.persistent as f64 / 1024.0);
    row("clusters", without.launches as f64, with.launches as f64);
    out.push_str("\nMemory is values, parameters and states; kept are parameters and states.\n");
    out
}

/// An example, compiled.
struct Example {
    /// Its `train` in the core language.
    core: String,
    /// Everything else in it.
    networks: String,
    /// Of an iteration.
    cost: Cost,
}

/// Sets of the examples need not be there: a plan depends on their schemas only.
fn schema(p: &Pipeline) -> Result<Schema, Diagnostics> {
    if p.source.name != "idx" {
        return data::schema(p);
    }
    let fields = vec![
        Field { name: "image".into(), ty: FieldType::Real(vec![1, 16, 16]) },
        Field { name: "label".into(), ty: FieldType::Class(10) },
    ];
    Ok(Schema { rows: Some(10_000), fields, range: Some((-1.0, 1.0)), modes: None })
}

/// Compiles an example; the error is what the first message says.
fn compiled(spec: &str) -> Result<Example, String> {
    let first = |d: Diagnostics| {
        let d = d.items().iter().find(|d| d.severity == crate::diag::Severity::Error).cloned();
        d.map_or("for no reason that is told".to_string(), |d| d.title)
    };
    let mut sources = SourceMap::default();
    let reader = |_: &Path| Ok(spec.to_string());
    let model = model::load(Path::new("example.gan"), &mut sources, &reader, &Options::default()).map_err(first)?;
    let core = tricks::expand(&model).map_err(first)?;
    let (program, _): (Compiled, _) = build::build(&core, &sources, &schema).map_err(first)?;
    let it = program.trains.first().and_then(|t| t.iterations.last()).ok_or("the example has no train")?;
    let cost = cost(&it.graph).map_err(|f| match f {
        Failure::Message(text) => text,
        Failure::Refused | Failure::Stopped => "it cannot be planned".into(),
    })?;
    let (mut train, mut rest) = (core.to_file(), core.to_file());
    train.items.retain(|i| matches!(i.kind, ItemKind::Train(_)));
    rest.items.retain(|i| !matches!(i.kind, ItemKind::Train(_)));
    Ok(Example { core: syntax::print(&train), networks: syntax::print(&rest), cost })
}

/// The lines of `new`, marked where they differ from `old` (a longest common subsequence); with `around`, only so many
/// lines beside each difference.
fn changes(old: &str, new: &str, around: Option<usize>) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let mut common = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] =
                if a[i] == b[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let mut lines: Vec<(char, &str)> = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            lines.push((' ', a[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < a.len() && (j == b.len() || common[i + 1][j] >= common[i][j + 1]) {
            lines.push(('-', a[i]));
            i += 1;
        } else {
            lines.push(('+', b[j]));
            j += 1;
        }
    }
    let near = |k: usize| match around {
        None => true,
        Some(n) => lines[k.saturating_sub(n)..(k + n + 1).min(lines.len())].iter().any(|l| l.0 != ' '),
    };
    let mut out = String::new();
    let mut gap = false;
    for (k, (mark, line)) in lines.iter().enumerate() {
        if near(k) {
            if gap {
                out.push_str("  …\n");
            }
            let _ = writeln!(out, "{}", format!("{mark} {line}").trim_end());
        }
        gap = !near(k);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_marked() {
        let (old, new) = ("a\nb\nc\nd\ne\n", "a\nb\nx\nd\ne\nf\n");
        assert_eq!(changes(old, new, None), "  a\n  b\n- c\n+ x\n  d\n  e\n+ f\n");
        assert_eq!(changes("a\nb\nc\nd\ne\nf\n", "a\nb\nc\nd\ne\nf\ng\n", Some(1)), "  …\n  f\n+ g\n");
        assert_eq!(changes(old, old, Some(1)), "");
    }

    #[test]
    fn each_page_prints_and_tells_what_works() {
        for page in pages::all() {
            let without = compiled(&page.spec(false));
            assert!(without.is_ok(), "{}: {:?}", page.name, without.err());
            let said = text(&page);
            for part in
                ["DEFINITION", "PAPER", "COMPOSES WITH", "REFUSES", "MISTAKES", "AN EXAMPLE", "WHAT IT COSTS"]
            {
                assert!(said.contains(part), "{}: {part}\n{said}", page.name);
            }
            let works = pages::layer(page.name).is_none_or(|s| s.available);
            let with = compiled(&page.spec(true));
            assert_eq!(with.is_ok(), works, "{}: {:?}", page.name, with.err());
        }
    }
}
