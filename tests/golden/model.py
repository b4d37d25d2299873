#!/usr/bin/env python3
"""Golden vectors of the network: loss, logits and all gradients in float64, by PyTorch's autograd.

Written from the equations of the papers named below, sharing nothing with the C sources but the names of the options
and of the parameters. Run:  /usr/bin/python3 tests/golden/model.py
"""
import math

import torch

import fixture

# Every number odd where it may be, so that no size hides behind another or fills a vector register. What a case does
# not name is as in GPT-2.
CASES = {
    # The network as GPT-2 has it, three layers deep.
    "gpt2": {"n-layer": 3, "n-head": 3, "n-kv-head": 3, "d-model": 24, "head-dim": 8, "d-ff": 40, "vocab-size": 61,
             "vocab-padded": 64, "context": 20, "B": 3, "T": 17},
    # Grouped queries, an attention narrower than the stream, no biases, a head of its own, padding that takes part in
    # the softmax, positions without a loss.
    "grouped": {"n-layer": 2, "n-head": 4, "n-kv-head": 2, "d-model": 28, "head-dim": 6, "d-ff": 44, "vocab-size": 45,
                "vocab-padded": 48, "context": 24, "biases": "no", "norm-bias": False, "tied-head": False,
                "mask-padding": False, "B": 2, "T": 23, "ignored": 5},
    # A sequence longer than any tile of the attention, rotated; grouped, normalized queries and keys.
    "long": {"n-layer": 1, "n-head": 4, "n-kv-head": 2, "d-model": 23, "head-dim": 14, "d-ff": 33, "vocab-size": 29,
             "vocab-padded": 31, "context": 157, "norm": "rmsnorm", "norm-eps": 1e-6, "norm-bias": False,
             "positions": "rope", "qk-norm": True, "biases": "no", "B": 2, "T": 150},
    # Llama's, with one key and value head for all queries and a large eps, which shows where it stands.
    "llama": {"n-layer": 2, "n-head": 3, "n-kv-head": 1, "d-model": 22, "head-dim": 10, "d-ff": 35, "vocab-size": 43,
              "vocab-padded": 47, "context": 21, "norm": "rmsnorm", "norm-eps": 0.03, "norm-bias": False,
              "positions": "rope", "rope-base": 100.0, "activation": "swiglu", "biases": "no", "tied-head": False,
              "B": 3, "T": 19, "ignored": 4},
    # Qwen2's: biases of queries, keys and values only, a large base, tied.
    "qwen": {"n-layer": 2, "n-head": 2, "n-kv-head": 2, "d-model": 21, "head-dim": 12, "d-ff": 31, "vocab-size": 37,
             "vocab-padded": 37, "context": 18, "norm": "rmsnorm", "norm-eps": 1e-6, "norm-bias": False,
             "positions": "rope", "rope-base": 1e6, "activation": "swiglu", "biases": "qkv", "B": 2, "T": 18},
    # A soft-cap before the padding is masked, a bias of the head, a tied head behind a norm of the embedding, SwiGLU
    # and a depth-scaled attention with biases; no positions, yet normalized queries and keys.
    "capped": {"n-layer": 3, "n-head": 3, "n-kv-head": 3, "d-model": 19, "head-dim": 7, "d-ff": 27, "vocab-size": 39,
               "vocab-padded": 45, "context": 17, "norm": "rmsnorm", "norm-eps": 0.01, "embed-norm": True,
               "positions": "none", "qk-norm": True, "depth-scaled-attention": True, "activation": "swiglu",
               "head-bias": True, "softcap": 2.5, "softcap-form": "tanh", "B": 3, "T": 16, "ignored": 3},
    # The other soft-cap, over the padding too; half a rotation with biases, grouped; ReLU^2; a scale of the scores.
    "capped_root": {"n-layer": 2, "n-head": 4, "n-kv-head": 2, "d-model": 18, "head-dim": 12, "d-ff": 29,
                    "vocab-size": 33, "vocab-padded": 41, "context": 26, "norm": "rmsnorm", "norm-eps": 1e-6,
                    "norm-bias": False, "positions": "half-rope", "rope-base": 64.0, "attention-scale": 0.21,
                    "activation": "relu2", "tied-head": False, "head-bias": True, "mask-padding": False,
                    "softcap": 3.0, "softcap-form": "root", "B": 2, "T": 25},
    # Norms with neither gain nor bias, GELU, a depth-scaled attention with biases, rotations without a norm of the keys,
    # a soft-cap over the padding too.
    "bare": {"n-layer": 2, "n-head": 3, "n-kv-head": 3, "d-model": 17, "head-dim": 6, "d-ff": 39, "vocab-size": 35,
             "vocab-padded": 36, "context": 15, "norm": "rmsnorm", "norm-eps": 1e-6, "norm-gain": False,
             "norm-bias": False, "positions": "rope", "depth-scaled-attention": True, "activation": "gelu",
             "biases": "yes", "softcap": 4.0, "softcap-form": "tanh", "mask-padding": False, "B": 2, "T": 15},
    # LayerNorms with a bias but no gain, one of the embedding and its positions; grouped, normalized, not rotated.
    "bias_only": {"n-layer": 2, "n-head": 2, "n-kv-head": 1, "d-model": 15, "head-dim": 8, "d-ff": 25, "vocab-size": 31,
                  "vocab-padded": 32, "context": 14, "norm-gain": False, "embed-norm": True, "qk-norm": True,
                  "attention-scale": 0.7, "activation": "gelu", "biases": "qkv", "softcap": 5.0,
                  "softcap-form": "root", "tied-head": False, "B": 3, "T": 13, "ignored": 2},
    # Heads of four, of which half a rotation is one pair; layers of LayerNorms with gains only.
    "half4": {"n-layer": 1, "n-head": 4, "n-kv-head": 4, "d-model": 13, "head-dim": 4, "d-ff": 21, "vocab-size": 27,
              "vocab-padded": 29, "context": 33, "positions": "half-rope", "qk-norm": True, "activation": "relu2",
              "biases": "no", "norm-bias": False, "embed-norm": True, "B": 2, "T": 31},
}


def draw_parameters(c, generator):
    """Random values everywhere, also in gains and biases: zeros and ones would hide missing terms."""
    def normal(*shape, std=0.3, mean=0.0):
        return fixture.draw(generator, *shape, std=std, mean=mean)

    C, A, F, Vp = c["d-model"], c["n-head"] * c["head-dim"], c["d-ff"], c["vocab-padded"]
    Q = A + 2 * c["n-kv-head"] * c["head-dim"]
    p = {"token_embedding.weight": normal(Vp, C)}
    if c["positions"] == "learned":
        p["position_embedding.weight"] = normal(c["context"], C)

    def norm(name):
        if c["norm-gain"]:
            p[name + ".gain"] = normal(C, mean=1.0)
        if c["norm-bias"]:
            p[name + ".bias"] = normal(C)

    def linear(name, n_out, n_in, bias=c["biases"] == "yes"):
        p[name + ".weight"] = normal(n_out, n_in, std=1.0 / math.sqrt(n_in))
        if bias:
            p[name + ".bias"] = normal(n_out)

    if c["embed-norm"]:
        norm("embed_norm")
    for layer in range(c["n-layer"]):
        prefix = f"layers.{layer}."
        norm(prefix + "norm1")
        linear(prefix + "attention.qkv", Q, C, c["biases"] != "no")
        linear(prefix + "attention.proj", C, A)
        norm(prefix + "norm2")
        if c["activation"] == "swiglu":
            linear(prefix + "mlp.gate", F, C)
        linear(prefix + "mlp.up", F, C)
        linear(prefix + "mlp.down", C, F)
    norm("final_norm")
    if not c["tied-head"]:
        p["head.weight"] = normal(Vp, C)
    if c["head-bias"]:
        p["head.bias"] = normal(Vp)
    if c["mask-padding"]:  # rows of classes that do not exist are zero and stay so
        for name in ("token_embedding.weight", "head.weight", "head.bias"):
            if name in p:
                p[name][c["vocab-size"]:] = 0
    return p


def layer_norm(x, eps):
    """Ba, Kiros, Hinton 2016, without gain and bias."""
    mean = x.mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(((x - mean) ** 2).mean(-1, keepdim=True) + eps)


def rms_norm(x, eps):
    """Zhang, Sennrich 2019, without gain."""
    return x / torch.sqrt((x ** 2).mean(-1, keepdim=True) + eps)


ACTIVATIONS = {
    # Hendrycks, Gimpel 2016: the approximation and x Phi(x).
    "gelu-tanh": lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3))),
    "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2))),
    # So et al. 2021.
    "relu2": lambda x: torch.clamp(x, min=0) ** 2,
}


def frequencies(c):
    """Of the D/2 pairs. Su et al. 2021: base^(-2j/D); the step-count benchmark: D/4 from 1 to 1/base, then zeros."""
    D, base = c["head-dim"], c["rope-base"]
    if c["positions"] == "rope":
        return torch.tensor([base ** (-2 * j / D) for j in range(D // 2)], dtype=torch.float64)
    fast = D // 4
    return torch.tensor([base ** (-j / (fast - 1)) if fast > 1 else 1.0 for j in range(fast)] + [0.0] * fast,
                        dtype=torch.float64)


def rotate(x, c):
    """x (B, T, heads, D): the numbers (x[j], x[j + D/2]) are the real and imaginary part of one that is multiplied by
    exp(i position frequency): the planes of Su et al. 2021 with Llama's order of the dimensions."""
    T, half = x.shape[1], x.shape[3] // 2
    angle = torch.arange(T, dtype=torch.float64)[:, None] * frequencies(c)
    turn = torch.polar(torch.ones_like(angle), angle)[None, :, None, :]
    z = torch.complex(x[..., :half], x[..., half:]) * turn
    return torch.cat([z.real, z.imag], -1)


def forward(c, p, tokens):
    """Logits (B, T, Vp), capped."""
    B, T = tokens.shape
    H, K, D = c["n-head"], c["n-kv-head"], c["head-dim"]

    def linear(name, x, scale=1.0):
        y = scale * (x @ p[name + ".weight"].T)
        return y + p[name + ".bias"] if name + ".bias" in p else y

    def norm(name, x):
        y = (layer_norm if c["norm"] == "layernorm" else rms_norm)(x, c["norm-eps"])
        y = y * p[name + ".gain"] if name + ".gain" in p else y
        return y + p[name + ".bias"] if name + ".bias" in p else y

    def mlp(prefix, x):
        up = linear(prefix + "mlp.up", x)
        if c["activation"] != "swiglu":
            return linear(prefix + "mlp.down", ACTIVATIONS[c["activation"]](up))
        gate = linear(prefix + "mlp.gate", x)  # Shazeer 2020: swish(x W) times x V
        return linear(prefix + "mlp.down", gate / (1 + torch.exp(-gate)) * up)

    def attention(prefix, x):
        q, k, v = linear(prefix + "attention.qkv", x).split([H * D, K * D, K * D], dim=-1)
        q, k, v = q.view(B, T, H, D), k.view(B, T, K, D), v.view(B, T, K, D)
        if c["qk-norm"]:
            q, k = rms_norm(q, c["norm-eps"]), rms_norm(k, c["norm-eps"])
        if c["positions"] in ("rope", "half-rope"):
            q, k = rotate(q, c), rotate(k, c)
        k, v = k.repeat_interleave(H // K, dim=2), v.repeat_interleave(H // K, dim=2)  # head h reads h / (H / K)
        scores = torch.einsum("bthd,bshd->bhts", q, k) * (c["attention-scale"] or 1 / math.sqrt(D))
        weights = scores.masked_fill(torch.ones(T, T).triu(1).bool(), -math.inf).softmax(-1)
        attended = torch.einsum("bhts,bshd->bthd", weights, v).reshape(B, T, H * D)
        scale = 1 / math.sqrt(2 * c["n-layer"]) if c["depth-scaled-attention"] else 1.0
        return linear(prefix + "attention.proj", attended, scale)

    x = p["token_embedding.weight"][tokens]
    if c["positions"] == "learned":
        x = x + p["position_embedding.weight"][:T]
    if c["embed-norm"]:
        x = norm("embed_norm", x)
    for layer in range(c["n-layer"]):
        prefix = f"layers.{layer}."
        x = x + attention(prefix, norm(prefix + "norm1", x))
        x = x + mlp(prefix, norm(prefix + "norm2", x))
    logits = norm("final_norm", x) @ p["token_embedding.weight" if c["tied-head"] else "head.weight"].T
    if c["head-bias"]:
        logits = logits + p["head.bias"]
    cap = c["softcap"]
    if cap == 0:
        return logits
    return cap * torch.tanh(logits / cap) if c["softcap-form"] == "tanh" else cap * logits / (logits ** 2 + cap ** 2) ** 0.5


def main():
    for seed, (name, choices) in enumerate(CASES.items()):
        c = {**fixture.GPT2, **choices}
        generator = torch.Generator().manual_seed(1000 + seed)
        tokens, targets = fixture.draw_batch(generator, c, c.pop("ignored", 0))
        p = draw_parameters(c, generator)
        for value in p.values():
            value.requires_grad_(True)
        logits = forward(c, p, tokens)
        classes = logits[..., :c["vocab-size"] if c["mask-padding"] else c["vocab-padded"]]
        log_softmax = classes - torch.logsumexp(classes, -1, keepdim=True)
        losses = -log_softmax.gather(-1, targets.clamp(min=0)[..., None])[..., 0] * (targets >= 0)
        loss = losses.sum() / targets.numel()
        loss.backward()
        fixture.write_network("model_" + name, c, tokens, targets, loss, logits[0], p,
                              {key: value.grad for key, value in p.items()})


if __name__ == "__main__":
    main()
