//! Products whose tiles lie inside their operands, as CUDA text: no bounds, and places of the sum in two parts.

use crate::cuda::text::parts;
use crate::cuda_contract::{Case, Role, check_modules, conv, geometry, in_tf32, matmul};
use ganc::codegen::cuda::contract::tiles::{Choice, choices};
use ganc::codegen::cuda::contract::tuning::Tuning;
use ganc::codegen::cuda::{Arch, Module};
use ganc::graph::{DType, Layout};

/// A case by every third of the tiles that are whole in some way, from the `first` on; every second of these in parts,
/// where there are any.
fn modules(case: &Case, arch: Arch, first: usize) -> Vec<Module> {
    let shape = case.module(arch).products[0].shape;
    let size = shape.size;
    let mut ways: Vec<Vec<Choice>> = vec![];
    for (choice, _) in choices(shape.math, arch, size, true, shape.access) {
        let tile = choice.tile;
        match ways.iter_mut().find(|w| w[0].tile == tile) {
            Some(w) => w.push(choice),
            None if [size.m % tile.m, size.n % tile.n, size.k % tile.k].contains(&0) => ways.push(vec![choice]),
            None => {}
        }
    }
    let one = |(i, ways): (usize, &Vec<Choice>)| {
        let parts = ways.iter().rfind(|c| c.parts > 1);
        let choice = parts.filter(|_| i % 2 > 0).or(ways.first())?;
        let mut tuning = Tuning::default();
        tuning.set(&shape, choice);
        Some(case.tuned(arch, &tuning))
    };
    ways.iter().skip(first % 3).step_by(3).enumerate().filter_map(one).collect()
}

/// Steps of the sum that are rows of a picture, several of them, and parts of one.
#[test]
fn whole_tiles_are_right() {
    let last = Layout::ChannelsLast;
    let geoms = [
        geometry([8, 32, 64, 1], &[[4, 3, 1, 1, 1], [4, 3, 1, 1, 1]], last),
        geometry([2, 64, 32, 1], &[[16, 4, 2, 1, 1], [32, 4, 2, 1, 1]], last),
        geometry([2, 16, 64, 1], &[[2, 1, 1, 0, 1], [64, 3, 1, 1, 1]], last),
        geometry([4, 16, 16, 1], &[[6, 3, 1, 1, 1], [8, 3, 1, 1, 1]], last),
    ];
    let roles = [Role::Forward, Role::DataGrad, Role::WeightGrad];
    let (mut apart, mut one) = (0, 0);
    let ways = [
        (DType::F32, false, Arch::Sm80),
        (DType::F32, true, Arch::Sm80),
        (DType::F32, true, Arch::Sm90a),
        (DType::Bf16, false, Arch::Sm90a),
    ];
    for (i, (dtype, tf32, arch)) in ways.into_iter().enumerate() {
        let mut cases: Vec<Case> = geoms.iter().flat_map(|g| roles.map(|role| conv(dtype, g, role))).collect();
        cases.push(matmul(dtype, [256, 128, 64], [true, false]));
        if tf32 {
            cases = cases.iter().map(in_tf32).collect();
        }
        let made: Vec<Vec<Module>> = cases.iter().enumerate().map(|(k, c)| modules(c, arch, i + k)).collect();
        assert!(made.iter().all(|m| m.len() >= 2), "{:?}", made.iter().map(Vec::len).collect::<Vec<_>>());
        let all: Vec<(&Case, &Module)> =
            cases.iter().zip(&made).flat_map(|(c, made)| made.iter().map(move |m| (c, m))).collect();
        let with = |words: &str| all.iter().filter(|(_, m)| parts(m).1.iter().any(|k| k.1.contains(words))).count();
        apart += with("x.f0 + y.f0");
        one += with("return sum(step + n);");
        assert!(all.iter().all(|(_, m)| m.text.contains("r.in = true;")));
        check_modules(&all);
    }
    assert!(apart >= 10 && one >= 10, "{apart} with places in two parts, {one} without");
}
