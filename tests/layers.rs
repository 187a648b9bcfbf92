//! Built-ins beyond the golden vectors: shapes, values of small cases, value rules, refusals.

use crate::layer_scope::{TestScope, list, num, sample, word};
use ganc::graph::eval::{self, Env, eval};
use ganc::graph::{Graph, NodeId, Type};
use ganc::layers::args::Bound;
use ganc::layers::optimiser::{OptimiserSpec, clip_norm, step};
use ganc::layers::table::lookup;
use ganc::layers::value::{Index, Operator, arithmetic, index};
use ganc::layers::{Class, Kind, Tensor, Value, distributions};

const BATCH: usize = 2;

/// Numbers that are all different and look irregular.
fn numbers(n: usize) -> Vec<f64> {
    (0..n).map(|i| ((i * 37 + 11) % 101) as f64 / 10.0 - 5.0).collect()
}

fn constant(g: &mut Graph, shape: &[usize]) -> Tensor {
    let n = shape.iter().product();
    let node = g.dense(numbers(n), Type::f32(shape));
    Tensor::real(node, false, shape)
}

/// A sample of irregular numbers.
fn samples(g: &mut Graph, shape: &[usize]) -> Tensor {
    let full = [&[BATCH], shape].concat();
    let t = constant(g, &full);
    sample(g, t.node)
}

fn labels(g: &mut Graph, y: &[u32], k: usize) -> Tensor {
    let node = g.dense(y.iter().map(|&v| f64::from(v)).collect(), Type::u32([y.len()]));
    Tensor { node, kind: Kind::Class(k), sample: true, shape: vec![] }
}

fn run(g: &Graph, ids: &[NodeId]) -> Vec<Vec<f64>> {
    let env = Env::new()
        .input("seed", eval::Tensor::u32(&[2], &[7, 9]))
        .input("iteration", eval::Tensor::u32(&[], &[25]));
    eval(g, &env, ids).unwrap().into_iter().map(|t| t.data.to_vec()).collect()
}

fn value(g: &Graph, id: NodeId) -> Vec<f64> {
    run(g, &[id]).remove(0)
}

fn near(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).for_each(|(x, y)| assert!((x - y).abs() < 1e-9 * (1.0 + y.abs()), "{a:?}\n{b:?}"));
}

/// Name, input, arguments by position and by name, result.
type ShapeCase = (&'static str, &'static [usize], Vec<Value>, Vec<(&'static str, Value)>, &'static [usize]);

#[test]
fn shapes_of_layers() {
    let same = || ("pad", word("same"));
    let cases: Vec<ShapeCase> = vec![
        ("linear", &[5], vec![num(3.0)], vec![], &[3]),
        ("linear", &[4, 5], vec![num(3.0)], vec![("axis", num(-1.0))], &[4, 3]),
        ("conv", &[3, 7], vec![num(4.0), num(3.0)], vec![], &[4, 5]),
        ("conv", &[3, 7, 8], vec![num(4.0), num(4.0), num(2.0)], vec![same()], &[4, 4, 4]),
        ("conv", &[2, 5, 6, 7], vec![num(3.0), num(2.0)], vec![], &[3, 4, 5, 6]),
        (
            "conv",
            &[3, 8, 8],
            vec![num(4.0), num(3.0)],
            vec![("pad", num(1.0)), ("pad_mode", word("reflect"))],
            &[4, 8, 8],
        ),
        ("conv", &[3, 8, 8], vec![num(4.0), num(5.0)], vec![same(), ("pad_mode", word("replicate"))], &[4, 8, 8]),
        ("depthwise_conv", &[3, 8, 8], vec![num(3.0)], vec![same()], &[3, 8, 8]),
        ("conv_transpose", &[3, 5, 6], vec![num(4.0), num(4.0), num(2.0)], vec![same()], &[4, 10, 12]),
        ("conv_transpose", &[3, 5], vec![num(4.0), num(3.0), num(2.0)], vec![same()], &[4, 10]),
        ("conv_transpose", &[3, 5, 5], vec![num(4.0), num(2.0), num(3.0)], vec![same()], &[4, 15, 15]),
        ("reshape", &[6], vec![num(2.0), num(-1.0)], vec![], &[2, 3]),
        ("reshape", &[1, 1], vec![], vec![], &[]),
        ("flatten", &[2, 3, 4], vec![], vec![], &[24]),
        ("permute", &[2, 3, 4], vec![num(2.0), num(0.0), num(1.0)], vec![], &[4, 2, 3]),
        ("transpose", &[2, 3, 4], vec![], vec![], &[2, 4, 3]),
        ("expand", &[2, 1, 1], vec![num(2.0), num(3.0), num(4.0)], vec![], &[2, 3, 4]),
        ("crop", &[2, 6, 7], vec![num(3.0)], vec![], &[2, 3, 3]),
        ("crop", &[2, 6, 7], vec![num(3.0), num(5.0)], vec![], &[2, 3, 5]),
        ("pad", &[2, 6, 7], vec![num(1.0)], vec![], &[2, 8, 9]),
        ("pad", &[2, 6, 7], vec![num(1.0), num(0.0)], vec![("mode", word("reflect"))], &[2, 7, 8]),
        ("upsample", &[2, 3, 4], vec![num(3.0)], vec![], &[2, 9, 12]),
        ("upsample", &[2, 3], vec![num(2.0), word("bilinear")], vec![], &[2, 6]),
        ("avg_pool", &[2, 7, 8], vec![num(3.0)], vec![], &[2, 2, 2]),
        ("max_pool", &[2, 7], vec![num(3.0), num(2.0), num(1.0)], vec![], &[2, 4]),
        ("glu", &[6, 2], vec![], vec![], &[3, 2]),
        ("maxout", &[6, 2], vec![num(3.0)], vec![], &[2, 2]),
        ("prelu", &[6, 2], vec![], vec![], &[6, 2]),
        ("self_attention", &[16, 3, 4], vec![num(2.0)], vec![], &[16, 3, 4]),
        ("group_norm", &[6, 2, 2], vec![num(3.0)], vec![], &[6, 2, 2]),
        ("minibatch_stddev", &[6, 2, 2], vec![], vec![], &[7, 2, 2]),
        ("argmax", &[6, 2], vec![], vec![], &[2]),
        ("sum", &[6, 2, 3], vec![], vec![("axes", list(&[0, 2]))], &[2]),
        ("max", &[6, 2, 3], vec![], vec![("axes", num(-1.0))], &[6, 2]),
        ("mean", &[6, 2, 3], vec![], vec![("axes", list(&[1, 2]))], &[6]),
        ("logsumexp", &[6], vec![], vec![], &[]),
        ("entropy", &[6, 2], vec![], vec![], &[2]),
        ("dropout", &[6, 2], vec![], vec![], &[6, 2]),
        ("noise", &[6, 2], vec![num(0.1)], vec![], &[6, 2]),
        ("shuffle", &[6, 2], vec![], vec![], &[6, 2]),
        ("batch_mean", &[6, 2], vec![], vec![], &[6, 2]),
    ];
    for (name, input, positional, named, want) in cases {
        let mut g = Graph::new();
        let x = samples(&mut g, input);
        let mut s = TestScope::new(&mut g, BATCH);
        let y = s.apply(name, &x, &positional, &named);
        assert_eq!(y.shape, want, "{name} of {input:?}");
        // The same of a value that all samples share.
        if !matches!(name, "minibatch_stddev" | "shuffle" | "batch_mean") {
            let x = constant(s.graph, input);
            let y = s.apply(name, &x, &positional, &named);
            assert_eq!((y.shape, y.sample), (want.to_vec(), false), "{name} of a common {input:?}");
        }
    }
}

#[test]
fn padding_modes() {
    let mut g = Graph::new();
    let node = g.dense((1..=4).map(f64::from).collect(), Type::f32([1, 1, 4]));
    let x = sample(&g, node);
    let mut s = TestScope::new(&mut g, 1);
    let mut padded = |mode: &str| {
        let y = s.apply("pad", &x, &[num(2.0), num(1.0)], &[("mode", word(mode))]);
        value(s.graph, y.node)
    };
    assert_eq!(padded("zero"), [0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 0.0]);
    assert_eq!(padded("reflect"), [3.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0]);
    assert_eq!(padded("replicate"), [1.0, 1.0, 1.0, 2.0, 3.0, 4.0, 4.0]);
}

#[test]
fn broadcasting_follows_the_rules() {
    let mut g = Graph::new();
    let t = samples(&mut g, &[]);
    let x = samples(&mut g, &[3, 2, 2]);
    let c = constant(&mut g, &[3, 1, 1]);
    let mut s = TestScope::new(&mut g, BATCH);
    let v = Value::Tensor;
    let mut both = |a: &Value, b: &Value| match arithmetic(&mut s, Operator::Mul, a, b).unwrap() {
        Value::Tensor(t) => (t.shape.clone(), t.sample, value(s.graph, t.node)),
        other => panic!("{other:?}"),
    };
    let (shape, sample, got) = both(&v(t.clone()), &v(x.clone()));
    let (tn, xn) = (numbers(BATCH), numbers(24));
    assert_eq!((shape, sample), (vec![3, 2, 2], true));
    near(&got, &(0..24).map(|i| tn[i / 12] * xn[i]).collect::<Vec<_>>());
    let (shape, sample, got) = both(&v(c.clone()), &v(x.clone()));
    let cn = numbers(3);
    assert_eq!((shape, sample), (vec![3, 2, 2], true));
    near(&got, &(0..24).map(|i| cn[i / 4 % 3] * xn[i]).collect::<Vec<_>>());
    let (shape, sample, _) = both(&v(c.clone()), &v(t.clone()));
    assert_eq!((shape, sample), (vec![3, 1, 1], true));
    let (shape, sample, _) = both(&v(c), &num(2.0));
    assert_eq!((shape, sample), (vec![3, 1, 1], false));
    // A common scalar in a tensor, and a vector of one element, go with anything.
    let one = constant(s.graph, &[1]);
    let scalar = constant(s.graph, &[]);
    for (a, b) in [(&one, &x), (&x, &one), (&scalar, &one), (&one, &t), (&scalar, &t)] {
        let Value::Tensor(r) = arithmetic(&mut s, Operator::Sub, &v(a.clone()), &v(b.clone())).unwrap() else {
            panic!()
        };
        let mut want = if r.sample { vec![BATCH] } else { vec![] };
        want.extend(&r.shape);
        assert_eq!(s.graph.shape(r.node), &want[..]);
    }
    let wide = constant(s.graph, &[3]);
    let e = arithmetic(&mut s, Operator::Add, &v(x), &v(wide)).unwrap_err();
    assert_eq!(e.message, "`+`: shapes [3, 2, 2] and [3] do not go together");
    assert_eq!(e.help.unwrap(), "write `reshape(3, 1, 1)` to spread one number a channel over the other axes");
}

/// `a op b` of two values, which must be a tensor.
fn op(s: &mut TestScope, o: Operator, a: &Tensor, b: Value) -> Tensor {
    match arithmetic(s, o, &Value::Tensor(a.clone()), &b) {
        Ok(Value::Tensor(t)) => t,
        other => panic!("{other:?}"),
    }
}

#[test]
fn operators_on_values() {
    let mut g = Graph::new();
    let x = samples(&mut g, &[2]);
    let y = labels(&mut g, &[1, 3], 4);
    let mut s = TestScope::new(&mut g, BATCH);
    let mut both = |o, a: f64, b: f64| arithmetic(&mut s, o, &num(a), &num(b));
    assert_eq!(both(Operator::Div, 6.0, 3.0), Ok(num(2.0)));
    assert_eq!(both(Operator::Div, 1.5, 3.0), Ok(num(0.5)));
    assert_eq!(both(Operator::Div, 1.0, 3.0).unwrap_err().code, "E0305");
    assert_eq!(both(Operator::Pow, 2.0, 10.0), Ok(num(1024.0)));
    assert_eq!(both(Operator::Ge, 2.0, 2.0), Ok(Value::Bool(true)));
    let v = numbers(4);
    type Function = fn(f64) -> f64;
    let powers: [(f64, Function); 5] =
        [(2.0, |x| x * x), (3.0, |x| x * x * x), (-1.0, |x| 1.0 / x), (0.0, |_| 1.0), (7.0, |x| x.powi(7))];
    for (n, f) in powers {
        let t = op(&mut s, Operator::Pow, &x, num(n));
        near(&value(s.graph, t.node), &v.iter().map(|&x| f(x)).collect::<Vec<_>>());
    }
    let size = s.apply("abs", &x, &[], &[]);
    for n in [0.5, 1.7] {
        let t = op(&mut s, Operator::Pow, &size, num(n));
        near(&value(s.graph, t.node), &v.iter().map(|&x| x.abs().powf(n)).collect::<Vec<_>>());
    }
    let above = op(&mut s, Operator::Gt, &x, num(0.0));
    assert_eq!(above.kind, Kind::Bool);
    let chosen = s.apply("where", &above, &[num(1.0), Value::Tensor(x.clone())], &[]);
    near(&value(s.graph, chosen.node), &v.iter().map(|&x| if x > 0.0 { 1.0 } else { x }).collect::<Vec<_>>());
    let same = op(&mut s, Operator::Eq, &y, num(3.0));
    assert_eq!(value(s.graph, same.node), [0.0, 1.0]);
    let e = arithmetic(&mut s, Operator::Add, &Value::Tensor(y.clone()), &num(1.0)).unwrap_err();
    assert_eq!(e.message, "`+` does not go with labels (class values)");
    let e = arithmetic(&mut s, Operator::Pow, &Value::Tensor(x.clone()), &Value::Tensor(x.clone())).unwrap_err();
    assert_eq!(e.code, "E0303");
    let part = index(&mut s, &x, &[Index::At(1.0)]).unwrap();
    near(&value(s.graph, part.node), &[v[1], v[3]]);
    assert_eq!(part.shape, [0usize; 0]);
    assert!(index(&mut s, &x, &[Index::At(2.0)]).is_err());
    assert!(index(&mut s, &x, &[Index::Range(1.0, 1.0)]).is_err());
    assert_eq!(s.call("dim", Some(Value::Tensor(x)), &[num(0.0)], &[]), Ok(num(2.0)));
    assert_eq!(s.call("exp", Some(num(0.0)), &[], &[]), Ok(num(1.0)));
    assert_eq!(s.call("max", Some(num(3.0)), &[num(4.0)], &[]), Ok(num(4.0)));
}

fn product(a: &[f64], b: &[f64], m: usize, k: usize, n: usize) -> Vec<f64> {
    (0..m * n).map(|i| (0..k).map(|j| a[i / n * k + j] * b[j * n + i % n]).sum()).collect()
}

#[test]
fn matrix_products() {
    let mut g = Graph::new();
    let (vector, wide) = (samples(&mut g, &[3]), samples(&mut g, &[2, 3]));
    let weights = constant(&mut g, &[3, 4]);
    let own = samples(&mut g, &[3, 4]);
    let left = constant(&mut g, &[2, 3]);
    let heads = samples(&mut g, &[5, 2, 3]);
    let mut s = TestScope::new(&mut g, BATCH);
    let w = numbers(24);
    let mut check = |a: &Tensor, b: &Tensor, shape: &[usize], want: Vec<f64>| {
        let y = s.apply("matmul", a, &[Value::Tensor(b.clone())], &[]);
        assert_eq!(y.shape, shape);
        near(&value(s.graph, y.node), &want);
    };
    check(&vector, &weights, &[4], product(&numbers(6), &w[..12], 2, 3, 4));
    check(&wide, &weights, &[2, 4], product(&numbers(12), &w[..12], 4, 3, 4));
    let each = |a: &[f64], step: usize, m: usize| -> Vec<f64> {
        (0..2).flat_map(|i| product(&a[i * step..], &w[12 * i..12 * i + 12], m, 3, 4)).collect()
    };
    check(&vector, &own, &[4], each(&numbers(6), 3, 1));
    check(&wide, &own, &[2, 4], each(&numbers(12), 6, 2));
    check(&left, &own, &[2, 4], each(&numbers(6), 0, 2));
    let h = numbers(60);
    check(
        &heads,
        &own,
        &[5, 2, 4],
        (0..2).flat_map(|i| product(&h[30 * i..], &w[12 * i..12 * i + 12], 10, 3, 4)).collect(),
    );
}

#[test]
fn labels_become_numbers() {
    let mut g = Graph::new();
    let y = labels(&mut g, &[2, 0], 3);
    let x = samples(&mut g, &[3, 2]);
    let table = constant(&mut g, &[3, 2]);
    let mut s = TestScope::new(&mut g, BATCH);
    s.given.insert("weight".into(), table.node);
    let hot = s.apply("one_hot", &y, &[], &[]);
    assert_eq!(value(s.graph, hot.node), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
    let e = s.apply("embed", &y, &[num(2.0)], &[]);
    let t = numbers(6);
    near(&value(s.graph, e.node), &[t[4], t[5], t[0], t[1]]);
    let row = s.apply("select", &x, &[Value::Tensor(y.clone())], &[]);
    let v = numbers(12);
    near(&value(s.graph, row.node), &[v[4], v[5], v[6], v[7]]);
    let row = s.apply("select", &table, &[Value::Tensor(y)], &[]);
    near(&value(s.graph, row.node), &[t[4], t[5], t[0], t[1]]);
    let row = s.apply("select", &x, &[num(1.0)], &[]);
    near(&value(s.graph, row.node), &[v[2], v[3], v[8], v[9]]);
}

#[test]
fn attention_is_what_the_paper_says() {
    let mut g = Graph::new();
    let x = samples(&mut g, &[2, 2, 1]);
    let [q, k, v, o] = [[1, 2], [1, 2], [3, 2], [2, 3]].map(|shape| constant(&mut g, &shape).node);
    let gain = g.dense(vec![0.5], Type::f32([1]));
    let mut s = TestScope::new(&mut g, BATCH);
    for (name, id) in [("query", q), ("key", k), ("value", v), ("out", o), ("gain", gain)] {
        s.given.insert(name.into(), id);
    }
    let y = s.apply("self_attention", &x, &[], &[("key", num(1.0)), ("value", num(3.0))]);
    let got = value(s.graph, y.node);
    let (xs, w, wv, wo) = (numbers(8), numbers(2), numbers(6), numbers(6));
    for b in 0..2 {
        let at = |c: usize, p: usize| xs[b * 4 + c * 2 + p];
        let f = |p: usize| w[0] * at(0, p) + w[1] * at(1, p);
        for p in 0..2 {
            let e: Vec<f64> = (0..2).map(|j| (f(p) * f(j)).exp()).collect();
            for c in 0..2 {
                let mixed: f64 = (0..3)
                    .map(|d| {
                        let value = |j: usize| wv[d * 2] * at(0, j) + wv[d * 2 + 1] * at(1, j);
                        wo[c * 3 + d] * (e[0] * value(0) + e[1] * value(1)) / (e[0] + e[1])
                    })
                    .sum();
                let want = at(c, p) + 0.5 * mixed;
                assert!((got[b * 4 + c * 2 + p] - want).abs() < 1e-9 * (1.0 + want.abs()));
            }
        }
    }
}

#[test]
fn conditional_norms_start_plain() {
    let mut g = Graph::new();
    let x = samples(&mut g, &[3, 2, 2]);
    let y = labels(&mut g, &[1, 0], 2);
    let w = samples(&mut g, &[4]);
    let one = g.splat(1.0, Type::f32([2, 3]));
    let zero = g.splat(0.0, Type::f32([2, 3]));
    let (weight, bias) = (g.splat(0.0, Type::f32([6, 4])), g.splat(0.0, Type::f32([6])));
    let mut s = TestScope::new(&mut g, BATCH);
    let plain = |s: &mut TestScope, name: &str| s.apply(name, &x, &[], &[("affine", Value::Bool(false))]).node;
    let (batch, instance) = (plain(&mut s, "batch_norm"), plain(&mut s, "instance_norm"));
    for (name, id) in [("scale", one), ("shift", zero), ("weight", weight), ("bias", bias)] {
        s.given.insert(name.into(), id);
    }
    let by_class = s.apply("conditional_batch_norm", &x, &[Value::Tensor(y)], &[]);
    let by_vector = s.apply("conditional_batch_norm", &x, &[Value::Tensor(w.clone())], &[]);
    let style = s.apply("adain", &x, &[Value::Tensor(w)], &[]);
    let want = value(s.graph, batch);
    near(&value(s.graph, by_class.node), &want);
    near(&value(s.graph, by_vector.node), &want);
    let want = value(s.graph, instance);
    near(&value(s.graph, style.node), &want);
}

fn draw(s: &mut TestScope, name: &str, args: &[Value], kind: Kind, shape: &[usize]) -> Vec<f64> {
    let a = Bound::of(lookup(Class::Distribution, name).unwrap(), args, &[]).unwrap();
    let t = distributions::draw(s, &a, kind, shape).unwrap();
    value(s.graph, t.node)
}

fn mean(v: &[f64]) -> f64 {
    v.iter().sum::<f64>() / v.len() as f64
}

#[test]
fn distributions_have_their_moments() {
    let mut g = Graph::new();
    let mut s = TestScope::new(&mut g, 1000);
    let z = draw(&mut s, "normal", &[num(1.0), num(2.0)], Kind::Real, &[3]);
    assert!((mean(&z) - 1.0).abs() < 0.15);
    assert!((mean(&z.iter().map(|v| (v - 1.0).powi(2)).collect::<Vec<_>>()) - 4.0).abs() < 0.4);
    let u = draw(&mut s, "uniform", &[], Kind::Real, &[2]);
    assert!(u.iter().all(|v| (-1.0..1.0).contains(v)) && mean(&u).abs() < 0.06);
    let c = draw(&mut s, "uniform", &[], Kind::Class(10), &[]);
    assert!((0..10).all(|k| (60..140).contains(&c.iter().filter(|&&v| v == f64::from(k)).count())));
    let p = Value::List([0.2, 0.5, 0.3].map(num).to_vec());
    let c = draw(&mut s, "categorical", &[p], Kind::Class(3), &[]);
    let share = |k: f64| c.iter().filter(|&&v| v == k).count() as f64 / 1000.0;
    assert!((share(0.0) - 0.2).abs() < 0.05 && (share(1.0) - 0.5).abs() < 0.05 && (share(2.0) - 0.3).abs() < 0.05);
    let b = draw(&mut s, "bernoulli", &[num(0.25)], Kind::Real, &[2]);
    assert!((mean(&b) - 0.25).abs() < 0.05 && b.iter().all(|v| *v == 0.0 || *v == 1.0));
    let r = draw(&mut s, "sphere", &[], Kind::Real, &[3]);
    assert!(r.chunks(3).all(|v| (v.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-9));
    let a = Bound::of(lookup(Class::Distribution, "categorical").unwrap(), &[list(&[1, 1])], &[]).unwrap();
    assert!(distributions::draw(&mut s, &a, Kind::Class(2), &[]).is_err());
}

#[test]
fn noise_functions_and_layers() {
    let mut g = Graph::new();
    let node = g.splat(2.0, Type::f32([500, 4]));
    let x = sample(&g, node);
    let mut s = TestScope::new(&mut g, 500);
    let dropped = s.apply("dropout", &x, &[num(0.25)], &[]);
    let v = value(s.graph, dropped.node);
    let zeros = v.iter().filter(|v| **v == 0.0).count() as f64 / 2000.0;
    assert!((zeros - 0.25).abs() < 0.05 && v.iter().all(|&v| v == 0.0 || (v - 2.0 / 0.75).abs() < 1e-9));
    s.training = false;
    assert_eq!(s.apply("dropout", &x, &[], &[]).node, x.node);
    assert_eq!(s.apply("noise", &x, &[num(1.0)], &[]).node, x.node);
    assert_ne!(s.apply("dropout", &x, &[], &[("eval", word("on"))]).node, x.node);
    let mut call = |name: &str, input: Option<Value>, named: &[(&str, Value)]| match s.call(name, input, &[], named)
    {
        Ok(Value::Tensor(t)) => (t.shape.clone(), t.sample, value(s.graph, t.node)),
        other => panic!("{other:?}"),
    };
    let (shape, is_sample, u) = call("uniform", None, &[]);
    assert!(shape.is_empty() && is_sample && u.len() == 500 && u.iter().all(|v| (0.0..1.0).contains(v)));
    let (shape, _, z) = call("normal", None, &[("mean", num(3.0)), ("like", Value::Tensor(x.clone()))]);
    assert!(shape == [4] && (mean(&z) - 3.0).abs() < 0.1);
    let (shape, _, e) = call("gumbel", None, &[("shape", list(&[2, 3]))]);
    assert!(shape == [2, 3] && (mean(&e) - 0.5772).abs() < 0.1);
    let (shape, _, b) = call("bernoulli", Some(num(0.7)), &[("like", Value::Tensor(x))]);
    assert!(shape == [4] && (mean(&b) - 0.7).abs() < 0.05);
}

#[test]
fn schedules_follow_the_iteration() {
    // The iteration is 25.
    let mut g = Graph::new();
    let mut s = TestScope::new(&mut g, 1);
    let mut at = |name: &str, args: &[Value], named: &[(&str, Value)]| match s.call(name, None, args, named) {
        Ok(Value::Tensor(t)) => {
            assert!(!t.sample && t.shape.is_empty());
            value(s.graph, t.node)[0]
        }
        other => panic!("{other:?}"),
    };
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
    close(at("ramp", &[num(4.0), num(0.0)], &[("to", num(100.0))]), 3.0);
    close(at("ramp", &[num(4.0), num(0.0)], &[("from", num(30.0)), ("to", num(100.0))]), 4.0);
    close(at("ramp", &[num(4.0), num(0.5)], &[("to", num(20.0))]), 0.5);
    close(at("cosine", &[num(1.0), num(0.0)], &[("to", num(50.0))]), 0.5);
    close(at("warmup", &[num(8.0)], &[("steps", num(50.0))]), 4.0);
    close(at("piecewise", &[list(&[10, 25]), list(&[1, 2, 3])], &[]), 3.0);
    close(at("piecewise", &[list(&[10, 26]), list(&[1, 2, 3])], &[]), 2.0);
}

fn optimiser(name: &str, named: &[(&str, Value)]) -> OptimiserSpec {
    OptimiserSpec::parse(&Bound::of(lookup(Class::Optimiser, name).unwrap(), &[], named).unwrap()).unwrap()
}

#[test]
fn lion_clipping_and_decay() {
    let mut g = Graph::new();
    let p = g.dense(vec![1.0, -2.0, 3.0], Type::f32([3]));
    let d = g.dense(vec![0.3, -0.4, 0.0], Type::f32([3]));
    let zero = g.zeros_like(p);
    let (t, lr) = (g.scalar(1.0), g.scalar(0.1));
    let spec = optimiser("lion", &[("lr", num(0.1)), ("weight_decay", num(0.5)), ("clip_weights", num(2.0))]);
    let (next, states) = step(&mut g, &spec, p, d, &[zero], t, lr);
    near(&value(&g, next), &[0.85, -1.8, 2.0]);
    near(&value(&g, states[0]), &[0.003, -0.004, 0.0]);
    let clipped = clip_norm(&mut g, &[d, d], 0.1);
    let norm = 0.5f64.sqrt();
    near(&value(&g, clipped[1]), &[0.3, -0.4, 0.0].map(|v| v * 0.1 / (norm + 1e-6)));
    let kept = clip_norm(&mut g, &[d], 10.0);
    near(&value(&g, kept[0]), &[0.3, -0.4, 0.0]);
}

#[test]
fn adam_is_differentiable_where_the_gradient_is_zero() {
    let mut g = Graph::new();
    let x = g.input("x", Type::f32([2]));
    let zero = g.zeros_like(x);
    let (t, lr) = (g.scalar(1.0), g.scalar(0.1));
    let spec = optimiser("adam", &[("lr", num(0.1))]);
    let (next, _) = step(&mut g, &spec, zero, x, &[zero, zero], t, lr);
    let total = g.sum_all(next);
    let d = ganc::grad::grad_or_zeros(&mut g, total, None, &[x])[0];
    let env = Env::new().input("x", eval::Tensor::f32(&[2], vec![0.0, 0.5]));
    assert!(eval(&g, &env, &[d]).unwrap()[0].data.iter().all(|v| v.is_finite()));
}

#[test]
fn refusals_are_for_a_person() {
    let mut g = Graph::new();
    let image = samples(&mut g, &[3, 8, 8]);
    let vector = samples(&mut g, &[5]);
    let scalar = samples(&mut g, &[]);
    let common = constant(&mut g, &[5]);
    let y = labels(&mut g, &[1, 0], 10);
    let mut s = TestScope::new(&mut g, BATCH);
    let v = |t: &Tensor| Value::Tensor(t.clone());
    let texts = [
        s.refusal("linear", &image, &[num(10.0)], &[]),
        s.refusal("linear", &vector, &[num(2.5)], &[]),
        s.refusal("linear", &y, &[num(2.0)], &[]),
        s.refusal("linear", &vector, &[num(2_000_000_000.0)], &[]),
        s.refusal("conv", &vector, &[num(8.0), num(3.0)], &[]),
        s.refusal("conv", &image, &[num(8.0), num(11.0)], &[]),
        s.refusal("conv", &image, &[num(8.0), list(&[3, 3, 3])], &[]),
        s.refusal("conv", &image, &[num(8.0), num(3.0)], &[("groups", num(2.0))]),
        s.refusal("conv", &image, &[num(8.0), num(3.0)], &[("pad", word("full"))]),
        s.refusal("conv", &image, &[num(8.0), num(3.0)], &[("padding", num(1.0))]),
        s.refusal("conv_transpose", &image, &[num(8.0), num(4.0)], &[("pad", num(9.0))]),
        s.refusal("conv_transpose", &image, &[num(8.0), num(4.0)], &[("out_pad", num(1.0))]),
        s.refusal("batch_norm", &common, &[], &[]),
        s.refusal("instance_norm", &vector, &[], &[]),
        s.refusal("group_norm", &image, &[num(2.0)], &[]),
        s.refusal("pixel_shuffle", &image, &[num(2.0)], &[]),
        s.refusal("reshape", &image, &[num(3.0), num(-1.0), num(5.0)], &[]),
        s.refusal("reshape", &image, &[num(4.0), num(4.0)], &[]),
        s.refusal("permute", &image, &[num(0.0), num(0.0), num(1.0)], &[]),
        s.refusal("expand", &vector, &[num(5.0), num(2.0)], &[]),
        s.refusal("concat", &image, &[v(&vector)], &[]),
        s.refusal("crop", &image, &[num(9.0)], &[]),
        s.refusal("pad", &image, &[num(8.0)], &[("mode", word("reflect"))]),
        s.refusal("max_pool", &image, &[num(2.0)], &[("pad", num(2.0))]),
        s.refusal("dropout", &image, &[num(1.0)], &[]),
        s.refusal("matmul", &image, &[v(&vector)], &[]),
        s.refusal("dot", &image, &[v(&vector)], &[]),
        s.refusal("sum", &vector, &[], &[("axes", num(1.0))]),
        s.refusal("bce", &scalar, &[num(1.2)], &[]),
        s.refusal("bce", &image, &[v(&y)], &[]),
        s.refusal("cross_entropy", &vector, &[v(&y)], &[]),
        s.refusal("select", &vector, &[v(&y)], &[]),
        s.refusal("one_hot", &vector, &[], &[]),
        s.refusal("batch_mean", &common, &[], &[]),
        s.refusal("virtual_batch_norm", &common, &[], &[]),
        s.refusal("virtual_batch_norm", &image, &[num(1.0)], &[]),
        s.refusal("minibatch_discrimination", &image, &[num(4.0), num(2.0)], &[]),
        s.refusal("minibatch_discrimination", &common, &[num(4.0), num(2.0)], &[]),
        s.refusal("top_k", &vector, &[num(0.0)], &[]),
        s.refusal("translate", &vector, &[], &[]),
        s.refusal("cutout", &image, &[num(1.5)], &[]),
        s.refusal("sweep", &vector, &[num(0.0), num(1.0)], &[]),
    ];
    insta::assert_snapshot!(texts.join("\n"));
}
