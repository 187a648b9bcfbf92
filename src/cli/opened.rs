//! A run opened to apply its networks: its spec as recorded, and its newest checkpoint.

use super::compile::{self, Front};
use super::{Failure, run};
use crate::build::program::{Chunk, Compiled, NetworkInfo};
use crate::build::{INPUT, apply_chunk, sample_chunk};
use crate::data;
use crate::exec::Executor;
use crate::graph::{HostTensor, Name};
use crate::layers::Kind;
use crate::source::SourceMap;
use crate::syntax::ast::Role;
use crate::train::actions::{Programs, run_chunk};
use crate::train::folder::RunFolder;
use crate::train::{RunError, checkpoint, key};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A run with a checkpoint.
pub(super) struct Opened {
    /// Its folder.
    pub root: PathBuf,
    /// Its spec.
    pub front: Front,
    /// Graphs and declarations of the spec.
    pub compiled: Compiled,
    /// Hash of what was run.
    pub spec: String,
    loaded: checkpoint::Loaded,
}

/// Values of one input of a network, the first axis over samples.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Input {
    /// Its name.
    pub name: String,
    /// Reals or labels.
    pub kind: Kind,
    /// `f32[n, …]`, or `u32[n]` for labels.
    pub values: HostTensor,
}

/// Samples of a network with the inputs that they were made of.
pub(super) struct Drawn {
    /// Results by name, the network's first one first.
    pub outputs: Vec<(Name, HostTensor)>,
    /// Inputs in the order of the declaration.
    pub inputs: Vec<Input>,
}

impl Opened {
    /// Opens a run folder.
    pub(super) fn open(root: &Path) -> Result<Self, Failure> {
        let none = SourceMap::default();
        let (folder, record) = RunFolder::open(root).map_err(|e| compile::refused(&none, &e.diagnostics(None)))?;
        let options = run::options(&record);
        let main = record.sources.first().map(|s| s.path.clone()).unwrap_or_default();
        let front = compile::front_with(&main, &options, &compile::recorded(record.sources.clone()))?;
        let mut compiled = compile::graphs(&front)?;
        run::overrides(&mut compiled, &record)?;
        let spec = run::spec_hash(&record);
        let (loaded, damaged) = checkpoint::newest(&folder.checkpoints(), Some(&spec))
            .map_err(|e| compile::refused(&front.sources, &e.diagnostics(None)))?;
        damaged.iter().for_each(|e| super::tell(&format!("warning: {e}\n")));
        let loaded = loaded
            .ok_or_else(|| Failure::Message(format!("`{}` has no checkpoint to sample from", root.display())))?;
        Ok(Self { root: root.to_path_buf(), front, compiled, spec, loaded })
    }

    /// Prints an error of the run's machinery.
    pub(super) fn wrong(&self, e: RunError) -> Failure {
        compile::refused(&self.front.sources, &e.diagnostics(None))
    }

    /// The network to sample: the one asked for, or the only generator.
    pub(super) fn network(&self, asked: Option<&str>) -> Result<String, Failure> {
        if let Some(name) = asked {
            return Ok(name.to_string());
        }
        let networks = self.compiled.networks.iter();
        let generators: Vec<&str> =
            networks.filter(|n| n.role == Role::Generator).map(|n| n.name.as_str()).collect();
        match generators[..] {
            [one] => Ok(one.to_string()),
            [] => Err(Failure::Message("the spec has no generator; say --network NAME".into())),
            _ => Err(Failure::Message(format!(
                "the spec has several generators ({}); say --network NAME",
                generators.join(", ")
            ))),
        }
    }

    /// What is known of a network.
    pub(super) fn info(&self, network: &str) -> Result<&NetworkInfo, Failure> {
        self.compiled.networks.iter().find(|n| n.name == network).ok_or_else(|| {
            let names: Vec<&str> = self.compiled.networks.iter().map(|n| n.name.as_str()).collect();
            Failure::Message(format!("there is no network `{network}`; the spec has {}", names.join(", ")))
        })
    }

    /// Values that are drawn black and white: those of the data that the spec trains on.
    pub(super) fn range(&self) -> (f64, f64) {
        self.compiled.data.iter().find_map(|p| data::schema(p).ok()?.range).unwrap_or((-1.0, 1.0))
    }

    /// Puts the checkpoint into an executor.
    pub(super) fn restore<E: Executor>(&self, exec: &mut E) -> Result<(), Failure> {
        checkpoint::restore(&self.loaded, &self.compiled, exec).map_err(|e| self.wrong(e))
    }

    /// Draws samples `0..n` of a seed: sample i is the same whatever n is.
    pub(super) fn draw<E: Executor>(
        &self,
        exec: &mut E,
        network: &str,
        n: usize,
        seed: u64,
    ) -> Result<Drawn, Failure> {
        let (chunk, pipelines) = sample_chunk(&self.front.core, &self.front.sources, &data::schema, network, n)
            .map_err(|d| compile::refused(&self.front.sources, &d))?;
        let mut sets = Vec::new();
        for p in &pipelines {
            sets.push(Arc::new(data::open(p).map_err(|d| compile::refused(&self.front.sources, &d))?));
        }
        let rows = chunk.rows.iter().filter_map(|r| sets[r.data].len()).min();
        if let Some(rows) = rows.filter(|r| *r < n) {
            return Err(Failure::Message(format!("-n {n}: `{network}` reads data, which has {rows} rows")));
        }
        let mut programs: Programs<E::Program> = Programs::default();
        let outputs = run_chunk(exec, &mut programs, &chunk, &sets, key(seed), 0, 0).map_err(|e| self.wrong(e))?;
        let (drawn, outputs): (Vec<_>, Vec<_>) = outputs.into_iter().partition(|o| o.0.starts_with(INPUT));
        let mut inputs = Vec::new();
        for (name, kind, _) in &self.info(network)?.inputs {
            let values = drawn.iter().find(|d| d.0[INPUT.len()..] == **name).map(|d| d.1.clone());
            let values = values.ok_or_else(|| format!("input `{name}` of `{network}` was not drawn"))?;
            inputs.push(Input { name: name.clone(), kind: *kind, values });
        }
        Ok(Drawn { outputs, inputs })
    }

    /// Applies a network in eval mode to given inputs; results by name.
    pub(super) fn apply<E: Executor>(
        &self,
        exec: &mut E,
        network: &str,
        inputs: &[Input],
    ) -> Result<Vec<(Name, HostTensor)>, Failure> {
        let n = inputs.first().and_then(|i| i.values.shape.first()).copied().unwrap_or(1);
        let Chunk { graph, .. } = apply_chunk(&self.front.core, &self.front.sources, &data::schema, network, n)
            .map_err(|d| compile::refused(&self.front.sources, &d))?;
        let names: Vec<String> = inputs.iter().map(|i| format!("{INPUT}{}", i.name)).collect();
        let (seed, count) = (HostTensor::u32([2], key(0).to_vec()), HostTensor::u32([], vec![0]));
        let mut given: Vec<(&str, &HostTensor)> = vec![("seed", &seed), ("iteration", &count)];
        given.extend(names.iter().map(String::as_str).zip(inputs.iter().map(|i| &i.values)));
        let mut program = exec.compile(&graph).map_err(|e| self.wrong(e.into()))?;
        exec.run(&mut program, &given).map_err(|e| self.wrong(e.into()))
    }
}
