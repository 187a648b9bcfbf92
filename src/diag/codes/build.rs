//! Codes of the stage that makes graphs of a model (E032x, E045x, W045x).

use super::Entry;

pub(super) const TABLE: &[Entry] = &[
    Entry {
        code: "E0320",
        title: "a network gives another shape than it declares",
        text: "\
The shape after the last layer is not the one after `->` in the network's header. The note tells the shape after each
layer, so that the first one which is not what was meant can be found:

    discriminator D(x: [3, 32, 32]) -> [1] {
        conv(8, kernel: 4, stride: 4)        // [8, 8, 8]
        conv(1, kernel: 8)                   // [1, 1, 1]
        reshape(1)                           // [1]
    }

[1, 1, 1] and [1] have as many elements, but are two shapes: `reshape(1)` makes one of the other.
",
    },
    Entry {
        code: "E0321",
        title: "the two sides of a residual differ",
        text: "\
`residual { … }` adds what its body gives to what goes in, or to what `shortcut { … }` gives. Both must have the same
shape. Where the body changes the number of channels or the size, the shortcut must change them too:

    residual { conv(64, kernel: 3, pad: 1); avg_pool(2) } shortcut { avg_pool(2); conv(64, kernel: 1) }
",
    },
    Entry {
        code: "E0322",
        title: "`it` has no value yet",
        text: "\
A layer is applied to `it`, the value before it. A body starts with `it` only if exactly one of the network's inputs is
a tensor (labels do not count); with two, say which:

    discriminator D(x: [3, 64, 64], y: [3, 64, 64]) -> [1] {
        it = concat(x, y)
        conv(64, kernel: 4, stride: 2, pad: 1)
",
    },
    Entry {
        code: "E0323",
        title: "an argument of a network does not fit its input",
        text: "\
A network is applied to values of the types that its header declares, by position or by the input's name. The batch
axis is never written. Nothing is reshaped silently: write `flatten(x)` or `reshape(x, 1, 28, 28)`.
",
    },
    Entry {
        code: "E0324",
        title: "a data set has no such field",
        text: "\
After the dot stands a field of the set: `.image` and `.label`, `.point` and `.mode`, or the name of a column. Which
there are depends on the source and on what the files hold; the message lists them.
",
    },
    Entry {
        code: "E0450",
        title: "an objective is not one number for the whole batch",
        text: "\
Losses such as `bce` are elementwise: one number a sample. What a player minimises is one number, so say how the batch
is taken together, usually by its average:

    minimize mean(bce(D(x), 1))

`sum(…)` reduces within the sample only; the average over the batch is still `mean(sum(…))`.
",
    },
    Entry {
        code: "E0451",
        title: "not available in this version",
        text: "\
The function, layer, metric or trick is part of the language, but this version of ganc does not compile it. The message
names it; nothing else is wrong with the place.
",
    },
    Entry {
        code: "E0453",
        title: "something that cannot be drawn",
        text: "\
One `draw` line is either noise with a type, or fields of one data set:

    draw z: [100] ~ normal
    draw x, y ~ digits.image, digits.label

All fields of a line belong to the same rows: for an independent minibatch write a second line. A set must have at
least as many rows as a minibatch has samples.
",
    },
    Entry {
        code: "E0454",
        title: "too many variants of an iteration",
        text: "\
Each combination of `minimize … every k` lines that occurs is compiled as a variant of the iteration, at most 16.
Periods that divide each other (2, 4, 16) meet in few ways; periods without common divisors in many.
",
    },
    Entry {
        code: "E0455",
        title: "a program that is too large",
        text: "\
One graph has at most 200,000 operations, a `repeat` at most 10,000 rounds, and blocks are at most 64 deep. A block
that uses itself has no end. A player that repeats often has all its updates in one graph: lower `repeat`.
",
    },
    Entry {
        code: "E0458",
        title: "an evaluation that gives no number",
        text: "\
`evaluate name = E` is a number: an average over the evaluation set (`mean(…)`), a metric, or arithmetic of those. The
set is run through once in chunks, so an average cannot be used within another one.
",
    },
    Entry {
        code: "E0459",
        title: "something that cannot be drawn as a picture",
        text: "\
`samples(…)` draws pictures [1, h, w], [3, h, w] or [h, w], and points [2] as a scatter plot, all of one call alike.
`rows: y` takes a drawn label, `columns: sweep(u[0], -2, 2)` one number of a drawn code; `grid: [rows, columns]` has at
most 4096 cells, and no more than the data has rows.
",
    },
    Entry {
        code: "E0461",
        title: "modifiers that do not go together",
        text: "\
spectral_norm, weight_norm and equalized each say how stored weights become the weights in use, so a layer has one of
them. `share(PATH)` names a layer that comes before, of the same kind and size, as in `share(G.up1.conv1)`.
",
    },
    Entry {
        code: "E0463",
        title: "a setting that has no meaning",
        text: "\
A `train` needs `batch n` and either `steps n` or `epochs n of S`. Counts and periods are whole numbers of at least 1
that are known when compiling; `epochs` needs data with a known number of rows.
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
