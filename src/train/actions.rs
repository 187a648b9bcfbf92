//! Actions: pictures, evaluations, expectations.

use super::error::RunError;
use crate::build::program::{Chunk, Evaluate, Expect, Metric, Samples};
use crate::data::Dataset;
use crate::exec::{ExecError, Executor};
use crate::graph::{HostData, HostTensor};
use crate::metrics;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::Arc;

/// Compiled programs of action graphs, by the graph's address within the compiled spec (which does not move).
pub struct Programs<P> {
    cache: HashMap<usize, P>,
}

impl<P> Default for Programs<P> {
    fn default() -> Self {
        Self { cache: HashMap::new() }
    }
}

impl<P> Programs<P> {
    /// The program of a graph, compiled at first use.
    pub fn get<E: Executor<Program = P>>(
        &mut self,
        exec: &mut E,
        graph: &crate::graph::Graph,
    ) -> Result<&mut P, ExecError> {
        let address = std::ptr::from_ref(graph) as usize;
        Ok(match self.cache.entry(address) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => free.insert(exec.compile(graph)?),
        })
    }
}

/// Runs one chunk: rows `start..` of the data, noise of counter `iteration`.
pub fn run_chunk<E: Executor>(
    exec: &mut E,
    programs: &mut Programs<E::Program>,
    chunk: &Chunk,
    data: &[Arc<Dataset>],
    key: [u32; 2],
    start: usize,
    iteration: u32,
) -> Result<Vec<(crate::graph::Name, HostTensor)>, RunError> {
    let seed = HostTensor::u32([2], key.to_vec());
    let count = HostTensor::u32([], vec![iteration]);
    let mut rows = Vec::new();
    for r in &chunk.rows {
        rows.push(data[r.data].rows(r.field, start..start + chunk.batch));
    }
    let mut inputs: Vec<(&str, &HostTensor)> = vec![("seed", &seed), ("iteration", &count)];
    inputs.extend(chunk.rows.iter().zip(&rows).map(|(r, t)| (&*r.input, t)));
    let program = programs.get(exec, &chunk.graph)?;
    Ok(exec.run(program, &inputs)?)
}

fn scalar(t: &HostTensor) -> f64 {
    t.to_f64().first().copied().unwrap_or(f64::NAN)
}

/// Rows of chunks, one after the other.
#[derive(Clone)]
struct Rows {
    rows: HostTensor,
}

impl Default for Rows {
    fn default() -> Self {
        Self { rows: HostTensor::f32([0], Vec::new()) }
    }
}

impl Rows {
    fn add(&mut self, chunk: &HostTensor) {
        let before = self.rows.shape[0];
        self.rows.shape = chunk.shape.clone();
        self.rows.shape[0] += before;
        if let (HostData::F32(all), Some(more)) = (&mut self.rows.data, chunk.as_f32()) {
            all.extend_from_slice(more);
        }
    }
}

/// What an accumulator has so far: a sum of means weighted by their samples, or all samples.
#[derive(Clone, Default)]
struct Gathered {
    sum: f64,
    samples: Rows,
    real: Rows,
}

/// Evaluates one `evaluate` line: its numbers by name.
pub fn evaluate<E: Executor>(
    exec: &mut E,
    programs: &mut Programs<E::Program>,
    e: &Evaluate,
    data: &[Arc<Dataset>],
    key: [u32; 2],
) -> Result<Vec<(String, f64)>, RunError> {
    let mut gathered = vec![Gathered::default(); e.accumulators.len()];
    let (mut start, mut number) = (0, 0);
    while start < e.samples {
        let left = e.samples - start;
        let chunk = e
            .chunks
            .iter()
            .find(|c| c.batch <= left)
            .ok_or_else(|| ExecError::Bug(format!("no chunk of at most {left} samples for `{}`", e.name)))?;
        // Chunk numbers begin at 1: counter 0 is that of the pictures.
        let outputs = run_chunk(exec, programs, chunk, data, key, start, number + 1)?;
        let output = |name: &crate::graph::Name| {
            let found = outputs.iter().find(|o| o.0 == *name).map(|o| &o.1);
            found.ok_or_else(|| ExecError::Bug(format!("the graph of `{}` has no output `{name}`", e.name)))
        };
        for (acc, all) in e.accumulators.iter().zip(&mut gathered) {
            let value = output(&acc.output)?;
            let weight = chunk.batch as f64;
            match &acc.metric {
                Metric::Mean => all.sum += scalar(value) * weight,
                Metric::Psnr { other, span } => all.sum += metrics::psnr(value, output(other)?, *span)? * weight,
                Metric::Ssim { other, span } => all.sum += metrics::ssim(value, output(other)?, *span)? * weight,
                Metric::Swd { .. } | Metric::Modes { .. } | Metric::StackedModes { .. } => all.samples.add(value),
                Metric::Frechet { real } => {
                    all.samples.add(value);
                    all.real.add(output(real)?);
                }
            }
        }
        start += chunk.batch;
        number += 1;
    }
    let mut named: Vec<(crate::graph::Name, HostTensor)> = Vec::new();
    for (acc, all) in e.accumulators.iter().zip(gathered) {
        let samples = all.samples.rows;
        let numbers = match &acc.metric {
            Metric::Mean | Metric::Psnr { .. } | Metric::Ssim { .. } => vec![all.sum / e.samples as f64],
            Metric::Swd { data: d, field } => {
                let n = data[*d].len().map_or(e.samples, |r| r.min(e.samples));
                let real = data[*d].rows(*field, 0..n);
                vec![metrics::sliced_wasserstein(&samples, &real)?]
            }
            Metric::Frechet { .. } => vec![metrics::frechet(&samples, &all.real.rows)?],
            Metric::Modes { data: d } => {
                let modes = data[*d].schema().modes.as_ref();
                let modes = modes.ok_or_else(|| ExecError::Bug("modes of data without known modes".into()))?;
                let m = metrics::mode_coverage(&samples, modes)?;
                vec![m.modes as f64, m.hq, m.reverse_kl]
            }
            Metric::StackedModes { count } => {
                let m = metrics::stacked_modes(samples.as_f32().unwrap_or_default(), *count)?;
                vec![m.modes as f64, m.kl]
            }
        };
        for (name, v) in acc.results.iter().zip(numbers) {
            named.push((name.clone(), HostTensor::f32([], vec![v as f32])));
        }
    }
    let inputs: Vec<(&str, &HostTensor)> = named.iter().map(|(n, t)| (&**n, t)).collect();
    let program = programs.get(exec, &e.finish)?;
    let outputs = exec.run(program, &inputs)?;
    Ok(outputs.iter().map(|(n, t)| (n.to_string(), scalar(t))).collect())
}

/// Draws one `samples` line into a PNG.
pub fn samples<E: Executor>(
    exec: &mut E,
    programs: &mut Programs<E::Program>,
    s: &Samples,
    data: &[Arc<Dataset>],
    key: [u32; 2],
    path: &Path,
) -> Result<(), RunError> {
    let outputs = run_chunk(exec, programs, &s.chunk, data, key, 0, 0)?;
    let mut panels = Vec::new();
    for i in 0..s.panels {
        let name = format!("panel{i}");
        let found = outputs.iter().find(|o| *o.0 == *name).map(|o| o.1.clone());
        panels.push(found.ok_or_else(|| ExecError::Bug(format!("`{}` has no output `{name}`", s.name)))?);
    }
    let picture = match &s.scatter {
        None => crate::report::grid::picture_grid(&panels, s.grid, s.range),
        Some(real) => {
            let real = match real {
                Some((d, f)) => {
                    let n = data[*d].len().map_or(SCATTER_ROWS, |r| r.min(SCATTER_ROWS));
                    Some(data[*d].rows(*f, 0..n))
                }
                None => None,
            };
            crate::report::scatter::scatter(&panels, real.as_ref())
        }
    };
    crate::report::save_png(&picture?, path)?;
    Ok(())
}

/// Points of the data drawn under generated ones.
const SCATTER_ROWS: usize = 1_000;

/// Whether an expectation holds with the values known so far; `None` if one of its names has none yet.
pub fn holds<E: Executor>(
    exec: &mut E,
    programs: &mut Programs<E::Program>,
    expect: &Expect,
    values: &BTreeMap<String, f64>,
) -> Result<Option<bool>, RunError> {
    let mut inputs = Vec::new();
    for node in expect.graph.nodes() {
        if let crate::graph::Op::Input(name) = &node.op {
            match values.get(&**name) {
                Some(v) => inputs.push((name.clone(), HostTensor::f32([], vec![*v as f32]))),
                None => return Ok(None),
            }
        }
    }
    let inputs: Vec<(&str, &HostTensor)> = inputs.iter().map(|(n, t)| (&**n, t)).collect();
    let program = programs.get(exec, &expect.graph)?;
    let outputs = exec.run(program, &inputs)?;
    Ok(outputs.first().map(|o| scalar(&o.1) != 0.0))
}
