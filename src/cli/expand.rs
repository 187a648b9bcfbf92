//! `ganc expand`

use super::{Failure, SpecArgs, compile};
use crate::syntax;

pub(super) fn expand(args: &SpecArgs) -> Result<(), Failure> {
    let front = compile::front(args)?;
    super::print(&syntax::print(&front.core.to_file()));
    Ok(())
}
