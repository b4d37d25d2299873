#!/usr/bin/env python3
"""usage: unicode_table.py >data/tokenizer/unicode_table.c

Generates the table of letters, numbers and white space, that of Unicode 16.0.0,
as used by tiktoken 0.14. Needs the package unicodedata2 16.0.0, or a Python
whose own unicodedata has that version.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))

from cli import answer_help  # noqa: E402

answer_help(__doc__)

try:
    import unicodedata2 as unicodedata
except ImportError:
    import unicodedata

VERSION = "16.0.0"
# The property White_Space (PropList.txt), unchanged since Unicode 6.3; str.isspace() differs from it.
SPACES = [*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]


def char_class(code):
    if code in SPACES:
        return 3
    return {"L": 1, "N": 2}.get(unicodedata.category(chr(code))[0], 0)


def main():
    if unicodedata.unidata_version != VERSION:
        sys.exit(f"error: this Python has Unicode {unicodedata.unidata_version}; pip install unicodedata2=={VERSION}")
    starts, previous = [], None
    for code in range(0x110000):
        now = char_class(code)
        if now != previous:
            starts.append(code << 2 | now)
            previous = now
    print(f"// Made by scripts/unicode_table.py from Unicode {VERSION}.")
    print('#include "data/tokenizer/unicode.h"\n')
    print("const int unicode_n_ranges = %d;\n" % len(starts))
    print("// Ranges of code points: 4 times the first code point plus its CharClass. A range ends where the next begins.")
    print("// clang-format off")
    print("const uint32_t unicode_ranges[] = {")
    for i in range(0, len(starts), 10):
        print("    " + ", ".join(f"0x{s:X}" for s in starts[i : i + 10]) + ",")
    print("};")


if __name__ == "__main__":
    main()
