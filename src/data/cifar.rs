//! CIFAR-10 and CIFAR-100, binary version: `cifar10(path)`, `cifar100(path)`.
//!
//! The path is a .bin file, or the folder of the archive (then the training files, or with `test: true` the test file).

use super::Call;
use super::args::Args;
use super::error::{EMPTY, damaged, fail, open_file, total, unreadable};
use super::geometry::{Geometry, Sink};
use super::table::{Column, Pending, Table};
use crate::diag::{Diagnostic, Diagnostics};
use crate::source::Span;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

const SHAPE: [usize; 3] = [3, 32, 32];
const PIXELS: usize = 3 * 32 * 32;

/// Records of some files.
#[derive(Debug)]
pub(super) struct Pictures {
    files: Vec<(PathBuf, usize)>,
    /// Label bytes before the pixels.
    lead: usize,
    span: Span,
}

/// The source; `fine`: CIFAR-100.
pub(super) fn read(call: &Call, base: &Path, fine: bool) -> Result<Table, Diagnostics> {
    let mut args = Args::new(call);
    let path = args.path("path", Some(0), base);
    let test = args.flag("test", false);
    args.finish("the path of the folder or of a .bin file, and `test: true`")?;
    let Some((path, span)) = path else { return Err(Diagnostics::default()) };
    let lead = if fine { 2 } else { 1 };
    let paths: Vec<PathBuf> = if path.is_dir() {
        match (fine, test) {
            (true, _) => vec![path.join(if test { "test.bin" } else { "train.bin" })],
            (false, true) => vec![path.join("test_batch.bin")],
            (false, false) => (1..=5).map(|i| path.join(format!("data_batch_{i}.bin"))).collect(),
        }
    } else {
        vec![path.clone()]
    };
    let mut pictures = Pictures { files: Vec::new(), lead, span };
    for p in paths {
        let length = std::fs::metadata(&p).map_err(|e| unreadable(&p, &e, span))?.len();
        let record = (lead + PIXELS) as u64;
        if length % record != 0 {
            return Err(damaged(&p, &format!("{length} bytes are not a multiple of {record}"), span).into());
        }
        pictures.files.push((p, (length / record) as usize));
    }
    let rows = pictures.files.iter().map(|f| f.1).sum();
    if rows == 0 {
        return Err(fail(EMPTY, format!("{} is empty", path.display()), span, "no pictures").into());
    }
    total(rows, &SHAPE, 1, &path, span)?;
    let mut labels = vec![Vec::with_capacity(rows); lead];
    pictures.records(|record, file| {
        for (i, l) in labels.iter_mut().enumerate() {
            let most = [if fine { 20 } else { 10 }, 100][i];
            if record[i] >= most {
                return Err(damaged(file, &format!("label {} is not below {most}", record[i]), span));
            }
            l.push(u32::from(record[i]));
        }
        Ok(())
    })?;
    let fine_labels = labels.pop().unwrap_or_default();
    let mut columns = vec![Column::pictures("image", SHAPE, Pending::Cifar(pictures))];
    columns.push(Column::labels("label", fine_labels, if fine { 100 } else { 10 }));
    if let Some(coarse) = labels.pop() {
        columns.push(Column::labels("coarse", coarse, 20));
    }
    Ok(Table::new(columns, rows))
}

impl Pictures {
    fn records(&self, mut each: impl FnMut(&[u8], &Path) -> Result<(), Diagnostic>) -> Result<(), Diagnostic> {
        let mut record = vec![0; self.lead + PIXELS];
        for (path, rows) in &self.files {
            let io = |e| unreadable(path, &e, self.span);
            let mut reader = BufReader::with_capacity(1 << 16, open_file(path).map_err(io)?);
            for _ in 0..*rows {
                reader.read_exact(&mut record).map_err(io)?;
                each(&record, path)?;
            }
        }
        Ok(())
    }

    /// Reads the rows `wanted`.
    pub(super) fn load(&self, wanted: &[u32], geometry: &[Geometry]) -> Result<Vec<u8>, Diagnostic> {
        let mut sink = Sink::new(geometry, SHAPE, wanted.len());
        let mut wanted = wanted.iter().peekable();
        let mut row = 0u32;
        self.records(|record, path| {
            if wanted.next_if_eq(&&row).is_some() {
                sink.push(&record[self.lead..], SHAPE).map_err(|why| damaged(path, &why, self.span))?;
            }
            row += 1;
            Ok(())
        })?;
        Ok(sink.out)
    }
}
