#!/usr/bin/env python3
"""Runs the test programs named as arguments (built in $BUILD/tests; emulator:NAME in $BUILD/emulator/tests) and the test
scripts tests/{unit,e2e,lint}/**/test_*.{sh,py}, $JOBS at once (default: the number of processors), and sums their
results, in a fixed order. ONLY=REGEX runs those whose names match. The last line is "N passed, N failed[, N skipped]"; the
names of all failed tests come right before it."""
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Started first, longest first, so that none of them runs alone at the end. A missing name only makes the whole a little
# longer.
LONGEST = ("e2e/test_sweep.py", "e2e/test_cuda_runs.py", "e2e/test_diagnose.py", "e2e/test_faults.py", "e2e/test_huggingface.py",
           "e2e/test_inputs_and_outputs.py", "e2e/test_aarch64.py", "e2e/test_script_output.py", "e2e/test_downloads.py", "e2e/test_resume.py", "e2e/test_exporters.py", "e2e/test_tokenizer.py",
           "emulator:unit/optim/test_optim_safety", "e2e/test_bad_input.py", "e2e/test_scripts.sh",
           "e2e/test_gpu_check.sh")
SHOWN = 60  # last lines of output shown for a failed program

# cmocka repeats the names of failed and skipped tests in its summary; the scripts print "ok NAME", "FAILED NAME" and
# "skipped NAME: why" lines.
REPORTS = {word: re.compile(rf"^\[ {mark} \] (\w+)$|^{word} ([^ :\n]+)", re.M)
           for word, mark in (("ok", " +OK"), ("FAILED", " +FAILED +"), ("skipped", " +SKIPPED +"))}


def programs(named):
    """(name, command) in the order of the report."""
    build = ROOT / os.environ.get("BUILD", "build")
    for name in named:
        folder, _, test = name.rpartition(":")
        yield name, [build / folder / "tests" / test]
    if os.environ.get("SKIP_CUDA_EMULATOR"):
        yield "emulator", ["echo", f"skipped emulator: {os.environ['SKIP_CUDA_EMULATOR']}"]
    for folder in ("unit", "e2e", "lint"):
        for suffix, interpreter in ((".sh", "bash"), (".py", sys.executable)):
            for path in sorted((ROOT / "tests" / folder).rglob(f"test_*{suffix}")):
                yield str(path.relative_to(ROOT / "tests")), [interpreter, path]


def run(command):
    """Returns the output, wait status, wall-clock seconds and CPU seconds of a program."""
    begin = time.monotonic()
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        log.seek(0)
        return log.read(), status, time.monotonic() - begin, usage.ru_utime + usage.ru_stime


def report(name, text, status, seconds, processor):
    """Prints the result of a program; returns the names of its passed, failed and skipped tests."""
    passed, failed, skipped = ({a or b for a, b in pattern.findall(text)} for pattern in REPORTS.values())
    if status and not failed:
        failed = {f"ended by signal {status & 127}" if status & 127 else f"exit status {status >> 8}"}
    if not status and not passed | failed | skipped:
        failed = {"ran no test"}
    print(f"{name:<44} {len(passed):4} passed {len(failed):3} failed {len(skipped):3} skipped {seconds:5.0f} s "
          f"({processor:.0f} s of processor)")
    if failed:
        print("".join(f"    | {line}\n" for line in text.splitlines()[-SHOWN:]), end="")
    for line in text.splitlines():
        if line.startswith("skipped "):
            print(f"    {line}")
    sys.stdout.flush()
    return passed, failed, skipped


def run_all(every):
    """Yields the result of run() for each program, in the order of the report."""
    first = {name: place for place, name in enumerate(LONGEST)}
    jobs = int(os.environ.get("JOBS") or len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(jobs) as pool:
        started = {}
        for name, command in sorted(every, key=lambda program: first.get(program[0], len(first))):
            started[name] = pool.submit(run, command)
        try:
            for name, _ in every:
                yield name, *started[name].result()
        except KeyboardInterrupt:  # the running programs receive it too
            for future in started.values():
                future.cancel()
            raise


def main(named):
    os.environ["TRAIN"] = str(ROOT / os.environ.get("TRAIN", "train"))
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # like ./train: idle threads yield the CPU
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it, and children would inherit that
    failures, counts = [], [0, 0, 0]
    wanted = re.compile(os.environ.get("ONLY", ""))
    for name, *result in run_all([program for program in programs(named) if wanted.search(program[0])]):
        found = report(name, *result)
        counts = [n + len(tests) for n, tests in zip(counts, found)]
        failures += [f"failed: {name}: {test}" for test in sorted(found[1])]
    passed, failed, skipped = counts
    print("", *failures, f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""), sep="\n")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
