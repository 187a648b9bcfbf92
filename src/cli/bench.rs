//! `ganc bench`: milliseconds per training iteration, data loading left out.
//!
//! Timed are whole iterations: noise, forwards, backwards, optimisers, state updates. Real batches (or, where a GPU holds
//! the data, the numbers of their rows) come from a pool of four iterations' worth that is made before the clock starts.

use super::progress::number;
use super::workload::Workload;
use super::{DeviceArgs, Failure, SpecArgs, compile};
use crate::graph::{Graph, Node, Op};
use clap::Args;
use serde_json::json;
use std::time::Instant;

#[derive(Args)]
pub(super) struct BenchArgs {
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// Timed chunks of iterations
    #[arg(long, default_value_t = 9)]
    repeat: usize,
    /// Iterations a chunk
    #[arg(long, default_value_t = 1)]
    steps: u64,
    /// Iterations before the clock starts
    #[arg(long, default_value_t = 2)]
    warmup: u64,
    /// Time each cluster too and print where the time goes
    #[arg(long)]
    profile: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Bytes that the program itself takes before it holds any tensor, read off an x86-64 Linux build.
const PROGRAM: usize = 10 << 20;

/// Bytes that a node of an iteration's graph takes through all stages, read off the bench specs likewise.
const NODE: usize = 3500;

const MIB: f64 = 1048576.0;

/// Peak resident memory of this process in MiB, where the system says it.
fn host_peak_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kib| kib / 1024.0)
}

/// FLOPs of the products and convolutions of a graph; a multiply-add counts 2, padding counts as work.
fn products(g: &Graph) -> u64 {
    let one = |n: &Node| match &n.op {
        Op::ConvFwd(c) | Op::ConvDataGrad(c) | Op::ConvWeightGrad(c) => c.flops(),
        Op::Contract(dims) => {
            let lhs = g.shape(n.args[0]);
            let summed: usize = dims.contracted.iter().map(|p| lhs[p.0]).product();
            2 * (n.ty.elements() * summed) as u64
        }
        _ => 0,
    };
    g.nodes().iter().map(one).sum()
}

pub(super) fn bench(args: &BenchArgs) -> Result<(), Failure> {
    if args.repeat == 0 || args.steps == 0 {
        return Err(Failure::Message("--repeat and --steps must be at least 1".into()));
    }
    let began = Instant::now();
    let (mut work, mut exec) = Workload::open(&args.spec, &args.device, args.profile)?;
    let mut program = work.compile(&mut exec)?;
    work.iterate(&mut exec, &mut program, 1)?;
    let first = began.elapsed().as_secs_f64();
    work.iterate(&mut exec, &mut program, args.warmup.saturating_sub(1))?;
    program.reset_profile();
    let mut times = Vec::new();
    for _ in 0..args.repeat {
        let t = Instant::now();
        work.iterate(&mut exec, &mut program, args.steps)?;
        times.push(t.elapsed().as_secs_f64() * 1e3 / args.steps as f64);
    }
    let profile = exec.profile(&program);
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    let flops = products(program.graph());
    let [sets, batches] = work.data_bytes();
    let nodes = work.iteration().graph.nodes().len();
    // On a device of its own tensors and data count, in this process everything does.
    let own = if exec.most_bytes().is_some() { 0 } else { batches + PROGRAM + NODE * nodes };
    let predicted = (program.memory() + sets + own) as f64 / MIB;
    let peak = exec.most_bytes().map(|b| b as f64 / MIB).or_else(host_peak_mib);
    let batch = work.train().batch;
    let rate = flops as f64 / median / 1e6;
    if args.json {
        let line = json!({
            "workload": compile::stem(&args.spec.spec), "precision": args.spec.precision, "device": exec.place(), "threads": args.device.threads, "batch": batch,
            "ms": median, "ms_min": times[0], "ms_max": times[times.len() - 1], "gflops": rate,
            "flops": flops, "peak_mib": peak, "host_peak_mib": host_peak_mib(), "predicted_mib": predicted, "first_step_s": first,
        });
        super::print(&format!("{line}\n"));
    } else {
        super::print(&format!(
            "{} on {}: {} ms an iteration (median of {}; {} to {}), {} GFLOP/s of products, batch {}\n",
            compile::stem(&args.spec.spec),
            exec.place(),
            number(median),
            args.repeat,
            number(times[0]),
            number(times[times.len() - 1]),
            number(rate),
            batch,
        ));
        let peak = peak.map_or("not known here".into(), |m| format!("{m:.0} MiB"));
        super::print(&format!(
            "peak memory{} {peak}, predicted {predicted:.0} MiB (plan {}, data {}); first step done {first:.2} s after the start\n",
            if exec.most_bytes().is_some() { " on the device" } else { "" },
            number(program.memory() as f64 / MIB),
            number(sets as f64 / MIB),
        ));
        if args.profile {
            super::print(&format!("\n{profile}"));
        }
    }
    Ok(())
}
