#!/usr/bin/env python3
"""Checkpoints that a thread writes while an emulated GPU continues training: the same bytes as with synchronous writing,
complete or absent whatever fails meanwhile, and never fewer than synchronous writing would leave."""
import json
import os
import shutil
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

sys.dont_write_bytecode = True
import test_bad_numbers as bad_numbers
import test_faults as faults
import tiny_runs as tiny
from test_cuda_runs import EMULATOR, cuda, small, steps_of

NO_COPY = 20000  # bytes that can be pinned: enough for the batches, not for the copy of a checkpoint
WAITS = "training waits while checkpoints are written"


def short(folder, *options):
    """Two checkpoints in few calls and little time."""
    options = [*small(folder, "--val-data=", "--sample-every", "0", "--d-model", "16", "--biases", "no", "--positions", "none",
                      "--checkpoint-every", "1", *options), "--steps", "2"]
    options.remove("--quiet")
    return options


def check_whole(run, reference):
    """Every checkpoint that is there is that of the reference."""
    for step in tiny.checkpoints(run):
        for name in ("model.safetensors", "optimizer.safetensors"):
            data = []
            for folder in (run, reference):
                with open(os.path.join(folder, "checkpoints", f"step_{step:08d}", name), "rb") as file:
                    data.append(file.read())
            assert data[0] == data[1], f"{name} of step {step}"


def same_bytes_as_when_training_waits(folder):
    for optimizer, dtype in (("adamw", "f32"), ("normuon", "bf16")):
        options = [*small(folder, "--optimizer", optimizer, "--device", "cuda", "--dtype", dtype, "--checkpoint-every", "1",
                          "--keep", "0"), "--align-documents"]
        runs = [os.path.join(folder, f"{optimizer}_{name}") for name in ("thread", "waits", "random")]
        outs = [tiny.run(*options, "--out", run, environment=environment)[0]
                for run, environment in zip(runs, (cuda(), cuda(pinned=NO_COPY), cuda(order="random:3")))]
        assert [WAITS in out for out in outs] == [False, True, False], outs
        assert tiny.checkpoints(runs[0]) == [1, 2, 3, 4]
        states = []
        for run in runs:
            assert tiny.checkpoints(run) == tiny.checkpoints(runs[0])
            check_whole(run, runs[0])
            states.append([])
            for step in tiny.checkpoints(run):
                with open(os.path.join(run, "checkpoints", f"step_{step:08d}", "state.json")) as file:
                    states[-1].append({key: value for key, value in json.load(file).items() if key not in ("elapsed_s", "crc32c")})
        assert states[0] == states[1] == states[2]


def the_plan_says_who_waits(folder):
    """The copy is in the plan where one is made: on a GPU that saves before its end, not on the CPU."""
    options = small(folder, "--optimizer", "adamw", "--dry-run")
    words = "for a copy, so that checkpoints are written while training continues"
    plan, _ = tiny.run(*options, "--device", "cuda")
    line = next(line for line in plan.splitlines() if words in line).split()
    parameters = int(plan.split("Model  ")[1].split()[0].replace(",", ""))
    kib = float(line[1])
    # Master weights and two moments of 4 bytes; padding of the vocabulary and of arenas on top.
    assert line[2] == "KiB" and 12 * parameters / 1024 <= kib <= 1.5 * 12 * parameters / 1024, (line, parameters)
    for other in (("--device", "cuda", "--checkpoint-every", "0"), ("--device", "cpu")):
        assert words not in tiny.run(*options, *other)[0]


def killed_while_it_writes(folder):
    """The disk is slow, and the process is killed when the first checkpoint is to get its name: the next step was made
    meanwhile, not more, since the next checkpoint waits for the first."""
    faults.need_library()
    options = [*short(folder, "--optimizer", "normuon", "--device", "cuda"), "--steps", "4"]
    reference = os.path.join(folder, "reference")
    tiny.run(*options, "--out", reference, "--keep", "0")
    with open(os.path.join(folder, "calls"), "w+") as calls:
        tiny.run(*options, "--out", os.path.join(folder, "counted"), "--steps", "1", environment=faults.faulty(list=calls.name, call="rename"))
        # The last are state.json, the checkpoint that may be in its place, and the checkpoint.
        number = len(calls.read().split())
    for environment, steps in (({}, 2), ({"CUDA_EMULATOR_PINNED": str(NO_COPY)}, 1)):
        run = os.path.join(folder, f"run{steps}")
        result = tiny.train(*options, "--out", run, environment=dict(faults.faulty(at=number, kind="kill", call="rename", slow=500),
                                                                      **environment))
        assert result.returncode == -signal.SIGKILL, result.stderr
        assert not tiny.checkpoints(run)
        assert os.listdir(os.path.join(run, "checkpoints")) == [".tmp_step_00000001"]
        assert [record["step"] for record in steps_of(run)] == list(range(1, steps + 1)), steps_of(run)
        tiny.run("--resume", run)
        tiny.check_same_end(run, reference, 4)


def faults_at_every_call(folder):
    """From the first checkpoint on every kind of call fails, on a full disk or once, or is the last before a kill -9."""
    faults.need_library()
    options, reference = short(folder, "--optimizer", "sgd", "--device", "cuda"), os.path.join(folder, "reference")
    tiny.run(*options, "--out", reference, "--keep", "0")
    options = [*options, "--keep", "1"]
    calls = faults.list_calls(folder, *options, "--out", os.path.join(folder, "counted"))
    first = calls.index("mkdir", calls.index("fopen"))  # log.txt is opened before
    numbers = [n for n in range(first, len(calls)) if calls[n - 1:n + 2] != ["write"] * 3]
    statuses = []

    def one(case):
        n, kind = case
        run = os.path.join(folder, f"run{n}")
        result = tiny.train(*options, "--out", run,
                            environment=faults.faulty(at=n + 1, kind=kind, error=faults.ERRORS[n % len(faults.ERRORS)]))
        statuses.append(result.returncode)
        where = f"call {n + 1} of {len(calls)}, {kind}: {result.stderr}"
        if kind != "kill" and result.returncode != 0:
            tiny.check_one_line(result)
        assert kind == "kill" or result.returncode in (0, 1), where
        check_whole(run, reference)
        newest = tiny.checkpoints(run)[-1:]
        again = tiny.train("--resume", run)
        assert again.returncode == 0 and "was skipped" not in again.stdout, f"{where}: {again.stderr}{again.stdout}"
        assert not newest or newest[0] == 2 or f"from the checkpoint of step {newest[0]}" in again.stdout, where
        tiny.check_same_end(run, reference, 2)
        shutil.rmtree(run)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, [(n, ("full", "once", "kill")[i % 3]) for i, n in enumerate(numbers)]))
    assert statuses.count(1) > len(numbers) / 3 and statuses.count(-signal.SIGKILL) > len(numbers) / 4, statuses


def an_error_ends_the_run_with_the_line_of_training_that_waits(folder):
    """At the next step, while writing metrics still works."""
    faults.need_library()
    options = [*short(folder, "--optimizer", "sgd", "--device", "cuda"), "--steps", "100"]
    lines = []
    for name, environment in (("thread", {}), ("waits", {"CUDA_EMULATOR_PINNED": str(NO_COPY)})):
        run = os.path.join(folder, "run")
        result = tiny.train(*options, "--out", run, environment=dict(faults.faulty(at=8, kind="full", call="mkdir"), **environment))
        tiny.check_one_line(result, "No space left on device")
        with open(os.path.join(run, "log.txt")) as file:
            assert file.read().endswith(result.stderr), name
        assert len(steps_of(run)) - len(tiny.checkpoints(run)) <= 2, name
        lines.append(result.stderr)
        shutil.rmtree(run)
    assert lines[0] == lines[1], lines


def a_signal_waits_for_the_checkpoint(folder):
    faults.need_library()
    options = [*short(folder, "--optimizer", "adamw", "--device", "cuda", "--keep", "2"), "--steps", "1000"]
    run = os.path.join(folder, "run")
    process = tiny.start(*options, "--out", run, environment=faults.faulty(slow=100))
    tiny.wait_for(lambda: len(tiny.checkpoints(run)) > 1, process)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 75 and err == "", err
    last = steps_of(run)[-1]["step"]
    assert tiny.checkpoints(run) == [last - 1, last] and f"stopped by SIGTERM after step {last}" in out, (last, out)
    assert len(os.listdir(os.path.join(run, "checkpoints"))) == 2
    assert f"from the checkpoint of step {last}" in tiny.run("--resume", run, "--max-time", "1e-9")[0]


def a_gpu_that_fails_waits_for_the_checkpoint(folder):
    """The process ends where it stands, but what was complete before the failure is on the disk."""
    faults.need_library()
    options = [*short(folder, "--optimizer", "sgd", "--device", "cuda", "--keep", "0"), "--steps", "4"]
    found = set()
    for kernel in (40, 80, 120, 160, 200, 240, 280, 320):
        run = os.path.join(folder, "run")
        result = tiny.train(*options, "--out", run, environment=dict(faults.faulty(slow=50), CUDA_EMULATOR_FAIL_LAUNCH=str(kernel)))
        if result.returncode == 0:
            break
        tiny.check_one_line(result, "the GPU failed")
        if os.path.exists(os.path.join(run, "metrics.jsonl")):
            done = len(steps_of(run))
            assert tiny.checkpoints(run) == list(range(1, done + 1)), (kernel, done, tiny.checkpoints(run))
            found.add(done)
        shutil.rmtree(run)
    assert len(found) > 2, found


def bad_numbers_are_not_saved(folder):
    """Weights that overflow in the update before the checkpoint: the thread finds them, in its copy."""
    bad_numbers.test_overflow_is_not_saved(folder)


if __name__ == "__main__":
    if not os.path.exists(EMULATOR):
        print("skipped cuda_checkpoints: no CUDA headers, so no emulator of a GPU")
        sys.exit(0)
    tiny.TRAIN = EMULATOR
    tiny.run_tests(same_bytes_as_when_training_waits, the_plan_says_who_waits, killed_while_it_writes, faults_at_every_call,
                   an_error_ends_the_run_with_the_line_of_training_that_waits, a_signal_waits_for_the_checkpoint,
                   a_gpu_that_fails_waits_for_the_checkpoint, bad_numbers_are_not_saved)
