//! Warnings for items that nothing uses.

use super::Resolver;
use crate::diag::Diagnostic;

impl Resolver<'_> {
    /// Items of the spec itself (not of files it uses) that no other item names.
    pub(super) fn unused(&mut self) {
        // Without a train the file is a library for `use`.
        if self.model.trains.is_empty() {
            return;
        }
        let Some(&root) = self.model.files.first() else { return };
        let m = self.model;
        let all = m.consts.iter().map(|c| ("const", &c.name)).chain(m.data.iter().map(|d| ("data", &d.name)));
        let all = all.chain(m.blocks.iter().map(|b| ("block", &b.name)));
        let all = all.chain(m.networks.iter().map(|n| ("network", &n.name)));
        let all = all.chain(m.losses.iter().filter(|l| !m.is_prelude(l)).map(|l| ("loss", &l.name)));
        for (what, name) in all {
            // `--set` may have replaced the value, never the name; names of used files are a library.
            if name.span.file == root && !self.used.contains(&name.name) {
                self.warnings.push(
                    Diagnostic::warning("W0202", format!("{what} `{}` is never used", name.name))
                        .at(name.span, "defined here"),
                );
            }
        }
    }
}
