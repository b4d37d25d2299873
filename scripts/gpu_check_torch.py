#!/usr/bin/env python3
"""usage: gpu_check_torch.py [adamw] [muon] [normuon]

Measures the speed of GPT-2 124M in PyTorch for comparison. The same model and
batch as configs/gpt2_124m.conf: T = 1024, 50,304 classes, bf16 autocast,
torch.compile, flash attention only. The optimizers are those of
scripts/lib/torch_gpt.py, not compiled, since compilation would take longer
than all steps. Prints lines "name: value".
"""
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))

from cli import answer_help  # noqa: E402

answer_help(__doc__)

import torch  # noqa: E402
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402

from torch_gpt import GPT, optimizers_of  # noqa: E402

LAYERS, HEADS, WIDTH, CLASSES, LENGTH, MICRO = 12, 12, 768, 50304, 1024, 32


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
    model = GPT(LAYERS, HEADS, WIDTH, CLASSES, LENGTH).cuda()
    forward = torch.compile(model)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        start = time.time()
        for tokens, steps in ((524288, 4), (65536, 12)):  # most important first, in case time runs out
            for name in sys.argv[1:] or ["adamw", "muon", "normuon"]:
                measure(model, forward, name, tokens, steps)
    print(f"PyTorch version: {torch.__version__}, {time.time() - start:.0f} s including compilation")


main()
