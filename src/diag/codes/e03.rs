//! Codes about shapes and values (E03xx).

use super::Entry;

pub(super) const TABLE: &[Entry] = &[
    Entry {
        code: "E0301",
        title: "an input does not fit the layer",
        text: "\
Each layer says which shapes it takes: `linear` a vector [k], `conv` channels and then spatial axes [c, h, w]. The
message names the shape that it found; the notes tell the shapes of the layers before it.

    conv(64, kernel: 4, stride: 2, pad: 1)      // [64, 14, 14]
    linear(1)                                    // takes a vector

is mended by `flatten` before `linear`. The batch axis is never written: [64, 14, 14] is one sample.
",
    },
    Entry {
        code: "E0302",
        title: "two shapes do not go together",
        text: "\
[] and [1] go with anything; otherwise both sides have equally many axes, and extents that are equal, or 1 where an
axis is to be repeated. Nothing is inserted silently: a vector [c] meets an image [c, h, w] as `reshape(c, 1, 1)`.
",
    },
    Entry {
        code: "E0303",
        title: "a value of another kind is needed",
        text: "\
There are real numbers, labels `class(k)` and truth values, besides networks, data sets, strings and lists. Labels
allow `==`, `!=`, `one_hot`, `embed`, `cross_entropy`, `select` and conditional layers, but no arithmetic. `^` needs an
exponent that all samples share.
",
    },
    Entry {
        code: "E0304",
        title: "a value for each sample is needed",
        text: "\
Batch norms, `batch_mean`, `minibatch_stddev` and the like look at all samples of a batch together. A value that is the
same for the whole batch (a `param`, a batch mean, a number), or a batch of one number a channel, has nothing to offer.
",
    },
    Entry {
        code: "E0305",
        title: "arithmetic of numbers has no result",
        text: "\
Numbers known when compiling are computed at once. `/` of whole numbers must come out even, because layer sizes are made
of such quotients: `7 / 2` is an error; write `3.5` if a fraction is meant. Results must be finite.
",
    },
    Entry {
        code: "E0306",
        title: "an index or axis is out of range",
        text: "\
Axes and indices count from 0, without the batch axis. `a[2]` drops the axis, `a[0..3]` (half open) keeps it, `..` keeps
a whole axis. An axis may count from the end: -1 is the last one.
",
    },
    Entry {
        code: "E0307",
        title: "a tensor is too large",
        text: "\
A tensor holds at most 2^31 numbers, the batch included. Usually an extent is wrong by a factor, or `flatten` came before
the spatial axes were made small.
",
    },
    Entry {
        code: "E0310",
        title: "an argument has an impossible value",
        text: "\
The message says which values the argument takes: sizes are whole numbers from 1, strides too, padding from 0,
probabilities from 0 to 1. A list has one number for each spatial axis.
",
    },
    Entry {
        code: "E0311",
        title: "not available yet",
        text: "\
The name belongs to the language, and specs that use it parse, but this version of ganc does not compile it.
",
    },
    Entry {
        code: "E0312",
        title: "a function in the wrong place",
        text: "\
Some functions have a meaning in one place only: `overlay` and `sweep` in `samples(…)`, metrics in `evaluate`.
",
    },
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
];
