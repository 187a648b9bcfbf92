//! `--device`: the executor that a command runs on.

use super::{DeviceArgs, Failure};
use crate::codegen::cuda::contract::tuning::Tuning;
use crate::codegen::cuda::generate_tuned;
use crate::exec::any::AnyExecutor;
use crate::exec::cpu::{CpuExecutor, CpuOptions, free_bytes};
use crate::exec::cuda::{Cache, CudaError, CudaExecutor, CudaOptions, Search, probe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

/// What `--device` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Auto,
    Cpu,
    Cuda(usize),
}

fn asked(text: &str) -> Result<Asked, Failure> {
    let wrong = || Failure::Message(format!("--device {text}: expected auto, cpu, or cuda:N with a number N"));
    match text {
        "auto" => Ok(Asked::Auto),
        "cpu" => Ok(Asked::Cpu),
        "cuda" => Ok(Asked::Cuda(0)),
        other => {
            let index = other.strip_prefix("cuda:").filter(|n| n.chars().all(|c| c.is_ascii_digit()));
            Ok(Asked::Cuda(index.and_then(|n| n.parse().ok()).ok_or_else(wrong)?))
        }
    }
}

/// More threads than any machine of today runs at once are a slip of the pen.
const MOST_THREADS: usize = 1024;

/// Checks what the options ask for; the number of threads.
pub(super) fn threads(args: &DeviceArgs) -> Result<usize, Failure> {
    asked(&args.device)?;
    match args.threads {
        Some(0) => Err(Failure::Message("--threads 0: at least one thread is needed".into())),
        Some(n) if n > MOST_THREADS => Err(Failure::Message(format!("--threads {n}: at most {MOST_THREADS}"))),
        Some(n) => Ok(n),
        None => Ok(num_cpus::get_physical().min(MOST_THREADS)),
    }
}

/// Bytes of `--memory`.
pub(super) fn mebibytes(n: u64) -> u64 {
    n.saturating_mul(1 << 20)
}

fn warn(text: &str) {
    super::tell(&format!("warning: {text}\n"));
}

fn cuda(index: usize, args: &DeviceArgs, profile: bool) -> Result<CudaExecutor, CudaError> {
    let found = probe(index, &Search::from_environment(), Cache::from_environment(warn))?;
    // Switches for measuring what each of them gains.
    let on = |name: &str| std::env::var_os(name).is_none_or(|v| v != "0");
    let (overlap, share) = (on("GANC_CUDA_OVERLAP"), on("GANC_CUDA_SHARED"));
    let options = CudaOptions { fuse: !args.no_fuse, profile, overlap, share, ..CudaOptions::default() };
    let mut exec = CudaExecutor::new(Box::new(found.gpu), generate_tuned, options);
    if on("GANC_CUDA_TILES") {
        exec.tune(measured(&exec.about().name));
    }
    Ok(exec)
}

/// Tiles that `ganc tune` measured on devices of this name.
pub(super) fn measured(device: &str) -> Tuning {
    let path = Cache::from_environment(warn).measured(device);
    let text = path.and_then(|p| std::fs::read_to_string(p).ok());
    text.map_or_else(Tuning::default, |t| Tuning::parse(&t))
}

/// Adds to what [`measured`] reads, which another search may have written to meanwhile; its path.
pub(super) fn keep_measured(device: &str, new: &Tuning) -> std::io::Result<std::path::PathBuf> {
    let mut all = measured(device);
    all.add(new);
    Cache::from_environment(warn).keep_measured(device, &all.to_string())
}

/// A device that is opened beside other work: a driver takes a quarter of a second for its context. It stays open while this
/// lives; who asks for it in the meantime finds it open or waits for it.
pub(super) struct Waking {
    /// Whether it is known by now that it cannot be opened.
    failed: Arc<AtomicBool>,
    done: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Begins to open what `--device` asks for; what is missing is for [`executor`] to say.
pub(super) fn waken(args: &DeviceArgs) -> Waking {
    let failed = Arc::new(AtomicBool::new(false));
    let index = match asked(&args.device) {
        Ok(Asked::Auto) => 0,
        Ok(Asked::Cuda(index)) => index,
        Ok(Asked::Cpu) | Err(_) => return Waking { failed, done: None, thread: None },
    };
    let (done, wait) = channel::<()>();
    let told = failed.clone();
    let open = move || {
        let found = probe(index, &Search::from_environment(), Cache::from_environment(|_| {}));
        told.store(found.is_err(), Ordering::Relaxed);
        // Until the other end is dropped.
        let _ = wait.recv();
        drop(found);
    };
    // Without a thread the device is opened later.
    let thread = std::thread::Builder::new().spawn(open).ok();
    Waking { failed, done: Some(done), thread }
}

impl Waking {
    /// The error of a device that was asked for by its number, if there is one by now: before time goes into data.
    pub fn check(&self, args: &DeviceArgs) -> Result<(), Failure> {
        match asked(&args.device)? {
            Asked::Cuda(_) if self.failed.load(Ordering::Relaxed) => executor(args, false).map(|_| ()),
            Asked::Auto | Asked::Cpu | Asked::Cuda(_) => Ok(()),
        }
    }
}

impl Drop for Waking {
    fn drop(&mut self) {
        drop(self.done.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The executor that `--device` asks for, made before a run makes its folder; it measures each launch if `profile`.
pub(super) fn executor(args: &DeviceArgs, profile: bool) -> Result<AnyExecutor, Failure> {
    let threads = threads(args)?;
    let cpu = || {
        // A plan that does not fit is refused; without that the system would end the process in the midst of its work.
        let memory = args.memory.map(mebibytes).or_else(free_bytes);
        let options = CpuOptions { threads, fuse: !args.no_fuse, profile, memory, ..CpuOptions::default() };
        AnyExecutor::Cpu(CpuExecutor::new(options))
    };
    match asked(&args.device)? {
        Asked::Cpu => Ok(cpu()),
        Asked::Cuda(index) => match cuda(index, args, profile) {
            Ok(exec) => Ok(AnyExecutor::Cuda(exec)),
            Err(e) => Err(Failure::Message(format!("--device {}: {e}", args.device))),
        },
        Asked::Auto => match cuda(0, args, profile) {
            Ok(exec) => Ok(AnyExecutor::Cuda(exec)),
            Err(CudaError::NoDriver { .. } | CudaError::NoDevice(_)) => Ok(cpu()),
            Err(e) => {
                // A device that is there and cannot be used is worth a line.
                super::tell(&format!("note: running on the CPU: {e}\n"));
                Ok(cpu())
            }
        },
    }
}
