//! Clusters as text, for `dump --stage fuse` and snapshots.

use super::{Cluster, Clusters, Operand, Product, Work};
use crate::graph::{Graph, NodeId};
use std::fmt::Write;

/// The name that people know a cluster by: layer path and order of gradient of its first node.
pub fn label(g: &Graph, c: &Cluster) -> String {
    let own = match &c.work {
        Work::Contract { node, .. } => Some(node),
        Work::Loops(_) | Work::Gather { .. } | Work::Scatter { .. } | Work::Fold { .. } => None,
    };
    let mut all = own.into_iter().chain(&c.writes);
    let named = all.clone().find(|n| !g.origin(**n).path.is_empty()).or(all.next());
    let Some(&n) = named else { return String::new() };
    let origin = g.origin(n);
    let path: &str = if origin.path.is_empty() { "-" } else { &origin.path };
    format!("{path}{}", "'".repeat(origin.order as usize))
}

fn operand(o: &Operand) -> String {
    match o.stored() {
        Some((from, at)) => format!("%{}[{at}] {:?}", from.0, o.shape),
        None => format!("{:?}", o.shape),
    }
}

fn list(v: &[NodeId]) -> String {
    v.iter().map(|n| format!("%{}", n.0)).collect::<Vec<_>>().join(" ")
}

impl Clusters {
    /// One paragraph a cluster, then the reasons why nodes have memory.
    pub fn text(&self, g: &Graph) -> String {
        let mut s = String::new();
        for (i, c) in self.clusters.iter().enumerate() {
            let kind = format!("{:?}", c.kind).to_lowercase();
            let _ = writeln!(s, "#{i} {kind} {}: {} <- {}", label(g, c), list(&c.writes), list(&c.reads));
            match &c.work {
                Work::Loops(body) => {
                    let _ = write!(s, "{body}");
                }
                Work::Contract { node, product, lhs, rhs, epilogue } => {
                    let name = match product {
                        Product::Dot(_) => "contract",
                        Product::ConvFwd(_) => "conv_fwd",
                        Product::ConvDataGrad(_) => "conv_data_grad",
                        Product::ConvWeightGrad(_) => "conv_weight_grad",
                    };
                    let _ = writeln!(s, "  %{} = {name} {}, {}", node.0, operand(lhs), operand(rhs));
                    for (side, o) in [("left", lhs), ("right", rhs)] {
                        if o.stored().is_none() {
                            let _ = write!(s, "  {side}\n{}", o.body);
                        }
                    }
                    if let Some(body) = epilogue {
                        let _ = write!(s, "  then\n{body}");
                    }
                }
                Work::Gather { .. } => s.push_str("  gather rows\n"),
                Work::Scatter { .. } => s.push_str("  scatter rows\n"),
                Work::Fold { .. } => s.push_str("  fold windows\n"),
            }
        }
        if !self.refusals.is_empty() {
            s.push_str("memory because\n");
        }
        for r in &self.refusals {
            let _ = writeln!(s, "  %{} {}: {}", r.node.0, g.ty(r.node), r.reason.words());
        }
        s
    }
}
