#!/usr/bin/env python3
"""The script that gets the corpus: its reader of R's files on files made here, and what it does without any source."""

import os
import struct
import subprocess
import sys
import tempfile
import zlib

SCRIPTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts")
sys.path.insert(0, SCRIPTS)
sys.dont_write_bytecode = True
import austen


def r_strings(lines, version=3):
    """A vector of strings as R serializes it (R Internals, 1.8)."""
    out = b"X\n" + struct.pack(">iii", version, 0x040201, 0x030500)
    if version == 3:
        out += struct.pack(">i", 5) + b"UTF-8"
    out += struct.pack(">ii", 16, len(lines))
    for line in lines:
        if line is None:
            out += struct.pack(">ii", 9, -1)
            continue
        ascii_only = line.isascii()
        data = line.encode("ascii" if ascii_only else "latin-1")
        out += struct.pack(">ii", 9 | (0x40 if ascii_only else 0x04) << 12, len(data)) + data
    return out


def chunk(data):
    return struct.pack(">I", len(data)) + zlib.compress(data)


def refused(database):
    try:
        list(austen.read_database(database))
    except (austen.Unavailable, ValueError):
        return True
    return False


def test_database():
    texts = [["EMMA", "", "été"], [None, "x"], []]
    database = b"".join(chunk(r_strings(t, 2 + i % 2)) for i, t in enumerate(texts))
    assert list(austen.read_database(database)) == [["EMMA", "", "été"], ["", "x"], []]


def test_bad_databases():
    good = chunk(r_strings(["EMMA", "by Jane Austen"]))
    for n in range(1, len(good)):
        assert refused(good[:n]), n
    assert refused(good + b"xy")
    assert refused(chunk(b"RDX3\n"))
    assert refused(chunk(b"X\n" + struct.pack(">iiiii", 2, 0, 0, 13, 1)))  # integers
    assert refused(chunk(b"X\n" + struct.pack(">iiiiiii", 2, 0, 0, 16, 1, 9, 1 << 30)))  # longer than the file


def test_gutenberg():
    page = "\ufeffHeader\r\n*** START OF THE PROJECT GUTENBERG EBOOK EMMA ***\r\n\r\nEmma\r\nText\r\n\r\n*** END OF THE\r\nlicence\r\n"
    assert austen.strip_gutenberg(page) == "Emma\nText\n"


def run(folder):
    # No programs on the path and no network: neither source can be had.
    environment = {"PATH": "/nonexistent", "https_proxy": "http://127.0.0.1:9"}
    script = os.path.join(SCRIPTS, "austen.py")
    return subprocess.run([sys.executable, script, folder], env=environment, capture_output=True, text=True)


def test_no_source():
    if os.path.exists("/" + austen.DATABASE):
        return "the package is installed here"
    with tempfile.TemporaryDirectory() as folder:
        done = run(os.path.join(folder, "out"))
        assert done.returncode == 1 and done.stdout == ""
        assert done.stderr.count("\n") == 1 and austen.PACKAGE in done.stderr, done.stderr
        assert os.listdir(folder) == []


def test_present():
    with tempfile.TemporaryDirectory() as folder:
        for name in austen.NOVELS:
            open(os.path.join(folder, name + ".txt"), "w").close()
        done = run(folder)
        assert done.returncode == 0 and done.stderr == ""


def main():
    failed = 0
    for test in (test_database, test_bad_databases, test_gutenberg, test_no_source, test_present):
        name = test.__name__.replace("test_", "austen_")
        try:
            why = test()
        except Exception as e:  # whatever goes wrong is a failed test
            print(f"FAILED {name}\n{type(e).__name__}: {e}")
            failed += 1
        else:
            print(f"skipped {name}: {why}" if why else f"ok {name}")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
