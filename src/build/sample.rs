//! An eval-mode graph of one network, for `ganc sample`.

use super::ctx::{Builder, Gx, Moment, Schemas};
use super::program::Chunk;
use super::value::{NetRef, Value};
use crate::data::Pipeline;
use crate::diag::{Diagnostic, Diagnostics};
use crate::layers::Tensor;
use crate::model::Model;
use crate::model::consts::Consts;
use crate::source::SourceMap;
use crate::syntax::ast::{TrainStmt, TrainStmtKind};

/// A graph of network `network` for `n` samples, with the data sets that its rows come from. Its inputs are drawn as
/// a `train` draws the names that they have, or else the first draw of their type. Outputs: one a result, named
/// `out` if it has no name.
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
    let net = NetRef { index, ..NetRef::default() };
    let record = if b.diags.has_errors() { None } else { b.apply(&net, args) };
    let Some(record) = record.filter(|_| !b.diags.has_errors()) else { return Err(b.diags) };
    let outputs: Vec<_> = record
        .outputs
        .iter()
        .map(|(name, t)| {
            let t = b.per_sample(t);
            (if name.is_empty() { "out".into() } else { name.as_str().into() }, t.node)
        })
        .collect();
    let chunk = b.chunk(outputs);
    Ok((chunk, b.data.into_iter().map(|d| d.1).collect()))
}

fn read_draws<'m>(b: &mut Builder<'m>, stmts: &'m [TrainStmt]) {
    for s in stmts {
        if let TrainStmtKind::Draw { names, from, per } = &s.kind {
            let stmt = b.train.draws.len();
            b.read_draw(names, from, *per, s.span, stmt);
        }
    }
}
