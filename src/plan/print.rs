//! A plan as text.

use super::{Place, Plan, PlanOptions, cost};
use crate::fuse::label;
use crate::graph::Graph;
use std::fmt::Write;

impl Plan {
    /// One line a launch: what, where, how much work; then memory and copies.
    pub fn text(&self, g: &Graph, options: PlanOptions) -> String {
        let mut s = String::new();
        let mut total = super::Cost::default();
        for (i, c) in self.clusters.clusters.iter().enumerate() {
            let cost = cost(g, &c.work, &c.reads, &c.writes, options.bytes);
            total.flops += cost.flops;
            total.bytes += cost.bytes;
            let kind = format!("{:?}", c.kind).to_lowercase();
            let _ = write!(s, "#{i} {kind} {} flops={} bytes={}", label(g, c), cost.flops, cost.bytes);
            for n in &c.writes {
                let at = match &self.places[n] {
                    Place::Arena { offset, .. } => format!("@{offset}"),
                    Place::Persistent(name) => format!("in place of {name}"),
                    Place::Input(_) | Place::Constant(_) => "?".into(),
                };
                let _ = write!(s, " %{} {} {at}", n.0, g.ty(*n));
            }
            s.push('\n');
        }
        for group in &self.groups {
            let strand = |s: &super::group::Strand| {
                let clusters: Vec<String> = s.clusters.iter().map(|i| format!("#{i}")).collect();
                match s.rows {
                    Some(rows) => format!("{} by {rows} rows", clusters.join(" ")),
                    None => clusters.join(" "),
                }
            };
            let strands: Vec<String> = group.strands.iter().map(strand).collect();
            let how = if group.twins.is_some() { "alike" } else { "together" };
            let _ = writeln!(s, "{how} {}", strands.join(", "));
        }
        for c in &self.commits {
            let _ = writeln!(s, "copy %{} to {}", c.from.0, c.to);
        }
        let _ = writeln!(
            s,
            "arena {} persistent {} constants {} bytes; {} flops, {} bytes moved",
            self.arena, self.persistent, self.constant, total.flops, total.bytes
        );
        s
    }
}
