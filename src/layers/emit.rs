//! One place that knows which family emits which built-in.

use super::args::Bound;
use super::value::{Fallible, tensor_of};
use super::{LayerError, Scope, Signature, Tensor, Value};
use super::{
    activation, attention, augment, conv, function, linear, loss, noise, norm, pairs, pool, schedule, shape,
    virtual_norm,
};

/// A built-in that is not emitted here (networks, metrics, …): its caller must handle it.
pub(super) fn unknown(sig: &Signature) -> LayerError {
    LayerError::new("E0312", format!("`{}` cannot be used here", sig.name))
        .help(format!("it is for other places: {}", sig.doc))
}

fn need_input(s: &mut dyn Scope, sig: &Signature, input: Option<&Value>) -> Fallible<Tensor> {
    let who = format!("`{}`", sig.name);
    match input {
        Some(v) => tensor_of(s, v, &who),
        None => Err(LayerError::new("E0206", format!("{who} needs an input"))
            .help(format!("write `it |> {}`", sig.usage()))),
    }
}

/// Builds what a call of a layer or function means. `input` is `it`, the left of `|>`, or the first argument.
/// Compile-time numbers in give a compile-time number out.
pub fn emit(scope: &mut dyn Scope, sig: &'static Signature, input: Option<Value>, args: &Bound) -> Fallible<Value> {
    if !sig.available {
        return Err(LayerError::new("E0311", format!("`{}` is not available yet", sig.name))
            .help("it is part of the language, but this version of ganc does not compile it"));
    }
    if let ("norm" | "dot" | "sum", Some(v)) = (sig.name, &input)
        && (sig.name != "sum" || args.get("axes").is_none())
    {
        let t = function::whole(scope, v, args)?;
        return Ok(folded(scope, &input, t));
    }
    let x = if sig.takes_input { Some(need_input(scope, sig, input.as_ref())?) } else { None };
    let tensor = match (sig.name, &x) {
        ("linear", Some(x)) => linear::linear(scope, x, args)?,
        ("embed", Some(x)) => linear::embed(scope, x, args)?,
        ("one_hot", Some(x)) => linear::one_hot(scope, x)?,
        ("conv" | "depthwise_conv", Some(x)) => conv::conv(scope, x, args)?,
        ("conv_transpose", Some(x)) => conv::conv_transpose(scope, x, args)?,
        ("batch_norm", Some(x)) => norm::batch_norm(scope, x, args)?,
        ("virtual_batch_norm", Some(x)) => virtual_norm::virtual_batch_norm(scope, x, args)?,
        ("conditional_batch_norm", Some(x)) => norm::conditional_batch_norm(scope, x, args)?,
        ("instance_norm", Some(x)) => norm::instance_norm(scope, x, args)?,
        ("layer_norm", Some(x)) => norm::layer_norm(scope, x, args)?,
        ("group_norm", Some(x)) => norm::group_norm(scope, x, args)?,
        ("pixel_norm", Some(x)) => norm::pixel_norm(scope, x, args)?,
        ("adain", Some(x)) => norm::adain(scope, x, args)?,
        ("minibatch_stddev", Some(x)) => norm::minibatch_stddev(scope, x, args)?,
        ("minibatch_discrimination", Some(x)) => pairs::minibatch_discrimination(scope, x, args)?,
        ("top_k", Some(x)) => pairs::top_k(scope, x, args)?,
        ("color_jitter", Some(x)) => augment::color_jitter(scope, x)?,
        ("translate", Some(x)) => augment::translate(scope, x, args)?,
        ("cutout", Some(x)) => augment::cutout(scope, x, args)?,
        ("flatten", Some(x)) => shape::flatten(scope, x)?,
        ("reshape", Some(x)) => shape::reshape(scope, x, args)?,
        ("permute", Some(x)) => shape::permute(scope, x, args)?,
        ("transpose", Some(x)) => shape::transpose(scope, x)?,
        ("expand", Some(x)) => shape::expand(scope, x, args)?,
        ("crop", Some(x)) => shape::crop(scope, x, args)?,
        ("pad", Some(x)) => shape::pad(scope, x, args)?,
        ("concat", Some(x)) => {
            let mut parts = vec![x.clone()];
            for v in args.many("others") {
                parts.push(tensor_of(scope, &v, "`concat`")?);
            }
            shape::concat(scope, &parts, args.int("axis", -8)?)?
        }
        ("upsample", Some(x)) => shape::upsample(scope, x, args)?,
        ("pixel_shuffle", Some(x)) => shape::pixel_shuffle(scope, x, args)?,
        ("select", Some(x)) => shape::select(scope, x, args)?,
        ("dim", Some(x)) => return shape::dim(x, args),
        (
            "relu" | "leaky_relu" | "elu" | "selu" | "gelu" | "silu" | "tanh" | "sigmoid" | "softplus" | "softmax"
            | "log_softmax" | "maxout" | "glu" | "prelu",
            Some(x),
        ) => activation::activation(scope, x, args)?,
        ("avg_pool" | "max_pool", Some(x)) => pool::pool(scope, x, args)?,
        ("global_avg_pool" | "global_sum_pool", Some(x)) => pool::global(scope, x, args)?,
        ("self_attention", Some(x)) => attention::self_attention(scope, x, args)?,
        ("dropout" | "noise", Some(x)) => noise::layer(scope, x, args)?,
        ("abs" | "exp" | "log" | "sqrt" | "sin" | "cos" | "sign", Some(x)) => function::unary(scope, x, args)?,
        ("clamp", Some(x)) => function::clamp(scope, x, args)?,
        ("where", Some(x)) => function::choose(scope, x, args)?,
        ("matmul", Some(x)) => function::matmul(scope, x, args)?,
        ("mean", Some(x)) if args.get("axes").is_none() => function::mean_all(scope, x)?,
        ("max" | "min", Some(x)) if args.get("b").is_some() => {
            let b = args.get("b").cloned().unwrap_or(Value::Number(0.0));
            function::extremum(scope, x, &b, args)?
        }
        ("sum" | "mean" | "max" | "min" | "logsumexp", Some(x)) => function::reduce(scope, x, args)?,
        ("batch_mean" | "batch_sum" | "batch_max" | "logmeanexp_batch", Some(x)) => {
            function::over_batch(scope, x, args)?
        }
        ("argmax", Some(x)) => function::argmax(scope, x)?,
        ("shuffle", Some(x)) => function::shuffle(scope, x)?,
        ("stop", Some(x)) => function::stop(scope, x)?,
        ("bce", Some(x)) => loss::bce(scope, x, args)?,
        ("mse" | "l1" | "huber", Some(x)) => loss::distance(scope, x, args)?,
        ("kl_normal", Some(x)) => loss::kl_normal(scope, x, args)?,
        ("log_normal", Some(x)) => loss::log_normal(scope, x, args)?,
        ("cross_entropy", Some(x)) => loss::cross_entropy(scope, x, args)?,
        ("entropy", Some(x)) => loss::entropy(scope, x)?,
        ("normal" | "uniform" | "gumbel", None) => noise::function(scope, args)?,
        ("bernoulli", Some(x)) => noise::bernoulli(scope, x, args)?,
        ("sample_normal", Some(x)) => noise::sample_normal(scope, x, args)?,
        ("ramp" | "cosine" | "warmup" | "piecewise", None) => schedule::schedule(scope, args)?,
        ("overlay" | "sweep", _) => {
            return Err(LayerError::new(
                "E0312",
                format!("`{}` is for pictures: it stands in `samples(…)` only", sig.name),
            ));
        }
        _ => return Err(unknown(sig)),
    };
    Ok(folded(scope, &input, tensor))
}

/// A number, where numbers went in and a constant came out.
fn folded(scope: &mut dyn Scope, input: &Option<Value>, tensor: Tensor) -> Value {
    if let Some(Value::Number(_)) = input
        && let (true, false, Some(v)) =
            (tensor.shape.is_empty(), tensor.sample, scope.graph().as_splat(tensor.node))
    {
        return Value::Number(v);
    }
    Value::Tensor(tensor)
}
