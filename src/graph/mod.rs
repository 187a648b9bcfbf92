//! The graph IR: pure tensor functions with concrete shapes.
//!
//! Always holds: a node's arguments have smaller ids; nodes are hash-consed on `(op, args, type)`, so that equal
//! values are one node; every op's shape rule (in [`builder`]) is satisfied; every node knows where it comes from.
//! Reductions keep their axes with extent 1; rank changes only through `Reshape`.

pub mod builder;
pub mod dot;
pub mod eval;
pub mod host;
pub mod op;
pub mod philox;
pub mod rows;
mod sampling;
pub mod text;
pub mod ty;
pub mod verify;

pub use host::{HostData, HostTensor};
pub use op::{Binary, Const, ContractDims, ConvGeom, Dist, Layout, Name, Op, Unary, Window};
pub use ty::{DType, F64, Shape, Type};

use crate::source::Span;
use hashbrown::HashTable;
use rustc_hash::{FxBuildHasher, FxHashMap};
use std::hash::BuildHasher;
use std::sync::Arc;

/// Index of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

impl NodeId {
    /// As an index into [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a node comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Origin {
    /// Place in the source.
    pub span: Span,
    /// Layer path such as `G.up2.conv`; empty outside layers.
    pub path: Arc<str>,
    /// 0 forward, 1 gradient, 2 gradient of a gradient, …
    pub order: u8,
}

/// A node.
#[derive(Clone, Debug)]
pub struct Node {
    /// The operation.
    pub op: Op,
    /// Its arguments.
    pub args: Vec<NodeId>,
    /// Its type.
    pub ty: Type,
    /// Index into [`Graph::origins`].
    pub origin: u32,
}

/// A named result of a graph. Names are paths: `param:G.conv1.weight` is that parameter's next value,
/// `state:…` a state's, anything else a value that the caller reads.
pub type Output = (Name, NodeId);

/// A graph under construction or finished; see the module documentation for what always holds.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: Vec<Node>,
    origins: Vec<Origin>,
    current: u32,
    origin_ids: FxHashMap<Origin, u32>,
    // Nodes by their hash: a table of numbers, for each pass makes all of them anew.
    interned: HashTable<NodeId>,
    /// Results, in order.
    pub outputs: Vec<Output>,
}

/// What nodes are found by; nobody gains by nodes that collide, so the quick hash does.
fn hash_of(op: &Op, args: &[NodeId], ty: &Type) -> u64 {
    FxBuildHasher.hash_one((op, args, ty))
}

/// The persistent tensor that an output replaces.
pub fn persistent_name(output: &str) -> Option<&str> {
    output.strip_prefix("param:").or_else(|| output.strip_prefix("state:"))
}

impl Graph {
    /// Whether all numbers of a tensor are known to have no more bits than tf32.
    pub fn is_tf32(&self, n: NodeId) -> bool {
        match &self.node(n).op {
            Op::Unary(Unary::Tf32) => true,
            Op::Reshape | Op::Permute(_) | Op::Broadcast | Op::Slice { .. } | Op::Reverse(_) | Op::Stop => {
                self.is_tf32(self.node(n).args[0])
            }
            _ => false,
        }
    }

    /// An empty graph.
    pub fn new() -> Self {
        Self {
            origins: vec![Origin::default()],
            origin_ids: FxHashMap::from_iter([(Origin::default(), 0)]),
            ..Self::default()
        }
    }

    /// All nodes, arguments first.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// A node's type.
    pub fn ty(&self, id: NodeId) -> &Type {
        &self.nodes[id.index()].ty
    }

    /// A node's shape.
    pub fn shape(&self, id: NodeId) -> &[usize] {
        &self.nodes[id.index()].ty.shape
    }

    /// Where a node comes from.
    pub fn origin(&self, id: NodeId) -> &Origin {
        &self.origins[self.nodes[id.index()].origin as usize]
    }

    /// All origins.
    pub fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// The origin that new nodes get.
    pub fn current_origin(&self) -> &Origin {
        &self.origins[self.current as usize]
    }

    /// Sets the origin of nodes that are added from now on; returns the previous one.
    pub fn set_origin(&mut self, origin: Origin) -> Origin {
        let old = self.origins[self.current as usize].clone();
        if self.origins[self.current as usize] != origin {
            self.current = *self.origin_ids.entry(origin).or_insert_with_key(|o| {
                self.origins.push(o.clone());
                self.origins.len() as u32 - 1
            });
        }
        old
    }

    /// Ids of all nodes in order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    /// Adds a node as it is, or finds the equal one. Only [`builder`], the text form and passes that copy checked
    /// nodes call this; everything else goes through the builder's methods, which hold the shape rules.
    pub fn intern(&mut self, op: Op, args: Vec<NodeId>, ty: Type) -> NodeId {
        let hash = hash_of(&op, &args, &ty);
        let same = |&id: &NodeId| {
            let n = &self.nodes[id.index()];
            n.op == op && n.args == args && n.ty == ty
        };
        if let Some(&id) = self.interned.find(hash, same) {
            return id;
        }
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(Node { op, args, ty, origin: self.current });
        self.interned.insert_unique(hash, id, |&id| {
            let n = &self.nodes[id.index()];
            hash_of(&n.op, &n.args, &n.ty)
        });
        id
    }

    /// Names a result.
    pub fn output(&mut self, name: impl Into<Name>, id: NodeId) {
        self.outputs.push((name.into(), id));
    }
}
