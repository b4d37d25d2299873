"""What the scripts' command lines share: an error is one line on standard error and exit status 1; a script goes on under
a Python that has what it needs."""
import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Parser(argparse.ArgumentParser):
    def error(self, message):
        print(f"error: {message}; see {self.prog} --help", file=sys.stderr)
        sys.exit(1)


def print_rows(header, rows):
    """A table of texts: the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, ["-" * w for w in widths], *rows]:
        print("  ".join([row[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(row[1:], widths[1:])]).rstrip())


def has_modules(*modules):
    return all(importlib.util.find_spec(module) is not None for module in modules)


def use_python_with_matplotlib():
    """Goes on under a Python that has numpy and matplotlib when this one does not (pyenv, conda, venv)."""
    if has_modules("numpy", "matplotlib"):
        return
    found = subprocess.run(["bash", str(ROOT / "scripts/find_python.sh")], stdout=subprocess.PIPE, text=True, check=False)
    if found.returncode != 0:
        sys.exit(1)
    python = found.stdout.strip()
    os.execv(python, [python, *sys.argv])


def use_python_with(module):
    """Goes on under the Python of .venv when this one does not have the module; the end where neither has it."""
    if has_modules(module):
        return
    python = ROOT / ".venv/bin/python"
    # In .venv sys.executable is that very path, though it is a link to another Python.
    if python.exists() and Path(sys.executable) != python:
        os.execv(python, [str(python), *sys.argv])
    sys.exit(f"error: the Python package {module} is not installed; pip install {module}, or scripts/setup.sh peers")
