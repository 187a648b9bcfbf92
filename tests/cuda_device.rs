//! A device of thin air for the CUDA runtime: memory with checked addresses, queues that run as late as they may.
//!
//! Its programs are not text but clusters: a kernel computes what its cluster writes from what its cluster reads, by
//! the oracle's definitions, from the bytes at the addresses that it is given. So a wrong address, element type, order,
//! copy or missing wait shows as a wrong number, without hardware and without CUDA. The kernels that make minibatches of
//! rows in device memory are written anew here.

use ganc::codegen::cuda::contract::tuning::Tuning;
use ganc::codegen::cuda::{Arch, Arg, Launch, Module, generate_tuned};
use ganc::exec::cuda::CudaError;
use ganc::exec::cuda::device::{About, Address, Captured, Device, Event, Extents, Kernel, Param, Pinned, Queue};
use ganc::fuse::{Cluster, base};
use ganc::graph::eval::{Tensor, apply};
use ganc::graph::{DType, Graph, NodeId};
use ganc::plan::Plan;
use half::{bf16, f16};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::ptr::NonNull;
use std::rc::Rc;

thread_local! {
    /// Programs that were lowered: a text is a number of this list.
    static LOWERED: RefCell<Vec<(Graph, Vec<Cluster>)>> = const { RefCell::new(vec![]) };
}

/// The program of kernels that make batches of held rows.
const HELD: usize = usize::MAX;

/// Bytes of scratch that the programs pretend to need.
const SCRATCH: usize = 1000;

/// A module of one launch a cluster: what it reads, what it writes, a place in scratch, and its number. Clusters of odd
/// number have a second launch, which checks that the first has left its number in scratch.
pub fn lower(graph: &Graph, plan: &Plan, arch: Arch, tuning: &Tuning) -> Module {
    let clusters = &plan.clusters.clusters;
    let text = LOWERED.with_borrow_mut(|l| {
        l.push((graph.clone(), clusters.clone()));
        (l.len() - 1).to_string()
    });
    let products = generate_tuned(graph, plan, arch, tuning).products;
    let mut launches = vec![];
    for (i, c) in clusters.iter().enumerate() {
        let mut args: Vec<Arg> = c.reads.iter().chain(&c.writes).map(|n| Arg::Node(*n)).collect();
        let scratch = Arg::Scratch(plan.arena + 8 * (i % 100));
        args.extend([scratch, Arg::U32(i as u32)]);
        let launch = |kernel: String, args| Launch {
            kernel,
            cluster: i,
            grid: [1 + i as u32, 1, 1],
            block: [32, 1, 1],
            shared: 16 * i as u32,
            args,
            stages: 1,
        };
        launches.push(launch(format!("cluster{i}"), args));
        if i % 2 == 1 {
            launches.push(launch("check".into(), vec![scratch, Arg::U32(i as u32)]));
        }
    }
    Module { text, launches, workspace: plan.arena + SCRATCH, products }
}

#[derive(Clone, Debug)]
enum Task {
    Launch(usize, Vec<Param>, Extents),
    Copy { from: Address, to: Address, bytes: usize },
    Upload { from: usize, bytes: usize, to: Address },
    Download { from: Address, bytes: usize, to: usize },
    Record(usize, u64),
    Follow(usize, u64),
}

#[derive(Default)]
struct State {
    next: Address,
    blocks: BTreeMap<Address, Vec<u8>>,
    /// Most bytes of all blocks at once.
    most: u64,
    pinned: BTreeMap<usize, usize>,
    /// Program and kernel name of each loaded kernel.
    kernels: Vec<(usize, String)>,
    queues: [VecDeque<Task>; 2],
    /// How often each event was recorded, and how many of these are past.
    events: Vec<(u64, u64)>,
    capture: Option<Vec<Task>>,
    captured: Vec<Option<Vec<Task>>>,
    random: u32,
    /// Launches until one fails.
    fuse: Option<usize>,
    log: Vec<&'static str>,
    /// Bytes of each upload.
    sent: Vec<usize>,
}

/// See the module documentation. Clones are the same device.
#[derive(Clone)]
pub struct Fake {
    state: Rc<RefCell<State>>,
    about: About,
}

fn index(queue: Queue) -> usize {
    match queue {
        Queue::Work => 0,
        Queue::Upload => 1,
    }
}

impl Fake {
    /// A device with this much memory.
    pub fn new(memory: u64) -> Self {
        let about = About { name: "NVIDIA Fake".into(), arch: Arch::Sm90a, target: "sm_90a".into(), memory };
        let state = State { next: 0x7f00_0000_0000, random: 1, ..State::default() };
        Self { state: Rc::new(RefCell::new(state)), about }
    }

    /// Lets the launch after this many fail, and all that follow.
    pub fn fail_after(&self, launches: usize) {
        self.state.borrow_mut().fuse = Some(launches);
    }

    /// How often a call was made.
    pub fn count(&self, call: &str) -> usize {
        self.state.borrow().log.iter().filter(|c| **c == call).count()
    }

    /// Bytes of device memory that are taken.
    pub fn taken(&self) -> u64 {
        self.state.borrow().blocks.values().map(|b| b.len() as u64).sum()
    }

    /// Bytes of each upload so far.
    pub fn sent(&self) -> Vec<usize> {
        self.state.borrow().sent.clone()
    }

    /// Blocks of pinned memory.
    pub fn pinned(&self) -> usize {
        self.state.borrow().pinned.len()
    }
}

impl State {
    /// The bytes at an address, all within one block.
    fn at(&mut self, address: Address, bytes: usize) -> &mut [u8] {
        let (start, block) = self.blocks.range_mut(..=address).next_back().expect("no block at the address");
        let from = (address - start) as usize;
        assert!(from + bytes <= block.len(), "{bytes} bytes at {from} of a block of {}", block.len());
        &mut block[from..from + bytes]
    }

    fn tensor(&mut self, ty: &ganc::graph::Type, address: Address) -> Tensor {
        assert!(address.is_multiple_of(ty.dtype.bytes() as u64), "{ty} at {address:#x}");
        let bytes = self.at(address, ty.bytes());
        let word = |c: &[u8]| u32::from_le_bytes(c.try_into().unwrap());
        let pair = |c: &[u8]| u16::from_le_bytes(c.try_into().unwrap());
        let data: Vec<f64> = match ty.dtype {
            DType::F32 => bytes.chunks_exact(4).map(|c| f32::from_bits(word(c)).into()).collect(),
            DType::U32 => bytes.chunks_exact(4).map(|c| word(c).into()).collect(),
            DType::F16 => bytes.chunks_exact(2).map(|c| f16::from_bits(pair(c)).into()).collect(),
            DType::Bf16 => bytes.chunks_exact(2).map(|c| bf16::from_bits(pair(c)).into()).collect(),
            DType::Bool => bytes.iter().map(|&b| f64::from(b)).collect(),
        };
        Tensor::new(ty.clone(), data)
    }

    fn put(&mut self, t: &Tensor, address: Address) {
        let bytes: Vec<u8> = match t.ty.dtype {
            DType::F32 => t.data.iter().flat_map(|v| (*v as f32).to_le_bytes()).collect(),
            DType::U32 => t.data.iter().flat_map(|v| (*v as u32).to_le_bytes()).collect(),
            DType::F16 => t.data.iter().flat_map(|v| f16::from_f64(*v).to_le_bytes()).collect(),
            DType::Bf16 => t.data.iter().flat_map(|v| bf16::from_f64(*v).to_le_bytes()).collect(),
            DType::Bool => t.data.iter().map(|v| u8::from(*v != 0.0)).collect(),
        };
        self.at(address, bytes.len()).copy_from_slice(&bytes);
    }

    /// A kernel that makes a batch of held rows, from the words that it is given.
    fn held(&mut self, name: &str, params: &[Param], extents: Extents) {
        let (mut at, mut numbers) = (vec![], vec![]);
        for p in params {
            match p {
                Param::Address(a) => at.push(*a),
                Param::U32(n) => numbers.push(*n as usize),
            }
        }
        let bytes = name == "ganc_held_bytes";
        assert_eq!((at.len(), extents.block), (if bytes { 5 } else { 4 }, [256, 1, 1]), "{name}");
        let [index, rows, batch] = at[at.len() - 3..] else { panic!("{params:?}") };
        let (planes, part, line, samples) = match (name, &numbers[..]) {
            ("ganc_held_numbers", &[samples]) => {
                assert_eq!(extents.grid, [samples.div_ceil(256) as u32, 1, 1]);
                (1, 1, 1, samples)
            }
            (_, &[planes, part, line]) => {
                assert_eq!(extents.grid[1] as usize, part.div_ceil(2048));
                (planes, part, line, extents.grid[0] as usize / planes)
            }
            other => panic!("{other:?}"),
        };
        let word = |s: &mut Self, at: Address| u32::from_le_bytes(s.at(at, 4).try_into().unwrap());
        for sample in 0..samples {
            let row = word(self, rows + 4 * sample as Address);
            for plane in 0..planes {
                let number = (row & 0x7fff_ffff) as usize * planes + plane;
                let stored = if index == 0 { number } else { word(self, index + 4 * number as Address) as usize };
                for e in 0..part {
                    let turned = e / line * line + (line - 1 - e % line);
                    let from = stored * part + if row >> 31 == 1 { turned } else { e };
                    let v = if bytes {
                        let b = self.at(at[0] + from as Address, 1)[0];
                        word(self, at[1] + 4 * Address::from(b))
                    } else {
                        word(self, at[0] + 4 * from as Address)
                    };
                    let to = batch + 4 * ((sample * planes + plane) * part + e) as Address;
                    self.at(to, 4).copy_from_slice(&v.to_le_bytes());
                }
            }
        }
    }

    fn kernel(&mut self, kernel: usize, params: &[Param], extents: Extents) {
        let (program, name) = self.kernels[kernel].clone();
        if program == HELD {
            return self.held(&name, params, extents);
        }
        let [.., Param::Address(scratch), Param::U32(number)] = params else { panic!("{params:?}") };
        if name == "check" {
            let found = self.at(*scratch, 4).to_vec();
            assert_eq!(found, number.to_le_bytes(), "scratch of cluster {number}");
            return;
        }
        let i: usize = name.strip_prefix("cluster").unwrap().parse().unwrap();
        assert_eq!(*number as usize, i, "a launch has another's arguments");
        self.at(*scratch, 4).copy_from_slice(&number.to_le_bytes());
        let (graph, c) = LOWERED.with_borrow(|l| (l[program].0.clone(), l[program].1[i].clone()));
        assert_eq!(params.len(), c.reads.len() + c.writes.len() + 2);
        let address = |p: &Param| match p {
            Param::Address(a) => *a,
            Param::U32(_) => panic!("a number where an address belongs"),
        };
        let mut known: BTreeMap<NodeId, Tensor> = BTreeMap::new();
        for (n, p) in c.reads.iter().zip(params) {
            let t = self.tensor(graph.ty(*n), address(p));
            known.insert(*n, t);
        }
        for n in &c.writes {
            value(&graph, &c, *n, &mut known);
        }
        for (n, p) in c.writes.iter().zip(&params[c.reads.len()..]) {
            self.put(&known[n].clone(), address(p));
        }
    }

    fn run(&mut self, task: Task) {
        match task {
            Task::Launch(kernel, params, extents) => self.kernel(kernel, &params, extents),
            Task::Copy { from, to, bytes } => {
                let moved = self.at(from, bytes).to_vec();
                self.at(to, bytes).copy_from_slice(&moved);
            }
            Task::Upload { from, bytes, to } => {
                // SAFETY: pinned blocks are leaked boxes; `unpin` has checked that no task names a freed one.
                let moved = unsafe { std::slice::from_raw_parts(from as *const u8, bytes) }.to_vec();
                self.at(to, bytes).copy_from_slice(&moved);
            }
            Task::Download { from, bytes, to } => {
                let moved = self.at(from, bytes).to_vec();
                // SAFETY: likewise.
                unsafe { std::slice::from_raw_parts_mut(to as *mut u8, bytes) }.copy_from_slice(&moved);
            }
            Task::Record(event, n) => self.events[event].1 = self.events[event].1.max(n),
            Task::Follow(..) => {}
        }
    }

    /// One task of a queue that may run, chosen by chance; false if nothing can run.
    fn step(&mut self) -> bool {
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let first = (self.random >> 16) as usize % 2;
        for q in [first, 1 - first] {
            let may = match self.queues[q].front() {
                None => false,
                Some(Task::Follow(event, n)) => self.events[*event].1 >= *n,
                Some(_) => true,
            };
            if may {
                let task = self.queues[q].pop_front().expect("a task");
                self.run(task);
                return true;
            }
        }
        false
    }

    fn drain(&mut self, until: impl Fn(&Self) -> bool) {
        while !until(self) {
            assert!(self.step(), "the queues wait for each other");
        }
    }

    fn give(&mut self, queue: Queue, task: Task) {
        match (&mut self.capture, queue) {
            (Some(noted), Queue::Work) => {
                assert!(matches!(task, Task::Launch(..) | Task::Copy { .. }), "{task:?} within a capture");
                noted.push(task);
            }
            (_, queue) => self.queues[index(queue)].push_back(task),
        }
    }

    fn idle(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty)
    }
}

/// A node's value within a cluster.
fn value(g: &Graph, c: &Cluster, n: NodeId, known: &mut BTreeMap<NodeId, Tensor>) -> Tensor {
    if let Some(t) = known.get(&n) {
        return t.clone();
    }
    let stored = base(g, n);
    let found = match known.get(&stored).filter(|_| c.reads.contains(&stored)) {
        // The same elements under another shape.
        Some(t) => Tensor { ty: g.ty(n).clone(), data: t.data.clone() },
        None => {
            let args: Vec<Tensor> = g.node(n).args.iter().map(|a| value(g, c, *a, known)).collect();
            apply(g.node(n), &args)
        }
    };
    known.insert(n, found.clone());
    found
}

impl Device for Fake {
    fn about(&self) -> &About {
        &self.about
    }

    fn free_bytes(&self) -> Result<u64, CudaError> {
        Ok(self.about.memory - self.taken())
    }

    fn most_bytes(&self) -> u64 {
        self.state.borrow().most
    }

    fn alloc(&self, bytes: usize) -> Result<Address, CudaError> {
        assert!(bytes > 0, "the driver gives no empty blocks");
        assert!(self.taken() + bytes as u64 <= self.about.memory, "more is taken than was planned");
        let mut s = self.state.borrow_mut();
        let at = s.next;
        // A gap after each block, so that a step too far is no other block.
        s.next += (bytes as u64).next_multiple_of(256) + 4096;
        s.blocks.insert(at, vec![0xff; bytes]);
        drop(s);
        let taken = self.taken();
        let mut s = self.state.borrow_mut();
        s.most = s.most.max(taken);
        Ok(at)
    }

    fn release(&self, at: Address) {
        let mut s = self.state.borrow_mut();
        assert!(s.idle(), "memory is freed while work is under way");
        assert!(s.blocks.remove(&at).is_some(), "freed twice");
    }

    fn pin(&self, bytes: usize) -> Result<Pinned, CudaError> {
        let block: &'static mut [u8] = Box::leak(vec![0xee; bytes].into_boxed_slice());
        let start = NonNull::from(&mut block[0]);
        self.state.borrow_mut().pinned.insert(start.as_ptr() as usize, bytes);
        // SAFETY: leaked, and given to nobody else.
        Ok(unsafe { Pinned::new(start, bytes) })
    }

    fn unpin(&self, memory: Pinned) {
        let mut s = self.state.borrow_mut();
        let start = memory.as_ptr() as usize;
        let bytes = s.pinned.remove(&start).expect("pinned memory");
        let used = s.queues.iter().flatten().any(|t| match t {
            Task::Upload { from, .. } => *from == start,
            Task::Download { to, .. } => (start..start + bytes).contains(to),
            _ => false,
        });
        assert!(!used, "pinned memory is freed before its transfer");
    }

    fn load(&self, text: &str, kernels: &[(String, u32)]) -> Result<Vec<Kernel>, CudaError> {
        let mut s = self.state.borrow_mut();
        s.log.push("load");
        let program = if text.contains("ganc_held_bytes") { HELD } else { text.parse().expect("a number") };
        let mut loaded = vec![];
        for (name, shared) in kernels {
            if let Some(i) = name.strip_prefix("cluster") {
                assert_eq!(*shared, 16 * i.parse::<u32>().unwrap(), "shared memory of {name}");
            }
            s.kernels.push((program, name.clone()));
            loaded.push(Kernel(s.kernels.len() - 1));
        }
        Ok(loaded)
    }

    fn launch(&self, kernel: Kernel, extents: Extents, params: &[Param], _: bool) -> Result<(), CudaError> {
        let mut s = self.state.borrow_mut();
        s.log.push("launch");
        if s.fuse == Some(0) {
            let what = "an illegal memory access was encountered (CUDA_ERROR_ILLEGAL_ADDRESS)".into();
            return Err(CudaError::Call { device: self.about.name.clone(), call: "cuLaunchKernel", what });
        }
        s.fuse = s.fuse.map(|n| n - 1);
        assert!(s.kernels[kernel.0].0 == HELD || extents.block == [32, 1, 1]);
        s.give(Queue::Work, Task::Launch(kernel.0, params.to_vec(), extents));
        Ok(())
    }

    fn copy(&self, from: Address, to: Address, bytes: usize) -> Result<(), CudaError> {
        self.state.borrow_mut().give(Queue::Work, Task::Copy { from, to, bytes });
        Ok(())
    }

    fn upload(&self, queue: Queue, from: &Pinned, bytes: usize, to: Address) -> Result<(), CudaError> {
        assert!(bytes <= from.len());
        let mut s = self.state.borrow_mut();
        s.log.push(if queue == Queue::Upload { "upload ahead" } else { "upload" });
        s.sent.push(bytes);
        s.give(queue, Task::Upload { from: from.as_ptr() as usize, bytes, to });
        Ok(())
    }

    fn download(&self, from: Address, bytes: usize, to: &Pinned, at: usize) -> Result<(), CudaError> {
        assert!(at + bytes <= to.len());
        let to = to.as_ptr() as usize + at;
        self.state.borrow_mut().give(Queue::Work, Task::Download { from, bytes, to });
        Ok(())
    }

    fn write(&self, to: Address, bytes: &[u8]) -> Result<(), CudaError> {
        let mut s = self.state.borrow_mut();
        s.drain(|s| s.queues[0].is_empty());
        s.at(to, bytes.len()).copy_from_slice(bytes);
        Ok(())
    }

    fn read(&self, from: Address, bytes: &mut [u8]) -> Result<(), CudaError> {
        let mut s = self.state.borrow_mut();
        s.drain(|s| s.queues[0].is_empty());
        let n = bytes.len();
        bytes.copy_from_slice(s.at(from, n));
        Ok(())
    }

    fn event(&self) -> Result<Event, CudaError> {
        let mut s = self.state.borrow_mut();
        s.events.push((0, 0));
        Ok(Event(s.events.len() - 1))
    }

    fn record(&self, event: Event, queue: Queue) -> Result<(), CudaError> {
        let mut s = self.state.borrow_mut();
        s.events[event.0].0 += 1;
        let n = s.events[event.0].0;
        s.give(queue, Task::Record(event.0, n));
        Ok(())
    }

    fn follow(&self, queue: Queue, event: Event) -> Result<(), CudaError> {
        let mut s = self.state.borrow_mut();
        let n = s.events[event.0].0;
        s.give(queue, Task::Follow(event.0, n));
        Ok(())
    }

    fn wait(&self, event: Event) -> Result<(), CudaError> {
        let mut s = self.state.borrow_mut();
        let n = s.events[event.0].0;
        s.drain(|s| s.events[event.0].1 >= n);
        Ok(())
    }

    fn elapsed(&self, from: Event, to: Event) -> Result<f64, CudaError> {
        Ok((to.0 - from.0) as f64)
    }

    fn begin_capture(&self) -> Result<(), CudaError> {
        let mut s = self.state.borrow_mut();
        assert!(s.capture.is_none());
        s.log.push("capture");
        s.capture = Some(vec![]);
        Ok(())
    }

    fn end_capture(&self) -> Result<Captured, CudaError> {
        let mut s = self.state.borrow_mut();
        let noted = s.capture.take();
        s.captured.push(noted);
        Ok(Captured(s.captured.len() - 1))
    }

    fn replay(&self, captured: Captured) -> Result<(), CudaError> {
        let mut s = self.state.borrow_mut();
        s.log.push("replay");
        let tasks = s.captured[captured.0].clone().expect("not discarded");
        s.queues[0].extend(tasks);
        Ok(())
    }

    fn discard(&self, captured: Captured) {
        let mut s = self.state.borrow_mut();
        assert!(s.idle());
        assert!(s.captured[captured.0].take().is_some(), "discarded twice");
    }

    fn synchronise(&self) -> Result<(), CudaError> {
        self.state.borrow_mut().drain(State::idle);
        Ok(())
    }
}
