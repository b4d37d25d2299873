"""Reads the records of ./train --diagnose: RUN/diagnostics.jsonl."""
from dataclasses import dataclass

import numpy as np

from compare import Series, comparable_config, label_series
from runs import RunError, parse_record, read_run

OBJECTS = ("gradient", "momentum", "update")
PARTS = {"token embedding": "embedding", "head": "head", "hidden matrix": "hidden"}  # plotted roles, in this order
PERCENTS = np.array([0, 1, 5, 10, 25, 50, 75, 90, 95, 99, 100])  # percentages of the recorded quantiles
LISTS = (("singular_values", "singular_quantiles"), ("row_norms", "row_norm_quantiles"))  # only with --diagnose-spectrum; always
NUMBERS = ("condition", "nuclear", "stable_rank", "row_norm_mean", "row_norm_cv", "alignment")  # of every object


@dataclass
class Diagnosed(Series):
    """One run with its records, by step and matrix."""

    steps: dict = None

    def values(self, part, of, key):
        """(steps, values): `key` of all matrices of a part, at the steps that have it; null becomes NaN."""
        steps, rows = [], []
        for step, matrices in self.steps.items():
            found = [m[of][key] for m in matrices.values() if PARTS.get(m["role"]) == part and of in m]
            if found:
                steps.append(step)
                rows.append(np.array(found, dtype=float))
        return steps, rows

    def count(self, part):
        return max((sum(PARTS.get(m["role"]) == part for m in matrices.values()) for matrices in self.steps.values()), default=0)


def is_number(value):
    return value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)


def check_record(record, where):
    """Rejects a record that lacks a required field."""
    try:
        good = isinstance(record["step"], int) and all(isinstance(record[key], str) for key in ("matrix", "role", "optimizer"))
        good = good and isinstance(record["layer"], int)
        for of in OBJECTS:
            if of not in record and of != "gradient":
                continue
            good = good and all(is_number(record[of][key]) for key in NUMBERS)
            for values, quantiles in LISTS:
                good = good and len(record[of][quantiles]) == len(PERCENTS)
                good = good and all(map(is_number, record[of][quantiles])) and all(map(is_number, record[of].get(values, [])))
    except (KeyError, TypeError):
        good = False
    if not good:
        raise RunError(f"{where}: not a record of --diagnose")


def read_diagnostics(run):
    """The records of a run by step and matrix. For steps that a resumed run repeated, the last record counts."""
    path = run.path / "diagnostics.jsonl"
    if not path.is_file():
        raise RunError(f"{run.path}: has no diagnostics.jsonl; train with --diagnose N")
    steps = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").split("\n"), 1):
        record = parse_record(line)  # None: end of file, or truncated by a crash
        if isinstance(record, dict) and record.get("kind") == "matrix":
            check_record(record, f"{path} line {number}")
            steps.setdefault(record["step"], {})[record["matrix"]] = record
    if not steps:
        raise RunError(f"{path}: no diagnostics yet")
    return dict(sorted(steps.items()))


def read_series(paths, labels):
    series = []
    for path in paths:
        run = read_run(path)
        if any(run.path.resolve() == other.runs[0].path.resolve() for other in series):
            raise RunError(f"{run.path}: given twice")
        series.append(Diagnosed("", [run], comparable_config(run), steps=read_diagnostics(run)))
    label_series(series, labels)
    return series


def distribution(stats, values, quantiles):
    """(percentage, value), values descending: all values if the run recorded them, else the quantiles."""
    if values in stats:
        y = np.sort(np.array(stats[values], dtype=float))[::-1]
        return 100 * (np.arange(len(y)) + 0.5) / len(y), y
    return 100 - PERCENTS[::-1], np.array(stats[quantiles], dtype=float)[::-1]
