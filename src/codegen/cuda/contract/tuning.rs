//! Which tiles were the fastest where they were measured, and the search for them.
//!
//! A [`Tuning`] says how to cut products of certain shapes; [`super::tiles::choose`] guesses for all others. It is text,
//! a line a shape, so that it can be kept in a file and read by a person. A line that this version has no tile for is
//! as if it were not there.

use super::super::Arch;
use super::tiles::{Access, Choice, Math, Size, Tile, choices, fastest};
use std::collections::BTreeMap;
use std::fmt;

/// Products that are alike in this are computed alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// How operands are multiplied.
    pub math: Math,
    /// Extents.
    pub size: Size,
    /// How the two operands are read.
    pub access: [Access; 2],
}

/// As in `bf16 1 x 512 x 128 x 1152, 8 copied, 1`: kind, products, rows, columns, sum; elements of an access of each
/// operand, whether they lie across the sum, and whether its bytes stay as they are, or how many lie apart.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Size { blocks, m, n, k } = self.size;
        let math = self.math.name().trim_start_matches("ganc_math_");
        write!(f, "{math} {blocks} x {m} x {n} x {k}")?;
        for a in &self.access {
            write!(f, ", {}", a.vector)?;
            if !a.along {
                write!(f, " across")?;
            }
            if a.copied {
                write!(f, " copied")?;
            }
            if let Some(n) = a.apart {
                write!(f, " of {n} apart")?;
            }
        }
        Ok(())
    }
}

/// As in `128 x 64 x 32 by 4 x 4, 128 threads, 3 stages, 2 parts`.
impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.tile)?;
        if self.parts > 1 {
            write!(f, ", {} parts", self.parts)?;
        }
        Ok(())
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tile { m, n, k, own, threads, stages, groups, shares, .. } = self;
        write!(f, "{m} x {n} x {k} by {} x {}, {threads} threads, {stages} stages", own[0], own[1])?;
        if *groups {
            write!(f, ", groups")?;
        }
        if *shares > 1 {
            write!(f, ", {shares} shares")?;
        }
        Ok(())
    }
}

/// Measured choices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tuning {
    /// Text of a shape, text of a choice.
    lines: BTreeMap<String, String>,
    /// See [`Tuning::apart`].
    apart: bool,
}

impl Tuning {
    /// Reads lines `SHAPE = CHOICE`; others are left out.
    pub fn parse(text: &str) -> Self {
        let line = |l: &str| l.split_once(" = ").map(|(a, b)| (a.trim().to_string(), b.trim().to_string()));
        Self { lines: text.lines().filter(|l| !l.starts_with('#')).filter_map(line).collect(), apart: false }
    }

    /// The same for a program whose products are measured: what a product needs is done for it alone, right before it.
    pub fn apart(&self) -> Self {
        Self { apart: true, ..self.clone() }
    }

    /// Whether it is [`Tuning::apart`].
    pub fn is_apart(&self) -> bool {
        self.apart
    }

    /// Takes over what another has, in place of what is here of the same shapes.
    pub fn add(&mut self, other: &Tuning) {
        self.lines.extend(other.lines.iter().map(|(a, b)| (a.clone(), b.clone())));
    }

    /// Number of shapes.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether this shape was measured.
    pub fn has(&self, shape: &Shape) -> bool {
        self.lines.contains_key(&shape.to_string())
    }

    /// Notes how to cut products of a shape.
    pub fn set(&mut self, shape: &Shape, choice: &Choice) {
        self.lines.insert(shape.to_string(), choice.to_string());
    }

    /// How to cut products of a shape.
    pub fn choice(&self, shape: &Shape, arch: Arch) -> Choice {
        let all = choices(shape.math, arch, shape.size, true, shape.access);
        self.measured(shape, &all).unwrap_or_else(|| fastest(all))
    }

    /// How to cut products of a shape, of which one launch makes `twins` as a rule. What was measured was one by itself,
    /// its sum cut into parts for as many blocks as a device can have.
    pub fn choice_of_twins(&self, shape: &Shape, arch: Arch, twins: usize) -> Choice {
        let size = Size { blocks: twins * shape.size.blocks, ..shape.size };
        let mut all = choices(shape.math, arch, size, true, shape.access);
        all.retain(|c| !c.0.tile.tight);
        self.measured(shape, &all).filter(|c| c.parts == 1).unwrap_or_else(|| fastest(all))
    }

    /// The one of these that was measured to be the fastest for a shape.
    fn measured(&self, shape: &Shape, all: &[(Choice, usize)]) -> Option<Choice> {
        let text = self.lines.get(&shape.to_string())?;
        all.iter().map(|c| c.0).find(|c| c.to_string() == *text)
    }
}

impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|(shape, choice)| writeln!(f, "{shape} = {choice}"))
    }
}

/// One shape's candidates, the most promising first, and what they took.
#[derive(Clone, Debug)]
struct Candidates {
    choices: Vec<Choice>,
    nanos: Vec<Option<f64>>,
}

/// A search over all shapes of a program at once: in each round every shape tries its next candidate, so that there are
/// as many rounds as one shape has candidates.
#[derive(Clone, Debug)]
pub struct Search {
    shapes: BTreeMap<Shape, Candidates>,
    round: usize,
}

/// What a search found out about a shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The shape.
    pub shape: Shape,
    /// What is chosen without a measurement, and its time in nanoseconds; none if that program did not run.
    pub guess: (Choice, Option<f64>),
    /// The fastest, and its time.
    pub best: (Choice, f64),
    /// Candidates that ran.
    pub tried: usize,
}

impl Search {
    /// A search among the `most` best guesses for each shape. The guess that is taken without a measurement is first.
    pub fn new(shapes: impl IntoIterator<Item = Shape>, arch: Arch, most: usize) -> Self {
        let candidates = |s: Shape| {
            let mut all = choices(s.math, arch, s.size, true, s.access);
            all.sort_by_key(|c| c.1);
            let choices: Vec<Choice> = all.into_iter().take(most.max(1)).map(|c| c.0).collect();
            (s, Candidates { nanos: vec![None; choices.len()], choices })
        };
        Self { shapes: shapes.into_iter().map(candidates).collect(), round: 0 }
    }

    /// Rounds in all.
    pub fn rounds(&self) -> usize {
        self.shapes.values().map(|c| c.choices.len()).max().unwrap_or(0)
    }

    /// What to try in this round: `base`, but for shapes that still have candidates. `None` when all were tried.
    pub fn next(&self, base: &Tuning) -> Option<Tuning> {
        let mut tuning = base.clone();
        let mut any = false;
        for (shape, c) in &self.shapes {
            if let Some(choice) = c.choices.get(self.round) {
                tuning.set(shape, choice);
                any = true;
            }
        }
        any.then_some(tuning)
    }

    /// Notes what products took in this round, and ends it. Several of one shape count together.
    pub fn record(&mut self, measured: &[(Shape, Choice, f64)]) {
        for (shape, c) in &mut self.shapes {
            let Some(choice) = c.choices.get(self.round) else { continue };
            let own = measured.iter().filter(|m| m.0 == *shape);
            // A choice that was not taken was not measured.
            if own.clone().next().is_some() && own.clone().all(|m| m.1 == *choice && m.2 > 0.0) {
                c.nanos[self.round] = Some(own.map(|m| m.2).sum());
            }
        }
        self.round += 1;
    }

    /// The fastest of each shape of which anything was measured.
    pub fn found(&self) -> Vec<Found> {
        let one = |(shape, c): (&Shape, &Candidates)| {
            let times = || c.choices.iter().zip(&c.nanos).filter_map(|(c, n)| n.map(|n| (*c, n)));
            let best = times().reduce(|best, t| if t.1 < best.1 { t } else { best })?;
            let guess = (*c.choices.first()?, *c.nanos.first()?);
            Some(Found { shape: *shape, guess, best, tried: times().count() })
        };
        self.shapes.iter().filter_map(one).collect()
    }
}

/// Searches for the fastest ways to cut the products of a program: `measure` compiles it with these tiles, runs it, and
/// says how each product was cut and how many nanoseconds it took. Shapes that `known` has are left as they are, unless
/// `again`; of each other, the `most` best guesses are measured. A round that fails (a way to cut a product may need
/// more memory than there is) measured nothing.
///
/// # Errors
/// That of the first round, which is the program as it is without a search, or of the last, if no round succeeded.
pub fn search<E>(
    known: &Tuning,
    arch: Arch,
    most: usize,
    again: bool,
    mut measure: impl FnMut(&Tuning) -> Result<Vec<(Shape, Choice, f64)>, E>,
) -> Result<Vec<Found>, E> {
    let shapes = measure(&known.apart())?.into_iter().map(|m| m.0);
    let mut search = Search::new(shapes.filter(|s| again || !known.has(s)), arch, most);
    let mut failed = None;
    while let Some(tuning) = search.next(known) {
        match measure(&tuning.apart()) {
            Ok(measured) => search.record(&measured),
            Err(e) => {
                search.record(&[]);
                failed = Some(e);
            }
        }
    }
    match (search.found(), failed) {
        (found, Some(e)) if found.is_empty() => Err(e),
        (found, _) => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tiles::choose;
    use super::*;

    fn shape(m: usize, n: usize, k: usize) -> Shape {
        let one = Access { vector: 1, copied: false, along: false, apart: Some(9) };
        let access = [Access { vector: 8, copied: true, along: true, apart: None }, one];
        Shape { math: Math::Bf16, size: Size { blocks: 1, m, n, k }, access }
    }

    #[test]
    fn what_is_written_is_read() {
        let (a, b) = (shape(512, 128, 1152), shape(7, 33, 65536));
        let mut t = Tuning::default();
        let all = choices(a.math, Arch::Sm90a, a.size, true, a.access);
        // Every way to cut a product has a text of its own, and is there once.
        for k in (1..40).map(|i| i * 64 + 1).chain([1152, 65536]) {
            let size = Size { k, ..a.size };
            let all = choices(a.math, Arch::Sm90a, size, true, a.access);
            let mut texts: Vec<String> = all.iter().map(|c| c.0.to_string()).collect();
            texts.sort();
            texts.dedup();
            assert_eq!(texts.len(), all.len(), "{k}");
        }
        for (choice, _) in &all {
            t.set(&a, choice);
            let read = Tuning::parse(&format!("# a comment\nnonsense\n{t}"));
            assert_eq!(read, t);
            assert_eq!(read.choice(&a, Arch::Sm90a), *choice);
        }
        assert!(t.has(&a) && !t.has(&b));
        assert_eq!(t.choice(&b, Arch::Sm90a), choose(b.math, Arch::Sm90a, b.size, true, b.access));
        // A tile of another version.
        let old = Tuning::parse(&format!("{a} = 1 x 2 x 3 by 4 x 5, 6 threads, 7 stages"));
        assert_eq!(old.choice(&a, Arch::Sm90a), choose(a.math, Arch::Sm90a, a.size, true, a.access));
    }

    /// A search among four candidates; `run` says which rounds fail.
    fn search_all(
        base: &Tuning,
        shapes: [Shape; 2],
        mut run: impl FnMut(Tuning) -> Result<Tuning, usize>,
    ) -> Result<Vec<Found>, usize> {
        search(base, Arch::Sm90a, 4, false, |t| {
            let t = run(t.clone())?;
            assert!(t.is_apart());
            Ok(shapes.iter().map(|s| (*s, t.choice(s, Arch::Sm90a), 5.0)).collect())
        })
    }

    #[test]
    fn the_fastest_is_found() {
        let shapes = [shape(512, 128, 1152), shape(64, 64, 65536)];
        let mut search = Search::new(shapes, Arch::Sm90a, 6);
        let base = Tuning::default();
        let time =
            |s: &Shape, c: &Choice| ((c.tile.m * 7 + c.tile.n * 3 + c.parts * 11 + s.size.m) % 101 + 1) as f64;
        let mut rounds = 0;
        while let Some(t) = search.next(&base) {
            rounds += 1;
            let measured: Vec<_> =
                shapes.iter().map(|s| (*s, t.choice(s, Arch::Sm90a))).map(|(s, c)| (s, c, time(&s, &c))).collect();
            search.record(&measured);
        }
        assert_eq!(rounds, search.rounds());
        for f in search.found() {
            let mut all = choices(f.shape.math, Arch::Sm90a, f.shape.size, true, f.shape.access);
            all.sort_by_key(|c| c.1);
            let least = all[..f.tried].iter().map(|c| time(&f.shape, &c.0)).fold(f64::MAX, f64::min);
            assert_eq!(f.best.1, least);
            assert_eq!(f.guess.0, choose(f.shape.math, Arch::Sm90a, f.shape.size, true, f.shape.access));
        }
        // A round that fails measures nothing, and others do; if all fail, that is the answer.
        let mut round = 0;
        let mut measure = |from: usize| {
            round = 0;
            search_all(&base, shapes, |t| {
                round += 1;
                if round == 1 || round > from { Ok(t) } else { Err(round) }
            })
        };
        assert!(measure(3).unwrap().iter().all(|f| f.tried == 2 && f.guess.1.is_none()));
        assert_eq!(measure(9), Err(5));
        // What did not run is not believed.
        let mut search = Search::new(shapes, Arch::Sm90a, 2);
        let t = search.next(&base).unwrap();
        search.record(&[(shapes[0], t.choice(&shapes[0], Arch::Sm90a), 0.0)]);
        assert_eq!(search.found(), []);
    }
}
