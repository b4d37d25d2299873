#!/usr/bin/env python3
"""RUN@STEP names an older checkpoint of a run, for resuming and wherever a model is read; --resume --steps lengthens a run."""
import json
import os
import shutil
import sys

sys.dont_write_bytecode = True
import tiny_runs as tiny

STEPS = 24


def options_of(folder, *options):
    return [*tiny.make_data(folder), "--steps", str(STEPS), "--checkpoint-every", "6", "--keep", "0", "--eval-every", "6", "--sample-every",
            "0", "--schedule", "constant", *options]


def train(out, *options):
    tiny.run(*options, "--out", out)
    return out


def model_of(run, step):
    with open(os.path.join(run, "checkpoints", f"step_{step:08}", "model.safetensors"), "rb") as file:
        return file.read()


def config_of(run):
    with open(os.path.join(run, "config.conf")) as file:
        return dict(line.split(" = ") for line in file.read().splitlines() if " = " in line)


def resumed_at_an_older_step(folder):
    reference = train(os.path.join(folder, "reference"), *options_of(folder, "--optimizer", "normuon"))
    run = os.path.join(folder, "run")
    shutil.copytree(reference, run)
    tiny.check_one_line(tiny.train("--resume", f"{run}@12"), "later checkpoints, of steps 24, 18: add --overwrite")
    tiny.check_one_line(tiny.train("--resume", run, "--overwrite"), "--resume " + run + "@STEP")
    tiny.check_one_line(tiny.train("--resume", f"{run}@13", "--overwrite"), "no checkpoint of step 13; it has 24, 18, 12, 6")
    assert tiny.read_tree(os.path.join(run, "checkpoints")) == tiny.read_tree(os.path.join(reference, "checkpoints"))
    tiny.run("--resume", f"{run}@12", "--overwrite")
    tiny.check_same_end(run, reference, STEPS)
    assert tiny.checkpoints(run) == [6, 12, 18, 24]
    steps = [record["step"] for record in tiny.records(run) if record["kind"] == "train"]
    assert steps == list(range(1, STEPS + 1)), steps


def damaged_ones_are_not_replaced(folder):
    run = train(os.path.join(folder, "run"), *options_of(folder))
    path = os.path.join(run, "checkpoints", "step_00000012", "model.safetensors")
    with open(path, "r+b") as file:
        file.seek(-5, os.SEEK_END)
        file.write(b"xxxxx")
    for command in (("--resume", f"{run}@12", "--overwrite"), ("sample", f"{run}@12"), ("eval", f"{run}@12")):
        tiny.check_one_line(tiny.train(*command), "the checkpoint of step 12")
    assert tiny.checkpoints(run) == [6, 12, 18, 24]


def unreadable_ones_are_no_new_start(folder):
    run = train(os.path.join(folder, "run"), *options_of(folder, "--steps", "6"))
    checkpoints, metrics = os.path.join(run, "checkpoints"), os.path.join(run, "metrics.jsonl")
    os.rename(checkpoints, checkpoints + ".away")
    with open(checkpoints, "w"):
        before = os.path.getsize(metrics)
    tiny.check_one_line(tiny.train("--resume", run), f"cannot read {checkpoints}: Not a directory")
    assert os.path.getsize(metrics) == before


def read_by_every_command(folder):
    run = train(os.path.join(folder, "run"), *options_of(folder))
    data = os.path.join(folder, "t_val_*.bin")
    newest, older = (tiny.run("eval", name, "--val-data", data)[0] for name in (run, f"{run}@6"))
    assert newest != older and tiny.run("eval", f"{run}@24", "--val-data", data)[0] != older
    assert tiny.run("sample", f"{run}@6", "--tokens", "20", "--temperature", "0")[0]
    gpt2 = train(os.path.join(folder, "gpt2"), *options_of(folder, "--biases", "yes"))
    exported = [os.path.join(folder, f"exported_{name}") for name in ("newest", "older")]
    for out, name in zip(exported, (gpt2, f"{gpt2}@6")):
        tiny.run("export", name, "--out", out)
    assert tiny.read_tree(exported[0])["model.safetensors"] != tiny.read_tree(exported[1])["model.safetensors"]
    begun = train(os.path.join(folder, "begun"), *options_of(folder, "--init-from", f"{run}@6", "--steps", "1", "--lr", "0"))
    assert config_of(begun)["init-from"].endswith("run@6")
    first = [record for record in tiny.records(begun) if record["kind"] == "val"][0]["val_loss"]
    then = [record for record in tiny.records(run) if record["kind"] == "val" and record["step"] == 6][0]["val_loss"]
    assert abs(first - then) < 1e-9, (first, then)
    for name in ("sample", "eval"):
        tiny.check_one_line(tiny.train(name, f"{run}@7"), "no checkpoint of step 7; it has 24, 18, 12, 6")
    odd = os.path.join(folder, "odd@6")
    shutil.copytree(run, odd)
    assert tiny.run("eval", odd, "--val-data", data)[0].replace(odd, run) == newest, "a directory with this name comes first"


def lengthened(folder):
    for name, schedule in (("constant", ("--schedule", "constant")), ("wsd", ("--schedule", "wsd", "--cooldown", "0.25"))):
        options = options_of(folder, *schedule, "--warmup", "3")
        reference = train(os.path.join(folder, f"{name}_48"), *options, "--steps", "48")
        run = train(os.path.join(folder, name), *options)
        start = run if name == "constant" else f"{run}@18"
        if name == "wsd":
            tiny.check_one_line(tiny.train("--resume", run, "--steps", "48"), "depends on the number of steps")
            assert config_of(run)["steps"] == str(STEPS)
        tiny.run("--resume", start, "--steps", "48", *(["--overwrite"] if start != run else []))
        assert model_of(run, 48) == model_of(reference, 48)
        assert config_of(run) == config_of(reference)
        with open(os.path.join(run, "metrics.jsonl")) as file:
            resumes = [record for record in map(json.loads, file) if record["kind"] == "resume"]
        assert resumes[-1]["steps"] == 48, resumes


def not_lengthened(folder):
    run = train(os.path.join(folder, "cosine"), *options_of(folder, "--schedule", "cosine"))
    tiny.check_one_line(tiny.train("--resume", run, "--steps", "48"), "the hidden parameters depends on the number of steps")
    tiny.check_one_line(tiny.train("--resume", run, "--steps", "20"), "after the end of the run at step 20")
    assert config_of(run)["steps"] == str(STEPS)
    tiny.run("--resume", run, "--steps", str(STEPS))


def refused_before_the_plan(folder):
    run = train(os.path.join(folder, "run"), *options_of(folder, "--steps", "1"))
    arguments = [option for option in options_of(folder) if option != "--quiet"]
    longer = train(os.path.join(folder, "longer"), *options_of(folder))
    for command, words in (((*arguments, "--out", run), "contains a run"),
                           (("--resume", f"{longer}@6", "--no-quiet"), "later checkpoints, of steps 24, 18, 12")):
        result = tiny.train(*command)
        tiny.check_one_line(result, words)
        assert result.stdout == "", "the plan was printed before"


if __name__ == "__main__":
    tiny.run_tests(resumed_at_an_older_step, damaged_ones_are_not_replaced, unreadable_ones_are_no_new_start, read_by_every_command, lengthened, not_lengthened,
                   refused_before_the_plan)
