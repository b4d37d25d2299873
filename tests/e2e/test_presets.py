#!/usr/bin/env python3
"""Every file in configs/ and every combination of a model with an optimizer: accepted, with the number of parameters
that its comment states and its architecture has, and the figures of its source in the plan."""
import glob
import os
import re
import resource
import sys

sys.dont_write_bytecode = True
import tiny_runs

ROOT = tiny_runs.ROOT


def gpt2(layers, width):
    """Radford et al. 2019: biases, two gains and biases a layer, a tied head, 1024 positions."""
    return (50257 + 1024) * width + layers * (12 * width**2 + 13 * width) + 2 * width


def llama(layers, width, heads, kv_heads, inner, vocab, qkv_biases=False):
    """SwiGLU, grouped queries, RMSNorm with gains, a head of its own."""
    attention = 2 * width**2 * (heads + kv_heads) // heads
    biases = width * (heads + 2 * kv_heads) // heads if qkv_biases else 0
    return 2 * vocab * width + layers * (attention + 3 * width * inner + biases) + (2 * layers + 1) * width


def benchmark(layers, width, vocab):
    """Biases everywhere, the head's too, gains in the norms, one of which follows the embedding."""
    return 2 * vocab * width + vocab + layers * (12 * width**2 + 9 * width + 2 * width) + 2 * width


PARAMETERS = {
    "austen_gpt2": gpt2(4, 128) - (1024 - 128) * 128,
    "gpt2_124m": gpt2(12, 768), "gpt2_350m": gpt2(24, 1024), "gpt2_774m": gpt2(36, 1280), "gpt2_1558m": gpt2(48, 1600),
    "normuon/124m": 50257 * 768 + 12 * 12 * 768**2,
    "normuon/350m": 2 * 50304 * 1024 + 16 * 12 * 1024**2,
    "normuon/1.1b": llama(16, 2048, 16, 4, 8192, 32000),
    "normuon/5.4b": llama(28, 3584, 28, 7, 14336, 32000),
    "polargrad/qwen": llama(12, 1024, 16, 16, 4864, 151936, qkv_biases=True),
    "benchmark/162m": benchmark(12, 768, 50304),
}
# Stated in the specifications of the sources, so that a slip in the formulas above shows.
assert (PARAMETERS["gpt2_124m"], PARAMETERS["normuon/124m"], PARAMETERS["normuon/1.1b"], PARAMETERS["normuon/5.4b"],
        PARAMETERS["polargrad/qwen"], PARAMETERS["benchmark/162m"]) == (
            124439808, 123532032, 1104218112, 5444673024, 540865536, 162354816)

ADAMW = "beta1 0.9, beta2 0.95, eps 1e-08"
AUX = "beta1 0.8, beta2 0.95, eps 1.9073486328125e-16"
SIMPLE = "polar simple, polar-steps 12, polar-eps 1.9073486328125e-13, split-qkv yes"
BIG = [["2,097,152 tokens", "23,842 steps", "512 sequences of 4096", "linear, warm-up 477, final 0"],
       ["rmsnorm", "rope base 10000", "swiglu", "no biases", "untied head"]]
# What the plan of a combination says, by source.
PLANS = {
    ("austen_gpt2", None): ["150 steps of 1,024 tokens", "4 layers, width 128, 2 heads of 64"],
    ("gpt2_124m", None): ["layernorm eps 1e-05 with biases", "learned", "gelu-tanh", "19,560 steps", "524,288 tokens",
                          f"lr 0.0006, {ADAMW}, weight-decay 0.1", "cosine, warm-up 700, final 0"],
    ("gpt2_350m", None): ["60,000 steps", "24 layers, width 1024, 16 heads of 64", f"lr 0.0003, {ADAMW}"],
    ("gpt2_774m", None): ["286,102 steps", "36 layers, width 1280, 20 heads of 64", f"lr 0.00025, {ADAMW}"],
    ("gpt2_1558m", None): ["32,000 steps", "48 layers, width 1600, 25 heads of 64", f"lr 0.0006, {ADAMW}",
                           "1,048,576 tokens", "final 0.1"],
    ("normuon/124m", "muon"): ["rmsnorm eps 1e-06 without gains", "rope base 10000", "output / sqrt(24)", "; gelu\n",
                               "uniform-fan-in 0.57735, residual projections same", "6,200 steps", "512 sequences of 1024",
                               "lr 0.00036, momentum 0.95", "ema no, nesterov yes, polar ns5, polar-steps 5",
                               "split-qkv yes, split-heads no, scale max, rms 1", "cooldown 0.290323, final 0", f"lr 0.0036, {ADAMW}"],
    ("normuon/124m", "normuon"): ["lr 0.00036, momentum 0.95", "scale rms, rms 1", "beta2 0.95", "form paper",
                                  "nesterov no", f"lr 0.0036, {ADAMW}"],
    ("normuon/124m", "adamw"): [f"lr 0.0018, {ADAMW}, weight-decay 0", "warm-up 250"],
    ("normuon/350m", "muon"): ["16 layers, width 1024, 8 heads of 128", "7,500 steps", "lr 0.00075", "scale max, rms 1",
                               "lr 0.3, beta1 0.8, beta2 0.95", "lr 0.003, beta1 0.8, beta2 0.95"],
    ("normuon/350m", "normuon"): ["lr 0.00075", "scale rms, rms 1", "form paper"],
    ("normuon/350m", "adamw"): ["hidden  adamw"],
    ("normuon/1.1b", "muon"): [*BIG[0], *BIG[1], "16 heads of 128 (4 for", "lr 0.0004, momentum 0.95",
                               "split-qkv no, split-heads no, scale max, rms 0.2", "weight-decay 0.1", f"lr 0.0004, {ADAMW}, weight-decay 0\n"],
    ("normuon/1.1b", "normuon"): [*BIG[0], "lr 0.0004, momentum 0.95", "split-qkv no, split-heads no, scale rms, rms 0.2",
                                  "beta2 0.95", "form paper", "weight-decay 0.1"],
    ("normuon/1.1b", "adamw"): [*BIG[0], f"lr 0.0004, {ADAMW}, weight-decay 0.1", f"lr 0.0004, {ADAMW}, weight-decay 0\n"],
    ("normuon/5.4b", "muon"): [*BIG[0], *BIG[1], "28 heads of 128 (7 for", "MLP 14336", "lr 0.00030237, momentum 0.95"],
    ("normuon/5.4b", "normuon"): [*BIG[0], "lr 0.00030237, momentum 0.95", "scale rms, rms 0.2"],
    ("normuon/5.4b", "adamw"): [*BIG[0], f"lr 0.00030237, {ADAMW}, weight-decay 0.1"],
    ("polargrad/qwen", "adamw"): ["rmsnorm eps 1e-06;", "rope base 1e+06", "biases in queries, keys, values", "13,299 steps",
                                  "16 sequences of 512", "cosine, warm-up 100, final 0", f"lr 0.001, {ADAMW}, weight-decay 0.1"],
    ("polargrad/qwen", "polargrad"): ["hidden  muon,", "ema no, nesterov yes, polar ns5", "embed   polargrad,", "head    polargrad,",
                                      "lr 0.001, momentum 0.5", "ema yes, nesterov no", "scale nuclear", "polar-first no", "polar qdwh, polar-steps 5"],
    ("polargrad/qwen", "muon"): ["lr 0.001, momentum 0.95", "ema no, nesterov yes, polar ns5", "scale max, rms 0.2",
                                 "wsd, cooldown 0.4, final 0", f"lr 0.001, {ADAMW}, weight-decay 0\n"],
    ("benchmark/162m", "muon"): ["rmsnorm eps 1.19209e-07, also after the embedding; positions half-rope base 1024",
                                 "scale 0.12, qk-norm; relu2", "; biases; untied head with a bias, soft-cap 15 (root)",
                                 "normal-fan-in 0.574456, embeddings normal 1, residual projections zero, head zero",
                                 "3,250 steps", "512 sequences of 1024", "lr 0.025, momentum 0.95", "nesterov yes", SIMPLE,
                                 "scale shape", "weight-decay 0.05", f"lr 0.7, {AUX}, weight-decay 0.001",
                                 f"lr 0.004, {AUX}, weight-decay 0.001", f"lr 0.015, {AUX}, weight-decay 0.001",
                                 "wsd, cooldown 0.7, final 0"],
    ("benchmark/162m", "normuon"): ["3,300 steps", "lr 0.035, momentum 0.95", "nesterov yes", SIMPLE, "scale shape",
                                    "second-moment longer, normalize after",
                                    "form official", "weight-decay 0.025", f"lr 0.3, {AUX}, weight-decay 0",
                                    f"lr 0.003125, {AUX}, weight-decay 0", f"lr 0.01, {AUX}, weight-decay 0"],
    ("benchmark/162m", "adamw"): ["5,625 steps", "lr 0.0015, beta1 0.9, beta2 0.95, eps 1.9073486328125e-16, weight-decay 0.1",
                                  "warm-up 250, cooldown 0.7", f"lr 0.3, {AUX}, weight-decay 0"],
}


def path_of(name):
    return os.path.join(ROOT, "configs", name + ".conf")


def plan_of(*names):
    options = [word for name in names for word in ("--config", path_of(name))]
    # PolarGrad's needs LAPACK; without it the preset is refused before anything else.
    environment = {key: value for key, value in os.environ.items() if key != "POLAR_BLAS"}
    process = tiny_runs.start(*options, "--dry-run", environment=environment)
    plan, err = process.communicate(timeout=300)
    if process.returncode == 1 and "has no LAPACK" in err:
        return None
    fits = process.returncode == 0
    assert fits or (process.returncode == 1 and "memory" in err), f"{names}: status {process.returncode}: {err}"
    return plan


def words(plan):
    """The plan with its lines of options joined, so that a list is found whatever its line breaks are."""
    return re.sub(r",\n {20}(?=[a-z0-9-]+ [\w.-]+,|[a-z0-9-]+ [\w.-]+\n)", ", ", plan)


def every_preset_is_known(_):
    files = {os.path.relpath(path, os.path.join(ROOT, "configs"))[:-5]
             for path in glob.glob(os.path.join(ROOT, "configs", "**", "*.conf"), recursive=True)}
    known = set(PARAMETERS) | {f"{network}_{optimizer}" for network, optimizer in PLANS if optimizer}
    files -= {name for name in files if name.startswith("problems/")}  # test_problems.py's
    demo = {name for name in files if name == "demo" or name.startswith("demo_")}
    assert files - demo == known, files - demo ^ known
    readme = open(os.path.join(ROOT, "README.md")).read()
    missing = [name for name in PARAMETERS if f"{name}.conf" not in readme]
    assert not missing, f"not in README.md: {missing}"


def comments_say_what_it_is(_):
    for name, parameters in PARAMETERS.items():
        comment = re.match(r"(#.*\n)+", open(path_of(name)).read())[0]
        stated = re.search(r"([\d,]+) parameters", comment)
        assert stated and int(stated[1].replace(",", "")) == parameters, f"{name}: {stated and stated[0]}, not {parameters:,}"
        for path in re.findall(r"configs/[\w./]+\.conf", comment):
            assert os.path.exists(os.path.join(ROOT, path)), f"{name}: {path}"
    for network, optimizer in PLANS:
        if optimizer:
            comment = re.match(r"(#.*\n)+", open(path_of(f"{network}_{optimizer}")).read())[0]
            assert f"configs/{network}.conf" in comment, f"{network}_{optimizer} does not name its network"


def networks_have_their_parameters(_):
    for name, parameters in PARAMETERS.items():
        assert f"Model       {parameters:,} parameters" in plan_of(name), name


def plans_have_their_sources_numbers(_):
    for (network, optimizer), texts in PLANS.items():
        plan = plan_of(network, f"{network}_{optimizer}") if optimizer else plan_of(network)
        if plan is None:
            print(f"skipped plan_of_{network}_{optimizer}: no LAPACK")
            continue
        plan = words(plan)
        assert "Note" not in plan, plan  # nothing is left out
        assert not optimizer or f"  {optimizer}, " in plan, plan
        for text in texts:
            assert text in plan, f"{network}, {optimizer}: '{text}' is not in\n{plan}"


def demo_is_accepted(_):
    for name in ("adamw", "muon", "normuon"):
        plan_of("demo", f"demo_{name}")


def plans_take_no_memory(_):
    """Of all that ran so far, 5.4 billion parameters included."""
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert peak < 256 << 10, f"{peak} KiB"


if __name__ == "__main__":
    tests = [every_preset_is_known, comments_say_what_it_is, networks_have_their_parameters,
             plans_have_their_sources_numbers, demo_is_accepted]
    tiny_runs.run_tests(*tests, *([] if "asan" in tiny_runs.TRAIN else [plans_take_no_memory]))
