//! Properties of random graphs: text round trip, gradients against differences, passes preserve values.

use crate::golden_util::error;
use crate::random::{
    ALL, Allow, RandomGraph, SMOOTH, build, config, decisions, direction, fixed_decisions, slopes,
};
use ganc::grad::grad_or_zeros;
use ganc::graph::eval::eval_outputs;
use ganc::graph::{Graph, text, verify};
use ganc::passes;
use proptest::prelude::*;

/// The graph with gradients of its loss by all leaves.
fn differentiated(r: &RandomGraph) -> Graph {
    let mut g = r.graph.clone();
    let loss = g.outputs.last().expect("a loss").1;
    for (k, d) in grad_or_zeros(&mut g, loss, None, &r.leaves).into_iter().enumerate() {
        g.output(format!("d{k}"), d);
    }
    g
}

#[test]
fn every_op_occurs() {
    let (mut seen, mut checked, mut kinks) = (std::collections::BTreeMap::new(), 0, 0);
    let (mut joined, mut told) = (0, 0);
    for seed in 0..200 {
        let r = build(&fixed_decisions(seed, 200), ALL);
        for n in r.graph.nodes() {
            *seen.entry(text::op_name(&n.op)).or_insert(0) += 1;
        }
        let needed = passes::dce(&r.graph);
        joined += usize::from(text::print(&passes::resample_worth(&needed, 0)) != text::print(&needed));
        let differentiated = passes::dce(&passes::simplify(&differentiated(&r)));
        told += usize::from(text::print(&passes::slopes(&differentiated)) != text::print(&differentiated));
        if seed < 40 {
            let r = build(&fixed_decisions(seed, 100), SMOOTH);
            let loss = r.graph.outputs.last().unwrap().1;
            checked += 1;
            kinks += usize::from(slopes(&r.graph, &r.env, &r.leaves, loss).is_none());
        }
    }
    assert_eq!(seen.len(), 50, "{seen:?}");
    assert!(joined >= 20, "convolutions beside sampling in {joined} graphs");
    assert!(told >= 20, "rectifiers between products in {told} graphs");
    assert!(kinks * 4 < checked, "differences judge too few graphs: {kinks} of {checked} left out");
}

proptest! {
    #![proptest_config(config(150))]

    #[test]
    fn graphs_verify_and_round_trip(d in decisions()) {
        let r = build(&d, ALL);
        prop_assert_eq!(verify::verify(&r.graph), Ok(()));
        let printed = text::print(&r.graph);
        let again = text::parse(&printed).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(text::print(&again), printed);
        let (a, b) = (eval_outputs(&r.graph, &r.env).unwrap(), eval_outputs(&again, &r.env).unwrap());
        prop_assert_eq!(a.len(), b.len());
        for ((_, a), (_, b)) in a.iter().zip(&b) {
            prop_assert!(a.data.iter().all(|v| v.is_finite()), "a value is not finite");
            prop_assert_eq!(error(&a.data, &b.data, 1.0), 0.0);
        }
    }

}

proptest! {
    #![proptest_config(config(30))]

    #[test]
    fn passes_preserve_values(d in decisions()) {
        let r = build(&d, Allow { halves: false, ..ALL });
        let g = &differentiated(&r);
        let before = eval_outputs(g, &r.env).unwrap();
        let mut all: Vec<(&str, Graph)> = passes::PASSES.iter().map(|p| (p.name, (p.run)(g))).collect();
        all.push(("resample_worth", passes::resample_worth(g, 0)));
        all.push(("run", passes::run(g.clone(), &passes::Options::default())));
        for (name, after) in all {
            prop_assert_eq!(verify::verify(&after), Ok(()), "{}", name);
            let values = eval_outputs(&after, &r.env).unwrap();
            prop_assert_eq!(values.len(), before.len());
            for ((n, a), (_, b)) in values.iter().zip(&before) {
                prop_assert_eq!(&a.ty, &b.ty);
                let e = error(&a.data, &b.data, 1.0);
                prop_assert!(e < 1e-9, "{name} moves {n} by {e:e}\n{}\n{}", text::print(g), text::print(&after));
            }
            if name != "dce" {
                let again = passes::simplify(&passes::simplify(&after));
                prop_assert_eq!(text::print(&passes::simplify(&again)), text::print(&again), "no fixed point");
            }
        }
    }

    #[test]
    fn gradients_agree_with_differences(d in decisions()) {
        let mut r = build(&d, SMOOTH);
        let mut y = r.graph.outputs.last().unwrap().1;
        for order in 1..=2 {
            let Some((ours, theirs)) = slopes(&r.graph, &r.env, &r.leaves, y) else { return Ok(()) };
            let e = (ours - theirs).abs() / (1.0 + theirs.abs());
            prop_assert!(e < 1e-5, "order {order}: {ours} but {theirs} by differences\n{}", text::print(&r.graph));
            let g = &mut r.graph;
            let grads = grad_or_zeros(g, y, None, &r.leaves);
            y = g.scalar(0.0);
            for (k, d) in grads.into_iter().enumerate() {
                let ty = g.ty(d).clone();
                let c = g.dense(direction(k + 50, ty.elements()), ty);
                let p = g.mul(c, d);
                let s = g.sum_all(p);
                y = g.add(y, s);
            }
            prop_assert_eq!(verify::verify(g), Ok(()));
        }
    }
}
