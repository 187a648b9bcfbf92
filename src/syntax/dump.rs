//! The tree as text without spans: one line a statement, expressions as s-expressions.

use std::fmt::Write;

use super::ast::*;

/// The tree of a file, for snapshots and `ganc dump --stage ast`.
pub fn dump(file: &File) -> String {
    dump_with(file, true)
}

/// [`dump`], with or without the parentheses that were written; without them it shows the structure alone.
pub fn dump_with(file: &File, parens: bool) -> String {
    let mut d = Dumper { out: String::new(), indent: 0, parens };
    for item in &file.items {
        d.item(item);
    }
    d.out
}

struct Dumper {
    out: String,
    indent: usize,
    parens: bool,
}

impl Dumper {
    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "{:w$}{text}", "", w = 2 * self.indent);
    }

    fn nest(&mut self, f: impl FnOnce(&mut Self)) {
        self.indent += 1;
        f(self);
        self.indent -= 1;
    }

    fn doc(&mut self, doc: &Option<String>) {
        if let Some(doc) = doc {
            self.line(&format!("doc {doc:?}"));
        }
    }

    fn item(&mut self, item: &Item) {
        self.doc(&item.doc);
        match &item.kind {
            ItemKind::Use { path, .. } => self.line(&format!("use {path:?}")),
            ItemKind::Const { name, value } => self.valued("const", &name.name, value),
            ItemKind::Data { name, value } => self.valued("data", &name.name, value),
            ItemKind::Block(b) => {
                let params = self.params(&b.params);
                self.line(&format!("block {}{params}", b.name.name));
                self.body(&b.body);
            }
            ItemKind::Network(n) => {
                let role = role_word(n.role);
                let inputs = self.inputs(&n.inputs);
                let result = match &n.result {
                    ResultType::Single(t) => self.ty(t),
                    ResultType::Named(r, _) => self.inputs(r),
                };
                let with = self.with(&n.with);
                self.line(&format!("{role} {} {inputs} -> {result}{with}", n.name.name));
                self.body(&n.body);
            }
            ItemKind::Loss(l) => {
                let params = self.params(&l.params);
                self.line(&format!("loss {}{params}", l.name.name));
                self.nest(|d| {
                    for line in &l.lines {
                        match line {
                            LossLine::Let(n, e) => d.valued("let", &n.name, e),
                            LossLine::Discriminator(e, _) => d.valued("discriminator", "", e),
                            LossLine::Generator(e, _) => d.valued("generator", "", e),
                        }
                    }
                });
            }
            ItemKind::Train(t) => {
                let name = t.name.as_ref().map_or(String::new(), |n| format!(" {}", n.name));
                self.line(&format!("train{name}"));
                self.nest(|d| t.stmts.iter().for_each(|s| d.train_stmt(s)));
            }
        }
    }

    fn valued(&mut self, word: &str, name: &str, value: &Expr) {
        let space = if name.is_empty() { "" } else { " " };
        let value = self.expr(value);
        self.line(&format!("{word}{space}{name} {value}"));
    }

    fn params(&mut self, params: &[Param]) -> String {
        let parts: Vec<String> = params
            .iter()
            .map(|p| match &p.default {
                Some(e) => format!("({} {})", p.name.name, self.expr(e)),
                None => p.name.name.clone(),
            })
            .collect();
        if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(" ")) }
    }

    fn inputs(&mut self, inputs: &[Input]) -> String {
        let parts: Vec<String> = inputs.iter().map(|i| format!("{}: {}", i.name.name, self.ty(&i.ty))).collect();
        format!("({})", parts.join(", "))
    }

    fn ty(&mut self, ty: &TypeExpr) -> String {
        match ty {
            TypeExpr::Shape(dims, _) => {
                let dims: Vec<String> = dims.iter().map(|d| self.expr(d)).collect();
                format!("[{}]", dims.join(", "))
            }
            TypeExpr::Class(k, _) => format!("class({})", self.expr(k)),
            TypeExpr::Named(n) => n.name.clone(),
        }
    }

    fn with(&mut self, with: &[Modifier]) -> String {
        if with.is_empty() {
            return String::new();
        }
        let parts: Vec<String> =
            with.iter().map(|m| format!("{}{}", m.name.name, self.args_opt(&m.args))).collect();
        format!(" with ({})", parts.join(", "))
    }

    fn args_opt(&mut self, args: &Option<Args>) -> String {
        args.as_ref().map_or(String::new(), |a| self.args(a))
    }

    /// ` (a :name b)`, with a leading space; without arguments ` ()`.
    fn args(&mut self, args: &Args) -> String {
        let parts: Vec<String> = args
            .args
            .iter()
            .map(|a| match &a.name {
                Some(n) => format!(":{} {}", n.name, self.expr(&a.value)),
                None => self.expr(&a.value),
            })
            .collect();
        format!(" ({})", parts.join(" "))
    }

    fn body(&mut self, body: &Body) {
        self.nest(|d| body.stmts.iter().for_each(|s| d.stmt(s)));
    }

    fn stmt(&mut self, s: &Stmt) {
        self.doc(&s.doc);
        match &s.kind {
            StmtKind::Let(names, e) => self.valued("let", &joined(names), e),
            StmtKind::Param { name, ty, init, with } => {
                let (ty, init, with) = (self.ty(ty), self.expr(init), self.with(with));
                self.line(&format!("param {}: {ty} {init}{with}", name.name));
            }
            StmtKind::Out(name, e) => self.valued("out", &name.name, e),
            StmtKind::Tap(name) => self.line(&format!("tap {}", name.name)),
            StmtKind::Residual(body, shortcut) => {
                self.line("residual");
                self.body(body);
                if let Some(s) = shortcut {
                    self.line("shortcut");
                    self.body(s);
                }
            }
            StmtKind::Repeat(RepeatHead::Times(n), body) => {
                self.valued("repeat", "", n);
                self.body(body);
            }
            StmtKind::Repeat(RepeatHead::Range(i, a, b), body) => {
                let (a, b) = (self.expr(a), self.expr(b));
                self.line(&format!("repeat {} in {a} .. {b}", i.name));
                self.body(body);
            }
            StmtKind::If(i) => self.if_stmt("if", i),
            StmtKind::Assign(e) => self.valued("it =", "", e),
            StmtKind::Layer(l) => {
                let layer = self.layer(l);
                self.line(&format!("layer {layer}"));
            }
        }
    }

    fn if_stmt(&mut self, word: &str, i: &If) {
        self.valued(word, "", &i.cond);
        self.body(&i.then);
        match &i.otherwise {
            Some(Else::Body(b)) => {
                self.line("else");
                self.body(b);
            }
            Some(Else::If(i)) => self.if_stmt("else if", i),
            None => {}
        }
    }

    fn layer(&mut self, l: &LayerCall) -> String {
        format!("{}{}{}", l.name.name, self.args_opt(&l.args), self.with(&l.with))
    }

    fn train_stmt(&mut self, s: &TrainStmt) {
        self.doc(&s.doc);
        match &s.kind {
            TrainStmtKind::Let(names, e) => self.valued("let", &joined(names), e),
            TrainStmtKind::Draw { names, from, per } => {
                let names: Vec<String> = names
                    .iter()
                    .map(|(n, t)| match t {
                        Some(t) => format!("{}: {}", n.name, self.ty(t)),
                        None => n.name.clone(),
                    })
                    .collect();
                let from: Vec<String> = from.iter().map(|e| self.expr(e)).collect();
                let per = match per {
                    Some(Per::Update) => " per update",
                    Some(Per::Iteration) => " per iteration",
                    None => "",
                };
                self.line(&format!("draw {} ~ {}{per}", names.join(", "), from.join(", ")));
            }
            TrainStmtKind::Loss(name, args) => {
                let args = self.args_opt(args);
                self.line(&format!("loss {}{args}", name.name));
            }
            TrainStmtKind::Trick(name, args) => {
                let args = self.args_opt(args);
                self.line(&format!("trick {}{args}", name.name));
            }
            TrainStmtKind::Player(p) => {
                let updates =
                    if p.updates.is_empty() { String::new() } else { format!(" updates {}", joined(&p.updates)) };
                self.line(&format!("player {}{updates}", p.name.name));
                self.nest(|d| p.lines.iter().for_each(|l| d.player_line(l)));
            }
            TrainStmtKind::Every(n, actions) => {
                self.valued("every", "", n);
                self.nest(|d| actions.iter().for_each(|a| d.action(a)));
            }
            TrainStmtKind::Expect(e, after) => {
                let (e, after) = (self.expr(e), after.as_ref().map(|a| self.expr(a)));
                let after = after.map_or(String::new(), |a| format!(" after {a}"));
                self.line(&format!("expect {e}{after}"));
            }
            TrainStmtKind::If(cond, stmts) => {
                self.valued("if", "", cond);
                self.nest(|d| stmts.iter().for_each(|s| d.train_stmt(s)));
            }
            TrainStmtKind::Setting(s, e) => self.valued(setting_word(*s), "", e),
            TrainStmtKind::Epochs(e, of) => {
                let e = self.expr(e);
                let of = of.as_ref().map_or(String::new(), |o| format!(" of {}", o.name));
                self.line(&format!("epochs {e}{of}"));
            }
        }
    }

    fn player_line(&mut self, l: &PlayerLine) {
        match &l.kind {
            PlayerLineKind::Let(names, e) => self.valued("let", &joined(names), e),
            PlayerLineKind::Minimize(e, every) => {
                let (e, every) = (self.expr(e), every.as_ref().map(|k| self.expr(k)));
                let every = every.map_or(String::new(), |k| format!(" every {k}"));
                self.line(&format!("minimize {e}{every}"));
            }
            PlayerLineKind::Using(e) => self.valued("using", "", e),
            PlayerLineKind::Repeat(e) => self.valued("repeat", "", e),
            PlayerLineKind::Batch(e) => self.valued("batch", "", e),
        }
    }

    fn action(&mut self, a: &Action) {
        match &a.kind {
            ActionKind::Evaluate(name, e) => {
                self.valued("evaluate", name.as_ref().map_or("", |n| n.name.as_str()), e);
            }
            ActionKind::Call(name, args) => {
                let args = self.args_opt(args);
                self.line(&format!("{}{args}", name.name));
            }
        }
    }

    fn exprs(&mut self, es: &[Expr]) -> String {
        es.iter().map(|e| self.expr(e)).collect::<Vec<_>>().join(" ")
    }

    fn expr(&mut self, e: &Expr) -> String {
        match &e.kind {
            ExprKind::Number(n) => n.clone(),
            ExprKind::Str(s) => format!("{s:?}"),
            ExprKind::Bool(b) => b.to_string(),
            ExprKind::It => "it".into(),
            ExprKind::Name(n) => n.clone(),
            ExprKind::List(es) => format!("[{}]", self.exprs(es)),
            ExprKind::Paren(e) if self.parens => format!("(paren {})", self.expr(e)),
            ExprKind::Paren(e) => self.expr(e),
            ExprKind::Neg(e) => format!("(neg {})", self.expr(e)),
            ExprKind::Binary(op, a, b) => format!("({} {} {})", op_text(*op), self.expr(a), self.expr(b)),
            ExprKind::Field(e, f) => format!("(field {} {})", self.expr(e), f.name),
            ExprKind::Call(f, args) => format!("(call {}{})", self.expr(f), self.args(args)),
            ExprKind::Index(e, is) => {
                let is: Vec<String> = is
                    .iter()
                    .map(|i| match i {
                        Index::At(e) => self.expr(e),
                        Index::Range(a, b) => format!("{}..{}", self.expr(a), self.expr(b)),
                        Index::All(_) => "..".into(),
                    })
                    .collect();
                format!("(index {} {})", self.expr(e), is.join(" "))
            }
            ExprKind::Pipe(e, PipeStage::Layer(l)) => format!("(pipe {} {})", self.expr(e), self.layer(l)),
            ExprKind::Pipe(e, PipeStage::Body(b)) => {
                let e = self.expr(e);
                let mut inner = Dumper { out: String::new(), indent: self.indent + 1, parens: self.parens };
                inner.body(b);
                let close = format!("{:w$}", "", w = 2 * (self.indent + 1));
                format!("(pipe {e} {{\n{}{close}}})", inner.out)
            }
        }
    }
}

fn joined(names: &[Ident]) -> String {
    names.iter().map(|n| n.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The keyword of a role.
pub(super) fn role_word(role: Role) -> &'static str {
    match role {
        Role::Generator => "generator",
        Role::Discriminator => "discriminator",
        Role::Network => "network",
    }
}

/// The word of a setting.
pub(super) fn setting_word(setting: Setting) -> &'static str {
    match setting {
        Setting::Batch => "batch",
        Setting::Steps => "steps",
        Setting::Seed => "seed",
        Setting::Precision => "precision",
        Setting::Order => "order",
    }
}

/// An operator as written.
pub(super) fn op_text(op: BinOp) -> &'static str {
    match op {
        BinOp::Add => "+",
        BinOp::Sub => "-",
        BinOp::Mul => "*",
        BinOp::Div => "/",
        BinOp::Pow => "^",
        BinOp::Lt => "<",
        BinOp::Le => "<=",
        BinOp::Gt => ">",
        BinOp::Ge => ">=",
        BinOp::Eq => "==",
        BinOp::Ne => "!=",
    }
}
