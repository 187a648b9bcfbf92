//! What can keep a graph from running on an NVIDIA device, one sentence each.

use thiserror::Error;

/// A version `major.minor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Major number: code of one does not run under an older one.
    pub major: i32,
    /// Minor number.
    pub minor: i32,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Bytes as a person reads them.
pub(super) fn bytes(n: u64) -> String {
    let n = n as f64;
    match n {
        _ if n >= 1e9 => format!("{:.2} GB", n / 1e9),
        _ if n >= 1e6 => format!("{:.1} MB", n / 1e6),
        _ => format!("{:.1} kB", n / 1e3),
    }
}

/// A device, its driver, or the compiler that comes with it, is missing or refuses.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CudaError {
    /// The driver's library.
    #[error("there is no NVIDIA driver: libcuda.so.1 was not found ({tried}); it comes with the driver")]
    NoDriver {
        /// Where it was sought.
        tried: String,
    },
    /// The run-time compiler's library.
    #[error(
        "NVRTC, the compiler that CUDA programs need, was not found ({tried}); `pip install nvidia-cuda-nvrtc` \
         brings it, and GANC_CUDA_LIBS can name its folder"
    )]
    NoNvrtc {
        /// Where it was sought.
        tried: String,
    },
    /// A library that lacks a function.
    #[error("{library} has no function `{symbol}`, so it is too old or no {what}")]
    Symbol {
        /// Which file or name.
        library: String,
        /// What was sought in it.
        symbol: &'static str,
        /// What it should be.
        what: &'static str,
    },
    /// A driver without devices.
    #[error("the NVIDIA driver finds no device{0}")]
    NoDevice(String),
    /// An index past the last device.
    #[error("there is no device {index}: the driver has {}", devices(.names))]
    Index {
        /// What was asked for.
        index: usize,
        /// Names of the devices that there are.
        names: Vec<String>,
    },
    /// A device before Ampere.
    #[error("{name} has compute capability {capability}; the kernels need 8.0 (Ampere) or newer")]
    Capability {
        /// Name of the device.
        name: String,
        /// What it has.
        capability: Version,
    },
    /// NVRTC of a newer major version than the driver.
    #[error(
        "the driver runs CUDA {driver}, and its code would be compiled by NVRTC {nvrtc} ({library}): the driver is too \
         old for it; update the driver, or name a folder with NVRTC {}.x in GANC_CUDA_LIBS",
        .driver.major
    )]
    DriverTooOld {
        /// Newest CUDA that the driver runs.
        driver: Version,
        /// Version of NVRTC.
        nvrtc: Version,
        /// Where NVRTC was found.
        library: String,
    },
    /// NVRTC older than the device.
    #[error("NVRTC {nvrtc} ({library}) cannot compile for {target}; a newer one is needed")]
    Target {
        /// Version of NVRTC.
        nvrtc: Version,
        /// Where NVRTC was found.
        library: String,
        /// What the device is.
        target: String,
    },
    /// Text that does not compile.
    #[error("bug in ganc: the CUDA program does not compile: {0}")]
    Compile(String),
    /// Too little memory.
    #[error("the plan needs {} on {device}, which has {} free: {parts}", bytes(*.need), bytes(*.free))]
    Memory {
        /// Name of the device.
        device: String,
        /// Bytes that are asked for now.
        need: u64,
        /// Bytes that are free.
        free: u64,
        /// What the bytes are for.
        parts: String,
    },
    /// A call of the driver that failed.
    #[error("{device} fails in {call}: {what}")]
    Call {
        /// Name of the device.
        device: String,
        /// The driver's function.
        call: &'static str,
        /// What the driver says.
        what: String,
    },
}

fn devices(names: &[String]) -> String {
    match names {
        [] => "none".into(),
        [one] => format!("one, cuda:0 ({one})"),
        _ => {
            let all: Vec<String> = names.iter().enumerate().map(|(i, n)| format!("cuda:{i} ({n})")).collect();
            all.join(", ")
        }
    }
}
