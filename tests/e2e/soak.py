#!/usr/bin/env python3
"""A long run whose memory and open files must not grow: tests/e2e/soak.py MINUTES

A small model trains for that long with everything that can happen between steps: evaluations, samples, diagnostics,
checkpoints, records. Each second its peak memory, open files and threads are read from /proc. The first twelfth, at
least a minute, is warm-up (a hundred KiB of heap are filled by the first thousands of steps); after it the peak
may grow by 1 %, and the usual number of open files and of threads must stay.
"""
import os
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import tiny_runs

MOST_GROWTH = 0.01
OPTIONS = ["--n-layer", "2", "--n-head", "2", "--d-model", "64", "--seq-len", "64", "--optimizer", "normuon",
           "--steps", "1000000000", "--log-every", "10", "--eval-every", "50", "--sample-every", "70", "--sample-tokens", "100",
           "--checkpoint-every", "90", "--keep", "3", "--diagnose", "110", "--schedule", "constant"]


def look(pid):
    """(peak and present resident KiB, threads, open files) of a process."""
    with open(f"/proc/{pid}/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    files = len(os.listdir(f"/proc/{pid}/fd"))
    return *(int(fields[key].split()[0]) for key in ("VmHWM", "VmRSS", "Threads")), files


def watch(process):
    """[(seconds, *look)] until the process ends."""
    start, looks = time.monotonic(), []
    while process.poll() is None:
        try:
            looks.append((time.monotonic() - start, *look(process.pid)))
        except (FileNotFoundError, KeyError, ProcessLookupError):
            break  # it has just ended
        time.sleep(1)
    process.wait()
    return looks


def main(minutes):
    seconds = 60 * minutes
    warm = min(max(60, seconds / 12), seconds / 3)
    with tempfile.TemporaryDirectory(prefix="polar_soak_") as folder:
        run = os.path.join(folder, "run")
        data = tiny_runs.make_data(folder)  # later options win
        with open(os.path.join(folder, "errors"), "w+") as errors:
            process = subprocess.Popen([tiny_runs.TRAIN, *data, *OPTIONS, "--max-time", str(seconds), "--out", run],
                                       env=dict(os.environ, OMP_NUM_THREADS="1"),
                                       stdout=subprocess.DEVNULL, stderr=errors)
            looks = watch(process)
            errors.seek(0)
            assert process.returncode == 75, f"status {process.returncode}: {errors.read()}"
        kinds = [record["kind"] for record in tiny_runs.records(run)]
        step = tiny_runs.records(run)[-1]["step"]
        with open(os.path.join(run, "diagnostics.jsonl")) as file:
            kinds += ["diagnostics" for _ in file]
    counts = {kind: kinds.count(kind) for kind in ("val", "sample", "diagnostics")}
    before = [each for each in looks if each[0] < warm]
    after = [each for each in looks if each[0] >= warm]
    growth = after[-1][1] / before[-1][1] - 1
    usual = [[statistics.median_low(each[i] for each in part) for part in (before, after[-len(before):])]
             for i in (3, 4)]
    steady = all(first == last for first, last in usual)
    good = growth < MOST_GROWTH and steady and all(counts.values())
    print(f"{'steady' if good else 'NOT STEADY'}: {looks[-1][0] / 60:.1f} minutes, {step} steps, "
          f"{counts['val']} evaluations, {counts['sample']} samples, {step // 90} checkpoints, "
          f"{counts['diagnostics']} diagnostics; peak memory {before[-1][1]} -> {after[-1][1]} KiB ({100 * growth:+.2f} %), "
          f"resident {before[-1][2]} -> {after[-1][2]} KiB, open files {usual[1][0]} -> {usual[1][1]} "
          f"(at most {max(each[4] for each in looks)}), threads {usual[0][0]} -> {usual[0][1]}")
    return 0 if good else 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(float(sys.argv[1])))
