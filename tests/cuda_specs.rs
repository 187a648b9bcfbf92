//! Whole specs as CUDA text: every kernel through NVRTC, one iteration of the examples on the CPU.

use crate::cuda::emulate::{Emulated, Options, PLAIN, compile_all};
use crate::cuda::nvrtc::{self, Nvrtc, Usage};
use crate::cuda::text::{kernels, lower, parts, renamed};
use crate::golden_util::error;
use crate::support::{compile_as, compile_file, repo};
use ganc::build::program::Compiled;
use ganc::codegen::cuda::Arch;
use ganc::exec::Executor;
use ganc::exec::cpu::{CpuExecutor, CpuOptions};
use ganc::graph::{Graph, HostTensor};
use ganc::passes;
use ganc::train::{driver, feed};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// Specs in these folders.
fn specs(folders: &[&str]) -> Vec<PathBuf> {
    let mut found = vec![];
    for folder in folders {
        let entries = std::fs::read_dir(repo(folder)).expect("a folder of specs");
        found.extend(
            entries.map(|e| e.expect("an entry").path()).filter(|p| p.extension().is_some_and(|e| e == "gan")),
        );
    }
    found.sort();
    found
}

/// The graphs of all iterations of a spec, simplified.
fn graphs(c: &Compiled) -> Vec<Graph> {
    let all = c.trains.iter().flat_map(|t| &t.iterations);
    all.map(|i| passes::run(i.graph.clone(), &passes::Options::default())).collect()
}

/// A kernel's text without what hardly matters to its registers: where no template is given numbers (a vector's
/// width, a tile's shape), all numbers are alike.
fn likeness(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let shape = line.split('<').skip(1).any(|p| p.starts_with(|c: char| c.is_ascii_digit()));
        if shape || line.contains("__launch_bounds__") || line.contains('[') && line.ends_with("];") {
            out.push_str(line);
            out.push('\n');
            continue;
        }
        let mut word = false;
        let mut number = false;
        for c in line.chars() {
            if c.is_ascii_digit() && !word {
                if !number {
                    out.push('#');
                }
                number = true;
                continue;
            }
            number = false;
            word = c.is_ascii_alphanumeric() || c == '_';
            out.push(c);
        }
        out.push('\n');
    }
    out
}

/// Kernels that differ in more than numbers: prelude to name and text.
#[derive(Default)]
struct Kernels {
    seen: BTreeSet<String>,
    by_prelude: BTreeMap<String, Vec<(String, String)>>,
    all: usize,
}

impl Kernels {
    fn add(&mut self, g: &Graph, fusion: &[bool], arch: Arch) {
        for &fused in fusion {
            let (_, _, module) = lower(g, fused, arch);
            let (prelude, pieces) = parts(&module);
            for (name, text) in pieces {
                self.all += 1;
                let bare = renamed(&text, std::slice::from_ref(&name), "$").replace(&format!("${name}"), "$");
                if self.seen.insert(likeness(&bare)) {
                    let list = self.by_prelude.entry(prelude.clone()).or_default();
                    let unique = format!("k{}", list.len());
                    let text =
                        renamed(&text, std::slice::from_ref(&name), "$").replace(&format!("${name}"), &unique);
                    list.push((unique, text));
                }
            }
        }
    }

    /// Programs of some kernels each.
    fn programs(&self) -> Vec<(String, usize)> {
        let mut programs = vec![];
        for (prelude, all) in &self.by_prelude {
            for some in all.chunks(16) {
                let text: String = some.iter().map(|k| k.1.as_str()).collect();
                programs.push((format!("{prelude}{text}"), kernels(&text).len()));
            }
        }
        programs
    }
}

/// Compiles all of them on two threads; what each kernel takes.
fn compile(nvrtc: &Nvrtc, programs: &[(String, usize)], target: &str) -> Vec<Usage> {
    let (next, found, spills) = (Mutex::new(programs.iter()), Mutex::new(vec![]), Mutex::new(vec![]));
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                loop {
                    let Some((text, count)) = next.lock().expect("no panic").next() else { return };
                    let (cubin, usage) =
                        nvrtc.compile(text, target).unwrap_or_else(|e| panic!("{target}: {e}\n{text}"));
                    assert!(cubin.starts_with(b"\x7fELF"), "machine code");
                    assert_eq!(usage.len(), *count, "each kernel is reported");
                    for u in usage.iter().filter(|u| u.spilled > 0) {
                        let at = text.find(&format!("{}(", u.kernel)).unwrap_or(0);
                        let shape: Vec<&str> = text[at..]
                            .lines()
                            .filter(|l| l.contains("ganc_shape<") || l.contains("ganc_add"))
                            .collect();
                        let shape = shape.first().unwrap_or(&"");
                        let what = format!(
                            "{target}: {} {} bytes, {} registers, {shape}",
                            u.kernel, u.spilled, u.registers
                        );
                        spills.lock().expect("no panic").push(what);
                    }
                    found.lock().expect("no panic").extend(usage);
                }
            });
        }
    });
    let spills: Vec<String> = spills.into_inner().expect("no panic");
    assert!(spills.is_empty(), "{} kernels spill\n{}", spills.len(), spills.join("\n"));
    found.into_inner().expect("no panic")
}

#[test]
fn nvrtc_compiles_every_kernel() {
    let Some(nvrtc) = nvrtc::find() else { return };
    let started = std::time::Instant::now();
    // What ends up in kernels is in the small cases, with and without fusion: they are compiled for every architecture.
    // The iterations of examples and benchmarks are every combination of it; they are compiled for sm_90a only, to
    // spare minutes. The specs of tests/specs, which show the language, are not. Of kernels that are alike but for
    // numbers one is compiled.
    let (mut small, mut whole) = (vec![], vec![]);
    for path in specs(&["examples", "tests/bench"]) {
        // Some of them use what is part of the language, and not of this version.
        if let Ok(c) = compile_file(&path) {
            whole.extend(graphs(&c));
        }
    }
    for path in specs(&["tests/cases/graph"]) {
        let text = std::fs::read_to_string(&path).expect("a case");
        small.extend(graphs(&compile_as(&repo("examples/case.gan"), &text).unwrap_or_else(|e| panic!("{e}"))));
    }
    small.extend(crate::filetests::files().iter().map(|f| crate::filetests::parse(&f.1).graph));
    for arch in Arch::ALL {
        let target = arch.target();
        let mut kernels = Kernels::default();
        small.iter().for_each(|g| kernels.add(g, &[true, false], arch));
        if arch == Arch::Sm90a {
            whole.iter().for_each(|g| kernels.add(g, &[true], arch));
            assert!(kernels.all > 1000, "{} kernels", kernels.all);
        }
        let usage = compile(&nvrtc, &kernels.programs(), target);
        let most = usage.iter().map(|u| u.registers).max();
        eprintln!(
            "{target}: {} kernels, {} different, at most {most:?} registers, {:.1} s",
            kernels.all,
            usage.len(),
            started.elapsed().as_secs_f64()
        );
    }
}

/// One iteration of a `train` of a spec with a small batch, on the CPU executor and as CUDA text.
fn agree(spec: &str, train: usize) {
    let path = repo(spec);
    let text = std::fs::read_to_string(&path).expect("a spec");
    let cut = |l: &str| if l.trim_start().starts_with("batch ") { "batch 3".into() } else { l.to_string() };
    let text: Vec<String> = text.lines().map(cut).collect();
    let c = compile_as(&path, &text.join("\n")).unwrap_or_else(|e| panic!("{spec}\n{e}"));
    let mut cpu = CpuExecutor::new(CpuOptions::default());
    driver::initialise(&c, &mut cpu, 1, None).unwrap();
    driver::initialise(&c, &mut cpu, 1, Some(train)).unwrap();
    let train = &c.trains[train];
    let data: Vec<_> = c.data.iter().map(|p| Arc::new(ganc::data::open(p).expect("bundled data"))).collect();
    let loaders = driver::loaders(train, &data).expect("loaders");
    let it = &train.iterations[feed::variant(train, 1).expect("a variant")];
    let batches = feed::batches(it, &loaders, &vec![0; train.lines.len()]);
    let (seed, count) = (HostTensor::u32([2], vec![1, 0]), HostTensor::u32([], vec![1]));
    let mut inputs: Vec<(&str, &HostTensor)> = vec![("seed", &seed), ("iteration", &count)];
    inputs.extend(it.inputs.iter().zip(&batches).map(|(i, t)| (&*i.input, t)));

    let options: Options = PLAIN;
    let mut device = Emulated::new(options);
    let kept: Vec<_> = c.tensors.iter().filter(|d| cpu.fetch(&d.name).unwrap().is_some()).collect();
    for d in &kept {
        let t = cpu.fetch(&d.name).unwrap().expect("it is stored");
        device.put(&d.name, d.ty.clone(), &t.to_f64());
    }
    let simple = passes::run(it.graph.clone(), &passes::Options::default());
    let program = &compile_all(&[&simple], options)[0];
    let got = device.step(program, &inputs).unwrap_or_else(|e| panic!("{spec}: {e}"));
    let mut p = cpu.compile(&it.graph).expect("the CPU compiles");
    let want = cpu.run(&mut p, &inputs).expect("the CPU runs");
    for ((name, want), (_, got)) in want.iter().zip(&got) {
        let e = error(&got.to_f64(), &want.to_f64(), 1.0);
        assert!(e < 1e-3, "{spec}: {name} is off by {e:e}");
    }
    for d in &kept {
        let want = cpu.fetch(&d.name).unwrap().expect("it is stored").to_f64();
        let e = error(&device.get(&d.name).expect("it is stored").to_f64(), &want, 1.0);
        // As in the comparison of the CPU executor with the oracle: a first step of Adam is a step of any gradient.
        assert!(e < 2.5e-3, "{spec}: {} is off by {e:e}", d.name);
    }
}

/// Operands that several products read are packed once, and sums end in the launch that makes them.
#[test]
fn launches_of_cuda_text_are_few() {
    let specs = [("ring_mlp", 5, 0), ("unrolled_ring", 34, 0), ("dcgan28", 69, 2), ("dcgan64", 150, 4)];
    for (name, most, packs) in specs {
        let spec = format!("tests/bench/{name}.gan");
        let c = compile_file(&repo(&spec)).unwrap_or_else(|e| panic!("{e}"));
        let (_, plan, module) = lower(&graphs(&c)[0], true, Arch::Sm90a);
        assert!(module.launches.len() <= most, "{spec}: {} launches", module.launches.len());
        let apart = plan.groups.is_empty();
        assert!(!plan.followed.is_empty() || !apart, "maps go with reductions, or all share launches");
        let packed: Vec<_> = module.launches.iter().filter(|l| l.kernel.contains("_pack")).collect();
        assert!(packed.len() <= packs, "{spec}: {} packs", packed.len());
        let mut places = BTreeSet::new();
        assert!(packed.iter().all(|l| places.insert(l.args.clone())), "{spec}: the same packs");
        assert!(module.launches.iter().all(|l| !l.kernel.contains("_finish")), "{spec}");
    }
}

#[test]
fn ring() {
    agree("examples/ring.gan", 0);
}

#[test]
fn wgan_gp() {
    agree("examples/wgan_gp.gan", 0);
}

/// Weights so large that their update is a kernel of its own, few channels, batch norm, DiffAugment.
#[test]
fn avatars() {
    agree("examples/avatars.gan", 1);
}
