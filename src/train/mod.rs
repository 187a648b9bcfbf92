//! The training loop: feeds iterations, runs actions, keeps the run folder.
//!
//! The loop owns the clock, the files and the signals; everything that decides a number (graphs, minibatches,
//! streams) is a pure function of the spec, the seed and the iteration, so that a resumed run continues bit for bit.

pub mod actions;
pub mod checkpoint;
mod curves;
pub mod driver;
pub mod error;
pub mod feed;
pub mod folder;
pub mod hunt;
mod numbers;
pub mod pretrained;
pub mod watch;

pub use driver::{Summary, Trainer, Ui, Verdict};
pub use error::RunError;
pub use folder::{RunFolder, RunRecord};

/// The two key words of a seed.
pub fn key(seed: u64) -> [u32; 2] {
    [seed as u32, (seed >> 32) as u32]
}
