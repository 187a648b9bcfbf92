//! Where the time of a program goes, as tables for people.

use crate::fuse::Kind;
use std::fmt;

/// One launch (on a device: cluster) of a program, over all runs so far.
#[derive(Clone, Debug)]
pub struct Line {
    /// Kind of its cluster.
    pub kind: Kind,
    /// Layer path and order of gradient.
    pub label: String,
    /// Mean time in nanoseconds.
    pub nanos: f64,
    /// Least time in nanoseconds: what it takes when nothing else disturbs.
    pub least: f64,
    /// Arithmetic operations of a run.
    pub flops: u64,
    /// Bytes that a run has to move at least.
    pub bytes: u64,
    /// Nanoseconds that the device needs at least by its peak figures, where they are known.
    pub bound: Option<f64>,
}

/// Time, arithmetic and traffic of each launch.
#[derive(Clone, Debug)]
pub struct Profile {
    /// In launch order.
    pub lines: Vec<Line>,
    /// Number of runs.
    pub runs: u64,
    /// How each input comes to the device, a line each.
    pub inputs: Vec<String>,
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: f64 = self.lines.iter().map(|l| l.least).sum();
        let mean: f64 = self.lines.iter().map(|l| l.nanos).sum();
        let roof = self.lines.iter().any(|l| l.bound.is_some());
        write!(f, "{:>10} {:>6} {:>10} {:>9} {:>8}", "least", "share", "mean", "GFLOP/s", "GB/s")?;
        writeln!(f, "{}  cluster", if roof { "   roof" } else { "" })?;
        let mut lines: Vec<(usize, &Line)> = self.lines.iter().enumerate().collect();
        lines.sort_by(|a, b| b.1.least.total_cmp(&a.1.least).then(a.0.cmp(&b.0)));
        for (i, l) in lines {
            let per = |x: u64| if l.least > 0.0 { x as f64 / l.least } else { 0.0 };
            let kind = format!("{:?}", l.kind).to_lowercase();
            write!(
                f,
                "{:>8.1}us {:>5.1}% {:>8.1}us {:>9.1} {:>8.1}",
                l.least / 1e3,
                100.0 * l.least / total.max(1.0),
                l.nanos / 1e3,
                per(l.flops),
                per(l.bytes),
            )?;
            match l.bound {
                Some(b) if l.least > 0.0 => write!(f, " {:>5.1}%", 100.0 * b / l.least)?,
                Some(_) => write!(f, " {:>6}", "")?,
                None if roof => write!(f, " {:>6}", "")?,
                None => {}
            }
            writeln!(f, "  #{i} {kind} {}", l.label)?;
        }
        writeln!(f, "{:>8.1}us in all, {:.1}us in the mean of {} runs", total / 1e3, mean / 1e3, self.runs)?;
        self.inputs.iter().try_for_each(|line| writeln!(f, "input {line}"))
    }
}
