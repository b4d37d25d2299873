#!/usr/bin/env python3
"""kill -9 at random moments (40, or $KILLS of them), also before the first checkpoint and while checkpoints are written:
the run can always be resumed, and ends with the same bits as an undisturbed run."""
import os
import random
import time

import tiny_runs as tiny

KILLS = int(os.environ.get("KILLS", "40"))


def timed(*arguments):
    begin = time.monotonic()
    tiny.run(*arguments)
    return time.monotonic() - begin


def kill_and_resume(folder, data, reference, rng, moments, counts):
    """One run, killed until it ends by itself."""
    begin = [*data, "--checkpoint-every", "1", "--out", folder]
    while True:
        known = os.path.exists(os.path.join(folder, "config.conf"))
        process = tiny.start(*(["--resume", folder] if known else begin))
        time.sleep(rng.uniform(0, rng.choice(moments)))
        ended = process.poll() is not None
        process.kill()
        _, err = process.communicate()
        if ended:
            assert process.returncode == 0, f"status {process.returncode}: {err}"
            break
        counts["kills"] += 1
        if not os.path.exists(os.path.join(folder, "config.conf")):
            counts["before the run"] += 1
        elif not tiny.checkpoints(folder):
            counts["before a checkpoint"] += 1
        elif any(name.startswith(".") for name in os.listdir(os.path.join(folder, "checkpoints"))):
            counts["in a checkpoint"] += 1
        if counts["kills"] >= KILLS:
            tiny.run(*(["--resume", folder] if os.path.exists(os.path.join(folder, "config.conf")) else begin))
            break
    tiny.check_same_end(folder, reference)


def test_kill(folder):
    rng = random.Random()
    seed = rng.randrange(1 << 32)
    rng.seed(seed)
    data = [*tiny.make_data(folder), "--optimizer", "normuon"]
    reference = os.path.join(folder, "reference")
    whole = timed(*data, "--out", reference, "--checkpoint-every", "1")
    begin = timed("--resume", reference)
    # At the very start, anywhere before the first step, and anywhere in the first ten checkpoints of a process.
    some = begin + max(whole - begin, 0.05) * 10 / tiny.STEPS
    moments = [begin / 10, begin, some, some]
    counts = dict.fromkeys(("kills", "before the run", "before a checkpoint", "in a checkpoint"), 0)
    try:
        number = 0
        while counts["kills"] < KILLS:
            kill_and_resume(os.path.join(folder, f"run{number}"), data, reference, rng, moments, counts)
            number += 1
    finally:
        print(f"seed {seed}, {number + 1} runs: {counts}")
    assert counts["before a checkpoint"] < KILLS, "no run got far enough to be killed in a checkpoint"


def test_run_without_configuration(folder):
    """A process killed before it wrote config.conf leaves nothing to resume, which is said, and nothing in the way."""
    data = tiny.make_data(folder)
    run = os.path.join(folder, "run")
    os.makedirs(run)
    for name in ("lock", "config.conf.tmp"):
        open(os.path.join(run, name), "w").close()
    _, err = tiny.run("--resume", run, status=1)
    assert "config.conf" in err and err.count("\n") == 1
    tiny.run(*data, "--out", run)


if __name__ == "__main__":
    tiny.run_tests(test_kill, test_run_without_configuration)
