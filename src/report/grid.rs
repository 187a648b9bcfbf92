//! Grids of pictures.

use super::ReportError;
use super::canvas::{Canvas, Colour};
use crate::graph::host::HostTensor;
use image::RgbImage;

/// Between pictures.
const LINE: Colour = [128, 132, 140];
/// Between panels.
const GAP: usize = 10;
/// Where a value is not a number.
const BROKEN: Colour = [255, 0, 255];
/// Pictures are enlarged by a whole factor until they are this high or wide.
const VISIBLE: usize = 56;

/// One panel's pictures as bytes.
pub(super) struct Cells<'a> {
    values: &'a [f32],
    channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) count: usize,
}

impl<'a> Cells<'a> {
    pub(super) fn new(t: &'a HostTensor) -> Result<Self, ReportError> {
        let values = t.as_f32().ok_or_else(|| ReportError::Shape("pictures must be reals".to_owned()))?;
        let (count, [channels, height, width]) = match t.shape[..] {
            [n, c, h, w] => (n, [c, h, w]),
            [n, h, w] => (n, [1, h, w]),
            // A vector is drawn as a square where that is possible, else as a strip.
            [n, d] => match d.isqrt() {
                s if s * s == d => (n, [1, s, s]),
                _ => (n, [1, 1, d]),
            },
            _ => return Err(ReportError::Shape(format!("{:?} is not a batch of pictures", t.shape))),
        };
        if count * channels * height * width == 0 {
            return Err(ReportError::Shape(format!("{:?} has no pictures", t.shape)));
        }
        Ok(Self { values, channels, height, width, count })
    }

    fn colour(&self, cell: usize, y: usize, x: usize, (lo, hi): (f64, f64)) -> Colour {
        let at = |c: usize| self.values[((cell * self.channels + c) * self.height + y) * self.width + x];
        let rgb = if self.channels == 3 { [at(0), at(1), at(2)] } else { [at(0); 3] };
        if rgb.iter().any(|v| v.is_nan()) {
            return BROKEN;
        }
        rgb.map(|v| ((f64::from(v) - lo) / (hi - lo) * 255.0).round().clamp(0.0, 255.0) as u8)
    }

    /// Draws one picture, each value `scale` pixels wide, with its upper left corner at a place.
    pub(super) fn draw(
        &self,
        canvas: &mut Canvas,
        cell: usize,
        at: (usize, usize),
        scale: usize,
        range: (f64, f64),
    ) {
        for y in 0..self.height {
            for x in 0..self.width {
                let (px, py, size) = ((at.0 + x * scale) as i64, (at.1 + y * scale) as i64, scale as i64);
                canvas.fill(px, py, size, size, self.colour(cell, y, x, range));
            }
        }
    }
}

/// Draws panels of pictures `[n, c, h, w]` side by side, each `rows × columns`; the first value of `range` is black.
/// Three channels are colours; of other numbers the first is drawn. What is not a number is magenta.
///
/// # Errors
/// If a tensor is not a batch of pictures.
pub fn picture_grid(
    panels: &[HostTensor],
    grid: (usize, usize),
    range: (f64, f64),
) -> Result<RgbImage, ReportError> {
    let cells = panels.iter().map(Cells::new).collect::<Result<Vec<_>, _>>()?;
    let (rows, columns) = (grid.0.max(1), grid.1.max(1));
    let scales: Vec<usize> = cells.iter().map(|c| VISIBLE.div_ceil(c.height.max(c.width)).max(1)).collect();
    let size = |c: &Cells, s: usize| (columns * (c.width * s + 1) + 1, rows * (c.height * s + 1) + 1);
    let sizes: Vec<_> = cells.iter().zip(&scales).map(|(c, &s)| size(c, s)).collect();
    let width = sizes.iter().map(|s| s.0).sum::<usize>() + GAP * panels.len().saturating_sub(1);
    let height = sizes.iter().map(|s| s.1).max().unwrap_or(1);
    if width.saturating_mul(height) > 1 << 28 || width == 0 {
        return Err(ReportError::Shape(format!("a picture of {width} x {height} pixels is too large")));
    }
    let mut canvas = Canvas::new(width, height, [255; 3]);
    let mut left = 0;
    for ((c, &scale), &(w, h)) in cells.iter().zip(&scales).zip(&sizes) {
        canvas.fill(left as i64, 0, w as i64, h as i64, LINE);
        for cell in 0..c.count.min(rows * columns) {
            let (x0, y0) =
                (left + 1 + cell % columns * (c.width * scale + 1), 1 + cell / columns * (c.height * scale + 1));
            c.draw(&mut canvas, cell, (x0, y0), scale, range);
        }
        left += w + GAP;
    }
    Ok(canvas.picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_bytes() {
        let t = HostTensor::f32(vec![2, 1, 1, 2], vec![-1.0, 1.0, 0.0, f32::NAN]);
        let p = picture_grid(std::slice::from_ref(&t), (1, 2), (-1.0, 1.0)).unwrap();
        // Scale 28: each picture is 56 x 28, with lines around.
        assert_eq!(p.dimensions(), (2 * 57 + 1, 30));
        assert_eq!(p.get_pixel(1, 1).0, [0; 3]);
        assert_eq!(p.get_pixel(30, 1).0, [255; 3]);
        assert_eq!(p.get_pixel(60, 10).0, [128; 3]);
        assert_eq!(p.get_pixel(100, 10).0, BROKEN);
        let colour = HostTensor::f32(vec![1, 3, 1, 1], vec![0.0, 0.5, 9.0]);
        let p = picture_grid(&[t, colour], (1, 1), (0.0, 1.0)).unwrap();
        assert_eq!(p.get_pixel(58 + 10 + 5, 5).0, [0, 128, 255]);
        assert!(picture_grid(&[HostTensor::u32(vec![1], vec![1])], (1, 1), (0.0, 1.0)).is_err());
        assert!(picture_grid(&[HostTensor::f32(vec![0, 1, 2, 2], vec![])], (1, 1), (0.0, 1.0)).is_err());
    }
}
