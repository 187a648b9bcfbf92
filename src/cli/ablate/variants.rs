//! The variants that are compared, each a spec of its own: its texts and overrides are what its runs record.

use crate::build::{self, program::Compiled};
use crate::cli::{Failure, compile};
use crate::data;
use crate::model::Options;
use crate::source::{SourceMap, Span};
use crate::syntax;
use crate::syntax::ast::{ItemKind, TrainStmt, TrainStmtKind};
use crate::train::folder::StoredSource;
use std::path::Path;

/// One spec.
pub(super) struct Variant {
    /// `as it is`, `without r1`, `k = 5`.
    pub name: String,
    /// The same as the name of a folder.
    pub slug: String,
    /// Its texts, the main file first.
    pub sources: Vec<StoredSource>,
    /// Overrides.
    pub set: Vec<(String, String)>,
    /// Its graphs.
    pub compiled: Compiled,
}

/// Most variants.
const MOST: usize = 500;

/// The variants that a command asks for: those of `--set` with several values, or else one without each trick.
pub(super) fn all(
    spec: &Path,
    set: &[String],
    only: Option<&str>,
    steps: Option<u64>,
) -> Result<Vec<Variant>, Failure> {
    if steps == Some(0) {
        return Err(Failure::Message("--steps 0: at least one iteration is needed".into()));
    }
    let mut fixed = Vec::new();
    let mut swept: Vec<(String, Vec<String>)> = Vec::new();
    for (name, value) in compile::pairs(set)? {
        match &values(&value)[..] {
            [_] => fixed.push((name, value)),
            many if many.iter().any(String::is_empty) => {
                return Err(Failure::Message(format!("--set {name}={value}: a value between commas is missing")));
            }
            many => swept.push((name, many.to_vec())),
        }
    }
    let texts = {
        let options =
            Options { set: first_values(&fixed, &swept), only: only.map(str::to_string), precision: None };
        let front = compile::front_with(spec, &options, &compile::read_text)?;
        if front.core.trains.is_empty() {
            return Err(Failure::Message(format!(
                "`{}` has no `train`, so there is nothing to compare",
                spec.display()
            )));
        }
        compile::stored(&front)
    };
    match swept.is_empty() {
        true => without_tricks(&texts, &fixed, only),
        false => sweep(&texts, &fixed, &swept, only),
    }
}

fn first_values(fixed: &[(String, String)], swept: &[(String, Vec<String>)]) -> Vec<(String, String)> {
    fixed.iter().cloned().chain(swept.iter().map(|(n, v)| (n.clone(), v[0].clone()))).collect()
}

/// `0,1,[2, 3]` at its outer commas.
fn values(text: &str) -> Vec<String> {
    let (mut out, mut depth) = (vec![String::new()], 0i32);
    for c in text.chars() {
        depth += i32::from("[(".contains(c)) - i32::from("])".contains(c));
        match out.last_mut() {
            Some(last) if c != ',' || depth > 0 => last.push(c),
            _ => out.push(String::new()),
        }
    }
    out.iter().map(|v| v.trim().to_string()).collect()
}

/// A folder's name: letters, digits, dots; the index keeps names apart.
fn slug(index: usize, name: &str) -> String {
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "._".contains(c) { c } else { '-' }).collect();
    let parts: Vec<&str> = plain.split('-').filter(|p| !p.is_empty()).collect();
    let short: String = parts.join("-").chars().take(80).collect();
    if index == 0 { short } else { format!("{index:02}-{short}") }
}

/// A spec compiled from texts in memory; warnings are not repeated for each variant.
fn compiled(
    texts: &[StoredSource],
    set: &[(String, String)],
    only: Option<&str>,
) -> Result<(Compiled, String), Failure> {
    let options = Options { set: set.to_vec(), only: only.map(str::to_string), precision: None };
    let main = texts.first().map(|s| s.path.clone()).unwrap_or_default();
    let front = compile::front_with(&main, &options, &compile::recorded(texts.to_vec()))?;
    let core = syntax::print(&front.core.to_file());
    match build::build(&front.core, &front.sources, &data::schema) {
        Ok((mut compiled, _)) => {
            compile::pretrained(&front, &mut compiled)?;
            Ok((compiled, core))
        }
        Err(d) => Err(compile::refused(&front.sources, &d)),
    }
}

fn sweep(
    texts: &[StoredSource],
    fixed: &[(String, String)],
    swept: &[(String, Vec<String>)],
    only: Option<&str>,
) -> Result<Vec<Variant>, Failure> {
    let mut combinations: Vec<Vec<(String, String)>> = vec![Vec::new()];
    for (name, values) in swept {
        let longer = |c: &Vec<(String, String)>| {
            let one = |v: &String| c.iter().cloned().chain([(name.clone(), v.clone())]).collect();
            values.iter().map(one).collect::<Vec<_>>()
        };
        combinations = combinations.iter().flat_map(longer).collect();
        if combinations.len() > MOST {
            return Err(Failure::Message(format!("--set gives more than {MOST} combinations of values")));
        }
    }
    let mut out: Vec<Variant> = Vec::new();
    for c in combinations {
        let name = c.iter().map(|(n, v)| format!("{n} = {v}")).collect::<Vec<_>>().join(", ");
        if out.iter().any(|v| v.name == name) {
            return Err(Failure::Message(format!("--set: `{name}` is there twice")));
        }
        let set: Vec<_> = fixed.iter().cloned().chain(c).collect();
        let (compiled, _) = compiled(texts, &set, only).inspect_err(|_| {
            super::super::tell(&format!("with {name}, the spec is refused\n"));
        })?;
        // Numbered from 1: no combination is the spec as it is.
        let slug = slug(out.len() + 1, &name);
        out.push(Variant { name, slug, sources: texts.to_vec(), set, compiled });
    }
    Ok(out)
}

fn without_tricks(
    texts: &[StoredSource],
    set: &[(String, String)],
    only: Option<&str>,
) -> Result<Vec<Variant>, Failure> {
    let (base, base_core) = compiled(texts, set, only)?;
    let text = &texts[0].text;
    let mut out = vec![Variant {
        name: "as it is".into(),
        slug: slug(0, "as it is"),
        sources: texts.to_vec(),
        set: set.to_vec(),
        compiled: base,
    }];
    let tricks = tricks(text);
    for (i, (trick, span)) in tricks.iter().enumerate() {
        let mut sources = texts.to_vec();
        sources[0].text = blank(text, *span);
        let line = text[..span.start as usize].matches('\n').count() + 1;
        let name = match tricks.iter().filter(|t| t.0 == *trick).count() {
            1 => format!("without {trick}"),
            _ => format!("without {trick} of line {line}"),
        };
        let (compiled, core) = compiled(&sources, set, only).inspect_err(|_| {
            super::super::tell(&format!("{name}, the spec is refused\n"));
        })?;
        // In an `if` that is not taken, or in a `train` that --only leaves out.
        if core == base_core {
            super::super::print(&format!("`trick {trick}` of line {line} has no effect here and is left out\n"));
            continue;
        }
        if out.len() >= MOST {
            return Err(Failure::Message(format!("the spec has more than {MOST} tricks")));
        }
        let slug = slug(i + 1, &name);
        out.push(Variant { name, slug, sources, set: set.to_vec(), compiled });
    }
    if out.len() > 1 {
        return Ok(out);
    }
    Err(Failure::Message(
        "the spec has no `trick` lines to leave out; compare values of a constant instead, as in --set k=0,1,5 \
         (a layer stands in an `if` of a constant: --set vbn=true,false)"
            .into(),
    ))
}

/// All `trick` lines of a text, with the names of the tricks.
fn tricks(text: &str) -> Vec<(String, Span)> {
    let mut sources = SourceMap::default();
    let id = sources.add("spec", text);
    let mut found = Vec::new();
    // The text was compiled before.
    for item in syntax::parse(id, text).map(|f| f.items).unwrap_or_default() {
        if let ItemKind::Train(t) = &item.kind {
            collect(&t.stmts, &mut found);
        }
    }
    found
}

fn collect(stmts: &[TrainStmt], found: &mut Vec<(String, Span)>) {
    for s in stmts {
        match &s.kind {
            TrainStmtKind::Trick(name, _) => found.push((name.name.clone(), s.span)),
            TrainStmtKind::If(_, inner) => collect(inner, found),
            TrainStmtKind::Let(..)
            | TrainStmtKind::Draw { .. }
            | TrainStmtKind::Loss(..)
            | TrainStmtKind::Player(_)
            | TrainStmtKind::Every(..)
            | TrainStmtKind::Expect(..)
            | TrainStmtKind::Setting(..)
            | TrainStmtKind::Epochs(..) => {}
        }
    }
}

/// The text with spaces in place of a statement and of the documentation above it, so that all else keeps its place.
fn blank(text: &str, span: Span) -> String {
    let mut start = span.start as usize;
    let end = span.end as usize;
    while let Some(line) = text[..start].trim_end_matches([' ', '\t']).strip_suffix('\n') {
        let begin = line.rfind('\n').map_or(0, |n| n + 1);
        if !line[begin..].trim_start().starts_with("///") {
            break;
        }
        start = begin;
    }
    let hidden: String = text[start..end].chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
    format!("{}{hidden}{}", &text[..start], &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tricks_are_found_and_blanked() {
        let text = "train {\n    /// why\n    trick r1(gamma: 1)\n    if deep { trick ema(G); trick r1 }\n}\n";
        let found = tricks(text);
        assert_eq!(found.iter().map(|t| t.0.as_str()).collect::<Vec<_>>(), ["r1", "ema", "r1"]);
        let without = blank(text, found[0].1);
        assert_eq!(without.matches('\n').count(), text.matches('\n').count());
        assert!(!without.contains("why") && !without.contains("gamma") && without.contains("ema(G)"), "{without}");
        let without = blank(text, found[1].1);
        assert!(without.contains("if deep {             ; trick r1 }"), "{without}");
    }

    #[test]
    fn values_and_folders() {
        assert_eq!(values("0, 1,[2, 3],f(4,5)"), ["0", "1", "[2, 3]", "f(4,5)"]);
        assert_eq!(values("1,"), ["1", ""]);
        assert_eq!(slug(0, "as it is"), "as-it-is");
        assert_eq!(slug(3, "lr = 1e-3, k = [1/2]"), "03-lr-1e-3-k-1-2");
    }
}
