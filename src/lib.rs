//! ganc: a language and a compiler for adversarial training.

pub mod diag;
pub mod graph;
pub mod source;
pub mod syntax {
    //! The language's syntax.
    pub mod ast;
}
