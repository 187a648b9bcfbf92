//! `ganc bench`: milliseconds per training iteration, data loading left out.
//!
//! Timed are whole iterations: noise, forwards, backwards, optimisers, state updates. Real batches come from a pool
//! of four iterations' worth that is read before the clock starts.

use super::progress::number;
use super::{DeviceArgs, Failure, SpecArgs, compile, device};
use crate::exec::Executor;
use crate::exec::any::{AnyExecutor, AnyPending, AnyProgram};
use crate::graph::{Graph, HostTensor, Node, Op};
use crate::train::{driver, feed, key};
use clap::Args;
use serde_json::json;
use std::collections::VecDeque;
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

/// Iterations' worth of real batches in the pool.
const POOL: u64 = 4;

/// Bytes that the program itself takes before it holds any tensor, read off an x86-64 Linux build.
const PROGRAM: usize = 10 << 20;

/// Bytes that a node of an iteration's graph takes through all stages, read off the bench specs likewise.
const NODE: usize = 3500;

/// Peak resident memory of this process in MiB, where the system says it.
fn peak_mib() -> Option<f64> {
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
    let front = compile::front(&args.spec)?;
    let compiled = compile::graphs(&front)?;
    let data = compile::open_data(&front, &compiled)?;
    let train =
        compiled.trains.first().ok_or_else(|| Failure::Message("the spec has no `train` to time".into()))?;
    let mut exec = device::executor(&args.device, args.profile)?;
    let wrong = |e: crate::train::RunError| compile::refused(&front.sources, &e.diagnostics(None));
    for reset in [None, Some(0)] {
        driver::initialise(&compiled, &mut exec, train.seed, reset).map_err(|e| wrong(e.into()))?;
    }
    let loaders = driver::loaders(train, &data).map_err(wrong)?;
    driver::start(train, &mut exec, &loaders).map_err(wrong)?;
    let it = &train.iterations[feed::variant(train, 1).map_err(wrong)?];
    let mut program = exec.compile(&it.graph).map_err(|e| wrong(e.into()))?;
    // As in a run: what the device holds is not sent.
    let mut resident = feed::Resident::default();
    let names = |set: usize| compiled.data[set].name.clone();
    resident.ask(&mut exec, train, it, &loaders, &names).map_err(|e| wrong(e.into()))?;
    resident.feed(&mut exec, &mut program, train, it, &loaders).map_err(|e| wrong(e.into()))?;
    let mut counters = vec![0; train.lines.len()];
    let mut pool = Vec::new();
    for _ in 0..POOL {
        pool.push(resident.prepare(train, it, &loaders, &counters));
        counters.iter_mut().zip(&it.fresh).for_each(|(c, f)| *c += *f as u64);
    }
    let seed = HostTensor::u32([2], key(train.seed).to_vec());
    let mut step = 0u64;
    let mut begin = |exec: &mut AnyExecutor, program: &mut AnyProgram| -> Result<AnyPending, Failure> {
        step += 1;
        let count = HostTensor::u32([], vec![step as u32]);
        let mut inputs: Vec<(&str, &HostTensor)> = vec![("seed", &seed), ("iteration", &count)];
        let batch = &pool[(step % POOL) as usize];
        let given = resident.given(exec, program, it, &loaders, batch);
        inputs.extend(given.iter().map(|(name, t)| (*name, &**t)));
        exec.start(program, &inputs).map_err(|e| wrong(e.into()))
    };
    // Iterations as a run issues them: a device works on some while its host prepares the next.
    let mut iterate = |exec: &mut AnyExecutor, program: &mut AnyProgram, count: u64| -> Result<(), Failure> {
        let mut waiting = VecDeque::new();
        for i in 1..=count {
            waiting.push_back(begin(exec, program)?);
            let ahead = if i == count { 0 } else { exec.ahead() };
            while waiting.len() > ahead {
                if let Some(done) = waiting.pop_front() {
                    exec.finish(done).map_err(|e| wrong(e.into()))?;
                }
            }
        }
        Ok(())
    };
    iterate(&mut exec, &mut program, 1)?;
    let first = began.elapsed().as_secs_f64();
    iterate(&mut exec, &mut program, args.warmup.saturating_sub(1))?;
    program.reset_profile();
    let mut times = Vec::new();
    for _ in 0..args.repeat {
        let t = Instant::now();
        iterate(&mut exec, &mut program, args.steps)?;
        times.push(t.elapsed().as_secs_f64() * 1e3 / args.steps as f64);
    }
    let profile = exec.profile(&program);
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    let flops = products(program.graph());
    let sets: usize = data.iter().map(|d| d.bytes()).sum();
    let batches: usize = pool.iter().flatten().map(feed::Fed::bytes).sum();
    let predicted =
        (program.memory() + sets + batches + PROGRAM + NODE * it.graph.nodes().len()) as f64 / 1048576.0;
    let rate = flops as f64 / median / 1e6;
    if args.json {
        let line = json!({
            "workload": compile::stem(&args.spec.spec), "precision": args.spec.precision, "device": exec.place(), "threads": args.device.threads, "batch": train.batch,
            "ms": median, "ms_min": times[0], "ms_max": times[times.len() - 1], "gflops": rate,
            "flops": flops, "peak_mib": peak_mib(), "predicted_mib": predicted, "first_step_s": first,
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
            train.batch,
        ));
        let peak = peak_mib().map_or("not known here".into(), |m| format!("{m:.0} MiB"));
        super::print(&format!(
            "peak memory {peak}, predicted {predicted:.0} MiB (plan {}, data {}); first step done {first:.2} s after the start\n",
            number(program.memory() as f64 / 1048576.0),
            number(sets as f64 / 1048576.0),
        ));
        if args.profile {
            super::print(&format!("\n{profile}"));
        }
    }
    Ok(())
}
