//! The resolved program: every item of a spec and of the files it uses, in one table.
//!
//! [`load`](fn@load) reads and merges files and checks names (`resolve`); [`crate::tricks::expand`] rewrites a model
//! into one whose `train`s hold only the core (draws, lets, players with objectives, actions, expectations, settings).
//! Always holds for a loaded model: names are unique, every name used is defined, arguments fit the signatures of what
//! they are given to. Shapes, compile-time values and types of expressions are checked by `build`.

pub mod consts;
mod load;
mod resolve;
pub mod walk;

pub use load::{Options, PRELUDE, load};

use crate::diag::Diagnostics;
use crate::source::{FileId, Span};
use crate::syntax::ast::{
    Block, Body, Expr, ExprKind, File, Ident, Item, ItemKind, LayerCall, Loss, Network, PipeStage, StmtKind, Train,
};
use std::ops::{Deref, DerefMut};

/// An item with its documentation and place in the whole text; reads like the item itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<T> {
    /// The item.
    pub item: T,
    /// Its `///` lines.
    pub doc: Option<String>,
    /// From its first to its last token; `span.file` is the file that relative paths in it start from.
    pub span: Span,
    /// Position among all items, files in the order of their `use`.
    pub order: usize,
}

impl<T> Deref for Entry<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.item
    }
}

impl<T> DerefMut for Entry<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.item
    }
}

/// `const name = value` or `data name = value`.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// Its name.
    pub name: Ident,
    /// Its value.
    pub value: Expr,
}

/// A whole program. Vectors are in textual order.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Files that it came from, the one named by the user first; the prelude is not among them.
    pub files: Vec<FileId>,
    /// Constants, `--set` applied.
    pub consts: Vec<Entry<Named>>,
    /// Data sets.
    pub data: Vec<Entry<Named>>,
    /// Blocks.
    pub blocks: Vec<Entry<Block>>,
    /// Networks.
    pub networks: Vec<Entry<Network>>,
    /// Losses of the user, then those of the prelude. Empty in an expanded model.
    pub losses: Vec<Entry<Loss>>,
    /// The `train`s to run (`--only` applied); those of used files are not run.
    pub trains: Vec<Entry<Train>>,
    /// File of the prelude's losses.
    pub prelude: FileId,
    /// Warnings found so far.
    pub warnings: Diagnostics,
}

/// Functions from networks to networks: an application of `f(D)` is one of D.
pub const NETWORK_FUNCTIONS: [&str; 7] = ["eval", "fresh", "stop", "ema", "past", "unroll", "joint"];

/// A loss that is another loss and a trick.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// Its name.
    pub name: &'static str,
    /// The loss.
    pub loss: &'static str,
    /// The trick, which takes the options.
    pub trick: &'static str,
    /// Its options.
    pub options: &'static [&'static str],
}

/// Losses that come with a trick.
pub const PAIRS: [Pair; 2] = [
    Pair {
        name: "wasserstein_gp",
        loss: "wasserstein",
        trick: "gradient_penalty",
        options: &["lambda", "every", "one_sided"],
    },
    Pair { name: "r1", loss: "non_saturating", trick: "r1", options: &["gamma", "every"] },
];

impl Model {
    /// The network that a callee stands for: `D`, or `eval(D)` and its like.
    pub fn network_of(&self, callee: &Expr) -> Option<&Network> {
        match &callee.kind {
            ExprKind::Name(n) => self.network(n).map(|n| &n.item),
            ExprKind::Paren(inner) => self.network_of(inner),
            ExprKind::Call(f, args) => match &f.kind {
                ExprKind::Name(f) if NETWORK_FUNCTIONS.contains(&f.as_str()) => {
                    self.network_of(&args.args.first()?.value)
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether a callee takes several batches: `joint(D)`, or a function of it.
    pub fn is_joint(callee: &Expr) -> bool {
        match &callee.kind {
            ExprKind::Paren(inner) => Self::is_joint(inner),
            ExprKind::Call(f, args) => match &f.kind {
                ExprKind::Name(f) if f == "joint" => true,
                ExprKind::Name(f) if NETWORK_FUNCTIONS.contains(&f.as_str()) => {
                    args.args.first().is_some_and(|a| Self::is_joint(&a.value))
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// A constant by name.
    pub fn constant(&self, name: &str) -> Option<&Entry<Named>> {
        self.consts.iter().find(|c| c.name.name == name)
    }

    /// A data set by name.
    pub fn data_set(&self, name: &str) -> Option<&Entry<Named>> {
        self.data.iter().find(|d| d.name.name == name)
    }

    /// A block by name.
    pub fn block(&self, name: &str) -> Option<&Entry<Block>> {
        self.blocks.iter().find(|b| b.name.name == name)
    }

    /// A network by name.
    pub fn network(&self, name: &str) -> Option<&Entry<Network>> {
        self.networks.iter().find(|n| n.name.name == name)
    }

    /// The last layer that a body applies, through blocks.
    pub fn last_layer<'a>(&'a self, body: &'a Body) -> Option<&'a LayerCall> {
        match &body.stmts.last()?.kind {
            StmtKind::Layer(call) => match self.block(&call.name.name) {
                Some(block) => self.last_layer(&block.body),
                None => Some(call),
            },
            StmtKind::Assign(Expr { kind: ExprKind::Pipe(_, PipeStage::Layer(call)), .. }) => Some(call),
            _ => None,
        }
    }

    /// A loss by name; the user's hides the prelude's.
    pub fn loss(&self, name: &str) -> Option<&Entry<Loss>> {
        self.losses.iter().find(|l| l.name.name == name)
    }

    /// Whether a loss is the prelude's.
    pub fn is_prelude(&self, loss: &Entry<Loss>) -> bool {
        loss.span.file == self.prelude
    }

    /// The model as one printable file: items in order, without comments and without the prelude.
    pub fn to_file(&self) -> File {
        let mut items: Vec<(usize, Item)> = Vec::new();
        let mut add = |order: usize, doc: &Option<String>, span: Span, kind: ItemKind| {
            items.push((order, Item { doc: doc.clone(), kind, span }));
        };
        for e in &self.consts {
            let kind = ItemKind::Const { name: e.name.clone(), value: e.value.clone() };
            add(e.order, &e.doc, e.span, kind);
        }
        for e in &self.data {
            let kind = ItemKind::Data { name: e.name.clone(), value: e.value.clone() };
            add(e.order, &e.doc, e.span, kind);
        }
        for e in &self.blocks {
            add(e.order, &e.doc, e.span, ItemKind::Block(e.item.clone()));
        }
        for e in &self.networks {
            add(e.order, &e.doc, e.span, ItemKind::Network(e.item.clone()));
        }
        for e in self.losses.iter().filter(|l| !self.is_prelude(l)) {
            add(e.order, &e.doc, e.span, ItemKind::Loss(e.item.clone()));
        }
        for e in &self.trains {
            add(e.order, &e.doc, e.span, ItemKind::Train(e.item.clone()));
        }
        items.sort_by_key(|(order, _)| *order);
        File { items: items.into_iter().map(|(_, item)| item).collect(), comments: Vec::new() }
    }
}
