//! Layers: built-ins with parameters, statistics or noise of their own; in networks and blocks only.

use super::sig;
use crate::layers::ArgKind::{Bool, Enum, Int, Ints, IntsOr, Number, Tensor};
use crate::layers::Signature;

const SAME: &[&str] = &["same"];
pub(super) const PAD_MODES: &[&str] = &["zero", "reflect", "replicate"];
const EVAL: &[&str] = &["moving", "batch"];
const SWITCH: &[&str] = &["off", "on"];

pub(super) static LAYERS: &[Signature] = &[
    sig!(Layer "linear" it ("n": Int; "bias": Bool, = "true"; "axis": Int, = "")
        "fully connected: [k] -> [n]; `axis: -1` applies it along the last axis"),
    sig!(Layer "conv" it ("n": Int; "kernel": Ints; "stride": Ints, = "1"; "pad": IntsOr(SAME), = "0";
        "dilation": Ints, = "1"; "groups": Int, = "1"; "bias": Bool, = "true";
        "pad_mode": Enum(PAD_MODES), = "zero"; "dims": Int, = "")
        "convolution (cross-correlation) over 1 to 3 spatial axes: [c, d…] -> [n, …]"),
    sig!(Layer "conv_transpose" it ("n": Int; "kernel": Ints; "stride": Ints, = "1"; "pad": IntsOr(SAME), = "0";
        "dilation": Ints, = "1"; "groups": Int, = "1"; "bias": Bool, = "true"; "out_pad": Ints, = "0"; "dims": Int, = "")
        "transposed convolution: [c, d…] -> [n, …]"),
    sig!(Layer "depthwise_conv" it ("kernel": Ints; "stride": Ints, = "1"; "pad": IntsOr(SAME), = "0";
        "dilation": Ints, = "1"; "bias": Bool, = "true"; "pad_mode": Enum(PAD_MODES), = "zero"; "dims": Int, = "")
        "convolution of each channel by itself"),
    sig!(Layer "embed" it ("n": Int) "a learned vector for each class: class(k) -> [n]"),
    sig!(Layer "batch_norm" it ("momentum": Number, = "0.1"; "eps": Number, = "1e-5"; "affine": Bool, = "true";
        "eval": Enum(EVAL), = "moving")
        "normalises each channel over batch and space (Ioffe & Szegedy 2015)")
    .crosses(),
    sig!(Layer "virtual_batch_norm" it ("size": Int, = ""; "eps": Number, = "1e-5"; "affine": Bool, = "true")
        "normalises by a fixed reference batch and the sample itself (Salimans et al. 2016)"),
    sig!(Layer "conditional_batch_norm" it ("y": Tensor; "momentum": Number, = "0.1"; "eps": Number, = "1e-5";
        "eval": Enum(EVAL), = "moving")
        "batch norm whose scale and shift come from a class or a vector (de Vries et al. 2017)")
    .crosses(),
    sig!(Layer "instance_norm" it ("eps": Number, = "1e-5"; "affine": Bool, = "true")
        "normalises each channel of each sample over space (Ulyanov et al. 2016)"),
    sig!(Layer "layer_norm" it ("eps": Number, = "1e-5"; "affine": Bool, = "true")
        "normalises each sample over all its axes (Ba et al. 2016)"),
    sig!(Layer "group_norm" it ("g": Int; "eps": Number, = "1e-5"; "affine": Bool, = "true")
        "normalises groups of channels of each sample (Wu & He 2018)"),
    sig!(Layer "adain" it ("w": Tensor; "eps": Number, = "1e-5")
        "instance norm with scale and shift from a style vector (Huang & Belongie 2017)"),
    sig!(Layer "minibatch_discrimination" it ("kernels": Int; "dim": Int; "self": Bool, = "false")
        "appends how near the other samples of the batch are (Salimans et al. 2016)")
    .crosses(),
    sig!(Layer "self_attention" it ("heads": Int, = "1"; "key": Int, = ""; "value": Int, = "")
        "attention over positions with a gain that starts at 0 (Zhang et al. 2019)"),
    sig!(Layer "dropout" it ("p": Number, = "0.5"; "eval": Enum(SWITCH), = "off")
        "sets elements to 0 with probability p, scales the rest by 1/(1-p) (Srivastava et al. 2014)"),
    sig!(Layer "noise" it ("std": Number) "adds Gaussian noise while training"),
    sig!(Layer "prelu" it () "leaky relu with a learned slope for each channel (He et al. 2015)"),
];
