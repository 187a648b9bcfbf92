//! A set while it is built: columns, the selected rows, and what is done to a row when it is drawn.

use super::geometry::Geometry;
use super::synthetic::Generator;
use super::{Field, FieldType, Modes, Schema, Way};
use crate::diag::Diagnostic;

/// What is done to a value when its row is drawn.
#[derive(Clone, Debug)]
pub(super) enum RowOp {
    /// `x * mul + add`.
    Affine { mul: f32, add: f32 },
    /// Mirrors left and right with probability 1/2, all fields of a row alike.
    Flip { salt: u64 },
    /// Adds a normal to each element.
    Noise { std: f32, salt: u64 },
    /// Each element to `lo` or `hi`: by the middle, or (`salt`) at random with its value as the probability.
    Binarize { lo: f32, hi: f32, salt: Option<u64> },
}

/// Elements of a column, row-major.
#[derive(Debug)]
pub(super) enum Store {
    /// Still in its file.
    Pending(Pending),
    /// Pictures: byte b means `lo + (hi - lo) * b / 255` with the column's base range.
    Bytes(Vec<u8>),
    /// Reals.
    Real(Vec<f32>),
    /// Labels.
    Class(Vec<u32>),
    /// Drawn from the set's generator.
    Generated,
}

/// Something that is read when the set is opened.
#[derive(Debug)]
pub(super) enum Pending {
    /// Pictures of an IDX file.
    Idx(super::idx::Pictures),
    /// Pictures of a folder or archive.
    Files(super::pictures::Pictures),
    /// An array of an .npy, .npz or .safetensors file.
    Array(super::array::Array),
    /// Records of CIFAR files.
    Cifar(super::cifar::Pictures),
}

impl Pending {
    /// Reads the rows `wanted` (ascending).
    pub(super) fn load(&self, wanted: &[u32], geometry: &[Geometry]) -> Result<Store, Diagnostic> {
        match self {
            Pending::Idx(p) => p.load(wanted, geometry).map(Store::Bytes),
            Pending::Files(p) => p.load(wanted, geometry).map(Store::Bytes),
            Pending::Array(p) => p.load(wanted, geometry),
            Pending::Cifar(p) => p.load(wanted, geometry).map(Store::Bytes),
        }
    }
}

/// A field with its elements.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) field: Field,
    pub(super) store: Store,
    /// Whether elements are bytes of pictures (also while pending).
    pub(super) bytes: bool,
    /// What bytes 0 and 255 mean.
    pub(super) base: (f64, f64),
    /// Range of the values after all transforms; `None`: not pictures.
    pub(super) range: Option<(f64, f64)>,
    /// Done once, when pictures are read.
    pub(super) geometry: Vec<Geometry>,
    /// Done at each draw, in order.
    pub(super) ops: Vec<RowOp>,
    /// Names of the classes of a text column, in order.
    pub(super) names: Option<Vec<String>>,
}

impl Column {
    /// Pictures with values in [0, 1].
    pub(super) fn pictures(name: &str, shape: [usize; 3], pending: Pending) -> Self {
        Self {
            field: Field { name: name.to_owned(), ty: FieldType::Real(shape.to_vec()) },
            store: Store::Pending(pending),
            bytes: true,
            base: (0.0, 1.0),
            range: Some((0.0, 1.0)),
            geometry: Vec::new(),
            ops: Vec::new(),
            names: None,
        }
    }

    /// Other values.
    pub(super) fn plain(name: &str, ty: FieldType, store: Store) -> Self {
        Self {
            field: Field { name: name.to_owned(), ty },
            store,
            bytes: false,
            base: (0.0, 1.0),
            range: None,
            geometry: Vec::new(),
            ops: Vec::new(),
            names: None,
        }
    }

    /// Labels below `classes`.
    pub(super) fn labels(name: &str, labels: Vec<u32>, classes: usize) -> Self {
        Self::plain(name, FieldType::Class(classes), Store::Class(labels))
    }

    /// Elements of one row; 1 for a class.
    pub(super) fn width(&self) -> usize {
        match &self.field.ty {
            FieldType::Real(s) => s.iter().product(),
            FieldType::Class(_) => 1,
        }
    }

    /// Why its minibatches are made anew on the host each time, if so: not all that is done to a row is a choice of the
    /// row, a fixed change of each element, and mirroring.
    pub(super) fn made_anew(&self) -> Option<&'static str> {
        let drawn = |o: &RowOp| match o {
            RowOp::Noise { .. } => Some("noise is added to each minibatch"),
            RowOp::Binarize { salt: Some(_), .. } => Some("each minibatch is binarized at random"),
            RowOp::Affine { .. } | RowOp::Flip { .. } | RowOp::Binarize { salt: None, .. } => None,
        };
        match self.store {
            Store::Generated => Some("generated without end"),
            Store::Pending(_) | Store::Bytes(_) | Store::Real(_) | Store::Class(_) => {
                self.ops.iter().find_map(drawn)
            }
        }
    }

    /// Whether it holds pictures, which transforms of pictures change.
    pub(super) fn is_picture(&self) -> bool {
        self.range.is_some()
    }
}

/// Columns and selected rows.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) columns: Vec<Column>,
    /// Source rows of each row, `planes` of them a row; empty when generated.
    pub(super) index: Vec<u32>,
    /// Source rows that make up a row: 1, or n after `stack(n)`.
    pub(super) planes: usize,
    /// Rows in the columns' stores.
    pub(super) source_rows: usize,
    /// For endless sets.
    pub(super) generator: Option<Generator>,
    /// What made the rows that `take` fixed.
    pub(super) fixed: Option<Generator>,
}

impl Table {
    /// All rows of the columns.
    pub(super) fn new(columns: Vec<Column>, rows: usize) -> Self {
        Self {
            columns,
            index: (0..rows as u32).collect(),
            planes: 1,
            source_rows: rows,
            generator: None,
            fixed: None,
        }
    }

    /// Number of rows; `None`: endless.
    pub(super) fn rows(&self) -> Option<usize> {
        self.generator.is_none().then(|| self.index.len() / self.planes)
    }

    /// What the compiler needs to know.
    pub(super) fn schema(&self) -> Schema {
        Schema {
            rows: self.rows(),
            fields: self.columns.iter().map(|c| c.field.clone()).collect(),
            range: self.columns.iter().find_map(|c| c.range),
            modes: self
                .generator
                .as_ref()
                .or(self.fixed.as_ref())
                .and_then(Generator::modes)
                .map(|(centres, std)| Modes { centres, std }),
        }
    }

    /// Which way each column goes to a device.
    pub(super) fn ways(&self) -> Vec<Way> {
        let mut stored = self.index.clone();
        stored.sort_unstable();
        stored.dedup();
        // As `Dataset::held` has it once the rows that are used are read.
        let straight = self.planes == 1 && self.index.is_sorted();
        let index = if straight { 0 } else { 4 * self.index.len() };
        let way = |c: &Column| match (c.made_anew(), &c.field.ty) {
            (Some(why), _) => Way::Streamed(why),
            (None, FieldType::Class(_)) if self.planes > 1 => Way::Held(4 * self.index.len() / self.planes),
            (None, FieldType::Class(_)) => Way::Held(4 * stored.len() + index),
            (None, FieldType::Real(_)) => {
                let elements = stored.len() * (c.width() / self.planes);
                Way::Held(if c.bytes { elements + 1024 } else { 4 * elements } + index)
            }
        };
        self.columns.iter().map(way).collect()
    }

    /// Keeps the rows at these positions, in this order.
    pub(super) fn select(&mut self, keep: &[usize]) {
        let p = self.planes;
        self.index = keep.iter().flat_map(|&r| self.index[r * p..(r + 1) * p].to_vec()).collect();
    }

    /// The label of a row of a class column (loaded before pictures are).
    pub(super) fn class(&self, column: &Column, row: usize) -> u32 {
        let FieldType::Class(k) = column.field.ty else { return 0 };
        let Store::Class(labels) = &column.store else { return 0 };
        if self.planes == 1 {
            return labels[self.index[row] as usize];
        }
        let base = base_of(k, self.planes);
        let sources = &self.index[row * self.planes..(row + 1) * self.planes];
        sources.iter().fold(0, |acc, &s| acc * base + labels[s as usize])
    }

    /// Reads what is pending, for the selected rows only.
    pub(super) fn load(&mut self) -> Result<(), Diagnostic> {
        let mut used = vec![false; self.source_rows];
        for &i in &self.index {
            used[i as usize] = true;
        }
        let wanted: Vec<u32> = (0..self.source_rows as u32).filter(|&i| used[i as usize]).collect();
        let all = wanted.len() == self.source_rows;
        for c in &mut self.columns {
            let width = c.width() / if matches!(c.field.ty, FieldType::Class(_)) { 1 } else { self.planes };
            match &mut c.store {
                Store::Pending(p) => c.store = p.load(&wanted, &c.geometry)?,
                Store::Real(v) if !all => {
                    let row = |&i: &u32| v[i as usize * width..(i as usize + 1) * width].to_vec();
                    *v = wanted.iter().flat_map(row).collect();
                }
                Store::Class(v) if !all => *v = wanted.iter().map(|&i| v[i as usize]).collect(),
                Store::Real(_) | Store::Class(_) | Store::Bytes(_) | Store::Generated => {}
            }
        }
        if !all {
            let mut place = vec![0u32; self.source_rows];
            for (new, &old) in wanted.iter().enumerate() {
                place[old as usize] = new as u32;
            }
            self.index.iter_mut().for_each(|i| *i = place[*i as usize]);
            self.source_rows = wanted.len();
        }
        Ok(())
    }
}

/// The k of `class(k^planes)`.
pub(super) fn base_of(classes: usize, planes: usize) -> u32 {
    (1..=classes as u64).find(|b| b.pow(planes as u32) >= classes as u64).unwrap_or(1) as u32
}
