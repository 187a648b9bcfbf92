//! `ganc run`

use super::progress::{Mode, Progress, number};
use super::{DeviceArgs, Failure, compile, device};
use crate::build::program::Compiled;
use crate::exec::Executor;
use crate::exec::any::AnyExecutor;
use crate::exec::oracle::Oracle;
use crate::model::Options;
use crate::train::checkpoint;
use crate::train::folder::{FORMAT, RunFolder, RunRecord};
use crate::train::watch::DEFAULT_EVERY;
use crate::train::{RunError, Summary, Trainer, Ui};
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[derive(Args)]
pub(super) struct RunArgs {
    /// The spec, a .gan file (may be left out with --resume RUN)
    spec: Option<PathBuf>,
    /// Go on with this run folder (without a folder: the newest run of the spec)
    #[arg(long, value_name = "RUN", num_args = 0..=1)]
    resume: Option<Option<PathBuf>>,
    /// With --resume: the spec was edited since; go on with the text as it was
    #[arg(long, requires = "resume")]
    as_recorded: bool,
    /// Run folder to make (default: runs/SPEC-n)
    #[arg(long, conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Override a constant: --set nz=64 (may be given several times)
    #[arg(long = "set", value_name = "NAME=VALUE", conflicts_with = "resume")]
    set: Vec<String>,
    /// Only the `train` of this name
    #[arg(long, conflicts_with = "resume")]
    only: Option<String>,
    /// What products are computed in, instead of what the spec says
    #[arg(long, conflicts_with = "resume", value_parser = super::PRECISIONS)]
    precision: Option<String>,
    /// Iterations of each `train`, instead of what the spec says
    #[arg(long, conflicts_with = "resume")]
    steps: Option<u64>,
    /// Seed, instead of what the spec says
    #[arg(long, conflicts_with = "resume")]
    seed: Option<u64>,
    /// Print nothing but errors
    #[arg(long, conflicts_with = "json")]
    quiet: bool,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// Save by the clock as well: minutes between checkpoints (0: never)
    #[arg(long, default_value_t = 5)]
    autosave: u64,
    /// Gradient norms, accuracies of the judge and likeness of samples, each so many steps: on (100), off, or a number
    #[arg(long, value_name = "off|on|N", default_value = "on", value_parser = monitors)]
    monitors: u64,
    /// Run every node in 64-bit floats, as plainly as it is defined: slow, the check on everything else
    #[arg(long, conflicts_with = "no_fuse")]
    oracle: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Steps between readings of monitors; 0: none.
fn monitors(text: &str) -> Result<u64, String> {
    match text {
        "off" => Ok(0),
        "on" => Ok(DEFAULT_EVERY),
        n => n.parse().ok().filter(|n| *n > 0).ok_or_else(|| "on, off, or a number of steps from 1".to_string()),
    }
}

pub(super) fn run(args: &RunArgs) -> Result<(), Failure> {
    device::threads(&args.device)?;
    let waking = device::waken(&args.device);
    match &args.resume {
        None => {
            let spec = args.spec.as_deref().ok_or_else(|| {
                Failure::Message("which spec? `ganc run spec.gan`, or `ganc run --resume runs/NAME`".into())
            })?;
            fresh(args, spec, &waking)
        }
        Some(folder) => {
            let folder = match (folder, &args.spec) {
                (Some(folder), _) => folder.clone(),
                (None, Some(spec)) => compile::newest_run(spec).ok_or_else(|| {
                    Failure::Message(format!("there is no run of `{}` under runs/ to resume", spec.display()))
                })?,
                (None, None) => return Err(Failure::Message("which run? `ganc run --resume runs/NAME`".into())),
            };
            resume(args, &folder, &waking)
        }
    }
}

/// What a record's spec is read with.
pub(super) fn options(record: &RunRecord) -> Options {
    Options { set: record.set.clone(), only: record.only.clone(), precision: record.precision.clone() }
}

/// Steps and seed of a record, in place of those of the spec.
pub(super) fn overrides(compiled: &mut Compiled, record: &RunRecord) -> Result<(), Failure> {
    if record.steps == Some(0) {
        return Err(Failure::Message("--steps 0: at least one iteration is needed".into()));
    }
    for train in &mut compiled.trains {
        train.steps = record.steps.unwrap_or(train.steps);
        train.seed = record.seed.unwrap_or(train.seed);
        if train.steps > u64::from(u32::MAX) {
            return Err(Failure::Message(format!("{} iterations: at most {} are counted", train.steps, u32::MAX)));
        }
    }
    Ok(())
}

fn fresh(args: &RunArgs, spec: &Path, waking: &device::Waking) -> Result<(), Failure> {
    let options =
        Options { set: compile::pairs(&args.set)?, only: args.only.clone(), precision: args.precision.clone() };
    let front = compile::front_with(spec, &options, &compile::read_text)?;
    let mut compiled = compile::graphs(&front)?;
    let mut record = RunRecord {
        format: FORMAT,
        ganc: env!("CARGO_PKG_VERSION").to_string(),
        sources: compile::stored(&front),
        set: options.set,
        steps: args.steps,
        seed: args.seed,
        only: options.only,
        precision: options.precision,
        tiles: None,
    };
    overrides(&mut compiled, &record)?;
    if compiled.trains.is_empty() {
        return Err(Failure::Message(format!("`{}` has no `train`, so there is nothing to run", spec.display())));
    }
    waking.check(&args.device)?;
    let data = compile::open_data(&front, &compiled)?;
    // A run that cannot start makes no folder.
    let mut exec = device::executor(&args.device, false)?;
    record.tiles = exec.tiles();
    compile::afford(&front, &compiled, &exec, args.device.memory.map(device::mebibytes))?;
    compile::pretrained(&front, &mut compiled)?;
    let folder = RunFolder::create(args.out.as_deref(), &compile::stem(spec), &record)
        .map_err(|e| compile::refused(&front.sources, &e.diagnostics(None)))?;
    let job = Job { compiled: &compiled, data: &data, folder: &folder, record: &record, from: None };
    go(args, &front, &job, &mut exec)
}

fn resume(args: &RunArgs, root: &Path, waking: &device::Waking) -> Result<(), Failure> {
    let none = crate::source::SourceMap::default();
    let (folder, record) = RunFolder::open(root).map_err(|e| compile::refused(&none, &e.diagnostics(None)))?;
    for source in &record.sources {
        // A spec that is gone is no obstacle: the record has its text.
        let edited = compile::read_text(&source.path).is_ok_and(|now| now != source.text);
        if edited && !args.as_recorded {
            return Err(Failure::Message(format!(
                "`{}` was edited since this run began, and a resumed run goes on with the same spec; use \
                 --as-recorded to go on with the text as it was, or start a new run for the edited one",
                source.path.display()
            )));
        }
    }
    let options = options(&record);
    let main = record.sources.first().map(|s| s.path.clone()).unwrap_or_default();
    let front = compile::front_with(&main, &options, &compile::recorded(record.sources.clone()))?;
    let mut compiled = compile::graphs(&front)?;
    overrides(&mut compiled, &record)?;
    waking.check(&args.device)?;
    let data = compile::open_data(&front, &compiled)?;
    let mut exec = device::executor(&args.device, false)?;
    exec.use_tiles(record.tiles.as_deref());
    compile::afford(&front, &compiled, &exec, args.device.memory.map(device::mebibytes))?;
    let spec = spec_hash(&record);
    let (loaded, damaged) = checkpoint::newest(&folder.checkpoints(), Some(&spec))
        .map_err(|e| compile::refused(&front.sources, &e.diagnostics(None)))?;
    for e in &damaged {
        super::tell(&format!("warning: {e}\n"));
    }
    if loaded.is_none() && !damaged.is_empty() {
        return Err(Failure::Message(format!(
            "no checkpoint of `{}` can be used; start a new run of the spec",
            root.display()
        )));
    }
    if loaded.is_none() && !args.quiet && !args.json {
        super::print("no checkpoint yet: starting from the beginning\n");
    }
    if loaded.is_none() {
        compile::pretrained(&front, &mut compiled)?;
    }
    let from = loaded.as_ref();
    let job = Job { compiled: &compiled, data: &data, folder: &folder, record: &record, from };
    go(args, &front, &job, &mut exec)
}

/// Hash of everything that decides a run's numbers.
pub(super) fn spec_hash(record: &RunRecord) -> String {
    let texts: Vec<&str> = record.sources.iter().map(|s| s.text.as_str()).collect();
    let mut all = vec![
        serde_json::json!(texts),
        serde_json::json!(record.set),
        serde_json::json!(record.steps),
        serde_json::json!(record.seed),
        serde_json::json!(record.only),
    ];
    // Only where it is given: runs of versions without it keep their hashes.
    all.extend(record.precision.iter().map(|p| serde_json::json!(p)));
    let all = serde_json::Value::from(all);
    checkpoint::sha256(all.to_string().as_bytes())
}

/// A run that is to go on.
pub(super) struct Job<'a> {
    /// Its graphs, steps and seed already those of the record.
    pub compiled: &'a Compiled,
    /// One set for each of [`Compiled::data`].
    pub data: &'a [Arc<crate::data::Dataset>],
    /// Where it is kept.
    pub folder: &'a RunFolder,
    /// What is run.
    pub record: &'a RunRecord,
    /// The checkpoint to go on from.
    pub from: Option<&'a checkpoint::Loaded>,
}

impl Job<'_> {
    /// Trains to the end, or until `stop` is set, with readings of monitors each so many steps (0: none).
    pub(super) fn train<E: Executor>(
        &self,
        exec: &mut E,
        stop: &AtomicBool,
        autosave: Duration,
        monitors: u64,
        ui: &mut dyn Ui,
    ) -> Result<Summary, RunError> {
        // Held to the end: two processes in one folder would mix their logs and checkpoints.
        let _lock = self.folder.lock()?;
        let spec = spec_hash(self.record);
        let Job { compiled, data, folder, .. } = *self;
        Trainer { compiled, exec, data, folder, spec, stop, monitors, autosave }.run(self.from, ui)
    }
}

/// Set by Ctrl-C: save and stop. A second Ctrl-C ends at once; the last checkpoint stays whole either way. Where the
/// handler cannot be set, Ctrl-C kills the run, which a resume mends.
pub(super) fn stop_flag() -> &'static AtomicBool {
    static STOP: AtomicBool = AtomicBool::new(false);
    let _ = ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    });
    &STOP
}

fn go(args: &RunArgs, front: &compile::Front, job: &Job<'_>, exec: &mut AnyExecutor) -> Result<(), Failure> {
    if args.oracle { train(args, front, job, &mut Oracle::default()) } else { train(args, front, job, exec) }
}

fn train<E: Executor>(args: &RunArgs, front: &compile::Front, job: &Job<'_>, exec: &mut E) -> Result<(), Failure> {
    let mode = match (args.json, args.quiet) {
        (true, _) => Mode::Json,
        (_, true) => Mode::Quiet,
        _ => Mode::Person,
    };
    let mut ui = Progress::new(mode);
    ui.note(&format!("run folder {}", job.folder.root().display()));
    let minutes = if args.autosave == 0 { u64::MAX } else { args.autosave };
    let autosave = Duration::from_secs(minutes.saturating_mul(60));
    match job.train(exec, stop_flag(), autosave, args.monitors, &mut ui) {
        Ok(summary) => finish(&summary, job.folder, mode),
        Err(e) => {
            let failure = compile::refused(&front.sources, &e.diagnostics(None));
            let newest = checkpoint::list(&job.folder.checkpoints()).unwrap_or_default().pop();
            let newest = newest.map_or("it has no checkpoint yet".to_string(), |p| {
                format!("its newest checkpoint is {}", p.display())
            });
            super::tell(&format!("the run is in {}; {newest}\n", job.folder.root().display()));
            Err(failure)
        }
    }
}

fn finish(summary: &Summary, folder: &RunFolder, mode: Mode) -> Result<(), Failure> {
    if summary.stopped {
        super::tell(&format!("stopped and saved; go on with `ganc run --resume {}`\n", folder.root().display()));
        return Err(Failure::Stopped);
    }
    if mode == Mode::Person {
        for (name, value) in &summary.values {
            super::print(&format!("{name} = {}\n", number(*value)));
        }
        super::print(&format!("done: {}\n", folder.root().display()));
    }
    let failed: Vec<_> = summary.expects.iter().filter(|e| !e.1.holds()).collect();
    for (text, verdict) in &failed {
        super::tell(&format!("error: the spec expects {text}{}\n", verdict.why_not()));
    }
    if failed.is_empty() { Ok(()) } else { Err(Failure::Refused) }
}
