//! Arrays: `npy(path, labels: …, range: […])`, `npz(path)`, `safetensors(path)`. The first axis counts rows.
//!
//! Byte arrays `[n, h, w]` and `[n, c, h, w]` are pictures; so are real ones with `range: [lo, hi]`. Whole numbers
//! `[n]` that are 0 to k-1, all of which occur, are `class(k)`; the rest are reals.

use super::args::Args;
use super::error::{ARGUMENT, DAMAGED, EMPTY, MISMATCH, damaged, fail, open_file, total, unreadable};
use super::geometry::{Geometry, Sink};
use super::table::{Column, Pending, Store, Table};
use super::{Arg, Call, FieldType};
use crate::diag::{Diagnostic, Diagnostics};
use crate::source::Span;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Element type in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    Unsigned(usize),
    Signed(usize),
    Float(usize),
    Bfloat,
}

impl Element {
    fn size(self) -> usize {
        match self {
            Element::Unsigned(n) | Element::Signed(n) | Element::Float(n) => n,
            Element::Bfloat => 2,
        }
    }

    fn whole(self) -> bool {
        matches!(self, Element::Unsigned(_) | Element::Signed(_))
    }

    /// The value of little-endian bytes.
    fn value(self, bytes: &[u8]) -> f64 {
        let mut wide = [0u8; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let bits = u64::from_le_bytes(wide);
        let unused = 64 - 8 * bytes.len() as u32;
        match self {
            Element::Unsigned(_) => bits as f64,
            Element::Signed(_) => ((bits << unused) as i64 >> unused) as f64,
            Element::Float(2) => half::f16::from_bits(bits as u16).to_f64(),
            Element::Float(4) => f64::from(f32::from_bits(bits as u32)),
            Element::Float(_) => f64::from_bits(bits),
            Element::Bfloat => half::bf16::from_bits(bits as u16).to_f64(),
        }
    }
}

/// An array within a file, header read.
#[derive(Debug)]
pub(super) struct Array {
    path: PathBuf,
    span: Span,
    /// Entry of a .npz.
    entry: Option<usize>,
    /// Where its elements begin.
    offset: u64,
    element: Element,
    big_endian: bool,
    shape: Vec<usize>,
    pictures: bool,
}

/// The k of whole numbers 0 to k-1, all of which occur.
pub(super) fn classes(values: &[f64]) -> Option<usize> {
    let top = values.iter().try_fold(0.0f64, |m, &v| (v >= 0.0 && v.fract() == 0.0).then_some(m.max(v)))?;
    // No more classes than rows.
    let k = if top < values.len() as f64 { top as usize + 1 } else { return None };
    let mut seen = vec![false; k];
    values.iter().for_each(|&v| seen[v as usize] = true);
    seen.iter().all(|&s| s).then_some(k)
}

impl Array {
    /// The shape of one row; pictures are `[c, h, w]`.
    fn row(&self) -> Vec<usize> {
        match (self.pictures, &self.shape[1..]) {
            (true, &[h, w]) => vec![1, h, w],
            (_, rest) => rest.to_vec(),
        }
    }

    fn check(mut self) -> Result<Self, Diagnostic> {
        let size = self.shape.get(1..).unwrap_or_default();
        if self.shape.is_empty() {
            return Err(damaged(&self.path, "it holds a single number, and rows were expected", self.span));
        }
        if total(self.shape[0], size, self.element.size().max(4), &self.path, self.span)? == 0 {
            return Err(fail(
                EMPTY,
                format!("{} is empty", self.path.display()),
                self.span,
                format!("{:?}", self.shape),
            ));
        }
        self.pictures = self.element == Element::Unsigned(1) && (3..=4).contains(&self.shape.len());
        Ok(self)
    }

    /// The bytes of the elements.
    fn open(&self) -> Result<Box<dyn Read>, Diagnostic> {
        let io = |e| unreadable(&self.path, &e, self.span);
        let file = open_file(&self.path).map_err(io)?;
        let Some(entry) = self.entry else {
            let mut reader = BufReader::with_capacity(1 << 16, file);
            reader.seek(SeekFrom::Start(self.offset)).map_err(io)?;
            return Ok(Box::new(reader));
        };
        // The archive cannot outlive this call, so the entry is read whole; its size was checked against the header.
        let bad = |e: zip::result::ZipError| damaged(&self.path, &e.to_string(), self.span);
        let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(bad)?;
        let bytes = self.shape.iter().product::<usize>() * self.element.size();
        let mut out = Vec::new();
        let entry = archive.by_index(entry).map_err(bad)?;
        entry.take(self.offset + bytes as u64).read_to_end(&mut out).map_err(io)?;
        let rest = out.split_off((self.offset as usize).min(out.len()));
        Ok(Box::new(std::io::Cursor::new(rest)))
    }

    /// Reads the rows `wanted`.
    pub(super) fn load(&self, wanted: &[u32], geometry: &[Geometry]) -> Result<Store, Diagnostic> {
        let mut reader = self.open()?;
        let row = self.row();
        let size = self.element.size();
        let mut bytes = vec![0; row.iter().product::<usize>() * size];
        let source = if self.pictures { [row[0], row[1], row[2]] } else { [0; 3] };
        let mut sink = Sink::new(geometry, source, if self.pictures { wanted.len() } else { 0 });
        let mut reals = Vec::new();
        let mut wanted = wanted.iter().peekable();
        for r in 0..self.shape[0] as u32 {
            reader
                .read_exact(&mut bytes)
                .map_err(|_| damaged(&self.path, "it ends before what its header promises", self.span))?;
            if wanted.next_if_eq(&&r).is_none() {
                continue;
            }
            if self.pictures {
                sink.push(&bytes, source).map_err(|why| damaged(&self.path, &why, self.span))?;
                continue;
            }
            for e in bytes.chunks_exact_mut(size) {
                if self.big_endian {
                    e.reverse();
                }
                reals.push(self.element.value(e) as f32);
            }
        }
        Ok(if self.pictures { Store::Bytes(sink.out) } else { Store::Real(reals) })
    }

    /// The column of this array; single numbers are read at once, since rows may be chosen by them.
    fn column(self, name: &str, range: Option<(f64, f64)>) -> Result<Column, Diagnostic> {
        let row = self.row();
        if let ([c, h, w], true) = (&row[..], self.pictures) {
            return Ok(Column::pictures(name, [*c, *h, *w], Pending::Array(self)));
        }
        if self.shape.len() == 1 {
            let all: Vec<u32> = (0..self.shape[0] as u32).collect();
            let store = self.load(&all, &[])?;
            if let (Store::Real(v), true) = (&store, self.element.whole()) {
                // Whole numbers up to 2^24 are exact in f32; more classes than that do not occur.
                let wide: Vec<f64> = v.iter().map(|&x| f64::from(x)).collect();
                if let Some(k) = classes(&wide) {
                    return Ok(Column::labels(name, v.iter().map(|&x| x as u32).collect(), k));
                }
            }
            return Ok(Column::plain(name, FieldType::Real(row), store));
        }
        let mut column = Column::plain(name, FieldType::Real(row), Store::Pending(Pending::Array(self)));
        column.range = range;
        Ok(column)
    }
}

/// The header of an .npy file (version 1 to 3), from its first bytes.
fn npy(reader: &mut dyn Read, path: &Path, span: Span, entry: Option<usize>) -> Result<Array, Diagnostic> {
    let bad = |why: &str| damaged(path, why, span);
    let mut fixed = [0; 8];
    reader.read_exact(&mut fixed).map_err(|_| bad("it is shorter than an .npy header"))?;
    if &fixed[..6] != b"\x93NUMPY" {
        return Err(bad("an .npy file begins with \\x93NUMPY"));
    }
    let wide = if fixed[6] >= 2 { 4 } else { 2 };
    let mut length = [0; 4];
    reader.read_exact(&mut length[..wide]).map_err(|_| bad("it ends within its header"))?;
    let length = u32::from_le_bytes(length) as usize;
    if length > 1 << 16 {
        return Err(bad("its header is too long"));
    }
    let mut text = vec![0; length];
    reader.read_exact(&mut text).map_err(|_| bad("it ends within its header"))?;
    let text = String::from_utf8_lossy(&text);
    let value = |key: &str| text.split_once(&format!("'{key}':")).map(|p| p.1.trim_start());
    let descr = value("descr").and_then(|v| v.strip_prefix('\'')).and_then(|v| v.split('\'').next());
    let descr = descr.ok_or_else(|| bad("its header names no element type"))?;
    let shape = value("shape").and_then(|v| v.strip_prefix('(')).and_then(|v| v.split(')').next());
    let shape: Option<Vec<usize>> =
        shape.and_then(|s| s.split(',').map(str::trim).filter(|s| !s.is_empty()).map(|s| s.parse().ok()).collect());
    let shape = shape.ok_or_else(|| bad("its header has no valid shape"))?;
    if value("fortran_order").is_some_and(|v| v.starts_with("True")) && shape.len() > 1 {
        let d =
            fail(DAMAGED, format!("{} is stored column by column", path.display()), span, "fortran_order is True");
        return Err(d.help("Save `numpy.ascontiguousarray(x)`."));
    }
    let mut chars = descr.chars();
    let order = chars.next().unwrap_or(' ');
    let element = match chars.as_str() {
        "b1" | "u1" => Element::Unsigned(1),
        "u2" => Element::Unsigned(2),
        "u4" => Element::Unsigned(4),
        "u8" => Element::Unsigned(8),
        "i1" => Element::Signed(1),
        "i2" => Element::Signed(2),
        "i4" => Element::Signed(4),
        "i8" => Element::Signed(8),
        "f2" => Element::Float(2),
        "f4" => Element::Float(4),
        "f8" => Element::Float(8),
        _ => return Err(bad(&format!("element type {descr:?} is not read"))),
    };
    let offset = (8 + wide + length) as u64;
    let array = Array {
        path: path.to_owned(),
        span,
        entry,
        offset,
        element,
        big_endian: order == '>',
        shape,
        pictures: false,
    };
    array.check()
}

fn open_npy(path: &Path, span: Span) -> Result<Array, Diagnostic> {
    let io = |e| unreadable(path, &e, span);
    let file = open_file(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let array = npy(&mut BufReader::new(file), path, span, None)?;
    let needed = array.offset + (array.shape.iter().product::<usize>() * array.element.size()) as u64;
    if needed != length {
        return Err(damaged(path, &format!("it has {length} bytes, and its header promises {needed}"), span));
    }
    Ok(array)
}

/// `npy(path, labels: path, range: [lo, hi])`: fields `.image` (pictures) or `.value`, and `.label`.
pub(super) fn read_npy(call: &Call, base: &Path) -> Result<Table, Diagnostics> {
    let mut args = Args::new(call);
    let path = args.path("path", Some(0), base);
    let labels = args.text("labels", None).map(|(s, span)| (base.join(s), span));
    let range = args.find("range", None);
    args.finish("a path, `labels:` and `range: [lo, hi]`")?;
    let Some((path, span)) = path else { return Err(Diagnostics::default()) };
    let range = match range {
        None => None,
        Some((Arg::List(v), at)) => match v[..] {
            [Arg::Number(lo), Arg::Number(hi)] if lo < hi => Some((lo, hi)),
            _ => {
                return Err(fail(ARGUMENT, "`range:` is a list of black and white", at, "expected [lo, hi]").into());
            }
        },
        Some((_, at)) => return Err(fail(ARGUMENT, "`range:` is a list", at, "expected [lo, hi]").into()),
    };
    let array = open_npy(&path, span)?;
    let rows = array.shape[0];
    let name = if array.pictures || range.is_some() { "image" } else { "value" };
    let mut columns = vec![array.column(name, range)?];
    if let Some((path, at)) = labels {
        let array = open_npy(&path, at)?;
        if array.shape.len() != 1 || array.shape[0] != rows {
            let d = fail(MISMATCH, "rows and labels differ in number", at, format!("shape {:?}", array.shape));
            return Err(d.label(span, format!("{rows} rows")).into());
        }
        columns.push(array.column("label", None)?);
    }
    Ok(Table::new(columns, rows))
}

/// All arrays as fields; their numbers of rows must agree.
fn joined(arrays: Vec<(String, Array)>, span: Span) -> Result<Table, Diagnostics> {
    let Some(rows) = arrays.first().map(|a| a.1.shape[0]) else {
        return Err(fail(EMPTY, "the file holds no arrays", span, "nothing to read").into());
    };
    if let Some((name, a)) = arrays.iter().find(|a| a.1.shape[0] != rows) {
        let text = format!("`{name}` has {} rows, `{}` has {rows}", a.shape[0], arrays[0].0);
        return Err(fail(MISMATCH, "arrays differ in their first axis", span, text).into());
    }
    let columns = arrays.into_iter().map(|(n, a)| a.column(&n, None)).collect::<Result<Vec<_>, _>>()?;
    Ok(Table::new(columns, rows))
}

/// `npz(path)`: one field an array.
pub(super) fn read_npz(call: &Call, base: &Path) -> Result<Table, Diagnostics> {
    let mut args = Args::new(call);
    let path = args.path("path", Some(0), base);
    args.finish("a path")?;
    let Some((path, span)) = path else { return Err(Diagnostics::default()) };
    let file = open_file(&path).map_err(|e| unreadable(&path, &e, span))?;
    let bad = |e: zip::result::ZipError| damaged(&path, &e.to_string(), span);
    let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(bad)?;
    let mut arrays = Vec::new();
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).map_err(bad)?;
        let Some(name) = entry.name().strip_suffix(".npy").map(str::to_owned) else { continue };
        let size = entry.size();
        let array = npy(&mut entry, &path, span, Some(i))?;
        if array.offset + (array.shape.iter().product::<usize>() * array.element.size()) as u64 != size {
            return Err(damaged(&path, &format!("`{name}` has not the size that its header promises"), span).into());
        }
        arrays.push((name, array));
    }
    joined(arrays, span)
}

/// `safetensors(path)`: one field a tensor.
pub(super) fn read_safetensors(call: &Call, base: &Path) -> Result<Table, Diagnostics> {
    use safetensors::Dtype;
    let mut args = Args::new(call);
    let path = args.path("path", Some(0), base);
    args.finish("a path")?;
    let Some((path, span)) = path else { return Err(Diagnostics::default()) };
    let io = |e| unreadable(&path, &e, span);
    let mut file = open_file(&path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let mut word = [0; 8];
    file.read_exact(&mut word).map_err(io)?;
    let header = u64::from_le_bytes(word);
    if header > length.saturating_sub(8).min(16 << 20) {
        return Err(damaged(&path, "its header is longer than the file, or than 16 MiB", span).into());
    }
    let mut text = vec![0; header as usize];
    file.read_exact(&mut text).map_err(io)?;
    let meta: safetensors::tensor::Metadata =
        serde_json::from_slice(&text).map_err(|e| damaged(&path, &e.to_string(), span))?;
    let mut arrays = Vec::new();
    for name in meta.offset_keys() {
        let Some(info) = meta.info(&name) else { continue };
        let element = match info.dtype {
            Dtype::BOOL | Dtype::U8 => Element::Unsigned(1),
            Dtype::U16 => Element::Unsigned(2),
            Dtype::U32 => Element::Unsigned(4),
            Dtype::U64 => Element::Unsigned(8),
            Dtype::I8 => Element::Signed(1),
            Dtype::I16 => Element::Signed(2),
            Dtype::I32 => Element::Signed(4),
            Dtype::I64 => Element::Signed(8),
            Dtype::F16 => Element::Float(2),
            Dtype::F32 => Element::Float(4),
            Dtype::F64 => Element::Float(8),
            Dtype::BF16 => Element::Bfloat,
            other => return Err(damaged(&path, &format!("`{name}`: type {other:?} is not read"), span).into()),
        };
        if 8 + header + info.data_offsets.1 as u64 > length {
            return Err(damaged(&path, "it ends before what its header promises", span).into());
        }
        let offset = 8 + header + info.data_offsets.0 as u64;
        let (path, shape) = (path.clone(), info.shape.clone());
        let array = Array { path, span, entry: None, offset, element, big_endian: false, shape, pictures: false };
        arrays.push((name, array.check()?));
    }
    arrays.sort_by(|a, b| a.0.cmp(&b.0));
    joined(arrays, span)
}
