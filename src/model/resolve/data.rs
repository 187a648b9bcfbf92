//! `data` items: a source or another data item, then transforms.

use super::args::written;
use super::scope::Scope;
use super::{Resolver, did_you_mean};
use crate::diag::Diagnostic;
use crate::diag::names::suggest;
use crate::layers::{Class, table};
use crate::source::Span;
use crate::syntax::ast::{Expr, ExprKind, PipeStage};
use std::collections::BTreeSet;

impl Resolver<'_> {
    pub(super) fn data_item(&mut self, name: &str, span: Span, value: &Expr) {
        let mut scope = Scope::default();
        self.pipeline(value, &mut scope);
        // A set made from itself has no source.
        let mut seen = BTreeSet::new();
        let mut at = name.to_string();
        while let Some(next) = self.model.data_set(&at).and_then(|d| base_name(&d.value)) {
            if next == name {
                self.error(
                    Diagnostic::error("E0217", format!("data set `{name}` is made from itself"))
                        .at(span, "it has no source"),
                );
                return;
            }
            if !seen.insert(next.clone()) {
                return;
            }
            at = next;
        }
    }

    fn pipeline(&mut self, e: &Expr, scope: &mut Scope) {
        match &e.kind {
            ExprKind::Pipe(left, stage) => {
                self.pipeline(left, scope);
                match stage {
                    PipeStage::Layer(call) => match table::lookup(Class::Transform, &call.name.name) {
                        Some(sig) if call.with.is_empty() => {
                            self.bind(sig, call.name.span, written(call.args.as_ref()), scope);
                        }
                        Some(_) => self.error(
                            Diagnostic::error("E0205", "a transform takes no modifiers")
                                .at(call.name.span, "not here"),
                        ),
                        None => {
                            let near = suggest(&call.name.name, table::names(Class::Transform)).map(str::to_string);
                            let d =
                                Diagnostic::error("E0202", format!("there is no transform `{}`", call.name.name))
                                    .at(
                                        call.name.span,
                                        format!(
                                            "the transforms are {}",
                                            table::names(Class::Transform).collect::<Vec<_>>().join(", ")
                                        ),
                                    );
                            self.error(did_you_mean(d, call.name.span, near));
                        }
                    },
                    PipeStage::Body(b) => self.error(
                        Diagnostic::error("E0205", "data goes through transforms only")
                            .at(b.span, "not a transform"),
                    ),
                }
            }
            ExprKind::Paren(inner) => self.pipeline(inner, scope),
            ExprKind::Name(n) if self.model.data_set(n).is_some() => {
                self.used.insert(n.clone());
            }
            ExprKind::Name(n) => self.source(n, e.span, &[], scope),
            ExprKind::Call(f, args) => match &f.kind {
                ExprKind::Name(n) => self.source(n, f.span, &args.args, scope),
                _ => self.not_a_source(e.span),
            },
            _ => self.not_a_source(e.span),
        }
    }

    fn source(&mut self, n: &str, span: Span, args: &[crate::syntax::ast::Arg], scope: &mut Scope) {
        if let Some(sig) = table::lookup(Class::Source, n) {
            return self.bind(sig, span, args, scope);
        }
        let sets = self.model.data.iter().map(|d| d.name.name.as_str());
        let near = suggest(n, super::built_in(Class::Source).chain(sets)).map(str::to_string);
        let d = Diagnostic::error("E0202", format!("there is no source or data set `{n}`"))
            .at(span, format!("the sources are {}", table::names(Class::Source).collect::<Vec<_>>().join(", ")));
        self.error(did_you_mean(d, span, near));
    }

    fn not_a_source(&mut self, span: Span) {
        self.error(
            Diagnostic::error("E0205", "a data item starts with a source or another data set")
                .at(span, "such as `images(\"faces.zip\")`"),
        );
    }

    /// An argument of a source that may be a nested source, a list, or a constant.
    pub(super) fn source_value(&mut self, e: &Expr, scope: &mut Scope) {
        match &e.kind {
            ExprKind::Call(f, args) => match &f.kind {
                ExprKind::Name(n) if table::lookup(Class::Source, n).is_some() => {
                    self.source(n, f.span, &args.args, scope);
                }
                _ => self.constant(e, scope),
            },
            ExprKind::List(items) => items.iter().for_each(|i| self.source_value(i, scope)),
            _ => self.constant(e, scope),
        }
    }
}

/// The data set that a data item starts from.
pub(super) fn base_name(e: &Expr) -> Option<String> {
    match &e.kind {
        ExprKind::Pipe(left, _) => base_name(left),
        ExprKind::Paren(inner) => base_name(inner),
        ExprKind::Name(n) => Some(n.clone()),
        _ => None,
    }
}
