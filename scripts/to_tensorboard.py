#!/usr/bin/env python3
"""Writes runs as TensorBoard event files, DIR/RUN/events...; then: tensorboard --logdir DIR

Run again (after a run has continued), it replaces the files it wrote before.
"""
import argparse
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))

from cli import Parser, run_main, use_python_with  # noqa: E402
from export import read_runs, steps_of, utf8_directory  # noqa: E402

SUFFIX = ".polar"  # marks our files


def write_events(run, out):
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    place = out / run.name
    place.mkdir(parents=True, exist_ok=True)
    steps = steps_of(run)
    # Written to a temporary directory first: readers never see a partial file, and the old one stays until then.
    aside = Path(tempfile.mkdtemp(prefix=".export-", dir=place))
    try:
        writer = EventFileWriter(str(aside), filename_suffix=SUFFIX)
        for step, when, values in steps:
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
            writer.add_event(Event(wall_time=when, step=step, summary=summary))
        writer.close()
        before = list(place.glob(f"events.out.tfevents.*{SUFFIX}"))
        new = [path.replace(place / path.name) for path in aside.iterdir()]
        for path in before:
            if path not in new:
                path.unlink()
    finally:
        shutil.rmtree(aside)
    print(f"{place}: {len(steps)} steps")


def main(arguments):
    parser = Parser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directories made by ./train")
    parser.add_argument("--out", required=True, metavar="DIR", help="output directory of the event files")
    options = parser.parse_args(arguments)
    use_python_with("tensorboard")
    out = utf8_directory(options.out)
    for run in read_runs(options.runs):
        write_events(run, out)
    return 0


if __name__ == "__main__":
    run_main(main)
