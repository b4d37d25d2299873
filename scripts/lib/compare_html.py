"""The page of a comparison: one self-contained HTML file with a light and a dark theme."""
import base64
from html import escape

from cli import write_file

STYLE = """
:root { color-scheme: light dark; --ink: #1c1f23; --paper: #ffffff; --line: #d9dce0; --soft: #f3f4f6; }
@media (prefers-color-scheme: dark) { :root { --ink: #dddddd; --paper: #16191e; --line: #3a3f47; --soft: #20242b; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 75rem;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
img { max-width: 100%; height: auto; display: block; margin: 1rem 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { background: var(--soft); white-space: normal; vertical-align: bottom; }
td:first-child, th:first-child { text-align: left; white-space: normal; }
table.words td, table.words th { text-align: left; white-space: normal; overflow-wrap: anywhere; }
table.words td:first-child { white-space: nowrap; overflow-wrap: normal; }
tr.baseline td:first-child::after { content: " (baseline)"; opacity: .7; }
"""

ABOUT = """<p>Dots and “steps to target” show where the validation loss first reaches the target, linearly interpolated between
evaluations. With several seeds this is for the mean curve, with the range over the seeds in parentheses. “Fewer steps”
and “less time” are 1 − (series / baseline), which papers call training efficiency. Time is training time only, without
evaluation and checkpoints, on the machine below.</p>"""


def write_page(path, title, report, header, rows, captions, pictures, more_sections):
    summary = (f"Target: validation loss {report['target_val_loss']:.4f} ({report['target_is']}); "
               f"savings against {report['baseline']}.")
    notes = "".join(f"<li>{escape(note)}.</li>" for note in report["notes"])
    parts = [
        f"<h1>{escape(title)}</h1><p>{escape(summary)}</p>",
        picture(pictures["target"], "Validation loss against steps, and where each series reaches the target"),
        results_table(report, header, rows),
        ABOUT,
        "".join(f"<p>{escape(line)}</p>" for line in captions),
        f"<ul>{notes}</ul>" if notes else "",
        *more_sections,
        "<h2>All curves</h2>",
        picture(pictures["curves"], "Training and validation loss against steps, tokens and time"),
        differences_table(report),
        environment_table(report),
        runs_table(report),
    ]
    write_document(path, title, parts)


def write_document(path, title, parts):
    """Writes a page from HTML fragments; empty ones are skipped."""
    write_file(path, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                     "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
                     f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>\n"
                     + "\n".join(part for part in parts if part) + "\n</body></html>\n")


def data_uri(png):
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def picture(themes, alt):
    return (f"<picture><source media=\"(prefers-color-scheme: dark)\" srcset=\"{data_uri(themes['dark'])}\">"
            f"<img src=\"{data_uri(themes['light'])}\" alt=\"{escape(alt)}\"></picture>")


def table(header, rows, kind="", row_classes=None):
    head = "".join(f"<th>{escape(str(cell))}</th>" for cell in header)
    body = ""
    for i, row in enumerate(rows):
        mark = f" class=\"{row_classes[i]}\"" if row_classes and row_classes[i] else ""
        body += f"<tr{mark}>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>\n"
    return f"<div class=\"wide\"><table class=\"{kind}\"><tr>{head}</tr>\n{body}</table></div>"


def results_table(report, header, rows):
    classes = ["baseline" if s["label"] == report["baseline"] else "" for s in report["series"]]
    return table(header, rows, "numbers", classes)


def differences_table(report):
    labels = [s["label"] for s in report["series"]]
    differences = report["configuration_differences"]
    rows = [[name] + ["-" if values[label] is None else values[label] for label in labels]
            for name, values in differences.items()]
    if not rows:
        return ""
    return "<h2>Where the configurations differ</h2>" + table(["option", *labels], rows, "words")


def environment_table(report):
    """Values common to all series once, differing ones (such as start times) per series."""
    flat = {label: dict(flatten(environment)) for label, environment in report["environment"].items()}
    names = list(dict.fromkeys(name for values in flat.values() for name in values))
    rows = []
    for name in names:
        values = [values.get(name, "-") for values in flat.values()]
        same = len(set(values)) == 1
        rows.append([name, values[0] if same else "; ".join(f"{label}: {v}" for label, v in zip(flat, values))])
    return "<h2>Environment</h2>" + table(["what", "value"], rows, "words") if rows else ""


def flatten(value, prefix=""):
    """Nested JSON as (name.name, text) pairs."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and any(isinstance(inner, (dict, list)) for inner in value):
        for i, inner in enumerate(value):
            yield from flatten(inner, f"{prefix}[{i}]")
    else:
        yield prefix, " ".join(map(str, value)) if isinstance(value, list) else str(value)


def runs_table(report):
    rows = [[s["label"], run, seed] for s in report["series"] for run, seed in zip(s["runs"], s["seeds"])]
    return "<h2>Runs</h2>" + table(["series", "run", "seed"], rows, "words")
