//! Tensors in host memory: batches, checkpoints, results that a caller reads.

use super::ty::{DType, Type};

/// Row-major elements.
#[derive(Clone, Debug, PartialEq)]
pub enum HostData {
    /// Reals (f16 and bf16 tensors are widened on the host).
    F32(Vec<f32>),
    /// Labels, counters, words.
    U32(Vec<u32>),
    /// Truth values, 0 or 1.
    Bool(Vec<u8>),
}

/// A tensor in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// Its elements; as many as the product of the extents.
    pub data: HostData,
}

impl HostTensor {
    /// A real tensor.
    pub fn f32(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Self {
        let shape = shape.into();
        assert_eq!(shape.iter().product::<usize>(), data.len());
        Self { shape, data: HostData::F32(data) }
    }

    /// An integer tensor.
    pub fn u32(shape: impl Into<Vec<usize>>, data: Vec<u32>) -> Self {
        let shape = shape.into();
        assert_eq!(shape.iter().product::<usize>(), data.len());
        Self { shape, data: HostData::U32(data) }
    }

    /// Zeros of a type.
    pub fn zeros(ty: &Type) -> Self {
        let n = ty.elements();
        let data = match ty.dtype {
            DType::F32 | DType::F16 | DType::Bf16 => HostData::F32(vec![0.0; n]),
            DType::U32 => HostData::U32(vec![0; n]),
            DType::Bool => HostData::Bool(vec![0; n]),
        };
        Self { shape: ty.shape.clone(), data }
    }

    /// Its type.
    pub fn ty(&self) -> Type {
        let dtype = match self.data {
            HostData::F32(_) => DType::F32,
            HostData::U32(_) => DType::U32,
            HostData::Bool(_) => DType::Bool,
        };
        Type::new(dtype, self.shape.clone())
    }

    /// Its reals; `None` for another element type.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            HostData::F32(v) => Some(v),
            HostData::U32(_) | HostData::Bool(_) => None,
        }
    }

    /// Its integers; `None` for another element type.
    pub fn as_u32(&self) -> Option<&[u32]> {
        match &self.data {
            HostData::U32(v) => Some(v),
            HostData::F32(_) | HostData::Bool(_) => None,
        }
    }

    /// Any element type widened to f64.
    pub fn to_f64(&self) -> Vec<f64> {
        match &self.data {
            HostData::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            HostData::U32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            HostData::Bool(v) => v.iter().map(|&x| f64::from(x)).collect(),
        }
    }
}
