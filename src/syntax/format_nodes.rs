//! How each item, statement and line is written.

use super::ast::*;
use super::dump::{role_word, setting_word};
use super::format::{Formatter, Node};
use super::format_expr::quote;
use super::layout::Doc;
use crate::source::Span;

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
