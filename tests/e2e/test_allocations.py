#!/usr/bin/env python3
"""No memory is allocated after the first step: runs of 3 and of 103 steps, which write as many records, allocate equally
often but for what starting and ending threads takes, which varies by a few; one allocation a step would be 100."""
import os
import shlex
import subprocess
import sys

sys.dont_write_bytecode = True
import tiny_runs

COUNTER = os.path.join(tiny_runs.HERE, "count_allocations.c")


def allocations(folder, library, optimizer, steps, threads):
    count = os.path.join(folder, "count")
    environment = dict(os.environ, LD_PRELOAD=library, COUNT_ALLOCATIONS=count)
    tiny_runs.run("--n-layer", "2", "--n-head", "2", "--d-model", "64", "--vocab-size", "257", "--seq-len", "32",
                  "--batch-size", "8", "--micro-batch", "4", "--steps", str(steps), "--warmup", "1", "--threads",
                  str(threads), "--train-data", os.path.join(folder, "t_train_000003.bin"), "--out",
                  os.path.join(folder, f"{optimizer}_{threads}_{steps}"), "--optimizer", optimizer, "--log-every", "1000",
                  environment=environment)
    with open(count) as file:
        return int(file.read())


def no_allocation_after_the_first_step(folder):
    tiny_runs.make_data(folder)
    library = os.path.join(folder, "count_allocations.so")
    subprocess.run([*shlex.split(os.environ.get("CC", "cc")), "-O1", "-shared", "-fPIC", COUNTER, "-o", library], check=True)
    for optimizer in ("adamw", "muon", "normuon"):
        for threads in (1, 2):
            few, many = (allocations(folder, library, optimizer, steps, threads) for steps in (3, 103))
            assert few > 50 and many - few < 50, f"{optimizer}, {threads} threads: {few} in 3 steps, {many} in 103"


if __name__ == "__main__":
    if "asan" in tiny_runs.TRAIN:
        print("skipped allocations: the sanitizer has an allocator of its own")
        sys.exit(0)
    tiny_runs.run_tests(no_allocation_after_the_first_step)
