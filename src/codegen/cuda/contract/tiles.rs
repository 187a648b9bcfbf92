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
        if arch == Arch::Sm90a && matches!(self, Math::Bf16 | Math::F16) {
            tiles.extend(GROUPS);
        }
        tiles
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
}

const fn tile(
    [m, n, k]: [usize; 3],
    own: [usize; 2],
    threads: usize,
    stages: usize,
    least: usize,
    pace: usize,
) -> Tile {
    Tile { m, n, k, own, threads, stages, least, pace, groups: false }
}

/// f32 without tensor cores.
const SIMT: [Tile; 8] = [
    tile([128, 128, 16], [8, 8], 256, 3, 2, 54),
    tile([128, 128, 16], [8, 8], 256, 3, 1, 49),
    tile([128, 64, 16], [8, 8], 128, 3, 3, 49),
    tile([64, 128, 16], [8, 8], 128, 3, 3, 49),
    tile([64, 64, 16], [8, 4], 128, 3, 4, 43),
    tile([32, 32, 32], [4, 4], 64, 3, 4, 20),
    tile([128, 16, 32], [4, 4], 128, 3, 4, 20),
    tile([16, 128, 32], [4, 4], 128, 3, 4, 20),
];

/// tf32 on tensor cores.
const TF32: [Tile; 7] = [
    tile([128, 128, 16], [64, 32], 256, 4, 1, 26),
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
    Tile { m, n, k: 64, own, threads, stages: 4, least, pace, groups: true }
}

/// 16-bit operands on tensor cores, by groups of four warps.
const GROUPS: [Tile; 5] = [
    groups([256, 128], [128, 128], 256, 1, 39),
    groups([128, 128], [64, 128], 256, 1, 36),
    groups([64, 128], [64, 128], 128, 2, 34),
    groups([128, 64], [64, 64], 256, 2, 28),
    groups([64, 64], [64, 64], 128, 3, 21),
];

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

/// Clocks of a block before its first step and after its last, beside handing its tile on.
const ENDS: usize = 2000;

/// Clocks of a step that no tile goes below: a barrier, and shared memory to registers.
const STEP: usize = 400;

/// Bytes of the device's memory in a clock.
const BYTES: usize = 2000;

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

/// The tile that should be the fastest: the clocks of the busiest multiprocessor.
pub fn choose(math: Math, arch: Arch, size: Size, split: bool) -> Choice {
    let sms = processors(arch);
    let mut best: Option<(Choice, usize)> = None;
    for tile in math.tiles(arch) {
        let tiles = size.blocks * size.m.div_ceil(tile.m) * size.n.div_ceil(tile.n);
        let steps = size.k.div_ceil(tile.k).max(1);
        let step = tile.m * tile.n * tile.k * 100 / (math.rate(arch) * tile.pace);
        let least = STEP + 2 * (tile.m + tile.n) * tile.k / tile.threads;
        let ends = ENDS + 8 * tile.m * tile.n / tile.threads;
        let clocks = |parts: usize| {
            let blocks = (tiles * parts).div_ceil(sms);
            let each = steps.div_ceil(parts);
            let product = (blocks * each * step).max(each * least) + blocks.div_ceil(tile.least) * ends;
            // Parts are written and read once more, four bytes each.
            let extra = LAUNCH + 2 * parts * size.blocks * size.m * size.n * 4 / BYTES;
            if parts > 1 { product + extra } else { product }
        };
        // A part is worth its own block if it is at least four stages long.
        let most = |blocks: usize| if split { (blocks / tiles.max(1)).min(steps / 4).max(1) } else { 1 };
        for parts in [1, most(sms), most(sms * tile.least)] {
            let c = clocks(parts);
            if best.is_none_or(|b| c < b.1) {
                best = Some((Choice { tile, parts }, c));
            }
        }
    }
    best.map_or(Choice { tile: SIMT[0], parts: 1 }, |b| b.0)
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
            for t in math.tiles(Arch::Sm90a) {
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
                assert_eq!(parts * threads, t.threads, "{t:?}");
                let (unit, step) = if t.groups {
                    (64, 64)
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
        assert_eq!(pick(Math::F32, 1, 512, 128, 64).2, 1);
    }
}
