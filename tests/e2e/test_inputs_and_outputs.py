#!/usr/bin/env python3
"""Inputs that do not belong together, outputs that cannot be written, values that are not finite, small stacks: each is read right
or refused in one line with status 1."""
import base64
import json
import os
import resource
import struct
import subprocess
from pathlib import Path

import tiny_runs as tiny
from harness import run_tests

SMALL = ("--n-layer", "1", "--n-head", "1", "--d-model", "8", "--seq-len", "16", "--batch-size", "2", "--steps", "4", "--quiet")


def train(folder, *arguments, **options):
    return subprocess.run([tiny.TRAIN, *map(str, arguments)], cwd=folder, check=False, timeout=120,
                          **{"capture_output": True, "env": tiny.ENVIRONMENT, **options})


def succeeds(done):
    assert done.returncode == 0, (done.args, done.stderr)
    return done.stdout.decode()


def refused(done, *words):
    said = done.stderr.decode()
    assert done.returncode == 1 and said.startswith("error: ") and said.count("\n") == 1, (done.args, done.returncode, said)
    assert all(word in said for word in words), (done.args, words, said)


def make_shards(folder, *options, name="b"):
    (folder / "book.txt").write_text("".join(f"line {i} of a small text about foxes and dogs\n" for i in range(400)))
    succeeds(train(folder, "tokenize", *options, "--out", "shards", "--name", name, "book.txt"))


def data(name="b"):
    return "--train-data", f"shards/{name}_train_*.bin", "--val-data", f"shards/{name}_val_*.bin"


def write_vocab(path, pair, prefix=b""):
    """All bytes and one pair of them, in a .tiktoken file."""
    tokens = [bytes([b]) for b in range(256)] + [pair]
    path.write_bytes(prefix + b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens)))


def test_vocabularies_belong_to_their_shards(folder):
    write_vocab(folder / "a.tiktoken", b"fo")
    write_vocab(folder / "b.tiktoken", b"do", prefix=b"\xef\xbb\xbf")
    write_vocab(folder / "copy.tiktoken", b"fo")
    make_shards(folder, "--vocab", "a.tiktoken", name="a")
    make_shards(folder, "--vocab", "b.tiktoken", name="b")
    of_a, out = ("--vocab", "a.tiktoken", *SMALL), ("--out", "run")
    refused(train(folder, *of_a, *data("b"), *out), "--train-data", "another vocabulary than --vocab", "a.tiktoken")
    refused(train(folder, *of_a, *data("a")[:2], *data("b")[2:], *out), "--val-data", "another vocabulary")
    refused(train(folder, "--vocab", "none", "--vocab-size", "258", *SMALL, *data("a")[:2], *data("b")[2:], *out),
            "--val-data", "another vocabulary than --train-data")
    refused(train(folder, *of_a, "--train-data", "shards/?_train_*.bin", *out), "another vocabulary than", "shards/a_train")
    assert not (folder / "run").exists()
    succeeds(train(folder, *of_a, *data("a"), *out))
    assert "eval" not in succeeds(train(folder, "sample", "run", "--tokens", "3"))
    refused(train(folder, "eval", "run", "--val-data", data("b")[3]), "another vocabulary")
    # The same tokens in another file are the same vocabulary; a file that changed since is not.
    succeeds(train(folder, "sample", "run", "--tokens", "3", "--vocab", "copy.tiktoken"))
    os.replace(folder / "b.tiktoken", folder / "a.tiktoken")
    for command in (("sample", "run"), ("eval", "run"), ("--resume", "run")):
        refused(train(folder, *command), "vocabulary", "a.tiktoken")


def test_several_patterns_and_marks_in_files(folder):
    make_shards(folder, "--shard-tokens", "2000")
    config = "\ufefftrain-data = shards/b_train_000001.bin,shards/b_train_000003.bin  # two of them\nd-model = 8\nsteps = 3\n"
    (folder / "run.conf").write_text(config, encoding="utf-8")
    plan = json.loads(succeeds(train(folder, "--config", "run.conf", *SMALL[:4], *SMALL[6:10], "--dry-run", "--json")))
    assert plan["data"]["train_shards"] == 2 and plan["data"]["train_tokens"] == 4000, plan
    several = ("--train-data", "shards/b_train_000001.bin,shards/b_train_000002.bin", *SMALL, "--out", "several")
    assert train(folder, *several, "--max-time", "1e-9").returncode == 75
    (folder / "elsewhere").mkdir()
    succeeds(train(folder / "elsewhere", "--resume", "../several", "--max-time", "0"))
    refused(train(folder, "--train-data", "shards/b_train_000001.bin,nowhere_*.bin", *SMALL, "--out", "run"), "no file matches", "nowhere_")


def test_standard_output_is_full_or_closed(folder):
    make_shards(folder)
    succeeds(train(folder, *data(), *SMALL, "--out", "run"))
    commands = (("--help",), ("--dry-run", "--n-layer", "1"), ("--dry-run", "--json"), ("sample", "run", "--tokens", "5"), ("eval", "run"),
                ("eval", "run", "--json"), ("polar", "--method", "ns5", "--shape", "4x4"), ("tokenize", "--help"),
                ("tokenize", "--out", "o", "--overwrite", "book.txt"), ("problem", "quadratic", "--dry-run"))
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    for command in commands:
        to = {"capture_output": False, "stderr": subprocess.PIPE, "env": env}
        with open("/dev/full", "wb") as full:
            refused(train(folder, *command, stdout=full, **to), "cannot write standard output")
        read, write = os.pipe()
        os.close(read)
        refused(train(folder, *command, stdout=write, **to), "cannot write standard output")
        os.close(write)
    # A run's product is its directory: it goes on without the output.
    with open("/dev/full", "wb") as full:
        done = train(folder, *data(), *SMALL[:-1], "--out", "silent", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 0 and (folder / "silent/checkpoints").is_dir(), done.stderr


def damage(path, name, value):
    with open(path, "r+b") as file:
        size, = struct.unpack("<Q", file.read(8))
        begin, end = json.loads(file.read(size))[name]["data_offsets"]
        file.seek(8 + size + begin)
        file.write(struct.pack("<f", value))


def test_weights_that_are_not_finite(folder):
    make_shards(folder)
    succeeds(train(folder, *data(), *SMALL, "--out", "run"))
    for value, words in ((float("nan"), "tensor transformer.ln_f.bias has a value that is not finite"),
                         (float("inf"), "tensor transformer.ln_f.bias has a value that is not finite"),
                         (3e38, "finite")):  # finite, but what comes of it is not
        name = f"hf{value}"
        succeeds(train(folder, "export", "run", "--out", name))
        damage(folder / name / "model.safetensors", "transformer.ln_f.bias", value)
        if value == 3e38:
            damage(folder / name / "model.safetensors", "transformer.wte.weight", value)
        commands = [("sample", name, "--vocab", "bytes", "--tokens", "5"), ("eval", name, "--vocab", "bytes", "--val-data", data()[3]),
                    ("eval", name, "--vocab", "bytes", "--val-data", data()[3], "--json")]
        if value != 3e38:
            commands += [(*data(), *SMALL, "--init-from", name, "--out", "begun")]
        for command in commands:
            refused(train(folder, *command), words)


def test_small_stacks(folder):
    make_shards(folder)

    def small_stack():
        resource.setrlimit(resource.RLIMIT_STACK, (256 << 10, 256 << 10))

    sizes = ("--n-layer", "1", "--n-head", "6", "--d-model", "384", "--seq-len", "128", "--batch-size", "1", "--steps", "2", "--quiet")
    environment = {**tiny.ENVIRONMENT, "OMP_NUM_THREADS": "3", "OMP_STACKSIZE": "64k"}
    for blas in ("none", None):
        env = {**environment, "POLAR_BLAS": blas} if blas else {k: v for k, v in environment.items() if k != "POLAR_BLAS"}
        for optimizer in ("adamw", "normuon"):
            done = subprocess.run([tiny.TRAIN, *data(), *sizes, "--optimizer", optimizer, "--out", "run", "--overwrite"], cwd=folder,
                                  env=env, capture_output=True, check=False, preexec_fn=small_stack)
            assert done.returncode == 0, (blas, optimizer, done.returncode, done.stderr)


def test_wide_vocabularies(folder):
    tokens = [(i * 7919) % 128256 for i in range(500)]
    header = struct.pack("<256i", 20240801, 7, len(tokens), *[0] * 253)
    (folder / "wide.bin").write_bytes(header + struct.pack(f"<{len(tokens)}I", *tokens))
    succeeds(train(folder, "--vocab-size", "128256", "--document-token", "128000", "--train-data", "wide.bin", *SMALL, "--out", "run"))
    succeeds(train(folder, "sample", "run", "--tokens", "3", "--top-k", "100000"))


def test_two_processes_write_one_dataset(folder):
    (folder / "book.txt").write_text("a word of a text " * 500000)
    command = [tiny.TRAIN, "tokenize", "--overwrite", "--shard-tokens", "1000000", "--out", "o", "--name", "x", "book.txt"]
    both = [subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
    ends = [(p.communicate(), p.returncode) for p in both]
    assert any(status == 0 for _, status in ends)
    assert all(status == 0 or b"another process is writing o/x" in err for (_, err), status in ends), ends
    tokens = sum(path.stat().st_size - 1024 for path in Path(folder / "o").glob("x_*.bin")) // 2
    assert tokens == 17 * 500000 + 2 and not list((folder / "o").glob("*.tmp"))


def test_a_run_that_time_ends_is_a_stopped_one(folder):
    make_shards(folder)
    assert train(folder, *data(), *SMALL, "--max-time", "1e-9", "--out", "run").returncode == 75
    assert train(folder, "--resume", "run", "--max-time", "0").returncode == 0


def test_a_plan_that_does_not_fit(folder):
    huge = ("--n-layer", "96", "--n-head", "96", "--d-model", "12288", "--seq-len", "2048", "--batch-size", "1")
    done = train(folder, *huge, "--dry-run")
    assert done.returncode == 1 and b"96 layers" in done.stdout, done
    assert done.stderr.count(b"\n") == 1 and b"memory" in done.stderr, done.stderr


run_tests(globals())
