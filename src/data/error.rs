//! Codes and common messages of data errors (E05xx).

use crate::diag::Diagnostic;
use crate::source::Span;
use std::fs::File;
use std::io;
use std::path::Path;

/// A file or folder cannot be read.
pub(super) const MISSING: &str = "E0501";
/// A file is not what its format says: wrong magic, truncated, damaged.
pub(super) const DAMAGED: &str = "E0502";
/// Sizes overflow or exceed what is allowed to be held in memory.
pub(super) const TOO_LARGE: &str = "E0503";
/// Pictures of one set differ in size or channels.
pub(super) const UNEQUAL: &str = "E0504";
/// Two parts of a set do not belong together row by row.
pub(super) const MISMATCH: &str = "E0505";
/// No rows, or fewer than asked for.
pub(super) const EMPTY: &str = "E0506";
/// No such source or transform.
pub(super) const UNKNOWN: &str = "E0507";
/// An argument is missing, unknown, or of the wrong kind.
pub(super) const ARGUMENT: &str = "E0508";
/// A transform does not apply to this set.
pub(super) const NOT_APPLICABLE: &str = "E0509";
/// A source that this version does not read.
pub(super) const UNAVAILABLE: &str = "E0510";
/// An archive's entry leaves the archive's folder.
pub(super) const ESCAPES: &str = "E0511";
/// No such column or value.
pub(super) const COLUMN: &str = "E0512";

/// Bytes that one field of a set may take in memory.
pub(super) const MAX_BYTES: usize = 8 << 30;

/// An error with its place.
pub(super) fn fail(
    code: &'static str,
    title: impl Into<String>,
    span: Span,
    text: impl Into<String>,
) -> Diagnostic {
    Diagnostic::error(code, title).at(span, text)
}

/// Opens a file for reading. A pipe would wait for ever and a device may not end, so only plain files are read.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    let kind = std::fs::metadata(path)?.file_type();
    if kind.is_dir() {
        return Err(io::Error::other("it is a folder, and a file is expected"));
    }
    if !kind.is_file() {
        return Err(io::Error::other("it is a device or a pipe, and only plain files are read"));
    }
    File::open(path)
}

/// A path that could not be opened or read.
pub(super) fn unreadable(path: &Path, error: &io::Error, span: Span) -> Diagnostic {
    match error.kind() {
        io::ErrorKind::NotFound if path.as_os_str().is_empty() => {
            fail(MISSING, "the path is empty", span, "a file or folder is named here")
        }
        io::ErrorKind::NotFound => fail(MISSING, format!("there is no {}", path.display()), span, "not found")
            .note("Paths are relative to the file that names them."),
        // Decoders report damage of what they decode as these kinds.
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
            damaged(path, &error.to_string(), span)
        }
        _ => fail(MISSING, format!("cannot read {}", path.display()), span, error.to_string()),
    }
}

/// A file that is not what its format requires.
pub(super) fn damaged(path: &Path, why: &str, span: Span) -> Diagnostic {
    fail(DAMAGED, format!("{} is damaged or of another format", path.display()), span, why)
}

/// `rows` times `shape`, or an error when that overflows or is more than may be held.
pub(super) fn total(
    rows: usize,
    shape: &[usize],
    element: usize,
    path: &Path,
    span: Span,
) -> Result<usize, Diagnostic> {
    let bytes = shape.iter().try_fold(rows, |n, &d| n.checked_mul(d)).and_then(|n| n.checked_mul(element));
    match bytes {
        Some(n) if n <= MAX_BYTES && rows <= u32::MAX as usize / 2 => Ok(n),
        _ => Err(fail(
            TOO_LARGE,
            format!("{} is too large", path.display()),
            span,
            format!("{rows} rows of {shape:?}"),
        )
        .note(format!("A field may take {} GiB of memory.", MAX_BYTES >> 30))
        .help("Convert a part of the set, or resize its pictures before.")),
    }
}
