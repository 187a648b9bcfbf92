//! Modifiers, optimisers, distributions and initialisers.

use super::sig;
use crate::layers::ArgKind::{Any, Bool, Init, Int, Number, Numbers, Schedule, Str};
use crate::layers::{ArgKind, Signature};

const PRECISIONS: &[&str] = &["f32", "tf32", "bf16", "f16"];

pub(super) static MODIFIERS: &[Signature] = &[
    sig!(Modifier "init" none ("weight": Init, = ""; "scale": Init, = ""; "bias": Init, = "")
        "how weights, scales of norms and biases start; only what is given changes"),
    sig!(Modifier "spectral_norm" none ("iterations": Int, = "1")
        "divides weights by their largest singular value (Miyato et al. 2018)"),
    sig!(Modifier "weight_norm" none () "g v / |v| for each output channel (Salimans & Kingma 2016)"),
    sig!(Modifier "equalized" none ("lr": Number, = "1") "N(0, 1) weights, scaled when used (Karras et al. 2018)"),
    sig!(Modifier "precision" none ("dtype": ArgKind::Enum(PRECISIONS)) "what products of these layers round their operands to (16 bits: and images that they make); `f32`: nothing"),
    sig!(Modifier "pretrained" none ("path": Str)
        "starts a whole network from the run in this folder, or from a .safetensors file"),
    sig!(Modifier "share" none ("path": Any) "uses the parameters at this path"),
];

/// An optimiser with its own parameters and those that all have.
macro_rules! optimiser {
    ($name:literal $decay:literal ($($own:tt)*) $doc:literal) => {
        sig!(Optimiser $name none ("lr": Schedule; $($own)*
            "weight_decay": Number, = $decay; "clip_norm": Number, = ""; "clip_weights": Number, = "") $doc)
    };
}

pub(super) static OPTIMISERS: &[Signature] = &[
    optimiser!("sgd" "0" ("momentum": Number, = "0"; "nesterov": Bool, = "false";) "gradient descent"),
    optimiser!("adam" "0" ("beta1": Number, = "0.9"; "beta2": Number, = "0.999"; "eps": Number, = "1e-8";)
        "Kingma & Ba 2015"),
    optimiser!("adamw" "0.01" ("beta1": Number, = "0.9"; "beta2": Number, = "0.999"; "eps": Number, = "1e-8";)
        "adam with decoupled weight decay (Loshchilov & Hutter 2019)"),
    optimiser!("rmsprop" "0" ("decay": Number, = "0.99"; "eps": Number, = "1e-8";) "Tieleman & Hinton 2012"),
    optimiser!("adagrad" "0" () "Duchi et al. 2011; eps 1e-10"),
    optimiser!("lion" "0" ("beta1": Number, = "0.9"; "beta2": Number, = "0.99";) "Chen et al. 2023"),
];

pub(super) static DISTRIBUTIONS: &[Signature] = &[
    sig!(Distribution "normal" none ("mean": Number, = "0"; "std": Number, = "1") "Gaussian"),
    sig!(Distribution "uniform" none ("lo": Number, = "-1"; "hi": Number, = "1")
        "uniform in [lo, hi); of a class type, all classes alike"),
    sig!(Distribution "categorical" none ("p": Numbers) "classes with these probabilities"),
    sig!(Distribution "bernoulli" none ("p": Number) "1 with probability p, else 0"),
    sig!(Distribution "sphere" none () "uniform on the unit sphere"),
    sig!(Distribution "constant" none ("v": Number) "always v"),
];

pub(super) static INITIALISERS: &[Signature] = &[
    sig!(Initialiser "normal" none ("mean": Number, = "0"; "std": Number, = "1") "Gaussian"),
    sig!(Initialiser "uniform" none ("lo": Number; "hi": Number) "uniform in [lo, hi)"),
    sig!(Initialiser "orthogonal" none ("gain": Number, = "1") "orthogonal rows or columns (Saxe et al. 2014)"),
    sig!(Initialiser "xavier" none () "uniform in ±sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010)"),
    sig!(Initialiser "he" none () "normal with variance 2 / fan_in (He et al. 2015)"),
    sig!(Initialiser "identity" none () "ones on the diagonal"),
];
