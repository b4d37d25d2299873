#!/usr/bin/env python3
"""Exports runs to Weights & Biases: to DIR/wandb/offline-run-*, which `wandb sync` uploads later, or with --online directly
to the server that wandb is logged in to.

Run again (after a run has continued), it replaces its earlier output, and the run keeps its id. Times on the server are
those of the export; train/elapsed_s has the times of the run.
"""
import argparse
import os
import shutil
import sys
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))

from cli import Parser, as_text, run_main, use_python_with  # noqa: E402
from export import read_runs, steps_of, utf8_directory  # noqa: E402


def run_id(run):
    text = f"{run.path.resolve()} {run.environment.get('time')}"
    return f"{zlib.crc32(text.encode('utf-8', 'surrogateescape')):08x}"


def write_run(run, options):
    import wandb
    steps = steps_of(run)
    quiet = wandb.Settings(console="off", silent=True, disable_git=True, _disable_stats=True, _disable_meta=True)
    target = wandb.init(project=options.project, name=run.name, id=run_id(run), dir=options.out, settings=quiet,
                        mode="online" if options.online else "offline", resume="allow" if options.online else None,
                        config={**run.config, "environment": run.environment}, save_code=False)
    for step, _, values in steps:
        target.log(values, step=step)
    place = Path(target.dir).parent
    target.finish()
    for earlier in place.parent.glob(f"offline-run-*-{run_id(run)}"):
        if earlier != place:
            shutil.rmtree(earlier)
    print(f"{run.name}: {len(steps)} steps, {place if not options.online else 'sent'}")
    return place


def main(arguments):
    parser = Parser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directories made by ./train")
    parser.add_argument("--project", default="polar", metavar="NAME", help="project of the runs (default: polar)")
    parser.add_argument("--out", default=".", metavar="DIR", help="parent of the wandb directory (default: the current directory)")
    parser.add_argument("--online", action="store_true", help="upload now")
    options = parser.parse_args(arguments)
    use_python_with("wandb")
    os.environ["WANDB_SILENT"] = "true"  # errors are still raised
    if not options.online:
        os.environ["WANDB_ERROR_REPORTING"] = "false"  # no network access when offline
    runs = read_runs(options.runs)
    sys.argv[1:] = map(as_text, arguments)  # wandb records the command line, and as UTF-8
    utf8_directory(options.out).mkdir(parents=True, exist_ok=True)
    places = [write_run(run, options) for run in runs]
    if not options.online:
        print("send with: wandb sync " + " ".join(map(str, places)))
    return 0


if __name__ == "__main__":
    run_main(main)
