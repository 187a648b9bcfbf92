#!/usr/bin/env python3
"""What each trick costs: milliseconds an iteration of dcgan28 without tricks, and with one of them.

    python3 tests/bench/tricks.py --ganc target/release/ganc --threads 2

Variants take turns, `--rounds` times, so that what else the machine does meets all of them; the least median of a variant
counts. Memory is what the plan needs for values, parameters and state.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent

# Name in the table, and what is done to the spec: a trick line, or where a layer goes, the layer, a trick line.
VARIANTS = [
    ("none", None),
    ("one_sided_label_smoothing", "one_sided_label_smoothing(real: 0.9)"),
    ("label_flip", "label_flip(p: 0.05)"),
    ("instance_noise", "instance_noise(sigma: 0.1, until: 10_000)"),
    ("diff_augment", "diff_augment()"),
    ("pack(2)", "pack(2)"),
    ("past_players", "past_players(keep: 10, every: 100, for: 20)"),
    ("experience_replay, half of a batch", "experience_replay(capacity: 1280)"),
    ("batch_statistics(stats: joint)", "batch_statistics(stats: joint)"),
    ("virtual_batch_norm(G)", "virtual_batch_norm(G)"),
    ("virtual_batch_norm(G) and (D)", "virtual_batch_norm(G)\n    trick virtual_batch_norm(D)"),
    ("gradient_penalty, on a judge with instance norm", ("judge", "instance_norm", "gradient_penalty(lambda: 10)")),
    ("r1", "r1(gamma: 10)"),
    ("historical_averaging", "historical_averaging(weight: 0.01)"),
    ("feature_matching", ("tap", "flatten\n    tap features", "feature_matching(features)")),
    ("top_k", "top_k(fraction: 0.75)"),
    ("unrolled(steps: 1)", "unrolled(steps: 1)"),
    ("unrolled(steps: 5)", "unrolled(steps: 5)"),
    ("unrolled(steps: 5, order: first)", "unrolled(steps: 5, order: first)"),
    ("two_time_scale", "two_time_scale(generator: 1e-4, discriminator: 4e-4)"),
    ("weight_clip", "weight_clip(c: 0.1)"),
    ("gradient_clip", "gradient_clip(c: 1)"),
    ("ema", "ema(G)"),
    ("instance_norm in both", ("both", "instance_norm", None)),
    ("minibatch_discrimination", ("before", "minibatch_discrimination(kernels: 50, dim: 5)", None)),
    ("minibatch_stddev", ("stddev", "minibatch_stddev(4)", None)),
    ("spectral_norm in D", ("spectral", None, None)),
    ("weight_norm in D", ("weight", None, None)),
]


def variant(text, change):
    """The spec with a change."""
    text = text.replace("    trick one_sided_label_smoothing(real: 0.9)\n", "    // trick\n")
    text = text.replace('"../../examples', f'"{HERE.resolve().parent.parent}/examples')
    trick = change if isinstance(change, str) else change and change[2]
    if trick:
        text = text.replace("    // trick\n", f"    trick {trick}\n")
    if isinstance(change, tuple):
        kind, layer, _ = change
        start = text.index("discriminator D")
        head, judge = text[:start], text[start:]
        if kind == "judge":
            judge = judge.replace("    batch_norm\n", f"    {layer}\n")
        elif kind == "both":
            head, judge = (t.replace("    batch_norm\n", f"    {layer}\n") for t in (head, judge))
        elif kind == "before":
            judge = judge.replace("    linear(1)\n", f"    {layer}\n    linear(1)\n")
        elif kind == "tap":
            judge = judge.replace("    flatten\n", f"    {layer}\n")
        elif kind == "stddev":
            judge = judge.replace("    flatten\n", f"    {layer}\n    flatten\n")
        else:
            norm = {"spectral": "spectral_norm", "weight": "weight_norm"}[kind]
            judge = re.sub(r"^    ((?:conv|linear)\(.*\))$", rf"    \1 with {norm}", judge, flags=re.M)
            judge = judge.replace("    batch_norm\n", "")
        text = head + judge
    return text


def changed(text, name, change):
    """The spec with a change, which must be one."""
    plain, other = variant(text, None), variant(text, change)
    if (plain == other) != (change is None):
        sys.exit(f"{name}: dcgan28.gan is no longer what this script changes")
    return other


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--ganc", default="target/release/ganc")
    args.add_argument("--threads", type=int, default=2)
    args.add_argument("--rounds", type=int, default=2)
    args.add_argument("--repeat", type=int, default=7)
    args.add_argument("--only", help="variants whose name contains this")
    a = args.parse_args()
    text = (HERE / "dcgan28.gan").read_text()
    chosen = [v for v in VARIANTS if not a.only or a.only in v[0] or v[0] == "none"]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for i, (name, change) in enumerate(chosen):
            Path(folder, f"{i}.gan").write_text(changed(text, name, change))
        for _ in range(a.rounds):
            for i, (name, _) in enumerate(chosen):
                command = [a.ganc, "bench", f"{folder}/{i}.gan", "--device", "cpu", "--threads", str(a.threads)]
                command += ["--repeat", str(a.repeat), "--warmup", "2", "--json"]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    sys.exit(f"{name}:\n{done.stderr}")
                line = json.loads(done.stdout)
                plan = subprocess.run([a.ganc, "check", f"{folder}/{i}.gan"], capture_output=True, text=True).stdout
                memory = float(re.search(r"memory ([\d_.]+) MiB", plan).group(1).replace("_", ""))
                before = found.get(name, (float("inf"), 0, 0))
                found[name] = (min(before[0], line["ms"]), line["flops"] / 1e9, memory)
    plain = found["none"]
    print(f"| trick | ms, {a.threads} thread(s) | times | GFLOP of products | times | MiB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, (ms, flops, memory) in found.items():
        print(f"| {name} | {ms:.1f} | {ms / plain[0]:.2f} | {flops:.1f} | {flops / plain[1]:.2f} | {memory:.0f} |")


if __name__ == "__main__":
    main()
