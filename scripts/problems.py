#!/usr/bin/env python3
"""Runs every preset of a matrix problem (configs/problems/NAME_*.conf), or some of them, and plots the results.

Finished runs in DIR are kept; the others start over. Options after -- are passed to every run (--seed 142, --threads 1).
"""
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))

import argparse  # noqa: E402

from cli import Parser, run_main, use_python_with_matplotlib  # noqa: E402

use_python_with_matplotlib()

from compare_problems import TITLES, compare  # noqa: E402
from runs import RunError, read_run  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent


def presets_of(problem, wanted):
    names = sorted(path.stem.removeprefix(problem + "_") for path in (ROOT / "configs/problems").glob(f"{problem}_*.conf"))
    for name in wanted:
        if name not in names:
            raise RunError(f"--preset {name}: {problem} has {', '.join(names)}")
    return wanted or names


def is_finished(directory):
    """True if finished or diverged: running it again would give the same result."""
    try:
        return read_run(directory).end_reason in ("finished", "diverged")
    except RunError:
        return False


def train(program, preset, directory, extra):
    """Runs a preset. Divergence is a result; other failures raise RunError."""
    command = [str(program), "problem", "--config", str(preset), "--out", str(directory), "--overwrite", "--quiet", *extra]
    print(f"{preset.stem} ...", flush=True)
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
                            check=False)
    message = (result.stdout + result.stderr).strip()
    print(f"  {message}", flush=True)
    if result.returncode != 0 and not is_finished(directory):
        raise RunError(message.removeprefix("error: "))


def main(arguments):
    extra = []
    if "--" in arguments:
        extra = arguments[arguments.index("--") + 1:]
        arguments = arguments[:arguments.index("--")]
    parser = Parser(prog="problems.py", description=__doc__)
    parser.add_argument("problem", choices=sorted(TITLES))
    parser.add_argument("--out", default="runs/problems", metavar="DIR", help="output directory of the runs and the figure (default: %(default)s)")
    parser.add_argument("--preset", action="append", default=[], metavar="NAME", help="run only this preset; may be repeated")
    parser.add_argument("--smoothing", type=float, default=0.8, metavar="X", help="see compare_problems.py")
    parser.add_argument("--train", default=str(ROOT / "train"), metavar="FILE", help="the program (default: ./train)")
    options = parser.parse_args(arguments)
    out = Path(options.out)
    directories = []
    for name in presets_of(options.problem, options.preset):
        preset = ROOT / "configs/problems" / f"{options.problem}_{name}.conf"
        directories.append(out / preset.stem)
        if not is_finished(directories[-1]):
            train(options.train, preset, directories[-1], extra)
    print(compare(directories, None, out, options.smoothing))
    return 0


if __name__ == "__main__":
    run_main(main)
