//! Channels last: images that meet a convolution are computed as `[n, spatial…, c]`.
//!
//! Nodes of rank 3 and more that are joined by elementwise ops, broadcasts, reductions, slices, pads, windows and
//! reshapes that leave `[n, c]` alone form an island; an island with a convolution is turned as a whole, so that
//! permutes stay only at its shores (flattening, inputs, outputs). Weights keep their order.

use crate::graph::{ConvGeom, Graph, Layout, NodeId, Op};
use std::sync::Arc;

/// Axes of the channels-last form in terms of the plain form.
fn to_last(rank: usize) -> Vec<usize> {
    let mut p = vec![0];
    p.extend(2..rank);
    p.push(1);
    p
}

/// The inverse.
fn to_plain(rank: usize) -> Vec<usize> {
    let mut p = vec![0, rank - 1];
    p.extend(1..rank - 1);
    p
}

fn turned<T: Copy>(v: &[T]) -> Vec<T> {
    to_last(v.len()).into_iter().map(|i| v[i]).collect()
}

struct Islands(Vec<usize>);

impl Islands {
    fn find(&mut self, mut i: usize) -> usize {
        while self.0[i] != i {
            self.0[i] = self.0[self.0[i]];
            i = self.0[i];
        }
        i
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.0[a.max(b)] = a.min(b);
    }
}

/// Whether a node passes its argument's order of axes on to its result.
fn carries(g: &Graph, n: NodeId) -> bool {
    let node = g.node(n);
    if node.ty.rank() < 3 {
        return false;
    }
    match &node.op {
        Op::Unary(_)
        | Op::Binary(_)
        | Op::Select
        | Op::Cast
        | Op::Stop
        | Op::Broadcast
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Reverse(_)
        | Op::Concat { .. }
        | Op::Sum(_)
        | Op::Max(_) => true,
        // The index is row-major within the axes.
        Op::ArgMax(axes) => axes.len() == 1 || !axes.contains(&1),
        // Windows slide over trailing axes, of which the channel must not be one.
        Op::Unfold(w) | Op::Fold(w) => {
            let arg = g.shape(node.args[0]).len();
            arg >= 3 && arg.min(node.ty.rank()) - w.size.len() >= 2
        }
        Op::Reshape => {
            let (a, b) = (g.shape(node.args[0]), &node.ty.shape);
            a.len() >= 3 && a[..2] == b[..2]
        }
        Op::Input(_)
        | Op::Param(_)
        | Op::State(_)
        | Op::Const(_)
        | Op::Iota { .. }
        | Op::Random { .. }
        | Op::Permute(_)
        | Op::Contract(_)
        | Op::ConvFwd(_)
        | Op::ConvDataGrad(_)
        | Op::ConvWeightGrad(_)
        | Op::GatherRows
        | Op::ScatterRows => false,
    }
}

/// The convolution's geometry, which of its arguments are images, and whether its result is one.
fn conv(op: &Op) -> Option<(&Arc<ConvGeom>, &'static [usize], bool)> {
    if let Op::ConvFwd(c) | Op::ConvDataGrad(c) = op {
        Some((c, &[0], true))
    } else if let Op::ConvWeightGrad(c) = op {
        Some((c, &[0, 1], false))
    } else {
        None
    }
}

/// Turns the islands of all channels-first convolutions.
pub fn layout(g: &Graph) -> Graph {
    let count = g.nodes().len();
    let mut islands = Islands((0..count).collect());
    for n in g.ids().filter(|n| carries(g, *n)) {
        for a in &g.node(n).args {
            islands.join(n.index(), a.index());
        }
    }
    let mut last = vec![false; count];
    for n in g.ids() {
        let node = g.node(n);
        if let Some((c, images, result)) = conv(&node.op)
            && c.layout == Layout::ChannelsFirst
        {
            images.iter().for_each(|&i| last[islands.find(node.args[i].index())] = true);
            if result {
                last[islands.find(n.index())] = true;
            }
        }
    }
    let mut turn = Turn { out: Graph::new(), plain: vec![None; count], last: vec![None; count] };
    for n in g.ids() {
        turn.out.set_origin(g.origin(n).clone());
        let inside = last[islands.find(n.index())];
        turn.node(g, n, inside);
    }
    for (name, n) in &g.outputs {
        let n = turn.plain(*n);
        turn.out.output(name.clone(), n);
    }
    turn.out
}

struct Turn {
    out: Graph,
    plain: Vec<Option<NodeId>>,
    last: Vec<Option<NodeId>>,
}

impl Turn {
    fn plain(&mut self, n: NodeId) -> NodeId {
        if let Some(v) = self.plain[n.index()] {
            return v;
        }
        let v = self.last[n.index()].expect("one form of each earlier node");
        let rank = self.out.shape(v).len();
        let v = self.out.permute(v, &to_plain(rank));
        self.plain[n.index()] = Some(v);
        v
    }

    fn last(&mut self, n: NodeId) -> NodeId {
        if let Some(v) = self.last[n.index()] {
            return v;
        }
        let v = self.plain[n.index()].expect("one form of each earlier node");
        let rank = self.out.shape(v).len();
        let v = self.out.permute(v, &to_last(rank));
        self.last[n.index()] = Some(v);
        v
    }

    fn node(&mut self, g: &Graph, n: NodeId, inside: bool) {
        let node = g.node(n);
        if let Some((c, images, result)) = conv(&node.op)
            && c.layout == Layout::ChannelsFirst
        {
            let args: Vec<NodeId> = (0..2)
                .map(|i| if images.contains(&i) { self.last(node.args[i]) } else { self.plain(node.args[i]) })
                .collect();
            let c = Arc::new(ConvGeom { layout: Layout::ChannelsLast, ..(**c).clone() });
            let out = match &node.op {
                Op::ConvFwd(_) => self.out.conv_fwd(args[0], args[1], c),
                Op::ConvDataGrad(_) => self.out.conv_data_grad(args[0], args[1], c),
                _ => self.out.conv_weight_grad(args[0], args[1], c),
            };
            *(if result { &mut self.last } else { &mut self.plain }).get_mut(n.index()).expect("in range") =
                Some(out);
            return;
        }
        if !(inside && carries(g, n)) {
            let args: Vec<NodeId> = node.args.iter().map(|&a| self.plain(a)).collect();
            self.plain[n.index()] = Some(self.out.intern(node.op.clone(), args, node.ty.clone()));
            return;
        }
        let a: Vec<NodeId> = node.args.iter().map(|&a| self.last(a)).collect();
        let rank = node.ty.rank();
        let axes = |v: &[usize]| -> Vec<usize> {
            let p = to_last(rank);
            (0..rank).filter(|&i| v.contains(&p[i])).collect()
        };
        let out = &mut self.out;
        let v = match &node.op {
            Op::Unary(f) => out.unary(*f, a[0]),
            Op::Binary(f) => out.binary(*f, a[0], a[1]),
            Op::Select => out.select(a[0], a[1], a[2]),
            Op::Cast => out.cast(a[0], node.ty.dtype),
            Op::Stop => out.stop(a[0]),
            Op::Broadcast => out.broadcast(a[0], &turned(&node.ty.shape)),
            Op::Slice { start, limit, step } => out.slice(a[0], &turned(start), &turned(limit), &turned(step)),
            Op::Pad { lo, hi, interior, value } => {
                out.pad(a[0], &turned(lo), &turned(hi), &turned(interior), value.0)
            }
            Op::Reverse(v) => out.reverse(a[0], &axes(v)),
            Op::Concat { axis } => out.concat(&a, axes(&[*axis])[0]),
            Op::Sum(v) => out.sum(a[0], &axes(v)),
            Op::Max(v) => out.max_reduce(a[0], &axes(v)),
            Op::ArgMax(v) => out.argmax(a[0], &axes(v)),
            Op::Reshape => out.reshape(a[0], &turned(&node.ty.shape)),
            Op::Unfold(w) => {
                let rank = out.shape(a[0]).len();
                let x = out.permute(a[0], &to_plain(rank));
                let y = out.unfold(x, (**w).clone());
                let rank = out.shape(y).len();
                out.permute(y, &to_last(rank))
            }
            Op::Fold(w) => {
                let rank = out.shape(a[0]).len();
                let x = out.permute(a[0], &to_plain(rank));
                let y = out.fold(x, (**w).clone());
                let rank = out.shape(y).len();
                out.permute(y, &to_last(rank))
            }
            other => unreachable!("{other:?} carries no layout"),
        };
        self.last[n.index()] = Some(v);
    }
}
