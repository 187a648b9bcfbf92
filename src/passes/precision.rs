//! Products in fewer bits: casts before the operands of matrix products and convolutions (mixed precision,
//! Micikevicius et al. 2018).
//!
//! What is multiplied is rounded, sums stay f32; so do parameters, their gradients, statistics, reductions, losses and all
//! other arithmetic. Images that convolutions make are rounded to 16 bits too, in which they lie in memory: half of what a
//! network moves. A cast stands below views (reshapes, permutes, slices), so that one rounded copy serves every
//! product that reads the tensor, forward and backward; where only products read a value, fusion lets nothing but the
//! copy reach memory. Products with a vector (power iterations of spectral normalisation) stay f32: they are all
//! reading, and their errors add up. tf32 has no type of its own: operands stay f32 and are rounded by an operation,
//! which tells who multiplies them that no more than those bits count.

use super::{emit, rewrite};
use crate::graph::{DType, Graph, NodeId, Op, Unary};

/// What operands of products are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounded {
    /// Ten fraction bits, stored as f32.
    Tf32,
    /// bf16
    Bf16,
    /// f16
    F16,
}

impl Rounded {
    fn dtype(self) -> DType {
        match self {
            Rounded::Tf32 => DType::F32,
            Rounded::Bf16 => DType::Bf16,
            Rounded::F16 => DType::F16,
        }
    }

    fn of(self, g: &mut Graph, n: NodeId) -> NodeId {
        if self == Rounded::Tf32 { g.unary(Unary::Tf32, n) } else { g.cast(n, self.dtype()) }
    }
}

/// Rounds operands of products to what `choice` gives for the layer path of the product; `None` leaves it.
pub fn precision(g: &Graph, choice: &dyn Fn(&str) -> Option<Rounded>) -> Graph {
    rewrite(g, |new, node, mut args| {
        let product =
            matches!(node.op, Op::Contract(_) | Op::ConvFwd(_) | Op::ConvDataGrad(_) | Op::ConvWeightGrad(_));
        let full = |&a: &NodeId| new.ty(a).rank() >= 2 && new.ty(a).dtype == DType::F32;
        if product
            && args.iter().all(full)
            && let Some(to) = choice(&new.current_origin().path)
        {
            args.iter_mut().for_each(|a| *a = rounded(new, *a, to));
            let image = emit(new, node, &args);
            if to == Rounded::Tf32 || !makes_image(&node.op) {
                return image;
            }
            let half = to.of(new, image);
            return new.cast(half, DType::F32);
        }
        emit(new, node, &args)
    })
}

/// Whether a product's result has positions, of which there are more than one.
fn makes_image(op: &Op) -> bool {
    match op {
        Op::ConvFwd(c) => c.output.iter().product::<usize>() > 1,
        Op::ConvDataGrad(c) => c.input.iter().product::<usize>() > 1,
        _ => false,
    }
}

/// A value rounded, by a cast below its views.
fn rounded(g: &mut Graph, n: NodeId, to: Rounded) -> NodeId {
    let mut view = g.node(n).clone();
    let is_view = matches!(
        view.op,
        Op::Reshape | Op::Permute(_) | Op::Broadcast | Op::Slice { .. } | Op::Reverse(_) | Op::Stop
    );
    if !is_view {
        return to.of(g, n);
    }
    let inner = rounded(g, view.args[0], to);
    view.ty.dtype = to.dtype();
    emit(g, &view, &[inner])
}

#[cfg(test)]
mod tests {
    use super::{Rounded, precision};
    use crate::graph::text::{parse, print};
    use crate::graph::verify::assert_verified;

    #[test]
    fn casts_stand_below_views_and_are_shared() {
        let g = parse(
            r#"
            %0: f32[4,6] = input "x"
            %1: f32[3,6] = param "D.fc.weight"
            %2: f32[6,3] = permute %1 perm=[1,0]
            %3: f32[4,3] = contract %0, %2 contracted=[1:0] ; D.fc
            %4: f32[4,3] = tanh %3 ; D.act
            %5: f32[3,6] = contract %4, %0 contracted=[0:0] ; D.fc ^1
            %6: f32[3,3] = contract %5, %5 contracted=[1:1] ; D.last
            %7: f32[6] = param "v"
            %8: f32[3] = contract %1, %7 contracted=[1:0] ; D.fc
            output "y" %6
            output "z" %8
            "#,
        );
        let g = precision(&g.unwrap(), &|path| (path != "D.last").then_some(Rounded::Bf16));
        assert_verified(&g, "precision");
        insta::assert_snapshot!(print(&g), @r#"
        %0: f32[4,6] = input "x"
        %1: f32[3,6] = param "D.fc.weight"
        %2: f32[6,3] = permute %1 perm=[1,0]
        %3: bf16[4,6] = cast %0                                         ; D.fc
        %4: bf16[3,6] = cast %1                                         ; D.fc
        %5: bf16[6,3] = permute %4 perm=[1,0]                           ; D.fc
        %6: f32[4,3] = contract %3, %5 contracted=[1:0]                 ; D.fc
        %7: f32[4,3] = tanh %6                                          ; D.act
        %8: bf16[4,3] = cast %7                                         ; D.fc ^1
        %9: f32[3,6] = contract %8, %3 contracted=[0:0]                 ; D.fc ^1
        %10: f32[3,3] = contract %9, %9 contracted=[1:1]                ; D.last
        %11: f32[6] = param "v"
        %12: f32[3] = contract %1, %11 contracted=[1:0]                 ; D.fc
        output "y" %10
        output "z" %12
        "#);
    }

    #[test]
    fn images_are_rounded_too_and_weight_gradients_are_not() {
        let text = r#"
            %0: f32[2,3,4,4] = input "x"
            %1: f32[5,3,3,3] = param "w"
            %2: f32[2,5,4,4] = conv_fwd %0, %1 pad=[1,1]
            %3: f32[5,3,3,3] = conv_weight_grad %0, %2 pad=[1,1]
            output "y" %2
            output "d" %3
            "#;
        let g = parse(text).unwrap();
        let halves = precision(&g, &|_| Some(Rounded::Bf16));
        assert_verified(&halves, "precision");
        insta::assert_snapshot!(print(&halves), @r#"
        %0: f32[2,3,4,4] = input "x"
        %1: f32[5,3,3,3] = param "w"
        %2: bf16[2,3,4,4] = cast %0
        %3: bf16[5,3,3,3] = cast %1
        %4: f32[2,5,4,4] = conv_fwd %2, %3 pad=[1,1]
        %5: bf16[2,5,4,4] = cast %4
        %6: f32[2,5,4,4] = cast %5
        %7: bf16[2,5,4,4] = cast %6
        %8: f32[5,3,3,3] = conv_weight_grad %2, %7 pad=[1,1]
        output "y" %6
        output "d" %8
        "#);
        // tf32 rounds operands only.
        let tf32 = precision(&g, &|_| Some(Rounded::Tf32));
        assert!(!print(&tf32).contains("cast"));
    }
}
