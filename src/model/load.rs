//! Reading files, following `use`, overriding constants.

use super::{Entry, Model, Named};
use crate::diag::names::suggest as nearest;
use crate::diag::{Diagnostic, Diagnostics};
use crate::source::{FileId, SourceMap, Span};
use crate::syntax;
use crate::syntax::ast::{Ident, Item, ItemKind, Setting, TrainStmt, TrainStmtKind};
use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

/// The prelude's losses as text.
pub const PRELUDE: &str = include_str!("../prelude/losses.gan");

/// What the command line adds to a spec.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--set name=value`: new values of constants, as text.
    pub set: Vec<(String, String)>,
    /// `--only NAME`: the one `train` to run.
    pub only: Option<String>,
    /// `--precision WORD`: the setting of that name of every `train`.
    pub precision: Option<String>,
}

/// Most items of one file.
const MOST_ITEMS: usize = 4096;

struct Loader<'a> {
    sources: &'a mut SourceMap,
    reader: &'a dyn Fn(&Path) -> io::Result<String>,
    model: Model,
    /// Files seen, by cleaned path.
    seen: BTreeMap<PathBuf, FileId>,
    /// Files being read, outermost first.
    open: Vec<PathBuf>,
    /// Where each name was defined.
    defined: BTreeMap<String, (Ident, &'static str)>,
    order: usize,
    errors: Diagnostics,
}

/// Reads a spec and all files it uses, applies the options, and checks names and the rules of the whole program.
///
/// # Errors
/// All syntax errors of all files, or else all errors of names (E02xx) and of the training program (E04xx).
pub fn load(
    path: &Path,
    sources: &mut SourceMap,
    reader: &dyn Fn(&Path) -> io::Result<String>,
    options: &Options,
) -> Result<Model, Diagnostics> {
    let mut loader = Loader {
        sources,
        reader,
        model: Model::default(),
        seen: BTreeMap::new(),
        open: Vec::new(),
        defined: BTreeMap::new(),
        order: 0,
        errors: Diagnostics::default(),
    };
    loader.file(path, None);
    loader.prelude();
    // The consts of a file that does not parse are not known.
    if !loader.errors.has_errors() {
        loader.set(&options.set);
    }
    loader.only(options.only.as_deref());
    loader.precision(options.precision.as_deref());
    let Loader { model, errors, .. } = loader;
    if errors.has_errors() {
        return Err(errors);
    }
    super::resolve::check(model)
}

/// Removes `.` and inner `..` without asking the file system.
fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

impl Loader<'_> {
    /// Reads one file; `from` is the `use` that names it.
    fn file(&mut self, path: &Path, from: Option<Span>) {
        let path = match clean(path) {
            // `.` itself, which the reader refuses by its name.
            p if p.as_os_str().is_empty() => path.to_path_buf(),
            p => p,
        };
        if self.open.contains(&path) {
            let chain: Vec<String> = self.open.iter().chain([&path]).map(|p| p.display().to_string()).collect();
            let d = Diagnostic::error("E0213", format!("`{}` uses itself", path.display()))
                .note(format!("the chain is {}", chain.join(" -> ")));
            self.errors.push(if let Some(s) = from { d.at(s, "this closes a circle") } else { d });
            return;
        }
        if self.seen.contains_key(&path) {
            return;
        }
        if self.open.len() >= 64 {
            let d = Diagnostic::error("E0213", "files use each other in a chain of more than 64");
            self.errors.push(if let Some(s) = from { d.at(s, "one too many") } else { d });
            return;
        }
        let text = match (self.reader)(&path) {
            Ok(text) => text,
            Err(e) => {
                let d = Diagnostic::error("E0213", format!("cannot read `{}`", path.display())).note(e.to_string());
                self.errors.push(match from {
                    Some(s) => d.at(s, "used here").help("paths are relative to the file that names them"),
                    None => d,
                });
                return;
            }
        };
        let id = self.sources.add(path.clone(), text.as_str());
        self.seen.insert(path.clone(), id);
        self.model.files.push(id);
        let parsed = match syntax::parse(id, &text) {
            Ok(file) => file,
            Err(e) => {
                self.errors.extend(e);
                return;
            }
        };
        if let Some(one) = parsed.items.get(MOST_ITEMS) {
            let d = Diagnostic::error("E0111", format!("a file has at most {MOST_ITEMS} items"));
            self.errors.push(d.at(one.span, "one too many"));
            return;
        }
        let root = self.open.is_empty();
        self.open.push(path.clone());
        for item in parsed.items {
            if let ItemKind::Use { path: other, path_span } = &item.kind {
                let other = path.parent().unwrap_or(Path::new("")).join(other);
                self.file(&other, Some(*path_span));
            } else {
                self.item(item, root);
            }
        }
        self.open.pop();
    }

    fn item(&mut self, item: Item, root: bool) {
        let order = self.order;
        self.order += 1;
        let (doc, span) = (item.doc, item.span);
        let model = &mut self.model;
        let (name, kind) = match item.kind {
            ItemKind::Use { .. } => return,
            ItemKind::Train(train) => {
                if let Some(name) = &train.name
                    && root
                {
                    let first =
                        model.trains.iter().filter_map(|t| t.item.name.as_ref()).find(|n| n.name == name.name);
                    if let Some(first) = first {
                        self.errors.push(
                            Diagnostic::error("E0201", format!("two trains are named `{}`", name.name))
                                .at(name.span, "the second one")
                                .label(first.span, "the first one")
                                .help("rename one of them"),
                        );
                    }
                }
                if root {
                    model.trains.push(Entry { item: train, doc, span, order });
                }
                return;
            }
            ItemKind::Const { name, value } => {
                model.consts.push(Entry { item: Named { name: name.clone(), value }, doc, span, order });
                (name, "const")
            }
            ItemKind::Data { name, value } => {
                model.data.push(Entry { item: Named { name: name.clone(), value }, doc, span, order });
                (name, "data set")
            }
            ItemKind::Block(block) => {
                let name = block.name.clone();
                model.blocks.push(Entry { item: block, doc, span, order });
                (name, "block")
            }
            ItemKind::Network(network) => {
                let name = network.name.clone();
                model.networks.push(Entry { item: network, doc, span, order });
                (name, "network")
            }
            ItemKind::Loss(loss) => {
                let name = loss.name.clone();
                model.losses.push(Entry { item: loss, doc, span, order });
                (name, "loss")
            }
        };
        if let Some((first, what)) = self.defined.get(&name.name) {
            let mut d = Diagnostic::error("E0201", format!("`{}` is defined twice", name.name))
                .at(name.span, format!("a {kind} here"))
                .label(first.span, format!("a {what} of that name is already here"));
            if first.span.file != name.span.file {
                d = d.note("`use` adds all names of the other file");
            }
            self.errors.push(d.help("rename one of them"));
        } else {
            self.defined.insert(name.name.clone(), (name, kind));
        }
    }

    /// The prelude's losses, those left out that the user defines.
    fn prelude(&mut self) {
        let id = self.sources.add("<prelude>/losses.gan", PRELUDE);
        self.model.prelude = id;
        match syntax::parse(id, PRELUDE) {
            Ok(file) => {
                for item in file.items {
                    if let ItemKind::Loss(loss) = item.kind
                        && self.model.loss(&loss.name.name).is_none()
                    {
                        let entry = Entry { item: loss, doc: item.doc, span: item.span, order: self.order };
                        self.model.losses.push(entry);
                        self.order += 1;
                    }
                }
            }
            Err(e) => self.errors.extend(e),
        }
    }

    fn set(&mut self, set: &[(String, String)]) {
        for (name, text) in set {
            let Some(at) = self.model.consts.iter().position(|c| c.name.name == *name) else {
                let d = Diagnostic::error("E0212", format!("`--set {name}={text}`: no const has this name"));
                let all: Vec<&str> = self.model.consts.iter().map(|c| c.name.name.as_str()).collect();
                self.errors.push(match nearest(name, all.iter().copied()) {
                    Some(near) => d.help(format!("did you mean `{near}`?")),
                    None if all.is_empty() => d.help("the spec has no const"),
                    None => d.help(format!("its consts are {}", all.join(", "))),
                });
                continue;
            };
            let line = format!("const {name} = {text}\n");
            let id = self.sources.add(format!("--set {name}"), line.as_str());
            match syntax::parse(id, &line) {
                Ok(file) => match file.items.into_iter().map(|i| i.kind).collect::<Vec<_>>().as_slice() {
                    [ItemKind::Const { value, .. }] => self.model.consts[at].value = value.clone(),
                    _ => self.errors.push(
                        Diagnostic::error("E0212", format!("`--set {name}` takes one expression"))
                            .at(Span::new(id, 0, line.len() - 1), "this is more than one"),
                    ),
                },
                Err(e) => self.errors.extend(e),
            }
        }
    }

    fn only(&mut self, only: Option<&str>) {
        let Some(only) = only else { return };
        let is = |t: &Entry<crate::syntax::ast::Train>| t.name.as_ref().is_some_and(|n| n.name == only);
        if self.model.trains.iter().any(is) {
            self.model.trains.retain(is);
            return;
        }
        let all: Vec<&str> =
            self.model.trains.iter().filter_map(|t| t.name.as_ref()).map(|n| n.name.as_str()).collect();
        let d = Diagnostic::error("E0214", format!("`--only {only}`: no train has this name"));
        self.errors.push(match nearest(only, all.iter().copied()) {
            Some(near) => d.help(format!("did you mean `{near}`?")),
            None if all.is_empty() => d.help("no train of this spec has a name"),
            None => d.help(format!("its trains are {}", all.join(", "))),
        });
    }

    /// Puts the setting `precision` into every `train`, in place of the one that it has.
    fn precision(&mut self, word: Option<&str>) {
        let Some(word) = word else { return };
        let text = format!("train {{\n    precision {word}\n}}\n");
        let id = self.sources.add("--precision", text.as_str());
        match syntax::parse(id, &text) {
            Ok(file) => {
                let items = file.items.into_iter();
                let given: Vec<TrainStmt> = items
                    .flat_map(|i| match i.kind {
                        ItemKind::Train(t) => t.stmts,
                        _ => vec![],
                    })
                    .collect();
                for train in &mut self.model.trains {
                    without_precision(&mut train.item.stmts);
                    train.item.stmts.extend(given.iter().cloned());
                }
            }
            Err(e) => self.errors.extend(e),
        }
    }
}

fn without_precision(stmts: &mut Vec<TrainStmt>) {
    stmts.retain_mut(|s| match &mut s.kind {
        TrainStmtKind::Setting(Setting::Precision, _) => false,
        TrainStmtKind::If(_, inner) => {
            without_precision(inner);
            true
        }
        _ => true,
    });
}
