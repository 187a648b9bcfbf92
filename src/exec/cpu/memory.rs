//! Words of memory: what tensors on the CPU are made of.
//!
//! Every element takes four bytes: f32 and u32 as they are, truth values as 0 or 1, f16 and bf16 widened to f32.

use crate::graph::{DType, HostData, HostTensor, Type};
use std::alloc::Layout;
use std::ptr::NonNull;

/// Bytes of an element.
pub fn bytes(_: DType) -> usize {
    4
}

/// Cache line: tensors start at one.
const LINE: usize = 64;
/// Size and alignment of a huge page; those that lie wholly within a buffer are asked for, which saves address
/// translations in strided reads. Buffers do not begin at one: what lies between them would be in memory too.
const HUGE: usize = 2 << 20;

/// Makes the C library hand large blocks back to the system as soon as they are freed. By default it learns from the
/// first one that is freed to keep such blocks for later, and what a plan says that a run needs is then far from what
/// the process holds.
pub fn return_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: sets a number of the allocator, under its own lock; a refusal changes nothing.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 256 << 10);
    }
}

/// Zeroed words that start at a cache line. The system hands the pages out when they are first touched.
#[derive(Debug)]
pub struct Words {
    /// What was allocated; the words begin at the first boundary within.
    block: *mut u8,
    start: NonNull<u32>,
    len: usize,
}

// SAFETY: the memory is owned; access follows the borrow of the `Words`.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Default for Words {
    fn default() -> Self {
        Self { block: std::ptr::null_mut(), start: NonNull::dangling(), len: 0 }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: allocated by `grow` with this layout.
            unsafe { std::alloc::dealloc(self.block, layout(self.len)) }
        }
    }
}

/// How a block for so many words is allocated. The cache line that they begin at is found within a larger block,
/// because only blocks of ordinary alignment come zeroed from the system without being written.
fn layout(len: usize) -> Layout {
    let bytes = len.checked_mul(4).and_then(|words| words.checked_add(LINE));
    let layout = bytes.and_then(|bytes| Layout::from_size_align(bytes, 16).ok());
    layout.expect("a plan's sizes were checked when it was built")
}

impl Words {
    /// At least so many words; the content is lost when it grows.
    pub fn grow(&mut self, len: usize) {
        if len <= self.len {
            return;
        }
        *self = Self::default();
        let layout = layout(len);
        // SAFETY: the layout is not empty.
        let block = unsafe { std::alloc::alloc_zeroed(layout) };
        if block.is_null() {
            std::alloc::handle_alloc_error(layout);
        }
        let skip = block.align_offset(LINE);
        // SAFETY: the block is larger than the words by one line.
        let start = unsafe { NonNull::new_unchecked(block.add(skip)) };
        #[cfg(target_os = "linux")]
        {
            let first = start.as_ptr().align_offset(HUGE);
            let pages = (len * 4).saturating_sub(first) / HUGE;
            if pages > 0 {
                // SAFETY: advice on whole pages of memory just allocated; a refusal changes nothing.
                unsafe { libc::madvise(start.as_ptr().add(first).cast(), pages * HUGE, libc::MADV_HUGEPAGE) };
            }
        }
        *self = Self { block, start: start.cast(), len };
    }

    /// Zeros.
    pub fn zeros(len: usize) -> Self {
        let mut w = Self::default();
        w.grow(len);
        w
    }

    /// Number of words.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The first word.
    pub fn as_mut_ptr(&mut self) -> *mut u32 {
        self.start.as_ptr()
    }

    /// All words.
    pub fn as_slice(&self) -> &[u32] {
        // SAFETY: `len` zeroed or written words were allocated.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// All words.
    pub fn as_mut_slice(&mut self) -> &mut [u32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

/// Whether host data of one element type is held as the other.
pub fn same_words(host: DType, device: DType) -> bool {
    host == device || (host == DType::F32 && device.is_float())
}

/// The words of a host tensor, one by one.
pub fn put(host: &HostTensor, to: &mut [u32]) {
    match &host.data {
        HostData::F32(v) => to.iter_mut().zip(v).for_each(|(t, x)| *t = x.to_bits()),
        HostData::U32(v) => to.copy_from_slice(v),
        HostData::Bool(v) => to.iter_mut().zip(v).for_each(|(t, &x)| *t = u32::from(x != 0)),
    }
}

/// A host tensor from words.
pub fn get(ty: &Type, words: &[u32]) -> HostTensor {
    let data = match ty.dtype {
        DType::F32 | DType::F16 | DType::Bf16 => HostData::F32(words.iter().map(|&w| f32::from_bits(w)).collect()),
        DType::U32 => HostData::U32(words.to_vec()),
        DType::Bool => HostData::Bool(words.iter().map(|&w| u8::from(w != 0)).collect()),
    };
    HostTensor { shape: ty.shape.clone(), data }
}
