//! `overlay(picture, map)`: a heat map over a picture, for class-activation maps (Zhou et al. 2016).

use super::ctx::Builder;
use super::expr::Env;
use super::value::{Value, describe, sample};
use crate::diag::Diagnostic;
use crate::graph::{Type, Unary};
use crate::layers::Kind;
use crate::source::Span;
use crate::syntax::ast::Arg;

impl<'m> Builder<'m> {
    /// The picture in colours, redder where the map is larger; each sample's map is scaled to its own range.
    pub fn overlay(&mut self, env: &mut Env<'m>, picture: (Value, Span), args: &'m [Arg], span: Span) -> Value {
        let (mut map, mut alpha) = (None, 0.5);
        for (i, a) in args.iter().enumerate() {
            let word = a.name.as_ref().map_or(["map", "alpha"][i.min(1)], |n| &n.name);
            match (word, self.eval(env, &a.value)) {
                (_, Value::Error) => return Value::Error,
                ("alpha", Value::Num(v)) if (0.0..=1.0).contains(&v) => alpha = v,
                ("map", v) => map = Some((v, a.value.span)),
                _ => {
                    let title = "`overlay` takes a picture, a map, and `alpha` from 0 to 1";
                    return self.error("E0206", a.value.span, title, "not this");
                }
            }
        }
        let Some((map, map_span)) = map else {
            return self.error("E0206", span, "`overlay` needs a map", "such as `overlay(x, C(x).maps[3])`");
        };
        let (Some(x), Some(m)) = (self.tensor(&picture.0, picture.1), self.tensor(&map, map_span)) else {
            return Value::Error;
        };
        let (x, m) = (self.per_sample(&x), self.per_sample(&m));
        let fits = match (&x.shape[..], &m.shape[..]) {
            (&[c, h, w], &[ref one @ .., mh, mw]) => {
                let alone = one.iter().product::<usize>() == 1 && one.len() <= 1;
                let whole = h.is_multiple_of(mh) && w.is_multiple_of(mw);
                ((c == 1 || c == 3) && alone && whole).then_some((h, w, mh, mw))
            }
            _ => None,
        };
        let Some((h, w, mh, mw)) = fits.filter(|_| x.kind == Kind::Real && m.kind == Kind::Real) else {
            let (a, b) = (describe(&x), describe(&m));
            return self.report(
                Diagnostic::error("E0459", "`overlay` lays a map [h, w] over a picture [1, h, w] or [3, h, w]")
                    .at(span, format!("the picture is {a}, the map {b}"))
                    .help("the map may be smaller by whole factors"),
            );
        };
        let (lo, hi) = self.range_of_data().unwrap_or((-1.0, 1.0));
        let n = self.moment.batch;
        let g = &mut self.gx.graph;
        let heat = g.reshape(m.node, &[n, mh, 1, mw, 1]);
        let heat = g.broadcast(heat, &[n, mh, h / mh, mw, w / mw]);
        let heat = g.reshape(heat, &[n, 1, h, w]);
        let most = g.max_reduce(heat, &[1, 2, 3]);
        let minus = g.neg(heat);
        let least = g.max_reduce(minus, &[1, 2, 3]);
        let spread = g.add(most, least);
        let spread = g.offset(spread, 1e-12);
        let above = g.add(heat, least);
        let scale = g.unary(Unary::Recip, spread);
        let heat = g.mul(above, scale);
        let heat = g.scale(heat, alpha);
        let colour = g.dense(vec![hi, lo, lo], Type::f32([1, 3, 1, 1]));
        let x = g.broadcast(x.node, &[n, 3, h, w]);
        let to = g.sub(colour, x);
        let step = g.mul(to, heat);
        let node = g.add(x, step);
        Value::Tensor(sample(node, vec![3, h, w]))
    }
}
