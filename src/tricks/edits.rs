//! Networks and blocks that tricks have rewritten. They belong to the whole spec, so the edits outlive one `train`.

use super::work::TrickUse;
use crate::diag::Diagnostic;
use crate::model::{Entry, Model};
use crate::source::Span;
use crate::syntax::ast::{Block, Network};
use std::collections::BTreeMap;

/// The edits so far.
#[derive(Debug, Default)]
pub struct Edits {
    networks: BTreeMap<String, Network>,
    blocks: BTreeMap<String, Block>,
    /// What was done: (network, trick) to the argument in words, and where.
    done: BTreeMap<(String, &'static str), (String, Span)>,
}

impl Edits {
    /// A network as it is after the edits so far.
    pub fn current(&self, model: &Model, name: &str) -> Option<Network> {
        self.networks.get(name).cloned().or_else(|| model.network(name).map(|n| n.item.clone()))
    }

    /// Whether a trick has rewritten a network already, in this `train` or an earlier one, with this argument.
    ///
    /// # Errors
    /// E0440 if it has with another argument.
    pub fn known(&self, name: &str, trick: &'static str, how: &str, t: &TrickUse) -> Result<bool, Diagnostic> {
        match self.done.get(&(name.to_string(), trick)) {
            None => Ok(false),
            Some((before, _)) if before == how => Ok(true),
            Some((_, first)) => Err(Diagnostic::error("E0440", format!("two trains rewrite `{name}` differently"))
                .at(t.span, "the second one")
                .label(*first, "the first one")
                .help("a network is the same in all trains of a spec")),
        }
    }

    /// Puts a rewritten network in place of the old one.
    ///
    /// # Errors
    /// E0440 if an earlier `train` has the same trick with another argument; with the same one nothing is done twice.
    pub fn network(
        &mut self,
        new: Network,
        trick: &'static str,
        how: &str,
        t: &TrickUse,
    ) -> Result<(), Diagnostic> {
        let name = new.name.name.clone();
        if !self.known(&name, trick, how, t)? {
            self.done.insert((name.clone(), trick), (how.to_string(), t.span));
            self.networks.insert(name, new);
        }
        Ok(())
    }

    /// A new block, or another body for one.
    pub fn block(&mut self, new: Block) {
        self.blocks.insert(new.name.name.clone(), new);
    }

    /// Writes the edits into a model.
    pub fn apply(self, model: &mut Model) {
        for n in &mut model.networks {
            if let Some(new) = self.networks.get(&n.name.name) {
                n.item = new.clone();
            }
        }
        for (name, new) in self.blocks {
            match model.blocks.iter_mut().find(|b| b.name.name == name) {
                Some(old) => old.item = new,
                None => {
                    let span = new.name.span;
                    model.blocks.push(Entry { item: new, doc: None, span, order: usize::MAX });
                }
            }
        }
    }
}
