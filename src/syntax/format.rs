//! The canonical form of a file: one statement a line, four spaces a level, at most 100 columns where lines can break.
//!
//! Kept from the author: comments (trailing ones in their column where there is room), single empty lines, blocks
//! written on one line if they fit, parentheses. A statement with a comment in its middle stays as it was written,
//! moved to its indentation. Formatting twice is formatting once, and the tree stays the same.

use super::ast::*;
use super::layout::{self, Doc, STEP};
use super::scan::{self, NONE, Scan};
use crate::source::Span;

/// Columns that lines should not exceed.
const WIDTH: usize = 100;

/// Formats a parsed file; `text` is the text it was parsed from.
pub fn format(file: &File, text: &str) -> String {
    let id = file.items.first().map(|i| i.span.file).unwrap_or_default();
    match scan::scan(id, text) {
        Ok(scan) => run(file, Some((text, scan))),
        Err(_) => print(file),
    }
}

/// Prints a tree that has no text of its own: no comments, documentation from the nodes, short blocks on one line.
pub fn print(file: &File) -> String {
    run(file, None)
}

/// Prints an expression on one line, with parentheses where the tree needs them.
pub fn print_expr(e: &Expr) -> String {
    let mut f = Formatter::new(&[], None);
    f.flat = true;
    let doc = f.expr(e);
    f.emit(doc);
    f.out
}

fn run(file: &File, source: Option<(&str, Scan)>) -> String {
    let comments = if source.is_some() { &file.comments[..] } else { &[] };
    let end = source.as_ref().map_or(0, |(text, _)| text.len());
    let mut f = Formatter::new(comments, source);
    f.sequence(&file.items, end);
    if !f.out.is_empty() {
        f.out.push('\n');
    }
    f.out
}

pub(super) struct Formatter<'a> {
    pub(super) source: Option<(&'a str, Scan)>,
    pub(super) comments: &'a [Comment],
    /// The next comment to write.
    pub(super) next: usize,
    out: String,
    level: usize,
    /// Columns that are taken from the width by what stands around an embedded block.
    margin: usize,
    /// Everything on one line, whatever its width.
    flat: bool,
    /// End in the source of what was written last, and whether anything was since the last `{`.
    last: usize,
    first: bool,
}

/// What stands in a sequence, one a line.
pub(super) trait Node {
    fn span(&self, f: &Formatter) -> Span;
    fn doc(&self) -> Option<&str> {
        None
    }
    /// Spans whose inner comments the node's `write` takes care of.
    fn blocks(&self, f: &Formatter) -> Vec<Span>;
    fn write(&self, f: &mut Formatter);
    /// Printing without a source puts an empty line between neighbours of different kinds.
    fn kind(&self) -> u8 {
        0
    }
    fn simple(&self) -> bool {
        true
    }
}

impl<'a> Formatter<'a> {
    fn new(comments: &'a [Comment], source: Option<(&'a str, Scan)>) -> Self {
        Self {
            source,
            comments,
            next: 0,
            out: String::new(),
            level: 0,
            margin: 0,
            flat: false,
            last: 0,
            first: true,
        }
    }

    fn column(&self) -> usize {
        self.out.rsplit('\n').next().map_or(0, |l| l.chars().count())
    }

    /// Columns from the present indentation to the right edge.
    pub(super) fn room(&self) -> usize {
        WIDTH.saturating_sub(self.margin + self.level * STEP)
    }

    pub(super) fn emit(&mut self, doc: Doc) {
        let width = if self.flat { isize::MAX as usize } else { WIDTH.saturating_sub(self.margin) };
        let column = self.column();
        layout::render(&doc, self.level, column, width, &mut self.out);
    }

    pub(super) fn push(&mut self, s: &str) {
        self.out.push_str(s);
    }

    /// Begins a line; `at`: where in the source what follows begins, which decides about an empty line.
    fn begin_line(&mut self, at: Option<usize>, blank: bool) {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        let gap = match (&self.source, at) {
            (Some((text, _)), Some(at)) => text.get(self.last..at).unwrap_or("").matches('\n').count() > 1,
            _ => blank,
        };
        if gap && !self.first {
            self.out.push('\n');
        }
        self.first = false;
        self.out.extend(std::iter::repeat_n(' ', self.level * STEP));
    }

    /// Comments that begin before `at`, each on its own line.
    fn comments_before(&mut self, at: usize) {
        while let Some(c) = self.comments.get(self.next).filter(|c| (c.span.start as usize) < at) {
            self.next += 1;
            self.begin_line(Some(c.span.start as usize), false);
            self.comment_text(&c.text);
            self.last = c.span.end as usize;
        }
    }

    fn comment_text(&mut self, text: &str) {
        for (i, line) in text.lines().enumerate() {
            if i > 0 {
                self.out.push('\n');
            }
            self.out.push_str(line.trim_end());
        }
    }

    /// Comments that follow on the line of what was written last, up to `limit`.
    fn trailing(&mut self, limit: usize) {
        let Some((text, _)) = self.source else { return };
        while let Some(c) = self.comments.get(self.next).filter(|c| (c.span.end as usize) <= limit) {
            let (start, end) = (c.span.start as usize, c.span.end as usize);
            let gap = text.get(self.last..start).unwrap_or("\n");
            // A `/* */` before other code belongs to that code.
            let rest = text[end..].split('\n').next().unwrap_or("").trim_start();
            let alone =
                rest.is_empty() || rest.starts_with(['}', ';']) || rest.starts_with("//") || rest.starts_with("/*");
            if gap.contains('\n') || !alone {
                return;
            }
            self.next += 1;
            let column = self.column();
            let wanted = text[..start].rsplit('\n').next().map_or(0, |l| l.chars().count());
            let pad = if self.margin > 0 { 1 } else { wanted.saturating_sub(column).max(1) };
            self.out.extend(std::iter::repeat_n(' ', pad));
            self.comment_text(&c.text);
            self.last = end;
        }
    }

    /// Nodes one a line, with the comments before and after each, up to `end`.
    fn sequence<N: Node>(&mut self, nodes: &[N], end: usize) {
        for (i, node) in nodes.iter().enumerate() {
            let span = node.span(self);
            let mut blank = i > 0 && (nodes[i - 1].kind() != node.kind() || node.kind() == u8::MAX);
            if self.source.is_some() {
                self.comments_before(span.start as usize);
            } else if let Some(doc) = node.doc() {
                for line in doc.split('\n') {
                    self.begin_line(None, std::mem::take(&mut blank));
                    let text = format!("/// {line}");
                    self.push(text.trim_end());
                }
            }
            self.begin_line(Some(span.start as usize), blank);
            self.node(node, span);
            self.last = span.end as usize;
            let limit = nodes.get(i + 1).map_or(end, |n| n.span(self).start as usize);
            self.trailing(limit);
        }
        self.comments_before(end);
    }

    /// One node: as it is written canonically, or verbatim if a comment stands where the tree has no place for it.
    fn node<N: Node>(&mut self, node: &N, span: Span) {
        let blocks = node.blocks(self);
        let inside = |c: &&Comment| c.span.start >= span.start && c.span.end <= span.end;
        let loose = self.comments[self.next..]
            .iter()
            .take_while(inside)
            .any(|c| !blocks.iter().any(|b| b.start < c.span.start && c.span.end < b.end));
        match (loose, &self.source) {
            (true, Some((text, _))) => self.verbatim(text, span),
            _ => node.write(self),
        }
    }

    /// The source of a span, its lines moved to the present indentation.
    fn verbatim(&mut self, text: &str, span: Span) {
        let (start, end) = (span.start as usize, span.end as usize);
        let width = |l: &str| {
            l.chars()
                .take_while(|c| *c == ' ' || *c == '\t')
                .map(|c| if c == '\t' { STEP } else { 1 })
                .sum::<usize>()
        };
        let old = width(text[..start].rsplit('\n').next().unwrap_or(""));
        let new = self.level * STEP;
        for (i, line) in text[start..end].lines().enumerate() {
            if i > 0 {
                self.out.push('\n');
                if !line.trim().is_empty() {
                    let indent = (width(line) + new).saturating_sub(old);
                    self.out.extend(std::iter::repeat_n(' ', indent));
                }
            }
            let line = if i > 0 { line.trim() } else { line.trim_end() };
            self.out.push_str(line);
        }
        self.next += self.comments[self.next..].iter().take_while(|c| c.span.end <= span.end).count();
    }

    /// The braces of a block that ends at byte `end` of the source.
    pub(super) fn braces(&self, end: u32) -> Span {
        let mut span = Span { end, start: end, ..Span::default() };
        if let Some((_, scan)) = &self.source {
            let close = scan.at((end as usize).saturating_sub(1));
            if let Some(t) = scan.tokens.get(close).filter(|t| t.partner != NONE) {
                span.start = scan.tokens[t.partner as usize].start;
            }
        }
        span
    }

    /// `{ … }` after what stands on the line.
    pub(super) fn block<N: Node>(&mut self, nodes: &[N], braces: Span) {
        let (open, close) = (braces.start as usize, braces.end as usize);
        let comment = self.comments.get(self.next).is_some_and(|c| (c.span.start as usize) < close);
        if nodes.is_empty() && !comment {
            return self.push("{}");
        }
        let one_line = match &self.source {
            _ if self.flat => true,
            Some((text, _)) => !comment && !text[open..close].contains('\n'),
            None => nodes.len() <= 2 && nodes.iter().all(|n| n.simple() && n.doc().is_none()),
        };
        if one_line {
            let outer = (std::mem::take(&mut self.out), std::mem::replace(&mut self.flat, true));
            for (i, n) in nodes.iter().enumerate() {
                self.push(if i > 0 { "; " } else { "{ " });
                n.write(self);
            }
            self.push(" }");
            let line = std::mem::replace(&mut self.out, outer.0);
            self.flat = outer.1;
            if self.flat || self.column() + line.chars().count() + self.margin <= WIDTH && !line.contains('\n') {
                return self.push(&line);
            }
        }
        self.push("{");
        (self.last, self.first) = (open + 1, true);
        let inner = nodes.first().map_or(close - usize::from(close > 0), |n| n.span(self).start as usize);
        self.trailing(inner);
        self.level += 1;
        self.sequence(nodes, close.saturating_sub(1));
        self.level -= 1;
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n(' ', self.level * STEP));
        self.push("}");
        (self.last, self.first) = (close, false);
    }

    pub(super) fn body(&mut self, b: &Body) {
        self.block(&b.stmts, b.span);
    }

    /// The block of `x |> { … }` as a document.
    pub(super) fn embedded(&mut self, b: &Body) -> Doc {
        let outer = (std::mem::take(&mut self.out), self.level, self.margin, self.last, self.first);
        self.margin += (self.level + 1) * STEP;
        self.level = 0;
        self.body(b);
        let text = std::mem::replace(&mut self.out, outer.0);
        (self.level, self.margin, self.last, self.first) = (outer.1, outer.2, outer.3, outer.4);
        let lines: Vec<&str> = text.split('\n').collect();
        let mut parts = Vec::new();
        for (i, line) in lines.iter().enumerate() {
            if i > 0 {
                parts.push(Doc::Hard);
            }
            parts.push(Doc::text(*line));
        }
        Doc::Cat(parts)
    }

    pub(super) fn statement(&mut self, prefix: String, e: &Expr) {
        let doc = Doc::Cat(vec![Doc::text(prefix), self.expr(e)]);
        self.emit(doc);
    }

    pub(super) fn if_stmt(&mut self, i: &If) {
        let head = Doc::Cat(vec![Doc::text("if "), self.expr(&i.cond), Doc::text(" ")]);
        self.emit(head);
        self.body(&i.then);
        match &i.otherwise {
            Some(Else::Body(b)) => {
                self.push(" else ");
                self.body(b);
            }
            Some(Else::If(i)) => {
                self.push(" else ");
                self.if_stmt(i);
            }
            None => {}
        }
    }
}
