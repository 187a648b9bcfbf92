//! A module's text in parts that are compiled beside each other.
//!
//! NVRTC works on one text in one thread, and a spec of some hundred kernels takes it half a minute. Its optimiser, in
//! which that time goes, runs in as many threads as there are texts. Each part is what stands before all kernels and
//! some of the kernels; the parts depend on the text alone, so that machines with more or fewer cores find each
//! other's entries in a cache.

use super::cache::Cache;
use super::error::CudaError;
use super::nvrtc::{Nvrtc, options};
use crate::codegen::cuda::KERNEL;
use std::collections::BTreeSet;
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Kernels of a part at most: what stands before them is read again for each part, and each part is loaded by itself.
const KERNELS: usize = 16;

/// What the kernels of a part weigh at most, see [`weight`]; one that weighs more is a part by itself.
const FULL: usize = 16_000;

/// Bytes of text that the template of a product is worth, inlined for the operands of one kernel; and a product of two
/// matrices, which is compiled apart, once for each pair of types (seen with NVRTC 13.0: time goes along with what they
/// add up to, with a correlation of 0.7 to 0.97).
const PRODUCT: usize = 12_000;
const MATRICES: usize = 3_000;

/// Stack of a thread that compiles; the compiler was written for that of a main thread.
const STACK: usize = 16 << 20;

/// What became of a part; `None`: nothing yet.
type Made = Option<Result<Vec<u8>, CudaError>>;

/// One part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// A text for NVRTC.
    pub text: String,
    /// Names of its kernels.
    pub kernels: Vec<String>,
}

/// What a kernel takes to compile, in bytes of text.
fn weight(kernel: &str) -> usize {
    let inlined = if kernel.contains("ganc_multiply<") { PRODUCT } else { 0 };
    let apart =
        kernel.split("ganc_multiply_matrices<").skip(1).filter_map(|rest| rest.split_once('(').map(|r| r.0));
    kernel.len() + inlined + MATRICES * apart.collect::<BTreeSet<_>>().len()
}

/// The parts of a text, about those first that take longest: no part takes much longer than the longest kernel does.
pub fn chunks(text: &str) -> Vec<Chunk> {
    let mut pieces = text.split(KERNEL);
    let before = pieces.next().unwrap_or_default();
    let mut kernels: Vec<&str> = pieces.collect();
    kernels.sort_by_key(|k| std::cmp::Reverse(weight(k)));
    let mut all: Vec<Chunk> = vec![];
    // Weight and kernels of each.
    let mut held: Vec<(usize, usize)> = vec![];
    for kernel in kernels {
        let weight = weight(kernel);
        let room = held.iter().position(|h| h.0 + weight <= FULL && h.1 < KERNELS);
        let at = room.unwrap_or_else(|| {
            all.push(Chunk { text: before.to_string(), kernels: vec![] });
            held.push((0, 0));
            all.len() - 1
        });
        held[at] = (held[at].0 + weight, held[at].1 + 1);
        let chunk = &mut all[at];
        chunk.text.push_str(KERNEL);
        chunk.text.push_str(kernel);
        chunk.kernels.extend(names(kernel));
    }
    all
}

/// Names of the kernels that a text defines: the first word after each `__global__` that parameters follow, and that
/// is no attribute.
fn names(text: &str) -> Vec<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = vec![];
    for after in text.split("__global__").skip(1) {
        let mut rest = after;
        while let Some(at) = rest.find(word) {
            let end = rest[at..].find(|c| !word(c)).map_or(rest.len(), |n| at + n);
            let (name, follows) = (&rest[at..end], rest[end..].trim_start());
            if !follows.starts_with('(') {
                rest = follows;
            } else if name.starts_with("__") {
                rest = past(follows);
            } else {
                found.push(name.to_string());
                break;
            }
        }
    }
    found
}

/// What follows the parentheses with which a text begins.
fn past(text: &str) -> &str {
    let mut depth = 0;
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => return &text[i + 1..],
            ')' => depth -= 1,
            _ => {}
        }
    }
    ""
}

/// Machine code of a text's parts for a target such as `sm_90a`, from the cache where it has it.
///
/// # Errors
/// What the compiler says of the first part that it refuses.
pub fn cubins(
    text: &str,
    target: &str,
    compiler: &Nvrtc,
    cache: &Cache,
) -> Result<Vec<(Chunk, Vec<u8>)>, CudaError> {
    let (options, version) = (options(target), compiler.version.to_string());
    let parts = chunks(text);
    let made = compile(&parts, &|text| {
        let mut decides: Vec<&[u8]> = vec![text.as_bytes(), version.as_bytes()];
        decides.extend(options.iter().map(|o| o.as_bytes()));
        cache.get_or(&Cache::key(&decides), || compiler.compile(text, &options).map(|c| c.0))
    })?;
    Ok(parts.into_iter().zip(made).collect())
}

/// What `compile` makes of each part, in their order, on all cores. After an error no other part is begun.
///
/// # Errors
/// Of the parts that failed, that of the first.
pub fn compile(
    chunks: &[Chunk],
    compile: &(dyn Fn(&str) -> Result<Vec<u8>, CudaError> + Sync),
) -> Result<Vec<Vec<u8>>, CudaError> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let made: Vec<Mutex<Made>> = chunks.iter().map(|_| Mutex::new(None)).collect();
    let work = || {
        while !failed.load(Ordering::Relaxed) {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let (Some(chunk), Some(place)) = (chunks.get(i), made.get(i)) else { return };
            let result = compile(&chunk.text);
            failed.fetch_or(result.is_err(), Ordering::Relaxed);
            if let Ok(mut place) = place.lock() {
                *place = Some(result);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(chunks.len());
    std::thread::scope(|s| {
        for _ in 1..threads {
            // Where the system gives no thread, the others do its work.
            let _ = std::thread::Builder::new().name("nvrtc".into()).stack_size(STACK).spawn_scoped(s, work);
        }
        work();
    });
    let made: Vec<_> = made.into_iter().filter_map(|m| m.into_inner().ok().flatten()).collect();
    let all = made.into_iter().collect::<Result<Vec<_>, _>>()?;
    if all.len() < chunks.len() {
        return Err(CudaError::Compile("a part of the program was not compiled".into()));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(kernels: usize) -> String {
        let kernel = |i: usize| format!("{KERNEL}k{i}\n__global__ void k{i}() {{{}}}\n", ";".repeat(i % 7));
        "struct A;\n".to_string() + &(0..kernels).map(kernel).collect::<String>()
    }

    #[test]
    fn kernels_are_known_by_their_definitions() {
        let text = "two\n__device__ int f(int x) {}\nextern \"C\" __global__ void __launch_bounds__(32 * (2), 1) two_a(int n) {}
__global__ void\ntwo_b (float* p) { f(1); }\n__global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(64) c() {}\n";
        assert_eq!(names(text), ["two_a", "two_b", "c"]);
        assert!(names("__global__ void __launch_bounds__(").is_empty());
    }

    #[test]
    fn every_kernel_is_in_one_part_after_what_all_need() {
        for n in [0, 1, 8, 9, 100] {
            let parts = chunks(&text(n));
            assert_eq!(parts.len(), n.div_ceil(KERNELS));
            assert_eq!(parts, chunks(&text(n)));
            let mut names: Vec<&String> = parts.iter().flat_map(|c| &c.kernels).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), n);
            for c in &parts {
                assert!(c.text.starts_with("struct A;\n") && c.kernels.len() <= KERNELS);
                assert!(
                    c.kernels.iter().all(|k| c.text.contains(&format!("// kernel {k}\n__global__ void {k}()")))
                );
                assert_eq!(c.text.matches("__global__").count(), c.kernels.len());
            }
        }
    }

    #[test]
    fn what_takes_long_is_apart_and_first() {
        let short = |i: usize| format!("{KERNEL}k{i}\n__global__ void k{i}() {{}}\n");
        let long = |i: usize, body: &str| format!("{KERNEL}k{i}\n__global__ void k{i}() {{ {body} }}\n");
        let product = "ganc_multiply<ganc_math_f32, Shape>(a, b);";
        let chain: String = (0..5).map(|i| format!("ganc_multiply_matrices<A, B{i}>(a); ")).collect();
        let text = [short(0), long(1, product), short(2), long(3, &chain), long(4, product)].concat();
        let parts: Vec<Vec<String>> = chunks(&text).into_iter().map(|c| c.kernels).collect();
        assert_eq!(parts, [vec!["k3", "k0", "k2"], vec!["k1"], vec!["k4"]]);
    }

    #[test]
    fn results_are_in_the_order_of_the_parts_and_the_first_error_is_told() {
        let parts = chunks(&text(100));
        let same = compile(&parts, &|t| Ok(t.as_bytes().to_vec())).unwrap();
        assert!(same.iter().zip(&parts).all(|(s, c)| *s == c.text.as_bytes()) && same.len() == parts.len());
        let bad = |t: &str| if t.contains("k13()") { Err(CudaError::Compile("k13".into())) } else { Ok(vec![1]) };
        assert!(matches!(compile(&parts, &bad), Err(CudaError::Compile(e)) if e == "k13"));
        assert_eq!(compile(&[], &bad).unwrap(), Vec::<Vec<u8>>::new());
    }
}
