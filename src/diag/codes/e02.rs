//! Codes about names (E02xx).

use super::Entry;

pub(super) const TABLE: &[Entry] = &[
    Entry {
        code: "E0201",
        title: "a name is defined twice",
        text: "\
Consts, data sets, blocks, networks and losses of a file share one table of names, and `use \"other.gan\"` adds those of
the other file to it. Two of them cannot have one name, whatever they are. Rename one; if both files define the same
block, keep it in one of them.
",
    },
    Entry {
        code: "E0202",
        title: "an unknown name",
        text: "\
Nothing of this name is defined where it is used. What may be meant depends on the position: after `using` an optimiser,
after `with` a modifier, after `~` a distribution or a field of data, after `loss` and `trick` a loss or trick, in a
body a layer, block or value, elsewhere a value or function. The message suggests the nearest name of that kind.

A block sees its parameters and the consts of the file, but no names of the network that uses it: pass them.

    block Down(n) { conv(n, kernel: 4, stride: 2, pad: 1) }
",
    },
    Entry {
        code: "E0203",
        title: "a name would hide another",
        text: "\
Nothing is shadowed in this language: a `let`, draw, parameter or loop variable may not have the name of something that
is already in scope, be it local or an item of the file. So a name means one thing in the whole of a body, and moving a
line never changes what it reads silently. Take another name.
",
    },
    Entry {
        code: "E0204",
        title: "a name is used before it is defined",
        text: "\
In bodies and in `train`, a `let` is visible from the next statement on. Move its definition up. (Items of the file may
be used before they are written; and all players and actions see all draws and train-level lets, wherever they stand.)
",
    },
    Entry {
        code: "E0205",
        title: "a name of the wrong kind",
        text: "\
The name exists, but means something that has no place here: a network where a value is expected (apply it: `G(z)`), a
function without its arguments, a distribution outside of a draw, a loss outside of a `loss` line, data where nothing is
read. Position decides which kind of name is looked for:

    param w: [10] = normal(0, 0.02)     an initialiser
    draw z: [100] ~ normal              a distribution
    let e = normal(like: x)             a function that gives noise
",
    },
    Entry {
        code: "E0206",
        title: "arguments that do not fit",
        text: "\
A built-in, block, network or loss got too many arguments, one that it does not have, one twice, or lacks one without a
default. Positional arguments come first, named ones in any order. A layer's input is not among them: `conv(64, kernel:
4)` as a statement means `it = conv(it, 64, kernel: 4)`. A network takes all of its inputs, by position or by name:

    G(z, y)
    G(y: y, z: z)
",
    },
    Entry {
        code: "E0207",
        title: "a layer outside of networks and blocks",
        text: "\
Layers may have parameters or statistics, and those belong to a network: their paths are checkpoint keys. In `train` and
in `loss` items only functions can be used, such as `relu`, `mean` or `upsample`. Put the layer into a network and apply
the network.
",
    },
    Entry {
        code: "E0208",
        title: "a layer or function without its input",
        text: "\
Layers are functions of a value. As a statement, or after `|>`, the input is given; in an expression it is not:

    let h = linear(10)              wrong: applied to nothing
    let h = it |> linear(10)        right
    let h = linear(it, 10)          the same
",
    },
    Entry {
        code: "E0209",
        title: "a word that the argument does not take",
        text: "\
Some arguments and settings take one of a few words, written bare, as in `pad: same`, `mode: bilinear`,
`precision bf16` or `order simultaneous`. There a word never means a variable.
",
    },
    Entry {
        code: "E0210",
        title: "a network has no such output or tap",
        text: "\
After an application, `.name` reads a named result of the network (`-> (mu: [16], logvar: [16])` with `out mu = …`) or a
`tap name` of its body. A network with one unnamed result has no `.name` besides its taps.
",
    },
    Entry {
        code: "E0211",
        title: "results and `out` do not agree",
        text: "\
A network with named results gives each of them exactly once by `out name = …` (in an `if`, once in each branch). A
network with one unnamed result returns the final `it` and has no `out`, and neither has a block.
",
    },
    Entry {
        code: "E0212",
        title: "`--set` does not fit the spec",
        text: "\
`--set name=value` gives a const of the spec another value. The const must exist, and the value is one expression, as in
`--set nz=64`, `--set flag=false` or `--set shape=[3, 32, 32]` (quote it for your shell).
",
    },
    Entry {
        code: "E0213",
        title: "a file that cannot be used",
        text: "\
`use \"file.gan\"` reads another file; its path is relative to the file that names it. The file must exist, and no file
may use itself, directly or through others.
",
    },
    Entry {
        code: "E0214",
        title: "`--only` names no train",
        text: "\
`--only NAME` runs one of the spec's `train NAME { … }`. Give the train a name, or leave the option out.
",
    },
    Entry {
        code: "E0215",
        title: "something must have a value at compile time",
        text: "\
Shapes, settings, conditions of `if`, and constants are computed before anything runs, from numbers, strings, lists and
consts. Whole numbers divide exactly or not at all: `nf / 2` is fine if `nf` is even; for a fraction write the decimal
(`0.5`). A const may not need its own value.
",
    },
    Entry {
        code: "E0216",
        title: "there is no `it` here",
        text: "\
`it` is the value that the layers of a network or block hand on. In `train`, in losses and in consts there is none: use
the names of draws and lets.
",
    },
    Entry {
        code: "E0217",
        title: "a block or data set that contains itself",
        text: "\
Blocks are written out where they are used, and data sets are made from their source step by step, so neither can
contain itself. For a tower of equal blocks write `repeat 4 { Res(64) }`.
",
    },
];
