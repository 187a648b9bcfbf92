//! The loop body of a cluster: straight-line code for one element, shared by all backends.
//!
//! Always holds: arguments of an instruction come before it; each load's positions are inside its tensor wherever
//! its guards hold; all affine forms have one coefficient for each loop of the domain.

use super::alike::ordered;
use super::index::{Affine, Guard, IndexMap};
use crate::graph::{Binary, Const, DType, Dist, Graph, NodeId, Op, Unary};
use rustc_hash::FxHashMap;
use std::fmt;

/// Number of an instruction's result.
pub type Reg = u32;

/// What an instruction does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// A constant, by the bits of its f64 value.
    Const(u64),
    /// An element of a materialised tensor; 0 where a guard fails.
    Load {
        /// The tensor (never an alias).
        from: NodeId,
        /// Row-major position.
        at: Affine,
        /// Where it may be read.
        guards: Vec<Guard>,
    },
    /// An index as u32.
    Iota(Affine),
    /// Noise of element `element` of sample `sample`; arguments key word 0, key word 1, counter.
    Random {
        /// Stream of the leaf.
        stream: u64,
        /// What is made of the words.
        dist: Dist,
        /// Which sample.
        sample: Affine,
        /// Which element of it.
        element: Affine,
    },
    /// Elementwise function.
    Unary(Unary),
    /// Elementwise function.
    Binary(Binary),
    /// `(cond, a, b)`
    Select,
    /// Conversion from this element type.
    Cast(DType),
    /// `(inside, outside)`: the first where all guards hold.
    Merge(Vec<Guard>),
}

/// An instruction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Inst {
    /// What it does.
    pub code: Code,
    /// Earlier results.
    pub args: Vec<Reg>,
    /// Element type of its result.
    pub dtype: DType,
}

/// How a reduction combines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Combine {
    /// Sum.
    Sum,
    /// Maximum; NaN wins.
    Max,
    /// Row-major index within the reduced axes of the first maximum.
    ArgMax,
    /// Sum of squared distances from the mean of what is combined; of [`super::FuseOptions::moments`] alone.
    Deviation,
}

/// What becomes of a result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sink {
    /// Written to `node` at `at`.
    Store {
        /// The tensor.
        node: NodeId,
        /// What is written.
        reg: Reg,
        /// Row-major position; one-to-one.
        at: Affine,
        /// What the tensor holds where nothing is written (bits of an f64), if that may happen.
        prefill: Option<u64>,
    },
    /// Combined over the loops in `axes`.
    Reduce {
        /// The result's tensor.
        node: NodeId,
        /// What is combined.
        reg: Reg,
        /// How.
        combine: Combine,
        /// Loops that are reduced.
        axes: Vec<usize>,
        /// Row-major position of the result; 0 along `axes`.
        at: Affine,
    },
}

impl Sink {
    /// The tensor that is written.
    pub fn node(&self) -> NodeId {
        match self {
            Sink::Store { node, .. } | Sink::Reduce { node, .. } => *node,
        }
    }

    /// The value that goes there.
    pub fn reg(&self) -> Reg {
        match self {
            Sink::Store { reg, .. } | Sink::Reduce { reg, .. } => *reg,
        }
    }
}

/// A loop nest over `domain` that runs `insts` for each element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// Extents of the loops, outermost first.
    pub domain: Vec<usize>,
    /// Straight-line code.
    pub insts: Vec<Inst>,
    /// What is written.
    pub sinks: Vec<Sink>,
}

impl Code {
    /// The tensor that is loaded from.
    pub fn tensor(&self) -> Option<NodeId> {
        match self {
            Code::Load { from, .. } => Some(*from),
            _ => None,
        }
    }
}

/// Tensors in the order in which they first come, which does not depend on their numbers: bodies that do the same have the
/// same order.
pub fn first_uses(tensors: impl Iterator<Item = NodeId>) -> Vec<NodeId> {
    let mut all = vec![];
    tensors.for_each(|n| {
        if !all.contains(&n) {
            all.push(n);
        }
    });
    all
}

impl Body {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.domain.iter().product()
    }

    /// Arithmetic instructions for one element.
    pub fn ops(&self) -> usize {
        self.insts.iter().filter(|i| !matches!(i.code, Code::Const(_) | Code::Load { .. } | Code::Iota(_))).count()
    }

    /// All tensors that are read, once each, in the order of their first use.
    pub fn reads(&self) -> Vec<NodeId> {
        first_uses(self.insts.iter().filter_map(|i| i.code.tensor()))
    }

    /// All affine forms, to be looked at or changed together.
    pub fn forms_mut(&mut self) -> Vec<&mut Affine> {
        let mut v: Vec<&mut Affine> = vec![];
        for i in &mut self.insts {
            match &mut i.code {
                Code::Load { at, guards, .. } => {
                    v.push(at);
                    v.extend(guards.iter_mut().map(|g| &mut g.at));
                }
                Code::Iota(a) => v.push(a),
                Code::Random { sample, element, .. } => {
                    v.push(sample);
                    v.push(element);
                }
                Code::Merge(guards) => v.extend(guards.iter_mut().map(|g| &mut g.at)),
                Code::Const(_) | Code::Unary(_) | Code::Binary(_) | Code::Select | Code::Cast(_) => {}
            }
        }
        for s in &mut self.sinks {
            match s {
                Sink::Store { at, .. } | Sink::Reduce { at, .. } => v.push(at),
            }
        }
        v
    }

    /// Drops loops of extent 1 and merges neighbours that every affine form walks through as one.
    pub fn simplify(&mut self) {
        let mut i = 0;
        while i < self.domain.len() {
            if self.domain[i] == 1 && self.domain.len() > 1 {
                self.domain.remove(i);
                self.forms_mut().into_iter().for_each(|f| {
                    f.coef.remove(i);
                });
                self.shift_axes(i, false);
                continue;
            }
            let next = i + 1;
            if next < self.domain.len() && self.domain[next] != 1 {
                let n = self.domain[next] as i64;
                let same_reduction = self.sinks.iter().all(|s| match s {
                    Sink::Reduce { axes, .. } => axes.contains(&i) == axes.contains(&next),
                    Sink::Store { .. } => true,
                });
                if same_reduction && self.forms_mut().iter().all(|f| f.coef[i] == f.coef[next] * n) {
                    self.domain[next] *= self.domain[i];
                    self.domain.remove(i);
                    self.forms_mut().into_iter().for_each(|f| {
                        f.coef.remove(i);
                    });
                    self.shift_axes(i, true);
                    i = i.saturating_sub(1);
                    continue;
                }
            }
            i += 1;
        }
    }

    fn shift_axes(&mut self, gone: usize, merged: bool) {
        for s in &mut self.sinks {
            if let Sink::Reduce { axes, .. } = s {
                if !merged {
                    axes.retain(|&a| a != gone);
                }
                axes.iter_mut().for_each(|a| {
                    if *a > gone {
                        *a -= 1;
                    }
                });
                axes.dedup();
            }
        }
    }
}

/// Builds a body by reading nodes through index maps.
pub struct Lower<'a> {
    graph: &'a Graph,
    /// For each node, whether it is in memory.
    stored: &'a dyn Fn(NodeId) -> bool,
    /// What is built.
    pub body: Body,
    memo: FxHashMap<(NodeId, IndexMap), Reg>,
    written: FxHashMap<NodeId, Reg>,
    numbers: FxHashMap<Inst, Reg>,
}

/// The node whose memory a reshape or stop shares.
pub fn base(g: &Graph, mut n: NodeId) -> NodeId {
    while matches!(g.node(n).op, Op::Reshape | Op::Stop) {
        n = g.node(n).args[0];
    }
    n
}

impl<'a> Lower<'a> {
    /// A body over `domain`.
    pub fn new(graph: &'a Graph, stored: &'a dyn Fn(NodeId) -> bool, domain: &[usize]) -> Self {
        let body = Body { domain: domain.to_vec(), ..Body::default() };
        Self {
            graph,
            stored,
            body,
            memo: FxHashMap::default(),
            written: FxHashMap::default(),
            numbers: FxHashMap::default(),
        }
    }

    fn rank(&self) -> usize {
        self.body.domain.len()
    }

    /// Adds an instruction or finds the equal one.
    pub fn inst(&mut self, code: Code, args: Vec<Reg>, dtype: DType) -> Reg {
        let inst = Inst { code, args, dtype };
        if let Some(&r) = self.numbers.get(&inst) {
            return r;
        }
        let r = self.body.insts.len() as Reg;
        self.body.insts.push(inst.clone());
        self.numbers.insert(inst, r);
        r
    }

    /// The guards that are not always true.
    fn needed(&self, guards: Vec<Guard>) -> Vec<Guard> {
        let mut v: Vec<Guard> = vec![];
        for g in guards {
            if !g.always(&self.body.domain) && !v.contains(&g) {
                v.push(g);
            }
        }
        v
    }

    /// A stored tensor read through a map.
    pub fn load(&mut self, n: NodeId, map: &IndexMap) -> Reg {
        let from = base(self.graph, n);
        let at = map.linear(self.graph.shape(n), self.rank());
        if let Some(&r) = self.written.get(&from)
            && map.guards.is_empty()
            && at == Affine::row_major(&self.body.domain)
        {
            return r;
        }
        let dtype = self.graph.ty(n).dtype;
        self.inst(Code::Load { from, at, guards: self.needed(map.guards.clone()) }, vec![], dtype)
    }

    /// The value of a node through a map; stored nodes are loaded, others computed here. `first` is a node that is
    /// computed even though it is stored (because this is where it gets its value).
    pub fn value(&mut self, n: NodeId, map: &IndexMap, first: Option<NodeId>) -> Reg {
        let key = (n, map.clone());
        if let Some(&r) = self.memo.get(&key) {
            return r;
        }
        let r = if Some(n) != first && (self.stored)(base(self.graph, n)) {
            self.load(n, map)
        } else {
            self.compute(n, map, first)
        };
        self.memo.insert(key, r);
        r
    }

    /// Tells where the element of a stored node that this body writes already is.
    pub fn here(&mut self, n: NodeId, r: Reg) {
        self.written.insert(n, r);
    }

    fn compute(&mut self, n: NodeId, map: &IndexMap, first: Option<NodeId>) -> Reg {
        let g = self.graph;
        let node = g.node(n);
        let (args, dtype) = (&node.args, node.ty.dtype);
        let rank = self.rank();
        let inner = |coords: Vec<Affine>| IndexMap { coords, guards: map.guards.clone() };
        match &node.op {
            Op::Const(Const::Splat(v)) => self.inst(Code::Const(v.0.to_bits()), vec![], dtype),
            Op::Iota { axis } => self.inst(Code::Iota(map.coords[*axis].clone()), vec![], dtype),
            Op::Random { stream, dist } => {
                let shape = &node.ty.shape;
                let sample = map.coords.first().cloned().unwrap_or_else(|| Affine::constant(rank, 0));
                let tail = IndexMap { coords: map.coords.iter().skip(1).cloned().collect(), guards: vec![] };
                let element = tail.linear(shape.get(1..).unwrap_or(&[]), rank);
                let scalar = |v: i64| IndexMap { coords: vec![Affine::constant(rank, v)], guards: vec![] };
                let k0 = self.value(args[0], &scalar(0), first);
                let k1 = self.value(args[0], &scalar(1), first);
                let c = self.value(args[1], &IndexMap { coords: vec![], guards: vec![] }, first);
                let code = Code::Random { stream: *stream, dist: *dist, sample, element };
                self.inst(code, vec![k0, k1, c], dtype)
            }
            Op::Unary(f) => {
                let a = self.value(args[0], map, first);
                self.inst(Code::Unary(*f), vec![a], dtype)
            }
            Op::Binary(f) => {
                let stored = |n: NodeId| Some(n) != first && (self.stored)(base(g, n));
                let [a, b] = ordered(g, *f, args, &stored).map(|arg| self.value(arg, map, first));
                self.inst(Code::Binary(*f), vec![a, b], dtype)
            }
            Op::Select => {
                let regs = args.iter().map(|&a| self.value(a, map, first)).collect();
                self.inst(Code::Select, regs, dtype)
            }
            Op::Cast => {
                let a = self.value(args[0], map, first);
                self.inst(Code::Cast(g.ty(args[0]).dtype), vec![a], dtype)
            }
            Op::Stop => self.value(args[0], map, first),
            Op::Reshape => {
                let inner = map.reshape(&node.ty.shape, g.shape(args[0]), &self.body.domain);
                let inner = inner.expect("the argument of a reshape that no map can express is stored");
                self.value(args[0], &inner, first)
            }
            Op::Permute(perm) => {
                let mut coords = map.coords.clone();
                perm.iter().zip(&map.coords).for_each(|(&p, c)| coords[p] = c.clone());
                self.value(args[0], &inner(coords), first)
            }
            Op::Broadcast => {
                let zero = Affine::constant(rank, 0);
                let pick = |(c, &d): (&Affine, &usize)| if d == 1 { zero.clone() } else { c.clone() };
                let coords = map.coords.iter().zip(g.shape(args[0])).map(pick).collect();
                self.value(args[0], &inner(coords), first)
            }
            Op::Slice { start, step, .. } => {
                let coords = map.coords.iter().enumerate();
                let coords = coords.map(|(i, c)| c.scaled(step[i] as i64, start[i] as i64)).collect();
                self.value(args[0], &inner(coords), first)
            }
            Op::Reverse(axes) => {
                let shape = &node.ty.shape;
                let flip = |(i, c): (usize, &Affine)| {
                    if axes.contains(&i) { c.scaled(-1, shape[i] as i64 - 1) } else { c.clone() }
                };
                let coords = map.coords.iter().enumerate().map(flip).collect();
                self.value(args[0], &inner(coords), first)
            }
            Op::Pad { lo, value, .. } => {
                let coords: Vec<Affine> =
                    map.coords.iter().zip(lo).map(|(c, &l)| c.scaled(1, -(l as i64))).collect();
                let inside = coords.iter().zip(g.shape(args[0]));
                let inside = inside.map(|(c, &d)| Guard { at: c.clone(), extent: d as i64 }).collect();
                self.guarded(args[0], map, coords, inside, value.0, dtype, first)
            }
            Op::Unfold(w) => {
                let k = w.size.len();
                let lead = node.ty.rank() - 2 * k;
                let mut coords = map.coords[..lead].to_vec();
                for i in 0..k {
                    let at = map.coords[lead + i].scaled(w.stride[i] as i64, -(w.pad_lo[i] as i64));
                    coords.push(at.plus(&map.coords[lead + k + i], w.dilation[i] as i64));
                }
                let inside = (0..k).map(|i| Guard { at: coords[lead + i].clone(), extent: w.size[i] as i64 });
                let inside = inside.collect();
                self.guarded(args[0], map, coords, inside, w.value.0, dtype, first)
            }
            Op::Concat { axis } => {
                let mut start = 0;
                let mut result = None;
                for &part in args {
                    let extent = g.shape(part)[*axis] as i64;
                    let mut coords = map.coords.clone();
                    coords[*axis] = coords[*axis].scaled(1, -start);
                    let guard = Guard { at: coords[*axis].clone(), extent };
                    start += extent;
                    if extent == 0 {
                        continue;
                    }
                    let own = self.needed(vec![guard]);
                    let mut guards = map.guards.clone();
                    guards.extend(own.iter().cloned());
                    let r = self.value(part, &IndexMap { coords, guards }, first);
                    result = Some(match result {
                        Some(_) if own.is_empty() => r,
                        Some(other) => self.inst(Code::Merge(own), vec![r, other], dtype),
                        None => r,
                    });
                }
                result.expect("a concat has parts")
            }
            Op::Input(_)
            | Op::Param(_)
            | Op::State(_)
            | Op::Const(Const::Dense(_))
            | Op::Fold(_)
            | Op::Sum(_)
            | Op::Max(_)
            | Op::ArgMax(_)
            | Op::Contract(_)
            | Op::ConvFwd(_)
            | Op::ConvDataGrad(_)
            | Op::ConvWeightGrad(_)
            | Op::GatherRows
            | Op::ScatterRows => unreachable!("{:?} is always stored", node.op),
        }
    }

    fn guarded(
        &mut self,
        arg: NodeId,
        map: &IndexMap,
        coords: Vec<Affine>,
        inside: Vec<Guard>,
        value: f64,
        dtype: DType,
        first: Option<NodeId>,
    ) -> Reg {
        let own = self.needed(inside);
        let mut guards = map.guards.clone();
        guards.extend(own.iter().cloned());
        let r = self.value(arg, &IndexMap { coords, guards }, first);
        // A load already gives 0 where its guards fail, and these are among them.
        let zero = value.to_bits() == 0 && matches!(self.body.insts[r as usize].code, Code::Load { .. });
        if own.is_empty() || zero {
            return r;
        }
        let outside = self.inst(Code::Const(value.to_bits()), vec![], dtype);
        self.inst(Code::Merge(own), vec![r, outside], dtype)
    }
}

impl fmt::Display for Affine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.offset)?;
        for (i, &c) in self.coef.iter().enumerate().filter(|(_, c)| **c != 0) {
            write!(f, " + {c}*i{i}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  for {:?}", self.domain)?;
        let guarded =
            |gs: &[Guard]| -> String { gs.iter().map(|g| format!(" if 0 <= {} < {}", g.at, g.extent)).collect() };
        for (r, i) in self.insts.iter().enumerate() {
            let args: Vec<String> = i.args.iter().map(|a| format!("r{a}")).collect();
            let what = match &i.code {
                Code::Const(v) => format!("{:?}", f64::from_bits(*v)),
                Code::Load { from, at, guards } => format!("load %{}[{at}]{}", from.0, guarded(guards)),
                Code::Iota(at) => format!("iota {at}"),
                Code::Random { stream, dist, sample, element } => {
                    format!("random {dist:?} stream={stream:#x} sample={sample} element={element}")
                }
                Code::Unary(u) => format!("{u:?}").to_lowercase(),
                Code::Binary(b) => format!("{b:?}").to_lowercase(),
                Code::Select => "select".into(),
                Code::Cast(from) => format!("cast {}", from.name()),
                Code::Merge(guards) => format!("merge{}", guarded(guards)),
            };
            writeln!(f, "    r{r}: {} = {what} {}", i.dtype.name(), args.join(", "))?;
        }
        for s in &self.sinks {
            match s {
                Sink::Store { node, reg, at, .. } => writeln!(f, "    store %{}[{at}] = r{reg}", node.0)?,
                Sink::Reduce { node, reg, combine, axes, at } => {
                    let how = format!("{combine:?}").to_lowercase();
                    writeln!(f, "    {how} %{}[{at}] over {axes:?} of r{reg}", node.0)?;
                }
            }
        }
        Ok(())
    }
}
