// The sums of gradients over parts: the shares of the ranks, the nodes that they send, and the sum of one rank
// against the tree by its definition. Several ranks are tested by tests/e2e/test_ranks.py.
#include "base/random.h"
#include "dist/parts.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

// Every part has one owner, ranks follow each other, and their shares differ by one part at most.
static void test_shares(void **state) {
    (void)state;
    for (int parts = 1; parts <= 40; parts++)
        for (int ranks = 1; ranks <= parts; ranks++) {
            assert_int_equal(parts_begin(parts, ranks, 0), 0);
            assert_int_equal(parts_begin(parts, ranks, ranks), parts);
            for (int r = 0; r < ranks; r++) {
                int n = parts_begin(parts, ranks, r + 1) - parts_begin(parts, ranks, r);
                assert_in_range(n, parts / ranks, (parts + ranks - 1) / ranks);
            }
        }
}

// The nodes of all ranks cover every part once, in order, and no two of a rank are siblings.
static void test_nodes(void **state) {
    (void)state;
    for (int parts = 1; parts <= 130; parts++)
        for (int ranks = 1; ranks <= parts && ranks <= 16; ranks++) {
            int next = 0;
            for (int r = 0; r < ranks; r++) {
                PartNode nodes[MAX_PART_NODES];
                int n = parts_nodes(nodes, parts, ranks, r);
                for (int i = 0; i < n; i++) {
                    assert_int_equal((int64_t)nodes[i].index << nodes[i].level, next);
                    next += 1 << nodes[i].level;
                    if (i == 0) continue;
                    bool siblings = nodes[i].level == nodes[i - 1].level && nodes[i - 1].index % 2 == 0;
                    assert_false(siblings);
                }
                assert_int_equal(next, parts_begin(parts, ranks, r + 1));
            }
        }
    PartNode nodes[MAX_PART_NODES];
    for (int r = 0; r < 4; r++) // powers of two: one node each
        assert_int_equal(parts_nodes(nodes, 16, 4, r), 1);
}

enum { ELEMENTS = 37 };

static float part_gradient(int part, int element) {
    return (float)random_normal(5, RANDOM_TEST, (uint64_t)(part * ELEMENTS + element));
}

// The sum of leaves [begin, begin + 2^level) by the definition of the tree.
static float tree(int level, int index, int parts, int element) {
    if (level == 0) return part_gradient(index, element);
    float left = tree(level - 1, 2 * index, parts, element);
    int right = 2 * index + 1;
    return right << (level - 1) < parts ? left + tree(level - 1, right, parts, element) : left;
}

static void test_sum_of_one_rank(void **state) {
    (void)state;
    Error err;
    Device *device;
    assert_true(device_open(&device, "cpu", 1, &err));
    Stream *stream = stream_create(device);
    Launch alone = {.size = 1, .local_size = 1};
    Comm *comm = comm_open(&alone, 1, &err);
    assert_non_null(comm);
    for (int parts = 1; parts <= 17; parts++) {
        PartSums *sums = part_sums_create(stream, comm, parts, ELEMENTS, &err);
        assert_non_null(sums);
        for (int step = 0; step < 2; step++) { // the arrays are used again
            float grads[ELEMENTS];
            double loss = 0, expected_loss = 0;
            for (int p = 0; p < parts; p++) {
                for (int i = 0; i < ELEMENTS; i++) grads[i] = part_gradient(p, i);
                loss = p + 0.5;
                expected_loss += loss; // exact
                part_sums_add(sums, grads, &loss);
            }
            int64_t word = 0;
            int top = 0;
            assert_true(part_sums_finish(sums, grads, &loss, 7, &word, &err));
            while (1 << top < parts) top++;
            for (int i = 0; i < ELEMENTS; i++) assert_true(grads[i] == tree(top, 0, parts, i));
            assert_true(loss == expected_loss && word == 7);
        }
        part_sums_free(sums);
    }
    comm_close(comm);
    stream_destroy(stream);
    device_close(device);
}

// At most one array per level besides the gradient, and for several ranks the pieces that are received.
static void test_memory(void **state) {
    (void)state;
    int64_t n = 1 << 20, array = n * (int64_t)sizeof(float);
    assert_int_equal(part_sums_memory(1, 1, 0, n), 0);
    assert_int_equal(part_sums_memory(8, 1, 0, n), 3 * array);
    assert_int_equal(part_sums_memory(8, 8, 3, n), array);     // 8 pieces of an eighth
    assert_int_equal(part_sums_memory(8, 4, 3, n), 2 * array); // a sibling, and 4 pieces of a quarter
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shares), cmocka_unit_test(test_nodes),
                                       cmocka_unit_test(test_sum_of_one_rank), cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
