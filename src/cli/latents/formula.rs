//! The expressions of `ganc arith`.
//!
//! ```text
//! sum     = product (("+" | "-") product)*
//! product = "-" product | number "*" product | operand ("/" number)?
//! operand = number                                  -- a sample of the sheet
//!         | "avg" "(" pick ("," pick)* ")" | "(" sum ")"
//! pick    = number | number ".." number             -- half open, as everywhere in the language
//!         | word "=" (word | number)                -- samples that are judged so
//! ```
//!
//! A value is a linear combination, so what is parsed is flattened into factors times operands.

use crate::diag::Diagnostic;
use crate::source::{FileId, Span};

/// A factor times an operand.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Term {
    /// The factor.
    pub factor: f64,
    /// What it multiplies.
    pub operand: Operand,
    /// Where the operand is.
    pub span: Span,
}

/// What numbers or judgements pick.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    /// Samples by number; several are averaged.
    Numbers(Vec<(usize, Span)>),
    /// The average of all samples of which every condition holds.
    Judged(Vec<Condition>),
}

/// `glasses=yes`
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
    /// A label or an output of a classifier.
    pub name: String,
    /// `yes`, `no`, a number or the name of a class.
    pub value: String,
    /// Where it is.
    pub span: Span,
}

/// Deepest nesting of parentheses.
const DEEPEST: usize = 64;
/// Most numbers that one expression names.
const MOST_NUMBERS: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token<'a> {
    Number(&'a str),
    Word(&'a str),
    Sign(char),
    Dots,
}

fn tokens(file: FileId, text: &str) -> Result<Vec<(Token<'_>, Span)>, Diagnostic> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let at = text.len() - rest.len();
        let run = |good: &dyn Fn(char) -> bool| rest.find(|c| !good(c)).unwrap_or(rest.len());
        let (token, length) = match c {
            c if c.is_whitespace() => {
                rest = &rest[c.len_utf8()..];
                continue;
            }
            '0'..='9' => {
                let whole = run(&|c| c.is_ascii_digit() || c == '_');
                // `0..3` is a range, `0.3` a number.
                let fraction = match rest[whole..].strip_prefix('.') {
                    Some(f) if f.starts_with(|c: char| c.is_ascii_digit()) => {
                        1 + f.find(|c: char| !c.is_ascii_digit()).unwrap_or(f.len())
                    }
                    _ => 0,
                };
                (Token::Number(&rest[..whole + fraction]), whole + fraction)
            }
            c if c.is_ascii_alphabetic() || c == '_' => {
                let n = run(&|c| c.is_ascii_alphanumeric() || c == '_');
                (Token::Word(&rest[..n]), n)
            }
            '.' if rest.starts_with("..") => (Token::Dots, 2),
            // Copied from a paper, a minus is often this character.
            '\u{2212}' => (Token::Sign('-'), c.len_utf8()),
            '+' | '-' | '*' | '/' | '(' | ')' | ',' | '=' => (Token::Sign(c), 1),
            other => {
                let span = Span::new(file, at, at + other.len_utf8());
                return Err(Diagnostic::error(
                    "E0560",
                    format!("`{other}` means nothing in an expression of latents"),
                )
                .at(span, "here")
                .help(GRAMMAR));
            }
        };
        out.push((token, Span::new(file, at, at + length)));
        rest = &rest[length..];
    }
    Ok(out)
}

const GRAMMAR: &str =
    "an expression adds and subtracts samples and averages: avg(3, 14, 27) - avg(glasses=yes) + 0.5 * 8";

struct Parser<'a> {
    tokens: Vec<(Token<'a>, Span)>,
    at: usize,
    end: Span,
    numbers: usize,
}

/// Parses an expression.
///
/// # Errors
/// E0560, at what does not fit.
pub(super) fn parse(file: FileId, text: &str) -> Result<Vec<Term>, Diagnostic> {
    let end = Span::new(file, text.len(), text.len());
    let mut p = Parser { tokens: tokens(file, text)?, at: 0, end, numbers: 0 };
    let mut terms = Vec::new();
    p.sum(1.0, 0, &mut terms)?;
    match p.peek() {
        None => Ok(terms),
        Some(_) => Err(p.wrong("an operator was expected, such as `+` or `-`")),
    }
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).map(|t| t.0)
    }

    fn span(&self) -> Span {
        self.tokens.get(self.at).map_or(self.end, |t| t.1)
    }

    /// The end of what was taken last.
    fn before(&self) -> Span {
        self.tokens[..self.at].last().map_or(self.end, |t| t.1)
    }

    fn sign(&mut self, c: char) -> bool {
        let found = self.peek() == Some(Token::Sign(c));
        self.at += usize::from(found);
        found
    }

    fn wrong(&self, title: &str) -> Diagnostic {
        let what = if self.at == self.tokens.len() { "the expression ends here" } else { "found this" };
        Diagnostic::error("E0560", title).at(self.span(), what).help(GRAMMAR)
    }

    fn expect(&mut self, c: char) -> Result<(), Diagnostic> {
        if self.sign(c) { Ok(()) } else { Err(self.wrong(&format!("`{c}` was expected"))) }
    }

    fn sum(&mut self, factor: f64, depth: usize, out: &mut Vec<Term>) -> Result<(), Diagnostic> {
        if depth > DEEPEST {
            return Err(self.wrong(&format!("more than {DEEPEST} parentheses within each other")));
        }
        self.product(factor, depth, out)?;
        loop {
            if self.sign('+') {
                self.product(factor, depth, out)?;
            } else if self.sign('-') {
                self.product(-factor, depth, out)?;
            } else {
                return Ok(());
            }
        }
    }

    fn product(&mut self, mut factor: f64, depth: usize, out: &mut Vec<Term>) -> Result<(), Diagnostic> {
        loop {
            if self.sign('-') {
                factor = -factor;
            } else if let Some(Token::Number(n)) = self.peek()
                && matches!(self.tokens.get(self.at + 1), Some((Token::Sign('*'), _)))
            {
                factor *= self.real(n)?;
                self.at += 2;
            } else {
                break;
            }
        }
        let from = out.len();
        self.operand(factor, depth, out)?;
        if self.sign('/') {
            let Some(Token::Number(n)) = self.peek() else { return Err(self.wrong("`/` takes a number")) };
            let by = self.real(n)?;
            if by == 0.0 {
                return Err(self.wrong("a latent cannot be divided by 0"));
            }
            self.at += 1;
            out[from..].iter_mut().for_each(|t| t.factor /= by);
        }
        if self.peek() == Some(Token::Sign('*')) {
            return Err(self.wrong("a factor stands before what it multiplies, as in 0.5 * avg(1, 2)"));
        }
        Ok(())
    }

    fn real(&self, text: &str) -> Result<f64, Diagnostic> {
        match text.replace('_', "").parse::<f64>() {
            Ok(v) if v.is_finite() => Ok(v),
            _ => Err(self.wrong("this number is too large")),
        }
    }

    fn operand(&mut self, factor: f64, depth: usize, out: &mut Vec<Term>) -> Result<(), Diagnostic> {
        let from = self.span();
        match self.peek() {
            Some(Token::Sign('(')) => {
                self.at += 1;
                self.sum(factor, depth + 1, out)?;
                self.expect(')')
            }
            Some(Token::Number(_)) => {
                let n = self.number()?;
                out.push(Term { factor, operand: Operand::Numbers(vec![(n, from)]), span: from });
                Ok(())
            }
            Some(Token::Word("avg")) => {
                self.at += 1;
                self.expect('(')?;
                let operand = self.picks()?;
                self.expect(')')?;
                out.push(Term { factor, operand, span: from.to(self.before()) });
                Ok(())
            }
            Some(Token::Word(w)) => {
                let d = self.wrong(&format!("there is no function `{w}` of latents"));
                Err(match self.tokens.get(self.at + 1) {
                    Some((Token::Sign('='), _)) => d.help("judgements stand within an average: avg(glasses=yes)"),
                    _ => d,
                })
            }
            Some(Token::Sign(_) | Token::Dots) | None => {
                Err(self.wrong("a sample's number, `avg(…)` or `(` was expected"))
            }
        }
    }

    /// The number of a sample.
    fn number(&mut self) -> Result<usize, Diagnostic> {
        let Some(Token::Number(n)) = self.peek() else { return Err(self.wrong("a sample's number was expected")) };
        if n.contains('.') {
            return Err(self.wrong("a sample's number is whole; a factor is followed by `*`, as in 0.5 * 8"));
        }
        let value = n.replace('_', "").parse().map_err(|_| self.wrong("no sheet has so many samples"))?;
        self.at += 1;
        Ok(value)
    }

    fn picks(&mut self) -> Result<Operand, Diagnostic> {
        let (mut numbers, mut judged) = (Vec::new(), Vec::new());
        loop {
            let from = self.span();
            match self.peek() {
                Some(Token::Number(_)) => {
                    let first = self.number()?;
                    let last = match self.peek() {
                        Some(Token::Dots) => {
                            self.at += 1;
                            self.number()?
                        }
                        _ => first.saturating_add(1),
                    };
                    let span = from.to(self.before());
                    if last <= first {
                        return Err(Diagnostic::error("E0560", "this range has no samples")
                            .at(span, "it is half open: 0..3 is 0, 1, 2"));
                    }
                    self.numbers = self.numbers.saturating_add(last - first);
                    if self.numbers > MOST_NUMBERS {
                        return Err(Diagnostic::error("E0560", "this range has too many samples").at(span, "here"));
                    }
                    numbers.extend((first..last).map(|n| (n, span)));
                }
                Some(Token::Word(name)) => {
                    self.at += 1;
                    self.expect('=')?;
                    let value = match self.peek() {
                        Some(Token::Word(v) | Token::Number(v)) => v.to_string(),
                        _ => return Err(self.wrong("a value was expected, such as `yes`, `no` or a class")),
                    };
                    self.at += 1;
                    judged.push(Condition { name: name.to_string(), value, span: from.to(self.before()) });
                }
                Some(Token::Sign(_) | Token::Dots) | None => {
                    return Err(self.wrong("`avg` averages samples: numbers, or judgements such as glasses=yes"));
                }
            }
            if !numbers.is_empty() && !judged.is_empty() {
                return Err(Diagnostic::error("E0560", "an average is of numbers or of judgements, not of both")
                    .at(from, "this is of the other kind")
                    .help("add two averages: 0.5 * avg(3, 14) + 0.5 * avg(glasses=yes)"));
            }
            if !self.sign(',') {
                break;
            }
        }
        Ok(if judged.is_empty() { Operand::Numbers(numbers) } else { Operand::Judged(judged) })
    }
}
