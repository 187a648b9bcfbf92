//! `ganc ablate` as a user runs it.

use crate::cli_bad::{Case, RING};
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The ring with two tricks, and one that is not taken.
fn spec() -> String {
    RING.replace(
        "    loss non_saturating\n",
        "    loss non_saturating\n    /// Why it is here.\n    trick r1(gamma: 0.1)\n    trick ema(G, decay: 0.5)\n    \
         if false { trick weight_clip(1) }\n",
    )
    .replace("adam(lr: 1e-3", "adam(lr: rate")
    .replace("data ring8", "const rate = 1e-3\ndata ring8")
}

fn read(c: &Case, name: &str) -> String {
    fs::read_to_string(c.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn each_trick_is_left_out_once_and_nothing_is_done_twice() {
    let c = Case::new();
    c.write("a.gan", spec());
    let command = ["ablate", "a.gan", "--seeds", "2", "--steps", "12", "--out", "abl", "--jobs", "2"];
    let said = c.ok(&command);
    assert!(said.contains("3 variants, 2 seeds: 6 runs, 0 of them done"), "{said}");
    assert!(said.contains("`trick weight_clip`") && said.contains("has no effect here"), "{said}");
    let table = read(&c, "abl/table.txt");
    assert!(said.contains(&table), "what is printed is what is kept");
    for part in ["as it is  ", "without r1  ", "without ema  ", " ± ", "cover.modes", "(seeds 5 to 6)"] {
        assert!(table.contains(part), "{part}\n{table}");
    }
    assert!(!table.contains("weight_clip") && !table.contains("failed"), "{table}");
    let summary = read(&c, "abl/table.csv");
    assert_eq!(summary.lines().count(), 1 + 3 * 3, "{summary}");
    assert!(summary.contains("\nwithout r1,cover.hq,2,0,"), "{summary}");
    assert_eq!(read(&c, "abl/runs.csv").lines().filter(|l| l.contains(",done,")).count(), 6);
    assert!(image::open(c.path("abl/plot.png")).expect("a PNG").height() > 100);
    // A run is an ordinary run folder, of the text without the trick.
    let without = read(&c, "abl/runs/01-without-r1/seed-6/spec.gan");
    assert!(!without.contains("r1") && !without.contains("Why") && without.contains("trick ema"), "{without}");
    c.ok(&["sample", "abl/runs/as-it-is/seed-5", "-n", "4"]);

    // Again: all is done. With a checkpoint gone, that run alone goes on, to the same table.
    let runs = read(&c, "abl/runs.csv");
    assert!(c.ok(&command).contains("6 of them done"));
    let folder = c.path("abl/runs/02-without-ema/seed-5/checkpoints");
    fs::remove_file(folder.join("0-00000012.json")).expect("the last checkpoint");
    let said = c.ok(&command);
    assert!(said.contains("5 of them done") && said.contains("without ema, seed 5: train begins"), "{said}");
    assert!(!said.contains("without r1, seed"), "{said}");
    assert_eq!(read(&c, "abl/runs.csv"), runs);
    // More seeds add to what is there; other steps are another ablation.
    let said = c.ok(&["ablate", "a.gan", "--seeds", "3", "--steps", "12", "--out", "abl"]);
    assert!(said.contains("9 runs, 6 of them done"), "{said}");
    c.refused(&["ablate", "a.gan", "--seeds", "2", "--steps", "13", "--out", "abl"], "another --out");
}

#[test]
fn values_of_a_constant_and_a_run_that_fails() {
    let c = Case::new();
    c.write("a.gan", spec());
    let args = ["ablate", "a.gan", "--seeds", "2", "--steps", "20", "--set", "rate=1e-3,1e30", "--jobs", "1"];
    let (code, said, e) = c.ganc(&args);
    assert_eq!(code, 1, "{e}");
    assert!(e.contains("rate = 1e30, seed 5: FAILED") && e.contains("2 of 4 runs failed"), "{e}");
    let table = read(&c, "runs/a-ablation/table.txt");
    assert!(said.contains(&table) && table.contains("rate = 1e-3") && table.contains(" ± "), "{table}");
    let failed = table.lines().find(|l| l.starts_with("rate = 1e30")).expect("a row");
    assert!(failed.contains("   -   ") && failed.ends_with('2'), "{table}");
    assert!(read(&c, "runs/a-ablation/runs.csv").contains("not finite at step"));
    // One seed has no standard error.
    c.ok(&["ablate", "a.gan", "--seeds", "1", "--steps", "3", "--set", "rate=1e-3,1e-4", "--out", "one"]);
    assert!(!read(&c, "one/table.txt").lines().any(|l| l.starts_with("rate") && l.contains('±')));
}

#[test]
fn bad_input_of_ablate() {
    let c = Case::new();
    c.write("a.gan", spec());
    c.refused(&["ablate", "none.gan"], "none.gan");
    c.refused(&["ablate", "a.gan", "--seeds", "0"], "--seeds 0");
    c.refused(&["ablate", "a.gan", "--seeds", "100000"], "--seeds");
    c.refused(&["ablate", "a.gan", "--jobs", "0"], "--jobs");
    c.refused(&["ablate", "a.gan", "--steps", "0"], "--steps 0");
    c.refused(&["ablate", "a.gan", "--seed", "18446744073709551615"], "--seed");
    c.refused(&["ablate", "a.gan", "--set", "rate=1,"], "between commas");
    c.refused(&["ablate", "a.gan", "--set", "rate=1,1"], "there twice");
    c.refused(&["ablate", "a.gan", "--set", "rate"], "NAME=VALUE");
    c.refused(&["ablate", "a.gan", "--set", "q=1,2"], "q");
    c.refused(&["ablate", "a.gan", "--device", "tpu"], "tpu");
    c.write("file", "x");
    c.refused(&["ablate", "a.gan", "--out", "file/x"], "file/x");
    c.write("plain.gan", RING);
    let e = c.refused(&["ablate", "plain.gan"], "no `trick` lines");
    assert!(e.contains("--set"), "{e}");
    let lines = spec();
    let mute: Vec<&str> = lines.lines().filter(|l| !l.contains("evaluate") && !l.contains("expect")).collect();
    c.write("mute.gan", mute.join("\n"));
    c.refused(&["ablate", "mute.gan"], "evaluates nothing");
    c.write("nets.gan", "generator G(z: [2]) -> [2] { linear(2) }\n");
    c.refused(&["ablate", "nets.gan"], "no `train`");
    assert!(!c.path("runs").exists(), "what is refused leaves nothing");
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_all_and_the_same_command_goes_on() {
    let c = Case::new();
    // Long enough for a signal to arrive, short enough to be finished afterwards.
    c.write("a.gan", spec());
    let args = ["ablate", "a.gan", "--seeds", "2", "--steps", "4000000", "--out", "abl"];
    let child = c.command(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let began = Instant::now();
    let found = || {
        let saved = |d: fs::DirEntry| {
            fs::read_dir(d.path().join("seed-5/checkpoints")).is_ok_and(|mut c| c.next().is_some())
        };
        fs::read_dir(c.path("abl/runs")).is_ok_and(|d| d.flatten().any(saved))
    };
    while !found() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited in vain for a checkpoint");
        std::thread::sleep(Duration::from_millis(5));
    }
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(kill.success());
    let out = child.wait_with_output().expect("it ends");
    let e = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(130), "{e}");
    assert!(e.contains("0 of 6 runs are done") && e.contains("the same command goes on"), "{e}");
}
