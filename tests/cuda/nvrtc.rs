//! NVRTC, if it is there: machine code and what `ptxas` says of it, with no GPU.
//!
//! It is looked for in the folders of `GANC_CUDA_LIBS`, then as a Python wheel beside the interpreters on `PATH`. Where
//! it is missing, tests say so and pass, unless `GANC_NVRTC=required`, which `.ci/run` sets.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};

type Handle = *mut c_void;
type Strings = *const *const c_char;
type Create = unsafe extern "C" fn(*mut Handle, *const c_char, *const c_char, c_int, Strings, Strings) -> c_int;
type Compile = unsafe extern "C" fn(Handle, c_int, Strings) -> c_int;
type Destroy = unsafe extern "C" fn(*mut Handle) -> c_int;
type Size = unsafe extern "C" fn(Handle, *mut usize) -> c_int;
type Get = unsafe extern "C" fn(Handle, *mut c_char) -> c_int;

/// A loaded NVRTC.
pub struct Nvrtc {
    create: Create,
    compile: Compile,
    destroy: Destroy,
    log: (Size, Get),
    cubin: (Size, Get),
}

/// What `ptxas` says of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Name.
    pub kernel: String,
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of registers that had to go to memory.
    pub spilled: u32,
    /// Bytes of static shared memory.
    pub shared: u32,
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(folder).map(|d| d.flatten().map(|e| e.path()).collect()).unwrap_or_default();
    found.sort();
    found
}

/// Folders that may hold the library.
fn folders() -> Vec<PathBuf> {
    let paths = |name: &str| -> Vec<PathBuf> {
        std::env::var_os(name).map(|v| std::env::split_paths(&v).collect()).unwrap_or_default()
    };
    let mut found = paths("GANC_CUDA_LIBS");
    for bin in paths("PATH").into_iter().filter(|b| b.join("python3").exists()) {
        let Some(root) = bin.parent() else { continue };
        for lib in entries(&root.join("lib")) {
            for packages in ["site-packages", "dist-packages"] {
                found.extend(entries(&lib.join(packages).join("nvidia")).into_iter().map(|p| p.join("lib")));
            }
        }
    }
    found
}

/// The library; `None` where there is none and none is required.
pub fn find() -> Option<Nvrtc> {
    for folder in folders() {
        let files = entries(&folder);
        let named = |stem: &str| {
            let fits = |p: &&PathBuf| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(stem));
            files.iter().find(fits)
        };
        if let Some(library) = named("libnvrtc.so") {
            if let Some(builtins) = named("libnvrtc-builtins.so") {
                open(builtins);
            }
            if let Some(n) = load(library) {
                return Some(n);
            }
        }
    }
    let required = std::env::var("GANC_NVRTC").is_ok_and(|v| v == "required");
    assert!(!required, "NVRTC is required and not found in {:?}", folders());
    eprintln!("skipped: no NVRTC; pip install nvidia-cuda-nvrtc, or name its folder in GANC_CUDA_LIBS");
    None
}

fn open(path: &Path) -> *mut c_void {
    let name = CString::new(path.as_os_str().as_encoded_bytes()).expect("a path");
    // SAFETY: the name ends in zero; the library's initialisers are NVIDIA's.
    unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) }
}

fn load(path: &Path) -> Option<Nvrtc> {
    let library = open(path);
    if library.is_null() {
        return None;
    }
    let symbol = |name: &CStr| {
        // SAFETY: the library is loaded and stays so; the name ends in zero.
        let at = unsafe { libc::dlsym(library, name.as_ptr()) };
        (!at.is_null()).then_some(at)
    };
    // SAFETY: these functions have had these types since CUDA 11.1.
    unsafe {
        Some(Nvrtc {
            create: std::mem::transmute::<*mut c_void, Create>(symbol(c"nvrtcCreateProgram")?),
            compile: std::mem::transmute::<*mut c_void, Compile>(symbol(c"nvrtcCompileProgram")?),
            destroy: std::mem::transmute::<*mut c_void, Destroy>(symbol(c"nvrtcDestroyProgram")?),
            log: (
                std::mem::transmute::<*mut c_void, Size>(symbol(c"nvrtcGetProgramLogSize")?),
                std::mem::transmute::<*mut c_void, Get>(symbol(c"nvrtcGetProgramLog")?),
            ),
            cubin: (
                std::mem::transmute::<*mut c_void, Size>(symbol(c"nvrtcGetCUBINSize")?),
                std::mem::transmute::<*mut c_void, Get>(symbol(c"nvrtcGetCUBIN")?),
            ),
        })
    }
}

impl Nvrtc {
    /// Machine code for a target such as `sm_90a`, and what each kernel takes; the error is the compiler's.
    pub fn compile(&self, text: &str, target: &str) -> Result<(Vec<u8>, Vec<Usage>), String> {
        let source = CString::new(text).map_err(|e| e.to_string())?;
        let options = [format!("--gpu-architecture={target}"), "--std=c++17".into(), "--ptxas-options=-v".into()];
        let options: Vec<CString> = options.iter().map(|o| CString::new(o.as_str()).expect("no zeros")).collect();
        let pointers: Vec<*const c_char> = options.iter().map(|o| o.as_ptr()).collect();
        let mut program: Handle = std::ptr::null_mut();
        // SAFETY: strings end in zero and outlive the calls; buffers are as long as the library says.
        let (failed, log, cubin) = unsafe {
            let none = std::ptr::null();
            (self.create)(&mut program, source.as_ptr(), c"gen.cu".as_ptr(), 0, none, none);
            let failed = (self.compile)(program, pointers.len() as c_int, pointers.as_ptr());
            let read = |(size, get): (Size, Get)| {
                let mut n = 0;
                size(program, &mut n);
                let mut bytes = vec![0u8; n];
                get(program, bytes.as_mut_ptr().cast());
                bytes
            };
            let log = String::from_utf8_lossy(&read(self.log)).into_owned();
            let cubin = if failed == 0 { read(self.cubin) } else { vec![] };
            (self.destroy)(&mut program);
            (failed, log, cubin)
        };
        if failed != 0 || cubin.is_empty() {
            return Err(log);
        }
        Ok((cubin, usage(&log)))
    }
}

/// The number before a word.
fn before(line: &str, word: &str) -> u32 {
    let head = line.split(word).next().unwrap_or_default();
    head.split([' ', ',']).rfind(|w| !w.is_empty()).and_then(|w| w.parse().ok()).unwrap_or(0)
}

/// Reads the lines of `ptxas -v`.
fn usage(log: &str) -> Vec<Usage> {
    let mut all: Vec<Usage> = vec![];
    for line in log.lines() {
        if let Some(rest) = line.split("Compiling entry function '").nth(1) {
            let kernel = rest.split('\'').next().unwrap_or_default().to_string();
            all.push(Usage { kernel, registers: 0, spilled: 0, shared: 0 });
        }
        let Some(last) = all.last_mut() else { continue };
        if line.contains("bytes spill stores") {
            last.spilled += before(line, " bytes spill stores");
        }
        if line.contains(" registers") {
            last.registers = before(line, " registers");
            last.shared = if line.contains(" bytes smem") { before(line, " bytes smem") } else { 0 };
        }
    }
    all
}

#[test]
fn the_log_is_read() {
    let log = "ptxas info    : Compiling entry function 'k' for 'sm_80'\nptxas info    : Function properties for k\n\
               ptxas         .     0 bytes stack frame, 12 bytes spill stores, 8 bytes spill loads\n\
               ptxas info    : Used 121 registers, used 1 barriers, 1024 bytes smem, 400 bytes cmem[0]\n";
    assert_eq!(usage(log), [Usage { kernel: "k".into(), registers: 121, spilled: 12, shared: 1024 }]);
}
