//! What passes are made of: copying the needed nodes of a graph into a new one.

use crate::graph::{Graph, Node, NodeId, Op};
use std::sync::Arc;

/// Copies each node that the outputs need, arguments first; `make` adds the node to the new graph, given the node
/// and its arguments there.
pub fn rewrite(g: &Graph, mut make: impl FnMut(&mut Graph, &Node, Vec<NodeId>) -> NodeId) -> Graph {
    let needed = needed(g);
    let mut new = Graph::new();
    let mut map = vec![NodeId(0); g.nodes().len()];
    let mut origin = u32::MAX;
    for id in g.ids().filter(|id| needed[id.index()]) {
        let node = g.node(id);
        if node.origin != origin {
            origin = node.origin;
            new.set_origin(g.origin(id).clone());
        }
        let args = node.args.iter().map(|a| map[a.index()]).collect();
        map[id.index()] = make(&mut new, node, args);
    }
    for (name, id) in &g.outputs {
        new.output(name.clone(), map[id.index()]);
    }
    new.set_origin(g.current_origin().clone());
    new
}

/// Which nodes the outputs need.
pub(super) fn needed(g: &Graph) -> Vec<bool> {
    let mut needed = vec![false; g.nodes().len()];
    g.outputs.iter().for_each(|o| needed[o.1.index()] = true);
    for id in g.ids().rev() {
        if needed[id.index()] {
            g.node(id).args.iter().for_each(|a| needed[a.index()] = true);
        }
    }
    needed
}

/// A node like `node` with other arguments, through the builder.
pub fn emit(g: &mut Graph, node: &Node, args: &[NodeId]) -> NodeId {
    let shape = &node.ty.shape;
    match &node.op {
        Op::Input(_) | Op::Param(_) | Op::State(_) | Op::Const(_) | Op::Iota { .. } => {
            g.intern(node.op.clone(), vec![], node.ty.clone())
        }
        Op::Random { stream, dist } => g.random(*stream, *dist, args[0], args[1], shape),
        Op::Unary(f) => g.unary(*f, args[0]),
        Op::Binary(f) => g.binary(*f, args[0], args[1]),
        Op::Select => g.select(args[0], args[1], args[2]),
        Op::Cast => g.cast(args[0], node.ty.dtype),
        Op::Reshape => g.reshape(args[0], shape),
        Op::Permute(perm) => g.permute(args[0], perm),
        Op::Broadcast => g.broadcast(args[0], shape),
        Op::Slice { start, limit, step } => g.slice(args[0], start, limit, step),
        Op::Pad { lo, hi, interior, value } => g.pad(args[0], lo, hi, interior, value.0),
        Op::Reverse(axes) => g.reverse(args[0], axes),
        Op::Concat { axis } => g.concat(args, *axis),
        Op::Unfold(w) => g.unfold(args[0], (**w).clone()),
        Op::Fold(w) => g.fold(args[0], (**w).clone()),
        Op::Sum(axes) => g.sum(args[0], axes),
        Op::Max(axes) => g.max_reduce(args[0], axes),
        Op::ArgMax(axes) => g.argmax(args[0], axes),
        Op::Contract(dims) => g.contract(args[0], args[1], dims.clone()),
        Op::ConvFwd(c) => g.conv_fwd(args[0], args[1], Arc::clone(c)),
        Op::ConvDataGrad(c) => g.conv_data_grad(args[0], args[1], Arc::clone(c)),
        Op::ConvWeightGrad(c) => g.conv_weight_grad(args[0], args[1], Arc::clone(c)),
        Op::GatherRows => g.gather_rows(args[0], args[1]),
        Op::ScatterRows => g.scatter_rows(args[0], args[1], args[2]),
        Op::Stop => g.stop(args[0]),
    }
}
