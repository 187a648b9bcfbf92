//! The run folder: where a run keeps its spec, log, pictures and checkpoints.
//!
//! ```text
//! runs/dcgan-1/
//!   run.json                 what was run: sources, overrides
//!   spec.gan                 a copy for a person to read
//!   log.jsonl                losses and evaluations, one JSON object a line
//!   curves.png               the same as a picture
//!   samples/NAME-000500.png
//!   checkpoints/0-00000500.{json,safetensors}
//! ```

use super::error::RunError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// One source text of a spec, kept so that a resume compiles exactly what was run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSource {
    /// Absolute path at the time of the run.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// What was run; `run.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Format of the run folder.
    pub format: u32,
    /// Version of ganc that wrote it.
    pub ganc: String,
    /// Main file, then what it uses.
    pub sources: Vec<StoredSource>,
    /// `--set` overrides in order.
    pub set: Vec<(String, String)>,
    /// `--steps`
    pub steps: Option<u64>,
    /// `--seed`
    pub seed: Option<u64>,
    /// `--only`
    pub only: Option<String>,
    /// `--precision`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<String>,
    /// How a GPU's products are cut where that was measured (`ganc tune`): sums depend on it to the last bit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiles: Option<String>,
}

/// An open run folder.
#[derive(Clone, Debug)]
pub struct RunFolder {
    root: PathBuf,
}

/// Longest record or manifest that is read: a spec has a megabyte at most.
pub const LONGEST_RECORD: u64 = 64 << 20;

/// Reads a file that no one makes longer than `most` bytes.
pub fn read_bounded(path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(std::io::Error::other(format!("it is longer than {} MiB", most >> 20)));
    }
    Ok(bytes)
}

/// Writes `bytes` to `path` so that a crash leaves the old file or the new one: temporary file, sync, rename, sync of
/// the folder.
pub fn write_atomic(path: &Path, bytes: &[u8], action: &'static str) -> Result<(), RunError> {
    let tmp = path.with_extension("tmp");
    let result = (|| {
        let mut f = File::create(&tmp)?;
        f.write_all(bytes)?;
        f.sync_all()?;
        fs::rename(&tmp, path)?;
        if let Some(dir) = path.parent() {
            // Best effort: some file systems refuse to sync a folder; the rename itself is atomic all the same.
            let _ = File::open(dir).and_then(|d| d.sync_all());
        }
        Ok(())
    })();
    if result.is_err() {
        let _ = fs::remove_file(&tmp);
    }
    result.map_err(RunError::io(action, path))
}

impl RunFolder {
    /// Makes a new folder: `out`, or the first free `runs/STEM-n` below the current folder. An existing `out` must be
    /// empty, so that no other run is overwritten.
    pub fn create(out: Option<&Path>, stem: &str, record: &RunRecord) -> Result<Self, RunError> {
        let root = match out {
            Some(dir) => {
                if dir.is_dir() && fs::read_dir(dir).map_err(RunError::io("read the folder", dir))?.next().is_some()
                {
                    return Err(RunError::Option(format!(
                        "`{}` is not empty; choose another --out, or continue that run with `ganc run --resume {}`",
                        dir.display(),
                        dir.display()
                    )));
                }
                fs::create_dir_all(dir).map_err(RunError::io("make the run folder", dir))?;
                dir.to_path_buf()
            }
            None => Self::first_free(stem)?,
        };
        let folder = Self { root };
        folder.subfolders()?;
        let json = serde_json::to_vec_pretty(record).expect("a record of strings and numbers serialises");
        write_atomic(&folder.root.join("run.json"), &json, "write")?;
        if let Some(main) = record.sources.first() {
            write_atomic(&folder.root.join("spec.gan"), main.text.as_bytes(), "write")?;
        }
        Ok(folder)
    }

    fn subfolders(&self) -> Result<(), RunError> {
        for sub in ["checkpoints", "samples"] {
            let dir = self.root.join(sub);
            fs::create_dir_all(&dir).map_err(RunError::io("make the folder", &dir))?;
        }
        Ok(())
    }

    /// Keeps other processes from training in this folder for as long as the result lives, and makes what is missing
    /// in it.
    pub fn lock(&self) -> Result<File, RunError> {
        self.subfolders()?;
        let path = self.root.join("run.json");
        let file = File::open(&path).map_err(RunError::io("read the run record", &path))?;
        match file.try_lock() {
            Err(fs::TryLockError::WouldBlock) => Err(RunError::Option(format!(
                "another ganc is training in `{}`; wait for it, or stop it first",
                self.root.display()
            ))),
            // Some file systems have no locks; a run goes on without.
            Ok(()) | Err(fs::TryLockError::Error(_)) => Ok(file),
        }
    }

    fn first_free(stem: &str) -> Result<PathBuf, RunError> {
        let runs = Path::new("runs");
        fs::create_dir_all(runs).map_err(RunError::io("make the folder", runs))?;
        let mut n = 1;
        loop {
            let dir = runs.join(format!("{stem}-{n}"));
            // create_dir is atomic: two runs that start together get two folders.
            match fs::create_dir(&dir) {
                Ok(()) => return Ok(dir),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => n += 1,
                Err(e) => return Err(RunError::io("make the run folder", &dir)(e)),
            }
        }
    }

    /// Opens an existing one and reads its record.
    pub fn open(root: &Path) -> Result<(Self, RunRecord), RunError> {
        let path = root.join("run.json");
        let bytes = read_bounded(&path, LONGEST_RECORD).map_err(RunError::io("read the run record", &path))?;
        let broken = |reason: String| RunError::Record { path: path.clone(), reason };
        let record: RunRecord =
            serde_json::from_slice(&bytes).map_err(|e| broken(format!("it is damaged: {e}")))?;
        if record.format != FORMAT {
            return Err(broken(format!("it has format {}, this ganc reads format {FORMAT}", record.format)));
        }
        if record.sources.is_empty() {
            return Err(broken("it is damaged: it names no spec".into()));
        }
        Ok((Self { root: root.to_path_buf() }, record))
    }

    /// Its path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// A picture's path.
    pub fn picture(&self, name: &str, step: u64) -> PathBuf {
        self.root.join("samples").join(format!("{name}-{step:06}.png"))
    }

    /// The log's path.
    pub fn log(&self) -> PathBuf {
        self.root.join("log.jsonl")
    }

    /// The curves' path.
    pub fn curves(&self) -> PathBuf {
        self.root.join("curves.png")
    }
}

/// Format of run folders and checkpoints that this version writes and reads.
pub const FORMAT: u32 = 2;

/// One line of `log.jsonl`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// Which `train`.
    pub train: String,
    /// Iteration.
    pub step: u64,
    /// Losses of the players.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", with = "super::numbers")]
    pub loss: BTreeMap<String, f64>,
    /// Evaluated numbers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", with = "super::numbers")]
    pub value: BTreeMap<String, f64>,
    /// Readings of monitors, such as `gradient.D`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", with = "super::numbers")]
    pub monitor: BTreeMap<String, f64>,
    /// What a monitor warns of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// Seconds since this process began to train.
    pub seconds: f64,
}

/// The log, appended to as the run goes.
pub struct Log {
    path: PathBuf,
    file: std::io::BufWriter<File>,
}

impl Log {
    /// Opens the log and drops lines after `(train, step)`, which a resumed run writes again. A cut last line (the
    /// process was killed while writing) is dropped too. The lines that are left come back.
    pub fn open(path: &Path, trains: &[String], at: (usize, u64)) -> Result<(Self, Vec<LogLine>), RunError> {
        let text = match fs::read(path) {
            // Damaged lines are no JSON and are dropped below.
            Ok(t) => String::from_utf8_lossy(&t).into_owned(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(RunError::io("read the log", path)(e)),
        };
        let lines: Vec<LogLine> = text
            .lines()
            .filter_map(|l| serde_json::from_str::<LogLine>(l).ok())
            .filter(|l| trains.iter().position(|t| *t == l.train).is_some_and(|i| (i, l.step) <= at))
            .collect();
        let mut kept = Vec::new();
        for line in &lines {
            serde_json::to_writer(&mut kept, line).expect("a log line serialises");
            kept.push(b'\n');
        }
        write_atomic(path, &kept, "write the log")?;
        let file = fs::OpenOptions::new().append(true).open(path).map_err(RunError::io("open the log", path))?;
        Ok((Self { path: path.to_path_buf(), file: std::io::BufWriter::new(file) }, lines))
    }

    /// Adds a line.
    pub fn add(&mut self, line: &LogLine) -> Result<(), RunError> {
        serde_json::to_writer(&mut self.file, line)
            .map_err(|e| RunError::io("write the log", &self.path)(e.into()))?;
        self.file.write_all(b"\n").map_err(RunError::io("write the log", &self.path))
    }

    /// Hands all lines to the system.
    pub fn flush(&mut self) -> Result<(), RunError> {
        self.file.flush().map_err(RunError::io("write the log", &self.path))
    }
}
