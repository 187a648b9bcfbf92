//! Transforms of whole pictures, done once on their bytes when a set is opened.

use image::imageops::{FilterType, resize};
use image::{ImageBuffer, Luma};

/// A change of size or channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Geometry {
    /// To exactly this height and width (triangle filter, widened when it shrinks).
    Resize(usize, usize),
    /// The middle of this height and width.
    Crop(usize, usize),
    /// One channel: 0.299 red + 0.587 green + 0.114 blue (ITU-R BT.601).
    Gray,
}

impl Geometry {
    /// Shape `[c, h, w]` afterwards, or why it cannot be done.
    pub(super) fn shape(self, [c, h, w]: [usize; 3]) -> Result<[usize; 3], String> {
        match self {
            Geometry::Resize(nh, nw) => Ok([c, nh, nw]),
            Geometry::Crop(nh, nw) if nh <= h && nw <= w => Ok([c, nh, nw]),
            Geometry::Crop(nh, nw) => Err(format!("{nh} x {nw} cannot be cut from {h} x {w}")),
            Geometry::Gray if c == 1 || c == 3 => Ok([1, h, w]),
            Geometry::Gray => Err(format!("gray needs 3 channels, and there are {c}")),
        }
    }

    fn apply(self, planes: &[u8], [c, h, w]: [usize; 3], to: [usize; 3]) -> Vec<u8> {
        let [_, nh, nw] = to;
        match self {
            Geometry::Resize(..) => planes
                .chunks(h * w)
                .flat_map(|plane| {
                    let picture = ImageBuffer::<Luma<u8>, _>::from_raw(w as u32, h as u32, plane);
                    let resized =
                        picture.map(|p| resize(&p, nw as u32, nh as u32, FilterType::Triangle).into_raw());
                    resized.unwrap_or_default()
                })
                .collect(),
            Geometry::Crop(..) => {
                let (top, left) = ((h - nh) / 2, (w - nw) / 2);
                let mut out = Vec::with_capacity(c * nh * nw);
                for plane in planes.chunks(h * w) {
                    for y in top..top + nh {
                        out.extend_from_slice(&plane[y * w + left..y * w + left + nw]);
                    }
                }
                out
            }
            Geometry::Gray if c == 1 => planes.to_vec(),
            Geometry::Gray => (0..h * w)
                .map(|i| {
                    let v = [0, 1, 2].map(|p| f32::from(planes[p * h * w + i]));
                    (0.299 * v[0] + 0.587 * v[1] + 0.114 * v[2]).round() as u8
                })
                .collect(),
        }
    }
}

/// Collects pictures of one size.
pub(super) struct Sink<'a> {
    geometry: &'a [Geometry],
    source: [usize; 3],
    free: bool,
    /// Rows so far.
    pub(super) out: Vec<u8>,
}

impl<'a> Sink<'a> {
    /// For `rows` pictures of shape `source`; when a resize or crop comes first, pictures of any size.
    pub(super) fn new(geometry: &'a [Geometry], source: [usize; 3], rows: usize) -> Self {
        let free = geometry.iter().any(|g| !matches!(g, Geometry::Gray));
        let shape = geometry.iter().try_fold(source, |shape, g| g.shape(shape)).unwrap_or(source);
        let mut out = Vec::new();
        // A vector that grows holds up to twice as much. A header may promise more than there is memory: then it grows.
        let _ = out.try_reserve_exact(shape.iter().fold(rows, |n, &d| n.saturating_mul(d)));
        Self { geometry, source, free, out }
    }

    /// Whether pictures need not be of the first one's size.
    pub(super) fn takes_any_size(&self) -> bool {
        self.free
    }

    /// Adds a picture (planes one after another).
    pub(super) fn push(&mut self, planes: &[u8], mut shape: [usize; 3]) -> Result<(), String> {
        if shape[0] != self.source[0] || (!self.free && shape != self.source) {
            return Err(format!("it is {shape:?}, and the first one is {:?}", self.source));
        }
        let mut changed: Option<Vec<u8>> = None;
        for g in self.geometry {
            let to = g.shape(shape)?;
            changed = Some(g.apply(changed.as_deref().unwrap_or(planes), shape, to));
            shape = to;
        }
        self.out.extend_from_slice(changed.as_deref().unwrap_or(planes));
        Ok(())
    }
}
