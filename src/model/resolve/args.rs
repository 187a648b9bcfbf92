//! Arguments of built-ins, networks, blocks and losses.

use super::scope::Scope;
use super::{Place, Resolver, did_you_mean};
use crate::diag::Diagnostic;
use crate::diag::names::suggest;
use crate::layers::args::{BindError, Slot, bind_names};
use crate::layers::{ArgKind, Class, Signature, table};
use crate::source::Span;
use crate::syntax::ast::{Arg, Args, Expr, ExprKind, Ident, Input, Param};

/// The arguments as written, none if there are no parentheses.
pub(super) fn written(args: Option<&Args>) -> &[Arg] {
    args.map(|a| a.args.as_slice()).unwrap_or_default()
}

impl Resolver<'_> {
    /// Binds arguments (the input not among them) to a built-in and checks each value by its declared type.
    pub(super) fn bind(&mut self, sig: &'static Signature, at: Span, args: &[Arg], scope: &mut Scope) {
        let positional: Vec<&Expr> = args.iter().filter(|a| a.name.is_none()).map(|a| &a.value).collect();
        let named: Vec<(&Ident, &Expr)> =
            args.iter().filter_map(|a| a.name.as_ref().map(|n| (n, &a.value))).collect();
        let names: Vec<&str> = named.iter().map(|n| n.0.name.as_str()).collect();
        let slots = match bind_names(sig, positional.len(), &names) {
            Ok(slots) => slots,
            Err(errors) => {
                for e in errors {
                    let (title, help) = e.message(sig, &names);
                    let (span, patch) = match &e {
                        BindError::TooMany { positional: i, .. } => (positional[*i].span, None),
                        BindError::Unknown { named: k, suggestion } => {
                            (named[*k].0.span, suggestion.map(|s| (named[*k].0.span, s)))
                        }
                        BindError::Twice { named: k, .. } => (named[*k].0.span, None),
                        BindError::Missing { .. } => (at, None),
                    };
                    let text =
                        if matches!(e, BindError::Missing { .. }) { "not given here" } else { "this argument" };
                    let mut d = Diagnostic::error("E0206", title).at(span, text).help(help);
                    if let Some((span, word)) = patch {
                        d = d.patch(span, word);
                    }
                    self.error(d);
                }
                return;
            }
        };
        for (slot, p) in slots.iter().zip(sig.params) {
            match slot {
                Slot::Default => {}
                Slot::Positional(i) => self.value(p.kind, positional[*i], sig, p.name, scope),
                Slot::Named(i) => self.value(p.kind, named[*i].1, sig, p.name, scope),
                Slot::Many(list) => {
                    for &i in list {
                        self.value(p.kind, positional[i], sig, p.name, scope);
                    }
                }
                // `only(split: "train")`: the names are the data set's, the values words or constants.
                Slot::Columns(_) => {}
            }
        }
    }

    fn value(&mut self, kind: ArgKind, e: &Expr, sig: &'static Signature, param: &str, scope: &mut Scope) {
        match kind {
            ArgKind::Enum(words) => self.word(e, words, sig, param, false, scope),
            ArgKind::IntsOr(words) => self.word(e, words, sig, param, true, scope),
            ArgKind::Column => {}
            ArgKind::Network => self.network(e, scope),
            ArgKind::Data => self.data_or_field(e, scope),
            ArgKind::Optimiser => self.special(Class::Optimiser, e, scope),
            ArgKind::Init => self.initialiser(e, scope),
            ArgKind::Any if sig.class == Class::Modifier => {}
            ArgKind::Any if sig.class == Class::Trick && param == "of" => self.of(e, scope),
            ArgKind::Any if sig.class == Class::Trick && param == "tap" => {}
            ArgKind::Any if matches!(sig.class, Class::Source | Class::Transform) => self.source_value(e, scope),
            ArgKind::Any if sig.class == Class::Metric && param == "net" => self.features(e, scope),
            ArgKind::Int
            | ArgKind::Number
            | ArgKind::Ints
            | ArgKind::Numbers
            | ArgKind::Bool
            | ArgKind::Str
            | ArgKind::Tensor
            | ArgKind::Schedule
            | ArgKind::Any => self.expr(e, scope),
        }
    }

    fn word(
        &mut self,
        e: &Expr,
        words: &[&'static str],
        sig: &Signature,
        param: &str,
        or_value: bool,
        scope: &mut Scope,
    ) {
        let list = words.join(", ");
        match &e.kind {
            ExprKind::Name(w) if words.contains(&w.as_str()) => {}
            ExprKind::Name(w) if or_value && (scope.find(w).is_some() || self.global(w).is_some()) => {
                self.expr(e, scope);
            }
            ExprKind::Name(w) => {
                let d = Diagnostic::error("E0209", format!("`{param}` of `{}` does not take `{w}`", sig.name));
                let d = if or_value {
                    d.at(e.span, format!("expected a number or {list}"))
                } else {
                    d.at(e.span, format!("expected one of {list}"))
                };
                self.error(did_you_mean(d, e.span, suggest(w, words.iter().copied()).map(str::to_string)));
            }
            _ if or_value => self.expr(e, scope),
            _ => self.error(
                Diagnostic::error("E0209", format!("`{param}` of `{}` takes a word", sig.name))
                    .at(e.span, format!("expected one of {list}, written bare")),
            ),
        }
    }

    /// A network: a name, or a function of one such as `ema(G)`.
    pub(super) fn network(&mut self, e: &Expr, scope: &mut Scope) {
        if let ExprKind::Name(n) = &e.kind {
            if matches!(
                scope.find(n).map(|l| &l.kind),
                Some(super::scope::Kind::Network(_) | super::scope::Kind::Joint(_))
            ) {
                scope.mark(n);
                return;
            }
            if self.model.network(n).is_some() {
                self.used.insert(n.clone());
                return;
            }
            let near = suggest(n, self.model.networks.iter().map(|n| n.name.name.as_str())).map(str::to_string);
            let d = match (self.global(n), scope.find(n)) {
                (Some((what, _)), _) => Diagnostic::error("E0205", format!("`{n}` is {what}, not a network")),
                (None, Some(_)) => Diagnostic::error("E0205", format!("`{n}` is a value, not a network")),
                (None, None) => Diagnostic::error("E0202", format!("there is no network `{n}`")),
            };
            self.error(did_you_mean(d.at(e.span, "the name of a network is expected"), e.span, near));
            return;
        }
        if self.model.network_of(e).is_some() {
            self.expr(e, scope);
            return;
        }
        self.error(Diagnostic::error("E0205", "a network is expected").at(e.span, "this is something else"));
    }

    /// The network of a metric, or one of its taps or outputs: `C`, `C.features`.
    fn features(&mut self, e: &Expr, scope: &mut Scope) {
        let ExprKind::Field(base, part) = &e.kind else { return self.network(e, scope) };
        self.network(base, scope);
        if let Some(network) = self.model.network_of(base) {
            let network = network.clone();
            self.output(&network, part);
        }
    }

    /// A data set or one of its fields, as metrics take them.
    fn data_or_field(&mut self, e: &Expr, scope: &mut Scope) {
        let base = if let ExprKind::Field(base, _) = &e.kind { base } else { e };
        if let ExprKind::Name(n) = &base.kind {
            if self.model.data_set(n).is_some() {
                self.used.insert(n.clone());
                return;
            }
            // A drawn or computed batch may stand for the data as well.
            if scope.find(n).is_some() {
                self.expr(e, scope);
                return;
            }
            let near = suggest(n, self.model.data.iter().map(|d| d.name.name.as_str())).map(str::to_string);
            let d = match self.global(n) {
                Some((what, _)) => Diagnostic::error("E0205", format!("`{n}` is {what}, not a data set")),
                None => Diagnostic::error("E0202", format!("there is no data set `{n}`")),
            };
            self.error(did_you_mean(d.at(base.span, "a data set or field is expected"), base.span, near));
            return;
        }
        self.expr(e, scope);
    }

    /// An optimiser or distribution: a name with or without arguments.
    pub(super) fn special(&mut self, class: Class, e: &Expr, scope: &mut Scope) {
        let (name, span, args) = match &e.kind {
            ExprKind::Name(n) => (n, e.span, [].as_slice()),
            ExprKind::Call(f, args) => match &f.kind {
                ExprKind::Name(n) => (n, f.span, args.args.as_slice()),
                _ => return self.not_special(class, e),
            },
            _ => return self.not_special(class, e),
        };
        match table::lookup(class, name) {
            Some(sig) => self.bind(sig, e.span, args, scope),
            None => {
                let near = suggest(name, table::names(class)).map(str::to_string);
                let what = class_words(class);
                let d = Diagnostic::error("E0202", format!("there is no {what} `{name}`"))
                    .at(span, format!("the {what}s are {}", table::names(class).collect::<Vec<_>>().join(", ")));
                self.error(did_you_mean(d, span, near));
            }
        }
    }

    fn not_special(&mut self, class: Class, e: &Expr) {
        let what = class_words(class);
        self.error(
            Diagnostic::error("E0205", format!("an {what} is expected").replace("an d", "a d"))
                .at(e.span, format!("such as {}", table::names(class).take(3).collect::<Vec<_>>().join(", "))),
        );
    }

    /// An initialiser: a call, or any number.
    pub(super) fn initialiser(&mut self, e: &Expr, scope: &mut Scope) {
        let name = match &e.kind {
            ExprKind::Name(n) => n,
            ExprKind::Call(f, _) => match &f.kind {
                ExprKind::Name(n) => n,
                _ => return self.expr(e, scope),
            },
            _ => return self.expr(e, scope),
        };
        let function = table::lookup(Class::Function, name).is_some() && matches!(e.kind, ExprKind::Call(..));
        if scope.find(name).is_some()
            || self.global(name).is_some()
            || (function && table::lookup(Class::Initialiser, name).is_none())
        {
            return self.expr(e, scope);
        }
        self.special(Class::Initialiser, e, scope);
    }

    /// `of:` of a trick: networks or losses.
    fn of(&mut self, e: &Expr, scope: &mut Scope) {
        match &e.kind {
            ExprKind::List(items) => items.iter().for_each(|i| self.of(i, scope)),
            ExprKind::Name(n)
                if self.model.loss(n).is_some() || super::super::PAIRS.iter().any(|p| p.name == n) =>
            {
                self.used.insert(n.clone());
            }
            _ => self.network(e, scope),
        }
    }

    /// Arguments of a network's application: by position or by input name, all of them.
    pub(super) fn bind_inputs(&mut self, name: &str, inputs: &[Input], at: Span, args: &Args, scope: &mut Scope) {
        let mut given = vec![false; inputs.len()];
        let list = || {
            let names: Vec<&str> = inputs.iter().map(|i| i.name.name.as_str()).collect();
            format!("{name}({})", names.join(", "))
        };
        for (i, a) in args.args.iter().enumerate() {
            let at = match &a.name {
                None => Some(i).filter(|i| *i < inputs.len()),
                Some(n) => inputs.iter().position(|x| x.name.name == n.name),
            };
            match (at, &a.name) {
                (Some(k), word) if given[k] => {
                    let span = word.as_ref().map_or(a.value.span, |w| w.span);
                    self.error(
                        Diagnostic::error(
                            "E0206",
                            format!("input `{}` of `{name}` is given twice", inputs[k].name.name),
                        )
                        .at(span, "the second time"),
                    );
                }
                (Some(k), _) => given[k] = true,
                (None, Some(n)) => {
                    let near = suggest(&n.name, inputs.iter().map(|i| i.name.name.as_str())).map(str::to_string);
                    let d = Diagnostic::error("E0206", format!("`{name}` has no input `{}`", n.name))
                        .at(n.span, format!("it is applied as `{}`", list()));
                    self.error(did_you_mean(d, n.span, near));
                }
                (None, None) => {
                    let n = inputs.len();
                    let title = format!(
                        "`{name}` takes {n} input{}, this is number {}",
                        if n == 1 { "" } else { "s" },
                        i + 1
                    );
                    self.error(
                        Diagnostic::error("E0206", title)
                            .at(a.value.span, format!("it is applied as `{}`", list())),
                    );
                    break;
                }
            }
            self.expr(&a.value, scope);
        }
        let missing: Vec<String> =
            inputs.iter().zip(&given).filter(|(_, g)| !**g).map(|(i, _)| format!("`{}`", i.name.name)).collect();
        if !missing.is_empty() && args.args.len() < inputs.len() {
            self.error(
                Diagnostic::error("E0206", format!("`{name}` needs {}", missing.join(" and ")))
                    .at(at, format!("it is applied as `{}`", list())),
            );
        }
    }

    /// Arguments of a block or loss; `extra` names are allowed besides. Which parameters were given comes back.
    pub(super) fn bind_params(
        &mut self,
        what: &str,
        params: &[Param],
        args: &[Arg],
        extra: &[&str],
        scope: &mut Scope,
    ) -> Vec<bool> {
        let mut given = vec![false; params.len()];
        for (i, a) in args.iter().enumerate() {
            let k = match &a.name {
                None => Some(i).filter(|i| *i < params.len()),
                Some(n) => params.iter().position(|p| p.name.name == n.name),
            };
            match (k, &a.name) {
                (Some(k), _) if given[k] => self.error(
                    Diagnostic::error("E0206", format!("`{}` of {what} is given twice", params[k].name.name))
                        .at(a.value.span, "the second time"),
                ),
                (Some(k), _) => given[k] = true,
                (None, Some(n)) if extra.contains(&n.name.as_str()) => {}
                (None, Some(n)) => {
                    let all = params.iter().map(|p| p.name.name.as_str()).chain(extra.iter().copied());
                    let near = suggest(&n.name, all).map(str::to_string);
                    let d = Diagnostic::error("E0206", format!("{what} has no argument `{}`", n.name))
                        .at(n.span, "this argument");
                    self.error(did_you_mean(d, n.span, near));
                }
                (None, None) => {
                    let n = params.len();
                    let title = format!(
                        "{what} takes {n} argument{}, this is number {}",
                        if n == 1 { "" } else { "s" },
                        i + 1
                    );
                    self.error(Diagnostic::error("E0206", title).at(a.value.span, "one too many"));
                    break;
                }
            }
            self.expr(&a.value, scope);
        }
        given
    }

    /// Parameters without default that were not given.
    pub(super) fn missing(&mut self, what: &str, params: &[Param], given: &[bool], at: Span) {
        for (p, g) in params.iter().zip(given) {
            if !g && p.default.is_none() {
                self.error(
                    Diagnostic::error("E0206", format!("{what} needs `{}`", p.name.name))
                        .at(at, "not given here")
                        .label(p.name.span, "it has no default"),
                );
            }
        }
    }

    /// Constants only.
    pub(super) fn constant(&mut self, e: &Expr, scope: &mut Scope) {
        self.in_place(Place::Constant, |r| r.expr(e, scope));
    }
}

/// A class in words.
pub(super) fn class_words(class: Class) -> &'static str {
    match class {
        Class::Layer => "layer",
        Class::Function => "function",
        Class::Modifier => "modifier",
        Class::Optimiser => "optimiser",
        Class::Distribution => "distribution",
        Class::Initialiser => "initialiser",
        Class::Source => "source",
        Class::Transform => "transform",
        Class::Metric => "metric",
        Class::Trick => "trick",
        Class::Action => "action",
    }
}
