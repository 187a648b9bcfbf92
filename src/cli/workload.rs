//! A spec's training iteration, ready to be repeated: for commands that measure.

use super::compile::{self, Front};
use super::{DeviceArgs, Failure, SpecArgs, device};
use crate::build::program::{Compiled, Iteration, TrainProgram};
use crate::data::{Dataset, Loader};
use crate::exec::any::{AnyExecutor, AnyPending, AnyProgram};
use crate::exec::{ExecError, Executor};
use crate::graph::HostTensor;
use crate::train::{RunError, driver, feed, key};
use std::collections::VecDeque;
use std::sync::Arc;

/// Iterations' worth of real batches that are read before any clock starts.
const POOL: u64 = 4;

/// The first iteration of a spec's first `train`, and all that it needs, with its parameters in an executor.
pub(super) struct Workload {
    front: Front,
    compiled: Compiled,
    data: Vec<Arc<Dataset>>,
    loaders: Vec<Arc<Loader>>,
    variant: usize,
    resident: feed::Resident,
    pool: Vec<Vec<feed::Fed>>,
    seed: HostTensor,
    step: u64,
    _waking: device::Waking,
}

impl Workload {
    /// Opens a spec and its data, and puts initial parameters into the executor that is asked for; it measures each
    /// launch if `profile`.
    pub(super) fn open(
        spec: &SpecArgs,
        on: &DeviceArgs,
        profile: bool,
    ) -> Result<(Workload, AnyExecutor), Failure> {
        let waking = device::waken(on);
        let front = compile::front(spec)?;
        let compiled = compile::graphs(&front)?;
        let data = compile::open_data(&front, &compiled)?;
        if compiled.trains.is_empty() {
            return Err(Failure::Message("the spec has no `train` to time".into()));
        }
        let mut exec = device::executor(on, profile)?;
        let seed = HostTensor::u32([2], key(compiled.trains[0].seed).to_vec());
        let (loaders, pool) = (vec![], vec![]);
        let resident = feed::Resident::default();
        let mut work =
            Workload { front, compiled, data, loaders, variant: 0, resident, pool, seed, step: 0, _waking: waking };
        work.prepare(&mut exec).map_err(|e| work.wrong(e))?;
        Ok((work, exec))
    }

    fn prepare(&mut self, exec: &mut AnyExecutor) -> Result<(), RunError> {
        let train = &self.compiled.trains[0];
        for reset in [None, Some(0)] {
            driver::initialise(&self.compiled, exec, train.seed, reset)?;
        }
        self.loaders = driver::loaders(train, &self.data)?;
        driver::start(train, exec, &self.loaders)?;
        self.variant = feed::variant(train, 1)?;
        Ok(())
    }

    /// Prints an error of the run's machinery.
    pub(super) fn wrong(&self, e: impl Into<RunError>) -> Failure {
        compile::refused(&self.front.sources, &e.into().diagnostics(None))
    }

    /// What is trained.
    pub(super) fn train(&self) -> &TrainProgram {
        &self.compiled.trains[0]
    }

    /// What is repeated.
    pub(super) fn iteration(&self) -> &Iteration {
        &self.train().iterations[self.variant]
    }

    /// Bytes of the data sets and of the batches that are held.
    pub(super) fn data_bytes(&self) -> [usize; 2] {
        let batches = self.pool.iter().flatten().map(feed::Fed::bytes).sum();
        [self.data.iter().map(|d| d.bytes()).sum(), batches]
    }

    /// Compiles the iteration; as in a run, what the device can hold of the data is not sent.
    pub(super) fn compile(&mut self, exec: &mut AnyExecutor) -> Result<AnyProgram, Failure> {
        let program = exec.compile(&self.iteration().graph).map_err(|e| self.wrong(e))?;
        self.feed(exec, program).map_err(|e| self.wrong(e))
    }

    fn feed(&mut self, exec: &mut AnyExecutor, mut program: AnyProgram) -> Result<AnyProgram, ExecError> {
        let train = &self.compiled.trains[0];
        let it = &train.iterations[self.variant];
        let names = |set: usize| self.compiled.data[set].name.clone();
        self.resident.ask(exec, train, it, &self.loaders, &names)?;
        self.resident.feed(exec, &mut program, train, it, &self.loaders)?;
        let mut counters = vec![0; train.lines.len()];
        while (self.pool.len() as u64) < POOL {
            self.pool.push(self.resident.prepare(train, it, &self.loaders, &counters));
            counters.iter_mut().zip(&it.fresh).for_each(|(c, f)| *c += *f as u64);
        }
        Ok(program)
    }

    fn begin(&mut self, exec: &mut AnyExecutor, program: &mut AnyProgram) -> Result<AnyPending, Failure> {
        self.step += 1;
        let count = HostTensor::u32([], vec![self.step as u32]);
        let mut inputs: Vec<(&str, &HostTensor)> = vec![("seed", &self.seed), ("iteration", &count)];
        let batch = &self.pool[(self.step % POOL) as usize];
        let given = self.resident.given(exec, program, self.train(), self.iteration(), &self.loaders, batch);
        inputs.extend(given.iter().map(|(name, t)| (*name, &**t)));
        exec.start(program, &inputs).map_err(|e| self.wrong(e))
    }

    /// Iterations as a run issues them: a device works on some while its host prepares the next.
    pub(super) fn iterate(
        &mut self,
        exec: &mut AnyExecutor,
        program: &mut AnyProgram,
        count: u64,
    ) -> Result<(), Failure> {
        let mut waiting = VecDeque::new();
        for i in 1..=count {
            waiting.push_back(self.begin(exec, program)?);
            let ahead = if i == count { 0 } else { exec.ahead() };
            while waiting.len() > ahead {
                if let Some(done) = waiting.pop_front() {
                    exec.finish(done).map_err(|e| self.wrong(e))?;
                }
            }
        }
        Ok(())
    }
}
