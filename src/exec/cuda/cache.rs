//! Compiled programs on disk, so that the second start of a spec compiles nothing.
//!
//! An entry is a file named by the SHA-256 of all that decides its bytes. It holds the SHA-256 of its content before
//! the content, appears by a rename, and is compiled anew if it is not whole: processes may share the folder, and
//! one may be killed in the middle of a write.

use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Longest entry that is read.
const LONGEST: u64 = 1 << 30;

/// A folder of compiled programs.
#[derive(Debug)]
pub struct Cache {
    /// `None`: nothing is kept.
    folder: Option<PathBuf>,
    /// What is told once if the folder cannot be written.
    warn: fn(&str),
    warned: AtomicBool,
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

impl Cache {
    /// A cache in this folder, made when it is first written.
    pub fn new(folder: Option<PathBuf>, warn: fn(&str)) -> Self {
        Self { folder, warn, warned: AtomicBool::new(false) }
    }

    /// `$GANC_CACHE`, `$XDG_CACHE_HOME/ganc` or `$HOME/.cache/ganc`, the first that is set.
    pub fn from_environment(warn: fn(&str)) -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let folder = set("GANC_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|p| p.join("ganc")))
            .or_else(|| set("HOME").map(|p| p.join(".cache").join("ganc")));
        Self::new(folder, warn)
    }

    /// The name of what these parts decide.
    pub fn key(parts: &[&[u8]]) -> String {
        let mut all = Sha256::new();
        for part in parts {
            // Lengths keep the parts apart.
            all.update((part.len() as u64).to_le_bytes());
            all.update(part);
        }
        hex(&all.finalize())
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        self.folder.as_ref().map(|f| f.join(format!("{key}.cubin")))
    }

    /// An entry, if there is one and it is whole.
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        let path = self.path(key)?;
        if fs::metadata(&path).ok()?.len() > LONGEST {
            return None;
        }
        let bytes = fs::read(path).ok()?;
        let (digest, content) = bytes.split_at_checked(32)?;
        (Sha256::digest(content).as_slice() == digest).then(|| content.to_vec())
    }

    /// Keeps an entry. A folder that cannot be written costs time, not the run: it is told once.
    pub fn put(&self, key: &str, content: &[u8]) {
        let (Some(folder), Some(path)) = (&self.folder, self.path(key)) else { return };
        if let Err(e) = write(folder, &path, &[&Sha256::digest(content), content])
            && !self.warned.swap(true, Ordering::Relaxed)
        {
            (self.warn)(&format!(
                "the cache of compiled programs `{}` cannot be written ({e}): they are compiled again next time; \
                 GANC_CACHE names another folder",
                folder.display()
            ));
        }
    }

    /// The file of what was measured on devices of this name, where the cache has a folder.
    pub fn measured(&self, device: &str) -> Option<PathBuf> {
        let name: String = device.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        self.folder.as_ref().map(|f| f.join(format!("tiles-{name}.txt")))
    }

    /// Keeps what was measured on devices of this name, in a file that appears as a whole; its path.
    pub fn keep_measured(&self, device: &str, text: &str) -> std::io::Result<PathBuf> {
        let none = || std::io::Error::other("none of GANC_CACHE, XDG_CACHE_HOME and HOME is set");
        let (folder, path) = (self.folder.as_ref().ok_or_else(none)?, self.measured(device).ok_or_else(none)?);
        write(folder, &path, &[text.as_bytes()])?;
        Ok(path)
    }

    /// The entry, or what `compile` gives, which is kept.
    pub fn get_or<E>(&self, key: &str, compile: impl FnOnce() -> Result<Vec<u8>, E>) -> Result<Vec<u8>, E> {
        if let Some(found) = self.get(key) {
            return Ok(found);
        }
        let made = compile()?;
        self.put(key, &made);
        Ok(made)
    }
}

fn write(folder: &Path, path: &Path, content: &[&[u8]]) -> std::io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    fs::create_dir_all(folder)?;
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let part = folder.join(format!("{}-{n}.part", std::process::id()));
    let written = fs::File::create_new(&part).and_then(|mut file| {
        content.iter().try_for_each(|c| file.write_all(c))?;
        fs::rename(&part, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::sync::Mutex;

    fn silent(_: &str) {}

    #[test]
    fn what_is_kept_is_found_and_what_is_damaged_is_compiled_anew() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(Some(dir.path().join("deep/er")), silent);
        let key = Cache::key(&[b"text", b"sm_90a"]);
        let compiled = Cell::new(0);
        let get = |cache: &Cache| {
            cache.get_or(&key, || -> Result<Vec<u8>, ()> {
                compiled.set(compiled.get() + 1);
                Ok(vec![7; 1000])
            })
        };
        assert_eq!(get(&cache), Ok(vec![7; 1000]));
        assert_eq!(get(&cache), Ok(vec![7; 1000]));
        assert_eq!(compiled.get(), 1);
        let path = cache.path(&key).unwrap();
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[500] ^= 1;
        for bad in [&whole[..999], &whole[..20], &[], flipped.as_slice()] {
            fs::write(&path, bad).unwrap();
            let before = compiled.get();
            assert_eq!(get(&cache), Ok(vec![7; 1000]));
            assert_eq!(compiled.get(), before + 1, "{} bytes were believed", bad.len());
            assert_eq!(fs::read(&path).unwrap(), whole, "mended");
        }
        // Nothing but the entry stays behind.
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn what_was_measured_is_a_text_of_its_device() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(Some(dir.path().join("new")), silent);
        let path = cache.keep_measured("NVIDIA H200 / 2", "a = b\n").unwrap();
        assert_eq!(Some(&path), cache.measured("NVIDIA H200 / 2").as_ref());
        assert!(path.ends_with("new/tiles-NVIDIA-H200---2.txt"), "{}", path.display());
        assert_eq!(fs::read_to_string(path).unwrap(), "a = b\n");
        let none = Cache::new(None, silent).keep_measured("x", "").unwrap_err().to_string();
        assert!(none.contains("GANC_CACHE"), "{none}");
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(Cache::key(&[b"ab", b"c"]), Cache::key(&[b"a", b"bc"]));
        assert_ne!(Cache::key(&[b"ab"]), Cache::key(&[b"ab", b""]));
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told_once() {
        static TOLD: Mutex<Vec<String>> = Mutex::new(vec![]);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "not a folder").unwrap();
        let cache = Cache::new(Some(file.clone()), |t| TOLD.lock().unwrap().push(t.to_string()));
        for key in ["a", "b"] {
            assert_eq!(cache.get_or(key, || Ok::<_, ()>(vec![1])), Ok(vec![1]));
        }
        let told = TOLD.lock().unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains(&file.display().to_string()) && told[0].contains("GANC_CACHE"), "{told:?}");
    }

    #[test]
    fn writers_at_once_leave_one_whole_entry() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(Some(dir.path().to_path_buf()), |t| panic!("{t}"));
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| (0..20).for_each(|_| cache.put("k", &[3; 5000])));
                s.spawn(|| {
                    for _ in 0..20 {
                        assert!(cache.get("k").is_none_or(|v| v == [3; 5000]));
                    }
                });
            }
        });
        assert_eq!(cache.get("k").as_deref(), Some([3; 5000].as_slice()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
