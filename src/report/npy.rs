//! NumPy's array format, version 1.0.

use super::ReportError;
use crate::graph::host::{HostData, HostTensor};
use std::path::Path;

/// The bytes of an .npy file.
pub fn encode(t: &HostTensor) -> Vec<u8> {
    let descr = match t.data {
        HostData::F32(_) => "<f4",
        HostData::U32(_) => "<u4",
        HostData::Bool(_) => "|b1",
    };
    let mut shape: String = t.shape.iter().map(|d| format!("{d}, ")).collect();
    if t.shape.len() > 1 {
        shape.truncate(shape.len() - 2);
    }
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", shape.trim_end());
    // Magic, version and length take 10 bytes; the data begin at a multiple of 64.
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.bytes());
    match &t.data {
        HostData::F32(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        HostData::U32(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        HostData::Bool(v) => out.extend(v),
    }
    out
}

/// Writes an .npy file.
///
/// # Errors
/// If the file cannot be written.
pub fn save(t: &HostTensor, path: &Path) -> Result<(), ReportError> {
    super::write_whole(path, &encode(t)).map_err(|e| ReportError::Write(path.to_owned(), e.to_string()))
}
