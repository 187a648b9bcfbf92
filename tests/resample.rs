//! All six kinds of products beside sampling, over geometries, against the graph as it was.

use ganc::grad::grad_or_zeros;
use ganc::graph::eval::{Env, Tensor, eval_outputs};
use ganc::graph::{ConvGeom, Graph, Layout, NodeId, Op, philox, verify};
use ganc::passes::{self, Rounded, dce, precision, resample, resample_worth};
use std::sync::Arc;

/// Multiply-adds of all convolutions that outputs need.
fn work(g: &Graph) -> u64 {
    let needed = dce(g);
    let flops = |op: &Op| match op {
        Op::ConvFwd(c) | Op::ConvDataGrad(c) | Op::ConvWeightGrad(c) => c.flops() / 2,
        _ => 0,
    };
    needed.nodes().iter().map(|n| flops(&n.op)).sum()
}

struct Case {
    g: Graph,
    env: Env,
    leaves: Vec<NodeId>,
}

impl Case {
    fn new() -> Self {
        Self { g: Graph::new(), env: Env::new(), leaves: vec![] }
    }

    fn leaf(&mut self, shape: &[usize]) -> NodeId {
        let (name, key) = (format!("p{}", self.leaves.len()), self.leaves.len() as u32);
        let n = shape.iter().product();
        let data = (0..n).map(|i| philox::uniform(philox::word([7, 9], key, 0, i)) * 2.0 - 1.0).collect();
        self.env = std::mem::take(&mut self.env).param(name.as_str(), Tensor::f32(shape, data));
        self.leaves.push(self.g.param(name.as_str(), shape));
        self.leaves[self.leaves.len() - 1]
    }

    /// Windows of an image added up, or its elements repeated.
    fn sampled(&mut self, x: NodeId, factors: &[usize], up: bool) -> NodeId {
        if up {
            return self.g.repeat_elements(x, factors);
        }
        let (parts, within) = self.g.split_windows(x, factors);
        let sums = self.g.sum(parts, &within);
        self.g.join_windows(sums)
    }

    /// Outputs: the sum of squares of `y`, its gradients by all leaves, and those of their norm.
    fn differentiated(mut self, y: NodeId) -> Self {
        let g = &mut self.g;
        let square = g.mul(y, y);
        let loss = g.sum_all(square);
        let first = grad_or_zeros(g, loss, None, &self.leaves);
        let mut norm = g.scalar(0.0);
        for &d in &first {
            let square = g.mul(d, d);
            let all = g.sum_all(square);
            norm = g.add(norm, all);
        }
        let second = grad_or_zeros(g, norm, None, &self.leaves);
        g.output("y", y);
        for (order, list) in [first, second].iter().enumerate() {
            list.iter().enumerate().for_each(|(i, &d)| g.output(format!("d{order}.{i}"), d));
        }
        self
    }

    /// The graph after the pass, which has the same values.
    fn same(&self) -> Graph {
        let after = resample_worth(&self.g, 0);
        assert_eq!(verify::verify(&after), Ok(()));
        let values = |g: &Graph| eval_outputs(g, &self.env).expect("values");
        for ((name, a), (_, b)) in values(&self.g).iter().zip(&values(&after)) {
            let most = a.data.iter().fold(1.0f64, |m, v| m.max(v.abs()));
            for (a, b) in a.data.iter().zip(b.data.iter()) {
                assert!((a - b).abs() <= 1e-12 * most, "{name}: {a} became {b}");
            }
        }
        after
    }
}

fn geometry(c: usize, o: usize, groups: usize, input: &[usize], kernel: &[usize], pad: &[usize]) -> Arc<ConvGeom> {
    let output = (0..input.len()).map(|i| input[i] + 2 * pad[i] + 1 - kernel[i]).collect();
    let ones = vec![1; input.len()];
    let (input, kernel, pad) = (input.to_vec(), kernel.to_vec(), pad.to_vec());
    let layout = Layout::ChannelsFirst;
    Arc::new(ConvGeom {
        n: 2,
        c,
        o,
        groups,
        input,
        kernel,
        output,
        stride: ones.clone(),
        pad,
        dilation: ones,
        layout,
    })
}

/// Upsampling, then a convolution; a convolution with a bias, then pooling; both also transposed. The share of
/// multiply-adds that is left.
fn share(
    up: bool,
    transposed: bool,
    groups: usize,
    coarse: &[usize],
    k: &[usize],
    p: &[usize],
    f: &[usize],
) -> f64 {
    let mut case = Case::new();
    let fine: Vec<usize> = coarse.iter().zip(f).map(|(d, f)| d * f).collect();
    // The fine image is what a convolution reads or makes, a transposed one the other way round.
    let grown = |i: usize| fine[i] + k[i] - 1 - 2 * p[i];
    let input: Vec<usize> = if up == transposed { (0..fine.len()).map(grown).collect() } else { fine.clone() };
    let g = geometry(2 * groups, 3 * groups, groups, &input, k, p);
    let w = case.leaf(&g.w_shape());
    let (from, to) = if transposed { (g.y_shape(), g.x_shape()) } else { (g.x_shape(), g.y_shape()) };
    let mut at = from;
    if up {
        at.splice(2.., coarse.iter().copied());
    }
    let x = case.leaf(&at);
    let x = if up { case.sampled(x, f, true) } else { x };
    let mut y = if transposed { case.g.conv_data_grad(x, w, g) } else { case.g.conv_fwd(x, w, g) };
    if !up {
        let bias = case.leaf(&[&[1, to[1]][..], &vec![1; f.len()]].concat());
        y = case.g.add(y, bias);
        y = case.sampled(y, f, false);
        y = case.g.scale(y, 0.25);
    }
    let case = case.differentiated(y);
    work(&case.same()) as f64 / work(&case.g) as f64
}

#[test]
fn sampling_beside_3_by_3_weights_takes_four_ninths() {
    for (up, transposed) in [(false, false), (false, true), (true, false), (true, true)] {
        let left = share(up, transposed, 1, &[3, 5], &[3, 3], &[1, 1], &[2, 2]);
        assert!((left - 4.0 / 9.0).abs() < 1e-9, "up {up}, transposed {transposed}: {left}");
    }
}

#[test]
fn every_geometry_keeps_its_values() {
    let mut lists = vec![];
    for k in 1..=4 {
        for f in 1..=4 {
            lists.push((vec![k], vec![f]));
            lists.push((vec![k, 3], vec![f, 2]));
            lists.push((vec![3, k], vec![1, f]));
        }
    }
    lists.push((vec![3, 2, 1], vec![2, 1, 2]));
    lists.push((vec![1, 1, 1], vec![2, 2, 1]));
    lists.push((vec![3, 3], vec![5, 5]));
    lists.push((vec![1, 1], vec![8, 3]));
    let product = |v: &[usize]| v.iter().product::<usize>() as f64;
    for (k, f) in lists {
        for groups in [1, 2] {
            for (up, transposed) in [(false, false), (false, true), (true, false), (true, true)] {
                for pads in [[0; 3], [1; 3], [3, 2, 1]] {
                    let p: Vec<usize> = k.iter().zip(pads).map(|(k, p)| p.min(k - 1)).collect();
                    let coarse: Vec<usize> = [3, 2, 2][..k.len()].to_vec();
                    // With room for the kernel where padding takes it away.
                    let coarse: Vec<usize> = coarse.iter().zip(&k).map(|(d, k)| d + k).collect();
                    let left = share(up, transposed, groups, &coarse, &k, &p, &f);
                    // Where x is the sampled image, channels of wide weights change places: not in groups.
                    let few = product(&f) <= 16.0 || product(&k) == 1.0;
                    let may = product(&f) > 1.0 && few && (groups == 1 || product(&k) == 1.0 || up == transposed);
                    let each = |i: usize| {
                        let (fine, wide) = (coarse[i] * f[i], coarse[i] * (k[i] + f[i] - 1));
                        // Multiply-adds are counted by positions of y.
                        let output = if up == transposed { fine } else { fine + 2 * p[i] + 1 - k[i] };
                        if product(&k) == 1.0 { 1.0 / f[i] as f64 } else { wide as f64 / (output * k[i]) as f64 }
                    };
                    let least: f64 = (0..k.len()).map(each).product();
                    let want = if may { least.min(1.0) } else { 1.0 };
                    let what =
                        format!("kernel {k:?}, factors {f:?}, pad {p:?}, groups {groups}, {up} {transposed}");
                    assert!((left - want).abs() < 1e-9, "{what}: {left} of the products, not {want}");
                }
            }
        }
    }
}

/// A convolution between upsampling and pooling that are both there, of images that a rule must leave alone.
fn untouched(change: impl Fn(&mut ConvGeom)) {
    for (up, transposed) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut case = Case::new();
        let mut g = (*geometry(3, 4, 1, &[12, 12], &[3, 3], &[1, 1])).clone();
        change(&mut g);
        let g = Arc::new(g);
        let w = case.leaf(&g.w_shape());
        let mut from = if transposed { g.y_shape() } else { g.x_shape() };
        if up {
            from[2..].iter_mut().for_each(|d| *d /= 2);
        }
        let x = case.leaf(&from);
        let x = if up { case.sampled(x, &[2, 2], true) } else { x };
        let mut y = if transposed { case.g.conv_data_grad(x, w, g) } else { case.g.conv_fwd(x, w, g) };
        if !up {
            y = case.sampled(y, &[2, 2], false);
        }
        let case = case.differentiated(y);
        assert_eq!(work(&case.same()), work(&case.g), "up {up}, transposed {transposed}");
    }
}

#[test]
fn strides_dilations_and_other_layouts_stay() {
    untouched(|g| {
        g.stride = vec![2, 1];
        g.output[0] /= 2;
    });
    untouched(|g| {
        g.dilation = vec![1, 2];
        g.pad[1] = 2;
    });
    // As they lie for an executor: axes 2 and 3 are not both positions then.
    untouched(|g| (g.layout, g.c, g.o, g.input[1], g.output[1]) = (Layout::ChannelsLast, 12, 12, 2, 2));
}

#[test]
fn uneven_padding_and_repeated_constants_keep_their_values() {
    // `pad: same` with an even kernel; more padding than the kernel reaches; what is repeated is itself a broadcast.
    for (kernel, pad, output, wide) in [(2, 0, 8, true), (4, 1, 8, true), (3, 3, 12, false), (3, 2, 10, true)] {
        for up in [false, true] {
            let mut g = (*geometry(3, 4, 1, &[8], &[kernel], &[0])).clone();
            (g.pad, g.output) = (vec![pad], vec![output]);
            let g = Arc::new(g);
            let mut case = Case::new();
            let w = case.leaf(&g.w_shape());
            let y = if up {
                let x = case.leaf(&[1, 3, 1]);
                let x = case.g.broadcast(x, &[2, 3, 4]);
                let x = case.sampled(x, &[2], true);
                case.g.conv_fwd(x, w, g)
            } else {
                let x = case.leaf(&g.x_shape());
                let y = case.g.conv_fwd(x, w, g);
                case.sampled(y, &[2], false)
            };
            let case = case.differentiated(y);
            let fewer = work(&case.same()) < work(&case.g);
            assert_eq!(fewer, wide || !up, "kernel {kernel}, pad {pad}, up {up}");
        }
    }
}

#[test]
fn an_average_leaves_no_factor_and_overflows_no_half() {
    let mut case = Case::new();
    let g = geometry(1, 1, 1, &[8, 8], &[3, 3], &[1, 1]);
    let x = case.leaf(&g.x_shape());
    let w = case.leaf(&g.w_shape());
    let y = case.g.conv_fwd(x, w, g);
    let (parts, within) = case.g.split_windows(y, &[4, 4]);
    let y = case.g.mean(parts, &within);
    let y = case.g.join_windows(y);
    case.g.output("y", y);
    let joined = resample_worth(&case.g, 0);
    let simple = passes::run(joined.clone(), &passes::Options::default());
    let scaled = |g: &Graph| {
        let of_image = |n: &&ganc::graph::Node| n.op == Op::Binary(ganc::graph::Binary::Mul) && n.ty.shape[0] == 2;
        g.nodes().iter().filter(of_image).count()
    };
    assert_eq!(scaled(&simple), 0, "{}", ganc::graph::text::print(&simple));
    // Each result is 9 * 5000 and fits f16; sixteen of them would not.
    let halves = precision(&joined, &|_| Some(Rounded::F16));
    let full = |shape: &[usize], v: f64| Tensor::f32(shape, vec![v; shape.iter().product()]);
    let env = Env::new().param("p0", full(&[2, 1, 8, 8], 5000.0)).param("p1", full(&[1, 1, 3, 3], 1.0));
    let values = eval_outputs(&halves, &env).expect("values");
    assert!(values[0].1.data.iter().all(|v| v.is_finite()), "{:?}", values[0].1.data);
}

#[test]
fn rounded_operands_and_small_images_stay() {
    let build = |n: usize| {
        let mut case = Case::new();
        let mut g = (*geometry(8, 8, 1, &[8, 8], &[3, 3], &[1, 1])).clone();
        g.n = n;
        let g = Arc::new(g);
        let (x, w) = (case.leaf(&[n, 8, 4, 4]), case.leaf(&g.w_shape()));
        let x = case.sampled(x, &[2, 2], true);
        let y = case.g.conv_fwd(x, w, g);
        case.g.output("y", y);
        case.g
    };
    // By 256 operations for each of 4 x 4 weights: 640 times the batch of images of 4 x 4 are saved for 16.
    assert_eq!(work(&resample(&build(6))), work(&build(6)));
    assert!(work(&resample(&build(7))) < work(&build(7)));
    for to in [Rounded::Tf32, Rounded::Bf16] {
        let rounded = precision(&build(7), &|_| Some(to));
        assert_eq!(work(&resample_worth(&rounded, 0)), work(&rounded), "{to:?}");
    }
}

#[test]
fn pooling_of_a_sum_reaches_the_convolutions_in_it() {
    // The judge's blocks where pooling comes after the shortcut has been added (Brock et al. 2019).
    let mut case = Case::new();
    let x = case.leaf(&[2, 3, 6, 6]);
    let (wide, point) =
        (geometry(3, 4, 1, &[6, 6], &[3, 3], &[1, 1]), geometry(3, 4, 1, &[6, 6], &[1, 1], &[0, 0]));
    let (w, v) = (case.leaf(&wide.w_shape()), case.leaf(&point.w_shape()));
    let y = case.g.conv_fwd(x, w, wide);
    let shortcut = case.g.conv_fwd(x, v, point);
    let sum = case.g.add(y, shortcut);
    let y = case.sampled(sum, &[2, 2], false);
    case.g.output("y", y);
    let left = work(&case.same()) as f64 / work(&case.g) as f64;
    assert!((left - (4.0 + 0.25) / 10.0).abs() < 1e-9, "{left}");
}

#[test]
fn what_is_read_elsewhere_stays() {
    let mut case = Case::new();
    let x = case.leaf(&[2, 3, 6]);
    let g = geometry(3, 4, 1, &[6], &[3], &[1]);
    let w = case.leaf(&g.w_shape());
    let y = case.g.conv_fwd(x, w, g);
    let pooled = case.sampled(y, &[2], false);
    case.g.output("y", y);
    case.g.output("pooled", pooled);
    assert_eq!(work(&case.same()), work(&case.g));
}
