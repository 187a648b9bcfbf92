//! Text to tree: runs the pest grammar over each item and builds the AST. Only this folder names pest's `Rule`.
//!
//! A file is cut into items at the item keywords outside of brackets, so that each item with a syntax error is
//! reported and does not hide the next one's. What the grammar cannot say is checked while the tree is built: layers
//! begin on a new line, positional arguments stand before named ones, comparisons do not chain, nothing is nested
//! deeper than [`scan::MAX_DEPTH`].

use pest::Parser;
use pest::error::{ErrorVariant, InputLocation};
use pest::iterators::Pair;

use crate::diag::{Diagnostic, Diagnostics};
use crate::source::{FileId, Span};
use crate::syntax::ast::*;
use crate::syntax::scan::{self, NONE, Scan, TokenKind};
use crate::syntax::{slips, words};

mod rules;
mod tree;

mod grammar {
    #[derive(pest_derive::Parser)]
    #[grammar = "../grammar/gan.pest"]
    pub(super) struct Grammar;
}
use grammar::{Grammar, Rule};
use rules::describe;

/// Parses a file, or reports all syntax errors that were found: at most one an item, besides mistakes within tokens.
pub fn parse(file: FileId, text: &str) -> Result<File, Diagnostics> {
    let scan = match scan::scan(file, text) {
        Ok(scan) => scan,
        Err(d) => return Err((*d).into()),
    };
    let mut build = Build { file, text, base: 0, depth: 0, diags: Diagnostics::default(), scan: &scan };
    let mut items = Vec::new();
    let cuts = cuts(text, &scan);
    for (k, &from) in cuts.iter().enumerate() {
        let to = cuts.get(k + 1).copied().unwrap_or(scan.tokens.len());
        build.chunk(from, to, &mut items);
    }
    let Build { mut diags, .. } = build;
    for d in scan.errors.items() {
        diags.push(d.clone());
    }
    if diags.has_errors() {
        let mut all = diags.items().to_vec();
        all.sort_by_key(|d| d.labels.first().map_or(0, |l| l.span.start));
        let mut sorted = Diagnostics::default();
        all.into_iter().for_each(|d| sorted.push(d));
        return Err(sorted);
    }
    Ok(File { items, comments: scan.comments })
}

/// Indices of the tokens at which items begin, and 0: what stands before the first is no item.
fn cuts(text: &str, scan: &Scan) -> Vec<usize> {
    let mut cuts = Vec::new();
    for (i, t) in scan.tokens.iter().enumerate() {
        if t.kind != TokenKind::Word || !words::ITEM_WORDS.contains(&scan.text(text, i)) {
            continue;
        }
        // Within a bracket that never closes, an item keyword at the start of a line is taken as the next item.
        let unclosed = t.inside != NONE
            && scan.tokens[t.inside as usize].partner == NONE
            && (t.start == 0 || text.as_bytes()[t.start as usize - 1] == b'\n');
        // Cutting is for good messages only (a piece may hold several items), so it need not find every item.
        let field = i > 0 && scan.text(text, i - 1) == ".";
        if (t.inside == NONE || unclosed) && !field && scan.new_line(text, i) {
            cuts.push(i);
        }
    }
    if cuts.first() != Some(&0) && !scan.tokens.is_empty() {
        cuts.insert(0, 0);
    }
    cuts
}

type P<'a> = Pair<'a, Rule>;
/// `Err`: the item cannot be built at all (too deep).
type Res<T> = Result<T, Box<Diagnostic>>;

struct Build<'a> {
    file: FileId,
    text: &'a str,
    scan: &'a Scan,
    /// Byte at which the parsed item begins.
    base: usize,
    depth: usize,
    diags: Diagnostics,
}

impl<'t> Build<'t> {
    /// Parses tokens `from..to` as items.
    fn chunk(&mut self, from: usize, to: usize, items: &mut Vec<Item>) {
        let start = self.scan.tokens[from].start as usize;
        let end = self.scan.tokens.get(to).map_or(self.text.len(), |t| t.start as usize);
        let within =
            |d: &Diagnostic| d.labels.first().is_some_and(|l| (start..end).contains(&(l.span.start as usize)));
        if self.scan.errors.items().iter().any(within) {
            return;
        }
        self.base = start;
        self.depth = 0;
        match Grammar::parse(Rule::file, &self.text[start..end]) {
            Ok(pairs) => {
                for item in pairs.flat_map(Pair::into_inner).filter(|p| p.as_rule() == Rule::item) {
                    match self.item(item) {
                        Ok(item) => items.push(item),
                        Err(d) => self.diags.push(*d),
                    }
                }
            }
            Err(e) => {
                let at = match e.location {
                    InputLocation::Pos(p) => p,
                    InputLocation::Span((p, _)) => p,
                };
                let found = self.scan.at(start + at).min(to);
                let d = match e.variant {
                    ErrorVariant::ParsingError { positives, .. } => {
                        let mut expected: Vec<&str> = Vec::new();
                        for word in positives.iter().map(|r| describe(*r)).filter(|w| !w.is_empty()) {
                            if !expected.contains(&word) {
                                expected.push(word);
                            }
                        }
                        slips::explain(self.file, self.text, self.scan, found, expected)
                    }
                    // pest stops by itself when the stack runs low.
                    ErrorVariant::CustomError { .. } => scan::too_deep(self.token_span(found)),
                };
                self.diags.push(d);
            }
        }
    }

    fn token_span(&self, i: usize) -> Span {
        let n = self.text.len();
        let (a, b) = self.scan.tokens.get(i).map_or((n, n), |t| (t.start as usize, t.end as usize));
        Span::new(self.file, a, b)
    }

    /// Span of a pair without the white space that pest counts in after an absent optional part.
    fn span(&self, p: &P) -> Span {
        let s = p.as_span();
        let (start, end) = (self.base + s.start(), self.base + s.end());
        Span::new(self.file, start, self.scan.end_before(end).max(start))
    }

    fn deeper<T>(&mut self, levels: usize, span: Span, f: impl FnOnce(&mut Self) -> Res<T>) -> Res<T> {
        self.depth += levels;
        if self.depth > scan::MAX_DEPTH {
            return Err(Box::new(scan::too_deep(span)));
        }
        let result = f(self);
        self.depth -= levels;
        result
    }

    /// The `///` lines directly above what begins at `start`, slashes removed.
    fn doc(&self, start: u32) -> Option<String> {
        let end = self.scan.comments.partition_point(|c| c.span.start < start);
        let mut below = start as usize;
        let mut lines = Vec::new();
        for c in self.scan.comments[..end].iter().rev() {
            let gap = &self.text[c.span.end as usize..below];
            let empty = gap.chars().all(|c| c.is_whitespace() || c == ';');
            let adjacent = empty && gap.matches('\n').count() == 1;
            match c.text.strip_prefix("///") {
                Some(line) if c.own_line && adjacent => lines.push(line.strip_prefix(' ').unwrap_or(line)),
                _ => break,
            }
            below = c.span.start as usize;
        }
        lines.reverse();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    /// Reports a statement that follows another one on the same line.
    fn on_new_line(&mut self, span: Span, what: &str) {
        let i = self.scan.at(span.start as usize);
        if i == 0 || self.scan.new_line(self.text, i) || matches!(self.scan.text(self.text, i - 1), ";" | "{") {
            return;
        }
        let d = slips::same_line(self.file, self.text, self.scan, i, what);
        self.diags.push(d);
    }
}
