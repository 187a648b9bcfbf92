//! Convolutions over one to three spatial axes. Shapes: Dumoulin & Visin 2016.

use super::args::Bound;
use super::shape::{PadMode, pad_node};
use super::value::{Fallible, batched, need_fits, need_real, unbatched};
use super::{Init, LayerError, ParamRole, Scope, Tensor, Value};
use crate::graph::{ConvGeom, Layout, NodeId};
use std::sync::Arc;

/// Channels and spatial extents of an input, with checks of rank and element kind.
fn image<'a>(x: &'a Tensor, a: &Bound, who: &str) -> Fallible<(usize, &'a [usize])> {
    need_real(x, who)?;
    let dims = a.int_or_none("dims", 1)?;
    let rank = x.shape.len();
    let fits = (2..=4).contains(&rank) && dims.is_none_or(|d| d as usize + 1 == rank);
    if !fits {
        let want = match dims {
            Some(1) => "[channels, length]",
            Some(3) => "[channels, depth, height, width]",
            Some(2) | None => "[channels, height, width]",
            Some(_) => return Err(a.refuse("dims", "1, 2 or 3")),
        };
        let e = LayerError::new("E0301", format!("{who} takes {want}; found {:?}", x.shape));
        return Err(match rank {
            0 | 1 => e.help("put `reshape(channels, height, width)` before it"),
            _ => e.help("one axis of channels, then one to three spatial axes"),
        });
    }
    Ok((x.shape[0], &x.shape[1..]))
}

struct Taps {
    kernel: Vec<usize>,
    stride: Vec<usize>,
    dilation: Vec<usize>,
    /// `None`: same.
    pad: Option<Vec<usize>>,
}

fn taps(a: &Bound, dims: usize) -> Fallible<Taps> {
    let pad = match a.get("pad") {
        Some(Value::Word(_)) => {
            a.word("pad")?;
            None
        }
        _ => Some(a.ints("pad", dims, 0)?),
    };
    Ok(Taps {
        kernel: a.ints("kernel", dims, 1)?,
        stride: a.ints("stride", dims, 1)?,
        dilation: a.ints("dilation", dims, 1)?,
        pad,
    })
}

fn add_bias(s: &mut dyn Scope, y: NodeId, n: usize, fan_in: usize) -> NodeId {
    let b = s.param("bias", &[n], ParamRole::Bias { fan_in }, Init::FanIn);
    let mut shape = vec![1; s.graph().shape(y).len()];
    shape[1] = n;
    let b = s.graph().reshape(b, &shape);
    s.graph().add(y, b)
}

fn need_groups(a: &Bound, groups: usize, c: usize, n: usize) -> Fallible<()> {
    if c.is_multiple_of(groups) && n.is_multiple_of(groups) {
        return Ok(());
    }
    Err(a.refuse("groups", &format!("a divisor of the channels before ({c}) and after ({n})")))
}

pub(super) fn conv(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let who = format!("`{}`", a.sig.name);
    let (c, size) = image(x, a, &who)?;
    let depthwise = a.sig.name == "depthwise_conv";
    let (n, groups) = if depthwise { (c, c) } else { (a.size("n")?, a.size("groups")?) };
    need_groups(a, groups, c, n)?;
    let dims = size.len();
    let t = taps(a, dims)?;
    let span: Vec<usize> = (0..dims).map(|i| t.dilation[i] * (t.kernel[i] - 1) + 1).collect();
    let (mut lo, mut hi, mut output) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..dims {
        match &t.pad {
            Some(p) => {
                let padded = size[i] + 2 * p[i];
                if padded < span[i] {
                    return Err(LayerError::new(
                        "E0301",
                        format!(
                            "{who}: a kernel that spans {} does not fit {:?} with pad {}",
                            span[i], x.shape, p[i]
                        ),
                    )
                    .help("use a smaller kernel or dilation, or more padding"));
                }
                lo.push(p[i]);
                hi.push(p[i]);
                output.push((padded - span[i]) / t.stride[i] + 1);
            }
            None => {
                let out = size[i].div_ceil(t.stride[i]);
                let total = ((out - 1) * t.stride[i] + span[i]).saturating_sub(size[i]);
                lo.push(total / 2);
                hi.push(total - total / 2);
                output.push(out);
            }
        }
    }
    let mut node = batched(s, x);
    let (mut input, mut pad) = (size.to_vec(), lo.clone());
    let mode = PadMode::parse(a, "pad_mode")?;
    if mode != PadMode::Zero && lo.iter().chain(&hi).any(|&p| p > 0) {
        node = pad_node(s, node, &lo, &hi, mode, &who)?;
        input = s.graph().shape(node)[2..].to_vec();
        pad = vec![0; dims];
    }
    let batch = s.graph().shape(node)[0];
    let mut y_shape = vec![batch, n];
    y_shape.extend(&output);
    need_fits(&y_shape, &who)?;
    let mut w_shape = vec![n, c / groups];
    w_shape.extend(&t.kernel);
    need_fits(&w_shape, &who)?;
    let window: usize = t.kernel.iter().product();
    let fan_in = c / groups * window;
    let role = ParamRole::Weight { out_axis: 0, fan_in, fan_out: n / groups * window };
    let w = s.param("weight", &w_shape, role, Init::FanIn);
    let geom = ConvGeom {
        n: batch,
        c,
        o: n,
        groups,
        input,
        kernel: t.kernel,
        output,
        stride: t.stride,
        pad,
        dilation: t.dilation,
        layout: Layout::ChannelsFirst,
    };
    let mut y = s.graph().conv_fwd(node, w, Arc::new(geom));
    if a.bool("bias")? {
        y = add_bias(s, y, n, fan_in);
    }
    Ok(unbatched(s, y, x))
}

pub(super) fn conv_transpose(s: &mut dyn Scope, x: &Tensor, a: &Bound) -> Fallible<Tensor> {
    let who = "`conv_transpose`";
    let (c, size) = image(x, a, who)?;
    let (n, groups) = (a.size("n")?, a.size("groups")?);
    need_groups(a, groups, c, n)?;
    let dims = size.len();
    let t = taps(a, dims)?;
    let extra = a.ints("out_pad", dims, 0)?;
    let (mut pad, mut output) = (Vec::new(), Vec::new());
    for i in 0..dims {
        let span = t.dilation[i] * (t.kernel[i] - 1) + 1;
        match &t.pad {
            Some(p) => {
                if extra[i] > 0 && extra[i] >= t.stride[i].max(t.dilation[i]) {
                    return Err(a.refuse("out_pad", "smaller than the stride (or the dilation)"));
                }
                let full = (size[i] - 1) * t.stride[i] + span + extra[i];
                if full <= 2 * p[i] {
                    return Err(LayerError::new(
                        "E0301",
                        format!("{who}: pad {} leaves nothing of the {full} positions along axis {}", p[i], i + 1),
                    ));
                }
                pad.push(p[i]);
                output.push(full - 2 * p[i]);
            }
            None => {
                if extra[i] > 0 {
                    return Err(a.refuse("out_pad", "left out together with `pad: same`"));
                }
                pad.push(span.saturating_sub(t.stride[i]) / 2);
                output.push(size[i] * t.stride[i]);
            }
        }
    }
    let node = batched(s, x);
    let batch = s.graph().shape(node)[0];
    let mut y_shape = vec![batch, n];
    y_shape.extend(&output);
    need_fits(&y_shape, who)?;
    let mut w_shape = vec![c, n / groups];
    w_shape.extend(&t.kernel);
    need_fits(&w_shape, who)?;
    // Of the taps of a kernel, only those of one phase of the stride reach an output position.
    let phase: usize = (0..dims).map(|i| t.kernel[i].div_ceil(t.stride[i])).product();
    let window: usize = t.kernel.iter().product();
    let fan_in = c / groups * phase;
    let role = ParamRole::Weight { out_axis: 1, fan_in, fan_out: n / groups * window };
    let w = s.param("weight", &w_shape, role, Init::FanIn);
    let geom = ConvGeom {
        n: batch,
        c: n,
        o: c,
        groups,
        input: output,
        kernel: t.kernel,
        output: size.to_vec(),
        stride: t.stride,
        pad,
        dilation: t.dilation,
        layout: Layout::ChannelsFirst,
    };
    let mut y = s.graph().conv_data_grad(node, w, Arc::new(geom));
    if a.bool("bias")? {
        y = add_bias(s, y, n, fan_in);
    }
    Ok(unbatched(s, y, x))
}
