//! Times the contractions of well-known networks.

/// A table of times and rates, one line a contraction.
pub fn report(threads: usize) -> String {
    format!("{threads}")
}
