#!/usr/bin/env python3
"""usage: gpu_check_torch.py [adamw] [muon] [normuon]

Measures the speed of GPT-2 124M in PyTorch for comparison. The same model and
batch as configs/gpt2_124m.conf: T = 1024, 50,304 classes, bf16 autocast,
torch.compile, flash attention only. Muon and NorMuon as published (Jordan et
al. 2024; Li et al. 2025): five Newton-Schulz iterations in bf16, matrices of
the same shape batched; not compiled, since compilation would take longer than
all steps. Prints lines "name: value".
"""
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))

from cli import answer_help  # noqa: E402

answer_help(__doc__)

import torch  # noqa: E402
import torch.nn as nn  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402

LAYERS, HEADS, WIDTH, CLASSES, LENGTH, MICRO = 12, 12, 768, 50304, 1024, 32


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (y.view(b, t, HEADS, c // HEADS).transpose(1, 2) for y in self.qkv(self.norm1(x)).split(c, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(b, t, c))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(CLASSES, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        for p in self.parameters():
            if p.ndim == 2:
                nn.init.normal_(p, std=0.02)

    def forward(self, x, y):
        h = self.tokens(x) + self.positions(torch.arange(x.shape[1], device=x.device))
        for block in self.blocks:
            h = block(h)
        logits = F.linear(self.norm(h), self.tokens.weight)
        return F.cross_entropy(logits.float().view(-1, CLASSES), y.view(-1))


def orthogonalize(x):  # (n, rows, cols), rows <= cols
    x = x.bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x


class Muon:
    """Nesterov momentum and orthogonalization; with `rows`, NorMuon's row normalization by the second moment."""

    def __init__(self, matrices, lr=1e-3, momentum=0.95, rows=False):
        shapes = {}
        for p in matrices:
            shapes.setdefault(tuple(p.shape), []).append(p)
        self.groups = [{"p": ps, "m": torch.zeros(len(ps), *s, device="cuda"),
                        "v": torch.zeros(len(ps), s[0], 1, device="cuda")} for s, ps in shapes.items()]
        self.lr, self.momentum, self.rows = lr, momentum, rows

    @torch.no_grad()
    def step(self):
        for g in self.groups:
            grad = torch.stack([p.grad for p in g["p"]])
            g["m"].lerp_(grad, 1 - self.momentum)
            x = grad.lerp_(g["m"], self.momentum)
            tall = x.shape[1] > x.shape[2]
            o = orthogonalize(x.mT if tall else x)
            o = (o.mT if tall else o).float()
            if self.rows:
                size = o.norm(dim=(1, 2), keepdim=True)
                g["v"].lerp_(o.square().mean(2, keepdim=True), 0.05)
                o = o / (g["v"].sqrt() + 1e-8)
                o = o * (size / (o.norm(dim=(1, 2), keepdim=True) + 1e-8))
            scale = self.lr * max(1, o.shape[1] / o.shape[2]) ** 0.5
            torch._foreach_add_(g["p"], list(o.unbind()), alpha=-scale)


def optimizers_of(model, name):
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and n.startswith("blocks.")]
    chosen = {id(p) for p in matrices} if name != "adamw" else set()
    rest = [p for p in model.parameters() if id(p) not in chosen]
    adamw = torch.optim.AdamW(rest, lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    return [adamw] + ([Muon(matrices, rows=name == "normuon")] if name != "adamw" else [])


def measure(model, forward, name, tokens, steps):
    optimizers = optimizers_of(model, name)
    accumulate = tokens // (MICRO * LENGTH)
    x, y = torch.randint(50257, (2, accumulate, MICRO, LENGTH), device="cuda")
    whole, update = [], []
    torch.cuda.reset_peak_memory_stats()
    for step in range(steps):
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(3)]
        marks[0].record()
        model.zero_grad(set_to_none=True)
        for i in range(accumulate):
            with torch.autocast("cuda", torch.bfloat16):
                loss = forward(x[i], y[i]) / accumulate
            loss.backward()
        marks[1].record()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # ./train's optimizer time includes it too
        for optimizer in optimizers:
            optimizer.step()
        marks[2].record()
        torch.cuda.synchronize()
        whole.append(marks[0].elapsed_time(marks[2]))
        update.append(marks[1].elapsed_time(marks[2]))
    ms = statistics.median(whole[2:])
    print(f"PyTorch {name}, {tokens} tokens a step: {tokens / ms * 1e3:.0f} tokens/s, step {ms:.1f} ms, optimizer "
          f"{statistics.median(update[2:]):.2f} ms, {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB", flush=True)


def main():
    torch.manual_seed(1)
    model = GPT().cuda()
    forward = torch.compile(model)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        start = time.time()
        for tokens, steps in ((524288, 4), (65536, 12)):  # most important first, in case time runs out
            for name in sys.argv[1:] or ["adamw", "muon", "normuon"]:
                measure(model, forward, name, tokens, steps)
    print(f"PyTorch version: {torch.__version__}, {time.time() - start:.0f} s including compilation")


main()
