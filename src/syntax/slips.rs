//! Words for syntax errors: from where the grammar stopped and what it expected there, to what a person did.

use crate::diag::{Diagnostic, names};
use crate::source::{FileId, Span};
use crate::syntax::ast::Ident;
use crate::syntax::scan::{NONE, Scan, TokenKind};
use crate::syntax::words::{self, either};

/// Explains a syntax error at token `found` (one past the last: the end of the file), where one of `expected` would
/// have been right.
pub fn explain(file: FileId, text: &str, scan: &Scan, found: usize, expected: Vec<&'static str>) -> Diagnostic {
    let at = At { file, text, scan, found, expected };
    at.bracket()
        .or_else(|| at.within_brackets())
        .or_else(|| at.separator())
        .or_else(|| at.keyword_as_name())
        .or_else(|| at.statement())
        .unwrap_or_else(|| at.plain("E0101"))
}

/// A layer or action that follows something on the same line.
pub fn same_line(file: FileId, text: &str, scan: &Scan, found: usize, what: &str) -> Diagnostic {
    let at = At { file, text, scan, found, expected: Vec::new() };
    let word = at.word(0);
    if let Some(help) = words::foreign(at.word(-1), "a body").filter(|_| at.is_word(-1)) {
        return Diagnostic::error("E0114", format!("the language has no `{}`", at.word(-1)))
            .at(at.span(-1), "read as the name of a layer")
            .help(help);
    }
    let d = Diagnostic::error("E0106", format!("something is missing between `{}` and `{word}`", at.word(-1)))
        .at(at.span(0), format!("{what} begins on a new line or after `;`"));
    // After a layer or block another statement is meant; after `let a = b` more likely an operator is missing.
    let first = (0..found).rev().find(|&i| matches!(scan.text(text, i), "{" | ";" | "}") || scan.new_line(text, i));
    let first = first.map_or("", |i| {
        let next = matches!(scan.text(text, i), "{" | ";" | "}") && !scan.new_line(text, i);
        scan.text(text, i + usize::from(next))
    });
    if at.word(-1) == "}" || !words::is_keyword(first) {
        return d.help(format!("put `{word}` on a new line, or a `;` before it")).patch(at.gap(), "; ");
    }
    d.help(format!(
        "if `{word}` belongs to what stands before it, an operator or a comma is missing; if not, a line break or `;`"
    ))
}

/// `a < b < c`.
pub fn chained(first: Span, second: Span) -> Diagnostic {
    Diagnostic::error("E0108", "comparisons do not chain")
        .at(second, "a second comparison")
        .label(first, "the first one")
        .help("make two comparisons of it, each in its own `expect` or `if`")
}

/// A positional argument after a named one.
pub fn positional_after_named(value: Span, named: &Ident) -> Diagnostic {
    Diagnostic::error("E0107", "a positional argument stands after a named one")
        .at(value, "this has no name")
        .label(named.span, format!("`{}` is given by name", named.name))
        .help("put it before the named ones, or give its name too")
}

struct At<'a> {
    file: FileId,
    text: &'a str,
    scan: &'a Scan,
    found: usize,
    expected: Vec<&'static str>,
}

/// What can only continue an expression or layer: mentioned when nothing else is expected.
const CONTINUES: &[&str] =
    &["an operator", "`|>`", "`(`", "`[`", "`.`", "`with`", "`..`", "`updates`", "`per`", "`after`", "`of`"];

impl At<'_> {
    fn index(&self, step: isize) -> Option<usize> {
        self.found.checked_add_signed(step).filter(|&i| i < self.scan.tokens.len())
    }

    /// The token `step` after the one found; empty beyond the ends.
    fn word(&self, step: isize) -> &str {
        self.index(step).map_or("", |i| self.scan.text(self.text, i))
    }

    fn span(&self, step: isize) -> Span {
        let n = self.text.trim_end().len();
        let (a, b) = self
            .index(step)
            .map_or((n, n), |i| (self.scan.tokens[i].start as usize, self.scan.tokens[i].end as usize));
        Span::new(self.file, a, b)
    }

    fn kind(&self, step: isize) -> Option<TokenKind> {
        self.index(step).map(|i| self.scan.tokens[i].kind)
    }

    fn is_word(&self, step: isize) -> bool {
        self.kind(step) == Some(TokenKind::Word)
    }

    /// The white space before the token found.
    fn gap(&self) -> Span {
        Span::new(self.file, self.span(-1).end as usize, self.span(0).start as usize)
    }

    /// Just after the token before the one found.
    fn after_previous(&self) -> Span {
        let end = self.span(-1).end as usize;
        Span::new(self.file, end, end)
    }

    fn new_line(&self) -> bool {
        self.scan.new_line(self.text, self.found)
    }

    fn at_end(&self) -> bool {
        self.found >= self.scan.tokens.len()
    }

    fn expects(&self, word: &str) -> bool {
        self.expected.contains(&word)
    }

    /// Whether the token can begin a value.
    fn value(&self) -> bool {
        match self.kind(0) {
            Some(TokenKind::Word) => {
                !words::is_keyword(self.word(0)) || matches!(self.word(0), "it" | "true" | "false")
            }
            Some(TokenKind::Number | TokenKind::Str) => true,
            _ => false,
        }
    }

    /// What was found, in words.
    fn found(&self) -> String {
        let w = self.word(0);
        match self.kind(0) {
            None => "the end of the file".into(),
            Some(TokenKind::Word) if words::is_keyword(w) => format!("the keyword `{w}`"),
            Some(TokenKind::Str) => "a string".into(),
            Some(TokenKind::Number) => format!("the number `{w}`"),
            Some(_) => format!("`{w}`"),
        }
    }

    /// Token index of the innermost bracket that is open where the error is.
    fn opener(&self) -> Option<usize> {
        let open = match self.scan.tokens.get(self.found) {
            Some(t) if matches!(self.word(0), ")" | "]" | "}") && t.partner != NONE => t.partner,
            Some(t) => t.inside,
            None => {
                let last = self.scan.tokens.len().checked_sub(1)?;
                match self.scan.text(self.text, last) {
                    "(" | "[" | "{" => last as u32,
                    _ => self.scan.tokens[last].inside,
                }
            }
        };
        (open != NONE).then_some(open as usize)
    }

    fn token_span(&self, i: usize) -> Span {
        let t = self.scan.tokens[i];
        Span::new(self.file, t.start as usize, t.end as usize)
    }

    /// What was expected, shortened to what helps.
    fn wanted(&self) -> String {
        let mut rest: Vec<&str> = self.expected.iter().copied().filter(|w| !CONTINUES.contains(w)).collect();
        if rest.iter().any(|w| w.starts_with("a statement") || w.starts_with("a line") || *w == "an action") {
            rest.retain(|w| *w != "`;`");
        }
        if rest.contains(&"a number") && rest.contains(&"a string") {
            rest.retain(|w| !matches!(*w, "a name" | "a number" | "a string" | "true or false" | "`it`" | "`-`"));
            rest.insert(0, "an expression");
        }
        if rest.contains(&"an item") {
            rest.retain(|w| *w != "the end of the file");
            if self.expects("an operator") && !self.new_line() {
                rest.insert(0, "an operator");
            }
        }
        if rest.contains(&"an expression") || rest.contains(&"an argument") {
            rest.retain(|w| !matches!(*w, "`-`" | "a name" | "an index" | "a string"));
        }
        if rest.is_empty() {
            rest = self.expected.clone();
        }
        rest.sort_by_key(|w| w.starts_with('`'));
        either(&rest)
    }

    fn plain(&self, code: &'static str) -> Diagnostic {
        let wanted = self.wanted();
        let found = self.found();
        if wanted == "an item" {
            return Diagnostic::error(code, format!("expected an item, found {found}"))
                .at(self.span(0), "no item begins like this")
                .help(format!("a file is a list of items, which begin with {}", either(words::ITEM_WORDS)));
        }
        let previous = self.word(-1);
        let after = match self.kind(-1) {
            Some(TokenKind::Word | TokenKind::Punct) if !matches!(previous, ";" | "}") => {
                format!(" after `{previous}`")
            }
            _ => String::new(),
        };
        // What is missing at the end of a line is shown there, not where the next line begins.
        let place = if self.at_end() || self.new_line() { self.after_previous() } else { self.span(0) };
        let d = Diagnostic::error(code, format!("expected {wanted}{after}, found {found}"))
            .at(place, format!("expected {wanted}"));
        match self.hint() {
            Some(help) => d.help(help),
            None => d,
        }
    }

    /// A word on what was expected, where its name alone may not help.
    fn hint(&self) -> Option<&'static str> {
        let only = |w: &str| self.expected.iter().all(|e| *e == w || CONTINUES.contains(e));
        Some(if self.expects("a result type") || self.expects("a type") || self.expects("a shape") {
            "a type is a shape such as `[3, 32, 32]` (without the batch), `[]` for one number, or `class(10)` for a label"
        } else if only("`:`") && matches!(self.word(0), ")" | ",") {
            "each input has a type: `x: [28, 28]`, `y: class(10)`"
        } else if only("a string") && self.word(-1) == "use" {
            "the path of the other file is a string: `use \"blocks.gan\"`"
        } else if self.expects("an index") {
            "an axis is indexed with a number, `a..b`, or `..` for all of it"
        } else if self.expects("`~`") {
            "`draw x ~ data.field`, or for noise `draw z: [100] ~ normal`"
        } else if only("`:`") && self.word(-2) == "param" {
            "a parameter has a type: `param w: [10] = normal(0, 1)`"
        } else if self.word(-1) == "let" && self.word(0) == "(" {
            "several names are written without parentheses: `let a, b = …`"
        } else if self.word(-1) == "out" && self.word(0) == "=" {
            "`out` gives one of the named results: `out name = …`; a single result is the final `it`"
        } else if only("`{`") && self.is_word(0) && !self.new_line() {
            "what belongs together stands in braces: `{ … }`"
        } else if self.word(-1) == ")" && self.word(0) == "(" {
            "a layer gets its input by `x |> layer(…)` or as the first argument, `layer(x, …)`"
        } else if self.expects("`iteration` or `update`") {
            "a draw is fresh `per update` (the default) or `per iteration`"
        } else {
            return None;
        })
    }

    // --------------------------------------------------------------------------------------------------- brackets

    /// Brackets that are not closed, or close nothing.
    fn bracket(&self) -> Option<Diagnostic> {
        let found = self.word(0);
        let stray = matches!(found, ")" | "]" | "}") && self.scan.tokens[self.found].partner == NONE;
        let Some(open) = self.opener() else {
            return stray.then(|| {
                Diagnostic::error("E0102", format!("this `{found}` closes nothing"))
                    .at(self.span(0), "no bracket is open here")
                    .help("remove it, or look for the bracket that was closed too early")
            });
        };
        if self.scan.tokens[open].partner != NONE {
            return None;
        }
        let bracket = self.scan.text(self.text, open);
        let closer = match bracket {
            "(" => ")",
            "[" => "]",
            _ => "}",
        };
        let quoted = format!("`{closer}`");
        // Only where the closer was possible is it what is missing.
        let in_body = closer == "}" && self.expected.iter().any(|w| w.starts_with("a statement"));
        if !self.expects(&quoted) && !in_body {
            return None;
        }
        if closer == "}" {
            if stray {
                return Some(
                    Diagnostic::error("E0102", format!("`{found}` does not close `{bracket}`"))
                        .at(self.span(0), "closes nothing")
                        .label(self.token_span(open), "this one is open")
                        .help(format!("remove the `{found}`, or write the bracket that it should close")),
                );
            }
            if !self.at_end() && !words::ITEM_WORDS.contains(&found) {
                return None;
            }
            let mut d =
                Diagnostic::error("E0102", "this `{` is never closed").at(self.token_span(open), "opened here");
            if let Some(suspect) = self.suspect(open) {
                d = d.label(
                    self.token_span(suspect),
                    "the `}` that closes this one is indented less: is one missing?",
                );
            }
            return Some(match self.at_end() {
                true => d.help("a `}` is missing, here or in a block within"),
                false => d
                    .label(self.span(0), "the next item begins before it is closed")
                    .help("a `}` is missing above this item"),
            });
        }
        if stray && found != "}" {
            return Some(
                Diagnostic::error("E0102", format!("`{found}` does not close `{bracket}`"))
                    .at(self.span(0), format!("expected `{closer}`"))
                    .label(self.token_span(open), "this bracket is open")
                    .help(format!("write `{closer}`"))
                    .patch(self.span(0), closer),
            );
        }
        if found == "="
            || (self.value() && !self.new_line() && self.word(1) != "{")
            || (self.is_word(0) && self.word(1) == ":")
        {
            return None;
        }
        Some(
            Diagnostic::error("E0102", format!("`{closer}` is missing"))
                .at(self.after_previous(), format!("`{closer}` expected here"))
                .label(self.token_span(open), format!("for this `{bracket}`"))
                .help(format!("close the bracket: `{closer}`"))
                .patch(self.after_previous(), closer),
        )
    }

    /// The innermost block after `open` that is closed by a `}` of less indentation than its first line.
    fn suspect(&self, open: usize) -> Option<usize> {
        let indent = |i: usize| {
            let line = self.text[..self.scan.tokens[i].start as usize].rsplit('\n').next().unwrap_or("");
            line.len() - line.trim_start().len()
        };
        (open + 1..self.found.min(self.scan.tokens.len())).rev().find(|&i| {
            let close = self.scan.tokens[i].partner;
            self.scan.text(self.text, i) == "{"
                && close != NONE
                && self.scan.new_line(self.text, close as usize)
                && indent(close as usize) < indent(i)
        })
    }

    /// Slips in a list of arguments or elements.
    fn within_brackets(&self) -> Option<Diagnostic> {
        let open = self.scan.text(self.text, self.opener()?);
        if open == "{" {
            return None;
        }
        let things = if open == "(" { "arguments" } else { "elements" };
        let found = self.word(0);
        if found == "=" && self.is_word(-1) && matches!(self.word(-2), "(" | ",") && self.expects("`:`") {
            let name = self.word(-1);
            return Some(
                Diagnostic::error("E0112", "a named argument is written with `:`")
                    .at(self.span(0), "`=` is for definitions")
                    .help(format!("write `{name}: …`"))
                    .patch(self.span_joined(), ":"),
            );
        }
        if found == "=" && matches!(self.word(-2), "(" | ",") && self.expects("`:`") {
            return None;
        }
        if matches!(found, ";") && self.expects("`,`") {
            return Some(
                Diagnostic::error("E0112", format!("{things} are separated by `,`"))
                    .at(self.span(0), "not `;`")
                    .help("write `,`")
                    .patch(self.span(0), ","),
            );
        }
        if found == "," && matches!(self.word(-1), "," | "(" | "[") {
            return Some(
                Diagnostic::error("E0101", "nothing stands before this `,`")
                    .at(self.span(0), "expected an expression before it")
                    .help("remove it"),
            );
        }
        if self.expects("`,`") && self.value() {
            let two = format!("`{}` and `{found}`", self.word(-1));
            let d = Diagnostic::error("E0112", format!("something is missing between {two}"))
                .at(self.after_previous(), "`,` or an operator expected here");
            let named = self.is_word(0) && self.word(1) == ":";
            return Some(match self.kind(-1) {
                Some(TokenKind::Number) if !named && self.is_word(0) => {
                    d.help("a product is written with `*`, the next of a list with `,`")
                }
                _ => d.help(format!("{things} are separated by `,`")).patch(self.after_previous(), ","),
            });
        }
        None
    }

    /// The token found with the white space before it.
    fn span_joined(&self) -> Span {
        self.gap().to(self.span(0))
    }

    // ------------------------------------------------------------------------------------------------- separators

    /// A wrong or missing sign between two parts.
    fn separator(&self) -> Option<Diagnostic> {
        let found = self.word(0);
        let wrong = |title: String, label: &str| Some(Diagnostic::error("E0112", title).at(self.span(0), label));
        match found {
            ":" if self.expects("`=`") => {
                let title = match self.word(-2) {
                    w if words::is_keyword(w) => format!("`{w}` takes `=`"),
                    _ => "a default value follows `=`".to_string(),
                };
                let d = wrong(title, "not `:`")?;
                if self.word(1) == "=" {
                    return Some(d.help("write `=`").patch(self.span_joined().to(self.span(1)), " ="));
                }
                return Some(if self.word(1) == "[" {
                    d.help("a type is written for inputs, draws and `param` only; a value follows `=`")
                } else {
                    d.help("write `=`").patch(self.span_joined(), " =")
                });
            }
            "=" if self.expects("`~`") => {
                return Some(
                    wrong("what is drawn follows `~`".into(), "not `=`")?
                        .help("`=` is for `let`")
                        .patch(self.span(0), "~"),
                );
            }
            "=" | ":" if self.expects("an expression") && words::TAKES_NO_SIGN.contains(&self.word(-1)) => {
                let w = self.word(-1).to_string();
                return Some(
                    wrong(format!("the value follows `{w}` directly"), "no sign here")?
                        .help(format!("write `{w} {}`", self.word(1)))
                        .patch(self.span_joined(), ""),
                );
            }
            "=" if self.expects("an operator") && self.condition() => {
                return Some(
                    wrong("equality is written `==`".into(), "this is the `=` of a definition")?
                        .help("write `==`")
                        .patch(self.span(0), "=="),
                );
            }
            "==" if self.expects("`=`") => {
                return Some(
                    wrong("a definition is written with `=`".into(), "this compares")?
                        .help("write `=`")
                        .patch(self.span(0), "="),
                );
            }
            "*" if self.word(-1) == "*" && self.span(-1).end == self.span(0).start => {
                return Some(
                    Diagnostic::error("E0112", "a power is written `^`")
                        .at(self.span(-1).to(self.span(0)), "no such operator")
                        .help("write `^`")
                        .patch(self.span(-1).to(self.span(0)), "^"),
                );
            }
            "," if self.expects("`{`") && self.with_before() => {
                return Some(
                    wrong("several modifiers stand in parentheses".into(), "`with` takes one modifier")?
                        .help("write `with (a, b)`"),
                );
            }
            "," if self.expects("`;`") && self.expects("`}`") && self.word(1) == "}" => {
                return Some(
                    wrong("nothing follows this `,`".into(), "not needed")?
                        .help("remove it")
                        .patch(self.span(0), ""),
                );
            }
            "," if self.expects("`;`") && self.expects("`}`") => {
                return Some(
                    wrong("statements are separated by `;` or a new line".into(), "not `,`")?
                        .help("write `;`")
                        .patch(self.span(0), ";"),
                );
            }
            "{" if self.expects("`->`") => {
                return Some(
                    wrong("a network declares its result".into(), "expected `->` and a type before the body")?
                        .help("for example `-> [1, 28, 28]`, or `-> (mu: [20], logvar: [20])` for several results"),
                );
            }
            ":" | "=>" | "-" if self.expects("`->`") => {
                return Some(wrong("the result type follows `->`".into(), "not this")?.help("write `->`"));
            }
            _ => {}
        }
        if self.expects("`steps`") && matches!(found, "epochs" | "iterations" | "updates" | "step") {
            return wrong("this is counted in steps".into(), "expected `steps`")
                .map(|d| d.help("one step is one iteration: all players once; an epoch is rows / batch steps"));
        }
        if self.expects("`steps`") && (found == "{" || self.new_line() || self.at_end()) {
            return Some(
                Diagnostic::error("E0112", "`steps` is missing")
                    .at(self.after_previous(), "expected `steps` here")
                    .help("write `steps` after the number")
                    .patch(self.after_previous(), " steps"),
            );
        }
        let infix = matches!(found, "+" | "-" | "*" | "/" | "^" | "<" | "<=" | ">" | ">=" | "==" | "!=");
        if infix && self.expects("`|>`") && !self.expects("an operator") {
            return Some(
                wrong(format!("`{found}` cannot follow a pipe"), "the pipe is the weakest operator")?
                    .help("put the pipe in parentheses: `(x |> f) + 1`"),
            );
        }
        None
    }

    /// Whether the statement at hand is a condition: its first word is `if` or `expect`.
    fn condition(&self) -> bool {
        for i in (0..self.found).rev() {
            match self.scan.text(self.text, i) {
                "if" | "expect" => return true,
                "{" | "}" | ";" => return false,
                _ if self.scan.new_line(self.text, i) => return false,
                _ => {}
            }
        }
        false
    }

    /// Whether a `with` and one modifier stand before.
    fn with_before(&self) -> bool {
        let mut i = self.found;
        while i > 0 {
            i -= 1;
            let t = self.scan.tokens[i];
            match self.scan.text(self.text, i) {
                ")" if t.partner != NONE => i = t.partner as usize,
                "with" => return true,
                _ if t.kind == TokenKind::Word => {}
                _ => return false,
            }
        }
        false
    }

    // ------------------------------------------------------------------------------------------------------ names

    fn keyword_as_name(&self) -> Option<Diagnostic> {
        let found = self.word(0);
        if !self.is_word(0) || !words::is_keyword(found) || self.new_line() {
            return None;
        }
        let name = self.expects("a name") && !self.expects("an expression") && !self.expects("an argument");
        let value = (self.expects("an expression") || self.expects("an argument")) && !self.expects("`}`");
        if name || matches!(self.expected[..], ["a parameter", ..] | ["an input", ..]) {
            return Some(
                Diagnostic::error("E0109", format!("`{found}` is a keyword and cannot be a name"))
                    .at(self.span(0), "a name is expected here")
                    .help(format!("take another name, such as `{found}_` or `my_{found}`")),
            );
        }
        if value {
            return Some(
                Diagnostic::error("E0109", format!("`{found}` is a keyword, not a value"))
                    .at(self.span(0), "an expression is expected here")
                    .note("Keywords may be argument names (`using: …`) and fields (`.data`), but not names of values."),
            );
        }
        None
    }

    // ------------------------------------------------------------------------------------------------- statements

    /// A statement that does not begin as one does here.
    fn statement(&self) -> Option<Diagnostic> {
        let found = self.word(0);
        // The place, what a part of it is called, and the words that begin one.
        let (place, part, words): (&str, &str, &[&str]) = if self.expects("an item") {
            ("a file", "item", words::ITEM_WORDS)
        } else if self.expects("a statement of `train`") {
            ("`train`", "statement of `train`", words::TRAIN_WORDS)
        } else if self.expects("a line of the player") {
            ("a player", "line of a player", words::PLAYER_WORDS)
        } else if self.expects("a line of the loss") {
            ("a loss", "line of a loss", words::LOSS_WORDS)
        } else if self.expects("a statement") {
            ("a body", "statement of a network or block", &[])
        } else if self.expects("an action") {
            ("an `every`", "action", &["evaluate"])
        } else if self.expects("`=`") && self.word(-1) == "it" {
            return Some(self.bare_it());
        } else {
            return None;
        };
        let definition = |i: isize| self.is_word(i) && !words::is_keyword(self.word(i)) && self.word(i + 1) == "=";
        if let Some(i) = [-1, 0].into_iter().find(|&i| definition(i)) {
            let name = self.word(i).to_string();
            let first = Span { end: self.span(i).start, ..self.span(i) };
            let word = match place {
                "a file" => "const",
                "an `every`" => "evaluate",
                _ => "let",
            };
            return Some(
                Diagnostic::error("E0113", format!("a new name is defined with `{word}`"))
                    .at(self.span(i), "no statement begins like this")
                    .help(format!("write `{word} {name} = …`"))
                    .patch(first, format!("{word} ")),
            );
        }
        if self.expects("an operator") && !self.new_line() {
            if found == "if" {
                return Some(
                    Diagnostic::error("E0109", "`if` is no operator")
                        .at(self.span(0), "cannot stand within an expression")
                        .help("`where(condition, a, b)` chooses between two values"),
                );
            }
            if self.value() {
                return Some(
                    Diagnostic::error(
                        "E0106",
                        format!("something is missing between `{}` and `{found}`", self.word(-1)),
                    )
                    .at(self.span(0), "an operator is expected before it")
                    .help("if this is the next statement, it begins on a new line"),
                );
            }
        }
        if place == "a body"
            && let Some(d) = self.after_layer()
        {
            return Some(d);
        }
        let no = |i: isize| {
            Diagnostic::error("E0114", format!("`{}` begins no {part}", self.word(i)))
                .at(self.span(i), "cannot stand here")
        };
        // A statement of another language may be taken for layers until its second or third word.
        for back in [0, -1, -2] {
            if !self.is_word(back) {
                match back {
                    0 => continue,
                    _ => break,
                }
            }
            if let Some(help) = words::foreign(self.word(back), place) {
                return Some(no(back).help(help));
            }
            if self.index(back).is_none_or(|i| self.scan.new_line(self.text, i)) {
                break;
            }
        }
        if words.is_empty() || !self.is_word(0) {
            return None;
        }
        Some(match names::suggest(found, words.iter().copied()) {
            Some(near) => no(0).help(format!("did you mean `{near}`?")).patch(self.span(0), near),
            None if place == "an `every`" => no(0).help("here stand `evaluate …`, `samples(…)` and `checkpoint`"),
            None if place == "`train`" && self.word(1) == "(" => {
                no(0).help("layers stand in networks and blocks; a value gets a name with `let x = …`")
            }
            None => no(0).help(format!("here stand {}", either(words).replace(" or ", " and "))),
        })
    }

    /// `it |> f` or another use of `it` as a statement.
    fn bare_it(&self) -> Diagnostic {
        let d = Diagnostic::error("E0113", "`it` alone is no statement").at(self.span(0), "expected `=`");
        if self.word(0) == "|>" {
            let both = Span { end: self.span(1).start, ..self.span(-1) };
            d.help("a layer statement applies to `it` by itself: leave out `it |>`").patch(both, "")
        } else {
            d.help("write `it = …` to give it a new value")
        }
    }

    /// What cannot follow a layer statement.
    fn after_layer(&self) -> Option<Diagnostic> {
        let found = self.word(0);
        if self.expects("an operator") {
            return None;
        }
        let d = match found {
            "|>" => Diagnostic::error("E0113", "a layer statement is not piped")
                .at(self.span(0), "not possible here")
                .help("each layer applies to the result of the one before: put it on a new line or after `;`")
                .patch(self.span_joined(), ";"),
            "+" | "-" | "*" | "/" | "^" | "." | "[" => {
                Diagnostic::error("E0113", "a layer statement is not an expression")
                    .at(self.span(0), "not possible after a layer")
                    .help("compute with `it = …`, for example `it = it * 2`")
            }
            _ => return None,
        };
        Some(d)
    }
}
