//! What can end a run early, in words that name the file, the step and what is left.

use crate::diag::{Diagnostic, Diagnostics};
use crate::exec::ExecError;
use crate::exec::cuda::CudaError;
use crate::source::Span;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A run that could not start or go on.
#[derive(Debug, Error)]
pub enum RunError {
    /// A file of the run folder.
    #[error("cannot {action} `{path}`: {source}")]
    Io {
        /// What was tried, as in "write the checkpoint".
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A checkpoint that is not what it says.
    #[error("the checkpoint `{path}` cannot be used: {reason}")]
    Checkpoint {
        /// Its manifest.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A run record that is not what it says.
    #[error("the run record `{path}` cannot be used: {reason}")]
    Record {
        /// `run.json`.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A tensor (its name) that is no number any more, found when it was to be saved.
    #[error("`{0}` is not finite, so nothing is saved")]
    Sick(String),
    /// Compiling or running a graph.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// A loss or tensor that is no number any more.
    #[error("{what} is not finite at step {step} of `{train}`{birth}; the last good checkpoint is {checkpoint}")]
    NotFinite {
        /// Which loss.
        what: String,
        /// Iteration.
        step: u64,
        /// Which `train`.
        train: String,
        /// Where the first NaN or infinity was born, if that could be found (begins with a separator).
        birth: String,
        /// Path of the last good one, or "none".
        checkpoint: String,
    },
    /// Data that cannot be read, or a spec that does not fit it.
    #[error("the data cannot be used")]
    Data(Diagnostics),
    /// A picture that could not be drawn or written.
    #[error(transparent)]
    Report(#[from] crate::report::ReportError),
    /// A metric without a value.
    #[error(transparent)]
    Metric(#[from] crate::metrics::MetricError),
    /// Tensors that a network should start from.
    #[error("the pretrained tensors in `{path}` cannot be used: {reason}")]
    Pretrained {
        /// Run folder or file.
        path: PathBuf,
        /// Why.
        reason: String,
        /// The modifier that names it.
        at: Span,
    },
    /// An option that does not fit the spec or the run.
    #[error("{0}")]
    Option(String),
}

impl RunError {
    /// An I/O error with what was tried on which path.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> RunError {
        let path = path.to_path_buf();
        move |source| RunError::Io { action, path, source }
    }

    /// As diagnostics, for the one renderer.
    pub fn diagnostics(self, place: Option<Span>) -> Diagnostics {
        let code = match &self {
            RunError::Data(_) => "E0500",
            RunError::Io { .. } => "E0550",
            RunError::Checkpoint { .. } | RunError::Record { .. } => "E0551",
            RunError::Sick(_) | RunError::NotFinite { .. } => "E0552",
            RunError::Exec(ExecError::Memory { .. } | ExecError::Cuda(CudaError::Memory { .. })) => "E0553",
            RunError::Exec(ExecError::Cuda(_)) => "E0562",
            RunError::Exec(_) => "E0554",
            RunError::Option(_) => "E0555",
            RunError::Report(_) => "E0550",
            RunError::Metric(_) => "E0556",
            RunError::Pretrained { .. } => "E0557",
        };
        let help = match &self {
            RunError::Io { action: "read the run record", .. } => {
                Some("a run is named by its folder, as in `ganc run --resume runs/NAME-1`")
            }
            RunError::Io { action: "make the run folder" | "read the folder", .. } => {
                Some("choose another folder with --out")
            }
            RunError::Record { .. } => Some("the spec beside it (spec.gan) can be run anew"),
            RunError::Io { .. } | RunError::Report(crate::report::ReportError::Write(..)) => Some(
                "the last checkpoint is untouched; free the space or fix the permissions, then `ganc run --resume` the run folder",
            ),
            RunError::Exec(ExecError::Cuda(CudaError::Call { .. })) => Some(
                "the last checkpoint is untouched; `ganc run --resume` the run folder, with --device cpu if the device stays broken",
            ),
            RunError::Exec(ExecError::Memory { .. } | ExecError::Cuda(CudaError::Memory { .. })) => {
                Some("a smaller `batch`, fewer `samples:` of a picture or evaluation, or `--monitors off`")
            }
            RunError::NotFinite { .. } => Some(
                "try a smaller learning rate, clip_norm on the optimiser, or a gradient penalty; an edited spec is a new run",
            ),
            RunError::Pretrained { .. } => {
                Some("name a run folder, or a .safetensors file, that holds a network of the same name and layers")
            }
            RunError::Data(_)
            | RunError::Checkpoint { .. }
            | RunError::Exec(_)
            | RunError::Option(_)
            | RunError::Report(_)
            | RunError::Sick(_)
            | RunError::Metric(_) => None,
        };
        let title = self.to_string();
        let place = match &self {
            RunError::Pretrained { at, .. } => Some(*at),
            _ => place,
        };
        if let RunError::Data(d) = self {
            return d;
        }
        let mut d = Diagnostic::error(code, title);
        if let Some(span) = place {
            d = d.at(span, "");
        }
        if let Some(help) = help {
            d = d.help(help);
        }
        d.into()
    }
}
