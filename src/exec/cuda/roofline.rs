//! The least time that a plan can take on a device (Williams, Waterman and Patterson, 2009): each cluster moves its
//! bytes or does its arithmetic, whichever is longer. A prediction, never a measurement.

pub use super::devices::{DEVICES, GAP, Peaks, STAGE};

use crate::codegen::cuda::{Arch, Launch};
use crate::fuse::{Cluster, Operand, Work};
use crate::graph::{DType, Graph};
use crate::plan::{Cost, Plan, cost};

/// The device of the table that the driver's name means.
pub fn named(name: &str) -> Option<&'static Peaks> {
    DEVICES.iter().find(|d| name.contains(d.name))
}

/// The device that predictions for a target such as `sm_90a` are for.
pub fn target(name: &str) -> Option<&'static Peaks> {
    let arch = match name {
        "sm_80" => Arch::Sm80,
        "sm_90a" => Arch::Sm90a,
        "sm_100a" => Arch::Sm100a,
        _ => return None,
    };
    DEVICES.iter().find(|d| d.arch == arch)
}

/// The targets that [`target`] knows, for messages.
pub const TARGETS: &str = "sm_80, sm_90a or sm_100a";

/// Seconds that a cluster takes at least.
pub fn bound(graph: &Graph, c: &Cluster, cost: Cost, device: &Peaks) -> f64 {
    let peak = match &c.work {
        Work::Contract { lhs, rhs, .. } => {
            let halves = |o: &Operand| {
                let last = o.body.insts.last().map(|i| i.dtype);
                matches!(last, Some(DType::F16 | DType::Bf16))
            };
            let tf32 = |o: &Operand| o.body.reads().iter().all(|&n| graph.is_tf32(n));
            match () {
                () if halves(lhs) && halves(rhs) => device.half,
                // Half of that on every device of the table.
                () if tf32(lhs) && tf32(rhs) => device.half / 2.0,
                () => device.f32,
            }
        }
        Work::Loops(_) | Work::Gather { .. } | Work::Scatter { .. } | Work::Fold { .. } => device.f32,
    };
    (cost.bytes as f64 / device.bandwidth).max(cost.flops as f64 / peak)
}

/// What is said of an iteration before it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Prediction {
    /// Arithmetic operations.
    pub flops: u64,
    /// Bytes that have to be moved at least.
    pub bytes: u64,
    /// Seconds for the clusters and copies at their bounds.
    pub work: f64,
    /// Seconds between the launches, and between the clusters that a launch does one after the other.
    pub gaps: f64,
}

impl Prediction {
    /// Seconds in all.
    pub fn seconds(&self) -> f64 {
        self.work + self.gaps
    }
}

/// Predicts an iteration of these launches.
pub fn predict(g: &Graph, plan: &Plan, launches: &[Launch], device: &Peaks) -> Prediction {
    let mut p = Prediction::default();
    for c in &plan.clusters.clusters {
        let cost = cost(g, &c.work, &c.reads, &c.writes, DType::bytes);
        p.flops += cost.flops;
        p.bytes += cost.bytes;
        p.work += bound(g, c, cost, device);
    }
    let mut copies = 0;
    for c in &plan.commits {
        // Read and written, twice if the value waits in between.
        let times = if c.via.is_some() { 2 } else { 1 };
        let bytes = 2 * times * g.ty(c.from).bytes() as u64;
        p.bytes += bytes;
        p.work += bytes as f64 / device.bandwidth;
        copies += times as usize;
    }
    let stages: usize = launches.iter().map(|l| l.stages.saturating_sub(1)).sum();
    p.gaps = GAP * (launches.len() + copies) as f64 + STAGE * stages as f64;
    p
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codegen::cuda::generate;
    use crate::fuse::{FuseOptions, fuse};
    use crate::graph::Type;
    use crate::plan::plan;

    /// A square product: what is predicted, its launches, and the bytes of its tensors.
    fn prediction(dtype: DType) -> (Prediction, usize, usize) {
        let mut g = Graph::new();
        let a = g.input("a", Type::new(dtype, [2048, 2048]));
        let b = g.input("b", Type::new(dtype, [2048, 2048]));
        let y = g.matmul(a, b);
        g.output("y", y);
        let clusters = fuse(&g, FuseOptions::PROLOGUES);
        let plan = plan(&g, clusters, crate::codegen::cuda::PLAN);
        let launches = generate(&g, &plan, Arch::Sm90a).launches;
        let bytes = [a, b, y].iter().map(|n| g.ty(*n).bytes()).sum();
        (predict(&g, &plan, &launches, target("sm_90a").unwrap()), launches.len(), bytes)
    }

    #[test]
    fn a_product_is_bound_by_the_rate_of_its_precision() {
        let flops = 2u64 * 2048 * 2048 * 2048;
        for (dtype, rate) in [(DType::F32, 67e12), (DType::Bf16, 989e12)] {
            let (p, launches, bytes) = prediction(dtype);
            assert_eq!((p.flops, launches), (flops, 1));
            assert_eq!(p.bytes, bytes as u64);
            assert!((p.work - flops as f64 / rate).abs() < 1e-12, "{p:?}");
            assert_eq!(p.gaps, GAP);
        }
    }

    #[test]
    fn names_of_devices_are_found_and_the_more_exact_one_first() {
        assert_eq!(named("NVIDIA H100 PCIe").unwrap().bandwidth, 2e12);
        assert_eq!(named("NVIDIA H100 80GB HBM3").unwrap().bandwidth, 3.35e12);
        assert_eq!(named("NVIDIA H200").unwrap().bandwidth, 4.8e12);
        assert!(named("NVIDIA T4").is_none());
        assert!(["sm_80", "sm_90a", "sm_100a"].iter().all(|t| TARGETS.contains(t) && target(t).is_some()));
        assert!(target("sm_90").is_none());
        assert!(DEVICES.iter().all(|d| d.half >= d.tf32 && d.tf32 >= d.f32 && !d.source.is_empty()));
    }
}
