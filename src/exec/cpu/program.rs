//! Plans to programs: every launch compiled, every tensor numbered.

use super::contract::{Conv, Isa, MatMul, MatMulShape, Role, Strides};
use super::kernel::{Buf, Kernel, Tensors};
use crate::fuse::{Affine, Body, Code, Inst, Operand, Product, Sink, Work, label};
use crate::graph::{ContractDims, Graph, Name, NodeId, Type, Window};
use crate::plan::{Cost, Place, Plan, cost};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is run.
pub(super) enum Action {
    /// A loop nest.
    Kernel(Kernel),
    /// A matrix product: `(buf, first word)` of both operands, result.
    MatMul { plan: MatMul, a: (Buf, usize), b: (Buf, usize), to: Buf },
    /// A convolution.
    Conv { plan: Conv, a: Buf, b: Buf, to: Buf },
    /// Zeros: a product over nothing.
    Zero { to: Buf },
    /// Rows of a table.
    Gather { table: Buf, rows: Buf, to: Buf, count: usize, limit: usize, width: usize },
    /// A table with rows replaced.
    Scatter { table: Buf, rows: Buf, values: Buf, to: Buf, count: usize, limit: usize, width: usize },
    /// Windows summed back.
    Fold { from: Buf, to: Buf, lead: usize, window: Arc<Window> },
}

/// One launch, and what people want to know of it.
pub(super) struct Launch {
    pub action: Action,
    pub cost: Cost,
    pub kind: crate::fuse::Kind,
    pub label: String,
    /// Nodes that it writes.
    pub writes: Vec<NodeId>,
}

/// Where a buffer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Spot {
    /// First word in the arena.
    Arena(usize),
    /// Index into the executor's persistent tensors.
    Persistent(usize),
    /// Index into the program's inputs.
    Input(usize),
    /// Index into the program's constants.
    Constant(usize),
    /// First word of the scratch for operands.
    Operand(usize),
}

/// A compiled graph.
pub struct Program {
    pub(super) launches: Vec<Launch>,
    pub(super) spots: Vec<Spot>,
    /// Words of each buffer.
    pub(super) lens: Vec<usize>,
    /// Persistent tensors that must have a value, with type.
    pub(super) needs: Vec<(usize, Type)>,
    pub(super) inputs: Vec<(Name, Type)>,
    pub(super) constants: Vec<super::memory::Words>,
    /// From buffer, waiting place in the arena, persistent tensor.
    pub(super) commits: Vec<(Buf, Option<usize>, usize)>,
    pub(super) results: Vec<(Name, Buf, Type)>,
    pub(super) bufs: BTreeMap<NodeId, Buf>,
    /// Persistent tensors that have a value after a run.
    pub(super) written: Vec<usize>,
    pub(super) operand_words: usize,
    pub(super) shared_words: usize,
    pub(super) scratch_words: usize,
    /// The plan, for printing and checks.
    pub plan: Plan,
    /// The graph as it was compiled (after layout).
    pub graph: Graph,
    /// Time of each launch so far in nanoseconds, in all and the least, when profiling.
    pub(super) spent: Vec<(u64, u64)>,
    /// Number of runs so far.
    pub(super) runs: u64,
}

impl Program {
    /// The buffer of a stored node.
    pub(super) fn buf_of(&self, n: NodeId) -> Buf {
        self.bufs[&n]
    }
}

pub(super) struct Compiler<'a> {
    pub graph: &'a Graph,
    pub isa: Isa,
    pub threads: usize,
    pub bufs: BTreeMap<NodeId, Buf>,
    pub spots: Vec<Spot>,
    pub lens: Vec<usize>,
    pub operand_words: usize,
    pub scratch_words: usize,
    pub shared_words: usize,
}

impl Compiler<'_> {
    /// Numbers the buffers of a plan; `persistent` gives the index of a persistent tensor.
    pub fn number(&mut self, plan: &Plan, inputs: &[Name], persistent: &mut dyn FnMut(&Name, &Type) -> usize) {
        for (&n, place) in &plan.places {
            let ty = self.graph.ty(n);
            let spot = match place {
                Place::Arena { offset, .. } => Spot::Arena(offset / 4),
                Place::Persistent(name) => Spot::Persistent(persistent(name, ty)),
                Place::Input(name) => Spot::Input(inputs.iter().position(|i| i == name).unwrap_or(usize::MAX)),
                Place::Constant(i) => Spot::Constant(*i),
            };
            let shared = match spot {
                Spot::Arena(_) => None,
                _ => self.spots.iter().position(|s| *s == spot),
            };
            let buf = shared.unwrap_or_else(|| self.add(spot, ty.elements()));
            self.bufs.insert(n, buf as Buf);
        }
    }

    fn add(&mut self, spot: Spot, words: usize) -> usize {
        self.spots.push(spot);
        self.lens.push(words);
        self.spots.len() - 1
    }

    fn buf(&self, n: NodeId) -> Buf {
        self.bufs[&n]
    }

    fn kernel(&mut self, body: Body, extra: Option<(NodeId, Buf)>) -> Kernel {
        let (bufs, graph) = (&self.bufs, self.graph);
        let buf = |n: NodeId| match extra {
            Some((node, b)) if node == n => b,
            _ => bufs[&n],
        };
        let ty = |n: NodeId| {
            let t = graph.ty(n);
            (t.dtype, t.elements())
        };
        let k = Kernel::new(body, &Tensors { buf: &buf, ty: &ty }, false);
        self.shared_words = self.shared_words.max(k.shared_words);
        k
    }

    /// The launches of a plan.
    pub fn launches(&mut self, plan: &Plan) -> Vec<Launch> {
        let mut all = vec![];
        for c in &plan.clusters.clusters {
            let cost = cost(self.graph, &c.work, &c.reads, &c.writes, super::memory::bytes);
            let mut actions = vec![];
            self.actions(&c.work, &mut actions);
            let count = actions.len();
            for (i, action) in actions.into_iter().enumerate() {
                // Copies of operands come before the product, which carries the cost.
                let cost = if i + 1 == count { cost } else { Cost::default() };
                let writes = if i + 1 == count { c.writes.clone() } else { vec![] };
                all.push(Launch { action, cost, kind: c.kind, label: label(self.graph, c), writes });
            }
        }
        all
    }

    fn actions(&mut self, work: &Work, out: &mut Vec<Action>) {
        let g = self.graph;
        match work {
            Work::Loops(body) => {
                let k = self.kernel(body.clone(), None);
                out.push(Action::Kernel(k));
            }
            Work::Contract { node, product, lhs, rhs, .. } => {
                let role = match product {
                    Product::Dot(d) => {
                        self.dot(*node, d, lhs, rhs, out);
                        None
                    }
                    Product::ConvFwd(c) => Some((c, Role::Forward)),
                    Product::ConvDataGrad(c) => Some((c, Role::DataGrad)),
                    Product::ConvWeightGrad(c) => Some((c, Role::WeightGrad)),
                };
                if let Some((c, role)) = role {
                    let to = self.buf(*node);
                    let empty = |o: &Operand| o.shape.contains(&0);
                    if g.ty(*node).elements() > 0 && (empty(lhs) || empty(rhs)) {
                        out.push(Action::Zero { to });
                    } else {
                        let whole = |o: &Operand| o.stored().expect("convolutions read whole tensors").0;
                        let plan = Conv::with_isa(c, role, self.isa);
                        self.scratch_words = self.scratch_words.max(plan.scratch_len(self.threads));
                        let (a, b) = (self.buf(whole(lhs)), self.buf(whole(rhs)));
                        out.push(Action::Conv { plan, a, b, to });
                    }
                }
            }
            Work::Gather { node, args } => {
                let (table, ty) = (g.ty(args[0]), g.ty(*node));
                let count = ty.shape[0];
                out.push(Action::Gather {
                    table: self.buf(args[0]),
                    rows: self.buf(args[1]),
                    to: self.buf(*node),
                    count,
                    limit: table.shape[0],
                    width: ty.elements() / count.max(1),
                });
            }
            Work::Scatter { node, args } => {
                let ty = g.ty(*node);
                out.push(Action::Scatter {
                    table: self.buf(args[0]),
                    rows: self.buf(args[1]),
                    values: self.buf(args[2]),
                    to: self.buf(*node),
                    count: g.ty(args[1]).elements(),
                    limit: ty.shape[0],
                    width: ty.elements() / ty.shape[0].max(1),
                });
            }
            Work::Fold { node, arg, window } => {
                let plane: usize = window.size.iter().product();
                out.push(Action::Fold {
                    from: self.buf(*arg),
                    to: self.buf(*node),
                    lead: g.ty(*node).elements().checked_div(plane).unwrap_or(0),
                    window: window.clone(),
                });
            }
        }
    }

    /// A contraction as a batched matrix product; operands whose axes do not lie regularly are copied first.
    fn dot(&mut self, node: NodeId, d: &ContractDims, lhs: &Operand, rhs: &Operand, out: &mut Vec<Action>) {
        let to = self.buf(node);
        let place_of = |o: &Operand| {
            let (from, at) = o.stored().expect("products read stored tensors");
            (from, at.clone())
        };
        let ((lhs_from, lhs_at), (rhs_from, rhs_at)) = (place_of(lhs), place_of(rhs));
        // Contracted pairs in the order in which the left operand lies.
        let mut pairs = d.contracted.clone();
        pairs.sort_by_key(|p| (std::cmp::Reverse(lhs_at.coef[p.0]), *p));
        let free = |o: &Operand, used: &dyn Fn(usize) -> bool| -> Vec<usize> {
            (0..o.shape.len()).filter(|&i| !used(i)).collect()
        };
        let of_lhs = |i: usize| d.batch.iter().chain(&pairs).any(|p| p.0 == i);
        let of_rhs = |i: usize| d.batch.iter().chain(&pairs).any(|p| p.1 == i);
        let batch: (Vec<usize>, Vec<usize>) = d.batch.iter().copied().unzip();
        let k: (Vec<usize>, Vec<usize>) = pairs.iter().copied().unzip();
        let (rows, cols) = (free(lhs, &of_lhs), free(rhs, &of_rhs));
        let size = |o: &Operand, axes: &[usize]| axes.iter().map(|&a| o.shape[a]).product::<usize>();
        let (nb, m, n, nk) = (size(lhs, &batch.0), size(lhs, &rows), size(rhs, &cols), size(lhs, &k.0));
        if nb * m * n == 0 {
            return;
        }
        if nk == 0 {
            out.push(Action::Zero { to });
            return;
        }
        let mut used = 0;
        let mut place = |c: &mut Self, o: &Operand, from: NodeId, form: &Affine, groups: [&[usize]; 3]| {
            let s: Vec<Option<usize>> = groups.iter().map(|axes| stride(&o.shape, form, axes)).collect();
            if let (Some(batch), Some(row), Some(col)) = (s[0], s[1], s[2])
                && form.offset >= 0
            {
                return ((c.buf(from), form.offset as usize), Strides { batch, row, col });
            }
            let words: usize = o.shape.iter().product();
            let buf = c.add(Spot::Operand(used), words) as Buf;
            used += words.next_multiple_of(16);
            c.operand_words = c.operand_words.max(used);
            let axes: Vec<usize> = groups.concat();
            let domain: Vec<usize> = axes.iter().map(|&a| o.shape[a]).collect();
            let coef = axes.iter().map(|&a| form.coef[a]).collect();
            let load = Code::Load { from, at: Affine { coef, offset: form.offset }, guards: vec![] };
            let at = Affine::row_major(&domain);
            // The copy has no node of its own: the product's stands in for it.
            let body = Body {
                domain,
                insts: vec![Inst { code: load, args: vec![], dtype: c.graph.ty(from).dtype }],
                sinks: vec![Sink::Store { node, reg: 0, at, prefill: None }],
            };
            let kernel = c.kernel(body, Some((node, buf)));
            out.push(Action::Kernel(kernel));
            let (rows, cols) = (size(o, groups[1]), size(o, groups[2]));
            ((buf, 0), Strides { batch: rows * cols, row: cols, col: 1 })
        };
        let (a, sa) = place(self, lhs, lhs_from, &lhs_at, [&batch.0, &rows, &k.0]);
        let (b, sb) = place(self, rhs, rhs_from, &rhs_at, [&batch.1, &k.1, &cols]);
        let shape = MatMulShape { batch: nb, m, n, k: nk, a: sa, b: sb, c_row: n, c_batch: m * n };
        let plan = MatMul::with_isa(shape, self.isa);
        self.scratch_words = self.scratch_words.max(plan.scratch_len(self.threads));
        out.push(Action::MatMul { plan, a, b, to });
    }
}

/// The one stride of several axes taken together.
fn stride(shape: &[usize], at: &Affine, axes: &[usize]) -> Option<usize> {
    let mut result: Option<(i64, i64)> = None;
    for &a in axes.iter().rev().filter(|&&a| shape[a] != 1) {
        let (c, n) = (at.coef[a], shape[a] as i64);
        result = match result {
            None => Some((c, n)),
            Some((s, run)) if c == s * run => Some((s, run * n)),
            Some(_) => return None,
        };
    }
    let s = result.map_or(0, |r| r.0);
    usize::try_from(s).ok()
}
