#!/usr/bin/env python3
"""Runs exported to TensorBoard and Weights & Biases, read back with the readers of these programs, against
metrics.jsonl. What needs their packages is skipped where there is no .venv (scripts/setup.sh peers)."""
import json
import os
import subprocess
import sys

from harness import PEER_PYTHON, ROOT, need_peers, run_tests
from tiny_runs import make_data, run

from export import steps_of
from runs import read_run

READ_EVENTS = r'''
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0})
events.Reload()
print(json.dumps({tag: [(e.step, e.wall_time, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}))
'''

READ_WANDB = r'''
import json, sys
from wandb.proto import wandb_internal_pb2

def scan(data):
    """The records of wandb's offline file: behind 7 bytes LevelDB's log format, blocks of 32 KiB with fragments of records."""
    at, record = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]  # FULL, FIRST, MIDDLE, LAST
        record = (b"" if kind in (1, 2) else record) + data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):
            yield record

config, history, project = {}, [], ""
for data in scan(open(sys.argv[1], "rb").read()):
    record = wandb_internal_pb2.Record()
    record.ParseFromString(data)
    kind = record.WhichOneof("record_type")
    if kind == "run":
        project = record.run.project
        config = {update.key: json.loads(update.value_json) for update in record.run.config.update}
    if kind == "history":
        history.append({item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item})
print(json.dumps([project, config, history]))
'''


def make_run(folder):
    """A finished run that was stopped once, so that it has a resumption."""
    path = folder / "run"
    data = [*make_data(folder), "--sample-every", "0"]
    run(*data, "--optimizer", "muon", "--out", str(path), "--max-time", "1e-9", "--checkpoint-every", "1")
    run("--resume", str(path), "--max-time", "0")
    return path


def peer(folder, *arguments):
    """Runs under .venv, away from the network and from the home directory."""
    environment = {**os.environ, "HOME": str(folder / "home"), "WANDB_MODE": "offline", "WANDB_DIR": str(folder),
                   "WANDB_ERROR_REPORTING": "false", "PYTHONDONTWRITEBYTECODE": "1"}
    (folder / "home").mkdir(exist_ok=True)
    done = subprocess.run([str(PEER_PYTHON), *map(str, arguments)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def expected(path):
    """{(tag, step): value}, taken from the file itself."""
    found = {}
    for line in (path / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["kind"] == "train":
            found["train/loss", record["step"]] = record["loss"]
            found["train/grad_norm", record["step"]] = record["grad_norm"]
            found["speed/tokens_per_s", record["step"]] = record["tokens_per_s"]
            found["ms/optimizer", record["step"]] = record["ms"]["optimizer"]
            for group in ("hidden", "embed", "vector"):
                found[f"lr/{group}", record["step"]] = record["lr"][group]
        elif record["kind"] == "val":
            found["val/loss", record["step"]] = record["val_loss"]
            found["val/bits_per_byte", record["step"]] = record["bits_per_byte"]
    assert len([step for tag, step in found if tag == "train/loss"]) == 36
    return found


def test_tensorboard_reads_every_value(folder):
    need_peers("tensorboard")
    path = make_run(folder)
    for _ in range(2):  # the second time replaces the first
        peer(folder, ROOT / "scripts/to_tensorboard.py", path, "--out", folder / "tb")
    files = [p for p in (folder / "tb").rglob("*") if p.is_file()]
    assert len(files) == 1 and files[0].parent.name == "run", files
    tags = json.loads(peer(folder, "-c", READ_EVENTS, folder / "tb/run"))
    got = {(tag, step): value for tag, values in tags.items() for step, _, value in values}
    for key, value in expected(path).items():
        assert abs(got[key] - value) <= 2.0**-24 * abs(value), (key, got[key], value)  # float32
    for tag in ("train/loss", "val/loss"):
        steps = [step for tag2, step in expected(path) if tag2 == tag]
        assert [step for step, _, _ in tags[tag]] == sorted(set(steps)), tag
    times = [when for _, when, _ in tags["train/loss"]]
    assert times == sorted(times)
    started = os.stat(path / "config.conf").st_mtime
    assert all(abs(when - started) < 600 for when in times)


def test_wandb_offline_has_every_value(folder):
    need_peers("wandb")
    path = make_run(folder)
    for _ in range(2):
        out = peer(folder, ROOT / "scripts/to_wandb.py", path, "--project", "tiny", "--out", folder / "w")
    assert "wandb sync" in out
    stores = list((folder / "w").rglob("*.wandb"))
    assert len(stores) == 1 and stores[0].parent.name.startswith("offline-run-"), stores
    project, config, history = json.loads(peer(folder, "-c", READ_WANDB, stores[0]))
    assert project == "tiny"
    assert config["optimizer"] == "muon" and config["steps"] == "36" and config["environment"]["threads"] == 1
    got = {(tag, row["_step"]): value for row in history for tag, value in row.items()}
    assert [row["_step"] for row in history] == list(range(37))
    for key, value in expected(path).items():
        assert got[key] == value, (key, got[key], value)
    assert not any(p.is_file() and not p.name.startswith("core-debug") for p in (folder / "home").rglob("*"))  # its own log


def test_steps_of_a_resumed_run(folder):
    """Needs no packages: repeated steps count once, times start again at the resumption, null is left out."""
    path = folder / "run"
    path.mkdir()
    (path / "config.conf").write_text("steps = 3\n")
    (path / "environment.json").write_text('{"time": "2026-01-01T00:00:00Z"}')
    records = [{"kind": "val", "step": 0, "tokens": 0, "val_loss": 5.0, "elapsed_s": 0},
               {"kind": "train", "step": 1, "tokens": 8, "loss": 4.0, "lr": {"hidden": 0.5}, "elapsed_s": 10},
               {"kind": "train", "step": 2, "tokens": 16, "loss": 9.0, "elapsed_s": 20},
               {"kind": "resume", "step": 1, "time": "2026-01-01T01:00:00Z"},
               {"kind": "train", "step": 2, "tokens": 16, "loss": None, "elapsed_s": 21},
               {"kind": "val", "step": 2, "tokens": 16, "val_loss": 3.0, "elapsed_s": 21},
               {"kind": "end", "step": 2, "reason": "finished"}]
    (path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records) + '{"kind": "tr')
    steps = steps_of(read_run(path))
    new_year = 1767225600
    assert [(step, when) for step, when, _ in steps] == [(0, new_year), (1, new_year + 10), (2, new_year + 3600 + 11)]
    assert steps[0][2] == {"val/tokens": 0, "val/loss": 5.0, "val/elapsed_s": 0}
    assert steps[1][2] == {"train/tokens": 8, "train/loss": 4.0, "lr/hidden": 0.5, "train/elapsed_s": 10}
    assert "train/loss" not in steps[2][2] and steps[2][2]["val/loss"] == 3.0


def test_missing_package_is_said_in_one_line(folder):
    """A copy of the scripts without a .venv beside it, under a Python without these packages."""
    (folder / "scripts/lib").mkdir(parents=True)
    for name in ("lib/cli", "lib/export", "lib/runs", "to_tensorboard", "to_wandb"):
        (folder / f"scripts/{name}.py").write_text((ROOT / f"scripts/{name}.py").read_text())
    for name in ("tensorboard", "wandb"):
        done = subprocess.run([sys.executable, "-I", "-S", str(folder / f"scripts/to_{name}.py"), "run", "--out", str(folder / "x")],
                              capture_output=True, text=True, check=False)
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
        assert done.stderr.startswith(f"error: the Python package {name} is not installed") and "setup.sh peers" in done.stderr


def test_two_runs_of_one_name_are_refused(folder):
    need_peers("tensorboard")
    paths = [folder / "a/run", folder / "b/run"]
    for path in paths:
        path.mkdir(parents=True)
        (path / "config.conf").write_text("steps = 1\n")
        (path / "metrics.jsonl").write_text("")
    done = subprocess.run([str(PEER_PYTHON), str(ROOT / "scripts/to_tensorboard.py"), *map(str, paths), "--out", str(folder / "tb")],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr == "error: two runs are named run; export them to different directories\n"


run_tests(globals())
