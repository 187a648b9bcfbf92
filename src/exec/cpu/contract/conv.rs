//! Which way a convolution is computed.

use super::Epilogue;
use super::fold::Fold;
use super::gather::{Gather, Geometry};
use super::grouped::Grouped;
use super::lanes::{Isa, Lanes};
use super::pack::{Shared, transpose};
use super::wgrad::WeightGrad;
use super::{MatMul, MatMulShape};
use crate::exec::cpu::pool::Pool;
use crate::graph::op::ConvGeom;

/// Which of the three partial derivatives of the trilinear form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `(x, w) -> y`
    Forward,
    /// `(g: like y, w) -> like x`
    DataGrad,
    /// `(x, g: like y) -> like w`
    WeightGrad,
}

/// A planned convolution of a channels-last image.
pub struct Conv {
    /// Elements of the two operands and of the result.
    lens: [usize; 3],
    way: Way,
}

enum Way {
    Gather(Gather),
    Fold(Fold),
    Grouped(Grouped),
    WeightGrad(WeightGrad),
    /// The data gradient of a kernel as large as its input: a product with weights `[o, taps, c]`.
    Flat {
        g: Geometry,
        product: MatMul,
    },
}

impl Conv {
    /// Plans for the best instruction set here. One to three spatial axes, any stride, padding, dilation and groups.
    pub fn new(g: &ConvGeom, role: Role) -> Conv {
        Self::with_isa(g, role, Isa::detect())
    }

    /// Plans for a given instruction set.
    pub fn with_isa(g: &ConvGeom, role: Role, isa: Isa) -> Conv {
        let geometry = Geometry::of(g);
        let [x, w, y] = [g.x_shape(), g.w_shape(), g.y_shape()].map(|s| s.iter().product::<usize>());
        let (lens, way) = match role {
            Role::Forward => ([x, w, y], Way::image(geometry, isa, true)),
            Role::DataGrad => ([y, w, x], Way::image(geometry, isa, false)),
            Role::WeightGrad => ([x, y, w], Way::weight(geometry, isa)),
        };
        Conv { lens, way }
    }

    /// Elements of the role's two operands and of its result.
    pub fn lens(&self) -> [usize; 3] {
        self.lens
    }

    /// Values of scratch that [`Conv::run`] needs on a pool of `threads`.
    pub fn scratch_len(&self, threads: usize) -> usize {
        match &self.way {
            Way::Gather(w) => w.scratch_len(threads),
            Way::Fold(w) => w.scratch_len(threads),
            Way::Grouped(w) => w.scratch_len(threads),
            Way::WeightGrad(w) => w.scratch_len(threads),
            Way::Flat { product, .. } => self.lens[1] + product.scratch_len(threads),
        }
    }

    /// Number of tasks whose blocks an epilogue gets.
    pub fn tasks(&self) -> usize {
        match &self.way {
            Way::Gather(w) => w.tasks(),
            Way::Fold(w) => w.tasks(),
            Way::Grouped(w) => w.tasks(),
            Way::WeightGrad(w) => w.tasks(),
            Way::Flat { product, .. } => product.tasks(),
        }
    }

    /// Computes the result from the role's two operands.
    ///
    /// `epilogue` gets pixels as rows and channels as columns; for a weight gradient, output channels as rows and
    /// `(c/groups, kernel…)` as columns.
    pub fn run(
        &self,
        pool: &Pool,
        a: &[f32],
        b: &[f32],
        to: &mut [f32],
        scratch: &mut [f32],
        epilogue: Option<&Epilogue>,
    ) {
        assert!([a.len(), b.len(), to.len()] == self.lens, "operands as planned");
        assert!(scratch.len() >= self.scratch_len(pool.threads()));
        if self.lens[2] == 0 {
            return;
        }
        // SAFETY: the operands have exactly the elements that the geometry counts.
        unsafe {
            match &self.way {
                Way::Gather(w) => w.run(pool, a, b, to, scratch, epilogue),
                Way::Fold(w) => w.run(pool, a, b, to, scratch, epilogue),
                Way::Grouped(w) => w.run(pool, a, b, to, scratch, epilogue),
                Way::WeightGrad(w) => w.run(pool, a, b, to, scratch, epilogue),
                Way::Flat { g, product } => {
                    let (w, scratch) = scratch.split_at_mut(self.lens[1]);
                    permute(product.lanes(), pool, g, b, w);
                    let (c, x) = (g.c, g.input.iter().product::<usize>());
                    let outer = |block: &mut super::Block| {
                        let Some(epilogue) = epilogue else { return };
                        split(block, c, x, epilogue);
                    };
                    let hook: Option<&Epilogue> = if epilogue.is_some() { Some(&outer) } else { None };
                    product.run(pool, a, w, to, scratch, hook);
                }
            }
        }
    }
}

impl Way {
    fn image(g: Geometry, isa: Isa, forward: bool) -> Way {
        let whole = g.groups == 1 && g.kernel == g.input && g.pad == [0; 3] && g.output == [1; 3];
        if whole && g.dilation == [1; 3] && !forward && g.taps() > 1 {
            let product = MatMul::with_isa(MatMulShape::dense(1, g.n, g.taps() * g.c, g.o), isa);
            return Way::Flat { g, product };
        }
        let folds = Fold::pays(&g, forward, isa);
        let role = if forward { Role::Forward } else { Role::DataGrad };
        if let Some(grouped) = Grouped::plan(&g, role, folds, isa) {
            return Way::Grouped(grouped);
        }
        if folds {
            return Way::Fold(Fold::new(&g, forward, isa));
        }
        Way::Gather(if forward { Gather::forward(&g, isa) } else { Gather::data_grad(&g, isa) })
    }

    fn weight(g: Geometry, isa: Isa) -> Way {
        match Grouped::plan(&g, Role::WeightGrad, false, isa) {
            Some(grouped) => Way::Grouped(grouped),
            None => Way::WeightGrad(WeightGrad::new(g, isa)),
        }
    }
}

/// `[o, c, taps] -> [o, taps, c]`
fn permute(lanes: &Lanes, pool: &Pool, g: &Geometry, from: &[f32], to: &mut [f32]) {
    let (c, t) = (g.c, g.taps());
    let to = Shared(to.as_mut_ptr());
    let step = (16384 / (c * t)).max(1);
    pool.run(g.o.div_ceil(step), &|task| {
        for o in task * step..((task + 1) * step).min(g.o) {
            // SAFETY: both hold o · c · t values; each task writes its own output channels.
            unsafe {
                let (from, to) = (from.as_ptr().add(o * c * t), to.get().add(o * c * t));
                transpose(lanes, from, t, c, t, c, |tap| to.add(tap * c));
            }
        }
    });
}

/// Hands a block of a `[n, pixels · c]` matrix on as blocks of a `[n · pixels, c]` one.
fn split(block: &mut super::Block, c: usize, pixels: usize, epilogue: &Epilogue) {
    let (data, stride) = block.raw();
    let (mut col, end) = (block.col, block.col + block.cols);
    while col < end {
        let (pixel, first) = (col / c, col % c);
        // Whole pixels are adjacent; a part of one stands alone.
        let whole = if first == 0 { (end - col) / c } else { 0 };
        let (rows, cols) = if whole > 0 { (whole, c) } else { (1, (c - first).min(end - col)) };
        for r in 0..block.rows {
            let at = [(block.row + r) * pixels + pixel, first];
            // SAFETY: a part of the block, which is ours; no two parts overlap.
            unsafe {
                let data = data.add(r * stride + col - block.col);
                epilogue(&mut super::Block::new(at, rows, cols, data, c, (block.task, block.thread)));
            }
        }
        col += rows * cols;
    }
}
