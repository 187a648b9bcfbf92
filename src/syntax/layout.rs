//! Laying out text within a width: documents with places where a line may break (Wadler 1998, "A prettier printer").

/// A document.
#[derive(Clone, Debug)]
pub(super) enum Doc {
    /// Text without line breaks.
    Text(String),
    /// A space, or a line break if the group around it is broken.
    Line,
    /// Nothing, or a line break.
    Soft,
    /// Always a line break; does not break the group around it.
    Hard,
    /// One after the other.
    Cat(Vec<Doc>),
    /// One level deeper after line breaks.
    Nest(Box<Doc>),
    /// All breaks within, but not those of inner groups, or none.
    Group(Box<Doc>),
    /// Text only if the group around it is broken.
    Broken(&'static str),
}

impl Doc {
    pub(super) fn text(s: impl Into<String>) -> Doc {
        Doc::Text(s.into())
    }

    pub(super) fn nest(self) -> Doc {
        Doc::Nest(Box::new(self))
    }

    pub(super) fn group(self) -> Doc {
        Doc::Group(Box::new(self))
    }

    /// `open a, b close`, on one line or one element a line with a trailing comma.
    pub(super) fn list(open: &str, parts: Vec<Doc>, close: &str) -> Doc {
        if parts.is_empty() {
            return Doc::text(format!("{open}{close}"));
        }
        let mut inner = vec![Doc::Soft];
        for (i, part) in parts.into_iter().enumerate() {
            if i > 0 {
                inner.extend([Doc::text(","), Doc::Line]);
            }
            inner.push(part);
        }
        inner.push(Doc::Broken(","));
        Doc::Cat(vec![Doc::text(open), Doc::Cat(inner).nest(), Doc::Soft, Doc::text(close)]).group()
    }

    /// Characters on one line.
    pub(super) fn flat_width(&self) -> usize {
        match self {
            Doc::Text(s) => s.chars().count(),
            Doc::Line => 1,
            Doc::Soft | Doc::Hard | Doc::Broken(_) => 0,
            Doc::Cat(parts) => parts.iter().map(Doc::flat_width).sum(),
            Doc::Nest(d) | Doc::Group(d) => d.flat_width(),
        }
    }

    /// Whether it contains a certain line break.
    pub(super) fn has_hard(&self) -> bool {
        match self {
            Doc::Hard => true,
            Doc::Cat(parts) => parts.iter().any(Doc::has_hard),
            Doc::Nest(d) | Doc::Group(d) => d.has_hard(),
            _ => false,
        }
    }
}

/// Spaces a level.
pub(super) const STEP: usize = 4;

/// Writes a document to `out`, whose last line has `column` characters, at `level`.
pub(super) fn render(doc: &Doc, level: usize, column: usize, width: usize, out: &mut String) {
    let mut column = column;
    // What is still to be written, the next on top: level, whether broken, document.
    let mut stack: Vec<(usize, bool, &Doc)> = vec![(level, false, doc)];
    while let Some((level, broken, doc)) = stack.pop() {
        let mut newline = false;
        match doc {
            Doc::Text(s) => {
                out.push_str(s);
                column += s.chars().count();
            }
            Doc::Broken(s) if broken => {
                out.push_str(s);
                column += s.len();
            }
            Doc::Broken(_) => {}
            Doc::Line if !broken => {
                out.push(' ');
                column += 1;
            }
            Doc::Soft if !broken => {}
            Doc::Line | Doc::Soft | Doc::Hard => newline = true,
            Doc::Cat(parts) => stack.extend(parts.iter().rev().map(|d| (level, broken, d))),
            Doc::Nest(d) => stack.push((level + 1, broken, d)),
            Doc::Group(d) => {
                let fits = fits(d, &stack, width.saturating_sub(column));
                stack.push((level, !fits, d));
            }
        }
        if newline {
            while out.ends_with(' ') {
                out.pop();
            }
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', level * STEP));
            column = level * STEP;
        }
    }
}

/// Whether the group, and what follows it up to the next possible break, fits in `room` characters.
fn fits(group: &Doc, rest: &[(usize, bool, &Doc)], room: usize) -> bool {
    let mut room = room as isize;
    let mut todo = vec![(false, group)];
    let mut rest = rest.iter().rev();
    loop {
        let (broken, doc) = match todo.pop() {
            Some(next) => next,
            None => match rest.next() {
                Some(&(_, broken, doc)) => (broken, doc),
                None => return true,
            },
        };
        match doc {
            Doc::Text(s) => room -= s.chars().count() as isize,
            Doc::Broken(s) if broken => room -= s.len() as isize,
            Doc::Broken(_) => {}
            Doc::Line if !broken => room -= 1,
            Doc::Soft if !broken => {}
            Doc::Line | Doc::Soft | Doc::Hard => return true,
            Doc::Cat(parts) => todo.extend(parts.iter().rev().map(|d| (broken, d))),
            Doc::Nest(d) | Doc::Group(d) => todo.push((broken && !matches!(doc, Doc::Group(_)), d)),
        }
        if room < 0 {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_breaks_where_it_must() {
        let list = |n: usize| Doc::list("f(", (0..n).map(|i| Doc::text(format!("arg{i}"))).collect(), ")");
        let show = |d: &Doc, width| {
            let mut out = String::new();
            render(d, 0, 0, width, &mut out);
            out
        };
        assert_eq!(show(&list(3), 19), "f(arg0, arg1, arg2)");
        assert_eq!(show(&list(2), 12), "f(\n    arg0,\n    arg1,\n)");
        let outer = Doc::list("g(", vec![list(2), list(1)], ")");
        assert_eq!(show(&outer, 20), "g(\n    f(arg0, arg1),\n    f(arg0),\n)");
    }
}
