//! Points in the plane, generated ones over those of the data.

use super::ReportError;
use super::canvas::{Canvas, FAINT, FRAME, INK, PALETTE, WHITE, text_width};
use super::ticks::{labels, ticks};
use crate::graph::host::HostTensor;
use image::RgbImage;

/// Side of a plot's square.
const SIDE: i64 = 440;
/// Space for labels on the left and below, and on the other sides.
const MARGIN: (i64, i64) = (64, 30);

fn points(t: &HostTensor) -> Result<Vec<(f64, f64)>, ReportError> {
    match (t.as_f32(), &t.shape[..]) {
        (Some(v), [_, 2]) => Ok(v.chunks(2).map(|p| (f64::from(p[0]), f64::from(p[1]))).collect()),
        _ => Err(ReportError::Shape(format!("{:?} is not a list of points [n, 2]", t.shape))),
    }
}

/// Draws panels of points `[n, 2]` side by side, each over the data. The square shown is that of the data and a fifth
/// more, so that pictures of one run can be compared; what lies outside is counted below.
///
/// # Errors
/// If a tensor is not a list of points.
pub fn scatter(panels: &[HostTensor], data: Option<&HostTensor>) -> Result<RgbImage, ReportError> {
    let generated = panels.iter().map(points).collect::<Result<Vec<_>, _>>()?;
    let real = data.map(points).transpose()?.unwrap_or_default();
    let all: Vec<_> = generated.iter().flatten().copied().collect();
    let basis = if real.is_empty() { &all } else { &real };
    let bounds = |f: fn(&(f64, f64)) -> f64| {
        let v = basis.iter().map(f).filter(|v| v.is_finite());
        v.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)))
    };
    let (xs, ys) = (bounds(|p| p.0), bounds(|p| p.1));
    let half = 0.6 * (xs.1 - xs.0).max(ys.1 - ys.0);
    let half = if half.is_finite() && half > 0.0 { half } else { 1.0 };
    let middle = |(a, b): (f64, f64)| if a <= b { (a + b) / 2.0 } else { 0.0 };
    let centre = (middle(xs), middle(ys));
    let (left, other) = MARGIN;
    let step = left + SIDE + other;
    let mut canvas =
        Canvas::new((step * generated.len().max(1) as i64) as usize, (SIDE + left + other) as usize, WHITE);
    for (i, panel) in generated.iter().enumerate() {
        let (x0, y0) = (step * i as i64 + left, other);
        let place = |p: (f64, f64)| {
            let x = (p.0 - centre.0 + half) / (2.0 * half) * SIDE as f64;
            let y = (half - p.1 + centre.1) / (2.0 * half) * SIDE as f64;
            let inside = (0.0..SIDE as f64).contains(&x) && (0.0..SIDE as f64).contains(&y);
            inside.then_some((x0 as f64 + x, y0 as f64 + y))
        };
        let marks = |c: f64| ticks(c - half, c + half, 5);
        for (t, label) in marks(centre.0).iter().zip(labels(&marks(centre.0))) {
            let x = x0 + ((t - centre.0 + half) / (2.0 * half) * SIDE as f64) as i64;
            canvas.fill(x, y0, 1, SIDE, FAINT);
            canvas.text(x - text_width(&label, 1) / 2, y0 + SIDE + 8, &label, 1, INK);
        }
        for (t, label) in marks(centre.1).iter().zip(labels(&marks(centre.1))) {
            let y = y0 + ((half - t + centre.1) / (2.0 * half) * SIDE as f64) as i64;
            canvas.fill(x0, y, SIDE, 1, FAINT);
            canvas.text(x0 - 8 - text_width(&label, 1), y - 4, &label, 1, INK);
        }
        canvas.frame(x0, y0, SIDE, SIDE, FRAME);
        for p in real.iter().filter_map(|&p| place(p)) {
            canvas.dot(p.0, p.1, 2.2, [150, 150, 150], 0.35);
        }
        let mut outside = 0;
        for p in panel {
            match place(*p) {
                Some((x, y)) => canvas.dot(x, y, 1.8, PALETTE[0], 0.7),
                None => outside += 1,
            }
        }
        canvas.dot((x0 + 6) as f64, (y0 + SIDE + 30) as f64, 4.0, PALETTE[0], 1.0);
        canvas.text(x0 + 16, y0 + SIDE + 26, "generated", 1, INK);
        if !real.is_empty() {
            canvas.dot((x0 + 116) as f64, (y0 + SIDE + 30) as f64, 4.0, [160; 3], 1.0);
            canvas.text(x0 + 126, y0 + SIDE + 26, "data", 1, INK);
        }
        if outside > 0 {
            let text = format!("{outside} of {} outside", panel.len());
            canvas.text(x0 + SIDE - text_width(&text, 1), y0 + SIDE + 26, &text, 1, PALETTE[1]);
        }
    }
    Ok(canvas.picture)
}
