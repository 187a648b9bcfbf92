//! Codes about warnings (W…).

use super::Entry;

pub(super) const TABLE: &[Entry] = &[
    Entry {
        code: "W0201",
        title: "a name hides a built-in",
        text: "\
A block may have the name of a built-in layer or function, and a loss that of a built-in loss; everywhere in the spec
the name then means yours. If that is not intended, rename it.
",
    },
    Entry {
        code: "W0202",
        title: "something is never used",
        text: "\
A const, data set, block, network, loss or draw that nothing names. It costs nothing in the run, but often points at a
misspelt name or a line that was left behind.
",
    },
    Entry {
        code: "W0401",
        title: "no objective reaches a network",
        text: "\
Either a player updates a network that its own objective does not apply, so that the parameters will not move, or a
network is shown or measured although no player of the spec trains it. `stop(…)` cuts gradients too.
",
    },
    Entry {
        code: "W0402",
        title: "a sigmoid before a loss that takes logits",
        text: "\
The losses minimax, non_saturating, hinge, wasserstein and the relativistic ones, and the function `bce`, take scores
without bounds; where a probability is needed they apply the sigmoid themselves, in a stable form. A sigmoid at the end
of the judge squashes the scores a first time and makes the gradients vanish. Leave it out.
",
    },
    Entry {
        code: "W0403",
        title: "batch norm in a network with a gradient penalty",
        text: "\
A gradient penalty takes the gradient of each sample's score with respect to that sample. With batch norm the score also
depends on the other samples of the batch, so what is penalised is something else (Gulrajani et al. 2017, section 4).
Use layer_norm or instance_norm in the critic, or no norm.
",
    },
    Entry {
        code: "W0404",
        title: "smoothed targets of fake samples",
        text: "\
With a target above 0 for fakes, the best judge prefers regions where fakes already are, and the generator is drawn to
its own samples (Salimans et al. 2016, section 3.4). Smooth the targets of reals only:
`trick one_sided_label_smoothing(real: 0.9)`.
",
    },
    Entry {
        code: "W0451",
        title: "an objective does not reach a network that its player updates",
        text: "\
No gradient arrives at any parameter of the network: it is not in the objective, or behind a `stop` or a function
without gradient. It stays as it is.
",
    },
    Entry {
        code: "W0453",
        title: "a gradient that is zero everywhere",
        text: "\
In `grad(y, x)` y does not depend on x as a value. Differentiate by the very value that goes in:

    let mix = t * real + (1 - t) * fake
    … grad(D(mix), mix) …
",
    },
    Entry {
        code: "W0454",
        title: "a precision that this version does not have",
        text: "\
All arithmetic is done in f32.
",
    },
];
