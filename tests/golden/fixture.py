"""Writes arrays in the safetensors format: 8 bytes length, JSON header, data. F64, F32 and I32 are all we need."""
import json
import struct

import numpy

TYPES = {"float64": "F64", "float32": "F32", "int32": "I32"}


def write(path, arrays):
    # Widest elements first, so that every tensor is aligned to its element in a file that is mapped.
    items = sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize)
    header, offset = {}, 0
    for name, a in items:
        header[name] = {"dtype": TYPES[a.dtype.name], "shape": list(a.shape), "data_offsets": [offset, offset + a.nbytes]}
        offset += a.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, a in items:
            file.write(numpy.ascontiguousarray(a).tobytes())
    print(f"{path}: {len(items)} arrays, {offset} bytes")
