//! The command line: one file a command.
//!
//! Exit codes: 0 done, 1 the input was refused or an expectation failed, 2 wrong use of the command line,
//! 101 a bug in ganc, 130 stopped by Ctrl-C (with a checkpoint saved).

mod ablate;
mod bench;
mod check;
mod compile;
mod describe;
mod device;
mod dump;
mod expand;
mod explain;
mod fmt;
mod inputs;
mod latents;
mod opened;
mod progress;
mod run;
mod sample;
mod tricks;
mod tune;
mod workload;

use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::OnceLock;

/// A language and compiler for adversarial training.
#[derive(Parser)]
#[command(name = "ganc", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a spec, or go on with a run
    Run(run::RunArgs),
    /// Check a spec without training: syntax, names, shapes, memory
    Check(check::CheckArgs),
    /// Print a spec rewritten into the core language (losses and tricks spelled out)
    Expand(SpecArgs),
    /// Print the networks as tables: layer, output shape, parameters, FLOPs
    Describe(SpecArgs),
    /// Print one stage of the compiler
    Dump(dump::DumpArgs),
    /// Format specs in place
    Fmt(fmt::FmtArgs),
    /// Draw samples from a trained run
    Sample(sample::SampleArgs),
    /// Compare a spec with itself without each of its tricks, or over values of a constant
    Ablate(ablate::AblateArgs),
    /// Vector arithmetic on latents of a contact sheet
    Arith(latents::arith::ArithArgs),
    /// The way between two samples of a contact sheet
    Interp(latents::interp::InterpArgs),
    /// Time training iterations of a spec
    Bench(bench::BenchArgs),
    /// Measure ways to cut a spec's products on the GPU, and keep the fastest
    Tune(tune::TuneArgs),
    /// All tricks, or a page on one: definition, paper, expansion, mistakes, cost
    Tricks(tricks::TricksArgs),
    /// Explain an error or warning code, such as E0301
    Explain(explain::ExplainArgs),
}

/// A spec and overrides of its constants.
#[derive(Args, Clone)]
struct SpecArgs {
    /// The spec, a .gan file
    spec: PathBuf,
    /// Override a constant: --set nz=64 (may be given several times)
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Only the `train` of this name
    #[arg(long)]
    only: Option<String>,
    /// What products are computed in, instead of what the spec says
    #[arg(long, value_parser = PRECISIONS)]
    precision: Option<String>,
}

/// Words of `--precision`.
const PRECISIONS: [&str; 4] = ["f32", "tf32", "bf16", "f16"];

/// How graphs are executed.
#[derive(Args, Clone)]
struct DeviceArgs {
    /// Where to run: auto (an NVIDIA GPU if one can be used), cpu, or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
    /// Threads of the CPU (default: all cores); results do not depend on it
    #[arg(long)]
    threads: Option<usize>,
    /// Most memory that a program may take, in MiB (default: what is free)
    #[arg(long, value_name = "MIB")]
    memory: Option<u64>,
    /// One node a kernel: the check on fusion
    #[arg(long)]
    no_fuse: bool,
}

/// What a command ends with besides success.
enum Failure {
    /// Diagnostics were printed already.
    Refused,
    /// Stopped by a signal, with everything saved.
    Stopped,
    /// A plain message.
    Message(String),
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Failure::Message(text)
    }
}

/// Whether messages to stderr are coloured.
fn color() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Writes to standard output; a reader that has gone away (`ganc dump … | head`) is no error.
///
/// Any other failure (a full disk under `ganc expand … > core.gan`) is kept for the end: it must not stop a run.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    if let Err(e) = out.write_all(text.as_bytes()).and_then(|()| out.flush())
        && e.kind() != std::io::ErrorKind::BrokenPipe
    {
        let _ = LOST.set(e.to_string());
    }
}

/// Why some of the standard output could not be written.
static LOST: OnceLock<String> = OnceLock::new();

/// Writes to standard error. Where that is closed there is nobody to tell, which is no reason to die.
fn tell(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Room for the deepest nesting that the parser lets through, in blocks within blocks.
const STACK: usize = 256 << 20;

/// Runs the command line and returns the exit code.
pub fn main(args: impl Iterator<Item = OsString>) -> i32 {
    let args: Vec<OsString> = args.collect();
    crate::exec::cpu::return_freed_memory();
    std::thread::scope(|scope| {
        let work = std::thread::Builder::new().name("main".into()).stack_size(STACK);
        match work.spawn_scoped(scope, || command(args.into_iter())) {
            Ok(thread) => thread.join().unwrap_or(101),
            Err(e) => {
                tell(&format!("error: the system gives no thread: {e}\n"));
                1
            }
        }
    })
}

fn command(args: impl Iterator<Item = OsString>) -> i32 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => {
            // Printing fails only if the terminal is gone; there is nobody to tell.
            let _ = e.print();
            return e.exit_code();
        }
    };
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match cli.command {
        Command::Run(a) => run::run(&a),
        Command::Check(a) => check::check(&a),
        Command::Expand(a) => expand::expand(&a),
        Command::Describe(a) => describe::describe(&a),
        Command::Dump(a) => dump::dump(&a),
        Command::Fmt(a) => fmt::fmt(&a),
        Command::Sample(a) => sample::sample(&a),
        Command::Ablate(a) => ablate::ablate(&a),
        Command::Arith(a) => latents::arith::arith(&a),
        Command::Interp(a) => latents::interp::interp(&a),
        Command::Bench(a) => bench::bench(&a),
        Command::Tune(a) => tune::tune(&a),
        Command::Tricks(a) => tricks::tricks(&a),
        Command::Explain(a) => explain::explain(&a),
    }));
    match outcome {
        Ok(Ok(())) => match LOST.get() {
            None => 0,
            Some(why) => {
                tell(&format!("error: cannot write to standard output: {why}\n"));
                1
            }
        },
        Ok(Err(Failure::Refused)) => 1,
        Ok(Err(Failure::Stopped)) => 130,
        Ok(Err(Failure::Message(text))) => {
            tell(&format!("error: {text}\n"));
            1
        }
        Err(_) => {
            tell(
                "error: this is a bug in ganc; the lines above say where. A run's last checkpoint is untouched.\n",
            );
            101
        }
    }
}
