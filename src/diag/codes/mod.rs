//! What each code means, at length: `ganc explain E0301`. One file a hundred; a row is added where the code is made.

mod e01;
mod e02;
mod e03;
mod e04;
mod e05;
mod w;

/// The long text of a code.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Such as `E0101`.
    pub code: &'static str,
    /// One line.
    pub title: &'static str,
    /// What it means, an example and how it is mended. Paragraphs are separated by empty lines.
    pub text: &'static str,
}

/// All entries in the order of their codes.
pub fn all() -> impl Iterator<Item = &'static Entry> {
    [e01::TABLE, e02::TABLE, e03::TABLE, e04::TABLE, e05::TABLE, w::TABLE].into_iter().flatten()
}

/// The entry of a code; case does not matter.
pub fn lookup(code: &str) -> Option<&'static Entry> {
    all().find(|e| e.code.eq_ignore_ascii_case(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_each_table_is_sorted() {
        let codes: Vec<_> = all().map(|e| e.code).collect();
        assert!(codes.windows(2).all(|w| w[0] < w[1]), "{codes:?}");
        assert!(all().all(|e| !e.title.is_empty() && !e.title.ends_with('.') && e.text.ends_with('\n')));
    }
}
