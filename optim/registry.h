// optim/registry.h - declares the optimizers of optim/registry.def. Internal to optim/.
#ifndef POLAR_OPTIM_REGISTRY_H
#define POLAR_OPTIM_REGISTRY_H

#include "optim/optimizer.h"

#define OPTIMIZER(name) extern const OptimizerDef optimizer_##name;
#include "optim/registry.def"

#endif
