//! Data sets that stay in device memory: a run then sends the numbers of a minibatch's rows, and a kernel makes the
//! minibatch of them in the place of the input.
//!
//! Always holds: a set is held only where it fits beside what has been planned, with a margin; what is planned later
//! and finds no room takes its memory back, and the inputs that it fed are sent whole again.

use super::device::{Address, Extents, Kernel, Param};
use super::error::CudaError;
use super::program::{ALIGN, Fed, Input, Program, Step};
use super::{CudaExecutor, Layout};
use crate::codegen::cuda::held::{self, Held as Way};
use crate::exec::{ExecError, Held};
use crate::graph::rows::{Elements, MIRRORED, Rows};
use crate::graph::{DType, HostTensor};

/// Bytes that are written at a time.
const PIECE: usize = 16 << 20;

/// The share of a device's memory that data sets leave free, for what is planned later and for the driver.
const MARGIN: u64 = 16;

/// A field of a set in device memory.
pub(super) struct Set {
    name: String,
    way: Way,
    dtype: DType,
    shape: Vec<usize>,
    planes: usize,
    part: usize,
    rows: usize,
    bytes: usize,
    at: Address,
    /// Within the same block; 0: none.
    values: Address,
    index: Address,
}

/// Sets by their numbers; `None`: given up.
#[derive(Default)]
pub(super) struct Sets {
    sets: Vec<Option<Set>>,
    kernels: Vec<Kernel>,
}

impl Sets {
    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        self.sets.iter().flatten().map(|s| s.bytes).sum()
    }

    fn get(&self, held: Held) -> Option<&Set> {
        self.sets.get(held.0).and_then(Option::as_ref)
    }

    /// Whether a set is there.
    pub fn has(&self, held: Held) -> bool {
        self.get(held).is_some()
    }

    /// Whether an input is made of rows of a set that is there.
    pub fn feeds(&self, input: &Input) -> bool {
        input.fed.is_some_and(|f| self.get(f.from).is_some())
    }

    /// How an input comes, as a person reads it.
    pub fn tell(&self, input: &Input) -> String {
        match input.fed.and_then(|f| self.get(f.from)) {
            Some(s) => format!("{}: of {} rows of {} in device memory", input.name, s.rows, s.name),
            None => format!("{}: {} bytes copied in each run", input.name, input.ty.bytes()),
        }
    }

    /// Checks the numbers of rows that are given for an input.
    pub fn check(&self, input: &Input, given: &HostTensor) -> Result<(), ExecError> {
        let Some(set) = input.fed.and_then(|f| self.get(f.from)) else { return Ok(()) };
        let batch = input.ty.shape.first().copied().unwrap_or(0);
        let wrong = |found: String| ExecError::Input {
            name: input.name.to_string(),
            expected: format!("u32[{batch}], numbers of {} rows", set.rows),
            found,
        };
        match given.as_u32() {
            Some(v) if given.shape == [batch] => match v.iter().find(|&&r| (r & !MIRRORED) as usize >= set.rows) {
                Some(r) => Err(wrong(format!("the number {}", r & !MIRRORED))),
                None => Ok(()),
            },
            Some(_) | None => Err(wrong(given.ty().to_string())),
        }
    }

    /// The launch that makes an input's batch of the rows whose numbers are at `rows`.
    pub fn step(&self, input: usize, of: &Input, rows: Address, batch: Address) -> Option<Step> {
        let set = of.fed.and_then(|f| self.get(f.from))?;
        let samples = of.ty.shape.first().copied()?;
        let kernel = *self.kernels.get(set.way.place())?;
        let mut params = vec![Param::Address(set.at)];
        if set.way == Way::Bytes {
            params.push(Param::Address(set.values));
        }
        params.extend([set.index, rows, batch].map(Param::Address));
        params.extend(set.way.numbers(samples, set.planes, set.part, &set.shape).into_iter().map(Param::U32));
        let grid = set.way.grid(samples, set.planes, set.part);
        let extents = Extents { grid, block: [held::THREADS, 1, 1], shared: 0 };
        Some(Step::Gather { input, kernel, extents, params })
    }
}

/// Words as little-endian bytes, piece by piece.
fn words<T: Copy>(
    of: &[T],
    bits: impl Fn(T) -> [u8; 4],
    mut write: impl FnMut(usize, &[u8]) -> Result<(), CudaError>,
) -> Result<(), CudaError> {
    for (i, piece) in of.chunks(PIECE / 4).enumerate() {
        let bytes: Vec<u8> = piece.iter().flat_map(|&v| bits(v)).collect();
        write(i * PIECE, &bytes)?;
    }
    Ok(())
}

impl CudaExecutor {
    /// Puts rows into device memory, if they fit beside all that was compiled and the inputs that travel to it.
    pub(super) fn hold_rows(&mut self, rows: &Rows<'_>) -> Result<Option<Held>, ExecError> {
        let (stored, table) = match &rows.elements {
            Elements::Bytes(v, _) => (v.len(), 1024),
            Elements::Real(v) => (4 * v.len(), 0),
            Elements::Class(v) => (4 * v.len(), 0),
        };
        let index = rows.index.as_ref().map_or(0, |i| 4 * i.len());
        let table_at = stored.next_multiple_of(ALIGN);
        let index_at = table_at + usize::next_multiple_of(table, ALIGN);
        let bytes = index_at + index;
        // Numbers of rows have 31 bits, and a launch's own numbers 32. A mirrored line lies in one stored row.
        let countable = !rows.is_empty() && rows.len() < MIRRORED as usize && rows.width() < 1 << 31;
        let line = rows.shape.last().copied().unwrap_or(1).max(1);
        let countable = countable && rows.part().is_multiple_of(line);
        let margin = self.about().memory / MARGIN + self.widest as u64;
        if !countable || self.device.free_bytes()? < bytes as u64 + margin {
            return Ok(None);
        }
        if self.held.kernels.is_empty() {
            let kernels = Way::ALL.map(|k| (k.name().to_string(), 0));
            self.held.kernels = self.device.load(&held::text(), &kernels)?;
        }
        let at = match self.device.alloc(bytes) {
            // Another program may have been quicker.
            Err(CudaError::Memory { .. }) => return Ok(None),
            other => other?,
        };
        let put = |from: usize, i: usize, bytes: &[u8]| self.device.write(at + (from + i) as Address, bytes);
        match &rows.elements {
            Elements::Bytes(v, values) => {
                for (i, piece) in v.chunks(PIECE).enumerate() {
                    self.device.write(at + (i * PIECE) as Address, piece)?;
                }
                words(&values[..], f32::to_le_bytes, |i, b| put(table_at, i, b))?;
            }
            Elements::Real(v) => words(v, f32::to_le_bytes, |i, b| put(0, i, b))?,
            Elements::Class(v) => words(v, u32::to_le_bytes, |i, b| put(0, i, b))?,
        }
        if let Some(v) = &rows.index {
            words(v, u32::to_le_bytes, |i, b| put(index_at, i, b))?;
        }
        let way = match (&rows.elements, rows.width()) {
            (Elements::Bytes(..), _) => Way::Bytes,
            (Elements::Real(_) | Elements::Class(_), 1) => Way::Numbers,
            (Elements::Real(_) | Elements::Class(_), _) => Way::Words,
        };
        self.held.sets.push(Some(Set {
            name: rows.name.clone(),
            way,
            dtype: rows.dtype(),
            shape: rows.shape.clone(),
            planes: rows.planes,
            part: rows.part(),
            rows: rows.len(),
            bytes,
            at,
            values: at + table_at as Address,
            index: if index > 0 { at + index_at as Address } else { 0 },
        }));
        Ok(Some(Held(self.held.sets.len() - 1)))
    }

    /// Gives the memory of all sets back; whether there was any.
    pub(super) fn release_sets(&mut self) -> Result<bool, CudaError> {
        if self.held.bytes() == 0 {
            return Ok(false);
        }
        self.device.synchronise()?;
        for set in self.held.sets.iter_mut().filter_map(Option::take) {
            self.device.release(set.at);
        }
        self.generation += 1;
        Ok(true)
    }

    /// From the next run on the input is made of rows of the set; nothing changes if the program takes no such input.
    pub(super) fn feed_rows(&mut self, p: &mut Program, input: &str, from: Held) -> Result<(), ExecError> {
        let Some(set) = self.held.get(from) else { return Ok(()) };
        let fits = |i: &&mut Input| {
            *i.name == *input
                && i.ty.dtype == set.dtype
                && i.ty.shape.split_first().is_some_and(|(_, row)| *row == set.shape[..])
        };
        if let Some(i) = p.inputs.iter_mut().find(fits) {
            i.fed = Some(Fed { from, rows: 0 });
            self.arrange(p)?;
        }
        Ok(())
    }

    /// Sends inputs whole again whose sets are gone.
    pub(super) fn settle_inputs(&mut self, p: &mut Program) -> Result<(), ExecError> {
        let mut changed = false;
        for i in &mut p.inputs {
            if i.fed.is_some() && !self.held.feeds(i) {
                i.fed = None;
                changed = true;
            }
        }
        if changed { self.arrange(p) } else { Ok(()) }
    }

    /// Places a program's inputs anew.
    fn arrange(&mut self, p: &mut Program) -> Result<(), ExecError> {
        let (sent, bytes) = super::program::arrange(&mut p.inputs);
        p.sent = sent;
        p.layout = Layout::new(bytes, p.plan.arena, p.module.workspace);
        self.grow(p.layout.bytes)?;
        p.generation = u64::MAX;
        Ok(())
    }
}
