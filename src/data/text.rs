//! CSV files: `csv(path, vector: […])` as a source, `csv(path, column: …)` as the labels of pictures.
//!
//! A column whose cells are all finite numbers is numeric: with the whole numbers 0 to k-1, all of which occur, it is
//! `class(k)`, else a real. Any other column is text: `class(k)` over its different values in sorted order.

use super::args::Args;
use super::error::{ARGUMENT, COLUMN, EMPTY, MISMATCH, TOO_LARGE, damaged, fail, open_file, unreadable};
use super::table::{Column, Store, Table};
use super::{Arg, Call, FieldType};
use crate::diag::{Diagnostic, Diagnostics};
use crate::source::Span;
use csv::StringRecord;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Bytes of a file.
const MAX_FILE: u64 = 512 << 20;
/// Cells of a file.
const MAX_CELLS: usize = 1 << 26;

/// A file as it is.
struct Text {
    path: PathBuf,
    span: Span,
    header: Vec<String>,
    records: Vec<StringRecord>,
}

impl Text {
    fn open(path: PathBuf, span: Span) -> Result<Self, Diagnostic> {
        let file = open_file(&path).map_err(|e| unreadable(&path, &e, span))?;
        let length = file.metadata().map_err(|e| unreadable(&path, &e, span))?.len();
        let large = |what: &str| fail(TOO_LARGE, format!("{} is too large", path.display()), span, what);
        if length > MAX_FILE {
            return Err(large(&format!("{length} bytes")));
        }
        let mut reader = csv::ReaderBuilder::new().from_reader(file);
        let bad = |e: csv::Error| damaged(&path, &e.to_string(), span);
        // Some programs begin a file with a byte order mark.
        let header: Vec<String> = reader
            .headers()
            .map_err(bad)?
            .iter()
            .map(|h| h.trim_start_matches('\u{feff}').trim().to_owned())
            .collect();
        let mut seen = BTreeSet::new();
        if let Some(twice) = header.iter().find(|h| !seen.insert(h.as_str())) {
            return Err(damaged(&path, &format!("two columns are called `{twice}`"), span));
        }
        let mut records = Vec::new();
        for record in reader.records() {
            records.push(record.map_err(bad)?);
            if records.len() * header.len().max(1) > MAX_CELLS {
                return Err(large(&format!("more than {MAX_CELLS} cells")));
            }
        }
        if records.is_empty() {
            return Err(fail(EMPTY, format!("{} has no rows", path.display()), span, "only a header"));
        }
        Ok(Self { path, span, header, records })
    }

    fn position(&self, name: &str, span: Span) -> Result<usize, Diagnostic> {
        self.header.iter().position(|h| h == name).ok_or_else(|| {
            let d = fail(COLUMN, format!("{} has no column `{name}`", self.path.display()), span, "no such column");
            d.note(format!("Its columns are {}.", self.header.join(", ")))
        })
    }

    fn cells(&self, column: usize) -> impl Iterator<Item = &str> {
        self.records.iter().map(move |r| r.get(column).unwrap_or("").trim())
    }

    /// All cells as finite numbers, if they are.
    fn numbers(&self, column: usize) -> Option<Vec<f64>> {
        self.cells(column).map(|c| c.parse().ok().filter(|v: &f64| v.is_finite())).collect()
    }

    fn column(&self, i: usize, name: &str) -> Column {
        let Some(numbers) = self.numbers(i) else {
            let classes: BTreeMap<&str, u32> = {
                let distinct: BTreeSet<&str> = self.cells(i).collect();
                distinct.into_iter().zip(0..).collect()
            };
            let mut c = Column::labels(name, self.cells(i).map(|v| classes[v]).collect(), classes.len());
            c.names = Some(classes.keys().map(|k| (*k).to_owned()).collect());
            return c;
        };
        match super::array::classes(&numbers) {
            Some(k) => Column::labels(name, numbers.iter().map(|&v| v as u32).collect(), k),
            None => {
                let values = numbers.iter().map(|&v| v as f32).collect();
                Column::plain(name, FieldType::Real(vec![]), Store::Real(values))
            }
        }
    }

    /// The field `.vector` of these columns.
    fn vector(&self, names: &[&str], span: Span) -> Result<Column, Diagnostic> {
        let mut columns = Vec::new();
        for name in names {
            let i = self.position(name, span)?;
            columns.push(self.numbers(i).ok_or_else(|| {
                let cell = self.cells(i).find(|c| c.parse::<f64>().is_err()).unwrap_or_default();
                fail(COLUMN, format!("`{name}` is not numeric"), span, format!("it holds {cell:?}"))
            })?);
        }
        let rows = 0..self.records.len();
        let values = rows.flat_map(|r| columns.iter().map(move |c| c[r] as f32)).collect();
        Ok(Column::plain("vector", FieldType::Real(vec![names.len()]), Store::Real(values)))
    }
}

/// The source.
pub(super) fn read(call: &Call, base: &Path) -> Result<Table, Diagnostics> {
    let mut args = Args::new(call);
    let path = args.path("path", Some(0), base);
    let vector = args.texts("vector");
    args.finish("a path and `vector: […]`")?;
    let Some((path, span)) = path else { return Err(Diagnostics::default()) };
    let text = Text::open(path, span)?;
    let mut columns: Vec<Column> = text.header.iter().enumerate().map(|(i, h)| text.column(i, h)).collect();
    if let Some((names, at)) = vector {
        columns.push(text.vector(&names, at)?);
    }
    let rows = text.records.len();
    Ok(Table::new(columns, rows))
}

/// Columns for pictures: matched by the column `file` if there is one, else row by row. `names` are the full names of
/// the files, `inner` those without the folders that all share.
pub(super) fn labels(
    arg: &Arg,
    span: Span,
    vector: Option<(Vec<&str>, Span)>,
    base: &Path,
    names: &[&str],
    inner: &[&str],
) -> Result<Vec<Column>, Diagnostics> {
    let Arg::Call(call) = arg else {
        let d = fail(ARGUMENT, "`labels:` of pictures is a CSV file", span, "expected `csv(\"…\")`");
        return Err(d.help("Write `labels: csv(\"labels.csv\")`, or with `column: \"c\"` for one column.").into());
    };
    if call.name != "csv" {
        return Err(
            fail(ARGUMENT, "`labels:` of pictures is a CSV file", call.span, "expected `csv(\"…\")`").into()
        );
    }
    let mut args = Args::new(call);
    let path = args.path("path", Some(0), base);
    let column = args.text("column", None);
    args.finish("a path and `column: \"c\"`")?;
    let Some((path, at)) = path else { return Err(Diagnostics::default()) };
    let mut text = Text::open(path, at)?;
    let file = text.header.iter().position(|h| h == "file");
    match file {
        Some(i) => text.records = matched(&text, i, names, inner)?,
        None if text.records.len() != names.len() => {
            let d =
                fail(MISMATCH, "pictures and labels differ in number", at, format!("{} rows", text.records.len()));
            return Err(d.note(format!("There are {} pictures.", names.len())).into());
        }
        None => {}
    }
    let mut columns = match column {
        Some((name, at)) => vec![text.column(text.position(name, at)?, "label")],
        None => {
            (0..text.header.len()).filter(|&i| Some(i) != file).map(|i| text.column(i, &text.header[i])).collect()
        }
    };
    if let Some((names, at)) = vector {
        columns.push(text.vector(&names, at)?);
    }
    Ok(columns)
}

/// One record a picture, in the order of the pictures.
fn matched(text: &Text, file: usize, names: &[&str], inner: &[&str]) -> Result<Vec<StringRecord>, Diagnostic> {
    let mut place: BTreeMap<&str, usize> = BTreeMap::new();
    inner.iter().enumerate().for_each(|(i, n)| _ = place.insert(n, i));
    names.iter().enumerate().for_each(|(i, n)| _ = place.insert(n, i));
    let mut found: Vec<Option<&StringRecord>> = vec![None; names.len()];
    for (r, name) in text.records.iter().zip(text.cells(file)) {
        let slot = place.get(name.trim_start_matches("./")).map(|&i| &mut found[i]).ok_or_else(|| {
            let title = format!("{} names a picture that is not there", text.path.display());
            fail(MISMATCH, title, text.span, format!("{name:?}"))
        })?;
        if slot.replace(r).is_some() {
            let title = format!("{} names a picture twice", text.path.display());
            return Err(fail(MISMATCH, title, text.span, format!("{name:?}")));
        }
    }
    let record = |(i, r): (usize, Option<&StringRecord>)| {
        r.cloned().ok_or_else(|| {
            let title = format!("{} has no row for a picture", text.path.display());
            fail(MISMATCH, title, text.span, names[i].to_owned())
        })
    };
    found.into_iter().enumerate().map(record).collect()
}
