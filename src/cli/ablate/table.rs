//! What the runs say: a table as text and CSV, and a picture.

use super::variants::Variant;
use super::work::{Outcome, Run};
use crate::cli::Failure;
use crate::cli::progress::number;
use crate::report::forest::{self, Panel, Row};
use crate::report::save_png;
use crate::train::folder::write_atomic;
use std::collections::BTreeSet;
use std::path::Path;

/// A metric of a variant over its seeds.
#[derive(Clone, Debug, Default, PartialEq)]
struct Cell {
    values: Vec<f64>,
    mean: Option<f64>,
    /// Standard error of the mean: s / sqrt(n), s with n - 1.
    error: Option<f64>,
}

impl Cell {
    fn new(values: Vec<f64>) -> Self {
        let n = values.len() as f64;
        let mean = (!values.is_empty()).then(|| values.iter().sum::<f64>() / n);
        let error = mean.filter(|_| values.len() > 1).map(|m| {
            let squares: f64 = values.iter().map(|v| (v - m) * (v - m)).sum();
            (squares / (n - 1.0) / n).sqrt()
        });
        Self { values, mean, error }
    }

    fn text(&self) -> String {
        match (self.mean, self.error) {
            (None, _) => "-".into(),
            (Some(m), _) if !m.is_finite() => "not finite".into(),
            (Some(m), None) => number(m),
            (Some(m), Some(e)) => format!("{} ± {}", number(m), number(e)),
        }
    }
}

struct Table {
    title: String,
    metrics: Vec<String>,
    /// Name, cells by metric, number of runs that failed.
    rows: Vec<(String, Vec<Cell>, usize)>,
}

fn table(title: &str, variants: &[Variant], runs: &[Run]) -> Table {
    let mut metrics = BTreeSet::new();
    for r in runs {
        if let Some(Outcome::Done(values)) = &r.outcome {
            metrics.extend(values.keys().cloned());
        }
    }
    let metrics: Vec<String> = metrics.into_iter().collect();
    let mut rows = Vec::new();
    for (i, v) in variants.iter().enumerate() {
        let own: Vec<&Run> = runs.iter().filter(|r| r.variant == i).collect();
        let value = |r: &&Run, m: &str| match &r.outcome {
            Some(Outcome::Done(values)) => values.get(m).copied(),
            Some(Outcome::Failed(_)) | None => None,
        };
        let cell = |m: &String| Cell::new(own.iter().filter_map(|r| value(r, m)).collect());
        let failed = own.iter().filter(|r| matches!(r.outcome, Some(Outcome::Failed(_)))).count();
        rows.push((v.name.clone(), metrics.iter().map(cell).collect(), failed));
    }
    Table { title: title.to_string(), metrics, rows }
}

fn text(t: &Table) -> String {
    let mut lines = vec![vec!["variant".to_string()]];
    lines[0].extend(t.metrics.iter().cloned());
    let any = t.rows.iter().any(|r| r.2 > 0);
    if any {
        lines[0].push("failed".into());
    }
    for (name, cells, failed) in &t.rows {
        let mut line = vec![name.clone()];
        line.extend(cells.iter().map(Cell::text));
        if any {
            line.push(if *failed > 0 { failed.to_string() } else { String::new() });
        }
        lines.push(line);
    }
    let width = |c: usize| lines.iter().map(|l| l[c].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let mut out = format!("{}\nmean ± standard error of the last evaluation of each run\n\n", t.title);
    for (i, l) in lines.iter().enumerate() {
        let cells: Vec<String> = l.iter().zip(&widths).map(|(c, w)| format!("{c:w$}", w = *w)).collect();
        out.push_str(cells.join("   ").trim_end());
        out.push('\n');
        if i == 0 {
            out.push_str(&"-".repeat(widths.iter().sum::<usize>() + 3 * (widths.len() - 1)));
            out.push('\n');
        }
    }
    out
}

fn csv(rows: &[Vec<String>]) -> Result<Vec<u8>, Failure> {
    let mut w = csv::Writer::from_writer(Vec::new());
    for r in rows {
        w.write_record(r).map_err(|e| Failure::Message(e.to_string()))?;
    }
    w.into_inner().map_err(|e| Failure::Message(e.to_string()))
}

fn summary(t: &Table) -> Vec<Vec<String>> {
    let head = ["variant", "metric", "runs", "failed", "mean", "standard_error"];
    let mut rows = vec![head.map(String::from).to_vec()];
    for (name, cells, failed) in &t.rows {
        for (m, c) in t.metrics.iter().zip(cells) {
            let number = |v: Option<f64>| v.map(|v| v.to_string()).unwrap_or_default();
            let runs = c.values.len().to_string();
            rows.push(vec![name.clone(), m.clone(), runs, failed.to_string(), number(c.mean), number(c.error)]);
        }
    }
    rows
}

fn single(t: &Table, variants: &[Variant], runs: &[Run]) -> Vec<Vec<String>> {
    let mut head = ["variant", "seed", "outcome"].map(String::from).to_vec();
    head.extend(t.metrics.iter().cloned());
    let mut rows = vec![head];
    for r in runs {
        let mut row = vec![variants[r.variant].name.clone(), r.seed.to_string()];
        match &r.outcome {
            Some(Outcome::Done(values)) => {
                row.push("done".into());
                let cell = |m: &String| values.get(m).map(|v| v.to_string()).unwrap_or_default();
                row.extend(t.metrics.iter().map(cell));
            }
            Some(Outcome::Failed(why)) => {
                row.push(why.clone());
                row.extend(t.metrics.iter().map(|_| String::new()));
            }
            None => continue,
        }
        rows.push(row);
    }
    rows
}

fn panels(t: &Table) -> Vec<Panel> {
    let panel = |(i, m): (usize, &String)| Panel {
        title: m.clone(),
        rows: t
            .rows
            .iter()
            .map(|(name, cells, _)| {
                let c = &cells[i];
                Row { name: name.clone(), values: c.values.clone(), mean: c.mean, error: c.error }
            })
            .collect(),
    };
    t.metrics.iter().enumerate().map(panel).collect()
}

/// Writes all of it below `root`, and prints the table.
pub(super) fn write(root: &Path, title: &str, variants: &[Variant], runs: &[Run]) -> Result<(), Failure> {
    let t = table(title, variants, runs);
    let said = text(&t);
    crate::cli::print(&format!("\n{said}\n"));
    let failed = |e: crate::train::RunError| Failure::Message(e.to_string());
    write_atomic(&root.join("table.txt"), said.as_bytes(), "write the table").map_err(failed)?;
    write_atomic(&root.join("table.csv"), &csv(&summary(&t))?, "write the table").map_err(failed)?;
    write_atomic(&root.join("runs.csv"), &csv(&single(&t, variants, runs))?, "write the table").map_err(failed)?;
    save_png(&forest::forest(&panels(&t)), &root.join("plot.png")).map_err(|e| Failure::Message(e.to_string()))?;
    crate::cli::print(&format!("table.txt, table.csv, runs.csv and plot.png in {}\n", root.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_standard_errors() {
        let c = Cell::new(vec![1.0, 2.0, 3.0]);
        // s = 1, so the error is 1 / sqrt(3).
        assert_eq!((c.mean, c.error.map(|e| (e * e * 3.0 - 1.0).abs() < 1e-12)), (Some(2.0), Some(true)));
        assert_eq!(c.text(), "2.000 ± 0.5774");
        assert_eq!(Cell::new(vec![4.0]).text(), "4.000");
        assert_eq!(Cell::new(vec![]).text(), "-");
        assert_eq!(Cell::new(vec![1.0, f64::NAN]).text(), "not finite");
    }

    #[test]
    fn tables_line_up_and_say_what_failed() {
        let rows = vec![
            ("as it is".to_string(), vec![Cell::new(vec![1.0, 2.0])], 0),
            ("without \"r1\", here".to_string(), vec![Cell::new(vec![])], 2),
        ];
        let t = Table { title: "t".into(), metrics: vec!["swd".into()], rows };
        let said = text(&t);
        assert!(said.contains("as it is             1.500 ± 0.5000\n"), "{said}");
        assert!(said.contains("without \"r1\", here   -                2\n"), "{said}");
        let bytes = csv(&summary(&t)).unwrap_or_default();
        let said = String::from_utf8_lossy(&bytes);
        assert!(said.contains("\"without \"\"r1\"\", here\",swd,0,2,,\n"), "{said}");
        assert_eq!(panels(&t)[0].rows.len(), 2);
    }
}
