//! What a person reads when a device cannot be used: against stand-ins of the driver and of NVRTC, made by the C
//! compiler where there is one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Functions that the stand-in of the driver has, beside those that it gives a meaning.
const EMPTY: &str = "cuGetErrorName cuGetErrorString cuDeviceTotalMem_v2 cuDevicePrimaryCtxRetain \
    cuDevicePrimaryCtxRelease_v2 cuCtxSetCurrent cuCtxSynchronize cuMemGetInfo_v2 cuMemAlloc_v2 cuMemFree_v2 \
    cuMemHostAlloc cuMemFreeHost cuMemcpyHtoDAsync_v2 cuMemcpyDtoHAsync_v2 cuMemcpyDtoDAsync_v2 cuStreamCreate \
    cuStreamSynchronize cuStreamWaitEvent cuStreamBeginCapture_v2 cuStreamEndCapture cuEventCreate cuEventRecord \
    cuEventSynchronize cuModuleLoadData cuModuleGetFunction cuFuncSetAttribute cuLaunchKernel";

/// A driver that says what the environment tells it to.
const DRIVER: &str = r#"
#include <stdlib.h>
#include <string.h>
static int env(const char* n, int d) { const char* v = getenv(n); return v ? atoi(v) : d; }
int cuInit(unsigned f) { return env("FAKE_INIT", 0); }
int cuDriverGetVersion(int* v) { *v = env("FAKE_DRIVER", 13000); return 0; }
int cuDeviceGetCount(int* n) { *n = env("FAKE_COUNT", 1); return 0; }
int cuDeviceGet(int* d, int i) { *d = i; return 0; }
int cuDeviceGetName(char* s, int n, int d) { strncpy(s, "NVIDIA Standin", n); return 0; }
int cuDeviceGetAttribute(int* v, int which, int d) {
    int c = env("FAKE_CAPABILITY", 90);
    *v = which == 75 ? c / 10 : which == 76 ? c % 10 : 0;
    return 0;
}
"#;

const NVRTC: &str = r#"
int nvrtcVersion(int* a, int* b) { *a = MAJOR; *b = 2; return 0; }
int nvrtcGetNumSupportedArchs(int* n) { *n = 2; return 0; }
int nvrtcGetSupportedArchs(int* a) { a[0] = 80; a[1] = 90; return 0; }
int nvrtcCreateProgram() { return 1; }
int nvrtcCompileProgram() { return 1; }
int nvrtcGetProgramLogSize() { return 1; }
int nvrtcGetProgramLog() { return 1; }
int nvrtcGetCUBINSize() { return 1; }
int nvrtcGetCUBIN() { return 1; }
int nvrtcDestroyProgram() { return 1; }
"#;

/// Compiles a shared library; false where there is no C compiler.
fn library(folder: &Path, name: &str, source: &str, flags: &[&str]) -> bool {
    fs::create_dir_all(folder).expect("a folder");
    let c = folder.join("source.c");
    fs::write(&c, source).expect("a file");
    let soname = format!("-Wl,-soname,{name}");
    let out = Command::new("cc")
        .args(["-shared", "-fPIC", "-w", &soname, "-o"])
        .arg(folder.join(name))
        .arg(&c)
        .args(flags)
        .output();
    out.is_ok_and(|o| {
        assert!(o.status.success(), "{}", String::from_utf8_lossy(&o.stderr));
        true
    })
}

fn driver(folder: &Path, but: &str) -> bool {
    let rest = EMPTY.split_whitespace().chain(["cuGraphLaunch"]).filter(|f| *f != but);
    let empty: String = rest.map(|f| format!("int {f}() {{ return 1; }}\n")).collect();
    library(folder, "libcuda.so.1", &format!("{DRIVER}{empty}"), &[])
}

/// `ganc bench` of a small spec, where only these folders have libraries.
fn bench(device: &str, libs: &[PathBuf], env: &[(&str, &str)]) -> Output {
    let spec = crate::support::repo("tests/train/ring.gan");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ganc"));
    command
        .arg("bench")
        .arg(&spec)
        .args(["--repeat", "1", "--device", device])
        .env_clear()
        .envs(env.iter().copied());
    if !libs.is_empty() {
        command.env("GANC_CUDA_LIBS", std::env::join_paths(libs).expect("paths"));
    }
    command.output().expect("the binary starts")
}

fn refused(device: &str, libs: &[PathBuf], env: &[(&str, &str)]) -> String {
    let out = bench(device, libs, env);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "one line: {said}");
    assert!(said.starts_with(&format!("error: --device {device}: ")), "{said}");
    said
}

/// Whether this machine has a driver, which the stand-ins would not hide.
fn real_driver() -> bool {
    let out = bench("cuda:0", &[], &[]);
    !String::from_utf8_lossy(&out.stderr).contains("there is no NVIDIA driver")
}

#[test]
fn what_is_missing_is_said_in_one_line() {
    if real_driver() {
        println!("skipped: there is an NVIDIA driver");
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let at = |name: &str| dir.path().join(name);
    let said = refused("cuda:0", &[], &[]);
    assert!(said.contains("libcuda.so.1 was not found") && said.contains("GANC_CUDA_LIBS is not set"), "{said}");
    let said = refused("cuda:3", &[at("nowhere")], &[]);
    assert!(said.contains("sought in GANC_CUDA_LIBS") && said.contains("nowhere"), "{said}");
    fs::create_dir(at("text")).expect("a folder");
    fs::write(at("text").join("libcuda.so.1"), "no library").expect("a file");
    let said = refused("cuda:0", &[at("text")], &[]);
    assert!(said.contains("libcuda.so.1: file too short") || said.contains("invalid ELF header"), "{said}");
    // Left to itself, ganc carries on without a word.
    let out = bench("auto", &[], &[]);
    assert!(out.status.success() && out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(String::from_utf8_lossy(&out.stdout).contains("on the processor"));

    if !driver(&at("driver"), "") {
        println!("skipped: the rest needs a C compiler");
        return;
    }
    let here = [at("driver")];
    let said = refused("cuda:0", &here, &[("FAKE_INIT", "100")]);
    assert!(said.contains("the NVIDIA driver finds no device\n"), "{said}");
    let said = refused("cuda:0", &here, &[("FAKE_COUNT", "0"), ("CUDA_VISIBLE_DEVICES", "-1")]);
    assert!(said.contains("finds no device (CUDA_VISIBLE_DEVICES is `-1`)"), "{said}");
    let said = refused("cuda:0", &here, &[("FAKE_INIT", "803")]);
    assert!(said.contains("the NVIDIA driver fails in cuInit"), "{said}");
    let said = refused("cuda:2", &here, &[("FAKE_COUNT", "2")]);
    assert!(said.contains("there is no device 2: the driver has cuda:0 (NVIDIA Standin), cuda:1"), "{said}");
    let said = refused("cuda:0", &here, &[("FAKE_CAPABILITY", "75")]);
    assert!(said.contains("NVIDIA Standin has compute capability 7.5; the kernels need 8.0"), "{said}");
    assert!(driver(&at("old"), "cuStreamBeginCapture_v2"));
    let said = refused("cuda:0", &[at("old")], &[]);
    assert!(said.contains("has no function `cuStreamBeginCapture_v2`"), "{said}");

    // NVRTC: of the driver's major version or older, whatever else is there.
    let nvrtc = |major: &str| {
        let define = format!("-DMAJOR={major}");
        let (folder, name) = (at(&format!("nvrtc{major}")), format!("libnvrtc.so.{major}"));
        assert!(library(&folder, &name, NVRTC, &[&define]));
        folder
    };
    let (new, fits, old) = (nvrtc("14"), nvrtc("13"), nvrtc("12"));
    let said = refused("cuda:0", &[at("driver"), new.clone()], &[]);
    assert!(
        said.contains("the driver runs CUDA 13.0") && said.contains("NVRTC 14.2") && said.contains("too old"),
        "{said}"
    );
    let said = refused("cuda:0", &[at("driver"), new.clone(), fits], &[("FAKE_CAPABILITY", "120")]);
    assert!(said.contains("NVRTC 13.2") && said.contains("cannot compile for sm_120"), "{said}");
    let said =
        refused("cuda:0", &[at("driver"), new, old], &[("FAKE_DRIVER", "12040"), ("FAKE_CAPABILITY", "100")]);
    assert!(said.contains("NVRTC 12.2") && said.contains("cannot compile for sm_100a"), "{said}");
    assert!(library(&at("half"), "libnvrtc.so.13", "int nvrtcVersion(int* a, int* b) { return 0; }", &[]));
    let said = refused("cuda:0", &[at("driver"), at("half")], &[]);
    assert!(said.contains("has no function `nvrtcCreateProgram`, so it is too old or no NVRTC"), "{said}");

    // Left to itself, ganc says in one line why it does not use a device that is there.
    let out = bench("auto", &here, &[("FAKE_CAPABILITY", "75")]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said.starts_with("note: running on the CPU: NVIDIA Standin has"), "{said}");
    assert_eq!(said.lines().count(), 1);
}

#[test]
fn a_device_is_named_by_its_number() {
    for wrong in ["tpu", "cuda:", "cuda:x", "cuda:-1", "cuda:99999999999999999999", "CUDA"] {
        let said = refused(wrong, &[], &[]);
        assert!(said.contains("expected auto, cpu, or cuda:N"), "{said}");
    }
}

#[test]
fn nvrtc_gives_machine_code_where_it_is_found() {
    use ganc::codegen::cuda::KERNEL;
    use ganc::exec::cuda::nvrtc::{Nvrtc, options};
    use ganc::exec::cuda::{Cache, chunks};
    let nvrtc = match Nvrtc::find(&ganc::exec::cuda::Search::from_environment(), None) {
        Ok(found) => found,
        Err(e) => return println!("skipped: {e}"),
    };
    println!("NVRTC {} at {}", nvrtc.version, nvrtc.library);
    assert!(nvrtc.knows("sm_90a") && !nvrtc.knows("sm_1"));
    let good =
        "extern \"C\" __global__ void one(float* p, unsigned n) { if (threadIdx.x < n) p[threadIdx.x] = 1.0f; }";
    let (cubin, _) = nvrtc.compile(good, &options("sm_90a")).expect("it compiles");
    assert!(cubin.starts_with(b"\x7fELF") && cubin.windows(3).any(|w| w == b"one"));
    // Parts of a text beside each other, and again from the cache.
    let kernel = |i: usize| format!("{KERNEL}k{i}\nextern \"C\" __global__ void k{i}(W* p) {{ *p = {i}.0f; }}\n");
    let text = "typedef float W;\n".to_string() + &(0..20).map(kernel).collect::<String>();
    let dir = tempfile::tempdir().expect("a folder");
    let cache = Cache::new(Some(dir.path().into()), |e| panic!("{e}"));
    let parts = chunks::cubins(&text, "sm_90a", &nvrtc, &cache).expect("it compiles");
    let names: Vec<&String> = parts.iter().flat_map(|p| &p.0.kernels).collect();
    assert_eq!((parts.len(), names.len()), (2, 20));
    for (part, cubin) in &parts {
        assert!(part.kernels.iter().all(|k| cubin.windows(k.len()).any(|w| w == k.as_bytes())));
    }
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 2);
    assert_eq!(chunks::cubins(&text, "sm_90a", &nvrtc, &cache).expect("it is there"), parts);
    let bad = chunks::cubins(&text.replace("*p = 7", "*q = 7"), "sm_90a", &nvrtc, &cache);
    let e = bad.expect_err("a word is unknown").to_string();
    assert!(e.contains("\"q\" is undefined"), "{e}");

    let e = nvrtc.compile("__global__ void k( {", &options("sm_90a")).expect_err("no C++").to_string();
    assert!(e.contains("does not compile") && e.contains("ganc.cu(1)"), "{e}");
    let e = nvrtc.compile(good, &options("sm_7")).expect_err("no device").to_string();
    assert!(e.contains("gpu-architecture"), "{e}");
}
