//! Checkpoints: everything that a resume needs, complete or not there.
//!
//! A checkpoint is two files, `T-STEP.safetensors` with every persistent tensor and `T-STEP.json`, the manifest. The
//! manifest is written last and holds the tensors' SHA-256, so a crash between the two leaves the previous
//! checkpoint as the newest whole one. Nothing in either depends on the clock: equal runs write equal bytes.

use super::error::RunError;
use super::folder::{FORMAT, LONGEST_RECORD, read_bounded, write_atomic};
use crate::build::program::Compiled;
use crate::exec::Executor;
use crate::graph::{HostData, HostTensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How many checkpoints a run keeps.
const KEEP: usize = 3;

/// Where a run stands, besides its tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Index of the `train`.
    pub train: usize,
    /// Iterations of it that are done.
    pub step: u64,
    /// Minibatches that each draw line of it has used up.
    pub minibatches: Vec<u64>,
    /// Last value of each evaluated name.
    #[serde(with = "super::numbers")]
    pub values: BTreeMap<String, f64>,
    /// Decisions on `expect`s of this and earlier trains: (train, index) to whether it held.
    pub expects: Vec<(usize, usize, bool)>,
}

/// The manifest, `T-STEP.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format of run folders.
    pub format: u32,
    /// SHA-256 of the spec's sources and overrides.
    pub spec: String,
    /// Where the run stands.
    pub position: Position,
    /// Number of tensors.
    pub tensors: usize,
    /// SHA-256 of the tensors' file.
    pub sha256: String,
    /// SHA-256 of all of the above, so that a flipped digit does not go unseen.
    pub seal: String,
}

impl Manifest {
    fn sealed(mut self) -> Result<Self, RunError> {
        self.seal.clear();
        let text = serde_json::to_string(&self).map_err(|e| bug(e.to_string()))?;
        self.seal = sha256(text.as_bytes());
        Ok(self)
    }
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn stem(position: &Position) -> String {
    format!("{}-{:08}", position.train, position.step)
}

/// Writes a checkpoint and returns its manifest's path; older ones beyond `KEEP` go.
pub fn save<E: Executor>(
    dir: &Path,
    spec: &str,
    compiled: &Compiled,
    exec: &E,
    position: &Position,
) -> Result<PathBuf, RunError> {
    let mut raw: Vec<(String, Vec<u8>, Dtype, Vec<usize>)> = Vec::new();
    for decl in &compiled.tensors {
        let t = exec.fetch(&decl.name)?.ok_or_else(|| crate::exec::ExecError::Missing(decl.name.to_string()))?;
        if matches!(&t.data, HostData::F32(v) if v.iter().any(|x| !x.is_finite())) {
            return Err(RunError::Sick(decl.name.to_string()));
        }
        let (bytes, dtype) = match &t.data {
            HostData::F32(v) => (v.iter().flat_map(|x| x.to_le_bytes()).collect(), Dtype::F32),
            HostData::U32(v) => (v.iter().flat_map(|x| x.to_le_bytes()).collect(), Dtype::U32),
            HostData::Bool(v) => (v.clone(), Dtype::BOOL),
        };
        raw.push((decl.name.to_string(), bytes, dtype, t.shape));
    }
    let views: Vec<(String, TensorView<'_>)> = raw
        .iter()
        .map(|(n, b, d, s)| {
            let view = TensorView::new(*d, s.clone(), b).map_err(|e| bug(format!("tensor `{n}`: {e}")))?;
            Ok((n.clone(), view))
        })
        .collect::<Result<_, RunError>>()?;
    let bytes = safetensors::serialize(views, None).map_err(|e| bug(e.to_string()))?;
    let base = dir.join(stem(position));
    write_atomic(&base.with_extension("safetensors"), &bytes, "write the checkpoint")?;
    let manifest = Manifest {
        format: FORMAT,
        spec: spec.to_string(),
        position: position.clone(),
        tensors: raw.len(),
        sha256: sha256(&bytes),
        seal: String::new(),
    }
    .sealed()?;
    let path = base.with_extension("json");
    let json = serde_json::to_vec_pretty(&manifest).map_err(|e| bug(e.to_string()))?;
    write_atomic(&path, &json, "write the checkpoint")?;
    for old in list(dir)?.into_iter().rev().skip(KEEP) {
        // Best effort: an old checkpoint that stays does no harm.
        let _ = std::fs::remove_file(&old);
        let _ = std::fs::remove_file(old.with_extension("safetensors"));
    }
    Ok(path)
}

fn bug(what: String) -> RunError {
    RunError::Exec(crate::exec::ExecError::Bug(what))
}

/// Manifests in a folder, oldest first.
pub fn list(dir: &Path) -> Result<Vec<PathBuf>, RunError> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(dir) {
        Ok(e) => e,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(RunError::io("read the checkpoints", dir)(e)),
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|e| e == "json")
            && let Some((train, step)) = path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.split_once('-'))
            && let (Ok(train), Ok(step)) = (train.parse::<usize>(), step.parse::<u64>())
        {
            found.push((train, step, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|f| f.2).collect())
}

/// A checkpoint read back.
pub struct Loaded {
    /// Its manifest.
    pub manifest: Manifest,
    /// Where it was read from.
    pub path: PathBuf,
    /// Its tensors by name.
    pub tensors: BTreeMap<String, HostTensor>,
}

/// Reads the newest whole checkpoint of a folder. Damaged newer ones are passed over and named in the second result;
/// `None` if there is none at all.
pub fn newest(dir: &Path, spec: Option<&str>) -> Result<(Option<Loaded>, Vec<RunError>), RunError> {
    let mut damaged = Vec::new();
    for path in list(dir)?.into_iter().rev() {
        match read(&path, spec) {
            Ok(loaded) => return Ok((Some(loaded), damaged)),
            Err(e) => damaged.push(e),
        }
    }
    Ok((None, damaged))
}

/// Reads one checkpoint whole, checked against its manifest and, if given, the spec's hash.
pub fn read(path: &Path, spec: Option<&str>) -> Result<Loaded, RunError> {
    let broken = |reason: String| RunError::Checkpoint { path: path.to_path_buf(), reason };
    let text = read_bounded(path, LONGEST_RECORD).map_err(RunError::io("read the checkpoint", path))?;
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|e| broken(format!("its manifest is damaged: {e}")))?;
    if manifest.format != FORMAT {
        return Err(broken(format!("it has format {}, this ganc reads format {FORMAT}", manifest.format)));
    }
    if manifest.clone().sealed()?.seal != manifest.seal {
        return Err(broken("its manifest is damaged: its SHA-256 is not the one that it names".into()));
    }
    if spec.is_some_and(|s| s != manifest.spec) {
        return Err(broken("it belongs to another spec (or to this one before it was edited)".into()));
    }
    let file = path.with_extension("safetensors");
    let bytes = std::fs::read(&file).map_err(RunError::io("read the checkpoint", &file))?;
    if sha256(&bytes) != manifest.sha256 {
        return Err(broken(format!(
            "`{}` is cut short or damaged (its SHA-256 is not the manifest's)",
            file.display()
        )));
    }
    let tensors = parse(&bytes).map_err(broken)?;
    Ok(Loaded { manifest, path: path.to_path_buf(), tensors })
}

/// Tensors of a `.safetensors` file by name.
///
/// # Errors
/// What is wrong with the bytes.
pub fn parse(bytes: &[u8]) -> Result<BTreeMap<String, HostTensor>, String> {
    let parsed = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let mut tensors = BTreeMap::new();
    for (name, view) in parsed.tensors() {
        let words = || view.data().chunks_exact(4).map(|c| [c[0], c[1], c[2], c[3]]);
        let data = match view.dtype() {
            Dtype::F32 => HostData::F32(words().map(f32::from_le_bytes).collect()),
            Dtype::U32 => HostData::U32(words().map(u32::from_le_bytes).collect()),
            Dtype::BOOL => HostData::Bool(view.data().to_vec()),
            other => return Err(format!("tensor `{name}` has element type {other:?}")),
        };
        tensors.insert(name, HostTensor { shape: view.shape().to_vec(), data });
    }
    Ok(tensors)
}

/// Puts a checkpoint's tensors into an executor, all of them checked against what the spec declares.
pub fn restore<E: Executor>(loaded: &Loaded, compiled: &Compiled, exec: &mut E) -> Result<(), RunError> {
    let broken = |reason: String| RunError::Checkpoint { path: loaded.path.clone(), reason };
    let at = &loaded.manifest.position;
    let fits = compiled.trains.get(at.train).is_some_and(|t| {
        at.step <= t.steps
            && at.minibatches.len() == t.lines.len()
            && at.minibatches.iter().all(|m| *m < u64::MAX / 2)
    });
    if !fits {
        return Err(broken(format!("the spec has no iteration {} of `train` number {}", at.step, at.train + 1)));
    }
    for decl in &compiled.tensors {
        let t = loaded
            .tensors
            .get(&*decl.name)
            .ok_or_else(|| broken(format!("the spec has a tensor `{}`, the checkpoint has not", decl.name)))?;
        if t.ty() != decl.ty {
            return Err(broken(format!("`{}` is {} in it, {} in the spec", decl.name, t.ty(), decl.ty)));
        }
    }
    for decl in &compiled.tensors {
        exec.store(&decl.name, &loaded.tensors[&*decl.name])?;
    }
    Ok(())
}
