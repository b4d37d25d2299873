#!/usr/bin/env python3
"""Golden vectors of the optimizers: ten steps of the published implementations over the parameters of a tiny network.

    /usr/bin/python3 tests/golden/optim.py --repo PATH --repo PATH --repo PATH --repo PATH --repo PATH [--only FIXTURE]

Each PATH is a checkout, a git directory or an unpacked package: Keller Jordan's muon.py (github.com/KellerJordan/Muon),
normuon.py (github.com/zichongli5/NorMuon), polar_grad.py and its oracles (github.com/timlautk/polargrad), optim/rownorm.py
(github.com/timlautk/equivariant_optimizers), lion_pytorch/lion_pytorch.py (PyPI: lion-pytorch); the first that has a file
gives it, so Muon's before PolarGrad's. --only makes one of the fixtures, from those of its own optimizers. Their
code is executed as it stands but for casts to bfloat16 before the iterations for the polar factor, which are taken
out, so that they compute in the type of their input: float32, and float64 for two of the steps. AdamW and SGD are
PyTorch's; the auxiliary Adam is that of normuon.py. NorMuon as the paper's Algorithm 1 has it has no published code of
its own: `PaperNorMuon` below is a transcription of the algorithm.

Recorded for each case and parameter: its value and the optimizer's state before every step and after the last one;
the gradients, the same for all cases; and for steps 0 and 9 what one step in float64 makes of the same float32 values.
"""
import argparse
import sys
import types

import torch

import fixture

STEPS, F64_STEPS = 10, (0, 9)

# The parameters of a network with these sizes; two layers, so that matrices come in batches.
SIZES = dict(n_layer=2, n_head=2, head_dim=5, d_model=10, d_ff=16, vocab_size=11, vocab_padded=12, context=6)

# Options of ours by group, under our names. `optimizer` picks the published code.
CASES = {
    "muon": {
        "hidden": dict(optimizer="muon", lr=0.2, momentum=0.9, weight_decay=0.1),
        "embed": dict(optimizer="adamw", lr=0.05, beta1=0.8, beta2=0.95, eps=1e-8, weight_decay=0.3),
        "head": dict(optimizer="sgd", lr=0.5, momentum=0.85, nesterov=1, weight_decay=0.2),
        "vector": dict(optimizer="adamw", lr=0.02, beta1=0.9, beta2=0.99, eps=1e-6, weight_decay=0),
    },
    "normuon_official": {
        "hidden": dict(optimizer="normuon", lr=0.15, momentum=0.95, beta2=0.9, weight_decay=0.2),
        "embed": dict(optimizer="aux_adam", lr=0.03, beta1=0.9, beta2=0.95, eps=1e-10, weight_decay=0.5),
        "head": dict(optimizer="aux_adam", lr=0.04, beta1=0.8, beta2=0.95, eps=1e-10, weight_decay=0.1),
        "vector": dict(optimizer="aux_adam", lr=0.01, beta1=0.9, beta2=0.95, eps=1e-10, weight_decay=0),
    },
    "normuon_paper": {
        "hidden": dict(optimizer="normuon_paper", lr=0.3, momentum=0.95, beta2=0.95, eps=1e-8, weight_decay=0.1),
        "embed": dict(optimizer="sgd", lr=0.4, momentum=0, nesterov=0, weight_decay=0.1),
        "head": dict(optimizer="adamw", lr=0.05, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1),
        "vector": dict(optimizer="sgd", lr=0.3, momentum=0.9, nesterov=0, weight_decay=0),
    },
    "polargrad": {
        "hidden": dict(optimizer="polargrad", method="ns", lr=0.05, momentum=0.9, weight_decay=0.1, polar_steps=5),
        "embed": dict(optimizer="polargrad", method="polar_express", lr=0.1, momentum=0.5, weight_decay=0, polar_steps=9),
        "head": dict(optimizer="polargrad", method="polar_express", lr=0.05, momentum=0.95, weight_decay=0.2,
                     polar_steps=5, polar_first=1),
        "vector": dict(optimizer="sgd", lr=0.3, momentum=0, nesterov=0, weight_decay=0),
    },
    "polarsgd": {
        "hidden": dict(optimizer="polargrad", method="polar_express", lr=0.05, momentum=0, weight_decay=0, polar_steps=5),
        "embed": dict(optimizer="rownorm", lr=0.1, momentum=0.95, weight_decay=0.1, row_eps=1e-8),
        "head": dict(optimizer="rownorm", lr=0.05, momentum=0.5, weight_decay=0, row_eps=1e-3),
        "vector": dict(optimizer="sgd", lr=0.3, momentum=0, nesterov=0, weight_decay=0),
    },
    "polar_first": {
        "hidden": dict(optimizer="polargrad", method="ns", lr=0.05, momentum=0.95, weight_decay=0.3, polar_steps=5,
                       polar_first=1),
        "embed": dict(optimizer="polargrad", method="ns", lr=0.1, momentum=0, weight_decay=0.1, polar_steps=5),
        "head": dict(optimizer="polargrad", method="ns", lr=0.05, momentum=0.5, weight_decay=0, polar_steps=5),
        "vector": dict(optimizer="sgd", lr=0.3, momentum=0, nesterov=0, weight_decay=0),
    },
    "qdwh": {
        "hidden": dict(optimizer="polargrad", method="qdwh", lr=0.05, momentum=0.9, weight_decay=0.1, polar_steps=2),
        "embed": dict(optimizer="polargrad", method="qdwh", lr=0.1, momentum=0.5, weight_decay=0, polar_steps=5),
        "head": dict(optimizer="polargrad", method="qdwh", lr=0.05, momentum=0.5, weight_decay=0, polar_steps=2,
                     polar_first=1),
        "vector": dict(optimizer="sgd", lr=0.3, momentum=0, nesterov=0, weight_decay=0),
    },
    "lion": {
        "hidden": dict(optimizer="lion", lr=0.02, beta1=0.9, beta2=0.99, weight_decay=1),
        "embed": dict(optimizer="lion", lr=0.05, beta1=0.95, beta2=0.98, weight_decay=0.3),
        "head": dict(optimizer="lion", lr=0.1, beta1=0.5, beta2=0.9, weight_decay=0.1),
        "vector": dict(optimizer="lion", lr=0.03, beta1=0.9, beta2=0.99, weight_decay=0),
    },
}

# The files they go to.
FIXTURES = {"lion": ["lion"],
            "optim": ["muon", "normuon_official", "normuon_paper"],
            "polargrad": ["polargrad", "polarsgd", "polar_first", "qdwh"]}


class PaperNorMuon(torch.optim.Optimizer):
    """Algorithm 1 of NorMuon (Li et al. 2025), line by line; eps where the paper has it, 5 steps of Newton-Schulz."""

    @torch.no_grad()
    def step(self):
        for g in self.param_groups:
            for p in g["params"]:
                state = self.state[p]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(p)
                    state["second_momentum_buffer"] = torch.zeros_like(p[:, :1])
                M, v = state["momentum_buffer"], state["second_momentum_buffer"]
                m, n = p.shape
                M.copy_(g["momentum"] * M + (1 - g["momentum"]) * p.grad)          # line 5
                X = M / (M.norm() + 1e-7)                                           # line 6
                X = X.T if m > n else X
                for _ in range(5):
                    A = X @ X.T
                    X = 3.4445 * X + (-4.7750 * A + 2.0315 * A @ A) @ X
                O = X.T if m > n else X
                v.copy_(g["beta2"] * v + (1 - g["beta2"]) * (O * O).mean(1, keepdim=True))  # line 7
                O_hat = O / (v.sqrt() + g["eps"])                                   # lines 8 and 9
                eta_hat = 0.2 * g["lr"] * (m * n) ** 0.5 / O_hat.norm()             # line 10
                p.copy_(p - g["lr"] * g["weight_decay"] * p - eta_hat * O_hat)      # line 11


def load_published(repos, name, casts=0, module=None):
    """The names in a published file without its casts to bfloat16; others can import it as `module`."""
    source = fixture.load_source(repos, name)
    assert source.count(".bfloat16()") == casts, f"{name}: expected {casts} casts to bfloat16"
    loaded = types.ModuleType(module or name)
    loaded.__package__ = module.rpartition(".")[0] if module else None
    if module:
        sys.modules[module] = loaded
    exec(compile(source.replace(".bfloat16()", ""), name, "exec"), loaded.__dict__)
    return loaded.__dict__


def load_for(fixture_name, repos):
    """The published code of a fixture's optimizers."""
    if fixture_name == "lion":
        return {"lion": load_published(repos, "lion_pytorch/lion_pytorch.py")}
    torch.compile = lambda function: function  # PyTorch 1.13 has neither this
    sys.modules["torch.optim.optimizer"].ParamsT = object  # nor the name of a type
    published = {name: load_published(repos, name + ".py", 1) for name in ("muon", "normuon")}
    for name, casts in (("newton_schulz", 2), ("polar_express", 1), ("qdwh", 0), ("polar", 0)):
        load_published(repos, name + ".py", casts, name)
    published["polar_grad"] = load_published(repos, "polar_grad.py")
    sys.modules["optim"] = types.ModuleType("optim")
    for name in ("row_ops", "utils", "rownorm"):
        published[name] = load_published(repos, f"optim/{name}.py", 0, f"optim.{name}")
    return published


# Our names of the state tensors -> theirs.
STATES = {
    "muon": {"momentum": "momentum_buffer"},
    "normuon": {"momentum": "momentum_buffer", "row_moment": "second_momentum_buffer"},
    "normuon_paper": {"momentum": "momentum_buffer", "row_moment": "second_momentum_buffer"},
    "adamw": {"moment1": "exp_avg", "moment2": "exp_avg_sq"},
    "aux_adam": {"moment1": "exp_avg", "moment2": "exp_avg_sq"},
    "sgd": {"momentum": "momentum_buffer"},
    "lion": {"momentum": "exp_avg"},
    "polargrad": {"momentum": "momentum"},
    "rownorm": {"momentum": "momentum"},
}


def state_names(options):
    return {} if options.get("momentum") == 0 else STATES[options["optimizer"]]


def make_optimizer(published, options, p):
    o = options
    common = dict(lr=o["lr"], weight_decay=o["weight_decay"])
    if o["optimizer"] == "muon":
        return published["muon"]["SingleDeviceMuon"]([p], momentum=o["momentum"], **common)
    if o["optimizer"] == "normuon":
        return published["normuon"]["SingleDeviceNorMuon"]([p], momentum=o["momentum"], beta2=o["beta2"], **common)
    if o["optimizer"] == "normuon_paper":
        return PaperNorMuon([p], dict(momentum=o["momentum"], beta2=o["beta2"], eps=o["eps"], **common))
    if o["optimizer"] == "polargrad":
        return published["polar_grad"]["PolarGrad"]([p], momentum=o["momentum"], polar_first=bool(o.get("polar_first")),
                                                    method=o["method"], inner_steps=o["polar_steps"], c=2.0315, **common)
    if o["optimizer"] == "rownorm":
        return published["rownorm"]["RowNormM"]([p], beta=o["momentum"], eps=o["row_eps"], **common)
    if o["optimizer"] == "lion":
        return published["lion"]["Lion"]([p], betas=(o["beta1"], o["beta2"]), **common)
    if o["optimizer"] == "adamw":
        return torch.optim.AdamW([p], betas=(o["beta1"], o["beta2"]), eps=o["eps"], foreach=False, **common)
    if o["optimizer"] == "aux_adam":
        group = dict(params=[p], betas=(o["beta1"], o["beta2"]), eps=o["eps"], use_muon=False, **common)
        return published["normuon"]["SingleDeviceNorMuonWithAuxAdam"]([group])
    return torch.optim.SGD([p], momentum=o["momentum"], nesterov=bool(o["nesterov"]), foreach=False, **common)


def one_step(published, options, value, state, gradient, t, dtype):
    """Value and state after step t, from those before it."""
    p = torch.nn.Parameter(value.to(dtype, copy=True))
    optimizer = make_optimizer(published, options, p)
    names = state_names(options)
    if t > 0:
        optimizer.state[p] = {theirs: state[ours].to(dtype, copy=True) for ours, theirs in names.items()}
        if options["optimizer"] == "adamw":
            optimizer.state[p]["step"] = torch.tensor(float(t))
        if options["optimizer"] == "aux_adam":
            optimizer.state[p]["step"] = t
    p.grad = gradient.to(dtype, copy=True)  # some of them write to it
    optimizer.step()
    return p.detach().clone(), {ours: optimizer.state[p][theirs].clone() for ours, theirs in names.items()}


def parameter_shapes(s):
    """(name, group, shape) of every parameter."""
    C, A, F, Vp = s["d_model"], s["n_head"] * s["head_dim"], s["d_ff"], s["vocab_padded"]
    shapes = [("token_embedding.weight", "embed", (Vp, C)), ("position_embedding.weight", "embed", (s["context"], C))]

    def norm(name):
        shapes.extend((f"{name}.{kind}", "vector", (C,)) for kind in ("gain", "bias"))

    def linear(name, n_out, n_in):
        shapes.append((name + ".weight", "hidden", (n_out, n_in)))
        shapes.append((name + ".bias", "vector", (n_out,)))

    for layer in range(s["n_layer"]):
        norm(f"layers.{layer}.norm1")
        linear(f"layers.{layer}.attention.qkv", 3 * A, C)
        linear(f"layers.{layer}.attention.proj", C, A)
        norm(f"layers.{layer}.norm2")
        linear(f"layers.{layer}.mlp.up", F, C)
        linear(f"layers.{layer}.mlp.down", C, F)
    norm("final_norm")
    shapes.append(("head.weight", "head", (Vp, C)))
    return shapes


def draw_gradients(shape, generator):
    """(STEPS, *shape): a direction that lasts and noise; rows and columns of unlike size, so that matrices are not
    well-conditioned and their rows differ."""
    size = torch.logspace(0, -1, shape[-1])
    if len(shape) == 2:
        size = torch.logspace(-0.5, 0.5, shape[0])[torch.randperm(shape[0], generator=generator)][:, None] * size
    lasting = torch.randn(shape, generator=generator)
    return torch.stack([0.1 * size * (0.7 * lasting + torch.randn(shape, generator=generator)) for _ in range(STEPS)])


def run(published, case, start, gradients):
    """The arrays of a case."""
    arrays, groups = {}, CASES[case]
    for group, options in groups.items():
        for option, value in options.items():
            if not isinstance(value, str):
                key = f"setting.{case}.{group}.{option.replace('_', '-')}"
                arrays[key] = torch.tensor([value], dtype=torch.float64).numpy()
    worst = {}
    for name, group, _ in parameter_shapes(SIZES):
        options, value, state = groups[group], start[name], {}
        values, states = [value], []
        doubles = []
        for t in range(STEPS):
            new_value, new_state = one_step(published, options, value, state, gradients[name][t], t, torch.float32)
            if t == 0:
                states.append({key: torch.zeros_like(s) for key, s in new_state.items()})
            exact_value, exact_state = one_step(published, options, value, state, gradients[name][t], t,
                                                torch.float64)
            exact = exact_value - value.double()
            error = float((new_value.double() - exact_value).norm() / exact.norm())
            worst[group] = max(worst.get(group, 0), error)
            if t in F64_STEPS:
                doubles.append((exact_value, exact_state))
            value, state = new_value, new_state
            values.append(value)
            states.append(state)
        arrays[f"{case}.param.{name}"] = torch.stack(values).numpy()
        arrays[f"{case}.f64.param.{name}"] = torch.stack([d[0] for d in doubles]).numpy()
        for key in state:
            arrays[f"{case}.{key}.{name}"] = torch.stack([s[key] for s in states]).numpy()
            arrays[f"{case}.f64.{key}.{name}"] = torch.stack([d[1][key] for d in doubles]).numpy()
    print(case, {group: f"{error:.1e}" for group, error in worst.items()}, "between float32 and float64 updates")
    return arrays.items()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repo", action="append", required=True, metavar="PATH", help="where some of the files are")
    parser.add_argument("--only", choices=FIXTURES, metavar="FIXTURE", help="one of " + ", ".join(FIXTURES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(2000)
    arrays = {f"config.{key}": torch.tensor([value], dtype=torch.int32).numpy() for key, value in SIZES.items()}

    start, gradients = {}, {}
    for name, group, shape in parameter_shapes(SIZES):
        start[name] = 0.3 * torch.randn(shape, generator=generator)
        gradients[name] = draw_gradients(shape, generator)
        if shape[0] == SIZES["vocab_padded"]:  # classes that do not exist
            start[name][SIZES["vocab_size"]:] = 0
            gradients[name][:, SIZES["vocab_size"]:] = 0
        arrays[f"grad.{name}"] = gradients[name].numpy()

    for name in [arguments.only] if arguments.only else FIXTURES:
        published, cases = load_for(name, arguments.repo), FIXTURES[name]
        fixture.write(name, {**arrays, **{key: value for case in cases for key, value in run(published, case, start, gradients)}})


if __name__ == "__main__":
    main()
