#include "model/config.h"

#include <math.h>

bool model_config_check(const ModelConfig *config, Error *err) {
    const struct {
        const char *option;
        int value, max;
    } counts[] = {{"n-layer", config->n_layer, 1024},
                  {"n-head", config->n_head, 1024},
                  {"n-kv-head", config->n_kv_head, 1024},
                  {"d-model", config->d_model, 1 << 17},
                  {"head-dim", config->head_dim, 1024},
                  {"d-ff", config->d_ff, 1 << 20},
                  {"context", config->context, 1 << 24},
                  {"vocab-size", config->vocab_size, 1 << 20},
                  {"vocab-padded", config->vocab_padded, 1 << 20}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (counts[i].value < 1 || counts[i].value > counts[i].max)
            return error_set(err, "%s %d: must be between 1 and %d", counts[i].option, counts[i].value,
                             counts[i].max);
    if (config->n_head % config->n_kv_head != 0)
        return error_set(err, "n-kv-head %d does not divide n-head %d", config->n_kv_head, config->n_head);
    if (config->vocab_padded < config->vocab_size)
        return error_set(err, "vocab-padded %d is smaller than vocab-size %d", config->vocab_padded,
                         config->vocab_size);
    if (model_has_rope(config) && config->head_dim % (config->positions == POSITIONS_HALF_ROPE ? 4 : 2) != 0)
        return error_set(err, "head-dim %d must be a multiple of %d for --positions %s", config->head_dim,
                         config->positions == POSITIONS_HALF_ROPE ? 4 : 2,
                         config->positions == POSITIONS_HALF_ROPE ? "half-rope" : "rope");
    if (config->tied_head && config->zero_head)
        return error_set(err, "zero-head needs an untied head: add --no-tied-head");
    const struct {
        const char *option;
        double value;
        bool may_be_zero;
    } reals[] = {{"norm-eps", config->norm_eps, false},
                 {"rope-base", config->rope_base, !model_has_rope(config)},
                 {"attention-scale", config->attention_scale, true},
                 {"softcap", config->softcap, true},
                 {"init-std", config->init_std, true},
                 {"embed-init-std", config->embed_init_std, true}};
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        if (!isfinite(reals[i].value) || reals[i].value < 0 || (reals[i].value == 0 && !reals[i].may_be_zero))
            return error_set(err, "%s %g: must be %s", reals[i].option, reals[i].value,
                             reals[i].may_be_zero ? "0 or more" : "positive");
    return true;
}

double model_flops_per_token(const ModelConfig *config, int seq_len) {
    double attention = (double)config->n_head * config->head_dim, kv = (double)config->n_kv_head * config->head_dim;
    double layer = (attention + 2 * kv) * config->d_model + attention * config->d_model;
    layer += (config->activation == ACTIVATION_SWIGLU ? 3.0 : 2.0) * config->d_ff * config->d_model;
    double weights = config->n_layer * layer + (double)config->vocab_size * config->d_model;
    return 6 * weights + 6 * config->n_layer * attention * seq_len;
}
