#!/usr/bin/env bash
# All checks and benchmarks that need an NVIDIA GPU, in one command:
#
#   tests/gpu.sh [FOLDER]
#
# Builds nothing and reaches no network: it runs a release binary and a test binary that were built for this kind of
# machine, perhaps elsewhere (tests/GPU.md says how). What must be right runs first, as many at once as there are
# cores; what is timed runs then, alone. Everything is written into FOLDER (default: gpu-results): a text file a part,
# results.jsonl with a line a check, summary.txt, table.md, and results.tgz with all of these. What is missing (a
# device, PyTorch, compute-sanitizer), and what no longer fits the time, is skipped visibly. The exit code is that of
# the checks: 0 if none failed, 3 if there is no device.
#
#   GANC        the binary               (default: target/release/ganc)
#   GANC_TESTS  the test binary          (default: the newest target/release/deps/it-*)
#   PYTHON      a python3 with PyTorch   (default: python3)
#   SANITIZER   compute-sanitizer        (default: that of PATH or CUDA_HOME)
#   DEVICE      which device             (default: cuda:0)
#   PARTS       which parts              (default: cold tests train sanitizer bench peers profile; and tune)
#   WORKLOADS   which workloads          (default: all six)
#   MODES       of the peers             (default: graph eager compile,cgraph jit; the last is JAX, the others PyTorch)
#   LIMIT_S     seconds in all           (default: 540)
#   CORES       checks at once           (default: the cores)
#   WORK        runs, checkpoints and caches, which nobody needs later (default: FOLDER/work)
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
out=${1:-gpu-results}
mkdir -p "$out" || exit 2
out=$(cd "$out" && pwd)
repo=$(pwd)
export GANC_REPO=$repo
ganc=${GANC:-target/release/ganc}
tests=${GANC_TESTS:-$(find target/release/deps -maxdepth 1 -name 'it-*' ! -name '*.d' -printf '%T@ %p\n' 2>/dev/null | sort -rn | head -n 1 | cut -d' ' -f2)}
python=${PYTHON:-python3}
device=${DEVICE:-cuda:0}
parts=${PARTS:-cold tests train sanitizer bench peers profile}
workloads=${WORKLOADS:-ring_mlp dcgan28 dcgan64 wgan_gp32 sngan32 unrolled_ring}
modes_of_peers=${MODES:-graph eager compile,cgraph jit}
precisions="f32 tf32 bf16"
limit_s=${LIMIT_S:-540}
cores=${CORES:-$(nproc)}
work=${WORK:-$out/work}
results=$out/results.jsonl
rm -rf "$work" && mkdir -p "$work" || exit 2
: >"$results"
export GANC_CACHE=$work/kernels
export TORCHINDUCTOR_CACHE_DIR=$work/inductor TRITON_CACHE_DIR=$work/triton
export TORCHINDUCTOR_FX_GRAPH_CACHE=1 TORCHINDUCTOR_AUTOGRAD_CACHE=1
export JAX_COMPILATION_CACHE_DIR=$work/jax JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 XLA_PYTHON_CLIENT_PREALLOCATE=false

# What is left of the time until a second, without what the end takes.
deadline=$((limit_s - 5))
left() { echo $((deadline - SECONDS)); }

# note PART NAME STATUS SECONDS DETAIL: a line of results.jsonl and of the terminal
note() {
  local detail=${5//\\/\\\\}
  detail=${detail//\"/\\\"}
  printf '{"part": "%s", "name": "%s", "status": "%s", "seconds": %s, "detail": "%s"}\n' \
    "$1" "$2" "$3" "$4" "$detail" >>"$results"
  printf '%-9s %-34s %-7s %5s s  %s\n' "$1" "$2" "$3" "$4" "$5"
}

file_of() { echo "$out/$1-${2//[^A-Za-z0-9_.]/_}.txt"; }

# Whether a text says that the run ended well but for expectations, which few iterations do not reach.
only_expects() { grep -q '^error: the spec expects' "$1" && ! grep '^error' "$1" | grep -qv '^error: the spec expects'; }

# check PART NAME LIMIT_S COMMAND...: runs within a limit and the time that is left, output into PART-NAME.txt
check() {
  local part=$1 name=$2 limit=$3 file began rc bad=FAILED late=FAILED
  shift 3
  # A limit that the time left has cut says nothing about what runs into it.
  [ "$limit" -gt "$(left)" ] && limit=$(left) late=skipped
  if [ "$limit" -lt 5 ]; then
    note "$part" "$name" skipped 0 "no time left of LIMIT_S=$limit_s"
    return 1
  fi
  # What others need long for is no failure of ours.
  case $part in peers | fill) bad=skipped late=skipped ;; esac
  file=$(file_of "$part" "$name")
  began=$SECONDS
  timeout -k 5 "$limit" "$@" >"$file" 2>&1
  rc=$?
  case $part in
    setup | train) [ "$rc" -eq 1 ] && only_expects "$file" && rc=0 ;;
    # The program's own exit code hides the tool's: what the tool counted decides.
    sanitizer) [ "$rc" -eq 1 ] && only_expects "$file" && grep -q 'SUMMARY: 0 ' "$file" && rc=0 ;;
  esac
  case $rc in
    0) note "$part" "$name" passed $((SECONDS - began)) "" ;;
    124 | 137) note "$part" "$name" "$late" $((SECONDS - began)) "stopped after $limit s" ;;
    *) note "$part" "$name" "$bad" $((SECONDS - began)) "exit code $rc: $(grep -v '^ *$' "$file" | tail -n 1 | tr -d '\r\t' | cut -c1-200)" ;;
  esac
  return $rc
}

# job …: the same beside others, as many as there are cores
job() {
  while [ "$(jobs -rp | wc -l)" -ge "$cores" ]; do wait -n; done
  check "$@" &
}

has() { case " $parts " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }

finish() {
  local pids
  pids=$(jobs -rp)
  [ -n "$pids" ] && kill $pids 2>/dev/null
  {
    echo "ganc on a GPU: $(date -u +%Y-%m-%dT%H:%MZ), commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown), $SECONDS s"
    cat "$out/device.txt" 2>/dev/null
    for s in passed FAILED skipped; do
      echo "$s: $(grep -c "\"status\": \"$s\"" "$results")"
    done
    grep '"status": "FAILED"' "$results"
    grep '"status": "skipped"' "$results"
    for f in cold.jsonl bench.jsonl apart.jsonl peers.jsonl tuned.jsonl; do
      [ -s "$out/$f" ] && echo "$f:" && cat "$out/$f"
    done
  } >"$out/summary.txt"
  echo
  cat "$out/summary.txt"
  if [ -s "$out/bench.jsonl" ]; then
    "$python" tests/bench/table.py "$out" >"$out/table.md" 2>&1
    echo
    cat "$out/table.md"
  fi
  (cd "$out" && tar czf results.tgz -- *.txt *.jsonl $(ls table.md 2>/dev/null))
}
trap finish EXIT

[ -x "$ganc" ] || { note setup binary FAILED 0 "no binary at $ganc: build it with cargo build --release, or set GANC"; exit 2; }
nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv,noheader >"$out/device.txt" 2>/dev/null ||
  echo "nvidia-smi gives no answer" >"$out/device.txt"
echo "$(nproc) cores" >>"$out/device.txt"
"$ganc" --version >>"$out/device.txt"

# Two iterations of the smallest spec say whether the device can be used; the message is the binary's own.
if ! check setup "one small run" 120 "$ganc" run tests/train/ring.gan --steps 2 --out "$work/setup" --device "$device"; then
  note setup device skipped 0 "no usable device: everything else is skipped"
  exit 3
fi
torch=
if has peers; then
  if "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then torch=yes; fi
fi

usable=
for w in $workloads; do
  if "$ganc" check "tests/bench/$w.gan" --target sm_90a >"$out/bench-check-$w.txt" 2>&1; then
    usable="$usable $w"
  else
    note bench "$w" skipped 0 "refused: $(head -n 1 "$out/bench-check-$w.txt" | cut -c1-160)"
  fi
done

# 1. The first step of each workload with nothing compiled before, alone: first_step_s.
if has cold; then
  : >"$out/cold.jsonl"
  for w in $usable; do
    check cold "$w" 60 "$ganc" bench "tests/bench/$w.gan" --precision f32 --device "$device" --json --repeat 1 --warmup 1 &&
      grep -h '^{' "$(file_of cold "$w")" >>"$out/cold.jsonl"
  done
fi

# 2. What must be right, beside each other; at most half of the time, if something is to be timed after it.
if has bench || has peers || has profile || has tune; then deadline=$((SECONDS + (limit_s - SECONDS) / 2)); fi

# Executors agree on all cases and precisions; two runs are bitwise equal; CPU and GPU step by step.
if has tests; then
  if [ -n "$tests" ] && [ -x "$tests" ]; then
    for name in $("$tests" gpu:: --list 2>/dev/null | sed -n 's/: test$//p'); do
      job tests "${name#gpu::}" 420 "$tests" --exact "$name" --nocapture --test-threads 1
    done
  else
    note tests gpu skipped 0 "no test binary; set GANC_TESTS"
  fi
fi
# compute-sanitizer on two small specs with every kind of kernel.
if has sanitizer; then
  sanitizer=${SANITIZER:-$(command -v compute-sanitizer || ls "${CUDA_HOME:-/usr/local/cuda}"/bin/compute-sanitizer 2>/dev/null | head -n 1)}
  if [ -n "$sanitizer" ]; then
    for tool in memcheck racecheck initcheck; do
      for spec in tests/train/ring.gan tests/train/digits.gan; do
        name="$tool $(basename "$spec" .gan)"
        job sanitizer "$name" 150 "$sanitizer" --tool "$tool" --error-exitcode 9 \
          "$ganc" run "$spec" --steps 3 --out "$work/sanitizer-${name// /-}" --device "$device" --quiet
      done
    done
  else
    note sanitizer all skipped 0 "compute-sanitizer was not found on PATH or in CUDA_HOME"
  fi
fi
# Training: each example for a while, twice.
if has train; then
  for spec in examples/*.gan; do
    name=$(basename "$spec" .gan)
    for run in a b; do
      job train "$name ($run)" 120 "$ganc" run "$spec" --steps 200 --out "$work/$name-$run" --device "$device" --quiet
    done
  done
fi
# What timed programs compile, so that it does not take their time: our kernels, and those of the peers' compilers.
if has bench; then
  for w in $usable; do
    for p in $precisions; do
      job fill "$w $p" 90 "$ganc" bench "tests/bench/$w.gan" --precision "$p" --device "$device" --json --repeat 1 --warmup 1
    done
    job fill "$w f32 apart" 90 env GANC_CUDA_SHARED=0 "$ganc" bench "tests/bench/$w.gan" --precision f32 --device "$device" --json --repeat 1 --warmup 1
  done
fi
if [ -n "$torch" ] && grep -q compile <<<"$modes_of_peers"; then
  for p in $precisions; do
    for w in $usable; do
      job fill "$w $p compile" 240 env TORCHINDUCTOR_COMPILE_THREADS=2 "$python" tests/bench/torch_gan.py --workload "$w" --mode compile \
        --dtype "$p" --device cuda --repeat 1 --warmup 1 --steps 1
    done
  done
fi
if [ -n "$torch" ] && grep -qw jit <<<"$modes_of_peers"; then
  for w in $usable; do
    job fill "$w jit" 240 "$python" tests/bench/jax_gan.py --workload "$w" --dtype "${precisions// /,}" --device cuda --repeat 1 --warmup 1 --steps 1
  done
fi
wait
cat "$out"/tests-*.txt 2>/dev/null | grep '^gpu: ' | head -n 50
# The two runs of each example end in the same bytes.
if has train; then
  for spec in examples/*.gan; do
    name=$(basename "$spec" .gan)
    last=checkpoints/0-00000200.safetensors
    if [ ! -e "$work/$name-a/$last" ] || [ ! -e "$work/$name-b/$last" ]; then
      note train "$name bitwise" skipped 0 "a run did not end"
    elif cmp -s "$work/$name-a/$last" "$work/$name-b/$last"; then
      note train "$name bitwise" passed 0 "two runs end in the same bytes"
    else
      note train "$name bitwise" FAILED 0 "two runs end in different bytes"
    fi
  done
fi

steps() { # iterations a chunk, by workload
  case $1 in
    ring_mlp) echo 300 ;;
    unrolled_ring) echo 60 ;;
    dcgan28) echo 100 ;;
    dcgan64) echo 30 ;;
    *) echo 6 ;;
  esac
}

# 3. Each workload alone, in each precision, and the same in PyTorch right after it. Workloads share what time is left.
deadline=$((limit_s - 5))
has bench && : >"$out/bench.jsonl" && : >"$out/apart.jsonl"
has peers && : >"$out/peers.jsonl"
[ -z "$torch" ] && has peers && note peers all skipped 0 "no PyTorch that sees a GPU in $python"
waiting=$(wc -w <<<"$usable")
for w in $usable; do
  deadline=$((SECONDS + (limit_s - 5 - SECONDS) / waiting))
  waiting=$((waiting - 1))
  n=$(steps "$w")
  if has bench; then
    for p in $precisions; do
      check bench "$w $p" 60 "$ganc" bench "tests/bench/$w.gan" --precision "$p" --device "$device" --json --repeat 7 --warmup 8 --steps "$n" &&
        grep -h '^{' "$(file_of bench "$w $p")" >>"$out/bench.jsonl"
    done
    # What it gains that clusters share launches: the same without.
    check bench "$w f32 apart" 60 env GANC_CUDA_SHARED=0 "$ganc" bench "tests/bench/$w.gan" --precision f32 --device "$device" --json --repeat 7 --warmup 8 --steps "$n" &&
      grep -h '^{' "$(file_of bench "$w f32 apart")" >>"$out/apart.jsonl"
  fi
  if [ -n "$torch" ]; then
    # The strongest mode that needs no compiling first, in all precisions: what is slower may no longer fit.
    for modes in $modes_of_peers; do
      script=torch_gan
      [ "$modes" = jit ] && script=jax_gan
      check peers "$w $modes" 150 "$python" "tests/bench/$script.py" --workload "$w" --mode "$modes" --dtype "${precisions// /,}" \
        --device cuda --repeat 7 --warmup 8 --steps "$n"
      # What was timed before it was stopped counts.
      grep -hs '^{' "$(file_of peers "$w $modes")" >>"$out/peers.jsonl"
    done
  fi
done

# 4. Tiles that are measured: what they bring, in tuned.jsonl. Afterwards they are put away, for the parts that follow.
if has tune; then
  : >"$out/tuned.jsonl"
  for w in $usable; do
    for p in $precisions; do
      check tune "$w $p" 120 "$ganc" tune "tests/bench/$w.gan" --precision "$p" --device "$device" &&
        check tune "$w $p bench" 60 "$ganc" bench "tests/bench/$w.gan" --precision "$p" --device "$device" --json --repeat 7 --warmup 8 --steps "$(steps "$w")" &&
        grep -h '^{' "$(file_of tune "$w $p bench")" >>"$out/tuned.jsonl"
    done
  done
  mv "$GANC_CACHE"/tiles-*.txt "$out" 2>/dev/null
fi

# 5. Where the time goes.
deadline=$((limit_s - 5))
if has profile; then
  for w in $usable; do
    for p in f32 bf16; do
      check profile "$w $p" 60 "$ganc" bench "tests/bench/$w.gan" --precision "$p" --device "$device" --profile --repeat 5 --warmup 3
    done
  done
fi

! grep -q '"status": "FAILED"' "$results"
