//! Peak figures of devices, as their makers print them: dense, at the highest clock. Nothing here was measured.

use crate::codegen::cuda::Arch;

/// What a device could do at best.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peaks {
    /// What its name contains, as the driver gives it.
    pub name: &'static str,
    /// Instructions that it has.
    pub arch: Arch,
    /// Memory, bytes.
    pub memory: f64,
    /// Memory bandwidth, bytes a second.
    pub bandwidth: f64,
    /// Single precision without tensor cores, operations a second.
    pub f32: f64,
    /// TF32 products, operations a second.
    pub tf32: f64,
    /// Products of 16-bit numbers with single-precision sums, operations a second.
    pub half: f64,
    /// Where the figures are from.
    pub source: &'static str,
}

/// Seconds between the end of a kernel and the start of the next one in a captured sequence: an assumption, which
/// holds for all devices here and is to be replaced by what `ganc bench --profile` shows on one.
pub const GAP: f64 = 2e-6;

/// Seconds that a block of such a kernel waits between what it does of one cluster and of the next one, for its threads
/// and for memory: an assumption as well.
pub const STAGE: f64 = 1e-6;

const T: f64 = 1e12;
const G: f64 = 1e9;

/// The table; of several devices with one instruction set, the first is the one that predictions are for.
pub const DEVICES: [Peaks; 6] = [
    Peaks {
        name: "H200",
        arch: Arch::Sm90a,
        memory: 141.0 * G,
        bandwidth: 4.8 * T,
        f32: 67.0 * T,
        tf32: 494.0 * T,
        half: 989.0 * T,
        source: "NVIDIA H200 data sheet, SXM (printed with sparsity: halved)",
    },
    Peaks {
        name: "H100 PCIe",
        arch: Arch::Sm90a,
        memory: 80.0 * G,
        bandwidth: 2.0 * T,
        f32: 51.0 * T,
        tf32: 378.0 * T,
        half: 756.0 * T,
        source: "NVIDIA H100 data sheet, PCIe (printed with sparsity: halved)",
    },
    Peaks {
        name: "H100",
        arch: Arch::Sm90a,
        memory: 80.0 * G,
        bandwidth: 3.35 * T,
        f32: 67.0 * T,
        tf32: 494.0 * T,
        half: 989.0 * T,
        source: "NVIDIA H100 data sheet, SXM (printed with sparsity: halved)",
    },
    Peaks {
        name: "A100",
        arch: Arch::Sm80,
        memory: 80.0 * G,
        bandwidth: 2.039 * T,
        f32: 19.5 * T,
        tf32: 156.0 * T,
        half: 312.0 * T,
        source: "NVIDIA A100 data sheet, 80 GB SXM",
    },
    Peaks {
        name: "RTX 4090",
        arch: Arch::Sm80,
        memory: 24.0 * G,
        bandwidth: 1.008 * T,
        f32: 82.6 * T,
        tf32: 82.6 * T,
        half: 165.2 * T,
        source: "NVIDIA Ada GPU architecture white paper, appendix A",
    },
    Peaks {
        name: "B200",
        arch: Arch::Sm100a,
        memory: 180.0 * G,
        bandwidth: 7.7 * T,
        f32: 75.0 * T,
        tf32: 1100.0 * T,
        half: 2250.0 * T,
        source: "NVIDIA Blackwell data sheet, HGX B200, one of eight",
    },
];
