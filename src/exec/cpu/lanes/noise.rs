//! Philox4x32-10 and Box–Muller over lanes; the words are those of [`crate::graph::philox`].

use super::math;
use crate::graph::Dist;
use crate::graph::philox::philox;

/// Counters that are worked on together; each gives four elements.
const L: usize = 16;

/// Four words each for counters `(counter, sample, first + i, 0)`.
#[inline(always)]
fn words(key: [u32; 2], counter: u32, sample: u32, first: u32) -> [[u32; L]; 4] {
    const M0: u64 = 0xD251_1F53;
    const M1: u64 = 0xCD9E_8D57;
    let mut c0 = [counter; L];
    let mut c1 = [sample; L];
    let mut c2 = [0u32; L];
    let mut c3 = [0u32; L];
    for (i, c) in c2.iter_mut().enumerate() {
        *c = first.wrapping_add(i as u32);
    }
    let (mut k0, mut k1) = (key[0], key[1]);
    for _ in 0..10 {
        for i in 0..L {
            let p0 = u64::from(c0[i]) * M0;
            let p1 = u64::from(c2[i]) * M1;
            let (a, b) = ((p1 >> 32) as u32 ^ c1[i] ^ k0, (p0 >> 32) as u32 ^ c3[i] ^ k1);
            c0[i] = a;
            c1[i] = p1 as u32;
            c2[i] = b;
            c3[i] = p0 as u32;
        }
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    [c0, c1, c2, c3]
}

#[inline(always)]
fn uniform(w: u32) -> f32 {
    (w >> 8) as i32 as f32 * (1.0 / 16_777_216.0)
}

#[inline(always)]
fn normal_pair<const F: bool>(a: u32, b: u32) -> (f32, f32) {
    let u1 = ((a >> 8) + 1) as i32 as f32 * (1.0 / 16_777_216.0);
    let r = (-2.0 * math::log::<F>(u1)).sqrt();
    let (s, c) = math::sin_cos_turns::<F>(uniform(b));
    (r * c, r * s)
}

#[inline(always)]
fn shape<const F: bool>(dist: Dist, w: [[u32; L]; 4]) -> [[u32; L]; 4] {
    let mut out = w;
    match dist {
        Dist::Bits => {}
        Dist::Uniform => {
            for k in 0..4 {
                for i in 0..L {
                    out[k][i] = uniform(w[k][i]).to_bits();
                }
            }
        }
        Dist::Normal => {
            for k in [0, 2] {
                for i in 0..L {
                    let (c, s) = normal_pair::<F>(w[k][i], w[k + 1][i]);
                    out[k][i] = c.to_bits();
                    out[k + 1][i] = s.to_bits();
                }
            }
        }
    }
    out
}

/// Elements `e .. e + n` of a sample.
///
/// # Safety
/// `to` has room for `n` words.
#[inline(always)]
pub(super) unsafe fn fill<const F: bool>(
    dist: Dist,
    key: [u32; 2],
    counter: u32,
    sample: u32,
    e: usize,
    to: *mut u32,
    n: usize,
) {
    let mut quad = e / 4;
    let mut skip = e % 4;
    let mut done = 0;
    while done < n {
        let w = shape::<F>(dist, words(key, counter, sample, quad as u32));
        let mut block = [0u32; 4 * L];
        for i in 0..L {
            for k in 0..4 {
                block[4 * i + k] = w[k][i];
            }
        }
        let count = (4 * L - skip).min(n - done);
        // SAFETY: `count` words from `skip` are inside the block; `to` has room for n.
        unsafe { std::ptr::copy_nonoverlapping(block.as_ptr().add(skip), to.add(done), count) };
        done += count;
        quad += L;
        skip = 0;
    }
}

/// One element, for positions that are not neighbours.
pub fn element<const F: bool>(dist: Dist, key: [u32; 2], counter: u32, sample: u32, e: usize) -> u32 {
    let w = philox([counter, sample, (e / 4) as u32, 0], key);
    match dist {
        Dist::Bits => w[e % 4],
        Dist::Uniform => uniform(w[e % 4]).to_bits(),
        Dist::Normal => {
            let pair = e % 4 / 2 * 2;
            let (c, s) = normal_pair::<F>(w[pair], w[pair + 1]);
            if e.is_multiple_of(2) { c.to_bits() } else { s.to_bits() }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::exec::cpu::contract::Isa;
    use crate::graph::Dist;
    use crate::graph::philox;

    #[test]
    fn words_and_normals_are_those_of_the_graph() {
        let key = [0x1234_5678, 0x9abc_def0];
        for isa in Isa::available() {
            let lanes = super::super::lanes(isa);
            for (e, n) in [(0, 200), (3, 66), (5, 1), (64, 64)] {
                let mut out = vec![0u32; n];
                for dist in [Dist::Bits, Dist::Uniform, Dist::Normal] {
                    // SAFETY: `out` has room for n words.
                    unsafe { (lanes.noise)(dist, key, 7, 11, e, out.as_mut_ptr(), n) };
                    for (i, &w) in out.iter().enumerate() {
                        let word = philox::word(key, 7, 11, e + i);
                        match dist {
                            Dist::Bits => assert_eq!(w, word),
                            Dist::Uniform => assert_eq!(f64::from(f32::from_bits(w)), philox::uniform(word)),
                            Dist::Normal => {
                                let want = philox::normal(key, 7, 11, e + i);
                                let got = f64::from(f32::from_bits(w));
                                assert!((got - want).abs() < 2e-6, "{got} {want}");
                            }
                        }
                    }
                }
            }
        }
    }
}
