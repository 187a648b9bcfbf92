//! Loops over many short rows at once: a call a row would cost more than the row.

/// Longest row that these loops are for; longer ones are worth a call each.
pub const SHORT: usize = 64;

/// Runs `$body` with `$run` a constant where it is a common length, so that the loop over a row is unrolled.
macro_rules! with_run {
    ($run:ident, $body:expr) => {
        match $run {
            1 => {
                const N: usize = 1;
                let $run = N;
                $body
            }
            2 => {
                const N: usize = 2;
                let $run = N;
                $body
            }
            3 => {
                const N: usize = 3;
                let $run = N;
                $body
            }
            4 => {
                const N: usize = 4;
                let $run = N;
                $body
            }
            8 => {
                const N: usize = 8;
                let $run = N;
                $body
            }
            16 => {
                const N: usize = 16;
                let $run = N;
                $body
            }
            32 => {
                const N: usize = 32;
                let $run = N;
                $body
            }
            _ => $body,
        }
    };
}

/// `to[i * run + k] = from[i * row_step + k * step]`
///
/// # Safety
/// `to` is valid for `rows * run` words, `from` for all that are read; they do not overlap.
#[inline(always)]
pub(super) unsafe fn gather(to: *mut u32, from: *const u32, [row_step, step]: [isize; 2], rows: usize, run: usize) {
    // SAFETY: as the caller vouches.
    unsafe {
        match step {
            0 => with_run!(run, {
                for i in 0..rows {
                    let x = *from.offset(i as isize * row_step);
                    let to = to.add(i * run);
                    for k in 0..run {
                        *to.add(k) = x;
                    }
                }
            }),
            1 => with_run!(run, {
                for i in 0..rows {
                    let (from, to) = (from.offset(i as isize * row_step), to.add(i * run));
                    for k in 0..run {
                        *to.add(k) = *from.add(k);
                    }
                }
            }),
            _ => with_run!(run, {
                for i in 0..rows {
                    let (from, to) = (from.offset(i as isize * row_step), to.add(i * run));
                    for k in 0..run {
                        *to.add(k) = *from.offset(k as isize * step);
                    }
                }
            }),
        }
    }
}

/// `to[i * row_step + k * step] = from[i * run + k]`
///
/// # Safety
/// `from` is valid for `rows * run` words, `to` for all that are written; they do not overlap.
#[inline(always)]
pub(super) unsafe fn scatter(
    to: *mut u32,
    [row_step, step]: [isize; 2],
    from: *const u32,
    rows: usize,
    run: usize,
) {
    // SAFETY: as the caller vouches.
    unsafe {
        if step == 1 {
            with_run!(run, {
                for i in 0..rows {
                    let (from, to) = (from.add(i * run), to.offset(i as isize * row_step));
                    for k in 0..run {
                        *to.add(k) = *from.add(k);
                    }
                }
            });
        } else {
            with_run!(run, {
                for i in 0..rows {
                    let (from, to) = (from.add(i * run), to.offset(i as isize * row_step));
                    for k in 0..run {
                        *to.offset(k as isize * step) = *from.add(k);
                    }
                }
            });
        }
    }
}

/// `to[i * row_step] += from[i * run] + … + from[i * run + run - 1]`, each row from left to right.
///
/// # Safety
/// `from` is valid for `rows * run` values, `to` for all that are written; they do not overlap.
#[inline(always)]
pub(super) unsafe fn sum_rows(to: *mut f32, row_step: isize, from: *const f32, rows: usize, run: usize) {
    // SAFETY: as the caller vouches.
    unsafe {
        with_run!(run, {
            for i in 0..rows {
                let (from, to) = (from.add(i * run), to.offset(i as isize * row_step));
                let mut sum = 0.0;
                for k in 0..run {
                    sum += *from.add(k);
                }
                *to += sum;
            }
        });
    }
}

/// Rows that are added up side by side before their sums are: as many words as four vectors of the widest kind.
const SIDE: usize = 64;

/// `to[k] += from[k] + from[run + k] + …` over `rows` rows, `run` at most [`SHORT`]: as many rows as fit beside each
/// other first, then those sums from left to right.
///
/// # Safety
/// `from` is valid for `rows * run` values, `to` for `run`; they do not overlap.
#[inline(always)]
pub(super) unsafe fn stack(to: *mut f32, from: *const f32, rows: usize, run: usize) {
    debug_assert!(run <= SHORT);
    let beside = SIDE / run;
    let width = beside * run;
    let mut sums = [0.0f32; SIDE];
    // SAFETY: as the caller vouches.
    unsafe {
        let from = std::slice::from_raw_parts(from, rows * run);
        let to = std::slice::from_raw_parts_mut(to, run);
        let blocks = from.chunks_exact(width);
        let rest = blocks.remainder();
        if width == SIDE {
            for b in blocks {
                for k in 0..SIDE {
                    sums[k] += b[k];
                }
            }
        } else {
            for b in blocks {
                for (s, x) in sums.iter_mut().zip(b) {
                    *s += x;
                }
            }
        }
        for (s, x) in sums.iter_mut().zip(rest) {
            *s += x;
        }
        let mut total = [0.0f32; SHORT];
        for row in sums[..width].chunks_exact(run) {
            for (t, s) in total.iter_mut().zip(row) {
                *t += s;
            }
        }
        for (t, s) in to.iter_mut().zip(&total) {
            *t += s;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::exec::cpu::contract::Isa;
    use crate::exec::cpu::lanes::lanes;

    const ISAS: [Isa; 3] = [Isa::Portable, Isa::Avx2, Isa::Avx512];

    #[test]
    fn rows_of_all_lengths() {
        let from: Vec<u32> = (0..4096).collect();
        for isa in ISAS {
            let l = lanes(isa);
            for run in [1, 2, 3, 4, 5, 7, 8, 16, 31, 32, 33, 64] {
                for rows in [0, 1, 2, 7, 33] {
                    for step in [0isize, 1, 2, 5] {
                        for row_step in [0isize, 1, 3, run as isize] {
                            let at = |i: usize, k: usize| (i as isize * row_step + k as isize * step) as usize;
                            let mut to = vec![9u32; rows * run + 1];
                            // SAFETY: 33 · 64 + 64 · 5 words are read at most.
                            unsafe { (l.gather)(to.as_mut_ptr(), from.as_ptr(), [row_step, step], rows, run) };
                            let same = (0..rows * run).all(|e| to[e] as usize == at(e / run, e % run));
                            assert!(same && to[rows * run] == 9, "gather {isa:?} {run} {rows} {step} {row_step}");
                            let (mut want, mut got) = (vec![9u32; 4096], vec![9u32; 4096]);
                            (0..rows * run).for_each(|e| want[at(e / run, e % run)] = e as u32);
                            // SAFETY: as above.
                            unsafe { (l.scatter)(got.as_mut_ptr(), [row_step, step], from.as_ptr(), rows, run) };
                            assert!(want == got, "scatter {isa:?} {run} {rows} {step} {row_step}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn sums_of_all_lengths() {
        // Small integers: exact in any order.
        let from: Vec<f32> = (0..33 * 64).map(|i| (i * 7 % 19) as f32).collect();
        for isa in ISAS {
            let l = lanes(isa);
            for run in [1, 2, 3, 4, 5, 7, 8, 16, 31, 32, 33, 64] {
                for rows in [0, 1, 2, 7, 33] {
                    let mut sums = vec![1.0f32; 2 * 33];
                    // SAFETY: all ranges are as long as is asked.
                    unsafe { (l.sum_rows)(sums.as_mut_ptr(), 2, from.as_ptr(), rows, run) };
                    let mut stacked = vec![1.0f32; run + 1];
                    // SAFETY: as above.
                    unsafe { (l.stack)(stacked.as_mut_ptr(), from.as_ptr(), rows, run) };
                    for i in 0..33 {
                        let want = 1.0 + if i < rows { from[i * run..(i + 1) * run].iter().sum() } else { 0.0 };
                        assert_eq!([sums[2 * i], sums[2 * i + 1]], [want, 1.0], "{isa:?} {run} {rows}");
                    }
                    for k in 0..run {
                        let want = 1.0 + (0..rows).map(|i| from[i * run + k]).sum::<f32>();
                        assert_eq!(stacked[k], want, "{isa:?} {run} {rows}");
                    }
                    assert_eq!(stacked[run], 1.0);
                }
            }
        }
    }
}
