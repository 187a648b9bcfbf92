//! The curves of a run, gathered as its log grows.

use super::error::RunError;
use super::folder::LogLine;
use crate::build::program::Compiled;
use crate::report::curves::{Series, curves};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// Drawing takes at most about one part in this many of a run's time.
const SHARE: u32 = 50;

/// Series of a run's log, and when they were last drawn.
pub struct Curves {
    series: Vec<Series>,
    /// Iterations before each `train`.
    offsets: BTreeMap<String, u64>,
    stale: bool,
    drawn: Instant,
    took: Duration,
}

impl Curves {
    /// Of the lines that a resumed run begins with.
    pub fn new(compiled: &Compiled, lines: &[LogLine]) -> Self {
        let mut offset = 0;
        let mut offsets = BTreeMap::new();
        for t in &compiled.trains {
            offsets.insert(t.name.clone(), offset);
            offset += t.steps;
        }
        let mut new =
            Self { series: Vec::new(), offsets, stale: false, drawn: Instant::now(), took: Duration::ZERO };
        lines.iter().for_each(|l| new.add(l));
        new
    }

    /// Adds what a line holds.
    pub fn add(&mut self, line: &LogLine) {
        let at = self.offsets.get(&line.train).copied().unwrap_or(0) + line.step;
        // Losses share a panel, and so do monitors of one kind; every evaluated number has one of its own.
        for (n, v) in &line.loss {
            self.point("loss", n, at, *v);
        }
        for (n, v) in &line.value {
            self.point(n, n, at, *v);
        }
        for (n, v) in &line.monitor {
            let (kind, of) = n.split_once('.').unwrap_or(("monitor", n));
            match kind {
                "real" | "fake" => self.point("accuracy", &format!("{of} on {kind}s"), at, *v),
                _ => self.point(kind, of, at, *v),
            }
        }
        self.stale = true;
    }

    fn point(&mut self, group: &str, name: &str, at: u64, value: f64) {
        match self.series.iter_mut().find(|s| s.group == group && s.name == name) {
            Some(s) => s.points.push((at, value)),
            None => self.series.push(Series {
                group: group.to_string(),
                name: name.to_string(),
                points: vec![(at, value)],
            }),
        }
    }

    /// Draws them, if there is anything new; unless it is the `last` time, not so often that it would slow the run.
    pub fn draw(&mut self, path: &Path, last: bool) -> Result<(), RunError> {
        if !self.stale || self.series.is_empty() || !last && self.drawn.elapsed() < self.took * SHARE {
            return Ok(());
        }
        let began = Instant::now();
        crate::report::save_png(&curves(&self.series), path)?;
        self.drawn = Instant::now();
        self.took = self.drawn - began;
        self.stale = false;
        Ok(())
    }
}
