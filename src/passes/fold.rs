//! Constant folding.

use super::{emit, rewrite};
use crate::graph::eval::{Tensor, apply};
use crate::graph::{Graph, Node, NodeId, Op};

/// Results larger than this (and than their arguments) stay computed: memory traffic would replace arithmetic.
const SMALL: usize = 4096;
/// No constant is larger than this.
const LARGE: usize = 1 << 20;
/// Multiply-adds that a fold may cost.
const WORK: usize = 10_000_000;

/// Computes nodes whose arguments are all constants, in f64, where that does not make the program larger.
pub fn fold(g: &Graph) -> Graph {
    rewrite(g, |new, node, args| folded(new, node, &args).unwrap_or_else(|| emit(new, node, &args)))
}

fn folded(g: &mut Graph, node: &Node, args: &[NodeId]) -> Option<NodeId> {
    let constant = |a: &NodeId| matches!(g.node(*a).op, Op::Const(_));
    if args.is_empty() || matches!(node.op, Op::Random { .. }) || !args.iter().all(constant) {
        return None;
    }
    let (inputs, out) = (args.iter().map(|&a| g.ty(a).elements()), node.ty.elements());
    let (largest, sum) = (inputs.clone().max().unwrap_or(0), inputs.sum());
    let work = match &node.op {
        Op::Contract(dims) => {
            let k: usize = dims.contracted.iter().map(|p| g.shape(args[0])[p.0]).product();
            out * k
        }
        Op::ConvFwd(c) | Op::ConvDataGrad(c) | Op::ConvWeightGrad(c) => (c.flops() / 2) as usize,
        _ => out.max(largest),
    };
    if out > LARGE || largest > LARGE || work > WORK || out > SMALL.max(sum) {
        return None;
    }
    // A splat that grows is still a splat; one that is padded or windowed is better left as a view.
    if out > SMALL && args.iter().any(|&a| g.as_splat(a).is_some()) {
        return None;
    }
    let values: Vec<Tensor> = args.iter().map(|&a| apply(g.node(a), &[])).collect();
    let value = apply(node, &values);
    Some(g.dense(value.data.to_vec(), node.ty.clone()))
}

#[cfg(test)]
mod tests {
    use crate::graph::text::{parse, print};

    #[test]
    fn computes_constants_once() {
        let g = parse(
            r#"
            %0: f32[2] = const [1.0, 2.0]
            %1: f32[2] = exp %0
            %2: f32[2] = mul %0, %0
            %3: f32[1] = sum %2 axes=[0]
            %4: f32[9000] = const 1.0
            %5: f32[9002] = pad %4 lo=[1] hi=[1]
            %6: f32[2] = input "x"
            %7: f32[2] = mul %6, %2
            output "y" %7
            output "s" %3
            output "p" %5
            "#,
        );
        insta::assert_snapshot!(print(&super::fold(&g.unwrap())), @r#"
        %0: f32[2] = const [1.0, 2.0]
        %1: f32[2] = const [1.0, 4.0]
        %2: f32[1] = const 5.0
        %3: f32[9000] = const 1.0
        %4: f32[9002] = pad %3 lo=[1] hi=[1]
        %5: f32[2] = input "x"
        %6: f32[2] = mul %1, %5
        output "y" %6
        output "s" %2
        output "p" %4
        "#);
    }
}
