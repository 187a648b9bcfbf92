//! `ganc check`

use super::describe::thousands;
use super::progress::number;
use super::{Failure, SpecArgs, compile};
use crate::exec::Executor;
use crate::exec::cpu::{CpuExecutor, CpuOptions};
use clap::Args;

#[derive(Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    spec: SpecArgs,
}

pub(super) fn check(args: &CheckArgs) -> Result<(), Failure> {
    let front = compile::front(&args.spec)?;
    let compiled = compile::graphs(&front)?;
    let trained: u64 = compiled.tensors.iter().filter(|t| t.trained).map(|t| t.ty.elements() as u64).sum();
    super::print(&format!(
        "{} is fine: {} networks, {} trained numbers\n",
        args.spec.spec.display(),
        compiled.networks.len(),
        thousands(trained)
    ));
    for train in &compiled.trains {
        for it in &train.iterations {
            let mut exec = CpuExecutor::new(CpuOptions::default());
            let program = exec.compile(&it.graph).map_err(|e| Failure::Message(e.to_string()))?;
            let profile = program.profile();
            let flops: u64 = profile.lines.iter().map(|l| l.flops).sum();
            let bytes: u64 = profile.lines.iter().map(|l| l.bytes).sum();
            let p = &program.plan;
            let launches = program.launch_count();
            let variant =
                if train.iterations.len() > 1 { format!(" (variant {:b})", it.mask) } else { String::new() };
            super::print(&format!(
                "{}{variant}: {} steps of batch {}; an iteration is {} nodes in {launches} clusters, {} GFLOP, \
                 {} MiB moved; memory {} MiB (values {}, parameters and state {})\n",
                train.name,
                thousands(train.steps),
                train.batch,
                it.graph.nodes().len(),
                number(flops as f64 / 1e9),
                number(bytes as f64 / 1048576.0),
                number(program.memory() as f64 / 1048576.0),
                number(p.arena as f64 / 1048576.0),
                number(p.persistent as f64 / 1048576.0),
            ));
        }
    }
    Ok(())
}
