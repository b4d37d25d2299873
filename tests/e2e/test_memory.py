#!/usr/bin/env python3
"""Planned against measured memory, for small models that together cover every model option."""
import sys

sys.dont_write_bytecode = True
import tiny_runs
from measure_memory import measure

# 2048 tokens at once: activations of some tens of MiB, so that a missing one shows.
SHAPE = ["--n-layer", "4", "--n-head", "4", "--d-model", "128", "--vocab-size", "500", "--seq-len", "256",
         "--batch-size", "8", "--micro-batch", "8", "--threads", "1"]
SPEEDRUN = [*SHAPE, "--norm", "rmsnorm", "--embed-norm", "--positions", "half-rope", "--qk-norm", "--activation", "relu2",
            "--no-tied-head", "--head-bias", "--softcap", "15", "--zero-head", "--optimizer", "normuon"]
LLAMA = [*SHAPE, "--n-kv-head", "2", "--norm", "rmsnorm", "--positions", "rope", "--activation", "swiglu", "--biases", "no",
         "--no-tied-head", "--optimizer", "muon", "--no-split-qkv"]


def measured_is_planned(options):
    plan, measured = measure(options, environment=tiny_runs.ENVIRONMENT)
    # The program's own pages, stacks and libraries come and go by a few MiB.
    assert abs(measured - plan) <= 0.05 * plan + (6 << 20), \
        f"{' '.join(options)}: plan {plan / 2**20:.1f} MiB, measured {measured / 2**20:.1f} MiB"
    return plan


def check_levels(options):
    plans = [measured_is_planned([*options, "--recompute", level]) for level in ("none", "activations", "layer")]
    assert plans[0] > 1.1 * plans[1] and plans[1] > 1.2 * plans[2], plans


def memory_of_the_speedrun_network(_):
    check_levels(SPEEDRUN)


def memory_of_the_llama_network(_):
    check_levels(LLAMA)


if __name__ == "__main__":
    if "asan" in tiny_runs.TRAIN:
        print("skipped memory: the sanitizer takes memory of its own")
        sys.exit(0)
    tiny_runs.run_tests(memory_of_the_speedrun_network, memory_of_the_llama_network)
