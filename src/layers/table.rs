//! All built-ins of the language (LANGUAGE.md section 7), by class.

mod experiment;
mod functions;
mod layers;
mod training;

use super::{Class, ParamSpec, Signature};

/// A row of a table: class, name, whether it takes an input, parameters (with defaults as text), one line of words.
macro_rules! sig {
    ($class:ident $name:literal $input:ident
     ($($param:literal : $kind:expr $(, = $default:literal)?);* $(;)?) $doc:literal) => {
        $crate::layers::Signature {
            name: $name,
            class: $crate::layers::Class::$class,
            takes_input: sig!(@input $input),
            params: &[$($crate::layers::ParamSpec {
                name: $param,
                kind: $kind,
                default: sig!(@default $($default)?),
            }),*],
            variadic: false,
            batch: false,
            available: true,
            doc: $doc,
        }
    };
    (@default) => { None };
    (@default $d:literal) => { Some($d) };
    (@input it) => { true };
    (@input none) => { false };
}
use sig;

impl Signature {
    /// All arguments by position go to the last parameter.
    const fn variadic(mut self) -> Self {
        self.variadic = true;
        self
    }

    /// Crosses the batch.
    const fn crosses(mut self) -> Self {
        self.batch = true;
        self
    }

    /// Not compiled by this version.
    const fn later(mut self) -> Self {
        self.available = false;
        self
    }

    /// Its parameter of this name.
    pub fn param(&self, name: &str) -> Option<(usize, &'static ParamSpec)> {
        self.params.iter().enumerate().find(|(_, p)| p.name == name)
    }

    /// How it is written, as `linear(n, bias = true)`; for listings and help lines.
    pub fn usage(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        if self.takes_input && self.class != Class::Layer {
            parts.push("x".into());
        }
        for (i, p) in self.params.iter().enumerate() {
            let many = self.variadic && i + 1 == self.params.len();
            parts.push(match p.default {
                _ if many => format!("{}…", p.name),
                None => p.name.to_string(),
                Some("") => format!("{}?", p.name),
                Some(d) => format!("{} = {d}", p.name),
            });
        }
        if parts.is_empty() { self.name.to_string() } else { format!("{}({})", self.name, parts.join(", ")) }
    }
}

/// All signatures of a class, in the order of the reference.
pub fn all(class: Class) -> &'static [Signature] {
    match class {
        Class::Layer => layers::LAYERS,
        Class::Function => functions::FUNCTIONS,
        Class::Modifier => training::MODIFIERS,
        Class::Optimiser => training::OPTIMISERS,
        Class::Distribution => training::DISTRIBUTIONS,
        Class::Initialiser => training::INITIALISERS,
        Class::Source => experiment::SOURCES,
        Class::Transform => experiment::TRANSFORMS,
        Class::Metric => experiment::METRICS,
        Class::Trick => experiment::TRICKS,
        Class::Action => experiment::ACTIONS,
    }
}

/// The built-in of this name and class.
pub fn lookup(class: Class, name: &str) -> Option<&'static Signature> {
    all(class).iter().find(|s| s.name == name)
}

/// The layer or function of this name: what a call in a body or an expression may mean.
pub fn lookup_call(name: &str) -> Option<&'static Signature> {
    lookup(Class::Layer, name).or_else(|| lookup(Class::Function, name))
}

/// All names of a class, for suggestions.
pub fn names(class: Class) -> impl Iterator<Item = &'static str> {
    all(class).iter().map(|s| s.name)
}

/// Of `candidates`, the one nearest to `name`, if it is near enough to be meant: few letters differ, or one begins
/// with the other.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let limit = (name.chars().count() / 3).max(1);
    let distance = |c: &str| {
        let begins = c.len().min(name.len()) >= 3 && (c.starts_with(&name) || name.starts_with(c));
        let d = strsim::damerau_levenshtein(&name, c);
        if begins { d.min(limit) } else { d }
    };
    candidates
        .into_iter()
        .map(|c| (distance(c), c))
        .filter(|&(d, _)| d <= limit)
        .min_by_key(|&(d, _)| d)
        .map(|(_, c)| c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::ArgKind;
    use std::collections::BTreeSet;

    const CLASSES: [Class; 11] = [
        Class::Layer,
        Class::Function,
        Class::Modifier,
        Class::Optimiser,
        Class::Distribution,
        Class::Initialiser,
        Class::Source,
        Class::Transform,
        Class::Metric,
        Class::Trick,
        Class::Action,
    ];

    #[test]
    fn rows_are_consistent() {
        for class in CLASSES {
            let mut seen = BTreeSet::new();
            for s in all(class) {
                assert_eq!(s.class, class, "{}", s.name);
                assert!(seen.insert(s.name), "{} twice", s.name);
                assert!(!s.doc.is_empty() && !s.doc.ends_with('.'), "{}", s.name);
                let names: BTreeSet<_> = s.params.iter().map(|p| p.name).collect();
                assert_eq!(names.len(), s.params.len(), "{}", s.name);
                for p in s.params {
                    if let (ArgKind::Enum(words), Some(d)) = (p.kind, p.default) {
                        assert!(d.is_empty() || words.contains(&d), "{}.{}", s.name, p.name);
                    }
                }
                if !s.variadic {
                    let optional = s.params.iter().position(|p| p.default.is_some()).unwrap_or(s.params.len());
                    let late = s.params[optional..].iter().find(|p| p.default.is_none());
                    assert!(late.is_none(), "{}: a required parameter after an optional one", s.name);
                }
            }
        }
        let layers: BTreeSet<_> = names(Class::Layer).collect();
        assert!(names(Class::Function).all(|n| !layers.contains(n)));
    }

    #[test]
    fn finds_the_nearest_name() {
        assert_eq!(nearest("leaky_rely", names(Class::Function)), Some("leaky_relu"));
        assert_eq!(nearest("padding", ["n", "pad", "stride"]), Some("pad"));
        assert_eq!(nearest("xyzzy", names(Class::Function)), None);
    }
}
