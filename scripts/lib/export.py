"""A run's records as named numbers by step, for the programs that show training runs."""
import math
from datetime import datetime, timezone
from pathlib import Path

from cli import as_text
from runs import RunError, read_run

# Tags that are not KIND/KEY.
TAGS = {"val_loss": "val/loss", "bits_per_byte": "val/bits_per_byte", "step_ms": "ms/step", "tokens_per_s": "speed/tokens_per_s",
        "flops_per_s": "speed/flops_per_s", "memory_bytes": "memory/bytes", "device_memory_bytes": "memory/device_bytes"}
LEFT_OUT = {"kind", "step"}


def utf8_directory(path):
    """A directory whose name the packages can encode."""
    if as_text(path) != str(path):
        raise RunError(f"--out {as_text(path)}: the name is not UTF-8, which this package needs; give another directory")
    return Path(path)


def read_runs(paths):
    """The runs, whose names must differ: they become names of directories."""
    runs = [read_run(path) for path in paths]
    names = [run.name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise RunError(f"two runs are named {name}; export them into different places")
    return runs


def seconds_since_1970(text):
    """Of a time as ./train writes it; None for what is not one."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp()
    except (TypeError, ValueError):
        return None


def scalars(record):
    """{tag: number} of a record of training or validation; what is not a number (null: not finite) is left out."""
    found = {}
    for key, value in record.items():
        tag = TAGS.get(key, f"{record['kind']}/{key}")
        inner = {f"{key}/{name}": number for name, number in value.items()} if isinstance(value, dict) else {tag: value}
        found.update({name: number for name, number in inner.items() if key not in LEFT_OUT
                      and isinstance(number, (int, float)) and not isinstance(number, bool) and math.isfinite(number)})
    return found


def steps_of(run):
    """(step, seconds since 1970, {tag: number}) in the order of steps, training and validation of a step together. The
    times are those of the start or the resumption plus the time of training since: evaluation is not in them."""
    start = seconds_since_1970(run.environment.get("time")) or (run.path / "config.conf").stat().st_mtime
    steps, elapsed = {}, 0.0
    for record in run.records:
        if record.get("kind") == "resume":
            again = seconds_since_1970(record.get("time"))
            # Whole seconds are written: a resumption right after the stop must not seem to come before it.
            start = start if again is None else max(start, again - elapsed)
        elif record.get("kind") in ("train", "val"):
            elapsed = record.get("elapsed_s") or elapsed
            time_and_values = steps.setdefault(record["step"], (start + elapsed, {}))
            time_and_values[1].update(scalars(record))
    return [(step, when, values) for step, (when, values) in sorted(steps.items())]
