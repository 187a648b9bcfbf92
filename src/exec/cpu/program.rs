//! Plans to programs: every launch compiled, every tensor numbered.

use super::contract::{Conv, Isa, MatMul, MatMulShape, Role, Strides};
use super::kernel::{BlockKernel, Buf, Kernel, Tensors};
use crate::fuse::{Affine, Body, Operand, Product, Reg, Sink, Work, label};
use crate::graph::{ContractDims, ConvGeom, Graph, Name, NodeId, Type, Window};
use crate::plan::{Cost, Place, Plan, cost};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is run.
pub(super) enum Action {
    /// A loop nest.
    Kernel(Kernel),
    /// A matrix product: `(buf, first word)` of both operands, result, what is done with its blocks.
    MatMul { plan: MatMul, a: (Buf, usize), b: (Buf, usize), to: Buf, then: Option<BlockKernel> },
    /// A convolution.
    Conv { plan: Conv, a: Buf, b: Buf, to: Buf, then: Option<BlockKernel> },
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
    /// Words of the operands' scratch that the launch at hand has taken.
    pub taken: usize,
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
        let k = self.with_tensors(extra, |tensors| Kernel::new(body, tensors, false));
        self.shared_words = self.shared_words.max(k.shared_words);
        k
    }

    /// What kernels ask about tensors; `extra` says where a node is that is not stored.
    fn with_tensors<T>(&self, extra: Option<(NodeId, Buf)>, f: impl FnOnce(&Tensors) -> T) -> T {
        let buf = |n: NodeId| match extra {
            Some((node, b)) if node == n => b,
            _ => self.bufs[&n],
        };
        let ty = |n: NodeId| {
            let t = self.graph.ty(n);
            (t.dtype, t.elements())
        };
        f(&Tensors { buf: &buf, ty: &ty })
    }

    /// Scratch that lasts for the launch at hand.
    fn take(&mut self, words: usize) -> Buf {
        let at = self.taken;
        self.taken += words.next_multiple_of(16);
        self.operand_words = self.operand_words.max(self.taken);
        self.add(Spot::Operand(at), words) as Buf
    }

    /// The launches of a plan.
    pub fn launches(&mut self, plan: &Plan) -> Vec<Launch> {
        let mut all = vec![];
        for c in &plan.clusters.clusters {
            let cost = cost(self.graph, &c.work, &c.reads, &c.writes, super::memory::bytes);
            let mut actions = vec![];
            self.taken = 0;
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
            Work::Contract { node, product, lhs, rhs, epilogue } => {
                let to = self.result(*node, [lhs, rhs], epilogue.as_ref());
                let mut then = epilogue.clone();
                if let Some(body) = &mut then {
                    // The product itself puts its elements there.
                    body.sinks.retain(|s| s.node() != *node);
                }
                let then = Then { node: *node, to, body: then };
                let empty = [lhs, rhs].iter().any(|o| o.shape.contains(&0));
                if empty || g.ty(*node).elements() == 0 {
                    out.push(Action::Zero { to });
                    out.extend(then.body.map(|body| Action::Kernel(self.kernel(body, Some((*node, to))))));
                    return;
                }
                let operands = [lhs, rhs];
                let action = match product {
                    Product::Dot(d) => self.dot(d, operands, then, out),
                    Product::ConvFwd(c) => self.conv(c, Role::Forward, operands, then, out),
                    Product::ConvDataGrad(c) => self.conv(c, Role::DataGrad, operands, then, out),
                    Product::ConvWeightGrad(c) => self.conv(c, Role::WeightGrad, operands, then, out),
                };
                out.push(action);
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

    /// Where a product's elements lie: in the product's own memory, else where the epilogue puts something else at
    /// the same place in the end, else in scratch.
    fn result(&mut self, node: NodeId, operands: [&Operand; 2], epilogue: Option<&Body>) -> Buf {
        if let Some(&to) = self.bufs.get(&node) {
            return to;
        }
        let bodies = operands.map(|o| &o.body).into_iter().chain(epilogue);
        let read: Vec<Buf> = bodies.flat_map(Body::reads).filter(|&n| n != node).map(|n| self.buf(n)).collect();
        let mut stores = epilogue.into_iter().flat_map(|b| &b.sinks).filter_map(|s| match s {
            Sink::Store { node, .. } => Some(self.buf(*node)),
            Sink::Reduce { .. } => None,
        });
        let host = stores.find(|to| !read.contains(to));
        host.unwrap_or_else(|| self.take(self.graph.ty(node).elements()))
    }

    /// An operand computed into scratch of its own, with its axes in this order. The copy has no node: the product's
    /// stands in for it.
    fn copy(&mut self, o: &Operand, axes: &[usize], product: NodeId) -> (Action, Buf) {
        let mut body = o.body.clone();
        body.domain = axes.iter().map(|&a| o.shape[a]).collect();
        for form in body.forms_mut() {
            form.coef = axes.iter().map(|&a| form.coef[a]).collect();
        }
        let reg = body.insts.len() as Reg - 1;
        let at = Affine::row_major(&body.domain);
        body.sinks = vec![Sink::Store { node: product, reg, at, prefill: None }];
        let buf = self.take(o.shape.iter().product());
        (Action::Kernel(self.kernel(body, Some((product, buf)))), buf)
    }

    /// A convolution; operands that are not whole stored tensors are computed first.
    fn conv(
        &mut self,
        g: &ConvGeom,
        role: Role,
        operands: [&Operand; 2],
        then: Then,
        out: &mut Vec<Action>,
    ) -> Action {
        let [a, b] = operands.map(|o| match o.stored() {
            Some((from, _)) => self.buf(from),
            None => {
                let axes: Vec<usize> = (0..o.shape.len()).collect();
                let (kernel, buf) = self.copy(o, &axes, then.node);
                out.push(kernel);
                buf
            }
        });
        let plan = Conv::with_isa(g, role, self.isa);
        self.scratch_words = self.scratch_words.max(plan.scratch_len(self.threads));
        let (to, then) = (then.to, then.blocks(self, plan.tasks()));
        Action::Conv { plan, a, b, to, then }
    }

    /// A contraction over something as a batched matrix product; operands whose axes do not lie regularly are copied
    /// first.
    fn dot(&mut self, d: &ContractDims, [lhs, rhs]: [&Operand; 2], then: Then, out: &mut Vec<Action>) -> Action {
        // Contracted pairs in the order in which the left operand lies.
        let mut pairs = d.contracted.clone();
        if let Some((_, at)) = lhs.stored() {
            pairs.sort_by_key(|p| (std::cmp::Reverse(at.coef[p.0]), *p));
        }
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
        let mut place = |c: &mut Self, o: &Operand, groups: [&[usize]; 3]| {
            if let Some((from, at)) = o.stored()
                && let [Some(batch), Some(row), Some(col)] = groups.map(|axes| stride(&o.shape, at, axes))
                && at.offset >= 0
            {
                return ((c.buf(from), at.offset as usize), Strides { batch, row, col });
            }
            let (kernel, buf) = c.copy(o, &groups.concat(), then.node);
            out.push(kernel);
            let (rows, cols) = (size(o, groups[1]), size(o, groups[2]));
            ((buf, 0), Strides { batch: rows * cols, row: cols, col: 1 })
        };
        let (a, sa) = place(self, lhs, [&batch.0, &rows, &k.0]);
        let (b, sb) = place(self, rhs, [&batch.1, &k.1, &cols]);
        let shape = MatMulShape { batch: nb, m, n, k: nk, a: sa, b: sb, c_row: n, c_batch: m * n };
        let plan = MatMul::with_isa(shape, self.isa);
        self.scratch_words = self.scratch_words.max(plan.scratch_len(self.threads));
        let (to, then) = (then.to, then.blocks(self, plan.tasks()));
        Action::MatMul { plan, a, b, to, then }
    }
}

/// What is done with the elements of a product.
struct Then {
    /// The product.
    node: NodeId,
    /// Where its elements are.
    to: Buf,
    body: Option<Body>,
}

impl Then {
    /// As a kernel for the blocks of a product of `tasks` tasks.
    fn blocks(&self, c: &mut Compiler, tasks: usize) -> Option<BlockKernel> {
        let body = self.body.as_ref()?;
        let k = c.with_tensors(Some((self.node, self.to)), |tensors| BlockKernel::new(body, tensors, tasks));
        c.shared_words = c.shared_words.max(k.kernel.shared_words);
        Some(k)
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
