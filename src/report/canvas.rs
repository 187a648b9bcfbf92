//! A drawing surface: rectangles, smooth lines and dots, text in a bitmap font.

use font8x8::{BASIC_FONTS, UnicodeFonts};
use image::{Rgb, RgbImage};

/// A colour.
pub(super) type Colour = [u8; 3];

pub(super) const WHITE: Colour = [255; 3];
pub(super) const INK: Colour = [40, 44, 52];
pub(super) const FAINT: Colour = [225, 228, 232];
pub(super) const FRAME: Colour = [150, 156, 164];

/// Colours that people with colour blindness tell apart (Okabe & Ito 2008).
pub(super) const PALETTE: [Colour; 7] =
    [[0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167], [230, 159, 0], [86, 180, 233], [90, 90, 90]];

/// Where things are drawn.
pub(super) struct Canvas {
    pub(super) picture: RgbImage,
}

impl Canvas {
    pub(super) fn new(width: usize, height: usize, colour: Colour) -> Self {
        Self { picture: RgbImage::from_pixel(width as u32, height as u32, Rgb(colour)) }
    }

    /// Mixes a colour into a pixel; outside nothing happens.
    pub(super) fn blend(&mut self, x: i64, y: i64, colour: Colour, alpha: f64) {
        let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return };
        if let Some(p) = self.picture.get_pixel_mut_checked(x, y) {
            for (old, new) in p.0.iter_mut().zip(colour) {
                *old = (f64::from(*old) * (1.0 - alpha) + f64::from(new) * alpha).round() as u8;
            }
        }
    }

    pub(super) fn fill(&mut self, x: i64, y: i64, width: i64, height: i64, colour: Colour) {
        for yy in y..y + height {
            for xx in x..x + width {
                self.blend(xx, yy, colour, 1.0);
            }
        }
    }

    pub(super) fn frame(&mut self, x: i64, y: i64, width: i64, height: i64, colour: Colour) {
        self.fill(x, y, width, 1, colour);
        self.fill(x, y + height - 1, width, 1, colour);
        self.fill(x, y, 1, height, colour);
        self.fill(x + width - 1, y, 1, height, colour);
    }

    /// A round dot.
    pub(super) fn dot(&mut self, x: f64, y: f64, radius: f64, colour: Colour, alpha: f64) {
        let reach = radius.ceil() as i64 + 1;
        for yy in y as i64 - reach..=y as i64 + reach {
            for xx in x as i64 - reach..=x as i64 + reach {
                let d = (xx as f64 + 0.5 - x).hypot(yy as f64 + 0.5 - y);
                self.blend(xx, yy, colour, alpha * (radius + 0.5 - d).clamp(0.0, 1.0));
            }
        }
    }

    /// Connected points, clipped to `[x, y, width, height]`; each pixel is painted once, however the line turns.
    pub(super) fn polyline(
        &mut self,
        points: &[(f64, f64)],
        thick: f64,
        colour: Colour,
        alpha: f64,
        clip: [i64; 4],
    ) {
        let [cx, cy, cw, ch] = clip;
        let mut mask = vec![0f32; (cw * ch) as usize];
        for pair in points.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            let pad = thick / 2.0 + 1.0;
            let x0 = ((a.0.min(b.0) - pad) as i64).max(cx);
            let x1 = ((a.0.max(b.0) + pad) as i64).min(cx + cw - 1);
            let y0 = ((a.1.min(b.1) - pad) as i64).max(cy);
            let y1 = ((a.1.max(b.1) + pad) as i64).min(cy + ch - 1);
            let (dx, dy) = (b.0 - a.0, b.1 - a.1);
            let length = (dx * dx + dy * dy).max(1e-12);
            for y in y0..=y1 {
                for x in x0..=x1 {
                    let (px, py) = (x as f64 + 0.5 - a.0, y as f64 + 0.5 - a.1);
                    let t = ((px * dx + py * dy) / length).clamp(0.0, 1.0);
                    let d = (px - t * dx).hypot(py - t * dy);
                    let cover = (thick / 2.0 + 0.5 - d).clamp(0.0, 1.0) as f32;
                    let m = &mut mask[((y - cy) * cw + x - cx) as usize];
                    *m = m.max(cover);
                }
            }
        }
        for (i, m) in mask.into_iter().enumerate().filter(|m| m.1 > 0.0) {
            self.blend(cx + i as i64 % cw, cy + i as i64 / cw, colour, alpha * f64::from(m));
        }
    }

    /// Text with its upper left corner at a place; a character is `8 * scale` wide and high.
    pub(super) fn text(&mut self, x: i64, y: i64, text: &str, scale: i64, colour: Colour) {
        for (i, c) in text.chars().enumerate() {
            let glyph = BASIC_FONTS.get(c).or_else(|| BASIC_FONTS.get('?')).unwrap_or_default();
            for (row, bits) in glyph.iter().enumerate() {
                for column in (0..8).filter(|c| bits >> c & 1 == 1) {
                    let (px, py) = (x + (i as i64 * 8 + column) * scale, y + row as i64 * scale);
                    self.fill(px, py, scale, scale, colour);
                }
            }
        }
    }
}

/// Width of a text in pixels.
pub(super) fn text_width(text: &str, scale: i64) -> i64 {
    text.chars().count() as i64 * 8 * scale
}
