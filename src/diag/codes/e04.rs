//! Codes about the training program (E04xx).

use super::Entry;

pub(super) const TABLE: &[Entry] = &[
    Entry {
        code: "E0401",
        title: "a player that updates no network",
        text: "\
`player D { … }` updates the network D; `player critic updates D, E { … }` names its networks freely. All of them must
be networks of the spec, and a train needs at least one player.
",
    },
    Entry {
        code: "E0402",
        title: "a player needs exactly one optimiser",
        text: "\
Each player says once how its networks are updated: `using adam(lr: 2e-4, beta1: 0.5)`. The optimisers are sgd, adam,
adamw, rmsprop, adagrad and lion. For two optimisers write two players.
",
    },
    Entry {
        code: "E0403",
        title: "a player without an objective",
        text: "\
A player minimises the sum of its `minimize` lines and of its parts of the train's `loss` lines. The player that updates
the judge of a loss gets the discriminator part; a player that updates another network inside the loss's second score
gets the generator part. This player has neither, so its optimiser has nothing to do.
",
    },
    Entry {
        code: "E0404",
        title: "two players of one name",
        text: "\
Names of players key the states of their optimisers. If two players update one network, name them yourself:
`player warm updates D { … }`.
",
    },
    Entry {
        code: "E0420",
        title: "the type of a draw",
        text: "\
A draw of noise needs a type, which gives its shape: `draw z: [100] ~ normal`, `draw y: class(10) ~ uniform`. A draw of
data has none, since the data set knows the types of its fields: `draw x ~ faces.image`.
",
    },
    Entry {
        code: "E0421",
        title: "a draw line is one minibatch of one set",
        text: "\
`draw a, b ~ S.x, S.y` draws one minibatch of S: one source for each name, all of them fields of the same set, so that
they belong to the same rows. Two lines are independent of each other. Data and noise are drawn in lines of their own.
",
    },
    Entry {
        code: "E0422",
        title: "a setting is missing or given twice",
        text: "\
A train says its `batch` and its length (`steps n`, or `epochs n of SET`) once each; `seed`, `precision` and `order`
at most once. `of SET` may be left out if all data draws use one set.
",
    },
    Entry {
        code: "E0423",
        title: "`order simultaneous` and `repeat`",
        text: "\
With `order simultaneous` all players' updates use the values at the start of the iteration and are then applied
together, so each player updates once. Leave `repeat` out, or the order.
",
    },
    Entry {
        code: "E0424",
        title: "rows of a data set in a player",
        text: "\
Without `draw`, a field such as `test.image` means the rows of the set in order; actions measure over them. A player
works on minibatches: `draw x ~ train_set.image`.
",
    },
    Entry {
        code: "E0425",
        title: "`expect` names something that nothing evaluates",
        text: "\
The names in `expect` are those of `evaluate name = …` in the train's actions (a metric without a name is known by its
own: `evaluate swd(…)` gives `swd`).
",
    },
    Entry {
        code: "E0426",
        title: "names of evaluations",
        text: "\
Each evaluation has a name of its own in its train, under which it is logged and `expect` finds it.
",
    },
    Entry {
        code: "E0427",
        title: "the scores of a loss",
        text: "\
`loss L(A, B)` compares the scores of real samples A with those of fakes B. Both must be applications of one network,
the judge, as in `loss hinge(D(real, y), D(G(z, y), y))`; `.output` may follow. Train-level lets are seen through.
An objective of another form is written into the players: `minimize …`.
",
    },
    Entry {
        code: "E0428",
        title: "a bare `loss` that cannot be completed",
        text: "\
`loss L` alone means `loss L(D(real, s…), D(G(i…), s…))` for the only discriminator D and the only generator G of the
spec, where `real`, the inputs i of G and the further inputs s of D are draws or train-level lets of those names. If one
of them is missing, or there are several networks of a role, write the scores out.
",
    },
    Entry {
        code: "E0429",
        title: "the sides of a loss",
        text: "\
A loss has two sides: the player that updates the judge minimises the discriminator part, those that update another
network inside the second score minimise the generator part. One player cannot be on both sides, and somebody must be on
one.
",
    },
    Entry {
        code: "E0430",
        title: "a malformed loss",
        text: "\
A loss is a pair of functions of two scores:

    loss my_loss(real, fake, margin = 1) {
        discriminator mean(relu(margin - real)) + mean(relu(margin + fake))
        generator -mean(fake)
    }

Its first two parameters are the scores of real and of fake samples; it has exactly one `discriminator` and one
`generator` line.
",
    },
    Entry {
        code: "E0431",
        title: "the condition of an `if` in `train`",
        text: "\
An `if` in `train` is decided before the run, from consts: it makes tricks ablatable with `--set flag=false`. Its
condition is true or false.
",
    },
    Entry {
        code: "E0440",
        title: "two lines set the same thing",
        text: "\
Two tricks, or a trick and an argument, set one and the same value: a target of a loss, an option of an optimiser, the
average of a network. Order does not decide between them; leave one out.
",
    },
    Entry {
        code: "E0441",
        title: "a trick that does not fit",
        text: "\
Each trick acts on something: targets of a loss, the scores it compares, optimisers of players. The message says what is
missing here and what to use. Label arguments are always targets (`real: 0.9`), never amounts of smoothing.
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
`pretrained(\"runs/NAME-1\")` is for whole networks and takes the path of a run folder or of a .safetensors file.
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
        code: "E0464",
        title: "a function of players in another place",
        text: "\
`unroll` and `replay` belong to the objectives of players: what they do happens when a player updates. `unroll`, `past`
and `drift` take a network as it is now, not an average, a snapshot or an unrolled one. Within a network none of them
has a meaning; `fresh` stands in `train` only.
",
    },
    Entry {
        code: "E0465",
        title: "a reference batch that cannot be drawn",
        text: "\
A virtual batch norm goes by a reference batch that is drawn once, before the first iteration: the first samples of what
the network is applied to where the `train` applies it first. So the `train` must apply the network by its name, and a
network with a virtual batch norm cannot be applied within another network: what it sees there changes as that one
learns. Write its layers as a block instead.
",
    },
    Entry {
        code: "E0466",
        title: "the arguments of a function with state",
        text: "\
Counts of `unroll`, `past` and `replay` are whole numbers that are known when compiling. A buffer has a slot for each
sample of a batch, so its capacity is at least the batch; `share` is a probability; `replay` keeps values of samples,
not numbers that all samples share. With `swap_each: n, for: m` a snapshot stands in for the last m of each n
iterations.
",
    },
    Entry {
        code: "E0467",
        title: "several batches that do not go together",
        text: "\
`joint(D)(real, fake)` applies D once to all batches, so that batch norms see them together; a result for each comes
back: `let r, f = joint(D)(real, fake)`. A network with several inputs takes all of them for the first batch, then all
for the next. `stats: real`, `fake` and `cross` are about two batches. Layers that compare the samples of a batch with
each other would compare real with fake samples, so they are refused.
",
    },
    Entry {
        code: "E0468",
        title: "whose updates are unrolled",
        text: "\
`unroll(D, steps: k)` looks ahead at k updates of the one player that updates D, so there must be exactly one, and its
objective must not look ahead at the player that asks: two objectives that unroll each other have no beginning. The two
players may not update one network together either.
",
    },
];
