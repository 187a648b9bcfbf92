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

    /// Multiply-adds of one multiprocessor in a clock, as A100's data sheet has them.
    fn rate(self) -> usize {
        match self {
            Math::F32 => 64,
            Math::Tf32 => 512,
            Math::Bf16 | Math::F16 => 1024,
        }
    }

    /// Multiply-adds in the time in which an operand's element comes from the second-level cache, at 47 bytes a
    /// clock (A100's 5120 for all multiprocessors).
    fn balance(self) -> usize {
        self.rate() * self.dtype().bytes() / 47
    }

    /// Its tiles.
    pub fn tiles(self) -> &'static [Tile] {
        match self {
            Math::F32 => &SIMT,
            Math::Tf32 => &TF32,
            Math::Bf16 | Math::F16 => &HALF,
        }
    }
}

/// What a block computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Length of the sum in one stage.
    pub k: usize,
    /// Rows and columns of a warp (tensor cores) or of a thread.
    pub own: [usize; 2],
    /// Threads of a block; at least `m` and `n`.
    pub threads: usize,
    /// Tiles in shared memory.
    pub stages: usize,
    /// Blocks that must fit on a multiprocessor: bounds a thread's registers so that none are spilled.
    pub least: usize,
    /// Groups of threads that divide the sum in a stage among themselves (f32 without tensor cores).
    pub groups: usize,
}

const fn tile(m: usize, n: usize, k: usize, own: [usize; 2], threads: usize, stages: usize, least: usize) -> Tile {
    Tile { m, n, k, own, threads, stages, least, groups: 1 }
}

/// 256 threads, each with four rows and columns: as many groups as that makes. For products of so few elements that
/// what counts is how long a block takes.
const fn shared_sum(m: usize, n: usize, k: usize, stages: usize) -> Tile {
    Tile { groups: 256 * 16 / (m * n), ..tile(m, n, k, [4, 4], 256, stages, 2) }
}

/// f32 without tensor cores.
const SIMT: [Tile; 13] = [
    tile(128, 128, 16, [8, 8], 256, 3, 1),
    tile(128, 64, 16, [4, 8], 256, 3, 2),
    tile(64, 128, 16, [4, 8], 256, 3, 2),
    tile(64, 64, 16, [4, 4], 256, 3, 2),
    tile(32, 32, 32, [4, 4], 64, 3, 4),
    tile(128, 16, 16, [4, 4], 128, 3, 4),
    tile(16, 128, 16, [4, 4], 128, 3, 4),
    shared_sum(32, 32, 64, 2),
    shared_sum(16, 32, 128, 2),
    shared_sum(16, 16, 128, 3),
    shared_sum(32, 32, 8, 2),
    shared_sum(16, 4, 128, 3),
    shared_sum(4, 16, 128, 3),
];

/// tf32 on tensor cores.
const TF32: [Tile; 7] = [
    tile(128, 128, 16, [64, 32], 256, 4, 1),
    tile(128, 64, 16, [32, 32], 256, 4, 1),
    tile(64, 128, 16, [32, 32], 256, 4, 1),
    tile(64, 64, 16, [32, 32], 128, 4, 2),
    tile(32, 32, 32, [16, 16], 128, 3, 2),
    tile(128, 16, 32, [32, 16], 128, 3, 2),
    tile(16, 128, 32, [16, 32], 128, 3, 2),
];

/// 16-bit operands on tensor cores.
const HALF: [Tile; 7] = [
    tile(128, 128, 32, [64, 32], 256, 4, 1),
    tile(128, 64, 32, [32, 32], 256, 4, 1),
    tile(64, 128, 32, [32, 32], 256, 4, 1),
    tile(64, 64, 64, [32, 32], 128, 3, 2),
    tile(32, 32, 64, [16, 16], 128, 3, 2),
    tile(128, 16, 64, [32, 16], 128, 3, 2),
    tile(16, 128, 64, [16, 32], 128, 3, 2),
];

impl Tile {
    /// Bytes of shared memory, for operands that lie along the sum (or not).
    pub fn shared(&self, math: Math, along: [bool; 2]) -> usize {
        let [pad, turned] = math.pads();
        let operand = |rows: usize, along: bool| {
            if along && math != Math::F32 { rows * (self.k + pad) } else { self.k * (rows + turned) }
        };
        let stage = (operand(self.m, along[0]) + operand(self.n, along[1])) * math.dtype().bytes();
        (stage * self.stages).max(self.groups * self.m * (self.n + 4) * 4)
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

/// Tiles that may have a counter of blocks; as in `finish.cuh`.
pub(super) const TILES: usize = 1024;
/// Elements of all parts of a tile that its last block adds up; more of them are left to another kernel.
const MOST_PARTS: usize = 32 << 10;
/// Clocks until the last block knows that it is the last, and has what the others wrote.
const GATHER: usize = 2500;

/// Clocks from a block's start to the first elements that it reads, and for each round of the result's elements.
const START: usize = 1200;
const ROUND: usize = 100;
/// Blocks of shared sums for a multiprocessor, at most.
const FEW: usize = 4;
/// Rows or columns of a narrow product, at most.
const NARROW: usize = 8;
/// Clocks for which a stage is on its way.
const STAGE: usize = 800;

/// Extents of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

impl Tile {
    /// Clocks of a block that is alone with this many steps. Known for f32 only: others' tiles are few and alike.
    fn alone(&self, math: Math, steps: usize) -> usize {
        if math != Math::F32 {
            return 0;
        }
        // Eight warps keep a multiprocessor busy.
        let step = self.m * self.n * self.k * 256 / (math.rate() * self.threads.min(256));
        steps * step.max(STAGE / (self.stages - 1)) + self.m * self.n / self.threads * ROUND
    }
}

/// The tile that should be the fastest: the time of the busiest multiprocessor, in multiply-adds.
pub fn choose(math: Math, arch: Arch, size: Size, split: bool) -> Choice {
    let sms = processors(arch);
    let cost = |tile: &Tile| {
        let tiles = size.blocks * size.m.div_ceil(tile.m) * size.n.div_ceil(tile.n);
        let steps = size.k.div_ceil(tile.k).max(1);
        // A part is worth its own block if it is at least four stages long, or 128 elements.
        let least = if tile.groups > 1 { (128 / tile.k).max(1) } else { 4 };
        let most = if split { (sms / tiles.max(1)).min(steps / least).max(1) } else { 1 };
        let step = (tile.m * tile.n + math.balance() * (tile.m + tile.n)) * tile.k;
        let product = |parts: usize| {
            let steps = steps.div_ceil(parts);
            let all = steps * step * (tiles * parts).max(sms) / sms;
            START * math.rate() + all.max(tile.alone(math, steps) * math.rate())
        };
        let gathered = |parts: usize| tiles <= TILES && parts * tile.m * tile.n <= MOST_PARTS;
        let extra = |parts: usize| {
            let clocks = match (parts, gathered(parts)) {
                (1, _) => 0,
                // By one multiprocessor, from the second-level cache.
                (_, true) => GATHER + (parts + 1) * tile.m * tile.n * 4 / 47,
                // Parts are written and read once more, four bytes each.
                (_, false) => LAUNCH + 2 * (parts + 1) * size.blocks * size.m * size.n * 4 / 47 / sms,
            };
            clocks * math.rate()
        };
        let total = |&parts: &usize| product(parts) + extra(parts);
        let halves = std::iter::successors(Some(most), |&p| (p > 2).then_some(p / 2));
        let parts = std::iter::once(1).chain(halves).min_by_key(total).unwrap_or(1);
        (Choice { tile: *tile, parts, last: parts > 1 && gathered(parts) }, total(&parts))
    };
    // Shared sums are for products whose blocks all run at once; the narrowest tiles read too much of wide ones.
    let few = |t: &&Tile| {
        let tiles = size.blocks * size.m.div_ceil(t.m) * size.n.div_ceil(t.n);
        let narrow = (t.m >= NARROW || size.m <= NARROW) && (t.n >= NARROW || size.n <= NARROW);
        t.groups == 1 || (tiles <= FEW * sms && narrow)
    };
    let mut best = cost(&math.tiles()[0]);
    for tile in math.tiles()[1..].iter().filter(few) {
        let c = cost(tile);
        if c.1 < best.1 {
            best = c;
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Math; 4] = [Math::F32, Math::Tf32, Math::Bf16, Math::F16];

    /// What the template takes for granted, and the least that an architecture gives a block: 163 KiB of shared
    /// memory (compute capability 8.0), 64 Ki registers a multiprocessor.
    #[test]
    fn every_tile_fits() {
        for math in ALL {
            for t in math.tiles() {
                let [own_m, own_n] = t.own;
                let parts = (t.m / own_m) * (t.n / own_n);
                assert!(t.m % own_m == 0 && t.n % own_n == 0, "{t:?}");
                assert_eq!(parts * t.groups * if math == Math::F32 { 1 } else { 32 }, t.threads, "{t:?}");
                assert!(t.groups == 1 || (math == Math::F32 && t.k % t.groups == 0), "{t:?}");
                let (unit, step) = if math == Math::F32 { (4, 1) } else { (16, 16) };
                assert!(own_m % unit == 0 && own_n % unit == 0 && t.k % step == 0, "{t:?}");
                assert!(t.threads >= t.m.max(t.n) && t.threads % t.m == 0 && t.threads % t.n == 0, "{t:?}");
                assert!(t.k.is_power_of_two() && t.stages >= 2, "{t:?}");
                for along in [[false, false], [false, true], [true, false], [true, true]] {
                    assert!(t.shared(math, along) <= 163 * 1024, "{t:?} {along:?}");
                }
                assert!(t.least * t.threads <= 1024, "{t:?}");
            }
        }
    }

    #[test]
    fn tiles_suit_their_products() {
        let pick = |math, blocks, m, n, k| {
            let c = choose(math, Arch::Sm80, Size { blocks, m, n, k }, true);
            (c.tile.m, c.tile.n, c.parts)
        };
        // Large: the largest tile. Few columns: a narrow one. A long sum of few elements: parts.
        assert_eq!(pick(Math::Bf16, 1, 65536, 128, 1152), (128, 128, 1));
        assert_eq!(pick(Math::F32, 1, 65536, 3, 1152), (128, 16, 1));
        assert_eq!(pick(Math::F32, 1, 1, 65536, 128).0, 16);
        let (m, n, parts) = pick(Math::F32, 1, 128, 1152, 65536);
        assert!((m, n) == (128, 128) && parts > 8, "{m} {n} {parts}");
        // Few elements: threads share sums. Hardly any columns or rows: tiles as narrow.
        let few = |m, n, k| choose(Math::F32, Arch::Sm90a, Size { blocks: 1, m, n, k }, true);
        assert!(
            [(512, 128, 128), (128, 128, 512), (512, 128, 1)].iter().all(|s| few(s.0, s.1, s.2).tile.groups > 1)
        );
        assert_eq!((few(512, 2, 128).tile.n, few(1, 128, 512).tile.m), (4, 4));
        // Their parts are never worth a second kernel, and neither large nor middling products are theirs.
        assert!(few(512, 128, 256).whole() && few(128, 128, 512).whole());
        assert_eq!(few(65536, 128, 1152).tile.groups, 1);
        assert_eq!(few(4096, 1024, 1024).tile.groups, 1);
    }
}
