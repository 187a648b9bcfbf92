//! `ganc sample --sheet`: a contact sheet with numbers, and the latents that the numbers stand for.
//!
//! Beside `NAME.png` lies `NAME.safetensors`: one tensor for each input of the network (`in:z`), the first axis over
//! the numbers, and a note of where they come from. Latents outlive the checkpoint that drew the sheet: the same
//! numbers may be drawn again later in the run.

use super::{latent, pictured, write as write_strips};
use crate::build::INPUT;
use crate::cli::Failure;
use crate::cli::opened::{Drawn, Input, Opened};
use crate::graph::{HostData, HostTensor};
use crate::layers::Kind;
use crate::report::labelled::Strip;
use crate::train::folder::{read_bounded, write_atomic};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Most samples of a sheet: more numbers nobody reads.
pub(in crate::cli) const MOST: usize = 4096;
/// Longest file that is read.
const LONGEST: u64 = 1 << 30;
/// Key of the note in the file's metadata.
const NOTE: &str = "ganc.sheet";

/// Where latents come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    /// Format of the file.
    format: u32,
    /// The network that takes them.
    network: String,
    /// Seed that drew them.
    seed: u64,
    /// Hash of the spec that was run.
    spec: String,
}

/// Latents with numbers.
pub(super) struct Sheet {
    /// The network that takes them.
    pub network: String,
    /// Its inputs, number i in row i.
    pub inputs: Vec<Input>,
    /// How many there are.
    pub count: usize,
    /// Where it was read from.
    pub path: PathBuf,
}

fn message(e: impl std::fmt::Display) -> Failure {
    Failure::Message(e.to_string())
}

/// Writes picture and latents.
pub(in crate::cli) fn write(
    run: &Opened,
    network: &str,
    seed: u64,
    drawn: &Drawn,
    path: &Path,
) -> Result<(), Failure> {
    let file = path.with_extension("safetensors");
    if file == path {
        return Err(Failure::Message(format!(
            "-o {}: this is the place of the latents; name the picture, as in -o sheet.png",
            path.display()
        )));
    }
    let first = drawn.outputs.first().map(|o| o.1.clone());
    let pictures = pictured(network, first.ok_or_else(|| format!("`{network}` gives nothing to draw"))?)?;
    let n = pictures.shape[0];
    let columns = (n as f64).sqrt().ceil() as usize;
    let captions = (0..n).map(|i| i.to_string()).collect();
    let strip = Strip { title: String::new(), pictures, captions };
    let note = Note { format: 1, network: network.to_string(), seed, spec: run.spec.clone() };
    let bytes = encode(&note, &drawn.inputs)?;
    // The picture is the last to be replaced: its numbers are then those of the latents beside it.
    write_atomic(&file, &bytes, "write the latents").map_err(message)?;
    write_strips(&[strip], columns, run.range(), path)?;
    crate::cli::print(&format!(
        "latents of the {n} numbers in {}; `ganc arith {} \"avg(0, 1) - 2 + 3\"` computes with them\n",
        file.display(),
        run.root.display()
    ));
    Ok(())
}

fn encode(note: &Note, inputs: &[Input]) -> Result<Vec<u8>, Failure> {
    let mut raw = Vec::new();
    for i in inputs {
        let (bytes, dtype): (Vec<u8>, Dtype) = match &i.values.data {
            HostData::F32(v) => (v.iter().flat_map(|x| x.to_le_bytes()).collect(), Dtype::F32),
            HostData::U32(v) => (v.iter().flat_map(|x| x.to_le_bytes()).collect(), Dtype::U32),
            HostData::Bool(v) => (v.clone(), Dtype::BOOL),
        };
        raw.push((format!("{INPUT}{}", i.name), bytes, dtype, i.values.shape.clone()));
    }
    let mut views = Vec::new();
    for (name, bytes, dtype, shape) in &raw {
        views.push((name.clone(), TensorView::new(*dtype, shape.clone(), bytes).map_err(message)?));
    }
    // One key only: the order of several would not be the same each time.
    let text = serde_json::to_string(note).map_err(message)?;
    safetensors::serialize(views, Some(HashMap::from([(NOTE.to_string(), text)]))).map_err(message)
}

/// Reads the latents of a sheet: those beside `path`, or the run's `sheet.png`.
pub(super) fn read(run: &Opened, path: Option<&Path>) -> Result<Sheet, Failure> {
    let file = path.map_or_else(|| run.root.join("sheet"), Path::to_path_buf).with_extension("safetensors");
    let bytes = read_bounded(&file, LONGEST).map_err(|e| {
        let make = format!("`ganc sample {} --sheet` makes a sheet with numbers", run.root.display());
        match e.kind() {
            std::io::ErrorKind::NotFound => {
                Failure::Message(format!("there are no latents `{}`; {make}", file.display()))
            }
            _ => Failure::Message(format!("cannot read the latents `{}`: {e}; {make}", file.display())),
        }
    })?;
    let broken = |why: String| Failure::Message(format!("the latents `{}` cannot be used: {why}", file.display()));
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| broken(e.to_string()))?;
    let note = metadata.metadata().as_ref().and_then(|m| m.get(NOTE));
    let note = note.ok_or_else(|| broken("no contact sheet of ganc wrote this file".into()))?;
    let note: Note = serde_json::from_str(note).map_err(|e| broken(format!("its note is damaged: {e}")))?;
    if note.format != 1 {
        return Err(broken(format!("it has format {}, this ganc reads format 1", note.format)));
    }
    if note.spec != run.spec {
        return Err(broken("they belong to a run of another spec (or of this one with other options)".into()));
    }
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| broken(e.to_string()))?;
    let mut inputs = Vec::new();
    let mut count = None;
    for (name, kind, shape) in &run.info(&note.network)?.inputs {
        let view = tensors.tensor(&format!("{INPUT}{name}")).map_err(|e| broken(e.to_string()))?;
        let words = || view.data().chunks_exact(4).map(|c| [c[0], c[1], c[2], c[3]]);
        let data = match (kind, view.dtype()) {
            (Kind::Real, Dtype::F32) => HostData::F32(words().map(f32::from_le_bytes).collect()),
            (Kind::Class(k), Dtype::U32) => {
                let labels: Vec<u32> = words().map(u32::from_le_bytes).collect();
                if labels.iter().any(|l| *l as usize >= *k) {
                    return Err(broken(format!("`{name}` has labels of {k} and more")));
                }
                HostData::U32(labels)
            }
            (_, other) => return Err(broken(format!("`{name}` has element type {other:?}"))),
        };
        let found = view.shape().to_vec();
        if found.len() != shape.len() + 1 || found[1..] != shape[..] || *count.get_or_insert(found[0]) != found[0] {
            return Err(broken(format!("`{name}` has shape {found:?}")));
        }
        inputs.push(Input { name: name.clone(), kind: *kind, values: HostTensor { shape: found, data } });
    }
    match count {
        Some(count) if (1..=MOST).contains(&count) => {
            Ok(Sheet { network: note.network, inputs, count, path: file })
        }
        _ => Err(broken(format!("a sheet has from 1 to {MOST} numbers"))),
    }
}

impl Sheet {
    /// The latent with this number, if it is on the sheet.
    pub(super) fn latent(&self, number: usize) -> Option<super::Latent> {
        (number < self.count).then(|| latent(&self.inputs, number))
    }
}
