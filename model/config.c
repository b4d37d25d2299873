#include "model/config.h"

#include <math.h>

bool model_config_check(const ModelConfig *c, Error *err) {
    const struct {
        const char *option;
        int value, max;
    } counts[] = {{"n-layer", c->n_layer, 1024},
                  {"n-head", c->n_head, 1024},
                  {"n-kv-head", c->n_kv_head, 1024},
                  {"d-model", c->d_model, 1 << 17},
                  {"head-dim", c->head_dim, 1024},
                  {"d-ff", c->d_ff, 1 << 20},
                  {"context", c->context, 1 << 24},
                  {"vocab-size", c->vocab_size, 1 << 20},
                  {"vocab-padded", c->vocab_padded, 1 << 20}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (counts[i].value < 1 || counts[i].value > counts[i].max)
            return error_set(err, "%s %d: must be between 1 and %d", counts[i].option, counts[i].value,
                             counts[i].max);
    if (c->n_head % c->n_kv_head != 0)
        return error_set(err, "n-kv-head %d does not divide n-head %d", c->n_kv_head, c->n_head);
    if (c->vocab_padded < c->vocab_size)
        return error_set(err, "vocab-padded %d is smaller than vocab-size %d", c->vocab_padded, c->vocab_size);
    if (!(c->norm_eps > 0) || !isfinite(c->norm_eps)) return error_set(err, "norm-eps must be positive");
    if (!(c->init_std >= 0) || !isfinite(c->init_std)) return error_set(err, "init-std must be 0 or more");
    return true;
}

double model_flops_per_token(const ModelConfig *c, int seq_len) {
    double attention = (double)c->n_head * c->head_dim, kv = (double)c->n_kv_head * c->head_dim;
    double layer = (attention + 2 * kv) * c->d_model + attention * c->d_model + 2.0 * c->d_ff * c->d_model;
    double weights = c->n_layer * layer + (double)c->vocab_size * c->d_model;
    return 6 * weights + 6 * c->n_layer * attention * seq_len;
}
