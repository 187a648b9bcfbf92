//! A linear pass over the text before the grammar sees it: tokens, comments, brackets.
//!
//! The grammar alone decides what is accepted. This pass exists for what a parsing expression grammar does badly:
//! it bounds the nesting before anything recurses, finds where items begin (so that one error does not hide the next
//! item's), keeps the comments, and words the mistakes within a token: a number such as `.5`, a string that does not
//! end, a character that the language does not have.

use crate::diag::{Diagnostic, Diagnostics};
use crate::source::{FileId, Span};
use crate::syntax::ast::Comment;

/// Largest file in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// Deepest nesting of brackets, operators and branches.
pub const MAX_DEPTH: usize = 200;

/// Longest name.
pub const MAX_NAME: usize = 255;

/// Kinds of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// A keyword or name.
    Word,
    /// A number.
    Number,
    /// A string.
    Str,
    /// Punctuation or an operator.
    Punct,
}

/// A token: its bytes, and for a bracket the index of its partner.
#[derive(Clone, Copy, Debug)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
    /// Index of the innermost bracket token that is open here (of itself: the one outside), or [`NONE`].
    pub inside: u32,
    /// Index of the matching bracket, or [`NONE`].
    pub partner: u32,
}

/// No token.
pub const NONE: u32 = u32::MAX;

/// What the pass found.
#[derive(Debug, Default)]
pub struct Scan {
    /// Tokens in textual order.
    pub tokens: Vec<Token>,
    /// Comments in textual order.
    pub comments: Vec<Comment>,
    /// Mistakes within tokens; each lies at a token or between two.
    pub errors: Diagnostics,
    /// All brackets have partners.
    pub balanced: bool,
}

impl Scan {
    /// The text of token `i`.
    pub fn text<'t>(&self, text: &'t str, i: usize) -> &'t str {
        self.tokens.get(i).map_or("", |t| &text[t.start as usize..t.end as usize])
    }

    /// Index of the first token that begins at or after `byte`.
    pub fn at(&self, byte: usize) -> usize {
        self.tokens.partition_point(|t| (t.start as usize) < byte)
    }

    /// End of the last token that ends at or before `byte`; `byte` itself if there is none.
    pub fn end_before(&self, byte: usize) -> usize {
        let i = self.tokens.partition_point(|t| t.end as usize <= byte);
        if i == 0 { byte } else { self.tokens[i - 1].end as usize }
    }

    /// Whether token `i` stands on another line than the token before it.
    pub fn new_line(&self, text: &str, i: usize) -> bool {
        if i == 0 {
            return true;
        }
        let (from, to) =
            (self.tokens[i - 1].end as usize, self.tokens.get(i).map_or(text.len(), |t| t.start as usize));
        // A block comment that spans lines does not begin a new statement: only a line break in the code itself does.
        let mut at = from;
        let first = self.comments.partition_point(|c| (c.span.start as usize) < from);
        for c in self.comments[first..].iter().take_while(|c| (c.span.end as usize) <= to) {
            if text[at..c.span.start as usize].contains('\n') {
                return true;
            }
            at = c.span.end as usize;
        }
        text[at..to].contains('\n')
    }
}

/// Scans a text. `Err`: too deep, or too large; nothing may recurse over it.
pub fn scan(file: FileId, text: &str) -> Result<Scan, Box<Diagnostic>> {
    if text.len() > MAX_BYTES {
        let end = (0..=64.min(text.len())).rev().find(|&b| text.is_char_boundary(b)).unwrap_or(0);
        let end = text[..end].find('\n').unwrap_or(end);
        let d = Diagnostic::error("E0111", format!("the file has {} bytes, more than a spec can have", text.len()))
            .at(Span::new(file, 0, end), format!("the limit is {MAX_BYTES} bytes"))
            .help("is this really a .gan file?");
        return Err(Box::new(d));
    }
    let mut s = Scanner {
        file,
        text,
        bytes: text.as_bytes(),
        pos: 0,
        out: Scan { balanced: true, ..Scan::default() },
        open: Vec::new(),
    };
    s.run()?;
    if !s.open.is_empty() {
        s.out.balanced = false;
    }
    Ok(s.out)
}

struct Scanner<'a> {
    file: FileId,
    text: &'a str,
    bytes: &'a [u8],
    pos: usize,
    out: Scan,
    open: Vec<u32>,
}

fn letter(b: u8) -> bool {
    b.is_ascii_alphabetic() || b == b'_'
}

fn follow(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

impl Scanner<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.pos + ahead).copied().unwrap_or(0)
    }

    fn span(&self, start: usize, end: usize) -> Span {
        Span::new(self.file, start, end)
    }

    fn push(&mut self, kind: TokenKind, start: usize) {
        let inside = self.open.last().copied().unwrap_or(NONE);
        self.out.tokens.push(Token { kind, start: start as u32, end: self.pos as u32, inside, partner: NONE });
    }

    fn run(&mut self) -> Result<(), Box<Diagnostic>> {
        if self.text.starts_with('\u{feff}') {
            self.pos = 3;
        }
        while self.pos < self.bytes.len() {
            let start = self.pos;
            match self.peek(0) {
                b' ' | b'\t' | b'\r' | b'\n' => self.pos += 1,
                b'/' if self.peek(1) == b'/' => self.line_comment(),
                b'/' if self.peek(1) == b'*' => self.block_comment(),
                b'"' => self.string(),
                b if letter(b) => {
                    while follow(self.peek(0)) {
                        self.pos += 1;
                    }
                    if self.pos - start > MAX_NAME {
                        let d = Diagnostic::error("E0104", format!("a name has at most {MAX_NAME} characters"))
                            .at(self.span(start, start + 1), format!("this one has {}", self.pos - start));
                        self.out.errors.push(d);
                    }
                    self.push(TokenKind::Word, start);
                }
                b if b.is_ascii_digit() => self.number(),
                b'.' if self.peek(1).is_ascii_digit() => self.point(),
                _ => self.punct()?,
            }
        }
        Ok(())
    }

    fn comment(&mut self, start: usize) {
        // What stands before it on its line reaches back to the token or comment before it.
        let last =
            self.out.tokens.last().map_or(0, |t| t.end).max(self.out.comments.last().map_or(0, |c| c.span.end));
        let before = &self.text[last as usize..start];
        let own_line = before.contains('\n') || last == 0;
        let text = self.text[start..self.pos].trim_end().to_string();
        let span = self.span(start, start + text.len());
        self.out.comments.push(Comment { text, span, own_line });
    }

    fn line_comment(&mut self) {
        let start = self.pos;
        self.pos = self.text[start..].find('\n').map_or(self.bytes.len(), |n| start + n);
        self.comment(start);
    }

    fn block_comment(&mut self) {
        let start = self.pos;
        match self.text[start + 2..].find("*/") {
            Some(n) => {
                self.pos = start + 2 + n + 2;
                self.comment(start);
            }
            None => {
                self.pos = self.bytes.len();
                self.out.errors.push(
                    Diagnostic::error("E0105", "this comment does not end")
                        .at(self.span(start, start + 2), "`/*` opened here, no `*/` follows")
                        .help("close it with `*/`, or begin each line with `//`"),
                );
            }
        }
    }

    fn string(&mut self) {
        let start = self.pos;
        self.pos += 1;
        loop {
            match self.peek(0) {
                b'"' => {
                    self.pos += 1;
                    return self.push(TokenKind::Str, start);
                }
                b'\\' if matches!(self.peek(1), b'"' | b'\\' | b'n') => self.pos += 2,
                b'\\' if !matches!(self.peek(1), b'\n' | b'\r' | 0) => {
                    let at = self.pos;
                    let c = self.text[at + 1..].chars().next().unwrap_or('\\');
                    self.pos += 1 + c.len_utf8();
                    self.out.errors.push(
                        Diagnostic::error("E0105", format!("a string has no escape `\\{c}`"))
                            .at(self.span(at, self.pos), "not an escape")
                            .help("the escapes are `\\\"`, `\\\\` and `\\n`; a path is written with `/`"),
                    );
                }
                0 | b'\n' | b'\r' if self.pos >= self.bytes.len() || self.peek(0) != 0 => break,
                _ => self.pos += 1,
            }
        }
        let end = self.pos;
        self.push(TokenKind::Str, start);
        self.out.errors.push(
            Diagnostic::error("E0105", "this string does not end on its line")
                .at(self.span(start, end), "opened with `\"` here")
                .help("close it with `\"`; a line break inside a string is written `\\n`"),
        );
    }

    fn digits(&mut self) {
        while self.peek(0).is_ascii_digit() || self.peek(0) == b'_' {
            self.pos += 1;
        }
    }

    fn number(&mut self) {
        let start = self.pos;
        self.digits();
        if self.peek(0) == b'.' && self.peek(1).is_ascii_digit() {
            self.pos += 1;
            self.digits();
        } else if self.peek(0) == b'.' && self.peek(1) != b'.' {
            self.pos += 1;
            let number = self.text[start..self.pos].to_string();
            self.push(TokenKind::Number, start);
            self.out.errors.push(
                Diagnostic::error("E0104", format!("`{number}` has no digits after the point"))
                    .at(self.span(start, self.pos), "incomplete number")
                    .help(format!("write `{number}0` or `{}`", number.trim_end_matches('.')))
                    .patch(self.span(start, self.pos), format!("{number}0")),
            );
            return;
        }
        if matches!(self.peek(0), b'e' | b'E') {
            let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
            if self.peek(1 + sign).is_ascii_digit() {
                self.pos += 1 + sign;
                while self.peek(0).is_ascii_digit() {
                    self.pos += 1;
                }
            }
        }
        let end = self.pos;
        while follow(self.peek(0)) {
            self.pos += 1;
        }
        self.push(TokenKind::Number, start);
        if self.pos > end {
            let (number, rest) = (&self.text[start..end], &self.text[end..self.pos]);
            let mut d = Diagnostic::error(
                "E0104",
                format!("`{}` is neither a number nor a name", &self.text[start..self.pos]),
            )
            .at(self.span(start, self.pos), format!("the number `{number}` runs into `{rest}`"));
            d = match rest {
                "k" | "K" | "m" | "M" => d.help(format!("write it out, with `_` if you like: `{number}_000`")),
                "f" => {
                    d.help(format!("numbers have no suffix: write `{number}`")).patch(self.span(end, self.pos), "")
                }
                _ => d.help("a name begins with a letter or `_`; a product is written with `*`"),
            };
            self.out.errors.push(d);
        }
    }

    /// `.` before a digit.
    fn point(&mut self) {
        let start = self.pos;
        self.pos += 1;
        self.digits();
        let digits = self.text[start..self.pos].to_string();
        let after_value = self.out.tokens.last().is_some_and(|t| {
            t.end as usize == start && matches!(&self.text[t.start as usize..t.end as usize], w if w == ")" || w == "]" || letter(w.as_bytes()[0]))
        });
        self.push(TokenKind::Number, start);
        let span = self.span(start, self.pos);
        self.out.errors.push(if after_value {
            Diagnostic::error("E0104", "after `.` comes a name, not a number")
                .at(span, "not a field")
                .help(format!("a part is taken with brackets: `[{}]`", &digits[1..]))
        } else {
            Diagnostic::error("E0104", format!("`{digits}` has no digit before the point"))
                .at(span, "incomplete number")
                .help(format!("write `0{digits}`"))
                .patch(span, format!("0{digits}"))
        });
    }

    fn punct(&mut self) -> Result<(), Box<Diagnostic>> {
        let start = self.pos;
        let two = self.text.get(start..start + 2).unwrap_or("");
        if matches!(two, "|>" | "->" | ".." | "==" | "!=" | "<=" | ">=") {
            self.pos += 2;
            self.push(TokenKind::Punct, start);
            return Ok(());
        }
        let c = self.text[start..].chars().next().unwrap_or(' ');
        self.pos += c.len_utf8();
        match c {
            '(' | '[' | '{' => {
                self.push(TokenKind::Punct, start);
                self.open.push(self.out.tokens.len() as u32 - 1);
                if self.open.len() > MAX_DEPTH {
                    return Err(Box::new(too_deep(self.span(start, self.pos))));
                }
            }
            ')' | ']' | '}' => self.close(start, c),
            ',' | ':' | ';' | '=' | '+' | '-' | '*' | '/' | '^' | '<' | '>' | '.' | '~' => {
                self.push(TokenKind::Punct, start);
            }
            _ => self.stray(start, c),
        }
        Ok(())
    }

    fn close(&mut self, start: usize, c: char) {
        let open = self.open.last().copied();
        let wanted = open.map(|o| match self.bytes[self.out.tokens[o as usize].start as usize] {
            b'(' => ')',
            b'[' => ']',
            _ => '}',
        });
        if wanted == Some(c) {
            self.open.pop();
            self.push(TokenKind::Punct, start);
            let (o, me) = (open.unwrap_or(NONE), self.out.tokens.len() as u32 - 1);
            self.out.tokens[o as usize].partner = me;
            self.out.tokens[me as usize].partner = o;
            return;
        }
        self.push(TokenKind::Punct, start);
        self.out.balanced = false;
        // A `}` ends all brackets within its block, so that what follows is seen at its own depth.
        if c == '}' {
            while let Some(o) = self.open.pop() {
                if self.bytes[self.out.tokens[o as usize].start as usize] == b'{' {
                    break;
                }
            }
        }
    }

    fn stray(&mut self, start: usize, c: char) {
        let span = self.span(start, self.pos);
        let unseen = c.is_control()
            || c.is_whitespace()
            || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        let shown = if unseen { format!("U+{:04X}", c as u32) } else { format!("`{c}`") };
        let d = Diagnostic::error("E0103", format!("the language has no character {shown}"))
            .at(span, "not expected anywhere");
        let rest = &self.text[self.pos..];
        if matches!(c, '\'' | '“' | '`') {
            let line = rest.split('\n').next().unwrap_or("");
            let close = if c == '“' { '”' } else { c };
            if let Some(n) = line.find(close).filter(|&n| !line[..n].contains(['"', '\\'])) {
                let content = line[..n].to_string();
                self.pos += n + close.len_utf8();
                let span = self.span(start, self.pos);
                self.out.errors.push(
                    Diagnostic::error("E0103", "a string is written with straight double quotes")
                        .at(span, format!("not {c} … {close}"))
                        .help(format!("write `\"{content}\"`"))
                        .patch(span, format!("\"{content}\"")),
                );
                return;
            }
        }
        let d = match c {
            '#' => d.help("a comment begins with `//`").patch(span, "//"),
            '\'' | '“' | '”' | '‘' | '’' | '`' => {
                d.help("strings are written with straight double quotes: `\"…\"`")
            }
            '&' | '|' if rest.starts_with(c) => {
                self.pos += 1;
                Diagnostic::error("E0103", format!("the language has no operator `{c}{c}`"))
                    .at(self.span(start, self.pos), "not an operator")
                    .help("conditions are not combined: put one `if` inside another, or take two `expect` lines")
            }
            '|' => d.help("the pipe is written `|>`"),
            '!' => d.help("the only use of `!` is `!=`; for the opposite of a condition turn it round"),
            '%' => d.help("there is no remainder operator; `every n steps { … }` does something now and then"),
            '−' | '–' | '—' => d.help("the minus sign is `-`").patch(span, "-"),
            '×' | '·' => d.help("the product is written `*`").patch(span, "*"),
            '→' => d.help("the arrow is written `->`").patch(span, "->"),
            '≤' => d.help("written `<=`").patch(span, "<="),
            '≥' => d.help("written `>=`").patch(span, ">="),
            '∼' | '〜' => d.help("the tilde is `~`").patch(span, "~"),
            '\u{a0}' | '\u{200b}' | '\u{feff}' | '\u{3000}' => {
                d.help("this is an invisible character: replace it by an ordinary space").patch(span, " ")
            }
            c if c.is_alphabetic() => d.help("names are made of the letters a–z, A–Z, digits and `_`"),
            '?' | '@' | '$' | '\\' => d,
            _ => d,
        };
        if c == '#' {
            // What follows is meant as a comment.
            self.pos = self.text[start..].find('\n').map_or(self.bytes.len(), |n| start + n);
        }
        self.out.errors.push(d);
    }
}

/// The diagnostic for nesting beyond [`MAX_DEPTH`].
pub fn too_deep(span: Span) -> Diagnostic {
    Diagnostic::error("E0110", format!("this is nested more than {MAX_DEPTH} levels deep"))
        .at(span, "one level too many")
        .note("Each bracket, each operator of a chain and each `else if` is a level.")
        .help("give parts of it names with `let`")
}
