//! Means with error bars: a panel a quantity, a row a variant.

use super::canvas::{Canvas, FAINT, FRAME, INK, PALETTE, WHITE, text_width};
use super::ticks::{labels, ticks};
use image::RgbImage;

/// One quantity of several variants.
#[derive(Clone, Debug, Default)]
pub struct Panel {
    /// Its name.
    pub title: String,
    /// Variants in order.
    pub rows: Vec<Row>,
}

/// One variant.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Every measured value.
    pub values: Vec<f64>,
    /// Mean, where there is one.
    pub mean: Option<f64>,
    /// Standard error of the mean, where there is one.
    pub error: Option<f64>,
}

const ROW: i64 = 34;
const TOP: i64 = 46;
const BOTTOM: i64 = 52;
const PLOT: i64 = 760;
const MARGIN: i64 = 30;
/// Names longer than this are cut.
const LONGEST: usize = 48;

fn short(name: &str) -> String {
    if name.chars().count() <= LONGEST {
        name.to_string()
    } else {
        name.chars().take(LONGEST - 2).collect::<String>() + ".."
    }
}

/// Draws the panels below each other: single values pale, means with bars of one standard error to either side.
pub fn forest(panels: &[Panel]) -> RgbImage {
    let names = panels.iter().flat_map(|p| &p.rows).map(|r| text_width(&short(&r.name), 2)).max().unwrap_or(0);
    let left = MARGIN + names + 20;
    let height = |p: &Panel| TOP + ROW * p.rows.len() as i64 + BOTTOM;
    let whole: i64 = panels.iter().map(height).sum::<i64>().max(1);
    let mut canvas = Canvas::new((left + PLOT + MARGIN) as usize, whole as usize, WHITE);
    let mut top = 0;
    for p in panels {
        panel(&mut canvas, p, left, top);
        top += height(p);
    }
    canvas.picture
}

/// The axis holds all values and bars.
fn axis(p: &Panel) -> (f64, f64) {
    let ends = p.rows.iter().flat_map(|r| {
        let bar = r.mean.map(|m| [m - r.error.unwrap_or(0.0), m + r.error.unwrap_or(0.0)]);
        bar.into_iter().flatten().chain(r.values.iter().copied())
    });
    let (lo, hi) = ends
        .filter(|v| v.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b): (f64, f64), v| (a.min(v), b.max(v)));
    if lo > hi {
        return (0.0, 1.0);
    }
    let flat = hi - lo <= 1e-9 * hi.abs();
    let pad = if flat { (0.1 * hi.abs()).max(1e-3) } else { 0.06 * (hi - lo) };
    (lo - pad, hi + pad)
}

fn panel(canvas: &mut Canvas, p: &Panel, left: i64, top: i64) {
    let (y0, h) = (top + TOP, ROW * p.rows.len() as i64);
    let (lo, hi) = axis(p);
    let x_of = |v: f64| left as f64 + (v - lo) / (hi - lo) * (PLOT - 1) as f64;
    let across = ticks(lo, hi, 7);
    for (t, label) in across.iter().zip(labels(&across)) {
        canvas.fill(x_of(*t) as i64, y0, 1, h, FAINT);
        canvas.text(x_of(*t) as i64 - text_width(&label, 2) / 2, y0 + h + 10, &label, 2, INK);
    }
    canvas.frame(left, y0, PLOT, h, FRAME);
    canvas.text(MARGIN, top + 16, &p.title, 2, INK);
    for (i, r) in p.rows.iter().enumerate() {
        let middle = y0 + ROW * i as i64 + ROW / 2;
        canvas.text(MARGIN, middle - 8, &short(&r.name), 2, INK);
        let colour = PALETTE[i.min(1)];
        for v in r.values.iter().filter(|v| v.is_finite()) {
            canvas.dot(x_of(*v), middle as f64, 3.0, colour, 0.35);
        }
        let Some(mean) = r.mean.filter(|m| m.is_finite()) else { continue };
        if let Some(e) = r.error.filter(|e| e.is_finite()) {
            let (a, b) = (x_of(mean - e) as i64, x_of(mean + e) as i64);
            canvas.fill(a, middle - 1, (b - a).max(1), 3, colour);
            canvas.fill(a, middle - 7, 2, 15, colour);
            canvas.fill(b - 1, middle - 7, 2, 15, colour);
        }
        canvas.dot(x_of(mean), middle as f64, 5.5, colour, 1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_their_place_and_bad_values_do_no_harm() {
        let row = |name: &str, values: &[f64], mean, error| Row {
            name: name.into(),
            values: values.to_vec(),
            mean,
            error,
        };
        let p = Panel {
            title: "swd".into(),
            rows: vec![
                row("as it is", &[1.0, 3.0], Some(2.0), Some(1.0)),
                row("without", &[f64::NAN], Some(f64::NAN), None),
                row(&"x".repeat(300), &[], None, None),
            ],
        };
        let picture = forest(&[p.clone(), p]);
        assert_eq!(i64::from(picture.height()), 2 * (TOP + 3 * ROW + BOTTOM));
        // The axis is 1 to 3 and 6 % more on either side, so the mean lies in the middle of the plot.
        let left = i64::from(picture.width()) - PLOT - MARGIN;
        let at = |x: i64| picture.get_pixel((left + x) as u32, (TOP + ROW / 2) as u32).0;
        assert_eq!(at(PLOT / 2), PALETTE[0]);
        assert_eq!(at(PLOT / 4), PALETTE[0], "the bar reaches one error to the left");
        assert_ne!(at(2), PALETTE[0]);
        assert!(forest(&[]).height() >= 1 && forest(&[Panel::default()]).height() > 1);
    }
}
