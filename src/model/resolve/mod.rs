//! Names and rules over the whole program (LANGUAGE.md sections 3, 5 and 6).
//!
//! [`check`] reports all errors of the stage together. It looks at every item, also those that nothing uses, and at
//! both branches of every `if`. Values and shapes are left to `build`.

mod args;
mod body;
mod data;
mod expr;
mod items;
mod scope;
mod train;
mod unused;

use super::Model;
use super::consts::Consts;
use crate::diag::names::suggest;
use crate::diag::{Diagnostic, Diagnostics};
use crate::layers::{Class, table};
use crate::source::Span;
use scope::{Kind, Scope};
use std::collections::BTreeSet;

/// Where an expression stands; decides what may be named in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In a network or block: `it`, layers, parameters.
    Body,
    /// In a `loss` item: functions only.
    Loss,
    /// A train-level `let`: rows of data as in actions, if no player reads it.
    TrainLet,
    /// In a player, or an argument of a `loss` or `trick` line.
    Player,
    /// In an action: metrics and rows of data.
    Action,
    /// A condition of `expect`.
    Expect,
    /// A setting, a type, a default: constants only.
    Constant,
}

/// State of the check.
struct Resolver<'m> {
    model: &'m Model,
    consts: Consts,
    errors: Diagnostics,
    warnings: Diagnostics,
    /// Items that something names.
    used: BTreeSet<String>,
    /// Blocks of circles that were reported.
    circled: BTreeSet<String>,
    place: Place,
    /// What may be put in front of the expression being checked, for patches: the place where a right side starts.
    whole: Option<Span>,
}

/// Checks a merged model; gives it back with warnings.
///
/// # Errors
/// All errors of names (E02xx) and of the training program (E04xx).
pub fn check(mut model: Model) -> Result<Model, Diagnostics> {
    let (consts, mut errors) = match Consts::new(&model) {
        Ok(c) => (c, Diagnostics::default()),
        Err(e) => (Consts::default(), e),
    };
    let (found, warnings) = {
        let mut r = Resolver {
            model: &model,
            consts,
            errors: Diagnostics::default(),
            warnings: Diagnostics::default(),
            used: BTreeSet::new(),
            circled: BTreeSet::new(),
            place: Place::Constant,
            whole: None,
        };
        r.items();
        for t in &model.trains {
            r.train(&t.item, t.span);
        }
        r.unused();
        (r.errors, r.warnings)
    };
    errors.extend(found);
    if errors.has_errors() {
        return Err(errors);
    }
    model.warnings.extend(warnings);
    Ok(model)
}

impl Resolver<'_> {
    fn error(&mut self, d: Diagnostic) {
        self.errors.push(d);
    }

    /// Runs `f` with another place for expressions.
    fn in_place<T>(&mut self, place: Place, f: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.place, place);
        let out = f(self);
        self.place = before;
        out
    }

    /// What a global name is, in words with an article.
    fn global(&self, name: &str) -> Option<(&'static str, Span)> {
        let m = self.model;
        let user = |what: &'static str, span: Span| Some((what, span));
        if let Some(c) = m.constant(name) {
            return user("a const", c.name.span);
        }
        if let Some(d) = m.data_set(name) {
            return user("a data set", d.name.span);
        }
        if let Some(b) = m.block(name) {
            return user("a block", b.name.span);
        }
        if let Some(n) = m.network(name) {
            return user("a network", n.name.span);
        }
        m.loss(name).filter(|l| !m.is_prelude(l)).and_then(|l| user("a loss", l.name.span))
    }

    /// "did you mean": the nearest of the names in scope and of these classes.
    fn near(&self, name: &str, scope: &Scope, classes: &[Class]) -> Option<String> {
        let mut all: Vec<&str> = scope.names().collect();
        all.extend(self.model.consts.iter().map(|c| c.name.name.as_str()));
        if classes.contains(&Class::Function) {
            all.extend(self.model.networks.iter().map(|n| n.name.name.as_str()));
        }
        if classes.contains(&Class::Layer) {
            all.extend(self.model.blocks.iter().map(|b| b.name.name.as_str()));
        }
        for c in classes {
            all.extend(built_in(*c));
        }
        suggest(name, all).map(str::to_string)
    }

    /// Adds a local name; it may not hide another.
    fn define(&mut self, scope: &mut Scope, name: &crate::syntax::ast::Ident, kind: Kind) {
        // The prelude cannot know the user's names; its lets are renamed where they are spelled out.
        let global = || if name.span.file == self.model.prelude { None } else { self.global(&name.name) };
        let other = scope.find(&name.name).map(|l| ("a name", l.span)).or_else(global);
        if let Some((what, span)) = other {
            self.error(
                Diagnostic::error("E0203", format!("`{}` would hide another name", name.name))
                    .at(name.span, "defined again here")
                    .label(span, format!("{what} of that name is in scope"))
                    .help("take another name: nothing is shadowed"),
            );
            return;
        }
        scope.push(name, kind);
    }
}

/// Names of the built-ins of a class.
fn built_in<'a>(class: Class) -> impl Iterator<Item = &'a str> {
    table::all(class).iter().map(|s| s.name)
}

/// Adds "did you mean" and, where the word can be replaced safely, the patch.
fn did_you_mean(d: Diagnostic, span: Span, near: Option<String>) -> Diagnostic {
    match near {
        Some(n) => d.help(format!("did you mean `{n}`?")).patch(span, n),
        None => d,
    }
}
