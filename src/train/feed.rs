//! Minibatches for iterations, prepared off the training thread.

use super::error::RunError;
use crate::build::program::{Iteration, TrainProgram};
use crate::data::Loader;
use crate::graph::HostTensor;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Iterations prepared ahead; more would only hold memory.
const AHEAD: usize = 2;

/// Which lazily counted objectives are on in iteration `step`: bit i for period i.
pub fn mask(periods: &[u64], step: u64) -> u64 {
    periods.iter().enumerate().filter(|(_, k)| step.is_multiple_of(**k)).fold(0, |m, (i, _)| m | 1 << i)
}

/// The variant of the iteration that runs in `step`.
pub fn variant(train: &TrainProgram, step: u64) -> Result<usize, RunError> {
    let m = mask(&train.periods, step);
    train.iterations.iter().position(|i| i.mask == m).ok_or_else(|| {
        RunError::Exec(crate::exec::ExecError::Bug(format!(
            "no iteration was built for the mask {m:b} of step {step}"
        )))
    })
}

/// Batches of one iteration, in the order of [`Iteration::inputs`].
pub type Batches = Vec<HostTensor>;

/// Minibatches of one iteration, read from the counters on.
pub fn batches(it: &Iteration, loaders: &[Arc<Loader>], counters: &[u64]) -> Result<Batches, RunError> {
    // Several inputs may read one minibatch (fields of a line): each is fetched once.
    let mut cache: Vec<((usize, usize), Vec<HostTensor>)> = Vec::new();
    let mut out = Vec::with_capacity(it.inputs.len());
    for input in &it.inputs {
        let key = (input.line, input.fresh);
        let found = match cache.iter().position(|(k, _)| *k == key) {
            Some(i) => i,
            None => {
                let number = counters[input.line] + input.fresh as u64;
                let fields = loaders[input.line].batch(number);
                cache.push((key, fields));
                cache.len() - 1
            }
        };
        out.push(cache[found].1[input.field].clone());
    }
    Ok(out)
}

/// Runs `body` with a receiver that yields the batches of iterations `first..=last` in order.
pub fn ahead<R>(
    train: &TrainProgram,
    loaders: &[Arc<Loader>],
    counters: &[u64],
    steps: std::ops::RangeInclusive<u64>,
    body: impl FnOnce(&Receiver<Result<Batches, RunError>>) -> R,
) -> R {
    std::thread::scope(|scope| {
        let (tx, rx): (SyncSender<_>, _) = sync_channel(AHEAD);
        let mut counters = counters.to_vec();
        scope.spawn(move || {
            for step in steps {
                let result = variant(train, step).and_then(|v| {
                    let it = &train.iterations[v];
                    let b = batches(it, loaders, &counters)?;
                    counters.iter_mut().zip(&it.fresh).for_each(|(c, f)| *c += *f as u64);
                    Ok(b)
                });
                let failed = result.is_err();
                // A closed channel means that the loop has ended (Ctrl-C, an error): so does this thread.
                if tx.send(result).is_err() || failed {
                    return;
                }
            }
        });
        let result = body(&rx);
        drop(rx);
        result
    })
}
