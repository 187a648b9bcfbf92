//! Expressions: what each name in them is.

use super::args::{class_words, written};
use super::scope::{Kind, Scope};
use super::{Place, Resolver, did_you_mean};
use crate::diag::Diagnostic;
use crate::diag::names::suggest;
use crate::layers::args::bind_names;
use crate::layers::{Class, Signature, table};
use crate::model::Model;
use crate::source::Span;
use crate::syntax::ast::{Arg, Args, Expr, ExprKind, Ident, Index, LayerCall, Network, PipeStage, ResultType};

/// All classes of built-ins, for "`normal` is a distribution".
const CLASSES: [Class; 11] = [
    Class::Layer,
    Class::Function,
    Class::Metric,
    Class::Optimiser,
    Class::Distribution,
    Class::Initialiser,
    Class::Modifier,
    Class::Source,
    Class::Transform,
    Class::Trick,
    Class::Action,
];

impl<'m> Resolver<'m> {
    /// Checks an expression that stands for a value.
    pub(super) fn expr(&mut self, e: &Expr, scope: &mut Scope) {
        match &e.kind {
            ExprKind::Number(_) | ExprKind::Str(_) | ExprKind::Bool(_) => {}
            ExprKind::It => {
                if self.place != Place::Body {
                    self.error(
                        Diagnostic::error("E0216", "`it` stands for the value in a network or block")
                            .at(e.span, "there is none here"),
                    );
                }
            }
            ExprKind::Name(n) => self.name(n, e.span, scope),
            ExprKind::List(items) => items.iter().for_each(|i| self.expr(i, scope)),
            ExprKind::Paren(inner) | ExprKind::Neg(inner) => self.part(inner, scope),
            ExprKind::Binary(_, a, b) => {
                self.part(a, scope);
                self.part(b, scope);
            }
            ExprKind::Field(base, field) => self.field(base, field, scope),
            ExprKind::Call(callee, args) => self.call(e, callee, args, scope),
            ExprKind::Index(base, indices) => {
                self.part(base, scope);
                for i in indices {
                    match i {
                        Index::At(e) => self.expr(e, scope),
                        Index::Range(a, b) => {
                            self.expr(a, scope);
                            self.expr(b, scope);
                        }
                        Index::All(_) => {}
                    }
                }
            }
            ExprKind::Pipe(left, stage) => {
                self.expr(left, scope);
                match stage {
                    PipeStage::Layer(call) => self.layer(call, scope),
                    PipeStage::Body(body) => self.body(body, scope),
                }
            }
        }
    }

    /// Checks the right side of a statement, where a patch may put `it |>` in front.
    pub(super) fn right_side(&mut self, e: &Expr, scope: &mut Scope) {
        self.whole = Some(e.span);
        self.expr(e, scope);
        self.whole = None;
    }

    fn part(&mut self, e: &Expr, scope: &mut Scope) {
        let before = self.whole.take();
        self.expr(e, scope);
        self.whole = before;
    }

    fn name(&mut self, n: &str, span: Span, scope: &mut Scope) {
        if let Some(local) = scope.find(n) {
            if local.kind == Kind::Rows && self.place == Place::Player {
                let at = local.span;
                self.rows_in_player(n, span, Some(at));
            } else if let Kind::Network(of) | Kind::Joint(of) = &local.kind {
                let of = of.clone();
                self.error(
                    Diagnostic::error("E0205", format!("`{n}` is a network, a value is expected"))
                        .at(span, format!("apply it: `{n}(…)`"))
                        .note(format!("it is made from `{of}`")),
                );
            }
            scope.mark(n);
            return;
        }
        if self.model.constant(n).is_some() {
            self.used.insert(n.to_string());
            return;
        }
        if let Some(later) = scope.later.iter().find(|l| l.name == n) {
            let at = later.span;
            self.error(
                Diagnostic::error("E0204", format!("`{n}` is used before it is defined"))
                    .at(span, "used here")
                    .label(at, "defined here")
                    .help("move the definition up"),
            );
            return;
        }
        if self.model.network(n).is_some() {
            self.used.insert(n.to_string());
            self.error(
                Diagnostic::error("E0205", format!("`{n}` is a network, a value is expected"))
                    .at(span, format!("apply it: `{n}(…)`")),
            );
            return;
        }
        if self.model.data_set(n).is_some() {
            self.used.insert(n.to_string());
            self.error(
                Diagnostic::error("E0205", format!("`{n}` is a data set, a value is expected"))
                    .at(span, "name a field of it, such as `.image`, or draw from it"),
            );
            return;
        }
        if let Some((what, _)) = self.global(n) {
            self.error(
                Diagnostic::error("E0205", format!("`{n}` is {what}, a value is expected")).at(span, "not a value"),
            );
            return;
        }
        if self.place == Place::Expect {
            let mut all: Vec<String> =
                scope.locals().iter().filter(|l| l.kind == Kind::Evaluated).map(|l| l.name.clone()).collect();
            all.dedup();
            let near = suggest(n, all.iter().map(String::as_str)).map(str::to_string);
            let d = Diagnostic::error("E0425", format!("nothing evaluates `{n}`")).at(span, "expected here");
            let d = if all.is_empty() {
                d.help(format!("add `evaluate {n} = …` to an `every`"))
            } else {
                d.note(format!("evaluated are {}", all.join(", ")))
            };
            self.error(did_you_mean(d, span, near));
            return;
        }
        if let Some(sig) = table::lookup_call(n) {
            let call = sig.usage();
            let mut d =
                Diagnostic::error("E0205", format!("`{n}` is a {}, a value is expected", class_words(sig.class)));
            d = if self.place == Place::Body && sig.takes_input {
                let d = d.at(span, "apply it to something").help(format!("write `it |> {n}`"));
                if self.whole == Some(span) { d.patch(span, format!("it |> {n}")) } else { d }
            } else {
                d.at(span, format!("it is written as `{call}`"))
            };
            self.error(d);
            return;
        }
        if let Some((class, _)) = other_class(n, &[]) {
            self.error(
                Diagnostic::error(
                    "E0205",
                    format!("`{n}` is {}, a value is expected", with_article(class_words(class))),
                )
                .at(span, place_of(class)),
            );
            return;
        }
        let near = self.near(n, scope, &[Class::Function]);
        let mut d = Diagnostic::error("E0202", format!("unknown name `{n}`")).at(span, "not defined here");
        if self.place == Place::Constant {
            d = d.note("only constants may be named here");
        }
        self.error(did_you_mean(d, span, near));
    }

    fn rows_in_player(&mut self, what: &str, span: Span, defined: Option<Span>) {
        let mut d =
            Diagnostic::error("E0424", format!("`{what}` means all rows of a data set, a player sees minibatches"))
                .at(span, "used by a player")
                .help("draw it: `draw x ~ SET.field`");
        if let Some(s) = defined {
            d = d.label(s, "reads whole data sets");
        }
        self.error(d);
    }

    fn field(&mut self, base: &Expr, field: &Ident, scope: &mut Scope) {
        if let ExprKind::Name(n) = &base.kind
            && scope.find(n).is_none()
            && self.model.data_set(n).is_some()
        {
            self.used.insert(n.clone());
            let span = base.span.to(field.span);
            let what = format!("{n}.{}", field.name);
            match self.place {
                Place::Action | Place::TrainLet => {}
                Place::Player => self.rows_in_player(&what, span, None),
                Place::Body | Place::Loss | Place::Expect | Place::Constant => self.error(
                    Diagnostic::error("E0205", format!("`{what}` is data; it cannot be read here"))
                        .at(span, "only `train` reads data")
                        .help("give the network an input for it"),
                ),
            }
            return;
        }
        self.part(base, scope);
        let network = match &base.kind {
            ExprKind::Name(n) => match scope.find(n).map(|l| &l.kind) {
                Some(Kind::Applied(of)) => self.model.network(of),
                _ => None,
            },
            ExprKind::Call(callee, _) => self.applied(callee, scope),
            _ => None,
        };
        if let Some(network) = network {
            self.output(&network.item, field);
        }
    }

    /// The network that a callee applies, through lets such as `let H = ema(G)`.
    fn applied(&self, callee: &Expr, scope: &Scope) -> Option<&'m super::super::Entry<Network>> {
        if let ExprKind::Name(n) = &callee.kind
            && let Some(Kind::Network(of)) = scope.find(n).map(|l| &l.kind)
        {
            return self.model.network(of);
        }
        if let ExprKind::Call(f, args) = &callee.kind
            && matches!(&f.kind, ExprKind::Name(f) if super::super::NETWORK_FUNCTIONS.contains(&f.as_str()))
        {
            return self.applied(&args.args.first()?.value, scope);
        }
        let name = self.model.network_of(callee)?.name.name.clone();
        self.model.network(&name)
    }

    /// Checks that a network has an output or tap of this name.
    pub(super) fn output(&mut self, network: &Network, field: &Ident) {
        let mut all = self.taps(&network.body);
        if let ResultType::Named(outs, _) = &network.result {
            all.extend(outs.iter().map(|o| o.name.name.clone()));
        }
        if all.contains(&field.name) {
            return;
        }
        let near = suggest(&field.name, all.iter().map(String::as_str)).map(str::to_string);
        let d =
            Diagnostic::error("E0210", format!("`{}` has no output or tap `{}`", network.name.name, field.name))
                .at(field.span, "not found")
                .label(
                    network.name.span,
                    match all.len() {
                        0 => "has one unnamed output and no taps".to_string(),
                        _ => format!("has {}", all.join(", ")),
                    },
                );
        self.error(did_you_mean(d, field.span, near));
    }

    fn call(&mut self, e: &Expr, callee: &Expr, args: &Args, scope: &mut Scope) {
        let ExprKind::Name(n) = &callee.kind else {
            if let Some(network) = self.applied(callee, scope) {
                self.expr(callee, scope);
                if Model::is_joint(callee) {
                    return args.args.iter().for_each(|a| self.part(&a.value, scope));
                }
                self.bind_inputs(&network.name.name, &network.inputs, e.span, args, scope);
            } else {
                self.error(
                    Diagnostic::error("E0205", "only functions, networks and blocks are called")
                        .at(callee.span, "this is a value"),
                );
            }
            return;
        };
        // Position picks the class: `let l1 = mean(l1(a, b))` may be, the called one is the function.
        let function = table::lookup(Class::Function, n).is_some();
        if let Some(local) =
            scope.find(n).filter(|l| !function || matches!(l.kind, Kind::Network(_) | Kind::Joint(_)))
        {
            let kind = local.kind.clone();
            scope.mark(n);
            match kind {
                Kind::Network(of) => {
                    if let Some(network) = self.model.network(&of) {
                        self.bind_inputs(n, &network.inputs, e.span, args, scope);
                    }
                }
                Kind::Joint(_) => args.args.iter().for_each(|a| self.part(&a.value, scope)),
                _ => self.error(
                    Diagnostic::error("E0205", format!("`{n}` is a value, not a function"))
                        .at(callee.span, "cannot be called")
                        .help("write `*` between factors"),
                ),
            }
            return;
        }
        if let Some(network) = self.model.network(n) {
            self.used.insert(n.clone());
            if matches!(self.place, Place::Constant | Place::Loss | Place::Expect) {
                self.error(
                    Diagnostic::error("E0205", format!("network `{n}` cannot be applied here"))
                        .at(callee.span, "only in bodies, players and actions"),
                );
                return;
            }
            self.bind_inputs(n, &network.inputs, e.span, args, scope);
            return;
        }
        if let Some(block) = self.model.block(n) {
            self.used.insert(n.clone());
            self.layers_allowed(n, callee.span);
            let what = format!("block `{n}`");
            if let Some(first) = args.args.first().filter(|a| a.name.is_none()) {
                self.part(&first.value, scope);
                let given = self.bind_params(&what, &block.params, &args.args[1..], &[], scope);
                self.missing(&what, &block.params, &given, e.span);
            } else {
                self.without_input(n, e, callee.span);
            }
            return;
        }
        if let Some((what, _)) = self.global(n) {
            self.error(
                Diagnostic::error("E0205", format!("`{n}` is {what}, not a function"))
                    .at(callee.span, "cannot be called"),
            );
            return;
        }
        if self.place == Place::Action
            && let Some(sig) = table::lookup(Class::Metric, n)
        {
            return self.with_input(sig, e, callee.span, args, scope);
        }
        if let Some(sig) = table::lookup_call(n) {
            if sig.class == Class::Layer {
                self.layers_allowed(n, callee.span);
            }
            return self.with_input(sig, e, callee.span, args, scope);
        }
        let what = match other_class(n, &[]) {
            Some((class, _)) => Some((with_article(class_words(class)), place_of(class).to_string())),
            None if self.model.loss(n).is_some() || super::super::PAIRS.iter().any(|p| p.name == *n) => {
                Some(("a loss".to_string(), format!("write `loss {n}(…)` in the train")))
            }
            None => None,
        };
        if let Some((what, text)) = what {
            self.error(
                Diagnostic::error("E0205", format!("`{n}` is {what}, not a function")).at(callee.span, text),
            );
            return;
        }
        let near = self.near(n, &Scope::default(), &[Class::Function, Class::Layer, Class::Metric]);
        let d = Diagnostic::error("E0202", format!("unknown function `{n}`")).at(callee.span, "not defined");
        self.error(did_you_mean(d, callee.span, near));
        args.args.iter().for_each(|a| self.part(&a.value, scope));
    }

    /// A call of a built-in: its first argument by position is the input, if it takes one.
    fn with_input(&mut self, sig: &'static Signature, e: &Expr, at: Span, args: &Args, scope: &mut Scope) {
        let whole = self.whole.take();
        if !sig.takes_input {
            self.bind(sig, e.span, &args.args, scope);
            return;
        }
        let positional = args.args.iter().filter(|a| a.name.is_none()).count();
        let names: Vec<&str> = args.args.iter().filter_map(|a| a.name.as_ref()).map(|n| n.name.as_str()).collect();
        let forgot = positional == 0
            || (bind_names(sig, positional - 1, &names).is_err() && bind_names(sig, positional, &names).is_ok());
        if forgot {
            self.whole = whole;
            self.without_input(sig.name, e, at);
            self.whole = None;
            return;
        }
        let input = &args.args[0].value;
        // `stop` takes networks as well as values, grad a value or its parameters.
        if sig.name == "stop" && self.model.network_of(input).is_some() {
            self.network(input, scope);
        } else {
            self.expr(input, scope);
        }
        let rest: Vec<Arg> = args.args[1..].to_vec();
        self.bind(sig, e.span, &rest, scope);
    }

    fn without_input(&mut self, name: &str, e: &Expr, at: Span) {
        let d =
            Diagnostic::error("E0208", format!("`{name}` is applied to nothing")).at(at, "its input is missing");
        let d = match self.place {
            Place::Body => {
                let d = d.help(format!("write `it |> {name}(…)`, or put the input first"));
                if self.whole == Some(e.span) { d.patch(Span { end: e.span.start, ..e.span }, "it |> ") } else { d }
            }
            _ => d.help("put the input first, as in `relu(x)`"),
        };
        self.error(d);
    }

    /// Layers have parameters or statistics: they belong to networks.
    fn layers_allowed(&mut self, name: &str, span: Span) {
        if self.place != Place::Body {
            self.error(
                Diagnostic::error("E0207", format!("`{name}` may only be used in networks and blocks"))
                    .at(span, "it may have parameters or statistics, which belong to a network")
                    .help("put it into a network and apply that"),
            );
        }
    }

    /// A layer statement or pipe stage: its input is there already.
    pub(super) fn layer(&mut self, call: &LayerCall, scope: &mut Scope) {
        let whole = self.whole.take();
        let n = &call.name.name;
        let args = written(call.args.as_ref());
        let span = call.name.span;
        self.modifiers(&call.with, scope);
        if let Some(block) = self.model.block(n) {
            self.used.insert(n.clone());
            self.layers_allowed(n, span);
            let what = format!("block `{n}`");
            let given = self.bind_params(&what, &block.params, args, &[], scope);
            self.missing(&what, &block.params, &given, span);
        } else if let Some(network) = self.model.network(n) {
            // A network of one input, or its first one: `x |> G` is `G(x)`.
            self.used.insert(n.clone());
            let rest = Args { args: args.to_vec(), span };
            match network.inputs.split_first() {
                Some((_, others)) => self.bind_inputs(n, others, span, &rest, scope),
                None => self.error(
                    Diagnostic::error("E0205", format!("network `{n}` takes no input, so it is no layer"))
                        .at(span, format!("it is applied as `{n}()`")),
                ),
            }
        } else if let Some((what, _)) = self.global(n) {
            self.error(
                Diagnostic::error("E0205", format!("`{n}` is {what}, a layer or block is expected"))
                    .at(span, "not a layer"),
            );
        } else if let Some(local) = scope.find(n) {
            let defined = local.span;
            self.error(
                Diagnostic::error("E0205", format!("`{n}` is a value, a layer or block is expected"))
                    .at(span, "not a layer")
                    .label(defined, "defined here")
                    .help(format!("`it = {n}` makes it the value that the next layer sees")),
            );
        } else if let Some(sig) = table::lookup_call(n) {
            if sig.class == Class::Layer {
                self.layers_allowed(n, span);
            }
            if sig.takes_input {
                self.bind(sig, span, args, scope);
            } else {
                self.error(
                    Diagnostic::error("E0205", format!("`{n}` takes no input, so it is no layer"))
                        .at(span, format!("it is written as `{}`", sig.usage())),
                );
            }
        } else if let Some((class, _)) = other_class(n, &[]) {
            self.error(
                Diagnostic::error(
                    "E0205",
                    format!("`{n}` is {}, a layer is expected", with_article(class_words(class))),
                )
                .at(span, place_of(class)),
            );
        } else {
            let near = self.near(n, &Scope::default(), &[Class::Layer, Class::Function]);
            let d = Diagnostic::error("E0202", format!("unknown layer or block `{n}`")).at(span, "not defined");
            self.error(did_you_mean(d, span, near));
        }
        self.whole = whole;
    }

    /// What a `let` of this expression is.
    pub(super) fn kind_of(&self, e: &Expr, scope: &Scope) -> Kind {
        match &e.kind {
            ExprKind::Paren(inner) => self.kind_of(inner, scope),
            ExprKind::Call(callee, _) => {
                if let ExprKind::Name(f) = &callee.kind
                    && super::super::NETWORK_FUNCTIONS.contains(&f.as_str())
                    && let Some(network) = self.applied(e, scope)
                {
                    let of = network.name.name.clone();
                    return if Model::is_joint(e) { Kind::Joint(of) } else { Kind::Network(of) };
                }
                match self.applied(callee, scope).filter(|_| !Model::is_joint(callee)) {
                    Some(n) => Kind::Applied(n.name.name.clone()),
                    None => Kind::Value,
                }
            }
            ExprKind::Name(n) => match scope.find(n).map(|l| &l.kind) {
                Some(k @ (Kind::Applied(_) | Kind::Rows)) => k.clone(),
                _ => Kind::Value,
            },
            _ => Kind::Value,
        }
    }
}

/// Another class that has this name.
fn other_class(name: &str, not: &[Class]) -> Option<(Class, &'static Signature)> {
    CLASSES.iter().filter(|c| !not.contains(c)).find_map(|&c| table::lookup(c, name).map(|s| (c, s)))
}

fn with_article(what: &str) -> String {
    if what.starts_with(['a', 'e', 'i', 'o', 'u']) { format!("an {what}") } else { format!("a {what}") }
}

/// Where built-ins of a class are written.
fn place_of(class: Class) -> &'static str {
    match class {
        Class::Layer => "a statement of a network or block",
        Class::Function => "called with its arguments",
        Class::Modifier => "written after `with`",
        Class::Optimiser => "written after `using`",
        Class::Distribution => "written after `~` of a draw",
        Class::Initialiser => "written in `init(…)` or right of `param`",
        Class::Source => "written at the start of a `data` item",
        Class::Transform => "written after `|>` of a `data` item",
        Class::Metric => "written in `evaluate`",
        Class::Trick => "written as `trick …` in a train",
        Class::Action => "written in `every … steps { }`",
    }
}
