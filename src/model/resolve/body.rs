//! Bodies of networks and blocks.

use super::args::written;
use super::scope::{Kind, Scope};
use super::{Place, Resolver, did_you_mean};
use crate::diag::Diagnostic;
use crate::diag::names::suggest;
use crate::layers::{Class, table};
use crate::syntax::ast::{
    Block, Body, Else, Ident, If, Modifier, Network, RepeatHead, ResultType, Stmt, StmtKind, TypeExpr,
};
use std::collections::BTreeSet;

/// Blocks may be nested this deep.
const DEEPEST: usize = 100;

/// What following a block's blocks found.
enum Chain {
    /// Nothing wrong.
    Fine,
    /// The way back to the start.
    Closed(String),
    /// No end in sight.
    Deep,
}

impl Resolver<'_> {
    /// A network: its types, modifiers, body and results.
    pub(super) fn network_item(&mut self, n: &Network) {
        let mut scope = Scope::default();
        for i in &n.inputs {
            self.type_expr(&i.ty, &mut scope);
        }
        match &n.result {
            ResultType::Single(ty) => self.type_expr(ty, &mut scope),
            ResultType::Named(outs, _) => {
                for (k, o) in outs.iter().enumerate() {
                    self.type_expr(&o.ty, &mut scope);
                    if let Some(first) = outs[..k].iter().find(|x| x.name.name == o.name.name) {
                        self.error(
                            Diagnostic::error("E0211", format!("two results are named `{}`", o.name.name))
                                .at(o.name.span, "the second one")
                                .label(first.name.span, "the first one"),
                        );
                    }
                }
            }
        }
        self.modifiers(&n.with, &mut scope);
        for i in &n.inputs {
            self.define(&mut scope, &i.name, Kind::Value);
        }
        self.in_place(Place::Body, |r| r.body(&n.body, &mut scope));
        self.results(n);
        self.tap_names(&n.body);
    }

    /// A block: its parameters and body; it sees no names of its user.
    pub(super) fn block_item(&mut self, b: &Block) {
        let mut scope = Scope::default();
        for p in &b.params {
            if let Some(d) = &p.default {
                self.constant(d, &mut scope);
            }
        }
        for p in &b.params {
            self.define(&mut scope, &p.name, Kind::Value);
        }
        self.in_place(Place::Body, |r| r.body(&b.body, &mut scope));
        let mut outs = Vec::new();
        collect_outs(&b.body, &mut outs);
        for (name, _) in outs {
            self.error(
                Diagnostic::error("E0211", "a block has no named results")
                    .at(name.span, "`out` belongs to a network")
                    .help("the value of a block is its final `it`"),
            );
        }
        match self.block_chain(&b.name.name, &b.name.name, 0, &mut BTreeSet::new()) {
            Chain::Fine => {}
            // A circle of several blocks is one mistake.
            Chain::Closed(chain) if chain.split(" -> ").any(|b| self.circled.contains(b)) => {}
            Chain::Closed(chain) => {
                self.circled.extend(chain.split(" -> ").map(str::to_string));
                self.error(
                    Diagnostic::error("E0217", format!("block `{}` uses itself", b.name.name))
                        .at(b.name.span, chain)
                        .help("blocks are written out where they are used; `repeat` makes towers"),
                )
            }
            Chain::Deep => self.error(
                Diagnostic::error("E0217", format!("block `{}` is nested too deeply", b.name.name))
                    .at(b.name.span, format!("blocks within blocks, more than {DEEPEST} of them")),
            ),
        }
    }

    /// Follows the blocks that `at` uses, in search of `start`.
    fn block_chain(&self, at: &str, start: &str, depth: usize, seen: &mut BTreeSet<String>) -> Chain {
        if depth > DEEPEST {
            return Chain::Deep;
        }
        let Some(block) = self.model.block(at) else { return Chain::Fine };
        let mut used = Vec::new();
        blocks_of(&block.body, &mut used);
        for u in used {
            if u == start {
                return Chain::Closed(format!("{at} -> {u}"));
            }
            if seen.insert(u.clone()) {
                match self.block_chain(&u, start, depth + 1, seen) {
                    Chain::Fine => {}
                    Chain::Closed(chain) => return Chain::Closed(format!("{at} -> {chain}")),
                    Chain::Deep => return Chain::Deep,
                }
            }
        }
        Chain::Fine
    }

    /// A type: its numbers are constants.
    pub(super) fn type_expr(&mut self, ty: &TypeExpr, scope: &mut Scope) {
        match ty {
            TypeExpr::Shape(dims, _) => dims.iter().for_each(|d| self.constant(d, scope)),
            TypeExpr::Class(k, _) => self.constant(k, scope),
            TypeExpr::Named(name) => {
                if self.model.constant(&name.name).is_some() {
                    self.used.insert(name.name.clone());
                    return;
                }
                let d = match self.global(&name.name) {
                    Some((what, _)) => Diagnostic::error("E0205", format!("`{}` is {what}, not a type", name.name)),
                    None => Diagnostic::error("E0202", format!("unknown type `{}`", name.name)),
                };
                let near =
                    suggest(&name.name, self.model.consts.iter().map(|c| c.name.name.as_str())).map(str::to_string);
                let d = d.at(name.span, "a type is `[3, 32, 32]`, `class(10)` or a const that is a list");
                self.error(did_you_mean(d, name.span, near));
            }
        }
    }

    /// Modifiers after `with`.
    pub(super) fn modifiers(&mut self, with: &[Modifier], scope: &mut Scope) {
        for (i, m) in with.iter().enumerate() {
            if let Some(first) = with[..i].iter().find(|x| x.name.name == m.name.name) {
                self.error(
                    Diagnostic::error("E0206", format!("modifier `{}` is given twice", m.name.name))
                        .at(m.name.span, "the second time")
                        .label(first.name.span, "the first time"),
                );
            }
            match table::lookup(Class::Modifier, &m.name.name) {
                Some(sig) => self.bind(sig, m.name.span, written(m.args.as_ref()), scope),
                None => {
                    let near = suggest(&m.name.name, table::names(Class::Modifier)).map(str::to_string);
                    let d = Diagnostic::error("E0202", format!("there is no modifier `{}`", m.name.name)).at(
                        m.name.span,
                        format!(
                            "the modifiers are {}",
                            table::names(Class::Modifier).collect::<Vec<_>>().join(", ")
                        ),
                    );
                    self.error(did_you_mean(d, m.name.span, near));
                }
            }
        }
    }

    /// Statements with a scope of their own.
    pub(super) fn body(&mut self, body: &Body, scope: &mut Scope) {
        let depth = scope.depth();
        let before = scope.later.clone();
        for s in &body.stmts {
            match &s.kind {
                StmtKind::Let(names, _) => scope.later.extend(names.iter().cloned()),
                StmtKind::Param { name, .. } => scope.later.push(name.clone()),
                _ => {}
            }
        }
        for s in &body.stmts {
            self.stmt(s, scope);
        }
        scope.leave(depth);
        scope.later = before;
    }

    fn stmt(&mut self, s: &Stmt, scope: &mut Scope) {
        match &s.kind {
            StmtKind::Let(names, e) => {
                self.right_side(e, scope);
                let kind = if names.len() == 1 { self.kind_of(e, scope) } else { Kind::Value };
                for n in names {
                    self.define(scope, n, kind.clone());
                }
            }
            StmtKind::Param { name, ty, init, with } => {
                if self.place != Place::Body {
                    self.error(
                        Diagnostic::error("E0207", "`param` may only stand in networks and blocks")
                            .at(s.span, "parameters belong to a network"),
                    );
                }
                match ty {
                    TypeExpr::Shape(dims, _) => dims.iter().for_each(|d| self.expr(d, scope)),
                    TypeExpr::Class(k, _) => self.error(
                        Diagnostic::error("E0205", "a parameter is a tensor of reals").at(k.span, "not a class"),
                    ),
                    TypeExpr::Named(_) => self.type_expr(ty, scope),
                }
                self.initialiser(init, scope);
                self.modifiers(with, scope);
                self.define(scope, name, Kind::Value);
            }
            StmtKind::Out(name, e) => {
                self.right_side(e, scope);
                // A result may be read further down; `out score = score` names what has the name already.
                if scope.find(&name.name).is_none() && self.global(&name.name).is_none() {
                    scope.push(name, Kind::Value);
                }
            }
            StmtKind::Assign(e) => self.right_side(e, scope),
            StmtKind::Tap(_) => {}
            StmtKind::Residual(main, shortcut) => {
                self.body(main, scope);
                if let Some(s) = shortcut {
                    self.body(s, scope);
                }
            }
            StmtKind::Repeat(head, body) => {
                let depth = scope.depth();
                match head {
                    RepeatHead::Times(n) => self.expr(n, scope),
                    RepeatHead::Range(i, lo, hi) => {
                        self.expr(lo, scope);
                        self.expr(hi, scope);
                        self.define(scope, i, Kind::Value);
                    }
                }
                self.body(body, scope);
                scope.leave(depth);
            }
            StmtKind::If(i) => self.if_stmt(i, scope),
            StmtKind::Layer(call) => self.layer(call, scope),
        }
    }

    fn if_stmt(&mut self, i: &If, scope: &mut Scope) {
        self.expr(&i.cond, scope);
        self.body(&i.then, scope);
        match &i.otherwise {
            Some(Else::Body(b)) => self.body(b, scope),
            Some(Else::If(i)) => self.if_stmt(i, scope),
            None => {}
        }
    }

    /// Named results need exactly one `out` each; an unnamed result has none.
    fn results(&mut self, n: &Network) {
        let mut outs = Vec::new();
        collect_outs(&n.body, &mut outs);
        let declared: &[crate::syntax::ast::Input] = match &n.result {
            ResultType::Named(declared, _) => declared,
            ResultType::Single(ty) => {
                if let Some((out, _)) = outs.first() {
                    let mut d = Diagnostic::error("E0211", format!("`{}` has one unnamed result", n.name.name))
                        .at(out.span, "so there is nothing to name")
                        .help(format!("declare `-> ({}: …)`, or write `it = …`", out.name));
                    if let TypeExpr::Shape(_, span) = ty {
                        d = d.label(*span, "declared here");
                    }
                    self.error(d);
                }
                return;
            }
        };
        for (i, (out, branch)) in outs.iter().enumerate() {
            if !declared.iter().any(|d| d.name.name == out.name) {
                let near = suggest(&out.name, declared.iter().map(|d| d.name.name.as_str())).map(str::to_string);
                let d = Diagnostic::error("E0211", format!("`{}` has no result `{}`", n.name.name, out.name))
                    .at(out.span, "not declared");
                self.error(did_you_mean(d, out.span, near));
            }
            // Two branches of an `if` may each give the result.
            if let Some((first, _)) = outs[..i].iter().find(|(o, b)| o.name == out.name && !exclusive(b, branch)) {
                self.error(
                    Diagnostic::error("E0211", format!("result `{}` is given twice", out.name))
                        .at(out.span, "the second time")
                        .label(first.span, "the first time"),
                );
            }
        }
        for d in declared {
            if !outs.iter().any(|(o, _)| o.name == d.name.name) {
                self.error(
                    Diagnostic::error(
                        "E0211",
                        format!("result `{}` of `{}` is never given", d.name.name, n.name.name),
                    )
                    .at(d.name.span, "declared here")
                    .help(format!("write `out {} = …` in the body", d.name.name)),
                );
            }
        }
    }

    /// Names of taps of a body, those in its blocks included.
    pub(super) fn taps(&self, body: &Body) -> Vec<String> {
        let mut found: Vec<Ident> = Vec::new();
        collect_taps(body, &mut found);
        let mut used = Vec::new();
        blocks_of(body, &mut used);
        let mut names: Vec<String> = found.into_iter().map(|i| i.name).collect();
        let mut seen = BTreeSet::new();
        while let Some(u) = used.pop() {
            if let Some(block) = self.model.block(&u).filter(|_| seen.insert(u.clone())) {
                let mut found = Vec::new();
                collect_taps(&block.body, &mut found);
                names.extend(found.into_iter().map(|i| i.name));
                blocks_of(&block.body, &mut used);
            }
        }
        names
    }

    fn tap_names(&mut self, body: &Body) {
        let mut found: Vec<Ident> = Vec::new();
        collect_taps(body, &mut found);
        for (i, t) in found.iter().enumerate() {
            if let Some(first) = found[..i].iter().find(|f| f.name == t.name) {
                self.error(
                    Diagnostic::error("E0203", format!("two taps are named `{}`", t.name))
                        .at(t.span, "the second one")
                        .label(first.span, "the first one"),
                );
            }
        }
    }
}

/// `if`s around a statement: number of the `if` in the text and which branch.
type Branches = Vec<(u32, usize)>;

fn exclusive(a: &Branches, b: &Branches) -> bool {
    a.iter().any(|(i, x)| b.iter().any(|(j, y)| i == j && x != y))
}

fn collect_outs(body: &Body, out: &mut Vec<(Ident, Branches)>) {
    fn go(body: &Body, path: &mut Branches, out: &mut Vec<(Ident, Branches)>) {
        for s in &body.stmts {
            match &s.kind {
                StmtKind::Out(name, _) => out.push((name.clone(), path.clone())),
                StmtKind::Residual(a, b) => {
                    go(a, path, out);
                    if let Some(b) = b {
                        go(b, path, out);
                    }
                }
                StmtKind::Repeat(_, b) => go(b, path, out),
                StmtKind::If(i) => branch(i, s.span.start, 0, path, out),
                _ => {}
            }
        }
    }
    fn branch(i: &If, id: u32, k: usize, path: &mut Branches, out: &mut Vec<(Ident, Branches)>) {
        path.push((id, k));
        go(&i.then, path, out);
        path.pop();
        match &i.otherwise {
            Some(Else::Body(b)) => {
                path.push((id, k + 1));
                go(b, path, out);
                path.pop();
            }
            Some(Else::If(i)) => branch(i, id, k + 1, path, out),
            None => {}
        }
    }
    go(body, &mut Vec::new(), out);
}

fn collect_taps(body: &Body, out: &mut Vec<Ident>) {
    each_stmt(body, &mut |s| {
        if let StmtKind::Tap(name) = &s.kind {
            out.push(name.clone());
        }
    });
}

/// Words of layer statements and pipe stages, among them the blocks.
fn blocks_of(body: &Body, out: &mut Vec<String>) {
    use crate::syntax::ast::{ExprKind, PipeStage};
    each_stmt(body, &mut |s| match &s.kind {
        StmtKind::Layer(call) => out.push(call.name.name.clone()),
        StmtKind::Let(_, e) | StmtKind::Out(_, e) | StmtKind::Assign(e) => {
            super::super::walk::expr(e, &mut |e| {
                match &e.kind {
                    ExprKind::Pipe(_, PipeStage::Layer(call)) => out.push(call.name.name.clone()),
                    ExprKind::Pipe(_, PipeStage::Body(b)) => blocks_of(b, out),
                    ExprKind::Call(f, _) => {
                        if let ExprKind::Name(n) = &f.kind {
                            out.push(n.clone());
                        }
                    }
                    _ => {}
                }
                true
            });
        }
        _ => {}
    });
}

fn each_stmt(body: &Body, f: &mut dyn FnMut(&Stmt)) {
    fn in_if(i: &If, f: &mut dyn FnMut(&Stmt)) {
        each_stmt(&i.then, f);
        match &i.otherwise {
            Some(Else::Body(b)) => each_stmt(b, f),
            Some(Else::If(i)) => in_if(i, f),
            None => {}
        }
    }
    for s in &body.stmts {
        f(s);
        match &s.kind {
            StmtKind::Residual(a, b) => {
                each_stmt(a, f);
                if let Some(b) = b {
                    each_stmt(b, f);
                }
            }
            StmtKind::Repeat(_, b) => each_stmt(b, f),
            StmtKind::If(i) => in_if(i, f),
            _ => {}
        }
    }
}
