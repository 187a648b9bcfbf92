//! Lexical scopes of bodies and of `train`.

use crate::source::Span;
use crate::syntax::ast::Ident;

/// What is known of a local name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number or tensor, or something only `build` knows.
    Value,
    /// A draw.
    Draw,
    /// A train-level `let` that reads whole data sets (`flatten(test.image)`); not for players.
    Rows,
    /// A network made by a function such as `ema(G)`.
    Network(String),
    /// A network made by `joint`, which takes several batches.
    Joint(String),
    /// The result of an application of this network.
    Applied(String),
    /// What `evaluate` found.
    Evaluated,
}

/// A local name.
#[derive(Clone, Debug)]
pub(super) struct Local {
    /// The word.
    pub(super) name: String,
    /// Where it was defined.
    pub(super) span: Span,
    /// What it is.
    pub(super) kind: Kind,
    /// Whether something reads it.
    pub(super) used: bool,
}

/// Names in scope, innermost last.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    locals: Vec<Local>,
    /// Names that are defined further down, for a better message.
    pub(super) later: Vec<Ident>,
}

impl Scope {
    /// The local of this name.
    pub(super) fn find(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|l| l.name == name)
    }

    /// Marks a name as read.
    pub(super) fn mark(&mut self, name: &str) {
        if let Some(l) = self.locals.iter_mut().rev().find(|l| l.name == name) {
            l.used = true;
        }
    }

    /// Adds a name.
    pub(super) fn push(&mut self, name: &Ident, kind: Kind) {
        self.later.retain(|l| l.name != name.name);
        self.locals.push(Local { name: name.name.clone(), span: name.span, kind, used: false });
    }

    /// How many names there are, for [`Scope::leave`].
    pub(super) fn depth(&self) -> usize {
        self.locals.len()
    }

    /// Forgets the names added since `depth`.
    pub(super) fn leave(&mut self, depth: usize) {
        self.locals.truncate(depth);
    }

    /// All names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.locals.iter().map(|l| l.name.as_str())
    }

    /// All locals.
    pub(super) fn locals(&self) -> &[Local] {
        &self.locals
    }
}
