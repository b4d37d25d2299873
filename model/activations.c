#include "model/activations.h"

#include "base/integers.h"

enum { ACT_ALIGN = 256 }; // alignment of every activation, in bytes

// Maximum size of a chunk of logits. Each chunk reads and writes the head's gradient once: 309 MB for GPT-2 124M, which
// at 3.3 TB/s takes as long as the GEMMs of 200 positions at 500 TFLOP/s. GPUs, the only devices with bf16, have memory
// for larger chunks.
static int64_t logits_bytes(Type type) {
    return type == TYPE_BF16 ? 1 << 30 : 64 << 20;
}

// Positions per chunk of logits: a multiple of 64 that fits logits_bytes, at least 64, at most N.
static int64_t logits_rows(const ModelConfig *c, Type type, int64_t N) {
    int64_t rows = logits_bytes(type) / ((int64_t)type_size(type) * c->vocab_padded) / 64 * 64;
    if (rows < 64) rows = 64;
    return rows < N ? rows : N;
}

// Returns true if every layer has its own memory for this activation.
static bool kept(ActKind kind, ActKeep keep, const BatchShape *shape) {
    if (shape->use == USE_DECODING) return kind == ACT_QKV;
    if (shape->use == USE_EVALUATION) return false;
    return keep == ACT_RESIDUAL || (keep == ACT_SAVED && shape->recompute != RECOMPUTE_LAYER) ||
           (keep == ACT_RECOMPUTABLE && shape->recompute == RECOMPUTE_NONE);
}

void activation_table_init(ActivationTable *table, const ModelConfig *c, Type type, const BatchShape *shape) {
    int64_t N = (int64_t)shape->B * shape->T, C = c->d_model, A = (int64_t)c->n_head * c->head_dim, F = c->d_ff;
    int64_t Q = A + 2 * (int64_t)c->n_kv_head * c->head_dim, rows = N * c->n_head;
    int64_t means = c->norm == NORM_LAYERNORM ? N : 0, gates = c->activation == ACTIVATION_SWIGLU ? N * F : 0;
    int64_t qk = c->qk_norm ? N * (c->n_head + c->n_kv_head) : 0, embed = c->embed_norm ? 1 : 0;
    Type stat = type_accumulate(type);
    *table = (ActivationTable){.logits_rows = logits_rows(c, type, N)};
    const Activation acts[ACT_COUNT] = {
        [ACT_EMBED] = {"embed", ACT_SAVED, type, false, false, embed * N * C, 0, 0},
        [ACT_EMBED_MEAN] = {"embed_mean", ACT_SAVED, stat, false, false, embed * means, 0, 0},
        [ACT_EMBED_RSTD] = {"embed_rstd", ACT_SAVED, stat, false, false, embed * N, 0, 0},
        [ACT_RESID1] = {"resid1", ACT_RESIDUAL, type, true, false, N * C, 0, 0},
        [ACT_NORM1] = {"norm1", ACT_RECOMPUTABLE, type, true, false, N * C, 0, 0},
        [ACT_NORM1_MEAN] = {"norm1_mean", ACT_SAVED, stat, true, false, means, 0, 0},
        [ACT_NORM1_RSTD] = {"norm1_rstd", ACT_SAVED, stat, true, false, N, 0, 0},
        [ACT_QKV] = {"qkv", ACT_SAVED, type, true, false, N * Q, 0, 0},
        [ACT_QK_RSTD] = {"qk_rstd", ACT_SAVED, stat, true, false, qk, 0, 0},
        [ACT_ATTENTION] = {"attention", ACT_SAVED, type, true, false, N * A, 0, 0},
        [ACT_LSE] = {"lse", ACT_SAVED, stat, true, false, rows, 0, 0},
        [ACT_RESID2] = {"resid2", ACT_SAVED, type, true, false, N * C, 0, 0},
        [ACT_NORM2] = {"norm2", ACT_RECOMPUTABLE, type, true, false, N * C, 0, 0},
        [ACT_NORM2_MEAN] = {"norm2_mean", ACT_SAVED, stat, true, false, means, 0, 0},
        [ACT_NORM2_RSTD] = {"norm2_rstd", ACT_SAVED, stat, true, false, N, 0, 0},
        [ACT_MLP_GATE] = {"mlp_gate", ACT_SAVED, type, true, false, gates, 0, 0},
        [ACT_MLP_UP] = {"mlp_up", ACT_SAVED, type, true, false, N * F, 0, 0},
        [ACT_MLP_ACT] = {"mlp_act", ACT_RECOMPUTABLE, type, true, false, N * F, 0, 0},
        [ACT_FINAL_RESID] = {"final_resid", ACT_SAVED, type, false, false, N * C, 0, 0},
        [ACT_FINAL_NORM] = {"final_norm", ACT_SCRATCH, type, false, false, N * C, 0, 0},
        [ACT_FINAL_MEAN] = {"final_mean", ACT_SAVED, stat, false, false, means, 0, 0},
        [ACT_FINAL_RSTD] = {"final_rstd", ACT_SAVED, stat, false, false, N, 0, 0},
        [ACT_PENDING_RESIDUAL] = {"pending_residual", ACT_SCRATCH, type, false, false, N * C, 0, 0},
        [ACT_LOGITS] = {"logits", ACT_SCRATCH, type, false, false, table->logits_rows * c->vocab_padded, 0, 0},
        [ACT_LOSSES] = {"losses", ACT_SCRATCH, stat, false, false, N, 0, 0},
        [ACT_DRESID] = {"dresid", ACT_SCRATCH, type, false, true, N * C, 0, 0},
        [ACT_DNORM] = {"dnorm", ACT_SCRATCH, type, false, true, N * C, 0, 0},
        [ACT_DATTENTION] = {"dattention", ACT_SCRATCH, type, false, true, N * A, 0, 0},
        [ACT_DQKV] = {"dqkv", ACT_SCRATCH, type, false, true, N * Q, 0, 0},
        [ACT_DMLP] = {"dmlp", ACT_SCRATCH, type, false, true, N * F, 0, 0},
        [ACT_DMLP_GATE] = {"dmlp_gate", ACT_SCRATCH, type, false, true, gates, 0, 0},
        [ACT_ATT_DELTA] = {"att_delta", ACT_SCRATCH, stat, false, true, rows, 0, 0},
    };
    for (int i = 0; i < ACT_COUNT; i++) {
        Activation *a = &table->acts[i];
        *a = acts[i];
        if (a->training && shape->use != USE_TRAINING) continue;
        int64_t size = a->elements * (int64_t)type_size(a->type);
        size = round_up(size, ACT_ALIGN);
        a->offset = table->bytes;
        a->layer_bytes = a->per_layer && kept((ActKind)i, a->keep, shape) ? size : 0;
        table->bytes += a->layer_bytes ? size * c->n_layer : size;
    }
}
