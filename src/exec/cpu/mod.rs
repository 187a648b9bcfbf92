//! The CPU executor.

pub mod contract;
pub mod pool;
