//! What a generator's inputs say: contact sheets with numbers, arithmetic on them, ways between them.

pub(super) mod arith;
mod formula;
pub(super) mod interp;
mod select;
pub(super) mod sheet;
#[cfg(test)]
mod tests;

use super::Failure;
use super::opened::{Input, Opened};
use crate::exec::Executor;
use crate::graph::{HostData, HostTensor};
use crate::layers::Kind;
use crate::report::{labelled, save_png};
use std::path::Path;

/// What a network takes for one sample: a part for each of its inputs.
#[derive(Clone, Debug, PartialEq)]
struct Latent {
    parts: Vec<Part>,
}

/// One input's value.
#[derive(Clone, Debug, PartialEq)]
enum Part {
    Real(Vec<f64>),
    Class(u32),
}

/// The latent of sample `i`, which must be there.
fn latent(inputs: &[Input], i: usize) -> Latent {
    let part = |input: &Input| match &input.values.data {
        HostData::U32(v) => Part::Class(v[i]),
        HostData::F32(v) => {
            let width: usize = input.values.shape[1..].iter().product();
            Part::Real(v[i * width..(i + 1) * width].iter().map(|x| f64::from(*x)).collect())
        }
        HostData::Bool(v) => Part::Class(u32::from(v[i])),
    };
    Latent { parts: inputs.iter().map(part).collect() }
}

/// Inputs like those of `like`, of these latents.
fn pack(like: &[Input], latents: &[Latent]) -> Vec<Input> {
    let one = |(i, input): (usize, &Input)| {
        let mut shape = input.values.shape.clone();
        shape[0] = latents.len();
        let reals = latents.iter().flat_map(|l| match &l.parts[i] {
            Part::Real(v) => v.iter().map(|x| *x as f32).collect(),
            Part::Class(_) => Vec::new(),
        });
        let classes = latents.iter().filter_map(|l| match l.parts[i] {
            Part::Class(c) => Some(c),
            Part::Real(_) => None,
        });
        let values = match input.kind {
            Kind::Real => HostTensor::f32(shape, reals.collect::<Vec<f32>>()),
            Kind::Class(_) | Kind::Bool => HostTensor::u32(shape, classes.collect::<Vec<u32>>()),
        };
        Input { values, ..input.clone() }
    };
    like.iter().enumerate().map(one).collect()
}

/// The sum of latents times factors. Labels do not add up: all must be alike.
///
/// # Errors
/// The index of an input whose labels differ.
fn combine(terms: &[(f64, Latent)]) -> Result<Latent, usize> {
    let Some((_, first)) = terms.first() else { return Ok(Latent { parts: Vec::new() }) };
    let mut parts = Vec::new();
    for (i, part) in first.parts.iter().enumerate() {
        parts.push(match part {
            Part::Class(c) => {
                if terms.iter().any(|t| t.1.parts[i] != Part::Class(*c)) {
                    return Err(i);
                }
                Part::Class(*c)
            }
            Part::Real(v) => {
                let mut sum = vec![0.0; v.len()];
                for (factor, l) in terms {
                    if let Part::Real(v) = &l.parts[i] {
                        sum.iter_mut().zip(v).for_each(|(s, x)| *s += factor * x);
                    }
                }
                Part::Real(sum)
            }
        });
    }
    Ok(Latent { parts })
}

/// `--with label=3`: labels in place of those that the sheet has.
fn with_labels(inputs: &mut [Input], with: &[String]) -> Result<(), Failure> {
    for (name, value) in super::compile::pairs_of("--with", with)? {
        let names: Vec<&str> = inputs.iter().map(|i| i.name.as_str()).collect();
        let Some(at) = inputs.iter().position(|i| i.name == name) else {
            return Err(Failure::Message(format!("--with {name}: the network takes {}", names.join(", "))));
        };
        let Kind::Class(k) = inputs[at].kind else {
            return Err(Failure::Message(format!("--with {name}: this input is no label")));
        };
        match value.parse::<u32>() {
            Ok(c) if (c as usize) < k => {
                let n = inputs[at].values.shape[0];
                inputs[at].values = HostTensor::u32(vec![n], vec![c; n]);
            }
            _ => {
                return Err(Failure::Message(format!("--with {name}={value}: a whole number from 0 to {}", k - 1)));
            }
        }
    }
    Ok(())
}

/// First results of a network for latents, as pictures.
fn pictures<E: Executor>(
    run: &Opened,
    exec: &mut E,
    network: &str,
    inputs: &[Input],
) -> Result<HostTensor, Failure> {
    let outputs = run.apply(exec, network, inputs)?;
    let first = outputs.into_iter().next().map(|o| o.1);
    pictured(network, first.ok_or_else(|| format!("`{network}` gives nothing to draw"))?)
}

/// Refuses what no picture shows.
fn pictured(network: &str, t: HostTensor) -> Result<HostTensor, Failure> {
    if t.as_f32().is_none() || t.shape.len() < 2 || t.shape[1..] == [2] || t.shape[1..] == [1] {
        let shape: Vec<String> = t.shape.iter().skip(1).map(usize::to_string).collect();
        return Err(Failure::Message(format!(
            "`{network}` gives [{}], which is no picture; `ganc sample` draws points and writes arrays (--npy)",
            shape.join(", ")
        )));
    }
    Ok(t)
}

/// Draws strips into a file and says so.
fn write(strips: &[labelled::Strip], columns: usize, range: (f64, f64), path: &Path) -> Result<(), Failure> {
    let text = |e: &dyn std::fmt::Display| Failure::Message(e.to_string());
    let picture = labelled::strips(strips, columns, range).map_err(|e| text(&e))?;
    save_png(&picture, path).map_err(|e| text(&e))?;
    super::print(&format!("wrote {}\n", path.display()));
    Ok(())
}

/// Some rows of a batch of pictures.
fn some(t: &HostTensor, range: std::ops::Range<usize>) -> HostTensor {
    let width: usize = t.shape[1..].iter().product();
    let mut shape = t.shape.clone();
    shape[0] = range.len();
    let values = t.as_f32().map(|v| v[range.start * width..range.end * width].to_vec());
    HostTensor::f32(shape, values.unwrap_or_else(|| vec![0.0; range.len() * width]))
}
