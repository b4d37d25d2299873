#!/usr/bin/env python3
"""Several ranks: the same bits for any number of them, resumed on another number, evaluated alike; launchers, failures, stops."""
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
import tiny_runs as tiny

STEPS = 12
PARTS = 8
SIZES = (1, 2, 3, 5, 8)


def options_of(folder, *options):
    """A run of 12 steps of 24 micro-batches in 8 parts."""
    return [*tiny.make_data(folder), "--batch-size", "24", "--micro-batch", "1", "--seq-len", "8", "--steps", str(STEPS), "--eval-every",
            "6", "--sample-every", "6", "--val-tokens", "100", "--sum-parts", str(PARTS), "--checkpoint-every", "6", *options]


def train(out, *options, ranks, **settings):
    tiny.run(*options, "--ranks", str(ranks), "--out", out, environment=dict(tiny.ENVIRONMENT, **settings))
    return out


def check_all_sizes(folder, name, *options):
    options = options_of(folder, *options)
    runs = [train(os.path.join(folder, f"{name}_{ranks}"), *options, ranks=ranks) for ranks in SIZES]
    for run in runs[1:]:
        tiny.check_same_end(run, runs[0], STEPS)
    return runs


def same_bits_adamw(folder):
    runs = check_all_sizes(folder, "adamw", "--optimizer", "adamw")
    other = train(os.path.join(folder, "one_part"), *options_of(folder, "--sum-parts", "1"), ranks=1)
    losses = [record["loss"] for record in tiny.records(runs[0]) if record["kind"] == "train"]
    one = [record["loss"] for record in tiny.records(other) if record["kind"] == "train"]
    assert losses[0] != one[0] or losses[-1] != one[-1], "the order of sums has no effect: the test shows nothing"
    assert all(abs(a - b) < 1e-4 * b for a, b in zip(losses, one)), (losses, one)


def same_bits_normuon_bf16(folder):
    check_all_sizes(folder, "normuon", "--optimizer", "normuon", "--dtype", "bf16")


def same_bits_of_documents(folder):
    """Rows that begin at documents: every rank passes over the rows of the others."""
    runs = check_all_sizes(folder, "align", "--align-documents", "--document-token", "256", "--batch-size", "16", "--optimizer",
                           "polargrad", "--polar", "ns5")
    assert os.path.exists(os.path.join(runs[0], "checkpoints", f"step_{STEPS:08}"))


def same_bits_of_large_matrices(folder):
    """Matrices that all threads of a rank compute, each on one rank."""
    options = options_of(folder, "--d-model", "256", "--n-layer", "3", "--steps", "2", "--sum-parts", "4", "--batch-size", "4",
                         "--eval-every", "0", "--sample-every", "0", "--optimizer", "normuon")
    runs = [train(os.path.join(folder, f"large_{ranks}"), *options, ranks=ranks) for ranks in (1, 2, 4)]
    for run in runs[1:]:
        tiny.check_same_end(run, runs[0], 2)


def resumed_on_another_number(folder):
    options = options_of(folder, "--optimizer", "normuon", "--keep", "9")
    reference = train(os.path.join(folder, "reference"), *options, ranks=8)
    for ranks in (1, 3, 8):
        run = os.path.join(folder, f"resumed_{ranks}")
        shutil.copytree(reference, run)
        shutil.rmtree(os.path.join(run, "checkpoints", f"step_{STEPS:08}"))
        tiny.run("--resume", run, "--ranks", str(ranks))
        tiny.check_same_end(run, reference, STEPS)
    tiny.check_one_line(tiny.train("--resume", reference, "--ranks", "9"), "9 ranks are more than the 8 parts")


def started_by_launchers(folder):
    """The variables of launchers, set by hand: two processes that meet on this host, or over TCP."""
    options = options_of(folder)
    reference = train(os.path.join(folder, "reference"), *options, ranks=1)
    port = random.randrange(20000, 30000)
    for name, variables in (("openmpi", lambda r: {"OMPI_COMM_WORLD_RANK": r, "OMPI_COMM_WORLD_SIZE": 2, "OMPI_COMM_WORLD_LOCAL_RANK": r,
                                                   "OMPI_COMM_WORLD_LOCAL_SIZE": 2}),
                            ("hydra", lambda r: {"PMI_RANK": r, "PMI_SIZE": 2, "MPI_LOCALRANKID": r, "MPI_LOCALNRANKS": 2}),
                            ("torchrun", lambda r: {"RANK": r, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1,
                                                    "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port})):
        run = os.path.join(folder, name)
        environments = [dict(tiny.ENVIRONMENT, **{key: str(value) for key, value in variables(r).items()}) for r in range(2)]
        processes = [tiny.start(*options, "--out", run, environment=environment) for environment in environments]
        for process in processes:
            _, err = process.communicate(timeout=120)
            assert process.returncode == 0 and err == "", err
        tiny.check_same_end(run, reference, STEPS)


def started_by_mpi(folder):
    options = options_of(folder)
    reference = train(os.path.join(folder, "reference"), *options, ranks=1)
    commands = {"mpirun.openmpi": ["--oversubscribe", "--bind-to", "none", "-n", "3"], "mpiexec.hydra": ["-n", "4"]}
    found = {name: arguments for name, arguments in commands.items() if shutil.which(name)}
    if not found:
        raise tiny.Skip("neither Open MPI nor MPICH is installed")
    environment = dict(tiny.ENVIRONMENT, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    for name, arguments in found.items():
        run = os.path.join(folder, name)
        result = subprocess.run([name, *arguments, tiny.TRAIN, *options, "--out", run], env=environment, capture_output=True, text=True,
                                timeout=120, check=False)
        assert result.returncode == 0, f"{name}: status {result.returncode}: {result.stderr}"
        tiny.check_same_end(run, reference, STEPS)


def launch_is_checked(_folder):
    out, _ = tiny.run("check-ranks", "--ranks", "3")
    assert re.search(r"^3 ranks, started by --ranks$", out, re.M) and len(re.findall(r"^rank \d+ ", out, re.M)) == 3, out
    assert re.search(r"^barrier  \d+ us", out, re.M) and re.search(r"^exchange [\d.]+ GB/s .*data intact$", out, re.M), out
    alone = dict(tiny.ENVIRONMENT, RANK="1", WORLD_SIZE="2")
    tiny.check_one_line(tiny.train("check-ranks", "--rendezvous-timeout", "1", environment=alone), "rank 1 did not reach rank 0 within 1 s")
    assert "one process alone" in tiny.run("check-ranks")[0]


def refused(folder):
    options = options_of(folder)
    run = os.path.join(folder, "run")
    alone = dict(tiny.ENVIRONMENT, RANK="0", WORLD_SIZE="3")
    tiny.check_one_line(tiny.train(*options, "--out", run, "--rendezvous-timeout", "1", environment=alone), "missing: 1 2")
    tiny.check_one_line(tiny.train(*options, "--out", run, "--ranks", "4", environment=alone), "torchrun has started 3")
    tiny.check_one_line(tiny.train(*options, "--out", run, "--sum-parts", "7"), "--sum-parts 7 does not divide the 24")
    tiny.check_one_line(tiny.train(*options, "--out", run, "--ranks", "9"), "9 ranks are more than the 8 parts")
    tiny.check_one_line(tiny.train("--resume", os.path.join(folder, "nowhere"), "--ranks", "2"), "no run")
    processes = [tiny.start(*options, "--out", run, "--lr", rate, environment=dict(tiny.ENVIRONMENT, RANK=rank, WORLD_SIZE="2"))
                 for rank, rate in (("0", "0.1"), ("1", "0.2"))]
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert all(process.returncode == 1 for process in processes) and "of rank 1 is not that of rank 0" in errors[0], errors
    assert not os.path.exists(run)
    train(run, *options, ranks=2)
    tiny.check_one_line(tiny.train(*options, "--out", run, "--ranks", "2"), "contains a run")


def ranks_of(process):
    """The processes of the ranks, in order."""
    tiny.wait_for(lambda: len(subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True,
                                             check=False).stdout.split()) == 4, process)
    found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout.split()
    return sorted(map(int, found))


def begin(folder, name):
    run = os.path.join(folder, name)
    process = tiny.start(*options_of(folder), "--steps", "100000", "--ranks", "4", "--out", run)
    ranks = ranks_of(process)
    tiny.wait_for(lambda: os.path.exists(os.path.join(run, "metrics.jsonl")) and tiny.checkpoints(run), process)
    return run, process, ranks


def killed(folder):
    for victim in range(4):
        run, process, ranks = begin(folder, f"kill_{victim}")
        os.kill(ranks[victim], signal.SIGKILL)
        start = time.monotonic()
        _, err = process.communicate(timeout=60)
        assert process.returncode != 0 and time.monotonic() - start < 10, process.returncode
        assert err == f"error: rank {victim}: it is gone: killed, or crashed\n", err
        assert all(not os.path.exists(f"/proc/{rank}") for rank in ranks)
        tiny.run("--resume", run, "--ranks", "2", "--max-time", "0.1")


def stopped_by_signals(folder):
    for name, to_rank, number in (("parent", None, signal.SIGTERM), ("rank", 3, signal.SIGUSR1)):
        run, process, ranks = begin(folder, name)
        os.kill(process.pid if to_rank is None else ranks[to_rank], number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 75 and err == "", (process.returncode, err)
        last = [record for record in tiny.records(run) if record["kind"] == "train"][-1]["step"]
        assert tiny.checkpoints(run)[-1] == last


def silent_rank_is_named(folder):
    _, process, ranks = begin(folder, "silent")
    os.kill(ranks[2], signal.SIGSTOP)
    start = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and time.monotonic() - start < 20, process.returncode
    assert err == "error: rank 2: it has not answered for 10 s: stopped, or its host is unreachable\n", err


if __name__ == "__main__":
    tiny.run_tests(same_bits_adamw, same_bits_normuon_bf16, same_bits_of_documents, same_bits_of_large_matrices,
                   resumed_on_another_number, started_by_launchers, started_by_mpi, launch_is_checked,
                   refused, killed, stopped_by_signals, silent_rank_is_named)
