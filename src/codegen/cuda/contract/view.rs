//! Affine functions of a block's coordinates and two groups of others as CUDA C: a struct that works out the block's
//! part once, each group's part where that group's index is known, and adds them.

use super::space::{Group, Space, Uniform};
use crate::fuse::{Affine, Guard};
use crate::graph::DType;
use std::fmt::Write;

/// A digit of a group's index: `index / over % extent`, and what it adds to each form.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Digit {
    extent: usize,
    coef: Vec<i64>,
}

/// Functions of a block's coordinates and of two indices.
#[derive(Clone, Debug)]
pub struct View {
    block: Vec<Uniform>,
    /// Digits of the first index (rows, or columns of a right operand) and of the second.
    sides: [Vec<Digit>; 2],
    /// Offset and factors of the block's coordinates, for each form.
    uniform: Vec<(i64, Vec<i64>)>,
    /// Bounds of the last forms; the others are free.
    bounds: Vec<i64>,
}

/// An affine form of coordinates that are affine forms themselves.
pub fn through(form: &Affine, coords: &[Affine], rank: usize) -> Affine {
    let mut at = Affine::constant(rank, form.offset);
    for (c, &k) in coords.iter().zip(&form.coef) {
        at = at.plus(c, k);
    }
    at
}

impl View {
    /// Forms and guards over two groups of a space.
    pub fn new(space: &Space, groups: [Group; 2], forms: &[Affine], guards: &[Guard]) -> Self {
        let all: Vec<&Affine> = forms.iter().chain(guards.iter().map(|g| &g.at)).collect();
        let digits = groups.map(|group| {
            let extents = space.extents(group);
            let mut digits: Vec<Digit> = vec![];
            for (extent, axis) in extents.into_iter().zip(space.range(group)).filter(|a| a.0 != 1) {
                let coef: Vec<i64> = all.iter().map(|f| f.coef[axis]).collect();
                match digits.last_mut() {
                    // One walk through both.
                    Some(d) if d.coef.iter().zip(&coef).all(|(a, b)| *a == b * extent as i64) => {
                        *d = Digit { extent: d.extent * extent, coef };
                    }
                    _ => digits.push(Digit { extent, coef }),
                }
            }
            digits
        });
        // A coordinate of one value is 0.
        let blocks = space.range(Group::Block).zip(space.extents(Group::Block));
        let factors = |f: &Affine| blocks.clone().map(|(i, n)| if n == 1 { 0 } else { f.coef[i] }).collect();
        let uniform = all.iter().map(|f| (f.offset, factors(f))).collect();
        View {
            block: space.block.clone(),
            sides: digits,
            uniform,
            bounds: guards.iter().map(|g| g.extent).collect(),
        }
    }

    /// A tensor that lies block after block, row after row, each row `width` long.
    pub fn dense(blocks: usize, rows: usize, width: usize) -> Self {
        let digit = |extent: usize, by: usize| {
            if extent == 1 { vec![] } else { vec![Digit { extent, coef: vec![by as i64] }] }
        };
        View {
            block: vec![Uniform::Digit { over: 1, extent: blocks }],
            sides: [digit(rows, width), digit(width, 1)],
            uniform: vec![(0, vec![if blocks == 1 { 0 } else { (rows * width) as i64 }])],
            bounds: vec![],
        }
    }

    /// Offset and steps along both indices of a single form that is no more than that: a matrix as it lies in memory.
    pub fn matrix(&self) -> Option<[i64; 3]> {
        let [(offset, blocks)] = self.uniform.as_slice() else { return None };
        let plain =
            self.bounds.is_empty() && blocks.iter().all(|f| *f == 0) && self.sides.iter().all(|s| s.len() < 2);
        plain.then(|| [*offset, self.step(0, 0), self.step(0, 1)])
    }

    /// Number of values of an index.
    pub fn extent(&self, side: usize) -> usize {
        self.sides[side].iter().map(|d| d.extent).product()
    }

    /// Number of forms that are no guards.
    pub fn free(&self) -> usize {
        self.uniform.len() - self.bounds.len()
    }

    /// How many neighbours along an index lie side by side, from an address that they divide: a divisor of `most`
    /// (a power of two). Asks about one form.
    pub fn vector(&self, form: usize, side: usize, most: usize) -> usize {
        let Some(last) = self.sides[side].last() else { return 1 };
        let guards = &last.coef[self.free()..];
        if last.coef[form] != 1 || guards.iter().any(|&c| c != 0) {
            return 1;
        }
        let (offset, blocks) = &self.uniform[form];
        let mut v = most;
        let mut divides = |n: i64| {
            while v > 1 && n % v as i64 != 0 {
                v /= 2;
            }
        };
        divides(*offset);
        divides(last.extent as i64);
        blocks.iter().for_each(|f| divides(*f));
        let others = self.sides[side].iter().rev().skip(1).chain(&self.sides[1 - side]);
        others.for_each(|d| divides(d.coef[form]));
        v
    }

    /// By how much a form moves from one neighbour along an index to the next.
    pub fn step(&self, form: usize, side: usize) -> i64 {
        self.sides[side].last().map_or(0, |d| d.coef[form])
    }

    /// Which one free form moves along with an index, in steps of one, while the others and the guards stay, and for
    /// how many neighbours at a time: a divisor of `most` (a power of two).
    pub fn walk(&self, side: usize, most: usize) -> Option<(usize, usize)> {
        let last = self.sides[side].last()?;
        let mut moving = last.coef.iter().enumerate().filter(|c| *c.1 != 0);
        let (form, &step) = moving.next()?;
        if step != 1 || form >= self.free() || moving.next().is_some() {
            return None;
        }
        let mut v = most;
        while last.extent % v != 0 {
            v /= 2;
        }
        Some((form, v))
    }

    /// A place of these parts, which is inside: told that it is not negative, the compiler adds it to an address in one step.
    pub fn place(ty: &str, parts: &str) -> String {
        if ty == "int" { format!("(unsigned)({parts})") } else { format!("({parts})") }
    }

    /// `int`, or a wider type for tensors of more elements than that counts.
    pub fn index_type(elements: usize) -> &'static str {
        if elements < 1 << 31 { "int" } else { "long long" }
    }

    /// Members of the struct: the block's part, and what is kept of each index.
    pub fn members(&self, names: [&str; 2], ty: &str) -> String {
        let list = |p: &str| (0..self.uniform.len()).map(|i| format!("{p}{i}")).collect::<Vec<_>>().join(", ");
        let mut s = format!("  {ty} {};\n", list("b"));
        for name in names {
            let _ = writeln!(s, "  struct {name} {{ bool in; {ty} {}; }};", list("f"));
        }
        s
    }

    /// Statements of the constructor that set the block's part from `z`.
    pub fn prepare(&self, ty: &str) -> String {
        let mut s = block_lines(&self.block, |i| self.uniform.iter().any(|u| u.1[i] != 0));
        for (j, (offset, factors)) in self.uniform.iter().enumerate() {
            let terms = factors.iter().enumerate().map(|(i, f)| (*f, format!("({ty})i{i}")));
            let _ = writeln!(s, "    b{j} = {};", sum(*offset, terms));
        }
        s
    }

    /// The function that works out what is kept of an index; `whole`: no index is beyond the extent.
    pub fn side(&self, side: usize, function: &str, kept: &str, ty: &str, whole: bool) -> String {
        let extent = self.extent(side);
        let mut s = format!("  GANC_DEVICE {kept} {function}(int n) const {{\n");
        let digits = &self.sides[side];
        let mut over = extent;
        for (i, d) in digits.iter().enumerate() {
            over /= d.extent.max(1);
            let quotient = if over > 1 { format!("n / {over}") } else { "n".to_string() };
            let of = if i > 0 { format!("{quotient} % {}", d.extent.max(1)) } else { quotient };
            let _ = writeln!(s, "    const {ty} d{i} = {of};");
        }
        let inside = if whole { "true".into() } else { format!("n < {extent}") };
        let _ = writeln!(s, "    {kept} r;\n    r.in = {inside};");
        for j in 0..self.uniform.len() {
            let terms = digits.iter().enumerate().map(|(i, d)| (d.coef[j], format!("d{i}")));
            let part = sum(0, terms);
            let value = match (side, part.as_str()) {
                (0, "0") => format!("b{j}"),
                (0, _) => format!("b{j} + {part}"),
                _ => part,
            };
            let _ = writeln!(s, "    r.f{j} = {value};");
        }
        s.push_str("    return r;\n  }\n");
        s
    }

    /// Whether the digits of a multiple of `step` and of a number below it add up without a carry: what is kept of the
    /// second index is then a part that all threads share, and one that a thread has for all steps.
    pub fn splits(&self, step: usize) -> bool {
        let mut under = 1;
        for d in self.sides[1].iter().rev() {
            let over = under * d.extent;
            if !step.is_multiple_of(over) {
                return over.is_multiple_of(step);
            }
            under = over;
        }
        true
    }

    /// The same function of the second index as [`View::side`] writes, of a multiple of the step and what lies beyond it;
    /// `apart`: each for itself, see [`View::splits`].
    pub fn stepwise(&self, function: &str, kept: &str, apart: bool) -> String {
        let mut s = format!("  GANC_DEVICE {kept} {function}(int step, int n) const {{\n");
        if !apart {
            let _ = writeln!(s, "    return {function}(step + n);\n  }}");
            return s;
        }
        let all = (0..self.uniform.len()).map(|j| format!(", x.f{j} + y.f{j}")).collect::<String>();
        let _ = writeln!(
            s,
            "    const {kept} x = {function}(step), y = {function}(n);\n    return {{true{all}}};\n  }}"
        );
        s
    }

    /// Whether an element is inside: an expression of what is kept of both indices.
    pub fn inside(&self, names: [&str; 2]) -> String {
        let mut s = format!("{}.in && {}.in", names[0], names[1]);
        for (i, bound) in self.bounds.iter().enumerate() {
            let j = self.free() + i;
            let _ = write!(s, " && (unsigned)({}.f{j} + {}.f{j}) < {bound}u", names[0], names[1]);
        }
        s
    }
}

/// `offset + Σ factor * name`
fn sum(offset: i64, terms: impl Iterator<Item = (i64, String)>) -> String {
    let mut s = String::new();
    for (f, name) in terms.filter(|t| t.0 != 0) {
        let sign = match (s.is_empty(), f < 0) {
            (true, true) => "-",
            (true, false) => "",
            (false, true) => " - ",
            (false, false) => " + ",
        };
        s.push_str(sign);
        match f.unsigned_abs() {
            1 => s.push_str(&name),
            k => {
                let _ = write!(s, "{k} * {name}");
            }
        }
    }
    match (s.is_empty(), offset) {
        (true, _) => offset.to_string(),
        (false, 0) => s,
        (false, o) if o < 0 => format!("{s} - {}", o.unsigned_abs()),
        (false, o) => format!("{s} + {o}"),
    }
}

/// Declarations of the block's coordinates that are used, from `z`.
fn block_lines(block: &[Uniform], used: impl Fn(usize) -> bool) -> String {
    let mut s = String::new();
    for (i, b) in block.iter().enumerate().filter(|b| used(b.0)) {
        match b {
            Uniform::Digit { over: 1, .. } if i == 0 => {
                let _ = writeln!(s, "    const int i{i} = z;");
            }
            Uniform::Digit { over, extent } => {
                let _ = writeln!(s, "    const int i{i} = z / {over} % {extent};");
            }
            Uniform::Table(values) => {
                let phases = values.len();
                let _ = write!(s, "    const int p{i} = z % {phases};\n    const int i{i} = ");
                for (p, v) in values.iter().enumerate().take(phases - 1) {
                    let _ = write!(s, "p{i} == {p} ? {v} : ");
                }
                let _ = writeln!(s, "{};", values[phases - 1]);
            }
        }
    }
    s
}

/// The element type in device memory, as the product's text has it.
pub fn element(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float",
        DType::F16 => "ganc_f16",
        DType::Bf16 => "ganc_bf16",
        DType::U32 => "unsigned",
        DType::Bool => "unsigned char",
    }
}

#[cfg(test)]
mod tests {
    use super::{Digit, View};

    #[test]
    fn steps_split_where_nothing_is_carried() {
        let splits = |extents: &[usize], step: usize| {
            let digits = extents.iter().map(|&extent| Digit { extent, coef: vec![1] }).collect();
            View { block: vec![], sides: [vec![], digits], uniform: vec![], bounds: vec![] }.splits(step)
        };
        // Part of a row of a picture, several rows, a whole one.
        assert!(splits(&[4, 8, 32], 16) && splits(&[4, 8, 4], 16) && splits(&[4, 8, 16], 16));
        // Rows that a step does not end with, nor begins with.
        assert!(!splits(&[4, 8, 6], 16) && !splits(&[4, 8, 24], 16) && !splits(&[4, 6, 4], 16));
        // All of it in one step, one number, none.
        assert!(splits(&[2, 8], 16) && splits(&[], 16) && splits(&[0], 16));
    }
}
