//! Data sets: sources, transforms, schemas, and minibatches as a pure function of their number.
//!
//! A [`Pipeline`] is what a `data` item says, evaluated; [`open`](fn@open) reads the schema (and small sets whole).
//! Minibatch `k` of a draw line depends only on the seed, the line's stream and `k`, so that a resume needs one number.

use crate::graph::Shape;
use crate::source::Span;
use std::path::PathBuf;

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
