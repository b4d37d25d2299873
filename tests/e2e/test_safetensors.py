#!/usr/bin/env python3
"""Reads a file of our safetensors writer with nothing but the format's definition (and the safetensors package, if there is one)."""

import json
import os
import struct
import subprocess
import sys
import tempfile

PROGRAM = os.path.join(os.environ.get("BUILD", "build"), "tests/unit/base/test_safetensors")
SIZES = {"F32": 4, "F64": 8, "BF16": 2, "I32": 4}
EXPECTED = [
    ("wte.weight", "F32", [3, 5]),
    ("step", "F64", []),
    ('a "quoted\\ name é', "BF16", [1, 3, 1]),
    ("empty", "F32", [0, 7]),
    ("ids", "I32", [4]),
]


def check(data):
    (length,) = struct.unpack("<Q", data[:8])
    assert (8 + length) % 8 == 0, "the data is not aligned"
    text = data[8 : 8 + length]
    assert text[:1] == b"{"
    header = json.loads(text.decode("utf-8"))
    assert header.pop("__metadata__") == {"format": "pt"}
    assert [(name, t["dtype"], t["shape"]) for name, t in header.items()] == EXPECTED
    at = 0
    for k, (name, dtype, shape) in enumerate(EXPECTED):
        n = SIZES[dtype]
        for size in shape:
            n *= size
        assert header[name]["data_offsets"] == [at, at + n], name
        assert data[8 + length + at :][:n] == bytes(16 * k + i for i in range(n)), name
        at += n
    assert 8 + length + at == len(data)


def main():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "sample.safetensors")
        subprocess.run([PROGRAM, "--write", path], check=True)
        with open(path, "rb") as f:
            check(f.read())
        print("ok safetensors_by_definition")
        try:
            from safetensors import safe_open
        except ImportError:
            return  # a second opinion where it can be had
        with safe_open(path, framework="np") as f:
            assert f.metadata() == {"format": "pt"}
            assert sorted(f.keys()) == sorted(name for name, _, _ in EXPECTED)
            assert f.get_tensor("wte.weight").shape == (3, 5)
        print("ok safetensors_by_package")


if __name__ == "__main__":
    sys.exit(main())
