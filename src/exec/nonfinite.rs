//! The first NaN of a graph, from what an executor sees of its nodes one after another.

use crate::fuse::base;
use crate::graph::{Graph, NodeId, Op};

/// Whether a node may hold infinities on purpose: padding before a maximum.
fn allowed(op: &Op) -> bool {
    match op {
        Op::Pad { value, .. } => !value.0.is_finite(),
        Op::Unfold(w) => !w.value.0.is_finite(),
        _ => false,
    }
}

fn describe(g: &Graph, n: NodeId) -> String {
    let (node, origin) = (g.node(n), g.origin(n));
    let op = match &node.op {
        Op::Input(name) => format!("input {name}"),
        Op::Param(name) => format!("parameter {name}"),
        Op::State(name) => format!("state {name}"),
        Op::Unary(f) => format!("{f:?}").to_lowercase(),
        Op::Binary(f) => format!("{f:?}").to_lowercase(),
        other => {
            let all = format!("{other:?}");
            let name: String = all.chars().take_while(char::is_ascii_alphanumeric).collect();
            let mut snake = String::new();
            for (i, c) in name.char_indices() {
                if c.is_ascii_uppercase() && i > 0 {
                    snake.push('_');
                }
                snake.push(c.to_ascii_lowercase());
            }
            snake
        }
    };
    let path: &str = if origin.path.is_empty() { "outside layers" } else { &origin.path };
    let order = match origin.order {
        0 => String::new(),
        k => format!("gradient of order {k}, "),
    };
    format!("{path} ({op}, {order}{})", node.ty)
}

/// A search in progress.
pub(super) struct Search<'a> {
    graph: &'a Graph,
    bad: Vec<bool>,
    leaf: Option<NodeId>,
}

impl<'a> Search<'a> {
    /// Before anything has run.
    pub fn new(graph: &'a Graph) -> Self {
        Self { graph, bad: vec![false; graph.nodes().len()], leaf: None }
    }

    /// Whether a node can hold a NaN that is of interest.
    pub fn wanted(&self, n: NodeId) -> bool {
        let node = self.graph.node(n);
        node.ty.dtype.is_float() && !allowed(&node.op)
    }

    /// A leaf, and whether all of it is finite.
    pub fn leaf(&mut self, n: NodeId, finite: bool) {
        if !finite {
            self.bad[n.index()] = true;
            self.leaf.get_or_insert(n);
        }
    }

    /// A node that was just written, and whether all of it is finite; its place if it is the first with a NaN from
    /// finite arguments.
    pub fn written(&mut self, n: NodeId, finite: bool) -> Option<String> {
        if finite {
            return None;
        }
        let from_bad = self.graph.node(n).args.iter().any(|a| self.bad[base(self.graph, *a).index()]);
        self.bad[n.index()] = true;
        (!from_bad).then(|| describe(self.graph, n))
    }

    /// After everything has run: a leaf that was no number from the start.
    pub fn end(self) -> Option<String> {
        self.leaf.map(|n| describe(self.graph, n))
    }
}
