//! The loop itself.

use super::actions::{self, Programs};
use super::checkpoint::{self, Loaded, Position};
use super::curves::Curves;
use super::error::RunError;
use super::feed;
use super::folder::{Log, LogLine, RunFolder};
use super::watch::Watcher;
use super::{hunt, key};
use crate::build::program::{Action, Compiled, Every, Iteration, TrainProgram};
use crate::data::{Dataset, Loader};
use crate::exec::{ExecError, Executor};
use crate::graph::{Graph, HostTensor};
use crate::layers::init;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a run tells the person who watches it.
pub trait Ui {
    /// A `train` begins, or goes on after `done` iterations.
    fn begin(&mut self, train: &TrainProgram, done: u64);
    /// An iteration is done.
    fn step(&mut self, train: &TrainProgram, step: u64, losses: &[(String, f64)]);
    /// A line was evaluated.
    fn evaluated(&mut self, train: &TrainProgram, step: u64, values: &[(String, f64)]);
    /// Monitors were read.
    fn watched(&mut self, train: &TrainProgram, step: u64, readings: &[(String, f64)]) {
        let _ = (train, step, readings);
    }
    /// Something worth a line happened (a file was written, a checkpoint passed over).
    fn note(&mut self, text: &str);
    /// A `train` has ended.
    fn end(&mut self, train: &TrainProgram);
}

/// How an expectation was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Holds,
    /// It does not hold, or nothing was evaluated.
    Fails,
    /// The run ended (its length may be that of `--steps`) before the step after which the condition is looked at.
    TooShort {
        /// That step.
        after: u64,
        /// The last step.
        end: u64,
    },
}

impl Verdict {
    fn new(held: bool, after: Option<u64>, end: u64) -> Self {
        match (held, after) {
            (true, _) => Verdict::Holds,
            (false, Some(after)) if after > end => Verdict::TooShort { after, end },
            (false, _) => Verdict::Fails,
        }
    }

    /// Whether it holds.
    pub fn holds(self) -> bool {
        self == Verdict::Holds
    }

    /// Why not, after the condition: `, which does not hold`.
    pub fn why_not(self) -> String {
        match self {
            Verdict::Holds => String::new(),
            Verdict::Fails => ", which does not hold".into(),
            Verdict::TooShort { after, end } => {
                format!(" after {after} steps; the run ended after {end}, so that is not decided")
            }
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Stopped by a signal before its last iteration.
    pub stopped: bool,
    /// The last checkpoint.
    pub checkpoint: Option<PathBuf>,
    /// Expectations: text and how it was decided.
    pub expects: Vec<(String, Verdict)>,
    /// Last evaluated numbers.
    pub values: Vec<(String, f64)>,
}

/// A run in progress.
pub struct Trainer<'a, E: Executor> {
    /// The spec.
    pub compiled: &'a Compiled,
    /// Where it runs.
    pub exec: &'a mut E,
    /// Data sets, one for each of [`Compiled::data`].
    pub data: &'a [Arc<Dataset>],
    /// The run folder.
    pub folder: &'a RunFolder,
    /// Hash of sources and overrides.
    pub spec: String,
    /// Set by a signal: save and stop.
    pub stop: &'a AtomicBool,
    /// Iterations between readings of monitors; 0: none. No number of the run depends on it.
    pub monitors: u64,
    /// Save by the clock as well, so that a long run without `checkpoint` lines loses little.
    pub autosave: Duration,
}

/// Sets every persistent tensor of `reset` to its start; those of pretrained networks, once they are loaded, to what
/// was read.
pub fn initialise<E: Executor>(
    compiled: &Compiled,
    exec: &mut E,
    seed: u64,
    reset: Option<usize>,
) -> Result<(), ExecError> {
    for decl in compiled.tensors.iter().filter(|d| d.reset == reset) {
        let stream = crate::graph::philox::stream(&format!("init:{}", decl.name));
        exec.store(&decl.name, &init::materialise(decl.init, decl.role, &decl.ty, key(seed), stream))?;
    }
    if reset.is_none() {
        for p in &compiled.pretrained {
            for (&t, v) in p.tensors.iter().zip(&p.values) {
                exec.store(&compiled.tensors[t].name, v)?;
            }
        }
    }
    Ok(())
}

/// Runs what a `train` computes once before its first iteration.
///
/// # Errors
/// Data that cannot be read, and what the executor says.
pub fn start<E: Executor>(train: &TrainProgram, exec: &mut E, loaders: &[Arc<Loader>]) -> Result<(), RunError> {
    let Some(it) = &train.start else { return Ok(()) };
    let batches = feed::batches(it, loaders, &vec![0; train.lines.len()]);
    let mut program = exec.compile(&it.graph)?;
    let seed = HostTensor::u32([2], key(train.seed).to_vec());
    let count = HostTensor::u32([], vec![0]);
    let mut inputs: Vec<(&str, &HostTensor)> = vec![("seed", &seed), ("iteration", &count)];
    inputs.extend(it.inputs.iter().zip(&batches).map(|(i, t)| (&*i.input, t)));
    exec.run(&mut program, &inputs)?;
    Ok(())
}

/// An iteration that was started.
struct Flying<R> {
    step: u64,
    variant: usize,
    pending: R,
}

struct Running<P, R> {
    programs: Programs<P>,
    /// Fields of data sets that the device holds.
    resident: Arc<feed::Resident>,
    iterations: Vec<Option<P>>,
    /// Started, not yet finished; the oldest first.
    flying: VecDeque<Flying<R>>,
    /// Programs of what monitors show.
    watches: Vec<Option<P>>,
    watcher: Watcher,
    log: Log,
    curves: Curves,
    position: Position,
    saved: Option<PathBuf>,
    saved_at: Instant,
    began: Instant,
}

impl<P, R> Running<P, R> {
    /// Writes a line of the log, with the time.
    fn log(&mut self, mut line: LogLine) -> Result<(), RunError> {
        line.seconds = self.began.elapsed().as_secs_f64();
        self.curves.add(&line);
        self.log.add(&line)
    }
}

impl<E: Executor> Trainer<'_, E> {
    /// Runs from the start, or from a checkpoint.
    pub fn run(&mut self, from: Option<&Loaded>, ui: &mut dyn Ui) -> Result<Summary, RunError> {
        let mut position = Position::default();
        let first_seed = self.compiled.trains.first().map_or(0, |t| t.seed);
        initialise(self.compiled, self.exec, first_seed, None)?;
        for t in 0..self.compiled.trains.len() {
            initialise(self.compiled, self.exec, first_seed, Some(t))?;
        }
        if let Some(loaded) = from {
            checkpoint::restore(loaded, self.compiled, self.exec)?;
            position = loaded.manifest.position.clone();
        }
        let names: Vec<String> = self.compiled.trains.iter().map(|t| t.name.clone()).collect();
        let (log, lines) = Log::open(&self.folder.log(), &names, (position.train, position.step))?;
        let mut run = Running {
            programs: Programs::default(),
            resident: Arc::default(),
            iterations: Vec::new(),
            flying: VecDeque::new(),
            watches: Vec::new(),
            watcher: Watcher::new(self.monitors),
            log,
            curves: Curves::new(self.compiled, &lines),
            position,
            saved: from.map(|l| l.path.clone()),
            saved_at: Instant::now(),
            began: Instant::now(),
        };
        let compiled = self.compiled;
        for (index, train) in compiled.trains.iter().enumerate().skip(run.position.train) {
            if index > run.position.train {
                run.position.train = index;
                run.position.step = 0;
                run.position.minibatches.clear();
                initialise(self.compiled, self.exec, train.seed, Some(index))?;
            }
            run.position.minibatches.resize(train.lines.len(), 0);
            run.iterations = train.iterations.iter().map(|_| None).collect();
            run.watches = train.iterations.iter().map(|_| None).collect();
            let stopped = self.train(train, &mut run, ui)?;
            if stopped {
                return Ok(self.summary(run, true));
            }
        }
        Ok(self.summary(run, false))
    }

    fn train(
        &mut self,
        train: &TrainProgram,
        run: &mut Running<E::Program, E::Pending>,
        ui: &mut dyn Ui,
    ) -> Result<bool, RunError> {
        ui.begin(train, run.position.step);
        if run.position.step >= train.steps {
            ui.end(train);
            return Ok(false);
        }
        let loaders = loaders(train, self.data)?;
        if run.position.step == 0 {
            start(train, self.exec, &loaders)?;
        }
        let steps = run.position.step + 1..=train.steps;
        let counters = run.position.minibatches.clone();
        self.hold(train, &loaders, run, ui)?;
        let resident = run.resident.clone();
        let stopped = feed::ahead(
            train,
            &loaders,
            &resident,
            &counters,
            steps.clone(),
            |batches| -> Result<bool, RunError> {
                for step in steps {
                    let ready = batches
                        .recv()
                        .map_err(|_| ExecError::Bug("the thread that prepares minibatches has died".into()))??;
                    self.iterate(train, &loaders, run, ui, step, &ready)?;
                    if step < train.steps && self.stop.load(Ordering::Relaxed) {
                        self.settle_to(0, train, &loaders, run, ui)?;
                        self.save(train, &loaders, run, ui)?;
                        run.curves.draw(&self.folder.curves(), true)?;
                        return Ok(true);
                    }
                }
                Ok(false)
            },
        )?;
        ui.end(train);
        if !stopped {
            self.decide(train, run, None, ui)?;
            self.save(train, &loaders, run, ui)?;
            run.curves.draw(&self.folder.curves(), true)?;
        }
        Ok(stopped)
    }

    /// Has the device hold the data of the coming iterations, if it fits beside their program.
    fn hold(
        &mut self,
        train: &TrainProgram,
        loaders: &[Arc<Loader>],
        run: &mut Running<E::Program, E::Pending>,
        ui: &mut dyn Ui,
    ) -> Result<(), RunError> {
        let v = feed::variant(train, run.position.step + 1)?;
        // Its memory is taken before the data's.
        run.iterations[v] = Some(self.exec.compile(&train.iterations[v].graph)?);
        let names = |set: usize| self.compiled.data[set].name.clone();
        // A thread of an earlier `train` has ended.
        if let Some(resident) = Arc::get_mut(&mut run.resident) {
            for it in &train.iterations {
                for said in resident.ask(self.exec, train, it, loaders, &names)? {
                    ui.note(&said);
                }
            }
        }
        if let Some(program) = &mut run.iterations[v] {
            run.resident.feed(self.exec, program, train, &train.iterations[v], loaders)?;
        }
        Ok(())
    }

    /// Compiles a graph that an iteration's minibatches feed.
    fn compile(
        &mut self,
        graph: &Graph,
        train: &TrainProgram,
        it: &Iteration,
        loaders: &[Arc<Loader>],
        resident: &feed::Resident,
    ) -> Result<E::Program, RunError> {
        let mut program = self.exec.compile(graph)?;
        resident.feed(self.exec, &mut program, train, it, loaders)?;
        Ok(program)
    }

    /// Starts an iteration; finishes as many as must be (a device need not wait while its host writes logs), and does
    /// what is due after them.
    fn iterate(
        &mut self,
        train: &TrainProgram,
        loaders: &[Arc<Loader>],
        run: &mut Running<E::Program, E::Pending>,
        ui: &mut dyn Ui,
        step: u64,
        batches: &[feed::Fed],
    ) -> Result<(), RunError> {
        if run.watcher.due(step) {
            self.settle_to(0, train, loaders, run, ui)?;
        }
        self.begin(train, loaders, run, ui, step, batches)?;
        let last = step == train.steps;
        let due = |every: &Every| last || step.is_multiple_of(every.steps);
        // Whatever reads or keeps the tensors of this step waits for it, and for the losses before.
        let settled = last
            || train.every.iter().any(due)
            || run.saved_at.elapsed() >= self.autosave
            || self.stop.load(Ordering::Relaxed);
        let ahead = if settled { 0 } else { self.exec.ahead() };
        self.settle_to(ahead, train, loaders, run, ui)?;
        let mut acted = false;
        let mut save = false;
        for every in train.every.iter().filter(|e| due(e)) {
            acted = true;
            for action in &every.actions {
                save |= matches!(action, Action::Checkpoint);
                self.act(train, run, ui, step, action)?;
            }
        }
        if acted {
            self.decide(train, run, Some(step), ui)?;
        }
        let save = settled && !last && (save || run.saved_at.elapsed() >= self.autosave);
        if save {
            self.save(train, loaders, run, ui)?;
        }
        if acted || save {
            run.log.flush()?;
            run.curves.draw(&self.folder.curves(), false)?;
        }
        Ok(())
    }

    fn begin(
        &mut self,
        train: &TrainProgram,
        loaders: &[Arc<Loader>],
        run: &mut Running<E::Program, E::Pending>,
        ui: &mut dyn Ui,
        step: u64,
        batches: &[feed::Fed],
    ) -> Result<(), RunError> {
        let v = feed::variant(train, step)?;
        let it = &train.iterations[v];
        let seed = HostTensor::u32([2], key(train.seed).to_vec());
        let count = HostTensor::u32([], vec![step as u32]);
        let always = [("seed", &seed), ("iteration", &count)];
        if run.watcher.due(step) {
            self.watch(train, loaders, v, run, ui, step, (&always, batches))?;
        }
        if run.iterations[v].is_none() {
            run.iterations[v] = Some(self.compile(&it.graph, train, it, loaders, &run.resident)?);
        }
        let program =
            run.iterations[v].as_mut().ok_or_else(|| ExecError::Bug("a program just compiled is gone".into()))?;
        let given = run.resident.given(self.exec, program, train, it, loaders, batches);
        let mut inputs = always.to_vec();
        inputs.extend(given.iter().map(|(name, t)| (*name, &**t)));
        let pending = self.exec.start(program, &inputs)?;
        run.resident.news().iter().for_each(|said| ui.note(said));
        run.flying.push_back(Flying { step, variant: v, pending });
        Ok(())
    }

    /// Finishes iterations until at most this many are under way.
    fn settle_to(
        &mut self,
        most: usize,
        train: &TrainProgram,
        loaders: &[Arc<Loader>],
        run: &mut Running<E::Program, E::Pending>,
        ui: &mut dyn Ui,
    ) -> Result<(), RunError> {
        while run.flying.len() > most {
            self.settle(train, loaders, run, ui)?;
        }
        Ok(())
    }

    /// Finishes the oldest iteration that was started: its losses are checked, told and logged.
    fn settle(
        &mut self,
        train: &TrainProgram,
        loaders: &[Arc<Loader>],
        run: &mut Running<E::Program, E::Pending>,
        ui: &mut dyn Ui,
    ) -> Result<(), RunError> {
        let Some(Flying { step, variant, pending }) = run.flying.pop_front() else { return Ok(()) };
        let it = &train.iterations[variant];
        let outputs = self.exec.finish(pending)?;
        let losses: Vec<(String, f64)> = outputs
            .iter()
            .filter_map(|(n, t)| Some((n.strip_prefix("loss:")?.to_string(), *t.to_f64().first()?)))
            .collect();
        if let Some((player, _)) = losses.iter().find(|l| !l.1.is_finite()) {
            let what = format!("the loss of {player}");
            return Err(self.not_finite(what, train, loaders, run, ui, step)?);
        }
        run.position.step = step;
        run.position.minibatches.iter_mut().zip(&it.fresh).for_each(|(c, f)| *c += *f as u64);
        ui.step(train, step, &losses);
        // About two thousand points a curve are all that a picture shows.
        if step.is_multiple_of((train.steps / 2_000).max(1)) || step == train.steps {
            let loss = losses.into_iter().collect();
            run.log(LogLine { train: train.name.clone(), step, loss, ..LogLine::default() })?;
        }
        Ok(())
    }

    /// Reads monitors: computed from what the coming iteration begins with, by a program that changes nothing.
    fn watch(
        &mut self,
        train: &TrainProgram,
        loaders: &[Arc<Loader>],
        variant: usize,
        run: &mut Running<E::Program, E::Pending>,
        ui: &mut dyn Ui,
        step: u64,
        (always, batches): (&[(&str, &HostTensor)], &[feed::Fed]),
    ) -> Result<(), RunError> {
        let it = &train.iterations[variant];
        if it.watch.graph.outputs.is_empty() {
            return Ok(());
        }
        if run.watches[variant].is_none() {
            run.watches[variant] = Some(self.compile(&it.watch.graph, train, it, loaders, &run.resident)?);
        }
        let program = run.watches[variant]
            .as_mut()
            .ok_or_else(|| ExecError::Bug("a program just compiled is gone".into()))?;
        let given = run.resident.given(self.exec, program, train, it, loaders, batches);
        let mut inputs = always.to_vec();
        inputs.extend(given.iter().map(|(name, t)| (*name, &**t)));
        let outputs = self.exec.run(program, &inputs)?;
        let readings = Watcher::read(&it.watch, &outputs, self.data)?;
        ui.watched(train, step, &readings);
        let modes = it.watch.modes.first().and_then(|m| self.data[m.1].schema().modes.as_ref());
        let said = run.watcher.judge(train.steps, step, &readings, modes.map_or(0, |m| m.centres.len()));
        let monitor = readings.into_iter().collect();
        run.log(LogLine { train: train.name.clone(), step, monitor, ..LogLine::default() })?;
        for text in said {
            ui.note(&format!("warning at step {step}: {text}"));
            run.log(LogLine { train: train.name.clone(), step, warning: Some(text), ..LogLine::default() })?;
        }
        Ok(())
    }

    /// The error for a number that is none any more, with the place where it began.
    fn not_finite(
        &mut self,
        what: String,
        train: &TrainProgram,
        loaders: &[Arc<Loader>],
        run: &mut Running<E::Program, E::Pending>,
        ui: &mut dyn Ui,
        step: u64,
    ) -> Result<RunError, RunError> {
        let birth = hunt::birth(self, train, loaders, run.saved.as_deref(), step, ui)?;
        run.log.flush()?;
        let checkpoint = run.saved.as_ref().map_or("none".into(), |p| format!("`{}`", p.display()));
        Ok(RunError::NotFinite { what, step, train: train.name.clone(), birth, checkpoint })
    }

    fn act(
        &mut self,
        train: &TrainProgram,
        run: &mut Running<E::Program, E::Pending>,
        ui: &mut dyn Ui,
        step: u64,
        action: &Action,
    ) -> Result<(), RunError> {
        match action {
            // Saved once all actions of this step are done, so that it holds their values.
            Action::Checkpoint => {}
            Action::Samples(s) => {
                let path = self.folder.picture(&s.name, step);
                actions::samples(self.exec, &mut run.programs, s, self.data, key(train.seed), &path)?;
                ui.note(&format!("wrote {}", path.display()));
            }
            Action::Evaluate(e) => {
                let values = actions::evaluate(self.exec, &mut run.programs, e, self.data, key(train.seed))?;
                run.position.values.extend(values.iter().cloned());
                ui.evaluated(train, step, &values);
                let value = values.into_iter().collect();
                run.log(LogLine { train: train.name.clone(), step, value, ..LogLine::default() })?;
            }
        }
        Ok(())
    }

    /// Decides expectations: at a step those whose time has come, at the end (`None`) all that are left.
    fn decide(
        &mut self,
        train: &TrainProgram,
        run: &mut Running<E::Program, E::Pending>,
        step: Option<u64>,
        ui: &mut dyn Ui,
    ) -> Result<(), RunError> {
        for (i, expect) in train.expects.iter().enumerate() {
            let id = (run.position.train, i);
            if run.position.expects.iter().any(|e| (e.0, e.1) == id) {
                continue;
            }
            let due = match (step, expect.after) {
                (None, _) => true,
                (Some(s), Some(after)) => s >= after,
                (Some(_), None) => false,
            };
            if !due {
                continue;
            }
            let reached = expect.after.is_none_or(|a| run.position.step >= a);
            let held = actions::holds(self.exec, &mut run.programs, expect, &run.position.values)?;
            let held = match (held, step) {
                (None, Some(_)) => continue,
                (None, None) => false,
                (Some(h), _) => h && reached,
            };
            run.position.expects.push((id.0, id.1, held));
            let said = match Verdict::new(held, expect.after, run.position.step) {
                Verdict::Holds => "holds".into(),
                Verdict::Fails => "does NOT hold".into(),
                Verdict::TooShort { after, end } => {
                    format!("NOT decided: it is asked after {after} steps, the run ended after {end}")
                }
            };
            ui.note(&format!("expect {}: {said}", expect.text));
        }
        Ok(())
    }

    fn save(
        &mut self,
        train: &TrainProgram,
        loaders: &[Arc<Loader>],
        run: &mut Running<E::Program, E::Pending>,
        ui: &mut dyn Ui,
    ) -> Result<(), RunError> {
        run.log.flush()?;
        let dir = self.folder.checkpoints();
        let path = match checkpoint::save(&dir, &self.spec, self.compiled, self.exec, &run.position) {
            Ok(path) => path,
            // An update can leave the numbers while the losses before it were fine.
            Err(RunError::Sick(name)) => {
                let step = run.position.step;
                return Err(self.not_finite(format!("`{name}`"), train, loaders, run, ui, step)?);
            }
            Err(e) => return Err(e),
        };
        ui.note(&format!("saved {}", path.display()));
        run.saved = Some(path);
        run.saved_at = Instant::now();
        Ok(())
    }

    fn summary(&self, run: Running<E::Program, E::Pending>, stopped: bool) -> Summary {
        let decided = |&(t, i, held): &(usize, usize, bool)| {
            let train = self.compiled.trains.get(t)?;
            let expect = train.expects.get(i)?;
            Some((expect.text.clone(), Verdict::new(held, expect.after, train.steps)))
        };
        Summary {
            stopped,
            checkpoint: run.saved,
            expects: run.position.expects.iter().filter_map(decided).collect(),
            values: run.position.values.into_iter().collect(),
        }
    }
}

/// Loaders of a train's draw lines.
///
/// # Errors
/// A minibatch that is larger than its data set.
pub fn loaders(train: &TrainProgram, data: &[Arc<Dataset>]) -> Result<Vec<Arc<Loader>>, RunError> {
    train
        .lines
        .iter()
        .map(|l| {
            let set = &data[l.data];
            if let Some(rows) = set.len()
                && rows < l.batch
            {
                return Err(RunError::Option(format!(
                    "a minibatch of {} samples is more than the {rows} rows of its data set",
                    l.batch
                )));
            }
            Ok(Arc::new(Loader::new(set.clone(), l.fields.clone(), l.batch, key(train.seed), l.stream)))
        })
        .collect()
}
