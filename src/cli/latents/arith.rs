//! `ganc arith`: vector arithmetic on latents (Radford et al. 2016, section 6.3.2: man with glasses - man + woman).
//!
//! One sample is too noisy a concept; the paper averages the latents of three. The picture shows the samples that
//! each operand averages, its mean, and the result with neighbours, which differ by uniform noise: if they are alike,
//! the result is no accident.

use super::formula::{self, Term};
use super::select::{Judge, Stop};
use super::sheet::{self, Sheet};
use super::{Latent, Part, combine, pack, pictures, some, with_labels, write};
use crate::cli::opened::Opened;
use crate::cli::{DeviceArgs, Failure, compile, device};
use crate::diag::Diagnostic;
use crate::exec::Executor;
use crate::graph::{HostTensor, Type, philox};
use crate::layers::{Init, ParamRole, init};
use crate::report::labelled::Strip;
use crate::source::SourceMap;
use crate::train::key;
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub(in crate::cli) struct ArithArgs {
    /// The run folder
    run: PathBuf,
    /// Expressions of samples of its contact sheet, such as "avg(3, 14, 27) - avg(5, 9) + avg(glasses=yes)"
    #[arg(required = true)]
    expressions: Vec<String>,
    /// The picture to write
    #[arg(short, long, default_value = "arith.png")]
    output: PathBuf,
    /// The contact sheet whose numbers are meant (default: RUN/sheet.png)
    #[arg(long)]
    sheet: Option<PathBuf>,
    /// Use this label instead of those of the samples: --with label=3
    #[arg(long, value_name = "NAME=VALUE")]
    with: Vec<String>,
    /// Neighbours of a result that are drawn
    #[arg(long, default_value_t = 8)]
    neighbours: usize,
    /// Neighbours differ by uniform noise from -NOISE to NOISE
    #[arg(long, default_value_t = 0.25)]
    noise: f64,
    /// Seed of that noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Samples of an operand that are drawn; the mean is over all.
const SHOWN: usize = 8;
/// Most neighbours.
const MOST_NEIGHBOURS: usize = 256;
/// Most expressions of one picture.
const MOST_EXPRESSIONS: usize = 64;

/// An operand with the samples that it means.
struct Group {
    factor: f64,
    title: String,
    members: Vec<usize>,
    mean: Latent,
}

pub(in crate::cli) fn arith(args: &ArithArgs) -> Result<(), Failure> {
    if args.neighbours > MOST_NEIGHBOURS {
        return Err(Failure::Message(format!("--neighbours {}: at most {MOST_NEIGHBOURS}", args.neighbours)));
    }
    if !args.noise.is_finite() || args.noise < 0.0 {
        return Err(Failure::Message(format!("--noise {}: a number that is not negative", args.noise)));
    }
    if args.expressions.len() > MOST_EXPRESSIONS {
        return Err(Failure::Message(format!("at most {MOST_EXPRESSIONS} expressions fit one picture")));
    }
    let mut sources = SourceMap::default();
    let mut parsed = Vec::new();
    for text in &args.expressions {
        let file = sources.add("expression", text.as_str());
        parsed.push(formula::parse(file, text).map_err(|d| compile::refused(&sources, &d.into()))?);
    }
    let run = Opened::open(&args.run)?;
    let mut sheet = sheet::read(&run, args.sheet.as_deref())?;
    with_labels(&mut sheet.inputs, &args.with)?;
    let mut exec = device::executor(&args.device, false)?;
    run.restore(&mut exec)?;
    let mut judge = Judge::new(&run, &sheet);
    let mut strips = Vec::new();
    for (text, terms) in args.expressions.iter().zip(&parsed) {
        let groups = groups(&mut judge, &mut exec, &sheet, &sources, terms)?;
        strips.extend(drawn(args, &run, &mut exec, &sheet, text, &groups)?);
    }
    write(&strips, SHOWN + 2, run.range(), &args.output)
}

fn groups<E: Executor>(
    judge: &mut Judge<'_>,
    exec: &mut E,
    sheet: &Sheet,
    sources: &SourceMap,
    terms: &[Term],
) -> Result<Vec<Group>, Failure> {
    let mut groups = Vec::new();
    for t in terms {
        let members = match judge.samples(exec, t) {
            Ok(members) => members,
            Err(Stop::Said(d)) => return Err(compile::refused(sources, &d.into())),
            Err(Stop::Failed(f)) => return Err(f),
        };
        let share = 1.0 / members.len() as f64;
        let latents: Vec<(f64, Latent)> = members.iter().filter_map(|&m| Some((share, sheet.latent(m)?))).collect();
        let mean = combine(&latents).map_err(|i| {
            let d = labels_differ(sheet, i).at(t.span, "samples of this average have different labels");
            compile::refused(sources, &d.into())
        })?;
        groups.push(Group { factor: t.factor, title: sources.text(t.span).to_string(), members, mean });
    }
    let all: Vec<(f64, Latent)> = groups.iter().map(|g| (g.factor, g.mean.clone())).collect();
    if let (Err(i), [first, .., last]) = (combine(&all), terms) {
        let d = labels_differ(sheet, i).at(first.span.to(last.span), "operands have different labels");
        return Err(compile::refused(sources, &d.into()));
    }
    Ok(groups)
}

fn labels_differ(sheet: &Sheet, input: usize) -> Diagnostic {
    let name = sheet.inputs.get(input).map_or("label", |i| i.name.as_str());
    Diagnostic::error("E0561", format!("labels do not add up: `{name}` differs"))
        .help(format!("say which label all samples are to have: --with {name}=0"))
}

/// `latent` and `count` latents around it.
fn around(latent: &Latent, count: usize, noise: f64, seed: u64) -> Vec<Latent> {
    let mut all = vec![latent.clone(); count + 1];
    for (i, part) in latent.parts.iter().enumerate() {
        let Part::Real(v) = part else { continue };
        let ty = Type::f32([count, v.len()]);
        let stream = philox::stream(&format!("neighbours:{i}"));
        let around = Init::Uniform { lo: -noise, hi: noise };
        let offsets = init::materialise(around, ParamRole::Plain, &ty, key(seed), stream).to_f64();
        for (n, offset) in all.iter_mut().skip(1).zip(offsets.chunks(v.len().max(1))) {
            n.parts[i] = Part::Real(v.iter().zip(offset).map(|(x, o)| x + o).collect());
        }
    }
    all
}

/// Strips of one expression: its operands, then the result.
fn drawn<E: Executor>(
    args: &ArithArgs,
    run: &Opened,
    exec: &mut E,
    sheet: &Sheet,
    text: &str,
    groups: &[Group],
) -> Result<Vec<Strip>, Failure> {
    let terms: Vec<(f64, Latent)> = groups.iter().map(|g| (g.factor, g.mean.clone())).collect();
    let result = combine(&terms).map_err(|_| "labels of the operands differ".to_string())?;
    let mut latents = Vec::new();
    for g in groups {
        latents.extend(g.members.iter().take(SHOWN).filter_map(|&m| sheet.latent(m)));
        latents.push(g.mean.clone());
    }
    latents.extend(around(&result, args.neighbours, args.noise, args.seed));
    let all = pictures(run, exec, &sheet.network, &pack(&sheet.inputs, &latents))?;
    let mut strips = Vec::new();
    let mut at = 0;
    let mut take = |n: usize| -> HostTensor {
        at += n;
        some(&all, at - n..at)
    };
    for g in groups {
        let shown = g.members.len().min(SHOWN);
        let sign = if g.factor < 0.0 { '-' } else { '+' };
        let times = if g.factor.abs() == 1.0 { String::new() } else { format!("{} * ", g.factor.abs()) };
        let of = match g.members.len() {
            1 => String::new(),
            n if n > shown => format!(", {n} samples, the first {shown} of them"),
            n => format!(", {n} samples"),
        };
        let mut captions: Vec<String> = g.members.iter().take(shown).map(usize::to_string).collect();
        // The mean of one sample is that sample.
        let mean = usize::from(g.members.len() > 1);
        captions.extend((0..mean).map(|_| "mean".to_string()));
        let pictures = take(shown + 1);
        strips.push(Strip {
            title: format!("{sign} {times}{}{of}", g.title),
            pictures: some(&pictures, 0..shown + mean),
            captions,
        });
    }
    let mut captions = vec!["result".to_string()];
    captions.extend((0..args.neighbours).map(|_| "near".to_string()));
    strips.push(Strip { title: format!("= {}", plain(text)), pictures: take(args.neighbours + 1), captions });
    Ok(strips)
}

/// A text in the letters of the picture's font.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c == '\u{2212}' { '-' } else { c }).collect()
}
