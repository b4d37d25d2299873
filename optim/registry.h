// optim/registry.h - the optimizers, each in a file of its own; optim/registry.def lists them. For the files of optim/ only.
#ifndef POLAR_OPTIM_REGISTRY_H
#define POLAR_OPTIM_REGISTRY_H

#include "optim/optimizer.h"

#define OPTIMIZER(name) extern const OptimizerDef optimizer_##name;
#include "optim/registry.def"

#endif
