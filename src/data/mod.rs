//! Data sets: sources, transforms, schemas, and minibatches as a pure function of their number.
//!
//! A [`Pipeline`] is what a `data` item says, evaluated; [`open`](fn@open) reads the schema (and small sets whole).
//! Minibatch `k` of a draw line depends only on the seed, the line's stream and `k`, so that a resume needs one number.

mod args;
mod array;
mod cifar;
mod dataset;
mod error;
mod geometry;
mod idx;
mod loader;
mod pairs;
mod pictures;
mod prefetch;
mod random;
mod synthetic;
mod table;
mod text;
mod transform;

pub use dataset::Dataset;
pub use loader::Loader;
pub use prefetch::{Prefetch, PrefetchError, Prepared, Request};
pub use random::permutation;

use crate::diag::Diagnostics;
use crate::graph::Shape;
use crate::source::Span;
use std::path::PathBuf;
use table::Table;

/// An evaluated argument of a source or transform.
#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    /// A number.
    Number(f64),
    /// True or false.
    Bool(bool),
    /// A string.
    Str(String),
    /// A bare word: an enumeration's or a column's.
    Word(String),
    /// A list.
    List(Vec<Arg>),
    /// A nested call, such as `csv("x.csv", column: "glasses")`.
    Call(Call),
}

/// A source or transform with its arguments as written (positional ones have no name).
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// Arguments with their places.
    pub args: Vec<(Option<String>, Arg, Span)>,
    /// The whole call.
    pub span: Span,
}

/// What a `data` item says: a source, then transforms.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// The item's name.
    pub name: String,
    /// Where it is.
    pub span: Span,
    /// Folder that relative paths start from: that of the file that names them.
    pub base: PathBuf,
    /// The source.
    pub source: Call,
    /// Transforms in order.
    pub transforms: Vec<Call>,
}

/// Type of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// Reals of a shape (images are `[c, h, w]`).
    Real(Shape),
    /// Labels below the count.
    Class(usize),
}

/// A field of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name, as after the dot.
    pub name: String,
    /// Its type.
    pub ty: FieldType,
}

/// Known modes of a generated set.
#[derive(Clone, Debug, PartialEq)]
pub struct Modes {
    /// Centres.
    pub centres: Vec<Vec<f64>>,
    /// Standard deviation of each.
    pub std: f64,
}

/// Which way a field goes to a device with memory of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Once, if this many bytes are free there; then numbers of rows only.
    Held(usize),
    /// Each minibatch anew, and why.
    Streamed(&'static str),
}

/// What the compiler knows of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    /// Number of rows; `None`: generated without end.
    pub rows: Option<usize>,
    /// Fields in order.
    pub fields: Vec<Field>,
    /// Range of the image values after `scale` (or [0, 1] as read), for drawing.
    pub range: Option<(f64, f64)>,
    /// Modes, where they are known.
    pub modes: Option<Modes>,
}

impl Schema {
    /// A field by name.
    pub fn field(&self, name: &str) -> Option<(usize, &Field)> {
        self.fields.iter().enumerate().find(|(_, f)| f.name == name)
    }
}

/// Names of all sources.
pub const SOURCES: [&str; 14] = [
    "idx",
    "cifar10",
    "cifar100",
    "images",
    "pairs",
    "npy",
    "npz",
    "csv",
    "safetensors",
    "ring",
    "grid",
    "swiss_roll",
    "two_moons",
    "parquet",
];
/// Names of all transforms.
pub const TRANSFORMS: [&str; 12] = transform::NAMES;

/// Reads what is needed to compile: headers of pictures and arrays, labels and columns whole.
///
/// Errors (E05xx) point at the argument that names the file.
pub fn schema(p: &Pipeline) -> Result<Schema, Diagnostics> {
    read(p).map(|t| t.schema())
}

/// Which way each field goes to a device; reads what [`schema`] reads.
///
/// Errors (E05xx) point at the argument that names the file.
pub fn ways(p: &Pipeline) -> Result<Vec<Way>, Diagnostics> {
    read(p).map(|t| t.ways())
}

/// Reads and checks the whole set.
///
/// Errors (E05xx) point at the argument that names the file.
pub fn open(p: &Pipeline) -> Result<Dataset, Diagnostics> {
    let mut table = read(p)?;
    table.load()?;
    Ok(Dataset::new(table))
}

/// Everything but what is pending.
fn read(p: &Pipeline) -> Result<Table, Diagnostics> {
    let call = &p.source;
    let mut table = match call.name.as_str() {
        "idx" => idx::read(call, &p.base),
        "cifar10" => cifar::read(call, &p.base, false),
        "cifar100" => cifar::read(call, &p.base, true),
        "images" => pictures::read(call, &p.base),
        "pairs" => pairs::read(call, &p.base),
        "npy" => array::read_npy(call, &p.base),
        "npz" => array::read_npz(call, &p.base),
        "safetensors" => array::read_safetensors(call, &p.base),
        "csv" => text::read(call, &p.base),
        "ring" | "grid" | "swiss_roll" | "two_moons" => synthetic::Generator::read(call),
        "parquet" => {
            let d = error::fail(error::UNAVAILABLE, "`parquet` is not available in this version", call.span, "");
            Err(d.help("Convert the file to a folder of pictures, .npy, or .csv.").into())
        }
        name => {
            let d =
                error::fail(error::UNKNOWN, format!("there is no data source `{name}`"), call.span, "not a source");
            Err(d.help(format!("Sources are {}.", SOURCES[..13].join(", "))).into())
        }
    }?;
    for (place, t) in p.transforms.iter().enumerate() {
        transform::apply(&mut table, t, place)?;
    }
    Ok(table)
}

#[cfg(test)]
mod tests;
