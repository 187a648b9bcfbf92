//! A module for people: what `ganc dump --stage cuda` shows.

use super::{Arch, Arg, Module};
use crate::fuse::label;
use crate::graph::Graph;
use crate::plan::{Place, Plan};
use std::fmt::Write;

impl Arch {
    /// All of them.
    pub const ALL: [Arch; 3] = [Arch::Sm80, Arch::Sm90a, Arch::Sm100a];

    /// The compiler's name for it.
    pub fn target(self) -> &'static str {
        match self {
            Arch::Sm80 => "sm_80",
            Arch::Sm90a => "sm_90a",
            Arch::Sm100a => "sm_100a",
        }
    }
}

impl Module {
    /// The launches: number of the cluster, its layer, kernel, blocks, threads, dynamic shared memory, arguments.
    pub fn table(&self, g: &Graph, plan: &Plan) -> String {
        let mut s = String::new();
        for l in &self.launches {
            let layer = plan.clusters.clusters.get(l.cluster).map_or(String::new(), |c| label(g, c));
            let extents = |e: [u32; 3]| match e {
                [x, 1, 1] => x.to_string(),
                [x, y, 1] => format!("{x}x{y}"),
                [x, y, z] => format!("{x}x{y}x{z}"),
            };
            let _ = write!(s, "// #{} {layer} {}<<<{}, {}", l.cluster, l.kernel, extents(l.grid), extents(l.block));
            if l.shared > 0 {
                let _ = write!(s, ", {}", l.shared);
            }
            s.push_str(">>>");
            for (i, a) in l.args.iter().enumerate() {
                let _ = match a {
                    Arg::Node(n) => {
                        let place = match plan.places.get(n) {
                            Some(Place::Persistent(name) | Place::Input(name)) => format!(" {name}"),
                            Some(Place::Arena { offset, .. }) => format!(" @{offset}"),
                            Some(Place::Constant(_)) | None => String::new(),
                        };
                        write!(s, "{} %{} {}{place}", if i == 0 { "" } else { "," }, n.0, g.ty(*n))
                    }
                    Arg::Scratch(at) => write!(s, "{} scratch @{at}", if i == 0 { "" } else { "," }),
                    Arg::U32(v) => write!(s, "{} {v}", if i == 0 { "" } else { "," }),
                };
            }
            s.push('\n');
        }
        let _ = writeln!(s, "// {} launches, {} bytes of values and scratch", self.launches.len(), self.workspace);
        s
    }
}
