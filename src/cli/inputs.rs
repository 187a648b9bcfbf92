//! Which way the minibatches of an iteration go to a device with memory of its own.

use super::{Failure, compile};
use crate::build::program::{Compiled, Iteration, TrainProgram};
use crate::data::{self, Way};
use crate::source::SourceMap;
use std::collections::BTreeSet;

/// A field of a set by index, and its name and way.
type Of<'w> = ((usize, usize), &'w (String, Way));

/// Which way the fields of a spec's data sets go.
pub(super) struct Ways<'a> {
    compiled: &'a Compiled,
    fields: Vec<Vec<(String, Way)>>,
}

impl<'a> Ways<'a> {
    /// Reads the sets' headers.
    pub fn of(compiled: &'a Compiled, sources: &SourceMap) -> Result<Self, Failure> {
        let mut fields = vec![];
        for p in &compiled.data {
            let refused = |d| compile::refused(sources, &d);
            let (schema, ways) = (data::schema(p).map_err(refused)?, data::ways(p).map_err(refused)?);
            let names = schema.fields.iter().map(|f| format!("{}.{}", p.name, f.name));
            fields.push(names.zip(ways).collect());
        }
        Ok(Self { compiled, fields })
    }

    fn field(&self, train: &TrainProgram, line: usize, field: usize) -> Option<Of<'_>> {
        let l = train.lines.get(line)?;
        let at = (l.data, *l.fields.get(field)?);
        debug_assert!(at.0 < self.compiled.data.len());
        Some((at, self.fields.get(at.0)?.get(at.1)?))
    }

    /// Bytes of what an iteration would have a device hold.
    pub fn held(&self, train: &TrainProgram, it: &Iteration) -> usize {
        let all: BTreeSet<(usize, usize)> =
            it.inputs.iter().filter_map(|i| Some(self.field(train, i.line, i.field)?.0)).collect();
        let bytes = |at: &(usize, usize)| match self.fields[at.0][at.1].1 {
            Way::Held(bytes) => bytes,
            Way::Streamed(_) => 0,
        };
        all.iter().map(bytes).sum()
    }

    /// A line for each input of an iteration that minibatches feed.
    pub fn lines(&self, train: &TrainProgram, it: &Iteration) -> String {
        let line = |i: &crate::build::program::BatchInput| {
            let (name, way) = self.field(train, i.line, i.field)?.1;
            Some(match way {
                Way::Held(bytes) => {
                    format!("input {} of {name}: on a GPU held, {bytes} bytes, if they fit\n", i.input)
                }
                Way::Streamed(why) => format!("input {} of {name}: sent in each iteration ({why})\n", i.input),
            })
        };
        it.inputs.iter().filter_map(line).collect()
    }
}
