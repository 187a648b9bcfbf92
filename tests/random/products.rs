//! Products in random graphs: contractions, convolutions, and both between what passes join with them.

use super::{LIMIT, Maker};
use ganc::graph::{Binary, ContractDims, ConvGeom, Layout, NodeId};
use std::sync::Arc;

impl Maker<'_> {
    pub(super) fn contraction(&mut self, x: NodeId, b: f64) {
        let (y, c) = self.value();
        let (sx, sy) = (self.g.shape(x).to_vec(), self.g.shape(y).to_vec());
        let mut pairs = vec![];
        for i in 0..sx.len() {
            let free = |j: &usize| !pairs.iter().any(|p: &(usize, usize)| p.1 == *j);
            if let Some(j) = (0..sy.len()).filter(free).find(|&j| sy[j] == sx[i]) {
                pairs.push((i, j));
            }
        }
        let mut dims = ContractDims { batch: vec![], contracted: vec![] };
        for p in pairs {
            match self.pick(4) {
                0 | 1 => dims.contracted.push(p),
                2 => dims.batch.push(p),
                _ => {}
            }
        }
        let k: usize = dims.contracted.iter().map(|p| sx[p.0]).product();
        let kept: usize = k * dims.batch.iter().map(|p| sx[p.0]).product::<usize>();
        let size = sx.iter().product::<usize>() * sy.iter().product::<usize>() / (kept * k);
        if size <= LIMIT && sx.len() + sy.len() <= 6 + 2 * (dims.batch.len() + dims.contracted.len()) {
            let r = self.g.contract(x, y, dims);
            self.push(r, b * c * k as f64);
        }
    }

    /// `x` with an image's rank.
    fn image(&mut self, x: NodeId) -> Option<NodeId> {
        let shape = self.g.shape(x).to_vec();
        let image = match shape.len() {
            1 => vec![1, 1, shape[0]],
            2 => vec![1, shape[0], shape[1]],
            _ => shape[..shape.len().min(4)].to_vec(),
        };
        (image.iter().product::<usize>() == shape.iter().product::<usize>()).then(|| self.g.reshape(x, &image))
    }

    /// A convolution or a transposed one, of stride 1, between upsampling and pooling, each of which may do nothing.
    pub(super) fn sampled(&mut self, x: NodeId, b: f64) {
        let Some(x) = self.image(x) else { return };
        let small = self.g.shape(x).to_vec();
        let factors: Vec<usize> = small[2..].iter().map(|_| self.choose(&[1, 2, 3])).collect();
        let input: Vec<usize> = small[2..].iter().zip(&factors).map(|(d, f)| d * f).collect();
        if small[0] * small[1] * input.iter().product::<usize>() > LIMIT {
            return;
        }
        let rank = input.len();
        let transposed = self.pick(2) == 0;
        let groups = if self.pick(3) == 0 { small[1] } else { 1 };
        let others = groups * (1 + self.pick(2));
        let (mut kernel, mut pad, mut output, mut pools) = (vec![], vec![], vec![], vec![]);
        for d in &input {
            let k = 1 + self.pick(3);
            let p = self.pick(k);
            let out = if transposed { (d + k - 1).checked_sub(2 * p) } else { (d + 2 * p + 1).checked_sub(k) };
            let Some(out) = out.filter(|o| *o > 0) else { return };
            let f = self.choose(&[1, 2, 3]);
            kernel.push(k);
            pad.push(p);
            output.push(out);
            pools.push(if out.is_multiple_of(f) { f } else { 1 });
        }
        let mut g = ConvGeom {
            n: small[0],
            c: small[1],
            o: others,
            groups,
            input: input.clone(),
            kernel,
            output,
            stride: vec![1; rank],
            pad,
            dilation: vec![1; rank],
            layout: Layout::ChannelsFirst,
        };
        if transposed {
            (g.c, g.o) = (g.o, g.c);
            std::mem::swap(&mut g.input, &mut g.output);
        }
        let made = if transposed { g.x_shape() } else { g.y_shape() };
        if made.iter().product::<usize>() > LIMIT || g.flops() > 400_000 {
            return;
        }
        let x = self.g.repeat_elements(x, &factors);
        let w = self.leaf(&g.w_shape());
        let terms = g.flops() as f64 / 2.0 / made.iter().product::<usize>() as f64;
        let g = Arc::new(g);
        let mut y = if transposed { self.g.conv_data_grad(x, w, g) } else { self.g.conv_fwd(x, w, g) };
        if self.pick(2) == 0 {
            let bias = self.leaf(&[&[1, made[1]][..], &vec![1; rank]].concat());
            y = self.g.add(y, bias);
        }
        let (parts, within) = self.g.split_windows(y, &pools);
        let y = self.g.sum(parts, &within);
        self.push(y, (1.5 * b * terms.max(1.0) + 1.5) * pools.iter().product::<usize>() as f64);
    }

    /// Two products with a bias and a rectifier, leaky or not, between them.
    pub(super) fn rectified(&mut self, x: NodeId, b: f64) {
        let n = self.g.ty(x).elements();
        let rows = self.g.shape(x)[0];
        let (inner, outer) = (1 + self.pick(4), 1 + self.pick(3));
        if n / rows * (inner + outer) > LIMIT {
            return;
        }
        let x = self.g.reshape(x, &[rows, n / rows]);
        let [w, v] = [[n / rows, inner], [inner, outer]].map(|s| self.leaf(&s));
        let bias = self.leaf(&[1, inner]);
        let y = self.g.matmul(x, w);
        let y = self.g.add(y, bias);
        let zero = self.g.scalar(0.0);
        let y = if self.pick(2) == 0 {
            self.g.binary(Binary::Max, y, zero)
        } else {
            let (up, low) = (self.g.lt(zero, y), self.g.scale(y, 0.2));
            self.g.select(up, y, low)
        };
        let y = self.g.matmul(y, v);
        self.push(y, 1.5 * inner as f64 * (1.5 * b * (n / rows) as f64 + 1.5));
    }

    /// One of the three, with `x` (made to have an image's rank) as its first argument and a new leaf as the second.
    pub(super) fn convolution(&mut self, x: NodeId, b: f64) {
        let Some(x) = self.image(x) else { return };
        let image = self.g.shape(x).to_vec();
        let layout = match self.pick(3) {
            0 if self.allow.channels_last => Layout::ChannelsLast,
            _ => Layout::ChannelsFirst,
        };
        let rank = image.len() - 2;
        let (channels, space) = match layout.images_last() {
            false => (image[1], image[2..].to_vec()),
            true => (image[rank + 1], image[1..=rank].to_vec()),
        };
        let groups = if self.pick(3) == 0 { channels } else { 1 };
        let others = groups * (1 + self.pick(3));
        let which = self.pick(3);
        let mut g = ConvGeom {
            n: image[0],
            c: channels,
            o: others,
            groups,
            input: space.clone(),
            kernel: vec![],
            output: vec![],
            stride: vec![],
            pad: vec![],
            dilation: vec![],
            layout,
        };
        for d in &space {
            let (k, s, p) = (1 + self.pick(4), 1 + self.pick(3), self.pick(2));
            let dilation = 1 + self.pick(2);
            let span = dilation * (k - 1) + 1;
            let (k, dilation, span) = if span > d + 2 * p { (1, 1, 1) } else { (k, dilation, span) };
            g.kernel.push(k);
            g.stride.push(s);
            g.pad.push(p);
            g.dilation.push(dilation);
            if which == 1 {
                // x stands for the result: the largest input that gives it, or one less where the step allows it.
                let input = ((d - 1) * s + span + self.pick(s)).saturating_sub(2 * p).max(1);
                g.input[g.kernel.len() - 1] = input;
                g.output.push(*d);
            } else {
                g.output.push((d + 2 * p - span) / s + 1);
            }
        }
        if which == 1 {
            (g.c, g.o) = (others, channels);
        }
        if g.y_shape().iter().product::<usize>().max(g.x_shape().iter().product()) > LIMIT
            || g.w_shape().iter().product::<usize>() > LIMIT
            || g.flops() > 400_000
        {
            return;
        }
        let second = if which == 2 { g.y_shape() } else { g.w_shape() };
        let w = self.leaf(&second);
        let terms = g.flops() as f64 / 2.0;
        let g = Arc::new(g);
        let r = match which {
            0 => self.g.conv_fwd(x, w, g),
            1 => self.g.conv_data_grad(x, w, g),
            _ => self.g.conv_weight_grad(x, w, g),
        };
        let per = terms / self.g.ty(r).elements() as f64;
        self.push(r, 1.5 * b * per.max(1.0));
    }
}
