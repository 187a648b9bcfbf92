//! Text to tree: runs the pest grammar over each item and builds the AST. The only file that names pest's `Rule`.
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

#[allow(missing_docs)]
mod grammar {
    #[derive(pest_derive::Parser)]
    #[grammar = "../grammar/gan.pest"]
    pub(super) struct Grammar;
}
use grammar::{Grammar, Rule};

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

/// Indices of the tokens at which items begin; what stands before the first belongs to it.
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
        if t.inside == NONE || unclosed {
            cuts.push(i);
        }
    }
    match cuts.first_mut() {
        Some(first) => *first = 0,
        None if !scan.tokens.is_empty() => cuts.push(0),
        None => {}
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
            let adjacent = gap.trim().is_empty() && gap.matches('\n').count() == 1;
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

    // ------------------------------------------------------------------------------------------------------ items

    fn item(&mut self, p: P<'t>) -> Res<Item> {
        let span = self.span(&p);
        let p = only(p);
        let rule = p.as_rule();
        let mut k = Kids::of(p);
        let kind = match rule {
            Rule::use_item => {
                let s = k.next();
                ItemKind::Use { path: unquote(s.as_str()), path_span: self.span(&s) }
            }
            Rule::const_item => ItemKind::Const { name: self.ident(k.next()), value: self.expr(k.next())? },
            Rule::data_item => ItemKind::Data { name: self.ident(k.next()), value: self.expr(k.next())? },
            Rule::block_item => ItemKind::Block(Block {
                name: self.ident(k.next()),
                params: k.opt(Rule::params).map_or(Ok(Vec::new()), |p| self.params(p))?,
                body: self.body(k.next())?,
            }),
            Rule::network_item => ItemKind::Network(Network {
                role: match k.next().as_str() {
                    "generator" => Role::Generator,
                    "discriminator" => Role::Discriminator,
                    _ => Role::Network,
                },
                name: self.ident(k.next()),
                inputs: self.inputs(k.next())?,
                result: self.result(k.next())?,
                with: self.with(k.opt(Rule::with))?,
                body: self.body(k.next())?,
            }),
            Rule::loss_item => ItemKind::Loss(Loss {
                name: self.ident(k.next()),
                params: self.params(k.next())?,
                lines: k.map(|p| self.loss_line(p)).collect::<Res<_>>()?,
            }),
            Rule::train_item => ItemKind::Train(Train {
                name: k.opt(Rule::ident).map(|p| self.ident(p)),
                stmts: self.train_body(k.next())?,
            }),
            other => unreachable!("{other:?} is no item"),
        };
        Ok(Item { doc: self.doc(span.start), kind, span })
    }

    fn ident(&self, p: P) -> Ident {
        Ident { name: p.as_str().to_string(), span: self.span(&p) }
    }

    fn params(&mut self, p: P<'t>) -> Res<Vec<Param>> {
        Kids::of(p)
            .map(|p| {
                let mut k = Kids::of(p);
                Ok(Param {
                    name: self.ident(k.next()),
                    default: k.opt(Rule::expr).map(|e| self.expr(e)).transpose()?,
                })
            })
            .collect()
    }

    fn inputs(&mut self, p: P<'t>) -> Res<Vec<Input>> {
        Kids::of(p)
            .map(|p| {
                let mut k = Kids::of(p);
                Ok(Input { name: self.ident(k.next()), ty: self.type_expr(k.next())? })
            })
            .collect()
    }

    fn result(&mut self, p: P<'t>) -> Res<ResultType> {
        let p = only(p);
        let span = self.span(&p);
        Ok(match p.as_rule() {
            Rule::inputs => ResultType::Named(self.inputs(p)?, span),
            _ => ResultType::Single(self.type_expr(p)?),
        })
    }

    fn type_expr(&mut self, p: P<'t>) -> Res<TypeExpr> {
        let p = only(p);
        let span = self.span(&p);
        Ok(match p.as_rule() {
            Rule::shape => TypeExpr::Shape(self.exprs(p)?, span),
            Rule::class_type => TypeExpr::Class(Box::new(self.expr(Kids::of(p).next())?), span),
            _ => TypeExpr::Named(self.ident(p)),
        })
    }

    fn with(&mut self, p: Option<P<'t>>) -> Res<Vec<Modifier>> {
        let Some(p) = p.map(only) else { return Ok(Vec::new()) };
        match p.as_rule() {
            Rule::modifiers => Kids::of(p).map(|p| self.modifier(p)).collect(),
            _ => Ok(vec![self.modifier(p)?]),
        }
    }

    fn modifier(&mut self, p: P<'t>) -> Res<Modifier> {
        let mut k = Kids::of(p);
        Ok(Modifier { name: self.ident(k.next()), args: self.args_opt(k.opt(Rule::args))? })
    }

    fn loss_line(&mut self, p: P<'t>) -> Res<LossLine> {
        let p = only(p);
        let (rule, span) = (p.as_rule(), self.span(&p));
        let mut k = Kids::of(p);
        Ok(match rule {
            Rule::let_line => LossLine::Let(self.ident(k.next()), self.expr(k.next())?),
            Rule::discriminator_line => LossLine::Discriminator(self.expr(k.next())?, span),
            _ => LossLine::Generator(self.expr(k.next())?, span),
        })
    }

    // ----------------------------------------------------------------------------------------------------- bodies

    fn body(&mut self, p: P<'t>) -> Res<Body> {
        let span = self.span(&p);
        let stmts = self.deeper(1, span, |b| Kids::of(p).map(|p| b.stmt(p)).collect())?;
        Ok(Body { stmts, span })
    }

    fn stmt(&mut self, p: P<'t>) -> Res<Stmt> {
        let span = self.span(&p);
        let p = only(p);
        let rule = p.as_rule();
        let mut k = Kids::of(p.clone());
        let kind = match rule {
            Rule::let_stmt => StmtKind::Let(self.names(k.next()), self.expr(k.next())?),
            Rule::param_stmt => StmtKind::Param {
                name: self.ident(k.next()),
                ty: self.type_expr(k.next())?,
                init: self.expr(k.next())?,
                with: self.with(k.opt(Rule::with))?,
            },
            Rule::out_stmt => StmtKind::Out(self.ident(k.next()), self.expr(k.next())?),
            Rule::tap_stmt => StmtKind::Tap(self.ident(k.next())),
            Rule::residual_stmt => {
                StmtKind::Residual(self.body(k.next())?, k.opt(Rule::body).map(|p| self.body(p)).transpose()?)
            }
            Rule::repeat_stmt => {
                let head = match k.opt(Rule::range_head) {
                    Some(head) => {
                        let mut h = Kids::of(head);
                        RepeatHead::Range(self.ident(h.next()), self.expr(h.next())?, self.expr(h.next())?)
                    }
                    None => RepeatHead::Times(self.expr(k.next())?),
                };
                StmtKind::Repeat(head, self.body(k.next())?)
            }
            Rule::if_stmt => StmtKind::If(self.if_chain(k)?),
            Rule::it_stmt => {
                k.next();
                StmtKind::Assign(self.expr(k.next())?)
            }
            _ => {
                self.on_new_line(span, "a layer");
                StmtKind::Layer(self.layer(p)?)
            }
        };
        Ok(Stmt { doc: self.doc(span.start), kind, span })
    }

    fn names(&self, p: P<'t>) -> Vec<Ident> {
        Kids::of(p).map(|p| self.ident(p)).collect()
    }

    /// `expr body (expr body)* body?`, flat in the grammar so that a long chain does not recurse there.
    fn if_chain(&mut self, kids: Kids<'t>) -> Res<If> {
        let mut parts: Vec<P> = kids.collect();
        let mut otherwise = match parts.len() % 2 {
            1 => parts.pop().map(|p| self.body(p)).transpose()?.map(Else::Body),
            _ => None,
        };
        let levels = parts.len() / 2;
        let at = self.span(&parts[0]);
        self.deeper(levels, at, |b| {
            loop {
                let (Some(then), Some(cond)) = (parts.pop(), parts.pop()) else {
                    unreachable!("an `if` has a condition and a body")
                };
                let branch = If { cond: b.expr(cond)?, then: b.body(then)?, otherwise };
                if parts.is_empty() {
                    return Ok(branch);
                }
                otherwise = Some(Else::If(Box::new(branch)));
            }
        })
    }

    fn layer(&mut self, p: P<'t>) -> Res<LayerCall> {
        let mut k = Kids::of(p);
        Ok(LayerCall {
            name: self.ident(k.next()),
            args: self.args_opt(k.opt(Rule::args))?,
            with: self.with(k.opt(Rule::with))?,
        })
    }

    // ------------------------------------------------------------------------------------------------------ train

    fn train_body(&mut self, p: P<'t>) -> Res<Vec<TrainStmt>> {
        let span = self.span(&p);
        self.deeper(1, span, |b| Kids::of(p).map(|p| b.train_stmt(p)).collect())
    }

    fn train_stmt(&mut self, p: P<'t>) -> Res<TrainStmt> {
        let span = self.span(&p);
        let p = only(p);
        let rule = p.as_rule();
        let mut k = Kids::of(p);
        let kind = match rule {
            Rule::let_stmt => TrainStmtKind::Let(self.names(k.next()), self.expr(k.next())?),
            Rule::draw_stmt => {
                let (mut names, mut from, mut per) = (Vec::new(), Vec::new(), None);
                for p in k {
                    match p.as_rule() {
                        Rule::drawn => {
                            let mut d = Kids::of(p);
                            let name = self.ident(d.next());
                            names.push((name, d.opt(Rule::type_expr).map(|t| self.type_expr(t)).transpose()?));
                        }
                        Rule::freshness => {
                            per = Some(if p.as_str() == "update" { Per::Update } else { Per::Iteration });
                        }
                        _ => from.push(self.expr(p)?),
                    }
                }
                TrainStmtKind::Draw { names, from, per }
            }
            Rule::loss_stmt => TrainStmtKind::Loss(self.ident(k.next()), self.args_opt(k.opt(Rule::args))?),
            Rule::trick_stmt => TrainStmtKind::Trick(self.ident(k.next()), self.args_opt(k.opt(Rule::args))?),
            Rule::player_stmt => TrainStmtKind::Player(Player {
                name: self.ident(k.next()),
                updates: k.opt(Rule::updates).map_or(Vec::new(), |p| self.names(p)),
                lines: k.map(|p| self.player_line(p)).collect::<Res<_>>()?,
            }),
            Rule::every_stmt => {
                TrainStmtKind::Every(self.expr(k.next())?, k.map(|p| self.action(p)).collect::<Res<_>>()?)
            }
            Rule::expect_stmt => {
                TrainStmtKind::Expect(self.expr(k.next())?, k.opt(Rule::expr).map(|p| self.expr(p)).transpose()?)
            }
            Rule::train_if => TrainStmtKind::If(self.expr(k.next())?, self.train_body(k.next())?),
            Rule::epochs_stmt => {
                TrainStmtKind::Epochs(self.expr(k.next())?, k.opt(Rule::ident).map(|p| self.ident(p)))
            }
            _ => {
                let setting = match k.next().as_str() {
                    "batch" => Setting::Batch,
                    "steps" => Setting::Steps,
                    "seed" => Setting::Seed,
                    "precision" => Setting::Precision,
                    _ => Setting::Order,
                };
                TrainStmtKind::Setting(setting, self.expr(k.next())?)
            }
        };
        Ok(TrainStmt { doc: self.doc(span.start), kind, span })
    }

    fn player_line(&mut self, p: P<'t>) -> Res<PlayerLine> {
        let span = self.span(&p);
        let p = only(p);
        let rule = p.as_rule();
        let mut k = Kids::of(p);
        let kind = match rule {
            Rule::let_stmt => PlayerLineKind::Let(self.names(k.next()), self.expr(k.next())?),
            Rule::minimize_line => {
                PlayerLineKind::Minimize(self.expr(k.next())?, k.opt(Rule::expr).map(|p| self.expr(p)).transpose()?)
            }
            Rule::using_line => PlayerLineKind::Using(self.expr(k.next())?),
            Rule::repeat_line => PlayerLineKind::Repeat(self.expr(k.next())?),
            _ => PlayerLineKind::Batch(self.expr(k.next())?),
        };
        Ok(PlayerLine { kind, span })
    }

    fn action(&mut self, p: P<'t>) -> Res<Action> {
        let span = self.span(&p);
        let p = only(p);
        let rule = p.as_rule();
        let mut k = Kids::of(p);
        let kind = match rule {
            Rule::evaluate => ActionKind::Evaluate(k.opt(Rule::ident).map(|p| self.ident(p)), self.expr(k.next())?),
            _ => {
                self.on_new_line(span, "an action");
                ActionKind::Call(self.ident(k.next()), self.args_opt(k.opt(Rule::args))?)
            }
        };
        Ok(Action { kind, span })
    }

    // ------------------------------------------------------------------------------------------------ expressions

    fn exprs(&mut self, p: P<'t>) -> Res<Vec<Expr>> {
        Kids::of(p).map(|p| self.expr(p)).collect()
    }

    /// `operand (infix operand)* (|> stage)*`, flat. Every part counts as a level: chains make trees as deep as
    /// they are long.
    fn expr(&mut self, p: P<'t>) -> Res<Expr> {
        let span = self.span(&p);
        let parts: Vec<P> = Kids::of(p).collect();
        let postfixes = |p: &P<'t>| if p.as_rule() == Rule::operand { p.clone().into_inner().count() } else { 0 };
        let levels = parts.len().div_ceil(2) + parts.iter().map(postfixes).max().unwrap_or(0);
        self.deeper(levels, span, |b| {
            let cut = parts.iter().position(|p| p.as_rule() == Rule::stage).unwrap_or(parts.len());
            let mut flat = Flat { parts: &parts[..cut], next: 0 };
            let mut value = b.binary(&mut flat, 0)?;
            for stage in &parts[cut..] {
                let span = value.span.to(b.span(stage));
                let inner = only(stage.clone());
                let stage = match inner.as_rule() {
                    Rule::body => PipeStage::Body(b.body(inner)?),
                    _ => PipeStage::Layer(b.layer(inner)?),
                };
                value = Expr { kind: ExprKind::Pipe(Box::new(value), stage), span };
            }
            Ok(value)
        })
    }

    /// Precedence climbing: 0 comparisons (which do not chain), 1 sums, 2 products.
    fn binary(&mut self, flat: &mut Flat<'_, 't>, level: u8) -> Res<Expr> {
        let mut left = self.operand(flat)?;
        let mut compared: Option<Span> = None;
        while let Some((op, strength, at)) = flat.infix(|p| self.span(p)) {
            if strength < level || op == BinOp::Pow {
                break;
            }
            flat.next += 1;
            let right = self.binary(flat, strength + 1)?;
            if strength == 0
                && let Some(first) = compared.replace(at)
            {
                self.diags.push(slips::chained(first, at));
            }
            let span = left.span.to(right.span);
            left = Expr { kind: ExprKind::Binary(op, Box::new(left), Box::new(right)), span };
        }
        Ok(left)
    }

    /// `-* postfix (^ operand)?`: `-x^2` is `-(x^2)`, `^` is right-associative.
    fn operand(&mut self, flat: &mut Flat<'_, 't>) -> Res<Expr> {
        let p = flat.parts[flat.next].clone();
        flat.next += 1;
        let start = self.span(&p).start;
        let mut minus = Vec::new();
        let mut value: Option<Expr> = None;
        for p in p.into_inner() {
            let at = self.span(&p);
            value = Some(match (p.as_rule(), value.take()) {
                (Rule::neg, _) => {
                    minus.push(at.start);
                    continue;
                }
                (_, None) => self.primary(p)?,
                (rule, Some(base)) => {
                    let span = base.span.to(at);
                    let base = Box::new(base);
                    let kind = match rule {
                        Rule::field => ExprKind::Field(base, self.ident(Kids::of(p).next())),
                        Rule::args => ExprKind::Call(base, self.args(p)?),
                        _ => ExprKind::Index(base, Kids::of(p).map(|p| self.index(p)).collect::<Res<_>>()?),
                    };
                    Expr { kind, span }
                }
            });
        }
        let Some(mut value) = value else { unreachable!("an operand has a value") };
        if let Some((BinOp::Pow, ..)) = flat.infix(|p| self.span(p)) {
            flat.next += 1;
            let exponent = self.operand(flat)?;
            let span = value.span.to(exponent.span);
            value = Expr { kind: ExprKind::Binary(BinOp::Pow, Box::new(value), Box::new(exponent)), span };
        }
        debug_assert!(minus.first().is_none_or(|&m| m == start));
        for start in minus.into_iter().rev() {
            let span = Span { start, ..value.span };
            value = Expr { kind: ExprKind::Neg(Box::new(value)), span };
        }
        Ok(value)
    }

    fn primary(&mut self, p: P<'t>) -> Res<Expr> {
        let span = self.span(&p);
        let kind = match p.as_rule() {
            Rule::number => ExprKind::Number(p.as_str().to_string()),
            Rule::string => ExprKind::Str(unquote(p.as_str())),
            Rule::boolean => ExprKind::Bool(p.as_str() == "true"),
            Rule::it => ExprKind::It,
            Rule::list => ExprKind::List(self.exprs(p)?),
            Rule::paren => ExprKind::Paren(Box::new(self.expr(Kids::of(p).next())?)),
            _ => ExprKind::Name(p.as_str().to_string()),
        };
        Ok(Expr { kind, span })
    }

    fn index(&mut self, p: P<'t>) -> Res<Index> {
        let span = self.span(&p);
        let mut k = Kids::of(p);
        Ok(match k.opt(Rule::expr) {
            None => Index::All(span),
            Some(a) => {
                let a = self.expr(a)?;
                match k.opt(Rule::expr) {
                    Some(b) => Index::Range(a, self.expr(b)?),
                    None => Index::At(a),
                }
            }
        })
    }

    fn args_opt(&mut self, p: Option<P<'t>>) -> Res<Option<Args>> {
        p.map(|p| self.args(p)).transpose()
    }

    fn args(&mut self, p: P<'t>) -> Res<Args> {
        let span = self.span(&p);
        let mut args: Vec<Arg> = Vec::new();
        for p in Kids::of(p) {
            let mut k = Kids::of(p);
            let name = k.opt(Rule::word).map(|p| self.ident(p));
            let value = self.expr(k.next())?;
            if let (None, Some(named)) = (&name, args.iter().rev().find_map(|a| a.name.as_ref())) {
                self.diags.push(slips::positional_after_named(value.span, named));
            }
            args.push(Arg { name, value });
        }
        Ok(Args { args, span })
    }
}

/// Operands and operators of one expression.
struct Flat<'s, 't> {
    parts: &'s [P<'t>],
    next: usize,
}

impl<'t> Flat<'_, 't> {
    /// The operator that comes next, how strongly it binds (a power's strength is not used), and its place.
    fn infix(&self, span: impl Fn(&P<'t>) -> Span) -> Option<(BinOp, u8, Span)> {
        let p = self.parts.get(self.next)?;
        let (op, strength) = match p.as_str() {
            "<" => (BinOp::Lt, 0),
            "<=" => (BinOp::Le, 0),
            ">" => (BinOp::Gt, 0),
            ">=" => (BinOp::Ge, 0),
            "==" => (BinOp::Eq, 0),
            "!=" => (BinOp::Ne, 0),
            "+" => (BinOp::Add, 1),
            "-" => (BinOp::Sub, 1),
            "*" => (BinOp::Mul, 2),
            "/" => (BinOp::Div, 2),
            _ => (BinOp::Pow, 3),
        };
        Some((op, strength, span(p)))
    }
}

/// Children of a pair without punctuation and keywords.
struct Kids<'a> {
    pairs: std::iter::Peekable<pest::iterators::Pairs<'a, Rule>>,
}

impl<'a> Kids<'a> {
    fn of(p: P<'a>) -> Self {
        Self { pairs: p.into_inner().peekable() }
    }

    fn skip(&mut self) {
        while self.pairs.peek().is_some_and(|p| is_mark(p.as_rule())) {
            self.pairs.next();
        }
    }

    /// The next child, which the grammar guarantees.
    #[allow(clippy::should_implement_trait)]
    fn next(&mut self) -> P<'a> {
        match Iterator::next(self) {
            Some(p) => p,
            None => unreachable!("the grammar guarantees this part"),
        }
    }

    /// The next child if it is of this rule.
    fn opt(&mut self, rule: Rule) -> Option<P<'a>> {
        self.skip();
        self.pairs.next_if(|p| p.as_rule() == rule)
    }
}

impl<'a> Iterator for Kids<'a> {
    type Item = P<'a>;
    fn next(&mut self) -> Option<P<'a>> {
        self.skip();
        self.pairs.next()
    }
}

/// The single meaningful child.
fn only(p: P) -> P {
    Kids::of(p).next()
}

/// Quotes removed, escapes decoded.
fn unquote(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    let mut chars = s[1..s.len() - 1].chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some(c) => out.push(c),
                None => {}
            },
            c => out.push(c),
        }
    }
    out
}

/// Whether a rule is punctuation or a keyword, with no meaning of its own in the tree.
#[rustfmt::skip]
fn is_mark(rule: Rule) -> bool {
    use Rule::*;
    matches!(
        rule,
        EOI | lparen | rparen | lbracket | rbracket | lbrace | rbrace | comma | colon | semi | tilde | arrow | pipe
            | dotdot | assign | dot | w_batch | w_steps | w_epochs | w_of | w_class | kw_use | kw_const | kw_data
            | kw_block | kw_generator | kw_discriminator | kw_loss | kw_train | kw_let | kw_param | kw_out | kw_tap
            | kw_residual | kw_shortcut | kw_repeat | kw_if | kw_else | kw_in | kw_with | kw_draw | kw_player
            | kw_updates | kw_minimize | kw_using | kw_trick | kw_every | kw_evaluate | kw_expect | kw_after | kw_per
    )
}

/// What a rule is called in "expected …": marks are quoted with backticks; empty: never mentioned.
fn describe(rule: Rule) -> &'static str {
    match rule {
        Rule::EOI => "the end of the file",
        Rule::file | Rule::WHITESPACE | Rule::COMMENT | Rule::letter | Rule::follow | Rule::keyword => "",
        Rule::digits | Rule::primary => "",
        Rule::item
        | Rule::use_item
        | Rule::const_item
        | Rule::data_item
        | Rule::block_item
        | Rule::network_item
        | Rule::loss_item
        | Rule::train_item => "an item",
        Rule::params => "`(`",
        Rule::param => "a parameter",
        Rule::inputs => "`(`",
        Rule::input => "an input",
        Rule::result => "a result type",
        Rule::type_expr => "a type",
        Rule::shape => "a shape",
        Rule::class_type => "`class(…)`",
        Rule::with => "`with`",
        Rule::modifiers => "`(`",
        Rule::modifier => "a modifier",
        Rule::loss_line | Rule::let_line | Rule::discriminator_line | Rule::generator_line => "a line of the loss",
        Rule::body => "`{`",
        Rule::stmt
        | Rule::let_stmt
        | Rule::param_stmt
        | Rule::out_stmt
        | Rule::tap_stmt
        | Rule::residual_stmt
        | Rule::repeat_stmt
        | Rule::if_stmt
        | Rule::it_stmt => "a statement",
        Rule::names => "a name",
        Rule::range_head => "a range",
        Rule::layer => "a layer",
        Rule::train_body => "`{`",
        Rule::train_stmt
        | Rule::draw_stmt
        | Rule::loss_stmt
        | Rule::trick_stmt
        | Rule::player_stmt
        | Rule::every_stmt
        | Rule::expect_stmt
        | Rule::train_if
        | Rule::epochs_stmt
        | Rule::setting_stmt => "a statement of `train`",
        Rule::drawn => "a name",
        Rule::updates => "`updates`",
        Rule::player_line | Rule::minimize_line | Rule::using_line | Rule::repeat_line | Rule::batch_line => {
            "a line of the player"
        }
        Rule::action | Rule::evaluate | Rule::action_call => "an action",
        Rule::expr | Rule::operand | Rule::list | Rule::paren => "an expression",
        Rule::field => "`.`",
        Rule::index => "`[`",
        Rule::one_index => "an index",
        Rule::stage => "a layer",
        Rule::args => "`(`",
        Rule::arg => "an argument",
        Rule::word | Rule::ident => "a name",
        Rule::number => "a number",
        Rule::string => "a string",
        Rule::boolean => "true or false",
        Rule::it => "`it`",
        Rule::role => "network or role",
        Rule::setting => "a setting",
        Rule::kw_use => "`use`",
        Rule::kw_const => "`const`",
        Rule::kw_data => "`data`",
        Rule::kw_block => "`block`",
        Rule::kw_generator => "`generator`",
        Rule::kw_discriminator => "`discriminator`",
        Rule::kw_loss => "`loss`",
        Rule::kw_train => "`train`",
        Rule::kw_let => "`let`",
        Rule::kw_param => "`param`",
        Rule::kw_out => "`out`",
        Rule::kw_tap => "`tap`",
        Rule::kw_residual => "`residual`",
        Rule::kw_shortcut => "`shortcut`",
        Rule::kw_repeat => "`repeat`",
        Rule::kw_if => "`if`",
        Rule::kw_else => "`else`",
        Rule::kw_in => "`in`",
        Rule::kw_with => "`with`",
        Rule::kw_draw => "`draw`",
        Rule::kw_player => "`player`",
        Rule::kw_updates => "`updates`",
        Rule::kw_minimize => "`minimize`",
        Rule::kw_using => "`using`",
        Rule::kw_trick => "`trick`",
        Rule::kw_every => "`every`",
        Rule::kw_evaluate => "`evaluate`",
        Rule::kw_expect => "`expect`",
        Rule::kw_after => "`after`",
        Rule::kw_per => "`per`",
        Rule::w_batch => "`batch`",
        Rule::w_steps => "`steps`",
        Rule::w_epochs => "`epochs`",
        Rule::w_of => "`of`",
        Rule::w_class => "`class`",
        Rule::freshness => "`iteration` or `update`",
        Rule::lparen => "`(`",
        Rule::rparen => "`)`",
        Rule::lbracket => "`[`",
        Rule::rbracket => "`]`",
        Rule::lbrace => "`{`",
        Rule::rbrace => "`}`",
        Rule::comma => "`,`",
        Rule::colon => "`:`",
        Rule::semi => "`;`",
        Rule::tilde => "`~`",
        Rule::arrow => "`->`",
        Rule::pipe => "`|>`",
        Rule::dotdot => "`..`",
        Rule::assign => "`=`",
        Rule::dot => "`.`",
        Rule::neg => "`-`",
        Rule::infix => "an operator",
    }
}
