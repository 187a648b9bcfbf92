//! Philox4x32-10 (Salmon et al. 2011): counter-based random words, the same on every device.
//!
//! A random leaf of shape `[n, rest…]` draws element `e` (row-major within the sample) of sample `s` from counter
//! `(counter, s, e / 4, 0)`, word `e % 4`, under the key `(key[0] ^ high(stream), key[1] ^ low(stream))`. A rank-0
//! leaf is sample 0, element 0. Normals pair words `(0, 1)` and `(2, 3)` of a counter: with
//! `u1 = ((a >> 8) + 1) * 2^-24`, `u2 = (b >> 8) * 2^-24`, `r = sqrt(-2 ln u1)` the even element is
//! `r cos(2 pi u2)`, the odd one `r sin(2 pi u2)` (Box & Muller 1958).

const M0: u32 = 0xD251_1F53;
const M1: u32 = 0xCD9E_8D57;
const W0: u32 = 0x9E37_79B9;
const W1: u32 = 0xBB67_AE85;

/// Ten rounds: four words for a counter under a key.
pub fn philox(mut c: [u32; 4], mut k: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let p0 = u64::from(M0) * u64::from(c[0]);
        let p1 = u64::from(M1) * u64::from(c[2]);
        c = [(p1 >> 32) as u32 ^ c[1] ^ k[0], p1 as u32, (p0 >> 32) as u32 ^ c[3] ^ k[1], p0 as u32];
        k = [k[0].wrapping_add(W0), k[1].wrapping_add(W1)];
    }
    c
}

/// The key of a stream under a seed's key.
pub fn stream_key(key: [u32; 2], stream: u64) -> [u32; 2] {
    [key[0] ^ (stream >> 32) as u32, key[1] ^ stream as u32]
}

/// The word of element `e` of sample `s`.
pub fn word(key: [u32; 2], counter: u32, s: usize, e: usize) -> u32 {
    philox([counter, s as u32, (e / 4) as u32, 0], key)[e % 4]
}

/// In [0, 1), exact in f32.
pub fn uniform(word: u32) -> f64 {
    f64::from(word >> 8) / f64::from(1 << 24)
}

/// Standard normal of element `e` of sample `s`, in f64.
pub fn normal(key: [u32; 2], counter: u32, s: usize, e: usize) -> f64 {
    let w = philox([counter, s as u32, (e / 4) as u32, 0], key);
    let pair = (e % 4) / 2 * 2;
    let u1 = (f64::from(w[pair] >> 8) + 1.0) / f64::from(1 << 24);
    let u2 = uniform(w[pair + 1]);
    let r = (-2.0 * u1.ln()).sqrt();
    let a = std::f64::consts::TAU * u2;
    if e.is_multiple_of(2) { r * a.cos() } else { r * a.sin() }
}

/// The stream of an origin path: FNV-1a, so that it depends on nothing but the name.
pub fn stream(path: &str) -> u64 {
    path.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let c = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        assert_eq!(philox(c, [0xa409_3822, 0x299f_31d0]), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }
}
