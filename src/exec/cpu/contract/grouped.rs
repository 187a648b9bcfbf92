//! Convolutions with fewer result channels than a vector is wide: some neighbouring pixels of a line together are one
//! pixel with more channels.
//!
//! In memory nothing changes (channels last: the channels of neighbours are neighbours). The weights are written out as
//! those of a wider kernel, a copy for each pixel of the group, shifted by its place and zero elsewhere. That multiplies
//! some zeros, but fills vectors that would else be mostly empty, and gathers and stores once a group.
//! A value that is not finite makes its whole group no numbers, also pixels that do not read it.

use super::gather::{Gather, Geometry};
use super::lanes::Isa;
use super::pack::Shared;
use super::wgrad::WeightGrad;
use super::{Block, Epilogue, Role};
use crate::exec::cpu::pool::Pool;

/// A planned convolution of groups of pixels (no channel groups).
pub(super) struct Grouped {
    /// What is computed.
    g: Geometry,
    /// Pixels of the result (for a weight gradient: of y) in a group.
    pixels: usize,
    /// Channels of a pixel of the result.
    channels: usize,
    /// Weights of the wide kernel: `[pixels · result channels, source channels, its taps]`.
    wide_len: usize,
    /// Where each weight is used: index among the weights, and among those of the wide kernel.
    places: Vec<(u32, u32)>,
    way: Way,
}

enum Way {
    Image(Gather),
    Weight(WeightGrad),
}

/// Cycles for one position of a product, about: its multiply-adds by vectors, and to gather `runs` runs of `k` values in
/// all. From times of small convolutions on one machine with AVX-512; only ratios matter.
fn cost(k: usize, vectors: usize, runs: usize) -> f64 {
    0.7 * (k * vectors) as f64 + 15.0 * runs as f64 + k as f64 / 8.0 + 10.0
}

/// Cycles for a source pixel of [`super::fold::Fold`], about: each run of taps is added by itself.
fn fold_cost(src: usize, vectors: usize, runs: usize) -> f64 {
    0.7 * (src * vectors) as f64 + 25.0 * runs as f64 + src as f64 / 8.0 + 10.0
}

/// Offsets of source pixels that a group of `pixels` of an axis sees: first, number.
fn window(g: &Geometry, role: Role, pixels: usize) -> (isize, usize) {
    let (s, d, pad) = (g.stride[2], g.dilation[2], g.pad[2]);
    if role != Role::DataGrad {
        return (-(pad as isize), (pixels - 1) * s + (g.kernel[2] - 1) * d + 1);
    }
    let offsets = (0..pixels).flat_map(|t| (0..g.kernel[2]).filter_map(move |k| grad_offset(t + pad, k * d, s)));
    let (low, high) = offsets.fold((isize::MAX, isize::MIN), |(l, h), e| (l.min(e), h.max(e)));
    if low > high { (0, 1) } else { (low, (high - low) as usize + 1) }
}

/// Which source pixel, from that of the group's first, a pixel's tap reads in a data gradient.
fn grad_offset(at: usize, tap: usize, stride: usize) -> Option<isize> {
    let v = at as isize - tap as isize;
    (v.rem_euclid(stride as isize) == 0).then(|| v.div_euclid(stride as isize))
}

impl Grouped {
    /// The best group, if one beats the other ways by far enough to trust the estimate.
    pub fn plan(g: &Geometry, role: Role, folds: bool, isa: Isa) -> Option<Grouped> {
        let width = isa.lanes().width;
        let ((src, dst), line) = match role {
            Role::Forward | Role::WeightGrad => ((g.c, g.o), g.output[2]),
            Role::DataGrad => ((g.o, g.c), g.input[2]),
        };
        if g.groups != 1 || 2 * dst > width || g.n == 0 || src == 0 || dst == 0 || line < 2 {
            return None;
        }
        let lines = g.kernel[0] * g.kernel[1];
        let (sx, sy) = match role {
            Role::DataGrad => (g.stride[2], g.stride[0] * g.stride[1]),
            _ => (1, 1),
        };
        // Taps of a data gradient are shared out among its phases.
        let alone = if folds {
            fold_cost(src, (g.taps() * dst).div_ceil(width), lines) / (sx * sy) as f64
        } else {
            cost((src * g.taps()).div_ceil(sx * sy), dst.div_ceil(width), lines.div_ceil(sy))
        };
        let group = |pixels: usize| {
            let k = (src * lines * window(g, role, pixels).1).div_ceil(sy);
            cost(k, (pixels * dst).div_ceil(width), lines.div_ceil(sy)) / pixels as f64
        };
        let most = (2 * width / dst).min(line);
        let fits = (2..=most).filter(|p| line % p == 0 && p % sx == 0);
        let (price, pixels) = fits.map(|p| (group(p), p)).min_by(|a, b| a.0.total_cmp(&b.0))?;
        (price < 0.7 * alone).then(|| Grouped::new(g, role, pixels, isa)).flatten()
    }

    /// Groups of `pixels`, which divide a line (and are whole strides of a data gradient).
    fn new(g: &Geometry, role: Role, pixels: usize, isa: Isa) -> Option<Grouped> {
        let (first, span) = window(g, role, pixels);
        let lines = g.kernel[0] * g.kernel[1];
        let mut wide = Geometry { kernel: [g.kernel[0], g.kernel[1], span], ..g.clone() };
        let way = match role {
            Role::Forward | Role::WeightGrad => {
                wide.o *= pixels;
                wide.dilation[2] = 1;
                wide.stride[2] *= pixels;
                wide.output[2] /= pixels;
                if role == Role::Forward {
                    Way::Image(Gather::forward(&wide, isa))
                } else {
                    Way::Weight(WeightGrad::new(wide, isa))
                }
            }
            Role::DataGrad => {
                wide.c *= pixels;
                wide.input[2] /= pixels;
                Way::Image(Gather::data_grad_of_groups(&wide, pixels / g.stride[2], first, isa))
            }
        };
        if matches!(&way, Way::Image(gather) if gather.streams()) {
            return None;
        }
        let (src, dst) = if role == Role::DataGrad { (g.o, g.c) } else { (g.c, g.o) };
        let mut places = vec![];
        for t in 0..pixels {
            for k in 0..g.kernel[2] {
                let tap = k * g.dilation[2];
                let at = match role {
                    Role::DataGrad => grad_offset(t + g.pad[2], tap, g.stride[2]).map(|e| (e - first) as usize),
                    _ => Some(t * g.stride[2] + tap),
                };
                let Some(at) = at else { continue };
                for i in 0..dst * src * lines {
                    let (to, from, line) = (i / lines / src, i / lines % src, i % lines);
                    let (o, c) = if role == Role::DataGrad { (from, to) } else { (to, from) };
                    let narrow = ((o * g.c + c) * lines + line) * g.kernel[2] + k;
                    let wide = (((t * dst + to) * src + from) * lines + line) * span + at;
                    places.push((narrow as u32, wide as u32));
                }
            }
        }
        Some(Grouped {
            g: g.clone(),
            pixels,
            channels: dst,
            wide_len: pixels * dst * src * lines * span,
            places,
            way,
        })
    }

    /// Plans for all groups that a test may ask for.
    #[cfg(test)]
    pub fn all(g: &Geometry, role: Role, isa: Isa) -> Vec<Grouped> {
        let (line, stride) = if role == Role::DataGrad { (g.input[2], g.stride[2]) } else { (g.output[2], 1) };
        let fits = (2..=line).filter(|p| line % p == 0 && p % stride == 0);
        fits.filter_map(|p| Grouped::new(g, role, p, isa)).collect()
    }

    /// Pixels of a group.
    #[cfg(test)]
    pub fn pixels(&self) -> usize {
        self.pixels
    }

    /// Values of scratch needed on a pool of `threads`.
    pub fn scratch_len(&self, threads: usize) -> usize {
        self.wide_len
            + match &self.way {
                Way::Image(w) => w.scratch_len(threads),
                Way::Weight(w) => w.scratch_len(threads),
            }
    }

    /// Number of tasks whose blocks an epilogue gets.
    pub fn tasks(&self) -> usize {
        match &self.way {
            Way::Image(w) => w.tasks(),
            Way::Weight(_) => 1,
        }
    }

    /// Computes the result; see [`super::Conv::run`].
    ///
    /// # Safety
    /// The operands have the elements that the geometry says.
    pub unsafe fn run(
        &self,
        pool: &Pool,
        a: &[f32],
        b: &[f32],
        to: &mut [f32],
        scratch: &mut [f32],
        epilogue: Option<&Epilogue>,
    ) {
        let (wide, scratch) = scratch.split_at_mut(self.wide_len);
        match &self.way {
            Way::Image(gather) => {
                wide.fill(0.0);
                for &(narrow, at) in &self.places {
                    wide[at as usize] = b[narrow as usize];
                }
                let (pixels, channels) = (self.pixels, self.channels);
                let outer = |block: &mut Block| {
                    let Some(epilogue) = epilogue else { return };
                    let (data, _) = block.raw();
                    let at = [block.row * pixels, 0];
                    // SAFETY: the same memory, seen as the pixels that it is; a block of groups is as wide as they are.
                    unsafe {
                        let rows = block.rows * pixels;
                        epilogue(&mut Block::new(at, rows, channels, data, channels, (block.task, block.thread)));
                    }
                };
                let hook: Option<&Epilogue> = if epilogue.is_some() { Some(&outer) } else { None };
                // SAFETY: as the caller vouches; the wide weights are as many as the wide geometry says.
                unsafe { gather.run(pool, a, wide, to, scratch, hook) }
            }
            Way::Weight(product) => {
                // SAFETY: as above.
                unsafe { product.run(pool, a, b, wide, scratch, None) }
                to.fill(0.0);
                for &(narrow, at) in &self.places {
                    to[narrow as usize] += wide[at as usize];
                }
                let Some(epilogue) = epilogue else { return };
                let (rows, cols) = (self.g.o, self.g.c * self.g.taps());
                let data = Shared(to.as_mut_ptr());
                // SAFETY: the whole result, by the one task.
                pool.run_on(1, &|task, thread| unsafe {
                    epilogue(&mut Block::new([0, 0], rows, cols, data.get(), cols, (task, thread)));
                });
            }
        }
    }
}
