#!/usr/bin/env python3
"""The program for aarch64, built by a cross compiler and run by qemu: its kernels, and trainings beside those of ./train. The
emulated processors are one with BFMMLA and one without. `make aarch64` runs all unit tests of the parts that compute or
read data (AARCH64=all), otherwise those of the kernel that only aarch64 has."""
import math
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

sys.dont_write_bytecode = True
import test_bf16 as bf16
import tiny_runs as tiny

COMPILER = "aarch64-linux-gnu-gcc"
EMULATOR = "qemu-aarch64"
BUILD = "build/aarch64"
WITH_BF16, WITHOUT_BF16 = "max", "cortex-a57"
ALL = os.environ.get("AARCH64") == "all"
JOBS = int(os.environ.get("JOBS") or len(os.sched_getaffinity(0)))
PARTS = ("base", "data", "device", "model", "optim")
KERNEL_TEST = "unit/device/test_gemm_bf16"
TILE, LONGEST = 24, 60  # multiply-adds and instructions of the inner loop of a GEMM
# Of losses in fp32, in four steps that begin with the same bits: other orders of sums, and fused multiply-adds.
F32 = 1e-5


def unit_tests():
    found = []
    for part in PARTS:
        for folder, _, names in os.walk(os.path.join(tiny.ROOT, "tests/unit", part)):
            found += [os.path.relpath(os.path.join(folder, name[:-2]), os.path.join(tiny.ROOT, "tests")) for name in names
                      if re.fullmatch(r"test_\w+\.c", name)]
    return sorted(found)


def need_tools():
    for tool in (COMPILER, EMULATOR):
        if not shutil.which(tool):
            raise tiny.Skip(f"there is no {tool} (scripts/setup.sh cross)")
    if os.environ.get("BUILD", "build") != "build":
        raise tiny.Skip("this build has other options")


def build(programs):
    """Builds ./train and tests for aarch64, without the settings of the make that runs this test."""
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "CFLAGS", "LDFLAGS", "OPT", "BUILD", "TRAIN")}
    launcher = os.environ.get("CC", "").split()[:1]
    compiler = " ".join([*(launcher if os.path.basename("".join(launcher)) == "ccache" else []), COMPILER])
    command = ["make", "-s", f"-j{JOBS}", "CUDA=no", f"BUILD={BUILD}", f"CC={compiler}", "CFLAGS=-Itests/fixtures/no_cmocka",
               "TEST_LIBS=", f"{BUILD}/train", *(f"{BUILD}/tests/{program}" for program in programs)]
    result = subprocess.run(command, cwd=tiny.ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            check=False)
    assert result.returncode == 0, result.stdout
    with open(os.path.join(tiny.ROOT, BUILD, "train"), "rb") as file:
        assert file.read(20)[18:20] == b"\xb7\x00", "not a program for aarch64"


def emulated(processor, program):
    loader = subprocess.run([COMPILER, "-print-file-name=ld-linux-aarch64.so.1"], stdout=subprocess.PIPE, text=True, check=True).stdout
    root = os.path.dirname(os.path.dirname(os.path.realpath(loader.strip())))
    return [EMULATOR, "-cpu", processor, "-L", root, os.path.join(tiny.ROOT, BUILD, program)]


def failure(case):
    """Runs a unit test on an emulated processor; returns its output if it failed."""
    processor, program = case
    # There is no OpenBLAS for the emulated processor, and a test that would start itself again without one cannot.
    environment = dict(os.environ, POLAR_BLAS="none")
    result = subprocess.run(emulated(processor, f"tests/{program}"), cwd=tiny.ROOT, env=environment, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, check=False)
    good = result.returncode == 0
    if program == KERNEL_TEST:
        good = good and f"{'OK' if processor == WITH_BF16 else 'SKIPPED'} ] test_packed" in result.stdout
    return None if good else f"{program} on {processor}: status {result.returncode}: {result.stdout}"


def short_loops(file):
    """The innermost loops of an object file, as lists of instructions: those of at most LONGEST ones that branch back."""
    text = subprocess.run(["aarch64-linux-gnu-objdump", "-d", "--no-show-raw-insn", os.path.join(tiny.ROOT, BUILD, file)],
                          stdout=subprocess.PIPE, text=True, check=True).stdout
    lines = [(int(place, 16), words) for place, words in re.findall(r"^ *([0-9a-f]+):\t(.*)$", text, re.M)]
    loops = []
    for i, (place, words) in enumerate(lines):
        branch = re.match(r"(?:b\.\w+|cbn?z)\t.*?\b([0-9a-f]+) <", words)
        length = (place - int(branch[1], 16)) // 4 + 1 if branch else 0
        if 0 < length <= LONGEST:
            loops.append([line for _, line in lines[i + 1 - length:i + 1]])
    return loops


def inner_loops_stay_in_registers(folder):
    """Those of the GEMMs, with 24 multiply-adds, have instructions that multiply and add, and spill no register."""
    need_tools()
    build([])
    for file, instruction in (("device/cpu/gemm_kernel.f32.base.o", "fmla"), ("device/cpu/gemm_kernel.f64.base.o", "fmla"),
                              ("device/cpu/gemm_bf16_neon.o", "bfmmla")):
        loops = [loop for loop in short_loops(file) if sum(line.startswith(instruction) for line in loop) == TILE]
        assert loops, f"{file} has no loop with {TILE} {instruction}"
        for loop in loops:
            assert not any("[sp" in line for line in loop), f"{file} spills registers:\n" + "\n".join(loop)


def kernels_and_operations(folder):
    need_tools()
    programs = unit_tests() if ALL else [KERNEL_TEST]
    build(programs)
    cases = [(processor, program) for processor in ((WITH_BF16, WITHOUT_BF16) if ALL else (WITH_BF16,)) for program in programs]
    with ThreadPoolExecutor(JOBS) as pool:
        failures = [text for text in pool.map(failure, cases) if text]
    assert not failures, "\n".join(failures)


def trained_and_resumed(folder):
    """The same losses as the other program's, up to rounding, and the same bits after a resume."""
    need_tools()
    build([])
    options = bf16.small(folder, "--optimizer", "normuon", "--no-measure-peak")
    native = tiny.TRAIN
    reference = {dtype: bf16.train(os.path.join(folder, f"native_{dtype}"), *options, dtype=dtype) for dtype in ("f32", "bf16")}
    try:
        for processor, dtype in ((WITHOUT_BF16, "f32"), (WITHOUT_BF16, "bf16"), (WITH_BF16, "bf16")):
            tiny.TRAIN = os.path.join(folder, f"train_{processor}")
            with open(tiny.TRAIN, "w") as file:
                file.write(f"#!/bin/sh\nexec {' '.join(emulated(processor, 'train'))} \"$@\"\n")
            os.chmod(tiny.TRAIN, 0o755)
            run = bf16.train(os.path.join(folder, f"{processor}_{dtype}"), *options, dtype=dtype)
            bf16.check_close(run, reference[dtype], F32 if dtype == "f32" else math.sqrt(2) * bf16.BF16)
            with open(os.path.join(run, "log.txt")) as file:
                assert ("BFMMLA" in file.read()) == (processor == WITH_BF16)
            if (processor == WITH_BF16) == (dtype == "bf16"):
                stopped = bf16.train(f"{run}_resumed", *options, "--max-time", "1e-9", dtype=dtype)
                assert tiny.checkpoints(stopped) == [1]
                tiny.run("--resume", stopped, "--max-time", "0")
                tiny.check_same_end(stopped, run, bf16.STEPS)
    finally:
        tiny.TRAIN = native


if __name__ == "__main__":
    tiny.run_tests(inner_loops_stay_in_registers, kernels_and_operations, trained_and_resumed)
