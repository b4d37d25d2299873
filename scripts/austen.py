#!/usr/bin/env python3
"""usage: austen.py OUT_DIR

Downloads the six novels of Jane Austen (public domain, 4.03 MB) as plain text,
one file each: a corpus for a first run.

Sources, in this order: the Debian package r-cran-janeaustenr (installed, else
downloaded with apt-get and unpacked without installing it; no R is needed),
then Project Gutenberg. Does nothing if the files exist.
Needs only Python's standard library.
"""

import os
import struct
import subprocess
import sys
import tempfile
import urllib.request
import zlib

PACKAGE = "r-cran-janeaustenr"
DATABASE = "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb"

# file name: (title in the first line, number at Project Gutenberg, smallest plausible size in bytes)
NOVELS = {
    "emma": ("EMMA", 158, 850_000),
    "mansfield_park": ("MANSFIELD PARK", 141, 850_000),
    "northanger_abbey": ("NORTHANGER ABBEY", 121, 400_000),
    "persuasion": ("PERSUASION", 105, 430_000),
    "pride_and_prejudice": ("PRIDE AND PREJUDICE", 1342, 650_000),
    "sense_and_sensibility": ("SENSE AND SENSIBILITY", 161, 650_000),
}


class Unavailable(Exception):
    """The reason why a source cannot be used."""


class RReader:
    """Reads string vectors in R's serialization format (XDR, versions 2 and 3)."""

    def __init__(self, data):
        self.data, self.at = data, 0
        if self.take(2) != b"X\n":
            raise Unavailable("not an XDR serialization")
        version, _, _ = self.int(), self.int(), self.int()
        if version == 3:
            self.take(self.int())  # the native encoding
        elif version != 2:
            raise Unavailable(f"serialization version {version}")

    def take(self, n):
        if n < 0 or self.at + n > len(self.data):
            raise Unavailable("a truncated serialization")
        self.at += n
        return self.data[self.at - n : self.at]

    def int(self):
        return struct.unpack(">i", self.take(4))[0]

    def chars(self):
        flags = self.int()
        if flags & 255 != 9:
            raise Unavailable(f"an R object of type {flags & 255} where a string was expected")
        length = self.int()
        latin1 = flags >> 12 & 4
        return "" if length == -1 else self.take(length).decode("latin-1" if latin1 else "utf-8")

    def strings(self):
        flags = self.int()
        if flags & 255 != 16:
            raise Unavailable(f"an R object of type {flags & 255} where a vector of strings was expected")
        return [self.chars() for _ in range(self.int())]  # attributes may follow; they are ignored


def read_database(data):
    """The string vectors of an R lazy-load database: a sequence of (big-endian length, zlib stream)."""
    at = 0
    while at < len(data):
        stream = zlib.decompressobj()
        if at + 4 > len(data):
            raise Unavailable("a truncated database")
        try:
            text = stream.decompress(data[at + 4 :])
        except zlib.error as e:
            raise Unavailable(f"a database that is not zlib-compressed ({e})") from e
        length = struct.unpack(">I", data[at : at + 4])[0]
        if not stream.eof or len(text) != length:
            raise Unavailable("a truncated database")
        yield RReader(text).strings()
        at = len(data) - len(stream.unused_data)


def novels_from_database(path):
    texts = {}
    with open(path, "rb") as f:
        for lines in read_database(f.read()):
            for name, (title, _, _) in NOVELS.items():
                if lines and lines[0].strip().upper() == title:
                    texts[name] = "\n".join(lines) + "\n"
    return texts


def novels_from_debian():
    if os.path.exists("/" + DATABASE):
        return novels_from_database("/" + DATABASE)
    with tempfile.TemporaryDirectory() as folder:
        for command in (["apt-get", "download", PACKAGE], ["sh", "-c", "dpkg-deb -x ./*.deb ."]):
            try:
                done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
            except (OSError, subprocess.TimeoutExpired) as e:
                raise Unavailable(f"{command[0]}: {e}") from e
            if done.returncode != 0:
                last = (done.stderr.strip() or "failed").splitlines()[-1]
                raise Unavailable(f"{' '.join(command[:2])}: {last}")
        return novels_from_database(os.path.join(folder, DATABASE))


def strip_gutenberg(text):
    """The text between the lines *** START OF ... *** and *** END OF ... ***."""
    lines = text.lstrip("\ufeff").replace("\r\n", "\n").split("\n")
    starts = [i for i, line in enumerate(lines) if line.startswith("*** START OF")]
    ends = [i for i, line in enumerate(lines) if line.startswith("*** END OF")]
    if not starts or not ends:
        raise Unavailable("a page without the markers of a Project Gutenberg text")
    return "\n".join(lines[starts[0] + 1 : ends[-1]]).strip() + "\n"


def novels_from_gutenberg():
    texts = {}
    for name, (_, number, _) in NOVELS.items():
        url = f"https://www.gutenberg.org/cache/epub/{number}/pg{number}.txt"
        try:
            with urllib.request.urlopen(url, timeout=60) as reply:
                texts[name] = strip_gutenberg(reply.read().decode("utf-8"))
        except (OSError, ValueError) as e:
            raise Unavailable(f"{url}: {e}") from e
    return texts


def check(texts):
    for name, (_, _, least) in NOVELS.items():
        size = len(texts.get(name, "").encode())
        if not least <= size <= 2 * least:
            raise Unavailable(f"{name} has {size} bytes, which is not the whole novel")


def write(texts, folder):
    os.makedirs(folder, exist_ok=True)
    for name in NOVELS:
        path = os.path.join(folder, name + ".txt")
        with open(path + ".part", "w", encoding="utf-8", newline="\n") as f:
            f.write(texts[name])
            f.flush()
            os.fsync(f.fileno())
        os.replace(path + ".part", path)


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__.strip())
        return 0 if sys.argv[1:] in (["-h"], ["--help"]) else 1
    folder = sys.argv[1]
    if all(os.path.exists(os.path.join(folder, name + ".txt")) for name in NOVELS):
        return 0
    problems = []
    for source, get in (("Debian", novels_from_debian), ("Project Gutenberg", novels_from_gutenberg)):
        try:
            texts = get()
            check(texts)
        except (Unavailable, OSError, ValueError) as e:
            problems.append(f"{source}: {e}")
            continue
        try:
            write(texts, folder)
        except OSError as e:
            print(f"error: cannot write to {folder}: {e}", file=sys.stderr)
            return 1
        print(f"{folder}: six novels of Jane Austen, {sum(len(t.encode()) for t in texts.values()):,} bytes, from {source}")
        return 0
    print(
        f"error: cannot download the novels of Jane Austen ({'; '.join(problems)}); install them with `apt-get update && "
        f"apt-get install {PACKAGE}`, or use your own text",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
