//! Bodies to kernels: how work is cut, which values are one for a whole tile, where tiles lie.

use super::super::lanes::{LaneInst, LaneOp};
use super::nest::Nest;
use super::select::{Make, Value, select, word};
use super::{Buf, Kernel, Reduction, Step, Variant};
use crate::fuse::{Affine, Body, Combine, Guard, Reg, Sink};
use crate::graph::{DType, NodeId};

/// Elements of a chunk, about.
const CHUNK: usize = 16 * 1024;
/// Most chunks of a kernel.
const MAX_CHUNKS: usize = 64;
/// Shortest row of neighbours that costs no more for being short.
const LINE: usize = 64;
/// Words of tiles that a thread should have at hand: most of an L1 cache.
const L1_WORDS: usize = 7 * 1024;

/// What the compiler asks about tensors.
pub struct Tensors<'a> {
    /// A stored node's place in the table.
    pub buf: &'a dyn Fn(NodeId) -> Buf,
    /// Element type and number of elements.
    pub ty: &'a dyn Fn(NodeId) -> (DType, usize),
}

impl Kernel {
    /// Makes a body ready; its loops are simplified first. `whole`: do not cut it into chunks.
    pub fn new(mut body: Body, tensors: &Tensors, whole: bool) -> Kernel {
        body.simplify();
        if body.domain.is_empty() {
            body.domain.push(1);
            body.forms_mut().into_iter().for_each(|f| f.coef.push(0));
        }
        let (values, same) = select(&body);
        let elements = body.elements();
        let (split, chunk) = if whole { (0, body.domain[0]) } else { cut(&body, tensors) };
        let extent = body.domain[split];
        let chunks = if elements == 0 { 0 } else { extent.div_ceil(chunk) };
        let cuts = |axes: &[usize]| chunks > 1 && axes.contains(&split);
        let (reductions, prefill, shared_words) = reductions(&body, tensors, chunks, cuts);
        let build = |len: usize| {
            let mut extents = body.domain.clone();
            extents[split] = len;
            variant(&body, &values, &same, tensors, &|words| Tiling::new(&extents, words))
        };
        let (main, mut pointers, mut thread_words) = build(chunk.min(extent));
        let rest = extent % chunk.max(1);
        let last = (chunks > 1 && rest != 0).then(|| {
            let (v, p, w) = build(rest);
            pointers = pointers.max(p);
            thread_words = thread_words.max(w);
            v
        });
        let forms = [Some(&main), last.as_ref()].into_iter().flatten().flat_map(Variant::widths).max().unwrap_or(1);
        Kernel {
            split,
            chunk,
            chunks,
            extent,
            main,
            last,
            reductions,
            prefill,
            shared_words,
            thread_words,
            pointers,
            rank: body.domain.len(),
            forms,
            elements,
        }
    }
}

/// Where the reductions of a body go, what is filled before, and words of shared scratch. `parted` tells whether each
/// of `chunks` chunks has its own part of a reduction over these loops.
pub(super) fn reductions(
    body: &Body,
    tensors: &Tensors,
    chunks: usize,
    parted: impl Fn(&[usize]) -> bool,
) -> (Vec<Reduction>, Vec<(Buf, usize, u32)>, usize) {
    let (mut reductions, mut prefill) = (vec![], vec![]);
    let mut shared_words = 0;
    for s in &body.sinks {
        let (dtype, words) = (tensors.ty)(s.node());
        let to = (tensors.buf)(s.node());
        match s {
            Sink::Store { prefill: Some(v), .. } => prefill.push((to, words, word(*v, dtype))),
            Sink::Store { .. } => {}
            Sink::Reduce { combine, axes, reg, .. } => {
                let integer = !body.insts[*reg as usize].dtype.is_float();
                let mut take = |n: usize| {
                    shared_words += n;
                    shared_words - n
                };
                let partial = parted(axes).then(|| take(words * chunks));
                let values = if *combine == Combine::ArgMax { take(words) } else { 0 };
                reductions.push(Reduction { combine: *combine, integer, to, words, partial, values });
            }
        }
    }
    (reductions, prefill, shared_words)
}

impl Variant {
    pub(super) fn widths(&self) -> impl Iterator<Item = usize> {
        self.setup.iter().chain(&self.body).map(|s| match s {
            Step::Fill { nest, .. }
            | Step::Iota { nest, .. }
            | Step::Noise { nest, .. }
            | Step::Merge { nest, .. }
            | Step::Store { nest, .. }
            | Step::Reduce { nest, .. } => nest.forms.len(),
            Step::Point { .. } | Step::Lanes(_) => 1,
        })
    }
}

/// The loop to cut and the extent of a chunk.
fn cut(body: &Body, tensors: &Tensors) -> (usize, usize) {
    let domain = &body.domain;
    let elements = body.elements();
    let work = elements * (body.ops() + 4) / 8;
    let want = (work / CHUNK).clamp(1, MAX_CHUNKS);
    if want == 1 {
        return (0, domain[0].max(1));
    }
    // Neighbours that are worked on together if this loop is cut into so many.
    let row = |l: usize, chunks: usize| domain[l + 1..].iter().product::<usize>() * domain[l].div_ceil(chunks);
    let price = |l: usize, chunks: usize| -> Option<u64> {
        let mut price = 0u64;
        for s in &body.sinks {
            if let Sink::Reduce { node, combine, axes, .. } = s
                && axes.contains(&l)
            {
                if *combine == Combine::ArgMax {
                    return None;
                }
                price += 4 * ((tensors.ty)(*node).1 * chunks) as u64;
            }
        }
        price += (elements * (want - chunks) / want) as u64;
        if l + 1 == domain.len() && domain.len() > 1 {
            price += elements as u64 / 4;
        }
        if l > 0 {
            price += elements as u64 * (LINE / row(l, chunks).max(1)) as u64 / 2;
        }
        Some(price)
    };
    // Fewer parts of a sum are added up sooner.
    let counts = [want, want.min(32), want.min(16)];
    let cuts = (0..domain.len()).filter(|&l| domain[l] > 1).flat_map(|l| counts.map(|n| (l, n.min(domain[l]))));
    let best = cuts.filter_map(|(l, chunks)| price(l, chunks).map(|p| (p, l, chunks))).min();
    let Some((_, l, chunks)) = best else { return (0, domain[0].max(1)) };
    let n = domain[l];
    let mut chunk = n.div_ceil(chunks);
    if l + 1 == domain.len() {
        chunk = chunk.next_multiple_of(64);
    }
    (l, chunk)
}

/// How a value depends on the walk.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Depends {
    /// Differs between tiles.
    tile: bool,
    /// Differs within a tile.
    wide: bool,
}

pub(super) struct Tiling<'a> {
    extents: &'a [usize],
    tiled: usize,
    step: usize,
    inner: usize,
    /// Whether the tiled loop's index differs between tiles.
    many: bool,
}

impl Tiling<'_> {
    /// Tiles of about `words` elements of a whole nest.
    fn new(extents: &[usize], words: usize) -> Tiling<'_> {
        Self::from(extents, words, 0)
    }

    /// Tiles within blocks of a matrix, which may start anywhere: of whole rows if `least` is 0 and they are short
    /// enough, of parts of a row if it is 1.
    pub(super) fn of_blocks(extents: &[usize], words: usize, least: usize) -> Tiling<'_> {
        Tiling { many: true, ..Self::from(extents, words, least) }
    }

    fn from(extents: &[usize], words: usize, least: usize) -> Tiling<'_> {
        let rank = extents.len();
        let mut tiled = rank - 1;
        let mut inner = 1;
        while tiled > least && inner * extents[tiled] <= words {
            inner *= extents[tiled];
            tiled -= 1;
        }
        let n = extents[tiled].max(1);
        let mut step = (words / inner).clamp(1, n);
        // Tiles of nearly the same size, of whole vectors where one loop is all there is.
        step = n.div_ceil(n.div_ceil(step));
        if inner == 1 && step < n {
            step = step.next_multiple_of(64).min(n);
        }
        Tiling { extents, tiled, step, inner, many: step < extents[tiled] }
    }

    fn form(&self, f: &Affine) -> Depends {
        let moves = |l: usize| f.coef[l] != 0 && self.extents[l] > 1;
        let tile = (0..self.tiled).any(moves) || (self.many && moves(self.tiled));
        let wide = (self.tiled..self.extents.len()).any(moves);
        Depends { tile, wide }
    }

    fn forms<'f>(&self, forms: impl Iterator<Item = &'f Affine>) -> Depends {
        forms.map(|f| self.form(f)).fold(Depends { tile: false, wide: false }, |a, b| Depends {
            tile: a.tile || b.tile,
            wide: a.wide || b.wide,
        })
    }

    fn nest(&self, forms: Vec<Affine>, guards: &[Guard]) -> Nest {
        let mut bounds = vec![0; forms.len()];
        let mut forms = forms;
        for g in guards {
            forms.push(g.at.clone());
            bounds.push(g.extent);
        }
        Nest::new(forms, bounds, self.extents, self.tiled)
    }
}

/// Where a value is while a tile is worked on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Home {
    None,
    Constant(u32),
    /// In a tensor; the pointer is set for each tile or chunk.
    There,
    /// One word of the thread's scratch.
    Word(usize),
    /// A tile of the thread's scratch.
    Tile(usize),
}

/// Steps of a chunk cut into tiles, pointers and words that a thread needs.
pub(super) fn variant<'a>(
    body: &'a Body,
    values: &'a [Value],
    same: &'a [Reg],
    tensors: &'a Tensors<'a>,
    tiling: &dyn Fn(usize) -> Tiling<'a>,
) -> (Variant, usize, usize) {
    let mut words = 1024;
    loop {
        let built = Builder::new(body, values, same, tensors, tiling(words)).build();
        if built.2 <= L1_WORDS.max(words * 6) || words == 256 {
            return built;
        }
        words /= 2;
    }
}

struct Builder<'a> {
    body: &'a Body,
    values: &'a [Value],
    same: &'a [Reg],
    tensors: &'a Tensors<'a>,
    tiling: Tiling<'a>,
    tile_words: usize,
    depends: Vec<Depends>,
    home: Vec<Home>,
    last_use: Vec<usize>,
    /// Tiles that are free for reuse, and the number ever taken.
    free: Vec<usize>,
    tiles: usize,
    single: usize,
    setup: Vec<Step>,
    steps: Vec<Step>,
    /// Further pointers: tiles made of uniform values.
    extra: Vec<Home>,
}

impl<'a> Builder<'a> {
    fn new(
        body: &'a Body,
        values: &'a [Value],
        same: &'a [Reg],
        tensors: &'a Tensors<'a>,
        tiling: Tiling<'a>,
    ) -> Self {
        let tile_words = (tiling.step * tiling.inner).next_multiple_of(16);
        let n = values.len();
        let mut depends = vec![Depends { tile: false, wide: false }; n];
        for (i, v) in values.iter().enumerate() {
            let mut d = match &v.make {
                Make::Nothing | Make::Const(_) | Make::Lane(_) => Depends { tile: false, wide: false },
                Make::Load { at, guards, .. } => {
                    let mut d = tiling.forms(std::iter::once(at).chain(guards.iter().map(|g| &g.at)));
                    d.wide |= !guards.is_empty();
                    d
                }
                Make::Iota(at) => tiling.form(at),
                Make::Noise { sample, element, .. } => {
                    Depends { wide: true, ..tiling.forms([sample, element].into_iter()) }
                }
                Make::Merge(guards) => Depends { wide: true, ..tiling.forms(guards.iter().map(|g| &g.at)) },
            };
            for &a in &v.args {
                d.tile |= depends[a as usize].tile;
                d.wide |= depends[a as usize].wide;
            }
            depends[i] = d;
        }
        let mut last_use = vec![0; n];
        for (i, v) in values.iter().enumerate() {
            v.args.iter().for_each(|&a| last_use[a as usize] = i);
        }
        for s in &body.sinks {
            let r = same[s.reg() as usize] as usize;
            last_use[r] = last_use[r].max(r);
            if late(body, s, tensors) {
                last_use[r] = usize::MAX;
            }
        }
        Self {
            body,
            values,
            same,
            tensors,
            tiling,
            tile_words,
            depends,
            home: vec![Home::None; n],
            last_use,
            free: vec![],
            tiles: 0,
            single: 0,
            setup: vec![],
            steps: vec![],
            extra: vec![],
        }
    }

    fn take_tile(&mut self, permanent: bool) -> usize {
        if !permanent && let Some(t) = self.free.pop() {
            return t;
        }
        self.tiles += 1;
        self.tiles - 1
    }

    fn push(&mut self, tile: bool, step: Step) {
        let list = if tile { &mut self.steps } else { &mut self.setup };
        match (list.last_mut(), step) {
            (Some(Step::Lanes(all)), Step::Lanes(mut new)) => all.append(&mut new),
            (_, step) => list.push(step),
        }
    }

    fn build(mut self) -> (Variant, usize, usize) {
        // Chunk-wide values first: their tiles are never reused.
        let (later, first): (Vec<usize>, Vec<usize>) = (0..self.values.len()).partition(|&i| self.depends[i].tile);
        first.into_iter().for_each(|i| self.emit(i));
        for i in later {
            self.emit(i);
            self.release(i);
        }
        // What does not change between tiles is written for each tile all the same. What is written over memory that
        // the body reads comes last: reductions may still read it in place.
        for last in [false, true] {
            for s in &self.body.sinks {
                let r = self.same[s.reg() as usize] as usize;
                let late = late(self.body, s, self.tensors);
                if late == last && (late || !self.depends[r].tile) {
                    self.sink(s);
                }
            }
        }
        let n = self.values.len();
        let mut constants = vec![];
        let mut slots = vec![];
        let first_tile = self.single.next_multiple_of(16);
        for (p, home) in self.home.iter().chain(&self.extra).enumerate() {
            match home {
                Home::None | Home::There => {}
                Home::Constant(w) => {
                    constants.push(*w);
                    slots.push((p as u16, usize::MAX - (constants.len() - 1)));
                }
                Home::Word(w) => slots.push((p as u16, *w)),
                Home::Tile(t) => slots.push((p as u16, first_tile + t * self.tile_words)),
            }
        }
        let words = first_tile + self.tiles * self.tile_words;
        let pointers = n + self.extra.len();
        assert!(pointers < usize::from(u16::MAX), "a body of {n} instructions");
        let variant = Variant {
            extents: self.tiling.extents.to_vec(),
            tiled: self.tiling.tiled,
            step: self.tiling.step,
            inner: self.tiling.inner,
            setup: self.setup,
            body: self.steps,
            constants,
            slots,
        };
        (variant, pointers, words)
    }

    /// Frees the tiles whose last use was value `i`.
    fn release(&mut self, i: usize) {
        let mut done: Vec<usize> = self.values[i].args.iter().map(|&a| a as usize).collect();
        done.push(i);
        done.sort_unstable();
        done.dedup();
        for a in done {
            if let Home::Tile(t) = self.home[a]
                && self.last_use[a] == i
                && self.depends[a].tile
            {
                self.free.push(t);
            }
        }
    }

    /// A home for a value that is computed.
    fn settle(&mut self, i: usize) {
        let d = self.depends[i];
        self.home[i] = if d.wide {
            Home::Tile(self.take_tile(!d.tile))
        } else {
            self.single += 1;
            Home::Word(self.single - 1)
        };
    }

    fn uniform(&self, r: Reg) -> bool {
        !self.depends[r as usize].wide
    }

    fn emit(&mut self, i: usize) {
        let values = self.values;
        let v = &values[i];
        let d = self.depends[i];
        let to = i as u16;
        match &v.make {
            Make::Nothing => return,
            Make::Const(w) => self.home[i] = Home::Constant(*w),
            Make::Load { from, at, guards } => {
                let buf = (self.tensors.buf)(*from);
                let nest = self.tiling.nest(vec![at.clone()], guards);
                // A value that is written over other memory at the end must not change before.
                let moves =
                    |s: &Sink| self.same[s.reg() as usize] as usize == i && late(self.body, s, self.tensors);
                let in_place = guards.is_empty() && (!d.wide || nest.is_run(1));
                if in_place && !self.body.sinks.iter().any(moves) {
                    self.home[i] = Home::There;
                    self.push(d.tile, Step::Point { to, buf, at: at.clone() });
                } else {
                    self.settle(i);
                    self.push(d.tile, Step::Fill { to, buf, nest });
                }
            }
            Make::Iota(at) => {
                self.settle(i);
                let nest = self.tiling.nest(vec![at.clone()], &[]);
                self.push(d.tile, Step::Iota { to, nest });
            }
            Make::Noise { stream, dist, sample, element } => {
                self.settle(i);
                let nest = self.tiling.nest(vec![sample.clone(), element.clone()], &[]);
                let args = [v.args[0] as u16, v.args[1] as u16, v.args[2] as u16];
                self.push(d.tile, Step::Noise { to, args, stream: *stream, dist: *dist, nest });
            }
            Make::Merge(guards) => {
                self.settle(i);
                let nest = self.tiling.nest(vec![], guards);
                let args = [v.args[0] as u16, v.args[1] as u16];
                let uniform = [self.uniform(v.args[0]), self.uniform(v.args[1])];
                self.push(d.tile, Step::Merge { to, args, uniform, nest });
            }
            Make::Lane(op) => {
                if !self.direct(i) {
                    self.settle(i);
                }
                let mut args = [0u16; 4];
                let mut uniform = 0;
                for (k, &a) in v.args.iter().enumerate() {
                    args[k] = a as u16;
                    uniform |= u8::from(self.uniform(a)) << k;
                }
                self.push(d.tile, Step::Lanes(vec![LaneInst { op: *op, to, args, uniform, wide: d.wide }]));
            }
        }
        if d.tile {
            for s in &self.body.sinks {
                if self.same[s.reg() as usize] as usize == i && !late(self.body, s, self.tensors) {
                    self.sink(s);
                }
            }
        }
    }

    /// Lets lane code write a result to its tensor at once, where it goes to one place in one piece.
    fn direct(&mut self, i: usize) -> bool {
        let d = self.depends[i];
        if !d.tile || !d.wide {
            return false;
        }
        for s in &self.body.sinks {
            if let Sink::Store { at, node, .. } = s
                && self.same[s.reg() as usize] as usize == i
                && !late(self.body, s, self.tensors)
                && self.tiling.nest(vec![at.clone()], &[]).is_run(1)
            {
                self.home[i] = Home::There;
                let buf = (self.tensors.buf)(*node);
                self.push(true, Step::Point { to: i as u16, buf, at: at.clone() });
                return true;
            }
        }
        false
    }

    fn sink(&mut self, s: &Sink) {
        let r = self.same[s.reg() as usize] as usize;
        let uniform = !self.depends[r].wide;
        match s {
            Sink::Store { node, at, .. } => {
                let buf = (self.tensors.buf)(*node);
                let nest = self.tiling.nest(vec![at.clone()], &[]);
                // Already there? Only the first store of a value is direct.
                let first = self.body.sinks.iter().find(|t| {
                    matches!(t, Sink::Store { .. })
                        && self.same[t.reg() as usize] as usize == r
                        && !late(self.body, t, self.tensors)
                        && matches!(t, Sink::Store { at, .. }
                            if self.tiling.nest(vec![at.clone()], &[]).is_run(1))
                });
                let there = self.home[r] == Home::There
                    && matches!(self.values[r].make, Make::Lane(_))
                    && first.is_some_and(|t| std::ptr::eq(t, s));
                if !there {
                    self.push(true, Step::Store { from: r as u16, uniform, buf, nest });
                }
            }
            Sink::Reduce { combine, axes, at, .. } => {
                let mut from = r as u16;
                if uniform {
                    // Reductions want a tile.
                    from = (self.values.len() + self.extra.len()) as u16;
                    let tile = self.take_tile(true);
                    self.extra.push(Home::Tile(tile));
                    let inst = LaneInst { op: LaneOp::Copy, to: from, args: [r as u16; 4], uniform: 1, wide: true };
                    self.push(true, Step::Lanes(vec![inst]));
                }
                let mut forms = vec![at.clone()];
                if *combine == Combine::ArgMax {
                    forms.push(index_within(&self.body.domain, axes));
                }
                let nest = self.tiling.nest(forms, &[]);
                let before = self.body.sinks.iter().take_while(|t| !std::ptr::eq(*t, s));
                let reduction = before.filter(|t| matches!(t, Sink::Reduce { .. })).count();
                self.push(true, Step::Reduce { from, reduction, nest });
            }
        }
    }
}

/// Row-major index within the reduced loops.
fn index_within(domain: &[usize], axes: &[usize]) -> Affine {
    let mut at = Affine::constant(domain.len(), 0);
    let mut stride = 1;
    for l in (0..domain.len()).rev().filter(|l| axes.contains(l)) {
        at.coef[l] = stride;
        stride *= domain[l] as i64;
    }
    at
}

/// Whether a store must wait for the end of the tile: its tensor's memory is also read by the body.
fn late(body: &Body, s: &Sink, tensors: &Tensors) -> bool {
    let Sink::Store { node, .. } = s else { return false };
    let to = (tensors.buf)(*node);
    body.reads().into_iter().any(|n| (tensors.buf)(n) == to)
}
