//! Random numbers of data: permutations, and what transforms draw, all counter-based.

use crate::graph::philox::{philox, stream_key};
use rand::rand_core;
use rand::{Rng, TryRng};
use std::convert::Infallible;

/// Fourth counter word of the words that shuffle; random leaves of graphs have 0 there.
const SHUFFLE: u32 = 1;
/// Fourth counter word of draws, added to the high bits of the minibatch number.
const DRAW: u32 = 2;

/// Words in order: block `i` of the counter gives words `4 i ..`.
struct Words {
    key: [u32; 2],
    epoch: u64,
    next: u64,
    block: [u32; 4],
}

impl TryRng for Words {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        if self.next.is_multiple_of(4) {
            let i = (self.next / 4) as u32;
            self.block = philox([i, self.epoch as u32, (self.epoch >> 32) as u32, SHUFFLE], self.key);
        }
        let i = (self.next % 4) as usize;
        self.next += 1;
        Ok(self.block[i])
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        rand_core::utils::next_u64_via_u32(self)
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        rand_core::utils::fill_bytes_via_next_word(dst, || self.try_next_u32())
    }
}

/// Uniform below `n` without bias (Lemire 2019). Not `rand`'s own: a newer version of it may choose another way, and a
/// run must stay the same.
fn below(rng: &mut impl Rng, n: u32) -> u32 {
    let reject = n.wrapping_neg() % n;
    loop {
        let wide = u64::from(rng.next_u32()) * u64::from(n);
        if wide as u32 >= reject {
            return (wide >> 32) as u32;
        }
    }
}

/// A permutation of `0..n` (Fisher & Yates), fixed by the key and the epoch.
pub fn permutation(n: usize, key: [u32; 2], epoch: u64) -> Vec<u32> {
    let mut words = Words { key, epoch, next: 0, block: [0; 4] };
    let mut order: Vec<u32> = (0..n as u32).collect();
    for i in (1..n).rev() {
        order.swap(i, below(&mut words, i as u32 + 1) as usize);
    }
    order
}

/// The random words of one sample of one minibatch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw {
    pub(super) key: [u32; 2],
    /// Number of the minibatch.
    pub(super) batch: u64,
    /// Number of the sample in it.
    pub(super) sample: u32,
}

impl Draw {
    /// Four words of block `block` of the draw called `salt`.
    pub(super) fn words(self, salt: u64, block: u32) -> [u32; 4] {
        let c = [self.batch as u32, self.sample, block, ((self.batch >> 32) as u32) << 8 | DRAW];
        philox(c, stream_key(self.key, salt))
    }

    /// Two standard normals from two words (Box & Muller 1958), as the graph's random leaves.
    pub(super) fn normals(a: u32, b: u32) -> [f64; 2] {
        let u1 = (f64::from(a >> 8) + 1.0) / f64::from(1 << 24);
        let angle = std::f64::consts::TAU * unit(b);
        let r = (-2.0 * u1.ln()).sqrt();
        [r * angle.cos(), r * angle.sin()]
    }

    /// Adds `std` times a standard normal to each element.
    pub(super) fn fill_normal(self, salt: u64, out: &mut [f32], std: f32) {
        for (block, four) in out.chunks_mut(4).enumerate() {
            let w = self.words(salt, block as u32);
            let z = [Self::normals(w[0], w[1]), Self::normals(w[2], w[3])];
            for (i, v) in four.iter_mut().enumerate() {
                *v += std * z[i / 2][i % 2] as f32;
            }
        }
    }
}

/// In [0, 1).
pub(super) fn unit(word: u32) -> f64 {
    crate::graph::philox::uniform(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffles_are_permutations() {
        for n in [1usize, 2, 3, 17, 1000] {
            for epoch in [0, 1, u64::MAX] {
                let mut p = permutation(n, [1, 2], epoch);
                assert_eq!(p, permutation(n, [1, 2], epoch));
                p.sort_unstable();
                assert!(p.iter().enumerate().all(|(i, &v)| i as u32 == v));
            }
        }
        assert_ne!(permutation(100, [1, 2], 0), permutation(100, [1, 2], 1));
        assert_ne!(permutation(100, [1, 2], 0), permutation(100, [1, 3], 0));
        assert!(permutation(0, [0; 2], 0).is_empty());
    }

    #[test]
    fn shuffles_are_uniform() {
        // Each of the 6 orders of 3 about 1/6 of the time: 6000 epochs, standard deviation 29.
        let mut counts = std::collections::BTreeMap::new();
        for e in 0..6000 {
            *counts.entry(permutation(3, [7, 9], e)).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|&c: &i32| (c - 1000).abs() < 150), "{counts:?}");
    }
}
