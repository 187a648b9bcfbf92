//! Files that a run leaves for people: picture grids, scatter plots, curves, arrays.

mod canvas;
pub mod curves;
pub mod grid;
pub mod npy;
pub mod scatter;
mod ticks;

use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a report could not be made.
#[derive(Debug, Error)]
pub enum ReportError {
    /// A tensor that cannot be drawn.
    #[error("{0}")]
    Shape(String),
    /// A file could not be written.
    #[error("cannot write {0}: {1}")]
    Write(PathBuf, String),
}

/// Writes a picture as PNG, first beside its place and then moved there, so that no reader sees half of it.
pub fn save_png(picture: &image::RgbImage, path: &Path) -> Result<(), ReportError> {
    let fail = |e: &dyn std::fmt::Display| ReportError::Write(path.to_owned(), e.to_string());
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).map_err(|e| fail(&e))?;
    let part = path.with_extension("png.part");
    std::fs::write(&part, bytes.into_inner()).map_err(|e| fail(&e))?;
    std::fs::rename(&part, path).map_err(|e| fail(&e))
}
