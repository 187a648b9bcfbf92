//! A small surrounding for layers: named nodes as parameters and states, given nodes or fixed streams as noise.

use ganc::graph::{Dist, Graph, NodeId, Type};
use ganc::layers::args::Bound;
use ganc::layers::table::lookup_call;
use ganc::layers::{Init, LayerError, ParamRole, Reference, Scope, Tensor, Value, emit};
use std::collections::BTreeMap;

/// The surrounding of one layer.
pub struct TestScope<'a> {
    pub graph: &'a mut Graph,
    pub batch: usize,
    pub training: bool,
    /// Values of parameters and states; parameters that are not here become `Op::Param`s of their name.
    pub given: BTreeMap<String, NodeId>,
    /// Noise to hand out in turn; then random leaves of stream 1, 2, …
    pub noise: Vec<NodeId>,
    /// What virtual batch norms go by.
    pub reference: Reference,
    /// What `set_state` was called with, and `set_reference`.
    pub next: BTreeMap<String, NodeId>,
    /// Parameters that were asked for.
    pub asked: Vec<(String, Vec<usize>, ParamRole, Init)>,
    streams: u64,
}

impl<'a> TestScope<'a> {
    pub fn new(graph: &'a mut Graph, batch: usize) -> Self {
        Self {
            graph,
            batch,
            training: true,
            given: BTreeMap::new(),
            noise: Vec::new(),
            reference: Reference::Itself,
            next: BTreeMap::new(),
            asked: Vec::new(),
            streams: 0,
        }
    }

    /// A call of a built-in by name.
    pub fn call(
        &mut self,
        name: &str,
        input: Option<Value>,
        positional: &[Value],
        named: &[(&str, Value)],
    ) -> Result<Value, LayerError> {
        let sig = lookup_call(name).unwrap_or_else(|| panic!("no built-in {name}"));
        let bound = Bound::of(sig, positional, named)?;
        emit(self, sig, input, &bound)
    }

    /// The same with a tensor in and out.
    pub fn apply(&mut self, name: &str, x: &Tensor, positional: &[Value], named: &[(&str, Value)]) -> Tensor {
        match self.call(name, Some(Value::Tensor(x.clone())), positional, named) {
            Ok(Value::Tensor(t)) => {
                let mut want = if t.sample { vec![self.batch] } else { vec![] };
                want.extend(&t.shape);
                assert_eq!(self.graph.shape(t.node), &want[..], "graph shape of {name}");
                t
            }
            other => panic!("{name}: {other:?}"),
        }
    }

    /// The message of a refusal, with its help.
    pub fn refusal(&mut self, name: &str, x: &Tensor, positional: &[Value], named: &[(&str, Value)]) -> String {
        match self.call(name, Some(Value::Tensor(x.clone())), positional, named) {
            Err(e) => match e.help {
                Some(h) => format!("{} {}\n  help: {h}", e.code, e.message),
                None => format!("{} {}", e.code, e.message),
            },
            Ok(v) => panic!("{name} accepts {v:?}"),
        }
    }
}

impl Scope for TestScope<'_> {
    fn graph(&mut self) -> &mut Graph {
        self.graph
    }
    fn batch(&self) -> usize {
        self.batch
    }
    fn training(&self) -> bool {
        self.training
    }
    fn param(&mut self, name: &str, shape: &[usize], role: ParamRole, init: Init) -> NodeId {
        self.asked.push((name.to_string(), shape.to_vec(), role, init));
        match self.given.get(name) {
            Some(&id) => {
                assert_eq!(self.graph.shape(id), shape, "shape of {name}");
                id
            }
            None => self.graph.param(name, shape),
        }
    }
    fn state(&mut self, name: &str, ty: Type, _: Init) -> NodeId {
        match self.given.get(name) {
            Some(&id) => id,
            None => self.graph.state(name, ty),
        }
    }
    fn set_state(&mut self, name: &str, value: NodeId) {
        self.next.insert(name.to_string(), value);
    }
    fn reference(&mut self, _: Option<usize>) -> Result<Reference, LayerError> {
        Ok(self.reference)
    }
    fn set_reference(&mut self, mean: NodeId, var: NodeId) {
        self.next.insert("reference mean".to_string(), mean);
        self.next.insert("reference var".to_string(), var);
    }
    fn noise(&mut self, dist: Dist, shape: &[usize]) -> NodeId {
        if !self.noise.is_empty() {
            let id = self.noise.remove(0);
            assert_eq!(self.graph.shape(id), shape, "noise");
            return id;
        }
        self.streams += 1;
        let key = self.graph.input("seed", Type::u32([2]));
        let counter = self.graph.input("iteration", Type::u32([]));
        self.graph.random(self.streams, dist, key, counter, shape)
    }
}

/// A real sample tensor from a node `[batch, shape…]`.
pub fn sample(g: &Graph, node: NodeId) -> Tensor {
    Tensor::real(node, true, &g.shape(node)[1..])
}

/// A number.
pub fn num(v: f64) -> Value {
    Value::Number(v)
}

/// A list of whole numbers.
pub fn list(v: &[usize]) -> Value {
    Value::List(v.iter().map(|&x| num(x as f64)).collect())
}

/// A bare word.
pub fn word(w: &str) -> Value {
    Value::Word(w.to_string())
}
