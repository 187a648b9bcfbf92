//! The canonical form of a file: one statement a line, four spaces a level, at most 100 columns where lines can break.
//!
//! Kept from the author: comments (trailing ones in their column where there is room), single empty lines, blocks
//! written on one line if they fit, parentheses. A statement with a comment in its middle stays as it was written,
//! moved to its indentation. Formatting twice is formatting once, and the tree stays the same.

use super::ast::*;
use super::dump::{role_word, setting_word};
use super::format_expr::quote;
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
    source: Option<(&'a str, Scan)>,
    comments: &'a [Comment],
    /// The next comment to write.
    next: usize,
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
trait Node {
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

    fn emit(&mut self, doc: Doc) {
        let width = if self.flat { isize::MAX as usize } else { WIDTH.saturating_sub(self.margin) };
        let column = self.column();
        layout::render(&doc, self.level, column, width, &mut self.out);
    }

    fn push(&mut self, s: &str) {
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
    fn braces(&self, end: u32) -> Span {
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
    fn block<N: Node>(&mut self, nodes: &[N], braces: Span) {
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

    fn body(&mut self, b: &Body) {
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

    fn statement(&mut self, prefix: String, e: &Expr) {
        let doc = Doc::Cat(vec![Doc::text(prefix), self.expr(e)]);
        self.emit(doc);
    }

    fn if_stmt(&mut self, i: &If) {
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

fn joined(names: &[Ident]) -> String {
    names.iter().map(|n| n.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Spans of the blocks within an expression.
fn blocks_in(e: &Expr, out: &mut Vec<Span>) {
    let args = |args: &Args, out: &mut Vec<Span>| args.args.iter().for_each(|a| blocks_in(&a.value, out));
    match &e.kind {
        ExprKind::Paren(e) | ExprKind::Neg(e) | ExprKind::Field(e, _) => blocks_in(e, out),
        ExprKind::List(es) => es.iter().for_each(|e| blocks_in(e, out)),
        ExprKind::Binary(_, a, b) => {
            blocks_in(a, out);
            blocks_in(b, out);
        }
        ExprKind::Call(f, a) => {
            blocks_in(f, out);
            args(a, out);
        }
        ExprKind::Index(e, is) => {
            blocks_in(e, out);
            for i in is {
                match i {
                    Index::At(e) => blocks_in(e, out),
                    Index::Range(a, b) => {
                        blocks_in(a, out);
                        blocks_in(b, out);
                    }
                    Index::All(_) => {}
                }
            }
        }
        ExprKind::Pipe(e, stage) => {
            blocks_in(e, out);
            match stage {
                PipeStage::Body(b) => out.push(b.span),
                PipeStage::Layer(l) => l.args.iter().for_each(|a| args(a, out)),
            }
        }
        ExprKind::Number(_) | ExprKind::Str(_) | ExprKind::Bool(_) | ExprKind::It | ExprKind::Name(_) => {}
    }
}

impl Formatter<'_> {
    /// Blocks in an expression whose comments can be kept; one with a comment of several lines cannot be moved.
    fn expr_blocks(&self, e: &Expr) -> Vec<Span> {
        let mut all = Vec::new();
        blocks_in(e, &mut all);
        let within = self.comments[self.next..].iter().take_while(|c| c.span.start < e.span.end);
        if within.into_iter().any(|c| c.text.contains('\n')) { Vec::new() } else { all }
    }
}

impl Node for Item {
    fn span(&self, _: &Formatter) -> Span {
        self.span
    }

    fn doc(&self) -> Option<&str> {
        self.doc.as_deref()
    }

    fn kind(&self) -> u8 {
        match &self.kind {
            ItemKind::Use { .. } => 0,
            ItemKind::Const { .. } => 1,
            ItemKind::Data { .. } => 2,
            _ => u8::MAX,
        }
    }

    fn blocks(&self, f: &Formatter) -> Vec<Span> {
        match &self.kind {
            ItemKind::Use { .. } => Vec::new(),
            ItemKind::Const { value, .. } | ItemKind::Data { value, .. } => f.expr_blocks(value),
            _ => vec![f.braces(self.span.end)],
        }
    }

    fn write(&self, f: &mut Formatter) {
        match &self.kind {
            ItemKind::Use { path, .. } => f.push(&format!("use {}", quote(path))),
            ItemKind::Const { name, value } => f.statement(format!("const {} = ", name.name), value),
            ItemKind::Data { name, value } => f.statement(format!("data {} = ", name.name), value),
            ItemKind::Block(b) => {
                let mut head = vec![Doc::text(format!("block {}", b.name.name))];
                if !b.params.is_empty() {
                    head.push(f.params(&b.params));
                }
                head.push(Doc::text(" "));
                f.emit(Doc::Cat(head));
                f.body(&b.body);
            }
            ItemKind::Network(n) => {
                let result = match &n.result {
                    ResultType::Single(t) => f.type_expr(t),
                    ResultType::Named(r, _) => f.inputs(r),
                };
                let head = Doc::Cat(vec![
                    Doc::text(format!("{} {}", role_word(n.role), n.name.name)),
                    f.inputs(&n.inputs),
                    Doc::text(" -> "),
                    result,
                    f.with(&n.with),
                    Doc::text(" "),
                ]);
                f.emit(head);
                f.body(&n.body);
            }
            ItemKind::Loss(l) => {
                let head =
                    Doc::Cat(vec![Doc::text(format!("loss {}", l.name.name)), f.params(&l.params), Doc::text(" ")]);
                f.emit(head);
                f.block(&l.lines, f.braces(self.span.end));
            }
            ItemKind::Train(t) => {
                let name = t.name.as_ref().map_or(String::new(), |n| format!("{} ", n.name));
                f.push(&format!("train {name}"));
                f.block(&t.stmts, f.braces(self.span.end));
            }
        }
    }
}

impl Node for LossLine {
    fn span(&self, f: &Formatter) -> Span {
        match self {
            LossLine::Discriminator(_, span) | LossLine::Generator(_, span) => *span,
            LossLine::Let(name, e) => {
                // From the `let` before the name.
                let start = f.source.as_ref().and_then(|(_, s)| {
                    let before = s.at(name.span.start as usize).checked_sub(1)?;
                    s.tokens.get(before).map(|t| t.start)
                });
                Span { start: start.unwrap_or(name.span.start), ..name.span.to(e.span) }
            }
        }
    }

    fn blocks(&self, f: &Formatter) -> Vec<Span> {
        match self {
            LossLine::Let(_, e) | LossLine::Discriminator(e, _) | LossLine::Generator(e, _) => f.expr_blocks(e),
        }
    }

    fn write(&self, f: &mut Formatter) {
        match self {
            LossLine::Let(n, e) => f.statement(format!("let {} = ", n.name), e),
            LossLine::Discriminator(e, _) => f.statement("discriminator ".into(), e),
            LossLine::Generator(e, _) => f.statement("generator ".into(), e),
        }
    }
}

impl Node for Stmt {
    fn span(&self, _: &Formatter) -> Span {
        self.span
    }

    fn doc(&self) -> Option<&str> {
        self.doc.as_deref()
    }

    fn simple(&self) -> bool {
        !matches!(self.kind, StmtKind::Residual(..) | StmtKind::Repeat(..) | StmtKind::If(..))
    }

    fn blocks(&self, f: &Formatter) -> Vec<Span> {
        match &self.kind {
            StmtKind::Let(_, e) | StmtKind::Out(_, e) | StmtKind::Assign(e) => f.expr_blocks(e),
            StmtKind::Param { .. } | StmtKind::Tap(_) | StmtKind::Layer(_) => Vec::new(),
            StmtKind::Residual(a, b) => [Some(a.span), b.as_ref().map(|b| b.span)].into_iter().flatten().collect(),
            StmtKind::Repeat(_, b) => vec![b.span],
            StmtKind::If(i) => {
                let (mut all, mut at) = (vec![i.then.span], i);
                while let Some(other) = &at.otherwise {
                    match other {
                        Else::Body(b) => {
                            all.push(b.span);
                            break;
                        }
                        Else::If(next) => {
                            all.push(next.then.span);
                            at = next;
                        }
                    }
                }
                all
            }
        }
    }

    fn write(&self, f: &mut Formatter) {
        match &self.kind {
            StmtKind::Let(names, e) => f.statement(format!("let {} = ", joined(names)), e),
            StmtKind::Param { name, ty, init, with } => {
                // A modifier after a pipe would belong to its last layer.
                let parens = !with.is_empty() && matches!(init.kind, ExprKind::Pipe(..));
                let wrapped;
                let init = match parens {
                    true => {
                        wrapped = Expr { kind: ExprKind::Paren(Box::new(init.clone())), span: init.span };
                        &wrapped
                    }
                    false => init,
                };
                let doc = Doc::Cat(vec![
                    Doc::text(format!("param {}: ", name.name)),
                    f.type_expr(ty),
                    Doc::text(" = "),
                    f.expr(init),
                    f.with(with),
                ]);
                f.emit(doc);
            }
            StmtKind::Out(name, e) => f.statement(format!("out {} = ", name.name), e),
            StmtKind::Tap(name) => f.push(&format!("tap {}", name.name)),
            StmtKind::Residual(body, shortcut) => {
                f.push("residual ");
                f.body(body);
                if let Some(s) = shortcut {
                    f.push(" shortcut ");
                    f.body(s);
                }
            }
            StmtKind::Repeat(head, body) => {
                let head = match head {
                    RepeatHead::Times(n) => vec![Doc::text("repeat "), f.expr(n), Doc::text(" ")],
                    RepeatHead::Range(i, a, b) => vec![
                        Doc::text(format!("repeat {} in ", i.name)),
                        f.expr(a),
                        Doc::text(".."),
                        f.expr(b),
                        Doc::text(" "),
                    ],
                };
                f.emit(Doc::Cat(head));
                f.body(body);
            }
            StmtKind::If(i) => f.if_stmt(i),
            StmtKind::Assign(e) => f.statement("it = ".into(), e),
            StmtKind::Layer(l) => {
                let doc = f.layer(l);
                f.emit(doc);
            }
        }
    }
}

impl Node for TrainStmt {
    fn span(&self, _: &Formatter) -> Span {
        self.span
    }

    fn doc(&self) -> Option<&str> {
        self.doc.as_deref()
    }

    fn simple(&self) -> bool {
        !matches!(self.kind, TrainStmtKind::Player(_) | TrainStmtKind::Every(..) | TrainStmtKind::If(..))
    }

    fn kind(&self) -> u8 {
        match &self.kind {
            TrainStmtKind::Setting(..) | TrainStmtKind::Epochs(..) => 0,
            TrainStmtKind::Draw { .. } | TrainStmtKind::Let(..) => 1,
            TrainStmtKind::Loss(..) | TrainStmtKind::Player(_) | TrainStmtKind::If(..) => 2,
            TrainStmtKind::Trick(..) => 3,
            TrainStmtKind::Every(..) | TrainStmtKind::Expect(..) => 4,
        }
    }

    fn blocks(&self, f: &Formatter) -> Vec<Span> {
        match &self.kind {
            TrainStmtKind::Let(_, e) | TrainStmtKind::Setting(_, e) | TrainStmtKind::Epochs(e, _) => {
                f.expr_blocks(e)
            }
            TrainStmtKind::Player(_) | TrainStmtKind::Every(..) | TrainStmtKind::If(..) => {
                vec![f.braces(self.span.end)]
            }
            _ => Vec::new(),
        }
    }

    fn write(&self, f: &mut Formatter) {
        let braces = f.braces(self.span.end);
        match &self.kind {
            TrainStmtKind::Let(names, e) => f.statement(format!("let {} = ", joined(names)), e),
            TrainStmtKind::Draw { names, from, per } => {
                let mut doc = vec![Doc::text("draw ")];
                for (i, (name, ty)) in names.iter().enumerate() {
                    doc.push(Doc::text(format!("{}{}", if i > 0 { ", " } else { "" }, name.name)));
                    if let Some(ty) = ty {
                        doc.extend([Doc::text(": "), f.type_expr(ty)]);
                    }
                }
                for (i, e) in from.iter().enumerate() {
                    doc.extend([Doc::text(if i > 0 { ", " } else { " ~ " }), f.expr(e)]);
                }
                doc.push(Doc::text(match per {
                    Some(Per::Update) => " per update",
                    Some(Per::Iteration) => " per iteration",
                    None => "",
                }));
                f.emit(Doc::Cat(doc));
            }
            TrainStmtKind::Loss(name, args) | TrainStmtKind::Trick(name, args) => {
                let word = if matches!(self.kind, TrainStmtKind::Loss(..)) { "loss" } else { "trick" };
                let args = args.as_ref().map(|a| f.args(a));
                let doc = [Doc::text(format!("{word} {}", name.name))].into_iter().chain(args).collect();
                f.emit(Doc::Cat(doc));
            }
            TrainStmtKind::Player(p) => {
                let updates =
                    if p.updates.is_empty() { String::new() } else { format!(" updates {}", joined(&p.updates)) };
                f.push(&format!("player {}{updates} ", p.name.name));
                f.block(&p.lines, braces);
            }
            TrainStmtKind::Every(n, actions) => {
                let head = Doc::Cat(vec![Doc::text("every "), f.expr(n), Doc::text(" steps ")]);
                f.emit(head);
                f.block(actions, braces);
            }
            TrainStmtKind::Expect(e, after) => {
                let mut doc = vec![Doc::text("expect "), f.expr(e)];
                if let Some(n) = after {
                    doc.extend([Doc::text(" after "), f.expr(n), Doc::text(" steps")]);
                }
                f.emit(Doc::Cat(doc));
            }
            TrainStmtKind::If(cond, stmts) => {
                let head = Doc::Cat(vec![Doc::text("if "), f.expr(cond), Doc::text(" ")]);
                f.emit(head);
                f.block(stmts, braces);
            }
            TrainStmtKind::Setting(s, e) => f.statement(format!("{} ", setting_word(*s)), e),
            TrainStmtKind::Epochs(e, of) => {
                let of = of.as_ref().map_or(String::new(), |o| format!(" of {}", o.name));
                let doc = Doc::Cat(vec![Doc::text("epochs "), f.expr(e), Doc::text(of)]);
                f.emit(doc);
            }
        }
    }
}

impl Node for PlayerLine {
    fn span(&self, _: &Formatter) -> Span {
        self.span
    }

    fn blocks(&self, f: &Formatter) -> Vec<Span> {
        match &self.kind {
            PlayerLineKind::Let(_, e)
            | PlayerLineKind::Minimize(e, None)
            | PlayerLineKind::Using(e)
            | PlayerLineKind::Repeat(e)
            | PlayerLineKind::Batch(e) => f.expr_blocks(e),
            PlayerLineKind::Minimize(_, Some(_)) => Vec::new(),
        }
    }

    fn write(&self, f: &mut Formatter) {
        match &self.kind {
            PlayerLineKind::Let(names, e) => f.statement(format!("let {} = ", joined(names)), e),
            PlayerLineKind::Minimize(e, every) => {
                let mut doc = vec![Doc::text("minimize "), f.expr(e)];
                if let Some(k) = every {
                    doc.extend([Doc::text(" every "), f.expr(k)]);
                }
                f.emit(Doc::Cat(doc));
            }
            PlayerLineKind::Using(e) => f.statement("using ".into(), e),
            PlayerLineKind::Repeat(e) => f.statement("repeat ".into(), e),
            PlayerLineKind::Batch(e) => f.statement("batch ".into(), e),
        }
    }
}

impl Node for Action {
    fn span(&self, _: &Formatter) -> Span {
        self.span
    }

    fn blocks(&self, f: &Formatter) -> Vec<Span> {
        match &self.kind {
            ActionKind::Evaluate(_, e) => f.expr_blocks(e),
            ActionKind::Call(..) => Vec::new(),
        }
    }

    fn write(&self, f: &mut Formatter) {
        match &self.kind {
            ActionKind::Evaluate(name, e) => {
                let name = name.as_ref().map_or(String::new(), |n| format!("{} = ", n.name));
                f.statement(format!("evaluate {name}"), e);
            }
            ActionKind::Call(name, args) => {
                let args = args.as_ref().map(|a| f.args(a));
                let doc = [Doc::text(name.name.as_str())].into_iter().chain(args).collect();
                f.emit(Doc::Cat(doc));
            }
        }
    }
}
