#!/usr/bin/env python3
"""ganc against PyTorch on the CPU: milliseconds per training iteration, taking turns in one run.

usage: compare.py --ganc target/release/ganc --python VENV/bin/python [--rounds 3] [--threads 1,2] [workload ...]

Each round runs every workload with ganc and with each mode of the peer, one after the other, so that a slow phase of
the machine meets all of them. Printed are medians over rounds of each run's median, the least minimum, the achieved
GFLOP/s (products only, as tests/bench/README.md counts them) and the peak resident memory.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
# workload: (batch, iterations a chunk, chunks, warm-up iterations)
PLAN = {
    "ring_mlp": (512, 20, 15, 10),
    "dcgan28": (128, 1, 9, 2),
    "dcgan64": (16, 1, 9, 2),
    "wgan_gp32": (16, 1, 3, 1),
    "sngan32": (16, 1, 3, 1),
    "unrolled_ring": (512, 5, 15, 5),
}


def last_json(cmd, limit, env):
    try:
        out = subprocess.run(cmd, capture_output=True, text=True, timeout=limit, env=env)
    except subprocess.TimeoutExpired:
        return {"error": "timeout"}
    lines = [l for l in out.stdout.splitlines() if l.startswith("{")]
    return json.loads(lines[-1]) if lines else {"error": (out.stderr.strip().splitlines() or ["no output"])[-1][:120]}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--ganc", default="target/release/ganc")
    p.add_argument("--python", default=sys.executable, help="a Python that has torch")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--threads", default="1,2")
    p.add_argument("--modes", default="eager,compile")
    p.add_argument("--json", help="also append every run's line to this file")
    p.add_argument("workloads", nargs="*", default=[])
    a = p.parse_args()
    # Spinning barriers are ruinous on shared cores.
    env = dict(os.environ, OMP_WAIT_POLICY="PASSIVE")
    runs = {}
    for _ in range(a.rounds):
        for name in a.workloads or ["ring_mlp", "dcgan28", "dcgan64"]:
            batch, steps, repeat, warm = PLAN[name]
            for threads in a.threads.split(","):
                common = ["--steps", str(steps), "--repeat", str(repeat), "--warmup", str(warm), "--threads", threads]
                spec = os.path.join(HERE, name + ".gan")
                jobs = [("ganc", [a.ganc, "bench", spec, "--set", f"size={batch}", "--json", *common])]
                for mode in a.modes.split(","):
                    jobs.append((f"PyTorch {mode}", [a.python, os.path.join(HERE, "torch_gan.py"), "--workload", name, "--mode", mode,
                                                     "--device", "cpu", "--batch", str(batch), *common]))
                for who, cmd in jobs:
                    r = last_json(cmd, 600, env)
                    runs.setdefault((name, threads), {}).setdefault(who, []).append(r)
                    if a.json:
                        with open(a.json, "a") as f:
                            f.write(json.dumps(dict(r, who=who, workload=name, threads=threads)) + "\n")
    print("| workload | threads | who | ms, median | ms, least | GFLOP/s | peak MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for (name, threads), by in runs.items():
        for who, rs in by.items():
            good = [r for r in rs if "error" not in r]
            if not good:
                print(f"| {name} | {threads} | {who} | {rs[0].get('error')} | | | |")
                continue
            ms = statistics.median(r.get("ms", r.get("ms_per_iter")) for r in good)
            least = min(r["ms_min"] for r in good)
            rate = f"{statistics.median(r['gflops'] for r in good):.0f}" if "gflops" in good[0] else ""
            peak = [r.get("peak_mib") or r.get("peak_mem_mib") for r in good]
            peak = f"{max(p for p in peak if p):.0f}" if any(peak) else ""
            print(f"| {name} | {threads} | {who} | {ms:.2f} | {least:.2f} | {rate} | {peak} |")


main()
