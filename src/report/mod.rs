//! Files that a run leaves for people: picture grids, scatter plots, curves, arrays.

mod canvas;
pub mod curves;
pub mod forest;
pub mod grid;
pub mod labelled;
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
    #[error("cannot write `{0}`: {1}")]
    Write(PathBuf, String),
}

/// Writes a picture as PNG, first beside its place and then moved there, so that no reader sees half of it.
pub fn save_png(picture: &image::RgbImage, path: &Path) -> Result<(), ReportError> {
    let fail = |e: &dyn std::fmt::Display| ReportError::Write(path.to_owned(), e.to_string());
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).map_err(|e| fail(&e))?;
    write_whole(path, &bytes.into_inner()).map_err(|e| fail(&e))
}

/// Writes beside the place and moves there. What is there and is no plain file (a device, a pipe) is written into, not
/// replaced.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if std::fs::metadata(path).is_ok_and(|m| !m.is_file()) {
        return std::fs::write(path, bytes);
    }
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let done = std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, path));
    if done.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::host::HostTensor;

    #[test]
    fn odd_values_are_drawn() {
        let rows = [(0, "loss:D", f64::NAN), (1, "loss:D", 2.0), (2, "loss:D", f64::INFINITY), (3, "loss:D", 2.0)];
        let series = curves::series(rows);
        assert_eq!((series.len(), &*series[0].group, &*series[0].name), (1, "loss", "D"));
        assert_eq!(curves::curves(&series).height(), curves::curves(&[]).height());
        let many = (0..5000).map(|i| (i, "swd", if i == 77 { 1e30 } else { (i % 7) as f64 }));
        curves::curves(&curves::series(many));
        let points = HostTensor::f32(vec![3, 2], vec![f32::NAN, 0.0, f32::INFINITY, 1.0, 0.0, 0.0]);
        scatter::scatter(std::slice::from_ref(&points), None).unwrap();
        scatter::scatter(&[points.clone(), points.clone()], Some(&points)).unwrap();
        assert!(scatter::scatter(&[HostTensor::f32(vec![2], vec![0.0; 2])], None).is_err());
    }

    #[test]
    fn arrays_have_numpy_headers() {
        for shape in [vec![], vec![3], vec![2, 3]] {
            let n = shape.iter().product();
            let bytes = npy::encode(&HostTensor::f32(shape.clone(), vec![0.5; n]));
            assert_eq!((bytes.len() - 4 * n) % 64, 0);
            let header = String::from_utf8_lossy(&bytes[10..bytes.len() - 4 * n]).into_owned();
            let wanted = ["'shape': ()", "'shape': (3,)", "'shape': (2, 3)"][shape.len()];
            assert!(header.contains(wanted) && header.ends_with('\n'), "{header}");
        }
        let dir = tempfile::tempdir().unwrap();
        let t = HostTensor::u32(vec![1], vec![7]);
        npy::save(&t, &dir.path().join("a.npy")).unwrap();
        assert!(npy::save(&t, &dir.path().join("none/a.npy")).is_err());
        let picture =
            grid::picture_grid(&[HostTensor::f32(vec![1, 1, 2, 2], vec![0.0; 4])], (1, 1), (0.0, 1.0)).unwrap();
        save_png(&picture, &dir.path().join("a.png")).unwrap();
        assert_eq!(image::open(dir.path().join("a.png")).unwrap().to_rgb8(), picture);
    }
}
