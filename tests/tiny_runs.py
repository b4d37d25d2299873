"""Tiny runs for the tests of resuming: three shards of unequal size, a network of a few thousand parameters."""
import json
import os
import random
import struct
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TRAIN = os.environ.get("TRAIN", os.path.join(HERE, "..", "train"))
# Our own products start in a few milliseconds, and one thread does not mind a busy machine.
ENVIRONMENT = dict(os.environ, POLAR_BLAS="none", OMP_NUM_THREADS="1")
STEPS = 36
# What may differ between two runs that are the same.
TIMES = ("elapsed_s", "step_ms", "tokens_per_s", "flops_per_s", "mfu", "memory_bytes", "device_memory_bytes", "ms")


def write_shard(path, tokens):
    with open(path, "wb") as file:
        file.write(struct.pack("<256i", 20240520, 1, len(tokens), *[0] * 253))
        file.write(struct.pack(f"<{len(tokens)}H", *tokens))


def make_data(folder):
    """Words drawn at random: something to learn. 36 steps of 64 tokens cross every end and wrap around."""
    rng = random.Random(7)
    words = [bytes(rng.choices(b"abcdefgh ", k=rng.randint(2, 6))) for _ in range(20)]
    for name, n in (("train_000001", 501), ("train_000002", 333), ("train_000003", 877), ("val_000000", 411)):
        text = b"".join(rng.choices(words, k=n))[:n - 1]
        tokens = [256, *text]
        tokens[97::97] = [256] * len(tokens[97::97])  # documents
        write_shard(os.path.join(folder, f"t_{name}.bin"), tokens)
    return ["--vocab", "bytes", "--train-data", os.path.join(folder, "t_train_*.bin"), "--val-data",
            os.path.join(folder, "t_val_*.bin"), "--n-layer", "2", "--n-head", "2", "--d-model", "32", "--seq-len",
            "16", "--batch-size", "4", "--micro-batch", "2", "--steps", str(STEPS), "--threads", "1", "--log-every",
            "1", "--eval-every", "10", "--sample-every", "15", "--sample-tokens", "8", "--val-tokens", "400",
            "--schedule", "cosine", "--warmup", "5", "--quiet"]


def start(*arguments, environment=ENVIRONMENT):
    return subprocess.Popen([TRAIN, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True)


def run(*arguments, status=0, environment=ENVIRONMENT):
    process = start(*arguments, environment=environment)
    out, err = process.communicate(timeout=300)
    assert process.returncode == status, f"train {' '.join(arguments)}: status {process.returncode}: {err}"
    return out, err


def train(*arguments, environment=ENVIRONMENT, timeout=120, **popen):
    return subprocess.run([TRAIN, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=timeout, check=False, **popen)


def wait_for(condition, process=None, seconds=300):
    """Waits until it holds; an error where the process ends before."""
    end = time.monotonic() + seconds
    while True:
        ended = process is not None and process.poll() is not None
        if condition():
            return
        assert not ended, process.communicate()
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.002)


def wait_for_steps(folder, process):
    """Until the run in this folder, which the process began, has opened its records: it heeds signals by then, and a step is
    the next that it does."""
    wait_for(lambda: os.path.exists(os.path.join(folder, "metrics.jsonl")), process)


def check_one_line(result, words=""):
    """Refused: status 1 and one line that says why."""
    assert result.returncode == 1, f"status {result.returncode}: {result.stderr}"
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1 and words in result.stderr, result.stderr


def read_tree(folder):
    """What every file below a folder holds, by its path."""
    found = {}
    for here, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(here, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, folder)] = file.read()
    return found


def checkpoints(folder):
    """The steps of the checkpoints, ascending."""
    try:
        names = os.listdir(os.path.join(folder, "checkpoints"))
    except FileNotFoundError:
        return []
    return sorted(int(name[5:]) for name in names if name.startswith("step_"))


def records(folder):
    """The records of a run without its times, and without those of stopping and resuming."""
    found = []
    with open(os.path.join(folder, "metrics.jsonl")) as file:
        for line in file:
            record = json.loads(line)
            if record["kind"] in ("resume", "end"):
                continue
            found.append({key: value for key, value in record.items() if key not in TIMES})
    return found


def check_same_end(folder, reference, steps=STEPS):
    """Both runs are finished; weights, optimizer state and records agree to the last bit."""
    for name in ("model.safetensors", "optimizer.safetensors"):
        data = []
        for run_folder in (folder, reference):
            with open(os.path.join(run_folder, "checkpoints", f"step_{steps:08d}", name), "rb") as file:
                data.append(file.read())
        assert data[0] == data[1], f"{name} of {folder} differs from that of a run that was never stopped"
    mine, other = records(folder), records(reference)
    assert mine == other, f"metrics differ: {[pair for pair in zip(mine, other) if pair[0] != pair[1]][:1]}"
    left = [name for name in os.listdir(os.path.join(folder, "checkpoints")) if name.startswith(".")]
    assert not left, f"left behind: {left}"


class Skip(Exception):
    """Raised by a test that cannot run here; the text says why."""


def run_tests(*tests):
    """Runs test functions (those named on the command line, or all), each with a folder of its own, and reports as
    tests/run.py wants it."""
    import sys
    import tempfile
    import traceback
    failed = False
    for test in tests:
        if sys.argv[1:] and test.__name__ not in sys.argv[1:]:
            continue
        with tempfile.TemporaryDirectory(prefix="polar_test_") as folder:
            try:
                test(folder)
                print(f"ok {test.__name__}")
            except Skip as why:
                print(f"skipped {test.__name__}: {why}")
            except Exception:
                failed = True
                traceback.print_exc(file=sys.stdout)
                print(f"FAILED {test.__name__}")
        sys.stdout.flush()
    sys.exit(failed)
