//! Curves of losses and metrics over the iterations.

use super::canvas::{Canvas, FAINT, FRAME, INK, PALETTE, WHITE, text_width};
use super::ticks::{labels, ticks};
use image::RgbImage;

/// One curve.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Panel that it belongs to, such as `loss`.
    pub group: String,
    /// Its name in the legend.
    pub name: String,
    /// Iteration and value, in order.
    pub points: Vec<(u64, f64)>,
}

const WIDTH: i64 = 1200;
const PANEL: i64 = 380;
const LEFT: i64 = 130;
const RIGHT: i64 = 30;
const TOP: i64 = 46;
const BOTTOM: i64 = 44;

/// Gathers `(step, name, value)` rows into series; the group is what stands before the first `:` of the name, or else
/// `metrics`, so that `loss:D` and `loss:G` share a panel.
pub fn series<'a>(rows: impl IntoIterator<Item = (u64, &'a str, f64)>) -> Vec<Series> {
    let mut out: Vec<Series> = Vec::new();
    for (step, full, value) in rows {
        let (group, name) = full.split_once(':').unwrap_or(("metrics", full));
        match out.iter_mut().find(|s| s.group == group && s.name == name) {
            Some(s) => s.points.push((step, value)),
            None => {
                out.push(Series { group: group.to_owned(), name: name.to_owned(), points: vec![(step, value)] })
            }
        }
    }
    out
}

/// Draws one panel a group, in the order of their first series. Values that are not finite leave a gap. Long series
/// are drawn pale with their moving average (a fiftieth of the series wide) over them. If few values are far away, the
/// axis leaves them out.
pub fn curves(series: &[Series]) -> RgbImage {
    let mut groups: Vec<&str> = Vec::new();
    for s in series {
        if !groups.contains(&s.group.as_str()) {
            groups.push(&s.group);
        }
    }
    let mut canvas = Canvas::new(WIDTH as usize, (PANEL * groups.len().max(1) as i64) as usize, WHITE);
    let last = series.iter().flat_map(|s| &s.points).map(|p| p.0).max().unwrap_or(0).max(1) as f64;
    for (i, group) in groups.iter().enumerate() {
        let own: Vec<&Series> = series.iter().filter(|s| s.group == *group).collect();
        panel(&mut canvas, PANEL * i as i64, group, &own, last);
    }
    canvas.picture
}

/// The axis: all values, or, when single ones are far away, those between the 1st and 99th percentile.
fn axis(series: &[&Series]) -> (f64, f64) {
    let mut v: Vec<f64> = series.iter().flat_map(|s| &s.points).map(|p| p.1).filter(|v| v.is_finite()).collect();
    if v.is_empty() {
        return (0.0, 1.0);
    }
    v.sort_by(f64::total_cmp);
    let at = |q: f64| v[(q * (v.len() - 1) as f64).round() as usize];
    let (lo, hi) = (at(0.01), at(0.99));
    let far = 1.5 * (hi - lo);
    let lo = if at(0.0) < lo - far && v.len() > 100 { lo } else { at(0.0) };
    let hi = if at(1.0) > hi + far && v.len() > 100 { hi } else { at(1.0) };
    let flat = hi - lo <= 1e-9 * hi.abs();
    let pad = if flat { (0.1 * hi.abs()).max(1e-3) } else { 0.06 * (hi - lo) };
    // Zero is worth showing when it is near.
    let lo = if lo > 0.0 && lo < 0.4 * hi { 0.0 } else { lo - pad };
    (lo, hi + pad)
}

/// Mean of the values within `reach` places on either side.
fn smooth(v: &[f64], reach: usize) -> Vec<f64> {
    let mut sums = vec![0.0];
    v.iter().for_each(|x| sums.push(sums[sums.len() - 1] + x));
    (0..v.len())
        .map(|i| {
            let (a, b) = (i.saturating_sub(reach), (i + reach + 1).min(v.len()));
            (sums[b] - sums[a]) / (b - a) as f64
        })
        .collect()
}

/// At most about four points a pixel column: the smallest and largest of each bin.
fn thin(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let bin = points.len() / (2 * WIDTH as usize);
    if bin < 2 {
        return points;
    }
    let pick = |c: &[(f64, f64)]| {
        let by = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let mut two: Vec<_> = c.iter().min_by(by).into_iter().chain(c.iter().max_by(by)).copied().collect();
        two.sort_by(|a, b| a.0.total_cmp(&b.0));
        two
    };
    points.chunks(bin).flat_map(pick).collect()
}

fn panel(canvas: &mut Canvas, top: i64, title: &str, series: &[&Series], last: f64) {
    let (x0, y0, w, h) = (LEFT, top + TOP, WIDTH - LEFT - RIGHT, PANEL - TOP - BOTTOM);
    let (lo, hi) = axis(series);
    let x_of = |step: f64| x0 as f64 + step / last * (w - 1) as f64;
    let y_of = |v: f64| y0 as f64 + (hi - v) / (hi - lo) * (h - 1) as f64;
    let across = ticks(0.0, last, 8);
    for (t, label) in across.iter().zip(labels(&across)) {
        canvas.fill(x_of(*t) as i64, y0, 1, h, FAINT);
        let x = (x_of(*t) as i64 - text_width(&label, 2) / 2).min(WIDTH - text_width(&label, 2) - 2);
        canvas.text(x, y0 + h + 12, &label, 2, INK);
    }
    let up = ticks(lo, hi, 5);
    for (t, label) in up.iter().zip(labels(&up)) {
        canvas.fill(x0, y_of(*t) as i64, w, 1, if *t == 0.0 { FRAME } else { FAINT });
        canvas.text(x0 - 12 - text_width(&label, 2), y_of(*t) as i64 - 8, &label, 2, INK);
    }
    canvas.frame(x0, y0, w, h, FRAME);
    canvas.text(x0, top + 16, title, 2, INK);
    let mut right = WIDTH - RIGHT;
    for (i, s) in series.iter().enumerate().rev() {
        right -= text_width(&s.name, 2);
        canvas.text(right, top + 16, &s.name, 2, INK);
        right -= 32;
        canvas.fill(right, top + 22, 24, 5, PALETTE[i % PALETTE.len()]);
        right -= 24;
    }
    let clip = [x0 + 1, y0 + 1, w - 2, h - 2];
    for (i, s) in series.iter().enumerate() {
        let colour = PALETTE[i % PALETTE.len()];
        for run in s.points.split(|p| !p.1.is_finite()).filter(|r| !r.is_empty()) {
            // Values far outside are drawn at the edge, so that a line leaves the panel where it should.
            let edge = |v: f64| v.clamp(lo - (hi - lo), hi + (hi - lo));
            let line = |v: &mut dyn Iterator<Item = f64>| -> Vec<(f64, f64)> {
                thin(run.iter().zip(v).map(|(p, v)| (x_of(p.0 as f64), y_of(edge(v)))).collect())
            };
            let values: Vec<f64> = run.iter().map(|p| p.1).collect();
            let raw = line(&mut values.iter().copied());
            if run.len() < 100 {
                canvas.polyline(&raw, 2.5, colour, 1.0, clip);
                if run.len() <= 40 {
                    raw.iter().for_each(|p| canvas.dot(p.0, p.1, 4.0, colour, 1.0));
                }
            } else {
                canvas.polyline(&raw, 1.0, colour, 0.35, clip);
                let even = smooth(&smooth(&values, run.len() / 100), run.len() / 100);
                canvas.polyline(&line(&mut even.into_iter()), 2.5, colour, 1.0, clip);
            }
        }
    }
}
