//! Affine index maps: where in an argument a cluster reads, as a function of its own loop indices.
//!
//! A view (broadcast, permute, slice, pad, reverse, concat, unfold, reshape) never becomes a kernel of its own if it
//! can be helped: it changes the map through which its argument is read.

/// `offset + Σ coef[i] * index[i]` over the axes of a loop nest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Affine {
    /// One factor for each loop.
    pub coef: Vec<i64>,
    /// Value at the origin.
    pub offset: i64,
}

impl Affine {
    /// The same everywhere.
    pub fn constant(rank: usize, offset: i64) -> Self {
        Self { coef: vec![0; rank], offset }
    }

    /// The index of one loop.
    pub fn axis(rank: usize, i: usize) -> Self {
        let mut a = Self::constant(rank, 0);
        a.coef[i] = 1;
        a
    }

    /// Row-major position in a loop nest of these extents.
    pub fn row_major(domain: &[usize]) -> Self {
        let coef = crate::graph::ty::strides(domain).iter().map(|&s| s as i64).collect();
        Self { coef, offset: 0 }
    }

    /// `self + k * other`
    pub fn plus(&self, other: &Self, k: i64) -> Self {
        let coef = self.coef.iter().zip(&other.coef).map(|(a, b)| a + k * b).collect();
        Self { coef, offset: self.offset + k * other.offset }
    }

    /// `k * self + offset`
    pub fn scaled(&self, k: i64, offset: i64) -> Self {
        Self { coef: self.coef.iter().map(|c| c * k).collect(), offset: self.offset * k + offset }
    }

    /// Smallest and largest value over a loop nest (extents at least 1).
    pub fn range(&self, domain: &[usize]) -> (i64, i64) {
        let (mut lo, mut hi) = (self.offset, self.offset);
        for (&c, &n) in self.coef.iter().zip(domain) {
            let end = c * (n as i64 - 1).max(0);
            lo += end.min(0);
            hi += end.max(0);
        }
        (lo, hi)
    }
}

/// Holds where `0 <= at < extent`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Guard {
    /// What is bounded.
    pub at: Affine,
    /// Bound, not included.
    pub extent: i64,
}

impl Guard {
    /// Whether it holds in the whole loop nest.
    pub fn always(&self, domain: &[usize]) -> bool {
        let (lo, hi) = self.at.range(domain);
        lo >= 0 && hi < self.extent
    }
}

/// Coordinates in a tensor, valid where all guards hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IndexMap {
    /// One for each axis of the tensor.
    pub coords: Vec<Affine>,
    /// Where the map may be used.
    pub guards: Vec<Guard>,
}

impl IndexMap {
    /// Loop i is axis i.
    pub fn identity(rank: usize) -> Self {
        Self { coords: (0..rank).map(|i| Affine::axis(rank, i)).collect(), guards: vec![] }
    }

    /// Row-major position in a tensor of this shape.
    pub fn linear(&self, shape: &[usize], rank: usize) -> Affine {
        let strides = crate::graph::ty::strides(shape);
        let mut at = Affine::constant(rank, 0);
        for ((c, &s), &n) in self.coords.iter().zip(&strides).zip(shape) {
            if n != 1 {
                at = at.plus(c, s as i64);
            }
        }
        at
    }

    /// The map of a reshape's argument (`from`) given the map of its result (`to`); `None` where a coordinate is no
    /// affine function of the loops.
    pub fn reshape(&self, to: &[usize], from: &[usize], domain: &[usize]) -> Option<Self> {
        let rank = domain.len();
        if from.iter().product::<usize>() == 1 {
            return Some(Self { coords: vec![Affine::constant(rank, 0); from.len()], guards: self.guards.clone() });
        }
        let mut coords = vec![Affine::constant(rank, 0); from.len()];
        let (mut i, mut j) = (0, 0);
        while i < to.len() || j < from.len() {
            // The smallest group of axes on both sides with equal products.
            let (i0, j0) = (i, j);
            let (mut p, mut q) = (1, 1);
            loop {
                if p == q && (i > i0 || j > j0) && (p > 1 || (i == to.len() && j == from.len())) {
                    break;
                }
                if p <= q && i < to.len() {
                    p *= to[i];
                    i += 1;
                } else if j < from.len() {
                    q *= from[j];
                    j += 1;
                } else if i < to.len() {
                    p *= to[i];
                    i += 1;
                } else {
                    break;
                }
            }
            let group = Self { coords: self.coords[i0..i].to_vec(), guards: vec![] };
            let mut rest = group.linear(&to[i0..i], rank);
            for a in (j0 + 1..j).rev() {
                let (quotient, remainder) = split(&rest, from[a] as i64, domain)?;
                coords[a] = remainder;
                rest = quotient;
            }
            if j > j0 {
                coords[j0] = rest;
            }
        }
        Some(Self { coords, guards: self.guards.clone() })
    }
}

/// `(a / n, a % n)` where both are affine.
fn split(a: &Affine, n: i64, domain: &[usize]) -> Option<(Affine, Affine)> {
    let rank = domain.len();
    let (mut quotient, mut remainder) = (Affine::constant(rank, 0), Affine::constant(rank, 0));
    if n == 1 {
        return Some((a.clone(), remainder));
    }
    quotient.offset = a.offset.div_euclid(n);
    remainder.offset = a.offset.rem_euclid(n);
    for (i, &c) in a.coef.iter().enumerate() {
        if domain[i] <= 1 {
            continue;
        }
        if c % n == 0 {
            quotient.coef[i] = c / n;
        } else {
            remainder.coef[i] = c;
        }
    }
    let (lo, hi) = remainder.range(domain);
    (lo >= 0 && hi < n).then_some((quotient, remainder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshape_merges_and_splits() {
        let domain = [4, 3, 5];
        let id = IndexMap::identity(3);
        let merged = id.reshape(&[4, 3, 5], &[12, 5], &domain).unwrap();
        assert_eq!(merged.coords[0].coef, [3, 1, 0]);
        let back = merged.reshape(&[12, 5], &[4, 1, 3, 5], &domain).unwrap();
        assert_eq!(back.coords[0].coef, [1, 0, 0]);
        assert_eq!(back.coords[2].coef, [0, 1, 0]);
        assert!(IndexMap::identity(1).reshape(&[12], &[3, 4], &[12]).is_none());
        let ones = IndexMap::identity(2).reshape(&[1, 1], &[], &[1, 1]).unwrap();
        assert!(ones.coords.is_empty());
        let tail = id.reshape(&[4, 3, 5], &[4, 15, 1, 1], &domain).unwrap();
        assert_eq!(tail.coords[1].coef, [0, 5, 1]);
    }
}
