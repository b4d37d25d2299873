#!/usr/bin/env python3
"""Training in bf16 on the CPU: against fp32, by every kind of instructions, resumed, by any number of threads, and moved
between the CPU and the GPU that tests/emulator emulates."""
import math
import os
import shutil
import sys

sys.dont_write_bytecode = True
import tiny_runs as tiny

EMULATOR = os.path.join(tiny.ROOT, os.environ.get("BUILD", "build"), "emulator", "train")
STEPS = 4
# Of losses and norms of the gradient, as derived in test_cuda_runs.py for the emulated GPU: 28 roundings by 2^-8 / sqrt(3) per
# step in an error that is averaged over 16 x 32 numbers; four standard deviations. Two runs in bf16 differ by sqrt(2) of it.
BF16 = 4 * math.sqrt(STEPS * 28 / 3 / (16 * 32)) * 2**-8
# The instructions that POLAR_ISA chooses; those that the processor lacks are others, so that their case repeats one.
KERNELS = ("base", "avx2", "avx512", "avx512bf16", "amx")


def small(folder, *options):
    return [*tiny.make_data(folder), "--n-layer", "1", "--seq-len", "8", "--batch-size", "2", "--micro-batch", "1", "--steps",
            str(STEPS), "--eval-every", "2", "--val-tokens", "32", "--sample-every", "3", "--sample-tokens", "3", "--schedule",
            "constant", "--warmup", "0", *options]


def train(out, *options, dtype="bf16", device="cpu", **settings):
    tiny.run(*options, "--device", device, "--dtype", dtype, "--out", out, environment=dict(tiny.ENVIRONMENT, **settings))
    return out


def steps_of(run):
    return [record for record in tiny.records(run) if record["kind"] == "train"]


def check_close(run, reference, tolerance):
    mine, other = steps_of(run), steps_of(reference)
    assert len(mine) == len(other) == STEPS
    for a, b in zip(mine, other):
        for key in ("loss", "grad_norm"):
            assert abs(a[key] - b[key]) <= tolerance * abs(b[key]), f"{run}, step {b['step']}: {key} {a[key]}, {b[key]} expected"


def close_to_fp32_by_every_kernel(folder):
    for name, options in (("adamw", ["--optimizer", "adamw"]), ("normuon", ["--optimizer", "normuon", "--batch-size", "8"]),
                          ("polargrad", ["--optimizer", "polargrad", "--polar", "ns5"]),
                          ("llama", ["--optimizer", "muon", "--n-kv-head", "1", "--norm", "rmsnorm", "--positions", "rope", "--qk-norm",
                                     "--activation", "swiglu", "--biases", "no", "--no-tied-head", "--softcap", "15"])):
        options = small(folder, "--eval-every", "0", "--sample-every", "0", *options)
        reference = train(os.path.join(folder, f"{name}_f32"), *options, dtype="f32")
        assert steps_of(reference)[-1]["loss"] != steps_of(reference)[0]["loss"]
        for kernel in KERNELS:
            run = train(os.path.join(folder, f"{name}_{kernel}"), *options, POLAR_ISA=kernel)
            assert steps_of(run) != steps_of(reference), "the same as in fp32"
            check_close(run, reference, BF16)


def resumed(folder):
    for optimizer in ("adamw", "normuon"):
        options = small(folder, "--optimizer", optimizer)
        reference = train(os.path.join(folder, f"{optimizer}_reference"), *options)
        run = train(os.path.join(folder, optimizer), *options, "--max-time", "1e-9")
        assert tiny.checkpoints(run) == [1]
        tiny.run("--resume", run, "--max-time", "0")
        tiny.check_same_end(run, reference, STEPS)


def same_bits_by_any_number_of_threads(folder):
    """The kernels for bf16 sum in an order of their own, whatever the BLAS does."""
    runs = []
    for threads in (1, 2, 3):
        run = os.path.join(folder, str(threads))
        options = small(folder, "--optimizer", "normuon", "--d-model", "64", "--seq-len", "16", "--batch-size", "8", "--micro-batch",
                        "8", "--threads", str(threads))
        runs.append(train(run, *options, OMP_NUM_THREADS=str(threads), POLAR_BLAS=""))
    for run in runs[1:]:
        tiny.check_same_end(run, runs[0], STEPS)


def used_and_moved(folder):
    """Sampling, evaluation and export of a run in bf16; and the GPU goes on with the CPU's checkpoint, and the other way round."""
    options = small(folder, "--optimizer", "normuon", "--checkpoint-every", "2", "--keep", "9")
    cpu = train(os.path.join(folder, "cpu"), *options)
    assert tiny.run("sample", cpu, "--tokens", "8", "--temperature", "0")[0]
    assert "loss" in tiny.run("eval", cpu, "--val-data", os.path.join(folder, "t_val_*.bin"))[0]
    gpt2 = train(os.path.join(folder, "gpt2"), *small(folder, "--biases", "yes"))
    tiny.run("export", gpt2, "--out", os.path.join(folder, "exported"))
    if not os.path.exists(EMULATOR):
        return
    tiny.TRAIN = EMULATOR
    gpu = train(os.path.join(folder, "gpu"), *options, device="cuda")
    check_close(cpu, gpu, math.sqrt(2) * BF16)
    for first, device in ((cpu, "cuda"), (gpu, "cpu")):
        moved = os.path.join(folder, f"to_{device}")
        shutil.copytree(first, moved)
        shutil.rmtree(os.path.join(moved, "checkpoints", "step_00000004"))
        tiny.run("--resume", moved, "--device", device)
        check_close(moved, first, math.sqrt(2) * BF16)


if __name__ == "__main__":
    tiny.run_tests(close_to_fp32_by_every_kernel, resumed, same_bits_by_any_number_of_threads, used_and_moved)
