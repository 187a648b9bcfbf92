//! From a path to graphs, with messages printed: what all commands share.

use super::{Failure, SpecArgs, color};
use crate::build::{self, program::Compiled};
use crate::data::{self, Dataset};
use crate::diag::{Diagnostics, render};
use crate::exec::any::AnyExecutor;
use crate::model::{self, Model, Options};
use crate::source::SourceMap;
use crate::train::folder::StoredSource;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest spec that is read.
const LONGEST_SPEC: u64 = 4 << 20;

/// Reads a text file, bounded, so that a device or a wrong file does not fill memory.
pub(super) fn read_text(path: &Path) -> io::Result<String> {
    let file = std::fs::File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::other("this is a folder; a spec is a file, as in `ganc run spec.gan`"));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST_SPEC + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST_SPEC {
        return Err(io::Error::other("the file is longer than 4 MiB, which no spec is"));
    }
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let why = if e.as_bytes().starts_with(b"\xff\xfe") || e.as_bytes().starts_with(b"\xfe\xff") {
            "the file is UTF-16; save it as UTF-8".to_string()
        } else {
            let line = e.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1;
            format!("the file is not UTF-8 text: byte {at}, in line {line}; a spec is saved as UTF-8")
        };
        io::Error::new(io::ErrorKind::InvalidData, why)
    })
}

/// A checked spec.
pub(super) struct Front {
    /// All texts.
    pub sources: SourceMap,
    /// Rewritten into the core language.
    pub core: Model,
    /// Warnings so far.
    pub warnings: Diagnostics,
}

/// Prints diagnostics to standard error.
pub(super) fn report(sources: &SourceMap, diagnostics: &Diagnostics) {
    if !diagnostics.is_empty() {
        super::tell(&render::render(sources, diagnostics, color()));
    }
}

/// Prints errors and gives the failure that says so.
pub(super) fn refused(sources: &SourceMap, diagnostics: &Diagnostics) -> Failure {
    report(sources, diagnostics);
    Failure::Refused
}

/// `name=value` pairs of `--set`.
pub(super) fn pairs(set: &[String]) -> Result<Vec<(String, String)>, Failure> {
    pairs_of("--set", set)
}

/// `name=value` pairs of an option.
pub(super) fn pairs_of(option: &str, given: &[String]) -> Result<Vec<(String, String)>, Failure> {
    given
        .iter()
        .map(|s| match s.split_once('=') {
            Some((n, v)) if !n.trim().is_empty() && !v.trim().is_empty() => {
                Ok((n.trim().to_string(), v.trim().to_string()))
            }
            _ => Err(Failure::Message(format!("{option} takes NAME=VALUE, found `{s}`"))),
        })
        .collect()
}

/// Parses, resolves and expands; `reader` reads files (from disk, or from a run's record).
pub(super) fn front_with(
    spec: &Path,
    options: &Options,
    reader: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<Front, Failure> {
    let mut sources = SourceMap::default();
    let model = match model::load(spec, &mut sources, reader, options) {
        Ok(model) => model,
        Err(d) => return Err(refused(&sources, &d)),
    };
    let warnings = model.warnings.clone();
    match crate::tricks::expand(&model) {
        Ok(core) => Ok(Front { sources, core, warnings }),
        Err(d) => Err(refused(&sources, &d)),
    }
}

/// The same for a spec on disk.
pub(super) fn front(args: &SpecArgs) -> Result<Front, Failure> {
    let options = Options { set: pairs(&args.set)?, only: args.only.clone(), precision: args.precision.clone() };
    front_with(&args.spec, &options, &read_text)
}

/// Graphs of a checked spec; warnings of all stages are printed.
pub(super) fn graphs(front: &Front) -> Result<Compiled, Failure> {
    match build::build(&front.core, &front.sources, &data::schema) {
        Ok((compiled, warnings)) => {
            report(&front.sources, &front.warnings);
            report(&front.sources, &warnings);
            Ok(compiled)
        }
        Err(d) => {
            report(&front.sources, &front.warnings);
            Err(refused(&front.sources, &d))
        }
    }
}

/// Refuses a spec whose iterations need more memory than there is, or than `--memory` allows.
pub(super) fn afford(
    front: &Front,
    compiled: &Compiled,
    exec: &AnyExecutor,
    allowed: Option<u64>,
) -> Result<(), Failure> {
    let Some(free) = allowed.or_else(|| exec.free()) else { return Ok(()) };
    let place = match exec {
        _ if allowed.is_some() => "allowed by `--memory`".to_string(),
        AnyExecutor::Cpu(_) => "free on this machine".to_string(),
        AnyExecutor::Cuda(_) => format!("free on {}", exec.place()),
    };
    let room = build::Room { free, place: &place, need: &|graph| exec.need(graph).ok() };
    match build::afford(&front.core, &front.sources, &data::schema, compiled, &room) {
        Some(d) => Err(refused(&front.sources, &d.into())),
        None => Ok(()),
    }
}

/// Opens all data sets of a spec.
pub(super) fn open_data(front: &Front, compiled: &Compiled) -> Result<Vec<Arc<Dataset>>, Failure> {
    let mut sets = Vec::new();
    let mut errors = Diagnostics::default();
    for pipeline in &compiled.data {
        match data::open(pipeline) {
            Ok(set) => sets.push(Arc::new(set)),
            Err(d) => errors.extend(d),
        }
    }
    if errors.has_errors() { Err(refused(&front.sources, &errors)) } else { Ok(sets) }
}

/// Reads the tensors of pretrained networks.
pub(super) fn pretrained(front: &Front, compiled: &mut Compiled) -> Result<(), Failure> {
    crate::train::pretrained::load(compiled).map_err(|e| refused(&front.sources, &e.diagnostics(None)))
}

/// Texts of a spec as a run keeps them: main file first, the prelude left out.
pub(super) fn stored(front: &Front) -> Vec<StoredSource> {
    front
        .core
        .files
        .iter()
        .map(|&id| {
            let file = front.sources.file(id);
            let path = std::path::absolute(&file.path).unwrap_or_else(|_| file.path.clone());
            StoredSource { path, text: file.text.to_string() }
        })
        .collect()
}

/// A reader of a run's recorded texts.
pub(super) fn recorded(sources: Vec<StoredSource>) -> impl Fn(&Path) -> io::Result<String> {
    move |path: &Path| {
        sources
            .iter()
            .find(|s| s.path == path)
            .map(|s| s.text.clone())
            .ok_or_else(|| io::Error::other("the run's record has no such file"))
    }
}

/// `runs/dcgan-1` for `examples/dcgan.gan`.
pub(super) fn stem(spec: &Path) -> String {
    spec.file_stem().map_or("spec".into(), |s| s.to_string_lossy().into_owned())
}

/// A run folder's newest sibling for a spec: `ganc run spec.gan --resume`.
pub(super) fn newest_run(spec: &Path) -> Option<PathBuf> {
    let prefix = format!("{}-", stem(spec));
    let mut found: Vec<(u64, PathBuf)> = std::fs::read_dir("runs")
        .ok()?
        .flatten()
        .filter_map(|e| {
            let name = e.file_name().to_string_lossy().into_owned();
            Some((name.strip_prefix(&prefix)?.parse().ok()?, e.path()))
        })
        .collect();
    found.sort();
    found.pop().map(|f| f.1)
}
