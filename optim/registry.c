#include "optim/registry.h"

#include "base/suggest.h"

#include <stdio.h>
#include <string.h>

static const OptimizerDef *const registry[] = {
#define OPTIMIZER(name) &optimizer_##name,
#include "optim/registry.def"
};
enum { REGISTERED = sizeof registry / sizeof *registry };

const OptimizerDef *const *optimizer_registry(int *count) {
    *count = REGISTERED;
    return registry;
}

const OptimizerDef *optimizer_find(const char *name, Error *err) {
    const char *names[REGISTERED];
    char list[256] = "";
    for (int i = 0; i < REGISTERED; i++) {
        if (strcmp(registry[i]->name, name) == 0) return registry[i];
        names[i] = registry[i]->name;
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", names[i]);
    }
    const char *near = suggest_name(name, names, REGISTERED);
    error_set(err, "unknown optimizer '%s'%s%s%s; use one of %s", name, near ? " (did you mean '" : "",
              near ? near : "", near ? "'?)" : "", list);
    return NULL;
}

static const struct {
    const char *name, *prefix;
} groups[GROUP_COUNT] = {[GROUP_HIDDEN] = {"hidden", ""},
                         [GROUP_EMBED] = {"embed", "embed-"},
                         [GROUP_HEAD] = {"head", "head-"},
                         [GROUP_VECTOR] = {"vector", "vector-"}};

const char *group_name(ParamGroup group) {
    return groups[group].name;
}

const char *group_prefix(ParamGroup group) {
    return groups[group].prefix;
}

ParamGroup group_of_role(Role role) {
    switch (role) {
    case ROLE_TOKEN_EMBEDDING:
    case ROLE_POSITION_EMBEDDING:
        return GROUP_EMBED;
    case ROLE_HEAD:
        return GROUP_HEAD;
    case ROLE_HIDDEN:
        return GROUP_HIDDEN;
    case ROLE_GAIN:
    case ROLE_BIAS:
        return GROUP_VECTOR;
    }
    ASSERT(!"a role without a group");
    return GROUP_VECTOR;
}
