//! Functions: no parameters of their own; in networks, blocks and `train` alike.

use super::layers::PAD_MODES;
use super::sig;
use crate::layers::ArgKind::{Any, Enum, Int, Ints, Network, Number, Numbers, Optimiser, Tensor};
use crate::layers::Signature;

const UPSAMPLE: &[&str] = &["nearest", "bilinear"];
const APPROXIMATE: &[&str] = &["none", "tanh"];
const STATS: &[&str] = &["joint", "real", "fake", "cross"];
const ORDER: &[&str] = &["full", "first"];
/// What happens to the samples that a buffer does not give back.
pub(super) const RULES: &[&str] = &["exchange", "pop"];

pub(super) static FUNCTIONS: &[Signature] = &[
    // Shapes
    sig!(Function "one_hot" it () "class(k) -> [k]: 1 at the class, else 0"),
    sig!(Function "flatten" it () "all axes in one, in C order"),
    sig!(Function "reshape" it ("d": Int, = "") "the same elements in another shape; one -1 is inferred")
        .variadic(),
    sig!(Function "permute" it ("axes": Int) "axes in another order").variadic(),
    sig!(Function "transpose" it () "the last two axes exchanged"),
    sig!(Function "expand" it ("d": Int) "repeats axes of extent 1").variadic(),
    sig!(Function "crop" it ("n": Int) "the centre, n (one number, or one an axis) of each spatial axis")
        .variadic(),
    sig!(Function "pad" it ("lo": Ints; "hi": Ints, = ""; "mode": Enum(PAD_MODES), = "zero")
        "lo cells before and hi (else lo) after each spatial axis"),
    sig!(Function "concat" it ("axis": Int, = "0"; "others": Tensor) "one after the other along an axis")
        .variadic(),
    sig!(Function "upsample" it ("factor": Int, = "2"; "mode": Enum(UPSAMPLE), = "nearest")
        "grows spatial axes by a factor (bilinear with half-pixel centres)"),
    sig!(Function "pixel_shuffle" it ("r": Int) "[c*r*r, h, w] -> [c, h*r, w*r] (Shi et al. 2016)"),
    sig!(Function "avg_pool" it ("kernel": Ints; "stride": Ints, = ""; "pad": Ints, = "0")
        "mean over windows; padding does not count"),
    sig!(Function "max_pool" it ("kernel": Ints; "stride": Ints, = ""; "pad": Ints, = "0") "maximum over windows"),
    sig!(Function "global_avg_pool" it () "[c, …] -> [c]: mean over space"),
    sig!(Function "global_sum_pool" it () "[c, …] -> [c]: sum over space"),
    sig!(Function "select" it ("y": Any) "row y of the first axis"),
    sig!(Function "dim" it ("i": Int) "extent of an axis, at compile time"),
    // Norms without parameters
    sig!(Function "pixel_norm" it ("eps": Number, = "1e-8")
        "divides by the root mean square over channels (Karras et al. 2018)"),
    sig!(Function "minibatch_stddev" it ("group": Int, = "4")
        "appends a channel with the mean standard deviation over groups of samples (Karras et al. 2018)")
    .crosses(),
    // Activations
    sig!(Function "relu" it () "max(x, 0)"),
    sig!(Function "leaky_relu" it ("slope": Number, = "0.2") "x where positive, else slope * x"),
    sig!(Function "elu" it ("alpha": Number, = "1") "x where positive, else alpha * (exp(x) - 1)"),
    sig!(Function "selu" it () "self-normalising elu (Klambauer et al. 2017)"),
    sig!(Function "gelu" it ("approximate": Enum(APPROXIMATE), = "none") "x * Phi(x)"),
    sig!(Function "silu" it () "x * sigmoid(x)"),
    sig!(Function "tanh" it () "hyperbolic tangent"),
    sig!(Function "sigmoid" it () "1 / (1 + exp(-x))"),
    sig!(Function "softplus" it () "log(1 + exp(x)), stable"),
    sig!(Function "softmax" it ("axis": Int, = "-1") "exp(x) / sum exp(x) along an axis"),
    sig!(Function "log_softmax" it ("axis": Int, = "-1") "its logarithm, stable"),
    sig!(Function "maxout" it ("pieces": Int) "[n*pieces] -> [n]: the largest of each group (Goodfellow et al. 2013)"),
    sig!(Function "glu" it () "first half of the first axis times the sigmoid of the second (Dauphin et al. 2017)"),
    // Elementwise
    sig!(Function "abs" it () "absolute value"),
    sig!(Function "exp" it () "e^x"),
    sig!(Function "log" it () "natural logarithm"),
    sig!(Function "sqrt" it () "square root"),
    sig!(Function "sin" it () "sine"),
    sig!(Function "cos" it () "cosine"),
    sig!(Function "sign" it () "-1, 0 or 1"),
    sig!(Function "clamp" it ("lo": Any; "hi": Any) "at least lo, at most hi"),
    sig!(Function "where" it ("a": Any; "b": Any) "a where the condition holds, else b"),
    // Products
    sig!(Function "matmul" it ("b": Tensor) "matrix product of the last two axes; a vector counts as a row on the left"),
    sig!(Function "dot" it ("b": Any) "sum of products -> []"),
    // Reductions
    sig!(Function "norm" it ("eps": Number, = "1e-12") "sqrt(sum x^2 + eps) -> []"),
    sig!(Function "sum" it ("axes": Ints, = "") "sum within the sample"),
    sig!(Function "max" it ("b": Any, = ""; "axes": Ints, = "") "max(a, b) elementwise, or the largest within the sample"),
    sig!(Function "min" it ("b": Any, = ""; "axes": Ints, = "") "min(a, b) elementwise, or the smallest within the sample"),
    sig!(Function "logsumexp" it ("axes": Ints, = "") "log sum exp within the sample, stable"),
    sig!(Function "mean" it ("axes": Ints, = "")
        "average over batch and elements -> common []; with axes, within the sample")
    .crosses(),
    sig!(Function "batch_mean" it () "mean over the batch").crosses(),
    sig!(Function "batch_sum" it () "sum over the batch").crosses(),
    sig!(Function "batch_max" it () "largest over the batch").crosses(),
    sig!(Function "logmeanexp_batch" it () "log of the mean over the batch of exp(x), stable").crosses(),
    sig!(Function "argmax" it () "index of the largest, as a class"),
    sig!(Function "shuffle" it () "another sample's value").crosses(),
    sig!(Function "top_k" it ("fraction": Any)
        "x with a gradient from the largest samples only, this fraction of the batch (Sinha et al. 2020)")
    .crosses(),
    // Losses
    sig!(Function "bce" it ("target": Any) "binary cross-entropy of a logit, elementwise"),
    sig!(Function "mse" it ("b": Any) "(a - b)^2, elementwise"),
    sig!(Function "l1" it ("b": Any) "|a - b|, elementwise"),
    sig!(Function "huber" it ("b": Any; "delta": Number, = "1") "quadratic near 0, then linear (Huber 1964)"),
    sig!(Function "kl_normal" it ("logvar": Any) "KL of N(mu, exp logvar) from N(0, 1), elementwise"),
    sig!(Function "log_normal" it ("mu": Any; "logvar": Any) "log density of N(mu, exp logvar), elementwise"),
    sig!(Function "cross_entropy" it ("target": Tensor) "of logits with a class or a distribution; removes the class axis"),
    sig!(Function "entropy" it () "of the distribution that the logits give; removes the class axis"),
    // Noise
    sig!(Function "normal" none ("mean": Any, = "0"; "std": Any, = "1"; "shape": Ints, = ""; "like": Tensor, = "")
        "Gaussian noise, one [] a sample unless `shape` or `like` says otherwise"),
    sig!(Function "uniform" none ("lo": Any, = "0"; "hi": Any, = "1"; "shape": Ints, = ""; "like": Tensor, = "")
        "uniform noise, one [] a sample unless `shape` or `like` says otherwise"),
    sig!(Function "gumbel" none ("shape": Ints, = ""; "like": Tensor, = "") "Gumbel noise -log(-log u)"),
    sig!(Function "bernoulli" it ("like": Tensor, = "") "1 with probability p, else 0; no gradient"),
    sig!(Function "sample_normal" it ("logvar": Any) "mu + exp(logvar / 2) * noise (Kingma & Welling 2014)"),
    sig!(Function "color_jitter" it () "random brightness, saturation and contrast of pictures in [-1, 1] (Zhao et al. 2020)"),
    sig!(Function "translate" it ("ratio": Number, = "0.125") "pictures moved at random, zeros come in (Zhao et al. 2020)"),
    sig!(Function "cutout" it ("ratio": Number, = "0.5") "a rectangle at a random place is 0 (DeVries & Taylor 2017)"),
    // Time
    sig!(Function "ramp" none ("a": Number; "b": Number; "from": Int, = "0"; "to": Int, = "")
        "from a to b, linear in the iterations from..to"),
    sig!(Function "cosine" none ("a": Number; "b": Number; "from": Int, = "0"; "to": Int, = "")
        "from a to b along half a cosine in the iterations from..to"),
    sig!(Function "warmup" none ("a": Number; "steps": Int) "from 0 to a in so many iterations, then a"),
    sig!(Function "piecewise" none ("t": Numbers; "v": Numbers) "v[i] until iteration t[i], then the last v"),
    // Networks and state
    sig!(Function "stop" it () "no gradient through a value; a network with constant parameters"),
    sig!(Function "grad" it ("x": Any) "derivative of the sum of y with respect to x"),
    sig!(Function "eval" none ("net": Network) "the network in eval mode"),
    sig!(Function "fresh" none ("net": Network) "an application with noise of its own"),
    sig!(Function "ema" none ("net": Network; "decay": Number; "start": Int, = "0") "averaged parameters; constant"),
    sig!(Function "past" none ("net": Network; "keep": Int; "every": Int; "swap_each": Int, = ""; "for": Int, = "1")
        "one of the last snapshots, or one for the last iterations of each period; constant"),
    sig!(Function "params" none ("net": Network) "all parameters as one list, for norm, sum, dot"),
    sig!(Function "drift" none ("net": Network) "squared distance of the parameters from their running mean"),
    sig!(Function "joint" none ("net": Network; "stats": Enum(STATS), = "joint")
        "applies a network to several batches, normalised together"),
    sig!(Function "unroll" none ("net": Network; "steps": Int; "using": Optimiser, = ""; "order": Enum(ORDER), = "full")
        "the network after virtual updates of its player (Metz et al. 2017)"),
    sig!(Function "replay" it ("capacity": Int; "share": Number, = "0.5"; "rule": Enum(RULES), = "exchange";
        "others": Tensor, = "")
        "exchanges samples with a buffer of earlier ones (Shrivastava et al. 2017)")
    .variadic(),
    // Pictures
    sig!(Function "overlay" it ("map": Tensor; "alpha": Number, = "0.5") "a heat map over a picture; in `samples` only"),
    sig!(Function "sweep" it ("lo": Number; "hi": Number)
        "columns that run through values of a code; in `samples` only"),
];
