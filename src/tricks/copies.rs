//! Drawing once more: an expression with every draw in it replaced by an independent one, for tricks that take several
//! samples (`pack`) or several minibatches (`accumulate`) where a spec says one.

use super::make;
use super::work::Work;
use crate::model::walk;
use crate::syntax::ast::{
    Expr, ExprKind, Ident, Per, PlayerLine, PlayerLineKind, TrainStmt, TrainStmtKind, TypeExpr,
};
use std::collections::BTreeMap;

/// Functions whose every place in the text is noise of its own.
const NOISE: [&str; 8] =
    ["normal", "uniform", "gumbel", "bernoulli", "sample_normal", "color_jitter", "translate", "cutout"];

/// Copies of draws and of the lets that need them, of one `train`.
pub struct Copies<'w, 'm> {
    /// The train.
    pub work: &'w mut Work<'m>,
    /// Whether draws `per iteration` are drawn again too.
    all: bool,
    /// Statements as they were.
    stmts: Vec<TrainStmt>,
    /// Lets of the player at hand, with their lines' numbers.
    lets: Vec<(usize, Vec<Ident>, Expr)>,
    /// Names in copy k; `None`: the same in every copy.
    made: BTreeMap<(String, usize), Option<String>>,
    local: BTreeMap<(String, usize), Option<String>>,
    added: Vec<(usize, TrainStmt)>,
    lines: Vec<(usize, PlayerLine)>,
}

impl<'w, 'm> Copies<'w, 'm> {
    /// Nothing is copied yet.
    pub fn new(work: &'w mut Work<'m>, all: bool) -> Self {
        let stmts = work.stmts.clone();
        Self {
            work,
            all,
            stmts,
            lets: Vec::new(),
            made: BTreeMap::new(),
            local: BTreeMap::new(),
            added: Vec::new(),
            lines: Vec::new(),
        }
    }

    /// Goes into a player, whose lets are copied too.
    pub fn enter(&mut self, lines: &[PlayerLine]) {
        self.local.clear();
        self.lets = lines
            .iter()
            .enumerate()
            .filter_map(|(i, l)| match &l.kind {
                PlayerLineKind::Let(names, e) => Some((i, names.clone(), e.clone())),
                _ => None,
            })
            .collect();
    }

    /// Leaves the player: its lines with the copied lets behind the originals.
    pub fn leave(&mut self, lines: Vec<PlayerLine>) -> Vec<PlayerLine> {
        self.lets.clear();
        let mut added = std::mem::take(&mut self.lines);
        let mut out = Vec::new();
        for (i, l) in lines.into_iter().enumerate() {
            out.push(l);
            let (here, rest): (Vec<_>, Vec<_>) = added.into_iter().partition(|(at, _)| *at == i);
            out.extend(here.into_iter().map(|(_, l)| l));
            added = rest;
        }
        out
    }

    /// The expression with everything in it drawn a `k`-th time; `None` if nothing in it is drawn.
    pub fn copy(&mut self, e: &Expr, k: usize) -> Option<Expr> {
        let mut drawn = false;
        let mut map = BTreeMap::new();
        for n in walk::names(e) {
            drawn |= NOISE.contains(&n.as_str());
            if let Some(copy) = self.name(&n, k) {
                drawn = true;
                map.insert(n, make::name(&copy, e.span));
            }
        }
        if !drawn {
            return None;
        }
        let mut e = e.clone();
        walk::substitute(&mut e, &map);
        Some(e)
    }

    fn name(&mut self, n: &str, k: usize) -> Option<String> {
        let key = (n.to_string(), k);
        if let Some(known) = self.local.get(&key).or_else(|| self.made.get(&key)) {
            return known.clone();
        }
        if let Some((at, names, e)) =
            self.lets.iter().find(|(_, names, _)| names.iter().any(|x| x.name == n)).cloned()
        {
            let value = self.copy(&e, k);
            let named = self.names(&names, k, value.is_some());
            self.local.extend(names.iter().zip(&named).map(|(x, y)| ((x.name.clone(), k), y.clone())));
            if let Some(e) = value {
                let span = e.span;
                let idents = idents(&named, &names);
                self.lines.push((at, PlayerLine { kind: PlayerLineKind::Let(idents, e), span }));
            }
            return self.local.get(&key).cloned().flatten();
        }
        for (at, s) in self.stmts.clone().into_iter().enumerate() {
            match &s.kind {
                TrainStmtKind::Draw { names, from, per } if names.iter().any(|x| x.0.name == n) => {
                    let again = self.all || per.unwrap_or(Per::Update) == Per::Update;
                    let plain: Vec<Ident> = names.iter().map(|x| x.0.clone()).collect();
                    let named = self.names(&plain, k, again);
                    self.made.extend(plain.iter().zip(&named).map(|(x, y)| ((x.name.clone(), k), y.clone())));
                    if again {
                        let types: Vec<Option<TypeExpr>> = names.iter().map(|x| x.1.clone()).collect();
                        let names = idents(&named, &plain).into_iter().zip(types).collect();
                        let kind = TrainStmtKind::Draw { names, from: from.clone(), per: *per };
                        self.added.push((at, TrainStmt { doc: None, kind, span: s.span }));
                    }
                    return self.made.get(&key).cloned().flatten();
                }
                TrainStmtKind::Let(names, e) if names.iter().any(|x| x.name == n) => {
                    let value = self.copy(e, k);
                    let named = self.names(names, k, value.is_some());
                    self.made.extend(names.iter().zip(&named).map(|(x, y)| ((x.name.clone(), k), y.clone())));
                    if let Some(e) = value {
                        let kind = TrainStmtKind::Let(idents(&named, names), e);
                        self.added.push((at, TrainStmt { doc: None, kind, span: s.span }));
                    }
                    return self.made.get(&key).cloned().flatten();
                }
                _ => {}
            }
        }
        None
    }

    /// Fresh names for a copy, if there is one.
    fn names(&mut self, names: &[Ident], k: usize, copied: bool) -> Vec<Option<String>> {
        names.iter().map(|n| copied.then(|| self.work.fresh(&format!("{}_{k}", n.name)))).collect()
    }

    /// Puts copied draws and lets behind their originals.
    pub fn finish(self) {
        let mut added = self.added;
        // Stable: copies of one statement stay in the order in which they were made.
        added.sort_by_key(|a| a.0);
        for (at, s) in added.into_iter().rev() {
            self.work.stmts.insert(at + 1, s);
        }
    }
}

fn idents(named: &[Option<String>], old: &[Ident]) -> Vec<Ident> {
    named.iter().zip(old).map(|(n, o)| make::ident(n.as_deref().unwrap_or(&o.name), o.span)).collect()
}

/// Whether an expression reads rows of a data set, itself or through lets.
pub fn reads_rows(work: &Work<'_>, e: &Expr) -> bool {
    let mut found = false;
    walk::expr(e, &mut |e| {
        match &e.kind {
            ExprKind::Field(base, _) => {
                found |= matches!(&base.kind, ExprKind::Name(n) if work.model.data_set(n).is_some());
            }
            ExprKind::Name(n) => found |= work.definition(n).is_some_and(|e| reads_rows(work, e)),
            _ => {}
        }
        true
    });
    found
}
