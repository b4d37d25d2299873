#include "dist/matrices.h"

#include <stdio.h>
#include <stdlib.h>

static void gather(void *context, void *data, const size_t *begin) {
    Comm *comm = context;
    int ranks = comm_size(comm), rank = comm_rank(comm);
    CommPiece *pieces = malloc(2 * (size_t)ranks * sizeof *pieces), *in = pieces + ranks;
    ASSERT(pieces);
    for (int r = 0; r < ranks; r++) {
        pieces[r] = (CommPiece){(char *)data + begin[rank], begin[rank + 1] - begin[rank]};
        in[r] = (CommPiece){(char *)data + begin[r], begin[r + 1] - begin[r]};
    }
    Error err;
    if (!comm_exchange(comm, pieces, in, &err)) {
        fprintf(stderr, "error: %s\n", err.text);
        error_exit();
    }
    free(pieces);
}

OptimizerExchange dist_exchange(Comm *comm) {
    return (OptimizerExchange){.rank = comm_rank(comm), .size = comm_size(comm), .gather = gather, .context = comm};
}
