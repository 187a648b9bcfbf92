//! Reductions of a product's result in the kernel that makes it: each block combines what its own tile has of them, and
//! the last block that shares them puts all blocks' together (`finish.cuh`).

use super::super::Arg;
use super::emit::loops;
use super::space::{Group, Problem};
use super::tiles::{TILES, Tile};
use super::view::{element, through};
use crate::fuse::{Body, Combine, Sink};
use crate::graph::ty::strides;
use crate::graph::{DType, Graph, NodeId};
use std::fmt::Write;

/// Lines of partial sums for a thread of the last block: more of them take longer than other kernels would.
const MOST_LINES: usize = 256;

/// One reduction.
struct Sum {
    node: NodeId,
    dtype: DType,
    combine: Combine,
}

/// The reductions of an epilogue.
#[derive(Default)]
pub(super) struct Sums {
    list: Vec<Sum>,
    /// Whether each column has a result, else there is one in all.
    columns: bool,
    /// Columns of the product, or 1.
    results: usize,
}

impl Sum {
    /// How two values are combined, and what changes none: words of the text.
    fn words(&self) -> (&'static str, &'static str) {
        match self.combine {
            Combine::Sum => ("ganc_sum", "0.0f"),
            Combine::Deviation => ("ganc_sum", "ganc_nothing()"),
            Combine::Max | Combine::ArgMax => ("ganc_max", "__uint_as_float(0xff800000u)"),
        }
    }

    /// Whether it keeps means beside sums, and the type in which it is collected.
    fn moments(&self) -> bool {
        self.combine == Combine::Deviation
    }

    fn ty(&self) -> &'static str {
        if self.moments() { "ganc_moments" } else { "float" }
    }

    /// What another block needs of this value, number by number.
    fn numbers(&self, value: &str) -> Vec<String> {
        match self.moments() {
            true => vec![format!("{value}.n"), format!("ganc_mean({value})"), format!("ganc_deviation({value})")],
            false => vec![value.to_string()],
        }
    }

    /// The element that is stored for this value.
    fn stored(&self, value: &str) -> String {
        let value = if self.moments() { format!("ganc_deviation({value})") } else { value.to_string() };
        format!("ganc_number<{}>::of({value})", element(self.dtype))
    }
}

impl Sums {
    /// The reductions, if all are sums or maxima over everything or all over everything but columns.
    pub fn new(graph: &Graph, problem: &Problem, node: NodeId, body: &Body) -> Option<Self> {
        let (space, domain) = (&problem.space, problem.space.domain());
        let axes = loops(&body.domain, graph.shape(node), &problem.result, domain.len());
        let extents = space.extents(Group::Cols);
        let cols = space.range(Group::Cols);
        let mut per_column = strides(&extents);
        per_column.iter_mut().zip(&extents).filter(|x| *x.1 == 1).for_each(|x| *x.0 = 0);
        let mut list = vec![];
        let mut kinds = vec![];
        for s in &body.sinks {
            let Sink::Reduce { node, reg, combine, at, .. } = s else { continue };
            let dtype = graph.ty(*node).dtype;
            let float = dtype.is_float() && body.insts[*reg as usize].dtype.is_float();
            if !float || *combine == Combine::ArgMax {
                return None;
            }
            let at = through(at, &axes, domain.len());
            let coef: Vec<i64> = at.coef.iter().zip(&domain).map(|(&c, &n)| if n == 1 { 0 } else { c }).collect();
            let others = coef.iter().enumerate().any(|(i, &c)| c != 0 && !cols.contains(&i));
            if at.offset != 0 || others {
                return None;
            }
            let here = &coef[cols.clone()];
            let all = here.iter().all(|&c| c == 0) && graph.ty(*node).elements() == 1;
            let each = here.iter().zip(&per_column).all(|(&c, &s)| c == s as i64);
            kinds.push((all, each));
            list.push(Sum { node: *node, dtype, combine: *combine });
        }
        let columns = !kinds.iter().all(|k| k.0);
        if columns && !kinds.iter().all(|k| k.1) {
            return None;
        }
        Some(Self { list, columns, results: if columns { extents.iter().product() } else { 1 } })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Numbers that a block has of each column.
    fn numbers(&self) -> usize {
        self.list.iter().map(|s| if s.moments() { 3 } else { 1 }).sum()
    }

    /// Columns side by side of a tile, and blocks that share results of a column of tiles.
    fn extents(&self, tile: &Tile, [across, down]: [usize; 2], blocks: usize) -> (usize, usize) {
        if self.columns { (tile.n, down * blocks) } else { (1, across * down * blocks) }
    }

    /// Whether the last block is not kept too long.
    pub fn suits(&self, tile: &Tile, tiles: [usize; 2], blocks: usize) -> bool {
        let (width, lines) = self.extents(tile, tiles, blocks);
        lines <= MOST_LINES * (tile.threads / width) && tiles[0] <= TILES
    }

    /// Bytes of scratch for what each block has; none if there is one line only.
    pub fn scratch(&self, tile: &Tile, tiles: [usize; 2], blocks: usize) -> usize {
        let (width, lines) = self.extents(tile, tiles, blocks);
        let all = if self.columns { tiles[0] * width } else { 1 };
        if lines == 1 { 0 } else { 4 * lines * self.numbers() * all }
    }

    /// Members of the result's struct in which a thread collects, and their start.
    pub fn members(&self) -> (String, String) {
        let (mut declared, mut set) = (String::new(), String::new());
        for (i, s) in self.list.iter().enumerate() {
            let (start, count) = (s.words().1, if self.columns { "V" } else { "1" });
            let _ = writeln!(declared, "  {} s{i}[{count}];", s.ty());
            let _ = writeln!(set, "#pragma unroll\n    for (int j = 0; j < {count}; ++j) s{i}[j] = {start};");
        }
        (declared, set)
    }

    /// Which of a thread's collected values the element of its j-th column goes to.
    pub fn index(&self) -> &'static str {
        if self.columns { "j" } else { "0" }
    }

    /// Parameters for the results, and what a launch passes for them.
    pub fn parameters(&self) -> impl Iterator<Item = (String, Arg)> + '_ {
        let one = |(i, s): (usize, &Sum)| (format!("{}* t{i}", element(s.dtype)), Arg::Node(s.node));
        self.list.iter().enumerate().map(one)
    }

    /// The end of the kernel, behind `ganc_finish`, whose threads have `vector` neighbouring columns each.
    /// `block`, `counts`: words for its number and for counters. `then`: what is done with the results of column `c`, or
    /// nothing.
    pub fn finish(
        &self,
        tile: &Tile,
        tiles: [usize; 2],
        blocks: usize,
        vector: usize,
        [block, counts]: [&str; 2],
        then: &str,
    ) -> String {
        let (width, lines) = self.extents(tile, tiles, blocks);
        let all = if self.columns { tiles[0] * width } else { 1 };
        let mut text = String::new();
        let (line, counter) = match self.columns {
            true => (format!("z * {} + row / Shape::M", tiles[1]), "col / Shape::N"),
            false => (format!("{block} % {lines}"), "0"),
        };
        for (i, s) in self.list.iter().enumerate() {
            let (of, ty) = (s.words().0, s.ty());
            let count = if self.columns { vector } else { 1 };
            if s.moments() {
                let settle = format!("result.s{i}[j] = ganc_settled(result.s{i}[j]);");
                let _ = writeln!(text, "#pragma unroll\n  for (int j = 0; j < {count}; ++j) {settle}");
            }
            let fold = match self.columns {
                true => format!("ganc_fold_each<Shape::THREADS, {}, {vector}, {of}>(result.s{i})", width / vector),
                false => format!("ganc_fold<Shape::THREADS, 1, {of}>(result.s{i}[0])"),
            };
            let _ = writeln!(text, "  const {ty} u{i} = {fold};");
        }
        let column = if self.columns { "col + (int)threadIdx.x" } else { "0" };
        let _ = writeln!(text, "  if (threadIdx.x < {width}) {{\n    const int c = {column};");
        if lines == 1 {
            for (i, s) in self.list.iter().enumerate() {
                let value = s.stored(&format!("u{i}"));
                let _ = writeln!(text, "    if (c < {}) t{i}[c] = {value};", self.results);
            }
            if !then.is_empty() {
                let _ = writeln!(text, "    if (c < {}) {then}", self.results);
            }
            text.push_str("  }\n");
            return text;
        }
        let stride = self.numbers() * all;
        let mut at = 0;
        for (i, s) in self.list.iter().enumerate() {
            for value in s.numbers(&format!("u{i}")) {
                let _ = writeln!(text, "    sums[({line}) * {stride} + {at} + c] = {value};");
                at += all;
            }
        }
        let _ = writeln!(text, "  }}\n  if (!ganc_last({counts} + GANC_TILES + {counter}, {lines})) return;");
        let column = if self.columns { "col + (int)threadIdx.x % Shape::N" } else { "0" };
        let _ = writeln!(text, "  const int c = {column};");
        let mut at = 0;
        for (i, s) in self.list.iter().enumerate() {
            let ((of, start), ty) = (s.words(), s.ty());
            let total = match s.moments() {
                true => format!(
                    "ganc_total_moments<Shape::THREADS, {width}, {lines}>(sums + {at} + c, {stride}, {all})"
                ),
                false => format!(
                    "ganc_total<Shape::THREADS, {width}, {of}, {lines}>(sums + {at} + c, {stride}, {start})"
                ),
            };
            let _ = writeln!(text, "  const {ty} o{i} = {total};");
            at += all * if s.moments() { 3 } else { 1 };
        }
        let _ = writeln!(text, "  if (threadIdx.x < {width} && c < {}) {{", self.results);
        for (i, s) in self.list.iter().enumerate() {
            let _ = writeln!(text, "    t{i}[c] = {};", s.stored(&format!("o{i}")));
        }
        if !then.is_empty() {
            let _ = writeln!(text, "    {then}");
        }
        text.push_str("  }\n");
        text
    }
}
