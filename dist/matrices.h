// dist/matrices.h - the optimizer's work on matrices, shared out over ranks (NorMuon, Li et al. 2025, section 3: each
// orthogonalization is done once, by one rank).
#ifndef POLAR_DIST_MATRICES_H
#define POLAR_DIST_MATRICES_H

#include "device/comm/comm.h"
#include "optim/optimizer.h"

// The exchange of polar factors between the ranks of `comm`, for optimizer_set_exchange. Every rank keeps all weights
// and states and applies the same factors to them, so the result has the bits of one rank. If a rank is gone, the
// process ends.
OptimizerExchange dist_exchange(Comm *comm);
#endif
