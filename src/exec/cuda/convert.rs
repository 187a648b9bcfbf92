//! Host tensors to bytes of device memory and back.

use crate::graph::{DType, F64, HostData, HostTensor, Type};
use half::{bf16, f16};

/// Whether host data of one element type can be held as the other.
pub(super) fn fits(host: DType, device: DType) -> bool {
    host == device || (host == DType::F32 && device.is_float())
}

/// Writes a host tensor as elements of `dtype`, little endian; `to` has room for exactly these.
pub(super) fn put(host: &HostTensor, dtype: DType, to: &mut [u8]) {
    match (&host.data, dtype) {
        (HostData::F32(v), DType::F16) => pairs(to, v.iter().map(|&x| f16::from_f32(x).to_bits())),
        (HostData::F32(v), DType::Bf16) => pairs(to, v.iter().map(|&x| bf16::from_f32(x).to_bits())),
        (HostData::F32(v), _) => words(to, v.iter().map(|x| x.to_bits())),
        (HostData::U32(v), _) => words(to, v.iter().copied()),
        (HostData::Bool(v), _) => to.iter_mut().zip(v).for_each(|(t, &x)| *t = u8::from(x != 0)),
    }
}

/// Constant values as elements of `dtype`.
pub(super) fn constant(values: &[F64], dtype: DType, to: &mut [u8]) {
    match dtype {
        DType::F32 => words(to, values.iter().map(|v| (v.0 as f32).to_bits())),
        DType::F16 => pairs(to, values.iter().map(|v| f16::from_f32(v.0 as f32).to_bits())),
        DType::Bf16 => pairs(to, values.iter().map(|v| bf16::from_f32(v.0 as f32).to_bits())),
        DType::U32 => words(to, values.iter().map(|v| v.0 as u32)),
        DType::Bool => to.iter_mut().zip(values).for_each(|(t, v)| *t = u8::from(v.0 != 0.0)),
    }
}

fn words(to: &mut [u8], from: impl Iterator<Item = u32>) {
    to.chunks_exact_mut(4).zip(from).for_each(|(t, w)| t.copy_from_slice(&w.to_le_bytes()));
}

fn pairs(to: &mut [u8], from: impl Iterator<Item = u16>) {
    to.chunks_exact_mut(2).zip(from).for_each(|(t, w)| t.copy_from_slice(&w.to_le_bytes()));
}

/// A host tensor from bytes of this type.
pub(super) fn get(ty: &Type, bytes: &[u8]) -> HostTensor {
    let word = |c: &[u8]| u32::from_le_bytes([c[0], c[1], c[2], c[3]]);
    let pair = |c: &[u8]| u16::from_le_bytes([c[0], c[1]]);
    let data = match ty.dtype {
        DType::F32 => HostData::F32(bytes.chunks_exact(4).map(|c| f32::from_bits(word(c))).collect()),
        DType::F16 => HostData::F32(bytes.chunks_exact(2).map(|c| f16::from_bits(pair(c)).to_f32()).collect()),
        DType::Bf16 => HostData::F32(bytes.chunks_exact(2).map(|c| bf16::from_bits(pair(c)).to_f32()).collect()),
        DType::U32 => HostData::U32(bytes.chunks_exact(4).map(word).collect()),
        DType::Bool => HostData::Bool(bytes.iter().map(|&b| u8::from(b != 0)).collect()),
    };
    HostTensor { shape: ty.shape.clone(), data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_type_goes_there_and_back() {
        let reals = HostTensor::f32([4], vec![0.0, -1.5, 3.0, f32::INFINITY]);
        for dtype in [DType::F32, DType::F16, DType::Bf16] {
            let ty = Type::new(dtype, [4]);
            let mut bytes = vec![0xa5; ty.bytes()];
            put(&reals, dtype, &mut bytes);
            assert_eq!(get(&ty, &bytes), reals, "{dtype:?}");
        }
        let labels = HostTensor::u32([2], vec![7, u32::MAX]);
        let mut bytes = vec![0; 8];
        put(&labels, DType::U32, &mut bytes);
        assert_eq!(bytes, [7, 0, 0, 0, 255, 255, 255, 255]);
        assert_eq!(get(&Type::u32([2]), &bytes), labels);
        let truths = HostTensor { shape: vec![3], data: HostData::Bool(vec![0, 5, 1]) };
        let mut bytes = vec![9; 3];
        put(&truths, DType::Bool, &mut bytes);
        assert_eq!(bytes, [0, 1, 1]);
    }

    #[test]
    fn constants_have_the_bits_of_their_type() {
        let values = [F64(1.0), F64(0.1), F64(-2.0)];
        let mut bytes = vec![0; 6];
        constant(&values, DType::Bf16, &mut bytes);
        // 0.1 is 0x3dcccccd in single precision, and rounds to the nearest even bfloat16.
        assert_eq!(bytes, [0x80, 0x3f, 0xcd, 0x3d, 0x00, 0xc0]);
        let mut bytes = vec![0; 12];
        constant(&values, DType::F32, &mut bytes);
        assert_eq!(&bytes[4..8], 0.1f32.to_le_bytes());
        let mut bytes = vec![0; 3];
        constant(&[F64(0.0), F64(1.0), F64(2.0)], DType::Bool, &mut bytes);
        assert_eq!(bytes, [0, 1, 1]);
    }
}
