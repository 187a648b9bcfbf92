//! What the binary does where the world is hostile: full disks, closed pipes, damaged folders, numbers that are none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder to run in.
pub struct Case {
    dir: tempfile::TempDir,
}

pub const RING: &str = include_str!("train/ring.gan");

impl Case {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a folder") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).expect("a file");
        path
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut c = Command::new(env!("CARGO_BIN_EXE_ganc"));
        c.env("NO_COLOR", "1").stdin(Stdio::null()).current_dir(self.dir.path()).args(args);
        c
    }

    /// Exit code, standard output, standard error; never a panic.
    pub fn ganc(&self, args: &[&str]) -> (i32, String, String) {
        let out: Output = self.command(args).output().expect("the binary starts");
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let (o, e) = (text(&out.stdout), text(&out.stderr));
        assert!(!e.contains("panicked") && !e.contains("bug in ganc"), "ganc {args:?}: {e}");
        (out.status.code().expect("no signal ended it"), o, e)
    }

    pub fn refused(&self, args: &[&str], word: &str) -> String {
        let (code, _, e) = self.ganc(args);
        assert!(code == 1 && e.contains(word), "ganc {args:?}: {code}, `{word}` expected\n{e}");
        e
    }

    pub fn ok(&self, args: &[&str]) -> String {
        let (code, o, e) = self.ganc(args);
        assert_eq!(code, 0, "ganc {args:?}: {e}");
        o
    }
}

fn manifests(run: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(run.join("checkpoints"))
        .expect("checkpoints")
        .map(|e| e.expect("an entry").path())
        .filter(|p| p.extension().is_some_and(|e| e == "json"))
        .collect();
    all.sort();
    all
}

#[test]
fn values_that_are_no_numbers_do_not_spoil_a_checkpoint() {
    let c = Case::new();
    c.write(
        "a.gan",
        RING.replace(
            "        checkpoint\n",
            "        evaluate q = mean(log(0 - abs(D(G(z)))))\n        checkpoint\n",
        ),
    );
    c.ok(&["run", "a.gan", "--out", "r", "--quiet"]);
    assert!(fs::read_to_string(c.path("r/log.jsonl")).expect("log").contains("\"q\":\"NaN\""));
    let (_, _, e) = c.ganc(&["run", "--resume", "r", "--quiet"]);
    assert_eq!(e, "", "the checkpoint is read back whole");
}

#[test]
fn parameters_that_are_no_numbers_are_never_saved() {
    let c = Case::new();
    // The loss of the one iteration is finite, the update is not.
    c.write(
        "a.gan",
        "network N(x: [2]) -> [1] { linear(1) }\n\
         train { batch 2; steps 1; draw x: [2] ~ normal\n\
         player N { minimize mean(N(x)) * 1e20; using sgd(lr: 1e30) } }\n",
    );
    let e = c.refused(&["run", "a.gan", "--out", "r", "--quiet"], "E0552");
    assert!(e.contains("not finite at step 1 of `train`") && e.contains("N.linear"), "{e}");
    assert!(e.contains("the last good checkpoint is none") && e.contains("no checkpoint yet"), "{e}");
    assert!(manifests(&c.path("r")).is_empty());
}

#[test]
fn a_flipped_digit_in_a_manifest_is_seen() {
    let c = Case::new();
    c.write("a.gan", RING);
    c.ok(&["run", "a.gan", "--out", "r", "--quiet"]);
    let last = manifests(&c.path("r")).pop().expect("a checkpoint");
    let text = fs::read_to_string(&last).expect("manifest");
    fs::write(&last, text.replace("\"step\": 60", "\"step\": 50")).expect("edit it");
    let (code, _, e) = c.ganc(&["run", "--resume", "r", "--quiet"]);
    assert!(code == 0 && e.contains("its manifest is damaged"), "{e}");
}

#[test]
fn damaged_logs_and_missing_folders_are_mended() {
    let c = Case::new();
    c.write("a.gan", RING);
    c.ok(&["run", "a.gan", "--out", "r", "--quiet"]);
    fs::write(c.path("r/log.jsonl"), [0xff, 0xfe, b'\n', 0x80]).expect("damage it");
    c.ok(&["run", "--resume", "r", "--quiet"]);
    fs::remove_dir_all(c.path("r/checkpoints")).expect("remove");
    fs::remove_dir_all(c.path("r/samples")).expect("remove");
    c.ok(&["run", "--resume", "r", "--quiet"]);
    assert!(!manifests(&c.path("r")).is_empty());
    fs::write(c.path("r/run.json"), "{\"format\": 2}").expect("damage it");
    c.refused(&["run", "--resume", "r"], "run record");
}

#[test]
fn the_log_of_a_second_train_has_each_step_once() {
    let c = Case::new();
    let train = &RING[RING.find("train {").expect("a train")..];
    c.write("a.gan", format!("{RING}\n{train}"));
    c.ok(&["run", "a.gan", "--out", "r", "--quiet"]);
    let last = manifests(&c.path("r")).pop().expect("a checkpoint");
    fs::remove_file(last).expect("remove");
    c.ok(&["run", "--resume", "r", "--quiet"]);
    let log = fs::read_to_string(c.path("r/log.jsonl")).expect("log");
    assert_eq!(log.lines().filter(|l| l.contains("\"loss\"")).count(), 120);
}

#[test]
fn two_processes_do_not_share_a_folder() {
    let c = Case::new();
    c.write("a.gan", RING);
    c.ok(&["run", "a.gan", "--out", "r", "--quiet"]);
    let held = fs::File::open(c.path("r/run.json")).expect("record");
    held.try_lock().expect("a lock");
    c.refused(&["run", "--resume", "r"], "another ganc");
    drop(held);
    c.ok(&["run", "--resume", "r", "--quiet"]);
}

#[test]
fn wrong_paths_are_told_by_their_kind() {
    let c = Case::new();
    c.write("a.gan", RING);
    c.refused(&["check", "."], "a folder");
    c.write("utf16.gan", [0xff, 0xfe, b'a', 0]);
    c.refused(&["check", "utf16.gan"], "UTF-16");
    c.write("latin1.gan", [b'\n', b'/', b'/', 0xe9]);
    c.refused(&["check", "latin1.gan"], "line 2");
    c.refused(&["run", "--resume", "nowhere"], "named by its folder");
    c.refused(&["run", "a.gan", "--out", "a.gan/r"], "--out");
    let e = c.refused(&["check", "nope.gan"], "nope.gan");
    assert!(!e.contains("1 error\n1 error"), "{e}");
}

#[cfg(target_os = "linux")]
#[test]
fn devices_and_pipes_are_neither_read_nor_replaced() {
    let c = Case::new();
    c.write("a.gan", RING);
    c.ok(&["run", "a.gan", "--out", "r", "--quiet"]);
    // A link stands for the device: moved onto it, a picture would replace the link.
    std::os::unix::fs::symlink("/dev/full", c.path("full")).expect("a link");
    c.refused(&["sample", "r", "-n", "4", "-o", "full"], "No space left");
    c.refused(&["sample", "r", "-n", "4", "--npy", "-o", "full"], "No space left");
    assert!(fs::symlink_metadata(c.path("full")).expect("it is there").is_symlink());
    assert!(Command::new("mkfifo").arg(c.path("pipe")).status().expect("mkfifo runs").success());
    for source in ["idx(\"pipe\")", "csv(\"pipe\")", "npy(\"/dev/zero\")", "csv(\"/dev/zero\")"] {
        c.write(
            "b.gan",
            format!(
                "data s = {source}\nnetwork N(x: [2]) -> [1] {{ linear(1) }}\n\
                 train {{ batch 2; steps 1; draw x ~ s.image\nplayer N {{ minimize mean(N(x)); using sgd(lr: 1) }} }}\n"
            ),
        );
        c.refused(&["check", "b.gan"], "only plain files");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_nobody_takes() {
    let c = Case::new();
    c.write("a.gan", RING);
    let full = || Stdio::from(fs::OpenOptions::new().write(true).open("/dev/full").expect("a full device"));
    let out = c.command(&["expand", "a.gan"]).stdout(full()).output().expect("the binary starts");
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains("standard output"));
    let status = c.command(&["check", "nope.gan"]).stderr(full()).status().expect("the binary starts");
    assert_eq!(status.code(), Some(1));
    // A reader that goes away after the first line, as `head -1` does.
    let mut child = c
        .command(&["run", "a.gan", "--out", "r", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    drop(child.stdout.take());
    assert!(child.wait().expect("it ends").success());
    assert_eq!(manifests(&c.path("r")).len(), 3);
}

#[test]
fn hostile_specs_end_soon() {
    let c = Case::new();
    let rest = "generator G(z: [2]) -> [2] { A0 }\n";
    let doubling: String = (0..60).map(|i| format!("block A{i} {{ A{}; A{} }}\n", i + 1, i + 1)).collect();
    c.write("blocks.gan", format!("{doubling}block A60 {{ }}\n{rest}"));
    c.refused(&["check", "blocks.gan"], "E0455");
    let lists: String = (0..40).map(|i| format!("const c{} = [c{i}, c{i}]\n", i + 1)).collect();
    c.write("lists.gan", format!("const c0 = [1]\n{lists}"));
    c.refused(&["check", "lists.gan"], "a list holds at most");
    c.write("items.gan", "const c = 1\n".repeat(50_000));
    c.refused(&["check", "items.gan"], "at most 4096 items");
    c.write("name.gan", format!("const {} = 1\n", "a".repeat(900_000)));
    c.refused(&["check", "name.gan"], "at most 255 characters");
    c.write("errors.gan", format!("generator G(z: [2]) -> [2] {{\n{}}}\n", "lineaar(2)\n".repeat(500)));
    let e = c.refused(&["check", "errors.gan"], "… and 450 more");
    assert!(e.ends_with("500 errors\n") && e.matches("500 errors").count() == 1);
}

/// A run that would not fit says so before it leaves a folder; the limit is the user's where one is given.
#[test]
fn too_little_memory() {
    let case = Case::new();
    case.write("big.gan", RING.replace("batch 33", "batch 20_000"));
    let said = case.refused(&["run", "big.gan", "--device", "cpu", "--memory", "4"], "E0553");
    assert!(said.contains("4.0 MiB are allowed by `--memory`") && said.contains("at most `batch "), "{said}");
    assert!(!case.path("runs").exists(), "a refused run made a folder");
    let fits = said.split("at most `batch ").nth(1).and_then(|s| s.split('`').next()).expect("a batch");
    case.write("fits.gan", RING.replace("batch 33", &format!("batch {fits}")));
    case.ok(&["check", "fits.gan", "--memory", "4"]);
    case.refused(&["check", "big.gan", "--memory", "4"], "E0553");
    case.ok(&["check", "big.gan"]);
}
