#!/usr/bin/env python3
"""Golden vectors of the network: loss, logits and all gradients of GPT-2 in float64, by PyTorch's autograd.

Written from the equations (Radford et al. 2019; Ba, Kiros, Hinton 2016; Hendrycks, Gimpel 2016), sharing nothing
with the C sources but the names of the parameters. Run:  /usr/bin/python3 tests/golden/model.py
"""
import math
import os

import torch

import fixture

HERE = os.path.dirname(os.path.abspath(__file__))
DTYPE = torch.float64

# Every number odd where it may be, so that no size hides behind another or fills a vector register.
CASES = {
    # The network as GPT-2 has it, three layers deep.
    "gpt2": dict(n_layer=3, n_head=3, n_kv_head=3, d_model=24, head_dim=8, d_ff=40, vocab_size=61, vocab_padded=64,
                 context=20, biases=1, tied_head=1, mask_padding=1, B=3, T=17, ignored=0),
    # A sequence longer than any tile of the attention.
    "long": dict(n_layer=1, n_head=2, n_kv_head=2, d_model=32, head_dim=16, d_ff=36, vocab_size=37, vocab_padded=40,
                 context=150, biases=1, tied_head=1, mask_padding=1, B=2, T=150, ignored=0),
    # What a configuration may choose otherwise: grouped queries, an attention narrower than the stream, no biases, a
    # head of its own, padding that takes part in the softmax, positions without a loss.
    "grouped": dict(n_layer=2, n_head=4, n_kv_head=2, d_model=28, head_dim=6, d_ff=44, vocab_size=45, vocab_padded=48,
                    context=24, biases=0, tied_head=0, mask_padding=0, B=2, T=23, ignored=5),
}


def draw_parameters(c, generator):
    """Random values everywhere, also in gains and biases: zeros and ones would hide missing terms."""
    def normal(*shape, std=0.3, mean=0.0):
        return mean + std * torch.randn(*shape, generator=generator, dtype=DTYPE)

    C, A, F, Vp = c["d_model"], c["n_head"] * c["head_dim"], c["d_ff"], c["vocab_padded"]
    Q = A + 2 * c["n_kv_head"] * c["head_dim"]
    p = {"token_embedding.weight": normal(Vp, C), "position_embedding.weight": normal(c["context"], C)}

    def norm(name):
        p[name + ".gain"] = normal(C, mean=1.0)
        if c["biases"]:
            p[name + ".bias"] = normal(C)

    def linear(name, n_out, n_in):
        p[name + ".weight"] = normal(n_out, n_in, std=1.0 / math.sqrt(n_in))
        if c["biases"]:
            p[name + ".bias"] = normal(n_out)

    for layer in range(c["n_layer"]):
        prefix = f"layers.{layer}."
        norm(prefix + "norm1")
        linear(prefix + "attention.qkv", Q, C)
        linear(prefix + "attention.proj", C, A)
        norm(prefix + "norm2")
        linear(prefix + "mlp.up", F, C)
        linear(prefix + "mlp.down", C, F)
    norm("final_norm")
    if not c["tied_head"]:
        p["head.weight"] = normal(Vp, C)
    if c["mask_padding"]:  # rows of classes that do not exist are zero and stay so
        for name in ("token_embedding.weight", "head.weight"):
            if name in p:
                p[name][c["vocab_size"]:] = 0
    return p


def layer_norm(x, gain, bias):
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    y = (x - mean) / torch.sqrt(variance + 1e-5) * gain
    return y if bias is None else y + bias


def gelu(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def forward(c, p, tokens):
    """Logits (B, T, Vp)."""
    B, T = tokens.shape
    H, K, D = c["n_head"], c["n_kv_head"], c["head_dim"]

    def linear(name, x):
        y = x @ p[name + ".weight"].T
        return y + p[name + ".bias"] if c["biases"] else y

    def norm(name, x):
        return layer_norm(x, p[name + ".gain"], p.get(name + ".bias"))

    future = torch.ones(T, T).triu(1).bool()
    x = p["token_embedding.weight"][tokens] + p["position_embedding.weight"][:T]
    for layer in range(c["n_layer"]):
        prefix = f"layers.{layer}."
        qkv = linear(prefix + "attention.qkv", norm(prefix + "norm1", x))
        q, k, v = qkv.split([H * D, K * D, K * D], dim=-1)
        q = q.view(B, T, H, D)
        k = k.view(B, T, K, D).repeat_interleave(H // K, dim=2)  # query head h reads head h / (H / K)
        v = v.view(B, T, K, D).repeat_interleave(H // K, dim=2)
        scores = torch.einsum("bthd,bshd->bhts", q, k) / math.sqrt(D)
        weights = scores.masked_fill(future, -math.inf).softmax(-1)
        attended = torch.einsum("bhts,bshd->bthd", weights, v).reshape(B, T, H * D)
        x = x + linear(prefix + "attention.proj", attended)
        x = x + linear(prefix + "mlp.down", gelu(linear(prefix + "mlp.up", norm(prefix + "norm2", x))))
    head = p["token_embedding.weight"] if c["tied_head"] else p["head.weight"]
    return norm("final_norm", x) @ head.T


def main():
    for seed, (name, c) in enumerate(CASES.items()):
        generator = torch.Generator().manual_seed(1000 + seed)
        p = draw_parameters(c, generator)
        for value in p.values():
            value.requires_grad_(True)
        B, T, V = c["B"], c["T"], c["vocab_size"]
        tokens = torch.randint(0, V, (B, T), generator=generator)
        targets = torch.randint(0, V, (B, T), generator=generator)
        tokens[0, 0], targets[-1, -1] = V - 1, V - 1
        for _ in range(c["ignored"]):
            targets.view(-1)[torch.randint(0, B * T - 1, (1,), generator=generator)] = -1

        logits = forward(c, p, tokens)
        classes = V if c["mask_padding"] else c["vocab_padded"]
        log_softmax = logits[..., :classes] - torch.logsumexp(logits[..., :classes], -1, keepdim=True)
        losses = -log_softmax.gather(-1, targets.clamp(min=0)[..., None])[..., 0] * (targets >= 0)
        loss = losses.sum() / (B * T)  # the mean over all positions, also those without a loss
        loss.backward()

        arrays = {f"config.{key}": torch.tensor([value], dtype=torch.int32).numpy() for key, value in c.items()
                  if key != "ignored"}
        arrays["tokens"] = tokens.int().numpy()
        arrays["targets"] = targets.int().numpy()
        arrays["loss"] = loss.detach().reshape(1).numpy()
        arrays["logits"] = logits.detach()[0].numpy()  # (T, Vp) of sequence 0
        for key, value in p.items():
            arrays["param." + key] = value.detach().numpy()
            arrays["grad." + key] = value.grad.numpy()
        fixture.write(os.path.join(HERE, f"model_{name}.safetensors"), arrays)


if __name__ == "__main__":
    main()
