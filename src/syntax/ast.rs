//! The abstract syntax tree: what was written, with spans and nothing resolved.
//!
//! Always holds: every node's span lies within its file; names are the words as written; numbers keep their text
//! (a literal is exact until it is used). Trees built by the compiler (expansion of losses and tricks) take the
//! spans of what they came from.

use crate::source::Span;

/// A word with its place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ident {
    /// The word.
    pub name: String,
    /// Where it stands.
    pub span: Span,
}

/// A comment kept for the formatter: its text with the slashes, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Comment {
    /// Text including `//`, `///` or `/* */`.
    pub text: String,
    /// Where it stands.
    pub span: Span,
    /// Nothing but white space stands before it on its line.
    pub own_line: bool,
}

/// A whole file.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct File {
    /// Its items in textual order.
    pub items: Vec<Item>,
    /// All comments in textual order.
    pub comments: Vec<Comment>,
}

/// An item with its documentation (`///` lines above it).
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Documentation text, slashes removed.
    pub doc: Option<String>,
    /// What it is.
    pub kind: ItemKind,
    /// From its first to its last token.
    pub span: Span,
}

/// The kinds of items.
#[derive(Clone, Debug, PartialEq)]
pub enum ItemKind {
    /// `use "file.gan"`
    Use {
        /// The path as written, quotes removed.
        path: String,
        /// Place of the string.
        path_span: Span,
    },
    /// `const name = expr`
    Const {
        /// Its name.
        name: Ident,
        /// Its value.
        value: Expr,
    },
    /// `data name = source |> transform …`
    Data {
        /// Its name.
        name: Ident,
        /// A source call or data name, piped through transforms.
        value: Expr,
    },
    /// `block Name(params) { … }`
    Block(Block),
    /// `generator | discriminator | network Name(inputs) -> result with … { … }`
    Network(Network),
    /// `loss name(real, fake, options) { … }`
    Loss(Loss),
    /// `train name? { … }`
    Train(Train),
}

/// A named, reusable list of layers.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Its name.
    pub name: Ident,
    /// Parameters, each possibly with a default.
    pub params: Vec<Param>,
    /// Its statements.
    pub body: Body,
}

/// A parameter of a block or loss.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Its name.
    pub name: Ident,
    /// Default value.
    pub default: Option<Expr>,
}

/// What a network is for; the bare form of losses and `player` use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// `generator`
    Generator,
    /// `discriminator`
    Discriminator,
    /// `network`
    Network,
}

/// A network definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Keyword it was written with.
    pub role: Role,
    /// Its name.
    pub name: Ident,
    /// Typed inputs.
    pub inputs: Vec<Input>,
    /// Declared result.
    pub result: ResultType,
    /// Modifiers of the whole network.
    pub with: Vec<Modifier>,
    /// Its statements.
    pub body: Body,
}

/// `name: type`
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Its name.
    pub name: Ident,
    /// Its type.
    pub ty: TypeExpr,
}

/// `-> type` or `-> (name: type, …)`
#[derive(Clone, Debug, PartialEq)]
pub enum ResultType {
    /// One unnamed result: the final `it`.
    Single(TypeExpr),
    /// Named results, each given by `out name = …`.
    Named(Vec<Input>, Span),
}

/// A type as written.
#[derive(Clone, Debug, PartialEq)]
pub enum TypeExpr {
    /// `[d, …]`: a real tensor; the batch axis is never written.
    Shape(Vec<Expr>, Span),
    /// `class(k)`: an integer label.
    Class(Box<Expr>, Span),
    /// A const that is a list.
    Named(Ident),
}

/// A modifier after `with`.
#[derive(Clone, Debug, PartialEq)]
pub struct Modifier {
    /// Its name.
    pub name: Ident,
    /// Arguments, if it was written with parentheses.
    pub args: Option<Args>,
}

/// `( … )` of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Args {
    /// Positional before named.
    pub args: Vec<Arg>,
    /// From `(` to `)`.
    pub span: Span,
}

/// One argument.
#[derive(Clone, Debug, PartialEq)]
pub struct Arg {
    /// The word before `:`, if any.
    pub name: Option<Ident>,
    /// Its value.
    pub value: Expr,
}

/// `{ … }` of a network, block, branch or anonymous block.
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    /// In textual order.
    pub stmts: Vec<Stmt>,
    /// From `{` to `}`.
    pub span: Span,
}

/// A statement of a body.
#[derive(Clone, Debug, PartialEq)]
pub struct Stmt {
    /// Documentation lines directly above a layer.
    pub doc: Option<String>,
    /// What it is.
    pub kind: StmtKind,
    /// From its first to its last token.
    pub span: Span,
}

/// The kinds of statements of a body.
#[derive(Clone, Debug, PartialEq)]
pub enum StmtKind {
    /// `let a, b = expr`
    Let(Vec<Ident>, Expr),
    /// `param name: type = initialiser with …`
    Param {
        /// Its name.
        name: Ident,
        /// Its type.
        ty: TypeExpr,
        /// An initialiser.
        init: Expr,
        /// Modifiers.
        with: Vec<Modifier>,
    },
    /// `out name = expr`
    Out(Ident, Expr),
    /// `tap name`: `it` here can be read as `.name` of an application.
    Tap(Ident),
    /// `residual { … } shortcut { … }`
    Residual(Body, Option<Body>),
    /// `repeat n { … }` or `repeat i in a..b { … }`
    Repeat(RepeatHead, Body),
    /// `if cond { … } else …`
    If(If),
    /// `it = expr`
    Assign(Expr),
    /// A layer: `name(args) with …` means `it = name(it, args)`.
    Layer(LayerCall),
}

/// Head of a `repeat`.
#[derive(Clone, Debug, PartialEq)]
pub enum RepeatHead {
    /// `repeat n`
    Times(Expr),
    /// `repeat i in a..b`, half open
    Range(Ident, Expr, Expr),
}

/// A compile-time condition.
#[derive(Clone, Debug, PartialEq)]
pub struct If {
    /// The condition.
    pub cond: Expr,
    /// Taken when it holds.
    pub then: Body,
    /// Else branch.
    pub otherwise: Option<Else>,
}

/// After `else`.
#[derive(Clone, Debug, PartialEq)]
pub enum Else {
    /// `else { … }`
    Body(Body),
    /// `else if …`
    If(Box<If>),
}

/// A layer, or a stage after `|>`.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerCall {
    /// Built-in layer, function or the user's block.
    pub name: Ident,
    /// Arguments, if it was written with parentheses.
    pub args: Option<Args>,
    /// Modifiers.
    pub with: Vec<Modifier>,
}

/// `loss name(real, fake, …) { let … discriminator … generator … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// Its name.
    pub name: Ident,
    /// Its parameters; the first two are the scores of real and fake samples.
    pub params: Vec<Param>,
    /// Its lines.
    pub lines: Vec<LossLine>,
}

/// A line of a loss.
#[derive(Clone, Debug, PartialEq)]
pub enum LossLine {
    /// `let name = expr`
    Let(Ident, Expr),
    /// `discriminator expr`
    Discriminator(Expr, Span),
    /// `generator expr`
    Generator(Expr, Span),
}

/// `train name? { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Train {
    /// Its name, if any.
    pub name: Option<Ident>,
    /// Its statements.
    pub stmts: Vec<TrainStmt>,
}

/// A statement of `train`.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainStmt {
    /// Documentation lines above a setting or trick.
    pub doc: Option<String>,
    /// What it is.
    pub kind: TrainStmtKind,
    /// From its first to its last token.
    pub span: Span,
}

/// How often a draw is fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Per {
    /// `per update` (the default)
    Update,
    /// `per iteration`
    Iteration,
}

/// The kinds of statements of `train`.
#[derive(Clone, Debug, PartialEq)]
pub enum TrainStmtKind {
    /// `let a, b = expr`
    Let(Vec<Ident>, Expr),
    /// `draw a: type, b ~ expr, … per iteration`
    Draw {
        /// The names, noise with a type.
        names: Vec<(Ident, Option<TypeExpr>)>,
        /// A distribution call, or fields of data.
        from: Vec<Expr>,
        /// If written.
        per: Option<Per>,
    },
    /// `loss name(args)?`
    Loss(Ident, Option<Args>),
    /// `player name updates … { … }`
    Player(Player),
    /// `trick name(args)?`
    Trick(Ident, Option<Args>),
    /// `every n steps { actions }`
    Every(Expr, Vec<Action>),
    /// `expect cond after n steps`
    Expect(Expr, Option<Expr>),
    /// `if cond { … }`
    If(Expr, Vec<TrainStmt>),
    /// `batch n`, `steps n`, `seed n`, `precision word`, `order word`
    Setting(Setting, Expr),
    /// `epochs n of data`
    Epochs(Expr, Option<Ident>),
}

/// Settings of `train`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Setting {
    /// Samples in a minibatch.
    Batch,
    /// Number of iterations.
    Steps,
    /// Seed of all random streams.
    Seed,
    /// `f32 | tf32 | bf16 | f16`
    Precision,
    /// `sequential` (default) or `simultaneous`
    Order,
}

/// `player name updates A, B { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Player {
    /// Its name.
    pub name: Ident,
    /// Networks it updates; empty: the network of its name.
    pub updates: Vec<Ident>,
    /// Its lines.
    pub lines: Vec<PlayerLine>,
}

/// A line of a player.
#[derive(Clone, Debug, PartialEq)]
pub struct PlayerLine {
    /// What it is.
    pub kind: PlayerLineKind,
    /// From its first to its last token.
    pub span: Span,
}

/// The kinds of lines of a player.
#[derive(Clone, Debug, PartialEq)]
pub enum PlayerLineKind {
    /// `let a, b = expr`
    Let(Vec<Ident>, Expr),
    /// `minimize expr every k`
    Minimize(Expr, Option<Expr>),
    /// `using optimiser(…)`
    Using(Expr),
    /// `repeat n`
    Repeat(Expr),
    /// `batch n`
    Batch(Expr),
}

/// An action of `every`.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// What it is.
    pub kind: ActionKind,
    /// From its first to its last token.
    pub span: Span,
}

/// The kinds of actions.
#[derive(Clone, Debug, PartialEq)]
pub enum ActionKind {
    /// `evaluate name = expr`
    Evaluate(Option<Ident>, Expr),
    /// `samples(…)`, `checkpoint`
    Call(Ident, Option<Args>),
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// From its first to its last token.
    pub span: Span,
}

/// Binary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `^`
    Pow,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `==`
    Eq,
    /// `!=`
    Ne,
}

/// An index in `a[…]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Index {
    /// `i`: drops the axis
    At(Expr),
    /// `a..b`: keeps it
    Range(Expr, Expr),
    /// `..`: the whole axis
    All(Span),
}

/// The kinds of expressions.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// A number as written, underscores included.
    Number(String),
    /// A string, escapes decoded.
    Str(String),
    /// `true`, `false`
    Bool(bool),
    /// `it`
    It,
    /// A name.
    Name(String),
    /// `[a, b]`
    List(Vec<Expr>),
    /// `( e )`: kept so that the formatter prints what was written
    Paren(Box<Expr>),
    /// `-e`
    Neg(Box<Expr>),
    /// `a op b`
    Binary(BinOp, Box<Expr>, Box<Expr>),
    /// `e.word`
    Field(Box<Expr>, Ident),
    /// `e(args)`
    Call(Box<Expr>, Args),
    /// `e[…]`
    Index(Box<Expr>, Vec<Index>),
    /// `e |> stage`
    Pipe(Box<Expr>, PipeStage),
}

/// What stands after `|>`.
#[derive(Clone, Debug, PartialEq)]
pub enum PipeStage {
    /// `name(args) with …`
    Layer(LayerCall),
    /// `{ … }`: an anonymous block
    Body(Body),
}
