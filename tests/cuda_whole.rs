//! Products whose tiles lie inside their operands, as CUDA text: no bounds, and places of the sum in two parts.

use crate::cuda_contract::{Case, Role, check_modules, conv, geometry, in_tf32, matmul};
use ganc::codegen::cuda::contract::tiles::{Tile, choices};
use ganc::codegen::cuda::contract::tuning::Tuning;
use ganc::codegen::cuda::{Arch, Module};
use ganc::graph::{DType, Layout};

/// A case by every tile that is whole in some way, in one part or the most.
fn modules(case: &Case, arch: Arch) -> Vec<Module> {
    let shape = case.module(arch).products[0].shape;
    let mut seen: Vec<Tile> = vec![];
    let mut all = vec![];
    for (choice, _) in choices(shape.math, arch, shape.size, true, shape.access) {
        let (tile, size) = (choice.tile, shape.size);
        let whole = [size.m % tile.m, size.n % tile.n, size.k % tile.k].contains(&0);
        if !whole || seen.contains(&tile) || seen.len().is_multiple_of(2) != (choice.parts == 1) {
            continue;
        }
        seen.push(tile);
        let mut tuning = Tuning::default();
        tuning.set(&shape, &choice);
        all.push(case.tuned(arch, &tuning));
    }
    all
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
        let half = geoms.iter().skip(i % 2).step_by(2);
        let mut cases: Vec<Case> = half.flat_map(|g| roles.map(|role| conv(dtype, g, role))).collect();
        cases.push(matmul(dtype, [256, 128, 64], [true, false]));
        if tf32 {
            cases = cases.iter().map(in_tf32).collect();
        }
        let made: Vec<Vec<Module>> = cases.iter().map(|c| modules(c, arch)).collect();
        let all: Vec<(&Case, &Module)> =
            cases.iter().zip(&made).flat_map(|(c, made)| made.iter().map(move |m| (c, m))).collect();
        apart += all.iter().filter(|(_, m)| m.text.contains("x.f0 + y.f0")).count();
        one += all.iter().filter(|(_, m)| m.text.contains("return sum(step + n);")).count();
        assert!(all.iter().all(|(_, m)| m.text.contains("r.in = true;")));
        check_modules(&all);
    }
    assert!(apart >= 10 && one >= 10, "{apart} with places in two parts, {one} without");
}
