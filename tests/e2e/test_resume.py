#!/usr/bin/env python3
"""A run that is stopped and resumed gives the same bits as one that never stopped."""
import json
import os
import random
import signal
import time

import tiny_runs as tiny


def resume_until_done(folder, *arguments, stop, most=400):
    """Resumes again and again, each time stopped by `stop(process)`; returns how many processes it took."""
    for count in range(1, most):
        process = tiny.start("--resume", folder, *arguments)
        stop(process)
        _, err = process.communicate(timeout=300)
        assert process.returncode in (0, 75), f"status {process.returncode}: {err}"
        if process.returncode == 0 and tiny.checkpoints(folder)[-1] == tiny.STEPS:
            return count
    raise AssertionError("the run never ended")


def check_optimizer(folder, optimizer, *options):
    data = tiny.make_data(folder) + list(options)
    reference, run = os.path.join(folder, "reference"), os.path.join(folder, "run")
    tiny.run(*data, "--optimizer", optimizer, "--out", reference)
    assert len(tiny.records(reference)) == tiny.STEPS + 5 + 2
    # Stopped after every single step.
    tiny.run(*data, "--optimizer", optimizer, "--out", run, "--max-time", "1e-9", "--keep", "0")
    count = resume_until_done(run, stop=lambda process: None)
    assert count == tiny.STEPS - 1, f"{count} processes"
    assert tiny.checkpoints(run) == list(range(1, tiny.STEPS + 1))
    tiny.check_same_end(run, reference)


def test_adamw_stopped_at_every_step(folder):
    check_optimizer(folder, "adamw")


def test_muon_stopped_at_every_step(folder):
    check_optimizer(folder, "muon")


def test_normuon_stopped_at_every_step(folder):
    check_optimizer(folder, "normuon")


def test_aligned_stopped_at_every_step(folder):
    check_optimizer(folder, "adamw", "--align-documents")
    with open(os.path.join(folder, "run", "checkpoints", "step_00000001", "state.json")) as file:
        state = json.load(file)
    assert state["data_position"] > 4 * 16, state  # tokens were skipped
    with open(os.path.join(folder, "run", "config.conf")) as file:
        assert "document-token = 256\n" in file.read()
    # Micro-batches cut the same rows otherwise.
    other = os.path.join(folder, "other")
    tiny.run(*tiny.make_data(folder), "--align-documents", "--micro-batch", "1", "--out", other)
    losses = [[r["loss"] for r in tiny.records(os.path.join(folder, name)) if r["kind"] == "train"]
              for name in ("reference", "other")]
    assert all(abs(a - b) < 1e-4 for a, b in zip(*losses)), losses


def test_aligned_refusals(folder):
    data = tiny.make_data(folder)
    for options, words in ((["--shard-tail", "drop"], "--shard-tail join"),
                           (["--vocab", "none", "--vocab-size", "300"], "the token that begins a document"),
                           (["--document-token", "257"], "not in the vocabulary of 257 tokens"),
                           (["--vocab", "none"], "found no token 50256, which begins every document")):
        _, err = tiny.run(*data, "--align-documents", *options, "--out", os.path.join(folder, "run"), status=1)
        assert words in err and err.count("\n") == 1, err
        assert not os.path.exists(os.path.join(folder, "run"))


def test_all_threads_and_blas(folder):
    """As users run it: whatever BLAS there is, on all processors, with work enough to share."""
    network = ["--d-model", "64", "--seq-len", "64", "--batch-size", "8", "--micro-batch", "4", "--threads", "0"]
    data = tiny.make_data(folder) + network
    reference, run = os.path.join(folder, "reference"), os.path.join(folder, "run")
    tiny.run(*data, "--optimizer", "normuon", "--out", reference, environment=None)
    tiny.run(*data, "--optimizer", "normuon", "--out", run, "--max-time", "1e-9", environment=None)
    while tiny.checkpoints(run)[-1] < tiny.STEPS:
        tiny.run("--resume", run, "--max-time", "0.2", environment=None)
    tiny.check_same_end(run, reference)


def test_signals(folder):
    """SIGTERM, SIGINT and SIGUSR1 at any moment, in evaluations and before the first step too."""
    data = tiny.make_data(folder)
    rng = random.Random(11)
    reference = os.path.join(folder, "reference")
    tiny.run(*data, "--optimizer", "normuon", "--out", reference)
    stopped = 0
    for number in range(6):
        run = os.path.join(folder, f"run{number}")

        def stop(process):
            nonlocal stopped
            tiny.wait_for_steps(run, process)
            time.sleep(rng.uniform(0, 0.08))
            process.send_signal(rng.choice([signal.SIGTERM, signal.SIGINT, signal.SIGUSR1]))
            process.wait()
            stopped += process.returncode == 75

        process = tiny.start(*data, "--optimizer", "normuon", "--out", run)
        stop(process)
        _, err = process.communicate()
        assert process.returncode in (0, 75), f"status {process.returncode}: {err}"
        for _ in range(3):
            process = tiny.start("--resume", run)
            # Only signals after the handlers are there are promised a checkpoint.
            time.sleep(0.05)
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.communicate()
        tiny.run("--resume", run)
        tiny.check_same_end(run, reference)
    assert stopped > 0, "no signal came in time to stop a run"


def test_second_interrupt_ends_at_once(folder):
    """Where a step is long, a second Ctrl-C does not wait for it, and the run can go on all the same."""
    data = tiny.make_data(folder) + ["--n-layer", "4", "--d-model", "384", "--steps", "3", "--eval-every", "0",
                                     "--sample-every", "0", "--val-tokens", "16"]
    for number in range(5):  # the second may come too late, after the step
        run = os.path.join(folder, f"run{number}")
        process = tiny.start(*data, "--out", run)
        tiny.wait_for_steps(run, process)
        process.send_signal(signal.SIGINT)
        line = process.stdout.readline()  # that it was heard
        assert line.startswith("SIGINT: finishing the step"), line
        process.send_signal(signal.SIGINT)
        process.communicate()
        if process.returncode == 130:
            break
        assert process.returncode in (0, 75), f"status {process.returncode}"
    assert process.returncode == 130, f"status {process.returncode}, five times"
    assert not tiny.checkpoints(run)
    tiny.run("--resume", run)


def test_finished_run_resumes_to_nothing(folder):
    data = tiny.make_data(folder)
    run = os.path.join(folder, "run")
    tiny.run(*data, "--out", run)
    before = tiny.records(run)
    out, _ = tiny.run("--resume", run)
    assert "finished" in out and tiny.records(run) == before


def test_config_reproduces_run(folder):
    data = tiny.make_data(folder)
    reference, run = os.path.join(folder, "reference"), os.path.join(folder, "run")
    tiny.run(*data, "--optimizer", "muon", "--lr", "0.0123456789", "--out", reference)
    tiny.run("--config", os.path.join(reference, "config.conf"), "--out", run)
    tiny.check_same_end(run, reference)


if __name__ == "__main__":
    tiny.run_tests(test_adamw_stopped_at_every_step, test_muon_stopped_at_every_step,
                   test_normuon_stopped_at_every_step, test_aligned_stopped_at_every_step,
                   test_aligned_refusals, test_all_threads_and_blas, test_signals,
                   test_second_interrupt_ends_at_once, test_finished_run_resumes_to_nothing,
                   test_config_reproduces_run)
