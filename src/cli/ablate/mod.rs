//! `ganc ablate`: does a trick help? The spec as it is, and once without each of its tricks (or over values of its
//! constants), over several seeds; the numbers that it evaluates as a paper's table, mean ± standard error.
//!
//! ```text
//! runs/SPEC-ablation/
//!   table.txt, table.csv, runs.csv, plot.png
//!   runs/VARIANT/seed-S/      an ordinary run folder each
//! ```
//!
//! A run that is there is not repeated, one that was cut short goes on from its checkpoint: the same command, given
//! again, finishes what is missing.

mod table;
mod variants;
mod work;

use super::{DeviceArgs, Failure, compile, device, run};
use crate::build::program::Action;
use clap::Args;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use variants::Variant;
use work::{Outcome, Plan};

#[derive(Args)]
pub(super) struct AblateArgs {
    /// The spec, a .gan file
    spec: PathBuf,
    /// Runs of each variant: the spec's seed and the ones after it
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Values of a constant instead of tricks: --set k=0,1,5,10; one value is an override for all
    #[arg(long = "set", value_name = "NAME=VALUE,…")]
    set: Vec<String>,
    /// Only the `train` of this name
    #[arg(long)]
    only: Option<String>,
    /// Iterations of each `train`, instead of what the spec says
    #[arg(long)]
    steps: Option<u64>,
    /// First seed, instead of what the spec says
    #[arg(long)]
    seed: Option<u64>,
    /// Runs at once (default: as many as there are cores, or runs)
    #[arg(long)]
    jobs: Option<usize>,
    /// Where all is kept (default: runs/SPEC-ablation)
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Most seeds of a variant, and most runs of all.
const MOST_RUNS: u64 = 10_000;
/// Most runs at once.
const MOST_JOBS: usize = 256;

pub(super) fn ablate(args: &AblateArgs) -> Result<(), Failure> {
    if args.seeds == 0 || args.seeds > MOST_RUNS {
        return Err(Failure::Message(format!("--seeds {}: from 1 to {MOST_RUNS}", args.seeds)));
    }
    if args.jobs.is_some_and(|j| j == 0 || j > MOST_JOBS) {
        return Err(Failure::Message(format!("--jobs {}: from 1 to {MOST_JOBS}", args.jobs.unwrap_or(0))));
    }
    let cores = device::threads(&args.device)?;
    let variants = variants::all(&args.spec, &args.set, args.only.as_deref(), args.steps)?;
    evaluates(&variants)?;
    let first = variants[0].compiled.trains.first().map_or(0, |t| t.seed);
    let first = args.seed.unwrap_or(first);
    if first.checked_add(args.seeds).is_none() {
        return Err(Failure::Message(format!("--seed {first}: {} seeds do not follow it", args.seeds)));
    }
    let seeds: Vec<u64> = (first..first + args.seeds).collect();
    let runs = seeds.len() * variants.len();
    if runs as u64 > MOST_RUNS {
        return Err(Failure::Message(format!("these are {runs} runs, at most {MOST_RUNS}")));
    }
    let stem = compile::stem(&args.spec);
    let root = args.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(format!("{stem}-ablation")));
    let jobs = args.jobs.unwrap_or(cores).min(runs);
    let device = DeviceArgs { threads: Some((cores / jobs).max(1)), ..args.device.clone() };
    let plan =
        Plan { variants: &variants, seeds: &seeds, root: &root, steps: args.steps, only: args.only.as_deref() };
    std::fs::create_dir_all(&root)
        .map_err(|e| Failure::Message(format!("cannot make the folder `{}`: {e}", root.display())))?;
    let mut list = plan.runs()?;
    let done = list.iter().filter(|r| r.outcome.is_some()).count();
    super::print(&format!(
        "{} variants, {} seeds: {runs} runs, {done} of them done; {jobs} at once; all in {}\n",
        variants.len(),
        seeds.len(),
        root.display()
    ));
    let stop = run::stop_flag();
    plan.work(&mut list, jobs, &device, stop)?;
    if stop.load(Ordering::SeqCst) && list.iter().any(|r| r.outcome.is_none()) {
        let done = list.iter().filter(|r| matches!(r.outcome, Some(Outcome::Done(_)))).count();
        super::tell(&format!(
            "stopped and saved: {done} of {runs} runs are done; the same command goes on with the others\n"
        ));
        return Err(Failure::Stopped);
    }
    let what = if seeds.len() == 1 {
        format!("seed {first}")
    } else {
        format!("seeds {first} to {}", first + args.seeds - 1)
    };
    let title = format!("{} ({what})", args.spec.display());
    table::write(&root, &title, &variants, &list)?;
    let failed = list.iter().filter(|r| matches!(r.outcome, Some(Outcome::Failed(_)))).count();
    if failed == 0 {
        Ok(())
    } else {
        Err(Failure::Message(format!("{failed} of {runs} runs failed; the table is of the others")))
    }
}

/// Refuses a spec that measures nothing.
fn evaluates(variants: &[Variant]) -> Result<(), Failure> {
    let trains = variants.iter().flat_map(|v| &v.compiled.trains);
    let measured = trains.flat_map(|t| &t.every).flat_map(|e| &e.actions).any(|a| matches!(a, Action::Evaluate(_)));
    if measured {
        return Ok(());
    }
    Err(Failure::Message(
        "the spec evaluates nothing, so there is nothing to compare; add a line such as \
         `every 1_000 steps { evaluate distance = swd(G(z), faces.image) }`"
            .into(),
    ))
}
