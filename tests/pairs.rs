//! Every trick with every loss of the prelude, and with every trick: either it trains, or it is refused with a reason.
//! The tables are snapshots.

use crate::support::{Steps, repo};
use ganc::build::program::Compiled;
use ganc::data::{Dataset, Schema};
use ganc::diag::{Diagnostics, Severity};
use ganc::layers::{Class, table};
use ganc::model::{self, Options, PAIRS, PRELUDE};
use ganc::source::{FileId, SourceMap};
use ganc::syntax::ast::ItemKind;
use std::fmt::Write;
use std::sync::Arc;

const STEPS: u64 = 20;
/// Iterations of each pair of tricks.
const FEW: u64 = 6;

/// Networks with what tricks look for: batch norms on both sides, a tap, pictures.
const SPEC: &str = "
data digits = idx(\"digits8x8-images.gz\", labels: \"digits8x8-labels.gz\") |> scale(-1, 1)
generator G(z: [2]) -> [1, 8, 8] { linear(6); batch_norm; relu; linear(64); tanh; reshape(1, 8, 8) }
discriminator D(x: [1, 8, 8]) -> [1] {
    conv(3, kernel: 4, stride: 4)
    batch_norm
    leaky_relu
    flatten
    tap features
    linear(1)
}
train {
    batch 6
    steps 20
    seed 3
    draw z: [2] ~ normal
    draw real ~ digits.image
    player D { using adam(lr: 1e-3) }
    player G { using adam(lr: 1e-3) }
    every 10 steps { evaluate size = mean(G(z) ^ 2) }
";

/// A value for a required argument, by its name.
fn value(trick: &str, param: &str) -> &'static str {
    match param {
        "p" | "sigma" | "c" => "0.1",
        "m" | "n" | "keep" | "every" | "steps" => "2",
        "capacity" => "12",
        "stats" => "joint",
        "net" => "G",
        "weight" => "0.01",
        "tap" => "features",
        "fraction" => "0.5",
        "generator" | "discriminator" => "1e-3",
        _ => panic!("say here what `{param}` of the trick `{trick}` may be"),
    }
}

/// The line of a trick with all that it needs.
fn line(trick: &str) -> String {
    let sig = table::lookup(Class::Trick, trick).unwrap_or_else(|| panic!("no table row for {trick}"));
    let needed = sig.params.iter().filter(|p| p.default.is_none());
    let args: Vec<String> = needed.map(|p| format!("{}: {}", p.name, value(trick, p.name))).collect();
    if args.is_empty() { format!("trick {trick}") } else { format!("trick {trick}({})", args.join(", ")) }
}

fn losses() -> Vec<String> {
    let prelude = ganc::syntax::parse(FileId(0), PRELUDE).expect("the prelude parses");
    let own = prelude.items.into_iter().filter_map(|i| match i.kind {
        ItemKind::Loss(l) => Some(l.name.name),
        _ => None,
    });
    own.chain(PAIRS.iter().map(|p| p.name.to_string())).collect()
}

fn compile(text: &str, schema: &Schema) -> Result<Compiled, Diagnostics> {
    let mut sources = SourceMap::default();
    let path = repo("tests/train/pair.gan");
    let model = model::load(&path, &mut sources, &|_| Ok(text.to_string()), &Options::default())?;
    let core = ganc::tricks::expand(&model)?;
    Ok(ganc::build::build(&core, &sources, &|_| Ok(schema.clone()))?.0)
}

/// A spec without sugar, or the code of its first error.
fn expanded(text: &str) -> Result<String, &'static str> {
    let mut sources = SourceMap::default();
    let path = repo("tests/train/pair.gan");
    let model = model::load(&path, &mut sources, &|_| Ok(text.to_string()), &Options::default());
    let core = model.and_then(|m| ganc::tricks::expand(&m));
    core.map(|c| ganc::syntax::print(&c.to_file())).map_err(|d| d.items().first().map_or("", |d| d.code))
}

fn outcome(text: &str, schema: &Schema, data: &Arc<Dataset>, steps: u64) -> String {
    let compiled = match compile(text, schema) {
        Ok(c) => c,
        Err(d) => {
            let first = d.items().iter().find(|d| d.severity == Severity::Error).expect("an error");
            assert!(first.help.is_some() || first.labels.len() > 1, "{text}\nrefused without a reason: {first:?}");
            return format!("{}: {}", first.code, first.title);
        }
    };
    let mut run = Steps::new(&compiled, compiled.data.iter().map(|_| data.clone()).collect());
    for _ in 0..steps {
        for (name, loss) in run.step() {
            assert!(loss.is_finite(), "{text}\n{name} is {loss}");
        }
    }
    for (name, t) in run.tensors() {
        assert!(t.to_f64().iter().all(|v| v.is_finite()), "{text}\n{name}");
    }
    "trains".to_string()
}

#[test]
fn every_trick_with_every_loss() {
    let first = compile_first();
    let (schema, data) = (ganc::data::schema(&first).expect("a schema"), ganc::data::open(&first).expect("data"));
    let data = Arc::new(data);
    let mut out = String::new();
    for trick in &ganc::tricks::TRICKS {
        writeln!(out, "{}", line(trick.name)).expect("write");
        for loss in losses() {
            let text = format!("{SPEC}    loss {loss}\n    {}\n}}\n", line(trick.name));
            writeln!(out, "    {loss:<22}{}", outcome(&text, &schema, &data, STEPS)).expect("write");
        }
    }
    insta::assert_snapshot!(out);
}

/// Each pair of tricks; which of the two comes first in the text decides nothing.
#[test]
fn every_trick_with_every_trick() {
    let first = compile_first();
    let (schema, data) = (ganc::data::schema(&first).expect("a schema"), ganc::data::open(&first).expect("data"));
    let data = Arc::new(data);
    let mut out = String::new();
    let tricks = &ganc::tricks::TRICKS;
    for (i, one) in tricks.iter().enumerate() {
        writeln!(out, "{}", line(one.name)).expect("write");
        for (j, other) in tricks.iter().enumerate().skip(i) {
            let with =
                |a: &str, b: &str| format!("{SPEC}    loss non_saturating\n    {}\n    {}\n}}\n", line(a), line(b));
            let (text, turned) = (with(one.name, other.name), with(other.name, one.name));
            let said = outcome(&text, &schema, &data, FEW);
            writeln!(out, "    {:<28}{said}", other.name).expect("write");
            if i != j {
                assert_eq!(expanded(&text), expanded(&turned), "{} and {}", one.name, other.name);
            }
        }
    }
    insta::assert_snapshot!(out);
}

fn compile_first() -> ganc::data::Pipeline {
    let path = repo("tests/train/pair.gan");
    let text = format!("{SPEC}    loss hinge\n}}\n");
    crate::support::compile_as(&path, &text).unwrap_or_else(|e| panic!("{e}")).data.remove(0)
}
