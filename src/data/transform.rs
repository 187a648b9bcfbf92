//! Transforms of a set: what changes its pictures, its rows, or the values at each draw.

use super::args::Args;
use super::error::{ARGUMENT, COLUMN, EMPTY, NOT_APPLICABLE, UNKNOWN, fail};
use super::geometry::Geometry;
use super::random::{Draw, permutation};
use super::table::{Column, RowOp, Store, Table};
use super::{Arg, Call, FieldType};
use crate::diag::{Diagnostic, Diagnostics};
use crate::graph::philox::stream;
use crate::source::Span;

/// Names of all transforms.
pub(super) const NAMES: [&str; 12] =
    ["scale", "resize", "crop", "flip", "gray", "noise", "binarize", "stack", "only", "take", "skip", "shuffle"];

/// Applies one transform; `place` is its position, which names its random stream.
pub(super) fn apply(table: &mut Table, call: &Call, place: usize) -> Result<(), Diagnostics> {
    let mut args = Args::new(call);
    match call.name.as_str() {
        "scale" => {
            let (lo, hi) = (args.needed_number("lo", Some(0)), args.needed_number("hi", Some(1)));
            args.finish("the values of black and white")?;
            scale(table, lo.unwrap_or(0.0), hi.unwrap_or(1.0), call)?;
        }
        "resize" => {
            let size = args.size("size", 0);
            args.finish("a size in pixels")?;
            geometry(table, size.map(|(h, w)| Geometry::Resize(h, w)), call)?;
        }
        "crop" => {
            let size = args.size("size", 0);
            args.finish("a size in pixels")?;
            geometry(table, size.map(|(h, w)| Geometry::Crop(h, w)), call)?;
        }
        "gray" => {
            args.finish("none")?;
            geometry(table, Some(Geometry::Gray), call)?;
        }
        "flip" => {
            let axis = args.text("axis", Some(0));
            if let Some((word, span)) = axis.filter(|a| a.0 != "horizontal") {
                let d = fail(ARGUMENT, format!("`flip` cannot be `{word}`"), span, "only `horizontal`");
                return Err(d.into());
            }
            args.finish("`horizontal`")?;
            let op = RowOp::Flip { salt: stream(&format!("data:flip:{place}")) };
            pictures(table, call)?.for_each(|c| c.ops.push(op.clone()));
        }
        "noise" => {
            let std = args.needed_at_least("std", Some(0), 0.0);
            args.finish("its standard deviation")?;
            noise(table, std.unwrap_or(0.0) as f32, place, call)?;
        }
        "binarize" => {
            let stochastic = args.flag("stochastic", false);
            args.finish("`stochastic: true`")?;
            for c in pictures(table, call)? {
                let (lo, hi) = c.range.unwrap_or((0.0, 1.0));
                let salt = stochastic.then(|| stream(&format!("data:binarize:{place}:{}", c.field.name)));
                c.ops.push(RowOp::Binarize { lo: lo as f32, hi: hi as f32, salt });
            }
        }
        "stack" => {
            let planes = args.count("planes", Some(0), 1).map_or(3, |v| v.0);
            let seed = args.number_or("seed", None, 0.0, 0.0) as u64;
            args.finish("the number of pictures in one, and `seed: 0`")?;
            stack(table, planes, seed, call)?;
        }
        "only" => {
            let conditions = args.rest();
            args.finish("columns with the value that they must have, such as `split: \"train\"`")?;
            only(table, &conditions, call)?;
        }
        "take" => {
            let n = args.needed_count("n", Some(0), 1);
            let per = args.text("per", None);
            args.finish("a number of rows, and `per:` a column")?;
            if let Some((n, span)) = n {
                take(table, n, per, span, call)?;
            }
        }
        "skip" => {
            let n = args.needed_count("n", Some(0), 0);
            args.finish("a number of rows")?;
            let rows = finite(table, call)?;
            let n = n.map_or(0, |v| v.0);
            if n >= rows {
                return Err(fail(EMPTY, "nothing is left", call.span, format!("the set has {rows} rows")).into());
            }
            table.select(&(n..rows).collect::<Vec<_>>());
        }
        "shuffle" => {
            let seed = args.count("seed", Some(0), 0).map_or(0, |v| v.0) as u64;
            args.finish("a seed")?;
            let rows = finite(table, call)?;
            let order = permutation(rows, [(seed >> 32) as u32, seed as u32], 0);
            table.select(&order.into_iter().map(|i| i as usize).collect::<Vec<_>>());
        }
        name => {
            let d = fail(UNKNOWN, format!("there is no transform `{name}`"), call.span, "not a transform");
            return Err(d.help(format!("Transforms are {}.", NAMES.join(", "))).into());
        }
    }
    Ok(())
}

/// Number of rows, or an error for an endless set.
fn finite(table: &Table, call: &Call) -> Result<usize, Diagnostic> {
    table.rows().ok_or_else(|| {
        let title = format!("`{}` needs a set with an end", call.name);
        fail(NOT_APPLICABLE, title, call.span, "this set is generated without end")
            .help("Write `|> take(n)` before it, which fixes n rows.")
    })
}

/// Columns of pictures; an error if there are none.
fn pictures<'t>(table: &'t mut Table, call: &Call) -> Result<impl Iterator<Item = &'t mut Column>, Diagnostic> {
    if !table.columns.iter().any(Column::is_picture) {
        let fields: Vec<_> = table.columns.iter().map(|c| format!(".{}", c.field.name)).collect();
        let d = fail(NOT_APPLICABLE, format!("`{}` changes pictures", call.name), call.span, "this set has none");
        return Err(d.note(format!("Its fields are {}.", fields.join(", "))));
    }
    Ok(table.columns.iter_mut().filter(|c| c.is_picture()))
}

fn scale(table: &mut Table, lo: f64, hi: f64, call: &Call) -> Result<(), Diagnostic> {
    if lo >= hi {
        return Err(fail(ARGUMENT, "`scale` needs lo < hi", call.span, format!("from {lo} to {hi}")));
    }
    for c in pictures(table, call)? {
        let (a, b) = c.range.unwrap_or((0.0, 1.0));
        let exact = c.bytes && !c.ops.iter().any(|o| !matches!(o, RowOp::Flip { .. }));
        if exact {
            c.base = (lo, hi);
        } else {
            let mul = (hi - lo) / (b - a);
            c.ops.push(RowOp::Affine { mul: mul as f32, add: (lo - a * mul) as f32 });
        }
        c.range = Some((lo, hi));
    }
    Ok(())
}

fn geometry(table: &mut Table, g: Option<Geometry>, call: &Call) -> Result<(), Diagnostic> {
    let Some(g) = g else { return Ok(()) };
    if table.planes > 1 {
        return Err(fail(NOT_APPLICABLE, format!("`{}` comes too late", call.name), call.span, "after `stack`"));
    }
    for c in pictures(table, call)? {
        if !c.bytes || c.ops.iter().any(|o| matches!(o, RowOp::Noise { .. } | RowOp::Binarize { .. })) {
            let title = format!("`{}` works on pictures as they are read", call.name);
            let d = fail(NOT_APPLICABLE, title, call.span, format!(".{} are not bytes here", c.field.name));
            return Err(d.help("Write it before `noise` and `binarize`."));
        }
        let FieldType::Real(shape) = &mut c.field.ty else { continue };
        let [ch, h, w] = shape[..] else { continue };
        let to = g.shape([ch, h, w]).map_err(|why| {
            fail(NOT_APPLICABLE, format!("`{}` does not fit .{}", call.name, c.field.name), call.span, why)
        })?;
        *shape = to.to_vec();
        c.geometry.push(g);
    }
    Ok(())
}

fn noise(table: &mut Table, std: f32, place: usize, call: &Call) -> Result<(), Diagnostic> {
    let any = table.columns.iter().any(Column::is_picture);
    let mut done = false;
    for c in &mut table.columns {
        if c.is_picture() == any && matches!(c.field.ty, FieldType::Real(_)) {
            c.ops.push(RowOp::Noise { std, salt: stream(&format!("data:noise:{place}:{}", c.field.name)) });
            done = true;
        }
    }
    if done {
        Ok(())
    } else {
        Err(fail(NOT_APPLICABLE, "`noise` has nothing to change", call.span, "only labels here"))
    }
}

/// Row i becomes picture i and `planes - 1` others, drawn once; labels become the digits of one number.
fn stack(table: &mut Table, planes: usize, seed: u64, call: &Call) -> Result<(), Diagnostics> {
    let rows = finite(table, call)?;
    if table.planes > 1 || planes > 8 {
        let why = if planes > 8 { "at most 8 pictures" } else { "the set is stacked already" };
        return Err(fail(NOT_APPLICABLE, "`stack` cannot be done here", call.span, why).into());
    }
    let _ = pictures(table, call)?;
    table.columns.retain(|c| c.is_picture() || matches!(c.field.ty, FieldType::Class(_)));
    for c in &mut table.columns {
        match &mut c.field.ty {
            FieldType::Real(shape) => shape[0] *= planes,
            FieldType::Class(k) => {
                let Some(n) = k.checked_pow(planes as u32).filter(|&n| n <= 1 << 24) else {
                    let d =
                        fail(NOT_APPLICABLE, "`stack` makes too many classes", call.span, format!("{k}^{planes}"));
                    return Err(d.into());
                };
                *k = n;
                c.names = None;
            }
        }
    }
    let key = [(seed >> 32) as u32, seed as u32];
    let orders: Vec<Vec<u32>> = (1..planes).map(|p| permutation(rows, key, p as u64)).collect();
    let mut index = Vec::with_capacity(rows * planes);
    for r in 0..rows {
        index.push(table.index[r]);
        index.extend(orders.iter().map(|o| table.index[o[r] as usize]));
    }
    (table.index, table.planes) = (index, planes);
    Ok(())
}

/// A column by name, or an error that names those there are.
fn column<'t>(table: &'t Table, name: &str, span: Span) -> Result<&'t Column, Diagnostic> {
    table.columns.iter().find(|c| c.field.name == name).ok_or_else(|| {
        let fields: Vec<_> = table.columns.iter().map(|c| c.field.name.as_str()).collect();
        fail(COLUMN, format!("the set has no column `{name}`"), span, "no such column")
            .note(format!("Its fields are {}.", fields.join(", ")))
    })
}

fn only(table: &mut Table, conditions: &[(&str, &Arg, Span)], call: &Call) -> Result<(), Diagnostic> {
    let rows = finite(table, call)?;
    if conditions.is_empty() {
        let d = fail(ARGUMENT, "`only` needs a column and its value", call.span, "no condition");
        return Err(d.help("For example `only(split: \"train\")`."));
    }
    let mut keep: Vec<usize> = (0..rows).collect();
    for (name, arg, span) in conditions {
        let c = column(table, name, *span)?;
        let values = match arg {
            Arg::List(v) => v.iter().collect(),
            a => vec![*a],
        };
        match (&c.store, &c.field.ty) {
            (Store::Class(_), FieldType::Class(k)) => {
                let mut classes = Vec::new();
                for v in values {
                    classes.push(class_of(c, *k, v, *span)?);
                }
                keep.retain(|&r| classes.contains(&table.class(c, r)));
            }
            (Store::Real(v), FieldType::Real(s)) if s.is_empty() => {
                let wanted: Vec<f32> = values
                    .iter()
                    .filter_map(|a| match a {
                        Arg::Number(n) => Some(*n as f32),
                        _ => None,
                    })
                    .collect();
                if wanted.len() < values.len() {
                    return Err(fail(ARGUMENT, format!("`{name}` holds numbers"), *span, "expected a number"));
                }
                keep.retain(|&r| wanted.contains(&v[table.index[r] as usize]));
            }
            _ => {
                return Err(fail(
                    COLUMN,
                    format!("`{name}` cannot be compared"),
                    *span,
                    "neither class nor number",
                ));
            }
        }
    }
    if keep.is_empty() {
        return Err(fail(EMPTY, "no row has these values", call.span, format!("none of {rows} rows")));
    }
    table.select(&keep);
    Ok(())
}

/// The class that a value names.
fn class_of(c: &Column, k: usize, value: &Arg, span: Span) -> Result<u32, Diagnostic> {
    let found = match (value, &c.names) {
        (Arg::Str(s) | Arg::Word(s), Some(names)) => names.iter().position(|n| n == s),
        (Arg::Number(v), None) if v.fract() == 0.0 && *v >= 0.0 && *v < k as f64 => Some(*v as usize),
        (Arg::Bool(b), None) => Some(usize::from(*b)).filter(|&b| b < k),
        _ => None,
    };
    found.map(|i| i as u32).ok_or_else(|| {
        let d = fail(COLUMN, format!("`{}` never has this value", c.field.name), span, "no such value");
        match &c.names {
            Some(n) if n.len() <= 20 => d.note(format!("Its values are {}.", n.join(", "))),
            Some(n) => d.note(format!("It has {} values, such as \"{}\".", n.len(), n[0])),
            None => d.note(format!("Its values are 0 to {}.", k.saturating_sub(1))),
        }
    })
}

fn take(
    table: &mut Table,
    n: usize,
    per: Option<(&str, Span)>,
    span: Span,
    call: &Call,
) -> Result<(), Diagnostics> {
    if let (Some(generator), None) = (&table.generator, per) {
        // Fixed rows of a generated set: a stream of their own under key 0.
        super::error::total(n, &[2], 4, std::path::Path::new(&call.name), span)?;
        let mut points = Vec::with_capacity(2 * n);
        let mut modes = Vec::with_capacity(n);
        for s in 0..n as u32 {
            let (p, m) = generator.sample(Draw { key: [0; 2], batch: 0, sample: s });
            points.extend(p);
            modes.push(m);
        }
        table.columns[0].store = Store::Real(points);
        table.columns[1].store = Store::Class(modes);
        table.fixed = table.generator.take();
        (table.index, table.source_rows) = ((0..n as u32).collect(), n);
        return Ok(());
    }
    let rows = finite(table, call)?;
    let Some((name, at)) = per else {
        if n > rows {
            let d =
                fail(EMPTY, format!("`take({n})` asks for more rows than there are"), span, format!("{rows} rows"));
            return Err(d.into());
        }
        table.select(&(0..n).collect::<Vec<_>>());
        return Ok(());
    };
    let c = column(table, name, at)?;
    let FieldType::Class(k) = c.field.ty else {
        return Err(fail(COLUMN, format!("`{name}` is not a class"), at, "`per:` needs classes").into());
    };
    let mut counts = vec![0; k];
    let mut keep = Vec::new();
    for r in 0..rows {
        let class = table.class(c, r) as usize;
        if counts[class] < n {
            counts[class] += 1;
            keep.push(r);
        }
    }
    // A class that never occurs (after `only`) asks for nothing.
    if let Some(class) = counts.iter().position(|&m| m > 0 && m < n) {
        let text = format!("class {class} has {} rows", counts[class]);
        return Err(fail(EMPTY, format!("fewer than {n} rows of a class"), span, text).into());
    }
    table.select(&keep);
    Ok(())
}
