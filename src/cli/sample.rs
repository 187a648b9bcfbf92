//! `ganc sample`

use super::latents::sheet;
use super::opened::{Drawn, Opened};
use super::{DeviceArgs, Failure, device};
use crate::graph::HostTensor;
use crate::report::{grid, npy, save_png, scatter};
use clap::Args;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(super) struct SampleArgs {
    /// The run folder
    run: PathBuf,
    /// How many samples
    #[arg(short, long, default_value_t = 64)]
    n: usize,
    /// Seed of the latents
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The picture to write; with --each a folder, with --npy an array (default: samples.png, with --sheet RUN/sheet.png)
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// One file a sample, in the folder given with -o
    #[arg(long, conflicts_with = "npy")]
    each: bool,
    /// A NumPy array
    #[arg(long)]
    npy: bool,
    /// A contact sheet with numbers, and its latents beside it: what `ganc arith` and `ganc interp` take
    #[arg(long, conflicts_with_all = ["each", "npy"])]
    sheet: bool,
    /// The network to sample (default: the only generator)
    #[arg(long)]
    network: Option<String>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Most samples of one call: they are held in memory.
const MOST: usize = 100_000;

pub(super) fn sample(args: &SampleArgs) -> Result<(), Failure> {
    let most = if args.sheet { sheet::MOST } else { MOST };
    if args.n == 0 || args.n > most {
        return Err(Failure::Message(format!("-n {}: from 1 to {most}", args.n)));
    }
    let run = Opened::open(&args.run)?;
    let network = run.network(args.network.as_deref())?;
    let mut exec = device::executor(&args.device, false)?;
    run.restore(&mut exec)?;
    let drawn = run.draw(&mut exec, &network, args.n, args.seed)?;
    if args.sheet {
        let picture = args.output.clone().unwrap_or_else(|| args.run.join("sheet.png"));
        return sheet::write(&run, &network, args.seed, &drawn, &picture);
    }
    let Drawn { outputs, .. } = drawn;
    let tensor =
        outputs.into_iter().next().map(|o| o.1).ok_or_else(|| format!("`{network}` gives nothing to draw"))?;
    write(args, &tensor, run.range())
}

fn rows(t: &HostTensor, i: usize) -> Option<HostTensor> {
    let width: usize = t.shape[1..].iter().product();
    let v = t.as_f32()?;
    let mut shape = t.shape.clone();
    shape[0] = 1;
    Some(HostTensor::f32(shape, v[i * width..(i + 1) * width].to_vec()))
}

fn write(args: &SampleArgs, t: &HostTensor, range: (f64, f64)) -> Result<(), Failure> {
    let text = |e: &dyn std::fmt::Display| Failure::Message(e.to_string());
    let out: &Path = args.output.as_deref().unwrap_or(Path::new("samples.png"));
    if args.npy {
        npy::save(t, out).map_err(|e| text(&e))?;
    } else if args.each {
        std::fs::create_dir_all(out)
            .map_err(|e| Failure::Message(format!("cannot make the folder `{}`: {e}", out.display())))?;
        for i in 0..args.n {
            let one = rows(t, i).ok_or_else(|| "the network's output is not real".to_string())?;
            let picture = grid::picture_grid(&[one], (1, 1), range).map_err(|e| text(&e))?;
            save_png(&picture, &out.join(format!("{i:05}.png"))).map_err(|e| text(&e))?;
        }
    } else {
        let picture = if t.shape.len() == 2 && t.shape[1] == 2 {
            scatter::scatter(std::slice::from_ref(t), None)
        } else {
            let columns = (args.n as f64).sqrt().ceil() as usize;
            grid::picture_grid(std::slice::from_ref(t), (args.n.div_ceil(columns), columns), range)
        };
        save_png(&picture.map_err(|e| text(&e))?, out).map_err(|e| text(&e))?;
    }
    super::print(&format!("wrote {}\n", out.display()));
    Ok(())
}
