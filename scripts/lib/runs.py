#!/usr/bin/env python3
"""Reads run directories written by ./train (config.conf, environment.json, metrics.jsonl). Needs only Python.

`runs.py status DIR` prints `absent`, `finished` or `unfinished STEP of STEPS`.
"""
import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from cli import UserError, as_text, run_main


class RunError(UserError):
    """A one-line description of what is wrong with a run directory."""


@dataclass
class Curve:
    """Losses in step order; elapsed is the training time so far in seconds, without evaluation."""

    step: list = field(default_factory=list)
    tokens: list = field(default_factory=list)
    loss: list = field(default_factory=list)
    elapsed: list = field(default_factory=list)

    def append(self, step, tokens, loss, elapsed):
        self.step.append(step)
        self.tokens.append(tokens)
        self.loss.append(loss)
        self.elapsed.append(elapsed)

    def truncate(self, step):
        """Drops the records from `step` on, since a resumed run repeats the steps after its checkpoint."""
        keep = len(self.step)
        while keep and self.step[keep - 1] >= step:
            keep -= 1
        for values in (self.step, self.tokens, self.loss, self.elapsed):
            del values[keep:]


@dataclass
class Run:
    path: Path
    config: dict
    environment: dict
    train: Curve = field(default_factory=Curve)
    val: Curve = field(default_factory=Curve)
    bits_per_byte: float = math.nan  # of the last evaluation
    tokens_per_s: list = field(default_factory=list)
    optimizer_ms: list = field(default_factory=list)
    end_reason: str = ""
    torn_lines: int = 0
    records: list = field(default_factory=list)  # the records of metrics.jsonl, each step once

    @property
    def name(self):
        return as_text(self.path.resolve().name)

    @property
    def seed(self):
        return self.config.get("seed", "")

    @property
    def last_step(self):
        return max(self.train.step[-1:] + self.val.step[-1:] + [0])

    @property
    def planned_steps(self):
        try:
            return int(self.config.get("steps", ""))
        except ValueError:
            return None

    @property
    def finished(self):
        """True if it did all its steps or reached its --target-loss, so that there is nothing to resume."""
        return self.end_reason in ("finished", "target")


STEP_KINDS = ("train", "val", "resume", "problem")  # records that must have a step
ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}


def parse_value(text):
    """Parses a configuration value like ./train: plain text up to a comment, or quoted with escapes."""
    if not text.startswith('"'):
        return re.split(r"(?:^|\s)#", text, maxsplit=1)[0].strip()
    quoted = re.match(r'"((?:[^"\\]|\\.)*)"', text)
    return re.sub(r"\\(.)", lambda m: ESCAPES.get(m[1], m[1]), quoted[1]) if quoted else text


def read_config(path):
    """Reads a file of `name = value` lines with `#` comments as a dictionary of strings."""
    config = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not re.fullmatch(r"[a-z0-9.-]+", name.strip()):
            raise RunError(f"{as_text(path)}, line {number}: not NAME = VALUE; is it a configuration of ./train?")
        config[name.strip()] = parse_value(value.strip())
    return config


def _number(record, key, where, default=None):
    """A number, or NaN for null (JSON has no NaN)."""
    value = record.get(key, default)
    if value is None and key in record:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise RunError(f"{where}: \"{key}\" is {'missing' if value is None else 'not a number'}")
    return value


def parse_record(line):
    """The value of a JSON line, or None if it is invalid: truncated by a crash, or not ours."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _numbers_are_ours(value):
    """True if all integers in a value fit 64 bits: arithmetic with huge integers raises exceptions."""
    if isinstance(value, dict):
        return all(map(_numbers_are_ours, value.values()))
    if isinstance(value, list):
        return all(map(_numbers_are_ours, value))
    return not isinstance(value, int) or abs(value) < 2**63


def _check(record, where):
    """Rejects a record that no run writes, whatever its kind."""
    kind, step = record.get("kind"), record.get("step")
    if not isinstance(kind, str):
        raise RunError(f"{where}: not a record of ./train (it has no \"kind\")")
    if ("step" in record or kind in STEP_KINDS) and (isinstance(step, bool) or not isinstance(step, int) or step < 0):
        raise RunError(f"{where}: \"step\" is {'missing' if step is None else 'not a step'}")
    if not _numbers_are_ours(record):
        raise RunError(f"{where}: a number is out of range")


def _apply(run, record, where):
    """Applies one record of metrics.jsonl; unknown kinds and keys are ignored."""
    kind = record.get("kind")
    if kind == "resume":
        run.train.truncate(record["step"] + 1)
        run.val.truncate(record["step"] + 1)
        run.end_reason = ""
    elif kind == "train":
        step = _number(record, "step", where)
        run.train.truncate(step)
        run.val.truncate(step)
        run.end_reason = ""  # resumed after its end, with a longer --max-time or another target
        run.train.append(step, _number(record, "tokens", where), _number(record, "loss", where),
                         _number(record, "elapsed_s", where, math.nan))
        if "tokens_per_s" in record:
            run.tokens_per_s.append(_number(record, "tokens_per_s", where))
        if isinstance(record.get("ms"), dict) and "optimizer" in record["ms"]:
            run.optimizer_ms.append(_number(record["ms"], "optimizer", where))
    elif kind == "val":
        step = _number(record, "step", where)
        run.val.truncate(step)
        run.val.append(step, _number(record, "tokens", where), _number(record, "val_loss", where),
                       _number(record, "elapsed_s", where, math.nan))
        run.bits_per_byte = _number(record, "bits_per_byte", where, math.nan)
    elif kind == "end":
        run.end_reason = str(record.get("reason", "end"))


def _keep(records, record):
    """Appends a record and drops those it replaces, since a resumed run repeats the steps after its checkpoint."""
    kind, step = record.get("kind"), record.get("step")
    if kind in ("resume", "train", "val"):
        after = step + 1 if kind == "resume" else step
        while records and records[-1].get("step", -1) >= after and (kind == "resume" or records[-1]["step"] > step
                                                                    or records[-1]["kind"] == kind):
            records.pop()
    records.append(record)


def read_run(path):
    """Reads one run directory; raises RunError with a one-line description of what is wrong and where."""
    path = Path(path)
    if not path.is_dir():
        raise RunError(f"{path}: {'not a directory' if path.exists() else 'no such run directory'}")
    config_path, metrics_path = path / "config.conf", path / "metrics.jsonl"
    if not config_path.is_file():
        raise RunError(f"{path}: not a run directory (it has no config.conf); give a directory made by ./train --out")
    if not metrics_path.is_file():
        raise RunError(f"{path}: has no metrics.jsonl; the run has not started yet")
    try:
        config = read_config(config_path)
        environment = {}
        if (path / "environment.json").is_file():
            environment = json.loads((path / "environment.json").read_text(encoding="utf-8"))
        lines = metrics_path.read_text(encoding="utf-8", errors="replace").split("\n")
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}/environment.json: not JSON ({error})") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from None
    run = Run(path, config, environment if isinstance(environment, dict) else {})
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        record = parse_record(line)
        if not isinstance(record, dict):  # truncated by a crash; after a resume, the following lines are complete
            run.torn_lines += 1
        else:
            _check(record, f"{metrics_path} line {number}")
            _apply(run, record, f"{metrics_path} line {number}")
            _keep(run.records, record)
    return run


def main(arguments):
    if len(arguments) != 2 or arguments[0] != "status":
        raise UserError("usage: runs.py status DIR")
    directory = Path(arguments[1])
    if not directory.exists():
        print("absent")
        return 0
    try:
        run = read_run(directory)
    except RunError:
        # A run killed right after its start may lack its metrics: ./train can still resume it.
        if (directory / "config.conf").is_file() and not (directory / "metrics.jsonl").exists():
            print("unfinished 0 of ?")
            return 0
        raise
    if run.finished:
        print("finished")
    else:
        print(f"unfinished {run.last_step} of {run.planned_steps if run.planned_steps is not None else '?'}")
    return 0


if __name__ == "__main__":
    run_main(main)
