#!/usr/bin/env python3
"""`train tokenize` with GPT-2's vocabulary against the tiktoken package, token by token, on whatever text this machine has
and on every character there is. Runs itself with .venv/bin/python where the package is only there."""
import functools
import glob
import gzip
import json
import os
import random
import subprocess
import sys
import unicodedata
from array import array
from pathlib import Path

from harness import ROOT, run_tests

DATA = os.environ.get("TEST_DATA")
TRAIN = os.environ.get("TRAIN", str(ROOT / "train"))
END_OF_TEXT = 50256
PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""


def load_tiktoken():
    try:
        import tiktoken
        return tiktoken
    except ImportError:
        python = str(ROOT / ".venv/bin/python")
        if os.path.exists(python) and os.environ.get("TOKENIZER_TEST") != "again":
            os.environ["TOKENIZER_TEST"] = "again"
            os.execv(python, [python, *sys.argv])
        return None


def reference():
    import base64

    ranks = {}
    with open(f"{DATA}/r50k_base.tiktoken", "rb") as file:
        for line in file:
            token, rank = line.split()
            ranks[base64.b64decode(token)] = int(rank)
    return tiktoken.Encoding("gpt2", pat_str=PATTERN, mergeable_ranks=ranks,
                             special_tokens={"<|endoftext|>": END_OF_TEXT})


def tokenize(folder, files, *options):
    command = [TRAIN, "tokenize", "--vocab", f"{DATA}/r50k_base.tiktoken", "--out", str(folder / "shards"),
               "--threads", "2", *options, *map(str, files)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    tokens = array("H")
    for path in sorted(glob.glob(f"{folder}/shards/*_train_*.bin")):
        tokens.frombytes(Path(path).read_bytes()[1024:])
    return tokens


def compare(tokens, texts):
    """tokens against what the reference makes of the documents."""
    at = 0
    for text, wanted in zip(texts, ENCODING.encode_ordinary_batch(texts, num_threads=2)):
        got = tokens[at + 1 : at + 1 + len(wanted)]
        assert tokens[at] == END_OF_TEXT, f"no document begins at token {at}"
        if got != array("H", wanted):
            i = next(i for i, (a, b) in enumerate(zip(got, wanted)) if a != b)
            near = ENCODING.decode(wanted[max(0, i - 5) : i + 5])
            raise AssertionError(f"token {i} is {got[i]} instead of {wanted[i]}, near {near!r}")
        at += 1 + len(wanted)
    assert at == len(tokens), f"{len(tokens) - at} tokens too many"


def some_text_files(limit):
    found, total = [], 0
    patterns = [f"{DATA}/*.txt", "/usr/share/i18n/locales/*", "/usr/share/doc/*/copyright", "/usr/share/doc/*/README*",
                f"{os.path.dirname(os.__file__)}/*.py", f"{os.path.dirname(os.__file__)}/*/*.py",
                "/usr/lib/python3*/**/*.py", "/usr/include/**/*.h", "/usr/share/perl/**/*.pod", "/usr/share/**/*.txt"]
    for pattern in patterns:
        for path in sorted(glob.glob(pattern, recursive=True)):
            if total < limit and len(found) < 5000 and os.path.isfile(path) and os.access(path, os.R_OK):
                size = os.path.getsize(path)
                if 0 < size < 4e6 and not path.endswith(".gz"):
                    found.append(path)
                    total += size
    return found, total


def test_texts_of_this_machine(folder):
    files, total = some_text_files(20e6)
    assert total > 5e6, f"only {total / 1e6:.1f} MB of text were found"
    tokens = tokenize(folder, files, "--val-fraction", "0", "--format", "text")
    compare(tokens, [Path(path).read_bytes().decode("utf-8", "replace") for path in files])
    print(f"{total / 1e6:.1f} MB in {len(files)} files, {len(tokens)} tokens")


@functools.lru_cache
def characters():
    """Every character of which Python's Unicode and tiktoken's know the same: versions differ in what is assigned."""
    known = [chr(c) for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
    for group in "LN":
        finder = tiktoken.Encoding("group", pat_str=rf"\p{{{group}}}", special_tokens={},
                                   mergeable_ranks={bytes([b]): b for b in range(256)})
        members = set(bytes(finder.encode_ordinary("".join(known))).decode())
        known = [c for c in known if (unicodedata.category(c)[0] == group) == (c in members)]
    assert len(known) > 250_000
    return known


def write_lines(path, texts):
    with open(path, "w", encoding="utf-8") as file:
        for i, text in enumerate(texts):  # escaped or not
            file.write(json.dumps({"id": i, "text": text}, ensure_ascii=i % 2 == 0) + "\n")


def test_every_character(folder):
    known = [c for c in characters() if unicodedata.category(c) != "Co"] + ["\ue000", "\U000f0000", "\U0010fffd"]
    texts = ["".join(f"a{c} {c}1{c}" for c in known[i : i + 1000]) for i in range(0, len(known), 1000)]
    write_lines(folder / "all.jsonl", texts)
    compare(tokenize(folder, [folder / "all.jsonl"], "--val-tokens", "0"), texts)


def test_random_unicode(folder):
    draw = random.Random(1)
    known = characters()
    spaces = [" ", " ", "  ", "\n", "\n\n", "\t", "\r\n", "\u00a0", "\u2003", "\u3000", "\u0085", "\u180e", "\u200b", "\x1c"]
    words = ["the", "'s", "'ll", "'T", "don't", "\u2019s", "x", "2024", "\u00bd", "...", "<|endoftext|>", "\u4e2d\u6587",
             "\u65e5\u672c\u8a9e\u3002", "\U0001f600", "\U0001f468\u200d\U0001f469", "e\u0301", "\u0939\u093f", "aaaaaaa", "\x00"]
    texts = []
    for _ in range(400):
        weights = [draw.random() ** 3 + 0.01 for _ in range(4)]
        makers = [lambda: draw.choice(known), lambda: draw.choice(spaces) * draw.choice([1, 1, 2, 5]),
                  lambda: draw.choice(words), lambda: chr(draw.randrange(32, 127))]
        texts.append("".join(make() for make in draw.choices(makers, weights, k=draw.randrange(4000))))
    write_lines(folder / "random.jsonl", texts)
    compare(tokenize(folder, [folder / "random.jsonl"], "--val-tokens", "0"), texts)
    whole = folder / "whole.txt"  # the same as one document, cut into units by the program
    whole.write_text("".join(texts) * 3, encoding="utf-8", newline="")
    compare(tokenize(folder, [whole], "--val-fraction", "0", "--overwrite", "--format", "text"), ["".join(texts) * 3])


def test_random_bytes(folder):
    draw = random.Random(2)
    texts = [draw.randbytes(1_500_000)]
    for n in range(1, 60):  # mostly UTF-8, with damage, also at the end
        text = bytearray("h\u00e9 \u4e2d\u6587\u3002 \U0001f600 it's\n".encode() * 40)[: -(n % 17) - 1]
        for _ in range(n):
            text[draw.randrange(len(text))] = draw.randrange(256)
        texts.append(bytes(text))
    files = [folder / f"{i:03}.bin" for i in range(len(texts))]
    for file, text in zip(files, texts):
        file.write_bytes(text)
    compare(tokenize(folder, files, "--val-fraction", "0", "--format", "text"), [text.decode("utf-8", "replace") for text in texts])


def test_long_words(folder):
    draw = random.Random(3)
    texts = ["a" * 9_000, "".join(draw.choices("abcdefgh", k=9_000)), " " * 5_000 + "x", "\n" * 4_999, "=" * 9_000 + "\n",
             "".join(draw.choices("0123456789", k=9_000)), "\u00e4\u00f6" * 3_000]
    write_lines(folder / "long.jsonl", texts)
    compare(tokenize(folder, [folder / "long.jsonl"], "--val-tokens", "0"), texts)


def is_json(line):
    try:
        return isinstance(json.loads(line.decode("utf-8", "replace")), dict)
    except ValueError:
        return False


def odd_document(draw, words):
    """A line of JSON as some tool may have written it, as bytes."""
    text = "".join(draw.choice(words) for _ in range(draw.randrange(12)))
    fields = [draw.choice(['"n": 1e400', '"n":NaN', '"n":-Infinity', '"n":123456789012345678901234567890', '"a":' + "[" * 90 + "]" * 90,
                           '"id":1,"id":2', '"o":{"text":"inner","k":[{"x":null}]}', r'"e":"\ud800 \" \\"', '"":""', '"t":true'])
              for _ in range(draw.randrange(3))]
    value = json.dumps(text, ensure_ascii=draw.random() < 0.5)
    if draw.random() < 0.03:
        value = draw.choice(["null", '""'])
    if draw.random() < 0.97:
        fields.insert(draw.randrange(len(fields) + 1), draw.choice(['"text"', r'"te\u0078t"', ' "text" ']) + ":" + value)
    if draw.random() < 0.05:
        fields.insert(0, '"text":"an earlier one"')
    line = ("{" + draw.choice([",", " , "]).join(fields) + "}").encode("utf-8", "surrogatepass")
    strings = [i for i, byte in enumerate(line) if byte in b"deow" and line[i - 1 : i] not in (b"\\", b"u")]
    if strings and draw.random() < 0.1:  # a byte that is not UTF-8, within a string
        at = draw.choice(strings) + 1
        damaged = line[:at] + bytes([draw.randrange(128, 256)]) + line[at:]
        line = damaged if is_json(damaged) else line
    return line + draw.choice([b"\n", b"\n", b"\r\n", b"  \n\n"])


def test_odd_documents(folder):
    """10,000 odd lines of JSON and texts: the tokens of tiktoken over what Python's json reads, plain, gzip and as one text."""
    draw = random.Random(7)
    words = ["the ", "word", " ", "\n\n", "\t", "\u00e9", "e\u0301", "\u4e2d\u6587", "\U0001f600", "\ud83d", "\ude00", "\ud83d\ude00x", "\x00",
             "\x7f", "\u2028", "\ufeff", "\ufffe", "\uffff", '"', "\\", "/", "<|endoftext|>", "'ll", "2024", "\U0010ffff", "\xa0"]
    lines = [odd_document(draw, words) for _ in range(10_000)]
    data, texts, empty = b"\xef\xbb\xbf" + b"".join(lines), [], 0
    for line in lines:
        text = json.loads(line.decode("utf-8", "replace")).get("text")
        if not text:
            empty += 1
            continue
        texts.append(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))  # as tiktoken does
    assert empty > 300 and any("\ufffd" in text for text in texts)
    (folder / "odd").write_bytes(data)
    (folder / "odd.gz").write_bytes(gzip.compress(data))
    for name in ("odd", "odd.gz"):
        compare(tokenize(folder, [folder / name], "--val-tokens", "0", "--format", "jsonl", "--overwrite"), texts)
        whole = data[3:].decode("utf-8", "replace")
        compare(tokenize(folder, [folder / name], "--val-fraction", "0", "--format", "text", "--overwrite"), [whole])
    # A line of JSON that Python refuses is refused, and the other way round.
    for damaged in range(300):
        line = bytearray(draw.choice(lines).strip())
        line[draw.randrange(len(line))] = draw.choice(b'"{}[],:\\x0 \x01')
        (folder / "one.jsonl").write_bytes(bytes(line) + b'\n{"text":"x"}\n')
        done = subprocess.run([TRAIN, "tokenize", "--out", str(folder / "one"), "--overwrite", "--val-tokens", "0",
                               str(folder / "one.jsonl")], capture_output=True, check=False)
        try:
            read = json.loads(bytes(line).decode("utf-8", "replace"))
            good = isinstance(read, dict) and isinstance(read.get("text"), (str, type(None)))
        except ValueError:
            good = False
        assert (done.returncode == 0) == good, (damaged, bytes(line), done.stderr)


def test_decoding_gives_the_text_back(folder):
    text = "".join(characters()[::7]) + " it's\n\n  x"
    (folder / "text.txt").write_text(text, encoding="utf-8", newline="")
    tokens = tokenize(folder, [folder / "text.txt"], "--val-fraction", "0", "--format", "text")
    assert ENCODING.decode(list(tokens[1:])) == text


if __name__ == "__main__":
    tiktoken = load_tiktoken()
    if not DATA or not tiktoken:
        print("skipped tokenizer_against_tiktoken: " +
              ("TEST_DATA is not set" if not DATA else "no tiktoken package; scripts/setup.sh peers installs it"))
        sys.exit(0)
    ENCODING = reference()
    run_tests(globals())
