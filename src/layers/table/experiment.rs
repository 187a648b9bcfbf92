//! What belongs to a whole experiment: data sources and transforms, metrics, tricks, actions.

use super::functions::RULES;
use super::sig;
use crate::layers::ArgKind::{
    Any, Bool, Column, Data, Enum, Int, Ints, Network, Number, Numbers, Optimiser, Schedule, Str, Tensor,
};
use crate::layers::Signature;

const FLIPS: &[&str] = &["horizontal"];
const STATISTICS: &[&str] = &["own", "joint", "real", "fake", "cross"];
const ORDER: &[&str] = &["full", "first"];
const AUGMENTATIONS: &[&str] = &["color", "translation", "cutout"];

pub(super) static SOURCES: &[Signature] = &[
    sig!(Source "idx" none ("images": Str; "labels": Str, = ""; "classes": Int, = "")
        "MNIST's format, .gz or plain: .image, .label"),
    sig!(Source "cifar10" none ("path": Str; "test": Bool, = "false") "CIFAR-10, binary version: .image, .label"),
    sig!(Source "cifar100" none ("path": Str; "test": Bool, = "false")
        "CIFAR-100, binary version: .image, .label, .coarse"),
    sig!(Source "images" none ("path": Str; "labels": Any, = ""; "vector": Any, = ""; "channels": Int, = "")
        "a folder or .zip of PNG, JPEG, WebP: .image; sub-folders are .label, or `labels: csv(…)` gives columns"),
    sig!(Source "pairs" none ("path": Str; "second": Str, = ""; "fields": Any, = ""; "labels": Any, = "";
        "vector": Any, = "")
        "two folders, or one folder or .zip of side-by-side pictures: .a, .b or the names in `fields`"),
    sig!(Source "npy" none ("path": Str; "labels": Str, = ""; "range": Numbers, = "")
        "one NumPy array: .data; `range` says that it holds pictures with these values of black and white"),
    sig!(Source "npz" none ("path": Str) "named NumPy arrays, one field each"),
    sig!(Source "csv" none ("path": Str; "column": Str, = ""; "vector": Any, = "")
        "a table, one field a column; within `labels:`, `column` picks one as .label"),
    sig!(Source "parquet" none ("path": Str; "column": Any, = ""; "vector": Any, = "") "image bytes or columns")
        .later(),
    sig!(Source "safetensors" none ("path": Str) "named tensors, one field each"),
    sig!(Source "ring" none ("modes": Int, = "8"; "radius": Number, = "1"; "std": Number, = "0.01")
        "Gaussians on a circle, endless: .point, .mode"),
    sig!(Source "grid" none ("side": Int, = "5"; "spacing": Number, = "2"; "std": Number, = "0.05")
        "Gaussians on a square grid, endless: .point, .mode"),
    sig!(Source "swiss_roll" none ("std": Number, = "1/30") "a spiral, endless: .point, .mode (always 0)"),
    sig!(Source "two_moons" none ("std": Number, = "0.1") "two half circles, endless: .point, .mode"),
];

pub(super) static TRANSFORMS: &[Signature] = &[
    sig!(Transform "scale" none ("lo": Number; "hi": Number) "black becomes lo, white hi"),
    sig!(Transform "resize" none ("size": Ints) "pictures of size x size, or of [height, width]"),
    sig!(Transform "crop" none ("size": Ints) "the centre of pictures, likewise"),
    sig!(Transform "flip" none ("axis": Enum(FLIPS), = "horizontal") "mirrors at random"),
    sig!(Transform "gray" none () "one colour plane"),
    sig!(Transform "noise" none ("std": Number) "adds Gaussian noise, anew each time"),
    sig!(Transform "binarize" none ("stochastic": Bool, = "false")
        "black or white: above the middle, or with the value as probability"),
    sig!(Transform "stack" none ("planes": Int, = "3"; "seed": Int, = "0")
        "random pictures as colour planes; labels become digits of one label"),
    sig!(Transform "only" none ("*": Column) "rows whose columns have these values"),
    sig!(Transform "take" none ("n": Int; "per": Column, = "") "the first n rows, or n of each value of a column"),
    sig!(Transform "skip" none ("n": Int) "all but the first n rows"),
    sig!(Transform "shuffle" none ("seed": Int, = "0") "rows in a random, fixed order"),
];

pub(super) static METRICS: &[Signature] = &[
    sig!(Metric "swd" it ("data": Data; "samples": Int, = "") "sliced Wasserstein distance (Karras et al. 2018)"),
    sig!(Metric "frechet" it ("data": Data; "net": Any; "samples": Int, = "")
        "Fréchet distance of a network's features, or those of a tap: `net: C.features` (Heusel et al. 2017)"),
    sig!(Metric "modes" it ("data": Data; "samples": Int, = "") ".modes, .hq, .reverse_kl for data with known modes"),
    sig!(Metric "stacked_modes" it ("net": Any; "samples": Int, = "")
        ".modes, .kl of combinations of classes, one a colour plane, by a classifier (Srivastava et al. 2017)"),
    sig!(Metric "accuracy" it ("y": Tensor; "samples": Int, = "") "share of samples whose largest logit is at the class"),
    sig!(Metric "psnr" it ("b": Tensor; "range": Number, = ""; "samples": Int, = "")
        "peak signal-to-noise ratio in dB; `range` is white minus black, as in the data unless said"),
    sig!(Metric "ssim" it ("b": Tensor; "range": Number, = ""; "samples": Int, = "")
        "structural similarity (Wang et al. 2004); `range` likewise"),
];

/// A trick with its own parameters and `of`, which limits it to a loss or network.
macro_rules! trick {
    ($name:literal ($($own:tt)*) $doc:literal) => {
        sig!(Trick $name none ($($own)* "of": Any, = "") $doc)
    };
}

pub(super) static TRICKS: &[Signature] = &[
    trick!("one_sided_label_smoothing" ("real": Number, = "0.9";) "target of real samples (Salimans et al. 2016)"),
    trick!("label_flip" ("p": Number;) "exchanges the judge's targets with probability p (Chintala et al. 2016)"),
    trick!("instance_noise" ("sigma": Any; "until": Int, = "";) "noise on what the judge sees, decaying to none (Sønderby et al. 2017)"),
    sig!(Trick "diff_augment" none ("of": Any, = ""; "augmentations": Enum(AUGMENTATIONS), = "")
        "random, differentiable changes of what the judge sees (Zhao et al. 2020)")
    .variadic(),
    trick!("pack" ("m": Int;) "the judge sees m samples together (Lin et al. 2018)"),
    trick!("experience_replay" ("capacity": Int; "share": Number, = "0.5"; "rule": Enum(RULES), = "exchange";)
        "the judge also sees older fakes (Shrivastava et al. 2017)"),
    trick!("past_players" ("keep": Int; "every": Int; "swap_each": Int, = ""; "for": Int, = "1";)
        "for the last iterations of each period (`every` unless given) a past snapshot takes the opponent's place"),
    trick!("batch_statistics" ("stats": Enum(STATISTICS);) "whose statistics the judge's batch norms use (Salimans et al. 2016)"),
    trick!("virtual_batch_norm" ("net": Network;) "replaces batch norms by virtual ones (Salimans et al. 2016)"),
    trick!("gradient_penalty" ("lambda": Number, = "10"; "every": Int, = ""; "one_sided": Bool, = "false";)
        "gradients of norm 1 between real and fake (Gulrajani et al. 2017)"),
    trick!("r1" ("gamma": Number, = "10"; "every": Int, = "";) "gradient penalty on reals (Mescheder et al. 2018)"),
    trick!("r2" ("gamma": Number, = "10"; "every": Int, = "";) "gradient penalty on fakes (Mescheder et al. 2018)"),
    trick!("historical_averaging" ("weight": Number;) "stays near the mean of past parameters (Salimans et al. 2016)"),
    trick!("feature_matching" ("tap": Any; "weight": Number, = "1";) "batch means of a tap agree (Salimans et al. 2016)"),
    trick!("top_k" ("fraction": Schedule;) "only the best fakes teach the generator (Sinha et al. 2020)"),
    trick!("unrolled" ("steps": Int; "order": Enum(ORDER), = "full"; "using": Optimiser, = "";)
        "the generator sees its judge some steps ahead (Metz et al. 2017)"),
    trick!("two_time_scale" ("generator": Number; "discriminator": Number;) "two learning rates (Heusel et al. 2017)"),
    trick!("weight_clip" ("c": Number;) "weights of the judge stay in [-c, c] (Arjovsky et al. 2017)"),
    trick!("gradient_clip" ("c": Number;) "gradients of a player have at most this norm"),
    trick!("accumulate" ("n": Int;) "an update's gradient is the mean over n microbatches"),
    trick!("ema" ("net": Network; "decay": Number, = "0.999"; "start": Int, = "0";)
        "actions use averaged parameters"),
];

pub(super) static ACTIONS: &[Signature] = &[
    sig!(Action "samples" none ("grid": Ints, = ""; "rows": Any, = ""; "columns": Any, = ""; "range": Numbers, = "";
        "images": Any)
        "pictures side by side").variadic(),
    sig!(Action "checkpoint" none () "saves all"),
];
