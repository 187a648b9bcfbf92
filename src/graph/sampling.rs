//! Images `[n, c, spatial…]` made smaller and larger by whole factors, of the ops that there are.

use super::{Graph, NodeId};

impl Graph {
    /// An image with each spatial axis split into windows of `factors`, which divide it: `[n, c, d / f, f, …]`; and the axes
    /// that run within windows.
    pub fn split_windows(&mut self, x: NodeId, factors: &[usize]) -> (NodeId, Vec<usize>) {
        let shape = self.shape(x);
        let mut split = shape[..2].to_vec();
        shape[2..].iter().zip(factors).for_each(|(d, f)| split.extend([d / f, *f]));
        let within = (0..factors.len()).map(|i| 3 + 2 * i).collect();
        (self.reshape(x, &split), within)
    }

    /// `[n, c, d, 1, …]`, as reductions leave windows, as an image `[n, c, d, …]`.
    pub fn join_windows(&mut self, x: NodeId) -> NodeId {
        let shape = self.shape(x);
        let mut image = shape[..2].to_vec();
        image.extend(shape[2..].iter().step_by(2));
        self.reshape(x, &image)
    }

    /// Each element of an image as often as `factors` say along the spatial axes: `[n, c, d * f, …]`.
    pub fn repeat_elements(&mut self, x: NodeId, factors: &[usize]) -> NodeId {
        let shape = self.shape(x).to_vec();
        let lead = shape[..2].to_vec();
        let (mut split, mut grown, mut joined) = (lead.clone(), lead.clone(), lead);
        for (&d, &f) in shape[2..].iter().zip(factors) {
            split.extend([d, 1]);
            grown.extend([d, f]);
            joined.push(d * f);
        }
        let parts = self.reshape(x, &split);
        let parts = self.broadcast(parts, &grown);
        self.reshape(parts, &joined)
    }
}
