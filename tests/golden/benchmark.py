#!/usr/bin/env python3
"""Golden vectors of two published networks, made by running their own code in float64, narrower than published.

    /usr/bin/python3 tests/golden/benchmark.py --repo PATH

PATH is a checkout or a git directory of github.com/KellerJordan/modded-nanogpt. `benchmark.safetensors` comes from the
network of its step-count benchmark, `record2024.safetensors` from that of its record of 10 October 2024. Of the scripts
only the classes and functions of the network are executed, with these changes made at run time:

- casts to bfloat16 are taken out, casts to float32 are to float64;
- the functions that PyTorch 1.13 lacks are replaced by their definitions (class Functional);
- in the benchmark the number of heads is given, where the script derives it from the width.

Both turn queries and keys the other way round than this program, y1 = x1 cos + x2 sin and y2 = x2 cos - x1 sin. With
the sign of every x2 changed that is our rotation with the sign of y2 changed, and products of two such are the same.
So the rows that make the second halves of the query and key heads change their sign, in weights, biases and gradients.
"""
import argparse
import ast
import dataclasses
import math

import torch

import fixture

D, HEADS = 128, 2  # the benchmark's head size is part of its code


class Functional:
    """torch.nn.functional with what came after PyTorch 1.13; remembers the logits that the loss is made from."""

    def __init__(self):
        self.logits = None

    def __getattr__(self, name):
        return getattr(torch.nn.functional, name)

    @staticmethod
    def rms_norm(x, shape, weight=None):
        assert shape == x.shape[-1:]
        # The default eps is that of the type in which it is computed, float32 also for bfloat16.
        y = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 2.0 ** -23)
        return y if weight is None else y * weight

    @staticmethod
    def scaled_dot_product_attention(q, k, v, scale=None, is_causal=False):
        assert is_causal
        scores = q @ k.transpose(-1, -2) * (scale or 1 / math.sqrt(q.shape[-1]))
        future = torch.ones(q.shape[-2], k.shape[-2]).triu(1).bool()
        return scores.masked_fill(future, -math.inf).softmax(-1) @ v

    def cross_entropy(self, logits, targets, **options):
        self.logits = logits
        return torch.nn.functional.cross_entropy(logits, targets, **options)


def load_network(source, names, changes):
    """Executes the definitions of these names, with the changes, each of which must occur, made in their text."""
    tree = ast.parse(source)
    tree.body = [node for node in tree.body if getattr(node, "name", None) in names]
    assert [node.name for node in tree.body] == names
    text = ast.unparse(tree)
    for old, new in changes:
        assert old in text, f"{old} is not in the published code"
        text = text.replace(old, new)
    functional = Functional()
    namespace = {"torch": torch, "nn": torch.nn, "Tensor": torch.Tensor, "F": functional,
                 "dataclass": dataclasses.dataclass}
    exec(compile(text, "published", "exec"), namespace)
    return namespace, functional


def randomize(model, generator):
    """Every parameter random, so that no zero or one hides a term."""
    for name, p in model.named_parameters():
        std = 1 / math.sqrt(p.shape[1]) if p.ndim == 2 and "emb" not in name else 0.3
        p.data = fixture.draw(generator, *p.shape, std=std, mean=1.0 if name.endswith("gains") else 0.0)


def turn_heads(rows, head_dim):
    """Changes the sign of the second half of every head's rows."""
    heads = rows.reshape(-1, 2, head_dim // 2, *rows.shape[1:]).clone()
    heads[:, 1] *= -1
    return heads.reshape(rows.shape)


def our_names(model, convert):
    """Parameters and gradients as convert turns a dictionary of tensors under their names into ours."""
    named = dict(model.named_parameters())
    return convert({name: p.data for name, p in named.items()}), convert({name: p.grad for name, p in named.items()})


def run_benchmark(repos):
    c = {**fixture.GPT2, "n-layer": 2, "n-head": HEADS, "n-kv-head": HEADS, "d-model": 20, "head-dim": D, "d-ff": 80,
         "vocab-size": 150, "vocab-padded": 150, "context": 40, "norm": "rmsnorm", "norm-eps": 2.0 ** -23,
         "norm-bias": False, "embed-norm": True, "positions": "half-rope", "rope-base": 1024.0, "qk-norm": True,
         "attention-scale": 0.12, "activation": "relu2", "biases": "yes", "tied-head": False, "head-bias": True,
         "mask-padding": False, "softcap": 15.0, "softcap-form": "root", "B": 2, "T": 40}
    network, functional = load_network(
        fixture.load_source(repos, "records/track_3_optimization/train_gpt_simple.py"),
        ["RMSNorm", "Linear", "Rotary", "CausalSelfAttention", "MLP", "Block", "GPT"],
        [(".bfloat16()", ""), (".float()", ".double()"), ("torch.float32", "torch.float64"),
         ("dim // head_dim", str(HEADS))])
    model = network["GPT"](c["vocab-size"], c["n-layer"], c["d-model"])
    generator = torch.Generator().manual_seed(2000)
    model.double()
    randomize(model, generator)
    model.proj.weight.data *= 4  # logits that reach the soft-cap
    tokens, targets = fixture.draw_batch(generator, c)
    loss = model(tokens, targets) / targets.numel()  # the published loss is the sum
    loss.backward()

    def convert(theirs):
        ours = {"token_embedding.weight": theirs["embed.weight"], "embed_norm.gain": theirs["norm1.gains"],
                "final_norm.gain": theirs["norm2.gains"]}
        for kind in ("weight", "bias"):
            ours["head." + kind] = theirs["proj." + kind]
        for layer in range(c["n-layer"]):
            a, b = f"blocks.{layer}.", f"layers.{layer}."
            for norm in ("norm1", "norm2"):
                ours[b + norm + ".gain"] = theirs[a + norm + ".gains"]
            for kind in ("weight", "bias"):
                q, k, v = (theirs[f"{a}attn.{x}.{kind}"] for x in "qkv")
                ours[b + "attention.qkv." + kind] = torch.cat([turn_heads(q, D), turn_heads(k, D), v])
                ours[b + "attention.proj." + kind] = theirs[a + "attn.proj." + kind]
                ours[b + "mlp.up." + kind] = theirs[a + "mlp.fc." + kind]
                ours[b + "mlp.down." + kind] = theirs[a + "mlp.proj." + kind]
        assert sum(x.numel() for x in ours.values()) == sum(x.numel() for x in theirs.values())
        return ours

    logits = functional.logits[:c["T"]]
    print(f"benchmark: loss {loss.item():.6f}, logits up to {logits.abs().max().item():.3f} of 15")
    fixture.write_network("benchmark", c, tokens, targets, loss, logits, *our_names(model, convert))


def run_record(repos):
    c = {**fixture.GPT2, "n-layer": 3, "n-head": 3, "n-kv-head": 3, "d-model": 24, "head-dim": 8, "d-ff": 96,
         "vocab-size": 61, "vocab-padded": 61, "context": 33, "norm": "rmsnorm", "norm-eps": 1e-6, "norm-gain": False,
         "norm-bias": False, "positions": "rope", "rope-base": 10000.0, "depth-scaled-attention": True,
         "activation": "gelu", "biases": "no", "B": 3, "T": 33}
    network, functional = load_network(
        fixture.load_source(repos, "records/track_1_short/2024-10-10_Muon/train_gpt2.py"),
        ["Rotary", "apply_rotary_emb", "rmsnorm", "CausalSelfAttention", "MLP", "Block", "GPTConfig", "GPT"],
        [(".float()", ".double()")])
    model = network["GPT"](network["GPTConfig"](c["vocab-size"], c["n-layer"], c["n-head"], c["d-model"]))
    generator = torch.Generator().manual_seed(2001)
    model.double()
    randomize(model, generator)
    tokens, targets = fixture.draw_batch(generator, c)
    _, loss = model(tokens, targets)
    loss.backward()

    def convert(theirs):
        ours = {"token_embedding.weight": theirs["transformer.wte.weight"]}  # the tied head's too
        for layer in range(c["n-layer"]):
            a, b = f"transformer.h.{layer}.", f"layers.{layer}."
            q, k, v = theirs[a + "attn.c_attn.weight"].split(c["d-model"])
            ours[b + "attention.qkv.weight"] = torch.cat([turn_heads(q, c["head-dim"]), turn_heads(k, c["head-dim"]), v])
            ours[b + "attention.proj.weight"] = theirs[a + "attn.c_proj.weight"]
            ours[b + "mlp.up.weight"] = theirs[a + "mlp.c_fc.weight"]
            ours[b + "mlp.down.weight"] = theirs[a + "mlp.c_proj.weight"]
        assert sum(x.numel() for x in ours.values()) == sum(x.numel() for x in theirs.values())
        return ours

    print(f"record2024: loss {loss.item():.6f}")
    fixture.write_network("record2024", c, tokens, targets, loss, functional.logits[:c["T"]],
                          *our_names(model, convert))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repo", action="append", required=True)
    repos = parser.parse_args().repo
    run_benchmark(repos)
    run_record(repos)


if __name__ == "__main__":
    main()
