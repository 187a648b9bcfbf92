//! Diagnostics: what a stage reports when the input is not what it needs.
//!
//! A stage collects all of its errors in a [`Diagnostics`] and returns them together; only [`mod@render`] knows how they look.

pub mod codes;
pub mod names;
pub mod render;

use crate::source::Span;

pub use render::render;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The stage cannot go on.
    Error,
    /// Compiles, but is probably a mistake (codes `W…`).
    Warning,
}

/// A place in the source with a few words on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// What is said there; may be empty.
    pub text: String,
    /// The main place (one a diagnostic) or a related one.
    pub primary: bool,
}

/// A replacement of source text that certainly mends the error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// The bytes to replace (empty: an insertion).
    pub span: Span,
    /// The new text.
    pub replacement: String,
}

/// One message for a person: what was expected, what was found, how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Code such as `E0301`; `ganc explain E0301` prints its long text.
    pub code: &'static str,
    /// Error or warning.
    pub severity: Severity,
    /// One line without a full stop.
    pub title: String,
    /// Places, the primary one first.
    pub labels: Vec<Label>,
    /// Further facts, one sentence each (the shape story is a note).
    pub notes: Vec<String>,
    /// How to mend it.
    pub help: Option<String>,
    /// A certain repair.
    pub patch: Option<Patch>,
}

impl Diagnostic {
    /// An error with a title.
    pub fn error(code: &'static str, title: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            title: title.into(),
            labels: Vec::new(),
            notes: Vec::new(),
            help: None,
            patch: None,
        }
    }

    /// A warning with a title.
    pub fn warning(code: &'static str, title: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, title) }
    }

    /// Adds the primary place.
    pub fn at(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.insert(0, Label { span, text: text.into(), primary: true });
        self
    }

    /// Adds a related place.
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into(), primary: false });
        self
    }

    /// Adds a note.
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Sets the help line.
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Sets the certain repair.
    pub fn patch(mut self, span: Span, replacement: impl Into<String>) -> Self {
        self.patch = Some(Patch { span, replacement: replacement.into() });
        self
    }
}

/// What a stage collected.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    items: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.items.push(diagnostic);
    }

    /// Adds many.
    pub fn extend(&mut self, other: Diagnostics) {
        self.items.extend(other.items);
    }

    /// Whether any is an error.
    pub fn has_errors(&self) -> bool {
        self.items.iter().any(|d| d.severity == Severity::Error)
    }

    /// Whether nothing was collected.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// All, in the order they were added.
    pub fn items(&self) -> &[Diagnostic] {
        &self.items
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(d: Diagnostic) -> Self {
        Self { items: vec![d] }
    }
}
