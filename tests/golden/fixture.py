"""Writes fixtures: arrays in the safetensors format (8 bytes length, JSON header, data; F64, F32 and I32 are all we
need), and what the fixtures of networks share. Reads the published scripts that some of them are made with."""
import json
import os
import struct
import subprocess

import numpy
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
TYPES = {"float64": "F64", "float32": "F32", "int32": "I32"}

# The options of the network, under their names on the command line, with the values of GPT-2. `gelu-tanh` and the like
# are stored as their place in the list of CHOICES.
CHOICES = {
    "norm": ["layernorm", "rmsnorm"],
    "positions": ["learned", "rope", "half-rope", "none"],
    "activation": ["gelu-tanh", "gelu", "relu2", "swiglu"],
    "biases": ["no", "yes", "qkv"],
    "softcap-form": ["tanh", "root"],
}
GPT2 = {
    "norm": "layernorm", "norm-eps": 1e-5, "norm-gain": True, "norm-bias": True, "embed-norm": False,
    "positions": "learned", "rope-base": 10000.0, "qk-norm": False, "attention-scale": 0.0,
    "depth-scaled-attention": False, "activation": "gelu-tanh", "biases": "yes", "tied-head": True,
    "head-bias": False, "mask-padding": True, "softcap": 0.0, "softcap-form": "tanh",
}


def write(name, arrays):
    # Widest elements first, so that every tensor is aligned to its element in a file that is mapped.
    items = sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize)
    header, offset = {}, 0
    for key, a in items:
        header[key] = {"dtype": TYPES[a.dtype.name], "shape": list(a.shape), "data_offsets": [offset, offset + a.nbytes]}
        offset += a.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path = os.path.join(HERE, name + ".safetensors")
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, a in items:
            file.write(numpy.ascontiguousarray(a).tobytes())
    print(f"{path}: {len(items)} arrays, {offset} bytes")


def draw(generator, *shape, std=0.3, mean=0.0):
    """Normal numbers that are exact as floats too, as doubles."""
    return (mean + std * torch.randn(*shape, generator=generator, dtype=torch.float64)).float().double()


def draw_batch(generator, c, ignored=0):
    """Tokens and targets (B, T), the last class among both; some targets are -1, no loss."""
    B, T, V = c["B"], c["T"], c["vocab-size"]
    tokens = torch.randint(0, V, (B, T), generator=generator)
    targets = torch.randint(0, V, (B, T), generator=generator)
    tokens[0, 0], targets[-1, -1] = V - 1, V - 1
    for _ in range(ignored):
        targets.view(-1)[torch.randint(0, B * T - 1, (1,), generator=generator)] = -1
    return tokens, targets


def write_network(name, c, tokens, targets, loss, logits, params, grads):
    """loss: the mean over all positions, also those without a target; logits: (T, Vp) of sequence 0, capped; params
    and grads of that loss: by name. Parameters, exact as floats, are stored as such."""
    arrays = {}
    for option, value in c.items():
        if option in CHOICES:
            value = CHOICES[option].index(value)
        real = isinstance(value, float)
        arrays["config." + option] = numpy.array([value], dtype=numpy.float64 if real else numpy.int32)
    arrays["tokens"], arrays["targets"] = tokens.int().numpy(), targets.int().numpy()
    arrays["loss"] = loss.detach().reshape(1).numpy()
    arrays["logits"] = logits.detach().numpy()
    for key, value in params.items():
        assert (value.detach() == value.detach().float()).all(), key
        arrays["param." + key] = value.detach().float().numpy()
        arrays["grad." + key] = grads[key].detach().numpy()
    write(name, arrays)


def load_source(repos, name):
    """The text of a published file from the first of the checkouts or git directories that has it."""
    for repo in repos:
        path = os.path.join(repo, name)
        if os.path.exists(path):
            with open(path) as file:
                return file.read()
        git = subprocess.run(["git", "--git-dir", repo, "show", f"HEAD:{name}"], capture_output=True, text=True)
        if git.returncode == 0:
            return git.stdout
    raise SystemExit(f"error: {name} is in none of the --repo directories {repos}")
