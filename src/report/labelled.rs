//! Pictures with words on them: strips of captioned pictures under titles.

use super::ReportError;
use super::canvas::{Canvas, FRAME, INK, WHITE, text_width};
use super::grid::Cells;
use crate::graph::host::HostTensor;
use image::RgbImage;

/// A row of pictures (or several, after `columns` each) under a title.
#[derive(Clone, Debug)]
pub struct Strip {
    /// Said above; may be empty.
    pub title: String,
    /// `[n, c, h, w]`, or what [`super::grid`] draws as such.
    pub pictures: HostTensor,
    /// Said below each.
    pub captions: Vec<String>,
}

/// Pictures are enlarged by a whole factor until they are this high or wide.
const VISIBLE: usize = 84;
const MARGIN: usize = 8;
/// Height of a caption with the space below it.
const CAPTION: usize = 24;
const TITLE: usize = 30;
/// Longer titles are set small rather than making a wide picture.
const TITLE_WIDTH: usize = 1_200;

/// The larger of two sizes in which a text is at most so many pixels wide, else the smaller.
fn scale_for(text: &str, width: usize) -> i64 {
    if text_width(text, 2) <= width as i64 { 2 } else { 1 }
}

/// Draws strips below each other, at most `columns` pictures side by side; the first value of `range` is black.
///
/// # Errors
/// If a tensor is not a batch of pictures, or the whole would be too large.
pub fn strips(strips: &[Strip], columns: usize, range: (f64, f64)) -> Result<RgbImage, ReportError> {
    let columns = columns.max(1);
    let cells = strips.iter().map(|s| Cells::new(&s.pictures)).collect::<Result<Vec<_>, _>>()?;
    let scale = |c: &Cells| VISIBLE.div_ceil(c.height.max(c.width)).max(1);
    let cell = |c: &Cells| (c.width * scale(c) + MARGIN, c.height * scale(c) + MARGIN / 2 + CAPTION);
    let head = |s: &Strip| if s.title.is_empty() { 0 } else { TITLE };
    let mut width = 0;
    let mut height = MARGIN;
    for (s, c) in strips.iter().zip(&cells) {
        let (w, h) = cell(c);
        let title = text_width(&s.title, scale_for(&s.title, TITLE_WIDTH)) as usize;
        width = width.max(c.count.min(columns).saturating_mul(w)).max(title + MARGIN);
        height = (c.count.div_ceil(columns).saturating_mul(h)).saturating_add(height + head(s) + MARGIN);
    }
    let width = width + MARGIN;
    if width.saturating_mul(height) > 1 << 28 {
        return Err(ReportError::Shape(format!("a picture of {width} x {height} pixels is too large")));
    }
    let mut canvas = Canvas::new(width, height, WHITE);
    let mut top = MARGIN;
    for (s, c) in strips.iter().zip(&cells) {
        if !s.title.is_empty() {
            canvas.text(MARGIN as i64, top as i64 + 4, &s.title, scale_for(&s.title, TITLE_WIDTH), INK);
            top += TITLE;
        }
        let (w, h) = cell(c);
        for i in 0..c.count {
            let (x, y) = (MARGIN + i % columns * w, top + i / columns * h);
            let (inner_w, inner_h) = (c.width * scale(c), c.height * scale(c));
            canvas.frame(x as i64 - 1, y as i64 - 1, inner_w as i64 + 2, inner_h as i64 + 2, FRAME);
            c.draw(&mut canvas, i, (x, y), scale(c), range);
            if let Some(text) = s.captions.get(i) {
                let size = scale_for(text, inner_w);
                let left = x as i64 + (inner_w as i64 - text_width(text, size)) / 2;
                canvas.text(left.max(x as i64), (y + inner_h + 4) as i64, text, size, INK);
            }
        }
        top += c.count.div_ceil(columns) * h + MARGIN;
    }
    Ok(canvas.picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_stand_where_they_are_counted() {
        let t = HostTensor::f32(vec![3, 1, 1, 1], vec![-1.0, 0.0, 1.0]);
        let captions = vec!["0".to_string(), "1".into(), "2".into()];
        let strip = Strip { title: "ab".into(), pictures: t, captions };
        let p = strips(std::slice::from_ref(&strip), 2, (-1.0, 1.0)).unwrap();
        let step = (VISIBLE + MARGIN, VISIBLE + MARGIN / 2 + CAPTION);
        assert_eq!(p.width() as usize, 2 * step.0 + MARGIN);
        assert_eq!(p.height() as usize, 2 * step.1 + TITLE + 2 * MARGIN);
        let middle = |column: usize, row: usize| {
            let (x, y) = (MARGIN + column * step.0 + 40, MARGIN + TITLE + row * step.1 + 40);
            p.get_pixel(x as u32, y as u32).0
        };
        assert_eq!(
            [middle(0, 0), middle(1, 0), middle(0, 1), middle(1, 1)],
            [[0; 3], [128; 3], [255; 3], [255; 3]]
        );
        // Ink of the caption below the first picture.
        let below = (0..VISIBLE as u32).flat_map(|x| (0..16).map(move |y| (x, y)));
        let top = (MARGIN + TITLE + VISIBLE + 4) as u32;
        assert!(below.into_iter().any(|(x, y)| p.get_pixel(MARGIN as u32 + x, top + y).0 == INK));
        let wrong = Strip { pictures: HostTensor::u32(vec![1], vec![1]), ..strip };
        assert!(strips(&[wrong], 2, (0.0, 1.0)).is_err());
    }
}
