//! What products are computed in, and the scale of objectives in f16.

use super::ctx::Builder;
use super::train::Plan;
use crate::graph::{Binary, DType, Graph, Name, NodeId, Type, Unary};
use crate::layers::Init;
use crate::passes::Rounded;
use crate::syntax::ast::Setting;

/// First scale of an objective in f16.
const SCALE: f64 = 65536.0;
/// Largest scale: it stays finite where gradients are zero for long.
const MOST: f64 = 16_777_216.0;
/// Updates without overflow after which the scale doubles.
const PATIENCE: f64 = 2000.0;

/// What a word rounds operands to; `None`: full precision.
pub(super) fn operands(word: &str) -> Option<Rounded> {
    match word {
        "tf32" => Some(Rounded::Tf32),
        "bf16" => Some(Rounded::Bf16),
        "f16" => Some(Rounded::F16),
        _ => None,
    }
}

/// What an update of a player needs to know of its scaled gradients.
pub(super) struct Scaled {
    /// Whether all gradients are finite: else nothing changes but the scale.
    pub finite: NodeId,
    /// This update's number among those that took place, from 1.
    pub t: NodeId,
}

impl Scaled {
    /// A parameter and its optimiser's states stay as they were where a gradient is not finite.
    pub fn or_stay(&self, g: &mut Graph, value: (&mut NodeId, NodeId), states: (&mut [NodeId], &[NodeId])) {
        *value.0 = g.select(self.finite, *value.0, value.1);
        states.0.iter_mut().zip(states.1).for_each(|(new, &old)| *new = g.select(self.finite, *new, old));
    }
}

impl<'m> Builder<'m> {
    /// Reads the setting `precision`.
    pub fn read_precision(&mut self, plan: &Plan<'m>) {
        let Some((word, _)) = self.word(plan, Setting::Precision, &["f32", "tf32", "bf16", "f16"]) else {
            return;
        };
        self.train.precision = operands(&word);
    }

    /// A finished graph of the `train` at hand, its products in the precision that it and its layers ask for.
    pub fn in_precision(&self, graph: Graph) -> Graph {
        let whole = self.train.precision;
        if whole.is_none() && self.precisions.values().all(Option::is_none) {
            return graph;
        }
        // Before operands are rounded: a wide weight is a sum of weights as they are.
        let graph = crate::passes::resample(&graph);
        crate::passes::precision(&graph, &|path| self.precisions.get(path).copied().unwrap_or(whole))
    }

    /// Whether some product is computed in f16, whose range gradients leave on either side.
    pub fn needs_scale(&self) -> bool {
        let half = Some(Rounded::F16);
        self.train.precision == half || self.precisions.values().any(|p| *p == half)
    }

    /// A scalar state of a player.
    fn scalar_state(&mut self, player: &str, what: &str, start: f64) -> (Name, NodeId) {
        let index = self.train.index;
        let prefix = if index == 0 { "opt:".to_string() } else { format!("opt{}:", index + 1) };
        let name: Name = format!("{prefix}{player}.{what}").into();
        let ty = Type::f32([]);
        self.declare_state(&name, ty.clone(), Init::Constant(start), Some(index));
        let value = self.state_value(&name, &ty);
        (name, value)
    }

    /// The factor of a player's objective while it is differentiated.
    pub fn loss_scale(&mut self, player: &str) -> NodeId {
        self.scalar_state(player, "scale", SCALE).1
    }

    /// Updates of a player that took place, where its gradients are scaled.
    pub fn updates_made(&mut self, player: &str) -> NodeId {
        self.scalar_state(player, "updates", 0.0).1
    }

    /// Gradients by `wrt` of the objective itself, of those that are `found` of the scaled one.
    pub fn unscaled(&mut self, found: &[Option<NodeId>], wrt: &[NodeId], scale: Option<NodeId>) -> Vec<NodeId> {
        let g = &mut self.gx.graph;
        let less = scale.map(|s| g.unary(Unary::Recip, s));
        let one = |(d, &w): (&Option<NodeId>, &NodeId)| match (*d, less) {
            (Some(d), Some(less)) => g.mul(d, less),
            (Some(d), None) => d,
            (None, _) => g.zeros_like(w),
        };
        found.iter().zip(wrt).map(one).collect()
    }

    /// Whether all elements of all of these are finite.
    fn all_finite(&mut self, grads: &[NodeId]) -> NodeId {
        let g = &mut self.gx.graph;
        let most = g.scalar(f64::from(f32::MAX));
        let mut finite = None;
        for &grad in grads {
            let size = g.unary(Unary::Abs, grad);
            let axes: Vec<usize> = (0..g.shape(grad).len()).collect();
            let largest = g.max_reduce(size, &axes);
            let largest = g.reshape(largest, &[]);
            // A NaN is the maximum, and compares with nothing.
            let ok = g.binary(Binary::Le, largest, most);
            finite = Some(finite.map_or(ok, |f| g.binary(Binary::And, f, ok)));
        }
        finite.unwrap_or_else(|| g.splat(1.0, Type::new(DType::Bool, [])))
    }

    /// What a virtual update needs to know of its scaled gradients: where one has overflowed it is skipped, as the
    /// update itself would be. Else the objective of who looks ahead, which stands for the unscaled one, were no number.
    /// Scales stay as they are: the real updates move them.
    pub fn scaled_ahead(&mut self, grads: &[NodeId], t: NodeId) -> Option<Scaled> {
        self.needs_scale().then(|| Scaled { finite: self.all_finite(grads), t })
    }

    /// Moves a player's scale on (Micikevicius et al. 2018, section 3.2): halved when a gradient has overflowed,
    /// which skips the update, doubled after 2000 updates without.
    pub fn move_scale(&mut self, player: &str, grads: &[NodeId]) -> Scaled {
        let (scale_name, scale) = self.scalar_state(player, "scale", SCALE);
        let (good_name, good) = self.scalar_state(player, "good", 0.0);
        let (count_name, count) = self.scalar_state(player, "updates", 0.0);
        let finite = self.all_finite(grads);
        let g = &mut self.gx.graph;
        let [zero, one] = [0.0, 1.0].map(|v| g.scalar(v));
        let good = g.offset(good, 1.0);
        let patience = g.scalar(PATIENCE);
        let grows = g.binary(Binary::Le, patience, good);
        let double = g.scale(scale, 2.0);
        let limit = g.scalar(MOST);
        let double = g.binary(Binary::Min, double, limit);
        let kept = g.select(grows, double, scale);
        let half = g.scale(scale, 0.5);
        let half = g.binary(Binary::Max, half, one);
        let next_scale = g.select(finite, kept, half);
        let good = g.select(grows, zero, good);
        let next_good = g.select(finite, good, zero);
        let t = g.offset(count, 1.0);
        let next_count = g.select(finite, t, count);
        for (name, value) in [(scale_name, next_scale), (good_name, next_good), (count_name, next_count)] {
            self.gx.states.insert(name, value);
        }
        Scaled { finite, t }
    }
}
