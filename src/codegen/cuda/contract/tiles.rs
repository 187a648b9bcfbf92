//! Tile shapes of products, and which one suits a product.

use super::super::Arch;
use crate::graph::DType;

/// How operands are multiplied; sums are always in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Math {
    /// f32, by ordinary multiply-adds.
    F32,
    /// f32 operands rounded to tf32, by tensor cores.
    Tf32,
    /// bf16 operands, by tensor cores.
    Bf16,
    /// f16 operands, by tensor cores.
    F16,
}

impl Math {
    /// What operands of this type are multiplied with.
    pub fn of(dtype: DType) -> Math {
        match dtype {
            DType::Bf16 => Math::Bf16,
            DType::F16 => Math::F16,
            DType::F32 | DType::U32 | DType::Bool => Math::F32,
        }
    }

    /// Its struct in `product.cuh`.
    pub fn name(self) -> &'static str {
        match self {
            Math::F32 => "ganc_math_f32",
            Math::Tf32 => "ganc_math_tf32",
            Math::Bf16 => "ganc_math_bf16",
            Math::F16 => "ganc_math_f16",
        }
    }

    /// Element type in shared memory.
    pub fn dtype(self) -> DType {
        match self {
            Math::F32 | Math::Tf32 => DType::F32,
            Math::Bf16 => DType::Bf16,
            Math::F16 => DType::F16,
        }
    }

    /// Elements after each row of a tile in shared memory: `[row][k]`, `[k][row]`; as in `product.cuh`.
    fn pads(self) -> [usize; 2] {
        match self {
            Math::F32 => [4, 4],
            Math::Tf32 => [4, 8],
            Math::Bf16 | Math::F16 => [8, 8],
        }
    }

    /// Multiply-adds of one multiprocessor in a clock, as the data sheets of A100 and H100 have them.
    fn rate(self, arch: Arch) -> usize {
        let a100 = match self {
            Math::F32 => 64,
            Math::Tf32 => 512,
            Math::Bf16 | Math::F16 => 1024,
        };
        if arch == Arch::Sm80 { a100 } else { 2 * a100 }
    }

    /// Its tiles on an architecture.
    pub fn tiles(self, arch: Arch) -> Vec<Tile> {
        let mut tiles = match self {
            Math::F32 => SIMT.to_vec(),
            Math::Tf32 => TF32.to_vec(),
            Math::Bf16 | Math::F16 => HALF.to_vec(),
        };
        if arch == Arch::Sm90a {
            match self {
                Math::F32 => {}
                Math::Tf32 => tiles.extend(HOPPER_TF32),
                Math::Bf16 | Math::F16 => tiles.extend(GROUPS),
            }
        }
        tiles
    }
}

/// What a block computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tile {
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Length of the sum in one stage.
    pub k: usize,
    /// Rows and columns of a warp (tensor cores), of a group of four warps or of a thread.
    pub own: [usize; 2],
    /// Threads of a block; at least `m` and `n`.
    pub threads: usize,
    /// Tiles in shared memory.
    pub stages: usize,
    /// Blocks that must fit on a multiprocessor: bounds a thread's registers so that none are spilled.
    pub least: usize,
    /// Hundredths of a multiprocessor's multiply-adds that it reaches with blocks enough, as seen on an H200.
    pub pace: usize,
    /// Whether groups of four warps multiply together (`wgmma`, of sm_90a alone).
    pub groups: bool,
    /// Sets of threads that divide the sum in a stage among themselves (f32 without tensor cores).
    pub shares: usize,
    /// Whether registers are too few for a kernel that chooses its tensors (of twins).
    pub tight: bool,
}

const fn tile(
    [m, n, k]: [usize; 3],
    own: [usize; 2],
    threads: usize,
    stages: usize,
    least: usize,
    pace: usize,
) -> Tile {
    Tile { m, n, k, own, threads, stages, least, pace, groups: false, shares: 1, tight: false }
}

const fn tight(tile: Tile) -> Tile {
    Tile { tight: true, ..tile }
}

/// 256 threads, each with four rows and columns: as many shares as that makes. For products of so few elements that
/// what counts is how long a block takes.
const fn shared_sum(m: usize, n: usize, k: usize, stages: usize) -> Tile {
    Tile { shares: 256 * 16 / (m * n), ..tile([m, n, k], [4, 4], 256, stages, 2, 40) }
}

/// f32 without tensor cores.
const SIMT: [Tile; 14] = [
    tile([256, 128, 16], [16, 8], 256, 3, 1, 53),
    tile([128, 128, 16], [8, 8], 256, 3, 1, 49),
    tight(tile([128, 64, 16], [8, 8], 128, 3, 3, 49)),
    tight(tile([64, 128, 16], [8, 8], 128, 3, 3, 49)),
    tile([64, 64, 16], [8, 4], 128, 3, 4, 43),
    tile([32, 32, 32], [4, 4], 64, 3, 4, 20),
    tile([128, 16, 32], [4, 4], 128, 3, 2, 20),
    tile([16, 128, 32], [4, 4], 128, 3, 2, 20),
    shared_sum(32, 32, 64, 2),
    shared_sum(16, 32, 128, 2),
    shared_sum(16, 16, 128, 3),
    shared_sum(32, 32, 8, 2),
    shared_sum(16, 4, 128, 3),
    shared_sum(4, 16, 128, 3),
];

/// tf32 on tensor cores.
const TF32: [Tile; 7] = [
    tile([128, 128, 16], [64, 64], 128, 4, 1, 26),
    tile([128, 64, 16], [32, 32], 256, 4, 1, 22),
    tile([64, 128, 16], [32, 32], 256, 4, 1, 22),
    tile([64, 64, 16], [32, 32], 128, 4, 2, 16),
    tile([32, 32, 32], [16, 16], 128, 3, 2, 8),
    tile([128, 16, 32], [32, 16], 128, 3, 2, 7),
    tile([16, 128, 32], [16, 32], 128, 3, 2, 7),
];

/// 16-bit operands on tensor cores.
const HALF: [Tile; 8] = [
    tile([128, 128, 32], [64, 64], 128, 3, 2, 27),
    tile([128, 64, 64], [32, 32], 256, 3, 1, 20),
    tile([64, 128, 64], [32, 32], 256, 3, 1, 20),
    tile([64, 64, 64], [32, 32], 128, 3, 3, 16),
    tile([32, 32, 64], [16, 16], 128, 3, 2, 8),
    tile([128, 16, 64], [32, 16], 128, 3, 2, 7),
    tile([16, 128, 64], [16, 32], 128, 3, 2, 7),
    tile([64, 16, 64], [16, 16], 128, 4, 4, 8),
];

const fn groups([m, n]: [usize; 2], own: [usize; 2], threads: usize, least: usize, pace: usize) -> Tile {
    Tile { m, n, k: 64, own, threads, stages: 4, least, pace, groups: true, shares: 1, tight: false }
}

/// 16-bit operands on tensor cores, by groups of four warps.
const GROUPS: [Tile; 5] = [
    groups([256, 128], [128, 128], 256, 1, 39),
    groups([128, 128], [64, 128], 256, 1, 36),
    groups([64, 128], [64, 128], 128, 2, 34),
    groups([128, 64], [64, 64], 256, 2, 28),
    groups([64, 64], [64, 64], 128, 3, 21),
];

/// The same of tf32, with as many bytes in a stage; its pace is taken to be the same share of tf32's rate.
const fn in_tf32(tile: Tile) -> Tile {
    Tile { k: tile.k / 2, ..tile }
}

/// tf32 on Hopper: a large tile, and those of groups of four warps.
const HOPPER_TF32: [Tile; 8] = [
    tile([256, 128, 16], [64, 64], 256, 4, 1, 25),
    in_tf32(GROUPS[0]),
    Tile { stages: 6, ..in_tf32(GROUPS[1]) },
    Tile { stages: 3, least: 2, ..in_tf32(GROUPS[1]) },
    in_tf32(GROUPS[2]),
    in_tf32(GROUPS[3]),
    in_tf32(GROUPS[4]),
    Tile { stages: 3, least: 4, ..in_tf32(GROUPS[4]) },
];

/// For chains of rows, whose blocks have whole rows: few of them, so that many blocks are at work.
const ROWS: [Tile; 6] = [
    shared_sum(8, 128, 32, 3),
    shared_sum(8, 32, 64, 2),
    shared_sum(8, 4, 128, 2),
    shared_sum(16, 128, 32, 3),
    shared_sum(16, 32, 64, 2),
    shared_sum(16, 4, 128, 2),
];

/// The same on tensor cores; and tiles for launches that products share with other work, of as many threads.
const ROWS_TF32: Tile = tile([16, 128, 32], [16, 16], 256, 3, 2, 7);
const ROWS_HALF: Tile = tile([16, 128, 64], [16, 16], 256, 3, 2, 7);
const SHARED_TF32: [Tile; 4] = [
    ROWS_TF32,
    tile([128, 16, 32], [16, 16], 256, 3, 2, 7),
    tile([32, 64, 32], [16, 16], 256, 3, 2, 11),
    tile([64, 64, 32], [32, 16], 256, 3, 2, 16),
];
const SHARED_HALF: [Tile; 4] = [
    ROWS_HALF,
    tile([128, 16, 64], [16, 16], 256, 3, 2, 7),
    tile([32, 64, 64], [16, 16], 256, 3, 2, 11),
    tile([64, 64, 64], [32, 16], 256, 3, 2, 16),
];

/// Fewest rows of a block of a chain.
pub fn least_rows(math: Math) -> usize {
    if math == Math::F32 { ROWS[0].m } else { ROWS_HALF.m }
}

/// The tile of a product in a chain whose blocks have this many rows.
pub fn of_rows(math: Math, size: Size, rows: usize) -> Option<Choice> {
    let tile = match math {
        Math::F32 => {
            let mut fit: Vec<Tile> = ROWS.into_iter().filter(|t| t.m == rows).collect();
            fit.sort_by_key(|t| (t.n < size.n, if t.n < size.n { usize::MAX - t.n } else { t.n }));
            *fit.first()?
        }
        Math::Tf32 => ROWS_TF32,
        Math::Bf16 | Math::F16 => ROWS_HALF,
    };
    (tile.m == rows && size.blocks == 1).then_some(Choice { tile, parts: 1, last: false })
}

/// The tile that should be the fastest among those of this many threads, with whole sums.
pub fn shared(shape: &super::tuning::Shape, arch: Arch, threads: usize) -> Option<Choice> {
    let tiles = match shape.math {
        Math::F32 => SIMT.to_vec(),
        Math::Tf32 => SHARED_TF32.to_vec(),
        Math::Bf16 | Math::F16 => SHARED_HALF.to_vec(),
    };
    let all = choices_of(&tiles, shape.math, arch, shape.size, true, shape.access);
    let fit = all.into_iter().filter(|(c, _)| c.tile.threads == threads && c.whole());
    fit.reduce(|best, c| if c.1 < best.1 { c } else { best }).map(|c| c.0)
}

impl Tile {
    /// Bytes of shared memory, for operands that lie along the sum (or not).
    pub fn shared(&self, math: Math, along: [bool; 2]) -> usize {
        let [pad, turned] = math.pads();
        let operand = |rows: usize, along: bool| {
            if self.groups {
                rows * self.k
            } else if along && math != Math::F32 {
                rows * (self.k + pad)
            } else {
                self.k * (rows + turned)
            }
        };
        let stage = (operand(self.m, along[0]) + operand(self.n, along[1])) * math.dtype().bytes();
        (stage * self.stages).max(self.shares * self.m * (self.n + 4) * 4)
    }
}

/// Multiprocessors of the largest device of an architecture's first members, for which work is cut.
fn processors(arch: Arch) -> usize {
    match arch {
        Arch::Sm80 => 108,
        Arch::Sm90a => 132,
        Arch::Sm100a => 148,
    }
}

/// Clocks that one more kernel is taken to cost.
const LAUNCH: usize = 3000;

/// Clocks of a block before its first step and after its last, beside handing its tile on.
const ENDS: usize = 2000;

/// Clocks of a step that no tile goes below: a barrier, and shared memory to registers; the same where groups of warps
/// wait for their products (seen on an H200: 0.4 to 0.5 µs).
const STEP: usize = 400;
const GROUP_STEP: usize = 750;

/// Clocks of a thread for an asynchronous copy, and for an access through registers, of which few are under way at once
/// (seen on an H200: 130 to 310).
const COPY: usize = 16;
const FETCH: usize = 150;
/// The same where elements are turned in registers, as seen on an H100: a step waits for its loads.
const TURN: usize = 400;

/// Single elements read by all tiles, a sector of memory each, that take longer than a kernel that packs them.
const WORTH: usize = 1 << 18;

/// Bytes of the device's memory in a clock.
const BYTES: usize = 2000;

/// Tiles that may have a counter of blocks; as in `finish.cuh`.
pub(super) const TILES: usize = 1024;
/// Elements of all parts of a tile that its last block adds up; more of them are left to another kernel.
const MOST_PARTS: usize = 32 << 10;
/// Clocks until the last block knows that it is the last, and has what the others wrote.
const GATHER: usize = 2500;
/// Blocks of shared sums for a multiprocessor, at most.
const FEW: usize = 4;
/// Rows or columns of a narrow product, at most.
const NARROW: usize = 8;

/// Extents of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size {
    /// Number of independent products.
    pub blocks: usize,
    /// Rows.
    pub m: usize,
    /// Columns.
    pub n: usize,
    /// Length of the sum.
    pub k: usize,
}

/// A tile, and into how many parts the sum is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The tile.
    pub tile: Tile,
    /// Parts of the sum.
    pub parts: usize,
    /// Whether the last block of a tile adds up its parts, else another kernel does.
    pub last: bool,
}

impl Choice {
    /// Tiles across and down.
    pub fn tiles(&self, size: Size) -> [usize; 2] {
        [size.n.div_ceil(self.tile.n), size.m.div_ceil(self.tile.m)]
    }

    /// Whether the product's kernel has whole sums.
    pub fn whole(&self) -> bool {
        self.parts == 1 || self.last
    }
}

/// How an operand is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Access {
    /// Elements of one access.
    pub vector: usize,
    /// Whether the bytes can stay as they are: asynchronous copies for tensor cores, else through registers.
    pub copied: bool,
    /// Whether neighbours lie along the sum, else along rows or columns.
    pub along: bool,
    /// Elements, if they lie far apart, or across the sum where tiles want them along it, and a kernel before can lay
    /// them out for the product; else none.
    pub apart: Option<usize>,
}

impl Access {
    /// Whether it is laid out anew for this tile when this many read each element.
    pub fn packed(&self, math: Math, tile: &Tile, reads: usize) -> bool {
        let wanted = self.far(math) || self.crosses(math, tile);
        wanted && self.apart.is_some_and(|all| reads >= 2 && reads * all >= WORTH)
    }

    /// Whether its accesses are narrower than asynchronous copies should be.
    pub(super) fn far(&self, math: Math) -> bool {
        self.vector * math.dtype().bytes() < 8
    }

    /// Whether it lies across the sum, and groups want tiles of 32 bits along it.
    fn crosses(&self, math: Math, tile: &Tile) -> bool {
        tile.groups && math == Math::Tf32 && !self.along
    }

    /// Clocks of the kernel that lays it along the sum: each element is read and written, in narrow accesses.
    fn turn(&self, math: Math, tile: &Tile, reads: usize) -> usize {
        match self.apart {
            Some(all) if !self.far(math) && self.packed(math, tile, reads) => LAUNCH + 3 * 4 * all / BYTES,
            _ => 0,
        }
    }

    /// Clocks of a thread for its share of a step's elements.
    fn clocks(&self, math: Math, tile: &Tile, elements: usize, reads: usize) -> usize {
        let widest = 16 / math.dtype().bytes();
        let (vector, copied) =
            if self.packed(math, tile, reads) { (widest, true) } else { (self.vector, self.copied) };
        let each = match copied {
            true if self.turned(math, tile, reads) => TURN,
            true => COPY,
            false => FETCH,
        };
        elements * each / (vector * tile.threads)
    }

    /// Whether elements are turned in registers.
    fn turned(&self, math: Math, tile: &Tile, reads: usize) -> bool {
        self.crosses(math, tile) && !self.packed(math, tile, reads)
    }

    /// Whether groups can have it: what goes through registers leaves none for sums of so many elements, and is what
    /// such a product waits for; only squares are turned there.
    fn suits_groups(&self, math: Math, tile: &Tile, reads: usize) -> bool {
        self.packed(math, tile, reads) || self.copied && (!self.turned(math, tile, reads) || self.vector == 4)
    }
}

/// The tile that should be the fastest.
pub fn choose(math: Math, arch: Arch, size: Size, split: bool, access: [Access; 2]) -> Choice {
    fastest(choices(math, arch, size, split, access))
}

/// The fastest of these.
pub(super) fn fastest(all: Vec<(Choice, usize)>) -> Choice {
    // The first of the fastest.
    let best = all.into_iter().reduce(|best, c| if c.1 < best.1 { c } else { best });
    best.map_or(Choice { tile: SIMT[0], parts: 1, last: false }, |b| b.0)
}

/// All ways to cut a product, with the clocks that the busiest multiprocessor should take.
pub fn choices(math: Math, arch: Arch, size: Size, split: bool, access: [Access; 2]) -> Vec<(Choice, usize)> {
    choices_of(&math.tiles(arch), math, arch, size, split, access)
}

fn choices_of(
    tiles: &[Tile],
    math: Math,
    arch: Arch,
    size: Size,
    split: bool,
    access: [Access; 2],
) -> Vec<(Choice, usize)> {
    let sms = processors(arch);
    let mut all = vec![];
    for &tile in tiles {
        let tiles = size.blocks * size.m.div_ceil(tile.m) * size.n.div_ceil(tile.n);
        // Shared sums are for products whose blocks all run at once; the narrowest tiles read too much of wide ones.
        let narrow = (tile.m >= NARROW || size.m <= NARROW) && (tile.n >= NARROW || size.n <= NARROW);
        if tile.shares > 1 && !(tiles <= FEW * sms && narrow) {
            continue;
        }
        let steps = size.k.div_ceil(tile.k).max(1);
        let step = tile.m * tile.n * tile.k * 100 / (math.rate(arch) * tile.pace);
        let [down, across] = [size.m.div_ceil(tile.m), size.n.div_ceil(tile.n)];
        let suits = |a: &Access, reads| a.suits_groups(math, &tile, reads);
        if tile.groups && !(suits(&access[0], across) && suits(&access[1], down)) {
            continue;
        }
        let reads = access[0].clocks(math, &tile, tile.m * tile.k, across)
            + access[1].clocks(math, &tile, tile.n * tile.k, down);
        let turns = access[0].turn(math, &tile, across) + access[1].turn(math, &tile, down);
        let least = reads + if tile.groups { GROUP_STEP } else { STEP };
        let ends = ENDS + 8 * tile.m * tile.n / tile.threads;
        let gathered = |parts: usize| tiles <= TILES && parts * tile.m * tile.n <= MOST_PARTS;
        let clocks = |parts: usize| {
            let blocks = (tiles * parts).div_ceil(sms);
            let each = steps.div_ceil(parts);
            let product = (blocks * each * step).max(each * least) + blocks.div_ceil(tile.least) * ends;
            product
                + turns
                + match (parts, gathered(parts)) {
                    (1, _) => 0,
                    // By one multiprocessor, from the second-level cache.
                    (_, true) => GATHER + (parts + 1) * tile.m * tile.n * 4 / 47,
                    // Parts are written and read once more, four bytes each.
                    (_, false) => LAUNCH + 2 * parts * size.blocks * size.m * size.n * 4 / BYTES,
                }
        };
        // A part is worth its own block if it is at least four stages long, or 128 elements.
        let shortest = if tile.shares > 1 { (128 / tile.k).max(1) } else { 4 };
        let most = if split { (sms * tile.least / tiles.max(1)).min(steps / shortest).max(1) } else { 1 };
        let halves = std::iter::successors((most > 1).then_some(most), |&p| (p >= 4).then_some(p / 2));
        for parts in std::iter::once(1).chain(halves) {
            all.push((Choice { tile, parts, last: parts > 1 && gathered(parts) }, clocks(parts)));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Neighbours side by side, as wide as accesses are.
    fn dense(math: Math) -> [Access; 2] {
        [Access { vector: 16 / math.dtype().bytes(), copied: true, along: true, apart: None }; 2]
    }

    const ALL: [Math; 4] = [Math::F32, Math::Tf32, Math::Bf16, Math::F16];

    /// What the template takes for granted, and the least that an architecture gives a block: 163 KiB of shared
    /// memory (compute capability 8.0), 64 Ki registers a multiprocessor.
    #[test]
    fn every_tile_fits() {
        for math in ALL {
            let shared = match math {
                Math::F32 => ROWS.to_vec(),
                Math::Tf32 => SHARED_TF32.to_vec(),
                Math::Bf16 | Math::F16 => SHARED_HALF.to_vec(),
            };
            for t in math.tiles(Arch::Sm90a).into_iter().chain(shared) {
                let [own_m, own_n] = t.own;
                let parts = (t.m / own_m) * (t.n / own_n);
                assert!(t.m % own_m == 0 && t.n % own_n == 0, "{t:?}");
                let threads = if t.groups {
                    128
                } else if math == Math::F32 {
                    1
                } else {
                    32
                };
                assert_eq!(parts * t.shares * threads, t.threads, "{t:?}");
                assert!(t.shares == 1 || (math == Math::F32 && t.k % t.shares == 0), "{t:?}");
                let (unit, step) = if t.groups {
                    // Rows of 128 bytes.
                    assert_eq!(t.k * math.dtype().bytes(), 128, "{t:?}");
                    (64, t.k)
                } else if math == Math::F32 {
                    (4, 1)
                } else {
                    (16, 16)
                };
                assert!(own_m % unit == 0 && own_n % unit == 0 && t.k % step == 0, "{t:?}");
                assert!(t.threads >= t.m.max(t.n) && t.threads % t.m == 0 && t.threads % t.n == 0, "{t:?}");
                assert!(t.k.is_power_of_two() && t.stages >= 2, "{t:?}");
                for along in [[false, false], [false, true], [true, false], [true, true]] {
                    let most = if t.groups { 227 } else { 163 };
                    assert!(t.shared(math, along) <= most * 1024, "{t:?} {along:?}");
                    // Moments of four columns of each thread, when what columns have is put together.
                    assert!(t.shared(math, along) >= 4 * 16 * t.threads, "{t:?} {along:?}");
                }
                assert!(t.least * t.threads <= 1024, "{t:?}");
            }
        }
    }

    #[test]
    fn tiles_suit_their_products() {
        let pick = |math, blocks, m, n, k| {
            let c = choose(math, Arch::Sm80, Size { blocks, m, n, k }, true, dense(math));
            (c.tile.m, c.tile.n, c.parts)
        };
        // Large: the largest tile. Few columns: a narrow one. A long sum of few elements: parts.
        assert_eq!(pick(Math::Bf16, 1, 65536, 128, 1152), (128, 128, 1));
        assert_eq!(pick(Math::F32, 1, 65536, 3, 1152), (128, 16, 1));
        assert_eq!(pick(Math::F32, 1, 1, 65536, 128).0, 16);
        let (m, n, parts) = pick(Math::F32, 1, 128, 1152, 65536);
        assert!((m, n) == (128, 128) && parts > 8, "{m} {n} {parts}");
        // A small product is not worth a second kernel.
        // Few elements: threads share sums. Hardly any columns or rows: tiles as narrow.
        let few = |m, n, k| choose(Math::F32, Arch::Sm90a, Size { blocks: 1, m, n, k }, true, dense(Math::F32));
        assert!(
            [(512, 128, 128), (128, 128, 512), (512, 128, 1)].iter().all(|s| few(s.0, s.1, s.2).tile.shares > 1)
        );
        assert_eq!((few(512, 2, 128).tile.n, few(1, 128, 512).tile.m), (4, 4));
        // Their parts are never worth a second kernel, and neither large nor middling products are theirs.
        assert!(few(512, 128, 256).whole() && few(128, 128, 512).whole());
        assert_eq!(few(65536, 128, 1152).tile.shares, 1);
        assert_eq!(few(4096, 1024, 1024).tile.shares, 1);
        // Elements that come one by one: no tile with columns that nobody needs (a first layer's weight gradient).
        let one = Access { vector: 1, copied: false, along: false, apart: None };
        let size = Size { blocks: 1, m: 64, n: 48, k: 131_072 };
        let wide = dense(Math::Bf16)[0];
        assert!(choose(Math::Bf16, Arch::Sm90a, size, true, [wide, one]).tile.n <= 16);
    }
}
