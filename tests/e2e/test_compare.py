#!/usr/bin/env python3
"""Reading runs and comparing them, on run directories with known curves."""
import contextlib
import io
import json
import re
import subprocess
import sys

from harness import ROOT, run_tests

import numpy as np

import compare
import compare_plot
from runs import read_config, read_run


def make_run(path, optimizer="adamw", slope=0.01, seed=1, steps=100, every=20, ms=100, shift=0.0, end=True, **options):
    """A run whose losses fall along a straight line: val loss 5 + shift - slope * step; ms of training per step."""
    path.mkdir(parents=True)
    config = {"optimizer": optimizer, "lr": 0.01, "seed": seed, "steps": steps, "batch-size": 4,
              "train-data": f"{path}/x_*.bin", **options}
    (path / "config.conf").write_text("# Run\n" + "".join(f"{k} = {v}\n" for k, v in config.items()))
    (path / "environment.json").write_text(json.dumps({"commit": "abc", "cpu": {"name": "<Test & CPU>", "cores": 2}}))
    lines = []
    for step in range(steps + 1):
        seconds = step * ms / 1000
        if step:
            lines.append({"kind": "train", "step": step, "tokens": step * 64, "loss": 5.1 - slope * step, "lr": {"hidden": 0.01},
                          "tokens_per_s": 640.0, "elapsed_s": seconds, "ms": {"optimizer": 7.5, "data": 0.1}})
        if step % every == 0:
            lines.append({"kind": "val", "step": step, "tokens": step * 64, "val_loss": 5 + shift - slope * step,
                          "bits_per_byte": 1.5, "elapsed_s": seconds})
    if end:
        lines.append({"kind": "end", "reason": "finished"})
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def run_compare(*arguments):
    return subprocess.run([sys.executable, str(ROOT / "scripts/compare.py"), *map(str, arguments)],
                          capture_output=True, text=True, check=False)


def compared(*paths, **choices):
    """The report of a comparison and its table, without pictures."""
    _, report = compare.compare(paths, **choices)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        compare.print_table(report)
    return json.loads(json.dumps(report, allow_nan=False)), out.getvalue()


def refused(folder, words, *arguments):
    done = run_compare(*arguments, "--out", folder / "report")
    assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
    assert re.fullmatch(r"error: [^\n]+\n", done.stderr), done.stderr
    assert words in done.stderr, done.stderr
    assert not (folder / "report").exists()


def close(a, b, tolerance=1e-9):
    assert a is not None and abs(a - b) <= tolerance * max(1, abs(b)), (a, b)


def test_steps_time_and_saving_are_exact(folder):
    slow = make_run(folder / "slow", "adamw", slope=0.01, ms=100)
    fast = make_run(folder / "fast", "muon", slope=0.02, ms=110)
    report, out = compared(fast, slow)  # the baseline is the adamw run wherever it stands
    assert report["baseline"] == "adamw"
    close(report["target_val_loss"], 4.0)
    muon, adamw = report["series"]
    close(adamw["steps_to_target"], 100)
    close(adamw["saving_steps_percent"], 0)
    close(muon["steps_to_target"], 50)  # between the evaluations at 40 and 60
    close(muon["saving_steps_percent"], 50)
    close(muon["tokens_to_target"], 50 * 64)
    close(muon["seconds_to_target"], 5.5)
    close(muon["saving_time_percent"], 45)
    close(muon["final_val_loss"], 3.0)
    close(muon["tokens_per_s"], 640)
    close(muon["final_bits_per_byte"], 1.5)
    close(muon["optimizer_ms"], 7.5)
    assert "50.0 %" in out and "45.0 %" in out


def test_given_target_and_baseline(folder):
    slow, fast = make_run(folder / "slow", "adamw", 0.01), make_run(folder / "fast", "muon", 0.02)
    report, _ = compared(slow, fast, target=3.5, baseline="fast")
    assert report["baseline"] == "muon"
    adamw, muon = report["series"]
    assert adamw["steps_to_target"] is None and adamw["saving_steps_percent"] is None
    close(muon["steps_to_target"], 75)


def test_seeds_are_one_series(folder):
    adamw = make_run(folder / "a", "adamw", 0.01)
    seeds = [make_run(folder / f"n{i}", "normuon", 0.02, seed=i, shift=0.1 * i, keep=i,
                      quiet="yes" if i == 2 else "no") for i in (1, 2, 3)]
    report, out = compared(adamw, *seeds)
    assert [s["label"] for s in report["series"]] == ["adamw", "normuon"]
    row = report["series"][1]
    assert row["seeds"] == ["1", "2", "3"]
    close(row["final_val_loss"], 3.2)
    close(row["final_val_loss_std"], 0.1)
    close(row["steps_to_target"], 60)  # 5.2 - 0.02 s = 4
    for got, want in zip(row["steps_to_target_by_seed"], (55, 60, 65)):
        close(got, want)
    assert "60 (55 to 65)" in out, out
    assert "3.2000 ± 0.1000" in out, out


def test_older_spellings_are_the_same_series(folder):
    old = make_run(folder / "old", "muon", nesterov="true", ema="false", cooldown="0.40000000000000002")
    new = make_run(folder / "new", "muon", seed=2, nesterov="yes", ema="no", cooldown="0.4")
    report, _ = compared(old, new)
    assert [s["label"] for s in report["series"]] == ["muon"]


def test_other_options_are_other_series(folder):
    a, b = make_run(folder / "a", "muon", 0.01, lr=0.01), make_run(folder / "b", "muon", 0.02, lr=0.02)
    report, _ = compared(a, b)
    assert [s["label"] for s in report["series"]] == ["muon lr=0.01", "muon lr=0.02"]
    assert report["configuration_differences"] == {"lr": {"muon lr=0.01": "0.01", "muon lr=0.02": "0.02"}}
    report, _ = compared(a, b, labels=["low", "high"])
    assert [s["label"] for s in report["series"]] == ["low", "high"]


def test_rates_of_other_groups_are_named(folder):
    one = make_run(folder / "a", optimizer="adamw", **{"embed-lr": 0.01, "vector-lr": 0.01})
    other = make_run(folder / "b", optimizer="muon", **{"embed-lr": 0.0003, "vector-lr": 0.01})
    words = "lr (hidden) is the rate of the hidden matrices only; others: muon embed-lr 0.0003, vector-lr 0.01.\n"
    assert words in compared(one, other)[1], compared(one, other)[1]
    assert "lr (hidden) is" not in compared(one)[1]


def test_target_crossing(_):
    step, loss = np.array([0.0, 10, 20, 30]), np.array([5.0, 4, 4.5, 3])
    assert compare.step_to_target(step, loss, 4.25) == 7.5  # the first time counts
    assert compare.step_to_target(step, loss, 5) == 0
    assert compare.step_to_target(step, loss, 4) == 10
    assert compare.step_to_target(step, loss, 2) is None
    assert compare.step_to_target(step, np.array([5.0, np.nan, 4, 3]), 4) == 20  # no line from what is not a number


def test_torn_last_line_and_unknown_records(folder):
    path = make_run(folder / "a", end=False)
    with open(path / "metrics.jsonl", "a") as file:
        file.write('{"kind": "weather", "rain": true}\n{"kind": "train", "step": 101, "lo')
    run = read_run(path)
    assert run.last_step == 100 and run.torn_lines == 1 and not run.finished


def test_resumed_run_counts_repeated_steps_once(folder):
    path = make_run(folder / "a", end=False)
    again = [{"kind": "resume", "step": 70}]
    again += [{"kind": "train", "step": s, "tokens": 64 * s, "loss": 1.0, "elapsed_s": s} for s in range(71, 91)]
    again += [{"kind": "val", "step": 80, "tokens": 64 * 80, "val_loss": 1.5, "elapsed_s": 80}]
    with open(path / "metrics.jsonl", "a") as file:
        file.write('{"kind": "tra')  # killed in the middle of a line
        file.write("\n" + "".join(json.dumps(line) + "\n" for line in again))
    run = read_run(path)
    assert run.train.step == list(range(1, 91))
    assert run.train.loss[70:] == [1.0] * 20 and run.train.loss[69] != 1.0
    assert run.val.step == [0, 20, 40, 60, 80] and run.val.loss[-1] == 1.5


def test_losses_that_are_not_numbers(folder):
    path = make_run(folder / "a")
    text = (path / "metrics.jsonl").read_text().replace('"loss": 4.6,', '"loss": null,')
    (path / "metrics.jsonl").write_text(text)
    assert sum(np.isnan(read_run(path).train.loss)) == 1
    compared(path)


def test_configuration_values(folder):
    (folder / "c.conf").write_text('a = 1 # one\nb = "x # \\"y\\"\\n" # said\n# c = 3\nd =\n  e=f#g\n')
    assert read_config(folder / "c.conf") == {"a": "1", "b": 'x # "y"\n', "d": "", "e": "f#g"}


def test_unfinished_runs_are_noted(folder):
    report, out = compared(make_run(folder / "a", end=False), make_run(folder / "b", "muon"))
    assert len(report["notes"]) == 1 and "has not finished" in report["notes"][0]
    assert "has not finished" in out


def test_bad_input_is_refused_in_one_line(folder):
    good = make_run(folder / "good")
    (folder / "empty").mkdir()
    (folder / "file").write_text("x")
    refused(folder, "no such run", folder / "nowhere")
    refused(folder, "not a directory", folder / "file")
    refused(folder, "not a run directory", folder / "empty")
    refused(folder, "given twice", good, f"{folder}/../{folder.name}/good")
    refused(folder, "same seed", good, make_run(folder / "copy"))
    refused(folder, "--baseline", good, "--baseline", "other")
    refused(folder, "--label", good, "--label", "a", "--label", "b")
    refused(folder, "--target", good, "--target", "nan")
    bad = make_run(folder / "bad", "muon")
    (bad / "metrics.jsonl").write_text('{"kind": "train", "step": 1, "tokens": 64, "loss": 5.0}\n')
    refused(folder, "no validation loss", bad)
    (bad / "metrics.jsonl").write_text('{"kind": "val", "step": 0, "tokens": 0, "val_loss": "low"}\n')
    refused(folder, "metrics.jsonl line 1", bad)
    (bad / "metrics.jsonl").unlink()
    refused(folder, "no metrics.jsonl", bad)


def test_pictures_and_page(folder):
    runs = [make_run(folder / "a", "adamw", 0.01)]
    runs += [make_run(folder / f"m{i}", "muon", 0.02, seed=i, shift=0.05 * i) for i in (1, 2)]
    done = run_compare(*runs, "--out", folder / "report", "--title", "A <b>title</b> & more")
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "report/report.json").read_text())["baseline"] == "adamw"
    assert "fewer steps" in done.stdout
    import matplotlib.image
    for name in ("target", "curves"):
        pixels = matplotlib.image.imread(folder / f"report/{name}.png")
        assert pixels.shape[0] > 400 and pixels.shape[1] > 800 and pixels.std() > 0.01
    page = (folder / "report/report.html").read_text()
    resources = re.findall(r'(?:src|srcset|href)="([^"]{0,30})', page)
    assert len(resources) == 4 and all(r.startswith("data:image/png;base64,") for r in resources), resources
    assert "<link" not in page and "<script" not in page and "@import" not in page and "url(" not in page
    assert "A &lt;b&gt;title&lt;/b&gt; &amp; more" in page and "<b>title" not in page
    assert "&lt;Test &amp; CPU&gt;" in page
    from html.parser import HTMLParser
    parser = HTMLParser()
    parser.feed(page)
    parser.close()


def test_smoothing_keeps_straight_lines(_):
    line = np.linspace(5, 3, 400)
    line[100] = np.nan
    smooth = compare_plot.smoothed(line)
    middle = np.r_[20:90, 110:380]
    assert np.abs(smooth - np.linspace(5, 3, 400))[middle].max() < 1e-12
    assert np.isfinite(smooth).all()


def test_status_of_a_run(folder):
    def status(path):
        done = subprocess.run([sys.executable, str(ROOT / "scripts/lib/runs.py"), "status", str(path)],
                              capture_output=True, text=True, check=False)
        return done.stdout.strip()
    assert status(folder / "nowhere") == "absent"
    assert status(make_run(folder / "a")) == "finished"
    assert status(make_run(folder / "b", end=False)) == "unfinished 100 of 100"
    (folder / "b/metrics.jsonl").unlink()
    assert status(folder / "b") == "unfinished 0 of ?"


run_tests(globals())
