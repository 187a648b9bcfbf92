//! `ganc tune`: measures ways to cut the products of a spec on the GPU at hand, and keeps the fastest for later runs. What is
//! measured is the first iteration of the first `train`, as in `ganc bench`.

use super::workload::Workload;
use super::{DeviceArgs, Failure, SpecArgs, device};
use crate::codegen::cuda::contract::tuning::{Found, Tuning, search};
use clap::Args;
use std::fmt::Write;

#[derive(Args)]
pub(super) struct TuneArgs {
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// Ways to cut each product that are measured, the most promising ones
    #[arg(long, default_value_t = 8)]
    candidates: usize,
    /// Iterations that each is measured in; the shortest time counts
    #[arg(long, default_value_t = 5)]
    repeat: u64,
    /// Measure products again that were measured on this device before
    #[arg(long)]
    again: bool,
}

pub(super) fn tune(args: &TuneArgs) -> Result<(), Failure> {
    if args.candidates == 0 || args.repeat == 0 {
        return Err(Failure::Message("--candidates and --repeat must be at least 1".into()));
    }
    let (mut work, mut exec) = Workload::open(&args.spec, &args.device, true)?;
    let name = exec.place().to_string();
    let Some(cuda) = exec.cuda() else {
        return Err(Failure::Message(
            "`ganc tune` measures kernels on an NVIDIA GPU, and this would run on the processor, which has nothing to \
             tune; `--device cuda:0` says what is missing"
                .into(),
        ));
    };
    // Whatever GANC_CUDA_TILES says of other commands.
    let (known, arch) = (device::measured(&name), cuda.about().arch);
    let mut round = 0;
    let mut seen = 0;
    let measure = |tuning: &Tuning| -> Result<_, Failure> {
        super::tell(&format!("{name}: round {round}\n"));
        round += 1;
        if let Some(cuda) = exec.cuda() {
            cuda.tune(tuning.clone());
        }
        let mut program = work.compile(&mut exec)?;
        // The first run loads kernels.
        work.iterate(&mut exec, &mut program, 2)?;
        program.reset_profile();
        work.iterate(&mut exec, &mut program, args.repeat)?;
        let products = program.products();
        seen = seen.max(products.len());
        Ok(products)
    };
    let found = search(&known, arch, args.candidates, args.again, measure)?;
    if found.is_empty() {
        super::print(&match seen {
            0 => format!("{name}: this iteration has no products that are cut into tiles\n"),
            _ => format!(
                "{name}: all products of this iteration were measured before; --again measures them again\n"
            ),
        });
        return Ok(());
    }
    let mut new = Tuning::default();
    found.iter().for_each(|f| new.set(&f.shape, &f.best.0));
    let mut text = report(&found);
    let kept = device::keep_measured(&name, &new)
        .map_err(|e| Failure::Message(format!("{text}what was measured cannot be kept: {e}")))?;
    let _ = writeln!(
        text,
        "kept in `{}`: new runs on this device are compiled so, and their numbers differ in the last bits from those \
         before, as sums are cut in other places (a run that is resumed keeps its own); GANC_CUDA_TILES=0 leaves it out",
        kept.display()
    );
    super::print(&text);
    Ok(())
}

/// A paragraph a shape, and the sum.
fn report(found: &[Found]) -> String {
    let mut text = String::new();
    let (mut before, mut after) = (0.0, 0.0);
    for f in found {
        let _ = writeln!(text, "{} ({} tried)", f.shape, f.tried);
        match f.guess.1 {
            Some(guess) => {
                (before, after) = (before + guess, after + f.best.1);
                let _ = writeln!(text, "  {:10.1} us  {}", guess / 1e3, f.guess.0);
            }
            None => {
                let _ = writeln!(text, "  {:>10}     {}", "did not run", f.guess.0);
            }
        }
        if f.best.0 != f.guess.0 {
            let _ = writeln!(text, "  {:10.1} us  {}", f.best.1 / 1e3, f.best.0);
        }
    }
    let _ = writeln!(
        text,
        "\nthese products in an iteration: {:.3} ms as they were guessed, {:.3} ms as they were measured to be the fastest",
        before / 1e6,
        after / 1e6
    );
    text
}
