#!/usr/bin/env python3
"""What the Python scripts do when their output cannot be written, and with paths of any bytes: one line on standard error and
status 1, no traceback, no file half-written."""
import os
import resource
import signal
import subprocess
import sys

import tiny_runs as tiny
from harness import ROOT, run_tests

SCRIPTS = {"compare": ("run", "--out", "out"), "diagnose": ("run", "--out", "out"), "compare_problems": ("problem", "--out", "out"),
           "sweep": ("--help",), "tune": ("--help",), "problems": ("--help",), "to_tensorboard": ("--help",), "to_wandb": ("--help",)}


def make_runs(folder):
    tokens = folder / "tokens.bin"
    tiny.write_shard(str(tokens), [i % 50 for i in range(600)])
    tiny.run("--vocab-size", "50", "--n-layer", "1", "--n-head", "1", "--d-model", "8", "--seq-len", "8", "--batch-size", "2",
             "--train-data", str(tokens), "--val-data", str(tokens), "--steps", "3", "--eval-every", "1",
             "--diagnose", "1", "--quiet", "--out", str(folder / "run"), environment=dict(os.environ, OMP_NUM_THREADS="1"))
    tiny.run("problem", "completion", "--rows", "20", "--cols", "10", "--rank", "2", "--steps", "20", "--diagnose", "0", "--quiet",
             "--out", str(folder / "problem"))


def script(folder, name, *arguments, **options):
    return subprocess.run([sys.executable, str(ROOT / f"scripts/{name}.py"), *arguments], cwd=folder, stderr=subprocess.PIPE,
                          check=False, **options)


def one_line(done, words):
    said = os.fsdecode(done.stderr)
    assert done.returncode == 1 and said.startswith("error: ") and said.count("\n") == 1 and words in said, (done.args, said)


def test_standard_output_is_full_or_closed(folder):
    make_runs(folder)
    for name, arguments in SCRIPTS.items():
        with open("/dev/full", "wb") as full:
            one_line(script(folder, name, *arguments, stdout=full), "standard output: No space left on device")
    for arguments in (SCRIPTS["compare"], ("--help",)):
        read, write = os.pipe()
        os.close(read)
        one_line(script(folder, "compare", *arguments, stdout=write), "standard output: Broken pipe")
        os.close(write)


def test_no_file_is_half_written(folder):
    make_runs(folder)

    def small_files():  # a limit of file size stands in for a full disk
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, resource.RLIM_INFINITY))

    for name in ("compare", "diagnose", "compare_problems"):
        run = "problem" if name == "compare_problems" else "run"
        done = script(folder, name, run, "--out", f"{name}_out", stdout=subprocess.DEVNULL, preexec_fn=small_files)
        one_line(done, "File too large")
        assert f"{name}_out/" in os.fsdecode(done.stderr), done.stderr
        assert all(path.suffix == ".json" for path in (folder / f"{name}_out").iterdir()), "something was left"


def test_paths_of_any_bytes(folder):
    make_runs(folder)
    for source, name in (("run", "compare"), ("run", "diagnose"), ("problem", "compare_problems")):
        odd = os.fsencode(folder / source) + b" caf\xe9 \n"
        os.rename(os.fsencode(folder / source), odd)
        done = script(folder, name, odd, "--out", odd + b"report", stdout=subprocess.PIPE)
        assert done.returncode == 0, done.stderr
        assert odd + b"report" in done.stdout
        os.rename(odd, os.fsencode(folder / source))
        one_line(script(folder, name, odd, "--out", odd + b"report", stdout=subprocess.PIPE), "no such run directory")


run_tests(globals())
