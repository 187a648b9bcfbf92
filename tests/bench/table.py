#!/usr/bin/env python3
"""Timings of tests/gpu.sh as a table: table.py FOLDER reads bench.jsonl and peers.jsonl of it."""
import json
import os
import sys

MODES = ["eager", "graph", "compile", "cgraph", "jit"]


def lines(path):
    if not os.path.exists(path):
        return []
    with open(path) as f:
        return [json.loads(text) for text in f if text.startswith("{")]


def main(folder):
    ours, peers, order = {}, {}, []
    for r in lines(os.path.join(folder, "bench.jsonl")):
        key = (r["workload"], r.get("precision") or "as in the spec")
        order += [key] if key not in ours else []
        ours[key] = r["ms"]
    for r in lines(os.path.join(folder, "peers.jsonl")):
        if "ms_per_iter" not in r:
            continue
        key = (r["workload"], r["dtype"])
        order += [key] if key not in ours and key not in peers else []
        peers.setdefault(key, {})[r["mode"]] = r["ms_per_iter"]
    show = lambda v: "–" if v is None else f"{v:.4g}"
    print("Milliseconds an iteration; jit is JAX, the other modes are PyTorch; the last column is the\nbest of them over ganc (above 1: ganc is faster).\n")
    print("| workload | precision | ganc | " + " | ".join(MODES) + " | best peer / ganc |")
    print("| --- | --- |" + " --- |" * (len(MODES) + 2))
    for key in order:
        mine, theirs = ours.get(key), peers.get(key, {})
        ratio = f"{min(theirs.values()) / mine:.2f}" if mine and theirs else "–"
        print(f"| {key[0]} | {key[1]} | {show(mine)} | " + " | ".join(show(theirs.get(m)) for m in MODES) + f" | {ratio} |")


if __name__ == "__main__":
    main(sys.argv[1])
