//! Folders and .zip archives of PNG, JPEG and WebP pictures: `images(path, labels: …, vector: […], channels: …)`.

use super::Call;
use super::args::Args;
use super::error::{
    ARGUMENT, DAMAGED, EMPTY, ESCAPES, MISMATCH, MISSING, TOO_LARGE, UNEQUAL, fail, open_file, total, unreadable,
};
use super::geometry::{Geometry, Sink};
use super::table::{Column, Pending, Table};
use super::text;
use crate::diag::{Diagnostic, Diagnostics};
use crate::source::Span;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits};
use std::io::{BufReader, Cursor, Read, Seek};
use std::path::{Path, PathBuf};
use zip::ZipArchive;

/// Bytes of one encoded picture.
const MAX_FILE: u64 = 64 << 20;
/// Pixels of one side.
const MAX_SIDE: u32 = 16384;
/// Entries of one folder or archive.
const MAX_ENTRIES: usize = 1 << 22;
/// Folders within folders.
const MAX_DEPTH: usize = 16;

/// Where the files are.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) span: Span,
    zip: bool,
}

/// A picture file: its name with `/` and, in an archive, its index.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    index: usize,
}

/// Pictures of one size, first header read.
#[derive(Clone, Debug)]
pub(super) struct Pictures {
    place: Place,
    entries: Vec<Entry>,
    /// Shape of what is kept of each picture.
    shape: [usize; 3],
    /// Left (0) or right (1) half of each picture.
    half: Option<usize>,
}

/// Opens files of a place one after another.
enum Source {
    Folder(PathBuf),
    Zip(Box<ZipArchive<Box<dyn Bytes>>>),
}

/// What an archive is read from.
trait Bytes: Read + Seek + Send {}
impl<T: Read + Seek + Send> Bytes for T {}

/// Archives of at most this size are read at once: their directory is read with six seeks an entry, each of which a
/// buffered file answers with a system call and a buffer filled anew (15 ms for 3,000 pictures).
const AT_ONCE: u64 = 16 << 20;

impl Source {
    fn open(place: &Place) -> Result<Self, Diagnostic> {
        if !place.zip {
            return Ok(Source::Folder(place.path.clone()));
        }
        let io = |e: std::io::Error| unreadable(&place.path, &e, place.span);
        let mut file = open_file(&place.path).map_err(io)?;
        let from: Box<dyn Bytes> = if file.metadata().map_err(io)?.len() <= AT_ONCE {
            let mut bytes = vec![];
            file.read_to_end(&mut bytes).map_err(io)?;
            Box::new(Cursor::new(bytes))
        } else {
            Box::new(BufReader::new(file))
        };
        let archive = ZipArchive::new(from).map_err(|e| {
            fail(DAMAGED, format!("{} is not a .zip archive", place.path.display()), place.span, e.to_string())
        })?;
        Ok(Source::Zip(Box::new(archive)))
    }

    fn bytes(&mut self, entry: &Entry) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        let size = match self {
            Source::Folder(base) => {
                let file = open_file(&base.join(&entry.name)).map_err(|e| e.to_string())?;
                file.take(MAX_FILE + 1).read_to_end(&mut out).map_err(|e| e.to_string())?;
                out.len() as u64
            }
            Source::Zip(archive) => {
                let file = archive.by_index(entry.index).map_err(|e| e.to_string())?;
                let size = file.size();
                if size <= MAX_FILE {
                    // One byte more than it says would be a lie of the archive.
                    file.take(size + 1).read_to_end(&mut out).map_err(|e| e.to_string())?;
                    if out.len() as u64 != size {
                        return Err(format!("the archive says {size} bytes, and it has {} or more", out.len()));
                    }
                }
                size
            }
        };
        if size > MAX_FILE { Err(format!("it is larger than {} MiB", MAX_FILE >> 20)) } else { Ok(out) }
    }
}

fn is_picture(name: &str) -> bool {
    let base = name.rsplit('/').next().unwrap_or(name);
    let extension = base.rsplit_once('.').map(|e| e.1.to_ascii_lowercase());
    let known = matches!(extension.as_deref(), Some("png" | "jpg" | "jpeg" | "webp"));
    known && !name.split('/').any(|part| part.starts_with('.') && part != ".." || part == "__MACOSX")
}

/// Picture files of a folder (by name) or archive (in its order).
pub(super) fn list(path: &Path, span: Span) -> Result<(Place, Vec<Entry>), Diagnostic> {
    let meta = std::fs::metadata(path).map_err(|e| unreadable(path, &e, span))?;
    let place = Place { path: path.to_owned(), span, zip: meta.is_file() };
    let mut entries = Vec::new();
    match Source::open(&place)? {
        Source::Folder(base) => walk(&base, "", 0, &mut entries, span)?,
        Source::Zip(archive) => {
            for index in 0..archive.len() {
                let name = archive.name_for_index(index).unwrap_or_default();
                if name.starts_with('/') || name.contains(['\\', '\0', ':']) || name.split('/').any(|p| p == "..") {
                    let title = format!("an entry of {} leaves its folder", path.display());
                    return Err(fail(ESCAPES, title, span, format!("{name:?}")));
                }
                if is_picture(name) {
                    entries.push(Entry { name: name.to_owned(), index });
                }
            }
        }
    }
    if entries.is_empty() {
        let d = fail(EMPTY, format!("{} holds no pictures", path.display()), span, "nothing to read");
        return Err(d.note("Files that end in .png, .jpg, .jpeg and .webp are read."));
    }
    if entries.len() > MAX_ENTRIES {
        return Err(fail(TOO_LARGE, format!("{} is too large", path.display()), span, "too many pictures"));
    }
    Ok((place, entries))
}

fn walk(base: &Path, under: &str, depth: usize, out: &mut Vec<Entry>, span: Span) -> Result<(), Diagnostic> {
    let folder = base.join(under);
    let io = |e| unreadable(&folder, &e, span);
    let mut names = Vec::new();
    for item in std::fs::read_dir(&folder).map_err(io)? {
        let item = item.map_err(io)?;
        let name = item.file_name().to_string_lossy().into_owned();
        // Links to folders are not followed: they could go round.
        names.push((name, item.file_type().map_err(io)?.is_dir()));
    }
    names.sort();
    for (name, dir) in names {
        let full = if under.is_empty() { name } else { format!("{under}/{name}") };
        if dir && depth < MAX_DEPTH && out.len() <= MAX_ENTRIES {
            walk(base, &full, depth + 1, out, span)?;
        } else if !dir && is_picture(&full) {
            out.push(Entry { name: full, index: 0 });
        }
    }
    Ok(())
}

/// Header and pixels of an encoded picture.
fn decoder(bytes: &[u8]) -> Result<impl ImageDecoder + '_, String> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MAX_SIDE), Some(MAX_SIDE));
    reader.limits(limits);
    reader.into_decoder().map_err(|e| e.to_string())
}

/// Planes of a decoded picture; transparent parts on white.
fn planes(picture: DynamicImage, channels: usize) -> Vec<u8> {
    let over = |v: u8, a: u8| ((u32::from(v) * u32::from(a) + 255 * (255 - u32::from(a)) + 127) / 255) as u8;
    if channels == 1 {
        let flat = if picture.color().has_alpha() {
            picture.to_luma_alpha8().pixels().map(|p| over(p.0[0], p.0[1])).collect()
        } else {
            picture.to_luma8().into_raw()
        };
        return flat;
    }
    let mut out = Vec::with_capacity(3 * (picture.width() * picture.height()) as usize);
    if picture.color().has_alpha() {
        let rgba = picture.to_rgba8();
        (0..3).for_each(|c| out.extend(rgba.pixels().map(|p| over(p.0[c], p.0[3]))));
    } else {
        let rgb = picture.to_rgb8();
        (0..3).for_each(|c| out.extend(rgb.pixels().map(|p| p.0[c])));
    }
    out
}

impl Pictures {
    /// Reads the header of the first picture.
    pub(super) fn new(place: Place, entries: Vec<Entry>, channels: Option<usize>) -> Result<Self, Diagnostic> {
        let probe = |first: &Entry| {
            let bytes = Source::open(&place).map_err(|d| d.title)?.bytes(first)?;
            let d = decoder(&bytes)?;
            let (w, h) = d.dimensions();
            let c = channels.unwrap_or(if d.color_type().has_color() { 3 } else { 1 });
            Ok([c, h as usize, w as usize])
        };
        let shape =
            entries.first().map_or(Ok([0; 3]), probe).map_err(|why: String| place.bad(&entries[0], &why))?;
        Ok(Self { place, entries, shape, half: None })
    }

    /// Shape `[c, h, w]`.
    pub(super) fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The left and right halves of each picture.
    pub(super) fn halves(mut self) -> Result<[Self; 2], Diagnostic> {
        let [c, h, w] = self.shape;
        if w % 2 == 1 {
            let d =
                fail(UNEQUAL, "pictures side by side need an even width", self.place.span, format!("{w} pixels"));
            return Err(d);
        }
        self.shape = [c, h, w / 2];
        let other = Self { half: Some(1), ..self.clone() };
        self.half = Some(0);
        Ok([self, other])
    }

    fn one(&self, entry: &Entry, source: &mut Source, sink: &mut Sink) -> Result<(), Diagnostic> {
        let bytes = source.bytes(entry).map_err(|why| self.place.bad(entry, &why))?;
        let d = decoder(&bytes).map_err(|why| self.place.bad(entry, &why))?;
        let [c, sh, sw] = self.shape;
        let (w, h) = (d.dimensions().0 as usize, d.dimensions().1 as usize);
        let unequal = |why: String| {
            let title = format!("pictures of {} are not alike", self.place.path.display());
            let d = fail(UNEQUAL, title, self.place.span, format!("{}: {why}", entry.name));
            d.help("Write `|> resize(n)` for pictures of different sizes, and `channels: 3` if only some are grey.")
        };
        if c == 1 && d.color_type().has_color() {
            return Err(unequal("it is coloured, and the first one is grey".to_owned()));
        }
        if !sink.takes_any_size() && [h, w] != [sh, sw * if self.half.is_some() { 2 } else { 1 }] {
            return Err(unequal(format!("it is {w} x {h}, and the first one is {sw} x {sh}")));
        }
        let picture = DynamicImage::from_decoder(d).map_err(|e| self.place.bad(entry, &e.to_string()))?;
        let all = planes(picture, c);
        let Some(half) = self.half else { return sink.push(&all, [c, h, w]).map_err(unequal) };
        if w % 2 == 1 {
            return Err(unequal(format!("its width {w} is odd")));
        }
        let cut: Vec<u8> = all.chunks(w).flat_map(|row| &row[half * w / 2..(half + 1) * w / 2]).copied().collect();
        sink.push(&cut, [c, h, w / 2]).map_err(unequal)
    }

    /// Decodes the pictures `wanted`, on several threads.
    pub(super) fn load(&self, wanted: &[u32], geometry: &[Geometry]) -> Result<Vec<u8>, Diagnostic> {
        let mut shape = self.shape;
        for g in geometry {
            shape = g.shape(shape).map_err(|why| fail(UNEQUAL, "pictures do not fit", self.place.span, why))?;
        }
        let bytes = total(wanted.len(), &shape, 1, &self.place.path, self.place.span)?;
        let size = shape.iter().product::<usize>().max(1);
        let part = |rows: &[u32], out: &mut [u8]| -> Result<(), Diagnostic> {
            let mut source = Source::open(&self.place)?;
            let mut sink = Sink::new(geometry, self.shape, 1);
            for (&r, out) in rows.iter().zip(out.chunks_mut(size)) {
                sink.out.clear();
                let entry = &self.entries[r as usize];
                self.one(entry, &mut source, &mut sink)?;
                if sink.out.len() != out.len() {
                    return Err(self.place.bad(entry, "it has another size than the first picture"));
                }
                out.copy_from_slice(&sink.out);
            }
            Ok(())
        };
        // One buffer for all threads: parts of their own would be in memory twice when they are joined.
        let mut out = vec![0; bytes];
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(16);
        let share = wanted.len().div_ceil(threads).max(64);
        std::thread::scope(|scope| {
            let parts = wanted.chunks(share).zip(out.chunks_mut(share * size));
            let parts: Vec<_> = parts.map(|(rows, out)| scope.spawn(move || part(rows, out))).collect();
            for p in parts {
                // A decoder that panics has met a file that it cannot read.
                let done = p.join();
                done.map_err(|_| self.place.bad(&self.entries[0], "a picture made its decoder fail"))??;
            }
            Ok(())
        })?;
        Ok(out)
    }
}

impl Place {
    fn bad(&self, entry: &Entry, why: &str) -> Diagnostic {
        let title = format!("a picture of {} cannot be read", self.path.display());
        fail(DAMAGED, title, self.span, format!("{}: {why}", entry.name))
    }
}

/// Names without the folders that all have in common.
fn inner(entries: &[Entry]) -> Vec<&str> {
    let mut names: Vec<&str> = entries.iter().map(|e| e.name.as_str()).collect();
    while let Some((first, _)) = names[0].split_once('/') {
        if !names.iter().all(|n| n.split_once('/').is_some_and(|p| p.0 == first)) {
            break;
        }
        let skip = first.len() + 1;
        names.iter_mut().for_each(|n| *n = &n[skip..]);
    }
    names
}

/// Labels from sub-folders, if there are any.
fn folders(place: &Place, entries: &[Entry]) -> Result<Option<Column>, Diagnostic> {
    let names = inner(entries);
    let mut classes: Vec<&str> = names.iter().filter_map(|n| n.split_once('/')).map(|p| p.0).collect();
    if classes.is_empty() {
        return Ok(None);
    }
    if let Some(n) = names.iter().find(|n| !n.contains('/')) {
        let title = format!("some pictures of {} have no label", place.path.display());
        let d = fail(MISMATCH, title, place.span, format!("{n} lies beside the sub-folders"));
        return Err(d.help("Sub-folders are labels: put every picture into one, or none."));
    }
    classes.sort_unstable();
    classes.dedup();
    let class = |n: &&str| classes.binary_search(&n.split('/').next().unwrap_or(n)).unwrap_or(0) as u32;
    let mut column = Column::labels("label", names.iter().map(class).collect(), classes.len());
    column.names = Some(classes.iter().map(|c| (*c).to_owned()).collect());
    Ok(Some(column))
}

/// Columns that `labels:` and `vector:` give for these files.
pub(super) fn label_columns(
    args: &mut Args,
    base: &Path,
    entries: &[Entry],
) -> Result<Option<Vec<Column>>, Diagnostics> {
    let labels = args.find("labels", None);
    let vector = args.texts("vector");
    let Some((arg, span)) = labels else {
        return match vector {
            Some((_, at)) => {
                let d = fail(ARGUMENT, "`vector:` needs `labels: csv(\"…\")`", at, "columns of which file?");
                Err(d.into())
            }
            None => Ok(None),
        };
    };
    let names: Vec<&str> = entries.iter().map(|e| e.name.as_str()).collect();
    text::labels(arg, span, vector, base, &names, &inner(entries)).map(Some)
}

/// The source.
pub(super) fn read(call: &Call, base: &Path) -> Result<Table, Diagnostics> {
    let mut args = Args::new(call);
    let path = args.path("path", Some(0), base);
    let channels = args.count("channels", None, 1);
    let Some((path, span)) = path else {
        args.rest();
        args.finish("a path")?;
        return Err(Diagnostics::default());
    };
    let (place, entries) = list(&path, span)?;
    let given = label_columns(&mut args, base, &entries)?;
    args.finish("the path of a folder or .zip, `labels: csv(…)`, `vector: […]` and `channels:`")?;
    if let Some((_, at)) = channels.filter(|c| c.0 != 1 && c.0 != 3) {
        return Err(fail(ARGUMENT, "`channels:` is 1 or 3", at, "grey or colour").into());
    }
    let labels = match given {
        Some(columns) => columns,
        None => folders(&place, &entries)?.into_iter().collect(),
    };
    let rows = entries.len();
    let pictures = Pictures::new(place, entries, channels.map(|c| c.0))?;
    let mut columns = vec![Column::pictures("image", pictures.shape(), Pending::Files(pictures))];
    if let Some(c) = labels.iter().find(|c| c.field.name == "image") {
        let title = format!("a column cannot be called `{}`", c.field.name);
        return Err(fail(MISMATCH, title, call.span, "the pictures are called so").into());
    }
    columns.extend(labels);
    Ok(Table::new(columns, rows))
}

/// A missing path, said once for both kinds of pairs.
pub(super) fn is_folder(path: &Path, span: Span) -> Result<(), Diagnostic> {
    if path.is_dir() {
        return Ok(());
    }
    Err(fail(MISSING, format!("{} is not a folder", path.display()), span, "expected a folder of pictures"))
}
