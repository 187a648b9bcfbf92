//! Model to graphs: evaluates an expanded model (core only) by abstract interpretation.
//!
//! Expressions become compile-time values or nodes of the graph under construction. Within one iteration's graph
//! everything is in single-assignment form: a parameter is its `Param` leaf until its player has updated it, then the
//! new node; hash-consing makes equal applications one. What differs from update to update is the `Moment`: its draws,
//! its lets, its tag, from which streams of noise are named. Errors are diagnostics with the place of the expression;
//! a value that stands for an error silences what follows from it.
//!
//! - `expr`, `call`, `arith`: expressions, calls, operators
//! - `net`, `body`, `params`: applications, statements of bodies, parameters and their modifiers
//! - `reference`: reference batches of virtual batch norms
//! - `train`, `iteration`, `data`: settings and players, their updates, draws
//! - `unroll`, `kept`, `replay`, `joint`: functions with state, and of several batches
//! - `precision`: fewer bits for products, scales of objectives in f16
//! - `samples`, `overlay`, `evaluate`, `metric`: actions
//! - `lints`: warnings about what was built; `watch`: what monitors show
//! - `afford`: what would fit where memory is short
//!
//! [`program`] is the contract with the training loop.

mod afford;
mod arith;
mod body;
mod call;
mod ctx;
mod data;
mod evaluate;
mod expr;
mod extract;
mod iteration;
mod joint;
mod kept;
mod lints;
mod metric;
mod net;
mod overlay;
mod params;
mod precision;
pub mod program;
mod reference;
mod replay;
mod sample;
mod samples;
mod text;
mod train;
mod unroll;
mod value;
mod watch;

pub use afford::{Room, afford, bytes};
pub use ctx::Schemas;
pub use sample::{INPUT, apply_chunk, sample_chunk};

use crate::diag::{Diagnostic, Diagnostics, Severity};
use crate::model::Model;
use crate::model::consts::Consts;
use crate::source::SourceMap;
use ctx::Builder;
use program::{Compiled, NetworkInfo};

const GIB: usize = 1 << 30;

/// Builds all graphs of an expanded model. `schemas` reads what data sets hold; `sources` gives texts for repairs and
/// folders of relative paths. The second part of the result are warnings.
///
/// # Errors
/// E02xx, E03xx (shapes and values), E04xx (training program), all that are found; and what `schemas` gives.
pub fn build(
    model: &Model,
    sources: &SourceMap,
    schemas: &Schemas<'_>,
) -> Result<(Compiled, Diagnostics), Diagnostics> {
    let consts = Consts::new(model)?;
    let mut b = Builder::new(model, sources, schemas, consts);
    if let Some(first) = model.trains.first() {
        b.train.batch = b.batch_of(&first.item.stmts);
        b.reference_batch = b.train.batch;
    } else {
        b.train.batch = 2;
    }
    for i in 0..model.networks.len() {
        b.check_network(i);
    }
    let mut trains = Vec::new();
    for i in 0..model.trains.len() {
        if b.fatal {
            break;
        }
        if let Some(t) = b.build_train(i) {
            trains.push(t);
        }
    }
    let bytes = b.decls.iter().fold(0usize, |n, d| n.saturating_add(d.ty.bytes()));
    if bytes > ctx::MAX_BYTES {
        let d = Diagnostic::error("E0307", "the parameters and states need too much memory").note(format!(
            "together {:.1} GiB; at most {} GiB",
            bytes as f64 / GIB as f64,
            ctx::MAX_BYTES / GIB
        ));
        b.report(d);
    }
    b.unreached_parameters();
    if b.diags.has_errors() {
        return Err(in_order(&b.diags));
    }
    let networks = model
        .networks
        .iter()
        .zip(&b.nets)
        .map(|(n, meta)| NetworkInfo {
            name: n.name.name.clone(),
            role: n.role,
            inputs: meta.inputs.clone(),
            outputs: meta.outputs.clone(),
            layers: meta.rows.clone(),
        })
        .collect();
    let mut warnings = Diagnostics::default();
    b.diags.items().iter().filter(|d| d.severity == Severity::Warning).for_each(|d| warnings.push(d.clone()));
    let pretrained = b.pretrained();
    let data = b.data.into_iter().map(|d| d.1).collect();
    Ok((Compiled { tensors: b.decls, data, trains, networks, pretrained }, warnings))
}

/// In textual order. Of arguments that do not fit one input in the same way the first is shown: all have one cause.
fn in_order(found: &Diagnostics) -> Diagnostics {
    let mut all: Vec<(Diagnostic, usize)> = Vec::new();
    let place = |d: &Diagnostic| d.labels.first().map_or((u32::MAX, 0), |l| (l.span.file.0, l.span.start));
    let mut sorted: Vec<&Diagnostic> = found.items().iter().collect();
    sorted.sort_by_key(|d| place(d));
    for d in sorted {
        match all.iter_mut().find(|a| d.code == "E0323" && a.0.code == "E0323" && a.0.title == d.title) {
            Some(first) => first.1 += 1,
            None => all.push((d.clone(), 0)),
        }
    }
    let mut out = Diagnostics::default();
    for (d, more) in all {
        out.push(match more {
            0 => d,
            1 => d.note("the same in one more place"),
            n => d.note(format!("the same in {n} more places")),
        });
    }
    out
}
