//! How much memory this process may still take.

use std::path::{Path, PathBuf};

type Read<'a> = &'a dyn Fn(&Path) -> Option<String>;

/// Bytes that the system would give without swapping, and that the control groups of the process allow; `None` where
/// neither is known.
pub fn free_bytes() -> Option<u64> {
    free(&|path| std::fs::read_to_string(path).ok())
}

fn free(read: Read<'_>) -> Option<u64> {
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| available(&text));
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    groups.lines().filter_map(|line| allowed(line, read)).chain(machine).min()
}

/// `MemAvailable` of `/proc/meminfo`.
fn available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What is left of the limits of a control group and of those it lies in; a line of `/proc/self/cgroup`.
fn allowed(line: &str, read: Read<'_>) -> Option<u64> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    // The second version has all controllers in one tree, the first a tree for each.
    let (root, limit, usage, cache) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file "),
        "memory" => {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ")
        }
        _ => return None,
    };
    let mut folder = PathBuf::from(root);
    let mut left = left_of(&folder, limit, usage, cache, read);
    for name in path.split('/').filter(|n| !n.is_empty() && *n != "..") {
        folder.push(name);
        left = left.into_iter().chain(left_of(&folder, limit, usage, cache, read)).min();
    }
    left
}

fn left_of(folder: &Path, limit: &str, usage: &str, cache: &str, read: Read<'_>) -> Option<u64> {
    let number = |name: &str| read(&folder.join(name))?.trim().parse::<u64>().ok();
    let (limit, used) = (number(limit)?, number(usage)?);
    // Pages of files that the system gives up when memory is asked for.
    let stat = read(&folder.join("memory.stat")).unwrap_or_default();
    let cached = stat.lines().find_map(|l| l.strip_prefix(cache)?.trim().parse::<u64>().ok()).unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(cached)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn with(files: &[(&str, &str)]) -> Option<u64> {
        let files: BTreeMap<PathBuf, String> =
            files.iter().map(|(path, text)| (PathBuf::from(path), text.to_string())).collect();
        free(&|path| files.get(path).cloned())
    }

    const MEMINFO: (&str, &str) =
        ("/proc/meminfo", "MemTotal:       24684096 kB\nMemFree: 1 kB\nMemAvailable:   1000 kB\n");

    #[test]
    fn of_the_machine() {
        assert_eq!(with(&[]), None);
        assert_eq!(with(&[MEMINFO]), Some(1_024_000));
        assert_eq!(with(&[("/proc/meminfo", "MemAvailable: many kB")]), None);
        assert_eq!(with(&[("/proc/meminfo", "MemAvailable: 99999999999999999999 kB")]), None);
    }

    #[test]
    fn of_control_groups() {
        let unified = [
            MEMINFO,
            ("/proc/self/cgroup", "0::/a/b\n"),
            ("/sys/fs/cgroup/a/memory.max", "600000\n"),
            ("/sys/fs/cgroup/a/memory.current", "500000\n"),
            ("/sys/fs/cgroup/a/memory.stat", "anon 7\ninactive_file 300000\n"),
            ("/sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("/sys/fs/cgroup/a/b/memory.current", "500000\n"),
        ];
        assert_eq!(with(&unified), Some(400_000));
        let first = [
            MEMINFO,
            ("/proc/self/cgroup", "8:cpu:/x\n4:memory:/x\n"),
            ("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "1000\n"),
            ("/sys/fs/cgroup/memory/x/memory.usage_in_bytes", "1700\n"),
        ];
        assert_eq!(with(&first), Some(0));
        // Without a limit the number is larger than any memory.
        let boundless = [
            MEMINFO,
            ("/proc/self/cgroup", "4:memory:/\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("/sys/fs/cgroup/memory/memory.usage_in_bytes", "1700\n"),
        ];
        assert_eq!(with(&boundless), Some(1_024_000));
    }
}
