//! Convolutions joined with the sampling beside them.
//!
//! The sum of a window of `f` results of a convolution is one result of a wider convolution with stride `f`, whose
//! weights are sums of those of the narrow one; a convolution of an image whose elements are each repeated `f` times is
//! a transposed convolution of the image. By 3 x 3 weights and a factor of 2 either takes 16 products in place of 36,
//! and the large image is not made (average pooling after the last convolution of a block and nearest upsampling
//! before the first, as in the ResNets of Gulrajani et al. 2017 and Miyato et al. 2018; Karras et al. 2018 sum the
//! weights of their convolutions so). Gradients are products of the same kinds, of repeated elements or summed over
//! windows, so that the pass, which runs when all gradients have been taken, finds them to any order.
//!
//! With `y[p] = Σ_t w[t] x[p + t - pad]` and `k` weights along an axis:
//!
//! - results summed over windows of `f`: `Σ_a y[f i + a] = Σ_u v[u] x[f i + u - pad]`, `v[u] = Σ_{a < f} w[u - a]`, so that
//!   there are `k + f - 1` weights and the stride is `f`; by adjointness so are gradients of `x` and `w` by repeated `y`;
//! - a repeated `x`: `y[p] = Σ_{i, u: f i + u = p + k - 1 - pad} v[u] x[i]`, `v[u] = Σ_{a < f} w[k - 1 - u + a]`, the
//!   gradient of the convolution with stride `f` and padding `k - 1 - pad` whose input channels are those of `y`.
//!
//! In the first case wide weights are means rather than sums, and the repeated or added up image is that of averages: their
//! factor goes away, and f16 holds the averages where it held what they are of.
//!
//! Weights of extent 1 gain nothing by wide ones: their products change places with the sampling instead.
//!
//! It runs before `precision`, so that wide weights are rounded as other weights are; what is rounded already stays.

use super::simplify::factor_of;
use super::{dce, emit, rewrite};
use crate::graph::{Binary, ConvGeom, DType, Graph, Layout, Node, NodeId, Op, Type};
use std::sync::Arc;

/// The most shifted copies of narrow weights whose sum is looked for at once.
const MOST: usize = 16;
/// How many operations must be saved for each wide weight: they are made, read, and their gradient is summed, all in memory,
/// which is worth about as many.
const WORTH: u64 = 256;

/// Joins sampling with convolutions where that takes fewer products, by more than wider weights cost.
pub fn resample(g: &Graph) -> Graph {
    resample_worth(g, WORTH)
}

/// The same where so many operations are saved for each wide weight.
pub fn resample_worth(g: &Graph, worth: u64) -> Graph {
    let mut uses = vec![0usize; g.nodes().len()];
    let needed = super::rebuild::needed(g);
    g.outputs.iter().for_each(|o| uses[o.1.index()] += 1);
    for id in g.ids().filter(|id| needed[id.index()]) {
        g.node(id).args.iter().for_each(|a| uses[a.index()] += 1);
    }
    let mut old = needed.into_iter().zip(uses).filter(|n| n.0).map(|n| n.1);
    let mut uses: Vec<usize> = vec![];
    let mut found = false;
    let next = rewrite(g, |new, node, args| {
        let better = joined(&mut Pass { g: new, uses: &uses, worth }, &node.op, &args, &node.ty);
        found |= better.is_some();
        let id = better.unwrap_or_else(|| emit(new, node, &args));
        uses.resize(new.nodes().len(), 0);
        uses[id.index()] += old.next().unwrap_or(0);
        id
    });
    if found { dce(&next) } else { g.clone() }
}

/// A better node for one with this operation and these arguments.
fn joined(p: &mut Pass<'_>, op: &Op, args: &[NodeId], ty: &Type) -> Option<NodeId> {
    match op {
        Op::Sum(axes) => {
            let (image, factors) = windows(p.g, args[0], axes)?;
            if !p.alone(args[0]) {
                return None;
            }
            let y = p.pooled(image, &factors)?;
            // A factor stays outside, where that of an average meets it.
            let (y, c) = factor_of(p.g, y);
            let y = p.g.reshape(y, &ty.shape);
            Some(if c == 1.0 { y } else { p.g.scale(y, c) })
        }
        Op::ConvFwd(c) | Op::ConvDataGrad(c) if p.full(args) => {
            let (coarse, factors) = repeated(p.g, args[0])?;
            let kind = Kind::of(op)?;
            let way = Way::of(c, kind.operand(), &factors, p.worth)?;
            let share = kind.operand().share(&factors);
            let coarse = p.times(coarse, share);
            Some(match way {
                Way::Wide(wide) => p.wide(kind, coarse, args[1], wide, &factors),
                Way::Swap(small) => {
                    let y = p.product(kind, coarse, args[1], small);
                    let y = p.times(y, 1.0 / share);
                    p.g.repeat_elements(y, &factors)
                }
            })
        }
        Op::ConvWeightGrad(c) if p.full(args) => [Side::X, Side::Y].into_iter().find_map(|side| {
            let (coarse, other) = if side == Side::X { (args[0], args[1]) } else { (args[1], args[0]) };
            let (coarse, factors) = repeated(p.g, coarse)?;
            let way = Way::of(c, side, &factors, p.worth)?;
            let share = side.share(&factors);
            let coarse = p.times(coarse, share);
            Some(match way {
                Way::Wide(wide) => p.wide_weight_grad(coarse, other, wide, &c.kernel, &factors),
                Way::Swap(small) => {
                    let other = p.pool(other, &factors);
                    let other = p.times(other, 1.0 / share);
                    let (x, y) = if side == Side::X { (coarse, other) } else { (other, coarse) };
                    p.g.conv_weight_grad(x, y, Arc::new(small))
                }
            })
        }),
        _ => None,
    }
}

/// The image whose windows are added up by a sum of `n` over `axes`, and their extents.
fn windows(g: &Graph, n: NodeId, axes: &[usize]) -> Option<(NodeId, Vec<usize>)> {
    let (split, image) = match g.node(n) {
        Node { op: Op::Reshape, args, ty, .. } => (&ty.shape, args[0]),
        _ => return None,
    };
    let factors = factors(split, g.shape(image))?;
    let summed = |(i, &f): (usize, &usize)| axes.contains(&(3 + 2 * i)) == (f > 1);
    let all = axes.iter().all(|&a| a >= 3 && a % 2 == 1) && factors.iter().enumerate().all(summed);
    all.then_some((image, factors))
}

/// The image each of whose elements `n` repeats, and how often along each axis.
fn repeated(g: &mut Graph, n: NodeId) -> Option<(NodeId, Vec<usize>)> {
    let whole = g.node(n);
    if whole.op != Op::Reshape || g.node(whole.args[0]).op != Op::Broadcast {
        return None;
    }
    let (grown, joined) = (g.node(whole.args[0]), &whole.ty.shape);
    let factors = factors(&grown.ty.shape, joined)?;
    let source = grown.args[0];
    if g.shape(source)[3..].iter().step_by(2).any(|&d| d != 1) {
        return None;
    }
    let split: Vec<usize> =
        grown.ty.shape.iter().enumerate().map(|(i, &d)| if i >= 3 && i % 2 == 1 { 1 } else { d }).collect();
    let small: Vec<usize> = [0, 1].into_iter().chain((2..split.len()).step_by(2)).map(|i| split[i]).collect();
    let coarse = g.broadcast(source, &split);
    Some((g.reshape(coarse, &small), factors))
}

/// `f…` of shapes `[n, c, d/f, f, …]` and `[n, c, d, …]`, one of which is above 1.
fn factors(split: &[usize], image: &[usize]) -> Option<Vec<usize>> {
    if image.len() < 3 || split.len() + 2 != 2 * image.len() || split[..2] != image[..2] {
        return None;
    }
    let pairs = split[2..].chunks_exact(2).zip(&image[2..]);
    let factors = pairs.map(|(p, &d)| (p[0] * p[1] == d).then_some(p[1])).collect::<Option<Vec<_>>>()?;
    factors.iter().any(|&f| f > 1).then_some(factors)
}

/// One of the images of a convolution.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    /// What it reads.
    X,
    /// What it makes.
    Y,
}

impl Side {
    /// How many times smaller than sums of windows the numbers are that products work with: those of averages of y.
    fn share(self, factors: &[usize]) -> f64 {
        if self == Side::Y { factors.iter().product::<usize>() as f64 } else { 1.0 }
    }
}

/// A product of an image and weights.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Forward,
    DataGrad,
}

impl Kind {
    fn of(op: &Op) -> Option<Self> {
        match op {
            Op::ConvFwd(_) => Some(Kind::Forward),
            Op::ConvDataGrad(_) => Some(Kind::DataGrad),
            _ => None,
        }
    }

    /// The image that it is of.
    fn operand(self) -> Side {
        if self == Kind::Forward { Side::X } else { Side::Y }
    }

    /// The image that it gives.
    fn result(self) -> Side {
        if self == Kind::Forward { Side::Y } else { Side::X }
    }
}

/// What a convolution becomes, one of whose images is sampled.
enum Way {
    /// One with a stride, whose y is the smaller image.
    Wide(Wide),
    /// The same of smaller images: sampling and product change places.
    Swap(ConvGeom),
}

/// A convolution of wider weights.
struct Wide {
    geom: ConvGeom,
    /// Whether its y is the x of the convolution that it stands for, so that its weights lie the other way round.
    turned: bool,
}

impl Wide {
    /// Which image of the convolution that it stands for is sampled.
    fn side(&self) -> Side {
        if self.turned { Side::X } else { Side::Y }
    }
}

impl Way {
    /// The way with fewer products for a convolution whose image at `side` is sampled by `factors`, if there is one.
    fn of(c: &ConvGeom, side: Side, factors: &[usize], worth: u64) -> Option<Self> {
        let count = |list: &[usize]| list.iter().product::<usize>();
        if c.layout != Layout::ChannelsFirst || c.stride.iter().chain(&c.dilation).any(|&v| v != 1) {
            return None;
        }
        let less = |list: &[usize]| -> Vec<usize> { list.iter().zip(factors).map(|(d, f)| d / f).collect() };
        if count(&c.kernel) == 1 && c.pad.iter().all(|&p| p == 0) && c.input == c.output {
            let small = less(&c.input);
            return Some(Way::Swap(ConvGeom { input: small.clone(), output: small, ..c.clone() }));
        }
        if count(factors) > MOST {
            return None;
        }
        let kernel: Vec<usize> = c.kernel.iter().zip(factors).map(|(k, f)| k + f - 1).collect();
        let wide = ConvGeom { kernel, stride: factors.to_vec(), ..c.clone() };
        let wide = match side {
            Side::Y => Wide { geom: ConvGeom { output: less(&c.output), ..wide }, turned: false },
            // Channels change places, which groups do not allow.
            Side::X if c.groups > 1 => return None,
            Side::X => {
                let pad =
                    c.kernel.iter().zip(&c.pad).map(|(k, p)| (k - 1).checked_sub(*p)).collect::<Option<_>>()?;
                let (input, output) = (c.output.clone(), less(&c.input));
                Wide { geom: ConvGeom { c: c.o, o: c.c, input, output, pad, ..wide }, turned: true }
            }
        };
        let weights = count(&wide.geom.w_shape()) as u64;
        let saved = c.flops().saturating_sub(wide.geom.flops());
        (saved > 0 && saved >= worth.saturating_mul(weights)).then_some(Way::Wide(wide))
    }
}

struct Pass<'a> {
    g: &'a mut Graph,
    /// How often nodes of the new graph are used, by the old graph's uses.
    uses: &'a [usize],
    /// Operations to be saved for each wide weight.
    worth: u64,
}

impl Pass<'_> {
    /// Whether a node has one user.
    fn alone(&self, n: NodeId) -> bool {
        self.uses.get(n.index()) == Some(&1)
    }

    /// Whether operands are not rounded for their product: sums of them would be of other numbers, and not rounded.
    fn full(&self, args: &[NodeId]) -> bool {
        args.iter().all(|&a| self.g.ty(a).dtype == DType::F32 && !self.g.is_tf32(a))
    }

    /// `c` times a value.
    fn times(&mut self, n: NodeId, c: f64) -> NodeId {
        if c == 1.0 { n } else { self.factor_times(n, c).unwrap_or_else(|| self.g.scale(n, c)) }
    }

    /// `c` times a value that has a constant factor, perhaps in another shape.
    fn factor_times(&mut self, n: NodeId, c: f64) -> Option<NodeId> {
        if let Node { op: Op::Reshape, args, ty, .. } = self.g.node(n).clone() {
            let inner = self.factor_times(args[0], c)?;
            return Some(self.g.reshape(inner, &ty.shape));
        }
        let (x, own) = factor_of(self.g, n);
        let c = own * c;
        (x != n).then(|| if c == 1.0 { x } else { self.g.scale(x, c) })
    }

    /// The sums of an image's windows, if a product that makes the image takes fewer operations to make these instead.
    fn pooled(&mut self, n: NodeId, factors: &[usize]) -> Option<NodeId> {
        if !self.alone(n) {
            return None;
        }
        let Node { op, args, .. } = self.g.node(n).clone();
        match &op {
            Op::ConvFwd(c) | Op::ConvDataGrad(c) if self.full(&args) => {
                let kind = Kind::of(&op)?;
                let way = Way::of(c, kind.result(), factors, self.worth)?;
                // The product stays that of its layer, by which it is named and rounded.
                let origin = self.g.origin(n).clone();
                let before = self.g.set_origin(origin);
                let share = kind.result().share(factors);
                let y = match way {
                    Way::Wide(wide) => self.wide(kind, args[0], args[1], wide, factors),
                    Way::Swap(small) => {
                        let image = self.pooled_or_pool(args[0], factors);
                        let image = self.times(image, 1.0 / share);
                        self.product(kind, image, args[1], small)
                    }
                };
                let y = self.times(y, share);
                self.g.set_origin(before);
                Some(y)
            }
            Op::Binary(Binary::Add) => {
                let parts = [self.pooled(args[0], factors), self.pooled(args[1], factors)];
                if parts == [None, None] {
                    return None;
                }
                let [a, b] = [0, 1].map(|i| parts[i].unwrap_or_else(|| self.pool(args[i], factors)));
                Some(self.g.add(a, b))
            }
            _ => None,
        }
    }

    fn pooled_or_pool(&mut self, n: NodeId, factors: &[usize]) -> NodeId {
        self.pooled(n, factors).unwrap_or_else(|| self.pool(n, factors))
    }

    /// The sums of an image's windows.
    fn pool(&mut self, n: NodeId, factors: &[usize]) -> NodeId {
        // A bias is the same everywhere.
        if let Node { op: Op::Broadcast, args, ty, .. } = self.g.node(n).clone()
            && self.g.shape(args[0])[2..].iter().all(|&d| d == 1)
        {
            let sum = self.g.scale(args[0], factors.iter().product::<usize>() as f64);
            let mut small = ty.shape;
            small[2..].iter_mut().zip(factors).for_each(|(d, f)| *d /= f);
            return self.g.broadcast(sum, &small);
        }
        let (parts, within) = self.g.split_windows(n, factors);
        let sums = self.g.sum(parts, &within);
        self.g.join_windows(sums)
    }

    fn product(&mut self, kind: Kind, image: NodeId, w: NodeId, c: ConvGeom) -> NodeId {
        match kind {
            Kind::Forward => self.g.conv_fwd(image, w, Arc::new(c)),
            Kind::DataGrad => self.g.conv_data_grad(image, w, Arc::new(c)),
        }
    }

    fn wide(&mut self, kind: Kind, image: NodeId, w: NodeId, wide: Wide, factors: &[usize]) -> NodeId {
        let kind = match (kind, wide.turned) {
            (Kind::Forward, false) | (Kind::DataGrad, true) => Kind::Forward,
            (Kind::DataGrad, false) | (Kind::Forward, true) => Kind::DataGrad,
        };
        let w = if wide.turned { self.turned(w) } else { w };
        let shape = self.g.shape(w).to_vec();
        let mut sum = None;
        for lo in offsets(factors) {
            let hi: Vec<usize> = lo.iter().zip(factors).map(|(a, f)| f - 1 - a).collect();
            let part = self.g.pad(w, &in_space(&lo), &in_space(&hi), &vec![0; shape.len()], 0.0);
            sum = Some(sum.map_or(part, |s| self.g.add(s, part)));
        }
        let v = self.times(sum.unwrap_or(w), 1.0 / wide.side().share(factors));
        self.product(kind, image, v, wide.geom)
    }

    /// The gradient of narrow weights of extents `kernel`, by that of the wide ones.
    fn wide_weight_grad(
        &mut self,
        coarse: NodeId,
        other: NodeId,
        wide: Wide,
        kernel: &[usize],
        factors: &[usize],
    ) -> NodeId {
        let (share, turned) = (wide.side().share(factors), wide.turned);
        let v = self.g.conv_weight_grad(other, coarse, Arc::new(wide.geom));
        let channels = self.g.shape(v)[..2].to_vec();
        let mut sum = None;
        for lo in offsets(factors) {
            let hi: Vec<usize> = lo.iter().zip(kernel).map(|(a, k)| a + k).collect();
            let limit = [&channels[..], &hi[..]].concat();
            let part = self.g.slice(v, &in_space(&lo), &limit, &vec![1; limit.len()]);
            sum = Some(sum.map_or(part, |s| self.g.add(s, part)));
        }
        let w = self.times(sum.unwrap_or(v), 1.0 / share);
        if turned { self.turned(w) } else { w }
    }

    /// Weights with their channels in each other's places and their taps from last to first; twice is once.
    fn turned(&mut self, w: NodeId) -> NodeId {
        let rank = self.g.shape(w).len();
        let perm: Vec<usize> = [1, 0].into_iter().chain(2..rank).collect();
        let w = self.g.permute(w, &perm);
        self.g.reverse(w, &(2..rank).collect::<Vec<_>>())
    }
}

/// A list by spatial axis as one of a weight's axes.
fn in_space(list: &[usize]) -> Vec<usize> {
    [0; 2].into_iter().chain(list.iter().copied()).collect()
}

/// All positions below `extents`, row-major.
fn offsets(extents: &[usize]) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    for &f in extents {
        all = all.iter().flat_map(|at: &Vec<usize>| (0..f).map(move |a| [&at[..], &[a]].concat())).collect();
    }
    all
}
