//! Actions: pictures.

use super::ctx::{Builder, Gx, Moment};
use super::expr::Env;
use super::extract::extract;
use super::program::{Action, Chunk, RowInput, Samples};
use super::value::{Value, shape_text};
use crate::data::FieldType;
use crate::diag::Diagnostic;
use crate::graph::Type;
use crate::layers::{Kind, Tensor};
use crate::source::Span;
use crate::syntax::ast::{self, ActionKind, Arg, Expr, ExprKind, Index};

/// Most samples in a picture.
const MAX_CELLS: usize = 4096;

/// Cells of a picture of which draws vary along some axes only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Draws differ from row to row.
    pub by_row: bool,
    /// Draws differ from column to column.
    pub by_col: bool,
}

impl Grid {
    /// Number of different draws.
    pub fn distinct(self) -> usize {
        (if self.by_row { self.rows } else { 1 }) * (if self.by_col { self.cols } else { 1 })
    }
}

/// What runs along rows or columns.
enum Axis<'m> {
    /// The classes of a drawn label.
    Classes(&'m str, usize),
    /// A code, the element of it, and its first and last value.
    Sweep(&'m str, Option<usize>, f64, f64, Span),
}

impl<'m> Builder<'m> {
    /// An action.
    pub fn action(&mut self, a: &'m ast::Action) -> Option<Action> {
        match &a.kind {
            ActionKind::Evaluate(name, e) => self.evaluate(name.as_ref(), e, a.span).map(Action::Evaluate),
            ActionKind::Call(name, args) => match &name.name[..] {
                "checkpoint" => Some(Action::Checkpoint),
                "samples" => {
                    let args = args.as_ref().map_or(&[][..], |a| &a.args[..]);
                    self.samples(args, a.span).map(Action::Samples)
                }
                other => {
                    let title = format!("there is no action `{other}`");
                    self.report(
                        Diagnostic::error("E0201", title)
                            .at(name.span, "not known")
                            .help("actions are `samples(…)`, `evaluate …` and `checkpoint`"),
                    );
                    None
                }
            },
        }
    }

    fn samples(&mut self, args: &'m [Arg], span: Span) -> Option<Samples> {
        let mut panels = Vec::new();
        let (mut grid, mut range, mut title) = (None, None, None);
        let (mut row_axis, mut col_axis) = (None, None);
        self.gx = Gx::new();
        self.moment = Moment { tag: "samples".into(), batch: 1, ..Moment::default() };
        for a in args {
            match a.name.as_ref().map(|n| n.name.as_str()) {
                None | Some("images") => panels.push(&a.value),
                Some("grid") => grid = Some(self.pair(&a.value, "two whole numbers: rows and columns")?),
                Some("range") => range = Some(self.pair(&a.value, "two numbers: what is black and what is white")?),
                Some("title") => match &a.value.kind {
                    ExprKind::Str(s) => title = Some(s.clone()),
                    _ => {
                        self.error("E0459", a.value.span, "`title` is a string", "not a string");
                    }
                },
                Some("clip") => {}
                Some("rows") => row_axis = Some(self.axis(&a.value)?),
                Some("columns") => col_axis = Some(self.axis(&a.value)?),
                Some(other) => {
                    let at = a.name.as_ref().map_or(span, |n| n.span);
                    self.report(
                        Diagnostic::error("E0206", format!("`samples` has no argument `{other}`"))
                            .at(at, "unknown")
                            .help("it takes grid, rows, columns, range and title"),
                    );
                    return None;
                }
            }
        }
        if panels.is_empty() {
            self.error("E0459", span, "`samples` needs something to draw", "such as `samples(G(z))`");
            return None;
        }
        let whole = |v: f64| (v.fract() == 0.0 && v >= 1.0 && v <= MAX_CELLS as f64).then_some(v as usize);
        let asked = match grid {
            None => None,
            Some((r, c)) => match (whole(r), whole(c)) {
                (Some(r), Some(c)) if r * c <= MAX_CELLS => Some((r, c)),
                _ => {
                    self.error(
                        "E0459",
                        span,
                        format!("a grid has 1 to {MAX_CELLS} cells"),
                        format!("this is {r} × {c}"),
                    );
                    return None;
                }
            },
        };
        let side = |axis: &Option<Axis<'_>>, asked: Option<usize>, free: usize| match axis {
            Some(Axis::Classes(_, k)) => *k,
            Some(Axis::Sweep(..)) => asked.unwrap_or(10),
            None => asked.unwrap_or(free),
        };
        let rows = side(&row_axis, asked.map(|g| g.0), 8);
        let free = if row_axis.is_some() { 10 } else { (8 / panels.len()).max(1) };
        let cols = side(&col_axis, asked.map(|g| g.1), free);
        if rows * cols > MAX_CELLS {
            self.error(
                "E0459",
                span,
                format!("a picture has at most {MAX_CELLS} cells"),
                format!("this is {rows} × {cols}"),
            );
            return None;
        }
        self.moment.batch = rows * cols;
        if row_axis.is_some() || col_axis.is_some() {
            self.moment.grid = Some(Grid { rows, cols, by_row: row_axis.is_none(), by_col: col_axis.is_none() });
        }
        for (axis, n) in [(row_axis, 0), (col_axis, 1)] {
            if let Some(axis) = axis {
                self.lay_out(axis, (rows, cols), n)?;
            }
        }
        let mut drawn = Vec::new();
        for e in &panels {
            let mut env = Env::line("samples");
            let v = self.eval(&mut env, e);
            let Some(t) = self.tensor(&v, e.span) else { continue };
            drawn.push((self.per_sample(&t), e.span));
        }
        if drawn.len() != panels.len() {
            return None;
        }
        let scatter = drawn.iter().all(|(t, _)| t.shape == [2]);
        let colours = drawn.iter().any(|(t, _)| t.shape.len() == 3 && t.shape[0] == 3);
        let mut outputs = Vec::new();
        for (i, (t, at)) in drawn.iter().enumerate() {
            let n = rows * cols;
            let picture = t.kind == Kind::Real
                && match t.shape[..] {
                    [c, _, _] => c == 1 || c == 3,
                    [_, _] => true,
                    _ => scatter,
                };
            if !picture {
                let found = super::value::describe(t);
                let mut d = Diagnostic::error("E0459", "this cannot be drawn")
                    .at(*at, found)
                    .help("pictures are [1, h, w], [3, h, w] or [h, w]; points are [2]");
                if let [k] = t.shape[..] {
                    let side = (k as f64).sqrt() as usize;
                    if side * side == k && side > 2 {
                        d = d.help(format!("a picture is [1, h, w]: `reshape(…, 1, {side}, {side})`"));
                    }
                }
                self.report(d);
                return None;
            }
            let mut node = t.node;
            if let [h, w] = t.shape[..] {
                node = self.gx.graph.reshape(node, &[n, 1, h, w]);
            }
            if colours && self.gx.graph.shape(node)[1] == 1 {
                let mut shape = self.gx.graph.shape(node).to_vec();
                shape[1] = 3;
                node = self.gx.graph.broadcast(node, &shape);
            }
            outputs.push((format!("panel{i}").into(), node));
        }
        for (_, data, _) in &self.moment.rows.clone() {
            if let Some(have) = self.data[*data].2.rows
                && have < rows * cols
            {
                let name = &self.data[*data].1.name;
                let title = format!("{rows} × {cols} samples of `{name}`, which has {have} rows");
                self.error("E0459", span, title, "write a smaller `grid: [rows, columns]`");
                return None;
            }
        }
        let range = range.or_else(|| self.range_of_data()).unwrap_or((-1.0, 1.0));
        let points = scatter.then(|| self.points_of_data());
        let chunk = self.chunk(outputs);
        Some(Samples {
            name: self.picture_name(title.as_deref()),
            chunk,
            panels: panels.len(),
            grid: (rows, cols),
            range,
            scatter: points,
        })
    }

    /// The graph at hand as a chunk with these outputs.
    pub fn chunk(&mut self, outputs: Vec<crate::graph::Output>) -> Chunk {
        let gx = std::mem::replace(&mut self.gx, Gx::new());
        let rows = std::mem::take(&mut self.moment.rows);
        let graph = extract(&gx.graph, &outputs);
        let used =
            |name: &str| graph.nodes().iter().any(|n| matches!(&n.op, crate::graph::Op::Input(i) if **i == *name));
        let rows = rows
            .into_iter()
            .filter(|r| used(&r.0))
            .map(|(input, data, field)| RowInput { input, data, field })
            .collect();
        Chunk { batch: self.moment.batch, graph, rows }
    }

    fn picture_name(&mut self, title: Option<&str>) -> String {
        let stem: String = match title {
            Some(t) => t.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(60).collect(),
            None if self.train.name == "train" => "samples".into(),
            None => format!("{}-samples", self.train.name),
        };
        let mut name = stem.clone();
        let mut n = 1;
        while !self.pictures.insert(name.clone()) {
            n += 1;
            name = format!("{stem}{n}");
        }
        name
    }

    fn pair(&mut self, e: &'m Expr, what: &str) -> Option<(f64, f64)> {
        let v = self.eval(&mut Env::default(), e);
        if let Value::List(items) = &v
            && let [Value::Num(a), Value::Num(b)] = items[..]
        {
            return Some((a, b));
        }
        if !v.is_error() {
            let found = v.describe();
            self.error("E0459", e.span, format!("{what} in brackets"), format!("this is {found}"));
        }
        None
    }

    fn axis(&mut self, e: &'m Expr) -> Option<Axis<'m>> {
        let help = "write a drawn label, or `sweep(u[0], -2, 2)`";
        let drawn = |b: &Self, n: &str| b.train.draws.iter().find(|d| d.name.name == n).cloned();
        match &e.kind {
            ExprKind::Name(n) => {
                let Some(d) = drawn(self, n) else {
                    self.report(
                        Diagnostic::error("E0459", format!("`{n}` is not drawn"))
                            .at(e.span, "not a draw")
                            .help(help),
                    );
                    return None;
                };
                let kind = match d.field {
                    Some((data, field)) => match &self.data[data].2.fields[field].ty {
                        FieldType::Class(k) => Kind::Class(*k),
                        FieldType::Real(_) => Kind::Real,
                    },
                    None => self.type_of(&mut Env::default(), d.ty?)?.0,
                };
                match kind {
                    Kind::Class(k) => Some(Axis::Classes(&d.name.name, k)),
                    _ => {
                        self.report(
                            Diagnostic::error("E0459", format!("`{n}` is not a label"))
                                .at(e.span, "has no classes")
                                .help(help),
                        );
                        None
                    }
                }
            }
            ExprKind::Call(f, args) if matches!(&f.kind, ExprKind::Name(n) if n == "sweep") => {
                let [code, lo, hi] = &args.args[..] else {
                    self.error(
                        "E0459",
                        e.span,
                        "`sweep` takes a code and two numbers",
                        "such as `sweep(u[0], -2, 2)`",
                    );
                    return None;
                };
                let (base, element) = match &code.value.kind {
                    ExprKind::Index(b, ix) => match &ix[..] {
                        [Index::At(i)] => (&**b, Some(i)),
                        _ => (&**b, None),
                    },
                    _ => (&code.value, None),
                };
                let ExprKind::Name(n) = &base.kind else {
                    self.error("E0459", code.value.span, "`sweep` takes a drawn code", "not a drawn name");
                    return None;
                };
                let Some(d) = drawn(self, n) else {
                    self.error("E0459", base.span, format!("`{n}` is not drawn"), "not a draw");
                    return None;
                };
                let number = |b: &mut Self, e: &'m Expr| match b.eval(&mut Env::default(), e) {
                    Value::Num(v) => Some(v),
                    Value::Error => None,
                    _ => {
                        b.error("E0459", e.span, "a number known when compiling", "not a number");
                        None
                    }
                };
                let at = match element {
                    Some(i) => Some(number(self, i).filter(|v| v.fract() == 0.0 && *v >= 0.0)? as usize),
                    None => None,
                };
                let (lo, hi) = (number(self, &lo.value)?, number(self, &hi.value)?);
                Some(Axis::Sweep(&d.name.name, at, lo, hi, code.value.span))
            }
            _ => {
                self.report(
                    Diagnostic::error("E0459", "what runs along this axis?")
                        .at(e.span, "not a label or sweep")
                        .help(help),
                );
                None
            }
        }
    }

    /// Puts the values of an axis in place of what is drawn.
    fn lay_out(&mut self, axis: Axis<'m>, (rows, cols): (usize, usize), along: usize) -> Option<()> {
        let n = rows * cols;
        match axis {
            Axis::Classes(name, k) => {
                let g = &mut self.gx.graph;
                let index = g.iota(&[rows, cols], along);
                let node = g.reshape(index, &[n]);
                let t = Tensor { node, kind: Kind::Class(k), sample: true, shape: vec![] };
                self.moment.memo.insert(name.into(), Value::Tensor(t));
            }
            Axis::Sweep(name, at, lo, hi, span) => {
                let v = self.name(&mut Env::default(), name, span);
                let t = self.tensor(&v, span)?;
                let count = if along == 0 { rows } else { cols };
                let step = if count > 1 { (hi - lo) / (count - 1) as f64 } else { 0.0 };
                let place = |i: usize| if along == 0 { i / cols } else { i % cols };
                let values = (0..n).map(|i| lo + step * place(i) as f64).collect();
                let fits = match (&t.shape[..], at) {
                    ([], None) => true,
                    ([m], Some(i)) => i < *m,
                    _ => false,
                };
                if !fits || t.kind != Kind::Real {
                    let shape = shape_text(&t.shape);
                    self.error(
                        "E0459",
                        span,
                        "`sweep` runs through one number",
                        format!("`{name}` is {shape}: name one element"),
                    );
                    return None;
                }
                let g = &mut self.gx.graph;
                let line = g.dense(values, Type::f32([n]));
                let node = match at {
                    None => line,
                    Some(i) => {
                        let m = t.shape[0];
                        let index = g.iota(&[1, m], 1);
                        let this = g.splat(i as f64, Type::u32([1, m]));
                        let hit = g.eq(index, this);
                        let hit = g.broadcast(hit, &[n, m]);
                        let line = g.reshape(line, &[n, 1]);
                        let line = g.broadcast(line, &[n, m]);
                        g.select(hit, line, t.node)
                    }
                };
                self.moment.memo.insert(name.into(), Value::Tensor(Tensor { node, ..t }));
            }
        }
        Some(())
    }

    /// Repeats draws of some rows or columns over all cells.
    pub fn spread_over(&mut self, t: Tensor, grid: Grid) -> Tensor {
        if !t.sample {
            return t;
        }
        let part = |yes: bool, n: usize| if yes { n } else { 1 };
        let mut shape = vec![part(grid.by_row, grid.rows), part(grid.by_col, grid.cols)];
        shape.extend(&t.shape);
        let g = &mut self.gx.graph;
        let node = g.reshape(t.node, &shape);
        shape[..2].copy_from_slice(&[grid.rows, grid.cols]);
        let node = g.broadcast(node, &shape);
        let mut full = vec![grid.rows * grid.cols];
        full.extend(&t.shape);
        let node = g.reshape(node, &full);
        Tensor { node, ..t }
    }

    /// Range of the data drawn, or read by an action.
    pub fn range_of_data(&self) -> Option<(f64, f64)> {
        let drawn = self.train.draws.iter().filter_map(|d| d.field).map(|f| f.0);
        let read = self.moment.rows.iter().map(|r| r.1);
        drawn.chain(read).find_map(|d| self.data[d].2.range)
    }

    fn points_of_data(&self) -> Option<(usize, usize)> {
        self.train
            .draws
            .iter()
            .filter_map(|d| d.field)
            .find(|&(d, f)| matches!(&self.data[d].2.fields[f].ty, FieldType::Real(s) if *s == [2]))
    }
}
