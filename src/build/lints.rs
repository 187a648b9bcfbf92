//! Warnings that need shapes, ranges of data, or gradients.

use super::ctx::Builder;
use crate::data::FieldType;
use crate::diag::Diagnostic;
use crate::graph::Name;
use crate::layers::ParamRole;
use crate::source::Span;
use crate::syntax::ast::{ResultType, Role};

/// Values that an activation at the end of a network can give.
fn values_of(activation: &str) -> Option<(f64, f64)> {
    match activation {
        "tanh" => Some((-1.0, 1.0)),
        "sigmoid" | "softmax" => Some((0.0, 1.0)),
        "relu" | "softplus" => Some((0.0, f64::INFINITY)),
        _ => None,
    }
}

impl Builder<'_> {
    /// Generators whose last layer cannot give what the data of the same shape holds.
    pub fn output_ranges(&mut self, updated: impl Iterator<Item = usize>) {
        for i in updated {
            let network = &self.model.networks[i];
            let (Role::Generator, ResultType::Single(_)) = (network.role, &network.result) else { continue };
            let Some(last) = self.model.last_layer(&network.body) else { continue };
            let (Some((lo, hi)), Some((_, shape))) = (values_of(&last.name.name), self.nets[i].outputs.first())
            else {
                continue;
            };
            let alike = |d: &super::ctx::Draw<'_>| {
                let (set, field) = d.field?;
                let schema = &self.data[set].2;
                let same = matches!(&schema.fields[field].ty, FieldType::Real(s) if s == shape);
                schema.range.filter(|_| same).map(|r| (d.span, r))
            };
            let data: Vec<(Span, (f64, f64))> = self.train.draws.iter().filter_map(alike).collect();
            let beyond = |r: &(f64, f64)| r.0 < lo - 1e-9 || r.1 > hi + 1e-9;
            let Some(&(span, (from, to))) = data.first().filter(|_| data.iter().all(|d| beyond(&d.1))) else {
                continue;
            };
            let name = &network.name.name;
            let shown = if hi.is_finite() { format!("{lo} to {hi}") } else { format!("{lo} and more") };
            let mut d = Diagnostic::warning("W0456", format!("`{name}` cannot give all values of its data"))
                .at(last.name.span, format!("gives {shown}"))
                .label(span, format!("the data has {from} to {to}"))
                .note("the judge tells fakes by the values that they never have");
            if (from, to) == (-1.0, 1.0) {
                d = d.help("end with `tanh`, or scale the data by `|> scale(0, 1)`");
            } else if hi.is_finite() {
                d = d.help(format!("scale the data by `|> scale({lo}, {hi})`, or change the last layer"));
            }
            self.report(d);
        }
    }

    /// Parameters of trained networks that no player's objective reaches, though it reaches others of the network.
    pub fn unreached_parameters(&mut self) {
        for (i, span) in self.updated.clone() {
            let all = &self.nets[i].params;
            // A bias that cancels, as the last one of a Wasserstein critic does, is no mistake.
            let bias = |n: &Name| self.decl(n).is_some_and(|d| matches!(d.role, ParamRole::Bias { .. }));
            let left: Vec<&Name> = all.iter().filter(|p| !self.reached.contains(*p) && !bias(p)).collect();
            // A network of which nothing is reached was named before.
            let Some(first) = left.first().filter(|_| all.iter().any(|p| self.reached.contains(p))) else {
                continue;
            };
            let name = self.model.networks[i].name.name.clone();
            let more = if left.len() == 1 { String::new() } else { format!(" and {} more", left.len() - 1) };
            let d = Diagnostic::warning("W0457", format!("no objective reaches `{first}`{more}"))
                .at(span, format!("this player updates `{name}`, but these stay as they start"))
                .help("use what the layer gives in an objective, or leave the layer out");
            self.report(d);
        }
    }
}
