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

/// Words after which a value follows without a sign.
pub const TAKES_NO_SIGN: &[&str] = &[
    "batch",
    "steps",
    "seed",
    "precision",
    "order",
    "epochs",
    "minimize",
    "using",
    "repeat",
    "every",
    "discriminator",
    "generator",
    "expect",
];

/// What to say about a word of another place or another language, at a `place` such as "`train`" or "a body".
pub fn foreign(word: &str, place: &str) -> Option<&'static str> {
    Some(match (word, place) {
        ("import" | "include" | "from", _) => "another file is taken in with `use \"file.gan\"`",
        ("def" | "fn" | "func" | "function" | "class" | "module" | "model" | "net", "a file") => {
            "a network is written `network Name(x: [n]) -> [m] { … }`, a reusable list of layers `block Name(n) { … }`"
        }
        ("let" | "var" | "param", "a file") => {
            "outside of networks and `train` a value is written `const name = …`"
        }
        ("dataset", "a file") => "a data set is written `data name = source(…)`",
        ("player" | "draw" | "batch" | "steps" | "trick" | "every" | "epochs" | "minimize" | "using", "a file") => {
            "this belongs in `train { … }`"
        }
        (
            "draw" | "player" | "trick" | "every" | "loss" | "expect" | "minimize" | "using" | "evaluate",
            "a body",
        ) => "this belongs in `train { … }`",
        ("elif" | "elsif" | "elseif", _) => "written `else if`",
        ("let", "an `every`") => "a number is named with `evaluate x = …`; `let` stands in `train` or a player",
        ("else", _) => "`else` follows the `}` of an `if` directly; in `train` and `every` there is none",
        ("shortcut", _) => "`shortcut { … }` follows the `}` of a `residual` directly",
        ("const" | "data" | "block" | "network" | "use" | "train", _) if place != "a file" => {
            "this is an item: it stands outside of `{ … }`; is a `}` missing above?"
        }
        ("generator" | "discriminator", "a body" | "`train`") => {
            "this is an item: it stands outside of `{ … }`; is a `}` missing above?"
        }
        ("for" | "while" | "loop", _) => "in a body `repeat n { … }` or `repeat i in 0..n { … }` repeats layers",
        ("return", _) => "the value of a network is the final `it`",
        ("minimize" | "using" | "updates" | "repeat", "`train`") => "this belongs in a player: `player D { … }`",
        ("evaluate" | "samples" | "checkpoint", "`train`") => "this belongs in `every n steps { … }`",
        ("loss" | "draw" | "trick" | "every" | "steps" | "evaluate", "a player") => {
            "this belongs in `train`, outside of the player"
        }
        ("updates", "a player") => "written before the `{`: `player D updates D, E { … }`",
        ("optimizer" | "optim" | "optimiser" | "lr" | "learning_rate", _) => {
            "the optimiser of a player is written `using adam(lr: 2e-4)`"
        }
        ("noise" | "sample", "`train`") => "noise is drawn with `draw z: [100] ~ normal`",
        ("maximize" | "maximise", _) => "write `minimize -(…)`",
        ("minimise", _) => "written `minimize`",
        ("print" | "log" | "save", "`train`") => "use `every n steps { samples(…); checkpoint }`",
        _ => return None,
    })
}
