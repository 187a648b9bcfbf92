//! Reading the arguments of sources and transforms.

use super::error::{ARGUMENT, fail};
use super::{Arg, Call};
use crate::diag::Diagnostics;
use crate::source::Span;
use std::path::PathBuf;

/// The arguments of one call; each is asked for by name and place, and [`Args::finish`] reports what nobody asked for.
pub(super) struct Args<'a> {
    call: &'a Call,
    seen: Vec<bool>,
    errors: Diagnostics,
}

impl<'a> Args<'a> {
    pub(super) fn new(call: &'a Call) -> Self {
        Self { call, seen: vec![false; call.args.len()], errors: Diagnostics::default() }
    }

    /// The argument called `name`, or else the `place`-th unnamed one.
    pub(super) fn find(&mut self, name: &str, place: Option<usize>) -> Option<(&'a Arg, Span)> {
        let mut unnamed = 0;
        for (i, (n, arg, span)) in self.call.args.iter().enumerate() {
            let hit = match n {
                Some(n) => n == name,
                None => {
                    unnamed += 1;
                    place == Some(unnamed - 1)
                }
            };
            if hit && !self.seen[i] {
                self.seen[i] = true;
                return Some((arg, *span));
            }
        }
        None
    }

    /// Named arguments that nobody asked for yet, such as the columns of `only`.
    pub(super) fn rest(&mut self) -> Vec<(&'a str, &'a Arg, Span)> {
        let mut out = Vec::new();
        for (i, (n, arg, span)) in self.call.args.iter().enumerate() {
            if let (Some(n), false) = (n, self.seen[i]) {
                self.seen[i] = true;
                out.push((n.as_str(), arg, *span));
            }
        }
        out
    }

    fn wrong(&mut self, name: &str, wanted: &str, span: Span) {
        let title = format!("`{name}` of `{}` must be {wanted}", self.call.name);
        self.errors.push(fail(ARGUMENT, title, span, format!("expected {wanted}")));
    }

    fn missing(&mut self, name: &str, wanted: &str) {
        let title = format!("`{}` needs `{name}`, {wanted}", self.call.name);
        self.errors.push(fail(ARGUMENT, title, self.call.span, format!("`{name}` is missing")));
    }

    /// An optional string or bare word.
    pub(super) fn text(&mut self, name: &str, place: Option<usize>) -> Option<(&'a str, Span)> {
        match self.find(name, place)? {
            (Arg::Str(s) | Arg::Word(s), span) => Some((s, span)),
            (_, span) => {
                self.wrong(name, "a string", span);
                None
            }
        }
    }

    /// A path that must be there, against `base`.
    pub(super) fn path(
        &mut self,
        name: &str,
        place: Option<usize>,
        base: &std::path::Path,
    ) -> Option<(PathBuf, Span)> {
        let before = self.errors.items().len();
        match self.text(name, place) {
            Some((s, span)) => Some((base.join(s), span)),
            None => {
                if self.errors.items().len() == before {
                    self.missing(name, "the path of a file or folder");
                }
                None
            }
        }
    }

    /// An optional number.
    pub(super) fn number(&mut self, name: &str, place: Option<usize>) -> Option<(f64, Span)> {
        match self.find(name, place)? {
            (Arg::Number(v), span) if v.is_finite() => Some((*v, span)),
            (_, span) => {
                self.wrong(name, "a number", span);
                None
            }
        }
    }

    /// A number with a default, at least `least`.
    pub(super) fn number_or(&mut self, name: &str, place: Option<usize>, default: f64, least: f64) -> f64 {
        match self.number(name, place) {
            Some((v, span)) if v < least => {
                self.wrong(name, &format!("at least {least}"), span);
                default
            }
            Some((v, _)) => v,
            None => default,
        }
    }

    /// An optional whole number of at least `least`.
    pub(super) fn count(&mut self, name: &str, place: Option<usize>, least: usize) -> Option<(usize, Span)> {
        self.count_to(name, place, least, u32::MAX as usize / 2)
    }

    /// An optional whole number from `least` to `most`.
    pub(super) fn count_to(
        &mut self,
        name: &str,
        place: Option<usize>,
        least: usize,
        most: usize,
    ) -> Option<(usize, Span)> {
        let (v, span) = self.number(name, place)?;
        if v.fract() == 0.0 && v >= least as f64 && v <= most as f64 {
            return Some((v as usize, span));
        }
        self.wrong(name, &format!("a whole number from {least} to {most}"), span);
        None
    }

    /// A whole number that must be there.
    pub(super) fn needed_count(&mut self, name: &str, place: Option<usize>, least: usize) -> Option<(usize, Span)> {
        let before = self.errors.items().len();
        let found = self.count(name, place, least);
        if found.is_none() && self.errors.items().len() == before {
            self.missing(name, "a whole number");
        }
        found
    }

    /// A number that must be there.
    pub(super) fn needed_number(&mut self, name: &str, place: Option<usize>) -> Option<f64> {
        let before = self.errors.items().len();
        let found = self.number(name, place);
        if found.is_none() && self.errors.items().len() == before {
            self.missing(name, "a number");
        }
        found.map(|(v, _)| v)
    }

    /// A number that must be there, at least `least`.
    pub(super) fn needed_at_least(&mut self, name: &str, place: Option<usize>, least: f64) -> Option<f64> {
        let before = self.errors.items().len();
        let found = self.number(name, place);
        match found {
            Some((v, span)) if v < least => self.wrong(name, &format!("at least {least}"), span),
            None if self.errors.items().len() == before => self.missing(name, "a number"),
            Some(_) | None => {}
        }
        found.map(|(v, _)| v)
    }

    /// An optional truth value.
    pub(super) fn flag(&mut self, name: &str, default: bool) -> bool {
        match self.find(name, None) {
            None => default,
            Some((Arg::Bool(b), _)) => *b,
            Some((_, span)) => {
                self.wrong(name, "true or false", span);
                default
            }
        }
    }

    /// An optional list of strings.
    pub(super) fn texts(&mut self, name: &str) -> Option<(Vec<&'a str>, Span)> {
        let (arg, span) = self.find(name, None)?;
        let items = match arg {
            Arg::List(items) => items
                .iter()
                .map(|a| match a {
                    Arg::Str(s) | Arg::Word(s) => Some(s.as_str()),
                    _ => None,
                })
                .collect::<Option<Vec<_>>>(),
            _ => None,
        };
        if items.is_none() {
            self.wrong(name, "a list of strings", span);
        }
        items.map(|v| (v, span))
    }

    /// An optional height and width: one number for both, or a list of two.
    pub(super) fn size(&mut self, name: &str, place: usize) -> Option<(usize, usize)> {
        let Some((arg, span)) = self.find(name, Some(place)) else {
            self.missing(name, "a size in pixels");
            return None;
        };
        let whole = |a: &Arg| match a {
            Arg::Number(v) if v.fract() == 0.0 && *v >= 1.0 && *v <= 65536.0 => Some(*v as usize),
            _ => None,
        };
        let found = match arg {
            Arg::List(v) if v.len() == 2 => whole(&v[0]).zip(whole(&v[1])),
            a => whole(a).map(|n| (n, n)),
        };
        if found.is_none() {
            self.wrong(name, "a size in pixels, or a list of height and width", span);
        }
        found
    }

    /// Reports arguments that nobody asked for; `known` are named in the help.
    pub(super) fn finish(mut self, known: &str) -> Result<(), Diagnostics> {
        for (i, (name, _, span)) in self.call.args.iter().enumerate() {
            if !self.seen[i] {
                let what = name.as_ref().map_or("this argument".to_owned(), |n| format!("`{n}`"));
                let d =
                    fail(ARGUMENT, format!("`{}` does not take {what}", self.call.name), *span, "not known here");
                self.errors.push(d.help(format!("Its arguments are {known}.")));
            }
        }
        if self.errors.has_errors() { Err(self.errors) } else { Ok(()) }
    }
}
