//! `ganc interp`: the way from one sample of a sheet to another.
//!
//! Straight by default. Latents of a Gaussian lie near a sphere, and the middle of a straight way is nearer to the
//! origin than any sample that the generator has seen: `--spherical` goes along the great circle (White 2016).

use super::{Latent, Part, pack, pictures, sheet, with_labels, write};
use crate::cli::opened::Opened;
use crate::cli::{DeviceArgs, Failure, device};
use crate::report::labelled::Strip;
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub(in crate::cli) struct InterpArgs {
    /// The run folder
    run: PathBuf,
    /// Number of the first sample on the run's contact sheet
    from: usize,
    /// Number of the last sample
    to: usize,
    /// Pictures, both ends included
    #[arg(long, default_value_t = 9)]
    steps: usize,
    /// Along the great circle instead of the straight line
    #[arg(long)]
    spherical: bool,
    /// The picture to write
    #[arg(short, long, default_value = "interp.png")]
    output: PathBuf,
    /// The contact sheet whose numbers are meant (default: RUN/sheet.png)
    #[arg(long)]
    sheet: Option<PathBuf>,
    /// Use this label instead of those of the samples: --with label=3
    #[arg(long, value_name = "NAME=VALUE")]
    with: Vec<String>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Most pictures.
const MOST_STEPS: usize = 1000;
/// Pictures side by side.
const COLUMNS: usize = 12;

pub(in crate::cli) fn interp(args: &InterpArgs) -> Result<(), Failure> {
    if !(2..=MOST_STEPS).contains(&args.steps) {
        return Err(Failure::Message(format!("--steps {}: from 2 to {MOST_STEPS}", args.steps)));
    }
    let run = Opened::open(&args.run)?;
    let mut sheet = sheet::read(&run, args.sheet.as_deref())?;
    with_labels(&mut sheet.inputs, &args.with)?;
    let end = |n: usize| {
        sheet.latent(n).ok_or_else(|| {
            Failure::Message(format!(
                "`{}` has no sample {n}: its numbers go from 0 to {}",
                sheet.path.display(),
                sheet.count - 1
            ))
        })
    };
    let (a, b) = (end(args.from)?, end(args.to)?);
    let mut latents = Vec::new();
    for i in 0..args.steps {
        let t = i as f64 / (args.steps - 1) as f64;
        latents.push(between(&a, &b, t, args.spherical).map_err(|i| {
            let name = sheet.inputs.get(i).map_or("label", |i| i.name.as_str());
            Failure::Message(format!(
                "samples {} and {} have different labels `{name}`, between which there is nothing; give both the \
                 same: --with {name}=0",
                args.from, args.to
            ))
        })?);
    }
    let mut exec = device::executor(&args.device, false)?;
    run.restore(&mut exec)?;
    let pictures = pictures(&run, &mut exec, &sheet.network, &pack(&sheet.inputs, &latents))?;
    let caption = |i: usize| match i {
        0 => args.from.to_string(),
        i if i + 1 == args.steps => args.to.to_string(),
        i => format!("{:.2}", i as f64 / (args.steps - 1) as f64),
    };
    let way = if args.spherical { "spherical" } else { "straight" };
    let title = format!("{} to {}, {way}", args.from, args.to);
    let strip = Strip { title, pictures, captions: (0..args.steps).map(caption).collect() };
    write(&[strip], COLUMNS, run.range(), &args.output)
}

/// The latent at `t` of the way; the index of an input whose labels differ.
pub(super) fn between(a: &Latent, b: &Latent, t: f64, spherical: bool) -> Result<Latent, usize> {
    let mut parts = Vec::new();
    for (i, pair) in a.parts.iter().zip(&b.parts).enumerate() {
        parts.push(match pair {
            (Part::Real(x), Part::Real(y)) => {
                let (u, v) = if spherical { great_circle(x, y, t) } else { (1.0 - t, t) };
                Part::Real(x.iter().zip(y).map(|(x, y)| u * x + v * y).collect())
            }
            (Part::Class(x), Part::Class(y)) if x == y => Part::Class(*x),
            (Part::Class(_) | Part::Real(_), _) => return Err(i),
        });
    }
    Ok(Latent { parts })
}

/// Weights of both ends on the great circle: sin((1-t) w) / sin w and sin(t w) / sin w, w the angle between them.
/// Where that is no circle (parallel ends, or an end at the origin) the way is straight.
fn great_circle(x: &[f64], y: &[f64], t: f64) -> (f64, f64) {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let norms = (dot(x, x) * dot(y, y)).sqrt();
    let angle = (dot(x, y) / norms).clamp(-1.0, 1.0).acos();
    if angle.is_nan() || angle.sin() < 1e-6 {
        return (1.0 - t, t);
    }
    (((1.0 - t) * angle).sin() / angle.sin(), (t * angle).sin() / angle.sin())
}
