//! Kernels of products as text: run on the CPU (g++ and `tests/cuda/`) and compared with the oracle, which evaluates
//! the same graph in f64; and compiled by NVRTC where it is found.

use crate::cuda::emulate::{Binary, Call, Region, decode, encode, prefix};
use crate::cuda::nvrtc;
use crate::cuda::text::parts;
use ganc::codegen::cuda::contract::tiles::{Choice, Tile, choices};
use ganc::codegen::cuda::contract::tuning::Tuning;
use ganc::codegen::cuda::{Arch, Arg, KERNEL, Module, PLAN, generate_tuned};
use ganc::fuse::{
    Affine, Body, Cluster, Clusters, IndexMap, Kind, Lower, Operand, Product, Sink, Work, domain_of, map_of,
};
use ganc::graph::eval::{Env, Tensor, apply, eval_outputs, round};
use ganc::graph::{Binary as Op2, ContractDims, ConvGeom, DType, Graph, Layout, NodeId, Op, Type, Unary};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

/// A graph with one product; what it computes of the product's elements are its outputs.
pub struct Case {
    name: String,
    graph: Graph,
    product: NodeId,
    /// Allowed error in units of the largest result.
    tolerance: f64,
    /// Whether operands lie in memory as they were rounded to tf32, instead of being rounded where they are read.
    rounded: bool,
}

/// An argument of a product with everything that leads to it computed where it is read.
fn operand(g: &Graph, n: NodeId, stored: &dyn Fn(NodeId) -> bool) -> Operand {
    let shape = g.shape(n).to_vec();
    let mut lower = Lower::new(g, stored, &shape);
    lower.value(n, &IndexMap::identity(shape.len()), None);
    Operand { shape, body: lower.body }
}

/// The outputs as an epilogue of the product; none if the product is the only one.
fn epilogue(g: &Graph, product: NodeId, leaf: &dyn Fn(NodeId) -> bool) -> Option<Body> {
    if g.outputs.len() == 1 && g.outputs[0].1 == product {
        return None;
    }
    let stored = |n: NodeId| leaf(n) || n == product;
    let domain = domain_of(g.shape(product));
    let mut lower = Lower::new(g, &stored, &domain);
    for (_, n) in &g.outputs {
        let reg = lower.value(*n, &map_of(g.shape(*n)), (*n != product).then_some(*n));
        lower.body.sinks.push(Sink::Store { node: *n, reg, at: Affine::row_major(&domain), prefill: None });
    }
    Some(lower.body)
}

impl Case {
    fn is_leaf(&self, n: NodeId) -> bool {
        let op = &self.graph.node(n).op;
        matches!(op, Op::Input(_)) || (self.rounded && matches!(op, Op::Unary(Unary::Tf32)))
    }

    fn cluster(&self) -> Cluster {
        let g = &self.graph;
        let leaf = |n: NodeId| self.is_leaf(n);
        let node = g.node(self.product);
        let product = match &node.op {
            Op::Contract(d) => Product::Dot(d.clone()),
            Op::ConvFwd(c) => Product::ConvFwd(c.clone()),
            Op::ConvDataGrad(c) => Product::ConvDataGrad(c.clone()),
            Op::ConvWeightGrad(c) => Product::ConvWeightGrad(c.clone()),
            other => panic!("{other:?} is no product"),
        };
        let (lhs, rhs) = (operand(g, node.args[0], &leaf), operand(g, node.args[1], &leaf));
        let epilogue = epilogue(g, self.product, &leaf);
        let reads = g.ids().filter(|&n| leaf(n)).collect();
        let writes = g.outputs.iter().map(|o| o.1).collect();
        Cluster {
            kind: Kind::Contract,
            work: Work::Contract { node: self.product, product, lhs, rhs, epilogue },
            writes,
            reads,
        }
    }

    /// The program.
    pub fn module(&self, arch: Arch) -> Module {
        self.tuned(arch, &Tuning::default())
    }

    /// The program with tiles that somebody chose.
    pub fn tuned(&self, arch: Arch, tuning: &Tuning) -> Module {
        let stored = self.graph.ids().map(|n| self.is_leaf(n) || n == self.product).collect();
        let clusters = Clusters { fused: true, clusters: vec![self.cluster()], stored, refusals: vec![] };
        generate_tuned(&self.graph, &ganc::plan::plan(&self.graph, clusters, PLAN), arch, tuning)
    }

    /// Values of the inputs: reproducible, rounded to their types, of either sign.
    fn env(&self) -> Env {
        let mut env = Env::new();
        let mut state = 12345u32;
        for n in self.graph.ids() {
            if let Op::Input(name) = &self.graph.node(n).op {
                let ty = self.graph.ty(n).clone();
                let values = (0..ty.elements()).map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    round(f64::from(state >> 8) / f64::from(1 << 23) - 1.0, ty.dtype)
                });
                env.inputs.insert(name.clone(), Tensor::new(ty.clone(), values.collect()));
            }
        }
        env
    }
}

/// Runs cases on the CPU, every second one with threads in random order, and compares them with the oracle.
fn check(cases: &[Case], arch: Arch) {
    let modules: Vec<Module> = cases.iter().map(|c| c.module(arch)).collect();
    check_modules(&cases.iter().zip(&modules).collect::<Vec<_>>());
}

pub fn check_modules(cases: &[(&Case, &Module)]) {
    let binary = Binary::new(&cases.iter().map(|c| c.1).collect::<Vec<_>>());
    for (i, &(case, module)) in cases.iter().enumerate() {
        let (g, env) = (&case.graph, case.env());
        let mut places: BTreeMap<NodeId, usize> = BTreeMap::new();
        let mut regions: Vec<Region> = vec![];
        for n in g.ids() {
            let ty = g.ty(n);
            let data = match &g.node(n).op {
                Op::Input(name) => encode(&env.inputs[name].data, ty.dtype),
                Op::Unary(Unary::Tf32) if case.rounded => {
                    let Op::Input(name) = &g.node(g.node(n).args[0]).op else { panic!("an input is rounded") };
                    encode(&apply(g.node(n), &[env.inputs[name].clone()]).data, ty.dtype)
                }
                _ if g.outputs.iter().any(|o| o.1 == n) => vec![],
                _ => continue,
            };
            places.insert(n, regions.len());
            regions.push(Region { bytes: ty.bytes(), data });
        }
        let scratch = regions.len();
        regions.push(Region { bytes: module.workspace, data: vec![] });
        let calls: Vec<Call> = module
            .launches
            .iter()
            .map(|l| {
                let place = |a: &Arg| match a {
                    Arg::Node(n) => (places[n], 0),
                    Arg::Scratch(at) => (scratch, *at),
                    Arg::U32(_) => panic!("products take no numbers"),
                };
                let args = l.args.iter().map(place).collect();
                Call { kernel: prefix(i) + &l.kernel, grid: l.grid, block: l.block, shared: l.shared, args }
            })
            .collect();
        let after =
            binary.run((i % 2 * 7) as u32, &regions, &calls).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let want = eval_outputs(g, &env).expect("the oracle computes it");
        for ((name, n), (_, want)) in g.outputs.iter().zip(&want) {
            let dtype = g.ty(*n).dtype;
            let got = decode(&after[places[n]], dtype);
            let scale = want.data.iter().fold(1.0f64, |m, v| m.max(v.abs()));
            for (i, (g, w)) in got.iter().zip(want.data.iter()).enumerate() {
                assert!((g - w).abs() <= case.tolerance * scale, "{}: {name}[{i}] is {g}, not {w}", case.name);
            }
        }
    }
}

fn input(g: &mut Graph, name: &str, dtype: DType, shape: &[usize]) -> NodeId {
    g.intern(Op::Input(name.into()), vec![], Type::new(dtype, shape.to_vec()))
}

/// `a[m, k] b[k, n]`, each perhaps the transpose of what lies in memory.
pub fn matmul(dtype: DType, [m, k, n]: [usize; 3], turned: [bool; 2]) -> Case {
    let mut g = Graph::new();
    let pick = |t: bool, s: [usize; 2]| if t { vec![s[1], s[0]] } else { s.to_vec() };
    let a = input(&mut g, "a", dtype, &pick(turned[0], [m, k]));
    let b = input(&mut g, "b", dtype, &pick(turned[1], [k, n]));
    let pair = (usize::from(!turned[0]), usize::from(turned[1]));
    let product = g.contract(a, b, ContractDims { batch: vec![], contracted: vec![pair] });
    g.output("y", product);
    Case {
        name: format!("matmul {} {m} {k} {n} {turned:?}", dtype.name()),
        graph: g,
        product,
        tolerance: 2e-6,
        rounded: false,
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Role {
    Forward,
    DataGrad,
    WeightGrad,
}

/// `[n, c, o, groups]`, and of each axis `[input, kernel, stride, pad, dilation]`.
pub fn geometry([n, c, o, groups]: [usize; 4], axes: &[[usize; 5]], layout: Layout) -> ConvGeom {
    let pick = |i: usize| axes.iter().map(|a| a[i]).collect::<Vec<_>>();
    let output = axes.iter().map(|[i, k, s, p, d]| (i + 2 * p - d * (k - 1) - 1) / s + 1).collect();
    ConvGeom {
        n,
        c,
        o,
        groups,
        input: pick(0),
        kernel: pick(1),
        output,
        stride: pick(2),
        pad: pick(3),
        dilation: pick(4),
        layout,
    }
}

pub fn conv(dtype: DType, geom: &ConvGeom, role: Role) -> Case {
    let mut g = Graph::new();
    let c = Arc::new(geom.clone());
    let product = match role {
        Role::Forward => {
            let (x, w) = (input(&mut g, "x", dtype, &c.x_shape()), input(&mut g, "w", dtype, &c.w_shape()));
            g.conv_fwd(x, w, c)
        }
        Role::DataGrad => {
            let (y, w) = (input(&mut g, "y", dtype, &c.y_shape()), input(&mut g, "w", dtype, &c.w_shape()));
            g.conv_data_grad(y, w, c)
        }
        Role::WeightGrad => {
            let (x, y) = (input(&mut g, "x", dtype, &c.x_shape()), input(&mut g, "y", dtype, &c.y_shape()));
            g.conv_weight_grad(x, y, c)
        }
    };
    g.output("out", product);
    Case { name: format!("{role:?} {} {geom:?}", dtype.name()), graph: g, product, tolerance: 4e-6, rounded: false }
}

const ALL_TYPES: [DType; 3] = [DType::F32, DType::Bf16, DType::F16];
const TURNS: [[bool; 2]; 4] = [[false, false], [false, true], [true, false], [true, true]];

#[test]
fn matrix_products_of_any_extent_and_order() {
    let mut cases = vec![];
    for (i, dtype) in ALL_TYPES.into_iter().enumerate() {
        for (j, shape) in [[1, 1, 1], [7, 31, 33], [33, 7, 1], [64, 48, 40], [130, 72, 136], [31, 400, 16]]
            .into_iter()
            .enumerate()
        {
            // Each shape meets two of the four orders in each type, all four in all.
            for t in [0, 3] {
                cases.push(matmul(dtype, shape, TURNS[(i + j + t) % 4]));
            }
        }
    }
    // A sum of nothing.
    cases.push(matmul(DType::F32, [7, 0, 33], TURNS[2]));
    check(&cases, Arch::Sm80);
}

#[test]
fn convolutions_of_any_geometry() {
    let last = Layout::ChannelsLast;
    let geoms = [
        // A first layer, a last layer, an inner one.
        geometry([2, 3, 16, 1], &[[8, 4, 2, 1, 1], [8, 4, 2, 1, 1]], last),
        geometry([2, 16, 1, 1], &[[8, 4, 2, 1, 1], [8, 4, 2, 1, 1]], last),
        geometry([3, 8, 16, 1], &[[7, 3, 1, 1, 1], [7, 3, 1, 1, 1]], last),
        // Stride that does not divide, dilation, groups, one and three axes, channels first.
        geometry([2, 4, 5, 1], &[[9, 3, 2, 0, 1], [7, 3, 3, 2, 1]], last),
        geometry([1, 6, 4, 2], &[[9, 3, 2, 2, 2], [8, 2, 1, 0, 3]], last),
        geometry([2, 2, 3, 1], &[[31, 5, 2, 2, 1]], last),
        geometry([1, 2, 4, 1], &[[5, 2, 2, 0, 1], [4, 3, 1, 1, 1], [3, 2, 1, 1, 1]], last),
        geometry([2, 3, 4, 1], &[[6, 3, 1, 1, 1], [5, 3, 1, 1, 1]], Layout::ChannelsFirst),
        geometry([4, 8, 1, 1], &[[4, 4, 1, 0, 1], [4, 4, 1, 0, 1]], last),
        // Weights that are worth a kernel that packs them.
        geometry([4, 16, 48, 1], &[[20, 3, 1, 1, 1], [20, 3, 1, 1, 1]], last),
    ];
    let mut cases = vec![];
    for (i, geom) in geoms.iter().enumerate() {
        for (j, role) in [Role::Forward, Role::DataGrad, Role::WeightGrad].into_iter().enumerate() {
            cases.push(conv(DType::F32, geom, role));
            cases.push(conv([DType::Bf16, DType::F16][(i + j) % 2], geom, role));
        }
    }
    check(&cases, Arch::Sm80);
}

/// `wgmma` with tiles of 64 rows and more, edges included, operands along the sum and across it.
#[test]
fn products_of_groups_of_warps() {
    let mut cases = vec![];
    for (i, dtype) in [DType::Bf16, DType::F16].into_iter().enumerate() {
        cases.extend(TURNS.map(|t| matmul(dtype, [[1030, 200, 136], [1090, 136, 264]][i], t)));
        let geom = geometry([16, 96, 200, 1], &[[9, 3, 1, 1, 1], [8, 4, 2, 1, 1]], Layout::ChannelsLast);
        cases.extend([Role::Forward, Role::DataGrad, Role::WeightGrad].map(|r| conv(dtype, &geom, r)));
        // Many rows: the largest tile.
        cases.push(matmul(dtype, [128 * 140, 128, 72], TURNS[2 * i]));
    }
    for case in &cases {
        assert!(case.module(Arch::Sm90a).text.contains(", 1> Shape;"), "{}: not by groups", case.name);
    }
    check(&cases, Arch::Sm90a);
}

/// The same in tf32, whose tiles lie along the sum: operands that do not are turned on the way. Every tile, with one part
/// and with some.
#[test]
fn tf32_products_of_groups_of_warps() {
    let mut cases = Vec::from(TURNS.map(|t| matmul(DType::F32, [200, 264, 136], t)));
    let geom = geometry([16, 96, 200, 1], &[[9, 3, 1, 1, 1], [8, 4, 2, 1, 1]], Layout::ChannelsLast);
    cases.extend([Role::Forward, Role::DataGrad, Role::WeightGrad].map(|r| conv(DType::F32, &geom, r)));
    let cases: Vec<Case> = cases.iter().map(|c| Case { rounded: true, ..in_tf32(c) }).collect();
    let mut modules = vec![];
    for (i, case) in cases.iter().enumerate() {
        let shape = case.module(Arch::Sm90a).products[0].shape;
        let ways = choices(shape.math, Arch::Sm90a, shape.size, true, shape.access);
        let mut seen: Vec<Tile> = vec![];
        for (choice, _) in ways.iter().filter(|w| w.0.tile.groups) {
            // Of the parts of every second tile the most, of the others none.
            let parts = (seen.len() + i).is_multiple_of(2);
            if seen.contains(&choice.tile) || parts != (choice.parts > 1) {
                continue;
            }
            seen.push(choice.tile);
            let mut tuning = Tuning::default();
            tuning.set(&shape, choice);
            let module = case.tuned(Arch::Sm90a, &tuning);
            assert_eq!(module.products[0].choice, *choice, "{}: {shape}", case.name);
            modules.push((case, module));
        }
        assert!(seen.len() >= 3, "{}: {} tiles", case.name, seen.len());
    }
    check_modules(&modules.iter().map(|m| (m.0, &m.1)).collect::<Vec<_>>());
}

/// What many tiles read across the sum is laid along it first, four rows at a time, if that is what tiles want: rows and
/// sums of no round extent, and a convolution of several blocks.
#[test]
fn tf32_operands_across_the_sum_are_laid_along_it() {
    let geom = geometry([32, 32, 36, 1], &[[16, 4, 2, 1, 1], [16, 4, 2, 1, 1]], Layout::AllLast);
    let cases = [matmul(DType::F32, [2100, 260, 72], [true, false]), conv(DType::F32, &geom, Role::DataGrad)]
        .map(|c| Case { rounded: true, ..in_tf32(&c) });
    let mut modules = vec![];
    for case in &cases {
        let shape = case.module(Arch::Sm90a).products[0].shape;
        let ways = choices(shape.math, Arch::Sm90a, shape.size, true, shape.access);
        let reads = |c: &Choice| shape.size.m.div_ceil(c.tile.m);
        let packed = |c: &Choice| shape.access[1].packed(shape.math, &c.tile, reads(c));
        let (choice, _) = ways.iter().find(|(c, _)| packed(c)).unwrap();
        let mut tuning = Tuning::default();
        tuning.set(&shape, choice);
        let module = case.tuned(Arch::Sm90a, &tuning);
        assert!(choice.tile.groups, "{}: {shape}, {choice}", case.name);
        assert!(!shape.access[1].along && shape.access[1].vector == 4, "{}: {shape}", case.name);
        assert!(module.text.contains("  ganc_pack<"), "{}: {}", case.name, module.text);
        modules.push((case, module));
    }
    check_modules(&modules.iter().map(|m| (m.0, &m.1)).collect::<Vec<_>>());
}

/// Two neighbours of two bytes are less than an access should be: such an operand is laid out anew, two rows at a time.
#[test]
fn packs_take_neighbouring_rows_together() {
    let case = matmul(DType::Bf16, [4200, 260, 70], [true, false]);
    let module = case.module(Arch::Sm90a);
    let access = module.products[0].shape.access[1];
    assert!(!access.along && access.vector == 2, "{access:?}");
    assert!(module.text.contains("  ganc_pack<264>(to + (long long)z * 18480, "), "{}", module.text);
    assert!(module.text.contains("at % 9240);"), "{}", module.text);
    check_modules(&[(&case, &module)]);
}

/// The same product of operands rounded to tf32.
pub fn in_tf32(case: &Case) -> Case {
    let graph = ganc::passes::precision(&case.graph, &|_| Some(ganc::passes::Rounded::Tf32));
    let product = graph.outputs[0].1;
    Case { name: format!("tf32 {}", case.name), graph, product, tolerance: case.tolerance, rounded: false }
}

#[test]
fn tf32_products_have_tensor_cores() {
    let mut cases: Vec<Case> = TURNS.map(|t| matmul(DType::F32, [130, 72, 136], t)).iter().map(in_tf32).collect();
    cases.push(in_tf32(&matmul(DType::F32, [7, 31, 33], TURNS[0])));
    let geom = geometry([3, 8, 16, 1], &[[7, 3, 1, 1, 1], [8, 4, 2, 1, 1]], Layout::ChannelsLast);
    cases.extend([Role::Forward, Role::DataGrad, Role::WeightGrad].map(|r| in_tf32(&conv(DType::F32, &geom, r))));
    for case in &cases {
        let text = case.module(Arch::Sm90a).text;
        assert!(text.contains("ganc_multiply<ganc_math_tf32, Shape>"), "{}", case.name);
    }
    check(&cases, Arch::Sm90a);
}

/// Whatever is measured to be the fastest is right: every tile once, with one part or with some.
#[test]
fn every_tile_of_the_table() {
    let geom = geometry([2, 24, 40, 1], &[[9, 3, 1, 1, 1], [8, 4, 2, 1, 1]], Layout::ChannelsLast);
    let tf32 = in_tf32(&matmul(DType::F32, [33, 600, 31], TURNS[1]));
    let all = [
        (matmul(DType::F32, [33, 600, 31], TURNS[0]), Arch::Sm80),
        (tf32, Arch::Sm80),
        (conv(DType::Bf16, &geom, Role::WeightGrad), Arch::Sm90a),
        (matmul(DType::F16, [65, 520, 72], TURNS[2]), Arch::Sm90a),
        // One column, and one row: the narrowest tiles.
        (matmul(DType::F32, [33, 300, 1], TURNS[3]), Arch::Sm80),
        (matmul(DType::F32, [1, 300, 33], TURNS[0]), Arch::Sm80),
    ];
    let mut modules = vec![];
    for (case, arch) in &all {
        let shape = case.module(*arch).products[0].shape;
        let mut seen = vec![];
        let ways = choices(shape.math, *arch, shape.size, true, shape.access);
        for (i, (choice, _)) in ways.iter().enumerate() {
            let last = ways.get(i + 1).is_none_or(|next| next.0.tile != choice.tile);
            // Of the parts of every second tile the most, of the others none.
            let wanted = if seen.len() % 2 == 0 { choice.parts == 1 } else { choice.parts > 1 || last };
            if wanted && !seen.contains(&choice.tile) {
                seen.push(choice.tile);
                let mut tuning = Tuning::default();
                tuning.set(&shape, choice);
                let module = case.tuned(*arch, &tuning);
                assert_eq!(module.products[0].choice, *choice, "{}: {shape}", case.name);
                modules.push((case, module));
            }
        }
        assert!(seen.len() >= 5, "{}: {} tiles", case.name, seen.len());
    }
    check_modules(&modules.iter().map(|m| (m.0, &m.1)).collect::<Vec<_>>());
}

#[test]
fn batches_and_several_axes() {
    let mut cases = vec![];
    for dtype in ALL_TYPES {
        // [b, m, k] [b, k, n]
        let mut g = Graph::new();
        let (a, b) = (input(&mut g, "a", dtype, &[3, 9, 16]), input(&mut g, "b", dtype, &[3, 16, 10]));
        let product = g.contract(a, b, ContractDims { batch: vec![(0, 0)], contracted: vec![(2, 1)] });
        g.output("y", product);
        cases.push(Case { name: "batch".into(), graph: g, product, tolerance: 2e-6, rounded: false });
        // Two contracted axes in different orders, two free ones.
        let mut g = Graph::new();
        let (a, b) = (input(&mut g, "a", dtype, &[5, 3, 4, 8]), input(&mut g, "b", dtype, &[8, 6, 3]));
        let product = g.contract(a, b, ContractDims { batch: vec![], contracted: vec![(1, 2), (3, 0)] });
        g.output("y", product);
        cases.push(Case { name: "axes".into(), graph: g, product, tolerance: 2e-6, rounded: false });
    }
    check(&cases, Arch::Sm80);
}

#[test]
fn prologues_and_epilogues() {
    let mut cases = vec![];
    for half in [DType::F32, DType::Bf16, DType::F16] {
        // Weights and activations kept in f32, rounded where they are read; bias and leaky ReLU on the way out.
        let mut g = Graph::new();
        let (a, b) = (input(&mut g, "a", DType::F32, &[33, 24]), input(&mut g, "b", DType::F32, &[24, 20]));
        let bias = input(&mut g, "bias", DType::F32, &[1, 20]);
        let a = if half == DType::F32 { a } else { g.cast(a, half) };
        let b = if half == DType::F32 { b } else { g.cast(b, half) };
        let product = g.matmul(a, b);
        let y = if g.ty(product).dtype == DType::F32 { product } else { g.cast(product, DType::F32) };
        let shift = g.broadcast(bias, &[33, 20]);
        let y = g.binary(Op2::Add, y, shift);
        let slope = g.splat(0.2, Type::f32([33, 20]));
        let small = g.binary(Op2::Mul, y, slope);
        let y = g.binary(Op2::Max, y, small);
        g.output("y", y);
        cases.push(Case {
            name: format!("dense {}", half.name()),
            graph: g,
            product,
            tolerance: 1e-2,
            rounded: false,
        });
        // A normalised activation computed in the loader of a convolution.
        let mut g = Graph::new();
        let geom = geometry([2, 4, 8, 1], &[[6, 3, 1, 1, 1], [5, 3, 1, 1, 1]], Layout::ChannelsLast);
        let x = input(&mut g, "x", DType::F32, &geom.x_shape());
        let scale = input(&mut g, "scale", DType::F32, &[1, 1, 1, 4]);
        let w = input(&mut g, "w", DType::F32, &geom.w_shape());
        let wide = g.broadcast(scale, &geom.x_shape());
        let x = g.binary(Op2::Mul, x, wide);
        let one = g.splat(1.0, Type::f32(geom.x_shape()));
        let x = g.binary(Op2::Add, x, one);
        let (x, w) = if half == DType::F32 { (x, w) } else { (g.cast(x, half), g.cast(w, half)) };
        let product = g.conv_fwd(x, w, Arc::new(geom));
        g.output("y", product);
        cases.push(Case {
            name: format!("loader {}", half.name()),
            graph: g,
            product,
            tolerance: 4e-6,
            rounded: false,
        });
    }
    // Two results of one product.
    let mut case = matmul(DType::F32, [40, 16, 12], [false, false]);
    let y = case.graph.unary(Unary::Tanh, case.product);
    case.graph.output("tanh", y);
    cases.push(case);
    check(&cases, Arch::Sm80);
}

#[test]
fn long_sums_are_cut_into_parts_that_are_added_in_order() {
    let mut cases = vec![];
    for dtype in ALL_TYPES {
        cases.push(matmul(dtype, [24, 20_000, 20], [true, false]));
        let geom = geometry([48, 4, 8, 1], &[[32, 4, 2, 1, 1], [32, 4, 2, 1, 1]], Layout::ChannelsLast);
        cases.push(conv(dtype, &geom, Role::WeightGrad));
    }
    let mut ways = [0; 2];
    for case in &cases {
        let kernels = case.module(Arch::Sm80);
        // By the last block of a tile, or by another kernel where parts are many.
        let last = kernels.text.contains("if (!ganc_gather<Shape, ");
        ways[last as usize] += 1;
        assert!(last || kernels.launches.iter().any(|l| l.kernel.ends_with("add_parts")), "{}", case.name);
    }
    assert!(ways.iter().all(|&n| n > 0), "{ways:?}");
    check(&cases, Arch::Sm80);
}

/// Products of the workloads: DCGAN on 64x64 pictures, a residual network of 128 filters on 32x32, an MLP.
fn workloads(dtype: DType) -> Vec<Case> {
    let last = Layout::ChannelsLast;
    let deep =
        |c: usize, o: usize, size: usize| geometry([128, c, o, 1], &[[size, 4, 2, 1, 1], [size, 4, 2, 1, 1]], last);
    let geoms = [
        deep(3, 64, 64),
        deep(64, 128, 32),
        deep(128, 256, 16),
        deep(256, 512, 8),
        geometry([128, 512, 1, 1], &[[4, 4, 1, 0, 1], [4, 4, 1, 0, 1]], last),
        geometry([64, 128, 128, 1], &[[32, 3, 1, 1, 1], [32, 3, 1, 1, 1]], last),
        geometry([64, 128, 128, 1], &[[32, 1, 1, 0, 1], [32, 1, 1, 0, 1]], last),
        geometry([64, 128, 3, 1], &[[32, 3, 1, 1, 1], [32, 3, 1, 1, 1]], last),
    ];
    let mut cases = vec![];
    for geom in &geoms {
        cases.extend([Role::Forward, Role::DataGrad, Role::WeightGrad].map(|role| conv(dtype, geom, role)));
    }
    for shape in [[512, 256, 128], [512, 128, 2], [128, 512, 128], [64, 128, 4096], [128, 100, 6272]] {
        cases.extend(TURNS.map(|t| matmul(dtype, shape, t)));
    }
    cases
}

#[test]
fn no_tile_spills_registers() {
    let Some(nvrtc) = nvrtc::find() else { return };
    for (arch, target, dtype, tf32) in [
        (Arch::Sm80, "sm_80", DType::F32, false),
        (Arch::Sm80, "sm_80", DType::F32, true),
        (Arch::Sm90a, "sm_90a", DType::F32, true),
        (Arch::Sm90a, "sm_90a", DType::Bf16, false),
    ] {
        let cases = workloads(dtype);
        let module = |c: &Case| if tf32 { in_tf32(c).module(arch) } else { c.module(arch) };
        let modules: Vec<Module> = cases.iter().map(module).collect();
        let mut text = parts(&modules[0]).0;
        let mut known = std::collections::BTreeSet::new();
        for (name, kernel) in modules.iter().flat_map(|m| parts(m).1) {
            if known.insert(kernel.clone()) {
                text.push_str(&kernel.replace(&name, &format!("k{}", known.len())));
            }
        }
        let usage = nvrtc.compile(&text, target).unwrap_or_else(|e| panic!("{target}: {e}")).1;
        assert!(usage.len() >= known.len());
        for u in usage {
            assert!(u.spilled == 0 && u.registers <= 255, "{target} {} {tf32}: {u:?}", dtype.name());
        }
    }
}

/// A C array.
fn table(name: &str, values: impl Iterator<Item = usize>) -> String {
    let values: Vec<String> = values.map(|v| v.to_string()).collect();
    format!("  const unsigned char {name}[] = {{{}}};\n", values.join(", "))
}

/// Row and column of element `i` of a fragment that lane `lane` holds, as the PTX manual gives them.
type At = fn(lane: usize, i: usize) -> [usize; 2];

/// `m16n8k16` with 16-bit operands: a, b, c.
const HALVES: [(At, usize); 3] = [
    (|l, i| [l / 4 + if (i / 2) % 2 == 0 { 0 } else { 8 }, l % 4 * 2 + i % 2 + if i < 4 { 0 } else { 8 }], 8),
    (|l, i| [l % 4 * 2 + i % 2 + if i < 2 { 0 } else { 8 }, l / 4], 4),
    (|l, i| [l / 4 + if i < 2 { 0 } else { 8 }, l % 4 * 2 + i % 2], 4),
];

/// `m16n8k8` with tf32 operands.
const WORDS: [(At, usize); 3] = [
    (|l, i| [l / 4 + if i % 2 == 0 { 0 } else { 8 }, l % 4 + if i < 2 { 0 } else { 4 }], 4),
    (|l, i| [l % 4 + if i == 0 { 0 } else { 4 }, l / 4], 2),
    HALVES[2],
];

/// A kernel that multiplies two matrices with one instruction, its fragments filled and stored by tables.
fn one_instruction(kernel: &str, math: &str, element: &str, k: usize, tables: &[(At, usize); 3]) -> String {
    let mut s = format!(
        "{KERNEL}{kernel}\nextern \"C\" __global__ void __launch_bounds__(32) {kernel}(float* c, const {element}* a, const {element}* b) {{\n"
    );
    let widths = [k, 8, 8];
    for (name, ((at, count), width)) in ["ta", "tb", "tc"].iter().zip(tables.iter().zip(widths)) {
        let all = (0..32).flat_map(|l| (0..*count).map(move |i| (l, i)));
        s.push_str(&table(name, all.map(|(l, i)| at(l, i)[0] * width + at(l, i)[1])));
    }
    let (na, nb) = (tables[0].1, tables[1].1);
    let _ = write!(
        s,
        "  const int l = threadIdx.x;\n  {element} x[{na}], y[{nb}];\n  unsigned xs[4], ys[2];\n  \
         float z[4] = {{0.0f, 0.0f, 0.0f, 0.0f}};\n  \
         for (int i = 0; i < {na}; ++i) x[i] = a[ta[l * {na} + i]];\n  \
         for (int i = 0; i < {nb}; ++i) y[i] = b[tb[l * {nb} + i]];\n  \
         memcpy(xs, x, 16);\n  memcpy(ys, y, 8);\n  {math}(z, xs, ys);\n  \
         for (int i = 0; i < 4; ++i) c[tc[l * 4 + i]] = z[i];\n}}\n"
    );
    s
}

#[test]
fn words_of_tensor_cores_hold_what_the_manual_says() {
    let mut text = parts(&matmul(DType::F32, [1, 1, 1], [false, false]).module(Arch::Sm80)).0;
    text.push_str(&one_instruction("bf16", "ganc_mma_bf16", "unsigned short", 16, &HALVES));
    text.push_str(&one_instruction("f16", "ganc_mma_f16", "unsigned short", 16, &HALVES));
    text.push_str(&one_instruction("tf32", "ganc_mma_tf32", "float", 8, &WORDS));
    let _ = write!(
        text,
        "{KERNEL}matrices
extern \"C\" __global__ void __launch_bounds__(32) matrices(unsigned* to) {{
  extern __shared__ __align__(128) unsigned char ganc_shared[];
  unsigned short* const s = (unsigned short*)ganc_shared;
  const int l = threadIdx.x;
  for (int i = l; i < 256; i += 32) s[i] = (unsigned short)i;
  __syncthreads();
  ganc_matrices(to + 8 * l, s + 8 * l);
  ganc_matrices_turned(to + 8 * l + 4, s + 8 * l);
}}
"
    );
    let binary = Binary::new(&[&Module { text, launches: vec![], workspace: 0, products: vec![] }]);
    let call = |name: &str, count: usize| Call {
        kernel: prefix(0) + name,
        grid: [1; 3],
        block: [32, 1, 1],
        shared: 512,
        args: (0..count).map(|i| (i, 0)).collect(),
    };
    let a = |i: usize| (i * 37 % 19) as f64 - 9.0;
    let b = |i: usize| (i * 23 % 17) as f64 - 8.0;
    for (dtype, name, k) in [(DType::Bf16, "bf16", 16), (DType::F16, "f16", 16), (DType::F32, "tf32", 8)] {
        let region = |count: usize, value: &dyn Fn(usize) -> f64| {
            let data = encode(&(0..count).map(value).collect::<Vec<_>>(), dtype);
            Region { bytes: data.len(), data }
        };
        let regions = [Region { bytes: 512, data: vec![] }, region(16 * k, &a), region(k * 8, &b)];
        let after = binary.run(0, &regions, &[call(name, 3)]).expect("it runs");
        for (at, got) in decode(&after[0], DType::F32).iter().enumerate() {
            let want: f64 = (0..k).map(|j| a(at / 8 * k + j) * b(j * 8 + at % 8)).sum();
            assert_eq!(*got, want, "{dtype:?} {at}");
        }
    }
    // Element (row, column) of matrix i is 64 i + 8 row + column; word i of lane l: two columns of row l / 4, or,
    // transposed, two rows of column l / 4.
    let after = binary.run(0, &[Region { bytes: 1024, data: vec![] }], &[call("matrices", 1)]).expect("it runs");
    let words: Vec<u32> = after[0].chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    for l in 0..32 {
        for i in 0..4 {
            let pair = |x: usize, y: usize| (x | y << 16) as u32;
            let (q, r) = (l % 4 * 2, l / 4);
            assert_eq!(words[8 * l + i], pair(64 * i + 8 * r + q, 64 * i + 8 * r + q + 1), "lane {l}");
            let turned = pair(64 * i + 8 * q + r, 64 * i + 8 * (q + 1) + r);
            assert_eq!(words[8 * l + 4 + i], turned, "lane {l}, transposed");
        }
    }
}
