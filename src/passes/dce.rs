//! Dead code elimination.

use super::rewrite;
use crate::graph::Graph;

/// Keeps the nodes that the outputs need, as they are.
pub fn dce(g: &Graph) -> Graph {
    rewrite(g, |new, node, args| new.intern(node.op.clone(), args, node.ty.clone()))
}

#[cfg(test)]
mod tests {
    use crate::graph::text::{parse, print};

    #[test]
    fn drops_what_no_output_needs() {
        let g = parse(
            r#"
            %0: f32[2] = input "x"
            %1: f32[2] = exp %0
            %2: f32[2] = tanh %0 ; D.act
            output "y" %2
            "#,
        );
        insta::assert_snapshot!(print(&super::dce(&g.unwrap())), @r#"
        %0: f32[2] = input "x"
        %1: f32[2] = tanh %0                                            ; D.act
        output "y" %1
        "#);
    }
}
