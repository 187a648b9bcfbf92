//! `virtual_batch_norm(G)`: each batch norm of a network becomes a virtual one (Salimans et al. 2016, section 3.5). The
//! paper does so in the generator only, since the reference batch costs a second forward pass.

use super::bodies::{self, Site};
use super::make;
use super::work::{TrickUse, Work};
use crate::diag::Diagnostic;
use crate::layers::table;
use crate::layers::{Class, args};
use crate::model::Model;
use crate::syntax::ast::{Arg, Body, ExprKind};
use std::collections::{BTreeMap, BTreeSet};

const OLD: &str = "batch_norm";

/// Rewrites the network, and the blocks that it uses.
pub fn apply(work: &mut Work<'_>, t: &TrickUse) -> Result<(), Diagnostic> {
    let Some(ExprKind::Name(name)) = t.args.get("net").map(|e| &e.kind) else {
        return Err(Diagnostic::error("E0441", format!("trick `{}` takes the name of a network", t.name.name))
            .at(t.span, "not here"));
    };
    work.claim(format!("the batch norms of `{name}`"), t)?;
    let Some(mut network) = work.edits.current(work.model, name) else { return Ok(()) };
    if work.edits.known(name, "virtual_batch_norm", "", t)? {
        return Ok(());
    }
    let affected = affected(work.model, &network.body);
    if affected.is_empty() && !has(work.model, &network.body) {
        return Err(Diagnostic::error("E0441", format!("`{name}` has no `{OLD}` to replace"))
            .at(t.span, "nothing to do here")
            .label(network.name.span, "neither in it nor in its blocks")
            .help("leave the trick out, or write `virtual_batch_norm` where it is wanted"));
    }
    // A block that others use too is copied under a name of its own.
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for b in &affected {
        let mut others = work.model.networks.iter().filter(|n| n.name.name != *name);
        let shared = others.any(|n| bodies::blocks(work.model, &n.body).contains(b));
        names.insert(b.clone(), if shared { work.fresh(&format!("{b}Virtual")) } else { b.clone() });
    }
    for (old, new) in &names {
        let Some(mut block) = work.model.block(old).map(|b| b.item.clone()) else { continue };
        replace(work.model, &mut block.body, &names);
        block.name = make::ident(new, block.name.span);
        work.edits.block(block);
    }
    replace(work.model, &mut network.body, &names);
    work.edits.network(network, "virtual_batch_norm", "", t)
}

/// Whether a body has a batch norm itself.
fn has(model: &Model, body: &Body) -> bool {
    model.block(OLD).is_none() && bodies::callees(body).contains(OLD)
}

/// Blocks within which there is one, whatever lies between.
fn affected(model: &Model, body: &Body) -> BTreeSet<String> {
    let all = bodies::blocks(model, body);
    let within = |b: &String| {
        let Some(block) = model.block(b) else { return false };
        has(model, &block.body)
            || bodies::blocks(model, &block.body)
                .iter()
                .filter_map(|inner| model.block(inner))
                .any(|inner| has(model, &inner.body))
    };
    all.into_iter().filter(within).collect()
}

fn replace(model: &Model, body: &mut Body, names: &BTreeMap<String, String>) {
    bodies::calls_mut(body, &mut |site| {
        if let Some(new) = names.get(site.name.as_str()) {
            *site.name = new.clone();
        } else if site.name.as_str() == OLD && model.block(OLD).is_none() {
            virtual_norm(site);
        }
    });
}

/// Keeps the input, `eps` and `affine`; a virtual norm has no moving statistics, so it needs no `momentum` and `eval`.
fn virtual_norm(site: &mut Site<'_>) {
    *site.name = "virtual_batch_norm".to_string();
    let written = std::mem::take(&mut site.args);
    let (input, rest) = written.split_at(site.inputs.min(written.len()));
    let mut kept: Vec<Arg> = input.to_vec();
    if let Some(sig) = table::lookup(Class::Layer, OLD) {
        let positional: Vec<&Arg> = rest.iter().filter(|a| a.name.is_none()).collect();
        let named: Vec<&Arg> = rest.iter().filter(|a| a.name.is_some()).collect();
        let words: Vec<&str> = named.iter().filter_map(|a| a.name.as_ref()).map(|n| n.name.as_str()).collect();
        // What does not bind was refused by the resolver.
        let slots = args::bind_names(sig, positional.len(), &words).unwrap_or_default();
        for (slot, p) in slots.iter().zip(sig.params).filter(|(_, p)| ["eps", "affine"].contains(&p.name)) {
            let value = match slot {
                args::Slot::Positional(i) => positional[*i].value.clone(),
                args::Slot::Named(i) => named[*i].value.clone(),
                args::Slot::Default | args::Slot::Many(_) | args::Slot::Columns(_) => continue,
            };
            kept.push(make::named(p.name, value));
        }
    }
    site.args = kept;
}
