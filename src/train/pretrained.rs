//! Networks that start from the tensors of another run (`with pretrained("…")`).

use super::checkpoint;
use super::error::RunError;
use super::folder::RunFolder;
use crate::build::program::{Compiled, Pretrained};
use crate::graph::HostTensor;
use std::collections::BTreeMap;
use std::path::Path;

/// Longest file of tensors that is read.
const LONGEST: u64 = 8 << 30;

/// Reads the tensors of all pretrained networks into the compiled spec, where [`super::driver::initialise`] finds them.
///
/// # Errors
/// A file that cannot be read, or that lacks one of a network's tensors, or has it in another shape.
pub fn load(compiled: &mut Compiled) -> Result<(), RunError> {
    for i in 0..compiled.pretrained.len() {
        let values = values(compiled, &compiled.pretrained[i])?;
        compiled.pretrained[i].values = values;
    }
    Ok(())
}

fn values(compiled: &Compiled, from: &Pretrained) -> Result<Vec<HostTensor>, RunError> {
    let refuse = |reason: String| RunError::Pretrained { path: from.path.clone(), reason, at: from.span };
    let all = tensors(&from.path).map_err(|e| refuse(e.to_string()))?;
    let mut values = Vec::new();
    for &t in &from.tensors {
        let decl = &compiled.tensors[t];
        let Some(value) = all.get(&*decl.name) else {
            let own = all.keys().filter(|k| !k.starts_with("opt")).take(4).cloned().collect::<Vec<_>>().join(", ");
            return Err(refuse(format!("it has no `{}`; it has {own}, …", decl.name)));
        };
        if value.ty() != decl.ty {
            return Err(refuse(format!("`{}` is {} in it, {} in this spec", decl.name, value.ty(), decl.ty)));
        }
        values.push(value.clone());
    }
    Ok(values)
}

/// Tensors of a run's newest checkpoint, or of a `.safetensors` file.
fn tensors(path: &Path) -> Result<BTreeMap<String, HostTensor>, RunError> {
    if path.is_dir() {
        let (folder, _) = RunFolder::open(path)?;
        let (newest, _) = checkpoint::newest(&folder.checkpoints(), None)?;
        let none = || RunError::Option("this run has no checkpoint yet".into());
        return Ok(newest.ok_or_else(none)?.tensors);
    }
    let bytes =
        super::folder::read_bounded(path, LONGEST).map_err(RunError::io("read the pretrained tensors", path))?;
    checkpoint::parse(&bytes).map_err(|reason| RunError::Checkpoint { path: path.to_path_buf(), reason })
}
