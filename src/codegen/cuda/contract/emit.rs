//! The text and the launches of a product.

use super::super::Arg;
use super::super::body::{
    Spliced, element as element_function, epilogue as epilogue_function, map as map_function,
};
use super::super::emit::{Emit, NAME};
use super::super::packs::Pack;
use super::super::print::{STAGE, storage};
use super::super::product::Follow;
use super::super::tails::{self, Tail};
use super::space::{Element, Group, Problem, Space};
use super::sums::Sums;
use super::tiles::{Access, Choice, Math, Size};
use super::tuning::Shape;
use super::view::{View, element, through};
use crate::fuse::{Affine, Body, Code, Guard, Inst, Sink};
use crate::graph::ty::strides;
use crate::graph::{DType, NodeId};
use std::fmt::Write;

/// Threads of a block in kernels that only move data.
const MOVERS: usize = 256;
/// Threads that keep a device busy with loads.
const MANY: usize = 1 << 18;
/// Elements that are laid out anew in no time.
const SMALL: usize = 1 << 16;
/// Bytes of the widest access.
const WIDEST: usize = 16;
/// Elements to which rows of a packed operand are padded.
const PACKED: usize = 8;

/// Where an operand's elements come from.
enum Read {
    /// Memory, converted on the way.
    Stored { from: Arg, dtype: DType },
    /// A function of its coordinates, of which this one moves along with the elements of an access.
    Computed(Spliced, usize),
}

/// An operand as a struct of the text.
struct Loader {
    read: Read,
    view: View,
    /// Elements of one access.
    vector: usize,
    /// Whether they are neighbours along the sum, else along rows.
    along: bool,
    /// The names of its two index types' functions.
    index: &'static str,
}

/// Pointers of a struct of the text: what a launch passes for each, and its type.
type Pointers = Vec<(Arg, String)>;

/// A kernel's parameters, as they are collected.
#[derive(Default)]
struct Parameters {
    text: Vec<String>,
    args: Vec<Arg>,
}

impl Parameters {
    /// Adds pointers; gives the arguments of their struct's constructor, after z.
    fn add(&mut self, letter: &str, list: &Pointers) -> String {
        let mut names = String::from("z");
        for (i, (arg, ty)) in list.iter().enumerate() {
            self.text.push(format!("{ty} {letter}{i}"));
            self.args.push(*arg);
            let _ = write!(names, ", {letter}{i}");
        }
        names
    }

    /// The head of a kernel with these parameters, or of a stage.
    fn head(&self, (threads, least): (usize, usize), emit: &mut Emit) -> String {
        emit.least(least);
        if emit.stages_only() {
            let all = [&[STAGE.to_string()], &*self.text].concat();
            return format!("GANC_DEVICE void {NAME}(\n    {}) {{\n", all.join(",\n    "));
        }
        format!(
            "extern \"C\" __global__ void __launch_bounds__({threads}, {least}) {NAME}(\n    {}) {{\n  ganc_begin();\n",
            self.text.join(",\n    ")
        )
    }
}

/// Texts of a product's parts are made here.
pub(super) struct Writer<'a, 'b> {
    pub emit: &'b mut Emit<'a>,
    pub math: Math,
}

/// The result as a struct of the text.
struct Target {
    text: String,
    /// Elements of one access.
    vector: usize,
    pointers: Pointers,
}

impl Writer<'_, '_> {
    /// The launches of a product of this shape, cut so.
    pub fn product(
        &mut self,
        problem: &Problem,
        (shape, choice): (&Shape, Choice),
        node: NodeId,
        follow: &Follow,
        sums: &Sums,
    ) {
        let space = &problem.space;
        let Choice { tile, parts, last: by_last } = choice;
        let (size, access) = (shape.size, shape.access);
        let tiles = choice.tiles(size);
        let pack = [0, 1].map(|i| access[i].packed(self.math, &tile, tiles[i]));
        let left = self.operand("left", space, &problem.left, Group::Rows, pack[0]);
        let right = self.operand("right", space, &problem.right, Group::Cols, pack[1]);
        let whole = [size.m.is_multiple_of(tile.m), size.n.is_multiple_of(tile.n)];
        let step = size.k.is_multiple_of(tile.k).then_some(tile.k);
        let target = self.target(problem, node, follow, sums, whole);
        let width = size.n.next_multiple_of(4);
        let plane = size.m * width;
        let part = if by_last { tiles[0] * tiles[1] * tile.m * tile.n } else { plane };
        let partial = (parts > 1).then(|| Arg::Scratch(self.emit.scratch(4 * parts * size.blocks * part)));

        let mut p = Parameters::default();
        let mut text = String::new();
        if let Some(at) = partial {
            p.text.push("float* parts".to_string());
            p.args.push(at);
        }
        let result = match partial {
            Some(_) if !by_last => {
                let of = format!("ganc_partial<{}, {width}>", size.m);
                format!("{of} result = {{parts + ((long long)part * {} + z) * {plane}}}", size.blocks)
            }
            _ => {
                text.push_str(&target.text);
                format!("{NAME}_result result({})", p.add("y", &target.pointers))
            }
        };
        let mut makes = vec![];
        let plain = self.emit.shares() && parts == 1;
        let matrices = self.matrix(&left).zip(self.matrix(&right)).filter(|_| plain);
        for (side, letter, loader, whole) in [("left", "a", &left, whole[0]), ("right", "b", &right, whole[1])] {
            let given = p.add(letter, &self.pointers(loader));
            if matrices.is_none() {
                text.push_str(&self.loader_text(side, loader, whole, step));
            }
            makes.push(format!("{NAME}_{side}({given})"));
        }
        let bytes = sums.scratch(&tile, tiles, size.blocks);
        if bytes > 0 {
            p.text.push("float* sums".to_string());
            p.args.push(Arg::Scratch(self.emit.scratch(bytes)));
        }
        for (parameter, arg) in sums.parameters() {
            p.text.push(parameter);
            p.args.push(arg);
        }
        let (mut then, mut tail) = (String::new(), (!sums.is_empty()).then(Tail::default));
        if let Follow::Body(_, Some(body)) = follow {
            let f = map_function(self.emit.graph, tails::AFTER, body);
            let (args, types) = self.tensors(&f).into_iter().unzip();
            tail = Some(Tail { text: f.text, types, args });
        }
        if tail.is_some() {
            text.push_str(tails::FUNCTIONS);
            p.text.push(tails::PARAMETERS.into());
            then = tails::CALL.into();
        }
        let steps = size.k.div_ceil(tile.k);
        let each = steps.div_ceil(parts);
        text.push_str(&p.head((tile.threads, tile.least), self.emit));
        let [block, counts] = self.emit.words();
        let [own_m, own_n] = tile.own;
        let (groups, shares) = (tile.groups as usize, tile.shares);
        let shape = [tile.m, tile.n, tile.k, own_m, own_n, tile.threads, tile.stages, groups, shares];
        let shape = shape.map(|v| v.to_string()).join(", ");
        let _ = writeln!(text, "  typedef ganc_shape<{shape}> Shape;");
        let _ = writeln!(text, "  int at = {block};");
        let _ = writeln!(text, "  const int col = at % {} * Shape::N;\n  at /= {};", tiles[0], tiles[0]);
        let _ = writeln!(text, "  const int row = at % {} * Shape::M;\n  at /= {};", tiles[1], tiles[1]);
        // What the compiler knows it does not work out: where there is one block of products, and one part of the sum.
        let z = if size.blocks == 1 { "0".into() } else { format!("at % {}", size.blocks) };
        let _ = writeln!(text, "  const int z = {z};");
        let _ = match parts {
            1 if matrices.is_some() => Ok(()),
            1 => writeln!(text, "  const int first = 0, last = {steps};"),
            _ => writeln!(
                text,
                "  const int part = at / {}, first = part * {each}, last = min(first + {each}, {steps});",
                size.blocks
            ),
        };
        let math = self.math.name();
        let _ = match matrices {
            None => {
                writeln!(text, "  ganc_multiply<{math}, Shape>({}, {}, row, col, first, last);", makes[0], makes[1])
            }
            Some(([a, x], [b, y])) => writeln!(
                text,
                "  ganc_multiply_matrices<{math}, Shape, {a}, {b}>(a0{x}, b0{y}, {}, row, col);",
                size.k
            ),
        };
        if by_last {
            let all = tiles[0] * tiles[1] * size.blocks;
            let gather = format!("ganc_gather<Shape, {parts}>(parts, {counts}, {block} % {all}, part)");
            let _ = writeln!(text, "  if (!{gather}) return;");
            self.emit.counters(all);
        }
        let _ = writeln!(text, "  {result};\n  ganc_finish<Shape>(result, row, col);");
        if !sums.is_empty() {
            text.push_str(&sums.finish(&tile, tiles, size.blocks, target.vector, self.emit.words(), &then));
            self.emit.counters(tiles[0]);
        }
        text.push_str("}\n");
        let blocks = tiles[0] * tiles[1] * size.blocks * parts;
        let shared = tile.shared(self.math, [left.along, right.along]);
        let kernel = match tail {
            None => self.emit.kernel("product", text, &p.text),
            Some(tail) => {
                let (kernel, more) = self.emit.kernel_with_tail("product", text, &p.text, tail);
                p.args.extend(more);
                kernel
            }
        };
        self.emit.launch(kernel, [blocks as u32, 1, 1], tile.threads, shared, p.args);
        if let Some(at) = partial.filter(|_| !by_last) {
            self.add_parts(at, size, parts, &target);
        }
    }

    /// The kernel that adds up parts of the sum.
    fn add_parts(&mut self, at: Arg, size: Size, parts: usize, target: &Target) {
        let width = size.n.next_multiple_of(4);
        let plane = size.m * width;
        let (vector, units) = (target.vector, plane / target.vector);
        let total = units * size.blocks;
        // Few elements of many parts: several threads for each, or the device would wait for one load after another.
        let slices = match parts {
            _ if total >= MANY => 1,
            0..8 => 1,
            8..32 => 4,
            _ => 16,
        };
        let across = MOVERS / slices;
        let mut p = Parameters { text: vec!["const float* __restrict__ parts".into()], args: vec![at] };
        let given = p.add("y", &target.pointers);
        // Told that one block is enough, the compiler takes the registers that it needs (32 otherwise, and spills).
        let mut text = target.text.clone() + &p.head((MOVERS, 1), self.emit);
        let block = self.emit.words()[0];
        let _ = writeln!(text, "  const int at = {block} * {across} + threadIdx.x % {across}, z = at / {units};");
        let _ = writeln!(text, "  {NAME}_result result({given});");
        let stride = size.blocks * plane;
        let call = format!("ganc_add_parts<{}, {width}, {parts}, {across}, {slices}>", size.m);
        let from = format!("parts + (long long)z * {plane}, {stride}ll, at % {units}, at < {total}");
        let _ = writeln!(text, "  {call}(result, {from});\n}}");
        let kernel = self.emit.kernel("add_parts", text, &p.text);
        let shared = if slices > 1 { 4 * MOVERS * vector } else { 0 };
        self.emit.launch(kernel, [total.div_ceil(across) as u32, 1, 1], MOVERS, shared, p.args);
    }

    /// How an operand is read; `pack`: whether it should be laid out for the product first.
    fn operand(&mut self, what: &str, space: &Space, e: &Element, group: Group, pack: bool) -> Loader {
        let loader = self.loader(what, space, e, group);
        let (rows, sum) = (loader.view.extent(0), loader.view.extent(1));
        let (blocks, bytes) = (space.blocks(), self.math.dtype().bytes());
        // Elements that lie far apart or across, and are read again by other tiles: once through memory is cheaper.
        let own = self.emit.rows().is_some() && matches!(group, Group::Rows);
        let made = e.operand.body.reads().iter().any(|&n| self.emit.makes(n));
        if own || made || !pack {
            return loader;
        }
        let width = sum.next_multiple_of(PACKED);
        let plane = rows * width;
        let at = self.emit.pack_place();
        // Neighbouring rows come together, each element of the sum goes to its own place.
        let vector = if loader.along { 1 } else { loader.vector };
        let loader = Loader { vector, along: false, ..loader };
        let dtype = self.math.dtype();
        let of_plane = plane / vector;
        let units = blocks * of_plane;
        let mut p = Parameters { text: vec![format!("{}* to", element(dtype))], args: vec![at] };
        let pointers = self.pointers(&loader);
        let given = p.add("a", &pointers);
        let mut text = self.loader_text(what, &loader, false, None);
        let _ = writeln!(text, "GANC_DEVICE void {NAME}_pack(int at, {}) {{", p.text.join(", "));
        let _ = writeln!(text, "  const int z = at / {of_plane};\n  if (at >= {units}) return;");
        let to = format!("to + (long long)z * {plane}");
        let _ = writeln!(text, "  ganc_pack<{width}>({to}, {NAME}_{what}({given}), at % {of_plane});\n}}");
        let mut types = vec![format!("{}* __restrict__", element(dtype))];
        types.extend(pointers.into_iter().map(|p| p.1));
        self.emit.pack(Pack { text, types, args: p.args, units, bytes: blocks * plane * bytes });
        Loader {
            read: Read::Stored { from: at, dtype },
            view: View::dense(blocks, rows, width),
            vector: WIDEST / bytes,
            along: true,
            index: View::index_type(blocks * plane),
        }
    }

    /// How both operands are read.
    pub fn accesses(&self, problem: &Problem) -> [Access; 2] {
        let one = |what, e, group| {
            let loader = self.loader(what, &problem.space, e, group);
            self.access(&problem.space, e, &loader)
        };
        let [mut left, mut right] =
            [one("left", &problem.left, Group::Rows), one("right", &problem.right, Group::Cols)];
        // One operand laid along the sum is worth nothing while a step waits for the other, which is turned on its way.
        let waits = [&left, &right].map(|a| !a.along && a.apart.is_none());
        for (a, other_waits) in [(&mut left, waits[1]), (&mut right, waits[0])] {
            if other_waits && self.math == Math::Tf32 && !a.far(self.math) {
                a.apart = None;
            }
        }
        [left, right]
    }

    fn access(&self, space: &Space, e: &Element, loader: &Loader) -> Access {
        let bytes = self.math.dtype().bytes();
        let all = space.blocks() * loader.view.extent(0) * loader.view.extent(1);
        let stored: usize = e.operand.shape.iter().product();
        // An image would become as many times as large as a kernel has taps.
        let laid_out = loader.vector * bytes < 8 || self.math == Math::Tf32 && !loader.along;
        let apart = laid_out && (all <= 2 * stored || all < SMALL);
        let same = matches!(&loader.read, Read::Stored { dtype, .. } if *dtype == self.math.dtype());
        // Without tensor cores a tile lies across the sum: what lies along it is turned on the way.
        let copied = same && loader.vector * bytes >= 4 && (self.math != Math::F32 || !loader.along);
        Access { vector: loader.vector, copied, along: loader.along, apart: apart.then_some(all) }
    }

    fn loader(&self, what: &str, space: &Space, e: &Element, group: Group) -> Loader {
        let rank = space.domain().len();
        let groups = [group, Group::Sum];
        if let Some((from, dtype, at, guards)) = stored(&e.operand.body) {
            let at = through(at, &e.coords, rank);
            let mut all: Vec<Guard> = e.guards.clone();
            let domain = space.domain();
            let inner = guards.iter().map(|g| Guard { at: through(&g.at, &e.coords, rank), extent: g.extent });
            all.extend(inner.filter(|g| !g.always(&domain)));
            let view = View::new(space, groups, &[at], &all);
            let most = WIDEST / dtype.bytes();
            let (rows, sum) = (view.vector(0, 0, most), view.vector(0, 1, most));
            let along = sum > 1 && sum >= rows;
            let index = View::index_type(self.emit.graph.ty(from).elements());
            let read = Read::Stored { from: Arg::Node(from), dtype };
            return Loader { read, view, vector: if along { sum } else { rows }, along, index };
        }
        let view = View::new(space, groups, &e.coords, &e.guards);
        let function = element_function(self.emit.graph, &format!("{NAME}_{what}_element"), &e.operand.body);
        let index = function.index();
        let most = WIDEST / self.math.dtype().bytes();
        // Neighbours in the operand should be neighbours in memory too.
        let near = |form: usize| {
            e.operand.body.insts.iter().all(|i| match &i.code {
                Code::Load { at, .. } => at.coef[form].abs() <= 1,
                _ => true,
            })
        };
        let one = |side: usize| view.walk(side, most).filter(|w| near(w.0)).unwrap_or((0, 1));
        let (rows, sum) = (one(0), one(1));
        let along = sum.1 > 1 && sum.1 >= rows.1;
        let (moves, vector) = if along { sum } else { rows };
        Loader { read: Read::Computed(function, moves), view, vector, along, index }
    }

    /// What a kernel passes to a loader's constructor after z.
    fn pointers(&self, loader: &Loader) -> Pointers {
        match &loader.read {
            Read::Stored { from, dtype } => vec![(*from, format!("const {}* __restrict__", element(*dtype)))],
            Read::Computed(f, _) => self.tensors(f),
        }
    }

    /// An operand that is a matrix as it lies in memory: its type, and what follows the pointer among arguments.
    fn matrix(&self, l: &Loader) -> Option<[String; 2]> {
        let Read::Stored { dtype, .. } = &l.read else { return None };
        let [offset, row, sum] = l.view.matrix()?;
        let (along, copy) = (l.along as u8, (*dtype == self.math.dtype()) as u8);
        let ty = format!("ganc_matrix<{}, {}, {along}, {copy}>", element(*dtype), l.vector);
        Some([ty, format!(" + {offset}, {}, {row}, {sum}", l.view.extent(0))])
    }

    fn tensors(&self, f: &Spliced) -> Pointers {
        let one = |&(n, write): &(NodeId, bool)| {
            let ty = storage(self.emit.graph.ty(n).dtype);
            (Arg::Node(n), if write { format!("{ty}*") } else { format!("const {ty}*") })
        };
        f.tensors.iter().map(one).collect()
    }

    /// The struct of an operand. `whole`: whether tiles have rows of it only; `step`: of how many elements of the sum tiles
    /// are, if of nothing else.
    fn loader_text(&self, side: &str, l: &Loader, whole: bool, step: Option<usize>) -> String {
        let name = format!("{NAME}_{side}");
        let list = self.pointers(l);
        let mut s = match &l.read {
            Read::Computed(f, _) => f.text.clone(),
            Read::Stored { .. } => String::new(),
        };
        let _ = writeln!(s, "struct {name} {{");
        let (dtype, copy) = match &l.read {
            Read::Stored { dtype, .. } => (*dtype, *dtype == self.math.dtype()),
            Read::Computed(..) => (self.math.dtype(), false),
        };
        let _ = writeln!(s, "  typedef {} T;", element(dtype));
        let _ = writeln!(s, "  enum {{ V = {}, ALONG = {}, COPY = {} }};", l.vector, l.along as u8, copy as u8);
        s.push_str(&members(&list));
        s.push_str(&l.view.members(["Row", "Sum"], l.index));
        s.push_str(&constructor(&name, &list, &l.view.prepare(l.index)));
        s.push_str(&l.view.side(0, "row", "Row", l.index, whole));
        s.push_str(&l.view.side(1, "sum", "Sum", l.index, step.is_some()));
        // Where accesses lie across the sum each is at a place of its own in it. Without tensor cores that is little beside
        // the products, and not worth the registers.
        let apart = !l.along && self.math != Math::F32 && step.is_some_and(|k| l.view.splits(k));
        s.push_str(&l.view.stepwise("sum", "Sum", apart));
        let inside = l.view.inside(["r", "s"]);
        match &l.read {
            Read::Stored { .. } => {
                s.push_str("  GANC_DEVICE const T* address(const Row& r, const Sum& s, bool& in) const {\n");
                let at = View::place(l.index, "in ? r.f0 + s.f0 : 0");
                let _ = writeln!(s, "    in = {inside};\n    return p0 + {at};\n  }}");
                s.push_str(
                    "  template <class S> GANC_DEVICE void get(S* to, const Row& r, const Sum& s) const {\n",
                );
                s.push_str("    bool in;\n    const T* const from = address(r, s, in);\n    ganc_fetch<V>(to, from, in);\n  }\n");
            }
            Read::Computed(f, moves) => {
                let mut given: Vec<String> = (0..list.len()).map(|i| format!("p{i}")).collect();
                let moved = |i: usize| if i == *moves { " + j" } else { "" };
                given.extend((0..l.view.free()).map(|i| format!("r.f{i} + s.f{i}{}", moved(i))));
                s.push_str(
                    "  template <class S> GANC_DEVICE void get(S* to, const Row& r, const Sum& s) const {\n",
                );
                let _ = writeln!(s, "    const bool in = {inside};");
                let value = format!("{}({})", f.name, given.join(", "));
                let _ = writeln!(s, "#pragma unroll\n    for (int j = 0; j < V; ++j)");
                let _ = writeln!(s, "      to[j] = ganc_number<S>::of(in ? {value} : 0.0f);\n  }}");
            }
        }
        s.push_str("};\n");
        s
    }

    /// The result, as it is stored or as an epilogue takes it.
    fn target(&self, problem: &Problem, node: NodeId, follow: &Follow, sums: &Sums, whole: [bool; 2]) -> Target {
        let (space, graph) = (&problem.space, self.emit.graph);
        let rank = space.domain().len();
        let shape = graph.shape(node);
        let view = |forms: &[Affine]| View::new(space, [Group::Rows, Group::Cols], forms, &problem.inside);
        match follow {
            Follow::Store(to) => {
                let mut at = Affine::constant(rank, 0);
                for (c, &stride) in problem.result.iter().zip(&strides(shape)) {
                    at = at.plus(c, stride as i64);
                }
                let view = view(&[at]);
                let vector = view.vector(0, 1, 4);
                let ty = graph.ty(node);
                let list = vec![(*to, format!("{}*", element(ty.dtype)))];
                let index = View::index_type(ty.elements());
                let text = Kept {
                    sums,
                    vector,
                    index,
                    members: "float w0[V];".into(),
                    work: "#pragma unroll\n    for (int j = 0; j < V; ++j) k.w0[j] = v[j];\n".into(),
                    keep: format!("    ganc_put<V>(p0 + {}, k.w0);\n", View::place(index, "r.f0 + c.f0")),
                    whole,
                };
                Target { text: text.print(&view, &list), vector, pointers: list }
            }
            Follow::Body(body, _) => {
                let loops = loops(&body.domain, shape, &problem.result, rank);
                self.after(node, body, &loops, &view, sums, whole)
            }
        }
    }

    /// A result that an epilogue takes: neighbours are read and written in one access where they lie side by side.
    fn after(
        &self,
        node: NodeId,
        body: &Body,
        loops: &[Affine],
        view: &dyn Fn(&[Affine]) -> View,
        sums: &Sums,
        whole: [bool; 2],
    ) -> Target {
        let (graph, rank) = (self.emit.graph, loops.first().map_or(0, |l| l.coef.len()));
        let forms = |list: &[(NodeId, Affine)]| -> Vec<Affine> {
            list.iter().map(|(_, at)| through(at, loops, rank)).collect()
        };
        let store = |s: &Sink| match s {
            Sink::Store { node, at, .. } => Some((*node, at.clone())),
            Sink::Reduce { .. } => None,
        };
        let stores: Vec<(NodeId, Affine)> = body.sinks.iter().filter_map(store).collect();
        let mut loads: Vec<(NodeId, Affine)> = vec![];
        for inst in &body.insts {
            let Code::Load { from, at, guards } = &inst.code else { continue };
            let load = (*from, at.clone());
            let plain = *from != node && guards.is_empty() && graph.ty(*from).dtype.is_float();
            if plain && !loads.contains(&load) {
                loads.push(load);
            }
        }
        let free = loops.len();
        let all = view(&[loops, &forms(&stores), &forms(&loads)].concat());
        // A thread's sums are of its own columns, whose results are of every column.
        let vector = (0..stores.len()).map(|i| all.vector(free + i, 1, 4)).min().unwrap_or(1);
        let mut place = free + stores.len();
        loads.retain(|_| {
            place += 1;
            vector > 1 && all.vector(place - 1, 1, vector) == vector
        });
        let view = view(&[loops, &forms(&stores), &forms(&loads)].concat());

        let f = epilogue_function(graph, &format!("{NAME}_then"), body, node, &loads);
        let list = self.tensors(&f);
        let pointer = |n: NodeId| f.tensors.iter().position(|t| t.0 == n).unwrap_or(0);
        let dtype = |n: NodeId| graph.ty(n).dtype;
        let mut work = String::new();
        for (k, (n, _)) in loads.iter().enumerate() {
            let at = free + stores.len() + k;
            let place = View::place(f.index(), &format!("r.f{at} + c.f{at}"));
            let from = format!("(const {}*)p{} + {place}", element(dtype(*n)), pointer(*n));
            let _ = writeln!(work, "    float x{k}[V];\n    ganc_fetch<V>(x{k}, {from}, true);");
        }
        let mut given: Vec<String> = (0..list.len()).map(|i| format!("p{i}")).collect();
        given.push("v[j]".into());
        given.extend((0..loads.len()).map(|k| format!("x{k}[j]")));
        given.extend((0..free).map(|i| match if vector > 1 { view.step(i, 1) } else { 0 } {
            0 => format!("r.f{i} + c.f{i}"),
            1 => format!("r.f{i} + c.f{i} + j"),
            step => format!("r.f{i} + c.f{i} + {step} * j"),
        }));
        given.extend((0..stores.len()).map(|k| format!("k.w{k}[j]")));
        given.extend((0..sums.len()).map(|k| format!("s{k}[{}]", sums.index())));
        let _ = writeln!(
            work,
            "#pragma unroll\n    for (int j = 0; j < V; ++j)\n      {}({});",
            f.name,
            given.join(", ")
        );
        let (mut members, mut keep) = (String::new(), String::new());
        for (k, (n, _)) in stores.iter().enumerate() {
            let at = free + k;
            let to = format!("p{} + {}", pointer(*n), View::place(f.index(), &format!("r.f{at} + c.f{at}")));
            let ty = match dtype(*n) {
                DType::Bool => "bool",
                DType::U32 => "unsigned",
                DType::F32 | DType::F16 | DType::Bf16 => "float",
            };
            let _ = write!(members, "{}{ty} w{k}[V];", if k > 0 { " " } else { "" });
            let _ = match dtype(*n).is_float() {
                true => writeln!(keep, "    ganc_put<V>(({}*){to}, k.w{k});", element(dtype(*n))),
                false => writeln!(keep, "#pragma unroll\n    for (int j = 0; j < V; ++j) ({to})[j] = k.w{k}[j];"),
            };
        }
        let kept = Kept { sums, vector, index: f.index(), members, work, keep, whole };
        let text = f.text.clone() + &kept.print(&view, &list);
        Target { text, vector, pointers: list }
    }
}

/// The parts of a result's struct that differ.
struct Kept<'a> {
    /// Reductions, which collect in members.
    sums: &'a Sums,
    vector: usize,
    /// The type of positions.
    index: &'static str,
    /// What is kept of V elements between reading and writing.
    members: String,
    /// Statements that work it out, and that write it.
    work: String,
    keep: String,
    /// Whether tiles have rows, and columns, of the result only.
    whole: [bool; 2],
}

impl Kept<'_> {
    fn print(&self, view: &View, list: &Pointers) -> String {
        let (name, index) = (format!("{NAME}_result"), self.index);
        let mut s = format!("struct {name} {{\n  enum {{ V = {} }};\n", self.vector);
        s.push_str(&members(list));
        s.push_str(&view.members(["Row", "Cols"], index));
        let (collected, start) = self.sums.members();
        s.push_str(&collected);
        let _ = writeln!(s, "  struct Kept {{ {} }};", self.members);
        s.push_str(&constructor(&name, list, &(start + &view.prepare(index))));
        s.push_str(&view.side(0, "row", "Row", index, self.whole[0]));
        s.push_str(&view.side(1, "cols", "Cols", index, self.whole[1]));
        let head = format!("    const Row r = row(m);\n    if (!({})) return;\n", view.inside(["r", "c"]));
        let collects = if self.sums.is_empty() { " const" } else { "" };
        let _ = writeln!(s, "  GANC_DEVICE void work(int m, const Cols& c, const float* v, Kept& k){collects} {{");
        let _ = writeln!(s, "{head}{}  }}", self.work);
        s.push_str("  GANC_DEVICE void keep(int m, const Cols& c, const Kept& k) const {\n");
        let _ = writeln!(s, "{head}{}  }}\n}};", self.keep);
        s
    }
}

/// The loops of an epilogue, each over some neighbouring axes of the result, as functions of the coordinates.
pub(super) fn loops(domain: &[usize], shape: &[usize], axes: &[Affine], rank: usize) -> Vec<Affine> {
    let mut rest = shape.iter().zip(axes);
    let loops = domain.iter().map(|&extent| {
        let (mut form, mut size) = (Affine::constant(rank, 0), 1);
        while size < extent {
            let Some((&d, axis)) = rest.next() else { break };
            form = form.scaled(d as i64, 0).plus(axis, 1);
            size *= d;
        }
        form
    });
    loops.collect()
}

/// A tensor read in place or through one conversion: node, its element type, position, guards.
fn stored(body: &Body) -> Option<(NodeId, DType, &Affine, &[Guard])> {
    let load = match body.insts.as_slice() {
        [load] => load,
        [load, Inst { code: Code::Cast(from), args, dtype }]
            if args == &[0] && dtype.is_float() && from.is_float() =>
        {
            load
        }
        _ => return None,
    };
    match &load.code {
        Code::Load { from, at, guards } => Some((*from, load.dtype, at, guards)),
        _ => None,
    }
}

/// Declarations of a struct's pointers.
fn members(list: &Pointers) -> String {
    list.iter().enumerate().map(|(i, (_, ty))| format!("  {ty} p{i};\n").replace(" __restrict__", "")).collect()
}

fn constructor(name: &str, list: &Pointers, body: &str) -> String {
    let parameters: String = list.iter().enumerate().map(|(i, (_, ty))| format!(", {ty} q{i}")).collect();
    let sets: String = list.iter().enumerate().map(|(i, _)| format!("    p{i} = q{i};\n")).collect();
    let parameters = parameters.replace(" __restrict__", "");
    format!("  GANC_DEVICE {name}(int z{parameters}) {{\n{sets}{body}  }}\n")
}
