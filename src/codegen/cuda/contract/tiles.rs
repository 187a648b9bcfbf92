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
}

const fn tile(m: usize, n: usize, k: usize, own: [usize; 2], threads: usize, stages: usize, least: usize) -> Tile {
    Tile { m, n, k, own, threads, stages, least }
}

/// f32 without tensor cores.
const SIMT: [Tile; 7] = [
    tile(128, 128, 16, [8, 8], 256, 3, 1),
    tile(128, 64, 16, [4, 8], 256, 3, 2),
    tile(64, 128, 16, [4, 8], 256, 3, 2),
    tile(64, 64, 16, [4, 4], 256, 3, 2),
    tile(32, 32, 32, [4, 4], 64, 3, 4),
    tile(128, 16, 16, [4, 4], 128, 3, 4),
    tile(16, 128, 16, [4, 4], 128, 3, 4),
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
        (stage * self.stages).max(self.m * (self.n + 4) * 4)
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
}

/// The tile that should be the fastest: the time of the busiest multiprocessor, in multiply-adds.
pub fn choose(math: Math, arch: Arch, size: Size, split: bool) -> Choice {
    let sms = processors(arch);
    let cost = |tile: &Tile| {
        let tiles = size.blocks * size.m.div_ceil(tile.m) * size.n.div_ceil(tile.n);
        let steps = size.k.div_ceil(tile.k).max(1);
        // A part is worth its own block if it is at least four stages long.
        let most = if split { (sms / tiles.max(1)).min(steps / 4).max(1) } else { 1 };
        let step = (tile.m * tile.n + math.balance() * (tile.m + tile.n)) * tile.k;
        let product = |parts: usize| steps.div_ceil(parts) * step * (tiles * parts).max(sms) / sms;
        // Parts are written and read once more, four bytes each.
        let written = 2 * (most + 1) * size.blocks * size.m * size.n;
        let extra = written * math.rate() * 4 / 47 / sms + LAUNCH * math.rate();
        let (whole, cut) = (product(1), product(most) + extra);
        let parts = if cut < whole { most } else { 1 };
        (Choice { tile: *tile, parts }, whole.min(cut))
    };
    let mut best = cost(&math.tiles()[0]);
    for tile in &math.tiles()[1..] {
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
                assert_eq!(parts * if math == Math::F32 { 1 } else { 32 }, t.threads, "{t:?}");
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
        // A small product is not worth a second kernel.
        assert_eq!(pick(Math::F32, 1, 512, 128, 256).2, 1);
    }
}
