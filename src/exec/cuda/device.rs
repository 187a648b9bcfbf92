//! What the executor asks of a device: memory, copies, launches, order.
//!
//! The executor is written against this trait only, so that all of its arithmetic with addresses, its order and its
//! copies are tested on machines without a device; [`super::gpu`] is the one that drives hardware.
//!
//! Always holds: work of one queue runs in the order in which it was given; nothing waits but `wait`, `read`, `write`
//! and `synchronise`.

use super::error::CudaError;
use crate::codegen::cuda::Arch;
use std::os::raw::c_void;
use std::ptr::NonNull;

/// An address in device memory.
pub type Address = u64;

/// What is known of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its name, as in `NVIDIA H200`.
    pub name: String,
    /// Which instructions the text may use.
    pub arch: Arch,
    /// What NVRTC compiles for, as in `sm_90a`.
    pub target: String,
    /// Bytes of its memory.
    pub memory: u64,
}

/// Streams of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Kernels, copies within the device, results.
    Work,
    /// Inputs on their way to the device.
    Upload,
}

/// A loaded kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel(pub usize);

/// A point in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event(pub usize);

/// A captured sequence of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured(pub usize);

/// An argument as a kernel takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Param {
    /// A pointer.
    Address(Address),
    /// `unsigned`.
    U32(u32),
}

impl Param {
    /// Where the value is, as `cuLaunchKernel` wants it: valid as long as the parameter stays where it is.
    pub fn pointer(&self) -> *mut c_void {
        match self {
            Param::Address(a) => std::ptr::from_ref(a).cast_mut().cast(),
            Param::U32(v) => std::ptr::from_ref(v).cast_mut().cast(),
        }
    }
}

/// Extents of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extents {
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: u32,
}

/// Host memory that the device reads and writes by itself.
#[derive(Debug)]
pub struct Pinned {
    start: NonNull<u8>,
    len: usize,
}

impl Pinned {
    /// Memory that a device gave.
    ///
    /// # Safety
    /// `len` initialised bytes from `start` on belong to nobody else until the device takes them back.
    pub unsafe fn new(start: NonNull<u8>, len: usize) -> Self {
        Self { start, len }
    }

    /// Its size in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its first byte.
    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Its bytes.
    ///
    /// # Safety
    /// The device is not writing to them.
    pub unsafe fn bytes(&self) -> &[u8] {
        // SAFETY: see `new` and above.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// Its bytes.
    ///
    /// # Safety
    /// The device is neither reading nor writing them.
    pub unsafe fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: see `new` and above.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

/// One device. Every method may report the failure of work that was given before.
pub trait Device {
    /// What is known of it.
    fn about(&self) -> &About;
    /// Bytes of memory that are free now.
    fn free_bytes(&self) -> Result<u64, CudaError>;
    /// Most bytes of its memory that [`Device::alloc`] had given at once.
    fn most_bytes(&self) -> u64;
    /// Memory, aligned to 256 bytes, of any content.
    fn alloc(&self, bytes: usize) -> Result<Address, CudaError>;
    /// Gives memory back; nothing that uses it is still to run.
    fn release(&self, at: Address);
    /// Host memory for transfers.
    fn pin(&self, bytes: usize) -> Result<Pinned, CudaError>;
    /// Takes host memory back; no transfer is still to run.
    fn unpin(&self, memory: Pinned);
    /// Compiles a text and loads its kernels, each with the most dynamic shared memory that a launch of it asks for.
    fn load(&self, text: &str, kernels: &[(String, u32)]) -> Result<Vec<Kernel>, CudaError>;
    /// Launches a kernel on [`Queue::Work`]. With `overlap` it may begin before results of the kernel before it are seen:
    /// its text waits for that one.
    fn launch(&self, kernel: Kernel, extents: Extents, params: &[Param], overlap: bool) -> Result<(), CudaError>;
    /// Copies within the device on [`Queue::Work`]; the two places do not overlap.
    fn copy(&self, from: Address, to: Address, bytes: usize) -> Result<(), CudaError>;
    /// Copies the first bytes of host memory to the device.
    fn upload(&self, queue: Queue, from: &Pinned, bytes: usize, to: Address) -> Result<(), CudaError>;
    /// Copies to host memory, `at` bytes from its start, on [`Queue::Work`].
    fn download(&self, from: Address, bytes: usize, to: &Pinned, at: usize) -> Result<(), CudaError>;
    /// Writes after all that was given to [`Queue::Work`], and waits.
    fn write(&self, to: Address, bytes: &[u8]) -> Result<(), CudaError>;
    /// Reads after all that was given to [`Queue::Work`], and waits.
    fn read(&self, from: Address, bytes: &mut [u8]) -> Result<(), CudaError>;
    /// A new event.
    fn event(&self) -> Result<Event, CudaError>;
    /// Sets the event to this point of a queue.
    fn record(&self, event: Event, queue: Queue) -> Result<(), CudaError>;
    /// Later work of the queue waits for the event.
    fn follow(&self, queue: Queue, event: Event) -> Result<(), CudaError>;
    /// Waits for the event; one that was never recorded is past.
    fn wait(&self, event: Event) -> Result<(), CudaError>;
    /// Milliseconds between two events that are past.
    fn elapsed(&self, from: Event, to: Event) -> Result<f64, CudaError>;
    /// From now on work of [`Queue::Work`] is noted, not run.
    fn begin_capture(&self) -> Result<(), CudaError>;
    /// What was noted since.
    fn end_capture(&self) -> Result<Captured, CudaError>;
    /// Runs what was noted.
    fn replay(&self, captured: Captured) -> Result<(), CudaError>;
    /// Forgets what was noted; no replay is still to run.
    fn discard(&self, captured: Captured);
    /// Waits for everything.
    fn synchronise(&self) -> Result<(), CudaError>;
}
