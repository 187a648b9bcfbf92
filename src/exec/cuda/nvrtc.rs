//! NVRTC, CUDA's run-time compiler: text to machine code of one device (a cubin), without a device being there.
//!
//! Machine code rather than PTX, since a driver refuses PTX of a newer minor version, and nothing is left to compile
//! when the program starts. The few functions are looked up here, by their C names, so that the library is the very
//! file that the search chose.

use super::error::{CudaError, Version};
use super::libraries::{Library, Search, Where, load_nvrtc};
use std::ffi::CString;
use std::os::raw::{c_char, c_int, c_void};
use std::ptr::null;

type Handle = *mut c_void;

type Create = unsafe extern "C" fn(
    *mut Handle,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> c_int;
type Compile = unsafe extern "C" fn(Handle, c_int, *const *const c_char) -> c_int;
type Size = unsafe extern "C" fn(Handle, *mut usize) -> c_int;
type Fill = unsafe extern "C" fn(Handle, *mut c_char) -> c_int;
type Destroy = unsafe extern "C" fn(*mut Handle) -> c_int;

struct Functions {
    create: Create,
    compile: Compile,
    log_size: Size,
    log: Fill,
    cubin_size: Size,
    cubin: Fill,
    destroy: Destroy,
}

/// A loaded NVRTC.
pub struct Nvrtc {
    functions: Functions,
    /// Its version.
    pub version: Version,
    /// Where it was found.
    pub library: String,
    /// Compute capabilities that it compiles for, as 90 for 9.0.
    capabilities: Vec<c_int>,
}

/// What NVRTC is told beside the text.
pub fn options(target: &str) -> Vec<String> {
    vec![format!("--gpu-architecture={target}"), "--std=c++17".into()]
}

impl Nvrtc {
    /// The first NVRTC of a search that loads and is not newer than `newest`.
    pub fn find(search: &Search, newest: Option<Version>) -> Result<Self, CudaError> {
        let mut newer: Option<Self> = None;
        let mut broken: Option<CudaError> = None;
        for at in search.nvrtc() {
            if newest.is_some_and(|v| at.major > v.major) && (newer.is_some() || !at.path.is_absolute()) {
                continue;
            }
            match Self::load(&at) {
                Ok(found) if newest.is_some_and(|v| found.version.major > v.major) => newer = Some(found),
                Ok(found) => return Ok(found),
                // A name that the loader does not know is no fault.
                Err(Some(e)) => broken = broken.or(Some(e)),
                Err(None) => {}
            }
        }
        if let (Some(found), Some(driver)) = (newer, newest) {
            return Err(CudaError::DriverTooOld { driver, nvrtc: found.version, library: found.library });
        }
        Err(broken.unwrap_or_else(|| CudaError::NoNvrtc { tried: search.tried_for_nvrtc() }))
    }

    /// Loads one; `None` if the file or name is no library.
    pub fn load(at: &Where) -> Result<Self, Option<CudaError>> {
        let library = load_nvrtc(at).map_err(|said| {
            let tried = format!("`{}` does not load: {said}", at.path.display());
            at.path.is_absolute().then_some(CudaError::NoNvrtc { tried })
        })?;
        Self::from_library(library, at.path.display().to_string()).map_err(Some)
    }

    fn from_library(library: Library, name: String) -> Result<Self, CudaError> {
        let symbol = |symbol: &'static str| {
            library.symbol(symbol).ok_or(CudaError::Symbol { library: name.clone(), symbol, what: "NVRTC" })
        };
        // SAFETY: the names are NVRTC's, whose functions have had these C types since CUDA 11.1.
        let functions = unsafe {
            Functions {
                create: std::mem::transmute::<*mut c_void, Create>(symbol("nvrtcCreateProgram")?),
                compile: std::mem::transmute::<*mut c_void, Compile>(symbol("nvrtcCompileProgram")?),
                log_size: std::mem::transmute::<*mut c_void, Size>(symbol("nvrtcGetProgramLogSize")?),
                log: std::mem::transmute::<*mut c_void, Fill>(symbol("nvrtcGetProgramLog")?),
                cubin_size: std::mem::transmute::<*mut c_void, Size>(symbol("nvrtcGetCUBINSize")?),
                cubin: std::mem::transmute::<*mut c_void, Fill>(symbol("nvrtcGetCUBIN")?),
                destroy: std::mem::transmute::<*mut c_void, Destroy>(symbol("nvrtcDestroyProgram")?),
            }
        };
        let (mut major, mut minor, mut count) = (0, 0, 0);
        // SAFETY: as above; the numbers outlive the calls.
        let capabilities = unsafe {
            let version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int =
                std::mem::transmute(symbol("nvrtcVersion")?);
            let number: unsafe extern "C" fn(*mut c_int) -> c_int =
                std::mem::transmute(symbol("nvrtcGetNumSupportedArchs")?);
            let list: unsafe extern "C" fn(*mut c_int) -> c_int =
                std::mem::transmute(symbol("nvrtcGetSupportedArchs")?);
            version(&mut major, &mut minor);
            number(&mut count);
            let mut all = vec![0; count.clamp(0, 1024) as usize];
            if !all.is_empty() {
                list(all.as_mut_ptr());
            }
            all
        };
        Ok(Self { functions, version: Version { major, minor }, library: name, capabilities })
    }

    /// Whether it compiles for a target such as `sm_90a`.
    pub fn knows(&self, target: &str) -> bool {
        let digits: String = target.chars().filter(char::is_ascii_digit).collect();
        digits.parse().is_ok_and(|n: c_int| self.capabilities.contains(&n))
    }

    /// Machine code of a text for a target, and what the compiler said.
    pub fn compile(&self, text: &str, options: &[String]) -> Result<(Vec<u8>, String), CudaError> {
        let bad = |what: String| CudaError::Compile(what);
        let source = CString::new(text).map_err(|e| bad(e.to_string()))?;
        let strings: Result<Vec<CString>, _> = options.iter().map(|o| CString::new(o.as_str())).collect();
        let strings = strings.map_err(|e| bad(e.to_string()))?;
        let pointers: Vec<*const c_char> = strings.iter().map(|s| s.as_ptr()).collect();
        let f = &self.functions;
        let mut program: Handle = std::ptr::null_mut();
        // SAFETY: strings end in zero and outlive the calls; sizes are asked for before buffers are filled.
        unsafe {
            let made = (f.create)(&mut program, source.as_ptr(), c"ganc.cu".as_ptr(), 0, null(), null());
            if made != 0 {
                return Err(bad(format!("NVRTC gives no program (error {made})")));
            }
            let failed = (f.compile)(program, pointers.len() as c_int, pointers.as_ptr());
            let read = |size: Size, get: Fill| {
                let mut n = 0;
                size(program, &mut n);
                let mut bytes = vec![0u8; n];
                let ok = n > 0 && get(program, bytes.as_mut_ptr().cast()) == 0;
                if ok { bytes } else { vec![] }
            };
            let mut log = read(f.log_size, f.log);
            log.retain(|b| *b != 0);
            let log = String::from_utf8_lossy(&log).trim().to_string();
            let cubin = if failed == 0 { read(f.cubin_size, f.cubin) } else { vec![] };
            (f.destroy)(&mut program);
            match (failed, cubin.is_empty()) {
                (0, false) => Ok((cubin, log)),
                (0, true) => Err(bad(format!("NVRTC {} gives no machine code; {log}", self.version))),
                (e, _) => Err(bad(format!("NVRTC {} (error {e}): {log}", self.version))),
            }
        }
    }
}
