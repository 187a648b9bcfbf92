//! Every way of computing a contraction against loops in f64.

use super::gather::Geometry;
use super::grouped::Grouped;
use super::*;
use crate::exec::cpu::pool::Pool;
use crate::graph::op::{ConvGeom, Layout};
use std::sync::Mutex;

/// xorshift: geometries and values.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn pick(&mut self, from: &[usize]) -> usize {
        from[self.next() as usize % from.len()]
    }

    fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| (self.next() % 2001) as f32 / 1000.0 - 1.0).collect()
    }
}

/// All taps of a convolution as indices `(x, w, y)` into the flat tensors.
fn taps(g: &ConvGeom, mut each: impl FnMut(usize, usize, usize)) {
    let (cg, og) = (g.c / g.groups, g.o / g.groups);
    let index = |i: usize, extents: &[usize]| -> Vec<usize> {
        let mut i = i;
        let mut at: Vec<usize> = extents.iter().rev().map(|e| (i % e, i /= e).0).collect();
        at.reverse();
        at
    };
    let flat = |at: &[usize], extents: &[usize]| at.iter().zip(extents).fold(0, |s, (a, e)| s * e + a);
    let (ys, ks): (usize, usize) = (g.output.iter().product(), g.kernel.iter().product());
    let xs: usize = g.input.iter().product();
    for pixel in 0..ys {
        let p = index(pixel, &g.output);
        for tap in 0..ks {
            let k = index(tap, &g.kernel);
            let at: Option<Vec<usize>> = (0..p.len())
                .map(|d| {
                    (p[d] * g.stride[d] + k[d] * g.dilation[d]).checked_sub(g.pad[d]).filter(|&x| x < g.input[d])
                })
                .collect();
            let Some(at) = at else { continue };
            let x = flat(&at, &g.input);
            for n in 0..g.n {
                for o in 0..g.o {
                    for c in 0..cg {
                        let xi = (n * xs + x) * g.c + o / og * cg + c;
                        each(xi, (o * cg + c) * ks + tap, (n * ys + pixel) * g.o + o);
                    }
                }
            }
        }
    }
}

fn naive(g: &ConvGeom, role: Role, a: &[f32], b: &[f32]) -> Vec<f64> {
    let len = |s: Vec<usize>| s.iter().product::<usize>();
    let lens = [len(g.x_shape()), len(g.w_shape()), len(g.y_shape())];
    let mut to = vec![
        0f64;
        lens[match role {
            Role::Forward => 2,
            Role::DataGrad => 0,
            Role::WeightGrad => 1,
        }]
    ];
    taps(g, |x, w, y| match role {
        Role::Forward => to[y] += f64::from(a[x]) * f64::from(b[w]),
        Role::DataGrad => to[x] += f64::from(a[y]) * f64::from(b[w]),
        Role::WeightGrad => to[w] += f64::from(a[x]) * f64::from(b[y]),
    });
    to
}

/// Counts how often each element was handed out, and checks that it is handed out final.
struct Hook {
    seen: Mutex<Vec<(usize, usize)>>,
    cols: usize,
}

impl Hook {
    fn new(len: usize, cols: usize) -> Hook {
        Hook { seen: Mutex::new(vec![(0, 0); len]), cols }
    }

    fn call(&self, block: &mut Block) {
        let mut seen = self.seen.lock().unwrap();
        for r in 0..block.rows {
            let (row, col, id) = (block.row + r, block.col, block.thread);
            for (j, v) in block.row_mut(r).iter_mut().enumerate() {
                seen[row * self.cols + col + j].0 += 1;
                seen[row * self.cols + col + j].1 = id;
                *v = *v * 2.0 + 1.0;
            }
        }
    }

    fn check(self, what: &str) {
        assert!(self.seen.into_inner().unwrap().iter().all(|s| s.0 == 1), "{what}: not every element once");
    }
}

fn close(found: &[f32], wanted: &[f64], k: usize, what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    let bound = 2e-6 * (k as f64).sqrt().max(1.0) * 2.0;
    for (i, (f, w)) in found.iter().zip(wanted).enumerate() {
        assert!((f64::from(*f) - w).abs() <= bound * (1.0 + w.abs()), "{what}: element {i} is {f}, not {w}");
    }
}

fn check_conv(g: &ConvGeom, pools: &[Pool], rng: &mut Rng) {
    let len = |s: Vec<usize>| s.iter().product::<usize>();
    let (x, w, y) = (len(g.x_shape()), len(g.w_shape()), len(g.y_shape()));
    for role in [Role::Forward, Role::DataGrad, Role::WeightGrad] {
        let (a, b, to) = match role {
            Role::Forward => (x, w, y),
            Role::DataGrad => (y, w, x),
            Role::WeightGrad => (x, y, w),
        };
        let (a, b) = (rng.values(a), rng.values(b));
        let wanted = naive(g, role, &a, &b);
        let doubled: Vec<f64> = wanted.iter().map(|v| 2.0 * v + 1.0).collect();
        for isa in Isa::available() {
            let what = format!("{role:?} {isa:?} {g:?}");
            let conv = Conv::with_isa(g, role, isa);
            let mut first: Option<Vec<f32>> = None;
            for pool in pools {
                let mut scratch = vec![f32::NAN; conv.scratch_len(pool.threads())];
                let mut c = vec![f32::NAN; to];
                conv.run(pool, &a, &b, &mut c, &mut scratch, None);
                close(&c, &wanted, (g.flops() as usize / to.max(1)).max(1), &what);
                assert!(first.get_or_insert_with(|| c.clone()) == &c, "{what}: depends on the threads");
            }
            let cols = match role {
                Role::Forward => g.o,
                Role::DataGrad => g.c,
                Role::WeightGrad => w / g.o,
            };
            let hook = Hook::new(to, cols);
            let mut scratch = vec![f32::NAN; conv.scratch_len(pools[1].threads())];
            let mut c = vec![f32::NAN; to];
            conv.run(&pools[1], &a, &b, &mut c, &mut scratch, Some(&|b| hook.call(b)));
            close(&c, &doubled, (g.flops() as usize / to.max(1)).max(1), &what);
            hook.check(&what);
        }
    }
}

fn geometry(n: usize, c: usize, o: usize, groups: usize, axes: &[[usize; 5]]) -> Option<ConvGeom> {
    let get = |i: usize| axes.iter().map(|a| a[i]).collect::<Vec<_>>();
    let (input, kernel, stride, pad, dilation) = (get(0), get(1), get(2), get(3), get(4));
    let output: Option<Vec<usize>> = axes
        .iter()
        .map(|[i, k, s, p, d]| (i + 2 * p).checked_sub(d * (k - 1) + 1).map(|span| span / s + 1))
        .collect();
    let output = output?;
    Some(ConvGeom { n, c, o, groups, input, kernel, output, stride, pad, dilation, layout: Layout::ChannelsLast })
}

fn pools() -> [Pool; 3] {
    [Pool::new(1), Pool::new(2), Pool::new(3)]
}

#[test]
fn random_convolutions() {
    let mut rng = Rng(0x9e37_79b9_7f4a_7c15);
    let pools = pools();
    let mut done = 0;
    while done < 60 {
        let rank = rng.pick(&[1, 2, 2, 2, 2, 3]);
        let axes: Vec<[usize; 5]> = (0..rank)
            .map(|_| {
                let input = if rank == 1 { rng.pick(&[1, 7, 31, 33]) } else { rng.pick(&[1, 2, 4, 7]) };
                [
                    input,
                    rng.pick(&[1, 2, 3, 4, 5]),
                    rng.pick(&[1, 2, 3]),
                    rng.pick(&[0, 1, 2, 3]),
                    rng.pick(&[1, 1, 2]),
                ]
            })
            .collect();
        let groups = rng.pick(&[1, 1, 1, 2, 3]);
        let channels = if rank == 3 { [1, 3, 8] } else { [1, 3, 33] };
        let (c, o) = (rng.pick(&channels) * groups, rng.pick(&channels) * groups);
        let Some(g) = geometry(rng.pick(&[1, 2, 7, 15]), c, o, groups, &axes) else { continue };
        if g.flops() > 3_000_000 {
            continue;
        }
        check_conv(&g, &pools, &mut rng);
        done += 1;
    }
}

#[test]
fn depthwise_and_wide_convolutions() {
    let mut rng = Rng(7);
    let pools = pools();
    let square = |e, k, s, p| [[e, k, s, p, 1], [e, k, s, p, 1]];
    let cases = [
        (2, 31, 31, 31, square(7, 3, 1, 1)),
        (7, 64, 33, 1, square(4, 4, 2, 1)),
        (16, 64, 31, 1, square(5, 3, 2, 1)),
        (9, 130, 3, 1, square(4, 3, 1, 1)),
        (9, 3, 130, 1, square(4, 3, 1, 1)),
        (15, 33, 7, 1, square(4, 4, 1, 0)),
        (3, 1, 64, 1, square(33, 4, 2, 1)),
        (3, 3, 33, 1, square(31, 4, 2, 1)),
        (6, 64, 128, 2, square(4, 3, 1, 1)),
        (30, 300, 5, 1, square(3, 1, 1, 0)),
        // Few pixels and many weights, forward and backward.
        (7, 33, 130, 1, square(4, 4, 2, 1)),
        (15, 130, 40, 1, square(4, 4, 2, 1)),
        (6, 40, 131, 1, square(3, 5, 1, 2)),
        (8, 130, 33, 1, square(4, 2, 3, 0)),
        (16, 18, 133, 1, [[4, 3, 1, 2, 2], [3, 2, 2, 1, 1]]),
        (9, 131, 18, 1, [[4, 3, 2, 2, 2], [3, 2, 1, 1, 2]]),
    ];
    for (n, c, o, groups, axes) in cases {
        let g = geometry(n, c, o, groups, &axes).unwrap();
        check_conv(&g, &pools, &mut rng);
    }
}

#[test]
fn rectangles_and_uneven_residues() {
    let mut rng = Rng(11);
    let pools = pools();
    // Output smaller than the padding allows, strides above the kernel, lines longer than a block.
    for axes in [
        [[9, 1, 3, 0, 1], [5, 2, 3, 0, 1]],
        [[1, 1, 1, 0, 1], [300, 5, 1, 2, 1]],
        [[2, 3, 2, 1, 1], [77, 3, 2, 2, 2]],
        [[6, 3, 1, 3, 1], [5, 5, 2, 3, 1]],
    ] {
        for (n, c, o) in [(1, 16, 17), (8, 64, 3), (8, 3, 20)] {
            check_conv(&geometry(n, c, o, 1, &axes).unwrap(), &pools, &mut rng);
        }
    }
}

/// All groups that fit, whatever pays.
#[test]
fn grouped_pixels() {
    let mut rng = Rng(13);
    let pools = pools();
    let mut seen = 0;
    let axes = |i: usize| match i {
        0 => vec![[6, 3, 1, 1, 1], [12, 3, 1, 1, 1]],
        1 => vec![[7, 3, 2, 1, 1], [12, 3, 2, 1, 1]],
        2 => vec![[5, 4, 2, 1, 1], [16, 4, 2, 1, 1]],
        3 => vec![[30, 5, 3, 2, 1]],
        4 => vec![[3, 1, 1, 0, 1], [9, 2, 3, 0, 1]],
        5 => vec![[2, 2, 1, 1, 1], [4, 3, 2, 1, 1], [12, 3, 2, 2, 2]],
        6 => vec![[28, 3, 2, 1, 1]],
        _ => vec![[4, 1, 1, 0, 1], [8, 1, 2, 0, 1]],
    };
    for i in 0..8 {
        for (n, c, o) in [(1, 1, 1), (2, 3, 2), (7, 2, 3), (3, 9, 1), (2, 5, 7)] {
            let g = geometry(n, c, o, 1, &axes(i)).unwrap();
            for role in [Role::Forward, Role::DataGrad, Role::WeightGrad] {
                let conv = Conv::new(&g, role);
                let [a, b, to] = conv.lens();
                let (a, b) = (rng.values(a), rng.values(b));
                let wanted = naive(&g, role, &a, &b);
                let k = (g.flops() as usize / to.max(1)).max(1);
                for isa in Isa::available() {
                    for plan in Grouped::all(&Geometry::of(&g), role, isa) {
                        seen += 1;
                        let what = format!("{role:?} {isa:?} {} {g:?}", plan.pixels());
                        let mut first: Option<Vec<f32>> = None;
                        for pool in &pools {
                            let mut scratch = vec![f32::NAN; plan.scratch_len(pool.threads())];
                            let mut c = vec![f32::NAN; to];
                            // SAFETY: the operands are as long as the geometry says.
                            unsafe { plan.run(pool, &a, &b, &mut c, &mut scratch, None) };
                            close(&c, &wanted, k, &what);
                            assert!(first.get_or_insert_with(|| c.clone()) == &c, "{what}: depends on the threads");
                        }
                        let doubled: Vec<f64> = wanted.iter().map(|v| 2.0 * v + 1.0).collect();
                        let cols = match role {
                            Role::Forward => g.o,
                            Role::DataGrad => g.c,
                            Role::WeightGrad => to / g.o,
                        };
                        let hook = Hook::new(to, cols);
                        let mut scratch = vec![f32::NAN; plan.scratch_len(2)];
                        let mut c = vec![f32::NAN; to];
                        // SAFETY: as above.
                        unsafe { plan.run(&pools[1], &a, &b, &mut c, &mut scratch, Some(&|b| hook.call(b))) };
                        close(&c, &doubled, k, &what);
                        hook.check(&what);
                    }
                }
            }
        }
    }
    assert!(seen > 500, "{seen} plans");
}

fn strides(rng: &mut Rng, rows: usize, cols: usize) -> Strides {
    match rng.pick(&[0, 1, 2]) {
        0 => Strides { batch: rows * cols, row: cols, col: 1 },
        1 => Strides { batch: rows * cols, row: 1, col: rows },
        _ => Strides { batch: rows * cols * 6 + 1, row: cols * 3 + 2, col: 2 },
    }
}

fn check_matmul(s: MatMulShape, pools: &[Pool], rng: &mut Rng) {
    let extent = |t: Strides, rows: usize, cols: usize| {
        (s.batch - 1) * t.batch + (rows - 1) * t.row + (cols - 1) * t.col + 1
    };
    let (a, b) = (rng.values(extent(s.a, s.m, s.k)), rng.values(extent(s.b, s.k, s.n)));
    let mut wanted = vec![0f64; s.batch * s.m * s.n];
    for (i, w) in wanted.iter_mut().enumerate() {
        let (rest, n) = (i / s.n, i % s.n);
        let (batch, m) = (rest / s.m, rest % s.m);
        for k in 0..s.k {
            let a = a[batch * s.a.batch + m * s.a.row + k * s.a.col];
            *w += f64::from(a) * f64::from(b[batch * s.b.batch + k * s.b.row + n * s.b.col]);
        }
    }
    let doubled: Vec<f64> = wanted.iter().map(|v| 2.0 * v + 1.0).collect();
    for isa in Isa::available() {
        let what = format!("{isa:?} {s:?}");
        let plan = MatMul::with_isa(s, isa);
        let gather = |c: &[f32]| -> Vec<f32> {
            let at = |i: usize| (i / s.n / s.m) * s.c_batch + (i / s.n % s.m) * s.c_row + i % s.n;
            (0..wanted.len()).map(|i| c[at(i)]).collect()
        };
        let mut first: Option<Vec<f32>> = None;
        for pool in pools {
            let mut scratch = vec![f32::NAN; plan.scratch_len(pool.threads())];
            let mut c = vec![0.5; s.batch * s.c_batch];
            plan.run(pool, &a, &b, &mut c, &mut scratch, None);
            let found = gather(&c);
            close(&found, &wanted, s.k, &what);
            assert!(first.get_or_insert_with(|| found.clone()) == &found, "{what}: depends on the threads");
            let kept = c.iter().filter(|v| **v == 0.5).count();
            assert!(kept >= c.len() - wanted.len(), "{what}: wrote between the rows");
        }
        let hook = Hook::new(wanted.len(), s.n);
        let mut scratch = vec![f32::NAN; plan.scratch_len(pools[1].threads())];
        let mut c = vec![f32::NAN; s.batch * s.c_batch];
        plan.run(&pools[1], &a, &b, &mut c, &mut scratch, Some(&|b| hook.call(b)));
        close(&gather(&c), &doubled, s.k, &what);
        hook.check(&what);
    }
}

#[test]
fn random_products() {
    let mut rng = Rng(3);
    let pools = pools();
    let extents = [1, 7, 31, 33, 130];
    for _ in 0..60 {
        let (batch, m, n, k) = (rng.pick(&[1, 1, 3]), rng.pick(&extents), rng.pick(&extents), rng.pick(&extents));
        let (a, b) = (strides(&mut rng, m, k), strides(&mut rng, k, n));
        let c_row = n + rng.pick(&[0, 0, 5]);
        let s = MatMulShape { batch, m, n, k, a, b, c_row, c_batch: c_row * m };
        check_matmul(s, &pools, &mut rng);
    }
}

#[test]
fn long_and_empty_products() {
    let mut rng = Rng(5);
    let pools = pools();
    for (m, n, k) in [(33, 31, 600), (300, 130, 7), (5, 200, 300), (130, 1, 513), (1, 130, 1)] {
        check_matmul(MatMulShape::dense(1, m, n, k), &pools, &mut rng);
    }
    let plan = MatMul::new(MatMulShape::dense(1, 3, 4, 0));
    let mut c = vec![f32::NAN; 12];
    plan.run(&pools[0], &[], &[], &mut c, &mut vec![0.0; plan.scratch_len(1)], None);
    assert!(c.iter().all(|v| *v == 0.0));
}
