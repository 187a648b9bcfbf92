//! `ganc sample`

use super::{DeviceArgs, Failure, compile};
use crate::build::sample_chunk;
use crate::data;
use crate::exec::Executor;
use crate::graph::HostTensor;
use crate::model::Options;
use crate::report::{grid, npy, save_png, scatter};
use crate::syntax::ast::Role;
use crate::train::actions::{Programs, run_chunk};
use crate::train::folder::RunFolder;
use crate::train::{checkpoint, key};
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    /// The picture to write; with --each a folder, with --npy an array
    #[arg(short, long, default_value = "samples.png")]
    output: PathBuf,
    /// One file a sample, in the folder given with -o
    #[arg(long, conflicts_with = "npy")]
    each: bool,
    /// A NumPy array
    #[arg(long)]
    npy: bool,
    /// The network to sample (default: the only generator)
    #[arg(long)]
    network: Option<String>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Most samples of one call: they are held in memory.
const MOST: usize = 100_000;

pub(super) fn sample(args: &SampleArgs) -> Result<(), Failure> {
    if args.n == 0 || args.n > MOST {
        return Err(Failure::Message(format!("-n {}: from 1 to {MOST}", args.n)));
    }
    let none = crate::source::SourceMap::default();
    let (folder, record) = RunFolder::open(&args.run).map_err(|e| compile::refused(&none, &e.diagnostics(None)))?;
    let options = Options { set: record.set.clone(), only: record.only.clone() };
    let main = record.sources.first().map(|s| s.path.clone()).unwrap_or_default();
    let front = compile::front_with(&main, &options, &compile::recorded(record.sources.clone()))?;
    let compiled = compile::graphs(&front)?;
    let wrong = |e: crate::train::RunError| compile::refused(&front.sources, &e.diagnostics(None));
    let (loaded, damaged) =
        checkpoint::newest(&folder.checkpoints(), Some(&super::run::spec_hash(&record))).map_err(wrong)?;
    damaged.iter().for_each(|e| super::tell(&format!("warning: {e}\n")));
    let loaded = loaded
        .ok_or_else(|| Failure::Message(format!("`{}` has no checkpoint to sample from", args.run.display())))?;
    let network = match &args.network {
        Some(name) => name.clone(),
        None => {
            let generators: Vec<&str> =
                compiled.networks.iter().filter(|n| n.role == Role::Generator).map(|n| n.name.as_str()).collect();
            match generators[..] {
                [one] => one.to_string(),
                [] => return Err(Failure::Message("the spec has no generator; say --network NAME".into())),
                _ => {
                    return Err(Failure::Message(format!(
                        "the spec has several generators ({}); say --network NAME",
                        generators.join(", ")
                    )));
                }
            }
        }
    };
    let (chunk, pipelines) = sample_chunk(&front.core, &front.sources, &data::schema, &network, args.n)
        .map_err(|d| compile::refused(&front.sources, &d))?;
    let mut sets = Vec::new();
    for p in &pipelines {
        sets.push(Arc::new(data::open(p).map_err(|d| compile::refused(&front.sources, &d))?));
    }
    let mut exec = compile::executor(&args.device)?;
    checkpoint::restore(&loaded, &compiled, &mut exec).map_err(wrong)?;
    let mut programs: Programs<<crate::exec::cpu::CpuExecutor as Executor>::Program> = Programs::default();
    let outputs = run_chunk(&mut exec, &mut programs, &chunk, &sets, key(args.seed), 0, 0).map_err(wrong)?;
    let tensor =
        outputs.into_iter().next().map(|o| o.1).ok_or_else(|| format!("`{network}` gives nothing to draw"))?;
    // Pictures are drawn with the range of the data that the spec trains on.
    let range = compiled.data.iter().find_map(|p| data::schema(p).ok()?.range).unwrap_or((-1.0, 1.0));
    write(args, &tensor, range)
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
    let out: &Path = &args.output;
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
