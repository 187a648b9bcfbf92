//! Binding what was written to a signature: first by name ([`bind_names`], which `model` uses as a static check),
//! then with values ([`Bound`]), whose getters refuse in a person's words.

use super::table::nearest;
use super::{ArgKind, Init, LayerError, Signature, Tensor, Value};
use crate::source::Span;

/// Where a parameter's value comes from; indices into the positional and the named arguments as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Not written.
    Default,
    /// A positional argument.
    Positional(usize),
    /// A named argument.
    Named(usize),
    /// Any number of positional arguments (the last parameter of a variadic signature).
    Many(Vec<usize>),
    /// Named arguments whose names are the user's (`only(split: "train")`).
    Columns(Vec<usize>),
}

/// What is wrong with a list of arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindError {
    /// A positional argument too many.
    TooMany {
        /// Its index among the positional ones.
        positional: usize,
        /// How many may be written.
        takes: usize,
    },
    /// No parameter has this name.
    Unknown {
        /// Index among the named ones.
        named: usize,
        /// A name that may be meant.
        suggestion: Option<&'static str>,
    },
    /// A parameter that already has a value.
    Twice {
        /// Index among the named ones.
        named: usize,
        /// Whether the other one was positional.
        positional: bool,
    },
    /// A required parameter without a value.
    Missing {
        /// Its name.
        param: &'static str,
    },
}

impl BindError {
    /// One line for a person, and a help line. `names` are the named arguments as written.
    pub fn message(&self, sig: &Signature, names: &[&str]) -> (String, String) {
        let usage = format!("written as `{}`", sig.usage());
        match self {
            BindError::TooMany { positional, takes } => {
                let what = match takes {
                    0 => "takes no arguments by position".to_string(),
                    1 => "takes 1 argument".to_string(),
                    n => format!("takes at most {n} arguments"),
                };
                let input = if sig.takes_input { " besides its input" } else { "" };
                (format!("`{}` {what}{input}; this is number {}", sig.name, positional + 1), usage)
            }
            BindError::Unknown { named, suggestion } => {
                let name = names.get(*named).copied().unwrap_or_default();
                let help = match suggestion {
                    Some(s) => format!("did you mean `{s}`?"),
                    None => usage,
                };
                (format!("`{}` has no argument `{name}`", sig.name), help)
            }
            BindError::Twice { named, positional } => {
                let name = names.get(*named).copied().unwrap_or_default();
                let first = if *positional { "by position and by name" } else { "twice" };
                (format!("`{name}` of `{}` is given {first}", sig.name), usage)
            }
            BindError::Missing { param } => (format!("`{}` needs `{param}`", sig.name), usage),
        }
    }
}

/// Which written argument fills each parameter of `sig`; `positional` counts those written by position without the
/// input, `named` are the names of the others in order. All errors are found.
pub fn bind_names(sig: &Signature, positional: usize, named: &[&str]) -> Result<Vec<Slot>, Vec<BindError>> {
    let mut slots = vec![Slot::Default; sig.params.len()];
    let mut errors = Vec::new();
    let wild = sig.params.iter().position(|p| p.name == "*");
    if sig.variadic {
        if let (Some(last), true) = (slots.last_mut(), positional > 0) {
            *last = Slot::Many((0..positional).collect());
        }
    } else {
        let takes = sig.params.len() - usize::from(wild.is_some());
        for i in 0..positional {
            match slots.get_mut(i).filter(|_| i < takes) {
                Some(slot) => *slot = Slot::Positional(i),
                None => {
                    errors.push(BindError::TooMany { positional: i, takes });
                    break;
                }
            }
        }
    }
    for (k, name) in named.iter().enumerate() {
        match (sig.param(name), wild) {
            (Some((i, _)), _) if Some(i) != wild => match slots[i] {
                Slot::Default => slots[i] = Slot::Named(k),
                Slot::Positional(_) | Slot::Many(_) => {
                    errors.push(BindError::Twice { named: k, positional: true });
                }
                Slot::Named(_) | Slot::Columns(_) => {
                    errors.push(BindError::Twice { named: k, positional: false });
                }
            },
            (_, Some(w)) => match &mut slots[w] {
                Slot::Columns(list) => list.push(k),
                other => *other = Slot::Columns(vec![k]),
            },
            (_, None) => {
                let suggestion = nearest(name, sig.params.iter().map(|p| p.name));
                errors.push(BindError::Unknown { named: k, suggestion });
            }
        }
    }
    for (slot, p) in slots.iter().zip(sig.params) {
        if *slot == Slot::Default && p.default.is_none() {
            errors.push(BindError::Missing { param: if p.name == "*" { "column: value" } else { p.name } });
        }
    }
    if errors.is_empty() { Ok(slots) } else { Err(errors) }
}

/// The value that a default's text stands for; `None` for "optional without a value".
pub fn default_value(text: &str) -> Option<Value> {
    match text {
        "" => None,
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        _ => Some(text.parse().map_or_else(|_| Value::Word(text.to_string()), Value::Number)),
    }
}

/// Arguments with values, bound to a signature.
#[derive(Clone, Debug)]
pub struct Bound {
    /// What they are bound to.
    pub sig: &'static Signature,
    values: Vec<Option<Value>>,
    spans: Vec<Option<Span>>,
}

impl Bound {
    /// Fills each parameter by its slot from the values as written; parameters without one take their default.
    pub fn new(
        sig: &'static Signature,
        slots: &[Slot],
        positional: &[(Value, Span)],
        named: &[(Value, Span)],
    ) -> Self {
        let mut values = Vec::new();
        let mut spans = Vec::new();
        for (slot, p) in slots.iter().zip(sig.params) {
            let (value, span) = match slot {
                Slot::Default => (p.default.and_then(default_value), None),
                Slot::Positional(i) => (Some(positional[*i].0.clone()), Some(positional[*i].1)),
                Slot::Named(i) => (Some(named[*i].0.clone()), Some(named[*i].1)),
                Slot::Many(list) => {
                    let all = list.iter().map(|&i| positional[i].0.clone()).collect();
                    let span = list.iter().map(|&i| positional[i].1).reduce(Span::to);
                    (Some(Value::List(all)), span)
                }
                Slot::Columns(list) => {
                    let all = list.iter().map(|&i| named[i].0.clone()).collect();
                    (Some(Value::List(all)), list.iter().map(|&i| named[i].1).reduce(Span::to))
                }
            };
            values.push(value);
            spans.push(span);
        }
        Self { sig, values, spans }
    }

    /// Binds in one go, for callers without spans.
    pub fn of(sig: &'static Signature, positional: &[Value], named: &[(&str, Value)]) -> Result<Self, LayerError> {
        let names: Vec<&str> = named.iter().map(|n| n.0).collect();
        let slots = bind_names(sig, positional.len(), &names).map_err(|errors| {
            let (message, help) = errors[0].message(sig, &names);
            LayerError::new("E0206", message).help(help)
        })?;
        let with_span = |v: &Value| (v.clone(), Span::default());
        let positional: Vec<_> = positional.iter().map(with_span).collect();
        let named: Vec<_> = named.iter().map(|n| with_span(&n.1)).collect();
        Ok(Self::new(sig, &slots, &positional, &named))
    }

    fn index(&self, name: &str) -> usize {
        match self.sig.param(name) {
            Some((i, _)) => i,
            None => panic!("`{}` has no parameter `{name}`: a bug in the table of built-ins", self.sig.name),
        }
    }

    /// The value, if one was written or is the default.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values[self.index(name)].as_ref()
    }

    /// Replaces a value (a trick or `--set` decides it).
    pub fn set(&mut self, name: &str, value: Value) {
        let i = self.index(name);
        self.values[i] = Some(value);
    }

    /// Whether the argument was written.
    pub fn written(&self, name: &str) -> bool {
        self.spans[self.index(name)].is_some()
    }

    /// Where it was written.
    pub fn span(&self, name: &str) -> Option<Span> {
        self.spans[self.index(name)]
    }

    /// An error about this argument: "`kernel` of `conv` must be …; found …".
    pub fn refuse(&self, name: &str, must: &str) -> LayerError {
        let found = match self.get(name) {
            Some(v) => format!("; found {}", describe(v)),
            None => "; nothing was given".to_string(),
        };
        let mut e = LayerError::new("E0310", format!("`{name}` of `{}` must be {must}{found}", self.sig.name));
        e.arg = self.span(name);
        e
    }

    fn required(&self, name: &str) -> Result<&Value, LayerError> {
        self.get(name).ok_or_else(|| {
            LayerError::new("E0206", format!("`{}` needs `{name}`", self.sig.name))
                .help(format!("written as `{}`", self.sig.usage()))
        })
    }

    /// A whole number of at least `min` (and at most 2^31).
    pub fn int(&self, name: &str, min: i64) -> Result<i64, LayerError> {
        whole(self.required(name)?, min).ok_or_else(|| self.refuse(name, &at_least(min)))
    }

    /// The same, where it may be left out.
    pub fn int_or_none(&self, name: &str, min: i64) -> Result<Option<i64>, LayerError> {
        if self.get(name).is_none() { Ok(None) } else { self.int(name, min).map(Some) }
    }

    /// An extent or count: a whole number of at least 1.
    pub fn size(&self, name: &str) -> Result<usize, LayerError> {
        self.int(name, 1).map(|n| n as usize)
    }

    /// One number an axis; a single number stands for all `rank` of them.
    pub fn ints(&self, name: &str, rank: usize, min: i64) -> Result<Vec<usize>, LayerError> {
        let must = || {
            let one = at_least(min);
            match rank {
                1 => one,
                _ => format!("{one}, or a list of {rank} of them (one an axis)"),
            }
        };
        let all = match self.required(name)? {
            Value::List(list) if list.len() == rank => list.iter().map(|v| whole(v, min)).collect(),
            Value::List(_) => None,
            v => whole(v, min).map(|n| vec![n; rank]),
        };
        let all: Vec<i64> = all.ok_or_else(|| self.refuse(name, &must()))?;
        Ok(all.into_iter().map(|n| n as usize).collect())
    }

    /// A list of whole numbers of any length (a single one is a list of one); empty if left out.
    pub fn int_list(&self, name: &str, min: i64) -> Result<Vec<i64>, LayerError> {
        let all: Option<Vec<i64>> = match self.get(name) {
            None => return Ok(Vec::new()),
            Some(Value::List(list)) => match &list[..] {
                [Value::List(inner)] => inner.iter().map(|v| whole(v, min)).collect(),
                _ => list.iter().map(|v| whole(v, min)).collect(),
            },
            Some(v) => whole(v, min).map(|n| vec![n]),
        };
        all.ok_or_else(|| self.refuse(name, &format!("whole numbers of at least {min}")))
    }

    /// A finite real.
    pub fn number(&self, name: &str) -> Result<f64, LayerError> {
        match self.required(name)? {
            Value::Number(v) if v.is_finite() => Ok(*v),
            _ => Err(self.refuse(name, "a number known when compiling")),
        }
    }

    /// A finite real in `lo..=hi`.
    pub fn number_in(&self, name: &str, lo: f64, hi: f64) -> Result<f64, LayerError> {
        match self.required(name)? {
            Value::Number(v) if *v >= lo && *v <= hi && v.is_finite() => Ok(*v),
            _ if hi == f64::INFINITY => Err(self.refuse(name, &format!("a number of at least {lo}"))),
            _ => Err(self.refuse(name, &format!("a number from {lo} to {hi}"))),
        }
    }

    /// A number above 0.
    pub fn positive(&self, name: &str) -> Result<f64, LayerError> {
        match self.required(name)? {
            Value::Number(v) if *v > 0.0 && v.is_finite() => Ok(*v),
            _ => Err(self.refuse(name, "a number above 0")),
        }
    }

    /// The same, where it may be left out.
    pub fn positive_or_none(&self, name: &str) -> Result<Option<f64>, LayerError> {
        if self.get(name).is_none() { Ok(None) } else { self.positive(name).map(Some) }
    }

    /// A list of finite reals.
    pub fn numbers(&self, name: &str) -> Result<Vec<f64>, LayerError> {
        let must = "a list of numbers";
        match self.required(name)? {
            Value::List(list) => list
                .iter()
                .map(|v| match v {
                    Value::Number(x) if x.is_finite() => Ok(*x),
                    _ => Err(self.refuse(name, must)),
                })
                .collect(),
            _ => Err(self.refuse(name, must)),
        }
    }

    /// True or false.
    pub fn bool(&self, name: &str) -> Result<bool, LayerError> {
        match self.required(name)? {
            Value::Bool(b) => Ok(*b),
            _ => Err(self.refuse(name, "true or false")),
        }
    }

    /// One of the words of an enumeration.
    pub fn word(&self, name: &str) -> Result<&str, LayerError> {
        let words = match self.sig.params[self.index(name)].kind {
            ArgKind::Enum(words) | ArgKind::IntsOr(words) => words,
            _ => &[],
        };
        match self.required(name)? {
            Value::Word(w) if words.contains(&&w[..]) => Ok(w),
            other => {
                let numbers = matches!(self.sig.params[self.index(name)].kind, ArgKind::IntsOr(_));
                let or = if numbers { "whole numbers, or " } else { "" };
                let mut e = self.refuse(name, &format!("{or}{}", one_of(words)));
                if let Value::Word(w) = other
                    && let Some(s) = nearest(w, words.iter().copied())
                {
                    e = e.help(format!("did you mean `{s}`?"));
                }
                Err(e)
            }
        }
    }

    /// A string.
    pub fn string(&self, name: &str) -> Result<&str, LayerError> {
        match self.required(name)? {
            Value::Str(s) => Ok(s),
            _ => Err(self.refuse(name, "a string")),
        }
    }

    /// A tensor.
    pub fn tensor(&self, name: &str) -> Result<&Tensor, LayerError> {
        match self.required(name)? {
            Value::Tensor(t) => Ok(t),
            _ => Err(self.refuse(name, "a tensor")),
        }
    }

    /// An initialiser, or the number that a tensor is filled with; `None` if left out.
    pub fn init(&self, name: &str) -> Result<Option<Init>, LayerError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Init(i)) => Ok(Some(*i)),
            Some(Value::Number(v)) if v.is_finite() => Ok(Some(Init::Constant(*v))),
            Some(_) => Err(self.refuse(name, "a number or an initialiser such as `normal(0, 0.02)`")),
        }
    }

    /// Values of a variadic parameter; empty if none was written.
    pub fn many(&self, name: &str) -> Vec<Value> {
        match self.get(name) {
            None => Vec::new(),
            Some(Value::List(list)) => list.clone(),
            Some(v) => vec![v.clone()],
        }
    }
}

fn whole(v: &Value, min: i64) -> Option<i64> {
    match v {
        Value::Number(x) if x.fract() == 0.0 && *x >= min as f64 && x.abs() <= 2_147_483_648.0 => Some(*x as i64),
        _ => None,
    }
}

fn at_least(min: i64) -> String {
    format!("a whole number from {min} to 2^31")
}

fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|w| format!("`{w}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// A value as a person calls it.
pub fn describe(v: &Value) -> String {
    match v {
        Value::Number(x) => format!("{x}"),
        Value::Bool(b) => format!("{b}"),
        Value::Str(s) => format!("the string \"{s}\""),
        Value::Word(w) => format!("`{w}`"),
        Value::List(list) => format!("[{}]", list.iter().map(describe).collect::<Vec<_>>().join(", ")),
        Value::Tensor(t) => format!("a tensor {:?}", t.shape),
        Value::Init(_) => "an initialiser".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::Class;
    use crate::layers::table::lookup;

    fn sig(class: Class, name: &str) -> &'static Signature {
        lookup(class, name).unwrap()
    }

    #[test]
    fn binds_positional_then_named() {
        let conv = sig(Class::Layer, "conv");
        let slots = bind_names(conv, 1, &["pad", "kernel"]).unwrap();
        assert_eq!(slots[0], Slot::Positional(0));
        assert_eq!(slots[1], Slot::Named(1));
        assert_eq!(slots[3], Slot::Named(0));
        assert_eq!(slots[2], Slot::Default);
        let concat = sig(Class::Function, "concat");
        assert_eq!(bind_names(concat, 2, &["axis"]).unwrap(), [Slot::Named(0), Slot::Many(vec![0, 1])]);
        let only = sig(Class::Transform, "only");
        assert_eq!(bind_names(only, 0, &["split"]).unwrap(), [Slot::Columns(vec![0])]);
        assert_eq!(bind_names(sig(Class::Function, "reshape"), 0, &[]).unwrap(), [Slot::Default]);
    }

    #[test]
    fn finds_all_errors() {
        let adam = sig(Class::Optimiser, "adam");
        let errors = bind_names(adam, 0, &["beta", "eps", "eps"]).unwrap_err();
        assert_eq!(errors[0], BindError::Unknown { named: 0, suggestion: Some("beta1") });
        assert_eq!(errors[1], BindError::Twice { named: 2, positional: false });
        assert_eq!(errors[2], BindError::Missing { param: "lr" });
        let errors = bind_names(sig(Class::Function, "relu"), 2, &[]).unwrap_err();
        assert_eq!(errors, [BindError::TooMany { positional: 0, takes: 0 }]);
    }

    #[test]
    fn getters_refuse_in_words() {
        let bad =
            |v: Value| Bound::of(sig(Class::Layer, "linear"), &[v], &[]).unwrap().size("n").unwrap_err().message;
        assert_eq!(bad(Value::Number(2.5)), "`n` of `linear` must be a whole number from 1 to 2^31; found 2.5");
        for v in [0.0, -3.0, f64::NAN, 1e18] {
            bad(Value::Number(v));
        }
        let b = Bound::of(
            sig(Class::Layer, "conv"),
            &[8.0, 3.0].map(Value::Number),
            &[("pad_mode", Value::Word("reflct".into()))],
        )
        .unwrap();
        let e = b.word("pad_mode").unwrap_err();
        assert_eq!(e.message, "`pad_mode` of `conv` must be `zero`, `reflect` or `replicate`; found `reflct`");
        assert_eq!(e.help.as_deref(), Some("did you mean `reflect`?"));
        assert_eq!(b.ints("kernel", 2, 1).unwrap(), [3, 3]);
        assert!(b.bool("bias").unwrap());
        assert!(!b.written("bias"));
    }
}
