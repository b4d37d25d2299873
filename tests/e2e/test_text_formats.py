#!/usr/bin/env python3
"""`train tokenize` with files of all formats: told by name and content, decompressed, without byte order marks; refused by name
where they are not text. Tokens are bytes (--vocab bytes; 256 begins a document)."""
import ctypes
import gzip
import json
import os
import random
import subprocess
from array import array
from pathlib import Path

from harness import ROOT, run_tests

TRAIN = os.environ.get("TRAIN", str(ROOT / "train"))
DOCUMENTS = [f"document {i} about f\u00f6xes" for i in range(50)]
LINES = "".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(DOCUMENTS)).encode()
BOM = b"\xef\xbb\xbf"


def zstd(data):
    """One zstd frame, by the library itself: Python 3.11 has no module for it."""
    library = ctypes.CDLL("libzstd.so.1")
    library.ZSTD_compressBound.restype = library.ZSTD_compress.restype = ctypes.c_size_t
    library.ZSTD_compressBound.argtypes = [ctypes.c_size_t]
    library.ZSTD_compress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
    out = ctypes.create_string_buffer(library.ZSTD_compressBound(len(data)))
    size = library.ZSTD_compress(out, len(out), data, len(data), 3)
    return out.raw[:size]


def run(folder, *arguments, stdin=None):
    command = [TRAIN, "tokenize", "--vocab", "bytes", "--overwrite", "--out", str(folder / "shards"), *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, check=False)


def tokens_of(folder, part="train"):
    tokens = array("H")
    for path in sorted(folder.glob(f"shards/text_{part}_*.bin")):
        tokens.frombytes(path.read_bytes()[1024:])
    return tokens


def tokenize(folder, name, data, *options):
    """Writes the file, tokenizes it, and gives its training tokens and what was printed."""
    path = folder / name
    path.write_bytes(data)
    done = run(folder, "--val-tokens", "0", *options, path)
    assert done.returncode == 0, (name, done.stderr)
    return tokens_of(folder), done.stdout.decode()


def refused(folder, name, data, *words, options=("--val-tokens", "0")):
    path = folder / name
    path.write_bytes(data)
    done = run(folder, *options, path)
    said = done.stderr.decode()
    assert done.returncode == 1 and said.count("\n") == 1, (name, done.returncode, said, done.stdout)
    for word in (name, *words):
        assert word in said, (name, word, said)
    assert not list(folder.glob("shards/*.bin")), "shards were left"


def wanted(*documents):
    tokens = array("H")
    for document in documents:
        tokens.append(256)
        tokens.extend(document if isinstance(document, bytes) else document.encode())
    return tokens


def test_lines_of_json_by_any_name(folder):
    for name in ("a.jsonl", "A.JSONL", "a.ndjson", "a.json", "a.Json", "a.txt", "a", "a.jsonl.gz", "a.json.zst"):
        for data in (LINES, gzip.compress(LINES), zstd(LINES), BOM + LINES, gzip.compress(BOM + LINES), b"\r\n\n" + LINES):
            tokens, said = tokenize(folder, name, data)
            assert tokens == wanted(*DOCUMENTS), name
            assert "note: read 1 of the files as lines of JSON" in said, said
            assert ("note: decompressed 1" in said) == (data[:2] == b"\x1f\x8b" or data[:4] == b"\x28\xb5\x2f\xfd"), said


def test_a_first_line_longer_than_what_is_looked_at(folder):
    long = "word " * 40000
    data = json.dumps({"text": long}).encode() + b"\n" + LINES
    assert tokenize(folder, "long", data)[0] == wanted(long, *DOCUMENTS)
    assert tokenize(folder, "long", gzip.compress(data))[0] == wanted(long, *DOCUMENTS)


def test_texts_stay_texts(folder):
    for data in (b"plain\n", b"{\n  \"a\": 1\n}\n", b"{}\n", b"{not JSON}\n{\"text\":\"x\"}\n", b"[1, 2]\n", b"\n\n{x\n", b"{",
                 b"BZh is a name\n", b"." * 256 + b"mustard\n"):  # not bzip2, not tar
        for stored in (data, gzip.compress(data), zstd(data), BOM + data):
            tokens, said = tokenize(folder, "a.txt", stored)
            assert tokens == wanted(data), data
            assert "lines of JSON" not in said, said
    assert tokenize(folder, "a.jsonl", LINES, "--format", "text")[0] == wanted(LINES)
    assert tokenize(folder, "a.bin", b"a\0b", "--format", "text")[0] == wanted(b"a\0b")


def test_validation_is_the_end_of_a_compressed_text(folder):
    text = "".join(f"line {i} of a \u4e2d\u6587 text\n" for i in range(60000)).encode()  # more than one unit
    for size in (len(text), 1001, 1002, 1003, 1004, 1005, 40):
        plain = folder / "plain.txt"
        plain.write_bytes(text[:size])
        assert run(folder, "--val-fraction", "0.3", plain).returncode == 0
        train, val = tokens_of(folder), tokens_of(folder, "val")
        parts = bytes(list(train[1:])), bytes(list(val[1:]))
        assert train[0] == val[0] == 256 and b"".join(parts) == text[:size]
        assert 0 <= len(parts[1]) - int(0.3 * size) < 3
        assert parts[1][0] & 0xC0 != 0x80, "a character was cut"
        for name, data in (("text.gz", gzip.compress(text[:size])), ("text.zst", zstd(text[:size]))):
            (folder / name).write_bytes(data)
            assert run(folder, "--val-fraction", "0.3", folder / name).returncode == 0
            assert tokens_of(folder) == train and tokens_of(folder, "val") == val, name


def test_members_frames_and_padding(folder):
    half = len(LINES) // 2
    for data in (gzip.compress(LINES[:half]) + gzip.compress(LINES[half:]), gzip.compress(LINES) + bytes(512),
                 gzip.compress(b"") + gzip.compress(LINES), zstd(LINES[:half]) + zstd(LINES[half:]),
                 b"\x50\x2a\x4d\x18\x04\0\0\0skip" + zstd(LINES)):
        assert tokenize(folder, "parts", data)[0] == wanted(*DOCUMENTS)


def test_standard_input(folder):
    for data in (LINES, gzip.compress(LINES), zstd(LINES), BOM + LINES):
        done = run(folder, "--val-tokens", "0", "-", stdin=data)
        assert done.returncode == 0, done.stderr
        assert tokens_of(folder) == wanted(*DOCUMENTS)
    # A pipe that gives its bytes one at a time.
    command = [TRAIN, "tokenize", "--overwrite", "--val-tokens", "0", "--out", str(folder / "shards"), "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as slow:
        for i in range(20):
            slow.stdin.write(gzip.compress(LINES)[i : i + 1])
            slow.stdin.flush()
        slow.stdin.write(gzip.compress(LINES)[20:])
        slow.stdin.close()
        assert slow.wait() == 0
    assert tokens_of(folder) == wanted(*DOCUMENTS)


def test_what_is_not_text_is_refused_by_name(folder):
    text = "line of a text\n" * 100
    refused(folder, "u16.txt", text.encode("utf-16"), "UTF-16", "iconv -f UTF-16")
    refused(folder, "u16be.txt", b"\xfe\xff" + text.encode("utf-16-be"), "UTF-16")
    refused(folder, "u32.txt", text.encode("utf-32"), "UTF-32")
    refused(folder, "u16le.txt", text.encode("utf-16-le"), "zero byte at 1", "UTF-16 or binary")
    refused(folder, "u16.jsonl", LINES.decode().encode("utf-16"), "UTF-16")
    refused(folder, "a.parquet", b"PAR1" + bytes(100), "Parquet", "to_json")
    refused(folder, "a.txt.xz", b"\xfd7zXZ\0" + bytes(100), "xz", "xzcat FILE | train tokenize")
    refused(folder, "a.bz2", b"BZh91AY&SY" + bytes(100), "bzip2", "bzcat")
    refused(folder, "a.zip", b"PK\x03\x04" + bytes(100), "zip archive")
    refused(folder, "a.tar.gz", gzip.compress(bytes(257) + b"ustar\0" + bytes(300)), "tar archive")
    refused(folder, "a.npy", b"\x93NUMPY" + bytes(100), "NumPy")
    refused(folder, "s.bin", (20240520).to_bytes(4, "little") + bytes(1020), "token shard", "--train-data")
    refused(folder, "w.bin", (20240801).to_bytes(4, "little") + bytes(1020), "token shard")
    refused(folder, "array.json", b"[\n" + LINES.replace(b"\n", b",\n"), "JSON array", "jq -c")
    refused(folder, "pretty.json", json.dumps({"text": "x"}, indent=2).encode(), "line 1: bad JSON at byte 1")
    refused(folder, "u16.gz", gzip.compress(text.encode("utf-16")), "UTF-16")


def test_damaged_compression_is_refused(folder):
    draw = random.Random(3)
    noise = "".join(chr(draw.randrange(32, 127)) for _ in range(200000)).encode()
    for name, pack in (("a.gz", gzip.compress), ("a.zst", zstd)):
        data = pack(noise)
        refused(folder, name, data[: len(data) // 2], "cut short")
        refused(folder, name, data[:-1], "cut short")
        refused(folder, name, data + b"garbage behind it", "corrupt")
        refused(folder, name, data[:20] + bytes(1000) + data[1020:], "corrupt")
        refused(folder, name, data[: len(data) // 2], "cut short", options=("--val-fraction", "0.1"))


def test_documents_without_text_are_counted(folder):
    odd = b'{"text":null}\n{"id":7}\n{"text":""}\n'
    tokens, said = tokenize(folder, "a.jsonl", LINES + odd + LINES)
    assert tokens == wanted(*DOCUMENTS, *DOCUMENTS)
    assert "skipped 3 of 103 documents: their text is missing, null or empty" in said, said
    bad = b'{"text":5}\n{"text":"cut off\n[]\n'
    tokens, said = tokenize(folder, "a.jsonl", LINES + odd + bad, "--on-bad-document", "skip")
    assert tokens == wanted(*DOCUMENTS)
    assert "skipped 3 lines that are not JSON objects with a text" in said, said
    refused(folder, "a.jsonl", LINES + bad, "line 51", '"text" is a number', "--field", "--on-bad-document skip")
    refused(folder, "a.jsonl", LINES + odd, "line 51", "missing, null or empty",
            options=("--val-tokens", "0", "--on-bad-document", "stop"))
    done = run(folder, "--val-tokens", "0", "--field", "content", folder / "a.jsonl")  # 50 documents: too few to stop early
    assert done.returncode == 1 and b"no document has a text" in done.stderr and b"--field" in done.stderr, done.stderr
    refused(folder, "a.jsonl", LINES * 100, "none of its first 5000 objects has a text", options=("--val-tokens", "0", "--field", "content"))


def test_missing_libraries_are_named(folder):
    """A folder with broken libraries of these names stands in for a machine without them."""
    (folder / "none").mkdir()
    for name in ("libz.so.1", "libzstd.so.1"):
        (folder / "none" / name).write_bytes(b"no library")
    for name, data, words in (("a.gz", gzip.compress(LINES), ("zlib1g", "zcat FILE |")),
                              ("a.zst", zstd(LINES), ("libzstd1", "zstdcat FILE |"))):
        (folder / name).write_bytes(data)
        done = subprocess.run([TRAIN, "tokenize", "--val-tokens", "0", "--out", str(folder / "s"), str(folder / name)],
                              capture_output=True, check=False, env={**os.environ, "LD_LIBRARY_PATH": str(folder / "none")})
        said = done.stderr.decode()
        assert done.returncode == 1 and said.count("\n") == 1, said
        assert all(word in said for word in words), said


run_tests(globals())
