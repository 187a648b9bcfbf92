//! Generated CUDA text on the CPU (g++ and `cuda_shim.h`) and through NVRTC: neither needs a GPU.

pub mod emulate;
pub mod nvrtc;
pub mod text;
