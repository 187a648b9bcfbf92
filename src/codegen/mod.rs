//! Plans to programs for devices: text that a device's own compiler reads, and what its launches need.

pub mod cuda;
