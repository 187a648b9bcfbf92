//! A device by its driver. Each call is checked; an error of the driver keeps its name.

use super::cache::Cache;
use super::chunks;
use super::device::{About, Address, Captured, Device, Event, Extents, Kernel, Param, Pinned, Queue};
use super::error::CudaError;
use super::nvrtc::Nvrtc;
use super::probe::words;
use crate::codegen::cuda::Arch;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::raw::c_void;
use std::ptr::NonNull;

/// Dynamic shared memory that a kernel may use without asking.
const FREE_SHARED: u32 = 48 << 10;

/// The first driver, as it numbers itself, that keeps programmatic dependencies of captured launches.
const CAPTURES_OVERLAP: i32 = 12030;

/// The driver's number; 0 if it has none.
fn driver() -> i32 {
    let mut version = 0;
    // SAFETY: the number outlives the call; the driver was loaded to find the device.
    let asked = unsafe { sys::cuDriverGetVersion(&mut version) };
    if asked == sys::CUresult::CUDA_SUCCESS { version } else { 0 }
}

/// Memory that was given.
#[derive(Default)]
struct Given {
    bytes: BTreeMap<Address, u64>,
    now: u64,
    most: u64,
}

/// An open device. Used by the thread that opened it, to which the driver's context belongs.
pub struct Gpu {
    about: About,
    compiler: Nvrtc,
    cache: Cache,
    device: sys::CUdevice,
    work: sys::CUstream,
    upload: sys::CUstream,
    kernels: RefCell<Vec<sys::CUfunction>>,
    events: RefCell<Vec<sys::CUevent>>,
    graphs: RefCell<Vec<sys::CUgraphExec>>,
    given: RefCell<Given>,
    /// Whether the driver and the device know programmatic dependent launch, in captures too.
    overlaps: bool,
    /// Whether the latest work of the queue of kernels is a kernel.
    after_kernel: Cell<bool>,
}

impl Gpu {
    /// Opens a device of the driver: its primary context becomes this thread's.
    pub(super) fn open(
        device: sys::CUdevice,
        about: About,
        compiler: Nvrtc,
        cache: Cache,
    ) -> Result<Self, CudaError> {
        let fail = |call| {
            let device = about.name.clone();
            move |e| CudaError::Call { device, call, what: words(e) }
        };
        // SAFETY: the driver gave the device; the context is released by `drop`.
        let streams = unsafe {
            let context = result::primary_ctx::retain(device).map_err(fail("cuDevicePrimaryCtxRetain"))?;
            result::ctx::set_current(context).map_err(fail("cuCtxSetCurrent"))?;
            let stream = || result::stream::create(result::stream::StreamKind::NonBlocking);
            stream().and_then(|work| Ok((work, stream()?))).map_err(fail("cuStreamCreate"))
        };
        let (work, upload) = streams.inspect_err(|_| {
            // SAFETY: retained above.
            let _ = unsafe { result::primary_ctx::release(device) };
        })?;
        let overlaps = about.arch != Arch::Sm80 && driver() >= CAPTURES_OVERLAP;
        Ok(Self {
            overlaps,
            after_kernel: Cell::new(false),
            about,
            compiler,
            cache,
            device,
            work,
            upload,
            kernels: RefCell::default(),
            events: RefCell::default(),
            graphs: RefCell::default(),
            given: RefCell::default(),
        })
    }

    fn stream(&self, queue: Queue) -> sys::CUstream {
        match queue {
            Queue::Work => self.work,
            Queue::Upload => self.upload,
        }
    }

    fn ok<T>(&self, call: &'static str, result: Result<T, DriverError>) -> Result<T, CudaError> {
        result.map_err(|e| CudaError::Call { device: self.about.name.clone(), call, what: words(e) })
    }

    fn event_of(&self, event: Event) -> sys::CUevent {
        self.events.borrow()[event.0]
    }
}

impl Device for Gpu {
    fn about(&self) -> &About {
        &self.about
    }

    fn free_bytes(&self) -> Result<u64, CudaError> {
        self.ok("cuMemGetInfo", result::mem_get_info()).map(|m| m.0 as u64)
    }

    fn most_bytes(&self) -> u64 {
        self.given.borrow().most
    }

    fn alloc(&self, bytes: usize) -> Result<Address, CudaError> {
        // SAFETY: the context is this thread's.
        let at = match unsafe { result::malloc_sync(bytes.max(1)) } {
            Err(e) if e.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => Err(CudaError::Memory {
                device: self.about.name.clone(),
                need: bytes as u64,
                free: self.free_bytes().unwrap_or(0),
                parts: "one block; another program may have taken what was free".into(),
            }),
            other => self.ok("cuMemAlloc", other),
        }?;
        let mut given = self.given.borrow_mut();
        given.bytes.insert(at, bytes as u64);
        given.now += bytes as u64;
        given.most = given.most.max(given.now);
        Ok(at)
    }

    fn release(&self, at: Address) {
        let mut given = self.given.borrow_mut();
        given.now -= given.bytes.remove(&at).unwrap_or(0);
        // SAFETY: `alloc` gave the address, and the caller waited for all that uses it. What cannot be freed is lost.
        let _ = unsafe { result::free_sync(at) };
    }

    fn pin(&self, bytes: usize) -> Result<Pinned, CudaError> {
        let bytes = bytes.max(1);
        // SAFETY: the context is this thread's.
        let start = self.ok("cuMemHostAlloc", unsafe { result::malloc_host(bytes, 0) })?;
        let start = NonNull::new(start.cast::<u8>()).ok_or_else(|| CudaError::Call {
            device: self.about.name.clone(),
            call: "cuMemHostAlloc",
            what: "no address".into(),
        })?;
        // SAFETY: the driver gave this many bytes; zeros make them initialised.
        Ok(unsafe {
            start.as_ptr().write_bytes(0, bytes);
            Pinned::new(start, bytes)
        })
    }

    fn unpin(&self, memory: Pinned) {
        // SAFETY: `pin` gave the memory, and the caller waited for its transfers.
        let _ = unsafe { result::free_host(memory.as_ptr().cast()) };
    }

    fn load(&self, text: &str, kernels: &[(String, u32)]) -> Result<Vec<Kernel>, CudaError> {
        let parts = chunks::cubins(text, &self.about.target, &self.compiler, &self.cache)?;
        let mut modules = BTreeMap::new();
        for (part, cubin) in &parts {
            // SAFETY: a cubin says itself how long it is; the driver copies it. The module stays loaded to the end.
            let module = unsafe { result::module::load_data(cubin.as_ptr().cast()) };
            let module = self.ok("cuModuleLoadData", module)?;
            modules.extend(part.kernels.iter().map(|k| (k.as_str(), module)));
        }
        let mut loaded = vec![];
        for (name, shared) in kernels {
            let module = *modules
                .get(name.as_str())
                .ok_or_else(|| CudaError::Compile(format!("the text has no kernel `{name}`")))?;
            let c = CString::new(name.as_str()).map_err(|e| CudaError::Compile(e.to_string()))?;
            // SAFETY: the module was loaded above.
            let f = self.ok("cuModuleGetFunction", unsafe { result::module::get_function(module, c) })?;
            if *shared > FREE_SHARED {
                use sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as MOST;
                // SAFETY: the function was found above.
                let set = unsafe { result::function::set_function_attribute(f, MOST, *shared as i32) };
                self.ok("cuFuncSetAttribute", set)?;
            }
            let mut all = self.kernels.borrow_mut();
            all.push(f);
            loaded.push(Kernel(all.len() - 1));
        }
        Ok(loaded)
    }

    fn launch(&self, kernel: Kernel, extents: Extents, params: &[Param], overlap: bool) -> Result<(), CudaError> {
        let f = self.kernels.borrow()[kernel.0];
        let mut pointers: Vec<*mut c_void> = params.iter().map(Param::pointer).collect();
        let ([gx, gy, gz], [bx, by, bz]) = (extents.grid, extents.block);
        // Only a kernel right behind a kernel may overlap it: copies, events and graphs are waited for in full.
        if self.after_kernel.replace(true) && overlap && self.overlaps {
            let mut allowed = sys::CUlaunchAttribute {
                id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
                pad: [0; 4],
                value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
            };
            let config = sys::CUlaunchConfig {
                gridDimX: gx,
                gridDimY: gy,
                gridDimZ: gz,
                blockDimX: bx,
                blockDimY: by,
                blockDimZ: bz,
                sharedMemBytes: extents.shared,
                hStream: self.work,
                attrs: &mut allowed,
                numAttrs: 1,
            };
            // SAFETY: as below; every kernel of a text waits for the one before it.
            let launched =
                unsafe { sys::cuLaunchKernelEx(&config, f, pointers.as_mut_ptr(), std::ptr::null_mut()).result() };
            return self.ok("cuLaunchKernelEx", launched);
        }
        // SAFETY: the parameters are those that the text's generator wrote the kernel for; the driver copies them
        // before the call returns.
        let launched = unsafe {
            result::launch_kernel(f, (gx, gy, gz), (bx, by, bz), extents.shared, self.work, &mut pointers)
        };
        self.ok("cuLaunchKernel", launched)
    }

    fn copy(&self, from: Address, to: Address, bytes: usize) -> Result<(), CudaError> {
        self.after_kernel.set(false);
        // SAFETY: both places are in memory that `alloc` gave.
        self.ok("cuMemcpyDtoDAsync", unsafe { result::memcpy_dtod_async(to, from, bytes, self.work) })
    }

    fn upload(&self, queue: Queue, from: &Pinned, bytes: usize, to: Address) -> Result<(), CudaError> {
        self.after_kernel.set(false);
        // SAFETY: pinned memory lives until `unpin`, before which the caller waits.
        let sent = unsafe {
            sys::cuMemcpyHtoDAsync_v2(to, from.as_ptr().cast(), bytes.min(from.len()), self.stream(queue))
        };
        self.ok("cuMemcpyHtoDAsync", sent.result())
    }

    fn download(&self, from: Address, bytes: usize, to: &Pinned, at: usize) -> Result<(), CudaError> {
        self.after_kernel.set(false);
        let bytes = bytes.min(to.len().saturating_sub(at));
        // SAFETY: within pinned memory, which lives until `unpin`, before which the caller waits.
        let sent = unsafe { sys::cuMemcpyDtoHAsync_v2(to.as_ptr().add(at).cast(), from, bytes, self.work) };
        self.ok("cuMemcpyDtoHAsync", sent.result())
    }

    fn write(&self, to: Address, bytes: &[u8]) -> Result<(), CudaError> {
        self.after_kernel.set(false);
        if bytes.is_empty() {
            return Ok(());
        }
        // SAFETY: the bytes live until the stream is done, which is waited for.
        let sent = unsafe { result::memcpy_htod_async(to, bytes, self.work) };
        // SAFETY: the stream lives as long as the device.
        let done = unsafe { result::stream::synchronize(self.work) };
        self.ok("cuMemcpyHtoDAsync", sent)?;
        self.ok("cuStreamSynchronize", done)
    }

    fn read(&self, from: Address, bytes: &mut [u8]) -> Result<(), CudaError> {
        self.after_kernel.set(false);
        if bytes.is_empty() {
            return Ok(());
        }
        // SAFETY: as in `write`.
        let sent = unsafe { result::memcpy_dtoh_async(bytes, from, self.work) };
        // SAFETY: the stream lives as long as the device.
        let done = unsafe { result::stream::synchronize(self.work) };
        self.ok("cuMemcpyDtoHAsync", sent)?;
        self.ok("cuStreamSynchronize", done)
    }

    fn event(&self) -> Result<Event, CudaError> {
        let flags = sys::CUevent_flags::CU_EVENT_DEFAULT;
        let event = self.ok("cuEventCreate", result::event::create(flags))?;
        let mut all = self.events.borrow_mut();
        all.push(event);
        Ok(Event(all.len() - 1))
    }

    fn record(&self, event: Event, queue: Queue) -> Result<(), CudaError> {
        self.after_kernel.set(false);
        // SAFETY: events and streams live as long as the device.
        self.ok("cuEventRecord", unsafe { result::event::record(self.event_of(event), self.stream(queue)) })
    }

    fn follow(&self, queue: Queue, event: Event) -> Result<(), CudaError> {
        self.after_kernel.set(false);
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: as in `record`.
        let followed = unsafe { result::stream::wait_event(self.stream(queue), self.event_of(event), flags) };
        self.ok("cuStreamWaitEvent", followed)
    }

    fn wait(&self, event: Event) -> Result<(), CudaError> {
        // SAFETY: as in `record`.
        self.ok("cuEventSynchronize", unsafe { result::event::synchronize(self.event_of(event)) })
    }

    fn elapsed(&self, from: Event, to: Event) -> Result<f64, CudaError> {
        // SAFETY: the address is looked at, not called. The first name is in every driver.
        let old = unsafe {
            sys::culib().get::<unsafe extern "C" fn(*mut f32, sys::CUevent, sys::CUevent) -> sys::CUresult>(
                b"cuEventElapsedTime",
            )
        };
        let (from, to) = (self.event_of(from), self.event_of(to));
        let ms = match old {
            Ok(f) => {
                let mut ms = 0.0;
                // SAFETY: both events were recorded, and the number outlives the call.
                unsafe { f(&mut ms, from, to) }.result().map(|()| ms)
            }
            // SAFETY: likewise.
            Err(_) => unsafe { result::event::elapsed(from, to) },
        };
        self.ok("cuEventElapsedTime", ms).map(f64::from)
    }

    fn begin_capture(&self) -> Result<(), CudaError> {
        self.after_kernel.set(false);
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives as long as the device.
        self.ok("cuStreamBeginCapture", unsafe { result::stream::begin_capture(self.work, mode) })
    }

    fn end_capture(&self) -> Result<Captured, CudaError> {
        self.after_kernel.set(false);
        // SAFETY: a capture of this stream has begun; the graph is not needed once it is instantiated.
        let made = unsafe {
            let graph = self.ok("cuStreamEndCapture", result::stream::end_capture(self.work))?;
            let made = result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0));
            let _ = result::graph::destroy(graph);
            made
        };
        let made = self.ok("cuGraphInstantiate", made)?;
        let mut all = self.graphs.borrow_mut();
        all.push(made);
        Ok(Captured(all.len() - 1))
    }

    fn replay(&self, captured: Captured) -> Result<(), CudaError> {
        self.after_kernel.set(false);
        let graph = self.graphs.borrow()[captured.0];
        if graph.is_null() {
            return Ok(());
        }
        // SAFETY: instantiated by `end_capture` and not discarded.
        self.ok("cuGraphLaunch", unsafe { result::graph::launch(graph, self.work) })
    }

    fn discard(&self, captured: Captured) {
        let graph = std::mem::replace(&mut self.graphs.borrow_mut()[captured.0], std::ptr::null_mut());
        if !graph.is_null() {
            // SAFETY: instantiated by `end_capture`; the caller waited for its replays.
            let _ = unsafe { result::graph::exec_destroy(graph) };
        }
    }

    fn synchronise(&self) -> Result<(), CudaError> {
        self.after_kernel.set(false);
        self.ok("cuCtxSynchronize", result::ctx::synchronize())
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        let _ = result::ctx::synchronize();
        // SAFETY: retained by `open`; with the context go its memory, modules, streams and events.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}
