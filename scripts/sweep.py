#!/usr/bin/env python3
"""Trains every point of a grid, or random points, for several optimizers and seeds, with as many concurrent runs as the
machine allows, and compares the best setting of each optimizer.

  scripts/sweep.py --config configs/demo.conf --optimizer adamw,muon \\
      --grid embed-lr=2e-3,4e-3 --grid adamw:lr=2e-3,4e-3 \\
      --grid muon:lr=0.01,0.02,0.04 --seeds 1,2,3 --out runs/sweep \\
      -- --train-data ...

An axis is any option of ./train; with the prefix `NAME:` it applies only to that optimizer and overrides a common axis.
The best setting has the lowest final validation loss, averaged over the seeds; a diverged run counts as infinite.

Runs, sweep.json, and the comparison (report/) are written to --out. Ctrl-C stops the runs with a checkpoint; the same
command resumes. It can also be repeated with more values, optimizers or seeds: finished runs are not repeated.
"""
import argparse
import itertools
import math
import os
import random
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))

from compare import compare, print_table, write_report  # noqa: E402  (restarts with a Python that has matplotlib)
from cli import ROOT, Parser, run_main, write_file  # noqa: E402
from runner import Job, Results, SearchError, fixed_rates_note, plan_of, run_jobs, run_name  # noqa: E402
from runs import read_config  # noqa: E402
from sweep_points import Point, edge_notes, find_best, points_table, print_points  # noqa: E402

MEMORY_SHARE = 0.9  # fraction of the available memory that the concurrent runs may use
OURS = ("out", "seed", "optimizer", "resume", "threads", "steps")  # options set by this script, not allowed after --


@dataclass
class Axis:
    """An option and its values, or the range to sample from."""

    option: str
    values: list = None
    low: float = None
    high: float = None
    whole: bool = False

    def sample(self, rng):
        if self.values:
            return rng.choice(self.values)
        value = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        return str(round(value)) if self.whole else f"{value:.4g}"


def canonical(value):
    """A canonical text for a number, however it is written; other texts are unchanged."""
    try:
        return value if re.fullmatch(r"\d+", value) else f"{float(value):.15g}"
    except ValueError:
        return value


def split_axis(text, example):
    match = re.fullmatch(r"(?:([a-z0-9_-]+):)?([a-z0-9-]+)=(.+)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"'{text}' is not an axis like {example}")
    if match[2] in OURS:
        raise argparse.ArgumentTypeError(f"'{match[2]}' cannot be an axis")
    return match.groups()


def grid_axis(text):
    optimizer, option, values = split_axis(text, "lr=1e-3,2e-3 or muon:lr=0.01,0.02")
    values = list(dict.fromkeys(canonical(value) for value in values.split(",")))
    if "" in values:
        raise argparse.ArgumentTypeError(f"'{text}' has an empty value")
    return optimizer, Axis(option, values)


def range_axis(text):
    optimizer, option, ends = split_axis(text, "lr=1e-4..1e-2")
    low, dots, high = ends.partition("..")
    try:
        axis = Axis(option, low=float(low), high=float(high), whole=low.isdigit() and high.isdigit())
    except ValueError:
        axis = None
    if not axis or not 0 < axis.low < axis.high < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}': a range has two positive numbers, the lower first: lr=1e-4..1e-2")
    return optimizer, axis


def names(text):
    parts = text.split(",")
    if not all(parts) or len(set(parts)) != len(parts):
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of different names like adamw,muon")
    return parts


def seeds(text):
    parts = text.split(",")
    if not all(part.isdigit() for part in parts) or len(set(parts)) != len(parts):
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of different whole numbers like 1,2,3")
    return parts


def axes_of(optimizer, axes):
    """The axes of one optimizer: {option: Axis}; its own override the common ones."""
    found = {axis.option: axis for owner, axis in axes if owner is None}
    found.update({axis.option: axis for owner, axis in axes if owner == optimizer})
    return found


def points_of(optimizer, axes, samples):
    """The points {option: value} of one optimizer: the whole grid, or `samples` random ones. More samples keep the earlier."""
    axes = axes_of(optimizer, axes)
    if not samples:
        return [dict(zip(axes, values)) for values in itertools.product(*(axis.values for axis in axes.values()))]
    points = [{option: axis.sample(random.Random(f"{optimizer} {option} {i}")) for option, axis in axes.items()}
              for i in range(samples)]
    return list({tuple(point.items()): point for point in points}.values())


class Sweep:
    def __init__(self, options):
        self.options = options
        self.out = Path(options.out)
        # The settings common to all runs; a sweep with other settings needs another directory.
        settings = {"configs": [read_config(Path(path)) for path in options.config], "steps": options.steps,
                    "extra": options.extra}
        self.results = Results(self.out, "sweep.json", self.out / "runs", settings)
        self.failures = {}  # {run or setting: error}

    def train_options(self, optimizer, point, seed):
        steps = [] if self.options.steps is None else ["--steps", str(self.options.steps)]
        # If an option is given twice, the last one counts: the point's.
        return [*(word for path in self.options.config for word in ("--config", path)), "--keep=1", *self.options.extra,
                *steps, "--optimizer", optimizer, "--seed", seed, *(f"--{option}={value}" for option, value in point.items())]

    def plan(self):
        """The remaining jobs, the number of concurrent runs, their threads, and their memory limit."""
        jobs, available, refused = [], math.inf, {}
        wanted = [(optimizer, point) for optimizer in self.options.optimizer
                  for point in points_of(optimizer, self.options.axes, self.options.random)]
        needs, plans = {}, {}
        for i, (optimizer, point) in enumerate(wanted):
            plan, error = plan_of(self.options.train, self.train_options(optimizer, point, self.options.seeds[0]))
            if error:
                refused[run_name({"optimizer": optimizer, **point}).replace("optimizer-", "", 1)] = error
                continue
            needs[i], available = plan.memory, min(available, plan.available)
            plans.setdefault(optimizer, []).append(plan)
            if not plan.validates:
                raise SearchError("no validation data; give --val-data in the configuration or after --")
        if not needs:
            raise SearchError(next(iter(refused.values())))
        self.failures.update(refused)
        self.notes = [note for optimizer in plans if (note := fixed_rates_note(optimizer, plans[optimizer]))]
        self.about = {}
        for seed in self.options.seeds:
            for i in needs:
                optimizer, point = wanted[i]
                name = run_name({"optimizer": optimizer, **point, "seed": seed}).replace("optimizer-", "", 1)
                self.about[name] = {"optimizer": optimizer, "point": point, "seed": seed}
                if name not in self.results.runs:
                    jobs.append(Job(name, self.train_options(optimizer, point, seed), self.out / "runs" / name, needs[i]))
        memory = MEMORY_SHARE * available
        cores = len(os.sched_getaffinity(0))
        fitting = max(1, int(memory // max(needs.values())) if math.isfinite(memory) else cores)
        at_once = self.options.jobs or max(1, min(cores // (self.options.threads or 1), fitting, len(jobs)))
        threads = self.options.threads or max(1, cores // at_once)
        for job in jobs:
            job.options += ["--threads", str(threads)]
            job.on_resume = ["--threads", str(threads)]
        return jobs, at_once, threads, memory

    def run(self):
        jobs, at_once, threads, memory = self.plan()
        known = len(self.about) - len(jobs)
        print(f"{len(self.about)} runs, {known} already done" if known else f"{len(jobs)} runs", end="")
        print(f"; up to {at_once} at a time with {threads} thread{'s' if threads > 1 else ''} each" if jobs else "", flush=True)
        for note in self.notes:
            print(f"note: {note}", flush=True)
        for what, why in self.failures.items():
            print(f"{what}: FAILED: {why}", flush=True)
        began, done = time.monotonic(), 0

        def on_end(job, outcome):
            nonlocal done
            done += 1
            if outcome.state == "failed":
                self.failures[job.name] = outcome.message
            else:
                self.results.runs[job.name] = {**self.about[job.name], "state": outcome.state,
                                               "val_loss": outcome.val_loss, "seconds": round(outcome.seconds, 1),
                                               "at_once": at_once}
                self.results.save(seeds=self.options.seeds)
            words = {"finished": f"loss {outcome.val_loss or 0:.4f}", "diverged": "diverged"}
            left = len(jobs) - done
            ahead = f"; {duration((time.monotonic() - began) / done * left)} left" if left else ""
            print(f"[{known + done} of {len(self.about)}] {job.name}: "
                  f"{words.get(outcome.state, f'FAILED: {outcome.message}')}{ahead}", flush=True)

        (self.out / "runs").mkdir(exist_ok=True)
        run_jobs(self.options.train, jobs, on_end, at_once, memory)

    def points(self):
        """All points with results, including those of earlier commands."""
        points = {}
        for name, result in self.results.runs.items():
            key = (result["optimizer"], tuple(sorted(result["point"].items())))
            point = points.setdefault(key, Point(result["optimizer"], result["point"]))
            loss = math.inf if result["val_loss"] is None else result["val_loss"]
            point.losses[result["seed"]] = loss
            point.runs[result["seed"]] = str(self.out / "runs" / name)
        return list(points.values())

    def report(self):
        """Prints the tables and writes the comparison of the best settings."""
        points = self.points()
        best = find_best(points, self.options.seeds)
        axes = {point.optimizer: axes_of(point.optimizer, self.options.axes) for point in points}
        self.results.save(seeds=self.options.seeds, best={
            name: {"point": point.point, "val_loss": point.mean, "std": point.std, "seeds": list(point.losses)}
            for name, point in best.items()})
        print()
        print_points(points, best)
        if not best:
            raise SearchError("no setting finished with every seed: nothing to compare")
        series, report = compare([point.runs[seed] for point in best.values() for seed in self.options.seeds],
                                 list(best), self.options.baseline, self.options.target)
        report["notes"] += [f"{name}: no setting finished with every seed" for name in self.options.optimizer if name not in best]
        report["notes"] += edge_notes(points, best, axes) + self.notes
        together = [result["at_once"] for result in self.results.runs.values()]
        if max(together) > 1:
            report["notes"].append(f"up to {max(together)} runs ran concurrently: their times are those of a shared machine")
        if len(points) > len(best):
            report["notes"].append("each best setting was selected by the losses shown here, which are therefore slightly optimistic; "
                                   "repeat the best settings with new seeds for unbiased losses")
        print("\nThe best setting of each optimizer:\n")
        print_table(report)
        self.write(series, report, points, best)

    def write(self, series, report, points, best):
        from compare_html import picture, table
        from sweep_plot import plot_axes
        out = self.out / "report"
        sections = ["<h2>All settings</h2>"]
        pictures = {theme: plot_axes(points, best, "Every setting of the sweep", theme) for theme in ("light", "dark")}
        if pictures["light"]:
            sections.append(picture(pictures, "Final validation loss against each swept option"))
        sections.append(table(*points_table(points, best), "numbers"))
        write_report(out, self.options.title, series, report, sections)
        if pictures["light"]:
            write_file(out / "sweep.png", pictures["light"])
        print(f"\nPage: {out / 'report.html'}\nAll results: {self.results.file}")


def duration(seconds):
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def parse_arguments(arguments):
    extra = []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, extra = arguments[:at], arguments[at + 1:]
    parser = Parser(description=__doc__,
                    usage="%(prog)s --config FILE --optimizer NAMES --out DIR\n"
                          "                (--grid AXIS ... | --random K --range AXIS ...)\n"
                          "                [options] [-- TRAIN OPTIONS]")
    parser.add_argument("--config", action="append", default=[], metavar="FILE", help="configuration of every run; may be repeated")
    parser.add_argument("--optimizer", type=names, required=True, metavar="NAMES", help="optimizers of the hidden matrices: adamw,muon")
    parser.add_argument("--grid", type=grid_axis, action="append", default=[], metavar="[NAME:]OPTION=V,V,...",
                        help="values of an option; may be repeated")
    parser.add_argument("--range", type=range_axis, action="append", default=[], metavar="[NAME:]OPTION=A..B",
                        help="with --random: values are sampled log-uniformly between A and B")
    parser.add_argument("--random", type=int, default=0, metavar="K", help="sample K points per optimizer instead of the whole grid")
    parser.add_argument("--seeds", type=seeds, default=["1"], metavar="LIST", help="seeds of every point (default: 1)")
    parser.add_argument("--steps", type=int, metavar="N", help="steps of every run (default: the configuration's)")
    parser.add_argument("--out", required=True, metavar="DIR", help="output directory of runs, results and the comparison")
    parser.add_argument("--jobs", type=int, metavar="N", help="concurrent runs (default: what cores and memory allow)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads per run (default: cores / concurrent runs)")
    parser.add_argument("--baseline", metavar="NAME", help="optimizer to compare the others with (default: adamw, else the first)")
    parser.add_argument("--target", "--target-loss", type=float, metavar="LOSS",
                        help="target validation loss (default: the baseline's final one); judged by the public benchmark's rule")
    parser.add_argument("--title", default="The best setting of each optimizer", help="title of the page and the figures")
    parser.add_argument("--train", default=str(ROOT / "train"), metavar="PROGRAM", help="training program (default: ./train)")
    options = parser.parse_args(arguments)
    options.extra, options.axes = extra, options.grid + options.range
    check_options(parser, options)
    return options


def check_options(parser, options):
    for name, least in (("random", 0), ("steps", 1), ("jobs", 1), ("threads", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            parser.error(f"--{name}: must be at least {least}")
    for path in options.config:
        if not Path(path).is_file():
            parser.error(f"--config {path}: no such file")
    if options.range and not options.random:
        parser.error("--range needs --random K, the number of points to sample")
    if options.random and not options.axes:
        parser.error("--random needs an axis: --range lr=1e-4..1e-2")
    if options.target is not None and not math.isfinite(options.target):
        parser.error("--target: must be a finite number")
    for owner, axis in options.axes:
        if owner is not None and owner not in options.optimizer:
            parser.error(f"{owner}:{axis.option}: {owner} is not among --optimizer {','.join(options.optimizer)}")
    keys = [(owner, axis.option) for owner, axis in options.axes]
    for owner, option in keys:
        if keys.count((owner, option)) > 1:
            parser.error(f"{owner + ':' if owner else ''}{option} is given twice; put all its values in one list")
    if options.baseline and options.baseline not in options.optimizer:
        parser.error(f"--baseline {options.baseline}: not among --optimizer {','.join(options.optimizer)}")
    for word in options.extra:
        if re.match(r"--([a-z-]+)", word) and re.match(r"--([a-z-]+)", word)[1] in OURS:
            parser.error(f"{word} is not allowed after --: this script sets it for each run")


def main(arguments):
    options = parse_arguments(arguments)
    try:
        sweep = Sweep(options)
        sweep.run()
        sweep.report()
    except KeyboardInterrupt:
        print("\nstopped; run the same command to resume", file=sys.stderr)
        return 130
    for what, why in sweep.failures.items():
        print(f"error: {what}: {why}", file=sys.stderr)
    return 1 if sweep.failures else 0


if __name__ == "__main__":
    run_main(main)
