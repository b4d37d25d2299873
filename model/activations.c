#include "model/activations.h"

enum { LOGITS_BYTES = 64 << 20, ACT_ALIGN = 256 }; // of a chunk of logits; of every activation

// Positions whose logits are computed at once: as many as fit LOGITS_BYTES, in multiples of 64.
static int64_t logits_rows(const ModelConfig *c, Type type, int64_t N) {
    int64_t rows = LOGITS_BYTES / ((int64_t)type_size(type) * c->vocab_padded) / 64 * 64;
    if (rows < 64) rows = 64;
    return rows < N ? rows : N;
}

void activation_table_init(ActivationTable *table, const ModelConfig *c, Type type, int B, int T, bool training) {
    int64_t N = (int64_t)B * T, C = c->d_model, A = (int64_t)c->n_head * c->head_dim;
    int64_t Q = A + 2 * (int64_t)c->n_kv_head * c->head_dim, heads = (int64_t)B * c->n_head * T;
    Type stat = type_accumulate(type);
    *table = (ActivationTable){.logits_rows = logits_rows(c, type, N)};
    const Activation acts[ACT_COUNT] = {
        [ACT_RESID1] = {"resid1", ACT_SAVED, type, true, false, N * C, 0, 0},
        [ACT_NORM1] = {"norm1", ACT_RECOMPUTABLE, type, true, false, N * C, 0, 0},
        [ACT_NORM1_MEAN] = {"norm1_mean", ACT_SAVED, stat, true, false, N, 0, 0},
        [ACT_NORM1_RSTD] = {"norm1_rstd", ACT_SAVED, stat, true, false, N, 0, 0},
        [ACT_QKV] = {"qkv", ACT_SAVED, type, true, false, N * Q, 0, 0},
        [ACT_ATTENTION] = {"attention", ACT_SAVED, type, true, false, N * A, 0, 0},
        [ACT_LSE] = {"lse", ACT_SAVED, stat, true, false, heads, 0, 0},
        [ACT_RESID2] = {"resid2", ACT_SAVED, type, true, false, N * C, 0, 0},
        [ACT_NORM2] = {"norm2", ACT_RECOMPUTABLE, type, true, false, N * C, 0, 0},
        [ACT_NORM2_MEAN] = {"norm2_mean", ACT_SAVED, stat, true, false, N, 0, 0},
        [ACT_NORM2_RSTD] = {"norm2_rstd", ACT_SAVED, stat, true, false, N, 0, 0},
        [ACT_MLP_UP] = {"mlp_up", ACT_SAVED, type, true, false, N * c->d_ff, 0, 0},
        [ACT_MLP_ACT] = {"mlp_act", ACT_RECOMPUTABLE, type, true, false, N * c->d_ff, 0, 0},
        [ACT_FINAL_RESID] = {"final_resid", ACT_SAVED, type, false, false, N * C, 0, 0},
        [ACT_FINAL_NORM] = {"final_norm", ACT_SCRATCH, type, false, false, N * C, 0, 0},
        [ACT_FINAL_MEAN] = {"final_mean", ACT_SAVED, stat, false, false, N, 0, 0},
        [ACT_FINAL_RSTD] = {"final_rstd", ACT_SAVED, stat, false, false, N, 0, 0},
        [ACT_DELTA] = {"delta", ACT_SCRATCH, type, false, false, N * C, 0, 0},
        [ACT_LOGITS] = {"logits", ACT_SCRATCH, type, false, false, table->logits_rows * c->vocab_padded, 0, 0},
        [ACT_LOSSES] = {"losses", ACT_SCRATCH, stat, false, false, N, 0, 0},
        [ACT_DRESID] = {"dresid", ACT_SCRATCH, type, false, true, N * C, 0, 0},
        [ACT_DNORM] = {"dnorm", ACT_SCRATCH, type, false, true, N * C, 0, 0},
        [ACT_DATTENTION] = {"dattention", ACT_SCRATCH, type, false, true, N * A, 0, 0},
        [ACT_DQKV] = {"dqkv", ACT_SCRATCH, type, false, true, N * Q, 0, 0},
        [ACT_DMLP] = {"dmlp", ACT_SCRATCH, type, false, true, N * c->d_ff, 0, 0},
        [ACT_ATT_DELTA] = {"att_delta", ACT_SCRATCH, stat, false, true, heads, 0, 0},
    };
    for (int i = 0; i < ACT_COUNT; i++) {
        Activation *a = &table->acts[i];
        *a = acts[i];
        if (a->training && !training) continue;
        int64_t size = a->elements * (int64_t)type_size(a->type);
        size = (size + ACT_ALIGN - 1) / ACT_ALIGN * ACT_ALIGN;
        a->offset = table->bytes;
        a->layer_bytes = a->per_layer && training ? size : 0;
        table->bytes += a->per_layer && training ? size * c->n_layer : size;
    }
}
