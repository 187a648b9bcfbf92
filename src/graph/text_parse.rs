//! Parses the text form.

use super::{binary_name, dist_name, op_name, unary_name};
use crate::graph::op::{Binary, Const, ContractDims, ConvGeom, Dist, Layout, Op, Unary, Window};
use crate::graph::ty::{DType, F64, Type};
use crate::graph::verify::verify;
use crate::graph::{Graph, NodeId, Origin};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A text that is no graph.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ParseError {
    /// 1-based; 0 for the graph as a whole.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

type Parsed<T> = Result<T, String>;

enum Arg {
    Node(u32),
    Literal(f64),
}

struct Line<'a> {
    at: usize,
    id: u32,
    ty: Type,
    op: &'a str,
    args: Vec<Arg>,
    rest: Attributes<'a>,
    origin: Origin,
}

/// Parses a graph and verifies it. Lines that are empty or start with `;` or `//` are skipped.
pub fn parse(text: &str) -> Result<Graph, ParseError> {
    let mut lines = Vec::new();
    let mut outputs = Vec::new();
    for (i, raw) in text.lines().enumerate() {
        let err = |message: String| ParseError { line: i + 1, message };
        let raw = raw.trim();
        if raw.is_empty() || raw.starts_with(';') || raw.starts_with("//") {
            continue;
        }
        let mut c = Cursor { text: raw };
        if c.eat("output ") {
            let name = c.string().map_err(err)?;
            let id = c.node().map_err(err)?;
            outputs.push((i + 1, name, id));
        } else {
            lines.push(line(i + 1, c).map_err(err)?);
        }
    }

    let types: BTreeMap<u32, Type> = lines.iter().map(|l| (l.id, l.ty.clone())).collect();
    let mut pending = VecDeque::new();
    for l in &lines {
        for k in 0..l.args.len() {
            if let Arg::Literal(v) = l.args[k] {
                let ty = literal_type(l, k, &types).map_err(|message| ParseError { line: l.at, message })?;
                pending.push_back((v, ty));
            }
        }
    }

    let mut g = Graph::new();
    let mut ids: BTreeMap<u32, NodeId> = BTreeMap::new();
    for l in lines {
        let err = |message: String| ParseError { line: l.at, message };
        // Numbers that have no line are those of constants written in place, in the order of their first use.
        while (g.nodes().len() as u32) < l.id
            && let Some((v, ty)) = pending.pop_front()
        {
            g.splat(v, ty);
        }
        let mut args = Vec::new();
        for (k, a) in l.args.iter().enumerate() {
            args.push(match a {
                Arg::Node(n) => *ids.get(n).ok_or_else(|| err(format!("%{n} is not defined above")))?,
                Arg::Literal(v) => {
                    let ty = literal_type(&l, k, &types).map_err(err)?;
                    g.splat(*v, ty)
                }
            });
        }
        let shapes: Vec<Vec<usize>> = args.iter().map(|&a| g.shape(a).to_vec()).collect();
        let mut rest = l.rest;
        let op = op(l.op, &mut rest, &shapes, &l.ty).map_err(err)?;
        if let Some(name) = rest.0.keys().next() {
            return Err(err(format!("`{}` has no attribute `{name}`", l.op)));
        }
        g.set_origin(l.origin);
        let id = g.intern(op, args, l.ty);
        if ids.insert(l.id, id).is_some() {
            return Err(err(format!("%{} is defined twice", l.id)));
        }
    }
    for (at, name, n) in outputs {
        let id = *ids.get(&n).ok_or(ParseError { line: at, message: format!("%{n} is not defined") })?;
        g.output(name, id);
    }
    g.set_origin(Origin::default());
    verify(&g).map_err(|e| ParseError { line: 0, message: format!("{}\n  {}", e.problem, e.node) })?;
    Ok(g)
}

/// The type of a constant written as argument `k`.
fn literal_type(l: &Line<'_>, k: usize, types: &BTreeMap<u32, Type>) -> Parsed<Type> {
    match l.op {
        "lt" | "le" | "eq" => match l.args.get(1 - k.min(1)) {
            Some(Arg::Node(n)) => types.get(n).cloned().ok_or_else(|| format!("%{n} is not defined")),
            _ => Err("a comparison of two numbers".into()),
        },
        "add" | "mul" | "max" | "min" | "and" | "or" => Ok(l.ty.clone()),
        "select" if k > 0 => Ok(l.ty.clone()),
        other => Err(format!("`{other}` takes no number here")),
    }
}

fn line<'a>(at: usize, mut c: Cursor<'a>) -> Parsed<Line<'a>> {
    let id = c.node()?;
    c.expect(":")?;
    let ty = c.ty()?;
    c.expect("=")?;
    let op = c.word();
    let mut args = Vec::new();
    let mut rest = Attributes::default();
    if op == "const" {
        let values = if c.eat("[") { c.numbers()? } else { vec![c.number()?] };
        let splat = values.len() == 1 && ty.elements() != 1;
        rest.0.insert("value", Value::Numbers(values, splat));
    } else if matches!(op, "input" | "param" | "state") {
        rest.0.insert("name", Value::Text(c.string()?));
    } else {
        while c.starts_argument() {
            args.push(if c.peek("%") { Arg::Node(c.node()?) } else { Arg::Literal(c.number()?) });
            if !c.eat(",") {
                break;
            }
        }
    }
    loop {
        c.skip();
        if c.text.is_empty() || c.peek(";") {
            break;
        }
        let name = c.word();
        c.expect("=")?;
        let value = if c.eat("[") { Value::List(c.list()?) } else { Value::Word(c.word()) };
        rest.0.insert(name, value);
    }
    let origin = match c.text.strip_prefix(';').map(str::trim) {
        None => Origin::default(),
        Some(comment) => match comment.rsplit_once('^').map(|(p, n)| (p.trim_end(), n.parse::<u8>())) {
            Some((path, Ok(order))) => Origin { path: path.into(), order, ..Origin::default() },
            _ => Origin { path: comment.into(), ..Origin::default() },
        },
    };
    Ok(Line { at, id, ty, op, args, rest, origin })
}

enum Value<'a> {
    Text(String),
    Numbers(Vec<f64>, bool),
    Word(&'a str),
    List(Vec<&'a str>),
}

/// Attributes by name; each is taken once, and what is left over is an error.
#[derive(Default)]
struct Attributes<'a>(BTreeMap<&'a str, Value<'a>>);

impl<'a> Attributes<'a> {
    fn word(&mut self, name: &str) -> Parsed<Option<&'a str>> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(Value::Word(w)) => Ok(Some(w)),
            Some(_) => Err(format!("`{name}` is no single value")),
        }
    }

    fn usize(&mut self, name: &str) -> Parsed<Option<usize>> {
        self.word(name)?.map(|w| w.parse().map_err(|_| format!("`{name}={w}` is no number"))).transpose()
    }

    fn f64(&mut self, name: &str) -> Parsed<F64> {
        let w = self.word(name)?.unwrap_or("0.0");
        w.parse().map(F64).map_err(|_| format!("`{name}={w}` is no number"))
    }

    fn raw(&mut self, name: &str) -> Parsed<Option<Vec<&'a str>>> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(Value::List(v)) => Ok(Some(v)),
            Some(_) => Err(format!("`{name}` is no list")),
        }
    }

    fn list(&mut self, name: &str) -> Parsed<Option<Vec<usize>>> {
        let parse = |w: &str| w.parse().map_err(|_| format!("`{w}` in `{name}` is no number"));
        self.raw(name)?.map(|l| l.into_iter().map(parse).collect()).transpose()
    }

    fn list_or(&mut self, name: &str, rank: usize, default: usize) -> Parsed<Vec<usize>> {
        let l = self.list(name)?.unwrap_or_else(|| vec![default; rank]);
        if l.len() == rank { Ok(l) } else { Err(format!("`{name}` has {} values and needs {rank}", l.len())) }
    }

    fn need(&mut self, name: &str) -> Parsed<Vec<usize>> {
        self.list(name)?.ok_or_else(|| format!("`{name}` is missing"))
    }

    fn pairs(&mut self, name: &str) -> Parsed<Vec<(usize, usize)>> {
        let parse = |w: &str| {
            let (a, b) = w.split_once(':')?;
            Some((a.parse().ok()?, b.parse().ok()?))
        };
        let words = self.raw(name)?.unwrap_or_default();
        words.iter().map(|w| parse(w).ok_or_else(|| format!("`{w}` in `{name}` is no pair of axes"))).collect()
    }
}

const UNARY: [Unary; 15] = [
    Unary::Neg,
    Unary::Recip,
    Unary::Sqrt,
    Unary::Exp,
    Unary::Log,
    Unary::Log1p,
    Unary::Tanh,
    Unary::Erf,
    Unary::Sin,
    Unary::Cos,
    Unary::Abs,
    Unary::Sign,
    Unary::Floor,
    Unary::Tf32,
    Unary::Not,
];
const BINARY: [Binary; 9] = [
    Binary::Add,
    Binary::Mul,
    Binary::Max,
    Binary::Min,
    Binary::Lt,
    Binary::Le,
    Binary::Eq,
    Binary::And,
    Binary::Or,
];
const PLAIN: [Op; 7] =
    [Op::Select, Op::Cast, Op::Reshape, Op::Broadcast, Op::GatherRows, Op::ScatterRows, Op::Stop];

fn op(name: &str, a: &mut Attributes<'_>, args: &[Vec<usize>], ty: &Type) -> Parsed<Op> {
    let arg = |k: usize| args.get(k).ok_or_else(|| format!("`{name}` lacks an argument"));
    if let Some(f) = UNARY.iter().find(|f| unary_name(**f) == name) {
        return Ok(Op::Unary(*f));
    }
    if let Some(f) = BINARY.iter().find(|f| binary_name(**f) == name) {
        return Ok(Op::Binary(*f));
    }
    if let Some(op) = PLAIN.iter().find(|o| op_name(o) == name) {
        return Ok(op.clone());
    }
    Ok(match name {
        "input" | "param" | "state" => {
            let Some(Value::Text(n)) = a.0.remove("name") else { return Err("a name is missing".into()) };
            match name {
                "input" => Op::Input(n.into()),
                "param" => Op::Param(n.into()),
                _ => Op::State(n.into()),
            }
        }
        "const" => match a.0.remove("value") {
            Some(Value::Numbers(v, splat)) if splat || v.len() == 1 => Op::Const(Const::Splat(F64(v[0]))),
            Some(Value::Numbers(v, _)) => Op::Const(Const::Dense(Arc::new(v.into_iter().map(F64).collect()))),
            _ => return Err("values are missing".into()),
        },
        "iota" => Op::Iota { axis: a.usize("axis")?.ok_or("`axis` is missing")? },
        "concat" => Op::Concat { axis: a.usize("axis")?.ok_or("`axis` is missing")? },
        "random" => {
            let w = a.word("stream")?.unwrap_or("0x0");
            let stream = w.strip_prefix("0x").and_then(|h| u64::from_str_radix(h, 16).ok());
            let d = a.word("dist")?.unwrap_or("uniform");
            let dist = [Dist::Bits, Dist::Uniform, Dist::Normal].into_iter().find(|x| dist_name(*x) == d);
            Op::Random {
                stream: stream.ok_or_else(|| format!("stream `{w}` is not hexadecimal"))?,
                dist: dist.ok_or_else(|| format!("no distribution `{d}`"))?,
            }
        }
        "permute" => Op::Permute(a.need("perm")?),
        "slice" => {
            let x = arg(0)?;
            Op::Slice {
                start: a.list_or("start", x.len(), 0)?,
                limit: a.list("limit")?.unwrap_or_else(|| x.clone()),
                step: a.list_or("step", x.len(), 1)?,
            }
        }
        "pad" => {
            let rank = arg(0)?.len();
            Op::Pad {
                lo: a.list_or("lo", rank, 0)?,
                hi: a.list_or("hi", rank, 0)?,
                interior: a.list_or("interior", rank, 0)?,
                value: a.f64("value")?,
            }
        }
        "reverse" => Op::Reverse(a.need("axes")?),
        "sum" => Op::Sum(a.need("axes")?),
        "max_reduce" => Op::Max(a.need("axes")?),
        "argmax" => Op::ArgMax(a.need("axes")?),
        "unfold" => Op::Unfold(Arc::new(window(a, arg(0)?)?)),
        "fold" => Op::Fold(Arc::new(window(a, &ty.shape)?)),
        "contract" => Op::Contract(ContractDims { batch: a.pairs("batch")?, contracted: a.pairs("contracted")? }),
        "conv_fwd" => Op::ConvFwd(geometry(a, arg(0)?, arg(1)?, &ty.shape)?),
        "conv_data_grad" => Op::ConvDataGrad(geometry(a, &ty.shape, arg(1)?, arg(0)?)?),
        "conv_weight_grad" => Op::ConvWeightGrad(geometry(a, arg(0)?, &ty.shape, arg(1)?)?),
        _ => return Err(format!("no op `{name}`")),
    })
}

fn window(a: &mut Attributes<'_>, source: &[usize]) -> Parsed<Window> {
    let kernel = a.need("kernel")?;
    let n = kernel.len();
    let lead = source.len().checked_sub(n).ok_or("more window axes than axes")?;
    Ok(Window {
        size: source[lead..].to_vec(),
        stride: a.list_or("stride", n, 1)?,
        dilation: a.list_or("dilation", n, 1)?,
        pad_lo: a.list_or("pad_lo", n, 0)?,
        pad_hi: a.list_or("pad_hi", n, 0)?,
        value: a.f64("value")?,
        kernel,
    })
}

fn geometry(a: &mut Attributes<'_>, x: &[usize], w: &[usize], y: &[usize]) -> Parsed<Arc<ConvGeom>> {
    let n = w.len().checked_sub(2).filter(|n| x.len() == n + 2 && y.len() == n + 2);
    let n = n.ok_or("images and kernels of different ranks")?;
    let layout = match a.word("layout")? {
        None | Some("channels_first") => Layout::ChannelsFirst,
        Some("channels_last") => Layout::ChannelsLast,
        Some("all_last") => Layout::AllLast,
        Some(other) => return Err(format!("no layout `{other}`")),
    };
    let space = |last: bool| if last { 1..n + 1 } else { 2..n + 2 };
    let channel = if layout.images_last() { n + 1 } else { 1 };
    let images = space(layout.images_last());
    Ok(Arc::new(ConvGeom {
        n: x[0],
        c: x[channel],
        o: y[channel],
        groups: a.usize("groups")?.unwrap_or(1).max(1),
        input: x[images.clone()].to_vec(),
        kernel: w[space(layout.weights_last())].to_vec(),
        output: y[images].to_vec(),
        stride: a.list_or("stride", n, 1)?,
        pad: a.list_or("pad", n, 0)?,
        dilation: a.list_or("dilation", n, 1)?,
        layout,
    }))
}

/// What is left of a line.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    text: &'a str,
}

impl<'a> Cursor<'a> {
    fn skip(&mut self) {
        self.text = self.text.trim_start();
    }

    fn peek(&mut self, what: &str) -> bool {
        self.skip();
        self.text.starts_with(what)
    }

    fn eat(&mut self, what: &str) -> bool {
        self.skip();
        match self.text.strip_prefix(what) {
            Some(rest) => {
                self.text = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, what: &str) -> Parsed<()> {
        if self.eat(what) { Ok(()) } else { Err(format!("expected `{what}` before `{}`", self.text)) }
    }

    fn take(&mut self, ok: impl Fn(char) -> bool) -> &'a str {
        self.skip();
        let end = self.text.find(|c| !ok(c)).unwrap_or(self.text.len());
        let (word, rest) = self.text.split_at(end);
        self.text = rest;
        word
    }

    /// Letters, digits and the rest of what names and numbers are made of.
    fn word(&mut self) -> &'a str {
        self.take(|c| c.is_ascii_alphanumeric() || "_.+-:".contains(c))
    }

    /// Whether an argument follows and not an attribute, a comment or the end.
    fn starts_argument(&mut self) -> bool {
        let mut ahead = *self;
        self.peek("%") || ahead.number().is_ok()
    }

    fn node(&mut self) -> Parsed<u32> {
        self.expect("%")?;
        let w = self.take(|c| c.is_ascii_digit());
        w.parse().map_err(|_| format!("`%{w}` is no node"))
    }

    fn number(&mut self) -> Parsed<f64> {
        match self.word() {
            "true" => Ok(1.0),
            "false" => Ok(0.0),
            w => w.parse().map_err(|_| format!("`{w}` is no number")),
        }
    }

    fn numbers(&mut self) -> Parsed<Vec<f64>> {
        let mut all = Vec::new();
        while !self.eat("]") {
            all.push(self.number()?);
            self.eat(",");
        }
        Ok(all)
    }

    fn list(&mut self) -> Parsed<Vec<&'a str>> {
        let mut all = Vec::new();
        while !self.eat("]") {
            match self.word() {
                "" => return Err("a list without end".into()),
                w => all.push(w),
            }
            self.eat(",");
        }
        Ok(all)
    }

    fn ty(&mut self) -> Parsed<Type> {
        let name = self.word();
        let all = [DType::F32, DType::F16, DType::Bf16, DType::U32, DType::Bool];
        let dtype = all.into_iter().find(|d| d.name() == name).ok_or_else(|| format!("no type `{name}`"))?;
        self.expect("[")?;
        let extents = self.list()?;
        let parse = |w: &&str| w.parse::<usize>().map_err(|_| format!("`{w}` is no extent"));
        let shape: Vec<usize> = extents.iter().map(parse).collect::<Parsed<_>>()?;
        match shape.iter().try_fold(4usize, |n, &d| n.checked_mul(d)) {
            Some(_) => Ok(Type::new(dtype, shape)),
            None => Err("a size that overflows".into()),
        }
    }

    /// A quoted string with Rust's escapes.
    fn string(&mut self) -> Parsed<String> {
        self.expect("\"")?;
        let mut out = String::new();
        let mut chars = self.text.chars();
        loop {
            match chars.next().ok_or("a string without end")? {
                '"' => break,
                '\\' => out.push(match chars.next().ok_or("a string without end")? {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    '0' => '\0',
                    'u' => {
                        let hex: String = chars.by_ref().skip(1).take_while(|&c| c != '}').collect();
                        let code = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
                        code.ok_or_else(|| format!("no character `{hex}`"))?
                    }
                    other => other,
                }),
                c => out.push(c),
            }
        }
        self.text = chars.as_str();
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::super::print;
    use super::*;

    #[test]
    fn round_trip() {
        let text = "\
%0: f32[8,3,4,4] = input \"x \\\"y\\\"\"
%1: f32[6,3,3,3] = param \"D.conv.weight\"
%2: f32[8,6,2,2] = conv_fwd %0, %1 stride=[2,2] pad=[1,1]       ; D.conv
%4: bool[8,6,2,2] = lt 0.0, %2                                  ; D.act ^1
%7: f32[8,6,2,2] = select %4, 1.0, -0.5                         ; ^2
%8: f32[8,1,1,1] = sum %7 axes=[1,2,3]
%9: f32[3] = const [1.0, -inf, NaN]
%10: f32[2] = const 0.5
%11: u32[2] = state \"key\"
%12: u32[] = const 7
%13: f32[4,3] = random %11, %12 stream=0x1f dist=normal
%14: f32[4,4] = contract %13, %13 contracted=[1:1]
output \"m\" %8
output \"n\" %13
";
        let g = parse(text).unwrap();
        assert_eq!(print(&g), text);
    }

    #[test]
    fn numbers_may_have_gaps_and_constants_no_number() {
        let g = parse("%3: f32[2] = input \"x\"\n%9: f32[2] = max %3, 0.0\noutput \"y\" %9").unwrap();
        let again = print(&g);
        insta::assert_snapshot!(again, @r#"
        %1: f32[2] = input "x"
        %2: f32[2] = max %1, 0.0
        output "y" %2
        "#);
        assert_eq!(print(&parse(&again).unwrap()), again);
    }

    #[test]
    fn errors_say_where() {
        let error = |text: &str| parse(text).unwrap_err().to_string();
        let all = [
            error("%0: f32[2] = input \"x"),
            error("%0: f32[2] = input \"x\"\n%1: f32[2] = frob %0"),
            error("%0: f32[2] = input \"x\"\n%1: f32[2] = neg %7"),
            error("%0: f32[2] = input \"x\"\n%1: f32[1] = sum %0 axes=[0] color=3"),
            error("%0: f32[2] = input \"x\"\n%1: f32[3] = neg %0"),
            error("%0: f32[99999999999,99999999999] = input \"x\""),
            error("%0: f64[2] = input \"x\""),
            error("%0: f32[2] = const [1.0, 2.0"),
        ];
        insta::assert_snapshot!(all.join("\n"), @r"
        line 1: a string without end
        line 2: no op `frob`
        line 2: %7 is not defined above
        line 2: `sum` has no attribute `color`
        line 0: the result is f32[3] and should be f32[2]
          %1: f32[3] = neg %0
        line 1: a size that overflows
        line 1: no type `f64`
        line 1: `` is no number
        ");
    }
}
