//! Words of memory: what tensors on the CPU are made of.
//!
//! Every element takes four bytes: f32 and u32 as they are, truth values as 0 or 1, f16 and bf16 widened to f32.

use crate::graph::{DType, HostData, HostTensor, Type};

/// Bytes of an element.
pub fn bytes(_: DType) -> usize {
    4
}

/// A cache line, so that tensors start at one.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([u32; 16]);

/// Zeroed words that start at a cache line.
#[derive(Clone, Debug, Default)]
pub struct Words {
    lines: Vec<Line>,
    len: usize,
}

impl Words {
    /// At least so many words; the content is lost when it grows.
    pub fn grow(&mut self, len: usize) {
        if len > self.len {
            self.lines = Vec::new();
            self.lines = vec![Line([0; 16]); len.div_ceil(16)];
            self.len = len;
        }
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
        self.lines.as_mut_ptr().cast()
    }

    /// All words.
    pub fn as_slice(&self) -> &[u32] {
        // SAFETY: a line is 16 words; `len` of them were allocated.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }

    /// All words.
    pub fn as_mut_slice(&mut self) -> &mut [u32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
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
