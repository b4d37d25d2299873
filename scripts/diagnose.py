#!/usr/bin/env python3
"""Plots the records of ./train --diagnose: the singular values and row norms of one matrix's update under every optimizer,
and condition numbers and nuclear norms of gradient, momentum and update during training.

Writes DIR/diagnose.json, DIR/diagnose.html (self-contained) and the figures, and prints the table of medians.
"""
import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))

from cli import Parser, as_text, print_rows, run_main, use_python_with_matplotlib, write_file  # noqa: E402

use_python_with_matplotlib()

import numpy as np  # noqa: E402

from compare import differing_options  # noqa: E402
from diagnostics import OBJECTS, PARTS, read_series  # noqa: E402
from runs import RunError  # noqa: E402

COLUMNS = [("gradient", "condition", "{:.3g}"), ("gradient", "nuclear", "{:.3g}"), ("gradient", "stable_rank", "{:.2f}"),
           ("momentum", "condition", "{:.3g}"), ("update", "condition", "{:.3g}"), ("update", "stable_rank", "{:.2f}"),
           ("update", "row_norm_cv", "{:.3f}"), ("update", "alignment", "{:+.3f}")]


def choose_matrix(series, name, step):
    """Chooses the matrix and the step to plot. Default: the first MLP matrix of the middle layer (else its first matrix), at
    the last step that all runs have."""
    common = [s for s in series[0].steps if all(s in one.steps for one in series)]
    if step is not None and step not in common:
        raise RunError(f"--step {step}: not recorded in every run; steps recorded in all: {', '.join(map(str, common)) or 'none'}")
    if not common:
        raise RunError("no step was recorded in every run; train all runs with the same --diagnose N")
    step = common[-1] if step is None else step
    here = [m for m in series[0].steps[step].values() if all("update" in one.steps[step].get(m["matrix"], {}) for one in series)]
    names = [m["matrix"] for m in here]
    if name is not None and name not in names:
        raise RunError(f"--matrix {name}: no update recorded at step {step} in every run; available matrices: {', '.join(names) or 'none'}")
    if name is None:
        hidden = [m for m in here if PARTS.get(m["role"]) == "hidden"]
        if not hidden:
            raise RunError(f"no hidden matrix has an update recorded at step {step} in every run; give --matrix NAME or --step N")
        layers = sorted({m["layer"] for m in hidden})
        middle = [m["matrix"] for m in hidden if m["layer"] == layers[len(layers) // 2]]
        name = next((n for n in middle if ".mlp." in n), middle[0])
    return name, step


def median(rows):
    values = np.concatenate(rows) if rows else np.array([])
    values = values[np.isfinite(values)]
    return float(np.median(values)) if values.size else None


def build_report(series, name, step):
    differing = differing_options(series)
    rows = []
    for one in series:
        for part in PARTS.values():
            if one.count(part):
                medians = {f"{of} {key}": median(one.values(part, of, key)[1]) for of, key, _ in COLUMNS}
                rows.append({"series": one.label, "matrices": part, "count": one.count(part), **medians})
    return {
        "figure": {"matrix": name, "step": step,
                   "series": {one.label: {key: one.steps[step][name]["update"][key] for key in ("condition", "row_norm_cv")} for one in series}},
        "medians": rows,
        "series": [{"label": one.label, "runs": [as_text(one.runs[0].path)], "seeds": [one.runs[0].seed], "steps": list(one.steps)}
                   for one in series],
        "configuration_differences": {n: {one.label: one.config.get(n) for one in series} for n in differing},
        "environment": {one.label: one.runs[0].environment for one in series},
    }


def table_rows(report):
    header = ["series", "matrices"] + [f"{of} {column_label(key)}" for of, key, _ in COLUMNS]
    rows = []
    for row in report["medians"]:
        cells = [row["series"], row["matrices"] + (f" ({row['count']})" if row["count"] > 1 else "")]
        for of, key, form in COLUMNS:
            value = row[f"{of} {key}"]
            cells.append("-" if value is None else form.format(value))
        rows.append(cells)
    return header, rows


def column_label(key):
    return {"condition": "κ", "nuclear": "nuclear norm", "stable_rank": "stable rank", "row_norm_cv": "row CV"}.get(key, key)


ABOUT = """<p>Medians over the steps and the matrices. κ: largest singular value / (smallest + 1e-12). Stable rank: Frobenius norm² /
largest singular value². Row CV: standard deviation of the row norms over their mean. Alignment: cosine of the angle between
update and weight. The gradient is taken before clipping; AdamW’s momentum is its first moment; the update is what the step
subtracted from the weights, divided by the learning rate, without decoupled weight decay. For a rank-deficient matrix (an
embedding with fewer distinct tokens than columns), κ shows only the rank deficiency.</p>"""


def write_report(out, title, series, report):
    from compare_html import differences_table, environment_table, picture, runs_table, table, write_document
    from diagnose_plot import plot_matrix, plot_traces
    out.mkdir(parents=True, exist_ok=True)
    write_file(out / "diagnose.json", json.dumps(report, indent=1) + "\n")
    figure = report["figure"]
    plots = {"update": lambda theme: plot_matrix(series, figure["matrix"], figure["step"], title, theme)}
    for of in OBJECTS:
        plots[f"traces_{of}"] = lambda theme, of=of: plot_traces(series, of, title, theme)
    pictures = {name: {theme: plot(theme) for theme in ("light", "dark")} for name, plot in plots.items()}
    for name, themes in pictures.items():
        write_file(out / f"{name}.png", themes["light"])
    from html import escape
    parts = [f"<h1>{escape(title)}</h1>",
             picture(pictures["update"], "Singular values and row norms of the update, one panel per optimizer"),
             table(*table_rows(report), "numbers"), ABOUT]
    for of in OBJECTS:
        parts += [f"<h2>The {of} during training</h2>",
                  picture(pictures[f"traces_{of}"], f"Condition number and nuclear norm of the {of} against steps")]
    write_document(out / "diagnose.html", title,
                   [*parts, differences_table(report), environment_table(report), runs_table(report)])
    return [out / f"{name}.png" for name in pictures]


def parse_arguments(arguments):
    parser = Parser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directories made by ./train --diagnose N")
    parser.add_argument("--out", required=True, metavar="DIR", help="output directory of the report")
    parser.add_argument("--matrix", metavar="NAME", help="matrix to plot (default: an MLP matrix of the middle layer)")
    parser.add_argument("--step", type=int, metavar="N", help="step to plot (default: the last one that all runs have)")
    parser.add_argument("--label", action="append", metavar="TEXT", help="label of a run; once per run, in the same order")
    parser.add_argument("--title", default="Diagnostics of training runs", help="title of the page and the figures")
    return parser.parse_args(arguments)


def main(arguments):
    options = parse_arguments(arguments)
    series = read_series(options.runs, options.label)
    report = build_report(series, *choose_matrix(series, options.matrix, options.step))
    pictures = write_report(Path(options.out), options.title, series, report)
    print_rows(*table_rows(report))
    print("\nPictures: " + " ".join(map(str, pictures)) + f"\nPage:     {Path(options.out) / 'diagnose.html'}")
    return 0


if __name__ == "__main__":
    run_main(main)
