//! Loader of the golden vectors in `tests/golden`: float64 references computed by a mature framework.
//!
//! A case has inputs `in.*`, expected results `out.*` and, for most, cotangents `cot.*` of the results with the
//! expected gradients `grad.*` of `sum(cot * out)`; a few have `cot2.*` with the gradients `grad2.*` of
//! `sum(cot2 * grad)`. [`check`] builds a case's graph once and compares all of that on the oracle.

use ganc::exec::Executor;
use ganc::exec::cpu::{CpuExecutor, CpuOptions};
use ganc::grad::grad_or_zeros;
use ganc::graph::eval::{Env, Tensor, eval_outputs};
use ganc::graph::{DType, Graph, HostTensor, NodeId, Type};
use ganc::passes;
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::path::Path;

/// One golden case.
pub struct Case {
    /// File within `tests/golden`.
    pub file: String,
    /// Its attributes.
    pub attrs: serde_json::Value,
    /// `in.x`, `out.y`, … in f64 (integers too, then of type `u32`).
    pub tensors: BTreeMap<String, Tensor>,
}

impl Case {
    /// An attribute that is a list of extents.
    pub fn extents(&self, name: &str) -> Vec<usize> {
        let list = self.attrs[name].as_array().unwrap_or_else(|| panic!("{}: no list {name}", self.file));
        list.iter().map(|v| v.as_u64().unwrap() as usize).collect()
    }

    /// An attribute that is a number.
    pub fn number(&self, name: &str) -> f64 {
        self.attrs[name].as_f64().unwrap_or_else(|| panic!("{}: no number {name}", self.file))
    }

    /// An attribute that is a string.
    pub fn string(&self, name: &str) -> &str {
        self.attrs[name].as_str().unwrap_or_else(|| panic!("{}: no string {name}", self.file))
    }

    /// Tensors of a group (`in`, `out`, `cot`, …) by their names without the prefix.
    pub fn group(&self, prefix: &str) -> BTreeMap<String, &Tensor> {
        let of = |k: &str| k.strip_prefix(prefix)?.strip_prefix('.').map(str::to_string);
        self.tensors.iter().filter_map(|(k, t)| Some((of(k)?, t))).collect()
    }
}

/// All cases of a kind, in the index's order.
pub fn cases(kind: &str) -> Vec<Case> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let index: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.join("index.json")).unwrap()).unwrap();
    let all = index["cases"].as_array().unwrap();
    let found: Vec<Case> = all.iter().filter(|c| c["case"] == kind).map(|c| load(&dir, c)).collect();
    assert!(!found.is_empty(), "no golden case of kind {kind}");
    found
}

fn load(dir: &Path, entry: &serde_json::Value) -> Case {
    let file = entry["file"].as_str().unwrap().to_string();
    let bytes = std::fs::read(dir.join(&file)).unwrap();
    let st = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = st.tensors().into_iter().map(|(name, view)| {
        let shape = view.shape().to_vec();
        let words = view.data().chunks_exact(8).map(|c| <[u8; 8]>::try_from(c).unwrap());
        let tensor = match view.dtype() {
            Dtype::F64 => Tensor::f32(&shape, words.map(f64::from_le_bytes).collect()),
            Dtype::I64 => Tensor::new(Type::u32(shape), words.map(|w| i64::from_le_bytes(w) as f64).collect()),
            other => panic!("{file}: {name} is {other:?}"),
        };
        (name, tensor)
    });
    Case { tensors: tensors.collect(), attrs: entry["attrs"].clone(), file }
}

/// Largest error relative to the largest expected magnitude (at least `floor`).
pub fn error(got: &[f64], want: &[f64], floor: f64) -> f64 {
    assert_eq!(got.len(), want.len());
    let scale = want.iter().fold(floor, |m, v| m.max(v.abs()));
    got.iter()
        .zip(want)
        .map(|(a, b)| if a == b { 0.0 } else { (a - b).abs() / scale })
        .fold(0.0, |m, e| if e.is_nan() { f64::INFINITY } else { e.max(m) })
}

/// Builds a case (`build` maps its named inputs to its named results) and compares results, gradients and gradients
/// of gradients with the expected ones on the oracle, as built and after the passes, to a relative 1e-10.
pub fn check(case: &Case, build: impl Fn(&mut Graph, &BTreeMap<String, NodeId>) -> Vec<(String, NodeId)>) {
    let mut g = Graph::new();
    let mut env = Env::new();
    let mut ins = BTreeMap::new();
    for (name, t) in case.group("in") {
        ins.insert(name.clone(), g.input(name.as_str(), t.ty.clone()));
        env = env.input(name.as_str(), t.clone());
    }
    let outs: BTreeMap<String, NodeId> = build(&mut g, &ins).into_iter().collect();

    let mut want: Vec<(String, NodeId, &Tensor)> = Vec::new();
    for (name, t) in case.group("out") {
        let id = *outs.get(&name).unwrap_or_else(|| panic!("{}: no result {name}", case.file));
        want.push((format!("out.{name}"), id, t));
    }
    let grads = against(&mut g, &ins, &outs, &case.group("cot"), &case.group("grad"));
    for (name, &id) in &grads {
        want.push((format!("grad.{name}"), id, &case.tensors[&format!("grad.{name}")]));
    }
    for (name, id) in against(&mut g, &ins, &grads, &case.group("cot2"), &case.group("grad2")) {
        want.push((format!("grad2.{name}"), id, &case.tensors[&format!("grad2.{name}")]));
    }

    want.iter().for_each(|(name, id, _)| g.output(name.as_str(), *id));
    let optimised = passes::run(g.clone(), &passes::Options::default());
    for (g, stage) in [(&g, "as built"), (&optimised, "after the passes")] {
        for ((name, got), (_, _, t)) in eval_outputs(g, &env).unwrap().iter().zip(&want) {
            assert_eq!(got.ty, t.ty, "{}: type of {name}", case.file);
            let e = error(&got.data, &t.data, 1e-3);
            assert!(e < 1e-10, "{}: {name} is off by {e:e} {stage}", case.file);
        }
    }
    on_cpu(case, &g, &env, &want);
}

/// An oracle's tensor as an executor takes it.
pub fn host(t: &Tensor) -> HostTensor {
    match t.ty.dtype {
        DType::U32 => HostTensor::u32(t.ty.shape.clone(), t.data.iter().map(|&v| v as u32).collect()),
        _ => HostTensor::f32(t.ty.shape.clone(), t.data.iter().map(|&v| v as f32).collect()),
    }
}

/// The same in f32 on the CPU, fused and one node a kernel, to a relative 1e-5.
fn on_cpu(case: &Case, g: &Graph, env: &Env, want: &[(String, NodeId, &Tensor)]) {
    let inputs: Vec<(String, HostTensor)> = env.inputs.iter().map(|(n, t)| (n.to_string(), host(t))).collect();
    let inputs: Vec<(&str, &HostTensor)> = inputs.iter().map(|(n, t)| (n.as_str(), t)).collect();
    for fuse in [true, false] {
        let mut exec = CpuExecutor::new(CpuOptions { fuse, ..CpuOptions::default() });
        let mut program = exec.compile(g).unwrap();
        for ((name, got), (_, _, t)) in exec.run(&mut program, &inputs).unwrap().iter().zip(want) {
            let e = error(&got.to_f64(), &t.data, 1e-2);
            assert!(e < 1e-5, "{}: {name} is off by {e:e} on the CPU, fused: {fuse}", case.file);
        }
    }
}

/// Gradients of `sum over names of cot * y` with respect to the inputs that have an expected gradient.
fn against(
    g: &mut Graph,
    ins: &BTreeMap<String, NodeId>,
    ys: &BTreeMap<String, NodeId>,
    cots: &BTreeMap<String, &Tensor>,
    expected: &BTreeMap<String, &Tensor>,
) -> BTreeMap<String, NodeId> {
    if expected.is_empty() {
        return BTreeMap::new();
    }
    let mut total = g.scalar(0.0);
    for (name, cot) in cots {
        let c = g.dense(cot.data.to_vec(), cot.ty.clone());
        let p = g.mul(c, ys[name]);
        let s = g.sum_all(p);
        total = g.add(total, s);
    }
    let wrt: Vec<NodeId> = expected.keys().map(|n| ins[n]).collect();
    expected.keys().cloned().zip(grad_or_zeros(g, total, None, &wrt)).collect()
}
