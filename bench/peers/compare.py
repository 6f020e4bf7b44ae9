"""Runs works by assay and by transformers in turns (ours, theirs, ours, theirs, ...) and prints one Markdown table.

Both sides run on the core and with the one thread that run.sh gives them. The figure is units per CPU-second (with --device cuda per second),
the median over the rounds; the first call of each side (packing weights, compiling) is not timed.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
from importlib.metadata import version

HERE = os.path.dirname(os.path.abspath(__file__))

# (benchmark of `assay bench`, what it is, aim, modes of the peer). Modes marked * do less than assay does: bf16 weights have no f32
# masters; they are shown and do not count as the fastest.
WORKS = [
    ("train-nano", "training step, 0.5 M parameters", 2.0, ["f32", "f32 compiled", "autocast", "autocast compiled"]),
    ("train-mid", "training step, 5 M parameters", 1.5, ["f32 compiled", "autocast", "autocast compiled", "bf16 weights*"]),
    ("train-stories", "training step, TinyStories-28M", 1.3, ["autocast", "autocast compiled"]),
    ("train-smollm2", "full fine-tuning, SmolLM2-135M", 1.3, ["autocast", "autocast compiled", "bf16 weights*"]),
    ("train-split", "split autoencoder of MNIST, 10.7 M parameters", 1.0, ["f32", "autocast"]),
    ("generate-smollm2-b1", "sampling, SmolLM2-135M, 1 row", 3.0, ["bf16"]),
    ("generate-smollm2-b16", "sampling, SmolLM2-135M, 16 rows", 3.0, ["bf16"]),
    ("generate-nano-b64", "sampling, 0.5 M parameters, 64 rows", 4.0, ["f32", "bf16"]),
    ("generate-smollm2-b64", "sampling, SmolLM2-135M, 64 rows", None, ["bf16"]),
]
# With --device cuda: no aims.
DEVICE_WORKS = [
    ("train-smollm2-b16", "full fine-tuning, SmolLM2-135M, 16 x 512 tokens", None, ["autocast", "autocast compiled"]),
    ("generate-smollm2-b1", "sampling, SmolLM2-135M, 1 row", None, ["bf16"]),
    ("generate-smollm2-b64", "sampling, SmolLM2-135M, 64 rows", None, ["bf16"]),
]


def say(text):
    print(text, file=sys.stderr, flush=True)


def assay_bench(binary, name, dtype, seconds, device="cpu"):
    command = [binary, "bench", name, "--repeats", "1", "--seconds", str(seconds), "--threads", "1", "--dtype", dtype, "--json", "--device", device]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


class Peer:
    """hugging_face.py with one work in one mode."""

    def __init__(self, name, mode, seconds, device):
        command = [sys.executable, os.path.join(HERE, "hugging_face.py"), name, mode.rstrip("*"), str(seconds), device]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def measure(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the peer ended with exit code {self.process.wait()}")
        return json.loads(line)


def compare(binary, name, mode, rounds, seconds, device):
    peer = Peer(name, mode, seconds, device)
    ours, theirs = [], []
    try:
        for _ in range(rounds):
            ours.append(assay_bench(binary, name, "bf16", seconds, device))
            theirs.append(peer.measure())
    finally:
        peer.close()
    figure = "per_cpu_s" if device == "cpu" else "per_wall_s"
    ours_s = [r[figure] for r in ours]
    theirs_s = [r[figure] for r in theirs]
    ratios = [a / b for a, b in zip(ours_s, theirs_s)]
    return {"name": name, "mode": mode, "unit": ours[0]["unit"], "assay_per_s": statistics.median(ours_s),
            "peer_per_s": statistics.median(theirs_s), "ratio": statistics.median(ours_s) / statistics.median(theirs_s),
            "ratio_low": min(ratios), "ratio_high": max(ratios), "assay": ours, "peer": theirs}  # fmt: skip


def machine(binary):
    cpu = {}
    with open("/proc/cpuinfo") as f:
        for line in f.read().split("\n\n")[0].splitlines():
            key, _, value = line.partition(":")
            cpu[key.strip()] = value.strip()
    with open("/proc/meminfo") as f:
        memory = int(f.readline().split()[1]) / 1e6
    caches = {}
    for i in range(8):
        folder = f"/sys/devices/system/cpu/cpu0/cache/index{i}"
        if os.path.exists(folder):
            level, kind, size = (open(os.path.join(folder, n)).read().strip() for n in ("level", "type", "size"))
            if kind != "Instruction":
                caches["L" + level] = size
    flags = cpu.get("flags", "").split()
    return {"cpu": cpu.get("model name", platform.machine()), "family": cpu.get("cpu family", ""), "model": cpu.get("model", ""),
            "features": [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in flags], "cores": os.cpu_count(),
            "caches": caches, "memory_gb": round(memory, 1), "kernel": platform.release().split("-")[0],
            "virtual": "hypervisor" in flags, "python": platform.python_version(), "torch": version("torch"),
            "transformers": version("transformers"),
            "gemm_gflop_per_cpu_s": {d: assay_bench(binary, "gemm", d, 1)["per_cpu_s"] for d in ("bf16", "f32")}}  # fmt: skip


def describe(m):
    gemm = m["gemm_gflop_per_cpu_s"]
    caches = ", ".join(f"{level} {size}" for level, size in m["caches"].items())
    return (f"{m['cpu']} (family {m['family']}, model {m['model']}; {', '.join(m['features']) or 'no vector extensions named'}; {caches}), "
            f"{m['cores']} {'virtual cores' if m['virtual'] else 'cores'}, {m['memory_gb']} GB, Linux {m['kernel']}; one core, one thread. "
            f"assay's matrix product: {gemm['bf16']:.0f} GFLOP/s in bf16, {gemm['f32']:.0f} in f32. "
            f"Python {m['python']}, torch {m['torch']}, transformers {m['transformers']}.")  # fmt: skip


def table(results):
    """A row for each work and mode. The fastest mode that counts is in bold and carries the aim."""
    fastest = {}
    for r in results:
        if "ratio" in r and not r["mode"].endswith("*") and r["ratio"] < fastest.get(r["name"], {"ratio": float("inf")})["ratio"]:
            fastest[r["name"]] = r
    rows = ["| work | unit | Hugging Face mode | Hugging Face | assay (bf16) | ratio | over rounds | aim |",
            "|---|---|---|--:|--:|--:|---|---|"]  # fmt: skip
    for r in results:
        if "ratio" not in r:
            rows.append(f"| {r['about']} | | {r['mode']} | did not run | | | | |")
            continue
        counts = fastest.get(r["name"]) is r
        bold = "**" if counts else ""
        aim = ""
        if counts and r["aim"]:
            aim = f"{r['aim']:g}x: {'reached' if r['ratio'] >= r['aim'] else 'missed'}"
        rows.append(f"| {r['about']} | {r['unit']} | {r['mode']} | {r['peer_per_s']:,.0f} | {r['assay_per_s']:,.0f} "
                    f"| {bold}{r['ratio']:.2f}{bold} | {r['ratio_low']:.2f} to {r['ratio_high']:.2f} | {aim} |")  # fmt: skip
    return "\n".join(rows)


def main():
    parser = argparse.ArgumentParser(prog="bench/peers/run.sh", description="assay and transformers at the same work, in turns, on one core")
    parser.add_argument("names", nargs="*", help="benchmarks, or beginnings of their names; without one all: " + ", ".join(w[0] for w in WORKS))
    parser.add_argument("--rounds", type=int, default=5, help="rounds of (ours, theirs); the median counts (5)")
    parser.add_argument("--seconds", type=float, default=1.0, help="CPU-seconds of a measurement, one call at least (1)")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda: then per second, and works of a GPU's size (cpu)")
    parser.add_argument("--json", metavar="FILE", help="write every measurement here")
    parser.add_argument("--assay", required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    works = WORKS if options.device == "cpu" else DEVICE_WORKS
    works = [w for w in works if not options.names or any(w[0].startswith(n) for n in options.names)]
    if not works:
        parser.error("there is no benchmark of that name")

    report = {"machine": machine(options.assay), "rounds": options.rounds, "seconds": options.seconds, "results": []}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for name, about, aim, modes in works:
            for mode in modes:
                say(f"{name}: transformers in {mode}")
                result = {"name": name, "mode": mode}
                try:
                    result = compare(options.assay, name, mode, options.rounds, options.seconds, options.device)
                    say(f"  assay {result['assay_per_s']:.1f}, transformers {result['peer_per_s']:.1f}: {result['ratio']:.2f}")
                except RuntimeError as error:
                    say(f"  did not run: {error}")
                    result["error"] = str(error)
                report["results"].append({**result, "about": about, "aim": aim})
    except KeyboardInterrupt:
        say("stopped: the table holds what was measured until here")
    print(describe(report["machine"]))
    print()
    print(f"Per {'CPU-' if options.device == 'cpu' else ''}second, medians of {options.rounds} rounds in turns. * no f32 masters: shown, does not count.")
    print()
    print(table(report["results"]))
    if options.json:
        with open(options.json + ".part", "w") as f:
            json.dump(report, f, indent=1)
        os.replace(options.json + ".part", options.json)


if __name__ == "__main__":
    main()
