"""GPT-2 in PyTorch, and Muon and NorMuon as published (Jordan et al. 2024; Li et al. 2025): the peer of the benchmarks."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Block(nn.Module):
    def __init__(self, heads, width):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (y.view(b, t, self.heads, c // self.heads).transpose(1, 2) for y in self.qkv(self.norm1(x)).split(c, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(b, t, c))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class GPT(nn.Module):
    """model(x, y): the mean cross-entropy of tokens y after tokens x, (batch, length)."""

    def __init__(self, layers, heads, width, classes, length):
        super().__init__()
        self.classes = classes
        self.tokens, self.positions = nn.Embedding(classes, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(heads, width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        for p in self.parameters():
            if p.ndim == 2:
                nn.init.normal_(p, std=0.02)

    def forward(self, x, y):
        h = self.tokens(x) + self.positions(torch.arange(x.shape[1], device=x.device))
        for block in self.blocks:
            h = block(h)
        logits = F.linear(self.norm(h), self.tokens.weight)
        return F.cross_entropy(logits.float().view(-1, self.classes), y.reshape(-1))


def orthogonalize(x):  # (n, rows, cols), rows <= cols
    x = x.bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x


class Muon:
    """Nesterov momentum and orthogonalization in bf16, matrices of the same shape batched; with `rows`, NorMuon's row
    normalization by the second moment."""

    def __init__(self, matrices, lr=1e-3, momentum=0.95, rows=False):
        shapes = {}
        for p in matrices:
            shapes.setdefault(tuple(p.shape), []).append(p)
        self.groups = [{"p": ps, "m": torch.zeros(len(ps), *s, device=ps[0].device),
                        "v": torch.zeros(len(ps), s[0], 1, device=ps[0].device)} for s, ps in shapes.items()]
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
    """Returns the optimizers of a step with "adamw" (fused), or "muon" or "normuon" on the matrices of the blocks."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and n.startswith("blocks.")]
    chosen = {id(p) for p in matrices} if name != "adamw" else set()
    rest = [p for p in model.parameters() if id(p) not in chosen]
    adamw = torch.optim.AdamW(rest, lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    return [adamw] + ([Muon(matrices, rows=name == "normuon")] if name != "adamw" else [])
