#!/usr/bin/env python3
"""usage: bench_torch.py N_LAYER N_HEAD D_MODEL VOCAB BATCH TOKENS STEPS THREADS
                      f32|bf16 eager|compiled adamw|normuon

Times training steps of GPT-2 in PyTorch on the CPU, for scripts/bench_peers.py.
Prints, for every step, the milliseconds of the step and those of the optimizer
in it. bf16 is autocast, with weights and moments in fp32.
"""
import contextlib
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))

from cli import answer_help  # noqa: E402

answer_help(__doc__)

import torch  # noqa: E402

from torch_gpt import GPT, optimizers_of  # noqa: E402


def main():
    layers, heads, width, classes, batch, length, steps, threads = map(int, sys.argv[1:9])
    dtype, mode, name = sys.argv[9:]
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    model = GPT(layers, heads, width, classes, max(length, 128))
    forward = torch.compile(model) if mode == "compiled" else model
    optimizers = optimizers_of(model, name)
    for _ in range(steps):
        tokens = torch.randint(classes, (batch, length + 1))
        start = time.perf_counter()
        model.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16) if dtype == "bf16" else contextlib.nullcontext():
            loss = forward(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        update = time.perf_counter()
        for optimizer in optimizers:
            optimizer.step()
        end = time.perf_counter()
        print(1e3 * (end - start), 1e3 * (end - update), flush=True)


if __name__ == "__main__":
    main()
