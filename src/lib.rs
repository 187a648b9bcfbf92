//! ganc: a language and a compiler for adversarial training. This page is the map of the project.
//!
//! # From a file to a trained network
//!
//! ```text
//! .gan text ─syntax→ AST ─model→ Model ─tricks→ core Model ─build, grad→ Graph ─passes→ Graph ─fuse→ Clusters ─plan→ Plan ─exec→ numbers
//! ```
//!
//! - [`source`] holds the texts and spans, [`diag`] what is said about them: every stage collects its errors in
//!   [`diag::Diagnostics`]; [`mod@diag::render`] alone knows how they look, [`diag::codes`] explains them at length.
//! - [`syntax`] parses (`grammar/gan.pest`), and prints: the formatter, and what `ganc expand` shows.
//! - [`model`] merges the files that `use` each other, evaluates constants, and resolves names and arguments by the
//!   [tables of built-ins](layers::table).
//! - [`tricks`] rewrites losses and tricks into draws, lets and players. The result is a spec again.
//! - [`build`] evaluates the networks and players of the core into one [`graph`] an iteration: forward passes,
//!   gradients by [`grad`], optimisers, moving statistics, noise. [`layers`] gives the built-ins as graph builders.
//!   What comes out, [`build::program::Compiled`], is all that the training loop knows of a spec.
//! - [`passes`] does the same with less work, [`fuse`] decides what is computed together, [`plan`] in which order and
//!   where in memory.
//! - [`codegen`] writes plans as programs for devices: [`codegen::cuda`] CUDA C for NVIDIA GPUs, by a small kernel IR.
//! - [`exec`] runs plans: [`exec::cpu`] natively, [`exec::cuda`] as programs of [`codegen::cuda`] on an NVIDIA device,
//!   [`exec::oracle`] every node in 64-bit floats, as plainly as it is defined ([`graph::eval`]): the check on
//!   everything else.
//! - [`data`] reads sets and gives minibatches, [`metrics`] judges samples, [`report`] draws, [`train`] is the loop
//!   with checkpoints and run folders, [`cli`] the commands.
//!
//! `ganc dump SPEC --stage S` shows each of these forms. The language is described in `grammar/LANGUAGE.md`, whose
//! examples are compiled by a test and whose tables of built-ins are this crate's.
//!
//! # Rules that hold everywhere
//!
//! 1. A training iteration is a pure function: parameters, optimiser states, statistics, minibatches, seed and step
//!    number in, the same out. Nothing mutates within a graph; an executor
//!    overwrites a parameter only when nobody reads the old value any more.
//! 2. The ops are closed under differentiation: the gradient of a graph is a graph of the same ops, to any order.
//!    Matches over [`graph::Op`] that give meaning have no wildcard arm.
//! 3. Each intermediate form has one printer, and what always holds of it stands at the top of its module: passes
//!    take and leave a graph that [`graph::verify`] accepts, plans have [`plan::Plan::verify`]. A failed check is a
//!    bug in ganc, whatever the spec.
//! 4. From [`syntax`] to [`codegen`] there is no clock, environment, or order of a hash table in what comes out, and no
//!    file but those that the caller's reader and schemas give: same spec, same bytes.
//! 5. Shapes are concrete, batch included. Shape rules exist once, in [`graph::builder`]: checking shapes is
//!    building. A layer checks its preconditions in its own words before.
//! 6. Each node carries its origin (span, layer path such as `G.up2.conv1`, order of gradient), down to profiles and
//!    the message that says where the first NaN was born.
//! 7. Noise is counter based ([`graph::philox`]): its key is the seed and a stream named after the layer's path, its
//!    counter the step, the sample and the element. No optimisation and no number of threads changes it.
//! 8. Executors know plans and clusters, nothing of GANs; [`graph`] knows nothing of the language but `Span`. Imports
//!    go one way; `tests/tidy.rs` has the table. `unsafe` is for [`exec`].
//!
//! # How to add …
//!
//! **A layer or function.** A row in `src/layers/table/` (name, arguments with defaults, one line of words), its
//! graph in a file of `src/layers/` (parameters, statistics and noise are asked of a [`layers::Scope`]), an arm in
//! `src/layers/emit.rs`. Tests: values against a reference in `tests/golden_layers.rs` or `tests/layers.rs`; then
//! `UPDATE_REFERENCE=1 cargo test language` writes the table of `grammar/LANGUAGE.md` anew.
//!
//! **An op.** A variant of [`graph::Op`], its shape rule in `src/graph/builder.rs`, its check in
//! `src/graph/verify.rs`, its name in `src/graph/text.rs` and `text_parse.rs`, its meaning in `src/graph/eval/`, its
//! derivative in `src/grad/vjp.rs`, its copy in `src/passes/rebuild.rs`, its place in a cluster in `src/fuse/` and
//! its code in `src/exec/cpu/` and `src/codegen/cuda/`; the compiler points at each match. Tests: a line in
//! `tests/filetests/`, `tests/gradcheck.rs`. First see whether a composite of the ops there are does it: most layers are.
//!
//! **A trick.** A row in `src/layers/table/experiment.rs`, a file of `src/tricks/` with an [`Apply`](tricks::Apply)
//! that edits the [`Work`](tricks::work::Work), a line with its phase in [`tricks::TRICKS`], a page in
//! `src/tricks/pages/` for `ganc tricks`. Tests: a case
//! `tests/cases/expand_*.gan`, whose snapshot shows what it stands for; one under `tests/errors/` for what it
//! refuses.
//!
//! **A pass.** A function from graph to graph in `src/passes/`, most easily by [`passes::rewrite`], and a line in
//! [`passes::PASSES`]. Tests: a `; pass:` line in `tests/filetests/`; the random graphs of `tests/random.rs` run it
//! anyway.
//!
//! **A data source or transform.** A row in `src/layers/table/experiment.rs`, a file of `src/data/` that reads a
//! table of columns, an arm in `src/data/mod.rs` (sources) or `src/data/transform.rs`. Tests: `src/data/tests/`,
//! where `fuzz.rs` damages files of every format.
//!
//! **A device's figures.** A row in `src/exec/cuda/devices.rs`; predictions and profiles use it.
//!
//! **An error.** A code with its long text in `src/diag/codes/`, and a file in `tests/errors/` whose snapshot is the
//! message as a person reads it.

pub mod build;
pub mod cli;
pub mod codegen;
pub mod data;
pub mod diag;
pub mod exec;
pub mod fuse;
pub mod grad;
pub mod graph;
pub mod layers;
pub mod metrics;
pub mod model;
pub mod passes;
pub mod plan;
pub mod report;
pub mod source;
pub mod syntax;
pub mod train;
pub mod tricks;
