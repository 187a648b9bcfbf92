//! Generated points in the plane: `ring`, `grid`, `swiss_roll`, `two_moons`. Endless; `take(n)` fixes n rows.

use super::args::Args;
use super::random::{Draw, unit};
use super::table::{Column, Store, Table};
use super::{Call, FieldType};
use crate::diag::Diagnostics;
use crate::graph::philox::stream;
use std::f64::consts::{PI, TAU};

/// Distribution of the points.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Generator {
    /// A mixture of equal normals.
    Mixture { centres: Vec<[f64; 2]>, std: f64 },
    /// `t (cos t, sin t) / 7.5` with t uniform in [1.5 pi, 4.5 pi], plus a normal (Gulrajani et al. 2017's toy set).
    SwissRoll { std: f64 },
    /// Half circles `(cos t, sin t)` and `(1 - cos t, 0.5 - sin t)`, t uniform in [0, pi], plus a normal.
    TwoMoons { std: f64 },
}

impl Generator {
    /// The source of this name.
    pub(super) fn read(call: &Call) -> Result<Table, Diagnostics> {
        let mut args = Args::new(call);
        let generator = match call.name.as_str() {
            "ring" => {
                let modes = args.count_to("modes", Some(0), 1, 1 << 16).map_or(8, |v| v.0);
                let radius = args.number_or("radius", Some(1), 1.0, 0.0);
                let std = args.number_or("std", Some(2), 0.01, 0.0);
                args.finish("`modes: 8`, `radius: 1` and `std: 0.01`")?;
                // Angles 2 pi i / n: with both ends of the circle two modes would coincide.
                let centre = |i: usize| {
                    let a = TAU * i as f64 / modes as f64;
                    [radius * a.cos(), radius * a.sin()]
                };
                Generator::Mixture { centres: (0..modes).map(centre).collect(), std }
            }
            "grid" => {
                let side = args.count_to("side", Some(0), 1, 1 << 8).map_or(5, |v| v.0);
                let spacing = args.number_or("spacing", Some(1), 2.0, 0.0);
                let std = args.number_or("std", Some(2), 0.05, 0.0);
                args.finish("`side: 5`, `spacing: 2` and `std: 0.05`")?;
                let at = |i: usize| spacing * (i as f64 - (side as f64 - 1.0) / 2.0);
                let centres = (0..side * side).map(|i| [at(i / side), at(i % side)]).collect();
                Generator::Mixture { centres, std }
            }
            "swiss_roll" => {
                let std = args.number_or("std", Some(0), 1.0 / 30.0, 0.0);
                args.finish("`std: 1/30`")?;
                Generator::SwissRoll { std }
            }
            _ => {
                let std = args.number_or("std", Some(0), 0.1, 0.0);
                args.finish("`std: 0.1`")?;
                Generator::TwoMoons { std }
            }
        };
        let point = Column::plain("point", FieldType::Real(vec![2]), Store::Generated);
        let mode = Column::plain("mode", FieldType::Class(generator.classes()), Store::Generated);
        let mut table = Table::new(vec![point, mode], 0);
        table.generator = Some(generator);
        Ok(table)
    }

    /// Values of `.mode`.
    pub(super) fn classes(&self) -> usize {
        match self {
            Generator::Mixture { centres, .. } => centres.len(),
            Generator::SwissRoll { .. } => 1,
            Generator::TwoMoons { .. } => 2,
        }
    }

    /// Centres and standard deviation of a mixture.
    pub(super) fn modes(&self) -> Option<(Vec<Vec<f64>>, f64)> {
        match self {
            Generator::Mixture { centres, std } => Some((centres.iter().map(|c| c.to_vec()).collect(), *std)),
            Generator::SwissRoll { .. } | Generator::TwoMoons { .. } => None,
        }
    }

    /// The point and mode of one draw.
    pub(super) fn sample(&self, draw: Draw) -> ([f32; 2], u32) {
        let w = draw.words(stream("data:point"), 0);
        let noise = Draw::normals(w[2], w[3]);
        let t = unit(w[1]);
        let (centre, std, mode) = match self {
            Generator::Mixture { centres, std } => {
                // The bias of the multiplication is below 2^-12 for a million modes.
                let mode = (u64::from(w[0]) * centres.len() as u64) >> 32;
                (centres[mode as usize], *std, mode as u32)
            }
            Generator::SwissRoll { std } => {
                let t = 1.5 * PI * (1.0 + 2.0 * t);
                ([t * t.cos() / 7.5, t * t.sin() / 7.5], *std, 0)
            }
            Generator::TwoMoons { std } => {
                let (s, c) = (PI * t).sin_cos();
                let mode = w[0] >> 31;
                (if mode == 0 { [c, s] } else { [1.0 - c, 0.5 - s] }, *std, mode)
            }
        };
        ([0, 1].map(|i| (centre[i] + std * noise[i]) as f32), mode)
    }
}
