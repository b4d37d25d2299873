#!/usr/bin/env python3
"""Checks that a change of the sources leaves all results bitwise identical: tests/e2e/same_bits.py BASE

BASE is a commit. It is built in a git worktree of its own below build/same_bits, which is kept for later calls, and the
working tree of this script is built beside it. Both programs train the same small models, 20 steps on the CPU and 6
on the emulated GPU (tests/emulator), one thread each, and their outputs are compared by SHA-256: a run's last
model.safetensors and optimizer.safetensors, its diagnostics, the losses and norms of the gradient of every step; of
`train problem`, which keeps no weights, metrics.jsonl without its times; of `train tokenize` the shards.

BASE's hashes stay in build/same_bits/COMMIT/hashes.json, so that later calls run the present tree alone. They are made
anew where the case, its preset or the processor is another. Where a case differs, BASE runs it once more, and the first
tensors that differ are named; both runs then stay in build/same_bits for a look.

Sizes are such that on two free processors a program needs about a minute for each part, a few where others
use them too; the first call compiles both trees besides.

Every case that differs has a line, with what differs below it; the last line is 'N equal, N differ', and the status is
1 where some differ, or fail. Cases for which this machine lacks something (LAPACK, an instruction set) on both sides are
counted apart, as are those that --allow expects to differ: a regular expression, searched in 'CASE: FILE'.

The programs are made by `make CUDA=no` and by `make CUDA=NAME`, where NAME is what the tree's makefiles call the
emulator; the folders of sources do not matter. --train, --emulated, --base-train, --base-emulated name programs that
are there already.
"""
import argparse
import array
import contextlib
import fcntl
import glob
import hashlib
import json
import os
import random
import re
import shlex
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts/lib"))

from cli import ROOT, Parser  # noqa: E402

try:
    import numpy as np
except ImportError:
    np = None

# What every case begins with: the shapes of the CPU's part and of the emulated GPU's, which is some hundred times slower.
# Shards are shorter than a run, so that it crosses their ends.
COMMON = """--vocab bytes --train-data {data}/text_train_*.bin --val-data {data}/text_val_*.bin --val-tokens 2000 --eval-every 10
            --log-every 1 --checkpoint-every 0 --threads 1 --quiet"""
SIZES = {"cpu": """--n-layer 2 --n-head 4 --d-model 64 --seq-len 64 --batch-size 4 --micro-batch 2 --steps 20""",
         "gpu": """--n-layer 1 --n-head 2 --d-model 32 --seq-len 16 --batch-size 2 --micro-batch 1 --steps 6 --val-tokens 64
                   --eval-every 0"""}
RESUME_AT = {"cpu": 10, "gpu": 3}
LONGEST_S = 600
PROBLEM = "--threads 1 --log-every 1 --diagnose 5 --steps 20 --quiet"
PROBLEMS = {"quadratic": "--rows 24 --cols 20 --x-rows 16 --x-cols 12",
            "logistic": "--rows 40 --cols 20 --x-rows 16 --x-cols 12 --batch 10",
            "completion": "--rows 24 --cols 20 --rank 3"}
# On top of a preset of configs/: its network in small. Heads stay grouped, padded classes stay masked where they are.
PRESET = "--vocab none --vocab-size 257 --vocab-padded 320 --context 64 --head-dim 0 --d-ff 0 --warmup 3 --keep 2"
PRESETS = {"benchmark/": "--vocab-size 320", "normuon/1.1b": "--n-kv-head 2 --d-ff 160", "normuon/5.4b": "--n-kv-head 1 --d-ff 160",
           "polargrad/qwen": "--d-ff 304"}
PRESETS_ON_GPU = {"gpt2_124m": "f32 bf16", "normuon/124m_muon": "bf16", "normuon/350m_normuon": "f32 bf16",
                  "normuon/1.1b_normuon": "bf16", "polargrad/qwen_polargrad": "f32", "polargrad/qwen_muon": "bf16",
                  "benchmark/162m_muon": "f32 bf16", "benchmark/162m_normuon": "bf16", "benchmark/162m_adamw": "bf16"}

OPTIMIZERS = "adamw sgd muon normuon polargrad rownorm"
METHODS = """ns5 you5 polar-express polar-express-nanogpt polar-express-1.05 cans5 cubic5 deepseek-v4 simple gram-ns turbo-muon
             precond-ns qdwh zolo-pd svd"""
SCALES = "shape rms max spectral frobenius nuclear"


def each(words, name, gpu, options):
    """A case for each word, in the place of the @ of name and options."""
    return [(name.replace("@", word), gpu, options.replace("@", word)) for word in words.split()]


# name, element types in which the emulated GPU has it too, options. NAME=VALUE before the options is the environment's.
# What begins with resume/ is stopped in the middle and resumed, and has to end like the run that was not.
CASES = [
    # Optimizers of the hidden matrices, as they are and in their forms.
    *each(OPTIMIZERS, "optimizer/@", "f32 bf16", "--optimizer @"),
    ("adamw/betas", "", "--optimizer adamw --beta1 0.8 --beta2 0.99 --eps 1e-6 --weight-decay 0.3"),
    ("adamw/no_decay", "", "--optimizer adamw --weight-decay 0 --vector-weight-decay 0.2"),
    ("sgd/nesterov", "f32", "--optimizer sgd --nesterov --weight-decay 0.1"),
    ("sgd/no_momentum", "", "--optimizer sgd --momentum 0"),
    ("muon/no_ema", "", "--optimizer muon --no-ema"),
    ("muon/no_nesterov", "", "--optimizer muon --no-nesterov"),
    ("muon/no_momentum", "", "--optimizer muon --momentum 0"),
    ("muon/momentum_warmup", "f32", "--optimizer muon --momentum-warmup 10 --momentum-start 0.5"),
    ("muon/joint_qkv", "f32", "--optimizer muon --no-split-qkv"),
    ("muon/split_heads", "bf16", "--optimizer muon --split-heads"),
    ("muon/split_heads_grouped", "f32", "--optimizer muon --split-heads --n-kv-head 1"),
    ("muon/decay", "", "--optimizer muon --weight-decay 0.1"),
    ("muon/cautious", "f32 bf16", "--optimizer muon --weight-decay 0.1 --decay cautious"),
    ("muon/rms", "", "--optimizer muon --scale rms --rms 0.5"),
    *each(SCALES, "muon/scale_@", "", "--optimizer muon --scale @"),
    ("muon/nuclear_on_gpu", "f32 bf16", "--optimizer muon --scale nuclear --split-heads"),
    ("normuon/official", "f32 bf16", "--optimizer normuon --form official"),
    ("normuon/paper_nesterov", "", "--optimizer normuon --form paper --nesterov --weight-decay 0"),
    ("normuon/official_cautious", "f32", "--optimizer normuon --form official --weight-decay 0.1 --decay cautious"),
    ("normuon/cautious", "", "--optimizer normuon --decay cautious"),
    ("normuon/joint_qkv", "", "--optimizer normuon --no-split-qkv"),
    ("normuon/split_heads", "f32", "--optimizer normuon --split-heads"),
    ("normuon/betas", "", "--optimizer normuon --momentum 0.8 --beta2 0.99 --eps 1e-6 --no-ema"),
    *each("row column longer element none", "normuon/second_moment_@", "f32", "--optimizer normuon --second-moment @"),
    *each("row column longer element", "normuon/official_second_moment_@", "", "--optimizer normuon --form official --second-moment @"),
    *each("row column longer element", "normuon/before_@", "", "--optimizer normuon --normalize before --second-moment @"),
    ("normuon/official_before", "bf16", "--optimizer normuon --form official --normalize before"),
    ("normuon/tall", "f32", "--optimizer normuon --normalize-only tall"),
    ("normuon/official_tall", "", "--optimizer normuon --form official --normalize-only tall"),
    *each(SCALES, "normuon/scale_@", "", "--optimizer normuon --scale @"),
    ("polargrad/momentum_first", "", "--optimizer polargrad --momentum 0.9"),
    ("polargrad/no_momentum", "", "--optimizer polargrad --momentum 0"),
    ("polargrad/polar_first", "f32", "--optimizer polargrad --momentum 0.9 --polar-first"),
    ("polargrad/heavy_ball", "f32", "--optimizer polargrad --momentum 0.9 --no-ema"),
    ("polargrad/heavy_ball_polar_first", "", "--optimizer polargrad --momentum 0.9 --no-ema --polar-first"),
    ("polargrad/nesterov", "", "--optimizer polargrad --nesterov"),
    ("polargrad/two_steps", "", "--optimizer polargrad --polar-steps 2"),
    ("polargrad/newton_schulz", "bf16", "--optimizer polargrad --polar polar-express"),
    ("polargrad/nuclear_power", "f32", "--optimizer polargrad --nuclear-power 0.5"),
    ("polargrad/columns", "f32", "--optimizer polargrad --center-columns"),
    ("polargrad/rows", "f32", "--optimizer polargrad --row-norms --row-eps 1e-6"),
    ("polargrad/rows_and_columns", "", "--optimizer polargrad --row-norms --center-columns --polar ns5"),
    ("polargrad/split_heads", "", "--optimizer polargrad --split-heads"),
    ("polargrad/cautious", "", "--optimizer polargrad --weight-decay 0.1 --decay cautious"),
    *each(SCALES, "polargrad/scale_@", "", "--optimizer polargrad --scale @"),
    ("rownorm/nesterov", "", "--optimizer rownorm --nesterov --no-ema"),
    ("rownorm/columns", "f32", "--optimizer rownorm --center-columns --row-eps 1e-6"),
    ("rownorm/cautious", "", "--optimizer rownorm --weight-decay 0.1 --decay cautious"),
    # Those of the embedding, the head and the vectors.
    *each("muon normuon polargrad rownorm sgd", "embed_and_head/@", "f32",
          "--optimizer muon --no-tied-head --embed-optimizer @ --head-optimizer @ --vector-optimizer sgd"),
    *each("muon normuon rownorm sgd adamw", "tied/@", "", "--optimizer adamw --embed-optimizer @ --embed-lr 0.01"),
    ("embed_and_head/right_hybrid", "f32", """--optimizer muon --no-tied-head --embed-optimizer rownorm --head-optimizer polargrad
     --head-center-columns --head-row-norms"""),
    ("embed_and_head/left_hybrid", "", """--optimizer polargrad --no-tied-head --embed-optimizer polargrad --embed-polar-first
     --embed-row-norms --head-optimizer rownorm --head-center-columns"""),
    ("embed_and_head/settings", "bf16", """--optimizer normuon --no-tied-head --head-bias --embed-lr 0.01 --embed-beta1 0.8 --head-lr 0.002
     --head-weight-decay 0.2 --vector-lr 0.02 --vector-weight-decay 0.1"""),
    # Methods for the polar factor.
    *each(METHODS, "polar/@", "f32", "--optimizer muon --polar @"),
    *each("ns5 gram-ns turbo-muon polar-express simple", "polar_bf16/@", "bf16", "--optimizer normuon --polar @ --no-split-qkv"),
    *each("ns5 cubic5 gram-ns turbo-muon precond-ns qdwh zolo-pd", "polar_steps/@", "", "--optimizer muon --polar @ --polar-steps 2"),
    *each("qdwh zolo-pd precond-ns", "polar_converged/@", "", "--optimizer muon --polar @ --polar-steps 0"),
    ("polar/eps", "", "--optimizer muon --polar ns5 --polar-eps 1e-3"),
    # Networks: each choice by itself; all of the published ones together come from configs/.
    ("network/rmsnorm", "f32 bf16", "--norm rmsnorm"),
    ("network/norm_eps", "", "--norm-eps 1e-2"),
    ("network/no_gain", "f32", "--no-norm-gain"),
    ("network/rmsnorm_no_gain", "bf16", "--norm rmsnorm --no-norm-gain --biases no"),
    ("network/rmsnorm_bias", "", "--norm rmsnorm --norm-bias yes"),
    ("network/layernorm_no_bias", "f32", "--norm-bias no"),
    ("network/embed_norm", "f32", "--embed-norm"),
    *each("no qkv", "network/biases_@", "f32 bf16", "--biases @"),
    *each("rope half-rope none", "network/positions_@", "f32 bf16", "--positions @"),
    ("network/rope_base", "", "--positions rope --rope-base 100"),
    ("network/grouped", "f32 bf16", "--n-kv-head 1 --biases qkv"),
    ("network/head_dim", "f32", "--head-dim 24"),
    ("network/qk_norm", "f32 bf16", "--qk-norm"),
    ("network/attention_scale", "", "--attention-scale 0.2"),
    ("network/depth_scaled", "f32", "--depth-scaled-attention"),
    *each("gelu relu2 swiglu", "network/activation_@", "f32 bf16", "--activation @"),
    ("network/d_ff", "f32", "--activation swiglu --d-ff 90 --biases no"),
    ("network/untied", "f32", "--no-tied-head"),
    ("network/head_bias", "f32 bf16", "--no-tied-head --head-bias --zero-head"),
    ("network/padding_counts", "f32", "--no-mask-padding"),
    *each("tanh root", "network/softcap_@", "f32 bf16", "--softcap 5 --softcap-form @"),
    *each("normal normal-fan-in uniform-fan-in", "init/@", "", "--init @ --init-std 0.5"),
    *each("scaled same zero", "init/residual_@", "", "--residual-init @ --embed-init-std 0.3"),
    ("init/seed", "f32", "--seed 7"),
    # The backward pass, micro-batches, data, schedules.
    *each("none activations layer", "recompute/@", "f32 bf16", "--recompute @ --optimizer muon --n-layer 2"),
    *each("activations layer", "recompute_rest/@", "f32", """--recompute @ --n-layer 2 --norm rmsnorm --activation swiglu --qk-norm
          --positions rope --n-kv-head 1 --depth-scaled-attention"""),
    *each("0 1 4", "micro_batch/@", "f32", "--batch-size 4 --micro-batch @"),
    ("clip/off", "f32", "--clip 0"),
    ("clip/small", "bf16", "--clip 0.05 --optimizer sgd"),
    ("bad_step/skip", "f32", "--optimizer sgd --lr 0.1 --embed-lr 0.3 --loss-jump 0.3 --max-skips 100 --on-bad-step skip --clip 0"),
    ("data/align_documents", "f32", "--align-documents"),
    ("data/shard_tail_drop", "f32", "--shard-tail drop"),
    ("data/one_sequence", "", "--batch-size 1 --micro-batch 1 --seq-len 37"),
    *each("constant linear cosine wsd", "schedule/@", "", "--schedule @ --warmup 5"),
    ("schedule/wsd_rest", "f32", "--schedule wsd --cooldown 0.7 --final-lr 0.1 --optimizer muon"),
    ("schedule/cosine_final", "", "--schedule cosine --warmup 2 --final-lr 0.1"),
    ("reports/diagnose", "f32", "--optimizer normuon --diagnose 2"),
    ("reports/samples", "f32", "--sample-every 2 --sample-tokens 8"),
    *each("base avx2 avx512", "processor/@", "", "POLAR_ISA=@ --optimizer normuon"),
    *each("adamw muon", "processor/openblas_@", "", "POLAR_BLAS= --optimizer @"),
    *each("adamw muon normuon polargrad", "resume/@", "f32", "--optimizer @"),
    ("resume/rest", "bf16", "--optimizer normuon --form official --align-documents --schedule wsd --embed-optimizer rownorm --momentum-warmup 8"),
    ("resume/drop", "", "--optimizer sgd --shard-tail drop --schedule cosine"),
    # Matrix problems: besides these every preset of configs/problems.
    ("problem/quadratic_sgd", "f32", "problem quadratic --optimizer sgd --lr 1e-6"),
    ("problem/quadratic_adamw", "", "problem quadratic --optimizer adamw --lr 0.1 --schedule cosine --warmup 3"),
    ("problem/quadratic_f64", "", "problem quadratic --optimizer muon --type f64 --lr 0.1"),
    ("problem/logistic_normuon", "f32", "problem logistic --optimizer normuon --lr 0.1 --clip 1"),
    ("problem/logistic_f64", "", "problem logistic --optimizer polargrad --type f64 --lr 1e-5"),
    ("problem/completion_rownorm", "", "problem completion --optimizer rownorm --lr 0.1 --decay-every 4 --decay-factor 0.5"),
    ("problem/completion_altgd_fast", "f32", "problem completion --optimizer altgd --lr 0.1"),
    *each("logistic completion", "problem/@_own_products", "f32", "POLAR_BLAS=none problem @ --optimizer muon --lr 0.1 --diagnose 0"),
    ("problem/completion_f64", "", "problem completion --optimizer polargrad --polar-first --type f64 --lr 1"),
]
PROBLEM_PRESETS_ON_GPU = {"quadratic_newton", "quadratic_polargrad_polar_first", "logistic_muon_qdwh", "completion_muon"}

# Our own products unless a case asks for what LAPACK is needed for, as singular values are; problems report them.
NEEDS_LAPACK = re.compile(r"qdwh|zolo-pd|svd|optimizer polargrad(?!.*-polar )|--diagnose|^problem")
LACKING = re.compile("LAPACK|instruction set")
TIMES = {"elapsed_s", "step_ms", "tokens_per_s", "flops_per_s", "mfu", "memory_bytes", "device_memory_bytes", "ms", "time"}
LOSSES = ("kind", "step", "loss", "grad_norm", "clip_scale", "skipped", "val_loss", "text")
FOLDER = ROOT / "build" / "same_bits"


@dataclass
class Case:
    name: str
    part: str  # cpu or gpu
    environment: dict
    options: list  # with {base}, {data}

    @property
    def key(self):
        return f"{self.part}/{self.name}"


@dataclass
class Side:
    name: str
    folder: Path
    programs: dict  # by part


# ------------------------------------------------------------------------------------------------------- the cases

def preset_cases(tree):
    """Every network of configs/ with every optimizer that it has there, and every matrix problem."""
    names = sorted(os.path.relpath(path, tree / "configs")[:-5] for path in glob.glob(str(tree / "configs/**/*.conf"), recursive=True))
    for name in names:
        if name.startswith("problems/"):
            problem = name.split("/")[1].split("_")[0]
            more = "--lr 1" if re.match("completion_(polargrad|altgd)", name[9:]) else ""  # the paper's is for its size
            yield (f"problem/{name[9:]}", "f32" if name[9:] in PROBLEM_PRESETS_ON_GPU else "",
                   f"problem {problem} --config {{base}}/configs/{name}.conf {more}")
            continue
        network = name.rpartition("_")[0]
        if any(other.startswith(name + "_") for other in names):
            continue  # a network, which comes with its optimizers
        files = [network, name] if network in names else [name]
        options = [f"--config {{base}}/configs/{file}.conf" for file in files]
        options += [more for prefix, more in PRESETS.items() if name.startswith(prefix)]
        yield f"preset/{name}", PRESETS_ON_GPU.get(name, ""), " ".join([PRESET, *options])


def all_cases(tree):
    found = []
    for name, types, options in [*CASES, *preset_cases(tree)]:
        lapack = NEEDS_LAPACK.search(options) or any(
            NEEDS_LAPACK.search(Path(path.format(base=tree)).read_text()) for path in re.findall(r"\S+\.conf", options))
        for part, dtype in [("cpu", "f32"), *(("gpu", dtype) for dtype in types.split())]:
            words = shlex.split(options)
            environment = {} if lapack else {"POLAR_BLAS": "none"}
            while re.match("[A-Z_]+=", words[0]):
                key, _, value = words.pop(0).partition("=")
                environment[key] = value
            device = ["--device", "cpu" if part == "cpu" else "cuda"]
            if words[0] == "problem":
                words = [*words[:2], *shlex.split(PROBLEMS[words[1]]), *shlex.split(PROBLEM), *words[2:], *device]
            else:
                words = [*shlex.split(COMMON), *shlex.split(SIZES[part]), *words, *device, "--dtype", dtype]
            found.append(Case(name if part == "cpu" else f"{name}/{dtype}", part, environment, words))
    names = [case.key for case in found]
    assert len(names) == len(set(names)), [name for name in names if names.count(name) > 1]
    return found


def make_texts(folder):
    """Some 200 kB of words drawn at random, the same everywhere: something to learn, in documents of unequal length."""
    rng = random.Random(11)
    words = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(2, 8))) for _ in range(300)]
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i in range(100):
        paths.append(folder / f"text{i:03}.txt")
        lines = [" ".join(rng.choices(words, k=rng.randint(3, 12))) for _ in range(rng.randint(10, 90))]
        paths[-1].write_text("\n".join(lines) + "\n", encoding="ascii")
    return paths


def tokenize(side):
    """Makes the side's shards, and returns their hashes."""
    out = side.folder / "data"
    result = subprocess.run([side.programs["cpu"], "tokenize", "--out", out, "--name", "text", "--shard-tokens", "2500", "--threads", "1",
                             "--overwrite", *make_texts(side.folder / "texts")], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"error: {side.name}: train tokenize: {result.stderr.strip()}")
    return {path.name: sha256(path.read_bytes()) for path in sorted(out.glob("text_*.bin"))}


# -------------------------------------------------------------------------------------------------------- building

def run_make(tree, *arguments):
    """In an environment without what a make that this was started by has set."""
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "BASE")}
    command = ["make", f"-j{len(os.sched_getaffinity(0))}", *arguments]
    result = subprocess.run(command, cwd=tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if result.returncode != 0:
        sys.exit("\n".join([*result.stdout.splitlines()[-20:], f"error: '{' '.join(command)}' fails in {tree}: nothing was compared"]))


def built(tree, build):
    """The program that this build made: `train`, whatever folder below the build's it lies in."""
    found = [tree / build / "train", *sorted((tree / build).glob("**/train"))]
    found = [path for path in found if path.is_file() and os.access(path, os.X_OK)]
    if not found:
        sys.exit(f"error: no program `train` below {tree / build} after make; name it by --train, --base-train, --emulated, --base-emulated")
    return found[0]


def name_of_emulator(tree):
    """The value of CUDA, besides yes and no, that the tree's makefiles know."""
    for path in [tree / "Makefile", *(path for path in sorted(tree.glob("**/*.mk")) if path.relative_to(tree).parts[0] != "build")]:
        for name in re.findall(r"ifeq \(\$\(CUDA\), *([\w-]+)\)", path.read_text()):
            if name not in ("yes", "no"):
                return name
    sys.exit(f"error: the makefiles of {tree} build no emulated GPU; name its program by --emulated or --base-emulated, or use --cpu")


def build(tree, folder, parts, given):
    """The programs by part. `folder` is relative to the tree; what is the same in both parts is compiled once."""
    programs = dict(given)
    if programs.get("cpu") is None:
        run_make(tree, "CUDA=no", f"BUILD={folder}/cpu", "all")
        programs["cpu"] = built(tree, f"{folder}/cpu")
    if "gpu" in parts and programs.get("gpu") is None:
        emulated = f"{folder}/emulated"
        shared = [f"OBJECTS_FROM={folder}/cpu"] if given.get("cpu") is None else []
        run_make(tree, f"CUDA={name_of_emulator(tree)}", f"BUILD={emulated}", *shared, "all")
        programs["gpu"] = built(tree, emulated)
    return {part: Path(path).resolve() for part, path in programs.items() if path is not None}


def git(*arguments):
    result = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"error: git {' '.join(map(str, arguments))}: {result.stderr.strip()}")
    return result.stdout.strip()


def base_tree(commit):
    tree = FOLDER / commit / "tree"
    if not (tree / "Makefile").exists():
        shutil.rmtree(tree, ignore_errors=True)
        git("worktree", "prune")
        git("worktree", "add", "--detach", tree, commit)
    return tree


# --------------------------------------------------------------------------------------------------- running, hashing

def sha256(data):
    return hashlib.sha256(data).hexdigest()


def records_of(path):
    """The lines of a file of records, without times and without those of stopping and resuming."""
    found = []
    for line in path.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        record = json.loads(line)
        if record["kind"] not in ("resume", "end"):
            found.append({key: value for key, value in record.items() if key not in TIMES})
    return found


def losses_of(out):
    return [{key: record[key] for key in LOSSES if key in record} for record in records_of(out / "metrics.jsonl")]


def last_checkpoint(out):
    return max((out / "checkpoints").glob("step_*"))


def hashes_of(case, out):
    if case.options[0] == "problem":
        return {"metrics.jsonl": sha256(json.dumps(records_of(out / "metrics.jsonl")).encode())}
    checkpoint = last_checkpoint(out)
    found = {name: sha256((checkpoint / name).read_bytes()) for name in ("model.safetensors", "optimizer.safetensors")}
    found["losses"] = sha256(json.dumps(losses_of(out)).encode())
    if (out / "diagnostics.jsonl").exists():
        found["diagnostics.jsonl"] = sha256(json.dumps(records_of(out / "diagnostics.jsonl")).encode())
    return found


def run_once(case, side, words):
    environment = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", **case.environment)
    try:
        result = subprocess.run([side.programs[case.part], *words], env=environment, capture_output=True, text=True, errors="replace",
                                check=False, timeout=LONGEST_S)
    except subprocess.TimeoutExpired:
        return f"not done after {LONGEST_S} s"
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines() or [f"status {result.returncode}"]
        return lines[-1]
    return None


def folder_of(case, side):
    return side.folder / "runs" / case.key.replace("/", "_")


def clean(side, case):
    shutil.rmtree(folder_of(case, side), ignore_errors=True)


def run_case(case, side, base):
    """The hashes of what one program makes of it, or {"error": why it made nothing}, and the seconds that it took."""
    begin = time.monotonic()
    out = folder_of(case, side)
    clean(side, case)
    words = [word.format(base=base.folder / "tree", data=base.folder / "data") for word in case.options]
    words += ["--out", str(out)]
    resumed = case.name.startswith("resume/")
    at = RESUME_AT[case.part]
    error = run_once(case, side, [*words, "--checkpoint-every", str(at), "--keep", "0"] if resumed else words)
    if error is None and resumed:
        unstopped = hashes_of(case, out)
        if len(list((out / "checkpoints").glob("step_*"))) != 2:
            error = "not two checkpoints"
        else:
            shutil.rmtree(last_checkpoint(out))
            error = run_once(case, side, ["--resume", str(out)])
        if error is None and hashes_of(case, out) != unstopped:
            error = f"resumed at step {at} it does not end like the run that was not stopped"
    found = {"error": error} if error is not None else hashes_of(case, out)
    return found, time.monotonic() - begin


# --------------------------------------------------------------------------------------------------------- differences

def tensors_of(path):
    """{name: (type, shape, bytes)} in the order of the file."""
    data = path.read_bytes()
    size = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    return {name: (entry["dtype"], entry["shape"], data[8 + size + entry["data_offsets"][0]:8 + size + entry["data_offsets"][1]])
            for name, entry in header.items()}


def greatest_difference(kind, mine, other):
    code = {"F32": "f", "F64": "d"}.get(kind)
    if code is None:
        return "other bytes"
    if np is not None:
        a, b = (np.frombuffer(data, dtype=code) for data in (mine, other))
        bits = f"u{a.itemsize}"
        count, worst = (a.view(bits) != b.view(bits)).sum(), np.abs(a.astype(float) - b).max()
    else:
        a, b = array.array(code, mine), array.array(code, other)
        differences = [abs(x - y) for x, y in zip(a, b)]
        count = sum(mine[i:i + a.itemsize] != other[i:i + a.itemsize] for i in range(0, len(mine), a.itemsize))
        worst = float("nan") if any(d != d for d in differences) else max(differences)
    return f"{count} of {len(a)} elements, by at most {worst:.3g}"


def explain_tensors(mine, other, most=3):
    mine, other = tensors_of(mine), tensors_of(other)
    lines = []
    for title, names in (("no longer there", [n for n in other if n not in mine]), ("new", [n for n in mine if n not in other])):
        if names:
            lines.append(f"{title}: {', '.join(names[:most])}{' ...' if len(names) > most else ''}")
    both = [name for name in other if name in mine]
    different = [name for name in both if mine[name] != other[name]]
    for name in different[:most]:
        (kind, shape, data), (other_kind, other_shape, other_data) = mine[name], other[name]
        if (kind, shape) != (other_kind, other_shape):
            lines.append(f"{name}: {other_kind} {other_shape} became {kind} {shape}")
        else:
            lines.append(f"{name}: {greatest_difference(kind, data, other_data)}")
    if len(different) > most:
        lines.append(f"... {len(different)} of {len(both)} tensors")
    return lines or ["the same tensors in another order, or another header"]


def explain_records(mine, other):
    for n, (a, b) in enumerate(zip(mine, other)):
        if a != b:
            keys = [key for key in {**b, **a} if a.get(key) != b.get(key)]
            key = keys[0]
            return [f"from step {b.get('step', n)} on: {key} {json.dumps(a.get(key))}, was {json.dumps(b.get(key))}"]
    return [f"{len(mine)} records, were {len(other)}"]


def explain(case, name, present, base):
    """Lines about a file that differs; both runs are there."""
    mine, other = folder_of(case, present), folder_of(case, base)
    if name.endswith(".safetensors"):
        return explain_tensors(last_checkpoint(mine) / name, last_checkpoint(other) / name)
    if name == "losses":
        return explain_records(losses_of(mine), losses_of(other))
    return explain_records(records_of(mine / name), records_of(other / name))


# ---------------------------------------------------------------------------------------------------------------- main

def processor():
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.M)
        if found:
            return found[1]
    return os.uname().machine


class Cache:
    """BASE's hashes by case, each with what it was made of."""

    def __init__(self, base):
        self.path, self.tree = base.folder / "hashes.json", base.folder / "tree"
        self.data, self.lock = {}, threading.Lock()
        with contextlib.suppress(OSError, ValueError):
            self.data = json.loads(self.path.read_text())

    def madeof(self, case):
        presets = [Path(word.format(base=self.tree)).read_text() for word in case.options if word.endswith(".conf")]
        return sha256(json.dumps([case.environment, case.options, presets, processor(), self.data.get("shards")]).encode())

    def get(self, case):
        entry = self.data.get("cases", {}).get(case.key)
        return entry["hashes"] if entry and entry["of"] == self.madeof(case) else None

    def put(self, case, hashes):
        with self.lock:
            self.data.setdefault("cases", {})[case.key] = {"of": self.madeof(case), "hashes": hashes}
            new = self.path.with_suffix(".new")
            new.write_text(json.dumps(self.data, indent=1) + "\n")
            os.replace(new, self.path)


def run_part(cases, base, present, cache, jobs):
    """{key: hashes} of the present tree; BASE's are then in the cache."""
    found, seconds = {}, {"base": 0.0, "present": 0.0}
    ran = {"base": 0, "present": 0}
    lock = threading.Lock()

    def one(case, side):
        hashes, took = run_case(case, side, base)
        with lock:
            seconds[side.name] += took
            ran[side.name] += 1
        if side is base:
            cache.put(case, hashes)
            clean(side, case)
        else:
            found[case.key] = hashes
            if hashes == cache.get(case):
                clean(side, case)

    begin = time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        futures = []
        for case in cases:
            if cache.get(case) is None:
                futures.append(pool.submit(one, case, base))
            if present is not None:
                futures.append(pool.submit(one, case, present))
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    for name in ("base", "present"):
        if ran[name]:
            print(f"{cases[0].part}: {ran[name]} cases by the {name} program in {seconds[name]:.0f} s of runs")
    print(f"{cases[0].part}: {time.monotonic() - begin:.0f} s with {jobs} jobs", flush=True)
    return found


def compare_case(case, mine, base, present, cache):
    """[(file, what differs)], empty where all is equal; None where neither side can run it for want of something."""
    other = cache.get(case)
    if mine == other:
        if "error" not in mine:
            return []
        return None if LACKING.search(mine["error"]) else [("both", f"neither runs: {mine['error']}")]
    if "error" in mine:
        return [("run", f"fails: {mine['error']}" + (f"; base: {other['error']}" if "error" in other else ""))]
    if "error" in other:
        return [("run", f"runs, but base fails: {other['error']}")]
    again, _ = run_case(case, base, base)  # for the files
    if again != other:
        cache.put(case, again)
        if again == mine:
            return []
        if "error" in again:
            return [("run", f"base fails: {again['error']}")]
    names = [name for name in {**again, **mine} if again.get(name) != mine.get(name)]
    return [(name, "; ".join(explain(case, name, present, base)) if name in mine and name in again
             else "is new" if name in mine else "is missing") for name in names]


def compare(cases, hashes, base, present, cache, arguments):
    """Prints what differs; how many cases are equal, differ, differ as expected and cannot run."""
    counts = Counter()
    with ThreadPoolExecutor(arguments.jobs) as pool:
        results = pool.map(lambda case: compare_case(case, hashes[case.key], base, present, cache), cases)
        for case, found in zip(cases, results):
            if found:
                counts[report(case.key, found, arguments.allow)] += 1
                continue
            counts["equal" if found is not None else "lacking"] += 1
            if found is None:
                print(f"not run {case.key}: {hashes[case.key]['error']}")
            clean(base, case)
            clean(present, case)
    return counts


def report(key, found, allowed):
    expected = all(any(expression.search(f"{key}: {name}") for expression in allowed) for name, _ in found)
    print(f"{'expected' if expected else 'DIFFERS'} {key}: {', '.join(name for name, _ in found)}",
          *(f"  {name}: {text}" for name, text in found), sep="\n", flush=True)
    return "expected" if expected else "differ"


def regular_expression(text):
    try:
        return re.compile(text)
    except re.error as why:
        raise ValueError(text) from why


def parse():
    parser = Parser(prog="tests/e2e/same_bits.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", metavar="BASE", help="the commit to compare with")
    parser.add_argument("--cpu", action="store_true", help="the CPU's part only")
    parser.add_argument("--gpu", action="store_true", help="the emulated GPU's part only")
    parser.add_argument("--case", type=regular_expression, metavar="REGEX", help="those cases only, as 'cpu/muon/' or 'gpu/.*/bf16'")
    parser.add_argument("--base-only", action="store_true", help="make BASE's hashes and stop")
    parser.add_argument("--allow", type=regular_expression, action="append", default=[], metavar="REGEX",
                        help="differences that are expected, of 'CASE: FILE'; may be repeated")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), metavar="N", help="runs at once [%(default)s]")
    parser.add_argument("--list", action="store_true", help="print the cases and stop")
    parser.add_argument("--train", metavar="FILE", help="the present tree's program, else it is built in build/same_bits/present")
    parser.add_argument("--emulated", metavar="FILE", help="the present tree's program with the emulated GPU")
    parser.add_argument("--base-train", metavar="FILE", help="BASE's program")
    parser.add_argument("--base-emulated", metavar="FILE", help="BASE's program with the emulated GPU")
    arguments = parser.parse_args()
    for path in (arguments.train, arguments.emulated, arguments.base_train, arguments.base_emulated):
        if path is not None and not (os.path.isfile(path) and os.access(path, os.X_OK)):
            parser.error(f"{path} is not a program")
    if arguments.jobs < 1:
        parser.error("--jobs has to be 1 or more")
    return arguments


def main():
    arguments = parse()
    parts = ("cpu", "gpu") if arguments.cpu == arguments.gpu else ("cpu",) if arguments.cpu else ("gpu",)
    commit = git("rev-parse", "--verify", arguments.base + "^{commit}")[:12]
    FOLDER.mkdir(parents=True, exist_ok=True)
    with open(FOLDER / "lock", "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"error: another call is running in {FOLDER}")
        return check(commit, arguments, parts)


def check(commit, arguments, parts):
    tree = base_tree(commit)
    cases = [case for case in all_cases(tree) if case.part in parts and (arguments.case is None or arguments.case.search(case.key))]
    if not cases:
        sys.exit("error: no case has such a name")
    if arguments.list:
        for case in cases:
            print(case.key, *(f"{key}={value}" for key, value in case.environment.items()), *case.options)
        return 0
    cases = {part: [case for case in cases if case.part == part] for part in sorted({case.part for case in cases})}
    base = Side("base", FOLDER / commit, build(tree, "build", cases, {"cpu": arguments.base_train, "gpu": arguments.base_emulated}))
    cache = Cache(base)
    cache.data["shards"] = tokenize(base)
    if arguments.base_only:
        return fill(cases, base, cache, arguments.jobs)
    folder = os.path.relpath(FOLDER / "present", ROOT)
    present = Side("present", FOLDER / "present", build(ROOT, folder, cases, {"cpu": arguments.train, "gpu": arguments.emulated}))
    counts = Counter()
    if "cpu" in cases:
        mine, other = tokenize(present), cache.data["shards"]
        names = [name for name in {**other, **mine} if mine.get(name) != other.get(name)]
        found = [("shards", f"{len(names)}, the first {names[0]}; both programs train on BASE's")] if names else []
        counts[report("cpu/tokenize", found, arguments.allow) if found else "equal"] += 1
    for part, chosen in cases.items():
        hashes = run_part(chosen, base, present, cache, arguments.jobs)
        counts += compare(chosen, hashes, base, present, cache, arguments)
    more = [f"{counts[key]} {what}" for key, what in (("expected", "differ as expected"), ("lacking", "cannot run here")) if counts[key]]
    print(", ".join([f"{counts['equal']} equal", f"{counts['differ']} differ", *more]))
    return int(counts["differ"] > 0)


def fill(cases, base, cache, jobs):
    """BASE's hashes alone."""
    status = 0
    for chosen in cases.values():
        run_part(chosen, base, None, cache, jobs)
        errors = {case.key: cache.get(case)["error"] for case in chosen if "error" in cache.get(case)}
        for key, error in errors.items():
            print(f"not run {key}: {error}")
            status |= LACKING.search(error) is None
    print(f"hashes of {base.folder.name}: {cache.path}")
    return int(status)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
