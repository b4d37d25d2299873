#include "dist/parts.h"

#include "base/integers.h"

#include <stdlib.h>
#include <string.h>

int parts_begin(int parts, int ranks, int rank) {
    return (int)((int64_t)rank * parts / ranks);
}

// Replaces the last two nodes by their parent if they are siblings; returns false if they are not.
static bool join_siblings(PartNode *nodes, int *n) {
    if (*n < 2) return false;
    const PartNode *left = &nodes[*n - 2], *right = &nodes[*n - 1];
    if (left->level != right->level || left->index % 2 != 0 || right->index != left->index + 1) return false;
    nodes[*n - 2] = (PartNode){left->level + 1, left->index / 2};
    --*n;
    return true;
}

int parts_nodes(PartNode nodes[MAX_PART_NODES], int parts, int ranks, int rank) {
    int n = 0;
    for (int p = parts_begin(parts, ranks, rank); p < parts_begin(parts, ranks, rank + 1); p++) {
        ASSERT(n < MAX_PART_NODES);
        nodes[n++] = (PartNode){0, p};
        while (join_siblings(nodes, &n)) {
        }
    }
    return n;
}

// The largest number of nodes of a rank at any time, the part that is being computed not counted: their gradients need
// memory of their own.
static int stored_nodes(int parts, int ranks, int rank) {
    PartNode nodes[MAX_PART_NODES];
    int n = 0, most = 0, end = parts_begin(parts, ranks, rank + 1);
    for (int p = parts_begin(parts, ranks, rank); p < end; p++) {
        nodes[n++] = (PartNode){0, p};
        while (join_siblings(nodes, &n)) {
        }
        if (p < end - 1 && n > most) most = n;
    }
    return most;
}

// Elements of the piece of a rank; the last one's may be shorter.
static int64_t piece_size(int64_t elements, int ranks) {
    return round_up(ceil_div(elements, ranks), 16);
}

static int all_nodes(int parts, int ranks) {
    PartNode nodes[MAX_PART_NODES];
    int n = 0;
    for (int r = 0; r < ranks; r++) n += parts_nodes(nodes, parts, ranks, r);
    return n;
}

int64_t part_sums_memory(int parts, int ranks, int rank, int64_t elements) {
    int64_t received = ranks > 1 ? all_nodes(parts, ranks) * piece_size(elements, ranks) : 0;
    return (stored_nodes(parts, ranks, rank) * elements + received) * (int64_t)sizeof(float);
}

// A finished node of this rank: its gradient is in `grads`, the gradient of the model or an array of PartSums.
typedef struct {
    float *grads;
    double loss;
} Sum;

struct PartSums {
    Comm *comm;
    int parts, ranks, next, end; // next part of this rank, and the end of its parts
    int64_t elements, piece;
    PartNode nodes[MAX_PART_NODES];
    Sum sums[MAX_PART_NODES];
    int n_nodes;
    float *arrays[MAX_PART_NODES]; // (n_arrays, elements)
    int n_arrays, n_used;
    float *received; // the pieces of this rank of all nodes
};

PartSums *part_sums_create(Stream *stream, Comm *comm, int parts, int64_t elements, Error *err) {
    ASSERT(device_is_host(stream->device));
    PartSums *s = calloc(1, sizeof *s);
    ASSERT(s);
    int rank = comm_rank(comm), ranks = comm_size(comm);
    *s = (PartSums){.comm = comm,
                    .parts = parts,
                    .ranks = ranks,
                    .next = parts_begin(parts, ranks, rank),
                    .end = parts_begin(parts, ranks, rank + 1),
                    .elements = elements,
                    .piece = piece_size(elements, ranks),
                    .n_arrays = stored_nodes(parts, ranks, rank)};
    bool ok = true;
    for (int i = 0; i < s->n_arrays; i++)
        ok = ok && (s->arrays[i] = device_alloc(stream->device, (size_t)elements * sizeof(float))) != NULL;
    if (ranks > 1)
        ok = ok && (s->received = device_alloc(stream->device, (size_t)(all_nodes(parts, ranks) * s->piece) *
                                                                   sizeof(float))) != NULL;
    if (ok) return s;
    error_set(err, "out of memory for the sums of %d parts of the gradient (--sum-parts)", parts);
    part_sums_free(s);
    return NULL;
}

void part_sums_free(PartSums *s) {
    if (s == NULL) return;
    for (int i = 0; i < s->n_arrays; i++) free(s->arrays[i]);
    free(s->received);
    free(s);
}

// to += from.
static void add(float *restrict to, const float *restrict from, int64_t n) {
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < n; i++) to[i] += from[i];
}

void part_sums_add(PartSums *s, float *grads, const double *loss) {
    bool last = ++s->next == s->end;
    Sum sum = {grads, *loss};
    s->nodes[s->n_nodes] = (PartNode){0, s->next - 1};
    s->sums[s->n_nodes++] = sum;
    while (join_siblings(s->nodes, &s->n_nodes)) {
        Sum *left = &s->sums[s->n_nodes - 1], *right = left + 1;
        add(left->grads, right->grads, s->elements);
        left->loss += right->loss;
        if (right->grads != grads) s->n_used--; // the arrays are used as a stack
    }
    Sum *top = &s->sums[s->n_nodes - 1];
    if (top->grads != grads || last) return;
    ASSERT(s->n_used < s->n_arrays);
    top->grads = s->arrays[s->n_used++];
    memcpy(top->grads, grads, (size_t)s->elements * sizeof *grads);
}

// All nodes of all ranks, by rank and then in order; sums[i].grads is the piece of this rank.
typedef struct {
    PartNode *nodes;
    Sum *sums;
    int n;
} Tree;

// The sum of a node, in the order of the tree. Returns a NULL array for a node without leaves.
static Sum sum_of(const Tree *t, int level, int index, int parts, int64_t n) {
    if ((int64_t)index << level >= parts) return (Sum){NULL, 0};
    for (int i = 0; i < t->n; i++)
        if (t->nodes[i].level == level && t->nodes[i].index == index) return t->sums[i];
    ASSERT(level > 0);
    Sum left = sum_of(t, level - 1, 2 * index, parts, n), right = sum_of(t, level - 1, 2 * index + 1, parts, n);
    if (right.grads == NULL) return left;
    add(left.grads, right.grads, n);
    left.loss += right.loss;
    return left;
}

static int64_t piece_begin(const PartSums *s, int rank) {
    return min_i64(rank * s->piece, s->elements);
}

static CommPiece piece_of(const PartSums *s, float *array, int rank) {
    int64_t begin = piece_begin(s, rank), end = piece_begin(s, rank + 1);
    return (CommPiece){array + begin, (size_t)(end - begin) * sizeof(float)};
}

// Sends every rank its pieces of this rank's nodes, and receives its own pieces of all nodes.
static bool exchange_nodes(PartSums *s, Tree *tree, Error *err) {
    int rank = comm_rank(s->comm), *first = malloc((size_t)(s->ranks + 1) * sizeof *first); // node of every rank
    PartNode scratch[MAX_PART_NODES];
    ASSERT(first);
    first[0] = 0;
    for (int r = 0; r < s->ranks; r++) {
        int n = parts_nodes(scratch, s->parts, s->ranks, r);
        memcpy(tree->nodes + first[r], scratch, (size_t)n * sizeof *scratch);
        first[r + 1] = first[r] + n;
    }
    size_t own = (size_t)(piece_begin(s, rank + 1) - piece_begin(s, rank)) * sizeof(float);
    CommPiece *pieces = malloc(2 * (size_t)s->ranks * sizeof *pieces), *in = pieces + s->ranks;
    ASSERT(pieces);
    bool ok = true;
    for (int k = 0, most = MAX_PART_NODES; k < most && ok; k++) { // the k-th node of every rank
        bool any = false;
        for (int r = 0; r < s->ranks; r++) {
            int i = first[r] + k;
            bool exists = i < first[r + 1];
            pieces[r] = k < s->n_nodes ? piece_of(s, s->sums[k].grads, r) : (CommPiece){NULL, 0};
            in[r] = (CommPiece){NULL, 0};
            if (!exists) continue;
            any = true;
            tree->sums[i].grads = s->received + i * s->piece;
            in[r] = (CommPiece){tree->sums[i].grads, own};
        }
        if (!any) break;
        ok = comm_exchange(s->comm, pieces, in, err);
    }
    free(pieces), free(first);
    return ok;
}

// Every rank sends its summed piece to all, into grads.
static bool share_sums(PartSums *s, float *grads, float *piece, Error *err) {
    int rank = comm_rank(s->comm);
    CommPiece *pieces = malloc(2 * (size_t)s->ranks * sizeof *pieces), *in = pieces + s->ranks;
    ASSERT(pieces);
    for (int r = 0; r < s->ranks; r++) {
        pieces[r] = piece_of(s, grads, rank);
        pieces[r].data = piece;
        in[r] = piece_of(s, grads, r);
    }
    bool ok = comm_exchange(s->comm, pieces, in, err);
    free(pieces);
    return ok;
}

// What travels beside the gradients.
typedef struct {
    double losses[MAX_PART_NODES];
    int64_t word;
} Note;

static bool sum_over_ranks(PartSums *s, float *grads, double *loss, int64_t own, int64_t *all, Error *err) {
    int n = all_nodes(s->parts, s->ranks), top = 0;
    while (1 << top < s->parts) top++;
    Tree tree = {malloc((size_t)n * sizeof *tree.nodes), calloc((size_t)n, sizeof *tree.sums), n};
    Note note = {.word = own}, *notes = malloc((size_t)s->ranks * sizeof *notes);
    ASSERT(tree.nodes && tree.sums && notes);
    for (int i = 0; i < s->n_nodes; i++) note.losses[i] = s->sums[i].loss;
    bool ok = comm_all_gather(s->comm, notes, &note, sizeof note, err) && exchange_nodes(s, &tree, err);
    for (int r = 0, i = 0; r < s->ranks && ok; r++) {
        PartNode scratch[MAX_PART_NODES];
        int count = parts_nodes(scratch, s->parts, s->ranks, r);
        for (int k = 0; k < count; k++) tree.sums[i++].loss = notes[r].losses[k];
        all[r] = notes[r].word;
    }
    if (ok) {
        int rank = comm_rank(s->comm);
        Sum sum = sum_of(&tree, top, 0, s->parts, piece_begin(s, rank + 1) - piece_begin(s, rank));
        *loss = sum.loss;
        ok = share_sums(s, grads, sum.grads, err);
    }
    free(tree.nodes), free(tree.sums), free(notes);
    return ok;
}

bool part_sums_finish(PartSums *s, float *grads, double *loss, int64_t own, int64_t *all, Error *err) {
    ASSERT(s->next == s->end);
    bool ok = true;
    if (s->ranks > 1) ok = sum_over_ranks(s, grads, loss, own, all, err);
    else {
        ASSERT(s->n_nodes > 0);
        int top = 0;
        while (1 << top < s->parts) top++;
        Tree tree = {s->nodes, s->sums, s->n_nodes};
        Sum sum = sum_of(&tree, top, 0, s->parts, s->elements);
        if (sum.grads != grads) memcpy(grads, sum.grads, (size_t)s->elements * sizeof *grads);
        *loss = sum.loss;
        all[0] = own;
    }
    s->next = parts_begin(s->parts, s->ranks, comm_rank(s->comm));
    s->n_nodes = s->n_used = 0;
    return ok;
}
