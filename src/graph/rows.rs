//! Rows of a data set as a device may hold them for a whole run, so that a minibatch is a list of their numbers.
//!
//! Always holds: what a device makes of rows is bit for bit what the set gives on the host. Bytes become numbers by a
//! table, which the host has made; everything else is stored as the number that it is.

use super::ty::{DType, Shape};
use std::borrow::Cow;

/// Bit of a row's number that says: its last axis is reversed.
pub const MIRRORED: u32 = 1 << 31;

/// Elements of stored rows, row-major.
#[derive(Clone, Debug)]
pub enum Elements<'a> {
    /// Bytes, and the number that each of the 256 stands for.
    Bytes(&'a [u8], Box<[f32; 256]>),
    /// Reals.
    Real(Cow<'a, [f32]>),
    /// Labels.
    Class(Cow<'a, [u32]>),
}

/// One field of a set.
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    /// Its name, for people: `digits.image`.
    pub name: String,
    /// Shape of a row; empty for a number or a label.
    pub shape: Shape,
    /// Stored rows that follow each other in a row: 1, or more for stacked pictures.
    pub planes: usize,
    /// The stored rows of each row, `planes` of them; `None`: row i is stored row i.
    pub index: Option<Cow<'a, [u32]>>,
    /// What is stored.
    pub elements: Elements<'a>,
}

impl Rows<'_> {
    /// Elements of a row.
    pub fn width(&self) -> usize {
        self.shape.iter().product()
    }

    /// Elements of a stored row; a row is `planes` of them.
    pub fn part(&self) -> usize {
        self.width() / self.planes.max(1)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        let stored = match &self.elements {
            Elements::Bytes(v, _) => v.len(),
            Elements::Real(v) => v.len(),
            Elements::Class(v) => v.len(),
        };
        match &self.index {
            Some(index) => index.len() / self.planes.max(1),
            None => stored / self.part().max(1),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element type of a batch.
    pub fn dtype(&self) -> DType {
        match self.elements {
            Elements::Bytes(..) | Elements::Real(_) => DType::F32,
            Elements::Class(_) => DType::U32,
        }
    }

    /// Bytes that a device needs for them.
    pub fn bytes(&self) -> usize {
        let stored = match &self.elements {
            Elements::Bytes(v, values) => v.len() + 4 * values.len(),
            Elements::Real(v) => 4 * v.len(),
            Elements::Class(v) => 4 * v.len(),
        };
        stored + self.index.as_ref().map_or(0, |i| 4 * i.len())
    }
}
