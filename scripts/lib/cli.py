"""Shared command-line code of the scripts: errors are one line on standard error with exit status 1, files are replaced
atomically, and a script restarts itself with a Python that has the modules it needs."""
import argparse
import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class UserError(Exception):
    """An error the user can fix; its text says what, where and what to do."""


class HelpFormatter(argparse.HelpFormatter):
    """Wraps the paragraphs of a description to the terminal; lines that begin with a space stay as they are."""

    def _fill_text(self, text, width, indent):
        filled = []
        for paragraph in text.strip().split("\n\n"):
            verbatim = any(line.startswith(" ") for line in paragraph.splitlines())
            filled.append(paragraph if verbatim else textwrap.fill(paragraph, width, break_on_hyphens=False))
        return "\n\n".join(filled)


class Parser(argparse.ArgumentParser):
    def __init__(self, **options):
        super().__init__(formatter_class=HelpFormatter, **options)

    def error(self, message):
        raise UserError(f"{message}; see {self.prog} --help")

    def _print_message(self, message, file=None):  # argparse's own ignores write errors
        (file or sys.stderr).write(message)


def fail(message):
    print("error: " + "".join(c if c.isprintable() else " " for c in message), file=sys.stderr)
    return 1


def as_text(path):
    """Returns a path as printable text; bytes that are not UTF-8 become U+FFFD."""
    return os.fsencode(path).decode("utf-8", "replace")


def status_of(main, arguments):
    """Returns the exit status of main(arguments); user and system errors are one line on standard error and status 1."""
    try:
        try:
            status = main(arguments)
        except SystemExit as end:  # --help, or an error text
            status = fail(end.code.removeprefix("error: ")) if isinstance(end.code, str) else end.code
        sys.stdout.flush()
        return status
    except UserError as error:
        return fail(str(error))
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except OSError as error:
        return fail(f"{as_text(error.filename) if error.filename else 'cannot write standard output'}: {error.strerror}")


def run_main(main):
    """Exits with the status of main(sys.argv[1:])."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="surrogateescape")  # paths may have any bytes
    status = status_of(main, sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError:  # already reported; Python would report it again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def write_file(path, data):
    """Atomically replaces a file by text (as UTF-8) or bytes; after an error the old file is unchanged."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8", "replace"))
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None


def print_rows(header, rows):
    """Prints a table of strings: first column left-aligned, the others right-aligned."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, ["-" * w for w in widths], *rows]:
        print("  ".join([row[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(row[1:], widths[1:])]).rstrip())


def answer_help(doc):
    """Prints the documentation of a script without options, and ends it, if that is all it is asked for."""
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(doc.strip())
        sys.exit(0)


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
