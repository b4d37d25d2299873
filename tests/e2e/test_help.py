#!/usr/bin/env python3
"""The help of every command and script, as a terminal of 80 columns shows it: no line is wider, options that several commands
share are explained in the same words, and every command is listed."""
import fcntl
import os
import re
import struct
import subprocess
import sys
import termios

from harness import ROOT, run_tests

TRAIN = os.environ.get("TRAIN", str(ROOT / "train"))
NO_HELP = {"find_python.sh"}  # prints a path; for the other scripts only
WIDTH = 80


def in_terminal(*command, columns=WIDTH, status=0):
    """What a command prints to a terminal."""
    ours, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen([*map(str, command)], stdin=subprocess.DEVNULL, stdout=its, stderr=subprocess.STDOUT,
                               env=dict(os.environ, COLUMNS=str(columns)))
    os.close(its)
    text = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not data:
            break
        text += data
    os.close(ours)
    assert process.wait() == status, (command, process.returncode, text.decode())
    return text.decode().replace("\r\n", "\n")


def commands():
    found = re.findall(r"^       train ([a-z]+) .*", in_terminal(TRAIN, "--help"), re.M)
    assert {"tokenize", "sample", "eval", "export", "polar", "problem"} <= set(found), found
    return found


def helps():
    """The help texts of ./train, by their command."""
    listed = in_terminal(TRAIN, "--help", "optimizers")
    words = [*re.findall(r"^  (\w+) ", listed, re.M), "optimizers", "rope", "steps", "lr", "sample", "e"]
    return {(): in_terminal(TRAIN, "--help"), **{(c,): in_terminal(TRAIN, c, "--help") for c in commands()},
            **{("--help", word): in_terminal(TRAIN, "--help", word) for word in words}}


def check_width(name, text, columns=WIDTH):
    wide = [line for line in text.splitlines() if len(line) > columns]
    assert not wide, f"{name} at {columns} columns:\n" + "\n".join(wide)


def test_no_line_of_a_command_is_too_wide(_):
    for command, text in helps().items():
        check_width(f"train {' '.join(command)} --help", text)
    check_width("train --help muon", in_terminal(TRAIN, "--help", "muon", columns=60), 60)


def test_no_line_of_a_script_is_too_wide(_):
    scripts = sorted([*(ROOT / "scripts").glob("*.sh"), *(ROOT / "scripts").glob("*.py")])
    assert len(scripts) > 15
    for script in scripts:
        if script.name in NO_HELP:
            continue
        assert script.suffix == ".py" or "-h | --help) usage" in script.read_text(), f"{script.name} has no --help"
        text = in_terminal(*(["bash"] if script.suffix == ".sh" else [sys.executable]), script, "--help")
        check_width(script.name, text)
        assert "usage: " in text and script.name in text, f"{script.name}: {text}"


def options(text):
    """{option: its explanation without the default}, from a help text."""
    found = {}
    for row in re.findall(r"^  --(.*(?:\n {3,}.*)*)", text, re.M):
        name, _, rest = re.sub(r"\s+", " ", row).partition(" ")
        found[name] = re.sub(r"^(?:[A-Z,.x]+|[a-z0-9-]+(?:\|[a-z0-9-]+)+) | ?\[[^]]*\]$", "", rest)
    return found


def test_shared_options_have_the_same_words(_):
    texts = helps()
    of_train = options(texts[()])
    for name in ("config", "out", "overwrite", "dry-run", "device", "threads", "clip", "steps"):
        here = options(texts[("problem",)])[name].split(";")[0]
        assert of_train[name].split(";")[0] == here and here, f"--{name}: '{of_train[name]}', problem: '{here}'"
    for command in ("sample", "eval", "polar"):
        for name in ("device", "threads"):
            assert options(texts[(command,)])[name] == of_train[name], (command, name)
    assert options(texts[("sample",)])["vocab"] == options(texts[("export",)])["vocab"] == options(texts[("eval",)])["vocab"]


def test_words(_):
    assert "the command eval: train eval --help" in in_terminal(TRAIN, "--help", "eval")
    error = in_terminal(TRAIN, "--help", "muno", status=1)
    assert error == "error: no option and no optimizer has the word 'muno' (did you mean 'muon'?); train --help lists all options\n"


if __name__ == "__main__":
    run_tests(globals())
