#!/usr/bin/env python3
"""Plots runs of one matrix problem (./train problem) like the PolarGrad paper: loss, condition numbers and nuclear norms
against steps. Writes DIR/PROBLEM.png and prints the losses at a few steps.
"""
import argparse
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))

from cli import Parser, run_main, use_python_with_matplotlib, write_file  # noqa: E402

use_python_with_matplotlib()

import numpy as np  # noqa: E402

from compare_plot import new_figure, png, style, title_figure  # noqa: E402
from runs import RunError, read_run  # noqa: E402

TITLES = {"quadratic": "Matrix quadratic regression", "logistic": "Matrix logistic regression",
          "completion": "Low-rank matrix completion"}
LOSS = {"quadratic": "f - f*", "logistic": "loss of the batch", "completion": "mean square over the known entries"}
NAMES = {"residual_condition": "condition number of A X B - C", "relative_error": "relative error of all of M"}
THEME = "light"


def read_problem_run(path):
    run = read_run(path)
    if not run.config.get("problem") or not any(r.get("kind") == "problem" for r in run.records):
        raise RunError(f"{path}: not a run of ./train problem, or not started yet; for training runs use scripts/compare.py")
    if run.config["problem"] not in TITLES:
        raise RunError(f"{path}: unknown problem {run.config['problem']!r}; the problems are {', '.join(TITLES)}")
    return run


def value_at(record, keys):
    for key in keys:
        record = record.get(key) if isinstance(record, dict) else None
    return record


def curve(run, *keys):
    """Steps and values of a recorded quantity; null (not finite) becomes NaN."""
    records = [r for r in run.records if r.get("kind") == "problem"]
    has = [r for r in records if keys[0] in r]
    values = [value_at(r, keys) for r in has]
    if not all(v is None or isinstance(v, (int, float)) for v in values):
        raise RunError(f"{run.path}/metrics.jsonl: \"{'/'.join(keys)}\" is not always a number")
    return (np.array([r["step"] for r in has], dtype=float),
            np.array([math.nan if v is None else v for v in values], dtype=float))


def smoothed(step, values, factor):
    """Exponential moving average: s = w s + (1 - w) x with w = factor^(steps since the last record)."""
    result, mean = np.empty_like(values), math.nan
    for i, value in enumerate(values):
        weight = factor ** (step[i] - step[i - 1]) if i and math.isfinite(mean) else 0.0
        if math.isfinite(value):
            mean = weight * mean + (1 - weight) * value if weight else value
        result[i] = mean
    return result


def panels_of(runs):
    """(title, keys, smoothed or not) of every quantity that a run recorded."""
    problem = runs[0].config["problem"]
    panels = [(LOSS[problem], ("loss",), False)]
    for key, name in NAMES.items():
        if any(curve(run, key)[0].size for run in runs):
            panels.append((name, (key,), key != "relative_error"))
    matrices = list(dict.fromkeys(name for run in runs for r in run.records if isinstance(r.get("gradient"), dict)
                                  for name in r["gradient"]))
    for quantity, words in (("condition", "condition number"), ("nuclear_norm", "nuclear norm")):
        for name in matrices:
            of = f" by {name.upper()}" if len(matrices) > 1 else ""
            panels.append((f"{words} of the gradient{of}", ("gradient", name, quantity), True))
    return panels


def plot(runs, labels, smoothing, title):
    panels = panels_of(runs)
    columns = 3 if len(panels) in (3, 5, 6) else 2
    rows = -(-len(panels) // columns)
    legend_rows = -(-len(runs) // 4)
    width, height = 4.6 * columns, 3.4 * rows + 0.22 * legend_rows + 1.2
    figure, axes = new_figure(rows, columns, (width, height), THEME)
    figure.subplots_adjust(top=1 - 1.05 / height, bottom=(0.7 + 0.22 * legend_rows) / height, hspace=0.33)
    for ax in axes.flat[len(panels):]:
        ax.set_visible(False)
    for ax, (words, keys, smooth) in zip(axes.flat, panels):
        for i, run in enumerate(runs):
            step, values = curve(run, *keys)
            values = smoothed(step, values, smoothing) if smooth else values
            colour, dash = style(i, THEME)
            ax.plot(step, np.where(values > 0, values, np.nan), color=colour, linestyle=dash, linewidth=1.6,
                    label=labels[i] if ax is axes.flat[0] else None)
        ax.set_yscale("log")
        ax.set_title(words, fontsize=11, loc="left")
        ax.set_xlabel("step")
    figure.legend(loc="lower center", ncol=min(4, len(runs)), frameon=False, fontsize=10)
    seeds = sorted({run.seed for run in runs})
    means = f"; condition numbers and norms are exponential averages (decay {smoothing:g} per step)" if smoothing else ""
    title_figure(figure, title, f"Seed {', '.join(seeds)}{means}", THEME)
    return png(figure)


def checkpoints(runs):
    last = max(int(curve(run, "loss")[0][-1]) for run in runs)
    return [k for k in (0, 10, 50, 100, 300, 500, 1000, 2000) if k < last] + [last]


def table(runs, labels):
    """A table of losses at a few steps; the last columns are for the last step of each run."""
    steps = checkpoints(runs)
    lines = ["| run | " + " | ".join(f"k = {k:,}" for k in steps[:-1]) + " | end | condition of the gradient, end |"]
    lines.append("|---" * (len(steps) + 2) + "|")
    for run, label in zip(runs, labels):
        step, loss = curve(run, "loss")
        at = dict(zip(step, loss))
        condition = curve(run, "gradient", next(iter(run.records[0].get("gradient", {"x": {}}))), "condition")[1]
        cells = [f"{at[k]:.3g}" if k in at and k < step[-1] else "" for k in steps[:-1]]
        cells += [f"{loss[-1]:.3g}", f"{condition[-1]:.3g}" if condition.size else ""]
        note = "" if run.finished else f" ({run.end_reason or 'not finished'} at {int(step[-1])})"
        lines.append(f"| {label}{note} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def compare(paths, labels, out, smoothing, title=None):
    """Plots the runs and returns the table; raises RunError if they cannot be compared."""
    runs = [read_problem_run(path) for path in paths]
    problems = sorted({run.config["problem"] for run in runs})
    if len(problems) > 1:
        raise RunError(f"runs of different problems ({', '.join(problems)}); give runs of one problem")
    if labels and len(labels) != len(runs):
        raise RunError(f"{len(labels)} --label for {len(runs)} runs; give one per run, in the same order")
    problem = problems[0]
    labels = labels or [run.name.removeprefix(problem + "_") for run in runs]
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    picture = out / f"{problem}.png"
    write_file(picture, plot(runs, labels, smoothing, title or TITLES[problem]))
    return f"{table(runs, labels)}\n\nPicture: {picture}"


def fraction(text):
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not in [0, 1)")
    return value


def main(arguments):
    parser = Parser(prog="compare_problems.py", description=__doc__.split("\n\n")[0])
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directories made by ./train problem --out")
    parser.add_argument("--out", required=True, metavar="DIR", help="output directory of the figure")
    parser.add_argument("--label", action="append", metavar="TEXT", help="label of a run; once per run, in the same order")
    parser.add_argument("--title", help="title of the figure")
    parser.add_argument("--smoothing", type=fraction, default=0.8, metavar="X",
                        help="decay per step of the plotted exponential averages; 0: no smoothing (default: 0.8, the paper's)")
    options = parser.parse_args(arguments)
    print(compare(options.runs, options.label, options.out, options.smoothing, options.title))
    return 0


if __name__ == "__main__":
    run_main(main)
