#!/usr/bin/env python3
"""The learning-rate search, on functions with known minima and with a stand-in for the trainer."""
import json
import math
import subprocess
import sys

from harness import ROOT, run_tests
from tiny_runs import ENVIRONMENT, TRAIN, make_data

import tune

# A trainer whose final loss is smallest at lr 0.016, with one seed that is worse, and that diverges from 0.128 on.
TRAINER = r'''#!/usr/bin/env python3
import json, math, os, sys
options = dict(a[2:].split("=", 1) for a in sys.argv[1:] if "=" in a)
rest = [a for a in sys.argv[1:] if "=" not in a]
options.update({n[2:]: v for n, v in zip(rest, rest[1:]) if n.startswith("--")})
with open(os.path.join(os.path.dirname(sys.argv[0]), "calls"), "a") as file:
    file.write(options["out"] + "\n")
if "--bad" in sys.argv: sys.exit("error: unknown option 'bad'; see --help")
if "--signal" in sys.argv: sys.exit(75)
lr, embed = float(options["lr"]), float(options.get("embed-lr", 0.004))
if lr >= 0.128: sys.exit("error: step 3 is bad: the loss is nan; its update was not applied")
loss = 2 + math.log2(lr / 0.016) ** 2 + math.log2(embed / 0.004 * (lr / 0.016) ** 0.5) ** 2 + 0.01 * int(options["seed"])
os.makedirs(options["out"], exist_ok=True)
open(options["out"] + "/config.conf", "w").write("steps = 5\n")
open(options["out"] + "/metrics.jsonl", "w").write(json.dumps(
    {"kind": "val", "step": 5, "tokens": 5, "val_loss": loss, "elapsed_s": 1}) + "\n" + json.dumps({"kind": "end", "reason": "finished"}) + "\n")
'''


def search(folder, *arguments):
    trainer = folder / "trainer"
    if not trainer.exists():
        trainer.write_text(TRAINER.replace("/usr/bin/env python3", sys.executable))
        trainer.chmod(0o755)
        (folder / "c.conf").write_text("steps = 5\n")
        (folder / "calls").write_text("")
    command = [sys.executable, str(ROOT / "scripts/tune.py"), "--config", str(folder / "c.conf"), "--optimizer", "muon",
               "--steps", "5", "--out", str(folder / "out"), "--train", str(trainer), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    calls = (folder / "calls").read_text().splitlines()
    return done, calls


def best_of(folder):
    return json.loads((folder / "out/tune.json").read_text())["best"]


def test_grid_grows_to_the_minimum(_):
    tried = []
    def f(point):
        tried.append(point["lr"])
        return (math.log2(point["lr"]) - 5) ** 2
    best, value = tune.coordinate_search({"lr": [1, 2, 4]}, f)
    assert best == {"lr": 32} and value == 0
    assert 64 in tried and 128 not in tried  # one beyond the best, no further


def test_axes_take_turns(_):
    # A bent valley: no axis alone leads to the minimum at (8, 2).
    f = lambda p: (math.log2(p["lr"]) - 3) ** 2 + (math.log2(p["embed-lr"]) + math.log2(p["lr"]) - 4) ** 2
    best, value = tune.coordinate_search({"lr": [0.5, 1, 2], "embed-lr": [0.5, 1, 2]}, f)
    around = [f({"lr": best["lr"] * a, "embed-lr": best["embed-lr"] * b}) for a, b in ((2, 1), (.5, 1), (1, 2), (1, .5))]
    assert value == f(best) and all(value <= other for other in around), (best, value, around)


def test_growth_stops(_):
    tried = []
    tune.coordinate_search({"lr": [1, 2, 4]}, lambda p: tried.append(p) or -p["lr"], most_steps=3)
    assert max(p["lr"] for p in tried) == 32


def test_search_finds_the_best_rate(folder):
    done, calls = search(folder, "--lr", "0.064", "--seeds", "1,2")
    assert done.returncode == 0, done.stderr
    assert "diverged" in done.stdout and "<- best" in done.stdout
    assert best_of(folder)["point"] == {"lr": 0.016}
    assert abs(best_of(folder)["val_loss"] - 2.015) < 1e-12
    assert len(calls) == len(set(calls)) == 2 * 5  # 0.008 to 0.128, each once per seed


def test_search_goes_on_without_repeating(folder):
    _, calls = search(folder, "--lr", "0.016")
    done, again = search(folder, "--lr", "0.016,0.032,0.064")
    assert done.returncode == 0, done.stderr
    assert len(calls) == 3 and len(again) == 4  # only 0.064 is new
    done, _ = search(folder, "--lr", "0.016", "--", "--clip", "2")
    assert done.returncode == 1 and "other settings" in done.stderr


def test_two_axes(folder):
    done, _ = search(folder, "--lr", "0.008", "--embed-lr", "0.008")
    assert done.returncode == 0, done.stderr
    assert best_of(folder)["point"] == {"lr": 0.016, "embed-lr": 0.004}


def test_a_search_of_lr_says_which_rates_stay(folder):
    options = [word for word in make_data(str(folder)) if word != "--quiet"]
    for name in ("--steps", "--seed"):
        if name in options:
            del options[options.index(name):options.index(name) + 2]
    (folder / "none.conf").write_text("")
    for more, said in (([], True), (["--embed-lr", "0.001"], False), (["--choice", "vector-lr=0.001,0.002"], False)):
        tuned = [sys.executable, str(ROOT / "scripts/tune.py"), "--config", str(folder / "none.conf"), "--optimizer", "muon", "--lr",
                 "0.01,0.02", *more, "--steps", "1", "--out", str(folder / f"real{len(more)}{said}"), "--train", TRAIN, "--", *options]
        process = subprocess.Popen(tuned, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
        first = process.stdout.readline()
        process.terminate()
        process.communicate()
        note = "note: muon: lr is the rate of the hidden matrices only; every run has embed-lr 0.0003, vector-lr 0.0003\n"
        assert (first == note) == said, first


def test_a_choice_is_an_axis_that_does_not_grow(folder):
    done, calls = search(folder, "--lr", "0.008", "--choice", "embed-lr+vector-lr=0.001,0.002,0.016")
    assert done.returncode == 0, done.stderr
    assert best_of(folder)["point"] == {"lr": 0.016, "embed-lr+vector-lr": 0.002}
    assert {call.split("vector-lr-")[1].split("_")[0] for call in calls} == {"0.001", "0.002", "0.016"}
    assert "--lr=0.016 --embed-lr=0.002 --vector-lr=0.002" in done.stdout
    for wrong in ("beta2", "beta2=", "=1", "beta2=x", "beta2=0"):
        done, _ = search(folder, "--lr", "0.01", "--choice", wrong)
        assert done.returncode == 1 and "is not an option with positive numbers" in done.stderr, done.stderr


def test_errors_and_interruptions(folder):
    done, calls = search(folder, "--lr", "0.01", "--", "--bad")
    assert done.returncode == 1 and "unknown option 'bad'" in done.stderr and len(calls) == 1
    done, calls = search(folder, "--lr", "0.01", "--", "--signal")
    assert done.returncode == 130 and "run the same command to resume" in done.stderr and len(calls) == 2
    done, _ = search(folder, "--lr", "0.5,1")
    assert done.returncode == 1 and "every run diverged" in done.stderr
    done, _ = search(folder, "--lr", "fast")
    assert done.returncode == 1 and "positive numbers" in done.stderr
    assert done.stderr.count("\n") == 1


run_tests(globals())
