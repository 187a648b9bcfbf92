//! Which samples an operand means: by number, or by what a label or a classifier of the spec says.

use super::formula::{Condition, Operand, Term};
use super::pictures;
use super::sheet::Sheet;
use crate::cli::Failure;
use crate::cli::opened::{Input, Opened};
use crate::data;
use crate::diag::Diagnostic;
use crate::diag::names::suggest;
use crate::exec::Executor;
use crate::graph::{HostData, HostTensor};
use crate::layers::Kind;
use std::collections::BTreeMap;

/// Says what the samples of a sheet are.
pub(super) struct Judge<'a> {
    run: &'a Opened,
    sheet: &'a Sheet,
    /// Pictures of all samples, drawn at first need.
    pictures: Option<HostTensor>,
    known: BTreeMap<String, Labels>,
}

/// The class of each sample.
#[derive(Clone)]
struct Labels {
    classes: usize,
    of: Vec<u32>,
}

/// What stops a selection.
pub(super) enum Stop {
    /// Something about the expression.
    Said(Diagnostic),
    /// Anything else.
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(f: Failure) -> Self {
        Stop::Failed(f)
    }
}

impl<'a> Judge<'a> {
    pub(super) fn new(run: &'a Opened, sheet: &'a Sheet) -> Self {
        Self { run, sheet, pictures: None, known: BTreeMap::new() }
    }

    /// Numbers of the samples that a term means; at least one.
    ///
    /// # Errors
    /// E0561: a number that the sheet does not have, a judgement that nothing makes or that holds of no sample.
    pub(super) fn samples<E: Executor>(&mut self, exec: &mut E, term: &Term) -> Result<Vec<usize>, Stop> {
        match &term.operand {
            Operand::Numbers(numbers) => {
                if let Some((n, span)) = numbers.iter().find(|n| n.0 >= self.sheet.count) {
                    return Err(Stop::Said(
                        Diagnostic::error("E0561", format!("the sheet has no sample {n}"))
                            .at(*span, format!("its numbers go from 0 to {}", self.sheet.count - 1))
                            .help("`ganc sample RUN --sheet -n N` makes a larger sheet; the same seed begins with the same samples"),
                    ));
                }
                Ok(numbers.iter().map(|n| n.0).collect())
            }
            Operand::Judged(conditions) => {
                let mut kept: Vec<usize> = (0..self.sheet.count).collect();
                for c in conditions {
                    let labels = self.labels(exec, c)?;
                    let class = self.class(c, labels.classes)?;
                    kept.retain(|&i| labels.of[i] == class);
                }
                if kept.is_empty() {
                    return Err(Stop::Said(
                        Diagnostic::error("E0561", "no sample of the sheet is judged so")
                            .at(term.span, format!("none of its {} samples", self.sheet.count))
                            .help("`ganc sample RUN --sheet -n N` makes a larger sheet"),
                    ));
                }
                Ok(kept)
            }
        }
    }

    /// The class that a condition names.
    fn class(&self, c: &Condition, classes: usize) -> Result<u32, Stop> {
        let named = || {
            let field = |p: &data::Pipeline| {
                let set = data::open(p).ok()?;
                let (i, _) = set.schema().field(&c.name)?;
                set.class_names(i).map(<[String]>::to_vec)
            };
            self.run.compiled.data.iter().find_map(field).unwrap_or_default()
        };
        let found = match c.value.as_str() {
            "yes" if classes == 2 => Some(1),
            "no" if classes == 2 => Some(0),
            v => v.parse::<usize>().ok().or_else(|| named().iter().position(|n| n == v)),
        };
        match found.filter(|f| *f < classes) {
            Some(f) => Ok(f as u32),
            None => {
                let words = if classes == 2 { ", `yes` or `no`" } else { "" };
                let names = named();
                let known =
                    if names.is_empty() { String::new() } else { format!("; its names are {}", names.join(", ")) };
                Err(Stop::Said(
                    Diagnostic::error("E0561", format!("`{}` is no class of `{}`", c.value, c.name))
                        .at(c.span, format!("a class from 0 to {}{words}{known}", classes - 1)),
                ))
            }
        }
    }

    fn labels<E: Executor>(&mut self, exec: &mut E, c: &Condition) -> Result<Labels, Stop> {
        if let Some(known) = self.known.get(&c.name) {
            return Ok(known.clone());
        }
        let labels = match self.sheet.inputs.iter().find(|i| i.name == c.name) {
            Some(Input { kind: Kind::Class(k), values: HostTensor { data: HostData::U32(v), .. }, .. }) => {
                Labels { classes: *k, of: v.clone() }
            }
            Some(input) => {
                let shape: Vec<String> = input.values.shape[1..].iter().map(usize::to_string).collect();
                return Err(Stop::Said(
                    Diagnostic::error(
                        "E0561",
                        format!("input `{}` of `{}` is no label", c.name, self.sheet.network),
                    )
                    .at(c.span, format!("it is a real [{}]", shape.join(", "))),
                ));
            }
            None => self.classified(exec, c)?,
        };
        self.known.insert(c.name.clone(), labels.clone());
        Ok(labels)
    }

    /// What a classifier of the spec says: a network that takes what the generator gives, with an output of this name
    /// (or this name itself), two and more logits or one.
    fn classified<E: Executor>(&mut self, exec: &mut E, c: &Condition) -> Result<Labels, Stop> {
        let made = self.run.info(&self.sheet.network)?.outputs.first().map(|o| o.1.clone()).unwrap_or_default();
        let mut names: Vec<String> =
            self.sheet.inputs.iter().filter(|i| matches!(i.kind, Kind::Class(_))).map(|i| i.name.clone()).collect();
        let mut found = None;
        for net in &self.run.compiled.networks {
            let takes = net.inputs.len() == 1 && net.inputs[0].1 == Kind::Real && net.inputs[0].2 == made;
            if !takes || net.name == self.sheet.network {
                continue;
            }
            for (name, shape) in &net.outputs {
                let called = if name.is_empty() { &net.name } else { name };
                if shape.len() == 1 && *called == c.name {
                    found = Some((net, name.clone(), shape[0]));
                }
                names.push(called.clone());
            }
        }
        let Some((net, output, logits)) = found else {
            let near = suggest(&c.name, names.iter().map(String::as_str));
            let help = match (near, &names[..]) {
                (Some(n), _) => format!("did you mean `{n}`?"),
                (None, []) => format!(
                    "name samples by number, or train a network in the spec that takes what `{}` gives and has an \
                     output `{}: [2]`",
                    self.sheet.network, c.name
                ),
                (None, all) => format!("judgements are made of {}", all.join(", ")),
            };
            return Err(Stop::Said(
                Diagnostic::error("E0561", format!("nothing in this spec tells `{}`", c.name))
                    .at(c.span, format!("no label of `{}` and no output of a classifier", self.sheet.network))
                    .help(help),
            ));
        };
        if self.pictures.is_none() {
            self.pictures = Some(pictures(self.run, exec, &self.sheet.network, &self.sheet.inputs)?);
        }
        let values = self.pictures.clone().unwrap_or_else(|| HostTensor::f32([0], vec![]));
        let (name, kind, _) = &net.inputs[0];
        let outputs = self.run.apply(exec, &net.name, &[Input { name: name.clone(), kind: *kind, values }])?;
        let wanted = if output.is_empty() { "out" } else { output.as_str() };
        let logit = outputs.iter().find(|o| *o.0 == *wanted).and_then(|o| o.1.as_f32());
        let logit = logit.ok_or_else(|| Failure::Message(format!("`{}` gives no reals", net.name)))?;
        let best = |row: &[f32]| match row {
            [one] => u32::from(*one > 0.0),
            row => (0..row.len()).fold(0, |b, i| if row[i] > row[b] { i } else { b }) as u32,
        };
        let classes = logits.max(2);
        Ok(Labels { classes, of: logit.chunks_exact(logits.max(1)).map(best).collect() })
    }
}
