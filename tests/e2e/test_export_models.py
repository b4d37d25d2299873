#!/usr/bin/env python3
"""What `train export` accepts: for models with randomly drawn options, transformers computes our logits or the export is
refused; a vocabulary that is not the model's is refused."""
import base64
import json
import os
import random
import subprocess

import test_huggingface as hf
from test_huggingface import ENVIRONMENT, GPT2, SIZES, TRAIN, our_logits, run, shard, train

import numpy as np

# Options with their values, and how often a model deviates from its architecture in an option: half of the time where
# any value should be exported, rarely where most values should be refused.
FREE = {"norm-eps": ["1e-3", "0.1", "1e-12", "3.3e-6"], "tied-head": ["yes", "no"], "n-layer": ["1", "3"], "n-head": ["2", "1", "3"],
        "n-kv-head": ["1", "2"], "d-ff": ["40", "97"], "vocab-padded": ["71", "80"], "context": ["24", "100"],
        "rope-base": ["500", "1e6", "0.5"], "residual-init": ["same", "zero"], "embed-init-std": ["0.5"], "d-model": ["36", "60"]}
FIXED = {"positions": ["learned", "rope", "half-rope", "none"], "norm": ["layernorm", "rmsnorm"], "norm-bias": ["yes", "no"],
         "norm-gain": ["no"], "embed-norm": ["yes"], "qk-norm": ["yes"], "attention-scale": ["0.1", "0.28867513459481287"],
         "depth-scaled-attention": ["yes"], "activation": ["gelu-tanh", "gelu", "relu2", "swiglu"], "biases": ["yes", "no", "qkv"],
         "head-bias": ["yes"], "mask-padding": ["no"], "softcap": ["15"], "softcap-form": ["root"], "head-dim": ["8", "12", "20"],
         "zero-head": ["yes"]}


def random_model(rng):
    model = dict(rng.choice([{}, {"norm": "rmsnorm", "positions": "rope", "activation": "swiglu", "biases": "no"},
                             {"norm": "rmsnorm", "positions": "rope", "activation": "swiglu", "biases": "qkv"}]))
    for options, often in ((FREE, 0.4), (FIXED, 0.06)):
        model.update({name: rng.choice(values) for name, values in options.items() if rng.random() < often})
    return [f"--{name}={value}" for name, value in model.items()]


def test_random_models_are_exported_exactly_or_refused(folder):
    hf.need_transformers()
    rng, seen = random.Random(11), {}
    for i in range(60):
        options, source, out = random_model(rng), folder / f"run{i}", folder / f"hf{i}"
        arguments = [TRAIN, *shard(folder), *SIZES, "--seq-len=16", "--context=32", "--init-std=0.15", "--lr=0.02", "--steps=3", *options]
        trained = subprocess.run([*map(str, arguments), "--out", source], env=ENVIRONMENT, capture_output=True, check=False)
        exported = subprocess.run([TRAIN, "export", source, "--out", out], env=ENVIRONMENT, capture_output=True, text=True, check=False)
        if trained.returncode != 0 or exported.returncode != 0:
            assert trained.returncode != 0 or "cannot be exported: " in exported.stderr, (options, exported.stderr)
            seen["refused"] = seen.get("refused", 0) + (trained.returncode == 0)
            continue
        if "older than 4.46" in exported.stdout and tuple(map(int, hf.transformers.__version__.split(".")[:2])) < (4, 46):
            continue
        model, info = hf.transformers.AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
        assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), (options, info)
        ours = our_logits(folder, source)
        off, tolerance = hf.distance(ours, hf.their_logits(model), model.config)
        assert off <= tolerance, f"{options}: off by {off:.2e}, allowed are {tolerance:.2e}"
        assert np.array_equal(ours, our_logits(folder, out)), f"{options}: other logits after the way out and in"
        seen[type(model).__name__] = seen.get(type(model).__name__, 0) + 1
    assert all(seen[name] >= 5 for name in ("refused", "GPT2LMHeadModel", "LlamaForCausalLM", "Qwen2ForCausalLM")), seen


def test_export_refuses_another_vocabulary(folder):
    """A vocabulary that nothing verifies must at least have the size of the model's."""
    source = train(folder, "run", [*GPT2, "--vocab-size", "600", "--n-layer", "1"], steps=1)
    error = run(TRAIN, "export", source, "--vocab", "bytes", "--out", folder / "x", status=1)
    assert "--vocab has 257 tokens and the model 600" in error and not (folder / "x").exists(), error
    near = train(folder, "near", [*GPT2, "--vocab-size", "320", "--n-layer", "1"], steps=1)
    run(TRAIN, "export", near, "--vocab", "bytes", "--out", folder / "y")
    assert json.loads((folder / "y/config.json").read_text())["eos_token_id"] == 256
    text = folder / "text.txt"
    text.write_text("some words of a text " * 200)
    run(TRAIN, "tokenize", "--vocab", "bytes", "--out", folder, "--name", "b", text)
    bytes_run = [TRAIN, *SIZES, "--vocab", "bytes", "--vocab-size", "600", "--n-layer", "1", "--steps", "1",
                 "--train-data", folder / "b_train_000001.bin", "--out", folder / "bytes"]
    run(*bytes_run)
    run(TRAIN, "export", folder / "bytes", "--out", folder / "z")  # the shards name the vocabulary


def test_export_refuses_a_token_named_like_the_end_of_text(folder):
    pieces = ["<|", "|>", "en", "do", "ft", "ex", "endo", "ftex", "endoftex", "endoftext", "<|endoftext", "<|endoftext|>"]
    tokens = [bytes([b]) for b in range(256)] + [p.encode() for p in pieces]
    lines = [f"{base64.b64encode(token).decode()} {i}\n" for i, token in enumerate(tokens)]
    (folder / "odd.tiktoken").write_text("".join(lines))
    source = train(folder, "run", [*GPT2, "--vocab-size", "320", "--n-layer", "1"], steps=1)
    error = run(TRAIN, "export", source, "--vocab", folder / "odd.tiktoken", "--out", folder / "x", status=1)
    assert "token 267 of the vocabulary is the text <|endoftext|>" in error, error
    assert not [name for name in os.listdir(folder) if name.startswith("x")]
    (folder / "even.tiktoken").write_text("".join(lines[:-1]))
    run(TRAIN, "export", source, "--vocab", folder / "even.tiktoken", "--out", folder / "x")


if __name__ == "__main__":
    hf.run_with_transformers(globals())
