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
        code: "W0405",
        title: "a Wasserstein critic without a bound",
        text: "\
The difference of the critic's mean scores is a distance of distributions only if the critic cannot grow without end: it
must be Lipschitz (Arjovsky et al. 2017). Clip its weights (`trick weight_clip(0.01)`, the paper's way), penalise its
gradient (`trick gradient_penalty(lambda: 10)`, Gulrajani et al. 2017), or normalise its weights (`with spectral_norm`,
Miyato et al. 2018).
",
    },
    Entry {
        code: "W0406",
        title: "settings of a norm that look exchanged",
        text: "\
`eps` is added to the variance: 0.8 there, which widely copied code has where a momentum was meant, makes the norm do
nearly nothing. `momentum` is the weight of the new batch in the moving statistics (0.1 unless said); systems that give
the weight of the old value call the same thing 0.9.
",
    },
    Entry {
        code: "W0407",
        title: "one interpolation weight an element",
        text: "\
The gradient penalty of WGAN-GP is taken at points on the straight lines between a real and a fake sample, x = t a + (1 -
t) b with one number t for each sample (Gulrajani et al. 2017, algorithm 1). Noise with the shape of the sample (`like:`,
`shape:`) mixes every element by a weight of its own and leaves those lines. Write `let t = uniform(0, 1)`.
",
    },
    Entry {
        code: "W0408",
        title: "feature matching sample by sample",
        text: "\
Feature matching asks that the means of the judge's features over real and over fake samples agree (Salimans et al. 2016,
section 3.1). Comparing the n-th real with the n-th fake sample, which were drawn independently, pulls every fake towards
the mean instead. Write `mean((batch_mean(D(real).features) - batch_mean(D(fake).features)) ^ 2)`. Pairs that belong
together (a picture and its translation) may be compared one by one.
",
    },
    Entry {
        code: "W0409",
        title: "a layer that compares samples, in batches of one",
        text: "\
minibatch_stddev and minibatch_discrimination compare the samples of a batch, and batch norms take their statistics over
it; with one sample a batch there is nothing to compare, and a batch norm becomes an instance norm whose moving
statistics are those of single samples. Raise `batch`, or say `instance_norm`.
",
    },
    Entry {
        code: "W0410",
        title: "noise in a judge that is seen some updates ahead",
        text: "\
`unroll(D, steps: k)`, which `trick unrolled` writes, holds all that is drawn fixed over the k updates, as the paper does
with the minibatch (Metz et al. 2017, section 2.4): with `dropout` or `noise` in D, one mask a batch serves all k updates
and the score after them. The generator then learns against a judge that has trained with just that mask, while D itself
draws a new one in each of its updates. Leave the layer out, or set it to 0 in a `const` that goes with the trick.

A batch norm in D is no trouble: each of the updates ahead normalises by the batch that it sees, and the moving
statistics, which only eval mode reads, are left as they were.
",
    },
    Entry {
        code: "W0411",
        title: "a gradient's norm over a part of the axes",
        text: "\
A gradient penalty asks that the norm of the gradient of each sample's score be 1, over all elements of the sample
(Gulrajani et al. 2017, algorithm 1). With `axes:` that name a part of them there are many norms a sample, a column's or a
channel's, and each is pulled to 1. The batch axis is never among the axes, so `norm(grad(D(mix), mix))` is right as it
is.
",
    },
    Entry {
        code: "W0412",
        title: "a target of real samples below one half",
        text: "\
Labels in this language are targets. Some systems take amounts of smoothing, in which 0.1 stands for the target 0.9;
here `real_label: 0.1` asks the judge to call real samples fake. Write the target itself.
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
        code: "W0455",
        title: "a metric of too few samples",
        text: "\
Distances between sets of samples are not 0 for two sets of the same distribution: the fewer samples, the larger. The
Fréchet distance compares covariances, which have no full rank with fewer samples than features, and it is biased
upwards until there are many times more (Heusel et al. 2017 advise 10,000 for their 2048 features). Values of different
numbers of samples cannot be compared. Say more by `samples:`; for a Fréchet distance, features of fewer numbers help
as well.
",
    },
    Entry {
        code: "W0456",
        title: "data that the generator's output cannot reach",
        text: "\
A tanh gives -1 to 1, a sigmoid 0 to 1. If the data has values beyond that, the judge needs no more to tell real from
fake. Pictures are read as 0 to 1; `|> scale(-1, 1)` makes them fit a tanh (Radford et al. 2016).
",
    },
    Entry {
        code: "W0457",
        title: "parameters that no objective reaches",
        text: "\
A player updates a network, but no objective of any player that does so depends on some of its parameters: they stay as
they start, and what is computed from them is noise. Often a layer's result is not used, or an output of several is not
in any loss.
",
    },
];
