//! What several test modules share.

use ganc::build::program::Compiled;
use ganc::data::{Dataset, Loader};
use ganc::diag::{Diagnostics, render};
use ganc::exec::Executor;
use ganc::exec::cpu::{CpuExecutor, CpuOptions, Program};
use ganc::graph::HostTensor;
use ganc::model::{self, Options};
use ganc::source::SourceMap;
use ganc::train::{driver, feed};
use std::path::Path;
use std::sync::Arc;

/// A file of this repository.
pub fn repo(path: &str) -> std::path::PathBuf {
    // A test binary that was carried to another machine is told where the repository is.
    let root = std::env::var_os("GANC_REPO").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&root).join(path)
}

/// Compiles a spec on disk down to graphs; the error is what a user reads.
pub fn compile_file(path: &Path) -> Result<Compiled, String> {
    compile(path, &|p| std::fs::read_to_string(p))
}

/// Compiles a text as if it were a file in the repository's root; the error is what a user reads.
pub fn compile_text(text: &str) -> Result<Compiled, String> {
    compile_as(&repo("text.gan"), text)
}

/// Compiles a text in the place of the file of this name.
pub fn compile_as(path: &Path, text: &str) -> Result<Compiled, String> {
    compile(path, &|p| if p == path { Ok(text.to_string()) } else { std::fs::read_to_string(p) })
}

fn compile(path: &Path, reader: &dyn Fn(&Path) -> std::io::Result<String>) -> Result<Compiled, String> {
    let mut sources = SourceMap::default();
    let options = Options::default();
    let steps = |sources: &mut SourceMap| -> Result<Compiled, Diagnostics> {
        let model = model::load(path, sources, reader, &options)?;
        let core = ganc::tricks::expand(&model)?;
        Ok(ganc::build::build(&core, sources, &ganc::data::schema)?.0)
    };
    steps(&mut sources).map_err(|d| render(&sources, &d, false))
}

/// The first `train` of a spec on the CPU, one iteration at a time.
pub struct Steps<'c> {
    compiled: &'c Compiled,
    exec: CpuExecutor,
    loaders: Vec<Arc<Loader>>,
    programs: Vec<Option<Program>>,
    counters: Vec<u64>,
    done: u64,
}

impl<'c> Steps<'c> {
    /// Everything at its start; `data` are the sets of the spec.
    pub fn new(compiled: &'c Compiled, data: Vec<Arc<Dataset>>) -> Self {
        let train = &compiled.trains[0];
        let mut exec = CpuExecutor::new(CpuOptions { threads: 1, ..CpuOptions::default() });
        driver::initialise(compiled, &mut exec, train.seed, None).expect("stored");
        driver::initialise(compiled, &mut exec, train.seed, Some(0)).expect("stored");
        let loaders = driver::loaders(train, &data).expect("loaders");
        driver::start(train, &mut exec, &loaders).expect("it starts");
        let programs = train.iterations.iter().map(|_| None).collect();
        Self { compiled, exec, loaders, programs, counters: vec![0; train.lines.len()], done: 0 }
    }

    /// The same with the bundled data of the spec.
    pub fn bundled(compiled: &'c Compiled) -> Self {
        let data = compiled.data.iter().map(|p| Arc::new(ganc::data::open(p).expect("bundled data")));
        Self::new(compiled, data.collect())
    }

    /// One iteration; the losses of its players.
    pub fn step(&mut self) -> Vec<(String, f64)> {
        let train = &self.compiled.trains[0];
        self.done += 1;
        let v = feed::variant(train, self.done).expect("a variant");
        let it = &train.iterations[v];
        let batches = feed::batches(it, &self.loaders, &self.counters);
        self.counters.iter_mut().zip(&it.fresh).for_each(|(c, f)| *c += *f as u64);
        let seed = HostTensor::u32([2], ganc::train::key(train.seed).to_vec());
        let count = HostTensor::u32([], vec![self.done as u32]);
        let mut inputs: Vec<(&str, &HostTensor)> = vec![("seed", &seed), ("iteration", &count)];
        inputs.extend(it.inputs.iter().zip(&batches).map(|(i, t)| (&*i.input, t)));
        if self.programs[v].is_none() {
            self.programs[v] = Some(self.exec.compile(&it.graph).expect("it compiles"));
        }
        let program = self.programs[v].as_mut().expect("just compiled");
        let outputs = self.exec.run(program, &inputs).expect("it runs");
        let loss = |(n, t): &(Arc<str>, HostTensor)| Some((n.strip_prefix("loss:")?.to_string(), t.to_f64()[0]));
        outputs.iter().filter_map(loss).collect()
    }

    /// A persistent tensor as it is now.
    pub fn tensor(&self, name: &str) -> HostTensor {
        self.exec.fetch(name).expect("read").unwrap_or_else(|| panic!("no tensor {name}"))
    }

    /// All of them.
    pub fn tensors(&self) -> Vec<(String, HostTensor)> {
        self.compiled.tensors.iter().map(|d| (d.name.to_string(), self.tensor(&d.name))).collect()
    }

    /// Goes on from another run's tensors and position.
    pub fn resume(&mut self, from: &Steps<'_>) {
        from.tensors().iter().for_each(|(n, t)| self.exec.store(n, t).expect("stored"));
        self.counters = from.counters.clone();
        self.done = from.done;
    }
}
