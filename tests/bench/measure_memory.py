#!/usr/bin/env python3
"""How much memory a run takes and how much the plan says: tests/bench/measure_memory.py [--train FILE] OPTIONS OF TRAIN

Runs two steps on random tokens and compares the growth of the resident memory, from what the process has when it
prints its plan to its peak, with the plan (after `make tests`). Give --batch-size, --micro-batch and --seq-len to keep the steps short:

  tests/bench/measure_memory.py --config configs/normuon/124m.conf --config configs/normuon/124m_muon.conf --batch-size 4
"""
import os
import random
import re
import struct
import subprocess
import sys
import tempfile

from tiny_runs import ROOT, TRAIN

PEAK_MEMORY = os.path.join(ROOT, os.environ.get("BUILD", "build"), "tests/bench/peak_memory")
UNITS = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
STEPS = 2


def run(train, options, environment):
    """What the run printed and the most resident memory that it had, in bytes."""
    with tempfile.TemporaryDirectory(prefix="polar_memory_") as folder:
        peak = os.path.join(folder, "peak")
        done = subprocess.run([PEAK_MEMORY, peak, train, *options], env=environment, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"train {' '.join(options)}: {done.stdout}")
        with open(peak) as file:
            return done.stdout, int(file.read())


def planned(plan):
    value, unit = re.search(r"^Memory +([\d.]+) (\w+)", plan, re.M).groups()
    return float(value) * UNITS[unit]


def tokens_of_a_step(plan):
    return int(re.search(r"steps of ([\d,]+) tokens", plan)[1].replace(",", ""))


def write_random_shard(path, vocab, n):
    """16-bit tokens, or 32-bit ones where the vocabulary needs them (data/shard.h)."""
    wide = vocab > 1 << 16
    rng = random.Random(1)
    with open(path, "wb") as file:
        file.write(struct.pack("<256i", *((20240801, 7) if wide else (20240520, 1)), n, *[0] * 253))
        file.write(struct.pack(f"<{n}{'I' if wide else 'H'}", *(rng.randrange(vocab) for _ in range(n))))


def measure(options, train=TRAIN, environment=None):
    """(planned, measured) bytes of a run with these options."""
    environment = environment or dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="polar_memory_") as folder:
        plan, start = run(train, [*options, "--dry-run"], environment)
        vocab = int(re.search(r"vocabulary (\d+)", plan)[1])
        shard = os.path.join(folder, "random_train_000000.bin")
        write_random_shard(shard, vocab, (STEPS + 1) * tokens_of_a_step(plan) + 2)
        _, peak = run(train, [*options, "--train-data", shard, "--steps", str(STEPS), "--warmup", "0", "--out",
                              os.path.join(folder, "run"), "--quiet"], environment)
    return planned(plan), peak - start


def is_right(plan, measured):
    """Within 5 % or 64 MiB, what the plan promises."""
    return abs(measured - plan) <= max(0.05 * plan, 64 << 20)


def main(arguments):
    train = TRAIN
    if arguments[:1] == ["--train"]:
        train, arguments = arguments[1], arguments[2:]
    if not arguments:
        sys.exit(__doc__)
    plan, measured = measure(arguments, train)
    right = is_right(plan, measured)
    print(f"plan {plan / 2**20:.1f} MiB, measured {measured / 2**20:.1f} MiB ({100 * (measured / plan - 1):+.1f} %): "
          f"{'right' if right else 'WRONG'}")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
