//! Data sets in use, and draws.

use super::ctx::{Builder, Draw};
use super::expr::Env;
use super::params::LayerScope;
use super::program::{BatchInput, DrawLine};
use super::value::{Value, shape_text};
use crate::data::{Arg, Call, FieldType, Pipeline};
use crate::diag::Diagnostic;
use crate::graph::{Name, Type, philox};
use crate::layers::{ArgKind, Class, Kind, Tensor, table};
use crate::model::consts::number;
use crate::source::Span;
use crate::syntax::ast::{self, Expr, ExprKind, Ident, Per, PipeStage};

impl<'m> Builder<'m> {
    /// A data set of the model, its schema read at first use: index among those in use.
    pub fn use_data(&mut self, index: usize) -> Option<usize> {
        if let Some(i) = self.data.iter().position(|d| d.0 == index) {
            return Some(i);
        }
        if self.bad_data.contains(&index) {
            return None;
        }
        let pipeline = self.pipeline(index);
        let schema = pipeline.and_then(|p| match (self.read_schema)(&p) {
            Ok(s) => Some((p, s)),
            Err(d) => {
                for item in d.items() {
                    self.report(item.clone());
                }
                None
            }
        });
        match schema {
            Some((p, s)) => {
                self.data.push((index, p, s));
                Some(self.data.len() - 1)
            }
            None => {
                self.bad_data.insert(index);
                None
            }
        }
    }

    /// What a data item says.
    fn pipeline(&mut self, index: usize) -> Option<Pipeline> {
        let item = &self.model.data[index];
        let (mut e, mut stages) = (&item.value, Vec::new());
        for _ in 0..1000 {
            match &e.kind {
                ExprKind::Paren(inner) => e = inner,
                ExprKind::Pipe(x, PipeStage::Layer(l)) => {
                    stages.push(l);
                    e = x;
                }
                ExprKind::Name(n) if self.model.data_set(n).is_some_and(|d| d.name.name != item.name.name) => {
                    e = &self.model.data_set(n)?.value;
                }
                ExprKind::Name(n) => {
                    let source = self.data_call(Class::Source, n, e.span, &[], e.span)?;
                    return self.finish_pipeline(index, source, &stages, e.span);
                }
                ExprKind::Call(f, args) => {
                    let ExprKind::Name(n) = &f.kind else { break };
                    let source = self.data_call(Class::Source, n, f.span, &args.args, e.span)?;
                    return self.finish_pipeline(index, source, &stages, e.span);
                }
                _ => break,
            }
        }
        self.error(
            "E0453",
            e.span,
            "a data item is a source and transforms",
            "this is neither a source nor a data set",
        );
        None
    }

    fn finish_pipeline(
        &mut self,
        index: usize,
        source: Call,
        stages: &[&'m ast::LayerCall],
        at: Span,
    ) -> Option<Pipeline> {
        let item = &self.model.data[index];
        let mut transforms = Vec::new();
        for l in stages.iter().rev() {
            let args = l.args.as_ref().map_or(&[][..], |a| &a.args[..]);
            let span = l.args.as_ref().map_or(l.name.span, |a| l.name.span.to(a.span));
            transforms.push(self.data_call(Class::Transform, &l.name.name, l.name.span, args, span)?);
        }
        let base = self.sources.folder(at);
        Some(Pipeline { name: item.name.name.clone(), span: item.span, base, source, transforms })
    }

    fn data_call(&mut self, class: Class, name: &str, at: Span, args: &'m [ast::Arg], span: Span) -> Option<Call> {
        let Some(sig) = table::lookup(class, name) else {
            let what = if class == Class::Source { "source" } else { "transform" };
            let d = Diagnostic::error("E0201", format!("there is no data {what} `{name}`")).at(at, "not known");
            self.report(match table::nearest(name, table::names(class)) {
                Some(n) => d.help(format!("did you mean `{n}`?")),
                None => d,
            });
            return None;
        };
        let mut out = Vec::new();
        for (i, a) in args.iter().enumerate() {
            let kind = match &a.name {
                Some(n) => sig.param(&n.name).map(|(_, p)| p.kind),
                None => sig.params.get(i).map(|p| p.kind),
            };
            let v = self.data_arg(kind.unwrap_or(ArgKind::Any), &a.value)?;
            out.push((a.name.as_ref().map(|n| n.name.clone()), v, a.value.span));
        }
        Some(Call { name: name.to_string(), args: out, span })
    }

    fn data_arg(&mut self, kind: ArgKind, e: &'m Expr) -> Option<Arg> {
        Some(match &e.kind {
            ExprKind::Number(n) => Arg::Number(number(n)?),
            ExprKind::Str(s) => Arg::Str(s.clone()),
            ExprKind::Bool(b) => Arg::Bool(*b),
            ExprKind::Name(n)
                if matches!(kind, ArgKind::Enum(_) | ArgKind::Column) || self.consts.get(n).is_none() =>
            {
                Arg::Word(n.clone())
            }
            ExprKind::List(items) => {
                Arg::List(items.iter().map(|i| self.data_arg(ArgKind::Any, i)).collect::<Option<_>>()?)
            }
            ExprKind::Call(f, args) if matches!(&f.kind, ExprKind::Name(n) if table::lookup(Class::Source, n).is_some()) =>
            {
                let ExprKind::Name(n) = &f.kind else { return None };
                Arg::Call(self.data_call(Class::Source, n, f.span, &args.args, e.span)?)
            }
            _ => {
                let v = self.eval(&mut Env::default(), e);
                to_arg(&v).or_else(|| {
                    if !v.is_error() {
                        let text = v.describe();
                        self.error("E0303", e.span, "not known when compiling", format!("this is {text}"));
                    }
                    None
                })?
            }
        })
    }

    /// A field of a data set: index among the data in use, field index.
    pub fn data_field(&mut self, index: usize, field: &Ident) -> Option<(usize, usize)> {
        let i = self.use_data(index)?;
        let schema = &self.data[i].2;
        if let Some((f, _)) = schema.field(&field.name) {
            return Some((i, f));
        }
        let names: Vec<&str> = schema.fields.iter().map(|f| f.name.as_str()).collect();
        let name = &self.model.data[index].name.name;
        let d = Diagnostic::error("E0324", format!("data set `{name}` has no field `{}`", field.name))
            .at(field.span, "not among its fields");
        let d = match table::nearest(&field.name, names.iter().copied()) {
            Some(n) => d.help(format!("did you mean `.{n}`?")),
            None => d.help(format!("it has {}", names.join(", "))),
        };
        self.report(d);
        None
    }

    fn field_tensor(&mut self, input: &str, data: usize, field: usize) -> Tensor {
        let batch = self.moment.batch;
        let (kind, shape) = match &self.data[data].2.fields[field].ty {
            FieldType::Real(shape) => (Kind::Real, shape.clone()),
            FieldType::Class(k) => (Kind::Class(*k), vec![]),
        };
        let mut full = vec![batch];
        full.extend(&shape);
        let node = self.gx.graph.input(input, Type::new(Self::dtype(kind), full));
        Tensor { node, kind, sample: true, shape }
    }

    /// `S.field` in an action: the rows in order.
    pub fn rows(&mut self, index: usize, field: &Ident, span: Span) -> Value {
        let Some((data, f)) = self.data_field(index, field) else { return Value::Error };
        if self.moment.update || self.moment.numbers.is_some() {
            let name = &self.model.data[index].name.name;
            return self.report(
                Diagnostic::error("E0424", "a field of data is drawn before it is used in training")
                    .at(span, "all rows in order: for actions only")
                    .help(format!("write `draw x ~ {name}.{}` and use `x`", field.name)),
            );
        }
        Value::Tensor(self.row_input(data, f))
    }

    /// Rows of a field in order, as an input of an action's graph.
    pub fn row_input(&mut self, data: usize, field: usize) -> Tensor {
        let (set, f) = (&self.data[data].1.name, &self.data[data].2.fields[field].name);
        let input: Name = format!("rows:{set}.{f}").into();
        if !self.moment.rows.iter().any(|r| r.0 == input) {
            self.moment.rows.push((input.clone(), data, field));
        }
        self.field_tensor(&input, data, field)
    }

    /// Collects a `draw` statement.
    pub fn read_draw(
        &mut self,
        names: &'m [(Ident, Option<ast::TypeExpr>)],
        from: &'m [Expr],
        per: Option<Per>,
        span: Span,
        stmt: usize,
    ) {
        if from.len() != names.len() && from.len() != 1 {
            let title = format!("{} names drawn from {} sources", names.len(), from.len());
            self.error("E0453", span, title, "as many on both sides, or one distribution for all");
            return;
        }
        let mut set = None;
        // Names that are refused below stay known, so that their uses say nothing more.
        let before = self.train.draws.len();
        self.train.refused.extend(names.iter().map(|n| n.0.name.clone()));
        for (i, (name, ty)) in names.iter().enumerate() {
            let from = if from.len() == 1 { &from[0] } else { &from[i] };
            let mut field = None;
            if let ExprKind::Field(base, f) = &from.kind
                && let ExprKind::Name(n) = &base.kind
            {
                let Some(index) = self.model.data.iter().position(|d| d.name.name == *n) else {
                    self.error("E0201", base.span, format!("there is no data set `{n}`"), "not defined");
                    continue;
                };
                if *set.get_or_insert(index) != index {
                    self.report(
                        Diagnostic::error("E0453", "one `draw` line is one minibatch of one data set")
                            .at(from.span, "another data set")
                            .help("write two `draw` lines"),
                    );
                    continue;
                }
                let Some(found) = self.data_field(index, f) else { continue };
                field = Some(found);
            } else if ty.is_none() {
                self.report(
                    Diagnostic::error("E0453", format!("`{}` needs a type", name.name))
                        .at(name.span, "noise has the shape that its type says")
                        .help(format!("write `draw {}: [n] ~ …`", name.name)),
                );
                continue;
            }
            let per = per.unwrap_or(Per::Update);
            self.train.draws.push(Draw { name, ty: ty.as_ref(), from, per, stmt, field, span });
        }
        for d in &self.train.draws[before..] {
            self.train.refused.remove(&d.name.name);
        }
    }

    /// A draw's value at this moment.
    pub fn draw(&mut self, d: &Draw<'m>) -> Value {
        let key = (d.name.name.clone(), self.moment.batch);
        let shared = self.moment.update && d.per == Per::Iteration && self.moment.reference.is_none();
        if shared && let Some(v) = self.gx.draws.get(&key) {
            return v.clone();
        }
        let full = self.moment.batch;
        let spread = self.moment.grid;
        if let Some(grid) = spread {
            self.moment.batch = grid.distinct();
        }
        let v = match d.field {
            Some((data, field)) if self.moment.update => self.draw_batch(d, data, field),
            Some((data, field)) => Value::Tensor(self.row_input(data, field)),
            None => self.draw_noise(d, shared),
        };
        self.moment.batch = full;
        let v = match (v, spread) {
            (Value::Tensor(t), Some(grid)) => Value::Tensor(self.spread_over(t, grid)),
            (v, _) => v,
        };
        let v = self.check_drawn(d, v);
        let v = if self.train.wrt.contains(&d.name.name) { self.barrier(v) } else { v };
        if shared {
            self.gx.draws.insert(key, v.clone());
        }
        self.moment.memo.insert(d.name.name.clone(), v.clone());
        v
    }

    /// A type written beside data must be the data's.
    fn check_drawn(&mut self, d: &Draw<'m>, v: Value) -> Value {
        let (Value::Tensor(t), Some(ty), true) = (&v, d.ty, d.field.is_some()) else { return v };
        let Some((kind, shape)) = self.type_of(&mut Env::default(), ty) else { return Value::Error };
        if kind == t.kind && shape == t.shape {
            return v;
        }
        let found = super::value::describe(t);
        self.error(
            "E0323",
            d.name.span,
            format!("`{}` is declared {}", d.name.name, shape_text(&shape)),
            format!("the data has {found}"),
        )
    }

    fn draw_batch(&mut self, d: &Draw<'m>, data: usize, field: usize) -> Value {
        let batch = self.moment.batch;
        let of = self.moment.reference;
        let line = match self.train.lines.iter().position(|(s, o, l)| (*s, *o, l.batch) == (d.stmt, of, batch)) {
            Some(i) => i,
            None => {
                let first = !self.train.lines.iter().any(|(s, o, _)| (*s, *o) == (d.stmt, of));
                let mut path = format!("{}.draw {}", self.train.name, d.stmt);
                if let Some(net) = of {
                    path.push_str(&format!(" for the reference of {}", self.model.networks[net].name.name));
                } else if !first {
                    path.push_str(&format!(" of {batch}"));
                }
                if let Some(rows) = self.data[data].2.rows
                    && rows < batch
                {
                    let title = format!("a minibatch of {batch} from {rows} rows");
                    return self.report(
                        Diagnostic::error("E0453", title)
                            .at(d.span, "the data has fewer rows than the batch")
                            .help(format!("lower `batch` to {rows} or less")),
                    );
                }
                let fields = self
                    .train
                    .draws
                    .iter()
                    .filter(|o| o.stmt == d.stmt)
                    .filter_map(|o| o.field)
                    .map(|f| f.1)
                    .collect();
                let line = DrawLine { data, fields, stream: philox::stream(&path), batch };
                self.train.lines.push((d.stmt, of, line));
                self.train.lines.len() - 1
            }
        };
        self.gx.fresh.resize(self.train.lines.len(), 0);
        let mark = format!("#{}", d.stmt);
        let shared = d.per == Per::Iteration && of.is_none();
        let known = if shared { self.gx.draws.get(&(mark.clone(), batch)) } else { self.moment.memo.get(&mark) };
        let fresh = match known {
            Some(Value::Num(k)) => *k as usize,
            _ => {
                let k = self.gx.fresh[line];
                self.gx.fresh[line] += 1;
                if shared {
                    self.gx.draws.insert((mark, batch), Value::Num(k as f64));
                } else {
                    self.moment.memo.insert(mark, Value::Num(k as f64));
                }
                k
            }
        };
        let position = self.train.lines[line].2.fields.iter().position(|&f| f == field).unwrap_or(0);
        let name = self.data[data].2.fields[field].name.clone();
        let input: Name = format!("batch:{line}.{name}#{fresh}").into();
        if !self.gx.inputs.iter().any(|i| i.input == input) {
            self.gx.inputs.push(BatchInput { input: input.clone(), line, field: position, fresh });
        }
        Value::Tensor(self.field_tensor(&input, data, field))
    }

    fn draw_noise(&mut self, d: &Draw<'m>, shared: bool) -> Value {
        let mut env = Env::line(d.name.name.clone());
        let Some((kind, shape)) = d.ty.and_then(|ty| self.type_of(&mut Env::default(), ty)) else {
            return Value::Error;
        };
        let (name, args, at) = match &d.from.kind {
            ExprKind::Name(n) => (n, &[][..], d.from.span),
            ExprKind::Call(f, a) => match &f.kind {
                ExprKind::Name(n) => (n, &a.args[..], f.span),
                _ => return self.error("E0453", f.span, "a distribution is needed", "not a distribution"),
            },
            _ => return self.error("E0453", d.from.span, "a distribution is needed", "not a distribution"),
        };
        let Some(sig) = table::lookup(Class::Distribution, name) else {
            let e = Diagnostic::error("E0201", format!("there is no distribution `{name}`")).at(at, "not known");
            return self.report(match table::nearest(name, table::names(Class::Distribution)) {
                Some(n) => e.help(format!("did you mean `{n}`?")),
                None => e,
            });
        };
        let Some(bound) = self.bind(&mut env, sig, args, d.from.span) else { return Value::Error };
        let from = self.gx.graph.nodes().len();
        let path = if shared || self.moment.tag.is_empty() {
            format!("draw {}", d.name.name)
        } else {
            format!("draw {}@{}", d.name.name, self.moment.tag)
        };
        let mut scope = LayerScope { draw: true, ..self.scope(&env, path, d.from.span) };
        let result = crate::layers::distributions::draw(&mut scope, &bound, kind, &shape);
        if !self.within_limits(from, d.span) {
            return Value::Error;
        }
        match result {
            Ok(t) => Value::Tensor(t),
            Err(e) => self.refused(&env, e, d.from.span),
        }
    }
}

fn to_arg(v: &Value) -> Option<Arg> {
    Some(match v {
        Value::Num(x) => Arg::Number(*x),
        Value::Bool(b) => Arg::Bool(*b),
        Value::Str(s) => Arg::Str(s.clone()),
        Value::Word(w) => Arg::Word(w.clone()),
        Value::List(items) => Arg::List(items.iter().map(to_arg).collect::<Option<_>>()?),
        _ => return None,
    })
}
