//! Products as sums over index spaces: which coordinates rows, columns and the sum have, and where each operand's and
//! result's elements are as affine functions of them.
//!
//! The data gradient of a convolution of stride s is a convolution for each residue of the position modulo s (a
//! *phase*): no multiplication by inserted zeros. What differs between phases are a few numbers, which are
//! coordinates that a block looks up.

use crate::fuse::{Affine, Guard, Operand, Product};
use crate::graph::op::axes;
use crate::graph::{ContractDims, ConvGeom};

/// Where a block's coordinate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uniform {
    /// `z / over % extent`
    Digit {
        /// Product of the extents after it.
        over: usize,
        /// Number of values.
        extent: usize,
    },
    /// The value of phase `z % phases`, not negative.
    Table(Vec<i64>),
}

impl Uniform {
    fn extent(&self) -> usize {
        match self {
            Uniform::Digit { extent, .. } => *extent,
            Uniform::Table(v) => v.iter().max().map_or(0, |&m| m as usize) + 1,
        }
    }
}

/// Which coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The same in a block.
    Block,
    /// Rows of the result.
    Rows,
    /// Columns of the result.
    Cols,
    /// What is summed over.
    Sum,
}

/// The coordinates in order: the block's, rows, columns, sum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Coordinates of a block; the first is its number z itself.
    pub block: Vec<Uniform>,
    /// Extents of the rows' coordinates.
    pub rows: Vec<usize>,
    /// Extents of the columns' coordinates.
    pub cols: Vec<usize>,
    /// Extents of the sum's coordinates.
    pub sum: Vec<usize>,
}

impl Space {
    /// Number of values of z.
    pub fn blocks(&self) -> usize {
        self.block.first().map_or(1, Uniform::extent)
    }

    /// Extents of a group.
    pub fn extents(&self, group: Group) -> Vec<usize> {
        match group {
            Group::Block => self.block.iter().map(Uniform::extent).collect(),
            Group::Rows => self.rows.clone(),
            Group::Cols => self.cols.clone(),
            Group::Sum => self.sum.clone(),
        }
    }

    /// Which coefficients belong to a group.
    pub fn range(&self, group: Group) -> std::ops::Range<usize> {
        let ends = [self.block.len(), self.rows.len(), self.cols.len(), self.sum.len()];
        let at = group as usize;
        let start: usize = ends[..at].iter().sum();
        start..start + ends[at]
    }

    /// All extents.
    pub fn domain(&self) -> Vec<usize> {
        [Group::Block, Group::Rows, Group::Cols, Group::Sum].map(|g| self.extents(g)).concat()
    }

    fn rank(&self) -> usize {
        self.block.len() + self.rows.len() + self.cols.len() + self.sum.len()
    }

    /// The `i`-th coordinate of a group.
    fn axis(&self, group: Group, i: usize) -> Affine {
        Affine::axis(self.rank(), self.range(group).start + i)
    }

    /// Blocks for a batch of these extents, and for phases: each a list of numbers. Returns the batch's coordinates
    /// and the phases' numbers as functions of the block's coordinates, once the other groups are set.
    fn with_blocks(mut self, batch: &[usize], phases: &[Vec<i64>]) -> (Self, Vec<Affine>, Vec<Affine>) {
        let count: usize = phases.len().max(1);
        let total = batch.iter().product::<usize>() * count;
        self.block = vec![Uniform::Digit { over: 1, extent: total }];
        let mut over = total;
        for &extent in batch {
            over /= extent.max(1);
            self.block.push(Uniform::Digit { over, extent });
        }
        let numbers = phases.first().map_or(0, Vec::len);
        let columns: Vec<Vec<i64>> = (0..numbers).map(|i| phases.iter().map(|p| p[i]).collect()).collect();
        // A number that all phases share, or that is negative somewhere, is shifted.
        let least: Vec<i64> = columns.iter().map(|c| c.iter().copied().min().unwrap_or(0)).collect();
        let varies: Vec<bool> = columns.iter().map(|c| c.iter().any(|v| *v != c[0])).collect();
        for i in (0..numbers).filter(|&i| varies[i]) {
            self.block.push(Uniform::Table(columns[i].iter().map(|v| v - least[i]).collect()));
        }
        let digits = (0..batch.len()).map(|i| self.axis(Group::Block, 1 + i)).collect();
        let mut next = 1 + batch.len();
        let mut form = |i: usize| {
            if !varies[i] {
                return Affine::constant(self.rank(), least[i]);
            }
            next += 1;
            self.axis(Group::Block, next - 1).scaled(1, least[i])
        };
        let forms = (0..numbers).map(&mut form).collect();
        (self, digits, forms)
    }
}

/// An operand's element as a function of the coordinates; 0 where a guard fails.
#[derive(Clone, Debug)]
pub struct Element<'a> {
    /// The operand.
    pub operand: &'a Operand,
    /// Its loop indices.
    pub coords: Vec<Affine>,
    /// Where it is read.
    pub guards: Vec<Guard>,
}

/// A product: `result[coords] = Σ left · right`.
#[derive(Clone, Debug)]
pub struct Problem<'a> {
    /// Coordinates.
    pub space: Space,
    /// Depends on the block, rows and the sum.
    pub left: Element<'a>,
    /// Depends on the block, columns and the sum.
    pub right: Element<'a>,
    /// Axes of the result as functions of the block, rows and columns.
    pub result: Vec<Affine>,
    /// Rows and columns beyond these are no elements of the result.
    pub inside: Vec<Guard>,
}

impl<'a> Problem<'a> {
    /// The sum that a product is.
    pub fn new(product: &Product, lhs: &'a Operand, rhs: &'a Operand) -> Self {
        let mut problem = match product {
            Product::Dot(d) => dot(d, lhs, rhs),
            Product::ConvFwd(c) => forward(c, lhs, rhs),
            Product::ConvDataGrad(c) => data_grad(c, lhs, rhs),
            Product::ConvWeightGrad(c) => weight_grad(c, lhs, rhs),
        };
        let domain = problem.space.domain();
        let Problem { left, right, inside, .. } = &mut problem;
        for guards in [&mut left.guards, &mut right.guards, inside] {
            guards.retain(|g| !g.always(&domain));
        }
        problem
    }
}

fn dot<'a>(d: &ContractDims, lhs: &'a Operand, rhs: &'a Operand) -> Problem<'a> {
    // The sum runs in the order in which the left operand lies.
    let mut pairs = d.contracted.clone();
    if let Some((_, at)) = lhs.stored() {
        pairs.sort_by_key(|p| (std::cmp::Reverse(at.coef[p.0].abs()), *p));
    }
    let of = |side: fn(&(usize, usize)) -> usize| d.batch.iter().chain(&pairs).map(side).collect::<Vec<_>>();
    let (used_left, used_right) = (of(|p| p.0), of(|p| p.1));
    let free = |o: &Operand, used: &[usize]| (0..o.shape.len()).filter(|a| !used.contains(a)).collect::<Vec<_>>();
    let (rows, cols) = (free(lhs, &used_left), free(rhs, &used_right));
    let batch: Vec<usize> = d.batch.iter().map(|p| lhs.shape[p.0]).collect();
    let space = Space {
        block: vec![],
        rows: rows.iter().map(|&a| lhs.shape[a]).collect(),
        cols: cols.iter().map(|&a| rhs.shape[a]).collect(),
        sum: pairs.iter().map(|p| lhs.shape[p.0]).collect(),
    };
    let (space, digits, _) = space.with_blocks(&batch, &[]);
    let zero = Affine::constant(space.rank(), 0);
    let (mut left, mut right) = (vec![zero.clone(); lhs.shape.len()], vec![zero; rhs.shape.len()]);
    d.batch.iter().zip(&digits).for_each(|(p, at)| {
        left[p.0] = at.clone();
        right[p.1] = at.clone();
    });
    for (i, p) in pairs.iter().enumerate() {
        left[p.0] = space.axis(Group::Sum, i);
        right[p.1] = space.axis(Group::Sum, i);
    }
    rows.iter().enumerate().for_each(|(i, &a)| left[a] = space.axis(Group::Rows, i));
    cols.iter().enumerate().for_each(|(i, &a)| right[a] = space.axis(Group::Cols, i));
    let mut result = digits;
    result.extend((0..rows.len()).map(|i| space.axis(Group::Rows, i)));
    result.extend((0..cols.len()).map(|i| space.axis(Group::Cols, i)));
    Problem {
        space,
        left: Element { operand: lhs, coords: left, guards: vec![] },
        right: Element { operand: rhs, coords: right, guards: vec![] },
        result,
        inside: vec![],
    }
}

/// An image's axes from sample, positions and channel.
fn image(c: &ConvGeom, sample: Affine, at: Vec<Affine>, channel: Affine) -> Vec<Affine> {
    axes(c.layout.images_last(), sample, channel, at)
}

/// Weights' axes from output channel, input channel and taps.
fn kernel(c: &ConvGeom, out: Affine, channel: Affine, taps: Vec<Affine>) -> Vec<Affine> {
    axes(c.layout.weights_last(), out, channel, taps)
}

fn forward<'a>(c: &ConvGeom, x: &'a Operand, w: &'a Operand) -> Problem<'a> {
    let (cg, og, dims) = (c.c / c.groups, c.o / c.groups, c.kernel.len());
    let space = Space {
        block: vec![],
        rows: [vec![c.n], c.output.clone()].concat(),
        cols: vec![og],
        sum: [c.kernel.clone(), vec![cg]].concat(),
    };
    let (space, group, _) = space.with_blocks(&[c.groups], &[]);
    let group = &group[0];
    let (mut at, mut taps, mut guards) = (vec![], vec![], vec![]);
    for i in 0..dims {
        let (out, tap) = (space.axis(Group::Rows, 1 + i), space.axis(Group::Sum, i));
        let pixel = out.scaled(c.stride[i] as i64, -(c.pad[i] as i64)).plus(&tap, c.dilation[i] as i64);
        guards.push(Guard { at: pixel.clone(), extent: c.input[i] as i64 });
        at.push(pixel);
        taps.push(tap);
    }
    let channel = space.axis(Group::Sum, dims);
    let out = space.axis(Group::Cols, 0).plus(group, og as i64);
    let sample = space.axis(Group::Rows, 0);
    let pixels = (0..dims).map(|i| space.axis(Group::Rows, 1 + i)).collect();
    let weight = kernel(c, out.clone(), channel.clone(), taps);
    Problem {
        left: Element { operand: x, coords: image(c, sample.clone(), at, channel.plus(group, cg as i64)), guards },
        right: Element { operand: w, coords: weight, guards: vec![] },
        result: image(c, sample, pixels, out),
        inside: vec![],
        space,
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Along one axis, for each residue of the position: the residue, the first tap that meets it, and the output
/// position of that tap for the first such position. Taps go on `step` by `step`, to output positions `back` lower.
struct Phases {
    numbers: Vec<[i64; 3]>,
    step: i64,
    back: i64,
    taps: usize,
}

fn phases(c: &ConvGeom, i: usize) -> Phases {
    let [s, d, p, k] = [c.stride[i], c.dilation[i], c.pad[i], c.kernel[i]].map(|v| v as i64);
    let common = gcd(s, d);
    let step = s / common;
    let numbers = (0..s.min(c.input[i] as i64)).map(|a| {
        let first = (0..step).find(|t| (a + p - t * d).rem_euclid(s) == 0);
        // No tap: behind the last.
        first.map_or([a, k, 0], |t| [a, t, (a + p - t * d).div_euclid(s)])
    });
    Phases { numbers: numbers.collect(), step, back: d / common, taps: (k as usize).div_ceil(step as usize) }
}

/// Columns that a tile of few columns has room for.
const FEW: usize = 16;

/// The data gradient of few channels, all phases of a position beside each other as columns: what they read is nearly
/// the same, and a tile of one phase's channels would be nearly empty. Taps that a phase does not meet are zeros.
fn few_channels<'a>(c: &ConvGeom, g: &'a Operand, w: &'a Operand) -> Problem<'a> {
    let (cg, og, dims) = (c.c / c.groups, c.o / c.groups, c.kernel.len());
    let axis = |i: usize| [c.stride[i], c.pad[i], c.kernel[i]].map(|v| v as i64);
    // Output positions from the position's own in steps of the stride: the first, and how many.
    let reach = |i: usize| {
        let [s, p, k] = axis(i);
        let (first, last) = (-(k - 1 - p).div_euclid(s), (s - 1 + p).div_euclid(s));
        (first, (last - first + 1).max(1) as usize)
    };
    let pixels = (0..dims).map(|i| c.input[i].div_ceil(c.stride[i]));
    let space = Space {
        block: vec![],
        rows: std::iter::once(c.n).chain(pixels).collect(),
        cols: [c.stride.clone(), vec![cg]].concat(),
        sum: (0..dims).map(|i| reach(i).1).chain([og]).collect(),
    };
    let (space, group, _) = space.with_blocks(&[c.groups], &[]);
    let group = &group[0];
    let (mut at, mut taps, mut result) = (vec![], vec![], vec![]);
    let (mut guards, mut weight_guards, mut inside) = (vec![], vec![], vec![]);
    for i in 0..dims {
        let ([s, p, k], (first, _)) = (axis(i), reach(i));
        let (pixel, phase) = (space.axis(Group::Rows, 1 + i), space.axis(Group::Cols, i));
        let step = space.axis(Group::Sum, i);
        let out = pixel.scaled(1, first).plus(&step, 1);
        guards.push(Guard { at: out.clone(), extent: c.output[i] as i64 });
        at.push(out);
        let tap = phase.scaled(1, p - s * first).plus(&step, -s);
        weight_guards.push(Guard { at: tap.clone(), extent: k });
        taps.push(tap);
        let position = phase.plus(&pixel, s);
        inside.push(Guard { at: position.clone(), extent: c.input[i] as i64 });
        result.push(position);
    }
    let out = space.axis(Group::Sum, dims).plus(group, og as i64);
    let channel = space.axis(Group::Cols, dims);
    let sample = space.axis(Group::Rows, 0);
    let weight = kernel(c, out.clone(), channel.clone(), taps);
    Problem {
        left: Element { operand: g, coords: image(c, sample.clone(), at, out), guards },
        right: Element { operand: w, coords: weight, guards: weight_guards },
        result: image(c, sample, result, channel.plus(group, cg as i64)),
        inside,
        space,
    }
}

fn data_grad<'a>(c: &ConvGeom, g: &'a Operand, w: &'a Operand) -> Problem<'a> {
    let (cg, og, dims) = (c.c / c.groups, c.o / c.groups, c.kernel.len());
    let count: usize = c.stride.iter().product();
    if count > 1 && cg * count <= FEW && c.dilation.iter().all(|&d| d == 1) {
        return few_channels(c, g, w);
    }
    let axes: Vec<Phases> = (0..dims).map(|i| phases(c, i)).collect();
    let mut all: Vec<Vec<i64>> = vec![vec![]];
    for axis in &axes {
        all = all.iter().flat_map(|p| axis.numbers.iter().map(|n| [p.as_slice(), n].concat())).collect();
    }
    let pixels = (0..dims).map(|i| c.input[i].div_ceil(c.stride[i]));
    let space = Space {
        block: vec![],
        rows: std::iter::once(c.n).chain(pixels).collect(),
        cols: vec![cg],
        sum: axes.iter().map(|a| a.taps).chain([og]).collect(),
    };
    let (space, group, numbers) = space.with_blocks(&[c.groups], &all);
    let group = &group[0];
    let (mut at, mut taps, mut result) = (vec![], vec![], vec![]);
    let (mut guards, mut weight_guards, mut inside) = (vec![], vec![], vec![]);
    for (i, axis) in axes.iter().enumerate() {
        let [residue, first, start] = [0, 1, 2].map(|j| &numbers[3 * i + j]);
        let (pixel, tap) = (space.axis(Group::Rows, 1 + i), space.axis(Group::Sum, i));
        let out = pixel.plus(&tap, -axis.back).plus(start, 1);
        guards.push(Guard { at: out.clone(), extent: c.output[i] as i64 });
        at.push(out);
        let tap = first.plus(&tap, axis.step);
        weight_guards.push(Guard { at: tap.clone(), extent: c.kernel[i] as i64 });
        taps.push(tap);
        let position = residue.plus(&pixel, c.stride[i] as i64);
        inside.push(Guard { at: position.clone(), extent: c.input[i] as i64 });
        result.push(position);
    }
    let out = space.axis(Group::Sum, dims).plus(group, og as i64);
    let channel = space.axis(Group::Cols, 0);
    let sample = space.axis(Group::Rows, 0);
    let weight = kernel(c, out.clone(), channel.clone(), taps);
    Problem {
        left: Element { operand: g, coords: image(c, sample.clone(), at, out), guards },
        right: Element { operand: w, coords: weight, guards: weight_guards },
        result: image(c, sample, result, channel.plus(group, cg as i64)),
        inside,
        space,
    }
}

fn weight_grad<'a>(c: &ConvGeom, x: &'a Operand, g: &'a Operand) -> Problem<'a> {
    let (cg, og, dims) = (c.c / c.groups, c.o / c.groups, c.kernel.len());
    let space = Space {
        block: vec![],
        rows: vec![og],
        cols: [c.kernel.clone(), vec![cg]].concat(),
        sum: [vec![c.n], c.output.clone()].concat(),
    };
    let (space, group, _) = space.with_blocks(&[c.groups], &[]);
    let group = &group[0];
    let (mut at, mut taps, mut guards) = (vec![], vec![], vec![]);
    for i in 0..dims {
        let (out, tap) = (space.axis(Group::Sum, 1 + i), space.axis(Group::Cols, i));
        let pixel = out.scaled(c.stride[i] as i64, -(c.pad[i] as i64)).plus(&tap, c.dilation[i] as i64);
        guards.push(Guard { at: pixel.clone(), extent: c.input[i] as i64 });
        at.push(pixel);
        taps.push(tap);
    }
    let channel = space.axis(Group::Cols, dims);
    let out = space.axis(Group::Rows, 0).plus(group, og as i64);
    let sample = space.axis(Group::Sum, 0);
    let pixels = (0..dims).map(|i| space.axis(Group::Sum, 1 + i)).collect();
    let result = kernel(c, out.clone(), channel.clone(), taps);
    Problem {
        left: Element { operand: g, coords: image(c, sample.clone(), pixels, out), guards: vec![] },
        right: Element { operand: x, coords: image(c, sample, at, channel.plus(group, cg as i64)), guards },
        result,
        inside: vec![],
        space,
    }
}
