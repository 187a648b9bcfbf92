//! `ganc check`

use super::describe::thousands;
use super::device::mebibytes;
use super::inputs::Ways;
use super::progress::number;
use super::{Failure, SpecArgs, compile};
use crate::build::bytes;
use crate::codegen::cuda::generate_tuned;
use crate::exec::Executor;
use crate::exec::any::AnyExecutor;
use crate::exec::cpu::{CpuExecutor, CpuOptions, free_bytes};
use crate::exec::cuda::outline;
use crate::exec::cuda::roofline::{self, Peaks, TARGETS};
use crate::graph::Graph;
use clap::Args;

#[derive(Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    spec: SpecArgs,
    /// Predict an iteration on an NVIDIA GPU too: sm_80, sm_90a or sm_100a
    #[arg(long, value_name = "ARCHITECTURE")]
    target: Option<String>,
    /// Refuse a spec that needs more memory than so many MiB, and say what would fit
    #[arg(long, value_name = "MIB")]
    memory: Option<u64>,
}

/// The device that a target stands for, checked before any work is done.
fn target(args: &CheckArgs) -> Result<Option<&'static Peaks>, Failure> {
    let Some(name) = &args.target else { return Ok(None) };
    let unknown = || Failure::Message(format!("--target {name}: expected {TARGETS}"));
    roofline::target(name).map(Some).ok_or_else(unknown)
}

/// What an iteration would be on a device that holds this many bytes of data: facts of its program, and a prediction
/// that says that it is one.
fn predict(graph: &Graph, name: &str, device: &Peaks, data: usize) -> Result<String, Failure> {
    let o = outline(graph, generate_tuned, device).map_err(|e| Failure::Message(e.to_string()))?;
    let mib = |n: usize| number(n as f64 / 1048576.0);
    let p = &o.prediction;
    Ok(format!(
        "  {name}: {} kernels, {} launches, {} GFLOP, {} MiB moved; memory {} MiB (values {}, parameters and state {}, \
         data {})\n  \
         predicted for an {}, from its maker's peak figures, not measured: {} ms an iteration at least ({} ms of work, \
         {} ms between launches)\n",
        o.kernels,
        o.launches,
        number(p.flops as f64 / 1e9),
        number(p.bytes as f64 / 1048576.0),
        mib(o.memory + data),
        mib(o.values),
        mib(o.persistent),
        mib(data),
        device.name,
        number(1e3 * p.seconds()),
        number(1e3 * p.work),
        number(1e3 * p.gaps),
    ))
}

/// What one run of a graph costs, by its plan.
pub(super) struct Cost {
    /// Clusters that are launched.
    pub launches: usize,
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes read and written.
    pub bytes: u64,
    /// Bytes held in all.
    pub memory: usize,
    /// Of these, values.
    pub arena: usize,
    /// And parameters and states.
    pub persistent: usize,
}

/// Plans a graph, without running it.
pub(super) fn cost(graph: &Graph) -> Result<Cost, Failure> {
    let mut exec = CpuExecutor::new(CpuOptions::default());
    let program = exec.compile(graph).map_err(|e| Failure::Message(e.to_string()))?;
    let profile = program.profile();
    Ok(Cost {
        launches: program.launch_count(),
        flops: profile.lines.iter().map(|l| l.flops).sum(),
        bytes: profile.lines.iter().map(|l| l.bytes).sum(),
        memory: program.memory(),
        arena: program.plan.arena,
        persistent: program.plan.persistent,
    })
}

pub(super) fn check(args: &CheckArgs) -> Result<(), Failure> {
    let device = target(args)?;
    let front = compile::front(&args.spec)?;
    let compiled = compile::graphs(&front)?;
    if let Some(limit) = args.memory {
        let exec = AnyExecutor::Cpu(CpuExecutor::new(CpuOptions::default()));
        compile::afford(&front, &compiled, &exec, Some(mebibytes(limit)))?;
    }
    let trained: u64 = compiled.tensors.iter().filter(|t| t.trained).map(|t| t.ty.elements() as u64).sum();
    let networks = compiled.networks.len();
    super::print(&format!(
        "{} is fine: {networks} network{}, {} trained numbers\n",
        args.spec.spec.display(),
        if networks == 1 { "" } else { "s" },
        thousands(trained)
    ));
    let ways = if device.is_some() { Some(Ways::of(&compiled, &front.sources)?) } else { None };
    for train in &compiled.trains {
        for it in &train.iterations {
            let c = cost(&it.graph)?;
            let variant =
                if train.iterations.len() > 1 { format!(" (variant {:b})", it.mask) } else { String::new() };
            super::print(&format!(
                "{}{variant}: {} steps of batch {}; an iteration is {} nodes in {} clusters, {} GFLOP, \
                 {} MiB moved; memory {} MiB (values {}, parameters and state {})\n",
                train.name,
                thousands(train.steps),
                train.batch,
                it.graph.nodes().len(),
                c.launches,
                number(c.flops as f64 / 1e9),
                number(c.bytes as f64 / 1048576.0),
                number(c.memory as f64 / 1048576.0),
                number(c.arena as f64 / 1048576.0),
                number(c.persistent as f64 / 1048576.0),
            ));
            if let Some(free) = free_bytes().filter(|free| (c.memory as u64) > *free) {
                super::tell(&format!(
                    "note: that is more than the {} that are free here; `ganc check --memory {}` says what would fit\n",
                    bytes(free),
                    free >> 20
                ));
            }
            if let (Some(device), Some(name)) = (device, &args.target) {
                super::print(&predict(&it.graph, name, device, ways.as_ref().map_or(0, |w| w.held(train, it)))?);
            }
        }
    }
    Ok(())
}
