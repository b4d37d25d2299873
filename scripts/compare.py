#!/usr/bin/env python3
"""Compares training runs: loss curves, steps and time to reach a target loss, and the savings relative to a baseline.
Runs that differ only in their seed form one series, shown as mean and spread.

Writes DIR/report.json, DIR/report.html (self-contained), DIR/target.png and DIR/curves.png, and prints the table.
"""
import argparse
import itertools
import json
import math
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))

from cli import Parser, as_text, print_rows, run_main, use_python_with_matplotlib, write_file  # noqa: E402

use_python_with_matplotlib()

import numpy as np  # noqa: E402

from runs import RunError, read_run  # noqa: E402
from significance import RULE_MARGIN, rule_statistic, welch  # noqa: E402

# Options that do not change the result beyond rounding: runs that differ only in these are repetitions of one experiment.
IGNORED = {"seed", "quiet", "max-time", "keep", "log-every", "checkpoint-every", "sample-every", "sample-tokens", "sample-prompt",
           "threads", "diagnose", "diagnose-spectrum"}
MAX_ALL_PAIRS = 4  # up to this many series, every pair is tested; with more, each against the baseline
PATHS = {"train-data", "val-data"}  # compared by file name, without the directory


@dataclass
class Series:
    """Runs of one configuration with different seeds."""

    label: str
    runs: list
    config: dict
    step: np.ndarray = field(default=None)  # steps at which all runs were evaluated
    tokens: np.ndarray = field(default=None)
    elapsed: np.ndarray = field(default=None)  # mean over the runs
    val: np.ndarray = field(default=None)  # (runs, steps)
    notes: list = field(default_factory=list)

    @property
    def mean(self):
        return self.val.mean(axis=0)


def comparable_value(value):
    """Converts values of older versions of ./train: optimizer flags were true and false, some numbers had 17 digits."""
    if re.fullmatch(r"0\.\d{16,}", value):
        return repr(float(value))
    return {"true": "yes", "false": "no"}.get(value, value)


def comparable_config(run):
    """The configuration without the options that may differ within a series."""
    config = {}
    for name, value in run.config.items():
        if name not in IGNORED:
            config[name] = os.path.basename(value) if name in PATHS else comparable_value(value)
    return config


def group_runs(runs):
    """Groups runs into series, in the order given. Rejects a run given twice and two runs with the same seed."""
    seen, series = {}, []
    for run in runs:
        real = run.path.resolve()
        if real in seen:
            raise RunError(f"{run.path}: given twice")
        seen[real] = True
        config = comparable_config(run)
        same = next((s for s in series if s.config == config), None)
        if same is None:
            series.append(Series("", [run], config))
            continue
        for other in same.runs:
            if other.seed == run.seed:
                raise RunError(f"{other.path} and {run.path} have the same configuration and the same seed "
                               f"({run.seed or 'not given'}): leave one out")
        same.runs.append(run)
    for one in series:
        align_evaluations(one)
    return series


def align_evaluations(series):
    """Fills the series' curves at the steps at which all of its runs were evaluated."""
    for run in series.runs:
        if not run.val.step:
            raise RunError(f"{run.path}: metrics.jsonl has no validation loss; train with --val-data and --eval-every")
    common = sorted(set.intersection(*(set(run.val.step) for run in series.runs)))
    if not common:
        raise RunError(f"{series.runs[0].path} and {series.runs[1].path} were never evaluated at the same step")
    index = [[run.val.step.index(step) for step in common] for run in series.runs]
    pick = lambda name: np.array([[getattr(run.val, name)[i] for i in at] for run, at in zip(series.runs, index)])
    series.step = np.array(common, dtype=float)
    series.val = pick("loss").astype(float)
    series.tokens = pick("tokens").astype(float).mean(axis=0)
    series.elapsed = pick("elapsed").astype(float).mean(axis=0)
    for run in series.runs:
        if run.last_step > common[-1] and len(series.runs) > 1:
            series.notes.append(f"{run.path} continues to step {run.last_step}; its series is compared up to step "
                                f"{common[-1]}, the last one that all its seeds have reached")
        if not run.finished:
            planned = f" of {run.planned_steps}" if run.planned_steps is not None else ""
            series.notes.append(f"{run.path} has not finished (step {run.last_step}{planned})")


def label_series(series, labels):
    """Sets the given labels, or the shortest that distinguish the series: optimizer, differing options, directory."""
    if labels:
        if len(labels) != len(series):
            raise RunError(f"{len(labels)} --label for {len(series)} series; give one for each, in the order of the runs")
        names = labels
    else:
        optimizers = [s.config.get("optimizer", "") for s in series]
        differing = [key for key in differing_options(series) if key != "optimizer"]
        detailed = [" ".join([o] + [f"{key}={s.config.get(key, '-')}" for key in differing])
                    for o, s in zip(optimizers, series)]
        directories = [s.runs[0].name for s in series]
        paths = [as_text(s.runs[0].path) for s in series]
        readable = [detailed] if len(differing) <= 2 else []
        names = next((c for c in [optimizers, *readable, directories, paths] if all(c) and len(set(c)) == len(c)), paths)
    if len(set(names)) != len(names):
        raise RunError("two series have the same label; give each its own")
    for one, name in zip(series, names):
        one.label = name


def differing_options(series):
    """Names of the options in which the series differ, in the order of the configuration."""
    names = list(dict.fromkeys(name for s in series for name in s.config))
    return [name for name in names if len({s.config.get(name) for s in series}) > 1]


def choose_baseline(series, wanted):
    if wanted is None:
        adamw = [s for s in series if s.config.get("optimizer") == "adamw"]
        return adamw[0] if len(adamw) == 1 else series[0]
    for one in series:
        names = {one.label} | {run.name for run in one.runs} | {str(run.path) for run in one.runs}
        if wanted in names or wanted.rstrip("/") in names:
            return one
    raise RunError(f"--baseline {wanted}: no such series; there are: {', '.join(s.label for s in series)}")


def step_to_target(step, loss, target):
    """The step at which the loss first reaches the target, linearly interpolated between evaluations; None: never."""
    reached = np.flatnonzero(loss <= target)
    if reached.size == 0:
        return None
    i = reached[0]
    if i == 0 or not math.isfinite(loss[i - 1]):
        return float(step[i])
    fraction = (loss[i - 1] - target) / (loss[i - 1] - loss[i])
    return float(step[i - 1] + fraction * (step[i] - step[i - 1]))


def saving_percent(value, baseline):
    """Saving relative to the baseline in percent; None if either value is missing."""
    if value is None or baseline is None or not baseline > 0:
        return None
    return 100 * (1 - value / baseline)


def finite_or_none(value):
    return None if value is None or not math.isfinite(value) else float(value)


def median(values):
    values = [v for v in values if math.isfinite(v)]
    return float(np.median(values)) if values else None


def rule_of(finals, target):
    """Whether the mean reaches the target at the last step by the public benchmark's rule; None without a given target."""
    if target is None or not np.isfinite(finals).all():
        return None
    statistic = rule_statistic(list(finals), target)
    return {"statistic": float(statistic), "reached": bool(statistic >= RULE_MARGIN)}


def tests_of_pairs(series, baseline):
    """Welch's t-test of the final losses for pairs of series with at least two seeds each."""
    pairs = itertools.combinations(series, 2) if len(series) <= MAX_ALL_PAIRS else [(baseline, s) for s in series if s is not baseline]
    tests = [(a.label, b.label, welch(list(a.val[:, -1]), list(b.val[:, -1]))) for a, b in pairs]
    return [{"of": a, "and": b, **result} for a, b, result in tests if result]


def thread_notes(series):
    """A note if the runs used different numbers of threads."""
    threads = sorted({int(n) for s in series for run in s.runs if isinstance(n := run.environment.get("threads"), int)})
    return [f"the runs used different numbers of threads ({', '.join(map(str, threads))}): their times are not comparable"] if len(threads) > 1 else []


def measure(series, target, given_target):
    """The results of one series; build_report adds those that need a baseline."""
    mean = series.mean
    best = int(np.nanargmin(mean)) if np.isfinite(mean).any() else -1
    finals = series.val[:, -1]
    step = step_to_target(series.step, mean, target)
    seeds = [step_to_target(series.step, curve, target) for curve in series.val]
    at = lambda values: None if step is None else finite_or_none(np.interp(step, series.step, values))
    bits = [run.bits_per_byte for run in series.runs if run.val.step[-1] == series.step[-1]]
    return {
        "label": series.label,
        "runs": [as_text(run.path) for run in series.runs],
        "seeds": [run.seed for run in series.runs],
        "optimizer": series.config.get("optimizer"),
        "lr": {name: series.config[name] for name in ("lr", "embed-lr", "head-lr", "vector-lr") if name in series.config},
        "steps": int(series.step[-1]),
        "final_val_loss": finite_or_none(mean[-1]),
        "final_val_loss_std": finite_or_none(np.std(finals, ddof=1)) if len(finals) > 1 else None,
        "best_val_loss": finite_or_none(mean[best]),
        "best_step": int(series.step[best]),
        "final_bits_per_byte": finite_or_none(np.mean(bits)) if bits else None,
        "steps_to_target": step,
        "steps_to_target_by_seed": seeds,
        "tokens_to_target": at(series.tokens),
        "seconds_to_target": at(series.elapsed),
        "rule": rule_of(finals, given_target),
        "seconds": finite_or_none(series.elapsed[-1]),
        "tokens_per_s": median([v for run in series.runs for v in run.tokens_per_s]),
        "optimizer_ms": median([v for run in series.runs for v in run.optimizer_ms]),
    }


def build_report(series, baseline, target):
    """All results of the comparison. Without a target, it is the baseline's final validation loss."""
    chosen = baseline.mean[-1] if target is None else target
    if not math.isfinite(chosen):
        raise RunError(f"{baseline.label}: its final validation loss is not finite; give --target LOSS")
    rows = [measure(one, chosen, target) for one in series]
    base = rows[series.index(baseline)]
    for row in rows:
        row["saving_steps_percent"] = saving_percent(row["steps_to_target"], base["steps_to_target"])
        row["saving_time_percent"] = saving_percent(row["seconds_to_target"], base["seconds_to_target"])
    differing = differing_options(series)
    return {
        "target_val_loss": float(chosen),
        "target_is": "given" if target is not None else f"final validation loss of {baseline.label}",
        "baseline": baseline.label,
        "interpolation": "linear between evaluations, on the mean curve over the seeds",
        "series": rows,
        "tests": tests_of_pairs(series, baseline),
        "configuration_differences": {n: {s.label: s.config.get(n) for s in series} for n in differing},
        "environment": {s.label: s.runs[0].environment for s in series},
        "notes": [note for s in series for note in s.notes] + thread_notes(series),
    }


def text(value, form="{:.4f}", missing="-"):
    return missing if value is None else form.format(value)


def seconds_text(value):
    if value is None:
        return "-"
    return f"{value:.1f} s" if value < 600 else f"{value / 60:.1f} min" if value < 36000 else f"{value / 3600:.2f} h"


def table_rows(report):
    """Header and rows of the table as text, without empty columns."""
    columns = [
        ("series", lambda r: r["label"]),
        ("seeds", lambda r: str(len(r["runs"]))),
        ("final val loss", lambda r: text(r["final_val_loss"]) + text(r["final_val_loss_std"], " ± {:.4f}", "")),
        ("bits/byte", lambda r: text(r["final_bits_per_byte"])),
        ("best", lambda r: text(r["best_val_loss"]) + f" @ {r['best_step']}"),
        ("steps to target", lambda r: text(r["steps_to_target"], "{:.0f}", "not reached") + seed_range(r)),
        ("fewer steps", lambda r: text(r["saving_steps_percent"], "{:.1f} %")),
        ("target by the rule", lambda r: rule_text(r["rule"], r["steps"])),
        ("time to target", lambda r: seconds_text(r["seconds_to_target"])),
        ("less time", lambda r: text(r["saving_time_percent"], "{:.1f} %")),
        ("tokens/s", lambda r: text(r["tokens_per_s"], "{:,.0f}")),
        ("optimizer ms", lambda r: text(r["optimizer_ms"], "{:.2f}")),
        ("lr (hidden)", lambda r: r["lr"].get("lr", "-")),
    ]
    rows = [[cell(row) for _, cell in columns] for row in report["series"]]
    keep = [i for i in range(len(columns)) if any(row[i] != "-" for row in rows)]
    return [columns[i][0] for i in keep], [[row[i] for i in keep] for row in rows]


def rule_text(rule, steps):
    return "-" if rule is None else f"{'yes' if rule['reached'] else 'no'}, step {steps} ({rule['statistic']:+.4f})"


def p_text(p):
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1e}"


def caption_lines(report):
    """Explanations of the table's columns."""
    lines = ["Steps and time to the target are interpolated linearly between evaluations; time is training only."]
    if any(row["final_val_loss_std"] is not None for row in report["series"]):
        lines.append("± is the standard deviation over the seeds.")
    others = [f"{row['label']} " + ", ".join(f"{name} {rate}" for name, rate in row["lr"].items() if name != "lr")
              for row in report["series"] if len(set(row["lr"].values())) > 1]
    if others:
        lines.append(f"lr (hidden) is the rate of the hidden matrices only; others: {'; '.join(others)}.")
    if any(row["rule"] for row in report["series"]):
        lines.append(f"Target by the rule: the public step-count benchmark's, (target - mean final loss) sqrt(seeds) >= {RULE_MARGIN}; "
                     "it assumes that benchmark's standard deviation between seeds, 0.0013: for other models see p.")
    if report["tests"]:
        lines.append("p: probability of a difference at least as large if both had the same mean (Welch's t-test, two-sided).")
    elif len(report["series"]) > 1:
        lines.append("No significance test: it needs at least two seeds in each of two series.")
    return lines


def pair_lines(report):
    return [f"{t['of']} - {t['and']}: final loss {t['difference']:+.4f}, t = {t['t']:.2f}, df = {t['df']:.1f}, p = {p_text(t['p'])}"
            for t in report["tests"]]


def seed_range(row):
    """The range over several seeds, or the number of seeds that reached the target if not all did."""
    reached = [s for s in row["steps_to_target_by_seed"] if s is not None]
    if len(row["runs"]) == 1:
        return ""
    if len(reached) < len(row["runs"]):
        return f" ({len(reached)} of {len(row['runs'])} seeds)"
    return f" ({min(reached):.0f} to {max(reached):.0f})"


def print_table(report):
    print_rows(*table_rows(report))
    print(f"\nTarget: validation loss {report['target_val_loss']:.4f} ({report['target_is']}); "
          f"savings against {report['baseline']}.")
    for line in pair_lines(report) + caption_lines(report) + [f"Note: {note}." for note in report["notes"]]:
        print(line)


def compare(paths, labels=None, baseline=None, target=None):
    """The series and the report of the runs in the directories `paths`; raises RunError."""
    series = group_runs([read_run(path) for path in paths])
    label_series(series, labels)
    return series, build_report(series, choose_baseline(series, baseline), target)


def write_report(out, title, series, report, more_sections=()):
    """Writes report.json, the figures and the page to the directory `out`. more_sections: HTML added to the page."""
    from compare_html import write_page
    from compare_plot import plot_curves, plot_target
    out.mkdir(parents=True, exist_ok=True)
    write_file(out / "report.json", json.dumps(report, indent=1) + "\n")
    pictures = {}
    for name, plot in (("target", plot_target), ("curves", plot_curves)):
        pictures[name] = {theme: plot(series, report, title, theme) for theme in ("light", "dark")}
        write_file(out / f"{name}.png", pictures[name]["light"])
    captions = pair_lines(report) + caption_lines(report)[1:]
    write_page(out / "report.html", title, report, *table_rows(report), captions, pictures, more_sections)


def parse_arguments(arguments):
    parser = Parser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directories made by ./train")
    parser.add_argument("--out", required=True, metavar="DIR", help="output directory of the report")
    parser.add_argument("--baseline", metavar="NAME", help="label or run directory (default: the only adamw series, else the first)")
    parser.add_argument("--target", "--target-loss", type=float, metavar="LOSS",
                        help="target validation loss (default: the baseline's final one); judged by the public benchmark's rule")
    parser.add_argument("--label", action="append", metavar="TEXT", help="label of a series; once per series, in the order of the runs")
    parser.add_argument("--title", default="Comparison of training runs", help="title of the page and the figures")
    options = parser.parse_args(arguments)
    if options.target is not None and not math.isfinite(options.target):
        parser.error("--target: must be a finite number")
    return options


def main(arguments):
    options = parse_arguments(arguments)
    series, report = compare(options.runs, options.label, options.baseline, options.target)
    out = Path(options.out)
    write_report(out, options.title, series, report)
    print_table(report)
    print(f"\nPicture: {out / 'target.png'}\nCurves:  {out / 'curves.png'}\nPage:    {out / 'report.html'}")
    return 0


if __name__ == "__main__":
    run_main(main)
