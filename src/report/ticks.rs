//! Round numbers along an axis.

/// Multiples of 1, 2 or 5 times a power of ten within `[lo, hi]`, about `count` of them.
pub(super) fn ticks(lo: f64, hi: f64, count: usize) -> Vec<f64> {
    let span = hi - lo;
    if !(span.is_finite() && span > 0.0) {
        return Vec::new();
    }
    let raw = span / count.max(1) as f64;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].iter().map(|m| m * power).find(|&s| s >= raw * 0.999).unwrap_or(raw);
    let (first, last) = ((lo / step - 1e-9).ceil() as i64, (hi / step + 1e-9).floor() as i64);
    (first..=last.min(first + 50)).map(|i| i as f64 * step).collect()
}

/// Labels of ticks, alike in their decimals; thousands and millions as `20k`, `1.5M`.
pub(super) fn labels(ticks: &[f64]) -> Vec<String> {
    let most = ticks.iter().fold(0.0f64, |m, t| m.max(t.abs()));
    let step = if ticks.len() > 1 { ticks[1] - ticks[0] } else { most.max(1.0) };
    let (unit, suffix) = match most {
        m if m >= 1e9 || (m > 0.0 && m < 1e-4) => return ticks.iter().map(|t| format!("{t:.1e}")).collect(),
        m if m >= 1e6 => (1e6, "M"),
        m if m >= 1e4 => (1e3, "k"),
        _ => (1.0, ""),
    };
    let decimals = (0..7)
        .find(|&d| {
            ((step / unit) * 10f64.powi(d)).fract().min(1.0).abs() < 1e-6
                || 1.0 - ((step / unit) * 10f64.powi(d)).fract() < 1e-6
        })
        .unwrap_or(3) as usize;
    ticks
        .iter()
        .map(|&t| if t == 0.0 { "0".to_owned() } else { format!("{:.decimals$}{suffix}", t / unit) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_numbers() {
        assert_eq!(ticks(0.0, 1.0, 5).len(), 6);
        assert_eq!(labels(&ticks(0.0, 1.0, 5)), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(&ticks(0.0, 20_000.0, 4)), ["0", "5k", "10k", "15k", "20k"]);
        assert_eq!(labels(&ticks(-3.0, 3.0, 3)), ["-2", "0", "2"]);
        assert!(ticks(1.0, 1.0, 4).is_empty() && ticks(f64::NAN, 1.0, 4).is_empty());
    }
}
