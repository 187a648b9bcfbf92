//! Where a NaN was born: replays the run from the last checkpoint, which ends at the same step with the same bits,
//! and asks the executor which node of that iteration first left the finite numbers.

use super::driver::{Trainer, Ui, initialise, start};
use super::error::RunError;
use super::{checkpoint, feed, key};
use crate::build::program::TrainProgram;
use crate::data::Loader;
use crate::exec::Executor;
use crate::graph::HostTensor;
use std::path::Path;
use std::sync::Arc;

/// Longest replay, in iterations: finding the place must not cost more than the run.
const LONGEST: u64 = 1_000;

/// A sentence part such as `: first in D.conv2 (gradient of order 1)`, or an empty one where it cannot be found.
pub fn birth<E: Executor>(
    trainer: &mut Trainer<'_, E>,
    train: &TrainProgram,
    loaders: &[Arc<Loader>],
    saved: Option<&Path>,
    step: u64,
    ui: &mut dyn Ui,
) -> Result<String, RunError> {
    let index = trainer.compiled.trains.iter().position(|t| std::ptr::eq(t, train)).unwrap_or(0);
    let (mut at, mut counters) = (0, vec![0; train.lines.len()]);
    let loaded = saved.and_then(|p| checkpoint::read(p, Some(&trainer.spec)).ok());
    match &loaded {
        Some(l) => {
            checkpoint::restore(l, trainer.compiled, trainer.exec)?;
            if l.manifest.position.train == index {
                at = l.manifest.position.step;
                counters = l.manifest.position.minibatches.clone();
                counters.resize(train.lines.len(), 0);
            } else {
                initialise(trainer.compiled, trainer.exec, train.seed, Some(index))?;
            }
        }
        None => {
            let seed = trainer.compiled.trains.first().map_or(0, |t| t.seed);
            initialise(trainer.compiled, trainer.exec, seed, None)?;
            initialise(trainer.compiled, trainer.exec, train.seed, Some(index))?;
        }
    }
    if step - at > LONGEST {
        return Ok(format!(" (its origin is not sought: the last checkpoint is {} steps back)", step - at));
    }
    ui.note(&format!("replaying {} steps to find where it began", step - at));
    if at == 0 {
        start(train, trainer.exec, loaders)?;
    }
    let mut programs: Vec<Option<E::Program>> = train.iterations.iter().map(|_| None).collect();
    for s in at + 1..=step {
        let v = feed::variant(train, s)?;
        let it = &train.iterations[v];
        let batches = feed::batches(it, loaders, &counters);
        counters.iter_mut().zip(&it.fresh).for_each(|(c, f)| *c += *f as u64);
        let seed = HostTensor::u32([2], key(train.seed).to_vec());
        let count = HostTensor::u32([], vec![s as u32]);
        let mut inputs: Vec<(&str, &HostTensor)> = vec![("seed", &seed), ("iteration", &count)];
        inputs.extend(it.inputs.iter().zip(&batches).map(|(i, t)| (&*i.input, t)));
        if s == step {
            return Ok(match trainer.exec.locate_nonfinite(&it.graph, &inputs)? {
                Some(place) => format!(": first in {place}"),
                None => String::new(),
            });
        }
        if programs[v].is_none() {
            programs[v] = Some(trainer.exec.compile(&it.graph)?);
        }
        if let Some(p) = programs[v].as_mut() {
            trainer.exec.run(p, &inputs)?;
        }
    }
    Ok(String::new())
}
