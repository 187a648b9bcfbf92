//! An open set: rows in memory, as compact as they were read.

use super::random::{Draw, unit};
use super::table::{Column, RowOp, Store, Table, base_of};
use super::{FieldType, Schema};
use crate::graph::host::HostTensor;
use crate::graph::rows::{Elements, MIRRORED, Rows};
use std::borrow::Cow;
use std::ops::Range;

/// Key of what random transforms draw for [`Dataset::rows`].
const ROWS_KEY: [u32; 2] = [0x726f_7773, 0];

/// A set that was read and checked; reading rows cannot fail any more.
#[derive(Debug)]
pub struct Dataset {
    schema: Schema,
    table: Table,
}

impl Dataset {
    pub(super) fn new(table: Table) -> Self {
        Self { schema: table.schema(), table }
    }

    /// What [`super::schema`] told.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Number of rows; `None`: endless.
    pub fn len(&self) -> Option<usize> {
        self.schema.rows
    }

    /// Whether there are no rows; never true of an open set.
    pub fn is_empty(&self) -> bool {
        self.schema.rows == Some(0)
    }

    /// Names of the classes of a field, where the source has names.
    pub fn class_names(&self, field: usize) -> Option<&[String]> {
        self.table.columns[field].names.as_deref()
    }

    /// Bytes that the rows take in memory.
    pub fn bytes(&self) -> usize {
        let size = |c: &Column| match &c.store {
            Store::Bytes(v) => v.len(),
            Store::Real(v) => 4 * v.len(),
            Store::Class(v) => 4 * v.len(),
            Store::Pending(_) | Store::Generated => 0,
        };
        self.table.columns.iter().map(size).sum::<usize>() + 4 * self.table.index.len()
    }

    /// Rows of a field in order, `[rows, …]` (f32) or `[rows]` (u32 labels), for evaluation. What transforms draw at
    /// random depends on the row only; a generated set gives its fixed rows. The range must lie within the set.
    pub fn rows(&self, field: usize, range: Range<usize>) -> HostTensor {
        let rows: Vec<u32> = range.map(|r| r as u32).collect();
        self.gather(field, &rows, |_, row| Draw { key: ROWS_KEY, batch: 0, sample: row })
    }

    /// A field as a device may hold it, under this name; `None`: its minibatches are made anew on the host each time
    /// ([`super::Way::Streamed`]).
    pub fn held(&self, field: usize, name: String) -> Option<Rows<'_>> {
        let c = self.table.columns.get(field)?;
        if c.made_anew().is_some() {
            return None;
        }
        // Changes of single elements, without mirroring, which is said by row.
        let changed = |values: &mut [f32]| {
            let none = Draw { key: ROWS_KEY, batch: 0, sample: 0 };
            let ops = c.ops.iter().filter(|o| !matches!(o, RowOp::Flip { .. }));
            ops.for_each(|op| change(op, none, values, &[]));
        };
        let (planes, index) = (self.table.planes, &self.table.index);
        let straight = planes == 1 && index.iter().enumerate().all(|(i, &s)| i as u32 == s);
        let index = (!straight).then(|| Cow::from(&index[..]));
        let (shape, elements) = match (&c.field.ty, &c.store) {
            (FieldType::Real(shape), Store::Bytes(v)) => {
                let mut values = Box::new(self.lookup(c));
                changed(&mut values[..]);
                (shape.clone(), Elements::Bytes(v, values))
            }
            (FieldType::Real(shape), Store::Real(v)) => {
                let mut v = Cow::from(&v[..]);
                if c.ops.iter().any(|o| !matches!(o, RowOp::Flip { .. })) {
                    changed(v.to_mut());
                }
                (shape.clone(), Elements::Real(v))
            }
            // Of stacked rows the label is one number.
            (FieldType::Class(k), Store::Class(_)) if planes > 1 => {
                let none = Draw { key: ROWS_KEY, batch: 0, sample: 0 };
                let labels: Vec<u32> = (0..self.len()? as u32).map(|r| self.label(c, *k, r, none)).collect();
                return Some(Rows {
                    name,
                    shape: vec![],
                    planes: 1,
                    index: None,
                    elements: Elements::Class(labels.into()),
                });
            }
            (FieldType::Class(_), Store::Class(v)) => (vec![], Elements::Class(Cow::from(&v[..]))),
            (_, Store::Pending(_) | Store::Generated | Store::Bytes(_) | Store::Real(_) | Store::Class(_)) => {
                return None;
            }
        };
        Some(Rows { name, shape, planes, index, elements })
    }

    /// Numbers of rows for [`Dataset::held`], with [`MIRRORED`] where what is drawn says so.
    pub(super) fn picks(&self, field: usize, rows: &[u32], draw: impl Fn(u32, u32) -> Draw) -> Vec<u32> {
        let flips = |(i, &r): (usize, &u32)| {
            self.table.columns[field].ops.iter().fold(r, |r, op| match *op {
                RowOp::Flip { salt } if mirrors(draw(i as u32, r & !MIRRORED), salt) => r ^ MIRRORED,
                RowOp::Flip { .. } | RowOp::Affine { .. } | RowOp::Noise { .. } | RowOp::Binarize { .. } => r,
            })
        };
        rows.iter().enumerate().map(flips).collect()
    }

    /// A field of some rows; `draw(place, row)` names the random words of each.
    pub(super) fn gather(&self, field: usize, rows: &[u32], draw: impl Fn(u32, u32) -> Draw) -> HostTensor {
        let c = &self.table.columns[field];
        match &c.field.ty {
            FieldType::Class(k) => {
                let label = |(i, &r): (usize, &u32)| self.label(c, *k, r, draw(i as u32, r));
                HostTensor::u32(vec![rows.len()], rows.iter().enumerate().map(label).collect())
            }
            FieldType::Real(shape) => {
                let width = c.width();
                let mut out = vec![0.0; rows.len() * width];
                let table = self.lookup(c);
                for (i, (&r, to)) in rows.iter().zip(out.chunks_mut(width.max(1))).enumerate() {
                    let draw = draw(i as u32, r);
                    self.values(c, r, draw, &table, to);
                    for op in &c.ops {
                        change(op, draw, to, shape);
                    }
                }
                let mut full = vec![rows.len()];
                full.extend(shape);
                HostTensor::f32(full, out)
            }
        }
    }

    /// The 256 values of a byte.
    fn lookup(&self, c: &Column) -> [f32; 256] {
        let (lo, hi) = c.base;
        std::array::from_fn(|b| (lo + (hi - lo) * b as f64 / 255.0) as f32)
    }

    fn label(&self, c: &Column, k: usize, row: u32, draw: Draw) -> u32 {
        match (&c.store, &self.table.generator) {
            (Store::Class(v), _) => {
                let base = base_of(k, self.table.planes);
                self.sources(row).iter().fold(0, |acc, &s| acc * base + v[s as usize])
            }
            (_, Some(g)) => g.sample(draw).1,
            _ => 0,
        }
    }

    fn sources(&self, row: u32) -> &[u32] {
        let p = self.table.planes;
        &self.table.index[row as usize * p..(row as usize + 1) * p]
    }

    fn values(&self, c: &Column, row: u32, draw: Draw, lookup: &[f32; 256], to: &mut [f32]) {
        if let (Store::Generated, Some(g)) = (&c.store, &self.table.generator) {
            to.copy_from_slice(&g.sample(draw).0);
            return;
        }
        let part = to.len() / self.table.planes;
        for (&s, to) in self.sources(row).iter().zip(to.chunks_mut(part.max(1))) {
            let from = s as usize * part;
            match &c.store {
                Store::Bytes(v) => {
                    for (t, &b) in to.iter_mut().zip(&v[from..from + part]) {
                        *t = lookup[b as usize];
                    }
                }
                Store::Real(v) => to.copy_from_slice(&v[from..from + part]),
                Store::Class(_) | Store::Pending(_) | Store::Generated => {}
            }
        }
    }
}

/// Whether a flip mirrors this sample.
fn mirrors(draw: Draw, salt: u64) -> bool {
    draw.words(salt, 0)[0] >> 31 == 1
}

fn change(op: &RowOp, draw: Draw, values: &mut [f32], shape: &[usize]) {
    match *op {
        RowOp::Affine { mul, add } => values.iter_mut().for_each(|v| *v = *v * mul + add),
        RowOp::Flip { salt } => {
            if let (Some(&w), true) = (shape.last(), mirrors(draw, salt)) {
                values.chunks_mut(w.max(1)).for_each(<[f32]>::reverse);
            }
        }
        RowOp::Noise { std, salt } => draw.fill_normal(salt, values, std),
        RowOp::Binarize { lo, hi, salt: None } => {
            let middle = (lo + hi) / 2.0;
            values.iter_mut().for_each(|v| *v = if *v >= middle { hi } else { lo });
        }
        RowOp::Binarize { lo, hi, salt: Some(salt) } => {
            for (block, four) in values.chunks_mut(4).enumerate() {
                let w = draw.words(salt, block as u32);
                for (v, w) in four.iter_mut().zip(w) {
                    *v = if unit(w) < f64::from((*v - lo) / (hi - lo)) { hi } else { lo };
                }
            }
        }
    }
}
