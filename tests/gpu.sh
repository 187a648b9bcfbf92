#!/usr/bin/env bash
# All checks and benchmarks that need an NVIDIA GPU, in one command:
#
#   tests/gpu.sh [FOLDER]
#
# Builds nothing and reaches no network: it runs a release binary and a test binary that were built for this kind of
# machine, perhaps elsewhere (tests/GPU.md says how). Everything is written into FOLDER (default: gpu-results): a text
# file a part, results.jsonl with a line a check, summary.txt. What is missing (a device, PyTorch, compute-sanitizer)
# is skipped visibly. The exit code is that of the checks: 0 if none failed, 3 if there is no device.
#
#   GANC        the binary               (default: target/release/ganc)
#   GANC_TESTS  the test binary          (default: the newest target/release/deps/it-*)
#   PYTHON      a python3 with PyTorch   (default: python3)
#   DEVICE      which device             (default: cuda:0)
#   PARTS       which parts              (default: tests train sanitizer bench peers)
#   SCALE       factor on all limits     (default: 1)
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
out=${1:-gpu-results}
mkdir -p "$out" || exit 2
out=$(cd "$out" && pwd)
repo=$(pwd)
export GANC_REPO=$repo
ganc=${GANC:-target/release/ganc}
newest=$(ls -t target/release/deps/it-* 2>/dev/null | grep -v '\.d$' | head -n 1)
tests=${GANC_TESTS:-$newest}
python=${PYTHON:-python3}
device=${DEVICE:-cuda:0}
parts=${PARTS:-tests train sanitizer bench peers}
scale=${SCALE:-1}
results=$out/results.jsonl
: >"$results"
failed=0

# note PART NAME STATUS SECONDS DETAIL: a line of results.jsonl and of the terminal
note() {
  local detail=${5//\\/\\\\}
  detail=${detail//\"/\\\"}
  printf '{"part": "%s", "name": "%s", "status": "%s", "seconds": %s, "detail": "%s"}\n' \
    "$1" "$2" "$3" "$4" "$detail" >>"$results"
  printf '%-9s %-34s %-7s %5s s  %s\n' "$1" "$2" "$3" "$4" "$5"
  [ "$3" = FAILED ] && failed=$((failed + 1))
  return 0
}

# check PART NAME LIMIT_S COMMAND...: runs within a limit, output into PART-NAME.txt
check() {
  local part=$1 name=$2 limit=$(($3 * scale)) file began rc
  shift 3
  file=$out/$part-${name//[^A-Za-z0-9_.]/_}.txt
  began=$SECONDS
  if [ "$1" = train ]; then
    train "$2" "$3" "$limit" >"$file" 2>&1
  else
    timeout -k 5 "$limit" "$@" >"$file" 2>&1
  fi
  rc=$?
  case $rc in
    0) note "$part" "$name" passed $((SECONDS - began)) "" ;;
    124 | 137) note "$part" "$name" FAILED $((SECONDS - began)) "stopped after $limit s" ;;
    *) note "$part" "$name" FAILED $((SECONDS - began)) "exit code $rc: $(grep -v '^ *$' "$file" | tail -n 1 | tr -d '\r' | cut -c1-200)" ;;
  esac
  return $rc
}

has() { case " $parts " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }

finish() {
  {
    echo "ganc on a GPU: $(date -u +%Y-%m-%dT%H:%MZ), commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
    cat "$out/device.txt" 2>/dev/null
    for s in passed FAILED skipped; do
      echo "$s: $(grep -c "\"status\": \"$s\"" "$results")"
    done
    grep '"status": "FAILED"' "$results"
    grep '"status": "skipped"' "$results"
    for f in bench.jsonl peers.jsonl; do
      [ -s "$out/$f" ] && echo "$f:" && cat "$out/$f"
    done
  } >"$out/summary.txt"
  echo
  cat "$out/summary.txt"
}
trap finish EXIT

[ -x "$ganc" ] || { note setup binary FAILED 0 "no binary at $ganc: build it with cargo build --release, or set GANC"; exit 2; }
nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv,noheader >"$out/device.txt" 2>/dev/null ||
  echo "nvidia-smi gives no answer" >"$out/device.txt"
"$ganc" --version >>"$out/device.txt"

# Two iterations of the smallest spec say whether the device can be used; the message is the binary's own.
if ! check setup "one small run" 120 "$ganc" run tests/train/ring.gan --steps 2 --out "$out/runs/setup" --device "$device"; then
  note setup device skipped 0 "no usable device: everything else is skipped"
  exit 3
fi

# 1. Executors agree on all cases and precisions; two runs are bitwise equal; CPU and GPU step by step.
if has tests; then
  if [ -n "$tests" ] && [ -x "$tests" ]; then
    check tests gpu 420 "$tests" gpu:: --nocapture --test-threads 1
    grep -h '^gpu: ' "$out/tests-gpu.txt" | head -n 50
  else
    note tests gpu skipped 0 "no test binary; set GANC_TESTS"
  fi
fi

# train SPEC FOLDER LIMIT_S: 200 iterations. An expectation that so few do not reach is no failure of the device.
train() {
  local rc said
  said=$(timeout -k 5 "$3" "$ganc" run "$1" --steps 200 --out "$2" --device "$device" --quiet 2>&1)
  rc=$?
  echo "$said"
  [ "$rc" -eq 1 ] && ! grep -v 'does not hold' <<<"$said" | grep -q '^error' && rc=0
  return "$rc"
}

# 2. Training: each example for a while, twice; the checkpoints must be the same bytes.
if has train; then
  for spec in examples/*.gan; do
    name=$(basename "$spec" .gan)
    for run in a b; do
      rm -rf "$out/runs/$name-$run"
      check train "$name ($run)" 60 train "$spec" "$out/runs/$name-$run"
    done
    if cmp -s "$out/runs/$name-a/checkpoints/0-00000200.safetensors" "$out/runs/$name-b/checkpoints/0-00000200.safetensors"; then
      note train "$name bitwise" passed 0 "two runs end in the same bytes"
    else
      note train "$name bitwise" FAILED 0 "two runs end in different bytes, or in none"
    fi
  done
fi

# 3. compute-sanitizer on a small spec with every kind of kernel.
if has sanitizer; then
  sanitizer=$(command -v compute-sanitizer || ls "${CUDA_HOME:-/usr/local/cuda}"/bin/compute-sanitizer 2>/dev/null | head -n 1)
  if [ -n "$sanitizer" ]; then
    for tool in memcheck racecheck initcheck; do
      for spec in tests/train/ring.gan tests/train/digits.gan; do
        name="$tool $(basename "$spec" .gan)"
        check sanitizer "$name" 150 "$sanitizer" --tool "$tool" --error-exitcode 9 \
          "$ganc" run "$spec" --steps 3 --out "$out/runs/sanitizer-${name// /-}" --device "$device" --quiet
      done
    done
  else
    note sanitizer all skipped 0 "compute-sanitizer was not found on PATH or in CUDA_HOME"
  fi
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
workloads="ring_mlp dcgan28 dcgan64 wgan_gp32 sngan32 unrolled_ring"

# 4. The six workloads, then where their time goes.
if has bench; then
  : >"$out/bench.jsonl"
  for w in $workloads; do
    spec=tests/bench/$w.gan
    if ! "$ganc" check "$spec" >"$out/bench-check-$w.txt" 2>&1; then
      note bench "$w" skipped 0 "refused: $(head -n 1 "$out/bench-check-$w.txt" | cut -c1-160)"
      continue
    fi
    "$ganc" check "$spec" --target sm_90a >"$out/bench-check-$w.txt" 2>&1
    check bench "$w" 90 "$ganc" bench "$spec" --device "$device" --json --repeat 7 --warmup 8 --steps "$(steps "$w")" &&
      grep -h '^{' "$out/bench-$w.txt" >>"$out/bench.jsonl"
    check bench "$w profile" 90 "$ganc" bench "$spec" --device "$device" --profile --repeat 5 --warmup 3
  done
fi

# 5. The same workloads in PyTorch, beside ours.
if has peers; then
  : >"$out/peers.jsonl"
  if "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
    for w in $workloads; do
      for modes in eager,graph compile,cgraph; do
        check peers "$w $modes" 150 "$python" tests/bench/torch_gan.py --workload "$w" --mode "$modes" --dtype bf16,tf32,f32 \
          --device cuda --repeat 7 --warmup 8 --steps "$(steps "$w")"
        grep -h '^{' "$out/peers-${w}_${modes//,/_}.txt" >>"$out/peers.jsonl"
      done
    done
  else
    note peers all skipped 0 "no PyTorch that sees a GPU in $python"
  fi
fi

[ "$failed" -eq 0 ]
