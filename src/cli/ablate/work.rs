//! The runs: which are done, which go on, and doing them side by side.

use super::variants::Variant;
use crate::build::program::{Compiled, TrainProgram};
use crate::cli::progress::{number, pairs};
use crate::cli::run::{self, Job};
use crate::cli::{DeviceArgs, Failure};
use crate::data::{self, Dataset, Pipeline};
use crate::train::checkpoint::{self, Loaded};
use crate::train::folder::{FORMAT, RunFolder, RunRecord};
use crate::train::{RunError, Ui};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What is to be done.
pub(super) struct Plan<'a> {
    /// Variants in order.
    pub variants: &'a [Variant],
    /// Seeds of each.
    pub seeds: &'a [u64],
    /// Where all is kept.
    pub root: &'a Path,
    /// `--steps`
    pub steps: Option<u64>,
    /// `--only`
    pub only: Option<&'a str>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// Its last evaluated numbers.
    Done(BTreeMap<String, f64>),
    /// Why there are none.
    Failed(String),
}

/// One run of a variant.
pub(super) struct Run {
    /// Index of the variant.
    pub variant: usize,
    /// Its seed.
    pub seed: u64,
    /// Its folder.
    pub folder: PathBuf,
    /// What it records.
    record: RunRecord,
    /// Once it is decided.
    pub outcome: Option<Outcome>,
}

/// Between checkpoints by the clock.
const AUTOSAVE: Duration = Duration::from_secs(300);
/// Between lines of a run that goes on.
const LINE_EVERY: Duration = Duration::from_secs(20);

fn plain(e: RunError) -> Failure {
    Failure::Message(e.to_string())
}

impl Plan<'_> {
    /// All runs, those that are done with their numbers.
    ///
    /// # Errors
    /// A folder that holds a run of something else.
    pub(super) fn runs(&self) -> Result<Vec<Run>, Failure> {
        let mut out = Vec::new();
        for (i, v) in self.variants.iter().enumerate() {
            for &seed in self.seeds {
                let record = RunRecord {
                    format: FORMAT,
                    ganc: env!("CARGO_PKG_VERSION").to_string(),
                    sources: v.sources.clone(),
                    set: v.set.clone(),
                    steps: self.steps,
                    seed: Some(seed),
                    only: self.only.map(str::to_string),
                    precision: None,
                    tiles: None,
                };
                let folder = self.root.join("runs").join(&v.slug).join(format!("seed-{seed}"));
                let mut compiled = v.compiled.clone();
                run::overrides(&mut compiled, &record)?;
                let outcome = match newest(&folder, &record)? {
                    Some(Some(loaded)) if finished(&loaded, &compiled) => {
                        Some(Outcome::Done(loaded.manifest.position.values))
                    }
                    Some(_) | None => None,
                };
                out.push(Run { variant: i, seed, folder, record, outcome });
            }
        }
        Ok(out)
    }

    /// Does what is not done, `jobs` at once. A run that fails leaves its reason and does not stop the others.
    pub(super) fn work(
        &self,
        list: &mut [Run],
        jobs: usize,
        device: &DeviceArgs,
        stop: &AtomicBool,
    ) -> Result<(), Failure> {
        let sets = self.sets()?;
        let open: Vec<usize> = (0..list.len()).filter(|&i| list[i].outcome.is_none()).collect();
        let next = AtomicUsize::new(0);
        let outcomes: Mutex<Vec<(usize, Outcome)>> = Mutex::new(Vec::new());
        let runs: &[Run] = list;
        let worker = || {
            while let Some(&i) = open.get(next.fetch_add(1, Ordering::SeqCst))
                && !stop.load(Ordering::SeqCst)
            {
                // A bug that one run meets is told and is no reason to lose the others.
                let one = std::panic::AssertUnwindSafe(|| self.one(&runs[i], &sets, device, stop));
                let outcome = std::panic::catch_unwind(one).unwrap_or_else(|_| {
                    Some(Outcome::Failed("this is a bug in ganc; the lines above say where".into()))
                });
                if let (Some(o), Ok(mut all)) = (outcome, outcomes.lock()) {
                    all.push((i, o));
                }
            }
        };
        std::thread::scope(|scope| -> Result<(), Failure> {
            for n in 0..jobs.min(open.len()) {
                let thread = std::thread::Builder::new().name(format!("ablate {n}")).stack_size(crate::cli::STACK);
                thread
                    .spawn_scoped(scope, worker)
                    .map_err(|e| Failure::Message(format!("the system gives no thread: {e}")))?;
            }
            Ok(())
        })?;
        for (i, o) in outcomes.into_inner().unwrap_or_default() {
            list[i].outcome = Some(o);
        }
        Ok(())
    }

    /// Data sets that are used, each read once for all runs.
    fn sets(&self) -> Result<Vec<(Pipeline, Arc<Dataset>)>, Failure> {
        let mut sets: Vec<(Pipeline, Arc<Dataset>)> = Vec::new();
        for p in self.variants.iter().flat_map(|v| &v.compiled.data) {
            if sets.iter().any(|s| s.0 == *p) {
                continue;
            }
            let set = data::open(p).map_err(|d| {
                let titles: Vec<&str> = d.items().iter().map(|d| d.title.as_str()).collect();
                Failure::Message(format!("data `{}`: {}", p.name, titles.join("; ")))
            })?;
            sets.push((p.clone(), Arc::new(set)));
        }
        Ok(sets)
    }

    /// One run; `None` if it was stopped.
    fn one(
        &self,
        r: &Run,
        sets: &[(Pipeline, Arc<Dataset>)],
        device: &DeviceArgs,
        stop: &AtomicBool,
    ) -> Option<Outcome> {
        let label = format!("{}, seed {}", self.variants[r.variant].name, r.seed);
        let began = Instant::now();
        match self.train(r, sets, device, stop, &label) {
            Ok(None) => None,
            Ok(Some(values)) => {
                let said: Vec<(String, f64)> = values.clone().into_iter().collect();
                let seconds = began.elapsed().as_secs_f64();
                crate::cli::print(&format!("{label}: {}  ({} s)\n", pairs(&said), number(seconds)));
                Some(Outcome::Done(values))
            }
            Err(f) => {
                let why = match f {
                    Failure::Message(text) => text,
                    Failure::Refused | Failure::Stopped => "refused".into(),
                };
                crate::cli::tell(&format!("{label}: FAILED: {why}\n"));
                Some(Outcome::Failed(why))
            }
        }
    }

    fn train(
        &self,
        r: &Run,
        sets: &[(Pipeline, Arc<Dataset>)],
        device: &DeviceArgs,
        stop: &AtomicBool,
        label: &str,
    ) -> Result<Option<BTreeMap<String, f64>>, Failure> {
        let mut compiled = self.variants[r.variant].compiled.clone();
        run::overrides(&mut compiled, &r.record)?;
        let of = |p: &Pipeline| sets.iter().find(|s| s.0 == *p).map(|s| s.1.clone());
        let data: Vec<Arc<Dataset>> = compiled.data.iter().filter_map(of).collect();
        let (folder, loaded) = match newest(&r.folder, &r.record)? {
            Some(loaded) => (RunFolder::open(&r.folder).map_err(plain)?.0, loaded),
            None => {
                remains(&r.folder);
                (RunFolder::create(Some(&r.folder), "", &r.record).map_err(plain)?, None)
            }
        };
        let mut exec = crate::cli::device::executor(device, false)?;
        exec.use_tiles(r.record.tiles.as_deref());
        let mut ui = Lines { label, last: Instant::now() };
        let from = loaded.as_ref();
        let job = Job { compiled: &compiled, data: &data, folder: &folder, record: &r.record, from };
        let summary = job.train(&mut exec, stop, AUTOSAVE, 0, &mut ui).map_err(plain)?;
        for (text, verdict) in summary.expects.iter().filter(|e| !e.1.holds()) {
            crate::cli::tell(&format!("{label}: the spec expects {text}{}\n", verdict.why_not()));
        }
        Ok((!summary.stopped).then(|| summary.values.into_iter().collect()))
    }
}

/// Whether a checkpoint is the last one of its run.
fn finished(loaded: &Loaded, compiled: &Compiled) -> bool {
    let at = &loaded.manifest.position;
    at.train + 1 == compiled.trains.len() && compiled.trains.last().is_some_and(|t| at.step >= t.steps)
}

/// The newest checkpoint of a run folder; `None` if there is no run in it yet.
fn newest(folder: &Path, record: &RunRecord) -> Result<Option<Option<Loaded>>, Failure> {
    if !folder.join("run.json").exists() {
        return Ok(None);
    }
    let (opened, found) = RunFolder::open(folder).map_err(plain)?;
    let spec = run::spec_hash(record);
    if run::spec_hash(&found) != spec {
        return Err(Failure::Message(format!(
            "`{}` holds a run of another spec, or of this one with other options or before it was edited; choose \
             another --out",
            folder.display()
        )));
    }
    let (loaded, damaged) = checkpoint::newest(&opened.checkpoints(), Some(&spec)).map_err(plain)?;
    damaged.iter().for_each(|e| crate::cli::tell(&format!("warning: {e}\n")));
    Ok(Some(loaded))
}

/// Removes what a process leaves that was killed while it made a run folder. Folders that hold anything stay.
fn remains(folder: &Path) {
    for sub in ["checkpoints", "samples"] {
        let _ = std::fs::remove_dir(folder.join(sub));
    }
    let _ = std::fs::remove_file(folder.join("run.tmp"));
}

/// A line now and then.
struct Lines<'a> {
    label: &'a str,
    last: Instant,
}

impl Ui for Lines<'_> {
    fn begin(&mut self, train: &TrainProgram, done: u64) {
        let from = if done > 0 { format!(", going on after {done}") } else { String::new() };
        crate::cli::print(&format!("{}: {} begins{from}\n", self.label, train.name));
    }

    fn step(&mut self, train: &TrainProgram, step: u64, losses: &[(String, f64)]) {
        if self.last.elapsed() >= LINE_EVERY {
            self.last = Instant::now();
            let text = format!("{}: {} {step}/{}  {}\n", self.label, train.name, train.steps, pairs(losses));
            crate::cli::print(&text);
        }
    }

    fn evaluated(&mut self, _: &TrainProgram, _: u64, _: &[(String, f64)]) {}

    fn note(&mut self, _: &str) {}

    fn end(&mut self, _: &TrainProgram) {}
}
