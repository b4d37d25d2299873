// optim/registry.h - the optimizers, each in a file of its own. For the files of optim/ only.
#ifndef POLAR_OPTIM_REGISTRY_H
#define POLAR_OPTIM_REGISTRY_H

#include "optim/optimizer.h"

extern const OptimizerDef optimizer_adamw, optimizer_sgd, optimizer_muon, optimizer_normuon, optimizer_polargrad,
    optimizer_rownorm;

#endif
