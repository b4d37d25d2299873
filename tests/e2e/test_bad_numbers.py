#!/usr/bin/env python3
"""Non-finite values, in checkpoints and by overflow: the last good checkpoint is found, and never overwritten."""
import json
import os
import shutil
import struct
import sys

sys.dont_write_bytecode = True
import tiny_runs as tiny

TABLE = []
for byte in range(256):
    crc = byte
    for _ in range(8):
        crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    TABLE.append(crc)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def checkpoint(run, step):
    return os.path.join(run, "checkpoints", f"step_{step:08d}")


def plant(run, step, name, tensor, index, value):
    """Writes a number into a tensor of a checkpoint and makes all checksums right again."""
    folder = checkpoint(run, step)
    path = os.path.join(folder, name)
    with open(path, "rb") as file:
        data = bytearray(file.read())
    (n,) = struct.unpack_from("<Q", data)
    begin, _ = json.loads(data[8:8 + n])[tensor]["data_offsets"]
    struct.pack_into("<f", data, 8 + n + begin + 4 * index, value)
    with open(path, "wb") as file:
        file.write(data)
    path = os.path.join(folder, "state.json")
    with open(path) as file:
        text = file.read()
    state = json.loads(text)
    body = text[:text.rindex(',"crc32c":')].replace(f'"crc32c":{state[name]["crc32c"]}', f'"crc32c":{crc32c(data)}')
    with open(path, "w") as file:
        file.write(f'{body},"crc32c":{crc32c(body.encode())}}}\n')


def tree(folder):
    found = {}
    for path, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(path, name), "rb") as file:
                found[os.path.join(path, name)] = file.read()
    return found


def check_planted(folder, optimizer, state, last):
    """The newest checkpoint has a bad weight, the one before it bad state: the run resumes from the third."""
    data = [*tiny.make_data(folder), "--optimizer", optimizer, "--checkpoint-every", "10", "--keep", "0"]
    reference, run = os.path.join(folder, "reference"), os.path.join(folder, "run")
    tiny.run(*data, "--out", reference)
    shutil.copytree(reference, run)
    plant(run, 36, "model.safetensors", "layers.1.mlp.up.weight", 3 * 32 + 7, float("nan"))
    plant(run, 30, "optimizer.safetensors", f"{state}.layers.0.attention.qkv.weight", 5, float("inf"))
    out, _ = tiny.run("--resume", run)
    assert "step 36 is corrupt and was skipped" in out and "step 30 is corrupt and was skipped" in out, out
    assert "tensor layers.1.mlp.up.weight is not finite (row 3, column 7)" in out, out
    assert f"tensor {state}.layers.0.attention.qkv.weight is not finite (row {last[0]}, column {last[1]})" in out, out
    tiny.check_same_end(run, reference)
    # No other is left: one line, and nothing is touched.
    for step in (10, 20, 30, 36):
        plant(run, step, "model.safetensors", "final_norm.gain", 4, float("-inf"))
    before = tree(os.path.join(run, "checkpoints"))
    _, err = tiny.run("--resume", run, status=1)
    assert err.count("\n") == 1 and "final_norm.gain is not finite (element 4)" in err, err
    _, err = tiny.run("eval", run, status=1)
    assert err.count("\n") == 1 and "final_norm.gain is not finite (element 4)" in err, err
    assert tree(os.path.join(run, "checkpoints")) == before


def test_planted_adamw(folder):
    check_planted(folder, "adamw", "moment2", (0, 5))


def test_planted_normuon(folder):
    check_planted(folder, "normuon", "row_moment", (5, 0))


def overflowing(folder, *options):
    """A run of three steps, the last of which makes the weights overflow when the run is resumed: its folder."""
    run = os.path.join(folder, "run")
    tiny.run(*tiny.make_data(folder), "--optimizer", "sgd", "--schedule", "constant", "--warmup", "0", "--keep", "1", "--lr", "1e-3",
             "--clip", "0", "--max-time", "1e-9", "--eval-every", "0", "--sample-every", "0", *options, "--out", run)
    assert tiny.checkpoints(run) == [1]
    # A momentum that makes the next update overflow, but that is finite itself.
    plant(run, 1, "optimizer.safetensors", "momentum.layers.1.mlp.up.weight", 3 * 32 + 7, 3e38)
    return run


def test_overflow_is_not_saved(folder):
    run = overflowing(folder)
    before = tree(checkpoint(run, 1))
    _, err = tiny.run("--resume", run, "--checkpoint-every", "1", status=1)
    assert err.count("\n") == 1 and "step 2 is not saved" in err, err
    assert "the weight of layers.1.mlp.up.weight is as large as 2" in err and "(row 3, column 7)" in err, err
    assert tree(os.path.join(run, "checkpoints")) == before
    tiny.run("eval", run)


def test_overflow_stops(folder):
    run = overflowing(folder)
    before = tree(checkpoint(run, 1))
    _, err = tiny.run("--resume", run, "--checkpoint-every", "0", "--max-time", "0", status=1)
    assert err.count("\n") == 1 and "step 3 is bad: loss" in err, err
    assert "; the weight of layers.1.mlp.up.weight is as large as 2" in err, err
    assert tree(os.path.join(run, "checkpoints")) == before


def test_overflow_skips(folder):
    run = overflowing(folder)
    before = tree(checkpoint(run, 1))
    out, err = tiny.run("--resume", run, "--checkpoint-every", "0", "--on-bad-step", "skip", "--max-skips", "4",
                        "--max-time", "0", status=1)
    assert [f"step {step} skipped: " in out for step in (3, 4, 5, 6, 7)] == [True] * 4 + [False], out
    assert err.count("\n") == 1 and "step 6 is bad" in err and "4 bad steps in a row (--max-skips)" in err, err
    assert tree(os.path.join(run, "checkpoints")) == before


if __name__ == "__main__":
    tiny.run_tests(*(function for name, function in list(globals().items()) if name.startswith("test_")))
