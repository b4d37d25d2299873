"""Shared command-line code of the scripts: errors are one line on standard error with exit status 1, and a script restarts
itself with a Python that has the modules it needs."""
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
    """Prints a table of strings: first column left-aligned, the others right-aligned."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, ["-" * w for w in widths], *rows]:
        print("  ".join([row[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(row[1:], widths[1:])]).rstrip())


def has_modules(*modules):
    return all(importlib.util.find_spec(module) is not None for module in modules)


def use_python_with_matplotlib():
    """Restarts with a Python that has numpy and matplotlib if this one (pyenv, conda, venv) does not."""
    if has_modules("numpy", "matplotlib"):
        return
    found = subprocess.run(["bash", str(ROOT / "scripts/find_python.sh")], stdout=subprocess.PIPE, text=True, check=False)
    if found.returncode != 0:
        sys.exit(1)
    python = found.stdout.strip()
    os.execv(python, [python, *sys.argv])


def use_python_with(module):
    """Restarts with the Python of .venv if this one lacks the module; exits with an error if both do."""
    if has_modules(module):
        return
    python = ROOT / ".venv/bin/python"
    # Inside .venv sys.executable is this very path, although it is a symbolic link.
    if python.exists() and Path(sys.executable) != python:
        os.execv(python, [str(python), *sys.argv])
    sys.exit(f"error: the Python package {module} is not installed; pip install {module}, or scripts/setup.sh peers")
