//! Eval-mode graphs of one network, for `ganc sample` and the commands on latents.

use super::ctx::{Builder, Gx, Moment, Schemas};
use super::program::Chunk;
use super::value::{NetRef, Value};
use crate::data::Pipeline;
use crate::diag::{Diagnostic, Diagnostics};
use crate::graph::{Name, Output, Type};
use crate::layers::Tensor;
use crate::model::Model;
use crate::model::consts::Consts;
use crate::source::SourceMap;
use crate::syntax::ast::{TrainStmt, TrainStmtKind};

/// Prefix of the names under which a chunk gives or takes the values of a network's inputs.
pub const INPUT: &str = "in:";

/// A graph of network `network` for `n` samples, with the data sets that its rows come from. Its inputs are drawn as
/// a `train` draws the names that they have, or else the first draw of their type. Outputs: one a result, named
/// `out` if it has no name, then the drawn inputs as `in:NAME`.
///
/// # Errors
/// No such network, or nothing drawn that fits an input.
pub fn sample_chunk(
    model: &Model,
    sources: &SourceMap,
    schemas: &Schemas<'_>,
    network: &str,
    n: usize,
) -> Result<(Chunk, Vec<Pipeline>), Diagnostics> {
    let (mut b, index) = prepare(model, sources, schemas, network, n)?;
    let decl = &model.networks[index];
    let mut args: Vec<Tensor> = Vec::new();
    for (name, kind, shape) in b.nets[index].inputs.clone() {
        let mut draws = b.train.draws.clone();
        draws.sort_by_key(|d| d.name.name != name);
        let mut found = None;
        for d in &draws {
            if let Value::Tensor(t) = b.draw(d)
                && t.kind == kind
                && t.shape == shape
            {
                found = Some(t);
                break;
            }
        }
        match found {
            Some(t) => args.push(t),
            None => {
                b.report(
                    Diagnostic::error("E0459", format!("nothing is drawn that fits input `{name}` of `{network}`"))
                        .at(decl.name.span, "sampling draws its inputs as the `train` does"),
                );
            }
        }
    }
    let drawn: Vec<_> = b.nets[index].inputs.iter().map(|i| Name::from(format!("{INPUT}{}", i.0))).collect();
    let inputs: Vec<_> = drawn.into_iter().zip(&args).map(|(name, t)| (name, b.per_sample(t).node)).collect();
    let chunk = finish(&mut b, index, args, inputs)?;
    Ok((chunk, b.data.into_iter().map(|d| d.1).collect()))
}

/// The same graph with the inputs left open: it takes them as `in:NAME`, `[n, …]` reals or `[n]` labels.
///
/// # Errors
/// No such network.
pub fn apply_chunk(
    model: &Model,
    sources: &SourceMap,
    schemas: &Schemas<'_>,
    network: &str,
    n: usize,
) -> Result<Chunk, Diagnostics> {
    let (mut b, index) = prepare(model, sources, schemas, network, n)?;
    let mut args = Vec::new();
    for (name, kind, shape) in b.nets[index].inputs.clone() {
        let mut full = vec![b.moment.batch];
        full.extend(&shape);
        let node = b.gx.graph.input(format!("{INPUT}{name}"), Type::new(Builder::dtype(kind), full));
        args.push(Tensor { node, kind, sample: true, shape });
    }
    finish(&mut b, index, args, Vec::new())
}

fn prepare<'m>(
    model: &'m Model,
    sources: &'m SourceMap,
    schemas: &'m Schemas<'m>,
    network: &str,
    n: usize,
) -> Result<(Builder<'m>, usize), Diagnostics> {
    let consts = Consts::new(model)?;
    let mut b = Builder::new(model, sources, schemas, consts);
    let Some(index) = model.networks.iter().position(|x| x.name.name == network) else {
        let names: Vec<&str> = model.networks.iter().map(|n| n.name.name.as_str()).collect();
        let d = Diagnostic::error("E0201", format!("there is no network `{network}`"));
        return Err(d.help(format!("the spec has {}", names.join(", "))).into());
    };
    let n = n.clamp(1, 1 << 20);
    if let Some(first) = model.trains.first() {
        b.reference_batch = b.batch_of(&first.item.stmts);
    }
    b.train.batch = n;
    for t in &model.trains {
        read_draws(&mut b, &t.item.stmts);
    }
    for i in 0..model.networks.len() {
        b.check_network(i);
    }
    b.gx = Gx::new();
    b.moment = Moment { tag: "sample".into(), batch: n, ..Moment::default() };
    Ok((b, index))
}

/// The graph of an application to these arguments, with further outputs.
fn finish(
    b: &mut Builder<'_>,
    index: usize,
    args: Vec<Tensor>,
    further: Vec<Output>,
) -> Result<Chunk, Diagnostics> {
    let net = NetRef { index, ..NetRef::default() };
    let record = if b.diags.has_errors() { None } else { b.apply(&net, args) };
    let Some(record) = record.filter(|_| !b.diags.has_errors()) else { return Err(std::mem::take(&mut b.diags)) };
    let mut outputs: Vec<Output> = record
        .outputs
        .iter()
        .map(|(name, t)| {
            let t = b.per_sample(t);
            (if name.is_empty() { "out".into() } else { name.as_str().into() }, t.node)
        })
        .collect();
    outputs.extend(further);
    Ok(b.chunk(outputs))
}

fn read_draws<'m>(b: &mut Builder<'m>, stmts: &'m [TrainStmt]) {
    for s in stmts {
        if let TrainStmtKind::Draw { names, from, per } = &s.kind {
            let stmt = b.train.draws.len();
            b.read_draw(names, from, *per, s.span, stmt);
        }
    }
}
