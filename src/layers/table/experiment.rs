//! What belongs to a whole experiment: data sources and transforms, metrics, tricks, actions.

use super::sig;
use crate::layers::ArgKind::{
    Any, Column, Data, Enum, Int, Ints, Network, Number, Numbers, Optimiser, Str, Tensor,
};
use crate::layers::Signature;

const FLIPS: &[&str] = &["horizontal", "vertical"];
const STATISTICS: &[&str] = &["own", "joint", "real", "fake", "cross"];
const ORDER: &[&str] = &["full", "first"];
const AUGMENTATIONS: &[&str] = &["color", "translation", "cutout"];

pub(super) static SOURCES: &[Signature] = &[
    sig!(Source "idx" none ("images": Str; "labels": Str, = "") "MNIST's format, .gz or plain: .image, .label"),
    sig!(Source "cifar10" none ("path": Str) "CIFAR-10, binary version: .image, .label"),
    sig!(Source "cifar100" none ("path": Str) "CIFAR-100, binary version: .image, .label, .coarse"),
    sig!(Source "images" none ("path": Str; "labels": Any, = ""; "vector": Any, = "")
        "a folder or .zip of PNG, JPEG, WebP: .image; sub-folders are .label, or the columns of a csv; `vector` joins columns"),
    sig!(Source "pairs" none ("a": Str; "b": Str, = ""; "labels": Any, = ""; "fields": Any, = "")
        "two folders, or one folder or .zip of side-by-side pictures: .a, .b"),
    sig!(Source "npy" none ("path": Str; "labels": Any, = "") "one NumPy array: .data"),
    sig!(Source "npz" none ("path": Str) "named NumPy arrays, one field each"),
    sig!(Source "csv" none ("path": Str; "column": Any, = ""; "columns": Any, = ""; "vector": Any, = "")
        "a table; text columns and small integers are classes"),
    sig!(Source "parquet" none ("path": Str; "column": Any, = ""; "columns": Any, = ""; "vector": Any, = "")
        "image bytes or numeric columns"),
    sig!(Source "safetensors" none ("path": Str) "named tensors, one field each"),
    sig!(Source "ring" none ("modes": Int, = "8"; "radius": Number, = "1"; "std": Number, = "0.01")
        "Gaussians on a circle, endless: .point, .mode"),
    sig!(Source "grid" none ("side": Int, = "5"; "spacing": Number, = "2"; "std": Number, = "0.05")
        "Gaussians on a square grid, endless: .point, .mode"),
    sig!(Source "swiss_roll" none ("noise": Number, = "0.05") "a spiral, endless: .point"),
    sig!(Source "two_moons" none ("noise": Number, = "0.05") "two half circles, endless: .point, .mode"),
];

pub(super) static TRANSFORMS: &[Signature] = &[
    sig!(Transform "scale" none ("lo": Number; "hi": Number) "values of pictures from lo to hi"),
    sig!(Transform "resize" none ("n": Int; "w": Int, = "") "pictures of n x n, or n x w"),
    sig!(Transform "crop" none ("n": Int; "w": Int, = "") "the centre of pictures"),
    sig!(Transform "flip" none ("direction": Enum(FLIPS), = "horizontal") "mirrors at random"),
    sig!(Transform "gray" none () "one colour plane"),
    sig!(Transform "noise" none ("std": Number) "adds Gaussian noise"),
    sig!(Transform "binarize" none ("threshold": Number, = "0.5") "0 or 1"),
    sig!(Transform "stack" none ("n": Int, = "3") "random pictures as colour planes; labels become digits of one label"),
    sig!(Transform "only" none ("*": Column) "rows whose column has a value"),
    sig!(Transform "take" none ("n": Int; "per": Column, = "") "the first n rows, or n of each value of a column"),
    sig!(Transform "skip" none ("n": Int) "all but the first n rows"),
    sig!(Transform "shuffle" none ("seed": Int, = "0") "rows in a random, fixed order"),
];

pub(super) static METRICS: &[Signature] = &[
    sig!(Metric "swd" it ("data": Data; "samples": Int, = "") "sliced Wasserstein distance (Karras et al. 2018)"),
    sig!(Metric "frechet" it ("data": Data; "net": Any; "samples": Int, = "")
        "Fréchet distance of features (Heusel et al. 2017)"),
    sig!(Metric "modes" it ("data": Data; "samples": Int, = "") ".modes, .hq, .reverse_kl for data with known modes"),
    sig!(Metric "stacked_modes" it ("net": Any, = ""; "samples": Int, = "") ".modes, .kl of stacked digits"),
    sig!(Metric "accuracy" it ("y": Tensor; "samples": Int, = "") "share of samples whose largest logit is at the class"),
    sig!(Metric "psnr" it ("b": Tensor; "range": Number, = "1"; "samples": Int, = "") "peak signal-to-noise ratio in dB"),
    sig!(Metric "ssim" it ("b": Tensor; "range": Number, = "1"; "samples": Int, = "")
        "structural similarity (Wang et al. 2004)"),
];

/// A trick with its own parameters and `of`, which limits it to a loss or network.
macro_rules! trick {
    ($name:literal ($($own:tt)*) $doc:literal) => {
        sig!(Trick $name none ($($own)* "of": Any, = "") $doc)
    };
}

pub(super) static TRICKS: &[Signature] = &[
    trick!("one_sided_label_smoothing" ("real": Number, = "0.9";) "target of real samples (Salimans et al. 2016)"),
    trick!("label_flip" ("p": Number;) "exchanges targets with probability p"),
    trick!("instance_noise" ("sigma": Any; "until": Int, = "";) "noise on what the judge sees (Sønderby et al. 2017)"),
    sig!(Trick "diff_augment" none ("of": Any, = ""; "augmentations": Enum(AUGMENTATIONS), = "")
        "random, differentiable changes of what the judge sees (Zhao et al. 2020)")
    .variadic(),
    trick!("pack" ("m": Int;) "the judge sees m samples together (Lin et al. 2018)"),
    trick!("experience_replay" ("capacity": Int; "share": Number, = "0.5";) "the judge also sees older fakes"),
    trick!("past_players" ("keep": Int; "every": Int; "swap_each": Int, = ""; "for": Int, = "1";)
        "now and then a past snapshot takes the opponent's place"),
    trick!("batch_statistics" ("stats": Enum(STATISTICS);) "whose statistics the judge's batch norms use"),
    trick!("virtual_batch_norm" ("net": Network;) "replaces batch norms by virtual ones (Salimans et al. 2016)"),
    trick!("gradient_penalty" ("lambda": Number, = "10"; "every": Int, = "";)
        "gradients of norm 1 between real and fake (Gulrajani et al. 2017)"),
    trick!("r1" ("gamma": Number, = "10"; "every": Int, = "";) "gradient penalty on reals (Mescheder et al. 2018)"),
    trick!("r2" ("gamma": Number, = "10"; "every": Int, = "";) "gradient penalty on fakes (Mescheder et al. 2018)"),
    trick!("historical_averaging" ("weight": Number;) "stays near the mean of past parameters (Salimans et al. 2016)"),
    trick!("feature_matching" ("tap": Any; "weight": Number, = "1";) "batch means of a tap agree (Salimans et al. 2016)"),
    trick!("top_k" ("fraction": Number;) "only the best fakes teach the generator (Sinha et al. 2020)"),
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
