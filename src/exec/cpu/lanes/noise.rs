//! Philox4x32-10 and Box–Muller over lanes; the words are those of [`crate::graph::philox`].

use super::math;
use crate::graph::Dist;
use crate::graph::philox::philox;

/// Most counters that are worked on together; each gives four elements.
const L: usize = 128;

/// Four words each for counters `(counter, sample, first + i, 0)`, i below `n`.
///
/// 32-bit values are held in 64-bit lanes whose upper halves are ignored: that is how vectors multiply.
#[inline(always)]
fn words(key: [u32; 2], counter: u32, sample: u32, first: u32, out: &mut [[u32; L]; 4], n: usize) {
    const M0: u64 = 0xD251_1F53;
    const M1: u64 = 0xCD9E_8D57;
    const LOW: u64 = 0xffff_ffff;
    let [w0, w1, w2, w3] = out;
    for i in 0..n {
        let (mut c0, mut c1) = (u64::from(counter), u64::from(sample));
        let (mut c2, mut c3) = (u64::from(first.wrapping_add(i as u32)), 0u64);
        let (mut k0, mut k1) = (key[0], key[1]);
        for _ in 0..10 {
            let (p0, p1) = ((c0 & LOW) * M0, (c2 & LOW) * M1);
            c0 = (p1 >> 32) ^ c1 ^ u64::from(k0);
            c2 = (p0 >> 32) ^ c3 ^ u64::from(k1);
            c1 = p1;
            c3 = p0;
            k0 = k0.wrapping_add(0x9E37_79B9);
            k1 = k1.wrapping_add(0xBB67_AE85);
        }
        w0[i] = c0 as u32;
        w1[i] = c1 as u32;
        w2[i] = c2 as u32;
        w3[i] = c3 as u32;
    }
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

/// Words to pairs of normals, in place.
#[inline(always)]
fn normals<const F: bool>(a: &mut [u32; L], b: &mut [u32; L], n: usize) {
    for i in 0..n {
        let (c, s) = normal_pair::<F>(a[i], b[i]);
        a[i] = c.to_bits();
        b[i] = s.to_bits();
    }
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
    let mut w = [[0u32; L]; 4];
    let mut block = [0u32; 4 * L];
    while done < n {
        // Whole vectors, even if fewer are wanted.
        let counters = (skip + n - done).div_ceil(4).next_multiple_of(16).min(L);
        words(key, counter, sample, quad as u32, &mut w, counters);
        let [a, b, c, d] = &mut w;
        match dist {
            Dist::Bits => {}
            Dist::Uniform => {
                for w in [&mut *a, b, c, d] {
                    for w in &mut w[..counters] {
                        *w = uniform(*w).to_bits();
                    }
                }
            }
            Dist::Normal => {
                normals::<F>(a, b, counters);
                normals::<F>(c, d, counters);
            }
        }
        for i in 0..counters {
            block[4 * i] = a[i];
            block[4 * i + 1] = b[i];
            block[4 * i + 2] = c[i];
            block[4 * i + 3] = d[i];
        }
        let count = (4 * counters - skip).min(n - done);
        // SAFETY: `count` words from `skip` are inside the block; `to` has room for n.
        unsafe { std::ptr::copy_nonoverlapping(block.as_ptr().add(skip), to.add(done), count) };
        done += count;
        quad += counters;
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
