#include "run/hf/arch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// GPT-2's Conv1D stores its matrices as (in, out), with q | k | v concatenated along the columns.
static const HfTensor gpt2_tensors[] = {
    {PARAM_TOKEN_EMBEDDING, HF_WHOLE, false, "wte.weight"},
    {PARAM_POSITION_EMBEDDING, HF_WHOLE, false, "wpe.weight"},
    {PARAM_NORM1_GAIN, HF_WHOLE, false, "ln_1.weight"},
    {PARAM_NORM1_BIAS, HF_WHOLE, false, "ln_1.bias"},
    {PARAM_QKV_WEIGHT, HF_WHOLE, true, "attn.c_attn.weight"},
    {PARAM_QKV_BIAS, HF_WHOLE, false, "attn.c_attn.bias"},
    {PARAM_ATTENTION_PROJ_WEIGHT, HF_WHOLE, true, "attn.c_proj.weight"},
    {PARAM_ATTENTION_PROJ_BIAS, HF_WHOLE, false, "attn.c_proj.bias"},
    {PARAM_NORM2_GAIN, HF_WHOLE, false, "ln_2.weight"},
    {PARAM_NORM2_BIAS, HF_WHOLE, false, "ln_2.bias"},
    {PARAM_MLP_UP_WEIGHT, HF_WHOLE, true, "mlp.c_fc.weight"},
    {PARAM_MLP_UP_BIAS, HF_WHOLE, false, "mlp.c_fc.bias"},
    {PARAM_MLP_DOWN_WEIGHT, HF_WHOLE, true, "mlp.c_proj.weight"},
    {PARAM_MLP_DOWN_BIAS, HF_WHOLE, false, "mlp.c_proj.bias"},
    {PARAM_FINAL_NORM_GAIN, HF_WHOLE, false, "ln_f.weight"},
    {PARAM_FINAL_NORM_BIAS, HF_WHOLE, false, "ln_f.bias"},
    {PARAM_HEAD_WEIGHT, HF_WHOLE, false, "lm_head.weight"},
    {.name = NULL},
};

// RoPE rotates dimension j with j + head_dim / 2, as ours does, so no permutation is needed. The biases are Qwen2's.
static const HfTensor llama_tensors[] = {
    {PARAM_TOKEN_EMBEDDING, HF_WHOLE, false, "embed_tokens.weight"},
    {PARAM_NORM1_GAIN, HF_WHOLE, false, "input_layernorm.weight"},
    {PARAM_QKV_WEIGHT, 0, false, "self_attn.q_proj.weight"},
    {PARAM_QKV_WEIGHT, 1, false, "self_attn.k_proj.weight"},
    {PARAM_QKV_WEIGHT, 2, false, "self_attn.v_proj.weight"},
    {PARAM_QKV_BIAS, 0, false, "self_attn.q_proj.bias"},
    {PARAM_QKV_BIAS, 1, false, "self_attn.k_proj.bias"},
    {PARAM_QKV_BIAS, 2, false, "self_attn.v_proj.bias"},
    {PARAM_ATTENTION_PROJ_WEIGHT, HF_WHOLE, false, "self_attn.o_proj.weight"},
    {PARAM_NORM2_GAIN, HF_WHOLE, false, "post_attention_layernorm.weight"},
    {PARAM_MLP_GATE_WEIGHT, HF_WHOLE, false, "mlp.gate_proj.weight"},
    {PARAM_MLP_UP_WEIGHT, HF_WHOLE, false, "mlp.up_proj.weight"},
    {PARAM_MLP_DOWN_WEIGHT, HF_WHOLE, false, "mlp.down_proj.weight"},
    {PARAM_FINAL_NORM_GAIN, HF_WHOLE, false, "norm.weight"},
    {PARAM_HEAD_WEIGHT, HF_WHOLE, false, "lm_head.weight"},
    {.name = NULL},
};

#define AT(field) offsetof(ModelConfig, field)
static const HfKey gpt2_keys[] = {
    {"vocab_size", AT(vocab_size), false, NAN},
    {"n_positions", AT(context), false, NAN},
    {"n_embd", AT(d_model), false, NAN},
    {"n_layer", AT(n_layer), false, NAN},
    {"n_head", AT(n_head), false, NAN},
    {"n_inner", AT(d_ff), false, 0},
    {"layer_norm_epsilon", AT(norm_eps), true, 1e-5},
    {"initializer_range", AT(init_std), true, 0.02},
    {.key = NULL},
};
static const HfKey llama_keys[] = {
    {"vocab_size", AT(vocab_size), false, NAN},
    {"max_position_embeddings", AT(context), false, NAN},
    {"hidden_size", AT(d_model), false, NAN},
    {"intermediate_size", AT(d_ff), false, NAN},
    {"num_hidden_layers", AT(n_layer), false, NAN},
    {"num_attention_heads", AT(n_head), false, NAN},
    {"num_key_value_heads", AT(n_kv_head), false, 0},
    {"rms_norm_eps", AT(norm_eps), true, 1e-6},
    {"rope_theta", AT(rope_base), true, 10000},
    {"initializer_range", AT(init_std), true, 0.02},
    {.key = NULL},
};

static const HfActivation gpt2_activations[] = {{"gelu_new", ACTIVATION_GELU_TANH},
                                                {"gelu_pytorch_tanh", ACTIVATION_GELU_TANH},
                                                {"gelu", ACTIVATION_GELU},
                                                {"relu2", ACTIVATION_RELU2},
                                                {.word = NULL}};
static const HfActivation llama_activations[] = {{"silu", ACTIVATION_SWIGLU}, {.word = NULL}};

static const HfSwitch gpt2_switches[] = {{"scale_attn_weights", true},
                                         {"scale_attn_by_inverse_layer_idx", false},
                                         {"add_cross_attention", false},
                                         {.key = NULL}};
static const HfSwitch llama_switches[] = {
    {"attention_bias", false}, {"mlp_bias", false}, {"use_sliding_window", false}, {.key = NULL}};

static const char *const gpt2_ignored[] = {".attn.bias", ".attn.masked_bias", NULL};
static const char *const llama_ignored[] = {".rotary_emb.inv_freq", NULL};

// Dropout probabilities; our model has no dropout.
static const char *const gpt2_dropouts[] = {"resid_pdrop", "embd_pdrop", "attn_pdrop", NULL};
static const char *const llama_dropouts[] = {"attention_dropout", NULL};

#define LLAMA_FIXED .norm = NORM_RMSNORM, .norm_gain = true, .positions = POSITIONS_ROPE, .mask_padding = true
#define LLAMA_TABLES                                                                                               \
    .prefix = "model.", .layers = "layers.", .activation_key = "hidden_act", .ignored = llama_ignored,             \
    .tensors = llama_tensors, .keys = llama_keys, .activations = llama_activations, .dropouts = llama_dropouts,    \
    .switches = llama_switches

const HfArch hf_archs[] = {
    {.name = "GPT2LMHeadModel",
     .model_type = "gpt2",
     .summary = "learned positions, LayerNorm, all biases, GELU or ReLU^2",
     .prefix = "transformer.",
     .layers = "h.",
     .activation_key = "activation_function",
     .ignored = gpt2_ignored,
     .fixed = {.norm = NORM_LAYERNORM,
               .norm_gain = true,
               .norm_bias = true,
               .positions = POSITIONS_LEARNED,
               .rope_base = 10000,
               .biases = BIASES_ALL,
               .mask_padding = true},
     .tied_by_default = true,
     .tensors = gpt2_tensors,
     .keys = gpt2_keys,
     .activations = gpt2_activations,
     .dropouts = gpt2_dropouts,
     .switches = gpt2_switches},
    {.name = "LlamaForCausalLM",
     .model_type = "llama",
     .summary = "rope, RMSNorm, SwiGLU, no biases",
     .fixed = {LLAMA_FIXED, .biases = BIASES_NONE},
     .has_head_dim = true,
     LLAMA_TABLES},
    {.name = "Qwen2ForCausalLM",
     .model_type = "qwen2",
     .summary = "the same with biases of q, k, v",
     .fixed = {LLAMA_FIXED, .biases = BIASES_QKV},
     LLAMA_TABLES},
};
const int hf_n_archs = (int)(sizeof hf_archs / sizeof *hf_archs);

static void slice_name(HfSlice *slice, const HfArch *arch, const HfTensor *t, const Param *p) {
    const char *prefix = p->kind == PARAM_HEAD_WEIGHT ? "" : arch->prefix;
    if (p->layer < 0) snprintf(slice->name, sizeof slice->name, "%s%s", prefix, t->name);
    else snprintf(slice->name, sizeof slice->name, "%s%s%d.%s", prefix, arch->layers, p->layer, t->name);
}

static HfSlice make_slice(const HfArch *arch, const HfTensor *t, const Param *p, const ParamTable *table) {
    HfSlice slice = {.param = p, .rows = p->valid_rows, .cols = p->cols, .transposed = t->transposed};
    slice_name(&slice, arch, t, p);
    if (t->split == HF_WHOLE) return slice;
    // A bias is split like the rows of its matrix.
    const RowSplit *s = &param_find(table, PARAM_QKV_WEIGHT, p->layer)->splits[t->split];
    slice.first = s->row * (p->n_dims == 2 ? p->cols : 1);
    if (p->n_dims == 2) slice.rows = s->rows;
    else slice.cols = s->rows;
    return slice;
}

int hf_slices(HfSlice **slices, const HfArch *arch, const ParamTable *table) {
    int n = 0;
    *slices = malloc(3 * (size_t)table->n_params * sizeof **slices);
    ASSERT(*slices);
    for (int i = 0; i < table->n_params; i++) {
        const Param *p = &table->params[i];
        int64_t covered = 0;
        for (const HfTensor *t = arch->tensors; t->name; t++) {
            if (t->kind != p->kind) continue;
            (*slices)[n] = make_slice(arch, t, p, table);
            covered += (*slices)[n].rows * (*slices)[n].cols;
            n++;
        }
        ASSERT(covered == p->valid_rows * p->cols);
    }
    return n;
}

int hf_slice_shape(int64_t shape[2], const HfSlice *slice) {
    if (slice->param->n_dims == 1) {
        shape[0] = slice->cols;
        return 1;
    }
    shape[0] = slice->transposed ? slice->cols : slice->rows;
    shape[1] = slice->transposed ? slice->rows : slice->cols;
    return 2;
}
