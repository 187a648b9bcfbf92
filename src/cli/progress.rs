//! What a person or a program sees of a run: a bar on a terminal, plain lines elsewhere, JSON, or nothing.

use crate::build::program::TrainProgram;
use crate::train::Ui;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// How a run reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Bar or lines, whichever fits the terminal.
    Person,
    /// One JSON object a line on standard output.
    Json,
    /// Nothing but errors.
    Quiet,
}

/// Longest silence of plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

pub(super) struct Progress {
    mode: Mode,
    bar: Option<ProgressBar>,
    began: Instant,
    done_before: u64,
    last_line: Instant,
    /// The newest readings of monitors in short.
    readings: String,
}

impl Progress {
    pub(super) fn new(mode: Mode) -> Self {
        let now = Instant::now();
        Self { mode, bar: None, began: now, done_before: 0, last_line: now, readings: String::new() }
    }

    fn say(&self, text: &str) {
        match (&self.bar, self.mode) {
            (_, Mode::Quiet | Mode::Json) => {}
            (Some(bar), Mode::Person) => bar.println(text),
            (None, Mode::Person) => super::print(&format!("{text}\n")),
        }
    }
}

/// A number as a person reads it: four significant digits.
pub(super) fn number(v: f64) -> String {
    if v == 0.0 || (1e-3..1e5).contains(&v.abs()) {
        let digits = if v == 0.0 { 0 } else { v.abs().log10().floor() as i32 };
        format!("{v:.*}", (3 - digits).clamp(0, 6) as usize)
    } else {
        format!("{v:.3e}")
    }
}

/// `D 0.693  G 1.2`
pub(super) fn pairs(values: &[(String, f64)]) -> String {
    values.iter().map(|(n, v)| format!("{n} {}", number(*v))).collect::<Vec<_>>().join("  ")
}

/// Readings of monitors in few words: `  |grad| D 0.31 G 1.2  D right 0.98/0.95  G alike 0.04`.
fn short(readings: &[(String, f64)]) -> String {
    let all: Vec<(&str, &str, f64)> = readings
        .iter()
        .map(|(n, v)| n.split_once('.').map_or((n.as_str(), "", *v), |(k, of)| (k, of, *v)))
        .collect();
    let find = |kind: &str, of: &str| all.iter().find(|r| r.0 == kind && r.1 == of).map(|r| r.2);
    let gradients: Vec<String> =
        all.iter().filter(|r| r.0 == "gradient").map(|(_, of, v)| format!("{of} {}", number(*v))).collect();
    let mut out = if gradients.is_empty() { String::new() } else { format!("  |grad| {}", gradients.join(" ")) };
    for (kind, of, v) in &all {
        match *kind {
            "real" => {
                let fake = find("fake", of).unwrap_or(f64::NAN);
                out.push_str(&format!("  {of} right {v:.2}/{fake:.2}"));
            }
            "correlation" => out.push_str(&format!("  {of} alike {v:.2}")),
            "modes" => out.push_str(&format!("  {of} modes {v}")),
            _ => {}
        }
    }
    out
}

fn object(values: &[(String, f64)]) -> serde_json::Map<String, serde_json::Value> {
    values.iter().map(|(n, v)| (n.clone(), json!(v))).collect()
}

fn clock(d: Duration) -> String {
    let s = d.as_secs();
    if s >= 3600 { format!("{}h{:02}m", s / 3600, s / 60 % 60) } else { format!("{}m{:02}s", s / 60, s % 60) }
}

impl Ui for Progress {
    fn begin(&mut self, train: &TrainProgram, done: u64) {
        self.began = Instant::now();
        self.last_line = self.began;
        self.done_before = done;
        self.readings.clear();
        if self.mode == Mode::Person && std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(train.steps), ProgressDrawTarget::stderr());
            if let Ok(style) =
                ProgressStyle::with_template("{prefix} {bar:28} {pos}/{len}  {per_sec}  {msg}  {eta} left")
            {
                bar.set_style(style);
            }
            bar.set_prefix(train.name.clone());
            bar.set_position(done);
            bar.reset_eta();
            self.bar = Some(bar);
        }
        if self.mode == Mode::Json {
            let line = json!({"event": "begin", "train": train.name, "step": done, "steps": train.steps});
            super::print(&format!("{line}\n"));
        }
    }

    fn step(&mut self, train: &TrainProgram, step: u64, losses: &[(String, f64)]) {
        if let Some(bar) = &self.bar {
            bar.set_position(step);
            // Formatting each step would cost small nets more than their arithmetic.
            if self.last_line.elapsed() > Duration::from_millis(200) {
                bar.set_message(format!("{}{}", pairs(losses), self.readings));
                self.last_line = Instant::now();
            }
            return;
        }
        if self.last_line.elapsed() < LINE_EVERY && step != self.done_before + 1 && step != train.steps {
            return;
        }
        self.last_line = Instant::now();
        let rate = (step - self.done_before) as f64 / self.began.elapsed().as_secs_f64().max(1e-9);
        match self.mode {
            Mode::Person => {
                let left = Duration::from_secs_f64((train.steps - step) as f64 / rate.max(1e-9));
                self.say(&format!(
                    "{} {step}/{}  {} it/s  {}{}  {} left",
                    train.name,
                    train.steps,
                    number(rate),
                    pairs(losses),
                    self.readings,
                    clock(left)
                ));
            }
            Mode::Json => {
                let line = json!({
                    "event": "step", "train": train.name, "step": step, "loss": object(losses), "rate": rate
                });
                super::print(&format!("{line}\n"));
            }
            Mode::Quiet => {}
        }
    }

    fn evaluated(&mut self, train: &TrainProgram, step: u64, values: &[(String, f64)]) {
        if self.mode == Mode::Json {
            let line = json!({"event": "evaluate", "train": train.name, "step": step, "value": object(values)});
            super::print(&format!("{line}\n"));
        } else {
            self.say(&format!("{} {step}: {}", train.name, pairs(values)));
        }
    }

    fn watched(&mut self, train: &TrainProgram, step: u64, readings: &[(String, f64)]) {
        if self.mode == Mode::Json {
            let line = json!({"event": "monitor", "train": train.name, "step": step, "value": object(readings)});
            super::print(&format!("{line}\n"));
        }
        self.readings = short(readings);
    }

    fn note(&mut self, text: &str) {
        if self.mode == Mode::Json {
            super::print(&format!("{}\n", json!({"event": "note", "text": text})));
        } else {
            self.say(text);
        }
    }

    fn end(&mut self, train: &TrainProgram) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if self.mode == Mode::Json {
            super::print(&format!("{}\n", json!({"event": "end", "train": train.name})));
        }
    }
}
