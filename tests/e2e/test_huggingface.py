#!/usr/bin/env python3
"""Models to and from Hugging Face transformers: its logits for our exports, and ours for its directories.

Both compute in float32 with u = 2^-24. A dot product of length n has an error of about sqrt(n) u, relative to the root of the
sum of its squared terms; each of the 7 GEMMs and norms of a layer on the way to the logits adds at most its own error to the
relative error of its input. So two correct programs differ by at most about 2 * 7 * (layers + 1) * sqrt(n) u
in ||ours - theirs|| / ||theirs||, with n the longest inner dimension (docs/design.md, section 9). `check_logits` also checks
that the models are sensitive enough to show faults."""
import json
import math
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

from harness import PEER_PYTHON, ROOT, Skip, need_peers, run_tests

try:
    import torch
    import transformers
except ImportError:
    torch = None
import numpy as np

TRAIN = os.environ.get("TRAIN", str(ROOT / "train"))
DUMP = os.path.join(os.environ.get("BUILD", str(ROOT / "build")), "tests/fixtures/dump_logits")
ENVIRONMENT = dict(os.environ, POLAR_BLAS="none", OMP_NUM_THREADS="1")
VOCAB, CONTEXT, TOKENS = 71, 32, [int(i * i * 7 + i * 3) % 71 for i in range(24)]
SIZES = ["--vocab", "none", "--vocab-size", str(VOCAB), "--n-layer", "3", "--n-head", "4", "--d-model", "48", "--seq-len",
         str(CONTEXT), "--batch-size", "4", "--threads", "1", "--quiet"]
GPT2 = ["--init-std", "0.15"]
LLAMA = ["--norm", "rmsnorm", "--positions", "rope", "--activation", "swiglu", "--biases", "no", "--init-std", "0.15",
         "--d-ff", "96", "--n-kv-head", "2"]
QWEN2 = [*LLAMA, "--biases", "qkv", "--norm-eps", "1e-6"]
# One more time an option: the later counts.
NETWORKS = {
    "gpt2": ("GPT2LMHeadModel", GPT2),
    "gpt2_untied": ("GPT2LMHeadModel", [*GPT2, "--no-tied-head", "--activation", "gelu", "--d-ff", "80"]),
    "gpt2_relu2": ("GPT2LMHeadModel", [*GPT2, "--activation", "relu2", "--norm-eps", "1e-3"]),
    "llama": ("LlamaForCausalLM", LLAMA),
    "llama_untied": ("LlamaForCausalLM", [*LLAMA, "--no-tied-head", "--n-kv-head", "4", "--rope-base", "500"]),
    "qwen2": ("Qwen2ForCausalLM", QWEN2),
    "qwen2_untied": ("Qwen2ForCausalLM", [*QWEN2, "--no-tied-head", "--n-kv-head", "1"]),
}


def run(*arguments, status=0):
    done = subprocess.run([str(a) for a in arguments], env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)
    text = " ".join(str(a) for a in arguments)
    assert done.returncode == status, f"{text}: status {done.returncode}: {done.stderr}"
    if status:
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, f"{text}: {done.stderr}"
    return done.stderr if status else done.stdout


def shard(folder):
    path = folder / "t_train_000001.bin"
    if not path.exists():
        tokens = [int(i * i * 31 + i // 3) % VOCAB for i in range(4000)]
        path.write_bytes(struct.pack("<256i", 20240520, 1, len(tokens), *[0] * 253) + struct.pack(f"<{len(tokens)}H", *tokens))
    return ["--train-data", path]


def train(folder, name, options, steps=4):
    """A run of a few steps, large enough to move biases and gains."""
    out = folder / name
    run(TRAIN, *shard(folder), *SIZES, "--lr", "0.02", "--steps", steps, *options, "--out", out)
    return out


def our_logits(folder, path):
    tokens, out = folder / "tokens.bin", folder / "logits.bin"
    tokens.write_bytes(np.array(TOKENS, dtype="<i4").tobytes())
    run(DUMP, path, tokens, out)
    return np.fromfile(out, dtype="<f4").reshape(len(TOKENS), VOCAB).astype(np.float64)


def their_logits(model, tokens=None):
    with torch.no_grad():
        return model.eval()(torch.tensor([tokens or TOKENS])).logits[0].to(torch.float64).numpy()


def distance(ours, theirs, c):
    """How far two models' logits are apart, relatively, and how far they may be."""
    longest = max(c.hidden_size, getattr(c, "intermediate_size", None) or getattr(c, "n_inner", None) or 4 * c.hidden_size)
    tolerance = 2 * 7 * (c.num_hidden_layers + 1) * math.sqrt(longest) * 2**-24
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs), tolerance


def check_logits(ours, model, what):
    theirs = their_logits(model)
    off, tolerance = distance(ours, theirs, model.config)
    assert off <= tolerance, f"{what}: off by {off:.2e}, allowed are {tolerance:.2e}"
    # What stands far back must be seen by the last position, or a fault in attention would not be.
    changed = their_logits(model, [(TOKENS[0] + 1) % VOCAB, *TOKENS[1:]])
    seen = np.linalg.norm(changed[-1] - theirs[-1]) / np.linalg.norm(theirs[-1])
    assert seen > 30 * tolerance, f"{what}: the first token moves the last logits by {seen:.2e} only"


def need_transformers():
    if torch is None:
        need_peers("transformers", "torch")


def run_with_transformers(functions):
    """Runs the tests by the Python that has transformers, if there is one."""
    if torch is None:
        try:
            need_peers("transformers", "torch", "numpy")
            os.execv(PEER_PYTHON, [str(PEER_PYTHON), *sys.argv])
        except Skip:
            pass  # each test says it again
    torch is None or transformers.logging.set_verbosity_error()
    run_tests(functions)


def tensors_of(path):
    """A safetensors file as {name: (type, shape, bytes)}, read by the format's definition."""
    data = Path(path).read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + n])
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]])
            for name, t in header.items()}


def write_tensors(path, tensors):
    header, data = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)


# ------------------------------------------------------------------------------------------------------------------ out


def test_export_is_what_transformers_loads(folder):
    need_transformers()
    for name, (architecture, options) in NETWORKS.items():
        source, out = train(folder, name, options), folder / f"{name}.hf"
        assert architecture in run(TRAIN, "export", source, "--out", out)
        model, info = transformers.AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
        assert type(model).__name__ == architecture and model.dtype == torch.float32
        assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
        ours = our_logits(folder, source)
        check_logits(ours, model, name)
        assert np.array_equal(ours, our_logits(folder, out)), f"{name}: other logits after the way out and in"
        transformers.GenerationConfig.from_pretrained(out)
        kept = json.loads((out / "config.json").read_text())
        assert kept["vocab_size"] == VOCAB and kept["torch_dtype"] == "float32" and kept["eos_token_id"] is None


def test_export_of_wide_heads(folder):
    """head_dim is in config.json; older versions of transformers do not know it and say that the sizes differ."""
    need_transformers()
    source, out = train(folder, "wide", [*LLAMA, "--head-dim", "16"]), folder / "wide.hf"
    run(TRAIN, "export", source, "--out", out)
    assert json.loads((out / "config.json").read_text())["head_dim"] == 16
    assert np.array_equal(our_logits(folder, source), our_logits(folder, out))
    if tuple(map(int, transformers.__version__.split(".")[:2])) >= (4, 46):
        check_logits(our_logits(folder, source), transformers.AutoModelForCausalLM.from_pretrained(out), "wide heads")


def test_export_in_bf16_rounds_to_nearest_even(folder):
    need_transformers()
    source = train(folder, "run", NETWORKS["qwen2"][1])
    run(TRAIN, "export", source, "--out", folder / "f32")
    run(TRAIN, "export", source, "--out", folder / "bf16", "--dtype", "bf16")
    wide = transformers.AutoModelForCausalLM.from_pretrained(folder / "f32").state_dict()
    narrow = transformers.AutoModelForCausalLM.from_pretrained(folder / "bf16", torch_dtype="auto").state_dict()
    assert wide.keys() == narrow.keys()
    for key, tensor in wide.items():
        assert narrow[key].dtype == torch.bfloat16 and torch.equal(tensor.to(torch.bfloat16), narrow[key]), key


def test_export_refuses_what_does_not_fit(folder):
    cases = [
        (GPT2, ["--positions", "none"], "--positions"),
        (GPT2, ["--positions", "half-rope"], "--positions"),
        (GPT2, ["--biases", "no"], "GPT2LMHeadModel: --norm-bias no"),
        (GPT2, ["--norm", "rmsnorm"], "GPT2LMHeadModel: --norm rmsnorm does not fit; it has layernorm"),
        (GPT2, ["--activation", "swiglu"], "--activation"),
        (GPT2, ["--n-kv-head", "2"], "--n-kv-head 2"),
        (GPT2, ["--head-dim", "16"], "--head-dim 16"),
        (GPT2, ["--embed-norm"], "--embed-norm yes"),
        (GPT2, ["--head-bias"], "--head-bias yes"),
        (GPT2, ["--attention-scale", "0.1"], "--attention-scale 0.1"),
        (GPT2, ["--depth-scaled-attention"], "--depth-scaled-attention yes"),
        (GPT2, ["--no-mask-padding"], "--no-mask-padding"),
        (LLAMA, ["--softcap", "15"], "LlamaForCausalLM: --softcap 15"),
        (LLAMA, ["--qk-norm"], "LlamaForCausalLM: --qk-norm yes"),
        (LLAMA, ["--biases", "yes"], "--biases yes does not fit; it has no"),
        (LLAMA, ["--no-norm-gain"], "--norm-gain no"),
        (LLAMA, ["--activation", "relu2"], "only swiglu"),
        (QWEN2, ["--norm", "layernorm"], "Qwen2ForCausalLM: --norm layernorm"),
    ]
    for i, (network, options, text) in enumerate(cases):
        source = train(folder, f"run{i}", [*network, *options, "--n-layer", "1"], steps=1)
        error = run(TRAIN, "export", source, "--out", folder / "out", status=1)
        assert text in error and "supported are GPT2LMHeadModel" in error, f"{options}: {error}"
        assert not [name for name in os.listdir(folder) if name.startswith("out")], f"{options} left something behind"


def test_export_replaces_only_an_export(folder):
    source, out = train(folder, "run", GPT2, steps=1), folder / "out"
    run(TRAIN, "export", source, "--out", f"{out}/")
    before = sorted(os.listdir(folder))
    assert "--overwrite" in run(TRAIN, "export", source, "--out", out, status=1)
    (out / "config.json").write_text("{}")
    run(TRAIN, "export", source, "--out", out, "--overwrite")
    assert json.loads((out / "config.json").read_text())["model_type"] == "gpt2"
    (out / "notes.txt").write_text("mine")
    assert "notes.txt" in run(TRAIN, "export", source, "--out", out, "--overwrite", status=1)
    assert (out / "notes.txt").exists() and (out / "config.json").exists()
    assert "not an earlier export" in run(TRAIN, "export", source, "--out", source, "--overwrite", status=1)
    assert "there is no run" in run(TRAIN, "export", folder / "absent", "--out", folder / "x", status=1)
    assert "neither a run" in run(TRAIN, "export", folder, "--out", folder / "x", status=1)
    assert "--out" in run(TRAIN, "export", source, status=1)
    assert sorted(os.listdir(folder)) == before


def test_export_has_the_tokenizer(folder):
    data = Path(os.environ["TEST_DATA"]) if "TEST_DATA" in os.environ else None
    if not data:
        raise Skip("TEST_DATA is not set; it names a folder with r50k_base.tiktoken, encoder.json, vocab.bpe and texts")
    small = ["--vocab", data / "r50k_base.tiktoken", "--vocab-size", "50257", "--n-layer", "1", "--n-head", "2", "--d-model", "8"]
    for name, options in (("gpt2", GPT2), ("llama", LLAMA)):
        run(TRAIN, "export", train(folder, name, [*options, *small], steps=1), "--out", folder / f"{name}.hf")
        assert json.loads((folder / f"{name}.hf/config.json").read_text())["eos_token_id"] == 50256
    out = folder / "gpt2.hf"
    assert json.loads((out / "vocab.json").read_text()) == json.loads((data / "encoder.json").read_text())
    assert (out / "merges.txt").read_text() == (data / "vocab.bpe").read_text()
    assert "bytes" in run(TRAIN, "export", folder / "gpt2", "--vocab", "absent", "--out", folder / "x", status=1)
    run(TRAIN, "export", folder / "gpt2", "--vocab", "none", "--out", folder / "without")
    assert not (folder / "without/vocab.json").exists()
    need_transformers()
    text = (data / "tinyshakespeare.txt").read_text()
    golden = np.concatenate([np.fromfile(data / f"shakespeare_{part}.nanogpt.bin", dtype="<u2") for part in ("train", "val")])
    for path in (out, folder / "llama.hf"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(path)
        cut = int(len(text) * 0.9)  # where the golden encoding was split
        tokens = tokenizer(text[:cut])["input_ids"] + tokenizer(text[cut:])["input_ids"]
        assert np.array_equal(tokens, golden) and tokenizer.decode(tokens) == text
        assert tokenizer("hello   world's 123 don't\n\n x")["input_ids"] == [31373, 220, 220, 995, 338, 17031, 836, 470, 628, 2124]
        assert tokenizer.eos_token_id == tokenizer.bos_token_id == 50256 and len(tokenizer) == 50257
        model = transformers.AutoModelForCausalLM.from_pretrained(path)
        assert model.generate(torch.tensor([TOKENS[:4]]), max_new_tokens=3, do_sample=False).shape[1] <= 7


# ------------------------------------------------------------------------------------------------------------------- in


def make_model(kind, **options):
    """A transformers model with all parameters random, gains and biases too."""
    torch.manual_seed(len(kind))
    if kind == "gpt2":
        config = transformers.GPT2Config(vocab_size=VOCAB, n_positions=CONTEXT, n_embd=48, n_layer=3, n_head=4, **options)
    else:
        make = transformers.LlamaConfig if kind == "llama" else transformers.Qwen2Config
        options = {"num_key_value_heads": 2, **options}
        config = make(vocab_size=VOCAB, max_position_embeddings=CONTEXT, hidden_size=48, intermediate_size=96,
                      num_hidden_layers=3, num_attention_heads=4, **options)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.normal_(0, 0.2)
            p += ("norm" in name or "ln_" in name) and name.endswith("weight")
    return model


def init_run(folder, name, source, *options):
    """One step with a learning rate of zero: the run's weights are those it began with."""
    out = folder / name
    run(TRAIN, *shard(folder), "--init-from", source, "--seq-len", CONTEXT, "--batch-size", 2, "--steps", 1, "--lr", 0,
        "--threads", 1, "--quiet", *options, "--out", out)
    return out


def test_import_computes_what_transformers_does(folder):
    need_transformers()
    cases = {
        "gpt2": make_model("gpt2"),
        "gpt2_gelu": make_model("gpt2", activation_function="gelu", n_inner=80, layer_norm_epsilon=1e-3),
        "gpt2_untied": make_model("gpt2", tie_word_embeddings=False),
        "llama": make_model("llama"),
        "llama_tied": make_model("llama", tie_word_embeddings=True, num_key_value_heads=4, rope_theta=300.0),
        "qwen2": make_model("qwen2"),
        "qwen2_tied": make_model("qwen2", tie_word_embeddings=True, rms_norm_eps=1e-3),
    }
    for name, model in cases.items():
        source = folder / name
        model.save_pretrained(source)
        ours = our_logits(folder, source)
        check_logits(ours, model, name)
        assert np.array_equal(ours, our_logits(folder, init_run(folder, f"{name}.run", source))), f"{name}: --init-from"


def test_import_of_other_forms(folder):
    need_transformers()
    for kind in ("gpt2", "llama"):
        model = make_model(kind, tie_word_embeddings=True)
        model.save_pretrained(folder / f"{kind}.plain")
        ours = our_logits(folder, folder / f"{kind}.plain")
        model.base_model.save_pretrained(folder / f"{kind}.base")  # keys without their prefix
        assert "wte.weight" in tensors_of(folder / f"{kind}.base/model.safetensors") or kind != "gpt2"
        model.save_pretrained(folder / f"{kind}.sharded", max_shard_size="30KB")
        assert len(list((folder / f"{kind}.sharded").glob("model-*.safetensors"))) > 2
        for form in ("base", "sharded"):
            assert np.array_equal(ours, our_logits(folder, folder / f"{kind}.{form}")), f"{kind}.{form}"
        # A head that is the embedding, buffers of older versions.
        tensors = tensors_of(folder / f"{kind}.plain/model.safetensors")
        embedding = tensors["transformer.wte.weight" if kind == "gpt2" else "model.embed_tokens.weight"]
        tensors["lm_head.weight"] = embedding
        tensors["transformer.h.0.attn.bias" if kind == "gpt2" else "model.layers.0.self_attn.rotary_emb.inv_freq"] = (
            "U8", [1, 1, 2, 2], b"1011")
        shutil.copytree(folder / f"{kind}.plain", folder / f"{kind}.old")
        write_tensors(folder / f"{kind}.old/model.safetensors", tensors)
        assert np.array_equal(ours, our_logits(folder, folder / f"{kind}.old"))
        for dtype in (torch.bfloat16, torch.float16):
            source = folder / f"{kind}.{dtype}"
            make_model(kind, tie_word_embeddings=True).to(dtype).save_pretrained(source)
            want = transformers.AutoModelForCausalLM.from_pretrained(source, torch_dtype=torch.float32)
            check_logits(our_logits(folder, source), want, source.name)


def test_round_trip_keeps_every_byte(folder):
    need_transformers()
    for kind in ("gpt2", "llama", "qwen2"):
        for tied in (False, True):
            source = folder / f"{kind}{tied}"
            make_model(kind, tie_word_embeddings=tied).save_pretrained(source)
            run(TRAIN, "export", source, "--out", folder / f"{kind}{tied}.out")
            theirs, ours = (tensors_of(path / "model.safetensors") for path in (source, folder / f"{kind}{tied}.out"))
            assert theirs == ours, f"{kind}: {set(theirs) ^ set(ours)}"
            back = init_run(folder, f"{kind}{tied}.run", folder / f"{kind}{tied}.out", "--vocab-padded", "100")
            run(TRAIN, "export", back, "--out", folder / f"{kind}{tied}.again")
            for name in ("model.safetensors", "config.json", "generation_config.json"):
                first, second = ((folder / f"{kind}{tied}{end}" / name).read_bytes() for end in (".out", ".again"))
                assert first == second, f"{kind}: {name}: {first[:1000]} {second[:1000]}"


# ----------------------------------------------------------------------------------------------- directories of any kind


def test_init_from_takes_the_network_from_there(folder):
    source = train(folder, "run", [*LLAMA, "--softcap", "20", "--qk-norm"])
    began = init_run(folder, "began", source)
    assert np.array_equal(our_logits(folder, source), our_logits(folder, began))
    lines = (began / "config.conf").read_text().splitlines()
    assert "softcap = 20" in lines and "qk-norm = yes" in lines and f"init-from = {source}" in lines
    # The same options may be given, others may not.
    init_run(folder, "same", source, "--n-layer", "3", "--norm", "rmsnorm", "--softcap", "20.0", "--d-ff", "0")
    for options, texts in ((["--n-layer", "2"], ("--n-layer 2", "has 3")), (["--norm", "layernorm"], ("has rmsnorm",)),
                           (["--norm-bias", "yes"], ("has no",)), (["--softcap", "0"], ("has 20",))):
        error = run(TRAIN, *shard(folder), "--init-from", source, *options, "--seq-len", 8, "--out", folder / "x", status=1)
        assert all(text in error for text in texts), error
    # Once it has a checkpoint a run needs the directory no more; before that it does, and says so.
    run(TRAIN, "--config", began / "config.conf", "--out", folder / "again", "--quiet")
    early = init_run(folder, "early", source, "--steps", "5")
    shutil.rmtree(early / "checkpoints")
    run(TRAIN, "--resume", early, "--quiet")
    want = our_logits(folder, early)
    shutil.rmtree(early / "checkpoints")
    os.rename(source, folder / "gone")
    run(TRAIN, "--resume", began, "--dry-run")
    error = run(TRAIN, "--resume", early, status=1)
    assert "no checkpoint yet" in error and str(source) in error, error
    assert np.array_equal(want, our_logits(folder, began))
    # A different model put there later is not mistaken for it.
    train(folder, "run", [*LLAMA, "--n-layer", "2"])
    error = run(TRAIN, "--resume", early, status=1)
    assert "--n-layer 3" in error and "has 2" in error, error


def test_malformed_directories(folder):
    sources = {}
    for name in ("gpt2", "llama"):
        sources[name] = folder / f"{name}.hf"
        run(TRAIN, "export", train(folder, name, NETWORKS[name][1], steps=1), "--out", sources[name])

    def config(**changes):
        def change(path):
            kept = json.loads((path / "config.json").read_text())
            kept.update({key: value for key, value in changes.items() if value is not ...})
            for key in [key for key, value in changes.items() if value is ...]:
                del kept[key]
            (path / "config.json").write_text(json.dumps(kept))
        return change

    def tensors(edit):
        def change(path):
            kept = tensors_of(path / "model.safetensors")
            edit(kept)
            write_tensors(path / "model.safetensors", kept)
        return change

    def text(name, content):
        return lambda path: (path / name).write_bytes(content)

    def index(weight_map, *names):
        def change(path):
            for name in names:
                shutil.copy(path / "model.safetensors", path / name)
            os.remove(path / "model.safetensors")
            (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
        return change

    def pickle(path):
        os.rename(path / "model.safetensors", path / "pytorch_model.bin")

    wte, fc = "transformer.wte.weight", "transformer.h.1.mlp.c_fc.weight"
    half = [48, 96]
    cases = [
        ("gpt2", text("config.json", b""), "bad JSON"),
        ("gpt2", text("config.json", b"[]"), "model_type"),
        ("gpt2", config(model_type=...), '"model_type" is missing'),
        ("gpt2", config(model_type="mamba"), "gpt2, llama, qwen2"),
        ("gpt2", config(n_layer=...), '"n_layer" is missing'),
        ("gpt2", config(n_layer="3"), '"n_layer" is not a number'),
        ("gpt2", config(n_layer=0), '"n_layer" is 0'),
        ("gpt2", config(n_layer=-1), '"n_layer" is -1'),
        ("gpt2", config(n_layer=2.5), '"n_layer" is 2.5'),
        ("gpt2", config(n_layer=1 << 40), '"n_layer" is'),
        ("gpt2", config(n_layer=1 << 30), "n-layer"),
        ("gpt2", config(n_layer=4), "h.3.ln_1.weight is missing"),
        ("gpt2", config(n_layer=2), "h.2.ln_1.weight does not belong"),
        ("gpt2", config(vocab_size=2**31 - 1), "vocab-size"),
        ("gpt2", config(vocab_size=70), "wte.weight is (71, 48), but"),
        ("gpt2", config(n_positions=31), "wpe.weight is (32, 48), but"),
        ("gpt2", config(n_head=5), "not a multiple"),
        ("gpt2", config(n_inner=100), "c_fc.weight is (48, 192), but"),
        ("gpt2", config(activation_function="silu"), "gelu_new, gelu_pytorch_tanh, gelu, relu2"),
        ("gpt2", config(activation_function=3), "activation_function"),
        ("gpt2", config(layer_norm_epsilon=0), "norm-eps"),
        ("gpt2", config(scale_attn_weights=False), "scale_attn_weights"),
        ("gpt2", config(tie_word_embeddings=1), "tie_word_embeddings"),
        ("gpt2", config(tie_word_embeddings=False), "lm_head.weight is missing"),
        ("gpt2", config(quantization_config={"bits": 4}), "quantized"),
        ("llama", config(attention_bias=True), "attention_bias"),
        ("llama", config(rope_scaling={"type": "linear", "factor": 2.0}), "rope_scaling"),
        ("llama", config(rope_theta=-1), "rope-base"),
        ("llama", config(num_key_value_heads=3), "n-kv-head 3"),
        ("llama", config(head_dim=8), "q_proj.weight is (48, 48), but"),
        ("llama", config(model_type="qwen2"), "q_proj.bias is missing"),
        ("gpt2", tensors(lambda t: t.pop(fc)), f"{fc} is missing"),
        ("gpt2", tensors(lambda t: t.pop(wte)), "wte.weight is missing"),
        ("gpt2", tensors(lambda t: t.update(extra=t[fc])), "extra does not belong"),
        ("gpt2", tensors(lambda t: t.update({fc: ("F32", [192, 48], t[fc][2])})), f"{fc} is (192, 48), but"),
        ("gpt2", tensors(lambda t: t.update({fc: ("I32", [48, 192], t[fc][2])})), f"{fc} has type I32"),
        ("gpt2", tensors(lambda t: t.update({fc: ("F64", half, t[fc][2])})), f"{fc} is (48, 96), but"),
        ("gpt2", tensors(lambda t: t.update({"lm_head.weight": ("F32", t[wte][1], t[wte][2][:-1] + b"x")})), "ties the two"),
        ("gpt2", tensors(lambda t: t.update({"lm_head.weight": ("F32", [1], bytes(4))})), "ties the two"),
        ("gpt2", text("model.safetensors", b"12345678"), "not a safetensors file"),
        ("gpt2", lambda path: os.truncate(path / "model.safetensors", 4000), "model.safetensors"),
        ("gpt2", lambda path: os.remove(path / "model.safetensors"), "no model.safetensors"),
        ("gpt2", pickle, "pickle"),
        ("gpt2", index({wte: "../x"}), "not a valid file name"),
        ("gpt2", index({wte: 1}), "not a valid file name"),
        ("gpt2", index([]), "weight_map"),
        ("gpt2", index({wte: "absent"}), "absent"),
        ("gpt2", index({"b": "a"}, "a"), "tensor b is not in a"),
        ("gpt2", index({wte: "a", fc: "b"}, "a", "b"), "is in an earlier file too"),
        ("gpt2", index({}), "missing"),
    ]
    for i, (name, change, want) in enumerate(cases):
        path = folder / f"bad{i}"
        shutil.copytree(sources[name], path)
        change(path)
        error = run(TRAIN, *shard(folder), "--init-from", path, "--seq-len", 8, "--out", folder / "x", "--quiet", status=1)
        assert want in error, f"case {i}: expected '{want}' in: {error}"
        assert not (folder / "x").exists()
    assert "there is no run" in run(TRAIN, "--init-from", folder / "absent", "--out", folder / "x", status=1)


def test_directories_are_evaluated_and_sampled(folder):
    source, out = train(folder, "run", LLAMA), folder / "out"
    run(TRAIN, "export", source, "--out", out)
    said = []
    for path in (source, out):
        found = json.loads(run(TRAIN, "eval", path, "--val-data", shard(folder)[1], "--val-tokens", 512, "--seq-len", 16, "--json"))
        said.append((found["val_loss"], run(TRAIN, "sample", path, "--prompt", "5 7 11", "--tokens", 20, "--temperature", 1)))
        assert ("step" in found) == (path == source)
    assert said[0] == said[1] and 0 < said[0][0] < 10, said
    assert run(TRAIN, "eval", out, "--val-data", shard(folder)[1]).startswith(f"{out}\n")


if __name__ == "__main__":
    run_with_transformers(globals())
