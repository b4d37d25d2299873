#!/usr/bin/env python3
"""./train problem end to end: the problems against numpy on the same random data, presets, errors, plots."""
import json
import os
import re
import signal
import subprocess
import sys

from harness import ROOT, Skip, run_tests
from tiny_runs import wait_for_steps

import numpy as np

import compare_problems
import problems
from runs import RunError, read_config, read_run

TRAIN = os.environ.get("TRAIN", str(ROOT / "train"))
ENVIRONMENT = dict(os.environ, OMP_NUM_THREADS="1")
QUADRATIC = ["quadratic", "--rows", "30", "--cols", "12", "--x-rows", "14", "--x-cols", "6", "--seed", "5"]
COMPLETION = ["completion", "--rows", "20", "--cols", "16", "--rank", "2", "--mask", "0.6"]
INIT, PROBLEM = 1, 4  # streams of base/random.h


def train(*arguments, status=0):
    result = subprocess.run([TRAIN, "problem", *map(str, arguments)], env=ENVIRONMENT, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, timeout=300, check=False)
    if "no LAPACK" in result.stderr:
        raise Skip("no OpenBLAS with LAPACK")
    assert result.returncode == status, f"{arguments}: status {result.returncode}: {result.stderr}"
    return result


def refused(text, *arguments):
    error = train(*arguments, status=1).stderr
    assert text in error and error.count("\n") == 1 and error.startswith("error: "), error


def records(folder):
    return [r for r in read_run(folder).records if r["kind"] == "problem"]


# ------------------------------------------------------------------------ the same draw, from the papers' descriptions

def philox(seed, stream, n):
    """Philox4x32-10 of counters (0, stream) ... (n - 1, stream): (4, n) words. Salmon et al. 2011."""
    low = np.uint64(0xFFFFFFFF)
    index = np.arange(n, dtype=np.uint64)
    c = [index & low, index >> np.uint64(32), np.full(n, stream & 0xFFFFFFFF, np.uint64), np.full(n, stream >> 32, np.uint64)]
    k = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(p1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k[0]), p1 & low, (p0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k[1]), p0 & low]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def stream_of(kind, name):
    value = 0xCBF29CE484222325 ^ kind
    for byte in name.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def unit(high, low):
    return ((high << np.uint64(32) | low) >> np.uint64(11)).astype(float) * 2.0**-53


def uniform(kind, name, seed, *shape):
    words = philox(seed, stream_of(kind, name), int(np.prod(shape)))
    return unit(words[0], words[1]).reshape(shape)


def normal(name, seed, *shape):
    words = philox(seed, stream_of(PROBLEM, name), int(np.prod(shape)))
    return (np.sqrt(-2 * np.log(1 - unit(words[0], words[1]))) * np.cos(2 * np.pi * unit(words[2], words[3]))).reshape(shape)


def start(name, seed, *shape):
    return 2 * uniform(INIT, name, seed, *shape) - 1


def check_spectrum(record, matrix, name):
    values = np.linalg.svd(matrix, compute_uv=False)
    assert np.isclose(record["gradient"][name]["condition"], values[0] / values[-1], rtol=1e-8), record
    assert np.isclose(record["gradient"][name]["nuclear_norm"], values.sum(), rtol=1e-10), record


def test_the_quadratic_is_numpys(tmp):
    train(*QUADRATIC, "--type", "f64", "--optimizer", "sgd", "--momentum", 0, "--lr", 0, "--steps", 1, "--out", tmp / "run")
    a, b, c, x = normal("a", 5, 30, 14), normal("b", 5, 6, 12), normal("c", 5, 30, 12), start("x", 5, 14, 6)
    best = np.linalg.lstsq(a, c, rcond=None)[0]  # min over Y of ||A Y - C||, then over X of ||X B - Y|| in turn
    best = np.linalg.lstsq(b.T, best.T, rcond=None)[0].T
    residual = a @ x @ b - c
    least = 0.5 * np.sum((a @ best @ b - c)**2)
    first = records(tmp / "run")[0]
    assert np.isclose(first["optimum"], least, rtol=1e-12), (first["optimum"], least)
    assert np.isclose(first["loss"], 0.5 * np.sum(residual**2) - least, rtol=1e-12)
    values = np.linalg.svd(residual, compute_uv=False)
    assert np.isclose(first["residual_condition"], values[0] / values[-1], rtol=1e-8)
    check_spectrum(first, a.T @ residual @ b.T, "x")


def test_logistic_is_numpys(tmp):
    sizes = ["--rows", 50, "--cols", 8, "--x-rows", 9, "--x-cols", 4, "--batch", 10, "--seed", 6]
    train("logistic", *sizes, "--type", "f64", "--lr", 0, "--steps", 3, "--log-every", 1, "--diagnose", 1, "--out", tmp / "run")
    a, b, labels = normal("a", 6, 50, 9), normal("b", 6, 4, 8), np.where(normal("labels", 6, 50, 8) > 0.5, 1, -1)
    for step, record in enumerate(records(tmp / "run")):
        rows = np.floor(uniform(PROBLEM, "rows", 6, 40)[10 * step:10 * step + 10] * 50).astype(int)
        margin = labels[rows] * (a[rows] @ start("x", 6, 9, 4) @ b)
        assert np.isclose(record["loss"], np.sum(np.log(1 + np.exp(-margin))), rtol=1e-12), record
        check_spectrum(record, a[rows].T @ (-labels[rows] / (1 + np.exp(margin))) @ b.T, "x")


def test_completion_is_numpys(tmp):
    train(*COMPLETION, "--seed", 7, "--type", "f64", "--lr", 0, "--steps", 1, "--out", tmp / "run")
    x, y = start("x", 7, 20, 2), start("y", 7, 16, 2)
    m = normal("u", 7, 20, 2) @ normal("v", 7, 16, 2).T
    mask = uniform(PROBLEM, "mask", 7, 20, 16) < 0.6
    difference = x @ y.T - m
    first = records(tmp / "run")[0]
    assert np.isclose(first["loss"], np.mean(difference[mask]**2), rtol=1e-12)
    assert np.isclose(first["relative_error"], np.linalg.norm(difference) / np.linalg.norm(m), rtol=1e-12)
    check_spectrum(first, 2 / mask.sum() * (mask * difference) @ y, "x")
    check_spectrum(first, 2 / mask.sum() * (mask * difference).T @ x, "y")


# ------------------------------------------------------------------------------------------------------------- runs

def test_methods_converge(tmp):
    newton = [*QUADRATIC, "--optimizer", "newton", "--lr", 0.5, "--type", "f64", "--steps", 60]
    train(*newton, "--out", tmp / "newton", "--log-every", 1)
    losses = [r["loss"] for r in records(tmp / "newton")]
    for before, after in zip(losses[:20], losses[1:]):  # the error is halved, its square a quarter
        assert np.isclose(after, before / 4, rtol=1e-6), (before, after)
    assert losses[-1] < 1e-20 * losses[0]
    muon = [*QUADRATIC, "--optimizer", "muon", "--lr", 0.05, "--steps", 800]
    train(*muon, "--out", tmp / "muon")
    train(*muon, "--decay-every", 25, "--decay-factor", 0.8, "--out", tmp / "decay")
    plateau, decay = (records(tmp / name)[-1]["loss"] for name in ("muon", "decay"))
    # A constant step cannot get closer than its size; the last one is 0.8^32 of the first, and the loss goes with its square.
    assert 0.05 * losses[0] > plateau > 1e4 * decay, (plateau, decay)
    train(*COMPLETION, "--optimizer", "altgd", "--lr", 1, "--steps", 2000, "--type", "f64", "--out",
          tmp / "altgd")
    assert records(tmp / "altgd")[-1]["relative_error"] < 1e-6


# What is left of the loss after DEFAULT_STEPS steps, at most: the plateau of updates of fixed size, or of batches.
DEFAULT_STEPS, LEFT = 600, {"quadratic": 0.01, "logistic": 0.3, "completion": 0.01}
SMALL = {"quadratic": QUADRATIC, "completion": ["completion", "--rows", 60, "--cols", 30, "--rank", 3, "--mask", 0.6],
         "logistic": ["logistic", "--rows", 400, "--cols", 30, "--x-rows", 20, "--x-cols", 8, "--batch", 50]}


def test_every_optimizer_converges_by_default(tmp):
    listed = subprocess.run([TRAIN, "--help", "optimizers"], stdout=subprocess.PIPE, text=True, check=True).stdout
    optimizers = re.findall(r"^  (\w+) ", listed, re.M)
    assert len(optimizers) >= 8 and "polargrad" in optimizers, listed
    table = dict(re.findall(r"^  (\w+) +([-\d.e]+ +[-\d.e]+ +[-\d.e]+)$", train("--help").stdout, re.M))
    for problem in SMALL:
        for optimizer in [*optimizers, *{"quadratic": ["newton"], "completion": ["altgd"]}.get(problem, [])]:
            out = tmp / f"{problem}_{optimizer}"
            train(*SMALL[problem], "--optimizer", optimizer, "--steps", DEFAULT_STEPS, "--diagnose", 0, "--out", out)
            first, *_, last = (r["loss"] for r in records(out))
            assert last <= LEFT[problem] * first, f"{problem} {optimizer}: {last:.3g} of {first:.3g} are left"
            config = read_config(out / "config.conf")
            assert config["weight-decay"] == "0", (problem, optimizer, config)
            plan = train(problem, "--optimizer", optimizer, "--dry-run").stdout
            help_rate = float(table[optimizer].split()[["quadratic", "logistic", "completion"].index(problem)])
            assert f"lr {help_rate:g}," in plan, (problem, optimizer, help_rate, plan)


def test_a_rate_belongs_to_the_size_of_the_updates(tmp):
    out = ["--out", tmp / "x"]
    refused("quadratic has no default learning rate for muon with scale nuclear (only with scale shape): give one with --lr",
            *QUADRATIC, "--optimizer", "muon", "--scale", "nuclear", *out)
    refused("for normuon with scale shape", *QUADRATIC, "--optimizer", "normuon", "--form", "official", *out)
    refused("for polargrad with nuclear-power 0.5", *QUADRATIC, "--optimizer", "polargrad", "--nuclear-power", 0.5, *out)
    train(*QUADRATIC, "--optimizer", "muon", "--scale", "nuclear", "--lr", 1e-5, "--weight-decay", 0.25, "--steps", 1, *out)
    config = read_config(tmp / "x/config.conf")
    assert config["lr"] == "1e-05" and config["weight-decay"] == "0.25", config


def test_a_run_is_reproduced(tmp):
    train(*COMPLETION, "--optimizer", "muon", "--steps", 20, "--decay-every", 7, "--out", tmp / "a")
    train("--config", tmp / "a/config.conf", "--out", tmp / "b")
    times = ("elapsed_s",)
    first, again = ([{k: v for k, v in r.items() if k not in times} for r in records(tmp / name)] for name in "ab")
    assert first == again and len(first) == 3 and first[-1]["step"] == 20
    assert read_config(tmp / "a/config.conf") == read_config(tmp / "b/config.conf")
    assert json.loads((tmp / "a/environment.json").read_text())["command"][1] == "problem"
    assert "finished: 20 steps" in (tmp / "a/log.txt").read_text()
    refused("contains a run", *COMPLETION, "--out", tmp / "a")
    quiet = train(*COMPLETION, "--steps", 10, "--overwrite", "--quiet", "--out", tmp / "a").stdout
    assert quiet.count("\n") == 1 and records(tmp / "a")[-1]["step"] == 10


def test_divergence_and_signals_are_errors(tmp):
    refused("diverged: the loss", *QUADRATIC, "--optimizer", "sgd", "--lr", 1e9, "--quiet", "--out", tmp / "run")
    assert read_run(tmp / "run").end_reason == "diverged"
    process = subprocess.Popen([TRAIN, "problem", *COMPLETION, "--steps", "100000000", "--quiet", "--out", str(tmp / "long")],
                               env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    wait_for_steps(tmp / "long", process)
    process.send_signal(signal.SIGTERM)
    error = process.communicate(timeout=300)[1]
    assert process.returncode == 1 and "stopped by SIGTERM" in error and error.count("\n") == 1, error
    assert read_run(tmp / "long").end_reason == "signal"


def test_errors_create_nothing(tmp):
    os.chdir(tmp)
    out = ["--out", tmp / "x"]
    refused("no problem given", *out)
    refused("did you mean 'quadratic'?", "quadratc", *out)
    refused("one problem at a time", "quadratic", "logistic", *out)
    refused("no output directory given", "quadratic")
    refused("did you mean 'momentum'", "quadratic", "--momentun", 0.9, *out)
    refused("--rank does not apply to the problem quadratic", "quadratic", "--rank", 3, *out)
    refused("--mask does not apply to the problem logistic", "logistic", "--mask", 0.3, *out)
    refused("not unique", "quadratic", "--rows", 10, *out)
    refused("--batch 20000 is larger than", "logistic", "--batch", 20000, *out)
    refused("newton works only with", "completion", "--optimizer", "newton", *out)
    refused("altgd alternates between two matrices", "quadratic", "--optimizer", "altgd", *out)
    refused("whose options have no prefix: --lr", "quadratic", "--embed-lr", 1, *out)
    refused("muon", "quadratic", "--optimizer", "muno", *out)
    refused("--decay-factor", "quadratic", "--decay-factor", 2, *out)
    (tmp / "other.conf").write_text("problem = logistic\n")
    refused("is for the problem logistic, not for quadratic", "quadratic", "--config", "other.conf", *out)
    assert sorted(os.listdir(tmp)) == ["other.conf"]
    assert "altgd" in train("--help").stdout


# ---------------------------------------------------------------------------------------------- presets and pictures

# What the paper's experiments are, from the authors' code: learning rates, and the factor and steps of their schedules.
RATES = {
    "quadratic": {"polargrad": 4e-8, "polargrad_decay": 4.75e-8, "polargrad_zolo": 3e-8, "polargrad_exact": 3e-8,
                  "polargrad_polar_first": 4e-7, "polargrad_polar_first_decay": 5e-7, "polargrad_momentum_first": 2e-7,
                  "polargrad_momentum_first_decay": 2.5e-7, "muon": 0.1, "muon_qdwh": 0.1, "muon_zolo": 0.1,
                  "muon_decay": 0.05, "adam": 0.05, "adam_decay": 0.05, "newton": 0.25},
    "logistic": {"polargrad": 1.5e-7, "polargrad_decay": 2.5e-7, "polargrad_polar_first": 2.5e-7,
                 "polargrad_momentum_first": 2.5e-7, "muon": 0.1, "muon_qdwh": 0.1, "muon_decay": 0.2, "adam": 5e-3,
                 "adam_decay": 1e-2},
    "completion": {"polargrad": 50, "polargrad_decay": 50, "polargrad_polar_first": 100, "polargrad_momentum_first": 50,
                   "muon": 0.25, "muon_qdwh": 0.25, "muon_decay": 0.25, "adam": 0.05, "adam_decay": 0.05, "altgd": 50},
}
PLANS = {"quadratic": ["A 1000 x 500, X 500 x 100, B 100 x 250; F32", "4000 steps"],
         "logistic": ["A 10000 x 1000, X 1000 x 100, B 100 x 400, batches of 1000 rows; F32", "1500 steps"],
         "completion": ["M 500 x 250 of rank 5, fraction 0.3 known; F32"]}
FALL = {"quadratic": 0.99, "logistic": 0.95, "completion": 0.95}


def test_presets_are_the_papers(_):
    for problem, rates in RATES.items():
        assert problems.presets_of(problem, []) == sorted(rates)
        for name, rate in rates.items():
            plan = train("--config", ROOT / f"configs/problems/{problem}_{name}.conf", "--dry-run").stdout
            words = re.sub(r"\s+", " ", plan)
            steps = ["200 steps" if "first" in name else "1000 steps"] if problem == "completion" else []
            fall = [f"times {FALL[problem]} every 25 steps"] if name.endswith("decay") else ["schedule constant Device"]
            polar = ["polar qdwh, polar-steps 2,"] if name.split("_")[-1] in ("qdwh", "decay", "polargrad", "first") \
                and not name.startswith("adam") else []
            polar += ["polar zolo-pd,"] if name.endswith("zolo") else []
            for text in (*PLANS[problem], *steps, *fall, *polar, f" lr {rate:g},"):
                assert text in words, f"{problem}_{name}: '{text}' is not in\n{plan}"
            assert "Note" not in plan, plan
            if name.startswith("muon"):
                assert "momentum 0.95" in words and "nesterov yes" in words and "scale frobenius" in words, plan


def test_pictures(tmp):
    for name, optimizer in (("completion_a", "altgd"), ("completion_b", "muon")):
        train(*COMPLETION, "--optimizer", optimizer, "--steps", 40, "--out", tmp / name)
    text = compare_problems.compare([tmp / "completion_a", tmp / "completion_b"], None, tmp / "out", 0.8)
    assert (tmp / "out/completion.png").read_bytes().startswith(b"\x89PNG")
    losses = [records(tmp / name)[-1]["loss"] for name in ("completion_a", "completion_b")]
    assert f"{losses[0]:.3g}" in text and f"{losses[1]:.3g}" in text and text.startswith("| run | k = 0 |"), text
    train(*QUADRATIC, "--steps", 2, "--out", tmp / "q")
    for paths, words in (([tmp / "completion_a", tmp / "q"], "different problems"), ([tmp / "none"], "no such run")):
        try:
            compare_problems.compare(paths, None, tmp / "out", 0.8)
            raise AssertionError(paths)
        except RunError as error:
            assert words in str(error), error


def test_means_forget_by_the_step(_):
    step, values = np.array([0.0, 1.0, 2.0, 12.0]), np.array([1.0, 0.0, np.nan, 0.0])
    smooth = compare_problems.smoothed(step, values, 0.8)
    assert np.allclose(smooth, [1, 0.8, 0.8, 0.8**11]), smooth


def test_all_presets_by_one_command(tmp):
    command = [sys.executable, ROOT / "scripts/problems.py", "completion", "--preset", "altgd", "--preset", "adam", "--train",
               TRAIN, "--out", tmp / "runs", "--", "--steps", "30", "--threads", "1"]
    for kept in (0, 2):
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        assert result.returncode == 0, result.stderr
        assert result.stdout.count("finished: 30 steps") == 2 - kept and "| altgd |" in result.stdout, result.stdout
    assert (tmp / "runs/completion.png").exists()
    result = subprocess.run([*command[:2], "completion", "--preset", "sgd"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, check=False)
    assert result.returncode == 1 and "--preset sgd: completion has" in result.stderr, result.stderr


if __name__ == "__main__":
    run_tests(globals())
