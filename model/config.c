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
    if (model_has_rope(c) && c->head_dim % (c->positions == POSITIONS_HALF_ROPE ? 4 : 2) != 0)
        return error_set(err, "head-dim %d must be a multiple of %d for --positions %s", c->head_dim,
                         c->positions == POSITIONS_HALF_ROPE ? 4 : 2,
                         c->positions == POSITIONS_HALF_ROPE ? "half-rope" : "rope");
    if (c->tied_head && c->zero_head) return error_set(err, "zero-head needs an untied head: add --no-tied-head");
    const struct {
        const char *option;
        double value;
        bool may_be_zero;
    } reals[] = {{"norm-eps", c->norm_eps, false},
                 {"rope-base", c->rope_base, !model_has_rope(c)},
                 {"attention-scale", c->attention_scale, true},
                 {"softcap", c->softcap, true},
                 {"init-std", c->init_std, true},
                 {"embed-init-std", c->embed_init_std, true}};
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        if (!isfinite(reals[i].value) || reals[i].value < 0 || (reals[i].value == 0 && !reals[i].may_be_zero))
            return error_set(err, "%s %g: must be %s", reals[i].option, reals[i].value,
                             reals[i].may_be_zero ? "0 or more" : "positive");
    return true;
}

double model_flops_per_token(const ModelConfig *c, int seq_len) {
    double attention = (double)c->n_head * c->head_dim, kv = (double)c->n_kv_head * c->head_dim;
    double layer = (attention + 2 * kv) * c->d_model + attention * c->d_model;
    layer += (c->activation == ACTIVATION_SWIGLU ? 3.0 : 2.0) * c->d_ff * c->d_model;
    double weights = c->n_layer * layer + (double)c->vocab_size * c->d_model;
    return 6 * weights + 6 * c->n_layer * attention * seq_len;
}
