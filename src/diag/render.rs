//! How diagnostics look on a terminal. The only file that knows annotate-snippets.

use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Patch, Renderer, Snippet};

use super::{Diagnostic, Diagnostics, Severity};
use crate::source::{FileId, SourceMap, Span};

/// Most diagnostics that are shown: nobody reads more at once.
const MOST: usize = 50;

/// Renders diagnostics, at most fifty, each followed by an empty line, and a count at the end if there are several.
pub fn render(sources: &SourceMap, diagnostics: &Diagnostics, color: bool) -> String {
    let mut out = String::new();
    for d in diagnostics.items().iter().take(MOST) {
        out.push_str(&render_one(sources, d, color));
        out.push_str("\n\n");
    }
    if let Some(more) = diagnostics.items().len().checked_sub(MOST).filter(|n| *n > 0) {
        out.push_str(&format!("… and {more} more\n"));
    }
    let count = |s| diagnostics.items().iter().filter(|d| d.severity == s).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    if errors + warnings > 1 {
        let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        let parts: Vec<String> = [(errors, "error"), (warnings, "warning")]
            .iter()
            .filter(|(n, _)| *n > 0)
            .map(|&(n, w)| plural(n, w))
            .collect();
        out.push_str(&parts.join(", "));
        out.push('\n');
    }
    out
}

fn render_one(sources: &SourceMap, d: &Diagnostic, color: bool) -> String {
    let level = match d.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut main = Group::with_title(level.primary_title(d.title.as_str()).id(d.code));
    let mut files: Vec<FileId> = Vec::new();
    for l in &d.labels {
        if !files.contains(&l.span.file) && (l.span.file.0 as usize) < sources.files().len() {
            files.push(l.span.file);
        }
    }
    for file in files {
        let mut snippet = snippet(sources, file);
        for l in d.labels.iter().filter(|l| l.span.file == file) {
            let kind = if l.primary { AnnotationKind::Primary } else { AnnotationKind::Context };
            let annotation = kind.span(bytes(sources, l.span));
            let text = (!l.text.is_empty()).then_some(l.text.as_str());
            snippet = snippet.annotation(annotation.label(text));
        }
        main = main.element(snippet);
    }
    for note in &d.notes {
        main = main.element(Level::NOTE.message(note.as_str()));
    }
    let patch = d.patch.as_ref().filter(|p| (p.span.file.0 as usize) < sources.files().len());
    let mut groups = Vec::new();
    match (&d.help, patch) {
        (help, Some(p)) => {
            let title = help.as_deref().unwrap_or("this mends it");
            let edit = Patch::new(bytes(sources, p.span), p.replacement.as_str());
            groups.push(main);
            groups
                .push(Level::HELP.secondary_title(title).element(self::snippet(sources, p.span.file).patch(edit)));
        }
        (Some(help), None) => groups.push(main.element(Level::HELP.message(help.as_str()))),
        (None, None) => groups.push(main),
    }
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    renderer.decor_style(if color { DecorStyle::Unicode } else { DecorStyle::Ascii }).render(&groups)
}

fn snippet<T: Clone>(sources: &SourceMap, file: FileId) -> Snippet<'_, T> {
    let f = sources.file(file);
    Snippet::source(&*f.text).path(f.path.to_string_lossy()).fold(true)
}

/// The span as bytes of its file, moved to character boundaries within it.
fn bytes(sources: &SourceMap, span: Span) -> Range<usize> {
    let text = &sources.file(span.file).text;
    let floor = |b: usize| (0..=b.min(text.len())).rev().find(|&b| text.is_char_boundary(b)).unwrap_or(0);
    let start = floor(span.start as usize);
    start..floor(span.end as usize).max(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_files_and_spans_beyond_the_end_render() {
        let mut sources = SourceMap::default();
        let a = sources.add("a.gan", "const a = 1\n");
        let b = sources.add("b.gan", "const é = 2");
        let d = Diagnostic::error("E0201", "`a` is defined twice")
            .at(Span::new(a, 6, 7), "here")
            .label(Span::new(b, 7, 900), "and in this file")
            .label(Span::new(FileId(9), 0, 1), "nowhere")
            .note("A note.")
            .help("rename one")
            .patch(Span::new(b, 900, 900), "!");
        let text = render(&sources, &d.clone().into(), false);
        for part in ["E0201", "a.gan:1:7", "b.gan", "and in this file", "A note.", "rename one"] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        let mut two = Diagnostics::from(d);
        two.push(Diagnostic::warning("W01", "odd"));
        let text = render(&sources, &two, true);
        assert!(text.contains("\u{1b}[") && text.ends_with("1 error, 1 warning\n"), "{text}");
    }
}
