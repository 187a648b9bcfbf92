//! Pairs of pictures: `pairs("a", "b")` of two folders with equal file names, or `pairs(path)` of a folder or .zip of
//! pictures side by side; `fields: ["a", "b"]`, `labels: csv(…)`, `vector: […]`.

use super::Call;
use super::args::Args;
use super::error::{ARGUMENT, MISMATCH, fail};
use super::pictures::{Pictures, is_folder, label_columns, list};
use super::table::{Column, Pending, Table};
use crate::diag::Diagnostics;
use std::path::Path;

fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |p| p.0)
}

/// The source.
pub(super) fn read(call: &Call, base: &Path) -> Result<Table, Diagnostics> {
    let mut args = Args::new(call);
    let first = args.path("path", Some(0), base);
    let second = args.text("second", Some(1)).map(|(s, span)| (base.join(s), span));
    let fields = args.texts("fields");
    let Some((path, span)) = first else {
        args.rest();
        args.finish("one or two paths")?;
        return Err(Diagnostics::default());
    };
    let (place, entries) = list(&path, span)?;
    let labels = label_columns(&mut args, base, &entries)?.unwrap_or_default();
    args.finish("one or two paths, `fields: [\"a\", \"b\"]`, `labels: csv(…)` and `vector: […]`")?;
    let names = match fields {
        None => ["a", "b"],
        Some((list, at)) => match list[..] {
            [a, b] if a != b => [a, b],
            _ => return Err(fail(ARGUMENT, "`fields:` names the two pictures", at, "two different names").into()),
        },
    };
    if let Some(c) = labels.iter().find(|c| names.contains(&c.field.name.as_str())) {
        let title = format!("a column and a picture are both called `{}`", c.field.name);
        return Err(fail(MISMATCH, title, call.span, "`fields:` gives other names").into());
    }
    let rows = entries.len();
    let pictures = match second {
        None => Pictures::new(place, entries, None)?.halves()?,
        Some((other, at)) => {
            is_folder(&path, span)?;
            is_folder(&other, at)?;
            let (place_b, entries_b) = list(&other, at)?;
            if entries.len() != entries_b.len() {
                let d = fail(
                    MISMATCH,
                    "the folders hold different numbers of pictures",
                    at,
                    entries_b.len().to_string(),
                );
                return Err(d.label(span, entries.len().to_string()).into());
            }
            if let Some((a, b)) = entries.iter().zip(&entries_b).find(|(a, b)| stem(&a.name) != stem(&b.name)) {
                let d = fail(MISMATCH, "the folders hold pictures of different names", at, b.name.clone());
                return Err(d.label(span, a.name.clone()).into());
            }
            [Pictures::new(place, entries, None)?, Pictures::new(place_b, entries_b, None)?]
        }
    };
    let mut columns: Vec<Column> =
        pictures.into_iter().zip(names).map(|(p, n)| Column::pictures(n, p.shape(), Pending::Files(p))).collect();
    columns.extend(labels);
    Ok(Table::new(columns, rows))
}
