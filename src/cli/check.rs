//! `ganc check`

use super::describe::thousands;
use super::progress::number;
use super::{Failure, SpecArgs, compile};
use crate::exec::cpu;
use crate::{fuse, plan};
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
            let g = cpu::prepare(&it.graph);
            let clusters = fuse::fuse(&g, fuse::FuseOptions { fuse: true });
            let launches = clusters.clusters.len();
            let p = plan::plan(&g, clusters, cpu::PLAN);
            let total = p.total(&g, cpu::PLAN);
            let variant = if train.iterations.len() > 1 { format!(" (variant {:b})", it.mask) } else { String::new() };
            super::print(&format!(
                "{}{variant}: {} steps of batch {}; an iteration is {} nodes in {launches} clusters, {} GFLOP, \
                 {} MiB moved; memory {} MiB (values {}, parameters and state {})\n",
                train.name,
                thousands(train.steps),
                train.batch,
                it.graph.nodes().len(),
                number(total.flops as f64 / 1e9),
                number(total.bytes as f64 / 1048576.0),
                number((p.arena + p.persistent + p.constant) as f64 / 1048576.0),
                number(p.arena as f64 / 1048576.0),
                number(p.persistent as f64 / 1048576.0),
            ));
        }
    }
    Ok(())
}
