//! The oracle as an executor: every node in f64, no plan. Slow; it is what the others are checked against
//! (`ganc run --oracle`). Persistent tensors stay f64 between runs; `fetch` rounds them.

use super::{ExecError, Executor};
use crate::graph::eval::{Env, EvalError, Tensor, apply, eval_outputs};
use crate::graph::{DType, Graph, HostData, HostTensor, Name, Op, Type};
use std::collections::BTreeMap;

/// See the module documentation.
#[derive(Default)]
pub struct Oracle {
    store: BTreeMap<Name, Tensor>,
}

fn widen(t: &HostTensor) -> Tensor {
    Tensor::new(t.ty(), t.to_f64())
}

fn narrow(t: &Tensor) -> HostTensor {
    let data = match t.ty.dtype {
        DType::F32 | DType::F16 | DType::Bf16 => HostData::F32(t.data.iter().map(|&v| v as f32).collect()),
        DType::U32 => HostData::U32(t.data.iter().map(|&v| v as u32).collect()),
        DType::Bool => HostData::Bool(t.data.iter().map(|&v| u8::from(v != 0.0)).collect()),
    };
    HostTensor { shape: t.ty.shape.clone(), data }
}

impl From<EvalError> for ExecError {
    fn from(e: EvalError) -> Self {
        ExecError::Bug(e.to_string())
    }
}

impl Oracle {
    fn env(&self, graph: &Graph, inputs: &[(&str, &HostTensor)]) -> Result<Env, ExecError> {
        let mut env = Env::new();
        let missing = |name: &Name| ExecError::Missing(name.to_string());
        for node in graph.nodes() {
            match &node.op {
                Op::Input(name) => {
                    let t = inputs.iter().find(|i| *i.0 == **name).ok_or_else(|| missing(name))?.1;
                    check(name, &node.ty, &t.ty())?;
                    env.inputs.insert(name.clone(), widen(t));
                }
                Op::Param(name) => {
                    let t = self.store.get(name).ok_or_else(|| missing(name))?;
                    env.params.insert(name.clone(), t.clone());
                }
                Op::State(name) => {
                    let t = self.store.get(name).ok_or_else(|| missing(name))?;
                    env.states.insert(name.clone(), t.clone());
                }
                _ => {}
            }
        }
        Ok(env)
    }
}

fn check(name: &Name, expected: &Type, found: &Type) -> Result<(), ExecError> {
    if expected == found {
        return Ok(());
    }
    Err(ExecError::Input { name: name.to_string(), expected: expected.to_string(), found: found.to_string() })
}

impl Executor for Oracle {
    type Program = Graph;
    type Pending = Vec<(Name, HostTensor)>;

    fn compile(&mut self, graph: &Graph) -> Result<Graph, ExecError> {
        Ok(graph.clone())
    }

    fn store(&mut self, name: &str, value: &HostTensor) -> Result<(), ExecError> {
        self.store.insert(name.into(), widen(value));
        Ok(())
    }

    fn fetch(&self, name: &str) -> Result<Option<HostTensor>, ExecError> {
        Ok(self.store.get(name).map(narrow))
    }

    fn finish(&mut self, done: Self::Pending) -> Result<Vec<(Name, HostTensor)>, ExecError> {
        Ok(done)
    }

    fn start(
        &mut self,
        program: &mut Graph,
        inputs: &[(&str, &HostTensor)],
    ) -> Result<Vec<(Name, HostTensor)>, ExecError> {
        let env = self.env(program, inputs)?;
        let mut rest = Vec::new();
        for (name, value) in eval_outputs(program, &env)? {
            match name.strip_prefix("param:").or_else(|| name.strip_prefix("state:")) {
                Some(kept) => {
                    self.store.insert(kept.into(), value);
                }
                None => rest.push((name, narrow(&value))),
            }
        }
        Ok(rest)
    }

    fn locate_nonfinite(
        &mut self,
        graph: &Graph,
        inputs: &[(&str, &HostTensor)],
    ) -> Result<Option<String>, ExecError> {
        let env = self.env(graph, inputs)?;
        let mut values: Vec<Tensor> = Vec::with_capacity(graph.nodes().len());
        for id in graph.ids() {
            let node = graph.node(id);
            let value = match &node.op {
                Op::Input(n) => env.inputs[n].clone(),
                Op::Param(n) => env.params[n].clone(),
                Op::State(n) => env.states[n].clone(),
                _ => {
                    let args: Vec<Tensor> = node.args.iter().map(|a| values[a.index()].clone()).collect();
                    apply(node, &args)
                }
            };
            if node.ty.dtype.is_float() && value.data.iter().any(|v| !v.is_finite()) {
                return Ok(Some(super::place(graph, id)));
            }
            values.push(value);
        }
        Ok(None)
    }
}
