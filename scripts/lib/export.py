"""The records of a run as named scalars per step, for TensorBoard and Weights & Biases."""
import math
from datetime import datetime, timezone
from pathlib import Path

from cli import as_text
from runs import RunError, read_run

# Tags other than KIND/KEY.
TAGS = {"val_loss": "val/loss", "bits_per_byte": "val/bits_per_byte", "step_ms": "ms/step", "tokens_per_s": "speed/tokens_per_s",
        "flops_per_s": "speed/flops_per_s", "memory_bytes": "memory/bytes", "device_memory_bytes": "memory/device_bytes"}
LEFT_OUT = {"kind", "step"}


def utf8_directory(path):
    """A directory whose name the packages can encode."""
    if as_text(path) != str(path):
        raise RunError(f"--out {as_text(path)}: the name is not UTF-8, which this package needs; give another directory")
    return Path(path)


def read_runs(paths):
    """Reads runs. Their names must be distinct, since they become directory names."""
    runs = [read_run(path) for path in paths]
    names = [run.name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise RunError(f"two runs are named {name}; export them to different directories")
    return runs


def seconds_since_1970(text):
    """Unix time of a time string written by ./train; None if it is malformed."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp()
    except (TypeError, ValueError):
        return None


def scalars(record):
    """{tag: number} of a training or validation record, without non-numbers (null: not finite)."""
    found = {}
    for key, value in record.items():
        tag = TAGS.get(key, f"{record['kind']}/{key}")
        inner = {f"{key}/{name}": number for name, number in value.items()} if isinstance(value, dict) else {tag: value}
        found.update({name: number for name, number in inner.items() if key not in LEFT_OUT
                      and isinstance(number, (int, float)) and not isinstance(number, bool) and math.isfinite(number)})
    return found


def steps_of(run):
    """(step, Unix time, {tag: number}) in the order of steps, with training and validation of a step merged. The time is that
    of the start or resumption plus the training time since then, without evaluation."""
    start = seconds_since_1970(run.environment.get("time")) or (run.path / "config.conf").stat().st_mtime
    steps, elapsed = {}, 0.0
    for record in run.records:
        if record.get("kind") == "resume":
            again = seconds_since_1970(record.get("time"))
            # Times are whole seconds: a resumption right after the stop must not seem to precede it.
            start = start if again is None else max(start, again - elapsed)
        elif record.get("kind") in ("train", "val"):
            elapsed = record.get("elapsed_s") or elapsed
            time_and_values = steps.setdefault(record["step"], (start + elapsed, {}))
            time_and_values[1].update(scalars(record))
    return [(step, when, values) for step, (when, values) in sorted(steps.items())]
