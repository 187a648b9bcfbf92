//! Generated text run on the CPU: g++ compiles it with `cuda_shim.h`, `driver.h` is the program around it.
//!
//! The shim finds barriers that not all threads reach, threads that need a barrier and have none (it shuffles them),
//! and shared memory that is read before it is written or past its end; the driver does the same for device memory.

use crate::cuda::text::{kernels as names_of, lower, parts, renamed};
use crate::support::repo;
use ganc::codegen::cuda::{Arch, Arg, Module};
use ganc::graph::eval::round;
use ganc::graph::{DType, Graph, HostData, HostTensor, Name, NodeId, Type, persistent_name};
use ganc::passes::layout::{reordered, turned_back, wanted};
use ganc::plan::{Place, Plan};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Kernels of several modules as one program.
pub struct Binary {
    dir: tempfile::TempDir,
}

impl Binary {
    fn path(&self) -> PathBuf {
        self.dir.path().join("kernels")
    }

    /// Compiles modules; kernels of the i-th one are named with [`prefix`] of i.
    pub fn new(modules: &[&Module]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut preludes: Vec<String> = vec![];
        let (mut code, mut table) = (String::new(), String::new());
        for (i, m) in modules.iter().enumerate() {
            let (prelude, kernels) = parts(m);
            // One prelude may be the beginning of another.
            if !preludes.iter().any(|p| p.starts_with(&prelude)) {
                preludes.retain(|p| !prelude.starts_with(p));
                preludes.push(prelude);
            }
            let names: Vec<String> = kernels.iter().map(|k| k.0.clone()).collect();
            for (_, text) in &kernels {
                code.push_str(&renamed(text, &names, &prefix(i)));
                for k in names_of(text) {
                    code.push_str(&format!("SHIM_KERNEL({}{k})\n", prefix(i)));
                    table.push_str(&format!("  {{\"{0}{k}\", shim_launch_{0}{k}}},\n", prefix(i)));
                }
            }
        }
        let main = format!(
            "#if __has_include(\"tensor.h\")\n#include \"tensor.h\"\n#endif\n{}\nSHIM_DYNAMIC_SHARED(ganc_shared)\n{code}\n#include \"driver.h\"\nstatic const Entry entries[] = {{\n{table}  \
             {{\"\", nullptr}}}};\nint main() {{ return driver::run(entries, sizeof entries / sizeof *entries); }}\n",
            preludes.concat()
        );
        let source = dir.path().join("main.cpp");
        std::fs::write(&source, main).expect("written");
        let include = repo("tests/cuda");
        let out = Command::new("g++")
            .args([
                "-std=c++17",
                "-O1",
                "-fno-extern-tls-init",
                "-mtls-dialect=gnu2",
                "-Wall",
                "-Wno-unknown-pragmas",
            ])
            .args(["-Wno-unused-function", "-Wno-unused-variable", "-Wno-array-bounds", "-I"])
            .arg(&include)
            .arg("-include")
            .arg(include.join("cuda_shim.h"))
            .arg(&source)
            .arg("-o")
            .arg(dir.path().join("kernels"))
            .arg("-lpthread")
            .output()
            .expect("g++ is there");
        let said = String::from_utf8_lossy(&out.stderr);
        if !out.status.success() {
            let kept = std::env::temp_dir().join("ganc-shim-failed.cpp");
            let _ = std::fs::copy(&source, &kept);
            panic!("{} (the text is in {})", said.chars().take(4000).collect::<String>(), kept.display());
        }
        Self { dir }
    }

    /// Runs launches over memory; what the regions hold afterwards.
    pub fn run(&self, seed: u32, regions: &[Region], launches: &[Call]) -> Result<Vec<Vec<u8>>, String> {
        let mut input: Vec<u8> = vec![];
        let number = |out: &mut Vec<u8>, v: usize| out.extend((v as u64).to_le_bytes());
        number(&mut input, seed as usize);
        number(&mut input, regions.len());
        for r in regions {
            number(&mut input, r.bytes);
            number(&mut input, r.data.len());
            input.extend(&r.data);
        }
        number(&mut input, launches.len());
        for l in launches {
            number(&mut input, l.kernel.len());
            input.extend(l.kernel.as_bytes());
            l.grid.iter().chain(&l.block).for_each(|v| input.extend(v.to_le_bytes()));
            number(&mut input, l.shared as usize);
            number(&mut input, l.args.len());
            for &(region, value) in &l.args {
                number(&mut input, region);
                number(&mut input, value);
            }
        }
        let mut child = Command::new(self.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        let writer = std::thread::spawn(move || {
            // A program that failed reads no further.
            let _ = stdin.write_all(&input);
        });
        let out = child.wait_with_output().expect("it ends");
        let _ = writer.join();
        if !out.status.success() {
            return Err(format!("{:?}: {}", out.status, String::from_utf8_lossy(&out.stderr)));
        }
        let mut rest = out.stdout.as_slice();
        Ok(regions
            .iter()
            .map(|r| {
                let (mine, others) = rest.split_at(r.bytes);
                rest = others;
                mine.to_vec()
            })
            .collect())
    }
}

/// What stands before the names of the i-th module's kernels.
pub fn prefix(i: usize) -> String {
    format!("m{i}_")
}

/// Memory that tensors lie in.
#[derive(Clone, Debug, Default)]
pub struct Region {
    /// Its size.
    pub bytes: usize,
    /// What it holds at first; NaN beyond.
    pub data: Vec<u8>,
}

/// A launch with addresses as region and byte; a region beyond the last one: a number.
pub struct Call {
    /// Name in the binary.
    pub kernel: String,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    /// Addresses and numbers.
    pub args: Vec<(usize, usize)>,
}

/// Elements as a device stores them.
pub fn encode(values: &[f64], dtype: DType) -> Vec<u8> {
    let one = |&v: &f64| match dtype {
        DType::F32 => (v as f32).to_le_bytes().to_vec(),
        DType::F16 => half::f16::from_f64(v).to_le_bytes().to_vec(),
        DType::Bf16 => half::bf16::from_f64(v).to_le_bytes().to_vec(),
        DType::U32 => (v as u32).to_le_bytes().to_vec(),
        DType::Bool => vec![u8::from(v != 0.0)],
    };
    values.iter().flat_map(one).collect()
}

/// The reverse.
pub fn decode(bytes: &[u8], dtype: DType) -> Vec<f64> {
    bytes
        .chunks_exact(dtype.bytes())
        .map(|b| match (dtype, b) {
            (DType::F32, &[a, b, c, d]) => f64::from(f32::from_le_bytes([a, b, c, d])),
            (DType::U32, &[a, b, c, d]) => f64::from(u32::from_le_bytes([a, b, c, d])),
            (DType::F16, &[a, b]) => half::f16::from_le_bytes([a, b]).to_f64(),
            (DType::Bf16, &[a, b]) => half::bf16::from_le_bytes([a, b]).to_f64(),
            (_, b) => f64::from(b[0]),
        })
        .collect()
}

fn host(ty: &Type, values: Vec<f64>) -> HostTensor {
    let data = match ty.dtype {
        DType::F32 | DType::F16 | DType::Bf16 => HostData::F32(values.iter().map(|&v| v as f32).collect()),
        DType::U32 => HostData::U32(values.iter().map(|&v| v as u32).collect()),
        DType::Bool => HostData::Bool(values.iter().map(|&v| v as u8).collect()),
    };
    HostTensor { shape: ty.shape.clone(), data }
}

/// A compiled graph.
pub struct Program {
    graph: Graph,
    plan: Plan,
    module: Module,
    binary: Arc<Binary>,
    index: usize,
    /// Persistent tensors, and whether their channels are last in memory.
    held: BTreeMap<String, bool>,
}

impl Program {
    fn turned(&self, name: &str) -> bool {
        self.held.get(name) == Some(&true)
    }

    /// A persistent tensor's bytes as the program has them, from those in the order of its shape, or back.
    fn ordered(&self, name: &str, shape: &[usize], bytes: &[u8], last: bool) -> Vec<u8> {
        let elements: usize = shape.iter().product();
        if !self.turned(name) || elements == 0 {
            return bytes.to_vec();
        }
        reordered(bytes, shape, bytes.len() / elements, last)
    }
}

/// How programs run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// False: one node a kernel.
    pub fuse: bool,
    /// Each tensor in memory of its own, with forbidden pages behind; else the plan's arena.
    pub apart: bool,
    /// Order of threads; 0: ascending.
    pub seed: u32,
    /// Instruction set of the text.
    pub arch: Arch,
}

/// The plan's arena, threads in order.
pub const PLAIN: Options = Options { fuse: true, apart: false, seed: 0, arch: Arch::Sm80 };
/// All checks.
pub const STRICT: Options = Options { apart: true, seed: 77, ..PLAIN };

/// Compiles many graphs into one binary, which takes much less time than one by one.
pub fn compile_all(graphs: &[&Graph], options: Options) -> Vec<Program> {
    let lowered: Vec<_> = graphs.iter().map(|g| lower(g, options.fuse, options.arch)).collect();
    let binary = Arc::new(Binary::new(&lowered.iter().map(|l| &l.2).collect::<Vec<_>>()));
    let program = |(index, (graph, plan, module)): (usize, (Graph, Plan, Module))| Program {
        held: wanted(graphs[index]),
        graph,
        plan,
        module,
        binary: binary.clone(),
        index,
    };
    lowered.into_iter().enumerate().map(program).collect()
}

/// A device that is the shim, with its persistent tensors.
pub struct Emulated {
    options: Options,
    tensors: BTreeMap<String, (Type, Vec<u8>)>,
}

impl Emulated {
    /// One without tensors.
    pub fn new(options: Options) -> Self {
        Self { options, tensors: BTreeMap::new() }
    }

    /// Sets a persistent tensor.
    pub fn put(&mut self, name: &str, ty: Type, values: &[f64]) {
        let bytes = encode(values, ty.dtype);
        self.tensors.insert(name.to_string(), (ty, bytes));
    }

    /// A persistent tensor.
    pub fn get(&self, name: &str) -> Option<HostTensor> {
        let (ty, bytes) = self.tensors.get(name)?;
        Some(host(ty, decode(bytes, ty.dtype)))
    }

    /// One run; results are as an executor's.
    pub fn step(&mut self, p: &Program, inputs: &[(&str, &HostTensor)]) -> Result<Vec<(Name, HostTensor)>, String> {
        let g = &p.graph;
        let mut m = Memory::default();
        let arena = m.add(p.module.workspace, vec![]);
        let mut at: BTreeMap<NodeId, (usize, usize)> = BTreeMap::new();
        for (&n, place) in &p.plan.places {
            let ty = g.ty(n);
            let spot = match place {
                Place::Arena { .. } if self.options.apart => (m.add(ty.bytes(), vec![]), 0),
                Place::Arena { offset, .. } => (arena, *offset),
                Place::Persistent(name) => {
                    let data = self.tensors.get(&**name).map(|t| p.ordered(name, &t.0.shape, &t.1, true));
                    let data = data.unwrap_or_default();
                    (m.named(name, ty.bytes(), data), 0)
                }
                Place::Input(name) => {
                    let given = inputs.iter().find(|i| *i.0 == **name).ok_or(format!("no input {name}"))?;
                    (m.add(ty.bytes(), encode(&given.1.to_f64(), ty.dtype)), 0)
                }
                Place::Constant(i) => {
                    let values: Vec<f64> = p.plan.constants[*i].1.iter().map(|v| round(v.0, ty.dtype)).collect();
                    (m.add(ty.bytes(), encode(&values, ty.dtype)), 0)
                }
            };
            at.insert(n, spot);
        }
        let calls: Vec<Call> = p
            .module
            .launches
            .iter()
            .map(|l| Call {
                kernel: prefix(p.index) + &l.kernel,
                grid: l.grid,
                block: l.block,
                shared: l.shared,
                args: l
                    .args
                    .iter()
                    .map(|a| match a {
                        Arg::Node(n) => at[n],
                        Arg::Scratch(byte) => (arena, *byte),
                        Arg::U32(v) => (usize::MAX, *v as usize),
                    })
                    .collect(),
            })
            .collect();
        let after = p.binary.run(self.options.seed, &m.regions, &calls)?;
        let bytes = |n: NodeId, ty: &Type| {
            let (region, from) = at[&n];
            after[region][from..from + ty.bytes()].to_vec()
        };
        for (name, region) in &m.names {
            if let Some(t) = self.tensors.get_mut(&**name) {
                t.1 = p.ordered(name, &t.0.shape, &after[*region], false);
            }
        }
        let mut kept = vec![];
        for (name, n) in &g.outputs {
            if let Some(target) = persistent_name(name) {
                let ty = g.ty(*n).clone();
                let b = ganc::fuse::base(g, *n);
                kept.push((target.to_string(), ty.clone(), bytes(b, &ty)));
            }
        }
        for (name, mut ty, bytes) in kept {
            if p.turned(&name) {
                ty.shape = turned_back(&ty.shape);
            }
            let bytes = p.ordered(&name, &ty.shape, &bytes, false);
            self.tensors.insert(name, (ty, bytes));
        }
        let result = |(name, n): &(Name, NodeId)| {
            let out = g.outputs.iter().find(|o| o.0 == *name).map_or(*n, |o| o.1);
            let ty = g.ty(out);
            (name.clone(), host(ty, decode(&bytes(*n, ty), ty.dtype)))
        };
        Ok(p.plan.results.iter().map(result).collect())
    }
}

#[derive(Default)]
struct Memory {
    regions: Vec<Region>,
    names: Vec<(Name, usize)>,
}

impl Memory {
    fn add(&mut self, bytes: usize, data: Vec<u8>) -> usize {
        self.regions.push(Region { bytes, data });
        self.regions.len() - 1
    }

    fn named(&mut self, name: &Name, bytes: usize, data: Vec<u8>) -> usize {
        if let Some(n) = self.names.iter().find(|n| n.0 == *name) {
            return n.1;
        }
        let i = self.add(bytes, data);
        self.names.push((name.clone(), i));
        i
    }
}
