#include "run/problems/rates.h"

#include <stdio.h>
#include <string.h>

bool problem_rate(double *rate, const ProblemDef *def, const ProblemSizes *sizes, const char *optimizer) {
    int64_t shapes[2][2];
    def->shapes(shapes, sizes);
    double rank = (double)(shapes[0][0] < shapes[0][1] ? shapes[0][0] : shapes[0][1]);
    for (const DefaultRate *r = def->rates; r->optimizer; r++) {
        if (strcmp(r->optimizer, optimizer) != 0) continue;
        *rate = r->factor;
        if (r->unit != RATE_FIXED) *rate /= def->curvature(sizes);
        if (r->unit == RATE_PER_CURVATURE_AND_RANK) *rate /= rank;
        return true;
    }
    return false;
}

// The options that change the size of an update, so that a rate for one value is wrong for another.
static const struct {
    const char *optimizer, *option;
} size_options[] = {{"muon", "scale"},    {"normuon", "scale"},           {"polargrad", "scale"},
                    {"polargrad", "ema"}, {"polargrad", "nuclear-power"}, {"polargrad", "row-norms"}};

static bool check_size_options(const ParamGroupOptions *options, const ProblemDef *def, Error *err) {
    ParamGroupOptions plain;
    char value[64], usual[64];
    param_group_init(&plain, options->def);
    if (plain.def->resolve) plain.def->resolve(&plain);
    for (size_t i = 0; i < sizeof size_options / sizeof *size_options; i++) {
        if (strcmp(size_options[i].optimizer, options->def->name) != 0) continue;
        int o = optimizer_option_find(options->def, size_options[i].option, err);
        ASSERT(o >= 0);
        param_group_text(value, sizeof value, options, o);
        param_group_text(usual, sizeof usual, &plain, o);
        if (strcmp(value, usual) != 0)
            return error_set(
                err, "%s has no default learning rate for %s with %s %s (only with %s %s): give one with --lr",
                def->name, options->def->name, size_options[i].option, value, size_options[i].option, usual);
    }
    return true;
}

static bool is_given(const ParamGroupOptions *options, const char *option) {
    Error err;
    int i = optimizer_option_find(options->def, option, &err);
    return i >= 0 && (options->given >> i & 1);
}

bool problem_set_defaults(ParamGroupOptions *options, const ProblemDef *def, const ProblemSizes *sizes,
                          Error *err) {
    char text[32];
    double rate;
    if (!is_given(options, "weight-decay") && !param_group_set(options, "weight-decay", "0", err)) return false;
    if (is_given(options, "lr")) return true;
    if (!problem_rate(&rate, def, sizes, options->def->name))
        return error_set(err, "%s has no default learning rate for %s: give one with --lr", def->name,
                         options->def->name);
    snprintf(text, sizeof text, "%.2g", rate);
    return check_size_options(options, def, err) && param_group_set(options, "lr", text, err);
}
