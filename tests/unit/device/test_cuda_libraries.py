#!/usr/bin/env python3
"""Which of several cuBLASLt and cuSOLVER device/cuda/libraries.c takes: compiled here with headers of our own, of any version,
and run where libraries of our own stand, which only know their version."""
import os
import re
import shlex
import subprocess

import harness

FUNCTIONS = re.findall(r"\bF\((cu\w+)\)", (harness.ROOT / "device/cuda/libraries.h").read_text())
PATCH = 7777  # in the versions of our libraries: no real one says so
MAIN = """
#include "device/cuda/libraries.h"
#include <stdio.h>
int main(void) {
    const CudaLibraries *libraries;
    Error err;
    puts(cuda_libraries_load(&libraries, &err) ? libraries->description : err.text);
}
"""


def compiled(out, source, *options):
    command = [*shlex.split(os.environ.get("CC", "cc")), "-D_GNU_SOURCE", "-o", out, *options, "-x", "c", "-"]
    subprocess.run(command, input=source, text=True, check=True, cwd=harness.ROOT)


def make_program(folder, blas, solver):
    """The program, built with the headers of these major versions."""
    include = folder / f"headers{blas}"
    include.mkdir()
    functions = "".join(f"long {name}(void);\n" for name in FUNCTIONS)
    (include / "cublasLt.h").write_text(f"#define CUBLAS_VER_MAJOR {blas}\n{functions}")
    (include / "cusolverDn.h").write_text(f"#define CUSOLVER_VER_MAJOR {solver}\n")
    program = folder / f"program{blas}"
    compiled(program, MAIN, "-I.", f"-I{include}", "device/cuda/libraries.c", "base/error.c", "-ldl", "-pthread")
    return program


def make_libraries(folder, *blas):
    """A folder with cuBLASLt of these major versions and with the cuSOLVER before each, as NVIDIA numbers them."""
    folder.mkdir(parents=True)
    for major in blas:
        source = "".join(f"long {name}(void) {{ return {major * 10000 + PATCH}; }}\n" for name in FUNCTIONS)
        compiled(folder / f"libcublasLt.so.{major}", source, "-shared", "-fPIC")
        (folder / f"libcusolver.so.{major - 1}").symlink_to(f"libcublasLt.so.{major}")
    return folder


def check(program, expected, loader="", home="", listed=""):
    environment = {**os.environ, "LD_LIBRARY_PATH": str(loader), "CUDA_HOME": str(home), "POLAR_CUDA_LIBRARIES": str(listed)}
    said = subprocess.run([program], env=environment, capture_output=True, text=True, check=True).stdout.strip()
    assert said == f"cuBLASLt {expected}.{PATCH // 100}.{PATCH % 100}, cuSOLVER", said


def test_the_version_of_the_headers_comes_first(folder):
    everywhere = make_libraries(folder / "all", 11, 12, 13, 21)
    for major in 11, 12, 13, 21:  # 21: not known when the list was made
        check(make_program(folder, major, major - 1), major, loader=everywhere)


def test_it_comes_before_the_place(folder):
    program = make_program(folder, 21, 20)
    loader, home = make_libraries(folder / "loader", 13), folder / "home"
    make_libraries(home / "lib64", 21)
    check(program, 21, loader=loader, home=home)


def test_another_version_does_where_there_is_no_better(folder):
    check(make_program(folder, 21, 20), 13, loader=make_libraries(folder / "loader", 13))


def test_a_place_that_the_user_names_comes_before_all(folder):
    program = make_program(folder, 21, 20)
    loader, listed = make_libraries(folder / "loader", 21), make_libraries(folder / "listed", 12)
    check(program, 12, loader=loader, listed=listed)
    check(program, 12, loader=loader, listed=f"/nonexistent:{listed}")
    check(program, 21, listed=make_libraries(folder / "both", 12, 21))


if __name__ == "__main__":
    harness.run_tests(globals())
