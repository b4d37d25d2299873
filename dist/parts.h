// dist/parts.h - sums of gradients that have the same bits for any number of ranks.
//
// The micro-batches of a step are K = batch / micro-batch; they form P parts (--sum-parts) of K / P each. The
// gradient of a part is the sum of its micro-batches in order. The parts are summed by a fixed binary tree over P
// leaves: node (level, i) is the sum of nodes (level - 1, 2i) and (level - 1, 2i + 1), or the first alone if the
// second has no leaves. Rank r of W computes parts [rP/W, (r + 1)P/W), adds siblings as they are finished, and sends
// the nodes that are left, cut into a piece per rank, to the ranks that add those pieces; every rank then receives
// all sums. Neither MPI nor anything else adds numbers, so the result is a function of P alone. P = 1 is the sum of
// one rank.
#ifndef POLAR_DIST_PARTS_H
#define POLAR_DIST_PARTS_H

#include "device/comm/comm.h"
#include "device/device.h"

// The parts of a rank: [parts_begin(P, W, r), parts_begin(P, W, r + 1)).
int parts_begin(int parts, int ranks, int rank);

// A node of the tree.
typedef struct {
    int level, index;
} PartNode;

enum { MAX_PART_NODES = 64 }; // of one rank: at most two per level

// The nodes that rank r has left after its parts, in order; returns their number.
int parts_nodes(PartNode nodes[MAX_PART_NODES], int parts, int ranks, int rank);

typedef struct PartSums PartSums;

// Bytes of device and host memory that the sums of `elements` fp32 numbers take on a rank, beyond the gradient itself.
int64_t part_sums_memory(int parts, int ranks, int rank, int64_t elements);

// For gradients of `elements` fp32 numbers in memory of the stream's device, which must be host memory. Errors: out of
// memory.
PartSums *part_sums_create(Stream *stream, Comm *comm, int parts, int64_t elements, Error *err);
void part_sums_free(PartSums *sums);

// Adds the gradient and loss of the next part of this rank to its nodes. grads may be overwritten afterwards, unless
// it was the last part.
void part_sums_add(PartSums *sums, float *grads, const double *loss);

// grads and loss = the sums over all parts, on all ranks. `own` and `all` (size): words that travel along, from every
// rank to every rank.
bool part_sums_finish(PartSums *sums, float *grads, double *loss, int64_t own, int64_t *all, Error *err);
#endif
