//! Items other than `train`.

use super::scope::{Kind, Scope};
use super::{Place, Resolver};
use crate::diag::Diagnostic;
use crate::layers::{Class, table};
use crate::syntax::ast::{ExprKind, Loss, LossLine};

impl Resolver<'_> {
    /// All items of the file's table.
    pub(super) fn items(&mut self) {
        let model = self.model;
        for c in &model.consts {
            // Values were checked by evaluating them; here only what they name counts as used.
            super::super::walk::expr(&c.value, &mut |e| {
                if let ExprKind::Name(n) = &e.kind {
                    self.used.insert(n.clone());
                }
                true
            });
        }
        for d in &model.data {
            self.data_item(&d.name.name, d.name.span, &d.value);
        }
        for b in &model.blocks {
            self.block_item(b);
            let Some(sig) = table::lookup_call(&b.name.name) else { continue };
            let note = format!("the built-in is `{}`: {}", sig.usage(), sig.doc);
            if sig.class == Class::Layer {
                self.warnings.push(
                    Diagnostic::warning("W0201", format!("block `{}` hides a built-in layer", b.name.name))
                        .at(b.name.span, "this name will mean the block")
                        .note(note),
                );
            } else {
                self.error(
                    Diagnostic::error("E0201", format!("`{}` is a built-in function", b.name.name))
                        .at(b.name.span, "a block may hide a layer, but no function: losses and tricks use them")
                        .note(note)
                        .help("take another name"),
                );
            }
        }
        for n in &model.networks {
            self.network_item(n);
        }
        for l in model.losses.iter().filter(|l| !model.is_prelude(l)) {
            self.loss_item(l);
            if super::super::PRELUDE.contains(&format!("loss {}(", l.name.name)) {
                self.warnings.push(
                    Diagnostic::warning("W0201", format!("loss `{}` hides a built-in one", l.name.name))
                        .at(l.name.span, "this name will mean your loss"),
                );
            }
        }
    }

    fn loss_item(&mut self, l: &Loss) {
        let mut scope = Scope::default();
        if l.params.len() < 2 {
            self.error(
                Diagnostic::error("E0430", format!("loss `{}` has no parameters for both scores", l.name.name))
                    .at(l.name.span, "the first two are the scores of real and of fake samples")
                    .help(format!("write `loss {}(real, fake) {{ … }}`", l.name.name)),
            );
        }
        for (i, p) in l.params.iter().enumerate() {
            if let Some(d) = &p.default {
                if i < 2 {
                    self.error(
                        Diagnostic::error("E0430", "scores have no default")
                            .at(p.name.span, "the first two parameters are the scores"),
                    );
                }
                self.constant(d, &mut scope);
            }
            self.define(&mut scope, &p.name, Kind::Value);
        }
        let (mut d, mut g) = (None, None);
        for line in &l.lines {
            match line {
                LossLine::Let(name, e) => {
                    self.in_place(Place::Loss, |r| r.right_side(e, &mut scope));
                    self.define(&mut scope, name, Kind::Value);
                }
                LossLine::Discriminator(e, span) | LossLine::Generator(e, span) => {
                    self.in_place(Place::Loss, |r| r.right_side(e, &mut scope));
                    let (seen, what) = match line {
                        LossLine::Discriminator(..) => (&mut d, "discriminator"),
                        _ => (&mut g, "generator"),
                    };
                    let first = seen.replace(*span);
                    if let Some(first) = first {
                        self.error(
                            Diagnostic::error("E0430", format!("loss `{}` has two `{what}` parts", l.name.name))
                                .at(*span, "the second one")
                                .label(first, "the first one")
                                .help("write their sum"),
                        );
                    }
                }
            }
        }
        for (seen, what) in [(d, "discriminator"), (g, "generator")] {
            if seen.is_none() {
                self.error(
                    Diagnostic::error("E0430", format!("loss `{}` has no `{what}` part", l.name.name))
                        .at(l.name.span, format!("a line `{what} …` is missing")),
                );
            }
        }
    }
}
