#!/usr/bin/env python3
"""Include rules of the source folders, as in docs/design.md. Include cycles between folders, or between the files of device/,
fail."""
import re

from harness import ROOT, run_tests

# What each part may include besides itself. A file belongs to the longest prefix of its path. device/comm and dist are
# reserved for multi-GPU training.
MAY_INCLUDE = {
    "base": set(),
    "device": {"base"},
    "device/comm": {"base", "device"},
    "data": {"base"},
    "model": {"base", "data", "device"},
    "optim": {"base", "device", "model"},
    "dist": {"base", "data", "device", "device/comm", "model", "optim"},
    "run/options": {"base", "data", "device", "model", "optim"},
    "run/checkpoint": {"base", "data", "device", "device/comm", "model", "optim", "dist"},
    "run/hf": {"base", "data", "device", "model", "run/checkpoint", "run/options"},
    "run/problems": {"base", "device", "model", "optim", "run/options"},
    "run/training": {"base", "data", "device", "device/comm", "model", "optim", "dist", "run/checkpoint", "run/options"},
    "run/cli": {"base", "data", "device", "device/comm", "model", "optim", "dist", "run/options", "run/checkpoint", "run/hf",
                "run/problems", "run/training"},
    "train.cu": {"base", "device", "run/cli"},
}
# Within device: the two backends do not include each other, and include from device/ only the interfaces they implement.
BACKENDS = ("device/cpu/", "device/cuda/")
BELOW_BACKENDS = {"device/backend.h", "device/gemm.h"}

FOLDERS = ("base", "data", "device", "dist", "model", "optim", "run")
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)


def sources():
    files = [ROOT / "train.cu"] + [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")
                                   if path.suffix in (".c", ".h", ".cu")]
    return sorted(str(path.relative_to(ROOT)) for path in files)


def includes():
    """(file, included file) of all sources; only files of ours."""
    ours = set(sources())
    return [(file, name) for file in sorted(ours) for name in INCLUDE.findall((ROOT / file).read_text()) if name in ours]


def part(file):
    names = [name for name in MAY_INCLUDE if file == name or file.startswith(name + "/")]
    assert names, f"{file} is in no part of the list"
    return max(names, key=len)


def circle(arrows):
    """Returns a cycle as a list of names, or None."""
    targets = {}
    for a, b in arrows:
        if a != b:
            targets.setdefault(a, set()).add(b)
    done, path = set(), []

    def visit(name):
        if name in path:
            return path[path.index(name):] + [name]
        if name in done:
            return None
        path.append(name)
        found = next((c for c in map(visit, sorted(targets.get(name, ()))) if c), None)
        path.pop()
        done.add(name)
        return found

    return next((c for c in map(visit, sorted(targets)) if c), None)


def test_parts_include_what_they_may(_folder):
    bad = [f"{a} includes {b}" for a, b in includes() if part(b) != part(a) and part(b) not in MAY_INCLUDE[part(a)]]
    assert not bad, "\n".join(bad)


def test_the_list_has_no_circle(_folder):
    found = circle([(a, b) for a, allowed in MAY_INCLUDE.items() for b in allowed])
    assert not found, " -> ".join(found)


def test_parts_are_no_circle(_folder):
    found = circle([(part(a), part(b)) for a, b in includes()])
    assert not found, " -> ".join(found)


def test_files_are_no_circle(_folder):
    found = circle([(a.rsplit(".", 1)[0], b.rsplit(".", 1)[0]) for a, b in includes() if a.startswith("device/")])
    assert not found, " -> ".join(found)


def test_backends_are_reached_by_one_file(_folder):
    bad = []
    for a, b in includes():
        inside = [backend for backend in BACKENDS if a.startswith(backend)]
        if inside and part(b) == "device" and not b.startswith(inside[0]) and b not in BELOW_BACKENDS:
            bad.append(f"{a} includes {b}")
        if b in ("device/cpu/backend.h", "device/cuda/backend.h") and a not in ("device/device.c", b, b[:-1] + "c"):
            bad.append(f"{a} includes {b}")
    assert not bad, "\n".join(bad)


def test_a_circle_is_found(_folder):
    assert circle([("a", "b"), ("b", "c"), ("c", "b"), ("a", "a")]) == ["b", "c", "b"]
    assert circle([("a", "b"), ("a", "c"), ("b", "c")]) is None


run_tests(globals())
