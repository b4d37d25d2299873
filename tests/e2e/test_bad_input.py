#!/usr/bin/env python3
"""Input from outside that is wrong in every way we know, given to ./train as a user would: each is refused within seconds by
one line on standard error and exit status 1, and nothing that was there is changed."""
import contextlib
import io
import json
import os
import shutil
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

sys.dont_write_bytecode = True
import tiny_runs as tiny

sys.path[:0] = [os.path.join(tiny.ROOT, "scripts"), os.path.join(tiny.ROOT, "scripts/lib")]
from cli import status_of
from runs import RunError, read_run

STEPS = 3
SECONDS = 100 if "asan" in tiny.TRAIN else 30
FIFO, FOLDER, ABSENT, LOOP = "fifo", "folder", "absent", "loop"  # what a path may be other than a file


def put(path, what):
    """A file of these bytes, or what else there may be in its place."""
    if what == FIFO:
        os.mkfifo(path)
    elif what == FOLDER:
        os.mkdir(path)
    elif what == LOOP:
        os.symlink(path, path)
    elif what != ABSENT:
        with open(path, "wb") as file:
            file.write(what.encode() if isinstance(what, str) else what)
    return path


def states(folder):
    """What would show that something was changed, created or removed."""
    found = {}
    for here, folders, names in os.walk(folder):
        for name in folders + names:
            info = os.lstat(os.path.join(here, name))
            found[os.path.join(here, name)] = (info.st_ino, info.st_size, info.st_mtime_ns * (name not in folders))
    return found


def refuse(folder, cases, words=""):
    """Every case, a list of arguments, is refused; nothing below the folder changes."""
    before = states(folder)

    def one(arguments):
        try:
            result = tiny.train(*arguments, timeout=SECONDS, cwd=folder, stdin=subprocess.DEVNULL)
            tiny.check_one_line(result, words)
            assert not any(ord(c) < 32 for c in result.stderr[:-1]), "control characters"
            assert len(result.stderr.encode()) < 1100
        except (AssertionError, subprocess.TimeoutExpired) as error:
            raise AssertionError(f"train {' '.join(a[:200] for a in arguments)}: {error}") from None

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, cases))
    after = states(folder)
    changed = [path for path in {**before, **after} if before.get(path) != after.get(path)]
    assert not changed, f"changed: {changed}"
    return len(cases)


def short_run(folder):
    return [*tiny.make_data(folder), "--n-layer", "1", "--steps", str(STEPS), "--sample-every", "0", "--optimizer", "muon"]


def with_data(options, train="", val=""):
    """The options with other shards."""
    options = list(options)
    for name, value in (("--train-data", train), ("--val-data", val)):
        if value:
            options[options.index(name) + 1] = value
    return options


def shard(n, tokens, magic=20240520, version=1):
    return struct.pack("<256i", magic, version, n, *[0] * 253) + struct.pack(f"<{len(tokens)}H", *tokens)


def bad_shards():
    good, tokens = shard(200, [97] * 200), [97] * 200
    yield from {"absent": ABSENT, "empty": b"", "folder": FOLDER, "fifo": FIFO, "loop": LOOP, "one byte": b"\0", "header cut": good[:1023],
                "cut": good[:-1], "long": good + b"\0", "header only": shard(200, []), "no tokens": shard(0, []),
                "negative": shard(-5, tokens), "most": shard(2**31 - 1, tokens), "least": shard(-2**31, tokens),
                "magic": shard(200, tokens, magic=1), "swapped": struct.pack(">256i", 20240520, 1, 200, *[0] * 253) + good[1024:],
                "version 2": shard(200, tokens, version=2), "version -1": shard(200, tokens, version=-1),
                "wide version": shard(200, tokens, magic=20240801), "wide cut": shard(200, tokens, 20240801, 7),
                "text": "a text, not tokens\n" * 100, "headerless": struct.pack("<2000H", *[40] * 2000), "elf": b"\x7fELF" + bytes(2000),
                "vocabulary, at the start": shard(200, [257] + tokens[1:]), "vocabulary, at the end": shard(130, tokens[:129] + [65535]),
                "short": shard(63, tokens[:63]), "one token": shard(1, [1])}.items()


def test_shards(folder):
    options, run = short_run(folder), os.path.join(folder, "run")
    tiny.run(*options, "--out", run)
    cases = []
    for number, (name, what) in enumerate(bad_shards()):
        path = put(os.path.join(folder, f"bad{number}_{name}.bin"), what)
        cases.append(["--resume", run, "--train-data", path])
        if name != "vocabulary, at the end":  # which is seen when it is read
            cases.append([*with_data(options, train=path), "--out", "new"])
        if name in ("short", "one token", "vocabulary, at the end"):
            continue  # enough for a validation of few tokens; seen in it
        cases.append([*with_data(options, val=path), "--out", "new"])
        cases.append(["eval", run, "--val-data", path])
    cases.append([*with_data(options, train=os.path.join(folder, "[")), "--out", "new"])
    cases.append([*with_data(options, train="x" * 3000), "--out", "new"])
    refuse(folder, cases)
    refuse(folder, [[*options, "--batch-size", "10000", "--out", "new"]], "too few for one batch")
    refuse(folder, [[*options, "--shard-tail", "drop", "--batch-size", "100", "--micro-batch", "4", "--out", "new"]], "--shard-tail drop")


def test_token_beyond_the_vocabulary_in_the_middle(folder):
    """It is met in the middle of the run, which ends with the name of the file and the token; what was saved is there."""
    options, run = short_run(folder), os.path.join(folder, "run")
    tokens = [97] * 2000
    tokens[300] = 300
    path = put(os.path.join(folder, "middle.bin"), shard(2000, tokens))
    result = tiny.train(*with_data(options, train=path), "--steps", "100", "--checkpoint-every", "1", "--out", run)
    tiny.check_one_line(result, "middle.bin: token 300 is 300")
    assert tiny.checkpoints(run), "no checkpoint"


def test_nanogpt_files(folder):
    data = os.environ.get("TEST_DATA")
    if not data:
        raise tiny.Skip("TEST_DATA is not set")
    options = short_run(folder)
    for name in ("shakespeare_train.nanogpt.bin", "shakespeare_val.nanogpt.bin"):
        path = os.path.join(data, name)
        refuse(folder, [[*with_data(options, train=path), "--out", "new"], [*with_data(options, val=path), "--out", "new"]],
               "headerless nanoGPT file")


def numeric_options(run):
    """The names of all options of a run with numbers, from its own configuration; and those of the other optimizers."""
    names = set()
    with open(os.path.join(run, "config.conf")) as file:
        lines = file.read().splitlines()
    for line in lines:
        name, equals, value = line.partition(" = ")
        try:
            float(value)
        except ValueError:
            continue
        if equals and not line.startswith("#"):
            names.add(name)
    assert len(names) > 50 and {"lr", "embed-beta2", "steps", "init-std", "max-time"} <= names, names
    return sorted(names)


def test_numbers(folder):
    options, run = short_run(folder), os.path.join(folder, "run")
    tiny.run(*options, "--out", run)
    names = numeric_options(run)
    never = ("nan", "inf", "-inf", "1e400", "-1e400", "", "abc", "1 2", "0x10x", "99999999999999999999999", "1,5")
    # A long number is no whole number that fits, but a number; a case of its own.
    cases = [[*options, f"--{name}={never[(i + k) % len(never)]}", "--dry-run"] for i, name in enumerate(names) for k in range(3)
             if (i + k) % len(never) != 9]
    cases += [[*options, f"--{name}=99999999999999999999999", "--dry-run"] for name in ("steps", "n-layer", "seed", "keep", "polar-steps")]
    cases += [[*options, f"--{name}=-1", "--dry-run"] for name in names if not name.endswith("document-token")]
    refuse(folder, cases)
    for optimizer in ("adamw", "sgd", "lion", "signum", "muon", "normuon", "polargrad", "rownorm"):
        refuse(folder, [[*options, "--optimizer", optimizer, f"--lr={value}", "--dry-run"] for value in never])


def test_extreme_numbers(folder):
    """What an option takes at the edge of its range, the run takes too, or it is refused in one line: no crash, no hang."""
    options, run = short_run(folder), os.path.join(folder, "run")
    tiny.run(*options, "--out", run)

    def one(case):
        number, name, value = case
        arguments = [*options, "--max-time=1e-9", f"--{name}={value}", "--out", os.path.join(folder, f"run{number}")]
        try:
            result = tiny.train(*arguments, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"--{name}={value} takes too long") from None
        try:
            if result.returncode not in (0, 75):  # --max-time stops the run
                tiny.check_one_line(result)
        except AssertionError as error:
            raise AssertionError(f"--{name}={value}: {error}") from None
        shutil.rmtree(arguments[-1], ignore_errors=True)

    values = ("0", "1e-300", "1e300", "2147483647", "9000000000000000000")
    skip = ("max-time", "seed")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, [(f"{i}_{k}", name, value) for i, name in enumerate(numeric_options(run)) if name not in skip
                            for k, value in enumerate(values)]))


def test_names(folder):
    options = [*short_run(folder), "--dry-run"]
    for name, near in (("--stepz=3", "steps"), ("--optimiser=adamw", "optimizer"), ("--lerning-rate=1", "--help"), ("--n-layers=2", "n-layer"),
                       ("--no-steps", "steps"), ("--embed-lrr=1", "embed-lr"), ("--" + "x" * 5000, "unknown option"), ("--=3", "unknown option"),
                       ("--optimizer=adanw", "adamw"), ("--optimizer=", "adamw"), ("--embed-optimizer=nuon", "muon"),
                       ("--polar=qdhw", "qdwh"), ("--norm=layer", "layernorm"), ("--positions=ropes", "rope"), ("--activation=relu", "relu2"),
                       ("--device=gpu", "cpu"), ("--schedule=cosin", "cosine"), ("--tied-head=perhaps", "yes or no"), ("-x", "two dashes"),
                       ("word", "unexpected"), ("--vocab=byte", "bytes"), ("--vocab=x\ny", "bytes"), ("--lr", "needs a value")):
        refuse(folder, [[*options, name]], near)
    for command in (["evil"], ["sample"], ["eval"], ["export"], ["tokenize"], ["problem"], ["problem", "cubic"], ["sample", "a", "b"],
                    ["sample", "x", "--tokens=-1"], ["eval", "x", "--val-tokens=nan"], ["polar", "--methods=svd"], ["export", "x", "--dtype=f8"],
                    ["tokenize", "--val-fraction=nan", "x"], ["tokenize", "--shard-tokens=0", "x"], ["--help", "nothing"], [""]):
        refuse(folder, [command])


def test_shapes(folder):
    options = short_run(folder)
    most = "2147483647"
    refuse(folder, [[*options, *shape, "--out", "new"] for shape in (
        ["--d-model", "33"], ["--n-head", "3"], ["--n-kv-head", "3", "--n-head", "4"], ["--head-dim", "3", "--positions", "rope"],
        ["--seq-len", "32", "--context", "16"], ["--micro-batch", "3"], ["--vocab-size", "100"], ["--vocab-padded", "200"],
        ["--n-layer", most], ["--d-model", most], ["--d-model", "65536", "--n-layer", "1024"], ["--d-ff", most], ["--vocab-size", most],
        ["--seq-len", most], ["--batch-size", most], ["--batch-size", most, "--seq-len", most], ["--context", most],
        ["--micro-batch", most, "--batch-size", most], ["--vocab-padded", "1048576", "--d-model", "131072", "--n-head", "1024"],
        ["--n-head", most, "--d-model", most], ["--seq-len", "16777216", "--batch-size", "65536"], ["--zero-head"], ["--head-lr", "1"],
        ["--align-documents", "--document-token", "5000"])])


def test_outputs(folder):
    options, run = [*short_run(folder), "--n-layer", "1"], os.path.join(folder, "run")
    tiny.run(*options, "--out", run)
    text = put(os.path.join(folder, "text.txt"), "a text\n" * 50)
    mine = os.path.join(folder, "mine")
    os.mkdir(mine)
    put(os.path.join(mine, "thesis.txt"), "years of work")
    put(os.path.join(folder, "dangling"), LOOP)
    outs = (text, f"{text}/new", "/proc/new", "/proc/self/new", "/dev/null", "/dev/null/x", "x" * 256, "y/" * 2000, "z" * 5000,
            os.path.join(folder, "dangling"), "")
    cases = [[*command, "--out", out] for out in outs for command in (
        options, ["export", run], ["tokenize", "--vocab", "bytes", text], ["problem", "quadratic", "--steps", "1"])
        if not (out == "" and command[0] == "tokenize")]
    cases += [[*options, "--out", mine], [*options, "--out", mine, "--overwrite"], [*options, "--out", run],
              ["export", run, "--out", mine], ["export", run, "--out", mine, "--overwrite"], ["export", run, "--out", run],
              ["export", run, "--out", run, "--overwrite"], ["problem", "quadratic", "--out", mine, "--overwrite"],
              ["tokenize", "--vocab", "bytes", "--name", "a/b", text], ["tokenize", "--vocab", "bytes", "--name", "n" * 300, text]]
    refuse(folder, cases)


def crc32c(data):
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def write_state(checkpoint, text):
    """state.json with the checksum that its text should have."""
    body = text.rstrip()[:-1]
    put(os.path.join(checkpoint, "state.json"), f'{body},"crc32c":{crc32c(body.encode())}}}\n')


def read_state(checkpoint):
    """The text of state.json, without its checksum."""
    with open(os.path.join(checkpoint, "state.json")) as file:
        return file.read().rsplit(',"crc32c":', 1)[0] + "}"


def vouch(checkpoint, name):
    """Makes the state vouch for a file as it is now, as an attacker would."""
    with open(os.path.join(checkpoint, name), "rb") as file:
        data = file.read()
    state = json.loads(read_state(checkpoint))
    state[name] = {"size": len(data), "crc32c": crc32c(data)}
    write_state(checkpoint, json.dumps(state, separators=(",", ":")))


def copies(folder, run, n):
    """n copies of a run, whose checkpoints are there to be damaged."""
    for number in range(n):
        copy = os.path.join(folder, f"copy{number}")
        shutil.copytree(run, copy)
        yield copy, os.path.join(copy, "checkpoints", f"step_{STEPS:08d}")


def readers(run):
    """Every command that reads a checkpoint."""
    return [["--resume", run], ["eval", run], ["sample", run, "--tokens", "1"], ["export", run, "--out", "new"]]


def test_damaged_checkpoints(folder):
    """Damage that the checksums see: bytes flipped, cut, lost, other kinds of files."""
    options, run = short_run(folder), os.path.join(folder, "run")
    tiny.run(*options, "--out", run)
    cases = []
    for number, (copy, checkpoint) in enumerate(copies(folder, run, 54)):
        name = ("model.safetensors", "state.json", "optimizer.safetensors")[number % 3]
        path = os.path.join(checkpoint, name)
        with open(path, "rb") as file:
            data = bytearray(file.read())
        os.remove(path)
        how = number // 3
        at = min(how * how * len(data) // 144, len(data) - 1)
        if how < 12:
            data[at] ^= 1 << number % 8
            put(path, bytes(data))
        else:
            put(path, [data[:at // 4], data + b"\n\n", FIFO, FOLDER, LOOP, ABSENT][how - 12])
        cases += readers(copy) if name != "optimizer.safetensors" else readers(copy)[:1]
    refuse(folder, cases, "no checkpoint of")


def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def split_safetensors(data):
    n, = struct.unpack_from("<Q", data)
    return json.loads(data[8:8 + n]), data[8 + n:]


def bad_safetensors(good):
    """Files that lie, from a good one."""
    header, data = split_safetensors(good)
    names = [name for name in header if name != "__metadata__"]
    first, second = names[:2]

    def changed(name=first, **entry):
        return safetensors(json.dumps({**header, name: {**header[name], **entry}}), data)

    shape, offsets, other = header[first]["shape"], header[first]["data_offsets"], header[second]["data_offsets"]
    text = json.dumps(header)
    yield from (safetensors(text, data, length=2**63), safetensors(text, data, length=2**64 - 1), safetensors(text, data, length=2**31),
                safetensors(text, data, length=0), safetensors(text, data, length=len(text) + len(data) + 1), safetensors("{}"),
                safetensors("{}", data), safetensors("[]", data), safetensors("{" * 100000), safetensors('{"a":' * 100000),
                safetensors("[" * 1000000), safetensors(text[:-1] + f',"{first}":' + json.dumps(header[first]) + "}", data),
                safetensors(text.encode("utf-16"), data), safetensors(text, data[:-1]), safetensors(text, data + b"\0"),
                changed(data_offsets=other), changed(data_offsets=[offsets[0], 2**63 - 1]), changed(data_offsets=[2**63 - 1, offsets[1]]),
                changed(data_offsets=[-4, offsets[1]]), changed(data_offsets=[offsets[1], offsets[0]]), changed(data_offsets=[]),
                changed(data_offsets="0"), changed(data_offsets=[0.5, 1.5]), changed(data_offsets=[10**400, 10**401]), changed(shape=[2**62, 4]),
                changed(shape=[-1, -1]), changed(shape=[]), changed(shape=[1] * 1000), changed(shape=shape[::-1] + [1]), changed(shape=None),
                changed(dtype="F8_E4M3"), changed(dtype="x" * 100000), changed(dtype=7), changed(dtype="I32"),
                safetensors(json.dumps({"x" * 1000 if n == first else n: e for n, e in header.items()}), data),
                safetensors(json.dumps({"other" if n == first else n: e for n, e in header.items()}), data),
                safetensors(json.dumps({**header, "more": {"dtype": "F32", "shape": [0], "data_offsets": [len(data)] * 2}}), data),
                safetensors(json.dumps({**header, "__metadata__": 3}), data), safetensors("{\"\\ud800\":1}", data), b"", bytes(7), bytes(8))


def test_built_checkpoints(folder):
    """Files that were built to harm, with checksums that match."""
    options, run = short_run(folder), os.path.join(folder, "run")
    tiny.run(*options, "--out", run)
    cases = []
    name = "model.safetensors"
    with open(os.path.join(run, "checkpoints", f"step_{STEPS:08d}", name), "rb") as file:
        files = list(bad_safetensors(file.read()))
    for number, ((copy, checkpoint), bad) in enumerate(zip(copies(folder, run, len(files)), files)):
        put(os.path.join(checkpoint, name), bad)
        vouch(checkpoint, name)
        cases += [readers(copy)[0], readers(copy)[1 + number % 3], [*options, "--init-from", copy, "--out", "new"]]
    refuse(folder, cases)


def bad_states(state):
    for key in ("version", "step", "reported", "applied", "loss_sum", "skipped", "elapsed_s", "model.safetensors", "train_data", "val_data"):
        yield json.dumps({k: v for k, v in state.items() if k != key})
    for change in ({"version": 2}, {"version": -1}, {"step": -1}, {"step": 2**63 - 1}, {"step": 10**400}, {"step": 2.5}, {"step": "3"},
                   {"step": STEPS + 1}, {"data_position": -1}, {"reported": 1}, {"skipped": -1}, {"skipped_in_row": -1}, {"elapsed_s": -1},
                   {"elapsed_s": "x"}, {"loss_sum": []}, {"loss_weight": None}, {"applied": "1"}, {"applied": -1},
                   {"model.safetensors": 3}, {"model.safetensors": {"size": -1, "crc32c": 0}}, {"model.safetensors": {"size": 1e300, "crc32c": 0}},
                   {"train_data": 3}, {"train_data": []}, {"train_data": [1, 2, 3]}, {"train_data": [{}] * 3}, {"val_data": {}},
                   {"train_data": [{"name": "x" * 10000, "tokens": 1, "fingerprint": 1}] * 3}):
        yield json.dumps({**state, **change})
    yield from ("{}", "[]", "[" * 200000 + "}", '{"a":' * 200000 + "}", "null}", json.dumps(state).replace('"step"', '"step":1,"step"'))


def test_built_states(folder):
    options, run = short_run(folder), os.path.join(folder, "run")
    tiny.run(*options, "--out", run)
    checkpoint = os.path.join(run, "checkpoints", f"step_{STEPS:08d}")
    texts = list(bad_states(json.loads(read_state(checkpoint))))
    cases = []
    for (copy, checkpoint), text in zip(copies(folder, run, len(texts)), texts):
        write_state(checkpoint, text)
        if '"step": 4' in text:  # beyond the run's end, under its name
            os.rename(checkpoint, checkpoint.replace("step_00000003", "step_00000004"))
        cases.append(["--resume", copy])
    refuse(folder, cases)


def test_anything_after_a_state(folder):
    """However many digits its checksum has."""
    options, run = short_run(folder), os.path.join(folder, "run")
    tiny.run(*options, "--out", run)
    state = json.loads(read_state(os.path.join(run, "checkpoints", f"step_{STEPS:08d}")))
    cases = []
    for (copy, checkpoint), digits in zip(copies(folder, run, 3), (10, 9, 8)):
        text = ""
        while len(str(crc32c(text[:-1].encode()))) != digits:
            state["elapsed_s"] += 1
            text = json.dumps(state, separators=(",", ":"))
        write_state(checkpoint, text)
        tiny.run("--resume", copy)
        with open(os.path.join(checkpoint, "state.json"), "a") as file:
            file.write("\n")
        cases.append(["--resume", copy])
    refuse(folder, cases, "no checkpoint of")


def test_foreign_checkpoint(folder):
    """Of another network, another optimizer: it fits neither."""
    options, run = short_run(folder), os.path.join(folder, "run")
    tiny.run(*options, "--out", run)
    other = os.path.join(folder, "other")
    cases = []
    for number, more in enumerate((["--d-model", "64"], ["--n-layer", "2"], ["--biases", "no"], ["--optimizer", "adamw"])):
        copy = os.path.join(folder, f"copy{number}")
        tiny.run(*options, *more, "--out", other)
        shutil.copytree(run, copy)
        shutil.rmtree(os.path.join(copy, "checkpoints"))
        os.rename(os.path.join(other, "checkpoints"), os.path.join(copy, "checkpoints"))
        shutil.rmtree(other)
        cases += [["--resume", copy]] + (readers(copy)[1:] if number < 3 else [])
    refuse(folder, cases)


def test_configurations(folder):
    options, run = short_run(folder), os.path.join(folder, "run")
    tiny.run(*options, "--out", run)
    with open(os.path.join(run, "config.conf")) as file:
        good = file.read()
    texts = [FIFO, FOLDER, ABSENT, LOOP, b"\x7fELF\0\0\0", good + "\0", good[:len(good) // 2].rstrip() + " = \n", good + "lr = 1\n",
             good + "nothing\n", good + "= 3\n", good + 'vocab2 = "x\n', good + "stepz = 3\n", good + "x" * 5000 + " = 1\n",
             good + 'sample-prompt = "\\q"\n', "sample-prompt = " + "y" * 3000 + "\n", good.replace("n-kv-head = 2", "n-kv-head = 3"),
             good.replace("d-model = 32", "d-model = 1e400"), good.replace("optimizer = muon", "optimizer = moun"), "\n" * (2 << 20),
             good.encode("utf-16"), good.replace("\n", "\r"), good + "resume = x\n", good + "dry-run = yes\n"]
    cases = []
    for number, text in enumerate(texts):
        copy = os.path.join(folder, f"copy{number}")
        shutil.copytree(run, copy)
        os.remove(os.path.join(copy, "config.conf"))
        path = put(os.path.join(copy, "config.conf"), text)
        cases += [["--config", path, "--out", "new"], readers(copy)[number % 4]]
    refuse(folder, [*cases, ["--config", "/dev/zero", "--out", "new"], ["--config", "/dev/null", "--out", "new"]])


def test_vocabularies(folder):
    options, run = short_run(folder), os.path.join(folder, "run")
    tiny.run(*options, "--out", run)
    text = put(os.path.join(folder, "text.txt"), "a text\n" * 50)
    import base64
    lines = [f"{base64.b64encode(bytes([i])).decode()} {i}" for i in range(256)]
    good = "\n".join(lines) + "\n"
    texts = [FIFO, FOLDER, ABSENT, LOOP, "", "\n", bytes(1000), "\n".join(lines[:-1]) + "\n", good + "IGw= 255\n", good + "IGw= 257\n", good + "IGw= -1\n",
             good + "IGw= 99999999999999999999\n", good + "IG!= 256\n", good + "IGw=\n", good + "IGw= 256 7\n", good + " 256\n", good + "QQ== 256\n",
             good + "IGw= 256", good + "\0", "QUFB" * 100000 + " 0\n", good.replace(" 7\n", " x\n"), good.encode("utf-16"), "{" * 1000]
    cases = []
    for number, content in enumerate(texts):
        path = put(os.path.join(folder, f"v{number}.tiktoken"), content)
        if content == good + "IGw= 256":
            continue  # without its last newline it is as good
        cases += [["tokenize", "--vocab", path, "--out", "new", text], [*options, "--vocab", path, "--out", "new"]]
        cases += [["sample", run, "--vocab", path], ["export", run, "--vocab", path, "--out", "new"]][number % 2:][:1]
    refuse(folder, cases)


def test_texts(folder):
    """What tokenize reads."""
    cases = []
    for number, what in enumerate((ABSENT, FOLDER, LOOP, "", "\n\n", '{"text": "a"}\n{"text": \n', '{"text": 3}\n', '{"body": "a"}\n', '["a"]\n', "[" * 100000 + "\n",
                                   '{"text": "a"} x\n', '{"text": "\\ud800"}x\n', b'{"text": "\xff\n', "\0" * 100 + "\n")):
        path = put(os.path.join(folder, f"t{number}.jsonl"), what)
        cases.append(["tokenize", "--vocab", "bytes", "--val-tokens", "0", path])
    refuse(folder, cases)


def test_hugging_face_directories(folder):
    options, run, export = short_run(folder), os.path.join(folder, "run"), os.path.join(folder, "export")
    tiny.run(*options, "--out", run)
    tiny.run("export", run, "--out", export)
    with open(os.path.join(export, "config.json")) as file:
        config = json.load(file)
    with open(os.path.join(export, "model.safetensors"), "rb") as file:
        model = file.read()
    configs = [FOLDER, FIFO, LOOP, "", "{", "[]", "3", "{}", "[" * 200000, json.dumps(config)[:-20], json.dumps(config) + "x", b"\xff\xfe\0"]
    for change in ({"model_type": "bert"}, {"model_type": 3}, {"n_layer": -1}, {"n_layer": 2**31}, {"n_layer": 2.5}, {"n_layer": "1"}, {"n_layer": 7},
                   {"n_embd": 33}, {"n_embd": 64}, {"n_head": 0}, {"n_head": 3}, {"vocab_size": 10}, {"vocab_size": 10**400}, {"n_positions": 0},
                   {"layer_norm_epsilon": "x"}, {"layer_norm_epsilon": -1}, {"layer_norm_epsilon": 1e999}, {"activation_function": "swish"}, {"n_inner": 5}):
        configs.append(json.dumps({**config, **change}))
    models = [FOLDER, FIFO, LOOP, ABSENT, *bad_safetensors(model)]
    cases = []
    for number, (name, what) in enumerate([("config.json", c) for c in configs] + [("model.safetensors", m) for m in models]):
        copy = os.path.join(folder, f"copy{number}")
        shutil.copytree(export, copy)
        os.remove(os.path.join(copy, name))
        put(os.path.join(copy, name), what)
        cases.append([*options, "--init-from", copy, "--out", "new"] if number % 3 else ["sample", copy, "--tokens", "1"])
    for number, index in enumerate(({}, {"weight_map": 3}, {"weight_map": {"a": "../run/config.conf"}}, {"weight_map": {"a": "/etc/passwd"}},
                                    {"weight_map": {"a": "absent.safetensors"}}, {"weight_map": {"a": 3}}, {"weight_map": {"a": "x" * 10000}},
                                    {"weight_map": {"a": "other.safetensors"}}, {"weight_map": {"a": "other.safetensors\0x"}})):
        copy = os.path.join(folder, f"index{number}")
        shutil.copytree(export, copy)
        os.rename(os.path.join(copy, "model.safetensors"), os.path.join(copy, "other.safetensors"))
        put(os.path.join(copy, "model.safetensors.index.json"), json.dumps(index))
        cases.append([*options, "--init-from", copy, "--out", "new"])
    refuse(folder, cases)


def hellaswag(examples=1, longest=None, **change):
    """One example of llm.c's file; `change` sets words of its beginning."""
    words = [65535, 0, 0, 1, 4, 2, 10, 11, 1, 12, 1, 13, 1, 14, 2, 15, 16]
    words[1] = 2 * len(words)
    for at, value in change.items():
        words[int(at[1:])] = value
    return struct.pack("<256i", 20240522, 1, examples, 34 if longest is None else longest, *[0] * 252) + struct.pack(f"<{len(words)}H", *words)


def test_hellaswag_files(folder):
    options, run = short_run(folder), os.path.join(folder, "run")
    tiny.run(*options, "--out", run)
    good = hellaswag()
    path = put(os.path.join(folder, "good.bin"), good)
    tiny.run("eval", run, "--hellaswag", path)
    cases = []
    for number, what in enumerate((ABSENT, FIFO, FOLDER, LOOP, b"", good[:500], good[:1024], good[:-2], good[:-1], good + b"\0\0", b"x" * 5000,
                                   hellaswag(2), hellaswag(0), hellaswag(-1), hellaswag(2**31 - 1), hellaswag(longest=2**31 - 1), hellaswag(w0=0),
                                   hellaswag(w1=0), hellaswag(w1=65535), hellaswag(w1=33), hellaswag(w2=1), hellaswag(w3=4), hellaswag(w4=3),
                                   hellaswag(w4=65535), hellaswag(w5=0), hellaswag(w5=65535), hellaswag(w8=0), hellaswag(w14=3), hellaswag(w16=65535),
                                   hellaswag(w16=257))):
        path = put(os.path.join(folder, f"h{number}.bin"), what)
        cases += [[*options, "--hellaswag", path, "--out", "new"], ["eval", run, "--hellaswag", path]]
    refuse(folder, cases)


TRAIN_RECORD = {"kind": "train", "step": 1, "tokens": 64, "loss": 5.5, "lr": {"hidden": 1}, "grad_norm": 1, "elapsed_s": 0.1,
                "tokens_per_s": 100, "ms": {"optimizer": 1}}
VAL_RECORD = {"kind": "val", "step": 1, "tokens": 64, "val_loss": 5.5, "bits_per_byte": 1.2, "elapsed_s": 0.1}
VALUES = ("null", '"x"', "[]", "{}", "true", "NaN", "-Infinity", "1e999", "-1", "1" + "0" * 400, "1" + "0" * 5000, "2.5", "[[1]]", '{"optimizer":"x"}')
NO_RECORDS = ("", "x", "\0", "[]", "3", "null", "{}", "[" * 100000, '{"a":' * 100000, '{"kind":3}', '{"kind":[]}', '{"kind":"train"}', '{"step":3}',
              '{"kind":"val","step":"x"}', '{"step":"x"}', '{"kind":"resume"}', '{"kind":"resume","step":-5}', '{"kind":"end","reason":{}}',
              '{"kind":"x","step":null}', json.dumps(TRAIN_RECORD)[:30])


def foreign_lines():
    yield from NO_RECORDS
    for record in (TRAIN_RECORD, VAL_RECORD):
        for key in record:
            for value in VALUES:
                yield json.dumps({**record, key: "@"}).replace('"@"', value)


def test_foreign_records(folder):
    """Whatever stands in metrics.jsonl, it is read, or refused with its line."""
    metrics = os.path.join(folder, "metrics.jsonl")
    put(os.path.join(folder, "config.conf"), "steps = 5\n")
    before, after = json.dumps(TRAIN_RECORD), json.dumps({**VAL_RECORD, "step": 2})
    refused = 0
    for line in foreign_lines():
        for text in (line, f"{before}\n{line}\n{after}\n", f"{after}\n{line}\n{before}\n"):
            put(metrics, text)
            try:
                read_run(folder)
            except RunError as error:
                assert "metrics.jsonl line" in str(error) and "\n" not in str(error), error
                refused += 1
            except Exception as error:
                raise AssertionError(f"{text[:300]}: {error!r}") from error
    assert refused > 100


def script_ends_well(main, *arguments, words=""):
    """Status 0, or 1 with one line; returns it. An exception is a failed test."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = status_of(main, [str(a) for a in arguments])
    if status:
        assert status == 1 and err.getvalue().startswith("error: ") and err.getvalue().count("\n") == 1, err.getvalue()
        assert words in err.getvalue(), err.getvalue()
    return status


def test_scripts_on_foreign_runs(folder):
    """What reads runs, on files that are torn, foreign or something else altogether."""
    import compare
    import compare_problems
    import diagnose
    from export import read_runs, steps_of
    options, run, problem = short_run(folder), os.path.join(folder, "run"), os.path.join(folder, "problem")
    tiny.run(*options, "--out", run)
    tiny.run("problem", "completion", "--rows", "20", "--cols", "10", "--rank", "2", "--steps", "20", "--diagnose", "0", "--out", problem)

    def read_and_sum_up(arguments):  # exporters and compare.py without their drawing
        try:
            list(map(steps_of, read_runs(arguments[:1])))
            json.dumps(compare.compare(arguments[:1])[1])
        except RunError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        return 0

    files = [(name, what) for name in ("metrics.jsonl", "environment.json", "config.conf", "diagnostics.jsonl")
             for what in (FOLDER, LOOP, ABSENT, b"", b"\xff\xfe\0\n", "[" * 100000, "{}\n", "[1, 2]\n", '{"threads": "x", "time": 3}', "steps = x\n")]
    statuses = []
    for number, (name, what) in enumerate(files):
        for source, main in ((run, read_and_sum_up), (run, diagnose.main), (problem, compare_problems.main)):
            copy = os.path.join(folder, f"copy{number}")
            shutil.copytree(source, copy)
            with contextlib.suppress(FileNotFoundError):
                os.remove(os.path.join(copy, name))
            put(os.path.join(copy, name), what)
            try:
                if main is not compare_problems.main or name in ("metrics.jsonl", "config.conf"):
                    statuses.append(script_ends_well(main, copy, "--out", os.path.join(folder, "report")))
            except Exception as error:
                raise AssertionError(f"{main.__module__} of a run with {name} {what[:50]!r}: {error!r}") from error
            shutil.rmtree(copy)
    with open(os.path.join(run, "metrics.jsonl")) as file:
        torn = file.read()[:-10]
    put(os.path.join(run, "metrics.jsonl"), torn)
    assert script_ends_well(compare.main, run, "--out", os.path.join(folder, "report")) == 0
    assert statuses.count(1) > 20


def test_foreign_diagnostics(folder):
    import diagnostics
    stats = {key: 1.0 for key in diagnostics.NUMBERS} | {quantiles: [1.0] * 11 for _, quantiles in diagnostics.LISTS}
    good = {"kind": "matrix", "step": 1, "matrix": "h.0", "role": "hidden matrix", "layer": 0, "optimizer": "muon", "gradient": stats, "update": stats}
    put(os.path.join(folder, "config.conf"), "steps = 5\n")
    put(os.path.join(folder, "metrics.jsonl"), json.dumps(TRAIN_RECORD) + "\n")
    lines = [*NO_RECORDS] + [json.dumps({**good, key: "@"}).replace('"@"', value) for key in good for value in VALUES]
    lines += [json.dumps({**good, "update": {**stats, key: "@"}}).replace('"@"', value) for key in stats for value in VALUES]
    run = read_run(folder)
    for line in lines:
        put(os.path.join(folder, "diagnostics.jsonl"), f"{line}\n{json.dumps(good)}\n{line[:40]}")
        try:
            diagnostics.read_diagnostics(run)
            diagnostics.Diagnosed("", [run], {}, steps=diagnostics.read_diagnostics(run)).values("hidden", "update", "condition")
        except RunError as error:
            assert "diagnostics.jsonl line" in str(error), error
        except Exception as error:
            raise AssertionError(f"{line[:300]}: {error!r}") from error


def test_searches_on_foreign_files(folder):
    """sweep.py and tune.py on a directory whose record of the search is damaged, and on impossible grids."""
    import sweep
    import tune
    out = os.path.join(folder, "search")
    os.mkdir(out)
    config = put(os.path.join(folder, "tiny.conf"), "d-model = 48\nn-layer = 1\nvocab-size = 100\n")
    common = ["--config", config, "--optimizer", "adamw", "--out", out, "--train", tiny.TRAIN]
    for name in ("sweep.json", "tune.json"):
        for what in ("", "{", "[" * 100000, "[]", '{"settings": 3}', '{"settings": 3, "results": []}', b"\xff\0"):
            put(os.path.join(out, name), what)
            main, more = (sweep.main, ["--grid", "adamw:lr=1e-3", "--steps", "2"]) if name == "sweep.json" else (tune.main, ["--lr", "1e-3", "--steps", "2"])
            try:
                assert script_ends_well(main, *more, *common, words=name) == 1
            except Exception as error:
                raise AssertionError(f"{name} {what[:50]!r}: {error!r}") from error
            os.remove(os.path.join(out, name))


if __name__ == "__main__":
    tiny.run_tests(*[function for name, function in list(globals().items()) if name.startswith("test_")])
