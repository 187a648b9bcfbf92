//! Minibatches as a pure function of their number.

use super::dataset::Dataset;
use super::random::{Draw, permutation};
use crate::graph::host::HostTensor;
use crate::graph::philox::stream_key;
use std::sync::{Arc, Mutex, PoisonError};

/// One line `draw a, b ~ S.x, S.y`.
#[derive(Debug)]
pub struct Loader {
    data: Arc<Dataset>,
    fields: Vec<usize>,
    batch: usize,
    key: [u32; 2],
    /// The order of the epoch that was used last: a cache, which no result depends on.
    order: Mutex<Option<(u64, Arc<Vec<u32>>)>>,
}

impl Loader {
    /// Minibatches of `batch` rows of these fields, shuffled by `stream` under the seed's key.
    ///
    /// # Panics
    /// If a set with an end has fewer rows than `batch`, which the compiler refuses before.
    pub fn new(data: Arc<Dataset>, fields: Vec<usize>, batch: usize, key: [u32; 2], stream: u64) -> Self {
        assert!(batch > 0 && data.len().is_none_or(|n| n >= batch), "a minibatch is larger than the set");
        Self { data, fields, batch, key: stream_key(key, stream), order: Mutex::new(None) }
    }

    /// The set.
    pub fn data(&self) -> &Arc<Dataset> {
        &self.data
    }

    /// Minibatches in an epoch (the incomplete one is dropped); `None`: endless.
    pub fn batches(&self) -> Option<u64> {
        self.data.len().map(|n| (n / self.batch) as u64)
    }

    /// Source rows of minibatch `k`; for an endless set the numbers of the samples.
    pub fn rows(&self, k: u64) -> Vec<u32> {
        let Some(per) = self.batches() else { return (0..self.batch as u32).collect() };
        let order = self.order_of(k / per);
        let start = (k % per) as usize * self.batch;
        order[start..start + self.batch].to_vec()
    }

    fn order_of(&self, epoch: u64) -> Arc<Vec<u32>> {
        let mut cache = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        match &*cache {
            Some((e, order)) if *e == epoch => order.clone(),
            _ => {
                let order = Arc::new(permutation(self.data.len().unwrap_or(0), self.key, epoch));
                *cache = Some((epoch, order.clone()));
                order
            }
        }
    }

    /// Minibatch `k`: one tensor a field, `[batch, …]`. Depends on nothing but the set, the key, the stream and `k`.
    pub fn batch(&self, k: u64) -> Vec<HostTensor> {
        let rows = self.rows(k);
        self.fields.iter().map(|&f| self.data.gather(f, &rows, self.draws(k))).collect()
    }

    fn draws(&self, k: u64) -> impl Fn(u32, u32) -> Draw {
        let key = self.key;
        move |place: u32, _row: u32| Draw { key, batch: k, sample: place }
    }

    /// Index of the set's field that is the line's field `i`.
    pub fn field(&self, i: usize) -> usize {
        self.fields[i]
    }

    /// Minibatch `k` of the line's field `i`, `[batch, …]`: one of [`Loader::batch`].
    pub fn one(&self, i: usize, k: u64) -> HostTensor {
        self.data.gather(self.fields[i], &self.rows(k), self.draws(k))
    }

    /// The same as `u32[batch]` numbers of rows of [`Dataset::held`], of which a device makes it.
    pub fn picks(&self, i: usize, k: u64) -> HostTensor {
        HostTensor::u32([self.batch], self.data.picks(self.fields[i], &self.rows(k), self.draws(k)))
    }
}
