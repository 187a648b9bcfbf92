//! Codes about data and run (E05xx).

use super::Entry;

pub(super) const TABLE: &[Entry] = &[
    Entry {
        code: "E0501",
        title: "a file or folder cannot be read",
        text: "\
The path that a data source names does not exist, or may not be read.

Paths are relative to the folder of the .gan file that names them, not to the folder in which ganc was started:

    data digits = idx(\"data/images.gz\")      // beside the .gan file

Check the spelling and the permissions.
",
    },
    Entry {
        code: "E0502",
        title: "a file is damaged or of another format",
        text: "\
The bytes are not what the format requires: another magic number, a file that ends before (or goes on after) what its
header promises, a wrong checksum, an element type that is not read.

A download that was cut off is the usual cause. The message says which rule was broken. IDX files must hold unsigned
bytes; .npy files must be stored row by row (`numpy.ascontiguousarray`).
",
    },
    Entry {
        code: "E0503",
        title: "a set is too large",
        text: "\
The sizes that a header promises overflow, or one field would take more memory than ganc allows (8 GiB), or an archive
holds more than is sensible. Sets are kept in memory, pictures as bytes.

Take a part of the set, or store smaller pictures. `|> resize(n)` directly after the source keeps only the small ones.
",
    },
    Entry {
        code: "E0504",
        title: "pictures of one set are not alike",
        text: "\
All pictures of a set must have the height, width and channels of the first one, since they share one tensor shape.

    data faces = images(\"faces\") |> resize(64)          // any sizes; each becomes 64 x 64
    data faces = images(\"faces\", channels: 3)           // grey pictures among coloured ones

Pictures side by side (`pairs`) need an even width.
",
    },
    Entry {
        code: "E0505",
        title: "parts of a set do not belong together",
        text: "\
Images and labels differ in number, a CSV names a picture that is not there (or none for one that is), two folders of
`pairs` hold different names, or only some pictures lie in sub-folders.

A CSV with a column `file` is matched by it; without one, its rows belong to the pictures in order (by name in a folder,
as stored in a .zip), and there must be as many.
",
    },
    Entry {
        code: "E0506",
        title: "a set has no rows, or fewer than asked for",
        text: "\
The source is empty, or `only`, `skip` and `take` leave nothing. `take(n)` and `take(n, per: label)` ask for exactly n
rows (of each class that occurs) and refuse to give fewer.
",
    },
    Entry {
        code: "E0507",
        title: "no such data source or transform",
        text: "\
A data item is a source, or another data item, followed by transforms:

    data digits = idx(\"images.gz\") |> scale(-1, 1)

The message lists the names that there are.
",
    },
    Entry {
        code: "E0508",
        title: "an argument of a source or transform is missing or wrong",
        text: "\
A source or transform does not take this argument, needs one that is not there, or needs it of another kind. The message
says what was expected.
",
    },
    Entry {
        code: "E0509",
        title: "a transform does not apply to this set",
        text: "\
Transforms of pictures (`scale`, `resize`, `crop`, `flip`, `gray`, `binarize`, `stack`) need a field of pictures. Those
that change the size or channels work on the bytes as they are read, so they come before `noise`, `binarize` and `stack`.
Transforms of rows (`only`, `skip`, `shuffle`) need a set with an end: `ring(…) |> take(10_000)` has one.
",
    },
    Entry {
        code: "E0510",
        title: "a source that this version does not read",
        text: "\
`parquet` is not available in this version. Convert the file: pictures to a folder or .zip, numbers to .npy or .csv.
",
    },
    Entry {
        code: "E0511",
        title: "an entry of an archive leaves its folder",
        text: "\
A .zip names an entry with `..`, a drive or an absolute path. No honest tool writes such names; ganc refuses the archive.
",
    },
    Entry {
        code: "E0512",
        title: "no such column or value",
        text: "\
`only`, `take(n, per: …)`, `column:` or `vector:` name a column that the set does not have, a value that the column
never has, or a column of the wrong kind. Text columns and whole numbers 0 to k-1 are classes, other numbers are reals;
`vector:` needs numeric columns.
",
    },
    Entry {
        code: "E0550",
        title: "a file of the run folder cannot be read or written",
        text: "\
The disk is full, the folder cannot be written, or a file was removed while the run used it. Checkpoints are written
to a temporary file, synced and renamed, so the last one is whole whatever happened. Mend the cause, then go on with
`ganc run --resume RUN`.
",
    },
    Entry {
        code: "E0551",
        title: "a checkpoint cannot be used",
        text: "\
A checkpoint is a manifest (.json) and its tensors (.safetensors). It is used only if the manifest is whole, the
tensors have the SHA-256 that the manifest names, the spec is the one that wrote it, and every tensor has the type that
the spec declares. A newer damaged checkpoint is passed over for the one before.
",
    },
    Entry {
        code: "E0552",
        title: "a loss is not finite any more",
        text: "\
A NaN or an infinity reached a player's loss. The run stops; the last checkpoint is from before. ganc replays the run
from there, which ends in the same bits, and names the first operation that gave a value that is not finite from finite
arguments: its layer, its kind, and of which order of gradient it is. Usual remedies are a smaller learning rate,
`clip_norm` on the optimiser, a gradient penalty or spectral norm on the discriminator.
",
    },
    Entry {
        code: "E0553",
        title: "the plan needs more memory than there is",
        text: "\
A plan knows its memory before it runs, and a run that would not fit is refused before it begins. `ganc check` prints
what an iteration needs; `ganc check --memory 4096` refuses what needs more than 4096 MiB, wherever it is to run.

Most of it are values that a gradient reads again, for each sample of a batch; with `unrolled(steps: k)` those of k
updates of the judge as well. The message names a number of steps, or a batch, that was found to fit. What counts as
free is what the system, its control groups or the GPU say; `ganc run --memory MIB` says otherwise.
",
    },
    Entry {
        code: "E0554",
        title: "a graph could not be run",
        text: "\
A persistent tensor or an input has no value or another type than the graph says. With an unedited run folder this is a
bug in ganc.
",
    },
    Entry {
        code: "E0555",
        title: "an option does not fit the spec or the run",
        text: "\
An option of the command line contradicts the spec or the run folder: a minibatch larger than its data set, an output
folder that is not empty, and the like. The message says which.
",
    },
    Entry {
        code: "E0556",
        title: "a metric has no value",
        text: "\
A metric was given samples that it cannot compare: of another shape than the data, of another dimension than the modes,
or none at all.
",
    },
    Entry {
        code: "E0557",
        title: "pretrained tensors that cannot be used",
        text: "\
`network C(…) -> … with pretrained(\"runs/classifier-1\")` starts a network from the newest checkpoint of another run, or
from a .safetensors file; the path is relative to the file that names it. That run must have a network of the same name
with the same layers: every parameter and moving statistic is taken by its path, and none may be missing or of another
shape.
",
    },
    Entry {
        code: "E0560",
        title: "an expression of latents does not parse",
        text: "\
`ganc arith` takes sums and differences of samples of a contact sheet, by number, and of averages of them:

    avg(3, 14, 27) - avg(5, 9, 40) + avg(8, 11, 12)
    7 + 0.5 * (avg(glasses=yes) - avg(glasses=no))

A factor stands before what it multiplies and is followed by `*`; a divisor follows `/`. `0..3` in an average means 0, 1
and 2. Judgements such as `glasses=yes` stand within an average; several, separated by commas, must all hold.
",
    },
    Entry {
        code: "E0561",
        title: "an operand of an expression of latents is not there",
        text: "\
A number is not on the sheet, nothing in the spec makes the judgement that an average asks for, no sample is judged so, or
labels were to be added up.

A judgement `name=value` is made by a label `name` that the generator takes, or by a classifier: a network of the spec
that takes what the generator gives and has an output `name`, of two or more logits (`yes` and `no` are classes 1 and 0)
or of one. `ganc sample RUN --sheet -n N` makes a sheet of more samples. Labels are not numbers: `--with label=3` gives
all samples the same one.
",
    },
    Entry {
        code: "E0562",
        title: "a device failed",
        text: "\
The driver of an NVIDIA device, or the compiler of its programs, refused a call or reported a fault. The message has the
call and the driver's own name for the fault. What was computed since the last checkpoint is lost; the checkpoint is not,
and can go on on another device:

    ganc run --resume runs/NAME-1 --device cpu

The same fault at the same step again, with the same spec, is a bug in ganc.
",
    },
];
