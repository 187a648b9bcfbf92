//! The binary as a user runs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn ganc() -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_ganc"));
    c.env("NO_COLOR", "1").stdin(Stdio::null());
    c
}

fn spec(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/train").join(name)
}

fn run(args: &[&str]) -> Output {
    ganc().args(args).output().expect("the binary starts")
}

fn ok(args: &[&str]) -> String {
    let out = run(args);
    let (o, e) =
        (String::from_utf8_lossy(&out.stdout).into_owned(), String::from_utf8_lossy(&out.stderr).into_owned());
    assert!(out.status.success(), "ganc {args:?}\n{o}\n{e}");
    o
}

/// Runs a command that must be refused with exit code 1 (or 2 for wrong use), and gives its message.
fn refused(args: &[&str]) -> String {
    let out = run(args);
    let e = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(matches!(out.status.code(), Some(1 | 2)), "ganc {args:?}: {:?}\n{e}", out.status);
    assert!(!e.contains("panicked") && !e.contains("bug in ganc"), "{e}");
    e
}

fn s(path: &Path) -> &str {
    path.to_str().expect("a path of this test is UTF-8")
}

/// The newest checkpoint's two files as bytes.
fn last(run: &Path) -> (Vec<u8>, Vec<u8>) {
    let mut found: Vec<PathBuf> = fs::read_dir(run.join("checkpoints"))
        .expect("a run has a folder of checkpoints")
        .map(|e| e.expect("an entry").path())
        .filter(|p| p.extension().is_some_and(|e| e == "json"))
        .collect();
    found.sort();
    let manifest = found.pop().expect("a checkpoint");
    let tensors = manifest.with_extension("safetensors");
    (fs::read(manifest).expect("manifest"), fs::read(tensors).expect("tensors"))
}

#[test]
fn a_run_leaves_a_folder_that_a_person_can_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("run");
    let text = ok(&["run", s(&spec("ring.gan")), "--out", s(&out)]);
    assert!(text.contains("expect cover.modes >= 0: holds"), "{text}");
    for file in ["run.json", "spec.gan", "log.jsonl", "curves.png", "samples", "checkpoints"] {
        assert!(out.join(file).exists(), "{file} is missing");
    }
    let pictures = fs::read_dir(out.join("samples")).expect("samples").count();
    assert_eq!(pictures, 3);
    let log = fs::read_to_string(out.join("log.jsonl")).expect("log");
    assert_eq!(log.lines().filter(|l| l.contains("\"loss\"")).count(), 60);
    assert_eq!(log.lines().filter(|l| l.contains("cover.modes")).count(), 3);
    let curves = image::open(out.join("curves.png")).expect("a PNG");
    assert!(curves.width() > 200 && curves.height() > 100);
}

#[test]
fn watching_does_not_change_a_bit() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut results = Vec::new();
    for (spec_name, each) in [("digits.gan", "off"), ("digits.gan", "1"), ("digits.gan", "7")] {
        let out = dir.path().join(each);
        ok(&["run", s(&spec(spec_name)), "--out", s(&out), "--steps", "20", "--monitors", each, "--quiet"]);
        let log = fs::read_to_string(out.join("log.jsonl")).expect("log");
        let read = log.lines().filter(|l| l.contains("\"monitor\"") && l.contains("gradient.G")).count();
        assert_eq!(read, [("off", 0), ("1", 20), ("7", 2)].iter().find(|e| e.0 == each).expect("known").1);
        results.push(last(&out).1);
    }
    assert_eq!(results[0], results[1]);
    assert_eq!(results[0], results[2]);
    assert!(refused(&["run", s(&spec("ring.gan")), "--monitors", "often"]).contains("on, off, or a number"));
}

#[test]
fn threads_do_not_change_a_bit() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut results = Vec::new();
    for threads in ["1", "2", "3"] {
        let out = dir.path().join(threads);
        ok(&["run", s(&spec("digits.gan")), "--out", s(&out), "--threads", threads, "--steps", "30", "--quiet"]);
        results.push(last(&out));
    }
    assert!(results[0] == results[1] && results[0] == results[2]);
}

#[test]
fn fused_and_unfused_agree_with_the_oracle() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut results = Vec::new();
    for mode in ["--threads=1", "--no-fuse", "--oracle"] {
        let out = dir.path().join(mode);
        ok(&["run", s(&spec("digits.gan")), "--out", s(&out), mode, "--steps", "5", "--quiet"]);
        let bytes = last(&out).1;
        let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("a checkpoint");
        let mut values: Vec<(String, Vec<f32>)> = tensors
            .tensors()
            .into_iter()
            .filter(|(_, t)| t.dtype() == safetensors::Dtype::F32)
            .map(|(n, t)| {
                let v = t.data().chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect();
                (n, v)
            })
            .collect();
        values.sort_by(|a, b| a.0.cmp(&b.0));
        results.push(values);
    }
    for (other, what) in results[..2].iter().zip(["fused", "unfused"]) {
        for (a, b) in other.iter().zip(&results[2]) {
            assert_eq!(a.0, b.0);
            // Adam divides by the root of tiny second moments, so single weights may differ by a good part of a step
            // of 2e-4; all else must agree closely.
            let worst = a.1.iter().zip(&b.1).map(|(x, y)| (x - y).abs() / (y.abs() + 1.0)).fold(0.0f32, f32::max);
            assert!(worst < 5e-4, "{what} {}: {worst}", a.0);
        }
    }
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn checkpoints(run: &Path) -> usize {
    fs::read_dir(run.join("checkpoints"))
        .map(|d| d.flatten().filter(|e| e.path().extension().is_some_and(|x| x == "json")).count())
        .unwrap_or(0)
}

#[test]
fn a_killed_run_resumes_to_the_same_bytes() {
    let dir = tempfile::tempdir().expect("a folder");
    let whole = dir.path().join("whole");
    ok(&["run", s(&spec("digits.gan")), "--out", s(&whole), "--quiet"]);
    let cut = dir.path().join("cut");
    // Killed twice: once after a first checkpoint, once after a second.
    for n in 1..=2 {
        let mut command = ganc();
        if n == 1 {
            command.args(["run", s(&spec("digits.gan")), "--out", s(&cut), "--quiet"]);
        } else {
            command.args(["run", "--resume", s(&cut), "--quiet", "--threads", "2"]);
        }
        let mut child = command.spawn().expect("the binary starts");
        wait_for("a checkpoint", || checkpoints(&cut) >= n || child.try_wait().is_ok_and(|s| s.is_some()));
        let _ = child.kill();
        let _ = child.wait();
    }
    ok(&["run", "--resume", s(&cut), "--quiet"]);
    assert!(last(&whole) == last(&cut));
    let steps = |p: &Path| {
        let log = fs::read_to_string(p.join("log.jsonl")).expect("log");
        log.lines().filter(|l| l.contains("\"loss\"")).count()
    };
    assert_eq!(steps(&whole), 120);
    assert_eq!(steps(&cut), 120, "the log of a resumed run has each step once");
}

/// Buffers, snapshots, means and averages are in the checkpoints: a run cut between two of them goes on with the same
/// bytes.
#[test]
fn state_of_tricks_resumes_to_the_same_bytes() {
    let dir = tempfile::tempdir().expect("a folder");
    let (whole, cut) = (dir.path().join("whole"), dir.path().join("cut"));
    ok(&["run", s(&spec("kept.gan")), "--out", s(&whole), "--quiet"]);
    ok(&["run", s(&spec("kept.gan")), "--out", s(&cut), "--quiet"]);
    let names: Vec<String> = {
        let bytes = last(&whole).1;
        let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("a checkpoint");
        tensors.names().into_iter().map(str::to_string).collect()
    };
    for kept in ["replay:", "past:", "drift:", "ema:", "opt:"] {
        assert!(names.iter().any(|n| n.contains(kept)), "{kept} is in no checkpoint: {names:?}");
    }
    // What the last three checkpoints hold is forgotten, so that the run goes on from the first.
    for step in [26, 39, 52] {
        for ending in ["json", "safetensors"] {
            let file = cut.join(format!("checkpoints/0-{step:08}.{ending}"));
            fs::remove_file(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        }
    }
    ok(&["run", "--resume", s(&cut), "--quiet", "--threads", "2"]);
    assert!(last(&whole) == last(&cut));
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_stops() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("run");
    let mut child = ganc()
        .args(["run", s(&spec("ring.gan")), "--out", s(&out), "--steps", "4000000", "--quiet"])
        .spawn()
        .expect("the binary starts");
    wait_for("a checkpoint", || checkpoints(&out) >= 1);
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(kill.success());
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(130));
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_a_foreign_one_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("run");
    ok(&["run", s(&spec("digits.gan")), "--out", s(&out), "--quiet"]);
    let good = last(&out);
    let tensors = out.join("checkpoints/0-00000120.safetensors");
    fs::write(&tensors, &good.1[..good.1.len() / 2]).expect("cut it short");
    let again = run(&["run", "--resume", s(&out), "--quiet"]);
    assert!(again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("cut short"));
    assert!(last(&out) == good, "the run went on from the checkpoint before");
    // A record with another spec does not go with these checkpoints.
    let record = fs::read_to_string(out.join("run.json")).expect("record");
    fs::write(out.join("run.json"), record.replace("\"steps\": null", "\"steps\": 7")).expect("edit it");
    assert!(refused(&["run", "--resume", s(&out)]).contains("no checkpoint"));
    fs::write(out.join("run.json"), "{").expect("damage it");
    assert!(refused(&["run", "--resume", s(&out)]).contains("run.json"));
}

#[test]
fn an_edited_spec_is_not_resumed_silently() {
    let dir = tempfile::tempdir().expect("a folder");
    let copy = dir.path().join("ring.gan");
    fs::copy(spec("ring.gan"), &copy).expect("copy");
    let out = dir.path().join("run");
    ok(&["run", s(&copy), "--out", s(&out), "--quiet"]);
    let text = fs::read_to_string(&copy).expect("read");
    fs::write(&copy, text.replace("seed 5", "seed 6")).expect("edit");
    assert!(refused(&["run", "--resume", s(&out)]).contains("was edited"));
    ok(&["run", "--resume", s(&out), "--as-recorded", "--quiet"]);
}

#[test]
fn samples_of_a_run() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("run");
    ok(&["run", s(&spec("digits.gan")), "--out", s(&out), "--quiet", "--steps", "3"]);
    let png = dir.path().join("grid.png");
    ok(&["sample", s(&out), "-n", "12", "--seed", "3", "-o", s(&png)]);
    let first = fs::read(&png).expect("a picture");
    ok(&["sample", s(&out), "-n", "12", "--seed", "3", "-o", s(&png)]);
    assert!(fs::read(&png).expect("a picture") == first, "the same seed gives the same picture");
    ok(&["sample", s(&out), "-n", "12", "--seed", "4", "-o", s(&png)]);
    assert!(fs::read(&png).expect("a picture") != first, "another seed gives another");
    let each = dir.path().join("each");
    ok(&["sample", s(&out), "-n", "3", "--each", "-o", s(&each)]);
    assert_eq!(fs::read_dir(&each).expect("a folder").count(), 3);
    let npy = dir.path().join("x.npy");
    ok(&["sample", s(&out), "-n", "3", "--npy", "-o", s(&npy)]);
    assert!(fs::read(&npy).expect("an array").starts_with(b"\x93NUMPY"));
}

/// Tricks become core text; consts of the names of functions that it calls are not in their way.
#[test]
fn consts_may_have_names_of_functions() {
    let tricks = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ring_tricks.gan");
    for set in ["replay=true", "past=true"] {
        assert!(ok(&["check", s(&tricks), "--set", set]).contains("is fine"));
    }
    // A spec that does not parse has no consts to blame.
    let dir = tempfile::tempdir().expect("a folder");
    let broken = dir.path().join("broken.gan");
    fs::write(&broken, "const k = 0\ntrain { batch }\n").expect("a file");
    assert!(!refused(&["check", s(&broken), "--set", "k=1"]).contains("no const"));
}

#[test]
fn commands_refuse_bad_input() {
    let dir = tempfile::tempdir().expect("a folder");
    let none = dir.path().join("none.gan");
    for command in ["run", "check", "expand", "describe", "fmt", "dump", "bench", "tune", "sample"] {
        let message = refused(&[command, s(&none)]);
        assert!(message.contains("none.gan") || message.contains("run.json"), "{command}: {message}");
    }
    let ring = spec("ring.gan");
    let ring = s(&ring);
    assert!(refused(&["run", ring, "--set", "nz=3"]).contains("nz"));
    assert!(refused(&["run", ring, "--set", "nz"]).contains("NAME=VALUE"));
    assert!(refused(&["run", ring, "--steps", "0"]).contains("--steps"));
    assert!(refused(&["run", ring, "--threads", "0"]).contains("--threads"));
    assert!(refused(&["run", ring, "--device", "tpu"]).contains("tpu"));
    assert!(refused(&["run", ring, "--only", "stage9"]).contains("stage9"));
    assert!(refused(&["tune", ring, "--device", "cpu"]).contains("measures kernels on an NVIDIA GPU"));
    assert!(refused(&["tune", ring, "--candidates", "0"]).contains("--candidates"));
    assert!(refused(&["explain", "E9999"]).contains("E9999"));
    assert!(refused(&["dump", ring, "--stage", "soul"]).contains("soul"));
    let full = dir.path().join("full");
    fs::create_dir(&full).expect("a folder");
    fs::write(full.join("x"), "x").expect("a file");
    assert!(refused(&["run", ring, "--out", s(&full)]).contains("not empty"));
    let file = dir.path().join("file");
    fs::write(&file, "x").expect("a file");
    assert!(refused(&["run", ring, "--out", s(&file)]).contains("file"));
    let binary = dir.path().join("binary.gan");
    fs::write(&binary, [0u8, 255, 254, 1]).expect("a file");
    refused(&["check", s(&binary)]);
}

#[test]
fn a_precision_of_the_command_line_stands_in_place_of_that_of_the_spec() {
    let dir = tempfile::tempdir().expect("a folder");
    let ring = spec("ring.gan");
    let graph = |args: &[&str]| ok(&[&["dump", s(&ring), "--stage", "grad"], args].concat());
    let plain = graph(&[]);
    assert_eq!(graph(&["--precision", "f32"]), plain);
    assert!(graph(&["--precision", "bf16"]).contains("bf16") && !plain.contains("bf16"));
    // It replaces a setting, wherever that is.
    let text =
        fs::read_to_string(&ring).expect("a spec").replace("seed 5", "seed 5\n    if true { precision f16 }");
    let own = dir.path().join("own.gan");
    fs::write(&own, text).expect("written");
    let core = ok(&["expand", s(&own), "--precision", "bf16"]);
    assert!(core.contains("precision bf16") && !core.contains("f16 ") && !core.contains("precision f16"), "{core}");
    for command in ["check", "describe"] {
        ok(&[command, s(&own), "--precision", "f32"]);
    }
    assert!(ok(&["bench", s(&own), "--precision", "f32", "--json"]).contains("\"precision\":\"f32\""));

    // A run is that of the spec that says so itself, and goes on in it.
    let bf16 = dir.path().join("bf16.gan");
    let text = fs::read_to_string(&ring).expect("a spec").replace("seed 5", "seed 5\n    precision bf16");
    fs::write(&bf16, text).expect("written");
    let out = |name: &str| dir.path().join(name);
    ok(&["run", s(&bf16), "--out", s(&out("said")), "--quiet"]);
    ok(&["run", s(&ring), "--precision", "bf16", "--out", s(&out("given")), "--quiet"]);
    ok(&["run", s(&ring), "--out", s(&out("plain")), "--quiet"]);
    assert_eq!(last(&out("said")).1, last(&out("given")).1);
    assert_ne!(last(&out("plain")).1, last(&out("given")).1);
    let given = last(&out("given"));
    for entry in fs::read_dir(out("given").join("checkpoints")).expect("checkpoints").flatten() {
        if entry.file_name().to_string_lossy().contains("60") {
            fs::remove_file(entry.path()).expect("removed");
        }
    }
    ok(&["run", "--resume", s(&out("given")), "--quiet"]);
    assert!(last(&out("given")) == given);
    assert!(refused(&["run", s(&ring), "--precision", "f8"]).contains("f32, tf32, bf16, f16"));
}

#[test]
fn an_expectation_that_a_short_run_does_not_reach_is_not_said_to_be_wrong() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("short");
    let done = run(&["run", s(&spec("ring.gan")), "--out", s(&out), "--steps", "2"]);
    let (said, error) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert_eq!(done.status.code(), Some(1));
    let note = "expect cover.modes >= 0: NOT decided: it is asked after 40 steps, the run ended after 2";
    assert!(said.contains(note), "{said}");
    let why =
        "error: the spec expects cover.modes >= 0 after 40 steps; the run ended after 2, so that is not decided";
    assert!(error.contains(why), "{error}");
}

#[test]
fn front_end_commands() {
    let ring = spec("ring.gan");
    let expanded = ok(&["expand", s(&ring)]);
    let dir = tempfile::tempdir().expect("a folder");
    let core = dir.path().join("core.gan");
    fs::write(&core, &expanded).expect("write");
    assert_eq!(ok(&["expand", s(&core)]), expanded, "the core expands to itself");
    assert_eq!(
        ok(&["dump", s(&ring), "--stage", "graph"]),
        ok(&["dump", s(&core), "--stage", "graph"]),
        "the expansion has the same graph"
    );
    assert!(ok(&["describe", s(&ring)]).contains("linear(33)"));
    for stage in ["ast", "model", "graph", "grad", "passes", "fuse", "plan", "cuda"] {
        assert!(!ok(&["dump", s(&ring), "--stage", stage]).is_empty(), "{stage}");
    }
    assert!(ok(&["check", s(&ring)]).contains("MiB"));
    ok(&["fmt", "--check", s(&ring)]);
    assert!(ok(&["explain", "E0101"]).contains("E0101"));
}

/// Parts of sums lie in the arena where it is free: 32 MiB of them (dcgan64's weight gradients in bf16) take less than half
/// of that beyond values, state and data.
#[test]
fn a_gpus_parts_of_sums_take_little_memory_of_their_own() {
    let said = ok(&["check", "tests/bench/dcgan64.gan", "--target", "sm_90a", "--precision", "bf16"]);
    let line = said.lines().find(|l| l.contains("sm_90a:")).expect("a line for the device");
    let after = |what: &str| -> f64 {
        let rest = line.split_once(what).unwrap_or_else(|| panic!("{what}: {line}")).1.trim_start();
        rest.split([' ', ',', ')']).next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{what}: {line}"))
    };
    let beyond = after("memory ") - after("(values ") - after("parameters and state ") - after("data ");
    assert!((0.0..16.0).contains(&beyond), "{beyond} MiB: {line}");
}
