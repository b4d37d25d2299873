#!/usr/bin/env python3
"""Whole runs on CUDA, which tests/emulator emulates: against the CPU's, the same bits however they come about, and when
the device fails."""
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
import tiny_runs as tiny
from measure_memory import planned

EMULATOR = os.path.join(tiny.ROOT, os.environ.get("BUILD", "build"), "emulator", "train")
STEPS = 4


def allowed(unit, terms):
    """The relative error of losses and of norms of the gradient by roundings of `unit`, of the results of sums of `terms`.

    A number passes 7 operations a layer, and the last norm and the head count as a layer (docs/design.md, section 9), forward
    and backward: 2 * 7 * 2 = 28 roundings by unit / sqrt(3) rms, each sqrt(terms) times where the sum is rounded term by term.
    Of such errors in 32 channels of 16 tokens the norm is off by their mean, which is 1 / sqrt(16 * 32) of one. A loss is
    off by the logits' error times the norm of p - y, at most sqrt(2), in a mean over 16 tokens: for logits of spread 1 and
    relative to a loss of 5.5 the same. Errors of STEPS steps add like a random walk, and four standard deviations are allowed.
    That optimizers divide by small numbers, signs' or singular values', does not count: a step is the steepest within its
    norm, so that its error changes the loss in second order."""
    return 4 * math.sqrt(STEPS * 28 * terms / 3 / (16 * 32)) * unit


F32 = allowed(2**-24, 2 * 128)  # two programs; 1.0e-6, of which 2e-7 are seen
BF16 = allowed(2**-8, 1)  # sums are in fp32, and the CPU's fp32 is exact beside it; 4.2e-3, of which 1.1e-3 are seen
# Solves on the CPU are those of OpenBLAS, which starts slower.
WITH_LAPACK = dict(os.environ, OMP_NUM_THREADS="1")


def small(folder, *options):
    """A run of 4 steps of 16 tokens."""
    return [*tiny.make_data(folder), "--n-layer", "1", "--seq-len", "8", "--batch-size", "2", "--micro-batch", "1", "--steps",
            str(STEPS), "--eval-every", "2", "--val-tokens", "32", "--sample-every", "3", "--sample-tokens", "3", "--schedule",
            "constant", "--warmup", "0", *options]


def cuda(**settings):
    """The environment with settings of the emulator."""
    return dict(tiny.ENVIRONMENT, **{f"CUDA_EMULATOR_{key.upper()}": str(value) for key, value in settings.items()})


def train(out, *options, device="cuda", dtype="f32", environment=tiny.ENVIRONMENT):
    tiny.run(*options, "--device", device, "--dtype", dtype, "--out", out, environment=environment)
    return out


def resume(run, *options, **settings):
    return tiny.train("--resume", run, "--max-time", "0", *options, environment=cuda(**settings))


def steps_of(run):
    return [record for record in tiny.records(run) if record["kind"] == "train"]


def check_close(run, reference, tolerance, keys=("loss", "grad_norm")):
    mine, other = steps_of(run), steps_of(reference)
    assert len(mine) == len(other) == STEPS
    for a, b in zip(mine, other):
        for key in keys:
            assert abs(a[key] - b[key]) <= tolerance * abs(b[key]), f"step {b['step']}: {key} {a[key]}, {b[key]} expected"


def check_as_cpu(folder, optimizer, *options, solves=False):
    """Losses and norms of the gradient in both types."""
    options = [*small(folder, "--optimizer", optimizer, "--eval-every", "0", "--sample-every", "0", *options)]
    name = os.path.join(folder, "_".join((optimizer, *options[-2:]))).replace("--", "")
    cpu = train(f"{name}_cpu", *options, device="cpu", environment=WITH_LAPACK if solves else tiny.ENVIRONMENT)
    assert steps_of(cpu)[-1]["loss"] != steps_of(cpu)[0]["loss"]
    check_close(train(f"{name}_f32", *options), cpu, F32)
    check_close(train(f"{name}_bf16", *options, dtype="bf16"), cpu, BF16)


def optimizers_agree_with_cpu(folder):
    out, _ = tiny.run("--help", "optimizers")
    names = re.findall(r"^  ([a-z]\w*) ", out, re.M)
    assert "adamw" in names and "polargrad" in names, names
    for name in names:
        check_as_cpu(folder, name, *(("--polar", "ns5") if name == "polargrad" else ()))


def need_lapack():
    result = tiny.train("polar", "--device", "cpu", "--method", "svd", "--shape", "2x2", environment=WITH_LAPACK)
    if result.returncode != 0 and "LAPACK" in result.stderr:
        raise tiny.Skip("no LAPACK here")


def solves_agree_with_cpu(folder):
    """With so many tokens that gradients have full rank: else there are singular values of roundoff's size, which an exact
    polar factor makes 1 like all others, and their directions, which are no more than noise, go into the next steps."""
    need_lapack()
    for method in ("qdwh", "zolo-pd"):
        check_as_cpu(folder, "polargrad", "--batch-size", "8", "--micro-batch", "4", "--polar", method, solves=True)


def networks_agree_with_cpu(folder):
    check_as_cpu(folder, "normuon", "--n-kv-head", "1", "--norm", "rmsnorm", "--positions", "rope", "--activation", "swiglu",
                 "--biases", "no", "--no-tied-head")
    check_as_cpu(folder, "muon", "--norm", "rmsnorm", "--embed-norm", "--positions", "half-rope", "--qk-norm", "--activation",
                 "relu2", "--no-tied-head", "--head-bias", "--softcap", "15")


def check_same_bits(folder, dtype, *options):
    options = small(folder, *options)
    reference = train(os.path.join(folder, "reference"), *options, dtype=dtype)
    for order in ("ascending", "descending", "random:7"):
        run = os.path.join(folder, order)
        train(run, *options, dtype=dtype, environment=cuda(order=order))
        tiny.check_same_end(run, reference, STEPS)


def same_bits_in_all_orders_bf16(folder):
    check_same_bits(folder, "bf16", "--optimizer", "normuon", "--diagnose", "2")


def same_bits_in_all_orders_f32(folder):
    check_same_bits(folder, "f32", "--optimizer", "polargrad", "--vector-optimizer", "adamw")


def stopped_and_resumed(folder):
    rng = random.Random()
    for optimizer, dtype in (("adamw", "f32"), ("normuon", "bf16")):
        options = small(folder, "--optimizer", optimizer)
        reference = train(os.path.join(folder, f"{optimizer}_reference"), *options, dtype=dtype)
        run = train(os.path.join(folder, optimizer), *options, "--max-time", "1e-9", dtype=dtype)
        stops = rng.randrange(STEPS - 1)
        for _ in range(stops):
            tiny.run("--resume", run)
        assert tiny.checkpoints(run)[-1] == 1 + stops
        resume(run)
        tiny.check_same_end(run, reference, STEPS)


def counts(folder, steps, *options, dtype="f32"):
    """Kernels that the host launched, streams it recorded and recordings it replayed in a run of so many steps."""
    path = os.path.join(folder, "counts")
    tiny.run(*small(folder, "--eval-every", "0", "--sample-every", "0", "--val-data=", *options), "--steps", str(steps), "--device",
             "cuda", "--dtype", dtype, "--out", os.path.join(folder, "run"), "--overwrite", environment=cuda(counts=path))
    with open(path) as file:
        return {name: int(value) for name, value in map(str.split, file)}


def steps_are_replayed(folder):
    """From the third step on the host launches no kernel, but the passes of two micro-batches and the update as recorded in
    the second; the update only where no method of it waits for the host, which its declaration says."""
    for optimizer, *options in (("adamw",), ("sgd",), ("lion",), ("signum",), ("muon", "--polar", "gram-ns"), ("muon", "--polar", "turbo-muon"), ("normuon",), ("rownorm",),
                                ("polargrad", "--polar", "polar-express"), ("polargrad", "--polar", "precond-ns"), ("polargrad", "--polar", "qdwh")):
        waits = "precond-ns" in options or "qdwh" in options
        dtype = "f32" if waits else "bf16"
        three, five = (counts(folder, steps, "--optimizer", optimizer, *options, dtype=dtype) for steps in (3, 5))
        recordings = 2 if waits else 3
        assert three["recordings"] == five["recordings"] == recordings, (optimizer, options, three, five)
        assert (three["replays"], five["replays"]) == (2 * recordings, 4 * recordings), (optimizer, options, three, five)
        assert (five["launches"] > three["launches"]) == waits, (optimizer, options, three, five)


def profilers_see_what_runs(folder):
    """The ranges of a run as a profiler would be told of them, and the same bits with and without one."""
    library = os.path.join(os.path.dirname(EMULATOR), "tests/fixtures/nvtx_ranges.so")
    if not os.path.exists(library):
        raise tiny.Skip("this CUDA toolkit has no NVTX 3")
    options = small(folder, "--optimizer", "normuon", "--checkpoint-every", "2", "--sample-every", "0")
    reference = train(os.path.join(folder, "reference"), *options)
    path = os.path.join(folder, "ranges")
    run = train(os.path.join(folder, "run"), *options, environment=dict(tiny.ENVIRONMENT, NVTX_INJECTION64_PATH=library, RANGES_FILE=path))
    tiny.check_same_end(run, reference, STEPS)
    open_ranges, found = {}, []  # by thread; paths of names with the last one's number, in order of beginning
    with open(path) as file:
        for line in file:
            word, thread, *rest = line.split()
            stack = open_ranges.setdefault(thread, [])
            if word == "end":
                stack.pop()
            else:
                stack.append(" ".join(rest[:-1]))
                found.append(("/".join(stack), int(rest[-1])))
    assert len(open_ranges) == 2 and not any(open_ranges.values()), open_ranges
    # The first step is issued and the second recorded; what comes then is replayed. The head and the embedding are blocks too.
    issued = [(f"step/passes/{kind}", block) for kind, blocks in (("forward", (0, 1, 2)), ("backward", (2, 1, 0))) for block in blocks]
    main = []
    for step in range(1, STEPS + 1):
        main.append(("step", step))
        for micro in range(2):
            main += [("step/passes", micro), *(issued if step <= 2 else ())]
        main.append(("step/optimizer", step))
        if step % 2 == 0:
            main += [("evaluate", step), ("checkpoint", step)]
    assert found[0] == ("evaluate", 0)
    assert [entry for entry in found[1:] if not entry[0].startswith(("evaluate/", "write"))] == main, found
    # Three validations of 32 tokens: sequences of 8, one at a time, through three blocks.
    assert sum(name == "evaluate/forward" for name, _ in found) == 3 * 4 * 3, found
    assert [entry for entry in found if "write" in entry[0]] == [("write checkpoint", 2), ("write checkpoint", 4)], found


def from_cpu_to_cuda_and_back(folder):
    options = small(folder, "--optimizer", "muon")
    cpu = train(os.path.join(folder, "cpu"), *options, device="cpu")
    for dtype, tolerance in (("f32", F32), ("bf16", BF16)):
        run = train(os.path.join(folder, dtype), *options, "--max-time", "1e-9", device="cpu")
        tiny.run("--resume", run, "--device", "cuda", "--dtype", dtype)
        tiny.run("--resume", run, "--device", "cpu", "--dtype", "f32", "--max-time", "0")
        devices = [json.loads(line) for line in open(os.path.join(run, "metrics.jsonl"))]
        devices = [record["device"] for record in devices if record["kind"] == "resume"]
        assert "CUDA on CPU" in devices[0] and "CUDA" not in devices[1], devices
        check_close(run, cpu, tolerance)
        assert [s["loss"] for s in steps_of(run)[:1]] == [s["loss"] for s in steps_of(cpu)[:1]]
        assert steps_of(run)[1]["loss"] != steps_of(cpu)[1]["loss"], "the second step was not made on cuda"


def recompute_gives_the_same_bits(folder):
    options = small(folder, "--n-layer", "2", "--activation", "swiglu", "--qk-norm")
    reference = train(os.path.join(folder, "none"), *options, dtype="bf16")
    for level in ("activations", "layer"):
        run = train(os.path.join(folder, level), *options, "--recompute", level, dtype="bf16")
        tiny.check_same_end(run, reference, STEPS)


def micro_batches_agree(folder):
    options = small(folder, "--batch-size", "4")
    one = train(os.path.join(folder, "one"), *options)
    for micro in ("2", "4"):
        check_close(train(os.path.join(folder, micro), *options, "--micro-batch", micro), one, F32)


def other_commands(folder):
    run = train(os.path.join(folder, "run"), *small(folder))
    found = {}
    for device in ("cpu", "cuda"):
        result = json.loads(tiny.run("eval", run, "--device", device, "--json")[0])
        text, _ = tiny.run("sample", run, "--device", device, "--temperature", "0", "--tokens", "8", "--prompt", "abc")
        found[device] = result["val_loss"], text
    assert math.isclose(found["cuda"][0], found["cpu"][0], rel_tol=F32), found
    assert found["cuda"][1] == found["cpu"][1] and len(text) > 3, found
    # The last step's validation is that of `eval`.
    losses = [record["val_loss"] for record in tiny.records(run) if record["kind"] == "val"]
    assert math.isclose(losses[-1], found["cuda"][0], rel_tol=1e-12), losses
    run = train(os.path.join(folder, "gpt2"), *small(folder, "--biases", "yes"), dtype="bf16")
    for device in ("cpu", "cuda"):  # on the CPU in fp32, which it has
        result = json.loads(tiny.run("eval", run, "--device", device, "--json")[0])
        losses = [record["val_loss"] for record in tiny.records(run) if record["kind"] == "val"]
        assert math.isclose(losses[-1], result["val_loss"], rel_tol=BF16 if device == "cpu" else 1e-12), losses
    tiny.run("export", run, "--out", os.path.join(folder, "export"))
    text, _ = tiny.run("sample", os.path.join(folder, "export"), "--vocab", "bytes", "--device", "cuda", "--tokens", "4")
    assert text


def polar_factors(_):
    need_lapack()
    found = []
    for device in ("cpu", "cuda"):
        out, _ = tiny.run("polar", "--device", device, "--shape", "24x16", "--repeat", "1", "--json", "--method", "ns5,qdwh,svd",
                          environment=WITH_LAPACK)
        found.append([json.loads(line) for line in out.splitlines()])
    assert len(found[0]) == len(found[1]) == 3
    for mine, other in zip(*found):
        assert mine["method"] == other["method"] and abs(mine["forward_error"] - other["forward_error"]) <= F32, (mine, other)


def polar_memory_runs_out(_):
    """At every allocation of `train polar`: one line."""
    need_lapack()
    command = ["polar", "--device", "cuda", "--shape", "20x12", "--repeat", "1", "--method", "ns5,qdwh,svd", "--spectrum", "gaussian,condition:100"]
    refused = 0
    for n in range(1, 1000):
        result = tiny.train(*command, environment=cuda(fail_alloc=n))
        if result.returncode == 0:
            break
        tiny.check_one_line(result)
        assert re.search("out of memory", result.stderr), result.stderr
        refused += 1
    # Five of the method and four of the measurement a row, at least.
    assert 6 * 9 <= refused < 999, refused


def matrix_problems(folder):
    need_lapack()
    sizes = ["--steps", str(STEPS), "--log-every", "1", "--quiet"]
    for name, *options in (("quadratic", "--rows", "12", "--cols", "10", "--x-rows", "8", "--x-cols", "6", "--lr", "0.1", "--optimizer",
                            "newton"),
                           ("quadratic", "--rows", "12", "--cols", "10", "--x-rows", "8", "--x-cols", "6", "--lr", "1e-5", "--optimizer",
                            "polargrad"),
                           ("logistic", "--rows", "20", "--cols", "10", "--x-rows", "8", "--x-cols", "6", "--batch", "10",
                            "--lr", "0.1", "--optimizer", "muon"),
                           ("completion", "--rows", "12", "--cols", "10", "--rank", "2", "--lr", "0.1", "--optimizer", "altgd")):
        losses = []
        for device in ("cpu", "cuda"):
            out = os.path.join(folder, f"{name}_{options[-1]}_{device}")
            tiny.run("problem", name, *options, *sizes, "--device", device, "--out", out, environment=WITH_LAPACK)
            losses.append([record["loss"] for record in tiny.records(out) if "loss" in record])
        assert len(losses[0]) == len(losses[1]) == STEPS + 1, losses
        # An error of the function, not of its distance from the optimum, which is a difference.
        assert all(abs(a - b) <= F32 * losses[0][0] for a, b in zip(*losses)), (name, options, losses)


def bad_steps_are_skipped(folder):
    """So large a step that the next losses are far above the first: as on the CPU they are skipped, and change nothing."""
    options = small(folder, "--optimizer", "sgd", "--lr", "0.1", "--embed-lr", "0.3", "--loss-jump", "0.5", "--max-skips", "100", "--on-bad-step", "skip",
                    "--eval-every", "0", "--checkpoint-every", "1", "--keep", "0")
    cpu = train(os.path.join(folder, "cpu"), *options, device="cpu")
    run = train(os.path.join(folder, "cuda"), *options)
    skipped = [[step["skipped"] for step in steps_of(one)] for one in (cpu, run)]
    assert skipped[0] == skipped[1] and skipped[0][-1] > 0, skipped
    bad = skipped[0].index(1)
    weights = [tiny.read_tree(os.path.join(run, "checkpoints", f"step_{step:08d}"))["model.safetensors"]
               for step in (bad - 1, bad, bad + 1)]
    assert weights[0] != weights[1] == weights[2]
    options[options.index("skip")] = "stop"
    result = tiny.train(*options, "--device", "cuda", "--dtype", "f32", "--out", os.path.join(folder, "stop"))
    tiny.check_one_line(result, f"step {bad + 1} is bad")
    assert tiny.checkpoints(os.path.join(folder, "stop"))[-1] == bad


def check_faults(folder, kind, words):
    """The n-th allocation or kernel fails, for ever later n, until a run comes to its end without."""
    options = small(folder, "--optimizer", "normuon", "--checkpoint-every", "1", "--keep", "0")
    reference = train(os.path.join(folder, "reference"), *options, dtype="bf16")
    n, failed, resumed = 1, 0, 0
    rng = random.Random(3)
    while True:
        run = os.path.join(folder, f"run{n}")
        result = tiny.train(*options, "--device", "cuda", "--dtype", "bf16", "--out", run, environment=cuda(**{kind: n}))
        if result.returncode == 0:
            tiny.check_same_end(run, reference, STEPS)
            # The measurement of the product's rate does without memory that it does not get.
            if kind == "fail_launch" or n > 12:
                break
        else:
            tiny.check_one_line(result)
            assert re.search(words, result.stderr), result.stderr
            failed += 1
            if os.path.exists(run):
                left = tiny.read_tree(os.path.join(run, "checkpoints"))
                for step in tiny.checkpoints(run):  # those that are there are whole
                    for name in ("model.safetensors", "optimizer.safetensors"):
                        path = f"step_{step:08d}/{name}"
                        with open(os.path.join(reference, "checkpoints", path), "rb") as file:
                            assert left[path] == file.read(), path
                again = resume(run)
                assert again.returncode == 0, again.stderr
                tiny.check_same_end(run, reference, STEPS)
                resumed += 1
        shutil.rmtree(run, ignore_errors=True)
        n += 1 + int(rng.uniform(0.2, 0.4 if kind == "fail_alloc" else 3) * n)
    return failed, resumed


def memory_runs_out(folder):
    failed, _ = check_faults(folder, "fail_alloc", "memory|MiB")
    assert failed > 3, failed


def kernels_fail(folder):
    failed, resumed = check_faults(folder, "fail_launch", "checkpoints are intact.*--resume|no kernels that run on")
    assert failed > 3 and resumed > 1, (failed, resumed)


def too_little_memory(folder):
    """The plan's comparison comes before anything is made."""
    run = os.path.join(folder, "run")
    result = tiny.train(*small(folder), "--device", "cuda", "--out", run, environment=cuda(memory=100000))
    tiny.check_one_line(result, "of memory, but only ")
    assert not os.path.exists(run)


def no_gpu(folder):
    result = tiny.train(*small(folder), "--device", "cuda", "--out", os.path.join(folder, "run"), environment=cuda(devices=0))
    tiny.check_one_line(result, "use --device cpu")


def every_operation_is_timed(_):
    """What scripts/gpu_check.sh measures on a GPU, on sizes that say nothing."""
    program = os.path.join(os.path.dirname(EMULATOR), "tests/bench/gpu_ceilings")
    result = subprocess.run([program, "cuda", "64"], env=cuda(memory=8 << 30), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()[1:]
    assert len(lines) == 44, result.stdout
    for line in lines:
        assert re.fullmatch(r"[^:]+: [0-9.]+ ms, .*", line), line


def solves_are_tested_without_lapack(_):
    """The tests of what a GPU solves run where the CPU cannot solve; those of the CPU are named as skipped."""
    program = os.path.join(os.path.dirname(EMULATOR), "tests/unit/optim/polar/test_polar_methods")
    result = subprocess.run([program], env=tiny.ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert result.returncode == 0, result.stdout
    for line in (r"\[ +OK \] converging_methods_on_gpu", r"skipped qdwh_takes_the_known_steps: .*LAPACK.*"):
        assert re.search(f"^{line}$", result.stdout, re.M), result.stdout


def wide_heads(folder):
    """257 is refused before the run, by every command that has such a network, and 256 is not."""
    run = os.path.join(folder, "run")
    options = small(folder, "--n-head", "1", "--steps", "1")
    result = tiny.train(*options, "--head-dim", "257", "--positions", "none", "--device", "cuda", "--out", run)
    tiny.check_one_line(result, "--head-dim 257 exceeds the 256")
    assert not os.path.exists(run)
    train(run, *options, "--head-dim", "257", "--positions", "none", device="cpu")
    tiny.check_one_line(tiny.train("eval", run, "--device", "cuda"), "--head-dim 257 exceeds the 256")
    tiny.run(*options, "--head-dim", "256", "--dry-run", "--device", "cuda")


def memory_is_as_planned(folder):
    """But for rounding in what is printed, for what is small (rotations, reports), and for batches, which are partly the host's.
    Nothing that operations work in comes on top: a bias wide enough to need most is among them, columns and rows with moments."""
    for dtype, optimizer, *more in (("f32", "adamw", "--no-tied-head", "--head-bias"), ("bf16", "normuon", "--norm", "rmsnorm"),
                                    ("bf16", "normuon", "--second-moment", "column", "--biases", "no"),
                                    ("f32", "polargrad", "--polar", "polar-express", "--embed-optimizer", "rownorm", "--no-norm-gain")):
        run = os.path.join(folder, "run")
        options = small(folder, "--d-model", "128", "--seq-len", "128", "--micro-batch", "2", "--steps", "1", "--eval-every", "0",
                        "--optimizer", optimizer, "--device", "cuda", "--dtype", dtype, *more)
        plan = planned(tiny.run(*options, "--dry-run")[0])
        tiny.run(*options, "--out", run, "--overwrite")
        with open(os.path.join(run, "metrics.jsonl")) as file:
            most = [json.loads(line).get("device_memory_bytes") for line in file if '"train"' in line][-1]
        assert abs(most - plan) <= 100000, f"{dtype} {optimizer} {more}: plan {plan}, measured {most}"
        assert plan > (32 << 20) + (4 << 20), plan


if __name__ == "__main__":
    if not os.path.exists(EMULATOR):
        print("skipped cuda_runs: no CUDA headers, so no emulator of a GPU")
        sys.exit(0)
    tiny.TRAIN = EMULATOR
    tiny.run_tests(optimizers_agree_with_cpu, solves_agree_with_cpu, networks_agree_with_cpu, same_bits_in_all_orders_bf16,
                   same_bits_in_all_orders_f32, stopped_and_resumed, steps_are_replayed, profilers_see_what_runs, from_cpu_to_cuda_and_back, recompute_gives_the_same_bits,
                   micro_batches_agree, other_commands, polar_factors, polar_memory_runs_out, matrix_problems, bad_steps_are_skipped,
                   memory_runs_out, kernels_fail, too_little_memory, no_gpu, every_operation_is_timed, solves_are_tested_without_lapack, wide_heads, memory_is_as_planned)
