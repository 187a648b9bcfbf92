//! Whether there is a device, asked without a panic and before anything else is done.

use super::cache::Cache;
use super::error::{CudaError, Version};
use super::gpu::Gpu;
use super::libraries::{Search, load_driver};
use super::nvrtc::Nvrtc;
use crate::codegen::cuda::Arch;
use cudarc::driver::{result, sys};

/// A device that can be used, with what its programs are compiled by.
pub struct Found {
    /// The device.
    pub gpu: Gpu,
    /// Newest CUDA that the driver runs.
    pub driver: Version,
    /// Version of the compiler.
    pub nvrtc: Version,
}

/// Functions of the driver that are used; a driver that lacks one is older than CUDA 11.4.
const SYMBOLS: [&str; 34] = [
    "cuInit",
    "cuDriverGetVersion",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDeviceGetAttribute",
    "cuDeviceTotalMem_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxRelease_v2",
    "cuCtxSetCurrent",
    "cuCtxSynchronize",
    "cuMemGetInfo_v2",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemHostAlloc",
    "cuMemFreeHost",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyDtoDAsync_v2",
    "cuStreamCreate",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
    "cuStreamBeginCapture_v2",
    "cuStreamEndCapture",
    "cuEventCreate",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuModuleLoadData",
    "cuModuleGetFunction",
    "cuFuncSetAttribute",
    "cuLaunchKernel",
    "cuGraphLaunch",
];

/// The instructions that text for a device of this capability may use, and what NVRTC is to compile for.
pub(super) fn target(capability: Version) -> Option<(Arch, String)> {
    match (capability.major, capability.minor) {
        (9, 0) => Some((Arch::Sm90a, "sm_90a".into())),
        (10, 0) => Some((Arch::Sm100a, "sm_100a".into())),
        (major, minor) if major >= 8 => Some((Arch::Sm80, format!("sm_{major}{minor}"))),
        _ => None,
    }
}

/// What the driver says of a failed call.
pub(super) fn words(e: result::DriverError) -> String {
    let text = |c: Result<&std::ffi::CStr, _>| c.map(|c| c.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{} ({})", text(e.error_string()), text(e.error_name()))
}

fn device_name(index: usize) -> String {
    let name = result::device::get(index as i32).and_then(result::device::get_name);
    name.unwrap_or_else(|_| "of no name".into())
}

/// Opens the device of this index.
///
/// # Errors
/// The first thing that is missing, in one sentence.
pub fn probe(index: usize, search: &Search, cache: Cache) -> Result<Found, CudaError> {
    let (_, path) = load_driver(search)?;
    let library = path.display().to_string();
    // SAFETY: loading by name runs the code of the driver's library, which is loaded already.
    if !unsafe { sys::is_culib_present() } {
        return Err(CudaError::NoDriver { tried: format!("`{library}` is not known to the loader by its name") });
    }
    for symbol in SYMBOLS {
        // SAFETY: the address is looked at, not called.
        let there = unsafe { sys::culib().get::<*mut std::os::raw::c_void>(symbol.as_bytes()).is_ok() };
        if !there {
            return Err(CudaError::Symbol { library, symbol, what: "NVIDIA driver" });
        }
    }
    if let Err(e) = result::init() {
        return Err(match e.0 {
            sys::CUresult::CUDA_ERROR_NO_DEVICE => CudaError::NoDevice(hidden()),
            _ => CudaError::Call { device: "the NVIDIA driver".into(), call: "cuInit", what: words(e) },
        });
    }
    let fail = |call| move |e| CudaError::Call { device: "the NVIDIA driver".into(), call, what: words(e) };
    let mut number = 0;
    // SAFETY: the number outlives the call.
    unsafe { sys::cuDriverGetVersion(&mut number) }.result().map_err(fail("cuDriverGetVersion"))?;
    let driver = Version { major: number / 1000, minor: number % 1000 / 10 };
    let count = result::device::get_count().map_err(fail("cuDeviceGetCount"))?.max(0) as usize;
    if count == 0 {
        return Err(CudaError::NoDevice(hidden()));
    }
    if index >= count {
        return Err(CudaError::Index { index, names: (0..count).map(device_name).collect() });
    }
    let device = result::device::get(index as i32).map_err(fail("cuDeviceGet"))?;
    let name = device_name(index);
    let attribute = |which| {
        // SAFETY: the device is one that the driver gave.
        unsafe { result::device::get_attribute(device, which) }.map_err(fail("cuDeviceGetAttribute"))
    };
    use sys::CUdevice_attribute_enum as Which;
    let capability = Version {
        major: attribute(Which::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        minor: attribute(Which::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    };
    let (arch, target) =
        target(capability).ok_or_else(|| CudaError::Capability { name: name.clone(), capability })?;
    let compiler = Nvrtc::find(search, Some(driver))?;
    if !compiler.knows(&target) {
        let (nvrtc, library) = (compiler.version, compiler.library);
        return Err(CudaError::Target { nvrtc, library, target });
    }
    let nvrtc = compiler.version;
    // SAFETY: the device is one that the driver gave.
    let memory = unsafe { result::device::total_mem(device) }.map_err(fail("cuDeviceTotalMem"))? as u64;
    let about = super::device::About { name, arch, target, memory };
    Ok(Found { gpu: Gpu::open(device, about, compiler, cache)?, driver, nvrtc })
}

/// A reason for a driver without devices that the environment gives.
fn hidden() -> String {
    match std::env::var("CUDA_VISIBLE_DEVICES") {
        Ok(v) => format!(" (CUDA_VISIBLE_DEVICES is `{v}`)"),
        Err(_) => String::new(),
    }
}
