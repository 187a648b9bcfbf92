//! The kernel IR: typed functions of structured statements, of which [`super::print`] makes CUDA C.
//!
//! Always holds of a function that [`super::verify`] accepts: variables are declared before use and in scope, types
//! agree, only mutable variables are assigned, only writable memory is stored to, shared arrays lie inside the block's
//! shared memory, and every thread of a block comes to every barrier.

use crate::graph::{Binary, DType, Unary};

/// Type of a value in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ty {
    /// All real element types: arithmetic is in f32.
    F32,
    /// 32-bit words.
    U32,
    /// Truth values.
    Bool,
    /// Loop indices and positions: 32-bit, or 64-bit in a wide function.
    Index,
    /// A value with its position, for the search of a maximum.
    Best,
    /// The same of 32-bit words.
    BestU,
    /// Count, mean and squared distances of numbers.
    Moments,
}

impl Ty {
    /// Bytes in shared memory.
    pub fn shared_bytes(self) -> usize {
        match self {
            Ty::F32 | Ty::U32 | Ty::Bool | Ty::Index => 4,
            Ty::Best | Ty::BestU => 8,
            Ty::Moments => 16,
        }
    }

    /// The type in which elements of this type are computed with.
    pub fn of(dtype: DType) -> Self {
        match dtype {
            DType::F32 | DType::F16 | DType::Bf16 => Ty::F32,
            DType::U32 => Ty::U32,
            DType::Bool => Ty::Bool,
        }
    }
}

/// A variable or parameter of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Var(pub u32);

/// What a variable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value that never changes, or that may be assigned.
    Scalar {
        /// Its type.
        ty: Ty,
        /// Whether it may be assigned.
        mutable: bool,
    },
    /// Values in registers.
    Local {
        /// Type of each.
        ty: Ty,
        /// How many.
        len: usize,
    },
    /// Values in the block's dynamic shared memory.
    Shared {
        /// Type of each.
        ty: Ty,
        /// How many.
        len: usize,
        /// First byte.
        offset: usize,
    },
    /// An address in device memory.
    Pointer {
        /// Element type in memory.
        dtype: DType,
        /// Whether it may be written.
        write: bool,
        /// Whether nobody else writes what it points to (`__restrict__`).
        alone: bool,
    },
    /// A result that a device function gives besides, by reference.
    Out {
        /// Its type.
        ty: Ty,
    },
}

/// Numbers that the hardware gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    /// Number of the thread in its block.
    Thread,
    /// Number of the block along x.
    BlockX,
    /// Number of the block along y.
    BlockY,
}

/// Operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Infix {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    Lt,
    Le,
    Eq,
    And,
    Or,
    /// Bitwise, of words.
    Xor,
}

/// Functions of CUDA and of the prelude.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// An elementwise function of the graph.
    Unary(Unary),
    /// Larger or smaller one; a NaN in either gives NaN.
    Extreme(Binary),
    /// Conversion between register types, by way of the element type given: rounding to halves happens here.
    Convert(DType),
    /// `(key 0, key 1, counter, sample, element)`: noise.
    Random(crate::graph::Dist),
    /// Index or word to the other.
    AsIndex,
    /// See [`Call::AsIndex`].
    AsWord,
    /// `(value, position)`
    Best,
    /// The better one of two.
    Better,
    /// Position of the best.
    Position,
    /// Moments of no numbers.
    Nothing,
    /// Moments with another number.
    Collect,
    /// Moments about their mean, which can be added.
    Settled,
    /// Moments of `(count, mean, squared distances)`.
    Moments,
    /// One of these three of moments.
    Moment(u8),
    /// `a * b + c`, rounded once.
    Fma,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A scalar.
    Var(Var),
    /// An f32 by its bits.
    F32(u32),
    /// A word.
    U32(u32),
    /// A truth value.
    Bool(bool),
    /// An index.
    Index(i64),
    /// From the hardware.
    Builtin(Builtin),
    /// `a op b`
    Infix(Infix, Box<Expr>, Box<Expr>),
    /// A function.
    Call(Call, Vec<Expr>),
    /// `cond ? a : b`; only the one that is chosen is computed.
    Select(Box<Expr>, Box<Expr>, Box<Expr>),
    /// `0 <= index < extent`
    Inside(Box<Expr>, i64),
    /// An element in device memory.
    Load(Var, Box<Expr>),
    /// An element of a local or shared array.
    Element(Var, Box<Expr>),
}

impl Expr {
    /// `self op other`
    pub fn infix(self, op: Infix, other: Expr) -> Expr {
        Expr::Infix(op, Box::new(self), Box::new(other))
    }

    /// Sum of indices; zeros are left out.
    pub fn plus(self, other: Expr) -> Expr {
        match (self, other) {
            (Expr::Index(a), Expr::Index(b)) => Expr::Index(a + b),
            (Expr::Index(0), e) | (e, Expr::Index(0)) => e,
            (a, Expr::Index(b)) if b < 0 => a.infix(Infix::Sub, Expr::Index(-b)),
            (a, b) => a.infix(Infix::Add, b),
        }
    }

    /// Product of an index and a number.
    pub fn times(self, k: i64) -> Expr {
        match (self, k) {
            (_, 0) => Expr::Index(0),
            (e, 1) => e,
            (Expr::Index(a), k) => Expr::Index(a * k),
            (e, k) => e.infix(Infix::Mul, Expr::Index(k)),
        }
    }

    /// Quotient of an index and a number, below `extent` if that is known.
    pub fn over(self, k: i64) -> Expr {
        if k == 1 { self } else { self.infix(Infix::Div, Expr::Index(k)) }
    }

    /// Remainder of an index and a number.
    pub fn modulo(self, k: i64) -> Expr {
        if k == 1 { Expr::Index(0) } else { self.infix(Infix::Rem, Expr::Index(k)) }
    }

    /// Both hold.
    pub fn and(self, other: Expr) -> Expr {
        self.infix(Infix::And, other)
    }
}

/// How threads of a block combine what each of them has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Across {
    /// Groups of neighbours.
    Rows {
        /// Threads of a group, a power of two.
        lanes: usize,
    },
    /// Threads that are `width` apart, `lanes` of them.
    Columns {
        /// Threads of a group, a power of two.
        lanes: usize,
        /// Distance.
        width: usize,
    },
}

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Stmt {
    /// Declares a scalar.
    Let(Var, Expr),
    /// Declares a local or shared array.
    Array(Var),
    /// Declares a pointer that is set later.
    Pointer(Var),
    /// A pointer becomes another.
    Point(Var, Var),
    /// Changes a mutable scalar or a result.
    Assign(Var, Expr),
    /// Changes an element of a local or shared array.
    Put(Var, Expr, Expr),
    /// All elements of a local array from device memory, 16 bytes at a time (position divisible by its length).
    LoadVector(Var, Var, Expr),
    /// A local array becomes noise of neighbouring elements (the first one's number divisible by 4); arguments as of
    /// [`Call::Random`].
    Noise(Var, crate::graph::Dist, Vec<Expr>),
    /// All elements of a local array to device memory: pointer, position, array.
    StoreVector(Var, Expr, Var),
    /// An element to device memory.
    Store(Var, Expr, Expr),
    /// `for (var = from; var < to; var += step)`
    For {
        /// The index.
        var: Var,
        /// First.
        from: Expr,
        /// One past the last.
        to: Expr,
        /// Distance.
        step: Expr,
        /// How often the body is repeated in the code; 0: as the compiler likes, `u32::MAX`: wholly.
        unroll: u32,
        /// What is repeated.
        body: Vec<Stmt>,
    },
    /// Conditional.
    If(Expr, Vec<Stmt>, Vec<Stmt>),
    /// All threads of the block wait.
    Barrier,
    /// Combines a mutable scalar over threads; the first thread of each group has the result.
    BlockReduce {
        /// The value.
        var: Var,
        /// Sum, else maximum (of words, floats or best ones).
        sum: bool,
        /// Which threads.
        across: Across,
        /// A shared array with an element for each thread.
        shared: Var,
    },
    /// Ends the kernel in all blocks of one number along x but the last of them to come here, of so many; that one sees
    /// what all of them have written.
    Last(usize),
    /// A value of a device function.
    Return(Expr),
}

/// What a function is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Launched with this many threads a block.
    Kernel {
        /// Threads of a block.
        threads: usize,
    },
    /// Called, with this result.
    Device(Option<Ty>),
}

/// A function.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Kernel or not.
    pub role: Role,
    /// Parameters in order.
    pub params: Vec<Var>,
    /// All variables: name and kind.
    pub vars: Vec<(String, Kind)>,
    /// Bytes of dynamic shared memory.
    pub shared: usize,
    /// Whether indices have 64 bits.
    pub wide: bool,
    /// What it does.
    pub body: Vec<Stmt>,
}

impl Function {
    /// An empty function.
    pub fn new(name: impl Into<String>, role: Role, wide: bool) -> Self {
        Self { name: name.into(), role, params: vec![], vars: vec![], shared: 0, wide, body: vec![] }
    }

    /// A new variable.
    pub fn var(&mut self, name: impl Into<String>, kind: Kind) -> Var {
        self.vars.push((name.into(), kind));
        Var(self.vars.len() as u32 - 1)
    }

    /// A new scalar that never changes.
    pub fn scalar(&mut self, name: impl Into<String>, ty: Ty) -> Var {
        self.var(name, Kind::Scalar { ty, mutable: false })
    }

    /// A new scalar that may change.
    pub fn mutable(&mut self, name: impl Into<String>, ty: Ty) -> Var {
        self.var(name, Kind::Scalar { ty, mutable: true })
    }

    /// A new array in shared memory, behind those that there are.
    pub fn shared_array(&mut self, name: impl Into<String>, ty: Ty, len: usize) -> Var {
        let size = ty.shared_bytes();
        let offset = self.shared;
        self.shared += (len * size).next_multiple_of(16);
        self.var(name, Kind::Shared { ty, len, offset })
    }

    /// A new parameter.
    pub fn param(&mut self, name: impl Into<String>, kind: Kind) -> Var {
        let v = self.var(name, kind);
        self.params.push(v);
        v
    }

    /// What a variable is.
    pub fn kind(&self, v: Var) -> Kind {
        self.vars[v.0 as usize].1
    }

    /// A variable's name.
    pub fn name_of(&self, v: Var) -> &str {
        &self.vars[v.0 as usize].0
    }
}
