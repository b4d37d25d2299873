#!/usr/bin/env python3
"""Times training steps of ./train, PyTorch and llm.c's train_gpt2 on this machine, in fp32 and bf16. Every round runs each of
them in turn; prints the median and the best of all steps, and those of the optimizer.

  scripts/bench_peers.py [--model demo|gpt2|gpt2-long] [--optimizer adamw|normuon] [--rounds 3] [--threads 2]

PyTorch, eager and compiled, with its fused AdamW or the published NorMuon, is included if a Python has it: .venv-current
(make current, the newest version), .venv or the system's. llm.c if LLMC_DIR is a checkout with train_gpt2 built
(gcc -Ofast -march=native -fopenmp train_gpt2.c -lm -o train_gpt2).
"""
import json
import math
import os
import re
import statistics
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))

from cli import ROOT, Parser, print_rows, run_main  # noqa: E402

# n_layer, n_head, d_model, vocabulary, batch, tokens, steps per round (the first two are warm-up)
MODELS = {"demo": (4, 2, 128, 257, 32, 128, 14), "gpt2": (12, 12, 768, 50257, 4, 64, 6), "gpt2-long": (12, 12, 768, 50257, 1, 1024, 5)}
WARMUP = 2


def write_tokens(path, n, vocab):
    """Writes a shard in llm.c's format: a fixed sequence that contains every token."""
    with open(path, "wb") as file:
        file.write(struct.pack("<256i", 20240520, 1, n, *[0] * 253))
        file.write(struct.pack(f"<{n}H", *(i * i * 31 % vocab for i in range(n))))


def our_steps(folder, model, threads, dtype, optimizer):
    """The milliseconds of every step, and of the optimizer in it."""
    n_layer, n_head, d_model, vocab, batch, tokens, steps = model
    out = folder / "run"
    padded = (vocab + 15) // 16 * 16 if vocab < 1000 else 50304
    subprocess.run([ROOT / "train", "--n-layer", str(n_layer), "--n-head", str(n_head), "--d-model", str(d_model),
                    "--vocab-size", str(vocab), "--vocab-padded", str(padded), "--seq-len", str(tokens), "--batch-size",
                    str(batch), "--steps", str(steps), "--train-data", folder / "tokens.bin", "--out", out, "--overwrite",
                    "--optimizer", optimizer, "--dtype", dtype, "--device", "cpu", "--log-every", "1", "--threads",
                    str(threads), "--checkpoint-every", "0", "--no-measure-peak", "--quiet"], check=True,
                   stdout=subprocess.DEVNULL)
    records = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    return [(record["step_ms"], record["ms"]["optimizer"]) for record in records if "step_ms" in record]


def find_torch():
    for python in (str(ROOT / ".venv-current/bin/python"), sys.executable, str(ROOT / ".venv/bin/python"), "/usr/bin/python3"):
        if os.path.exists(python) and subprocess.run([python, "-c", "import torch"], capture_output=True).returncode == 0:
            return python
    return None


def torch_steps(python, model, threads, *how):
    command = [python, ROOT / "scripts/bench_torch.py", *map(str, model), str(threads), *how]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [tuple(map(float, line.split())) for line in printed.splitlines()]


def write_llmc_files(folder):
    """Writes the inputs of train_gpt2: a GPT-2 124M checkpoint (its values do not affect the time) and tokens."""
    data = folder / "dev/data/tinyshakespeare"
    data.mkdir(parents=True)
    for name in ("train", "val"):
        write_tokens(data / f"tiny_shakespeare_{name}.bin", 1 << 14, 50257)
    with open(folder / "gpt2_124M.bin", "wb") as file:
        file.write(struct.pack("<256i", 20240326, 3, 1024, 50257, 12, 12, 768, 50304, *[0] * 248))
        block = struct.pack("<4096f", *(0.02 * ((i * 7919 % 1000) / 500 - 1) for i in range(4096)))
        for _ in range(124475904 // 4096 + 1):
            file.write(block)


def llmc_steps(folder, steps, threads):
    command = ["stdbuf", "-oL", Path(os.environ["LLMC_DIR"]).resolve() / "train_gpt2"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                               env=dict(os.environ, OMP_NUM_THREADS=str(threads)))
    times = []
    for line in process.stdout:
        times += [(float(ms), math.nan) for ms in re.findall(r"took ([\d.]+) ms", line)]
        if len(times) == steps:
            process.kill()
            break
    process.wait()
    return times


def compare(name, optimizer, rounds, threads):
    model = MODELS[name]
    steps = model[-1]
    python = find_torch()
    with tempfile.TemporaryDirectory(prefix="polar_peers_") as temporary:
        folder = Path(temporary)
        write_tokens(folder / "tokens.bin", 1 << 18, model[3])
        programs = {}
        for dtype in ("f32", "bf16"):
            programs[f"train {dtype}"] = lambda dtype=dtype: our_steps(folder, model, threads, dtype, optimizer)
        for dtype in ("f32", "bf16") if python else ():
            for mode in ("eager", "compiled"):
                programs[f"PyTorch {dtype} {mode}"] = lambda how=(dtype, mode, optimizer): torch_steps(python, model, threads, *how)
        if name == "gpt2" and optimizer == "adamw" and os.environ.get("LLMC_DIR"):
            write_llmc_files(folder)
            programs["llm.c train_gpt2"] = lambda: llmc_steps(folder, steps, threads)
        times = {program: [] for program in programs}
        for _ in range(rounds):
            for program, run in programs.items():
                times[program] += run()[WARMUP:]
    rows = []
    for program, measured in times.items():
        step, update = zip(*measured)
        rows.append([program, *(f"{f(x):.1f}" for x in (step, update) for f in (statistics.median, min))])
    print_rows([f"{name}, {optimizer}, {model[4]} x {model[5]} tokens", "median ms", "best ms", "optimizer: median", "best"], rows)


def main(arguments):
    parser = Parser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", choices=sorted(MODELS), action="append", help="default: all")
    parser.add_argument("--optimizer", choices=("adamw", "normuon"), default="adamw")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args(arguments)
    for name in args.model or MODELS:
        compare(name, args.optimizer, args.rounds, args.threads)


if __name__ == "__main__":
    run_main(main)
