//! Times the contractions of three reference networks (the ring MLP and the DCGANs of 28 and 64 pixels).

use super::{Conv, MatMul, MatMulShape, Role, Strides};
use crate::exec::cpu::pool::Pool;
use crate::graph::op::{ConvGeom, Layout};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// A contraction and how often an iteration runs it.
struct Case {
    name: String,
    count: usize,
    flops: u64,
    what: What,
}

enum What {
    Conv(ConvGeom, Role),
    MatMul(MatMulShape),
}

/// A 4×4 convolution of square images, in its three roles; `counts` in the order of `ROLES`.
fn conv(name: &str, n: usize, [c, o]: [usize; 2], [input, output]: [usize; 2], counts: [usize; 3]) -> Vec<Case> {
    let (stride, pad) = if output == 1 { (1, 0) } else { (2, 1) };
    let two = |e: usize| vec![e, e];
    let g = ConvGeom {
        n,
        c,
        o,
        groups: 1,
        input: two(input),
        kernel: two(4),
        output: two(output),
        stride: two(stride),
        pad: two(pad),
        dilation: two(1),
        layout: Layout::ChannelsLast,
    };
    let roles = [(Role::Forward, "forward"), (Role::DataGrad, "data grad"), (Role::WeightGrad, "weight grad")];
    roles
        .into_iter()
        .zip(counts)
        .map(|((role, text), count)| Case {
            name: format!("{name} {c}-{o} {input}² {text}"),
            count,
            flops: g.flops(),
            what: What::Conv(g.clone(), role),
        })
        .collect()
}

/// A linear layer `[n, i] -> [n, o]` with weights `[o, i]`, in its three roles.
fn linear(name: &str, n: usize, [i, o]: [usize; 2], counts: [usize; 3]) -> Vec<Case> {
    let rows = |cols: usize| Strides { batch: 0, row: cols, col: 1 };
    let turned = |cols: usize| Strides { batch: 0, row: 1, col: cols };
    let shape = |m, n, k, a, b| MatMulShape { batch: 1, m, n, k, a, b, c_row: n, c_batch: 0 };
    let shapes = [
        ("forward", shape(n, o, i, rows(i), turned(i))),
        ("data grad", shape(n, i, o, rows(o), rows(i))),
        ("weight grad", shape(o, i, n, turned(o), rows(i))),
    ];
    shapes
        .into_iter()
        .zip(counts)
        .map(|((text, s), count)| Case {
            name: format!("{name} {i}-{o} {text}"),
            count,
            flops: s.flops(),
            what: What::MatMul(s),
        })
        .collect()
}

/// Shortest time of a run.
fn time(pool: &Pool, what: &What, clock: &dyn Fn() -> Duration) -> Duration {
    let values = |len: usize| (0..len).map(|i| (i % 17) as f32 / 16.0 - 0.5).collect::<Vec<f32>>();
    let run: Box<dyn FnMut()> = match what {
        What::Conv(g, role) => {
            let plan = Conv::new(g, *role);
            let [a, b, to] = plan.lens();
            let (a, b, mut to) = (values(a), values(b), values(to));
            let mut scratch = vec![0.0; plan.scratch_len(pool.threads())];
            Box::new(move || plan.run(pool, &a, &b, &mut to, &mut scratch, None))
        }
        What::MatMul(s) => {
            let plan = MatMul::new(*s);
            let (a, b, mut to) = (values(s.m * s.k), values(s.k * s.n), values(s.m * s.n));
            let mut scratch = vec![0.0; plan.scratch_len(pool.threads())];
            Box::new(move || plan.run(pool, &a, &b, &mut to, &mut scratch, None))
        }
    };
    shortest(run, clock)
}

fn shortest(mut run: impl FnMut(), clock: &dyn Fn() -> Duration) -> Duration {
    let start = clock();
    let mut best = Duration::MAX;
    let mut runs = 0;
    while runs < 5 || (clock() - start < Duration::from_millis(80) && runs < 2000) {
        let one = clock();
        run();
        best = best.min(clock() - one);
        runs += 1;
    }
    best
}

/// A table of times and rates, one line a contraction, with each network's sum over an iteration.
pub fn report(threads: usize) -> String {
    let start = Instant::now();
    report_by(threads, "", &|| start.elapsed())
}

/// As [`report`], of the cases whose name contains `filter`, by another clock (on a busy machine, say, the thread's
/// own time).
pub fn report_by(threads: usize, filter: &str, clock: &dyn Fn() -> Duration) -> String {
    let pool = Pool::new(threads);
    let peak = peak(clock);
    let isa = super::Isa::detect();
    let mut text = format!("{isa:?}, {} threads; one register tile: {peak:.1} GFLOP/s\n", pool.threads());
    let ring = [
        linear("G", 512, [256, 128], [2, 0, 1]),
        linear("G, D", 512, [128, 128], [5, 4, 3]),
        linear("G", 512, [128, 2], [2, 1, 1]),
        linear("D", 512, [2, 128], [3, 1, 2]),
        linear("D", 512, [128, 1], [3, 3, 2]),
    ];
    let dcgan28 = [
        linear("G", 128, [100, 6272], [2, 0, 1]),
        linear("D", 128, [6272, 1], [3, 3, 2]),
        conv("G, D", 128, [1, 64], [28, 14], [4, 3, 3]),
        conv("G, D", 128, [64, 128], [14, 7], [4, 5, 3]),
    ];
    let dcgan64 = [
        conv("G", 16, [512, 100], [4, 1], [0, 1, 1]),
        conv("D", 16, [512, 1], [4, 1], [3, 3, 2]),
        conv("G, D", 16, [3, 64], [64, 32], [4, 2, 3]),
        conv("G, D", 16, [64, 128], [32, 16], [4, 4, 3]),
        conv("G, D", 16, [128, 256], [16, 8], [4, 4, 3]),
        conv("G, D", 16, [256, 512], [8, 4], [4, 4, 3]),
    ];
    for (name, cases) in
        [("ring_mlp, batch 512", &ring[..]), ("dcgan28, batch 128", &dcgan28), ("dcgan64, batch 16", &dcgan64)]
    {
        let (mut sum, mut flops) = (0.0, 0);
        let _ = writeln!(text, "\n{name}");
        for case in cases.iter().flatten().filter(|c| c.count > 0 && c.name.contains(filter)) {
            let t = time(&pool, &case.what, clock).as_secs_f64();
            sum += t * case.count as f64;
            flops += case.flops * case.count as u64;
            let rate = case.flops as f64 / t / 1e9;
            let _ = writeln!(text, "  {:36} {:2} × {:9.3} ms  {rate:7.1} GFLOP/s", case.name, case.count, t * 1e3);
        }
        let _ = writeln!(text, "  {:36} {:14.3} ms  {:7.1} GFLOP/s", "sum", sum * 1e3, flops as f64 / sum / 1e9);
    }
    text
}

/// Rate of the widest register tile on operands in the nearest cache: what the rest is measured against.
fn peak(clock: &dyn Fn() -> Duration) -> f64 {
    let lanes = super::Isa::detect().lanes();
    let (rows, cols, kc, calls) = (lanes.rows, lanes.cols(), 128, 100);
    let a = vec![0.5f32; rows * super::lanes::LDA];
    let b = vec![0.5f32; kc * cols];
    let mut c = vec![0f32; rows * cols];
    let to: [*mut f32; super::lanes::MAX_ROWS] = std::array::from_fn(|r| c[r.min(rows - 1) * cols..].as_mut_ptr());
    let tile = lanes.tile(rows, cols, false);
    let run = || {
        for _ in 0..calls {
            // SAFETY: the operands have the extents of one tile, and `detect` found the instruction set here.
            unsafe { tile(kc, a.as_ptr(), 0, b.as_ptr(), cols, to.as_ptr(), 0, cols, false) }
        }
    };
    (2 * rows * cols * kc * calls) as f64 / shortest(run, clock).as_secs_f64() / 1e9
}
