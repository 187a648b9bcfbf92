//! Minibatches for iterations, prepared off the training thread: as tensors, or as the numbers of rows that the device
//! holds, of which it makes the same tensors.

use super::error::RunError;
use crate::build::program::{BatchInput, Iteration, TrainProgram};
use crate::data::Loader;
use crate::exec::{ExecError, Executor, Held};
use crate::graph::HostTensor;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

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

/// What is prepared for an input.
#[derive(Clone, Debug)]
pub enum Fed {
    /// The batch.
    Batch(HostTensor),
    /// Numbers of rows that the device holds, `u32[batch]`; the batch is the line's of this number.
    Rows(HostTensor, u64),
}

impl Fed {
    /// Bytes that it takes on the host.
    pub fn bytes(&self) -> usize {
        match self {
            Fed::Batch(t) | Fed::Rows(t, _) => t.ty().bytes(),
        }
    }
}

/// A field of a set that a device holds.
#[derive(Debug)]
struct Kept {
    held: Held,
    name: String,
    /// Set when the device has given it up: from then on its batches are prepared.
    gone: AtomicBool,
}

/// Fields of data sets that a device holds, by index of the set and of the field.
#[derive(Debug, Default)]
pub struct Resident {
    asked: BTreeMap<(usize, usize), Option<Kept>>,
    /// What was given up and not told yet.
    news: Mutex<Vec<String>>,
}

impl Resident {
    /// Asks an executor to hold the fields that an iteration takes, after its program was compiled; what it answered, a
    /// line for each field that it was asked for the first time.
    ///
    /// # Errors
    /// What the executor says.
    pub fn ask<E: Executor>(
        &mut self,
        exec: &mut E,
        train: &TrainProgram,
        it: &Iteration,
        loaders: &[Arc<Loader>],
        name: &dyn Fn(usize) -> String,
    ) -> Result<Vec<String>, ExecError> {
        let mut said = vec![];
        if !exec.may_hold() {
            return Ok(said);
        }
        for input in &it.inputs {
            let (loader, set) = (&loaders[input.line], train.lines[input.line].data);
            let field = loader.field(input.field);
            if self.asked.contains_key(&(set, field)) {
                continue;
            }
            let data = loader.data();
            let name = format!("{}.{}", name(set), data.schema().fields[field].name);
            let rows = data.held(field, name.clone());
            let held = match &rows {
                Some(rows) => exec.hold(rows)?,
                None => None,
            };
            if held.is_some() {
                let mib = rows.map_or(0, |r| r.bytes()) as f64 / 1_048_576.0;
                said.push(format!("{name} stays in device memory ({mib:.1} MiB)"));
            }
            self.asked.insert((set, field), held.map(|held| Kept { held, name, gone: AtomicBool::new(false) }));
        }
        Ok(said)
    }

    fn of(&self, train: &TrainProgram, loaders: &[Arc<Loader>], input: &BatchInput) -> Option<&Kept> {
        let key = (train.lines[input.line].data, loaders[input.line].field(input.field));
        self.asked.get(&key)?.as_ref().filter(|k| !k.gone.load(Ordering::Relaxed))
    }

    /// Lets a program make its inputs of the rows that are held.
    ///
    /// # Errors
    /// What the executor says.
    pub fn feed<E: Executor>(
        &self,
        exec: &mut E,
        program: &mut E::Program,
        train: &TrainProgram,
        it: &Iteration,
        loaders: &[Arc<Loader>],
    ) -> Result<(), ExecError> {
        for input in &it.inputs {
            if let Some(kept) = self.of(train, loaders, input) {
                exec.feed(program, &input.input, kept.held)?;
            }
        }
        Ok(())
    }

    /// What an iteration needs from the counters on: numbers of rows where they are held, else batches.
    pub fn prepare(
        &self,
        train: &TrainProgram,
        it: &Iteration,
        loaders: &[Arc<Loader>],
        counters: &[u64],
    ) -> Vec<Fed> {
        let mut cache = vec![];
        let mut one = |input: &BatchInput| {
            let number = counters[input.line] + input.fresh as u64;
            match self.of(train, loaders, input) {
                Some(_) => Fed::Rows(loaders[input.line].picks(input.field, number), number),
                None => Fed::Batch(fetch(input, loaders, counters, &mut cache)),
            }
        };
        it.inputs.iter().map(&mut one).collect()
    }

    /// What a program's next run takes of what was prepared, by input. An input that it does not read is left out; where
    /// the device has given a set up since, the batch is made now.
    pub fn given<'a, E: Executor>(
        &self,
        exec: &E,
        program: &E::Program,
        train: &TrainProgram,
        it: &'a Iteration,
        loaders: &[Arc<Loader>],
        prepared: &'a [Fed],
    ) -> Vec<(&'a str, Cow<'a, HostTensor>)> {
        let mut given = vec![];
        for (input, fed) in it.inputs.iter().zip(prepared) {
            let tensor = match fed {
                Fed::Batch(t) => Cow::Borrowed(t),
                Fed::Rows(..) if !exec.reads(program, &input.input) => continue,
                Fed::Rows(t, _) if exec.takes_rows(program, &input.input) => Cow::Borrowed(t),
                Fed::Rows(_, number) => {
                    if let Some(kept) = self.of(train, loaders, input).filter(|k| !exec.holds(k.held)) {
                        kept.gone.store(true, Ordering::Relaxed);
                        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
                        news.push(format!(
                            "{} no longer stays in device memory: another program needs it",
                            kept.name
                        ));
                    }
                    Cow::Owned(loaders[input.line].one(input.field, *number))
                }
            };
            given.push((&*input.input, tensor));
        }
        given
    }

    /// What was given up since it was asked last, a line each.
    pub fn news(&self) -> Vec<String> {
        std::mem::take(&mut self.news.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Batches by line, how fresh, and field.
type Cache = Vec<((usize, usize, usize), HostTensor)>;

/// The batch of an input. Several inputs may read one field of a minibatch: it is made once.
fn fetch(input: &BatchInput, loaders: &[Arc<Loader>], counters: &[u64], cache: &mut Cache) -> HostTensor {
    let key = (input.line, input.fresh, input.field);
    if let Some((_, made)) = cache.iter().find(|(k, _)| *k == key) {
        return made.clone();
    }
    let made = loaders[input.line].one(input.field, counters[input.line] + input.fresh as u64);
    cache.push((key, made.clone()));
    made
}

/// Minibatches of one iteration, read from the counters on.
pub fn batches(it: &Iteration, loaders: &[Arc<Loader>], counters: &[u64]) -> Batches {
    let mut cache = vec![];
    it.inputs.iter().map(|input| fetch(input, loaders, counters, &mut cache)).collect()
}

/// Runs `body` with a receiver that yields what is prepared for iterations `first..=last` in order.
pub fn ahead<R>(
    train: &TrainProgram,
    loaders: &[Arc<Loader>],
    resident: &Resident,
    counters: &[u64],
    steps: std::ops::RangeInclusive<u64>,
    body: impl FnOnce(&Receiver<Result<Vec<Fed>, RunError>>) -> R,
) -> R {
    std::thread::scope(|scope| {
        let (tx, rx): (SyncSender<_>, _) = sync_channel(AHEAD);
        let mut counters = counters.to_vec();
        scope.spawn(move || {
            for step in steps {
                let result = variant(train, step).map(|v| {
                    let it = &train.iterations[v];
                    let b = resident.prepare(train, it, loaders, &counters);
                    counters.iter_mut().zip(&it.fresh).for_each(|(c, f)| *c += *f as u64);
                    b
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
