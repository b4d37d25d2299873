#!/usr/bin/env python3
"""Tunes an optimizer's learning rates by coordinate search: the same small search for every optimizer.

Each given learning rate is an axis. Its values (one value C stands for C/2, C, 2C) are tried with the other axes at their
best so far; while the best value is at an edge, the axis grows by a factor of 2. The search cycles through the axes until
a whole cycle changes nothing, so at the end every neighbour at a factor of 2 has been tried and is worse. --choice adds
another number as an axis that does not grow, such as beta2=0.95,0.99. The objective is the final validation loss, averaged
over the seeds; a diverged run counts as infinite.

The runs and tune.json are written to --out. Run it again after an interruption: finished runs are not repeated.
"""
import argparse
import math
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))

from cli import ROOT, Parser, run_main  # noqa: E402
from runner import Job, Results, SearchError, fixed_rates_note, plan_of, run_jobs, run_name  # noqa: E402
from runs import read_config  # noqa: E402

AXES = ("lr", "embed-lr", "head-lr", "vector-lr")


def rates(text):
    try:
        values = sorted({float(part) for part in text.split(",")})
    except ValueError:
        values = []
    if not values or not all(v > 0 and math.isfinite(v) for v in values):
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of positive numbers like 1e-3,2e-3")
    return [values[0] / 2, values[0], values[0] * 2] if len(values) == 1 else values


def choice(text):
    """Parses OPTION=V,V as (option, values). Options joined by + share the value."""
    name, _, values = text.partition("=")
    try:
        numbers = [float(part) for part in values.split(",")]
    except ValueError:
        numbers = []
    named = re.fullmatch(r"[a-z][a-z0-9-]*(\+[a-z][a-z0-9-]*)*", name)
    if not named or not numbers or not all(v > 0 and math.isfinite(v) for v in numbers):
        raise argparse.ArgumentTypeError(f"'{text}' is not an option with positive numbers like beta2=0.95,0.99")
    return name, sorted(set(numbers))


def seeds(text):
    parts = text.split(",")
    if not all(part.isdigit() for part in parts) or len(set(parts)) != len(parts):
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of different whole numbers like 1,2")
    return parts


def coordinate_search(axes, evaluate, most_steps=8, fixed=()):
    """Minimizes evaluate(point) over a grid that grows by factors of 2. axes: {name: [values]} in ascending order.

    A point is a dictionary {name: value}. Returns (best point, its value). most_steps limits the growth of one axis beyond
    an edge; the axes in `fixed` do not grow.
    """
    grids = {name: list(values) for name, values in axes.items()}
    best = {name: values[len(values) // 2] for name, values in grids.items()}
    best_value = evaluate(best)
    changed = True
    while changed:
        changed = False
        for name, grid in grids.items():
            before = best[name]
            tried = {value: evaluate({**best, name: value}) for value in grid}
            grown = 0
            while True:
                winner = min(tried, key=lambda value: (tried[value], abs(math.log(value / before))))
                edge = winner / 2 if winner == min(tried) else winner * 2 if winner == max(tried) else None
                if edge is None or name in fixed or grown == most_steps or not math.isfinite(tried[winner]):
                    break
                tried[edge] = evaluate({**best, name: edge})
                grown += 1
            if len(grids) > 1 and name not in fixed:
                grids[name] = [winner / 2, winner, winner * 2]
            if tried[winner] < best_value:
                best, best_value, changed = {**best, name: winner}, tried[winner], len(grids) > 1
    return best, best_value


def as_options(point):
    return [f"--{option}={value:.6g}" for axis, value in point.items() for option in axis.split("+")]


class Search:
    """Runs ./train at points of the grid and records the results in tune.json."""

    def __init__(self, options, axes):
        self.options = options
        self.axes = axes
        # The settings common to all runs; a search with other settings needs another directory.
        settings = {"config": read_config(Path(options.config)), "optimizer": options.optimizer,
                    "steps": options.steps, "extra": options.extra}
        self.results = Results(Path(options.out), "tune.json", Path(options.out), settings)

    def save(self, **more):
        self.results.save(axes=self.axes, seeds=self.options.seeds, **more)

    def evaluate(self, point):
        losses = []
        for seed in self.options.seeds:
            name = run_name({**{axis: f"{value:.6g}" for axis, value in point.items()}, "seed": seed})
            if name not in self.results.runs:
                self.results.runs[name] = {"point": point, "seed": seed, "val_loss": self.train(name, point, seed)}
                self.save()
            loss = self.results.runs[name]["val_loss"]
            losses.append(math.inf if loss is None else loss)
        return sum(losses) / len(losses)

    def arguments(self, point, seed):
        return ["--config", self.options.config, "--optimizer", self.options.optimizer, "--steps", str(self.options.steps),
                "--seed", seed, *as_options(point), *self.options.extra]

    def print_note(self):
        """Says so if the search moves the rate of the hidden matrices only. A refused plan is the run's error."""
        searched = {option for axis in self.axes for option in axis.split("+")}
        if searched & set(AXES) != {"lr"}:
            return
        middle = {axis: values[len(values) // 2] for axis, values in self.axes.items()}
        plans = [plan_of(self.options.train, self.arguments({**middle, "lr": rate}, self.options.seeds[0]))[0]
                 for rate in (self.axes["lr"][0], self.axes["lr"][-1])]
        note = fixed_rates_note(self.options.optimizer, plans) if all(plans) else None
        if note:
            print(f"note: {note}", flush=True)

    def train(self, name, point, seed):
        """The final validation loss of one run; None if it diverged."""
        ended = []
        arguments = self.arguments(point, seed)
        print(f"{name} ...", end=" ", flush=True)
        run_jobs(self.options.train, [Job(name, arguments, Path(self.options.out) / name)],
                 lambda _, outcome: ended.append(outcome))
        outcome = ended[0]
        if outcome.state == "failed":
            print()  # ends the line of progress
            raise SearchError(f"{name} failed: {outcome.message}")
        print("diverged" if outcome.state == "diverged" else f"{outcome.val_loss:.4f}")
        return outcome.val_loss


def print_table(search, axes, best):
    points = {}
    for result in search.results.runs.values():
        key = tuple(result["point"].get(axis) for axis in axes)
        points.setdefault(key, []).append(math.inf if result["val_loss"] is None else result["val_loss"])
    widths = [max(12, len(axis) + 2) for axis in axes]
    print("\n" + "".join(f"{axis:>{width}}" for axis, width in zip(axes, widths)) + f"{'val loss':>12}{'seeds':>7}")
    for key, losses in sorted(points.items()):
        mean = sum(losses) / len(losses)
        mark = "  <- best" if key == tuple(best[0][axis] for axis in axes) else ""
        loss = f"{mean:.4f}" if math.isfinite(mean) else "diverged"
        print("".join(f"{value:>{width}.6g}" for value, width in zip(key, widths)) + f"{loss:>12}{len(losses):>7}{mark}")


def parse_arguments(arguments):
    extra = []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, extra = arguments[:at], arguments[at + 1:]
    parser = Parser(description=__doc__,
                    usage="%(prog)s --config FILE --optimizer NAME --lr RATES --steps N\n"
                          "               --out DIR [options] [-- TRAIN OPTIONS]")
    parser.add_argument("--config", required=True, metavar="FILE", help="configuration of every run")
    parser.add_argument("--optimizer", required=True, metavar="NAME", help="optimizer of the hidden matrices")
    for axis in AXES:
        parser.add_argument(f"--{axis}", type=rates, metavar="RATES", required=axis == "lr",
                            help=f"initial values of --{axis} of train: 1e-3,2e-3,4e-3, or one value C for C/2, C, 2C")
    parser.add_argument("--choice", type=choice, action="append", default=[], metavar="OPTION=V,V",
                        help="values of another option: only these are tried; OPTION+OPTION share the value")
    parser.add_argument("--steps", type=int, required=True, metavar="N", help="steps of every run")
    parser.add_argument("--out", required=True, metavar="DIR", help="output directory of runs and tune.json")
    parser.add_argument("--seeds", type=seeds, default=["1"], metavar="LIST", help="seeds of every point (default: 1)")
    parser.add_argument("--train", default=str(ROOT / "train"), metavar="PROGRAM", help="training program (default: ./train)")
    options = parser.parse_args(arguments)
    options.extra = extra
    if options.steps < 1:
        parser.error("--steps: must be at least 1")
    if not Path(options.config).is_file():
        parser.error(f"--config {options.config}: no such file")
    return options


def main(arguments):
    options = parse_arguments(arguments)
    axes = {axis: getattr(options, axis.replace("-", "_")) for axis in AXES if getattr(options, axis.replace("-", "_"))}
    choices = dict(options.choice)
    axes.update(choices)
    try:
        search = Search(options, axes)
        search.print_note()
        best = coordinate_search(axes, search.evaluate, fixed=choices)
        if not math.isfinite(best[1]):
            raise SearchError("every run diverged; start with lower learning rates")
        search.save(best={"point": best[0], "val_loss": best[1]})
    except KeyboardInterrupt:
        print("\nstopped; run the same command to resume", file=sys.stderr)
        return 130
    print_table(search, axes, best)
    print(f"\nbest for {options.optimizer}: " + " ".join(as_options(best[0]))
          + f"  (validation loss {best[1]:.4f}); all results: {search.results.file}")
    return 0


if __name__ == "__main__":
    run_main(main)
