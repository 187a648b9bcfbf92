//! Pairs of the grammar to nodes of the tree.

use super::rules::{Kids, only};
use super::{Build, P, Res, Rule};
use crate::source::Span;
use crate::syntax::ast::*;
use crate::syntax::slips;

impl<'t> Build<'t> {
    // ------------------------------------------------------------------------------------------------------ items

    pub(super) fn item(&mut self, p: P<'t>) -> Res<Item> {
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
