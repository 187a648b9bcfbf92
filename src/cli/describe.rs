//! `ganc describe`: the networks as the tables of a paper.

use super::{Failure, SpecArgs, compile};
use crate::build::program::{Compiled, NetworkInfo};
use crate::layers::Kind;
use std::fmt::Write;

pub(super) fn describe(args: &SpecArgs) -> Result<(), Failure> {
    let front = compile::front(args)?;
    let compiled = compile::graphs(&front)?;
    super::print(&text(&compiled));
    Ok(())
}

/// A shape as it is written in a spec.
pub(super) fn shape(s: &[usize]) -> String {
    let parts: Vec<String> = s.iter().map(usize::to_string).collect();
    format!("[{}]", parts.join(", "))
}

/// 12_345_678
pub(super) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('_');
        }
        out.push(c);
    }
    out
}

fn table(rows: &[[String; 4]]) -> String {
    let width = |c: usize| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0);
    let (a, b, c, d) = (width(0), width(1), width(2), width(3));
    let mut out = String::new();
    for (i, r) in rows.iter().enumerate() {
        let line = format!("  {:a$}  {:b$}  {:>c$}  {:>d$}", r[0], r[1], r[2], r[3]);
        let _ = writeln!(out, "{}", line.trim_end());
        if i == 0 {
            let _ = writeln!(out, "  {}", "-".repeat(a + b + c + d + 6));
        }
    }
    out
}

/// All networks of a spec.
pub(super) fn text(compiled: &Compiled) -> String {
    let mut out = String::new();
    for (i, net) in compiled.networks.iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        out.push_str(&network(net));
    }
    out
}

fn network(net: &NetworkInfo) -> String {
    let role = match net.role {
        crate::syntax::ast::Role::Generator => "generator",
        crate::syntax::ast::Role::Discriminator => "discriminator",
        crate::syntax::ast::Role::Network => "network",
    };
    let inputs: Vec<String> = net
        .inputs
        .iter()
        .map(|(name, kind, s)| match kind {
            Kind::Class(k) => format!("{name}: class({k})"),
            Kind::Real | Kind::Bool => format!("{name}: {}", shape(s)),
        })
        .collect();
    let outputs: Vec<String> = net
        .outputs
        .iter()
        .map(|(name, s)| if name.is_empty() { shape(s) } else { format!("{name}: {}", shape(s)) })
        .collect();
    let result = if outputs.len() == 1 && !outputs[0].contains(':') {
        outputs[0].clone()
    } else {
        format!("({})", outputs.join(", "))
    };
    let mut out = format!("{role} {}({}) -> {result}\n", net.name, inputs.join(", "));
    let mut rows = vec![["layer", "output", "parameters", "FLOPs a sample"].map(String::from)];
    let (mut params, mut flops) = (0, 0);
    for l in &net.layers {
        params += l.params as u64;
        flops += l.flops;
        let number = |n: u64| if n == 0 { String::new() } else { thousands(n) };
        rows.push([l.text.clone(), shape(&l.shape), number(l.params as u64), number(l.flops)]);
    }
    rows.push(["total".into(), String::new(), thousands(params), thousands(flops)]);
    out.push_str(&table(&rows));
    out
}
