#!/usr/bin/env python3
"""--diagnose against numpy on the matrices of checkpoints, and that it changes nothing; scripts/diagnose.py."""
import contextlib
import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys

sys.dont_write_bytecode = True

import numpy as np

import tiny_runs as tiny
from harness import ROOT, Skip, run_tests

import diagnose as script
from cli import status_of

# LAPACK comes with the library of products. One thread: the machine may be busy, and the matrices are tiny.
SOLVING = {name: value for name, value in os.environ.items() if name != "POLAR_BLAS"} | {"OMP_NUM_THREADS": "1"}
EVERY_STEP = ["--steps", "4", "--checkpoint-every", "1", "--keep", "0", "--eval-every", "0", "--sample-every", "0",
              "--diagnose", "1", "--diagnose-spectrum"]
PERCENTS = [0, 1, 5, 10, 25, 50, 75, 90, 95, 99, 100]
EPS32, EPS64 = 2.0**-24, 2.0**-52


def train(folder, name, *options):
    """A tiny run with these options; returns its folder."""
    data = tiny.make_data(folder)
    process = tiny.start(*data, *options, "--out", str(folder / name), environment=SOLVING)
    _, err = process.communicate(timeout=300)
    if process.returncode and "has no LAPACK" in err:
        raise Skip("no LAPACK here")
    assert process.returncode in (0, 75), err  # 75: --max-time stopped it
    return folder / name


def diagnostics(run):
    with open(run / "diagnostics.jsonl") as file:
        return [json.loads(line) for line in file]


def read_tensors(path):
    """A safetensors file as float64 arrays by name."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    types = {"F32": np.float32, "F64": np.float64}
    return {name: np.frombuffer(data[8 + size + one["data_offsets"][0]:8 + size + one["data_offsets"][1]],
                                types[one["dtype"]]).astype(np.float64).reshape(one["shape"])
            for name, one in header.items() if name != "__metadata__"}


def tensors(run, step, file):
    return read_tensors(run / "checkpoints" / f"step_{step:08d}" / f"{file}.safetensors")


def cut(record, values):
    """The rows of the record's matrix out of its parameter: two heads of 16 for q, one for k and for v."""
    match = re.fullmatch(r"(.*)\.([qkv])", record["matrix"])
    if not match:
        return values[match[1] if match else record["matrix"]][:record["rows"]]
    first = {"q": 0, "k": 32, "v": 48}[match[2]]
    return values[match[1]][first:first + record["rows"]]


def near(got, want, tolerance):
    got, want = np.asarray(got, dtype=float), np.asarray(want, dtype=float)
    assert got.shape == want.shape and np.all(np.abs(got - want) <= tolerance), (np.abs(got - want).max(), tolerance)


def check_stats(stats, x, weight=None):
    """All numbers of a record about x. Both decompositions are backward stable: they err by a modest multiple of the
    rounding of the largest singular value."""
    values, norms = np.linalg.svd(x, compute_uv=False), np.linalg.norm(x, axis=1)
    largest = values[0]
    tolerance = 20 * max(x.shape) * EPS64 * largest
    near(stats["singular_values"], values, tolerance)
    near(stats["singular_quantiles"], np.percentile(values, PERCENTS), tolerance)
    near([stats["singular_max"], stats["singular_min"]], [values[0], values[-1]], tolerance)
    near(1 / stats["condition"], (values[-1] + 1e-12) / largest, 2 * tolerance / largest)
    near(stats["nuclear"], np.linalg.norm(x, "nuc"), len(values) * tolerance)
    near(stats["frobenius"], np.linalg.norm(x), len(values) * tolerance)
    near(stats["stable_rank"], np.linalg.norm(x)**2 / largest**2, 10 * len(values)**2 * tolerance / largest)
    small = 4 * x.size * EPS64
    near(stats["row_norms"], norms, small * norms.max())
    near(stats["row_norm_quantiles"], np.percentile(norms, PERCENTS), small * norms.max())
    near(stats["row_norm_mean"], norms.mean(), small * norms.max())
    near(stats["row_norm_cv"], norms.std() / norms.mean(), small * (norms.max() / norms.mean())**2)
    if weight is not None:
        near(stats["alignment"], np.sum(x * weight) / np.linalg.norm(x) / np.linalg.norm(weight), small)


NETWORK = ["--n-kv-head", "1", "--no-tied-head"]
MATRICES = ["token_embedding.weight", "position_embedding.weight"] + [
    f"layers.{layer}.{part}" for layer in (0, 1) for part in (
        "attention.qkv.weight.q", "attention.qkv.weight.k", "attention.qkv.weight.v", "attention.proj.weight",
        "mlp.up.weight", "mlp.down.weight")] + ["head.weight"]


def check_run(run, optimizer, decay, cautious=False):
    records = diagnostics(run)
    for step in range(2, 5):  # the weights before the first step are in no checkpoint
        before, after = tensors(run, step - 1, "model"), tensors(run, step, "model")
        state = tensors(run, step, "optimizer")
        at_step = [r for r in records if r["step"] == step]
        assert at_step
        for record in at_step:
            hidden = record["role"] == "hidden matrix"
            assert record["optimizer"] == (optimizer if hidden else "adamw"), record["matrix"]
            assert record["tokens"] == step * 64 and record["kind"] == "matrix"
            w, change = cut(record, before), (cut(record, before) - cut(record, after)) / record["lr"]
            rate = decay if hidden else 0.1
            kept = rate * w * (change * w >= 0) if hidden and cautious else rate * w
            check_stats(record["update"], change - kept, w)
            kind = "moment1" if record["optimizer"] == "adamw" else "momentum"
            moment = {name.removeprefix(kind + "."): value for name, value in state.items() if name.startswith(kind)}
            check_stats(record["momentum"], cut(record, moment), w)
    return records


def test_values_against_numpy(folder):
    run = train(folder, "muon", *NETWORK, *EVERY_STEP, "--optimizer", "muon", "--weight-decay", "0.1")
    records = check_run(run, "muon", 0.1)
    assert [r["matrix"] for r in records if r["step"] == 3] == MATRICES
    shapes = {r["matrix"]: (r["rows"], r["cols"]) for r in records}
    assert shapes["layers.0.attention.qkv.weight.q"] == (32, 32)
    assert shapes["layers.1.attention.qkv.weight.v"] == (16, 32)
    assert shapes["token_embedding.weight"] == shapes["head.weight"] == (257, 32)  # without the padding to 320
    assert {r["layer"] for r in records} == {-1, 0, 1}
    run = train(folder, "cautious", *EVERY_STEP, *NETWORK, "--optimizer", "normuon", "--decay", "cautious",
                "--weight-decay", "2")
    check_run(run, "normuon", 2, cautious=True)
    run = train(folder, "adamw", *EVERY_STEP, *NETWORK, "--optimizer", "adamw", "--weight-decay", "0.1")
    records = check_run(run, "adamw", 0.1)
    assert "layers.0.attention.qkv.weight" in {r["matrix"] for r in records}  # AdamW sees no splits
    run = train(folder, "fused", *EVERY_STEP, *NETWORK, "--optimizer", "muon", "--no-split-qkv")
    assert {r["rows"] for r in diagnostics(run) if "qkv" in r["matrix"]} == {64}


def test_gradient_and_momentum(folder):
    """The first step's momentum of SGD is its gradient; without momentum there is none, and the update is the gradient."""
    sgd = ["--optimizer", "sgd", "--clip", "0", "--schedule", "constant", "--lr", "0.5", "--head-optimizer", "sgd"]
    run = train(folder, "sgd", *NETWORK, *EVERY_STEP, *sgd, "--momentum", "0.9")
    state = tensors(run, 1, "optimizer")
    first = [r for r in diagnostics(run) if r["step"] == 1 and r["optimizer"] == "sgd"]
    assert len(first) == 9  # four hidden matrices in each of two layers, and the head
    for record in first:
        gradient = state["momentum." + record["matrix"]][:record["rows"]]
        assert record["gradient"] == record["momentum"]
        check_stats(record["gradient"], gradient)
    run = train(folder, "plain", *NETWORK, *EVERY_STEP, *sgd, "--momentum", "0")
    for record in diagnostics(run):
        if record["optimizer"] != "sgd":
            continue
        assert "momentum" not in record
        after = tensors(run, record["step"], "model")[record["matrix"]][:record["rows"]]
        # The weights after the step are rounded: so much the update and its singular values may be off (Weyl).
        error = 2 * EPS32 * np.linalg.norm(after) / record["lr"] + 4 * EPS32 * record["gradient"]["frobenius"]
        near(record["update"]["singular_values"], record["gradient"]["singular_values"], error)
        near(record["update"]["row_norms"], record["gradient"]["row_norms"], error)


def test_weight_decay_is_left_out(folder):
    """The first step's updates with and without it agree up to the rounding of the weights; SGD's is in the gradient."""
    for name, decay in (("adamw", 0.5), ("muon", 0.5), ("normuon", 5), ("cautious", 5), ("polargrad", 0.5),
                        ("sgd", 0.5)):
        options = ["--optimizer", "muon" if name == "cautious" else name, "--schedule", "constant", "--diagnose", "1",
                   "--diagnose-spectrum", "--steps", "1", *(["--decay", "cautious"] if name == "cautious" else [])]
        runs = [train(folder, name + str(rate), *options, "--weight-decay", str(rate)) for rate in (0, decay)]
        after = tensors(runs[1], 1, "model")
        for plain, decayed in zip(*(diagnostics(run) for run in runs)):
            if plain["role"] != "hidden matrix":
                continue
            x, y = plain["update"], decayed["update"]
            # Both weights after the step are rounded, and so are products and sums in the step itself.
            size = np.linalg.norm(cut(plain, after)) / plain["lr"] + x["frobenius"] + decay * np.linalg.norm(cut(plain, after))
            off = np.abs(np.subtract(x["singular_values"], y["singular_values"])).max()
            if name == "sgd":
                assert off > 8 * EPS32 * size, plain["matrix"]
            else:
                assert off <= 8 * EPS32 * size, (name, plain["matrix"], off, 8 * EPS32 * size)


def test_nothing_changes(folder):
    plain, diagnosed = train(folder, "plain"), train(folder, "diagnosed", "--diagnose", "3")
    tiny.check_same_end(str(diagnosed), str(plain))
    assert not (plain / "diagnostics.jsonl").exists()
    assert "diagnos" not in (plain / "log.txt").read_text()
    assert "every 3 steps" in (diagnosed / "log.txt").read_text()
    records = diagnostics(diagnosed)
    assert sorted({r["step"] for r in records}) == list(range(3, tiny.STEPS + 1, 3))
    assert "singular_values" not in records[0]["gradient"] and len(records[0]["gradient"]["row_norm_quantiles"]) == 11
    # A new run in the same folder begins its records anew.
    train(folder, "diagnosed", "--overwrite")
    assert not (diagnosed / "diagnostics.jsonl").exists()


def resume(run, *options):
    tiny.run("--resume", str(run), *options, environment=SOLVING)


def test_resumed_run_repeats_nothing(folder):
    reference = train(folder, "reference", "--optimizer", "muon", "--diagnose", "4", "--checkpoint-every", "10", "--keep", "0")
    want = (reference / "diagnostics.jsonl").read_text()
    run = folder / "run"
    # Killed after step 20's checkpoint, in the middle of a line of step 28.
    shutil.copytree(reference, run)
    for step in (30, tiny.STEPS):
        shutil.rmtree(run / "checkpoints" / f"step_{step:08d}")
    lines = want.splitlines(keepends=True)
    kept = sum(json.loads(line)["step"] <= 24 for line in lines)
    (run / "diagnostics.jsonl").write_text("".join(lines[:kept + 2]) + lines[kept + 2][:100])
    resume(run)
    tiny.check_same_end(str(run), str(reference))
    assert (run / "diagnostics.jsonl").read_text() == want
    # Gone on without diagnostics: those of the steps that are made again go.
    for step in (30, tiny.STEPS):
        shutil.rmtree(run / "checkpoints" / f"step_{step:08d}")
    resume(run, "--diagnose", "0")
    assert {r["step"] for r in diagnostics(run)} == {4, 8, 12, 16, 20}
    # Begun without, gone on with.
    for step in (30, tiny.STEPS):
        shutil.rmtree(run / "checkpoints" / f"step_{step:08d}")
    (run / "diagnostics.jsonl").unlink()
    resume(run, "--diagnose", "7")
    assert {r["step"] for r in diagnostics(run)} == {21, 28, 35}
    # Stopped and resumed at every step.
    short = ["--optimizer", "muon", "--diagnose", "3", "--steps", "10"]
    want = (train(folder, "short", *short) / "diagnostics.jsonl").read_text()
    stopped = train(folder, "stopped", *short, "--max-time", "1e-9")
    while tiny.checkpoints(str(stopped))[-1] < 10:
        resume(stopped, "--max-time", "1e-9")
    assert (stopped / "diagnostics.jsonl").read_text() == want


def test_skipped_steps_have_no_records(folder):
    run = train(folder, "run", "--diagnose", "1", "--on-bad-step", "skip", "--loss-jump", "0.001", "--max-skips", "100",
                "--optimizer", "sgd", "--lr", "1e-6")
    skipped = {int(n) for n in re.findall(r"^step (\d+) skipped", (run / "log.txt").read_text(), re.M)}
    assert skipped and {r["step"] for r in diagnostics(run)} == set(range(1, tiny.STEPS + 1)) - skipped


def test_refusals(folder):
    data = tiny.make_data(folder)
    _, err = tiny.run(*data, "--diagnose", "5", "--out", str(folder / "run"), status=1)  # where there is no library
    assert "--diagnose" in err and "LAPACK" in err and err.count("\n") == 1, err
    _, err = tiny.run(*data, "--diagnose", "-1", "--out", str(folder / "run"), status=1)
    assert "diagnose" in err and err.count("\n") == 1, err
    assert not (folder / "run").exists()


def made_up(numbers, rows, values):
    """What a record says of a matrix: these numbers, flat singular values, row norms rising from 0 to 2."""
    condition, nuclear, cv = numbers
    line = [2 * p / 100 for p in PERCENTS]
    stats = {"condition": condition, "nuclear": nuclear, "stable_rank": 1.5, "row_norm_mean": 1.0, "row_norm_cv": cv,
             "alignment": -0.5, "singular_quantiles": [3.0] * 11, "row_norm_quantiles": line}
    return stats | ({"singular_values": [3.0] * 4, "row_norms": [2 * i / (rows - 1) for i in range(rows)]} if values else {})


def make_run(path, optimizer="adamw", steps=(10, 20, 30), head=True, layers=3, values=False, scale=1.0, **options):
    """A run whose condition numbers are known: scale * step, ten times that in hidden layer 0, a hundred times in layer 1..."""
    path.mkdir(parents=True)
    config = {"optimizer": optimizer, "lr": 0.01, "seed": 1, "steps": 30, **options}
    (path / "config.conf").write_text("".join(f"{k} = {v}\n" for k, v in config.items()))
    (path / "metrics.jsonl").write_text('{"kind": "end", "reason": "finished"}\n')
    names = [("token_embedding.weight", "token embedding", -1)]
    names += [(f"layers.{i}.{part}.weight", "hidden matrix", i) for i in range(layers) for part in ("attention.proj", "mlp.up")]
    names += [("head.weight", "head", -1)] if head else []
    lines = []
    for step in steps:
        for name, role, layer in names:
            stats = made_up((scale * step * 10.0**(layer + 1), 7.0, 0.25), 8, values)
            lines.append({"kind": "matrix", "step": step, "matrix": name, "role": role, "layer": layer, "rows": 8, "cols": 4,
                          "optimizer": optimizer, "lr": 0.01, "gradient": stats, "momentum": stats, "update": stats})
    (path / "diagnostics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def diagnose(*arguments):
    """The script within this process, which has loaded what it needs; as subprocess.run would return it."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = status_of(script.main, [*map(str, arguments)])
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())


def test_script_medians_and_choice(folder):
    out = folder / "report"
    a, b = make_run(folder / "a"), make_run(folder / "b", "muon", steps=(10, 20), values=True, scale=0.5)
    with open(a / "diagnostics.jsonl") as file:
        lines = file.read().splitlines(keepends=True)
    # A killed run: step 30 again, and a torn line.
    (a / "diagnostics.jsonl").write_text("".join(lines) + lines[-1][:50] + "\n" + "".join(lines[-8:]))
    done = diagnose(a, b, "--out", out, "--title", "A <b>title</b>")
    assert done.returncode == 0, done.stderr
    report = json.loads((out / "diagnose.json").read_text())
    assert report["figure"]["matrix"] == "layers.1.mlp.up.weight" and report["figure"]["step"] == 20
    assert report["figure"]["series"] == {"adamw": {"condition": 2000, "row_norm_cv": 0.25}, "muon": {"condition": 1000, "row_norm_cv": 0.25}}
    rows = {(row["series"], row["matrices"]): row for row in report["medians"]}
    assert rows["adamw", "embedding"]["gradient condition"] == 20 and rows["muon", "head"]["update condition"] == 7.5
    assert rows["adamw", "hidden"]["momentum condition"] == 2000 and rows["adamw", "hidden"]["count"] == 6
    assert rows["muon", "hidden"]["gradient nuclear"] == 7
    assert "hidden (6)" in done.stdout and "gradient κ" in done.stdout
    import matplotlib.image
    for name in ("update", "traces_gradient", "traces_momentum", "traces_update"):
        pixels = matplotlib.image.imread(out / f"{name}.png")
        assert pixels.shape[0] > 400 and pixels.shape[1] > 800 and pixels.std() > 0.01
    page = (out / "diagnose.html").read_text()
    resources = re.findall(r'(?:src|srcset|href)="([^"]{0,30})', page)
    assert len(resources) == 8 and all(r.startswith("data:image/png;base64,") for r in resources), resources
    assert "A &lt;b&gt;title" in page and "<b>title" not in page
    done = diagnose(a, b, "--out", out, "--matrix", "head.weight", "--step", "10", "--label", "x", "--label", "y")
    figure = json.loads((out / "diagnose.json").read_text())["figure"]
    assert figure["matrix"] == "head.weight" and figure["series"]["y"]["condition"] == 5, figure


def test_script_takes_what_it_does_not_know(folder):
    """A tied head, no momentum, no update at a rate of 0, numbers that are none, matrices of zeros."""
    run = make_run(folder / "a", head=False)
    lines = [json.loads(line) for line in open(run / "diagnostics.jsonl")]
    for line in lines:
        del line["momentum"]
        if line["step"] == 10:
            del line["update"]
    lines[1]["gradient"] |= {"condition": None, "alignment": None, "row_norm_cv": None}
    lines[-1]["update"] = made_up((0, 0, None), 8, False) | {"singular_quantiles": [0] * 11, "row_norm_quantiles": [0] * 11, "row_norm_mean": 0}
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (run / "diagnostics.jsonl").write_text(text + '{"kind": "weather"}\n')
    done = diagnose(run, "--out", folder / "report", "--matrix", lines[-1]["matrix"])
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_script_on_runs(folder):
    runs = [train(folder, name, "--optimizer", name, "--diagnose", "12") for name in ("adamw", "normuon")]
    done = subprocess.run([sys.executable, ROOT / "scripts/diagnose.py", *runs, "--out", folder / "report"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert json.loads((folder / "report/diagnose.json").read_text())["figure"]["matrix"] == "layers.1.mlp.up.weight"


def test_script_refusals(folder):
    good = make_run(folder / "good")

    def refused(words, *arguments):
        done = diagnose(*arguments, "--out", folder / "report")
        assert done.returncode == 1 and re.fullmatch(r"error: [^\n]+\n", done.stderr) and words in done.stderr, done.stderr
        assert not (folder / "report").exists()

    refused("no such run", folder / "nowhere")
    refused("given twice", good, folder / "good/../good")
    refused("available matrices: token_embedding.weight", good, "--matrix", "nothing")
    refused("steps recorded in all: 10, 20, 30", good, "--step", "15")
    refused("no step was recorded in every run", good, make_run(folder / "other", "muon", steps=(15, 25)))
    refused("--label", good, "--label", "a", "--label", "b")
    bad = make_run(folder / "bad", "muon")
    text = (bad / "diagnostics.jsonl").read_text()
    for wrong in (text.replace('"step": 10', '"step": "ten"', 1), text.replace('"nuclear": 7.0', '"nuclear": "much"', 1),
                  text.replace("[3.0, ", "[", 1), text.replace('"gradient": {', '"gradient": [{}], "x": {', 1)):
        (bad / "diagnostics.jsonl").write_text(wrong)
        refused("line 1: not a record", bad)
    (bad / "diagnostics.jsonl").write_text("")
    refused("no diagnostics yet", bad)
    (bad / "diagnostics.jsonl").unlink()
    refused("--diagnose N", bad)


run_tests(globals())
