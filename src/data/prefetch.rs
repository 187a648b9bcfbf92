//! A thread that prepares minibatches ahead of their use.

use super::loader::Loader;
use crate::graph::host::HostTensor;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use thiserror::Error;

/// Why no minibatch came.
#[derive(Debug, Error)]
pub enum PrefetchError {
    /// Nothing was requested.
    #[error("no minibatch was requested")]
    NothingRequested,
    /// The thread ended early.
    #[error("the thread that reads data has stopped; this is a bug in ganc")]
    Stopped,
    /// The thread could not be started.
    #[error("cannot start the thread that reads data: {0}")]
    Start(#[from] std::io::Error),
}

/// Minibatches that one step needs: loader and number of each.
pub type Request = Vec<(usize, u64)>;
/// The minibatches of a request, in its order; each has one tensor a field.
pub type Prepared = Vec<Vec<HostTensor>>;

/// Prepares requested minibatches in order, at most `depth` steps ahead.
#[derive(Debug)]
pub struct Prefetch {
    requests: Option<Sender<Request>>,
    ready: Option<Receiver<Prepared>>,
    thread: Option<JoinHandle<()>>,
    open: usize,
}

impl Prefetch {
    /// Starts the thread.
    pub fn new(loaders: Vec<Arc<Loader>>, depth: usize) -> Result<Self, PrefetchError> {
        let (requests, wanted): (Sender<Request>, Receiver<Request>) = channel();
        let (done, ready): (SyncSender<Prepared>, Receiver<Prepared>) = sync_channel(depth.max(1));
        let thread = std::thread::Builder::new().name("ganc-data".to_owned()).spawn(move || {
            while let Ok(request) = wanted.recv() {
                let prepared = request.iter().map(|&(l, k)| loaders[l].batch(k)).collect();
                if done.send(prepared).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { requests: Some(requests), ready: Some(ready), thread: Some(thread), open: 0 })
    }

    /// Asks for minibatches; does not wait.
    pub fn request(&mut self, request: Request) {
        self.open += 1;
        if let Some(r) = &self.requests {
            // A stopped thread is reported by `take`.
            let _ = r.send(request);
        }
    }

    /// Requests whose minibatches were not taken yet.
    pub fn outstanding(&self) -> usize {
        self.open
    }

    /// Minibatches of the oldest open request; waits for them.
    pub fn take(&mut self) -> Result<Prepared, PrefetchError> {
        if self.open == 0 {
            return Err(PrefetchError::NothingRequested);
        }
        self.open -= 1;
        self.ready.as_ref().and_then(|r| r.recv().ok()).ok_or(PrefetchError::Stopped)
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        // Both channels are closed first, so that the thread cannot wait on either.
        self.requests = None;
        self.ready = None;
        if let Some(t) = self.thread.take() {
            let _ = t.join();
        }
    }
}
