//! A persistent thread pool for short parallel loops.
//!
//! A job is a number of tasks; threads claim tasks one by one, and the caller takes part. Which thread runs a task
//! never changes what the task computes, so a result depends on how the work was cut (by shape), not on the threads.
//!
//! One atomic word holds the job's number, its task count and the next task. A claim is one `fetch_add` on it, and
//! the value it returns says all there is to know, so that a thread that comes late cannot mistake one job for
//! another.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A task body: `(task, thread)`.
type Body<'a> = dyn Fn(usize, usize) + Sync + 'a;

const INDEX_BITS: u32 = 20;
const MASK: u64 = (1 << INDEX_BITS) - 1;
/// Room is left above for one failed claim by each thread.
const MAX_TASKS: usize = (1 << INDEX_BITS) - 4096;
/// Polls before a thread goes to sleep: some tens of microseconds.
const SPINS: usize = 1500;

struct Shared {
    /// job number (24 bits), task count (20 bits), next task (20 bits)
    state: AtomicU64,
    /// Finished tasks of the current job.
    done: AtomicUsize,
    /// The current job's body; read only by the holder of a valid claim, whose job cannot end before it does.
    body: UnsafeCell<Option<*const Body<'static>>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    sleeping: AtomicUsize,
    gate: Mutex<()>,
    wake: Condvar,
    stop: AtomicBool,
}

// SAFETY: `body` is written only by the holder of `Pool::busy` while no claim is outstanding, and read only under a
// valid claim, which was published by a release store to `state` after the write. The body itself is `Sync`.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer is never used outside a running job.
unsafe impl Send for Shared {}

fn open(state: u64) -> bool {
    (state & MASK) < ((state >> INDEX_BITS) & MASK)
}

impl Shared {
    /// Claims and runs tasks until none is left.
    fn work(&self, thread: usize) {
        while open(self.state.load(Ordering::Acquire)) {
            let claim = self.state.fetch_add(1, Ordering::AcqRel);
            if !open(claim) {
                return;
            }
            // SAFETY: the claim is valid, so its job is still running and `body` holds it.
            let body = unsafe { (*self.body.get()).map(|b| &*b) };
            if let Some(body) = body {
                let result = catch_unwind(AssertUnwindSafe(|| body((claim & MASK) as usize, thread)));
                if let Err(payload) = result {
                    let mut slot = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
                    slot.get_or_insert(payload);
                }
            }
            self.done.fetch_add(1, Ordering::Release);
        }
    }

    fn worker(&self, thread: usize) {
        let mut idle = 0;
        while !self.stop.load(Ordering::Relaxed) {
            if open(self.state.load(Ordering::Acquire)) {
                self.work(thread);
                idle = 0;
            } else if idle < SPINS {
                idle += 1;
                std::hint::spin_loop();
            } else {
                self.sleep();
                idle = 0;
            }
        }
    }

    fn sleep(&self) {
        let mut guard = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleeping.fetch_add(1, Ordering::SeqCst);
        while !open(self.state.load(Ordering::SeqCst)) && !self.stop.load(Ordering::SeqCst) {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleeping.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Threads that run the tasks of one job at a time.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held while a job runs.
    busy: Mutex<()>,
}

impl Pool {
    /// A pool of `threads` threads, of which the caller of [`Pool::run`] is one. Threads that cannot be started are
    /// done without.
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            done: AtomicUsize::new(0),
            body: UnsafeCell::new(None),
            panic: Mutex::new(None),
            sleeping: AtomicUsize::new(0),
            gate: Mutex::new(()),
            wake: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let workers = (1..threads.clamp(1, 1024))
            .map_while(|thread| {
                let shared = shared.clone();
                let name = format!("ganc-{thread}");
                std::thread::Builder::new().name(name).spawn(move || shared.worker(thread)).ok()
            })
            .collect();
        Pool { shared, workers, busy: Mutex::new(()) }
    }

    /// Number of threads, the caller included; thread numbers are below it.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `body(task)` for each task below `tasks` and returns when all are done.
    ///
    /// # Panics
    /// If a task panics, with its payload, after the other tasks have run.
    pub fn run(&self, tasks: usize, body: &(dyn Fn(usize) + Sync)) {
        self.run_on(tasks, &|task, _| body(task));
    }

    /// As [`Pool::run`], with `body(task, thread)`: no two tasks run at once on one thread, so that `thread` (below
    /// [`Pool::threads`]) may choose a part of a scratch buffer.
    ///
    /// A call from inside a task, or while another thread's job runs, runs its tasks here, on thread 0.
    pub fn run_on(&self, tasks: usize, body: &Body) {
        let guard = if tasks > 1 && !self.workers.is_empty() { self.busy.try_lock().ok() } else { None };
        if guard.is_none() {
            (0..tasks).for_each(|task| body(task, 0));
            return;
        }
        let mut first = 0;
        while first < tasks {
            let count = (tasks - first).min(MAX_TASKS);
            self.job(count, &|task, thread| body(first + task, thread));
            first += count;
        }
        drop(guard);
        let payload = self.shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(payload) = payload {
            resume_unwind(payload);
        }
    }

    /// One job; `busy` is held.
    fn job(&self, tasks: usize, body: &Body) {
        let s = &*self.shared;
        // SAFETY: `busy` is held and the last job has ended, so nobody reads `body`. The lifetime is erased, but
        // this function does not return before every claim of the job is done.
        unsafe { *s.body.get() = Some(std::mem::transmute::<*const Body<'_>, *const Body<'static>>(body)) };
        s.done.store(0, Ordering::Relaxed);
        let number = (s.state.load(Ordering::Relaxed) >> (2 * INDEX_BITS)).wrapping_add(1);
        s.state.store(number << (2 * INDEX_BITS) | (tasks as u64) << INDEX_BITS, Ordering::SeqCst);
        if s.sleeping.load(Ordering::SeqCst) > 0 {
            drop(s.gate.lock().unwrap_or_else(PoisonError::into_inner));
            s.wake.notify_all();
        }
        s.work(0);
        let mut spins = 0;
        while s.done.load(Ordering::Acquire) < tasks {
            spins += 1;
            if spins < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        {
            let _guard = self.shared.gate.lock().unwrap_or_else(PoisonError::into_inner);
            self.shared.stop.store(true, Ordering::SeqCst);
        }
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        for threads in [1, 2, 5] {
            let pool = Pool::new(threads);
            for tasks in [0, 1, 2, 3, 17, 1000] {
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                for _ in 0..20 {
                    pool.run_on(tasks, &|t, thread| {
                        assert!(thread < pool.threads());
                        counts[t].fetch_add(1, Ordering::Relaxed);
                    });
                }
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 20));
            }
        }
    }

    #[test]
    fn a_panic_comes_out_and_the_pool_lives_on() {
        let pool = Pool::new(3);
        for _ in 0..10 {
            let ran = AtomicUsize::new(0);
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.run(50, &|t| {
                    ran.fetch_add(1, Ordering::Relaxed);
                    assert!(t != 7, "seven");
                });
            }));
            assert!(result.is_err());
            assert_eq!(ran.load(Ordering::Relaxed), 50);
        }
        let sum = AtomicUsize::new(0);
        pool.run(100, &|t| {
            sum.fetch_add(t, Ordering::Relaxed);
        });
        assert_eq!(sum.load(Ordering::Relaxed), 4950);
    }

    #[test]
    fn nested_jobs_run_where_they_are() {
        let pool = Pool::new(3);
        let sum = AtomicUsize::new(0);
        pool.run(4, &|_| {
            pool.run(5, &|t| {
                sum.fetch_add(t, Ordering::Relaxed);
            });
        });
        assert_eq!(sum.load(Ordering::Relaxed), 40);
    }

    #[test]
    fn sleepers_wake() {
        let pool = Pool::new(2);
        for _ in 0..5 {
            std::thread::sleep(std::time::Duration::from_millis(5));
            let sum = AtomicUsize::new(0);
            pool.run(8, &|t| {
                sum.fetch_add(t, Ordering::Relaxed);
            });
            assert_eq!(sum.load(Ordering::Relaxed), 28);
        }
    }
}
