//! The words of the language: keywords, words with a meaning in place, and how a list of expectations reads.

/// Words that cannot be names.
pub const KEYWORDS: &[&str] = &[
    "use",
    "const",
    "data",
    "block",
    "generator",
    "discriminator",
    "network",
    "loss",
    "train",
    "let",
    "param",
    "out",
    "tap",
    "residual",
    "shortcut",
    "repeat",
    "if",
    "else",
    "it",
    "in",
    "with",
    "draw",
    "player",
    "updates",
    "minimize",
    "using",
    "trick",
    "every",
    "evaluate",
    "expect",
    "after",
    "per",
    "true",
    "false",
];

/// Words that begin an item.
pub const ITEM_WORDS: &[&str] =
    &["use", "const", "data", "block", "generator", "discriminator", "network", "loss", "train"];

/// Words that begin a statement of `train`.
pub const TRAIN_WORDS: &[&str] = &[
    "let",
    "draw",
    "loss",
    "player",
    "trick",
    "every",
    "expect",
    "if",
    "batch",
    "steps",
    "seed",
    "precision",
    "order",
    "epochs",
];

/// Words that begin a line of `player`.
pub const PLAYER_WORDS: &[&str] = &["let", "minimize", "using", "repeat", "batch"];

/// Words that begin a line of `loss`.
pub const LOSS_WORDS: &[&str] = &["let", "discriminator", "generator"];

/// Whether the word is a keyword.
pub fn is_keyword(word: &str) -> bool {
    KEYWORDS.contains(&word)
}

/// `a`, `a or b`, `a, b or c`.
pub fn either<S: AsRef<str>>(words: &[S]) -> String {
    let mut text = String::new();
    for (i, w) in words.iter().enumerate() {
        if i > 0 {
            text.push_str(if i + 1 == words.len() { " or " } else { ", " });
        }
        text.push_str(w.as_ref());
    }
    text
}
