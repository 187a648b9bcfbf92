//! Where CUDA's libraries are, and loading them: nothing is linked, so that one binary runs with and without a device.
//!
//! The driver's library is the system's. NVRTC comes with a toolkit or as a Python wheel; whoever trains with PyTorch
//! has it, in a folder that no loader knows.

use super::error::CudaError;
use std::ffi::{CString, OsString};
use std::os::raw::c_void;
use std::path::{Path, PathBuf};

/// What a search starts from.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// Folders of `GANC_CUDA_LIBS`.
    pub own: Vec<PathBuf>,
    /// Roots of toolkits: `CUDA_HOME`, `CUDA_PATH`, `/usr/local/cuda…`.
    pub toolkits: Vec<PathBuf>,
    /// Roots of Python installations: active environments, those on `PATH`, the user's, the system's.
    pub pythons: Vec<PathBuf>,
    /// Folders where drivers put their library when the loader does not know it.
    pub drivers: Vec<PathBuf>,
    /// Whether the system's loader is asked.
    pub loader: bool,
}

/// A library that may be loaded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Where {
    /// File, or bare name for the system's loader.
    pub path: PathBuf,
    /// Number at the end of its name.
    pub major: i32,
}

/// Newest NVRTC that the loader is asked for by name; folders are asked for any.
const NEWEST: i32 = 16;

/// Oldest NVRTC whose C++ the programs are written in.
const OLDEST: i32 = 12;

/// Entries of a folder, sorted; none if it cannot be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(folder).map(|d| d.flatten().map(|e| e.path()).collect()).unwrap_or_default();
    found.sort();
    found
}

fn starts(path: &Path, with: &str) -> bool {
    path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(with))
}

impl Search {
    /// As the environment says.
    pub fn from_environment() -> Self {
        let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
        let split = |v: OsString| std::env::split_paths(&v).filter(|p| !p.as_os_str().is_empty()).collect();
        let own: Vec<PathBuf> = var("GANC_CUDA_LIBS").map(split).unwrap_or_default();
        let mut toolkits: Vec<PathBuf> =
            ["CUDA_HOME", "CUDA_PATH"].iter().filter_map(|n| var(n)).map(PathBuf::from).collect();
        toolkits.extend(entries(Path::new("/usr/local")).into_iter().filter(|p| starts(p, "cuda")).rev());
        let mut pythons: Vec<PathBuf> =
            ["VIRTUAL_ENV", "CONDA_PREFIX"].iter().filter_map(|n| var(n)).map(PathBuf::from).collect();
        let path: Vec<PathBuf> = var("PATH").map(split).unwrap_or_default();
        for bin in path {
            for name in ["python3", "python"] {
                let here = bin.join(name);
                if here.exists() {
                    pythons.extend(bin.parent().map(Path::to_path_buf));
                    // A link leads to the installation that has the packages.
                    let real = here.canonicalize().ok();
                    pythons.extend(real.and_then(|r| Some(r.parent()?.parent()?.to_path_buf())));
                }
            }
        }
        pythons.extend(var("HOME").map(|h| PathBuf::from(h).join(".local")));
        pythons.extend(["/usr/local", "/usr", "/opt/conda"].map(PathBuf::from));
        let mut seen = std::collections::BTreeSet::new();
        pythons.retain(|p| seen.insert(p.clone()));
        let drivers = [
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib/aarch64-linux-gnu",
            "/usr/lib64",
            "/usr/local/nvidia/lib64",
            "/usr/lib/wsl/lib",
        ];
        Self { own, toolkits, pythons, drivers: drivers.map(PathBuf::from).to_vec(), loader: true }
    }

    /// Folders of a Python installation that wheels put CUDA's libraries into.
    fn wheels(root: &Path) -> Vec<PathBuf> {
        let mut found = vec![];
        for lib in ["lib", "lib64"] {
            for python in entries(&root.join(lib)).into_iter().filter(|p| starts(p, "python3")).rev() {
                for packages in ["site-packages", "dist-packages"] {
                    for part in entries(&python.join(packages).join("nvidia")).into_iter().rev() {
                        let lib = part.join("lib");
                        if lib.is_dir() {
                            found.push(lib);
                        }
                    }
                }
            }
        }
        found
    }

    /// Folders that may hold NVRTC, those that were named first.
    pub fn folders(&self) -> Vec<PathBuf> {
        let mut all = self.own.clone();
        for t in &self.toolkits {
            all.extend(["lib64", "lib", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib"].map(|l| t.join(l)));
        }
        for p in &self.pythons {
            all.extend(Self::wheels(p));
            // Conda puts libraries beside its Python.
            all.push(p.join("lib"));
        }
        all.retain(|p| p.is_dir());
        all
    }

    /// Every NVRTC there is, those of named folders first, then what the loader knows, then the other folders.
    pub fn nvrtc(&self) -> Vec<Where> {
        let within = |folders: &[PathBuf]| {
            let mut found = vec![];
            for folder in folders {
                let mut here: Vec<Where> = entries(folder)
                    .into_iter()
                    .filter_map(|path| {
                        let name = path.file_name()?.to_string_lossy().into_owned();
                        let major = name.strip_prefix("libnvrtc.so.")?.parse().ok()?;
                        (major >= OLDEST).then_some(Where { path, major })
                    })
                    .collect();
                here.sort_by_key(|w| std::cmp::Reverse(w.major));
                found.extend(here);
            }
            found
        };
        let mut all = within(&self.own);
        if self.loader {
            let names = (OLDEST..=NEWEST).rev();
            all.extend(names.map(|major| Where { path: format!("libnvrtc.so.{major}").into(), major }));
        }
        let rest = Search { own: vec![], ..self.clone() };
        all.extend(within(&rest.folders()));
        all
    }

    /// Files and names that may be the driver's library.
    pub fn driver(&self) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> =
            self.own.iter().map(|f| f.join("libcuda.so.1")).filter(|p| p.exists()).collect();
        if self.loader {
            all.push("libcuda.so.1".into());
        }
        all.extend(self.drivers.iter().map(|f| f.join("libcuda.so.1")).filter(|p| p.exists()));
        all
    }

    /// What was asked, for messages.
    pub fn tried(&self) -> String {
        let mut parts = vec![];
        match self.own.as_slice() {
            [] => parts.push("GANC_CUDA_LIBS is not set".to_string()),
            own => {
                let all: Vec<String> = own.iter().map(|p| format!("`{}`", p.display())).collect();
                parts.push(format!("sought in GANC_CUDA_LIBS: {}", all.join(", ")));
            }
        }
        if self.loader {
            parts.push("the system's loader does not know it".into());
        }
        parts.join("; ")
    }

    /// The same for NVRTC, with the number of further folders.
    pub fn tried_for_nvrtc(&self) -> String {
        let wheels = self.pythons.len();
        format!(
            "{}; nor is it in {} of CUDA toolkits or in site-packages/nvidia/*/lib of {wheels} places for Python",
            self.tried(),
            match self.toolkits.len() {
                0 => "any folder".to_string(),
                n => format!("the {n} folders"),
            }
        )
    }
}

/// A library in memory; it stays there, since code of it may run to the end.
#[derive(Clone, Copy, Debug)]
pub struct Library(*mut c_void);

// SAFETY: a handle of the loader may be used by any thread.
unsafe impl Send for Library {}
// SAFETY: likewise.
unsafe impl Sync for Library {}

impl Library {
    /// Loads a file or name; the loader's words if it cannot.
    #[cfg(unix)]
    pub fn open(path: &Path) -> Result<Self, String> {
        use std::os::unix::ffi::OsStrExt;
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|e| e.to_string())?;
        // SAFETY: a string that ends in zero. Code that runs at loading is the library's own affair.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
        if !handle.is_null() {
            return Ok(Self(handle));
        }
        // SAFETY: the loader's message, or null, valid until its next call on this thread.
        let said = unsafe {
            let said = libc::dlerror();
            match said.is_null() {
                true => "no reason given".into(),
                false => std::ffi::CStr::from_ptr(said).to_string_lossy().into_owned(),
            }
        };
        Err(said)
    }

    /// Loads a file or name.
    #[cfg(not(unix))]
    pub fn open(path: &Path) -> Result<Self, String> {
        Err(format!("{}: ganc drives NVIDIA devices under Linux only", path.display()))
    }

    /// The address of a function.
    pub fn symbol(&self, name: &str) -> Option<*mut c_void> {
        let name = CString::new(name).ok()?;
        #[cfg(unix)]
        {
            // SAFETY: a live handle and a string that ends in zero.
            let found = unsafe { libc::dlsym(self.0, name.as_ptr()) };
            (!found.is_null()).then_some(found)
        }
        #[cfg(not(unix))]
        {
            let _ = name;
            None
        }
    }
}

/// Loads the driver's library by its path or name, so that later loads by name find it.
pub fn load_driver(search: &Search) -> Result<(Library, PathBuf), CudaError> {
    let mut said = vec![];
    for path in search.driver() {
        match Library::open(&path) {
            Ok(library) => return Ok((library, path)),
            Err(e) => said.push((path, e)),
        }
    }
    // A file that is there and does not load is worth the loader's words; a name that is nowhere is not.
    let odd = said.iter().find(|(p, _)| p.is_absolute()).map(|(_, e)| e.clone());
    Err(CudaError::NoDriver { tried: odd.unwrap_or_else(|| search.tried()) })
}

/// Loads one NVRTC with the built-ins that it will ask for by name.
pub fn load_nvrtc(at: &Where) -> Result<Library, String> {
    if let Some(folder) = at.path.parent().filter(|f| f.is_dir()) {
        let builtins = format!("libnvrtc-builtins.so.{}", at.major);
        for file in entries(folder).iter().filter(|p| starts(p, &builtins)) {
            // NVRTC says itself what it lacks.
            let _ = Library::open(file);
        }
    }
    Library::open(&at.path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn touch(path: PathBuf) -> PathBuf {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "no library").unwrap();
        path
    }

    #[test]
    fn wheels_and_toolkits_are_found_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let wheel = touch(root.join("venv/lib/python3.12/site-packages/nvidia/cu13/lib/libnvrtc.so.13"));
        let older = touch(root.join("venv/lib/python3.12/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12"));
        touch(root.join("venv/lib/python3.12/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.11"));
        touch(root.join("venv/lib/python3.12/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc-builtins.so.12.9"));
        touch(root.join("venv/lib/python3.12/site-packages/nvidia/__init__.py"));
        let kit = touch(root.join("cuda-12.4/lib64/libnvrtc.so.12"));
        let own = touch(root.join("own/libnvrtc.so.13"));
        let search = Search {
            own: vec![root.join("own"), root.join("nowhere")],
            toolkits: vec![root.join("cuda-12.4")],
            pythons: vec![root.join("venv"), root.join("missing")],
            drivers: vec![],
            loader: false,
        };
        let found = search.nvrtc();
        let want = [(own, 13), (kit, 12), (older, 12), (wheel, 13)];
        assert_eq!(found, want.map(|(path, major)| Where { path, major }));
        // With the loader, a named folder still comes first, and a wheel last.
        let found = Search { loader: true, ..search }.nvrtc();
        assert_eq!(found[0].path, root.join("own/libnvrtc.so.13"));
        assert_eq!(found[1].path, Path::new("libnvrtc.so.16"));
        assert!(found.last().unwrap().path.ends_with("cu13/lib/libnvrtc.so.13"));
    }

    #[test]
    fn a_file_that_is_no_library_is_told_in_the_loaders_words() {
        let dir = tempfile::tempdir().unwrap();
        let bad = touch(dir.path().join("libcuda.so.1"));
        let search = Search { own: vec![dir.path().to_path_buf()], ..Search::default() };
        let e = load_driver(&search).unwrap_err().to_string();
        assert!(e.contains(&bad.display().to_string()), "{e}");
        let nowhere = Search { own: vec![dir.path().join("x")], ..Search::default() };
        let e = load_driver(&nowhere).unwrap_err().to_string();
        assert!(e.contains("libcuda.so.1 was not found") && e.contains("GANC_CUDA_LIBS"), "{e}");
        assert!(Library::open(Path::new("/nowhere/lib.so")).is_err());
    }
}
