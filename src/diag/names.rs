//! Suggestions for misspelt names.

/// Longer words are no slip of the pen.
const LONGEST: usize = 64;

/// The candidate nearest to `word`, if one is near enough to be meant: at most a third of its letters differ, or only
/// case and underscores do.
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let plain = |s: &str| s.chars().filter(|c| *c != '_').flat_map(char::to_lowercase).collect::<String>();
    let limit = (word.chars().count() / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        if candidate == word {
            continue;
        }
        let distance = match plain(candidate) == plain(word) {
            true => 0,
            false if candidate.len().abs_diff(word.len()) > 4 * limit => continue,
            false => strsim::damerau_levenshtein(word, candidate),
        };
        // Nothing of the word may remain wrong: `of` is not near `if`.
        let near = distance <= limit && distance < candidate.chars().count().min(word.chars().count());
        if near && best.is_none_or(|(d, _)| distance < d) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, c)| c)
}

#[cfg(test)]
mod tests {
    use super::suggest;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let layers = ["batch_norm", "conv", "conv_transpose", "leaky_relu", "relu"];
        assert_eq!(suggest("batchnorm", layers), Some("batch_norm"));
        assert_eq!(suggest("BatchNorm", layers), Some("batch_norm"));
        assert_eq!(suggest("leaky_rleu", layers), Some("leaky_relu"));
        assert_eq!(suggest("dense", layers), None);
        assert_eq!(suggest("x", ["y"]), None);
    }
}
