//! Passes: graph to graph, the same values with less work.
//!
//! Each pass takes a verified graph and leaves one; in debug builds and tests that is checked after each. A pass
//! copies the nodes that the outputs need into a new graph through the builder, so the builder's simplifications
//! apply on the way, and every node keeps the origin of the node it replaces. Values change by rounding at most.
//! Passes run after all gradients have been taken: `stop` is an identity by then and is removed.
//!
//! [`precision()`] is another matter: it changes values, because the spec asks for it, and `build` applies it, so that
//! every executor runs the same graph.

mod dce;
mod fold;
pub mod layout;
mod precision;
mod rebuild;
mod renumber;
mod resample;
mod simplify;
mod slopes;

pub use dce::dce;
pub use fold::fold;
pub use precision::{Rounded, precision};
pub use rebuild::{emit, rewrite};
pub use renumber::renumber;
pub use resample::{resample, resample_worth};
pub use simplify::simplify;
pub use slopes::slopes;

use crate::graph::{Graph, verify};

/// A named pass.
#[derive(Clone, Copy)]
pub struct Pass {
    /// Its name in `dump --stage passes`.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// The pass.
    pub run: fn(&Graph) -> Graph,
}

/// All passes in the order in which they run.
pub const PASSES: [Pass; 7] = [
    Pass { name: "dce", about: "drops nodes that no output needs", run: dce },
    Pass {
        name: "resample",
        about: "joins convolutions with the pooling and upsampling beside them",
        run: resample,
    },
    Pass { name: "fold", about: "computes what depends on constants only", run: fold },
    Pass { name: "simplify", about: "algebra, views, and work moved to smaller tensors", run: simplify },
    Pass { name: "fold-again", about: "computes constants that simplification brought together", run: fold },
    Pass { name: "slopes", about: "asks results of rectifiers, not their arguments, for slopes", run: slopes },
    Pass { name: "renumber", about: "leaves first, then the rest in order, without gaps", run: renumber },
];

/// Which passes run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Names of passes to leave out.
    pub skip: Vec<String>,
}

/// All passes but those that are skipped.
pub fn run(g: Graph, options: &Options) -> Graph {
    run_observed(g, options, &mut |_, _| {})
}

/// [`run`], showing the graph after each pass.
pub fn run_observed(mut g: Graph, options: &Options, observe: &mut dyn FnMut(&Pass, &Graph)) -> Graph {
    if cfg!(debug_assertions) {
        verify::assert_verified(&g, "build");
    }
    for pass in PASSES.iter().filter(|p| !options.skip.iter().any(|s| s == p.name)) {
        g = (pass.run)(&g);
        if cfg!(debug_assertions) {
            verify::assert_verified(&g, pass.name);
        }
        observe(pass, &g);
    }
    g
}
