//! Channels last: images that meet a convolution are computed as `[n, spatial…, c]`.
//!
//! Nodes of rank 3 and more that are joined by elementwise ops, broadcasts, reductions, slices, pads, windows and
//! reshapes that leave `[n, c]` alone form an island; an island with a convolution is turned as a whole, so that
//! permutes stay only at its shores (inputs, outputs). Where a product reads a flattened image, or makes one, the axes of
//! its other argument are turned instead: a weight is smaller than a batch.
//!
//! For a device ([`for_device`]) weights are turned like images, to `[o, kernel…, c]`, with their gradients and all that an
//! optimiser keeps of them: what a tile reads and writes of them lies side by side then. Tensors that outlive runs are held
//! in that order, if the executor agrees.
//!
//! A sum of a sum (the gradient of a value that several images share) becomes a sum of sums, so that each image is
//! summed where it is made.

use crate::graph::{Binary, ContractDims, ConvGeom, Graph, Layout, NodeId, Op, Type, persistent_name};
use std::collections::BTreeMap;
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

/// Elements of `width` bytes in one of the orders, from the other: `shape` is that of the plain one, of rank two or more.
pub fn reordered(bytes: &[u8], shape: &[usize], width: usize, last: bool) -> Vec<u8> {
    let (channels, rest) = (shape[1], shape[2..].iter().product());
    let (rows, cols) = if last { (channels, rest) } else { (rest, channels) };
    // Parameters and state are most of what a run puts on a device first: a known width makes it one move an element.
    match width {
        1 => transposed::<1>(bytes, rows, cols),
        2 => transposed::<2>(bytes, rows, cols),
        _ => transposed::<4>(bytes, rows, cols),
    }
}

/// Matrices of elements of W bytes one after the other, each transposed.
fn transposed<const W: usize>(bytes: &[u8], rows: usize, cols: usize) -> Vec<u8> {
    let mut out = vec![0; bytes.len()];
    let size = rows * cols * W;
    if size == 0 {
        return out;
    }
    for (to, from) in out.chunks_exact_mut(size).zip(bytes.chunks_exact(size)) {
        for (col, line) in to.chunks_exact_mut(rows * W).enumerate() {
            for (row, element) in line.chunks_exact_mut(W).enumerate() {
                let at = (row * cols + col) * W;
                element.copy_from_slice(&from[at..at + W]);
            }
        }
    }
    out
}

/// A list by axis, of the plain form, for the channels-last form.
pub fn turned<T: Copy>(v: &[T]) -> Vec<T> {
    to_last(v.len()).into_iter().map(|i| v[i]).collect()
}

/// The other way round.
pub fn turned_back<T: Copy>(v: &[T]) -> Vec<T> {
    to_plain(v.len()).into_iter().map(|i| v[i]).collect()
}

/// Where axes of the plain form are in the channels-last form.
fn axes_of(axes: &[usize], rank: usize) -> Vec<usize> {
    let p = to_last(rank);
    (0..rank).filter(|&i| axes.contains(&p[i])).collect()
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

/// The convolution's geometry, which of its arguments are turned, and whether its result is.
fn conv(op: &Op, weights: bool) -> Option<(&Arc<ConvGeom>, &'static [usize], bool)> {
    let (c, images): (_, (&'static [usize], bool)) = match op {
        Op::ConvFwd(c) | Op::ConvDataGrad(c) => (c, (&[0], true)),
        Op::ConvWeightGrad(c) => (c, (&[0, 1], false)),
        _ => return None,
    };
    let (args, result) = if weights { (&[0, 1][..], true) } else { images };
    Some((c, args, result))
}

/// Turns the islands of all channels-first convolutions, but for weights.
pub fn layout(g: &Graph) -> Graph {
    laid_out(g, false, &|_| false)
}

/// Turns them with weights. `held`: whether the tensor of this name is kept from run to run in the channels-last order.
pub fn for_device(g: &Graph, held: &dyn Fn(&str) -> bool) -> Graph {
    laid_out(g, true, held)
}

/// The same for a device that holds nothing yet: everything is held as it suits this graph.
pub fn for_new_device(g: &Graph) -> Graph {
    let wanted = wanted(g);
    for_device(g, &|name| wanted.get(name) == Some(&true))
}

/// The tensors of a graph that are kept from run to run, and whether [`for_device`] would have them in the channels-last
/// order.
pub fn wanted(g: &Graph) -> BTreeMap<String, bool> {
    let inside = inside(g, true);
    let turned = |n: NodeId| inside[n.index()] && g.shape(n).len() >= 3;
    let mut all = BTreeMap::new();
    for n in g.ids() {
        if let Op::Param(name) | Op::State(name) = &g.node(n).op {
            all.insert(name.to_string(), turned(n));
        }
    }
    for (name, n) in &g.outputs {
        if let Some(name) = persistent_name(name) {
            all.entry(name.to_string()).or_insert_with(|| turned(*n));
        }
    }
    all
}

/// Whether each node belongs to an island that is turned.
fn inside(g: &Graph, weights: bool) -> Vec<bool> {
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
        if let Some((c, args, result)) = conv(&node.op, weights)
            && c.layout == Layout::ChannelsFirst
        {
            args.iter().for_each(|&i| last[islands.find(node.args[i].index())] = true);
            if result {
                last[islands.find(n.index())] = true;
            }
        }
    }
    (0..count).map(|i| last[islands.find(i)]).collect()
}

fn laid_out(g: &Graph, weights: bool, held: &dyn Fn(&str) -> bool) -> Graph {
    let count = g.nodes().len();
    let inside = inside(g, weights);
    let mut uses = vec![0; count];
    g.nodes().iter().flat_map(|n| &n.args).for_each(|a| uses[a.index()] += 1);
    g.outputs.iter().for_each(|o| uses[o.1.index()] += 1);
    let mut turn = Turn {
        out: Graph::new(),
        plain: vec![None; count],
        last: vec![None; count],
        uses,
        inside: inside.clone(),
        weights,
        held,
    };
    for n in g.ids() {
        turn.out.set_origin(g.origin(n).clone());
        turn.node(g, n, inside[n.index()]);
    }
    for (name, n) in &g.outputs {
        let kept = persistent_name(name).is_some_and(held);
        let n = if kept { turn.last(*n) } else { turn.plain(*n) };
        turn.out.output(name.clone(), n);
    }
    turn.out
}

struct Turn<'a> {
    out: Graph,
    plain: Vec<Option<NodeId>>,
    last: Vec<Option<NodeId>>,
    /// Number of users of each old node.
    uses: Vec<u32>,
    /// Whether an old node belongs to an island that is turned.
    inside: Vec<bool>,
    /// Whether weights are turned too.
    weights: bool,
    /// Whether a tensor that outlives runs is held in the channels-last order.
    held: &'a dyn Fn(&str) -> bool,
}

/// An image and its flat form: `[n, c, spatial…]` and `[n, c * spatial…]`.
fn flattens(image: &[usize], flat: &[usize]) -> bool {
    image.len() >= 3 && flat.len() == 2 && image[0] == flat[0] && image[1..].iter().product::<usize>() == flat[1]
}

/// What becomes of the axes of an operand of which axis `split` is split into `extra + 1`.
fn moved(i: usize, split: usize, extra: usize) -> usize {
    if i > split { i + extra } else { i }
}

impl Turn<'_> {
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

    /// The values that a sum adds up: those of nested additions that nobody else reads.
    fn addends(&self, g: &Graph, n: NodeId, out: &mut Vec<NodeId>) {
        let node = g.node(n);
        if matches!(node.op, Op::Binary(Binary::Add)) && node.ty.dtype.is_float() && self.uses[n.index()] == 1 {
            node.args.iter().for_each(|&a| self.addends(g, a, out));
        } else {
            out.push(n);
        }
    }

    /// A product that reads a flattened image of an island: reads the image as it lies.
    fn flat_operand(&mut self, g: &Graph, n: NodeId, dims: &ContractDims) -> Option<NodeId> {
        let node = g.node(n);
        let side = (0..2).find(|&s| {
            let a = g.node(node.args[s]);
            matches!(a.op, Op::Reshape)
                && flattens(g.shape(a.args[0]), &a.ty.shape)
                && self.inside[a.args[0].index()]
        })?;
        let (flat, other) = (node.args[side], node.args[1 - side]);
        let image = g.node(flat).args[0];
        let shape = g.shape(image);
        let extra = shape.len() - 2;
        let pick = |p: &(usize, usize)| if side == 0 { *p } else { (p.1, p.0) };
        let pair = |mine: usize, theirs: usize| if side == 0 { (mine, theirs) } else { (theirs, mine) };
        if dims.batch.iter().any(|p| pick(p).0 == 1) {
            return None;
        }
        let contracted = dims.contracted.iter().map(pick).find(|p| p.0 == 1);
        let x = self.last(image);
        let mut o = self.plain(other);
        let mut split = usize::MAX;
        if let Some((_, j)) = contracted {
            split = j;
            let mut s = g.shape(other).to_vec();
            s.splice(j..=j, shape[1..].iter().copied());
            o = self.out.reshape(o, &s);
        }
        let shift = |p: &(usize, usize)| {
            let (mine, theirs) = pick(p);
            pair(mine, moved(theirs, split, extra))
        };
        let mut new = ContractDims { batch: dims.batch.iter().map(shift).collect(), contracted: vec![] };
        for p in &dims.contracted {
            if pick(p).0 == 1 {
                // Spatial axes, then the channel, which the other argument has first.
                new.contracted.extend((1..=extra).map(|i| pair(i, split + i)));
                new.contracted.push(pair(extra + 1, split));
            } else {
                new.contracted.push(shift(p));
            }
        }
        let args = if side == 0 { (x, o) } else { (o, x) };
        let y = self.out.contract(args.0, args.1, new);
        if contracted.is_some() {
            return Some(y);
        }
        // The image's axes are free: they end up as they lie and are put into the plain order.
        let used = |s: usize| {
            let one = move |p: &(usize, usize)| if s == 0 { p.0 } else { p.1 };
            dims.batch.iter().chain(&dims.contracted).map(one).collect::<Vec<_>>()
        };
        let free = |s: usize| (0..g.shape(node.args[s]).len()).filter(|a| !used(s).contains(a)).collect::<Vec<_>>();
        let before = if side == 0 { dims.batch.len() } else { dims.batch.len() + free(0).len() };
        let first = before + free(side).iter().position(|&a| a == 1)?;
        let rank = self.out.shape(y).len();
        let mut perm: Vec<usize> = (0..rank).collect();
        let run: Vec<usize> = (first..=first + extra).collect();
        perm[first] = run[extra];
        perm[first + 1..=first + extra].copy_from_slice(&run[..extra]);
        let y = self.out.permute(y, &perm);
        Some(self.out.reshape(y, &node.ty.shape))
    }

    /// An image that is a product's result in another shape: made as it shall lie.
    fn image_product(&mut self, g: &Graph, n: NodeId) -> Option<NodeId> {
        let node = g.node(n);
        let product = node.args.first().copied()?;
        let p = g.node(product);
        let Op::Contract(dims) = &p.op else { return None };
        let plain = matches!(node.op, Op::Reshape) && flattens(&node.ty.shape, &p.ty.shape);
        if !plain || self.uses[product.index()] != 1 || !dims.batch.is_empty() {
            return None;
        }
        // The second axis must be the right argument's only free one.
        let (weight, rank) = (p.args[1], g.shape(p.args[1]).len());
        let free: Vec<usize> = (0..rank).filter(|a| dims.contracted.iter().all(|c| c.1 != *a)).collect();
        let [axis] = free[..] else { return None };
        let image = &node.ty.shape;
        let extra = image.len() - 2;
        if g.shape(weight)[axis] != p.ty.shape[1] {
            return None;
        }
        let w = self.plain(weight);
        let mut s = g.shape(weight).to_vec();
        s.splice(axis..=axis, image[1..].iter().copied());
        let w = self.out.reshape(w, &s);
        let mut perm: Vec<usize> = (0..s.len()).collect();
        perm[axis..axis + extra].iter_mut().enumerate().for_each(|(i, p)| *p = axis + 1 + i);
        perm[axis + extra] = axis;
        let w = self.out.permute(w, &perm);
        let x = self.plain(p.args[0]);
        let contracted = dims.contracted.iter().map(|c| (c.0, moved(c.1, axis, extra))).collect();
        Some(self.out.contract(x, w, ContractDims { batch: vec![], contracted }))
    }

    /// A convolution that came with its weights turned, for an executor that takes them as they are in the language.
    fn plain_weights(&mut self, g: &Graph, n: NodeId) -> Option<NodeId> {
        let node = g.node(n);
        let (c, ..) = conv(&node.op, self.weights).filter(|c| c.0.layout.weights_last() && !self.weights)?;
        let c = Arc::new(ConvGeom { layout: Layout::ChannelsLast, ..(**c).clone() });
        let (x, y) = (self.plain(node.args[0]), self.plain(node.args[1]));
        let rank = c.kernel.len() + 2;
        if let Op::ConvWeightGrad(_) = &node.op {
            let w = self.out.conv_weight_grad(x, y, c);
            return Some(self.out.permute(w, &to_last(rank)));
        }
        let w = self.out.permute(y, &to_plain(rank));
        let data = matches!(node.op, Op::ConvDataGrad(_));
        Some(if data { self.out.conv_data_grad(x, w, c) } else { self.out.conv_fwd(x, w, c) })
    }

    fn node(&mut self, g: &Graph, n: NodeId, inside: bool) {
        let node = g.node(n);
        if let Some(v) = self.plain_weights(g, n) {
            self.plain[n.index()] = Some(v);
            return;
        }
        if inside && let Some(v) = self.image_product(g, n) {
            self.last[n.index()] = Some(v);
            return;
        }
        if let Op::Contract(dims) = &node.op
            && let Some(v) = self.flat_operand(g, n, dims)
        {
            self.plain[n.index()] = Some(v);
            return;
        }
        if let Op::Sum(axes) = &node.op {
            let mut parts = vec![];
            self.addends(g, node.args[0], &mut parts);
            if parts.len() > 1 {
                let turned = inside && carries(g, n);
                let axes = if turned { axes_of(axes, node.ty.rank()) } else { axes.clone() };
                let mut total = None;
                for part in parts {
                    let x = if turned { self.last(part) } else { self.plain(part) };
                    let s = self.out.sum(x, &axes);
                    total = Some(total.map_or(s, |t| self.out.add(t, s)));
                }
                let list = if turned { &mut self.last } else { &mut self.plain };
                list[n.index()] = total;
                return;
            }
        }
        if let Op::Param(name) | Op::State(name) = &node.op
            && (self.held)(name)
        {
            let ty = Type::new(node.ty.dtype, turned(&node.ty.shape));
            self.last[n.index()] = Some(self.out.intern(node.op.clone(), vec![], ty));
            return;
        }
        if let Some((c, images, result)) = conv(&node.op, self.weights)
            && c.layout == Layout::ChannelsFirst
        {
            let args: Vec<NodeId> = (0..2)
                .map(|i| if images.contains(&i) { self.last(node.args[i]) } else { self.plain(node.args[i]) })
                .collect();
            let layout = if self.weights { Layout::AllLast } else { Layout::ChannelsLast };
            let c = Arc::new(ConvGeom { layout, ..(**c).clone() });
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
        let axes = |v: &[usize]| axes_of(v, rank);
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
