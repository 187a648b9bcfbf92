//! IDX files (the MNIST family), plain or gzip: `idx(images, labels: …, classes: …)`.

use super::args::Args;
use super::error::{DAMAGED, EMPTY, MISMATCH, damaged, fail, open_file, total, unreadable};
use super::geometry::{Geometry, Sink};
use super::table::{Column, Pending, Table};
use super::{Call, error};
use crate::diag::{Diagnostic, Diagnostics};
use crate::source::Span;
use flate2::read::MultiGzDecoder;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

/// Deflate makes at most this many bytes of one.
const INFLATION: u64 = 1032;

/// Pictures of an IDX file, header read.
#[derive(Debug)]
pub(super) struct Pictures {
    path: PathBuf,
    span: Span,
    rows: usize,
    shape: [usize; 3],
}

/// A file's bytes, inflated if they are gzip (by content, not by name).
fn open(path: &Path, span: Span) -> Result<(Box<dyn Read>, u64), Diagnostic> {
    let io = |e| unreadable(path, &e, span);
    let mut file = open_file(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let mut magic = [0; 2];
    let gz = file.read(&mut magic).map_err(io)? == 2 && magic == [0x1f, 0x8b];
    file.rewind().map_err(io)?;
    let reader = BufReader::with_capacity(1 << 16, file);
    Ok(if gz {
        (Box::new(MultiGzDecoder::new(reader)), length.saturating_mul(INFLATION))
    } else {
        (Box::new(reader), length)
    })
}

/// Fills the buffer or says that the file is too short.
fn exact(reader: &mut dyn Read, buffer: &mut [u8], path: &Path, span: Span) -> Result<(), Diagnostic> {
    reader.read_exact(buffer).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => damaged(path, "it ends before what its header promises", span),
        _ => unreadable(path, &e, span),
    })
}

/// Extents of an IDX file of bytes, and its reader behind the header.
fn header(path: &Path, span: Span) -> Result<(Vec<usize>, Box<dyn Read>), Diagnostic> {
    let (mut reader, most) = open(path, span)?;
    let mut magic = [0; 4];
    exact(&mut reader, &mut magic, path, span)?;
    let [0, 0, kind, rank] = magic else {
        return Err(damaged(
            path,
            &format!("an IDX file begins with 0 0, this one with {} {}", magic[0], magic[1]),
            span,
        ));
    };
    if kind != 8 {
        let why = format!("element type 0x{kind:02x}; only unsigned bytes (0x08) are read");
        return Err(fail(DAMAGED, format!("{} does not hold bytes", path.display()), span, why));
    }
    if !(1..=4).contains(&rank) {
        return Err(damaged(path, &format!("{rank} axes; 1 to 4 are read"), span));
    }
    let mut extents = Vec::new();
    for _ in 0..rank {
        let mut word = [0; 4];
        exact(&mut reader, &mut word, path, span)?;
        extents.push(u32::from_be_bytes(word) as usize);
    }
    let bytes = total(extents[0], &extents[1..], 1, path, span)?;
    if bytes as u64 > most {
        let why = format!("its header promises {bytes} bytes, and its size cannot hold them");
        return Err(damaged(path, &why, span));
    }
    if bytes == 0 {
        return Err(fail(EMPTY, format!("{} is empty", path.display()), span, format!("extents {extents:?}")));
    }
    Ok((extents, reader))
}

/// Whether anything follows; reads to the end, which checks a gzip's sum.
fn ends(reader: &mut dyn Read, path: &Path, span: Span) -> Result<(), Diagnostic> {
    match reader.read(&mut [0; 1]) {
        Ok(0) => Ok(()),
        Ok(_) => Err(damaged(path, "it goes on after what its header promises", span)),
        Err(e) => Err(unreadable(path, &e, span)),
    }
}

/// All labels of a file of rank 1.
fn labels(path: &Path, span: Span) -> Result<Vec<u8>, Diagnostic> {
    let (extents, mut reader) = header(path, span)?;
    if extents.len() != 1 {
        return Err(damaged(path, &format!("labels have one axis, and this has {}", extents.len()), span));
    }
    let mut out = Vec::new();
    (&mut reader).take(extents[0] as u64).read_to_end(&mut out).map_err(|e| unreadable(path, &e, span))?;
    if out.len() < extents[0] {
        return Err(damaged(path, "it ends before what its header promises", span));
    }
    ends(&mut reader, path, span)?;
    Ok(out)
}

/// The source.
pub(super) fn read(call: &Call, base: &Path) -> Result<Table, Diagnostics> {
    let mut args = Args::new(call);
    let images = args.path("images", Some(0), base);
    let label_path = args.text("labels", Some(1)).map(|(s, span)| (base.join(s), span));
    let classes = args.count("classes", None, 1);
    args.finish("the path of the images, `labels:` and `classes:`")?;
    let Some((path, span)) = images else { return Err(Diagnostics::default()) };
    let (extents, _) = header(&path, span)?;
    let shape = match extents[1..] {
        [h, w] => [1, h, w],
        [c, h, w] => [c, h, w],
        _ => {
            return Err(damaged(
                &path,
                &format!("pictures have 3 or 4 axes, and this has {}", extents.len()),
                span,
            )
            .into());
        }
    };
    let rows = extents[0];
    let pictures = Pictures { path, span, rows, shape };
    let mut columns = vec![Column::pictures("image", shape, Pending::Idx(pictures))];
    if let Some((path, span)) = label_path {
        let labels = labels(&path, span)?;
        if labels.len() != rows {
            let d = fail(MISMATCH, "images and labels differ in number", span, format!("{} labels", labels.len()));
            return Err(d.label(columns_span(&columns), format!("{rows} images")).into());
        }
        let top = labels.iter().copied().max().unwrap_or(0) as usize;
        let k = match classes {
            Some((k, at)) if k <= top => {
                let d = fail(
                    error::ARGUMENT,
                    format!("label {top} is not below `classes`"),
                    at,
                    format!("{k} classes"),
                );
                return Err(d.into());
            }
            Some((k, _)) => k,
            None => top + 1,
        };
        columns.push(Column::labels("label", labels.into_iter().map(u32::from).collect(), k));
    }
    Ok(Table::new(columns, rows))
}

fn columns_span(columns: &[Column]) -> Span {
    match columns.first().map(|c| &c.store) {
        Some(super::table::Store::Pending(Pending::Idx(p))) => p.span,
        _ => Span::default(),
    }
}

impl Pictures {
    /// Reads the whole file, keeps the rows `wanted`.
    pub(super) fn load(&self, wanted: &[u32], geometry: &[Geometry]) -> Result<Vec<u8>, Diagnostic> {
        let (path, span) = (&self.path, self.span);
        let (extents, mut reader) = header(path, span)?;
        let mut row = vec![0; self.shape.iter().product()];
        if extents[0] != self.rows || extents[1..].iter().product::<usize>() != row.len() {
            return Err(damaged(path, "it changed while it was read", span));
        }
        let mut sink = Sink::new(geometry, self.shape, wanted.len());
        let mut wanted = wanted.iter().peekable();
        for i in 0..self.rows as u32 {
            exact(&mut reader, &mut row, path, span)?;
            if wanted.next_if_eq(&&i).is_some() {
                sink.push(&row, self.shape).map_err(|why| damaged(path, &why, span))?;
            }
        }
        ends(&mut reader, path, span)?;
        Ok(sink.out)
    }
}
