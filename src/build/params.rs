//! Parameters, states and noise of layers, and the modifiers that change how weights are used.

use super::ctx::{Builder, MAX_ELEMENTS, elements};
use super::expr::Env;
use super::net::App;
use super::program::{Pretrained, TensorDecl};
use super::value::{NetRef, Value, View};
use crate::diag::Diagnostic;
use crate::graph::philox;
use crate::graph::{Dist, Graph, Name, NodeId, Type};
use crate::layers::{Class, Init, JointStatistics, LayerError, ParamRole, Reference, Scope, modifiers, table};
use crate::passes::Rounded;
use crate::source::Span;
use crate::syntax::ast::{self, Expr, ExprKind, Modifier};
use std::rc::Rc;

/// Modifiers in force.
#[derive(Clone, Debug, Default)]
pub(super) struct Mods {
    /// `init(weight)`
    pub weight: Option<Init>,
    /// `init(scale:)`
    pub scale: Option<Init>,
    /// `init(bias:)`
    pub bias: Option<Init>,
    /// `spectral_norm(iterations)`
    pub spectral: Option<usize>,
    /// `weight_norm`
    pub weight_norm: bool,
    /// `equalized(lr)`
    pub equalized: Option<f64>,
    /// `share(PATH)`
    pub share: Option<String>,
    /// `precision(dtype)`: what operands of products are rounded to.
    pub precision: Option<Option<Rounded>>,
}

/// What a layer asks of its surroundings.
#[allow(missing_docs)]
pub(super) struct LayerScope<'b, 'm> {
    pub b: &'b mut Builder<'m>,
    pub path: String,
    pub app: Option<Rc<App>>,
    pub mods: Mods,
    pub noises: usize,
    pub span: Span,
    /// The path is the whole name of the noise: a draw.
    pub draw: bool,
}

impl<'m> Builder<'m> {
    /// The surroundings of a layer or function; `path` is empty for operators.
    pub fn scope<'b>(&'b mut self, env: &Env<'m>, path: String, span: Span) -> LayerScope<'b, 'm> {
        let (app, mods) = match &env.net {
            Some(net) => (Some(net.app.clone()), net.mods.clone()),
            None => (None, Mods::default()),
        };
        LayerScope { b: self, path, app, mods, noises: 0, span, draw: false }
    }

    /// Modifiers as written on top of those in force.
    pub fn modifiers(&mut self, env: &mut Env<'m>, outer: &Mods, with: &'m [Modifier]) -> Mods {
        let mut mods = outer.clone();
        for m in with {
            let name = &m.name.name;
            let Some(sig) = table::lookup(Class::Modifier, name) else {
                let near = table::nearest(name, table::names(Class::Modifier));
                let d = Diagnostic::error("E0201", format!("there is no modifier `{name}`"))
                    .at(m.name.span, "after `with`");
                self.report(match near {
                    Some(n) => d.help(format!("did you mean `{n}`?")),
                    None => d,
                });
                continue;
            };
            if name == "share" {
                match m.args.as_ref().map(|a| &a.args[..]) {
                    Some([only]) => mods.share = self.path_of(&only.value),
                    _ => {
                        self.error("E0461", m.name.span, "`share` takes one path", "such as `share(G.up1.conv1)`");
                    }
                }
                continue;
            }
            if name == "pretrained" {
                if !self.model.networks.iter().any(|n| std::ptr::eq(&n.with[..], with)) {
                    self.error("E0461", m.name.span, "`pretrained` is for whole networks", "on a layer");
                } else if path_of_run(m).is_none() {
                    let title = "`pretrained` takes a path, written as a string";
                    self.error("E0461", m.name.span, title, "such as `pretrained(\"runs/classifier-1\")`");
                }
                continue;
            }
            let args = m.args.as_ref().map_or(&[][..], |a| &a.args[..]);
            let span = m.args.as_ref().map_or(m.name.span, |a| m.name.span.to(a.span));
            let Some(bound) = self.bind(env, sig, args, span) else { continue };
            let result = (|| {
                match &name[..] {
                    "init" => {
                        mods.weight = bound.init("weight")?.or(mods.weight);
                        mods.scale = bound.init("scale")?.or(mods.scale);
                        mods.bias = bound.init("bias")?.or(mods.bias);
                    }
                    "spectral_norm" => mods.spectral = Some(bound.size("iterations")?),
                    "weight_norm" => mods.weight_norm = true,
                    "equalized" => mods.equalized = Some(bound.positive("lr")?),
                    "precision" => {
                        let w = bound.word("dtype")?;
                        mods.precision = Some(super::precision::operands(w));
                    }
                    _ => {}
                }
                Ok(())
            })();
            if let Err(e) = result {
                self.refused(env, e, span);
            }
            let ways = usize::from(mods.spectral.is_some())
                + usize::from(mods.weight_norm)
                + usize::from(mods.equalized.is_some());
            if ways > 1 {
                self.error(
                    "E0461",
                    m.name.span,
                    "two modifiers change how the same weights are used",
                    "choose one of spectral_norm, weight_norm and equalized",
                );
                if name == "spectral_norm" {
                    mods.spectral = None
                } else {
                    mods.weight_norm = false
                };
                if name == "equalized" {
                    mods.equalized = None
                };
            }
        }
        mods
    }

    /// Networks that start from the tensors of another run.
    pub fn pretrained(&self) -> Vec<Pretrained> {
        let mut out = Vec::new();
        for n in &self.model.networks {
            for (file, span) in n.with.iter().filter(|m| m.name.name == "pretrained").filter_map(path_of_run) {
                let own = format!("{}.", n.name.name);
                let tensors = (0..self.decls.len()).filter(|&i| self.decls[i].name.starts_with(&own)).collect();
                let path = self.sources.folder(span).join(file);
                out.push(Pretrained { path, span, tensors, values: Vec::new() });
            }
        }
        out
    }

    /// A parameter path, written as a string or as names with dots.
    fn path_of(&mut self, e: &Expr) -> Option<String> {
        fn path(e: &Expr) -> Option<String> {
            match &e.kind {
                ExprKind::Str(s) => Some(s.clone()),
                ExprKind::Name(n) => Some(n.clone()),
                ExprKind::Field(b, f) => Some(format!("{}.{}", path(b)?, f.name)),
                _ => None,
            }
        }
        let found = path(e);
        if found.is_none() {
            self.error("E0461", e.span, "`share` takes a path of parameters", "such as `share(G.up1.conv1)`");
        }
        found
    }

    /// An initialiser as written: a number or a call of one.
    pub fn initialiser(&mut self, env: &mut Env<'m>, e: &'m Expr) -> Option<Init> {
        let (name, args, span) = match &e.kind {
            ExprKind::Paren(inner) => return self.initialiser(env, inner),
            ExprKind::Name(n) => (n, &[][..], e.span),
            ExprKind::Call(f, a) => match &f.kind {
                ExprKind::Name(n) => (n, &a.args[..], f.span),
                _ => (&String::new(), &a.args[..], f.span),
            },
            _ => (&String::new(), &[][..], e.span),
        };
        if let Some(sig) = table::lookup(Class::Initialiser, name) {
            let bound = self.bind(env, sig, args, e.span)?;
            return match crate::layers::init::parse(&bound) {
                Ok(i) => Some(i),
                Err(err) => {
                    self.refused(env, err, span);
                    None
                }
            };
        }
        match self.eval(env, e) {
            Value::Num(v) if v.is_finite() => Some(Init::Constant(v)),
            Value::Error => None,
            other => {
                let text = other.describe();
                self.report(
                    Diagnostic::error("E0303", "an initialiser is needed")
                        .at(e.span, format!("this is {text}"))
                        .help("a number, or one of normal, uniform, orthogonal, xavier, he, identity"),
                );
                None
            }
        }
    }

    /// A parameter as it is used: declared, its present value in the view of the application, modified.
    pub fn parameter(
        &mut self,
        app: &Rc<App>,
        mods: &Mods,
        path: &str,
        name: Option<&str>,
        shape: &[usize],
        role: ParamRole,
        init: Init,
        span: Span,
    ) -> NodeId {
        if self.fatal || elements(shape).is_none_or(|n| n > MAX_ELEMENTS) {
            if !self.fatal {
                self.fatal = true;
                let text = format!("its parameter would be {}", super::value::shape_text(shape));
                self.error("E0307", span, "a tensor is too large: at most 2^31 elements", text);
            }
            return self.gx.graph.splat(0.0, Type::f32(shape));
        }
        let base = mods.share.as_deref().unwrap_or(path);
        let full: Name = match name {
            Some(n) => format!("{base}.{n}").into(),
            None => base.into(),
        };
        if mods.share.is_some() {
            let fits = self.decl(&full).map(|d| d.ty.shape == shape);
            if fits != Some(true) {
                let text = match fits {
                    None => format!("there is no `{full}` before this"),
                    Some(_) => format!("`{full}` has another shape"),
                };
                self.error("E0461", span, "parameters cannot be shared", text);
                return self.gx.graph.splat(0.0, Type::f32(shape));
            }
        }
        let is_weight = matches!(role, ParamRole::Weight { .. });
        let given = match role {
            ParamRole::Weight { .. } => mods.weight,
            ParamRole::Bias { .. } => mods.bias,
            ParamRole::Scale => mods.scale,
            ParamRole::Shift | ParamRole::Plain => None,
        };
        let mut init = given.unwrap_or(init);
        if let (Some(lr), true) = (mods.equalized, is_weight) {
            init = modifiers::equalized(lr, 1.0, 1).0;
        }
        let ty = Type::f32(shape);
        self.declare(TensorDecl { name: full.clone(), ty, trained: true, init, role, reset: None });
        if let (ParamRole::Weight { out_axis, .. }, true) = (role, mods.weight_norm) {
            let out = shape[out_axis];
            self.declare(TensorDecl {
                name: format!("{full}.gain").into(),
                ty: Type::f32([out]),
                trained: true,
                init: modifiers::weight_norm_gain(init, role, shape.iter().product::<usize>() / out),
                role: ParamRole::Plain,
                reset: None,
            });
        }
        let raw = self.viewed(&app.net, &full);
        let value = match role {
            ParamRole::Weight { out_axis, fan_in, .. } => {
                self.modified(app, mods, &full, raw, out_axis, fan_in, shape)
            }
            _ => raw,
        };
        if app.net.is_fixed() { self.gx.graph.stop(value) } else { value }
    }

    /// The value of a parameter that this view of a network has.
    pub fn viewed(&mut self, net: &NetRef, full: &Name) -> NodeId {
        match net.view {
            View::Present => self.param_value(full),
            View::Average(i) => {
                let prefix = self.train.averages[i].prefix.clone();
                let name: Name = format!("{prefix}{full}").into();
                let ty = self.decl(full).map(|d| d.ty.clone()).unwrap_or_else(|| Type::f32([]));
                self.state_value(&name, &ty)
            }
            View::Past(i) => self.snapshot(i, full),
            View::Ahead(i) => match self.gx.ahead[i].get(full) {
                Some(&value) => value,
                // Of a network within this one that its player does not update.
                None => self.param_value(full),
            },
        }
    }

    fn modified(
        &mut self,
        app: &App,
        mods: &Mods,
        full: &Name,
        raw: NodeId,
        out_axis: usize,
        fan_in: usize,
        shape: &[usize],
    ) -> NodeId {
        if let Some(lr) = mods.equalized {
            let (_, factor) = modifiers::equalized(lr, 2f64.sqrt(), fan_in);
            return self.gx.graph.scale(raw, factor);
        }
        let out = shape[out_axis];
        if mods.weight_norm {
            let gain: Name = format!("{full}.gain").into();
            let value = self.viewed(&app.net, &gain);
            return modifiers::weight_norm(&mut self.gx.graph, raw, value, out_axis);
        }
        let Some(iterations) = mods.spectral else { return raw };
        let key = (full.clone(), self.moment.tag.clone(), raw, app.net.eval);
        if let Some(&done) = self.gx.normed.get(&key) {
            return done;
        }
        let name: Name = format!("{full}.u").into();
        let ty = Type::f32([out]);
        self.declare_state(&name, ty.clone(), Init::Normal { mean: 0.0, std: 1.0 }, None);
        let u = self.state_value(&name, &ty);
        let trains = self.moment.update && !app.net.eval && !matches!(app.net.view, View::Average(_));
        let advances = trains && app.net.view == View::Present;
        let iterations = if trains { iterations } else { 0 };
        let result = modifiers::spectral_norm(&mut self.gx.graph, raw, u, out_axis, iterations);
        if advances {
            self.gx.states.insert(name.clone(), result.u);
            self.gx.stands_for.insert(result.u, name);
        }
        self.gx.normed.insert(key, result.weight);
        result.weight
    }
}

/// The path that a `pretrained` names.
fn path_of_run(m: &Modifier) -> Option<(&str, Span)> {
    match m.args.as_ref().map(|a| &a.args[..]) {
        Some([ast::Arg { value: Expr { kind: ExprKind::Str(path), span }, .. }]) => Some((path, *span)),
        _ => None,
    }
}

impl Scope for LayerScope<'_, '_> {
    fn graph(&mut self) -> &mut Graph {
        &mut self.b.gx.graph
    }

    fn batch(&self) -> usize {
        self.b.moment.batch
    }

    fn training(&self) -> bool {
        self.b.moment.update && !self.app.as_ref().is_some_and(|a| a.net.eval)
    }

    fn param(&mut self, name: &str, shape: &[usize], role: ParamRole, init: Init) -> NodeId {
        let app = self.app.clone().unwrap_or_default();
        let (mods, path) = (self.mods.clone(), self.path.clone());
        self.b.parameter(&app, &mods, &path, Some(name), shape, role, init, self.span)
    }

    fn state(&mut self, name: &str, ty: Type, init: Init) -> NodeId {
        let full: Name = format!("{}.{name}", self.path).into();
        self.b.declare_state(&full, ty.clone(), init, None);
        self.b.state_value(&full, &ty)
    }

    fn set_state(&mut self, name: &str, value: NodeId) {
        let full: Name = format!("{}.{name}", self.path).into();
        if self.app.as_ref().is_some_and(|a| a.count) {
            let value = self.b.gx.graph.stop(value);
            self.b.gx.states.insert(full.clone(), value);
            self.b.gx.stands_for.insert(value, full);
        }
    }

    fn reference(&mut self, size: Option<usize>) -> Result<Reference, LayerError> {
        let app = self.app.clone().unwrap_or_default();
        let size = size.unwrap_or(self.b.reference_batch);
        let known = *self.b.nets[app.net.index].reference.get_or_insert(size);
        if known != size {
            return Err(LayerError::new(
                "E0310",
                format!("a network has one reference batch; this norm asks for {size} samples, one before it for {known}"),
            )
            .help("give all virtual batch norms of a network the same `size`"));
        }
        match &app.reference {
            None => Ok(Reference::Itself),
            Some(all) => match all.get(&self.path) {
                Some(&(mean, var)) => Ok(Reference::Beside { mean, var, size }),
                None => {
                    Err(LayerError::new("E0465", format!("the reference batch does not reach `{}`", self.path)))
                }
            },
        }
    }

    fn set_reference(&mut self, mean: NodeId, var: NodeId) {
        self.b.gx.recorded.insert(self.path.clone(), (mean, var));
    }

    fn iteration(&mut self) -> NodeId {
        self.b.gx.iteration()
    }

    fn statistics(&self) -> JointStatistics {
        self.app.as_ref().and_then(|a| a.net.joint).unwrap_or(JointStatistics::Joint)
    }

    fn noise(&mut self, dist: Dist, shape: &[usize]) -> NodeId {
        self.noises += 1;
        let fresh = match &self.app {
            // As fresh as the arguments, whatever the parameters have become.
            Some(app) => {
                let parts: Vec<u64> = app.args.iter().map(|&a| self.b.gx.structural(a)).collect();
                match &app.net.fresh {
                    Some(place) => format!("{parts:x?} {place}"),
                    None => format!("{parts:x?}"),
                }
            }
            None => self.b.moment.place(),
        };
        let name = match (self.draw, self.noises) {
            (true, 1) => self.path.clone(),
            (true, n) => format!("{}#{n}", self.path),
            (false, n) => format!("noise {}.{n}@{fresh}", self.path),
        };
        let stream = philox::stream(&name);
        let (seed, iteration) = (self.b.gx.seed(), self.b.gx.iteration());
        self.b.gx.graph.random(stream, dist, seed, iteration, shape)
    }
}
