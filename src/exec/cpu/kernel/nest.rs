//! How a tile is walked: rows of one run each, with the affine forms that are followed.

use crate::fuse::Affine;

/// Rows and runs of a tile for some affine forms that are walked together.
#[derive(Clone, Debug)]
pub(super) struct Nest {
    /// The forms over all loops.
    pub forms: Vec<Affine>,
    /// Bounds: for guards the extent, else 0.
    pub bounds: Vec<i64>,
    /// Loops that are walked row by row, outermost first. Neighbours along which every form moves evenly are one: its
    /// innermost stands for them.
    rows: Vec<usize>,
    /// Extents of these (without that of the tiled loop, which is set by each tile).
    extents: Vec<usize>,
    /// Elements of a run for one index of the tiled loop.
    run: usize,
    /// Whether the tiled loop is part of the run.
    run_tiled: bool,
    /// Whether the tiled loop is part of the first row loop.
    row_tiled: bool,
    /// For each form, how far it moves from element to element in a run.
    pub steps: Vec<i64>,
}

impl Nest {
    /// Loops `tiled..` of `extents`; `bounds` as in the field.
    pub fn new(forms: Vec<Affine>, bounds: Vec<i64>, extents: &[usize], tiled: usize) -> Self {
        let rank = extents.len();
        // The run takes in loops from the innermost outwards as long as every form keeps its step.
        let mut start = rank;
        let mut run = 1;
        let mut steps: Vec<i64> = vec![0; forms.len()];
        while start > tiled {
            let l = start - 1;
            let fits = if run == 1 {
                steps = forms.iter().map(|f| f.coef[l]).collect();
                true
            } else {
                extents[l] == 1 || forms.iter().zip(&steps).all(|(f, s)| f.coef[l] == s * run as i64)
            };
            if !fits {
                break;
            }
            start = l;
            if l > tiled {
                run *= extents[l];
            }
        }
        let run_tiled = rank > tiled && start == tiled;
        let (mut rows, mut counts): (Vec<usize>, Vec<usize>) = (vec![], vec![]);
        for l in (tiled..start).rev().filter(|&l| l == tiled || extents[l] != 1) {
            let extent = if l == tiled { 1 } else { extents[l] };
            match (rows.last(), counts.last_mut()) {
                (Some(&inner), Some(n)) if forms.iter().all(|f| f.coef[l] == f.coef[inner] * *n as i64) => {
                    *n *= extent
                }
                _ => {
                    rows.push(l);
                    counts.push(extent);
                }
            }
        }
        rows.reverse();
        counts.reverse();
        let row_tiled = !rows.is_empty();
        Self { forms, bounds, rows, extents: counts, run, run_tiled, row_tiled, steps }
    }

    /// Whether the tile is one run along which form 0 moves by `step`.
    pub fn is_run(&self, step: i64) -> bool {
        self.rows.is_empty() && self.steps.first() == Some(&step)
    }

    fn extent(&self, k: usize, count: usize) -> usize {
        if k == 0 && self.row_tiled { count * self.extents[0] } else { self.extents[k] }
    }

    /// How far a form moves from row to row of a block.
    pub fn row_step(&self, form: usize) -> i64 {
        self.rows.last().map_or(0, |&l| self.forms[form].coef[l])
    }

    /// If form 0 goes over the same run of neighbours in every row: length of the run, rows, form 0's value.
    #[inline]
    pub fn stacked(&self, count: usize, index: &[i64]) -> Option<(usize, usize, i64)> {
        let f = &self.forms[0];
        if self.rows.is_empty() || self.steps[0] != 1 || self.rows.iter().any(|&l| f.coef[l] != 0) {
            return None;
        }
        let rows = (0..self.rows.len()).map(|k| self.extent(k, count)).product();
        let at = f.offset + f.coef.iter().zip(index).map(|(c, i)| c * i).sum::<i64>();
        Some((self.run, rows, at))
    }

    /// Calls `row(first element in the tile, elements, forms' values)` for each row. `count` is the tile's extent of
    /// the tiled loop, `index` the loops' indices at its first element, `at` scratch for twice the forms.
    #[inline]
    pub fn walk(&self, count: usize, index: &[i64], at: &mut [i64], mut row: impl FnMut(usize, usize, &[i64])) {
        let n = self.forms.len();
        let (at, moving) = at.split_at_mut(n);
        self.blocks(count, index, at, |e, rows, run, at| {
            let moving = &mut moving[..n];
            moving.copy_from_slice(at);
            for i in 0..rows {
                row(e + i * run, run, moving);
                for (k, m) in moving.iter_mut().enumerate() {
                    *m += self.row_step(k);
                }
            }
        });
    }

    /// As [`Nest::walk`], but for whole blocks of rows: `block(first element, rows, elements of a row, forms' values at
    /// the first row)`; from row to row they move by [`Nest::row_step`]. `at` is scratch for the forms.
    #[inline]
    pub fn blocks(
        &self,
        count: usize,
        index: &[i64],
        at: &mut [i64],
        mut block: impl FnMut(usize, usize, usize, &[i64]),
    ) {
        let n = self.forms.len();
        let at = &mut at[..n];
        for (a, f) in at.iter_mut().zip(&self.forms) {
            *a = f.offset + f.coef.iter().zip(index).map(|(c, i)| c * i).sum::<i64>();
        }
        let run = if self.run_tiled { self.run * count } else { self.run };
        let Some(outer) = self.rows.len().checked_sub(1) else {
            block(0, 1, run, at);
            return;
        };
        let rows = self.extent(outer, count);
        let mut counter = [0usize; 16];
        let mut done = 0;
        'all: loop {
            block(done, rows, run, at);
            done += rows * run;
            for d in (0..outer).rev() {
                counter[d] += 1;
                let l = self.rows[d];
                for k in 0..n {
                    at[k] += self.forms[k].coef[l];
                }
                if counter[d] < self.extent(d, count) {
                    continue 'all;
                }
                for k in 0..n {
                    at[k] -= self.forms[k].coef[l] * self.extent(d, count) as i64;
                }
                counter[d] = 0;
            }
            break;
        }
    }

    /// The part of a run in which the guards (forms from `first` on) hold.
    #[inline]
    pub fn inside(&self, first: usize, run: usize, at: &[i64]) -> (usize, usize) {
        let (mut lo, mut hi) = (0i64, run as i64);
        for k in first..self.forms.len() {
            let (g, c, e) = (at[k], self.steps[k], self.bounds[k]);
            if c == 0 {
                if g < 0 || g >= e {
                    return (0, 0);
                }
            } else if c > 0 {
                // 0 <= g + c i < e
                lo = lo.max((-g).div_euclid(c) + i64::from((-g).rem_euclid(c) != 0));
                hi = hi.min((e - g).div_euclid(c) + i64::from((e - g).rem_euclid(c) != 0));
            } else {
                let c = -c;
                // 0 <= g - c i < e: i <= g / c, i > (g - e) / c
                hi = hi.min(g.div_euclid(c) + 1);
                lo = lo.max((g - e).div_euclid(c) + 1);
            }
        }
        if lo >= hi { (0, 0) } else { (lo as usize, hi as usize) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_runs() {
        // [3, 4, 5] read as its own transpose over the first two axes.
        let f = Affine { coef: vec![5, 15, 1], offset: 2 };
        let nest = Nest::new(vec![f.clone()], vec![0], &[3, 4, 5], 0);
        let mut seen = vec![];
        nest.walk(3, &[0, 0, 0], &mut [0; 2], |at, run, f| seen.push((at, run, f[0])));
        assert_eq!(seen.len(), 12);
        assert_eq!(seen[1], (5, 5, 17));
        assert_eq!(seen[4], (20, 5, 7));
        let nest = Nest::new(vec![Affine::row_major(&[3, 4, 5])], vec![0], &[3, 4, 5], 1);
        assert!(nest.is_run(1));
        let mut seen = vec![];
        nest.walk(2, &[1, 2, 0], &mut [0; 2], |at, run, f| seen.push((at, run, f[0])));
        assert_eq!(seen, [(0, 10, 30)]);
    }

    #[test]
    fn guards_are_ranges() {
        let guard = |c: i64, g: i64, e: i64| {
            let nest = Nest::new(vec![Affine { coef: vec![c], offset: g }], vec![e], &[10], 0);
            let mut got = (0, 0);
            nest.walk(10, &[0], &mut [0; 2], |_, run, at| got = nest.inside(0, run, at));
            let want: Vec<usize> = (0..10).filter(|&i| (0..e).contains(&(g + c * i as i64))).collect();
            let want = want.first().map_or((0, 0), |&a| (a, want[want.len() - 1] + 1));
            assert_eq!(got, want, "{c} {g} {e}");
        };
        for c in -3..=3 {
            for g in -5..12 {
                for e in 1..9 {
                    guard(c, g, e);
                }
            }
        }
    }
}
